//! What control groups really allow: the smallest limit of a group and all those above it, in v2, v1 and both side by side.
//!
//! A limit of 512 MiB on a container means nothing to who wants to know why it dies at 64: some group above it may be tighter, and
//! none of them may be there at all. So each file is read in each group from the process's own up to the top of the mount.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use linux_raw_sys::general as k;
use rootfs::mounts::Mount;

use super::parse::{self, Hierarchy};
use crate::{procfs, sys};

/// How deep groups may be in each other for us to look.
const DEEPEST: usize = 64;

/// v1 says "unlimited" with the largest number of pages: everything from here on is that.
const NO_LIMIT: u64 = 1 << 62;

/// A limit as it works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// What the process's own group says; None for no limit.
    pub own: Option<u64>,
    /// The smallest of that and all above it; None for no limit at all.
    pub effective: Option<u64>,
    /// The group that says so.
    pub by: String,
}

/// Why a limit cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It cannot be there: no such controller, no such hierarchy.
    Without(String),
    /// We may not look.
    Blind(String),
}

/// A limit, or why it cannot be told.
pub type Seen<T> = Result<T, Lack>;

fn without<T>(why: impl Into<String>) -> Seen<T> {
    Err(Lack::Without(why.into()))
}

fn lack(path: &Path, e: &std::io::Error) -> Lack {
    let why = format!("{}: {e}", path.display());
    if matches!(e.raw_os_error(), Some(libc::EACCES | libc::EPERM)) { Lack::Blind(why) } else { Lack::Without(why) }
}

/// Everything that is asked of control groups.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The groups that the process is in, as its `/proc/PID/cgroup` says.
    pub groups: Vec<Hierarchy>,
    /// Bytes of memory.
    pub memory: Seen<Limit>,
    /// Bytes of swap (v2), or of memory and swap together (v1: the second is true).
    pub swap: Seen<(Limit, bool)>,
    /// Processes and threads.
    pub pids: Seen<Limit>,
    /// Thousandths of a processor.
    pub cpu: Seen<Limit>,
    /// The processors it may run on.
    pub cpuset: Seen<Vec<u32>>,
    /// Limits of block devices anywhere up the tree: the group that has one, and what it says.
    pub io: Seen<Vec<(String, String)>>,
    /// What its own group says of other settings, by the option that asks for them: see [`OWN`].
    pub own: BTreeMap<&'static str, Seen<Setting>>,
    /// How devices are limited.
    pub devices: Devices,
}

/// A setting of a group, and of those above it which have it too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// It is v1's.
    pub old: bool,
    /// The file's content.
    pub text: String,
    /// Those above, the nearest first: the group, and what it says.
    pub above: Vec<(String, String)>,
}

/// Settings that are no limits which the smallest of all up the tree decides: the option that asks for one, its controller, and the files
/// of v1 and v2. Of several that are the same thing the first that there is counts.
type Own = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);
const OWN: [Own; 7] = [
    ("--memory-reservation", "memory", &["memory.soft_limit_in_bytes"], &["memory.low"]),
    ("--memory-swappiness", "memory", &["memory.swappiness"], &[]),
    ("--oom-kill-disable", "memory", &["memory.oom_control"], &[]),
    ("--cpu-weight", "cpu", &["cpu.shares"], &["cpu.weight"]),
    ("--cpu-period", "cpu", &["cpu.cfs_period_us"], &["cpu.max"]),
    ("--cpuset-mems", "cpuset", &["cpuset.effective_mems", "cpuset.mems"], &["cpuset.mems.effective"]),
    ("--blkio-weight", "blkio", &["blkio.weight", "blkio.bfq.weight"], &["io.bfq.weight", "io.weight"]),
];

/// Which device nodes may be opened, whoever owns them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Devices {
    /// v1: `devices.list` allows everything.
    All,
    /// v1: these lines.
    Rules(Vec<String>),
    /// v2: so many programs decide.
    Programs(u32),
    /// v2 alone, or nothing: nobody decides.
    Nobody,
    /// Cannot be seen: why.
    Unseen(String),
}

/// One hierarchy at one place: what a controller's files are read in.
struct Tree {
    /// Group directories from the process's own to the top.
    groups: Vec<(PathBuf, OwnedFd)>,
}

