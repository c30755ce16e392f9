//! `ctr run`: what was asked, what the machine is like, the plan, the container, its end.

use std::cell::Cell;
use std::ffi::{CString, OsString};
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use linux_raw_sys::general as k;
use rootfs::mounts;
use rootfs::path::Kind;

use super::read;
use crate::cli::Run;
use crate::container::plan::{Facts, HostMount, Plan, Way, plan};
use crate::container::record::{self, Entry, State};
use crate::container::spec::{self, Mount, Network, Root, Spec, Userns};
use crate::container::step::{Op, Stdio, Step, step};
use crate::container::supervise::{self, End, Outside, Pump, Terminal};
use crate::container::trace::Trace;
use crate::container::{init, spawn};
use crate::error::{Doing, Error, Result, exit};
use crate::idmap::IdMap;
use crate::{names, procfs, sys, tty, user};

/// The verb.
pub fn run(words: &[OsString]) -> Result<u8> {
    let Some((asked, operands)) = read::<Run>("run", words)? else { return Ok(0) };
    let spec = spec(&asked, operands)?;
    let (id, made_up) = names::fresh().doing("make up an id", "getrandom")?;
    let name = spec.name.clone().unwrap_or(made_up);

    let root = sys::with_three_descriptors(|| open_root(&spec.root))?;
    let mut held = Held::default();
    let mut facts = facts(&spec, &asked, &root, id)?;
    if asked.dry_run {
        return super::print(&dry_run(&plan(&spec, &facts))).map(|()| 0);
    }

    let mut trace = Trace::new(asked.trace);
    if spec.terminal && spec.interactive {
        tty::await_foreground(sys::borrow(0))?;
    }
    let signals = supervise::take_signals()?;
    let mut connected = connect(&spec, &mut facts, signals, &mut held)?;
    let entry = State::open()?.create(&name)?;
    trace.note("record", "the container has a name and a record");
    let ourselves_pid = std::process::id();
    let ourselves = sys::pidfd_open(ourselves_pid).doing("get a descriptor of ourselves", "pidfd_open")?;
    facts.parent = ourselves.as_raw_fd();
    prepare(&spec, &mut facts, &mut held)?;
    let files = Files::create(&asked, &facts.id)?;
    if spec.host_pid {
        sys::adopt_orphans().doing("become the parent of orphans", "prctl")?;
    }
    let give_birth = |facts: &Facts, trace: &mut Trace| {
        let beside = |pid| remember(&entry, &spec, facts, (ourselves_pid, pid)).and_then(|()| files.started(pid));
        spawn::spawn(&plan(&spec, facts), trace, beside)
    };
    let mut born = give_birth(&facts, &mut trace);
    // The initial ramfs cannot be pivoted away (until 7.0). Who is not on it need not look.
    if born.as_ref().is_err_and(|e| e.step == Some("pivot") && e.cause.raw_os_error() == Some(libc::EINVAL)) {
        facts.on_ramfs = on_ramfs()?;
        if facts.on_ramfs.is_some() {
            trace.note("again", "the root is the initial ramfs: the safe way round it");
            born = give_birth(&facts, &mut trace);
        }
    }
    let born = born.map_err(|e| files.withdraw(if_empty(e, &root, &spec.root)))?;
    trace.sum();
    // The container has what it needs of these; held here, they would keep its pipes open.
    drop(held);
    let ended = connected.run(&spec, &born, facts.parent, &name, &|| entry.save_identity(born.pid))?;
    if spec.host_pid {
        supervise::reap_orphans();
    }
    entry.remove();
    // We end now, and the kernel closes the rest faster than we could.
    std::mem::forget((root, ourselves, connected, born));
    Ok(ended.code())
}

