//! The root of a container as an open directory, to copy files out of it and into it: of one that runs by `/proc`, of one at
//! rest by a mount that nobody else sees.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use linux_raw_sys::general as k;
use rootfs::copy::Ids;

use super::asked;
use crate::container::plan::Layer;
use crate::container::record::{Entry, Found};
use crate::container::{facts, layer};
use crate::error::{Doing, Error, Result};
use crate::{procfs, sys};

/// The root of its process, and its ids if they are not the host's.
pub fn running(found: &Found) -> Result<(OwnedFd, Option<Ids>)> {
    let (_, pid) = found.process()?;
    let doing = || format!("open the root of {}", found.name);
    let proc = procfs::open().doing(doing(), "/proc")?;
    let file = |name: &str| CString::new(format!("{pid}/{name}")).unwrap_or_default();
    let root = sys::openat(proc.as_fd(), &file("root"), k::O_PATH | k::O_DIRECTORY, 0).doing(doing(), "root")?;
    // "root" is a link of the kernel's own, and leads to the process's root itself.
    let root = sys::openat(root.as_fd(), c".", k::O_RDONLY | k::O_DIRECTORY, 0).doing(doing(), "root")?;
    let map = |name: &str| -> Result<(u32, u32)> {
        let text = procfs::read(proc.as_fd(), &file(name)).doing(doing(), name)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut words = text.split_whitespace().skip(1).map(|word| word.parse::<u32>().unwrap_or(0));
        Ok((words.next().unwrap_or(0), words.next().unwrap_or(0)))
    };
    let ((users, count), (groups, _)) = (map("uid_map")?, map("gid_map")?);
    // All that was read under this number was about the process, if it still lives.
    found.process()?;
    let own = (users, groups) != (0, 0);
    Ok((root, own.then_some(Ids { users, groups, count })))
}

/// Its root directory with what it has written over it. The container is locked: it stays at rest meanwhile.
pub fn at_rest(found: &Found, entry: &Entry) -> Result<(OwnedFd, Option<Ids>)> {
    if found.damage.is_some() {
        return Err(found.unreadable());
    }
    let (words, operands) = asked::recall(&found.record)?;
    let spec = asked::spec(&words, operands)?;
    let root = facts::open_root(&spec.root)?;
    let start = |why: &str| {
        Error::usage(format_args!("{}: {why}", found.name)).hint(Some(format!("ctr start {}", found.name)))
    };
    if spec.writable_root {
        return Ok((root, None));
    }
    if sys::euid() != 0 {
        return Err(start("only root can look at its files while it does not run"));
    }
    if found.record.get("layer") == Some("memory") {
        return Err(start("what it wrote was kept in memory, and is gone"));
    }
    // One that never ran has no layer yet; and one in memory does not outlive a reboot.
    let facts = facts::gather(&spec, &root, found.record.id().to_owned())?;
    let (place, in_memory) = layer::place(entry, &found.record, &spec.root, &facts)?;
    let layer = match (place, &in_memory) {
        (Layer::Memory, _) => return Err(start("what it writes is kept in memory, and only while it runs")),
        (Layer::Dir(path), Some(_)) => path,
        (Layer::Dir(_), None) => found.path.join("layer"),
    };
    if let (Some(id), None) = (&in_memory, found.record.get("layer-in-memory")) {
        let mut record = entry.record()?;
        record.set("layer-in-memory", id);
        entry.save(&record)?;
    }
    let open = |path: PathBuf| {
        let c_path = CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
        sys::openat(sys::CWD, &c_path, k::O_PATH | k::O_DIRECTORY | k::O_NOFOLLOW, 0)
    };
    let doing = || format!("look at the files of {}", found.name);
    let upper = open(layer.join("upper")).doing(doing(), layer.join("upper").display())?;
    let work = open(layer.join("work")).doing(doing(), layer.join("work").display())?;
    // By descriptor: a path may have any characters in it, and overlayfs's options have a language of their own.
    let option = |fd: &OwnedFd| CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default();
    let overlay = || -> std::io::Result<OwnedFd> {
        let context = rootfs::sys::fsopen(c"overlay")?;
        for (key, dir) in [(c"lowerdir", &root), (c"upperdir", &upper), (c"workdir", &work)] {
            rootfs::sys::fsconfig_set(context.as_fd(), key, Some(&option(dir)))?;
        }
        rootfs::sys::fsconfig_create(context.as_fd())?;
        rootfs::sys::fsmount(context.as_fd(), k::MOUNT_ATTR_NODEV | k::MOUNT_ATTR_NOSUID | k::MOUNT_ATTR_NOEXEC)
    };
    let mount = overlay().map_err(|e| {
        Error::new(doing(), layer.display(), e)
            .hint(Some(format!("ctr start {}, and copy while it runs", found.name)))
    })?;
    let root = sys::openat(mount.as_fd(), c".", k::O_RDONLY | k::O_DIRECTORY, 0).doing(doing(), layer.display())?;
    Ok((root, None))
}
