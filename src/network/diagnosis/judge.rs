//! What all that was read and tried means, in the order of a packet's way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink::addr::IFA_F_DADFAILED;
use netlink::link::Ipv4Conf;
use netlink::nft::{Family, Hook};
use netlink::route::{RTN_UNICAST, Route};

use super::attempt::Tried;
use super::look::{Listener, Seen, owner};
use super::walk::{Fate, Packet, Translation, walk};
use super::{Fix, Health, Hop, Joined, Subject};
use crate::network::ports::{Protocol, Published};
use crate::network::{firewall, hosts, table};

/// Somewhere outside, for the way of a packet: of the networks that examples are written with (RFC 5737, RFC 3849).
const FAR: (IpAddr, IpAddr) =
    (IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1)));

fn far(v6: bool) -> IpAddr {
    if v6 { FAR.1 } else { FAR.0 }
}

/// All hops.
pub fn judge(subject: &Subject, seen: &Seen, tried: &Tried) -> Vec<Hop> {
    let mut hops = vec![loopback(subject, seen)];
    for joined in &subject.joined {
        let at = hops.len();
        within(subject, joined, seen, &mut hops);
        cable(subject, joined, seen, &mut hops);
        bridge(joined, seen, &mut hops);
        let well = hops.iter().skip(at).all(|hop| hop.health != Health::Bad);
        gateway(joined, tried, well, &mut hops);
    }
    if subject.joined.is_empty() {
        hops.push(Hop::note("container", "networks", "none", "it was made with --network none, host or container:…"));
        return hops;
    }
    host(subject, seen, &mut hops);
    names(subject, seen, tried, &mut hops);
    for port in &subject.ports {
        published(subject, port, seen, tried, &mut hops);
    }
    hops
}

/// A command in the container's network, by whoever is root outside.
fn there(subject: &Subject, line: &str) -> String {
    format!("nsenter -t {} -n {line}", subject.pid)
}

fn loopback(subject: &Subject, seen: &Seen) -> Hop {
    match seen.inside.link("lo") {
        Some(lo) if lo.is_up() => Hop::good("container", "lo", "up"),
        _ => Hop::bad(
            "container",
            "lo",
            "down",
            "its own loopback interface is down: 127.0.0.1 leads nowhere in there",
            there(subject, "ip link set lo up"),
        )
        .fix(Fix::Up { inside: true, link: "lo".into() }),
    }
}

