//! This crate's raw system calls, one thin wrapper each: no policy, no retry, nothing allocated, `errno` untouched.
//!
//! Those for mounts and files are in `rootfs::sys` and re-exported here, so that the rest of ctr has one place to look.
//! `clone3` alone is in `container/spawn.rs`: it comes back twice.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use linux_raw_sys::general as k;
use linux_raw_sys::ioctl as io_numbers;
use linux_raw_sys::prctl as pr;
use sc::{syscall1, syscall2, syscall3, syscall4, syscall5, syscall6};

pub use rootfs::sys::{
    CWD, borrow, check, chown, fchdir as change_directory, fs_flags, fs_magic, fstat, getdents, mkdir, openat, read,
    rename, rewind, unlink, write, write_all,
};

fn at(fd: BorrowedFd) -> usize {
    fd.as_raw_fd() as usize
}

fn owned(answer: usize) -> OwnedFd {
    // SAFETY: only called with the number that a successful system call has just made for us.
    unsafe { OwnedFd::from_raw_fd(answer as RawFd) }
}

/// Takes over a descriptor that nobody in this process owns yet, such as one that was received as a number.
pub fn adopt(fd: RawFd) -> OwnedFd {
    owned(fd as usize)
}

/// What a symbolic link says, or a link of procfs shows. `readlinkat(2)`: how many bytes of `into` that took.
pub fn readlink(dir: BorrowedFd, path: &CStr, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the path is NUL-terminated; pointer and length are of one slice that we hold exclusively.
    check(unsafe {
        let (text, buffer) = (path.as_ptr() as usize, into.as_mut_ptr() as usize);
        syscall4(k::__NR_readlinkat as usize, at(dir), text, buffer, into.len())
    })
}

/// `exit_group(2)`.
pub fn exit(code: i32) -> ! {
    // SAFETY: no pointers; neither comes back, unless a filter denies it: then what is no instruction ends us.
    unsafe {
        syscall1(k::__NR_exit_group as usize, code as usize);
        syscall1(k::__NR_exit as usize, code as usize);
        std::arch::asm!("ud2", options(noreturn, nomem, nostack))
    }
}

/// `prctl(2)` with one argument.
fn prctl(option: u32, argument: usize) -> io::Result<usize> {
    // SAFETY: only used with options that take a number.
    check(unsafe { syscall5(k::__NR_prctl as usize, option as usize, argument, 0, 0, 0) })
}

/// Takes a capability out of the bounding set. `PR_CAPBSET_DROP`. EINVAL for one the kernel does not know.
pub fn drop_bounding(capability: u32) -> io::Result<()> {
    prctl(pr::PR_CAPBSET_DROP, capability as usize).map(drop)
}

/// Whether a capability is in the bounding set. `PR_CAPBSET_READ`. EINVAL for one the kernel does not know.
pub fn in_bounding_set(capability: u32) -> io::Result<bool> {
    prctl(pr::PR_CAPBSET_READ, capability as usize).map(|answer| answer == 1)
}

/// From here on no `execve` gives more privileges. `PR_SET_NO_NEW_PRIVS`.
pub fn no_new_privs() -> io::Result<()> {
    prctl(pr::PR_SET_NO_NEW_PRIVS, 1).map(drop)
}

/// The signal we get when the thread that made us dies; 0 for none. `PR_SET_PDEATHSIG`.
///
/// Quirk: a change of user or group ids clears it, so it comes after those.
pub fn parent_death_signal(signal: i32) -> io::Result<()> {
    prctl(pr::PR_SET_PDEATHSIG, signal as usize).map(drop)
}

/// Orphans below us become our children, not init's. `PR_SET_CHILD_SUBREAPER`.
pub fn adopt_orphans() -> io::Result<()> {
    prctl(pr::PR_SET_CHILD_SUBREAPER, 1).map(drop)
}

/// The permitted capabilities of the caller. `capget(2)`, version 3.
pub fn permitted() -> io::Result<u64> {
    const VERSION: u32 = 0x2008_0522;
    let header = [VERSION, 0];
    let mut data = [0u32; 6];
    // SAFETY: both arrays have the layout that version 3 names, and outlive the call, which writes the second one.
    let r = unsafe { syscall2(k::__NR_capget as usize, header.as_ptr() as usize, data.as_mut_ptr() as usize) };
    check(r).map(|_| u64::from(data[1]) | u64::from(data[4]) << 32)
}

/// Sets effective, permitted and inheritable capabilities of the caller; a cleared inheritable bit also leaves the
/// ambient set. `capset(2)`, version 3.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3` (include/uapi/linux/capability.h).
    const VERSION: u32 = 0x2008_0522;
    let header = [VERSION, 0];
    let data = [
        effective as u32,
        permitted as u32,
        inheritable as u32,
        (effective >> 32) as u32,
        (permitted >> 32) as u32,
        (inheritable >> 32) as u32,
    ];
    // SAFETY: both arrays have the layout that version 3 names, and outlive the call.
    let r = unsafe { syscall2(k::__NR_capset as usize, header.as_ptr() as usize, data.as_ptr() as usize) };
    check(r).map(drop)
}

/// `setgroups(2)`, for this thread alone: libc's would walk a list of threads that is not ours.
pub fn setgroups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: pointer and length are of one slice, which is only read.
    check(unsafe { syscall2(k::__NR_setgroups as usize, groups.len(), groups.as_ptr() as usize) }).map(drop)
}

/// `setresgid(2)`, all three, for this thread alone.
pub fn setgid(gid: u32) -> io::Result<()> {
    let id = gid as usize;
    // SAFETY: no pointers.
    check(unsafe { syscall3(k::__NR_setresgid as usize, id, id, id) }).map(drop)
}

/// `setresuid(2)`, all three, for this thread alone.
pub fn setuid(uid: u32) -> io::Result<()> {
    let id = uid as usize;
    // SAFETY: no pointers.
    check(unsafe { syscall3(k::__NR_setresuid as usize, id, id, id) }).map(drop)
}

/// `setsid(2)`.
pub fn setsid() -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { syscall1(k::__NR_setsid as usize, 0) }).map(drop)
}

/// `sethostname(2)`.
pub fn sethostname(name: &[u8]) -> io::Result<()> {
    // SAFETY: pointer and length are of one slice, which is only read.
    check(unsafe { syscall2(k::__NR_sethostname as usize, name.as_ptr() as usize, name.len()) }).map(drop)
}

/// `setdomainname(2)`.
pub fn setdomainname(name: &[u8]) -> io::Result<()> {
    // SAFETY: pointer and length are of one slice, which is only read.
    check(unsafe { syscall2(k::__NR_setdomainname as usize, name.as_ptr() as usize, name.len()) }).map(drop)
}

/// A new, empty session keyring: the caller's stays behind. `keyctl(2)`, `KEYCTL_JOIN_SESSION_KEYRING`.
pub fn new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: usize = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    check(unsafe { syscall2(k::__NR_keyctl as usize, KEYCTL_JOIN_SESSION_KEYRING, 0) }).map(drop)
}

/// Closes the descriptors from `first` to `last`. `close_range(2)`, Linux 5.9.
pub fn close_range(first: RawFd, last: u32) -> io::Result<()> {
    // SAFETY: no pointers. Only called right before execve, where no owner is left that could use what it closes.
    check(unsafe { syscall3(k::__NR_close_range as usize, first as usize, last as usize, 0) }).map(drop)
}

/// Makes `to` a copy of `from`, open across `execve`. `dup3(2)`; the same number is left as it is (`EINVAL` otherwise).
pub fn dup_to(from: BorrowedFd, to: RawFd) -> io::Result<()> {
    // SAFETY: no pointers. `to` is 0, 1 or 2, which no OwnedFd of ours holds.
    check(unsafe { syscall3(k::__NR_dup3 as usize, at(from), to as usize, 0) }).map(drop)
}

/// A copy of a descriptor at number 3 or above, close-on-exec. `F_DUPFD_CLOEXEC`.
pub fn dup(fd: BorrowedFd) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    check(unsafe { syscall3(k::__NR_fcntl as usize, at(fd), k::F_DUPFD_CLOEXEC as usize, 3) }).map(owned)
}

