//! `ctr inspect`: everything that is known about containers, in Docker's words; and `ctr info`, about ctr itself.

use std::ffi::OsString;
use std::io::Write;

use rootfs::json::Value;

use super::asked;
use crate::cli::{Info, Inspect};
use crate::container::device;
use crate::container::limits;
use crate::container::record::{self, Found, Record, State, Status};
use crate::container::spec::{self, Restart};
use crate::error::{Error, Result};
use crate::template::Template;
use crate::{caps, cgroup, sys};

/// When nothing ever happened, in Docker's words.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The verb.
pub fn inspect(words: &[OsString]) -> Result<u8> {
    let Some((asked, operands)) = super::read::<Inspect>("inspect", words)? else { return Ok(0) };
    if let Some(other) = asked.r#type.as_deref().filter(|kind| *kind != "container") {
        return Err(Error::usage(format_args!("bad --type {other:?}: containers are all that ctr inspects")));
    }
    let template = match asked.format.as_deref() {
        None | Some("" | "json") => None,
        Some(text) => Some(Template::parse(text)?),
    };
    if operands.is_empty() {
        return Err(Error::usage("no CONTAINER: say which one, for example: ctr inspect web (ctr ps -a lists them)"));
    }
    let state = State::open()?;
    let (mut all, mut code) = (Vec::new(), 0);
    for word in &operands {
        match state.find(word).map(|found| describe(&found, asked.size)) {
            Ok(value) => match &template {
                Some(template) => super::print(&(template.render(&value)? + "\n"))?,
                None => all.push(value),
            },
            Err(e) if operands.len() == 1 => return Err(e),
            Err(e) => {
                let _ = writeln!(std::io::stderr(), "ctr: {e}");
                code = 1;
            }
        }
    }
    if template.is_none() {
        let list = Value::List(all);
        let text = if asked.format.as_deref() == Some("json") { list.compact() } else { list.indented() };
        super::print(&(text + "\n"))?;
    }
    Ok(code)
}

fn words(found: &Found, key: &str) -> Value {
    Value::List(found.record.words(key).iter().map(|word| word.to_string_lossy().into_owned().into()).collect())
}

fn describe(found: &Found, size: bool) -> Value {
    let record = &found.record;
    let text = |key: &str| -> Value { record.get(key).unwrap_or_default().into() };
    let has = |key: &str| -> Value { record.get(key).is_some().into() };
    let number = |key: &str| -> Value { record.number::<i64>(key).unwrap_or(0).into() };
    let running = found.is_running();
    let pid = if running { number("pid") } else { 0i64.into() };
    let mut state = vec![
        ("Status", found.status.word().into()),
        ("Running", running.into()),
        ("Paused", (found.status == Status::Paused).into()),
        ("Restarting", (found.status == Status::Restarting).into()),
        ("OOMKilled", has("oom")),
        ("Dead", (found.status == Status::Unreadable).into()),
        ("Pid", pid),
        ("ExitCode", number("exit")),
        ("Signal", number("signal")),
        ("Error", record.get("error").or(found.damage.as_deref()).unwrap_or_default().into()),
        ("Lost", text("lost")),
        ("StartedAt", record.get("started").unwrap_or(NEVER).into()),
        ("FinishedAt", record.get("finished").unwrap_or(NEVER).into()),
    ];
    if let Some(health) = record.get("health") {
        let streak = number("health-failures");
        state.push(("Health", Value::map([("Status", health.into()), ("FailingStreak", streak)])));
    }
    let named = |entries: Vec<(&str, Value)>| {
        Value::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    };
    let (program, arguments) = {
        let mut all: Vec<String> = record
            .words("--entrypoint")
            .into_iter()
            .chain(record.words("arg"))
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let first = if all.is_empty() { String::new() } else { all.remove(0) };
        (first, all)
    };
    let supervisor = Value::map([
        ("Pid", if found.held { number("supervisor") } else { 0i64.into() }),
        ("Alive", found.held.into()),
    ]);
    let mut entries = vec![
        ("Id", record.id().into()),
        ("Created", text("created")),
        ("Path", program.into()),
        ("Args", arguments.into()),
        ("State", named(state)),
        ("Image", text("root")),
        ("Name", format!("/{}", found.name).into()),
        ("RestartCount", number("restarts")),
        ("Driver", "overlay".into()),
        ("Platform", "linux".into()),
        ("LogPath", log_path(found).into()),
        ("StatePath", found.path.display().to_string().into()),
        ("Supervisor", supervisor),
        ("DroppedLogBytes", number("dropped")),
        ("HostConfig", host_config(found)),
        ("Userns", userns(found)),
        ("Mounts", mounts(found)),
        ("Config", config(found)),
        ("NetworkSettings", super::network::settings(found)),
    ];
    if size {
        entries.push(("SizeRw", super::ps::written(found).into()));
    }
    named(entries)
}

