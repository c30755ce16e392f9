//! Neighbours: which hardware address is behind an address, as ARP and neighbour discovery found out (rtnetlink(7),
//! include/uapi/linux/neighbour.h). Builders and golden bytes as in [`crate::link`].

use std::io;
use std::net::IpAddr;

use libc::{
    AF_INET, AF_INET6, AF_UNSPEC, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, RTM_DELNEIGH, RTM_GETNEIGH,
    RTM_NEWNEIGH,
};
use linux_raw_sys::netlink as nl;

use crate::family;
use crate::link::Mac;
use crate::socket::Socket;
use crate::wire::{self, Message, Reply};

pub use libc::{
    NTF_PROXY, NTF_ROUTER, NUD_DELAY, NUD_FAILED, NUD_INCOMPLETE, NUD_NOARP, NUD_PERMANENT, NUD_PROBE, NUD_REACHABLE,
    NUD_STALE,
};

/// `sizeof(struct ndmsg)`.
const NDMSG: usize = 12;

const DST: u16 = nl::NDA_DST as u16;
const LLADDR: u16 = nl::NDA_LLADDR as u16;
const IFINDEX: u16 = nl::NDA_IFINDEX as u16;

/// A neighbour on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// The link, by index.
    pub index: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its hardware address, if that is known and of Ethernet's length.
    pub mac: Option<Mac>,
    /// `NUD_*`: [`NUD_REACHABLE`], [`NUD_STALE`] (was reachable), [`NUD_FAILED`] (did not answer), [`NUD_PERMANENT`]
    /// (somebody said so), ...
    pub state: u16,
    /// `NTF_*`: [`NTF_PROXY`] answers for it here.
    pub flags: u8,
}

/// `ip neigh add 10.9.0.9 lladdr 02:00:00:00:00:09 dev br1`; with [`NTF_PROXY`] and no hardware address
/// `ip neigh add proxy 10.9.0.10 dev br1`. EEXIST when it is there.
pub fn add(neighbour: &Neighbour) -> Message {
    written(RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, neighbour)
}

/// `ip neigh replace 10.9.0.9 lladdr 02:00:00:00:00:0a dev br1 nud reachable`: add it, or change what is known of it.
pub fn replace(neighbour: &Neighbour) -> Message {
    written(RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, neighbour)
}

/// `ip neigh del 10.9.0.9 dev br1`. ENOENT when it is not there.
pub fn delete(neighbour: &Neighbour) -> Message {
    written(RTM_DELNEIGH, NLM_F_ACK, &Neighbour { mac: None, ..neighbour.clone() })
}

fn written(kind: u16, flags: libc::c_int, neighbour: &Neighbour) -> Message {
    let mut message = Message::new(kind, flags);
    message.neighbour(family(neighbour.address), neighbour.index, neighbour.state, neighbour.flags);
    message.address(DST, neighbour.address);
    neighbour.mac.map(|mac| message.bytes(LLADDR, &mac));
    message
}

/// `ip neigh show`: every neighbour of both families, of every link, but for those that are answered for
/// ([`NTF_PROXY`]). Needs no privilege.
pub fn list(socket: &mut Socket) -> io::Result<Vec<Neighbour>> {
    read_all(&socket.dump(question(None))?)
}

/// `ip neigh show dev br1`: the neighbours on one link.
pub fn list_of(socket: &mut Socket, index: u32) -> io::Result<Vec<Neighbour>> {
    read_all(&socket.dump(question(Some(index)))?)
}

fn question(index: Option<u32>) -> Message {
    let mut message = Message::new(RTM_GETNEIGH, 0);
    message.neighbour(AF_UNSPEC as u8, 0, 0, 0);
    index.map(|index| message.u32(IFINDEX, index));
    message
}

fn read_all(answer: &[u8]) -> io::Result<Vec<Neighbour>> {
    let all = wire::messages(answer).filter_map(|message| match message {
        Ok(message) if message.kind != RTM_NEWNEIGH => None,
        Ok(message) => read(&message).transpose(),
        Err(error) => Some(Err(error)),
    });
    all.collect()
}

/// Nothing for what is no IP neighbour: a bridge's own table comes in the same kind of message.
fn read(message: &Reply) -> io::Result<Option<Neighbour>> {
    let payload = message.payload();
    let (family, index, state, flags) =
        (payload.first(), wire::u32_at(payload, 4), wire::u16_at(payload, 8), payload.get(10));
    let (Some(&family), Some(index), Some(state), Some(&flags)) = (family, index, state, flags) else {
        return Err(wire::malformed());
    };
    if !matches!(i32::from(family), AF_INET | AF_INET6) {
        return Ok(None);
    }
    let (mut address, mut mac) = (None, None);
    for attribute in message.attributes(NDMSG) {
        let attribute = attribute?;
        match attribute.kind {
            DST => address = Some(attribute.address()?),
            LLADDR => mac = attribute.mac().ok(),
            _ => {}
        }
    }
    Ok(Some(Neighbour { index, address: address.ok_or_else(wire::malformed)?, mac, state, flags }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{golden, mangle, same};

    fn is(line: &str, ours: Message) {
        same(ours, &golden(include_str!("../tests/golden/ip.hex"), line), NDMSG);
    }

    fn neighbour(last: u8, mac: u8) -> Neighbour {
        let mac = Some([2, 0, 0, 0, 0, mac]);
        Neighbour { index: 3, address: IpAddr::from([10, 9, 0, last]), mac, state: NUD_PERMANENT, flags: 0 }
    }

    #[test]
    fn neighbours_come_and_go_as_with_ip() {
        is("ip neigh add 10.9.0.9 lladdr 02:00:00:00:00:09 dev br1", add(&neighbour(9, 9)));
        let changed = Neighbour { state: NUD_REACHABLE, ..neighbour(9, 10) };
        is("ip neigh replace 10.9.0.9 lladdr 02:00:00:00:00:0a dev br1 nud reachable", replace(&changed));
        let proxy = Neighbour { flags: NTF_PROXY, mac: None, ..neighbour(10, 0) };
        is("ip neigh add proxy 10.9.0.10 dev br1", add(&proxy));
        is("ip neigh del 10.9.0.9 dev br1", delete(&neighbour(9, 9)));
    }

    #[test]
    fn the_questions_are_those_of_ip() {
        for (line, index) in [("ip neigh show", None), ("ip neigh show dev br1", Some(3))] {
            let mut theirs = golden(include_str!("../tests/golden/ip.hex"), line);
            theirs[7] = 0; // NLM_F_DUMP is set by Socket::dump
            same(question(index), &theirs, NDMSG);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let sixth = Neighbour { address: "fd00::9".parse().unwrap(), ..neighbour(9, 9) };
        let all = [neighbour(9, 9), sixth, Neighbour { flags: NTF_PROXY, mac: None, ..neighbour(10, 0) }];
        let bytes: Vec<u8> = all.iter().flat_map(|one| add(one).finish().unwrap()).collect();
        assert_eq!(read_all(&bytes).unwrap(), all);
        mangle(&bytes, |bytes| drop(read_all(bytes)));
    }
}
