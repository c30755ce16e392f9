//! What is mounted where: the v2 tree, and the v1 hierarchies with their controllers; and what must be switched on in the
//! v2 tree before a group can be given a limit.
//!
//! A controller belongs to one hierarchy at a time, v1's or the v2 tree, and where it is mounted in v1 the v2 tree does not have
//! it: so v1 is looked at first. Hierarchies are looked for where every distribution mounts them: v2 at /sys/fs/cgroup or
//! /sys/fs/cgroup/unified, v1 at /sys/fs/cgroup/NAME (which may be a link to cpu,cpuacct or its like). Where nothing at all is
//! mounted, in an initramfs say, v2 is mounted for ourselves alone: a mount without a place, held by a descriptor. The
//! tree behind it is the kernel's one and only, so that the next ctr finds there what this one has made.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use linux_raw_sys::general as k;

use super::{open, read};
use crate::error::{Error, Result};
use crate::{procfs, sys};

/// What can be limited, counted or forbidden, by its name in v1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// Shares and quotas of processor time.
    Cpu,
    /// How much was used; v2 always counts.
    Cpuacct,
    /// Which processors and memory nodes.
    Cpuset,
    /// Memory and swap.
    Memory,
    /// Device nodes; in v2 a program (see `devices.rs`).
    Devices,
    /// Standing still; in v2 every group can.
    Freezer,
    /// Block devices.
    Blkio,
    /// How many processes and threads.
    Pids,
}

use Controller::{Blkio, Cpu, Cpuacct, Cpuset, Devices, Freezer, Memory, Pids};

impl Controller {
    /// All of them; the place of one in here is its number.
    pub const ALL: [Controller; 8] = [Cpu, Cpuacct, Cpuset, Memory, Devices, Freezer, Blkio, Pids];

    /// Its name in v1.
    pub fn name(self) -> &'static str {
        match self {
            Cpu => "cpu",
            Cpuacct => "cpuacct",
            Cpuset => "cpuset",
            Memory => "memory",
            Devices => "devices",
            Freezer => "freezer",
            Blkio => "blkio",
            Pids => "pids",
        }
    }

    /// Its name in v2's `cgroup.controllers`; None for what every v2 group has.
    pub fn in_v2(self) -> Option<&'static str> {
        match self {
            Cpuacct | Devices | Freezer => None,
            Blkio => Some("io"),
            other => Some(other.name()),
        }
    }

    /// Where its v1 hierarchy is mounted, if it is: the first of these that there is. Two controllers that are mounted together have a
    /// link each on most machines.
    pub fn paths(self) -> impl Iterator<Item = &'static CStr> {
        let together: &[&CStr] = match self {
            Cpu | Cpuacct => &[c"/sys/fs/cgroup/cpu,cpuacct", c"/sys/fs/cgroup/cpuacct,cpu"],
            _ => &[],
        };
        [self.path()].into_iter().chain(together.iter().copied())
    }

    /// See `paths`: where it is on most machines.
    pub fn path(self) -> &'static CStr {
        match self {
            Cpu => c"/sys/fs/cgroup/cpu",
            Cpuacct => c"/sys/fs/cgroup/cpuacct",
            Cpuset => c"/sys/fs/cgroup/cpuset",
            Memory => c"/sys/fs/cgroup/memory",
            Devices => c"/sys/fs/cgroup/devices",
            Freezer => c"/sys/fs/cgroup/freezer",
            Blkio => c"/sys/fs/cgroup/blkio",
            Pids => c"/sys/fs/cgroup/pids",
        }
    }
}

/// Where v2 is looked for.
pub const UNIFIED: [&CStr; 2] = [c"/sys/fs/cgroup", c"/sys/fs/cgroup/unified"];

/// `CGROUP2_SUPER_MAGIC` and `CGROUP_SUPER_MAGIC` (include/uapi/linux/magic.h).
pub const V2: u64 = k::CGROUP2_SUPER_MAGIC as u64;
/// See [`V2`].
pub const V1: u64 = k::CGROUP_SUPER_MAGIC as u64;

/// A directory, if it is on a filesystem of this kind. A link at its end is followed: /sys/fs/cgroup/cpu often is one.
pub fn hierarchy(path: &CStr, magic: u64) -> Option<OwnedFd> {
    let root = sys::openat(sys::CWD, path, k::O_RDONLY | k::O_DIRECTORY, 0).ok()?;
    sys::fs_magic(root.as_fd()).is_ok_and(|found| found == magic).then_some(root)
}

/// The v1 hierarchy of a controller.
pub fn v1(controller: Controller) -> Option<OwnedFd> {
    controller.paths().find_map(|path| hierarchy(path, V1))
}

/// The v2 tree.
#[derive(Debug)]
pub struct Unified {
    /// Its root, or what is seen of it.
    pub root: OwnedFd,
    /// Where it is.
    pub shown: &'static str,
}

/// The v2 tree, where it is mounted.
pub fn unified() -> Option<Unified> {
    UNIFIED.iter().find_map(|path| {
        let root = hierarchy(path, V2)?;
        Some(Unified { root, shown: path.to_str().unwrap_or_default() })
    })
}

/// The v2 tree where nothing is mounted: by a mount that has no place among the machine's, and is gone with its descriptor.
pub fn unified_of_our_own() -> Option<Unified> {
    let mounted = || -> io::Result<OwnedFd> {
        let context = rootfs::sys::fsopen(c"cgroup2")?;
        rootfs::sys::fsconfig_create(context.as_fd())?;
        let mount =
            rootfs::sys::fsmount(context.as_fd(), k::MOUNT_ATTR_NOSUID | k::MOUNT_ATTR_NODEV | k::MOUNT_ATTR_NOEXEC)?;
        sys::openat(mount.as_fd(), c".", k::O_RDONLY | k::O_DIRECTORY, 0)
    };
    Some(Unified { root: mounted().ok()?, shown: "cgroup2 of the machine, mounted for ctr alone" })
}

