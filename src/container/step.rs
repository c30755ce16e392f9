//! One step of the way into a container, as data: it can be run, explained, timed and made to fail.
//!
//! [`Op`] is everything the child does between `clone3` and `execve`. What concerns files and mounts comes from the
//! `rootfs` crate; the rest is here. [`Op::run`] is async-signal-safe and runs in memory that the parent still uses: no
//! allocation, no lock, no panic. [`Step`] groups the operations that make one visible thing and says why.

use std::ffi::{CStr, CString, c_char};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use linux_raw_sys::general as k;
use rootfs::Trees;

use super::spec::Limit;
use super::sysctl::{self, Sysctl};
use crate::lsm::Label;
use crate::seccomp::Program as Filter;
use crate::{caps, cgroup, procfs, sys};

/// How often, in milliseconds, the child that waits for its parent looks whether there still is one.
const LOOK: u32 = 100;

/// Operations that belong together, with a name for errors and tests and the reason for readers.
#[derive(Debug)]
pub struct Step {
    /// Short and unique in a plan; `CTR_FAIL` and errors use it.
    pub name: &'static str,
    /// What this makes true, for `--trace` and `--dry-run`.
    pub why: &'static str,
    /// What is done, in order.
    pub ops: Vec<Op>,
}

/// Short-hand for plans.
pub fn step(name: &'static str, why: &'static str, ops: Vec<Op>) -> Step {
    Step { name, why, ops }
}

/// Where one of the three standard descriptors leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// To the caller's own file.
    Keep,
    /// Nowhere: `/dev/null` of the container.
    Null,
    /// To this descriptor of the parent's (a pipe).
    Fd(RawFd),
}

/// Null-terminated arrays of strings as `execve` wants them, made before there is a child.
#[derive(Debug)]
pub struct Strings {
    owned: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Strings {
    /// Takes the strings; their bytes do not move any more.
    pub fn new(owned: Vec<CString>) -> Strings {
        let pointers = owned.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect();
        Strings { owned, pointers }
    }

    /// The array, its null at the end.
    pub fn pointers(&self) -> &[*const c_char] {
        &self.pointers
    }
}

/// What is executed at the end.
#[derive(Debug)]
pub struct Program {
    /// ctr's own binary by descriptor, to be `--init`; otherwise the paths are tried.
    pub init: Option<RawFd>,
    /// The same by its name in the host's procfs, for a kernel that wants one ([`super::seal`]). Never inside of a container.
    pub init_name: Option<CString>,
    /// Where the command may be: itself if it has a slash, otherwise once per directory of PATH.
    pub paths: Vec<CString>,
    /// Arguments, the name first.
    pub argv: Strings,
    /// Environment.
    pub envp: Strings,
}

impl Program {
    /// The words of a command and its environment (`KEY=VALUE`); a name without a slash is looked for in its PATH.
    pub fn new(command: Vec<CString>, env: Vec<CString>, init: Option<RawFd>) -> Program {
        let name = command.first().cloned().unwrap_or_default();
        let path = env.iter().find_map(|pair| pair.to_bytes().strip_prefix(b"PATH=")).unwrap_or_default();
        let paths = if name.to_bytes().contains(&b'/') {
            vec![name]
        } else {
            let full = |dir: &[u8]| [if dir.is_empty() { b"." } else { dir }, b"/", name.to_bytes()].concat();
            // Neither part came with a NUL byte, so neither does the whole.
            path.split(|b| *b == b':').filter_map(|dir| CString::new(full(dir)).ok()).collect()
        };
        let argv = match init {
            None => command,
            Some(_) => [INIT.into(), c"--".into()].into_iter().chain(command).collect(),
        };
        Program { init, init_name: None, paths, argv: Strings::new(argv), envp: Strings::new(env) }
    }

