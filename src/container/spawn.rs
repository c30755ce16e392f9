//! The birth of a container: the outer steps, `clone3`, the id maps, and waiting until the child is the user's program.
//!
//! `clone3` is called once, here, with `CLONE_VM`: the child is a thread of control in our memory on a stack of its own,
//! because copying page tables costs more than everything else that we do. It needs no pipe to report (`child.rs`), and
//! `CLONE_CHILD_CLEARTID` lets us sleep until it has left our memory, by exec or by death, while we may still write its
//! id maps and print its steps (`CLONE_VFORK` would not let us).
//!
//! Signals stay blocked all the way. While the child is being set up we look now and then whether one has come that
//! means "stop" (a mount can hang on a dead server), and kill the child if so.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use linux_raw_sys::general as k;
use rootfs::Trees;

use super::child::{self, Orders, Report, kernel_words};
use super::fault::Fault;
use super::plan::{Facts, HOLDER, Plan, USERNS, Way, plan};
use super::spec::{Spec, Userns};
use super::step::{Context, Op, Step};
use super::trace::Trace;
use crate::error::{Doing, Error, Result, exit, hint};
use crate::idmap::IdMap;
use crate::{procfs, sys};

/// The child's stack. Its deepest call is a few KiB; the fault build checks that no heap is used, tests that this holds.
const STACK: usize = 64 * 1024;

/// The same of who only waits.
const HOLDERS_STACK: usize = 16 * 1024;

/// Memory of a stack: whole pages, so that all of them can be given back.
#[repr(C, align(4096))]
struct Page([u8; 4096]);

/// How often, in milliseconds, we look whether somebody wants us to stop.
const LOOK: u32 = 2000;

/// A process that has become the user's program.
#[derive(Debug)]
pub struct Born {
    /// Refers to exactly this process, for ever.
    pub pidfd: OwnedFd,
    /// Its number outside.
    pub pid: u32,
}

/// Walks the whole plan. On an error nothing of the container is left but its state, which the caller owns.
///
/// `beside` is done while the child is on its way: it is told the child's pid, and that of a process which is in the container's network
/// namespace from its birth on. What must be done before the command starts needs a step that waits for it (`AwaitParent`).
pub fn spawn(plan: &Plan, trace: &mut Trace, beside: impl FnOnce(u32, u32) -> Result<()>) -> Result<Born> {
    let mut fds = vec![-1; plan.slots];
    let way = |map: Option<&IdMap>, holder: Option<u32>, fds: &mut [RawFd], trace: &mut Trace| {
        here(&plan.outer, fds, trace)?;
        let proc = map.map(|_| procfs::open().doing("find /proc, to write id maps", "")).transpose()?;
        let way = Walk {
            steps: &plan.inner,
            flags: plan.namespaces,
            execs: true,
            group: plan.group,
            lasting: plan.lasting,
        };
        walk(&way, &mut fds.to_vec(), trace, |born| {
            write_maps(map, proc.as_ref(), born.pid).and_then(|()| beside(born.pid, holder.unwrap_or(born.pid)))
        })
    };
    let result = match &plan.map {
        Some(map) if !plan.holder.is_empty() => {
            held(plan, map, &mut fds, trace, |holder, fds, trace| way(None, Some(holder), fds, trace))
        }
        map => way(map.as_ref(), None, &mut fds, trace),
    };
    if result.is_err() {
        Trees::numbers(&fds).map(sys::adopt).for_each(drop);
    }
    // Otherwise they stay open: the container holds the same mounts, and lives as long as we do.
    result
}