/// `pipe2(2)`: (read end, write end).
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0i32; 2];
    // SAFETY: the kernel writes two numbers, which are ours alone from then on.
    check(unsafe { syscall2(k::__NR_pipe2 as usize, ends.as_mut_ptr() as usize, k::O_CLOEXEC as usize) })?;
    Ok((owned(ends[0] as usize), owned(ends[1] as usize)))
}

/// `fchown(2)`.
pub fn fchown(fd: BorrowedFd, uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { syscall3(k::__NR_fchown as usize, at(fd), uid as usize, gid as usize) }).map(drop)
}

/// Whether this number, which may be nobody's (EBADF), stays open across `execve`. `F_SETFD`.
pub fn inherit(fd: RawFd, on: bool) -> io::Result<()> {
    let flags = if on { 0 } else { k::FD_CLOEXEC };
    // SAFETY: no pointers.
    check(unsafe { syscall3(k::__NR_fcntl as usize, fd as usize, k::F_SETFD as usize, flags as usize) }).map(drop)
}

/// A copy of a descriptor that stays open across `execve`, at the lowest free number that is not below `least`. `F_DUPFD`.
pub fn dup_inherited(fd: BorrowedFd, least: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    check(unsafe { syscall3(k::__NR_fcntl as usize, at(fd), k::F_DUPFD as usize, least as usize) }).map(owned)
}

/// Makes `fd` non-blocking or blocking, and tells what it was. `F_SETFL`.
pub fn set_nonblocking(fd: BorrowedFd, on: bool) -> io::Result<()> {
    // SAFETY: no pointers.
    let flags = check(unsafe { syscall3(k::__NR_fcntl as usize, at(fd), k::F_GETFL as usize, 0) })?;
    let flags = if on { flags | k::O_NONBLOCK as usize } else { flags & !(k::O_NONBLOCK as usize) };
    // SAFETY: as above.
    check(unsafe { syscall3(k::__NR_fcntl as usize, at(fd), k::F_SETFL as usize, flags) }).map(drop)
}

/// `flock(2)` exclusively; with `wait` false a lock that somebody holds is EWOULDBLOCK.
pub fn lock(fd: BorrowedFd, wait: bool) -> io::Result<()> {
    let how = libc::LOCK_EX | if wait { 0 } else { libc::LOCK_NB };
    // SAFETY: no pointers.
    check(unsafe { syscall2(k::__NR_flock as usize, at(fd), how as usize) }).map(drop)
}

/// Fills `into` with random bytes. `getrandom(2)`.
pub fn random(into: &mut [u8]) -> io::Result<()> {
    // SAFETY: pointer and length are of one slice that we hold exclusively; up to 256 bytes always come whole.
    let n = check(unsafe { syscall3(k::__NR_getrandom as usize, into.as_mut_ptr() as usize, into.len(), 0) })?;
    if n == into.len() { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EIO)) }
}

/// `execveat(2)`; an empty path executes `dir` itself. Comes back only with an error. A path of the working directory's is given to
/// `execve(2)`, which filters of users know.
pub fn exec(dir: BorrowedFd, path: &CStr, argv: &[*const c_char], envp: &[*const c_char]) -> io::Error {
    let flags = if path.is_empty() { k::AT_EMPTY_PATH } else { 0 };
    if !path.is_empty() && dir.as_raw_fd() == CWD.as_raw_fd() {
        let (argv, envp) = (argv.as_ptr() as usize, envp.as_ptr() as usize);
        // SAFETY: as below.
        let r = unsafe { syscall3(k::__NR_execve as usize, path.as_ptr() as usize, argv, envp) };
        return check(r).err().unwrap_or_else(|| io::Error::from_raw_os_error(libc::EIO));
    }
    debug_assert!(argv.last().is_some_and(|p| p.is_null()) && envp.last().is_some_and(|p| p.is_null()));
    // SAFETY: both arrays end with a null pointer, their strings are NUL-terminated, and all outlive the call.
    let r = unsafe {
        syscall5(
            k::__NR_execveat as usize,
            at(dir),
            path.as_ptr() as usize,
            argv.as_ptr() as usize,
            envp.as_ptr() as usize,
            flags as usize,
        )
    };
    check(r).err().unwrap_or_else(|| io::Error::from_raw_os_error(libc::EIO))
}

/// A set of signals as the kernel keeps it: bit n-1 for signal n.
pub type SignalSet = u64;

/// The set of one signal.
pub fn signal_bit(signal: i32) -> SignalSet {
    1 << (signal - 1)
}

/// Which signals wait instead of being delivered. `rt_sigprocmask(2)`, `SIG_SETMASK`.
pub fn block_signals(set: SignalSet) -> io::Result<()> {
    // SAFETY: the kernel reads eight bytes, the size that is passed.
    let r = unsafe {
        syscall4(
            k::__NR_rt_sigprocmask as usize,
            libc::SIG_SETMASK as usize,
            ptr::from_ref(&set) as usize,
            0,
            size_of::<SignalSet>(),
        )
    };
    check(r).map(drop)
}

/// The signals that are waiting. `rt_sigpending(2)`.
pub fn pending_signals() -> io::Result<SignalSet> {
    let mut set: SignalSet = 0;
    // SAFETY: the kernel writes eight bytes, the size that is passed.
    let r =
        unsafe { syscall2(k::__NR_rt_sigpending as usize, ptr::from_mut(&mut set) as usize, size_of::<SignalSet>()) };
    check(r).map(|_| set)
}

/// Gives a signal its default disposition, whatever our caller left. `rt_sigaction(2)`.
pub fn default_signal(signal: i32) -> io::Result<()> {
    // An all-zero kernel_sigaction: SIG_DFL, no flags, empty mask.
    let action = [0u64; 4];
    // SAFETY: struct kernel_sigaction is 32 bytes on x86_64, and is only read.
    let r = unsafe {
        syscall4(k::__NR_rt_sigaction as usize, signal as usize, action.as_ptr() as usize, 0, size_of::<SignalSet>())
    };
    check(r).map(drop)
}

/// A descriptor that blocked signals can be read from. `signalfd4(2)`, non-blocking.
pub fn signalfd(set: SignalSet) -> io::Result<OwnedFd> {
    let flags = k::O_CLOEXEC | k::O_NONBLOCK;
    // SAFETY: the kernel reads eight bytes, the size that is passed.
    let r = unsafe {
        syscall4(
            k::__NR_signalfd4 as usize,
            usize::MAX,
            ptr::from_ref(&set) as usize,
            size_of::<SignalSet>(),
            flags as usize,
        )
    };
    check(r).map(owned)
}

/// A signal that has arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrived {
    /// Its number.
    pub signal: i32,
    /// The kernel sent it (a terminal's Ctrl-C, say), not a process.
    pub by_kernel: bool,
}

/// The next signal that `signalfd` holds, if there is one.
pub fn next_signal(signals: BorrowedFd) -> io::Result<Option<Arrived>> {
    // struct signalfd_siginfo: 128 bytes; number, errno and code are the first three words.
    let mut info = [0u8; 128];
    let word = |info: &[u8; 128], n: usize| i32::from_ne_bytes([info[n], info[n + 1], info[n + 2], info[n + 3]]);
    match read(signals, &mut info) {
        Ok(n) if n >= 12 => Ok(Some(Arrived { signal: word(&info, 0), by_kernel: word(&info, 8) > 0 })),
        Ok(_) => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(e) => Err(e),
    }
}

/// One descriptor to wait for: number (negative: skipped), wanted and found events (`POLL*`).
pub type PollFd = k::pollfd;

/// Waits until one of `fds` has an event; `timeout` in milliseconds, negative for ever. `poll(2)`.
pub fn poll(fds: &mut [PollFd], timeout: i32) -> io::Result<usize> {
    // SAFETY: pointer and length are of one slice that we hold exclusively.
    check(unsafe { syscall3(k::__NR_poll as usize, fds.as_mut_ptr() as usize, fds.len(), timeout as usize) })
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// With an exit code.
    Code(u8),
    /// By a signal.
    Signal(u8),
}

