//! The supervisor: one small process beside each container that lives on its own, and its parent.
//!
//! It is forked from the ctr command that starts the container, in a session of its own, with nothing of that command's but
//! the container's locked directory (which is its working directory: a rename does not disturb it). It makes the container,
//! says so, and then waits in one loop: for the end of the process, for output (to the log and to who is attached), for clients,
//! for signals, and for the times when a health check is due or a restart. It writes down how the container ended and cleans
//! up. When it ends, the kernel gives the lock back, and that is how others learn of it.
//!
//! The loop is `poll(2)`, not `epoll(7)`: there are less than a dozen descriptors, and the kernel keeps nothing for us.
//!
//! Order matters where it may be killed: the record names the process before that becomes the user's program, and until
//! then the process dies with us (`Op::Guard`). So there is never a container that no record tells of. Afterwards it goes
//! on without us: `ps` shows that, and `stop`, `rm -f` and `restart` work by the record alone.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use linux_raw_sys::general as k;

use super::control::{self, MOST, ask, tell};
use super::facts::{self, Held};
use super::ids::Lease;
use super::journal;
use super::limits;
use super::log::{self, Stream};
use super::network;
use super::plan::{Facts, Layer, Plan, Way};
use super::record::{Entry, Record, State};
use super::spawn::{self, Born};
use super::spec::{Care, Health, Restart, Spec};
use super::step::{Op, Program, Stdio, Strings, step};
use super::supervise;
use super::trace::Trace;
use crate::cgroup::{self, Group};
use crate::error::{Doing, Error, Result, exit};
use crate::network::connect::{Connection, Line, part_running};
use crate::sys::{self, Ended, PollFd};
use crate::{clock, names, signals};

/// The first pause before a restart, the longest one, and after how long a run counts as good; in nanoseconds.
const FIRST_PAUSE: u64 = 100 * MS;
const LONGEST_PAUSE: u64 = 60_000 * MS;
const GOOD_RUN: u64 = 10_000 * MS;

/// A millisecond in nanoseconds.
const MS: u64 = 1_000_000;

/// The most input that waits for a container to read it.
const MOST_INPUT: usize = 64 << 10;

/// The most output that can be on its way when the container has ended (`/proc/sys/fs/pipe-max-size`).
const MOST_LEFT: usize = 2 << 20;

/// After how many quiet nanoseconds an incomplete line is written to the log.
const QUIET: u64 = 200 * MS;

/// After how many quiet milliseconds memory is given back.
const MOMENT: i32 = 500;

/// How long, in milliseconds, a supervisor that has closed its connection may take to end.
const PATIENCE: i32 = 2000;

/// After how long it is tried again to write what could not be written.
const AGAIN: u64 = 1000 * MS;

/// How many clients are served at once.
const MOST_CLIENTS: usize = 256;

/// A container to be looked after.
#[derive(Debug)]
pub struct Job {
    /// Its locked directory.
    pub entry: Entry,
    /// Its record.
    pub record: Record,
    /// What is to be made.
    pub spec: Spec,
    /// What else is to be done.
    pub care: Care,
    /// `--pidfile`.
    pub pidfile: Option<PathBuf>,
    /// `--trace`.
    pub trace: bool,
    /// The size of the terminal that it starts with.
    pub size: Option<k::winsize>,
}

/// A container that runs.
#[derive(Debug)]
pub struct Launched {
    /// Its process.
    pub pid: u32,
    /// The connection of who is attached from the first byte on.
    pub client: Option<OwnedFd>,
}

/// Forks a supervisor and waits until its container runs. `attach`: the flags of a client that is there from the first byte
/// on ([`control::OWNER`], …). An error is that of the container's way, with its exit code.
///
/// Must be called with signals blocked if they are to be passed on.
pub fn launch(job: Job, attach: Option<u8>) -> Result<Launched> {
    let id = job.record.id().to_owned();
    let (ours, theirs) = sys::message_pair().doing("make a connection with the supervisor", "socketpair")?;
    let Some((pidfd, _)) = sys::fork().doing("fork the supervisor", "clone3")? else {
        drop(ours);
        let trace = job.trace;
        detach(&job.entry, &theirs, trace);
        Supervisor::new(job, Client::new(theirs, attach)).run();
    };
    // Its end of the connection and the lock are the supervisor's from here on; the directory is not ours to take away.
    drop(theirs);
    job.entry.keep();
    drop(job);
    hear_of_it(&id, ours, &pidfd, attach)
}

/// What the supervisor says when the container runs, or cannot. Not in the frame that the supervisor itself goes on in: that
/// would stay on its stack for as long as it lives.
#[inline(never)]
fn hear_of_it(id: &str, ours: OwnedFd, pidfd: &OwnedFd, attach: Option<u8>) -> Result<Launched> {
    let mut message = [0u8; 1 + MOST];
    let answer = control::next(ours.as_fd(), &mut message, -1).doing("hear from the supervisor", "")?;
    let data = |length: usize| message.get(1..=length).unwrap_or_default();
    match answer {
        Some((tell::STARTED, length)) => {
            let (pid, why) = data(length).split_at_checked(4).unwrap_or_default();
            let pid = pid.try_into().map_or(0, u32::from_ne_bytes);
            Facts::warn(String::from_utf8_lossy(why).lines());
            Ok(Launched { pid, client: attach.is_some().then_some(ours) })
        }
        Some((tell::FAILED, length)) => {
            let _ = sys::wait_pidfd(pidfd.as_fd());
            let (code, text) = data(length).split_first().unwrap_or((&exit::CTR, &[]));
            let mut error = Error::usage(String::from_utf8_lossy(text));
            error.code = *code;
            Err(error)
        }
        _ => {
            let mut wanted = [PollFd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
            if sys::poll(&mut wanted, PATIENCE).is_ok_and(|n| n == 0) {
                // Its word was lost, for want of memory perhaps; the record has it too.
                let found = State::open()?.find(id.as_ref())?;
                let (_, pid) = found.process()?;
                return Ok(Launched { pid, client: None });
            }
            let ended = sys::wait_pidfd(pidfd.as_fd());
            let how = io::Error::other(match ended {
                Ok(Ended::Signal(signal)) => format!("it was killed by {}", signals::name(i32::from(signal))),
                _ => "it ended without a word".to_owned(),
            });
            Err(Error::new("hear from the supervisor", id.get(..names::SHORT).unwrap_or(id), how))
        }
    }
}

/// Leaves everything of the command that we were forked from.
fn detach(entry: &Entry, connection: &OwnedFd, trace: bool) {
    let _ = sys::setsid();
    for signal in 1..=31 {
        // What the caller ignores (nohup) is no business of a container that lives on its own.
        let _ = sys::default_signal(signal);
    }
    let _ = sys::block_signals(sys::SignalSet::MAX);
    let null = sys::openat(sys::CWD, c"/dev/null", k::O_RDWR | k::O_NOCTTY, 0)
        .or_else(|_| sys::openat(sys::CWD, c"/", k::O_RDONLY | k::O_DIRECTORY, 0));
    if let Ok(null) = null {
        // With --trace the steps of the birth go to the caller's standard error; it is let go of after that.
        for number in 0..if trace { 2 } else { 3 } {
            let _ = sys::dup_to(null.as_fd(), number);
        }
    }
    let mut kept = [entry.dir().as_raw_fd(), entry.parent().as_raw_fd(), connection.as_raw_fd()];
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        if fd > first {
            let _ = sys::close_range(first, fd as u32 - 1);
        }
        first = fd + 1;
    }
    let _ = sys::close_range(first, u32::MAX);
    let _ = rootfs::sys::fchdir(entry.dir());
    rootfs::sys::umask(0o077);
}

