//! Connection tracking: what the kernel knows of every connection that passes, and by which it translates addresses
//! (include/uapi/linux/netfilter/nfnetlink_conntrack.h).
//!
//! A connection keeps the translation that its first packet got, whatever the rules say by then. So when a rule goes, what
//! it has made must go too: a client that goes on sending datagrams from one port would otherwise be sent to where nobody
//! is any more, for as long as it goes on.
//!
//! It is a tenant of nfnetlink, as nf_tables is, and wants CAP_NET_ADMIN. In a network namespace connections are tracked
//! only while some rule asks for it.

mod numbers;

use std::io;
use std::net::{IpAddr, SocketAddr};

use libc::{AF_UNSPEC, IPPROTO_TCP, NFNL_SUBSYS_CTNETLINK, NLM_F_ACK, c_int};

use crate::family;
use crate::socket::Socket;
use crate::wire::{self, Attribute, Attributes, Message, Reply};
#[allow(clippy::wildcard_imports, reason = "the kernel's own names, in a file that has nothing else")]
use numbers::*;

/// `enum cntl_msg_types`.
const IPCTNL_MSG_CT_NEW: u16 = 0;
const IPCTNL_MSG_CT_GET: u16 = 1;
const IPCTNL_MSG_CT_DELETE: u16 = 2;
const IPCTNL_MSG_CT_GET_STATS: u16 = 5;

/// `sizeof(struct nfgenmsg)`.
const NFGENMSG: usize = 4;

/// How many connections are deleted with one send.
const AT_ONCE: usize = 500;

/// The connection has seen an answer.
pub const IPS_SEEN_REPLY: u32 = 1 << 1;
/// The connection is not thrown away early when the table is full.
pub const IPS_ASSURED: u32 = 1 << 2;
/// The source was changed.
pub const IPS_SRC_NAT: u32 = 1 << 4;
/// The destination was changed.
pub const IPS_DST_NAT: u32 = 1 << 5;

/// One direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Who sends.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// `IPPROTO_*`.
    pub protocol: u8,
    /// The source's port, where the protocol has ports, or 0.
    pub source_port: u16,
    /// The destination's port, where the protocol has ports, or 0.
    pub destination_port: u16,
    /// ICMP's id, type and code.
    pub icmp: Option<(u16, u8, u8)>,
}

impl Tuple {
    /// Whom it is sent to.
    pub fn to(&self) -> SocketAddr {
        SocketAddr::new(self.destination, self.destination_port)
    }

    /// Who sends it.
    pub fn from(&self) -> SocketAddr {
        SocketAddr::new(self.source, self.source_port)
    }
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// As it comes in.
    pub original: Tuple,
    /// As its answers come in. Without address translation that is the same, turned round; with it, the answers' source is
    /// the true destination, and their destination the true source.
    pub reply: Tuple,
    /// `IPS_*`.
    pub status: u32,
    /// It is forgotten after so many seconds in which nothing comes.
    pub timeout: u32,
    /// Its mark.
    pub mark: u32,
    /// A number by which it is told from another one between the same ends.
    pub id: Option<u32>,
    /// Connections in different zones do not meet.
    pub zone: u16,
    /// TCP's state (`enum tcp_conntrack`): 1 SYN sent, 2 SYN received, 3 established, 7 time wait, 8 closed, ...
    pub tcp_state: Option<u8>,
    /// Packets and bytes as it comes in, where `nf_conntrack_acct` is on.
    pub sent: Option<(u64, u64)>,
    /// Packets and bytes of its answers.
    pub answered: Option<(u64, u64)>,
}

/// How full the table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// So many connections, in this network namespace.
    pub entries: u32,
    /// So many may be, `nf_conntrack_max`; before Linux 5.13 the kernel does not tell it here.
    pub most: Option<u32>,
}

/// `conntrack -L`: every connection of both families. `socket` is one of `NETLINK_NETFILTER`.
///
/// EINVAL: the kernel has no connection tracking, or has it as a module that was never needed: then there are none.
pub fn list(socket: &mut Socket) -> io::Result<Vec<Flow>> {
    read_all(&socket.dump(question(IPCTNL_MSG_CT_GET, AF_UNSPEC as u8))?)
}

/// `conntrack -C`: how many there are.
pub fn count(socket: &mut Socket) -> io::Result<Count> {
    read_count(&socket.get(question(IPCTNL_MSG_CT_GET_STATS, AF_UNSPEC as u8))?)
}

