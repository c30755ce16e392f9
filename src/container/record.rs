//! The state folders: one directory a container, named as the container is, with a record that `cat` and `grep` can read.
//!
//! ```text
//! /var/lib/ctr/containers/web/record    what outlives its process: made by create and by run
//! /run/ctr/containers/web/record        what does not: run --rm in the foreground; and everything, if the disk is read-only
//! ```
//! A record is `key value` lines, the version first (docs/state.md has all keys). It is written aside and renamed: a reader
//! sees the old one or the new one. Keys that this ctr does not know are kept as they are.
//!
//! The directory is made, and locked, before anything else of the container exists: it is the undo list. Whoever holds the
//! lock (`flock(2)`) on it owns the container: the supervisor as long as it lives, otherwise the command that is at it
//! (start, rm, rename). The kernel ends a lock with its process, so whether somebody looks after a container is asked
//! of the kernel, never read from a file. And whether its process lives is asked of the kernel too: the record names
//! its pid, when it was started, and the boot and the pid namespace in which that is so ([`Record::process`]).
//!
//! Every command that opens the state first takes away what dead ones left ([`State::reclaim`]).

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fmt::Write;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use linux_raw_sys::general as k;

pub use crate::folders::{each_name, folder, lasting_folder};

use crate::error::{Doing, Error, Result};
use crate::{cgroup, clock, names, network, procfs, sys};

/// The first line of every record.
const VERSION: &str = "ctr 1";

/// How often a directory is made again that somebody took away, or a lock tried that somebody looks at.
const TRIES: usize = 100;

/// A file with nothing but the container's id, written once: what is left to go by when the record is damaged.
const ID: &CStr = c"id";

/// The longest record that is read.
const LONGEST: usize = 4 << 20;

/// What a container's record says: lines in the order they were written, values escaped as they stand in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    lines: Vec<(String, String)>,
}

impl Record {
    /// Reads a record's text; what is wrong with it, if it cannot be one of ours.
    pub fn parse(text: &[u8]) -> std::result::Result<Record, String> {
        let text = std::str::from_utf8(text).map_err(|_| "it is not text".to_owned())?;
        let mut lines = text.lines();
        match lines.next() {
            Some(VERSION) => {}
            Some(other) if other.strip_prefix("ctr ").is_some_and(|n| n.parse::<u32>().is_ok()) => {
                return Err(format!(
                    "it was written by a newer ctr (it begins with {other:?}, this ctr knows {VERSION:?})"
                ));
            }
            _ => return Err(format!("it does not begin with {VERSION:?}")),
        }
        if !text.ends_with('\n') {
            return Err("its last line is cut off".to_owned());
        }
        let pair = |line: &str| {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            (key.to_owned(), value.to_owned())
        };
        let record = Record { lines: lines.map(pair).collect() };
        if !record.get("id").is_some_and(is_id) {
            return Err("it has no id".to_owned());
        }
        Ok(record)
    }

    fn text(&self) -> String {
        let mut text = format!("{VERSION}\n");
        for (key, value) in &self.lines {
            let _ = if value.is_empty() { writeln!(text, "{key}") } else { writeln!(text, "{key} {value}") };
        }
        text
    }

    /// The value of a key, as it stands there.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.lines.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// The value of a key as a number.
    pub fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.get(key)?.parse().ok()
    }

    /// The value of a key as it was before it was written down.
    pub fn words(&self, key: &str) -> Vec<OsString> {
        self.lines.iter().filter(|(k, _)| k == key).map(|(_, value)| unescape(value)).collect()
    }

    /// All lines, values as they stand there.
    pub fn lines(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Adds a line, whatever is there already.
    pub fn add(&mut self, key: &str, value: impl AsRef<OsStr>) {
        self.lines.push((key.to_owned(), escape(value.as_ref())));
    }

    /// Sets the one line of a key, where it is or at the end.
    pub fn set(&mut self, key: &str, value: impl AsRef<OsStr>) {
        let value = escape(value.as_ref());
        match self.lines.iter_mut().find(|(k, _)| k == key) {
            Some(line) => line.1 = value,
            None => self.lines.push((key.to_owned(), value)),
        }
    }

    /// Takes a key's lines away.
    pub fn unset(&mut self, key: &str) {
        self.lines.retain(|(k, _)| k != key);
    }

    /// The same of several.
    pub fn unset_all(&mut self, keys: &[&str]) {
        self.lines.retain(|(k, _)| !keys.contains(&k.as_str()));
    }

    /// The container's id.
    pub fn id(&self) -> &str {
        self.get("id").unwrap_or_default()
    }

    /// Its id as it is shown.
    pub fn short_id(&self) -> &str {
        self.id().get(..names::SHORT).unwrap_or_default()
    }

    /// The place of its control group; see `cgroup::Group`.
    pub fn group_place(&self) -> String {
        self.get("cgroup").map_or_else(|| cgroup::place(None, self.id()), str::to_owned)
    }

    /// Its control group, as far as it has one.
    pub fn group(&self) -> cgroup::Group {
        match self.get("cgroup") {
            Some(place) => cgroup::Group::open_anywhere(place, self.id()),
            None => cgroup::Group::open(&self.group_place(), self.id()),
        }
    }

    /// Writes down which process is the container's: what tells it from every other that ever had or will have its number.
    pub fn set_process(&mut self, pid: u32) -> io::Result<()> {
        let identity = identity(pid)?.ok_or(io::Error::from_raw_os_error(libc::ESRCH))?;
        self.set("pid", pid.to_string());
        for (key, value) in identity {
            self.set(key, value);
        }
        Ok(())
    }

    /// The process that the record names, if it lives: all of number, start, boot and pid namespace must be true of it,
    /// or it is a stranger (a number is used again after at most 4 million others). An error is "nobody can tell", which is not
    /// "it is dead".
    pub fn look_up(&self) -> io::Result<Option<(OwnedFd, u32)>> {
        let (Some(pid), Some(_), Some(namespace)) =
            (self.number("pid"), self.get("ticks"), self.get("pid-namespace"))
        else {
            return Ok(None);
        };
        let proc = procfs::open()?;
        if self.get("boot") != Some(boot_id(proc.as_fd())?.as_str()) {
            return Ok(None);
        }
        if namespace != pid_namespace(proc.as_fd())? {
            // Its number means nothing here; but its control group is everybody's.
            if self.get("cgroup").is_some() && self.group().is_populated() == Some(false) {
                return Ok(None);
            }
            return Err(io::Error::other("it was started in another pid namespace: ask from there"));
        }
        // The descriptor first: what is read afterwards is about the process that it holds, or about none.
        let process = match sys::pidfd_open(pid) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::ESRCH | libc::EINVAL)) => return Ok(None),
            opened => opened?,
        };
        let same = start_of(proc.as_fd(), pid)?.is_some_and(|ticks| self.get("ticks") == Some(ticks.as_str()));
        Ok((same && !is_dead(process.as_fd())).then_some((process, pid)))
    }

    /// The same where it does not matter why there is none to be seen.
    pub fn process(&self) -> Option<(OwnedFd, u32)> {
        self.look_up().ok().flatten()
    }
}

