//! From the words of `ctr run` and `ctr create` to a [`Spec`]: checked, and nothing of the machine looked at. And what of these
//! words is remembered in a container's record, so that `ctr start` makes the same one again: the options under their own
//! names, with everything settled that depends on where and by whom they were typed.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use argh::{ArgsInfo, FlagInfoKind};

use crate::cgroup::devices::DeviceRule;
use crate::cgroup::limits::Limits;
use crate::cli::{self, Run};
use crate::container::device;
use crate::container::limits;
use crate::container::record::Record;
use crate::container::security;
use crate::container::spec::{self, Care, Health, Mount, Network, Root, Spec, Userns};
use crate::container::sysctl::{self, Space, Sysctl};
use crate::error::{Doing, Error, Result};
use crate::idmap::{self, IdMap};
use crate::network::USUAL;
use crate::network::connect::Join;
use crate::network::hosts::Resolver;
use crate::network::ports;
use crate::{caps, clock, names, signals, sys};

/// Checks the words; looks at nothing but environment and files that were named.
pub fn spec(asked: &Run, mut operands: Vec<OsString>) -> Result<Spec> {
    let root = match &asked.rootfs {
        Some(dir) => Root::Dir(PathBuf::from(dir)),
        None if operands.is_empty() => {
            return Err(Error::usage(
                "no ROOT: say what becomes /, for example: ctr run -it host sh, or: ctr run ./rootfs sh",
            ));
        }
        None => root(&operands.remove(0))?,
    };
    if let Some(program) = asked.entrypoint.as_ref().filter(|p| !p.is_empty()) {
        operands.insert(0, program.into());
    }
    if operands.first().is_none_or(|word| word.is_empty()) {
        return Err(Error::usage("no COMMAND: say what to run after ROOT, for example: ctr run host sh"));
    }
    let only_host = |value: &Option<String>, option: &str| match value.as_deref() {
        None | Some("" | "private") => Ok(false),
        Some("host") => Ok(true),
        Some(other) => Err(Error::usage(format_args!("bad {option} {other:?}: it is host, or left out"))),
    };
    let mut env = Vec::new();
    for path in &asked.env_file {
        let text = std::fs::read_to_string(path).doing("read the --env-file", path)?;
        env.extend(spec::env_file(&text, Path::new(path))?);
    }
    for pair in &asked.env {
        env.extend(spec::env(pair)?);
    }
    let mut volumes = asked.volume.iter().map(|text| spec::volume(text)).collect::<Result<Vec<_>>>()?;
    let mut tmpfs = asked.tmpfs.iter().map(|text| spec::tmpfs(text)).collect::<Result<Vec<_>>>()?;
    for text in &asked.mount {
        match spec::mount(text)? {
            Mount::Volume(volume) => volumes.push(volume),
            Mount::Tmpfs(mount) => tmpfs.push(mount),
        }
    }
    let mut targets: Vec<_> = volumes.iter().map(|v| &v.to).chain(tmpfs.iter().map(|t| &t.to)).collect();
    targets.sort_by_key(|to| to.as_path());
    if let Some((twice, _)) = targets.iter().zip(targets.iter().skip(1)).find(|(one, next)| one == next) {
        return Err(Error::usage(format_args!("two mounts have the same target {twice}")));
    }
    let ids = IdMap::by_hand(&asked.uidmap, &asked.gidmap)?;
    let mut spec = Spec {
        root,
        writable_root: asked.rw,
        read_only: asked.read_only,
        command: spec::command(operands)?,
        env,
        workdir: spec::inside(asked.workdir.as_deref().unwrap_or("/"), "-w")?,
        user: asked.user.clone(),
        name: asked.name.as_ref().map(|name| names::check(name).map(|()| name.clone())).transpose()?,
        hostname: asked.hostname.as_ref().map(|name| spec::hostname(name)).transpose()?,
        interactive: asked.interactive,
        terminal: asked.tty,
        volumes,
        tmpfs,
        network: network(asked)?,
        ports: ports(asked)?,
        host_pid: only_host(&asked.pid, "--pid")?,
        host_ipc: only_host(&asked.ipc, "--ipc")?,
        host_uts: only_host(&asked.uts, "--uts")?,
        userns: match asked.userns.as_deref() {
            // A map by hand is a wish for a user namespace.
            // Who asks for all privileges means those of the host.
            None if sys::euid() == 0 && ids.is_none() && asked.privileged => Userns::Host,
            None if sys::euid() == 0 && ids.is_none() => spec::DEFAULT_USERNS,
            Some("host") => Userns::Host,
            None | Some("auto") => Userns::Auto,
            Some("required") => Userns::Required,
            Some(other) => {
                return Err(Error::usage(format_args!("bad --userns {other:?}: it is auto, required or host")));
            }
        },
        ids,
        hosts: asked.add_host.iter().map(|text| spec::host(text)).collect::<Result<_>>()?,
        resolver: Resolver {
            servers: asked.dns.iter().map(|text| spec::name_server(text)).collect::<Result<_>>()?,
            search: asked.dns_search.iter().map(|text| spec::search(text)).collect::<Result<_>>()?,
            options: asked.dns_option.iter().map(|text| spec::dns_option(text)).collect::<Result<_>>()?,
        },
        limits: ulimits(&asked.ulimit)?,
        shm_size: asked.shm_size.as_deref().map_or(Ok(64 << 20), |text| spec::bytes(text, "--shm-size"))?,
        init: asked.init,
        capabilities: caps::set(&asked.cap_add, &asked.cap_drop, asked.privileged)?,
        privileged: asked.privileged,
        devices: asked.device.iter().map(|text| device::parse(text)).collect::<Result<_>>()?,
        sysctls: Vec::new(),
        groups: asked.group_add.clone(),
        security: security::parse(&asked.security_opt)?,
        resources: resources(asked)?,
        device_rules: asked.device_cgroup_rule.iter().map(|text| DeviceRule::read(text)).collect::<Result<_>>()?,
        cgroup_parent: asked.cgroup_parent.as_deref().map(cgroup_parent).transpose()?,
        host_cgroup: match asked.cgroupns.as_deref() {
            None | Some("" | "private") => false,
            Some("host") => true,
            Some(other) => {
                return Err(Error::usage(format_args!("bad --cgroupns {other:?}: it is private or host")));
            }
        },
    };
    spec.sysctls = sysctls(&asked.sysctl, &spec)?;
    contradictions(&spec, asked)?;
    Ok(spec)
}

