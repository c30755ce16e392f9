//! Everything that is read, in both network namespaces. This process goes to the container's and comes back; sockets stay with the
//! namespace in which they were opened.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use linux_raw_sys::general as k;
use netlink::link::Link;
use netlink::nft::{self, Ruleset};
use netlink::{NETLINK_NETFILTER, NETLINK_ROUTE, Socket, addr, conntrack, link, neigh, route};

use super::Subject;
use crate::error::{Doing, Result};
use crate::{procfs, sys};

/// One network namespace.
#[derive(Debug, Default)]
pub struct Space {
    /// Its links.
    pub links: Vec<Link>,
    /// Their addresses.
    pub addresses: Vec<addr::Address>,
    /// Its routes.
    pub routes: Vec<route::Route>,
    /// Who is known to be behind an address.
    pub neighbours: Vec<neigh::Neighbour>,
    /// Sockets that wait for somebody: protocol, address, port, inode.
    pub listening: Vec<Listener>,
}

/// A socket that waits for somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// `IPPROTO_*`.
    pub protocol: u8,
    /// At which address.
    pub at: IpAddr,
    /// And port.
    pub port: u16,
    /// Its inode's number.
    pub inode: u64,
}

impl Space {
    /// The link of this name.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }
}

/// What there is.
#[derive(Debug)]
pub struct Seen {
    /// In the container.
    pub inside: Space,
    /// On the host.
    pub host: Space,
    /// nf_tables; none where this kernel has none.
    pub rules: Option<Ruleset>,
    /// How full the table of connections is, and how full it may be.
    pub connections: Option<(u32, u32)>,
    /// Whether packets are passed on.
    pub forwards: [Option<bool>; 2],
    /// Tables of legacy iptables, which cannot be read from here.
    pub legacy: Vec<String>,
    /// Which link each of the container's addresses is reached by.
    pub ways: Vec<(IpAddr, Option<u32>)>,
}

/// Does something in the container's network namespace, and comes back.
pub fn inside<T>(process: BorrowedFd, ourselves: BorrowedFd, act: impl FnOnce() -> T) -> io::Result<T> {
    // By our own pidfd there would be no way back: it would lead to where we are by then.
    let _ = ourselves;
    let home = std::fs::File::open("/proc/thread-self/ns/net")?;
    sys::enter_namespaces(process, k::CLONE_NEWNET)?;
    let done = act();
    sys::enter_namespaces(home.as_fd(), k::CLONE_NEWNET)?;
    Ok(done)
}

/// Reads all of it.
pub fn look(subject: &Subject, process: BorrowedFd, ourselves: BorrowedFd) -> Result<Seen> {
    let doing = "read the container's network";
    let mut there =
        inside(process, ourselves, || Socket::open(NETLINK_ROUTE)).and_then(|opened| opened).doing(doing, "setns")?;
    let mut here = Socket::open(NETLINK_ROUTE).doing(doing, "NETLINK_ROUTE")?;
    let rules = Socket::open(NETLINK_NETFILTER).ok().and_then(|mut socket| nft::ruleset(&mut socket).ok());
    let number = |path: &str| std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok());
    let most = number("/proc/sys/net/netfilter/nf_conntrack_max");
    let count = Socket::open(NETLINK_NETFILTER).and_then(|mut socket| conntrack::count(&mut socket)).ok();
    let on = |path: &str| number(path).map(|value| value != 0);
    let legacy = |path: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let ways =
        subject.joined.iter().flat_map(|joined| joined.addresses().map(|(address, ..)| address).collect::<Vec<_>>());
    let ways = ways
        .map(|address| {
            let way = route::get(&mut here, address, &route::Packet::default());
            (address, way.ok().and_then(|route| route.link))
        })
        .collect();
    Ok(Seen {
        inside: space(&mut there, subject.pid).doing(doing, "rtnetlink")?,
        host: space(&mut here, std::process::id()).doing(doing, "rtnetlink")?,
        rules,
        connections: count.and_then(|count| Some((count.entries, count.most.or(most)?))),
        forwards: [on("/proc/sys/net/ipv4/ip_forward"), on("/proc/sys/net/ipv6/conf/all/forwarding")],
        legacy: [legacy("/proc/net/ip_tables_names"), legacy("/proc/net/ip6_tables_names")].concat(),
        ways,
    })
}

fn space(socket: &mut Socket, pid: u32) -> io::Result<Space> {
    Ok(Space {
        links: link::list(socket)?,
        addresses: addr::list(socket)?,
        routes: route::list(socket)?,
        neighbours: neigh::list(socket)?,
        listening: listening(pid),
    })
}

/// The sockets of a process's network namespace that wait for somebody.
pub fn listening(pid: u32) -> Vec<Listener> {
    let mut all = Vec::new();
    let Ok(proc) = procfs::open() else { return all };
    for (name, protocol, v6) in [
        ("tcp", libc::IPPROTO_TCP, false),
        ("tcp6", libc::IPPROTO_TCP, true),
        ("udp", libc::IPPROTO_UDP, false),
        ("udp6", libc::IPPROTO_UDP, true),
    ] {
        let Ok(path) = std::ffi::CString::new(format!("{pid}/net/{name}")) else { continue };
        let text = procfs::read(proc.as_fd(), &path).unwrap_or_default();
        let tcp = protocol == libc::IPPROTO_TCP;
        all.extend(
            String::from_utf8_lossy(&text).lines().skip(1).filter_map(|line| listener(line, protocol as u8, tcp, v6)),
        );
    }
    all
}

/// A line of `/proc/net/tcp` and its like (proc_net_tcp.rst).
fn listener(line: &str, protocol: u8, tcp: bool, v6: bool) -> Option<Listener> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (local, remote, state) = (words.get(1)?, words.get(2)?, words.get(3)?);
    // TCP_LISTEN; a datagram socket that is connected to nobody.
    if tcp && *state != "0A" || !tcp && !remote.bytes().all(|byte| matches!(byte, b'0' | b':')) {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let word = |n: usize| u32::from_str_radix(address.get(n * 8..n * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    let at = if v6 {
        let bytes: Vec<u8> = (0..4).map(word).collect::<Option<Vec<_>>>()?.concat();
        let address = std::net::Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?);
        address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
    } else {
        IpAddr::from(word(0)?)
    };
    Some(Listener { protocol, at, port: u16::from_str_radix(port, 16).ok()?, inode: words.get(9)?.parse().ok()? })
}

/// The process that has a socket, by looking at everybody's descriptors: its pid and name.
pub fn owner(inode: u64) -> Option<(u32, String)> {
    let wanted = format!("socket:[{inode}]");
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let fds = std::fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
        for fd in fds {
            if std::fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str()) {
                let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                return Some((pid, name.trim().to_owned()));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        let tcp = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0";
        let found = listener(tcp, 6, true, false).unwrap();
        assert_eq!((found.at, found.port, found.inode), ("127.0.0.1".parse().unwrap(), 8080, 4711));
        assert_eq!(listener(&tcp.replace(" 0A ", " 01 "), 6, true, false), None);
        let six =
            "   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 12 1";
        assert_eq!(listener(six, 6, true, true).unwrap().at, "::".parse::<IpAddr>().unwrap());
        for garbage in ["", "x", "0: zz:1 0:0 0A", "0: 0100007F 0 0A 0 0 0 0 0 0"] {
            assert_eq!(listener(garbage, 6, true, false), None);
        }
    }
}
