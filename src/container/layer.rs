//! Where a container's writes are kept between its runs: `layer/` in its directory, on the disk.
//!
//! Not every filesystem can hold an overlay's upper layer, and none can that is itself the lower one: a view of the machine's
//! own root (`host`) would write into what it looks at, which the kernel refuses (ELOOP). Then the layer is put into the
//! state folder's tmpfs (`/run/ctr/layers/ID`), where it lasts until the next boot; and where that is no tmpfs of its own
//! either (an initramfs), into a tmpfs that nobody but the container sees, which lasts until it stops.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use linux_raw_sys::general as k;

use super::plan::{Facts, Layer};
use super::record::{self, Entry, Record};
use super::spec::Root;
use crate::error::{Doing, Result};
use crate::sys;

/// The layer's directory in the container's.
const NAME: &CStr = c"layer";

/// Filesystems that an upper layer cannot be on, or that are in memory without attributes (include/uapi/linux/magic.h, and
/// fs/*/ for those that have no line there): overlay, nfs, cifs, smb2, fuse, 9p, ramfs, vfat, exfat, squashfs, iso9660, erofs.
const UNFIT: [u64; 12] = [
    0x794c_7630,
    0x6969,
    0xff53_4d42,
    0xfe53_4d42,
    0x6573_5546,
    0x0102_1997,
    0x8584_58f6,
    0x4d44,
    0x2011_bab0,
    0x7371_7368,
    0x9660,
    0xe0f5_e1e2,
];

const TMPFS: u64 = k::TMPFS_MAGIC as u64;

/// Decides where the layer is, and makes what is missing of it. The second answer is the name of a layer in the state
/// folder's memory, which must be remembered to be removed.
pub fn place(entry: &Entry, record: &Record, root: &Root, facts: &Facts) -> Result<(Layer, Option<String>)> {
    let doing = || format!("make a place for what {} writes", entry.name());
    let on_disk = || -> io::Result<Option<Layer>> {
        if unfit(entry.dir())? || is_lower(entry.dir(), Some(entry.path()), root, facts)? {
            return Ok(None);
        }
        let dir = make(entry.dir(), NAME)?;
        furnish(dir.as_fd(), facts)?;
        // The supervisor's working directory is the container's: its name may change.
        Ok(Some(Layer::Dir(PathBuf::from("layer"))))
    };
    if let Some(layer) = on_disk().doing(doing(), entry.path().join("layer").display())? {
        return Ok((layer, None));
    }
    let path = record::folder().join("layers");
    let in_memory = || -> io::Result<Option<Layer>> {
        let folder = record::folder();
        let c_folder = CString::new(folder.as_os_str().as_bytes())?;
        let folder = sys::openat(sys::CWD, &c_folder, k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW, 0)?;
        if sys::fs_magic(folder.as_fd())? != TMPFS || is_lower(folder.as_fd(), None, root, facts)? {
            return Ok(None);
        }
        let layers = make(folder.as_fd(), c"layers")?;
        let dir = make(layers.as_fd(), &CString::new(record.id())?)?;
        furnish(dir.as_fd(), facts)?;
        Ok(Some(Layer::Dir(path.join(record.id()))))
    };
    match in_memory().doing(doing(), path.display())? {
        Some(layer) => Ok((layer, Some(record.id().to_owned()))),
        None => Ok((Layer::Memory, None)),
    }
}

fn unfit(dir: BorrowedFd) -> io::Result<bool> {
    sys::fs_magic(dir).map(|magic| UNFIT.contains(&magic))
}

/// Whether this directory is part of what the container looks at.
fn is_lower(dir: BorrowedFd, path: Option<&Path>, root: &Root, facts: &Facts) -> io::Result<bool> {
    let device = sys::fstat(dir)?.st_dev;
    let same = |lower: &Path| -> bool {
        let Ok(lower) = CString::new(lower.as_os_str().as_bytes()) else { return false };
        let opened = sys::openat(sys::CWD, &lower, k::O_PATH | k::O_DIRECTORY, 0);
        opened.and_then(|lower| sys::fstat(lower.as_fd())).is_ok_and(|found| found.st_dev == device)
    };
    Ok(match root {
        Root::Host => same(Path::new("/")) || facts.host_mounts.iter().any(|mount| same(&mount.path)),
        Root::Dir(lower) => {
            let lower = std::fs::canonicalize(lower).unwrap_or_else(|_| lower.clone());
            let path = path.map(|path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()));
            same(&lower) && path.is_none_or(|path| path.starts_with(&lower))
        }
    })
}

/// A directory of our own, made if it is missing.
fn make(parent: BorrowedFd, name: &CStr) -> io::Result<OwnedFd> {
    match sys::mkdir(parent, name, 0o700) {
        Err(e) if e.raw_os_error() != Some(libc::EEXIST) => return Err(e),
        _ => {}
    }
    sys::openat(parent, name, k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW, 0)
}

/// What an overlay needs, and the directories that win over whatever an image has under their names.
fn furnish(dir: BorrowedFd, facts: &Facts) -> io::Result<()> {
    rootfs::sys::umask(0);
    let made = furnish_all(dir, facts);
    rootfs::sys::umask(0o077);
    made
}

/// Owners are those that they are inside: if the container has ids of its own, the layer is mounted with shifted ones.
fn furnish_all(dir: BorrowedFd, facts: &Facts) -> io::Result<()> {
    // Tells whether it is new: what is there was the container's to change.
    let new = |parent: BorrowedFd, name: &CStr, mode: u32, uid: u32, gid: u32| -> io::Result<bool> {
        match sys::mkdir(parent, name, mode) {
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => return Ok(false),
            done => done?,
        }
        if (uid, gid) != (0, 0) && sys::euid() == 0 {
            sys::chown(parent, name, uid, gid)?;
        }
        Ok(true)
    };
    new(dir, c"work", 0o755, 0, 0)?;
    if sys::openat(dir, c"upper", k::O_PATH | k::O_DIRECTORY | k::O_NOFOLLOW, 0).is_err() {
        // Under its name only when it is complete: what is missing in it later the container has removed.
        record::remove_all(dir, c"upper.new")?;
        new(dir, c"upper.new", 0o755, 0, 0)?;
        let upper = sys::openat(dir, c"upper.new", k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW, 0)?;
        for name in [c"proc", c"sys", c"dev", c"etc"] {
            new(upper.as_fd(), name, 0o755, 0, 0)?;
        }
        sys::rename(dir, c"upper.new", c"upper")?;
    }
    for (mount, n) in facts.host_mounts.iter().zip(0..) {
        new(dir, &CString::new(format!("work{n}"))?, 0o755, 0, 0)?;
        new(dir, &CString::new(format!("upper{n}"))?, mount.mode, mount.uid, mount.gid)?;
    }
    Ok(())
}