/// The networks, and what is wished of the first of them.
fn network(asked: &Run) -> Result<Network> {
    let words: Vec<&str> = asked.network.iter().map(String::as_str).collect();
    let aliases = asked.network_alias.iter().map(|text| spec::alias(text)).collect::<Result<Vec<_>>>()?;
    let of = |text: &Option<String>, option: &str| {
        let bad =
            |text: &String| Error::usage(format_args!("bad {option} {text:?}: it is an address, such as 10.88.0.7"));
        text.as_ref().map(|text| text.parse::<IpAddr>().map_err(|_| bad(text))).transpose()
    };
    let (v4, v6) = (of(&asked.ip, "--ip")?, of(&asked.ip6, "--ip6")?);
    let mac = asked.mac_address.as_deref().map(spec::mac).transpose()?;
    let wishes = [
        (v4.is_some(), "--ip"),
        (v6.is_some(), "--ip6"),
        (mac.is_some(), "--mac-address"),
        (!aliases.is_empty(), "--network-alias"),
        (!asked.publish.is_empty(), "-p"),
        (asked.publish_all, "-P"),
    ];
    let wish = wishes.iter().find_map(|(given, option)| given.then_some(*option));
    let single = |network: Network, word: &str| match (wish, words.len()) {
        (_, 2..) => Err(Error::usage(format_args!("--network {word} goes with no other network"))),
        (Some(option), _) => Err(Error::usage(format_args!(
            "{option} with --network {word}: there is no network of its own to have it on"
        ))),
        _ => Ok(network),
    };
    let usual = words.is_empty();
    if usual && sys::euid() != 0 {
        return single(Network::None, "none (without root there is no other of its own)");
    }
    for word in &words {
        match word.split_once(':') {
            _ if *word == "none" => return single(Network::None, word),
            _ if *word == "host" => return single(Network::Host, word),
            Some(("container", other)) if !other.is_empty() => {
                return single(Network::Container(other.to_owned()), "container:…");
            }
            _ => drop(spec::join(word)?),
        }
        if sys::euid() != 0 {
            return Err(Error::usage(format_args!(
                "--network {word} takes root: bridges belong to the host's network; without root it is none or host"
            )));
        }
    }
    let (v4, v6) = match (v4, v6) {
        (Some(IpAddr::V6(_)), _) => return Err(Error::usage("--ip is for IPv4: --ip6 is for the other")),
        (_, Some(IpAddr::V4(_))) => return Err(Error::usage("--ip6 is for IPv6: --ip is for the other")),
        (v4, v6) => (
            v4.and_then(|v4| if let IpAddr::V4(v4) = v4 { Some(v4) } else { None }),
            v6.and_then(|v6| if let IpAddr::V6(v6) = v6 { Some(v6) } else { None }),
        ),
    };
    let mut joins: Vec<Join> = Vec::new();
    for word in if usual { vec![USUAL] } else { words } {
        let own = spec::join(word)?;
        if joins.iter().any(|join| join.network == own.network) {
            return Err(Error::usage(format_args!("--network {} is there twice", own.network)));
        }
        let first = joins.is_empty();
        let twice = [
            (own.v4.is_some() && v4.is_some(), "--ip"),
            (own.v6.is_some() && v6.is_some(), "--ip6"),
            (own.mac.is_some() && mac.is_some(), "--mac-address"),
        ];
        if let Some((_, option)) = twice.iter().find(|(both, _)| first && *both) {
            return Err(Error::usage(format_args!(
                "{option} and --network {word} say the same in two ways: one is enough"
            )));
        }
        joins.push(Join {
            aliases: own.aliases.iter().chain(&aliases).cloned().collect(),
            v4: own.v4.or(v4.filter(|_| first)),
            v6: own.v6.or(v6.filter(|_| first)),
            mac: own.mac.or(mac.filter(|_| first)),
            usual: usual && wish.is_none(),
            network: own.network,
        });
    }
    Ok(Network::Joined(joins))
}

