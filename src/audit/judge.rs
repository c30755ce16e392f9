//! What the facts mean: a table of rules ([`RULES`]), each of which looks at one thing and says how well it is, what was found and
//! what was asked for. Pure.
//!
//! A rule that fails is a *breach* if the container has more than was asked for. What was asked for and leaves little of a boundary, and
//! what nobody asked for but everybody should (a limit of memory), is *weak*. For a process without a record there is only what a
//! well-confined container has ([`Asked::default`]): then a breach is what gives the host away, and weak is what helps to.
//!
//! To add a rule, write a function and a line in the table. To add something that can be asked for, add a field to [`Asked`], and
//! fill it in `cmd/audit.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Component, Path, PathBuf};

use linux_raw_sys::general as k;
use rootfs::mounts::Mount;

use super::limits::{Devices, Lack, Limit, Limits, Setting};
use super::look::{Cover, Descriptor, Device, Facts, HIDDEN, Process, Seen, UNWRITTEN};
use super::parse::{
    INHERITABLE, Thread, device_rule, is_same_setting, is_secret, numbers, outside, plain, socket, throttles,
};
use crate::caps;

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It cannot be seen.
    Unseen,
    /// As was asked for, or as nobody forbade; and little of a boundary.
    Weak,
    /// More than was asked for.
    Breach,
}

impl Verdict {
    /// For programs.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Good => "good",
            Verdict::Unseen => "unseen",
            Verdict::Weak => "weak",
            Verdict::Breach => "breach",
        }
    }

    /// For people.
    pub fn sign(self) -> char {
        match self {
            Verdict::Good => '✓',
            Verdict::Unseen => '?',
            Verdict::Weak => '!',
            Verdict::Breach => '✗',
        }
    }
}

/// Whether a user namespace was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ids {
    /// It must have ids of its own.
    Own,
    /// It has them where the machine can do that.
    #[default]
    OwnIfPossible,
    /// The host's.
    Host,
}

/// A host path that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// On the host.
    pub from: PathBuf,
    /// Inside.
    pub to: PathBuf,
    /// Nothing can be written through it.
    pub read_only: bool,
    /// What the host mounts there later appears inside.
    pub follows: bool,
}

/// A part of the processors, in one of the two measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// v1's: 2 to 262144.
    Shares(u64),
    /// v2's: 1 to 10000.
    Weight(u64),
}

/// What was asked for. The default is what a well-confined container has.
#[derive(Clone, Debug)]
pub struct Asked {
    /// There is a record that says so.
    pub recorded: bool,
    /// `--privileged`.
    pub privileged: bool,
    /// The namespaces that are to be the host's, by their kernel names.
    pub shared: BTreeSet<&'static str>,
    /// Ids.
    pub ids: Ids,
    /// Somebody chose the maps himself.
    pub maps_by_hand: bool,
    /// The most capabilities that any process may have.
    pub caps: u64,
    /// Set-user-id programs may work.
    pub new_privileges: bool,
    /// A filter must be there; None: this ctr has none to offer.
    pub filter: Option<bool>,
    /// The security label.
    pub label: Option<String>,
    /// The root is a view of the machine's own.
    pub host_root: bool,
    /// The directory that is the root itself.
    pub root: Option<PathBuf>,
    /// Nothing in the root can be written.
    pub read_only: bool,
    /// Volumes.
    pub binds: Vec<Bind>,
    /// Devices: their paths inside, and what may be done with them, of `rwm`.
    pub devices: Vec<(PathBuf, String)>,
    /// Further device rules.
    pub device_rules: Vec<String>,
    /// Device rules must be in force.
    pub ruled: bool,
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together.
    pub memory_and_swap: Option<u64>,
    /// Processes.
    pub pids: Option<u64>,
    /// Thousandths of a processor.
    pub cpu: Option<u64>,
    /// Processors.
    pub cpuset: Option<Vec<u32>>,
    /// Bytes that are to be left to it.
    pub reservation: Option<u64>,
    /// 0 to 100.
    pub swappiness: Option<u64>,
    /// It waits where it would be killed for lack of memory.
    pub no_oom_kill: bool,
    /// Its part of the processors where there is not enough for all.
    pub weight: Option<Weight>,
    /// Microseconds in which the quota of processor time is counted.
    pub period: Option<u64>,
    /// Memory nodes.
    pub mems: Option<Vec<u32>>,
    /// Its part of the disks: 10 to 1000.
    pub io_weight: Option<u64>,
    /// Limits of block devices: number, way (see [`super::parse::throttles`]), rate.
    pub io: Vec<(String, &'static str, u64)>,
    /// The place of its control group, below each hierarchy's root.
    pub group: Option<String>,
    /// Resource limits: number, soft, hard.
    pub resources: Vec<(u32, u64, u64)>,
    /// The names of the environment.
    pub environment: Vec<String>,
    /// Kernel parameters: the path below `/proc/sys`, and the value.
    pub sysctls: Vec<(String, String)>,
}

impl Default for Asked {
    fn default() -> Asked {
        Asked {
            recorded: false,
            privileged: false,
            shared: BTreeSet::new(),
            ids: Ids::default(),
            maps_by_hand: false,
            caps: caps::DEFAULT,
            new_privileges: false,
            filter: None,
            label: None,
            host_root: false,
            root: None,
            read_only: false,
            binds: Vec::new(),
            devices: Vec::new(),
            device_rules: Vec::new(),
            ruled: false,
            memory: None,
            memory_and_swap: None,
            pids: None,
            cpu: None,
            cpuset: None,
            reservation: None,
            swappiness: None,
            no_oom_kill: false,
            weight: None,
            period: None,
            mems: None,
            io_weight: None,
            io: Vec::new(),
            group: None,
            resources: Vec::new(),
            environment: Vec::new(),
            sysctls: Vec::new(),
        }
    }
}

impl Asked {
    /// A breach, if there is a record that this is against.
    fn broken(&self) -> Verdict {
        if self.recorded { Verdict::Breach } else { Verdict::Weak }
    }
}

/// What one rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// How well it is.
    pub verdict: Verdict,
    /// What there is.
    pub found: String,
    /// What should be; empty where that goes without saying.
    pub asked: String,
}

impl Judged {
    /// The same found, otherwise judged.
    fn with(self, verdict: Verdict, asked: String) -> Judged {
        Judged { verdict, asked, ..self }
    }
}

fn judged(verdict: Verdict, found: impl Into<String>, asked: impl Into<String>) -> Judged {
    Judged { verdict, found: found.into(), asked: asked.into() }
}

fn good(found: impl Into<String>) -> Judged {
    judged(Verdict::Good, found, "")
}

fn unseen(why: impl std::fmt::Display) -> Judged {
    judged(Verdict::Unseen, why.to_string(), "")
}

/// Good if nothing stands against it, otherwise the rest.
fn none_of(list: &[String], nothing: &str, verdict: Verdict, asked: &str) -> Judged {
    if list.is_empty() { judged(Verdict::Good, nothing, asked) } else { judged(verdict, some(list), asked) }
}

/// The first few of many.
fn some(list: &[String]) -> String {
    const FEW: usize = 6;
    let mut text = list.iter().take(FEW).map(|word| plain(word)).collect::<Vec<_>>().join(", ");
    if list.len() > FEW {
        let _ = write!(text, " and {} more", list.len() - FEW);
    }
    text
}

/// What a rule looks at, and how.
type Look = fn(&Facts, &Asked, &'static str) -> Judged;

/// One line of the table.
pub struct Rule {
    /// What kind of thing.
    pub group: &'static str,
    /// What.
    pub name: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// What to do with whom was asked to be privileged: then this is as asked for.
    pub lifted: bool,
    look: Look,
    with: &'static str,
}

const fn rule(group: &'static str, name: &'static str, look: Look, with: &'static str, why: &'static str) -> Rule {
    Rule { group, name, why, lifted: false, look, with }
}

/// One that `--privileged` lifts.
const fn lifted(group: &'static str, name: &'static str, look: Look, with: &'static str, why: &'static str) -> Rule {
    Rule { group, name, why, lifted: true, look, with }
}

/// Everything that is looked at, in the order in which it is shown.
#[rustfmt::skip]
pub const RULES: [Rule; 50] = [
    rule("namespaces", "mounts", namespace, "mnt", "without its own it sees, and as root changes, all files of the host"),
    rule("namespaces", "processes", namespace, "pid", "it sees the host's processes, signals them, and finds roots and descriptors in their /proc"),
    rule("namespaces", "network", namespace, "net", "it reaches what listens on the host's loopback, abstract sockets of the host's services, and as root the host's interfaces"),
    rule("namespaces", "ipc", namespace, "ipc", "it shares memory and message queues with the host"),
    rule("namespaces", "hostname", namespace, "uts", "with CAP_SYS_ADMIN it renames the host"),
    rule("namespaces", "cgroups", namespace, "cgroup", "it sees the whole tree of control groups, and where in it it is"),
    rule("namespaces", "users", namespace, "user", "root inside is the host's root: whatever else fails, nothing is left between them"),
    rule("namespaces", "time", namespace, "time", "boot and uptime clocks; nobody has to have their own"),
    rule("namespaces", "company", together, "", "a process in there that is not behind the same walls is a door"),
    rule("namespaces", "visitors", visitors, "", "what runs in its mount namespace, unseen from inside, opens files of the container by name"),
    rule("identity", "ids", ids, "", "who it is outside decides what it may do with whatever it gets hold of"),
    rule("identity", "id maps", maps, "", "ids that others have outside belong to them inside as well"),
    lifted("identity", "capabilities", capabilities, "", "each is a part of root's power; some (SYS_ADMIN, SYS_MODULE, SYS_PTRACE, DAC_READ_SEARCH) are all of it"),
    rule("identity", "inheritable", inheritable, "", "what a program file with inheritable capabilities gets more than its caller has (CVE-2022-24769)"),
    lifted("identity", "no_new_privs", no_new_privs, "", "without it a set-user-id program in the image gives its powers to whoever runs it"),
    lifted("identity", "seccomp", seccomp, "", "without a filter every system call of the kernel can be reached: keyctl, bpf, userfaultfd, new user namespaces"),
    lifted("identity", "label", label, "", "AppArmor, SELinux or Smack stand when all else has fallen"),
    rule("identity", "keyrings", keyrings, "", "keys belong to users, not to namespaces: the same user outside shares them"),
    rule("files", "root", root, "", "what becomes / should not be the machine's own, nor be written if that was not wanted"),
    rule("files", "host paths", host_paths, "", "what is mounted from the host can be read there, and changed if it is writable; a socket of a daemon is the host's root"),
    rule("files", "propagation", propagation, "", "what is mounted on a shared mount inside appears on the host (shared), or the other way round (slave)"),
    lifted("files", "hidden", hidden, "", "the host's memory, keys, timers and firmware can be read there"),
    lifted("files", "read-only", unwritten, "", "whoever writes there changes the host: core_pattern and release_agent run programs as its root"),
    lifted("files", "kernel's own", kernel_files, "", "debugfs, tracefs, cgroup v1 and their like reach far into the kernel"),
    lifted("devices", "nodes", devices, "", "a disk is all files of the host, whoever owns them; memory and ports are the machine"),
    lifted("devices", "nodev", nodev, "", "with CAP_MKNOD any device can be made, and opened where neither nodev nor device rules forbid it"),
    lifted("devices", "rules", device_rules, "", "the last line: devices that cannot be opened whoever made the node"),
    rule("limits", "memory", memory, "", "without a limit it can take all of it, and the kernel then kills whom it likes"),
    rule("limits", "swap", swap, "", "a limit of memory alone is stretched by what can be swapped out"),
    rule("limits", "reservation", reservation, "", "what the kernel takes from others first when memory is short"),
    rule("limits", "out of memory", oom, "", "with the killer off it waits for ever, and holds what it has; what is swapped out can be read on the disk"),
    rule("limits", "processes", pids, "", "without a limit a fork bomb takes the host along"),
    rule("limits", "cpu", cpu, "", "without a limit it shares all processors with all others"),
    rule("limits", "processors", cpuset, "", "which processors it runs on"),
    rule("limits", "memory nodes", mems, "", "which of the machine's memory it gets"),
    rule("limits", "weights", weights, "", "how processors and disks are shared when there is not enough for all"),
    rule("limits", "block io", io, "", "without a limit one writer slows all disks down"),
    rule("limits", "resources", resources, "", "limits of open files, processes, core files (ulimit)"),
    rule("limits", "group", group, "", "without a group of its own it can neither be limited nor frozen nor killed as a whole"),
    rule("leaks", "descriptors", descriptors, "", "through an open directory of the host `..` leads to its root (CVE-2024-21626)"),
    rule("leaks", "sockets", shared_sockets, "", "who is at its other end is outside"),
    rule("leaks", "environment", environment, "", "whoever can look at a process, or at inspect, reads it; every child inherits it"),
    rule("leaks", "listening", listening, "", "what others can connect to"),
    rule("leaks", "abstract", abstract_sockets, "", "abstract sockets have no permissions: who is in the network namespace may connect (CVE-2020-15257)"),
    lifted("leaks", "sysctls", sysctls, "", "who can change one has more power than was meant, and others may rely on what was set"),
    rule("host", "core_pattern", core_pattern, "", "the program behind a | runs as the host's root, on a core that the container wrote"),
    rule("host", "suid_dumpable", suid_dumpable, "", "1 lets anybody read the memory of set-user-id programs"),
    rule("host", "kernel log", setting_at_least_1, "kernel/dmesg_restrict", "addresses and other containers' messages are in it"),
    rule("host", "perf events", perf_events, "", "a large and often broken part of the kernel"),
    rule("host", "others", attack_surface, "", "parts of the kernel that many escapes began in, open to everybody without a filter"),
];

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// See [`Rule::group`].
    pub group: &'static str,
    /// See [`Rule::name`].
    pub name: &'static str,
    /// See [`Rule::why`].
    pub why: &'static str,
    /// How well it is.
    pub verdict: Verdict,
    /// What there is.
    pub found: String,
    /// What should be.
    pub asked: String,
}

