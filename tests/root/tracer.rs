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

/// The same for [`follow`].
const LONG_LIMIT: std::time::Duration = std::time::Duration::from_secs(20);

/// For how long nothing must happen after a command's end until what it left behind counts as settled.
const QUIET: std::time::Duration = std::time::Duration::from_millis(25);

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
    /// The first call after execve is 1. For [`follow`]: the first one of this number is 1, because a process that had to
    /// wait has made others in between.
    pub call: usize,
    /// Only if it is this one.
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

const OPTIONS: i32 = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC;

/// What is known of a run while it goes on.
struct Tracer {
    root: i32,
    processes: HashMap<i32, Process>,
    alive: Arc<Mutex<Vec<i32>>>,
    calls: Vec<Vec<i64>>,
    shot: Option<Shot>,
    hit: Option<i32>,
    /// The exit code of the command.
    code: Option<i32>,
    set_up: bool,
    /// Whoever becomes another program is let go of, unless it is the command.
    only_ours: bool,
    /// A shot counts the calls of its number alone.
    by_number: bool,
    kill_on_exit: i32,
}

impl Tracer {
    fn new(root: i32, shot: Option<Shot>) -> Tracer {
        Tracer {
            root,
            processes: HashMap::from([(root, Process { number: 0, known: true, error: None })]),
            alive: Arc::new(Mutex::new(vec![root])),
            calls: vec![vec![]],
            shot,
            hit: None,
            code: None,
            set_up: false,
            only_ours: false,
            by_number: false,
            kill_on_exit: libc::PTRACE_O_EXITKILL,
        }
    }

    fn enlist(&mut self, pid: i32) {
        if !self.processes.contains_key(&pid) {
            self.calls.push(vec![]);
            let number = self.calls.len() - 1;
            self.processes.insert(pid, Process { number, known: false, error: None });
            self.alive.lock().unwrap().push(pid);
        }
    }

    fn forget(&mut self, pid: i32) {
        self.alive.lock().unwrap().retain(|p| *p != pid);
        self.processes.remove(&pid);
    }