impl Ended {
    /// As a shell counts: the code, or 128 + the signal.
    pub fn code(self) -> u8 {
        match self {
            Ended::Code(code) => code,
            Ended::Signal(signal) => 128u8.wrapping_add(signal),
        }
    }
}

fn wait(kind: u32, id: usize, options: i32) -> io::Result<Option<(i32, Ended)>> {
    // A signal that interrupts does not change what is waited for; nothing here is to be undone by one.
    loop {
        match wait_once(kind, id, options) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn wait_once(kind: u32, id: usize, options: i32) -> io::Result<Option<(i32, Ended)>> {
    // siginfo_t is 128 bytes, in words: si_signo, si_errno, si_code, padding, si_pid, si_uid, si_status.
    let mut info = [0i32; 32];
    // SAFETY: the kernel writes at most 128 bytes.
    let r = unsafe {
        syscall5(
            k::__NR_waitid as usize,
            kind as usize,
            id,
            info.as_mut_ptr() as usize,
            (libc::WEXITED | options) as usize,
            0,
        )
    };
    check(r)?;
    if info[0] == 0 {
        return Ok(None);
    }
    let ended =
        if info[2] == libc::CLD_EXITED { Ended::Code(info[6] as u8) } else { Ended::Signal((info[6] & 0x7f) as u8) };
    Ok(Some((info[4], ended)))
}

/// Waits for the child behind the pidfd. `waitid(2)` with `P_PIDFD`, Linux 5.4.
pub fn wait_pidfd(pidfd: BorrowedFd) -> io::Result<Ended> {
    wait(libc::P_PIDFD, at(pidfd), 0)?.map(|(_, ended)| ended).ok_or(io::Error::from_raw_os_error(libc::ECHILD))
}

/// Any child that has ended, if there is one: (pid, how). ECHILD when there are no children at all.
pub fn reap() -> io::Result<Option<(i32, Ended)>> {
    wait(libc::P_ALL, 0, libc::WNOHANG)
}

/// The number of a child that has ended and that nobody has waited for yet; it stays so. `waitid(2)`, `WNOWAIT`.
pub fn next_dead() -> io::Result<Option<u32>> {
    wait(libc::P_ALL, 0, libc::WNOHANG | libc::WNOWAIT).map(|found| found.map(|(pid, _)| pid as u32))
}

/// Waits for a child that has ended. `waitid(2)`, `P_PID`.
pub fn bury(pid: u32) -> io::Result<()> {
    wait(libc::P_PID, pid as usize, libc::WNOHANG).map(drop)
}

/// Loads a program that decides about device nodes; one word an instruction. `bpf(2)`, `BPF_PROG_LOAD` of
/// `BPF_PROG_TYPE_CGROUP_DEVICE`, Linux 4.15.
pub fn load_device_program(code: &[u64]) -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: usize = 5;
    const BPF_PROG_TYPE_CGROUP_DEVICE: u64 = 15;
    // The first part of union bpf_attr: type and number of instructions (a word each), instructions, license; the rest is zero.
    let mut attr = [0u64; 6];
    attr[0] = BPF_PROG_TYPE_CGROUP_DEVICE | (code.len() as u64) << 32;
    attr[1] = code.as_ptr() as u64;
    attr[2] = c"Apache-2.0".as_ptr() as u64;
    // SAFETY: the structure and what it points to outlive the call and are only read; its size is passed.
    check(unsafe { syscall3(k::__NR_bpf as usize, BPF_PROG_LOAD, attr.as_ptr() as usize, size_of_val(&attr)) })
        .map(owned)
}

/// Lets such a program decide for a v2 control group, beside those that there are. `bpf(2)`, `BPF_PROG_ATTACH`.
pub fn attach_device_program(group: BorrowedFd, program: BorrowedFd) -> io::Result<()> {
    const BPF_PROG_ATTACH: usize = 8;
    const BPF_CGROUP_DEVICE: u32 = 6;
    const BPF_F_ALLOW_MULTI: u32 = 2;
    let attr = [at(group) as u32, at(program) as u32, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI, 0, 0];
    // SAFETY: as above.
    check(unsafe { syscall3(k::__NR_bpf as usize, BPF_PROG_ATTACH, attr.as_ptr() as usize, size_of_val(&attr)) })
        .map(drop)
}

/// A descriptor for a process. `pidfd_open(2)`, Linux 5.3.
pub fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    check(unsafe { syscall2(k::__NR_pidfd_open as usize, pid as usize, 0) }).map(owned)
}

/// Sends a signal to exactly this process. `pidfd_send_signal(2)`, Linux 5.1.
pub fn pidfd_signal(pidfd: BorrowedFd, signal: i32) -> io::Result<()> {
    // SAFETY: a null siginfo is filled by the kernel.
    check(unsafe { syscall4(k::__NR_pidfd_send_signal as usize, at(pidfd), signal as usize, 0, 0) }).map(drop)
}

/// How a process ended that was not our child, once its pidfd is readable. `ioctl(2)`, `PIDFD_GET_INFO` with
/// `PIDFD_INFO_EXIT`, Linux 6.15 (include/uapi/linux/pidfd.h). None where the kernel does not tell, or not yet: only when its
/// parent has waited for it.
pub fn pidfd_ended(pidfd: BorrowedFd) -> Option<Ended> {
    /// `_IOWR(0xFF, 11, struct pidfd_info)` in its first form, 64 bytes.
    const PIDFD_GET_INFO: u32 = 0xc040_ff0b;
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    // mask, cgroupid, eleven ids of 32 bits, exit_code.
    let mut info = [0u64; 8];
    info[0] = PIDFD_INFO_EXIT;
    ioctl(pidfd, PIDFD_GET_INFO, info.as_mut_ptr() as usize).ok()?;
    if info[0] & PIDFD_INFO_EXIT == 0 {
        return None;
    }
    let status = (info[7] >> 32) as u32;
    // As wait(2) packs it.
    let signal = (status & 0x7f) as u8;
    Some(if signal == 0 { Ended::Code((status >> 8) as u8) } else { Ended::Signal(signal) })
}

/// How many programs decide which devices may be opened in a v2 control group and below, its ancestors' among them. `bpf(2)`,
/// `BPF_PROG_QUERY` (Linux 4.15).
pub fn device_programs(group: BorrowedFd) -> io::Result<u32> {
    const BPF_PROG_QUERY: usize = 16;
    const BPF_CGROUP_DEVICE: u32 = 6;
    const BPF_F_QUERY_EFFECTIVE: u32 = 1;
    let mut programs = [0u32; 64];
    // The first form of that part of union bpf_attr: target, kind, flags (both ways), pointer, count.
    let pointer = programs.as_mut_ptr() as u64;
    let (target, count) = (group.as_raw_fd() as u32, programs.len() as u32);
    let mut query = [
        u64::from(target) | u64::from(BPF_CGROUP_DEVICE) << 32,
        u64::from(BPF_F_QUERY_EFFECTIVE),
        pointer,
        u64::from(count),
    ];
    // SAFETY: the kernel reads and writes within the 32 bytes whose size is passed, and writes at most `count` numbers.
    let answer =
        unsafe { syscall3(k::__NR_bpf as usize, BPF_PROG_QUERY, query.as_mut_ptr() as usize, size_of_val(&query)) };
    check(answer).map(|_| query[3] as u32)
}

/// `kill(2)`.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { syscall2(k::__NR_kill as usize, pid as usize, signal as usize) }).map(drop)
}

/// Sleeps while `word` holds `value`, at most so many milliseconds. Not private to this address space, because the
/// kernel wakes it (`CLONE_CHILD_CLEARTID`) as if it were shared. `futex(2)`.
pub fn futex_wait(word: &AtomicU32, value: u32, milliseconds: u32) -> io::Result<()> {
    let timeout = [i64::from(milliseconds / 1000), i64::from(milliseconds % 1000) * 1_000_000];
    // SAFETY: the word is four aligned bytes that outlive the call; the timeout is a struct timespec.
    let r = unsafe {
        syscall6(
            k::__NR_futex as usize,
            word.as_ptr() as usize,
            libc::FUTEX_WAIT as usize,
            value as usize,
            timeout.as_ptr() as usize,
            0,
            0,
        )
    };
    check(r).map(drop)
}