/// The birth of a container from what was asked and what was found out: the plan, and a second one if it turns out that
/// the root is the initial ramfs, which cannot be pivoted away (until 7.0). Who is not on it need not look.
///
/// And where the kernel or a filesystem turns out not to have what a user namespace of root's needs, a second one without it,
/// unless that is `required`: what was done until then was detached, or in a process that is gone.
pub fn birth(
    spec: &Spec,
    facts: &mut Facts,
    trace: &mut Trace,
    beside: &dyn Fn(u32, u32, &Facts) -> Result<()>,
) -> Result<Born> {
    if let Some(filter) = facts.boundary.filter.as_ref().filter(|filter| filter.unknown > 0) {
        trace.note("profile", &filter.to_string());
    }
    let born = planned(spec, facts, trace, beside);
    match born {
        Err(e) if lacks_userns(facts, &e) => {
            // What was to be a power over a namespace of its own must not become one over the host.
            if let Some(powers) = spec.powers().filter(|_| spec.userns == Userns::Auto && spec.ids.is_none()) {
                // Instead of the advice that the step has: that is about having one.
                let mut e = e;
                e.hint = Some(format!(
                    "{powers} would be the host's power here, for there can be no user namespace (ctr doctor tells why): --userns host, if that is wanted"
                ));
                return Err(e);
            }
            if spec.userns != Userns::Auto || spec.ids.is_some() {
                let what = if spec.ids.is_some() { "--uidmap" } else { "--userns required" };
                let mut e = e;
                e.hint = Some(format!(
                    "{what} cannot be had with this kernel, these filesystems or these privileges (ctr doctor tells): --userns auto"
                ));
                return Err(e);
            }
            let at = if e.at.is_empty() { String::new() } else { format!(" ({})", e.at) };
            facts.fall_back(&format!("cannot {}{at}: {}", e.doing, e.cause));
            if let Some(why) = &facts.fallback {
                trace.note("userns", &format!("the host's ids instead: {why}"));
            }
            planned(spec, facts, trace, beside)
        }
        born => born,
    }
}

/// Whether this is the kernel's or a filesystem's word that it has no such thing. Never for want of memory or descriptors, and not
/// once the container's own files have a say.
fn lacks_userns(facts: &Facts, e: &Error) -> bool {
    const CANNOT: [i32; 7] =
        [libc::EPERM, libc::EINVAL, libc::EOPNOTSUPP, libc::ENOSYS, libc::EACCES, libc::EOVERFLOW, libc::ENODEV];
    const WHERE: [&str; 9] =
        ["holder", "maps", "namespaces", "root", "layer-dir", "host-mounts", "volumes", "overlay", "host-overlays"];
    let errno = e.cause.raw_os_error().unwrap_or(0);
    // The administrator's limit (/proc/sys/user/max_user_namespaces) may be 0.
    let none_allowed = e.step == Some("holder") && errno == libc::ENOSPC;
    matches!(facts.way, Way::Shifted { .. })
        && e.step.is_some_and(|step| WHERE.contains(&step))
        && (CANNOT.contains(&errno) || none_allowed)
}

/// The plan, and a second one for the initial ramfs.
fn planned(
    spec: &Spec,
    facts: &mut Facts,
    trace: &mut Trace,
    beside: &dyn Fn(u32, u32, &Facts) -> Result<()>,
) -> Result<Born> {
    let born = spawn(&plan(spec, facts), trace, |pid, space| beside(pid, space, facts));
    if born.as_ref().is_err_and(|e| e.step == Some("pivot") && e.cause.raw_os_error() == Some(libc::EINVAL)) {
        facts.on_ramfs = super::facts::on_ramfs()?;
        if facts.on_ramfs.is_some() {
            trace.note("again", "the root is the initial ramfs: the safe way round it");
            return spawn(&plan(spec, facts), trace, |pid, space| beside(pid, space, facts));
        }
    }
    born
}

/// The steps that we do ourselves.
fn here(steps: &[Step], fds: &mut [RawFd], trace: &mut Trace) -> Result<()> {
    let mut words = [0; 128];
    let nobody = AtomicU32::new(0);
    let mut context = Context { trees: Trees { fds, words: &mut words }, parent_ready: &nobody };
    let fault = Fault::wanted(steps);
    for step in steps {
        if let Some(errno) = fault.fails(step.name) {
            return Err(failed(step, 0, io::Error::from_raw_os_error(errno), None));
        }
        for (at, op) in step.ops.iter().enumerate() {
            if let Err(e) = op.run(&mut context) {
                return Err(failed(step, at, e, kernel_words(context.trees.words)));
            }
        }
        trace.note(step.name, step.why);
        fault.kill_ourselves_after(step.name);
    }
    Ok(())
}

