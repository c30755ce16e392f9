//! What a container uses, as its control groups count it: read, never changed. What no group of its own counts is not known:
//! None, never a guess.

use std::ffi::CStr;

use super::{Controller, Group};

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

/// What the groups of a container say now.
pub fn count(group: &Group) -> Counted {
    use Controller::{Blkio, Cpuacct, Memory, Pids};
    if !group.exists() {
        return Counted::default();
    }
    let v1 = |controller, name| group.read(controller, name, c"").map(|(_, text)| text);
    let v2 = |name| group.read(Cpuacct, c"", name).map(|(_, text)| text);
    let cpu = v1(Cpuacct, c"cpuacct.usage").and_then(|text| number(&text));
    let cpu = cpu.or_else(|| field(&v2(c"cpu.stat")?, "usage_usec")?.checked_mul(1000));
    // Pages of files that nobody has used for a while are counted as the container's, and cost nobody anything.
    let old = v1(Memory, c"memory.usage_in_bytes");
    let (is_old, used) = (old.is_some(), old.or_else(|| v2(c"memory.current")));
    let stat = if is_old { v1(Memory, c"memory.stat") } else { used.as_ref().and_then(|_| v2(c"memory.stat")) };
    let stat = stat.unwrap_or_default();
    let cached = field(&stat, if is_old { "total_inactive_file" } else { "inactive_file" }).unwrap_or(0);
    let memory = used.and_then(|text| number(&text)).map(|used| used.checked_sub(cached).unwrap_or(used));
    let most = if is_old {
        [
            v1(Memory, c"memory.limit_in_bytes").and_then(|text| number(&text)),
            field(&stat, "hierarchical_memory_limit"),
        ]
    } else {
        [v2(c"memory.max").and_then(|text| number(&text)), None]
    };
    let pids = v1(Pids, c"pids.current").or_else(|| v2(c"pids.current")).and_then(|text| number(&text));
    let blocks = v1(Blkio, c"blkio.throttle.io_service_bytes_recursive")
        .or_else(|| v1(Blkio, c"blkio.throttle.io_service_bytes"))
        .map(|text| service_bytes(&text));
    Counted {
        cpu,
        memory,
        most: most.into_iter().flatten().min(),
        pids: pids.or_else(|| threads(&v2)),
        blocks: blocks.or_else(|| v2(c"io.stat").map(|text| io_stat(&text))),
        pressure: [c"cpu.pressure", c"memory.pressure", c"io.pressure"]
            .map(|name| v2(name).and_then(|text| pressure(&text))),
    }
}

/// Without the controller that counts them: one by one, if there is no group below in which there may be more.
fn threads(read: &dyn Fn(&'static CStr) -> Option<String>) -> Option<u64> {
    if field(&read(c"cgroup.stat")?, "nr_descendants") != Some(0) {
        return None;
    }
    Some(read(c"cgroup.threads")?.lines().count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let _ = (field(&garbage, "x"), io_stat(&garbage), service_bytes(&garbage), pressure(&garbage));
        let huge = format!("x rbytes={0} rbytes={0}", u64::MAX);
        assert_eq!(io_stat(&huge).0, u64::MAX);
    }
}
