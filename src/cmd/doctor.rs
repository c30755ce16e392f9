//! `ctr doctor`: what this machine can do for containers, found out by doing it.
//!
//! Every check makes one [`Row`]. What can be tried is tried, with the very operations that `ctr run` uses, in a process
//! that lives for nothing else, in namespaces of its own and with the privileges that a container of this user would have
//! ([`Host::attempt`]): a version number or a line in `/proc/filesystems` says what a kernel should be able to do, not
//! what it lets us do. Nothing of the machine is changed by that, but one thing: a kernel that loads its modules by
//! itself may load those that were tried, as it would for the first container.
//!
//! A row that is not good says what that costs and what to do. Some are *vital*: without them no container runs, and the
//! exit code is 1. With `--fix` (root alone) what is not mounted is mounted first, on the machine itself.

use std::ffi::{CStr, CString, OsString};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use linux_raw_sys::general as k;
use rootfs::dev;
use rootfs::json;
use rootfs::mounts::{self, Mount};
use rootfs::op::{NewFs, PLAIN, Rules};
use rootfs::{InRoot, Op as Tree, Trees};

use super::read;
use crate::cli::Doctor;
use crate::container::step::{Op, step};
use crate::container::{record, spawn};
use crate::error::{Error, Result, hint};
use crate::idmap::IdMap;
use crate::{procfs, sys};

/// The verb.
pub fn run(words: &[OsString]) -> Result<u8> {
    let Some((asked, operands)) = read::<Doctor>("doctor", words)? else { return Ok(0) };
    match operands.as_slice() {
        [] => {}
        [word] => return super::diagnosis::diagnose(&asked, word),
        _ => return Err(Error::usage("ctr doctor looks at this machine, or at one CONTAINER")),
    }
    let show = match asked.format.as_deref() {
        None | Some("table") => table,
        Some("json") => list,
        Some(other) => return Err(Error::usage(format_args!("bad --format {other:?}: it is table or json"))),
    };
    if asked.fix {
        fix()?;
    }
    let rows = examine(&Host::look());
    let runs = rows.last().is_none_or(|verdict| verdict.state != State::Missing);
    super::print(&show(&rows))?;
    Ok(u8::from(!runs))
}

/// All checks, the verdict last. Where something is missing that others need, those are not tried: they would only say
/// the same in other words.
fn examine(host: &Host) -> Vec<Row> {
    let mut rows = vec![kernel(), open_files()];
    if all_good(&rows) {
        look(host, &mut rows);
    }
    rows.push(verdict(host, &rows));
    rows
}

fn look(host: &Host, rows: &mut Vec<Row>) {
    let userns = user_namespaces(host);
    let has_userns = userns.state == State::Good;
    rows.push(userns);
    if host.proc.is_ok() {
        rows.push(without_root(host));
    }
    let mut go_on = host.root || has_userns;
    for check in [namespaces, mounting] {
        if go_on {
            rows.push(check(host));
            go_on = all_good(rows);
        }
    }
    if go_on {
        rows.extend([filesystems(host), root(host)]);
        if host.root {
            rows.push(device_nodes(host));
        }
        rows.push(overlay(host));
        if host.root && has_userns {
            rows.extend([overlay_in_userns(host), idmapped(host)]);
        }
    }
    rows.push(mount_setattr());
    if host.proc.is_ok() {
        rows.push(cgroups(host));
    }
    rows.extend([seccomp(), mounted(host), devices(host), state_folder(), clock()]);
    if go_on {
        rows.extend([link(host, "bridge"), link(host, "veth")]);
    }
    // Last, because it may take ourselves elsewhere.
    rows.push(nf_tables(host));
}

/// Nothing vital is missing.
fn all_good(rows: &[Row]) -> bool {
    !rows.iter().any(Row::in_the_way)
}

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Good,
    Limited,
    Missing,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Good => "good",
            State::Limited => "limited",
            State::Missing => "missing",
        }
    }
}

/// What one check found.
#[derive(Debug)]
struct Row {
    name: &'static str,
    state: State,
    found: String,
    /// What cannot be done because of it.
    costs: &'static str,
    /// What to do about it.
    todo: &'static str,
    /// Without it no container runs.
    vital: bool,
}

impl Row {
    fn good(name: &'static str, found: String) -> Row {
        Row { name, state: State::Good, found, costs: "", todo: "", vital: false }
    }

    fn missing(name: &'static str, found: String, costs: &'static str, todo: &'static str) -> Row {
        Row { name, state: State::Missing, found, costs, todo, vital: false }
    }

    fn limited(name: &'static str, found: String, costs: &'static str, todo: &'static str) -> Row {
        Row { state: State::Limited, ..Row::missing(name, found, costs, todo) }
    }

    fn vital(self) -> Row {
        Row { vital: true, ..self }
    }

    fn in_the_way(&self) -> bool {
        self.vital && self.state == State::Missing
    }
}

/// Several things of a kind: those that are there, those that are not.
#[derive(Default)]
struct Group {
    there: String,
    lacking: String,
    /// Why the first of those is not.
    first: Option<Refused>,
}

impl Group {
    fn add(&mut self, name: &str, there: bool) {
        let list = if there { &mut self.there } else { &mut self.lacking };
        if !list.is_empty() {
            list.push(' ');
        }
        list.push_str(name);
    }

    fn tried(&mut self, name: &str, result: Tried) {
        self.add(name, result.is_ok());
        if self.first.is_none() {
            self.first = result.err();
        }
    }

    /// Of the first that failed.
    fn errno(&self) -> i32 {
        self.first.as_ref().map_or(0, |refused| refused.errno)
    }

    fn row(self, name: &'static str, costs: &'static str, todo: &'static str) -> Row {
        if self.lacking.is_empty() {
            return Row::good(name, self.there);
        }
        let mut found = self.there;
        found.push_str(if found.is_empty() { "not " } else { "; not " });
        found.push_str(&self.lacking);
        if let Some(refused) = self.first {
            let _ = write!(found, " ({})", refused.why);
        }
        Row::missing(name, found, costs, todo)
    }
}

