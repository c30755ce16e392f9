//! What a container may use, and which file of which controller gets which text for that: plain data, nothing is looked at.

use super::Version::{self, V1, V2};
use super::layout::Controller::{self, Blkio, Cpu, Cpuset, Memory, Pids};

/// How fast a block device may be used: bytes or operations a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// `MAJOR:MINOR`.
    pub device: String,
    /// Writing, not reading.
    pub write: bool,
    /// Operations, not bytes.
    pub operations: bool,
    /// 0 for no limit.
    pub rate: u64,
}

/// All of it; None is "not asked for".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes; `u64::MAX` is unlimited, here and below.
    pub memory: Option<u64>,
    /// Memory and swap together.
    pub swap: Option<u64>,
    /// What the kernel tries to leave it.
    pub reservation: Option<u64>,
    /// 0 to 100.
    pub swappiness: Option<u64>,
    /// It waits for memory instead of being killed.
    pub no_oom_kill: bool,
    /// Microseconds.
    pub period: Option<u64>,
    /// Microseconds of processor time in each period.
    pub quota: Option<u64>,
    /// v1's measure: 2 to 262144, 1024 is usual.
    pub shares: Option<u64>,
    /// v2's measure: 1 to 10000, 100 is usual.
    pub weight: Option<u64>,
    /// A list of processors.
    pub cpus: Option<String>,
    /// A list of memory nodes.
    pub mems: Option<String>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// 10 to 1000, v1's measure; 0 for the usual one.
    pub blkio_weight: Option<u64>,
    /// By device.
    pub throttles: Vec<Throttle>,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Whose file.
    pub controller: Controller,
    /// Its names: the first that exists is meant.
    pub files: Vec<&'static str>,
    /// What it gets.
    pub text: String,
    /// What the second of them gets, if that is another measure.
    pub second: Option<String>,
    /// Where there is no such file nothing is lost: nobody asked for it.
    pub optional: bool,
    /// Only when the container is complete: what was needed to make it is not its own use.
    pub late: bool,
    /// The option that wants it.
    pub option: &'static str,
}

/// A period of processor time if nothing was said, in microseconds (`default_cfs_period()`, kernel/sched/fair.c).
pub const PERIOD: u64 = 100_000;

/// The files of v2 for a weight of block io: BFQ's, and that of the cost model.
const IO_WEIGHTS: [&str; 2] = ["io.bfq.weight", "io.weight"];

/// A weight of block io as v2's `io.weight` has it (1 to 10000): runc's straight line through 10 -> 1 and 1000 -> 10000.
fn io_weight(n: u64) -> u64 {
    1 + n.saturating_sub(10) * 9999 / 990
}

