//! The outside of a running container in the foreground: one loop that waits for its end, passes signals on, and moves
//! bytes where the container does not have the caller's own files.
//!
//! Signals are blocked and read from a descriptor, so nothing here is interrupted half-way. The caller's descriptors
//! are left as they are (never made non-blocking: other programs share them).

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::spawn::Born;
use crate::error::{Doing, Result};
use crate::sys::{self, Ended, PollFd};
use crate::{procfs, tty};

/// What is written at once: never blocks on a pipe that `poll` calls writable (`PIPE_BUF`, pipe(7)).
const CHUNK: usize = 4096;

/// The most that can be on its way when the container has ended (`/proc/sys/fs/pipe-max-size`).
const MOST_LEFT: usize = 2 << 20;

/// After how many milliseconds a container is one that lives, and worth a full record.
const MOMENT: i32 = 100;

/// Which of several SIGINT or SIGTERM is taken for "now, at any price".
const INSIST: u32 = 3;

/// Within how many nanoseconds several signals are several tries, for a command that has a handler and may be at it.
const SOON: u64 = 2_000_000_000;

/// How often it was asked to end, and when for the last time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    times: u32,
    last: u64,
}

impl Asked {
    /// Passes a signal on, and sees to it that somebody who means it is heard: process 1 of a pid namespace (`first` is
    /// its number) gets only signals that it has handlers for.
    pub fn pass_on(&mut self, signal: i32, first: Option<u32>, name: &str, deliver: &dyn Fn(i32)) {
        deliver(signal);
        let kill = |why: &str| {
            say(&format!("{why}: killing {name}"));
            deliver(libc::SIGKILL);
        };
        match (signal, first.map_or(Takes::Handles, |pid| takes(pid, signal))) {
            (libc::SIGHUP, Takes::Default) => kill("it has no handler for SIGHUP"),
            (libc::SIGINT | libc::SIGTERM, takes) => {
                let now = sys::now();
                let patient = takes == Takes::Handles && now.saturating_sub(self.last) > SOON;
                *self = Asked { times: if patient { 1 } else { self.times + 1 }, last: now };
                if self.times == 1 && takes != Takes::Handles {
                    say(&format!(
                        "{name} ignores this signal: as PID 1 a program gets only those it has handlers for (ctr run \
                         --init helps); twice more kills it"
                    ));
                }
                if self.times == INSIST {
                    kill("it still runs after three signals");
                }
            }
            _ => {}
        }
    }
}

/// One direction of the bytes.
#[derive(Debug)]
pub struct Pump {
    /// Where bytes come from; gone at its end.
    from: Option<End>,
    /// Where they go; gone when nobody reads any more.
    to: Option<End>,
    buffer: Box<[u8; CHUNK]>,
    start: usize,
    end: usize,
}

/// One end of a pump: ours to close, or the caller's.
#[derive(Debug)]
pub enum End {
    /// One of our own standard descriptors.
    Caller(BorrowedFd<'static>),
    /// A pipe's end or a pty's.
    Ours(OwnedFd),
}

impl End {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            End::Caller(fd) => *fd,
            End::Ours(fd) => fd.as_fd(),
        }
    }
}

fn number(end: Option<&End>) -> RawFd {
    end.map_or(-1, |end| end.fd().as_raw_fd())
}

impl Pump {
    /// A new direction.
    pub fn new(from: End, to: End) -> Pump {
        Pump { from: Some(from), to: Some(to), buffer: Box::new([0; CHUNK]), start: 0, end: 0 }
    }

    /// What to wait for: room to write if there is something to write, otherwise something to read.
    fn wanted(&self) -> PollFd {
        if self.start < self.end {
            PollFd { fd: number(self.to.as_ref()), events: libc::POLLOUT, revents: 0 }
        } else {
            PollFd { fd: number(self.from.as_ref()), events: libc::POLLIN, revents: 0 }
        }
    }

