//! Routes (rtnetlink(7), include/uapi/linux/rtnetlink.h). Builders and golden bytes as in [`crate::link`].

use std::io;
use std::net::IpAddr;

use libc::{
    AF_INET, AF_INET6, AF_UNSPEC, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, RTA_DST, RTA_GATEWAY, RTA_IIF,
    RTA_MARK, RTA_METRICS, RTA_MULTIPATH, RTA_OIF, RTA_PREFSRC, RTA_PRIORITY, RTA_SRC, RTA_TABLE, RTM_DELROUTE,
    RTM_F_CLONED, RTM_GETROUTE, RTM_NEWROUTE, RTPROT_BOOT,
};
use linux_raw_sys::netlink as nl;

use crate::family;
use crate::socket::Socket;
use crate::wire::{self, Message, Reply};

pub use libc::{
    RTN_BLACKHOLE, RTN_BROADCAST, RTN_LOCAL, RTN_MULTICAST, RTN_PROHIBIT, RTN_THROW, RTN_UNICAST, RTN_UNREACHABLE,
};

/// The table that a route is in when nothing else is said.
pub const RT_TABLE_MAIN: u32 = 254;
/// The table of this host's own addresses.
pub const RT_TABLE_LOCAL: u32 = 255;
/// A route to everywhere.
pub const RT_SCOPE_UNIVERSE: u8 = 0;
/// A route to what is on the link.
pub const RT_SCOPE_LINK: u8 = 253;
/// No route at all; when deleting, a route of any scope.
pub const RT_SCOPE_NOWHERE: u8 = 255;

/// `sizeof(struct rtmsg)`.
const RTMSG: usize = 12;
/// `sizeof(struct rtnexthop)`.
const RTNEXTHOP: usize = 8;

// libc has these for glibc alone.
const RTM_F_LOOKUP_TABLE: u32 = nl::RTM_F_LOOKUP_TABLE;
const RTA_VIA: u16 = nl::rtattr_type_t::RTA_VIA as u16;
const MTU: u16 = nl::RTAX_MTU as u16;

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Of IPv6, or of IPv4.
    pub v6: bool,
    /// Where to, and how many bits of that count; none is the default route.
    pub to: Option<(IpAddr, u8)>,
    /// The table, by its number.
    pub table: u32,
    /// What happens to a packet, `RTN_*`: [`RTN_UNICAST`] sends it on.
    pub kind: u8,
    /// How far away it leads, `RT_SCOPE_*`. IPv6 does not look at it.
    pub scope: u8,
    /// Who made it, `RTPROT_*`: 2 the kernel, 3 somebody with `ip`, 4 an administrator, 9 a router advertisement.
    pub protocol: u8,
    /// By way of which host.
    pub gateway: Option<IpAddr>,
    /// Out of which link, by index.
    pub link: Option<u32>,
    /// The address that packets get which have none yet.
    pub source: Option<IpAddr>,
    /// The smaller is preferred. IPv6 makes 0 into 1024.
    pub metric: u32,
    /// The largest packet that goes this way.
    pub mtu: Option<u32>,
    /// `RTNH_F_*`: 1 dead, 4 on the link in spite of its address, 16 the link is down.
    pub flags: u32,
    /// Where it leads by several ways, each with a weight of its own. Read, and not written.
    pub ways: Vec<Way>,
}

/// One of the ways of a route that has several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Out of which link, by index.
    pub link: u32,
    /// By way of which host.
    pub gateway: Option<IpAddr>,
    /// How much of the traffic goes this way, less one.
    pub weight: u8,
    /// `RTNH_F_*`.
    pub flags: u8,
}

impl Route {
    /// A route to this network, in the main table; say where it leads by `link` or `gateway` or both.
    pub fn to(network: IpAddr, prefix: u8) -> Route {
        Route { to: Some((network, prefix)), ..Route::default_of(network.is_ipv6()) }
    }

    /// The default route of IPv6 or of IPv4.
    pub fn default_of(v6: bool) -> Route {
        Route {
            v6,
            to: None,
            table: RT_TABLE_MAIN,
            kind: RTN_UNICAST,
            scope: RT_SCOPE_UNIVERSE,
            protocol: RTPROT_BOOT,
            gateway: None,
            link: None,
            source: None,
            metric: 0,
            mtu: None,
            flags: 0,
            ways: Vec::new(),
        }
    }

