//! `ctr logs`: what a container has written, from its log files; with `-f` until it ends.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};

use crate::cli::Logs;
use crate::clock;
use crate::container::log::{self, Follow, Wanted};
use crate::container::record::{Found, State};
use crate::container::supervise;
use crate::error::{Error, Result};
use crate::sys;

/// The verb.
pub fn logs(words: &[OsString]) -> Result<u8> {
    let Some((asked, operands)) = super::read::<Logs>("logs", words)? else { return Ok(0) };
    let word = super::the_one("logs", &operands)?;
    let now = clock::now();
    let when = |text: &Option<String>, option: &str| {
        text.as_deref().map(|text| clock::parse_when(text, option, now)).transpose()
    };
    let wanted = Wanted {
        tail: asked.tail.as_deref().map(log::tail).transpose()?.flatten(),
        since: when(&asked.since, "--since")?,
        until: when(&asked.until, "--until")?,
        times: asked.timestamps,
    };
    let state = State::open()?;
    let found = state.find(word)?;
    if found.record.get("guarded").is_some() {
        return Err(Error::usage(format_args!(
            "{} has no log: it runs in the foreground with --rm, and its ctr run has its output",
            found.name
        )));
    }
    // Who reads us may go: that is an error of the write then, and no signal.
    supervise::block_broken_pipes()?;
    let dir = found.dir()?;
    let ended = if asked.follow { until_its_end(&found) } else { None };
    let mut alive = || again(&state, &found);
    let reader = sys::borrow(1);
    let follow = asked.follow.then(|| Follow {
        alive: &mut alive,
        ended: ended.as_ref().map(AsFd::as_fd),
        reader: Some(reader),
    });
    log::show(dir.as_fd(), &wanted, follow, &mut std::io::stdout().lock(), &mut std::io::stderr())?;
    Ok(0)
}

/// What can be waited for: the end of the supervisor, which comes after all restarts; of a container without one, its own.
fn until_its_end(found: &Found) -> Option<OwnedFd> {
    let supervisor =
        found.record.number("supervisor").filter(|_| found.held).and_then(|pid| sys::pidfd_open(pid).ok());
    supervisor.or_else(|| found.living().map(|(process, _)| process))
}

/// Whether there may be more to come.
fn again(state: &State, found: &Found) -> bool {
    state.again(found).is_ok_and(|now| now.is_alive())
}
