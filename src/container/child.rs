//! Everything between `clone3` and `execve`: a list that the parent wrote and this process runs.
//!
//! We are a second thread of control in our parent's memory (`CLONE_VM`), with descriptors, signals and credentials of
//! our own. So: no allocation, no lock, no std I/O, no libc call that keeps state, no panic (musl's `abort` would signal
//! our *parent's* thread id), and nothing of the parent's is written but [`Report`].
//!
//! The report needs no pipe and no system call: it is memory that both can see. The parent sleeps on
//! [`Report::alive`], which the kernel itself clears and wakes when this process execs or dies
//! (`CLONE_CHILD_CLEARTID`). An error number in the report, or a last step that is not exec, tells the two apart.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use rootfs::Trees;

use super::fault::Fault;
use super::step::{Apart, Context, Op, Step};
use crate::sys;

/// What the child lets its parent know, in memory that both share.
#[derive(Debug)]
pub struct Report {
    /// Not 0 while the child lives in our memory. Rises with each step when somebody watches.
    pub alive: AtomicU32,
    /// Becomes 1 when the parent has written the id maps and the container's record, 2 when it could not.
    pub parent_ready: AtomicU32,
    /// How many steps are done.
    pub done: AtomicU32,
    /// Which operation of the next step is being done.
    pub op: AtomicU32,
    /// Why it failed; 0 if it did not.
    pub errno: AtomicI32,
    /// The number of the process that [`Op::Apart`] made.
    pub apart: AtomicU32,
    /// When the child began, in nanoseconds since boot; filled only when somebody watches.
    pub began: AtomicU64,
    /// When each step was done, in nanoseconds since boot; filled only when somebody watches.
    pub times: Vec<AtomicU64>,
    /// The kernel's own words about a failure, eight bytes each.
    pub words: [AtomicU64; 16],
}

impl Report {
    /// For a plan of so many steps.
    pub fn new(steps: usize) -> Report {
        Report {
            alive: AtomicU32::new(1),
            parent_ready: AtomicU32::new(0),
            done: AtomicU32::new(0),
            op: AtomicU32::new(0),
            errno: AtomicI32::new(0),
            apart: AtomicU32::new(0),
            began: AtomicU64::new(0),
            times: (0..steps).map(|_| AtomicU64::new(0)).collect(),
            words: [const { AtomicU64::new(0) }; 16],
        }
    }

    /// What the kernel said, if it did (`overlay: …`).
    pub fn kernel_words(&self) -> Option<String> {
        let bytes: Vec<u8> = self.words.iter().flat_map(|w| w.load(Ordering::Acquire).to_ne_bytes()).collect();
        kernel_words(&bytes)
    }
}

/// One line of a filesystem context's log (`Documentation/filesystems/mount_api.rst`): a letter, a blank, a sentence.
pub fn kernel_words(log: &[u8]) -> Option<String> {
    let text = log.split(|b| *b == 0 || *b == b'\n').next()?;
    let text = String::from_utf8_lossy(text.get(2..)?).trim().to_owned();
    if text.is_empty() { None } else { Some(text) }
}

/// What the child needs to know.
pub struct Orders<'a> {
    /// The way.
    pub steps: &'a [Step],
    /// Where to report.
    pub report: &'a Report,
    /// The numbers of the parent's detached trees, and places for more. Ours to write.
    pub fds: &'a mut [RawFd],
    /// Somebody watches: time every step and wake them.
    pub watched: bool,
    /// The fault to have, in the `fault` build.
    pub fault: Fault,
}

/// Walks the list. Comes back only by `execve` or not at all.
pub fn run(orders: &mut Orders) -> ! {
    let report = orders.report;
    if orders.watched {
        report.began.store(sys::now(), Ordering::Release);
    }
    let mut words = [0u8; 128];
    let mut context =
        Context { trees: Trees { fds: &mut *orders.fds, words: &mut words }, parent_ready: &report.parent_ready };
    let mut watched = orders.watched;
    let mut apart = None;
    for (n, step) in (0u32..).zip(orders.steps) {
        // A filter of the user's need not allow what it takes to be watched.
        watched &= !step.ops.iter().any(|op| matches!(op, Op::Filter(program) if program.foreign));
        if let Some(errno) = orders.fault.fails(step.name) {
            fail(report, apart, errno);
        }
        for (at, op) in (0u32..).zip(&step.ops) {
            report.op.store(at, Ordering::Relaxed);
            let done = match op {
                // Who does the rest has a copy of the report, which nobody sees.
                Op::Apart(told) => split(report, *told).map(|()| apart = Some(*told)),
                _ => op.run(&mut context),
            };
            if let Err(e) = done {
                keep(report, context.trees.words);
                fail(report, apart, e.raw_os_error().unwrap_or(libc::EIO));
            }
        }
        if let Some(Apart([done, ..])) = apart {
            report.done.store(n + 1, Ordering::Release);
            done.store(n + 1, Ordering::Release);
        } else if let (true, Some(time)) = (watched, report.times.get(n as usize)) {
            time.store(sys::now(), Ordering::Relaxed);
            report.done.store(n + 1, Ordering::Release);
            report.alive.store(n + 2, Ordering::Release);
            let _ = sys::futex_wake(&report.alive);
        } else {
            report.done.store(n + 1, Ordering::Release);
        }
        orders.fault.wait_after(step.name);
    }
    sys::exit(0)
}

fn keep(report: &Report, words: &[u8; 128]) {
    for (to, from) in report.words.iter().zip(words.chunks_exact(8)) {
        if let Ok(bytes) = from.try_into() {
            to.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
        }
    }
}

/// Comes back in the other process. In ours it ends, when that has become the user's program or is dead: what it has told is then
/// the report.
fn split(report: &Report, Apart([done, op, errno, _]): Apart) -> io::Result<()> {
    if sys::fork_beside(&report.apart)?.is_none() {
        return Ok(());
    }
    report.done.store(done.load(Ordering::Acquire), Ordering::Release);
    report.op.store(op.load(Ordering::Acquire), Ordering::Release);
    let errno = i32::try_from(errno.load(Ordering::Acquire)).unwrap_or(libc::EIO);
    report.errno.store(errno, Ordering::Release);
    sys::exit(0)
}

fn fail(report: &Report, apart: Option<Apart>, errno: i32) -> ! {
    if let Some(Apart([_, op, told, _])) = apart {
        op.store(report.op.load(Ordering::Relaxed), Ordering::Release);
        told.store(errno.unsigned_abs(), Ordering::Release);
    }
    report.errno.store(errno, Ordering::Release);
    sys::exit(i32::from(crate::error::exit::CTR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_lose_their_letter() {
        assert_eq!(
            kernel_words(b"e overlay: Unknown parameter 'x'\0\0").as_deref(),
            Some("overlay: Unknown parameter 'x'")
        );
        assert_eq!(kernel_words(&[0; 128]), None);
        assert_eq!(kernel_words(b"e"), None);
        assert_eq!(kernel_words(b""), None);
        assert!(kernel_words(&[0xff; 128]).is_some());
    }

    #[test]
    fn words_cross_the_report_whole() {
        let report = Report::new(1);
        let mut words = [0u8; 128];
        words[..9].copy_from_slice(b"e overlay");
        keep(&report, &words);
        assert_eq!(report.kernel_words().as_deref(), Some("overlay"));
    }
}
