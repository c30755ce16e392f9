//! `-u`: who the command runs as, looked up in the root filesystem's own `/etc/passwd` and `/etc/group`.
//!
//! Those files belong to whoever made the image: they are opened inside that root, must be regular files (a FIFO would
//! hold us for ever: CVE-2024-9676), and are read up to a limit.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use linux_raw_sys::general as k;

use crate::error::{Doing, Error, Result};
use crate::{procfs, sys};

/// The highest id; the sign bit and beyond is where other programs went wrong (CVE-2024-40635).
pub const HIGHEST: u32 = i32::MAX as u32;

/// More than any passwd or group file that was ever needed.
const MOST: usize = 1 << 20;

/// Somebody to run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups: exactly these (CVE-2022-36109).
    pub groups: Vec<u32>,
    /// The home directory.
    pub home: String,
}

/// Reads a small text file inside `root`; a missing one is empty.
fn text_in(root: BorrowedFd, path: &CStr) -> Result<String> {
    let read = || -> io::Result<Vec<u8>> {
        let file = match rootfs::op::open_file_in(root, path) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => return Ok(Vec::new()),
            opened => opened?,
        };
        let stat = sys::fstat(file.as_fd())?;
        if stat.st_mode & k::S_IFMT != k::S_IFREG {
            return Err(io::Error::other("not a regular file"));
        }
        procfs::read_sized(file.as_fd(), stat.st_size as u64, MOST)
    };
    let bytes = read().doing("look the user up", path.to_string_lossy())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The lines of passwd or group, split at colons, comments left out.
fn entries(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(':').collect())
}

fn id(word: &str) -> Option<u32> {
    // Digits only: a sign or blank is a name nobody has (CVE-2026-30892 was a parser that was more liberal).
    if word.is_empty() || !word.bytes().all(|b| b.is_ascii_digit()) { None } else { word.parse().ok() }
}

/// A numeric id as typed, None for a name; too big is an error even if it does not fit a number.
fn typed_id(word: &str) -> Result<Option<u32>> {
    if word.is_empty() || !word.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match word.parse::<u32>() {
        Ok(id) if id <= HIGHEST => Ok(Some(id)),
        _ => Err(Error::usage(format_args!("bad id {word} in -u: {HIGHEST} is the highest"))),
    }
}

/// Finds the user that `wanted` (`USER[:GROUP]`, names or numbers) means in `passwd` and `group`.
fn find(wanted: &str, passwd: &str, group: &str) -> Result<User> {
    let (user, group_word) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (wanted, None),
    };
    if user.is_empty() || group_word == Some("") {
        return Err(Error::usage(format_args!("bad -u {wanted:?}: it is NAME, UID, NAME:GROUP or UID:GID")));
    }
    let number = typed_id(user)?;
    let line = entries(passwd).find(|line| match number {
        Some(uid) => line.get(2).and_then(|w| id(w)) == Some(uid),
        None => line.first() == Some(&user),
    });
    let field = |n: usize| line.as_ref().and_then(|line| line.get(n)).copied();
    let uid = match (number, field(2).and_then(id)) {
        (Some(uid), _) | (None, Some(uid)) if uid <= HIGHEST => uid,
        (None, None) if line.is_none() => {
            return Err(Error::usage(format_args!(
                "no user {user:?} in /etc/passwd of the root filesystem: a number works too"
            )));
        }
        _ => {
            return Err(Error::usage(format_args!(
                "user {user:?} has no usable id in /etc/passwd of the root filesystem"
            )));
        }
    };
    let home = field(5).filter(|home| home.starts_with('/')).unwrap_or("/").to_owned();
    if let Some(word) = group_word {
        let gid = match typed_id(word)? {
            Some(gid) => gid,
            None => entries(group)
                .find(|line| line.first() == Some(&word))
                .and_then(|line| id(line.get(2)?))
                .filter(|gid| *gid <= HIGHEST)
                .ok_or_else(|| {
                    Error::usage(format_args!("no group {word:?} in /etc/group of the root filesystem"))
                })?,
        };
        return Ok(User { uid, gid, groups: Vec::new(), home });
    }
    // Who is in no passwd file is in root's group, as Docker has it; a group that cannot be read is no group to be in.
    let gid = match (line.is_some(), field(3).and_then(id)) {
        (false, _) => 0,
        (true, Some(gid)) if gid <= HIGHEST => gid,
        (true, _) => {
            let sentence = format_args!("user {user:?} has no usable group in /etc/passwd of the root filesystem");
            return Err(Error::usage(sentence));
        }
    };
    let name = field(0).unwrap_or(user);
    let member = |line: &Vec<&str>| line.get(3).is_some_and(|members| members.split(',').any(|m| m == name));
    let mut groups: Vec<u32> = entries(group)
        .filter(member)
        .filter_map(|line| id(line.get(2)?))
        .filter(|g| *g <= HIGHEST && *g != gid)
        .collect();
    groups.sort_unstable();
    groups.dedup();
    // NGROUPS_MAX (include/uapi/linux/limits.h).
    groups.truncate(65_536);
    Ok(User { uid, gid, groups, home })
}

