//! What there is to be seen of a process and of those around it: [`Facts`], by descriptors, from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, OsStr};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use linux_raw_sys::general as k;
use rootfs::mounts::{self, Mount};
use rootfs::path::{self, Links};
use rootfs::walk;

use super::limits::{self, Limits};
use super::parse::{self, Hierarchy, Mapped, Socket, Thread};
use crate::error::{Doing, Error, Result};
use crate::procfs::{self, Namespace};
use crate::sys;

/// How much of anything is looked at: a container can make more than anybody wants to read.
const MOST_PROCESSES: usize = 10_000;
const MOST_THREADS: usize = 20_000;
const MOST_DESCRIPTORS: usize = 20_000;
const MOST_NODES: usize = 4096;

/// Why something cannot be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen(pub String);

impl From<io::Error> for Unseen {
    fn from(e: io::Error) -> Unseen {
        Unseen(match e.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => "only root may look".to_owned(),
            Some(libc::EFBIG) => "too large to be read".to_owned(),
            Some(libc::ESRCH) => "it has just ended".to_owned(),
            _ => e.to_string(),
        })
    }
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What was seen, or why not.
pub type Seen<T> = std::result::Result<T, Unseen>;

/// The namespaces that there are, by their names in `/proc/PID/ns`.
pub const NAMESPACES: [&str; 8] = ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user", "time"];

/// The namespaces of a process; None for a kind that the kernel does not have.
pub type Namespaces = BTreeMap<&'static str, Seen<Option<Namespace>>>;

/// What a descriptor of a process leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its number, or `cwd`.
    pub name: String,
    /// What the kernel calls it.
    pub to: String,
    /// `S_IFMT` of it; None if that cannot be seen.
    pub kind: Option<u32>,
    /// Its device number, if it is a device.
    pub device: (u32, u32),
    /// The mount that it is on.
    pub mount: Option<u32>,
    /// It can be written to.
    pub writable: bool,
}

/// One process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its number in our pid namespace.
    pub pid: u32,
    /// Its threads, which may differ.
    pub threads: Seen<Vec<Thread>>,
    /// Its namespaces.
    pub namespaces: Namespaces,
    /// Its LSM label.
    pub label: Seen<String>,
    /// Its descriptors, and its working directory.
    pub descriptors: Seen<Vec<Descriptor>>,
    /// The control groups that it is in.
    pub groups: Seen<Vec<Hierarchy>>,
}

impl Process {
    /// Its name.
    pub fn name(&self) -> &str {
        self.threads.as_ref().ok().and_then(|all| all.first()).map_or("?", |first| first.name.as_str())
    }
}

/// How a path of `/proc` or `/sys` looks from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cover {
    /// It is not there.
    Absent,
    /// Something else is mounted over it.
    Hidden,
    /// The kernel's own file, on a read-only mount.
    ReadOnly,
    /// The kernel's own file, on a mount that can be written to.
    Writable,
}

/// A device node that can be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where, inside.
    pub path: PathBuf,
    /// A disk or its like.
    pub block: bool,
    /// Major and minor number.
    pub number: (u32, u32),
}

/// What holds for the whole machine.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// The namespaces of its first process, or ours where those cannot be seen.
    pub first: Namespaces,
    /// Ours.
    pub ours: Namespaces,
    /// What is mounted for us.
    pub mounts: Vec<Mount>,
    /// The inode numbers of the sockets of our network namespace; None if not all of them can be seen.
    pub sockets: Option<BTreeSet<u64>>,
    /// Files below `/proc/sys` and what they say, as far as they are there.
    pub settings: BTreeMap<&'static str, String>,
    /// The security modules that are on; None if nobody says.
    pub modules: Option<String>,
    /// The control groups that we are in.
    pub groups: Vec<parse::Hierarchy>,
    /// How many processors there are.
    pub processors: Option<usize>,
}

