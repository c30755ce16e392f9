//! What is, as the kernel tells it, in the container's network namespace and in ours. Nothing is changed and nothing
//! is sent.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use linux_raw_sys::general as k;
use netlink::addr::{self, Address};
use netlink::link::{self, Kind, Link, Settings};
use netlink::neigh::{self, Neighbour};
use netlink::nft::{self, Ruleset};
use netlink::route::{self, Packet, Route};
use netlink::{NETLINK_NETFILTER, NETLINK_ROUTE, Socket, conntrack};

use super::{Joined, Subject};
use crate::error::{Doing, Result};
use crate::network::legacy;
use crate::{procfs, sys};

/// Somewhere outside: nobody is asked there, only the routing tables are asked about it.
pub const OUTSIDE4: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);
/// The same of IPv6.
pub const OUTSIDE6: Ipv6Addr = Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111);

/// The longest list of sockets that is read.
const MOST: usize = 4 << 20;

/// A network namespace.
#[derive(Debug, Default)]
pub struct Side {
    pub links: Vec<Link>,
    pub addresses: Vec<Address>,
    pub routes: Vec<Route>,
    /// None where the kernel has no nf_tables, or will not say.
    pub rules: Option<Ruleset>,
    /// TCP that listens and UDP that is bound.
    pub sockets: Vec<Bound>,
    /// IPv6 is there, and switched on.
    pub has_v6: bool,
}

impl Side {
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    pub fn by_index(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    pub fn name_of(&self, index: Option<u32>) -> &str {
        index.and_then(|index| self.by_index(index)).map_or("an unknown link", |link| &link.name)
    }

    /// The addresses of one link.
    pub fn of(&self, index: u32) -> impl Iterator<Item = &Address> {
        self.addresses.iter().filter(move |address| address.index == index)
    }

    /// The link that has an address.
    pub fn holder(&self, address: IpAddr) -> Option<&Link> {
        let held = self.addresses.iter().find(|held| held.address == address)?;
        self.by_index(held.index)
    }

    pub fn own(&self) -> Vec<IpAddr> {
        self.addresses.iter().map(|address| address.address).collect()
    }
}

/// A socket that somebody can be answered by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    pub udp: bool,
    pub at: SocketAddr,
    pub inode: u64,
}

/// A process that has a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub pid: u32,
    pub name: String,
    /// It is a ctr itself: the forwarder.
    pub is_ctr: bool,
}