/// Wakes whoever waits for `word`.
pub fn futex_wake(word: &AtomicU32) -> io::Result<()> {
    // SAFETY: as for futex_wait().
    let r = unsafe {
        syscall3(k::__NR_futex as usize, word.as_ptr() as usize, libc::FUTEX_WAKE as usize, i32::MAX as usize)
    };
    check(r).map(drop)
}

/// Sets the soft and hard limit of a resource (`RLIMIT_*`) of the caller. `prlimit64(2)`.
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = [soft, hard];
    // SAFETY: struct rlimit64 is two 64-bit numbers, and is only read.
    let r = unsafe { syscall4(k::__NR_prlimit64 as usize, 0, resource as usize, limit.as_ptr() as usize, 0) };
    check(r).map(drop)
}

/// The time since boot in nanoseconds, steadily rising. `clock_gettime(2)`.
pub fn now() -> u64 {
    let mut time = [0u64; 2];
    // SAFETY: struct timespec is two 64-bit numbers, which the kernel writes.
    unsafe { syscall2(k::__NR_clock_gettime as usize, libc::CLOCK_MONOTONIC as usize, time.as_mut_ptr() as usize) };
    time[0].wrapping_mul(1_000_000_000).wrapping_add(time[1])
}

/// The time of day: seconds since 1970 UTC, and nanoseconds of the second. `clock_gettime(2)`: cannot fail.
pub fn wall_clock() -> (i64, u32) {
    let mut time = [0i64; 2];
    // SAFETY: struct timespec is two 64-bit numbers, which the kernel writes.
    unsafe { syscall2(k::__NR_clock_gettime as usize, libc::CLOCK_REALTIME as usize, time.as_mut_ptr() as usize) };
    (time[0], time[1] as u32)
}

/// A descriptor that tells what happens to files, non-blocking. `inotify_init1(2)`, Linux 2.6.27. EMFILE when the user
/// has too many of them (`/proc/sys/fs/inotify/max_user_instances`).
pub fn inotify_init() -> io::Result<OwnedFd> {
    let flags = k::O_CLOEXEC | k::O_NONBLOCK;
    // SAFETY: no pointers.
    check(unsafe { syscall1(k::__NR_inotify_init1 as usize, flags as usize) }).map(owned)
}

/// Watches what is at `path` for the events in `mask` (`IN_*`); a link is followed. `inotify_add_watch(2)`. ENOSPC when
/// the user watches too much (`/proc/sys/fs/inotify/max_user_watches`). The answer is the watch's number in events.
pub fn inotify_add_watch(inotify: BorrowedFd, path: &CStr, mask: u32) -> io::Result<i32> {
    // SAFETY: the path is NUL-terminated, outlives the call, and is only read.
    let r =
        unsafe { syscall3(k::__NR_inotify_add_watch as usize, at(inotify), path.as_ptr() as usize, mask as usize) };
    check(r).map(|watch| watch as i32)
}

/// A pair of connected sockets to pass descriptors through. `socketpair(2)`.
pub fn socketpair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0i32; 2];
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel writes two numbers, which are ours alone from then on.
    let r = unsafe {
        syscall4(k::__NR_socketpair as usize, libc::AF_UNIX as usize, kind as usize, 0, ends.as_mut_ptr() as usize)
    };
    check(r)?;
    Ok((owned(ends[0] as usize), owned(ends[1] as usize)))
}

/// `struct msghdr` with one byte of data and room for one descriptor (unix(7), cmsg(3)).
#[repr(C, align(8))]
struct FdMessage {
    name: usize,
    name_len: usize,
    iov: usize,
    iov_len: usize,
    control: usize,
    control_len: usize,
    flags: usize,
}

/// `struct cmsghdr` followed by one descriptor, padded.
#[repr(C, align(8))]
struct FdControl {
    len: usize,
    level: i32,
    kind: i32,
    fd: i32,
    pad: i32,
}

fn fd_message(call: u32, socket: BorrowedFd, control: &mut FdControl, flags: i32) -> io::Result<usize> {
    let mut byte = [0u8; 1];
    let iov = [byte.as_mut_ptr() as usize, 1usize];
    let message = FdMessage {
        name: 0,
        name_len: 0,
        iov: iov.as_ptr() as usize,
        iov_len: 1,
        control: ptr::from_mut(control) as usize,
        control_len: size_of::<FdControl>(),
        flags: 0,
    };
    // SAFETY: all three structures have the kernel's layout and outlive the call; one received byte has its place.
    check(unsafe { syscall3(call as usize, at(socket), ptr::from_ref(&message) as usize, flags as usize) })
}

/// Sends a descriptor to whoever holds the other end. `sendmsg(2)`, `SCM_RIGHTS`.
pub fn send_fd(socket: BorrowedFd, fd: BorrowedFd) -> io::Result<()> {
    let len = size_of::<usize>() + 3 * size_of::<i32>();
    let mut control = FdControl { len, level: libc::SOL_SOCKET, kind: libc::SCM_RIGHTS, fd: fd.as_raw_fd(), pad: 0 };
    fd_message(k::__NR_sendmsg, socket, &mut control, libc::MSG_NOSIGNAL).map(drop)
}

/// Receives a descriptor that is there already; ENOENT if there is none.
pub fn receive_fd(socket: BorrowedFd) -> io::Result<OwnedFd> {
    let mut control = FdControl { len: 0, level: 0, kind: 0, fd: -1, pad: 0 };
    fd_message(k::__NR_recvmsg, socket, &mut control, libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC)?;
    if control.level == libc::SOL_SOCKET && control.kind == libc::SCM_RIGHTS && control.fd >= 0 {
        return Ok(adopt(control.fd));
    }
    Err(io::Error::from_raw_os_error(libc::ENOENT))
}

fn ioctl(fd: BorrowedFd, request: u32, argument: usize) -> io::Result<usize> {
    // SAFETY: the callers below pass what the request takes.
    check(unsafe { syscall3(k::__NR_ioctl as usize, at(fd), request as usize, argument) })
}

/// The settings of a terminal (termios(3)). ENOTTY if it is none.
pub fn terminal_settings(fd: BorrowedFd) -> io::Result<k::termios> {
    let mut settings = std::mem::MaybeUninit::<k::termios>::uninit();
    ioctl(fd, io_numbers::TCGETS, settings.as_mut_ptr() as usize)?;
    // SAFETY: the call succeeded, so the kernel filled the structure.
    Ok(unsafe { settings.assume_init() })
}

/// Puts settings in force after pending output is written. `TCSETSW`.
pub fn set_terminal(fd: BorrowedFd, settings: &k::termios) -> io::Result<()> {
    ioctl(fd, io_numbers::TCSETSW, ptr::from_ref(settings) as usize).map(drop)
}

/// Rows, columns and pixels of a terminal.
pub fn window_size(fd: BorrowedFd) -> io::Result<k::winsize> {
    let mut size = std::mem::MaybeUninit::<k::winsize>::zeroed();
    ioctl(fd, io_numbers::TIOCGWINSZ, size.as_mut_ptr() as usize)?;
    // SAFETY: zeroed is a valid winsize, and the kernel filled it.
    Ok(unsafe { size.assume_init() })
}

/// Sets them; the foreground process group gets SIGWINCH if they changed.
pub fn set_window_size(fd: BorrowedFd, size: &k::winsize) -> io::Result<()> {
    ioctl(fd, io_numbers::TIOCSWINSZ, ptr::from_ref(size) as usize).map(drop)
}

/// Unlocks the other end of a freshly opened pty master. `TIOCSPTLCK`.
pub fn unlock_pty(master: BorrowedFd) -> io::Result<()> {
    let no = 0i32;
    ioctl(master, io_numbers::TIOCSPTLCK, ptr::from_ref(&no) as usize).map(drop)
}