/// Files below `/proc/sys` that decide how much a container can reach.
pub const SETTINGS: [&str; 11] = [
    "kernel/core_pattern",
    "fs/suid_dumpable",
    "kernel/yama/ptrace_scope",
    "kernel/dmesg_restrict",
    "kernel/unprivileged_bpf_disabled",
    "kernel/perf_event_paranoid",
    "kernel/io_uring_disabled",
    "vm/unprivileged_userfaultfd",
    "dev/tty/legacy_tiocsti",
    "user/max_user_namespaces",
    "kernel/unprivileged_userns_clone",
];

/// Parts of `/proc` and `/sys` that show too much of the host: what must be covered.
pub const HIDDEN: [&str; 12] = [
    "proc/acpi",
    "proc/asound",
    "proc/interrupts",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/sched_debug",
    "proc/scsi",
    "proc/timer_list",
    "proc/timer_stats",
    "sys/firmware",
    "sys/devices/virtual/powercap",
];

/// Those that change the host: what must not be written to.
pub const UNWRITTEN: [&str; 11] = [
    "proc/bus",
    "proc/fs",
    "proc/irq",
    "proc/sys",
    "proc/sysrq-trigger",
    "sys",
    "sys/kernel",
    "sys/module",
    "sys/fs/cgroup",
    "sys/kernel/debug",
    "sys/kernel/tracing",
];

/// All that is known.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The process that was named.
    pub main: Process,
    /// Those that are with it.
    pub others: Vec<Process>,
    /// There were more than anybody looks at.
    pub too_many: bool,
    /// Processes of the host that are in its mount namespace, and not in its pid namespace: `ctr exec` while its command runs, a
    /// debugger. Nobody inside sees them. Numbers and names.
    pub visitors: Vec<(u32, String)>,
    /// Its ids.
    pub users: Seen<Vec<Mapped>>,
    /// Its group ids.
    pub groups: Seen<Vec<Mapped>>,
    /// What is mounted for it, and can be reached by a name.
    pub mounts: Seen<Vec<Mount>>,
    /// The numbers of all that is mounted for it.
    pub mount_ids: BTreeSet<u32>,
    /// How [`HIDDEN`] and [`UNWRITTEN`] look from inside.
    pub covers: Seen<BTreeMap<&'static str, Cover>>,
    /// Device nodes in its root that can be opened.
    pub devices: Seen<Vec<Device>>,
    /// Mounts that are no directories: nothing can be made in them.
    pub single: BTreeSet<PathBuf>,
    /// Its control groups.
    pub limits: Seen<Limits>,
    /// In which hierarchies there is the group that its record names: [`limits::hierarchies_with`]; none where there is no record.
    pub homes: Vec<Vec<String>>,
    /// Its resource limits.
    pub resources: Seen<Vec<Option<(u64, u64)>>>,
    /// The sockets of its network namespace.
    pub sockets: Seen<Vec<Socket>>,
    /// The names of its environment.
    pub environment: Seen<Vec<String>>,
    /// Kernel parameters as it has them, by their paths below `/proc/sys`, as far as [`sysctls`] was asked to look.
    pub sysctls: BTreeMap<String, Seen<String>>,
    /// The machine.
    pub machine: Machine,
}

impl Facts {
    /// All processes, the named one first.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        std::iter::once(&self.main).chain(&self.others)
    }
}

fn c(name: impl Into<Vec<u8>>) -> CString {
    CString::new(name).unwrap_or_default()
}

/// A process's directory in procfs, which never leads to another one.
struct Dir {
    pid: u32,
    dir: OwnedFd,
}

