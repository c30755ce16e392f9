//! What has to be known about the machine and the root before there can be a plan, and the few descriptors that a plan
//! names. Looking changes nothing.

use std::ffi::CString;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use linux_raw_sys::general as k;
use rootfs::mounts;
use rootfs::path::Kind;

use super::device;
use super::ids::Lease;
use super::init;
use super::plan::{CgroupView, Facts, HostMount, Layer, Net, Way};
use super::record::Record;
use super::spec::{Limit, Network, Root, Spec, Userns};
use super::step::Stdio;
use crate::error::{Doing, Error, Result, exit};
use crate::idmap::IdMap;
use crate::network::hosts::{self, Resolver};
use crate::{caps, names, procfs, sys, user};

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
    let user = user::look_up(root.as_fd(), spec.user.as_deref(), &spec.groups)?;
    let shared = [(spec.host_pid, "--pid host"), (spec.host_ipc, "--ipc host")];
    let shared = shared.into_iter().find_map(|(wanted, option)| wanted.then_some(option));
    let mut fallback = None;
    let way = match (spec.userns, sys::euid()) {
        (Userns::Host, _) => Way::Plain,
        (Userns::Auto, 0) if shared.is_some() && spec.ids.is_none() => {
            if let Some(powers) = spec.powers() {
                return Err(Error::usage(format_args!(
                    "{powers} with {}: there can be no user namespace, and over the host's ids that would be the host's power",
                    shared.unwrap_or_default()
                ))
                .hint(Some("--userns host, if that is wanted")));
            }
            fallback = shared.map(|option| format!("{option}: what is the host's belongs to the host's ids"));
            Way::Plain
        }
        (_, 0) => Way::Shifted { map: spec.ids.clone().unwrap_or_else(|| IdMap::chosen_by(&id)) },
        (_, uid) => Way::Alone { map: spec.ids.clone().unwrap_or_else(|| IdMap::only(uid, sys::egid())) },
    };
    if matches!(&way, Way::Alone { map } if map.is_one()) && !spec.groups.is_empty() {
        return Err(Error::usage(
            "--group-add needs root, or --uidmap and --gidmap: the kernel lets a container with one id be in no other group",
        ));
    }
    if let Some(map) = way.map() {
        let lacks_group = |id: &u32| map.group(*id).is_none();
        let missing = Some(user.uid)
            .filter(|id| map.user(*id).is_none())
            .or_else(|| Some(user.gid).filter(lacks_group))
            .or_else(|| user.groups.iter().copied().find(lacks_group));
        if let Some(id) = missing {
            return Err(Error::usage(format_args!(
                "id {id} does not exist in the user namespace: it has {}",
                map.ids()
            ))
            .hint((sys::euid() == 0).then_some("give it one with --uidmap, or use --userns host")));
        }
    }
    let capabilities = caps::available(spec.capabilities, way != Way::Plain)?;
    let (devices, host_devices) = devices(spec, &way)?;
    let hostname = match &spec.hostname {
        Some(name) => name.clone(),
        None if spec.host_uts || spec.network == Network::Host => {
            sys::hostname().doing("learn the host's name", "uname")?
        }
        None => id.get(..names::SHORT).unwrap_or(&id).to_owned(),
    };
    let resolver = &spec.resolver;
    let resolv_conf = match &spec.network {
        Network::None if *resolver == Resolver::default() => {
            "# this container has no network (--network none)\n".to_owned()
        }
        Network::None => hosts::resolver(resolver, ""),
        Network::Host if *resolver == Resolver::default() => {
            std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
        }
        Network::Host | Network::Joined(_) | Network::Container(_) => hosts::resolv_conf(resolver),
    };
    let net = match &spec.network {
        Network::None => Net::None,
        Network::Host => Net::Host,
        // What is not known yet is found out by who makes it: see `network.rs`.
        Network::Container(_) => Net::Of { process: -1, hosts: None },
        Network::Joined(joins) => {
            let networks: Vec<&str> = joins.iter().map(|join| join.network.as_str()).collect();
            let words = format!("lo up; a link, an address and a way out of {}", networks.join(", "));
            Net::Joined { messages: Vec::new(), words, hosts: None }
        }
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
        net,
        id,
        hostname,
        user,
        way: way.clone(),
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
        cgroup_view: CgroupView::None,
        late_writes: Vec::new(),
        caller_is_root: way == Way::Plain && sys::all_ids_are_root(),
        fallback,
        notices: Vec::new(),
        parent: -1,
        init: spec.init.then_some(-1),
        volume_kinds,
        boundary: spec.security.look(capabilities, spec.privileged)?,
        capabilities,
        named_capabilities: spec.capabilities.named,
        devices,
        host_devices,
    })
}