/// The other end of a pty, by descriptor: no path in `/dev/pts` is looked at. `TIOCGPTPEER`, Linux 4.13.
pub fn pty_peer(master: BorrowedFd) -> io::Result<OwnedFd> {
    let flags = k::O_RDWR | k::O_NOCTTY | k::O_CLOEXEC;
    ioctl(master, io_numbers::TIOCGPTPEER, flags as usize).map(owned)
}

/// Makes this the controlling terminal of our (new) session. `TIOCSCTTY`.
pub fn control_terminal(fd: BorrowedFd) -> io::Result<()> {
    ioctl(fd, io_numbers::TIOCSCTTY, 0).map(drop)
}

/// A file in memory with this content, which nobody can change any more. `memfd_create(2)`, `F_ADD_SEALS`.
pub fn sealed_memory(name: &CStr, content: &[u8]) -> io::Result<OwnedFd> {
    let flags = k::MFD_CLOEXEC | k::MFD_ALLOW_SEALING;
    // SAFETY: the name is NUL-terminated and only read.
    let file = check(unsafe { syscall2(k::__NR_memfd_create as usize, name.as_ptr() as usize, flags as usize) })
        .map(owned)?;
    write_all(std::os::fd::AsFd::as_fd(&file), content)?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: no pointers.
    let r = unsafe {
        syscall3(k::__NR_fcntl as usize, file.as_raw_fd() as usize, libc::F_ADD_SEALS as usize, seals as usize)
    };
    check(r)?;
    Ok(file)
}

/// Opens the first descriptor of the program, and thereby learns whether the three standard ones are there: if not, it
/// got the number of one of them. Those that are missing become /dev/null, or else the next file that is opened would be
/// the command's standard output.
pub fn with_three_descriptors<E>(open: impl Fn() -> Result<OwnedFd, E>) -> Result<OwnedFd, E> {
    let first = open()?;
    if first.as_raw_fd() > 2 {
        return Ok(first);
    }
    drop(first);
    // The lowest free number is taken first. In an initramfs there may be no /dev/null; a directory cannot be read or
    // written either.
    while let Ok(fd) =
        openat(CWD, c"/dev/null", k::O_RDWR, 0).or_else(|_| openat(CWD, c"/", k::O_RDONLY | k::O_DIRECTORY, 0))
    {
        if fd.as_raw_fd() > 2 {
            break;
        }
        let number = std::os::fd::IntoRawFd::into_raw_fd(fd) as usize;
        // SAFETY: no pointers. The command inherits it: it is not to be closed by execve.
        unsafe { syscall3(k::__NR_fcntl as usize, number, k::F_SETFD as usize, 0) };
    }
    open()
}

/// What the kernel told this program when it started it (getauxval(3)): no system call.
fn told(kind: u64) -> u32 {
    // SAFETY: the C library has kept where the vector is, and nobody changes it.
    unsafe { libc::getauxval(kind) as u32 }
}

/// Our effective user id, which never changes in ctr itself.
pub fn euid() -> u32 {
    told(libc::AT_EUID)
}

/// Our effective group id.
pub fn egid() -> u32 {
    told(libc::AT_EGID)
}

/// Whether every user and group id of ours is 0 (the saved ones are copies of the effective ones after `execve`).
pub fn all_ids_are_root() -> bool {
    [libc::AT_UID, libc::AT_EUID, libc::AT_GID, libc::AT_EGID].into_iter().all(|kind| told(kind) == 0)
}

/// The host name of our UTS namespace. `uname(2)`.
pub fn hostname() -> io::Result<String> {
    uname(1)
}

/// The kernel's release, such as `6.1.0-50-amd64`. `uname(2)`.
pub fn kernel_release() -> io::Result<String> {
    uname(2)
}

/// One of the fields of `struct new_utsname`: six strings of 65 bytes.
fn uname(field: usize) -> io::Result<String> {
    let mut names = [0u8; 6 * 65];
    // SAFETY: the kernel writes six strings of 65 bytes.
    check(unsafe { syscall1(k::__NR_uname as usize, names.as_mut_ptr() as usize) })?;
    let text = names.get(field * 65..(field + 1) * 65).unwrap_or_default();
    Ok(String::from_utf8_lossy(text.split(|b| *b == 0).next().unwrap_or_default()).into_owned())
}

/// Whether the caller may do this (`R_OK`, `W_OK`, `X_OK`) with what is at `path`. EROFS where nobody can write.
/// `faccessat(2)`.
///
/// Quirk: it asks for the real user id, which in ctr is the effective one.
pub fn access(path: &CStr, mode: i32) -> io::Result<()> {
    // SAFETY: the path is NUL-terminated and only read.
    let r = unsafe { syscall3(k::__NR_faccessat as usize, at(CWD), path.as_ptr() as usize, mode as usize) };
    check(r).map(drop)
}

/// The soft and hard limit of a resource (`RLIMIT_*`) of the caller. `prlimit64(2)`.
pub fn limit(resource: u32) -> io::Result<(u64, u64)> {
    let mut limit = [0u64; 2];
    // SAFETY: struct rlimit64 is two 64-bit numbers, which the kernel writes.
    let r = unsafe { syscall4(k::__NR_prlimit64 as usize, 0, resource as usize, 0, limit.as_mut_ptr() as usize) };
    check(r).map(|_| (limit[0], limit[1]))
}

/// What the kernel says to a system call filter that is not there: EFAULT if it takes filters (and only the pointer is
/// wrong), EINVAL or ENOSYS if it does not. `seccomp(2)`, `SECCOMP_SET_MODE_FILTER`.
pub fn seccomp_no_filter() -> io::Result<()> {
    // SAFETY: a null pointer is refused before anything changes.
    let r = unsafe { syscall3(k::__NR_seccomp as usize, libc::SECCOMP_SET_MODE_FILTER as usize, 0, 0) };
    check(r).map(drop)
}

/// Our pid in our own pid namespace. `getpid(2)`: cannot fail.
pub fn pid() -> u32 {
    // SAFETY: no pointers.
    unsafe { sc::syscall0(k::__NR_getpid as usize) as u32 }
}

/// Enters the mount namespace that we are in, which makes its root ours: out of a chroot. `pid` is our own.
/// `setns(2)` with a pidfd, Linux 5.8.
///
/// Who stays in a chroot that is a mount point can `pivot_root`, and exchanges the chroot's mount alone: the host's real
/// root stays above, and whoever may `chroot` climbs there. Pinned by tests/root/hostile.rs.
pub fn to_namespace_root(pid: u32) -> io::Result<()> {
    let ourselves = pidfd_open(pid)?;
    // SAFETY: no pointers.
    check(unsafe {
        syscall2(k::__NR_setns as usize, at(std::os::fd::AsFd::as_fd(&ourselves)), k::CLONE_NEWNS as usize)
    })?;
    // Close-on-exec does it, at no cost.
    let _ = std::os::fd::IntoRawFd::into_raw_fd(ourselves);
    Ok(())
}

/// Nobody without our privileges may read or trace this process, and what shares its memory. `PR_SET_DUMPABLE`.
pub fn not_dumpable() -> io::Result<()> {
    NOT_DUMPABLE.store(true, Ordering::Relaxed);
    prctl(pr::PR_SET_DUMPABLE, 0).map(drop)
}

/// That was so wanted, of memory that a child of ours may share.
static NOT_DUMPABLE: AtomicBool = AtomicBool::new(false);

/// The same again after a change of ids, if it was so before.
/// Quirk: with new effective ids the kernel makes it what `/proc/sys/fs/suid_dumpable` says (`commit_creds()`, kernel/cred.c), which
/// may be 1: everybody with these ids may look.
pub fn still_not_dumpable() -> io::Result<()> {
    if NOT_DUMPABLE.load(Ordering::Relaxed) { not_dumpable() } else { Ok(()) }
}