/// All of them.
pub fn judge(facts: &Facts, asked: &Asked) -> Vec<Finding> {
    let apply = |rule: &Rule| {
        let Judged { mut verdict, found, asked: mut should } = (rule.look)(facts, asked, rule.with);
        if rule.lifted && asked.privileged && verdict == Verdict::Breach {
            verdict = Verdict::Weak;
            "--privileged".clone_into(&mut should);
        }
        Finding { group: rule.group, name: rule.name, why: rule.why, verdict, found, asked: should }
    };
    RULES.iter().map(apply).collect()
}

// ---- what several rules ask

/// Whether a process shares a namespace with the machine, or with us; None if the kernel has no such kind.
fn is_shared(facts: &Facts, process: &Process, kind: &str) -> Seen<Option<bool>> {
    match process.namespaces.get(kind) {
        None | Some(Ok(None)) => Ok(None),
        Some(Err(why)) => Err(why.clone()),
        Some(own) => {
            let same = |of: &super::look::Namespaces| of.get(kind) == Some(own);
            Ok(Some(same(&facts.machine.first) || same(&facts.machine.ours)))
        }
    }
}

/// It has ids of its own. Who may not look at its namespaces may look at its map: one of all ids is nobody's own.
fn has_own_ids(facts: &Facts) -> bool {
    match is_shared(facts, &facts.main, "user") {
        Ok(shared) => shared == Some(false),
        Err(_) => facts.users.as_ref().is_ok_and(|map| map.iter().all(|part| part.count != u32::MAX)),
    }
}

/// Root inside is root outside.
fn is_hosts_root(facts: &Facts) -> bool {
    !has_own_ids(facts) || facts.users.as_ref().is_ok_and(|map| outside(map, 0) == Some(0))
}

/// The threads of all processes that are in the same user namespace as the main one: in one of its own every process has all
/// capabilities, over nothing.
fn threads(facts: &Facts) -> impl Iterator<Item = (&Process, &Thread)> {
    let same = |process: &&Process| process.namespaces.get("user") == facts.main.namespaces.get("user");
    let mut all = Vec::new();
    for process in facts.processes().filter(same) {
        all.extend(process.threads.as_deref().unwrap_or_default().iter().map(|thread| (process, thread)));
    }
    all.into_iter()
}

/// Which processes those are that something holds for.
fn those(facts: &Facts, wrong: impl Fn(&Thread) -> bool) -> Vec<String> {
    let mut list: Vec<String> =
        threads(facts).filter(|(_, thread)| wrong(thread)).map(|(process, _)| called(process)).collect();
    list.dedup();
    list
}

fn called(process: &Process) -> String {
    format!("{} ({})", process.pid, process.name())
}

/// The whole of what could be seen of threads, or why not.
fn threads_unseen(facts: &Facts) -> Option<Judged> {
    facts.processes().find_map(|process| process.threads.as_ref().err()).map(unseen)
}

fn is_filtered(facts: &Facts) -> bool {
    let mut all = threads(facts).peekable();
    all.peek().is_some() && all.all(|(_, thread)| thread.seccomp == Some(2))
}

fn names(list: &[Mount]) -> Vec<String> {
    list.iter().map(|mount| mount.at.display().to_string()).collect()
}

fn size(bytes: u64) -> String {
    let tenths = |shift: u32, unit: char| {
        let tenths = (u128::from(bytes) * 10) >> shift;
        match tenths % 10 {
            0 => format!("{}{unit}", tenths / 10),
            part => format!("{}.{part}{unit}", tenths / 10),
        }
    };
    match bytes {
        _ if bytes >= 1 << 30 => tenths(30, 'g'),
        _ if bytes >= 1 << 20 => tenths(20, 'm'),
        _ if bytes >= 1 << 10 => tenths(10, 'k'),
        _ => bytes.to_string(),
    }
}

// ---- namespaces

fn namespace(facts: &Facts, asked: &Asked, kind: &'static str) -> Judged {
    let shared = match is_shared(facts, &facts.main, kind) {
        Err(why) => return unseen(why),
        Ok(None) => return good("this kernel has none of that kind"),
        Ok(Some(shared)) => shared,
    };
    let wanted = if kind == "user" { asked.ids == Ids::Host } else { asked.shared.contains(kind) };
    let should = match (kind, asked.recorded) {
        (_, false) | ("time", _) => "",
        ("user", _) if asked.ids == Ids::OwnIfPossible => "its own where possible",
        _ if wanted => "the host's",
        _ => "its own",
    };
    if !shared {
        return judged(Verdict::Good, "its own", should);
    }
    let verdict = match kind {
        "time" => Verdict::Good,
        _ if wanted => Verdict::Weak,
        "user" if asked.ids == Ids::Own => asked.broken(),
        "user" => Verdict::Weak,
        "uts" | "cgroup" => asked.broken(),
        _ => Verdict::Breach,
    };
    judged(verdict, "the host's", should)
}

/// No process of the company is in a namespace of the machine's that the main one is not in.
fn together(facts: &Facts, _: &Asked, _: &'static str) -> Judged {
    let mut out = Vec::new();
    for process in &facts.others {
        let lost: Vec<&str> = (facts.main.namespaces.keys().copied())
            .filter(|kind| {
                is_shared(facts, process, kind) == Ok(Some(true))
                    && is_shared(facts, &facts.main, kind) == Ok(Some(false))
            })
            .collect();
        if !lost.is_empty() {
            out.push(format!("{} is in the host's {}", called(process), lost.join(" ")));
        }
    }
    let many = format!(
        "{}{}",
        if facts.others.is_empty() {
            "it is alone".to_owned()
        } else {
            format!("{} processes, all behind the same walls", 1 + facts.others.len())
        },
        if facts.too_many { ", and more that were not looked at" } else { "" }
    );
    match none_of(&out, &many, Verdict::Breach, "") {
        all if facts.too_many && out.is_empty() => Judged { verdict: Verdict::Unseen, ..all },
        all => all,
    }
}

fn visitors(facts: &Facts, _: &Asked, _: &'static str) -> Judged {
    let list: Vec<String> = facts.visitors.iter().map(|(pid, name)| format!("{pid} ({name})")).collect();
    none_of(&list, "none", Verdict::Weak, "")
}

// ---- identity

fn ids(facts: &Facts, _: &Asked, _: &'static str) -> Judged {
    let threads = match &facts.main.threads {
        Ok(threads) => threads,
        Err(why) => return unseen(why),
    };
    let Some(first) = threads.first() else { return unseen("it has just ended") };
    let root = those(facts, |thread| thread.uids.contains(&0));
    let who = format!("user {}, group {} outside", first.uids[1], first.gids[1]);
    if root.is_empty() {
        good(who)
    } else {
        judged(Verdict::Weak, format!("the host's root outside: {}", some(&root)), "")
    }
}

