//! A network's bridge, and what the host has to allow for it: packets are passed on (`ip_forward`).
//!
//! What is switched on is written down before it is (`/run/ctr/networks/.switched`), and put back when the last network goes
//! ([`put_back`]), unless somebody else needs it by then.

use std::ffi::CString;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsFd;

use netlink::link::{self, Bridge, Kind, Settings};
use netlink::{Socket, addr, route};

use super::{Driver, Network};
use crate::error::{Doing, Error, Result};
use crate::{procfs, sys};

/// What passes packets on, for both families, as a path below `/proc`.
const FORWARDING: [&str; 2] = ["sys/net/ipv4/ip_forward", "sys/net/ipv6/conf/all/forwarding"];

/// Where it is written down what was switched on: lines of a path below /proc and what it held.
fn switched() -> std::path::PathBuf {
    super::passing().join(".switched")
}

fn read(path: &str) -> io::Result<String> {
    let proc = procfs::open()?;
    let text = procfs::read_short(proc.as_fd(), &CString::new(path)?)?;
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}

fn write(path: &str, value: &str) -> io::Result<()> {
    let proc = procfs::open()?;
    procfs::write(proc.as_fd(), &CString::new(path)?, value)
}

/// What containers are joined to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Master {
    /// The link, by its number.
    pub index: u32,
    /// Its largest packet.
    pub mtu: u32,
}

/// A network's bridge, and whether it had to be made; or that of a macvlan's lower link.
pub fn ensure(network: &Network, socket: &mut Socket) -> Result<(Master, bool)> {
    match link::get(socket, &network.link) {
        Ok(found) if network.driver == Driver::Macvlan || found.kind.as_deref() == Some("bridge") => {
            // Somebody may have switched it off; and a network whose first command was killed half-way has no address yet.
            if network.driver == Driver::Macvlan || found.is_up() {
                return Ok((Master { index: found.index, mtu: found.mtu }, false));
            }
        }
        Ok(found) => {
            return Err(Error::usage(format_args!(
                "the network {} wants the bridge {}, and there is a link of that name which is none ({})",
                network.name,
                network.link,
                found.kind.as_deref().unwrap_or("hardware")
            ))
            .hint(Some(format!("rename it: ip link set dev {} down name other0", network.link))));
        }
        Err(e) if netlink::errno(&e) != Some(libc::ENODEV) => {
            return Err(e).doing("look for the bridge", &network.link);
        }
        Err(_) if network.driver == Driver::Macvlan => {
            return Err(Error::usage(format_args!(
                "the network {} is on the link {}, which is not there: ip link shows those that are",
                network.name, network.link
            )));
        }
        Err(_) => {}
    }
    let _lock = super::lock()?;
    make(network, socket).map(|master| (master, true))
}

