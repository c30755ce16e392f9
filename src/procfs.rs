//! The host's `/proc`, by descriptor, whether it is mounted or not.
//!
//! In an initramfs nothing may be mounted. Instead of mounting it for everybody to see, a detached procfs is made that
//! only this descriptor holds. A `/proc` that is no procfs is not believed.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use linux_raw_sys::general as k;

use crate::sys;

/// A directory descriptor of procfs.
pub fn open() -> io::Result<OwnedFd> {
    let mounted = sys::openat(sys::CWD, c"/proc", k::O_PATH | k::O_DIRECTORY, 0);
    if let Ok(dir) = mounted {
        if sys::fs_magic(dir.as_fd())? == u64::from(k::PROC_SUPER_MAGIC) {
            return Ok(dir);
        }
    }
    let context = rootfs::sys::fsopen(c"proc")?;
    rootfs::sys::fsconfig_create(context.as_fd())?;
    rootfs::sys::fsmount(context.as_fd(), k::MOUNT_ATTR_NOSUID | k::MOUNT_ATTR_NODEV | k::MOUNT_ATTR_NOEXEC)
}

/// A whole file of procfs, which says nothing of its size; at most 4 MiB.
pub fn read(dir: BorrowedFd, path: &CStr) -> io::Result<Vec<u8>> {
    read_all(sys::openat(dir, path, k::O_RDONLY, 0)?.as_fd(), 4 << 20)
}

/// A file of procfs with a line or two in it, none of them long: they all come with the first read (fs/seq_file.c fills what it
/// is given as long as the next line fits), and looking for their end is another system call.
pub fn read_short(dir: BorrowedFd, path: &CStr) -> io::Result<Vec<u8>> {
    let mut piece = [0u8; 2048];
    let file = sys::openat(dir, path, k::O_RDONLY, 0)?;
    let n = loop {
        match sys::read(file.as_fd(), &mut piece) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    let mut all = piece.get(..n).unwrap_or_default().to_vec();
    if n > piece.len() / 2 {
        all.extend(read_all(file.as_fd(), 4 << 20)?);
    }
    Ok(all)
}

/// The namespace behind a link such as `self/ns/pid`, as the kernel shows it: `pid:[4026531836]`. Two are one and the same if
/// these are, and opening both to see that costs ten times as much: each gets an inode for it.
pub fn namespace(dir: BorrowedFd, path: &CStr) -> io::Result<Namespace> {
    let mut shown = Namespace { text: [0; 32] };
    let n = sys::readlink(dir, path, &mut shown.text)?;
    // A whole one is shorter.
    if n < shown.text.len() { Ok(shown) } else { Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG)) }
}

/// A namespace's kind and number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Namespace {
    text: [u8; 32],
}

impl Namespace {
    /// Its number: the inode number of its file.
    pub fn number(&self) -> &str {
        let inside = self.text.split(|byte| matches!(byte, b'[' | b']')).nth(1).unwrap_or_default();
        std::str::from_utf8(inside).unwrap_or_default()
    }

    /// Whether it is the first user namespace, in which all ids are what they are (`PROC_USER_INIT_INO`, include/linux/proc_ns.h:
    /// the same number since 3.8, a promise since 6.18).
    pub fn is_first_user(&self) -> bool {
        self.text.starts_with(b"user:[4026531837]\0")
    }
}

/// Everything that a descriptor yields, but no more than `most` bytes (EFBIG).
pub fn read_all(file: BorrowedFd, most: usize) -> io::Result<Vec<u8>> {
    // By way of the stack: most of these files are small, and what is taken from the arena stays taken.
    let mut piece = [0u8; 4096];
    let mut all = Vec::new();
    loop {
        let n = match sys::read(file, &mut piece) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if n == 0 {
            return Ok(all);
        }
        all.extend_from_slice(piece.get(..n).unwrap_or_default());
        if all.len() > most {
            return Err(io::Error::from_raw_os_error(libc::EFBIG));
        }
    }
}

/// Everything in a regular file of this size, which needs no second look for its end; more than that if it has grown.
pub fn read_sized(file: BorrowedFd, size: u64, most: usize) -> io::Result<Vec<u8>> {
    let mut piece = [0u8; 4096];
    if size == 0 || size >= piece.len() as u64 {
        return read_all(file, most);
    }
    let n = sys::read(file, &mut piece)?;
    let mut all = piece.get(..n).unwrap_or_default().to_vec();
    if n as u64 != size {
        all.extend(read_all(file, most)?);
    }
    Ok(all)
}

/// Opens a file of procfs for writing and writes `text` at once, as id maps want it.
pub fn write(dir: BorrowedFd, path: &CStr, text: &str) -> io::Result<()> {
    let file = sys::openat(dir, path, k::O_WRONLY, 0)?;
    sys::write(file.as_fd(), text.as_bytes()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &[u8]) -> Namespace {
        let mut namespace = Namespace { text: [0; 32] };
        namespace.text[..text.len()].copy_from_slice(text);
        namespace
    }

    #[test]
    fn a_namespace_has_a_number() {
        assert_eq!(shown(b"pid:[4026531836]").number(), "4026531836");
        for garbage in [&b""[..], b"pid:", b"\xff[\xff]"] {
            assert_eq!(shown(garbage).number(), "");
        }
        assert!(shown(b"user:[4026531837]").is_first_user());
        for other in [&b"user:[40265318370]"[..], b"user:[4026531838]", b"user:[402653183]", b"mnt:[4026531837]", b""]
        {
            assert!(!shown(other).is_first_user());
        }
    }
}
