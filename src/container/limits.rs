//! The options that limit what a container may use: read, compared with the machine, and put in force on its control group.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use super::device::Node;
use super::plan::CgroupView;
use super::record::Record;
use super::spec::{self, Spec, Userns};
use linux_raw_sys::general as k;

use crate::cgroup::devices::DeviceRule;
use crate::cgroup::limits::{Limits, Setting, Throttle};
use crate::cgroup::{self, Controller, Group, Needs, Version, devices};
use crate::error::{Doing, Error, Result};
use crate::{caps, sys};

/// The options, by the names that they have in a record; `update` takes them too, but for the last one.
pub const OPTIONS: [&str; 18] = [
    "--memory",
    "--memory-swap",
    "--memory-reservation",
    "--memory-swappiness",
    "--cpus",
    "--cpu-period",
    "--cpu-quota",
    "--cpu-shares",
    "--cpu-weight",
    "--cpuset-cpus",
    "--cpuset-mems",
    "--pids-limit",
    "--blkio-weight",
    "--device-read-bps",
    "--device-write-bps",
    "--device-read-iops",
    "--device-write-iops",
    "--oom-kill-disable",
];

/// What a record no longer says when this option is given anew: itself, and the same thing by other names.
pub fn replaced_by(option: &str) -> Vec<&str> {
    let others: &[&str] = match option {
        "--cpus" => &["--cpu-period", "--cpu-quota"],
        "--cpu-period" | "--cpu-quota" => &["--cpus"],
        "--cpu-shares" => &["--cpu-weight"],
        "--cpu-weight" => &["--cpu-shares"],
        _ => &[],
    };
    std::iter::once(option).chain(others.iter().copied()).collect()
}

/// The least memory that a program can be started with.
const LEAST: u64 = 128 << 10;

fn bad(option: &str, text: &str, what: &str) -> Error {
    Error::usage(format_args!("bad {option} {text:?}: {what}"))
}

/// A size; 0 and -1 are "no limit".
fn size(option: &str, text: &str) -> Result<u64> {
    if matches!(text, "0" | "-1") { Ok(u64::MAX) } else { spec::bytes(text, option) }
}

fn number(option: &str, text: &str, from: u64, to: u64) -> Result<u64> {
    text.parse()
        .ok()
        .filter(|n| (from..=to).contains(n))
        .ok_or_else(|| bad(option, text, &format!("it is a number from {from} to {to}")))
}

/// A list such as 0-2,5: every number in it.
fn list(option: &str, text: &str) -> Result<Vec<u32>> {
    let wrong = || bad(option, text, "it is a list of numbers, such as 0-2,5");
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let plain = |word: &str| word.bytes().all(|b| b.is_ascii_digit()).then(|| word.parse::<u32>().ok()).flatten();
        let (first, last) = plain(first).zip(plain(last)).filter(|(a, b)| a <= b && *b < 65_536).ok_or_else(wrong)?;
        all.extend(first..=last);
        // No machine has so many: what was said twice must not fill the memory.
        all.sort_unstable();
        all.dedup();
    }
    Ok(all)
}

/// Reads the options: all words that were given for one. Nothing is looked at but the block devices that were named.
pub fn read(given: &dyn Fn(&str) -> Vec<String>) -> Result<Limits> {
    let last = |option: &str| given(option).pop().filter(|text| !text.is_empty());
    let mut limits = Limits::default();
    if let Some(text) = last("--memory") {
        let bytes = size("--memory", &text)?;
        if bytes < LEAST {
            return Err(bad("--memory", &text, "no program can be started with less than 128k"));
        }
        limits.memory = Some(bytes);
    }
    if let Some(text) = last("--memory-swap").filter(|text| text != "0") {
        let Some(memory) = limits.memory.filter(|memory| *memory != u64::MAX || text == "-1") else {
            return Err(bad("--memory-swap", &text, "it is memory and swap together, and needs --memory"));
        };
        let both = size("--memory-swap", &text)?;
        if both < memory {
            return Err(bad("--memory-swap", &text, "it is memory and swap together, and so not less than --memory"));
        }
        limits.swap = Some(both);
    }
    if let Some(text) = last("--memory-reservation") {
        let bytes = size("--memory-reservation", &text)?;
        if bytes != u64::MAX && limits.memory.is_some_and(|memory| bytes > memory) {
            return Err(bad("--memory-reservation", &text, "it is more than --memory"));
        }
        limits.reservation = Some(bytes);
    }
    if let Some(text) = last("--memory-swappiness").filter(|text| text != "-1") {
        limits.swappiness = Some(number("--memory-swappiness", &text, 0, 100)?);
    }
    limits.no_oom_kill = !given("--oom-kill-disable").is_empty();
    if limits.no_oom_kill && limits.memory.is_none_or(|memory| memory == u64::MAX) {
        return Err(Error::usage(
            "--oom-kill-disable without --memory: the whole machine would hang when memory ends",
        ));
    }
    processors(&mut limits, &last)?;
    if let Some(text) = last("--pids-limit") {
        limits.pids = Some(match text.as_str() {
            "0" | "-1" => u64::MAX,
            _ => number("--pids-limit", &text, 1, 4_194_304)?,
        });
    }
    if let Some(text) = last("--blkio-weight").filter(|text| text != "0") {
        limits.blkio_weight = Some(number("--blkio-weight", &text, 10, 1000)?);
    }
    for (option, write, operations) in [
        ("--device-read-bps", false, false),
        ("--device-write-bps", true, false),
        ("--device-read-iops", false, true),
        ("--device-write-iops", true, true),
    ] {
        for text in given(option) {
            limits.throttles.push(throttle(option, &text, write, operations)?);
        }
    }
    Ok(limits)
}

