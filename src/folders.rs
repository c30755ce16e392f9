//! Where state is kept: the folder that lives until the next boot, and the one that outlives it.

use std::env;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use linux_raw_sys::general as k;

use crate::sys;

fn absolute(path: OsString) -> PathBuf {
    let path = PathBuf::from(path);
    if path.is_absolute() { path } else { env::current_dir().unwrap_or_default().join(path) }
}

fn from_environment(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|p| !p.is_empty()).map(absolute)
}

/// What lives until the next boot: `$CTR_STATE`, or `/run/ctr`, or for an ordinary user a folder of his own. Found once: a
/// supervisor has another working directory later.
pub fn folder() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(find_folder).clone()
}

fn find_folder() -> PathBuf {
    let own = || env::var_os("XDG_RUNTIME_DIR").filter(|p| Path::new(p).is_absolute());
    from_environment("CTR_STATE").unwrap_or_else(|| match sys::euid() {
        0 => PathBuf::from("/run/ctr"),
        uid => own().map_or_else(|| PathBuf::from(format!("/tmp/ctr-{uid}")), |path| PathBuf::from(path).join("ctr")),
    })
}

/// What outlives it: `$CTR_ROOT`, or `/var/lib/ctr`, or for an ordinary user a folder of his own.
pub fn lasting_folder() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(find_lasting_folder).clone()
}

fn find_lasting_folder() -> PathBuf {
    let dir = |name: &str| env::var_os(name).filter(|p| Path::new(p).is_absolute()).map(PathBuf::from);
    from_environment("CTR_ROOT").unwrap_or_else(|| match sys::euid() {
        0 => PathBuf::from("/var/lib/ctr"),
        _ => match (dir("XDG_DATA_HOME"), dir("HOME")) {
            (Some(data), _) => data.join("ctr"),
            (None, Some(home)) => home.join(".local/share/ctr"),
            (None, None) => folder(),
        },
    })
}

/// Does something for each name in a directory, without `.` and `..`. Takes no memory: this is done by whoever becomes a
/// supervisor, among a thousand others perhaps.
pub fn each_name(dir: BorrowedFd, all: bool, act: &mut dyn FnMut(&CStr)) -> io::Result<()> {
    let mut buffer = [0u8; 8192];
    loop {
        let used = sys::getdents(dir, &mut buffer)?;
        let mut rest = buffer.get(..used).unwrap_or_default();
        // struct linux_dirent64: inode 8, offset 8, length 2, type 1, name.
        while let Some(length) = rest.get(16..18).map(|b| usize::from(u16::from_ne_bytes([b[0], b[1]]))) {
            let name = rest.get(19..length).and_then(|b| CStr::from_bytes_until_nul(b).ok()).unwrap_or_default();
            if !matches!(name.to_bytes(), b"" | b"." | b"..") {
                act(name);
            }
            rest = rest.get(length.max(19)..).unwrap_or_default();
        }
        // Where another name would have fitted (255 bytes at most), there is none, but for filesystems that stop early (FUSE, 9p).
        if used == 0 || !all && used + 19 + 256 < buffer.len() {
            return Ok(());
        }
    }
}

/// What is in a folder, by name. Not by the standard library, which panics where a directory cannot be closed.
pub fn entries(folder: &Path) -> io::Result<Vec<OsString>> {
    let path = CString::new(folder.as_os_str().as_encoded_bytes())?;
    let dir = sys::openat(sys::CWD, &path, k::O_RDONLY | k::O_DIRECTORY, 0)?;
    let mut all = Vec::new();
    each_name(dir.as_fd(), true, &mut |name| all.push(OsStr::from_bytes(name.to_bytes()).to_owned()))?;
    Ok(all)
}

/// The same, as far as names are text; nothing, if it cannot be read.
pub fn names(folder: &Path) -> Vec<String> {
    entries(folder).unwrap_or_default().into_iter().filter_map(|name| name.into_string().ok()).collect()
}
