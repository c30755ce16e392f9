//! The state folder: one directory a container, named as the container is, with a record that `cat` can read.
//!
//! ```text
//! /run/ctr/containers/web/record      ctr 1 / id 3f2a… / name web / pid 4312 / …
//! ```
//! The directory is made, and locked, before anything else of the container exists: it is the undo list. A container
//! lives as long as the ctr that started it holds the lock on its directory (`flock(2)`), which the kernel ends with
//! the process: whether a record is stale is asked of the kernel, never read from a file. Every command that opens the
//! state first takes away what dead ones left; all else that a container has (mounts, links, processes) lives in
//! namespaces that die with it.
//!
//! The container's root is built on its directory, in a mount namespace of its own: nothing of that is seen here.

use std::env;
use std::ffi::{CStr, CString, OsString};
use std::fmt::Write;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use linux_raw_sys::general as k;

use crate::error::{Doing, Error, Result};
use crate::sys;

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

/// Opens a directory; what is missing of it is made, for ourselves alone.
fn open_or_make(path: &Path) -> io::Result<OwnedFd> {
    let flags = k::O_RDONLY | k::O_DIRECTORY;
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
        let path = folder().join("containers");
        let hint = "set CTR_STATE to a folder that can be written to (on a tmpfs, if there is one)";
        let containers = open_or_make(&path).map_err(|cause| {
            let elsewhere =
                matches!(cause.raw_os_error(), Some(libc::EACCES | libc::EROFS | libc::ENOENT | libc::ENOTDIR));
            Error::new("open the state folder", path.display(), cause).hint(elsewhere.then_some(hint))
        })?;
        // In a shared place such as /tmp somebody else may have been there first. /run is root's alone.
        if !path.starts_with("/run") {
            let stat = sys::fstat(containers.as_fd()).doing("open the state folder", path.display())?;
            if stat.st_uid != sys::euid() || stat.st_mode & 0o022 != 0 {
                let cause = io::Error::other("it belongs to somebody else, or others may write to it");
                return Err(Error::new("use the state folder", path.display(), cause).hint(Some(hint)));
            }
        }
        let state = State { path, containers };
        state.reclaim().doing("look through the state folder", state.path.display())?;
        Ok(state)
    }

    /// Removes every container directory whose ctr is dead.
    fn reclaim(&self) -> io::Result<()> {
        for name in names(&self.containers)? {
            let Ok(dir) =
                sys::openat(self.containers.as_fd(), &name, k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW, 0)
            else {
                continue;
            };
            if sys::lock(dir.as_fd(), false).is_ok() {
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
                    let pid = read_value(&path.join("record"), "pid");
                    let by = pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
                    return Err(Error::usage(format_args!(
                        "the name {} is taken by a container that runs{by}: choose another with --name",
                        name.to_string_lossy()
                    )));
                }
                made => made.doing("remember the container", path.display())?,
            }
            match self.lock(&name) {
                Ok(Some(dir)) => return Ok(Entry { name, path, containers: self.containers, dir }),
                Ok(None) => {}
                Err(e) => {
                    let _ = sys::unlink(self.containers.as_fd(), &name, true);
                    return Err(Error::new("lock the container's record", path.display(), e));
                }
            }
        }
        Err(Error::new("remember the container", path.display(), io::Error::from_raw_os_error(libc::EAGAIN)))
    }

    /// Locks a directory that was just made; None if somebody has taken it away meanwhile.
    fn lock(&self, name: &CStr) -> io::Result<Option<OwnedFd>> {
        let dir = match sys::openat(self.containers.as_fd(), name, k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW, 0) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            opened => opened?,
        };
        match sys::lock(dir.as_fd(), true) {
            Err(e) if e.raw_os_error() == Some(libc::EWOULDBLOCK) => return Ok(None),
            done => done?,
        }
        // A removed directory has no name left.
        Ok((sys::fstat(dir.as_fd())?.st_nlink > 0).then_some(dir))
    }
}

/// The value of a key in a record, for messages.
fn read_value(record: &Path, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(record).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ').map(str::to_owned))
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

/// Removes the files of a container directory.
fn empty(dir: &OwnedFd) -> io::Result<()> {
    for name in names(dir)? {
        sys::unlink(dir.as_fd(), &name, false)?;
    }
    Ok(())
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
            let flags = k::O_WRONLY | k::O_CREAT | k::O_TRUNC | k::O_NOFOLLOW;
            let file = sys::openat(self.dir.as_fd(), c"record.new", flags, 0o600)?;
            sys::write_all(file.as_fd(), text.as_bytes())?;
            sys::rename(self.dir.as_fd(), c"record.new", c"record")
        };
        write().doing("write the container's record", self.path.join("record").display())
    }
}

impl Entry {
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
