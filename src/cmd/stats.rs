//! `ctr stats`: what containers use: read each time from their control groups and from the kernel's count of their network.
//!
//! On a terminal the table is drawn anew once a second, on a screen of its own (as `less` has it) that is given back in the end,
//! whatever ends it but SIGKILL. Anywhere else it is written one after the other; `--no-stream` writes one. What is not counted, because a container has no
//! control group of its own or shares the host's network, is `--`: no number is better than one that is not true.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CString, OsString};
use std::fmt::Write as _;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rootfs::json::Value;

use crate::cgroup::Group;
use crate::cgroup::stat::{self, Counted};
use crate::cli::Stats;
use crate::container::record::{Found, State};
use crate::container::supervise;
use crate::error::{Doing, Result};
use crate::sys::{PollFd, SignalSet};
use crate::table::{self, Column};
use crate::{procfs, sys, tty};

/// What rows have, as Docker calls it; the last two are ours, and the very last one is for who watches.
const COLUMNS: [Column; 11] = [
    Column { field: "BlockIO", header: "BLOCK I/O" },
    Column { field: "CPUPerc", header: "CPU %" },
    Column { field: "Container", header: "CONTAINER" },
    Column { field: "ID", header: "CONTAINER ID" },
    Column { field: "MemPerc", header: "MEM %" },
    Column { field: "MemUsage", header: "MEM USAGE / LIMIT" },
    Column { field: "Name", header: "NAME" },
    Column { field: "NetIO", header: "NET I/O" },
    Column { field: "PIDs", header: "PIDS" },
    Column { field: "Pressure", header: "PRESSURE C/M/I" },
    Column { field: "History", header: "CPU HISTORY" },
];

/// What is shown of it, if nobody says otherwise; and where the history comes, on a terminal.
const USUAL: [&str; 9] = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs", "Pressure"];

const PLACE: usize = 3;

/// What is not known.
const UNKNOWN: &str = "--";

/// Milliseconds from one reading to the next; and to the second one, without which there is no per cent.
const PERIOD: i32 = 1000;
const FIRST: i32 = 500;

/// How many readings a history has.
const HISTORY: usize = 20;

/// An empty screen; and below the last picture, which stays to be read. Nothing that would have to be put back: who is killed cannot do
/// that. A line's rest and a screen's rest are cleared after it was written, not before: nothing flickers.
const ENTER: &str = "\x1b[2J";
const LEAVE: &str = "\r\n";

/// One look at one container.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    /// Nanoseconds.
    at: u64,
    counted: Counted,
    /// Bytes received and sent.
    net: Option<(u64, u64)>,
}

/// What is known of one container from one reading to the next.
#[derive(Debug, Default)]
struct Watched {
    /// Its process; another one is another life.
    pid: u32,
    group: Group,
    last: Reading,
    /// Hundredths of a per cent of one processor.
    cpu: Option<u64>,
    history: VecDeque<u64>,
}

