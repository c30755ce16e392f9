//! Operations prepared by one process and run by another: each is a few system calls that make one visible thing.
//!
//! An [`Op`] is made where allocation is free. [`Op::run`] allocates nothing, takes no lock and cannot panic, so a child
//! between `clone3` and `execve` that shares its parent's memory may run it. Its [`Display`](fmt::Display) is the
//! shell line that comes nearest, for traces, dry runs and errors.
//!
//! Detached mount trees travel from one operation to the next in numbered [`Slot`]s. The table of slots is an array of
//! descriptor *numbers*: it crosses `clone3`, where the numbers stay valid (the child has a copy of the table of
//! descriptors). Nothing here closes a descriptor: close-on-exec does.

use std::ffi::{CStr, CString, OsStr};
use std::fmt::{self, Write};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use linux_raw_sys::general as k;

use crate::dev::{self, Node, Number};
use crate::path::{self, InRoot, Kind, Links};
use crate::sys::{self, CWD};

/// Which place in the table of [`Trees`].
pub type Slot = usize;

/// The detached trees that operations hand to each other, and room for what the kernel says when one fails.
pub struct Trees<'a> {
    /// Descriptor numbers; -1 where there is none. Not owned here.
    pub fds: &'a mut [RawFd],
    /// The kernel's own sentence about the last failure (a filesystem context's log), if it had one.
    pub words: &'a mut [u8; 128],
}

/// Until 5.12: set in the number of a tree whose rules could not be set while it was detached.
const LATE: RawFd = 1 << 30;

impl Trees<'_> {
    fn get(&self, slot: Slot) -> io::Result<BorrowedFd<'static>> {
        match self.fds.get(slot) {
            Some(fd) if *fd >= 0 => Ok(sys::borrow(fd & !LATE)),
            _ => Err(io::Error::from_raw_os_error(libc::EBADF)),
        }
    }

    fn is_late(&self, slot: Slot) -> bool {
        self.fds.get(slot).is_some_and(|fd| *fd >= 0 && fd & LATE != 0)
    }

    /// The descriptors in the table, as numbers that can be closed.
    pub fn numbers(fds: &[RawFd]) -> impl Iterator<Item = RawFd> + '_ {
        fds.iter().filter(|fd| **fd >= 0).map(|fd| fd & !LATE)
    }

    fn put(&mut self, slot: Slot, tree: OwnedFd) -> io::Result<()> {
        let place = self.fds.get_mut(slot).ok_or(io::Error::from_raw_os_error(libc::EBADF))?;
        *place = tree.into_raw_fd();
        Ok(())
    }

    /// Keeps what the kernel wrote about a failed filesystem context (`e overlay: …`).
    fn keep_words(&mut self, context: BorrowedFd) {
        if let Ok(n) = sys::read(context, self.words) {
            if let Some(rest) = self.words.get_mut(n..) {
                rest.fill(0);
            }
        }
    }
}

/// What holds for a tree of mounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Nothing can be written through it.
    pub read_only: bool,
    /// Device nodes in it are dead.
    pub no_devices: bool,
    /// It hears of later mounts where it came from (`MS_SLAVE`); otherwise it is on its own (`MS_PRIVATE`). Nothing ever
    /// travels the other way: a copy of a shared mount is as shared as the original until it is told otherwise.
    pub slave: bool,
}

impl Rules {
    fn propagation(self) -> u32 {
        if self.slave { k::MS_SLAVE } else { k::MS_PRIVATE }
    }

    fn attributes(self) -> u32 {
        let read_only = if self.read_only { k::MOUNT_ATTR_RDONLY } else { 0 };
        read_only | if self.no_devices { k::MOUNT_ATTR_NODEV } else { 0 }
    }
}

/// What a new filesystem is made of.
#[derive(Clone, Debug)]
pub struct NewFs {
    /// Its type.
    pub fs: &'static CStr,
    /// Its options, the last argument of `mount(2)`.
    pub data: CString,
    /// `MS_*` flags.
    pub flags: u32,
}