// ---- what is known, and how things are tried

/// The machine, as far as it can be seen without trying.
struct Host {
    /// We are root (perhaps only in a user namespace of somebody's).
    root: bool,
    /// The ids that an ordinary user's container has.
    map: Option<IdMap>,
    /// A descriptor of this process, for those that wait for it.
    ourselves: Option<OwnedFd>,
    /// procfs, mounted or not.
    proc: io::Result<OwnedFd>,
    mountinfo: Vec<u8>,
    mounts: Vec<Mount>,
    /// A directory to mount on, in mount namespaces that are thrown away.
    place: Option<&'static CStr>,
}

impl Host {
    fn look() -> Host {
        let root = sys::euid() == 0;
        let proc = procfs::open();
        let mountinfo = proc
            .as_ref()
            .ok()
            .and_then(|proc| procfs::read(proc.as_fd(), c"self/mountinfo").ok())
            .unwrap_or_default();
        let places = [c"/run", c"/tmp", c"/mnt", c"/var", c"/etc", c"/root", c"/dev", c"/usr", c"/bin"];
        let is_dir = |path: &CStr| sys::openat(sys::CWD, path, k::O_PATH | k::O_DIRECTORY, 0).is_ok();
        Host {
            root,
            map: (!root).then(|| IdMap::only(sys::euid(), sys::egid())),
            ourselves: sys::pidfd_open(std::process::id()).ok(),
            proc,
            mounts: mounts::parse(&mountinfo),
            mountinfo,
            place: places.into_iter().find(|path| is_dir(path)),
        }
    }

    /// A file of procfs, as text; empty if it is not there.
    fn text(&self, path: &CStr) -> String {
        let bytes = self.proc.as_ref().ok().and_then(|proc| procfs::read(proc.as_fd(), path).ok());
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    }

    /// What is mounted at a path, on top of all else there.
    fn mount_at(&self, path: &str) -> Option<&Mount> {
        self.mounts.iter().rfind(|mount| mount.at == Path::new(path))
    }

    /// `/` is not the root of a mount: the kernel refuses a lot there.
    fn in_chroot(&self) -> bool {
        self.proc.is_ok() && self.mount_at("/").is_none()
    }

    /// Does it in namespaces as a container of this user has them.
    fn attempt(&self, namespaces: u32, ops: Vec<Op>) -> Tried {
        self.within(self.map.as_ref(), namespaces, ops)
    }

    /// The same in a mount namespace (and others), with an empty tmpfs as working directory.
    fn on_tmpfs(&self, map: Option<&IdMap>, namespaces: u32, then: Vec<Tree>) -> Tried {
        let Some(place) = self.place else {
            return Err(Refused { errno: libc::ENOENT, why: "no directory in / to try it on".to_owned() });
        };
        let mut ops = Vec::with_capacity(3 + then.len());
        ops.push(Op::Tree(Tree::Private));
        ops.push(Op::Tree(Tree::Mount(new(c"tmpfs", 0), place.into())));
        ops.push(Op::Tree(Tree::Enter(place.into())));
        ops.extend(then.into_iter().map(Op::Tree));
        self.within(map, namespaces | k::CLONE_NEWNS, ops)
    }

    /// A process for this alone, in a user namespace with that map if there is one.
    fn within(&self, map: Option<&IdMap>, mut namespaces: u32, ops: Vec<Op>) -> Tried {
        let mut steps = Vec::with_capacity(2);
        if map.is_some() {
            namespaces |= k::CLONE_NEWUSER;
            // Outside of a map's ids nobody can make a file.
            let root_inside = Op::Become { groups: None, ids: Some((0, 0)) };
            steps.push(step("maps", "be root in a user namespace", vec![Op::AwaitParent(self.pidfd()), root_inside]));
        }
        steps.push(step("attempt", "try it", ops));
        spawn::attempt(namespaces, &steps, map).map_err(|error| {
            let what = if error.at.is_empty() { &error.doing } else { &error.at };
            Refused { errno: error.cause.raw_os_error().unwrap_or(0), why: format!("{what}: {}", error.cause) }
        })
    }

    /// The number of that descriptor; -1 is one that never has news.
    fn pidfd(&self) -> RawFd {
        self.ourselves.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }
}

/// How an attempt went.
type Tried = std::result::Result<(), Refused>;

/// Why something that was tried did not work.
#[derive(Debug)]
struct Refused {
    errno: i32,
    /// The call, and the kernel's answer.
    why: String,
}

/// A detached copy of a mount, in slot 0.
fn copy_of(from: &CStr) -> Tree {
    Tree::Tree { from: from.into(), recursive: false, rules: Rules::default(), into: 0 }
}

fn new(fs: &'static CStr, flags: u32) -> NewFs {
    NewFs { fs, data: CString::default(), flags }
}

/// A kernel without it, in few words.
const UNKNOWN: &str = "the kernel does not know it";

/// What to do when even making a process in namespaces of its own is refused.
fn about_clone(host: &Host, errno: i32) -> &'static str {
    match errno {
        libc::EPERM if host.in_chroot() => "leave the chroot, or make it the root by pivot_root",
        libc::EPERM if host.root => "root without CAP_SYS_ADMIN: start the container around us with --privileged",
        libc::EPERM | libc::EACCES => "a seccomp filter or a security module (AppArmor, SELinux) forbids it",
        libc::ENOSYS => "a seccomp filter: start the container around us with --security-opt seccomp=unconfined",
        libc::EINVAL => "a kernel with all of CONFIG_NAMESPACES",
        libc::ENOSPC => "raise what is used up of /proc/sys/user/max_*_namespaces",
        _ => "",
    }
}

// ---- the checks

