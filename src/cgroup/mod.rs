//! The control group of a container: what belongs to it, whatever its processes do; freezing and killing all of them at once.
//!
//! A group is `ctr/ID` below the root of a hierarchy. In the v2 hierarchy (alone at /sys/fs/cgroup, or beside v1 at
//! /sys/fs/cgroup/unified) one group does everything that is needed here, without any controller. Where there is v1 alone,
//! `freezer` stands in; `memory` is used where it is a v1 hierarchy, to learn of processes that the kernel killed for
//! lack of memory. Where nothing is mounted, or we may not write to it, a container has no group: it runs all the same, cannot
//! be paused, and says so.
//!
//! See Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/ of the kernel.

pub mod stat;

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use linux_raw_sys::general as k;

use crate::{procfs, sys};

/// Where the hierarchies are looked for, as every distribution mounts them.
const UNIFIED: [&CStr; 2] = [c"/sys/fs/cgroup", c"/sys/fs/cgroup/unified"];
const FREEZER: &CStr = c"/sys/fs/cgroup/freezer";
const MEMORY: &CStr = c"/sys/fs/cgroup/memory";

/// `CGROUP2_SUPER_MAGIC` and `CGROUP_SUPER_MAGIC` (include/uapi/linux/magic.h).
const V2: u64 = k::CGROUP2_SUPER_MAGIC as u64;
const V1: u64 = k::CGROUP_SUPER_MAGIC as u64;

/// The directory of all our groups, in each hierarchy.
const OURS: &CStr = c"ctr";
const OURS_UNIFIED: [&CStr; 2] = [c"/sys/fs/cgroup/ctr", c"/sys/fs/cgroup/unified/ctr"];
const OURS_FREEZER: &CStr = c"/sys/fs/cgroup/freezer/ctr";
const OURS_MEMORY: &CStr = c"/sys/fs/cgroup/memory/ctr";

/// How often, a millisecond each, a freeze or the end of a killed process is waited for.
const PATIENCE: u32 = 2000;

/// The group of one container, as far as there are hierarchies for it.
#[derive(Debug, Default)]
pub struct Group {
    id: CString,
    /// v2.
    unified: Option<OwnedFd>,
    /// v1, where there is no v2.
    freezer: Option<OwnedFd>,
    /// v1, where memory is not v2's.
    memory: Option<OwnedFd>,
}

/// The directories of all groups, opened once by who looks at many, or more than once.
#[derive(Debug)]
pub struct Groups {
    unified: Option<OwnedFd>,
    freezer: Option<OwnedFd>,
}

impl Groups {
    /// Opens them, as far as they are there. By their whole names: where there are none, that is all there is to do.
    pub fn open() -> Groups {
        let unified = OURS_UNIFIED.iter().find_map(|path| hierarchy(path, V2));
        let freezer = if unified.is_some() { None } else { hierarchy(OURS_FREEZER, V1) };
        Groups { unified, freezer }
    }

    /// The ways into the groups that a container has: its v2 group, for a child to be born in it (`CLONE_INTO_CGROUP`, Linux
    /// 5.7), and the files of its v1 groups, that a process joins by writing 0 to them.
    pub fn ways_in(&self, id: &str) -> (Option<OwnedFd>, Vec<OwnedFd>) {
        let Some(name) = group_name(id) else { return (None, Vec::new()) };
        let door = |dir: &OwnedFd| {
            let path = CString::new(format!("{id}/cgroup.procs")).unwrap_or_default();
            sys::openat(dir.as_fd(), &path, k::O_WRONLY, 0).ok()
        };
        let unified = self.unified.as_ref().and_then(|dir| open(dir.as_fd(), &name).ok());
        let memory = hierarchy(OURS_MEMORY, V1);
        (unified, [&self.freezer, &memory].into_iter().flatten().filter_map(door).collect())
    }