/// One prepared operation. Relative paths are relative to the working directory of whoever runs it.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields are named in the words above each variant
pub enum Op {
    /// No mount event may travel between this mount namespace and the one it was copied from.
    Private,
    /// `mount(2)` of a new filesystem at a path that is our own making.
    Mount(NewFs, CString),
    /// The same, at a path in an untrusted root (our `/`), made where it is missing; ends with `/` as working directory.
    MountIn(NewFs, InRoot, Links),
    /// A new filesystem as a detached tree: made here, attached elsewhere. The options are those of `data`, one by one.
    Make(NewFs, Vec<(CString, CString)>, Slot),
    /// Writes to `at` go to `upper`, reads fall through to `lower`; `work` is overlayfs's own. All four are names in the
    /// working directory. Device nodes in it are dead, unless they are wanted. `user` is for an overlay inside a user
    /// namespace (5.11).
    Overlay { lower: CString, upper: CString, work: CString, at: CString, user: bool, devices: bool },
    /// A detached copy of the mount at a path, with rules of its own.
    Tree { from: CString, recursive: bool, rules: Rules, into: Slot },
    /// The same, with ids shifted as the user namespace whose descriptor is in a slot says (5.12).
    Shifted { from: CString, recursive: bool, rules: Rules, into: Slot, userns: Slot },
    /// Ids in this tree are shifted as the user namespace behind the descriptor says (5.12).
    IdMap { tree: Slot, userns: RawFd, recursive: bool },
    /// Attaches a detached tree at a path that is our own making. `rules` are those of the tree, for kernels that cannot
    /// set them before.
    Attach { tree: Slot, at: CString, rules: Rules },
    /// The same, at a path in an untrusted root (our `/`), made where it is missing. Where the rules come late, `/proc`
    /// must be mounted.
    AttachIn { tree: Slot, at: InRoot, kind: Kind, links: Links, rules: Rules },
    /// Binds what is at this path onto itself, so that it keeps the flags its mount has now (read-only, say) when those
    /// of the mount change. A path that does not exist is left alone.
    Pin(CString),
    /// Changes the flags (`MS_*`) of the mount at a path: the mount's, not the filesystem's.
    Remount(CString, u32),
    /// What is at this path can be neither read nor written. A path that does not exist is left alone. A file is covered
    /// by `/dev/null`, or by `null` in this tree where others may have a hand in the path of that.
    Mask(CString, Kind, Option<Slot>),
    /// A directory.
    Dir(CString, u32),
    /// A file with this content, 0644.
    File(CString, Vec<u8>),
    /// Whom a file or directory belongs to: user, group.
    Owner(CString, u32, u32),
    /// A character device for everybody.
    Device(CString, &'static Node),
    /// Any device, with these permissions and this owner (user, group), whoever other new files belong to.
    AnyDevice(CString, Number, u32, (u32, u32)),
    /// A directory, unless there is one.
    DirUnlessThere(CString, u32),
    /// A detached copy of the mount of this device node alone. What else is at the path, a link say, is ENODEV.
    DeviceTree { from: CString, number: Number, into: Slot },
    /// A symbolic link: (what it says, where it is).
    Link(&'static CStr, CString),
    /// The working directory.
    Enter(CString),
    /// The working directory is the root of this tree, wherever it is attached and whatever its path leads to by now.
    EnterTree(Slot),
    /// The working directory, in an untrusted root (our `/`), made where it is missing; never by a magic link.
    WorkDir(InRoot),
    /// Which bits of a new file's mode are taken away.
    Umask(u32),
    /// Whom new files belong to: user, group. No capability is lost by that.
    FileOwner(u32, u32),
    /// The working directory, a mount, becomes `/`, and the old root goes out of reach, with what the new one was built on
    /// if that was mounted over it (`covered`). `on_ramfs` is for an old root that is the initial ramfs: what is mounted
    /// on it. Without that, such a root is EINVAL.
    Pivot { covered: bool, on_ramfs: Option<Vec<CString>> },
}

/// Flags for filesystems that hold no programs and no devices.
pub const PLAIN: u32 = k::MS_NOSUID | k::MS_NODEV | k::MS_NOEXEC;

impl NewFs {
    /// Made detached, into this slot.
    pub fn detached(self, slot: Slot) -> Op {
        let text = self.data.to_string_lossy().into_owned();
        let pair = |option: &str| {
            let (key, value) = option.split_once('=')?;
            Some((CString::new(key).ok()?, CString::new(value).ok()?))
        };
        Op::Make(self, text.split(',').filter_map(pair).collect(), slot)
    }
}

impl Op {
    /// Does it. Async-signal-safe: see the head of this file.
    ///
    /// # Errors
    /// The kernel's, unchanged, as a bare errno. A masked or read-only path that does not exist is no error.
    pub fn run(&self, trees: &mut Trees) -> io::Result<()> {
        match self {
            Op::Private => sys::mount(None, c"/", None, k::MS_REC | k::MS_PRIVATE, None),
            Op::Mount(new, at) => mount_new(new, at),
            Op::MountIn(new, at, links) => {
                let place = at.open_or_make(root()?.as_fd(), Kind::Dir, *links)?;
                not_the_kernels(place.as_fd(), at)?;
                sys::fchdir(place.as_fd())?;
                mount_new(new, c".")?;
                sys::chdir(c"/")
            }
            Op::Make(new, options, slot) => make(new, options, *slot, trees),
            Op::Overlay { lower, upper, work, at, user, devices } => {
                overlay([lower, upper, work, at], *user, *devices, trees)
            }
            Op::Tree { from, recursive, rules, into } => tree(from, *recursive, *rules, *into, trees),
            Op::Shifted { from, recursive, rules, into, userns } => {
                let copy = sys::open_tree(CWD, from, *recursive)?;
                let set = rules.attributes() | k::MOUNT_ATTR_IDMAP;
                let userns = Some(trees.get(*userns)?);
                sys::mount_setattr(copy.as_fd(), *recursive, set, 0, rules.propagation(), userns)?;
                trees.put(*into, copy)
            }
            Op::IdMap { tree, userns, recursive } => {
                let userns = Some(sys::borrow(*userns));
                sys::mount_setattr(trees.get(*tree)?, *recursive, k::MOUNT_ATTR_IDMAP, 0, 0, userns)
            }
            Op::Attach { tree, at, rules } => {
                sys::move_mount(trees.get(*tree)?, CWD, at)?;
                if trees.is_late(*tree) { late_rules(at, *rules) } else { Ok(()) }
            }
            Op::AttachIn { tree, at, kind, links, rules } => {
                let place = at.open_or_make(root()?.as_fd(), *kind, *links)?;
                not_the_kernels(place.as_fd(), at)?;
                sys::move_mount(trees.get(*tree)?, place.as_fd(), c"")?;
                if trees.is_late(*tree) { late_rules_of(trees.get(*tree)?, *rules) } else { Ok(()) }
            }
            Op::Pin(path) => unless_missing(sys::mount(Some(path), path, None, k::MS_BIND | k::MS_REC, None)),
            Op::Remount(path, flags) => remount(path, *flags),
            Op::Mask(path, Kind::File, Some(dev)) => {
                let null = sys::open_tree(trees.get(*dev)?, c"null", false)?;
                unless_missing(sys::move_mount(null.as_fd(), CWD, path))
            }
            Op::Mask(path, Kind::File, None) => {
                unless_missing(sys::mount(Some(c"/dev/null"), path, None, k::MS_BIND, None))
            }
            Op::Mask(path, Kind::Dir, _) => {
                let flags = k::MS_RDONLY | PLAIN;
                let empty = Some(c"size=0,nr_inodes=1,mode=555");
                unless_missing(sys::mount(Some(c"tmpfs"), path, Some(c"tmpfs"), flags, empty))
            }
            Op::Dir(path, mode) => sys::mkdir(CWD, path, *mode),
            Op::File(path, content) => {
                let file = sys::openat(CWD, path, k::O_WRONLY | k::O_CREAT | k::O_EXCL | k::O_NOFOLLOW, 0o644)?;
                let written = sys::write_all(file.as_fd(), content);
                let _ = file.into_raw_fd();
                written
            }
            Op::Owner(path, uid, gid) => sys::chown(CWD, path, *uid, *gid),
            Op::Device(path, node) => sys::mknod(CWD, path, k::S_IFCHR | 0o666, node.number()),
            Op::AnyDevice(path, number, mode, owner) => {
                sys::mknod(CWD, path, number.kind | mode, number.device as u32)?;
                sys::chown(CWD, path, owner.0, owner.1)
            }
            Op::DirUnlessThere(path, mode) => match sys::mkdir(CWD, path, *mode) {
                Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(()),
                done => done,
            },
            Op::DeviceTree { from, number, into } => device_tree(from, *number, *into, trees),
            Op::Link(says, name) => sys::symlink(says, CWD, name),
            Op::Enter(path) => sys::chdir(path),
            Op::EnterTree(tree) => sys::fchdir(trees.get(*tree)?),
            // Nothing to resolve: the commonest of all, in one call instead of five.
            Op::WorkDir(path) if path.is_root() => sys::chdir(c"/"),
            Op::WorkDir(path) => sys::fchdir(path.open_or_make(root()?.as_fd(), Kind::Dir, Links::Follow)?.as_fd()),
            Op::Umask(mask) => {
                sys::umask(*mask);
                Ok(())
            }
            Op::FileOwner(uid, gid) => sys::keep_capabilities().and_then(|()| sys::set_fs_ids(*uid, *gid)),
            Op::Pivot { covered, on_ramfs } => pivot(*covered, on_ramfs.as_deref()),
        }
    }
}

/// The process's own root, to resolve names in.
fn root() -> io::Result<OwnedFd> {
    sys::openat(CWD, c"/", k::O_PATH | k::O_DIRECTORY, 0)
}

/// ELOOP for a place in proc or sysfs that the path does not say it is in: a link in the image would have the kernel's
/// files covered by what was meant to be anywhere else.
fn not_the_kernels(place: BorrowedFd, path: &InRoot) -> io::Result<()> {
    let typed = [&b"/proc"[..], b"/sys"].iter().any(|dir| path.as_cstr().to_bytes().starts_with(dir));
    if typed || !matches!(sys::fs_magic(place)?, PROC_MAGIC | SYSFS_MAGIC) {
        return Ok(());
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

const PROC_MAGIC: u64 = k::PROC_SUPER_MAGIC as u64;
const SYSFS_MAGIC: u64 = k::SYSFS_MAGIC as u64;

fn mount_new(new: &NewFs, at: &CStr) -> io::Result<()> {
    // The type stands for the source, so that `mount` says "proc on /proc" as everywhere.
    sys::mount(Some(new.fs), at, Some(new.fs), new.flags, Some(&new.data))
}

/// ENOENT (and ENOTDIR, for what lies below) is "nothing to hide here".
fn unless_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(()),
        done => done,
    }
}

fn remount(path: &CStr, flags: u32) -> io::Result<()> {
    sys::mount(None, path, None, k::MS_REMOUNT | k::MS_BIND | flags, None)
}

/// A detached filesystem through the mount API.
fn make(new: &NewFs, options: &[(CString, CString)], slot: Slot, trees: &mut Trees) -> io::Result<()> {
    let context = sys::fsopen(new.fs)?;
    let set = |(key, value): &(CString, CString)| sys::fsconfig_set(context.as_fd(), key, Some(value));
    let made = sys::fsconfig_set(context.as_fd(), c"source", Some(new.fs))
        .and_then(|()| options.iter().try_for_each(set))
        .and_then(|()| sys::fsconfig_create(context.as_fd()))
        .and_then(|()| sys::fsmount(context.as_fd(), mount_attributes(new.flags)));
    match made {
        Ok(tree) => trees.put(slot, tree),
        Err(e) => {
            trees.keep_words(context.as_fd());
            Err(e)
        }
    }
}

/// The same wish in the words of the newer calls: `MS_RDONLY` to `MS_NOEXEC` are the same bits.
fn mount_attributes(flags: u32) -> u32 {
    flags & (k::MOUNT_ATTR_RDONLY | k::MOUNT_ATTR_NOSUID | k::MOUNT_ATTR_NODEV | k::MOUNT_ATTR_NOEXEC)
}

/// One `mount(2)`; only when it fails is it tried again step by step, because that way the kernel says what it minds.
fn overlay([lower, upper, work, at]: [&CStr; 4], user: bool, devices: bool, trees: &mut Trees) -> io::Result<()> {
    let mut options = Options::default();
    for (key, value) in [("lowerdir=", lower), (",upperdir=", upper), (",workdir=", work)] {
        options.push(key.as_bytes());
        options.push(value.to_bytes());
    }
    // Inside a user namespace trusted.* attributes are out of reach: user.overlay.* take their place.
    options.push(if user { b",userxattr" } else { b"" });
    let flags = if devices { 0 } else { k::MS_NODEV };
    let failure = match sys::mount(Some(c"overlay"), at, Some(c"overlay"), flags, Some(options.as_cstr()?)) {
        Ok(()) => return Ok(()),
        Err(e) => e,
    };
    if let Ok(context) = sys::fsopen(c"overlay") {
        let _ = sys::fsconfig_set(context.as_fd(), c"lowerdir", Some(lower))
            .and_then(|()| sys::fsconfig_set(context.as_fd(), c"upperdir", Some(upper)))
            .and_then(|()| sys::fsconfig_set(context.as_fd(), c"workdir", Some(work)))
            .and_then(|()| if user { sys::fsconfig_set(context.as_fd(), c"userxattr", None) } else { Ok(()) })
            .and_then(|()| sys::fsconfig_create(context.as_fd()));
        trees.keep_words(context.as_fd());
    }
    Err(failure)
}

/// Mount options put together on the stack: at most a page of them, as the kernel takes them.
struct Options {
    bytes: [u8; 1024],
    len: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { bytes: [0; 1024], len: 0 }
    }
}

impl Options {
    /// What does not fit is noticed by `as_cstr`.
    fn push(&mut self, more: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + more.len()) {
            room.copy_from_slice(more);
        }
        self.len += more.len();
    }

