//! `ctr update`: other limits for containers. One that runs gets them now, and its supervisor writes them down, so that they hold
//! after a restart; one at rest has them from its next start on.

use std::ffi::OsString;
use std::os::fd::AsFd;

use argh::ArgsInfo;

use crate::cgroup::limits::{Limits, PERIOD};
use crate::cli::{self, Update, VERBS};
use crate::container::control::{self, ask, tell};
use crate::container::limits;
use crate::container::record::{Found, Record, State};
use crate::error::{Doing, Error, Result};
use crate::sys;

/// What a group has of which nothing was said, where the machine's own was not changed (`vm.swappiness`).
const SWAPPINESS: u64 = 60;

/// How long a supervisor may take to write it down, in milliseconds.
const PATIENCE: i32 = 10_000;

/// The verb.
pub fn update(words: &[OsString]) -> Result<u8> {
    let line = cli::split(&Update::get_args_info(), words, false)?;
    if line.help {
        VERBS.iter().filter(|verb| verb.name == "update").try_for_each(|verb| super::print(&cli::help(verb)))?;
        return Ok(0);
    }
    let pairs: Vec<(String, String)> =
        line.options.chunks_exact(2).filter_map(|pair| Some((pair.first()?.clone(), pair.get(1)?.clone()))).collect();
    if pairs.is_empty() {
        return Err(Error::usage(
            "nothing to change: say what, for example: ctr update -m 512m web (see ctr update --help)",
        ));
    }
    if let Some((option, value)) = pairs.iter().find(|(_, value)| value.contains(char::is_control)) {
        return Err(Error::usage(format_args!("bad {option} {value:?}: it has a control character in it")));
    }
    super::each("update", &line.operands, |state, found| {
        one(state, &found, &pairs)?;
        Ok(Some(found.name))
    })
}

/// What a record says once these options have replaced its own.
fn changed(record: &Record, pairs: &[(String, String)]) -> Record {
    let mut record = record.clone();
    pairs.iter().flat_map(|(option, _)| limits::replaced_by(option)).for_each(|old| record.unset(old));
    for (option, value) in pairs {
        record.add(option, value);
    }
    record
}

fn one(state: &State, found: &Found, pairs: &[(String, String)]) -> Result<()> {
    if found.damage.is_some() {
        return Err(found.unreadable());
    }
    let before = limits::of_record(&found.record)?;
    let after = changed(&found.record, pairs);
    let wanted = limits::of_record(&after)?;
    limits::check(&wanted)?;
    if !found.is_alive() {
        let entry = state.lock(found)?;
        let now = changed(&entry.record()?, pairs);
        return entry.save(&now);
    }
    let mut group = found.record.group();
    if found.is_running() {
        if !group.exists() {
            let foreground = found.record.get("guarded").is_some();
            let why = if foreground { " (it runs in the foreground with --rm and was given no limit)" } else { "" };
            return Err(Error::usage(format_args!(
                "{} has no control group{why}: its limits cannot be changed",
                found.name
            )));
        }
        group.extend(&wanted.controllers())?;
        let undo = limits::change(&group, &live(&before, &wanted))?;
        return keep(state, found, pairs).inspect_err(|_| undo.undo());
    }
    keep(state, found, pairs)
}

/// What must be written to get from one to the other: all that is wanted, and what is usual for what is named no more.
fn live(before: &Limits, wanted: &Limits) -> Limits {
    let mut limits = wanted.clone();
    for old in &before.throttles {
        let same = |new: &crate::cgroup::limits::Throttle| {
            (&new.device, new.write, new.operations) == (&old.device, old.write, old.operations)
        };
        if !limits.throttles.iter().any(same) {
            limits.throttles.push(crate::cgroup::limits::Throttle { rate: 0, ..old.clone() });
        }
    }
    let back = |old: Option<u64>, new: &mut Option<u64>, usual: u64| {
        if old.is_some() && new.is_none() {
            *new = Some(usual);
        }
    };
    back(before.memory, &mut limits.memory, u64::MAX);
    back(before.quota, &mut limits.quota, u64::MAX);
    back(before.pids, &mut limits.pids, u64::MAX);
    back(before.reservation, &mut limits.reservation, u64::MAX);
    back(before.swappiness, &mut limits.swappiness, SWAPPINESS);
    back(before.period, &mut limits.period, PERIOD);
    back(before.blkio_weight, &mut limits.blkio_weight, 0);
    if limits.weight.is_none() && limits.shares.is_none() {
        back(before.shares.or(before.weight), &mut limits.shares, 1024);
    }
    limits
}

/// Has it written down, by whoever owns the record.
fn keep(state: &State, found: &Found, pairs: &[(String, String)]) -> Result<()> {
    if found.record.get("guarded").is_some() {
        // For inspect and audit: it is never started again.
        let entry = state.beside(found)?;
        return entry.save(&changed(&entry.record()?, pairs));
    }
    if !found.held {
        let entry = state.lock(found)?;
        return entry.save(&changed(&entry.record()?, pairs));
    }
    let doing = || format!("tell the supervisor of {}", found.name);
    let socket = control::connect(found.dir()?.as_fd()).doing(doing(), "control")?;
    let text = pairs.iter().fold(String::new(), |text, (option, value)| text + option + " " + value + "\n");
    control::send_surely(socket.as_fd(), ask::UPDATE, text.as_bytes()).doing(doing(), "control")?;
    let mut wanted = [sys::PollFd { fd: std::os::fd::AsRawFd::as_raw_fd(&socket), events: libc::POLLIN, revents: 0 }];
    let mut answer = [0u8; 16];
    let heard = sys::poll(&mut wanted, PATIENCE).and_then(|n| match n {
        0 => Err(std::io::Error::from_raw_os_error(libc::ETIMEDOUT)),
        _ => sys::receive(socket.as_fd(), &mut answer),
    });
    match heard {
        Ok(n) if n > 0 && answer.first() == Some(&tell::NOTED) => Ok(()),
        Ok(_) => {
            Err(Error::usage(format_args!("{} has just ended, or its supervisor is of an older ctr", found.name)))
        }
        Err(e) => Err(e).doing(doing(), "control"),
    }
}
