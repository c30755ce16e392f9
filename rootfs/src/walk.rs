//! A file tree read by descriptors alone, while somebody hostile may be at work in it.
//!
//! Directories are entered one name at a time and never through a link, so what is renamed or exchanged meanwhile decides
//! only which part of this very tree is read. A file's type is looked at before it is opened (nothing but a regular file
//! is), and once more after that. Descriptors on the way down stay open: `..`, which a rename can make lead elsewhere, is
//! never used. That is what [`DEEPEST`] bounds.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use linux_raw_sys::general as k;

use crate::path::{self, Links};
use crate::sys;

/// How many directories deep a tree may be. Who copies has two descriptors a level; together they stay below 1024, the
/// customary limit.
pub const DEEPEST: usize = 400;

/// How often a name is looked at again because it changed between two looks.
const LOOKS: usize = 64;

/// How many links one path may lead through, as in the kernel.
const MOST_LINKS: usize = 40;

/// The longest path and the longest text of a link, as in the kernel.
pub const LONGEST: usize = 4096;

/// What failed, and where in the tree.
#[derive(Debug)]
pub struct Failed {
    /// Below the top of the tree; empty for the top itself.
    pub path: PathBuf,
    /// What was tried.
    pub doing: &'static str,
    /// Why it failed.
    pub cause: io::Error,
}

impl Failed {
    /// Something that failed while `doing` it with `path`.
    pub fn new(path: &Path, doing: &'static str, cause: io::Error) -> Failed {
        Failed { path: path.to_owned(), doing, cause }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {}: {}", self.doing, self.path.display(), self.cause)
    }
}

/// Told about what is left out: where it is, and why.
pub type Note<'a> = dyn FnMut(&Path, &str) + 'a;

/// Where a path starts.
#[derive(Clone, Copy, Debug)]
pub enum Base<'fd> {
    /// In this root, which nothing leads out of.
    Root(BorrowedFd<'fd>),
    /// In our own working directory or root, by the rules that hold for every program.
    Own,
}

impl Base<'_> {
    fn open(self, path: &CStr, flags: u32) -> io::Result<OwnedFd> {
        match self {
            Base::Root(root) => path::open(root, path, flags, Links::Follow),
            Base::Own => sys::openat(sys::CWD, path, flags, 0),
        }
    }
}

/// A name in an open directory, or (without a name) the directory itself.
#[derive(Debug)]
pub struct Place {
    /// The directory, opened with `O_PATH`.
    pub dir: OwnedFd,
    /// One component, neither `.` nor `..`.
    pub name: Option<CString>,
}

impl Place {
    /// Finds `path`. The last component need not exist; a link there is followed if `follow` says so, or if the path says
    /// that it is a directory. ENOENT if what leads there does not exist.
    pub fn find(base: Base, path: &[u8], follow: bool) -> io::Result<Place> {
        let mut path = path.to_vec();
        for _ in 0..MOST_LINKS {
            let Some((parent, name)) = split(&path) else {
                let whole = if path.is_empty() { c".".to_owned() } else { text(path)? };
                return Ok(Place { dir: base.open(&whole, k::O_PATH | k::O_DIRECTORY)?, name: None });
            };
            let (parent, name) = (parent.to_vec(), text(name.to_vec())?);
            let whole = if parent.is_empty() { c".".to_owned() } else { text(parent.clone())? };
            let dir = base.open(&whole, k::O_PATH | k::O_DIRECTORY)?;
            if !follow && !says_directory(&path) {
                return Ok(Place { dir, name: Some(name) });
            }
            path = match read_link(dir.as_fd(), &name) {
                Ok(target) if target.to_bytes().starts_with(b"/") => target.into_bytes(),
                // The parent ends with a slash, or is empty.
                Ok(target) => [&parent, target.as_bytes()].concat(),
                Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => {
                    return Ok(Place { dir, name: Some(name) });
                }
                Err(e) => return Err(e),
            };
        }
        Err(errno(libc::ELOOP))
    }

    /// What is there; a link is a link.
    pub fn look(&self) -> io::Result<k::statx> {
        sys::statx(self.dir.as_fd(), self.name.as_deref().unwrap_or(c""))
    }

    /// The directory that is there, to put something into it.
    pub fn enter(self) -> io::Result<OwnedFd> {
        match &self.name {
            None => Ok(self.dir),
            Some(name) => sys::openat(self.dir.as_fd(), name, k::O_PATH | k::O_DIRECTORY | k::O_NOFOLLOW, 0),
        }
    }
}