    fn as_cstr(&self) -> io::Result<&CStr> {
        let used = self.bytes.get(..=self.len).and_then(|b| CStr::from_bytes_with_nul(b).ok());
        used.ok_or(io::Error::from_raw_os_error(libc::E2BIG))
    }
}

/// A detached copy of what is mounted at `from`, with its rules set while nobody can use it yet.
///
/// Until 5.12 there is no `mount_setattr`: the rules are set right after it is attached, in a mount namespace where nobody
/// is but us. What cannot be made read-only then, because it lies on a mount below, is left out.
fn tree(from: &CStr, recursive: bool, rules: Rules, into: Slot, trees: &mut Trees) -> io::Result<()> {
    let copy = sys::open_tree(CWD, from, recursive)?;
    match sys::mount_setattr(copy.as_fd(), recursive, rules.attributes(), 0, rules.propagation(), None) {
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => {
            let alone = recursive && rules.attributes() != 0;
            let copy = if alone { sys::open_tree(CWD, from, false)? } else { copy };
            trees.put(into, copy)?;
            if let Some(fd) = trees.fds.get_mut(into) {
                *fd |= LATE;
            }
            Ok(())
        }
        done => done.and_then(|()| trees.put(into, copy)),
    }
}

/// A detached copy of one device node's mount: what the descriptor is of is looked at, not what the path leads to later.
fn device_tree(from: &CStr, number: Number, into: Slot, trees: &mut Trees) -> io::Result<()> {
    let node = sys::openat(CWD, from, k::O_PATH | k::O_NOFOLLOW, 0)?;
    let stat = sys::fstat(node.as_fd())?;
    if stat.st_mode & k::S_IFMT != number.kind || stat.st_rdev != number.device {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    let copy = sys::open_tree(node.as_fd(), c"", false)?;
    match sys::mount_setattr(copy.as_fd(), false, 0, 0, k::MS_PRIVATE, None) {
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => {
            trees.put(into, copy)?;
            if let Some(fd) = trees.fds.get_mut(into) {
                *fd |= LATE;
            }
        }
        done => done.and_then(|()| trees.put(into, copy))?,
    }
    let _ = node.into_raw_fd();
    Ok(())
}

/// Sets the rules of a tree that has just been attached at `path`.
fn late_rules(path: &CStr, rules: Rules) -> io::Result<()> {
    sys::mount(None, path, None, k::MS_REC | rules.propagation(), None)?;
    // MS_RDONLY and MS_NODEV are the same bits as the attributes.
    if rules.attributes() == 0 { Ok(()) } else { remount(path, rules.attributes()) }
}

/// The same through `/proc/self/fd`, which leads to the mount itself, whatever its path.
fn late_rules_of(tree: BorrowedFd, rules: Rules) -> io::Result<()> {
    let mut path = Options::default();
    path.push(b"/proc/self/fd/");
    let fd = tree.as_raw_fd();
    let mut divisor = 1_000_000_000;
    while divisor > 0 {
        if fd >= divisor || divisor == 1 {
            path.push(&[b'0' + (fd / divisor % 10) as u8]);
        }
        divisor /= 10;
    }
    late_rules(path.as_cstr()?, rules)
}

/// The working directory becomes `/`; the old root is detached, so that no name and no `..` leads to it.
fn pivot(covered: bool, on_ramfs: Option<&[CString]>) -> io::Result<()> {
    match (sys::pivot_root(c".", c"."), on_ramfs) {
        (Err(e), Some(below)) if e.raw_os_error() == Some(libc::EINVAL) => over_the_ramfs(covered, below)?,
        (done, _) => {
            done?;
            if covered {
                // What lay over the old root still does, and "." finds what is on top.
                sys::detach(c".")?;
            }
        }
    }
    // Both roots are now at "."; the old one is on top. The working directory is the new one.
    sys::detach(c".")
}

/// Until 7.0: the initial ramfs cannot be pivoted away, because it has no parent mount (`fs/namespace.c`).
///
/// A copy of it can: the copy is laid over `/` and becomes the root by `chroot`, the tree that shall be the root is
/// attached on top of the copy, and `pivot_root` exchanges those two. The ramfs itself stays below, where no name and
/// no `..` reaches it. Moving the tree over `/` and `chroot`, without the copy, would be EBUSY in `pivot_root`.
///
/// What was mounted on the ramfs (the host's /proc, /sys, /dev) would stay too, out of sight but in this mount
/// namespace, where a fully visible proc lets a nested user namespace mount an unmasked one: it is detached first.
fn over_the_ramfs(covered: bool, below: &[CString]) -> io::Result<()> {
    let tree = sys::open_tree(CWD, c".", true)?;
    if covered {
        sys::detach(c"/..")?;
    }
    for mount in below {
        unless_missing(sys::detach(mount))?;
    }
    let copy = sys::open_tree(CWD, c"/", false)?;
    sys::move_mount(copy.as_fd(), CWD, c"/")?;
    sys::fchdir(copy.as_fd())?;
    sys::chroot(c".")?;
    sys::move_mount(tree.as_fd(), CWD, c".")?;
    sys::fchdir(tree.as_fd())?;
    sys::pivot_root(c".", c".")
}

impl fmt::Display for NewFs {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut options = String::new();
        for (bit, word) in
            [(k::MS_RDONLY, "ro"), (k::MS_NOSUID, "nosuid"), (k::MS_NODEV, "nodev"), (k::MS_NOEXEC, "noexec")]
        {
            if self.flags & bit != 0 {
                let _ = write!(options, "{word},");
            }
        }
        options.push_str(&self.data.to_string_lossy());
        let fs = self.fs.to_string_lossy();
        match options.trim_end_matches(',') {
            "" => write!(f, "mount -t {fs} {fs}"),
            options => write!(f, "mount -t {fs} -o {options} {fs}"),
        }
    }
}

