//! Expressions: the instructions that a rule is made of. Each is a name and attributes of its own; a packet's bytes go
//! through registers from one to the next, and the first comparison that does not hold ends the rule.
//!
//! What this crate writes it also reads; what it does not know is kept by name ([`Expr::Other`], [`Expr::Xt`]), so that a
//! rule of somebody else's is never taken for a shorter one.

use std::io;

use libc::{
    NFT_BREAK, NFT_CMP_EQ, NFT_CMP_GT, NFT_CMP_GTE, NFT_CMP_LT, NFT_CMP_LTE, NFT_CMP_NEQ, NFT_CONTINUE, NFT_GOTO,
    NFT_JUMP, NFT_LOOKUP_F_INV, NFT_REG_VERDICT, NFT_REG32_00, NFT_RETURN,
};

#[allow(clippy::wildcard_imports, reason = "the kernel's own names, in a file that has nothing else")]
use super::numbers::*;
use crate::wire::{self, Attribute, Message};

/// `NF_DROP` and `NF_ACCEPT`, include/uapi/linux/netfilter.h.
const NF_DROP: i32 = 0;
const NF_ACCEPT: i32 = 1;
/// `NFT_BITWISE_MASK_XOR`, the first of `enum nft_bitwise_ops`.
const MASK_XOR: u32 = 0;
/// Bits of `NFTA_LIMIT_FLAGS` and the second of `enum nft_limit_type`.
const LIMIT_INVERTED: u32 = 1;
const LIMIT_BYTES: u32 = 1;
/// `NFT_EXTHDR_OP_TCPOPT`.
const TCP_OPTION: u32 = 1;

/// Four of a rule's sixty-four bytes of memory, and those behind it: a value of sixteen bytes takes four of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register(u32);

impl Register {
    /// What is to become of the packet (`NFT_REG_VERDICT`).
    pub const VERDICT: Register = Register(NFT_REG_VERDICT as u32);
    /// The first sixteen bytes (`NFT_REG_1`).
    pub const R1: Register = Register::word(0);
    /// The second sixteen bytes (`NFT_REG_2`).
    pub const R2: Register = Register::word(4);
    /// The third sixteen bytes (`NFT_REG_3`).
    pub const R3: Register = Register::word(8);

    /// The four bytes with this number, from 0 to 15 (`NFT_REG32_00` and on).
    pub const fn word(number: u32) -> Register {
        Register(NFT_REG32_00 as u32 + number)
    }

    /// The register behind a value of so many bytes that begins in this one.
    #[must_use]
    pub const fn after(self, bytes: u32) -> Register {
        Register(self.0 + bytes.div_ceil(4))
    }

    /// Where its four bytes begin in the rule's memory; beyond it for the verdict.
    pub const fn offset(self) -> u32 {
        self.0.wrapping_sub(NFT_REG32_00 as u32).wrapping_mul(4)
    }

    /// The older name where there is one: kernel and `nft` print that.
    fn number(self) -> u32 {
        match self.0.checked_sub(NFT_REG32_00 as u32) {
            Some(word) if word % 4 == 0 => 1 + word / 4,
            _ => self.0,
        }
    }

    fn read(number: u32) -> Register {
        if (1..=4).contains(&number) { Register::word((number - 1) * 4) } else { Register(number) }
    }
}

/// How two values are compared, byte by byte from the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// They are the same.
    Equal,
    /// They are not.
    NotEqual,
    /// The packet's is smaller.
    Less,
    /// The packet's is not greater.
    LessOrEqual,
    /// The packet's is greater.
    Greater,
    /// The packet's is not smaller.
    GreaterOrEqual,
}

impl Compare {
    const ALL: [(Compare, i32); 6] = [
        (Compare::Equal, NFT_CMP_EQ),
        (Compare::NotEqual, NFT_CMP_NEQ),
        (Compare::Less, NFT_CMP_LT),
        (Compare::LessOrEqual, NFT_CMP_LTE),
        (Compare::Greater, NFT_CMP_GT),
        (Compare::GreaterOrEqual, NFT_CMP_GTE),
    ];

