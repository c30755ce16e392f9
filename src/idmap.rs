//! Maps of user and group ids between a user namespace and the host (user_namespaces(7)).

use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use linux_raw_sys::general as k;

use crate::{procfs, sys};

/// One range, used for users and groups alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// The first id outside.
    pub outside: u32,
    /// How many, counted from 0 inside.
    pub count: u32,
    /// The group that `outside` has; differs from it only for a single id.
    pub outside_group: u32,
}

/// How many ids a container of root's gets.
pub const RANGE: u32 = 65_536;

impl IdMap {
    /// A range for a container that root makes, chosen by its id: among 16,384 between 2^30 and 2^31, where neither
    /// accounts nor /etc/subuid reach (and below 2^31, where ids begin to look negative: CVE-2024-40635).
    pub fn chosen_by(id: &str) -> IdMap {
        let seed = u32::from_str_radix(id.get(..4).unwrap_or("0"), 16).unwrap_or(0) & 0x3fff;
        let first = 0x4000_0000 + seed * RANGE;
        IdMap { outside: first, count: RANGE, outside_group: first }
    }

    /// Root inside is the caller outside, and nobody else exists: all that may be done without privileges.
    pub fn only(uid: u32, gid: u32) -> IdMap {
        IdMap { outside: uid, count: 1, outside_group: gid }
    }

    /// Whether an id exists inside.
    pub fn has(&self, id: u32) -> bool {
        id < self.count
    }

    /// Writes the maps of the process, which has just been made with a user namespace of its own and waits.
    ///
    /// A group map for one's own id alone is accepted only after `setgroups` is denied (CVE-2014-8989).
    pub fn write(&self, proc: BorrowedFd, pid: u32) -> io::Result<()> {
        let file = |name: &str| CString::new(format!("{pid}/{name}")).map_err(io::Error::other);
        if self.count == 1 {
            procfs::write(proc, &file("setgroups")?, "deny")?;
        }
        procfs::write(proc, &file("uid_map")?, &format!("0 {} {}\n", self.outside, self.count))?;
        procfs::write(proc, &file("gid_map")?, &format!("0 {} {}\n", self.outside_group, self.count))
    }
}

/// The user namespace of a process, to shift the ids of a mount with.
pub fn namespace_of(proc: BorrowedFd, pid: u32) -> io::Result<OwnedFd> {
    let path = CString::new(format!("{pid}/ns/user")).map_err(io::Error::other)?;
    sys::openat(proc, &path, k::O_RDONLY, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stay_between_accounts_and_the_sign_bit() {
        for id in ["0000aa", "ffffbb", "3fff00", "zz"] {
            let map = IdMap::chosen_by(id);
            assert!(map.outside >= 1 << 30 && map.outside.checked_add(RANGE - 1).is_some_and(|last| last < 1 << 31));
            assert_eq!(map.outside % RANGE, 0);
        }
        assert!(IdMap::only(1000, 100).has(0) && !IdMap::only(1000, 100).has(1));
    }
}