/// The oldest kernel that ctr is made for.
const FLOOR: (u32, u32) = (5, 10);

fn kernel() -> Row {
    let release = sys::kernel_release().unwrap_or_default();
    if version(&release).is_some_and(|version| version < FLOOR) {
        return Row::limited(
            "kernel",
            release,
            "ctr is made for 5.10 and later, and not tested here",
            "a newer kernel",
        );
    }
    Row::good("kernel", release)
}

/// `6.1.0-50-amd64` is (6, 1).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.splitn(3, |c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn user_namespaces(host: &Host) -> Row {
    let name = "user namespaces";
    let map = host.map.clone().unwrap_or_else(|| IdMap::chosen_by("0"));
    // A user namespace may be allowed and then good for nothing (AppArmor): so a privilege is used in it.
    let Err(refused) = host.within(Some(&map), k::CLONE_NEWNS, vec![Op::Tree(Tree::Private)]) else {
        return Row::good(name, format!("one with {} of its own", if host.root { "65536 ids" } else { "an id" }));
    };
    let todo = match forbidding(host) {
        Some(sysctl) => sysctl.todo,
        None if host.proc.is_err() => "ctr doctor --fix, as root",
        None => about_clone(host, refused.errno),
    };
    if host.root {
        Row::missing(name, refused.why, "--userns auto falls back to the host's ids, required fails", todo)
    } else {
        Row::missing(name, refused.why, "an ordinary user runs no containers at all", todo).vital()
    }
}

/// A setting of the kernel that can keep ordinary users from having user namespaces.
struct Sysctl {
    name: &'static str,
    path: &'static CStr,
    /// The value that does it.
    bad: u64,
    todo: &'static str,
}

static SYSCTLS: [Sysctl; 3] = [
    Sysctl {
        name: "kernel.unprivileged_userns_clone",
        path: c"sys/kernel/unprivileged_userns_clone",
        bad: 0,
        todo: "sysctl -w kernel.unprivileged_userns_clone=1",
    },
    Sysctl {
        name: "user.max_user_namespaces",
        path: c"sys/user/max_user_namespaces",
        bad: 0,
        todo: "sysctl -w user.max_user_namespaces=10000",
    },
    Sysctl {
        name: "kernel.apparmor_restrict_unprivileged_userns",
        path: c"sys/kernel/apparmor_restrict_unprivileged_userns",
        bad: 1,
        todo: "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for ctr with userns",
    },
];

impl Sysctl {
    /// None where the kernel has no such setting.
    fn value(&self, host: &Host) -> Option<u64> {
        number(&host.text(self.path))
    }
}

/// The first of them that does.
fn forbidding(host: &Host) -> Option<&'static Sysctl> {
    SYSCTLS.iter().find(|sysctl| sysctl.value(host) == Some(sysctl.bad))
}

fn number(text: &str) -> Option<u64> {
    text.trim_ascii().parse().ok()
}

fn without_root(host: &Host) -> Row {
    let name = "without root";
    if let Some(Sysctl { name: culprit, bad, todo, .. }) = forbidding(host) {
        return Row::missing(name, format!("{culprit} is {bad}"), "only root runs containers", todo);
    }
    let mut found = String::from("not forbidden:");
    for sysctl in &SYSCTLS {
        if let Some(value) = sysctl.value(host) {
            let _ = write!(found, " {}={value}", sysctl.name);
        }
    }
    Row::good(name, found)
}

fn namespaces(host: &Host) -> Row {
    let mut group = Group::default();
    for (name, flag) in [
        ("mount", k::CLONE_NEWNS),
        ("pid", k::CLONE_NEWPID),
        ("uts", k::CLONE_NEWUTS),
        ("ipc", k::CLONE_NEWIPC),
        ("net", k::CLONE_NEWNET),
        ("cgroup", k::CLONE_NEWCGROUP),
    ] {
        group.tried(name, host.attempt(flag, Vec::new()));
    }
    let todo = about_clone(host, group.errno());
    group.row("namespaces", "no isolation: ctr run refuses to do without", todo).vital()
}

fn mounting(host: &Host) -> Row {
    let mut group = Group::default();
    group.tried("tmpfs", host.on_tmpfs(host.map.as_ref(), 0, Vec::new()));
    if group.errno() == 0 {
        let inside = InRoot::new(Path::new("/")).map(Tree::WorkDir);
        let attach = vec![
            Tree::Dir(c"a".into(), 0o755),
            copy_of(c"."),
            Tree::Attach { tree: 0, at: c"a".into(), rules: Rules::default() },
        ];
        group.tried("fsopen", host.on_tmpfs(host.map.as_ref(), 0, vec![new(c"tmpfs", 0).detached(0)]));
        group.tried("open_tree move_mount", host.on_tmpfs(host.map.as_ref(), 0, attach));
        group.tried("openat2", host.on_tmpfs(host.map.as_ref(), 0, Vec::from_iter(inside)));
    }
    let todo = match group.errno() {
        libc::EINVAL if host.in_chroot() => "/ is not the root of a mount: mount --bind DIR DIR before chroot DIR",
        libc::ENOENT => "mkdir /run",
        errno => about_clone(host, errno),
    };
    group.row("mounting", "no root filesystem can be built", todo).vital()
}

fn mount_setattr() -> Row {
    let name = "mount_setattr";
    // Nothing is set and nothing cleared: a kernel that knows the call does nothing, or says that we may not.
    match rootfs::sys::mount_setattr(sys::CWD, false, 0, 0, 0, None) {
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => Row::missing(
            name,
            UNKNOWN.to_owned(),
            "read-only volumes come without what is mounted below them; root has no --userns auto",
            "Linux 5.12",
        ),
        _ => Row::good(name, "mounts can be made read-only with all below them".to_owned()),
    }
}

/// The namespaces that the filesystems of a container belong to.
const WHOLE: u32 = k::CLONE_NEWPID | k::CLONE_NEWIPC | k::CLONE_NEWNET | k::CLONE_NEWCGROUP;