/// Whether a path can only mean a directory: it ends with a slash, or with `.` or `..`.
pub fn says_directory(path: &[u8]) -> bool {
    matches!(path.rsplit(|b| *b == b'/').next(), None | Some(b"" | b"." | b".."))
}

/// A path's last component and what is before it, without the slashes at its end. None if it has no last component that
/// is a name (`/`, `.`, `..`).
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = path.iter().rposition(|b| *b != b'/')? + 1;
    let path = path.get(..end)?;
    let start = path.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
    let name = path.get(start..)?;
    (!matches!(name, b"." | b"..")).then_some((path.get(..start)?, name))
}

fn text(bytes: Vec<u8>) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| errno(libc::EINVAL))
}

/// An error of the kernel's, without the kernel.
pub fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// What a link says. EINVAL if it is none.
pub fn read_link(dir: BorrowedFd, name: &CStr) -> io::Result<CString> {
    let mut bytes = vec![0; LONGEST];
    let used = sys::readlink(dir, name, &mut bytes)?;
    bytes.truncate(used);
    text(bytes)
}

/// The file type of a mode (`S_IFREG`…).
pub fn kind(found: &k::statx) -> u32 {
    u32::from(found.stx_mode) & k::S_IFMT
}

/// When it was changed, as [`crate::put::Dress`] wants it.
pub fn time(found: &k::statx) -> (i64, u32) {
    (found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec)
}

/// What tells one file from all others.
pub type Identity = (u32, u32, u64);

/// The identity of what was looked at.
pub fn identity(found: &k::statx) -> Identity {
    (found.stx_dev_major, found.stx_dev_minor, found.stx_ino)
}

/// Files with several names, and the first name that was met of each.
pub type Several = HashMap<Identity, PathBuf>;

/// One step of the way through a tree.
#[derive(Debug)]
pub enum What {
    /// A directory begins.
    Dir,
    /// A directory is done; this is it, open.
    Done(OwnedFd),
    /// A regular file, open for reading.
    File(OwnedFd),
    /// A symbolic link, and what it says.
    Link(CString),
    /// A fifo or a device.
    Node,
}

/// A way through a tree: each directory before what is in it, and once more after that.
#[derive(Debug)]
pub struct Walk {
    top: Option<Place>,
    levels: Vec<Level>,
    path: PathBuf,
    /// The last name of `path` was the last step's and is not needed any more.
    passed: bool,
    /// A directory that is not entered: the one that is being written.
    pub avoid: Option<Identity>,
}

/// A directory that we are in.
#[derive(Debug)]
struct Level {
    dir: OwnedFd,
    found: k::statx,
    names: std::vec::IntoIter<CString>,
}

/// What is behind a name, opened as far as it can be.
enum Seen {
    Dir(OwnedFd),
    Socket,
    Other(What),
}

impl Walk {
    /// Starts with what is at `top`.
    pub fn new(top: Place) -> Walk {
        Walk { top: Some(top), levels: Vec::new(), path: PathBuf::new(), passed: false, avoid: None }
    }

    /// Where the last step was, seen from the top.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, cause: io::Error) -> Failed {
        Failed::new(&self.path, "read", cause)
    }

    /// The next step, with what was found out about the file. None at the end.
    pub fn step(&mut self, note: &mut Note) -> Result<Option<(k::statx, What)>, Failed> {
        if let Some(top) = self.top.take() {
            let (found, seen) =
                look(top.dir.as_fd(), top.name.as_deref().unwrap_or(c".")).map_err(|e| self.failed(e))?;
            return match seen {
                Seen::Dir(dir) => {
                    self.enter(found, dir)?;
                    Ok(Some((found, What::Dir)))
                }
                Seen::Socket => Err(self.failed(io::Error::other("it is a socket, which cannot be copied"))),
                Seen::Other(what) => Ok(Some((found, what))),
            };
        }
        loop {
            if std::mem::replace(&mut self.passed, true) {
                self.path.pop();
            }
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let Some(name) = level.names.next() else {
                let done = self.levels.pop();
                return Ok(done.map(|level| (level.found, What::Done(level.dir))));
            };
            self.path.push(OsStr::from_bytes(name.to_bytes()));
            let (found, seen) = match look(level.dir.as_fd(), &name) {
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                    note(&self.path, "it went away meanwhile");
                    continue;
                }
                looked => looked.map_err(|e| Failed::new(&self.path, "read", e))?,
            };
            match seen {
                Seen::Socket => note(&self.path, "a socket"),
                Seen::Dir(_) if self.avoid == Some(identity(&found)) => {
                    note(&self.path, "it is what is being written");
                }
                Seen::Dir(dir) if identity(&level.found).0 != identity(&found).0 && is_made_up(dir.as_fd()) => {
                    note(&self.path, "the kernel makes it up, there are no files in it");
                }
                Seen::Dir(dir) => {
                    self.enter(found, dir)?;
                    return Ok(Some((found, What::Dir)));
                }
                Seen::Other(what) => return Ok(Some((found, what))),
            }
        }
    }

    fn enter(&mut self, found: k::statx, dir: OwnedFd) -> Result<(), Failed> {
        if self.levels.len() == DEEPEST {
            let cause = io::Error::other(format!("more than {DEEPEST} directories in one another"));
            return Err(self.failed(cause));
        }
        let names = names(dir.as_fd()).map_err(|e| self.failed(e))?;
        self.levels.push(Level { dir, found, names: names.into_iter() });
        self.passed = false;
        Ok(())
    }
}