/// Checks the words; looks at nothing but environment and files that were named.
fn spec(asked: &Run, mut operands: Vec<OsString>) -> Result<Spec> {
    let root = match &asked.rootfs {
        Some(dir) => Root::Dir(PathBuf::from(dir)),
        None if operands.is_empty() => {
            return Err(Error::usage(
                "no ROOT: say what becomes /, for example: ctr run -it host sh, or: ctr run ./rootfs sh",
            ));
        }
        None => root(&operands.remove(0))?,
    };
    if let Some(program) = asked.entrypoint.as_ref().filter(|p| !p.is_empty()) {
        operands.insert(0, program.into());
    }
    if operands.first().is_none_or(|word| word.is_empty()) {
        return Err(Error::usage("no COMMAND: say what to run after ROOT, for example: ctr run host sh"));
    }
    let only_host = |value: &Option<String>, option: &str| match value.as_deref() {
        None | Some("" | "private") => Ok(false),
        Some("host") => Ok(true),
        Some(other) => Err(Error::usage(format_args!("bad {option} {other:?}: it is host, or left out"))),
    };
    let mut env = Vec::new();
    for path in &asked.env_file {
        let text = std::fs::read_to_string(path).doing("read the --env-file", path)?;
        env.extend(spec::env_file(&text, Path::new(path))?);
    }
    for pair in &asked.env {
        env.extend(spec::env(pair)?);
    }
    let mut volumes = asked.volume.iter().map(|text| spec::volume(text)).collect::<Result<Vec<_>>>()?;
    let mut tmpfs = asked.tmpfs.iter().map(|text| spec::tmpfs(text)).collect::<Result<Vec<_>>>()?;
    for text in &asked.mount {
        match spec::mount(text)? {
            Mount::Volume(volume) => volumes.push(volume),
            Mount::Tmpfs(mount) => tmpfs.push(mount),
        }
    }
    let mut targets: Vec<_> = volumes.iter().map(|v| &v.to).chain(tmpfs.iter().map(|t| &t.to)).collect();
    targets.sort_by_key(|to| to.as_path());
    if let Some((twice, _)) = targets.iter().zip(targets.iter().skip(1)).find(|(one, next)| one == next) {
        return Err(Error::usage(format_args!("two mounts have the same target {twice}")));
    }
    let spec = Spec {
        root,
        writable_root: asked.rw,
        read_only: asked.read_only,
        command: spec::command(operands)?,
        env,
        workdir: spec::inside(asked.workdir.as_deref().unwrap_or("/"), "-w")?,
        user: asked.user.clone(),
        name: asked.name.as_ref().map(|name| names::check(name).map(|()| name.clone())).transpose()?,
        hostname: asked.hostname.as_ref().map(|name| spec::hostname(name)).transpose()?,
        interactive: asked.interactive,
        terminal: asked.tty,
        volumes,
        tmpfs,
        network: match asked.network.as_deref() {
            None | Some("none") => Network::None,
            Some("host") => Network::Host,
            Some(other) => {
                return Err(Error::usage(format_args!(
                    "bad --network {other:?}: none and host are what there is so far"
                )));
            }
        },
        host_pid: only_host(&asked.pid, "--pid")?,
        host_ipc: only_host(&asked.ipc, "--ipc")?,
        host_uts: only_host(&asked.uts, "--uts")?,
        userns: match asked.userns.as_deref() {
            None if sys::euid() == 0 => Userns::Host,
            Some("host") => Userns::Host,
            None | Some("auto") => Userns::Auto,
            Some(other) => return Err(Error::usage(format_args!("bad --userns {other:?}: it is auto or host"))),
        },
        hosts: asked.add_host.iter().map(|text| spec::host(text)).collect::<Result<_>>()?,
        dns: asked.dns.iter().map(|text| spec::name_server(text)).collect::<Result<_>>()?,
        limits: limits(&asked.ulimit)?,
        shm_size: asked.shm_size.as_deref().map_or(Ok(64 << 20), |text| spec::bytes(text, "--shm-size"))?,
        init: asked.init,
    };
    contradictions(&spec, asked)?;
    Ok(spec)
}

/// `--ulimit`s; of two for the same resource the last one wins.
fn limits(texts: &[String]) -> Result<Vec<spec::Limit>> {
    let mut limits: Vec<spec::Limit> = Vec::new();
    for text in texts {
        let limit = spec::limit(text)?;
        limits.retain(|earlier| earlier.resource != limit.resource);
        limits.push(limit);
    }
    Ok(limits)
}

/// ROOT as it was typed.
fn root(word: &OsString) -> Result<Root> {
    if word == "host" {
        return Ok(Root::Host);
    }
    let path = PathBuf::from(word);
    if word.as_bytes().contains(&b'/') || word == "." || word == ".." {
        return Ok(Root::Dir(path));
    }
    let shown = path.display();
    if path.is_dir() {
        return Err(Error::usage(format_args!("bad ROOT {shown}: for the directory of this name write ./{shown}")));
    }
    Err(Error::usage(format_args!(
        "bad ROOT {shown}: it is the word host or a directory with a slash in it, such as ./rootfs (ctr has no images yet)"
    )))
}

