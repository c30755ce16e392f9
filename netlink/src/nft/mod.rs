//! nf_tables, the kernel's packet filter (include/uapi/linux/netfilter/nf_tables.h).
//!
//! It is a tenant of nfnetlink: a message's type is the subsystem in the high byte and the message in the low one, an
//! `nfgenmsg` follows the header, and integers in attributes are big-endian. All of it, reading too, needs CAP_NET_ADMIN
//! over the network namespace's owner.
//!
//! Tables hold chains, sets and maps; chains hold rules; a rule is a list of [`Expr`]. Changes go in a [`Batch`], which is
//! done whole or not at all. [`ruleset`] reads everything that there is, foreign tables too, as of one generation.
//!
//! ```no_run
//! use netlink::nft::{Batch, Chain, Family, Hook, Rule, Table};
//! use netlink::{NETLINK_NETFILTER, Socket};
//!
//! // nft add table inet web
//! // nft add chain inet web leave { type nat hook postrouting priority 100; }
//! // nft add rule inet web leave ip saddr 10.0.0.0/24 oifname != "br0" masquerade
//! let leave = Chain::new(Family::INET, "web", "leave").at(Hook::POSTROUTING, "nat", 100);
//! let mut batch = Batch::new();
//! batch.add_table(&Table::new(Family::INET, "web")).add_chain(&leave).add_rule(
//!     &Rule::in_chain(&leave).from([10, 0, 0, 0].into(), 24).outgoing_not("br0").masquerade(0).comment("to the world"),
//! );
//! batch.send(&mut Socket::open(NETLINK_NETFILTER)?)?;
//! # std::io::Result::Ok(())
//! ```

mod batch;
mod expr;
mod numbers;
mod rule;
mod set;

use std::io;

use libc::{
    AF_UNSPEC, NFNL_SUBSYS_NFTABLES, NFT_MSG_GETCHAIN, NFT_MSG_GETGEN, NFT_MSG_GETRULE, NFT_MSG_GETSET,
    NFT_MSG_GETSETELEM, NFT_MSG_GETTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWGEN, NFT_MSG_NEWRULE, NFT_MSG_NEWSET,
    NFT_MSG_NEWSETELEM, NFT_MSG_NEWTABLE,
};

pub use batch::Batch;
pub use expr::{Compare, Data, Expr, Header, Nat, Register, Verdict};
pub use rule::{Field, Rule};
pub use set::{Element, Set, Type, concat, ifname};

use crate::socket::Socket;
use crate::wire::{self, Attribute, Message, Reply};
use expr::Found;
#[allow(clippy::wildcard_imports, reason = "the kernel's own names, in a file that has nothing else")]
use numbers::*;

/// `sizeof(struct nfgenmsg)`.
const NFGENMSG: usize = 4;

/// How often the ruleset is read before we give up, when it changes all the while.
const ATTEMPTS: u32 = 10;

/// The userdata of `nft`: a kind, a length, bytes. These are the kinds for a comment.
const COMMENT: u8 = 0;
const SET_COMMENT: u8 = 7;

/// Which packets a table sees: `NFPROTO_*`, include/uapi/linux/netfilter.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Family(pub u8);

impl Family {
    /// IPv4 and IPv6, Linux 3.14; with NAT since Linux 5.2.
    pub const INET: Family = Family(libc::NFPROTO_INET as u8);
    /// IPv4.
    pub const IPV4: Family = Family(libc::NFPROTO_IPV4 as u8);
    /// IPv6.
    pub const IPV6: Family = Family(libc::NFPROTO_IPV6 as u8);
    /// ARP.
    pub const ARP: Family = Family(libc::NFPROTO_ARP as u8);
    /// What a bridge passes on.
    pub const BRIDGE: Family = Family(libc::NFPROTO_BRIDGE as u8);
    /// One link's packets, before everything else.
    pub const NETDEV: Family = Family(libc::NFPROTO_NETDEV as u8);

    /// `nft`'s word for it.
    pub fn name(self) -> &'static str {
        match self {
            Family::INET => "inet",
            Family::IPV4 => "ip",
            Family::IPV6 => "ip6",
            Family::ARP => "arp",
            Family::BRIDGE => "bridge",
            Family::NETDEV => "netdev",
            _ => "unknown",
        }
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Which packets it sees.
    pub family: Family,
    /// Its name, among those of its family.
    pub name: String,
    /// `NFT_TABLE_F_*`: 1 dormant (its chains see nothing), 2 owned by a process.
    pub flags: u32,
    /// The port of the socket that owns it: only that one can change it, and it goes with it. Read, and not written.
    pub owner: Option<u32>,
    /// How many chains, sets and maps are in it. Read, and not written.
    pub uses: u32,
    /// Its number. Read, and not written.
    pub handle: u64,
    /// Words for people, at most 128 bytes, Linux 5.10.
    pub comment: Option<String>,
}

