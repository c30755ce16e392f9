//! The system calls of this crate, one thin wrapper each: no policy, no retry, nothing allocated.
//!
//! All of them may run in a child between `clone3` and `execve` that still shares its parent's memory, so none touches
//! libc's `errno`, locks or the heap. Paths are relative to the working directory unless a descriptor is taken.
//! Descriptors that come out are close-on-exec.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use linux_raw_sys::general as k;
use sc::{syscall0, syscall1, syscall2, syscall3, syscall4, syscall5};

/// The working directory, where a call wants a descriptor (`AT_FDCWD`).
// SAFETY: -100 is not a descriptor that anybody owns, and it is not -1, the only forbidden value.
pub const CWD: BorrowedFd<'static> = unsafe { BorrowedFd::borrow_raw(k::AT_FDCWD) };

/// Turns the kernel's answer into a result: the last page of the address space is `-errno`.
pub fn check(answer: usize) -> io::Result<usize> {
    if answer > usize::MAX - 4095 {
        Err(io::Error::from_raw_os_error(answer.wrapping_neg() as i32))
    } else {
        Ok(answer)
    }
}

fn at(fd: BorrowedFd) -> usize {
    fd.as_raw_fd() as usize
}

fn text(path: &CStr) -> usize {
    path.as_ptr() as usize
}

fn optional(path: Option<&CStr>) -> usize {
    path.map_or(0, text)
}

/// Takes over a descriptor that the kernel has just returned.
fn owned(answer: usize) -> OwnedFd {
    // SAFETY: only called with the number that a successful system call has just made for us.
    unsafe { OwnedFd::from_raw_fd(answer as RawFd) }
}

/// A descriptor known by its number alone, because a table of numbers crossed `clone3`.
///
/// Never closes it; a number that is not open makes the call that uses it fail with EBADF.
pub fn borrow<'a>(fd: RawFd) -> BorrowedFd<'a> {
    debug_assert!(fd >= 0);
    // SAFETY: the number is not -1, and whoever keeps the table keeps the descriptor open while the table lives.
    unsafe { BorrowedFd::borrow_raw(if fd < 0 { RawFd::MAX } else { fd }) }
}

/// `mount(2)`. `flags` are `MS_*`.
pub fn mount(from: Option<&CStr>, to: &CStr, fs: Option<&CStr>, flags: u32, data: Option<&CStr>) -> io::Result<()> {
    // SAFETY: every pointer is null or NUL-terminated, outlives the call, and is only read.
    let r = unsafe {
        syscall5(k::__NR_mount as usize, optional(from), text(to), optional(fs), flags as usize, optional(data))
    };
    check(r).map(drop)
}

/// `umount2(2)` with `MNT_DETACH`: out of sight now, gone when nobody uses it any more.
pub fn detach(path: &CStr) -> io::Result<()> {
    // SAFETY: as for mount().
    check(unsafe { syscall2(k::__NR_umount2 as usize, text(path), k::MNT_DETACH as usize) }).map(drop)
}

/// `pivot_root(2)`.
///
/// Quirk: until 7.0 it answers EINVAL when the current root is the initial ramfs. Pinned by tests/vm/guest/ramfs.sh.
pub fn pivot_root(new: &CStr, old: &CStr) -> io::Result<()> {
    // SAFETY: as for mount().
    check(unsafe { syscall2(k::__NR_pivot_root as usize, text(new), text(old)) }).map(drop)
}

/// Copies the mount at `path` (with what is mounted below it, if `recursive`) into a detached tree that only this
/// descriptor holds. `open_tree(2)`, Linux 5.2.
///
/// Quirk: without `AT_RECURSIVE` the mounts below are left behind, silently; and where some of them are locked (they
/// came from a more privileged mount namespace) it is EINVAL.
pub fn open_tree(dir: BorrowedFd, path: &CStr, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = k::OPEN_TREE_CLONE | k::OPEN_TREE_CLOEXEC | k::AT_EMPTY_PATH;
    if recursive {
        flags |= k::AT_RECURSIVE;
    }
    // SAFETY: as for mount().
    check(unsafe { syscall3(k::__NR_open_tree as usize, at(dir), text(path), flags as usize) }).map(owned)
}