fn show(path: &CStr) -> std::path::Display<'_> {
    Path::new(OsStr::from_bytes(path.to_bytes())).display()
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Op::Private => write!(f, "mount --make-rprivate /"),
            Op::Mount(new, at) => write!(f, "{new} {}", show(at)),
            Op::MountIn(new, at, _) => write!(f, "{new} {at}"),
            Op::Make(new, ..) => write!(f, "{new} (detached)"),
            Op::Overlay { lower, upper, work, at, user, devices } => write!(
                f,
                "mount -t overlay -o {}lowerdir={},upperdir={},workdir={}{} overlay {}",
                if *devices { "" } else { "nodev," },
                show(lower),
                show(upper),
                show(work),
                if *user { ",userxattr" } else { "" },
                show(at)
            ),
            Op::Tree { from, recursive, rules, .. } => write!(
                f,
                "open_tree {}{}{}",
                show(from),
                if *recursive { " recursive" } else { "" },
                if rules.read_only { " read-only" } else { "" }
            ),
            Op::Shifted { from, recursive, rules, .. } => write!(
                f,
                "open_tree {}{}, mount_setattr idmap{}",
                show(from),
                if *recursive { " recursive" } else { "" },
                if rules.read_only { " read-only" } else { "" }
            ),
            Op::IdMap { .. } => write!(f, "mount_setattr idmap"),
            Op::Attach { at, .. } => write!(f, "move_mount {}", show(at)),
            Op::AttachIn { at, .. } => write!(f, "move_mount {at}"),
            Op::Pin(path) => write!(f, "mount --rbind {0} {0}", show(path)),
            Op::Remount(path, flags) => {
                let how = if flags & k::MS_RDONLY == 0 { "rw" } else { "ro" };
                write!(f, "mount -o remount,bind,{how} {}", show(path))
            }
            Op::Mask(path, Kind::File, _) => write!(f, "mount --bind /dev/null {}", show(path)),
            Op::Mask(path, Kind::Dir, _) => write!(f, "mount -t tmpfs -o ro,size=0 tmpfs {}", show(path)),
            Op::Dir(path, mode) => write!(f, "mkdir -m {mode:o} {}", show(path)),
            Op::File(path, content) => write!(f, "write {} ({} bytes)", show(path), content.len()),
            Op::Owner(path, uid, gid) => write!(f, "chown {uid}:{gid} {}", show(path)),
            Op::Device(path, node) => write!(f, "mknod {} c {} {}", show(path), node.major, node.minor),
            Op::AnyDevice(path, number, ..) => write!(f, "mknod {} {number}", show(path)),
            Op::DirUnlessThere(path, mode) => write!(f, "mkdir -p -m {mode:o} {}", show(path)),
            Op::DeviceTree { from, .. } => write!(f, "open_tree {}", show(from)),
            Op::Link(says, name) => write!(f, "ln -s {} {}", show(says), show(name)),
            Op::Enter(path) => write!(f, "cd {}", show(path)),
            Op::EnterTree(_) => write!(f, "cd there, by descriptor"),
            Op::WorkDir(path) => write!(f, "cd {path}"),
            Op::Umask(mask) => write!(f, "umask {mask:04o}"),
            Op::FileOwner(uid, gid) => write!(f, "setfsuid {uid}, setfsgid {gid}, and keep all capabilities"),
            Op::Pivot { .. } => write!(f, "pivot_root . . && umount -l ."),
        }
    }
}

