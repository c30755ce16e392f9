//! Rules, and the words that most of them are made of.

use std::io;
use std::net::{IpAddr, SocketAddr};

use libc::{
    NFT_CT_STATE, NFT_CT_STATUS, NFT_META_IIFNAME, NFT_META_L4PROTO, NFT_META_MARK, NFT_META_NFPROTO,
    NFT_META_OIFNAME,
};

use super::expr::{Compare, Expr, Found, Header, Nat, Register, Verdict};
#[allow(clippy::wildcard_imports, reason = "the kernel's own names, in a file that has nothing else")]
use super::numbers::*;
use super::set::ifname;
use super::{COMMENT, Chain, Family, NFGENMSG, comment, family_of};
use crate::wire::{self, Reply};

/// `NFT_FIB_RESULT_ADDRTYPE` and `NFTA_FIB_F_DADDR`.
const ADDRESS_TYPE: u32 = 3;
const OF_DESTINATION: u32 = 2;

/// A rule: expressions, asked from the first to the last, as long as each of them holds.
///
/// Methods add what most rules are made of, in the words of `nft`; [`Rule::push`] adds any expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its table's family.
    pub family: Family,
    /// Its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// Its number, by which it is deleted. Read, and not written.
    pub handle: u64,
    /// What it does.
    pub expressions: Vec<Expr>,
    /// Words for people, at most 128 bytes.
    pub comment: Option<String>,
}

/// What of a packet is looked up in a set, for [`Rule::in_set`] and its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `ip saddr`, `ip6 saddr`.
    Source {
        /// Of IPv6, or of IPv4.
        v6: bool,
    },
    /// `ip daddr`, `ip6 daddr`.
    Destination {
        /// Of IPv6, or of IPv4.
        v6: bool,
    },
    /// `meta l4proto`.
    Protocol,
    /// `th sport`.
    SourcePort,
    /// `th dport`.
    DestinationPort,
    /// `iifname`.
    Incoming,
    /// `oifname`.
    Outgoing,
    /// `meta mark`.
    Mark,
}

impl Field {
    /// Its length in bytes, without the gap up to the next multiple of four.
    fn length(self) -> u32 {
        match self {
            Field::Source { v6 } | Field::Destination { v6 } => {
                if v6 {
                    16
                } else {
                    4
                }
            }
            Field::Protocol => 1,
            Field::SourcePort | Field::DestinationPort => 2,
            Field::Incoming | Field::Outgoing => 16,
            Field::Mark => 4,
        }
    }

    fn load(self, to: Register) -> Expr {
        let meta = |key: libc::c_int| Expr::Meta { to, key: key as u32 };
        let length = self.length();
        match self {
            Field::Source { v6 } => {
                Expr::Payload { to, header: Header::Network, offset: if v6 { 8 } else { 12 }, length }
            }
            Field::Destination { v6 } => {
                Expr::Payload { to, header: Header::Network, offset: if v6 { 24 } else { 16 }, length }
            }
            Field::Protocol => meta(NFT_META_L4PROTO),
            Field::SourcePort => Expr::Payload { to, header: Header::Transport, offset: 0, length },
            Field::DestinationPort => Expr::Payload { to, header: Header::Transport, offset: 2, length },
            Field::Incoming => meta(NFT_META_IIFNAME),
            Field::Outgoing => meta(NFT_META_OIFNAME),
            Field::Mark => meta(NFT_META_MARK),
        }
    }
}

impl Rule {
    /// A rule that does nothing yet.
    pub fn new(family: Family, table: &str, chain: &str) -> Rule {
        let (table, chain) = (table.to_owned(), chain.to_owned());
        Rule { family, table, chain, handle: 0, expressions: Vec::new(), comment: None }
    }

    /// A rule of this chain that does nothing yet.
    pub fn in_chain(chain: &Chain) -> Rule {
        Rule::new(chain.family, &chain.table, &chain.name)
    }

    /// Any expression.
    #[must_use]
    pub fn push(mut self, expression: Expr) -> Rule {
        self.expressions.push(expression);
        self
    }

    /// `comment "words"`.
    #[must_use]
    pub fn comment(self, words: &str) -> Rule {
        Rule { comment: Some(words.to_owned()), ..self }
    }

    fn compare(self, load: Expr, how: Compare, value: Vec<u8>) -> Rule {
        self.push(load).push(Expr::Cmp { from: Register::R1, how, value })
    }

