//! What a container uses, as its control groups count it: read, never changed.
//!
//! Its groups are found by its process (`/proc/PID/cgroup`), whatever the layout of hierarchies is; a group counts as its own only if
//! it bears its id, for what is counted in a group of others is theirs as well. What no group of its own counts is not known: None,
//! never a guess.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use linux_raw_sys::general as k;

use super::layout::{UNIFIED, V1, V2};
use crate::{procfs, sys};

/// The groups of one container that count something.
#[derive(Debug, Default)]
pub struct Counters {
    unified: Option<OwnedFd>,
    cpu: Option<OwnedFd>,
    memory: Option<OwnedFd>,
    blocks: Option<OwnedFd>,
    pids: Option<OwnedFd>,
}

/// What they say at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counted {
    /// Nanoseconds that processors have worked for it.
    pub cpu: Option<u64>,
    /// Bytes, without what is cached of files and can be had back at once.
    pub memory: Option<u64>,
    /// At most so many bytes; None if nothing but the machine limits it.
    pub most: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Bytes read from and written to block devices.
    pub blocks: Option<(u64, u64)>,
    /// How many hundredths of a per cent of the last ten seconds something in it waited for: cpu, memory, io.
    pub pressure: [Option<u64>; 3],
}

/// The part of a group's path that ends with the container's own directory.
fn own(path: &str, id: &str) -> Option<String> {
    let mut taken = String::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        taken.push('/');
        taken.push_str(part);
        if part == id {
            return Some(taken);
        }
    }
    None
}

/// The number in a file of one number; `max` is none.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The number after a word in a file of words and numbers.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| number(line.strip_prefix(name)?.strip_prefix(' ')?))
}

/// What was read and written, summed over all devices: `8:0 rbytes=1 wbytes=2 …` (v2).
fn io_stat(text: &str) -> (u64, u64) {
    text.split_whitespace().fold((0, 0), |(read, written): (u64, u64), word| match word.split_once('=') {
        Some(("rbytes", n)) => (read.saturating_add(number(n).unwrap_or(0)), written),
        Some(("wbytes", n)) => (read, written.saturating_add(number(n).unwrap_or(0))),
        _ => (read, written),
    })
}

/// The same of v1: `8:0 Read 1`.
fn service_bytes(text: &str) -> (u64, u64) {
    text.lines().fold((0, 0), |(read, written): (u64, u64), line| {
        let mut words = line.split_whitespace().skip(1);
        let (kind, n) = (words.next(), words.next().and_then(number).unwrap_or(0));
        match kind {
            Some("Read") => (read.saturating_add(n), written),
            Some("Write") => (read, written.saturating_add(n)),
            _ => (read, written),
        }
    })
}

/// `some avg10=1.25 …`, in hundredths of a per cent.
fn pressure(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    let word = line.split_whitespace().find_map(|word| word.strip_prefix("avg10="))?;
    let (whole, part) = word.split_once('.')?;
    Some(number(whole)?.checked_mul(100)?.checked_add(number(part.get(..2)?)?)?.min(10_000))
}