fn maps(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    let (users, groups) = match (&facts.users, &facts.groups) {
        (Ok(users), Ok(groups)) => (users, groups),
        (Err(why), _) | (_, Err(why)) => return unseen(why),
    };
    let show = |map: &[super::parse::Mapped]| {
        map.iter()
            .map(|part| format!("{}→{} ×{}", part.inside, part.outside, part.count))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let found = if users == groups { show(users) } else { format!("users {}, groups {}", show(users), show(groups)) };
    if !has_own_ids(facts) {
        return judged(Verdict::Good, "none: ids are the host's", "");
    }
    let root = |map: &[super::parse::Mapped]| map.iter().any(|part| part.outside == 0);
    match (root(users) || root(groups), asked.ids == Ids::Own && !asked.maps_by_hand) {
        (false, _) => good(found),
        (true, own) => judged(
            if own { Verdict::Breach } else { Verdict::Weak },
            format!("{found}: the host's root is among them"),
            "",
        ),
    }
}

/// All of root's power, or a way to it, if there is no user namespace.
const POWERFUL: u64 = caps::bit(k::CAP_SYS_ADMIN)
    | caps::bit(k::CAP_SYS_MODULE)
    | caps::bit(k::CAP_SYS_RAWIO)
    | caps::bit(k::CAP_SYS_PTRACE)
    | caps::bit(k::CAP_DAC_READ_SEARCH)
    | caps::bit(k::CAP_SYS_BOOT)
    | caps::bit(k::CAP_SYS_TIME)
    | caps::bit(k::CAP_MAC_ADMIN)
    | caps::bit(k::CAP_MAC_OVERRIDE)
    | caps::bit(k::CAP_BPF)
    | caps::bit(k::CAP_PERFMON)
    | caps::bit(k::CAP_CHECKPOINT_RESTORE);

fn capability_list(set: u64) -> String {
    let known = set & caps::all();
    if known == caps::all() { "all that there are".to_owned() } else { caps::list(known).replace(',', ", ") }
}

fn capabilities(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    if let Some(unseen) = threads_unseen(facts) {
        return unseen;
    }
    // What a thread can use now or get: its bounding set counts only where an exec can give more.
    let reach = |thread: &Thread| {
        let [_, permitted, effective, bounding, ambient] = thread.caps;
        let later = if thread.no_new_privs == Some(true) && !asked.recorded { 0 } else { bounding };
        (permitted | effective | ambient | later) & caps::all()
    };
    let most = threads(facts).fold(0, |sum, (_, thread)| sum | reach(thread));
    let should = if asked.recorded { format!("at most {}", short(asked.caps)) } else { String::new() };
    let more = most & !asked.caps;
    if more != 0 {
        let who = those(facts, |thread| reach(thread) & !asked.caps != 0);
        let gives_all = !has_own_ids(facts) && more & POWERFUL != 0;
        let verdict = if asked.recorded || gives_all { Verdict::Breach } else { Verdict::Weak };
        return judged(
            verdict,
            format!("{} more than that: {}; {}", more.count_ones(), capability_list(more), some(&who)),
            should,
        );
    }
    let verdict = if most & !caps::DEFAULT == 0 { Verdict::Good } else { Verdict::Weak };
    judged(verdict, short(most), should)
}

fn short(set: u64) -> String {
    let set = set & caps::all();
    match set.count_ones() {
        0 => "none".to_owned(),
        n if set == caps::all() => format!("all {n}"),
        n if set == caps::DEFAULT => format!("the usual {n}"),
        _ if set & !caps::DEFAULT == 0 => format!("{} of the usual 14", set.count_ones()),
        _ => {
            let more = caps::list(set & !caps::DEFAULT).replace(',', ", ");
            match (set & caps::DEFAULT).count_ones() {
                0 => more,
                14 => format!("the usual 14, and {more}"),
                n => format!("{n} of the usual 14, and {more}"),
            }
        }
    }
}

fn inheritable(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    if let Some(unseen) = threads_unseen(facts) {
        return unseen;
    }
    // Ambient ones are inheritable by their nature.
    let wrong = |thread: &Thread| thread.caps[INHERITABLE] & !thread.caps[4] & caps::all() != 0;
    none_of(&those(facts, wrong), "none", asked.broken(), "none")
}

fn no_new_privs(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    if let Some(unseen) = threads_unseen(facts) {
        return unseen;
    }
    if threads(facts).any(|(_, thread)| thread.no_new_privs.is_none()) {
        return unseen("this kernel does not say");
    }
    let without = those(facts, |thread| thread.no_new_privs == Some(false));
    let should = match (asked.recorded, asked.new_privileges) {
        (false, _) => "",
        (true, true) => "off",
        (true, false) => "on",
    };
    if without.is_empty() {
        return judged(Verdict::Good, "on", should);
    }
    let verdict = if asked.new_privileges { Verdict::Weak } else { asked.broken() };
    judged(verdict, format!("off: {}", some(&without)), should)
}

fn seccomp(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    if let Some(unseen) = threads_unseen(facts) {
        return unseen;
    }
    let should = match asked.filter {
        Some(true) => "a filter",
        Some(false) => "none",
        None => "",
    };
    let without = those(facts, |thread| thread.seccomp == Some(0));
    if threads(facts).any(|(_, thread)| thread.seccomp.is_none()) {
        return match asked.filter {
            Some(true) => judged(Verdict::Breach, "this kernel has no seccomp", should),
            _ => judged(Verdict::Weak, "this kernel has no seccomp", should),
        };
    }
    if without.is_empty() {
        let filters: Vec<u32> = threads(facts).filter_map(|(_, thread)| thread.filters).collect();
        let least = filters.iter().min().map_or(String::new(), |n| format!(" ({n})"));
        return judged(Verdict::Good, format!("filtered{least}"), should);
    }
    let verdict = if asked.filter == Some(true) { Verdict::Breach } else { Verdict::Weak };
    judged(verdict, format!("no filter: {}", some(&without)), should)
}

fn label(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    const MODULES: [&str; 4] = ["apparmor", "selinux", "smack", "tomoyo"];
    let on: Vec<&str> = facts
        .machine
        .modules
        .as_deref()
        .unwrap_or_default()
        .split(',')
        .filter(|name| MODULES.contains(name))
        .collect();
    let should = asked.label.clone().unwrap_or_default();
    if on.is_empty() {
        return match (&asked.label, &facts.machine.modules) {
            (Some(_), _) => judged(asked.broken(), "no security module on this machine", should),
            (None, Some(_)) => good("no security module on this machine"),
            (None, None) => match facts.main.label.as_deref() {
                Ok(label) if !label.is_empty() => judged(Verdict::Good, plain(label), should),
                _ => good("no security module to be seen"),
            },
        };
    }
    let found = match &facts.main.label {
        Ok(found) => found,
        Err(why) => return unseen(why),
    };
    let differing: Vec<String> = facts
        .others
        .iter()
        .filter(|other| other.label.as_ref().is_ok_and(|label| label != found))
        .map(|other| format!("{} has {}", called(other), other.label.as_deref().unwrap_or_default()))
        .collect();
    let loose = |label: &str| label.is_empty() || label.starts_with("unconfined") || label.contains(":unconfined_t:");
    let verdict = match &asked.label {
        Some(wanted) if !found.contains(wanted.as_str()) => asked.broken(),
        Some(_) if !differing.is_empty() => asked.broken(),
        _ if loose(found) => Verdict::Weak,
        _ if differing.iter().any(|text| text.contains("unconfined")) => Verdict::Weak,
        _ => Verdict::Good,
    };
    let mut text = if found.is_empty() { "none".to_owned() } else { plain(found) };
    if !differing.is_empty() {
        text = format!("{text}; {}", some(&differing));
    }
    judged(verdict, text, should)
}

fn keyrings(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    match is_shared(facts, &facts.main, "user") {
        Err(why) => unseen(why),
        Ok(Some(false)) => good("a user namespace of its own has its own"),
        _ if is_filtered(facts) && asked.filter != Some(false) => {
            good("shared with the same users outside; a filter stands before keyctl")
        }
        _ => judged(Verdict::Weak, "shared with the same users outside", ""),
    }
}

// ---- files

/// The mount that becomes /.
fn top(mounts: &[Mount]) -> Option<&Mount> {
    mounts.iter().rev().find(|mount| mount.at == Path::new("/"))
}

fn has(options: &str, word: &str) -> bool {
    options.split(',').any(|option| option == word)
}

fn is_read_only(mount: &Mount) -> bool {
    has(&mount.options, "ro") || has(&mount.super_options, "ro")
}

/// Filesystems that hold no files of the host: a mount of one says nothing about its device being the host's too.
#[rustfmt::skip]
const OF_THE_KERNEL: [&str; 16] = [
    "proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "bpf",
    "configfs", "efivarfs", "pstore", "binfmt_misc", "fusectl", "hugetlbfs",
];

/// Where a mount of the container leads on the host: the paths there of what is mounted, the one with the least of a detour first; none if
/// its filesystem is not mounted there.
fn on_host(facts: &Facts, mount: &Mount) -> Vec<PathBuf> {
    // A /proc of one's own comes from nowhere; one that the host has mounted as well is the host's.
    let own_proc = mount.fs == "proc" && is_shared(facts, &facts.main, "pid") != Ok(Some(false));
    if own_proc || (mount.fs != "proc" && OF_THE_KERNEL.contains(&mount.fs.as_str())) {
        return Vec::new();
    }
    let mut from: Vec<&Mount> = (facts.machine.mounts.iter())
        .filter(|other| other.device == mount.device && mount.root.starts_with(&other.root))
        .collect();
    from.sort_by_key(|other| std::cmp::Reverse(other.root.components().count()));
    let path = |other: &&Mount| {
        let below = mount.root.strip_prefix(&other.root).ok()?;
        Some(if below.as_os_str().is_empty() { other.at.clone() } else { other.at.join(below) })
    };
    from.iter().filter_map(path).collect()
}

fn root(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    let mounts = match &facts.mounts {
        Ok(mounts) => mounts,
        Err(why) => return unseen(why),
    };
    let Some(top) = top(mounts) else { return unseen("nothing is mounted at /, as far as it sees") };
    let state = if is_read_only(top) { "read-only" } else { "writable" };
    let should = match (asked.recorded, asked.host_root, asked.read_only) {
        (false, ..) => String::new(),
        (true, host, read_only) => {
            let what = if host {
                "a view of the host".to_owned()
            } else {
                asked.root.as_ref().map_or(String::new(), |dir| plain(&dir.display().to_string()))
            };
            format!("{what}{}", if read_only { ", read-only" } else { "" })
        }
    };
    let from = on_host(facts, top).into_iter().next();
    if from.as_deref() == Some(Path::new("/")) {
        return judged(Verdict::Breach, format!("the host's own /, {state}"), should);
    }
    let found = match &from {
        Some(path) => format!(
            "{} of {} ({}), {state}",
            top.fs,
            plain(&path.display().to_string()),
            plain(&top.source.display().to_string())
        ),
        None => format!("{}, {state}", top.fs),
    };
    if asked.read_only && !is_read_only(top) {
        return judged(asked.broken(), found, should);
    }
    if asked.host_root {
        let verdict = if is_hosts_root(facts) { Verdict::Weak } else { Verdict::Good };
        return judged(verdict, format!("{found}; it reads what root reads on the host"), should);
    }
    judged(Verdict::Good, found, should)
}

/// Host paths that give the host away to who can write to them, and most to who can read them.
fn is_dangerous(path: &Path) -> bool {
    #[rustfmt::skip]
    const PLACES: [&str; 22] = [
        "/", "/etc", "/root", "/home", "/boot", "/bin", "/sbin", "/usr", "/lib", "/lib64", "/lib/modules",
        "/dev", "/proc", "/sys", "/run", "/var", "/var/run", "/var/lib", "/var/lib/docker",
        "/var/lib/containers", "/var/lib/ctr", "/var/lib/kubelet",
    ];
    PLACES.iter().any(|place| path == Path::new(place)) || is_daemon(path)
}

/// A socket by which a daemon takes orders.
fn is_daemon(path: &Path) -> bool {
    #[rustfmt::skip]
    const NAMES: [&str; 9] = [
        "docker.sock", "podman.sock", "containerd.sock", "crio.sock", "dockershim.sock", "lxd.sock",
        "libvirt-sock", "system_bus_socket", "private",
    ];
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    if name == "private" {
        return path.ends_with("systemd/private");
    }
    NAMES.contains(&name)
        || path.starts_with("/run/ctr")
        || path.starts_with("/run/docker")
        || path.starts_with("/run/containerd")
        || path.starts_with("/run/podman")
}

/// A path without `..` and `.`, by its words.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}

fn host_paths(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    let mounts = match &facts.mounts {
        Ok(mounts) => mounts,
        Err(why) => return unseen(why),
    };
    let is_node =
        |mount: &Mount| facts.devices.as_ref().is_ok_and(|all| all.iter().any(|device| device.path == mount.at));
    let (mut verdict, mut list) = (Verdict::Good, Vec::new());
    let mut note = |how: Verdict, text: String| {
        verdict = verdict.max(how);
        // What is worse comes first.
        if how == Verdict::Breach { list.insert(0, text) } else { list.push(text) }
    };
    for mount in mounts.iter().filter(|mount| mount.at != Path::new("/") && !is_node(mount)) {
        let shared_memory = asked.shared.contains("ipc");
        let all = on_host(facts, mount);
        let Some(from) = all.first() else { continue };
        let writable = !is_read_only(mount);
        let mut text = format!("{} at {}{}", from.display(), mount.at.display(), if writable { "" } else { " (ro)" });
        // Whatever is mounted below a volume on the host comes along with it.
        let source = |bind: &Bind| Some(clean(&bind.from.join(mount.at.strip_prefix(clean(&bind.to)).ok()?)));
        let same = asked.binds.iter().find(|bind| source(bind).is_some_and(|path| all.contains(&path)));
        let instead = asked.binds.iter().find(|bind| clean(&bind.to) == mount.at);
        let how = match (same, instead) {
            (Some(bind), _) if bind.read_only && writable => Verdict::Breach,
            (Some(_), _) if is_daemon(from) || (is_dangerous(from) && writable) => Verdict::Weak,
            // Its source may have another name by now.
            (None, Some(bind)) => {
                let _ = write!(text, " instead of {}", bind.from.display());
                if bind.read_only && writable { Verdict::Breach } else { Verdict::Weak }
            }
            (None, None) if asked.host_root || (shared_memory && mount.at == Path::new("/dev/shm")) => Verdict::Good,
            (None, None) if asked.recorded || is_daemon(from) || (is_dangerous(from) && writable) => Verdict::Breach,
            (None, None) if is_dangerous(from) || (writable && is_hosts_root(facts)) => Verdict::Weak,
            _ => Verdict::Good,
        };
        note(how, text);
    }
    let should = match (asked.recorded, asked.binds.len()) {
        (false, _) => String::new(),
        (true, 0) => "none".to_owned(),
        (true, _) => some(
            &asked
                .binds
                .iter()
                .map(|bind| format!("{} at {}", bind.from.display(), bind.to.display()))
                .collect::<Vec<_>>(),
        ),
    };
    if list.is_empty() { judged(Verdict::Good, "none", should) } else { judged(verdict, some(&list), should) }
}

/// The number behind `shared:` or `master:`.
fn peers<'a>(mount: &'a Mount, kind: &str) -> Option<&'a str> {
    mount.travels.split(' ').find_map(|word| word.strip_prefix(kind)?.strip_prefix(':'))
}

