//! A file tree copied from one place to another, by descriptors alone: [`Walk`] reads, [`put`] writes.
//!
//! Nothing is read outside of the tree that is copied, and nothing is written outside of the one that is made, whoever
//! renames and exchanges things in either of them meanwhile. Directories get their mode and time when they are full.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use linux_raw_sys::general as k;

use crate::path::{self, Links};
use crate::put::{self, Attributes, Dress};
use crate::sys;
use crate::walk::{self, Failed, Identity, Note, Place, Walk, What, errno, identity, kind};

/// Whom the kernel shows where a file's owner has no id.
const NOBODY: u32 = 65534;

/// A range of user and group ids that counts from 0 for those inside of a user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The user that 0 inside is.
    pub users: u32,
    /// The group that 0 inside is.
    pub groups: u32,
    /// How many there are.
    pub count: u32,
}

impl Ids {
    /// The same ids inside as outside.
    pub const SAME: Ids = Ids { users: 0, groups: 0, count: u32::MAX };

    /// What a file's owner is inside; nobody if he has no id there.
    pub fn inside(self, uid: u32, gid: u32) -> (u32, u32) {
        let one = |id: u32, first: u32| id.checked_sub(first).filter(|id| *id < self.count).unwrap_or(NOBODY);
        (one(uid, self.users), one(gid, self.groups))
    }

    /// What an owner inside is for us. None if there is no such id.
    pub fn outside(self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        let one = |id: u32, first: u32| if id < self.count { first.checked_add(id) } else { None };
        one(uid, self.users).zip(one(gid, self.groups))
    }
}

/// Whom copies belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Who makes them.
    Maker,
    /// Root inside.
    Root(Ids),
    /// The original's owner, who has his ids by one range here and by another one there. If he has none there, or we may
    /// not give files away, it is an error.
    Kept(Ids, Ids),
    /// The same, but root inside for whom has no id, and ours what we may not give away.
    Tried(Ids, Ids),
}

/// What a copy keeps of the original.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whom it belongs to.
    pub owner: Owner,
    /// Set-user-id and set-group-id bits of files.
    pub set_ids: bool,
    /// Devices are copied, as nodes; otherwise they are left out.
    pub devices: bool,
    /// Extended attributes.
    pub attributes: Option<Attributes>,
}

impl Settings {
    /// Whom the copy of a file belongs to that has this owner.
    pub(crate) fn owner(&self, uid: u32, gid: u32) -> io::Result<Option<(u32, u32)>> {
        let unknown = || {
            io::Error::other(format!(
                "its owner {uid}:{gid} does not exist on the other side, which has ids of its own"
            ))
        };
        match self.owner {
            Owner::Maker => Ok(None),
            Owner::Root(to) => Ok(to.outside(0, 0)),
            Owner::Kept(from, to) => {
                let (uid, gid) = from.inside(uid, gid);
                to.outside(uid, gid).map(Some).ok_or_else(unknown)
            }
            Owner::Tried(from, to) => {
                let (uid, gid) = from.inside(uid, gid);
                Ok(to.outside(uid, gid).or(to.outside(0, 0)))
            }
        }
    }

    /// Whether a directory that is there already takes over what the original has.
    pub(crate) fn dresses_existing(&self) -> bool {
        matches!(self.owner, Owner::Kept(..))
    }

    /// What the copy of a file of this type (`S_IF*`) is given.
    pub(crate) fn dress<'fd>(
        &self,
        kind: u32,
        mode: u32,
        owner: (u32, u32),
        time: (i64, u32),
    ) -> io::Result<Dress<'fd>> {
        let drop = if self.set_ids || kind == k::S_IFDIR { 0 } else { put::SET_IDS };
        Ok(Dress {
            mode: mode & !drop,
            owner: self.owner(owner.0, owner.1)?,
            insist: !matches!(self.owner, Owner::Tried(..)),
            time: Some(time),
            attributes: None,
        })
    }

    fn dress_like<'fd>(&self, found: &k::statx, from: Option<BorrowedFd<'fd>>) -> io::Result<Dress<'fd>> {
        let owner = (found.stx_uid, found.stx_gid);
        let dress = self.dress(kind(found), u32::from(found.stx_mode), owner, walk::time(found))?;
        Ok(Dress { attributes: from.zip(self.attributes), ..dress })
    }
}

