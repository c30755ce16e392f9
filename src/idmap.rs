//! Maps of user and group ids between a user namespace and the host (user_namespaces(7)).
//!
//! A map is a list of extents, one list for users and one for groups: so many ids from `inside` on are those from `outside` on.

use std::ffi::{CStr, CString};
use std::fmt::Write;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;

use linux_raw_sys::general as k;

use crate::error::{Error, Result};
use crate::{procfs, sys};

/// Ids in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first id inside.
    pub inside: u32,
    /// The first id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// Which ids inside are which outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// Of users.
    pub users: Vec<Extent>,
    /// Of groups.
    pub groups: Vec<Extent>,
}

/// How many ids a container of root's gets.
pub const RANGE: u32 = 65_536;

/// How many such ranges there are.
pub const RANGES: u32 = 16_382;

/// Where they begin: at 2^30, above what distributions give accounts and /etc/subuid. Up to 0x6FFFFFFF systemd-nspawn takes ranges for
/// its own containers there, if it is asked for private users: who runs both has them share ids with little probability, and no
/// range is free of that and large enough. They end where systemd's foreign range begins (0x7FFE0000: images at rest, owned by no
/// running container), and thereby below 2^31, where ids begin to look negative (CVE-2024-40635).
const FIRST: u32 = 1 << 30;

/// How many extents the kernel takes (include/linux/user_namespace.h), and how long the text may be (a page).
const MOST_EXTENTS: usize = 340;
const MOST_TEXT: usize = 4095;

/// The ids that look negative to who stores them signed.
const SIGN: u32 = 1 << 31;

impl IdMap {
    fn both(extent: Extent) -> IdMap {
        IdMap { users: vec![extent], groups: vec![extent] }
    }

    /// One of the ranges for containers that root makes.
    pub fn range(number: u32) -> IdMap {
        IdMap::both(Extent { inside: 0, outside: FIRST + (number % RANGES) * RANGE, count: RANGE })
    }

    /// Which range begins with this id outside, if one does.
    pub fn number(outside: u32) -> Option<u32> {
        let offset = outside.checked_sub(FIRST)?;
        (offset % RANGE == 0 && offset / RANGE < RANGES).then_some(offset / RANGE)
    }

    /// Which range a container would like to have, by its id.
    pub fn wish(id: &str) -> u32 {
        u32::from_str_radix(id.get(..4).unwrap_or("0"), 16).unwrap_or(0) % RANGES
    }

    /// The range that a container would like to have.
    pub fn chosen_by(id: &str) -> IdMap {
        IdMap::range(IdMap::wish(id))
    }

    /// Root inside is the caller outside, and nobody else exists: all that may be done without privileges.
    pub fn only(uid: u32, gid: u32) -> IdMap {
        let one = |outside| vec![Extent { inside: 0, outside, count: 1 }];
        IdMap { users: one(uid), groups: one(gid) }
    }

    /// `--uidmap` and `--gidmap`, INSIDE:OUTSIDE:COUNT each; what is not given is as the other one. None if neither is.
    pub fn by_hand(users: &[String], groups: &[String]) -> Result<Option<IdMap>> {
        let uids = extents(users, "--uidmap")?;
        let gids = extents(groups, "--gidmap")?;
        let map = match (uids.is_empty(), gids.is_empty()) {
            (true, true) => return Ok(None),
            (false, true) => IdMap { groups: uids.clone(), users: uids },
            (true, false) => IdMap { users: gids.clone(), groups: gids },
            (false, false) => IdMap { users: uids, groups: gids },
        };
        if map.user(0).is_none() || map.group(0).is_none() {
            return Err(Error::usage(
                "bad --uidmap or --gidmap: id 0 inside must be mapped, because root inside makes the container's files",
            ));
        }
        Ok(Some(map))
    }

    /// Whether there is one id alone: the caller's, as the kernel lets everybody have it.
    pub fn is_one(&self) -> bool {
        *self == IdMap::only(sys::euid(), sys::egid())
    }

    /// What a user inside is outside.
    pub fn user(&self, id: u32) -> Option<u32> {
        outside(&self.users, id)
    }

    /// What a group inside is outside.
    pub fn group(&self, id: u32) -> Option<u32> {
        outside(&self.groups, id)
    }

    /// Root inside, user and group, outside. Every map has one.
    pub fn root(&self) -> (u32, u32) {
        (self.user(0).unwrap_or(0), self.group(0).unwrap_or(0))
    }