fn filesystems(host: &Host) -> Row {
    let mut group = Group::default();
    // The steps' names in ctr run, whose hints these are.
    let all = [(c"proc", "procfs"), (c"sysfs", ""), (c"devpts", "devpts"), (c"mqueue", "mqueue")];
    let mut todo = "";
    for (fs, name) in all {
        let ops = vec![Tree::Dir(c"fs".into(), 0o755), Tree::Mount(new(fs, PLAIN), c"fs".into())];
        let mounted = host.on_tmpfs(host.map.as_ref(), WHOLE, ops);
        if let (Err(refused), "") = (&mounted, todo) {
            todo = hint(name, refused.errno).unwrap_or_default();
        }
        group.tried(fs.to_str().unwrap_or_default(), mounted);
    }
    group.row("filesystems", "a container has no /proc, /sys, /dev/pts or /dev/mqueue of its own", todo).vital()
}

fn root(host: &Host) -> Row {
    let mount = host.mount_at("/");
    let fs = mount.map_or("/", |mount| mount.fs.as_str());
    // The one mount without a parent (fs/namespace.c).
    let initial = mount.is_some_and(|mount| mount.id == mount.parent);
    let Err(refused) = host.on_tmpfs(host.map.as_ref(), 0, vec![PIVOT]) else {
        let how = if initial { "the initial ramfs: pivot_root is worked round" } else { "pivot_root works" };
        return Row::good("root", format!("{fs}; {how}"));
    };
    let found = format!("{fs}; pivot_root does not work ({})", refused.why);
    // Mounts that came from a more privileged mount namespace are locked: the way round is closed.
    let todo = if initial && !host.root { "ctr as root, or switch_root to another filesystem first" } else { "" };
    Row::missing("root", found, "a container cannot leave the machine's own root behind", todo).vital()
}

const PIVOT: Tree = Tree::Pivot { covered: false, on_ramfs: Some(Vec::new()) };

fn device_nodes(host: &Host) -> Row {
    let name = "device nodes";
    let mut ops = vec![PIVOT, Tree::Dir(c"/dev".into(), 0o755), Tree::Mount(new(c"tmpfs", 0), c"/dev".into())];
    ops.append(&mut rootfs::op::devices("/dev/", None, false));
    match host.on_tmpfs(None, 0, ops) {
        Ok(()) => Row::good(name, "can be made".to_owned()),
        Err(refused) => {
            let todo = "root without CAP_MKNOD? start the container around us with it";
            Row::missing(name, refused.why, "a container has no /dev of its own", todo).vital()
        }
    }
}

/// A layer over `lower`, which is then written to. The operations of `begin` come first.
fn layered(mut begin: Vec<Tree>, user: bool) -> Vec<Tree> {
    for name in [c"upper", c"work", c"root"] {
        begin.push(Tree::Dir(name.into(), 0o755));
    }
    let [lower, upper, work, at] = [c"lower", c"upper", c"work", c"root"].map(CString::from);
    begin.push(Tree::Overlay { lower, upper, work, at, user, devices: false });
    begin.push(Tree::File(c"root/ctr-doctor".into(), Vec::new()));
    begin
}

/// An overlay over an empty directory.
fn plain_overlay(host: &Host, map: Option<&IdMap>) -> Tried {
    let mut result = host.on_tmpfs(map, 0, layered(vec![Tree::Dir(c"lower".into(), 0o755)], map.is_some()));
    if let Err(Refused { errno: libc::ENODEV, why }) = &mut result {
        UNKNOWN.clone_into(why);
    }
    result
}

fn overlay(host: &Host) -> Row {
    let name = "overlayfs";
    if let Err(refused) = plain_overlay(host, host.map.as_ref()) {
        let todo = match refused.errno {
            libc::ENODEV => "modprobe overlay (or insmod overlay.ko), or a kernel with CONFIG_OVERLAY_FS",
            libc::EPERM if !host.root => "Linux 5.11, or root",
            _ => "",
        };
        return Row::missing(name, refused.why, "ctr run DIR only with --rw, ctr run host not at all", todo);
    }
    if !host.root {
        return Row::good(name, "in a user namespace, too".to_owned());
    }
    let over_root = vec![
        Tree::Dir(c"lower".into(), 0o755),
        copy_of(c"/"),
        Tree::Attach { tree: 0, at: c"lower".into(), rules: Rules::default() },
    ];
    match host.on_tmpfs(None, 0, layered(over_root, false)) {
        Ok(()) => Row::good(name, "above the machine's own root, too".to_owned()),
        Err(refused) => {
            let found = format!("works, but not above the machine's own root ({})", refused.why);
            Row::limited(name, found, "no ctr run host", "ctr run DIR, with a DIR on another filesystem")
        }
    }
}

fn overlay_in_userns(host: &Host) -> Row {
    let name = "overlay, userns";
    match plain_overlay(host, Some(&IdMap::chosen_by("0"))) {
        Ok(()) => Row::good(name, "ordinary users have overlayfs, too".to_owned()),
        Err(refused) => {
            let todo = if refused.errno == libc::ENODEV { "modprobe overlay" } else { "Linux 5.11" };
            Row::missing(name, refused.why, "ordinary users run directories only with --rw", todo)
        }
    }
}

