//! A file tree copied from one place to another, by descriptors alone: [`Walk`] reads, [`put`] writes.
//!
//! Nothing is read outside of the tree that is copied, and nothing is written outside of the one that is made, whoever
//! renames and exchanges things in either of them meanwhile. Directories get their mode and time when they are full.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use linux_raw_sys::general as k;

use crate::path::{self, Links};
use crate::put::{self, Attributes, Dress};
use crate::sys;
use crate::walk::{self, Failed, Note, Place, Several, Walk, What, errno, identity, kind};

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
    let mut several = Several::new();
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
            _ => {
                let mut left_out = None;
                let made = node(&found, dir, &name, settings, &mut |why| left_out = Some(why.to_owned()));
                match left_out {
                    // It is all that was asked for.
                    Some(why) if top.is_none() => Err(io::Error::other(format!("it is {why}"))),
                    Some(why) => {
                        note(walk.path(), &why);
                        made
                    }
                    None => made,
                }
            }
        };
        done.map_err(|e| Failed::new(walk.path(), "write", e))?;
        if kind(&found) == k::S_IFREG && found.stx_nlink > 1 && top.is_some() {
            several.insert(identity(&found), walk.path().to_owned());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use crate::walk::{Base, DEEPEST};
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::sync::atomic::{AtomicBool, Ordering};

    const PLAIN: Settings = Settings { owner: Owner::Maker, set_ids: true, devices: false, attributes: None };

    fn copy(scratch: &Scratch, from: &str, to: &str) -> Result<Vec<String>, Failed> {
        let mut words = Vec::new();
        let settings = Settings { attributes: Some(Attributes::User), ..PLAIN };
        let to = scratch.place(".", to);
        tree(scratch.place(".", from), &to, &settings, &mut |path, why| {
            words.push(format!("{}: {why}", path.display()));
        })?;
        Ok(words)
    }

    #[test]
    fn ids_are_counted_from_the_first() {
        let ids = Ids { users: 1000, groups: 2000, count: 10 };
        assert_eq!(ids.inside(1000, 2009), (0, 9));
        assert_eq!(ids.inside(999, 2010), (NOBODY, NOBODY));
        assert_eq!(ids.outside(0, 9), Some((1000, 2009)));
        assert_eq!(ids.outside(10, 0), None);
        assert_eq!(Ids { users: u32::MAX, groups: 0, count: 2 }.outside(1, 1), None);
        assert_eq!(Ids::SAME.inside(7, 8), (7, 8));
        let kept = |owner| Settings { owner, ..PLAIN }.owner(50, 5);
        assert!(kept(Owner::Kept(Ids::SAME, ids)).is_err());
        assert_eq!(kept(Owner::Tried(Ids::SAME, ids)).unwrap(), Some((1000, 2000)));
        assert_eq!(kept(Owner::Kept(ids, Ids::SAME)).unwrap(), Some((NOBODY, NOBODY)));
        assert_eq!(kept(Owner::Root(ids)).unwrap(), Some((1000, 2000)));
        assert_eq!(packed(0x123, 0x4_5678), 0x4561_2378);
    }

    #[test]
    fn a_tree_arrives_as_it_is() {
        let scratch = Scratch::new();
        scratch.dir("from/sub/empty");
        fs::write(scratch.at("from/file"), vec![b'x'; 300_000]).unwrap();
        fs::write(scratch.at("from/nothing"), "").unwrap();
        fs::write(scratch.at("from/sub/odd name\n"), "odd").unwrap();
        fs::hard_link(scratch.at("from/file"), scratch.at("from/sub/same")).unwrap();
        symlink("/etc/passwd", scratch.at("from/sub/link")).unwrap();
        let _socket = UnixListener::bind(scratch.at("from/socket")).unwrap();
        let old = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
        let file = fs::File::open(scratch.at("from/file")).unwrap();
        file.set_modified(old).unwrap();
        sys::set_attribute(file.as_fd(), c"user.note", b"yes").ok();
        sys::mknod(scratch.open("from").as_fd(), c"fifo", k::S_IFIFO | 0o600, 0).unwrap();
        fs::set_permissions(scratch.at("from/file"), fs::Permissions::from_mode(0o4710)).unwrap();
        fs::set_permissions(scratch.at("from/sub"), fs::Permissions::from_mode(0o555)).unwrap();
        fs::File::open(scratch.at("from/sub")).unwrap().set_modified(old).unwrap();

        assert_eq!(copy(&scratch, "from", "to").unwrap(), ["socket: a socket"]);
        let wanted: Vec<_> = scratch.all("from").into_iter().filter(|path| path != "socket").collect();
        assert_eq!(scratch.all("to"), wanted);
        let file = fs::metadata(scratch.at("to/file")).unwrap();
        assert_eq!((file.mode() & 0o7777, file.len(), file.modified().unwrap()), (0o4710, 300_000, old));
        assert_eq!((file.ino(), file.nlink()), (fs::metadata(scratch.at("to/sub/same")).unwrap().ino(), 2));
        let sub = fs::metadata(scratch.at("to/sub")).unwrap();
        assert_eq!((sub.mode() & 0o7777, sub.modified().unwrap()), (0o555, old));
        assert_eq!(fs::read_link(scratch.at("to/sub/link")).unwrap(), Path::new("/etc/passwd"));
        assert!(fs::metadata(scratch.at("to/fifo")).unwrap().file_type().is_fifo());
        let mut value = [0; 8];
        let copied = fs::File::open(scratch.at("to/file")).unwrap();
        if let Ok(length) = sys::attribute(file_of(&scratch).as_fd(), c"user.note", &mut value) {
            assert_eq!(sys::attribute(copied.as_fd(), c"user.note", &mut value).unwrap(), length);
        }
        // Once more, onto itself: nothing is in the way of its like.
        for path in ["from/sub", "to/sub"] {
            fs::set_permissions(scratch.at(path), fs::Permissions::from_mode(0o755)).unwrap();
        }
        copy(&scratch, "from", "to").unwrap();
        assert_eq!(scratch.all("to"), wanted);
    }

    fn file_of(scratch: &Scratch) -> fs::File {
        fs::File::open(scratch.at("from/file")).unwrap()
    }

    #[test]
    fn holes_stay_holes() {
        let scratch = Scratch::new();
        let from = fs::File::create(scratch.at("from")).unwrap();
        from.set_len(1 << 36).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&from, b"far", 1 << 35).unwrap();
        copy(&scratch, "from", "to").unwrap();
        let to = fs::File::open(scratch.at("to")).unwrap();
        assert_eq!(to.metadata().unwrap().len(), 1 << 36);
        assert!(to.metadata().unwrap().blocks() < 10_000);
        let mut read = [0; 3];
        std::os::unix::fs::FileExt::read_exact_at(&to, &mut read, 1 << 35).unwrap();
        assert_eq!(&read, b"far");
    }

    #[test]
    fn what_is_in_the_way_gives_way_or_not() {
        let scratch = Scratch::new();
        let words = |result: Result<Vec<String>, Failed>| result.unwrap_err().to_string();
        fs::write(scratch.at("file"), "new").unwrap();
        fs::write(scratch.at("precious"), "precious").unwrap();
        symlink("precious", scratch.at("link")).unwrap();
        copy(&scratch, "file", "link").unwrap();
        assert_eq!((scratch.read("link"), scratch.read("precious")), ("new".into(), "precious".into()));
        assert!(!scratch.at("link").is_symlink());
        fs::hard_link(scratch.at("precious"), scratch.at("hard")).unwrap();
        copy(&scratch, "file", "hard").unwrap();
        assert_eq!((scratch.read("hard"), scratch.read("precious")), ("new".into(), "precious".into()));
        sys::mknod(scratch.open(".").as_fd(), c"fifo", k::S_IFIFO | 0o600, 0).unwrap();
        assert!(words(copy(&scratch, "file", "fifo")).contains("does not give way"));
        scratch.dir("dir/sub");
        assert!(words(copy(&scratch, "file", "dir")).contains("a directory is there"));
        assert!(words(copy(&scratch, "dir", "file")).contains("no directory"));
        symlink("dir", scratch.at("dirlink")).unwrap();
        assert!(words(copy(&scratch, "dir", "dirlink")).contains("no directory"));
        assert_eq!(scratch.read("file"), "new");
        assert!(scratch.all(".").iter().all(|path| !path.contains(".new-")), "nothing temporary stays");
        // Into itself: what is being made is not copied again.
        assert_eq!(copy(&scratch, "dir", "dir/sub/copy").unwrap(), ["sub/copy: it is what is being written"]);
        assert_eq!(scratch.all("dir"), ["sub", "sub/copy", "sub/copy/sub"]);
    }

    #[test]
    fn depth_is_bounded() {
        let scratch = Scratch::new();
        scratch.dir(&format!("from{}", "/d".repeat(DEEPEST - 1)));
        copy(&scratch, "from", "to").unwrap();
        scratch.dir(&format!("from{}", "/d".repeat(DEEPEST)));
        let error = copy(&scratch, "from", "again").unwrap_err();
        assert!(error.cause.to_string().contains("in one another"), "{error}");
    }

    /// Exchanges `root/a`, a directory, with `root/b`, a link to `outside`, until told to stop.
    fn adversary(scratch: &Scratch, done: &AtomicBool) {
        let root = scratch.open("root");
        while !done.load(Ordering::Relaxed) {
            sys::exchange(root.as_fd(), c"a", c"b").unwrap();
        }
    }

    fn hostile() -> Scratch {
        let scratch = Scratch::new();
        scratch.dir("root/a/sub");
        fs::write(scratch.at("root/a/file"), "inside").unwrap();
        fs::write(scratch.at("root/a/sub/file"), "inside").unwrap();
        scratch.dir("outside/sub");
        fs::write(scratch.at("outside/file"), "secret").unwrap();
        fs::write(scratch.at("outside/sub/file"), "secret").unwrap();
        symlink(scratch.at("outside"), scratch.at("root/b")).unwrap();
        scratch
    }

    #[test]
    fn nothing_of_outside_is_read_while_somebody_exchanges() {
        let scratch = hostile();
        let done = AtomicBool::new(false);
        let (mut copied, mut refused) = (0, 0);
        std::thread::scope(|threads| {
            threads.spawn(|| adversary(&scratch, &done));
            for source in ["root", "root/a", "root/a/sub", "root/a/file"].iter().cycle().take(800) {
                let found = Place::find(Base::Root(scratch.open(".").as_fd()), source.as_bytes(), false);
                let to = scratch.place(".", "to");
                match found.map(|from| tree(from, &to, &PLAIN, &mut |_, _| {})) {
                    Ok(Ok(())) => copied += 1,
                    _ => refused += 1,
                }
                let top = fs::symlink_metadata(scratch.at("to"));
                if top.as_ref().is_ok_and(fs::Metadata::is_file) {
                    assert_eq!(scratch.read("to"), "inside");
                } else if top.as_ref().is_ok_and(fs::Metadata::is_dir) {
                    for path in scratch.all("to") {
                        let path = format!("to/{path}");
                        if fs::symlink_metadata(scratch.at(&path)).unwrap().is_file()
                            && !scratch.at(&path).is_symlink()
                        {
                            // A link that was copied as such may be in the path: it is not the copy that leads out.
                            assert_eq!(scratch.read(&path), "inside");
                        }
                    }
                }
                let _ = fs::remove_dir_all(scratch.at("to"));
                let _ = fs::remove_file(scratch.at("to"));
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(copied > 0, "{copied} copied, {refused} refused");
    }

    #[test]
    fn nothing_is_written_outside_while_somebody_exchanges() {
        let scratch = hostile();
        scratch.dir("new/sub");
        fs::write(scratch.at("new/file"), "new").unwrap();
        fs::write(scratch.at("new/sub/file"), "new").unwrap();
        let done = AtomicBool::new(false);
        let root = scratch.open("root");
        let mut copied = 0;
        std::thread::scope(|threads| {
            threads.spawn(|| adversary(&scratch, &done));
            for dest in ["a", "b", "a/sub", "b/sub", "a/x"].iter().cycle().take(1000) {
                // Both followed and not: RESOLVE_IN_ROOT holds the first, O_NOFOLLOW the second.
                for follow in [false, true] {
                    if let Ok(to) = Place::find(Base::Root(root.as_fd()), dest.as_bytes(), follow) {
                        copied += u32::from(tree(scratch.place(".", "new"), &to, &PLAIN, &mut |_, _| {}).is_ok());
                    }
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(copied > 0);
        assert_eq!(scratch.all("outside"), ["file", "sub", "sub/file"]);
        assert_eq!(
            (scratch.read("outside/file"), scratch.read("outside/sub/file")),
            ("secret".into(), "secret".into())
        );
    }

    #[test]
    #[ignore = "wants root and a mount namespace of its own"]
    fn a_file_that_is_mounted_on_is_overwritten_in_place() {
        let scratch = Scratch::new();
        scratch.dir("root");
        fs::write(scratch.at("volume"), "a longer text").unwrap();
        fs::write(scratch.at("root/file"), "below").unwrap();
        fs::write(scratch.at("new"), "new").unwrap();
        let c = |path: &str| CString::new(scratch.at(path).as_os_str().as_bytes()).unwrap();
        sys::mount(Some(&c("volume")), &c("root/file"), None, libc::MS_BIND as u32, None).unwrap();
        copy(&scratch, "new", "root/file").unwrap();
        assert_eq!((scratch.read("root/file"), scratch.read("volume")), ("new".into(), "new".into()));
        symlink("x", scratch.at("link")).unwrap();
        assert_eq!(copy(&scratch, "link", "root/file").unwrap_err().cause.raw_os_error(), Some(libc::EBUSY));
        sys::detach(&c("root/file")).unwrap();
        assert_eq!(scratch.read("root/file"), "below");
    }

    #[test]
    #[ignore = "wants root and a mount namespace of its own"]
    fn what_the_kernel_makes_up_and_devices_are_left_out() {
        let scratch = Scratch::new();
        scratch.dir("root/proc");
        let c = |path: &str| CString::new(scratch.at(path).as_os_str().as_bytes()).unwrap();
        sys::mount(Some(c"/proc"), &c("root/proc"), None, (libc::MS_BIND | libc::MS_REC) as u32, None).unwrap();
        let mut wanted = vec!["proc: the kernel makes it up, there are no files in it"];
        if sys::mknod(scratch.open("root").as_fd(), c"null", k::S_IFCHR | 0o600, packed(1, 3)).is_ok() {
            wanted.insert(0, "null: a device");
        }
        assert_eq!(copy(&scratch, "root", "to").unwrap(), wanted);
        assert_eq!(scratch.all("to"), Vec::<String>::new());
        copy(&scratch, "root/proc/version", "version").unwrap();
        if wanted.len() == 2 {
            assert!(copy(&scratch, "root/null", "null").unwrap_err().to_string().contains("it is a device"));
        }
        assert!(scratch.read("version").starts_with("Linux"));
        let devices = Settings { devices: true, ..PLAIN };
        tree(scratch.place("root", "."), &scratch.place(".", "to"), &devices, &mut |_, _| {}).unwrap();
        if wanted.len() == 2 {
            assert_eq!(fs::metadata(scratch.at("to/null")).unwrap().rdev(), 0x103);
        }
        sys::detach(&c("root/proc")).unwrap();
    }
}