    /// The default route by way of this host.
    pub fn by(gateway: IpAddr) -> Route {
        Route { gateway: Some(gateway), ..Route::default_of(gateway.is_ipv6()) }
    }

    /// Whether packets to this address take it, by the address alone.
    pub fn covers(&self, address: IpAddr) -> bool {
        match self.to {
            None => self.v6 == address.is_ipv6(),
            Some((IpAddr::V4(network), prefix)) => {
                let IpAddr::V4(address) = address else { return false };
                let differ = u32::from(network) ^ u32::from(address);
                differ.checked_shr(32 - u32::from(prefix).min(32)).unwrap_or(0) == 0
            }
            Some((IpAddr::V6(network), prefix)) => {
                let IpAddr::V6(address) = address else { return false };
                let differ = u128::from(network) ^ u128::from(address);
                differ.checked_shr(128 - u32::from(prefix).min(128)).unwrap_or(0) == 0
            }
        }
    }

    /// The scope that `ip` gives a route when nothing is said: what needs no gateway is on the link.
    fn scope(&self) -> u8 {
        match self.kind {
            RTN_UNICAST if !self.v6 && self.gateway.is_none() && self.scope == RT_SCOPE_UNIVERSE => RT_SCOPE_LINK,
            _ => self.scope,
        }
    }
}

/// Add it. EEXIST when there is one to the same network with the same metric. ENETUNREACH and `Nexthop has invalid
/// gateway` when the gateway is not on any link, ENETDOWN when the link is down, ENODEV for a link that is not there.
///
/// - `ip route add default via 10.9.0.2`, `ip -6 route add default via fd00:8::2 dev br1`
/// - `ip route add 10.10.0.0/16 via 10.9.0.2 dev br1 src 10.9.0.1 metric 50 mtu 1280 table 100`
/// - `ip route add 10.11.0.0/16 dev br1`, `ip route add blackhole 10.13.0.0/16`
pub fn add(route: &Route) -> Message {
    written(NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, route)
}

/// `ip route replace default via 10.9.0.3 dev br1`: add it, or put it in the place of the one to the same network with the
/// same metric.
pub fn replace(route: &Route) -> Message {
    written(NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, route)
}

/// `ip route del 10.10.0.0/16 table 100`: the first route to that network in that table that agrees with everything else
/// that is said. ESRCH when there is none.
pub fn delete(route: &Route) -> Message {
    let mut message = Message::new(RTM_DELROUTE, NLM_F_ACK);
    let scope = if route.v6 { RT_SCOPE_UNIVERSE } else { RT_SCOPE_NOWHERE };
    // Of any kind, unless it is a special one, and whoever made it.
    let kind = if route.kind == RTN_UNICAST { 0 } else { route.kind };
    header(&mut message, route, 0, scope, kind);
    attributes(&mut message, route);
    message
}

fn written(flags: libc::c_int, route: &Route) -> Message {
    let mut message = Message::new(RTM_NEWROUTE, flags);
    header(&mut message, route, route.protocol, route.scope(), route.kind);
    attributes(&mut message, route);
    message
}

fn header(message: &mut Message, route: &Route, protocol: u8, scope: u8, kind: u8) {
    let family = if route.v6 { AF_INET6 } else { AF_INET } as u8;
    // The struct has room for 255 tables; the attribute has them all.
    let table = u8::try_from(route.table).unwrap_or(0);
    message.fixed(&[family, route.to.map_or(0, |(_, prefix)| prefix), 0, 0, table, protocol, scope, kind]);
    message.fixed(&route.flags.to_ne_bytes());
}

fn attributes(message: &mut Message, route: &Route) {
    route.to.map(|(network, _)| message.address(RTA_DST, network));
    if route.table > 255 {
        message.u32(RTA_TABLE, route.table);
    }
    route.gateway.map(|gateway| message.address(RTA_GATEWAY, gateway));
    route.source.map(|source| message.address(RTA_PREFSRC, source));
    if route.metric != 0 {
        message.u32(RTA_PRIORITY, route.metric);
    }
    route.link.map(|link| message.u32(RTA_OIF, link));
    if let Some(mtu) = route.mtu {
        message.nest(RTA_METRICS, |m| {
            m.u32(MTU, mtu);
        });
    }
}