impl Tree {
    /// Opens the groups from `group` up to where the hierarchy is mounted.
    fn open(mount: &Mount, group: &Hierarchy) -> Seen<Tree> {
        let below = Path::new(&group.path).strip_prefix(&mount.root).map_err(|_| {
            Lack::Blind(format!("its group {} is not below what is mounted at {}", group.path, mount.at.display()))
        })?;
        if below.components().any(|part| part == std::path::Component::ParentDir) {
            return Err(Lack::Blind(format!("its group {} is outside of what is mounted", group.path)));
        }
        let mut groups = Vec::new();
        for part in below.ancestors().take(DEEPEST) {
            let path = if part.as_os_str().is_empty() { mount.at.clone() } else { mount.at.join(part) };
            let c_path = CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
            let dir = sys::openat(sys::CWD, &c_path, k::O_PATH | k::O_DIRECTORY, 0).map_err(|e| lack(&path, &e))?;
            let magic = sys::fs_magic(dir.as_fd()).unwrap_or(0);
            if magic != u64::from(k::CGROUP2_SUPER_MAGIC) && magic != u64::from(k::CGROUP_SUPER_MAGIC) {
                return Err(Lack::Blind(format!("{}: something else is mounted there", path.display())));
            }
            groups.push((path, dir));
        }
        Ok(Tree { groups })
    }

    /// A file in each group, as far as it has it: the topmost has none of most.
    fn read(&self, file: &str) -> Seen<Vec<(String, String)>> {
        let name = CString::new(file).unwrap_or_default();
        let mut all = Vec::new();
        for (path, dir) in &self.groups {
            match procfs::read(dir.as_fd(), &name) {
                Ok(text) => all.push((path.display().to_string(), String::from_utf8_lossy(&text).into_owned())),
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
                Err(e) => return Err(lack(&path.join(file), &e)),
            }
        }
        Ok(all)
    }

    /// The process's own group.
    fn own(&self) -> String {
        self.groups.first().map(|(path, _)| path.display().to_string()).unwrap_or_default()
    }

    /// The file of its own group, if that has it.
    fn first(&self, file: &str) -> Seen<Option<String>> {
        let own = self.own();
        Ok(self.read(file)?.into_iter().find(|(path, _)| *path == own).map(|(_, text)| text))
    }

    /// The smallest number in that file, all the way up.
    fn smallest(&self, file: &str, number: impl Fn(&str) -> Option<u64>) -> Seen<Limit> {
        let all = self.read(file)?;
        if all.is_empty() && self.groups.len() > 1 {
            return without(format!("no {file} in {}: the controller is switched off there", self.own()));
        }
        Ok(smallest(&self.own(), all.iter().map(|(path, text)| (path.as_str(), number(text)))))
    }
}

/// Of (group, limit) from below to the top, the one that works.
fn smallest<'a>(own: &str, all: impl Iterator<Item = (&'a str, Option<u64>)>) -> Limit {
    let mut limit = Limit::default();
    for (group, found) in all {
        if group == own {
            limit.own = found;
        }
        if let Some(found) = found.filter(|found| limit.effective.is_none_or(|least| *found < least)) {
            limit.effective = Some(found);
            group.clone_into(&mut limit.by);
        }
    }
    limit
}

/// A limit in bytes or processes: `max`, -1 and absurdly much are none.
fn amount(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|number| *number < NO_LIMIT)
}

/// Thousandths of a processor, from a quota and a period.
fn share(quota: Option<&str>, period: Option<&str>) -> Option<u64> {
    let quota: u64 = quota?.trim().parse().ok()?;
    let period: u64 = period.and_then(|word| word.trim().parse().ok()).filter(|period| *period > 0)?;
    quota.checked_mul(1000).map(|quota| quota / period)
}

