//! What has to be known about the machine and the root before there can be a plan, and the few descriptors that a plan
//! names. Looking changes nothing.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use linux_raw_sys::general as k;
use rootfs::mounts;
use rootfs::path::Kind;

use super::plan::{Facts, HostMount, Layer, Way};
use super::spec::{Network, Root, Spec, Userns};
use super::step::Stdio;
use super::{init, spawn};
use crate::error::{Doing, Error, Result, exit};
use crate::idmap::IdMap;
use crate::{names, procfs, sys, user};

/// Opens what shall become `/`, to look at.
pub fn open_root(root: &Root) -> Result<OwnedFd> {
    let path = match root {
        Root::Host => Path::new("/"),
        Root::Dir(path) => path,
    };
    let c_path =
        CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::usage("bad ROOT: it has a NUL byte in it"))?;
    sys::openat(sys::CWD, &c_path, k::O_RDONLY | k::O_DIRECTORY, 0)
        .map_err(|cause| Error::new("open the root filesystem", path.display(), cause))
}

/// Nothing can be found in an empty root; then that is the news, and it is not the command's fault.
pub fn if_empty(error: Error, dir: &OwnedFd, root: &Root) -> Error {
    // "." and ".." take 24 bytes each, and any other name as much at least.
    let empty =
        error.code == exit::NOT_FOUND && sys::getdents(dir.as_fd(), &mut [0; 512]).is_ok_and(|used| used <= 48);
    match root {
        Root::Dir(path) if empty => {
            Error::new("run from the root filesystem", path.display(), io::Error::other("the directory is empty"))
        }
        _ => error,
    }
}

/// What has to be known before there can be a plan. Changes nothing. Where the standard descriptors lead is decided by
/// who has them.
pub fn gather(spec: &Spec, root: &OwnedFd, id: String) -> Result<Facts> {
    let user = user::look_up(root.as_fd(), spec.user.as_deref())?;
    let way = match (spec.userns, sys::euid()) {
        (Userns::Host, _) => Way::Plain,
        (Userns::Auto, 0) => Way::Shifted { map: IdMap::chosen_by(&id), userns: -1 },
        (Userns::Auto, uid) => Way::Alone { map: IdMap::only(uid, sys::egid()) },
    };
    if let Way::Shifted { map, .. } | Way::Alone { map } = way {
        if let Some(id) = [user.uid, user.gid].into_iter().chain(user.groups.iter().copied()).find(|id| !map.has(*id))
        {
            return Err(Error::usage(format_args!(
                "id {id} does not exist in the user namespace: it has {} (0 to {})",
                map.count,
                map.count - 1
            )));
        }
    }
    let hostname = match &spec.hostname {
        Some(name) => name.clone(),
        None if spec.host_uts || spec.network == Network::Host => {
            sys::hostname().doing("learn the host's name", "uname")?
        }
        None => id.get(..names::SHORT).unwrap_or(&id).to_owned(),
    };
    let resolv_conf = match spec.network {
        Network::None => "# this container has no network (--network none)\n".to_owned(),
        Network::Host => std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
    };
    let mut volume_kinds = Vec::new();
    for volume in &spec.volumes {
        let found = std::fs::metadata(&volume.from).map_err(|e| {
            let missing = e.kind() == io::ErrorKind::NotFound;
            Error::new("find the source of -v or --mount", volume.from.display(), e)
                .hint(missing.then(|| format!("mkdir -p {}", volume.from.display())))
        })?;
        volume_kinds.push(if found.is_dir() { Kind::Dir } else { Kind::File });
    }
    let host_mounts = if spec.root == Root::Host { host_mounts()? } else { Vec::new() };
    Ok(Facts {
        id,
        hostname,
        user,
        way,
        host_mounts,
        on_ramfs: None,
        resolv_conf,
        stdio: [if spec.interactive || spec.terminal { Stdio::Keep } else { Stdio::Null }, Stdio::Keep, Stdio::Keep],
        terminal: spec.terminal.then_some((-1, None)),
        layer: Layer::Memory,
        awaits_parent: false,
        outlives: false,
        birthplace: None,
        doors: Vec::new(),
        late_doors: Vec::new(),
        late_writes: Vec::new(),
        caller_is_root: way == Way::Plain && sys::all_ids_are_root(),
        parent: -1,
        init: spec.init.then_some(-1),
        volume_kinds,
    })
}

