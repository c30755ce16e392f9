//! Ending a container from outside: its stop signal, patience, SIGKILL for everything in it; by its record and the kernel
//! alone, so that it works for one whose supervisor was killed too.

use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::control::{self, MOST, ask};
use super::record::{Found, State, Status, parent_of};
use super::supervise;
use crate::cgroup::Group;
use crate::error::{Doing, Error, Result};
use crate::sys;
use crate::{clock, procfs, signals};

/// How long, in milliseconds, a supervisor has to answer.
const ANSWER: i32 = 5_000;

/// How long, in milliseconds, what was killed has to be gone.
const PATIENCE: i32 = 20_000;

/// How a container is to be ended.
#[derive(Clone, Copy, Debug)]
pub struct Halt {
    /// What it gets first.
    pub signal: i32,
    /// How many seconds it has then; None: as long as it takes.
    pub patience: Option<u64>,
}

/// Whether a process has ended within so many milliseconds (negative: for ever).
fn ends(process: BorrowedFd, milliseconds: i32) -> Result<bool> {
    let mut wanted = [sys::PollFd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
    let end = sys::now() + u64::from(milliseconds.unsigned_abs()) * 1_000_000;
    loop {
        let left = if milliseconds < 0 { -1 } else { (end.saturating_sub(sys::now()) / 1_000_000) as i32 };
        match sys::poll(&mut wanted, left) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done.map(|n| n > 0).doing("wait for the container's end", ""),
        }
    }
}

/// Ends it. One that does not run is left as it is; one that would have come back does not.
pub fn halt(state: &State, found: &Found, how: Halt) -> Result<()> {
    if found.status == Status::Unreadable {
        return Err(found.unreadable());
    }
    if !found.held && !found.is_running() {
        return Ok(());
    }
    // First the supervisor: it shall not start it again. What it has done meanwhile is in the record by now.
    let supervisor = down(found);
    let again = state.again(found);
    let found = again.as_ref().unwrap_or(found);
    if found.status == Status::Unreadable {
        return Err(found.unreadable());
    }
    if let Some((process, pid)) = found.look_living()? {
        let group = found.group();
        end_process(found, &group, process.as_fd(), pid, how)?;
    }
    settle(state, found, supervisor.as_ref())
}

/// SIGKILL, whatever it is doing.
pub fn kill(state: &State, found: &Found) -> Result<()> {
    if !found.held && !found.is_running() && found.status != Status::Unreadable {
        return Ok(());
    }
    if !found.held && state.is_copy(found) {
        return Ok(());
    }
    // The supervisor holds the process, whatever the record says. One that does not answer is no reason to let it live.
    let told = tell(found, ask::KILL);
    if let Ok(Some(supervisor)) = told {
        return settle(state, found, Some(&supervisor));
    }
    let again = state.again(found);
    let found = again.as_ref().unwrap_or(found);
    let stuck = told.is_err().then(|| supervisor_of(found)).flatten();
    kill_by_record(found)?;
    if let Some(supervisor) = stuck {
        let _ = sys::pidfd_signal(supervisor.as_fd(), libc::SIGKILL);
        ends(supervisor.as_fd(), PATIENCE)?;
    }
    settle(state, found, None)
}

/// The supervisor of a container that lives: its parent, and nobody who only has its number.
fn supervisor_of(found: &Found) -> Option<OwnedFd> {
    let (_process, pid) = found.living()?;
    let stated: u32 = found.record.number("supervisor")?;
    let supervisor = sys::pidfd_open(stated).ok()?;
    (parent_of(pid)? == stated).then_some(supervisor)
}

/// The same where nobody looks after it.
fn kill_by_record(found: &Found) -> Result<()> {
    let looked = found.look_living();
    if let Ok(Some((process, _))) = looked {
        return end_now(found, &found.group(), process.as_fd());
    }
    if looked.is_ok() && found.status != Status::Unreadable {
        return Ok(());
    }
    // Its number cannot be learned, or means nothing here; its control group is everybody's.
    let group = found.group();
    match (group.is_populated(), looked) {
        (Some(true), _) => {
            group.kill();
            let _ = group.thaw();
            if group.empties() { Ok(()) } else { Err(survives(found)) }
        }
        (None, Ok(_)) if found.record.get("ticks").is_none() => {
            let _ = writeln!(io::stderr(), "ctr: {}: if it runs, it goes on: nobody knows its process", found.name);
            Ok(())
        }
        (Some(false), _) | (None, Ok(_)) => Ok(()),
        (None, Err(e)) if e.cause.kind() == io::ErrorKind::Other => {
            let _ = writeln!(io::stderr(), "ctr: {}: if its process lives, it goes on: {}", found.name, e.cause);
            Ok(())
        }
        (None, Err(e)) => Err(e),
    }
}

fn survives(found: &Found) -> Error {
    let cause =
        io::Error::other("it still runs after SIGKILL (state D: the kernel waits for a device or a file server)");
    Error::new(format_args!("kill {}", found.name), "", cause)
}

/// Tells the supervisor, if there is one that can be told, that this is the end. One that does not answer is no reason not to go on.
pub fn down(found: &Found) -> Option<OwnedFd> {
    tell(found, ask::DOWN).unwrap_or_else(|e| {
        let _ = writeln!(io::stderr(), "ctr: {e}");
        None
    })
}