/// What is in the container: the link, its addresses, the way out.
fn within(subject: &Subject, joined: &Joined, seen: &Seen, hops: &mut Vec<Hop>) {
    let (place, name) = ("container", joined.inside.as_str());
    let Some(own) = seen.inside.link(name) else {
        let same = |link: &&netlink::link::Link| joined.mac.is_some() && link.address == joined.mac;
        let hop = if let Some(other) = seen.inside.links.iter().find(same) {
            let cause = format!(
                "its link to {} is there under the wrong name {}: programs look for {name}",
                joined.network, other.name
            );
            let mend = there(
                subject,
                &format!("sh -c 'ip link set dev {0} down name {name} && ip link set {name} up'", other.name),
            );
            Hop::bad(place, name, format!("named {}", other.name), cause, mend)
        } else if let Some(left) = seen.host.links.iter().find(same) {
            let cause = format!("the container's end of the cable is in the host's network, as {}", left.name);
            let mend = format!("ip link set dev {} netns {} name {name}", left.name, subject.pid);
            Hop::bad(place, name, "missing", cause, mend)
        } else {
            let cause = format!("its link to the network {} is gone", joined.network);
            let mend = format!(
                "ctr network disconnect -f {0} {1}; ctr network connect {0} {1}",
                joined.network, subject.name
            );
            Hop::bad(place, name, "missing", cause, mend)
        };
        hops.push(hop);
        return;
    };
    if !own.is_up() {
        let mend = there(subject, &format!("ip link set {name} up"));
        let fix = Fix::Up { inside: true, link: name.to_owned() };
        hops.push(Hop::bad(place, name, "down", "the link is switched off inside", mend).fix(fix));
        return;
    }
    hops.push(Hop::good(place, name, format!("up, mtu {}", own.mtu)));
    for (address, prefix, gateway) in joined.addresses() {
        let (about, route) = if address.is_ipv6() { ("address v6", "route v6") } else { ("address", "route") };
        let all: Vec<_> = seen.inside.addresses.iter().filter(|other| other.index == own.index).collect();
        let mend = there(subject, &format!("ip addr add {address}/{prefix} dev {name}"));
        let fix = |wrong| Fix::Address { inside: true, link: name.to_owned(), address, prefix, wrong };
        match all.iter().find(|other| other.address == address) {
            None => {
                let cause = format!("the address {address}/{prefix} is missing: nobody answers for it");
                hops.push(Hop::bad(place, about, "missing", cause, mend).fix(fix(None)));
                continue;
            }
            Some(found) if found.prefix != prefix => {
                let cause = format!(
                    "the wrong prefix: the network is a /{prefix}, so neighbours or the gateway are looked for in the wrong place"
                );
                let found = found.prefix;
                let mend = there(
                    subject,
                    &format!(
                        "sh -c 'ip addr del {address}/{found} dev {name}; ip addr add {address}/{prefix} dev {name}'"
                    ),
                );
                hops.push(Hop::bad(place, about, format!("{address}/{found}"), cause, mend).fix(fix(Some(found))));
                continue;
            }
            Some(found) if found.flags & IFA_F_DADFAILED != 0 => {
                let cause = "a duplicate address: the kernel found somebody else who has it";
                hops.push(Hop::bad(
                    place,
                    about,
                    address.to_string(),
                    cause,
                    format!("ctr restart {}", subject.name),
                ));
                continue;
            }
            Some(_) => hops.push(Hop::good(place, about, format!("{address}/{prefix}"))),
        }
        let ways = |route: &&Route| route.to.is_none() && route.v6 == address.is_ipv6() && route.kind == RTN_UNICAST;
        let outward = seen.inside.routes.iter().any(|route| ways(&route));
        let first =
            subject.joined.iter().find(|joined| !joined.internal).is_some_and(|first| first.inside == joined.inside);
        if !joined.internal && !outward {
            let mend = there(subject, &format!("ip route add default via {gateway}"));
            let cause = "the default route is missing: only its own network can be reached";
            hops.push(Hop::bad(place, route, "none", cause, mend).fix(Fix::DefaultRoute(gateway)));
        } else if first {
            hops.push(Hop::good(place, route, format!("default via {gateway}")));
        }
    }
}

/// The cable, from its near end.
fn cable(subject: &Subject, joined: &Joined, seen: &Seen, hops: &mut Vec<Hop>) {
    let (place, name) = ("cable", joined.veth.as_str());
    let Some(near) = seen.host.link(name) else {
        let macvlan = seen.inside.link(&joined.inside).is_some_and(|link| link.kind.as_deref() == Some("macvlan"));
        if macvlan {
            hops.push(Hop::good(place, &joined.inside, format!("a macvlan on {}", joined.link)));
        } else if seen.inside.link(&joined.inside).is_some() {
            let cause = "the cable's end on this host is gone (renamed, or moved elsewhere)";
            let mend = format!(
                "ctr network disconnect -f {0} {1}; ctr network connect {0} {1}",
                joined.network, subject.name
            );
            hops.push(Hop::bad(place, name, "missing", cause, mend));
        }
        return;
    };
    let bridge = seen.host.link(&joined.link);
    if !near.is_up() {
        let fix = Fix::Up { inside: false, link: name.to_owned() };
        hops.push(
            Hop::bad(
                place,
                name,
                "down",
                "the cable's end on this host is switched off",
                format!("ip link set {name} up"),
            )
            .fix(fix),
        );
        return;
    }
    if bridge.is_some() && near.master != bridge.map(|bridge| bridge.index) {
        let cause = format!("the cable's end is not in the bridge {}: packets end there", joined.link);
        let fix = Fix::Port { veth: name.to_owned(), bridge: joined.link.clone() };
        let found = near.master.and_then(|master| seen.host.links.iter().find(|link| link.index == master));
        let found = found.map_or("in no bridge".to_owned(), |other| format!("in {}", other.name));
        hops.push(Hop::bad(place, name, found, cause, format!("ip link set {name} master {}", joined.link)).fix(fix));
        return;
    }
    // The smallest on the way says what passes; who sends must not think that more does.
    let far_end = seen.inside.link(&joined.inside).map(|link| link.mtu);
    let smallest = bridge.map_or(near.mtu, |bridge| bridge.mtu.min(near.mtu));
    match far_end {
        Some(mtu) if mtu > smallest => {
            let cause = format!(
                "an MTU black hole: {} sends packets of up to {mtu} bytes, and what is larger than {smallest} is dropped on the way without a word",
                joined.inside
            );
            let fix = Fix::Mtu { inside: true, link: joined.inside.clone(), mtu: smallest };
            let mend = there(subject, &format!("ip link set {} mtu {smallest}", joined.inside));
            hops.push(Hop::bad(place, "mtu", format!("{mtu} inside, {smallest} outside"), cause, mend).fix(fix));
        }
        _ => hops.push(Hop::good(place, name, format!("up, in {}", joined.link))),
    }
}

