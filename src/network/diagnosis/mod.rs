//! Why does traffic not move? The way of a packet from a container to the outside, and from the outside to its
//! published ports, hop by hop: what is, what should be, and the command that mends it.
//!
//! First it is read what the kernel has in both network namespaces ([`look`]), then it is tried what answers
//! ([`attempt`]), all at once; both together are judged ([`judge`]), with nf_tables gone through on paper ([`walk`])
//! for the packets that cannot be sent from here. Looking changes nothing; trying sends a few packets: an echo and an
//! ARP question on the container's own link, a question to each of its name servers, and a connection to each
//! published port of TCP, closed at once.
//!
//! A hop is bad only where that is certain. What follows from a bad hop before it, or cannot be told, is a note.
//! [`mend`] does what is ctr's own; nobody else's rules are ever touched.

mod attempt;
mod judge;
mod look;
mod walk;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use netlink::addr::{self, Address};
use netlink::link::{self, Netns, Settings};
use netlink::neigh::Neighbour;
use netlink::route::{self, Route};
use netlink::{NETLINK_ROUTE, Socket};
use rootfs::json::Value;

use crate::error::{Doing, Error, Result};
use crate::procfs;
use attempt::{Attempt, Outcome};
use look::Look;

/// At most so many published ports are tried; of the others it is said what can be read.
const MOST: usize = 100;
/// How wide the picture is at most.
const WIDTH: usize = 110;
/// Where its second column begins, and its third.
const SECOND: usize = 5;
const THIRD: usize = 22;

/// A container that runs, as far as its networks are concerned.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its first process, which lives.
    pub pid: u32,
    /// /etc/resolv.conf as the container sees it.
    pub resolv_conf: String,
    /// Our table of nf_tables, of the family `inet`.
    pub table: String,
    /// Its networks, in the order of its links.
    pub joined: Vec<Joined>,
    /// Its published ports.
    pub ports: Vec<Port>,
    /// Its ports are served in user space: when it was made, the kernel had no nf_tables.
    pub forwarded: bool,
}

/// One network of a container, as it should be.
#[derive(Clone, Debug, Default)]
pub struct Joined {
    /// The network.
    pub network: String,
    /// Its bridge; or the host's link that a macvlan is on.
    pub link: String,
    /// It is a macvlan: there is neither bridge nor veth, and no rule of ours.
    pub macvlan: bool,
    /// The link inside: `eth0`.
    pub inside: String,
    /// The veth's end outside.
    pub veth: String,
    /// The container's address there, and how many bits of it are the network's.
    pub v4: Option<(Ipv4Addr, u8)>,
    /// By whom it reaches others.
    pub gateway4: Option<Ipv4Addr>,
    /// The same of IPv6.
    pub v6: Option<(Ipv6Addr, u8)>,
    /// The same of IPv6.
    pub gateway6: Option<Ipv6Addr>,
    /// The network leads nowhere.
    pub internal: bool,
    /// The largest packet, if somebody asked for one.
    pub mtu: Option<u32>,
}

impl Joined {
    /// Addresses and gateways, of IPv4 and of IPv6.
    fn addresses(&self) -> [Option<(IpAddr, u8, Option<IpAddr>)>; 2] {
        [
            self.v4.map(|(own, prefix)| (IpAddr::V4(own), prefix, self.gateway4.map(IpAddr::V4))),
            self.v6.map(|(own, prefix)| (IpAddr::V6(own), prefix, self.gateway6.map(IpAddr::V6))),
        ]
    }
}

/// A published port.
#[derive(Clone, Debug)]
pub struct Port {
    /// `IPPROTO_*`.
    pub protocol: u8,
    /// At which address of the host: `0.0.0.0` and `::` are any.
    pub at: IpAddr,
    /// At which port of it.
    pub host: u16,
    /// The port in the container.
    pub inside: u16,
    /// The container's address.
    pub to: IpAddr,
}

/// How well a hop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// As it should be.
    Good,
    /// A fault.
    Bad,
    /// Worth knowing, or nothing that can be told.
    Note,
}