fn idmapped(host: &Host) -> Row {
    let name = "idmapped mounts";
    let mut group = Group::default();
    let userns = host
        .proc
        .as_ref()
        .ok()
        .and_then(|proc| spawn::user_namespace(&IdMap::chosen_by("0"), proc.as_fd(), host.pidfd()).ok());
    let number = userns.as_ref().map_or(-1, AsRawFd::as_raw_fd);
    let fs = host.mount_at("/").map_or("/", |mount| mount.fs.as_str());
    for (fs, from) in [(format!("{fs}(/)").as_str(), c"/"), ("tmpfs", c".")] {
        let shift = Tree::IdMap { tree: 0, userns: number, recursive: false };
        group.tried(fs, host.on_tmpfs(None, 0, vec![copy_of(from), shift]));
    }
    let shift = Tree::IdMap { tree: 0, userns: number, recursive: false };
    let below = Tree::Attach { tree: 0, at: c"lower".into(), rules: Rules::default() };
    let above = vec![Tree::Dir(c"lower".into(), 0o755), copy_of(c"/"), shift, below];
    group.tried("an overlay above one (5.19)", host.on_tmpfs(None, 0, layered(above, false)));
    let some = !group.there.is_empty();
    let row = group.row(
        name,
        "with ROOT, layer or a volume on such a filesystem --userns auto falls back to the host's ids, required fails",
        "ext4 and xfs from Linux 5.12, btrfs 5.15, tmpfs 6.3; never ramfs",
    );
    if some && row.state != State::Good { Row { state: State::Limited, ..row } } else { row }
}

fn cgroups(host: &Host) -> Row {
    let name = "cgroups";
    let costs = "memory, processors and numbers of processes cannot be limited or measured";
    let layout = Cgroups::read(&host.mountinfo);
    if layout == Cgroups::default() {
        if !host.text(c"filesystems").contains("\tcgroup2\n") {
            return Row::missing(
                name,
                "none, and none in this kernel".to_owned(),
                costs,
                "a kernel with CONFIG_CGROUPS",
            );
        }
        let found = format!("none mounted; the kernel has v2, and {}", known(&host.text(c"cgroups")));
        let todo = "ctr doctor --fix, or: mount -t cgroup2 cgroup2 /sys/fs/cgroup";
        return Row::missing(name, found, costs, todo);
    }
    let in_v2 = layout.v2.as_ref().and_then(|path| std::fs::read_to_string(path.join("cgroup.controllers")).ok());
    let in_v2 = in_v2.as_deref().unwrap_or_default().trim_ascii_end();
    let mut found = layout.describe(in_v2);
    let complete = found.len();
    for name in ["memory", "cpu", "pids"] {
        if !layout.v1.iter().any(|(names, _)| has(names, name)) && !has(in_v2, name) {
            found.push_str(if found.len() == complete { "; missing " } else { " " });
            found.push_str(name);
        }
    }
    if found.len() == complete {
        return Row::good(name, found);
    }
    let todo = match layout.v2 {
        None => "mount -t cgroup2 cgroup2 DIR: it may have what v1 has not",
        Some(_) => "boot with cgroup_enable=memory, if that is what is missing",
    };
    Row::limited(name, found, "no limits on what is missing", todo)
}

/// Whether a word is in a list that is separated by commas or blanks.
fn has(list: &str, word: &str) -> bool {
    list.split([',', ' ']).any(|one| one == word)
}

/// Which cgroups are mounted, and where.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cgroups {
    /// Controllers (separated by commas) of each v1 hierarchy.
    v1: Vec<(String, PathBuf)>,
    v2: Option<PathBuf>,
}

/// Every controller that v1 has had: other words among the options of its superblock are something else.
const CONTROLLERS: &str =
    "cpu cpuacct cpuset memory devices freezer blkio pids net_cls net_prio perf_event hugetlb rdma misc";

impl Cgroups {
    /// From mountinfo. A hierarchy that is mounted twice counts once; one without controllers (systemd's) not at all.
    fn read(mountinfo: &[u8]) -> Cgroups {
        let mut all = Cgroups::default();
        for line in mountinfo.split(|b| *b == b'\n') {
            let Some(mount) = mounts::parse(line).pop() else { continue };
            if mount.fs == "cgroup2" {
                all.v2.get_or_insert(mount.at);
            } else if mount.fs == "cgroup" {
                // The superblock's options are the last word of the line.
                let options = line.rsplit(|b| *b == b' ').next().unwrap_or_default();
                let mut names = String::new();
                for word in options.split(|b| *b == b',').filter_map(|word| std::str::from_utf8(word).ok()) {
                    if has(CONTROLLERS, word) {
                        names.push_str(if names.is_empty() { "" } else { "," });
                        names.push_str(word);
                    }
                }
                if !names.is_empty() && !all.v1.iter().any(|(seen, _)| *seen == names) {
                    all.v1.push((names, mount.at));
                }
            }
        }
        all
    }

    /// What there is, and where; `in_v2` are v2's controllers.
    fn describe(&self, in_v2: &str) -> String {
        let mut text = String::new();
        if let Some((_, first)) = self.v1.first() {
            text.push_str(if self.v2.is_some() { "hybrid: v1" } else { "v1" });
            // The usual thing is one directory with all of them.
            let parent = first.parent().unwrap_or(first);
            let together = self.v1.iter().all(|(_, path)| path.parent() == Some(parent));
            for (names, path) in &self.v1 {
                let _ = write!(text, " {names}");
                if !together {
                    let _ = write!(text, " ({})", path.display());
                }
            }
            if together {
                let _ = write!(text, " in {}", parent.display());
            }
        }
        if let Some(path) = &self.v2 {
            text.push_str(if text.is_empty() { "v2 " } else { "; v2 " });
            text.push_str(if in_v2.is_empty() { "without controllers" } else { in_v2 });
            let _ = write!(text, " in {}", path.display());
        }
        text
    }
}

/// The controllers that are switched on, from `/proc/cgroups`: name, hierarchy, number of cgroups, enabled.
fn known(proc_cgroups: &str) -> String {
    let mut names = String::new();
    for line in proc_cgroups.lines() {
        if let (false, Some((name, _))) =
            (line.starts_with('#'), line.split_once('\t').filter(|_| line.ends_with("\t1")))
        {
            names.push_str(if names.is_empty() { "" } else { " " });
            names.push_str(name);
        }
    }
    names
}

