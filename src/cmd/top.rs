//! `ctr top`: the processes of a container, read from the host's `/proc`. No program of the container is run for it
//! (CVE-2022-1227), and nothing of it is believed but what the kernel says.

use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, OwnedFd};

use linux_raw_sys::general as k;

use crate::cli::Top;
use crate::container::record::{Found, State};
use crate::error::{Doing, Error, Result};
use crate::table;
use crate::{procfs, sys};

/// The clock ticks of `/proc/PID/stat` in a second: `USER_HZ`, 100 on every architecture that matters (time(7)).
const TICKS: u64 = 100;

/// What can be asked for with `-o`.
const FIELDS: [&str; 14] =
    ["user", "uid", "pid", "ppid", "c", "stime", "tty", "time", "cmd", "args", "comm", "rss", "vsz", "stat"];

/// What is shown if nobody says otherwise: ps -ef.
const USUAL: [&str; 8] = ["uid", "pid", "ppid", "c", "stime", "tty", "time", "cmd"];

struct Process {
    pid: u32,
    uid: u32,
    parent: u32,
    state: String,
    tty: u64,
    ticks: u64,
    started: u64,
    rss: u64,
    size: u64,
    name: String,
    command: String,
}

/// The verb.
pub fn top(words: &[OsString]) -> Result<u8> {
    let Some((Top {}, operands)) = super::read::<Top>("top", words)? else { return Ok(0) };
    let Some((word, options)) = operands.split_first() else {
        return Err(Error::usage("no CONTAINER: say which one, for example: ctr top web (ctr ps lists them)"));
    };
    let fields = fields(options)?;
    let found = State::open()?.find(word)?;
    let (_, first) = found.process()?;
    let proc = procfs::open().doing("look at the processes", "/proc")?;
    let mut all: Vec<Process> = pids(&found, &proc, first)?.into_iter().filter_map(|pid| look(&proc, pid)).collect();
    if all.is_empty() {
        return Err(Error::usage(format_args!("{} has just ended", found.name)));
    }
    all.sort_by_key(|process| process.pid);
    let boot = sys::now() / 1_000_000_000;
    let mut text = fields.iter().map(|field| field.to_uppercase()).collect::<Vec<_>>().join("\t") + "\n";
    for process in &all {
        text += &fields.iter().map(|field| cell(process, field, boot)).collect::<Vec<_>>().join("\t");
        text.push('\n');
    }
    super::print(&table::align(&text))?;
    Ok(0)
}

/// The part of ps(1) that says what to show: `-ef`, `aux`, `-o pid,comm`, `-o pid -o comm`.
fn fields(options: &[OsString]) -> Result<Vec<String>> {
    let words: Vec<String> = options.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let mut fields = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let list = match word.as_str() {
            "-ef" | "-e" | "-f" | "-A" | "aux" | "ax" | "-aux" => continue,
            "-o" | "-eo" => words.next().cloned().unwrap_or_default(),
            other => match other
                .strip_prefix("-eo")
                .or_else(|| other.strip_prefix("-o"))
                .or_else(|| other.strip_prefix('o'))
            {
                Some(list) => list.to_owned(),
                None => {
                    return Err(Error::usage(format_args!(
                        "bad option {other:?}: ctr top takes -ef, aux and -o FIELD,…"
                    )));
                }
            },
        };
        for field in list.split(',') {
            if !FIELDS.contains(&field) {
                return Err(Error::usage(format_args!("bad field {field:?}: it is one of {}", FIELDS.join(", "))));
            }
            fields.push(field.to_owned());
        }
    }
    if fields.is_empty() {
        fields = USUAL.map(str::to_owned).to_vec();
    }
    Ok(fields)
}

/// Its processes: those of its control group; without one, those of its pid namespace (and those below it).
fn pids(found: &Found, proc: &OwnedFd, first: u32) -> Result<BTreeSet<u32>> {
    if let Some(all) = found.group().processes().filter(|all| !all.is_empty()) {
        return Ok(all.into_iter().collect());
    }
    let namespace = |pid: u32| -> Option<(u64, u64)> {
        let path = CString::new(format!("{pid}/ns/pid")).ok()?;
        let stat = sys::fstat(sys::openat(proc.as_fd(), &path, k::O_RDONLY, 0).ok()?.as_fd()).ok()?;
        Some((stat.st_dev, stat.st_ino))
    };
    let ours = namespace(std::process::id());
    let theirs = namespace(first).filter(|theirs| Some(*theirs) != ours);
    let mut all = BTreeSet::from([first]);
    let everybody = std::fs::read_dir("/proc").doing("look at the processes", "/proc")?;
    let everybody: BTreeSet<u32> =
        everybody.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    match theirs {
        Some(_) => all.extend(everybody.into_iter().filter(|pid| namespace(*pid) == theirs)),
        // --pid host: whatever descends from the command.
        None => loop {
            let below = |pid: &u32| look(proc, *pid).is_some_and(|process| all.contains(&process.parent));
            let more: Vec<u32> = everybody.iter().filter(|pid| !all.contains(pid)).copied().filter(below).collect();
            if more.is_empty() {
                break;
            }
            all.extend(more);
        },
    }
    Ok(all)
}

fn look(proc: &OwnedFd, pid: u32) -> Option<Process> {
    let file = |name: &str| procfs::read(proc.as_fd(), &CString::new(format!("{pid}/{name}")).ok()?).ok();
    let stat = String::from_utf8_lossy(&file("stat")?).into_owned();
    let (open, close) = (stat.find('(')?, stat.rfind(')')?);
    let name = stat.get(open + 1..close)?.to_owned();
    let rest: Vec<&str> = stat.get(close + 1..)?.split_whitespace().collect();
    let number = |n: usize| rest.get(n).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    let status = String::from_utf8_lossy(&file("status")?).into_owned();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1)?.parse().ok())?;
    let command: Vec<u8> = file("cmdline")?.into_iter().map(|byte| if byte == 0 { b' ' } else { byte }).collect();
    let shown: String =
        String::from_utf8_lossy(&command).trim_end().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    Some(Process {
        pid,
        uid,
        parent: number(1) as u32,
        state: (*rest.first()?).to_owned(),
        tty: number(4),
        ticks: number(11) + number(12),
        started: number(19),
        size: number(20),
        rss: number(21),
        command: if shown.is_empty() { format!("[{name}]") } else { shown },
        name,
    })
}

fn cell(process: &Process, field: &str, boot: u64) -> String {
    let clock = |seconds: u64| format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let age = boot.saturating_sub(process.started / TICKS);
    match field {
        "user" | "uid" => process.uid.to_string(),
        "pid" => process.pid.to_string(),
        "ppid" => process.parent.to_string(),
        "c" => (process.ticks * 100 / TICKS).checked_div(age.max(1)).unwrap_or(0).to_string(),
        // How long it has been there: what time it was then depends on whose clock one believes.
        "stime" => clock(age),
        "tty" => match process.tty {
            0 => "?".to_owned(),
            device => format!("pts/{}", (device & 0xff) | (device >> 12 & 0xf_ff00)),
        },
        "time" => clock(process.ticks / TICKS),
        "rss" => (process.rss * 4).to_string(),
        "vsz" => (process.size >> 10).to_string(),
        "stat" => process.state.clone(),
        "comm" => process.name.clone(),
        _ => process.command.clone(),
    }
}