impl Health {
    /// One word for it.
    pub fn word(self) -> &'static str {
        match self {
            Health::Good => "good",
            Health::Bad => "bad",
            Health::Note => "note",
        }
    }
}

/// One thing on the way of a packet.
#[derive(Clone, Debug)]
pub struct Hop {
    /// Where: `container`, `veth`, `bridge`, `host`, `uplink`, `names`, `port 8080/tcp`.
    pub place: String,
    /// What was looked at.
    pub about: String,
    /// How well it is.
    pub health: Health,
    /// What is.
    pub found: String,
    /// Why that is bad, or came about.
    pub cause: String,
    /// The command that mends it, or what to do.
    pub mend: String,
    /// What [`mend`] would do.
    pub fix: Option<Fix>,
}

impl Hop {
    fn new(place: &str, about: &str, health: Health, found: String) -> Hop {
        let (place, about) = (place.to_owned(), about.to_owned());
        Hop { place, about, health, found, cause: String::new(), mend: String::new(), fix: None }
    }

    fn good(place: &str, about: &str, found: impl Into<String>) -> Hop {
        Hop::new(place, about, Health::Good, found.into())
    }

    fn note(place: &str, about: &str, found: impl Into<String>, cause: impl Into<String>) -> Hop {
        Hop { cause: cause.into(), ..Hop::new(place, about, Health::Note, found.into()) }
    }

    fn bad(
        place: &str,
        about: &str,
        found: impl Into<String>,
        cause: impl Into<String>,
        mend: impl Into<String>,
    ) -> Hop {
        Hop { cause: cause.into(), mend: mend.into(), ..Hop::new(place, about, Health::Bad, found.into()) }
    }

    fn fix(self, fix: Fix) -> Hop {
        Hop { fix: Some(fix), ..self }
    }
}

/// Something that is ours to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fix {
    /// A link is switched on.
    Up {
        /// In the container.
        inside: bool,
        /// Its name.
        link: String,
    },
    /// A link in the container gets another name.
    Rename {
        /// What it is called.
        from: String,
        /// What it should be called.
        to: String,
    },
    /// A link of the host's goes into the container.
    Bring {
        /// What it is called.
        link: String,
        /// What it is called there.
        to: String,
    },
    /// A veth becomes a bridge's port.
    Join {
        /// The veth's end outside.
        veth: String,
        /// The bridge.
        bridge: String,
    },
    /// A link gets an address.
    Address {
        /// In the container.
        inside: bool,
        /// Its name.
        link: String,
        /// The address.
        address: IpAddr,
        /// How many bits of it are the network's.
        prefix: u8,
        /// It is there with this prefix, and goes.
        instead_of: Option<u8>,
    },
    /// The container gets a new cable to one of its networks. The caller's to do.
    Cable {
        /// The link inside.
        inside: String,
    },
    /// The container gets a default route, whatever it has.
    Route {
        /// By way of this host.
        gateway: IpAddr,
        /// The link.
        link: String,
    },
    /// The host gets a route to a network by its bridge.
    Way {
        /// The bridge.
        bridge: String,
        /// The network.
        network: IpAddr,
        /// How many bits of it count.
        prefix: u8,
        /// The bridge's address.
        source: Option<IpAddr>,
    },
    /// Links get a largest packet.
    Mtu {
        /// Links in the container.
        inside: Vec<String>,
        /// Links of the host.
        outside: Vec<String>,
        /// In bytes.
        mtu: u32,
    },
    /// A number below /proc/sys/net of the host.
    Sysctl {
        /// Its path.
        path: String,
        /// What it should be.
        value: &'static str,
    },
    /// `ctr network reload`: bridges and table are made again from the networks' records. The caller's to do.
    Reload,
}

/// What was tried, of which network, name server or port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// An echo of the gateway's, of IPv6 or IPv4.
    Gateway(usize, bool),
    /// The same with the largest packet.
    Large(usize, bool),
    /// Who else says, on the container's link, that he has its address.
    Owners(usize),
    /// Who says so on the bridge.
    OwnersOnBridge(usize),
    /// A name server, from inside.
    NameInside(usize),
    /// A name server, from the host.
    NameOutside(usize),
    /// A port in the container, from the host.
    Inside(usize),
    /// A port where it is published.
    Published(usize, SocketAddr),
}