/// Looks at the groups of a process, by what its `/proc/PID/cgroup` says and what we see mounted.
pub fn look(groups: &[Hierarchy], mounts: &[Mount]) -> Limits {
    // Of several at one place the last one is seen.
    let mounted = |wanted: &dyn Fn(&Mount) -> bool| mounts.iter().rev().find(|mount| wanted(mount));
    let v1 = |controller: &str| -> Option<Seen<Tree>> {
        let group = groups.iter().find(|group| group.controllers.iter().any(|name| name == controller))?;
        let mount = mounted(&|mount: &Mount| {
            mount.fs == "cgroup" && mount.super_options.split(',').any(|word| word == controller)
        });
        Some(match mount {
            Some(mount) => Tree::open(mount, group),
            None => Err(Lack::Blind(format!("the v1 hierarchy of {controller} is mounted nowhere"))),
        })
    };
    let unified = || -> Seen<Tree> {
        let group = groups
            .iter()
            .find(|group| group.unified)
            .ok_or_else(|| Lack::Without("it is in no v2 group".to_owned()))?;
        let mount = mounted(&|mount: &Mount| mount.fs == "cgroup2")
            .ok_or_else(|| Lack::Blind("no cgroup2 is mounted".to_owned()))?;
        Tree::open(mount, group)
    };
    let either = |controller: &str, old: &dyn Fn(&Tree) -> Seen<Limit>, new: &dyn Fn(&Tree) -> Seen<Limit>| match v1(
        controller,
    ) {
        Some(tree) => old(&tree?),
        None => new(&unified()?),
    };
    let memory = either("memory", &|tree| tree.smallest("memory.limit_in_bytes", amount), &|tree| {
        tree.smallest("memory.max", amount)
    });
    let both = v1("memory").is_some();
    let swap = either("memory", &|tree| tree.smallest("memory.memsw.limit_in_bytes", amount), &|tree| {
        tree.smallest("memory.swap.max", amount)
    });
    let pids = either("pids", &|tree| tree.smallest("pids.max", amount), &|tree| tree.smallest("pids.max", amount));
    let cpu = either(
        "cpu",
        &|tree| {
            let (periods, quotas) = (tree.read("cpu.cfs_period_us")?, tree.read("cpu.cfs_quota_us")?);
            let limits = quotas.iter().map(|(path, quota)| {
                let period = periods.iter().find(|(at, _)| at == path).map(|(_, text)| text.as_str());
                (path.as_str(), share(Some(quota), period))
            });
            Ok(smallest(&tree.own(), limits))
        },
        &|tree| {
            tree.smallest("cpu.max", |text| {
                let mut words = text.split_whitespace();
                share(words.next(), words.next())
            })
        },
    );
    let cpuset = || -> Seen<Vec<u32>> {
        let text = match v1("cpuset") {
            Some(tree) => {
                let tree = tree?;
                tree.first("cpuset.effective_cpus")?.or(tree.first("cpuset.cpus")?)
            }
            // A group without the controller has what the nearest one above it that has it says.
            None => unified()?.read("cpuset.cpus.effective")?.into_iter().next().map(|(_, text)| text),
        };
        let list = text.and_then(|text| parse::numbers(&text)).filter(|list| !list.is_empty());
        list.ok_or_else(|| Lack::Without("no cpuset controller there".to_owned()))
    };
    let own = |(option, controller, old, new): Own| -> (&'static str, Seen<Setting>) {
        let find = || {
            let (tree, files, is_old) = match v1(controller) {
                Some(tree) => (tree?, old, true),
                None => (unified()?, new, false),
            };
            for file in files {
                let mut all = tree.read(file)?.into_iter().peekable();
                if all.peek().is_some_and(|(group, _)| *group == tree.own()) {
                    let text = all.next().map(|(_, text)| text.trim().to_owned()).unwrap_or_default();
                    return Ok(Setting { old: is_old, text, above: all.collect() });
                }
            }
            without(format!("no {} in {}", files.first().copied().unwrap_or("such setting"), tree.own()))
        };
        (option, find())
    };
    let io = || -> Seen<Vec<(String, String)>> {
        let Some(tree) = v1("blkio") else { return Ok(limits_of("", &unified()?.read("io.max")?)) };
        let tree = tree?;
        let mut all = Vec::new();
        for file in ["read_bps_device", "write_bps_device", "read_iops_device", "write_iops_device"] {
            all.extend(limits_of(file, &tree.read(&format!("blkio.throttle.{file}"))?));
        }
        Ok(all)
    };
    Limits {
        groups: groups.to_vec(),
        memory,
        swap: swap.map(|limit| (limit, both)),
        pids,
        cpu,
        cpuset: cpuset(),
        io: io(),
        devices: devices(v1("devices"), unified()),
        own: OWN.into_iter().map(own).collect(),
    }
}

fn limits_of(file: &str, texts: &[(String, String)]) -> Vec<(String, String)> {
    let lines = texts.iter().flat_map(|(group, text)| text.lines().map(move |line| (group, line)));
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(group, line)| (group.clone(), format!("{file} {line}").trim().to_owned()))
        .collect()
}