/// Wishes that exclude each other.
fn contradictions(spec: &Spec, asked: &Run) -> Result<()> {
    let rules = [
        (spec.writable_root && spec.root == Root::Host, "--rw and host: the machine's own root is never written to"),
        (spec.writable_root && spec.read_only, "--rw and --read-only: choose one"),
        (spec.host_uts && spec.hostname.is_some(), "-h and --uts host: the host's name would change"),
        (
            spec.userns == Userns::Auto && spec.host_pid,
            "--pid host needs --userns host: a user namespace sees its own processes only",
        ),
        (
            spec.userns == Userns::Auto && spec.host_ipc,
            "--ipc host needs --userns host: the host's queues belong to another user namespace",
        ),
        (
            spec.userns == Userns::Host && sys::euid() != 0 && !asked.dry_run,
            "--userns host needs root: run ctr as root, or leave the option out",
        ),
        (
            spec.userns == Userns::Auto && sys::euid() != 0 && spec.root == Root::Host && !asked.dry_run,
            "host needs root: an ordinary user may run a directory of his own",
        ),
    ];
    match rules.into_iter().find(|(broken, _)| *broken) {
        Some((_, sentence)) => Err(Error::usage(sentence)),
        None => Ok(()),
    }
}

/// Opens what shall become `/`, to look at.
fn open_root(root: &Root) -> Result<OwnedFd> {
    let path = match root {
        Root::Host => Path::new("/"),
        Root::Dir(path) => path,
    };
    let c_path =
        CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::usage("bad ROOT: it has a NUL byte in it"))?;
    sys::openat(sys::CWD, &c_path, k::O_RDONLY | k::O_DIRECTORY, 0)
        .map_err(|cause| Error::new("open the root filesystem", path.display(), cause))
}

/// Nothing can be found in an empty root; then that is the news, and it is not the command's fault.
fn if_empty(error: Error, dir: &OwnedFd, root: &Root) -> Error {
    // "." and ".." take 24 bytes each, and any other name as much at least.
    let empty =
        error.code == exit::NOT_FOUND && sys::getdents(dir.as_fd(), &mut [0; 512]).is_ok_and(|used| used <= 48);
    match root {
        Root::Dir(path) if empty => {
            Error::new("run from the root filesystem", path.display(), io::Error::other("the directory is empty"))
        }
        _ => error,
    }
}

/// What has to be known before there can be a plan. Changes nothing.
fn facts(spec: &Spec, asked: &Run, root: &OwnedFd, id: String) -> Result<Facts> {
    let user = user::look_up(root.as_fd(), spec.user.as_deref())?;
    let way = match (spec.userns, sys::euid()) {
        (Userns::Host, _) => Way::Plain,
        (Userns::Auto, 0) => Way::Shifted { map: IdMap::chosen_by(&id), userns: -1 },
        (Userns::Auto, uid) => Way::Alone { map: IdMap::only(uid, sys::egid()) },
    };
    if let Way::Shifted { map, .. } | Way::Alone { map } = way {
        if let Some(id) = [user.uid, user.gid].into_iter().chain(user.groups.iter().copied()).find(|id| !map.has(*id))
        {
            return Err(Error::usage(format_args!(
                "id {id} does not exist in the user namespace: it has {} (0 to {})",
                map.count,
                map.count - 1
            )));
        }
    }
    let hostname = match &spec.hostname {
        Some(name) => name.clone(),
        None if spec.host_uts || spec.network == Network::Host => {
            sys::hostname().doing("learn the host's name", "uname")?
        }
        None => id.get(..names::SHORT).unwrap_or(&id).to_owned(),
    };
    let resolv_conf = match spec.network {
        Network::None => "# this container has no network (--network none)\n".to_owned(),
        Network::Host => std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
    };
    let mut volume_kinds = Vec::new();
    for volume in &spec.volumes {
        let found = std::fs::metadata(&volume.from).map_err(|e| {
            let missing = e.kind() == io::ErrorKind::NotFound;
            Error::new("find the source of -v or --mount", volume.from.display(), e)
                .hint(missing.then(|| format!("mkdir -p {}", volume.from.display())))
        })?;
        volume_kinds.push(if found.is_dir() { Kind::Dir } else { Kind::File });
    }
    let stdio = if spec.terminal {
        check_terminal(spec.interactive)?;
        [Stdio::Keep; 3]
    } else {
        [if spec.interactive { Stdio::Keep } else { Stdio::Null }, Stdio::Keep, Stdio::Keep]
    };
    let host_mounts = if spec.root == Root::Host { host_mounts()? } else { Vec::new() };
    Ok(Facts {
        id,
        hostname,
        user,
        way,
        host_mounts,
        on_ramfs: None,
        resolv_conf,
        stdio,
        terminal: spec.terminal.then_some((-1, None)),
        awaits_parent: asked.pidfile.is_some(),
        caller_is_root: way == Way::Plain && sys::all_ids_are_root(),
        parent: -1,
        init: (asked.init).then_some(-1),
        volume_kinds,
    })
}