/// Whether any v1 hierarchy that we care for is mounted.
pub fn has_v1() -> bool {
    [Freezer, Memory, Pids, Cpu].into_iter().any(|controller| v1(controller).is_some())
}

/// Whether a list such as `cpu memory` has this word.
pub fn has_word(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|one| one == word)
}

/// What a v2 group offers to its children, and what it gives them.
pub fn offered(dir: BorrowedFd) -> String {
    read(dir, c"cgroup.controllers").unwrap_or_default()
}

/// Switches a controller on for the children of a v2 group (`cgroup.subtree_control`), if it is not. The error says which write it
/// would have been.
pub fn enable(dir: BorrowedFd, shown: &str, controller: &str) -> Result<()> {
    if has_word(&read(dir, c"cgroup.subtree_control").unwrap_or_default(), controller) {
        return Ok(());
    }
    let doing = format!("switch the {controller} controller on for the control groups below {shown}");
    if !has_word(&offered(dir), controller) {
        return Err(Error::new(
            doing,
            format_args!("{shown}/cgroup.controllers"),
            io::Error::new(io::ErrorKind::NotFound, format!("it does not offer {controller}")),
        )
        .hint(Some(why_missing(controller))));
    }
    let write = format!("echo +{controller} > {shown}/cgroup.subtree_control");
    let kind = read(dir, c"cgroup.type").unwrap_or_default();
    if matches!(kind.trim(), "threaded" | "domain threaded" | "domain invalid") {
        return Err(Error::new(
            doing,
            format_args!("{shown}/cgroup.type"),
            io::Error::other(format!("it is {:?}: no containers can live below it", kind.trim())),
        )
        .hint(Some("another --cgroup-parent")));
    }
    super::write(dir, c"cgroup.subtree_control", &format!("+{controller}")).map_err(|e| {
        let advice = match e.raw_os_error() {
            Some(libc::EBUSY) => format!(
                "move the processes that are in {shown} itself to a group below it (echo PID > \
                 {shown}/init/cgroup.procs), then: {write}"
            ),
            Some(libc::EROFS) => {
                format!("mount -o remount,rw that filesystem where it may be written to, then: {write}")
            }
            _ => format!("as who may do that: {write}"),
        };
        Error::new(doing, format_args!("write to {shown}/cgroup.subtree_control"), e).hint(Some(advice))
    })
}

/// Where a controller is that no group offers: /proc/cgroups knows.
pub fn why_missing(controller: &str) -> String {
    let name = if controller == "io" { "blkio" } else { controller };
    let table = procfs::open().and_then(|proc| procfs::read(proc.as_fd(), c"cgroups")).unwrap_or_default();
    let table = String::from_utf8_lossy(&table).into_owned();
    let row =
        table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|row| row.first() == Some(&name));
    match row.as_deref() {
        Some([_, "0", _, "1"]) => {
            "the group above it must give it: look into cgroup.subtree_control from the root of the tree down"
                .to_owned()
        }
        Some([_, _, _, "0"]) => format!("it is switched off: boot with cgroup_enable={name}"),
        Some([..]) => format!(
            "it belongs to a v1 hierarchy: mount it where ctr looks (mkdir -p /sys/fs/cgroup/{name} && mount -t cgroup -o \
             {name} cgroup /sys/fs/cgroup/{name}), or boot with cgroup_no_v1={name}"
        ),
        None => format!("a kernel with the {controller} controller (ctr doctor)"),
    }
}

/// The group of the v2 tree that we ourselves are in, without the slash at its front; as our cgroup namespace shows it.
pub fn our_own() -> Option<String> {
    let proc = procfs::open().ok()?;
    let text = procfs::read(proc.as_fd(), c"thread-self/cgroup").ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    (!path.split('/').any(|part| part == "..")).then(|| path.trim_end_matches('/').to_owned())
}

/// The highest group above our own that was given to us, who are not root: in which we may make groups and move processes.
pub fn delegated(unified: &Unified) -> Option<String> {
    let own = our_own()?;
    let parts: Vec<&str> = own.split('/').filter(|part| !part.is_empty()).collect();
    (0..=parts.len()).map(|n| parts.iter().take(n).copied().collect::<Vec<_>>().join("/")).find(|path| {
        let file = if path.is_empty() { "cgroup.procs".to_owned() } else { format!("{path}/cgroup.procs") };
        let file = CString::new(file).unwrap_or_default();
        sys::openat(unified.root.as_fd(), &file, k::O_WRONLY, 0).is_ok()
    })
}

/// A group's directory below the root of a hierarchy.
pub fn below(root: BorrowedFd, place: &str) -> Option<OwnedFd> {
    open(root, &CString::new(place).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole_words() {
        assert!(has_word("cpuset cpu io\n", "cpu") && has_word("cpu", "cpu"));
        assert!(!has_word("cpuset cpuacct", "cpu") && !has_word("", "cpu"));
    }

    #[test]
    fn every_controller_has_its_place() {
        for controller in Controller::ALL {
            assert!(controller.path().to_str().unwrap().ends_with(&format!("/{}", controller.name())));
            assert_eq!(Controller::ALL[controller as usize], controller);
        }
    }
}