impl Dir {
    /// Opens it, if the process lives.
    fn open(proc: BorrowedFd, pid: u32) -> io::Result<Dir> {
        // The pidfd first: if it has not ended when the directory is open, both are of the same process, and the directory
        // answers ESRCH from its end on, whoever gets the number.
        let process = sys::pidfd_open(pid)?;
        let dir = sys::openat(proc, &c(pid.to_string()), k::O_RDONLY | k::O_DIRECTORY, 0)?;
        let mut wanted = [sys::PollFd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
        if sys::poll(&mut wanted, 0)? > 0 {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(Dir { pid, dir })
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        procfs::read(self.dir.as_fd(), &c(name))
    }

    fn link(&self, name: &str) -> io::Result<String> {
        let mut text = [0; 4096];
        let n = sys::readlink(self.dir.as_fd(), &c(name), &mut text)?;
        Ok(String::from_utf8_lossy(text.get(..n).unwrap_or_default()).into_owned())
    }

    fn names(&self, name: &str) -> io::Result<Vec<CString>> {
        walk::names(sys::openat(self.dir.as_fd(), &c(name), k::O_RDONLY | k::O_DIRECTORY, 0)?.as_fd())
    }

    fn threads(&self, left: &mut usize) -> Seen<Vec<Thread>> {
        let mut all = Vec::new();
        for name in self.names("task")? {
            if *left == 0 {
                break;
            }
            *left -= 1;
            match self.read(&format!("task/{}/status", name.to_string_lossy())) {
                Ok(text) => all.extend(parse::thread(&text)),
                // A thread may end at any time.
                Err(e) if matches!(e.raw_os_error(), Some(libc::ESRCH | libc::ENOENT)) => {}
                Err(e) => return Err(e.into()),
            }
        }
        if all.is_empty() { Err(Unseen("it has just ended".to_owned())) } else { Ok(all) }
    }

    fn namespaces(&self) -> Namespaces {
        namespaces(self.dir.as_fd(), "ns")
    }

    /// The descriptors, and what they lead to: looked at as places, nothing is opened.
    fn descriptors(&self, proc: BorrowedFd, left: &mut usize) -> Seen<Vec<Descriptor>> {
        let mut all = Vec::new();
        for name in self.names("fd")? {
            if *left == 0 {
                break;
            }
            *left -= 1;
            let name = name.to_string_lossy().into_owned();
            let link = format!("fd/{name}");
            // Whatever was closed meanwhile is not there any more.
            let Ok(to) = self.link(&link) else { continue };
            let (flags, mount) =
                self.read(&format!("fdinfo/{name}")).map_or((None, None), |text| parse::descriptor(&text));
            let (kind, device) = self
                .place(&link)
                .and_then(|place| look_at(place.as_fd()))
                .map_or((None, (0, 0)), |(kind, device)| (Some(kind), device));
            let writable = flags.is_none_or(|flags| flags & k::O_ACCMODE != k::O_RDONLY && flags & k::O_PATH == 0);
            all.push(Descriptor { name, to, kind, device, mount, writable });
        }
        if let (Ok(to), Ok(place)) = (self.link("cwd"), self.place("cwd")) {
            let info = procfs::read(proc, &c(format!("self/fdinfo/{}", place.as_raw_fd())));
            let mount = info.ok().and_then(|text| parse::descriptor(&text).1);
            all.push(Descriptor {
                name: "cwd".to_owned(),
                to,
                kind: Some(k::S_IFDIR),
                device: (0, 0),
                mount,
                writable: false,
            });
        }
        Ok(all)
    }

    /// What a link of procfs leads to, as a place.
    fn place(&self, link: &str) -> io::Result<OwnedFd> {
        sys::openat(self.dir.as_fd(), &c(link), k::O_PATH, 0)
    }

    fn process(&self, proc: BorrowedFd, left: &mut [usize; 2]) -> Process {
        let [threads, descriptors] = left;
        let label = self
            .read("attr/current")
            .map(|text| String::from_utf8_lossy(&text).trim_end_matches(['\n', '\0']).to_owned());
        Process {
            pid: self.pid,
            threads: self.threads(threads),
            namespaces: self.namespaces(),
            label: label.map_err(Unseen::from),
            descriptors: self.descriptors(proc, descriptors),
            groups: self.read("cgroup").map(|text| parse::hierarchies(&text)).map_err(Unseen::from),
        }
    }

    fn parent(&self) -> Option<u32> {
        parse::thread(&self.read("status").ok()?).map(|thread| thread.parent)
    }
}

/// `S_IFMT` and device number.
fn look_at(place: BorrowedFd) -> io::Result<(u32, (u32, u32))> {
    let found = sys::fstat(place)?;
    let device = found.st_rdev;
    let major = (device >> 8 & 0xfff) | (device >> 32 & !0xfff);
    let minor = (device & 0xff) | (device >> 12 & !0xff);
    Ok((found.st_mode & k::S_IFMT, (major as u32, minor as u32)))
}

fn namespaces(dir: BorrowedFd, at: &str) -> Namespaces {
    let look = |kind: &'static str| {
        let seen = match procfs::namespace(dir, &c(format!("{at}/{kind}"))) {
            Ok(found) => Ok(Some(found)),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(e) => Err(e.into()),
        };
        (kind, seen)
    };
    NAMESPACES.into_iter().map(look).collect()
}

fn machine(proc: BorrowedFd) -> Machine {
    let text = |name: &CStr| procfs::read(proc, name);
    let ours = namespaces(proc, "self/ns");
    let first = namespaces(proc, "1/ns");
    let setting = |name: &'static str| {
        let text = procfs::read(proc, &c(format!("sys/{name}"))).ok()?;
        Some((name, String::from_utf8_lossy(&text).trim_end().to_owned()))
    };
    let sockets = sockets(proc, "self/net").map(|(all, inodes)| {
        all.into_iter().map(|socket| socket.inode).chain(inodes).filter(|inode| *inode != 0).collect()
    });
    let online = sys::openat(sys::CWD, c"/sys/devices/system/cpu/online", k::O_RDONLY, 0)
        .and_then(|file| procfs::read_all(file.as_fd(), 1 << 16));
    let modules = sys::openat(sys::CWD, c"/sys/kernel/security/lsm", k::O_RDONLY, 0)
        .and_then(|file| procfs::read_all(file.as_fd(), 1 << 12));
    Machine {
        first: if first.values().any(Seen::is_err) { ours.clone() } else { first },
        ours,
        mounts: text(c"self/mountinfo").map(|text| mounts::parse(&text)).unwrap_or_default(),
        sockets: sockets.ok(),
        settings: SETTINGS.into_iter().filter_map(setting).collect(),
        modules: modules.ok().map(|text| String::from_utf8_lossy(&text).trim().to_owned()),
        groups: text(c"self/cgroup").map(|text| parse::hierarchies(&text)).unwrap_or_default(),
        processors: online.ok().and_then(|text| parse::numbers(&String::from_utf8_lossy(&text))).map(|all| all.len()),
    }
}

