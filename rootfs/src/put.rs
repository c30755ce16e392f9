//! Files, directories, links and nodes made by descriptor, while somebody hostile may be at work in the same directory.
//!
//! Everything is made under a name that nobody knows beforehand, gets its owner, mode and time through its descriptor, and
//! is then renamed to where it belongs: no reader sees half of a file, and no link that waits at the name is followed. The
//! one exception is a file that something is mounted on: a rename would take it out from under the mount (and detach that,
//! wherever it is mounted), so it is overwritten in place.

use std::ffi::{CStr, CString};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use linux_raw_sys::general as k;

use crate::sys;
use crate::walk::{errno, kind};

/// The bits of a mode that are not the file type.
const MODE: u32 = 0o7777;

/// Set-user-id and set-group-id.
pub const SET_IDS: u32 = 0o6000;

/// What a file is given besides its content.
#[derive(Clone, Copy, Debug)]
pub struct Dress<'fd> {
    /// Permissions, with the set-id and sticky bits.
    pub mode: u32,
    /// User and group; None leaves it with whom the kernel gave it to.
    pub owner: Option<(u32, u32)>,
    /// Fail if the owner cannot be set.
    pub insist: bool,
    /// When it was changed: seconds and nanoseconds. None: now.
    pub time: Option<(i64, u32)>,
    /// Where extended attributes come from.
    pub attributes: Option<(BorrowedFd<'fd>, Attributes)>,
}

/// Which extended attributes are copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attributes {
    /// `user.*` alone.
    User,
    /// `security.capability` too.
    All,
}

impl Dress<'_> {
    /// Puts it on what `fd` is open on. The owner first: a change of it takes set-id bits and capabilities away.
    fn put_on(&self, fd: BorrowedFd, may_chmod: bool) -> io::Result<()> {
        let mut mode = self.mode & MODE;
        if let Some((uid, gid)) = self.owner {
            match sys::chown_open(fd, uid, gid) {
                // It stays ours, and then nobody is to become us by it.
                Err(e) if matches!(e.raw_os_error(), Some(libc::EPERM | libc::EINVAL)) && !self.insist => {
                    mode &= !SET_IDS;
                }
                done => done?,
            }
        }
        if may_chmod {
            sys::chmod_open(fd, mode)?;
        }
        if let Some((from, which)) = self.attributes {
            copy_attributes(from, fd, which)?;
        }
        self.time.map_or(Ok(()), |(seconds, nanoseconds)| sys::set_mtime(fd, seconds, nanoseconds))
    }
}

fn copy_attributes(from: BorrowedFd, to: BorrowedFd, which: Attributes) -> io::Result<()> {
    // The kernel's own limits, for the list and for each value.
    let mut list = vec![0; 64 << 10];
    let used = match sys::list_attributes(from, &mut list) {
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(()),
        used => used?,
    };
    let mut value = Vec::new();
    for name in list.get(..used).unwrap_or_default().split_inclusive(|b| *b == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        let bytes = name.to_bytes();
        // Overlayfs keeps its own notes there, which mean something else in another tree.
        let users = bytes.starts_with(b"user.") && !bytes.starts_with(b"user.overlay.");
        let powers = which == Attributes::All && bytes == b"security.capability";
        if !users && !powers {
            continue;
        }
        value.resize(64 << 10, 0);
        let set = sys::attribute(from, name, &mut value)
            .and_then(|length| sys::set_attribute(to, name, value.get(..length).unwrap_or_default()));
        match set {
            Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENODATA)) => {}
            done => done?,
        }
    }
    Ok(())
}

/// A name that nobody else has, taken away again unless it is renamed.
struct Temporary<'fd> {
    dir: BorrowedFd<'fd>,
    name: CString,
    renamed: bool,
}

impl Temporary<'_> {
    /// Has `with` make something under such a name.
    fn make<T>(dir: BorrowedFd, mut with: impl FnMut(&CStr) -> io::Result<T>) -> io::Result<(Temporary, T)> {
        for _ in 0..16 {
            let random = RandomState::new().build_hasher().finish();
            let name = CString::new(format!(".new-{random:016x}"))?;
            match with(&name) {
                Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {}
                Err(e) => return Err(e),
                Ok(made) => return Ok((Temporary { dir, name, renamed: false }, made)),
            }
        }
        Err(errno(libc::EEXIST))
    }

    /// Gives it the name it is made for.
    fn rename(mut self, to: &CStr) -> io::Result<()> {
        sys::rename(self.dir, &self.name, to)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = sys::unlink(self.dir, &self.name, false);
        }
    }
}