    /// Whether it holds for the packet's value and the rule's. A rule's can be shorter than what a register holds: then the
    /// rest does not count.
    pub fn holds(self, packet: &[u8], rule: &[u8]) -> bool {
        let packet = packet.get(..rule.len()).unwrap_or(packet);
        match self {
            Compare::Equal => packet == rule,
            Compare::NotEqual => packet != rule,
            Compare::Less => packet < rule,
            Compare::LessOrEqual => packet <= rule,
            Compare::Greater => packet > rule,
            Compare::GreaterOrEqual => packet >= rule,
        }
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passes this chain; the next base chain at the hook still sees it.
    Accept,
    /// It is gone, for good.
    Drop,
    /// On with the chain of this name, and then with the next rule here.
    Jump(String),
    /// On with the chain of this name, and then where this chain was called from.
    Goto(String),
    /// Back to where this chain was called from; a base chain's policy decides.
    Return,
    /// On with the next expression.
    Continue,
    /// On with the next rule.
    Break,
    /// Another number: a queue (3), or what a newer kernel knows.
    Other(i32),
}

impl Verdict {
    /// Into the attribute that holds it.
    pub(super) fn write(&self, m: &mut Message) {
        let (code, chain) = match self {
            Verdict::Accept => (NF_ACCEPT, None),
            Verdict::Drop => (NF_DROP, None),
            Verdict::Jump(chain) => (NFT_JUMP, Some(chain)),
            Verdict::Goto(chain) => (NFT_GOTO, Some(chain)),
            Verdict::Return => (NFT_RETURN, None),
            Verdict::Continue => (NFT_CONTINUE, None),
            Verdict::Break => (NFT_BREAK, None),
            Verdict::Other(code) => (*code, None),
        };
        m.nest(NFTA_DATA_VERDICT, |m| {
            m.be32(NFTA_VERDICT_CODE, code as u32);
            chain.map(|chain| m.name(NFTA_VERDICT_CHAIN, chain));
        });
    }

    fn read(attribute: &Attribute) -> io::Result<Verdict> {
        let inside = Found::in_nest(attribute)?;
        let chain = || inside.text(NFTA_VERDICT_CHAIN).unwrap_or_default();
        Ok(match inside.be32(NFTA_VERDICT_CODE)?.ok_or_else(wire::malformed)? as i32 {
            NF_ACCEPT => Verdict::Accept,
            NF_DROP => Verdict::Drop,
            NFT_JUMP => Verdict::Jump(chain()),
            NFT_GOTO => Verdict::Goto(chain()),
            NFT_RETURN => Verdict::Return,
            NFT_CONTINUE => Verdict::Continue,
            NFT_BREAK => Verdict::Break,
            other => Verdict::Other(other),
        })
    }
}

/// A value or a verdict: what `NFTA_DATA_*` holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Bytes, as they lie in registers.
    Value(Vec<u8>),
    /// What becomes of the packet.
    Verdict(Verdict),
}

impl Data {
    pub(super) fn write(&self, m: &mut Message, kind: u16) {
        m.nest(kind, |m| match self {
            Data::Value(value) => {
                m.bytes(NFTA_DATA_VALUE, value);
            }
            Data::Verdict(verdict) => verdict.write(m),
        });
    }

    pub(super) fn read(attribute: &Attribute) -> io::Result<Data> {
        for inside in attribute.nested() {
            let inside = inside?;
            match inside.kind {
                NFTA_DATA_VALUE => return Ok(Data::Value(inside.payload.to_vec())),
                NFTA_DATA_VERDICT => return Verdict::read(&inside).map(Data::Verdict),
                _ => {}
            }
        }
        Err(wire::malformed())
    }

    /// The bytes, where these are bytes.
    pub(super) fn value(attribute: &Attribute) -> io::Result<Vec<u8>> {
        match Data::read(attribute)? {
            Data::Value(value) => Ok(value),
            Data::Verdict(_) => Err(wire::malformed()),
        }
    }
}

/// Which header an offset is counted from (`enum nft_payload_bases`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// Ethernet's.
    Link,
    /// IP's.
    Network,
    /// TCP's, UDP's, ...
    Transport,
    /// What is behind that, or what a newer kernel knows.
    Other(u32),
}

impl Header {
    fn number(self) -> u32 {
        match self {
            Header::Link => 0,
            Header::Network => 1,
            Header::Transport => 2,
            Header::Other(number) => number,
        }
    }
}

