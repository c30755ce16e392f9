//! Our nf_tables table, and nothing of anybody else's.
//!
//! Published ports are elements of maps: a packet is looked up once, however many ports there are. The rest are a few rules for each
//! network. The whole table is built in one transaction from the networks' records and the leased ports ([`build`]), so it can be built
//! again at any time, after `nft flush ruleset` say, and no packet ever sees half of it.
//!
//! What belongs where, and why:
//! - `guard` (before everything): what is published for this host's own loopback addresses is for nobody else, even where another
//!   program has switched `route_localnet` on (moby #41872).
//! - `prerouting`, `output`: what comes for one of this host's addresses (`fib daddr type local`) goes on to the container.
//! - `forward`: into our networks comes what was published or asked for from inside, and nothing else, whatever routes others have
//!   (moby #45610); between networks nothing.
//! - `postrouting`: what leaves a network gets this host's address; and what a container sends to its own published port comes back
//!   from the gateway, for an answer must pass here again.
//!
//! An `accept` of ours is no accept of others' chains: what a foreign chain drops stays dropped. We never touch those; [`foreign`]
//! finds them.

use std::io;
use std::net::IpAddr;

use netlink::nft::{self, Batch, Chain, Data, Element, Family, Field, Hook, Rule, Set, Table, Type, concat, ifname};
use netlink::{NETLINK_NETFILTER, Socket};

use super::ports::Published;
use super::{Driver, Network, leases, table};
use crate::error::{Doing, Error, Result};

/// `IPS_DST_NAT`: the destination was changed.
const DNAT: u32 = 32;

/// The chains, in the order in which packets meet them.
pub const CHAINS: [&str; 5] = ["guard", "prerouting", "output", "forward", "postrouting"];

/// Sets and maps.
const SETS: u32 = 8;

/// A socket to nf_tables, or none where this kernel has none.
pub fn open() -> Result<Option<Socket>> {
    let doing = "speak to nf_tables";
    let mut socket = match Socket::open(NETLINK_NETFILTER) {
        Err(e) if e.raw_os_error() == Some(libc::EPROTONOSUPPORT) => return Ok(None),
        opened => opened.doing(doing, "NETLINK_NETFILTER")?,
    };
    match nft::table(&mut socket, Family::INET, &table()) {
        Err(e) if netlink::errno(&e) == Some(libc::EINVAL) => Ok(None),
        Err(e) if netlink::errno(&e) == Some(libc::ENOENT) => Ok(Some(socket)),
        Err(e) => Err(e).doing(doing, "NFT_MSG_GETTABLE"),
        Ok(_) => Ok(Some(socket)),
    }
}

/// A socket to nf_tables, with our table there; none where this kernel has none.
pub fn ensure() -> Result<Option<Socket>> {
    let doing = "speak to nf_tables";
    let mut socket = match Socket::open(NETLINK_NETFILTER) {
        Err(e) if e.raw_os_error() == Some(libc::EPROTONOSUPPORT) => return Ok(None),
        opened => opened.doing(doing, "NETLINK_NETFILTER")?,
    };
    match is_whole(&mut socket) {
        Ok(true) => return Ok(Some(socket)),
        Ok(false) => {}
        Err(e) if netlink::errno(&e) == Some(libc::EINVAL) => return Ok(None),
        Err(e) => return Err(e).doing(doing, "NFT_MSG_GETTABLE"),
    }
    let _lock = super::lock()?;
    if !is_whole(&mut socket).doing(doing, "NFT_MSG_GETTABLE")? {
        match rebuild(&mut socket) {
            // The family has come in with a module that lacks what we need (NAT of `inet`, Linux 5.2).
            Err(e) if matches!(netlink::errno(&e.cause), Some(libc::EOPNOTSUPP | libc::ENOENT)) => {
                return Err(e.hint(Some("modprobe nf_tables nft_chain_nat nft_fib_inet nft_masq")));
            }
            built => built?,
        }
    }
    Ok(Some(socket))
}

/// Whether the table is there, with all its chains, sets and maps. One question; whether somebody has taken rules out of it is for
/// `ctr doctor` to find.
fn is_whole(socket: &mut Socket) -> io::Result<bool> {
    match nft::table(socket, Family::INET, &table()) {
        Err(e) if netlink::errno(&e) == Some(libc::ENOENT) => Ok(false),
        found => Ok(found?.uses == CHAINS.len() as u32 + SETS),
    }
}