/// What is to be published.
fn ports(asked: &Run) -> Result<Vec<ports::Wish>> {
    let mut all: Vec<ports::Wish> = Vec::new();
    for text in &asked.publish {
        all.extend(ports::publish(text)?);
    }
    for (n, one) in all.iter().enumerate() {
        let twice = |other: &&ports::Wish| {
            one.host.is_some() && (other.protocol, other.host) == (one.protocol, one.host) && other.at == one.at
        };
        if let Some(other) = all.iter().skip(n + 1).find(twice) {
            let port = other.host.unwrap_or_default();
            return Err(Error::usage(format_args!(
                "-p: the port {port}/{} is published twice",
                other.protocol.name()
            )));
        }
    }
    for text in &asked.expose {
        for (inside, protocol) in ports::expose(text)? {
            let there = all.iter().any(|wish| (wish.inside, wish.protocol) == (inside, protocol));
            if asked.publish_all && !there {
                all.push(ports::Wish { protocol, at: None, host: None, inside });
            }
        }
    }
    Ok(all)
}

/// Every option that limits what the container may use, with what was given for it.
pub fn resource_words(asked: &Run) -> Vec<(&'static str, &String)> {
    let one = [
        ("--memory", &asked.memory),
        ("--memory-swap", &asked.memory_swap),
        ("--memory-reservation", &asked.memory_reservation),
        ("--memory-swappiness", &asked.memory_swappiness),
        ("--cpus", &asked.cpus),
        ("--cpu-period", &asked.cpu_period),
        ("--cpu-quota", &asked.cpu_quota),
        ("--cpu-shares", &asked.cpu_shares),
        ("--cpu-weight", &asked.cpu_weight),
        ("--cpuset-cpus", &asked.cpuset_cpus),
        ("--cpuset-mems", &asked.cpuset_mems),
        ("--pids-limit", &asked.pids_limit),
        ("--blkio-weight", &asked.blkio_weight),
    ];
    let many = [
        ("--device-read-bps", &asked.device_read_bps),
        ("--device-write-bps", &asked.device_write_bps),
        ("--device-read-iops", &asked.device_read_iops),
        ("--device-write-iops", &asked.device_write_iops),
    ];
    let one = one.into_iter().filter_map(|(option, value)| Some((option, value.as_ref()?)));
    one.chain(many.into_iter().flat_map(|(option, values)| values.iter().map(move |value| (option, value)))).collect()
}

fn resources(asked: &Run) -> Result<Limits> {
    let words = resource_words(asked);
    if words.is_empty() && !asked.oom_kill_disable {
        return Ok(Limits::default());
    }
    limits::read(&|option| match option {
        "--oom-kill-disable" => asked.oom_kill_disable.then(String::new).into_iter().collect(),
        _ => words.iter().filter(|(key, _)| *key == option).map(|(_, value)| (*value).clone()).collect(),
    })
}

