//! Names resolved inside a root, by descriptor, so that nothing in the tree can lead out of it.
//!
//! A root filesystem may be hostile: `/etc` a link to the host's `/etc`, `/data` a link to `/proc/self/fd/7`. Everything
//! that is opened, made or mounted on in such a tree goes through `openat2` with `RESOLVE_IN_ROOT` (links are followed,
//! but `/` and `..` mean the tree's own root) and `RESOLVE_NO_MAGICLINKS` (links that procfs invents are refused:
//! CVE-2024-21626).

use std::ffi::{CStr, CString, OsStr};
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use linux_raw_sys::general as k;

use crate::sys;

/// How often EAGAIN (somebody renamed something just now) is answered by another try.
const TRIES: usize = 128;

/// What stands at the end of a path that has to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A directory.
    Dir,
    /// An empty regular file, to mount a file on.
    File,
}

/// Whether symbolic links inside the root count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Links {
    /// Followed, inside the root: what the user named may be a link in the image.
    Follow,
    /// Refused (ELOOP): the tree's own `/proc`, `/dev`, `/sys` must be what they seem.
    Refuse,
}

/// Opens `path` inside `root`. EAGAIN is tried again, a bounded number of times.
pub fn open(root: BorrowedFd, path: &CStr, flags: u32, links: Links) -> io::Result<OwnedFd> {
    let resolve = k::RESOLVE_IN_ROOT
        | k::RESOLVE_NO_MAGICLINKS
        | if links == Links::Refuse { k::RESOLVE_NO_SYMLINKS } else { 0 };
    let mut last = Err(io::Error::from_raw_os_error(libc::EAGAIN));
    for _ in 0..TRIES {
        last = sys::openat2(root, path, flags, 0, resolve);
        match &last {
            Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => {}
            _ => break,
        }
    }
    last
}

/// An absolute path inside a root that is known later, taken apart beforehand so that opening or making it does not
/// allocate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InRoot {
    path: CString,
    /// Each ancestor and the path itself: (relative path so far, its last name). Empty for the root.
    parts: Vec<(CString, CString)>,
}

impl InRoot {
    /// Cleans `path` as a shell user means it: `.`, `..` and doubled slashes go away by their words alone. None if it
    /// is not absolute or holds a NUL byte.
    pub fn new(path: &Path) -> Option<InRoot> {
        if !path.is_absolute() {
            return None;
        }
        let mut clean: Vec<&OsStr> = Vec::new();
        for part in path.components() {
            match part {
                Component::Normal(name) => clean.push(name),
                Component::ParentDir => drop(clean.pop()),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        let mut so_far = PathBuf::new();
        let mut parts = Vec::with_capacity(clean.len());
        for name in clean {
            so_far.push(name);
            parts.push((CString::new(so_far.as_os_str().as_bytes()).ok()?, CString::new(name.as_bytes()).ok()?));
        }
        let whole = Path::new("/").join(&so_far);
        Some(InRoot { path: CString::new(whole.into_os_string().as_bytes()).ok()?, parts })
    }

    /// The whole path, absolute.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.path.to_bytes()))
    }

    /// The whole path, absolute, for a call.
    pub fn as_cstr(&self) -> &CStr {
        &self.path
    }

    /// Whether this is `/` itself.
    pub fn is_root(&self) -> bool {
        self.parts.is_empty()
    }

    /// Opens it as a place (`O_PATH`); what is missing on the way is made, directories 0755 and the end as `kind`.
    ///
    /// A link that leads nowhere is EEXIST, not an invitation to make its target.
    pub fn open_or_make(&self, root: BorrowedFd, kind: Kind, links: Links) -> io::Result<OwnedFd> {
        let place = k::O_PATH | if kind == Kind::Dir { k::O_DIRECTORY } else { 0 };
        match open(root, &self.path, place, links) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
            done => return done,
        }
        let mut parent: Option<OwnedFd> = None;
        let last = self.parts.len().saturating_sub(1);
        for (n, (path, name)) in self.parts.iter().enumerate() {
            let flags = if n == last { place } else { k::O_PATH | k::O_DIRECTORY };
            let here = match open(root, path, flags, links) {
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                    let dir = parent.as_ref().map_or(root, std::os::fd::AsFd::as_fd);
                    if n == last && kind == Kind::File {
                        sys::mknod(dir, name, k::S_IFREG | 0o644, 0)?;
                    } else {
                        sys::mkdir(dir, name, 0o755)?;
                    }
                    open(root, path, flags, links)?
                }
                done => done?,
            };
            parent = Some(here);
        }
        parent.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }
}

impl fmt::Display for InRoot {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.as_path().display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;

    fn cleaned(path: &str) -> Option<String> {
        InRoot::new(Path::new(path)).map(|p| p.to_string())
    }

    #[test]
    fn paths_are_cleaned_by_their_words() {
        assert_eq!(cleaned("/a//b/./c").as_deref(), Some("/a/b/c"));
        assert_eq!(cleaned("/a/../../b").as_deref(), Some("/b"));
        assert_eq!(cleaned("/").as_deref(), Some("/"));
        assert_eq!(cleaned("/../..").as_deref(), Some("/"));
        assert_eq!(cleaned("a/b"), None);
        assert_eq!(cleaned("/a\0b"), None);
        assert!(InRoot::new(Path::new("/x/..")).unwrap().is_root());
    }

    /// A tree in a temporary directory whose links all try to lead out.
    fn hostile() -> (PathBuf, fs::File) {
        let base = std::env::temp_dir().join(format!(
            "ctr-in-root-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        let _ = fs::remove_dir_all(&base);
        fs::create_dir_all(base.join("root/real")).unwrap();
        fs::create_dir_all(base.join("outside")).unwrap();
        std::os::unix::fs::symlink("../../outside", base.join("root/up")).unwrap();
        std::os::unix::fs::symlink(base.join("outside"), base.join("root/absolute")).unwrap();
        std::os::unix::fs::symlink("/proc/self/cwd", base.join("root/magic")).unwrap();
        std::os::unix::fs::symlink("nowhere", base.join("root/dangling")).unwrap();
        let root = fs::File::open(base.join("root")).unwrap();
        (base, root)
    }

    #[test]
    fn links_do_not_lead_out() {
        let (base, root) = hostile();
        for name in ["/up/x", "/absolute/x"] {
            // Followed inside the root, where the target does not exist: refused or made inside, never outside.
            let _ = InRoot::new(Path::new(name)).unwrap().open_or_make(root.as_fd(), Kind::File, Links::Follow);
            assert_eq!(fs::read_dir(base.join("outside")).unwrap().count(), 0, "{name} reached out");
        }
        let refused = InRoot::new(Path::new("/up")).unwrap().open_or_make(root.as_fd(), Kind::Dir, Links::Refuse);
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::ELOOP));
        let dangling =
            InRoot::new(Path::new("/dangling")).unwrap().open_or_make(root.as_fd(), Kind::Dir, Links::Follow);
        assert_eq!(dangling.unwrap_err().raw_os_error(), Some(libc::EEXIST));
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn what_is_missing_is_made() {
        let (base, root) = hostile();
        InRoot::new(Path::new("/real/a/b/file"))
            .unwrap()
            .open_or_make(root.as_fd(), Kind::File, Links::Follow)
            .unwrap();
        assert!(base.join("root/real/a/b/file").is_file());
        InRoot::new(Path::new("/real/d/e")).unwrap().open_or_make(root.as_fd(), Kind::Dir, Links::Refuse).unwrap();
        assert!(base.join("root/real/d/e").is_dir());
        fs::remove_dir_all(base).unwrap();
    }
}