/// `-t` needs a terminal: that of standard input if it is to be used, otherwise any of the three.
fn check_terminal(interactive: bool) -> Result<()> {
    let there = if interactive { tty::is_terminal(sys::borrow(0)) } else { tty::ours().is_some() };
    if there {
        return Ok(());
    }
    Err(Error::usage(if interactive {
        "-it without a terminal: standard input is none (leave -t out to use a pipe)"
    } else {
        "-t without a terminal: none of standard input, output and error is one (leave -t out)"
    }))
}

/// Filesystems that overlayfs takes as a lower layer, and that hold files rather than kernel objects.
const LAYERS: [&str; 12] =
    ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "bcachefs", "zfs", "erofs", "squashfs", "iso9660", "overlay"];

/// Everything that is mounted, as this process sees it.
fn mounted() -> Result<Vec<mounts::Mount>> {
    let proc = procfs::open().doing("find /proc, to see what is mounted", "")?;
    let text = procfs::read(proc.as_fd(), c"self/mountinfo").doing("see what is mounted", "mountinfo")?;
    Ok(mounts::parse(&text))
}

/// What is mounted below `/` that a view of the host needs: filesystems with files in them, on others of that kind.
fn host_mounts() -> Result<Vec<HostMount>> {
    let mut all = mounted()?;
    // Of several at one place the last one is seen.
    all.reverse();
    all.sort_by(|a, b| a.at.cmp(&b.at));
    all.dedup_by(|a, b| a.at == b.at);
    let mut layers: Vec<HostMount> = Vec::new();
    for mount in all.iter().filter(|m| m.at != Path::new("/")) {
        let own = ["/proc", "/sys", "/dev", "/run", "/tmp"].iter().any(|own| mount.at.starts_with(own));
        // The mount that it is on, which sorting has put before it.
        let on = all.iter().rfind(|m| m.at != mount.at && mount.at.starts_with(&m.at)).map(|m| m.at.as_path());
        let seen = on.is_some_and(|on| on == Path::new("/") || layers.iter().any(|layer| layer.path == on));
        if !seen || own || !LAYERS.contains(&mount.fs.as_str()) {
            continue;
        }
        if let Some(found) = std::fs::metadata(&mount.at).ok().filter(std::fs::Metadata::is_dir) {
            let (mode, uid, gid) = (found.mode() & 0o7777, found.uid(), found.gid());
            layers.push(HostMount { path: mount.at.clone(), mode, uid, gid });
        }
    }
    Ok(layers)
}

/// What is mounted on the initial ramfs, if that is the root: the one mount without a parent (fs/namespace.c).
fn on_ramfs() -> Result<Option<Vec<PathBuf>>> {
    let all = mounted()?;
    let initial = all.iter().find(|m| m.id == m.parent && m.at == Path::new("/")).map(|m| m.id);
    let below = |id| all.iter().filter(|m| m.parent == id && m.id != id).map(|m| m.at.clone()).collect();
    Ok(initial.map(below))
}

/// `PIPEFS_MAGIC` (include/uapi/linux/magic.h): pipes that have no name.
const PIPEFS_MAGIC: u64 = 0x5049_5045;

/// Descriptors that must live until the child has its own copies.
#[derive(Default)]
struct Held(Vec<OwnedFd>);

impl Held {
    fn keep(&mut self, fd: OwnedFd) -> RawFd {
        let number = fd.as_raw_fd();
        self.0.push(fd);
        number
    }
}

/// What the container's output and input are connected with, outside.
struct Connected {
    outside: Outside,
    /// Where the terminal's other end will arrive.
    arrival: Option<OwnedFd>,
}

