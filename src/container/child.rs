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
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use rootfs::Trees;

use super::fault::Fault;
use super::step::{Context, Op, Step};
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
    /// The process that walks the rest of the way in memory of its own ([`Op::Apart`]); 0 if there is none.
    pub successor: AtomicU32,
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
            successor: AtomicU32::new(0),
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
    // In the process apart: what it reports through.
    let mut alone: Option<OwnedFd> = None;
    for (n, step) in (0u32..).zip(orders.steps) {
        // A filter of the user's need not allow what it takes to be watched.
        watched &= !step.ops.iter().any(|op| matches!(op, Op::Filter(program) if program.foreign));
        if let Some(errno) = orders.fault.fails(step.name) {
            fail(report, alone.as_ref(), [n, 0], errno);
        }
        for (at, op) in (0u32..).zip(&step.ops) {
            report.op.store(at, Ordering::Relaxed);
            let done = match op {
                Op::Apart => apart(report, orders.steps.len()).map(|way_back| alone = Some(way_back)),
                op => op.run(&mut context),
            };
            if let Err(e) = done {
                keep(report, context.trees.words);
                fail(report, alone.as_ref(), [n, at], e.raw_os_error().unwrap_or(libc::EIO));
            }
        }
        if let (true, Some(time)) = (watched, report.times.get(n as usize)) {
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

/// [`Op::Apart`]: goes on only in the new process, with the way on which it tells why it failed. This one waits for that, and ends.
fn apart(report: &Report, steps: usize) -> io::Result<OwnedFd> {
    let (from, to) = sys::pipe()?;
    if sys::fork_beside(&report.successor)? == 0 {
        let _ = sys::close_range(from.as_raw_fd(), from.as_raw_fd() as u32);
        let _ = from.into_raw_fd();
        return Ok(to);
    }
    // The new one's copy is gone: with its program, or with itself.
    drop(to);
    let mut words = [0u8; 12];
    if sys::read(from.as_fd(), &mut words).is_ok_and(|length| length == words.len()) {
        let [done, op, errno] = [0, 4, 8]
            .map(|at| words.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_ne_bytes));
        report.done.store(done, Ordering::Release);
        report.op.store(op, Ordering::Relaxed);
        fail(report, None, [done, op], errno as i32);
    }
    report.done.store(steps.saturating_sub(1) as u32, Ordering::Release);
    sys::exit(0)
}

/// Reports and ends.
fn fail(report: &Report, alone: Option<&OwnedFd>, [done, op]: [u32; 2], errno: i32) -> ! {
    if let Some(way_back) = alone {
        let mut words = [0u8; 12];
        for (to, from) in words.chunks_exact_mut(4).zip([done, op, errno as u32]) {
            to.copy_from_slice(&from.to_ne_bytes());
        }
        let _ = sys::write(way_back.as_fd(), &words);
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