/// One instruction. Numbers that have a name in the kernel's headers are given in libc's: `libc::NFT_META_IIFNAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// Bytes of the packet into a register.
    Payload {
        /// Where they go.
        to: Register,
        /// The header that the offset is counted from.
        header: Header,
        /// In bytes.
        offset: u32,
        /// In bytes.
        length: u32,
    },
    /// Something about the packet that is not in it, into a register.
    Meta {
        /// Where it goes.
        to: Register,
        /// `NFT_META_*`.
        key: u32,
    },
    /// Something about the packet, from a register: its mark, ...
    SetMeta {
        /// Where it comes from.
        from: Register,
        /// `NFT_META_*`.
        key: u32,
    },
    /// Something about the packet's connection, into a register. Asking for it makes the kernel track connections.
    Ct {
        /// Where it goes.
        to: Register,
        /// `NFT_CT_*`.
        key: u32,
        /// For what both directions have: 0 is the original one, 1 the reply's.
        direction: Option<u8>,
    },
    /// Something about the packet's connection, from a register: its mark, ...
    SetCt {
        /// Where it comes from.
        from: Register,
        /// `NFT_CT_*`.
        key: u32,
    },
    /// Something about the packet's route, into a register.
    Rt {
        /// Where it goes.
        to: Register,
        /// `enum nft_rt_keys`: 3 is the largest segment of TCP that fits the route's MTU, of two bytes and the host's order.
        key: u32,
    },
    /// Compare; when it does not hold, the rule ends.
    Cmp {
        /// The packet's value.
        from: Register,
        /// How.
        how: Compare,
        /// The rule's value.
        value: Vec<u8>,
    },
    /// Compare with two bounds, both of them inside.
    Range {
        /// The packet's value.
        from: Register,
        /// It must be outside.
        inverted: bool,
        /// The smallest value inside.
        low: Vec<u8>,
        /// The greatest.
        high: Vec<u8>,
    },
    /// `value & mask ^ xor`.
    Bitwise {
        /// The value.
        from: Register,
        /// Where the result goes.
        to: Register,
        /// As long as the value.
        mask: Vec<u8>,
        /// As long as the value.
        xor: Vec<u8>,
    },
    /// From the host's byte order to the network's, or back.
    Byteorder {
        /// The value.
        from: Register,
        /// Where the result goes.
        to: Register,
        /// 0 from the network's to the host's, 1 from the host's to the network's.
        op: u32,
        /// Of the whole value, in bytes.
        length: u32,
        /// Of one number in it, in bytes.
        size: u32,
    },
    /// Look a value up in a set; when it is not there, the rule ends. In a map: what is found there into a register.
    Lookup {
        /// The value.
        from: Register,
        /// Where what a map says goes; into [`Register::VERDICT`] for a map of verdicts.
        to: Option<Register>,
        /// The set's name.
        set: String,
        /// The set's number in the batch that makes both, for an anonymous one: see [`super::Batch::add_anonymous`].
        id: Option<u32>,
        /// It must not be there.
        inverted: bool,
    },
    /// Bytes into a register.
    Immediate {
        /// Where they go.
        to: Register,
        /// At most sixteen.
        value: Vec<u8>,
    },
    /// What becomes of the packet.
    Verdict(Verdict),
    /// Give the connection another source or destination. The first packet of a connection decides; the kernel does the
    /// rest of them itself, which no rule sees.
    Nat(Nat),
    /// Give the connection the source address of the link that it leaves by.
    Masquerade {
        /// `NF_NAT_RANGE_*`: 4 random ports, 8 the same address for the same host, 16 fully random ports.
        flags: u32,
        /// The smallest port to use.
        port: Option<Register>,
    },
    /// Send the connection to this host.
    Redirect {
        /// To this port.
        port: Option<Register>,
        /// `NF_NAT_RANGE_*`, with 2 where there is a port.
        flags: u32,
    },
    /// Ask the routing tables about an address.
    Fib {
        /// Where the answer goes.
        to: Register,
        /// What is asked: `NFT_FIB_RESULT_OIF` 1, `_OIFNAME` 2, `_ADDRTYPE` 3.
        result: u32,
        /// About what: `NFTA_FIB_F_SADDR` 1, `_DADDR` 2, `_MARK` 4, `_IIF` 8, `_OIF` 16.
        flags: u32,
    },
    /// Count.
    Counter {
        /// Packets until now.
        packets: u64,
        /// Bytes until now.
        bytes: u64,
    },
    /// Drop, and tell the sender.
    Reject {
        /// `NFT_REJECT_*`: 0 by ICMP, 1 by a reset of TCP, 2 by ICMP of the packet's own family.
        kind: u32,
        /// ICMP's code.
        code: u8,
    },
    /// Write to the kernel's log, or to who listens.
    Log {
        /// What stands in front.
        prefix: Option<String>,
        /// 0 emergency to 7 debug.
        level: Option<u32>,
        /// Who listens.
        group: Option<u16>,
    },
    /// No more than so much; what is above ends the rule.
    Limit {
        /// How many.
        rate: u64,
        /// In so many seconds.
        seconds: u64,
        /// How many at once.
        burst: u32,
        /// Bytes, and not packets.
        bytes: bool,
        /// What is below ends the rule.
        inverted: bool,
    },
    /// The packet belongs to no connection.
    Notrack,
    /// Bytes from a register into an option of TCP's header.
    SetTcpOption {
        /// Where they come from.
        from: Register,
        /// The option's number: 2 is the largest segment.
        option: u8,
        /// From the option's start, in bytes.
        offset: u32,
        /// In bytes.
        length: u32,
    },
    /// A match or a target of iptables, in a rule that `iptables-nft` made. Read, and not written.
    Xt {
        /// A target decides, a match only compares.
        target: bool,
        /// `MASQUERADE`, `conntrack`, `addrtype`, ...
        name: String,
        /// The revision of what follows.
        revision: u32,
        /// Its own struct.
        info: Vec<u8>,
    },
    /// Something that this crate does not know. Read, and not written.
    Other {
        /// Its name.
        name: String,
    },
}