/// What was heard.
#[derive(Debug, Default)]
struct Heard {
    outcomes: BTreeMap<Key, Outcome>,
    /// The container's neighbours, afterwards.
    neighbours: Vec<Neighbour>,
}

impl Heard {
    fn of(&self, key: Key) -> Option<&Outcome> {
        self.outcomes.get(&key)
    }

    fn answered(&self, key: Key) -> bool {
        self.of(key) == Some(&Outcome::Answered)
    }
}

/// Looks at a container's networks, hop by hop, in the order in which a packet meets them. For root.
pub fn diagnose(subject: &Subject) -> Result<Vec<Hop>> {
    let look = look::look(subject)?;
    let heard = listen(subject, &look)?;
    Ok(judge::judge(subject, &look, &heard))
}

/// Begins everything that is tried, and waits for it.
fn listen(subject: &Subject, look: &Look) -> Result<Heard> {
    let mut keys: Vec<Key> = Vec::new();
    let mut attempts: Vec<Attempt> = Vec::new();
    let servers = look::servers(&subject.resolv_conf);
    let number = |n: usize| (subject.pid as u16).wrapping_add(n as u16);
    look::within(subject.pid, || {
        let mut begin = |key, attempt| {
            keys.push(key);
            attempts.push(attempt);
        };
        for (n, joined) in subject.joined.iter().enumerate() {
            let Some(link) = look.inside.link(&joined.inside).filter(|link| link.is_up()) else { continue };
            for (own, _, gateway) in joined.addresses().into_iter().flatten() {
                let (v6, Some(gateway)) = (own.is_ipv6(), gateway) else { continue };
                if !look.inside.of(link.index).any(|held| held.address == own) {
                    continue;
                }
                begin(Key::Gateway(n, v6), attempt::ping(gateway, 84, number(4 * n + usize::from(v6))));
                begin(Key::Large(n, v6), attempt::ping(gateway, link.mtu, number(4 * n + 2 + usize::from(v6))));
            }
            if let (Some((own, _)), Some(mac)) = (joined.v4, link.address) {
                begin(Key::Owners(n), attempt::owners(link.index, mac, own));
            }
        }
        for (n, server) in servers.iter().enumerate() {
            begin(Key::NameInside(n), attempt::name(*server, number(n)));
        }
    })?;
    let mut begin = |key, attempt| {
        keys.push(key);
        attempts.push(attempt);
    };
    for (n, joined) in subject.joined.iter().enumerate().filter(|(_, joined)| !joined.macvlan) {
        let bridge = look.host.link(&joined.link).filter(|link| link.is_up());
        let asker = bridge.and_then(|bridge| Some((bridge.index, bridge.address?)));
        if let (Some((index, mac)), Some((own, _))) = (asker, joined.v4) {
            begin(Key::OwnersOnBridge(n), attempt::owners(index, mac, own));
        }
    }
    for (n, server) in servers.iter().enumerate().filter(|(_, server)| !server.is_loopback()) {
        begin(Key::NameOutside(n), attempt::name(*server, number(n)));
    }
    for (n, port) in subject.ports.iter().enumerate().take(MOST) {
        if i32::from(port.protocol) != libc::IPPROTO_TCP || (port.at.is_ipv6() && !look.host.has_v6) {
            continue;
        }
        begin(Key::Inside(n), attempt::connect(SocketAddr::new(port.to, port.inside)));
        for at in judge::places(subject, look, port) {
            begin(Key::Published(n, at), attempt::connect(at));
        }
    }
    let outcomes = attempt::wait(attempts);
    let neighbours = look::within(subject.pid, look::neighbours)?.unwrap_or_default();
    Ok(Heard { outcomes: keys.into_iter().zip(outcomes).collect(), neighbours })
}

