//! `ctr audit`: whether a container's boundary holds, or that of any process. What is looked at, how, and what it means is in `audit/`;
//! here is what was asked for, read from a record.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use linux_raw_sys::general as k;

use super::asked;
use crate::audit::judge::{self, Asked, Bind, Ids, Verdict, Weight};
use crate::audit::{limits, look, parse, show};
use crate::cli::Audit;
use crate::container::record::{Record, State};
use crate::container::spec::{self, Network, Root, Spec, Userns};
use crate::error::{Error, Result};
use crate::{caps, network, sys};

/// The verb. 0: nothing that could be seen is a breach; 1: something is.
pub fn audit(words: &[OsString]) -> Result<u8> {
    let Some((options, operands)) = super::read::<Audit>("audit", words)? else { return Ok(0) };
    let print = match options.format.as_deref() {
        None | Some("" | "table") => show::table,
        Some("json") => show::json,
        Some(other) => return Err(Error::usage(format_args!("bad --format {other:?}: it is table or json"))),
    };
    let (name, process, pid, members, asked) = match (&options.pid, operands.as_slice()) {
        (Some(text), []) => {
            let pid = text.parse().ok().filter(|pid| (1..=i32::MAX as u32).contains(pid)).ok_or_else(|| {
                Error::usage(format_args!("bad --pid {text:?}: it is the number of a process, such as 4711"))
            })?;
            (None, None, pid, Vec::new(), Asked::default())
        }
        (Some(_), _) => return Err(Error::usage("--pid and CONTAINER: choose one")),
        (None, operands) => {
            let found = State::open()?.find(super::the_one("audit", operands)?)?;
            let (process, pid) = found.process()?;
            let members = found.group().processes().unwrap_or_default();
            (Some(found.name.clone()), Some(process), pid, members, what_was_asked(&found.record)?)
        }
    };
    let mut facts = look::look(pid, &members)?;
    if let Some(place) = &asked.group {
        facts.homes = limits::hierarchies_with(place, &facts.machine.mounts);
    }
    if let Some(process) = process.filter(|_| !asked.sysctls.is_empty()) {
        let paths: Vec<String> = asked.sysctls.iter().map(|(path, _)| path.clone()).collect();
        look::sysctls(process.as_fd(), &mut facts, &paths)?;
    }
    let findings = judge::judge(&facts, &asked);
    let subject = show::Subject { name, pid, command: facts.main.name().to_owned() };
    super::print(&print(&subject, &findings, options.quiet))?;
    Ok(u8::from(findings.iter().any(|finding| finding.verdict == Verdict::Breach)))
}