fn propagation(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    let mounts = match &facts.mounts {
        Ok(mounts) => mounts,
        Err(why) => return unseen(why),
    };
    if is_shared(facts, &facts.main, "mnt") == Ok(Some(true)) {
        return judged(Verdict::Breach, "its mounts are the host's", "");
    }
    let hosts: BTreeSet<&str> = facts.machine.mounts.iter().filter_map(|mount| peers(mount, "shared")).collect();
    let both: Vec<Mount> =
        mounts.iter().filter(|mount| peers(mount, "shared").is_some_and(|n| hosts.contains(n))).cloned().collect();
    if !both.is_empty() {
        return judged(Verdict::Breach, format!("shared with the host: {}", some(&names(&both))), "");
    }
    let follows = |mount: &&Mount| {
        peers(mount, "master").is_some_and(|n| hosts.contains(n)) || peers(mount, "propagate_from").is_some()
    };
    let slaves: Vec<Mount> = mounts.iter().filter(follows).cloned().collect();
    let wanted = |mount: &Mount| asked.binds.iter().any(|bind| bind.follows && mount.at.starts_with(clean(&bind.to)));
    let unwanted: Vec<Mount> = slaves.iter().filter(|mount| !wanted(mount)).cloned().collect();
    if !unwanted.is_empty() {
        return judged(asked.broken(), format!("what the host mounts appears in {}", some(&names(&unwanted))), "");
    }
    if slaves.is_empty() {
        good("nothing travels")
    } else {
        judged(Verdict::Weak, format!("what the host mounts appears in {}", some(&names(&slaves))), "rslave")
    }
}

fn hidden(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    let covers = match &facts.covers {
        Ok(covers) => covers,
        Err(why) => return unseen(why),
    };
    let open: Vec<String> = HIDDEN
        .iter()
        .filter(|path| matches!(covers.get(*path), Some(Cover::ReadOnly | Cover::Writable)))
        .map(|path| format!("/{path}"))
        .collect();
    none_of(&open, "nothing to be seen that should not be", asked.broken(), "")
}

fn unwritten(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    let covers = match &facts.covers {
        Ok(covers) => covers,
        Err(why) => return unseen(why),
    };
    let open: Vec<String> = UNWRITTEN
        .iter()
        .filter(|path| covers.get(*path) == Some(&Cover::Writable))
        .map(|path| format!("/{path}"))
        .collect();
    // Most of these files belong to the host's root.
    let gives_all = is_hosts_root(facts) && threads(facts).any(|(_, thread)| thread.uids.contains(&0));
    let verdict = if gives_all { Verdict::Breach } else { asked.broken() };
    none_of(&open, "nothing of the host's to be written", verdict, "")
}

fn kernel_files(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    const DEEP: [&str; 9] =
        ["debugfs", "tracefs", "securityfs", "configfs", "efivarfs", "pstore", "bpf", "binfmt_misc", "devtmpfs"];
    let mounts = match &facts.mounts {
        Ok(mounts) => mounts,
        Err(why) => return unseen(why),
    };
    // A single node of a devtmpfs is a device: another rule's.
    let is_node =
        |mount: &Mount| facts.devices.as_ref().is_ok_and(|all| all.iter().any(|device| device.path == mount.at));
    let deep = |mount: &&Mount| {
        let cgroup = mount.fs == "cgroup" || mount.fs == "cgroup2";
        (DEEP.contains(&mount.fs.as_str()) && !is_node(mount)) || (cgroup && !is_read_only(mount))
    };
    let (mut verdict, mut list) = (Verdict::Good, Vec::new());
    for mount in mounts.iter().filter(deep) {
        let writable = !is_read_only(mount);
        let how = match mount.fs.as_str() {
            // With a cgroup namespace and v2 it is its own part alone, and there is no release_agent.
            "cgroup2" if is_shared(facts, &facts.main, "cgroup") == Ok(Some(false)) => Verdict::Weak,
            _ if writable && is_hosts_root(facts) => Verdict::Breach,
            _ => asked.broken().min(Verdict::Weak),
        };
        verdict = verdict.max(how);
        list.push(format!("{} at {}{}", mount.fs, mount.at.display(), if writable { "" } else { " (ro)" }));
    }
    none_of(&list, "none", verdict, "")
}

// ---- devices

/// Devices that hold nothing and reach nothing (Documentation/admin-guide/devices.txt).
fn is_harmless(device: &Device) -> bool {
    /// Unix98 terminals: 136 to 143.
    const TERMINALS: std::ops::RangeInclusive<u32> = 136..=143;
    match device.number {
        (1, 3 | 5 | 7 | 8 | 9) | (5, 0 | 2) => !device.block,
        (major, _) => TERMINALS.contains(&major) && !device.block,
    }
}

/// Devices that are the machine: disks, and by their majors memory and the kernel log (1), orders to the kernel (10, but for FUSE and
/// tunnels), SCSI (21), raw disks (162), registers of the processor (202, 203).
fn is_the_machine(device: &Device) -> bool {
    let (major, minor) = device.number;
    device.block || matches!(major, 1 | 21 | 162 | 202 | 203) || (major == 10 && !matches!(minor, 200 | 229))
}

fn devices(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    let all = match &facts.devices {
        Ok(all) => all,
        Err(why) => return unseen(why),
    };
    let (mut verdict, mut list) = (Verdict::Good, Vec::new());
    for device in all.iter().filter(|device| !is_harmless(device)) {
        let wanted = asked.devices.iter().any(|(path, _)| device.path.starts_with(clean(path)));
        verdict = verdict.max(match (wanted, is_the_machine(device)) {
            (true, _) => Verdict::Weak,
            (false, true) => Verdict::Breach,
            (false, false) => asked.broken(),
        });
        let kind = if device.block { "block" } else { "character" };
        list.push(format!("{} ({kind} {}:{})", device.path.display(), device.number.0, device.number.1));
    }
    let should = match (asked.recorded, asked.devices.is_empty()) {
        (true, false) => some(&asked.devices.iter().map(|(path, _)| path.display().to_string()).collect::<Vec<_>>()),
        _ => String::new(),
    };
    let usual = all.iter().filter(|device| is_harmless(device)).count();
    none_of(&list, &format!("{usual}, none of which holds or reaches anything"), verdict, &should)
}

fn nodev(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    let mounts = match &facts.mounts {
        Ok(mounts) => mounts,
        Err(why) => return unseen(why),
    };
    let open: Vec<String> = mounts
        .iter()
        .filter(|mount| {
            !has(&mount.options, "nodev")
                && !OF_THE_KERNEL.contains(&mount.fs.as_str())
                && !facts.single.contains(&mount.at)
        })
        .map(|mount| mount.at.display().to_string())
        .collect();
    if open.is_empty() {
        return good("every mount is nodev");
    }
    if let Err(why) = &facts.devices {
        return unseen(why);
    }
    let text = format!("devices live on {}", some(&open));
    let make =
        threads(facts).any(|(_, thread)| thread.caps.iter().skip(1).any(|set| set & caps::bit(k::CAP_MKNOD) != 0));
    match facts.limits.as_ref().map(|limits| &limits.devices) {
        _ if has_own_ids(facts) => good(format!("{text}; in a user namespace nobody makes one")),
        Ok(Devices::Rules(_) | Devices::Programs(_)) => good(format!("{text}; device rules decide")),
        _ if !make => judged(Verdict::Weak, format!("{text}; without CAP_MKNOD nobody makes one"), ""),
        Ok(Devices::Unseen(why)) => judged(Verdict::Unseen, format!("{text}; device rules: {why}"), ""),
        Err(why) => judged(Verdict::Unseen, format!("{text}; device rules: {why}"), ""),
        Ok(Devices::All | Devices::Nobody) => judged(
            Verdict::Breach,
            format!("{text}; any can be made, and no rules decide"),
            asked_text(asked, "nodev"),
        ),
    }
}

fn asked_text(asked: &Asked, text: &str) -> String {
    if asked.recorded { text.to_owned() } else { String::new() }
}

/// Rules of a container, as Docker has them: any node may be made, these few used.
#[rustfmt::skip]
const USUAL_RULES: [&str; 11] = [
    "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm",
    "c 136:* rwm",
];

/// What a line of `devices.list` allows, and nobody asked for: letter by letter, because the kernel makes one line of two for one
/// device.
fn is_more_than_asked(facts: &Facts, asked: &Asked, line: &str) -> bool {
    let Some((kind, major, minor, letters)) = device_rule(line) else { return true };
    let lines = USUAL_RULES.iter().copied().chain(asked.device_rules.iter().map(String::as_str));
    let covers = |letter: char| {
        lines.clone().filter_map(device_rule).any(|(of, first, second, allowed)| {
            (of == 'a' || of == kind)
                && (first.is_none() || first == major)
                && (second.is_none() || second == minor)
                && allowed.contains(letter)
        }) || facts.devices.iter().flatten().any(|node| {
            let wanted =
                |(path, access): &(PathBuf, String)| node.path.starts_with(clean(path)) && access.contains(letter);
            (node.block == (kind == 'b'), Some(node.number.0), Some(node.number.1)) == (true, major, minor)
                && asked.devices.iter().any(wanted)
        })
    };
    !letters.chars().all(covers)
}

