//! A layer unpacked: the archive of what a step of an image's making changed becomes a directory that overlayfs takes as a lower one.
//!
//! What a layer takes away is written in it as a name (`.wh.NAME`; `.wh..wh..opq` for all that is in a directory: OCI image
//! specification, layer.md), and in the directory as overlayfs has it: a device 0:0, an attribute (Documentation/filesystems/overlayfs.rst).
//! Nobody else can say so: devices 0:0 and overlayfs' attributes in an archive are left out.
//!
//! The directory is new, and ours alone while this goes on, so that files are made under their names at once. What is in the archive
//! comes from anybody all the same: a path is taken apart by its words, what leads to its last name is resolved by the kernel with the
//! directory as root, the last name is never followed, and how much there may be is bounded ([`Limits`]).

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use linux_raw_sys::general as k;
use tar::EntryType;

use super::recipe::Recipe;
use crate::copy::{Owner, Settings};
use crate::path::{self, Links};
use crate::tar::extract::{c, content, inside};
use crate::tar::padding;
use crate::tar::read::{Archive, Entry, bad};
use crate::walk::{Failed, LONGEST, Note, identity, kind};
use crate::{remove, sys};

/// How much a layer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the archive, unpacked.
    pub bytes: u64,
    /// Files, directories, links.
    pub files: u64,
    /// Directories in each other.
    pub depth: usize,
}

impl Default for Limits {
    /// More than any image has that is meant well: 64 GiB, two million files, 200 directories in each other.
    fn default() -> Limits {
        Limits { bytes: 64 << 30, files: 2_000_000, depth: 200 }
    }
}

/// How a layer is unpacked.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Whom its files belong to.
    pub owner: Owner,
    /// The attribute that hides what is below a directory: `trusted.overlay.opaque`, or `user.overlay.opaque` for who is not root.
    pub opaque: &'a CStr,
    /// How much it may be.
    pub limits: Limits,
}

/// What has become of an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Its bytes, unpacked.
    pub bytes: u64,
    /// Its entries.
    pub files: u64,
    /// Its recipe and its directories make the same archive again. Not so where an archive puts something else in the place of a link,
    /// by which it may have gone before.
    pub exact: bool,
}

/// Before the name that is taken away.
const WHITEOUT: &[u8] = b".wh.";

/// What aufs kept for itself; of it only [`OPAQUE`] means something.
const AUFS: &[u8] = b".wh..wh.";

/// All that lower layers have in this directory is taken away.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Attributes that are not taken over: overlayfs' own notes, and the labels of a security module that knows nothing of this host.
const NOT_TAKEN: [&[u8]; 6] = [
    b"trusted.overlay.",
    b"user.overlay.",
    b"security.selinux",
    b"security.apparmor",
    b"security.ima",
    b"security.evm",
];

/// What is kept of an archive besides its files, to make it again.
#[derive(Clone, Copy)]
pub struct Kept<'a> {
    /// How.
    pub recipe: &'a RefCell<Recipe>,
    /// An empty directory, on the same filesystem, for what the archive itself has replaced.
    pub aside: BorrowedFd<'a>,
}

/// Unpacks an archive, which is not compressed, into the empty directory `dir`.
pub fn unpack(
    dir: BorrowedFd,
    input: &mut dyn Read,
    rules: &Rules,
    kept: Option<Kept>,
    note: &mut Note,
) -> Result<Made, Failed> {
    let mut hear = |bytes: &[u8]| kept.map_or(Ok(()), |kept| kept.recipe.borrow_mut().raw(bytes));
    let mut input = Bounded { input, most: rules.limits.bytes, passed: 0 };
    let made = {
        let mut archive = Archive::heard(&mut input, &mut hear);
        let settings = Settings { owner: rules.owner, set_ids: true, devices: true, attributes: None };
        let made = Made { exact: true, ..Made::default() };
        let mut layer = Layer { root: dir, rules, settings, parent: None, unfinished: Vec::new(), kept, made };
        let nowhere = |e| Failed::new(Path::new(""), "read the layer", e);
        while let Some(entry) = archive.next(note).map_err(nowhere)? {
            let shown = PathBuf::from(std::ffi::OsStr::from_bytes(&entry.path));
            layer
                .put(&entry, &mut archive, &mut |why| note(&shown, why))
                .map_err(|e| Failed::new(&shown, "unpack", e))?;
        }
        layer.finish(None).map_err(|(path, e)| Failed::new(&path, "finish the directory", e))?;
        layer.made
    };
    Ok(Made { bytes: input.passed, ..made })
}