/// The table as it should be now that networks have changed, if it is there.
pub fn refresh() -> Result<()> {
    let Some(mut socket) = open()? else { return Ok(()) };
    match nft::table(&mut socket, Family::INET, &table()) {
        Ok(_) => rebuild(&mut socket),
        Err(_) => Ok(()),
    }
}

fn names(v6: bool) -> (&'static str, &'static str) {
    if v6 { ("ports6", "any6") } else { ("ports4", "any4") }
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The map that a port is in, and its element there; none for one that user space serves.
pub fn element_of(port: &Published) -> Option<(&'static str, Element)> {
    if port.at.is_loopback() || port.at.is_ipv6() != port.to.is_ipv6() {
        return None;
    }
    let (protocol, host) = ([port.protocol.number()], port.host.to_be_bytes());
    let (of_one, of_all) = names(port.at.is_ipv6());
    let to = Data::Value(concat(&[&bytes(port.to), &port.inside.to_be_bytes()]));
    Some(if port.at.is_unspecified() {
        (of_all, Element::with(concat(&[&protocol, &host]), to))
    } else {
        (of_one, Element::with(concat(&[&protocol, &bytes(port.at), &host]), to))
    })
}

/// The element of `local`, for a port that this host's own loopback addresses have.
fn local_of(port: &Published) -> Option<Element> {
    (port.at.is_loopback() || port.at.is_unspecified())
        .then(|| Element::new(concat(&[&[port.protocol.number()], &port.host.to_be_bytes()])))
}

/// Elements of each set that these ports are in.
fn elements(ports: &[Published]) -> Vec<(&'static str, Vec<Element>)> {
    let mut all: Vec<(&'static str, Vec<Element>)> =
        ["ports4", "any4", "ports6", "any6", "local"].map(|name| (name, Vec::new())).into();
    for port in ports {
        for (name, element) in element_of(port).into_iter().chain(local_of(port).map(|element| ("local", element))) {
            if let Some((_, list)) = all.iter_mut().find(|(other, _)| *other == name) {
                // 0.0.0.0 and :: are one in there.
                if !list.iter().any(|other| other.key == element.key) {
                    list.push(element);
                }
            }
        }
    }
    all.retain(|(_, list)| !list.is_empty());
    all
}

/// Publishes ports. The table is there.
pub fn publish(socket: &mut Socket, ports: &[Published]) -> io::Result<()> {
    let mut batch = Batch::new();
    for (name, list) in elements(ports) {
        batch.add_elements(Family::INET, &table(), name, &list);
    }
    batch.send(socket)
}

/// Withdraws ports, as far as they are there, and what goes on by them.
pub fn withdraw(socket: &mut Socket, ports: &[Published]) -> io::Result<()> {
    // Each set by itself: what is missing in one (somebody has flushed it) must not keep the others.
    for (name, mut list) in elements(ports) {
        for element in &mut list {
            element.data = None;
        }
        let mut batch = Batch::new();
        batch.delete_elements(Family::INET, &table(), name, &list);
        match batch.send(socket) {
            Err(e) if netlink::errno(&e) == Some(libc::ENOENT) => {
                for element in &list {
                    let mut batch = Batch::new();
                    batch.delete_elements(Family::INET, &table(), name, std::slice::from_ref(element));
                    match batch.send(socket) {
                        Err(e) if netlink::errno(&e) != Some(libc::ENOENT) => return Err(e),
                        _ => {}
                    }
                }
            }
            done => done?,
        }
    }
    Ok(())
}

/// What goes on by these ports ends: a client that sends datagrams from one port would be sent to where nobody is any more, or to
/// whoever had the port before.
pub fn cut(socket: &mut Socket, ports: &[Published]) {
    let udp = |port: &&Published| port.protocol != super::ports::Protocol::Tcp;
    let ports: Vec<&Published> = ports.iter().filter(udp).collect();
    if ports.is_empty() {
        return;
    }
    // Without connection tracking there is nothing to end.
    let _ = netlink::conntrack::delete_where(socket, |flow| {
        let one = &flow.original;
        ports.iter().any(|port| {
            one.protocol == port.protocol.number()
                && one.destination_port == port.host
                && one.destination.is_ipv6() == port.at.is_ipv6()
                && (port.at.is_unspecified() || one.destination == port.at)
        })
    });
}

/// Builds the table anew, from all networks and all leased ports. The caller has the lock.
pub fn rebuild(socket: &mut Socket) -> Result<()> {
    let ports: Vec<Published> = leases::ports().into_iter().map(|(_, port)| port).collect();
    let doing = "build the nf_tables table";
    build(&super::all(), &ports).send(socket).map_err(|e| Error::new(doing, format_args!("inet {}", table()), e))
}

/// Takes the table away. One that is not there is as good.
pub fn remove(socket: &mut Socket) -> Result<()> {
    let mut batch = Batch::new();
    batch.add_table(&Table::new(Family::INET, &table())).delete_table(Family::INET, &table());
    batch.send(socket).doing("take the nf_tables table away", format_args!("inet {}", table()))
}

/// All of it, in one transaction.
fn build(networks: &[Network], ports: &[Published]) -> Batch {
    let name = &table();
    let mut batch = Batch::new();
    let own = Table {
        comment: Some("made by ctr: ctr network reload makes it again".to_owned()),
        ..Table::new(Family::INET, name)
    };
    // Whatever is there: what somebody has added to it goes.
    batch.add_table(&Table::new(Family::INET, name)).delete_table(Family::INET, name).add_table(&own);
    let set = |set: &str, key: &[Type]| Set::new(Family::INET, name, set, key);
    for v6 in [false, true] {
        let (one, all) = names(v6);
        let address = if v6 { Type::IPV6 } else { Type::IPV4 };
        let to = [address, Type::SERVICE];
        batch.add_set(&set(one, &[Type::PROTOCOL, address, Type::SERVICE]).to(&to));
        batch.add_set(&set(all, &[Type::PROTOCOL, Type::SERVICE]).to(&to));
    }
    batch.add_set(&set("local", &[Type::PROTOCOL, Type::SERVICE]));
    batch.add_set(&set("bridges", &[Type::IFNAME])).add_set(&set("internal", &[Type::IFNAME]));
    batch.add_set(&set("same", &[Type::IFNAME, Type::IFNAME]));
    let bridged = || networks.iter().filter(|network| network.driver == Driver::Bridge);
    let links = |internal: Option<bool>| -> Vec<Element> {
        let wanted = bridged().filter(|network| internal.is_none_or(|internal| network.internal == internal));
        wanted.map(|network| Element::new(ifname(&network.link))).collect()
    };
    let pair = |network: &Network| Element::new(concat(&[&ifname(&network.link), &ifname(&network.link)]));
    let same: Vec<Element> = bridged().map(pair).collect();
    for (name_of_set, list) in [("bridges", links(None)), ("internal", links(Some(true))), ("same", same)] {
        if !list.is_empty() {
            batch.add_elements(Family::INET, name, name_of_set, &list);
        }
    }
    for (name_of_set, list) in elements(ports) {
        batch.add_elements(Family::INET, name, name_of_set, &list);
    }

    let chain = |which: &str, hook, kind, priority| Chain::new(Family::INET, name, which).at(hook, kind, priority);
    let guard = chain("guard", Hook::PREROUTING, "filter", -300);
    let arriving = chain("prerouting", Hook::PREROUTING, "nat", -100);
    let own_packets = chain("output", Hook::OUTPUT, "nat", -100);
    let forward = chain("forward", Hook::FORWARD, "filter", 0);
    let leaving = chain("postrouting", Hook::POSTROUTING, "nat", 100);
    for chain in [&guard, &arriving, &own_packets, &forward, &leaving] {
        batch.add_chain(chain);
    }
    let served = [Field::Protocol, Field::DestinationPort];
    for (lo, prefix) in [("127.0.0.0", 8), ("::1", 128)] {
        if let Ok(lo) = lo.parse() {
            batch.add_rule(&Rule::in_chain(&guard).incoming_not("lo").to(lo, prefix).in_set(&served, "local").drop());
        }
    }
    for chain in [&arriving, &own_packets] {
        for v6 in [false, true] {
            let (one, all) = names(v6);
            let address = Field::Destination { v6 };
            let rule = || {
                let rule = Rule::in_chain(chain).version(v6).to_this_host();
                // By loopback it is user space that serves: packets to there cannot leave it.
                match (chain.name.as_str(), if v6 { "::1" } else { "127.0.0.0" }.parse()) {
                    ("output", Ok(lo)) => rule.to_not(lo, if v6 { 128 } else { 8 }),
                    _ => rule,
                }
            };
            batch.add_rule(&rule().dnat_map(v6, &[Field::Protocol, address, Field::DestinationPort], one));
            batch.add_rule(&rule().dnat_map(v6, &served, all));
        }
    }
    let (from, to) = ([Field::Incoming], [Field::Outgoing]);
    let rule = || Rule::in_chain(&forward);
    batch.add_rule(&rule().state(Rule::ESTABLISHED | Rule::RELATED).accept());
    batch.add_rule(&rule().in_set(&[Field::Incoming, Field::Outgoing], "same").accept());
    for way in [&from, &to] {
        batch.add_rule(&rule().in_set(way, "internal").drop().comment("internal networks lead nowhere"));
    }
    batch.add_rule(&rule().in_set(&to, "bridges").status(DNAT).accept().comment("published ports"));
    batch.add_rule(&rule().in_set(&to, "bridges").drop().comment("what is not published is not reachable"));
    batch.add_rule(&rule().in_set(&from, "bridges").accept());
    for network in bridged().filter(|network| !network.internal) {
        for range in network.ranges() {
            let (own, prefix) = (range.subnet.network, range.subnet.prefix);
            let rule = || Rule::in_chain(&leaving).from(own, prefix);
            batch.add_rule(
                &rule().outgoing_not(&network.link).masquerade(0).comment(&format!("{} to others", network.name)),
            );
            let back = rule().to(own, prefix).status(DNAT).masquerade(0);
            batch.add_rule(&back.comment(&format!("{} to its own published ports", network.name)));
        }
    }
    batch
}

/// A chain of somebody else's that may drop what passes through this host: in words, and how it is opened for a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// `inet filter forward`.
    pub chain: String,
    /// The commands that open it for our links.
    pub open: String,
}

/// Base chains of others at the forward hook whose policy is to drop, and which do not let our link through as far as can be told.
pub fn foreign(socket: &mut Socket, link: &str) -> io::Result<Vec<Foreign>> {
    let own = table();
    let chains = nft::chains(socket)?;
    let dropping = chains.iter().filter(|chain| {
        chain.drops == Some(true)
            && chain.hook.as_ref().is_some_and(|hook| hook.number == Hook::FORWARD)
            && matches!(chain.family, Family::INET | Family::IPV4 | Family::IPV6)
            && chain.table != own
    });
    let mut found: Vec<&Chain> = dropping.collect();
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let rules = nft::rules(socket)?;
    let name = ifname(link);
    // A rule that names our link was put there for us.
    found.retain(|chain| {
        let named = |rule: &&Rule| {
            rule.family == chain.family
                && rule.table == chain.table
                && rule.expressions.iter().any(|expression| match expression {
                    nft::Expr::Cmp { value, .. } => value.as_slice() == name,
                    nft::Expr::Xt { info, .. } => {
                        info.windows(link.len() + 1).any(|part| part.strip_prefix(link.as_bytes()) == Some(&[0]))
                    }
                    _ => false,
                })
        };
        !rules.iter().any(|rule| named(&rule))
    });
    let one = |chain: &&Chain| {
        let (family, table, name) = (chain.family.name(), &chain.table, &chain.name);
        let open = opening(chain.family, table, name, link);
        Foreign { chain: format!("{family} {table} {name}"), open }
    };
    Ok(found.iter().map(one).collect())
}

/// The command that opens a chain of somebody else's for a link.
pub fn opening(family: Family, table: &str, chain: &str, link: &str) -> String {
    if chain == "FORWARD" && table == "filter" {
        let tool = if family == Family::IPV6 { "ip6tables" } else { "iptables" };
        return format!("{tool} -I FORWARD -i {link} -j ACCEPT && {tool} -I FORWARD -o {link} -j ACCEPT");
    }
    let rule = format!("nft insert rule {} {table} {chain}", family.name());
    format!("{rule} iifname {link} accept && {rule} oifname {link} accept")
}

#[cfg(test)]
mod tests {
    use super::super::ports::Protocol;
    use super::*;

    #[test]
    fn ports_are_elements_of_the_map_that_their_address_says() {
        let port = |at: &str, to: &str| Published {
            protocol: Protocol::Tcp,
            at: at.parse().unwrap(),
            host: 8080,
            to: to.parse().unwrap(),
            inside: 80,
        };
        let map = |at, to| element_of(&port(at, to)).map(|(name, _)| name);
        assert_eq!(map("0.0.0.0", "10.88.0.2"), Some("any4"));
        assert_eq!(map("192.0.2.1", "10.88.0.2"), Some("ports4"));
        assert_eq!(map("::", "fd00::2"), Some("any6"));
        assert_eq!(map("::", "10.88.0.2"), None);
        assert_eq!(map("127.0.0.1", "10.88.0.2"), None);
        let both = [port("0.0.0.0", "10.88.0.2"), port("::", "fd00::2")];
        let names: Vec<_> = elements(&both).into_iter().map(|(name, list)| (name, list.len())).collect();
        assert_eq!(names, [("any4", 1), ("any6", 1), ("local", 1)]);
    }
}