fn device_rules(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    let should = if asked.ruled { "rules" } else { "" };
    match facts.limits.as_ref().map(|limits| &limits.devices) {
        Err(why) => unseen(why),
        Ok(Devices::Unseen(why)) => judged(Verdict::Unseen, plain(why), should),
        Ok(Devices::All | Devices::Nobody) if asked.ruled => {
            judged(Verdict::Breach, "all devices are allowed", should)
        }
        Ok(Devices::Rules(rules)) if asked.recorded => {
            let more: Vec<String> =
                rules.iter().filter(|line| is_more_than_asked(facts, asked, line)).cloned().collect();
            if more.is_empty() {
                good(some(rules))
            } else {
                judged(Verdict::Breach, format!("more than that: {}", some(&more)), "the usual ones, and --device's")
            }
        }
        Ok(Devices::Rules(rules)) => good(some(rules)),
        Ok(Devices::Programs(number)) => good(format!(
            "{number} program{} decide{}",
            if *number == 1 { "" } else { "s" },
            if *number == 1 { "s" } else { "" }
        )),
        Ok(Devices::All) => judged(Verdict::Weak, "all devices are allowed", ""),
        Ok(Devices::Nobody) => judged(Verdict::Weak, "none", ""),
    }
}

// ---- limits

fn limits(facts: &Facts) -> std::result::Result<&Limits, Judged> {
    facts.limits.as_ref().map_err(unseen)
}

/// A limit as it works beside what was asked for.
fn limit(
    found: &super::limits::Seen<Limit>,
    asked: &Asked,
    wanted: Option<u64>,
    show: fn(u64) -> String,
    needed: bool,
) -> Judged {
    let should = wanted.map(show).unwrap_or_default();
    let found = match found {
        Ok(found) => found,
        Err(Lack::Blind(why)) => return judged(Verdict::Unseen, plain(why), should),
        // A limit that cannot be there cannot be kept.
        Err(Lack::Without(why)) if wanted.is_some() && asked.recorded => {
            return judged(Verdict::Breach, plain(why), should);
        }
        Err(Lack::Without(why)) => {
            return judged(if needed { Verdict::Weak } else { Verdict::Good }, plain(why), should);
        }
    };
    let text = match found.effective {
        None => "no limit".to_owned(),
        Some(least) if found.own == Some(least) => show(least),
        Some(least) => format!("{}, by {}", show(least), plain(&found.by)),
    };
    let verdict = match (found.effective, wanted) {
        (None, Some(_)) => Verdict::Breach,
        // What the kernel rounds to whole pages, and to thousandths of a processor, is as asked for.
        (Some(least), Some(wanted)) if least > wanted.saturating_add(1) => Verdict::Breach,
        (None, None) if needed => Verdict::Weak,
        _ => Verdict::Good,
    };
    judged(verdict, text, should)
}

fn memory(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    limits(facts).map_or_else(|e| e, |limits| limit(&limits.memory, asked, asked.memory, size, true))
}

fn swap(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    let limits = match limits(facts) {
        Ok(limits) => limits,
        Err(e) => return e,
    };
    let (found, together) = match &limits.swap {
        Ok((found, together)) => (Ok(found.clone()), *together),
        Err(why) => (Err(why.clone()), true),
    };
    // v2 counts swap alone, and what was asked for is both together.
    let wanted = asked
        .memory_and_swap
        .map(|both| if together { both } else { both.saturating_sub(asked.memory.unwrap_or(0)) });
    limit(&found, asked, wanted, size, false)
}

fn pids(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    limits(facts).map_or_else(|e| e, |limits| limit(&limits.pids, asked, asked.pids, |n| n.to_string(), true))
}

fn cpu(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    let show = |thousandths: u64| {
        format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned()
    };
    let limits = match limits(facts) {
        Ok(limits) => limits,
        Err(e) => return e,
    };
    let part = limit(&limits.cpu, asked, asked.cpu, show, false);
    let Some(wanted) = asked.period else { return part };
    // v1 has a file for it, v2 writes it behind the quota.
    let period = |setting: &Setting| {
        let text = setting.text.split_whitespace().last().unwrap_or_default().to_owned();
        let kept = text.parse() == Ok(wanted);
        (text, kept)
    };
    let of = settings(limits, &[("in µs:", "--cpu-period", Some(wanted.to_string()), &period)]);
    let both = |one: &str, other: &str| if one.is_empty() { other.to_owned() } else { format!("{one}; {other}") };
    judged(part.verdict.max(of.verdict), both(&part.found, &of.found), both(&part.asked, &of.asked))
}

fn cpuset(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    let limits = match limits(facts) {
        Ok(limits) => limits,
        Err(e) => return e,
    };
    let show = |list: &[u32]| list.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let should = asked.cpuset.as_deref().map(show).unwrap_or_default();
    match (&limits.cpuset, &asked.cpuset) {
        (Err(Lack::Blind(why)), _) => judged(Verdict::Unseen, plain(why), should),
        (Err(Lack::Without(why)), Some(_)) => judged(Verdict::Breach, plain(why), should),
        (Err(Lack::Without(why)), None) => good(plain(why)),
        (Ok(found), Some(wanted)) if found.iter().any(|one| !wanted.contains(one)) => {
            judged(Verdict::Breach, show(found), should)
        }
        (Ok(found), _) if facts.machine.processors == Some(found.len()) => {
            judged(Verdict::Good, format!("all {}", found.len()), should)
        }
        (Ok(found), _) => judged(Verdict::Good, show(found), should),
    }
}

fn io(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    let limits = match limits(facts) {
        Ok(limits) => limits,
        Err(e) => return e,
    };
    let say = |(device, way, rate): &(String, &'static str, u64)| format!("{device} {way}={rate}");
    let should = some(&asked.io.iter().map(say).collect::<Vec<_>>());
    let lines = match &limits.io {
        Err(Lack::Blind(why)) => return judged(Verdict::Unseen, plain(why), should),
        Err(Lack::Without(why)) if !asked.io.is_empty() => return judged(Verdict::Breach, plain(why), should),
        Err(Lack::Without(why)) => return good(plain(why)),
        Ok(lines) => lines,
    };
    // The smallest of each, and the group that says so: lines come from below to the top.
    let mut least: BTreeMap<(String, &'static str), (u64, &str)> = BTreeMap::new();
    for (group, line) in lines {
        for (device, way, rate) in throttles(line) {
            let known = least.entry((device, way)).or_insert((rate, group));
            if rate < known.0 {
                *known = (rate, group);
            }
        }
    }
    // A rate of 0 was asked to be none.
    let kept = |(device, way, wanted): &(String, &'static str, u64)| {
        *wanted == 0 || least.get(&(device.clone(), *way)).is_some_and(|(rate, _)| rate <= wanted)
    };
    let verdict = if asked.io.iter().all(kept) { Verdict::Good } else { Verdict::Breach };
    let own = lines.first().map(|(group, _)| group.as_str());
    let list: Vec<String> = least
        .iter()
        .map(|((device, way), (rate, group))| {
            let by = if Some(*group) == own { String::new() } else { format!(", by {group}") };
            format!("{device} {way}={rate}{by}")
        })
        .collect();
    none_of(&list, "no limit", Verdict::Good, "").with(verdict, should)
}

/// What its own group says of something that was asked for by this option.
fn own<'a>(limits: &'a Limits, option: &str) -> std::result::Result<&'a Setting, Lack> {
    let lacking = || Lack::Without("nobody looked".to_owned());
    limits.own.get(option).ok_or_else(lacking)?.as_ref().map_err(Clone::clone)
}

/// Several settings in one line: what each is called, what its option is, and what is asked of it and found, if it is asked
/// for at all. Not as asked is a breach; what may not be looked at was not seen.
fn settings(limits: &Limits, all: &[Wished]) -> Judged {
    let (mut verdict, mut found, mut should) = (Verdict::Good, Vec::new(), Vec::new());
    for (name, option, wanted, look) in all {
        if let Some(wanted) = wanted {
            should.push(format!("{name} {wanted}"));
        }
        match own(limits, option) {
            Ok(setting) => {
                let (text, kept) = look(setting);
                found.push(format!("{name} {}", plain(&text)));
                verdict = verdict.max(if wanted.is_none() || kept { Verdict::Good } else { Verdict::Breach });
            }
            Err(Lack::Blind(why)) => {
                found.push(plain(&why));
                verdict = verdict.max(Verdict::Unseen);
            }
            Err(Lack::Without(why)) if wanted.is_some() => {
                found.push(plain(&why));
                verdict = verdict.max(Verdict::Breach);
            }
            Err(Lack::Without(_)) => {}
        }
    }
    let text = if found.is_empty() { "none here".to_owned() } else { found.join("; ") };
    judged(verdict, text, should.join("; "))
}

/// See [`settings`].
type Wished<'a> = (&'static str, &'static str, Option<String>, &'a dyn Fn(&Setting) -> (String, bool));

/// The first number in a setting, `default 100` too.
fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().find_map(|word| word.parse().ok())
}

fn reservation(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    let limits = match limits(facts) {
        Ok(limits) => limits,
        Err(e) => return e,
    };
    let should = asked.reservation.map(size).unwrap_or_default();
    let setting = match (own(limits, "--memory-reservation"), asked.reservation) {
        (Err(Lack::Blind(why)), _) => return judged(Verdict::Unseen, plain(&why), should),
        (Err(Lack::Without(why)), Some(_)) => return judged(Verdict::Breach, plain(&why), should),
        (Err(Lack::Without(_)), None) => return good("none here"),
        (Ok(setting), _) => setting,
    };
    // Of v1's limit the largest number is none, of v2's protection 0.
    let number = |text: &str| if text == "max" { Some(u64::MAX) } else { text.parse::<u64>().ok() };
    let none = |n: u64| if setting.old { n >= 1 << 62 } else { n == 0 };
    let found = number(&setting.text).filter(|n| !none(*n));
    let text = found.map_or_else(|| "none".to_owned(), size);
    let Some(wanted) = asked.reservation else { return good(text) };
    // The kernel counts whole pages.
    if found.is_none_or(|found| found.abs_diff(wanted) >= 65_536) {
        return judged(Verdict::Breach, text, should);
    }
    let less = |(_, text): &&(String, String)| number(text.trim()).is_some_and(|n| n < wanted);
    match setting.above.iter().find(less) {
        Some((group, text)) if !setting.old => judged(
            Verdict::Weak,
            format!("{}, but {} leaves {} to all in it", size(wanted), plain(group), text.trim()),
            should,
        ),
        _ => judged(Verdict::Good, text, should),
    }
}

fn oom(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    let limits = match limits(facts) {
        Ok(limits) => limits,
        Err(e) => return e,
    };
    let disabled = |text: &str| text.lines().any(|line| line.trim() == "oom_kill_disable 1");
    let killer = |setting: &Setting| {
        let off = disabled(&setting.text);
        ((if off { "off" } else { "on" }).to_owned(), off == asked.no_oom_kill)
    };
    let swappiness =
        |setting: &Setting| (setting.text.clone(), setting.text.parse() == Ok(asked.swappiness.unwrap_or(0)));
    let judgement = settings(
        limits,
        &[
            ("killer", "--oom-kill-disable", asked.no_oom_kill.then(|| "off".to_owned()), &killer),
            ("swappiness", "--memory-swappiness", asked.swappiness.map(|n| n.to_string()), &swappiness),
        ],
    );
    let off = own(limits, "--oom-kill-disable").is_ok_and(|setting| disabled(&setting.text));
    let verdict = if off { judgement.verdict.max(Verdict::Weak) } else { judgement.verdict };
    Judged { verdict, ..judgement }
}

