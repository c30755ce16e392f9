//! Why does traffic not move? The way of a packet from a container to the outside, and from the outside to what it publishes: first by
//! reading the kernel in both network namespaces, then by trying.
//!
//! Each thing on the way is a [`Hop`]. A bad one says what is, why nothing passes there, and the one command that mends it; what is
//! ours to mend has a [`Fix`]. What follows from something bad further up is not said again.
//!
//! - [`look`]: everything that is read, in one go; entering the container's namespace and coming back is done there alone
//! - [`walk`]: nf_tables, as the kernel would ask it
//! - [`attempt`]: ping, a question to a name server, connections
//! - [`judge`]: what all that means

mod attempt;
mod judge;
mod look;
pub mod walk;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;

use netlink::link::{self, Settings};
use netlink::{NETLINK_ROUTE, Socket, addr, route};

use crate::error::{Doing, Result};
use crate::json::Value;
use crate::network::ports::Published;

/// A container, as its record has it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its first process, which lives.
    pub pid: u32,
    /// What is in its `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// Its networks.
    pub joined: Vec<Joined>,
    /// What it publishes.
    pub ports: Vec<Published>,
    /// User space serves all of it, for want of nf_tables.
    pub forwarded: bool,
}

/// One network that it is on, as things should be.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The network's name.
    pub network: String,
    /// Its bridge.
    pub link: String,
    /// The link inside.
    pub inside: String,
    /// The cable's end outside.
    pub veth: String,
    /// The hardware address inside.
    pub mac: Option<link::Mac>,
    /// Its address, with the length of the prefix, and the gateway.
    pub v4: Option<(Ipv4Addr, u8, IpAddr)>,
    /// The same.
    pub v6: Option<(Ipv6Addr, u8, IpAddr)>,
    /// It leads nowhere.
    pub internal: bool,
}

impl Joined {
    /// Its addresses with what belongs to them.
    fn addresses(&self) -> impl Iterator<Item = (IpAddr, u8, IpAddr)> {
        let v4 = self.v4.map(|(address, prefix, gateway)| (IpAddr::V4(address), prefix, gateway));
        [v4, self.v6.map(|(address, prefix, gateway)| (IpAddr::V6(address), prefix, gateway))].into_iter().flatten()
    }
}

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// As it should be.
    Good,
    /// Nothing passes here, or the wrong way.
    Bad,
    /// Worth knowing; or it cannot be told.
    Note,
}

/// What ctr can mend itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fix {
    /// A link is switched on: inside or outside.
    Up { inside: bool, link: String },
    /// A cable's end becomes the bridge's port.
    Port { veth: String, bridge: String },
    /// An address is put where it belongs; a wrong prefix of it goes.
    Address { inside: bool, link: String, address: IpAddr, prefix: u8, wrong: Option<u8> },
    /// The way out.
    DefaultRoute(IpAddr),
    /// The largest packet.
    Mtu { inside: bool, link: String, mtu: u32 },
    /// What `ctr network reload` does.
    Reload,
    /// Packets are passed on.
    Forwarding { v6: bool },
}

/// One thing on the way.
#[derive(Clone, Debug)]
pub struct Hop {
    /// Where: `container`, `cable`, `bridge`, `host`, `outside`, `port 8080/tcp`.
    pub place: String,
    /// What was looked at.
    pub about: String,
    /// How it is.
    pub health: Health,
    /// What there is.
    pub found: String,
    /// Why nothing passes, in words.
    pub cause: String,
    /// The one command that mends it.
    pub mend: String,
    /// What ctr would do.
    pub fix: Option<Fix>,
}

impl Hop {
    fn good(place: &str, about: &str, found: impl Into<String>) -> Hop {
        let (place, about) = (place.to_owned(), about.to_owned());
        Hop {
            place,
            about,
            health: Health::Good,
            found: found.into(),
            cause: String::new(),
            mend: String::new(),
            fix: None,
        }
    }

    fn note(place: &str, about: &str, found: impl Into<String>, cause: impl Into<String>) -> Hop {
        Hop { health: Health::Note, cause: cause.into(), ..Hop::good(place, about, found) }
    }

    fn bad(
        place: &str,
        about: &str,
        found: impl Into<String>,
        cause: impl Into<String>,
        mend: impl Into<String>,
    ) -> Hop {
        Hop { health: Health::Bad, cause: cause.into(), mend: mend.into(), ..Hop::good(place, about, found) }
    }

    fn fix(self, fix: Fix) -> Hop {
        Hop { fix: Some(fix), ..self }
    }
}