/// `--cgroup-parent`, without slashes at its ends.
fn cgroup_parent(text: &str) -> Result<String> {
    let path = text.trim_matches('/');
    let odd = |part: &str| matches!(part, "" | "." | "..") || part.chars().any(char::is_control);
    if path.is_empty() || path.split('/').any(odd) {
        return Err(Error::usage(format_args!(
            "bad --cgroup-parent {text:?}: it is a path below the root of the control groups, such as /services"
        )));
    }
    Ok(path.to_owned())
}

/// `--ulimit`s; of two for the same resource the last one wins.
fn ulimits(texts: &[String]) -> Result<Vec<spec::Limit>> {
    let mut limits: Vec<spec::Limit> = Vec::new();
    for text in texts {
        let limit = spec::limit(text)?;
        limits.retain(|earlier| earlier.resource != limit.resource);
        limits.push(limit);
    }
    Ok(limits)
}

/// `--sysctl`s; of two for the same parameter the last one wins.
fn sysctls(texts: &[String], spec: &Spec) -> Result<Vec<Sysctl>> {
    let has = |space| match space {
        Space::Ipc => !spec.host_ipc,
        Space::Network => spec.network.is_own(),
        Space::Uts => !spec.host_uts,
    };
    let mut all: Vec<Sysctl> = Vec::new();
    for text in texts {
        let one = sysctl::parse(text, has)?;
        all.retain(|earlier| earlier.path != one.path);
        all.push(one);
    }
    let usual = sysctl::usual();
    if has(Space::Network) && !all.iter().any(|one| one.path == usual.path) {
        all.push(usual);
    }
    Ok(all)
}

/// ROOT as it was typed.
fn root(word: &OsString) -> Result<Root> {
    if word == "host" {
        return Ok(Root::Host);
    }
    let path = PathBuf::from(word);
    if word.as_bytes().contains(&b'/') || word == "." || word == ".." {
        return Ok(Root::Dir(path));
    }
    let shown = path.display();
    if path.is_dir() {
        return Err(Error::usage(format_args!("bad ROOT {shown}: for the directory of this name write ./{shown}")));
    }
    Err(Error::usage(format_args!(
        "bad ROOT {shown}: it is the word host or a directory with a slash in it, such as ./rootfs (ctr has no images yet)"
    )))
}