/// What [`Expr::Nat`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nat {
    /// The source, or the destination.
    pub source: bool,
    /// The addresses are of IPv6, or of IPv4.
    pub v6: bool,
    /// The address, or the first of several.
    pub address: Option<Register>,
    /// The last of several addresses.
    pub address_to: Option<Register>,
    /// The port, or the first of several.
    pub port: Option<Register>,
    /// The last of several ports.
    pub port_to: Option<Register>,
    /// `NF_NAT_RANGE_*` beyond those that say that there is an address or a port: 4 random ports, 8 persistent.
    pub flags: u32,
}

impl Nat {
    /// The connection goes to the address in `address` and, where there is one, to the port in `port`.
    pub fn destination(v6: bool, address: Register, port: Option<Register>) -> Nat {
        let (address_to, port_to) = (None, None);
        Nat { source: false, v6, address: Some(address), address_to, port, port_to, flags: 0 }
    }

    /// The connection comes from the address in `address`.
    pub fn source(v6: bool, address: Register) -> Nat {
        Nat { source: true, ..Nat::destination(v6, address, None) }
    }
}

impl Expr {
    /// Into an item of a rule's list.
    pub(super) fn write(&self, m: &mut Message) {
        let register = |m: &mut Message, kind, register: Register| {
            m.be32(kind, register.number());
        };
        let some = |m: &mut Message, kind, register: Option<Register>| {
            register.map(|register| m.be32(kind, register.number()));
        };
        let value = |m: &mut Message, kind, value: &[u8]| {
            m.nest(kind, |m| {
                m.bytes(NFTA_DATA_VALUE, value);
            });
        };
        let mut data: Box<dyn FnMut(&mut Message)> = match self {
            Expr::Payload { to, header, offset, length } => Box::new(move |m| {
                register(m, NFTA_PAYLOAD_DREG, *to);
                m.be32(NFTA_PAYLOAD_BASE, header.number());
                m.be32(NFTA_PAYLOAD_OFFSET, *offset).be32(NFTA_PAYLOAD_LEN, *length);
            }),
            Expr::Meta { to, key } => Box::new(move |m| {
                m.be32(NFTA_META_KEY, *key);
                register(m, NFTA_META_DREG, *to);
            }),
            Expr::SetMeta { from, key } => Box::new(move |m| {
                m.be32(NFTA_META_KEY, *key);
                register(m, NFTA_META_SREG, *from);
            }),
            Expr::Ct { to, key, direction } => Box::new(move |m| {
                m.be32(NFTA_CT_KEY, *key);
                register(m, NFTA_CT_DREG, *to);
                direction.map(|direction| m.u8(NFTA_CT_DIRECTION, direction));
            }),
            Expr::SetCt { from, key } => Box::new(move |m| {
                m.be32(NFTA_CT_KEY, *key);
                register(m, NFTA_CT_SREG, *from);
            }),
            Expr::Rt { to, key } => Box::new(move |m| {
                m.be32(NFTA_RT_KEY, *key);
                register(m, NFTA_RT_DREG, *to);
            }),
            Expr::Cmp { from, how, value: bytes } => Box::new(move |m| {
                register(m, NFTA_CMP_SREG, *from);
                let op = Compare::ALL.iter().find(|(known, _)| known == how).map_or(NFT_CMP_EQ, |(_, op)| *op);
                m.be32(NFTA_CMP_OP, op as u32);
                value(m, NFTA_CMP_DATA, bytes);
            }),
            Expr::Range { from, inverted, low, high } => Box::new(move |m| {
                register(m, NFTA_RANGE_SREG, *from);
                m.be32(NFTA_RANGE_OP, u32::from(*inverted));
                value(m, NFTA_RANGE_FROM_DATA, low);
                value(m, NFTA_RANGE_TO_DATA, high);
            }),
            Expr::Bitwise { from, to, mask, xor } => Box::new(move |m| {
                register(m, NFTA_BITWISE_SREG, *from);
                register(m, NFTA_BITWISE_DREG, *to);
                m.be32(NFTA_BITWISE_LEN, mask.len() as u32);
                value(m, NFTA_BITWISE_MASK, mask);
                value(m, NFTA_BITWISE_XOR, xor);
            }),
            Expr::Byteorder { from, to, op, length, size } => Box::new(move |m| {
                register(m, NFTA_BYTEORDER_SREG, *from);
                register(m, NFTA_BYTEORDER_DREG, *to);
                m.be32(NFTA_BYTEORDER_OP, *op).be32(NFTA_BYTEORDER_LEN, *length).be32(NFTA_BYTEORDER_SIZE, *size);
            }),
            Expr::Lookup { from, to, set, id, inverted } => Box::new(move |m| {
                register(m, NFTA_LOOKUP_SREG, *from);
                some(m, NFTA_LOOKUP_DREG, *to);
                m.name(NFTA_LOOKUP_SET, set);
                id.map(|id| m.be32(NFTA_LOOKUP_SET_ID, id));
                if *inverted {
                    m.be32(NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV as u32);
                }
            }),
            Expr::Immediate { to, value: bytes } => Box::new(move |m| {
                register(m, NFTA_IMMEDIATE_DREG, *to);
                value(m, NFTA_IMMEDIATE_DATA, bytes);
            }),
            Expr::Verdict(verdict) => Box::new(move |m| {
                register(m, NFTA_IMMEDIATE_DREG, Register::VERDICT);
                m.nest(NFTA_IMMEDIATE_DATA, |m| verdict.write(m));
            }),
            Expr::Nat(nat) => Box::new(move |m| {
                m.be32(NFTA_NAT_TYPE, if nat.source { libc::NFT_NAT_SNAT } else { libc::NFT_NAT_DNAT } as u32);
                let family = if nat.v6 { libc::NFPROTO_IPV6 } else { libc::NFPROTO_IPV4 };
                m.be32(NFTA_NAT_FAMILY, family as u32);
                some(m, NFTA_NAT_REG_ADDR_MIN, nat.address);
                some(m, NFTA_NAT_REG_ADDR_MAX, nat.address_to);
                some(m, NFTA_NAT_REG_PROTO_MIN, nat.port);
                some(m, NFTA_NAT_REG_PROTO_MAX, nat.port_to);
                if nat.flags != 0 {
                    m.be32(NFTA_NAT_FLAGS, nat.flags);
                }
            }),
            Expr::Masquerade { flags, port } => Box::new(move |m| {
                if *flags != 0 {
                    m.be32(NFTA_MASQ_FLAGS, *flags);
                }
                some(m, NFTA_MASQ_REG_PROTO_MIN, *port);
            }),
            Expr::Redirect { port, flags } => Box::new(move |m| {
                some(m, NFTA_REDIR_REG_PROTO_MIN, *port);
                if *flags != 0 {
                    m.be32(NFTA_REDIR_FLAGS, *flags);
                }
            }),
            Expr::Fib { to, result, flags } => Box::new(move |m| {
                m.be32(NFTA_FIB_FLAGS, *flags).be32(NFTA_FIB_RESULT, *result);
                register(m, NFTA_FIB_DREG, *to);
            }),
            Expr::Counter { packets, bytes } => Box::new(move |m| {
                if (*packets, *bytes) != (0, 0) {
                    m.be64(NFTA_COUNTER_PACKETS, *packets).be64(NFTA_COUNTER_BYTES, *bytes);
                }
            }),
            Expr::Reject { kind, code } => Box::new(move |m| {
                m.be32(NFTA_REJECT_TYPE, *kind).u8(NFTA_REJECT_ICMP_CODE, *code);
            }),
            Expr::Log { prefix, level, group } => Box::new(move |m| {
                prefix.as_ref().map(|prefix| m.name(NFTA_LOG_PREFIX, prefix));
                level.map(|level| m.be32(NFTA_LOG_LEVEL, level));
                group.map(|group| m.be16(NFTA_LOG_GROUP, group));
            }),
            Expr::Limit { rate, seconds, burst, bytes, inverted } => Box::new(move |m| {
                m.be64(NFTA_LIMIT_RATE, *rate).be64(NFTA_LIMIT_UNIT, *seconds).be32(NFTA_LIMIT_BURST, *burst);
                m.be32(NFTA_LIMIT_TYPE, if *bytes { LIMIT_BYTES } else { 0 });
                m.be32(NFTA_LIMIT_FLAGS, if *inverted { LIMIT_INVERTED } else { 0 });
            }),
            Expr::SetTcpOption { from, option, offset, length } => Box::new(move |m| {
                register(m, NFTA_EXTHDR_SREG, *from);
                m.u8(NFTA_EXTHDR_TYPE, *option).be32(NFTA_EXTHDR_OFFSET, *offset).be32(NFTA_EXTHDR_LEN, *length);
                m.be32(NFTA_EXTHDR_OP, TCP_OPTION);
            }),
            Expr::Notrack => {
                m.name(NFTA_EXPR_NAME, "notrack");
                return;
            }
            Expr::Xt { .. } | Expr::Other { .. } => {
                m.fault("an expression of somebody else's cannot be written again");
                return;
            }
        };
        m.name(NFTA_EXPR_NAME, self.name()).nest(NFTA_EXPR_DATA, &mut data);
    }