fn bridge(joined: &Joined, seen: &Seen, hops: &mut Vec<Hop>) {
    let (place, name) = ("bridge", joined.link.as_str());
    let Some(bridge) = seen.host.link(name) else {
        let cause = format!("the bridge of the network {} is gone", joined.network);
        hops.push(Hop::bad(place, name, "missing", cause, "ctr network reload").fix(Fix::Reload));
        return;
    };
    if !bridge.is_up() {
        let fix = Fix::Up { inside: false, link: name.to_owned() };
        hops.push(
            Hop::bad(place, name, "down", "the bridge is switched off", format!("ip link set {name} up")).fix(fix),
        );
        return;
    }
    hops.push(Hop::good(place, name, format!("up, mtu {}", bridge.mtu)));
    if bridge.kind.as_deref() != Some("bridge") {
        return;
    }
    for (address, prefix, gateway) in joined.addresses() {
        let own = |wanted: IpAddr| seen.host.addresses.iter().find(|other| other.address == wanted);
        if own(gateway).is_none_or(|found| found.index != bridge.index) {
            let cause = format!(
                "the gateway's address {gateway} is not on the bridge: what the container sends to others has nowhere to go"
            );
            let fix = Fix::Address { inside: false, link: name.to_owned(), address: gateway, prefix, wrong: None };
            hops.push(
                Hop::bad(place, "gateway", "missing", cause, format!("ip addr add {gateway}/{prefix} dev {name}"))
                    .fix(fix),
            );
        }
        // Who else has the container's address?
        let link_of = |index: u32| {
            seen.host.links.iter().find(|link| link.index == index).map_or("?", |link| link.name.as_str())
        };
        if let Some(other) = own(address) {
            let found = link_of(other.index).to_owned();
            let cause = format!("a duplicate address: this host has {address} too, on {found}");
            hops.push(Hop::bad(
                place,
                "neighbours",
                format!("{address} on {found}"),
                cause,
                format!("ip addr del {address}/{} dev {found}", other.prefix),
            ));
        } else if let Some(other) = seen.host.neighbours.iter().find(|other| {
            other.address == address
                && other.index == bridge.index
                && other.mac.is_some()
                && joined.mac.is_some()
                && other.mac != joined.mac
        }) {
            let mac = other.mac.unwrap_or_default().map(|byte| format!("{byte:02x}")).join(":");
            let cause = format!("a duplicate address: {mac} answers for {address}, and that is not this container");
            hops.push(Hop::bad(
                place,
                "neighbours",
                mac,
                cause,
                "find who has it: bridge fdb show, and give it another address",
            ));
        }
        if let Some((_, Some(way))) = seen.ways.iter().find(|(to, _)| *to == address) {
            let strict = bridge.ipv4.as_ref().and_then(|conf| conf.get(Ipv4Conf::RP_FILTER)) == Some(1);
            if *way != bridge.index && own(address).is_none() {
                let cause = format!(
                    "this host's route to {address} leads to {} and not to the bridge: answers go astray{}",
                    link_of(*way),
                    if strict {
                        ", and rp_filter is strict, so that the container's packets are dropped"
                    } else {
                        ""
                    }
                );
                hops.push(Hop::bad(
                    place,
                    "route",
                    link_of(*way),
                    cause,
                    format!("ip route get {address} shows which; take it away"),
                ));
            }
        }
    }
}

