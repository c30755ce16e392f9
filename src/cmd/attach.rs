//! `ctr attach`: taking part in a container's input and output; and `ctr wait`, which only wants to know how it ends.

use std::ffi::OsString;
use std::os::fd::AsFd;

use crate::cli::{Attach, Wait};
use crate::container::client::{self, Session};
use crate::container::control::{self, MOST, ask, tell};
use crate::container::record::{Found, State, Status};
use crate::container::{streams, supervise};
use crate::error::{Doing, Error, Result};
use crate::{sys, tty};

/// Connects with a container's supervisor.
fn supervisor(found: &Found) -> Result<std::os::fd::OwnedFd> {
    let dir = found.dir()?;
    control::connect(dir.as_fd()).map_err(|cause| {
        let hint = if found.record.get("guarded").is_some() {
            "ctr exec (it belongs to a ctr run --rm in the foreground, which alone has its output)".to_owned()
        } else {
            format!("ctr restart {} (its supervisor was killed; ctr logs has what it wrote before)", found.name)
        };
        Error::new(format_args!("reach the supervisor of {}", found.name), "control", cause).hint(Some(hint))
    })
}

/// `ctr attach`.
pub fn attach(words: &[OsString]) -> Result<u8> {
    let Some((asked, operands)) = super::read::<Attach>("attach", words)? else { return Ok(0) };
    let word = super::the_one("attach", &operands)?;
    let keys = asked.detach_keys.as_deref().map_or(Ok(client::KEYS.to_vec()), client::keys)?;
    let proxy = match asked.sig_proxy.as_deref() {
        None | Some("true" | "1") => true,
        Some("false" | "0") => false,
        Some(other) => return Err(Error::usage(format_args!("bad --sig-proxy {other:?}: it is true or false"))),
    };
    let state = State::open()?;
    let found = state.find(word)?;
    let (_, pid) = found.process()?;
    if found.status == Status::Paused {
        return Err(
            Error::usage(format_args!("{} is paused", found.name)).hint(Some(format!("ctr unpause {}", found.name)))
        );
    }
    let terminal = found.record.get("--tty").is_some();
    let input = found.record.get("--interactive").is_some() && !asked.no_stdin;
    if terminal {
        streams::check_terminal(input)?;
    }
    if terminal && input {
        tty::await_foreground(sys::borrow(0))?;
    }
    let signals = supervise::take_signals()?;
    let socket = supervisor(&found)?;
    control::send(socket.as_fd(), ask::ATTACH, &[if input { control::INPUT } else { 0 }])
        .doing(format_args!("attach to {}", found.name), "control")?;
    let first = (found.record.get("--pid") != Some("host")).then_some(pid);
    let session = Session { socket, name: &found.name, first, terminal, input, proxy, owner: false, keys };
    match session.run(&signals)? {
        client::Outcome::Unheard => Ok(0),
        outcome => super::run::told(outcome, found.record.id()),
    }
}

/// `ctr wait`.
pub fn wait(words: &[OsString]) -> Result<u8> {
    let Some((Wait {}, operands)) = super::read::<Wait>("wait", words)? else { return Ok(0) };
    super::each("wait", &operands, |state, found| until_its_end(state, &found).map(|code| Some(code.to_string())))
}

fn until_its_end(state: &State, found: &Found) -> Result<u8> {
    if found.status == Status::Unreadable {
        return Err(found.unreadable());
    }
    let code = |found: &Found| {
        found.record.number("exit").ok_or_else(|| {
            let why = found.record.get("lost").unwrap_or("nobody was there to see");
            Error::usage(format_args!("nobody knows how {} ended: {why}", found.name))
        })
    };
    if found.status == Status::Created {
        return Err(Error::usage(format_args!("{} was never started", found.name)));
    }
    if !found.held && !found.is_running() {
        return code(found);
    }
    let dir = found.dir()?;
    if let Ok(socket) = control::connect(dir.as_fd()) {
        // One that has just ended does not hear it any more, but has written down how it was.
        let _ = control::send(socket.as_fd(), ask::WAIT, &[]);
        let mut message = [0u8; 1 + MOST];
        while let Some((kind, length)) = control::next(socket.as_fd(), &mut message, -1)
            .doing(format_args!("wait for {}", found.name), "control")?
        {
            if let (tell::ENDED, 1) = (kind, length) {
                return Ok(message[1]);
            }
        }
    } else if let Some((process, _)) = found.living() {
        // Nobody looks after it, or its ctr run does: its end can be seen, not how it was.
        let fd = std::os::fd::AsRawFd::as_raw_fd(&process);
        let mut wanted = [sys::PollFd { fd, events: libc::POLLIN, revents: 0 }];
        sys::poll(&mut wanted, -1).doing(format_args!("wait for {}", found.name), "poll")?;
        // until 6.15: nobody tells those who are not its parent.
        for _ in 0..100 {
            if let Some(ended) = sys::pidfd_ended(process.as_fd()) {
                return Ok(ended.code());
            }
            let _ = sys::poll(&mut [], 1);
        }
    }
    // What is to be written down about it may take a moment.
    loop {
        match state.again(found) {
            Ok(again) if again.is_orphan() => {
                // Its supervisor was killed: only its end can be waited for.
                let Some((process, _)) = again.living() else { return code(&again) };
                let fd = std::os::fd::AsRawFd::as_raw_fd(&process);
                let mut wanted = [sys::PollFd { fd, events: libc::POLLIN, revents: 0 }];
                sys::poll(&mut wanted, -1).doing(format_args!("wait for {}", found.name), "poll")?;
            }
            Ok(again) if again.held || again.is_alive() => {
                let _ = sys::poll(&mut [], 1);
            }
            Ok(again) => return code(&again),
            Err(_) => break,
        }
    }
    code(found)
}
