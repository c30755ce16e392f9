//! From what was asked to the list of steps that makes it: pure, so `--dry-run` and the tests need no root.
//!
//! The order is the design. A plan has two halves:
//! - *outer*: what must happen before the container exists, in the caller's own namespaces: copies of the host's mounts
//!   are taken as detached trees (a child in a new mount namespace may no longer do that with the parent's mounts).
//! - *inner*: everything between `clone3` and `execve`.
//!
//! The root comes first and the old root goes at once: after `pivot` no path, link or race in the new root can lead to
//! the host, because the host is not there any more. What had to come from the host travels as detached trees.
//!
//! Three ways lead there ([`Way`]), for three kinds of callers; they differ in who builds the root, and where.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use linux_raw_sys::general as k;
use rootfs::op::{NewFs, PLAIN, Rules, devices};
use rootfs::path::{Kind, Links};
use rootfs::{InRoot, Op as Tree, Slot};

use super::device::Node;
use super::security::Boundary;
use super::spec::{Limit, Root, Spec, Tmpfs, Volume};
use super::step::{Op, Program, Stdio, Step, step};
use crate::caps;
use crate::idmap::IdMap;
use crate::user::User;

/// How the caller's privileges and wishes shape the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Root, without a user namespace: the child does it all.
    Plain,
    /// Root, with a user namespace. A process beside the child, the holder, is born in it, with the namespaces that it is to
    /// own. The child goes the plain way, as root outside, but for mounts whose ids are shifted and files that belong to root
    /// inside; it joins the user namespace when all is built, and takes a copy of its mounts along in which each is locked.
    Shifted { map: IdMap },
    /// An ordinary user, in a user namespace with one id: the child does it all, with what a user namespace allows.
    Alone { map: IdMap },
}

impl Way {
    /// The map of its user namespace, if it has one.
    pub fn map(&self) -> Option<&IdMap> {
        match self {
            Way::Plain => None,
            Way::Shifted { map } | Way::Alone { map } => Some(map),
        }
    }

    /// The map that counts while the child is root outside: it names ids as they are there.
    fn shift(&self) -> Option<&IdMap> {
        if let Way::Shifted { map } = self { Some(map) } else { None }
    }
}

/// A filesystem mounted below the machine's root, and what its own root directory is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostMount {
    /// Where it is.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
    /// Whose it is.
    pub uid: u32,
    /// See `uid`.
    pub gid: u32,
}

/// Where the container's writes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// To a tmpfs of its own, which is gone when the container stops.
    Memory,
    /// To this directory, in which there are `upper`, `work`, and for each host mount `upperN` and `workN`. What is in it
    /// was written by the container itself the last time: it is trusted no more than an image.
    Dir(PathBuf),
}

/// What of the control groups is to be seen at `/sys/fs/cgroup`: programs (the JVM, Go's and .NET's runtimes) read there how much
/// they may use. Read-only, but for a privileged container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupView {
    /// Nothing: the container has no group, and the machine's limits are its.
    None,
    /// The v2 tree, which for its cgroup namespace begins at its own group.
    Unified,
    /// Its own v1 groups: the controller's name, and where the group is on the host.
    Controllers(Vec<(&'static str, CString)>),
    /// What the host sees (`--cgroupns host`).
    Machine,
}

/// Which network it turns out to be in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Net {
    /// One of its own, with a loopback interface and nothing else.
    None,
    /// The host's.
    Host,
    /// That of the container whose process is behind this pidfd; and that one's `/etc/hosts`.
    Of { process: RawFd, hosts: Option<PathBuf> },
    /// One of its own. What is to be done in there as soon as its cables are there, in rtnetlink's messages and in words; and its
    /// `/etc/hosts`, which changes as others come and go.
    Joined { messages: Vec<u8>, words: String, hosts: Option<PathBuf> },
}

impl Net {
    /// Whether it has a network namespace of its own.
    pub fn is_own(&self) -> bool {
        matches!(self, Net::None | Net::Joined { .. })
    }

    /// Its `/etc/hosts` on the host.
    fn hosts(&self) -> Option<&Path> {
        match self {
            Net::Of { hosts, .. } | Net::Joined { hosts, .. } => hosts.as_deref(),
            Net::None | Net::Host => None,
        }
    }
}

/// What was found out about the machine and the root before planning.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Which network.
    pub net: Net,
    /// Its 64-digit id.
    pub id: String,
    /// The host name it gets (or has, if it shares the host's).
    pub hostname: String,
    /// Whom the command runs as.
    pub user: User,
    /// Which way to go.
    pub way: Way,
    /// Filesystems mounted below `/` that a view of the host needs too.
    pub host_mounts: Vec<HostMount>,
    /// What is mounted on the initial ramfs, once it is known that that is the root.
    pub on_ramfs: Option<Vec<PathBuf>>,
    /// For `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// Where the three standard descriptors lead (without a terminal).
    pub stdio: [Stdio; 3],
    /// The socket that the terminal's other end goes to, and the size it starts with.
    pub terminal: Option<(RawFd, Option<k::winsize>)>,
    /// Every id of the caller is root's, and there is no user namespace: root inside needs no change of ids.
    pub caller_is_root: bool,
    /// Why it has the host's ids though it was to have its own.
    pub fallback: Option<String>,
    /// What else who started it should read.
    pub notices: Vec<String>,
    /// Where its writes go.
    pub layer: Layer,
    /// The command may not start before the parent has written a file (`--pidfile`, or the record of one that outlives it).
    pub awaits_parent: bool,
    /// It goes on when the parent dies.
    pub outlives: bool,
    /// The v2 control group that it is born in.
    pub birthplace: Option<RawFd>,
    /// The doors of the v1 control groups that it joins.
    pub doors: Vec<RawFd>,
    /// Those that it joins only when it is complete: what was needed to make it is not counted there.
    pub late_doors: Vec<RawFd>,
    /// What is to be seen of them.
    pub cgroup_view: CgroupView,
    /// What it writes then, by descriptors of files of its control group.
    pub late_writes: Vec<(RawFd, String)>,
    /// The parent's own pidfd.
    pub parent: RawFd,
    /// ctr's own binary, for `--init`.
    pub init: Option<RawFd>,
    /// Volumes that are files, not directories, by their place in the list.
    pub volume_kinds: Vec<Kind>,
    /// The capabilities that were asked for, as far as they can be had.
    pub capabilities: u64,
    /// Those of them that were named one by one: without them there is no container.
    pub named_capabilities: u64,
    /// Device nodes that are mounted one by one where they are wanted.
    pub devices: Vec<Node>,
    /// Those of the host that fill `/dev`.
    pub host_devices: Vec<Node>,
    /// `--security-opt`, with what had to be looked at.
    pub boundary: Boundary,
}

/// The list, and what `clone3` has to know.
#[derive(Debug)]
pub struct Plan {
    /// Before the container exists, by ctr itself.
    pub outer: Vec<Step>,
    /// Before that: what the holder of the user namespace does, and its namespaces (`CLONE_NEW*`).
    pub holder: Vec<Step>,
    /// See `holder`.
    pub held: u32,
    /// `CLONE_NEW*`.
    pub namespaces: u32,
    /// In it.
    pub inner: Vec<Step>,
    /// How many places for trees there must be.
    pub slots: usize,
    /// The id map that the parent writes, of the holder or of the child, if there is a user namespace.
    pub map: Option<IdMap>,
    /// The control group that it is born in.
    pub group: Option<RawFd>,
    /// Who makes it stays for long, and holds on to no memory that is not needed.
    pub lasting: bool,
}