    /// Takes note of what waitpid says, and lets the process go on.
    fn event(&mut self, pid: i32, status: i32) {
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            if pid == self.root {
                self.code = Some(if libc::WIFEXITED(status) {
                    libc::WEXITSTATUS(status)
                } else {
                    128 + libc::WTERMSIG(status)
                });
            }
            self.forget(pid);
            return;
        }
        let (stop, event) = (libc::WSTOPSIG(status), status >> 16);
        self.enlist(pid);
        let mut deliver = 0;
        if pid == self.root && !self.set_up {
            self.set_up = true;
            let options = OPTIONS | self.kill_on_exit;
            assert_eq!(ptrace(libc::PTRACE_SETOPTIONS as u32, pid, 0, options as usize), 0);
        } else if event == libc::PTRACE_EVENT_STOP {
            // Of one that was seized, or that one of those has made; or a SIGSTOP.
            self.processes.get_mut(&pid).unwrap().known = true;
        } else if stop == libc::SIGTRAP && event != 0 {
            if event != libc::PTRACE_EVENT_EXEC {
                let mut born = 0_u64;
                ptrace(libc::PTRACE_GETEVENTMSG as u32, pid, 0, &raw mut born as usize);
                self.enlist(born as i32);
            } else if self.only_ours && pid != self.root {
                ptrace(libc::PTRACE_DETACH as u32, pid, 0, 0);
                self.forget(pid);
                return;
            }
        } else if stop == libc::SIGTRAP | 0x80 {
            let process = self.processes.get_mut(&pid).unwrap();
            process.known = true;
            match call_of(pid) {
                Some((true, nr)) => {
                    let mine = &mut self.calls[process.number];
                    mine.push(nr);
                    let which = if self.by_number { mine.iter().filter(|n| **n == nr).count() } else { mine.len() };
                    let here = (process.number, which, nr);
                    if let Some(shot) = self.shot.filter(|s| (s.process, s.call, s.number) == here) {
                        self.hit = Some(pid);
                        match shot.hit {
                            Hit::Kill => kill(pid),
                            Hit::Error(errno) => {
                                process.error = Some(errno);
                                // A descriptor is gone whatever close(2) says.
                                if nr != libc::SYS_close {
                                    registers(pid, |r| r.orig_rax = u64::MAX);
                                }
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
        } else if stop == libc::SIGSTOP && !self.processes[&pid].known {
            self.processes.get_mut(&pid).unwrap().known = true;
        } else {
            deliver = stop;
        }
        ptrace(libc::PTRACE_SYSCALL as u32, pid, 0, deliver as usize);
    }

    fn traced(self, hung: bool, out: &mut File, err: &mut File) -> Traced {
        let text = |file: &mut File| {
            let mut bytes = Vec::new();
            file.rewind().and_then(|()| file.read_to_end(&mut bytes)).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let done = Done { code: self.code.expect("its end was seen"), out: text(out), err: text(err) };
        Traced { done, calls: self.calls, hit: self.hit, hung }
    }
}

/// Starts it as a tracee, with files for its output.
fn spawn(command: &mut Command) -> (i32, File, File) {
    let (out, err) = (memory(), memory());
    command.stdout(Stdio::from(out.try_clone().unwrap())).stderr(Stdio::from(err.try_clone().unwrap()));
    // SAFETY: one system call, and no memory is touched.
    unsafe {
        command.pre_exec(|| match ptrace(libc::PTRACE_TRACEME as u32, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    (child.id() as i32, out, err)
}

/// Kills everybody who is alive when so much time has passed. Says whether that happened, once the sender is told.
fn dog(
    alive: &Arc<Mutex<Vec<i32>>>,
    limit: std::time::Duration,
) -> (mpsc::Sender<()>, std::thread::JoinHandle<bool>) {
    let (finished, watch) = mpsc::channel::<()>();
    let alive = alive.clone();
    let dog = std::thread::spawn(move || {
        let hung = watch.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
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
    });
    (finished, dog)
}

/// Runs it to the end of its last process. Standard input is the command's own business.
pub fn trace(command: &mut Command, shot: Option<Shot>) -> Traced {
    // Who has lost his parent comes to us, and not to a PID 1 that may not care.
    // SAFETY: no memory is involved.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    let (root, mut out, mut err) = spawn(command);
    let mut tracer = Tracer::new(root, shot);
    let (finished, dog) = dog(&tracer.alive, LIMIT);
    while let Some((pid, status)) = wait(0) {
        tracer.event(pid, status);
    }
    // Seen dead as a tracer, and now as the parent of orphans.
    // SAFETY: no memory is involved.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::__WALL | libc::WNOHANG) } > 0 {}
    let _ = finished.send(());
    // From here on nobody looks after orphans any more, so they shall not come.
    // SAFETY: no memory is involved.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) };
    let hung = dog.join().unwrap();
    tracer.traced(hung, &mut out, &mut err)
}

/// Runs it to its own end, and until what it leaves behind (a supervisor) has settled; that goes on without us then.
/// `others` live already (a supervisor too) and are numbered from 1 on. Whoever becomes another program is let go of.
pub fn follow(command: &mut Command, others: &[i32], shot: Option<Shot>) -> Traced {
    let (root, mut out, mut err) = spawn(command);
    let mut tracer = Tracer::new(root, shot);
    (tracer.only_ours, tracer.by_number, tracer.kill_on_exit) = (true, true, 0);
    for &pid in others {
        assert_eq!(ptrace(libc::PTRACE_SEIZE as u32, pid, 0, OPTIONS as usize), 0, "seize {pid}");
        tracer.enlist(pid);
        ptrace(libc::PTRACE_INTERRUPT as u32, pid, 0, 0);
        // The command waits in its first stop until the others are seen.
        let mut status = 0;
        // SAFETY: status outlives the call.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, libc::__WALL) }, pid);
        tracer.event(pid, status);
    }
    let (finished, dog) = dog(&tracer.alive, LONG_LIMIT);
    let mut last = std::time::Instant::now();
    loop {
        let over = tracer.code.is_some();
        match wait(if over { libc::WNOHANG } else { 0 }) {
            None => break,
            Some((0, _)) if last.elapsed() > QUIET => break,
            Some((0, _)) => std::thread::sleep(std::time::Duration::from_micros(500)),
            Some((pid, status)) => {
                tracer.event(pid, status);
                last = std::time::Instant::now();
            }
        }
    }
    let _ = finished.send(());
    let hung = dog.join().unwrap();
    for pid in tracer.processes.keys().copied().collect::<Vec<_>>() {
        let mut status = 0;
        // SAFETY: status outlives the call.
        unsafe {
            libc::kill(pid, libc::SIGSTOP);
            if libc::waitpid(pid, &mut status, libc::__WALL) != pid || !libc::WIFSTOPPED(status) {
                continue;
            }
            let stop = libc::WSTOPSIG(status);
            let ours = [libc::SIGSTOP, libc::SIGTRAP, libc::SIGTRAP | 0x80].contains(&stop);
            ptrace(libc::PTRACE_DETACH as u32, pid, 0, if ours { 0 } else { stop as usize });
            // If it stopped for something else first, ours is still to come, and this takes it away.
            libc::kill(pid, libc::SIGCONT);
        }
    }
    tracer.traced(hung, &mut out, &mut err)
}

/// The next thing that happens to a child or tracee of this thread: None if there is none left, pid 0 if WNOHANG says so.
fn wait(flags: i32) -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: status outlives the call.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::__WALL | libc::__WNOTHREAD | flags) };
    (pid >= 0).then_some((pid, status))
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