    /// The command's name as typed.
    pub fn name(&self) -> &CStr {
        self.argv.owned.first().map_or(c"", |name| name.as_c_str())
    }
}

/// Becomes 1 when the child has done [`Op::LetGo`]. There is one such child in a life of ours.
pub static LET_GO: AtomicU32 = AtomicU32::new(0);

/// What ctr calls itself when it is PID 1 inside.
pub const INIT: &CStr = c"ctr-init";

/// One operation.
#[derive(Debug)]
pub enum Op {
    /// Files and mounts.
    Tree(rootfs::Op),
    /// Wait until the parent (its pidfd) has written the id maps of our user namespace, and what else must be there
    /// before us.
    AwaitParent(RawFd),
    /// These namespaces (`CLONE_NEW*`) of the process whose pidfd is in a slot become ours.
    Enter(rootfs::Slot, u32),
    /// New namespaces (`CLONE_NEW*`), whose owner is the user namespace that we are in.
    Unshare(u32),
    /// This descriptor is closed, and the parent told that it is ([`LET_GO`]).
    LetGo(RawFd),
    /// Our root becomes that of our mount namespace, which is another one if ctr was started in a chroot. We are process
    /// 1 of our pid namespace, or (`false`) of none of our own.
    NamespaceRoot { first: bool },
    /// Prepared rtnetlink requests, in one send; what they do, in words.
    Netlink(Vec<u8>, String),
    /// The host name of our UTS namespace.
    Hostname(String),
    /// Where kernel parameters are, into a slot: in the procfs in another slot, or at `/proc`, where it has just been mounted.
    SysctlPlace(Option<rootfs::Slot>, rootfs::Slot),
    /// A kernel parameter of our namespaces, in that place.
    Sysctl(Sysctl, rootfs::Slot),
    /// A session keyring of our own.
    Keyring,
    /// A session of our own.
    Session,
    /// A terminal of our own devpts becomes ours; its other end goes to the parent through this socket.
    /// `dev` is the directory of `/dev`.
    Terminal { dev: CString, parent: RawFd, size: Option<k::winsize>, owner: Option<(u32, u32)> },
    /// The same in a container that runs already, where others may have a hand in everything: the terminal is of a devpts, or it is
    /// none. It becomes that of our session if we are who leads it.
    TerminalIn { parent: RawFd, size: Option<k::winsize>, owner: Option<(u32, u32)>, leads: bool },
    /// What our standard input is becomes the terminal that our session has.
    Control,
    /// The three standard descriptors in a container that runs already: `/dev/null` is that device, or it is none.
    StdioIn([Stdio; 3]),
    /// The three standard descriptors; the path of `/dev/null`.
    Stdio(CString, [Stdio; 3]),
    /// Those of the three that lead to the file at this path lead to it through the mounts of our new mount namespace: who looks where
    /// they lead (`/proc/self/fd`, ttyname(3)) shall find it. Another file there (a volume's) changes nothing.
    Reopen(CString, [bool; 3]),
    /// A resource limit.
    Limit(Limit),
    /// The capabilities that no program below us can ever have again: all but these.
    Bounding(u64),
    /// Supplementary groups (None where they cannot be set), then group and user (None if they are that already).
    Become { groups: Option<Vec<u32>>, ids: Option<(u32, u32)> },
    /// Effective and permitted capabilities; inheritable and ambient ones are none.
    Capabilities(u64),
    /// The next `execve` makes us this to a security module; the descriptor of the host's procfs.
    Label(RawFd, Label),
    /// The permitted capabilities survive the change of ids.
    KeepCapabilities,
    /// From here on every system call passes this.
    Filter(Filter),
    /// No `execve` gives privileges any more.
    NoNewPrivs,
    /// We die when the parent does; and if it is dead already (its pidfd is readable) we do not start.
    Guard(RawFd),
    /// The same for who looks by himself whether the parent is dead already.
    DieWithParent,
    /// Enough is written down for us to be found by who comes after the parent: we outlive it.
    Unguard,
    /// The control groups that we are in are the roots of what we see of them.
    CgroupNamespace,
    /// This namespace (`CLONE_NEW*`) of the process behind this pidfd becomes ours; a pid namespace that of our children.
    EnterOf(RawFd, u32),
    /// All that follows is done by a process with a copy of our memory, not ours, and with nothing that the program is not to have.
    /// See [`super::enter`].
    Apart(Apart),
    /// We die when the parent does; and if it is dead already (its end of this pipe is closed) we do not start.
    GuardByPipe(RawFd),
    /// We join the control group that this file (its `cgroup.procs`) belongs to.
    Join(RawFd),
    /// A file of our control group gets this text.
    Put(RawFd, String),
    /// Wait for the end of the parent (its pidfd), then put these settings of the terminal in force. Everything else is
    /// closed first: this process must not keep the parent's pipes open.
    RestoreTerminal { parent: RawFd, terminal: RawFd, settings: k::termios },
    /// No signal is blocked any more.
    Signals,
    /// All descriptors from 3 on are closed, except one.
    CloseAll { but: Option<RawFd> },
    /// The user's program.
    Exec(Program),
}

/// What the process of [`Op::Apart`] tells, in memory that it shares with us. Whoever has power over it may write
/// anything there: these are numbers, to be looked at as such.
#[derive(Clone, Copy, Debug)]
pub struct Apart(pub &'static [AtomicU32; 4]);

/// What an operation may use beside itself.
pub struct Context<'a> {
    /// Detached mounts.
    pub trees: Trees<'a>,
    /// Becomes 1 when the parent has done its part, 2 when it could not.
    pub parent_ready: &'a AtomicU32,
}

impl Op {
    /// Does it. Async-signal-safe: see the head of this file.
    ///
    /// # Errors
    /// The kernel's, as a bare errno.
    pub fn run(&self, context: &mut Context) -> io::Result<()> {
        match self {
            Op::Tree(op) => op.run(&mut context.trees),
            Op::AwaitParent(parent) => await_parent(context.parent_ready, *parent),
            Op::Enter(holder, which) => {
                let holder = context.trees.fds.get(*holder).copied().unwrap_or(-1);
                sys::enter_namespaces(sys::borrow(holder.max(0)), *which)
            }
            Op::Unshare(which) => rootfs::sys::unshare(*which),
            Op::LetGo(fd) => {
                sys::close_range(*fd, *fd as u32)?;
                LET_GO.store(1, Ordering::Release);
                sys::futex_wake(&LET_GO)
            }
            Op::NamespaceRoot { first } => sys::to_namespace_root(if *first { 1 } else { sys::pid() }),
            Op::Netlink(messages, _) => netlink::transact_all(messages).map_err(|(_, error)| error),
            Op::Hostname(name) => sys::sethostname(name.as_bytes()),
            Op::SysctlPlace(proc, into) => {
                let proc = if let Some(tree) = proc.and_then(|slot| context.trees.fds.get(slot)) {
                    *tree
                } else {
                    let flags = k::O_PATH | k::O_DIRECTORY | k::O_NOFOLLOW;
                    sys::openat(sys::CWD, c"/proc", flags, 0)?.into_raw_fd()
                };
                let place = sysctl::place(sys::borrow(proc))?.into_raw_fd();
                let slot = context.trees.fds.get_mut(*into).ok_or(io::Error::from_raw_os_error(libc::EBADF))?;
                *slot = place;
                Ok(())
            }
            Op::Sysctl(sysctl, place) => {
                let place = context.trees.fds.get(*place).copied().unwrap_or(-1);
                sysctl::set(sys::borrow(place.max(0)), sysctl)
            }
            Op::Keyring => match sys::new_session_keyring() {
                // A kernel without keyrings has none to leave.
                Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
                done => done,
            },
            Op::Session => sys::setsid(),
            Op::Terminal { dev, parent, size, owner } => terminal(dev, *parent, size.as_ref(), *owner),
            Op::TerminalIn { parent, size, owner, leads } => terminal_in(*parent, size.as_ref(), *owner, *leads),
            Op::Control => sys::control_terminal(sys::borrow(0)),
            Op::StdioIn(three) => stdio_in(*three),
            Op::Stdio(dev, three) => stdio(dev, *three),
            Op::Reopen(path, which) => reopen(path, *which),
            Op::Limit(limit) => sys::set_limit(limit.resource, limit.soft, limit.hard),
            Op::Bounding(keep) => bounding(*keep),
            Op::Become { groups, ids } => {
                if let Some(groups) = groups {
                    sys::setgroups(groups)?;
                }
                match ids {
                    Some((uid, gid)) => {
                        // At once: our memory is the parent's too, and whoever has these ids might look into it now. That needs
                        // a host whose fs.suid_dumpable is 1, and for a program of that user's to come in between.
                        sys::setgid(*gid).and_then(|()| sys::setuid(*uid)).and_then(|()| sys::still_not_dumpable())
                    }
                    None => Ok(()),
                }
            }
            Op::Capabilities(set) => match sys::capset(*set, *set, 0) {
                // We are in a container ourselves, which lacks one of the usual: nobody can give what he does not have.
                Err(e) if e.raw_os_error() == Some(libc::EPERM) => {
                    let ours = sys::permitted()?;
                    let set = *set & (ours | !caps::DEFAULT);
                    sys::capset(set, set, 0)
                }
                done => done,
            },
            Op::NoNewPrivs => sys::no_new_privs(),
            Op::Label(proc, label) => label.write(sys::borrow(*proc)),
            Op::KeepCapabilities => sys::keep_capabilities(),
            Op::Filter(program) => program.install(),
            Op::Guard(parent) => guard(*parent),
            Op::DieWithParent => sys::parent_death_signal(libc::SIGKILL),
            Op::Unguard => sys::parent_death_signal(0),
            Op::EnterOf(process, which) => sys::enter_namespaces(sys::borrow(*process), *which),
            // By who runs the list: it goes on in two.
            Op::Apart(_) => Err(io::Error::from_raw_os_error(libc::EINVAL)),
            Op::GuardByPipe(pipe) => guard_by_pipe(*pipe),
            Op::CgroupNamespace => rootfs::sys::unshare(k::CLONE_NEWCGROUP),
            Op::Join(door) => cgroup::join(sys::borrow(*door)),
            Op::Put(file, text) => sys::write(sys::borrow(*file), text.as_bytes()).map(drop),
            Op::RestoreTerminal { parent, terminal, settings } => {
                close_all_but(&[*parent.min(terminal), *parent.max(terminal)])?;
                sys::poll(&mut [sys::PollFd { fd: *parent, events: libc::POLLIN, revents: 0 }], -1)?;
                sys::set_terminal(sys::borrow(*terminal), settings)
            }
            Op::Signals => sys::block_signals(0),
            Op::CloseAll { but } => close_all_but(but.as_slice()),
            Op::Exec(program) => Err(execute(program)),
        }
    }
}

fn await_parent(ready: &AtomicU32, parent: RawFd) -> io::Result<()> {
    loop {
        match ready.load(Ordering::Acquire) {
            0 => {}
            1 => return Ok(()),
            _ => return Err(io::Error::from_raw_os_error(libc::ECANCELED)),
        }
        match sys::futex_wait(ready, 0, LOOK) {
            Err(e) if e.raw_os_error() == Some(libc::ETIMEDOUT) => alive(parent)?,
            _ => {}
        }
    }
}

/// ESRCH if the process behind the pidfd has ended.
fn alive(process: RawFd) -> io::Result<()> {
    let mut wanted = [sys::PollFd { fd: process, events: libc::POLLIN, revents: 0 }];
    if sys::poll(&mut wanted, 0)? == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
}

/// The directory of `/dev`, as a place.
fn open_dev(dev: &CStr) -> io::Result<OwnedFd> {
    sys::openat(sys::CWD, dev, k::O_PATH | k::O_DIRECTORY, 0)
}

fn terminal(dev: &CStr, parent: RawFd, size: Option<&k::winsize>, owner: Option<(u32, u32)>) -> io::Result<()> {
    let dev = open_dev(dev)?;
    let master = sys::openat(dev.as_fd(), c"pts/ptmx", k::O_RDWR | k::O_NOCTTY, 0)?;
    sys::unlock_pty(master.as_fd())?;
    let ours = sys::pty_peer(master.as_fd())?;
    if let Some(size) = size {
        sys::set_window_size(master.as_fd(), size)?;
    }
    if let Some((uid, gid)) = owner {
        sys::fchown(ours.as_fd(), uid, gid)?;
    }
    sys::control_terminal(ours.as_fd())?;
    sys::send_fd(sys::borrow(parent), master.as_fd())?;
    let flags = k::O_WRONLY | k::O_CREAT | k::O_EXCL | k::O_NOFOLLOW;
    let console = sys::openat(dev.as_fd(), c"console", flags, 0o600)?;
    // The first terminal of a new devpts is number 0, and nobody but us has been here.
    let slave = rootfs::sys::open_tree(dev.as_fd(), c"pts/0", false)?;
    rootfs::sys::move_mount(slave.as_fd(), dev.as_fd(), c"console")?;
    for number in 0..3 {
        sys::dup_to(ours.as_fd(), number)?;
    }
    // Close-on-exec does it, at no cost.
    for fd in [dev, master, ours, console, slave] {
        let _ = fd.into_raw_fd();
    }
    Ok(())
}

/// A terminal of the container's devpts (CVE-2025-52565: what is at these paths is asked of the kernel, not believed).
fn terminal_in(parent: RawFd, size: Option<&k::winsize>, owner: Option<(u32, u32)>, leads: bool) -> io::Result<()> {
    let root = sys::openat(sys::CWD, c"/", k::O_PATH | k::O_DIRECTORY, 0)?;
    let flags = k::O_RDWR | k::O_NOCTTY | k::O_NONBLOCK;
    let master = rootfs::path::open(root.as_fd(), c"/dev/pts/ptmx", flags, rootfs::path::Links::Refuse)?;
    if sys::fs_magic(master.as_fd())? != u64::from(k::DEVPTS_SUPER_MAGIC) {
        return Err(io::Error::from_raw_os_error(libc::ENOTTY));
    }
    sys::set_nonblocking(master.as_fd(), false)?;
    sys::unlock_pty(master.as_fd())?;
    let ours = sys::pty_peer(master.as_fd())?;
    if let Some(size) = size {
        sys::set_window_size(master.as_fd(), size)?;
    }
    if let Some((uid, gid)) = owner {
        sys::fchown(ours.as_fd(), uid, gid)?;
    }
    if leads {
        sys::control_terminal(ours.as_fd())?;
    }
    sys::send_fd(sys::borrow(parent), master.as_fd())?;
    for number in 0..3 {
        sys::dup_to(ours.as_fd(), number)?;
    }
    // Close-on-exec does it, at no cost.
    for fd in [root, master, ours] {
        let _ = fd.into_raw_fd();
    }
    Ok(())
}

fn stdio_in(three: [Stdio; 3]) -> io::Result<()> {
    for (place, number) in three.into_iter().zip(0..) {
        match place {
            Stdio::Keep => {}
            Stdio::Fd(fd) => sys::dup_to(sys::borrow(fd), number)?,
            Stdio::Null => {
                let root = sys::openat(sys::CWD, c"/", k::O_PATH | k::O_DIRECTORY, 0)?;
                let flags = k::O_RDWR | k::O_NOCTTY | k::O_NONBLOCK;
                let null = rootfs::path::open(root.as_fd(), c"/dev/null", flags, rootfs::path::Links::Refuse)?;
                let stat = sys::fstat(null.as_fd())?;
                // Character device 1:3, as the kernel packs it.
                if stat.st_mode & k::S_IFMT != k::S_IFCHR || stat.st_rdev != 0x103 {
                    return Err(io::Error::from_raw_os_error(libc::ENODEV));
                }
                sys::dup_to(null.as_fd(), number)?;
                let _ = (root.into_raw_fd(), null.into_raw_fd());
            }
        }
    }
    Ok(())
}

fn stdio(dev: &CStr, three: [Stdio; 3]) -> io::Result<()> {
    for (stdio, number) in three.into_iter().zip(0..) {
        match stdio {
            Stdio::Keep => {}
            Stdio::Fd(fd) => sys::dup_to(sys::borrow(fd), number)?,
            Stdio::Null => {
                let null = sys::openat(sys::CWD, dev, k::O_RDWR | k::O_NOCTTY, 0)?;
                sys::dup_to(null.as_fd(), number)?;
                let _ = null.into_raw_fd();
            }
        }
    }
    Ok(())
}

fn reopen(path: &CStr, which: [bool; 3]) -> io::Result<()> {
    let Ok(file) = sys::openat(sys::CWD, path, k::O_RDWR | k::O_NOCTTY | k::O_NOFOLLOW, 0) else { return Ok(()) };
    let mut same = None;
    for (number, _) in (0..).zip(which).filter(|(_, wanted)| *wanted) {
        let old = sys::borrow(number);
        if *same.get_or_insert(sys::same_file(file.as_fd(), old)?) {
            sys::dup_to(file.as_fd(), number)?;
        }
    }
    // Close-on-exec does it, at no cost.
    let _ = file.into_raw_fd();
    Ok(())
}

fn bounding(keep: u64) -> io::Result<()> {
    for capability in (0..64).filter(|c| keep & caps::bit(*c) == 0) {
        match sys::drop_bounding(capability) {
            // The first number that the kernel does not know: there are no more.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => break,
            done => done?,
        }
    }
    Ok(())
}

fn guard(parent: RawFd) -> io::Result<()> {
    sys::parent_death_signal(libc::SIGKILL)?;
    // It may have died before we asked to hear of it.
    alive(parent)
}

/// By calls that a filter has to allow: it is there already.
fn guard_by_pipe(pipe: RawFd) -> io::Result<()> {
    sys::parent_death_signal(libc::SIGKILL)?;
    // Nothing is ever written to it, so who still holds the other end makes us wait: EAGAIN.
    match sys::read(sys::borrow(pipe), &mut [0]) {
        Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => Ok(()),
        Err(e) => Err(e),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::ESRCH)),
    }
}