/// Mends what is ours: whether there was something that is done now. [`Fix::Reload`] is the caller's: that is
/// `false`, as is a hop without a fix.
///
/// One thing can hide another (a link that is down has no routes): look again afterwards.
pub fn mend(subject: &Subject, hop: &Hop) -> Result<bool> {
    let Some(fix) = &hop.fix else { return Ok(false) };
    let doing = || format!("mend the network of {}", subject.name);
    let at = format!("{}: {}", hop.place, hop.about);
    let outside = || Socket::open(NETLINK_ROUTE).doing(doing(), &at);
    let inside = || look::within(subject.pid, || Socket::open(NETLINK_ROUTE))?.doing(doing(), &at);
    let side = |is_inside: bool| if is_inside { inside() } else { outside() };
    let index = |socket: &mut Socket, name: &str| link::get(socket, name).map(|link| link.index).doing(doing(), name);
    match fix {
        Fix::Up { inside: is_inside, link } => {
            let mut socket = side(*is_inside)?;
            let index = index(&mut socket, link)?;
            socket.request(link::set_up(index)).doing(doing(), &at)?;
        }
        Fix::Rename { from, to } => {
            let mut socket = inside()?;
            let index = index(&mut socket, from)?;
            // One that is up can be renamed since Linux 6.2 only.
            let down = Settings { up: Some(false), ..Settings::default() };
            let named = Settings { name: Some(to), ..Settings::default() };
            socket
                .requests([link::set(index, &down), link::set(index, &named), link::set_up(index)])
                .doing(doing(), &at)?;
        }
        Fix::Bring { link, to } => {
            let mut socket = outside()?;
            let index = index(&mut socket, link)?;
            let there = Settings { netns: Some(Netns::Pid(subject.pid)), name: Some(to), ..Settings::default() };
            socket.request(link::set(index, &there)).doing(doing(), &at)?;
            let mut socket = inside()?;
            let index = link::get(&mut socket, to).doing(doing(), to)?.index;
            socket.request(link::set_up(index)).doing(doing(), &at)?;
        }
        Fix::Join { veth, bridge } => {
            let mut socket = outside()?;
            let master = Some(index(&mut socket, bridge)?);
            let veth = index(&mut socket, veth)?;
            let port = Settings { master, up: Some(true), ..Settings::default() };
            socket.request(link::set(veth, &port)).doing(doing(), &at)?;
        }
        Fix::Address { inside: is_inside, link, address, prefix, instead_of } => {
            let mut socket = side(*is_inside)?;
            let index = index(&mut socket, link)?;
            if let Some(prefix) = instead_of {
                let old = addr::delete(&Address::new(index, *address, *prefix));
                socket.request(old).doing(doing(), &at)?;
            }
            let mut new = Address::new(index, *address, *prefix);
            new.flags = if address.is_ipv6() { addr::IFA_F_NODAD } else { 0 };
            socket.request(addr::add(&new)).doing(doing(), &at)?;
        }
        Fix::Route { gateway, link } => {
            let mut socket = inside()?;
            let way = Route { link: Some(index(&mut socket, link)?), ..Route::by(*gateway) };
            socket.request(route::replace(&way)).doing(doing(), &at)?;
        }
        Fix::Way { bridge, network, prefix, source } => {
            let mut socket = outside()?;
            let link = Some(index(&mut socket, bridge)?);
            let way = Route { link, source: *source, ..Route::to(*network, *prefix) };
            socket.request(route::replace(&way)).doing(doing(), &at)?;
        }
        Fix::Mtu { inside: in_there, outside: out_here, mtu } => {
            for (is_inside, links) in [(true, in_there), (false, out_here)] {
                if links.is_empty() {
                    continue;
                }
                let mut socket = side(is_inside)?;
                for name in links {
                    let index = index(&mut socket, name)?;
                    let smaller = Settings { mtu: Some(*mtu), ..Settings::default() };
                    socket.request(link::set(index, &smaller)).doing(doing(), name)?;
                }
            }
        }
        Fix::Sysctl { path, value } => {
            let proc = procfs::open().doing("open /proc", "/proc")?;
            let path = format!("sys/net/{path}");
            let name = std::ffi::CString::new(path.as_str()).unwrap_or_default();
            procfs::write(proc.as_fd(), &name, value)
                .map_err(|error| Error::new(doing(), format_args!("/proc/{path}"), error))?;
        }
        Fix::Reload | Fix::Cable { .. } => return Ok(false),
    }
    Ok(true)
}

