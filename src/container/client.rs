//! Being attached to a container that a supervisor looks after: its output here, our input there, signals passed on, the
//! window's size followed; until it ends, or we leave it by the keys for that.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::control::{self, MOST, ask, tell};
use super::streams::companion;
use super::supervise::Asked;
use crate::error::{Doing, Error, Result};
use crate::sys::{self, PollFd};
use crate::tty;

/// Somebody who is about to be attached.
#[derive(Debug)]
pub struct Session<'a> {
    /// The connection with the supervisor.
    pub socket: OwnedFd,
    /// The container's name.
    pub name: &'a str,
    /// Its process, if it is process 1 of a pid namespace.
    pub first: Option<u32>,
    /// It has a terminal.
    pub terminal: bool,
    /// Our standard input goes there.
    pub input: bool,
    /// Signals are passed on. Otherwise those that end a program end this one, and the container goes on.
    pub proxy: bool,
    /// It is the container's `ctr run`: what happens to our terminal happens to it.
    pub owner: bool,
    /// The keys that leave it.
    pub keys: Vec<u8>,
}

/// How it went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The container has ended, with this exit code.
    Ended(u8),
    /// We left.
    Detached,
    /// Nobody reads our standard output any more.
    Unheard,
    /// The supervisor has gone without a word, or its last words did not fit.
    Lost,
    /// We were ended by this signal, and it goes on.
    Signalled(i32),
}

/// `--detach-keys`: names of keys separated by commas: one letter, or ctrl- and a letter or one of `@[\]^_`.
pub fn keys(text: &str) -> Result<Vec<u8>> {
    let key = |word: &str| match word.as_bytes() {
        [letter] if letter.is_ascii_graphic() => Some(*letter),
        [b'c' | b'C', b't' | b'T', b'r' | b'R', b'l' | b'L', b'-', letter] => match letter.to_ascii_uppercase() {
            control @ b'@'..=b'_' => Some(control & 0x1f),
            _ => None,
        },
        _ => None,
    };
    text.split(',').map(key).collect::<Option<Vec<u8>>>().ok_or_else(|| {
        Error::usage(format_args!("bad --detach-keys {text:?}: it is a list such as ctrl-p,ctrl-q or ctrl-a,d"))
    })
}

/// The keys if nobody says otherwise: Ctrl-P Ctrl-Q.
pub const KEYS: [u8; 2] = [0x10, 0x11];

/// Looks for the keys in what is typed.
#[derive(Debug, Default)]
struct Watch {
    /// How many of them have been seen in a row.
    seen: usize,
}

impl Watch {
    /// What of it is to be passed on, and whether the keys are complete.
    fn pass(&mut self, keys: &[u8], typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len() + keys.len());
        for &byte in typed {
            if keys.get(self.seen) == Some(&byte) {
                self.seen += 1;
                if self.seen == keys.len() {
                    return (passed, true);
                }
                continue;
            }
            // They were not meant.
            passed.extend(keys.iter().take(self.seen));
            self.seen = usize::from(keys.first() == Some(&byte));
            if self.seen == 0 {
                passed.push(byte);
            }
        }
        (passed, false)
    }
}

