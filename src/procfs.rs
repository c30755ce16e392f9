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