/// `conntrack -D`, for this connection and no other between the same ends. ENOENT when it is gone.
pub fn delete(flow: &Flow) -> Message {
    let mut message = Message::new(kind(IPCTNL_MSG_CT_DELETE), NLM_F_ACK);
    message.nfgen(family(flow.original.source), 0);
    write(&mut message, CTA_TUPLE_ORIG, &flow.original);
    flow.id.map(|id| message.be32(CTA_ID, id));
    if flow.zone != 0 {
        message.be16(CTA_ZONE, flow.zone);
    }
    message
}

/// `conntrack -D -p udp -d ...`: every connection that `which` says, and how many those were. One that ends by itself in the
/// meantime is as good.
///
/// ```no_run
/// use netlink::{NETLINK_NETFILTER, Socket, conntrack};
///
/// let mut socket = Socket::open(NETLINK_NETFILTER)?;
/// let gone = "10.0.0.2".parse::<std::net::IpAddr>().unwrap();
/// let udp = libc::IPPROTO_UDP as u8;
/// // What was translated to 10.0.0.2, and what it sent itself.
/// conntrack::delete_where(&mut socket, |flow| {
///     flow.original.protocol == udp && (flow.reply.source == gone || flow.original.source == gone)
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub fn delete_where(socket: &mut Socket, which: impl Fn(&Flow) -> bool) -> io::Result<usize> {
    let flows: Vec<Flow> = list(socket)?.into_iter().filter(|flow| which(flow)).collect();
    for few in flows.chunks(AT_ONCE) {
        match socket.requests(few.iter().map(delete)) {
            Err(error) if crate::errno(&error) != Some(libc::ENOENT) => return Err(error),
            _ => {}
        }
    }
    Ok(flows.len())
}

/// `conntrack -F`: every connection of both families, also those of others. Think twice: [`delete_where`] is there.
pub fn flush() -> Message {
    let mut message = Message::new(kind(IPCTNL_MSG_CT_DELETE), NLM_F_ACK);
    message.nfgen(AF_UNSPEC as u8, 0);
    message
}

fn question(message: u16, family: u8) -> Message {
    let mut question = Message::new(kind(message), 0);
    question.nfgen(family, 0);
    question
}

fn kind(message: u16) -> u16 {
    (NFNL_SUBSYS_CTNETLINK as u16) << 8 | message
}

fn write(m: &mut Message, kind: u16, tuple: &Tuple) {
    let v6 = tuple.source.is_ipv6();
    m.nest(kind, |m| {
        m.nest(CTA_TUPLE_IP, |m| {
            m.address(if v6 { CTA_IP_V6_SRC } else { CTA_IP_V4_SRC }, tuple.source);
            m.address(if v6 { CTA_IP_V6_DST } else { CTA_IP_V4_DST }, tuple.destination);
        });
        m.nest(CTA_TUPLE_PROTO, |m| {
            m.u8(CTA_PROTO_NUM, tuple.protocol);
            match tuple.icmp {
                Some((id, kind, code)) if v6 => {
                    m.be16(CTA_PROTO_ICMPV6_ID, id).u8(CTA_PROTO_ICMPV6_TYPE, kind).u8(CTA_PROTO_ICMPV6_CODE, code)
                }
                Some((id, kind, code)) => {
                    m.be16(CTA_PROTO_ICMP_ID, id).u8(CTA_PROTO_ICMP_TYPE, kind).u8(CTA_PROTO_ICMP_CODE, code)
                }
                None => {
                    m.be16(CTA_PROTO_SRC_PORT, tuple.source_port).be16(CTA_PROTO_DST_PORT, tuple.destination_port)
                }
            };
        });
    });
}

fn read_tuple(attributes: Attributes) -> io::Result<Tuple> {
    let (mut source, mut destination) = (None, None);
    let mut tuple = Tuple {
        source: IpAddr::from([0; 4]),
        destination: IpAddr::from([0; 4]),
        protocol: 0,
        source_port: 0,
        destination_port: 0,
        icmp: None,
    };
    for attribute in attributes {
        let attribute = attribute?;
        for inside in attribute.nested() {
            let inside = inside?;
            let icmp = &mut tuple.icmp;
            match (attribute.kind, inside.kind) {
                (CTA_TUPLE_IP, CTA_IP_V4_SRC | CTA_IP_V6_SRC) => source = Some(inside.address()?),
                (CTA_TUPLE_IP, CTA_IP_V4_DST | CTA_IP_V6_DST) => destination = Some(inside.address()?),
                (CTA_TUPLE_PROTO, CTA_PROTO_NUM) => tuple.protocol = inside.u8()?,
                (CTA_TUPLE_PROTO, CTA_PROTO_SRC_PORT) => tuple.source_port = inside.be16()?,
                (CTA_TUPLE_PROTO, CTA_PROTO_DST_PORT) => tuple.destination_port = inside.be16()?,
                (CTA_TUPLE_PROTO, CTA_PROTO_ICMP_ID | CTA_PROTO_ICMPV6_ID) => {
                    icmp.get_or_insert_default().0 = inside.be16()?;
                }
                (CTA_TUPLE_PROTO, CTA_PROTO_ICMP_TYPE | CTA_PROTO_ICMPV6_TYPE) => {
                    icmp.get_or_insert_default().1 = inside.u8()?;
                }
                (CTA_TUPLE_PROTO, CTA_PROTO_ICMP_CODE | CTA_PROTO_ICMPV6_CODE) => {
                    icmp.get_or_insert_default().2 = inside.u8()?;
                }
                _ => {}
            }
        }
    }
    let (source, destination) = source.zip(destination).ok_or_else(wire::malformed)?;
    Ok(Tuple { source, destination, ..tuple })
}