fn seccomp() -> Row {
    match sys::seccomp_no_filter().map_err(|e| e.raw_os_error()) {
        Err(Some(libc::EFAULT)) => Row::good("seccomp", "filters of system calls are taken".to_owned()),
        _ => Row::missing(
            "seccomp",
            UNKNOWN.to_owned(),
            "system calls cannot be filtered: the boundary has one layer less",
            "a kernel with CONFIG_SECCOMP_FILTER",
        ),
    }
}

/// Something that every machine has mounted.
struct Usual {
    at: &'static CStr,
    fs: &'static CStr,
    flags: u32,
    data: &'static CStr,
}

const fn usual(at: &'static CStr, fs: &'static CStr, flags: u32, data: &'static CStr) -> Usual {
    Usual { at, fs, flags, data }
}

/// In the order in which they can be mounted.
static USUAL: [Usual; 7] = [
    usual(c"/proc", c"proc", PLAIN, c""),
    usual(c"/sys", c"sysfs", PLAIN, c""),
    usual(c"/dev", c"devtmpfs", k::MS_NOSUID, c"mode=755"),
    usual(c"/dev/pts", c"devpts", k::MS_NOSUID | k::MS_NOEXEC, c"gid=5,mode=620"),
    usual(c"/dev/shm", c"tmpfs", k::MS_NOSUID | k::MS_NODEV, c"mode=1777"),
    usual(c"/run", c"tmpfs", k::MS_NOSUID | k::MS_NODEV, c"mode=755"),
    usual(c"/sys/fs/cgroup", c"cgroup2", PLAIN, c""),
];

impl Usual {
    fn name(&self) -> &'static str {
        self.at.to_str().unwrap_or_default()
    }

    /// Whether it is to be mounted. Never where that would cover something: a static /dev, files of somebody's in /run.
    fn lacks(&self, host: &Host) -> bool {
        if host.mount_at(self.name()).is_some() {
            return false;
        }
        match self.name() {
            "/dev" => dev::NODES.iter().any(|node| !is_node(node)),
            "/dev/shm" | "/run" => is_empty(self.at),
            "/sys/fs/cgroup" => Cgroups::read(&host.mountinfo) == Cgroups::default(),
            _ => true,
        }
    }
}

/// A directory with nothing in it, or none.
fn is_empty(path: &CStr) -> bool {
    match sys::openat(sys::CWD, path, k::O_RDONLY | k::O_DIRECTORY, 0) {
        // "." and ".." take 24 bytes each, and any other name as much at least.
        Ok(dir) => sys::getdents(dir.as_fd(), &mut [0; 512]).is_ok_and(|used| used <= 48),
        Err(e) => e.raw_os_error() == Some(libc::ENOENT),
    }
}

fn mounted(host: &Host) -> Row {
    let name = "mounted";
    if let Err(e) = &host.proc {
        let todo = "ctr doctor --fix, as root";
        return Row::missing(name, format!("not to be seen without /proc ({e})"), "containers need root", todo);
    }
    let mut group = Group::default();
    // Cgroups have a row of their own.
    for usual in USUAL.iter().filter(|usual| usual.fs != c"cgroup2") {
        group.add(usual.name(), !usual.lacks(host));
    }
    let costs = "containers have their own; outside of them ps, shells, terminals and shared memory may fail";
    group.row(name, costs, "ctr doctor --fix, as root")
}

/// Whether the device that a name in /dev leads to is the one that it should be.
fn is_node(node: &dev::Node) -> bool {
    let path = CString::new([b"/dev/", node.name.to_bytes()].concat()).unwrap_or_default();
    let stat = sys::openat(sys::CWD, &path, k::O_PATH, 0).and_then(|fd| sys::fstat(fd.as_fd()));
    stat.is_ok_and(|s| s.st_mode & k::S_IFMT == k::S_IFCHR && s.st_rdev == u64::from(node.number()))
}

fn devices(host: &Host) -> Row {
    let mut group = Group::default();
    for node in &dev::NODES {
        group.add(node.name.to_str().unwrap_or_default(), is_node(node));
    }
    let todo = if USUAL.iter().any(|usual| usual.fs == c"devtmpfs" && usual.lacks(host)) {
        "ctr doctor --fix, as root"
    } else {
        "rm -f /dev/NAME; mknod -m 666 /dev/NAME c 1 3 (null), 1 5 (zero), 1 7 (full), 1 8 (random), 1 9 (urandom), \
         5 0 (tty)"
    };
    if host.root {
        group.row("/dev", "containers have their own; programs outside of them miss these", todo)
    } else {
        group.row("/dev", "an ordinary user's containers use the machine's own", todo).vital()
    }
}

fn state_folder() -> Row {
    let folder = record::folder().join("containers");
    match usable(&folder) {
        Ok(how) => Row::good("state folder", format!("{}{how}", folder.display())),
        Err(why) => Row::missing(
            "state folder",
            format!("{}: {why}", folder.display()),
            "nothing can be remembered about a container",
            "CTR_STATE=DIR ctr run …, with a DIR that is ours (on a tmpfs, if there is one)",
        )
        .vital(),
    }
}

/// Whether the folder, or what of its path is there already, is one that we can work in.
fn usable(folder: &Path) -> io::Result<&'static str> {
    let mut at = folder;
    let found = loop {
        match (std::fs::metadata(at), at.parent()) {
            (Err(e), Some(parent)) if e.kind() == io::ErrorKind::NotFound => at = parent,
            (found, _) => break found?,
        }
    };
    if !found.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::ENOTDIR));
    }
    let path = CString::new(at.as_os_str().as_bytes()).unwrap_or_default();
    sys::access(&path, libc::W_OK | libc::X_OK)?;
    if at != folder {
        return Ok(" (ctr run makes it)");
    }
    // As State::open has it: in a shared place somebody else may have been there first.
    if !folder.starts_with("/run") && (found.uid() != sys::euid() || found.mode() & 0o022 != 0) {
        return Err(io::Error::other("it belongs to somebody else, or others may write to it"));
    }
    Ok("")
}