/// Decides for each standard descriptor whether the container gets the caller's own file.
///
/// A terminal is never handed in: through it a container could read what is typed next, or type itself (CVE-2017-5226,
/// and /proc/self/fd/1 opened anew for reading). Its bytes go through a pipe. Anything else is the caller's to give.
fn connect(spec: &Spec, facts: &mut Facts, signals: OwnedFd, held: &mut Held) -> Result<Connected> {
    let mut outside = Outside { signals, input: None, output: Vec::new(), terminal: None, first: !spec.host_pid };
    if spec.terminal {
        let (ours, theirs) = sys::socketpair().doing("make a socket for the terminal", "socketpair")?;
        let size = tty::ours().and_then(|fd| sys::window_size(fd).ok());
        facts.terminal = Some((held.keep(theirs), size));
        return Ok(Connected { outside, arrival: Some(ours) });
    }
    for number in 0..3 {
        let caller = sys::borrow(number);
        let place = number as usize;
        if facts.stdio[place] != Stdio::Keep {
            continue;
        }
        let (uid, gid) = owner_outside(facts);
        let found = sys::fstat(caller).doing("look at the standard descriptors", number)?;
        let kind = found.st_mode & k::S_IFMT;
        // Devices of major number 1 are /dev/null and its like.
        let maybe_terminal = kind == k::S_IFCHR && found.st_rdev >> 8 & 0xfff != 1;
        if kind == k::S_IFDIR {
            return Err(Error::usage(format_args!(
                "descriptor {number} is a directory: through it the container would be outside of its root"
            )));
        }
        if !maybe_terminal || !tty::is_terminal(caller) {
            // So that /dev/stdout can be opened inside by who is not root. A nameless pipe is nobody's file; one with a
            // name, or any other file, is the caller's to give (CVE-2026-88265).
            if uid != 0 && sys::fs_magic(caller).is_ok_and(|magic| magic == PIPEFS_MAGIC) {
                let _ = sys::fchown(caller, uid, gid);
            }
            continue;
        }
        let (read, write) = sys::pipe().doing("make a pipe", "pipe2")?;
        let theirs = if number == 0 {
            sys::set_nonblocking(write.as_fd(), true).doing("set a pipe up", "fcntl")?;
            outside.input = Some(Pump::new(End::Caller(caller), End::Ours(write)));
            read
        } else {
            outside.output.push(Pump::new(End::Ours(read), End::Caller(caller)));
            write
        };
        if uid != 0 {
            let _ = sys::fchown(theirs.as_fd(), uid, gid);
        }
        facts.stdio[place] = Stdio::Fd(held.keep(theirs));
    }
    Ok(Connected { outside, arrival: None })
}

/// The command's user as the host sees it.
fn owner_outside(facts: &Facts) -> (u32, u32) {
    match facts.way {
        Way::Plain => (facts.user.uid, facts.user.gid),
        Way::Shifted { map, .. } => (map.outside + facts.user.uid, map.outside_group + facts.user.gid),
        Way::Alone { map } => (map.outside, map.outside_group),
    }
}

/// The descriptors that the plan names.
fn prepare(spec: &Spec, facts: &mut Facts, held: &mut Held) -> Result<()> {
    if spec.init {
        facts.init =
            Some(held.keep(init::binary().doing("take a sealed copy of ctr, for --init", "/proc/self/exe")?));
    }
    if let Way::Shifted { map, .. } = facts.way {
        let proc = procfs::open().doing("find /proc, to write id maps", "")?;
        let userns = spawn::user_namespace(map, proc.as_fd(), facts.parent)?;
        facts.way = Way::Shifted { map, userns: held.keep(userns) };
    }
    Ok(())
}

/// The record of a container that runs.
fn remember(entry: &Entry, spec: &Spec, facts: &Facts, (supervisor, pid): (u32, u32)) -> Result<()> {
    let root = match &spec.root {
        Root::Host => "host".to_owned(),
        Root::Dir(path) => path.display().to_string(),
    };
    entry.save(&[
        ("id", facts.id.clone()),
        ("pid", pid.to_string()),
        ("supervisor", supervisor.to_string()),
        ("root", root),
        ("command", record::command_line(&spec.command)),
    ])
}

/// The files that the user asked for beside the container.
struct Files {
    cid: Option<PathBuf>,
    pid: Option<PathBuf>,
    pid_written: Cell<bool>,
}

