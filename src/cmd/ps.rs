//! `ctr ps`: the containers there are; and `ctr prune`, which removes those that do not run.

use std::ffi::{CStr, OsString};
use std::io::{BufRead, Write};
use std::os::fd::AsFd;

use rootfs::json::Value;

use crate::cli::{Prune, Ps};
use crate::clock::{self, Time};
use crate::container::record::{Found, State, Status};
use crate::error::{Error, Result};
use crate::filter::Filters;
use crate::table::{self, Column};

/// What rows have, and what stands above it, as Docker calls them.
const COLUMNS: [Column; 14] = [
    Column { field: "ID", header: "CONTAINER ID" },
    Column { field: "Image", header: "IMAGE" },
    Column { field: "Command", header: "COMMAND" },
    Column { field: "CreatedAt", header: "CREATED AT" },
    Column { field: "RunningFor", header: "CREATED" },
    Column { field: "Status", header: "STATUS" },
    Column { field: "State", header: "STATE" },
    Column { field: "Ports", header: "PORTS" },
    Column { field: "Names", header: "NAMES" },
    Column { field: "Size", header: "SIZE" },
    Column { field: "Labels", header: "LABELS" },
    Column { field: "Mounts", header: "MOUNTS" },
    Column { field: "Networks", header: "NETWORKS" },
    Column { field: "Pid", header: "PID" },
];

/// What is shown of it, if nobody says otherwise.
const USUAL: [&str; 7] = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];

/// What `--filter` knows.
const FILTERS: [&str; 10] =
    ["name", "id", "status", "label", "label!", "exited", "health", "ancestor", "before", "since"];

/// How much of a command is shown.
const SHORT: usize = 20;

/// The verb.
pub fn ps(words: &[OsString]) -> Result<u8> {
    let Some((asked, operands)) = super::read::<Ps>("ps", words)? else { return Ok(0) };
    if !operands.is_empty() {
        return Err(Error::usage("ctr ps takes no operands: --filter name=… chooses"));
    }
    let last = match (asked.latest, asked.last.as_deref()) {
        (true, _) => Some(1),
        (_, None | Some("-1")) => None,
        (_, Some(text)) => Some(
            text.parse::<usize>()
                .map_err(|_| Error::usage(format_args!("bad -n {text:?}: it is how many containers to list")))?,
        ),
    };
    let filters = Filters::parse(&asked.filter, &FILTERS)?;
    check(&filters)?;
    let state = State::unswept()?;
    let mut all = state.all();
    newest_first(&mut all);
    let bounds = Bounds::of(&filters, &all)?;
    let by_status = filters.has("status") || filters.has("exited");
    if asked.all || last.is_some() || by_status {
        all.truncate(last.unwrap_or(usize::MAX));
    } else {
        all.retain(Found::is_alive);
    }
    all.retain(|found| matches(found, &filters) && bounds.hold(found));
    if asked.quiet && asked.format.is_none() {
        let ids: String = all.iter().map(|found| shown_id(found, asked.no_trunc) + "\n").collect();
        return super::print(&ids).map(|()| 0);
    }
    let now = clock::now();
    // What it takes to find out is asked for only where it is shown.
    let size = asked.size || asked.format.as_deref().is_some_and(|format| format.contains(".Size"));
    let rows: Vec<Value> = all.iter().map(|found| row(found, now, asked.no_trunc, size)).collect();
    let mut usual = USUAL.to_vec();
    usual.extend(asked.size.then_some("Size"));
    super::print(&table::listing(asked.format.as_deref(), &COLUMNS, &usual, &rows)?)?;
    Ok(0)
}

/// The one that was made last comes first.
fn newest_first(all: &mut [Found]) {
    all.sort_by(|a, b| b.record.get("created").cmp(&a.record.get("created")).then_with(|| a.name.cmp(&b.name)));
}

fn shown_id(found: &Found, whole: bool) -> String {
    match (found.record.id(), whole) {
        ("", _) => "?".to_owned(),
        (id, true) => id.to_owned(),
        _ => found.record.short_id().to_owned(),
    }
}

/// Values that cannot be.
fn check(filters: &Filters) -> Result<()> {
    let known = ["created", "starting", "running", "paused", "restarting", "exited", "dead", "unreadable"];
    if let Some(bad) = filters.values("status").find(|value| !known.contains(value)) {
        return Err(Error::usage(format_args!("bad --filter status={bad}: it is one of {}", known.join(", "))));
    }
    if let Some(bad) = filters.values("exited").find(|value| value.parse::<u8>().is_err()) {
        return Err(Error::usage(format_args!("bad --filter exited={bad}: it is an exit code")));
    }
    let known = ["starting", "healthy", "unhealthy", "none"];
    if let Some(bad) = filters.values("health").find(|value| !known.contains(value)) {
        return Err(Error::usage(format_args!("bad --filter health={bad}: it is one of {}", known.join(", "))));
    }
    Ok(())
}

