//! What was seen and what was heard, made into hops: what is wrong, why, and what mends it. No I/O.
//!
//! A fault is named once, where it is. What it causes further on (a silent gateway behind a link that is down) is a
//! note there, or nothing.

use std::net::{IpAddr, SocketAddr};

use netlink::link::{Ipv4Conf, Ipv6Conf, Link, Mac};
use netlink::nft::{Family, Hook, Ruleset, concat};
use netlink::{addr, neigh, nft, route};

use super::attempt::Outcome;
use super::look::{self, Bound, Look, Side};
use super::walk::{End, Fate, Packet, Place, World};
use super::{Fix, Health, Heard, Hop, Joined, Key, Port, Subject};

/// `BR_STATE_FORWARDING`.
const FORWARDING: u8 = 3;

/// Our chains that cannot be without rules.
const CHAINS: [&str; 4] = ["prerouting", "output", "forward", "postrouting"];

static NOTHING: Ruleset =
    Ruleset { generation: 0, tables: Vec::new(), chains: Vec::new(), rules: Vec::new(), sets: Vec::new() };

/// All hops, in the order in which a packet meets them.
pub fn judge(subject: &Subject, look: &Look, heard: &Heard) -> Vec<Hop> {
    let mut judge = Judge {
        subject,
        look,
        heard,
        inside: look.inside.world(),
        host: look.host.world(),
        enter: format!("nsenter -t {} -n ", subject.pid),
        hops: Vec::new(),
        table_is_whole: false,
    };
    judge.loopback();
    for (n, joined) in subject.joined.iter().enumerate() {
        judge.inside(n, joined);
    }
    judge.default_routes();
    judge.own_rules();
    for (n, joined) in subject.joined.iter().enumerate() {
        if !joined.macvlan {
            judge.veth(joined);
            judge.bridge(n, joined);
        }
        judge.gateway(n, joined);
    }
    judge.host();
    judge.uplink();
    judge.names();
    for n in 0..subject.ports.len() {
        judge.port(n);
    }
    judge.hops
}

/// Where a port is tried from this host.
pub fn places(subject: &Subject, look: &Look, port: &Port) -> Vec<SocketAddr> {
    let at = |address: IpAddr| SocketAddr::new(address, port.host);
    if !port.at.is_unspecified() {
        return vec![at(port.at)];
    }
    let loopback =
        if port.at.is_ipv6() { IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]) } else { IpAddr::from([127, 0, 0, 1]) };
    let mut places: Vec<SocketAddr> = address_of(subject, look, port.at.is_ipv6()).map(at).into_iter().collect();
    places.push(at(loopback));
    places
}

/// An address by which others may ask this host.
fn address_of(subject: &Subject, look: &Look, v6: bool) -> Option<IpAddr> {
    let way = look.outside.get(usize::from(v6)).and_then(|way| way.as_ref().ok());
    let ours = |index: u32| subject.joined.iter().any(|joined| look.host.name_of(Some(index)) == joined.link);
    let usual = |address: &&addr::Address| {
        address.address.is_ipv6() == v6 && address.scope == 0 && !address.address.is_loopback()
    };
    let mut others = look.host.addresses.iter().filter(usual);
    let held = look.host.addresses.iter().filter(usual);
    way.and_then(|way| way.source)
        .or_else(|| others.find(|address| !ours(address.index)).map(|address| address.address))
        .or_else(|| held.map(|address| address.address).next())
}

fn protocol_name(protocol: u8) -> &'static str {
    match i32::from(protocol) {
        libc::IPPROTO_TCP => "tcp",
        libc::IPPROTO_UDP => "udp",
        _ => "sctp",
    }
}

fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn words_of(errno: i32) -> String {
    match errno {
        libc::ECONNREFUSED => "refused".to_owned(),
        libc::ENETUNREACH => "no route to there".to_owned(),
        libc::EHOSTUNREACH => "nobody there".to_owned(),
        libc::EACCES | libc::EPERM => "forbidden by a packet filter or a route".to_owned(),
        libc::EMSGSIZE => "too large for a link on the way".to_owned(),
        errno => std::io::Error::from_raw_os_error(errno).to_string(),
    }
}

/// The first address of a network.
fn network_of(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::from((u32::from(address) & mask).to_be_bytes())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::from((u128::from(address) & mask).to_be_bytes())
        }
    }
}

/// An address as it is meant: `::ffff:10.0.0.1` is one of IPv4.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

struct Judge<'a> {
    subject: &'a Subject,
    look: &'a Look,
    heard: &'a Heard,
    inside: World<'a>,
    host: World<'a>,
    /// What makes a command one that is run in the container's network.
    enter: String,
    hops: Vec<Hop>,
    /// Our table is there, with rules in it.
    table_is_whole: bool,
}

impl Side {
    fn world(&self) -> World<'_> {
        World::new(self.rules.as_ref().unwrap_or(&NOTHING), &self.links, &self.routes, self.own())
    }
}

impl<'a> Judge<'a> {
    fn say(&mut self, hop: Hop) {
        self.hops.push(hop);
    }

    /// Something is bad between the container and this place, so that it is no wonder what comes after it.
    fn is_bad_before(&self, place: &str) -> bool {
        let way = ["container", "veth", "bridge", "host", "uplink", "names"];
        let before = way.into_iter().take_while(|before| *before != place);
        let before: Vec<&str> = before.chain([place]).collect();
        // Without loopback others are still reached.
        let counts =
            |hop: &Hop| hop.health == Health::Bad && before.contains(&hop.place.as_str()) && hop.about != "lo";
        self.hops.iter().any(counts)
    }