/// A process beside us (our parent's child), with a copy of our memory. Comes back in it with None, and here, with its number, when
/// that has become another program or is dead. The kernel puts the number into `number` before it runs; that is in our memory
/// alone. `clone(2)`, `CLONE_PARENT` and `CLONE_VFORK` without `CLONE_VM`.
///
/// Not clone3: filters cannot look into its arguments, and most answer ENOSYS.
pub fn fork_beside(number: &AtomicU32) -> io::Result<Option<u32>> {
    let flags = k::CLONE_PARENT | k::CLONE_VFORK | k::CLONE_PARENT_SETTID | libc::SIGCHLD as u32;
    // SAFETY: without CLONE_VM and with no stack of its own the child goes on here, on a copy of all that we have; neither it nor
    // we (one thread, a library without fork handlers in use) hold a lock. The kernel writes four bytes to `number`.
    let pid = check(unsafe { syscall5(k::__NR_clone as usize, flags as usize, 0, number.as_ptr() as usize, 0, 0) })?;
    Ok((pid != 0).then_some(pid as u32))
}

/// Some words that we share with every process that has a copy of our memory, for good. `mmap(2)`, `MAP_SHARED`.
pub fn shared_words() -> io::Result<&'static [AtomicU32; 4]> {
    let (may, how) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, of a page.
    let page = check(unsafe { syscall6(k::__NR_mmap as usize, 0, 4096, may as usize, how as usize, usize::MAX, 0) })?;
    // SAFETY: it is zeroed, aligned, large enough, and never unmapped; atomics may be written by others.
    Ok(unsafe { &*(page as *const [AtomicU32; 4]) })
}

/// Overwrites what the kernel put our environment into: nothing of it is there to be read any more, nor copied with our memory.
pub fn forget_environment() {
    for pair in environment().iter().filter(|pair| !pair.is_null()) {
        // SAFETY: NUL-terminated strings at the top of our stack, which is ours to write; who looks at a variable later finds
        // an empty string, which is none. There is one thread.
        unsafe { ptr::write_bytes(pair.cast_mut(), 0, libc::strlen(*pair)) };
    }
}

/// Whether the kernel gave this program more privileges than its caller has (a set-user-ID bit).
pub fn is_privileged_program() -> bool {
    told(libc::AT_SECURE) != 0
}

/// The foreground process group of a terminal. `TIOCGPGRP`.
pub fn foreground_of(fd: BorrowedFd) -> io::Result<i32> {
    let mut group = 0i32;
    ioctl(fd, io_numbers::TIOCGPGRP, ptr::from_mut(&mut group) as usize).map(|_| group)
}

/// Our process group. `getpgid(2)`: cannot fail for ourselves.
pub fn process_group() -> i32 {
    // SAFETY: no pointers.
    unsafe { syscall1(k::__NR_getpgid as usize, 0) as i32 }
}

/// The name that this program was executed by. By descriptor that is `/dev/fd/N` (execveat(2), fs/exec.c).
pub fn executed_as() -> &'static [u8] {
    // SAFETY: as for told(); AT_EXECFN is a NUL-terminated string at the top of the stack, there for good.
    unsafe { CStr::from_ptr(libc::getauxval(libc::AT_EXECFN) as *const c_char) }.to_bytes()
}

/// Whether it was executed by descriptor.
pub fn executed_by_descriptor() -> bool {
    executed_as().starts_with(b"/dev/fd/")
}

/// Our environment as the kernel gave it to us, its null at the end: for executing ourselves again, without a copy of it.
pub fn environment() -> &'static [*const c_char] {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: the C library has kept where it is, and nobody changes it (ctr never sets a variable): pointers up to a null, for good.
    unsafe {
        let mut count = 0;
        while !(*environ.add(count)).is_null() {
            count += 1;
        }
        std::slice::from_raw_parts(environ, count + 1)
    }
}

/// A second process that goes on from here, with a copy of our memory; the child gets None, the parent a descriptor of the
/// child and its number. `clone3(2)` without a stack of its own is fork(2). Signal handlers are the default ones in it.
///
/// Only for a process with one thread. The child has copies of all descriptors, and what they lock.
pub fn fork() -> io::Result<Option<(OwnedFd, u32)>> {
    let mut pidfd: RawFd = -1;
    let args = k::clone_args {
        flags: u64::from(k::CLONE_PIDFD) | k::CLONE_CLEAR_SIGHAND,
        pidfd: ptr::from_mut(&mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    // SAFETY: without CLONE_VM the child has memory of its own; the structure is only read, but for the pidfd, which is
    // written in the parent alone.
    let r = unsafe { syscall2(k::__NR_clone3 as usize, ptr::from_ref(&args) as usize, size_of_val(&args)) };
    let pid = check(r)? as u32;
    Ok((pid != 0).then(|| (owned(pidfd as usize), pid)))
}

/// Enters all these namespaces (`CLONE_NEW*`) of the process behind the pidfd at once, or none of them. A pid namespace is
/// entered by the children made afterwards. `setns(2)` with a pidfd, Linux 5.8.
pub fn enter_namespaces(process: BorrowedFd, which: u32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { syscall2(k::__NR_setns as usize, at(process), which as usize) }).map(drop)
}

/// Which namespaces are others than ours, is asked of `/proc/PID/ns`; this asks whether two open files are the same one.
pub fn same_file(one: BorrowedFd, other: BorrowedFd) -> io::Result<bool> {
    let (one, other) = (fstat(one)?, fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// `sockaddr_un` for a short name relative to the working directory (unix(7)).
fn unix_address(name: &CStr) -> io::Result<([u8; 110], usize)> {
    let mut address = [0u8; 110];
    address[..2].copy_from_slice(&(libc::AF_UNIX as u16).to_ne_bytes());
    let bytes = name.to_bytes_with_nul();
    let room = address.get_mut(2..2 + bytes.len()).ok_or(io::Error::from_raw_os_error(libc::ENAMETOOLONG))?;
    room.copy_from_slice(bytes);
    Ok((address, 2 + bytes.len()))
}

fn seqpacket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers.
    check(unsafe { syscall3(k::__NR_socket as usize, libc::AF_UNIX as usize, kind as usize, 0) }).map(owned)
}

/// A socket of whole messages that listens under a name in the working directory, non-blocking. `bind(2)`, `listen(2)`.
pub fn listen_at(name: &CStr) -> io::Result<OwnedFd> {
    let socket = seqpacket()?;
    let (address, length) = unix_address(name)?;
    // SAFETY: the address is a sockaddr_un of that length, and is only read.
    check(unsafe {
        syscall3(k::__NR_bind as usize, socket.as_raw_fd() as usize, address.as_ptr() as usize, length)
    })?;
    // SAFETY: no pointers.
    check(unsafe { syscall2(k::__NR_listen as usize, socket.as_raw_fd() as usize, 64) })?;
    Ok(socket)
}

/// Connects with a socket that listens under a name in the working directory; non-blocking. ECONNREFUSED if nobody listens,
/// EAGAIN if too many wait. `connect(2)`.
pub fn connect_to(name: &CStr) -> io::Result<OwnedFd> {
    let socket = seqpacket()?;
    let (address, length) = unix_address(name)?;
    // SAFETY: the address is a sockaddr_un of that length, and is only read.
    check(unsafe {
        syscall3(k::__NR_connect as usize, socket.as_raw_fd() as usize, address.as_ptr() as usize, length)
    })?;
    Ok(socket)
}

/// The next connection, non-blocking. `accept4(2)`.
pub fn accept(socket: BorrowedFd) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: null pointers: nobody wants to know the address.
    check(unsafe { syscall4(k::__NR_accept4 as usize, at(socket), 0, 0, flags as usize) }).map(owned)
}

/// Two connected sockets of whole messages, non-blocking. `socketpair(2)`.
pub fn message_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0i32; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the kernel writes two numbers, which are ours alone from then on.
    let r = unsafe {
        syscall4(k::__NR_socketpair as usize, libc::AF_UNIX as usize, kind as usize, 0, ends.as_mut_ptr() as usize)
    };
    check(r)?;
    Ok((owned(ends[0] as usize), owned(ends[1] as usize)))
}