/// Whether nothing is bad.
pub fn is_well(hops: &[Hop]) -> bool {
    !hops.iter().any(|hop| hop.health == Health::Bad)
}

/// The way as a picture: its places from top to bottom, what was looked at in each, and below what is bad why that
/// is, and what mends it. Ends with a newline.
pub fn picture(hops: &[Hop], colour: bool) -> String {
    let mut text = String::new();
    let paint = |health: Health| match health {
        _ if !colour => ("", ""),
        Health::Good => ("\x1b[32m", "\x1b[0m"),
        Health::Bad => ("\x1b[1;31m", "\x1b[0m"),
        Health::Note => ("\x1b[33m", "\x1b[0m"),
    };
    let mut rest = hops;
    while let Some(first) = rest.first() {
        let count = rest.iter().take_while(|hop| hop.place == first.place).count();
        let (here, behind) = rest.split_at(count);
        // The way from the container ends outside; those of the ports begin there.
        let is_port = |hop: &Hop| hop.place.starts_with("port ");
        let goes_on = behind.first().is_some_and(|next| is_port(next) == is_port(first)) && !is_port(first);
        let bar = if goes_on { '│' } else { ' ' };
        let worst = [Health::Bad, Health::Note].into_iter().find(|worst| here.iter().any(|hop| hop.health == *worst));
        let (on, off) = paint(worst.unwrap_or(Health::Good));
        let _ = writeln!(text, "{on}●{off} {}", plain(&first.place));
        for hop in here {
            let (on, off) = paint(hop.health);
            let sign = match hop.health {
                Health::Good => '✓',
                Health::Bad => '✗',
                Health::Note => '·',
            };
            let about = plain(&hop.about);
            let gap = (THIRD - SECOND).saturating_sub(about.chars().count() + 1);
            let _ = write!(text, "{bar}  {on}{sign}{off} {about}{:gap$} ", "");
            fill(&mut text, &plain(&hop.found), bar, THIRD.max(SECOND + about.chars().count() + 1));
            for (label, words) in [("why:  ", &hop.cause), ("mend: ", &hop.mend)] {
                if !words.is_empty() {
                    let _ = write!(text, "{bar}{:gap$}{label}", "", gap = THIRD - 1);
                    fill(&mut text, &plain(words), bar, THIRD + label.len());
                }
            }
        }
        rest = behind;
    }
    let faults = hops.iter().filter(|hop| hop.health == Health::Bad).count();
    let ours = hops.iter().filter(|hop| hop.health == Health::Bad && hop.fix.is_some()).count();
    let s = if faults == 1 { "" } else { "s" };
    let _ = match (faults, ours) {
        (0, _) => writeln!(text, "all well"),
        (_, 0) => writeln!(text, "{faults} fault{s}"),
        (1, _) => writeln!(text, "1 fault, which --fix mends"),
        _ => writeln!(text, "{faults} faults, of which --fix mends {ours}"),
    };
    text
}

/// Words in as many lines as they need, the first of which is begun.
fn fill(text: &mut String, words: &str, bar: char, indent: usize) {
    let mut column = indent;
    let mut first = true;
    for word in words.split(' ') {
        let length = word.chars().count();
        if !first && column + 1 + length > WIDTH {
            let _ = write!(text, "\n{bar}{:gap$}", "", gap = indent - 1);
            column = indent;
        } else if !first {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
        first = false;
    }
    text.push('\n');
}

/// Without what could move a terminal's cursor: names of programs and comments of rules are anybody's.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The same for programs.
pub fn json(hops: &[Hop]) -> Value {
    let one = |hop: &Hop| {
        Value::map([
            ("Place", hop.place.as_str().into()),
            ("About", hop.about.as_str().into()),
            ("Health", hop.health.word().into()),
            ("Found", hop.found.as_str().into()),
            ("Cause", hop.cause.as_str().into()),
            ("Mend", hop.mend.as_str().into()),
            ("Fixable", hop.fix.is_some().into()),
        ])
    };
    Value::List(hops.iter().map(one).collect())
}

#[cfg(test)]
mod tests;