    /// Moves some bytes, now that `poll` says that it can be done. True if it moved any.
    fn step(&mut self) -> bool {
        if self.start < self.end {
            let bytes = self.buffer.get(self.start..self.end).unwrap_or_default();
            match self.to.as_ref().map(|to| sys::write(to.fd(), bytes)) {
                Some(Ok(n)) => {
                    self.start += n;
                    return n > 0;
                }
                Some(Err(e)) if again(&e) => {}
                // Nobody reads any more, or there is no room: the writer shall notice, so its end is closed too.
                Some(Err(e)) => {
                    let heard = !matches!(e.raw_os_error(), Some(libc::EPIPE | libc::EIO));
                    if heard && matches!(self.to, Some(End::Caller(_))) {
                        say(&format!("cannot write its output, the rest of it is lost: {e}"));
                    }
                    self.close();
                }
                None => self.close(),
            }
            return false;
        }
        match self.from.as_ref().map(|from| sys::read(from.fd(), self.buffer.as_mut_slice())) {
            Some(Ok(n)) if n > 0 => {
                (self.start, self.end) = (0, n);
                true
            }
            Some(Err(e)) if again(&e) => false,
            // The end; for a pty that is EIO, when no process has it open any more.
            _ => {
                self.close();
                false
            }
        }
    }

    fn close(&mut self) {
        (self.from, self.to, self.start, self.end) = (None, None, 0, 0);
    }

    /// Whether there is nothing left to be done in this direction.
    fn is_closed(&self) -> bool {
        self.from.is_none()
    }

    /// Moves what is there, until there would be a wait for more; no more than a pipe or a terminal can hold, because
    /// with `--pid host` somebody may still be writing.
    fn drain(&mut self) {
        for _ in 0..2 * MOST_LEFT / CHUNK {
            let mut wanted = [self.wanted()];
            // A reader that has stopped (Ctrl-S) is not waited for for ever.
            let patience = if self.start < self.end { 10_000 } else { 0 };
            let ready = wanted[0].fd >= 0 && sys::poll(&mut wanted, patience).is_ok_and(|n| n > 0);
            if !ready || !self.step() && self.start == self.end {
                return;
            }
        }
    }
}

fn again(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Everything that a running container needs from outside.
#[derive(Debug)]
pub struct Outside {
    /// The signals that were blocked before the container was made.
    pub signals: OwnedFd,
    /// Towards the container (its standard input), if any.
    pub input: Option<Pump>,
    /// From the container.
    pub output: Vec<Pump>,
    /// The container's terminal.
    pub terminal: Option<Terminal>,
    /// The command is process 1 of a pid namespace, to whom signals without a handler do not even arrive.
    pub first: bool,
}

/// The outer end of the container's terminal, and the inner one: while somebody has that open, the outer end does not
/// report an end of the session that is none (a container may close all its descriptors and open /dev/console later).
#[derive(Debug)]
pub struct Terminal {
    /// The pty's master.
    pub outer: OwnedFd,
    /// Its other end, to be held, not used.
    pub _inner: OwnedFd,
}

/// Blocks every signal for good and gives a descriptor to read them from.
pub fn take_signals() -> Result<OwnedFd> {
    // Who ignores SIGCHLD never learns how a child ended. Other signals that our caller ignores (nohup, a shell's
    // background jobs) stay ignored inside, as in any program that is started: `nohup ctr run …` outlives the terminal.
    sys::default_signal(libc::SIGCHLD).doing("set signals up", "sigaction")?;
    sys::block_signals(sys::SignalSet::MAX).doing("block signals", "sigprocmask")?;
    // SIGPIPE stays blocked and unread: a write to a closed pipe is EPIPE then, and that is enough.
    let set = sys::SignalSet::MAX & !sys::signal_bit(libc::SIGPIPE) & !sys::signal_bit(libc::SIGCHLD);
    sys::signalfd(set).doing("listen for signals", "signalfd")
}

/// A pipe that nobody reads is an error of the write, and not a signal that ends us.
pub fn block_broken_pipes() -> Result<()> {
    sys::block_signals(sys::signal_bit(libc::SIGPIPE)).doing("block signals", "sigprocmask")
}

impl Outside {
    /// Stays until the container has ended, and tells how. `settled` is done once it has lived for a moment.
    pub fn run(&mut self, born: &Born, name: &str, settled: &dyn Fn()) -> Result<Ended> {
        let mut asked = Asked::default();
        let mut patience = MOMENT;
        loop {
            let mut wanted = vec![
                PollFd { fd: born.pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 },
                PollFd { fd: self.signals.as_raw_fd(), events: libc::POLLIN, revents: 0 },
            ];
            wanted.extend(self.input.iter().chain(&self.output).map(Pump::wanted));
            match sys::poll(&mut wanted, patience) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => {
                    return Err(e).doing("wait for the container", name);
                }
                Ok(0) => {
                    settled();
                    patience = -1;
                }
                _ => {}
            }
            if wanted[1].revents != 0 {
                while let Ok(Some(arrived)) = sys::next_signal(self.signals.as_fd()) {
                    self.signal(arrived.signal, born, name, &mut asked);
                }
            }
            for (pump, found) in self.input.iter_mut().chain(&mut self.output).zip(wanted.iter().skip(2)) {
                if found.revents != 0 {
                    pump.step();
                }
            }
            if self.terminal.is_some() && self.input.iter().chain(&self.output).any(Pump::is_closed) {
                self.hang_up(born, name);
            }
            if wanted[0].revents != 0 {
                break;
            }
        }
        let ended = sys::wait_pidfd(born.pidfd.as_fd()).doing("learn how the container ended", name)?;
        self.output.iter_mut().for_each(Pump::drain);
        Ok(ended)
    }

    fn signal(&self, signal: i32, born: &Born, name: &str, asked: &mut Asked) {
        if signal == libc::SIGWINCH {
            if let (Some(inside), Some(outside)) = (&self.terminal, tty::ours()) {
                let _ = sys::window_size(outside).and_then(|size| sys::set_window_size(inside.outer.as_fd(), &size));
            }
            return;
        }
        asked.pass_on(signal, self.first.then_some(born.pid), name, &|signal| {
            // It may have just ended; poll will tell.
            let _ = sys::pidfd_signal(born.pidfd.as_fd(), signal);
        });
    }

    /// The caller's terminal is gone, or nobody reads what the container's terminal shows: the container is told the way
    /// terminals do. Its readers get an end, its writers an error, its session SIGHUP; and a PID 1 that has no handler for
    /// that, and so would stay for ever where any other program ends, is killed.
    fn hang_up(&mut self, born: &Born, name: &str) {
        let default = self.first && takes(born.pid, libc::SIGHUP) == Takes::Default;
        (self.input, self.terminal) = (None, None);
        self.output.clear();
        if default {
            kill(born, name, "its terminal is gone");
        }
    }
}