/// Makes the bridge, or what is missing of it. The caller has the lock.
pub fn make(network: &Network, socket: &mut Socket) -> Result<Master> {
    let doing = || format!("make the bridge of the network {}", network.name);
    allow(network.v6.is_some())?;
    let mac = own_mac(network);
    let mtu = network.mtu.or_else(|| uplink_mtu(socket));
    // A port forwards at once, and nobody is asked whether there is a loop: all ports are containers.
    let settings = Bridge { stp: Some(false), forward_delay: Some(0), ..Bridge::default() };
    let named = Settings { name: Some(&network.link), address: Some(mac), ..Settings::default() };
    match socket.request(link::add(Kind::Bridge(settings), &named)) {
        Err(e) if netlink::errno(&e) == Some(libc::EEXIST) => {}
        Err(e) if matches!(netlink::errno(&e), Some(libc::EOPNOTSUPP)) => {
            return Err(Error::new(doing(), &network.link, e).hint(Some(
                "modprobe bridge (a kernel that was updated wants a reboot first), or --network none or host",
            )));
        }
        made => made.doing(doing(), &network.link)?,
    }
    let found = link::get(socket, &network.link).doing(doing(), &network.link)?;
    if network.v6.is_some() {
        let conf = format!("sys/net/ipv6/conf/{}", network.link);
        // A container must not become this host's router (CVE-2020-13401), and IPv6 may be off for new links.
        for (name, value) in [("accept_ra", "0"), ("disable_ipv6", "0")] {
            let path = format!("{conf}/{name}");
            if read(&path).is_ok_and(|now| now != value) {
                write(&path, value).doing(doing(), &path)?;
            }
        }
    } else if let Err(e) = write(&format!("sys/net/ipv6/conf/{}/disable_ipv6", network.link), "1") {
        if e.raw_os_error() != Some(libc::ENOENT) {
            // Without IPv6 of its own it must not learn any from a container either.
            let path = format!("sys/net/ipv6/conf/{}/accept_ra", network.link);
            write(&path, "0").doing(doing(), path)?;
        }
    }
    let had = addr::list_of(socket, found.index).doing(doing(), &network.link)?;
    let mut messages = Vec::new();
    for range in network.ranges().filter(|range| !had.iter().any(|had| had.address == range.gateway)) {
        let mut address = addr::Address::new(found.index, range.gateway, range.subnet.prefix);
        address.broadcast = range.subnet.broadcast();
        address.flags = if range.subnet.is_v6() { addr::IFA_F_NODAD } else { 0 };
        messages.push(addr::add(&address));
    }
    // Without it this host asks nobody on the bridge for what it passes on; the one that the kernel makes is of no use for the second in
    // which it asks whether somebody else has it (net/ipv6/ndisc.c, ndisc_send_ns).
    let near = link_local(mac);
    if network.v6.is_some() && !had.iter().any(|had| had.address == near) {
        let own = addr::Address { flags: addr::IFA_F_NODAD, ..addr::Address::new(found.index, near, 64) };
        messages.push(addr::add(&own));
    }
    // Set when it is there, and not as it is made: only then does the kernel not take it back with the last port (net/bridge/br_if.c,
    // br_mtu_auto_adjust; since 4.17).
    messages.push(link::set(found.index, &Settings { up: Some(true), mtu, ..Settings::default() }));
    socket.requests(messages).doing(doing(), &network.link)?;
    Ok(Master { index: found.index, mtu: mtu.unwrap_or(found.mtu) })
}

/// The bridge's hardware address: with one of its own it does not change with its ports.
fn own_mac(network: &Network) -> link::Mac {
    match network.v4.gateway {
        IpAddr::V4(gateway) => mac_of(gateway),
        IpAddr::V6(_) => [2, 0x63, 0, 0, 0, 1],
    }
}

/// The hardware address of who has this one: nobody else on the network has it, and who gets the address next has the same, so that
/// what neighbours remember stays true.
pub fn mac_of(address: std::net::Ipv4Addr) -> link::Mac {
    let [a, b, c, d] = address.octets();
    [2, 0x63, a, b, c, d]
}

/// The addresses that this host has on a network's link.
pub fn addresses(network: &Network) -> Result<Vec<std::net::IpAddr>> {
    let doing = || format!("look for addresses of this host on the network {}", network.name);
    let mut socket = Socket::open(netlink::NETLINK_ROUTE).doing(doing(), &network.link)?;
    let index = match link::get(&mut socket, &network.link) {
        Ok(link) => link.index,
        // Who joins it is told.
        Err(e) if netlink::errno(&e) == Some(libc::ENODEV) => return Ok(Vec::new()),
        Err(e) => return Err(e).doing(doing(), &network.link),
    };
    let had = addr::list_of(&mut socket, index).doing(doing(), &network.link)?;
    Ok(had.into_iter().map(|had| had.address).collect())
}

/// The address that the kernel would make of a hardware address (RFC 4291, appendix A).
fn link_local(mac: link::Mac) -> IpAddr {
    let [first, second, third, rest @ ..] = mac;
    let [fourth, fifth, sixth] = rest;
    let own = [[first ^ 2, second], [third, 0xff], [0xfe, fourth], [fifth, sixth]].map(u16::from_be_bytes);
    Ipv6Addr::new(0xfe80, 0, 0, 0, own[0], own[1], own[2], own[3]).into()
}