fn read_all(answer: &[u8]) -> io::Result<Vec<Flow>> {
    let all = wire::messages(answer).filter_map(|message| match message {
        Ok(message) if message.kind != kind(IPCTNL_MSG_CT_NEW) => None,
        Ok(message) => Some(read(&message)),
        Err(error) => Some(Err(error)),
    });
    all.collect()
}

fn read(message: &Reply) -> io::Result<Flow> {
    let (mut original, mut reply) = (None, None);
    let (mut status, mut timeout, mut mark, mut id, mut zone) = (0, 0, 0, None, 0);
    let (mut tcp_state, mut sent, mut answered) = (None, None, None);
    for attribute in message.attributes(NFGENMSG) {
        let attribute = attribute?;
        match attribute.kind {
            CTA_TUPLE_ORIG => original = Some(read_tuple(attribute.nested())?),
            CTA_TUPLE_REPLY => reply = Some(read_tuple(attribute.nested())?),
            CTA_STATUS => status = attribute.be32()?,
            CTA_TIMEOUT => timeout = attribute.be32()?,
            CTA_MARK => mark = attribute.be32()?,
            CTA_ID => id = Some(attribute.be32()?),
            CTA_ZONE => zone = attribute.be16()?,
            CTA_PROTOINFO => tcp_state = read_tcp(&attribute)?,
            CTA_COUNTERS_ORIG => sent = read_counters(&attribute)?,
            CTA_COUNTERS_REPLY => answered = read_counters(&attribute)?,
            _ => {}
        }
    }
    let (original, reply) = original.zip(reply).ok_or_else(wire::malformed)?;
    let tcp_state = tcp_state.filter(|_| c_int::from(original.protocol) == IPPROTO_TCP);
    Ok(Flow { original, reply, status, timeout, mark, id, zone, tcp_state, sent, answered })
}

fn read_tcp(info: &Attribute) -> io::Result<Option<u8>> {
    for protocol in info.nested() {
        let protocol = protocol?;
        if protocol.kind != CTA_PROTOINFO_TCP {
            continue;
        }
        for attribute in protocol.nested() {
            let attribute = attribute?;
            if attribute.kind == CTA_PROTOINFO_TCP_STATE {
                return attribute.u8().map(Some);
            }
        }
    }
    Ok(None)
}

fn read_counters(counters: &Attribute) -> io::Result<Option<(u64, u64)>> {
    let (mut packets, mut bytes) = (None, None);
    for attribute in counters.nested() {
        let attribute = attribute?;
        match attribute.kind {
            CTA_COUNTERS_PACKETS => packets = Some(attribute.be64()?),
            CTA_COUNTERS_BYTES => bytes = Some(attribute.be64()?),
            _ => {}
        }
    }
    Ok(packets.zip(bytes))
}