    /// The networks that lead outside by this host.
    fn outward(&self) -> impl Iterator<Item = &'a Joined> {
        self.subject.joined.iter().filter(|joined| !joined.internal && !joined.macvlan)
    }

    // ---- in the container

    fn loopback(&mut self) {
        let lo = self.look.inside.link("lo");
        if lo.is_some_and(Link::is_up) {
            return self.say(Hop::good("container", "lo", "up"));
        }
        let mend = format!("{}ip link set dev lo up", self.enter);
        let cause = "what the container's programs say to each other by 127.0.0.1 does not arrive";
        self.say(
            Hop::bad("container", "lo", "down", cause, mend).fix(Fix::Up { inside: true, link: "lo".to_owned() }),
        );
    }

    fn inside(&mut self, n: usize, joined: &Joined) {
        let about = joined.inside.as_str();
        let Some(link) = self.look.inside.link(about) else { return self.missing(joined) };
        let own = self.look.host.link(&joined.veth);
        let ours = |own: &Link| link.peer == Some(own.index);
        if !joined.macvlan && own.is_some_and(|own| link.kind.as_deref() != Some("veth") || !ours(own)) {
            let found = format!("{about} is not the other end of {}", joined.veth);
            let cause = "another link has the name: what is sent by it does not come to the bridge";
            let mend = format!("{}ip link show: rename or remove it, then look again", self.enter);
            return self.say(Hop::bad("container", about, found, cause, mend));
        }
        if !link.is_up() {
            let cause = "somebody has switched it off: nothing comes in or goes out, and its routes are gone";
            let mend = format!("{}ip link set dev {about} up", self.enter);
            let fix = Fix::Up { inside: true, link: about.to_owned() };
            self.say(Hop::bad("container", about, "down", cause, mend).fix(fix));
        }
        let mut held = Vec::new();
        let mut all = true;
        for (own, prefix, _) in joined.addresses().into_iter().flatten() {
            let there = self.look.inside.of(link.index).filter(|address| address.address == own);
            let there: Vec<&addr::Address> = there.collect();
            if let Some(address) = there.iter().find(|address| address.prefix == prefix) {
                held.push(format!("{own}/{prefix}"));
                if address.flags & addr::IFA_F_DADFAILED != 0 {
                    let cause = "somebody else on the network has this address: the kernel does not use it";
                    let mend = "find who has it, and give one of both another: ctr run --ip6";
                    self.say(Hop::bad("container", about, format!("{own} is taken"), cause, mend));
                    all = false;
                }
                continue;
            }
            all = false;
            let ip = format!("{}ip addr", self.enter);
            let fix =
                |instead_of| Fix::Address { inside: true, link: about.to_owned(), address: own, prefix, instead_of };
            let hop = if let Some(wrong) = there.first() {
                let found = format!("{own}/{} where {own}/{prefix} should be", wrong.prefix);
                let cause = "the container takes the wrong addresses for neighbours of its own";
                let mend =
                    format!("{ip} del {own}/{} dev {about} && {ip} add {own}/{prefix} dev {about}", wrong.prefix);
                Hop::bad("container", about, found, cause, mend).fix(fix(Some(wrong.prefix)))
            } else {
                let off = own.is_ipv6()
                    && link.ipv6.as_ref().is_none_or(|conf| conf.get(Ipv6Conf::DISABLE_IPV6) == Some(1));
                let mend = format!("{ip} add {own}/{prefix} dev {about}");
                let hop = Hop::bad("container", about, format!("{own}/{prefix} is missing"), "", mend);
                if off {
                    let mend = format!("{}sysctl -w net.ipv6.conf.{about}.disable_ipv6=0", self.enter);
                    Hop { cause: "IPv6 is switched off on this link".to_owned(), mend, ..hop }
                } else {
                    let others: Vec<String> = self
                        .look
                        .inside
                        .of(link.index)
                        .map(|held| format!("{}/{}", held.address, held.prefix))
                        .collect();
                    let cause = if others.is_empty() {
                        "somebody has removed it: nobody can answer the container".to_owned()
                    } else {
                        format!("somebody has changed it: {about} has {}", others.join(", "))
                    };
                    Hop { cause, ..hop }.fix(fix(None))
                }
            };
            self.say(hop);
        }
        if !self.duplicate(n, joined, link) && all && link.is_up() {
            let carrier = link.carrier || joined.macvlan;
            let found = if carrier {
                format!("up, {}, mtu {}", held.join(" "), link.mtu)
            } else {
                format!("up, {}, but its other end is not", held.join(" "))
            };
            self.say(Hop::good("container", about, found));
        }
    }

    /// There is no link of that name in the container: where is it?
    fn missing(&mut self, joined: &Joined) {
        let about = joined.inside.as_str();
        let near = self.look.host.link(&joined.veth);
        let far = near.and_then(|near| near.peer);
        let here = near.filter(|near| near.peer_netns.is_none()).and(far);
        let hop = if let Some(left) = here.and_then(|index| self.look.host.by_index(index)) {
            let found = format!("it is not in the container: its end is {} in the host's network", left.name);
            let cause = "somebody has taken it out, or it was never moved in";
            let mend = format!("ip link set dev {} netns {} name {about}", left.name, self.subject.pid);
            Hop::bad("container", about, found, cause, mend)
                .fix(Fix::Bring { link: left.name.clone(), to: about.to_owned() })
        } else {
            let renamed = near.and_then(|near| {
                let other = self.look.inside.by_index(far?)?;
                (other.kind.as_deref() == Some("veth") && other.peer == Some(near.index)).then_some(other)
            });
            if let Some(other) = renamed {
                let found = format!("it is called {}", other.name);
                let cause = format!("somebody has renamed it: what looks for {about} does not find it");
                let ip = format!("{}ip link set dev", self.enter);
                let mend = format!("{ip} {0} down && {ip} {0} name {about} up", other.name);
                let fix = Fix::Rename { from: other.name.clone(), to: about.to_owned() };
                Hop::bad("container", about, found, cause, mend).fix(fix)
            } else {
                let found = "it is not there".to_owned();
                let cause = match near {
                    _ if joined.macvlan => "somebody has removed it".to_owned(),
                    Some(near) => {
                        format!("the other end of {} is in a network namespace of somebody else's", near.name)
                    }
                    None => format!("neither end of the cable is: somebody has removed {} or {about}", joined.veth),
                };
                let hop =
                    Hop::bad("container", about, found, cause, format!("ctr doctor {} --fix", self.subject.name));
                if joined.macvlan { hop } else { hop.fix(Fix::Cable { inside: about.to_owned() }) }
            }
        };
        self.say(hop);
    }

    /// Whether somebody else has the container's address; says so.
    fn duplicate(&mut self, n: usize, joined: &Joined, link: &Link) -> bool {
        let Some((own, _)) = joined.v4 else { return false };
        let own = IpAddr::V4(own);
        let about = joined.inside.as_str();
        let owners = |key| match self.heard.of(key) {
            Some(Outcome::Owners(owners)) => owners.clone(),
            _ => Vec::new(),
        };
        let (seen, on_bridge) = (owners(Key::Owners(n)), owners(Key::OwnersOnBridge(n)));
        let held = if joined.macvlan { None } else { self.look.host.holder(own) };
        let others = seen.iter().chain(&on_bridge).find(|mac| link.address != Some(**mac)).copied();
        // Two who answer as one: both are containers that were given it.
        let twice = on_bridge.len() > 1;
        if others.is_none() && held.is_none() && !twice {
            return false;
        }
        let whose = others.and_then(|mac| self.look.host.links.iter().find(|link| link.address == Some(mac)));
        let (found, mend) = if let Some(link) = held {
            let prefix =
                self.look.host.of(link.index).find(|held| held.address == own).map_or(32, |held| held.prefix);
            let found = format!("{own} is also an address of the host's, on {}", link.name);
            (found, format!("ip addr del {own}/{prefix} dev {}", link.name))
        } else {
            let mac = others.or(link.address).unwrap_or_default();
            let who = whose.map_or(String::new(), |link| format!(" ({} of the host)", link.name));
            let found = format!("{own} belongs to somebody else, too: {}{who}", mac_text(mac));
            let list =
                if joined.macvlan { "ip neigh".to_owned() } else { format!("bridge fdb show br {}", joined.link) };
            let mac = mac_text(mac);
            let mend = format!("give one of both another address (ctr run --ip); who it is: {list} | grep {mac}");
            (found, mend)
        };
        let cause = "packets for the container go now here, now there";
        self.say(Hop::bad("container", about, found, cause, mend));
        true
    }

    fn default_routes(&mut self) {
        for v6 in [false, true] {
            let family = usize::from(v6);
            let out = self.subject.joined.iter().find_map(|joined| {
                let (_, _, gateway) = joined.addresses().into_iter().nth(family).flatten()?;
                (!joined.internal).then_some((joined, gateway?))
            });
            let Some((joined, gateway)) = out else {
                if !v6 && !self.subject.joined.is_empty() && self.subject.joined.iter().all(|joined| joined.internal)
                {
                    self.say(Hop::good("container", "way out", "none: its networks are internal"));
                }
                continue;
            };
            let about = if v6 { "way out (IPv6)" } else { "way out" };
            let inside = &self.look.inside;
            let is_default = |way: &&route::Route| {
                way.to.is_none_or(|(_, prefix)| prefix == 0)
                    && way.v6 == v6
                    && way.table == route::RT_TABLE_MAIN
                    && way.kind == route::RTN_UNICAST
            };
            let mut ways = inside.routes.iter().filter(is_default);
            let ours = |way: &&route::Route| {
                let gateways = self.subject.joined.iter().flat_map(Joined::addresses).flatten();
                gateways.into_iter().any(|(_, _, gateway)| gateway.is_some() && gateway == way.gateway)
            };
            let hop = if let Some(way) = ways.clone().find(ours) {
                Hop::good("container", about, format!("by {gateway} on {}", inside.name_of(way.link)))
            } else if let Some(way) = ways.next() {
                let by = way.gateway.map_or("no gateway".to_owned(), |gateway| gateway.to_string());
                let found = format!("by {by} on {}", inside.name_of(way.link));
                let lost = |one: &&neigh::Neighbour| {
                    Some(one.address) == way.gateway && one.state & (neigh::NUD_FAILED | neigh::NUD_INCOMPLETE) != 0
                };
                if self.heard.neighbours.iter().any(|one| lost(&one)) {
                    let link = joined.inside.clone();
                    let mend = format!("{}ip route replace default via {gateway} dev {link}", self.enter);
                    let cause = format!("somebody has changed it from {gateway}, and nobody answers at {by}");
                    Hop::bad("container", about, found, cause, mend).fix(Fix::Route { gateway, link })
                } else {
                    let cause = format!("ctr had made it by {gateway}: somebody wants it otherwise");
                    Hop::note("container", about, found, cause)
                }
            } else if self.address_is_missing(joined, v6) {
                Hop::note("container", about, "no default route", "it comes back after the link and its address")
            } else {
                let link = joined.inside.clone();
                let mend = format!("{}ip route add default via {gateway} dev {link}", self.enter);
                let cause = "somebody has removed it, or the link was down for a while: only neighbours are reached";
                Hop::bad("container", about, "no default route", cause, mend).fix(Fix::Route { gateway, link })
            };
            self.say(hop);
        }
    }

    /// A route by a gateway cannot be made before there is an address.
    fn address_is_missing(&self, joined: &Joined, v6: bool) -> bool {
        let Some(link) = self.look.inside.link(&joined.inside) else { return true };
        let own = joined.addresses().into_iter().nth(usize::from(v6)).flatten();
        own.is_none_or(|(own, _, _)| !self.look.inside.of(link.index).any(|held| held.address == own))
    }

    /// Rules that the container has itself.
    fn own_rules(&mut self) {
        let Some(rules) = self.look.inside.rules.as_ref().filter(|rules| !rules.chains.is_empty()) else { return };
        if self.subject.joined.is_empty() {
            return;
        }
        let count = rules.rules.len();
        for joined in &self.subject.joined {
            let Some((own, _)) = joined.v4 else { continue };
            let mut packet = outgoing(own.into(), look::OUTSIDE4.into());
            packet.outgoing = End::by(&joined.inside);
            let fate = self.inside.pass(&mut packet, Hook::OUTPUT);
            let fate = fate.and(|| self.inside.pass(&mut packet, Hook::POSTROUTING));
            let fate = fate.and(|| {
                let mut back = answer(look::OUTSIDE4.into(), own.into());
                back.incoming = End::by(&joined.inside);
                let fate = self.inside.pass(&mut back, Hook::PREROUTING);
                fate.and(|| self.inside.pass(&mut back, Hook::INPUT))
            });
            if let Fate::Drops(place) = fate {
                let cause = "the container has rules of its own, and they drop what it sends or what it is answered";
                let mend =
                    format!("{}nft list chain {} {} {}", self.enter, place.family.name(), place.table, place.base);
                return self.say(Hop::bad("container", "its rules", place.to_string(), cause, mend));
            }
        }
        self.say(Hop::good(
            "container",
            "its rules",
            format!("{count} of nf_tables: they let it out, and answers in"),
        ));
    }

    // ---- the cable and the bridge

    fn veth(&mut self, joined: &Joined) {
        let host = &self.look.host;
        let about = joined.veth.as_str();
        let far = self.look.inside.link(&joined.inside);
        let by_peer = || {
            let near = host.by_index(far?.peer?)?;
            (near.peer == far.map(|far| far.index) && near.kind.as_deref() == Some("veth")).then_some(near)
        };
        let Some(near) = host.link(about).or_else(by_peer) else {
            if far.is_some() {
                let found = format!("the host has no link {about}");
                let cause = format!("the other end of {} has gone to another network namespace", joined.inside);
                let mend = format!("ctr doctor {} --fix", self.subject.name);
                let fix = Fix::Cable { inside: joined.inside.clone() };
                self.say(Hop::bad("veth", about, found, cause, mend).fix(fix));
            }
            // Otherwise it was said already.
            return;
        };
        if near.name != about {
            let found = format!("it is called {}", near.name);
            self.say(Hop::note("veth", about, found, "somebody has renamed it; packets do not care"));
        }
        let name = near.name.clone();
        let mut well = true;
        if !near.is_up() {
            well = false;
            let cause = "somebody has switched it off: nothing passes between container and bridge";
            let fix = Fix::Up { inside: false, link: name.clone() };
            self.say(Hop::bad("veth", about, "down", cause, format!("ip link set dev {name} up")).fix(fix));
        }
        let bridge = host.link(&joined.link);
        let (mend, fix) = (
            format!("ip link set dev {name} master {}", joined.link),
            Fix::Join { veth: name.clone(), bridge: joined.link.clone() },
        );
        match (near.master, bridge) {
            // Said at the bridge.
            (_, None) => well = false,
            (Some(master), Some(bridge)) if master == bridge.index => {
                let state = near.port.as_ref().and_then(|port| port.state);
                if state.is_some_and(|state| state != FORWARDING) && near.is_up() && near.carrier && bridge.is_up() {
                    well = false;
                    let cause = "the spanning tree protocol, or somebody, keeps this port from passing packets on";
                    let mend = format!(
                        "bridge link set dev {name} state 3 (ip link set dev {} type bridge stp_state 0)",
                        joined.link
                    );
                    self.say(Hop::bad("veth", about, "its port is blocked", cause, mend));
                }
            }
            (Some(master), Some(_)) => {
                well = false;
                let found = format!("it is a port of {}, not of {}", host.name_of(Some(master)), joined.link);
                let cause = "somebody has moved it: the container is on another network than ctr thinks";
                self.say(Hop::bad("veth", about, found, cause, mend).fix(fix));
            }
            (None, Some(_)) => {
                well = false;
                let found = format!("it is not in the bridge {}", joined.link);
                let cause = "what the container sends ends here";
                self.say(Hop::bad("veth", about, found, cause, mend).fix(fix));
            }
        }
        if well {
            self.say(Hop::good("veth", about, format!("up, a port of {}, mtu {}", joined.link, near.mtu)));
        }
    }

    fn bridge(&mut self, n: usize, joined: &Joined) {
        let host = &self.look.host;
        let about = joined.link.as_str();
        let Some(bridge) = host.link(about) else {
            let lacking = &self.look.lacking;
            let hop = if lacking.is_empty() {
                let cause = "somebody has removed it: the containers of the network are cut off, from each other too";
                Hop::bad("bridge", about, "it is not there", cause, "ctr network reload")
            } else {
                let cause = "and this kernel cannot make one: the modules of another kernel are installed, or none";
                let mend = format!("modprobe {}, or reboot into the kernel that was installed", lacking.join(" "));
                Hop::bad("bridge", about, "it is not there", cause, mend)
            };
            return self.say(hop.fix(Fix::Reload));
        };
        if bridge.kind.as_deref() != Some("bridge") {
            let found = format!("there is a link {about}, and it is no bridge");
            let mend = format!("ip link set dev {about} down name other0 && ctr network reload");
            return self.say(Hop::bad("bridge", about, found, "somebody has put it in its place", mend));
        }
        let mut well = bridge.is_up();
        if !well {
            let cause = "somebody has switched it off: nothing passes, and the host's route to the network is gone";
            let fix = Fix::Up { inside: false, link: about.to_owned() };
            self.say(Hop::bad("bridge", about, "down", cause, format!("ip link set dev {about} up")).fix(fix));
        }
        let mut held = Vec::new();
        for (_, prefix, gateway) in joined.addresses().into_iter().flatten() {
            let Some(gateway) = gateway else { continue };
            if host.of(bridge.index).any(|address| address.address == gateway) {
                held.push(format!("{gateway}/{prefix}"));
                continue;
            }
            well = false;
            let found = format!("the gateway's address {gateway}/{prefix} is missing");
            let cause = "somebody has removed it: nobody takes what the container sends to others";
            let mend = format!("ip addr add {gateway}/{prefix} dev {about}");
            let fix =
                Fix::Address { inside: false, link: about.to_owned(), address: gateway, prefix, instead_of: None };
            self.say(Hop::bad("bridge", about, found, cause, mend).fix(fix));
        }
        self.sizes(joined, bridge);
        if well {
            self.say(Hop::good("bridge", about, format!("up, {}, mtu {}", held.join(" "), bridge.mtu)));
            self.way_back(n, joined);
        }
    }

    /// A link that takes less than the container sends.
    fn sizes(&mut self, joined: &Joined, bridge: &Link) {
        let Some(eth) = self.look.inside.link(&joined.inside) else { return };
        let near = self.look.host.link(&joined.veth);
        let least = near.map_or(bridge.mtu, |near| near.mtu.min(bridge.mtu));
        if eth.mtu <= least {
            return;
        }
        let narrow = if near.is_some_and(|near| near.mtu == least) { &joined.veth } else { &joined.link };
        let found = format!("{} sends up to {} bytes, {narrow} takes {least}", joined.inside, eth.mtu);
        let cause = "what is larger is dropped, and nobody is told: small packets pass, transfers hang";
        let mend = format!("{}ip link set dev {} mtu {least}", self.enter, joined.inside);
        let fix = Fix::Mtu { inside: vec![joined.inside.clone()], outside: Vec::new(), mtu: least };
        self.say(Hop::bad("bridge", "mtu", found, cause, mend).fix(fix));
    }

    /// The host's own way to the container.
    fn way_back(&mut self, n: usize, joined: &Joined) {
        let host = &self.look.host;
        let Some(bridge) = host.link(&joined.link) else { return };
        let ways = self.look.back.get(n).cloned().unwrap_or_default();
        for ((own, prefix, gateway), way) in joined.addresses().into_iter().zip(ways).filter_map(|(a, b)| a.zip(b)) {
            let found = match &way {
                Ok(way) if way.link == Some(bridge.index) => continue,
                // The container's address is one of the host's: that was said.
                Ok(way) if way.kind == route::RTN_LOCAL => continue,
                Ok(way) => format!("the host's way to {own} is by {}", host.name_of(way.link)),
                Err(errno) => format!("the host has no way to {own}: {}", words_of(*errno)),
            };
            let network = network_of(own, prefix);
            let mut cause = "answers to the container go elsewhere".to_owned();
            if let Some(Err(libc::EXDEV)) = self.look.through.get(n).and_then(Option::as_ref) {
                cause.push_str(", and rp_filter drops what comes from it for that");
            } else if strict(bridge) && !own.is_ipv6() {
                cause.push_str(", and rp_filter, which is strict, drops what comes from it for that");
            }
            let source = gateway.map_or(String::new(), |gateway| format!(" src {gateway}"));
            let mend = format!("ip route replace {network}/{prefix} dev {}{source}", joined.link);
            let fix = Fix::Way { bridge: joined.link.clone(), network, prefix, source: gateway };
            let hop = Hop::bad("bridge", "way back", found, cause, mend);
            // One that is more special than ours wins, whatever we add.
            let own_route = |way: &route::Route| way.to == Some((network, prefix)) && way.link == Some(bridge.index);
            if host.routes.iter().any(own_route) {
                let mend =
                    format!("find the route or rule that takes it away, and remove it: ip route get {own}; ip rule");
                self.say(Hop { mend, ..hop });
            } else {
                self.say(hop.fix(fix));
            }
        }
    }

    /// Does the gateway answer?
    fn gateway(&mut self, n: usize, joined: &Joined) {
        let place = if joined.macvlan { "uplink" } else { "bridge" };
        if joined.macvlan {
            self.lower(joined);
        }
        let Some(eth) = self.look.inside.link(&joined.inside) else { return };
        for (own, _, gateway) in joined.addresses().into_iter().flatten() {
            let (v6, Some(gateway)) = (own.is_ipv6(), gateway) else { continue };
            let Some(small) = self.heard.of(Key::Gateway(n, v6)) else { continue };
            let about = format!("ping {gateway}");
            if *small == Outcome::Answered {
                self.large(n, joined, gateway, eth.mtu);
                continue;
            }
            let found = match small {
                Outcome::Refused(errno) => format!("not sent: {}", words_of(*errno)),
                _ => "no answer".to_owned(),
            };
            if self.is_bad_before(place) {
                self.say(Hop::note(place, &about, found, "as was to be expected after the above"));
                continue;
            }
            let known = self.heard.neighbours.iter().find(|one| one.index == eth.index && one.address == gateway);
            let unresolved = known.is_none_or(|one| one.state & (neigh::NUD_FAILED | neigh::NUD_INCOMPLETE) != 0);
            let protocol = if v6 { libc::IPPROTO_ICMPV6 } else { libc::IPPROTO_ICMP };
            let packet = Packet::new(Some(own), gateway, protocol as u8, None);
            let (fate, _) = self.to_host(joined, packet.clone());
            let hop = match fate {
                Fate::Drops(place_) if matches!(place_.family, Family::BRIDGE | Family::NETDEV) => {
                    let mend = open(&place_, joined, self.look, None);
                    Hop::bad(place, &about, found, format!("{place_} drops it"), mend)
                }
                Fate::Drops(place_) if !unresolved => {
                    let cause = format!("{place_} drops pings of containers; what passes through is not its matter");
                    Hop::note(place, &about, found, cause)
                }
                _ if !unresolved => {
                    let cause = "it is there (it answers ARP), so somebody drops pings; others may pass";
                    Hop::note(place, &about, found, cause)
                }
                _ if joined.macvlan => {
                    let cause = "nobody on that network has the gateway's address, or its switch lets one \
                                 hardware address pass for each port (a virtual machine, a wireless network)";
                    Hop::note(place, &about, found, cause)
                }
                _ => {
                    let cause =
                        "nobody answers for its address on the bridge: a rule of the families bridge, netdev or arp";
                    Hop::bad(place, &about, found, cause, "nft list ruleset; ebtables -L; arptables -L")
                }
            };
            self.say(hop);
        }
    }

    fn large(&mut self, n: usize, joined: &Joined, gateway: IpAddr, mtu: u32) {
        let place = if joined.macvlan { "uplink" } else { "bridge" };
        let key = Key::Large(n, gateway.is_ipv6());
        let about = format!("ping {gateway}");
        match self.heard.of(key) {
            None | Some(Outcome::Answered) => {
                self.say(Hop::good(place, &about, format!("answers, packets of {mtu} bytes too")));
            }
            // Many a router outside does not like them.
            Some(_) if joined.macvlan => self.say(Hop::good(place, &about, "answers")),
            Some(outcome) => {
                let lost = match outcome {
                    Outcome::Refused(errno) => words_of(*errno),
                    _ => "lost".to_owned(),
                };
                let found = format!("packets of 84 bytes are answered, those of {mtu} are {lost}");
                if self.hops.iter().any(|hop| hop.about == "mtu" && hop.health == Health::Bad) {
                    return self.say(Hop::note(place, &about, found, "as was to be expected after the above"));
                }
                let cause = "a link on the way takes less than the container sends, and nobody is told";
                let mend = format!(
                    "{}ip link set dev {} mtu 1280, then a larger one that passes",
                    self.enter, joined.inside
                );
                self.say(Hop::bad(place, &about, found, cause, mend));
            }
        }
    }

    /// A macvlan's lower link.
    fn lower(&mut self, joined: &Joined) {
        let about = joined.link.as_str();
        let hop = match self.look.host.link(about) {
            None => {
                let cause = "the container's link is on it";
                Hop::bad("uplink", about, "it is not there", cause, "ip link show: where has it gone?")
            }
            Some(link) if !link.is_up() => {
                let cause = "somebody has switched it off, and the container's link is on it";
                Hop::bad("uplink", about, "down", cause, format!("ip link set dev {about} up"))
            }
            Some(link) if !link.carrier => {
                Hop::bad("uplink", about, "no carrier", "no cable is plugged in", "plug it in")
            }
            Some(link) => Hop::good("uplink", about, format!("up, mtu {}", link.mtu)),
        };
        self.say(hop);
    }

    // ---- the host

    fn host(&mut self) {
        self.tracked();
        if self.outward().next().is_none() {
            return;
        }
        self.forwarding();
        self.table();
        let subject = self.subject;
        for (n, joined) in subject.joined.iter().enumerate() {
            if !joined.internal && !joined.macvlan {
                self.filters(joined);
                self.through(n, joined);
            }
        }
        if !self.look.legacy.is_empty() {
            let mut any = false;
            for (n, joined) in
                subject.joined.iter().enumerate().filter(|(_, joined)| !joined.internal && !joined.macvlan)
            {
                for (tool, why) in self.look.dropping.get(n).into_iter().flatten() {
                    any = true;
                    let v6 = tool.starts_with("ip6");
                    let found = format!("{tool} -S FORWARD: {why}");
                    if self.reached_outside(joined, v6) {
                        let cause = "the container reaches others all the same: a rule of it lets some through";
                        self.say(Hop::note("host", "other rules", found, cause));
                        continue;
                    }
                    let cause =
                        "a firewall beside ctr knows nothing of its networks; an accept of ctr's is no accept there";
                    let link = &joined.link;
                    let mend =
                        format!("{tool} -I FORWARD -i {link} -j ACCEPT && {tool} -I FORWARD -o {link} -j ACCEPT");
                    self.say(Hop::bad("host", "other rules", found, cause, mend));
                }
            }
            if !any {
                let found = format!("iptables-legacy is in use: {}", self.look.legacy.join(", "));
                let cause = "nothing in it drops everything that passes; what single rules of it drop is shown by \
                             iptables-legacy-save and ip6tables-legacy-save";
                self.say(Hop::note("host", "other rules", found, cause));
            }
        }
    }

    fn tracked(&mut self) {
        let Some((entries, most)) = self.look.tracked.filter(|(_, most)| *most > 0) else { return };
        let found = format!("{entries} of {most} connections are tracked");
        if entries >= most {
            let cause =
                "the table is full: every new connection is dropped (nf_conntrack: table full, dropping packet)";
            let mend = format!("sysctl -w net.netfilter.nf_conntrack_max={}", most.saturating_mul(2).max(65_536));
            self.say(Hop::bad("host", "connections", found, cause, mend));
        } else if entries.saturating_mul(20) >= most.saturating_mul(19) {
            let cause = "when it is full, every new connection is dropped: net.netfilter.nf_conntrack_max";
            self.say(Hop::note("host", "connections", found, cause));
        }
    }

    fn forwarding(&mut self) {
        let cause =
            "the host does not pass on what is not for itself: the container reaches the host and nobody else";
        let mut off: Vec<(String, &str)> = Vec::new();
        let v6 = self.look.host.has_v6 && self.outward().any(|joined| joined.v6.is_some());
        match self.look.forwards {
            [Some(false), _] => off.push(("ipv4/ip_forward".to_owned(), "")),
            _ => {
                for joined in self.outward() {
                    let conf = self.look.host.link(&joined.link).and_then(|bridge| bridge.ipv4.as_ref());
                    if conf.and_then(|conf| conf.get(Ipv4Conf::FORWARDING)) == Some(0) {
                        off.push((format!("ipv4/conf/{}/forwarding", joined.link), ""));
                    }
                }
            }
        }
        if v6 && self.look.forwards[1] == Some(false) {
            off.push(("ipv6/conf/all/forwarding".to_owned(), " (IPv6)"));
        }
        if off.is_empty() {
            return self.say(Hop::good("host", "forwarding", if v6 { "on, IPv6 too" } else { "on" }));
        }
        for (path, which) in off {
            let mend = format!("sysctl -w net.{}=1", path.replace('/', "."));
            let about = format!("forwarding{which}");
            self.say(Hop::bad("host", &about, "off", cause, mend).fix(Fix::Sysctl { path, value: "1" }));
        }
    }

    fn table(&mut self) {
        let about = format!("table {}", self.subject.table);
        let Some(rules) = &self.look.host.rules else {
            let cause = "without it the container's address is not translated, so that nobody outside can answer it; \
                         its published ports are served in user space";
            let mend = "modprobe -a nf_tables nft_chain_nat nft_masq nft_fib_inet && ctr network reload";
            return self.say(Hop::bad("host", "nf_tables", "this kernel has none", cause, mend));
        };
        let own = |family: Family, table: &str| family == Family::INET && table == self.subject.table;
        let cause = "somebody has flushed the rules (nft flush ruleset, another firewall): nothing is translated, and \
                     ports lead nowhere";
        let found = match rules.tables.iter().find(|table| own(table.family, &table.name)) {
            None => "it is not there".to_owned(),
            Some(table) if table.flags & 1 != 0 => "it is dormant".to_owned(),
            Some(_) => {
                let empty = |name: &&str| {
                    let chain = |chain: &&nft::Chain| own(chain.family, &chain.table) && chain.name == **name;
                    rules.chains.iter().find(chain).is_none_or(|chain| rules.rules_of(chain).next().is_none())
                };
                let empty: Vec<&str> = CHAINS.into_iter().filter(empty).collect();
                let known = |joined: &&Joined| {
                    let key = nft::ifname(&joined.link);
                    let set = |set: &&nft::Set| own(set.family, &set.table) && set.name == "bridges";
                    rules
                        .sets
                        .iter()
                        .find(set)
                        .is_some_and(|set| set.elements.iter().any(|element| element.key == key))
                };
                let unknown =
                    self.subject.joined.iter().filter(|joined| !joined.macvlan).find(|joined| !known(joined));
                match unknown {
                    _ if !empty.is_empty() => format!("nothing is left in {}", empty.join(", ")),
                    Some(joined) => format!("its set bridges lacks {}", joined.link),
                    None => {
                        self.table_is_whole = true;
                        return self.say(Hop::good("host", &about, "there"));
                    }
                }
            }
        };
        self.say(Hop::bad("host", &about, found, cause, "ctr network reload").fix(Fix::Reload));
    }

    /// The link that leads outside.
    fn uplink_of(&self, v6: bool) -> Option<&'a Link> {
        let way = self.look.outside.get(usize::from(v6))?.as_ref().ok()?;
        self.look.host.by_index(way.link?)
    }

    fn uplink_end(&self, v6: bool) -> End {
        // Where none leads outside, it is one of a name that no rule has.
        self.uplink_of(v6).map_or(End::by("outside"), |link| End::by(&link.name))
    }

    /// A packet of the container's on its way to the host, or through it: until it is routed.
    fn to_host(&self, joined: &Joined, packet: Packet) -> (Fate, Packet) {
        let mut packet = packet.between(End::by(&joined.veth), End::Host);
        let host = &self.host;
        let fate = host.pass_link(&mut packet, &joined.veth, false);
        let fate = fate.and(|| host.pass_bridge(&mut packet, Hook::PREROUTING));
        let fate = fate.and(|| host.pass_bridge(&mut packet, Hook::INPUT));
        packet.incoming = End::by(&joined.link);
        let fate = fate.and(|| host.pass_link(&mut packet, &joined.link, false));
        let fate = fate.and(|| host.pass(&mut packet, Hook::PREROUTING));
        let is_for_host = self.look.host.holder(packet.to).is_some();
        let fate = if is_for_host { fate.and(|| host.pass(&mut packet, Hook::INPUT)) } else { fate };
        (fate, packet)
    }

    /// The same from where it was routed to the container.
    fn to_container(&self, joined: &Joined, mut packet: Packet) -> (Fate, Packet) {
        packet.outgoing = End::by(&joined.link);
        let host = &self.host;
        let fate = host.pass(&mut packet, Hook::FORWARD);
        let fate = fate.and(|| host.pass(&mut packet, Hook::POSTROUTING));
        let mut bridged = packet.clone().between(End::Host, End::by(&joined.veth));
        let fate = fate.and(|| host.pass_bridge(&mut bridged, Hook::OUTPUT));
        let fate = fate.and(|| host.pass_bridge(&mut bridged, Hook::POSTROUTING));
        (fate, packet)
    }

    /// What becomes of a packet of the container's that goes outside, and of what it is answered.
    fn outside(&self, joined: &Joined, first: Packet) -> (Fate, Packet) {
        let v6 = first.to.is_ipv6();
        let (own, outside) = (first.from, first.to);
        let (protocol, port) = (first.protocol, first.to_port);
        let (fate, mut packet) = self.to_host(joined, first);
        packet.outgoing = self.uplink_end(v6);
        let host = &self.host;
        let fate = fate.and(|| host.pass(&mut packet, Hook::FORWARD));
        // Asked in any case: whether its source was changed is a question of its own.
        let leaving = host.pass(&mut packet, Hook::POSTROUTING);
        let fate = fate.and(|| leaving);
        let fate = fate.and(|| match self.uplink_of(v6) {
            Some(link) => host.pass_link(&mut packet, &link.name, true),
            None => Fate::Passes,
        });
        let fate = fate.and(|| {
            let Some(own) = own else { return Fate::Passes };
            let mut back = Packet::new(Some(outside), own, protocol, None);
            (back.from_port, back.answer) = (port, true);
            back.status = packet.status;
            back.incoming = self.uplink_end(v6);
            let host_side = address_of(self.subject, self.look, v6);
            let mut arriving = Packet { to: host_side.unwrap_or(own), ..back.clone() };
            let fate = host.pass(&mut arriving, Hook::PREROUTING);
            fate.and(|| self.to_container(joined, back).0)
        });
        (fate, packet)
    }

    /// Rules on the way out and back, and whether the source is changed.
    fn filters(&mut self, joined: &Joined) {
        let about = format!("rules for {}", joined.network);
        for (own, _, _) in joined.addresses().into_iter().flatten() {
            let v6 = own.is_ipv6();
            if v6 && self.uplink_of(true).is_none() {
                continue;
            }
            let about = if v6 { format!("{about} (IPv6)") } else { about.clone() };
            let to = if v6 { IpAddr::V6(look::OUTSIDE6) } else { IpAddr::V4(look::OUTSIDE4) };
            let (fate, packet) = self.outside(joined, outgoing(own, to));
            match fate {
                Fate::Drops(place) => self.dropped(&about, &place, joined, "what the container sends outside", None),
                // What was tried tells more than what can be read.
                Fate::Perhaps(place) if !self.reached_outside(joined, v6) => {
                    let found = format!("{place} may drop what the container sends outside");
                    self.say(Hop::note("host", &about, found, "it asks something that cannot be told from here"));
                }
                _ => self.say(Hop::good("host", &about, "let it out, and its answers in")),
            }
            let translated = packet.has_new_source();
            if self.table_is_whole && !translated {
                let found = format!("{own} is not translated on its way out");
                let cause = "the rule that does it (masquerade) is gone: nobody outside knows whom to answer";
                let hop = Hop::bad("host", "masquerade", found, cause, "ctr network reload");
                self.say(hop.fix(Fix::Reload));
            }
        }
    }

    /// A name server outside has answered the container.
    fn reached_outside(&self, joined: &Joined, v6: bool) -> bool {
        let servers = look::servers(&self.subject.resolv_conf);
        let networks: Vec<(IpAddr, u8)> =
            joined.addresses().into_iter().flatten().map(|(own, prefix, _)| (own, prefix)).collect();
        let here = |server: IpAddr| {
            let near = |(own, prefix): &(IpAddr, u8)| network_of(server, *prefix) == network_of(*own, *prefix);
            server.is_loopback() || self.look.host.holder(server).is_some() || networks.iter().any(near)
        };
        let answered = |(n, server): (usize, &IpAddr)| {
            server.is_ipv6() == v6 && !here(*server) && self.heard.answered(Key::NameInside(n))
        };
        servers.iter().enumerate().any(answered)
    }

    /// A rule that drops what should pass.
    fn dropped(&mut self, about: &str, place: &Place, joined: &Joined, what: &str, port: Option<&Port>) {
        let verb = if place.rejects { "rejects" } else { "drops" };
        let found = format!("{place} {verb} {what}");
        let ours = place.family == Family::INET && place.table == self.subject.table;
        let here = port.map_or("host".to_owned(), place_of);
        let hop = if ours {
            let cause = "it is in ctr's own table, which somebody has changed";
            Hop::bad(&here, about, found, cause, "ctr network reload").fix(Fix::Reload)
        } else {
            let cause = "a firewall beside ctr knows nothing of its networks; an accept of ctr's is no accept there";
            Hop::bad(&here, about, found, cause, open(place, joined, self.look, port))
        };
        // One rule is one fault, however many it is in the way of.
        if let Some(other) = self.hops.iter().find(|other| other.health == Health::Bad && other.mend == hop.mend) {
            let cause = format!("as was said of {}", other.about);
            self.say(Hop::note(&here, about, hop.found, cause));
        } else {
            self.say(hop);
        }
    }

    /// What the kernel itself says of a packet that comes from the container and goes outside.
    fn through(&mut self, n: usize, joined: &Joined) {
        let Some(Err(errno)) = self.look.through.get(n).and_then(Option::as_ref) else { return };
        let up = self.look.host.link(&joined.link).is_some_and(Link::is_up);
        // What is known to stand in the way of it.
        let explained = !up
            || self.look.forwards[0] == Some(false)
            || self.look.outside.first().is_none_or(Result::is_err)
            || self.is_bad_before("bridge")
            || self.hops.iter().any(|hop| hop.health == Health::Bad && hop.about == "forwarding");
        if explained {
            return;
        }
        let about = format!("routes for {}", joined.network);
        if *errno == libc::EXDEV {
            let found = "rp_filter drops what comes from the container";
            let cause =
                "it is strict, and the host's way back to the container is not by the bridge: ip route, ip rule";
            let mend = format!("sysctl -w net.ipv4.conf.{0}.rp_filter=2 net.ipv4.conf.all.rp_filter=2", joined.link);
            return self.say(Hop::bad("host", &about, found, cause, mend));
        }
        let found = format!("the kernel would not pass it on: {}", words_of(*errno));
        let cause = "a routing rule or route forbids it for packets that come in by the bridge";
        self.say(Hop::bad("host", &about, found, cause, "find it: ip rule; ip route show table all"));
    }

    fn uplink(&mut self) {
        let v6 = self.outward().any(|joined| joined.v6.is_some());
        if self.outward().next().is_none() {
            return;
        }
        let host = &self.look.host;
        match self.look.outside.first() {
            Some(Ok(way)) => {
                let name = host.name_of(way.link);
                let by = way.gateway.map_or(String::new(), |gateway| format!(" by {gateway}"));
                let found = format!("{name}{by}");
                self.say(Hop::good("uplink", "way out", found));
            }
            Some(Err(errno)) => {
                let found = format!("no route on the host to the outside: {}", words_of(*errno));
                let down: Vec<&str> = host
                    .links
                    .iter()
                    .filter(|link| is_port_to_world(link) && !link.is_up())
                    .map(|link| link.name.as_str())
                    .collect();
                let mut cause = "the host itself reaches nobody outside, so its containers do not".to_owned();
                if !down.is_empty() {
                    cause.push_str("; these links are down: ");
                    cause.push_str(&down.join(", "));
                }
                let mend = "ip route add default via GATEWAY (or ask the network's DHCP again)";
                self.say(Hop::bad("uplink", "way out", found, cause, mend));
            }
            None => {}
        }
        if v6 && host.has_v6 {
            if let Some(Ok(way)) = self.look.outside.get(1) {
                self.say(Hop::good("uplink", "way out (IPv6)", host.name_of(way.link)));
            } else {
                let cause = "the host has IPv6 on its own links alone, and so have its containers";
                self.say(Hop::note("uplink", "way out (IPv6)", "none", cause));
            }
        }
        let Some(uplink) = self.uplink_of(false) else { return };
        if !uplink.carrier && uplink.flags & libc::IFF_LOOPBACK as u32 == 0 {
            let cause = "no cable is plugged in, or who is at its other end is off";
            self.say(Hop::bad("uplink", &uplink.name, "no carrier", cause, "plug it in"));
        }
        for joined in self.subject.joined.iter().filter(|joined| !joined.internal && !joined.macvlan) {
            let Some(eth) = self.look.inside.link(&joined.inside).filter(|eth| eth.mtu > uplink.mtu) else {
                continue;
            };
            // What is too large for the bridge was said there.
            if self.look.host.link(&joined.link).is_some_and(|bridge| eth.mtu > bridge.mtu) {
                continue;
            }
            let found =
                format!("{} sends up to {} bytes, {} takes {}", joined.inside, eth.mtu, uplink.name, uplink.mtu);
            let cause =
                "what comes back is too large, too, and where somebody drops ICMP nobody is told: transfers hang";
            if joined.mtu == Some(eth.mtu) {
                self.say(Hop::note("uplink", "mtu", found, format!("so the network was made; {cause}")));
                continue;
            }
            let mend = format!("{}ip link set dev {} mtu {}", self.enter, joined.inside, uplink.mtu);
            let fix = Fix::Mtu {
                inside: vec![joined.inside.clone()],
                outside: vec![joined.veth.clone(), joined.link.clone()],
                mtu: uplink.mtu,
            };
            self.say(Hop::bad("uplink", "mtu", found, cause, mend).fix(fix));
        }
    }

    // ---- names

    fn names(&mut self) {
        let servers = look::servers(&self.subject.resolv_conf);
        let leads_out = self.subject.joined.iter().any(|joined| !joined.internal);
        let name = &self.subject.name;
        let about = "resolv.conf";
        if self.subject.joined.is_empty() {
            return;
        }
        if servers.is_empty() {
            let cause = "names are not resolved: who looks one up asks the container itself, where nobody answers";
            let hop = if leads_out {
                let mend = format!("give it one: ctr run --name {name} --dns ADDRESS ...");
                Hop::bad("names", about, "it names no server", cause, mend)
            } else {
                Hop::note("names", about, "it names no server", "its networks are internal")
            };
            return self.say(hop);
        }
        let broken = self.is_bad_before("uplink");
        let answered = |n: usize| self.heard.answered(Key::NameInside(n));
        let any = (0..servers.len()).any(answered);
        let mut hops = Vec::new();
        let loopback = servers.iter().all(IpAddr::is_loopback) && !any;
        for (n, server) in servers.iter().enumerate() {
            let about = server.to_string();
            if answered(n) {
                hops.push(Hop::good("names", &about, "answers"));
                continue;
            }
            let said = match self.heard.of(Key::NameInside(n)) {
                Some(Outcome::Refused(errno)) => words_of(*errno),
                _ => "no answer".to_owned(),
            };
            if server.is_loopback() {
                let cause = "in the container that is the container itself, and nobody listens there; the host's own \
                             resolver, if that was meant, is not reached by it";
                let mend = format!("give it a server that is: ctr run --name {name} --dns ADDRESS ...");
                hops.push(if loopback {
                    Hop::bad("names", &about, said, cause, mend)
                } else {
                    Hop::note("names", &about, said, cause)
                });
                continue;
            }
            let host_too = self.heard.answered(Key::NameOutside(n));
            hops.push(if broken || !leads_out {
                Hop::note("names", &about, said, "as was to be expected after the above")
            } else if host_too {
                self.unheard(&about, *server, &said)
            } else if any {
                Hop::note("names", &about, format!("{said}, the host has none either"), "another one answers")
            } else {
                let cause = "the host gets no answer either: it is down, or a firewall outside drops questions";
                // No fault of the container's, nor of this host's.
                Hop::note("names", &about, said, cause)
            });
        }
        self.hops.extend(hops);
    }

    /// A name server that answers the host, and not the container.
    fn unheard(&self, about: &str, server: IpAddr, said: &str) -> Hop {
        let found = format!("{said}, though the host has one");
        let (udp, port) = (libc::IPPROTO_UDP as u8, Some(53));
        for joined in self.outward() {
            let Some(own) =
                joined.addresses().into_iter().flatten().find(|(own, ..)| own.is_ipv6() == server.is_ipv6())
            else {
                continue;
            };
            let packet = Packet::new(Some(own.0), server, udp, port);
            let fate = if self.look.host.holder(server).is_some() {
                self.to_host(joined, packet).0
            } else {
                self.outside(joined, packet).0
            };
            if let Fate::Drops(place) = fate {
                let cause = format!("{place} drops the question");
                return Hop::bad("names", about, found, cause, open(&place, joined, self.look, None));
            }
        }
        let cause =
            "questions of the container's are dropped somewhere on the way, by rules that cannot be read from here";
        Hop::bad("names", about, found, cause, "iptables-legacy -S; nft list ruleset; or name another: --dns ADDRESS")
    }

    // ---- published ports

    fn port(&mut self, n: usize) {
        let Some(port) = self.subject.ports.get(n) else { return };
        let host = &self.look.host;
        if port.at.is_ipv6() && !host.has_v6 {
            return;
        }
        let place = place_of(port);
        let about = SocketAddr::new(port.at, port.host).to_string();
        let before = self.hops.len();
        let joined = self
            .subject
            .joined
            .iter()
            .find(|joined| joined.addresses().into_iter().flatten().any(|(own, ..)| own == port.to));
        if joined.is_none() {
            let found = format!("it leads to {}, which is no address of the container's", port.to);
            let hop = Hop::bad(&place, &about, found, "it was published for an earlier life", "ctr network reload");
            return self.say(hop.fix(Fix::Reload));
        }
        let listens = self.listening(n, port, &place, &about);
        let mut is_here = true;
        if let Some(way) = self.look.published.get(n).and_then(Option::as_ref) {
            if !way.as_ref().is_ok_and(|way| way.kind == route::RTN_LOCAL) {
                is_here = false;
                let uplink = self.uplink_of(port.at.is_ipv6()).map_or("LINK", |link| &link.name);
                let found = format!("the host has no address {}", port.at);
                let cause = "it is published there, and nobody can ask there";
                let bits = if port.at.is_ipv6() { 128 } else { 32 };
                let mend = format!(
                    "ip addr add {}/{bits} dev {uplink}, or publish it at an address that the host has",
                    port.at
                );
                self.say(Hop::bad(&place, &about, found, cause, mend));
            }
        }
        let direct = !self.subject.forwarded && !port.at.is_loopback() && port.at.is_ipv6() == port.to.is_ipv6();
        self.rivals(port, &place, &about);
        if direct && self.table_is_whole {
            self.element(port, &place, &about);
            if let Some(joined) = joined.filter(|_| is_here) {
                self.arrive(port, joined, &about);
            }
        } else if direct && host.rules.is_some() {
            let cause = "it comes back with the table";
            self.say(Hop::note(&place, &about, "it is not in ctr's table", cause));
        }
        if i32::from(port.protocol) != libc::IPPROTO_SCTP && (!direct || port.at.is_unspecified()) {
            self.forwarder(port, direct, &place, &about);
        }
        let bad_here = self.hops.iter().skip(before).any(|hop| hop.health == Health::Bad);
        if listens && !bad_here {
            self.tried(n, port, &place, &about);
        }
        if self.hops.len() == before {
            let to = SocketAddr::new(port.to, port.inside);
            let how = match i32::from(port.protocol) {
                libc::IPPROTO_TCP if self.heard.of(Key::Inside(n)).is_some() => "answers",
                libc::IPPROTO_SCTP => "published; whether anybody listens is not looked at",
                _ => "somebody listens",
            };
            self.say(Hop::good(&place, &about, format!("{how}: leads to {to}")));
        }
    }

    /// Whether somebody listens in the container, where he can be reached; says so if not.
    fn listening(&mut self, n: usize, port: &Port, place: &str, about: &str) -> bool {
        if i32::from(port.protocol) == libc::IPPROTO_SCTP {
            return true;
        }
        let udp = i32::from(port.protocol) == libc::IPPROTO_UDP;
        let inside = &self.look.inside;
        let here = |bound: &&Bound| bound.udp == udp && bound.at.port() == port.inside;
        let ips: Vec<IpAddr> = inside.sockets.iter().filter(here).map(|bound| canonical(bound.at.ip())).collect();
        // Who listens at :: has IPv4 too, unless he asked for less; that shows when he is tried.
        let reaches = |ip: &IpAddr| *ip == port.to || (ip.is_unspecified() && (ip.is_ipv6() || !port.to.is_ipv6()));
        let (number, name) = (port.inside, &self.subject.name);
        let any = if port.to.is_ipv6() { "::" } else { "0.0.0.0" };
        if ips.iter().any(reaches) {
            let refused = self.heard.of(Key::Inside(n)) == Some(&Outcome::Refused(libc::ECONNREFUSED));
            let six_alone = refused && !port.to.is_ipv6() && ips.iter().all(IpAddr::is_ipv6);
            if six_alone {
                let found = format!("who listens on {number} in the container does so with IPv6 alone");
                let mend = "have the program listen on 0.0.0.0 too".to_owned();
                self.say(Hop::bad(place, about, found, "IPv4 is refused", mend));
            }
            return !six_alone;
        }
        let twin = |other: &Port| {
            other.host == port.host && other.protocol == port.protocol && !other.at.is_ipv6() && port.at.is_ipv6()
        };
        let hop = if ips.is_empty() {
            let mut others: Vec<u16> = inside
                .sockets
                .iter()
                .filter(|bound| bound.udp == udp && !canonical(bound.at.ip()).is_loopback())
                .map(|bound| bound.at.port())
                .collect();
            others.sort_unstable();
            others.dedup();
            let words = others.iter().take(8).map(u16::to_string).collect::<Vec<_>>().join(", ");
            let protocol = protocol_name(port.protocol);
            let found = format!("nobody listens on {number}/{protocol} in the container");
            let cause = if others.is_empty() {
                "the program is not up yet, or has ended, or listens elsewhere".to_owned()
            } else {
                format!("the program is not up yet, or uses another port: in there somebody listens on {words}")
            };
            if port.at.is_ipv6() && self.said(place, &found) {
                return false;
            }
            Hop::bad(place, about, found, cause, format!("ctr logs {name}"))
        } else if port.to.is_ipv6() && ips.contains(&IpAddr::from([0; 4])) && self.subject.ports.iter().any(twin) {
            let found = format!("who listens on {number} in the container does so with IPv4 alone");
            let cause = "who asks the host with IPv6 is refused; have the program listen on :: if that matters";
            Hop::note(place, about, found, cause)
        } else if ips.iter().all(IpAddr::is_loopback) {
            let list: Vec<String> = ips.iter().map(|ip| SocketAddr::new(*ip, number).to_string()).collect();
            let found = format!("the program listens on {} alone", list.join(", "));
            if port.at.is_ipv6() && self.said(place, &found) {
                return false;
            }
            let cause = "that is the container's own loopback: nobody outside of it reaches that";
            Hop::bad(place, about, found, cause, format!("have the program listen on {any}:{number}"))
        } else {
            let list: Vec<String> = ips.iter().map(IpAddr::to_string).collect();
            let found = format!("the program listens on {} alone, port {number}", list.join(", "));
            let cause = format!("the port leads to {}", port.to);
            Hop::bad(place, about, found, cause, format!("have the program listen on {any}:{number}"))
        };
        self.say(hop);
        false
    }

    /// It was said of the other family's port already.
    fn said(&mut self, place: &str, found: &str) -> bool {
        self.hops.iter().any(|hop| hop.place == place && hop.found == found)
    }

    /// Others who listen on the host where the port is published.
    fn rivals(&mut self, port: &Port, place: &str, about: &str) {
        let udp = i32::from(port.protocol) == libc::IPPROTO_UDP;
        let meets = |bound: &Bound| {
            let ip = canonical(bound.at.ip());
            let both = ip.is_ipv6() == port.at.is_ipv6();
            bound.udp == udp
                && bound.at.port() == port.host
                && i32::from(port.protocol) != libc::IPPROTO_SCTP
                && ((both && (ip == port.at || port.at.is_unspecified()))
                    || (ip.is_unspecified() && (both || ip.is_ipv6())))
        };
        let mut told = Vec::new();
        for bound in self.look.host.sockets.iter().filter(|bound| meets(bound)) {
            let Some(program) = self.look.programs.get(&bound.inode) else {
                continue;
            };
            if program.is_ctr || told.contains(&program.pid) {
                continue;
            }
            told.push(program.pid);
            let found = format!("{} (pid {}) listens on the host at {}", program.name, program.pid, bound.at);
            if port.at.is_ipv6() && self.said(place, &found) {
                continue;
            }
            let cause = "it has taken the port: some who ask reach it, others the container";
            let mend = format!("stop it (kill {}), or publish another port", program.pid);
            self.hops.push(Hop::bad(place, about, found, cause, mend));
        }
    }

    /// The element of our maps.
    fn element(&mut self, port: &Port, place: &str, about: &str) {
        let Some(rules) = &self.look.host.rules else { return };
        let address = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let (any, one) = if port.at.is_ipv6() { ("any6", "ports6") } else { ("any4", "ports4") };
        let number = port.host.to_be_bytes();
        let (map, key) = if port.at.is_unspecified() {
            (any, concat(&[&[port.protocol], &number]))
        } else {
            (one, concat(&[&[port.protocol], &address(port.at), &number]))
        };
        let found = rules.set(Family::INET, &self.subject.table, map).and_then(|set| set.find(&key));
        let wanted = concat(&[&address(port.to), &port.inside.to_be_bytes()]);
        let found = match found.and_then(|element| element.data.as_ref()) {
            // The gap behind the port is nobody's.
            Some(nft::Data::Value(value)) if value.get(..wanted.len() - 2) == wanted.get(..wanted.len() - 2) => {
                return;
            }
            Some(_) => format!("it leads elsewhere than to {}", SocketAddr::new(port.to, port.inside)),
            None => format!("it is not in the map {map} of ctr's table"),
        };
        let cause = "somebody has changed the map: who asks the host is not led to the container";
        self.say(Hop::bad(place, about, found, cause, "ctr network reload").fix(Fix::Reload));
    }

    /// A client outside asks: what becomes of his packet?
    fn arrive(&mut self, port: &Port, joined: &Joined, about: &str) {
        let v6 = port.at.is_ipv6();
        let place = place_of(port);
        if self.hops.iter().any(|hop| hop.place == place && hop.about == about && hop.fix == Some(Fix::Reload)) {
            return;
        }
        let Some(at) =
            (if port.at.is_unspecified() { address_of(self.subject, self.look, v6) } else { Some(port.at) })
        else {
            return;
        };
        let link = self.look.host.holder(at).or_else(|| self.uplink_of(v6));
        let way = self.look.outside.get(usize::from(v6)).and_then(|way| way.as_ref().ok());
        let client =
            way.and_then(|way| way.gateway).unwrap_or(if v6 { look::OUTSIDE6.into() } else { look::OUTSIDE4.into() });
        let incoming = match link {
            // From the container's own network, or loopback, nobody outside comes.
            Some(link) if link.name == joined.link || link.name == "lo" => self.uplink_end(v6),
            Some(link) => End::by(&link.name),
            None => self.uplink_end(v6),
        };
        let mut packet =
            Packet::new(Some(client), at, port.protocol, Some(port.host)).between(incoming.clone(), End::Host);
        let host = &self.host;
        let fate = match &incoming {
            End::By(link) => host.pass_link(&mut packet, link, false),
            End::Host => Fate::Passes,
        };
        let fate = fate.and(|| host.pass(&mut packet, Hook::PREROUTING));
        let led = (packet.to, packet.to_port) == (port.to, Some(port.inside));
        if !led && !matches!(fate, Fate::Drops(_)) {
            let found = if packet.has_new_destination() {
                format!("it is led to {} instead of to {}", packet.to, port.to)
            } else {
                "no rule leads it to the container".to_owned()
            };
            let cause = "ctr's rule is gone from its table, or somebody else's rule comes first";
            return self.say(Hop::bad(&place, about, found, cause, "ctr network reload").fix(Fix::Reload));
        }
        let fate = fate.and(|| {
            let (fate, packet) = self.to_container(joined, packet.clone());
            fate.and(|| {
                let mut packet = packet.between(End::by(&joined.inside), End::Host);
                packet.status = 0;
                let fate = self.inside.pass(&mut packet, Hook::PREROUTING);
                fate.and(|| self.inside.pass(&mut packet, Hook::INPUT))
            })
        });
        match fate {
            Fate::Passes => {}
            Fate::Perhaps(place_) => {
                let found = format!("{place_} may drop who asks from outside");
                self.say(Hop::note(&place, about, found, "it asks something that cannot be told from here"));
            }
            Fate::Drops(place_) => {
                let own = self.look.inside.rules.as_ref().is_some_and(|rules| {
                    !self.look.host.rules.as_ref().is_some_and(|host| host.chains.iter().any(|c| is_at(c, &place_)))
                        && rules.chains.iter().any(|chain| is_at(chain, &place_))
                });
                if own {
                    let found = format!("in the container, {place_} drops who asks from outside");
                    let mend = format!(
                        "{}nft list chain {} {} {}",
                        self.enter,
                        place_.family.name(),
                        place_.table,
                        place_.base
                    );
                    return self.say(Hop::bad(&place, about, found, "the container has rules of its own", mend));
                }
                self.dropped(about, &place_, joined, "who asks from outside", Some(port));
            }
        }
    }

    /// Who serves this host's own loopback addresses, or all of them.
    fn forwarder(&mut self, port: &Port, direct: bool, place: &str, about: &str) {
        let udp = i32::from(port.protocol) == libc::IPPROTO_UDP;
        let serves = |bound: &&Bound| {
            let ip = bound.at.ip();
            bound.udp == udp
                && bound.at.port() == port.host
                && if direct { ip.is_loopback() && ip.is_ipv6() == port.at.is_ipv6() } else { ip == port.at }
        };
        // Somebody else's was named as a rival.
        if self.look.host.sockets.iter().any(|bound| serves(&bound))
            || self.hops.iter().any(|hop| hop.place == place && hop.about == about && hop.mend.starts_with("stop it"))
        {
            return;
        }
        let whom = if direct { "this host's loopback addresses are" } else { "the port is" };
        let found = "nobody serves it on the host";
        let cause = format!("{whom} served by a process of ctr's, the forwarder, and it has ended");
        self.say(Hop::bad(place, about, found, cause, format!("ctr restart {}", self.subject.name)));
    }

    /// Where a packet of this host's own to a container's port is dropped.
    fn dropped_on_the_way(&self, port: &Port) -> Option<(Place, &'a Joined)> {
        let own = |joined: &&Joined| joined.addresses().into_iter().flatten().any(|(own, ..)| own == port.to);
        let joined = self.subject.joined.iter().find(own)?;
        let (_, _, gateway) = joined.addresses().into_iter().flatten().find(|(own, ..)| *own == port.to)?;
        let mut packet = Packet::new(gateway, port.to, port.protocol, Some(port.inside));
        packet.outgoing = End::by(&joined.link);
        let fate = self.host.pass(&mut packet, Hook::OUTPUT);
        let fate = fate.and(|| self.host.pass(&mut packet, Hook::POSTROUTING));
        let mut bridged = packet.clone().between(End::Host, End::by(&joined.veth));
        let fate = fate.and(|| self.host.pass_bridge(&mut bridged, Hook::OUTPUT));
        let fate = fate.and(|| self.host.pass_bridge(&mut bridged, Hook::POSTROUTING));
        match fate {
            Fate::Drops(place) => Some((place, joined)),
            _ => None,
        }
    }

    /// What was tried.
    fn tried(&mut self, n: usize, port: &Port, place: &str, about: &str) {
        let to = SocketAddr::new(port.to, port.inside);
        let broken =
            self.is_bad_before("host") || self.hops.iter().any(|hop| hop.place == place && hop.health == Health::Bad);
        let said = |outcome: &Outcome| match outcome {
            Outcome::Refused(errno) => words_of(*errno),
            _ => "no answer".to_owned(),
        };
        match self.heard.of(Key::Inside(n)) {
            None => return,
            Some(Outcome::Answered) => {}
            Some(outcome) => {
                let found = format!("{to} does not answer the host: {}", said(outcome));
                let hop = if broken {
                    Hop::note(place, about, found, "as was to be expected after the above")
                } else if let Some((dropping, joined)) = self.dropped_on_the_way(port) {
                    let cause = format!("{dropping} drops what this host itself sends there");
                    Hop::bad(place, about, found, cause, open(&dropping, joined, self.look, Some(port)))
                } else {
                    let cause =
                        "somebody listens, and does not get it, or is too busy: rules that cannot be read from here";
                    let mend =
                        format!("iptables-legacy -S; {}nft list ruleset; ctr logs {}", self.enter, self.subject.name);
                    Hop::bad(place, about, found, cause, mend)
                };
                return self.say(hop);
            }
        }
        for at in places(self.subject, self.look, port) {
            match self.heard.of(Key::Published(n, at)) {
                None | Some(Outcome::Answered) => {}
                Some(outcome) => {
                    let found = format!("{at} does not answer the host: {}", said(outcome));
                    let hop = if broken {
                        Hop::note(place, about, found, "as was to be expected after the above")
                    } else if at.ip().is_loopback() {
                        let cause = "the forwarder, a process of ctr's, does not serve it";
                        Hop::bad(place, about, found, cause, format!("ctr restart {}", self.subject.name))
                    } else {
                        let cause = "the container answers where it is, so the way to there is not found: rules of \
                                     somebody else's on this host's own packets (output)";
                        Hop::bad(place, about, found, cause, "nft list ruleset; iptables-legacy -t nat -S OUTPUT")
                    };
                    self.say(hop);
                }
            }
        }
    }
}