/// Looks whether something of type `new` (`S_IF*`, no directory) may take the place at `name`. True if that is a regular
/// file that something is mounted on.
///
/// A device, fifo or socket gives way to its like alone: nobody means to put a file in the place of `/dev/null`.
fn give_way(dir: BorrowedFd, name: &CStr, new: u32) -> io::Result<bool> {
    let there = match sys::statx(dir, name) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(false),
        there => there?,
    };
    let mounted = there.stx_attributes & u64::from(k::STATX_ATTR_MOUNT_ROOT) != 0;
    match kind(&there) {
        k::S_IFDIR => Err(io::Error::other("a directory is there, and does not give way to what is none")),
        k::S_IFREG if mounted && new != k::S_IFREG => Err(errno(libc::EBUSY)),
        k::S_IFREG => Ok(mounted),
        k::S_IFLNK => Ok(false),
        old if old == new && !mounted => Ok(false),
        _ => Err(io::Error::other("a device, fifo or socket is there, and does not give way")),
    }
}

/// Makes the regular file `name`, or puts it in the place of what is there. `fill` writes what is in it.
pub fn file(
    dir: BorrowedFd,
    name: &CStr,
    dress: &Dress,
    fill: &mut dyn FnMut(BorrowedFd) -> io::Result<()>,
) -> io::Result<()> {
    if give_way(dir, name, k::S_IFREG)? {
        let there = sys::openat(dir, name, k::O_WRONLY | k::O_NOFOLLOW | k::O_NONBLOCK | k::O_NOCTTY, 0)?;
        if kind(&sys::statx(there.as_fd(), c"")?) != k::S_IFREG {
            return Err(errno(libc::EBUSY));
        }
        sys::set_length(there.as_fd(), 0)?;
        return fill(there.as_fd());
    }
    let (temporary, made) = Temporary::make(dir, |new| {
        sys::openat(dir, new, k::O_WRONLY | k::O_CREAT | k::O_EXCL | k::O_NOFOLLOW, 0o600)
    })?;
    fill(made.as_fd())?;
    dress.put_on(made.as_fd(), true)?;
    temporary.rename(name)
}

/// Makes the directory `name`, for us alone so far, or takes the one that is there. True if it is new.
pub fn directory(dir: BorrowedFd, name: &CStr) -> io::Result<(OwnedFd, bool)> {
    let new = match sys::mkdir(dir, name, 0o700) {
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => false,
        done => done.map(|()| true)?,
    };
    match sys::openat(dir, name, k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW, 0) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOTDIR | libc::ELOOP)) => {
            Err(io::Error::other("what is there is no directory, and does not give way to one"))
        }
        opened => Ok((opened?, new)),
    }
}

/// Dresses an open directory.
pub fn dress(dir: BorrowedFd, dress: &Dress) -> io::Result<()> {
    dress.put_on(dir, true)
}

/// Makes the symbolic link `name`, or puts it in the place of what is there.
pub fn link(dir: BorrowedFd, name: &CStr, target: &CStr, dress: &Dress) -> io::Result<()> {
    give_way(dir, name, k::S_IFLNK)?;
    let (temporary, ()) = Temporary::make(dir, |new| sys::symlink(target, dir, new))?;
    dress_new(&temporary, k::S_IFLNK, dress)?;
    temporary.rename(name)
}

/// Makes the device or fifo `name` (`kind` is `S_IF*`), or puts it in the place of its like. Its mode is subject to the
/// umask.
pub fn node(dir: BorrowedFd, name: &CStr, kind: u32, device: u32, dress: &Dress) -> io::Result<()> {
    give_way(dir, name, kind)?;
    let mode = kind | dress.mode & MODE;
    let (temporary, ()) = Temporary::make(dir, |new| sys::mknod(dir, new, mode, device))?;
    dress_new(&temporary, kind, dress)?;
    temporary.rename(name)
}

/// Dresses what cannot be opened but as a place. If it is not what was made, somebody exchanged it, and nothing of theirs
/// is touched.
fn dress_new(made: &Temporary, what: u32, dress: &Dress) -> io::Result<()> {
    let open = sys::openat(made.dir, &made.name, k::O_PATH | k::O_NOFOLLOW, 0)?;
    let found = sys::statx(open.as_fd(), c"")?;
    if kind(&found) != what || found.stx_nlink != 1 {
        return Err(io::Error::other("somebody exchanged it while it was made"));
    }
    dress.put_on(open.as_fd(), false)
}

/// Makes `name` one more name of the file `from` in `from_dir`, or puts it in the place of what is there.
pub fn hard_link(from_dir: BorrowedFd, from: &CStr, dir: BorrowedFd, name: &CStr) -> io::Result<()> {
    let found = sys::statx(from_dir, from)?;
    if give_way(dir, name, kind(&found))? {
        return Err(errno(libc::EBUSY));
    }
    let (temporary, ()) = Temporary::make(dir, |new| sys::link(from_dir, from, dir, new))?;
    // Where both are names of one file already, rename(2) does nothing: the name is taken away here, as it is when it
    // was renamed and is not there any more.
    sys::rename(dir, &temporary.name, name)
}
