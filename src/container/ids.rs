//! Ranges of ids for containers with a user namespace: two that live never have the same one.
//!
//! A range is leased by making a link `ids/NUMBER` in the state folder that says which container has it. That is one system call, and
//! no two commands succeed; a link has its content from the beginning on, so there is no moment in which nobody knows whose it is.
//! Who leased it gives it back. Where that one was killed, whoever takes away what is left of the container does; and if no range is
//! left, all links are looked at.
//!
//! Which range a container gets follows from its id, so that it usually has the same one again. It need not: files are stored with
//! the ids that they have inside.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use linux_raw_sys::general as k;

use super::record::{self, Record, State};
use crate::error::{Doing, Error, Result};
use crate::idmap::{IdMap, RANGES};
use crate::sys;

/// A range that is ours until it is given back.
#[derive(Debug)]
pub struct Lease {
    number: u32,
    link: CString,
}

/// How often a look is taken, some milliseconds apart, while others are making containers.
const TRIES: usize = 40;

fn folder() -> PathBuf {
    record::folder().join("ids")
}

fn link(number: u32) -> CString {
    CString::new(folder().join(number.to_string()).as_os_str().as_bytes()).unwrap_or_default()
}

/// Whose a range is. None if it is nobody's.
fn owner(link: &CStr) -> Option<String> {
    let mut text = [0; 128];
    let length = sys::readlink(sys::CWD, link, &mut text).ok()?;
    Some(String::from_utf8_lossy(text.get(..length)?).into_owned())
}

/// The folder, locked: whoever takes links of others away, or takes over one that is there, looks and acts in one. None if somebody
/// who was stopped in the middle holds it; then what is left stays for the next one.
fn locked() -> Option<OwnedFd> {
    let path = CString::new(folder().as_os_str().as_bytes()).ok()?;
    let dir = sys::openat(sys::CWD, &path, k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW, 0).ok()?;
    for _ in 0..TRIES * 5 {
        if sys::lock(dir.as_fd(), false).is_ok() {
            return Some(dir);
        }
        let _ = sys::poll(&mut [], 5);
    }
    None
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Once more: nobody looks for it before all ranges are taken.
        if sys::unlink(sys::CWD, &self.link, false).is_err() {
            let _ = sys::unlink(sys::CWD, &self.link, false);
        }
    }
}

impl Lease {
    /// The map of this range.
    pub fn map(&self) -> IdMap {
        IdMap::range(self.number)
    }

    /// A range for the container with this id, which nobody else makes at this moment (its directory is locked).
    pub fn take(id: &str) -> Result<Lease> {
        let doing = || "lease a range of ids";
        if let Some(lease) = Lease::try_all(id).doing(doing(), folder().display())? {
            return Ok(lease);
        }
        for _ in 0..TRIES {
            if reclaim(Some(id))? {
                break;
            }
            let _ = sys::poll(&mut [], 5);
        }
        Lease::try_all(id).doing(doing(), folder().display())?.ok_or_else(|| {
            Error::usage(format_args!(
                "all {RANGES} ranges of ids are in use ({}): end a container, or use --userns host",
                folder().display()
            ))
        })
    }

    fn try_all(id: &str) -> io::Result<Option<Lease>> {
        let content = CString::new(id)?;
        let wish = IdMap::wish(id);
        for n in 0..RANGES {
            let number = (wish + n) % RANGES;
            let link = link(number);
            let mut made = rootfs::sys::symlink(&content, sys::CWD, &link);
            if made.as_ref().is_err_and(|e| e.raw_os_error() == Some(libc::ENOENT)) {
                let folder = CString::new(folder().as_os_str().as_bytes())?;
                match sys::mkdir(sys::CWD, &folder, 0o700) {
                    Err(e) if e.raw_os_error() != Some(libc::EEXIST) => return Err(e),
                    _ => made = rootfs::sys::symlink(&content, sys::CWD, &link),
                }
            }
            match made {
                Ok(()) => return Ok(Some(Lease { number, link })),
                // Left by one who made this container before, and was killed.
                Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {
                    if owner(&link).as_deref() == Some(id) {
                        let lock = locked();
                        let there = owner(&link).as_deref() == Some(id)
                            || rootfs::sys::symlink(&content, sys::CWD, &link).is_ok();
                        if lock.is_some() && there {
                            return Ok(Some(Lease { number, link }));
                        }
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }
}

/// The links that say that a container has a range: the one of its record, and the one that it was about to write down.
fn leases_of(record: &Record) -> impl Iterator<Item = CString> {
    let first = || record.get("uids")?.split(':').nth(1)?.parse().ok();
    let wish = IdMap::wish(record.id());
    let recorded = first().and_then(IdMap::number).filter(|number| *number != wish);
    recorded
        .into_iter()
        .chain([wish])
        .map(link)
        .filter(|link| !record.id().is_empty() && owner(link).as_deref() == Some(record.id()))
}

/// Whether the range that a container with this id usually gets is said to be its own.
pub fn has_usual(id: &str) -> bool {
    owner(&link(IdMap::wish(id))).as_deref() == Some(id)
}

/// Whether one of the ranges is said to be this container's.
pub fn has_any(record: &Record) -> bool {
    leases_of(record).next().is_some()
}

/// Gives back what a container had that nobody looks after any more, and whose directory we have locked.
pub fn forget(record: &Record) {
    let Some(_lock) = locked() else { return };
    for link in leases_of(record) {
        let _ = sys::unlink(sys::CWD, &link, false);
    }
}

/// Gives back all ranges of containers that are gone, whoever they were. The links are read first: who makes one later is not among
/// them. Who is just making a container (which has no record yet) cannot be told from one who has a range: then nothing is done.
///
/// `our_own` is the container that we make ourselves. Tells whether it was done.
pub fn reclaim(our_own: Option<&str>) -> Result<bool> {
    let Some(dir) = locked() else { return Ok(!folder().exists()) };
    let mut leases = Vec::new();
    record::each_name(dir.as_fd(), true, &mut |name| {
        let number = name.to_str().ok().and_then(|text| text.parse::<u32>().ok());
        leases.extend(number.map(link).and_then(|link| owner(&link).map(|id| (link, id))));
    })
    .doing("see which ids are in use", folder().display())?;
    // Twice: one that is renamed in this moment may be missed.
    for _ in 0..2 {
        let (living, unknown) = State::unswept()?.living();
        let ourselves = our_own.is_some_and(|id| !living.contains(id));
        if unknown > usize::from(ourselves) {
            return Ok(false);
        }
        leases.retain(|(_, id)| !living.contains(id));
    }
    for (link, id) in &leases {
        if owner(link).as_deref() == Some(id) {
            let _ = sys::unlink(sys::CWD, link, false);
        }
    }
    Ok(true)
}