/// What root gets who says nothing; an ordinary user has no choice.
fn usual_userns(record: &Record) -> &'static str {
    let privileged = record.get("--privileged").is_some();
    if sys::euid() == 0 && (privileged || spec::DEFAULT_USERNS == spec::Userns::Host) { "host" } else { "auto" }
}

/// Which ids it has, or had when it ran last; and why they are the host's, if they were not to be.
fn userns(found: &Found) -> Value {
    let ranges = |key: &str| {
        let ranges = found.record.get(key).unwrap_or_default().split(',').filter(|range| !range.is_empty());
        Value::List(ranges.map(Value::from).collect())
    };
    Value::map([
        ("Own", found.record.get("uids").is_some().into()),
        ("UidMap", ranges("uids")),
        ("GidMap", ranges("gids")),
        ("Fallback", found.record.get("userns-fallback").unwrap_or_default().into()),
    ])
}

fn log_path(found: &Found) -> String {
    if found.record.get("guarded").is_some() { String::new() } else { found.path.join("log").display().to_string() }
}

fn host_config(found: &Found) -> Value {
    let record = &found.record;
    let text = |key: &str, usual: &str| -> Value { record.get(key).unwrap_or(usual).into() };
    let has = |key: &str| -> Value { record.get(key).is_some().into() };
    let limits = limits::of_record(record).unwrap_or_default();
    let size = |n: Option<u64>| -> Value { n.map_or(0, |n| i64::try_from(n).unwrap_or(-1)).into() };
    let by_cpus = record.get("--cpus").and(limits.quota).filter(|n| *n != u64::MAX);
    let nano = by_cpus.map_or(0, |n| i64::try_from(n.saturating_mul(10_000)).unwrap_or(0));
    let parent = record
        .get("cgroup")
        .and_then(|place| place.rsplit_once('/'))
        .map_or(String::new(), |(up, _)| format!("/{up}"));
    let policy = record.get("--restart").and_then(|text| spec::restart(text).ok()).unwrap_or_default();
    let (name, times) = match policy {
        Restart::No => ("no", 0),
        Restart::OnFailure(times) => ("on-failure", times.unwrap_or(0)),
        Restart::Always => ("always", 0),
        Restart::UnlessStopped => ("unless-stopped", 0),
    };
    let list = |key: &str| -> Vec<String> {
        record.words(key).iter().map(|word| word.to_string_lossy().into_owned()).collect()
    };
    let (cap_add, cap_drop) = caps::shown(&list("--cap-add"), &list("--cap-drop"));
    let devices = list("--device").into_iter().filter_map(|text| device::parse(&text).ok()).map(|device| {
        Value::map([
            ("PathOnHost", device.from.display().to_string().into()),
            ("PathInContainer", device.to.to_string().into()),
            ("CgroupPermissions", device.access.into()),
        ])
    });
    let sysctls = list("--sysctl").into_iter().filter_map(|text| {
        let (key, value) = text.split_once('=')?;
        Some((key.trim().to_owned(), value.trim().into()))
    });
    Value::map([
        ("Binds", words(found, "--volume")),
        ("NetworkMode", super::network::mode(record).into()),
        ("PortBindings", super::network::bindings(record)),
        ("PublishAllPorts", has("--publish-all")),
        ("DnsSearch", words(found, "--dns-search")),
        ("DnsOptions", words(found, "--dns-option")),
        ("RestartPolicy", Value::map([("Name", name.into()), ("MaximumRetryCount", times.into())])),
        ("AutoRemove", has("--rm")),
        ("PidMode", text("--pid", "")),
        ("IpcMode", text("--ipc", "private")),
        ("UTSMode", text("--uts", "")),
        ("UsernsMode", text("--userns", usual_userns(record))),
        ("Privileged", has("--privileged")),
        ("CapAdd", cap_add.into()),
        ("CapDrop", cap_drop.into()),
        ("GroupAdd", words(found, "--group-add")),
        ("Devices", Value::List(devices.collect())),
        ("Sysctls", Value::Map(sysctls.collect())),
        ("ReadonlyRootfs", has("--read-only")),
        ("WritableRoot", has("--rw")),
        ("Init", has("--init")),
        ("ExtraHosts", words(found, "--add-host")),
        ("Dns", words(found, "--dns")),
        ("Ulimits", words(found, "--ulimit")),
        ("SecurityOpt", words(found, "--security-opt")),
        ("Tmpfs", words(found, "--tmpfs")),
        (
            "ShmSize",
            record.get("--shm-size").and_then(|text| spec::bytes(text, "--shm-size").ok()).unwrap_or(64 << 20).into(),
        ),
        ("CgroupParent", parent.into()),
        ("CgroupnsMode", text("--cgroupns", "private")),
        ("Memory", size(limits.memory)),
        ("MemorySwap", size(limits.swap.or(limits.memory.map(|n| n.saturating_mul(2))))),
        ("MemoryReservation", size(limits.reservation)),
        ("MemorySwappiness", limits.swappiness.map_or(Value::Null, Value::from)),
        ("OomKillDisable", limits.no_oom_kill.into()),
        ("NanoCpus", nano.into()),
        ("CpuPeriod", if nano > 0 { 0i64.into() } else { size(limits.period) }),
        ("CpuQuota", if nano > 0 { 0i64.into() } else { size(limits.quota) }),
        ("CpuShares", size(limits.shares)),
        ("CpuWeight", size(limits.weight)),
        ("CpusetCpus", limits.cpus.clone().unwrap_or_default().into()),
        ("CpusetMems", limits.mems.clone().unwrap_or_default().into()),
        ("PidsLimit", limits.pids.map_or(Value::Null, |n| size(Some(n)))),
        ("BlkioWeight", size(limits.blkio_weight)),
        ("BlkioDeviceReadBps", words(found, "--device-read-bps")),
        ("BlkioDeviceWriteBps", words(found, "--device-write-bps")),
        ("BlkioDeviceReadIOps", words(found, "--device-read-iops")),
        ("BlkioDeviceWriteIOps", words(found, "--device-write-iops")),
        ("DeviceCgroupRules", words(found, "--device-cgroup-rule")),
        ("LogConfig", Value::map([("Type", "cri".into()), ("Config", words(found, "--log-opt"))])),
    ])
}