fn mems(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    let limits = match limits(facts) {
        Ok(limits) => limits,
        Err(e) => return e,
    };
    let kept = |setting: &Setting| {
        let found = numbers(&setting.text).unwrap_or_default();
        let wanted = asked.mems.as_deref().unwrap_or_default();
        (setting.text.clone(), !found.is_empty() && found.iter().all(|node| wanted.contains(node)))
    };
    let wanted = asked.mems.as_ref().map(|list| list.iter().map(u32::to_string).collect::<Vec<_>>().join(","));
    settings(limits, &[("nodes", "--cpuset-mems", wanted, &kept)])
}

/// v1's shares in v2's measure: through 2 and 1, 1024 and 100, 262144 and 10000, on the parabola in the logarithms that
/// the OCI runtimes agreed on.
fn in_weights(shares: u64) -> u64 {
    let log = f64::from(shares.clamp(2, 262_144) as u32).log2();
    (10f64.powf((log * log + 125.0 * log) / 612.0 - 7.0 / 34.0).ceil() as u64).clamp(1, 10_000)
}

fn weights(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    let limits = match limits(facts) {
        Ok(limits) => limits,
        Err(e) => return e,
    };
    let cpu = |setting: &Setting| {
        let found = first_number(&setting.text).unwrap_or(0);
        let kept = match (asked.weight, setting.old) {
            (Some(Weight::Shares(wanted)), true) | (Some(Weight::Weight(wanted)), false) => found == wanted,
            (Some(Weight::Shares(wanted)), false) => in_weights(wanted).abs_diff(found) <= 1,
            (Some(Weight::Weight(wanted)), true) => in_weights(found).abs_diff(wanted) <= 1,
            (None, _) => true,
        };
        (format!("{found}{}", if setting.old { " shares" } else { "" }), kept)
    };
    let wanted = asked.weight.map(|weight| match weight {
        Weight::Shares(n) => format!("{n} shares"),
        Weight::Weight(n) => n.to_string(),
    });
    let disks = |setting: &Setting| {
        let found = first_number(&setting.text);
        (found.map_or_else(|| setting.text.clone(), |n| n.to_string()), found == asked.io_weight)
    };
    settings(
        limits,
        &[
            ("processors", "--cpu-weight", wanted, &cpu),
            ("disks", "--blkio-weight", asked.io_weight.map(|n| n.to_string()), &disks),
        ],
    )
}

fn resources(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    #[rustfmt::skip]
    const NAMES: [&str; 16] = [
        "cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as", "locks",
        "sigpending", "msgqueue", "nice", "rtprio", "rttime",
    ];
    let all = match &facts.resources {
        Ok(all) => all,
        Err(why) => return unseen(why),
    };
    let show = |n: u64| if n == u64::MAX { "unlimited".to_owned() } else { n.to_string() };
    let (mut list, mut verdict, mut should) = (Vec::new(), Verdict::Good, Vec::new());
    for (number, soft, hard) in &asked.resources {
        let name = NAMES.get(*number as usize).copied().unwrap_or("?");
        should.push(format!("{name}={}:{}", show(*soft), show(*hard)));
        match all.get(*number as usize).copied().flatten() {
            Some((now, most)) => {
                list.push(format!("{name}={}:{}", show(now), show(most)));
                // A process may lower its own.
                verdict = verdict.max(if most > *hard { asked.broken() } else { Verdict::Good });
            }
            None => verdict = verdict.max(Verdict::Unseen),
        }
    }
    if list.is_empty() && verdict == Verdict::Good {
        let files = all.get(7).copied().flatten().map_or(String::new(), |(_, hard)| format!("nofile={}", show(hard)));
        return good(files);
    }
    judged(verdict, list.join(" "), should.join(" "))
}

fn group(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    let limits = match limits(facts) {
        Ok(limits) => limits,
        Err(e) => return e,
    };
    if let Some(place) = &asked.group {
        return in_its_group(facts, place);
    }
    let ours = &facts.machine.groups;
    let own = limits.groups.iter().find(|group| !ours.contains(group) && group.path != "/");
    match own {
        Some(own) => good(plain(&own.path)),
        None if limits.groups.is_empty() => judged(Verdict::Weak, "no control groups on this machine", ""),
        None => judged(Verdict::Weak, "none of its own", asked_text(asked, "")),
    }
}

/// Every process of it is in the group that the record names, in every hierarchy in which there is that group: or it cannot be limited,
/// frozen or killed with the others. Groups that it has made in there are its own matter.
fn in_its_group(facts: &Facts, place: &str) -> Judged {
    let of_groups = |mount: &Mount| mount.fs == "cgroup" || mount.fs == "cgroup2";
    if facts.homes.is_empty() {
        return if facts.machine.mounts.iter().any(of_groups) {
            judged(Verdict::Breach, "its group is not there any more", place)
        } else {
            judged(Verdict::Unseen, "no control groups are mounted", place)
        };
    }
    let (mut out, mut blind) = (Vec::new(), None);
    for process in facts.processes() {
        let groups = match &process.groups {
            Ok(groups) => groups,
            Err(why) => {
                blind = Some(why);
                continue;
            }
        };
        for home in &facts.homes {
            let name = if home.is_empty() { "v2" } else { home.last().map_or("", String::as_str) };
            let is_it = |group: &&super::parse::Hierarchy| {
                if home.is_empty() { group.unified } else { group.controllers.iter().any(|one| home.contains(one)) }
            };
            match groups.iter().find(is_it) {
                Some(group) if format!("{}/", group.path).contains(&format!("/{place}/")) => {}
                Some(group) => out.push(format!("{} is in {} of {name}", called(process), group.path)),
                None => out.push(format!("{} is in no group of {name}", called(process))),
            }
        }
    }
    match blind {
        Some(why) if out.is_empty() => judged(Verdict::Unseen, why.to_string(), place),
        _ if out.is_empty() => good(plain(place)),
        _ => judged(Verdict::Breach, some(&out), place),
    }
}

// ---- leaks

/// A descriptor that leads to something of the host: on a mount that we have, and the container has not.
fn leads_out(facts: &Facts, descriptor: &Descriptor) -> bool {
    let Some(mount) = descriptor.mount else { return false };
    !facts.mount_ids.contains(&mount) && facts.machine.mounts.iter().any(|other| other.id == mount)
}

fn is_standard(name: &str) -> bool {
    matches!(name, "0" | "1" | "2")
}

fn descriptors(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    if let Err(why) = &facts.mounts {
        return unseen(why);
    }
    if is_shared(facts, &facts.main, "mnt") == Ok(Some(true)) {
        return judged(Verdict::Breach, "its files are the host's", "");
    }
    let (mut verdict, mut list, mut given, mut count) = (Verdict::Good, Vec::new(), Vec::new(), 0usize);
    let mut blind = None;
    for process in facts.processes() {
        let all = match &process.descriptors {
            Ok(all) => all,
            Err(why) => {
                blind = Some(why.clone());
                continue;
            }
        };
        for descriptor in all {
            count += 1;
            let directory = descriptor.kind == Some(k::S_IFDIR);
            // A directory on a mount that is nowhere: what was unmounted under it, or another namespace's.
            let nowhere = directory && descriptor.mount.is_some_and(|mount| !facts.mount_ids.contains(&mount));
            let out = leads_out(facts, descriptor);
            let how = match (directory, out) {
                (true, true) => Verdict::Breach,
                (true, false) if nowhere => Verdict::Weak,
                (false, true) if is_standard(&descriptor.name) => {
                    given.push(descriptor.to.clone());
                    continue;
                }
                (false, true) if descriptor.kind == Some(k::S_IFBLK) => Verdict::Breach,
                (false, true) => asked.broken(),
                _ => continue,
            };
            verdict = verdict.max(how);
            list.push(format!("{} of {} is {}", descriptor.name, called(process), descriptor.to));
        }
    }
    given.sort_unstable();
    given.dedup();
    match (list.is_empty(), blind) {
        (false, _) => judged(verdict, some(&list), ""),
        (true, Some(why)) => unseen(why),
        (true, None) if given.is_empty() => good(format!("{count}, none leads out")),
        (true, None) => good(format!("{count}, none leads out but those that were handed in: {}", some(&given))),
    }
}

fn shared_sockets(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    match is_shared(facts, &facts.main, "net") {
        Err(why) => return unseen(why),
        Ok(Some(true)) => return judged(Verdict::Weak, "its sockets are in the host's network namespace", ""),
        Ok(_) => {}
    }
    let Some(ours) = &facts.machine.sockets else { return unseen("the host's sockets cannot be seen") };
    let (mut verdict, mut list, mut blind) = (Verdict::Good, Vec::new(), None);
    for process in facts.processes() {
        let all = match &process.descriptors {
            Ok(all) => all,
            Err(why) => {
                blind = Some(why.clone());
                continue;
            }
        };
        for descriptor in all {
            if socket(&descriptor.to).is_some_and(|inode| ours.contains(&inode)) {
                verdict = verdict.max(if is_standard(&descriptor.name) { Verdict::Weak } else { asked.broken() });
                list.push(format!("{} of {}", descriptor.name, called(process)));
            }
        }
    }
    match blind {
        Some(why) if list.is_empty() => unseen(why),
        _ => none_of(&list, "none of the host's", verdict, ""),
    }
}

fn environment(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    let all = match &facts.environment {
        Ok(all) => all,
        Err(why) => return unseen(why),
    };
    let secret: Vec<String> = all.iter().filter(|name| is_secret(name)).cloned().collect();
    let wanted = |name: &String| asked.environment.contains(name);
    let should = match (asked.recorded, secret.iter().all(wanted)) {
        (true, true) if !secret.is_empty() => "with -e",
        (true, false) => "not all of them",
        _ => "",
    };
    none_of(&secret, &format!("{} names, none of a secret", all.len()), Verdict::Weak, should)
}

fn listening(facts: &Facts, _: &Asked, _: &'static str) -> Judged {
    let all = match &facts.sockets {
        Ok(all) => all,
        Err(why) => return unseen(why),
    };
    let mut list: Vec<String> =
        all.iter().filter(|socket| socket.listens && !socket.at.is_empty()).map(|socket| socket.at.clone()).collect();
    list.sort_unstable();
    list.dedup();
    let shared = is_shared(facts, &facts.main, "net") == Ok(Some(true));
    if shared {
        return judged(
            Verdict::Weak,
            format!("the host's: {}", if list.is_empty() { "none".to_owned() } else { some(&list) }),
            "",
        );
    }
    none_of(&list, "none", Verdict::Good, "")
}

fn abstract_sockets(facts: &Facts, _: &Asked, _: &'static str) -> Judged {
    match (is_shared(facts, &facts.main, "net"), &facts.sockets) {
        (Err(why), _) => unseen(why),
        (_, Err(why)) => unseen(why),
        (Ok(Some(true)), Ok(all)) => {
            let mut list: Vec<String> =
                all.iter().filter(|socket| socket.is_abstract()).map(|socket| socket.at.clone()).collect();
            list.sort_unstable();
            list.dedup();
            none_of(&list, "none on the host", Verdict::Weak, "")
        }
        _ => good("none of the host's can be reached"),
    }
}

