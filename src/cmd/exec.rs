//! `ctr exec`: another command in a container that runs.

use std::ffi::OsString;
use std::os::fd::AsRawFd;

use super::asked;
use crate::cli::Exec;
use crate::container::enter::{Door, Wish};
use crate::container::facts::Held;
use crate::container::record::State;
use crate::container::seal;
use crate::container::spec;
use crate::container::step::Stdio;
use crate::container::{journal, streams, supervise};
use crate::error::{Doing, Error, Result};
use crate::{sys, tty};

/// The verb. `all` are the words of the whole command line, to execute ourselves again with.
#[inline(never)]
pub fn exec(words: &[OsString], all: &[OsString]) -> Result<u8> {
    // Before anything else is done or read: it would be done twice. But bad words come first, as an error.
    let sealed = seal::seal(all);
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
    let sealed = sealed?;
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
    let wish = Wish {
        command,
        env: own.env.iter().cloned().chain(env).collect(),
        workdir: workdir.unwrap_or(own.workdir),
        user: user.map(str::to_owned),
        privileged: asked.privileged,
        outlives: asked.detach,
        limits: own.limits,
        capabilities: own.capabilities,
        container_privileged: own.privileged,
        groups: own.groups,
        security: own.security,
    };
    let door = Door::look(&found, process, (wish.user.as_deref(), &wish.groups))?;
    if asked.tty && asked.interactive {
        tty::await_foreground(sys::borrow(0))?;
    }
    let signals = supervise::take_signals()?;
    let mut held = Held::default();
    journal::note("exec_start", &found.record, Some(&found.name), &[]);
    let ourselves = sys::pidfd_open(std::process::id()).doing("get a descriptor of ourselves", "pidfd_open")?;
    let from = (sealed, ourselves.as_raw_fd());
    if asked.detach {
        let nothing = streams::Given { stdio: [Stdio::Null; 3], terminal: None };
        door.enter(&found, state.groups(), &wish, &nothing, from, &mut held)?;
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
    let born = door.enter(&found, state.groups(), &wish, &given, from, &mut held)?;
    drop(held);
    let ended = connected.run(&born, ourselves.as_raw_fd(), &found.name, &|| ())?;
    // Our end closes what is open, at no cost.
    std::mem::forget((state, connected, born, ourselves));
    Ok(ended.code())
}