fn processors(limits: &mut Limits, last: &dyn Fn(&str) -> Option<String>) -> Result<()> {
    limits.period = last("--cpu-period")
        .filter(|text| text != "0")
        .map(|text| number("--cpu-period", &text, 1000, 1_000_000))
        .transpose()?;
    if let Some(text) = last("--cpu-quota") {
        limits.quota = Some(match text.as_str() {
            "0" | "-1" => u64::MAX,
            // The kernel's own bounds (kernel/sched/core.c): a millisecond, and what does not overflow.
            _ => number("--cpu-quota", &text, 1000, 1 << 43)?,
        });
    }
    if let Some(text) = last("--cpus") {
        if limits.period.is_some() || limits.quota.is_some() {
            return Err(Error::usage("--cpus and --cpu-period or --cpu-quota: they are the same thing, choose one"));
        }
        let wrong = || bad("--cpus", &text, "it is a number of processors, such as 1.5 (0.01 at least)");
        let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let cpus: f64 = text.parse().ok().filter(|_| digits && text.len() < 20).ok_or_else(wrong)?;
        limits.quota = Some(match cpus {
            0.0 => u64::MAX,
            0.01.. => (cpus * 100_000.0).round() as u64,
            _ => return Err(wrong()),
        });
        limits.period = Some(100_000);
    }
    limits.shares = last("--cpu-shares")
        .filter(|text| text != "0")
        .map(|text| number("--cpu-shares", &text, 2, 262_144))
        .transpose()?;
    limits.weight = last("--cpu-weight").map(|text| number("--cpu-weight", &text, 1, 10_000)).transpose()?;
    if limits.shares.is_some() && limits.weight.is_some() {
        return Err(Error::usage("--cpu-shares and --cpu-weight: they are the same thing, choose one"));
    }
    for (option, place) in [("--cpuset-cpus", &mut limits.cpus), ("--cpuset-mems", &mut limits.mems)] {
        *place = last(option);
        if let Some(text) = place {
            list(option, text)?;
        }
    }
    Ok(())
}

/// `PATH:RATE`: whole disks alone can be held back, by their number.
fn throttle(option: &str, text: &str, write: bool, operations: bool) -> Result<Throttle> {
    let form =
        if operations { "it is PATH:NUMBER, such as /dev/sda:1000" } else { "it is PATH:RATE, such as /dev/sda:1m" };
    let (path, rate) =
        text.rsplit_once(':').filter(|(path, _)| path.starts_with('/')).ok_or_else(|| bad(option, text, form))?;
    let rate = match (rate, operations) {
        ("0", _) => 0,
        (_, true) => rate.parse::<u32>().map(u64::from).map_err(|_| bad(option, text, form))?,
        (_, false) => spec::bytes(rate, option)?,
    };
    let found = std::fs::metadata(path).doing(format_args!("find the device of {option}"), path)?;
    if !found.file_type().is_block_device() {
        return Err(bad(option, text, "that is no block device"));
    }
    let (major, minor) = (libc::major(found.rdev()), libc::minor(found.rdev()));
    if std::path::Path::new(&format!("/sys/dev/block/{major}:{minor}/partition")).exists() {
        return Err(bad(option, text, "that is a partition: the kernel can only hold back whole disks"));
    }
    Ok(Throttle { device: format!("{major}:{minor}"), write, operations, rate })
}

/// The limits that a record tells of.
pub fn of_record(record: &Record) -> Result<Limits> {
    read(&|option| record.words(option).into_iter().map(|word| word.to_string_lossy().into_owned()).collect())
}

