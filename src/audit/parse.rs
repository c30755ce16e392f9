//! What the kernel writes about a process, taken apart. Pure: bytes in, plain data out, and no bytes make it panic.

use std::fmt::Write;

/// One thread, as `/proc/PID/task/TID/status` has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thread {
    /// Its name (`comm`), which it may choose.
    pub name: String,
    /// One letter: `R`, `S`, `Z`…
    pub state: char,
    /// The process that made its process.
    pub parent: u32,
    /// Real, effective, saved and filesystem user id, in our user namespace's numbers.
    pub uids: [u32; 4],
    /// The same for groups.
    pub gids: [u32; 4],
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Inheritable, permitted, effective, bounding and ambient capabilities.
    pub caps: [u64; 5],
    /// `no_new_privs`; None where the kernel does not say (before 4.10).
    pub no_new_privs: Option<bool>,
    /// 0 without seccomp, 1 strict, 2 filtered. None where the kernel does not say.
    pub seccomp: Option<u32>,
    /// How many filters (Linux 5.9).
    pub filters: Option<u32>,
}

/// The names of [`Thread::caps`], in order, as the kernel writes them.
pub const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

/// Inheritable, permitted, effective, bounding, ambient: places in [`Thread::caps`].
pub const INHERITABLE: usize = 0;

/// A status file. None if it lacks what every kernel writes.
pub fn thread(text: &[u8]) -> Option<Thread> {
    let text = String::from_utf8_lossy(text);
    // The first of a key counts: a name is escaped by the kernel (newlines too), and stands in the first line.
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':').map(str::trim));
    let numbers = |key: &str| -> Vec<u32> {
        value(key).unwrap_or_default().split_whitespace().filter_map(|word| word.parse().ok()).collect()
    };
    let four = |key: &str| <[u32; 4]>::try_from(numbers(key)).ok();
    let mut caps = [0; 5];
    for (set, key) in caps.iter_mut().zip(SETS) {
        *set = u64::from_str_radix(value(key)?, 16).ok()?;
    }
    Some(Thread {
        name: value("Name")?.to_owned(),
        state: value("State")?.chars().next()?,
        parent: value("PPid")?.parse().ok()?,
        uids: four("Uid")?,
        gids: four("Gid")?,
        groups: numbers("Groups"),
        caps,
        no_new_privs: value("NoNewPrivs").map(|word| word == "1"),
        seccomp: value("Seccomp").and_then(|word| word.parse().ok()),
        filters: value("Seccomp_filters").and_then(|word| word.parse().ok()),
    })
}

/// One line of an id map: inside, outside, how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The first id inside.
    pub inside: u32,
    /// What that is outside (in the reader's user namespace).
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// `/proc/PID/uid_map` and `gid_map`.
pub fn map(text: &[u8]) -> Vec<Mapped> {
    let text = String::from_utf8_lossy(text);
    let line = |line: &str| {
        let mut words = line.split_whitespace().map(|word| word.parse().ok());
        Some(Mapped { inside: words.next()??, outside: words.next()??, count: words.next()?? })
    };
    text.lines().filter_map(line).collect()
}

/// What an id is outside.
pub fn outside(map: &[Mapped], id: u32) -> Option<u32> {
    map.iter().find_map(|part| {
        let offset = id.checked_sub(part.inside).filter(|offset| *offset < part.count)?;
        part.outside.checked_add(offset)
    })
}

/// One hierarchy of `/proc/PID/cgroup`: its controllers (none for v2; `name=…` for one without) and the path there, in the reader's
/// cgroup namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// v2.
    pub unified: bool,
    /// As they stand there.
    pub controllers: Vec<String>,
    /// The group.
    pub path: String,
}

/// `/proc/PID/cgroup`.
pub fn hierarchies(text: &[u8]) -> Vec<Hierarchy> {
    let text = String::from_utf8_lossy(text);
    let line = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        number.parse::<u32>().ok()?;
        Some(Hierarchy {
            unified: number == "0" && controllers.is_empty(),
            controllers: controllers.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect(),
            path: path.to_owned(),
        })
    };
    text.lines().filter_map(line).collect()
}

