//! What ends containers and takes them away: `ctr stop`, `ctr kill`, `ctr rm`, `ctr rename` (the end of a name).

use std::ffi::OsString;

use crate::cli::{Kill, Rename, Rm, Stop};
use crate::container::halt::{self, Halt};
use crate::container::record::{Found, State, Status};
use crate::container::{journal, spec};
use crate::error::{Doing, Error, Result};
use crate::{names, signals, sys};

/// How long, in nanoseconds, `rm -f` tries again what others undo.
const PATIENCE: u64 = 20_000_000_000;

/// What `-t` and `-s` said.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// `-t`, if it was there: seconds, or for ever.
    #[expect(clippy::option_option, reason = "not said, for ever, and so long are three things")]
    time: Option<Option<u64>>,
    /// `-s`.
    signal: Option<i32>,
}

impl Wish {
    /// Reads the two options.
    pub fn read(time: Option<&str>, signal: Option<&str>) -> Result<Wish> {
        Ok(Wish {
            time: time.map(|text| spec::seconds(text, "-t")).transpose()?,
            signal: signal.map(|text| signals::parse(text, "-s")).transpose()?,
        })
    }

    /// What that means for a container, which may have wishes of its own.
    pub fn of(self, found: &Found) -> Result<Halt> {
        let own_signal =
            found.record.get("--stop-signal").map(|text| signals::parse(text, "--stop-signal")).transpose()?;
        let own_time =
            found.record.get("--stop-timeout").map(|text| spec::seconds(text, "--stop-timeout")).transpose()?;
        Ok(Halt {
            signal: self.signal.or(own_signal).unwrap_or(libc::SIGTERM),
            patience: self.time.or(own_time).unwrap_or(Some(spec::STOP_TIMEOUT)),
        })
    }
}

/// `ctr stop`.
pub fn stop(words: &[OsString]) -> Result<u8> {
    let Some((asked, operands)) = super::read::<Stop>("stop", words)? else { return Ok(0) };
    let wish = Wish::read(asked.time.as_deref(), asked.signal.as_deref())?;
    super::each("stop", &operands, |state, found| {
        halt::halt(state, &found, wish.of(&found)?)?;
        Ok(Some(found.name))
    })
}

/// `ctr kill`: a signal; the one that ends it also means that it shall not come back.
pub fn kill(words: &[OsString]) -> Result<u8> {
    let Some((asked, operands)) = super::read::<Kill>("kill", words)? else { return Ok(0) };
    let signal = asked.signal.as_deref().map_or(Ok(libc::SIGKILL), |text| signals::parse(text, "-s"))?;
    super::each("kill", &operands, |_, found| {
        let (process, pid) = found.process()?;
        // Who kills a container does not want it back, as Docker has it.
        let own = Wish { time: None, signal: None };
        if signal == libc::SIGKILL || signal == own.of(&found)?.signal {
            halt::down(&found);
        }
        sys::pidfd_signal(std::os::fd::AsFd::as_fd(&process), signal)
            .doing(format_args!("send {} to {}", signals::name(signal), found.name), pid)?;
        if signal == libc::SIGKILL {
            let group = found.group();
            group.kill();
            let _ = group.thaw();
        }
        journal::note("kill", &found.record, Some(&found.name), &[("signal", signal.to_string())]);
        Ok(Some(found.name))
    })
}

/// `ctr rm`.
pub fn rm(words: &[OsString]) -> Result<u8> {
    let Some((asked, operands)) = super::read::<Rm>("rm", words)? else { return Ok(0) };
    // Docker has it that with -f a container that is not there is no error.
    if asked.force && !operands.is_empty() {
        let state = State::open()?;
        if operands.iter().all(|word| state.find(word).is_err()) {
            if let [one] = operands.as_slice() {
                // Several ids that begin so are an error all the same.
                return match state.find(one) {
                    Err(e) if e.to_string().contains("several") => Err(e),
                    _ => Ok(0),
                };
            }
        }
    }
    super::each("rm", &operands, |state, found| {
        remove(state, &found, asked.force)?;
        Ok(Some(found.name))
    })
}

/// Removes a container; one that runs only by `force`.
pub fn remove(state: &State, found: &Found, force: bool) -> Result<()> {
    if found.is_alive() && !force {
        let hint = format!("ctr stop {0}, or: ctr rm -f {0}", found.name);
        return Err(Error::usage(format_args!("{} is {}", found.name, found.status.word())).hint(Some(hint)));
    }
    if found.status == Status::Unreadable && !force {
        return Err(found.unreadable());
    }
    let end = sys::now() + PATIENCE;
    loop {
        // It may have another name by now, or have been started again.
        let again = state.again(found);
        let found = match &again {
            Ok(found) => found,
            // Removed by its own supervisor (--rm), or by somebody else: it is gone, as was wanted.
            Err(_) if force => return Ok(()),
            Err(_) => found,
        };
        if force {
            halt::kill(state, found)?;
        }
        match state.lock(found) {
            Ok(entry) if !state.is_removable(&entry, found) => {
                if !force || sys::now() > end {
                    return Err(Error::usage(format_args!("{} has just been started", found.name)));
                }
            }
            Err(_) if force && (sys::now() < end || state.again(found).is_err()) => {}
            locked => {
                locked?.remove_all()?;
                break;
            }
        }
    }
    journal::note("destroy", &found.record, Some(&found.name), &[]);
    Ok(())
}

/// `ctr rename`.
pub fn rename(words: &[OsString]) -> Result<u8> {
    let Some((Rename {}, operands)) = super::read::<Rename>("rename", words)? else { return Ok(0) };
    let [word, new] = operands.as_slice() else {
        return Err(Error::usage("ctr rename takes a CONTAINER and its new NAME"));
    };
    let new = new.to_string_lossy().into_owned();
    names::check(&new)?;
    let state = State::open()?;
    let found = state.find(word)?;
    if found.status == Status::Unreadable {
        return Err(found.unreadable());
    }
    if found.name == new {
        return Err(Error::usage(format_args!("{new} has this name already")));
    }
    state.rename(&found, &new)?;
    super::network::renamed(&found, &new);
    journal::note("rename", &found.record, Some(&new), &[("oldName", found.name.clone())]);
    Ok(0)
}
