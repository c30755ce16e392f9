//! Into a container that runs: its namespaces by pidfd in one call, its control groups, and then the way that its own
//! command went: the same user rules, capabilities, `no_new_privs` and limits. Nothing of ours comes along.
//!
//! We enter ourselves, and then make the child (a pid namespace is entered by children only): we open nothing by name
//! afterwards. In there the child can be seen before it is the user's program, and it shares our memory and our binary;
//! neither can be reached: our binary is a copy that cannot be written through ([`super::seal`], CVE-2019-5736), and we are not
//! dumpable. Who wants to trace or write to what is not needs `CAP_SYS_PTRACE` over the user namespace that our *memory* belongs to
//! (`mm->user_ns`, that of our execve: `__ptrace_may_access()`, kernel/ptrace.c), which is not the container's if that has one of
//! its own, whatever powers there are in there and whatever namespace we have entered since. It is so for `run` too, whose child is alone
//! in its pid namespace until it is the user's program anyway.
//!
//! A container that has that capability over our own user namespace is gone into apart: the child stays outside of its pid namespace,
//! where nobody inside has a name for it, does everything to itself that is to be done (groups, root, ids, capabilities, the filter,
//! all descriptors closed), and only then makes the process that is seen inside, with a *copy* of our memory, our environment wiped
//! ([`Op::Apart`]). Who takes that one over has what he had. What it does itself are five calls that must pass the filter: setsid,
//! TIOCSCTTY, prctl, read, execve; and the clone before.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use linux_raw_sys::general as k;
use rootfs::InRoot;

use super::facts::Held;
use super::plan::{Plan, environment};
use super::record::{Found, Status};
use super::seal::Sealed;
use super::security::Security;
use super::spawn::{self, Born};
use super::spec::Limit;
use super::step::{Apart, Op, Program, step};
use super::streams::Given;
use super::trace::Trace;
use crate::error::{Doing, Error, Result, exit};
use crate::user::{self, User};
use crate::{caps, cgroup, procfs, sys};

/// What is to be run.
#[derive(Debug)]
pub struct Wish {
    /// The command and its arguments.
    pub command: Vec<CString>,
    /// `KEY=VALUE`, later ones win: the container's own, then those of this command.
    pub env: Vec<CString>,
    /// Where it starts.
    pub workdir: InRoot,
    /// Whom it runs as.
    pub user: Option<String>,
    /// With all capabilities.
    pub privileged: bool,
    /// It does not end with us.
    pub outlives: bool,
    /// Resource limits of the container.
    pub limits: Vec<Limit>,
    /// The capabilities of the container.
    pub capabilities: caps::Set,
    /// The container itself is privileged.
    pub container_privileged: bool,
    /// Groups that the container's users are in beside their own.
    pub groups: Vec<String>,
    /// `--security-opt` of the container.
    pub security: Security,
}

/// A container that we are about to enter, looked at from outside.
#[derive(Debug)]
pub struct Door {
    process: OwnedFd,
    /// Which namespaces of it are not ours (`CLONE_NEW*`), as far as that was looked at.
    namespaces: u32,
    /// Which of them are entered, ours or not.
    entered: u32,
    /// Where to look for the rest, and its number, if all that are not looked at are to be entered.
    unseen: Option<(OwnedFd, u32)>,
    /// Whom the command runs as.
    pub user: User,
    /// The same in the host's numbers.
    pub owner: (u32, u32),
    /// The host name inside.
    hostname: String,
    /// The group of terminals: 5 where that exists.
    terminals: u32,
}

/// The namespaces that there are, with their names in `/proc/PID/ns`.
const NAMESPACES: [(&str, u32); 7] = [
    ("user", k::CLONE_NEWUSER),
    ("mnt", k::CLONE_NEWNS),
    ("pid", k::CLONE_NEWPID),
    ("uts", k::CLONE_NEWUTS),
    ("ipc", k::CLONE_NEWIPC),
    ("net", k::CLONE_NEWNET),
    ("cgroup", k::CLONE_NEWCGROUP),
];

/// Those that decide how we go in, and the others.
const DECIDING: [(&str, u32); 2] = [("user", k::CLONE_NEWUSER), ("cgroup", k::CLONE_NEWCGROUP)];
const FREE: u32 = k::CLONE_NEWNS | k::CLONE_NEWPID | k::CLONE_NEWUTS | k::CLONE_NEWIPC | k::CLONE_NEWNET;