/// Wishes that exclude each other.
fn contradictions(spec: &Spec, asked: &Run) -> Result<()> {
    // Otherwise the host's will do.
    let own_ids =
        spec.userns == Userns::Required || spec.ids.is_some() || (spec.userns == Userns::Auto && sys::euid() != 0);
    let rules = [
        (spec.writable_root && spec.root == Root::Host, "--rw and host: the machine's own root is never written to"),
        (spec.writable_root && spec.read_only, "--rw and --read-only: choose one"),
        (
            !spec.privileged && spec.tmpfs.iter().any(|tmpfs| tmpfs.flags & linux_raw_sys::general::MS_NODEV == 0),
            "--tmpfs with dev needs --privileged: device nodes are dead everywhere but in /dev (--device makes one there)",
        ),
        (spec.host_uts && spec.hostname.is_some(), "-h and --uts host: the host's name would change"),
        (own_ids && spec.host_pid, "--pid host needs --userns host: a user namespace sees its own processes only"),
        (
            own_ids && spec.host_ipc,
            "--ipc host needs --userns host: the host's queues belong to another user namespace",
        ),
        (spec.userns == Userns::Host && spec.ids.is_some(), "--userns host and --uidmap or --gidmap: choose one"),
        (
            sys::euid() != 0 && spec.ids.as_ref().is_some_and(|map| !map.is_one()) && !idmap::has_helpers(),
            "--uidmap and --gidmap take root, or newuidmap and newgidmap (package uidmap): without them an ordinary user has one id, his own",
        ),
        (
            spec.userns == Userns::Host && sys::euid() != 0 && !asked.dry_run,
            "--userns host needs root: run ctr as root, or leave the option out",
        ),
        (
            spec.userns != Userns::Host && sys::euid() != 0 && spec.root == Root::Host && !asked.dry_run,
            "host needs root: an ordinary user may run a directory of his own",
        ),
    ];
    match rules.into_iter().find(|(broken, _)| *broken) {
        Some((_, sentence)) => Err(Error::usage(sentence)),
        None => Ok(()),
    }
}

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// What its supervisor is to do beside running the command.
pub fn care(asked: &Run) -> Result<Care> {
    let mut care = Care {
        restart: asked.restart.as_deref().map(spec::restart).transpose()?.unwrap_or_default(),
        remove: asked.rm,
        stop_signal: asked.stop_signal.as_deref().map(|text| signals::parse(text, "--stop-signal")).transpose()?,
        stop_timeout: match asked.stop_timeout.as_deref() {
            Some(text) => spec::seconds(text, "--stop-timeout")?,
            None => Some(spec::STOP_TIMEOUT),
        },
        ..Care::default()
    };
    if care.remove && care.restart != spec::Restart::No {
        return Err(Error::usage("--rm and --restart: a container that comes back is not removed; choose one"));
    }
    for text in asked.log_opt.iter().flat_map(|text| text.split(',')) {
        spec::log_opt(text, &mut care)?;
    }
    for text in &asked.label {
        spec::label(text)?;
    }
    let time = |text: &Option<String>, option: &str, usual: u64| {
        text.as_deref().map_or(Ok(usual), |text| {
            let time = clock::duration(text, option)?;
            Ok(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4))
        })
    };
    let health = Health {
        command: asked.health_cmd.clone().unwrap_or_default(),
        interval: time(&asked.health_interval, "--health-interval", 30 * SECOND)?.max(SECOND / 1000),
        timeout: time(&asked.health_timeout, "--health-timeout", 30 * SECOND)?.max(SECOND / 1000),
        start_period: time(&asked.health_start_period, "--health-start-period", 0)?,
        retries: match asked.health_retries.as_deref() {
            None => 3,
            Some(text) => text.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
                Error::usage(format_args!("bad --health-retries {text:?}: it is a number, 1 at least"))
            })?,
        },
    };
    let others = [&asked.health_interval, &asked.health_timeout, &asked.health_retries, &asked.health_start_period];
    if asked.health_cmd.is_none() && others.iter().any(|other| other.is_some()) {
        return Err(Error::usage("--health-… without --health-cmd: say how to find out"));
    }
    care.health = Some(health).filter(|health| !health.command.is_empty());
    Ok(care)
}

/// Options that are of the moment alone.
const OF_THE_MOMENT: [&str; 7] =
    ["--name", "--detach", "--cidfile", "--trace", "--dry-run", "--detach-keys", "--rootfs"];

/// Whether an option of `run` is a switch; None if there is no such option.
fn is_switch(option: &str) -> Option<bool> {
    let info = Run::get_args_info();
    let flag = info.flags.iter().find(|flag| flag.long == option)?;
    Some(matches!(flag.kind, FlagInfoKind::Switch))
}

/// A relative path is remembered as the whole one, in the words of its option.
fn not_remembered(option: &str, from: &str, whole: &str, separator: char, other: &str) -> Error {
    Error::usage(format_args!(
        "bad {option} {from:?}: it is {whole}, and {option} cannot say a path with {separator:?} in it: use {other}{from}…"
    ))
}