fn sysctls(facts: &Facts, asked: &Asked, _: &'static str) -> Judged {
    if asked.sysctls.is_empty() {
        return good("none asked for");
    }
    let (mut verdict, mut list) = (Verdict::Good, Vec::new());
    for (path, wanted) in &asked.sysctls {
        let (how, found) = match facts.sysctls.get(path) {
            Some(Ok(found)) if is_same_setting(path, wanted, found) => {
                (Verdict::Good, found.replace(['\t', '\n'], " "))
            }
            Some(Ok(found)) => (Verdict::Breach, found.replace(['\t', '\n'], " ")),
            Some(Err(why)) => (Verdict::Unseen, format!("({why})")),
            None => (Verdict::Unseen, "(nobody looked)".to_owned()),
        };
        verdict = verdict.max(how);
        let text = format!("{path}={found}");
        // What is not as it should be comes first.
        if how == Verdict::Good { list.push(text) } else { list.insert(0, text) }
    }
    let should: Vec<String> = asked.sysctls.iter().map(|(path, value)| format!("{path}={value}")).collect();
    judged(verdict, some(&list), some(&should))
}

// ---- the host

fn setting<'a>(facts: &'a Facts, name: &str) -> Option<&'a str> {
    facts.machine.settings.get(name).map(String::as_str)
}

fn core_pattern(facts: &Facts, _: &Asked, _: &'static str) -> Judged {
    match setting(facts, "kernel/core_pattern") {
        None => unseen("/proc/sys/kernel/core_pattern cannot be read"),
        Some(pattern) if pattern.starts_with('|') => judged(Verdict::Weak, plain(pattern), ""),
        Some(pattern) => good(plain(pattern)),
    }
}

fn suid_dumpable(facts: &Facts, _: &Asked, _: &'static str) -> Judged {
    match setting(facts, "fs/suid_dumpable") {
        None => unseen("/proc/sys/fs/suid_dumpable cannot be read"),
        Some("1") => judged(Verdict::Weak, "1", ""),
        Some(value) => good(plain(value)),
    }
}

/// Restricted, or behind a filter.
fn setting_at_least_1(facts: &Facts, _: &Asked, name: &'static str) -> Judged {
    match setting(facts, name) {
        None => unseen(format!("/proc/sys/{name} cannot be read")),
        Some("0") if is_filtered(facts) => good("open to everybody; behind a filter here"),
        Some("0") => judged(Verdict::Weak, "open to everybody", ""),
        Some(_) => good("restricted"),
    }
}

fn perf_events(facts: &Facts, _: &Asked, _: &'static str) -> Judged {
    match setting(facts, "kernel/perf_event_paranoid").map(str::parse::<i32>) {
        None | Some(Err(_)) => unseen("/proc/sys/kernel/perf_event_paranoid cannot be read"),
        Some(Ok(level)) if level >= 2 => good(format!("level {level}")),
        Some(Ok(level)) if is_filtered(facts) => good(format!("level {level}; behind a filter here")),
        Some(Ok(level)) => judged(Verdict::Weak, format!("level {level}"), ""),
    }
}

fn attack_surface(facts: &Facts, _: &Asked, _: &'static str) -> Judged {
    let on = |name: &str, open: &[&str]| setting(facts, name).is_some_and(|value| open.contains(&value));
    let userns = setting(facts, "user/max_user_namespaces").is_some_and(|value| value != "0")
        && !on("kernel/unprivileged_userns_clone", &["0"]);
    let parts = [
        (userns, "user namespaces"),
        (on("kernel/unprivileged_bpf_disabled", &["0"]), "bpf"),
        (on("vm/unprivileged_userfaultfd", &["1"]), "userfaultfd"),
        (on("kernel/io_uring_disabled", &["0"]), "io_uring"),
        (on("dev/tty/legacy_tiocsti", &["1"]), "TIOCSTI"),
        (on("kernel/yama/ptrace_scope", &["0"]), "ptrace of one's equals"),
    ];
    let open: Vec<String> = parts.iter().filter(|(open, _)| *open).map(|(_, name)| (*name).to_owned()).collect();
    if is_filtered(facts) && !open.is_empty() {
        return good(format!("{}; behind a filter here", some(&open)));
    }
    none_of(&open, "none", Verdict::Weak, "")
}

#[cfg(test)]
mod tests {
    use super::super::look::{Machine, Namespaces};
    use super::super::parse::Mapped;
    use super::*;

    fn process(pid: u32) -> Process {
        let thread = Thread {
            name: "x".into(),
            state: 'S',
            caps: [0, caps::DEFAULT, caps::DEFAULT, caps::DEFAULT, 0],
            no_new_privs: Some(true),
            seccomp: Some(2),
            filters: Some(1),
            ..Thread::default()
        };
        Process {
            pid,
            threads: Ok(vec![thread]),
            namespaces: Namespaces::new(),
            label: Ok(String::new()),
            descriptors: Ok(Vec::new()),
            groups: Ok(Vec::new()),
        }
    }

    fn facts() -> Facts {
        let text = b"10 1 0:50 / / rw,nodev - overlay overlay rw\n\
            11 10 0:51 / /proc rw,nodev - proc proc rw\n\
            12 10 0:52 / /dev rw,nodev - tmpfs tmpfs rw\n";
        let host = b"27 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n30 27 0:23 / /run rw - tmpfs tmpfs rw\n";
        let mounts = rootfs::mounts::parse(text);
        Facts {
            main: process(7),
            others: Vec::new(),
            too_many: false,
            visitors: Vec::new(),
            users: Ok(vec![Mapped { inside: 0, outside: 0, count: u32::MAX }]),
            groups: Ok(vec![Mapped { inside: 0, outside: 0, count: u32::MAX }]),
            mount_ids: mounts.iter().map(|mount| mount.id).collect(),
            mounts: Ok(mounts),
            covers: Ok([("proc/kcore", Cover::Hidden), ("proc/sys", Cover::ReadOnly)].into_iter().collect()),
            devices: Ok(Vec::new()),
            single: BTreeSet::new(),
            limits: Ok(super::super::limits::look(&[], &[])),
            resources: Ok(vec![Some((1024, 4096)); 16]),
            sockets: Ok(Vec::new()),
            environment: Ok(vec!["PATH".into()]),
            sysctls: BTreeMap::new(),
            homes: Vec::new(),
            machine: Machine {
                mounts: rootfs::mounts::parse(host),
                sockets: Some(BTreeSet::new()),
                ..Machine::default()
            },
        }
    }

    fn recorded() -> Asked {
        Asked { recorded: true, filter: Some(true), ..Asked::default() }
    }

    #[track_caller]
    fn verdict(facts: &Facts, asked: &Asked, name: &str) -> Verdict {
        judge(facts, asked).into_iter().find(|finding| finding.name == name).unwrap().verdict
    }

    fn mount(facts: &mut Facts, line: &str) {
        facts.mounts.as_mut().unwrap().extend(rootfs::mounts::parse(line.as_bytes()));
    }

    #[test]
    fn every_rule_has_a_name_and_says_why() {
        let names: BTreeSet<_> = RULES.iter().map(|rule| (rule.group, rule.name)).collect();
        assert_eq!(names.len(), RULES.len());
        assert!(RULES.iter().all(|rule| rule.why.len() > 20 && !rule.name.is_empty()));
        let groups: Vec<_> = RULES.iter().map(|rule| rule.group).collect();
        let mut once = groups.clone();
        once.dedup();
        assert_eq!(once.len(), once.iter().collect::<BTreeSet<_>>().len(), "each group in one piece");
    }

    #[test]
    fn the_manual_has_every_rule() {
        let manual = include_str!("../../docs/audit.md");
        for rule in &RULES {
            let part =
                manual.split(&format!("\n### {}\n", rule.group)).nth(1).unwrap_or_else(|| panic!("{}", rule.group));
            let part = part.split("\n##").next().unwrap();
            assert!(
                part.contains(&format!("\n| {} |", rule.name)),
                "docs/audit.md has no {}: {}",
                rule.group,
                rule.name
            );
        }
        let checks = manual.split("\n## The checks\n").nth(1).unwrap().split("\n## ").next().unwrap();
        let rows = checks.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| check |"));
        assert_eq!(rows.count(), RULES.len());
    }

    #[test]
    fn a_confined_one_has_no_breach() {
        let bad: Vec<_> = judge(&facts(), &recorded()).into_iter().filter(|f| f.verdict == Verdict::Breach).collect();
        assert!(bad.is_empty(), "{bad:#?}");
    }

    #[test]
    fn more_than_was_asked_for_is_a_breach() {
        type Change = fn(&mut Facts);
        let changes: [(&str, Change); 14] = [
            ("capabilities", |f| f.main.threads.as_mut().unwrap()[0].caps[2] = caps::all()),
            ("capabilities", |f| {
                f.others.push(process(8));
                f.others[0].threads.as_mut().unwrap()[0].caps[3] |= 1 << 21;
            }),
            ("inheritable", |f| f.main.threads.as_mut().unwrap()[0].caps[0] = 1),
            ("no_new_privs", |f| f.main.threads.as_mut().unwrap()[0].no_new_privs = Some(false)),
            ("seccomp", |f| f.main.threads.as_mut().unwrap()[0].seccomp = Some(0)),
            ("hidden", |f| f.covers.as_mut().unwrap().extend([("proc/kcore", Cover::ReadOnly)])),
            ("read-only", |f| f.covers.as_mut().unwrap().extend([("proc/sys", Cover::Writable)])),
            ("host paths", |f| mount(f, "20 10 254:0 /etc /x rw,nodev - ext4 /dev/vda rw\n")),
            ("host paths", |f| mount(f, "20 10 0:23 /docker.sock /x ro,nodev - tmpfs tmpfs rw\n")),
            ("propagation", |f| mount(f, "20 10 254:0 /srv /x rw,nodev shared:1 - ext4 /dev/vda rw\n")),
            ("root", |f| mount(f, "20 10 254:0 / / rw,nodev - ext4 /dev/vda rw\n")),
            ("nodes", |f| {
                f.devices = Ok(vec![Device { path: "/dev/sda".into(), block: true, number: (8, 0) }]);
            }),
            ("descriptors", |f| {
                f.main.descriptors = Ok(vec![Descriptor {
                    name: "7".into(),
                    to: "/".into(),
                    kind: Some(k::S_IFDIR),
                    device: (0, 0),
                    mount: Some(27),
                    writable: false,
                }]);
            }),
            ("resources", |f| f.resources = Ok(vec![Some((9, u64::MAX)); 16])),
        ];
        for (name, change) in changes {
            let mut open = facts();
            change(&mut open);
            let asked = Asked { resources: vec![(7, 10, 20)], ..recorded() };
            let before = verdict(&facts(), &Asked { resources: vec![(7, 10, 4096)], ..recorded() }, name);
            assert_eq!(before, Verdict::Good, "{name} before");
            assert_eq!(verdict(&open, &asked, name), Verdict::Breach, "{name}");
        }
    }