fn mounts(found: &Found) -> Value {
    let Ok(spec) = asked::recall(&found.record).and_then(|(asked, operands)| asked::spec(&asked, operands)) else {
        return Value::List(Vec::new());
    };
    let volumes = spec.volumes.iter().map(|volume| {
        Value::map([
            ("Type", "bind".into()),
            ("Source", volume.from.display().to_string().into()),
            ("Destination", volume.to.to_string().into()),
            ("Mode", if volume.read_only { "ro" } else { "" }.into()),
            ("RW", (!volume.read_only).into()),
            ("Propagation", if volume.slave { "rslave" } else { "rprivate" }.into()),
        ])
    });
    let tmpfs = spec.tmpfs.iter().map(|tmpfs| {
        Value::map([
            ("Type", "tmpfs".into()),
            ("Source", "".into()),
            ("Destination", tmpfs.to.to_string().into()),
            ("Mode", tmpfs.data.to_string_lossy().into_owned().into()),
            ("RW", true.into()),
            ("Propagation", "".into()),
        ])
    });
    Value::List(volumes.chain(tmpfs).collect())
}

fn config(found: &Found) -> Value {
    let record = &found.record;
    let text = |key: &str, usual: &str| -> Value { record.get(key).unwrap_or(usual).into() };
    let has = |key: &str| -> Value { record.get(key).is_some().into() };
    let labels = super::ps::labels(found).into_iter().map(|(key, value)| (key, value.into())).collect();
    let mut entries = vec![
        ("Hostname", text("--hostname", record.short_id())),
        ("User", text("--user", "")),
        ("Tty", has("--tty")),
        ("OpenStdin", has("--interactive")),
        ("Env", words(found, "--env")),
        ("Cmd", words(found, "arg")),
        ("Image", text("root", "")),
        ("WorkingDir", text("--workdir", "/")),
        ("Entrypoint", words(found, "--entrypoint")),
        ("Labels", Value::Map(labels)),
        ("StopSignal", text("--stop-signal", "SIGTERM")),
        ("StopTimeout", record.number::<i64>("--stop-timeout").unwrap_or(10).into()),
    ];
    if let Some(command) = record.words("--health-cmd").pop() {
        let command = command.to_string_lossy().into_owned();
        let time = |key: &str, usual: &str| text(key, usual);
        entries.push((
            "Healthcheck",
            Value::map([
                ("Test", vec!["CMD-SHELL".to_owned(), command].into()),
                ("Interval", time("--health-interval", "30s")),
                ("Timeout", time("--health-timeout", "30s")),
                ("StartPeriod", time("--health-start-period", "0s")),
                ("Retries", record.number::<i64>("--health-retries").unwrap_or(3).into()),
            ]),
        ));
    }
    Value::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// `ctr info`.
pub fn info(words: &[OsString]) -> Result<u8> {
    let Some((asked, operands)) = super::read::<Info>("info", words)? else { return Ok(0) };
    if !operands.is_empty() {
        return Err(Error::usage("ctr info takes no operands: ctr inspect says everything about a container"));
    }
    let all = State::unswept()?.all();
    let count = |status: &[Status]| -> Value {
        all.iter()
            .filter(|found| status.contains(&found.status))
            .count()
            .to_string()
            .parse::<u64>()
            .unwrap_or(0)
            .into()
    };
    let value = Value::map([
        ("ServerVersion", env!("CARGO_PKG_VERSION").into()),
        ("Containers", (all.len() as u64).into()),
        ("ContainersRunning", count(&[Status::Starting, Status::Running])),
        ("ContainersPaused", count(&[Status::Paused])),
        ("ContainersRestarting", count(&[Status::Restarting])),
        ("ContainersStopped", count(&[Status::Created, Status::Exited])),
        ("ContainersUnreadable", count(&[Status::Unreadable])),
        ("ContainersOrphaned", (all.iter().filter(|found| found.is_orphan()).count() as u64).into()),
        ("CtrRootDir", record::lasting_folder().display().to_string().into()),
        ("CtrStateDir", record::folder().display().to_string().into()),
        ("CgroupVersion", cgroup::version().into()),
        ("KernelVersion", sys::kernel_release().unwrap_or_default().into()),
        ("Name", sys::hostname().unwrap_or_default().into()),
        ("NCPU", (std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64).into()),
        ("Rootless", (sys::euid() != 0).into()),
    ]);
    let text = match asked.format.as_deref() {
        None | Some("") => {
            let Value::Map(entries) = &value else { return Ok(0) };
            entries.iter().fold(String::new(), |text, (key, value)| text + key + ": " + &plain(value) + "\n")
        }
        Some("json") => value.compact() + "\n",
        Some(text) => Template::parse(text)?.render(&value)? + "\n",
    };
    super::print(&text)?;
    Ok(0)
}

fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        other => other.compact(),
    }
}
