//! Addresses on links (rtnetlink(7), include/uapi/linux/if_addr.h). Builders and golden bytes as in [`crate::link`].

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use libc::{AF_UNSPEC, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, RTM_DELADDR, RTM_GETADDR, RTM_NEWADDR};
use linux_raw_sys::netlink as nl;

use crate::family;
use crate::socket::Socket;
use crate::wire::{self, Message, Reply};

pub use libc::{IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_NODAD, IFA_F_PERMANENT, IFA_F_SECONDARY, IFA_F_TENTATIVE};

/// No route is made for the address's network, Linux 3.14.
pub const IFA_F_NOPREFIXROUTE: u32 = nl::IFA_F_NOPREFIXROUTE;

/// `sizeof(struct ifaddrmsg)`.
const IFADDRMSG: usize = 8;

const ADDRESS: u16 = nl::IFA_ADDRESS as u16;
const LOCAL: u16 = nl::IFA_LOCAL as u16;
const LABEL: u16 = nl::IFA_LABEL as u16;
const BROADCAST: u16 = nl::IFA_BROADCAST as u16;
const FLAGS: u16 = nl::IFA_FLAGS as u16;

/// An address on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The link, by index.
    pub index: u32,
    /// The address itself.
    pub address: IpAddr,
    /// How many bits of it are the network's.
    pub prefix: u8,
    /// The other end, on a link with two ends.
    pub peer: Option<IpAddr>,
    /// Where everybody on the link listens, IPv4 alone. The kernel sets none by itself.
    pub broadcast: Option<Ipv4Addr>,
    /// `IFA_F_*`. [`IFA_F_NODAD`] makes an IPv6 address good at once: nobody is asked whether it is taken.
    /// `IFA_F_TENTATIVE`: it is being asked; `IFA_F_DADFAILED`: somebody else has it.
    pub flags: u32,
    /// `RT_SCOPE_*`: 0 everywhere, 253 on this link, 254 in this host.
    pub scope: u8,
    /// IPv4's name for it: the link's, or that and a colon and more. Read, and not written: the kernel sets it.
    pub label: Option<String>,
}

impl Address {
    /// `address/prefix` on the link with this index, and nothing out of the ordinary.
    pub fn new(index: u32, address: IpAddr, prefix: u8) -> Address {
        Address { index, address, prefix, peer: None, broadcast: None, flags: 0, scope: 0, label: None }
    }
}

/// Add it. EEXIST when it is there. EACCES for an address of IPv6 on a link where `disable_ipv6` is set; EINVAL for a
/// prefix that is longer than the address.
///
/// - `ip addr add 10.9.0.1/24 dev br1`, `ip addr add 10.9.1.1/24 broadcast + dev br1`
/// - `ip addr add 10.9.2.1/24 dev br1 noprefixroute`, `ip addr add fd00:9::1/64 dev br1 nodad`
/// - `ip addr add 10.9.3.1 peer 10.9.3.2/32 dev br1 scope link`
pub fn add(address: &Address) -> Message {
    written(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, address)
}

/// `ip addr del 10.9.2.1/24 dev br1`. EADDRNOTAVAIL when it is not there. The last address of a network takes the routes
/// of that network with it, and the first its others, unless `promote_secondaries` is set.
pub fn delete(address: &Address) -> Message {
    let mut message = Message::new(RTM_DELADDR, NLM_F_ACK);
    message.ifaddr(family(address.address), address.prefix, 0, 0, address.index);
    message.address(LOCAL, address.address).address(ADDRESS, address.peer.unwrap_or(address.address));
    message
}

fn written(kind: u16, flags: libc::c_int, address: &Address) -> Message {
    let mut message = Message::new(kind, flags);
    // The struct has room for eight flags; the attribute has them all.
    let few = u8::try_from(address.flags).unwrap_or(0);
    message.ifaddr(family(address.address), address.prefix, few, address.scope, address.index);
    message.address(LOCAL, address.address);
    if address.flags > 0xff {
        message.u32(FLAGS, address.flags);
    }
    message.address(ADDRESS, address.peer.unwrap_or(address.address));
    address.broadcast.map(|broadcast| message.address(BROADCAST, broadcast.into()));
    message
}

/// `ip addr show`: every address of both families, of every link. Needs no privilege.
pub fn list(socket: &mut Socket) -> io::Result<Vec<Address>> {
    read_all(&socket.dump(question(0))?)
}

/// `ip addr show dev br1`: the addresses of one link. Before Linux 4.20 the kernel gives all of them; then the others are
/// left out here.
pub fn list_of(socket: &mut Socket, index: u32) -> io::Result<Vec<Address>> {
    let mut all = read_all(&socket.dump(question(index))?)?;
    all.retain(|address| address.index == index);
    Ok(all)
}