/// How the kernel would send a packet on: an errno where it would not.
pub type Way = std::result::Result<Route, i32>;

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Look {
    pub inside: Side,
    pub host: Side,
    /// `net.ipv4.ip_forward` and `net.ipv6.conf.all.forwarding`.
    pub forwards: [Option<bool>; 2],
    /// Tables of iptables' own kind.
    pub legacy: Vec<String>,
    /// For each network: who of iptables' own kind drops what passes to and from it, and why.
    pub dropping: Vec<Vec<(&'static str, String)>>,
    /// Connections that are tracked, and how many may be.
    pub tracked: Option<(u64, u64)>,
    /// The way outside, of IPv4 and IPv6.
    pub outside: Vec<Way>,
    /// For each network, of IPv4 and IPv6: the host's way to the container.
    pub back: Vec<[Option<Way>; 2]>,
    /// For each network: what the kernel would do with a packet of the container's to the outside (IPv4).
    pub through: Vec<Option<Way>>,
    /// For each port: the host's way to where it is published, if that is one address.
    pub published: Vec<Option<Way>>,
    /// Who has which socket of the host's, by inode.
    pub programs: BTreeMap<u64, Program>,
    /// Kinds of links that the kernel cannot make.
    pub lacking: Vec<&'static str>,
}

/// Runs something in the network namespace of a process; afterwards we are where we were.
///
/// For a thread alone, as setns(2) has it. Sockets that are opened in there stay in there.
pub fn within<T>(pid: u32, act: impl FnOnce() -> T) -> Result<T> {
    let proc = procfs::open().doing("open /proc", "/proc")?;
    let open = |path: &str| sys::openat(proc.as_fd(), &c(path), k::O_RDONLY, 0);
    let doing = "enter the container's network";
    let there = format!("{pid}/ns/net");
    let home = open("thread-self/ns/net").doing(doing, "/proc/thread-self/ns/net")?;
    let there = open(&there).doing(doing, format_args!("/proc/{there}"))?;
    sys::enter_namespaces(there.as_fd(), k::CLONE_NEWNET).doing(doing, "setns")?;
    let done = act();
    sys::enter_namespaces(home.as_fd(), k::CLONE_NEWNET).doing("leave the container's network", "setns")?;
    Ok(done)
}

fn c(path: &str) -> CString {
    CString::new(path).unwrap_or_default()
}

/// A number in /proc/sys of the namespace that we are in.
pub fn sysctl(proc: BorrowedFd, path: &str) -> Option<u64> {
    let text = procfs::read_short(proc, &c(&format!("sys/net/{path}"))).ok()?;
    std::str::from_utf8(&text).ok()?.trim().parse().ok()
}

/// Looks at everything.
pub fn look(subject: &Subject) -> Result<Look> {
    let proc = procfs::open().doing("open /proc", "/proc")?;
    let proc = proc.as_fd();
    let doing = "read the network";
    let inside = within(subject.pid, || side(proc, &format!("{}/net", subject.pid)))?.doing(doing, &subject.name)?;
    let host = side(proc, "thread-self/net").doing(doing, "of the host")?;
    let mut socket = Socket::open(NETLINK_ROUTE).doing(doing, "NETLINK_ROUTE")?;
    let mut ask = |to: IpAddr, packet: &Packet| {
        route::get(&mut socket, to, packet).map_err(|error| netlink::errno(&error).unwrap_or(libc::EIO))
    };
    let outside = [IpAddr::V4(OUTSIDE4), IpAddr::V6(OUTSIDE6)].map(|to| ask(to, &Packet::default())).into();
    let mut back = Vec::new();
    let mut through = Vec::new();
    for joined in &subject.joined {
        let bridge = host.link(&joined.link).filter(|_| !joined.macvlan);
        let own = [joined.v4.map(|(own, _)| IpAddr::V4(own)), joined.v6.map(|(own, _)| IpAddr::V6(own))];
        back.push(own.map(|own| own.filter(|_| bridge.is_some()).map(|own| ask(own, &Packet::default()))));
        through.push(match (joined.v4, bridge) {
            (Some((own, _)), Some(bridge)) if !joined.internal => {
                let packet = Packet { from: Some(own.into()), incoming: Some(bridge.index), ..Packet::default() };
                Some(ask(OUTSIDE4.into(), &packet))
            }
            _ => None,
        });
    }
    let one = |at: IpAddr| !at.is_unspecified() && !at.is_loopback();
    let published = subject.ports.iter().map(|port| one(port.at).then(|| ask(port.at, &Packet::default()))).collect();
    let forwards = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"].map(|path| sysctl(proc, path).map(|on| on != 0));
    let legacy = ["ip_tables_names", "ip6_tables_names"].iter().flat_map(|file| {
        let text = procfs::read(proc, &c(&format!("thread-self/net/{file}"))).unwrap_or_default();
        let tool = if file.starts_with("ip6") { "ip6" } else { "ip" };
        String::from_utf8_lossy(&text).lines().map(|line| format!("{tool} {line}")).collect::<Vec<_>>()
    });
    let legacy: Vec<String> = legacy.collect();
    let drops = |joined: &Joined| {
        let tools = [("iptables-legacy", "ip filter", false), ("ip6tables-legacy", "ip6 filter", true)];
        let there = tools.into_iter().filter(|(_, table, _)| legacy.iter().any(|other| other == table));
        there.filter_map(|(tool, _, v6)| Some((tool, legacy::drops(v6, &joined.link).ok()??))).collect()
    };
    let dropping = subject.joined.iter().map(drops).collect();
    let mut lacking = Vec::new();
    if subject.joined.iter().any(|joined| !joined.macvlan && host.link(&joined.link).is_none()) {
        lacking.extend(unknown_kinds(&mut socket));
    }
    let programs = programs(proc, &suspects(subject, &host));
    Ok(Look {
        legacy,
        dropping,
        tracked: tracked(proc),
        inside,
        host,
        forwards,
        outside,
        back,
        through,
        published,
        programs,
        lacking,
    })
}

/// One namespace, which we are in. `net` is where procfs has its files.
fn side(proc: BorrowedFd, net: &str) -> io::Result<Side> {
    let mut socket = Socket::open(NETLINK_ROUTE)?;
    let rules = match Socket::open(NETLINK_NETFILTER).and_then(|mut socket| nft::ruleset(&mut socket)) {
        Ok(rules) => Some(rules),
        Err(error) if matches!(netlink::errno(&error), Some(libc::EINVAL | libc::EPROTONOSUPPORT)) => None,
        Err(error) => return Err(error),
    };
    let mut sockets = Vec::new();
    for (file, udp) in [("tcp", false), ("tcp6", false), ("udp", true), ("udp6", true)] {
        // No file: no such family.
        sockets.extend(bound(proc, &format!("{net}/{file}"), udp).unwrap_or_default());
    }
    Ok(Side {
        links: link::list(&mut socket)?,
        addresses: addr::list(&mut socket)?,
        routes: route::list(&mut socket)?,
        rules,
        sockets,
        has_v6: sysctl(proc, "ipv6/conf/all/disable_ipv6") == Some(0),
    })
}

/// Who was heard of on the container's links.
pub fn neighbours() -> io::Result<Vec<Neighbour>> {
    neigh::list(&mut Socket::open(NETLINK_ROUTE)?)
}

/// The host's connections; none where the kernel does not track any.
fn tracked(proc: BorrowedFd) -> Option<(u64, u64)> {
    let count = Socket::open(NETLINK_NETFILTER).and_then(|mut socket| conntrack::count(&mut socket)).ok();
    let entries = count.as_ref().map(|count| u64::from(count.entries));
    let entries = entries.or_else(|| sysctl(proc, "netfilter/nf_conntrack_count"))?;
    let most = count.and_then(|count| count.most).map(u64::from);
    Some((entries, most.or_else(|| sysctl(proc, "netfilter/nf_conntrack_max"))?))
}

/// Kinds of links that are asked for with a name that no link can have: EINVAL means that the kernel knows the kind.
fn unknown_kinds(socket: &mut Socket) -> Vec<&'static str> {
    let bad = Settings { name: Some("no/name"), ..Settings::default() };
    let kinds = [("bridge", Kind::Bridge(link::Bridge::default())), ("veth", Kind::Veth(bad))];
    let unknown = |kind: Kind, socket: &mut Socket| match socket.request(link::add(kind, &bad)) {
        Err(error) => netlink::errno(&error) == Some(libc::EOPNOTSUPP),
        Ok(()) => false,
    };
    kinds.into_iter().filter_map(|(name, kind)| unknown(kind, socket).then_some(name)).collect()
}