fn place_of(port: &Port) -> String {
    format!("port {}/{}", port.host, protocol_name(port.protocol))
}

fn is_at(chain: &nft::Chain, place: &Place) -> bool {
    chain.family == place.family && chain.table == place.table && chain.name == place.chain
}

/// `rp_filter` as the kernel looks at it: the larger of the link's and of all links'.
fn strict(link: &Link) -> bool {
    link.ipv4.as_ref().and_then(|conf| conf.get(Ipv4Conf::RP_FILTER)) == Some(1)
}

/// A link that may lead outside.
fn is_port_to_world(link: &Link) -> bool {
    link.flags & libc::IFF_LOOPBACK as u32 == 0
        && link.master.is_none()
        && !matches!(
            link.kind.as_deref(),
            Some("bridge" | "veth" | "dummy" | "sit" | "ip6tnl" | "ipip" | "gre" | "gretap")
        )
}

/// A packet of the container's that begins a connection outside.
fn outgoing(own: IpAddr, to: IpAddr) -> Packet {
    Packet::new(Some(own), to, libc::IPPROTO_TCP as u8, Some(443))
}

/// What it is answered.
fn answer(from: IpAddr, own: IpAddr) -> Packet {
    Packet { from_port: Some(443), answer: true, ..Packet::new(Some(from), own, libc::IPPROTO_TCP as u8, None) }
}

