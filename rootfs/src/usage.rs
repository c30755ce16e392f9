//! How much a tree of files takes, by descriptors alone: nobody who changes it meanwhile can lead out of it.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use linux_raw_sys::general as k;

use crate::sys;

/// How deep directories are followed; what lies deeper does not count.
const DEEPEST: usize = 256;

/// The bytes that everything below a directory takes on the disk. What cannot be looked at does not count.
pub fn bytes(parent: BorrowedFd, name: &CStr) -> io::Result<u64> {
    let flags = k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW;
    sum(&sys::openat(parent, name, flags, 0)?, 0)
}

fn sum(dir: &OwnedFd, depth: usize) -> io::Result<u64> {
    let mut all = 0;
    if depth > DEEPEST {
        return Ok(0);
    }
    let mut buffer = vec![0u8; 8 << 10];
    loop {
        let used = sys::getdents(dir.as_fd(), &mut buffer)?;
        if used == 0 {
            return Ok(all);
        }
        let mut rest = buffer.get(..used).unwrap_or_default();
        // struct linux_dirent64: inode 8, offset 8, length 2, type 1, name.
        while let Some(length) = rest.get(16..18).map(|b| usize::from(u16::from_ne_bytes([b[0], b[1]]))) {
            let name = rest.get(19..length).and_then(|b| CStr::from_bytes_until_nul(b).ok()).unwrap_or_default();
            if !matches!(name.to_bytes(), b"" | b"." | b"..") {
                let place = sys::openat(dir.as_fd(), name, k::O_PATH | k::O_NOFOLLOW, 0);
                if let Ok(stat) = place.as_ref().map_err(|_| ()).and_then(|fd| sys::fstat(fd.as_fd()).map_err(|_| ()))
                {
                    all += stat.st_blocks as u64 * 512;
                    if stat.st_mode & k::S_IFMT == k::S_IFDIR {
                        let flags = k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW;
                        let below = sys::openat(dir.as_fd(), name, flags, 0);
                        all += below.and_then(|below| sum(&below, depth + 1)).unwrap_or(0);
                    }
                }
            }
            rest = rest.get(length.max(19)..).unwrap_or_default();
        }
    }
}