/// Does all the rest while a process holds the user namespace and what that owns, for a child that joins it when its root is built.
/// The holder is told to end when the child has done so, or failed; it ends by itself if we do.
fn held(
    plan: &Plan,
    map: &IdMap,
    fds: &mut [RawFd],
    trace: &mut Trace,
    rest: impl FnOnce(u32, &mut [RawFd], &mut Trace) -> Result<Born>,
) -> Result<Born> {
    let fault = Fault::wanted(&plan.holder);
    let report = Report::new(plan.holder.len());
    let mut orders = Orders { steps: &plan.holder, report: &report, fds: &mut [], watched: false, fault };
    let mut stack = new_stack(HOLDERS_STACK);
    let holder = clone3(plan.held, None, &mut stack, &mut orders, &report).map_err(|e| {
        let advice = hint("clone", e.raw_os_error().unwrap_or(0));
        let mut error = Error::new("make a user namespace", "clone3", e).hint(advice);
        error.step = Some("holder");
        error
    })?;
    let result = (|| {
        let proc = procfs::open().doing("find /proc, to write id maps", "")?;
        write_maps(Some(map), Some(&proc), holder.pid)?;
        let userns =
            crate::idmap::namespace_of(proc.as_fd(), holder.pid).doing("open a user namespace", "ns/user")?;
        for step in &plan.holder {
            trace.note(step.name, step.why);
            Fault::wanted(&plan.holder).kill_ourselves_after(step.name);
        }
        let slots = [(USERNS, userns.as_raw_fd()), (HOLDER, holder.pidfd.as_raw_fd())];
        for (slot, fd) in slots {
            if let Some(place) = fds.get_mut(slot) {
                *place = fd;
            }
        }
        let result = rest(holder.pid, fds, trace);
        if !plan.lasting {
            // We live no longer than the container, and the kernel closes them faster than we could.
            let _ = (proc.into_raw_fd(), userns.into_raw_fd());
        }
        for (slot, _) in slots {
            if let Some(place) = fds.get_mut(slot) {
                *place = -1;
            }
        }
        result
    })();
    report.parent_ready.store(1, Ordering::Release);
    let _ = sys::futex_wake(&report.parent_ready);
    // It has left our memory when it is dead: only then may its stack and its orders go.
    let ended = sys::wait_pidfd(holder.pidfd.as_fd());
    let errno = report.errno.load(Ordering::Acquire);
    if plan.lasting {
        sys::forget_content(&mut stack);
    } else {
        let _ = holder.pidfd.into_raw_fd();
    }
    match (result, plan.holder.first()) {
        // Who failed first is the cause: nobody can join who is gone.
        (Err(_), Some(step)) if errno != 0 => Err(failed(step, 0, io::Error::from_raw_os_error(errno), None)),
        (result, _) => result.and_then(|born| ended.map(|_| born).doing("wait for a process", "waitid")),
    }
}

fn write_maps(map: Option<&IdMap>, proc: Option<&OwnedFd>, pid: u32) -> Result<()> {
    let (Some(map), Some(proc)) = (map, proc) else { return Ok(()) };
    map.write(proc.as_fd(), pid).map_err(|cause| {
        let advice = hint("maps", cause.raw_os_error().unwrap_or(0));
        let mut error = Error::new("write the container's id maps", "uid_map, gid_map", cause).hint(advice);
        error.step = Some("maps");
        error
    })
}

/// An error of one step, in words.
fn failed(step: &Step, at: usize, cause: io::Error, words: Option<String>) -> Error {
    let errno = cause.raw_os_error().or_else(|| netlink::errno(&cause)).unwrap_or(0);
    if let Some(Op::Exec(program)) = step.ops.get(at) {
        if program.init.is_some() {
            return Error::new("run ctr itself as --init", "execveat", cause);
        }
        let name = program.name().to_string_lossy().into_owned();
        let (code, cause) = match errno {
            libc::ENOENT | libc::ENOTDIR if program.paths.len() > 1 => {
                (exit::NOT_FOUND, io::Error::new(io::ErrorKind::NotFound, "not found in PATH of the root filesystem"))
            }
            libc::ENOENT | libc::ENOTDIR => (exit::NOT_FOUND, cause),
            _ => (exit::NOT_EXECUTABLE, cause),
        };
        let mut error = Error::new(format_args!("run {name:?}"), "", cause);
        error.code = code;
        return error;
    }
    let call = step.ops.get(at).map_or(String::new(), |op| match words {
        Some(words) => format!("{op}; the kernel says {words:?}"),
        None => op.to_string(),
    });
    let advice = hint(step.name, errno);
    let mut error = Error::new(format_args!("set up the container, step {:?}", step.name), call, cause).hint(advice);
    error.step = Some(step.name);
    error
}