fn kill(born: &Born, name: &str, why: &str) {
    say(&format!("{why}: killing {name}"));
    let _ = sys::pidfd_signal(born.pidfd.as_fd(), libc::SIGKILL);
}

fn say(line: &str) {
    let _ = write!(io::stderr(), "ctr: {line}\r\n");
}

/// What a process does about a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Takes {
    /// It has a handler, or blocks it to read it later; or nobody knows.
    Handles,
    /// It chose to ignore it.
    Ignores,
    /// Nothing: for PID 1 that means that it does not even arrive.
    Default,
}

/// Whether PID 1 of a pid namespace, whose number this is, has something to do with a signal; what arrives at nobody has not.
pub fn hears(pid: u32, signal: i32) -> bool {
    takes(pid, signal) == Takes::Handles
}

fn takes(pid: u32, signal: i32) -> Takes {
    let status = || -> Option<Vec<u8>> {
        let path = std::ffi::CString::new(format!("{pid}/status")).ok()?;
        procfs::read(procfs::open().ok()?.as_fd(), &path).ok()
    };
    let text = String::from_utf8_lossy(&status().unwrap_or_default()).into_owned();
    if text.contains("\nState:\tZ") {
        return Takes::Handles;
    }
    let has = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        u64::from_str_radix(line.trim(), 16).ok().map(|set| set & sys::signal_bit(signal) != 0)
    };
    match (has("SigCgt:"), has("SigBlk:"), has("SigIgn:")) {
        (Some(false), Some(false), Some(true)) => Takes::Ignores,
        (Some(false), Some(false), Some(false)) => Takes::Default,
        _ => Takes::Handles,
    }
}

/// Kills and reaps every process that became ours because its parents are gone (`--pid host`, where no namespace does
/// it). Bounded: a process that forks faster than that is left to the next `kill`.
pub fn reap_orphans() {
    for _ in 0..1000 {
        let Ok(proc) = procfs::open() else { return };
        let Ok(list) = procfs::read(proc.as_fd(), c"thread-self/children") else { return };
        let text = String::from_utf8_lossy(&list).into_owned();
        for pid in text.split_whitespace().filter_map(|word| word.parse().ok()) {
            let _ = sys::kill(pid, libc::SIGKILL);
        }
        match sys::reap() {
            Err(_) => return,
            Ok(Some(_)) => {}
            Ok(None) => {
                let _ = sys::poll(&mut [], 1);
            }
        }
    }
}