/// Settles what depends on the moment: files of variables and labels are read, `-e KEY` gets its value, paths become
/// absolute.
pub fn settle(options: Vec<String>) -> Result<Vec<String>> {
    let here = || std::env::current_dir().doing("tell where ./ is", "getcwd");
    let path = |text: &str| -> Result<String> {
        if text.starts_with('/') || text.is_empty() {
            return Ok(text.to_owned());
        }
        let joined = here()?.join(text);
        let shown = joined.display().to_string();
        joined.into_os_string().into_string().map_err(|_| Error::usage(format_args!("the path {shown} is not UTF-8")))
    };
    let text = |pair: std::ffi::CString| {
        pair.into_string().map_err(|_| Error::usage("an environment variable is not UTF-8"))
    };
    let mut settled = Vec::new();
    // As everywhere, what is said with -e wins over what is in a file.
    let mut by_hand = Vec::new();
    let mut words = options.into_iter();
    while let Some(option) = words.next() {
        if is_switch(&option) == Some(true) {
            settled.push(option);
            continue;
        }
        let value = words.next().unwrap_or_default();
        let mut add = |value: String| settled.extend([option.clone(), value]);
        match option.as_str() {
            "--env" => by_hand.extend(spec::env(&value)?),
            "--env-file" => {
                let content = std::fs::read_to_string(&value).doing("read the --env-file", &value)?;
                for pair in spec::env_file(&content, Path::new(&value))? {
                    settled.extend(["--env".to_owned(), text(pair)?]);
                }
            }
            "--label-file" => {
                let content = std::fs::read_to_string(&value).doing("read the --label-file", &value)?;
                for line in content.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
                    spec::label(line)?;
                    settled.extend(["--label".to_owned(), line.to_owned()]);
                }
            }
            "--volume" if value.starts_with('.') => {
                let (from, rest) = value.split_once(':').unwrap_or((&value, ""));
                let whole = path(from)?;
                if whole.contains(':') {
                    return Err(not_remembered("-v", from, &whole, ':', "--mount type=bind,source="));
                }
                add(format!("{whole}:{rest}"));
            }
            "--mount" => {
                let word = |word: &str| match word.split_once('=') {
                    Some((key @ ("source" | "src"), from)) if from.starts_with('.') => {
                        let whole = path(from)?;
                        if whole.contains(',') {
                            return Err(not_remembered("--mount", from, &whole, ',', "-v "));
                        }
                        Ok(format!("{key}={whole}"))
                    }
                    _ => Ok(word.to_owned()),
                };
                add(value.split(',').map(word).collect::<Result<Vec<_>>>()?.join(","));
            }
            "--pidfile" | "--cidfile" | "--rootfs" => add(path(&value)?),
            "--security-opt" => add(security::settle(&value)?),
            _ => add(value),
        }
    }
    for pair in by_hand {
        settled.extend(["--env".to_owned(), text(pair)?]);
    }
    Ok(settled)
}

/// The same for ROOT among the operands.
pub fn settle_root(asked: &Run, mut operands: Vec<OsString>) -> Result<Vec<OsString>> {
    if let (None, Some(first)) = (&asked.rootfs, operands.first_mut()) {
        if let Root::Dir(path) = root(first)? {
            *first = std::path::absolute(&path).doing("tell where ROOT is", path.display())?.into_os_string();
        }
    }
    Ok(operands)
}

/// What is remembered of a container that is made with these options (settled ones) and operands.
pub fn remember(id: &str, options: &[String], root: &Root, operands: &[OsString]) -> Result<Record> {
    let mut record = Record::default();
    record.set("id", id);
    record.set("created", clock::now().to_string());
    match root {
        Root::Host => record.set("root", "host"),
        Root::Dir(path) => record.set("root", std::path::absolute(path).doing("tell where ROOT is", path.display())?),
    }
    let mut words = options.iter();
    while let Some(option) = words.next() {
        let value = if is_switch(option) == Some(true) { None } else { words.next() };
        if !OF_THE_MOMENT.contains(&option.as_str()) {
            record.add(option, value.map_or("", |value| value.as_str()));
        }
    }
    for word in operands {
        record.add("arg", word);
    }
    record.set("state", "created");
    Ok(record)
}

/// The words that a record was made from.
pub fn recall(record: &Record) -> Result<(Run, Vec<OsString>)> {
    let unknown = |key: &str| {
        Error::usage(format_args!(
            "the record says {key}, which this ctr does not know: it was written by a newer one"
        ))
    };
    let mut options = Vec::new();
    let mut seen = Vec::new();
    for (key, _) in record.lines().filter(|(key, _)| key.starts_with("--")) {
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let switch = is_switch(key).ok_or_else(|| unknown(key))?;
        for value in record.words(key) {
            options.push(key.to_owned());
            if !switch {
                options.push(value.into_string().map_err(|_| unknown(key))?);
            }
        }
    }
    let root = record.words("root").pop().ok_or_else(|| Error::usage("the record does not say what becomes /"))?;
    let operands = std::iter::once(root).chain(record.words("arg")).collect();
    Ok((cli::parse("run", &options)?, operands))
}

/// The root and the command among the operands, for a record: [`spec()`] takes them apart the same way.
pub fn root_of(asked: &Run, operands: &[OsString]) -> Result<(Root, Vec<OsString>)> {
    if let Some(dir) = &asked.rootfs {
        return Ok((Root::Dir(PathBuf::from(dir)), operands.to_vec()));
    }
    let (first, rest) = operands.split_first().map_or((OsStr::new(""), &[][..]), |(f, r)| (f.as_os_str(), r));
    Ok((root(&first.to_owned())?, rest.to_vec()))
}