/// The sockets of a network namespace, and the inode numbers of those kinds that have nothing else to say.
fn sockets(dir: BorrowedFd, at: &str) -> io::Result<(Vec<Socket>, Vec<u64>)> {
    // What is too long to be read is not nothing: whoever is in there can make it so.
    let table = |kind: &str| match procfs::read(dir, &c(format!("{at}/{kind}"))) {
        // Without IPv6, say.
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(Vec::new()),
        read => read,
    };
    let mut all = Vec::new();
    for kind in ["tcp", "tcp6", "udp", "udp6", "udplite", "raw", "raw6"] {
        all.extend(parse::inet(kind, &table(kind)?));
    }
    all.extend(parse::unix(&table("unix")?));
    let mut inodes = Vec::new();
    for kind in ["netlink", "packet"] {
        inodes.extend(parse::last_column(&table(kind)?));
    }
    Ok((all, inodes))
}

/// Every process that there is, by number.
fn everybody(proc: BorrowedFd) -> Vec<u32> {
    let list = sys::openat(proc, c".", k::O_RDONLY | k::O_DIRECTORY, 0);
    let names = list.and_then(|list| walk::names(list.as_fd())).unwrap_or_default();
    names.iter().filter_map(|name| name.to_str().ok()?.parse().ok()).collect()
}