    fn field(self, field: Field, how: Compare, value: Vec<u8>) -> Rule {
        self.compare(field.load(Register::R1), how, value)
    }

    /// `iifname "br0"`: it came in by this link.
    #[must_use]
    pub fn incoming(self, link: &str) -> Rule {
        self.field(Field::Incoming, Compare::Equal, ifname(link).to_vec())
    }

    /// `iifname != "br0"`.
    #[must_use]
    pub fn incoming_not(self, link: &str) -> Rule {
        self.field(Field::Incoming, Compare::NotEqual, ifname(link).to_vec())
    }

    /// `oifname "br0"`: it goes out by this link.
    #[must_use]
    pub fn outgoing(self, link: &str) -> Rule {
        self.field(Field::Outgoing, Compare::Equal, ifname(link).to_vec())
    }

    /// `oifname != "br0"`.
    #[must_use]
    pub fn outgoing_not(self, link: &str) -> Rule {
        self.field(Field::Outgoing, Compare::NotEqual, ifname(link).to_vec())
    }

    /// `meta nfproto ipv6`, or `ipv4`: for tables that see both. Other tables' rules stay as they are.
    #[must_use]
    pub fn version(self, v6: bool) -> Rule {
        if !matches!(self.family, Family::INET | Family::BRIDGE | Family::NETDEV) {
            return self;
        }
        // A bridge and a link tell IP from the rest by Ethernet's type, which `meta nfproto` is made from there.
        let load = Expr::Meta { to: Register::R1, key: NFT_META_NFPROTO as u32 };
        let family = if v6 { Family::IPV6 } else { Family::IPV4 };
        self.compare(load, Compare::Equal, vec![family.0])
    }

    /// `ip saddr 10.0.0.0/24`.
    #[must_use]
    pub fn from(self, network: IpAddr, prefix: u8) -> Rule {
        self.address(Field::Source { v6: network.is_ipv6() }, Compare::Equal, network, prefix)
    }

    /// `ip saddr != 10.0.0.0/24`.
    #[must_use]
    pub fn from_not(self, network: IpAddr, prefix: u8) -> Rule {
        self.address(Field::Source { v6: network.is_ipv6() }, Compare::NotEqual, network, prefix)
    }

    /// `ip daddr 10.0.0.0/24`.
    #[must_use]
    pub fn to(self, network: IpAddr, prefix: u8) -> Rule {
        self.address(Field::Destination { v6: network.is_ipv6() }, Compare::Equal, network, prefix)
    }

    /// `ip daddr != 10.0.0.0/24`.
    #[must_use]
    pub fn to_not(self, network: IpAddr, prefix: u8) -> Rule {
        self.address(Field::Destination { v6: network.is_ipv6() }, Compare::NotEqual, network, prefix)
    }