/// Groups that somebody is put into beside his own (`--group-add`): names of the root filesystem's `/etc/group`, or numbers, which
/// need not be in there.
fn add_groups(user: &mut User, words: &[String], group: &str) -> Result<()> {
    for word in words {
        let bad = |why: &str| Error::usage(format_args!("bad --group-add {word:?}: {why}"));
        let gid = match word.parse::<u64>() {
            _ if word.is_empty() => return Err(bad("it is the name or the number of a group")),
            Ok(_) if !word.bytes().all(|b| b.is_ascii_digit()) => return Err(bad("a number has no sign")),
            Ok(gid) if gid <= u64::from(HIGHEST) => gid as u32,
            Ok(_) => return Err(bad(&format!("{HIGHEST} is the highest"))),
            Err(_) if word.bytes().all(|b| b.is_ascii_digit()) => {
                return Err(bad(&format!("{HIGHEST} is the highest")));
            }
            Err(_) => entries(group)
                .find(|line| line.first() == Some(&word.as_str()))
                .and_then(|line| id(line.get(2)?))
                .filter(|gid| *gid <= HIGHEST)
                .ok_or_else(|| bad("no such group in /etc/group of the root filesystem: a number works too"))?,
        };
        user.groups.push(gid);
    }
    user.groups.sort_unstable();
    user.groups.dedup();
    if user.groups.len() > 65_536 {
        return Err(Error::usage("too many --group-add: 65536 groups are the most"));
    }
    Ok(())
}

/// Who `wanted` is in the root filesystem, with these groups beside his own; nobody wanted is root.
pub fn look_up(root: BorrowedFd, wanted: Option<&str>, added: &[String]) -> Result<User> {
    let mut user = found(root, wanted)?;
    if !added.is_empty() {
        add_groups(&mut user, added, &text_in(root, c"/etc/group")?)?;
    }
    Ok(user)
}

fn found(root: BorrowedFd, wanted: Option<&str>) -> Result<User> {
    let passwd = text_in(root, c"/etc/passwd")?;
    let Some(wanted) = wanted else {
        let home =
            entries(&passwd).find(|line| line.get(2) == Some(&"0")).and_then(|line| Some((*line.get(5)?).to_owned()));
        return Ok(User { uid: 0, gid: 0, groups: Vec::new(), home: home.unwrap_or_else(|| "/root".to_owned()) });
    };
    find(wanted, &passwd, &text_in(root, c"/etc/group")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\nweb:x:33:33::/var/www:/bin/false\nodd:x:nan:1::\n\
                          big:x:4294967295:1::/:\n\
                          group:x:40:4294967296::/:\nshort\n";
    const GROUP: &str = "root:x:0:\nwww:x:33:\nadm:x:4:web,root\ndisk:x:6:web\nbad:x:-1:web\n";

    fn found(wanted: &str) -> Result<(u32, u32, Vec<u32>, String)> {
        find(wanted, PASSWD, GROUP).map(|u| (u.uid, u.gid, u.groups, u.home))
    }

    #[test]
    fn names_numbers_and_groups() {
        assert_eq!(found("web").unwrap(), (33, 33, vec![4, 6], "/var/www".into()));
        assert_eq!(found("33").unwrap(), (33, 33, vec![4, 6], "/var/www".into()));
        assert_eq!(found("web:adm").unwrap(), (33, 4, vec![], "/var/www".into()));
        assert_eq!(found("1000").unwrap(), (1000, 0, vec![], "/".into()));
        assert_eq!(found("1000:2000").unwrap(), (1000, 2000, vec![], "/".into()));
        assert_eq!(found("2147483647").unwrap().0, HIGHEST);
    }

    #[test]
    fn what_is_nobody_is_refused() {
        for bad in [
            "",
            ":",
            "web:",
            ":33",
            "nobody",
            "web:nogroup",
            "2147483648",
            "4294967296",
            "99999999999999999999",
            "0:2147483648",
            "-1",
            "+0",
            " 0",
            "odd",
            "big",
            "short",
        ] {
            assert!(found(bad).is_err(), "{bad:?} was taken for {:?}", found(bad));
        }
    }

    #[test]
    fn groups_are_added_by_name_or_number() {
        let with = |words: &[&str]| {
            let mut user = find("web", PASSWD, GROUP)?;
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            add_groups(&mut user, &words, GROUP).map(|()| user.groups)
        };
        assert_eq!(with(&["root", "77", "disk", "77"]).unwrap(), [0, 4, 6, 77]);
        assert_eq!(with(&[]).unwrap(), [4, 6]);
        for bad in ["", "nogroup", "bad", "-1", "+4", "2147483648", "99999999999999999999", "4 ", "adm,disk"] {
            let error = with(&[bad]).unwrap_err().to_string();
            assert!(error.contains("--group-add") && error.lines().count() == 1, "{bad}: {error}");
        }
    }

    #[test]
    fn garbage_does_not_panic() {
        let garbage: String = (0..4000u32).filter_map(|n| char::from_u32(n * 7 % 0x300)).collect();
        for wanted in ["root", "0", "a:b"] {
            let _ = find(wanted, &garbage, &garbage);
        }
    }
}
