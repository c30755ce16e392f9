//! Runs a command under ptrace, with every process that comes of it, and can hit one of them at one system call: with
//! SIGKILL, or with an error instead of the call. What strace's `inject` does, but for one process among several (ctr,
//! its child, the child's child, in the order in which they are born), and it returns only when all of them are gone.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};

use crate::support::Done;

/// How long a run may take, from its start to the end of its last process.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(6);

/// What happens to a process at a system call.
#[derive(Clone, Copy, Debug)]
pub enum Hit {
    /// SIGKILL, when it is about to make the call.
    Kill,
    /// The call is not made, and this is its error.
    Error(i32),
}

/// Whom it hits, and when.
#[derive(Clone, Copy, Debug)]
pub struct Shot {
    /// 0 is the command itself, 1 its first child, and so on.
    pub process: usize,
    /// The first call after execve is 1.
    pub call: usize,
    /// Only if it is this one: a process that had to wait has made others.
    pub number: i64,
    pub hit: Hit,
}

/// How it went.
pub struct Traced {
    pub done: Done,
    /// The system calls of each process, in the order of their birth.
    pub calls: Vec<Vec<i64>>,
    /// The pid of who was hit.
    pub hit: Option<i32>,
    /// Not everything was gone after [`LIMIT`], and was killed then.
    pub hung: bool,
}

impl std::fmt::Debug for Traced {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let calls: Vec<_> = self.calls.iter().map(Vec::len).collect();
        write!(f, "{:#?}, calls {calls:?}, hit {:?}, hung: {}", self.done, self.hit, self.hung)
    }
}

impl Traced {
    /// How many calls of this process are ours: up to its last execve.
    pub fn ours(&self, process: usize) -> usize {
        let calls = self.calls.get(process).map_or(&[][..], Vec::as_slice);
        calls
            .iter()
            .rposition(|nr| [libc::SYS_execve, libc::SYS_execveat].contains(nr))
            .map_or(calls.len(), |n| n + 1)
    }
}

struct Process {
    number: usize,
    /// Its first stop was seen.
    known: bool,
    error: Option<i32>,
}