    /// The kernel's name for it.
    pub fn name(&self) -> &str {
        match self {
            Expr::Payload { .. } => "payload",
            Expr::Meta { .. } | Expr::SetMeta { .. } => "meta",
            Expr::Ct { .. } | Expr::SetCt { .. } => "ct",
            Expr::Rt { .. } => "rt",
            Expr::Cmp { .. } => "cmp",
            Expr::Range { .. } => "range",
            Expr::Bitwise { .. } => "bitwise",
            Expr::Byteorder { .. } => "byteorder",
            Expr::Lookup { .. } => "lookup",
            Expr::Immediate { .. } | Expr::Verdict(_) => "immediate",
            Expr::Nat(_) => "nat",
            Expr::Masquerade { .. } => "masq",
            Expr::Redirect { .. } => "redir",
            Expr::Fib { .. } => "fib",
            Expr::Counter { .. } => "counter",
            Expr::Reject { .. } => "reject",
            Expr::Log { .. } => "log",
            Expr::Limit { .. } => "limit",
            Expr::Notrack => "notrack",
            Expr::SetTcpOption { .. } => "exthdr",
            Expr::Xt { target: true, .. } => "target",
            Expr::Xt { .. } => "match",
            Expr::Other { name } => name,
        }
    }

    /// From an item of a rule's list. An expression whose form is not one of those above is [`Expr::Other`].
    pub(super) fn read(item: &Attribute) -> io::Result<Expr> {
        let inside = Found::in_nest(item)?;
        let name = inside.text(NFTA_EXPR_NAME).ok_or_else(wire::malformed)?;
        let data = inside.get(NFTA_EXPR_DATA).map(|data| Found::in_nest(&data)).transpose()?.unwrap_or_default();
        let known = Expr::read_known(&name, &data)?;
        Ok(known.unwrap_or(Expr::Other { name }))
    }