/// When a container was made, for `before=` and `since=`.
struct Bounds {
    before: Option<String>,
    since: Option<String>,
}

impl Bounds {
    fn of(filters: &Filters, all: &[Found]) -> Result<Bounds> {
        let made = |key: &str| -> Result<Option<String>> {
            let Some(word) = filters.only(key)? else { return Ok(None) };
            let found = all.iter().find(|found| found.name == word || found.record.id().starts_with(word));
            let missing = || Error::usage(format_args!("bad --filter {key}={word}: there is no such container"));
            Ok(found.ok_or_else(missing)?.record.get("created").map(str::to_owned))
        };
        Ok(Bounds { before: made("before")?, since: made("since")? })
    }

    fn hold(&self, found: &Found) -> bool {
        let made = found.record.get("created").unwrap_or_default();
        self.before.as_ref().is_none_or(|before| made < before.as_str())
            && self.since.as_ref().is_none_or(|since| made > since.as_str())
    }
}

/// A container's labels.
pub fn labels(found: &Found) -> Vec<(String, String)> {
    let pair = |label: OsString| {
        let text = label.to_string_lossy().into_owned();
        let (key, value) = text.split_once('=').unwrap_or((&text, ""));
        (key.to_owned(), value.to_owned())
    };
    found.record.words("--label").into_iter().map(pair).collect()
}

fn matches(found: &Found, filters: &Filters) -> bool {
    let labels = labels(found);
    let labels: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let exit = found.record.get("exit").unwrap_or_default();
    filters.matches_part("name", &found.name)
        && filters.matches_start("id", found.record.id())
        && filters.matches_exact("status", found.status.word())
        && (!filters.has("exited") || found.status == Status::Exited && filters.matches_exact("exited", exit))
        && filters.matches_exact("health", found.record.get("health").unwrap_or("none"))
        && filters.matches_part("ancestor", found.record.get("root").unwrap_or_default())
        && filters.matches_label(&labels)
}

/// How long ago something was, in words; a clock that was set back makes it "Less than a second".
fn ago(found: &Found, key: &str, now: Time) -> String {
    let then = found.record.get(key).and_then(|text| clock::parse(text.as_bytes()));
    then.map_or_else(|| "an unknown time".to_owned(), |then| clock::ago(now.since(then)))
}

/// What Docker says in STATUS.
fn status(found: &Found, now: Time) -> String {
    let up = |more: &str| format!("Up {}{more}", ago(found, "started", now));
    let orphan = if found.is_orphan() { " (supervisor was killed)" } else { "" };
    let code = found.record.get("exit").unwrap_or("?");
    match found.status {
        Status::Created => "Created".to_owned(),
        Status::Starting => "Starting".to_owned(),
        Status::Running => match found.record.get("health") {
            Some("starting") => up(&format!(" (health: starting){orphan}")),
            Some(health) => up(&format!(" ({health}){orphan}")),
            None => up(orphan),
        },
        Status::Paused => up(&format!(" (Paused){orphan}")),
        Status::Restarting => format!("Restarting ({code}) {} ago", ago(found, "finished", now)),
        Status::Exited => match found.record.get("lost") {
            Some(why) => format!("Exited (unknown: {why})"),
            None if found.record.get("exit").is_none() => "Exited (unknown: its supervisor was killed)".to_owned(),
            None => format!("Exited ({code}) {} ago", ago(found, "finished", now)),
        },
        Status::Unreadable => format!("Unreadable: {}", found.damage.as_deref().unwrap_or_default()),
    }
}