/// No more than so many bytes.
struct Bounded<'a> {
    input: &'a mut dyn Read,
    most: u64,
    passed: u64,
}

impl Read for Bounded<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(into)?;
        self.passed += n as u64;
        if self.passed > self.most {
            return Err(bad(&format!("it is more than {} bytes unpacked, which is the limit", self.most)));
        }
        Ok(n)
    }
}

/// A directory that gets its time, and what else it is to have, when the archive has left it.
struct Unfinished {
    path: PathBuf,
    dir: Rc<OwnedFd>,
    /// Its owner and mode, unless it has them.
    whole: Option<((u32, u32), u32)>,
    time: (i64, u32),
}

struct Layer<'a> {
    root: BorrowedFd<'a>,
    rules: &'a Rules<'a>,
    settings: Settings,
    /// The directory that the last file went to: most of the time, the next one does too.
    parent: Option<(PathBuf, Rc<OwnedFd>)>,
    /// Each below the one before it.
    unfinished: Vec<Unfinished>,
    kept: Option<Kept<'a>>,
    made: Made,
}

/// What stands at a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum There {
    Nothing,
    Whiteout,
    Directory,
    Link,
    Other,
}

fn look(dir: BorrowedFd, name: &CStr) -> io::Result<There> {
    match sys::statx(dir, name) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(There::Nothing),
        Err(e) => Err(e),
        Ok(found) => Ok(match kind(&found) {
            k::S_IFDIR => There::Directory,
            k::S_IFLNK => There::Link,
            k::S_IFCHR if (found.stx_rdev_major, found.stx_rdev_minor) == (0, 0) => There::Whiteout,
            _ => There::Other,
        }),
    }
}

fn exists(e: &io::Error) -> bool {
    e.raw_os_error() == Some(libc::EEXIST)
}