/// Sends one message, whole or not at all. EAGAIN if there is no room, EPIPE if nobody is there. `sendto(2)`.
pub fn send(socket: BorrowedFd, message: &[u8]) -> io::Result<()> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: pointer and length are of one slice, which is only read; there is no address.
    check(unsafe {
        syscall6(k::__NR_sendto as usize, at(socket), message.as_ptr() as usize, message.len(), flags as usize, 0, 0)
    })
    .map(drop)
}

/// The next message; 0 at the end. EAGAIN if there is none yet. `recvfrom(2)`.
pub fn receive(socket: BorrowedFd, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are of one slice that we hold exclusively; nobody wants to know the address.
    check(unsafe {
        syscall6(
            k::__NR_recvfrom as usize,
            at(socket),
            into.as_mut_ptr() as usize,
            into.len(),
            libc::MSG_DONTWAIT as usize,
            0,
            0,
        )
    })
}

/// What was written to this file is on the disk when this returns. `fdatasync(2)`.
pub fn sync(file: BorrowedFd) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { syscall1(k::__NR_fdatasync as usize, at(file)) }).map(drop)
}

/// Renames within a directory; EEXIST if the new name is taken. `renameat2(2)`, `RENAME_NOREPLACE`.
pub fn rename_new(dir: BorrowedFd, from: &CStr, to: &CStr) -> io::Result<()> {
    let (from, to) = (from.as_ptr() as usize, to.as_ptr() as usize);
    let flags = k::RENAME_NOREPLACE as usize;
    // SAFETY: both names are NUL-terminated and only read.
    check(unsafe { syscall5(k::__NR_renameat2 as usize, at(dir), from, at(dir), to, flags) }).map(drop)
}

/// `ftruncate(2)`.
pub fn truncate(file: BorrowedFd, length: u64) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { syscall2(k::__NR_ftruncate as usize, at(file), length as usize) }).map(drop)
}

/// Makes sure that a file's first bytes have room on the disk, without changing what it says. `fallocate(2)`.
pub fn reserve(file: BorrowedFd, length: u64) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe {
        syscall4(k::__NR_fallocate as usize, at(file), libc::FALLOC_FL_KEEP_SIZE as usize, 0, length as usize)
    })
    .map(drop)
}

/// `flock(2)` shared, without waiting: EWOULDBLOCK if somebody holds the file exclusively.
pub fn lock_shared(fd: BorrowedFd) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { syscall2(k::__NR_flock as usize, at(fd), (libc::LOCK_SH | libc::LOCK_NB) as usize) }).map(drop)
}

/// Gives the kernel back whole pages of this range, but for those around one address. `madvise(2)`, `MADV_DONTNEED`.
fn give_back(start: usize, end: usize, but: usize) {
    /// The code that comes next may be in this page or the next one.
    const PAGES: usize = 2 * 4096;
    let here = but & !4095;
    for (start, end) in [(start, end.min(here)), (start.max(here + PAGES), end)] {
        let (first, last) = (start.next_multiple_of(4096), end & !4095);
        if first < last {
            // SAFETY: only called with the program's own code and constants, which nobody has written to, so that the pages
            // come back from the file as they were; and with stack that nothing refers to.
            unsafe { syscall3(k::__NR_madvise as usize, first, last - first, libc::MADV_DONTNEED as usize) };
        }
    }
}

/// Waits as [`poll`] does, for long: the pages of the program's code and constants, and of the stack that earlier calls have
/// used, are given back before. A process that only sleeps then holds next to nothing; what it needs when it wakes up comes
/// back from the page cache.
#[inline(never)]
pub fn sleep_lightly(fds: &mut [PollFd], timeout: i32) -> io::Result<usize> {
    unsafe extern "C" {
        static __executable_start: u8;
        static __init_array_start: u8;
    }
    // SAFETY: only the addresses of the linker's symbols are taken.
    let start = ptr::from_ref(unsafe { &__executable_start }) as usize;
    // SAFETY: as above. The constants end where the first writable section begins.
    let end = ptr::from_ref(unsafe { &__init_array_start }) as usize;
    let here = sleep_lightly as fn(&mut [PollFd], i32) -> io::Result<usize> as usize;
    let on_stack = ptr::from_ref(&start) as usize;
    // Below all that is in use: the frames of what is called from here are far smaller than a page, and no signal has a handler.
    give_back(on_stack - (256 << 10), on_stack - 4096, 0);
    give_back(start, end, here);
    // SAFETY: pointer and length are of one slice that we hold exclusively.
    check(unsafe { syscall3(k::__NR_poll as usize, fds.as_mut_ptr() as usize, fds.len(), timeout as usize) })
}

/// Gives back memory that was used and will not be read again before it is written anew.
pub fn forget_content<T>(memory: &mut [std::mem::MaybeUninit<T>]) {
    let start = memory.as_mut_ptr() as usize;
    let (first, last) = (start.next_multiple_of(4096), (start + size_of_val(memory)) & !4095);
    if first < last {
        // SAFETY: the whole pages of a slice that we hold exclusively, and whose content counts as not initialised.
        unsafe { syscall3(k::__NR_madvise as usize, first, last - first, libc::MADV_DONTNEED as usize) };
    }
}

/// One instruction of classic BPF (`struct sock_filter`, include/uapi/linux/filter.h).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Insn {
    /// What to do.
    pub code: u16,
    /// How many instructions a jump skips if its condition holds.
    pub yes: u8,
    /// The same if it does not.
    pub no: u8,
    /// A constant.
    pub k: u32,
}

/// Every system call of this thread passes this program from here on. `seccomp(2)`, `SECCOMP_SET_MODE_FILTER`, Linux 3.17.
///
/// Needs `no_new_privs`, or `CAP_SYS_ADMIN` in our user namespace (EACCES).
pub fn seccomp_filter(program: &[Insn], flags: u32) -> io::Result<()> {
    /// `struct sock_fprog`.
    #[repr(C)]
    struct Program {
        len: u16,
        insns: *const Insn,
    }
    const SECCOMP_SET_MODE_FILTER: usize = 1;
    let whole = Program { len: program.len() as u16, insns: program.as_ptr() };
    // SAFETY: the kernel reads this many instructions from a slice that outlives the call; their layout is its own.
    let r = unsafe {
        syscall3(k::__NR_seccomp as usize, SECCOMP_SET_MODE_FILTER, flags as usize, ptr::from_ref(&whole) as usize)
    };
    check(r).map(drop)
}

/// Permitted capabilities survive a change of ids, until `execve`. `PR_SET_KEEPCAPS`.
pub fn keep_capabilities() -> io::Result<()> {
    prctl(pr::PR_SET_KEEPCAPS, 1).map(drop)
}

/// A socket of IPv4 or IPv6, for a stream (TCP) or datagrams (UDP), non-blocking. `socket(2)`.
pub fn inet_socket(v6: bool, stream: bool) -> io::Result<OwnedFd> {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    let kind = if stream { libc::SOCK_STREAM } else { libc::SOCK_DGRAM } | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers.
    check(unsafe { syscall3(k::__NR_socket as usize, family as usize, kind as usize, 0) }).map(owned)
}

/// A socket's option that is a number. `setsockopt(2)`.
pub fn set_socket_option(socket: BorrowedFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    set_option(socket, level, option, &value.to_ne_bytes())
}

/// How many seconds a closed socket tries to deliver what is left; 0 makes it a reset at once (`SO_LINGER`, socket(7)).
pub fn set_linger(socket: BorrowedFd, seconds: i32) -> io::Result<()> {
    let [on, time] = [1_i32, seconds].map(i32::to_ne_bytes);
    set_option(socket, libc::SOL_SOCKET, libc::SO_LINGER, &[on, time].concat())
}

fn set_option(socket: BorrowedFd, level: i32, option: i32, value: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads `value.len()` bytes of a live slice.
    check(unsafe {
        syscall5(
            k::__NR_setsockopt as usize,
            at(socket),
            level as usize,
            option as usize,
            value.as_ptr() as usize,
            value.len(),
        )
    })
    .map(drop)
}