/// The default search path, as Docker sets it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Files of `/proc` that tell too much about the host, or reach it: the OCI default (moby, oci/defaults.go), without
/// /proc/timer_stats, which has been gone since Linux 4.11.
const MASKED: [(&str, Kind); 9] = [
    ("acpi", Kind::Dir),
    ("asound", Kind::Dir),
    ("interrupts", Kind::File),
    ("kcore", Kind::File),
    ("keys", Kind::File),
    ("latency_stats", Kind::File),
    ("timer_list", Kind::File),
    ("sched_debug", Kind::File),
    ("scsi", Kind::Dir),
];

/// The same of `/sys`.
const MASKED_SYS: [&str; 2] = ["firmware", "devices/virtual/powercap"];

/// Parts of `/proc` that may be read only.
const READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Where every distribution mounts control groups, and programs look for them.
const CGROUPS: &CStr = c"/sys/fs/cgroup";

/// Trees that travel from the outer half to the inner one, and between steps.
const ROOT: Slot = 0;
const LOWER: Slot = 1;
const PROC: Slot = 2;
const SYS: Slot = 3;
const SHM: Slot = 4;
const DEV: Slot = 5;
const ETC: Slot = 6;
/// `/etc/hosts`, among these.
const HOSTS: Slot = ETC + 1;
const DEVICES: Slot = ETC + 3;
const LAYER: Slot = DEVICES + rootfs::dev::NODES.len();
/// The user namespace, to shift mounts with, and the process that holds it.
pub const USERNS: Slot = LAYER + 1;
/// See `USERNS`.
pub const HOLDER: Slot = LAYER + 2;
/// `/proc/sys`, of a mount that stays writable.
const SYSCTL: Slot = LAYER + 3;
const FIRST_HOST: Slot = LAYER + 4;

/// What holds for a directory that is the root itself (an overlay of ours is mounted that way).
const WRITABLE: Rules = Rules { read_only: false, no_devices: true, slave: false };

/// What is mounted over `/`, for a process whose root is what it covers: at a root, `..` stays, but what is mounted on it is
/// looked for; with `/` it is not.
const OVER_ROOT: &CStr = c"/..";

/// The three files that ctr supplies.
const ETC_NAMES: [&CStr; 3] = [c"hostname", c"hosts", c"resolv.conf"];

fn c(path: impl AsRef<OsStr>) -> CString {
    // A path from the kernel or from argv has no NUL byte in it; one that has names nothing.
    CString::new(path.as_ref().as_bytes()).unwrap_or_default()
}

fn tree(op: Tree) -> Op {
    Op::Tree(op)
}

fn mount(fs: &'static CStr, flags: u32, data: &str, at: &CStr) -> Op {
    tree(Tree::Mount(NewFs { fs, data: c(data), flags }, at.into()))
}

fn dir(path: impl AsRef<OsStr>, mode: u32) -> Op {
    tree(Tree::Dir(c(path), mode))
}

/// Writes the plan.
pub fn plan(spec: &Spec, facts: &Facts) -> Plan {
    let first_volume = FIRST_HOST + facts.host_mounts.len();
    let first_device = first_volume + spec.volumes.len();
    let mut outer = Vec::new();
    let mut inner = Vec::new();

    // Which half builds the root, and which one takes copies of the host's mounts.
    let mut build = build_root(spec, facts);
    let mut copies = copies(spec, facts, first_volume);
    copies.extend(group_copies(spec, facts));
    copies.extend(own_nodes(facts, first_device));
    build.extend(new_nodes(facts, first_device));
    let private = || {
        step("private", "no mount of ours is seen outside, and none from outside in here", vec![tree(Tree::Private)])
    };
    let namespace_root = || {
        step(
            "namespace-root",
            "not the root of a chroot that ctr may have been started in",
            vec![Op::NamespaceRoot { first: !spec.host_pid }],
        )
    };
    let enter = |root: &CStr| step("enter", "the new root, not yet ours", vec![tree(Tree::Enter(root.into()))]);
    let shifted = facts.way.shift().is_some();
    let mut holder = Vec::new();
    // A cgroup namespace begins where its first process is at that moment, which for clone3 is where the *parent* is: so it
    // comes after the groups. In v1 a process joins them itself, by descriptors of the host's.
    let late = !facts.late_doors.is_empty();
    let grouped = facts.birthplace.is_some() || !facts.doors.is_empty() || late;
    let join_groups = grouped.then(|| {
        let mut ops: Vec<Op> = facts.doors.iter().map(|door| Op::Join(*door)).collect();
        // Where there is a user namespace later, that is to own it.
        if !late && !spec.host_cgroup && !shifted {
            ops.push(Op::CgroupNamespace);
        }
        step("cgroup", "control groups of its own, and no other to be seen", ops)
    });
    // Those that a user namespace is to own are made by who is in it.
    let mut held = 0;
    for (wanted, flag) in
        [(!spec.host_uts, k::CLONE_NEWUTS), (!spec.host_ipc, k::CLONE_NEWIPC), (facts.net.is_own(), k::CLONE_NEWNET)]
    {
        held |= if wanted { flag } else { 0 };
    }
    let enter_network = || match facts.net {
        // Before anything is mounted: sysfs shows the links of whoever mounts it.
        Net::Of { process, .. } => {
            Some(step("network", "the other container's", vec![Op::EnterOf(process, k::CLONE_NEWNET)]))
        }
        _ => None,
    };
    match facts.way {
        Way::Plain => {
            outer.extend(copies);
            inner.extend(join_groups);
            inner.extend(enter_network());
            inner.extend([private(), namespace_root()]);
            inner.extend(build);
            inner.push(enter(c"root"));
        }
        Way::Shifted { .. } => {
            holder.push(step(
                "maps",
                "ids inside are other ids outside",
                vec![Op::DieWithParent, Op::AwaitParent(facts.parent)],
            ));
            outer.extend(copies);
            inner.extend(join_groups);
            if held != 0 {
                let why = "the namespaces that its user namespace owns";
                inner.push(step("namespaces", why, vec![Op::Enter(HOLDER, held)]));
            }
            inner.extend(enter_network());
            inner.extend([private(), namespace_root()]);
            inner.extend(build);
            inner.push(enter(c"root"));
        }
        Way::Alone { .. } => {
            inner.push(step("maps", "root inside is the caller outside", vec![Op::AwaitParent(facts.parent)]));
            inner.extend(join_groups);
            inner.extend([private(), early(spec, facts)]);
            inner.extend(copies);
            inner.push(namespace_root());
            inner.extend(build);
            inner.push(enter(c"root"));
        }
    }
    inner.push(step(
        "pivot",
        "it becomes /, and the host's / goes away",
        vec![tree(Tree::Pivot {
            covered: true,
            on_ramfs: facts.on_ramfs.as_ref().map(|below| below.iter().map(c).collect()),
        })],
    ));
    if matches!(facts.way, Way::Alone { .. }) {
        inner.push(step(
            "root-inside",
            "files made from here on belong to root inside",
            vec![Op::Become { groups: None, ids: Some((0, 0)) }],
        ));
    }
    furnish(spec, facts, first_volume, &mut inner);
    settle(spec, facts, &mut inner);

    let mut namespaces = k::CLONE_NEWNS | if grouped || shifted || spec.host_cgroup { 0 } else { k::CLONE_NEWCGROUP };
    for (wanted, flag) in [
        (!spec.host_pid, k::CLONE_NEWPID),
        (!shifted, held),
        (matches!(facts.way, Way::Alone { .. }), k::CLONE_NEWUSER),
    ] {
        if wanted {
            namespaces |= flag;
        }
    }
    let groups = match &facts.cgroup_view {
        CgroupView::Controllers(groups) => groups.len(),
        CgroupView::Machine | CgroupView::Unified => 1,
        CgroupView::None => 0,
    };
    let slots = first_group(spec, facts) + groups;
    Plan {
        outer,
        held: if shifted { held | k::CLONE_NEWUSER } else { 0 },
        holder,
        namespaces,
        inner,
        slots,
        map: facts.way.map().cloned(),
        group: facts.birthplace,
        lasting: facts.outlives,
    }
}