/// A kernel parameter as it is asked for, `KEY=VALUE`: its path below `/proc/sys` and its value. As sysctl(8) reads a key: what comes first,
/// dot or slash, separates, and the other one is part of a name.
pub fn sysctl(text: &str) -> Option<(String, String)> {
    let (key, value) = text.split_once('=')?;
    let key = key.trim();
    let turned = key.find(['.', '/']).is_some_and(|at| key.get(at..).is_some_and(|rest| rest.starts_with('.')));
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let path = if turned { key.chars().map(swap).collect() } else { key.to_owned() };
    let named = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    named.then(|| (path, value.split_whitespace().collect::<Vec<_>>().join(" ")))
}

/// Whether a kernel parameter has the value that was asked for, though the kernel writes it in another way.
pub fn is_same_setting(path: &str, asked: &str, found: &str) -> bool {
    // As C has them: strtoul with base 0.
    let number = |word: &str| {
        let (sign, digits) = word.strip_prefix('-').map_or((1, word), |rest| (-1, rest));
        let value = match digits.strip_prefix("0x") {
            Some(hex) => i128::from_str_radix(hex, 16),
            None if digits.len() > 1 && digits.starts_with('0') => i128::from_str_radix(digits, 8),
            None => digits.parse(),
        };
        value.ok().map(|value: i128| sign * value)
    };
    // What the kernel keeps in ticks of its clock comes back as a multiple of them.
    let rounded = if path.ends_with("_ms") || path.contains("/neigh/") { 10 } else { 0 };
    let same = |(one, other): (&str, &str)| match (number(one), number(other)) {
        (Some(one), Some(other)) => one.abs_diff(other) <= rounded,
        _ => one.eq_ignore_ascii_case(other) || numbers(one).is_some_and(|list| Some(list) == numbers(other)),
    };
    let (one, other): (Vec<&str>, Vec<&str>) =
        (asked.split_whitespace().collect(), found.split_whitespace().collect());
    one.len() == other.len() && one.into_iter().zip(other).all(same)
}

/// The limits of block devices in a line of v1's `blkio.throttle.*` (whose file's name comes first) or v2's `io.max`: the device,
/// `rbps`, `wbps`, `riops` or `wiops`, and how much a second.
pub fn throttles(line: &str) -> Vec<(String, &'static str, u64)> {
    const WAYS: [(&str, &str); 4] = [
        ("rbps", "read_bps_device"),
        ("wbps", "write_bps_device"),
        ("riops", "read_iops_device"),
        ("wiops", "write_iops_device"),
    ];
    let words: Vec<&str> = line.split_whitespace().collect();
    let one = |(device, way, rate): (&str, &'static str, &str)| Some((device.to_owned(), way, rate.parse().ok()?));
    match words.as_slice() {
        [file, device, rate] if file.ends_with("_device") => {
            let way = WAYS.iter().find(|(_, name)| name == file);
            way.and_then(|(way, _)| one((device, way, rate))).into_iter().collect()
        }
        [device, rates @ ..] => {
            let pair = |word: &&str| {
                let (key, rate) = word.split_once('=')?;
                one((device, WAYS.iter().find(|(way, _)| *way == key)?.0, rate))
            };
            rates.iter().filter_map(pair).collect()
        }
        [] => Vec::new(),
    }
}

/// A device rule as `devices.list` and `--device-cgroup-rule` have it: kind, numbers (None for all), letters.
pub fn device_rule(line: &str) -> Option<(char, Option<u32>, Option<u32>, String)> {
    let mut words = line.split_whitespace();
    let kind = words.next()?.chars().next().filter(|kind| "abc".contains(*kind))?;
    let (major, minor) = words.next()?.split_once(':')?;
    let number = |word: &str| if word == "*" { Some(None) } else { word.parse().ok().map(Some) };
    Some((kind, number(major)?, number(minor)?, words.next()?.to_owned()))
}

/// `flags` (octal) and `mnt_id` of an fdinfo file.
pub fn descriptor(text: &[u8]) -> (Option<u32>, Option<u32>) {
    let text = String::from_utf8_lossy(text);
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':').map(str::trim));
    let flags = value("flags").and_then(|word| u32::from_str_radix(word, 8).ok());
    (flags, value("mnt_id").and_then(|word| word.parse().ok()))
}