impl Counters {
    /// Those of the container with this id, one of whose processes is `pid`.
    pub fn of(proc: BorrowedFd, pid: u32, id: &str) -> Counters {
        let mut all = Counters::default();
        let path = CString::new(format!("{pid}/cgroup")).unwrap_or_default();
        let Ok(text) = procfs::read(proc, &path) else { return all };
        for line in String::from_utf8_lossy(&text).lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let Some(path) = own(path, id).filter(|_| !id.is_empty()) else { continue };
            let open = |root: &str, magic: u64| {
                let place = CString::new(format!("{root}{path}")).ok()?;
                let dir = sys::openat(sys::CWD, &place, k::O_PATH | k::O_DIRECTORY | k::O_NOFOLLOW, 0).ok()?;
                sys::fs_magic(dir.as_fd()).is_ok_and(|found| found == magic).then_some(dir)
            };
            if controllers.is_empty() {
                all.unified = UNIFIED.iter().find_map(|root| open(&root.to_string_lossy(), V2));
            }
            for controller in controllers.split(',') {
                let place = match controller {
                    "cpuacct" => &mut all.cpu,
                    "memory" => &mut all.memory,
                    "blkio" => &mut all.blocks,
                    "pids" => &mut all.pids,
                    _ => continue,
                };
                // By the name of the controller, or of all those that share the hierarchy.
                *place =
                    [controller, controllers].iter().find_map(|name| open(&format!("/sys/fs/cgroup/{name}"), V1));
            }
        }
        all
    }

    /// What they say now.
    pub fn read(&self) -> Counted {
        let text = |dir: &Option<OwnedFd>, name: &str| {
            let name = CString::new(name).ok()?;
            let bytes = procfs::read(dir.as_ref()?.as_fd(), &name).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let v2 = |name: &str| text(&self.unified, name);
        let cpu = text(&self.cpu, "cpuacct.usage").and_then(|text| number(&text));
        let cpu = cpu.or_else(|| field(&v2("cpu.stat")?, "usage_usec")?.checked_mul(1000));
        // Pages of files that nobody has used for a while are counted as the container's, and cost nobody anything.
        let (used, stat, cached) = match text(&self.memory, "memory.usage_in_bytes") {
            Some(used) => (Some(used), text(&self.memory, "memory.stat"), "total_inactive_file"),
            None => (v2("memory.current"), v2("memory.stat"), "inactive_file"),
        };
        let cached = stat.as_deref().and_then(|stat| field(stat, cached)).unwrap_or(0);
        let memory = used.and_then(|text| number(&text)).map(|used| used.checked_sub(cached).unwrap_or(used));
        let most = [
            text(&self.memory, "memory.limit_in_bytes").and_then(|text| number(&text)),
            self.memory.as_ref().and(stat.as_deref()).and_then(|stat| field(stat, "hierarchical_memory_limit")),
            v2("memory.max").and_then(|text| number(&text)),
        ];
        let pids = text(&self.pids, "pids.current").or_else(|| v2("pids.current")).and_then(|text| number(&text));
        let blocks = text(&self.blocks, "blkio.throttle.io_service_bytes_recursive")
            .or_else(|| text(&self.blocks, "blkio.throttle.io_service_bytes"))
            .map(|text| service_bytes(&text));
        Counted {
            cpu,
            memory,
            most: most.into_iter().flatten().min(),
            pids: pids.or_else(|| self.threads()),
            blocks: blocks.or_else(|| v2("io.stat").map(|text| io_stat(&text))),
            pressure: ["cpu.pressure", "memory.pressure", "io.pressure"]
                .map(|name| v2(name).and_then(|text| pressure(&text))),
        }
    }

    /// Without the controller that counts them: one by one, if there is no group below in which there may be more.
    fn threads(&self) -> Option<u64> {
        let dir = self.unified.as_ref()?;
        let stat = procfs::read(dir.as_fd(), c"cgroup.stat").ok()?;
        if field(&String::from_utf8_lossy(&stat), "nr_descendants") != Some(0) {
            return None;
        }
        let threads = procfs::read(dir.as_fd(), c"cgroup.threads").ok()?;
        Some(threads.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_group_with_its_name_is_its_own() {
        assert_eq!(own("/ctr/abc", "abc").as_deref(), Some("/ctr/abc"));
        assert_eq!(own("/user.slice/ctr/abc/init.scope", "abc").as_deref(), Some("/user.slice/ctr/abc"));
        assert_eq!((own("/", "abc"), own("/ctr/abcd", "abc"), own("/../../abc/x", "x/y")), (None, None, None));
    }

    #[test]
    fn what_the_kernel_writes() {
        assert_eq!(field("usage_usec 12\nuser_usec 3\n", "user_usec"), Some(3));
        assert_eq!(
            (field("total_inactive_file 4", "inactive_file"), field("a b", "a"), field("", "a")),
            (None, None, None)
        );
        assert_eq!(io_stat("8:0 rbytes=10 wbytes=20 rios=1 wios=2\n254:0 rbytes=1 wbytes=2 dbytes=9\n"), (11, 22));
        assert_eq!(service_bytes("8:0 Read 10\n8:0 Write 20\n8:0 Sync 5\n8:16 Read 1\nTotal 36\n"), (11, 20));
        assert_eq!(pressure("some avg10=1.25 avg60=0.00 avg300=0.00 total=9\nfull avg10=7.00\n"), Some(125));
        assert_eq!(
            (pressure(""), pressure("some avg10=1"), pressure("some avg10=x.yz"), pressure("full avg10=1.00")),
            (None, None, None, None)
        );
    }

    #[test]
    fn garbage_is_nothing() {
        let garbage: String = (0..3000u32).filter_map(|n| char::from_u32(n * 13 % 0x200)).collect();
        assert_eq!(number(&garbage), None);
        let _ = (
            field(&garbage, "x"),
            io_stat(&garbage),
            service_bytes(&garbage),
            pressure(&garbage),
            own(&garbage, "x"),
        );
        let huge = format!("x rbytes={0} rbytes={0}", u64::MAX);
        assert_eq!(io_stat(&huge).0, u64::MAX);
    }
}