    /// Which ids there are, for people: `0 to 65535`.
    pub fn ids(&self) -> String {
        let range = |e: &Extent| match e.count {
            1 => e.inside.to_string(),
            count => format!("{} to {}", e.inside, e.inside + (count - 1)),
        };
        self.users.iter().map(range).collect::<Vec<_>>().join(", ")
    }

    /// How it is written down: `INSIDE:OUTSIDE:COUNT`, separated by commas, of users and of groups.
    pub fn text(&self) -> (String, String) {
        let one = |extents: &[Extent]| {
            let all: Vec<_> = extents.iter().map(|e| format!("{}:{}:{}", e.inside, e.outside, e.count)).collect();
            all.join(",")
        };
        (one(&self.users), one(&self.groups))
    }

    /// Writes the maps of the process, which has just been made with a user namespace of its own and waits.
    ///
    /// A group map for one's own id alone is accepted only after `setgroups` is denied (CVE-2014-8989).
    pub fn write(&self, proc: BorrowedFd, pid: u32) -> io::Result<()> {
        let file = |name: &str| CString::new(format!("{pid}/{name}")).map_err(io::Error::other);
        if sys::euid() != 0 {
            if !self.is_one() {
                helper(c"newuidmap", pid, &self.users)?;
                return helper(c"newgidmap", pid, &self.groups);
            }
            procfs::write(proc, &file("setgroups")?, "deny")?;
        }
        procfs::write(proc, &file("uid_map")?, &for_kernel(&self.users))?;
        procfs::write(proc, &file("gid_map")?, &for_kernel(&self.groups))
    }
}

/// Where shadow's programs for the id maps of ordinary users may be.
const HELPERS: [&str; 4] = ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin"];

/// The path of one of them, if this machine has it.
fn path_of(name: &CStr) -> Option<CString> {
    let paths = HELPERS.iter().filter_map(|dir| CString::new(format!("{dir}/{}", name.to_string_lossy())).ok());
    paths.into_iter().find(|path| sys::openat(sys::CWD, path, k::O_PATH, 0).is_ok())
}

/// Whether an ordinary user can have more than one id at all here: the kernel lets root alone write such a map, and newuidmap(1) does it
/// for who is in /etc/subuid.
pub fn has_helpers() -> bool {
    path_of(c"newuidmap").is_some() && path_of(c"newgidmap").is_some()
}

/// Has newuidmap or newgidmap write a map: the only programs that ctr ever executes beside the container's own, and only where an
/// ordinary user asks for it.
fn helper(name: &CStr, pid: u32, extents: &[Extent]) -> io::Result<()> {
    let path = path_of(name).ok_or(io::Error::from_raw_os_error(libc::ENOENT))?;
    let numbers = extents.iter().flat_map(|e| [e.inside, e.outside, e.count]);
    let words: Vec<CString> =
        std::iter::once(pid).chain(numbers).filter_map(|n| CString::new(n.to_string()).ok()).collect();
    let argv: Vec<_> =
        [name.as_ptr()].into_iter().chain(words.iter().map(|word| word.as_ptr())).chain([ptr::null()]).collect();
    let (from, to) = sys::pipe()?;
    let Some((process, _)) = sys::fork()? else {
        let said = sys::dup_to(to.as_fd(), 2).and_then(|()| sys::block_signals(0));
        let _ = said.err().unwrap_or_else(|| sys::exec(sys::CWD, &path, &argv, &[ptr::null()]));
        sys::exit(127)
    };
    drop(to);
    let said = procfs::read_all(from.as_fd(), 4096).unwrap_or_default();
    if sys::wait_pidfd(process.as_fd())? == sys::Ended::Code(0) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().next().unwrap_or("it failed without a word");
    Err(io::Error::other(line.chars().filter(|c| !c.is_control()).collect::<String>()))
}

fn outside(extents: &[Extent], id: u32) -> Option<u32> {
    extents.iter().find_map(|e| id.checked_sub(e.inside).filter(|n| *n < e.count)?.checked_add(e.outside))
}

fn for_kernel(extents: &[Extent]) -> String {
    extents.iter().fold(String::new(), |mut text, e| {
        let _ = writeln!(text, "{} {} {}", e.inside, e.outside, e.count);
        text
    })
}

