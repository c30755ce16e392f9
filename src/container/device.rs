//! Device nodes of the host inside: `--device`, and all of them with `--privileged`.
//!
//! Nothing of the host's `/dev` is shared: who may change the owner of a node inside would change it on the host. A node with
//! the same number, permissions and owner is made anew, in a place in memory where nodes are alive and that nobody but ctr reaches, and bound
//! to where it is wanted: a bind mount keeps the flags of the moment, so it lives while all other nodes of the container stay
//! dead. With `--userns auto` its owner is shifted like everybody's, so that root inside may use it. An ordinary user can make no node: he gets the host's own, by a bind mount, and what its
//! permissions allow him.
//!
//! What may be done with a node (`:rwm`) is up to the device rules of its control group; see `cgroup/`.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use linux_raw_sys::general as k;
use rootfs::InRoot;
use rootfs::dev::Number;

use crate::error::{Error, Result};
use crate::sys;

/// One `--device`, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// A device of the host, or a directory of devices; absolute.
    pub from: PathBuf,
    /// Where it is inside.
    pub to: InRoot,
    /// Out of `rwm`, each once.
    pub access: String,
}

/// A device node that was found on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it is on the host, no link among its parts.
    pub from: PathBuf,
    /// Where it will be inside.
    pub to: InRoot,
    /// Its type and number.
    pub number: Number,
    /// Its permissions.
    pub mode: u32,
    /// Whose it is.
    pub uid: u32,
    /// See `uid`.
    pub gid: u32,
    /// Out of `rwm`.
    pub access: String,
}

/// Whether these are letters of `rwm`, each once at most.
fn is_access(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| "rwm".contains(c) && word.matches(c).count() == 1)
}

/// `--device HOST[:INSIDE][:rwm]`.
pub fn parse(text: &str) -> Result<Device> {
    let bad = |why: &str| {
        Error::usage(format_args!(
            "bad --device {text:?}: {why}; it is HOST[:INSIDE][:rwm], such as /dev/fuse or /dev/sda:/dev/disk:r"
        ))
    };
    let words: Vec<&str> = text.split(':').collect();
    let (from, to, access) = match *words.as_slice() {
        [from] => (from, from, "rwm"),
        [from, access] if is_access(access) => (from, from, access),
        [from, to] => (from, to, "rwm"),
        [from, to, access] => (from, to, access),
        _ => return Err(bad("too many parts")),
    };
    if !is_access(access) {
        return Err(bad("what may be done with it is a choice of r, w and m"));
    }
    if !from.starts_with('/') {
        return Err(bad("the device is a path that begins with /"));
    }
    let to = InRoot::new(Path::new(to)).filter(|to| !to.is_root());
    let to = to.ok_or_else(|| bad("where it is inside is a path that begins with /, and not / itself"))?;
    Ok(Device { from: PathBuf::from(from), to, access: access.to_owned() })
}

/// What is not taken from a directory of devices: mounts of their own, and the host's console (as runc has it).
const PASSED_OVER: [&str; 8] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"];

/// How deep directories of devices are nested, and how many devices there are, at most.
const DEEPEST: usize = 8;
const MOST: usize = 4096;

/// Looks at a file of the host; None if it is no device.
fn look(from: &Path, to: &Path, access: &str) -> io::Result<Option<Node>> {
    let found = std::fs::symlink_metadata(from)?;
    let kind = match found.file_type() {
        kind if kind.is_char_device() => k::S_IFCHR,
        kind if kind.is_block_device() => k::S_IFBLK,
        _ => return Ok(None),
    };
    let number = Number { kind, device: found.rdev() };
    let (from, mode) = (from.to_owned(), found.mode() & 0o7777);
    let node = |to| Node { from, to, number, mode, uid: found.uid(), gid: found.gid(), access: access.to_owned() };
    Ok(InRoot::new(to).map(node))
}

