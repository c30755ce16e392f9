//! An archive unpacked into a tree.
//!
//! All of it stays below the one directory that it is unpacked to: a path is taken
//! apart by its words, so that `..` and `/` mean that directory; what leads to its last name is resolved by the kernel
//! with that directory as root, so that a link which the archive has made itself leads nowhere else; and the last name is
//! never followed.

use std::ffi::{CStr, CString, OsStr};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use linux_raw_sys::general as k;
use tar::EntryType;

use super::padding;
use super::read::{Archive, Entry, bad};
use crate::copy::{Settings, make_node};
use crate::path::{self, InRoot, Links};
use crate::put::{self, Dress};
use crate::sys;
use crate::walk::{Failed, Identity, LONGEST, Note, errno, identity};

/// Unpacks an archive into `dir`.
pub fn extract(dir: BorrowedFd, input: &mut dyn Read, settings: &Settings, note: &mut Note) -> Result<(), Failed> {
    let mut archive = Archive::new(input);
    let mut tree = Tree { root: dir, settings, parent: None, unfinished: Vec::new() };
    let nowhere = |e| Failed::new(Path::new(""), "read the archive", e);
    while let Some(entry) = archive.next(note).map_err(nowhere)? {
        let shown = PathBuf::from(OsStr::from_bytes(&entry.path));
        tree.put(&entry, &mut archive, &mut |why| note(&shown, why)).map_err(|e| Failed::new(&shown, "unpack", e))?;
    }
    tree.finish(None).map_err(|(path, e)| Failed::new(&path, "finish the directory", e))
}

/// A directory that gets its mode and time when the archive has left it.
struct Unfinished {
    path: PathBuf,
    is: Identity,
    mode: u32,
    owner: (u32, u32),
    time: (i64, u32),
}

/// The tree that an archive is unpacked to.
struct Tree<'a> {
    root: BorrowedFd<'a>,
    settings: &'a Settings,
    /// The directory that the last file went to: most of the time, the next one does too.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Each below the one before it.
    unfinished: Vec<Unfinished>,
}

/// What a path in an archive means, seen from the root of the tree.
pub(crate) fn inside(path: &[u8]) -> io::Result<PathBuf> {
    if path.len() > LONGEST {
        return Err(errno(libc::ENAMETOOLONG));
    }
    let whole = [b"/", path].concat();
    let clean = InRoot::new(Path::new(OsStr::from_bytes(&whole))).ok_or_else(|| errno(libc::EINVAL))?;
    Ok(clean.as_path().to_owned())
}

pub(crate) fn c(path: &OsStr) -> io::Result<CString> {
    Ok(CString::new(path.as_bytes())?)
}