/// Whether the process behind a pidfd has ended (a zombie too).
fn is_dead(process: BorrowedFd) -> bool {
    let mut wanted = [sys::PollFd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
    sys::poll(&mut wanted, 0).is_ok_and(|n| n > 0)
}

/// One line of printable text for any bytes: `\\`, `\n`, and `\xNN` for other control characters and what is not UTF-8.
fn escape(value: &OsStr) -> String {
    let mut text = String::new();
    for chunk in value.as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                c if c.is_ascii_control() => {
                    let _ = write!(text, "\\x{:02x}", c as u32);
                }
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The bytes that [`escape`] was given. What is no escape stands for itself.
fn unescape(text: &str) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.first() {
            Some(b'\\') => bytes.push(b'\\'),
            Some(b'n') => bytes.push(b'\n'),
            Some(b'x') => {
                let hex = rest.get(1..3).and_then(|h| std::str::from_utf8(h).ok());
                match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
                    Some(value) => {
                        bytes.push(value);
                        rest = rest.get(2..).unwrap_or_default();
                    }
                    None => bytes.extend(b"\\x"),
                }
            }
            Some(_) => {
                bytes.push(b'\\');
                continue;
            }
            None => {
                bytes.push(b'\\');
                break;
            }
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    OsString::from_vec(bytes)
}

/// What a container is doing, as far as its record and the kernel agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It never ran.
    Created,
    /// It has a process.
    Running,
    /// It has one, which is frozen.
    Paused,
    /// Its supervisor is making it.
    Starting,
    /// It has none, and will have one again.
    Restarting,
    /// It has none any more.
    Exited,
    /// Nobody can read its record.
    Unreadable,
}

impl Status {
    /// Docker's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Starting => "starting",
            Status::Restarting => "restarting",
            Status::Exited => "exited",
            Status::Unreadable => "unreadable",
        }
    }
}

/// A container as it was found.
#[derive(Debug)]
pub struct Found {
    /// Its name: that of its directory.
    pub name: String,
    /// The directory.
    pub path: PathBuf,
    /// What its record says; empty for an unreadable one.
    pub record: Record,
    /// Why the record cannot be read.
    pub damage: Option<String>,
    /// Somebody holds the lock: the supervisor, or a command that is at it.
    pub held: bool,
    /// What it is doing.
    pub status: Status,
}

impl Found {
    /// Whether it has a process now.
    pub fn is_running(&self) -> bool {
        matches!(self.status, Status::Running | Status::Paused)
    }

    /// Whether it has a process, or a supervisor that will make one.
    pub fn is_alive(&self) -> bool {
        self.is_running() || matches!(self.status, Status::Starting | Status::Restarting)
    }

    /// Runs, and nobody looks after it: its supervisor was killed.
    pub fn is_orphan(&self) -> bool {
        !self.held && self.is_running()
    }

    /// Its cgroup, if it was given one.
    pub fn group(&self) -> cgroup::Group {
        self.record.group()
    }

    /// Its directory, opened.
    pub fn dir(&self) -> Result<OwnedFd> {
        let flags = k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW;
        let dir = sys::openat(sys::CWD, &c(&self.path), flags, 0)
            .doing("open the container's directory", self.path.display())?;
        if self.is_there(dir.as_fd()) { Ok(dir) } else { Err(self.gone()) }
    }

    /// Whether this directory is its own, and not that of another one that has its name by now.
    fn is_there(&self, dir: BorrowedFd) -> bool {
        let id = self.record.id();
        id.is_empty() || has_id(dir, id)
    }

    fn gone(&self) -> Error {
        Error::usage(format_args!("{} has just been removed or renamed", self.name))
    }

    /// The process of a running container, or an error that says what it is instead.
    pub fn process(&self) -> Result<(OwnedFd, u32)> {
        let word = match self.status {
            Status::Running | Status::Paused => "has just ended",
            Status::Created => "was never started",
            Status::Starting => "is being started",
            Status::Restarting => "is between two runs (restarting)",
            Status::Exited => "is not running (exited)",
            Status::Unreadable => return Err(self.unreadable()),
        };
        match self.look_living()? {
            Some(found) if self.is_running() => Ok(found),
            _ => Err(Error::usage(format_args!("{} {word}", self.name))
                .hint(Some(format_args!("ctr start {}", self.name)))),
        }
    }

    /// Its process, if it has one now; an error if nobody can tell.
    pub fn look_living(&self) -> Result<Option<(OwnedFd, u32)>> {
        let found = self.record.look_up().doing(format_args!("see whether {} lives", self.name), "/proc")?;
        Ok(found.or_else(|| self.guarded_process()))
    }

    /// Its process, if it has one now.
    pub fn living(&self) -> Option<(OwnedFd, u32)> {
        self.record.process().or_else(|| self.guarded_process())
    }

    /// The process of a container whose `ctr run --rm` has not had time yet to write down what tells it from others: it is the
    /// child of that one, which lives.
    fn guarded_process(&self) -> Option<(OwnedFd, u32)> {
        let record = &self.record;
        record.get("guarded").filter(|_| self.held && record.get("ticks").is_none())?;
        let pid = record.number("pid")?;
        // The descriptor first: what is read afterwards is about the process that it holds, or about none.
        let process = sys::pidfd_open(pid).ok()?;
        let parent = parent_of(pid)?;
        (record.number("supervisor") == Some(parent) && !is_dead(process.as_fd())).then_some((process, pid))
    }

    /// Why nothing can be done with it.
    pub fn unreadable(&self) -> Error {
        let why = self.damage.clone().unwrap_or_default();
        Error::new(
            format_args!("read the record of {}", self.name),
            self.path.join("record").display(),
            io::Error::other(why),
        )
        .hint(Some(format_args!("look at it with cat, or remove the container: ctr rm -f {}", self.name)))
    }
}

/// Where containers are remembered.
#[derive(Debug)]
pub struct State {
    trees: Vec<Tree>,
    /// What dead ones left is taken away already.
    swept: bool,
    /// The ids and names of all containers as they were when one was looked for by its id: the next one may be there too.
    ids: RefCell<Vec<(String, String)>>,
    /// Where it is asked who is frozen, once somebody wants to know.
    groups: OnceCell<cgroup::Groups>,
}

/// One of the two folders.
#[derive(Debug)]
struct Tree {
    path: PathBuf,
    dir: Rc<OwnedFd>,
    /// Its names were read once: the next time begins at the front again.
    listed: Cell<bool>,
}

/// The directory of one container, locked and so ours while this lives (or a process that was forked from us).
#[derive(Debug)]
pub struct Entry {
    name: CString,
    path: PathBuf,
    parent: Rc<OwnedFd>,
    dir: OwnedFd,
    /// Dropping this takes the directory away: the container did not come to be.
    new: Cell<bool>,
    /// The first record, begun with the directory.
    fresh: RefCell<Option<OwnedFd>>,
}

fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().to_owned().into_vec()).unwrap_or_default()
}

/// Opens the folder of all containers. /run and /var/lib are root's alone; anywhere else, /tmp say, somebody may have been
/// there first: the state folder and the one in it must be real directories that belong to us and that nobody else may
/// write to.
fn open_ours(folder: &Path, containers: &Path) -> io::Result<OwnedFd> {
    if ["/run/ctr", "/var/lib/ctr"].iter().any(|system| folder == Path::new(system)) {
        return open_or_make(containers);
    }
    let outer = open_or_make(folder)?;
    check_ours(&outer)?;
    let name = c"containers";
    match sys::mkdir(outer.as_fd(), name, 0o700) {
        Err(e) if !matches!(e.raw_os_error(), Some(libc::EEXIST | libc::EROFS)) => return Err(e),
        _ => {}
    }
    let inner = sys::openat(outer.as_fd(), name, k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW, 0)?;
    check_ours(&inner).map(|()| inner)
}