/// The words of a container's command, as a person would read them.
pub fn command(found: &Found) -> String {
    let words = found.record.words("--entrypoint").into_iter().chain(found.record.words("arg"));
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

fn row(found: &Found, now: Time, whole: bool, size: bool) -> Value {
    let command = command(found);
    let visible: String = command.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let cut = if whole || visible.chars().count() <= SHORT {
        visible
    } else {
        visible.chars().take(SHORT - 1).chain(['…']).collect()
    };
    let labels = labels(found);
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let map = Value::Map(labels.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect());
    let mounts: Vec<String> = found
        .record
        .words("--volume")
        .iter()
        .map(|volume| volume.to_string_lossy().split(':').next().unwrap_or_default().to_owned())
        .collect();
    let text = |key: &str| found.record.get(key).unwrap_or_default().to_owned();
    Value::map([
        ("ID", shown_id(found, whole).into()),
        ("Image", text("root").into()),
        ("Command", format!("\"{cut}\"").into()),
        ("CreatedAt", text("created").into()),
        ("RunningFor", format!("{} ago", ago(found, "created", now)).into()),
        ("Status", status(found, now).into()),
        ("State", found.status.word().into()),
        ("Ports", if found.is_alive() { super::network::shown_ports(&found.record) } else { String::new() }.into()),
        ("Names", found.name.as_str().into()),
        ("Size", if size { human(written(found)) } else { String::new() }.into()),
        ("Labels", pairs.join(",").into()),
        ("Mounts", mounts.join(",").into()),
        ("Networks", super::network::shown_networks(&found.record).into()),
        ("Pid", if found.is_running() { text("pid") } else { String::new() }.into()),
        ("Label", map),
    ])
}

/// How many bytes a container has written to its root, as far as that is on a disk or in the state folder.
pub fn written(found: &Found) -> u64 {
    let in_memory = found.record.get("layer-in-memory").and_then(|id| {
        let layers = crate::container::record::folder().join("layers");
        let dir = std::fs::File::open(layers).ok()?;
        rootfs::usage::bytes(dir.as_fd(), &std::ffi::CString::new(id).ok()?).ok()
    });
    let layer: &CStr = c"layer";
    in_memory.unwrap_or_else(|| {
        found.dir().ok().and_then(|dir| rootfs::usage::bytes(dir.as_fd(), layer).ok()).unwrap_or(0)
    })
}

/// Bytes with a unit of a thousand and three digits, as Docker shows them.
fn human(bytes: u64) -> String {
    let mut unit = 1;
    let mut name = "B";
    for next in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        if bytes / unit < 1000 {
            break;
        }
        unit *= 1000;
        name = next;
    }
    let (whole, part) = (bytes / unit, bytes % unit * 1000 / unit);
    match whole {
        _ if unit == 1 => format!("{bytes}B"),
        0..10 => format!("{whole}.{:02}{name}", part / 10),
        10..100 => format!("{whole}.{}{name}", part / 100),
        _ => format!("{whole}{name}"),
    }
}

/// `ctr prune`.
pub fn prune(words: &[OsString]) -> Result<u8> {
    let Some((asked, operands)) = super::read::<Prune>("prune", words)? else { return Ok(0) };
    if !operands.is_empty() {
        return Err(Error::usage("ctr prune takes no operands: ctr rm removes a container"));
    }
    let filters = Filters::parse(&asked.filter, &["until", "label", "label!"])?;
    let now = clock::now();
    let until = filters.only("until")?.map(|text| clock::parse_when(text, "--filter until", now)).transpose()?;
    if !asked.force {
        let ask = "This will remove all containers that do not run. Go on? [y/N] ";
        let _ = write!(std::io::stderr(), "{ask}");
        let mut answer = String::new();
        let _ = std::io::stdin().lock().read_line(&mut answer);
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Ok(0);
        }
    }
    let state = State::open()?;
    let mut freed = 0;
    let mut code = 0;
    let mut removed = String::new();
    for found in state.all() {
        let labels = labels(&found);
        let labels: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let made = found.record.get("created").and_then(|text| clock::parse(text.as_bytes()));
        let old = until.is_none_or(|until| made.is_some_and(|made| made < until));
        let at_rest = matches!(found.status, Status::Created | Status::Exited) && !found.held;
        if !at_rest || !old || !filters.matches_label(&labels) {
            continue;
        }
        let size = written(&found);
        match super::end::remove(&state, &found, false) {
            Ok(()) => {
                removed.push_str(found.record.id());
                removed.push('\n');
                freed += size;
            }
            Err(e) => {
                let _ = writeln!(std::io::stderr(), "ctr: {e}");
                code = 1;
            }
        }
    }
    if !removed.is_empty() {
        removed = format!("Deleted Containers:\n{removed}\n");
    }
    super::print(&format!("{removed}Total reclaimed space: {}\n", human(freed)))?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_at_a_glance() {
        for (bytes, text) in [(0, "0B"), (999, "999B"), (1000, "1.00kB"), (12_345, "12.3kB"), (123_456_789, "123MB")]
        {
            assert_eq!(human(bytes), text);
        }
    }
}