/// What a child does in our memory.
struct Walk<'a> {
    steps: &'a [Step],
    /// `CLONE_*`, beside those that every child has.
    flags: u32,
    /// The last step is `execve`; otherwise the child ends after it.
    execs: bool,
    /// The v2 control group that it is born in.
    group: Option<RawFd>,
    /// The memory that it used is given back.
    lasting: bool,
}

/// Sends a child on its way and stays until it has left our memory, as another program or dead. `beside` is done
/// meanwhile; if it fails, so does the child. On an error the child is gone.
fn walk(way: &Walk, fds: &mut [RawFd], trace: &mut Trace, beside: impl FnOnce(&Born) -> Result<()>) -> Result<Born> {
    let report = Report::new(way.steps.len());
    let mut orders = Orders {
        steps: way.steps,
        report: &report,
        fds,
        watched: trace.on() || cfg!(feature = "fault"),
        fault: Fault::wanted(way.steps),
    };
    let mut stack = new_stack(STACK);
    let born = clone3(way.flags, way.group, &mut stack, &mut orders, &report).map_err(|e| {
        let advice = hint("clone", e.raw_os_error().unwrap_or(0));
        Error::new("make the container's namespaces", "clone3", e).hint(advice)
    })?;
    let ready = beside(&born);
    report.parent_ready.store(if ready.is_ok() { 1 } else { 2 }, Ordering::Release);
    if way.steps.iter().flat_map(|step| &step.ops).any(|op| matches!(op, Op::AwaitParent(_))) {
        let _ = sys::futex_wake(&report.parent_ready);
    }
    if ready.is_err() {
        // It may not have waited for us, and nobody would find it.
        let _ = sys::pidfd_signal(born.pidfd.as_fd(), libc::SIGKILL);
    }
    let interrupted = watch(way, &born, &report, trace);
    // The child has left our memory: only now may the stack and the orders go.
    if way.lasting {
        sys::forget_content(&mut stack);
    }
    drop(stack);
    let done = report.done.load(Ordering::Acquire) as usize;
    let errno = report.errno.load(Ordering::Acquire);
    let wanted = way.steps.len() - usize::from(way.execs);
    let apart = apart(way, &born, &report)?;
    if errno == 0 && done == wanted && ready.is_ok() {
        let born = apart.unwrap_or(born);
        if let (true, Some(step)) = (way.execs, way.steps.last()) {
            trace.note(step.name, step.why);
        }
        return Ok(born);
    }
    if let Some(other) = &apart {
        let _ = sys::pidfd_signal(other.pidfd.as_fd(), libc::SIGKILL);
    }
    let ended = sys::wait_pidfd(apart.as_ref().unwrap_or(&born).pidfd.as_fd());
    // Who failed first is the cause: a child that is gone has no maps to write, and one that waited for us in vain says so.
    if matches!(errno, 0 | libc::ECANCELED) {
        ready?;
    }
    match (way.steps.get(done), errno) {
        (Some(step), 0) => {
            let how = match ended {
                _ if interrupted => "interrupted".to_owned(),
                Ok(sys::Ended::Signal(signal)) => format!("the process was killed by signal {signal}"),
                _ => "the process ended without a word".to_owned(),
            };
            Err(Error::new(format_args!("set up the container, step {:?}", step.name), "", io::Error::other(how)))
        }
        (Some(step), errno) => {
            let at = report.op.load(Ordering::Acquire) as usize;
            Err(failed(step, at, io::Error::from_raw_os_error(errno), report.kernel_words()))
        }
        (None, _) => Err(Error::new("set up the container", "", io::Error::other("the child reported nonsense"))),
    }
}