/// Closes everything from 3 on but these, which are in rising order.
fn close_all_but(kept: &[RawFd]) -> io::Result<()> {
    let mut first = 3;
    for fd in kept.iter().copied().filter(|fd| *fd >= 3) {
        if fd > first {
            sys::close_range(first, fd as u32 - 1)?;
        }
        first = fd + 1;
    }
    sys::close_range(first, u32::MAX)
}

fn execute(program: &Program) -> io::Error {
    let (argv, envp) = (program.argv.pointers(), program.envp.pointers());
    if let Some(fd) = program.init {
        let error = sys::exec(sys::borrow(fd), c"", argv, envp);
        return match &program.init_name {
            Some(name) if error.raw_os_error() == Some(libc::ENOENT) => {
                let from_procfs = procfs::open().and_then(|proc| sys::change_directory(proc.as_fd()));
                from_procfs.err().unwrap_or_else(|| sys::exec(sys::CWD, name, argv, envp))
            }
            _ => error,
        };
    }
    let mut worst = io::Error::from_raw_os_error(libc::ENOENT);
    for path in &program.paths {
        let error = sys::exec(sys::CWD, path, argv, envp);
        match error.raw_os_error() {
            // As execvp(3) has it: not here, or not for us: look further.
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            Some(libc::EACCES) => worst = error,
            _ => return error,
        }
    }
    worst
}