    /// Whether all of a container is frozen.
    pub fn is_frozen(&self, id: &str) -> bool {
        let read = |dir: &OwnedFd, name: &str, sign: &[u8]| {
            let path = CString::new(format!("{id}/{name}")).unwrap_or_default();
            let mut text = [0u8; 16];
            let file = sys::openat(dir.as_fd(), &path, k::O_RDONLY, 0);
            file.and_then(|file| sys::read(file.as_fd(), &mut text)).is_ok() && text.starts_with(sign)
        };
        match (&self.unified, &self.freezer) {
            (Some(dir), _) => read(dir, "cgroup.freeze", b"1"),
            (None, Some(dir)) => read(dir, "freezer.state", b"FR"),
            (None, None) => false,
        }
    }
}

fn open(dir: BorrowedFd, name: &CStr) -> io::Result<OwnedFd> {
    sys::openat(dir, name, k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW, 0)
}

fn hierarchy(path: &CStr, magic: u64) -> Option<OwnedFd> {
    let root = open(sys::CWD, path).ok()?;
    sys::fs_magic(root.as_fd()).is_ok_and(|found| found == magic).then_some(root)
}

fn hierarchies() -> [Option<OwnedFd>; 3] {
    let unified = UNIFIED.iter().find_map(|path| hierarchy(path, V2));
    let freezer = if unified.is_some() { None } else { hierarchy(FREEZER, V1) };
    [unified, freezer, hierarchy(MEMORY, V1)]
}

/// Which versions there are: `v2`, `v1`, `v1+v2` or `none`.
pub fn version() -> &'static str {
    let v1 = hierarchy(FREEZER, V1).or_else(|| hierarchy(MEMORY, V1)).is_some();
    match (hierarchies()[0].is_some(), v1) {
        (true, false) => "v2",
        (false, true) => "v1",
        (true, true) => "v1+v2",
        (false, false) => "none",
    }
}

/// The name of a container's group; an id that is a path has none.
fn group_name(id: &str) -> Option<CString> {
    CString::new(id).ok().filter(|name| !name.is_empty() && !name.to_bytes().contains(&b'/'))
}

fn write(dir: BorrowedFd, file: &CStr, text: &str) -> io::Result<()> {
    // Never O_CREAT: cgroupfs answers EACCES then where a file is merely not there.
    let file = sys::openat(dir, file, k::O_WRONLY, 0)?;
    sys::write(file.as_fd(), text.as_bytes()).map(drop)
}

fn read(dir: BorrowedFd, file: &CStr) -> Option<String> {
    let file = sys::openat(dir, file, k::O_RDONLY, 0).ok()?;
    Some(String::from_utf8_lossy(&procfs::read_all(file.as_fd(), 4 << 20).ok()?).into_owned())
}

/// The value behind a word at a line's front.
fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

impl Group {
    /// Makes the groups of a new container; none where that is not possible.
    pub fn create(id: &str) -> Group {
        let (group, left) = Group::make(id);
        if !left {
            return group;
        }
        // An earlier run's that could not be removed at its end: somebody may be in it, it may be frozen, and one that was
        // written to kill it kills (Linux 6.18) whoever is born into it later.
        group.clear();
        Group::make(id).0
    }

    /// Makes them; true if one of them was there already.
    fn make(id: &str) -> (Group, bool) {
        let name = CString::new(id).unwrap_or_default();
        let left = Cell::new(false);
        let make = |root: Option<OwnedFd>| {
            let root = root?;
            // Somebody else's end may take the folder away in between: then it is made again.
            (0..20).find_map(|_| {
                let _ = sys::mkdir(root.as_fd(), OURS, 0o755);
                let ours = open(root.as_fd(), OURS).ok()?;
                if sys::mkdir(ours.as_fd(), &name, 0o755).is_err() {
                    left.set(true);
                }
                open(ours.as_fd(), &name).ok()
            })
        };
        let [unified, freezer, memory] = hierarchies().map(make);
        (Group { id: name, unified, freezer, memory }, left.get())
    }