/// Attaches a detached mount at `path`. `move_mount(2)`, Linux 5.2. Does not follow a symbolic link at the end.
pub fn move_mount(tree: BorrowedFd, dir: BorrowedFd, path: &CStr) -> io::Result<()> {
    let flags = k::MOVE_MOUNT_F_EMPTY_PATH | k::MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: as for mount().
    let r =
        unsafe { syscall5(k::__NR_move_mount as usize, at(tree), text(c""), at(dir), text(path), flags as usize) };
    check(r).map(drop)
}

/// Sets and clears attributes (`MOUNT_ATTR_*`) of the mount that `tree` refers to, and of those below it if
/// `recursive`; `propagation` is 0 or one of `MS_PRIVATE`…; `userns` is for `MOUNT_ATTR_IDMAP`.
/// `mount_setattr(2)`, Linux 5.12.
pub fn mount_setattr(
    tree: BorrowedFd,
    recursive: bool,
    set: u32,
    clear: u32,
    propagation: u32,
    userns: Option<BorrowedFd>,
) -> io::Result<()> {
    let attr = k::mount_attr {
        attr_set: u64::from(set),
        attr_clr: u64::from(clear),
        propagation: u64::from(propagation),
        userns_fd: userns.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let flags = k::AT_EMPTY_PATH | if recursive { k::AT_RECURSIVE } else { 0 };
    // SAFETY: `attr` is of the size that is passed with it, and both pointers outlive the call.
    let r = unsafe {
        syscall5(
            k::__NR_mount_setattr as usize,
            at(tree),
            text(c""),
            flags as usize,
            ptr::from_ref(&attr) as usize,
            size_of_val(&attr),
        )
    };
    check(r).map(drop)
}

/// Begins to configure a new filesystem. `fsopen(2)`, Linux 5.2. The descriptor can be read for the kernel's own words
/// after a failure.
pub fn fsopen(fs: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: as for mount().
    check(unsafe { syscall2(k::__NR_fsopen as usize, text(fs), k::FSOPEN_CLOEXEC as usize) }).map(owned)
}

fn fsconfig(context: BorrowedFd, command: k::fsconfig_command, key: usize, value: usize) -> io::Result<()> {
    // SAFETY: key and value are null or NUL-terminated strings that outlive the call and are only read.
    let r = unsafe { syscall5(k::__NR_fsconfig as usize, at(context), command as usize, key, value, 0) };
    check(r).map(drop)
}

/// Sets one option; without a value it is a flag. `fsconfig(2)`.
pub fn fsconfig_set(context: BorrowedFd, key: &CStr, value: Option<&CStr>) -> io::Result<()> {
    let command = match value {
        Some(_) => k::fsconfig_command::FSCONFIG_SET_STRING,
        None => k::fsconfig_command::FSCONFIG_SET_FLAG,
    };
    fsconfig(context, command, text(key), optional(value))
}

/// Makes the superblock. `fsconfig(2)` with `FSCONFIG_CMD_CREATE`.
pub fn fsconfig_create(context: BorrowedFd) -> io::Result<()> {
    fsconfig(context, k::fsconfig_command::FSCONFIG_CMD_CREATE, 0, 0)
}

/// A detached mount of the filesystem that was configured; `attr` are `MOUNT_ATTR_*`. `fsmount(2)`, Linux 5.2.
pub fn fsmount(context: BorrowedFd, attr: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let r = unsafe { syscall3(k::__NR_fsmount as usize, at(context), k::FSMOUNT_CLOEXEC as usize, attr as usize) };
    check(r).map(owned)
}

/// Opens `path` below `dir` as `resolve` (`RESOLVE_*`) allows. `openat2(2)`, Linux 5.6.
///
/// Quirk: with `RESOLVE_IN_ROOT` or `RESOLVE_BENEATH` a rename or mount anywhere at the same moment is EAGAIN; the
/// callers in `path.rs` try again.
pub fn openat2(dir: BorrowedFd, path: &CStr, flags: u32, mode: u32, resolve: u32) -> io::Result<OwnedFd> {
    let how =
        k::open_how { flags: u64::from(flags | k::O_CLOEXEC), mode: u64::from(mode), resolve: u64::from(resolve) };
    // SAFETY: `how` is of the size that is passed with it; the path is NUL-terminated; both outlive the call.
    let r = unsafe {
        syscall4(k::__NR_openat2 as usize, at(dir), text(path), ptr::from_ref(&how) as usize, size_of_val(&how))
    };
    check(r).map(owned)
}

/// `openat(2)`, for paths that nobody hostile can have a hand in.
pub fn openat(dir: BorrowedFd, path: &CStr, flags: u32, mode: u32) -> io::Result<OwnedFd> {
    // SAFETY: as for mount().
    let r = unsafe {
        syscall4(k::__NR_openat as usize, at(dir), text(path), (flags | k::O_CLOEXEC) as usize, mode as usize)
    };
    check(r).map(owned)
}

/// `mkdirat(2)`.
pub fn mkdir(dir: BorrowedFd, path: &CStr, mode: u32) -> io::Result<()> {
    // SAFETY: as for mount().
    check(unsafe { syscall3(k::__NR_mkdirat as usize, at(dir), text(path), mode as usize) }).map(drop)
}

/// `mknodat(2)`: `mode` carries the file type, `device` the number as the kernel packs it.
pub fn mknod(dir: BorrowedFd, path: &CStr, mode: u32, device: u32) -> io::Result<()> {
    // SAFETY: as for mount().
    let r = unsafe { syscall4(k::__NR_mknodat as usize, at(dir), text(path), mode as usize, device as usize) };
    check(r).map(drop)
}

/// `symlinkat(2)`: `path` will say `target`.
pub fn symlink(target: &CStr, dir: BorrowedFd, path: &CStr) -> io::Result<()> {
    // SAFETY: as for mount().
    check(unsafe { syscall3(k::__NR_symlinkat as usize, text(target), at(dir), text(path)) }).map(drop)
}

/// `unlinkat(2)`; with `directory` it is `rmdir`.
pub fn unlink(dir: BorrowedFd, path: &CStr, directory: bool) -> io::Result<()> {
    let flags = if directory { k::AT_REMOVEDIR } else { 0 };
    // SAFETY: as for mount().
    check(unsafe { syscall3(k::__NR_unlinkat as usize, at(dir), text(path), flags as usize) }).map(drop)
}

/// `renameat(2)` within one directory.
pub fn rename(dir: BorrowedFd, from: &CStr, to: &CStr) -> io::Result<()> {
    // SAFETY: as for mount().
    check(unsafe { syscall4(k::__NR_renameat as usize, at(dir), text(from), at(dir), text(to)) }).map(drop)
}

/// `renameat(2)` from one directory to another.
pub fn rename_between(from_dir: BorrowedFd, from: &CStr, to_dir: BorrowedFd, to: &CStr) -> io::Result<()> {
    // SAFETY: as for mount().
    check(unsafe { syscall4(k::__NR_renameat as usize, at(from_dir), text(from), at(to_dir), text(to)) }).map(drop)
}

/// Back to the front of a directory, to read its names again. `lseek(2)`.
pub fn rewind(dir: BorrowedFd) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { syscall3(k::__NR_lseek as usize, at(dir), 0, 0) }).map(drop)
}