/// The sockets in a file such as /proc/net/tcp. In that of TCP those that listen come first.
fn bound(proc: BorrowedFd, path: &str, udp: bool) -> io::Result<Vec<Bound>> {
    let file = sys::openat(proc, &c(path), k::O_RDONLY, 0)?;
    let mut text = Vec::new();
    let mut piece = vec![0; 16 << 10];
    loop {
        let length = match sys::read(file.as_fd(), &mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let part = piece.get(..length).unwrap_or_default();
        text.extend_from_slice(part);
        let last = part.strip_suffix(b"\n").and_then(|part| part.split(|byte| *byte == b'\n').next_back());
        let done = !udp && last.is_some_and(|line| read_bound(&String::from_utf8_lossy(line), udp).is_none());
        if length == 0 || text.len() > MOST || (done && text.len() > 1024) {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&text).lines().filter_map(|line| read_bound(line, udp)).collect())
}

/// `0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 12345 ...`: TCP's state 0A listens;
/// UDP's 07 has no other end.
fn read_bound(line: &str, udp: bool) -> Option<Bound> {
    let mut words = line.split_ascii_whitespace();
    let (at, state) = (words.nth(1)?, words.nth(1)?);
    if state != if udp { "07" } else { "0A" } {
        return None;
    }
    let inode = words.nth(5)?.parse().ok()?;
    let (address, port) = at.split_once(':')?;
    let word = |n: usize| u32::from_str_radix(address.get(8 * n..8 * n + 8)?, 16).ok().map(u32::to_ne_bytes);
    let address = if address.len() == 8 {
        IpAddr::from(word(0)?)
    } else {
        let bytes = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
        IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)
    };
    Some(Bound { udp, at: SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?), inode })
}