/// The processes that belong to this one: in its pid namespace, if that is not the machine's or ours, otherwise those that somebody knows to
/// (`members`, of its control groups), or those in its mount namespace; and what descends from any of them, into whatever
/// namespaces. And beside them the visitors: who is in its mount namespace alone.
fn company(proc: BorrowedFd, main: &Dir, machine: &Machine, members: &[u32]) -> (BTreeSet<u32>, BTreeSet<u32>) {
    let own = main.namespaces();
    let apart = |kind: &str| {
        let seen = own.get(kind)?;
        let same = |of: &Namespaces| of.get(kind) == Some(seen);
        (seen.is_ok() && !same(&machine.first) && !same(&machine.ours)).then_some(seen)
    };
    let (pid_space, mounts) = (apart("pid"), apart("mnt"));
    let mut all = BTreeSet::from([main.pid]);
    all.extend(members);
    let mut beside = BTreeSet::new();
    let mut parents = BTreeMap::new();
    for pid in everybody(proc) {
        let Ok(dir) = Dir::open(proc, pid) else { continue };
        let is_in = |kind: &str, space: Option<&Seen<Option<Namespace>>>| {
            let theirs = || procfs::namespace(dir.dir.as_fd(), &c(format!("ns/{kind}"))).ok();
            space.is_some_and(|space| theirs().is_some_and(|theirs| *space == Ok(Some(theirs))))
        };
        if is_in("pid", pid_space) {
            all.insert(pid);
        } else if is_in("mnt", mounts) {
            let set = if pid_space.is_none() && members.is_empty() { &mut all } else { &mut beside };
            set.insert(pid);
        }
        if let Some(parent) = dir.parent() {
            parents.insert(pid, parent);
        }
    }
    // Descendants of descendants: until there are no more.
    loop {
        let new = |(pid, parent): &(&u32, &u32)| !all.contains(pid) && all.contains(parent);
        let more: Vec<u32> = parents.iter().filter(new).map(|(pid, _)| *pid).collect();
        if more.is_empty() {
            beside.retain(|pid| !all.contains(pid));
            return (all, beside);
        }
        all.extend(more);
    }
}

/// Looks at a process, and at those that are with it. `members` are known to belong to it.
pub fn look(pid: u32, members: &[u32]) -> Result<Facts> {
    let doing = || format!("look at process {pid}");
    let proc = procfs::open().doing(doing(), "/proc")?;
    let proc = sys::openat(proc.as_fd(), c".", k::O_RDONLY | k::O_DIRECTORY, 0).doing(doing(), "/proc")?;
    let main = match Dir::open(proc.as_fd(), pid) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ESRCH | libc::EINVAL | libc::ENOENT)) => {
            return Err(Error::usage(format_args!("there is no process {pid}, or it has just ended")));
        }
        opened => opened.doing(doing(), format_args!("/proc/{pid}"))?,
    };
    let machine = machine(proc.as_fd());
    let mut left = [MOST_THREADS, MOST_DESCRIPTORS];
    let process = main.process(proc.as_fd(), &mut left);
    let (company, beside) = company(proc.as_fd(), &main, &machine, members);
    let name = |pid: &u32| {
        let text = Dir::open(proc.as_fd(), *pid).ok()?.read("status").ok()?;
        Some((*pid, parse::thread(&text)?.name))
    };
    let others: Vec<Process> = company
        .iter()
        .filter(|other| **other != pid)
        .take(MOST_PROCESSES)
        .filter_map(|other| Some(Dir::open(proc.as_fd(), *other).ok()?.process(proc.as_fd(), &mut left)))
        .collect();
    let read = |name: &str| main.read(name).map_err(Unseen::from);
    let mounts = read("mountinfo").map(|text| mounts::parse(&text));
    let mount_ids = mounts.iter().flatten().map(|mount| mount.id).collect();
    let mounts = mounts.map(|all| visible(&all));
    let root = root(&main, mounts.as_deref().unwrap_or_default());
    let mut single = BTreeSet::new();
    let facts = Facts {
        too_many: company.len() > MOST_PROCESSES || left.contains(&0),
        visitors: beside.iter().take(MOST_PROCESSES).filter_map(name).collect(),
        users: read("uid_map").map(|text| parse::map(&text)),
        groups: read("gid_map").map(|text| parse::map(&text)),
        covers: root.as_ref().map_err(Clone::clone).map(|root| covers(root.as_fd())),
        devices: match (&root, &mounts) {
            (Ok(root), Ok(mounts)) => Ok(devices(root.as_fd(), mounts, &mut single)),
            (Err(e), _) | (_, Err(e)) => Err(e.clone()),
        },
        limits: read("cgroup").map(|text| limits::look(&parse::hierarchies(&text), &machine.mounts)),
        resources: read("limits").map(|text| parse::resource_limits(&text)),
        sockets: sockets(main.dir.as_fd(), "net").map(|(all, _)| all).map_err(Unseen::from),
        environment: read("environ").map(|text| parse::environment(&text)),
        sysctls: BTreeMap::new(),
        homes: Vec::new(),
        main: process,
        mount_ids,
        others,
        single,
        mounts,
        machine,
    };
    // If it ended meanwhile, most of this is about nobody.
    match &facts.main.threads {
        Ok(all) if all.iter().any(|thread| !matches!(thread.state, 'Z' | 'X')) && read("status").is_ok() => Ok(facts),
        _ => Err(Error::usage(format_args!("process {pid} has just ended"))),
    }
}