/// The host's mounts that the container will use, as detached trees that nobody else can see.
fn copies(spec: &Spec, facts: &Facts, first_volume: Slot) -> Vec<Step> {
    let mut steps = Vec::new();
    let shifted = facts.way.shift().is_some();
    let copy = |from: &Path, into: Slot, recursive: bool, rules: Rules| {
        let from = c(from);
        let op = if shifted {
            Tree::Shifted { from, recursive, rules, into, userns: USERNS }
        } else {
            Tree::Tree { from, recursive, rules, into }
        };
        vec![tree(op)]
    };
    let (from, why) = match &spec.root {
        Root::Host => (Path::new("/"), "the machine's own root, to look at"),
        Root::Dir(path) if spec.writable_root => (path.as_path(), "the directory itself, to write to"),
        Root::Dir(path) => (path.as_path(), "the directory, to look at: nothing will be written to it"),
    };
    let writable = writable(spec, facts);
    let (slot, rules_of_root) = if spec.writable_root { (ROOT, writable) } else { (LOWER, Rules::default()) };
    steps.push(step("root", why, copy(from, slot, spec.writable_root, rules_of_root)));
    if let Some(path) = layer_dir(spec, facts) {
        // Shifted too: what is in it has the same owners, whichever range of ids the container has.
        let ops = copy(path, LAYER, false, writable);
        steps.push(step("layer-dir", "the directory that takes the writes", ops));
    }
    if let Some(hosts) = facts.net.hosts() {
        // Not shifted: it belongs to who is root inside already, on whatever filesystem it is.
        let plain = Tree::Tree { from: c(hosts), recursive: false, rules: hosts_rules(spec), into: HOSTS };
        steps.push(step("hosts", "the file in which others' names come and go", vec![tree(plain)]));
    }
    if !facts.host_mounts.is_empty() {
        let ops = facts
            .host_mounts
            .iter()
            .zip(FIRST_HOST..)
            .flat_map(|(mount, slot)| copy(&mount.path, slot, false, Rules::default()))
            .collect();
        steps.push(step("host-mounts", "the filesystems that are mounted below it", ops));
    }
    if !spec.volumes.is_empty() {
        let mut ops = Vec::new();
        for (volume, into) in spec.volumes.iter().zip(first_volume..) {
            ops.extend(copy(&volume.from, into, volume.recursive, rules(volume, spec, facts)));
        }
        steps.push(step("volumes", "copies of the host's mounts, with rules of their own", ops));
    }
    if spec.host_ipc {
        let rules = Rules { no_devices: true, ..Rules::default() };
        let plain = Tree::Tree { from: c"/dev/shm".into(), recursive: false, rules, into: SHM };
        steps.push(step("host-shm", "shared memory of the host, as asked", vec![tree(plain)]));
    }
    steps
}

/// What holds for the mount of `/etc/hosts`.
fn hosts_rules(spec: &Spec) -> Rules {
    Rules { read_only: spec.read_only, no_devices: true, slave: false }
}

/// Where the trees of control groups are.
fn first_group(spec: &Spec, facts: &Facts) -> Slot {
    FIRST_HOST + facts.host_mounts.len() + spec.volumes.len() + facts.devices.len()
}

/// The container's control groups, or the machine's, as trees. The v2 one is mounted later: by who is in its cgroup namespace.
fn group_copies(spec: &Spec, facts: &Facts) -> Option<Step> {
    let copy = |from: &CStr, recursive, into| {
        tree(Tree::Tree { from: from.into(), recursive, rules: group_rules(spec), into })
    };
    let first = first_group(spec, facts);
    let ops = match &facts.cgroup_view {
        CgroupView::Controllers(groups) => {
            groups.iter().zip(first..).map(|((_, from), into)| copy(from, false, into)).collect()
        }
        CgroupView::Machine => vec![copy(CGROUPS, true, first)],
        CgroupView::None | CgroupView::Unified => return None,
    };
    Some(step("groups", "what it will see of its control groups", ops))
}

fn group_rules(spec: &Spec) -> Rules {
    Rules { read_only: !spec.privileged, no_devices: true, slave: false }
}

/// The trees of `group_copies`, in the container's `/sys`.
fn attach_groups(spec: &Spec, facts: &Facts, place: &Place) -> Option<Step> {
    let attach = |tree, at| Op::Tree(Tree::Attach { tree, at, rules: group_rules(spec) });
    let mut ops: Vec<Op> = place.enter(SYS).into_iter().collect();
    let at = place.name("/sys/", "fs/cgroup");
    let first = first_group(spec, facts);
    match &facts.cgroup_view {
        CgroupView::Controllers(groups) => {
            ops.push(mount(c"tmpfs", PLAIN, "mode=755,size=4k", &at));
            for ((name, _), slot) in groups.iter().zip(first..) {
                let at = place.name("/sys/", &format!("fs/cgroup/{name}"));
                ops.push(tree(Tree::Dir(at.clone(), 0o755)));
                ops.push(attach(slot, at));
            }
            ops.push(tree(Tree::Remount(at, PLAIN | sysfs_rules(spec))));
        }
        CgroupView::Machine => ops.push(attach(first, at)),
        CgroupView::None | CgroupView::Unified => return None,
    }
    Some(step("groups-seen", "how much it may use, for programs that ask", ops))
}

/// The v2 tree as its cgroup namespace shows it. Not over what the user wants there himself.
fn mount_unified(spec: &Spec, facts: &Facts) -> Option<Step> {
    let wanted = facts.cgroup_view == CgroupView::Unified;
    let at = Path::new(OsStr::from_bytes(CGROUPS.to_bytes()));
    let taken = |to: &InRoot| at.starts_with(to.as_path()) || to.as_path().starts_with(at);
    let mut others = spec.volumes.iter().map(|volume| &volume.to).chain(spec.tmpfs.iter().map(|tmpfs| &tmpfs.to));
    if !wanted || others.any(taken) {
        return None;
    }
    let new = NewFs { fs: c"cgroup2", data: CString::default(), flags: PLAIN | sysfs_rules(spec) };
    let ops = if is_shared(spec, facts) {
        let at = known(at);
        let slot = first_group(spec, facts);
        vec![
            tree(new.detached(slot)),
            tree(Tree::AttachIn { tree: slot, at, kind: Kind::Dir, links: Links::Refuse, rules: Rules::default() }),
        ]
    } else {
        vec![tree(Tree::Mount(new, CGROUPS.into()))]
    };
    Some(step("groups-seen", "how much it may use, for programs that ask", ops))
}