impl Watched {
    fn read(&mut self, proc: BorrowedFd, found: &Found) {
        // The descriptor holds the process's number as long as it lives: what is read is of this one or of nobody.
        let Some((process, pid)) = found.living().filter(|_| found.is_running()) else {
            *self = Watched::default();
            return;
        };
        if pid != self.pid {
            *self = Watched { pid, group: found.group(), ..Watched::default() };
        }
        let now = Reading { at: sys::now(), counted: stat::count(&self.group), net: net(proc, pid) };
        let mut ended = [PollFd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
        if sys::poll(&mut ended, 0).is_ok_and(|n| n > 0) {
            *self = Watched::default();
            return;
        }
        self.cpu = match (self.last.counted.cpu, now.counted.cpu, now.at.checked_sub(self.last.at)) {
            (Some(before), Some(after), Some(passed)) if passed > 0 && self.last.at > 0 => {
                let share = u128::from(after.saturating_sub(before)) * 10_000 / u128::from(passed);
                Some(u64::try_from(share).unwrap_or(u64::MAX))
            }
            _ => None,
        };
        if let Some(cpu) = self.cpu {
            self.history.push_back(cpu);
            if self.history.len() > HISTORY {
                self.history.pop_front();
            }
        }
        self.last = now;
    }

    fn row(&self, found: &Found, machine: u64, whole: bool, ramp: &[char]) -> Value {
        let Counted { memory, most, pids, blocks, pressure, .. } = self.last.counted;
        let limit = most.map_or(machine, |most| most.min(machine));
        let pair = |two: Option<(u64, u64)>| {
            two.map_or_else(|| UNKNOWN.to_owned(), |(one, other)| format!("{} / {}", decimal(one), decimal(other)))
        };
        let share = memory.filter(|_| limit > 0).map(|used| u128::from(used) * 10_000 / u128::from(limit));
        let share = share.and_then(|share| u64::try_from(share).ok());
        let usage = memory.map_or_else(|| UNKNOWN.to_owned(), |used| format!("{} / {}", binary(used), binary(limit)));
        let pressure = if pressure.iter().all(Option::is_none) {
            UNKNOWN.to_owned()
        } else {
            pressure.map(per_cent).join(" / ")
        };
        let id = if whole { found.record.id() } else { found.record.short_id() };
        Value::map([
            ("BlockIO", pair(blocks).into()),
            ("CPUPerc", per_cent(self.cpu).into()),
            ("Container", id.into()),
            ("ID", id.into()),
            ("MemPerc", per_cent(share).into()),
            ("MemUsage", usage.into()),
            ("Name", found.name.as_str().into()),
            ("NetIO", pair(self.last.net).into()),
            ("PIDs", pids.map_or_else(|| UNKNOWN.to_owned(), |n| n.to_string()).into()),
            ("Pressure", pressure.into()),
            ("History", sparkline(&self.history, ramp).into()),
        ])
    }
}

/// What was received and sent over all interfaces but the loopback, if the network is not the host's.
fn net(proc: BorrowedFd, pid: u32) -> Option<(u64, u64)> {
    let path = |rest: &str| CString::new(format!("{pid}/{rest}")).unwrap_or_default();
    let theirs = procfs::namespace(proc, &path("ns/net")).ok()?;
    if procfs::namespace(proc, c"self/ns/net").is_ok_and(|ours| ours == theirs) {
        return None;
    }
    let text = procfs::read(proc, &path("net/dev")).ok()?;
    Some(transferred(&String::from_utf8_lossy(&text)))
}

/// The sums of `/proc/PID/net/dev`: two lines of headings, then an interface a line, received first.
fn transferred(text: &str) -> (u64, u64) {
    let lines = text.lines().skip(2).filter_map(|line| line.split_once(':'));
    lines.filter(|(name, _)| name.trim() != "lo").fold((0, 0), |(received, sent): (u64, u64), (_, numbers)| {
        let number = |n: usize| numbers.split_whitespace().nth(n).and_then(|word| word.parse().ok()).unwrap_or(0);
        (received.saturating_add(number(0)), sent.saturating_add(number(8)))
    })
}

/// Hundredths of a per cent.
fn per_cent(share: Option<u64>) -> String {
    share.map_or_else(|| UNKNOWN.to_owned(), |share| format!("{}.{:02}%", share / 100, share % 100))
}

/// As many digits as count, as Go's `%.4g` and `%.3g` have it, without zeros at the end.
fn sized(bytes: u64, base: u64, units: [&str; 7], digits: usize) -> String {
    let (mut divisor, mut unit) = (1u64, 0);
    while bytes / divisor >= base && unit + 1 < units.len() {
        divisor = divisor.saturating_mul(base);
        unit += 1;
    }
    let after = digits.saturating_sub((bytes / divisor).to_string().len());
    let ten = 10u128.pow(after as u32);
    let value = (u128::from(bytes) * ten + u128::from(divisor) / 2) / u128::from(divisor);
    let mut text = (value / ten).to_string();
    if value % ten != 0 {
        let part = format!("{:0after$}", value % ten);
        let _ = write!(text, ".{}", part.trim_end_matches('0'));
    }
    text + units.get(unit).copied().unwrap_or_default()
}

/// As Docker shows memory.
fn binary(bytes: u64) -> String {
    sized(bytes, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], 4)
}