/// Sockets of the host's at ports that are published.
fn suspects(subject: &Subject, host: &Side) -> Vec<u64> {
    let port = |bound: &&Bound| {
        subject
            .ports
            .iter()
            .any(|port| port.host == bound.at.port() && (i32::from(port.protocol) == libc::IPPROTO_UDP) == bound.udp)
    };
    host.sockets.iter().filter(port).map(|bound| bound.inode).collect()
}

/// Whose these sockets are, as far as that can be seen.
fn programs(proc: BorrowedFd, inodes: &[u64]) -> BTreeMap<u64, Program> {
    let mut found = BTreeMap::new();
    if inodes.is_empty() {
        return found;
    }
    let ours = sys::openat(proc, c"self/exe", k::O_PATH, 0);
    let Ok(processes) = std::fs::read_dir("/proc") else { return found };
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for file in files.flatten() {
            let Ok(target) = std::fs::read_link(file.path()) else { continue };
            let inode =
                target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            let Some(inode) = inode.filter(|inode| inodes.contains(inode)) else { continue };
            let name = procfs::read_short(proc, &c(&format!("{pid}/comm"))).unwrap_or_default();
            let exe = sys::openat(proc, &c(&format!("{pid}/exe")), k::O_PATH, 0);
            let same = match (&ours, &exe) {
                (Ok(ours), Ok(exe)) => sys::same_file(ours.as_fd(), exe.as_fd()).unwrap_or(false),
                _ => false,
            };
            // A ctr that was replaced by a newer one since.
            let path = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            let named = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
                let name = name.strip_suffix(" (deleted)").unwrap_or(name);
                name == "ctr"
            });
            let name = String::from_utf8_lossy(&name).trim().to_owned();
            // Several may have it: any that is a ctr will do.
            let program = Program { pid, name, is_ctr: same || named };
            let place = found.entry(inode).or_insert_with(|| program.clone());
            if program.is_ctr {
                *place = program;
            }
        }
    }
    found
}

/// The name servers of a resolv.conf.
pub fn servers(text: &str) -> Vec<IpAddr> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        // A zone (%eth0) is for those of one link.
        address.split('%').next()?.parse().ok()
    };
    let mut all: Vec<IpAddr> = text.lines().filter_map(line).collect();
    // As many as the C libraries look at.
    all.truncate(3);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_listen_are_read() {
        let line =
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0";
        let found = read_bound(line, false).unwrap();
        assert_eq!((found.at.to_string().as_str(), found.inode), ("127.0.0.1:8080", 12345));
        assert_eq!(read_bound(line, true), None);
        let six = "   1: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 \
                   00000000:00000000 00:00000000 00000000     0        0 77 2 0";
        assert_eq!(read_bound(six, true).unwrap().at.to_string(), "[::1]:53");
        for garbage in
            ["", "  sl  local_address rem_address   st", "0: 1:2 3 0A", "0: é0100007:1F90 0 0A 0 0 0 0 0 1"]
        {
            assert_eq!(read_bound(garbage, false), None, "{garbage:?}");
        }
    }

    #[test]
    fn name_servers_are_read() {
        let text =
            "# x\nnameserver 10.0.0.1\nsearch a\n nameserver fe80::1%eth0\noptions x\nnameserver\nnameserver x\n";
        assert_eq!(servers(text), ["10.0.0.1".parse::<IpAddr>().unwrap(), "fe80::1".parse().unwrap()]);
        assert!(servers("").is_empty());
    }
}