/// The directory that takes the writes, if it is one.
fn layer_dir<'a>(spec: &Spec, facts: &'a Facts) -> Option<&'a Path> {
    match &facts.layer {
        Layer::Dir(path) if !spec.writable_root => Some(path),
        _ => None,
    }
}

/// What holds for a volume's mounts.
fn rules(volume: &Volume, spec: &Spec, facts: &Facts) -> Rules {
    Rules { read_only: volume.read_only, no_devices: !has_live_nodes(spec, facts), slave: volume.slave }
}

/// Whether any device node in the container is alive, made by whomever: a privileged one may do what ctr may. Over a user namespace
/// of its own root has no power over devices, and somebody else's node is no way round that.
fn has_live_nodes(spec: &Spec, facts: &Facts) -> bool {
    spec.privileged && facts.way == Way::Plain
}

fn writable(spec: &Spec, facts: &Facts) -> Rules {
    Rules { no_devices: !has_live_nodes(spec, facts), ..WRITABLE }
}

fn sysfs_rules(spec: &Spec) -> u32 {
    if spec.privileged { 0 } else { k::MS_RDONLY }
}

/// The nodes that an ordinary user brings along: the host's own.
fn own_nodes(facts: &Facts, first: Slot) -> Option<Step> {
    let ops = facts
        .devices
        .iter()
        .zip(first..)
        .map(|(node, into)| tree(Tree::DeviceTree { from: node.path(), number: node.number, into }));
    let wanted = matches!(facts.way, Way::Alone { .. }) && !facts.devices.is_empty();
    wanted.then(|| step("devices", "device nodes of the host, as they are", ops.collect()))
}

/// The nodes that root brings along: made anew, in a place where nodes are alive, which goes away.
fn new_nodes(facts: &Facts, first: Slot) -> Option<Step> {
    if matches!(facts.way, Way::Alone { .. }) || facts.devices.is_empty() {
        return None;
    }
    let mut ops = vec![dir("devices", 0o700)];
    for ((node, into), n) in facts.devices.iter().zip(first..).zip(0..) {
        let at = c(format!("devices/{n}"));
        // Who is root inside may use what was named, as root outside may.
        let owner = facts.way.shift().map_or((node.uid, node.gid), |map| {
            let root = map.root();
            (map.user(node.uid).unwrap_or(root.0), map.group(node.gid).unwrap_or(root.1))
        });
        ops.push(tree(Tree::AnyDevice(at.clone(), node.number, node.mode, owner)));
        ops.push(tree(Tree::DeviceTree { from: at, number: node.number, into }));
    }
    Some(step("devices", "device nodes as those of the host", ops))
}

/// What fills `/dev`: directories first. `before` stands before the names.
fn host_nodes(facts: &Facts, before: &str) -> Vec<Op> {
    let mut ops = Vec::new();
    let mut made = std::collections::BTreeSet::new();
    for node in &facts.host_devices {
        let Ok(name) = node.to.as_path().strip_prefix("/dev") else { continue };
        let above: Vec<&Path> = name.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty()).collect();
        for dir in above.into_iter().rev().filter(|dir| made.insert(dir.to_path_buf())) {
            ops.push(tree(Tree::DirUnlessThere(c(format!("{before}{}", dir.display())), 0o755)));
        }
        // Nobody's owner is changed: in a user namespace they are what they are for everybody else outside.
        let at = c(OsStr::from_bytes(&[before.as_bytes(), name.as_os_str().as_bytes()].concat()));
        ops.push(tree(Tree::AnyDevice(at, node.number, node.mode, (node.uid, node.gid))));
    }
    ops
}

/// In a user namespace the kernel lets proc and sysfs be mounted, and device nodes be used, only while the host's are
/// still to be seen.
fn early(spec: &Spec, facts: &Facts) -> Step {
    let new = |fs, flags| NewFs { fs, data: CString::default(), flags };
    let mut ops = vec![tree(new(c"proc", PLAIN).detached(PROC))];
    ops.push(if facts.net.is_own() {
        tree(new(c"sysfs", PLAIN | sysfs_rules(spec)).detached(SYS))
    } else {
        // sysfs shows the interfaces of a network namespace; only who owns that may mount one.
        tree(Tree::Tree {
            from: c"/sys".into(),
            recursive: true,
            rules: Rules { read_only: !spec.privileged, ..Rules::default() },
            into: SYS,
        })
    });
    for (node, slot) in rootfs::dev::NODES.iter().zip(DEVICES..) {
        let from = c(Path::new("/dev").join(OsStr::from_bytes(node.name.to_bytes())));
        ops.push(tree(Tree::Tree { from, recursive: false, rules: Rules::default(), into: slot }));
    }
    step("procfs", "what a user namespace may mount only while it sees the host's", ops)
}