fn clock() -> Row {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (year, month, day) = date((seconds / 86_400) as u32);
    let found = format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", seconds / 3600 % 24, seconds / 60 % 60);
    if year >= 2024 {
        return Row::good("clock", found);
    }
    let costs = "certificates look as if they were not valid yet: nothing can be pulled from a registry";
    Row::limited("clock", found, costs, "date -s 'YYYY-MM-DD hh:mm', or an NTP client")
}

/// Year, month and day of a day since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: u32) -> (u32, u32, u32) {
    let days = days.saturating_add(719_468);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u32::from(month <= 2), month, day)
}

fn open_files() -> Row {
    // Measured: ctr run host needs 16, and each volume one more.
    const NEEDED: u64 = 16;
    const COMFORT: u64 = 64;
    let (soft, hard) = sys::limit(k::RLIMIT_NOFILE).unwrap_or((0, 0));
    let row = |state, costs| {
        let found = format!("{soft} at once, at most {hard}");
        Row { state, ..Row::missing("open files", found, costs, "ulimit -n 1024") }
    };
    match soft {
        0..NEEDED => row(State::Missing, "ctr run cannot open what it needs").vital(),
        NEEDED..COMFORT => row(State::Limited, "few volumes, and few files inside"),
        _ => Row { todo: "", ..row(State::Good, "") },
    }
}

/// A virtual link, made in a network namespace that is thrown away.
fn link(host: &Host, kind: &'static str) -> Row {
    let (message, todo) = match kind {
        "bridge" => (netlink::link::add_bridge("ctr0"), "modprobe bridge"),
        _ => (netlink::link::add_veth("ctr0", "ctr1"), "modprobe veth"),
    };
    let ops = vec![Op::Netlink(message.finish().unwrap_or_default(), "ip link add".to_owned())];
    match host.attempt(k::CLONE_NEWNET, ops) {
        Ok(()) => Row::good(kind, "made and thrown away".to_owned()),
        Err(refused) => {
            let found = if refused.errno == libc::EOPNOTSUPP { UNKNOWN.to_owned() } else { refused.why };
            Row::missing(kind, found, "no network between containers: --network none or host", todo)
        }
    }
}

fn nf_tables(host: &Host) -> Row {
    let name = "nf_tables";
    if !host.root {
        // Only who rules a network namespace may ask. From here on we are in one of our own, and do nothing else in it.
        let _ = rootfs::sys::unshare(k::CLONE_NEWUSER | k::CLONE_NEWNET);
    }
    let asked = netlink::Socket::open(netlink::NETLINK_NETFILTER)
        .and_then(|mut socket| netlink::nft::generation(&mut socket));
    let Err(e) = asked else { return Row::good(name, "answers".to_owned()) };
    let costs = "no published ports, no address translation";
    match netlink::errno(&e) {
        Some(libc::EPERM) => Row::limited(
            name,
            "not known: only CAP_NET_ADMIN may ask".to_owned(),
            costs,
            "ctr doctor with CAP_NET_ADMIN",
        ),
        Some(libc::EINVAL | libc::EPROTONOSUPPORT) => Row::missing(
            name,
            UNKNOWN.to_owned(),
            costs,
            "modprobe nf_tables nf_nat, or a kernel with CONFIG_NF_TABLES",
        ),
        _ => Row::missing(name, e.to_string(), costs, ""),
    }
}

/// Whether `ctr run` works, from all that was found.
fn verdict(host: &Host, rows: &[Row]) -> Row {
    let mut found = String::from("does not work here, because of");
    for row in rows.iter().filter(|row| row.in_the_way()) {
        let _ = write!(found, " {},", row.name);
    }
    let name = "ctr run";
    if found.ends_with(',') {
        found.pop();
        return Row::missing(name, found, "", "");
    }
    let overlay = rows.iter().find(|row| row.name == "overlayfs").map_or(State::Good, |row| row.state);
    let (state, found) = match (overlay, host.root) {
        (State::Missing, _) => {
            (State::Limited, "works for directories alone, and writes to them: ctr run --rw DIR COMMAND")
        }
        (State::Limited, _) => (State::Limited, "works for directories, not for host: ctr run DIR COMMAND"),
        (State::Good, false) => (State::Good, "works for directories: ctr run DIR COMMAND; host needs root"),
        (State::Good, true) => (State::Good, "works: ctr run -it host sh"),
    };
    Row { state, ..Row::good(name, found.to_owned()) }
}

// ---- --fix

/// Mounts what is missing on the machine itself, and says so.
fn fix() -> Result<()> {
    if sys::euid() != 0 {
        return Err(Error::usage("--fix mounts on the machine itself, which takes root: sudo ctr doctor --fix"));
    }
    let say = |line: std::fmt::Arguments| {
        let _ = writeln!(io::stderr(), "ctr: {line}");
    };
    let mut done = 0;
    for usual in &USUAL {
        // Looked at again each time: one may bring the next one's place.
        if !usual.lacks(&Host::look()) {
            continue;
        }
        done += 1;
        let what = NewFs { data: usual.data.into(), ..new(usual.fs, usual.flags) };
        for op in [Tree::Dir(usual.at.into(), 0o755), Tree::Mount(what, usual.at.into())] {
            match op.run(&mut Trees { fds: &mut [], words: &mut [0; 128] }) {
                Ok(()) => say(format_args!("{op}")),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => {
                    say(format_args!("cannot {op}: {e}"));
                    break;
                }
            }
        }
    }
    if done == 0 {
        say(format_args!("--fix: nothing is missing that could be mounted"));
    }
    Ok(())
}

// ---- how it is shown

/// Where the third column begins.
const INDENT: usize = 25;

/// Where lines end.
const WIDTH: usize = 100;