/// Somebody who is connected.
#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    /// Wants output.
    attached: bool,
    /// Sends input.
    input: bool,
    /// The container waits for it.
    lossless: bool,
    /// The container ends when it goes without a word.
    owner: bool,
    /// Wants to know how it ends.
    waits: bool,
    /// How many bytes did not fit since it was last told.
    dropped: u64,
    /// It has gone.
    gone: bool,
}

impl Client {
    fn new(socket: OwnedFd, attach: Option<u8>) -> Client {
        let mut client = Client {
            socket,
            attached: false,
            input: false,
            lossless: false,
            owner: false,
            waits: false,
            dropped: 0,
            gone: false,
        };
        if let Some(flags) = attach {
            client.attach(flags);
        }
        client
    }

    fn attach(&mut self, flags: u8) {
        (self.attached, self.waits) = (true, true);
        self.input = flags & control::INPUT != 0;
        self.owner = flags & control::OWNER != 0;
        self.lossless = flags & (control::OWNER | control::LOSSLESS) != 0;
    }

    /// Says how much was not shown, and how it ended. Who has no room for that even now is not waited for long: it will find
    /// the connection closed, and look at the record.
    fn say_goodbye(&self, code: u8) {
        let dropped = self.dropped.to_ne_bytes();
        let lost = (self.dropped > 0).then_some((tell::DROPPED, &dropped[..]));
        let mut patience = if self.lossless { 100 } else { 5 };
        for (kind, data) in lost.into_iter().chain([(tell::ENDED, &[code][..])]) {
            while let Err(e) = control::send(self.socket.as_fd(), kind, data) {
                if e.kind() != io::ErrorKind::WouldBlock || patience == 0 {
                    return;
                }
                patience -= 1;
                let fd = self.socket.as_raw_fd();
                let _ = sys::poll(&mut [PollFd { fd, events: libc::POLLOUT, revents: 0 }], 100);
            }
        }
    }

    /// Passes output on. False if it must be sent again later.
    fn show(&mut self, kind: u8, bytes: &[u8]) -> bool {
        if !self.attached || self.gone {
            return true;
        }
        if self.dropped > 0 {
            if control::send(self.socket.as_fd(), tell::DROPPED, &self.dropped.to_ne_bytes()).is_err() {
                self.dropped += bytes.len() as u64;
                return true;
            }
            self.dropped = 0;
        }
        match control::send(self.socket.as_fd(), kind, bytes) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && self.lossless => return false,
            Err(e) if self.lossless && matches!(e.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM)) => {
                // poll(2) knows nothing of that.
                let _ = sys::poll(&mut [], 10);
                return false;
            }
            Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM)) => {
                self.dropped += bytes.len() as u64;
            }
            Err(_) => self.gone = true,
            Ok(()) => {}
        }
        true
    }
}

/// The container's ends of its input and output.
#[derive(Debug, Default)]
struct Ends {
    /// Its standard output (or terminal), and its standard error.
    output: [Option<OwnedFd>; 2],
    /// Towards it.
    input: Option<OwnedFd>,
    /// The inner end of its terminal, held so that the outer one does not report an end that is none.
    inner: Option<OwnedFd>,
    terminal: bool,
}

/// How its health is.
#[derive(Debug, Default)]
struct Check {
    /// A check that runs: its process, and when it has taken too long.
    running: Option<(Born, u64)>,
    /// When the next one is due.
    due: u64,
    failures: u32,
    word: &'static str,
}

struct Supervisor {
    job: Job,
    clients: Vec<Client>,
    listener: Option<OwnedFd>,
    signals: Option<OwnedFd>,
    /// None only if there was no descriptor left for it.
    log: Option<log::Writer>,
    /// When the container said something last.
    spoke: u64,
    /// Output that a lossless client has no room for.
    held: Option<(u8, Vec<u8>, usize)>,
    /// Input that the container has not read yet.
    input: Vec<u8>,
    /// No more input will come.
    input_ended: bool,
    /// It shall not be started again.
    down: bool,
    /// Because somebody said so (`ctr stop`): not even after a reboot, if it minds that.
    stopped: bool,
    /// Somebody asked for its end: when it will be killed.
    deadline: Option<u64>,
    check: Check,
    began: u64,
    reported: bool,
    /// The record is on the disk.
    synced: bool,
    /// It could not be written: when that is tried again.
    unsaved: Option<u64>,
    /// The container's range of ids, until we end.
    lease: Option<Lease>,
    /// Its part of the networks, as long as it runs.
    connection: RefCell<Option<Connection>>,
}

/// A process that has ended.
struct End {
    how: Ended,
    oom: bool,
}