fn gateway(joined: &Joined, tried: &Tried, well: bool, hops: &mut Vec<Hop>) {
    for (_, gateway, small, large) in tried.gateways.iter().filter(|(network, ..)| *network == joined.network) {
        match (small, large) {
            (true, true) => hops.push(Hop::good("bridge", "ping", format!("{gateway} answers"))),
            // What is said already is why.
            _ if !well => {}
            (true, false) => hops.push(Hop::bad(
                "bridge",
                "ping",
                format!("{gateway} answers small packets alone"),
                "an MTU black hole: large packets are dropped on the way without a word",
                "compare the mtu of all links on the way: ip link",
            )),
            // A host that answers no echo is not broken by that.
            (false, _) => hops.push(Hop::note(
                "bridge",
                "ping",
                format!("{gateway} does not answer"),
                "this host may be set not to (icmp_echo_ignore_all), or a firewall's input chain drops it",
            )),
        }
    }
}

/// From the bridge to the outside.
fn host(subject: &Subject, seen: &Seen, hops: &mut Vec<Hop>) {
    let place = "host";
    let Some(joined) = subject.joined.iter().find(|joined| !joined.internal) else {
        hops.push(Hop::note(
            place,
            "internal",
            "yes",
            "its networks are internal: they lead nowhere else, as was asked for",
        ));
        return;
    };
    for (v6, path) in [(false, "net.ipv4.ip_forward"), (true, "net.ipv6.conf.all.forwarding")] {
        if v6 && joined.v6.is_none() || !v6 && joined.v4.is_none() {
            continue;
        }
        match seen.forwards[usize::from(v6)] {
            Some(false) => {
                let cause = format!("{path} is 0: this host passes no packets on, they vanish");
                hops.push(
                    Hop::bad(place, "forwarding", "off", cause, format!("sysctl -w {path}=1"))
                        .fix(Fix::Forwarding { v6 }),
                );
            }
            Some(true) if !v6 => hops.push(Hop::good(place, "forwarding", "on")),
            _ => {}
        }
    }
    if let Some((count, most)) = seen.connections.filter(|(count, most)| count.saturating_add(1) >= *most) {
        let cause = "the table of tracked connections is full: the kernel drops whatever begins a new one (dmesg: nf_conntrack: table full)";
        hops.push(Hop::bad(
            place,
            "connections",
            format!("{count} of {most}"),
            cause,
            format!("sysctl -w net.netfilter.nf_conntrack_max={}", u64::from(most.max(1024)) * 4),
        ));
    }
    if !seen.legacy.is_empty() {
        hops.push(Hop::note(place, "iptables-legacy", seen.legacy.join(", "), "there are tables of legacy iptables too, which cannot be read from here: iptables-legacy-save shows them"));
    }
    rules(subject, joined, seen, hops);
    for (address, _, _) in joined.addresses() {
        let v6 = address.is_ipv6();
        let out = way_out(seen, v6);
        match out {
            Some(link) => hops.push(Hop::good("outside", if v6 { "route v6" } else { "route" }, format!("by {link}"))),
            None if v6 => hops.push(Hop::note("outside", "route v6", "none", "this host has no way to the outside by IPv6")),
            None => hops.push(Hop::bad(
                "outside",
                "route",
                "none",
                "no route on this host: it has no default route itself, so that nothing beyond its own links is reached",
                "ip route add default via ROUTER (your network's)",
            )),
        }
    }
}

/// The link of the host's default route.
fn way_out(seen: &Seen, v6: bool) -> Option<String> {
    let outward = |route: &&Route| route.to.is_none() && route.v6 == v6 && route.kind == RTN_UNICAST;
    let route = seen.host.routes.iter().filter(outward).min_by_key(|route| route.metric)?;
    let index = route.link.or_else(|| route.ways.first().map(|way| way.link))?;
    Some(seen.host.links.iter().find(|link| link.index == index)?.name.clone())
}