/// `ip route show table all`: every route of both families in every table, the local and broadcast ones too. Routes that
/// the kernel made for one destination alone are left out. Needs no privilege.
pub fn list(socket: &mut Socket) -> io::Result<Vec<Route>> {
    read_all(&socket.dump(question(AF_UNSPEC as u8))?)
}

fn question(family: u8) -> Message {
    let mut message = Message::new(RTM_GETROUTE, 0);
    message.fixed(&[family, 0, 0, 0, 0, 0, 0, 0]).fixed(&[0; 4]);
    message
}

/// What to ask the routing tables about.
#[derive(Debug, Clone, Copy, Default)]
pub struct Packet {
    /// Its source address.
    pub from: Option<IpAddr>,
    /// The link that it came in by, by index: then this is a packet that passes through, and forwarding and `rp_filter`
    /// are asked too.
    pub incoming: Option<u32>,
    /// The link that it must go out of, by index.
    pub outgoing: Option<u32>,
    /// Its mark.
    pub mark: Option<u32>,
}

/// `ip route get 10.9.0.77`, `ip route get 10.9.0.77 from 10.9.0.78 iif br1`: which way a packet would go. The error is
/// the kernel's verdict: ENETUNREACH, EHOSTUNREACH, EACCES (prohibited), EINVAL (blackhole), and for one that comes in
/// EXDEV (`rp_filter`).
pub fn get(socket: &mut Socket, to: IpAddr, packet: &Packet) -> io::Result<Route> {
    let routes = read_all(&socket.get(asked(to, packet))?)?;
    routes.into_iter().next().ok_or_else(wire::malformed)
}

fn asked(to: IpAddr, packet: &Packet) -> Message {
    let bits = if to.is_ipv6() { 128 } else { 32 };
    let mut message = Message::new(RTM_GETROUTE, 0);
    message.fixed(&[family(to), bits, packet.from.map_or(0, |_| bits), 0, 0, 0, 0, 0]);
    // The table that the route is in, rather than 254 always. IPv6 says it in any case.
    let flags = if to.is_ipv6() { 0 } else { RTM_F_LOOKUP_TABLE };
    message.fixed(&flags.to_ne_bytes()).address(RTA_DST, to);
    packet.from.map(|from| message.address(RTA_SRC, from));
    packet.incoming.map(|link| message.u32(RTA_IIF, link));
    packet.outgoing.map(|link| message.u32(RTA_OIF, link));
    packet.mark.map(|mark| message.u32(RTA_MARK, mark));
    message
}

fn read_all(answer: &[u8]) -> io::Result<Vec<Route>> {
    let dumped = |message: &Reply| message.flags & libc::NLM_F_MULTI != 0;
    let all = wire::messages(answer).filter_map(|message| match message {
        Ok(message) if message.kind != RTM_NEWROUTE => None,
        Ok(message) => {
            let flags = wire::u32_at(message.payload(), 8).unwrap_or(0);
            if dumped(&message) && flags & RTM_F_CLONED != 0 { None } else { read(&message).transpose() }
        }
        Err(error) => Some(Err(error)),
    });
    all.collect()
}