/// Looks up kernel parameters as the process behind the pidfd has them: the last thing to be done before all is printed, because we enter its
/// namespaces for it, and stay there.
///
/// Such a parameter belongs to a namespace, and the kernel shows everybody his own, whichever procfs he reads it in
/// (fs/proc/proc_sysctl.c looks at the caller). So they are read in *our* procfs, where nothing of the container's is on the way, by a process that is in
/// its network, ipc and uts namespaces; and in its user namespace, whose numbers a group id in a value has
/// (net.ipv4.ping_group_range). There we have power over the container alone, and nobody in it can take us over: we are not dumpable.
pub fn sysctls(process: BorrowedFd, facts: &mut Facts, paths: &[String]) -> Result<()> {
    const ENTERED: [(&str, u32); 4] =
        [("user", k::CLONE_NEWUSER), ("net", k::CLONE_NEWNET), ("ipc", k::CLONE_NEWIPC), ("uts", k::CLONE_NEWUTS)];
    let sys = procfs::open()
        .and_then(|proc| sys::openat(proc.as_fd(), c"sys", k::O_PATH | k::O_DIRECTORY, 0))
        .doing("look at kernel parameters", "/proc/sys")?;
    let others = ENTERED.iter().filter(|(kind, _)| facts.main.namespaces.get(kind) != facts.machine.ours.get(kind));
    let which = others.fold(0, |all, (_, flag)| all | flag);
    let entered = match which {
        0 => Ok(()),
        _ => sys::not_dumpable().and_then(|()| sys::enter_namespaces(process, which)).map_err(Unseen::from),
    };
    let look = |path: &String| -> Seen<String> {
        entered.clone()?;
        let file = match sys::openat(sys.as_fd(), &c(path.as_str()), k::O_RDONLY | k::O_NOFOLLOW, 0) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                return Err(Unseen("it is not there (any more)".to_owned()));
            }
            opened => opened?,
        };
        if sys::fs_magic(file.as_fd())? != u64::from(k::PROC_SUPER_MAGIC) {
            return Err(Unseen("something else is mounted there".to_owned()));
        }
        Ok(String::from_utf8_lossy(&procfs::read_all(file.as_fd(), 1 << 16)?).trim().to_owned())
    };
    facts.sysctls = paths.iter().map(|path| (path.clone(), look(path))).collect();
    Ok(())
}