/// The inode number in a link such as `socket:[1234]`. No path looks like that: those begin with a slash.
pub fn socket(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// A socket of a network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Its inode number.
    pub inode: u64,
    /// It waits for others to connect, or (UDP) for packets from anybody.
    pub listens: bool,
    /// Where: `tcp 0.0.0.0:80`, `unix /run/x`, `unix @name`. Empty if it has no name.
    pub at: String,
}

impl Socket {
    /// It has an abstract name, which everybody in its network namespace can connect to.
    pub fn is_abstract(&self) -> bool {
        self.at.starts_with("unix @")
    }
}

/// An address as `/proc/net/tcp` has it: words of the machine's byte order, in hexadecimal.
fn address(word: &str) -> Option<String> {
    let (host, port) = word.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let group = |n: usize| {
        host.get(n * 8..n * 8 + 8).and_then(|word| u32::from_str_radix(word, 16).ok()).map(u32::to_ne_bytes)
    };
    match host.len() {
        8 => Some(format!("{}:{port}", std::net::Ipv4Addr::from(group(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (n, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&group(n)?);
            }
            Some(format!("[{}]:{port}", std::net::Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

/// `/proc/PID/net/tcp`, `tcp6`, `udp`, `udp6`, `raw`…: `kind` is which one.
pub fn inet(kind: &str, text: &[u8]) -> Vec<Socket> {
    /// `TCP_LISTEN` and `TCP_CLOSE` (include/net/tcp_states.h): UDP has the latter as long as it is not connected.
    const LISTENING: &str = "0A";
    const UNCONNECTED: &str = "07";
    let text = String::from_utf8_lossy(text);
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let state = *words.get(3)?;
        Some(Socket {
            inode: words.get(9)?.parse().ok()?,
            listens: state == if kind.starts_with("tcp") { LISTENING } else { UNCONNECTED },
            at: format!("{kind} {}", address(words.get(1)?)?),
        })
    };
    text.lines().skip(1).filter_map(line).collect()
}

/// `/proc/PID/net/unix`.
pub fn unix(text: &[u8]) -> Vec<Socket> {
    /// `__SO_ACCEPTCON` (include/uapi/linux/net.h).
    const ACCEPTS: u32 = 1 << 16;
    let text = String::from_utf8_lossy(text);
    let line = |line: &str| {
        let mut words = line.splitn(8, ' ').map(str::trim);
        let flags = u32::from_str_radix(words.nth(3)?, 16).ok()?;
        // The number is padded with blanks, so what is left is taken apart by whatever blanks there are.
        let rest: Vec<&str> = line.split_whitespace().skip(6).collect();
        let (inode, name) = rest.split_first()?;
        let name = name.join(" ");
        Some(Socket {
            inode: inode.parse().ok()?,
            listens: flags & ACCEPTS != 0,
            at: if name.is_empty() { String::new() } else { format!("unix {name}") },
        })
    };
    text.lines().skip(1).filter_map(line).collect()
}

/// The inode numbers of a table in `/proc/net` that has them in its last column (`netlink`, `packet`).
pub fn last_column(text: &[u8]) -> Vec<u64> {
    let text = String::from_utf8_lossy(text);
    text.lines().skip(1).filter_map(|line| line.split_whitespace().last()?.parse().ok()).collect()
}

/// The names of an environment, never their values.
pub fn environment(text: &[u8]) -> Vec<String> {
    let pairs = text.split(|byte| *byte == 0).filter(|pair| !pair.is_empty());
    // What has no "=" in it may be anything, a secret too: a program can write over its own environment.
    let name = |pair: &[u8]| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        pair.get(..at).map(|name| String::from_utf8_lossy(name).into_owned())
    };
    pairs.filter_map(name).collect()
}

/// Whether a variable of this name usually holds what nobody should read.
pub fn is_secret(name: &str) -> bool {
    const WORDS: [&str; 14] = [
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "SECRET",
        "TOKEN",
        "API_KEY",
        "APIKEY",
        "ACCESS_KEY",
        "PRIVATE_KEY",
        "SIGNING_KEY",
        "ENCRYPTION_KEY",
        "CREDENTIAL",
        "AUTH_SOCK",
        "DATABASE_URL",
    ];
    let upper = name.to_ascii_uppercase();
    // `…_FILE` names where it is, which is how it should be done.
    !upper.ends_with("_FILE") && (WORDS.iter().any(|word| upper.contains(word)) || upper.ends_with("_PWD"))
}

/// `/proc/PID/limits`: soft and hard, in the order of the resources' numbers; None for a line that is not understood.
pub fn resource_limits(text: &[u8]) -> Vec<Option<(u64, u64)>> {
    /// The kernel's words for them (`fs/proc/base.c`), by number.
    const NAMES: [&str; 16] = [
        "Max cpu time",
        "Max file size",
        "Max data size",
        "Max stack size",
        "Max core file size",
        "Max resident set",
        "Max processes",
        "Max open files",
        "Max locked memory",
        "Max address space",
        "Max file locks",
        "Max pending signals",
        "Max msgqueue size",
        "Max nice priority",
        "Max realtime priority",
        "Max realtime timeout",
    ];
    let text = String::from_utf8_lossy(text);
    let number = |word: &str| if word == "unlimited" { Some(u64::MAX) } else { word.parse().ok() };
    let find = |name: &str| {
        let mut words = text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace();
        Some((number(words.next()?)?, number(words.next()?)?))
    };
    NAMES.iter().map(|name| find(name)).collect()
}

/// How far a list such as `0-3,7` goes: each number in it; None if it is no list, or an absurd one.
pub fn numbers(list: &str) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for part in list.trim().split(',').filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.trim().parse::<u32>().ok()?, to.trim().parse::<u32>().ok()?);
        if to >= 1 << 16 || all.len() > 1 << 16 {
            return None;
        }
        all.extend(from..=to);
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}

/// Text that cannot move a cursor, add a line or a column, or turn the order of letters around: whatever a container wrote.
pub fn plain(text: &str) -> String {
    /// More of a name is of no use to anybody.
    const LONGEST: usize = 300;
    let mut safe = String::with_capacity(text.len().min(LONGEST) + 8);
    for c in text.chars().take(LONGEST) {
        let turns =
            matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        if c.is_control() || turns {
            let _ = write!(safe, "{}", c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        safe.push('…');
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &[u8] = b"Name:\tsl eep\\nUid:\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t9\nPPid:\t7\nUid:\t1\t2\t3\t4\n\
        Gid:\t5\t6\t7\t8\nGroups:\t4 6 \nCapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\n\
        CapEff:\t00000000a80425fb\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n\
        Seccomp_filters:\t3\n";

    #[test]
    fn kernel_parameters() {
        let own = |path: &str, value: &str| Some((path.to_owned(), value.to_owned()));
        assert_eq!(sysctl("net.ipv4.ip_forward=1"), own("net/ipv4/ip_forward", "1"));
        assert_eq!(sysctl("net.ipv4.conf.eth0/1.forwarding = 1"), own("net/ipv4/conf/eth0.1/forwarding", "1"));
        assert_eq!(sysctl("net/ipv4/conf/eth0.1/forwarding=1"), own("net/ipv4/conf/eth0.1/forwarding", "1"));
        assert_eq!(sysctl("kernel.sem=1  2\t3 4"), own("kernel/sem", "1 2 3 4"));
        for bad in ["", "=", "x", "net..x=1", "net/../x=1", "/=1"] {
            assert_eq!(sysctl(bad), None, "{bad}");
        }
        let same = is_same_setting;
        assert!(same("kernel/sem", "1 2 3 4", "1\t2\t3\t4") && same("x", "0x10", "16") && same("x", "010", "8"));
        assert!(same("x", "8080-8081,8082", "8080-8082") && same("kernel/domainname", "of.mine", "of.mine"));
        assert!(same("net/ipv4/neigh/lo/retrans_time_ms", "1001", "1004") && same("x", "-1", "-1"));
        assert!(!same("x", "1", "2") && !same("x", "1 2", "1") && !same("x", "a", "b") && !same("x", "1", ""));
        assert!(!same("x", "0x", "0") && !same("x", "-", "x"));
    }

    #[test]
    fn limits_of_devices() {
        assert_eq!(throttles("read_bps_device 8:0 1048576"), [("8:0".to_owned(), "rbps", 1 << 20)]);
        let both = throttles("8:0 rbps=1 wbps=max riops=max wiops=7");
        assert_eq!(both, [("8:0".to_owned(), "rbps", 1), ("8:0".to_owned(), "wiops", 7)]);
        for garbage in ["", " ", "8:0", "x_device 8:0 1", "8:0 rbps", "8:0 =", "read_bps_device 8:0 x"] {
            assert_eq!(throttles(garbage), [], "{garbage}");
        }
        assert_eq!(device_rule("c 1:3 rwm"), Some(('c', Some(1), Some(3), "rwm".into())));
        assert_eq!(device_rule("b *:* m"), Some(('b', None, None, "m".into())));
        for garbage in ["", "c", "c 1 r", "d 1:2 r", "c x:1 r", "c 1:2"] {
            assert_eq!(device_rule(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn threads() {
        let found = thread(STATUS).unwrap();
        assert_eq!((found.name.as_str(), found.state, found.parent), ("sl eep\\nUid:", 'S', 7));
        assert_eq!((found.uids, found.gids, found.groups.as_slice()), ([1, 2, 3, 4], [5, 6, 7, 8], &[4, 6][..]));
        assert_eq!(found.caps, [0, 0xa804_25fb, 0xa804_25fb, 0x1ff_ffff_ffff, 0]);
        assert_eq!((found.no_new_privs, found.seccomp, found.filters), (Some(true), Some(2), Some(3)));
        let end = STATUS.windows(10).position(|part| part == b"NoNewPrivs").unwrap();
        let found = thread(&STATUS[..end]).unwrap();
        assert_eq!((found.no_new_privs, found.seccomp, found.filters), (None, None, None));
    }

    #[test]
    fn maps() {
        let found = map(b"         0     100000      65536\n     65536          7          1\nx y z\n1 2\n");
        assert_eq!(found.len(), 2);
        assert_eq!((outside(&found, 0), outside(&found, 65_535)), (Some(100_000), Some(165_535)));
        assert_eq!((outside(&found, 65_536), outside(&found, 65_537)), (Some(7), None));
        let absurd = map(b"4294967295 4294967295 4294967295\n");
        assert_eq!(outside(&absurd, u32::MAX), Some(u32::MAX));
        assert_eq!(outside(&map(b"0 4294967295 9"), 3), None);
    }

    #[test]
    fn groups() {
        let found = hierarchies(b"12:cpu,cpuacct:/a:b\n3:name=systemd:/\n0::/user.slice\ngarbage\n::\n");
        assert_eq!(found.len(), 3);
        assert_eq!(
            (found[0].controllers.as_slice(), found[0].path.as_str()),
            (&["cpu".into(), "cpuacct".into()][..], "/a:b")
        );
        assert!(!found[1].unified && found[2].unified && found[2].controllers.is_empty());
    }

    #[test]
    fn descriptors() {
        assert_eq!(descriptor(b"pos:\t0\nflags:\t0100002\nmnt_id:\t27\nino:\t1\n"), (Some(0o100_002), Some(27)));
        assert_eq!(descriptor(b""), (None, None));
        assert_eq!(socket("socket:[77]"), Some(77));
        for other in ["socket:[]", "/socket:[7]", "socket:[7", "pipe:[7]", ""] {
            assert_eq!(socket(other), None, "{other}");
        }
    }

    #[test]
    fn sockets() {
        let tcp = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 100 0 0 10 0\n   \
            1: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 4243 1\n";
        let found = inet("tcp", tcp);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], Socket { inode: 4242, listens: true, at: "tcp 127.0.0.1:8080".into() });
        assert!(!found[1].listens);
        let six = b"  sl\n 0: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 07 \
            0:0 0:0 0 0 0 99 2\n";
        assert_eq!(inet("udp6", six)[0].at, "udp6 [::1]:22");
        assert!(inet("udp6", six)[0].listens);
        let unix_table = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 16113 /run/a b\n\
            0000000000000000: 00000003 00000000 00000000 0001 03   612\n\
            0000000000000000: 00000002 00000000 00010000 0005 01 16114 @/name\n";
        let found = unix(unix_table);
        assert_eq!(found[0], Socket { inode: 16113, listens: true, at: "unix /run/a b".into() });
        assert_eq!(found[1], Socket { inode: 612, listens: false, at: String::new() });
        assert!(found[2].is_abstract() && !found[0].is_abstract());
        assert_eq!(last_column(b"sk Eth Inode\n0 0 77\nx y z\n"), [77]);
    }

    #[test]
    fn names_of_secrets() {
        assert_eq!(environment(b"PATH=/bin\0A=b=c\0garbage\0\0DB_PASSWORD=x"), ["PATH", "A", "DB_PASSWORD"]);
        for secret in
            ["DB_PASSWORD", "aws_secret_access_key", "GITHUB_TOKEN", "SSH_AUTH_SOCK", "MY_API_KEY", "FTP_PWD"]
        {
            assert!(is_secret(secret), "{secret}");
        }
        for other in ["PATH", "PWD", "OLDPWD", "DB_PASSWORD_FILE", "KEYBOARD", "HOME", "MONKEY"] {
            assert!(!is_secret(other), "{other}");
        }
    }

    #[test]
    fn limits_and_lists() {
        let text = b"Limit                     Soft Limit           Hard Limit           Units     \n\
            Max cpu time              unlimited            unlimited            seconds   \n\
            Max open files            1024                 4096                 files     \n";
        let found = resource_limits(text);
        assert_eq!((found[0], found[7], found[6]), (Some((u64::MAX, u64::MAX)), Some((1024, 4096)), None));
        assert_eq!(numbers("0-2,7\n"), Some(vec![0, 1, 2, 7]));
        assert_eq!((numbers(""), numbers("a"), numbers("0-99999999")), (Some(vec![]), None, None));
    }

    #[test]
    fn text_stays_where_it_is() {
        assert_eq!(plain("a\x1b[2Jb\nc\td\u{202e}e"), "a\\u{1b}[2Jb\\u{a}c\\u{9}d\\u{202e}e");
        assert_eq!(plain(&"x".repeat(1000)).chars().count(), 301);
        for c in (0..=0x2_0000).filter_map(char::from_u32) {
            assert!(!plain(&c.to_string()).chars().any(char::is_control));
        }
    }

    #[test]
    fn no_bytes_make_them_panic() {
        let seeds: [&[u8]; 5] = [
            STATUS,
            b"sl\n 0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 4242 1\n 0: \xff00007F:1F90 0 0A 0 0 0 0 0 1",
            b"Num\n0000: 2 0 00010000 0001 01 16113 /run/a\n0: : : : : : :",
            b"0 4294967295 4294967295\n12:cpu:/\nflags:\t0777777777777777777\nmnt_id:\t-1",
            b"Max cpu time 1 2\nMax open files x y\nA=b\0=\0==",
        ];
        let mut random = 88_172_645_463_325_252_u64;
        for seed in seeds {
            for round in 0..3000 {
                let mut bytes = seed.to_vec();
                for _ in 0..round % 7 {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let at = random as usize % bytes.len();
                    bytes[at] = (random >> 32) as u8;
                    if random & 1 << 60 != 0 {
                        bytes.truncate(at.max(1));
                    }
                }
                thread(&bytes);
                outside(&map(&bytes), 7);
                hierarchies(&bytes);
                descriptor(&bytes);
                inet("tcp", &bytes);
                unix(&bytes);
                last_column(&bytes);
                environment(&bytes);
                resource_limits(&bytes);
                let text = String::from_utf8_lossy(&bytes);
                numbers(&text);
                plain(&text);
                socket(&text);
            }
        }
    }
}
