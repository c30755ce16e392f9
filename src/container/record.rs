//! The state folder: one directory a container, named as the container is, with a record that `cat` can read.
//!
//! ```text
//! /run/ctr/containers/web/record      ctr 1 / id 3f2a… / name web / pid 4312 / …
//! ```
//! The directory is made, and locked, before anything else of the container exists: it is the undo list. A container
//! lives as long as the ctr that started it holds the lock on its directory (`flock(2)`), which the kernel ends with
//! the process: whether a record is stale is asked of the kernel, never read from a file. Every command that opens the
//! state first takes away what dead ones left: a process that outlived its ctr, and the directory. All else that a
//! container has (mounts, links) is in namespaces that die with it.

use std::cell::{Cell, RefCell};
use std::env;
use std::ffi::{CStr, CString, OsString};
use std::fmt::Write;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use linux_raw_sys::general as k;

use crate::error::{Doing, Error, Result};
use crate::{procfs, sys};

/// The first line of every record.
const VERSION: &str = "ctr 1";

/// How often a directory is made again that somebody took away.
const TRIES: usize = 100;

/// Where containers are remembered until the next boot.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    containers: OwnedFd,
}

/// The directory of one container, ours while this lives.
#[derive(Debug)]
pub struct Entry {
    name: CString,
    path: PathBuf,
    containers: OwnedFd,
    dir: OwnedFd,
    /// `record.new`, which becomes `record`.
    record: RefCell<OwnedFd>,
    saved: Cell<bool>,
}

/// `$CTR_STATE`, or `/run/ctr`, or for an ordinary user a folder of his own.
pub fn folder() -> PathBuf {
    if let Some(path) = env::var_os("CTR_STATE").filter(|p| !p.is_empty()) {
        let path = PathBuf::from(path);
        return if path.is_absolute() { path } else { env::current_dir().unwrap_or_default().join(path) };
    }
    match sys::euid() {
        0 => PathBuf::from("/run/ctr"),
        uid => match env::var_os("XDG_RUNTIME_DIR").filter(|p| Path::new(p).is_absolute()) {
            Some(path) => PathBuf::from(path).join("ctr"),
            None => PathBuf::from(format!("/tmp/ctr-{uid}")),
        },
    }
}

fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().to_owned().into_vec()).unwrap_or_default()
}

/// Opens the folder of all containers. /run is root's alone; anywhere else, /tmp say, somebody may have been there first:
/// the state folder and the one in it must be real directories that belong to us and that nobody else may write to.
fn open_ours(folder: &Path, containers: &Path) -> io::Result<OwnedFd> {
    if folder == Path::new("/run/ctr") {
        return open_or_make(containers);
    }
    let outer = open_or_make(folder)?;
    check_ours(&outer)?;
    let name = c"containers";
    match sys::mkdir(outer.as_fd(), name, 0o700) {
        Err(e) if e.raw_os_error() != Some(libc::EEXIST) => return Err(e),
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
        match sys::mkdir(sys::CWD, &c(&so_far), if so_far == Path::new("/run") { 0o755 } else { 0o700 }) {
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {}
            // A parent that may not be written to may exist all the same; opening the whole tells.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EACCES | libc::EROFS | libc::EISDIR)) => {}
            done => done?,
        }
    }
    sys::openat(sys::CWD, &c(path), flags, 0)
}

impl State {
    /// Opens the state folder, makes it if it is missing, and takes away what dead containers left.
    pub fn open() -> Result<State> {
        let folder = folder();
        let path = folder.join("containers");
        let hint = "set CTR_STATE to a folder that can be written to (on a tmpfs, if there is one)";
        let containers = open_ours(&folder, &path).map_err(|cause| {
            let elsewhere = matches!(
                cause.raw_os_error(),
                Some(libc::EACCES | libc::EROFS | libc::ENOENT | libc::ENOTDIR | libc::ELOOP)
            );
            Error::new("open the state folder", path.display(), cause).hint(elsewhere.then_some(hint))
        })?;
        let state = State { path, containers };
        state.reclaim().doing("look through the state folder", state.path.display())?;
        Ok(state)
    }

    /// Ends every container whose ctr is dead, and removes its directory.
    fn reclaim(&self) -> io::Result<()> {
        for name in names(&self.containers)? {
            let flags = k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW;
            let Ok(dir) = sys::openat(self.containers.as_fd(), &name, flags, 0) else { continue };
            if sys::lock(dir.as_fd(), false).is_ok() {
                end_orphan(&dir);
                // What cannot be removed is tried again by the next command; it is no reason not to go on.
                let _ = empty(&dir).and_then(|()| sys::unlink(self.containers.as_fd(), &name, true));
            }
        }
        Ok(())
    }