impl Session<'_> {
    /// Takes part until the end. `signals` were blocked before the container was started.
    pub fn run(self, signals: &OwnedFd) -> Result<Outcome> {
        let mut raw = None;
        if self.terminal {
            self.tell_size();
            if let Some(terminal) = if self.input { Some(sys::borrow(0)) } else { tty::ours() } {
                let how = if self.input { tty::How::Raw } else { tty::How::Output };
                let ourselves =
                    sys::pidfd_open(std::process::id()).doing("get a descriptor of ourselves", "pidfd_open")?;
                // First the companion, then what it is there to undo.
                raw = tty::Raw::remember(terminal).ok().map(|raw| (companion(ourselves.as_raw_fd()), raw, ourselves));
                if let Some((_, raw, _)) = &raw {
                    raw.enter(how).doing("set the terminal up", self.name)?;
                }
            }
        }
        let outcome = self.attend(signals);
        if let Some((companion, raw, _ourselves)) = raw {
            drop(raw);
            if let Some(companion) = companion {
                let _ = sys::pidfd_signal(companion.pidfd.as_fd(), libc::SIGKILL);
                let _ = sys::wait_pidfd(companion.pidfd.as_fd());
            }
        }
        outcome
    }

    fn tell_size(&self) {
        if let Some(size) = tty::ours().and_then(|fd| sys::window_size(fd).ok()) {
            let [a, b] = size.ws_row.to_ne_bytes();
            let [c, d] = size.ws_col.to_ne_bytes();
            let _ = control::send(self.socket.as_fd(), ask::SIZE, &[a, b, c, d]);
        }
    }

    fn attend(&self, signals: &OwnedFd) -> Result<Outcome> {
        let socket = self.socket.as_fd();
        let mut asked = Asked::default();
        let mut watch = Watch::default();
        let mut input_open = self.input;
        // What did not fit yet: towards the container, and of its output.
        let mut typed: Option<(u8, Vec<u8>)> = None;
        let mut shown: Option<(i32, Vec<u8>)> = None;
        let mut message = [0u8; 1 + MOST];
        loop {
            let poll = |fd: i32, events: i16| PollFd { fd, events, revents: 0 };
            let from = if shown.is_some() { 0 } else { libc::POLLIN };
            let to = if typed.is_some() { libc::POLLOUT } else { 0 };
            let mut wanted = [
                poll(signals.as_raw_fd(), libc::POLLIN),
                poll(if from | to == 0 { -1 } else { socket.as_raw_fd() }, from | to),
                poll(if input_open && typed.is_none() { 0 } else { -1 }, libc::POLLIN),
                poll(shown.as_ref().map_or(-1, |(fd, _)| *fd), libc::POLLOUT),
            ];
            match sys::poll(&mut wanted, -1) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => {
                    return Err(e).doing("wait for the container", self.name);
                }
                _ => {}
            }
            if wanted[0].revents != 0 {
                while let Ok(Some(arrived)) = sys::next_signal(signals.as_fd()) {
                    // A guest whose terminal goes away leaves the others theirs.
                    let own = !self.proxy || (arrived.signal == libc::SIGHUP && self.terminal && !self.owner);
                    let ends = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT].contains(&arrived.signal);
                    if own && ends {
                        let _ = control::send(socket, ask::DETACH, &[]);
                        return Ok(Outcome::Signalled(arrived.signal));
                    }
                    self.signal(arrived.signal, &mut asked);
                }
            }
            if let (true, Some((fd, bytes))) = (wanted[3].revents != 0, &mut shown) {
                match sys::write(sys::borrow(*fd), bytes) {
                    Ok(n) => drop(bytes.drain(..n)),
                    Err(e) if again(&e) => {}
                    Err(e) if e.raw_os_error() == Some(libc::EPIPE) => return Ok(Outcome::Unheard),
                    Err(e) => return Err(e).doing("write the container's output", self.name),
                }
                if bytes.is_empty() {
                    shown = None;
                }
            }
            if wanted[1].revents & libc::POLLOUT != 0 {
                typed = typed.take().and_then(|(kind, bytes)| self.type_in(kind, bytes));
            }
            if wanted[1].revents & !libc::POLLOUT != 0 && shown.is_none() {
                match sys::receive(socket, &mut message) {
                    Ok(n) if n > 0 => {
                        let data = message.get(1..n).unwrap_or_default();
                        match message[0] {
                            tell::OUTPUT => shown = Some((1, data.to_vec())),
                            tell::ERROR => shown = Some((2, data.to_vec())),
                            tell::ENDED => return Ok(Outcome::Ended(data.first().copied().unwrap_or(0))),
                            tell::DROPPED => {
                                let bytes = data.try_into().map_or(0, u64::from_ne_bytes);
                                let line = format!(
                                    "ctr: {bytes} bytes of output came too fast to be shown (ctr logs has them)\r\n"
                                );
                                shown = Some((2, line.into_bytes()));
                            }
                            _ => {}
                        }
                    }
                    Err(e) if again(&e) => {}
                    _ => return Ok(Outcome::Lost),
                }
            }
            if wanted[2].revents != 0 {
                let mut buffer = [0u8; MOST];
                match sys::read(sys::borrow(0), &mut buffer) {
                    Ok(n) if n > 0 => {
                        let bytes = buffer.get(..n).unwrap_or_default();
                        let keys: &[u8] = if self.terminal { &self.keys } else { &[] };
                        let (passed, left) = watch.pass(keys, bytes);
                        if left {
                            let _ = control::send(socket, ask::DETACH, &[]);
                            return Ok(Outcome::Detached);
                        }
                        typed = self.type_in(ask::INPUT, passed);
                    }
                    Err(e) if again(&e) => {}
                    _ => {
                        input_open = false;
                        typed = self.type_in(ask::END, Vec::new());
                    }
                }
            }
        }
    }

    /// Sends input; what there was no room for comes back.
    fn type_in(&self, kind: u8, bytes: Vec<u8>) -> Option<(u8, Vec<u8>)> {
        if bytes.is_empty() && kind == ask::INPUT {
            return None;
        }
        match control::send(self.socket.as_fd(), kind, &bytes) {
            Ok(()) if bytes.len() > MOST => self.type_in(kind, bytes.get(MOST..).unwrap_or_default().to_vec()),
            Err(e) if again(&e) => Some((kind, bytes)),
            _ => None,
        }
    }

    fn signal(&self, signal: i32, asked: &mut Asked) {
        if signal == libc::SIGWINCH {
            self.tell_size();
            return;
        }
        if self.proxy {
            asked.pass_on(signal, self.first, self.name, &|signal| {
                let _ = control::send(self.socket.as_fd(), ask::SIGNAL, &[signal as u8]);
            });
        }
    }
}

fn again(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_wherever_they_are_split() {
        let typed = b"abc\x10x\x10\x10\x11rest";
        for cut in 0..typed.len() {
            let mut watch = Watch::default();
            let (first, left) = watch.pass(&KEYS, &typed[..cut]);
            let (second, right) = if left { (Vec::new(), false) } else { watch.pass(&KEYS, &typed[cut..]) };
            assert!(left || right, "{cut}");
            assert_eq!([first, second].concat(), b"abc\x10x\x10", "{cut}");
        }
        assert_eq!(Watch::default().pass(&[], b"\x10\x11"), (b"\x10\x11".to_vec(), false));
    }

    #[test]
    fn keys_by_name() {
        assert_eq!(keys("ctrl-p,ctrl-q").unwrap(), KEYS);
        assert_eq!(keys("ctrl-a,d").unwrap(), [1, b'd']);
        assert_eq!(keys("ctrl-@,ctrl-[").unwrap(), [0, 27]);
        for bad in ["", "ctrl-", "ctrl-1", "alt-x", "ab", ","] {
            assert!(keys(bad).is_err(), "{bad}");
        }
    }
}