/// What nf_tables makes of a packet to the outside.
fn rules(subject: &Subject, joined: &Joined, seen: &Seen, hops: &mut Vec<Hop>) {
    let place = "host";
    let Some(rules) = &seen.rules else {
        hops.push(if subject.forwarded {
            let cause = "ports are served by ctr itself, and the outside is reached only where somebody else translates addresses";
            Hop::note(place, "nf_tables", "missing", cause)
        } else {
            let cause = "this kernel has no nf_tables (any more): addresses are not translated";
            Hop::bad(place, "nf_tables", "missing", cause, "modprobe nf_tables && ctr network reload")
        });
        return;
    };
    if !rules.tables.iter().any(|found| found.family == Family::INET && found.name == table()) {
        let cause = "ctr's own nf_tables table is gone (somebody has flushed the ruleset): addresses are not translated, and nothing is published";
        hops.push(Hop::bad(place, "nf_tables", "missing", cause, "ctr network reload").fix(Fix::Reload));
        return;
    }
    for (address, _, _) in joined.addresses() {
        let v6 = address.is_ipv6();
        let about = if v6 { "rules v6" } else { "rules" };
        let Some(out) = way_out(seen, v6).or_else(|| (!v6).then(|| "eth0".to_owned())) else { continue };
        let packet = Packet {
            from: address,
            to: far(v6),
            protocol: libc::IPPROTO_TCP as u8,
            port: 443,
            incoming: joined.link.clone(),
            outgoing: String::new(),
            translated: false,
            local: false,
        };
        let routed = Packet { outgoing: out, ..packet.clone() };
        let leaving = Packet { incoming: String::new(), ..routed.clone() };
        let mut good = true;
        for (hook, packet) in [(Hook::PREROUTING, &packet), (Hook::FORWARD, &routed), (Hook::POSTROUTING, &leaving)] {
            match walk(rules, hook, packet) {
                Fate::Dropped(by, family) => {
                    good = false;
                    hops.push(dropped(place, about, &by, family, &joined.link));
                }
                Fate::Perhaps(by) => hops.push(Hop::note(
                    place,
                    about,
                    "perhaps",
                    format!("{by} may drop it: that cannot be told from here"),
                )),
                Fate::Passes(translated) if hook == Hook::POSTROUTING && translated.is_none() => {
                    good = false;
                    let cause = "masquerade is missing: packets leave with the container's own address, and no answer finds back";
                    hops.push(Hop::bad(place, about, "not translated", cause, "ctr network reload").fix(Fix::Reload));
                }
                Fate::Passes(_) => {}
            }
        }
        if good {
            hops.push(Hop::good(place, about, "pass and translate it"));
        }
    }
}

/// A chain that drops: ours can be made anew, another's can be opened.
fn dropped(place: &str, about: &str, by: &str, family: Family, link: &str) -> Hop {
    let own = format!(" inet {} ", table());
    if by.contains(&own) {
        return Hop::bad(place, about, "dropped", format!("{by} of ctr's own drops it"), "ctr network reload")
            .fix(Fix::Reload);
    }
    let words: Vec<&str> = by.rsplit(' ').collect();
    let (chain, table) = (words.first().copied().unwrap_or_default(), words.get(1).copied().unwrap_or_default());
    let open = firewall::opening(family, table, chain, link);
    Hop::bad(place, about, "dropped", format!("{by} drops it; that chain is another firewall's"), open)
}

fn names(subject: &Subject, seen: &Seen, tried: &Tried, hops: &mut Vec<Hop>) {
    let (place, about) = ("names", "resolv.conf");
    let servers = hosts::servers(&subject.resolv_conf);
    let mend = || format!("ctr rm -f {0}, and run it again with --dns ADDRESS", subject.name);
    if servers.is_empty() {
        hops.push(Hop::bad(
            place,
            about,
            "no name server",
            "resolv.conf is empty: no name of the outside is found",
            mend(),
        ));
        return;
    }
    if servers.iter().all(IpAddr::is_loopback) {
        let listens = seen.inside.listening.iter().any(|one| one.port == 53);
        if !listens {
            hops.push(Hop::bad(
                place,
                about,
                join(&servers),
                "the name servers are on loopback, which inside is the container's own: nobody answers there",
                mend(),
            ));
        }
        return;
    }
    for (server, answered) in &tried.servers {
        if *answered {
            hops.push(Hop::good(place, "server", format!("{server} answers")));
        } else {
            hops.push(Hop::note(
                place,
                "server",
                format!("{server} does not answer"),
                "perhaps it cannot be reached from this host either: try it here first",
            ));
        }
    }
}