fn check_ours(dir: &OwnedFd) -> io::Result<()> {
    let stat = sys::fstat(dir.as_fd())?;
    if stat.st_uid == sys::euid() && stat.st_mode & 0o022 == 0 {
        return Ok(());
    }
    Err(io::Error::other("it belongs to somebody else, or others may write to it"))
}

/// Opens a directory, itself no link; what is missing of it is made, for ourselves alone.
fn open_or_make(path: &Path) -> io::Result<OwnedFd> {
    let flags = k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW;
    match sys::openat(sys::CWD, &c(path), flags, 0) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
        opened => return opened,
    }
    let mut so_far = PathBuf::new();
    for part in path.components() {
        so_far.push(part);
        let system = ["/run", "/var", "/var/lib"].iter().any(|dir| so_far == Path::new(dir));
        match sys::mkdir(sys::CWD, &c(&so_far), if system { 0o755 } else { 0o700 }) {
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {}
            // A parent that may not be written to may exist all the same; opening the whole tells.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EACCES | libc::EISDIR)) => {}
            Err(e) if e.raw_os_error() == Some(libc::EROFS) && so_far.is_dir() => {}
            done => done?,
        }
    }
    sys::openat(sys::CWD, &c(path), flags, 0)
}

fn open_tree(folder: &Path) -> Result<Tree> {
    let path = folder.join("containers");
    let hint = "set CTR_STATE to a folder that can be written to (on a tmpfs, if there is one)";
    let dir = open_ours(folder, &path).map_err(|cause| {
        let elsewhere = matches!(
            cause.raw_os_error(),
            Some(libc::EACCES | libc::EROFS | libc::ENOENT | libc::ENOTDIR | libc::ELOOP)
        );
        Error::new("open the state folder", path.display(), cause).hint(elsewhere.then_some(hint))
    })?;
    Ok(Tree { path, dir: Rc::new(dir), listed: Cell::new(false) })
}

fn open_dir(parent: BorrowedFd, name: &CStr) -> io::Result<OwnedFd> {
    sys::openat(parent, name, k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW, 0)
}

/// The record in a container's directory: Ok(None) if there is none yet.
fn read_record(dir: BorrowedFd) -> io::Result<Option<std::result::Result<Record, String>>> {
    let file = match sys::openat(dir, c"record", k::O_RDONLY | k::O_NOFOLLOW | k::O_NONBLOCK, 0) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        opened => opened?,
    };
    Ok(Some(Record::parse(&read_lines(file.as_fd())?)))
}