/// Nothing for a route of a family that is neither IPv4 nor IPv6 (multicast forwarding, MPLS).
fn read(message: &Reply) -> io::Result<Option<Route>> {
    let &[family, prefix, _, _, table, protocol, scope, kind] =
        message.payload().first_chunk().ok_or_else(wire::malformed)?;
    let flags = wire::u32_at(message.payload(), 8).ok_or_else(wire::malformed)?;
    let v6 = match i32::from(family) {
        AF_INET => false,
        AF_INET6 => true,
        _ => return Ok(None),
    };
    let mut route = Route { table: u32::from(table), protocol, scope, kind, flags, ..Route::default_of(v6) };
    for attribute in message.attributes(RTMSG) {
        let attribute = attribute?;
        match attribute.kind {
            RTA_DST if prefix > 0 => route.to = Some((attribute.address()?, prefix)),
            RTA_TABLE => route.table = attribute.u32()?,
            RTA_GATEWAY => route.gateway = Some(attribute.address()?),
            RTA_VIA => route.gateway = via(attribute.payload),
            RTA_OIF => route.link = Some(attribute.u32()?),
            RTA_PREFSRC => route.source = Some(attribute.address()?),
            RTA_PRIORITY => route.metric = attribute.u32()?,
            RTA_METRICS => {
                for metric in attribute.nested() {
                    let metric = metric?;
                    if metric.kind == MTU {
                        route.mtu = Some(metric.u32()?);
                    }
                }
            }
            RTA_MULTIPATH => route.ways = ways(attribute.payload)?,
            _ => {}
        }
    }
    Ok(Some(route))
}

/// `struct rtvia`: a family and an address of it, for a gateway of another family than the route's.
fn via(bytes: &[u8]) -> Option<IpAddr> {
    wire::address(bytes.get(2..)?)
}