/// v1 shares as a v2 weight, as runc (1.3.2) and crun (1.23) have it: through 2 -> 1, 1024 -> 100 and 262144 -> 10000, on a
/// parabola in the logarithms. The straight line that was used before made 39 of 1024, so that a container with the usual shares got
/// less than any other group with the usual weight.
pub fn weight_of(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = f64::from(shares as u32).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

/// The other way round: the least shares that have this weight.
pub fn shares_of(weight: u64) -> u64 {
    (2..=262_144).find(|shares| weight_of(*shares) >= weight).unwrap_or(262_144)
}

fn number(n: u64, unlimited: &str) -> String {
    if n == u64::MAX { unlimited.to_owned() } else { n.to_string() }
}

impl Setting {
    /// What puts a file back to what it said before this was written to it: not every file takes its own text.
    pub fn back(&self, before: &str) -> Option<String> {
        let file = self.files.first().copied().unwrap_or_default();
        let device = self.text.split_whitespace().next().unwrap_or_default();
        let line = || before.lines().find(|line| line.split_whitespace().next() == Some(device)).map(str::to_owned);
        match file {
            "io.max" => line().or_else(|| Some(format!("{device} rbps=max wbps=max riops=max wiops=max"))),
            _ if file.starts_with("blkio.throttle.") => line().or_else(|| Some(format!("{device} 0"))),
            "memory.oom_control" => super::value(before, "oom_kill_disable").map(|n| n.to_string()),
            // An empty list is one, in v2.
            "cpuset.cpus" | "cpuset.mems" => Some(format!("{}\n", before.trim())),
            _ => {
                let first = before.lines().next()?.trim();
                Some(first.strip_prefix("default ").unwrap_or(first).to_owned()).filter(|text| !text.is_empty())
            }
        }
    }
}

impl Limits {
    /// Whether anything was asked for.
    pub fn any(&self) -> bool {
        *self != Limits::default()
    }

    /// What it takes.
    pub fn controllers(&self) -> Vec<Controller> {
        let memory = self.memory.is_some()
            || self.swap.is_some()
            || self.reservation.is_some()
            || self.swappiness.is_some()
            || self.no_oom_kill;
        let cpu = self.period.is_some() || self.quota.is_some() || self.shares.is_some() || self.weight.is_some();
        [
            (memory, Memory),
            (cpu, Cpu),
            (self.cpus.is_some() || self.mems.is_some(), Cpuset),
            (self.pids.is_some(), Pids),
            (self.blkio_weight.is_some() || !self.throttles.is_empty(), Blkio),
        ]
        .into_iter()
        .filter(|(wanted, _)| *wanted)
        .map(|(_, controller)| controller)
        .collect()
    }

    /// The writes; for what a version does not have, why not.
    pub fn settings(&self, version: impl Fn(Controller) -> Version) -> Result<Vec<Setting>, String> {
        let mut all = Vec::new();
        let mut set = |controller, option, files: &[&'static str], text: String| {
            let (second, optional, late) = (None, false, false);
            all.push(Setting { controller, files: files.to_vec(), text, second, optional, late, option });
        };
        match version(Memory) {
            V1 => {
                if let Some(n) = self.memory {
                    set(Memory, "--memory", &["memory.limit_in_bytes"], number(n, "-1"));
                }
                if let Some(n) = self.swap {
                    set(Memory, "--memory-swap", &["memory.memsw.limit_in_bytes"], number(n, "-1"));
                }
                if let Some(n) = self.reservation {
                    set(Memory, "--memory-reservation", &["memory.soft_limit_in_bytes"], number(n, "-1"));
                }
                if let Some(n) = self.swappiness {
                    set(Memory, "--memory-swappiness", &["memory.swappiness"], n.to_string());
                }
                if self.no_oom_kill {
                    set(Memory, "--oom-kill-disable", &["memory.oom_control"], "1".to_owned());
                }
            }
            V2 => {
                if self.swappiness.is_some() {
                    return Err("--memory-swappiness: control groups v2 have no such setting".to_owned());
                }
                if self.no_oom_kill {
                    return Err("--oom-kill-disable: control groups v2 have no such setting".to_owned());
                }
                if let Some(n) = self.memory {
                    set(Memory, "--memory", &["memory.max"], number(n, "max"));
                }
                if let Some(n) = self.swap {
                    let swap = if n == u64::MAX { n } else { n.saturating_sub(self.memory.unwrap_or(0)) };
                    set(Memory, "--memory-swap", &["memory.swap.max"], number(swap, "max"));
                }
                if let Some(n) = self.reservation {
                    // Unlimited is nothing at all: what the kernel leaves it, not what it may have.
                    set(Memory, "--memory-reservation", &["memory.low"], number(n, "0"));
                }
            }
        }
        match version(Cpu) {
            V1 => {
                if let Some(n) = self.period {
                    set(Cpu, "--cpu-period", &["cpu.cfs_period_us"], n.to_string());
                }
                if let Some(n) = self.quota {
                    set(Cpu, "--cpu-quota", &["cpu.cfs_quota_us"], number(n, "-1"));
                }
                if let Some(n) = self.shares.or(self.weight.map(shares_of)) {
                    set(Cpu, "--cpu-shares", &["cpu.shares"], n.to_string());
                }
            }
            V2 => {
                if self.period.is_some() || self.quota.is_some() {
                    let quota = number(self.quota.unwrap_or(u64::MAX), "max");
                    let period = self.period.unwrap_or(PERIOD);
                    set(Cpu, "--cpu-quota", &["cpu.max"], format!("{quota} {period}"));
                }
                if let Some(n) = self.weight.or(self.shares.map(weight_of)) {
                    set(Cpu, "--cpu-weight", &["cpu.weight"], n.to_string());
                }
            }
        }
        if let Some(list) = &self.cpus {
            set(Cpuset, "--cpuset-cpus", &["cpuset.cpus"], list.clone());
        }
        if let Some(list) = &self.mems {
            set(Cpuset, "--cpuset-mems", &["cpuset.mems"], list.clone());
        }
        if let Some(n) = self.pids {
            set(Pids, "--pids-limit", &["pids.max"], number(n, "max"));
        }
        if let Some(n) = self.blkio_weight {
            match version(Blkio) {
                V1 => {
                    let usual = if n == 0 { 500 } else { n };
                    set(Blkio, "--blkio-weight", &["blkio.weight", "blkio.bfq.weight"], usual.to_string());
                }
                // That of the BFQ scheduler reaches from 1 to 1000, as v1's.
                V2 => {
                    let usual = if n == 0 { 100 } else { n };
                    set(Blkio, "--blkio-weight", &IO_WEIGHTS, usual.to_string());
                }
            }
        }
        for Throttle { device, write, operations, rate } in &self.throttles {
            match version(Blkio) {
                V1 => {
                    let file = match (write, operations) {
                        (false, false) => "blkio.throttle.read_bps_device",
                        (false, true) => "blkio.throttle.read_iops_device",
                        (true, false) => "blkio.throttle.write_bps_device",
                        (true, true) => "blkio.throttle.write_iops_device",
                    };
                    set(Blkio, "--device-read-bps and its like", &[file], format!("{device} {rate}"));
                }
                V2 => {
                    let key = match (write, operations) {
                        (false, false) => "rbps",
                        (false, true) => "riops",
                        (true, false) => "wbps",
                        (true, true) => "wiops",
                    };
                    let rate = if *rate == 0 { "max".to_owned() } else { rate.to_string() };
                    set(Blkio, "--device-read-bps and its like", &["io.max"], format!("{device} {key}={rate}"));
                }
            }
        }
        if let Some(n) = self.blkio_weight.filter(|n| *n != 0) {
            all.iter_mut()
                .filter(|one| one.files == IO_WEIGHTS)
                .for_each(|one| one.second = Some(io_weight(n).to_string()));
        }
        // Twice the memory, as Docker has it, where the kernel counts swap.
        if let (Some(memory), None) = (self.memory, self.swap) {
            let both = if memory == u64::MAX { memory } else { memory.saturating_mul(2) };
            let (file, text) = match version(Memory) {
                V1 => ("memory.memsw.limit_in_bytes", number(both, "-1")),
                V2 => ("memory.swap.max", number(memory, "max")),
            };
            let files = vec![file];
            all.push(Setting {
                controller: Memory,
                files,
                text,
                second: None,
                optional: true,
                late: false,
                option: "--memory",
            });
        }
        if self.memory.is_some() && version(Memory) == V2 {
            // All of it ends together: half a container is of no use to anybody.
            let (files, text) = (vec!["memory.oom.group"], "1".to_owned());
            all.push(Setting {
                controller: Memory,
                files,
                text,
                second: None,
                optional: true,
                late: false,
                option: "--memory",
            });
            all.iter_mut().filter(|one| one.files == ["memory.max"]).for_each(|one| one.late = true);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(limits: &Limits, version: Version) -> Vec<String> {
        limits.settings(|_| version).unwrap().iter().map(|s| format!("{} {}", s.files[0], s.text)).collect()
    }

    #[test]
    fn shares_and_weights() {
        for (shares, weight) in [(2, 1), (1024, 100), (262_144, 10_000), (1, 1), (512, 59), (2048, 174)] {
            assert_eq!(weight_of(shares), weight, "{shares}");
        }
        assert_eq!((weight_of(shares_of(100)), weight_of(shares_of(1))), (100, 1));
    }

    #[test]
    fn memory_is_memory_and_swap_together() {
        let limits = Limits { memory: Some(100), ..Limits::default() };
        assert_eq!(texts(&limits, V1), ["memory.limit_in_bytes 100", "memory.memsw.limit_in_bytes 200"]);
        assert_eq!(texts(&limits, V2), ["memory.max 100", "memory.swap.max 100", "memory.oom.group 1"]);
        let limits = Limits { memory: Some(100), swap: Some(150), ..Limits::default() };
        assert_eq!(texts(&limits, V2), ["memory.max 100", "memory.swap.max 50", "memory.oom.group 1"]);
        let limits = Limits { memory: Some(100), swap: Some(u64::MAX), ..Limits::default() };
        assert_eq!(texts(&limits, V1), ["memory.limit_in_bytes 100", "memory.memsw.limit_in_bytes -1"]);
        assert_eq!(limits.controllers(), [Memory]);
    }

    #[test]
    fn a_file_gets_back_what_it_said() {
        let back = |file: &'static str, text: &str, before: &str| {
            let text = text.to_owned();
            let setting = Setting {
                controller: Blkio,
                files: vec![file],
                text,
                second: None,
                optional: false,
                late: false,
                option: "",
            };
            setting.back(before).unwrap_or_default()
        };
        let disks = "8:0 rbps=1 wbps=max riops=max wiops=max\n254:0 rbps=max wbps=7 riops=max wiops=max\n";
        assert_eq!(back("io.max", "254:0 wbps=9", disks), "254:0 rbps=max wbps=7 riops=max wiops=max");
        assert_eq!(back("io.max", "4:0 wbps=9", disks), "4:0 rbps=max wbps=max riops=max wiops=max");
        assert_eq!(back("blkio.throttle.read_bps_device", "8:0 1", "8:0 5\n8:1 6\n"), "8:0 5");
        assert_eq!(back("blkio.throttle.read_bps_device", "8:2 1", "8:0 5\n8:1 6\n"), "8:2 0");
        assert_eq!(back("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\n"), "0");
        assert_eq!((back("cpuset.cpus", "0", ""), back("cpuset.cpus", "0", "0-3\n")), ("\n".into(), "0-3\n".into()));
        assert_eq!(
            (back("io.weight", "5", "default 100\n8:0 200\n"), back("pids.max", "5", "max\n")),
            ("100".into(), "max".into())
        );
        assert_eq!(back("cpu.max", "5", "max 100000\n"), "max 100000");
        assert_eq!(back("memory.max", "5", ""), "");
    }

    #[test]
    fn weights_of_block_io() {
        assert_eq!([10, 500, 1000].map(io_weight), [1, 4950, 10_000]);
        let limits = |n| Limits { blkio_weight: Some(n), ..Limits::default() };
        let both = |n, version| {
            limits(n)
                .settings(|_| version)
                .unwrap()
                .iter()
                .map(|s| (s.text.clone(), s.second.clone()))
                .next()
                .unwrap()
        };
        assert_eq!(both(500, V2), ("500".into(), Some("4950".into())));
        assert_eq!((both(0, V2), both(0, V1)), (("100".into(), None), ("500".into(), None)));
    }

    #[test]
    fn processors_and_disks() {
        let limits = Limits {
            quota: Some(50_000),
            shares: Some(1024),
            pids: Some(u64::MAX),
            throttles: vec![Throttle { device: "254:0".into(), write: true, operations: false, rate: 1 << 20 }],
            ..Limits::default()
        };
        assert_eq!(
            texts(&limits, V1),
            [
                "cpu.cfs_quota_us 50000",
                "cpu.shares 1024",
                "pids.max max",
                "blkio.throttle.write_bps_device 254:0 1048576"
            ]
        );
        assert_eq!(
            texts(&limits, V2),
            ["cpu.max 50000 100000", "cpu.weight 100", "pids.max max", "io.max 254:0 wbps=1048576"]
        );
        assert!(Limits { no_oom_kill: true, ..Limits::default() }.settings(|_| V2).is_err());
        assert!(!Limits::default().any() && Limits::default().controllers().is_empty());
    }
}