    /// Ends all that is in it, and takes it away.
    fn clear(&self) {
        if self.is_populated() != Some(false) {
            self.kill();
        }
        let _ = self.thaw();
        self.remove();
    }

    /// The groups that a container has.
    pub fn open(id: &str) -> Group {
        let Some(name) = group_name(id) else { return Group::default() };
        let find = |root: Option<OwnedFd>| open(open(root?.as_fd(), OURS).ok()?.as_fd(), &name).ok();
        let [unified, freezer, memory] = hierarchies().map(find);
        Group { id: name, unified, freezer, memory }
    }

    /// Whether there is any.
    pub fn exists(&self) -> bool {
        self.unified.is_some() || self.freezer.is_some() || self.memory.is_some()
    }

    /// The v2 group, for a child to be born in it (`CLONE_INTO_CGROUP`, Linux 5.7).
    pub fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// The files of the v1 groups that a process joins by writing 0 to them.
    pub fn doors(&self) -> Vec<OwnedFd> {
        let door = |dir: &OwnedFd| sys::openat(dir.as_fd(), c"cgroup.procs", k::O_WRONLY, 0).ok();
        [&self.freezer, &self.memory].into_iter().flatten().filter_map(door).collect()
    }

    /// The processes in it, by their numbers in our pid namespace; None if they have none, or nobody can tell.
    pub fn processes(&self) -> Option<Vec<u32>> {
        let dir = self.unified.as_ref().or(self.freezer.as_ref())?;
        let text = read(dir.as_fd(), c"cgroup.procs")?;
        // 0 is somebody in another pid namespace, who has no number here.
        text.lines().map(|line| line.parse().ok().filter(|pid| *pid != 0)).collect()
    }

    /// Whether there is any process in it, whatever pid namespace it is in; None if nobody can tell.
    pub fn is_populated(&self) -> Option<bool> {
        match (&self.unified, &self.freezer, &self.memory) {
            (Some(dir), ..) => value(&read(dir.as_fd(), c"cgroup.events")?, "populated").map(|n| n != 0),
            (None, Some(dir), _) | (None, None, Some(dir)) => Some(!read(dir.as_fd(), c"cgroup.procs")?.is_empty()),
            (None, None, None) => None,
        }
    }

    /// Waits until nobody is in it any more. False if that cannot be seen.
    pub fn empties(&self) -> bool {
        wait_until(|| self.is_populated() != Some(true)).is_ok() && self.is_populated() == Some(false)
    }

    /// Whether all of it is frozen.
    pub fn is_frozen(&self) -> bool {
        match (&self.unified, &self.freezer) {
            (Some(dir), _) => read(dir.as_fd(), c"cgroup.freeze").is_some_and(|text| text.trim() == "1"),
            (None, Some(dir)) => read(dir.as_fd(), c"freezer.state").is_some_and(|text| text.trim() != "THAWED"),
            (None, None) => false,
        }
    }

    /// Stops every process in it until it is thawed; waits until they are. ENOTSUP where there is no freezer.
    /// cgroup v2: Linux 5.2.
    pub fn freeze(&self) -> io::Result<()> {
        let frozen = |dir: &OwnedFd| read(dir.as_fd(), c"cgroup.events").and_then(|text| value(&text, "frozen"));
        match (&self.unified, &self.freezer) {
            (Some(dir), _) => {
                write(dir.as_fd(), c"cgroup.freeze", "1")?;
                wait_until(|| frozen(dir) != Some(0))
            }
            (None, Some(dir)) => {
                // A process that is just being made can hold this up: it is told again and again.
                wait_until(|| {
                    let _ = write(dir.as_fd(), c"freezer.state", "FROZEN");
                    read(dir.as_fd(), c"freezer.state").is_some_and(|text| text.trim() == "FROZEN")
                })
            }
            (None, None) => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
        }
    }