impl Tree<'_> {
    fn put(&mut self, entry: &Entry, archive: &mut Archive, note: &mut dyn FnMut(&str)) -> io::Result<()> {
        let path = inside(&entry.path)?;
        self.finish(Some(&path)).map_err(|(_, e)| e)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return self.root_entry(entry) };
        let name = c(name)?;
        // Taken out, and put back when all went well.
        let parent = match self.parent.take() {
            Some((kept, dir)) if kept == parent => (kept, dir),
            _ => (parent.to_owned(), self.parent(parent)?),
        };
        let dir = parent.1.as_fd();
        match entry.kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let dress = self.dress(entry, k::S_IFREG)?;
                put::file(dir, &name, &dress, &mut |to| content(entry, archive, to))?;
                archive.skip(padding(entry.stored))?;
            }
            EntryType::Directory => self.directory(entry, path, dir, &name)?,
            EntryType::Symlink => {
                if entry.link.is_empty() || entry.link.len() >= LONGEST {
                    return Err(bad("a symbolic link to nothing, or to more than a path"));
                }
                put::link(dir, &name, &c(OsStr::from_bytes(&entry.link))?, &self.dress(entry, k::S_IFLNK)?)?;
            }
            EntryType::Link => self.hard_link(entry, dir, &name)?,
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let what = match entry.kind {
                    EntryType::Char => k::S_IFCHR,
                    EntryType::Block => k::S_IFBLK,
                    _ => k::S_IFIFO,
                };
                make_node(dir, &name, what, entry.device, &self.dress(entry, what)?, self.settings, note)?;
            }
            _ => {
                archive.skip(entry.stored.saturating_add(padding(entry.stored)))?;
                note("a kind of entry that is no file");
            }
        }
        self.parent = Some(parent);
        Ok(())
    }

    fn dress(&self, entry: &Entry, kind: u32) -> io::Result<Dress<'static>> {
        self.settings.dress(kind, entry.mode, entry.owner, entry.time)
    }

    /// `.`, or whatever else means the directory that everything goes to. It may be nothing else (CVE-2021-29136).
    fn root_entry(&mut self, entry: &Entry) -> io::Result<()> {
        if entry.kind != EntryType::Directory {
            return Err(bad("the archive would replace the directory that it is unpacked to"));
        }
        self.remember(entry, PathBuf::from("/"), self.root, false)
    }

    fn directory(&mut self, entry: &Entry, path: PathBuf, dir: BorrowedFd, name: &CStr) -> io::Result<()> {
        let (made, new) = put::directory(dir, name)?;
        self.remember(entry, path, made.as_fd(), new)
    }

    /// Notes a directory that has to get its mode and time.
    fn remember(&mut self, entry: &Entry, path: PathBuf, dir: BorrowedFd, new: bool) -> io::Result<()> {
        if new || self.settings.dresses_existing() {
            let is = identity(&sys::statx(dir, c"")?);
            let Entry { mode, owner, time, .. } = *entry;
            // Said once more, the last word counts.
            if self.unfinished.last().is_some_and(|last| last.path == path) {
                self.unfinished.pop();
            }
            self.unfinished.push(Unfinished { path, is, mode, owner, time });
        }
        Ok(())
    }

    fn hard_link(&self, entry: &Entry, dir: BorrowedFd, name: &CStr) -> io::Result<()> {
        let target = inside(&entry.link)?;
        let (Some(parent), Some(last)) = (target.parent(), target.file_name()) else {
            return Err(bad("a hard link to a directory"));
        };
        let place = k::O_PATH | k::O_DIRECTORY;
        let parent = path::open(self.root, &c(parent.as_os_str())?, place, Links::Refuse);
        parent
            .and_then(|parent| put::hard_link(parent.as_fd(), &c(last)?, dir, name))
            .map_err(|e| io::Error::new(e.kind(), format!("a hard link to {}: {e}", target.display())))
    }

    /// The directory that a file goes to. What is missing on the way is made.
    fn parent(&self, path: &Path) -> io::Result<OwnedFd> {
        let place = k::O_PATH | k::O_DIRECTORY;
        match path::open(self.root, &c(path.as_os_str())?, place, Links::Follow) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
            done => return done,
        }
        let mut here = path::open(self.root, c"/", place, Links::Follow)?;
        let mut so_far = PathBuf::from("/");
        for name in path.iter().skip(1) {
            so_far.push(name);
            here = match path::open(self.root, &c(so_far.as_os_str())?, place, Links::Follow) {
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                    let (made, new) = put::directory(here.as_fd(), &c(name)?)?;
                    if new {
                        let plain = self.settings.dress(k::S_IFDIR, 0o755, (0, 0), (0, 0))?;
                        put::dress(made.as_fd(), &Dress { time: None, ..plain })?;
                    }
                    made
                }
                done => done?,
            };
        }
        Ok(here)
    }

    /// Finishes the directories that `path` is not in; all of them without one.
    fn finish(&mut self, path: Option<&Path>) -> Result<(), (PathBuf, io::Error)> {
        let left = |dir: &Unfinished| path.is_none_or(|path| !path.starts_with(&dir.path));
        while self.unfinished.last().is_some_and(left) {
            if let Some(dir) = self.unfinished.pop() {
                self.finish_one(&dir).map_err(|e| (dir.path, e))?;
            }
        }
        Ok(())
    }

    fn finish_one(&self, dir: &Unfinished) -> io::Result<()> {
        let flags = k::O_RDONLY | k::O_DIRECTORY;
        let open = path::open(self.root, &c(dir.path.as_os_str())?, flags, Links::Follow)?;
        // Somebody moved ours away, and what is there now is theirs.
        if identity(&sys::statx(open.as_fd(), c"")?) != dir.is {
            return Ok(());
        }
        put::dress(open.as_fd(), &self.settings.dress(k::S_IFDIR, dir.mode, dir.owner, dir.time)?)
    }
}

/// What is in a file.
pub(crate) fn content(entry: &Entry, archive: &mut Archive, to: BorrowedFd) -> io::Result<()> {
    let mut write = |part: &[u8]| sys::write_all(to, part);
    let Some((parts, length)) = &entry.sparse else { return archive.pass(entry.stored, &mut write) };
    for (offset, length) in parts {
        sys::seek(to, *offset, k::SEEK_SET)?;
        archive.pass(*length, &mut write)?;
    }
    sys::set_length(to, *length)
}