    /// Makes the directory of a new container and locks it; a name that is taken is an error.
    ///
    /// Between making and locking, another command that looks for what dead ones left may take the directory for such
    /// and remove it. Whoever holds the lock on a directory that is still there has won; otherwise it is made again.
    pub fn create(self, name: &str) -> Result<Entry> {
        let path = self.path.join(name);
        let name = CString::new(name).map_err(|_| Error::usage("bad name: it has a NUL byte in it"))?;
        for _ in 0..TRIES {
            match sys::mkdir(self.containers.as_fd(), &name, 0o700) {
                Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {
                    let record = std::fs::read_to_string(path.join("record")).unwrap_or_default();
                    let pid = value(&record, "pid");
                    let by = pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
                    return Err(Error::usage(format_args!(
                        "the name {} is taken by a container that runs{by}: choose another with --name",
                        name.to_string_lossy()
                    )));
                }
                made => made.doing("remember the container", path.display())?,
            }
            match self.lock(&name) {
                Ok(Some((dir, record))) => {
                    let (record, saved) = (RefCell::new(record), Cell::new(false));
                    return Ok(Entry { name, path, containers: self.containers, dir, record, saved });
                }
                Ok(None) => {}
                Err(e) => {
                    let _ = sys::unlink(self.containers.as_fd(), &name, true);
                    return Err(Error::new("lock the container's record", path.display(), e));
                }
            }
        }
        Err(Error::new("remember the container", path.display(), io::Error::from_raw_os_error(libc::EAGAIN)))
    }

    /// Locks a directory that was just made, and begins a record in it; None if somebody has taken it away meanwhile.
    fn lock(&self, name: &CStr) -> io::Result<Option<(OwnedFd, OwnedFd)>> {
        let dir = match sys::openat(self.containers.as_fd(), name, k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW, 0) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            opened => opened?,
        };
        match sys::lock(dir.as_fd(), true) {
            Err(e) if e.raw_os_error() == Some(libc::EWOULDBLOCK) => return Ok(None),
            done => done?,
        }
        // In a removed directory nothing can be made.
        match begin_record(&dir) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(e) => Err(e),
            Ok(record) => Ok(Some((dir, record))),
        }
    }
}

/// A new record, not yet in its place.
fn begin_record(dir: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = k::O_WRONLY | k::O_CREAT | k::O_EXCL | k::O_NOFOLLOW;
    sys::openat(dir.as_fd(), c"record.new", flags, 0o600)
}

/// The value of a key in a record's text.
fn value<'a>(record: &'a str, key: &str) -> Option<&'a str> {
    record.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
}

/// The names in a directory, without `.` and `..`.
fn names(dir: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut found = Vec::new();
    let mut buffer = [0u8; 8192];
    loop {
        let used = sys::getdents(dir.as_fd(), &mut buffer)?;
        let mut rest = buffer.get(..used).unwrap_or_default();
        // struct linux_dirent64: inode 8, offset 8, length 2, type 1, name.
        while let Some(length) = rest.get(16..18).map(|b| usize::from(u16::from_ne_bytes([b[0], b[1]]))) {
            let name = rest.get(19..length).and_then(|b| b.split(|byte| *byte == 0).next()).unwrap_or_default();
            if !matches!(name, b"" | b"." | b"..") {
                found.extend(CString::new(name));
            }
            rest = rest.get(length.max(19)..).unwrap_or_default();
        }
        // Where another name would have fitted (255 bytes at most), there is none. A filesystem that stops early all the
        // same leaves work for the next command, no more.
        if used + 19 + 256 < buffer.len() {
            return Ok(found);
        }
    }
}