/// `struct rtnexthop` each: a length that counts all of it, flags, weight, link, and attributes.
fn ways(mut bytes: &[u8]) -> io::Result<Vec<Way>> {
    let mut ways = Vec::new();
    while !bytes.is_empty() {
        let length = wire::u16_at(bytes, 0).map(usize::from).filter(|&length| length >= RTNEXTHOP);
        let one = length.and_then(|length| bytes.get(..length)).ok_or_else(wire::malformed)?;
        let (&[_, _, flags, weight], link) =
            (one.first_chunk().ok_or_else(wire::malformed)?, wire::u32_at(one, 4).ok_or_else(wire::malformed)?);
        let mut way = Way { link, gateway: None, weight, flags };
        for attribute in wire::attributes(one.get(RTNEXTHOP..).unwrap_or_default()) {
            let attribute = attribute?;
            match attribute.kind {
                RTA_GATEWAY => way.gateway = Some(attribute.address()?),
                RTA_VIA => way.gateway = via(attribute.payload),
                _ => {}
            }
        }
        ways.push(way);
        bytes = bytes.get(one.len().next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(ways)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{golden, hex, mangle, same};

    fn is(line: &str, ours: Message) {
        same(ours, &golden(include_str!("../tests/golden/ip.hex"), line), RTMSG);
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn to(network: &str, prefix: u8) -> Route {
        Route::to(ip(network), prefix)
    }

    #[test]
    fn routes_come_and_go_as_with_ip() {
        is("ip route add default via 10.9.0.2", add(&Route::by(ip("10.9.0.2"))));
        let (gateway, source) = (Some(ip("10.9.0.2")), Some(ip("10.9.0.1")));
        let all =
            Route { gateway, source, link: Some(3), metric: 50, mtu: Some(1280), table: 100, ..to("10.10.0.0", 16) };
        is("ip route add 10.10.0.0/16 via 10.9.0.2 dev br1 src 10.9.0.1 metric 50 mtu 1280 table 100", add(&all));
        is("ip route add 10.11.0.0/16 dev br1", add(&Route { link: Some(3), ..to("10.11.0.0", 16) }));
        let fixed = Route { link: Some(3), protocol: libc::RTPROT_STATIC, ..to("10.12.0.0", 16) };
        is("ip route add 10.12.0.0/16 dev br1 scope link proto static", add(&fixed));
        is("ip route add blackhole 10.13.0.0/16", add(&Route { kind: RTN_BLACKHOLE, ..to("10.13.0.0", 16) }));
        let unreachable = Route { kind: RTN_UNREACHABLE, metric: 4_278_198_272, ..to("10.14.0.0", 16) };
        is("ip route add unreachable 10.14.0.0/16 metric 4278198272", add(&unreachable));
        let other = Route { link: Some(3), ..Route::by(ip("10.9.0.3")) };
        is("ip route replace default via 10.9.0.3 dev br1", replace(&other));
        is(
            "ip -6 route add fd00:7::/64 dev br1 metric 7",
            add(&Route { link: Some(3), metric: 7, ..to("fd00:7::", 64) }),
        );
        let unreachable = Route { kind: RTN_UNREACHABLE, ..to("fd00:6::", 64) };
        is("ip -6 route add unreachable fd00:6::/64", add(&unreachable));
        is("ip route del 10.10.0.0/16 table 100", delete(&Route { table: 100, ..to("10.10.0.0", 16) }));
        is("ip route del default", delete(&Route::default_of(false)));
        // For IPv6 `ip` writes the default route's destination, sixteen zeros, out.
        let anywhere = |route| Route { to: Some((ip("::"), 0)), ..route };
        let sixth = anywhere(Route { link: Some(3), ..Route::by(ip("fd00:8::2")) });
        is("ip -6 route add default via fd00:8::2 dev br1", add(&sixth));
        is("ip -6 route del default", delete(&anywhere(Route::default_of(true))));
    }

    #[test]
    fn the_questions_are_those_of_ip() {
        let dump = |line| {
            let mut theirs = golden(include_str!("../tests/golden/ip.hex"), line);
            theirs[7] = 0; // NLM_F_DUMP is set by Socket::dump
            theirs
        };
        same(question(0), &dump("ip route show table all"), RTMSG);
        same(question(AF_INET6 as u8), &dump("ip -6 route show table all"), RTMSG);
        let (plain, far) = (Packet::default(), ip("10.9.0.77"));
        is("ip route get 10.9.0.77", asked(far, &plain));
        let from = Packet { from: Some(ip("10.9.0.1")), mark: Some(7), ..plain };
        is("ip route get 10.9.0.77 from 10.9.0.1 mark 7", asked(far, &from));
        let through = Packet { from: Some(ip("10.9.0.78")), incoming: Some(3), ..plain };
        is("ip route get 10.9.0.77 from 10.9.0.78 iif br1", asked(far, &through));
        is("ip route get fd00:8::77 oif br1", asked(ip("fd00:8::77"), &Packet { outgoing: Some(3), ..plain }));
    }

    #[test]
    fn what_is_written_is_read() {
        let (gateway, source) = (Some(ip("10.9.0.2")), Some(ip("10.9.0.1")));
        let all = [
            Route { gateway, source, link: Some(3), metric: 50, mtu: Some(1280), table: 1000, ..to("10.10.0.0", 16) },
            Route { kind: RTN_BLACKHOLE, ..to("fd00:6::", 64) },
            Route::by(ip("fd00::1")),
        ];
        let mut bytes: Vec<u8> = all.iter().flat_map(|route| add(route).finish().unwrap()).collect();
        let mut expected = all.to_vec();
        expected[0].table = 1000;
        assert_eq!(read_all(&bytes).unwrap(), expected);
        // Two ways: 10.9.0.2 by link 3 with weight 1, and link 4.
        bytes.extend(hex("38 00 00 00 18 00 02 00  00 00 00 00 00 00 00 00  02 00 00 00 fe 03 00 01  00 00 00 00
                          1c 00 09 00 10 00 00 00  03 00 00 00 08 00 05 00  0a 09 00 02 08 00 10 01  04 00 00 00"));
        let two = read_all(&bytes).unwrap().remove(3).ways;
        assert_eq!(two[0], Way { link: 3, gateway: Some(ip("10.9.0.2")), weight: 0, flags: 0 });
        assert_eq!(two[1], Way { link: 4, gateway: None, weight: 1, flags: 16 });
        mangle(&bytes, |bytes| drop(read_all(bytes)));
    }

    #[test]
    fn a_route_covers_its_network() {
        let route = to("10.9.8.0", 22);
        assert!(route.covers(ip("10.9.11.255")) && !route.covers(ip("10.9.12.0")) && !route.covers(ip("fd00::1")));
        assert!(to("fd00:7::", 64).covers(ip("fd00:7::9")) && !to("fd00:7::", 64).covers(ip("fd00:7:0:1::")));
        assert!(to("10.0.0.1", 32).covers(ip("10.0.0.1")) && !to("10.0.0.1", 32).covers(ip("10.0.0.0")));
        assert!(to("10.0.0.1", 0).covers(ip("99.0.0.1")) && Route::default_of(false).covers(ip("1.1.1.1")));
        assert!(!Route::default_of(false).covers(ip("::1")));
    }
}