/// Those of many mounts that nothing else is mounted over: neither over the place that each is at, nor over one above it.
fn visible(all: &[Mount]) -> Vec<Mount> {
    let by_id: BTreeMap<u32, &Mount> = all.iter().map(|mount| (mount.id, mount)).collect();
    let mut on: BTreeMap<u32, Vec<&Mount>> = BTreeMap::new();
    for mount in all {
        on.entry(mount.parent).or_default().push(mount);
    }
    let others = |parent: u32, id: u32| on.get(&parent).into_iter().flatten().filter(move |other| other.id != id);
    let is_visible = |mount: &&Mount| {
        if others(mount.id, mount.id).any(|other| other.at == mount.at) {
            return false;
        }
        let mut at = *mount;
        // The initial ramfs is its own parent; and a list that was read while mounts changed may lead anywhere.
        for _ in 0..all.len() {
            if others(at.parent, at.id).any(|other| at.at != other.at && at.at.starts_with(&other.at)) {
                return false;
            }
            match by_id.get(&at.parent).filter(|parent| parent.id != at.id) {
                Some(parent) => at = parent,
                None => break,
            }
        }
        true
    };
    all.iter().filter(is_visible).cloned().collect()
}

/// Its root, unless looking there could make us wait for a program of its own.
fn root(main: &Dir, mounts: &[Mount]) -> Seen<OwnedFd> {
    let slow = |mount: &&Mount| {
        let at = mount.at.as_os_str().as_bytes();
        mount.fs.starts_with("fuse") && [&b"/"[..], b"/dev", b"/proc", b"/sys"].contains(&at)
    };
    if let Some(mount) = mounts.iter().find(slow) {
        return Err(Unseen(format!(
            "{} is served by a program ({}), which is not waited for",
            mount.at.display(),
            mount.fs
        )));
    }
    Ok(main.place("root")?)
}

fn covers(root: BorrowedFd) -> BTreeMap<&'static str, Cover> {
    /// What the kernel makes up.
    const KERNELS: [u32; 8] = [
        k::PROC_SUPER_MAGIC,
        k::SYSFS_MAGIC,
        k::CGROUP_SUPER_MAGIC,
        k::CGROUP2_SUPER_MAGIC,
        k::DEBUGFS_MAGIC,
        k::TRACEFS_MAGIC,
        k::SECURITYFS_MAGIC,
        k::BPF_FS_MAGIC,
    ];
    let look = |path: &'static str| {
        // No link is followed: /proc and /sys are mounts, or they are nothing.
        let Ok(place) = path::open(root, &c(path), k::O_PATH, Links::Refuse) else { return (path, Cover::Absent) };
        let cover = match sys::fs_flags(place.as_fd()) {
            Ok((magic, flags)) if KERNELS.iter().any(|one| u64::from(*one) == magic) => {
                if flags & libc::ST_RDONLY != 0 { Cover::ReadOnly } else { Cover::Writable }
            }
            _ => Cover::Hidden,
        };
        (path, cover)
    };
    HIDDEN.into_iter().chain(UNWRITTEN).map(look).collect()
}

/// Device nodes that can be opened: in /dev, however deep, and those that are mounted one by one.
fn devices(root: BorrowedFd, mounts: &[Mount], single: &mut BTreeSet<PathBuf>) -> Vec<Device> {
    let mut found = BTreeMap::new();
    let mut left = MOST_NODES;
    if let Ok(dev) = path::open(root, c"dev", k::O_RDONLY | k::O_DIRECTORY, Links::Refuse) {
        nodes(dev.as_fd(), Path::new("/dev"), 4, &mut left, &mut found);
    }
    for mount in mounts.iter().filter(|mount| !mount.fs.starts_with("fuse")).take(MOST_NODES) {
        if let Ok(place) = path::open(root, &c(mount.at.as_os_str().as_bytes()), k::O_PATH, Links::Refuse) {
            note(place.as_fd(), &mount.at, &mut found);
            if !matches!(look_at(place.as_fd()), Ok((k::S_IFDIR, _))) {
                single.insert(mount.at.clone());
            }
        }
    }
    found.into_values().collect()
}