/// Permissions of what is at `path`, which must be no link (ELOOP, ENOTDIR): it is opened as a place first, and changed
/// through that. `fchmodat(2)` by `/proc/self/fd` would need procfs, `fchmodat2` Linux 6.6; so a directory is assumed.
pub fn chmod_no_follow(dir: BorrowedFd, path: &CStr, mode: u32) -> io::Result<()> {
    // SAFETY: as for mount().
    let r = unsafe {
        syscall4(k::__NR_fchmodat2 as usize, at(dir), text(path), mode as usize, k::AT_SYMLINK_NOFOLLOW as usize)
    };
    match check(r) {
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => {
            let stat = openat(dir, path, k::O_PATH | k::O_NOFOLLOW, 0)
                .and_then(|place| fstat(std::os::fd::AsFd::as_fd(&place)))?;
            if stat.st_mode & k::S_IFMT != k::S_IFDIR {
                return Err(io::Error::from_raw_os_error(libc::ENOTDIR));
            }
            // until 6.6: a link put here in between would be followed, by an ordinary user in a tree of his own.
            // SAFETY: as for mount().
            check(unsafe { syscall3(k::__NR_fchmodat as usize, at(dir), text(path), mode as usize) }).map(drop)
        }
        done => done.map(drop),
    }
}