/// The process that did the rest ([`Op::Apart`]), if there is one: our child too. The first one then has ended, and is reaped.
fn apart(way: &Walk, born: &Born, report: &Report) -> Result<Option<Born>> {
    let number = report.apart.load(Ordering::Acquire);
    if number == 0 || !way.steps.iter().flat_map(|step| &step.ops).any(|op| matches!(op, Op::Apart(_))) {
        return Ok(None);
    }
    let doing = "get hold of the container's process";
    sys::wait_pidfd(born.pidfd.as_fd()).doing(doing, "waitid")?;
    // Nobody else has its number before we have waited for it.
    let pidfd = sys::pidfd_open(number).doing(doing, "pidfd_open")?;
    Ok(Some(Born { pidfd, pid: number }))
}

/// Sleeps until the child has left our memory, printing its steps as they happen. Tells whether it was interrupted.
fn watch(way: &Walk, born: &Born, report: &Report, trace: &mut Trace) -> bool {
    let fault = Fault::wanted(way.steps);
    let (mut shown, mut born_shown) = (0, false);
    let mut interrupted = false;
    loop {
        let alive = report.alive.load(Ordering::Acquire);
        let done = report.done.load(Ordering::Acquire) as usize;
        let began = report.began.load(Ordering::Acquire);
        if began != 0 && !born_shown {
            trace.step("clone3", "a process in namespaces of its own", began);
            born_shown = true;
        }
        for (step, time) in way.steps.iter().zip(&report.times).take(done).skip(shown) {
            trace.step(step.name, step.why, time.load(Ordering::Relaxed));
            fault.kill_ourselves_after(step.name);
            shown += 1;
        }
        if alive == 0 {
            return interrupted;
        }
        let timed_out =
            sys::futex_wait(&report.alive, alive, LOOK).is_err_and(|e| e.raw_os_error() == Some(libc::ETIMEDOUT));
        if timed_out && !interrupted && stop_wanted() {
            interrupted = sys::pidfd_signal(born.pidfd.as_fd(), libc::SIGKILL).is_ok();
        }
        // A kernel may forget to clear the word of a process that died dumping core.
        let mut ended = [sys::PollFd { fd: born.pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
        if timed_out && sys::poll(&mut ended, 0).is_ok_and(|n| n > 0) {
            return interrupted;
        }
    }
}

/// Whether a signal waits that means "stop".
fn stop_wanted() -> bool {
    let stop = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
    let bits = stop.into_iter().map(sys::signal_bit).fold(0, |all, bit| all | bit);
    sys::pending_signals().is_ok_and(|pending| pending & bits != 0)
}

/// Memory for a child's stack, not touched before the child does.
fn new_stack(size: usize) -> Box<[MaybeUninit<Page>]> {
    Box::new_uninit_slice(size / size_of::<Page>())
}

/// The entry of the child: `orders` is what `clone3` below passed on.
extern "C" fn enter(orders: *mut Orders) -> ! {
    // SAFETY: the parent keeps the orders alive and untouched until we have left its memory.
    child::run(unsafe { &mut *orders })
}

/// Makes the child. `clone3(2)`, Linux 5.3; `CLONE_CLEAR_SIGHAND` 5.5, `CLONE_INTO_CGROUP` 5.7.
fn clone3(
    namespaces: u32,
    group: Option<RawFd>,
    stack: &mut [MaybeUninit<Page>],
    orders: &mut Orders,
    report: &Report,
) -> io::Result<Born> {
    let mut pidfd: RawFd = -1;
    let flags = namespaces | k::CLONE_VM | k::CLONE_PIDFD | k::CLONE_CHILD_CLEARTID;
    #[cfg(feature = "fault")]
    crate::arena::child::stack(stack.as_ptr() as usize, stack.as_ptr() as usize + size_of_val(stack));
    let args = k::clone_args {
        flags: u64::from(flags) | k::CLONE_CLEAR_SIGHAND | group.map_or(0, |_| k::CLONE_INTO_CGROUP),
        pidfd: ptr::from_mut(&mut pidfd) as u64,
        child_tid: report.alive.as_ptr() as u64,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: stack.as_mut_ptr() as u64,
        stack_size: size_of_val(stack) as u64,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: group.map_or(0, |fd| fd as u64),
    };
    let mut answer = call([k::__NR_clone3 as usize, ptr::from_ref(&args) as usize, size_of_val(&args), 0, 0], orders);
    // Behind a filter, which cannot see flags that are behind a pointer: our own, around our own init, is one. What clone lacks is
    // the control group, and that handlers are forgotten: who lives behind a filter has none, or has blocked all signals.
    if group.is_none() && answer.as_ref().is_err_and(|e| e.raw_os_error() == Some(libc::ENOSYS)) {
        let (flags, top) = (flags | libc::SIGCHLD as u32, stack.as_mut_ptr_range().end as usize);
        let (pidfd, alive) = (ptr::from_mut(&mut pidfd) as usize, report.alive.as_ptr() as usize);
        answer = call([k::__NR_clone as usize, flags as usize, top, pidfd, alive], orders);
    }
    let pid = answer? as u32;
    Ok(Born { pidfd: sys::adopt(pidfd), pid })
}

/// The call itself: its number and arguments.
fn call([number, first, second, third, fourth]: [usize; 5], orders: &mut Orders) -> io::Result<usize> {
    let answer: usize;
    // SAFETY: the child runs on a stack of its own, which lives until it has left our memory (`inner` waits for that),
    // and never returns into this frame: it calls `enter`, which does not come back. The kernel hands it all registers
    // but rax as they are here; the stack pointer is the top of the new stack, 16-byte aligned, as the ABI wants it
    // before a call. It shares our thread pointer and uses nothing behind it.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r8",
            "call {enter}",
            "ud2",
            "2:",
            enter = sym enter,
            in("r8") ptr::from_mut(orders),
            inlateout("rax") number => answer,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            in("r10") fourth,
            // Not "lateout": the system call destroys them while the child still needs its inputs.
            out("rcx") _,
            out("r11") _,
        );
    }
    sys::check(answer)
}