impl Layer<'_> {
    fn put(&mut self, entry: &Entry, archive: &mut Archive, note: &mut dyn FnMut(&str)) -> io::Result<()> {
        let Limits { files, depth, .. } = self.rules.limits;
        self.made.files += 1;
        if self.made.files > files {
            return Err(bad(&format!("it has more than {files} files, which is the limit")));
        }
        let path = inside(&entry.path)?;
        if path.iter().count() > depth.saturating_add(1) {
            return Err(bad(&format!("it is more than {depth} directories deep, which is the limit")));
        }
        self.finish(Some(&path)).map_err(|(_, e)| e)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return self.root_entry(entry) };
        let dir = self.parent(parent)?;
        let dir = dir.as_fd();
        if name.as_bytes().starts_with(WHITEOUT) {
            self.whiteout(dir, name.as_bytes())?;
            return archive.skip(entry.stored.saturating_add(padding(entry.stored)));
        }
        let name = c(name)?;
        match entry.kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(entry, archive, &path, dir, &name, note)
            }
            EntryType::Directory => self.directory(entry, path, dir, &name, note),
            EntryType::Symlink => self.symlink(entry, &path, dir, &name),
            EntryType::Link => self.hard_link(entry, &path, dir, &name),
            EntryType::Char | EntryType::Block | EntryType::Fifo => self.node(entry, &path, dir, &name, note),
            _ => {
                note("left out: a kind of entry that is no file");
                archive.skip(entry.stored.saturating_add(padding(entry.stored)))
            }
        }
    }

    /// `.`, or whatever else means the layer's own directory. It may be nothing else (CVE-2021-29136).
    fn root_entry(&mut self, entry: &Entry) -> io::Result<()> {
        if entry.kind != EntryType::Directory {
            return Err(bad("the layer would replace the directory that it is unpacked to"));
        }
        let dir = Rc::new(path::open(self.root, c"/", k::O_RDONLY | k::O_DIRECTORY, Links::Follow)?);
        self.remember(entry, PathBuf::from("/"), dir)
    }

    fn owner(&self, entry: &Entry) -> io::Result<Option<(u32, u32)>> {
        self.settings.owner(entry.owner.0, entry.owner.1)
    }

    /// What has been made gets its owner, mode, attributes and time, in this order: a change of owner takes set-id bits and
    /// capabilities away, and any change the time.
    fn dress(&self, fd: BorrowedFd, entry: &Entry, note: &mut dyn FnMut(&str)) -> io::Result<()> {
        if let Some((uid, gid)) = self.owner(entry)? {
            sys::chown_open(fd, uid, gid)?;
        }
        sys::chmod_open(fd, entry.mode & 0o7777)?;
        attributes(fd, entry, note)?;
        sys::set_mtime(fd, entry.time.0, entry.time.1)
    }

    /// The same for what cannot be opened but as a place; it has its mode.
    fn dress_place(&self, dir: BorrowedFd, name: &CStr, entry: &Entry) -> io::Result<()> {
        let place = sys::openat(dir, name, k::O_PATH | k::O_NOFOLLOW, 0)?;
        if let Some((uid, gid)) = self.owner(entry)? {
            sys::chown_open(place.as_fd(), uid, gid)?;
        }
        sys::set_mtime(place.as_fd(), entry.time.0, entry.time.1)
    }

    /// Takes away what stands at a name: it is said a second time. A whiteout of this very layer gives way without a word; what has
    /// content is put aside, since the archive has it still.
    fn clear(&mut self, path: &Path, dir: BorrowedFd, name: &CStr) -> io::Result<There> {
        let there = look(dir, name)?;
        match (there, self.kept) {
            (There::Nothing, _) => {}
            (There::Whiteout | There::Link, _) => sys::unlink(dir, name, false)?,
            (There::Directory | There::Other, Some(kept)) => {
                let aside = kept.recipe.borrow_mut().aside(path.as_os_str().as_bytes())?;
                sys::rename_between(dir, name, kept.aside, &aside)?;
            }
            (There::Directory | There::Other, None) => remove::tree(dir, name)?,
        }
        self.made.exact &= there != There::Link;
        Ok(there)
    }

    /// Makes something where nothing is; what is there already is cleared away, once.
    fn make<T>(
        &mut self,
        path: &Path,
        dir: BorrowedFd,
        name: &CStr,
        with: &mut dyn FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        match with() {
            Err(e) if exists(&e) => {
                self.clear(path, dir, name)?;
                with()
            }
            made => made,
        }
    }

    fn file(
        &mut self,
        entry: &Entry,
        archive: &mut Archive,
        path: &Path,
        dir: BorrowedFd,
        name: &CStr,
        note: &mut dyn FnMut(&str),
    ) -> io::Result<()> {
        let flags = k::O_WRONLY | k::O_CREAT | k::O_EXCL | k::O_NOFOLLOW;
        let file = self.make(path, dir, name, &mut || sys::openat(dir, name, flags, 0o600))?;
        content(entry, archive, file.as_fd())?;
        if let Some(kept) = self.kept {
            let (path, whole) = (path.as_os_str().as_bytes(), [(0, entry.stored)]);
            for (offset, size) in entry.sparse.as_ref().map_or(&whole[..], |(parts, _)| parts) {
                kept.recipe.borrow_mut().content(path, *offset, *size)?;
            }
        }
        archive.skip(padding(entry.stored))?;
        self.dress(file.as_fd(), entry, note)
    }

    fn directory(
        &mut self,
        entry: &Entry,
        path: PathBuf,
        dir: BorrowedFd,
        name: &CStr,
        note: &mut dyn FnMut(&str),
    ) -> io::Result<()> {
        let mut hides = false;
        match sys::mkdir(dir, name, 0o700) {
            Err(e) if exists(&e) => {
                if look(dir, name)? != There::Directory {
                    // Taken away below, and made anew: what is below does not shine through.
                    hides = self.clear(&path, dir, name)? == There::Whiteout;
                    sys::mkdir(dir, name, 0o700)?;
                }
            }
            made => made?,
        }
        let made = Rc::new(sys::openat(dir, name, k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW, 0)?);
        if hides {
            self.hide_below(made.as_fd())?;
        }
        attributes(made.as_fd(), entry, note)?;
        self.parent = Some((path.clone(), Rc::clone(&made)));
        self.remember(entry, path, made)
    }

    fn remember(&mut self, entry: &Entry, path: PathBuf, dir: Rc<OwnedFd>) -> io::Result<()> {
        // Said once more, the last word counts.
        if self.unfinished.last().is_some_and(|last| last.path == path) {
            self.unfinished.pop();
        }
        let owner = self.owner(entry)?.unwrap_or((u32::MAX, u32::MAX));
        self.unfinished.push(Unfinished { path, dir, whole: Some((owner, entry.mode & 0o7777)), time: entry.time });
        Ok(())
    }

    fn symlink(&mut self, entry: &Entry, path: &Path, dir: BorrowedFd, name: &CStr) -> io::Result<()> {
        if entry.link.is_empty() || entry.link.len() >= LONGEST {
            return Err(bad("a symbolic link to nothing, or to more than a path"));
        }
        let target = CString::new(&entry.link[..])?;
        self.make(path, dir, name, &mut || sys::symlink(&target, dir, name))?;
        self.dress_place(dir, name, entry)
    }

    /// Another name for a file of this layer.
    fn hard_link(&mut self, entry: &Entry, path: &Path, dir: BorrowedFd, name: &CStr) -> io::Result<()> {
        let target = inside(&entry.link)?;
        let said = |e: io::Error| io::Error::new(e.kind(), format!("a hard link to {}: {e}", target.display()));
        let (Some(parent), Some(last)) = (target.parent(), target.file_name()) else {
            return Err(bad("a hard link to a directory"));
        };
        let last = c(last)?;
        let place = k::O_PATH | k::O_DIRECTORY;
        let from = path::open(self.root, &c(parent.as_os_str())?, place, Links::Follow).map_err(said)?;
        let found = sys::statx(from.as_fd(), &last).map_err(said)?;
        match look(from.as_fd(), &last).map_err(said)? {
            There::Directory => return Err(bad("a hard link to a directory")),
            There::Whiteout => return Err(said(io::Error::from_raw_os_error(libc::ENOENT))),
            _ => {}
        }
        // To itself: it is there.
        if sys::statx(dir, name).is_ok_and(|there| identity(&there) == identity(&found)) {
            return Ok(());
        }
        self.make(path, dir, name, &mut || sys::link(from.as_fd(), &last, dir, name)).map_err(said)
    }

    fn node(
        &mut self,
        entry: &Entry,
        path: &Path,
        dir: BorrowedFd,
        name: &CStr,
        note: &mut dyn FnMut(&str),
    ) -> io::Result<()> {
        let what = match entry.kind {
            EntryType::Char => k::S_IFCHR,
            EntryType::Block => k::S_IFBLK,
            _ => k::S_IFIFO,
        };
        if what == k::S_IFCHR && entry.device == 0 {
            note("left out: a device 0:0, by which overlayfs means that something is gone");
            return Ok(());
        }
        let device = if what == k::S_IFIFO { 0 } else { entry.device };
        match self.make(path, dir, name, &mut || sys::mknod(dir, name, what | 0o600, device)) {
            // In a user namespace.
            Err(e) if e.raw_os_error() == Some(libc::EPERM) && what != k::S_IFIFO => {
                note("left out: a device, which only root of this host can make");
                return Ok(());
            }
            made => made?,
        }
        if let Some((uid, gid)) = self.owner(entry)? {
            sys::chown(dir, name, uid, gid)?;
        }
        sys::chmod(dir, name, entry.mode & 0o7777)?;
        self.dress_place(dir, name, entry)
    }

    /// Something that lower layers have is gone. What this layer itself has under that name stays (OCI image specification,
    /// layer.md, "Whiteouts"), but hides what lower ones have.
    fn whiteout(&mut self, dir: BorrowedFd, name: &[u8]) -> io::Result<()> {
        if name == OPAQUE {
            return self.hide_below(dir);
        }
        if name.starts_with(AUFS) {
            return Ok(());
        }
        let gone = name.get(WHITEOUT.len()..).unwrap_or_default();
        if matches!(gone, b"" | b"." | b"..") {
            return Err(bad("a whiteout of nothing, or of the directory that it is in"));
        }
        let gone = CString::new(gone)?;
        match sys::mknod(dir, &gone, k::S_IFCHR, 0) {
            Err(e) if exists(&e) => {
                if look(dir, &gone)? == There::Directory {
                    let there = sys::openat(dir, &gone, k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW, 0)?;
                    self.hide_below(there.as_fd())?;
                }
                Ok(())
            }
            made => made,
        }
    }

    fn hide_below(&self, dir: BorrowedFd) -> io::Result<()> {
        sys::set_attribute(dir, self.rules.opaque, b"y").map_err(|e| {
            let why =
                format!("{}: {e}: the filesystem keeps no such attributes", self.rules.opaque.to_string_lossy());
            io::Error::new(e.kind(), why)
        })
    }

    /// The directory that a file goes to. What is missing on the way is made; what the archive had left keeps its time.
    fn parent(&mut self, path: &Path) -> io::Result<Rc<OwnedFd>> {
        if let Some((_, dir)) = self.parent.as_ref().filter(|(kept, _)| kept == path) {
            return Ok(Rc::clone(dir));
        }
        let whole = k::O_RDONLY | k::O_DIRECTORY;
        let dir = match path::open(self.root, &c(path.as_os_str())?, whole, Links::Follow) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Rc::new(self.missing(path)?),
            found => {
                let dir = Rc::new(found?);
                if path.parent().is_some() && !self.unfinished.iter().any(|unfinished| unfinished.path == path) {
                    let time = crate::walk::time(&sys::statx(dir.as_fd(), c"")?);
                    let (path, dir) = (path.to_owned(), Rc::clone(&dir));
                    self.unfinished.push(Unfinished { path, dir, whole: None, time });
                }
                dir
            }
        };
        self.parent = Some((path.to_owned(), Rc::clone(&dir)));
        Ok(dir)
    }

    /// Directories that an archive does not name, but has files in.
    fn missing(&mut self, path: &Path) -> io::Result<OwnedFd> {
        let whole = k::O_RDONLY | k::O_DIRECTORY;
        let mut here = path::open(self.root, c"/", whole, Links::Follow)?;
        let mut so_far = PathBuf::from("/");
        for name in path.iter().skip(1) {
            so_far.push(name);
            here = match path::open(self.root, &c(so_far.as_os_str())?, whole, Links::Follow) {
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                    let name = c(name)?;
                    // Where a link leads to nothing, this is EEXIST, and an error.
                    sys::mkdir(here.as_fd(), &name, 0o700)?;
                    let flags = whole | k::O_NOFOLLOW;
                    let made = sys::openat(here.as_fd(), &name, flags, 0)?;
                    if let Some((uid, gid)) = self.settings.owner(0, 0)? {
                        sys::chown_open(made.as_fd(), uid, gid)?;
                    }
                    sys::chmod_open(made.as_fd(), 0o755)?;
                    made
                }
                found => found?,
            };
        }
        Ok(here)
    }

    /// Finishes the directories that `path` is not in; all of them without one.
    fn finish(&mut self, path: Option<&Path>) -> Result<(), (PathBuf, io::Error)> {
        let left = |dir: &Unfinished| path.is_none_or(|path| !path.starts_with(&dir.path));
        while self.unfinished.last().is_some_and(left) {
            let Some(Unfinished { path, dir, whole, time }) = self.unfinished.pop() else { break };
            let finish = || {
                if let Some(((uid, gid), mode)) = whole {
                    sys::chown_open(dir.as_fd(), uid, gid)?;
                    sys::chmod_open(dir.as_fd(), mode)?;
                }
                sys::set_mtime(dir.as_fd(), time.0, time.1)
            };
            finish().map_err(|e| (path, e))?;
        }
        Ok(())
    }
}

/// The attributes that an archive gives a file. Those that the filesystem does not keep, or that we may not set, are told.
fn attributes(fd: BorrowedFd, entry: &Entry, note: &mut dyn FnMut(&str)) -> io::Result<()> {
    for (name, value) in &entry.attributes {
        if NOT_TAKEN.iter().any(|not| name.starts_with(not)) {
            continue;
        }
        let shown = String::from_utf8_lossy(name);
        let Ok(c_name) = CString::new(&name[..]) else {
            return Err(bad("an extended attribute with a NUL byte in its name"));
        };
        match sys::set_attribute(fd, &c_name, value) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EPERM | libc::EINVAL)) => {
                note(&format!("without its attribute {shown}: {e}"));
            }
            Err(e) => return Err(io::Error::new(e.kind(), format!("its attribute {shown}: {e}"))),
            Ok(()) => {}
        }
    }
    Ok(())
}