impl Table {
    /// A table of this name.
    pub fn new(family: Family, name: &str) -> Table {
        Table { family, name: name.to_owned(), flags: 0, owner: None, uses: 0, handle: 0, comment: None }
    }
}

/// Where a base chain stands on a packet's way, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// `NF_INET_*`, as in this type's constants; for `netdev` and `arp` the numbers mean other places.
    pub number: u32,
    /// The smaller is asked first. The kernel's own: -400 defragmentation, -300 raw, -200 connections are looked up, -150
    /// mangle, -100 destinations change, 0 filter, 100 sources change, `i32::MAX` connections are confirmed.
    pub priority: i32,
    /// The links of a `netdev` chain, by name.
    pub links: Vec<String>,
}

impl Hook {
    /// Every packet that comes in, before it is routed.
    pub const PREROUTING: u32 = libc::NF_INET_PRE_ROUTING as u32;
    /// Packets for this host.
    pub const INPUT: u32 = libc::NF_INET_LOCAL_IN as u32;
    /// Packets that pass through.
    pub const FORWARD: u32 = libc::NF_INET_FORWARD as u32;
    /// Packets of this host.
    pub const OUTPUT: u32 = libc::NF_INET_LOCAL_OUT as u32;
    /// Every packet that goes out, after it was routed.
    pub const POSTROUTING: u32 = libc::NF_INET_POST_ROUTING as u32;

    /// `nft`'s word for it, in the families of IP.
    pub fn name(&self) -> &'static str {
        match self.number {
            Hook::PREROUTING => "prerouting",
            Hook::INPUT => "input",
            Hook::FORWARD => "forward",
            Hook::OUTPUT => "output",
            Hook::POSTROUTING => "postrouting",
            _ => "ingress",
        }
    }
}

/// A chain: a base chain, which packets come to by themselves, or one that is jumped to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its table's family.
    pub family: Family,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Where it stands; none for one that is jumped to.
    pub hook: Option<Hook>,
    /// `filter`, `nat` or `route`; none for one that is jumped to.
    pub kind: Option<String>,
    /// What becomes of a packet at the end of a base chain: `Some(true)` drops it. Accepting is the kernel's choice.
    pub drops: Option<bool>,
    /// How many rules it has, and how often it is jumped to. Read, and not written.
    pub uses: u32,
    /// Its number. Read, and not written.
    pub handle: u64,
    /// Words for people, at most 128 bytes, Linux 5.10.
    pub comment: Option<String>,
}

impl Chain {
    /// A chain that is jumped to.
    pub fn new(family: Family, table: &str, name: &str) -> Chain {
        let (table, name) = (table.to_owned(), name.to_owned());
        Chain { family, table, name, hook: None, kind: None, drops: None, uses: 0, handle: 0, comment: None }
    }

    /// The same as a base chain of this kind.
    #[must_use]
    pub fn at(self, hook: u32, kind: &str, priority: i32) -> Chain {
        let hook = Some(Hook { number: hook, priority, links: Vec::new() });
        Chain { hook, kind: Some(kind.to_owned()), ..self }
    }
}

/// Everything that there is, as of one generation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The generation: [`Batch::at`] does something only if nobody has changed anything since.
    pub generation: u32,
    /// The tables, of every family.
    pub tables: Vec<Table>,
    /// Their chains.
    pub chains: Vec<Chain>,
    /// Their rules, each chain's in the order in which they are asked.
    pub rules: Vec<Rule>,
    /// Their sets and maps, with what is in them.
    pub sets: Vec<Set>,
}

impl Ruleset {
    /// The rules of a chain, in the order in which they are asked.
    pub fn rules_of<'a>(&'a self, chain: &'a Chain) -> impl Iterator<Item = &'a Rule> {
        let same =
            move |rule: &&Rule| rule.family == chain.family && rule.table == chain.table && rule.chain == chain.name;
        self.rules.iter().filter(same)
    }

    /// The base chains that a packet of this family meets at this hook, those of `inet` among them, in the order in which
    /// they are asked.
    pub fn at_hook(&self, family: Family, hook: u32) -> Vec<&Chain> {
        let inet = |other| other == Family::INET && matches!(family, Family::IPV4 | Family::IPV6);
        let awake = |chain: &Chain| {
            let mut tables = self.tables.iter().filter(|t| t.family == chain.family && t.name == chain.table);
            tables.all(|table| table.flags & 1 == 0)
        };
        let here = |chain: &&Chain| {
            let hooked = chain.hook.as_ref().is_some_and(|found| found.number == hook);
            hooked && (chain.family == family || inet(chain.family)) && awake(chain)
        };
        let mut chains: Vec<&Chain> = self.chains.iter().filter(here).collect();
        chains.sort_by_key(|chain| chain.hook.as_ref().map(|hook| hook.priority));
        chains
    }

