//! `ctr start`: containers that were made, or have ended, run (again); and `ctr restart`.

use std::ffi::OsString;

use super::asked;
use crate::cli::{Restart, Start};
use crate::container::client::{self, Session};
use crate::container::record::{Found, Record, State, Status};
use crate::container::spec;
use crate::container::supervisor::{self, Job, Launched};
use crate::container::{control, journal, supervise};
use crate::error::{Doing, Error, Result};
use crate::{sys, tty};

/// The verb.
pub fn start(words: &[OsString]) -> Result<u8> {
    let Some((asked, operands)) = super::read::<Start>("start", words)? else { return Ok(0) };
    if asked.restart_policy {
        return after_boot(&asked, &operands);
    }
    if asked.attach || asked.interactive {
        return attached(&asked, &operands);
    }
    super::each("start", &operands, |state, found| {
        if found.status == Status::Paused {
            return Err(Error::usage(format_args!("{} is paused", found.name))
                .hint(Some(format!("ctr unpause {}", found.name))));
        }
        if found.is_alive() {
            // As Docker has it: what runs is started.
            return Ok(Some(found.name));
        }
        launch_or_find_it_launched(state, found)
    })
}

/// Starts one; that somebody else has done it meanwhile is as good.
fn launch_or_find_it_launched(state: &State, found: Found) -> Result<Option<String>> {
    match launch(state, &found, None) {
        Err(e) if !state.again(&found).is_ok_and(|found| found.is_alive()) => Err(e),
        _ => Ok(Some(found.name)),
    }
}

/// A job from a container's record.
fn job(state: &State, found: &Found) -> Result<(Job, Record)> {
    if found.status == Status::Unreadable {
        return Err(found.unreadable());
    }
    let entry = state.lock(found)?;
    let mut record = entry.record()?;
    if record.look_up().doing(format_args!("see whether {} runs", found.name), "/proc")?.is_some() {
        return Err(Error::usage(format_args!("{} runs already", found.name)));
    }
    if found.group().is_populated() == Some(true) && state.is_copy(found) {
        return Err(Error::usage(format_args!(
            "{} is a copy of a container that runs: both have one id",
            found.name
        ))
        .hint(Some("ctr create makes one of its own")));
    }
    let (asked, operands) = asked::recall(&record)?;
    let spec = asked::spec(&asked, operands)?;
    let care = asked::care(&asked)?;
    record.unset("stopped");
    record.unset("restarts");
    let size = tty::ours().and_then(|fd| sys::window_size(fd).ok());
    let pidfile = asked.pidfile.map(Into::into);
    Ok((Job { entry, record: record.clone(), spec, care, pidfile, trace: false, size }, record))
}

/// Starts one.
pub fn launch(state: &State, found: &Found, attach: Option<u8>) -> Result<Launched> {
    let (job, _) = job(state, found)?;
    supervisor::launch(job, attach)
}

/// With `-a` or `-i`: attached from the first byte on.
fn attached(asked: &Start, operands: &[OsString]) -> Result<u8> {
    let word = super::the_one("start -a", operands)?;
    let keys = asked.detach_keys.as_deref().map_or(Ok(client::KEYS.to_vec()), client::keys)?;
    let state = State::open()?;
    let found = state.find(word)?;
    if found.is_alive() {
        return Err(Error::usage(format_args!("{} runs already", found.name))
            .hint(Some(format!("ctr attach {}", found.name))));
    }
    let terminal = found.record.get("--tty").is_some();
    let input = asked.interactive && found.record.get("--interactive").is_some();
    if terminal && input {
        tty::await_foreground(sys::borrow(0))?;
    }
    let signals = supervise::take_signals()?;
    let flags = control::LOSSLESS | if input { control::INPUT } else { 0 };
    let launched = launch(&state, &found, Some(flags))?;
    let Some(socket) = launched.client else { return Ok(0) };
    let first = (found.record.get("--pid") != Some("host")).then_some(launched.pid);
    let session = Session { socket, name: &found.name, first, terminal, input, proxy: true, owner: false, keys };
    super::run::told(session.run(&signals)?, found.record.id())
}

/// After a boot: everything whose restart policy wants it back. One that fails does not keep the others from starting.
fn after_boot(asked: &Start, operands: &[OsString]) -> Result<u8> {
    if !operands.is_empty() || asked.attach || asked.interactive {
        return Err(Error::usage(
            "--restart-policy starts those that asked for it: it goes with no CONTAINER and no -a",
        ));
    }
    let state = State::open()?;
    let mut all = state.all();
    // As they were made: later ones may need earlier ones.
    all.sort_by(|a, b| a.record.get("created").cmp(&b.record.get("created")));
    let names: Vec<OsString> =
        all.iter().filter(|found| comes_back(found)).map(|found| found.name.clone().into()).collect();
    drop(state);
    if names.is_empty() {
        return Ok(0);
    }
    super::each("start", &names, launch_or_find_it_launched)
}

/// Whether a container that does not run wants to, now that the machine does.
fn comes_back(found: &Found) -> bool {
    if found.held || found.is_running() || found.status == Status::Unreadable {
        return false;
    }
    let stopped = found.record.get("stopped").is_some();
    match found.record.get("--restart").map(spec::restart) {
        Some(Ok(spec::Restart::Always)) => found.status != Status::Created,
        Some(Ok(spec::Restart::UnlessStopped)) => found.status != Status::Created && !stopped,
        // It was running when the machine went down, or it had failed: both are no end of its own.
        Some(Ok(spec::Restart::OnFailure(_))) => {
            !stopped
                && found.status == Status::Exited
                && (found.record.get("lost").is_some() || found.record.get("exit") != Some("0"))
        }
        _ => false,
    }
}

/// `ctr restart`.
pub fn restart(words: &[OsString]) -> Result<u8> {
    let Some((asked, operands)) = super::read::<Restart>("restart", words)? else { return Ok(0) };
    let wish = super::end::Wish::read(asked.time.as_deref(), asked.signal.as_deref())?;
    super::each("restart", &operands, |state, found| {
        if found.record.get("guarded").is_some() {
            return Err(Error::usage(format_args!(
                "{} ends with its ctr run (--rm): it cannot be restarted",
                found.name
            )));
        }
        crate::container::halt::halt(state, &found, wish.of(&found)?)?;
        let again = state.again(&found)?;
        let launched = launch_or_find_it_launched(state, again)?;
        journal::note("restart", &found.record, launched.as_deref(), &[]);
        Ok(launched)
    })
}