/// A process beside us that does these steps in our memory and ends, or is killed. What it uses is never freed: there is
/// one of its kind, and it lives as long as we do.
pub fn companion(steps: Vec<Step>) -> io::Result<Born> {
    let report: &Report = Box::leak(Box::new(Report::new(steps.len())));
    let steps: &[Step] = steps.leak();
    let orders = Orders { steps, report, fds: &mut [], watched: false, fault: Fault::none() };
    clone3(0, None, Box::leak(new_stack(STACK)), Box::leak(Box::new(orders)), report)
}

/// A user namespace with these ids, for shifting mounts: a process that only exists to own it, gone when this returns.
///
/// `parent` is our own pidfd.
pub fn user_namespace(map: &IdMap, proc: BorrowedFd, parent: RawFd) -> Result<OwnedFd> {
    let steps = [super::step::step("maps", "ids inside are other ids outside", vec![Op::AwaitParent(parent)])];
    let way = Walk { steps: &steps, flags: k::CLONE_NEWUSER, execs: false, group: None, lasting: false };
    let mut namespace = None;
    let born = walk(&way, &mut [], &mut Trace::new(false), |born| {
        let made = map.write(proc, born.pid).and_then(|()| crate::idmap::namespace_of(proc, born.pid));
        namespace = Some(made.doing("make a user namespace", "uid_map, gid_map")?);
        Ok(())
    })?;
    sys::wait_pidfd(born.pidfd.as_fd()).doing("wait for a process", "waitid")?;
    namespace.ok_or_else(|| Error::new("make a user namespace", "", io::Error::from_raw_os_error(libc::ECHILD)))
}

/// Does the steps in a process of its own with these namespaces, which then ends and takes all of it along: for
/// `ctr doctor`, which tries instead of guessing. `map` is for `CLONE_NEWUSER`; the first step then awaits it.
pub fn attempt(namespaces: u32, steps: &[Step], map: Option<&IdMap>) -> Result<()> {
    let proc = map.map(|_| procfs::open().doing("find /proc, to write id maps", "")).transpose()?;
    let way = Walk { steps, flags: namespaces, execs: false, group: None, lasting: false };
    let born = walk(&way, &mut [-1; 4], &mut Trace::new(false), |born| write_maps(map, proc.as_ref(), born.pid))?;
    sys::wait_pidfd(born.pidfd.as_fd()).doing("wait for a process", "waitid").map(drop)
}