fn note(place: BorrowedFd, path: &Path, found: &mut BTreeMap<PathBuf, Device>) {
    let Ok((kind, number)) = look_at(place) else { return };
    let alive = sys::fs_flags(place).is_ok_and(|(_, flags)| flags & libc::ST_NODEV == 0);
    if alive && matches!(kind, k::S_IFCHR | k::S_IFBLK) {
        let device = Device { path: path.to_owned(), block: kind == k::S_IFBLK, number };
        found.insert(path.to_owned(), device);
    }
}

fn nodes(dir: BorrowedFd, at: &Path, deep: usize, left: &mut usize, found: &mut BTreeMap<PathBuf, Device>) {
    for name in walk::names(dir).unwrap_or_default() {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let path = at.join(OsStr::from_bytes(name.to_bytes()));
        let Ok(place) = sys::openat(dir, &name, k::O_PATH | k::O_NOFOLLOW, 0) else { continue };
        if !matches!(look_at(place.as_fd()), Ok((k::S_IFDIR, _))) {
            note(place.as_fd(), &path, found);
        } else if deep > 0 {
            if let Ok(below) = sys::openat(place.as_fd(), c".", k::O_RDONLY | k::O_DIRECTORY, 0) {
                nodes(below.as_fd(), &path, deep - 1, left, found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_covered_is_not_seen() {
        let text = b"10 1 0:1 / / rw - overlay overlay rw\n\
            11 10 0:2 / /proc rw - proc proc rw\n\
            12 11 0:3 / /proc/keys rw - tmpfs tmpfs rw\n\
            13 11 0:4 / /proc rw - ext4 /dev/vda rw\n\
            14 10 0:5 / /a/b rw - tmpfs t rw\n\
            15 10 0:6 / /a rw - tmpfs t rw\n\
            16 15 0:7 / /a/b rw - tmpfs t rw\n\
            17 14 0:8 / /a/b/c rw - tmpfs t rw\n";
        let seen: Vec<u32> = visible(&mounts::parse(text)).iter().map(|mount| mount.id).collect();
        assert_eq!(seen, [10, 13, 15, 16]);
        let circle = b"1 2 0:1 / / rw - a a rw\n2 1 0:1 / / rw - a a rw\n3 3 0:1 / / rw - rootfs rootfs rw\n";
        visible(&mounts::parse(circle));
    }

    #[test]
    fn our_own_process_can_be_looked_at() {
        let facts = look(std::process::id(), &[]).unwrap();
        assert_eq!(facts.main.pid, std::process::id());
        assert!(facts.main.threads.is_ok() && facts.mounts.is_ok() && facts.environment.is_ok());
        assert!(facts.main.descriptors.unwrap().iter().any(|descriptor| descriptor.name == "0"));
        assert!(look(u32::MAX / 2, &[]).is_err());
    }

    #[test]
    fn a_table_that_is_too_long_is_not_empty() {
        let dir = std::env::temp_dir().join(format!("ctr-audit-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("net")).unwrap();
        let at = sys::openat(sys::CWD, &c(dir.as_os_str().as_bytes()), k::O_RDONLY | k::O_DIRECTORY, 0).unwrap();
        let found = |length: usize| {
            let line = "0000000000000000: 00000002 00000000 00010000 0001 01 16113 @abstract\n";
            std::fs::write(dir.join("net/unix"), format!("Num\n{}", line.repeat(length / line.len()))).unwrap();
            sockets(at.as_fd(), "net").map(|(all, _)| all.len())
        };
        assert!(found(1 << 20).is_ok_and(|number| number > 10_000));
        assert_eq!(found(5 << 20).map_err(|e| e.raw_os_error()), Err(Some(libc::EFBIG)));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