/// The words of an option in a record. Read as they stand there, not by the functions that made the container of them: who audits
/// does not ask who is audited what it meant.
fn words(record: &Record, option: &str) -> Vec<String> {
    record.words(option).into_iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

fn last(record: &Record, option: &str) -> Option<String> {
    words(record, option).pop()
}

/// What a record says was asked for, as rules compare it.
fn what_was_asked(record: &Record) -> Result<Asked> {
    let (run, operands) = asked::recall(record)?;
    let spec = asked::spec(&run, operands)?;
    let privileged = record.get("--privileged").is_some();
    let security = words(record, "--security-opt");
    let security = |key: &str| {
        security.iter().rev().find_map(|word| {
            let rest = word.strip_prefix(key)?;
            if rest.is_empty() { Some("true") } else { rest.strip_prefix(['=', ':']) }
        })
    };
    let number = |option: &str| last(record, option).and_then(|text| text.parse::<u64>().ok());
    let amount = |option: &str| last(record, option).and_then(|text| spec::bytes(&text, option).ok());
    Ok(Asked {
        recorded: true,
        privileged,
        shared: shared(&spec, record),
        ids: ids(&spec, record),
        maps_by_hand: is_mapped_by_hand(record),
        caps: capabilities(privileged, &words(record, "--cap-add"), &words(record, "--cap-drop")),
        new_privileges: security("no-new-privileges") == Some("false"),
        filter: Some(match security("seccomp") {
            Some(word) => word != "unconfined",
            None => !privileged,
        }),
        label: security("apparmor")
            .or(security("label"))
            .map(|word| {
                ["type:", "user:", "role:", "level:"].iter().find_map(|part| word.strip_prefix(part)).unwrap_or(word)
            })
            .filter(|word| !matches!(*word, "unconfined" | "disable"))
            .map(str::to_owned),
        host_root: spec.root == Root::Host,
        root: match &spec.root {
            Root::Host => None,
            Root::Dir(path) => Some(path.clone()),
        },
        read_only: spec.read_only,
        binds: spec
            .volumes
            .iter()
            .map(|volume| Bind {
                // As the kernel shows it: without links.
                from: std::fs::canonicalize(&volume.from).unwrap_or_else(|_| volume.from.clone()),
                to: volume.to.as_path().to_owned(),
                read_only: volume.read_only,
                follows: volume.slave,
            })
            .chain(hosts(&spec, record))
            .collect(),
        devices: words(record, "--device").iter().map(|text| device(text)).collect(),
        device_rules: words(record, "--device-cgroup-rule"),
        ruled: is_ruled(&spec, record),
        memory: amount("--memory"),
        memory_and_swap: amount("--memory-swap"),
        pids: last(record, "--pids-limit").and_then(|text| text.parse().ok()).filter(|n| *n > 0),
        cpu: processors(record),
        cpuset: last(record, "--cpuset-cpus").and_then(|text| parse::numbers(&text)),
        reservation: amount("--memory-reservation"),
        swappiness: number("--memory-swappiness"),
        no_oom_kill: record.get("--oom-kill-disable").is_some(),
        weight: (number("--cpu-shares").filter(|n| *n > 0).map(Weight::Shares))
            .or(number("--cpu-weight").map(Weight::Weight)),
        period: number("--cpu-period").filter(|n| *n > 0),
        mems: last(record, "--cpuset-mems").and_then(|text| parse::numbers(&text)),
        io_weight: number("--blkio-weight").filter(|n| *n > 0),
        io: rates(record),
        group: record.get("cgroup").map(str::to_owned),
        resources: spec.limits.iter().map(|limit| (limit.resource, limit.soft, limit.hard)).collect(),
        environment: spec
            .env
            .iter()
            .map(|pair| {
                String::from_utf8_lossy(pair.to_bytes().split(|b| *b == b'=').next().unwrap_or_default()).into_owned()
            })
            .collect(),
        sysctls: {
            let mut all: Vec<(String, String)> = Vec::new();
            for (path, value) in words(record, "--sysctl").iter().filter_map(|text| parse::sysctl(text)) {
                // The last one counts.
                all.retain(|(other, _)| *other != path);
                all.push((path, value));
            }
            all
        },
    })
}

/// `/etc/hosts` of a container that is on networks, or uses the network of one that is.
fn hosts(spec: &Spec, record: &Record) -> Option<Bind> {
    let of = match &spec.network {
        Network::Joined(_) => record.id().to_owned(),
        Network::Container(other) => State::unswept().ok()?.find(other.as_ref()).ok()?.record.id().to_owned(),
        Network::None | Network::Host => return None,
    };
    let from = network::hosts::file(&of);
    let from = std::fs::canonicalize(&from).unwrap_or(from);
    let there = from.exists();
    there.then(|| Bind { from, to: PathBuf::from("/etc/hosts"), read_only: spec.read_only, follows: false })
}

fn shared(spec: &Spec, record: &Record) -> BTreeSet<&'static str> {
    let all = [
        ("net", !spec.network.is_own()),
        ("pid", spec.host_pid),
        ("ipc", spec.host_ipc),
        ("uts", spec.host_uts),
        ("cgroup", record.get("--cgroupns") == Some("host")),
    ];
    all.into_iter().filter(|(_, asked)| *asked).map(|(kind, _)| kind).collect()
}

fn is_mapped_by_hand(record: &Record) -> bool {
    record.get("--uidmap").is_some() || record.get("--gidmap").is_some()
}

fn ids(spec: &Spec, record: &Record) -> Ids {
    match last(record, "--userns").as_deref() {
        Some("host") => Ids::Host,
        Some("required") => Ids::Own,
        _ if is_mapped_by_hand(record) || sys::euid() != 0 => Ids::Own,
        None if spec.userns == Userns::Host => Ids::Host,
        _ => Ids::OwnIfPossible,
    }
}

/// `--cap-add` and `--cap-drop`, with Docker's meaning: ALL first, then names; who adds ALL may drop single ones, and the other way
/// round. What is dropped is dropped with `--privileged` too.
fn capabilities(privileged: bool, add: &[String], drop: &[String]) -> u64 {
    let named = |list: &[String]| {
        let names = list.iter().flat_map(|text| text.split(',')).map(|name| {
            let upper = name.trim().to_ascii_uppercase();
            upper.strip_prefix("CAP_").map_or(upper.clone(), str::to_owned)
        });
        names.fold((0, false), |(set, all), name| {
            let bit = caps::NAMES.iter().position(|known| *known == name).map_or(0, |n| 1 << n);
            (set | bit, all || name == "ALL")
        })
    };
    let ((add, add_all), (drop, drop_all)) = (named(add), named(drop));
    let base = match (add_all, drop_all) {
        (true, _) => caps::all(),
        (false, true) => 0,
        (false, false) if privileged => caps::all(),
        (false, false) => caps::DEFAULT,
    };
    (base & !drop) | add & if add_all { !drop } else { u64::MAX }
}