/// The root, from a layer above what is only looked at. Ends in the stage, with the root attached at `root`.
fn build_root(spec: &Spec, facts: &Facts) -> Vec<Step> {
    let mut layer = Vec::new();
    if let Some((uid, gid)) = facts.way.shift().map(IdMap::root) {
        layer.push(tree(Tree::FileOwner(uid, gid)));
    }
    layer.extend([
        // Over everything: that needs no directory on a disk, and what it covers is not needed any more.
        mount(c"tmpfs", k::MS_NOSUID, "mode=700", c"/"),
        tree(Tree::Enter(OVER_ROOT.into())),
        // Modes are meant as they stand, until the command gets its usual mask.
        tree(Tree::Umask(0)),
        dir("root", 0o755),
    ]);
    let mut steps = Vec::new();

    let files_aside = || {
        let files = etc(spec, facts).into_iter().zip(ETC_NAMES).zip(ETC..);
        let ops = files.filter(|(_, slot)| *slot != HOSTS || facts.net.hosts().is_none()).flat_map(
            |((content, name), slot)| {
                let from = CString::from(name);
                [
                    tree(Tree::File(from.clone(), content)),
                    tree(Tree::Tree { from, recursive: false, rules: Rules::default(), into: slot }),
                ]
            },
        );
        step("files", "files that the image does not have", ops.collect())
    };
    let user = matches!(facts.way, Way::Alone { .. });
    let writable = writable(spec, facts);
    let over = |lower: &str, upper: &str, work: &str, at: CString| {
        tree(Tree::Overlay {
            lower: c(lower),
            upper: c(upper),
            work: c(work),
            at,
            user,
            devices: has_live_nodes(spec, facts),
        })
    };
    if layer_dir(spec, facts).is_some() {
        layer.push(dir("layer", 0o755));
        layer.push(tree(Tree::Attach { tree: LAYER, at: c"layer".into(), rules: writable }));
        steps.push(step("layer", "a place in memory to build on", layer));
        steps.push(files_aside());
        steps.push(step(
            "overlay",
            "reads fall through to the image, writes do not",
            vec![
                tree(Tree::Attach { tree: LOWER, at: c"root".into(), rules: Rules::default() }),
                over("root", "layer/upper", "layer/work", c"root".into()),
            ],
        ));
        let mut ops = Vec::new();
        for ((mount, slot), n) in facts.host_mounts.iter().zip(FIRST_HOST..).zip(0..) {
            let lower = format!("lower{n}");
            ops.push(dir(&lower, 0o755));
            ops.push(tree(Tree::Attach { tree: slot, at: c(&lower), rules: Rules::default() }));
            let below = mount.path.strip_prefix("/").unwrap_or(&mount.path);
            let at = c(Path::new("root").join(below));
            ops.push(over(&lower, &format!("layer/upper{n}"), &format!("layer/work{n}"), at));
        }
        if !ops.is_empty() {
            steps.push(step("host-overlays", "the same for what is mounted below it", ops));
        }
        return steps;
    }
    if spec.writable_root {
        steps.push(step("layer", "a place in memory to build on", layer));
        steps.push(files_aside());
        steps.push(step(
            "root-mount",
            "a mount that can become /",
            vec![tree(Tree::Attach { tree: ROOT, at: c"root".into(), rules: writable })],
        ));
        return steps;
    }
    for name in ["upper", "work"] {
        layer.push(dir(name, 0o755));
    }
    // Made here, where nobody else can reach, they win over whatever the image has under these names: a link named
    // /proc or /etc in a hostile image is never followed, it is covered.
    for name in ["proc", "sys", "dev", "etc"] {
        layer.push(dir(Path::new("upper").join(name), 0o755));
    }
    steps.push(step("layer", "a place in memory that takes the writes", layer));
    let files = etc(spec, facts).into_iter().zip(ETC_NAMES).map(|(content, name)| {
        tree(Tree::File(c(Path::new("upper/etc").join(OsStr::from_bytes(name.to_bytes()))), content))
    });
    steps.push(step("files", "files that the image does not have", files.collect()));
    steps.push(step(
        "overlay",
        "reads fall through to the image, writes do not",
        // One directory is enough: overlayfs keeps what it covers.
        vec![
            tree(Tree::Attach { tree: LOWER, at: c"root".into(), rules: Rules::default() }),
            over("root", "upper", "work", c"root".into()),
        ],
    ));
    if !facts.host_mounts.is_empty() {
        let mut ops = Vec::new();
        for ((HostMount { path, mode, uid, gid }, slot), n) in facts.host_mounts.iter().zip(FIRST_HOST..).zip(0..) {
            let [lower, upper, work] = ["lower", "upper", "work"].map(|name| format!("{name}{n}"));
            ops.extend([(&lower, 0o755), (&upper, *mode), (&work, 0o755)].map(|(name, mode)| dir(name, mode)));
            // Who has no id inside is nobody in there, whoever he is here.
            let owner = facts.way.shift().map_or((*uid, *gid), |map| {
                let root = map.root();
                (map.user(*uid).unwrap_or(root.0), map.group(*gid).unwrap_or(root.1))
            });
            ops.extend(((*uid, *gid) != (0, 0)).then(|| tree(Tree::Owner(c(&upper), owner.0, owner.1))));
            ops.push(tree(Tree::Attach { tree: slot, at: c(&lower), rules: Rules::default() }));
            let below = path.strip_prefix("/").unwrap_or(path);
            ops.push(over(&lower, &upper, &work, c(Path::new("root").join(below))));
        }
        steps.push(step("host-overlays", "the same for what is mounted below it", ops));
    }
    steps
}

/// What the three files say.
fn etc(spec: &Spec, facts: &Facts) -> [Vec<u8>; 3] {
    let mut hosts = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    if facts.net == Net::None {
        let _ = writeln!(hosts, "127.0.0.1\t{}", facts.hostname);
    }
    for (name, address) in &spec.hosts {
        // In the host's own network that is the host.
        let _ = writeln!(hosts, "{}\t{name}", address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
    [format!("{}\n", facts.hostname).into_bytes(), hosts.into_bytes(), facts.resolv_conf.clone().into_bytes()]
}

/// How the root's own /proc, /sys and /dev are got at. Where we made these directories ourselves their paths say what they
/// mean. Where the caller's directory itself is the root, others may have a hand in it, and rename what we have just
/// mounted; and where the layer was written to by an earlier run, they may be anything: then a mount is attached by descriptor, entered by descriptor, and what is in it has a relative name.
struct Place {
    /// The second case.
    shared: bool,
}

/// See [`Place`].
fn is_shared(spec: &Spec, facts: &Facts) -> bool {
    spec.writable_root || layer_dir(spec, facts).is_some()
}

impl Place {
    /// A filesystem at one of our places, made here unless it is `ready` in a slot.
    fn mount(&self, fs: &'static CStr, flags: u32, data: &str, at: &str, slot: Slot, ready: Option<Slot>) -> Vec<Op> {
        let new = NewFs { fs, data: c(data), flags };
        if !self.shared && ready.is_none() {
            return vec![tree(Tree::Mount(new, c(at)))];
        }
        let mut ops = Vec::new();
        ops.extend(ready.is_none().then(|| tree(new.detached(slot))));
        let (at, kind, links) = (known(Path::new(at)), Kind::Dir, Links::Refuse);
        ops.push(tree(Tree::AttachIn { tree: slot, at, kind, links, rules: Rules::default() }));
        ops
    }

    fn enter(&self, slot: Slot) -> Option<Op> {
        self.shared.then(|| tree(Tree::EnterTree(slot)))
    }

    /// What stands before a name in one of these places.
    fn below<'a>(&self, dir: &'a str) -> &'a str {
        if self.shared { "" } else { dir }
    }

    fn name(&self, dir: &str, name: &str) -> CString {
        c(format!("{}{name}", self.below(dir)))
    }
}

/// The terminal, or where the three standard descriptors lead. In the directory of `/dev`.
fn standard_descriptors(facts: &Facts, place: &Place) -> Step {
    let user = &facts.user;
    let dev = CString::from(if place.shared { c"." } else { c"/dev" });
    let Some((parent, size)) = facts.terminal else {
        let null = place.name("/dev/", "null");
        return step("stdio", "the three standard descriptors", vec![Op::Stdio(null, facts.stdio)]);
    };
    let tty = if facts.way.map().is_none_or(|map| map.group(5).is_some()) { 5 } else { 0 };
    let inside = (user.uid, tty);
    let owner = match facts.way.shift() {
        Some(map) => map.user(inside.0).zip(map.group(inside.1)),
        None => (user.uid != 0 || facts.way != Way::Plain).then_some(inside),
    };
    step("terminal", "a terminal of its own", vec![Op::Terminal { dev, parent, size, owner }])
}