/// The operations that fill `/dev`, when the new root is `/` and a filesystem is mounted there: the nodes, the links.
///
/// Whoever may use `mknod` could make the host's disks there. So each node is bound onto itself while nodes are alive on
/// that mount (a bind mount keeps the flags of that moment), and then the mount is told that its nodes are dead. In a user
/// namespace, where the kernel does not let nodes live on such a mount at all, they come from these slots instead.
///
/// `dir` is what stands before the names: `/dev/`, or nothing if that is the working directory. `alive`: all nodes there are.
pub fn devices(dir: &str, bound: Option<Slot>, alive: bool) -> Vec<Op> {
    let path = |name: &CStr| CString::new([dir.as_bytes(), name.to_bytes()].concat()).unwrap_or_default();
    let mut ops = Vec::new();
    match bound {
        None => {
            ops.extend(dev::NODES.iter().map(|node| Op::Device(path(node.name), node)));
        }
        Some(first) => {
            for (node, tree) in dev::NODES.iter().zip(first..) {
                ops.push(Op::File(path(node.name), Vec::new()));
                ops.push(Op::Attach { tree, at: path(node.name), rules: Rules::default() });
            }
        }
    }
    if bound.is_none() && !alive {
        ops.extend(dev::NODES.iter().map(|node| Op::Pin(path(node.name))));
        let mount = if dir.is_empty() { c"." } else { c"/dev" };
        ops.push(Op::Remount(mount.into(), k::MS_NOSUID | k::MS_NODEV));
    }
    ops.extend(dev::LINKS.iter().map(|(name, says)| Op::Link(says, path(name))));
    ops
}

/// Opens a path of an untrusted root for reading, from outside and before it is anybody's `/`.
pub fn open_file_in(root: BorrowedFd, file: &CStr) -> io::Result<OwnedFd> {
    path::open(root, file, k::O_RDONLY | k::O_NONBLOCK | k::O_NOCTTY, Links::Follow)
}