    fn address(self, field: Field, how: Compare, network: IpAddr, prefix: u8) -> Rule {
        let mut value = match network {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let rule = self.version(network.is_ipv6());
        let bits = usize::from(prefix).min(value.len() * 8);
        let mask: Vec<u8> = (0..value.len())
            .map(|n| !(0xff_u8.checked_shr((bits.saturating_sub(n * 8)) as u32).unwrap_or(0)))
            .collect();
        for (byte, mask) in value.iter_mut().zip(&mask) {
            *byte &= mask;
        }
        if bits == 0 {
            return rule;
        }
        let mut load = field.load(Register::R1);
        if bits % 8 == 0 {
            // So many bytes, and no mask.
            value.truncate(bits / 8);
            if let Expr::Payload { length, .. } = &mut load {
                *length = (bits / 8) as u32;
            }
            return rule.compare(load, how, value);
        }
        let xor = vec![0; value.len()];
        rule.push(load).push(Expr::Bitwise { from: Register::R1, to: Register::R1, mask, xor }).push(Expr::Cmp {
            from: Register::R1,
            how,
            value,
        })
    }

    /// `meta l4proto tcp`, by number: `libc::IPPROTO_TCP`.
    #[must_use]
    pub fn protocol(self, number: u8) -> Rule {
        self.field(Field::Protocol, Compare::Equal, vec![number])
    }

    /// `th sport 80`. Say [`Rule::protocol`] first: what has no ports has other things there.
    #[must_use]
    pub fn source_port(self, port: u16) -> Rule {
        self.field(Field::SourcePort, Compare::Equal, port.to_be_bytes().to_vec())
    }

    /// `th dport 80`. Say [`Rule::protocol`] first.
    #[must_use]
    pub fn port(self, port: u16) -> Rule {
        self.field(Field::DestinationPort, Compare::Equal, port.to_be_bytes().to_vec())
    }

    /// `ct state established,related`: any of these bits, [`Rule::NEW`] and its like.
    #[must_use]
    pub fn state(self, bits: u32) -> Rule {
        self.any_bit(Expr::Ct { to: Register::R1, key: NFT_CT_STATE as u32, direction: None }, bits)
    }

    /// The connection cannot be made sense of.
    pub const INVALID: u32 = 1;
    /// The connection has seen an answer.
    pub const ESTABLISHED: u32 = 2;
    /// The connection belongs to another one.
    pub const RELATED: u32 = 4;
    /// The connection begins with this packet.
    pub const NEW: u32 = 8;
    /// The packet belongs to no connection on purpose.
    pub const UNTRACKED: u32 = 64;

    /// `ct status dnat`: any of these bits, `IPS_*` in nf_conntrack_common.h: 16 the source was changed, 32 the
    /// destination was.
    #[must_use]
    pub fn status(self, bits: u32) -> Rule {
        self.any_bit(Expr::Ct { to: Register::R1, key: NFT_CT_STATUS as u32, direction: None }, bits)
    }

    fn any_bit(self, load: Expr, bits: u32) -> Rule {
        let (from, to) = (Register::R1, Register::R1);
        self.push(load)
            .push(Expr::Bitwise { from, to, mask: bits.to_ne_bytes().to_vec(), xor: vec![0; 4] })
            .push(Expr::Cmp { from, how: Compare::NotEqual, value: vec![0; 4] })
    }

    /// `meta mark and 0xff == 0x7`.
    #[must_use]
    pub fn mark(self, value: u32, mask: u32) -> Rule {
        let rule = self.push(Field::Mark.load(Register::R1));
        let (from, to) = (Register::R1, Register::R1);
        let rule = match mask {
            u32::MAX => rule,
            _ => rule.push(Expr::Bitwise { from, to, mask: mask.to_ne_bytes().to_vec(), xor: vec![0; 4] }),
        };
        rule.push(Expr::Cmp { from, how: Compare::Equal, value: value.to_ne_bytes().to_vec() })
    }

    /// `meta mark set 0x5`.
    #[must_use]
    pub fn set_mark(self, value: u32) -> Rule {
        self.push(Expr::Immediate { to: Register::R1, value: value.to_ne_bytes().to_vec() })
            .push(Expr::SetMeta { from: Register::R1, key: NFT_META_MARK as u32 })
    }

    /// `fib daddr type local`: its destination is one of this host's own addresses.
    #[must_use]
    pub fn to_this_host(self) -> Rule {
        let load = Expr::Fib { to: Register::R1, result: ADDRESS_TYPE, flags: OF_DESTINATION };
        self.compare(load, Compare::Equal, u32::from(libc::RTN_LOCAL).to_ne_bytes().to_vec())
    }

    /// `ip daddr . meta l4proto . th dport @set`: what these fields say, one behind the other, is in the set.
    #[must_use]
    pub fn in_set(self, fields: &[Field], set: &str) -> Rule {
        self.look_up(fields, set, None, false)
    }

    /// `ip daddr != @set`.
    #[must_use]
    pub fn not_in_set(self, fields: &[Field], set: &str) -> Rule {
        self.look_up(fields, set, None, true)
    }

    /// `iifname vmap @map`: what the map says becomes of the packet; the rule ends where it says nothing.
    #[must_use]
    pub fn verdict_map(self, fields: &[Field], map: &str) -> Rule {
        self.look_up(fields, map, Some(Register::VERDICT), false)
    }

    /// `dnat ip to meta l4proto . th dport map @map`: a new destination, address and port, from a map whose values are
    /// those two ([`super::Type::IPV4`] or `IPV6`, and [`super::Type::SERVICE`]); the rule ends where it has none.
    #[must_use]
    pub fn dnat_map(self, v6: bool, fields: &[Field], map: &str) -> Rule {
        let port = Register::R1.after(if v6 { 16 } else { 4 });
        self.look_up(fields, map, Some(Register::R1), false).push(Expr::Nat(Nat::destination(
            v6,
            Register::R1,
            Some(port),
        )))
    }

    fn look_up(self, fields: &[Field], set: &str, to: Option<Register>, inverted: bool) -> Rule {
        let mut rule = self;
        let mut register = Register::R1;
        for field in fields {
            rule = match field {
                Field::Source { v6 } | Field::Destination { v6 } => rule.version(*v6),
                _ => rule,
            };
        }
        for field in fields {
            rule = rule.push(field.load(register));
            register = register.after(field.length());
        }
        rule.push(Expr::Lookup { from: Register::R1, to, set: set.to_owned(), id: None, inverted })
    }

    /// `dnat ip to 10.0.0.2:80`: a new destination. In a chain of the kind `nat` at prerouting or output.
    #[must_use]
    pub fn dnat(self, to: SocketAddr) -> Rule {
        let port = Expr::Immediate { to: Register::R2, value: to.port().to_be_bytes().to_vec() };
        let nat = Nat::destination(to.is_ipv6(), Register::R1, Some(Register::R2));
        self.push(immediate(to.ip())).push(port).push(Expr::Nat(nat))
    }

    /// `snat ip to 10.0.0.1`: a new source. In a chain of the kind `nat` at postrouting or input.
    #[must_use]
    pub fn snat(self, to: IpAddr) -> Rule {
        self.push(immediate(to)).push(Expr::Nat(Nat::source(to.is_ipv6(), Register::R1)))
    }

    /// `masquerade`: the address of the link that it leaves by as its new source. `flags` as in [`Expr::Masquerade`].
    #[must_use]
    pub fn masquerade(self, flags: u32) -> Rule {
        self.push(Expr::Masquerade { flags, port: None })
    }

    /// `counter`.
    #[must_use]
    pub fn counter(self) -> Rule {
        self.push(Expr::Counter { packets: 0, bytes: 0 })
    }

    /// `accept`.
    #[must_use]
    pub fn accept(self) -> Rule {
        self.push(Expr::Verdict(Verdict::Accept))
    }

    /// `drop`.
    #[must_use]
    pub fn drop(self) -> Rule {
        self.push(Expr::Verdict(Verdict::Drop))
    }

    /// `return`.
    #[must_use]
    pub fn end(self) -> Rule {
        self.push(Expr::Verdict(Verdict::Return))
    }

    /// `jump sub`.
    #[must_use]
    pub fn jump(self, chain: &str) -> Rule {
        self.push(Expr::Verdict(Verdict::Jump(chain.to_owned())))
    }

    /// `goto sub`.
    #[must_use]
    pub fn goto(self, chain: &str) -> Rule {
        self.push(Expr::Verdict(Verdict::Goto(chain.to_owned())))
    }

    /// `tcp flags syn tcp option maxseg size set rt mtu`: connections of TCP agree on segments that fit the route's MTU.
    #[must_use]
    pub fn clamp_mss(self) -> Rule {
        let (from, to) = (Register::R1, Register::R1);
        let flags = Expr::Payload { to, header: Header::Transport, offset: 13, length: 1 };
        self.protocol(libc::IPPROTO_TCP as u8)
            .push(flags)
            .push(Expr::Bitwise { from, to, mask: vec![2], xor: vec![0] })
            .push(Expr::Cmp { from, how: Compare::NotEqual, value: vec![0] })
            .push(Expr::Rt { to, key: 3 })
            .push(Expr::Byteorder { from, to, op: 1, length: 2, size: 2 })
            .push(Expr::SetTcpOption { from, option: 2, offset: 2, length: 2 })
    }
}

fn immediate(address: IpAddr) -> Expr {
    let value = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    Expr::Immediate { to: Register::R1, value }
}

/// A rule of a dump.
pub(super) fn read(message: &Reply) -> io::Result<Rule> {
    let found = Found::of(message.attributes(NFGENMSG))?;
    let list = found.get(NFTA_RULE_EXPRESSIONS);
    let items = list.iter().flat_map(wire::Attribute::nested);
    Ok(Rule {
        family: family_of(message)?,
        table: found.text(NFTA_RULE_TABLE).ok_or_else(wire::malformed)?,
        chain: found.text(NFTA_RULE_CHAIN).ok_or_else(wire::malformed)?,
        handle: found.be64(NFTA_RULE_HANDLE)?.unwrap_or(0),
        expressions: items.map(|item| Expr::read(&item?)).collect::<io::Result<_>>()?,
        comment: comment(found.get(NFTA_RULE_USERDATA), COMMENT),
    })
}