/// What every root needs, now that it is /.
fn furnish(spec: &Spec, facts: &Facts, first_volume: Slot, inner: &mut Vec<Step>) {
    let place = Place { shared: is_shared(spec, facts) };
    let alone = matches!(facts.way, Way::Alone { .. });
    let ready = |slot: Slot| alone.then_some(slot);
    inner.push(step(
        "proc",
        "the processes of this pid namespace",
        place.mount(c"proc", PLAIN, "", "/proc", PROC, ready(PROC)),
    ));
    let sysfs = place.mount(c"sysfs", PLAIN | sysfs_rules(spec), "", "/sys", SYS, ready(SYS));
    let why = if spec.privileged { "the kernel's objects" } else { "the kernel's objects, read-only" };
    inner.push(step("sys", why, sysfs));

    let mut dev = place.mount(c"tmpfs", k::MS_NOSUID, "mode=755,size=64k", "/dev", DEV, None);
    dev.extend(place.enter(DEV));
    // With a user namespace nobody in there can make another.
    let alive = !facts.host_devices.is_empty();
    dev.extend(devices(place.below("/dev/"), ready(DEVICES), alive).into_iter().map(Op::Tree));
    dev.extend(host_nodes(facts, place.below("/dev/")));
    let why =
        if facts.host_devices.is_empty() { "the few devices that hold no data" } else { "all devices of the host" };
    inner.push(step("dev", why, dev));

    // Group 5 is "tty" in every distribution; it must exist in the user namespace.
    let group = match (facts.way.shift(), facts.way.map()) {
        (Some(map), _) | (None, Some(map)) if map.group(5).is_none() => String::new(),
        (Some(map), _) => format!(",gid={}", map.group(5).unwrap_or(0)),
        _ => ",gid=5".to_owned(),
    };
    let options = format!("newinstance,ptmxmode=0666,mode=0620{group}");
    let pts = place.name("/dev/", "pts");
    inner.push(step(
        "devpts",
        "terminals of its own",
        vec![tree(Tree::Dir(pts.clone(), 0o755)), mount(c"devpts", k::MS_NOSUID | k::MS_NOEXEC, &options, &pts)],
    ));
    let at = place.name("/dev/", "shm");
    let options = format!("mode=1777,size={}", spec.shm_size);
    let shm = if spec.host_ipc {
        tree(Tree::Attach { tree: SHM, at: at.clone(), rules: Rules { no_devices: true, ..Rules::default() } })
    } else {
        mount(c"tmpfs", PLAIN, &options, &at)
    };
    inner.push(step("shm", "POSIX shared memory", vec![tree(Tree::Dir(at, 0o755)), shm]));
    let at = place.name("/dev/", "mqueue");
    let mqueue = mount(c"mqueue", PLAIN, "", &at);
    inner.push(step("mqueue", "POSIX message queues", vec![tree(Tree::Dir(at, 0o755)), mqueue]));

    // Before anything is mounted that the image or a volume has a say in: /dev/null is still ours.
    let mut session = vec![Op::Session];
    // A keyring belongs to who makes it: later, if he is not yet who he will be.
    session.extend(facts.way.shift().is_none().then_some(Op::Keyring));
    inner.push(step("session", "a session and a keyring of its own", session));
    inner.push(standard_descriptors(facts, &place));

    if !spec.sysctls.is_empty() {
        let proc = (place.shared || alone).then_some(PROC);
        inner.push(step(
            "sysctl-place",
            "where they are, before parts of it are read-only",
            vec![Op::SysctlPlace(proc, SYSCTL)],
        ));
        // With a user namespace of root's, whoever is root of that may write them: later.
        inner.extend(sysctls(spec).filter(|_| facts.way.shift().is_none()));
    }
    inner.extend(attach_groups(spec, facts, &place));
    // A bind mount of a read-only mount is read-only: one remount each way instead of one a path.
    if !spec.privileged {
        inner.push(masks(&place));
    } else if place.shared {
        inner.push(step("leave", "out of /dev again", vec![tree(Tree::Enter(c"/".into()))]));
    }

    furnish_more(spec, facts, first_volume, &place, inner);
}

/// Kernel parameters, by whoever is root of the namespaces that they belong to.
fn sysctls(spec: &Spec) -> Option<Step> {
    let ops = spec.sysctls.iter().map(|sysctl| Op::Sysctl(sysctl.clone(), SYSCTL)).collect();
    (!spec.sysctls.is_empty()).then(|| step("sysctl", "kernel parameters of its own namespaces", ops))
}

/// Parts of proc and sysfs are covered or read-only.
fn masks(place: &Place) -> Step {
    let mut mask: Vec<Op> = place.enter(PROC).into_iter().collect();
    let null = place.shared.then_some(DEV);
    mask.extend(MASKED.iter().map(|(name, kind)| tree(Tree::Mask(place.name("/proc/", name), *kind, null))));
    let proc = if place.shared { c"." } else { c"/proc" };
    mask.push(tree(Tree::Remount(proc.into(), PLAIN | k::MS_RDONLY)));
    mask.extend(READ_ONLY.iter().map(|name| tree(Tree::Pin(place.name("/proc/", name)))));
    mask.push(tree(Tree::Remount(proc.into(), PLAIN)));
    mask.extend(place.enter(SYS));
    mask.extend(MASKED_SYS.iter().map(|name| tree(Tree::Mask(place.name("/sys/", name), Kind::Dir, None))));
    mask.extend(place.shared.then(|| tree(Tree::Enter(c"/".into()))));
    step("mask", "parts of /proc and /sys that reach the host are covered or read-only", mask)
}

/// What the image and the user have a say in.
fn furnish_more(spec: &Spec, facts: &Facts, first_volume: Slot, place: &Place, inner: &mut Vec<Step>) {
    if place.shared {
        let ops = ETC_NAMES.iter().zip(ETC..).map(|(name, slot)| {
            let at = known(&Path::new("/etc").join(OsStr::from_bytes(name.to_bytes())));
            tree(Tree::AttachIn { tree: slot, at, kind: Kind::File, links: Links::Follow, rules: Rules::default() })
        });
        inner.push(step("etc", "files that the image does not have, without writing to it", ops.collect()));
    } else if facts.net.hosts().is_some() {
        let (at, kind) = (known(Path::new("/etc/hosts")), Kind::File);
        let attach = Tree::AttachIn { tree: HOSTS, at, kind, links: Links::Refuse, rules: hosts_rules(spec) };
        inner.push(step("etc", "where names of others come and go", vec![tree(attach)]));
    }
    if spec.root == Root::Host {
        let new = NewFs { fs: c"tmpfs", data: c"mode=755".into(), flags: k::MS_NOSUID | k::MS_NODEV };
        let ops = vec![tree(Tree::MountIn(new, known(Path::new("/run")), Links::Follow))];
        inner.push(step("run", "sockets and locks of the host's services are not for us", ops));
    }
    if !facts.devices.is_empty() {
        let first = first_volume + spec.volumes.len();
        let ops = facts.devices.iter().zip(first..).map(|(node, slot)| {
            // In /dev nothing is the image's.
            let links = if node.to.as_path().starts_with("/dev") { Links::Refuse } else { Links::Follow };
            let (at, rules) = (node.to.clone(), Rules::default());
            tree(Tree::AttachIn { tree: slot, at, kind: Kind::File, links, rules })
        });
        inner.push(step("device", "what was asked for with --device", ops.collect()));
    }
    let volumes = spec.volumes.iter().zip(&facts.volume_kinds).zip(first_volume..).map(|((volume, kind), slot)| {
        (
            &volume.to,
            Tree::AttachIn {
                tree: slot,
                at: volume.to.clone(),
                kind: *kind,
                links: Links::Follow,
                rules: rules(volume, spec, facts),
            },
        )
    });
    let tmpfs = spec.tmpfs.iter().map(|Tmpfs { to, flags, data }| {
        let data = facts.way.shift().map_or_else(|| data.clone(), |map| owners_outside(data, map));
        (to, Tree::MountIn(NewFs { fs: c"tmpfs", data, flags: *flags }, to.clone(), Links::Follow))
    });
    // Parents before what is mounted in them, whatever their order on the command line.
    let mut mounts: Vec<_> = volumes.chain(tmpfs).collect();
    mounts.sort_by_key(|(to, _)| to.as_path().components().count());
    if !mounts.is_empty() {
        inner.push(step(
            "volume",
            "what was asked for with -v, --mount and --tmpfs",
            mounts.into_iter().map(|(_, op)| tree(op)).collect(),
        ));
    }
}

