//! Removing a tree of files, by descriptors alone: nothing in it, and nobody who changes it meanwhile, can lead out of it.
//!
//! Directories may be nested deeper than descriptors can be held, or than a path can be long: from a certain depth on, what
//! lies deeper is moved up to the top of the tree first.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use linux_raw_sys::general as k;

use crate::sys;

/// How deep directories are followed before they are moved up.
const DEEPEST: usize = 64;

/// Removes `name` in `parent` with everything in it; what is gone already is no error.
pub fn tree(parent: BorrowedFd, name: &CStr) -> io::Result<()> {
    // Each round removes what is less deep than DEEPEST, so that what is left has become less deep by that much.
    let mut moved = 0u64;
    loop {
        let before = moved;
        match remove(parent, name, None, 0, &mut moved) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
            Err(e) if e.raw_os_error() == Some(libc::ENOTEMPTY) && moved > before => {}
            done => return done,
        }
    }
}

/// Opens a directory, and nothing else. Who may not look into it, but owns it, gives himself the permission.
fn open(parent: BorrowedFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW;
    match sys::openat(parent, name, flags, 0) {
        Err(e) if e.raw_os_error() == Some(libc::EACCES) => {
            sys::chmod_no_follow(parent, name, 0o700)?;
            sys::openat(parent, name, flags, 0)
        }
        opened => opened,
    }
}

fn remove(parent: BorrowedFd, name: &CStr, top: Option<BorrowedFd>, depth: usize, moved: &mut u64) -> io::Result<()> {
    let failure = match sys::unlink(parent, name, false) {
        // EPERM is what some filesystems say of a directory, where POSIX wants it.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EISDIR | libc::EPERM | libc::EACCES)) => e,
        done => return done,
    };
    if sys::euid() != 0 {
        // Who is not root cannot take anything out of a directory of his own that he may not write to.
        let _ = sys::chmod_no_follow(parent, name, 0o700);
    }
    let dir = match open(parent, name) {
        Err(e) if e.raw_os_error() == Some(libc::ENOTDIR) => return Err(failure),
        opened => opened?,
    };
    let top = top.unwrap_or(dir.as_fd());
    if depth >= DEEPEST {
        *moved += 1;
        let aside = CString::new(format!(".ctr-{moved}-{}", std::process::id())).map_err(io::Error::other)?;
        return sys::rename_between(parent, name, top, &aside);
    }
    let mut last = Ok(());
    // What appears while this goes on is found in another round; somebody who is faster wins, with ENOTEMPTY.
    for _ in 0..3 {
        sys::rewind(dir.as_fd())?;
        let all = names(dir.as_fd())?;
        if all.is_empty() {
            break;
        }
        for name in &all {
            match remove(dir.as_fd(), name, Some(top), depth + 1, moved) {
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
                Err(e) => last = Err(e),
                Ok(()) => {}
            }
        }
    }
    match sys::unlink(parent, name, true) {
        // Why it is not empty is the better answer.
        Err(e) if e.raw_os_error() == Some(libc::ENOTEMPTY) => last.and(Err(e)),
        done => done,
    }
}

/// The names in a directory, without `.` and `..`.
fn names(dir: BorrowedFd) -> io::Result<Vec<CString>> {
    let mut found = Vec::new();
    let mut buffer = vec![0u8; 16 << 10];
    loop {
        let used = sys::getdents(dir, &mut buffer)?;
        if used == 0 {
            return Ok(found);
        }
        let mut rest = buffer.get(..used).unwrap_or_default();
        // struct linux_dirent64: inode 8, offset 8, length 2, type 1, name.
        while let Some(length) = rest.get(16..18).map(|b| usize::from(u16::from_ne_bytes([b[0], b[1]]))) {
            let name = rest.get(19..length).and_then(|b| b.split(|byte| *byte == 0).next()).unwrap_or_default();
            if !matches!(name, b"" | b"." | b"..") {
                found.extend(CString::new(name));
            }
            rest = rest.get(length.max(19)..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    fn scratch(name: &str) -> PathBuf {
        let base = std::env::temp_dir().join(format!("ctr-remove-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        fs::create_dir_all(base.join("tree/a/b")).unwrap();
        fs::create_dir_all(base.join("outside")).unwrap();
        fs::write(base.join("outside/file"), "stays").unwrap();
        base
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let base = scratch("links");
        std::os::unix::fs::symlink(base.join("outside"), base.join("tree/link")).unwrap();
        std::os::unix::fs::symlink("/", base.join("tree/a/root")).unwrap();
        fs::write(base.join("tree/a/b/file"), "goes").unwrap();
        let parent = fs::File::open(&base).unwrap();
        tree(parent.as_fd(), c"tree").unwrap();
        assert!(!base.join("tree").exists() && base.join("outside/file").exists());
        tree(parent.as_fd(), c"tree").unwrap();
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn depth_does_not_matter() {
        let base = scratch("deep");
        let mut dir: OwnedFd = fs::File::open(base.join("tree")).unwrap().into();
        for _ in 0..2000 {
            sys::mkdir(dir.as_fd(), c"d", 0o755).unwrap();
            dir = open(dir.as_fd(), c"d").unwrap();
        }
        drop(dir);
        let parent = fs::File::open(&base).unwrap();
        tree(parent.as_fd(), c"tree").unwrap();
        assert!(!base.join("tree").exists());
        fs::remove_dir_all(base).unwrap();
    }
}