/// Device nodes that are mounted one by one where they are wanted, and those that fill `/dev`.
fn devices(spec: &Spec, way: &Way) -> Result<(Vec<device::Node>, Vec<device::Node>)> {
    let mut asked = device::find(&spec.devices)?;
    if !spec.privileged {
        return Ok((asked, Vec::new()));
    }
    let mut all = device::all()?;
    if !matches!(way, Way::Alone { .. }) {
        return Ok((asked, all));
    }
    // No node can be made; and of those that there are, what he may do nothing with is left out.
    all.retain(|node| node.is_usable() && !asked.iter().any(|other| other.to == node.to));
    all.append(&mut asked);
    Ok((all, Vec::new()))
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
    let (uid, gid) = (facts.user.uid, facts.user.gid);
    facts.way.map().map_or((uid, gid), |map| {
        let root = map.root();
        (map.user(uid).unwrap_or(root.0), map.group(gid).unwrap_or(root.1))
    })
}

/// Makes room for limits that are above ours: our own hard ones are raised, which changes nothing for us, and may be done only
/// here: in a user namespace nobody can (`capable(CAP_SYS_RESOURCE)`, kernel/sys.c).
pub fn make_room(limits: &[Limit]) -> Result<()> {
    for limit in limits {
        let (soft, hard) = sys::limit(limit.resource).doing("learn ctr's own limits", "prlimit64")?;
        if limit.hard <= hard {
            continue;
        }
        sys::set_limit(limit.resource, soft, limit.hard).map_err(|e| {
            let above = Error::usage(format_args!(
                "--ulimit {limit}: ctr's own hard limit is {}, and cannot be raised: {}",
                Limit::shown(hard),
                match (e.raw_os_error(), limit.name()) {
                    (Some(libc::EPERM), "nofile") => "that takes CAP_SYS_RESOURCE, and at most /proc/sys/fs/nr_open",
                    (Some(libc::EPERM), _) => "that takes CAP_SYS_RESOURCE, which ctr does not have",
                    _ => "the kernel refuses it",
                }
            ));
            above.hint(Some(format!("--ulimit {}={}", limit.name(), Limit::shown(hard))))
        })?;
    }
    Ok(())
}

/// The descriptors that the plan names.
pub fn prepare(spec: &Spec, facts: &mut Facts, held: &mut Held) -> Result<()> {
    make_room(&spec.limits)?;
    if spec.init {
        facts.init =
            Some(held.keep(init::binary().doing("take a sealed copy of ctr, for --init", "/proc/self/exe")?));
    }
    facts.boundary.prepare(|fd| held.keep(fd))?;
    Ok(())
}

/// Leases a range of ids for a container that is to have its own, if they are not given by hand. Its directory is locked.
pub fn lease(spec: &Spec, facts: &mut Facts) -> Result<Option<Lease>> {
    if !matches!(facts.way, Way::Shifted { .. }) || spec.ids.is_some() {
        return Ok(None);
    }
    let lease = Lease::take(&facts.id)?;
    facts.way = Way::Shifted { map: lease.map() };
    Ok(Some(lease))
}

/// `PIPEFS_MAGIC` (include/uapi/linux/magic.h): pipes that have no name.
const PIPEFS_MAGIC: u64 = 0x5049_5045;

impl Facts {
    /// The host's ids, because a user namespace cannot be had, and why.
    pub fn fall_back(&mut self, why: &str) {
        self.way = Way::Plain;
        self.fallback = Some(why.to_owned());
        self.caller_is_root = sys::all_ids_are_root();
        // Over a user namespace it would have had all of them.
        self.capabilities &= sys::permitted().unwrap_or(0) | self.named_capabilities | caps::DEFAULT;
        // Pipes were given to whom the command would have run as.
        let (uid, gid) = owner_outside(self);
        for (stdio, number) in self.stdio.into_iter().zip(0..) {
            let fd = match stdio {
                Stdio::Keep => number,
                Stdio::Fd(fd) => fd,
                Stdio::Null => continue,
            };
            let fd = sys::borrow(fd);
            if sys::fs_magic(fd).is_ok_and(|magic| magic == PIPEFS_MAGIC) {
                let _ = sys::fchown(fd, uid, gid);
            }
        }
    }

    /// What who started it should read, a line each: what weakens a boundary, or is less than was asked for, is not done in silence.
    pub fn warnings(&self, name: &str) -> Vec<String> {
        let ids = self.fallback.as_ref().map(|why| {
            format!("{name} has the host's user ids, not its own: {why} (--userns host: if that is wanted)")
        });
        ids.into_iter().chain(self.notices.iter().cloned()).collect()
    }

    /// Says so.
    pub fn warn<'a>(lines: impl IntoIterator<Item = &'a str>) {
        for line in lines {
            let _ = writeln!(io::stderr(), "ctr: {line}");
        }
    }

    /// Writes down which ids the container has.
    pub fn remember(&self, record: &mut Record) {
        for key in ["uids", "gids", "userns-fallback"] {
            record.unset(key);
        }
        if let Some(map) = self.way.map() {
            let (users, groups) = map.text();
            record.set("uids", users);
            record.set("gids", groups);
        }
        if let Some(why) = &self.fallback {
            record.set("userns-fallback", why);
        }
    }
}