    fn read_known(name: &str, data: &Found) -> io::Result<Option<Expr>> {
        // Every one of them that a form needs, or it is not that form.
        macro_rules! need {
            ($value:expr) => {
                match $value {
                    Some(value) => value,
                    None => return Ok(None),
                }
            };
        }
        Ok(Some(match name {
            "payload" => Expr::Payload {
                to: need!(data.register(NFTA_PAYLOAD_DREG)?),
                header: match need!(data.be32(NFTA_PAYLOAD_BASE)?) {
                    0 => Header::Link,
                    1 => Header::Network,
                    2 => Header::Transport,
                    other => Header::Other(other),
                },
                offset: need!(data.be32(NFTA_PAYLOAD_OFFSET)?),
                length: need!(data.be32(NFTA_PAYLOAD_LEN)?),
            },
            "meta" => {
                let key = need!(data.be32(NFTA_META_KEY)?);
                match data.register(NFTA_META_SREG)? {
                    Some(from) => Expr::SetMeta { from, key },
                    None => Expr::Meta { to: need!(data.register(NFTA_META_DREG)?), key },
                }
            }
            "ct" => {
                let key = need!(data.be32(NFTA_CT_KEY)?);
                let direction = data.get(NFTA_CT_DIRECTION).map(|attribute| attribute.u8()).transpose()?;
                match data.register(NFTA_CT_SREG)? {
                    Some(from) => Expr::SetCt { from, key },
                    None => Expr::Ct { to: need!(data.register(NFTA_CT_DREG)?), key, direction },
                }
            }
            "rt" => Expr::Rt { to: need!(data.register(NFTA_RT_DREG)?), key: need!(data.be32(NFTA_RT_KEY)?) },
            "cmp" => {
                let op = need!(data.be32(NFTA_CMP_OP)?);
                let how = need!(Compare::ALL.iter().find(|(_, known)| *known as u32 == op)).0;
                let value = Data::value(&need!(data.get(NFTA_CMP_DATA)))?;
                Expr::Cmp { from: need!(data.register(NFTA_CMP_SREG)?), how, value }
            }
            "range" => Expr::Range {
                from: need!(data.register(NFTA_RANGE_SREG)?),
                inverted: need!(data.be32(NFTA_RANGE_OP)?) != 0,
                low: Data::value(&need!(data.get(NFTA_RANGE_FROM_DATA)))?,
                high: Data::value(&need!(data.get(NFTA_RANGE_TO_DATA)))?,
            },
            "bitwise" if data.be32(NFTA_BITWISE_OP)?.unwrap_or(MASK_XOR) == MASK_XOR => Expr::Bitwise {
                from: need!(data.register(NFTA_BITWISE_SREG)?),
                to: need!(data.register(NFTA_BITWISE_DREG)?),
                mask: Data::value(&need!(data.get(NFTA_BITWISE_MASK)))?,
                xor: Data::value(&need!(data.get(NFTA_BITWISE_XOR)))?,
            },
            "byteorder" => Expr::Byteorder {
                from: need!(data.register(NFTA_BYTEORDER_SREG)?),
                to: need!(data.register(NFTA_BYTEORDER_DREG)?),
                op: need!(data.be32(NFTA_BYTEORDER_OP)?),
                length: need!(data.be32(NFTA_BYTEORDER_LEN)?),
                size: need!(data.be32(NFTA_BYTEORDER_SIZE)?),
            },
            "lookup" => Expr::Lookup {
                from: need!(data.register(NFTA_LOOKUP_SREG)?),
                to: data.register(NFTA_LOOKUP_DREG)?,
                set: need!(data.text(NFTA_LOOKUP_SET)),
                id: data.be32(NFTA_LOOKUP_SET_ID)?,
                inverted: data.be32(NFTA_LOOKUP_FLAGS)?.unwrap_or(0) & NFT_LOOKUP_F_INV as u32 != 0,
            },
            "immediate" => match Data::read(&need!(data.get(NFTA_IMMEDIATE_DATA)))? {
                Data::Verdict(verdict) => Expr::Verdict(verdict),
                Data::Value(value) => Expr::Immediate { to: need!(data.register(NFTA_IMMEDIATE_DREG)?), value },
            },
            "nat" => Expr::Nat(Nat {
                source: need!(data.be32(NFTA_NAT_TYPE)?) == libc::NFT_NAT_SNAT as u32,
                v6: need!(data.be32(NFTA_NAT_FAMILY)?) == libc::NFPROTO_IPV6 as u32,
                address: data.register(NFTA_NAT_REG_ADDR_MIN)?,
                // The kernel writes both, also where they are the same.
                address_to: data.other_register(NFTA_NAT_REG_ADDR_MAX, NFTA_NAT_REG_ADDR_MIN)?,
                port: data.register(NFTA_NAT_REG_PROTO_MIN)?,
                port_to: data.other_register(NFTA_NAT_REG_PROTO_MAX, NFTA_NAT_REG_PROTO_MIN)?,
                // 1 and 2 only say that there is an address and a port.
                flags: data.be32(NFTA_NAT_FLAGS)?.unwrap_or(0) & !3,
            }),
            "masq" => Expr::Masquerade {
                flags: data.be32(NFTA_MASQ_FLAGS)?.unwrap_or(0),
                port: data.register(NFTA_MASQ_REG_PROTO_MIN)?,
            },
            "redir" => Expr::Redirect {
                port: data.register(NFTA_REDIR_REG_PROTO_MIN)?,
                flags: data.be32(NFTA_REDIR_FLAGS)?.unwrap_or(0),
            },
            "fib" => Expr::Fib {
                to: need!(data.register(NFTA_FIB_DREG)?),
                result: need!(data.be32(NFTA_FIB_RESULT)?),
                flags: need!(data.be32(NFTA_FIB_FLAGS)?),
            },
            "counter" => Expr::Counter {
                packets: data.be64(NFTA_COUNTER_PACKETS)?.unwrap_or(0),
                bytes: data.be64(NFTA_COUNTER_BYTES)?.unwrap_or(0),
            },
            "reject" => Expr::Reject {
                kind: need!(data.be32(NFTA_REJECT_TYPE)?),
                code: data.get(NFTA_REJECT_ICMP_CODE).map_or(Ok(0), |attribute| attribute.u8())?,
            },
            "log" => Expr::Log {
                prefix: data.text(NFTA_LOG_PREFIX),
                level: data.be32(NFTA_LOG_LEVEL)?,
                group: data.get(NFTA_LOG_GROUP).map(|attribute| attribute.be16()).transpose()?,
            },
            "limit" => Expr::Limit {
                rate: need!(data.be64(NFTA_LIMIT_RATE)?),
                seconds: need!(data.be64(NFTA_LIMIT_UNIT)?),
                burst: data.be32(NFTA_LIMIT_BURST)?.unwrap_or(0),
                bytes: data.be32(NFTA_LIMIT_TYPE)?.unwrap_or(0) == LIMIT_BYTES,
                inverted: data.be32(NFTA_LIMIT_FLAGS)?.unwrap_or(0) & LIMIT_INVERTED != 0,
            },
            "notrack" => Expr::Notrack,
            "exthdr" if data.be32(NFTA_EXTHDR_OP)? == Some(TCP_OPTION) => Expr::SetTcpOption {
                from: need!(data.register(NFTA_EXTHDR_SREG)?),
                option: need!(data.get(NFTA_EXTHDR_TYPE)).u8()?,
                offset: need!(data.be32(NFTA_EXTHDR_OFFSET)?),
                length: need!(data.be32(NFTA_EXTHDR_LEN)?),
            },
            "target" => Expr::Xt {
                target: true,
                name: need!(data.text(NFTA_TARGET_NAME)),
                revision: data.be32(NFTA_TARGET_REV)?.unwrap_or(0),
                info: data.get(NFTA_TARGET_INFO).map_or_else(Vec::new, |info| info.payload.to_vec()),
            },
            "match" => Expr::Xt {
                target: false,
                name: need!(data.text(NFTA_MATCH_NAME)),
                revision: data.be32(NFTA_MATCH_REV)?.unwrap_or(0),
                info: data.get(NFTA_MATCH_INFO).map_or_else(Vec::new, |info| info.payload.to_vec()),
            },
            _ => return Ok(None),
        }))
    }
}

