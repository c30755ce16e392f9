//! PID 1 inside, with `--init`: starts the command, passes signals on, reaps what nobody waits for. Nothing else.
//!
//! It is ctr's own binary, executed by the child's last step from a descriptor that cannot be written through
//! ([`binary`]), so `/proc/1/exe` inside leads to nothing that could change the host's ctr (CVE-2019-5736).
//!
//! The command stays in our process group, which is the terminal's foreground group: Ctrl-C reaches it from the kernel,
//! and what the kernel sent is not passed on a second time (but for a hang-up, which comes to us alone).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use linux_raw_sys::general as k;

use super::plan::Plan;
use super::spawn;
use super::step::{Op, Program, step};
use super::trace::Trace;
use crate::error::{Doing, Result};
use crate::{procfs, sys};

/// Runs `command` as the only child and returns its exit code, as a shell counts.
pub fn run(command: Vec<CString>, env: Vec<CString>) -> Result<u8> {
    let all = sys::SignalSet::MAX;
    sys::block_signals(all).doing("block signals", "init")?;
    let signals = sys::signalfd(all).doing("listen for signals", "init")?;
    let exec = vec![Op::Signals, Op::Exec(Program::new(command, env, None))];
    let plan = Plan {
        outer: Vec::new(),
        holder: Vec::new(),
        held: 0,
        namespaces: 0,
        // Two steps, so that a failure of exec is told apart.
        inner: vec![step("fork", "the command's process", vec![]), step("exec", "the command", exec)],
        slots: 0,
        map: None,
        group: None,
        lasting: false,
    };
    let born = spawn::spawn(&plan, &mut Trace::new(false), |_, _| Ok(()))?;
    loop {
        let mut wanted =
            [sys::PollFd { fd: std::os::fd::AsRawFd::as_raw_fd(&signals), events: libc::POLLIN, revents: 0 }];
        match sys::poll(&mut wanted, -1) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e).doing("wait", "init"),
            _ => {}
        }
        while let Ok(Some(arrived)) = sys::next_signal(signals.as_fd()) {
            // A hang-up comes to the leader of the session, and that is us alone.
            let shared = arrived.by_kernel && arrived.signal != libc::SIGHUP;
            if arrived.signal != libc::SIGCHLD && !shared {
                // It may have just ended; then SIGCHLD is next.
                let _ = sys::pidfd_signal(born.pidfd.as_fd(), arrived.signal);
            }
        }
        // One SIGCHLD may stand for many: reap until there is nothing left to reap.
        while let Ok(Some((pid, ended))) = sys::reap() {
            if pid as u32 == born.pid {
                return Ok(ended.code());
            }
        }
    }
}

/// Our own binary, to be executed inside, through which nobody can write to the host's file.
///
/// A read-only copy of the mount it is on costs next to nothing. Without the privilege for that, or until 5.12, it is a
/// sealed copy in memory.
pub fn binary() -> io::Result<OwnedFd> {
    let proc = procfs::open()?;
    let tree = rootfs::sys::open_tree(proc.as_fd(), c"self/exe", false);
    if let Ok(tree) = tree {
        let sealed = rootfs::sys::mount_setattr(tree.as_fd(), false, k::MOUNT_ATTR_RDONLY, 0, k::MS_PRIVATE, None);
        if sealed.is_ok() {
            return Ok(tree);
        }
    }
    let file = sys::openat(proc.as_fd(), c"self/exe", k::O_RDONLY, 0)?;
    let bytes = procfs::read_all(file.as_fd(), 64 << 20)?;
    sys::sealed_memory(c"ctr-init", &bytes)
}