fn read_count(answer: &[u8]) -> io::Result<Count> {
    let (mut entries, mut most) = (None, None);
    for message in wire::messages(answer) {
        let message = message?;
        if message.kind != kind(IPCTNL_MSG_CT_GET_STATS) {
            continue;
        }
        for attribute in message.attributes(NFGENMSG) {
            let attribute = attribute?;
            match attribute.kind {
                CTA_STATS_GLOBAL_ENTRIES => entries = Some(attribute.be32()?),
                CTA_STATS_GLOBAL_MAX_ENTRIES => most = Some(attribute.be32()?),
                _ => {}
            }
        }
    }
    Ok(Count { entries: entries.ok_or_else(wire::malformed)?, most })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{hex, mangle, same, same_but};
    use libc::{AF_INET, IPPROTO_UDP};

    fn udp() -> Flow {
        let here = IpAddr::from([127, 0, 0, 1]);
        let (protocol, icmp) = (IPPROTO_UDP as u8, None);
        let original =
            Tuple { source: here, destination: here, protocol, source_port: 55727, destination_port: 5353, icmp };
        Flow {
            original,
            reply: Tuple { source_port: 5353, destination_port: 55727, ..original },
            status: 8,
            timeout: 29,
            mark: 0,
            id: Some(0x5305_14f3),
            zone: 0,
            tcp_state: None,
            sent: Some((1, 30)),
            answered: Some((0, 0)),
        }
    }

    #[test]
    fn connections_are_read() {
        let answer = hex(include_str!("../../tests/golden/conntrack.hex"));
        let flows = read_all(&answer).unwrap();
        assert_eq!(flows[0], udp());
        let tcp = &flows[1];
        assert_eq!(
            (tcp.original.to(), tcp.reply.from()),
            ("127.0.0.1:5555".parse().unwrap(), "127.0.0.1:5555".parse().unwrap())
        );
        assert_eq!(
            (tcp.tcp_state, tcp.status & IPS_ASSURED, tcp.timeout, tcp.sent),
            (Some(7), IPS_ASSURED, 119, Some((4, 216)))
        );
        assert_eq!((flows.len(), read_count(&answer).unwrap()), (2, Count { entries: 2, most: Some(0x40000) }));
        mangle(&answer, |bytes| drop((read_all(bytes), read_count(bytes))));
    }

    #[test]
    fn the_questions_are_those_of_the_conntrack_program() {
        // conntrack 1.4.7: -L (NLM_F_DUMP is set by Socket::dump), -C, -F.
        let golden = |text| hex(text);
        same(
            question(IPCTNL_MSG_CT_GET, 0),
            &golden("14 00 00 00 01 01 01 00 00 00 00 00 00 00 00 00 00 00 00 00"),
            4,
        );
        same(
            question(IPCTNL_MSG_CT_GET_STATS, 0),
            &golden("14 00 00 00 05 01 01 00 00 00 00 00 00 00 00 00 00 00 00 00"),
            4,
        );
        same(flush(), &golden("14 00 00 00 02 01 05 00 00 00 00 00 00 00 00 00 00 00 00 00"), 4);
    }

    #[test]
    fn a_connection_is_deleted_as_the_conntrack_program_does_it() {
        // conntrack -D -p udp --orig-port-dst 5353. It also sends what the kernel does not look at: the other tuple, status,
        // timeout and mark; and not the id, by which we leave alone one that came in its place.
        let mut golden = hex("94 00 00 00 02 01 05 00  00 00 00 00 00 00 00 00  02 00 00 00
            34 00 01 80 14 00 01 80  08 00 01 00 7f 00 00 01  08 00 02 00 7f 00 00 01  1c 00 02 80
            05 00 01 00 11 00 00 00  06 00 02 00 e1 6b 00 00  06 00 03 00 14 e9 00 00
            34 00 02 80 14 00 01 80  08 00 01 00 7f 00 00 01  08 00 02 00 7f 00 00 01  1c 00 02 80
            05 00 01 00 11 00 00 00  06 00 02 00 14 e9 00 00  06 00 03 00 e1 6b 00 00
            08 00 03 00 00 00 00 08  08 00 07 00 00 00 00 1d  08 00 08 00 00 00 00 00");
        golden[0] = golden.len() as u8;
        let mut flow = udp();
        flow.original.source_port = 0xe16b;
        let ours = delete(&flow).finish().unwrap();
        let but: &[&[u16]] = &[&[CTA_TUPLE_REPLY], &[CTA_STATUS], &[CTA_TIMEOUT], &[CTA_MARK], &[CTA_ID]];
        same_but(&ours, &golden, NFGENMSG, but);
    }

    #[test]
    fn what_is_written_is_read() {
        let icmp =
            Tuple { source_port: 0, destination_port: 0, protocol: 1, icmp: Some((7, 8, 0)), ..udp().original };
        let (source, destination) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        let sixth = Tuple { source, destination, ..udp().original };
        let icmp6 = Tuple { source, destination, protocol: 58, icmp: Some((7, 128, 0)), ..icmp };
        for tuple in [udp().original, icmp, sixth, icmp6] {
            let mut message = Message::new(kind(IPCTNL_MSG_CT_NEW), 0);
            write(message.nfgen(AF_INET as u8, 0), CTA_TUPLE_ORIG, &tuple);
            write(&mut message, CTA_TUPLE_REPLY, &tuple);
            let bytes = message.finish().unwrap();
            assert_eq!(read_all(&bytes).unwrap()[0].original, tuple);
            mangle(&bytes, |bytes| drop(read_all(bytes)));
        }
    }
}