/// Makes or overwrites what is at `to` with what is at `from`. If a directory is at both, what is in the one comes to what
/// is in the other; if `to` has no name, it is such a directory.
pub fn tree(from: Place, to: &Place, settings: &Settings, note: &mut Note) -> Result<(), Failed> {
    let mut walk = Walk::new(from);
    // The directories on the way down, and whether we made them.
    let mut open: Vec<(OwnedFd, bool)> = Vec::new();
    let mut several: HashMap<Identity, PathBuf> = HashMap::new();
    while let Some((found, what)) = walk.step(note)? {
        if let What::Done(from) = what {
            if let Some((dir, _)) = open.pop().filter(|(_, new)| *new || settings.dresses_existing()) {
                let dressed =
                    settings.dress_like(&found, Some(from.as_fd())).and_then(|d| put::dress(dir.as_fd(), &d));
                dressed.map_err(|e| Failed::new(walk.path(), "finish the directory", e))?;
            }
            continue;
        }
        let failed = |e| Failed::new(walk.path(), "write", e);
        let name = match open.last() {
            Some(_) => Some(last(walk.path()).map_err(failed)?),
            None => to.name.clone(),
        };
        let dir = open.last().map_or(to.dir.as_fd(), |(dir, _)| dir.as_fd());
        if matches!(what, What::Dir) {
            let made = match &name {
                Some(name) => put::directory(dir, name),
                None => sys::openat(dir, c".", k::O_RDONLY | k::O_DIRECTORY, 0).map(|dir| (dir, false)),
            };
            let (made, new) = made.map_err(failed)?;
            if open.is_empty() {
                let seen = sys::statx(made.as_fd(), c"").map_err(failed)?;
                walk.avoid = Some(identity(&seen));
            }
            open.push((made, new));
            continue;
        }
        let Some(name) = name else { return Err(failed(errno(libc::EISDIR))) };
        let top = open.first().map(|(dir, _)| dir.as_fd());
        let done = match what {
            What::File(from) => match several.get(&identity(&found)).zip(top) {
                Some((first, top)) if link_again(top, first, dir, &name).is_ok() => Ok(()),
                _ => file(from.as_fd(), &found, dir, &name, settings),
            },
            What::Link(target) => {
                settings.dress_like(&found, None).and_then(|dress| put::link(dir, &name, &target, &dress))
            }
            _ => node(&found, dir, &name, settings, &mut |why| note(walk.path(), why)),
        };
        done.map_err(|e| Failed::new(walk.path(), "write", e))?;
        if kind(&found) == k::S_IFREG && found.stx_nlink > 1 && top.is_some() {
            several.entry(identity(&found)).or_insert_with(|| walk.path().to_owned());
        }
    }
    Ok(())
}

fn last(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.file_name().unwrap_or_default().as_bytes())?)
}

/// Another name for what was copied to `first`, below `top`.
fn link_again(top: BorrowedFd, first: &Path, dir: BorrowedFd, name: &CStr) -> io::Result<()> {
    let parent = match first.parent().map(|parent| parent.as_os_str().as_bytes()) {
        None | Some(b"") => c".".to_owned(),
        Some(parent) => CString::new(parent)?,
    };
    let parent = path::open(top, &parent, k::O_PATH | k::O_DIRECTORY, Links::Refuse)?;
    put::hard_link(parent.as_fd(), &last(first)?, dir, name)
}

fn file(from: BorrowedFd, found: &k::statx, dir: BorrowedFd, name: &CStr, settings: &Settings) -> io::Result<()> {
    let dress = settings.dress_like(found, Some(from))?;
    put::file(dir, name, &dress, &mut |to| content(from, found, to))
}

fn node(
    found: &k::statx,
    dir: BorrowedFd,
    name: &CStr,
    settings: &Settings,
    note: &mut dyn FnMut(&str),
) -> io::Result<()> {
    let device = packed(found.stx_rdev_major, found.stx_rdev_minor);
    let dress = settings.dress_like(found, None)?;
    make_node(dir, name, kind(found), device, &dress, settings, note)
}

/// A device number as `mknod(2)` takes it (the kernel's `new_encode_dev`).
pub(crate) fn packed(major: u32, minor: u32) -> u32 {
    minor & 0xff | (major & 0xfff) << 8 | (minor & 0xf_ff00) << 12
}

/// A fifo, or a device where that is wanted and allowed; what is left out is told.
pub(crate) fn make_node(
    dir: BorrowedFd,
    name: &CStr,
    kind: u32,
    device: u32,
    dress: &Dress,
    settings: &Settings,
    note: &mut dyn FnMut(&str),
) -> io::Result<()> {
    let fifo = kind == k::S_IFIFO;
    if !fifo && !settings.devices {
        note("a device");
        return Ok(());
    }
    match put::node(dir, name, kind, if fifo { 0 } else { device }, dress) {
        Err(e) if e.raw_os_error() == Some(libc::EPERM) && !fifo => {
            note("a device, which only root can make");
            Ok(())
        }
        done => done,
    }
}

/// Copies what is in a file, as long as it was when it was looked at; what somebody appends meanwhile does not count. Holes
/// stay holes.
fn content(from: BorrowedFd, found: &k::statx, to: BorrowedFd) -> io::Result<()> {
    let size = found.stx_size;
    if size == 0 {
        // Files of proc and its like do not know how long they are.
        return copy_bytes(from, to, u64::MAX).map(drop);
    }
    if found.stx_blocks.saturating_mul(512) >= size {
        return copy_bytes(from, to, size).map(drop);
    }
    let mut at = 0;
    while at < size {
        let data = match sys::seek(from, at, k::SEEK_DATA) {
            Err(e) if e.raw_os_error() == Some(libc::ENXIO) => size,
            Err(_) => at, // a filesystem that does not know
            Ok(data) => data,
        };
        if data >= size {
            break;
        }
        let end =
            sys::seek(from, data, k::SEEK_HOLE).ok().filter(|end| *end > data).map_or(size, |end| end.min(size));
        sys::seek(from, data, k::SEEK_SET)?;
        sys::seek(to, data, k::SEEK_SET)?;
        let copied = copy_bytes(from, to, end - data)?;
        at = data + copied;
        if at < end {
            // Somebody has shortened it.
            return sys::set_length(to, at);
        }
    }
    sys::set_length(to, size)
}

/// Copies up to `most` bytes; tells how many there were.
fn copy_bytes(from: BorrowedFd, to: BorrowedFd, most: u64) -> io::Result<u64> {
    let mut buffer = vec![0; most.clamp(4096, 128 << 10) as usize];
    let mut left = most;
    while left > 0 {
        let want = left.min(buffer.len() as u64) as usize;
        let got = match sys::read(from, buffer.get_mut(..want).unwrap_or_default()) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            got => got?,
        };
        if got == 0 {
            break;
        }
        sys::write_all(to, buffer.get(..got).unwrap_or_default())?;
        left -= got as u64;
    }
    Ok(most - left)
}