/// All devices in a directory and below it. What vanishes meanwhile was not there.
fn walk(dir: &Path, to: &Path, access: &str, depth: usize, into: &mut Vec<Node>) -> io::Result<()> {
    let mut names = crate::folders::entries(dir)?;
    names.sort();
    for name in names.iter().filter(|name| !PASSED_OVER.iter().any(|other| name.as_os_str() == *other)) {
        let (from, to) = (dir.join(name), to.join(name));
        let unless_gone = |e: io::Error| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) };
        let done = match std::fs::symlink_metadata(&from) {
            Ok(found) if found.is_dir() && depth < DEEPEST => walk(&from, &to, access, depth + 1, into),
            Ok(_) => look(&from, &to, access).map(|node| into.extend(node)),
            Err(e) => Err(e),
        };
        done.or_else(unless_gone)?;
        if into.len() > MOST {
            return Err(io::Error::other(format!("there are more than {MOST} devices in it")));
        }
    }
    Ok(())
}

/// Names in `/dev` that every container has of its own.
const OWN: [&str; 9] = ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "console", "core"];

/// All devices in the host's `/dev`, but for those that a container has of its own.
pub fn all() -> Result<Vec<Node>> {
    let (dev, mut nodes) = (Path::new("/dev"), Vec::new());
    walk(dev, dev, "rwm", 0, &mut nodes).map_err(|e| Error::new("look for the host's devices", "/dev", e))?;
    nodes.retain(|node| !OWN.iter().any(|own| node.to.as_path() == dev.join(own)));
    Ok(nodes)
}

/// The nodes that were asked for, as they are on the host now. A later one wins over an earlier one at the same place.
pub fn find(asked: &[Device]) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    for Device { from, to, access } in asked {
        let failed = |e: io::Error| Error::new("find the --device", from.display(), e);
        // A link, /dev/cdrom say, is what it leads to, under the name that was given.
        let real = std::fs::canonicalize(from).map_err(failed)?;
        let before = nodes.len();
        if real.is_dir() {
            walk(&real, to.as_path(), access, 0, &mut nodes).map_err(failed)?;
        } else {
            nodes.extend(look(&real, to.as_path(), access).map_err(failed)?);
        }
        if nodes.len() == before {
            let what = if real.is_dir() { "no device is in that directory" } else { "it is no device" };
            return Err(Error::usage(format_args!(
                "bad --device {}: {what}; a file or directory is mounted with -v",
                from.display()
            )));
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    nodes.reverse();
    nodes.retain(|node| seen.insert(node.to.as_path().to_owned()));
    nodes.reverse();
    Ok(nodes)
}

impl Node {
    /// Its path on the host, for a call.
    pub fn path(&self) -> CString {
        CString::new(self.from.as_os_str().as_bytes()).unwrap_or_default()
    }

    /// Whether we may do anything with it at all.
    pub fn is_usable(&self) -> bool {
        [libc::R_OK, libc::W_OK].into_iter().any(|how| sys::access(&self.path(), how).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, String, String) {
        let device = parse(text).unwrap();
        (device.from.display().to_string(), device.to.to_string(), device.access)
    }

    #[test]
    fn dockers_ways_to_say_it() {
        let three = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(parts("/dev/fuse"), three("/dev/fuse", "/dev/fuse", "rwm"));
        assert_eq!(parts("/dev/fuse:r"), three("/dev/fuse", "/dev/fuse", "r"));
        assert_eq!(parts("/dev/sda:/dev/disk"), three("/dev/sda", "/dev/disk", "rwm"));
        assert_eq!(parts("/dev/sda:/x/../dev//disk:mr"), three("/dev/sda", "/dev/disk", "mr"));
    }

    #[test]
    fn what_is_no_device_is_refused() {
        for bad in [
            "",
            ":",
            "/dev/a:",
            "dev/a",
            "./a",
            "/dev/a:b",
            "/dev/a:/",
            "/dev/a:/b:",
            "/dev/a:/b:x",
            "/dev/a:/b:rr",
            "/dev/a:/b:r:w",
            "/dev/a:/b:rwmr",
            "/dev/a:/..",
            "vendor.com/class=one",
            "/dev/a:\0",
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains("--device") && error.lines().count() == 1, "{bad}: {error}");
        }
    }

    #[test]
    fn a_file_and_an_empty_directory_are_none() {
        for none in ["/proc/self/status", "/proc/self/attr", "/proc/self/nothing"] {
            let device =
                Device { from: none.into(), to: InRoot::new(Path::new("/dev/x")).unwrap(), access: "r".into() };
            assert!(find(&[device]).is_err(), "{none}");
        }
    }
}
