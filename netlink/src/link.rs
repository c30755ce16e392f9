//! Links: the kernel's network interfaces (rtnetlink(7), include/uapi/linux/if_link.h).
//!
//! A builder makes the message and sends nothing; above each stands the `ip` line that it equals, and its test compares
//! it with the bytes that this line sends. Every builder asks for an acknowledgement, so that its message is good for
//! both [`Socket::request`] and [`crate::transact`]. Names are at most 15 bytes: the kernel answers a longer one with
//! ERANGE.

use std::io;

use libc::{
    IFF_UP, IFLA_EXT_MASK, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MTU, NLM_F_ACK,
    NLM_F_CREATE, NLM_F_EXCL, RTEXT_FILTER_SKIP_STATS, RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK,
};

use crate::socket::Socket;
use crate::wire::{self, Message, Reply};

/// The one attribute inside a veth's `IFLA_INFO_DATA`: the other end, as an `ifinfomsg` and attributes of its own.
/// include/uapi/linux/veth.h; neither libc nor linux-raw-sys has it.
const VETH_INFO_PEER: u16 = 1;

/// `sizeof(struct ifinfomsg)`.
const IFINFOMSG: usize = 16;

/// A link, as far as anybody here looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The number by which the kernel knows it, in this network namespace.
    pub index: u32,
    /// Its name. Any bytes but NUL, slash, colon and white space are a name to the kernel; what is not UTF-8 is replaced.
    pub name: String,
    /// `IFF_*`: `IFF_UP`, `IFF_LOWER_UP`, `IFF_LOOPBACK`, ... (netdevice(7)).
    pub flags: u32,
    /// `bridge`, `veth`, `dummy`, ...; none for `lo` and for hardware.
    pub kind: Option<String>,
    /// The largest packet, in bytes.
    pub mtu: u32,
}

/// `ip link set dev lo up`, for the link with this index: in a new network namespace `lo` is 1.
pub fn set_up(index: u32) -> Message {
    let mut message = Message::new(RTM_NEWLINK, NLM_F_ACK);
    message.ifinfo_flags(index, IFF_UP as u32, IFF_UP as u32);
    message
}

/// `ip link add ctr0 type bridge`. EEXIST when there is a link of that name.
pub fn add_bridge(name: &str) -> Message {
    add(name, |m| {
        m.name(IFLA_INFO_KIND, "bridge");
    })
}

/// `ip link add ctr-web type veth peer name eth0`. Both ends are made where we are, and both or neither: EEXIST when
/// there is a link of either name.
pub fn add_veth(name: &str, peer: &str) -> Message {
    add(name, |m| {
        m.name(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |m| {
            m.nest(VETH_INFO_PEER, |m| {
                m.ifinfo(0).name(IFLA_IFNAME, peer);
            });
        });
    })
}

/// `ip link add dummy0 type dummy`. A kernel without the driver answers EOPNOTSUPP and `Unknown device type`.
pub fn add_dummy(name: &str) -> Message {
    add(name, |m| {
        m.name(IFLA_INFO_KIND, "dummy");
    })
}

fn add(name: &str, info: impl FnOnce(&mut Message)) -> Message {
    // Without EXCL the kernel would take this for a change of the link that already has the name, and say yes.
    let mut message = Message::new(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
    message.ifinfo(0).name(IFLA_IFNAME, name).nest(IFLA_LINKINFO, info);
    message
}

/// `ip link del ctr0`. ENODEV when there is none. `ip` looks the index up first and deletes by that; by name it is one
/// message, and there is no moment in which the index can come to mean another link.
pub fn delete(name: &str) -> Message {
    let mut message = Message::new(RTM_DELLINK, NLM_F_ACK);
    message.ifinfo(0).name(IFLA_IFNAME, name);
    message
}

/// `ip link show`: every link in the socket's network namespace. Needs no privilege.
pub fn list(socket: &mut Socket) -> io::Result<Vec<Link>> {
    let answer = socket.dump(question())?;
    wire::messages(&answer)
        .filter(|message| message.as_ref().map_or(true, |message| message.kind == RTM_NEWLINK))
        .map(|message| read(&message?))
        .collect()
}

/// IPv6's counters are a quarter of each entry, and nobody here wants them.
fn question() -> Message {
    let mut message = Message::new(RTM_GETLINK, 0);
    message.ifinfo(0).u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS as u32);
    message
}