/// Reads all of one option.
fn extents(texts: &[String], option: &str) -> Result<Vec<Extent>> {
    let mut all: Vec<Extent> = Vec::new();
    for text in texts {
        let new = extent(text, option)?;
        let meet = |a: u32, b: u32, old: &Extent| a < b + old.count && b < a + new.count;
        if let Some(old) =
            all.iter().find(|old| meet(new.inside, old.inside, old) || meet(new.outside, old.outside, old))
        {
            return Err(Error::usage(format_args!(
                "bad {option} {text:?}: it overlaps with {}:{}:{}: an id is in one range only",
                old.inside, old.outside, old.count
            )));
        }
        all.push(new);
    }
    if all.len() > MOST_EXTENTS || for_kernel(&all).len() > MOST_TEXT {
        return Err(Error::usage(format_args!(
            "too many ranges for {option}: the kernel takes {MOST_EXTENTS}, in {MOST_TEXT} bytes"
        )));
    }
    Ok(all)
}

fn extent(text: &str, option: &str) -> Result<Extent> {
    let bad = |why: &str| Error::usage(format_args!("bad {option} {text:?}: {why}"));
    let numbers: Vec<&str> = text.split(':').collect();
    let &[inside, outside, count] = numbers.as_slice() else {
        return Err(bad("it is INSIDE:OUTSIDE:COUNT, such as 0:100000:65536"));
    };
    let number = |text: &str| {
        // No sign: u32 would take a plus.
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !plain {
            return Err(bad("it is INSIDE:OUTSIDE:COUNT, such as 0:100000:65536"));
        }
        text.parse::<u32>().ok().filter(|n| *n < SIGN).ok_or_else(|| bad("ids end at 2147483647"))
    };
    let new = Extent { inside: number(inside)?, outside: number(outside)?, count: number(count)? };
    if new.count == 0 {
        return Err(bad("a range has one id at least"));
    }
    if new.inside.max(new.outside) > SIGN - new.count {
        return Err(bad("ids end at 2147483647"));
    }
    Ok(new)
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
        for number in [0, 1, RANGES - 1, RANGES, u32::MAX] {
            let first = IdMap::range(number).users[0];
            assert!(
                first.outside >= 1 << 30
                    && first.outside.checked_add(RANGE - 1).is_some_and(|last| last < 0x7FFE_0000)
            );
            assert_eq!(first.outside % RANGE, 0);
        }
        for id in ["0000aa", "ffffbb", "3fff00", "zz", ""] {
            assert!(IdMap::wish(id) < RANGES);
        }
        assert!(IdMap::only(1000, 100).user(0) == Some(1000) && IdMap::only(1000, 100).user(1).is_none());
    }

    #[test]
    fn maps_by_hand() {
        let words = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let map = |users: &[&str], groups: &[&str]| IdMap::by_hand(&words(users), &words(groups));
        assert_eq!(map(&[], &[]).unwrap(), None);
        let two = map(&["0:100000:10", "1000:1000:1"], &[]).unwrap().unwrap();
        assert_eq!(
            (two.user(9), two.user(10), two.user(1000), two.group(1000)),
            (Some(100_009), None, Some(1000), Some(1000))
        );
        assert_eq!(two.ids(), "0 to 9, 1000");
        assert_eq!(two.text().0, "0:100000:10,1000:1000:1");
        let own = map(&["0:1:1"], &["0:2:2147483646"]).unwrap().unwrap();
        assert_eq!((own.root(), own.group(5)), ((1, 2), Some(7)));
        for bad in [
            "",
            "0",
            "0:1",
            "0:1:2:3",
            "a:b:c",
            "0:1:0",
            "0:-1:1",
            "+0:1:1",
            " 0:1:1",
            "0:2147483648:1",
            "0:1:2147483648",
            "0:2147483647:2",
            "2147483647:0:2",
            "0:99999999999999999999:1",
            "0::1",
            "1:1:1",
        ] {
            let error = map(&[bad], &[]).unwrap_err().to_string();
            assert!(error.contains("--uidmap") && !error.contains('\n'), "{bad:?}: {error}");
        }
        assert!(map(&["0:100:10", "9:200:10"], &[]).is_err(), "overlap inside");
        assert!(map(&["0:100:10", "10:109:10"], &[]).is_err(), "overlap outside");
        assert!(map(&["0:100:10", "10:110:10"], &[]).is_ok());
        assert!(map(&["0:100:10"], &["1:100:10"]).is_err(), "no group 0");
        let many: Vec<String> = (0..341).map(|n| format!("{n}:{}:1", 2 * n)).collect();
        assert!(IdMap::by_hand(&many[..340], &[]).is_ok() && IdMap::by_hand(&many, &[]).is_err());
        let long: Vec<String> = (0..200)
            .map(|n| format!("{}:{}:1", if n == 0 { 0 } else { 1_000_000_000 + n }, 1_000_000_000 + 2 * n))
            .collect();
        assert!(IdMap::by_hand(&long, &[]).is_err(), "longer than a page");
    }
}