/// Refuses what this machine does not have.
pub fn check(limits: &Limits) -> Result<()> {
    let online = |what: &str| {
        let text = std::fs::read_to_string(format!("/sys/devices/system/{what}/online")).unwrap_or_default();
        list(what, text.trim()).ok()
    };
    // Where there is no /sys, those that we may use are all that can be known.
    let ours =
        || std::thread::available_parallelism().ok().map(|n| (0..u32::try_from(n.get()).unwrap_or(1)).collect());
    let cpus: Option<Vec<u32>> =
        if limits.quota.is_some() || limits.cpus.is_some() { online("cpu").or_else(ours) } else { None };
    if let (Some(quota), Some(cpus)) = (limits.quota.filter(|quota| *quota != u64::MAX), &cpus) {
        let (period, count) = (limits.period.unwrap_or(100_000), cpus.len() as u64);
        if quota > period.saturating_mul(count) {
            return Err(Error::usage(format_args!(
                "bad --cpus: {}.{:02} is more than the {count} processors that this machine has",
                quota / period,
                quota % period * 100 / period
            )));
        }
    }
    for (option, asked, there) in
        [("--cpuset-cpus", &limits.cpus, cpus), ("--cpuset-mems", &limits.mems, online("node"))]
    {
        let (Some(text), Some(there)) = (asked, there) else { continue };
        if let Some(missing) = list(option, text)?.into_iter().find(|n| !there.contains(n)) {
            return Err(bad(option, text, &format!("this machine has no number {missing}")));
        }
    }
    Ok(())
}

/// What is left to be done when the container is complete.
pub type Late = Vec<(OwnedFd, String)>;

/// The control group of a container that is about to be made, with its limits in force; the group is gone again after an
/// error. Where nothing was asked for it may be none.
pub fn prepare(spec: &Spec, nodes: &[Node], place: &str, id: &str, lasting: bool) -> Result<(Group, Late)> {
    check(&spec.resources)?;
    let mut asked = spec.resources.controllers();
    if rules_are_asked(spec) {
        asked.push(Controller::Devices);
    }
    let needed = !asked.is_empty() || spec.cgroup_parent.is_some();
    // Whoever is root inside, and is nobody here, may look at it.
    let mask = rootfs::sys::umask(0o022);
    let group = Group::create(place, id, &Needs { asked, lasting });
    rootfs::sys::umask(mask);
    let group = group?;
    if !group.exists() {
        let nothing = || Error::usage("no control group can be made here: ctr doctor says what is mounted");
        return if needed { Err(nothing()) } else { Ok((group, Vec::new())) };
    }
    let done = apply(&group, &spec.resources).and_then(|late| apply_devices(&group, spec, nodes).map(|()| late));
    match done {
        Ok(late) => Ok((group, late)),
        Err(e) => {
            group.remove();
            Err(e)
        }
    }
}

/// Whether a container needs a control group for what was asked, even if it ends with its `ctr run`.
pub fn are_asked(spec: &Spec) -> bool {
    spec.resources.any() || rules_are_asked(spec) || spec.cgroup_parent.is_some()
}

/// Whether rules for devices must be in force: those that were given, or for a `--device` with which not all may be done; and for
/// who may mount as root outside, for then not every mount in there is one of ours, without live nodes.
fn rules_are_asked(spec: &Spec) -> bool {
    let all = |access: &str| access.contains('r') && access.contains('w');
    let may_mount = spec.capabilities.all & caps::bit(k::CAP_SYS_ADMIN) != 0
        && !spec.privileged
        && spec.userns == Userns::Host
        && sys::euid() == 0;
    may_mount || !spec.device_rules.is_empty() || spec.devices.iter().any(|device| !all(&device.access))
}

/// Divides the doors of a group: those to go through early, and those that count memory, if that is limited.
pub fn doors(group: &Group, spec: &Spec) -> Result<(Vec<OwnedFd>, Vec<OwnedFd>)> {
    let late = |controller| controller == Controller::Memory && spec.resources.memory.is_some();
    let doors =
        group.doors().doing("open the control groups of the container", format_args!("{}/tasks", group.place()))?;
    let (last, first): (Vec<_>, Vec<_>) = doors.into_iter().partition(|(controller, _)| late(*controller));
    let plain = |doors: Vec<(Controller, OwnedFd)>| doors.into_iter().map(|(_, door)| door).collect();
    Ok((plain(first), plain(last)))
}