/// Which of these namespaces of a process are not ours; and whether it shares the first user namespace with us.
fn others(proc: BorrowedFd, pid: u32, which: &[(&str, u32)]) -> io::Result<(u32, bool)> {
    let (mut others, mut all_ids) = (0, false);
    for (name, flag) in which {
        let shown = |whose: &str| procfs::namespace(proc, &CString::new(format!("{whose}/ns/{name}"))?);
        match (shown(&pid.to_string()), shown("self")) {
            (Ok(theirs), Ok(ours)) if theirs == ours => all_ids |= theirs.is_first_user(),
            (Ok(_), Ok(_)) => others |= *flag,
            // A kernel without this kind has none to enter.
            (_, Err(e)) if e.raw_os_error() == Some(libc::ENOENT) => {}
            (Err(e), _) | (_, Err(e)) => return Err(e),
        }
    }
    Ok((others, all_ids))
}

impl Door {
    /// Looks at a container: its process (which [`Found::process`] found), namespaces, and who the user is in there.
    pub fn look(
        found: &Found,
        (process, pid): (OwnedFd, u32),
        (user, groups): (Option<&str>, &[String]),
    ) -> Result<Door> {
        if found.status == Status::Paused {
            return Err(Error::usage(format_args!("{} is paused", found.name))
                .hint(Some(format!("ctr unpause {}", found.name))));
        }
        let doing = || format!("look into {}", found.name);
        let ended = || Error::usage(format_args!("{} has just ended", found.name));
        let proc = procfs::open().doing(doing(), "/proc")?;
        let inside = |name: &str| CString::new(format!("{pid}/{name}")).unwrap_or_default();
        let unseen = |e: io::Error| match e.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => ended(),
            _ => Error::new(doing(), format_args!("/proc/{pid}/ns"), e),
        };
        let (mut namespaces, all_ids) = others(proc.as_fd(), pid, &DECIDING).map_err(unseen)?;
        if !all_ids {
            (namespaces, _) = others(proc.as_fd(), pid, &NAMESPACES).map_err(unseen)?;
        }
        let root = sys::openat(proc.as_fd(), &inside("root"), k::O_PATH | k::O_DIRECTORY, 0).map_err(|_| ended())?;
        let user = user::look_up(root.as_fd(), user, groups)?;
        let missing = || {
            // The map of one that is on its way out is empty.
            if ended_within(&process, 0) {
                return ended();
            }
            Error::usage(format_args!("id {} does not exist in the user namespace of {}", user.uid, found.name))
        };
        let (owner, terminals) = if all_ids {
            // There is no other map than the one that changes nothing.
            ((user.uid, user.gid), 5)
        } else {
            let map = |name: &str| procfs::read_short(proc.as_fd(), &inside(name)).map_err(|_| missing());
            let groups = map("gid_map")?;
            let owner = outside(&map("uid_map")?, user.uid).zip(outside(&groups, user.gid)).ok_or_else(missing)?;
            (owner, if outside(&groups, 5).is_some() { 5 } else { 0 })
        };
        // All that was read under this number was about the process, if it still lives: nobody has its number as long.
        if ended_within(&process, 0) {
            return Err(ended());
        }
        let hostname = found.record.get("--hostname").unwrap_or_else(|| found.record.short_id()).to_owned();
        // Who is root in the first user namespace may enter any, his own too, which changes nothing.
        let entered = if all_ids { FREE } else { namespaces & !k::CLONE_NEWCGROUP };
        let unseen = all_ids.then_some((proc, pid));
        Ok(Door { process, namespaces, entered, unseen, user, owner, hostname, terminals })
    }

    /// Goes in, and makes the command's process there.
    pub fn enter(
        self,
        found: &Found,
        groups: &cgroup::Groups,
        wish: &Wish,
        given: &Given,
        (sealed, ourselves): (Sealed, RawFd),
        held: &mut Held,
    ) -> Result<Born> {
        let place = found.record.group_place();
        let (birthplace, doors) = groups
            .ways_in(&place, found.record.id())
            .doing(format_args!("join the control groups of {}", found.name), format_args!("{place}/tasks"))?;
        let birthplace = birthplace.map(|group| held.keep(group));
        let doors: Vec<RawFd> = doors.into_iter().map(|door| held.keep(door)).collect();
        // No more than we have ourselves, unless it is another user namespace, over which we have all.
        let all = caps::Set { all: caps::all(), named: 0 };
        let set = if wish.privileged { all } else { caps::Set { named: 0, ..wish.capabilities } };
        let set = caps::available(set, self.namespaces & k::CLONE_NEWUSER != 0)?;
        let mut boundary = wish.security.look(set, wish.privileged || wish.container_privileged)?;
        boundary.prepare(|fd| held.keep(fd))?;
        let mut inner = Vec::new();
        if let Some(copy) = sealed.number() {
            inner.push(step("let-go", "the mount that our binary is on", vec![Op::LetGo(copy)]));
        }
        let mut join: Vec<Op> = doors.iter().map(|door| Op::Join(*door)).collect();
        if self.namespaces & k::CLONE_NEWCGROUP != 0 {
            // By the child, once it is in its groups: with `nsdelegate`, as systemd mounts v2, nobody enters a group from
            // outside of what his cgroup namespace shows (cgroup_procs_write_permission(), kernel/cgroup/cgroup.c).
            join.push(Op::EnterOf(self.process.as_raw_fd(), k::CLONE_NEWCGROUP));
        }
        let apart = self.goes_apart(wish).doing(format_args!("look into {}", found.name), "/proc")?;
        let mut held_open = None;
        if apart {
            join.push(Op::EnterOf(self.process.as_raw_fd(), k::CLONE_NEWPID));
        }
        if !join.is_empty() {
            inner.push(step("cgroup", "the container's control groups, and its view of them", join));
        }
        inner.push(step("session", "a session and a keyring of its own", vec![Op::Session, Op::Keyring]));
        if self.namespaces & k::CLONE_NEWUSER != 0 {
            // What we make in there, a terminal say, shall belong to somebody who exists there.
            let groups = can_set_groups().then(Vec::new);
            inner.push(step("root-inside", "root of the container", vec![Op::Become { groups, ids: Some((0, 0)) }]));
        }
        inner.push(match given.terminal {
            Some((socket, size)) => {
                // In a user namespace it belongs to nobody at first.
                let own_ids = self.namespaces & k::CLONE_NEWUSER != 0;
                let owner = Some((self.user.uid, self.terminals)).filter(|_| self.user.uid != 0 || own_ids);
                let terminal = Op::TerminalIn { parent: socket, size, owner, leads: !apart };
                step("terminal", "a terminal of its own", vec![terminal])
            }
            None => step("stdio", "the three standard descriptors", vec![Op::StdioIn(given.stdio)]),
        });
        let mut ops = vec![Op::Tree(rootfs::Op::Umask(0o022)), Op::Tree(rootfs::Op::WorkDir(wish.workdir.clone()))];
        ops.extend(wish.limits.iter().map(|limit| Op::Limit(*limit)));
        inner.push(step("workdir", "where it starts, never outside of the root", ops));
        inner.extend(boundary.label());
        inner.push(step("bounding", "no program in here can ever have more", vec![Op::Bounding(set)]));
        let groups = can_set_groups().then(|| self.user.groups.clone());
        // Root inside we are already.
        let same = self.namespaces & k::CLONE_NEWUSER != 0 && (self.user.uid, self.user.gid) == (0, 0);
        let change = Op::Become { groups, ids: (!same).then_some((self.user.uid, self.user.gid)) };
        inner.push(step("user", "who it is", boundary.user(change)));
        let kept = if self.user.uid == 0 { set } else { 0 };
        let until = boundary.until_filtered(kept);
        inner.push(step(
            "capabilities",
            "those of the container, and none to inherit",
            vec![Op::Capabilities(until)],
        ));
        inner.extend(boundary.no_new_privs());
        let mut guard = if wish.outlives { Vec::new() } else { vec![Op::Guard(ourselves)] };
        if sealed.number().is_some() {
            guard.push(Op::AwaitParent(ourselves));
        }
        guard.push(Op::Signals);
        inner.push(step("guard", "it does not outlive this ctr, unless that is wanted", guard));
        let pipe = if apart && !wish.outlives {
            let (theirs, ours) = sys::pipe().doing("make a pipe", "pipe2")?;
            sys::set_nonblocking(theirs.as_fd(), true).doing("make a pipe", "fcntl")?;
            held_open = Some(ours);
            Some(held.keep(theirs))
        } else {
            None
        };
        inner.push(step("close", "no descriptor of the host comes along", vec![Op::CloseAll { but: pipe }]));
        inner.extend(boundary.filter(kept));
        if apart {
            let told = sys::shared_words().doing("make room for a report", "mmap")?;
            inner.push(step(
                "apart",
                "a process in there, with nothing of ours in its reach",
                vec![Op::Apart(Apart(told))],
            ));
            let mut own = vec![Op::Session];
            own.extend(given.terminal.map(|_| Op::Control));
            own.extend(pipe.map(Op::GuardByPipe));
            inner.push(step("session-inside", "a session of its own, and who ends it", own));
        }
        let env = environment(&self.hostname, &self.user.home, given.terminal.is_some(), &wish.env);
        inner.push(step(
            "exec",
            "from here on it is the user's program",
            vec![Op::Exec(Program::new(wish.command.clone(), env, None))],
        ));
        let plan = Plan {
            outer: Vec::new(),
            holder: Vec::new(),
            held: 0,
            namespaces: 0,
            inner,
            slots: 0,
            map: None,
            group: birthplace,
            lasting: false,
        };
        super::facts::make_room(&wish.limits)?;
        if apart {
            sys::forget_environment();
        }
        if sys::euid() != 0 {
            // Now that nothing under our own number is needed any more. Root's is not dumpable from the beginning (main.rs).
            sys::not_dumpable().doing("close our memory to others", "prctl")?;
        }
        // By children only; the one that goes apart does it itself.
        let by_us = if apart { !k::CLONE_NEWPID } else { u32::MAX };
        // Nothing is opened by name from here on: names mean something else in there.
        let mut entered = sys::enter_namespaces(self.process.as_fd(), self.entered & by_us);
        if let (Err(_), Some((proc, pid))) = (&entered, &self.unseen) {
            // A kernel that lacks one of them, or something else that is right in not letting us into our own.
            let seen = others(proc.as_fd(), *pid, &NAMESPACES).map_or(FREE, |(others, _)| others);
            entered = sys::enter_namespaces(self.process.as_fd(), seen & FREE & by_us);
        }
        let gone = |e: Error| {
            // Our child may be killed with all others a moment before process 1 is seen to be dead, and until then the kernel
            // makes no process in its pid namespace (ENOMEM), or in a control group that is being taken away (ENODEV). What a
            // command is refused for is its own matter.
            let patience = match e.cause.raw_os_error() {
                _ if e.code != exit::CTR => 0,
                None | Some(libc::ENOMEM | libc::ENODEV) => 50,
                Some(_) => 0,
            };
            // ESRCH is what the kernel says of one that is on its way out.
            if e.cause.raw_os_error() == Some(libc::ESRCH) || ended_within(&self.process, patience) {
                Error::usage(format_args!("{} has just ended", found.name))
            } else {
                e
            }
        };
        entered.doing(format_args!("enter the namespaces of {}", found.name), "setns").map_err(gone)?;
        let born = spawn::spawn(&plan, &mut Trace::new(false), |_, _| {
            sealed.let_go();
            Ok(())
        });
        drop(held_open);
        born.map_err(gone)
    }

    /// Whether somebody in there could reach what shares our memory: see the head of this file. A privileged container is no exception:
    /// `--cap-drop` may have left it this capability and none of those that make it the host's root. One that sees the host's
    /// processes (`--pid host`) is: who has this capability then, has them all within reach.
    fn goes_apart(&self, wish: &Wish) -> io::Result<bool> {
        if self.namespaces & k::CLONE_NEWUSER != 0 || wish.capabilities.all & caps::bit(k::CAP_SYS_PTRACE) == 0 {
            return Ok(false);
        }
        match &self.unseen {
            None => Ok(self.namespaces & k::CLONE_NEWPID != 0),
            Some((proc, pid)) => others(proc.as_fd(), *pid, &[("pid", k::CLONE_NEWPID)]).map(|(which, _)| which != 0),
        }
    }
}

/// A container of an ordinary user has one id, and no say over groups (user_namespaces(7)).
fn can_set_groups() -> bool {
    sys::euid() == 0
}

/// Whether the process behind a pidfd ends within so many milliseconds.
fn ended_within(process: &OwnedFd, patience: i32) -> bool {
    let mut wanted = [sys::PollFd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
    sys::poll(&mut wanted, patience).is_ok_and(|n| n > 0)
}

/// What an id inside is outside, by a map of the process's user namespace.
fn outside(map: &[u8], id: u32) -> Option<u32> {
    String::from_utf8_lossy(map).lines().find_map(|line| {
        let mut words = line.split_whitespace().map(|word| word.parse::<u32>().ok());
        let (inside, outside, count) = (words.next()??, words.next()??, words.next()??);
        let offset = id.checked_sub(inside)?;
        (offset < count).then(|| outside.checked_add(offset))?
    })
}