/// Looks at everything, and tries. `process` is the pidfd of the container's first process, `ourselves` our own.
pub fn diagnose(subject: &Subject, process: BorrowedFd, ourselves: BorrowedFd) -> Result<Vec<Hop>> {
    let seen = look::look(subject, process, ourselves)?;
    let tried = attempt::attempt(subject, &seen, process, ourselves);
    Ok(judge::judge(subject, &seen, &tried))
}

/// Mends what is ours. What [`Fix::Reload`] means is the caller's matter.
pub fn mend(fix: &Fix, process: BorrowedFd, ourselves: BorrowedFd) -> Result<()> {
    let doing = "mend the network";
    let socket = |inside: bool| -> Result<Socket> {
        if inside {
            look::inside(process, ourselves, || Socket::open(NETLINK_ROUTE))
                .and_then(|opened| opened)
                .doing(doing, "setns")
        } else {
            Socket::open(NETLINK_ROUTE).doing(doing, "NETLINK_ROUTE")
        }
    };
    let index = |socket: &mut Socket, name: &str| link::get(socket, name).map(|link| link.index).doing(doing, name);
    match fix {
        Fix::Up { inside, link } => {
            let mut socket = socket(*inside)?;
            let index = index(&mut socket, link)?;
            socket.request(link::set_up(index)).doing(doing, link)
        }
        Fix::Port { veth, bridge } => {
            let mut socket = socket(false)?;
            let (near, master) = (index(&mut socket, veth)?, Some(index(&mut socket, bridge)?));
            socket
                .request(link::set(near, &Settings { master, up: Some(true), ..Settings::default() }))
                .doing(doing, veth)
        }
        Fix::Mtu { inside, link, mtu } => {
            let mut socket = socket(*inside)?;
            let index = index(&mut socket, link)?;
            socket.request(link::set(index, &Settings { mtu: Some(*mtu), ..Settings::default() })).doing(doing, link)
        }
        Fix::Address { inside, link, address, prefix, wrong } => {
            let mut socket = socket(*inside)?;
            let index = index(&mut socket, link)?;
            if let Some(wrong) = wrong {
                socket.request(addr::delete(&addr::Address::new(index, *address, *wrong))).doing(doing, link)?;
            }
            let mut own = addr::Address::new(index, *address, *prefix);
            own.flags = if address.is_ipv6() { addr::IFA_F_NODAD } else { 0 };
            match socket.request(addr::add(&own)) {
                Err(e) if netlink::errno(&e) == Some(libc::EEXIST) => Ok(()),
                done => done.doing(doing, link),
            }
        }
        Fix::DefaultRoute(gateway) => {
            let mut socket = socket(true)?;
            socket.request(route::replace(&route::Route::by(*gateway))).doing(doing, gateway)
        }
        Fix::Forwarding { v6 } => {
            let path = if *v6 { "/proc/sys/net/ipv6/conf/all/forwarding" } else { "/proc/sys/net/ipv4/ip_forward" };
            std::fs::write(path, "1").doing(doing, path)
        }
        Fix::Reload => Ok(()),
    }
}

/// The way as a picture: what belongs together below one heading, what is bad with its cause and what mends it.
pub fn picture(name: &str, hops: &[Hop], colour: bool) -> String {
    let paint = |text: &str, code: &str| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let mut text = format!("{name}\n");
    let mut place = "";
    for (n, hop) in hops.iter().enumerate() {
        if hop.place != place {
            let last = hops.iter().skip(n).all(|other| other.place == hop.place);
            let _ = writeln!(text, " {}─ {}", if last { "└" } else { "├" }, hop.place);
            place = &hop.place;
        }
        let later = hops.iter().skip(n).any(|other| other.place != hop.place);
        let rail = if later { "│" } else { " " };
        let sign = match hop.health {
            Health::Good => paint("✓", "32"),
            Health::Bad => paint("✗", "31"),
            Health::Note => paint("·", "33"),
        };
        let _ = writeln!(text, " {rail}   {sign} {:<14} {}", hop.about, hop.found);
        if !hop.cause.is_empty() {
            let _ = writeln!(text, " {rail}       {}", hop.cause);
        }
        if !hop.mend.is_empty() {
            let _ = writeln!(text, " {rail}       mend it: {}", hop.mend);
        }
    }
    text
}

/// The same as JSON.
pub fn json(hops: &[Hop]) -> Value {
    let one = |hop: &Hop| {
        let health = match hop.health {
            Health::Good => "good",
            Health::Bad => "bad",
            Health::Note => "note",
        };
        Value::map([
            ("Place", hop.place.as_str().into()),
            ("About", hop.about.as_str().into()),
            ("Health", health.into()),
            ("Found", hop.found.as_str().into()),
            ("Cause", hop.cause.as_str().into()),
            ("Mend", hop.mend.as_str().into()),
            ("Fixable", hop.fix.is_some().into()),
        ])
    };
    Value::List(hops.iter().map(one).collect())
}