fn join(all: &[IpAddr]) -> String {
    all.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// From the outside to a published port.
fn published(subject: &Subject, port: &Published, seen: &Seen, tried: &Tried, hops: &mut Vec<Hop>) {
    let place = format!("port {} -> {}/{}", port.place(), port.inside, port.protocol.name());
    let place = place.as_str();
    let bad = hops.iter().any(|hop| hop.place == place && hop.health == Health::Bad);
    debug_assert!(!bad, "each port is looked at once");
    let number = port.protocol.number();
    // Who listens in there?
    let inside: Vec<&Listener> =
        seen.inside.listening.iter().filter(|one| one.protocol == number && one.port == port.inside).collect();
    let reaches =
        |one: &&&Listener| one.at == port.to || one.at.is_unspecified() && (one.at.is_ipv6() || !port.to.is_ipv6());
    let mut well = true;
    if port.protocol != Protocol::Sctp {
        if inside.iter().any(|one| reaches(&one)) {
            hops.push(Hop::good(place, "inside", "somebody listens"));
        } else if let Some(one) = inside.first() {
            well = false;
            let cause = if one.at.is_loopback() {
                format!("the program listens on {} only: from outside the container it cannot be reached", one.at)
            } else {
                format!("the program listens on {}, not on {}", one.at, port.to)
            };
            // Of two families one may do.
            let other = subject.ports.iter().any(|other| {
                other.to != port.to
                    && inside.iter().any(|one| one.at.is_unspecified() && other.to.is_ipv6() == one.at.is_ipv6())
            });
            let mend = "have the program listen on 0.0.0.0 (and ::)";
            if other && port.to.is_ipv6() {
                hops.push(Hop::note(
                    place,
                    "inside",
                    format!("{}:{}", one.at, one.port),
                    "the program listens on IPv4 alone",
                ));
            } else {
                hops.push(Hop::bad(place, "inside", format!("{}:{}", one.at, one.port), cause, mend));
            }
        } else {
            well = false;
            let cause = format!("nothing listens at port {}/{} in the container", port.inside, port.protocol.name());
            hops.push(Hop::bad(
                place,
                "inside",
                "nobody listens",
                cause,
                format!("ctr logs {0}; start the program, or publish the port that it listens at", subject.name),
            ));
        }
    }
    // At which address?
    if !port.at.is_unspecified() && !seen.host.addresses.iter().any(|own| own.address == port.at) {
        hops.push(Hop::bad(
            place,
            "address",
            format!("{} is not here", port.at),
            format!("it is published on the wrong host address: no link of this host has {}", port.at),
            "ip addr shows those that it has; run it again with one of them in -p",
        ));
        return;
    }
    // Somebody else there?
    let others = seen.host.listening.iter().filter(|one| {
        one.protocol == number
            && one.port == port.host
            && (one.at == port.at || one.at.is_unspecified() || port.at.is_unspecified())
    });
    for other in others {
        match owner(other.inode) {
            Some((pid, name)) if name == "ctr" || is_ours(pid) => {}
            found => {
                well = false;
                let who = found.map_or("another program".to_owned(), |(pid, name)| format!("{name} (process {pid})"));
                let cause = format!(
                    "the host port {} is taken by {who}, which gets what comes for it by this host's own addresses",
                    port.host
                );
                hops.push(Hop::bad(place, "host port", who, cause, "stop that program, or publish another port"));
                break;
            }
        }
    }
    if let (Some(rules), Some((set, element))) = (&seen.rules, firewall::element_of(port)) {
        if rules.tables.iter().any(|found| found.family == Family::INET && found.name == table())
            && !subject.forwarded
        {
            let there = rules.set(Family::INET, &table(), set).and_then(|set| set.find(&element.key));
            if there.is_none_or(|there| there.data != element.data) {
                let cause =
                    format!("the port's entry in the map {set} is missing: what comes for it ends at this host");
                hops.push(Hop::bad(place, "map", "missing", cause, "ctr network reload").fix(Fix::Reload));
                return;
            }
            from_outside(subject, port, seen, place, hops);
        }
    }
    for (target, reached) in &tried.connections {
        let direct = *target == std::net::SocketAddr::new(port.to, port.inside);
        let by_host = target.port() == port.host
            && (target.ip() == port.at
                || target.ip().is_loopback() && port.at.is_unspecified() && target.is_ipv6() == port.at.is_ipv6());
        if port.protocol != Protocol::Tcp || !direct && !by_host {
            continue;
        }
        match reached {
            Some(true) => hops.push(Hop::good(place, "connect", format!("{target} answers"))),
            _ if !well || hops.iter().any(|hop| hop.health == Health::Bad) => {}
            _ if direct => hops.push(Hop::note(
                place,
                "connect",
                format!("{target} does not answer"),
                "the program may not accept connections at the moment, or a firewall inside drops them",
            )),
            _ => hops.push(Hop::bad(
                place,
                "connect",
                format!("{target} does not answer"),
                "ctr's forwarder for this host's loopback addresses is gone",
                format!("ctr restart {}", subject.name),
            )),
        }
    }
}

/// Whether a process runs the same program as we do: a container's forwarder.
fn is_ours(pid: u32) -> bool {
    use std::os::unix::fs::MetadataExt;
    let file = |of: &str| std::fs::metadata(format!("/proc/{of}/exe")).ok().map(|found| (found.dev(), found.ino()));
    let own = file("self");
    own.is_some() && own == file(&pid.to_string())
}

/// What nf_tables makes of somebody's first packet to the port.
fn from_outside(subject: &Subject, port: &Published, seen: &Seen, place: &str, hops: &mut Vec<Hop>) {
    let Some(rules) = &seen.rules else { return };
    let v6 = port.at.is_ipv6();
    let Some(joined) =
        subject.joined.iter().find(|joined| joined.addresses().any(|(address, ..)| address == port.to))
    else {
        return;
    };
    let Some(incoming) = way_out(seen, v6) else { return };
    let up = seen.host.link(&incoming).map(|link| link.index);
    let own = seen
        .host
        .addresses
        .iter()
        .find(|own| Some(own.index) == up && own.address.is_ipv6() == v6)
        .map(|own| own.address);
    let to = if port.at.is_unspecified() { own } else { Some(port.at) };
    let Some(to) = to else { return };
    let arriving = Packet {
        from: far(v6),
        to,
        protocol: port.protocol.number(),
        port: port.host,
        incoming,
        outgoing: String::new(),
        translated: false,
        local: true,
    };
    match walk(rules, Hook::PREROUTING, &arriving) {
        Fate::Dropped(by, family) => return hops.push(dropped(place, "rules", &by, family, &joined.link)),
        Fate::Perhaps(by) => {
            return hops.push(Hop::note(
                place,
                "rules",
                "perhaps",
                format!("{by} may drop it: that cannot be told from here"),
            ));
        }
        Fate::Passes(Some(Translation::To(address, inside))) if (address, inside) == (port.to, port.inside) => {}
        Fate::Passes(other) => {
            let found = match other {
                Some(Translation::To(address, port)) => format!("goes to {address} port {port}"),
                _ => "is not translated".to_owned(),
            };
            let cause = "what comes for the port does not go to the container: another firewall's rule, or a missing one of ours";
            return hops.push(Hop::bad(place, "rules", found, cause, "ctr network reload").fix(Fix::Reload));
        }
    }
    let passing = Packet {
        to: port.to,
        port: port.inside,
        outgoing: joined.link.clone(),
        translated: true,
        local: false,
        ..arriving
    };
    match walk(rules, Hook::FORWARD, &passing) {
        Fate::Dropped(by, family) => hops.push(dropped(place, "rules", &by, family, &joined.link)),
        Fate::Perhaps(by) => hops.push(Hop::note(
            place,
            "rules",
            "perhaps",
            format!("{by} may drop it: that cannot be told from here"),
        )),
        Fate::Passes(_) => hops.push(Hop::good(place, "rules", "lead to the container")),
    }
}