/// As Docker shows what was transferred.
fn decimal(bytes: u64) -> String {
    sized(bytes, 1000, ["B", "kB", "MB", "GB", "TB", "PB", "EB"], 3)
}

/// A line of small bars, the last reading on the right. The highest of them is the scale, but a tenth of a processor at least.
fn sparkline(history: &VecDeque<u64>, ramp: &[char]) -> String {
    let top = history.iter().copied().max().unwrap_or(0).max(1000);
    let steps = ramp.len().saturating_sub(1) as u64;
    let bar = |share: &u64| {
        let step = (u128::from(*share) * u128::from(steps) + u128::from(top) / 2) / u128::from(top);
        ramp.get(step as usize).or(ramp.last()).copied().unwrap_or(' ')
    };
    // As wide from the beginning as it will be: columns stay where they are.
    let blanks = std::iter::repeat_n(' ', HISTORY.saturating_sub(history.len()));
    blanks.chain(history.iter().map(bar)).collect()
}

/// The characters for that, from nothing to all: as the locale can show them.
fn ramp() -> &'static [char] {
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    let locale = locale.unwrap_or_default().to_ascii_lowercase();
    if locale.contains("utf-8") || locale.contains("utf8") {
        &['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']
    } else {
        &['_', '.', '-', '=', '+', '*', '#']
    }
}

/// The machine's memory.
fn machine(proc: BorrowedFd) -> u64 {
    let text = procfs::read(proc, c"meminfo").unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib.saturating_mul(1024))
}

/// All that is looked at, again and again.
struct Watch {
    proc: OwnedFd,
    machine: u64,
    names: Vec<OsString>,
    all: bool,
    whole: bool,
    ramp: &'static [char],
    format: Option<String>,
    known: BTreeMap<String, Watched>,
    /// The rows of the last reading.
    rows: Vec<Value>,
    /// Whether anything of it runs.
    lives: bool,
}

impl Watch {
    /// Looks once. Containers that were named must be there the first time, and may be gone later.
    fn read(&mut self, first: bool) -> Result<()> {
        let state = State::unswept()?;
        let mut found = Vec::new();
        if self.names.is_empty() {
            found = state.all();
            found.sort_by(|a, b| {
                b.record.get("created").cmp(&a.record.get("created")).then_with(|| a.name.cmp(&b.name))
            });
            found.retain(|found| self.all || found.is_running());
        }
        for word in &self.names {
            match state.find(word) {
                Ok(one) => found.push(one),
                Err(e) if first => return Err(e),
                Err(_) => {}
            }
        }
        let mut before = std::mem::take(&mut self.known);
        self.rows.clear();
        self.lives = found.iter().any(Found::is_alive);
        for found in &found {
            let mut watched = before.remove(found.record.id()).unwrap_or_default();
            watched.read(self.proc.as_fd(), found);
            self.rows.push(watched.row(found, self.machine, self.whole, self.ramp));
            self.known.insert(found.record.id().to_owned(), watched);
        }
        Ok(())
    }

    fn text(&self, live: bool) -> Result<String> {
        let mut usual = USUAL.to_vec();
        let mut columns = &COLUMNS[..];
        if live {
            usual.insert(PLACE, "History");
        } else {
            columns = columns.split_last().map_or(columns, |(_, others)| others);
        }
        table::listing(self.format.as_deref(), columns, &usual, &self.rows)
    }