impl Supervisor {
    fn new(job: Job, client: Client) -> Supervisor {
        let limits = log::Limits {
            max_size: job.care.log_size.unwrap_or(log::Limits::default().max_size),
            max_files: job.care.log_files.unwrap_or(log::Limits::default().max_files),
        };
        let log = log::Writer::open(job.entry.dir(), limits).ok();
        Supervisor {
            job,
            clients: vec![client],
            listener: None,
            signals: None,
            log,
            spoke: 0,
            held: None,
            input: Vec::new(),
            input_ended: false,
            down: false,
            stopped: false,
            deadline: None,
            check: Check::default(),
            began: 0,
            reported: false,
            synced: false,
            unsaved: None,
            lease: None,
            connection: RefCell::new(None),
        }
    }

    /// Everything, to the end of this process.
    #[inline(never)]
    fn run(mut self) -> ! {
        let mut pause = FIRST_PAUSE;
        let mut restarts = 0u32;
        loop {
            let life = self.live();
            // What was not asked for by anybody who is still there is over.
            let code = match &life {
                Ok(end) => end.how.code(),
                Err(error) => error.code,
            };
            if let Err(error) = &life {
                if !self.reported {
                    self.fail(error);
                }
            }
            self.settle(&life);
            if !self.again(code, restarts) {
                self.finish(code);
            }
            if sys::now().saturating_sub(self.began) >= GOOD_RUN {
                pause = FIRST_PAUSE;
                restarts = 0;
            }
            restarts += 1;
            let total = self.job.record.number::<u32>("restarts").unwrap_or(0).saturating_add(1);
            self.job.record.set("restarts", total.to_string());
            self.job.record.set("state", "restarting");
            self.save();
            self.tell_end(code);
            if !self.rest(pause) {
                self.job.record.set("state", "exited");
                self.finish(code);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The first start failed: nothing of the container is left but what was there before.
    fn fail(&mut self, error: &Error) -> ! {
        let mut data = vec![error.code];
        data.extend_from_slice(error.to_string().as_bytes());
        data.truncate(MOST);
        self.job.record.group().remove();
        self.leave();
        drop(self.lease.take());
        let _ = sys::unlink(sys::CWD, control::NAME, false);
        // What was written meanwhile is taken back: a container that never ran is what it was, and says why.
        let record = &mut self.job.record;
        for key in ["pid", "ticks", "boot", "pid-namespace", "supervisor", "cgroup", "uids", "gids"] {
            record.unset(key);
        }
        record.set("exit", error.code.to_string());
        record.set("error", error.to_string());
        self.save();
        if let Some(client) = self.clients.first() {
            let _ = control::send_surely(client.socket.as_fd(), tell::FAILED, &data);
        }
        sys::exit(i32::from(error.code));
    }

    fn save(&mut self) {
        // A disk that is full or gone must not end the container.
        let saved = self.job.entry.save(&self.job.record).or_else(|_| self.job.entry.save(&self.job.record));
        self.unsaved = saved.is_err().then(|| sys::now() + AGAIN);
    }

    fn note(&self, what: &str, more: &[(&str, String)]) {
        journal::note(what, &self.job.record, self.job.entry.current_name().as_deref(), more);
    }

    /// One run of the container, from its making to its end.
    #[inline(never)]
    fn live(&mut self) -> Result<End> {
        let (born, mut ends, group) = self.begin()?;
        self.check =
            Check { due: self.job.care.health.as_ref().map_or(0, |h| sys::now() + h.interval), ..Check::default() };
        let how = self.attend(&born, &mut ends, &group);
        self.drain(&mut ends);
        if self.job.spec.host_pid {
            group.kill();
            supervise::reap_orphans();
        }
        let oom = group.oom_kills() > 0;
        group.remove();
        self.leave();
        Ok(End { how, oom })
    }

    /// The container's part of the networks is given back.
    fn leave(&mut self) {
        let connection = self.connection.take();
        let own = |line: &Line| connection.iter().flat_map(|c| &c.joined).any(|joined| joined.veth == line.veth);
        for line in network::lines(&self.job.record).into_iter().filter(|line| !own(line)) {
            let _ = part_running(self.job.record.id(), &line);
        }
        drop(connection);
        self.job.record.unset_all(&["leases", "net", "port", "forwarded"]);
    }

    /// The container runs: whoever started it may know, and what only the start needed is let go of.
    fn report(&mut self, pid: u32, warnings: &[String]) {
        if self.reported {
            return;
        }
        self.reported = true;
        if self.job.trace {
            let _ = sys::dup_to(sys::borrow(1), 2);
        }
        if let Some(client) = self.clients.first_mut() {
            let mut word = pid.to_ne_bytes().to_vec();
            word.extend(warnings.join("\n").bytes().take(MOST - word.len()));
            let told = control::send_surely(client.socket.as_fd(), tell::STARTED, &word);
            client.gone = told.is_err() && !client.owner || !client.attached;
            if client.gone {
                self.clients.clear();
            }
        }
    }

    /// Decides where the container's writes go, and makes what is missing there.
    fn place_layer(&mut self, facts: &mut Facts) -> Result<()> {
        if self.job.spec.writable_root {
            return Ok(());
        }
        let (place, memory) = super::layer::place(&self.job.entry, &self.job.record, &self.job.spec.root, facts)?;
        match memory {
            Some(id) => self.job.record.set("layer-in-memory", id),
            None => self.job.record.unset("layer-in-memory"),
        }
        if place == Layer::Memory {
            self.job.record.set("layer", "memory");
        } else {
            self.job.record.unset("layer");
        }
        facts.layer = place;
        Ok(())
    }

    /// Pipes or a terminal for the container: our ends, and where the terminal's outer end will arrive.
    fn connect(&self, facts: &mut Facts, held: &mut Held) -> Result<(Ends, Option<OwnedFd>)> {
        let mut ends = Ends { terminal: self.job.spec.terminal, ..Ends::default() };
        if self.job.spec.terminal {
            let (ours, theirs) = sys::socketpair().doing("make a socket for the terminal", "socketpair")?;
            facts.terminal = Some((held.keep(theirs), self.job.size));
            return Ok((ends, Some(ours)));
        }
        let (uid, gid) = facts::owner_outside(facts);
        let mut give = |place: usize, theirs: OwnedFd| {
            if uid != 0 {
                // So that /dev/stdout can be opened inside by who is not root.
                let _ = sys::fchown(theirs.as_fd(), uid, gid);
            }
            facts.stdio[place] = Stdio::Fd(held.keep(theirs));
        };
        for (place, end) in ends.output.iter_mut().enumerate() {
            let (read, write) = sys::pipe().doing("make a pipe", "pipe2")?;
            sys::set_nonblocking(read.as_fd(), true).doing("set a pipe up", "fcntl")?;
            *end = Some(read);
            give(place + 1, write);
        }
        if self.job.spec.interactive {
            let (read, write) = sys::pipe().doing("make a pipe", "pipe2")?;
            sys::set_nonblocking(write.as_fd(), true).doing("set a pipe up", "fcntl")?;
            ends.input = Some(write);
            give(0, read);
        }
        Ok((ends, None))
    }

    fn take_terminal(ends: &mut Ends, socket: &OwnedFd) -> io::Result<()> {
        let outer = sys::receive_fd(socket.as_fd())?;
        sys::set_nonblocking(outer.as_fd(), true)?;
        ends.inner = Some(sys::pty_peer(outer.as_fd())?);
        ends.input = Some(sys::dup(outer.as_fd())?);
        ends.output[0] = Some(outer);
        Ok(())
    }

    /// Everything up to the moment when the container runs: its frames are gone when the loop begins.
    #[inline(never)]
    fn begin(&mut self) -> Result<(Born, Ends, Group)> {
        self.began = sys::now();
        self.deadline = None;
        (self.input, self.input_ended) = (Vec::new(), false);
        let id = self.job.record.id().to_owned();
        let root = facts::open_root(&self.job.spec.root)?;
        let mut held = Held::default();
        let mut facts = facts::gather(&self.job.spec, &root, id.clone())?;
        facts.caller_is_root = facts.caller_is_root && sys::all_ids_are_root();
        facts.outlives = true;
        self.place_layer(&mut facts)?;
        // What was changed meanwhile (ctr update) is in the record.
        self.job.spec.resources = limits::of_record(&self.job.record)?;
        let place = cgroup::place(self.job.spec.cgroup_parent.as_deref(), &id);
        if place != cgroup::place(None, &id) || limits::are_asked(&self.job.spec) {
            // Who comes after us, should we be killed, must know where to look.
            self.job.record.set("cgroup", &place);
            self.save();
        }
        let (group, late) = limits::prepare(&self.job.spec, &facts.devices, &place, &id, true)?;
        if group.exists() {
            self.job.record.set("cgroup", group.place());
        } else {
            self.job.record.unset("cgroup");
        }
        facts.birthplace = group.birthplace().map(|fd| fd.as_raw_fd());
        let (doors, late_doors) = limits::doors(&group, &self.job.spec)?;
        facts.doors = doors.into_iter().map(|door| held.keep(door)).collect();
        facts.cgroup_view = limits::view(&group, &self.job.spec);
        facts.late_doors = late_doors.into_iter().map(|door| held.keep(door)).collect();
        facts.late_writes = late.into_iter().map(|(file, text)| (held.keep(file), text)).collect();
        let ourselves = sys::pidfd_open(std::process::id()).doing("get a descriptor of ourselves", "pidfd_open")?;
        facts.parent = ourselves.as_raw_fd();
        if self.signals.is_none() {
            self.listener = control::listen().map(Some).doing("listen for other ctr commands", "control")?;
            let mut set = sys::signal_bit(libc::SIGTERM) | sys::signal_bit(libc::SIGINT);
            if self.job.spec.host_pid {
                // Orphans become our children where no process 1 takes them.
                set |= sys::signal_bit(libc::SIGCHLD);
            }
            self.signals = Some(sys::signalfd(set).doing("listen for signals", "signalfd")?);
        }
        facts::prepare(&self.job.spec, &mut facts, &mut held)?;
        match &self.lease {
            // It is started again, and has one.
            Some(lease) if matches!(facts.way, Way::Shifted { .. }) => facts.way = Way::Shifted { map: lease.map() },
            Some(_) => {}
            None => self.lease = facts::lease(&self.job.spec, &mut facts)?,
        }
        if self.job.spec.host_pid {
            sys::adopt_orphans().doing("become the parent of orphans", "prctl")?;
        }
        let name = self.job.entry.current_name().unwrap_or_else(|| self.job.entry.name());
        let Job { spec, record, entry, .. } = &mut self.job;
        self.connection = RefCell::new(network::join(spec, &mut facts, &name, &mut held, record, entry)?);
        let (mut ends, arrival) = self.connect(&mut facts, &mut held)?;
        let mut trace = Trace::new(self.job.trace && !self.reported);
        let born = self.birth(&mut facts, &mut trace).map_err(|e| facts::if_empty(e, &root, &self.job.spec.root));
        trace.sum();
        drop(held);
        let born = match born {
            Ok(born) => born,
            Err(e) => {
                group.remove();
                self.leave();
                return Err(e);
            }
        };
        if let Err(e) = network::open(&self.connection, born.pidfd.as_fd(), true) {
            let _ = sys::pidfd_signal(born.pidfd.as_fd(), libc::SIGKILL);
            let _ = sys::wait_pidfd(born.pidfd.as_fd());
            group.remove();
            self.leave();
            return Err(e);
        }
        if let Some(socket) = arrival {
            let took = Self::take_terminal(&mut ends, &socket);
            if let Err(e) = took {
                let _ = sys::pidfd_signal(born.pidfd.as_fd(), libc::SIGKILL);
                let _ = sys::wait_pidfd(born.pidfd.as_fd());
                group.remove();
                return Err(Error::new("receive the container's terminal", "", e));
            }
        }
        self.note("start", &[]);
        self.report(born.pid, &facts.warnings(&name));
        drop((root, ourselves));
        Ok((born, ends, group))
    }

    /// The record says so before the process becomes the user's program.
    fn birth(&mut self, facts: &mut Facts, trace: &mut Trace) -> Result<Born> {
        let spec = self.job.spec.clone();
        let mut record = self.job.record.clone();
        for key in ["exit", "signal", "oom", "finished", "lost", "stopped", "error", "health", "dropped"] {
            record.unset(key);
        }
        // Not yet: until it is the user's program it shares our memory, and must not be frozen.
        record.set("state", "starting");
        record.set("supervisor", std::process::id().to_string());
        record.set("started", clock::now().to_string());
        if self.job.care.health.is_some() {
            record.set("health", "starting");
        }
        let written = std::cell::RefCell::new(record);
        let (entry, pidfile) = (&self.job.entry, &self.job.pidfile);
        let connection = &self.connection;
        let beside = |pid: u32, space: u32, facts: &Facts| {
            let mut record = written.borrow_mut();
            facts.remember(&mut record);
            network::attach(connection, space, &mut record)?;
            record.set_process(pid).doing("learn what tells the container's process from others", pid)?;
            entry.save(&record)?;
            match pidfile {
                Some(path) => std::fs::write(path, format!("{pid}\n")).doing("write the --pidfile", path.display()),
                None => Ok(()),
            }
        };
        let born = spawn::birth(&spec, facts, trace, &beside)?;
        self.job.record = written.into_inner();
        self.job.record.set("state", "running");
        self.save();
        Ok(born)
    }

    /// The loop. Comes back when the process has ended.
    fn attend(&mut self, born: &Born, ends: &mut Ends, group: &Group) -> Ended {
        loop {
            let mut wanted = self.wanted(Some(born), ends);
            let found = {
                let patience = self.patience();
                self.sleep(&mut wanted, patience)
            };
            if found.is_err_and(|e| e.kind() != io::ErrorKind::Interrupted) {
                // Out of memory, perhaps: try again in a moment rather than lose the container.
                let _ = sys::poll(&mut [], 100);
                continue;
            }
            self.serve(&wanted, Some(born), ends, group);
            self.on_time(born, group);
            if wanted[1].revents != 0 {
                // Nobody else waits for our children: an error cannot happen, and must not be a loop.
                return sys::wait_pidfd(born.pidfd.as_fd()).unwrap_or(Ended::Code(exit::CTR));
            }
        }
    }

    /// Waits; and when nothing has happened for a moment, does what can wait, and lets go of the memory that only the awake
    /// need.
    fn sleep(&mut self, wanted: &mut [PollFd], patience: i32) -> io::Result<usize> {
        if (0..=MOMENT).contains(&patience) {
            return sys::poll(wanted, patience);
        }
        match sys::poll(wanted, MOMENT)? {
            0 => {}
            found => return Ok(found),
        }
        if !std::mem::replace(&mut self.synced, true) {
            // What was said to exist shall exist after a power cut too.
            let record = sys::openat(self.job.entry.dir(), c"record", k::O_RDONLY, 0);
            let _ = record.and_then(|file| sys::sync(file.as_fd()));
        }
        crate::arena::forget();
        sys::sleep_lightly(wanted, if patience < 0 { -1 } else { patience - MOMENT })
    }

    /// Between two runs. False if there shall not be another one.
    fn rest(&mut self, pause: u64) -> bool {
        let until = sys::now() + pause;
        let (mut ends, group) = (Ends::default(), Group::default());
        while !self.down {
            let left = until.saturating_sub(sys::now());
            if left == 0 {
                return true;
            }
            let mut wanted = self.wanted(None, &ends);
            let _ = sys::poll(&mut wanted, (left / MS + 1).min(60_000) as i32);
            self.serve(&wanted, None, &mut ends, &group);
        }
        false
    }

    /// What to wait for, in the order that [`Supervisor::serve`] looks at it.
    fn wanted(&self, born: Option<&Born>, ends: &Ends) -> Vec<PollFd> {
        let poll = |fd: Option<RawFd>, events| PollFd { fd: fd.unwrap_or(-1), events, revents: 0 };
        let number = |fd: &Option<OwnedFd>| fd.as_ref().map(AsRawFd::as_raw_fd);
        let output = |fd| if self.held.is_some() { None } else { number(fd) };
        let input = if self.input.is_empty() { None } else { number(&ends.input) };
        let check = self.check.running.as_ref().map(|(check, _)| check.pidfd.as_raw_fd());
        let mut wanted = Vec::with_capacity(8 + self.clients.len());
        wanted.extend([
            poll(number(&self.signals), libc::POLLIN),
            poll(born.map(|born| born.pidfd.as_raw_fd()), libc::POLLIN),
            // Beyond the limit they wait in the queue.
            poll(number(&self.listener).filter(|_| self.clients.len() < MOST_CLIENTS), libc::POLLIN),
            poll(output(&ends.output[0]), libc::POLLIN),
            poll(output(&ends.output[1]), libc::POLLIN),
            poll(input, libc::POLLOUT),
            poll(check, libc::POLLIN),
        ]);
        for (n, client) in self.clients.iter().enumerate() {
            let full = client.input && self.input.len() >= MOST_INPUT;
            let blocked = self.held.as_ref().is_some_and(|(_, _, at)| *at == n);
            let events = if full { 0 } else { libc::POLLIN } | if blocked { libc::POLLOUT } else { 0 };
            wanted.push(poll(Some(client.socket.as_raw_fd()), events));
        }
        wanted
    }

    /// How long to sleep at most, in milliseconds.
    fn patience(&self) -> i32 {
        let check = self
            .job
            .care
            .health
            .as_ref()
            .map(|_| self.check.running.as_ref().map_or(self.check.due, |(_, end)| *end));
        let log = self.log.as_ref().filter(|log| log.is_holding()).map(|_| self.spoke + QUIET);
        let next = [self.deadline, check, log, self.unsaved].into_iter().flatten().min();
        next.map_or(-1, |time| (time.saturating_sub(sys::now()).div_ceil(MS)).min(3_600_000) as i32)
    }

    /// Does what `poll` says can be done.
    fn serve(&mut self, wanted: &[PollFd], born: Option<&Born>, ends: &mut Ends, group: &Group) {
        let ready = |n: usize| wanted.get(n).is_some_and(|fd| fd.fd >= 0 && fd.revents != 0);
        if ready(0) {
            while let Some(Ok(Some(arrived))) = self.signals.as_ref().map(|fd| sys::next_signal(fd.as_fd())) {
                match arrived.signal {
                    libc::SIGCHLD => self.bury_orphans(born),
                    _ => self.stop(born, group),
                }
            }
        }
        for place in 0..2 {
            // What is held must go first.
            if ready(3 + place) && self.held.is_none() {
                self.read_output(ends, place);
            }
        }
        if ready(5) {
            self.write_input(ends);
        }
        if ready(6) {
            self.end_check(false);
        }
        let known = wanted.len().saturating_sub(7).min(self.clients.len());
        for n in 0..known {
            let found = wanted.get(7 + n).map_or(0, |fd| fd.revents);
            if found & libc::POLLOUT != 0 {
                self.go_on();
            }
            if found & !libc::POLLOUT != 0 {
                self.hear(n, born, ends);
            }
        }
        let owner_gone = self.clients.iter().any(|client| client.gone && client.owner);
        if let (true, Some(born)) = (owner_gone, born) {
            self.hang_up(born);
        }
        if self.clients.iter().any(|client| client.gone) {
            // Who waits for room has another place then; those before have had what is held.
            let place = |at: usize| self.clients.iter().take(at).filter(|client| !client.gone).count();
            let held = self.held.take().map(|(kind, bytes, at)| (kind, bytes, place(at)));
            self.clients.retain(|client| !client.gone);
            if let Some((kind, bytes, at)) = held {
                self.pass_on(kind, &bytes, at);
            }
        }
        if ready(2) {
            self.welcome();
        }
    }

    /// What is due by time alone.
    fn on_time(&mut self, born: &Born, group: &Group) {
        let now = sys::now();
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            kill_all(born, group);
        }
        if self.unsaved.is_some_and(|time| time <= now) {
            self.save();
        }
        if let Some(log) = self.log.as_mut().filter(|log| log.is_holding() && now >= self.spoke + QUIET) {
            log.flush(clock::now());
        }
        let Some(health) = self.job.care.health.clone() else { return };
        match &self.check.running {
            Some((_, end)) if *end <= now => self.end_check(true),
            None if self.check.due <= now => self.begin_check(&health, now),
            _ => {}
        }
    }

    /// With `--pid host`, waits for dead processes that are neither the container's own nor a check.
    fn bury_orphans(&self, born: Option<&Born>) {
        let own = [born.map(|born| born.pid), self.check.running.as_ref().map(|(check, _)| check.pid)];
        while let Ok(Some(pid)) = sys::next_dead() {
            if own.contains(&Some(pid)) || sys::bury(pid).is_err() {
                return;
            }
        }
    }

    /// SIGTERM for ourselves, at the machine's end perhaps: the container is stopped as `ctr stop` would.
    fn stop(&mut self, born: Option<&Born>, group: &Group) {
        self.down = true;
        let Some(born) = born else { return };
        let _ = group.thaw();
        let _ = sys::pidfd_signal(born.pidfd.as_fd(), self.job.care.stop_signal.unwrap_or(libc::SIGTERM));
        if self.deadline.is_none() {
            self.deadline = self.job.care.stop_timeout.map(|seconds| sys::now() + seconds * 1000 * MS);
        }
    }

    /// The `ctr run` that this container belongs to has gone without a word (its terminal was closed, it was killed).
    fn hang_up(&mut self, born: &Born) {
        self.down = true;
        for client in &mut self.clients {
            client.owner = false;
        }
        if self.job.spec.host_pid || supervise::hears(born.pid, libc::SIGHUP) {
            let _ = sys::pidfd_signal(born.pidfd.as_fd(), libc::SIGHUP);
            self.deadline = self.job.care.stop_timeout.map(|seconds| sys::now() + seconds * 1000 * MS);
        } else {
            let _ = sys::pidfd_signal(born.pidfd.as_fd(), libc::SIGKILL);
        }
    }

    #[inline(never)]
    fn read_output(&mut self, ends: &mut Ends, place: usize) {
        let mut buffer = [0u8; MOST];
        let Some(fd) = ends.output.get(place).and_then(Option::as_ref) else { return };
        match sys::read(fd.as_fd(), &mut buffer) {
            Ok(n) if n > 0 => {
                let bytes = buffer.get(..n).unwrap_or_default();
                let (stream, kind) =
                    if place == 0 { (Stream::Out, tell::OUTPUT) } else { (Stream::Err, tell::ERROR) };
                self.spoke = sys::now();
                if let Some(log) = &mut self.log {
                    log.append(stream, bytes, clock::now());
                }
                self.pass_on(kind, bytes, 0);
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            // A pipe has no errors of its own: this one is of the moment.
            Err(_) if !ends.terminal => drop(sys::poll(&mut [], 10)),
            // The end; for a pty that is EIO, when no process has it open any more.
            _ => ends.output[place] = None,
        }
    }

    /// Gives output to every client from this one on; what a lossless one has no room for is held.
    fn pass_on(&mut self, kind: u8, bytes: &[u8], first: usize) {
        for n in first..self.clients.len() {
            if self.clients.get_mut(n).is_some_and(|client| !client.show(kind, bytes)) {
                self.held = Some((kind, bytes.to_vec(), n));
                return;
            }
        }
    }

    /// The client that output was held for has room.
    fn go_on(&mut self) {
        if let Some((kind, bytes, at)) = self.held.take() {
            self.pass_on(kind, &bytes, at);
        }
    }

    fn write_input(&mut self, ends: &mut Ends) {
        let Some(fd) = &ends.input else {
            self.input.clear();
            return;
        };
        match sys::write(fd.as_fd(), &self.input) {
            Ok(n) => drop(self.input.drain(..n)),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            // Nobody reads it any more.
            Err(_) => {
                self.input = Vec::new();
                ends.input = None;
            }
        }
        if self.input.is_empty() {
            self.input.shrink_to(0);
            if self.input_ended && !ends.terminal {
                ends.input = None;
            }
        }
    }

    /// Somebody new. Whoever can reach the socket owns the container: its directory is ours alone.
    fn welcome(&mut self) {
        let Some(socket) = self.listener.as_ref().and_then(|fd| sys::accept(fd.as_fd()).ok()) else {
            // No descriptor is left, perhaps: not again at once.
            let _ = sys::poll(&mut [], 10);
            return;
        };
        self.clients.push(Client::new(socket, None));
    }

    /// What one client has to say.
    #[inline(never)]
    fn hear(&mut self, n: usize, born: Option<&Born>, ends: &mut Ends) {
        let mut message = [0u8; 1 + MOST];
        let Some(client) = self.clients.get_mut(n) else { return };
        let length = match sys::receive(client.socket.as_fd(), &mut message) {
            Ok(0) => {
                client.gone = true;
                return;
            }
            Ok(length) => length,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => return,
            Err(_) => {
                client.gone = true;
                return;
            }
        };
        let data = message.get(1..length).unwrap_or_default();
        match message[0] {
            ask::ATTACH => client.attach(data.first().copied().unwrap_or(0) & !control::OWNER),
            ask::WAIT => client.waits = true,
            ask::INPUT if client.input && ends.input.is_some() => {
                self.input.extend_from_slice(data);
                self.write_input(ends);
            }
            // Only who owns it ends its input: others come and go.
            ask::END if client.input && client.lossless => {
                self.input_ended = true;
                self.write_input(ends);
            }
            ask::SIZE => {
                if let (Some(outer), [a, b, c, d]) = (&ends.output[0], data) {
                    let size = k::winsize {
                        ws_row: u16::from_ne_bytes([*a, *b]),
                        ws_col: u16::from_ne_bytes([*c, *d]),
                        ws_xpixel: 0,
                        ws_ypixel: 0,
                    };
                    let _ = sys::set_window_size(outer.as_fd(), &size);
                }
            }
            ask::SIGNAL => {
                if let (Some(born), Some(signal)) = (born, data.first().filter(|n| (1..=64).contains(*n))) {
                    let _ = sys::pidfd_signal(born.pidfd.as_fd(), i32::from(*signal));
                }
            }
            ask::UPDATE => {
                let text = String::from_utf8_lossy(data).into_owned();
                let pairs = || text.lines().filter_map(|line| line.split_once(' '));
                if pairs().all(|(option, _)| limits::OPTIONS.contains(&option)) {
                    let record = &mut self.job.record;
                    pairs().flat_map(|(option, _)| limits::replaced_by(option)).for_each(|old| record.unset(old));
                    pairs().for_each(|(option, value)| record.add(option, value));
                    self.save();
                    let Some(client) = self.clients.get(n) else { return };
                    let _ = control::send_surely(client.socket.as_fd(), tell::NOTED, &[]);
                }
            }
            ask::NETWORKS => {
                let text = String::from_utf8_lossy(data).into_owned();
                let record = &mut self.job.record;
                record.unset_all(&["--network", "net"]);
                for (key, value) in text.lines().filter_map(|line| line.split_once(' ')) {
                    if matches!(key, "--network" | "net") {
                        record.add(key, value);
                    }
                }
                if record.get("net").is_some() {
                    record.set("leases", "held");
                }
                if let Some(connection) = self.connection.get_mut() {
                    // What was given back already may be somebody else's by now.
                    let left = network::lines(record);
                    connection.joined.retain(|joined| left.iter().any(|line| line.veth == joined.veth));
                }
                self.save();
                let Some(client) = self.clients.get(n) else { return };
                let _ = control::send_surely(client.socket.as_fd(), tell::NOTED, &[]);
            }
            ask::DETACH => (client.owner, client.gone) = (false, true),
            ask::DOWN | ask::KILL => {
                (self.down, self.stopped) = (true, true);
                client.waits = true;
                if let (ask::KILL, Some(born)) = (message[0], born) {
                    let group = self.job.record.group();
                    kill_all(born, &group);
                    let _ = group.thaw();
                }
                if let Some(client) = self.clients.get(n) {
                    let _ = control::send_surely(client.socket.as_fd(), tell::NOTED, &[]);
                }
            }
            _ => {}
        }
    }

    /// What is still in the pipes when the process has ended: no more than they can hold, because somebody else may
    /// still have them open and go on writing.
    fn drain(&mut self, ends: &mut Ends) {
        let mut rounds = 2 * MOST_LEFT / MOST;
        while rounds > 0 && ends.output.iter().any(Option::is_some) {
            rounds -= 1;
            if let Some((_, _, at)) = self.held {
                // A reader that has stopped is not waited for for ever.
                let fd = self.clients.get(at).map_or(-1, |client| client.socket.as_raw_fd());
                let mut wanted = [PollFd { fd, events: libc::POLLOUT, revents: 0 }];
                if sys::poll(&mut wanted, 10_000).is_ok_and(|n| n == 0) || fd < 0 {
                    self.held = None;
                    return;
                }
                self.go_on();
                continue;
            }
            let poll = |fd: &Option<OwnedFd>| PollFd {
                fd: fd.as_ref().map_or(-1, AsRawFd::as_raw_fd),
                events: libc::POLLIN,
                revents: 0,
            };
            let mut wanted = [poll(&ends.output[0]), poll(&ends.output[1])];
            if !sys::poll(&mut wanted, 0).is_ok_and(|n| n > 0) {
                break;
            }
            for (place, found) in wanted.iter().enumerate() {
                if found.revents != 0 && self.held.is_none() {
                    self.read_output(ends, place);
                }
            }
        }
        for _ in 0..10 {
            let Some((_, _, at)) = self.held else { break };
            let fd = self.clients.get(at).map_or(-1, |client| client.socket.as_raw_fd());
            let mut wanted = [PollFd { fd, events: libc::POLLOUT, revents: 0 }];
            let _ = sys::poll(&mut wanted, 1000);
            self.go_on();
        }
        self.held = None;
        if let Some(log) = &mut self.log {
            log.finish(clock::now());
        }
    }

    /// Starts a health check: `ctr exec` of ourselves, from a copy of our binary that cannot be written through.
    fn begin_check(&mut self, health: &Health, now: u64) {
        let started = || -> Result<Born> {
            let id = self.job.record.id();
            let binary = super::init::binary().doing("take a sealed copy of ctr", "/proc/self/exe")?;
            let command = health.command.as_bytes().to_vec();
            let words = [c"ctr".into(), c"exec".into(), std::ffi::CString::new(id).unwrap_or_default()];
            let rest = [c"/bin/sh".into(), c"-c".into(), std::ffi::CString::new(command).unwrap_or_default()];
            let pairs = std::env::vars_os().filter(|(key, _)| {
                ["CTR_STATE", "CTR_ROOT", "HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME"].iter().any(|known| key == known)
            });
            let pair = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
                let text = [key.as_encoded_bytes(), b"=", value.as_encoded_bytes()].concat();
                std::ffi::CString::new(text).unwrap_or_default()
            };
            let program = Program {
                init: Some(binary.as_raw_fd()),
                init_name: std::ffi::CString::new(format!("self/fd/{}", binary.as_raw_fd())).ok(),
                paths: Vec::new(),
                argv: Strings::new(words.into_iter().chain(rest).collect()),
                envp: Strings::new(pairs.map(pair).collect()),
            };
            let parent = sys::pidfd_open(std::process::id()).doing("get a descriptor of ourselves", "pidfd_open")?;
            let ops = vec![Op::Guard(parent.as_raw_fd()), Op::Signals, Op::Exec(program)];
            let plan = Plan {
                outer: Vec::new(),
                holder: Vec::new(),
                held: 0,
                namespaces: 0,
                inner: vec![step("fork", "a process for the check", vec![]), step("exec", "ctr exec", ops)],
                slots: 0,
                map: None,
                group: None,
                lasting: false,
            };
            spawn::spawn(&plan, &mut Trace::new(false), |_, _| Ok(()))
        };
        match started() {
            Ok(born) => self.check.running = Some((born, now + health.timeout)),
            Err(_) => self.judge(false),
        }
    }

    /// A check has ended, or has taken too long.
    fn end_check(&mut self, too_long: bool) {
        let Some((check, _)) = self.check.running.take() else { return };
        if too_long {
            let _ = sys::pidfd_signal(check.pidfd.as_fd(), libc::SIGKILL);
        }
        let ended = sys::wait_pidfd(check.pidfd.as_fd());
        self.judge(!too_long && ended.is_ok_and(|ended| ended == Ended::Code(0)));
    }

    fn judge(&mut self, well: bool) {
        let Some(health) = self.job.care.health.clone() else { return };
        let now = sys::now();
        self.check.due = now + health.interval;
        let starting = now.saturating_sub(self.began) < health.start_period && self.check.word.is_empty();
        self.check.failures = if well { 0 } else { self.check.failures.saturating_add(u32::from(!starting)) };
        let word = match (well, self.check.failures >= health.retries) {
            (true, _) => "healthy",
            (false, true) => "unhealthy",
            (false, false) => self.check.word,
        };
        self.job.record.set("health-failures", self.check.failures.to_string());
        if word != self.check.word {
            self.check.word = word;
            self.job.record.set("health", word);
            self.note("health_status", &[("status", word.to_owned())]);
        }
        self.save();
    }

    /// Writes down how a run ended.
    fn settle(&mut self, life: &Result<End>) {
        if let Some((check, _)) = self.check.running.take() {
            let _ = sys::pidfd_signal(check.pidfd.as_fd(), libc::SIGKILL);
            let _ = sys::wait_pidfd(check.pidfd.as_fd());
        }
        let record = &mut self.job.record;
        for key in ["pid", "ticks", "boot", "pid-namespace", "exit", "signal", "oom", "error"] {
            record.unset(key);
        }
        record.set("finished", clock::now().to_string());
        let mut more = Vec::new();
        match life {
            Ok(End { how, oom }) => {
                record.set("exit", how.code().to_string());
                more.push(("exitCode", how.code().to_string()));
                if let Ended::Signal(signal) = how {
                    record.set("signal", signal.to_string());
                    more.push(("signal", signal.to_string()));
                }
                if *oom {
                    record.set("oom", "yes");
                }
            }
            Err(error) => {
                record.set("exit", error.code.to_string());
                record.set("error", error.to_string());
                more.push(("exitCode", error.code.to_string()));
            }
        }
        let bytes = self.log.as_ref().map_or(0, |log| log.dropped().bytes);
        if bytes > 0 {
            record.set("dropped", bytes.to_string());
        }
        if life.as_ref().is_ok_and(|end| end.oom) {
            self.note("oom", &[]);
        }
        self.note("die", &more);
    }

    /// Whether it shall be started again.
    fn again(&self, code: u8, restarts: u32) -> bool {
        if self.down || !self.reported {
            return false;
        }
        match self.job.care.restart {
            Restart::No => false,
            Restart::OnFailure(most) => code != 0 && most.is_none_or(|most| restarts < most),
            Restart::Always | Restart::UnlessStopped => true,
        }
    }

    /// Tells who waits how it ended, and lets them go.
    fn tell_end(&mut self, code: u8) {
        for client in self.clients.drain(..).filter(|client| client.waits) {
            client.say_goodbye(code);
        }
    }

    /// The container is at rest, or gone; and so are we.
    fn finish(mut self, code: u8) -> ! {
        self.job.record.set("state", "exited");
        self.job.record.unset("supervisor");
        if self.stopped {
            self.job.record.set("stopped", "yes");
            self.note("stop", &[]);
        }
        self.save();
        drop(self.lease.take());
        // Nobody new comes in any more; who has come already is told.
        let _ = sys::unlink(sys::CWD, control::NAME, false);
        while self.listener.as_ref().is_some_and(|fd| {
            let mut wanted = [PollFd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
            sys::poll(&mut wanted, 0).is_ok_and(|n| n > 0)
        }) {
            let before = self.clients.len();
            self.welcome();
            if self.clients.len() == before {
                break;
            }
        }
        let (ends, born) = (&mut Ends::default(), None);
        for n in 0..self.clients.len() {
            self.hear(n, born, ends);
        }
        let mut clients = std::mem::take(&mut self.clients);
        if self.job.care.remove {
            self.note("destroy", &[]);
            let Supervisor { job, .. } = self;
            let _ = job.entry.remove_all();
            for client in clients.drain(..).filter(|client| client.waits) {
                client.say_goodbye(code);
            }
        } else {
            self.clients = clients;
            self.tell_end(code);
        }
        sys::exit(0)
    }
}

/// SIGKILL for everything in the container.
fn kill_all(born: &Born, group: &Group) {
    let _ = sys::pidfd_signal(born.pidfd.as_fd(), libc::SIGKILL);
    group.kill();
}