/// Runs it to the end of its last process. Standard input is the command's own business.
pub fn trace(command: &mut Command, shot: Option<Shot>) -> Traced {
    let (mut out, mut err) = (memory(), memory());
    command.stdout(Stdio::from(out.try_clone().unwrap())).stderr(Stdio::from(err.try_clone().unwrap()));
    // SAFETY: one system call, and no memory is touched.
    unsafe {
        command.pre_exec(|| match ptrace(libc::PTRACE_TRACEME as u32, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    // Who has lost his parent comes to us, and not to a PID 1 that may not care.
    // SAFETY: no memory is involved.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let root = child.id() as i32;
    let mut processes = HashMap::from([(root, Process { number: 0, known: true, error: None })]);
    let alive = Arc::new(Mutex::new(vec![root]));
    let (finished, watch) = mpsc::channel::<()>();
    let dog = std::thread::spawn({
        let alive = alive.clone();
        move || {
            let hung = watch.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout);
            while hung && watch.recv_timeout(std::time::Duration::from_millis(100)).is_err() {
                let alive = alive.lock().unwrap();
                if alive.is_empty() {
                    break;
                }
                for pid in alive.iter() {
                    kill(*pid);
                }
            }
            hung
        }
    });

    let (mut calls, mut hit, mut code, mut set_up) = (vec![vec![]], None, None, false);
    loop {
        let mut status = 0;
        // SAFETY: status outlives the call.
        let pid = unsafe { libc::waitpid(-1, &mut status, libc::__WALL | libc::__WNOTHREAD) };
        if pid < 0 {
            break;
        }
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            if pid == root {
                code = Some(if libc::WIFEXITED(status) {
                    libc::WEXITSTATUS(status)
                } else {
                    128 + libc::WTERMSIG(status)
                });
            }
            alive.lock().unwrap().retain(|p| *p != pid);
            processes.remove(&pid);
            continue;
        }
        let (stop, event) = (libc::WSTOPSIG(status), status >> 16);
        let mut enlist = |pid: i32, processes: &mut HashMap<i32, Process>| {
            if !processes.contains_key(&pid) {
                calls.push(vec![]);
                processes.insert(pid, Process { number: calls.len() - 1, known: false, error: None });
                alive.lock().unwrap().push(pid);
            }
        };
        enlist(pid, &mut processes);
        let mut deliver = 0;
        if !set_up {
            set_up = true;
            let options = libc::PTRACE_O_TRACESYSGOOD
                | libc::PTRACE_O_TRACEFORK
                | libc::PTRACE_O_TRACEVFORK
                | libc::PTRACE_O_TRACECLONE
                | libc::PTRACE_O_TRACEEXEC
                | libc::PTRACE_O_EXITKILL;
            assert_eq!(ptrace(libc::PTRACE_SETOPTIONS as u32, root, 0, options as usize), 0);
        } else if stop == libc::SIGTRAP && event != 0 {
            if event != libc::PTRACE_EVENT_EXEC {
                let mut born = 0_u64;
                ptrace(libc::PTRACE_GETEVENTMSG as u32, pid, 0, &raw mut born as usize);
                enlist(born as i32, &mut processes);
            }
        } else if stop == libc::SIGTRAP | 0x80 {
            let process = processes.get_mut(&pid).unwrap();
            process.known = true;
            match call_of(pid) {
                Some((true, nr)) => {
                    let mine = &mut calls[process.number];
                    mine.push(nr);
                    if let Some(shot) =
                        shot.filter(|s| (s.process, s.call, s.number) == (process.number, mine.len(), nr))
                    {
                        hit = Some(pid);
                        match shot.hit {
                            Hit::Kill => kill(pid),
                            Hit::Error(errno) => {
                                process.error = Some(errno);
                                registers(pid, |r| r.orig_rax = u64::MAX);
                            }
                        }
                    }
                }
                Some((false, _)) => {
                    if let Some(errno) = process.error.take() {
                        registers(pid, |r| r.rax = i64::from(-errno) as u64);
                    }
                }
                None => {}
            }
        } else if stop == libc::SIGSTOP && !processes[&pid].known {
            processes.get_mut(&pid).unwrap().known = true;
        } else {
            deliver = stop;
        }
        ptrace(libc::PTRACE_SYSCALL as u32, pid, 0, deliver as usize);
    }
    // Seen dead as a tracer, and now as the parent of orphans.
    // SAFETY: no memory is involved.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::__WALL | libc::WNOHANG) } > 0 {}
    let _ = finished.send(());
    // From here on nobody looks after orphans any more, so they shall not come.
    // SAFETY: no memory is involved.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) };
    let hung = dog.join().unwrap();
    let text = |file: &mut File| {
        let mut bytes = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let done = Done { code: code.expect("its end was seen"), out: text(&mut out), err: text(&mut err) };
    Traced { done, calls, hit, hung }
}

/// Whether it enters a call (and which) or leaves one. None when it is dead by now.
fn call_of(pid: i32) -> Option<(bool, i64)> {
    const GET_SYSCALL_INFO: u32 = 0x420e;
    // struct ptrace_syscall_info: op in the first byte, the number of the call in the fourth word.
    let mut info = [0_u64; 11];
    let length = ptrace(GET_SYSCALL_INFO, pid, size_of_val(&info), info.as_mut_ptr() as usize);
    match info[0] as u8 {
        _ if length <= 0 => None,
        1 => Some((true, info[3] as i64)),
        2 => Some((false, 0)),
        _ => None,
    }
}

fn registers(pid: i32, change: impl FnOnce(&mut libc::user_regs_struct)) {
    // SAFETY: plain numbers, all bits zero are valid.
    let mut r: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    if ptrace(libc::PTRACE_GETREGS as u32, pid, 0, &raw mut r as usize) == 0 {
        change(&mut r);
        ptrace(libc::PTRACE_SETREGS as u32, pid, 0, &raw mut r as usize);
    }
}

fn ptrace(request: u32, pid: i32, address: usize, data: usize) -> i64 {
    // SAFETY: every caller passes what this request wants; a dead process gives ESRCH.
    unsafe { libc::ptrace(request as _, pid, address, data) }
}

fn kill(pid: i32) {
    // SAFETY: no memory is involved. Who is dead already stays dead.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// A file in memory.
fn memory() -> File {
    // SAFETY: the name is a C string, and the descriptor is new.
    unsafe {
        let fd = libc::memfd_create(c"output".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0);
        File::from_raw_fd(fd)
    }
}

/// A new terminal: the side that a person sits at, and the side that programs have.
pub fn terminal() -> (File, File) {
    let (mut ours, mut theirs) = (0, 0);
    // SAFETY: both outlive the call, and the descriptors are new.
    unsafe {
        let null = std::ptr::null_mut();
        assert_eq!(libc::openpty(&mut ours, &mut theirs, null, null.cast(), null.cast()), 0, "openpty");
        for fd in [ours, theirs] {
            libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
        }
        (File::from(OwnedFd::from_raw_fd(ours)), File::from(OwnedFd::from_raw_fd(theirs)))
    }
}

/// The settings of a terminal, in a form that can be compared.
pub fn settings(terminal: &File) -> String {
    // SAFETY: plain numbers, and it outlives the call.
    unsafe {
        let mut t: libc::termios = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), &mut t), 0);
        format!("{:?}", (t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag, t.c_cc))
    }
}

/// How many bytes wait to be read from it.
pub fn waiting(terminal: &File) -> i32 {
    let mut bytes = 0;
    // SAFETY: bytes outlives the call.
    unsafe { libc::ioctl(terminal.as_raw_fd(), libc::FIONREAD, &mut bytes) };
    bytes
}

/// In a session of its own with its standard input as controlling terminal, like a shell's command.
pub fn with_controlling_terminal(command: &mut Command) -> &mut Command {
    // SAFETY: two system calls, and no memory is touched.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        })
    }
}