    /// Whether there is nothing left to be seen: of those that were named, none runs any more.
    fn over(&self) -> bool {
        !self.names.is_empty() && !self.lives
    }
}

/// The verb.
pub fn stats(words: &[OsString]) -> Result<u8> {
    let Some((asked, names)) = super::read::<Stats>("stats", words)? else { return Ok(0) };
    let proc = procfs::open().doing("find /proc", "")?;
    let machine = machine(proc.as_fd());
    let mut watch = Watch {
        proc,
        machine,
        names,
        all: asked.all,
        whole: asked.no_trunc,
        ramp: ramp(),
        format: asked.format,
        known: BTreeMap::new(),
        rows: Vec::new(),
        lives: false,
    };
    // A template that is none is found before anything is waited for.
    watch.text(false)?;
    watch.read(true)?;
    let screen = tty::is_terminal(sys::borrow(1)) && watch.format.as_deref() != Some("json");
    if asked.no_stream || !screen {
        supervise::block_broken_pipes()?;
        let mut wait = FIRST;
        loop {
            // A signal ends us, as any program that writes to a pipe.
            let _ = sys::poll(&mut [], wait);
            watch.read(false)?;
            if !say(&watch.text(false)?)? || asked.no_stream || watch.over() {
                return Ok(0);
            }
            wait = PERIOD;
        }
    }
    live(&mut watch)
}

/// Writes it. False when nobody reads any more.
fn say(text: &str) -> Result<bool> {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        done => done.doing("write to standard output", "").map(|()| true),
    }
}

/// Drawn anew in one place, until a signal ends it.
fn live(watch: &mut Watch) -> Result<u8> {
    let ending = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
    let other = [libc::SIGWINCH, libc::SIGTSTP, libc::SIGPIPE];
    let set: SignalSet = ending.into_iter().chain(other).map(sys::signal_bit).fold(0, |all, bit| all | bit);
    sys::block_signals(set).doing("block signals", "sigprocmask")?;
    let signals = sys::signalfd(set & !sys::signal_bit(libc::SIGPIPE)).doing("listen for signals", "signalfd")?;
    say(ENTER)?;
    let ended = draw_on(watch, &signals);
    // Before anything is said about what went wrong.
    say(LEAVE)?;
    ended
}