/// Thousandths of a processor: `--cpus`, or a quota of a period.
fn processors(record: &Record) -> Option<u64> {
    if let Some(cpus) = last(record, "--cpus") {
        let (whole, part) = cpus.split_once('.').unwrap_or((&cpus, ""));
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let part: u64 = format!("{part:0<3}").get(..3)?.parse().ok()?;
        return whole.checked_mul(1000)?.checked_add(part).filter(|sum| *sum > 0);
    }
    let quota: u64 = last(record, "--cpu-quota")?.parse().ok().filter(|quota| *quota > 0)?;
    let period = last(record, "--cpu-period").and_then(|text| text.parse().ok()).unwrap_or(100_000);
    quota.checked_mul(1000)?.checked_div(period)
}

/// `--device HOST[:INSIDE][:rwm]`: where it is inside, and what may be done with it.
fn device(text: &str) -> (PathBuf, String) {
    let parts: Vec<&str> = text.split(':').collect();
    let outside = parts.first().copied().unwrap_or_default();
    let inside = parts.get(1).filter(|part| part.starts_with('/')).copied().unwrap_or(outside);
    let access = parts.last().filter(|part| !part.starts_with('/')).copied().unwrap_or("rwm");
    (PathBuf::from(inside), access.to_owned())
}

/// Whether device rules must be in force: some were asked for, a device with which not all may be done, or who may mount as
/// root outside could make living nodes.
fn is_ruled(spec: &Spec, record: &Record) -> bool {
    let partly = |(_, access): (PathBuf, String)| !(access.contains('r') && access.contains('w'));
    let mounts = spec.capabilities.all & caps::bit(k::CAP_SYS_ADMIN) != 0
        && ids(spec, record) == Ids::Host
        && sys::euid() == 0;
    record.get("--privileged").is_none()
        && (mounts
            || record.get("--device-cgroup-rule").is_some()
            || words(record, "--device").iter().map(|text| device(text)).any(partly))
}

/// `--device-read-bps PATH:RATE` and its like, by the device's number.
fn rates(record: &Record) -> Vec<(String, &'static str, u64)> {
    const OPTIONS: [(&str, &str); 4] = [
        ("--device-read-bps", "rbps"),
        ("--device-write-bps", "wbps"),
        ("--device-read-iops", "riops"),
        ("--device-write-iops", "wiops"),
    ];
    let mut all: Vec<(String, &'static str, u64)> = Vec::new();
    for (option, way) in OPTIONS {
        for text in words(record, option) {
            let Some((path, rate)) = text.rsplit_once(':') else { continue };
            let Ok(found) = std::fs::metadata(path) else { continue };
            let device = format!("{}:{}", libc::major(found.rdev()), libc::minor(found.rdev()));
            let rate = if rate == "0" { Some(0) } else { spec::bytes(rate, option).ok() };
            all.retain(|(other, by, _)| (other, *by) != (&device, way));
            all.extend(rate.map(|rate| (device, way, rate)));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(add: &[&str], drop: &[&str]) -> u64 {
        let own = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        capabilities(false, &own(add), &own(drop))
    }

    #[test]
    fn capabilities_that_were_asked_for() {
        assert_eq!(set(&[], &[]), caps::DEFAULT);
        assert_eq!(set(&["cap_sys_admin"], &["chown"]), caps::DEFAULT & !1 | 1 << 21);
        assert_eq!(set(&["ALL"], &["CHOWN"]), caps::all() & !1);
        assert_eq!(set(&["CHOWN,KILL"], &["all"]), 1 | 1 << 5);
        assert_eq!(capabilities(true, &[], &["CHOWN".into()]), caps::all() & !1);
        assert_eq!(capabilities(true, &[], &["ALL".into()]), 0);
    }

    #[test]
    fn what_a_record_says() {
        let text = b"ctr 1\nid 0123456789012345678901234567890123456789012345678901234567890123\nroot host\n--volume /a:/b:ro\n\
            --pid host\n--userns host\n--read-only\n--ulimit nofile=10:20\n--env A=b\narg true\n";
        let asked = what_was_asked(&Record::parse(text).unwrap()).unwrap();
        assert!(asked.recorded && asked.host_root && asked.read_only && !asked.privileged);
        assert_eq!((asked.ids, asked.shared.iter().copied().collect::<Vec<_>>()), (Ids::Host, vec!["pid"]));
        assert_eq!((asked.binds[0].to.to_str(), asked.binds[0].read_only), (Some("/b"), true));
        assert_eq!(
            (asked.resources.as_slice(), asked.environment.as_slice()),
            (&[(7, 10, 20)][..], &["A".to_owned()][..])
        );
        let device = |text| {
            let (path, access) = device(text);
            (path.display().to_string(), access)
        };
        assert_eq!(device("/dev/fuse"), ("/dev/fuse".into(), "rwm".into()));
        assert_eq!(device("/dev/fuse:/dev/other:r"), ("/dev/other".into(), "r".into()));
        assert_eq!(device("/dev/fuse:/dev/other"), ("/dev/other".into(), "rwm".into()));
        assert_eq!(device("/dev/fuse:rw"), ("/dev/fuse".into(), "rw".into()));
    }
}