/// The command that opens a chain of somebody else's for one of our networks.
fn open(place: &Place, joined: &Joined, look: &Look, port: Option<&Port>) -> String {
    let link = &joined.link;
    let rules = look.host.rules.as_ref();
    let chains = || rules.into_iter().flat_map(|rules| rules.chains.iter());
    let here = |chain: &&nft::Chain| chain.family == place.family && chain.table == place.table;
    let hook = chains().filter(here).find(|chain| chain.name == place.base).and_then(|chain| chain.hook.as_ref());
    let (family, table, base) = (place.family.name(), &place.table, &place.base);
    let passes = hook.is_none_or(|hook| hook.number == Hook::FORWARD);
    if table == "firewalld" {
        return format!("firewall-cmd --permanent --zone=trusted --add-interface={link} && firewall-cmd --reload");
    }
    if !matches!(place.family, Family::INET | Family::IPV4 | Family::IPV6) {
        return match place.handle {
            Some(handle) => format!("nft delete rule {family} {table} {} handle {handle}", place.chain),
            None => format!("nft chain {family} {table} {base} '{{ policy accept; }}'"),
        };
    }
    if base == "FORWARD" && table == "filter" {
        if chains().filter(here).any(|chain| chain.name.starts_with("ufw-")) {
            return format!("ufw route allow in on {link} && ufw route allow out on {link}");
        }
        let tool = if place.family == Family::IPV6 { "ip6tables" } else { "iptables" };
        let users = chains().filter(here).any(|chain| chain.name == "DOCKER-USER");
        let chain = if users { "DOCKER-USER" } else { "FORWARD" };
        return format!("{tool} -I {chain} -i {link} -j ACCEPT && {tool} -I {chain} -o {link} -j ACCEPT");
    }
    let insert = format!("nft insert rule {family} {table} {base}");
    match port {
        _ if passes => format!("{insert} iifname {link} accept && {insert} oifname {link} accept"),
        _ if hook.is_some_and(|hook| hook.number == Hook::OUTPUT) => format!("{insert} oifname {link} accept"),
        Some(port) => format!("{insert} {} dport {} accept", protocol_name(port.protocol), port.host),
        None => format!("{insert} iifname {link} accept"),
    }
}