/// The attributes of one nest, to be looked up by kind.
#[derive(Default)]
pub(super) struct Found<'a>(Vec<Attribute<'a>>);

impl<'a> Found<'a> {
    pub(super) fn in_nest(attribute: &Attribute<'a>) -> io::Result<Found<'a>> {
        Found::of(attribute.nested())
    }

    pub(super) fn of(attributes: wire::Attributes<'a>) -> io::Result<Found<'a>> {
        attributes.collect::<Result<_, _>>().map(Found)
    }

    pub(super) fn get(&self, kind: u16) -> Option<Attribute<'a>> {
        self.0.iter().find(|attribute| attribute.kind == kind).copied()
    }

    pub(super) fn be32(&self, kind: u16) -> io::Result<Option<u32>> {
        self.get(kind).map(|attribute| attribute.be32()).transpose()
    }

    pub(super) fn be64(&self, kind: u16) -> io::Result<Option<u64>> {
        self.get(kind).map(|attribute| attribute.be64()).transpose()
    }

    pub(super) fn text(&self, kind: u16) -> Option<String> {
        self.get(kind).map(|attribute| attribute.text())
    }

    fn register(&self, kind: u16) -> io::Result<Option<Register>> {
        Ok(self.be32(kind)?.map(Register::read))
    }

    /// A register that is another than that of `unlike`.
    fn other_register(&self, kind: u16, unlike: u16) -> io::Result<Option<Register>> {
        let unlike = self.register(unlike)?;
        Ok(self.register(kind)?.filter(|register| Some(*register) != unlike))
    }
}