/// The largest packet of the link that the default route leads to, where that is another than Ethernet's.
fn uplink_mtu(socket: &mut Socket) -> Option<u32> {
    let routes = route::list(socket).ok()?;
    let ways = routes.iter().filter(|route| {
        route.to.is_none() && route.table == route::RT_TABLE_MAIN && route.kind == route::RTN_UNICAST
    });
    let index = ways
        .min_by_key(|route| (route.v6, route.metric))
        .and_then(|route| route.link.or_else(|| route.ways.first().map(|way| way.link)))?;
    let mtu = link::get_index(socket, index).ok()?.mtu;
    (1280..65_536).contains(&mtu).then_some(mtu).filter(|mtu| *mtu != 1500)
}

/// Has this host pass packets on, and writes down what was before.
fn allow(v6: bool) -> Result<()> {
    let doing = "have this host pass packets on";
    for path in FORWARDING.into_iter().take(if v6 { 2 } else { 1 }) {
        let Ok(now) = read(path) else { continue };
        if now != "0" {
            continue;
        }
        // A host that passes IPv6 on believes no router any more, unless it is told to (ip-sysctl.rst, accept_ra).
        if path == FORWARDING[1] {
            for link in believers() {
                switch(&format!("sys/net/ipv6/conf/{link}/accept_ra"), "1", "2").doing(doing, &link)?;
            }
        }
        switch(path, "0", "1").map_err(|e| {
            Error::new(doing, format_args!("/proc/{path}"), e).hint(Some(
                "run ctr where /proc/sys can be written to, or switch it on there, or --network none or host",
            ))
        })?;
    }
    Ok(())
}

/// Links on which a router is believed, by which this host may have its default route.
fn believers() -> Vec<String> {
    let names = crate::folders::names(std::path::Path::new("/proc/sys/net/ipv6/conf")).into_iter();
    let believes = |name: &String| read(&format!("sys/net/ipv6/conf/{name}/accept_ra")).is_ok_and(|now| now == "1");
    names.filter(|name| !matches!(name.as_str(), "all" | "default" | "lo") && believes(name)).collect()
}

fn switch(path: &str, before: &str, after: &str) -> io::Result<()> {
    let file = switched();
    let noted = std::fs::read_to_string(&file).unwrap_or_default();
    if !noted.lines().any(|line| line.split(' ').next() == Some(path)) {
        std::fs::write(&file, format!("{noted}{path} {before} {after}\n"))?;
    }
    write(path, after)
}

/// Takes a network's bridge away. One that is not there is as good. The caller has the lock.
pub fn remove(network: &Network, socket: &mut Socket) -> Result<()> {
    if network.driver != Driver::Bridge {
        return Ok(());
    }
    match link::get(socket, &network.link) {
        Ok(found) if found.kind.as_deref() == Some("bridge") => {
            match socket.request(link::delete_index(found.index)) {
                Err(e) if netlink::errno(&e) == Some(libc::ENODEV) => Ok(()),
                done => done.doing(format_args!("take the bridge of {} away", network.name), &network.link),
            }
        }
        _ => Ok(()),
    }
}

/// Puts back what was switched on, when the last network has gone: not what somebody has changed since, and not while others have
/// bridges or tunnels that need it. The caller has the lock.
pub fn put_back(socket: &mut Socket) {
    let file = switched();
    let Ok(noted) = std::fs::read_to_string(&file) else { return };
    let routed = ["bridge", "wireguard", "tun", "ipip", "gre", "vxlan"];
    let needed = link::list(socket).is_ok_and(|links| {
        links.iter().any(|link| link.is_up() && link.kind.as_deref().is_some_and(|kind| routed.contains(&kind)))
    });
    if !needed {
        for line in noted.lines().rev() {
            let mut words = line.split(' ');
            if let (Some(path), Some(before), Some(after)) = (words.next(), words.next(), words.next()) {
                if path.starts_with("sys/net/") && !path.contains("..") && read(path).is_ok_and(|now| now == after) {
                    let _ = write(path, before);
                }
            }
        }
    }
    let path = CString::new(file.into_os_string().into_encoded_bytes()).unwrap_or_default();
    let _ = sys::unlink(sys::CWD, &path, false);
}