/// Permissions of what is at `path`, behind a link if it is one: for who has just made it where nobody else is. `fchmodat(2)`.
pub fn chmod(dir: BorrowedFd, path: &CStr, mode: u32) -> io::Result<()> {
    // SAFETY: as for mount().
    check(unsafe { syscall3(k::__NR_fchmodat as usize, at(dir), text(path), mode as usize) }).map(drop)
}

/// `write(2)`, once.
pub fn write(fd: BorrowedFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are of one slice, which is only read.
    check(unsafe { syscall3(k::__NR_write as usize, at(fd), bytes.as_ptr() as usize, bytes.len()) })
}

/// `read(2)`, once.
pub fn read(fd: BorrowedFd, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are of one slice that we hold exclusively.
    check(unsafe { syscall3(k::__NR_read as usize, at(fd), into.as_mut_ptr() as usize, into.len()) })
}

/// Writes all of it or fails; a short write that makes no progress is `WriteZero`.
pub fn write_all(fd: BorrowedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match write(fd, bytes) {
            Ok(0) => return Err(io::Error::from_raw_os_error(libc::EIO)),
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// `chdir(2)`.
pub fn chdir(path: &CStr) -> io::Result<()> {
    // SAFETY: as for mount().
    check(unsafe { syscall1(k::__NR_chdir as usize, text(path)) }).map(drop)
}

/// `fchdir(2)`.
pub fn fchdir(dir: BorrowedFd) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { syscall1(k::__NR_fchdir as usize, at(dir)) }).map(drop)
}

/// `chroot(2)`.
pub fn chroot(path: &CStr) -> io::Result<()> {
    // SAFETY: as for mount().
    check(unsafe { syscall1(k::__NR_chroot as usize, text(path)) }).map(drop)
}

/// `umask(2)`: cannot fail. What it was before.
pub fn umask(mask: u32) -> u32 {
    // SAFETY: no pointers.
    unsafe { syscall1(k::__NR_umask as usize, mask as usize) as u32 }
}

/// `setfsuid(2)` and `setfsgid(2)`: whom new files belong to.
///
/// Quirk: neither reports failure; a second call tells which id is in force, and that is compared.
pub fn set_fs_ids(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: no pointers.
    let now = unsafe {
        syscall1(k::__NR_setfsgid as usize, gid as usize);
        syscall1(k::__NR_setfsuid as usize, uid as usize);
        // No id, no change: the answer is what it is now. Who may set the one may set the other.
        syscall1(k::__NR_setfsuid as usize, u32::MAX as usize)
    };
    if now as u32 == uid { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
}

/// Changes of user ids leave capabilities as they are (`SECBIT_NO_SETUID_FIXUP`, capabilities(7)), until another user namespace
/// is entered.
pub fn keep_capabilities() -> io::Result<()> {
    const SECBIT_NO_SETUID_FIXUP: usize = 1 << 2;
    // SAFETY: no pointers.
    let r = unsafe {
        syscall5(
            k::__NR_prctl as usize,
            linux_raw_sys::prctl::PR_SET_SECUREBITS as usize,
            SECBIT_NO_SETUID_FIXUP,
            0,
            0,
            0,
        )
    };
    check(r).map(drop)
}

/// What `fstat(2)` tells about an open file.
pub fn fstat(fd: BorrowedFd) -> io::Result<k::stat> {
    let mut found = std::mem::MaybeUninit::<k::stat>::uninit();
    // SAFETY: the kernel fills the whole structure on success, and only then is it read.
    unsafe {
        check(syscall2(k::__NR_fstat as usize, at(fd), found.as_mut_ptr() as usize))?;
        Ok(found.assume_init())
    }
}

/// The magic number of the filesystem that `fd` is on. `fstatfs(2)`.
pub fn fs_magic(fd: BorrowedFd) -> io::Result<u64> {
    let mut found = std::mem::MaybeUninit::<k::statfs64>::uninit();
    // SAFETY: as for fstat(); on 64-bit machines statfs and statfs64 are one structure.
    unsafe {
        check(syscall2(k::__NR_fstatfs as usize, at(fd), found.as_mut_ptr() as usize))?;
        Ok(found.assume_init().f_type as u64)
    }
}

/// The magic number of the filesystem that `fd` is on, and the flags of the mount that it was reached by (`ST_*`, those of
/// the filesystem among them). `fstatfs(2)`; the flags since 2.6.36.
pub fn fs_flags(fd: BorrowedFd) -> io::Result<(u64, u64)> {
    let mut found = std::mem::MaybeUninit::<k::statfs64>::uninit();
    // SAFETY: as for fs_magic().
    unsafe {
        check(syscall2(k::__NR_fstatfs as usize, at(fd), found.as_mut_ptr() as usize))?;
        let found = found.assume_init();
        Ok((found.f_type as u64, found.f_flags as u64))
    }
}

/// Fills `into` with directory entries as the kernel packs them; 0 at the end. `getdents64(2)`.
pub fn getdents(dir: BorrowedFd, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are of one slice that we hold exclusively.
    check(unsafe { syscall3(k::__NR_getdents64 as usize, at(dir), into.as_mut_ptr() as usize, into.len()) })
}

/// `geteuid(2)`: cannot fail.
pub fn euid() -> u32 {
    // SAFETY: no pointers.
    unsafe { syscall0(k::__NR_geteuid as usize) as u32 }
}

/// `unshare(2)`: `flags` are `CLONE_NEW*`.
pub fn unshare(flags: u32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { syscall1(k::__NR_unshare as usize, flags as usize) }).map(drop)
}