    #[test]
    fn what_was_asked_for_is_weak_at_most() {
        let mut open = facts();
        open.main.threads.as_mut().unwrap()[0].caps = [0, caps::all(), caps::all(), caps::all(), 0];
        open.main.threads.as_mut().unwrap()[0].seccomp = Some(0);
        open.covers.as_mut().unwrap().insert("proc/sys", Cover::Writable);
        open.devices = Ok(vec![Device { path: "/dev/sda".into(), block: true, number: (8, 0) }]);
        let asked = Asked { privileged: true, caps: caps::all(), filter: Some(false), ..recorded() };
        for name in ["capabilities", "seccomp", "read-only", "nodes"] {
            assert_eq!(verdict(&open, &asked, name), Verdict::Weak, "{name}");
        }
        let mut bound = facts();
        mount(&mut bound, "20 10 254:0 /srv/data /x rw,nodev - ext4 /dev/vda rw\n");
        let bind = Bind { from: "/srv/data".into(), to: "/x".into(), read_only: false, follows: false };
        let asked = Asked { binds: vec![bind.clone()], ..recorded() };
        assert_eq!(verdict(&bound, &asked, "host paths"), Verdict::Good);
        let read_only = Asked { binds: vec![Bind { read_only: true, ..bind.clone() }], ..recorded() };
        assert_eq!(verdict(&bound, &read_only, "host paths"), Verdict::Breach);
        let other = Asked { binds: vec![Bind { from: "/srv/other".into(), ..bind }], ..recorded() };
        assert_eq!(verdict(&bound, &other, "host paths"), Verdict::Weak);
    }

    #[test]
    fn limits_are_compared() {
        let found = |own, effective| Ok(Limit { own, effective, by: "/x".into() });
        let asked = recorded();
        let how =
            |found: &super::super::limits::Seen<Limit>, wanted| limit(found, &asked, wanted, size, true).verdict;
        assert_eq!(how(&found(Some(64 << 20), Some(64 << 20)), Some(64 << 20)), Verdict::Good);
        assert_eq!(how(&found(Some(64 << 20), Some(1 << 20)), Some(64 << 20)), Verdict::Good);
        assert_eq!(how(&found(Some(64 << 20), Some(64 << 20)), Some(32 << 20)), Verdict::Breach);
        assert_eq!(how(&found(None, None), Some(1)), Verdict::Breach);
        assert_eq!(how(&found(None, None), None), Verdict::Weak);
        assert_eq!(how(&Err(Lack::Without("x".into())), Some(1)), Verdict::Breach);
        assert_eq!(how(&Err(Lack::Blind("x".into())), Some(1)), Verdict::Unseen);
        let sizes =
            [(512, "512"), (1536, "1.5k"), (64 << 20, "64m"), (3 << 29, "1.5g"), (u64::MAX, "17179869183.9g")];
        assert!(sizes.iter().all(|(bytes, text)| size(*bytes) == *text));
    }

    #[test]
    fn unseen_is_no_verdict() {
        let mut blind = facts();
        let unseen = || super::super::look::Unseen("only root may look".into());
        blind.main.threads = Err(unseen());
        blind.main.descriptors = Err(unseen());
        blind.mounts = Err(unseen());
        blind.covers = Err(unseen());
        blind.devices = Err(unseen());
        blind.environment = Err(unseen());
        for name in ["capabilities", "no_new_privs", "seccomp", "host paths", "root", "hidden", "read-only", "nodes"]
        {
            assert_eq!(verdict(&blind, &recorded(), name), Verdict::Unseen, "{name}");
        }
        for name in ["descriptors", "environment", "propagation", "nodev", "kernel's own", "sockets", "ids"] {
            assert_eq!(verdict(&blind, &recorded(), name), Verdict::Unseen, "{name}");
        }
        let mut blind = facts();
        blind.machine.sockets = None;
        assert_eq!(verdict(&blind, &recorded(), "sockets"), Verdict::Unseen);
    }

    #[test]
    fn places_of_the_host() {
        for bad in ["/", "/etc", "/var/run", "/run/docker.sock", "/x/containerd.sock", "/run/ctr/containers"] {
            assert!(is_dangerous(Path::new(bad)), "{bad}");
        }
        for fine in ["/srv", "/home/me/x", "/etc/hosts", "/private", "/var/lib/me"] {
            assert!(!is_dangerous(Path::new(fine)), "{fine}");
        }
        assert_eq!(clean(Path::new("/a/../b/./c//d/..")), PathBuf::from("/b/c"));
    }

    fn setting(old: bool, text: &str, above: &[(&str, &str)]) -> Setting {
        let above = above.iter().map(|(group, text)| ((*group).to_owned(), (*text).to_owned())).collect();
        Setting { old, text: text.to_owned(), above }
    }

    #[test]
    fn settings_that_were_asked_for() {
        let found = |option: &'static str, what: Setting| {
            let mut facts = facts();
            facts.limits.as_mut().unwrap().own.insert(option, Ok(what));
            facts
        };
        let low = |above: &str| found("--memory-reservation", setting(false, "33554432", &[("/c/ctr", above)]));
        let wish = Asked { reservation: Some(32 << 20), ..recorded() };
        assert_eq!(verdict(&low("max"), &wish, "reservation"), Verdict::Good);
        assert_eq!(verdict(&low("0"), &wish, "reservation"), Verdict::Weak);
        let none = found("--memory-reservation", setting(true, "9223372036854771712", &[]));
        assert_eq!(verdict(&none, &wish, "reservation"), Verdict::Breach);
        assert_eq!(verdict(&none, &recorded(), "reservation"), Verdict::Good);
        let oom = |text: &str| found("--oom-kill-disable", setting(true, text, &[]));
        let wish = Asked { no_oom_kill: true, ..recorded() };
        assert_eq!(verdict(&oom("oom_kill_disable 1\nunder_oom 0"), &wish, "out of memory"), Verdict::Weak);
        assert_eq!(verdict(&oom("oom_kill_disable 0"), &wish, "out of memory"), Verdict::Breach);
        assert_eq!(verdict(&oom("oom_kill_disable 0"), &recorded(), "out of memory"), Verdict::Good);
        assert_eq!(verdict(&oom("oom_kill_disable 1"), &recorded(), "out of memory"), Verdict::Weak);
        for (old, text, weight, right) in [
            (true, "512", Weight::Shares(512), true),
            (true, "1024", Weight::Shares(512), false),
            (false, "59", Weight::Shares(512), true),
            (false, "100", Weight::Shares(512), false),
            (true, "1024", Weight::Weight(100), true),
            (false, "7", Weight::Weight(7), true),
            (false, "", Weight::Weight(7), false),
        ] {
            let wish = Asked { weight: Some(weight), ..recorded() };
            let how = if right { Verdict::Good } else { Verdict::Breach };
            assert_eq!(verdict(&found("--cpu-weight", setting(old, text, &[])), &wish, "weights"), how, "{text}");
        }
        assert_eq!((in_weights(2), in_weights(1024), in_weights(262_144)), (1, 100, 10_000));
        let wish = Asked { mems: Some(vec![0]), ..recorded() };
        assert_eq!(verdict(&found("--cpuset-mems", setting(true, "0", &[])), &wish, "memory nodes"), Verdict::Good);
        assert_eq!(
            verdict(&found("--cpuset-mems", setting(true, "0-1", &[])), &wish, "memory nodes"),
            Verdict::Breach
        );
        let wish = Asked { period: Some(50_000), ..recorded() };
        assert_eq!(verdict(&found("--cpu-period", setting(false, "max 50000", &[])), &wish, "cpu"), Verdict::Good);
        assert_eq!(verdict(&found("--cpu-period", setting(false, "max 100000", &[])), &wish, "cpu"), Verdict::Breach);
    }

    #[test]
    fn disks_are_limited_by_the_smallest() {
        let mut open = facts();
        let line = |group: &str, line: &str| (group.to_owned(), line.to_owned());
        let wish = |rate| Asked { io: vec![("8:0".into(), "rbps", rate)], ..recorded() };
        let mut how = |lines: Vec<(String, String)>, rate| {
            open.limits.as_mut().unwrap().io = Ok(lines);
            verdict(&open, &wish(rate), "block io")
        };
        assert_eq!(how(vec![line("/c/x", "8:0 rbps=100 wbps=max")], 100), Verdict::Good);
        assert_eq!(how(vec![line("/c/x", "8:0 rbps=100"), line("/c", "8:0 rbps=10")], 20), Verdict::Good);
        assert_eq!(how(vec![line("/c/x", "8:0 rbps=101")], 100), Verdict::Breach);
        assert_eq!(how(vec![line("/c/x", "8:16 rbps=1")], 100), Verdict::Breach);
        assert_eq!((how(vec![], 100), how(vec![], 0)), (Verdict::Breach, Verdict::Good));
    }

    #[test]
    fn device_rules_are_compared() {
        let how = |rules: &[&str], asked: &Asked| {
            let mut open = facts();
            open.devices = Ok(vec![Device { path: "/dev/x".into(), block: false, number: (10, 229) }]);
            let rules = rules.iter().map(|rule| (*rule).to_owned()).collect();
            open.limits.as_mut().unwrap().devices = Devices::Rules(rules);
            verdict(&open, asked, "rules")
        };
        assert_eq!(how(&["c *:* m", "c 136:* rwm", "c 1:3 rwm"], &recorded()), Verdict::Good);
        assert_eq!(how(&["b 8:0 r"], &recorded()), Verdict::Breach);
        assert_eq!(how(&["garbage"], &recorded()), Verdict::Breach);
        let wish = Asked { device_rules: vec!["b 8:* r".into()], ..recorded() };
        assert_eq!((how(&["b 8:0 rm"], &wish), how(&["b 8:0 rw"], &wish)), (Verdict::Good, Verdict::Breach));
        let wish = Asked { devices: vec![("/dev/x".into(), "r".into())], ..recorded() };
        assert_eq!((how(&["c 10:229 rm"], &wish), how(&["c 10:229 w"], &wish)), (Verdict::Good, Verdict::Breach));
        let mut open = facts();
        open.limits.as_mut().unwrap().devices = Devices::All;
        assert_eq!(verdict(&open, &Asked { ruled: true, ..recorded() }, "rules"), Verdict::Breach);
    }

    #[test]
    fn everybody_is_in_the_group() {
        let mut open = facts();
        open.homes = vec![vec!["rw".into(), "memory".into()], Vec::new()];
        let groups = |memory: &str, unified: &str| {
            Ok(super::super::parse::hierarchies(format!("4:memory:{memory}\n3:cpu:/\n0::{unified}\n").as_bytes()))
        };
        let wish = Asked { group: Some("ctr/id".into()), ..recorded() };
        open.main.groups = groups("/ctr/id", "/ctr/id/init.scope");
        assert_eq!(verdict(&open, &wish, "group"), Verdict::Good);
        open.others.push(process(8));
        open.others[0].groups = groups("/", "/ctr/id");
        assert_eq!(verdict(&open, &wish, "group"), Verdict::Breach);
        open.others[0].groups = groups("/ctr/id2", "/ctr/id");
        assert_eq!(verdict(&open, &wish, "group"), Verdict::Breach);
        open.others.clear();
        open.homes.clear();
        assert_eq!(verdict(&open, &wish, "group"), Verdict::Unseen);
    }

    #[test]
    fn kernel_parameters_are_compared() {
        let mut open = facts();
        let wish = Asked { sysctls: vec![("kernel/sem".into(), "1 2 3 4".into())], ..recorded() };
        assert_eq!(verdict(&open, &wish, "sysctls"), Verdict::Unseen);
        open.sysctls.insert("kernel/sem".into(), Ok("1\t2\t3\t4".into()));
        assert_eq!(verdict(&open, &wish, "sysctls"), Verdict::Good);
        open.sysctls.insert("kernel/sem".into(), Ok("1\t2\t3\t5".into()));
        assert_eq!(verdict(&open, &wish, "sysctls"), Verdict::Breach);
        assert_eq!(verdict(&open, &Asked { privileged: true, ..wish }, "sysctls"), Verdict::Weak);
    }
}
