//! `ctr exec`: another command in a container that runs.

use std::ffi::OsString;
use std::os::fd::AsRawFd;

use super::asked;
use crate::cli::Exec;
use crate::container::enter::{self, Door, Wish};
use crate::container::facts::Held;
use crate::container::record::State;
use crate::container::spec;
use crate::container::step::Stdio;
use crate::container::{journal, streams, supervise};
use crate::error::{Doing, Error, Result};
use crate::{sys, tty};

/// The verb. `all` are the words of the whole command line, to execute ourselves again with.
#[inline(never)]
pub fn exec(words: &[OsString], all: &[OsString]) -> Result<u8> {
    let Some((asked, mut operands)) = super::read::<Exec>("exec", words)? else { return Ok(0) };
    if operands.is_empty() {
        return Err(Error::usage("no CONTAINER: say which one, for example: ctr exec -it web sh"));
    }
    let word = operands.remove(0);
    if operands.first().is_none_or(|word| word.is_empty()) {
        return Err(Error::usage("no COMMAND: say what to run, for example: ctr exec -it web sh"));
    }
    if asked.detach && (asked.interactive || asked.tty) {
        return Err(Error::usage("-d and -i or -t: a command in the background has no terminal and no input"));
    }
    // Before anything else is done or read: it would be done twice.
    enter::seal(all)?;
    let mut env = Vec::new();
    for path in &asked.env_file {
        let text = std::fs::read_to_string(path).doing("read the --env-file", path)?;
        env.extend(spec::env_file(&text, std::path::Path::new(path))?);
    }
    for pair in &asked.env {
        env.extend(spec::env(pair)?);
    }
    let workdir = asked.workdir.as_deref().map(|path| spec::inside(path, "-w")).transpose()?;
    let command = spec::command(operands)?;
    if asked.tty {
        streams::check_terminal(asked.interactive)?;
    }
    let state = State::open()?;
    let found = state.find(&word)?;
    let process = found.process()?;

    let (made_with, with_operands) = asked::recall(&found.record)?;
    let own = asked::spec(&made_with, with_operands)?;
    let user = asked.user.as_deref().or(own.user.as_deref());
    let mut wish = Wish {
        command,
        env: own.env.iter().cloned().chain(env).collect(),
        workdir: workdir.unwrap_or(own.workdir),
        user: user.map(str::to_owned),
        privileged: asked.privileged,
        guard: None,
        limits: own.limits,
    };
    let door = Door::look(&found, process, wish.user.as_deref())?;
    if asked.tty && asked.interactive {
        tty::await_foreground(sys::borrow(0))?;
    }
    let signals = supervise::take_signals()?;
    let mut held = Held::default();
    journal::note("exec_start", &found.record, Some(&found.name), &[]);
    if asked.detach {
        door.enter(&found, state.groups(), &wish, [Stdio::Null; 3], None, &mut held)?;
        return Ok(0);
    }
    let wanted = streams::Wanted {
        interactive: asked.interactive,
        terminal: asked.tty,
        owner: door.owner,
        first: false,
        relay: true,
    };
    let (mut connected, given) = streams::connect(wanted, signals, &mut held)?;
    let ourselves = sys::pidfd_open(std::process::id()).doing("get a descriptor of ourselves", "pidfd_open")?;
    wish.guard = Some(ourselves.as_raw_fd());
    let born = door.enter(&found, state.groups(), &wish, given.stdio, given.terminal, &mut held)?;
    drop(held);
    let ended = connected.run(&born, ourselves.as_raw_fd(), &found.name, &|| ())?;
    Ok(ended.code())
}