/// `fchownat(2)`, of a link itself.
pub fn chown(dir: BorrowedFd, path: &CStr, uid: u32, gid: u32) -> io::Result<()> {
    let flags = k::AT_SYMLINK_NOFOLLOW;
    // SAFETY: as for mount().
    let r = unsafe {
        syscall5(k::__NR_fchownat as usize, at(dir), text(path), uid as usize, gid as usize, flags as usize)
    };
    check(r).map(drop)
}

/// What is at `path`, a link itself if it is one (`AT_SYMLINK_NOFOLLOW`); an empty path means `dir`. `statx(2)`,
/// Linux 4.11; `STATX_ATTR_MOUNT_ROOT` in `stx_attributes` since 5.8.
pub fn statx(dir: BorrowedFd, path: &CStr) -> io::Result<k::statx> {
    let mut found = std::mem::MaybeUninit::<k::statx>::uninit();
    let flags = k::AT_SYMLINK_NOFOLLOW | k::AT_EMPTY_PATH | k::AT_NO_AUTOMOUNT;
    // SAFETY: the kernel fills the whole structure on success, and only then is it read; the path is only read.
    unsafe {
        check(syscall5(
            k::__NR_statx as usize,
            at(dir),
            text(path),
            flags as usize,
            k::STATX_BASIC_STATS as usize,
            found.as_mut_ptr() as usize,
        ))?;
        Ok(found.assume_init())
    }
}

/// What the link at `path` says, cut off at the end of `into`; EINVAL if it is no link. An empty path means the link
/// that `dir` was opened on with `O_PATH`. `readlinkat(2)`.
pub fn readlink(dir: BorrowedFd, path: &CStr, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are of one slice that we hold exclusively; the path is only read.
    let r =
        unsafe { syscall4(k::__NR_readlinkat as usize, at(dir), text(path), into.as_mut_ptr() as usize, into.len()) };
    check(r)
}

/// One more name, `path` in `dir`, for the file `from` in `from_dir`; a link gets the name itself. `linkat(2)`.
pub fn link(from_dir: BorrowedFd, from: &CStr, dir: BorrowedFd, path: &CStr) -> io::Result<()> {
    // SAFETY: as for mount().
    let r = unsafe { syscall5(k::__NR_linkat as usize, at(from_dir), text(from), at(dir), text(path), 0) };
    check(r).map(drop)
}

/// `fchownat(2)` of what `fd` is open on, with `O_PATH` too.
pub fn chown_open(fd: BorrowedFd, uid: u32, gid: u32) -> io::Result<()> {
    let flags = k::AT_EMPTY_PATH;
    // SAFETY: as for mount().
    let r =
        unsafe { syscall5(k::__NR_fchownat as usize, at(fd), text(c""), uid as usize, gid as usize, flags as usize) };
    check(r).map(drop)
}