    /// The set or map of this name.
    pub fn set(&self, family: Family, table: &str, name: &str) -> Option<&Set> {
        self.sets.iter().find(|set| set.family == family && set.table == table && set.name == name)
    }
}

/// The generation of the rule set, which grows with every change: what `nft list ruleset` asks first, and the smallest
/// question that only nf_tables answers. `socket` is one of `NETLINK_NETFILTER`.
///
/// A kernel without nf_tables says EINVAL, one without nfnetlink has already refused the socket with EPROTONOSUPPORT.
/// EPERM says nothing about nf_tables: nfnetlink looks at our capability before it looks for the tenant.
pub fn generation(socket: &mut Socket) -> io::Result<u32> {
    read_generation(&socket.get(question(NFT_MSG_GETGEN, Family(AF_UNSPEC as u8)))?)
}

fn read_generation(answer: &[u8]) -> io::Result<u32> {
    let read = |message: &Reply| Found::of(message.attributes(NFGENMSG))?.be32(NFTA_GEN_ID);
    let all = every(answer, NFT_MSG_NEWGEN, |message| read(message)?.ok_or_else(wire::malformed))?;
    all.first().copied().ok_or_else(wire::malformed)
}

/// `nft list ruleset`, but for what this crate does not read (objects, flow tables): everything of every family, as of one
/// generation. `ResourceBusy` when it changed ten times while it was read.
pub fn ruleset(socket: &mut Socket) -> io::Result<Ruleset> {
    for _ in 0..ATTEMPTS {
        let generation = generation(socket)?;
        let (tables, chains, rules) = (tables(socket)?, chains(socket)?, rules(socket)?);
        let mut sets = sets(socket)?;
        let filled = sets.iter_mut().try_for_each(|set| {
            set.elements = elements(socket, set.family, &set.table, &set.name)?;
            Ok(())
        });
        match filled {
            // A set that is gone by now is a change too.
            Err(error) if crate::errno(&error) != Some(libc::ENOENT) => return Err(error),
            _ if self::generation(socket)? != generation => {}
            other => return other.map(|()| Ruleset { generation, tables, chains, rules, sets }),
        }
    }
    let words = format!("the nf_tables ruleset was read {ATTEMPTS} times and changed each time");
    Err(io::Error::new(io::ErrorKind::ResourceBusy, words))
}

/// `nft list tables`: the tables of every family.
pub fn tables(socket: &mut Socket) -> io::Result<Vec<Table>> {
    every(&socket.dump(question(NFT_MSG_GETTABLE, Family(0)))?, NFT_MSG_NEWTABLE, read_table)
}

/// `nft list table inet web`, without what is in it: how much that is, [`Table::uses`] tells. ENOENT when there is no such
/// table, EINVAL when the kernel has no nf_tables.
pub fn table(socket: &mut Socket, family: Family, name: &str) -> io::Result<Table> {
    let mut question = question(NFT_MSG_GETTABLE, family);
    question.name(NFTA_TABLE_NAME, name);
    every(&socket.get(question)?, NFT_MSG_NEWTABLE, read_table)?.into_iter().next().ok_or_else(wire::malformed)
}

/// `nft list chains`: the chains of every table.
pub fn chains(socket: &mut Socket) -> io::Result<Vec<Chain>> {
    every(&socket.dump(question(NFT_MSG_GETCHAIN, Family(0)))?, NFT_MSG_NEWCHAIN, read_chain)
}

/// The rules of every table, in the order of their chains.
pub fn rules(socket: &mut Socket) -> io::Result<Vec<Rule>> {
    every(&socket.dump(question(NFT_MSG_GETRULE, Family(0)))?, NFT_MSG_NEWRULE, rule::read)
}

/// `nft list sets` and `nft list maps`: those of every table, anonymous ones too, without what is in them.
pub fn sets(socket: &mut Socket) -> io::Result<Vec<Set>> {
    every(&socket.dump(question(NFT_MSG_GETSET, Family(0)))?, NFT_MSG_NEWSET, set::read)
}

/// `nft list set inet web ports`: what is in a set or a map. ENOENT when there is no such set.
pub fn elements(socket: &mut Socket, family: Family, table: &str, set: &str) -> io::Result<Vec<Element>> {
    let mut question = question(NFT_MSG_GETSETELEM, family);
    question.name(NFTA_SET_ELEM_LIST_TABLE, table).name(NFTA_SET_ELEM_LIST_SET, set);
    let parts = every(&socket.dump(question)?, NFT_MSG_NEWSETELEM, set::read_elements)?;
    Ok(parts.into_iter().flatten().collect())
}