/// `sockaddr_in` or `sockaddr_in6` (ip(7), ipv6(7)), and how much of it counts.
fn inet_address(address: std::net::SocketAddr) -> ([u8; 28], usize) {
    let mut bytes = [0u8; 28];
    let mut put = |from: usize, part: &[u8]| {
        if let Some(place) = bytes.get_mut(from..from + part.len()) {
            place.copy_from_slice(part);
        }
    };
    put(2, &address.port().to_be_bytes());
    match address {
        std::net::SocketAddr::V4(address) => {
            put(0, &(libc::AF_INET as u16).to_ne_bytes());
            put(4, &address.ip().octets());
            (bytes, 16)
        }
        std::net::SocketAddr::V6(address) => {
            put(0, &(libc::AF_INET6 as u16).to_ne_bytes());
            put(8, &address.ip().octets());
            put(24, &address.scope_id().to_ne_bytes());
            (bytes, 28)
        }
    }
}

/// Gives a socket an address of this host. `bind(2)`.
pub fn bind_to(socket: BorrowedFd, address: std::net::SocketAddr) -> io::Result<()> {
    let (bytes, length) = inet_address(address);
    // SAFETY: the address is one of that length, and is only read.
    check(unsafe { syscall3(k::__NR_bind as usize, at(socket), bytes.as_ptr() as usize, length) }).map(drop)
}

/// Lets others connect. `listen(2)`.
pub fn listen_for(socket: BorrowedFd, backlog: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { syscall2(k::__NR_listen as usize, at(socket), backlog as usize) }).map(drop)
}

/// Begins to connect: EINPROGRESS where that takes time. `connect(2)`.
pub fn connect_with(socket: BorrowedFd, address: std::net::SocketAddr) -> io::Result<()> {
    let (bytes, length) = inet_address(address);
    // SAFETY: the address is one of that length, and is only read.
    check(unsafe { syscall3(k::__NR_connect as usize, at(socket), bytes.as_ptr() as usize, length) }).map(drop)
}

/// Whether a socket has another end. `getpeername(2)`.
pub fn is_connected(socket: BorrowedFd) -> bool {
    let (mut bytes, mut length) = ([0u8; 28], 28_u32);
    // SAFETY: the kernel writes at most `length` bytes to `bytes`, and the true length to `length`; both outlive the call.
    check(unsafe {
        syscall3(k::__NR_getpeername as usize, at(socket), bytes.as_mut_ptr() as usize, &raw mut length as usize)
    })
    .is_ok()
}

/// What went wrong with a socket since it was asked last; 0 for nothing (`SO_ERROR`, socket(7)).
pub fn socket_error(socket: BorrowedFd) -> io::Result<i32> {
    let (mut error, mut length) = (0_i32, 4_u32);
    // SAFETY: the kernel writes at most four bytes to `error`, and the length to `length`; both outlive the call.
    check(unsafe {
        syscall5(
            k::__NR_getsockopt as usize,
            at(socket),
            libc::SOL_SOCKET as usize,
            libc::SO_ERROR as usize,
            &raw mut error as usize,
            &raw mut length as usize,
        )
    })?;
    Ok(error)
}

/// An option of a socket, into `value`, which may hold what is asked; returns how long it is. `getsockopt(2)`.
pub fn get_option(socket: BorrowedFd, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize> {
    let mut length = u32::try_from(value.len()).unwrap_or(u32::MAX);
    // SAFETY: the kernel writes at most `length` bytes to `value`, and the true length to `length`; both outlive the call.
    check(unsafe {
        syscall5(
            k::__NR_getsockopt as usize,
            at(socket),
            level as usize,
            name as usize,
            value.as_mut_ptr() as usize,
            &raw mut length as usize,
        )
    })?;
    Ok(length as usize)
}

/// Nothing more will be sent. `shutdown(2)` with `SHUT_WR`.
pub fn shutdown(socket: BorrowedFd) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { syscall2(k::__NR_shutdown as usize, at(socket), libc::SHUT_WR as usize) }).map(drop)
}

/// Moves bytes between a socket and a pipe without showing them to us, and does not wait. `splice(2)`, Linux 2.6.17.
pub fn splice(from: BorrowedFd, to: BorrowedFd, most: usize) -> io::Result<usize> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    // SAFETY: null pointers: neither end has an offset.
    check(unsafe { syscall6(k::__NR_splice as usize, at(from), 0, at(to), 0, most, flags as usize) })
}

/// What an epoll instance shall tell of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// As long as there is something to read.
    Read,
    /// Whenever something has changed, once (`EPOLLET`).
    Changes,
}

/// An epoll instance. `epoll_create1(2)`.
pub fn epoll() -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    check(unsafe { syscall1(k::__NR_epoll_create1 as usize, libc::EPOLL_CLOEXEC as usize) }).map(owned)
}

/// Has an epoll instance tell of a file, by this number. `epoll_ctl(2)`.
pub fn epoll_add(epoll: BorrowedFd, file: BorrowedFd, interest: Interest, number: u64) -> io::Result<()> {
    let events = match interest {
        Interest::Read => libc::EPOLLIN,
        Interest::Changes => libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET,
    };
    let event = libc::epoll_event { events: events as u32, u64: number };
    // SAFETY: the event is only read, and outlives the call.
    check(unsafe {
        syscall4(
            k::__NR_epoll_ctl as usize,
            at(epoll),
            libc::EPOLL_CTL_ADD as usize,
            at(file),
            &raw const event as usize,
        )
    })
    .map(drop)
}

/// Waits, at most so many milliseconds, and says by their numbers which files have something to say. `epoll_wait(2)`.
pub fn epoll_wait(epoll: BorrowedFd, numbers: &mut [u64; 128], patience: i32) -> io::Result<usize> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 128];
    // SAFETY: the kernel writes at most 128 events to an array of that many, which outlives the call.
    let found = check(unsafe {
        syscall4(
            k::__NR_epoll_wait as usize,
            at(epoll),
            events.as_mut_ptr() as usize,
            events.len(),
            patience as usize,
        )
    })?;
    for (number, event) in numbers.iter_mut().zip(&events).take(found) {
        *number = event.u64;
    }
    Ok(found)
}

/// What we are called in lists of processes. `prctl(2)`, `PR_SET_NAME`.
pub fn set_name(name: &CStr) -> io::Result<()> {
    // SAFETY: a NUL-terminated string, which is only read.
    check(unsafe { syscall2(k::__NR_prctl as usize, pr::PR_SET_NAME as usize, name.as_ptr() as usize) }).map(drop)
}

/// A socket for ICMP, or ICMPv6, non-blocking: what is written is a message, what is read has IPv4's header in front. For
/// CAP_NET_RAW. `socket(2)`, raw(7).
pub fn icmp_socket(v6: bool) -> io::Result<OwnedFd> {
    let (family, protocol) =
        if v6 { (libc::AF_INET6, libc::IPPROTO_ICMPV6) } else { (libc::AF_INET, libc::IPPROTO_ICMP) };
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers.
    check(unsafe { syscall3(k::__NR_socket as usize, family as usize, kind as usize, protocol as usize) }).map(owned)
}

/// A socket for whole frames, non-blocking, which gets none until it is bound to a link. For CAP_NET_RAW. `socket(2)`, packet(7).
pub fn packet_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers.
    check(unsafe { syscall3(k::__NR_socket as usize, libc::AF_PACKET as usize, kind as usize, 0) }).map(owned)
}

/// Binds a socket for frames to the link with this number, and to frames of this protocol (`ETH_P_*`). `bind(2)` with a
/// `sockaddr_ll`.
pub fn bind_to_link(socket: BorrowedFd, protocol: u16, link: u32) -> io::Result<()> {
    let mut address = [0u8; 20];
    let parts =
        [&(libc::AF_PACKET as u16).to_ne_bytes()[..], &protocol.to_be_bytes(), &(link as i32).to_ne_bytes()].concat();
    address[..8].copy_from_slice(&parts);
    // SAFETY: the address is one of that length, and is only read.
    check(unsafe { syscall3(k::__NR_bind as usize, at(socket), address.as_ptr() as usize, address.len()) }).map(drop)
}