impl Files {
    /// `--cidfile` must be new: an old one may still be somebody's.
    fn create(asked: &Run, id: &str) -> Result<Files> {
        let cid = asked.cidfile.as_ref().map(PathBuf::from);
        if let Some(path) = &cid {
            let mut file = std::fs::File::create_new(path).map_err(|e| {
                let exists = e.kind() == io::ErrorKind::AlreadyExists;
                Error::new("write the --cidfile", path.display(), e)
                    .hint(exists.then_some("remove it, or choose another name"))
            })?;
            io::Write::write_all(&mut file, id.as_bytes()).doing("write the --cidfile", path.display())?;
        }
        Ok(Files { cid, pid: asked.pidfile.as_ref().map(PathBuf::from), pid_written: Cell::new(false) })
    }

    fn started(&self, pid: u32) -> Result<()> {
        let Some(path) = &self.pid else { return Ok(()) };
        let written = std::fs::write(path, format!("{pid}\n"));
        self.pid_written.set(written.is_ok());
        written.doing("write the --pidfile", path.display())
    }

    /// There is no container after all.
    fn withdraw(&self, error: Error) -> Error {
        for path in [self.cid.as_ref(), self.pid.as_ref().filter(|_| self.pid_written.get())].into_iter().flatten() {
            let _ = std::fs::remove_file(path);
        }
        error
    }
}

impl Connected {
    /// Stays until the container has ended.
    fn run(
        &mut self,
        spec: &Spec,
        born: &spawn::Born,
        ourselves: RawFd,
        name: &str,
        settled: &dyn Fn(),
    ) -> Result<sys::Ended> {
        let mut raw = None;
        if let Some(socket) = self.arrival.take() {
            let inside = sys::receive_fd(socket.as_fd()).doing("receive the container's terminal", name)?;
            let dup = || sys::dup(inside.as_fd()).doing("copy the terminal's descriptor", name);
            sys::set_nonblocking(inside.as_fd(), true).doing("set the terminal up", name)?;
            let inner = sys::pty_peer(inside.as_fd()).doing("keep the container's terminal open", name)?;
            // Without -i the terminal stays the caller's, but for what it would do to output that is a terminal's already.
            if let Some(terminal) = if spec.interactive { Some(sys::borrow(0)) } else { tty::ours() } {
                let how = if spec.interactive { tty::How::Raw } else { tty::How::Output };
                // First the companion, then what it is there to undo.
                raw = tty::Raw::remember(terminal).ok().map(|raw| (companion(ourselves), raw));
                if let Some((_, raw)) = &raw {
                    raw.enter(how).doing("set the terminal up", name)?;
                }
            }
            if spec.interactive {
                self.outside.input = Some(Pump::new(End::Caller(sys::borrow(0)), End::Ours(dup()?)));
            }
            self.outside.output.push(Pump::new(End::Ours(dup()?), End::Caller(sys::borrow(1))));
            self.outside.terminal = Some(Terminal { outer: inside, _inner: inner });
        }
        let ended = self.outside.run(born, name, settled);
        if let Some((companion, raw)) = raw {
            drop(raw);
            if let Some(companion) = companion {
                let _ = sys::pidfd_signal(companion.pidfd.as_fd(), libc::SIGKILL);
                let _ = sys::wait_pidfd(companion.pidfd.as_fd());
            }
        }
        ended
    }
}

/// A process that puts the terminal's settings back if we are killed with SIGKILL. None if there can be none: then that
/// case stays to `stty sane`.
fn companion(ourselves: RawFd) -> Option<spawn::Born> {
    let (terminal, settings) = tty::remembered()?;
    let restore = Op::RestoreTerminal { parent: ourselves, terminal, settings };
    spawn::companion(vec![step("terminal", "the caller's terminal outlives us as it was", vec![restore])]).ok()
}

/// The plan in words: what `--trace` will show, with what stands behind each line.
fn dry_run(plan: &Plan) -> String {
    let mut text = String::new();
    let mut half = |title: &str, steps: &[Step]| {
        if steps.is_empty() {
            return;
        }
        let _ = writeln!(text, "{title}");
        for step in steps {
            let _ = writeln!(text, "  {:<14} {}", step.name, step.why);
            for op in &step.ops {
                let _ = writeln!(text, "  {:<14}   {op}", "");
            }
        }
    };
    half("before it exists:", &plan.outer);
    half("clone3 mount, a process that builds the root and ends:", &plan.aside);
    half(&format!("clone3 {}, and in there:", namespaces(plan.namespaces)), &plan.inner);
    let _ = writeln!(
        text,
        "{} steps; nothing was done (--dry-run)",
        plan.outer.len() + plan.aside.len() + plan.inner.len()
    );
    text
}

/// `CLONE_NEW*` in words.
fn namespaces(flags: u32) -> String {
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