    /// Lets them go on.
    pub fn thaw(&self) -> io::Result<()> {
        match (&self.unified, &self.freezer) {
            (Some(dir), _) => write(dir.as_fd(), c"cgroup.freeze", "0"),
            (None, Some(dir)) => write(dir.as_fd(), c"freezer.state", "THAWED"),
            (None, None) => Ok(()),
        }
    }

    /// SIGKILL for every process in it. `cgroup.kill` is Linux 5.14; until then they are killed one by one, again and again
    /// while new ones appear. False if there is no group to do that with.
    pub fn kill(&self) -> bool {
        let Some(dir) = self.unified.as_ref() else { return self.kill_one_by_one() };
        write(dir.as_fd(), c"cgroup.kill", "1").is_ok() || self.kill_one_by_one()
    }

    fn kill_one_by_one(&self) -> bool {
        for _ in 0..100 {
            match self.processes() {
                None => return false,
                Some(all) if all.is_empty() => return true,
                Some(all) => {
                    for pid in all {
                        // By descriptor, and only if it is still in there: the number may be another's by now.
                        let held = sys::pidfd_open(pid);
                        if let (Ok(process), true) = (held, self.processes().is_some_and(|now| now.contains(&pid))) {
                            let _ = sys::pidfd_signal(process.as_fd(), libc::SIGKILL);
                        }
                    }
                }
            }
            let _ = self.thaw();
            let _ = sys::poll(&mut [], 1);
        }
        true
    }

    /// How many processes in it the kernel has killed for lack of memory (4.13 for v1); 0 where nobody counts.
    pub fn oom_kills(&self) -> u64 {
        let v2 = self.unified.as_ref().and_then(|dir| value(&read(dir.as_fd(), c"memory.events")?, "oom_kill"));
        let v1 = self.memory.as_ref().and_then(|dir| value(&read(dir.as_fd(), c"memory.oom_control")?, "oom_kill"));
        v2.unwrap_or(0) + v1.unwrap_or(0)
    }

    /// Takes the groups away. A process that was just killed may still be on its way out: that is waited for, a little.
    pub fn remove(&self) {
        if self.id.is_empty() {
            return;
        }
        // Wherever one may be: v2 may have been out of reach when it was made.
        let unified = UNIFIED.iter().find_map(|path| hierarchy(path, V2));
        for root in [unified, hierarchy(FREEZER, V1), hierarchy(MEMORY, V1)].into_iter().flatten() {
            let Ok(ours) = open(root.as_fd(), OURS) else { continue };
            let _ = wait_until(|| {
                let gone = sys::unlink(ours.as_fd(), &self.id, true);
                gone.is_ok_and(|()| true) || sys::openat(ours.as_fd(), &self.id, k::O_PATH, 0).is_err()
            });
            // The last one takes the folder along.
            drop(ours);
            let _ = sys::unlink(root.as_fd(), OURS, true);
        }
    }
}

/// Looks again and again, a millisecond between: cgroupfs has nothing to wait for that works in v1 and v2 alike.
fn wait_until(mut done: impl FnMut() -> bool) -> io::Result<()> {
    for _ in 0..PATIENCE {
        if done() {
            return Ok(());
        }
        let _ = sys::poll(&mut [], 1);
    }
    Err(io::Error::from_raw_os_error(libc::ETIMEDOUT))
}

/// Joins a group by one of its doors: the caller alone. Async-signal-safe.
pub fn join(door: BorrowedFd) -> io::Result<()> {
    let _ = door.as_raw_fd();
    sys::write(door, b"0").map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_whole_words() {
        let text = "oom 1\noom_kill 7\noom_group_kill 9\n";
        assert_eq!((value(text, "oom_kill"), value(text, "oom"), value(text, "kill")), (Some(7), Some(1), None));
    }

    #[test]
    fn an_id_that_is_a_path_has_no_group() {
        assert!(!Group::open("../x").exists() && !Group::open("").exists());
        let (unified, doors) = Groups::open().ways_in("../x");
        assert!(unified.is_none() && doors.is_empty());
    }
}