/// `fchmod(2)`. EBADF for a descriptor with `O_PATH`.
pub fn chmod_open(fd: BorrowedFd, mode: u32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { syscall2(k::__NR_fchmod as usize, at(fd), mode as usize) }).map(drop)
}

/// Sets when what `fd` is open on was changed; when it was read stays. `utimensat(2)` with `AT_EMPTY_PATH`, which takes
/// descriptors with `O_PATH` since Linux 5.8.
pub fn set_mtime(fd: BorrowedFd, seconds: i64, nanoseconds: u32) -> io::Result<()> {
    let times: [i64; 4] = [0, i64::from(k::UTIME_OMIT), seconds, i64::from(nanoseconds)];
    // SAFETY: two struct timespec are four 64-bit numbers, which are only read; the path is NUL-terminated.
    let r = unsafe {
        syscall4(k::__NR_utimensat as usize, at(fd), text(c""), times.as_ptr() as usize, k::AT_EMPTY_PATH as usize)
    };
    check(r).map(drop)
}

/// `lseek(2)`: `whence` is `SEEK_*`.
pub fn seek(fd: BorrowedFd, offset: u64, whence: u32) -> io::Result<u64> {
    // SAFETY: no pointers.
    check(unsafe { syscall3(k::__NR_lseek as usize, at(fd), offset as usize, whence as usize) }).map(|at| at as u64)
}

/// `ftruncate(2)`: shorter, or longer with a hole.
pub fn set_length(fd: BorrowedFd, length: u64) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { syscall2(k::__NR_ftruncate as usize, at(fd), length as usize) }).map(drop)
}

/// The names of the extended attributes of an open file, each ended by a NUL byte. `flistxattr(2)`.
pub fn list_attributes(fd: BorrowedFd, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are of one slice that we hold exclusively.
    check(unsafe { syscall3(k::__NR_flistxattr as usize, at(fd), into.as_mut_ptr() as usize, into.len()) })
}

/// The value of an extended attribute of an open file. `fgetxattr(2)`.
pub fn attribute(fd: BorrowedFd, name: &CStr, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: as for list_attributes(); the name is only read.
    let r =
        unsafe { syscall4(k::__NR_fgetxattr as usize, at(fd), text(name), into.as_mut_ptr() as usize, into.len()) };
    check(r)
}

/// Sets an extended attribute of an open file. `fsetxattr(2)`.
pub fn set_attribute(fd: BorrowedFd, name: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: pointer and length are of one slice; both it and the name are only read.
    let r =
        unsafe { syscall5(k::__NR_fsetxattr as usize, at(fd), text(name), value.as_ptr() as usize, value.len(), 0) };
    check(r).map(drop)
}

/// Exchanges what two names in one directory lead to. `renameat2(2)`, `RENAME_EXCHANGE`. The tests' adversary.
#[cfg(test)]
pub fn exchange(dir: BorrowedFd, one: &CStr, other: &CStr) -> io::Result<()> {
    let flags = k::RENAME_EXCHANGE;
    // SAFETY: as for mount().
    let r = unsafe { syscall5(k::__NR_renameat2 as usize, at(dir), text(one), at(dir), text(other), flags as usize) };
    check(r).map(drop)
}

/// A lock on an open file or directory, gone with the last descriptor of that opening. `flock(2)`: `how` is `LOCK_SH` or `LOCK_EX`,
/// with `LOCK_NB` for EWOULDBLOCK instead of waiting.
pub fn lock(fd: BorrowedFd, how: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { syscall2(k::__NR_flock as usize, at(fd), how as usize) }).map(drop)
}

/// All that was written to the filesystem that `fd` is on is on the disk when this returns. `syncfs(2)`; since Linux 5.8 it tells of
/// errors too.
pub fn sync_filesystem(fd: BorrowedFd) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { syscall1(k::__NR_syncfs as usize, at(fd)) }).map(drop)
}

/// What was written to a file, or the names in a directory, are on the disk when this returns. `fsync(2)`.
pub fn sync(fd: BorrowedFd) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { syscall1(k::__NR_fsync as usize, at(fd)) }).map(drop)
}