/// What is to be seen in the container of its groups: of v1, those with the limits that programs ask for.
pub fn view(group: &Group, spec: &Spec) -> CgroupView {
    let tells = |controller: &Controller| !matches!(controller, Controller::Devices | Controller::Freezer);
    if spec.host_cgroup {
        return if group.is_mounted() { CgroupView::Machine } else { CgroupView::None };
    }
    let v1: Vec<_> = group.v1_places().filter(|(controller, _)| tells(controller)).collect();
    match (v1.is_empty(), group.birthplace()) {
        (false, _) => CgroupView::Controllers(v1.into_iter().map(|(which, path)| (which.name(), path)).collect()),
        (true, Some(_)) => CgroupView::Unified,
        (true, None) => CgroupView::None,
    }
}

/// Puts limits in force in a new group, which is of no use after an error. What counts the container's own making against it is not
/// written but handed back.
fn apply(group: &Group, limits: &Limits) -> Result<Late> {
    let mut left = Late::new();
    write(group, limits, &mut |setting, _, file, text| {
        if setting.late {
            left.push((file, text.to_owned()));
            return Ok(());
        }
        sys::write(file.as_fd(), text.as_bytes()).map(drop)
    })?;
    Ok(left)
}

/// What a group's files said before they were written to.
pub struct Undo(Vec<(Setting, String, OwnedFd)>);

impl Undo {
    /// Makes it so again, as far as that can be.
    pub fn undo(&self) {
        // Twice, for those that depend on each other.
        for _ in 0..2 {
            for (setting, before, file) in self.0.iter().rev() {
                if let Some(text) = setting.back(before) {
                    let _ = sys::write(file.as_fd(), text.as_bytes());
                }
            }
        }
    }
}

/// Puts other limits in force in a group that is in use; all of them, or none.
pub fn change(group: &Group, limits: &Limits) -> Result<Undo> {
    let mut undo = Undo(Vec::new());
    let done = write(group, limits, &mut |setting, dir, file, text| {
        let before = cgroup::say(dir, &setting.files);
        sys::write(file.as_fd(), text.as_bytes())?;
        undo.0.push((setting.clone(), before, file));
        Ok(())
    });
    match done {
        Ok(()) => Ok(undo),
        Err(e) => {
            undo.undo();
            Err(e)
        }
    }
}

/// Does what a list of settings says: `one` is told the setting, the group's directory, the open file and the text for it.
fn write(
    group: &Group,
    limits: &Limits,
    one: &mut dyn FnMut(&Setting, BorrowedFd, OwnedFd, &str) -> io::Result<()>,
) -> Result<()> {
    let versions: Vec<(Controller, Version, OwnedFd)> = limits
        .controllers()
        .into_iter()
        .map(|controller| {
            let (version, dir) = group.dir(controller).ok_or_else(|| {
                Error::new(
                    format_args!("limit what {} uses", group.place()),
                    format_args!("the {} controller", controller.name()),
                    io::Error::from_raw_os_error(libc::ENOENT),
                )
                .hint(Some(cgroup::layout::why_missing(controller.in_v2().unwrap_or(controller.name()))))
            })?;
            Ok((controller, version, dir))
        })
        .collect::<Result<_>>()?;
    let of = |controller| versions.iter().find(|(which, ..)| *which == controller);
    let settings = limits
        .settings(|controller| of(controller).map_or(Version::V2, |(_, version, _)| *version))
        .map_err(Error::usage)?;
    // What depends on another one (memory may not be more than memory and swap) goes the second time.
    let mut again: Vec<&Setting> = Vec::new();
    for (all, last) in [(settings.iter().collect::<Vec<_>>(), false), (Vec::new(), true)] {
        for setting in if last { std::mem::take(&mut again) } else { all } {
            let Some((_, _, dir)) = of(setting.controller) else { continue };
            let (which, file) = match cgroup::open_file(dir.as_fd(), &setting.files) {
                Ok(found) => found,
                Err(_) if setting.optional => continue,
                Err(e) => {
                    return Err(Error::new(
                        format_args!("set {}", setting.option),
                        format_args!("{} of {}", setting.files.join(" or "), group.place()),
                        e,
                    )
                    .hint(Some("a kernel with it (ctr doctor tells what there is), or leave the option out")));
                }
            };
            let text = setting.second.as_ref().filter(|_| which == 1).unwrap_or(&setting.text);
            match one(setting, dir.as_fd(), file, text) {
                Ok(()) => {}
                Err(_) if !last => again.push(setting),
                Err(_) if setting.optional => {}
                Err(e) => {
                    let at = format!("write {text:?} to {} of {}", setting.files.join(" or "), group.place());
                    let advice = match e.raw_os_error() {
                        Some(libc::EBUSY) => Some("it uses more than that already"),
                        Some(libc::EOPNOTSUPP | libc::EINVAL) => Some("another value, or leave the option out"),
                        _ => None,
                    };
                    return Err(Error::new(format_args!("set {}", setting.option), at, e).hint(advice));
                }
            }
        }
    }
    Ok(())
}