/// `CLONE_NEW*` in words.
pub fn namespaces(flags: u32) -> String {
    let all = [
        (k::CLONE_NEWUSER, "user"),
        (k::CLONE_NEWNS, "mount"),
        (k::CLONE_NEWPID, "pid"),
        (k::CLONE_NEWUTS, "uts"),
        (k::CLONE_NEWIPC, "ipc"),
        (k::CLONE_NEWNET, "net"),
        (k::CLONE_NEWCGROUP, "cgroup"),
    ];
    all.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
}

fn words(strings: &Strings) -> String {
    strings.owned.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Op::Tree(op) => op.fmt(f),
            Op::AwaitParent(_) => write!(f, "wait for ctr"),
            Op::Enter(_, which) | Op::EnterOf(_, which) => write!(f, "setns {}", namespaces(*which)),
            Op::Unshare(which) => write!(f, "unshare {}", namespaces(*which)),
            Op::LetGo(fd) => write!(f, "close {fd}"),
            Op::NamespaceRoot { .. } => write!(f, "setns to our own mount namespace"),
            Op::Netlink(_, words) => write!(f, "{words}"),
            Op::Hostname(name) => write!(f, "hostname {name}"),
            Op::SysctlPlace(..) => write!(f, "open /proc/sys"),
            Op::Sysctl(Sysctl { key, value, .. }, _) => write!(f, "sysctl -w {key}={}", value.to_string_lossy()),
            Op::Keyring => write!(f, "keyctl new_session"),
            Op::Session => write!(f, "setsid"),
            Op::Terminal { .. } => write!(f, "open /dev/pts/ptmx, TIOCSCTTY, mount --bind /dev/pts/0 /dev/console"),
            Op::TerminalIn { .. } => write!(f, "open /dev/pts/ptmx, TIOCSCTTY"),
            Op::StdioIn(three) | Op::Stdio(_, three) => {
                let names = three.map(|stdio| match stdio {
                    Stdio::Keep => "ctr's own",
                    Stdio::Null => "/dev/null",
                    Stdio::Fd(_) => "a pipe",
                });
                write!(f, "stdin {}, stdout {}, stderr {}", names[0], names[1], names[2])
            }
            Op::Reopen(path, _) => write!(f, "open {} again", path.to_string_lossy()),
            Op::Limit(limit) => write!(f, "prlimit {} {}:{}", limit.resource, limit.soft, limit.hard),
            Op::Bounding(keep) => write!(f, "capsh --drop=all but {}", caps::list(*keep)),
            Op::Become { groups, ids } => {
                let groups = groups.as_ref().map(|groups| format!("setgroups {groups:?}"));
                let ids = ids.map(|(uid, gid)| format!("setgid {gid} setuid {uid}"));
                let both: Vec<String> = [groups, ids].into_iter().flatten().collect();
                write!(f, "{}", if both.is_empty() { "as it is".to_owned() } else { both.join(" ") })
            }
            Op::Capabilities(0) => write!(f, "capset none"),
            Op::Capabilities(set) => write!(f, "capset {}", caps::list(*set)),
            Op::NoNewPrivs => write!(f, "prctl PR_SET_NO_NEW_PRIVS"),
            Op::Label(_, label) => {
                write!(f, "echo {} > {}", label.text().to_string_lossy(), label.file().to_string_lossy())
            }
            Op::KeepCapabilities => write!(f, "prctl PR_SET_KEEPCAPS"),
            Op::Filter(program) => program.fmt(f),
            Op::Guard(_) | Op::DieWithParent => write!(f, "prctl PR_SET_PDEATHSIG SIGKILL"),
            Op::Unguard => write!(f, "prctl PR_SET_PDEATHSIG 0"),
            Op::Apart(_) => write!(f, "clone CLONE_PARENT CLONE_VFORK"),
            Op::GuardByPipe(pipe) => write!(f, "prctl PR_SET_PDEATHSIG SIGKILL, read {pipe}"),
            Op::Control => write!(f, "TIOCSCTTY"),
            Op::CgroupNamespace => write!(f, "unshare --cgroup"),
            Op::Put(_, text) => write!(f, "echo {text} > memory.max"),
            Op::Join(_) => write!(f, "echo 0 > tasks"),
            Op::RestoreTerminal { .. } => write!(f, "wait for ctr's end, stty as before"),
            Op::Signals => write!(f, "sigprocmask none"),
            Op::CloseAll { .. } => write!(f, "close_range 3-"),
            Op::Exec(Program { init: Some(_), argv, .. }) => write!(f, "execveat ctr as init: {}", words(argv)),
            Op::Exec(program) => write!(f, "execve {}", words(&program.argv)),
        }
    }
}