fn tell(found: &Found, what: u8) -> Result<Option<OwnedFd>> {
    let dir = found.dir()?;
    let doing = || format!("tell the supervisor of {}", found.name);
    let end = sys::now() + ANSWER as u64 * 1_000_000;
    while sys::now() < end {
        let socket = match control::connect(dir.as_fd()) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ECONNREFUSED)) => return Ok(None),
            connected => connected.doing(doing(), "control")?,
        };
        match control::send(socket.as_fd(), what, &[]) {
            // It has just ended.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) => return Ok(None),
            sent => sent.doing(doing(), "control")?,
        }
        let mut message = [0u8; 1 + MOST];
        match control::next(socket.as_fd(), &mut message, ANSWER).doing(doing(), "control")? {
            Some((control::tell::NOTED, _)) => return Ok(Some(socket)),
            // It ended before it heard us; the next try tells.
            _ => {
                let _ = sys::poll(&mut [], 1);
            }
        }
    }
    Err(Error::new(doing(), "control", io::Error::other("it does not answer")))
}

fn end_process(found: &Found, group: &Group, process: BorrowedFd, pid: u32, how: Halt) -> Result<()> {
    let frozen = found.status == Status::Paused || group.is_frozen();
    let own = found.record.get("--pid") != Some("host");
    if how.signal != libc::SIGKILL && own && !supervise::hears(pid, how.signal) {
        let until = match how.patience {
            Some(0) => "is killed at once".to_owned(),
            Some(seconds) => format!("is killed in {seconds} s if it does not end by itself"),
            None => "is waited for all the same (-t -1)".to_owned(),
        };
        let _ = writeln!(
            io::stderr(),
            "ctr: {}: its PID 1, {}, has no handler for {}: it {until} (ctr run --init or --stop-signal help)",
            found.name,
            command_name(pid),
            signals::name(how.signal)
        );
    }
    match sys::pidfd_signal(process, how.signal) {
        Err(e) if e.raw_os_error() != Some(libc::ESRCH) => {
            return Err(e).doing(format_args!("send {} to {}", signals::name(how.signal), found.name), pid);
        }
        _ => {}
    }
    if frozen {
        // What is frozen takes no signal.
        group.thaw().doing(format_args!("thaw {}", found.name), "")?;
    }
    let patience = how.patience.map_or(-1, |seconds| (seconds * 1000) as i32);
    if how.signal != libc::SIGKILL && ends(process, patience)? {
        // Others may be left where the command is not process 1 (--pid host).
        if !own {
            group.kill();
        }
        return Ok(());
    }
    end_now(found, group, process)
}

fn end_now(found: &Found, group: &Group, process: BorrowedFd) -> Result<()> {
    match sys::pidfd_signal(process, libc::SIGKILL) {
        Err(e) if e.raw_os_error() != Some(libc::ESRCH) => {
            return Err(e).doing(format_args!("kill {}", found.name), "pidfd_send_signal");
        }
        _ => {}
    }
    group.kill();
    let _ = group.thaw();
    if ends(process, PATIENCE)? {
        return Ok(());
    }
    Err(survives(found))
}

/// What a process calls itself.
fn command_name(pid: u32) -> String {
    let name = || -> Option<String> {
        let path = CString::new(format!("{pid}/comm")).ok()?;
        let text = procfs::read(procfs::open().ok()?.as_fd(), &path).ok()?;
        Some(String::from_utf8_lossy(&text).trim().to_owned())
    };
    name().unwrap_or_else(|| format!("pid {pid}"))
}

/// Waits until the supervisor has written down what happened and let go; for one that was killed, does that itself.
fn settle(state: &State, found: &Found, supervisor: Option<&OwnedFd>) -> Result<()> {
    if let Some(socket) = supervisor {
        // Until the connection ends: the supervisor has, too.
        let mut message = [0u8; 1 + MOST];
        let end = sys::now() + PATIENCE as u64 * 1_000_000;
        while sys::now() < end {
            match control::next(socket.as_fd(), &mut message, PATIENCE) {
                Ok(Some(_)) => {}
                _ => break,
            }
        }
    }
    // Whoever has the lock now is the one to look after it; a container that is gone with its end is at its end.
    let Ok(entry) = state.lock(found) else { return Ok(()) };
    let Ok(mut record) = entry.record() else { return Ok(()) };
    if record.id() != found.record.id() || record.get("guarded").is_some() {
        return Ok(());
    }
    let process = match record.look_up() {
        // Of another pid namespace, and known to the end of all that can be seen from here.
        Err(e) if e.kind() == io::ErrorKind::Other => None,
        looked => looked.doing(format_args!("see what became of {}", found.name), "/proc")?,
    };
    if process.is_some() || record.get("state") == Some("created") {
        // Somebody has started it meanwhile; or nobody ever did.
        return Ok(());
    }
    if record.get("state") != Some("exited") {
        // With --pid host its processes do not end with the first one.
        let group = record.group();
        group.kill();
        group.remove();
        record.set("state", "exited");
        record.set("lost", "its supervisor was killed");
        record.set("finished", clock::now().to_string());
        for key in ["pid", "ticks", "boot", "pid-namespace", "supervisor"] {
            record.unset(key);
        }
    }
    if record.get("stopped").is_none() {
        record.set("stopped", "yes");
    }
    if record.get("--rm").is_some() {
        return entry.remove_all();
    }
    entry.save(&record)
}