fn read(message: &Reply) -> io::Result<Link> {
    let fixed = |at| wire::u32_at(message.payload(), at).ok_or_else(wire::malformed);
    let (index, flags) = (fixed(4)?, fixed(8)?);
    let mut link = Link { index, name: String::new(), flags, kind: None, mtu: 0 };
    for attribute in message.attributes(IFINFOMSG) {
        let attribute = attribute?;
        match attribute.kind {
            IFLA_IFNAME => link.name = attribute.text(),
            IFLA_MTU => link.mtu = attribute.u32()?,
            IFLA_LINKINFO => {
                for info in attribute.nested() {
                    let info = info?;
                    if info.kind == IFLA_INFO_KIND {
                        link.kind = Some(info.text());
                    }
                }
            }
            _ => {}
        }
    }
    Ok(link)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{differ, hex, mangle};

    /// What `ip` (iproute2 6.1) sends for the line above the builder, from
    /// `unshare -n strace -e trace=sendmsg -e write=all ip ...`, with its sequence number set to 0.
    fn golden(strace: &str) -> Vec<u8> {
        let mut bytes = hex(strace);
        bytes[8..12].fill(0);
        bytes
    }

    #[test]
    fn set_up_is_what_ip_sends() {
        let golden = golden(
            "20 00 00 00 10 00 05 00  45 53 03 6b 00 00 00 00
             00 00 00 00 01 00 00 00  01 00 00 00 01 00 00 00",
        );
        assert_eq!(set_up(1).finish().unwrap(), golden);
    }

    #[test]
    fn add_bridge_is_what_ip_sends() {
        let mut golden = golden(
            "3c 00 00 00 10 00 05 06  45 53 03 6b 00 00 00 00
             00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00
             09 00 03 00 63 74 72 30  00 00 00 00 10 00 12 00
             0a 00 01 00 62 72 69 64  67 65 00 00",
        );
        differ(&mut golden, 0x30, "0a 00", "0b 00"); // we count the NUL behind "bridge", which was padding
        differ(&mut golden, 0x2e, "12 00", "12 80"); // IFLA_LINKINFO says that it is a nest
        assert_eq!(add_bridge("ctr0").finish().unwrap(), golden);
    }

    #[test]
    fn add_veth_is_what_ip_sends() {
        let mut golden = golden(
            "5c 00 00 00 10 00 05 06  45 53 03 6b 00 00 00 00
             00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00
             09 00 03 00 63 74 72 76  00 00 00 00 30 00 12 00
             08 00 01 00 76 65 74 68  24 00 02 00 20 00 01 00
             00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00
             09 00 03 00 65 74 68 30  00 00 00 00",
        );
        differ(&mut golden, 0x3e, "01 00", "01 80"); // VETH_INFO_PEER,
        differ(&mut golden, 0x3a, "02 00", "02 80"); // IFLA_INFO_DATA
        differ(&mut golden, 0x2e, "12 00", "12 80"); // and IFLA_LINKINFO say that they are nests
        // "veth" has a NUL behind it here, which takes four bytes more in all that is around it.
        differ(&mut golden, 0x30, "08 00 01 00 76 65 74 68", "09 00 01 00 76 65 74 68 00 00 00 00");
        differ(&mut golden, 0x2c, "30 00", "34 00");
        differ(&mut golden, 0x00, "5c 00 00 00", "60 00 00 00");
        assert_eq!(add_veth("ctrv", "eth0").finish().unwrap(), golden);
    }

    #[test]
    fn add_dummy_is_what_ip_sends() {
        let mut golden = golden(
            "3c 00 00 00 10 00 05 06  45 53 03 6b 00 00 00 00
             00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00
             0b 00 03 00 64 75 6d 6d  79 30 00 00 10 00 12 00
             09 00 01 00 64 75 6d 6d  79 00 00 00",
        );
        differ(&mut golden, 0x30, "09 00", "0a 00"); // as with the bridge
        differ(&mut golden, 0x2e, "12 00", "12 80");
        assert_eq!(add_dummy("dummy0").finish().unwrap(), golden);
    }

    #[test]
    fn delete_is_what_ip_sends_by_name() {
        let mut golden = golden(
            "20 00 00 00 11 00 05 00  59 53 03 6b 00 00 00 00
             00 00 00 00 02 00 00 00  00 00 00 00 00 00 00 00",
        );
        // `ip` has asked for the index before, and names it; we name the name, in the same attribute as in add_bridge.
        differ(&mut golden, 0x14, "02 00 00 00", "00 00 00 00");
        golden.extend(hex("09 00 03 00 63 74 72 30  00 00 00 00"));
        differ(&mut golden, 0x00, "20 00 00 00", "2c 00 00 00");
        assert_eq!(delete("ctr0").finish().unwrap(), golden);
    }

    #[test]
    fn the_question_for_the_list_is_what_ip_sends() {
        // `ip link show`
        let mut golden = golden(
            "28 00 00 00 12 00 01 03  45 53 03 6b 00 00 00 00
             11 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00
             08 00 1d 00 01 00 00 00",
        );
        differ(&mut golden, 0x24, "01", "08"); // RTEXT_FILTER_SKIP_STATS instead of the SR-IOV functions
        differ(&mut golden, 0x10, "11", "00"); // AF_PACKET and AF_UNSPEC get the same list
        differ(&mut golden, 0x06, "01 03", "01 00"); // NLM_F_DUMP is set by Socket::dump
        assert_eq!(question().finish().unwrap(), golden);
    }

    fn links(answer: &[u8]) -> io::Result<Vec<Link>> {
        wire::messages(answer).map(|message| read(&message?)).collect()
    }

    #[test]
    fn links_are_read() {
        let answer = hex(include_str!("../tests/golden/links.hex"));
        let (lo, web) = ("lo".to_owned(), "ctr-web".to_owned());
        let (loopback, ethernet) = (libc::IFF_LOOPBACK as u32, (libc::IFF_BROADCAST | libc::IFF_MULTICAST) as u32);
        let expected = [
            Link { index: 1, name: lo, flags: loopback, kind: None, mtu: 65536 },
            Link { index: 4, name: web, flags: ethernet, kind: Some("veth".to_owned()), mtu: 1500 },
        ];
        assert_eq!(links(&answer).unwrap(), expected);
        mangle(&answer, |bytes| drop(links(bytes)));
    }
}