/// Removes the files that we make in a container's directory, and no others: it may be a directory that only looks like
/// one, and then it stays.
fn empty(dir: &OwnedFd) -> io::Result<()> {
    for name in [c"record", c"record.new"] {
        match sys::unlink(dir.as_fd(), name, false) {
            Err(e) if e.raw_os_error() != Some(libc::ENOENT) => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// Ends a container that has outlived its ctr: its PID 1 changed its ids (su, gosu) and thereby lost the signal that comes
/// when ctr dies (prctl(2), `PR_SET_PDEATHSIG`), or switched that off.
///
/// The record names its pid, when it was started, and the boot and the pid namespace in which that is so: all four must
/// be true of a process, or it is a stranger.
fn end_orphan(dir: &OwnedFd) {
    let found = || -> Option<OwnedFd> {
        let record = sys::openat(dir.as_fd(), c"record", k::O_RDONLY | k::O_NOFOLLOW | k::O_NONBLOCK, 0).ok()?;
        let text = String::from_utf8(procfs::read_all(record.as_fd(), 64 << 10).ok()?).ok()?;
        if text.lines().next() != Some(VERSION) {
            return None;
        }
        let pid = value(&text, "pid")?.parse().ok()?;
        // The descriptor first: what is read afterwards is about the process that it holds, or about none.
        let process = sys::pidfd_open(pid).ok()?;
        let now = identity(pid)?;
        now.iter().all(|(key, is)| value(&text, key) == Some(is)).then_some(process)
    };
    if let Some(process) = found() {
        let _ = sys::pidfd_signal(process.as_fd(), libc::SIGKILL);
        // Its end is awaited, so that what it held is free; a process that cannot die now will do so later.
        let mut wanted = [sys::PollFd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
        let _ = sys::poll(&mut wanted, 5000);
    }
}

/// What tells a process from every other one that ever had or will have its number: when it was started (in the kernel's
/// ticks), in which boot, and whose number it is.
fn identity(pid: u32) -> Option<[(&'static str, String); 3]> {
    let proc = procfs::open().ok()?;
    let stat = procfs::read(proc.as_fd(), &CString::new(format!("{pid}/stat")).ok()?).ok()?;
    let boot = procfs::read(proc.as_fd(), c"sys/kernel/random/boot_id").ok()?;
    let namespace = sys::fstat(sys::openat(proc.as_fd(), c"self/ns/pid", k::O_RDONLY, 0).ok()?.as_fd()).ok()?.st_ino;
    Some([
        ("started", started(&stat)?),
        ("boot", String::from_utf8_lossy(&boot).trim().to_owned()),
        ("pid-namespace", namespace.to_string()),
    ])
}

/// When a process started, from its `/proc/PID/stat` (field 22, in ticks since boot).
fn started(stat: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stat).into_owned();
    // The name, in brackets, may have anything in it.
    let rest = text.get(text.rfind(')')? + 1..)?;
    rest.split_whitespace().nth(19).filter(|ticks| ticks.bytes().all(|b| b.is_ascii_digit())).map(str::to_owned)
}

impl Entry {
    /// Writes the record: a reader sees the old one or the new one, never half of one.
    pub fn save(&self, lines: &[(&str, String)]) -> Result<()> {
        let mut text = format!("{VERSION}\n");
        for (key, value) in lines {
            // One line each, whatever is in it.
            let _ = writeln!(text, "{key} {}", value.replace('\n', " "));
        }
        let write = || -> io::Result<()> {
            let mut record = self.record.borrow_mut();
            // The one that was begun with the directory has its place already if this is a second try.
            if self.saved.replace(true) {
                *record = begin_record(&self.dir)?;
            }
            sys::write_all(record.as_fd(), text.as_bytes())?;
            sys::rename(self.dir.as_fd(), c"record.new", c"record")
        };
        write().doing("write the container's record", self.path.join("record").display())
    }

    /// Adds what tells the container's process from a later one of the same number: the next ctr may have to end it. Not
    /// done at once, because most containers are gone before anybody could ask. A record without it is no less true.
    pub fn save_identity(&self, pid: u32) {
        let Some(identity) = identity(pid) else { return };
        let text = identity.iter().fold(String::new(), |text, (key, value)| text + &format!("{key} {value}\n"));
        let _ = sys::write_all(self.record.borrow().as_fd(), text.as_bytes());
    }

    /// The container is gone, so is its record; and this process ends, which closes the rest.
    pub fn remove(self) {
        self.erase();
        std::mem::forget(self);
    }

    /// What cannot be removed now is left to the next command.
    fn erase(&self) {
        // A record that was being written when we failed is there only then: ENOENT is the usual answer to nobody.
        let gone = sys::unlink(self.dir.as_fd(), c"record", false)
            .and_then(|()| sys::unlink(self.containers.as_fd(), &self.name, true));
        if gone.is_err() {
            let _ = empty(&self.dir).and_then(|()| sys::unlink(self.containers.as_fd(), &self.name, true));
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.erase();
    }
}

/// The words of a command, for a record.
pub fn command_line(words: &[CString]) -> String {
    let shown = |word: &CString| OsString::from_vec(word.as_bytes().to_vec()).to_string_lossy().into_owned();
    words.iter().map(shown).collect::<Vec<_>>().join(" ")
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
        let now = identity(std::process::id()).unwrap();
        assert!(now.iter().all(|(_, value)| !value.is_empty()) && Some(now) == identity(std::process::id()));
    }
}