/// Until it ends: the exit code.
fn draw_on(watch: &mut Watch, signals: &OwnedFd) -> Result<u8> {
    let mut due = sys::now() + FIRST as u64 * 1_000_000;
    loop {
        if !draw(watch)? || watch.over() {
            return Ok(0);
        }
        while let Some(left) = due.checked_sub(sys::now()).filter(|left| *left > 0) {
            let mut wanted = [PollFd { fd: signals.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
            match sys::poll(&mut wanted, i32::try_from(left / 1_000_000).unwrap_or(PERIOD).saturating_add(1)) {
                Err(e) if e.kind() != std::io::ErrorKind::Interrupted => return Err(e).doing("wait", "poll"),
                _ => {}
            }
            match sys::next_signal(signals.as_fd()).doing("read signals", "signalfd")?.map(|arrived| arrived.signal) {
                None => {}
                Some(libc::SIGWINCH) => {
                    draw(watch)?;
                }
                Some(libc::SIGTSTP) => {
                    say(LEAVE)?;
                    sys::kill(sys::pid() as i32, libc::SIGSTOP).doing("stop", "kill")?;
                    say(ENTER)?;
                    draw(watch)?;
                }
                Some(signal) => return Ok(128u8.saturating_add(signal as u8)),
            }
        }
        watch.read(false)?;
        // Not so many milliseconds after the last one, but after it was due: a history has equal steps.
        due = (due + PERIOD as u64 * 1_000_000).max(sys::now());
    }
}

/// One picture, cut to what the terminal has room for. False when nobody sees it any more.
fn draw(watch: &Watch) -> Result<bool> {
    let size = sys::window_size(sys::borrow(1)).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0);
    let (rows, columns) = size.map_or((24, 80), |size| (usize::from(size.ws_row), usize::from(size.ws_col)));
    say(&picture(&watch.text(true)?, rows, columns))
}

/// Lines for a screen of so many rows and columns: the last one says what there was no room for.
fn picture(text: &str, rows: usize, columns: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let room = if lines.len() > rows { rows.saturating_sub(1) } else { lines.len() };
    let left = lines.len() - room;
    let more = format!("… {left} more: a larger window, or ctr stats CONTAINER…, shows them");
    let mut out = String::from("\x1b[H");
    let shown = lines.iter().copied().take(room).chain((left > 0 && rows > 1).then_some(more.as_str()));
    for (n, line) in shown.enumerate() {
        // No newline after the last one: it would scroll.
        out.push_str(if n > 0 { "\r\n" } else { "" });
        out.extend(line.trim_end().chars().take(columns));
        // In the last column already, this would take the last character away.
        out.push_str(if line.trim_end().chars().count() < columns { "\x1b[K" } else { "" });
    }
    let _ = write!(out, "\x1b[J");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_docker_shows_them() {
        for (bytes, shown) in [
            (0, "0B"),
            (1, "1B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1536, "1.5KiB"),
            (1_300_000, "1.24MiB"),
            (512 << 20, "512MiB"),
            (33_554_432_000, "31.25GiB"),
            (u64::MAX, "16EiB"),
        ] {
            assert_eq!(binary(bytes), shown, "{bytes}");
        }
        for (bytes, shown) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.23kB"),
            (656_000, "656kB"),
            (12_345_678, "12.3MB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(decimal(bytes), shown, "{bytes}");
        }
        assert_eq!(
            (per_cent(Some(5)), per_cent(Some(20_000)), per_cent(None)),
            ("0.05%".into(), "200.00%".into(), "--".into())
        );
    }

    #[test]
    fn interfaces_are_summed_without_the_loopback() {
        let head = "Inter-|   Receive\n face |bytes\n";
        let text = format!(
            "{head}    lo: 5 0 0 0 0 0 0 0 6 0\n  eth0: 100 1 0 0 0 0 0 0 200 2 0\neth1:1 1 1 1 1 1 1 1 2\nodd\nx: y\n"
        );
        assert_eq!(transferred(&text), (101, 202));
        assert_eq!((transferred(""), transferred("\u{fffd}\n\n:")), ((0, 0), (0, 0)));
    }

    #[test]
    fn bars_have_the_highest_as_their_scale() {
        let line = |shares: &[u64], ramp: &str| {
            sparkline(&shares.iter().copied().collect(), &ramp.chars().collect::<Vec<_>>()).trim_start().to_owned()
        };
        assert_eq!(line(&[0, 5000, 10_000], "▁▂▃▄▅▆▇█"), "▁▅█");
        assert_eq!(line(&[0, 10, 20], "_.-=#"), "___");
        assert_eq!(line(&[u64::MAX, 0], "_#"), "#_");
        assert_eq!((line(&[], "_#"), line(&[5], "")), (String::new(), String::new()));
    }

    #[test]
    fn a_picture_keeps_to_the_screen() {
        let text = "one   \ntwo\nthree\n";
        assert_eq!(picture(text, 3, 4), "\x1b[Hone\x1b[K\r\ntwo\x1b[K\r\nthre\x1b[J");
        let cut = picture(text, 2, 80);
        assert!(cut.starts_with("\x1b[Hone\x1b[K\r\n… 2 more") && cut.ends_with("\x1b[J"), "{cut:?}");
        for (rows, columns) in [(0, 0), (1, 1), (2, 1), (1, 80)] {
            let shown = picture(text, rows, columns);
            assert!(shown.matches("\r\n").count() < rows.max(1), "{shown:?}");
        }
        assert_eq!(picture("", 24, 80), "\x1b[H\x1b[J");
    }
}
