//! `ctr pause` and `ctr unpause`: every process of a container stops where it is, and goes on.

use std::ffi::OsString;

use crate::cli::{Pause, Unpause};
use crate::container::journal;
use crate::container::record::{Found, Status};
use crate::error::{Doing, Error, Result};

/// `ctr pause`.
pub fn pause(words: &[OsString]) -> Result<u8> {
    let Some((Pause {}, operands)) = super::read::<Pause>("pause", words)? else { return Ok(0) };
    super::each("pause", &operands, |_, found| {
        found.process()?;
        if found.status == Status::Paused {
            return Err(Error::usage(format_args!("{} is paused already", found.name)));
        }
        let group = found.group();
        if let Err(e) = group.freeze() {
            let _ = group.thaw();
            return Err(cannot("pause", &found, e));
        }
        if found.living().is_none() {
            // It has ended and been started again meanwhile, and what was frozen is another life of it, just being born perhaps.
            let _ = group.thaw();
            return Err(Error::usage(format_args!("{} has just ended", found.name)));
        }
        journal::note("pause", &found.record, Some(&found.name), &[]);
        Ok(Some(found.name))
    })
}

/// `ctr unpause`.
pub fn unpause(words: &[OsString]) -> Result<u8> {
    let Some((Unpause {}, operands)) = super::read::<Unpause>("unpause", words)? else { return Ok(0) };
    super::each("unpause", &operands, |_, found| {
        found.process()?;
        if found.status != Status::Paused {
            return Err(Error::usage(format_args!("{} is not paused", found.name)));
        }
        found.group().thaw().doing(format_args!("unpause {}", found.name), "cgroup.freeze")?;
        journal::note("unpause", &found.record, Some(&found.name), &[]);
        Ok(Some(found.name))
    })
}

fn cannot(verb: &str, found: &Found, cause: std::io::Error) -> Error {
    let (own, unsupported) = (found.record.get("guarded").is_some(), cause.raw_os_error() == Some(libc::EOPNOTSUPP));
    let hint = match (unsupported, own) {
        (true, true) => {
            "it has no control group, because it runs in the foreground with --rm: leave --rm out, or use -d"
        }
        (true, false) => {
            "it has no control group: ctr doctor says what is mounted (ctr doctor --fix mounts it), then ctr restart"
        }
        _ => return Error::new(format_args!("{verb} {}", found.name), "cgroup.freeze", cause),
    };
    Error::new(format_args!("{verb} {}", found.name), "cgroup.freeze", cause).hint(Some(hint))
}