/// A tmpfs's options with its owners as they are outside.
fn owners_outside(data: &CStr, map: &IdMap) -> CString {
    let text = data.to_string_lossy();
    let one = |option: &str| match option.split_once('=') {
        Some(("uid", id)) => id.parse().ok().and_then(|id| map.user(id)).map(|id| format!("uid={id}")),
        Some(("gid", id)) => id.parse().ok().and_then(|id| map.group(id)).map(|id| format!("gid={id}")),
        _ => None,
    };
    c(text.split(',').map(|option| one(option).unwrap_or_else(|| option.to_owned())).collect::<Vec<_>>().join(","))
}

fn known(path: &Path) -> InRoot {
    InRoot::new(path).unwrap_or_else(|| unreachable!("{} is absolute", path.display()))
}

/// Who it is and what it may do; then it starts.
fn settle(spec: &Spec, facts: &Facts, inner: &mut Vec<Step>) {
    let user = &facts.user;
    if !spec.host_uts {
        inner.push(step("hostname", "its own name", vec![Op::Hostname(facts.hostname.clone())]));
    }
    match &facts.net {
        Net::None => {
            if let Ok(message) = netlink::link::set_up(1).finish() {
                let op = Op::Netlink(message, "ip link set lo up".to_owned());
                inner.push(step("loopback", "its own 127.0.0.1, and no other network", vec![op]));
            }
        }
        Net::Joined { messages, words, .. } => {
            let ops = vec![Op::AwaitParent(facts.parent), Op::Netlink(messages.clone(), words.clone())];
            inner.push(step("network", "its links are up, with addresses and the way out", ops));
        }
        Net::Host | Net::Of { .. } => {}
    }
    if !spec.workdir.is_root() {
        inner.push(step(
            "workdir",
            "where it starts, never outside of the root",
            vec![tree(Tree::WorkDir(spec.workdir.clone()))],
        ));
    }
    if spec.read_only {
        // A remount says all flags anew: without nodev the image's device nodes would come to life.
        let flags = k::MS_RDONLY | k::MS_NODEV;
        let mut ops = vec![tree(Tree::Remount(c"/".into(), flags))];
        ops.extend(facts.host_mounts.iter().map(|mount| tree(Tree::Remount(c(&mount.path), flags))));
        inner.push(step("read-only", "nothing can be written but volumes and tmpfs", ops));
    }
    // Few descriptors are for the user's program: what is still to be opened here needs one. Lowering takes no power, so it can wait.
    let few = |limit: &&Limit| limit.resource == k::RLIMIT_NOFILE && limit.hard < 1024 && facts.way.shift().is_some();
    let limits: Vec<Op> = spec.limits.iter().filter(|limit| !few(limit)).map(|limit| Op::Limit(*limit)).collect();
    if !limits.is_empty() {
        inner.push(step("limits", "resource limits", limits));
    }
    let mut charged: Vec<Op> = facts.late_doors.iter().map(|door| Op::Join(*door)).collect();
    charged.extend(facts.late_writes.iter().map(|(file, text)| Op::Put(*file, text.clone())));
    let shifted = facts.way.shift().is_some();
    charged.extend((!facts.late_doors.is_empty() && !spec.host_cgroup && !shifted).then_some(Op::CgroupNamespace));
    if !charged.is_empty() {
        inner.push(step("memory", "from here on what it uses counts", charged));
    }
    if !shifted {
        inner.extend(mount_unified(spec, facts));
    }
    inner.push(step("umask", "the usual one", vec![tree(Tree::Umask(0o022))]));
    if facts.way.shift().is_some() {
        // All mounts are there: in the copy that this user namespace owns each of them is locked, with its flags, for whatever
        // power somebody gets in here (mount_namespaces(7)).
        let mut ops = vec![Op::Enter(HOLDER, k::CLONE_NEWUSER), Op::Become { groups: None, ids: Some((0, 0)) }];
        let cgroup = if spec.host_cgroup { 0 } else { k::CLONE_NEWCGROUP };
        ops.extend([Op::Unshare(k::CLONE_NEWNS | cgroup), Op::Keyring]);
        let null = facts.stdio.map(|stdio| stdio == Stdio::Null);
        ops.extend(match facts.terminal {
            Some(_) => Some(Op::Reopen(c"/dev/pts/0".into(), [true; 3])),
            None => null.contains(&true).then(|| Op::Reopen(c"/dev/null".into(), null)),
        });
        inner.push(step("userns", "root inside is nobody outside from here on", ops));
        inner.extend(mount_unified(spec, facts));
        inner.extend(sysctls(spec));
        if let Some(limit) = spec.limits.iter().find(few) {
            inner.push(step("descriptors", "as few as were asked for", vec![Op::Limit(*limit)]));
        }
    }
    inner.extend(facts.boundary.label());
    inner.push(step("bounding", "no program in here can ever have more", vec![Op::Bounding(facts.capabilities)]));
    // Who has written his own map may not change groups (user_namespaces(7), "deny").
    let may = !matches!(&facts.way, Way::Alone { map } if map.is_one());
    let groups = may.then(|| user.groups.clone());
    let ids = Some((user.uid, user.gid))
        .filter(|ids| *ids != (0, 0) || !(facts.caller_is_root || facts.way.shift().is_some()));
    inner.push(step("user", "who it is", facts.boundary.user(Op::Become { groups, ids })));
    let kept = if user.uid == 0 { facts.capabilities } else { 0 };
    let why = match kept {
        caps::DEFAULT => "14 of root's 41 powers, and none to inherit",
        0 => "none of root's powers, and none to inherit",
        _ => "those of root's powers that were asked for, and none to inherit",
    };
    inner.push(step("capabilities", why, vec![Op::Capabilities(facts.boundary.until_filtered(kept))]));
    inner.extend(facts.boundary.no_new_privs());
    // Our own init reads them; a signal that comes before it can must wait.
    let signals = (!spec.init).then_some(Op::Signals);
    let mut guard = vec![Op::Guard(facts.parent)];
    guard.extend(signals.filter(|_| !facts.outlives));
    let why =
        if facts.outlives { "until it is written down, it does not outlive ctr" } else { "it does not outlive ctr" };
    inner.push(step("guard", why, guard));
    if facts.awaits_parent || facts.outlives {
        inner.push(step("pidfile", "ctr has written its pid down", vec![Op::AwaitParent(facts.parent)]));
    }
    if facts.outlives {
        let mut free = vec![Op::Unguard];
        free.extend((!spec.init).then_some(Op::Signals));
        inner.push(step("unguard", "whoever comes after ctr will find it", free));
    }
    inner.push(step("close", "no descriptor of the host comes along", vec![Op::CloseAll { but: facts.init }]));
    inner.extend(facts.boundary.filter(kept));
    inner.push(step("exec", "from here on it is the user's program", vec![Op::Exec(program(spec, facts))]));
}