/// All of a text file. A short piece that ends in a newline is its last, without another look.
fn read_lines(file: BorrowedFd) -> io::Result<Vec<u8>> {
    let mut piece = [0u8; 4096];
    let n = loop {
        match sys::read(file, &mut piece) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    let mut all = piece.get(..n).unwrap_or_default().to_vec();
    if n == piece.len() || !all.ends_with(b"\n") {
        all.extend(procfs::read_all(file, LONGEST)?);
    }
    Ok(all)
}

impl State {
    /// The folder for containers that end with their `ctr run`, without what dead ones left there.
    pub fn transient() -> Result<State> {
        let mut state = State {
            trees: vec![open_tree(&folder())?],
            swept: false,
            ids: RefCell::default(),
            groups: OnceCell::new(),
        };
        state.reclaim();
        Ok(state)
    }

    /// Both folders, without what dead ones left in them.
    pub fn open() -> Result<State> {
        let mut state = State::unswept()?;
        state.reclaim();
        Ok(state)
    }

    /// Both folders, for who looks at all that is in them anyway: [`State::all`] takes away what dead ones left. A disk that is
    /// read-only or missing is no reason not to go on.
    pub fn unswept() -> Result<State> {
        let run = open_tree(&folder())?;
        let lasting = lasting_folder();
        let mut trees = vec![run];
        if lasting.join("containers") != trees[0].path {
            trees.extend(open_tree(&lasting).ok());
        }
        Ok(State { trees, swept: false, ids: RefCell::default(), groups: OnceCell::new() })
    }

    /// Takes away what dead commands and supervisors left: directories without a record, containers that were to be
    /// removed at their end, the processes of those whose `ctr run` they should not outlive, control groups. What cannot be
    /// done now is tried again by the next command; it is no reason not to go on.
    fn reclaim(&mut self) {
        for tree in &self.trees {
            tree.each_name(false, &mut |name| {
                if let Ok(dir) = open_dir(tree.dir.as_fd(), name) {
                    tree.sweep(name, &dir);
                }
            });
        }
        self.swept = true;
    }

    /// Makes the directory of a new container and locks it; a name that is taken is an error. `lasting` is for one that
    /// outlives its process. A name that was made up for a container that does not (`chosen` is false) is not looked for in the
    /// other folder: it is one of a million, and gone soon.
    pub fn create(self, name: &str, lasting: bool, chosen: bool) -> Result<Entry> {
        let c_name = CString::new(name).map_err(|_| Error::usage("bad name: it has a NUL byte in it"))?;
        let elsewhere = lasting_folder().join("containers").join(name);
        let taken = || {
            let record = self.trees.iter().find_map(|tree| {
                let dir = open_dir(tree.dir.as_fd(), &c_name).ok()?;
                read_record(dir.as_fd()).ok()??.ok()
            });
            let which = record.map_or(String::new(), |record| match record.get("pid") {
                Some(pid) if record.get("state") == Some("running") => format!(" that runs (pid {pid})"),
                _ => format!(" ({})", record.short_id()),
            });
            let sentence = format_args!("the name {name} is taken by a container{which}: choose another with --name")
                .to_string();
            Error::usage(sentence).hint((lasting).then(|| format!("ctr rm {name}")))
        };
        // The same name in the other folder would be a second container of that name.
        let in_other = |at: &Tree| match self.trees.len() {
            1 => chosen && sys::access(&c(&elsewhere), libc::F_OK).is_ok(),
            _ => self.trees.iter().any(|tree| tree.path != at.path && open_dir(tree.dir.as_fd(), &c_name).is_ok()),
        };
        let order: Vec<&Tree> = if lasting { self.trees.iter().rev().collect() } else { self.trees.iter().collect() };
        let mut refusal = None;
        for tree in order {
            let path = tree.path.join(name);
            match tree.create(&c_name) {
                Err(e) if e.raw_os_error() == Some(libc::EEXIST) => return Err(taken()),
                // Read-only: the other folder will do until the next boot.
                Err(e) if lasting && e.raw_os_error() == Some(libc::EROFS) && refusal.is_none() => {
                    refusal = Some(Error::new("remember the container", path.display(), e));
                }
                Err(e) => return Err(Error::new("remember the container", path.display(), e)),
                Ok((dir, fresh)) => {
                    let fresh = RefCell::new(Some(fresh));
                    let parent = Rc::clone(&tree.dir);
                    let entry = Entry { name: c_name.clone(), path, parent, dir, new: Cell::new(true), fresh };
                    return if in_other(tree) { Err(taken()) } else { Ok(entry) };
                }
            }
        }
        Err(refusal.unwrap_or_else(|| Error::usage("there is no state folder")))
    }

    /// Every container, in no order.
    pub fn all(&self) -> Vec<Found> {
        let mut all = Vec::new();
        for tree in &self.trees {
            tree.each_name(true, &mut |name| all.extend(self.look(tree, name, 0)));
        }
        all
    }

    /// The ids of all containers that are looked after, or live; and how many are just being made, and have none yet.
    pub fn living(&self) -> (BTreeSet<String>, usize) {
        let mut living = BTreeSet::new();
        let mut unknown = 0;
        for tree in &self.trees {
            tree.each_name(true, &mut |name| {
                let Ok(dir) = open_dir(tree.dir.as_fd(), name) else { return };
                let held = sys::lock_shared(dir.as_fd()).is_err();
                match read_record(dir.as_fd()) {
                    // Who cannot be looked at from here is not dead.
                    Ok(Some(Ok(record))) if held || record.look_up().map_or(true, |process| process.is_some()) => {
                        living.insert(record.id().to_owned());
                    }
                    Ok(Some(Ok(_))) => {}
                    _ => unknown += usize::from(held),
                }
            });
        }
        (living, unknown)
    }

    /// What there is under a name in one of the folders; None if there is nothing, or nothing yet. One that is being started
    /// is waited for, so many milliseconds.
    fn look(&self, tree: &Tree, name: &CStr, mut patience: usize) -> Option<Found> {
        let frozen = |record: &Record| self.groups().is_frozen(&record.group_place(), record.id());
        // Somebody who holds the lock has written what is, or is about to: one who only looked for what dead ones left, for a
        // moment, has not.
        for _ in 0..TRIES / 10 + patience {
            let found = tree.look(name, !self.swept, &frozen)?;
            let pid: Option<i32> = found.record.number("pid");
            let gone = |pid| sys::kill(pid, 0).is_err_and(|e| e.raw_os_error() == Some(libc::ESRCH));
            let starting = found.status == Status::Starting && patience > 0;
            let ending = found.held && found.is_running() && pid.is_some_and(gone);
            if !starting && !ending {
                return Some(found);
            }
            patience = patience.saturating_sub(1);
            let _ = sys::poll(&mut [], 1);
        }
        tree.look(name, !self.swept, &frozen)
    }

    /// Where the control groups of all containers are.
    pub fn groups(&self) -> &cgroup::Groups {
        self.groups.get_or_init(cgroup::Groups::open)
    }

    /// The container with this name, id, or beginning of an id that only one has.
    pub fn find(&self, word: &OsStr) -> Result<Found> {
        // Docker shows names with a slash in inspect, and scripts pass that on.
        let word = word.as_bytes().strip_prefix(b"/").map_or(word, OsStr::from_bytes);
        let shown = word.to_string_lossy().into_owned();
        let missing = || Error::usage(format_args!("no container {shown:?}: ctr ps -a lists them"));
        let is_id = shown.len() <= 64 && !shown.is_empty() && shown.bytes().all(|b| b.is_ascii_hexdigit());
        if names::check(&shown).is_err() && !is_id {
            return Err(missing());
        }
        let name = CString::new(word.as_bytes()).map_err(|_| missing())?;
        if let Some(found) = self.trees.iter().find_map(|tree| self.look(tree, &name, TRIES)) {
            return Ok(found);
        }
        let lower = shown.to_ascii_lowercase();
        if let Some(found) = self.known(&lower).filter(|_| is_id) {
            return Ok(found);
        }
        let mut by_id: Vec<Found> = if is_id {
            let all = self.all();
            self.ids.replace(all.iter().map(|found| (found.record.id().to_owned(), found.name.clone())).collect());
            all.into_iter().filter(|found| found.record.id().starts_with(&lower)).collect()
        } else {
            Vec::new()
        };
        match by_id.len() {
            0 => Err(missing()),
            1 => by_id.pop().ok_or_else(missing),
            _ => {
                by_id.sort_by(|a, b| a.name.cmp(&b.name));
                let all: Vec<_> =
                    by_id.iter().map(|found| format!("{} ({})", found.record.short_id(), found.name)).collect();
                Err(Error::usage(format_args!("{shown:?} is the beginning of several ids: {}", all.join(", "))))
            }
        }
    }

    /// The one container that had an id with this beginning when all were looked at last, if it still has.
    fn known(&self, beginning: &str) -> Option<Found> {
        let ids = self.ids.borrow();
        let mut fits = ids.iter().filter(|(id, _)| id.starts_with(beginning));
        let ((id, name), None) = (fits.next()?, fits.next()) else { return None };
        let name = CString::new(name.as_bytes()).ok()?;
        let found = self.trees.iter().find_map(|tree| self.look(tree, &name, TRIES))?;
        (found.record.id() == id).then_some(found)
    }

    /// Whether it is a copy of another one that is looked after.
    pub fn is_copy(&self, found: &Found) -> bool {
        let dir = found.dir();
        let parent = found.path.parent().unwrap_or(Path::new("/"));
        self.trees
            .iter()
            .filter(|tree| tree.path == parent)
            .any(|tree| dir.as_ref().is_ok_and(|dir| tree.is_copy(found.record.id(), dir.as_fd())))
    }

    /// Whether a locked container has no process that would go on without it.
    pub fn is_removable(&self, entry: &Entry, found: &Found) -> bool {
        let lives = entry.record().map_or(found.record.process().is_some(), |record| record.process().is_some());
        !lives || self.is_copy(found)
    }

    /// A container as it is now, whatever its name became.
    pub fn again(&self, found: &Found) -> Result<Found> {
        let id = found.record.id();
        match self.find(found.name.as_ref()) {
            Ok(now) if now.record.id() == id => Ok(now),
            Ok(_) | Err(_) if !id.is_empty() => self.find(id.as_ref()),
            other => other,
        }
    }

    /// Gives a container another name, whether it runs or not: whoever looks after it holds its directory, not its name.
    pub fn rename(&self, found: &Found, new: &str) -> Result<()> {
        let doing = || format!("rename {} to {new}", found.name);
        let taken = || Error::usage(format_args!("the name {new} is taken: choose another"));
        let (from, to) = (CString::new(found.name.as_bytes()), CString::new(new));
        let (Ok(from), Ok(to)) = (from, to) else { return Err(taken()) };
        let parent = found.path.parent().unwrap_or(Path::new("/"));
        if found.record.get("guarded").is_some() {
            return Err(Error::usage(format_args!("{} ends with its ctr run (--rm): it keeps its name", found.name)));
        }
        for tree in &self.trees {
            if tree.path != parent && open_dir(tree.dir.as_fd(), &to).is_ok() {
                return Err(taken());
            }
        }
        let tree = self.trees.iter().find(|tree| tree.path == parent).ok_or_else(taken)?;
        match sys::rename_new(tree.dir.as_fd(), &from, &to) {
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Err(taken()),
            done => done.doing(doing(), found.path.display()),
        }
    }

    /// Locks a container that was found, for a command that changes it. `busy` says what it is when somebody else has it.
    ///
    /// Others may hold the lock for a moment, to look whether anybody does: that is waited for.
    pub fn lock(&self, found: &Found) -> Result<Entry> {
        let parent = found.path.parent().unwrap_or(Path::new("/"));
        let tree =
            self.trees.iter().find(|tree| tree.path == parent).ok_or_else(|| Error::usage("no such container"))?;
        let name = CString::new(found.name.as_bytes()).unwrap_or_default();
        for _ in 0..20 * TRIES {
            let dir = open_dir(tree.dir.as_fd(), &name).map_err(|_| found.gone())?;
            match sys::lock(dir.as_fd(), false) {
                Ok(()) => {
                    // Somebody may have removed or renamed it, and even made another one of its name.
                    let now = open_dir(tree.dir.as_fd(), &name).map_err(|_| found.gone())?;
                    if !sys::same_file(dir.as_fd(), now.as_fd()).unwrap_or(false) {
                        continue;
                    }
                    if !found.is_there(dir.as_fd()) {
                        return Err(found.gone());
                    }
                    let (parent, path) = (Rc::clone(&tree.dir), found.path.clone());
                    return Ok(Entry { name, path, parent, dir, new: Cell::new(false), fresh: RefCell::new(None) });
                }
                Err(e) if e.raw_os_error() == Some(libc::EWOULDBLOCK) => {
                    let _ = sys::poll(&mut [], 1);
                }
                Err(e) => return Err(Error::new("lock the container", found.path.display(), e)),
            }
        }
        Err(Error::usage(format_args!("{} is busy: its supervisor or another ctr command holds it", found.name)))
    }

    /// The directory of one that lives and ends with its own `ctr run`, which holds it all the time and has written to it for the last
    /// time when the command started.
    pub fn beside(&self, found: &Found) -> Result<Entry> {
        let parent = found.path.parent().unwrap_or(Path::new("/"));
        let tree = self.trees.iter().find(|tree| tree.path == parent).ok_or_else(|| found.gone())?;
        let name = CString::new(found.name.as_bytes()).unwrap_or_default();
        let dir = open_dir(tree.dir.as_fd(), &name).map_err(|_| found.gone())?;
        if !found.is_there(dir.as_fd()) {
            return Err(found.gone());
        }
        let (parent, path) = (Rc::clone(&tree.dir), found.path.clone());
        Ok(Entry { name, path, parent, dir, new: Cell::new(false), fresh: RefCell::new(None) })
    }
}

impl Tree {
    /// Does something for each name in it; not `all` of them, perhaps, if that needs a further look at the directory's end.
    fn each_name(&self, all: bool, act: &mut dyn FnMut(&CStr)) {
        if self.listed.replace(true) {
            let _ = sys::rewind(self.dir.as_fd());
        }
        let _ = each_name(self.dir.as_fd(), all, act);
    }

    /// Makes and locks a directory.
    ///
    /// Between making and locking, another command that looks for what dead ones left may take the directory for such
    /// and remove it. Whoever holds the lock on a directory that is still there has won; otherwise it is made again.
    fn create(&self, name: &CStr) -> io::Result<(OwnedFd, OwnedFd)> {
        for _ in 0..TRIES {
            sys::mkdir(self.dir.as_fd(), name, 0o700)?;
            let made = || -> io::Result<Option<(OwnedFd, OwnedFd)>> {
                let dir = match open_dir(self.dir.as_fd(), name) {
                    Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
                    opened => opened?,
                };
                match sys::lock(dir.as_fd(), true) {
                    Err(e) if e.raw_os_error() == Some(libc::EWOULDBLOCK) => return Ok(None),
                    done => done?,
                }
                // In a removed directory nothing can be made.
                match begin_record(dir.as_fd()) {
                    Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
                    Err(e) => Err(e),
                    Ok(fresh) => Ok(Some((dir, fresh))),
                }
            };
            match made() {
                Ok(Some(made)) => return Ok(made),
                Ok(None) => {}
                Err(e) => {
                    let _ = sys::unlink(self.dir.as_fd(), name, true);
                    return Err(e);
                }
            }
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    /// What there is under a name; None if there is nothing, or nothing yet.
    fn look(&self, name: &CStr, sweep: bool, frozen: &dyn Fn(&Record) -> bool) -> Option<Found> {
        let grave = is_grave(name);
        if grave && !sweep {
            return None;
        }
        let dir = open_dir(self.dir.as_fd(), name).ok()?;
        let held = if sweep { self.sweep(name, &dir) } else { sys::lock_shared(dir.as_fd()).is_err() };
        if grave {
            return None;
        }
        let shown = name.to_string_lossy().into_owned();
        let path = self.path.join(&shown);
        let (mut record, mut damage) = match read_record(dir.as_fd()) {
            Ok(Some(Ok(record))) => (record, None),
            Ok(Some(Err(why))) => (salvage(dir.as_fd()).unwrap_or_default(), Some(why)),
            Err(e) => (salvage(dir.as_fd()).unwrap_or_default(), Some(e.to_string())),
            // Where there was one, somebody else removed it.
            Ok(None) => (salvage(dir.as_fd())?, Some("there is none".to_owned())),
        };
        if damage.is_none() && record.get("created").is_none() {
            // A container that ends with its ctr run has no time for clocks: its file has one.
            let made = sys::fstat(dir.as_fd()).ok().and_then(|stat| clock::Time::new(stat.st_mtime as i64, 0));
            for key in ["created", "started"] {
                if let Some(made) = made {
                    record.set(key, made.to_string());
                }
            }
        }
        let mut status = if damage.is_some() { Status::Unreadable } else { status(&record, held, frozen) };
        if matches!(status, Status::Running | Status::Paused) && !held && self.is_copy(record.id(), dir.as_fd()) {
            (status, damage) = (Status::Unreadable, Some("it is a copy of that of a container that runs".to_owned()));
        }
        // Closing the directory gives the shared lock back.
        drop(dir);
        Some(Found { name: shown, path, record, damage, held, status })
    }

    /// Whether somebody looks after a container; if nobody does, what dead ones left is taken away.
    ///
    /// Only who has something to do takes the lock for himself alone: everybody else would believe that it is the supervisor's.
    fn sweep(&self, name: &CStr, dir: &OwnedFd) -> bool {
        for _ in 0..TRIES / 5 {
            if sys::lock_shared(dir.as_fd()).is_err() {
                return true;
            }
            if !is_grave(name) && is_at_rest(dir.as_fd()) {
                return false;
            }
            if sys::lock(dir.as_fd(), false).is_ok() {
                // What fails is left to the next command.
                let _ = self.reclaim(name, dir);
                return false;
            }
            // Others look at it, too.
            let _ = sys::poll(&mut [], 1);
        }
        true
    }

    /// Does what is to be done about a directory whose lock nobody held, and we hold now.
    fn reclaim(&self, name: &CStr, dir: &OwnedFd) -> io::Result<()> {
        if is_grave(name) {
            // One that is not what its name says got here by mistake, and goes back as soon as whoever moved it sees that.
            return if grave_of(dir.as_fd())? == *name { remove_all(self.dir.as_fd(), name) } else { Ok(()) };
        }
        let Some(record) = read_record(dir.as_fd())? else {
            if read_id(dir.as_fd()).is_some() {
                // It was a container: whose record somebody removed is not ours to take away unasked.
                return Ok(());
            }
            // Who was to write it is dead.
            let emptied = empty(dir).and_then(|()| sys::unlink(self.dir.as_fd(), name, true));
            // It may have leased ids before it had an id to be found by.
            let _ = super::ids::reclaim(None);
            return emptied;
        };
        let Ok(mut record) = record else { return Ok(()) };
        let guarded = record.get("guarded").is_some();
        let process = match record.look_up() {
            // In another pid namespace: what ends with its ctr has ended with it, as far as can be told from here.
            Err(e) if guarded && e.kind() == io::ErrorKind::Other => None,
            // Who cannot be looked at now may live: somebody else will look.
            looked => looked?,
        };
        let group = record.group();
        if (process.is_some() || group.is_populated() == Some(true)) && self.is_copy(record.id(), dir.as_fd()) {
            return Ok(());
        }
        if let (true, Some((process, _))) = (guarded, &process) {
            // It changed its ids (su, gosu) and thereby lost the signal that comes when ctr dies (prctl(2)), or switched it off.
            let _ = sys::pidfd_signal(process.as_fd(), libc::SIGKILL);
            // Its end is awaited, so that what it held is free. One that cannot die now (it sleeps in a dead server's filesystem) has
            // its ids still, which nobody else may get: it stays for who looks later.
            let mut wanted = [sys::PollFd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
            if !sys::poll(&mut wanted, 5000).is_ok_and(|ended| ended > 0) {
                return Ok(());
            }
        } else if process.is_some() {
            return Ok(());
        }
        let unfinished = !matches!(record.get("state"), Some("created" | "exited"));
        if unfinished && !guarded {
            // Its first process is dead: what is left in its group (--pid host) nobody looks after any more. Where that process
            // took all others along, somebody who lives in there means that the record is wrong.
            if record.get("--pid") != Some("host") && !group.empties() && group.is_populated() == Some(true) {
                return Ok(());
            }
            group.kill();
            group.remove();
        }
        if guarded && record.get("cgroup").is_some() {
            // Made for what was asked for; with --pid host there may be somebody left in it.
            group.kill();
            let _ = group.thaw();
        }
        // One at rest has a range if its supervisor was killed before it could write that it starts. A copy of one that runs does not.
        let at_rest = || super::ids::has_any(&record) && !self.is_copy(record.id(), dir.as_fd());
        if unfinished || guarded || at_rest() {
            super::ids::forget(&record);
        }
        if record.get("leases").is_some() && !self.is_copy(record.id(), dir.as_fd()) {
            network::connect::forget(record.id());
            record.unset_all(&["leases", "net", "port"]);
            if !unfinished && !guarded && record.get("--rm").is_none() {
                return save(dir.as_fd(), &record);
            }
        }
        if guarded || (record.get("--rm").is_some() && record.get("state") != Some("created")) {
            return self.remove(name, dir.as_fd(), &record);
        }
        if unfinished {
            // It ended, and nobody was there to see how.
            let same_boot = procfs::open()
                .and_then(|proc| boot_id(proc.as_fd()))
                .is_ok_and(|boot| record.get("boot") == Some(boot.as_str()));
            record.set("state", "exited");
            record.set("lost", if same_boot { "its supervisor was killed" } else { "the machine was restarted" });
            record.unset("pid");
            let _ = sys::unlink(dir.as_fd(), c"control", false);
            return save(dir.as_fd(), &record);
        }
        Ok(())
    }

    /// Whether a container's directory is a copy of another one's (`cp -a`, for a backup perhaps): that one has the same id, and is
    /// looked after. Its processes, control groups and layer in memory are not the copy's.
    fn is_copy(&self, id: &str, dir: BorrowedFd) -> bool {
        // A descriptor of its own: whoever else reads these names is not disturbed.
        let Ok(again) = open_dir(self.dir.as_fd(), c".") else { return false };
        let mut found = false;
        let _ = each_name(again.as_fd(), true, &mut |name| {
            let Ok(other) = open_dir(self.dir.as_fd(), name) else { return };
            found |= !id.is_empty()
                && !sys::same_file(other.as_fd(), dir).unwrap_or(true)
                && sys::lock_shared(other.as_fd()).is_err()
                && has_id(other.as_fd(), id);
        });
        found
    }

    /// Takes a container's directory away, and its layer: first under a name that is no container's, so that a command
    /// that is killed half-way leaves nothing that looks like one. EAGAIN if the name is not the directory's any more.
    fn remove(&self, name: &CStr, dir: BorrowedFd, record: &Record) -> io::Result<()> {
        let group = record.group();
        let in_memory = record.get("layer-in-memory");
        let copy = (in_memory.is_some() || group.is_populated() == Some(true)) && self.is_copy(record.id(), dir);
        if !copy {
            group.remove();
        }
        let layers = CString::new(folder().join("layers").into_os_string().into_vec()).unwrap_or_default();
        if let (Some(id), Ok(layers)) = (in_memory.filter(|_| !copy), open_dir(sys::CWD, &layers)) {
            let id = CString::new(id).unwrap_or_default();
            if !id.to_bytes().contains(&b'/') && !id.to_bytes().starts_with(b".") {
                remove_all(layers.as_fd(), &id)?;
            }
        }
        if !copy {
            super::ids::forget(record);
            if record.get("leases").is_some() {
                network::connect::forget(record.id());
            }
        }
        let grave = grave_of(dir)?;
        sys::rename(self.dir.as_fd(), name, &grave)?;
        if !sys::same_file(open_dir(self.dir.as_fd(), &grave)?.as_fd(), dir)? {
            // Renamed in this moment, and another one has its name: that goes back.
            let _ = sys::rename_new(self.dir.as_fd(), &grave, name);
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        remove_all(self.dir.as_fd(), &grave)
    }
}

/// What a container is doing.
fn status(record: &Record, held: bool, frozen: &dyn Fn(&Record) -> bool) -> Status {
    match record.get("state") {
        Some("created") | None => Status::Created,
        Some("starting") if held => Status::Starting,
        Some("restarting") if held => Status::Restarting,
        // Its supervisor was killed before it could write that it runs.
        Some("running" | "starting") => {
            // A supervisor that lives has written what is; for a container without one the kernel is asked.
            // Who cannot be looked at from here is not dead.
            let lives = held || record.look_up().map_or(true, |process| process.is_some());
            match lives {
                true if record.get("cgroup").is_some() && frozen(record) => Status::Paused,
                true => Status::Running,
                false => Status::Exited,
            }
        }
        Some(_) => Status::Exited,
    }
}

/// Removes a directory with all that is in it, by descriptors alone. What is gone already is no error.
pub fn remove_all(parent: BorrowedFd, name: &CStr) -> io::Result<()> {
    rootfs::remove::tree(parent, name)
}

/// A new record, not yet in its place.
fn begin_record(dir: BorrowedFd) -> io::Result<OwnedFd> {
    let flags = k::O_WRONLY | k::O_CREAT | k::O_TRUNC | k::O_NOFOLLOW;
    sys::openat(dir, c"record.new", flags, 0o600)
}

/// Writes a record: a reader sees the old one or the new one, never half of one.
///
/// On a full disk there is no room for a second one, and how a container ended must not be lost for that: the old one is
/// overwritten in place then, if it has room enough.
pub fn save(dir: BorrowedFd, record: &Record) -> io::Result<()> {
    let text = record.text();
    let aside = || -> io::Result<()> {
        let file = begin_record(dir)?;
        sys::write_all(file.as_fd(), text.as_bytes())?;
        sys::rename(dir, c"record.new", c"record")
    };
    match aside() {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT)) => {
            let _ = sys::unlink(dir, c"record.new", false);
            let Ok(file) = sys::openat(dir, c"record", k::O_WRONLY | k::O_NOFOLLOW, 0) else { return Err(e) };
            // Half a record is worse than an old one. What the old one ends in has a page to itself in any case.
            let room = (sys::fstat(file.as_fd())?.st_size as u64).next_multiple_of(4096);
            if text.len() as u64 > room && sys::reserve(file.as_fd(), text.len() as u64).is_err() {
                return Err(e);
            }
            sys::write_all(file.as_fd(), text.as_bytes())?;
            sys::truncate(file.as_fd(), text.len() as u64)
        }
        done => done,
    }
}

/// Whether a directory is that of a container that is being removed.
fn is_grave(name: &CStr) -> bool {
    name.to_bytes().starts_with(b".")
}

/// The name under which a directory is removed: no other one has its number.
fn grave_of(dir: BorrowedFd) -> io::Result<CString> {
    Ok(CString::new(format!(".removed-{}", sys::fstat(dir)?.st_ino))?)
}

/// Whether this is the directory of the container with this id.
fn has_id(dir: BorrowedFd, id: &str) -> bool {
    let own = read_id(dir).or_else(|| read_record(dir).ok()??.ok());
    own.is_some_and(|record| record.id() == id)
}

/// What there is of a container whose record is damaged or gone: its id and, if they can be read, the lines that say which
/// process is its. They cannot do harm: the kernel is asked whether they are true.
fn salvage(dir: BorrowedFd) -> Option<Record> {
    let mut record = read_id(dir)?;
    let text = sys::openat(dir, c"record", k::O_RDONLY | k::O_NOFOLLOW | k::O_NONBLOCK, 0)
        .and_then(|file| procfs::read_all(file.as_fd(), LONGEST));
    for line in String::from_utf8_lossy(&text.unwrap_or_default()).lines() {
        if let Some((key @ ("pid" | "ticks" | "boot" | "pid-namespace" | "supervisor" | "--pid"), value)) =
            line.split_once(' ')
        {
            record.set(key, value);
        }
    }
    // It is named by the id alone.
    let id = record.id().to_owned();
    record.set("layer-in-memory", id);
    // Whether it has leased anything is looked up by the id too.
    record.set("leases", "held");
    Some(record)
}

/// The id of a container, from the file that says nothing else.
fn read_id(dir: BorrowedFd) -> Option<Record> {
    let file = sys::openat(dir, ID, k::O_RDONLY | k::O_NOFOLLOW | k::O_NONBLOCK, 0).ok()?;
    let text = procfs::read_all(file.as_fd(), LONGEST).ok()?;
    let id = std::str::from_utf8(&text).ok()?.trim();
    let mut record = Record::default();
    record.set("id", id);
    record.set("cgroup", format!("ctr/{id}"));
    is_id(id).then_some(record)
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether a container's record says that there is nothing to be done about it: the usual case, found without taking memory.
fn is_at_rest(dir: BorrowedFd) -> bool {
    let mut text = [0u8; 8192];
    let Ok(file) = sys::openat(dir, c"record", k::O_RDONLY | k::O_NOFOLLOW | k::O_NONBLOCK, 0) else { return false };
    let Ok(length) = sys::read(file.as_fd(), &mut text) else { return false };
    let text = text.get(..length).unwrap_or_default();
    let mut lines = text.split(|byte| *byte == b'\n');
    let has = |wanted: &[u8]| text.split(|byte| *byte == b'\n').any(|line| line == wanted);
    lines.next() == Some(VERSION.as_bytes())
        && length < 8192
        && (has(b"state created") || has(b"state exited") && !has(b"--rm"))
        && !has(b"guarded yes")
        && !has(b"leases held")
        && !text
            .split(|byte| *byte == b'\n')
            .find_map(|line| std::str::from_utf8(line.strip_prefix(b"id ")?).ok())
            .is_some_and(super::ids::has_usual)
}

/// Removes the files that we make in a new container's directory, and no others: it may be a directory that only looks like
/// one, and then it stays.
fn empty(dir: &OwnedFd) -> io::Result<()> {
    super::log::remove(dir.as_fd());
    // The id first: who is killed in between leaves nothing that looks like a container without a record.
    for name in [ID, c"record", c"record.new"] {
        match sys::unlink(dir.as_fd(), name, false) {
            Err(e) if e.raw_os_error() != Some(libc::ENOENT) => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// Which boot this is.
fn boot_id(proc: BorrowedFd) -> io::Result<String> {
    let boot = procfs::read_short(proc, c"sys/kernel/random/boot_id")?;
    Ok(String::from_utf8_lossy(&boot).trim().to_owned())
}

/// What tells a process from every other one that ever had or will have its number: when it was started (in the kernel's
/// ticks), in which boot, and whose number it is. None if there is no such process.
fn identity(pid: u32) -> io::Result<Option<[(&'static str, String); 3]>> {
    let proc = procfs::open()?;
    let proc = proc.as_fd();
    let Some(started) = start_of(proc, pid)? else { return Ok(None) };
    Ok(Some([("ticks", started), ("boot", boot_id(proc)?), ("pid-namespace", pid_namespace(proc)?)]))
}

/// Whose numbers ours are.
fn pid_namespace(proc: BorrowedFd) -> io::Result<String> {
    Ok(procfs::namespace(proc, c"self/ns/pid")?.number().to_owned())
}

/// When the process with this number was started. None if there is none.
fn start_of(proc: BorrowedFd, pid: u32) -> io::Result<Option<String>> {
    let stat = match procfs::read_short(proc, &CString::new(format!("{pid}/stat"))?) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => return Ok(None),
        read => read?,
    };
    started(&stat).map(Some).ok_or(io::Error::from_raw_os_error(libc::EBADMSG))
}

/// When a process started, from its `/proc/PID/stat` (field 22, in ticks since boot).
fn started(stat: &[u8]) -> Option<String> {
    word(stat, 22).filter(|ticks| ticks.bytes().all(|b| b.is_ascii_digit()))
}

/// The process that a process is a child of (field 4). The caller holds a pidfd of one of the two.
pub fn parent_of(pid: u32) -> Option<u32> {
    let proc = procfs::open().ok()?;
    let stat = procfs::read_short(proc.as_fd(), &CString::new(format!("{pid}/stat")).ok()?).ok()?;
    word(&stat, 4)?.parse().ok()
}

/// A field of `/proc/PID/stat`, as proc_pid_stat(5) counts them; from the third on.
fn word(stat: &[u8], field: usize) -> Option<String> {
    let text = String::from_utf8_lossy(stat).into_owned();
    // The name, in brackets, may have anything in it.
    let rest = text.get(text.rfind(')')? + 1..)?;
    rest.split_whitespace().nth(field.checked_sub(3)?).map(str::to_owned)
}

impl Entry {
    /// Writes the record. From then on the container exists, and dropping this leaves it.
    pub fn save(&self, record: &Record) -> Result<()> {
        let first = self.fresh.borrow_mut().take().map(|file| {
            let saved = sys::write_all(file.as_fd(), record.text().as_bytes())
                .and_then(|()| sys::rename(self.dir.as_fd(), c"record.new", c"record"));
            // Close-on-exec does it, at no cost, or our end.
            let _ = file.into_raw_fd();
            if record.get("guarded").is_none() {
                // Not worth failing for: it is for the day when the record is damaged.
                let flags = k::O_WRONLY | k::O_CREAT | k::O_EXCL | k::O_NOFOLLOW;
                let id = sys::openat(self.dir.as_fd(), ID, flags, 0o600);
                let _ = id.and_then(|file| sys::write_all(file.as_fd(), format!("{}\n", record.id()).as_bytes()));
            }
            saved
        });
        first
            .unwrap_or_else(|| save(self.dir.as_fd(), record))
            .doing("write the container's record", self.path.join("record").display())
    }

    /// The container exists: dropping this does not take it away.
    pub fn keep(&self) {
        self.new.set(false);
    }

    /// What the record says now.
    pub fn record(&self) -> Result<Record> {
        let doing = || format!("read the record of {}", self.name.to_string_lossy());
        let damaged = |why: String| Error::new(doing(), self.path.join("record").display(), io::Error::other(why));
        match read_record(self.dir.as_fd()) {
            Ok(Some(Ok(record))) => Ok(record),
            Ok(Some(Err(why))) => Err(damaged(why)),
            Ok(None) => Err(damaged("there is none".to_owned())),
            Err(e) => Err(Error::new(doing(), self.path.join("record").display(), e)),
        }
    }

    /// The directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Where it is (or was, if it was renamed since).
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that it is in.
    pub fn parent(&self) -> BorrowedFd<'_> {
        self.parent.as_fd()
    }

    /// The name that it was opened under.
    pub fn name(&self) -> String {
        self.name.to_string_lossy().into_owned()
    }

    /// The name that it has now: somebody may have renamed it. None if it is gone.
    pub fn current_name(&self) -> Option<String> {
        self.find_name().map(|name| name.to_string_lossy().into_owned())
    }

    fn find_name(&self) -> Option<CString> {
        let here = |name: &CStr| {
            open_dir(self.parent.as_fd(), name)
                .is_ok_and(|dir| sys::same_file(dir.as_fd(), self.dir.as_fd()).unwrap_or(false))
        };
        if here(&self.name) {
            return Some(self.name.clone());
        }
        // A descriptor of its own: whoever else reads these names is not disturbed.
        let again = open_dir(self.parent.as_fd(), c".").ok()?;
        let mut found = None;
        each_name(again.as_fd(), true, &mut |name| {
            if found.is_none() && here(name) {
                found = Some(name.to_owned());
            }
        })
        .ok()?;
        found
    }

    /// Adds what tells the container's process from a later one of the same number: the next ctr may have to end it. Not
    /// done at once where containers are gone before anybody could ask. A record without it is no less true.
    pub fn save_identity(&self, record: &Record, pid: u32) {
        let mut record = record.clone();
        if record.set_process(pid).is_ok() {
            let _ = save(self.dir.as_fd(), &record);
        }
    }

    /// A container that ends with its `ctr run` is gone, so is its record; and this process ends, which closes the rest.
    pub fn remove(self) {
        self.erase();
        std::mem::forget(self);
    }

    /// Removes a container with its layer and its log.
    pub fn remove_all(self) -> Result<()> {
        let record = self.record().ok().or_else(|| salvage(self.dir.as_fd())).unwrap_or_default();
        // It may have been renamed since it was opened: then the name is another one's, or nobody's.
        let path = self.path.parent().unwrap_or(Path::new("/")).to_owned();
        let tree = Tree { path, dir: Rc::clone(&self.parent), listed: Cell::new(true) };
        for _ in 0..TRIES {
            let name =
                self.find_name().ok_or_else(|| Error::usage(format_args!("{} is gone already", self.name())))?;
            match tree.remove(&name, self.dir.as_fd(), &record) {
                Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::ENOENT)) => {}
                done => return done.doing("remove the container", self.path.display()),
            }
        }
        Err(Error::usage(format_args!("{} is renamed all the time", self.name())))
    }

    /// What cannot be removed now is left to the next command.
    fn erase(&self) {
        if self.path.starts_with(lasting_folder()) {
            let _ = sys::unlink(self.dir.as_fd(), ID, false);
        }
        // A record that was being written when we failed is there only then: ENOENT is the usual answer to nobody.
        let gone = sys::unlink(self.dir.as_fd(), c"record", false)
            .and_then(|()| sys::unlink(self.parent.as_fd(), &self.name, true));
        if gone.is_err() {
            let _ = empty(&self.dir).and_then(|()| sys::unlink(self.parent.as_fd(), &self.name, true));
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.new.get() {
            self.erase();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_process_is_read_whatever_its_name() {
        let fields = (3..=52).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(started(format!("7 (a) b) {fields}").as_bytes()).as_deref(), Some("22"));
        for garbage in [&b""[..], b"7 (a", b"7 (a)", b")", &[0xff; 100]] {
            assert_eq!(started(garbage), None);
        }
        let now = identity(std::process::id()).unwrap().unwrap();
        assert!(now.iter().all(|(_, value)| !value.is_empty()));
        assert_eq!(Some(now), identity(std::process::id()).unwrap());
    }

    fn sample() -> Record {
        let mut record = Record::default();
        record.set("id", "0123456789abcdef".repeat(4));
        record
    }

    #[test]
    fn any_bytes_survive_a_record() {
        let mut record = sample();
        let words =
            [&b"plain"[..], b"", b"two\nlines\n", b"\\x41\\", b"\xff\xfe tail ", b"\t\r\x01", "ä€".as_bytes()];
        for word in words {
            record.add("arg", OsStr::from_bytes(word));
        }
        let text = record.text();
        assert_eq!(text.lines().count(), 2 + words.len());
        let read = Record::parse(text.as_bytes()).unwrap();
        assert_eq!(read, record);
        assert_eq!(read.words("arg"), words.map(|word| OsStr::from_bytes(word).to_owned()));
    }

    #[test]
    fn unknown_keys_are_kept_and_damage_is_named() {
        let mut record = sample();
        record.add("from-the-future", "yes");
        record.set("state", "created");
        record.set("state", "exited");
        let read = Record::parse(record.text().as_bytes()).unwrap();
        assert_eq!((read.get("from-the-future"), read.get("state")), (Some("yes"), Some("exited")));
        assert!(Record::parse(b"ctr 2\nid x\n").unwrap_err().contains("newer"));
        assert!(Record::parse(&record.text().as_bytes()[..40]).unwrap_err().contains("cut off"));
        for garbage in [&b""[..], b"\n", b"ctr", b"ctr 1\n", b"\xff", b"ctr 1\nid 7\n"] {
            assert!(Record::parse(garbage).is_err());
        }
        assert!(unescape("\\").len() == 1 && unescape("\\xzz").len() == 4 && unescape("\\q").len() == 2);
    }

    #[test]
    fn a_stranger_is_not_taken_for_the_process() {
        let mut record = sample();
        record.set_process(std::process::id()).unwrap();
        assert!(record.process().is_some());
        record.set("ticks", "1");
        assert!(record.process().is_none());
        record.unset("ticks");
        assert!(record.process().is_none());
    }
}