/// In which hierarchies there is a group at this place (below each one's root): what [`Hierarchy::controllers`] has of it, and nothing
/// for v2.
pub fn hierarchies_with(place: &str, mounts: &[Mount]) -> Vec<Vec<String>> {
    let mut all: Vec<Vec<String>> = Vec::new();
    for mount in mounts.iter().filter(|mount| mount.fs == "cgroup" || mount.fs == "cgroup2") {
        let path = CString::new(mount.at.join(place).as_os_str().as_bytes()).unwrap_or_default();
        let Ok(dir) = sys::openat(sys::CWD, &path, k::O_PATH | k::O_DIRECTORY | k::O_NOFOLLOW, 0) else { continue };
        let magic = sys::fs_magic(dir.as_fd()).unwrap_or(0);
        let which = match mount.fs.as_str() {
            "cgroup2" if magic == u64::from(k::CGROUP2_SUPER_MAGIC) => Vec::new(),
            "cgroup" if magic == u64::from(k::CGROUP_SUPER_MAGIC) => {
                mount.super_options.split(',').map(str::to_owned).collect()
            }
            _ => continue,
        };
        if !all.contains(&which) {
            all.push(which);
        }
    }
    all
}

fn devices(old: Option<Seen<Tree>>, new: Seen<Tree>) -> Devices {
    let unseen = |why| match why {
        Lack::Without(why) | Lack::Blind(why) => Devices::Unseen(why),
    };
    // The process's own group: those above it can only allow more.
    match old.map(|tree| tree?.first("devices.list")) {
        Some(Err(why)) => return unseen(why),
        Some(Ok(None)) => return Devices::Unseen("there is no devices.list".to_owned()),
        Some(Ok(Some(all))) if all.lines().any(|line| line.trim() == "a *:* rwm") => return Devices::All,
        Some(Ok(Some(rules))) => return Devices::Rules(rules.lines().map(str::to_owned).collect()),
        None => {}
    }
    let tree = match new {
        Ok(tree) => tree,
        Err(why) => return unseen(why),
    };
    let ask = |(_, dir): &(PathBuf, OwnedFd)| {
        let dir = sys::openat(dir.as_fd(), c".", k::O_RDONLY | k::O_DIRECTORY, 0)?;
        sys::device_programs(dir.as_fd())
    };
    match tree.groups.first().map(ask) {
        Some(Ok(0)) | None => Devices::Nobody,
        Some(Ok(number)) => Devices::Programs(number),
        // A kernel without CONFIG_CGROUP_BPF: nobody can decide.
        Some(Err(e)) if e.raw_os_error() == Some(libc::EINVAL) => Devices::Nobody,
        Some(Err(e)) => Devices::Unseen(format!("its device programs: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_of_all_works() {
        let all = [("/c/a/b", None), ("/c/a", Some(64)), ("/c", Some(512))];
        let limit = smallest("/c/a/b", all.into_iter());
        assert_eq!(limit, Limit { own: None, effective: Some(64), by: "/c/a".into() });
        let all = [("/c/a", Some(32)), ("/c", Some(512))];
        assert_eq!(
            smallest("/c/a", all.into_iter()),
            Limit { own: Some(32), effective: Some(32), by: "/c/a".into() }
        );
        assert_eq!(smallest("/c/a", std::iter::empty()), Limit::default());
    }

    #[test]
    fn amounts() {
        assert_eq!((amount("max\n"), amount("-1"), amount("9223372036854771712\n")), (None, None, None));
        assert_eq!((amount("67108864\n"), amount("")), (Some(64 << 20), None));
        assert_eq!((share(Some("50000"), Some("100000")), share(Some("max"), Some("100000"))), (Some(500), None));
        assert_eq!((share(Some("-1"), Some("100000")), share(Some("1"), Some("0"))), (None, None));
        assert_eq!(share(Some("18446744073709551615"), Some("1")), None);
    }

    #[test]
    fn a_group_outside_of_what_is_mounted_is_not_looked_for() {
        let text = b"31 23 0:28 /sub /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let mounts = rootfs::mounts::parse(text);
        for path in ["/other", "/sub/../..", "/.."] {
            let limits = look(&parse::hierarchies(format!("0::{path}\n").as_bytes()), &mounts);
            assert!(limits.memory.is_err() && limits.pids.is_err(), "{path}: {limits:?}");
        }
    }
}