fn table(rows: &[Row]) -> String {
    let mut text = format!("{:<16}{:<9}{}\n", "CHECK", "STATE", "FOUND");
    for row in rows {
        let _ = write!(text, "{:<16}{:<9}", row.name, row.state.word());
        fill(&mut text, "", &row.found);
        for (label, words) in [("costs: ", row.costs), ("do: ", row.todo)] {
            if !words.is_empty() {
                let _ = write!(text, "{:INDENT$}", "");
                fill(&mut text, label, words);
            }
        }
    }
    text
}

/// Words from the third column on, in as many lines as they need. The first line is indented already.
fn fill(text: &mut String, label: &str, words: &str) {
    text.push_str(label);
    let mut column = INDENT + label.len();
    let mut first = true;
    for word in words.split(' ') {
        let length = word.chars().count();
        if !first && column + 1 + length > WIDTH {
            let _ = write!(text, "\n{:INDENT$}  ", "");
            column = INDENT + 2;
        } else if !first {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
        first = false;
    }
    text.push('\n');
}

/// One check a line: for people who grep as for programs.
fn list(rows: &[Row]) -> String {
    let mut text = String::from("[\n");
    for (n, row) in rows.iter().enumerate() {
        let fields = [
            ("  {\"name\": ", row.name),
            (", \"state\": ", row.state.word()),
            (", \"found\": ", &row.found),
            (", \"costs\": ", row.costs),
            (", \"todo\": ", row.todo),
        ];
        for (key, value) in fields {
            text.push_str(key);
            json::quote(&mut text, value);
        }
        text.push_str(if n + 1 < rows.len() { "},\n" } else { "}\n" });
    }
    text.push_str("]\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_a_list_of_objects() {
        let rows = [Row::good("a", "x".to_owned()), Row::missing("b", "y".to_owned(), "z", "w")];
        let expected = "[\n  {\"name\": \"a\", \"state\": \"good\", \"found\": \"x\", \"costs\": \"\", \"todo\": \"\"},\n  \
                        {\"name\": \"b\", \"state\": \"missing\", \"found\": \"y\", \"costs\": \"z\", \"todo\": \"w\"}\n]\n";
        assert_eq!(list(&rows), expected);
    }

    #[test]
    fn tables_stay_within_their_width() {
        let words = "many short words that go on and on for a while, until the line is full, and then some; ";
        let text = table(&[Row::missing("name", words.repeat(3), words, words), Row::good("b", "x".repeat(200))]);
        assert!(text.lines().all(|line| line.len() <= WIDTH || line.contains("xxx")), "{text}");
        assert!(text.contains("\n                         costs: many short"), "{text}");
    }

    #[test]
    fn groups_name_what_is_missing() {
        let mut group = Group::default();
        group.add("a", true);
        group.tried("b", Ok(()));
        let row = group.row("x", "c", "d");
        assert_eq!((row.state, row.found.as_str(), row.costs), (State::Good, "a b", ""));
        let mut group = Group::default();
        group.tried("a", Err(Refused { errno: 1, why: "so".to_owned() }));
        group.tried("b", Err(Refused { errno: 2, why: "not so".to_owned() }));
        group.tried("c", Ok(()));
        assert_eq!(group.errno(), 1);
        let row = group.row("x", "c", "d").vital();
        assert_eq!((row.found.as_str(), row.costs, row.in_the_way()), ("c; not a b (so)", "c", true));
    }

    #[test]
    fn cgroup_layouts_are_told_apart() {
        let v2 = b"31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(Cgroups::read(v2).describe("cpu memory"), "v2 cpu memory in /sys/fs/cgroup");
        assert_eq!(Cgroups::read(v2).describe(""), "v2 without controllers in /sys/fs/cgroup");
        let v1 = b"32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
                   33 31 0:29 / /other/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                   35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                   40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n";
        assert_eq!(Cgroups::read(v1).describe(""), "v1 cpu,cpuacct memory in /sys/fs/cgroup");
        let unified = b"41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let hybrid = Cgroups::read(&[v1.as_slice(), unified].concat());
        let expected = "hybrid: v1 cpu,cpuacct memory in /sys/fs/cgroup; v2 hugetlb in /sys/fs/cgroup/unified";
        assert_eq!(hybrid.describe("hugetlb"), expected);
        let apart = Cgroups::read(b"1 2 0:1 / /a/cpu rw - cgroup c rw,cpu\n1 2 0:1 / /b/pids rw - cgroup c rw,pids");
        assert_eq!(apart.describe(""), "v1 cpu (/a/cpu) pids (/b/pids)");
        assert_eq!(Cgroups::read(b"27 1 254:0 / / rw - ext4 /dev/vda rw\ngarbage\n"), Cgroups::default());
        for cut in 0..v1.len() {
            Cgroups::read(&v1[cut..]).describe("");
            Cgroups::read(&v1[..cut]).describe("");
        }
    }

    #[test]
    fn controllers_that_the_kernel_has() {
        let text = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t0\t1\t1\nmemory\t0\t9\t0\npids\t8\t1\t1\n";
        assert_eq!(known(text), "cpuset pids");
        assert_eq!(known(""), "");
    }

    #[test]
    fn numbers_and_versions() {
        assert_eq!(number("0\n"), Some(0));
        assert_eq!(number("15600\n"), Some(15_600));
        assert_eq!((number(""), number("-1"), number("yes")), (None, None, None));
        assert_eq!(version("6.18.44-fc-v445"), Some((6, 18)));
        assert_eq!(version("5.10.0"), Some((5, 10)));
        assert_eq!((version("6"), version(""), version("x.y")), (None, None, None));
        assert!(version("5.9.1") < Some(FLOOR));
    }

    #[test]
    fn days_have_dates() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(19_723), (2024, 1, 1));
        assert_eq!(date(19_722), (2023, 12, 31));
    }
}