/// The command as `execve` wants it.
fn program(spec: &Spec, facts: &Facts) -> Program {
    let env = environment(&facts.hostname, &facts.user.home, facts.terminal.is_some(), &spec.env);
    Program::new(spec.command.clone(), env, facts.init)
}

/// A fresh environment: what every container has, then what was asked for (later ones win).
pub fn environment(hostname: &str, home: &str, terminal: bool, asked: &[CString]) -> Vec<CString> {
    let mut env: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut set = |pair: &[u8]| {
        let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
        env.insert(pair[..at].to_vec(), pair.get(at + 1..).unwrap_or_default().to_vec());
    };
    set(format!("PATH={PATH}").as_bytes());
    set(format!("HOSTNAME={hostname}").as_bytes());
    set(format!("HOME={home}").as_bytes());
    if terminal {
        set(b"TERM=xterm");
    }
    for pair in asked {
        set(pair.to_bytes());
    }
    env.into_iter().map(|(key, value)| c(OsStr::from_bytes(&[key, b"=".to_vec(), value].concat()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::spec::{Network, Userns};

    fn spec() -> Spec {
        Spec {
            root: Root::Dir("/srv/root".into()),
            writable_root: false,
            read_only: false,
            command: vec![c"true".into()],
            env: Vec::new(),
            workdir: known(Path::new("/")),
            user: None,
            name: None,
            hostname: None,
            interactive: false,
            terminal: false,
            volumes: Vec::new(),
            tmpfs: Vec::new(),
            network: Network::None,
            ports: Vec::new(),
            host_pid: false,
            host_ipc: false,
            host_uts: false,
            userns: Userns::Host,
            ids: None,
            hosts: Vec::new(),
            resolver: crate::network::hosts::Resolver::default(),
            limits: Vec::new(),
            shm_size: 64 << 20,
            init: false,
            capabilities: caps::USUAL,
            privileged: false,
            devices: Vec::new(),
            sysctls: Vec::new(),
            groups: Vec::new(),
            security: crate::container::security::Security::default(),
            resources: crate::cgroup::limits::Limits::default(),
            device_rules: Vec::new(),
            cgroup_parent: None,
            host_cgroup: false,
        }
    }

    fn facts(way: Way) -> Facts {
        Facts {
            net: Net::None,
            id: "0123456789abcdef".into(),
            hostname: "web".into(),
            user: User { uid: 0, gid: 0, groups: Vec::new(), home: "/root".into() },
            way,
            host_mounts: Vec::new(),
            on_ramfs: None,
            resolv_conf: String::new(),
            stdio: [Stdio::Null, Stdio::Keep, Stdio::Keep],
            terminal: None,
            caller_is_root: true,
            fallback: None,
            notices: Vec::new(),
            layer: Layer::Memory,
            awaits_parent: false,
            outlives: false,
            birthplace: None,
            doors: Vec::new(),
            late_doors: Vec::new(),
            cgroup_view: CgroupView::None,
            late_writes: Vec::new(),
            parent: -1,
            init: None,
            volume_kinds: Vec::new(),
            capabilities: caps::DEFAULT,
            named_capabilities: 0,
            devices: Vec::new(),
            host_devices: Vec::new(),
            boundary: spec().security.look(caps::DEFAULT, false).unwrap(),
        }
    }

    fn ways() -> [Way; 3] {
        [Way::Plain, Way::Shifted { map: IdMap::range(0) }, Way::Alone { map: IdMap::only(1000, 1000) }]
    }

    fn names(plan: &Plan) -> Vec<&'static str> {
        plan.holder.iter().chain(&plan.outer).chain(&plan.inner).map(|step| step.name).collect()
    }

    /// Every variant of wishes that changes the list.
    fn plans() -> Vec<Plan> {
        let mut all = Vec::new();
        for way in ways() {
            for writable_root in [false, true] {
                let volumes = vec![super::super::spec::volume("/a:/b:ro").unwrap()];
                let spec = Spec { writable_root, volumes, read_only: !writable_root, ..spec() };
                all.push(plan(&spec, &Facts { volume_kinds: vec![Kind::Dir], ..facts(way.clone()) }));
            }
        }
        all
    }

    #[test]
    fn the_order_is_the_design() {
        for plan in plans() {
            let names = names(&plan);
            let at =
                |name: &str| names.iter().position(|n| *n == name).unwrap_or_else(|| panic!("{name} in {names:?}"));
            // Nothing is put into the new root before the old one is gone.
            for later in ["proc", "sys", "dev", "mask", "volume"] {
                assert!(at("pivot") < at(later), "{names:?}");
            }
            assert!(at("private") < at("pivot"));
            assert!(at("volume") > at("mask"));
            // /dev/null and the terminal are opened while no image and no volume has a say in what they are.
            assert!(at("stdio") < at("mask") && at("dev") < at("stdio"));
            // The bounding set needs a capability that the capability set then lacks; a change of user clears the
            // parent-death signal; nothing may follow that could open a descriptor.
            for two in
                ["bounding", "user", "capabilities", "no-new-privs", "guard", "close", "seccomp", "exec"].windows(2)
            {
                assert!(at(two[0]) < at(two[1]), "{names:?}");
            }
            assert_eq!(names.last(), Some(&"exec"));
        }
    }

    #[test]
    fn names_are_unique_and_everything_is_explained() {
        for plan in plans() {
            let mut names = names(&plan);
            for step in plan.holder.iter().chain(&plan.outer).chain(&plan.inner) {
                assert!(
                    !step.why.is_empty()
                        && !step.ops.is_empty()
                        && step.ops.iter().all(|op| !op.to_string().is_empty())
                );
            }
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count);
        }
    }

    #[test]
    fn namespaces_follow_the_wishes() {
        let all = k::CLONE_NEWNS
            | k::CLONE_NEWPID
            | k::CLONE_NEWUTS
            | k::CLONE_NEWIPC
            | k::CLONE_NEWNET
            | k::CLONE_NEWCGROUP;
        assert_eq!(plan(&spec(), &facts(Way::Plain)).namespaces, all);
        assert_eq!(plan(&spec(), &facts(ways()[2].clone())).namespaces, all | k::CLONE_NEWUSER);
        let shared = Spec { host_pid: true, host_ipc: true, host_uts: true, network: Network::Host, ..spec() };
        let facts = Facts { net: Net::Host, ..facts(Way::Plain) };
        assert_eq!(plan(&shared, &facts).namespaces, k::CLONE_NEWNS | k::CLONE_NEWCGROUP);
    }

    #[test]
    fn the_environment_is_fresh_and_the_last_one_wins() {
        let spec = Spec { env: vec![c"A=1".into(), c"PATH=/x:".into(), c"A=2".into()], ..spec() };
        let program = program(&spec, &facts(Way::Plain));
        assert_eq!(program.paths, [CString::from(c"/x/true"), c"./true".into()]);
        let text = format!("{program:?}");
        assert!(text.contains("A=2") && !text.contains("A=1") && text.contains("HOME=/root"), "{text}");
    }
}
