//! What a command in the foreground reads and writes: the caller's own files where that is safe, otherwise pipes or a terminal
//! of its own, and somebody who moves the bytes.

use std::os::fd::{AsFd, OwnedFd, RawFd};

use linux_raw_sys::general as k;

use super::facts::Held;
use super::spawn::{self, Born};
use super::step::{Op, Stdio, step};
use super::supervise::{End, Outside, Pump, Terminal};
use crate::error::{Doing, Error, Result};
use crate::{sys, tty};

/// `-t` needs a terminal: that of standard input if it is to be used, otherwise any of the three.
pub fn check_terminal(interactive: bool) -> Result<()> {
    let there = if interactive { tty::is_terminal(sys::borrow(0)) } else { tty::ours().is_some() };
    if there {
        return Ok(());
    }
    Err(Error::usage(if interactive {
        "-it without a terminal: standard input is none (leave -t out to use a pipe)"
    } else {
        "-t without a terminal: none of standard input, output and error is one (leave -t out)"
    }))
}

/// `PIPEFS_MAGIC` (include/uapi/linux/magic.h): pipes that have no name.
const PIPEFS_MAGIC: u64 = 0x5049_5045;

/// What is wanted of them.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Standard input stays open.
    pub interactive: bool,
    /// The command gets a terminal.
    pub terminal: bool,
    /// Whom the command runs as, in the host's numbers.
    pub owner: (u32, u32),
    /// The command is process 1 of a pid namespace.
    pub first: bool,
    /// Pipes of the caller are not handed in either: what the command leaves behind must not keep them open.
    pub relay: bool,
}

/// What the command's output and input are connected with, outside.
#[derive(Debug)]
pub struct Connected {
    outside: Outside,
    /// Where the terminal's other end will arrive.
    arrival: Option<OwnedFd>,
    wanted: Wanted,
}

/// What the command gets.
#[derive(Debug)]
pub struct Given {
    /// Without a terminal: where the three lead.
    pub stdio: [Stdio; 3],
    /// With one: the socket that its other end goes to, and its size.
    pub terminal: Option<(RawFd, Option<k::winsize>)>,
}

/// Decides for each standard descriptor whether the command gets the caller's own file.
///
/// A terminal is never handed in: through it a container could read what is typed next, or type itself (CVE-2017-5226,
/// and /proc/self/fd/1 opened anew for reading). Its bytes go through a pipe. Anything else is the caller's to give.
pub fn connect(wanted: Wanted, signals: OwnedFd, held: &mut Held) -> Result<(Connected, Given)> {
    let mut outside = Outside { signals, input: None, output: Vec::new(), terminal: None, first: wanted.first };
    let null = if wanted.interactive { Stdio::Keep } else { Stdio::Null };
    let mut given = Given { stdio: [null, Stdio::Keep, Stdio::Keep], terminal: None };
    if wanted.terminal {
        let (ours, theirs) = sys::socketpair().doing("make a socket for the terminal", "socketpair")?;
        let size = tty::ours().and_then(|fd| sys::window_size(fd).ok());
        given.terminal = Some((held.keep(theirs), size));
        return Ok((Connected { outside, arrival: Some(ours), wanted }, given));
    }
    let (uid, gid) = wanted.owner;
    for number in 0..3 {
        let caller = sys::borrow(number);
        let place = number as usize;
        if given.stdio[place] != Stdio::Keep {
            continue;
        }
        let found = sys::fstat(caller).doing("look at the standard descriptors", number)?;
        let kind = found.st_mode & k::S_IFMT;
        // Devices of major number 1 are /dev/null and its like.
        let maybe_terminal = kind == k::S_IFCHR && found.st_rdev >> 8 & 0xfff != 1;
        if kind == k::S_IFDIR {
            return Err(Error::usage(format_args!(
                "descriptor {number} is a directory: through it the container would be outside of its root"
            )));
        }
        let pipe = matches!(kind, k::S_IFIFO | k::S_IFSOCK) && number != 0;
        let between = (wanted.relay && pipe) || (maybe_terminal && tty::is_terminal(caller));
        if !between {
            // So that /dev/stdout can be opened inside by who is not root. A nameless pipe is nobody's file; one with a
            // name, or any other file, is the caller's to give (CVE-2026-88265).
            if uid != 0 && kind == k::S_IFIFO && sys::fs_magic(caller).is_ok_and(|magic| magic == PIPEFS_MAGIC) {
                let _ = sys::fchown(caller, uid, gid);
            }
            continue;
        }
        let (read, write) = sys::pipe().doing("make a pipe", "pipe2")?;
        let theirs = if number == 0 {
            sys::set_nonblocking(write.as_fd(), true).doing("set a pipe up", "fcntl")?;
            outside.input = Some(Pump::new(End::Caller(caller), End::Ours(write)));
            read
        } else {
            outside.output.push(Pump::new(End::Ours(read), End::Caller(caller)));
            write
        };
        if uid != 0 {
            let _ = sys::fchown(theirs.as_fd(), uid, gid);
        }
        given.stdio[place] = Stdio::Fd(held.keep(theirs));
    }
    Ok((Connected { outside, arrival: None, wanted }, given))
}

impl Connected {
    /// Stays until the container has ended.
    pub fn run(&mut self, born: &Born, ourselves: RawFd, name: &str, settled: &dyn Fn()) -> Result<sys::Ended> {
        let mut raw = None;
        if let Some(socket) = self.arrival.take() {
            let inside = sys::receive_fd(socket.as_fd()).doing("receive the container's terminal", name)?;
            let dup = || sys::dup(inside.as_fd()).doing("copy the terminal's descriptor", name);
            sys::set_nonblocking(inside.as_fd(), true).doing("set the terminal up", name)?;
            let inner = sys::pty_peer(inside.as_fd()).doing("keep the container's terminal open", name)?;
            // Without -i the terminal stays the caller's, but for what it would do to output that is a terminal's already.
            if let Some(terminal) = if self.wanted.interactive { Some(sys::borrow(0)) } else { tty::ours() } {
                let how = if self.wanted.interactive { tty::How::Raw } else { tty::How::Output };
                // First the companion, then what it is there to undo.
                raw = tty::Raw::remember(terminal).ok().map(|raw| (companion(ourselves), raw));
                if let Some((_, raw)) = &raw {
                    raw.enter(how).doing("set the terminal up", name)?;
                }
            }
            if self.wanted.interactive {
                self.outside.input = Some(Pump::new(End::Caller(sys::borrow(0)), End::Ours(dup()?)));
            }
            self.outside.output.push(Pump::new(End::Ours(dup()?), End::Caller(sys::borrow(1))));
            self.outside.terminal = Some(Terminal { outer: inside, _inner: inner });
        }
        let ended = self.outside.run(born, name, settled);
        if let Some((companion, raw)) = raw {
            drop(raw);
            if let Some(companion) = companion {
                let _ = sys::pidfd_signal(companion.pidfd.as_fd(), libc::SIGKILL);
                let _ = sys::wait_pidfd(companion.pidfd.as_fd());
            }
        }
        ended
    }
}

/// A process that puts the terminal's settings back if we are killed with SIGKILL. None if there can be none: then that
/// case stays to `stty sane`.
pub fn companion(ourselves: RawFd) -> Option<Born> {
    let (terminal, settings) = tty::remembered()?;
    let restore = Op::RestoreTerminal { parent: ourselves, terminal, settings };
    spawn::companion(vec![step("terminal", "the caller's terminal outlives us as it was", vec![restore])]).ok()
}