/// Puts the rules for devices in force: those that were asked for must be, the usual ones may. Nodes elsewhere than in /dev are dead
/// anyway: no mount of a container lets them live.
fn apply_devices(group: &Group, spec: &Spec, nodes: &[Node]) -> Result<()> {
    let rules: Vec<DeviceRule> = if spec.privileged {
        vec![DeviceRule::EVERYTHING]
    } else {
        spec.device_rules.iter().copied().chain(nodes.iter().map(rule)).collect()
    };
    let done = match group.dir(Controller::Devices) {
        Some((Version::V1, dir)) => devices::set_v1(dir.as_fd(), &rules),
        Some((Version::V2, dir)) => devices::set_v2(dir.as_fd(), &rules),
        None => Err(io::Error::from_raw_os_error(libc::ENOENT)),
    };
    match done {
        Err(e) if rules_are_asked(spec) => Err(Error::new("set the rules for devices", group.place(), e)
            .hint(Some("a kernel with CONFIG_CGROUP_BPF, or the v1 devices hierarchy (ctr doctor)"))),
        Err(_) => {
            // Not half of them: without /dev/null no program works.
            if let Some((Version::V1, dir)) = group.dir(Controller::Devices) {
                let _ = devices::set_v1(dir.as_fd(), &[DeviceRule::EVERYTHING]);
            }
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// What a node of `--device` is allowed.
fn rule(node: &Node) -> DeviceRule {
    let letters = [('m', devices::MKNOD), ('r', devices::READ), ('w', devices::WRITE)];
    DeviceRule {
        kind: if node.number.letter() == 'b' { devices::Kind::Block } else { devices::Kind::Char },
        major: Some(node.number.major()),
        minor: Some(node.number.minor()),
        access: letters.iter().filter(|(letter, _)| node.access.contains(*letter)).fold(0, |all, (_, bit)| all | bit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(words: &[(&str, &str)]) -> Result<Limits> {
        read(&|option| words.iter().filter(|(key, _)| *key == option).map(|(_, text)| (*text).to_owned()).collect())
    }

    #[test]
    fn sizes_and_numbers() {
        let all =
            limits(&[("--memory", "512k"), ("--cpus", "0.5"), ("--pids-limit", "-1"), ("--cpuset-cpus", "0-1")])
                .unwrap();
        assert_eq!(
            (all.memory, all.quota, all.period, all.pids),
            (Some(512 << 10), Some(50_000), Some(100_000), Some(u64::MAX))
        );
        assert_eq!(limits(&[("--memory", "1g"), ("--memory-swap", "-1")]).unwrap().swap, Some(u64::MAX));
        assert!(!limits(&[]).unwrap().any());
    }

    #[test]
    fn nonsense_is_refused() {
        for (option, text) in [
            ("--memory", "1"),
            ("--memory", "-5m"),
            ("--memory", "99999999999999999999g"),
            ("--memory", "lots"),
            ("--memory-swap", "1g"),
            ("--memory-swappiness", "101"),
            ("--cpus", "-1"),
            ("--cpus", "0.001"),
            ("--cpus", "nan"),
            ("--cpus", "inf"),
            ("--cpus", "1e3"),
            ("--cpu-period", "10"),
            ("--cpu-quota", "5"),
            ("--cpu-shares", "1"),
            ("--cpu-weight", "0"),
            ("--cpuset-cpus", "a"),
            ("--cpuset-cpus", "3-1"),
            ("--cpuset-cpus", "0-99999999999"),
            ("--cpuset-mems", "+0"),
            ("--pids-limit", "-2"),
            ("--blkio-weight", "5"),
            ("--device-read-bps", "sda:1m"),
            ("--device-read-bps", "/nowhere/sda:1m"),
            ("--device-write-iops", "/dev/null:10"),
            ("--oom-kill-disable", "true"),
        ] {
            assert!(limits(&[(option, text)]).is_err(), "{option} {text}");
        }
        assert!(limits(&[("--memory", "2m"), ("--memory-swap", "1m")]).is_err());
        assert!(limits(&[("--memory", "2m"), ("--memory-reservation", "3m")]).is_err());
        assert!(limits(&[("--cpus", "1"), ("--cpu-quota", "5000")]).is_err());
        assert!(limits(&[("--cpu-shares", "10"), ("--cpu-weight", "10")]).is_err());
    }
}