/// Every message of one kind, read.
fn every<T>(answer: &[u8], wanted: libc::c_int, read: impl Fn(&Reply) -> io::Result<T>) -> io::Result<Vec<T>> {
    let all = wire::messages(answer).filter_map(|message| match message {
        Ok(message) if message.kind != kind(wanted) => None,
        Ok(message) => Some(read(&message)),
        Err(error) => Some(Err(error)),
    });
    all.collect()
}

fn family_of(message: &Reply) -> io::Result<Family> {
    message.payload().first().map(|&family| Family(family)).ok_or_else(wire::malformed)
}

fn read_table(message: &Reply) -> io::Result<Table> {
    let found = Found::of(message.attributes(NFGENMSG))?;
    Ok(Table {
        family: family_of(message)?,
        name: found.text(NFTA_TABLE_NAME).ok_or_else(wire::malformed)?,
        flags: found.be32(NFTA_TABLE_FLAGS)?.unwrap_or(0),
        owner: found.be32(NFTA_TABLE_OWNER)?,
        uses: found.be32(NFTA_TABLE_USE)?.unwrap_or(0),
        handle: found.be64(NFTA_TABLE_HANDLE)?.unwrap_or(0),
        comment: comment(found.get(NFTA_TABLE_USERDATA), COMMENT),
    })
}

fn read_chain(message: &Reply) -> io::Result<Chain> {
    let found = Found::of(message.attributes(NFGENMSG))?;
    Ok(Chain {
        family: family_of(message)?,
        table: found.text(NFTA_CHAIN_TABLE).ok_or_else(wire::malformed)?,
        name: found.text(NFTA_CHAIN_NAME).ok_or_else(wire::malformed)?,
        hook: found.get(NFTA_CHAIN_HOOK).map(|hook| read_hook(&hook)).transpose()?,
        kind: found.text(NFTA_CHAIN_TYPE),
        drops: found.be32(NFTA_CHAIN_POLICY)?.map(|policy| policy == 0),
        uses: found.be32(NFTA_CHAIN_USE)?.unwrap_or(0),
        handle: found.be64(NFTA_CHAIN_HANDLE)?.unwrap_or(0),
        comment: comment(found.get(NFTA_CHAIN_USERDATA), COMMENT),
    })
}

fn read_hook(hook: &Attribute) -> io::Result<Hook> {
    let found = Found::in_nest(hook)?;
    let mut links: Vec<String> = found.text(NFTA_HOOK_DEV).into_iter().collect();
    for link in found.get(NFTA_HOOK_DEVS).iter().flat_map(Attribute::nested) {
        let link = link?.text();
        if !links.contains(&link) {
            links.push(link);
        }
    }
    Ok(Hook {
        number: found.be32(NFTA_HOOK_HOOKNUM)?.ok_or_else(wire::malformed)?,
        priority: found.be32(NFTA_HOOK_PRIORITY)?.ok_or_else(wire::malformed)? as i32,
        links,
    })
}

/// The comment in `nft`'s userdata, which is of this kind. Anything may be in there: what cannot be read says nothing.
fn comment(userdata: Option<Attribute>, wanted: u8) -> Option<String> {
    let mut bytes = userdata?.payload;
    while let Some((&[kind, length], rest)) = bytes.split_first_chunk() {
        let value = rest.get(..usize::from(length))?;
        if kind == wanted {
            return Some(String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned());
        }
        bytes = rest.get(usize::from(length)..)?;
    }
    None
}

/// The comment as `nft` writes it, NUL-terminated, so that `nft list ruleset` shows it.
fn userdata(kind: u8, comment: &str, m: &mut Message) -> Vec<u8> {
    match u8::try_from(comment.len() + 1) {
        // What nft and the kernel take: NFTNL_UDATA_COMMENT_MAXLEN is 128.
        Ok(length) if length <= 129 && !comment.contains('\0') => {
            [&[kind, length], comment.as_bytes(), &[0]].concat()
        }
        _ => {
            m.fault("a comment in nf_tables has more than 128 bytes, or a NUL inside");
            Vec::new()
        }
    }
}

fn question(message: libc::c_int, family: Family) -> Message {
    let mut question = Message::new(kind(message), 0);
    question.nfgen(family.0, 0);
    question
}

fn kind(message: libc::c_int) -> u16 {
    (NFNL_SUBSYS_NFTABLES << 8 | message) as u16
}

#[cfg(test)]
mod tests;