/// Looks at a name, and opens what is there if it is a directory or a regular file. What it is for the descriptor is
/// what counts; if that is not what it was for the name, somebody changed it between, and it is looked at again.
fn look(dir: BorrowedFd, name: &CStr) -> io::Result<(k::statx, Seen)> {
    for _ in 0..LOOKS {
        let found = sys::statx(dir, name)?;
        let how = match kind(&found) {
            k::S_IFREG => k::O_NONBLOCK | k::O_NOCTTY,
            k::S_IFDIR => k::O_DIRECTORY,
            k::S_IFLNK => match read_link(dir, name) {
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => continue,
                target => return Ok((found, Seen::Other(What::Link(target?)))),
            },
            k::S_IFSOCK => return Ok((found, Seen::Socket)),
            _ => return Ok((found, Seen::Other(What::Node))),
        };
        let open = match sys::openat(dir, name, k::O_RDONLY | k::O_NOFOLLOW | how, 0) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR | libc::ENXIO)) => continue,
            open => open?,
        };
        let now = sys::statx(open.as_fd(), c"")?;
        if kind(&now) == kind(&found) {
            let directory = kind(&now) == k::S_IFDIR;
            return Ok((now, if directory { Seen::Dir(open) } else { Seen::Other(What::File(open)) }));
        }
    }
    Err(io::Error::other("somebody keeps exchanging it"))
}

/// Whether a directory belongs to one of the filesystems that show the kernel's state: whoever copies `/` means files.
fn is_made_up(dir: BorrowedFd) -> bool {
    const SHOWS: [u32; 10] = [
        k::PROC_SUPER_MAGIC,
        k::SYSFS_MAGIC,
        k::CGROUP_SUPER_MAGIC,
        k::CGROUP2_SUPER_MAGIC,
        k::DEVPTS_SUPER_MAGIC,
        k::DEBUGFS_MAGIC,
        k::TRACEFS_MAGIC,
        k::SECURITYFS_MAGIC,
        k::BPF_FS_MAGIC,
        k::BINFMTFS_MAGIC,
    ];
    sys::fs_magic(dir).is_ok_and(|magic| SHOWS.iter().any(|one| u64::from(*one) == magic))
}

/// What is in a directory at this moment, in order. All at once, so that the copy of a directory that somebody keeps
/// adding to has an end.
pub fn names(dir: BorrowedFd) -> io::Result<Vec<CString>> {
    let mut buffer = vec![0; 32 << 10];
    let mut all = Vec::new();
    loop {
        let used = sys::getdents(dir, &mut buffer)?;
        if used == 0 {
            all.sort_unstable();
            return Ok(all);
        }
        let mut rest = buffer.get(..used).unwrap_or_default();
        // struct linux_dirent64: inode, offset, 16-bit length of the entry, type, then the name.
        while let Some(length) = rest.get(16..18).and_then(|two| <[u8; 2]>::try_from(two).ok()) {
            let length = usize::from(u16::from_ne_bytes(length));
            let Some(name) = rest.get(19..length).and_then(|name| CStr::from_bytes_until_nul(name).ok()) else {
                break;
            };
            if !matches!(name.to_bytes(), b"" | b"." | b"..") && !name.to_bytes().contains(&b'/') {
                all.push(name.to_owned());
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}