fn question(index: u32) -> Message {
    let mut message = Message::new(RTM_GETADDR, 0);
    message.ifaddr(AF_UNSPEC as u8, 0, 0, 0, index);
    message
}

fn read_all(answer: &[u8]) -> io::Result<Vec<Address>> {
    let all = wire::messages(answer).filter_map(|message| match message {
        Ok(message) if message.kind != RTM_NEWADDR => None,
        Ok(message) => read(&message).transpose(),
        Err(error) => Some(Err(error)),
    });
    all.collect()
}

/// Nothing for an address of a family that is neither IPv4 nor IPv6.
fn read(message: &Reply) -> io::Result<Option<Address>> {
    let &[family, prefix, flags, scope] = message.payload().first_chunk().ok_or_else(wire::malformed)?;
    let index = wire::u32_at(message.payload(), 4).ok_or_else(wire::malformed)?;
    if !matches!(i32::from(family), libc::AF_INET | libc::AF_INET6) {
        return Ok(None);
    }
    let (mut local, mut other, mut label, mut broadcast, mut flags) = (None, None, None, None, u32::from(flags));
    for attribute in message.attributes(IFADDRMSG) {
        let attribute = attribute?;
        match attribute.kind {
            LOCAL => local = Some(attribute.address()?),
            ADDRESS => other = Some(attribute.address()?),
            BROADCAST => broadcast = attribute.payload.try_into().ok().map(|bytes: [u8; 4]| bytes.into()),
            LABEL => label = Some(attribute.text()),
            FLAGS => flags = attribute.u32()?,
            _ => {}
        }
    }
    // IPv6 has IFA_LOCAL only where there is a peer.
    let address = local.or(other).ok_or_else(wire::malformed)?;
    let peer = other.filter(|&other| other != address);
    Ok(Some(Address { index, address, prefix, peer, broadcast, flags, scope, label }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{golden, mangle, same};

    fn is(line: &str, ours: Message) {
        same(ours, &golden(include_str!("../tests/golden/ip.hex"), line), IFADDRMSG);
    }

    fn on_br1(address: &str, prefix: u8) -> Address {
        Address::new(3, address.parse().unwrap(), prefix)
    }

    #[test]
    fn addresses_come_and_go_as_with_ip() {
        let plain = on_br1("10.9.0.1", 24);
        is("ip addr add 10.9.0.1/24 dev br1", add(&plain));
        let broadcast = Some(Ipv4Addr::new(10, 9, 1, 255));
        is("ip addr add 10.9.1.1/24 broadcast + dev br1", add(&Address { broadcast, ..on_br1("10.9.1.1", 24) }));
        let second = Address { flags: IFA_F_NOPREFIXROUTE, ..on_br1("10.9.2.1", 24) };
        is("ip addr add 10.9.2.1/24 dev br1 noprefixroute", add(&second));
        let sixth = Address { flags: IFA_F_NODAD, ..on_br1("fd00:9::1", 64) };
        is("ip addr add fd00:9::1/64 dev br1 nodad", add(&sixth));
        let peer = Some("10.9.3.2".parse().unwrap());
        let pair = Address { peer, scope: 253, ..on_br1("10.9.3.1", 32) };
        is("ip addr add 10.9.3.1 peer 10.9.3.2/32 dev br1 scope link", add(&pair));
        is("ip addr del 10.9.2.1/24 dev br1", delete(&second));
        is("ip addr del fd00:9::1/64 dev br1", delete(&sixth));
    }

    #[test]
    fn the_questions_are_those_of_ip() {
        for (line, index) in [("ip addr show", 0), ("ip addr show dev br1", 3)] {
            let mut theirs = golden(include_str!("../tests/golden/ip.hex"), line);
            theirs[7] = 0; // NLM_F_DUMP is set by Socket::dump
            same(question(index), &theirs, IFADDRMSG);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let peer = Some("10.9.3.2".parse().unwrap());
        let broadcast = Some(Ipv4Addr::new(10, 9, 3, 255));
        let all = [
            Address { peer, scope: 253, broadcast, flags: 0x280, ..on_br1("10.9.3.1", 32) },
            Address { flags: IFA_F_NODAD, ..on_br1("fd00:9::1", 64) },
        ];
        let bytes: Vec<u8> = all.iter().flat_map(|address| add(address).finish().unwrap()).collect();
        assert_eq!(read_all(&bytes).unwrap(), all);
        mangle(&bytes, |bytes| drop(read_all(bytes)));
    }
}