/// Filesystems that overlayfs takes as a lower layer, and that hold files rather than kernel objects.
const LAYERS: [&str; 12] =
    ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "bcachefs", "zfs", "erofs", "squashfs", "iso9660", "overlay"];

/// Everything that is mounted, as this process sees it.
fn mounted() -> Result<Vec<mounts::Mount>> {
    let proc = procfs::open().doing("find /proc, to see what is mounted", "")?;
    let text = procfs::read(proc.as_fd(), c"self/mountinfo").doing("see what is mounted", "mountinfo")?;
    Ok(mounts::parse(&text))
}

/// What is mounted below `/` that a view of the host needs: filesystems with files in them, on others of that kind.
fn host_mounts() -> Result<Vec<HostMount>> {
    let mut all = mounted()?;
    // Of several at one place the last one is seen.
    all.reverse();
    all.sort_by(|a, b| a.at.cmp(&b.at));
    all.dedup_by(|a, b| a.at == b.at);
    let mut layers: Vec<HostMount> = Vec::new();
    for mount in all.iter().filter(|m| m.at != Path::new("/")) {
        let own = ["/proc", "/sys", "/dev", "/run", "/tmp"].iter().any(|own| mount.at.starts_with(own));
        // The mount that it is on, which sorting has put before it.
        let on = all.iter().rfind(|m| m.at != mount.at && mount.at.starts_with(&m.at)).map(|m| m.at.as_path());
        let seen = on.is_some_and(|on| on == Path::new("/") || layers.iter().any(|layer| layer.path == on));
        if !seen || own || !LAYERS.contains(&mount.fs.as_str()) {
            continue;
        }
        if let Some(found) = std::fs::metadata(&mount.at).ok().filter(std::fs::Metadata::is_dir) {
            let (mode, uid, gid) = (found.mode() & 0o7777, found.uid(), found.gid());
            layers.push(HostMount { path: mount.at.clone(), mode, uid, gid });
        }
    }
    Ok(layers)
}

/// What is mounted on the initial ramfs, if that is the root: the one mount without a parent (fs/namespace.c).
pub fn on_ramfs() -> Result<Option<Vec<PathBuf>>> {
    let all = mounted()?;
    let initial = all.iter().find(|m| m.id == m.parent && m.at == Path::new("/")).map(|m| m.id);
    let below = |id| all.iter().filter(|m| m.parent == id && m.id != id).map(|m| m.at.clone()).collect();
    Ok(initial.map(below))
}

/// Descriptors that must live until the child has its own copies.
#[derive(Debug, Default)]
pub struct Held(Vec<OwnedFd>);

impl Held {
    /// Keeps it, and tells its number.
    pub fn keep(&mut self, fd: OwnedFd) -> RawFd {
        let number = fd.as_raw_fd();
        self.0.push(fd);
        number
    }
}

/// The command's user as the host sees it.
pub fn owner_outside(facts: &Facts) -> (u32, u32) {
    match facts.way {
        Way::Plain => (facts.user.uid, facts.user.gid),
        Way::Shifted { map, .. } => (map.outside + facts.user.uid, map.outside_group + facts.user.gid),
        Way::Alone { map } => (map.outside, map.outside_group),
    }
}

/// The descriptors that the plan names.
pub fn prepare(spec: &Spec, facts: &mut Facts, held: &mut Held) -> Result<()> {
    if spec.init {
        facts.init =
            Some(held.keep(init::binary().doing("take a sealed copy of ctr, for --init", "/proc/self/exe")?));
    }
    if let Way::Shifted { map, .. } = facts.way {
        let proc = procfs::open().doing("find /proc, to write id maps", "")?;
        let userns = spawn::user_namespace(map, proc.as_fd(), facts.parent)?;
        facts.way = Way::Shifted { map, userns: held.keep(userns) };
    }
    Ok(())
}
