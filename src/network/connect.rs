//! One container's part of the networks: addresses, a veth pair for each, names, ports; made in the order in which it can be undone.
//!
//! 1. [`prepare`] leases addresses and ports, and sees to it that bridge and table are there. Everything that can be refused is refused
//!    here, before there is a container.
//! 2. [`Connection::attach`] makes the cables, as soon as there is a network namespace: one message each, the other end born in there.
//! 3. The container's child configures its side with one send ([`Connection::inside`]).
//! 4. [`Connection::open`] publishes: from here on traffic comes.
//!
//! Dropping a [`Connection`] undoes it. Whoever is killed before that leaves a record that says `leases held`; [`forget`] does the same
//! from what is leased. Cables need no undoing: they go with the namespace, which ends with its last process. They are switched off
//! before the address is given back, because the kernel takes its time for that.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use linux_raw_sys::general as k;
use netlink::link::{self, Kind, Mac, MacvlanMode, Netns, Port, Settings};
use netlink::{NETLINK_ROUTE, Socket, addr, route, wire};

use super::bridge::Master;
use super::forward::{self, Listening};
use super::hosts::{self, Member};
use super::leases;
use super::ports::{self, Protocol, Published};
use super::{Driver, Network, Range, bridge, firewall};
use crate::error::{Doing, Error, Result};
use crate::sys;

/// What is asked of one network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Join {
    /// Its name.
    pub network: String,
    /// Other names for the container there.
    pub aliases: Vec<String>,
    /// This address and no other.
    pub v4: Option<Ipv4Addr>,
    /// The same.
    pub v6: Option<Ipv6Addr>,
    /// This hardware address.
    pub mac: Option<Mac>,
    /// Nobody asked for it: where it cannot be had, there is none.
    pub usual: bool,
}

/// What is asked in all.
#[derive(Clone, Debug, Default)]
pub struct Asked<'a> {
    /// The container.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its networks, the first of which leads outside.
    pub joins: &'a [Join],
    /// What it publishes.
    pub ports: &'a [ports::Wish],
}

/// One network that a container is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The network.
    pub network: Network,
    /// The link inside: `eth0`.
    pub inside: String,
    /// The cable's end outside.
    pub veth: String,
    /// Its addresses.
    pub v4: Option<Ipv4Addr>,
    /// See `v4`.
    pub v6: Option<Ipv6Addr>,
    /// Its hardware address.
    pub mac: Mac,
    /// Other names there.
    pub aliases: Vec<String>,
    /// What it is joined to.
    master: Master,
    /// The number of the cable's end outside, once it is there.
    near: Option<u32>,
}

/// The number of the first link inside: above those that a new namespace may have by itself (`tunl0`, `sit0`).
const FIRST: u32 = 100;

/// How long we wait for a port that its last owner's forwarder is just giving back, in milliseconds.
const PATIENCE: u32 = 500;

impl Joined {
    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        [self.v4.map(IpAddr::V4), self.v6.map(IpAddr::V6)].into_iter().flatten()
    }

    /// The range that an address of its is of.
    pub fn range(&self, v6: bool) -> Option<Range> {
        if v6 { self.network.v6 } else { Some(self.network.v4) }
    }

    /// What the others there know of the container `id`, called `name`.
    fn member(&self, id: &str, name: &str) -> Member {
        let names = std::iter::once(name.to_owned()).chain(self.aliases.iter().cloned()).collect();
        Member { id: id.to_owned(), addresses: self.addresses().collect(), names }
    }

    /// Its number among the container's.
    fn number(&self) -> u32 {
        self.inside.strip_prefix("eth").and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    /// As a line of a record: see docs/state.md.
    pub fn text(&self) -> String {
        let or_none = |address: Option<IpAddr>| address.map_or("-".to_owned(), |address| address.to_string());
        let mac = self.mac.map(|byte| format!("{byte:02x}")).join(":");
        let (v4, v6) = (or_none(self.v4.map(IpAddr::V4)), or_none(self.v6.map(IpAddr::V6)));
        let words = [&self.network.name, &self.inside, &self.veth, &v4, &v6, &mac].map(String::as_str).join(" ");
        self.aliases.iter().fold(words, |words, alias| words + " " + alias)
    }
}

/// A line of a record, read: what a container has of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The network's name.
    pub network: String,
    /// See [`Joined`].
    pub inside: String,
    /// See [`Joined`].
    pub veth: String,
    /// See [`Joined`].
    pub v4: Option<Ipv4Addr>,
    /// See [`Joined`].
    pub v6: Option<Ipv6Addr>,
    /// See [`Joined`].
    pub mac: String,
    /// See [`Joined`].
    pub aliases: Vec<String>,
}

/// Reads what [`Joined::text`] wrote.
pub fn line(text: &str) -> Option<Line> {
    let mut words = text.split(' ').map(str::to_owned);
    Some(Line {
        network: words.next()?,
        inside: words.next().filter(|name| super::is_link_name(name))?,
        veth: words.next().filter(|name| super::is_link_name(name))?,
        v4: words.next()?.parse().ok(),
        v6: words.next()?.parse().ok(),
        mac: words.next()?,
        aliases: words.collect(),
    })
}

/// A container's part of the networks; undone when it is dropped.
#[derive(Debug)]
pub struct Connection {
    id: String,
    /// Its networks.
    pub joined: Vec<Joined>,
    /// What is published.
    pub ports: Vec<Published>,
    listening: Vec<Listening>,
    forwarder: Option<OwnedFd>,
    firewall: Option<Socket>,
    /// Its `/etc/hosts`, which goes with it.
    pub hosts: Option<PathBuf>,
    /// What the user should know.
    pub notices: Vec<String>,
    /// User space serves all ports, for want of nf_tables.
    pub forwarded: bool,
    attached: bool,
    opened: bool,
    named: bool,
    /// Its owner goes on living when it is gone.
    lasting: bool,
    route: Option<Socket>,
}

/// Who has a lease, as the caller knows it: the container's name, or none if there is no such container any more.
pub type Owner<'a> = &'a dyn Fn(&str) -> Result<Option<String>>;

/// Leases what is asked for.
pub fn prepare(asked: &Asked, owner: Owner) -> Result<Connection> {
    let mut own = Connection {
        id: asked.id.to_owned(),
        joined: Vec::new(),
        ports: Vec::new(),
        listening: Vec::new(),
        forwarder: None,
        firewall: None,
        notices: Vec::new(),
        hosts: None,
        forwarded: false,
        attached: false,
        opened: false,
        named: false,
        lasting: false,
        route: None,
    };
    let mut socket = Socket::open(NETLINK_ROUTE).doing("speak to the kernel's network", "NETLINK_ROUTE")?;
    let mut new = Vec::new();
    for (n, join) in (0..).zip(asked.joins) {
        let joined = lease(asked.id, n, join, owner)?;
        own.joined.push(joined);
        if let Some(joined) = own.joined.last_mut() {
            let (master, made) = bridge::ensure(&joined.network, &mut socket)?;
            joined.master = master;
            new.extend(made.then(|| joined.network.link.clone()));
        }
    }
    own.route = Some(socket);
    if own.joined.iter().any(|joined| joined.network.driver == Driver::Bridge) {
        own.firewall = firewall::ensure()?;
        own.forwarded = own.firewall.is_none();
    }
    own.take_ports(asked.ports, owner)?;
    if let (Some(socket), false) = (&mut own.firewall, new.is_empty()) {
        // Said once, when the bridge is new: not worth the time of every start, nor failing for.
        for (link, foreign) in new.iter().filter_map(|link| Some((link, firewall::foreign(socket, link).ok()?))) {
            own.notices.extend(foreign.iter().map(|other| {
                format!("the chain {} of another firewall drops what passes through this host, also to and from {link}; to open it: {}", other.chain, other.open)
            }));
        }
    }
    Ok(own)
}

/// Leases addresses of one network.
fn lease(id: &str, n: u32, join: &Join, owner: Owner) -> Result<Joined> {
    let network = if join.network == super::USUAL { super::usual()? } else { super::find(&join.network)? };
    let short = id.get(..10).unwrap_or(id);
    let mut joined = Joined {
        inside: format!("eth{n}"),
        veth: format!("ve{short}.{n}"),
        v4: None,
        v6: None,
        mac: [0; 6],
        aliases: join.aliases.clone(),
        master: Master::default(),
        near: None,
        network,
    };
    let strangers =
        if joined.network.driver == Driver::Macvlan { bridge::addresses(&joined.network)? } else { Vec::new() };
    // What is leased so far is given back if the rest cannot be had.
    let taken = |joined: &mut Joined| -> Result<()> {
        let v4 = take(id, joined.network.v4, join.v4.map(IpAddr::V4), None, &joined.network, &strangers, owner)?;
        joined.v4 = if let IpAddr::V4(address) = v4 { Some(address) } else { None };
        if join.v6.is_some() && joined.network.v6.is_none() {
            return Err(Error::usage(format_args!(
                "--ip6: the network {} has no IPv6; ctr network create --ipv6 makes one that has",
                joined.network.name
            )));
        }
        if let Some(range) = joined.network.v6 {
            // The same place in the subnet, where it is free: two addresses that one can tell belong together.
            let place = joined.network.v4.subnet.place(v4);
            let v6 = take(id, range, join.v6.map(IpAddr::V6), place, &joined.network, &strangers, owner)?;
            joined.v6 = if let IpAddr::V6(address) = v6 { Some(address) } else { None };
        }
        Ok(())
    };
    if let Err(e) = taken(&mut joined) {
        joined.addresses().for_each(leases::release);
        return Err(e);
    }
    joined.mac = join.mac.or(joined.v4.map(bridge::mac_of)).unwrap_or([2, 0x63, 0, 0, 0, 2]);
    Ok(joined)
}

/// Leases an address of a range: this one, or the one at that place, or the first that is free. What `strangers` have is not.
fn take(
    id: &str,
    range: Range,
    wanted: Option<IpAddr>,
    place: Option<u128>,
    network: &Network,
    strangers: &[IpAddr],
    owner: Owner,
) -> Result<IpAddr> {
    let doing = || format!("lease an address of the network {}", network.name);
    let taken = |address: IpAddr| -> Result<bool> {
        if leases::take(address, id).doing(doing(), address)? {
            return Ok(true);
        }
        // Ours from before, by who was killed while he made this container.
        Ok(leases::owner(leases::Kind::Address, &address.to_string()).as_deref() == Some(id))
    };
    if let Some(address) = wanted {
        let option = if address.is_ipv6() { "--ip6" } else { "--ip" };
        let refuse = |why: String| Err(Error::usage(format_args!("bad {option} {address}: {why}")));
        if !range.subnet.contains(address) {
            return refuse(format!("the network {} has {}", network.name, range.subnet));
        }
        if address == range.gateway || !range.subnet.has_room_for(address) {
            return refuse(format!("it is the gateway or an end of {}", range.subnet));
        }
        if strangers.contains(&address) {
            return refuse(format!("this host itself has it, on {}", network.link));
        }
        if taken(address)? {
            return Ok(address);
        }
        return match whose(leases::Kind::Address, &address.to_string(), owner)? {
            None if taken(address)? => Ok(address),
            name => refuse(format!("the container {} has it", name.unwrap_or_default())),
        };
    }
    let fits = |address: &IpAddr| {
        *address != range.gateway && range.subnet.has_room_for(*address) && !strangers.contains(address)
    };
    if let Some(address) = place.and_then(|place| range.subnet.nth(place)).filter(fits) {
        if taken(address)? {
            return Ok(address);
        }
    }
    let first = |most: u128| -> Result<Option<IpAddr>> {
        for address in (1..range.subnet.size().min(most)).filter_map(|n| range.subnet.nth(n)).filter(fits) {
            if taken(address)? {
                return Ok(Some(address));
            }
        }
        Ok(None)
    };
    if let Some(address) = first(1 << 20)? {
        return Ok(address);
    }
    // Whose container is gone has his no more.
    for (held, address) in leases::addresses() {
        if range.subnet.contains(address) && held != id && owner(&held)?.is_none() {
            forget(&held);
        }
    }
    first(1 << 20)?.ok_or_else(|| {
        Error::usage(format_args!(
            "the network {} has no free address: all of {} are leased (ctr network inspect {0} shows by whom)",
            network.name, range.subnet
        ))
        .hint(Some("remove a container, or make a larger network: ctr network create --subnet"))
    })
}

/// The name of the container that has a lease; whose container is gone loses it.
fn whose(kind: leases::Kind, name: &str, owner: Owner) -> Result<Option<String>> {
    let Some(id) = leases::owner(kind, name) else { return Ok(None) };
    let found = owner(&id)?;
    if found.is_none() {
        forget(&id);
    }
    Ok(found)
}

impl Connection {
    /// Where a published port leads to: the first network that leads outside.
    fn published_at(&self) -> Option<&Joined> {
        self.joined.iter().find(|joined| joined.network.driver == Driver::Bridge && !joined.network.internal)
    }

    fn take_ports(&mut self, wishes: &[ports::Wish], owner: Owner) -> Result<()> {
        if wishes.is_empty() {
            return Ok(());
        }
        let Some(joined) = self.published_at() else {
            return Err(Error::usage(
                "-p needs a network that leads outside: none of the container's is a bridge that is not internal",
            ));
        };
        let (v4, v6) = (joined.v4.map(IpAddr::V4), joined.v6.map(IpAddr::V6));
        let both = super::host_has_v6();
        for wish in wishes {
            let families: &[bool] = match wish.at {
                Some(at) => &[at.is_ipv6()],
                None if both => &[false, true],
                None => &[false],
            };
            let mut host = wish.host;
            let mut all = Vec::new();
            for &family in families {
                let at = wish.at.unwrap_or(ports::any(family));
                let Some(to) = (if family { v6.or(v4) } else { v4.or(v6) }) else { continue };
                let mut port =
                    Published { protocol: wish.protocol, at, host: host.unwrap_or(0), to, inside: wish.inside };
                // Any free one is found by being taken.
                let most = if wish.host.is_none() && host.is_none() { 100 } else { 1 };
                let mut taken = Err(Error::usage("no port is free"));
                for _ in 0..most {
                    if most > 1 {
                        port.host = free_port(&port).doing("find a free port", port.at)?;
                    }
                    taken = self.take_port(&port, owner);
                    if taken.is_ok() {
                        break;
                    }
                }
                taken?;
                host = Some(port.host);
                all.push(port);
            }
        }
        if let Some((other, port)) = leases::rival(&self.ports, &self.id) {
            // Who has it may be gone already.
            if let Some(name) = owner(&other)? {
                return Err(is_taken(&port, &name));
            }
            forget(&other);
        }
        Ok(())
    }

    /// Leases a port, and listens where user space has to.
    fn take_port(&mut self, port: &Published, owner: Owner) -> Result<()> {
        let (id, name) = (self.id.clone(), leases::name(port));
        let take = || {
            let taken = leases::take_port(port, &id).doing("lease a port", &name)?;
            Ok::<_, Error>(taken || leases::owner(leases::Kind::Port, &name).as_deref() == Some(&id))
        };
        if !take()? {
            match whose(leases::Kind::Port, &name, owner)? {
                None if take()? => {}
                who => return Err(is_taken(port, &who.unwrap_or_default())),
            }
        }
        self.ports.push(*port);
        let listened = self.listen(port, owner);
        if listened.is_err() {
            self.ports.pop();
            leases::release_port(port);
        }
        listened
    }

    fn listen(&mut self, port: &Published, owner: Owner) -> Result<()> {
        if port.protocol == Protocol::Sctp {
            // The kernel alone can do that.
            return if self.forwarded {
                Err(Error::usage("an SCTP port takes nf_tables, which this kernel has not: modprobe nf_tables"))
            } else {
                Ok(())
            };
        }
        let direct = !self.forwarded && firewall::element_of(port).is_some();
        let at = match (direct, port.at.is_unspecified()) {
            // Others come by the table; whoever is on this host, and asks it by its loopback address, does not.
            (true, true) => ports::loopback(port.at.is_ipv6()),
            _ => port.at,
        };
        let to = SocketAddr::new(port.to, port.inside);
        let mut patience = PATIENCE;
        loop {
            // The whole place first: somebody else may listen there, and would be cut off without a word.
            let probe = if direct {
                forward::listen(port.protocol, SocketAddr::new(port.at, port.host), to).map(drop)
            } else {
                Ok(())
            };
            match probe.and_then(|()| forward::listen(port.protocol, SocketAddr::new(at, port.host), to)) {
                Ok(listening) => {
                    // One that has an address of this host to itself is served by the table alone.
                    if !direct || port.at.is_unspecified() {
                        self.listening.push(listening);
                    }
                    return Ok(());
                }
                // This host has no IPv6 after all.
                Err(e) if e.raw_os_error() == Some(libc::EADDRNOTAVAIL) && port.at.is_unspecified() => return Ok(()),
                Err(e) if e.raw_os_error() == Some(libc::EADDRINUSE) && patience > 0 => {
                    // A container may have it at all addresses, or at one of them.
                    let rival = leases::rival(std::slice::from_ref(port), &self.id);
                    if let Some(name) = rival.map(|(id, _)| owner(&id)).transpose()?.flatten() {
                        return Err(is_taken(port, &name));
                    }
                    patience -= 10;
                    let _ = sys::poll(&mut [], 10);
                }
                Err(e) if e.raw_os_error() == Some(libc::EADDRINUSE) => {
                    return Err(Error::usage(format_args!(
                        "the port {}/{} is taken by another program of this host",
                        port.place(),
                        port.protocol.name()
                    ))
                    .hint(Some(format!("find it: ss -lnp 'sport = :{}', or choose another port", port.host))));
                }
                Err(e) if e.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {
                    return Err(Error::usage(format_args!(
                        "bad -p {}: this host has no address {} (ip addr shows those that it has)",
                        port.place(),
                        port.at
                    )));
                }
                Err(e) => return Err(e).doing(format_args!("listen at {}", port.place()), port.protocol.name()),
            }
        }
    }

    /// What is to be done inside, for one send by who is in there: everything up, with addresses and the way out.
    pub fn inside(&self) -> io::Result<Vec<u8>> {
        let mut messages = vec![link::set_up(1)];
        let (mut way4, mut way6) = (None, None);
        for joined in &self.joined {
            let index = FIRST + joined.number();
            messages.extend(configure(joined, index));
            if !joined.network.internal {
                way4 = way4.or(joined.v4.map(|_| joined.network.v4.gateway));
                way6 = way6.or(joined.v6.and(joined.network.v6).map(|range| range.gateway));
            }
        }
        messages.extend([way4, way6].into_iter().flatten().map(|gateway| route::add(&route::Route::by(gateway))));
        wire::join(messages)
    }

    /// The same in words, for `--dry-run`.
    pub fn lines(&self) -> String {
        let all = self.joined.iter().flat_map(|joined| joined.addresses().map(|address| (address, &joined.inside)));
        all.map(|(address, inside)| format!("{inside} {address}")).collect::<Vec<_>>().join(", ")
    }

    /// Makes the cables to the network namespace of this process.
    pub fn attach(&mut self, pid: u32) -> Result<()> {
        let Some(socket) = &mut self.route else { return Ok(()) };
        self.attached = true;
        for joined in &mut self.joined {
            joined.near = cable(socket, joined, pid, !self.ports.is_empty())?;
        }
        Ok(())
    }

    /// The lines of `/etc/hosts` that are about the container itself.
    pub fn own_names(&self, hostname: &str) -> Vec<(IpAddr, String)> {
        self.joined
            .first()
            .and_then(|joined| joined.v4)
            .map(|address| (IpAddr::V4(address), hostname.to_owned()))
            .into_iter()
            .collect()
    }

    /// What it is called where, when it is called `name`.
    pub fn members(&self, name: &str) -> Vec<(&str, Member)> {
        self.joined.iter().map(|joined| (joined.network.name.as_str(), joined.member(&self.id, name))).collect()
    }

    /// Tells the others its names.
    pub fn announce(&mut self, name: &str) -> Result<()> {
        self.named = true;
        self.members(name).iter().try_for_each(|(network, member)| hosts::join(network, member))
    }

    /// Publishes, and has user space serve what the kernel does not. `until`: the pidfd of the container's process.
    pub fn open(&mut self, until: BorrowedFd) -> Result<()> {
        self.opened = true;
        if let (Some(socket), false) = (&mut self.firewall, self.ports.is_empty()) {
            match firewall::publish(socket, &self.ports) {
                // Somebody has flushed it just now: it is made again, with what is leased.
                Err(e) if netlink::errno(&e) == Some(libc::ENOENT) => {
                    let _lock = super::lock()?;
                    firewall::rebuild(socket)?;
                }
                done => done.doing("publish ports", format_args!("inet {}", super::table()))?,
            }
            firewall::cut(socket, &self.ports);
        }
        if !self.listening.is_empty() {
            self.forwarder = Some(serve(std::mem::take(&mut self.listening), until)?);
        }
        Ok(())
    }

    /// Lets go of what only the making needs: who looks after a container stays small.
    pub fn rest(&mut self) {
        (self.route, self.firewall, self.lasting) = (None, None, true);
        self.listening = Vec::new();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Nobody comes any more, nobody is found any more, nobody answers any more; and only then has somebody else the addresses.
        if let Some(forwarder) = self.forwarder.take() {
            let _ = sys::pidfd_signal(forwarder.as_fd(), libc::SIGKILL);
            let _ = sys::wait_pidfd(forwarder.as_fd());
        }
        self.listening.clear();
        if self.opened && !self.ports.is_empty() && !self.forwarded {
            if self.firewall.is_none() {
                self.firewall = firewall::open().ok().flatten();
            }
            if let Some(socket) = &mut self.firewall {
                if firewall::withdraw(socket, &self.ports).is_err() {
                    let _ = firewall::withdraw(socket, &self.ports);
                }
                firewall::cut(socket, &self.ports);
            }
        }
        self.ports.iter().for_each(leases::release_port);
        if self.attached {
            let socket = self.route.take().map_or_else(|| Socket::open(NETLINK_ROUTE), Ok);
            if let Ok(socket) = socket {
                let cut = cut_cables(socket, &self.joined);
                take_away(&cut, self.firewall.as_ref().filter(|_| !self.ports.is_empty()), self.lasting);
            }
        }
        if self.named {
            self.joined.iter().for_each(|joined| hosts::leave(&joined.network.name, &self.id, false));
        }
        for joined in &self.joined {
            joined.addresses().for_each(leases::release);
        }
        if let Some(file) = &self.hosts {
            // Once more: nobody else looks for it.
            let _ = std::fs::remove_file(file).or_else(|_| std::fs::remove_file(file));
        }
    }
}

/// Switches cables off: what is at their other ends answers nobody any more. Returns the names that they have from now on: the
/// container's next life may begin before they are gone, and makes some that are called as these were.
fn cut_cables(socket: Socket, joined: &[Joined]) -> Vec<String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    let (mut names, mut messages) = (Vec::new(), Vec::new());
    for near in joined.iter().filter_map(|joined| joined.near) {
        // In parts of a second of 16 microseconds: it is gone long before there is the same name again.
        let name = format!("vx{near:08x}.{:04x}", now >> 14);
        messages.push(link::set(near, &Settings { up: Some(false), ..Settings::default() }));
        messages.push(link::set(near, &Settings { name: Some(&name), ..Settings::default() }));
        names.push(name);
    }
    // One that refuses is gone, and then there is nobody of its new name either.
    let _ = socket.tell(messages);
    names
}

/// Takes cables away by a process that nobody waits for: that takes the kernel 30 milliseconds. Left alone, one goes with its
/// namespace; but that can stay for minutes, as long as a connection that a killed program had open says goodbye to somebody who
/// does not answer.
///
/// It also keeps nf_tables' socket open until it ends: whoever closes the last one waits, for 20 milliseconds and more, until the kernel has
/// got rid of what was withdrawn (net/netfilter/nf_tables_api.c, nf_tables_rcv_nl_event).
///
/// Who is `lasting` does not become the parent of somebody who ends: the one who works is forked twice, so that nobody has to wait for
/// him. Who ends himself anyway leaves him to init.
fn take_away(cables: &[String], firewall: Option<&Socket>, lasting: bool) {
    if cables.is_empty() {
        return;
    }
    match sys::fork() {
        Ok(Some((first, _))) if lasting => return drop(sys::wait_pidfd(first.as_fd())),
        Ok(Some(_)) | Err(_) => return,
        Ok(None) => {}
    }
    // Signals are blocked, as in our parent: what a terminal sends when it goes does not end this half-way.
    let _ = sys::set_name(c"ctr-cable");
    if lasting && !matches!(sys::fork(), Ok(None)) {
        sys::exit(0);
    }
    close_but(firewall.map(|socket| socket.as_fd().as_raw_fd()));
    let _ =
        Socket::open(NETLINK_ROUTE).and_then(|socket| socket.tell(cables.iter().map(|cable| link::delete(cable))));
    sys::exit(0);
}

/// What a link inside needs: up, with its addresses.
fn configure(joined: &Joined, index: u32) -> Vec<netlink::Message> {
    let mut messages = vec![link::set_up(index)];
    for address in joined.addresses() {
        let Some(range) = joined.range(address.is_ipv6()) else { continue };
        let mut own = addr::Address::new(index, address, range.subnet.prefix);
        own.broadcast = range.subnet.broadcast();
        // Nobody else has it: it is leased. Asking would take a second in which it is of no use.
        own.flags = if address.is_ipv6() { addr::IFA_F_NODAD } else { 0 };
        messages.push(addr::add(&own));
    }
    messages
}

/// Makes one cable: its far end is born in the namespace of this process. Returns the number of the near one, where there is one.
fn cable(socket: &mut Socket, joined: &Joined, pid: u32, publishes: bool) -> Result<Option<u32>> {
    let network = &joined.network;
    let doing = || format!("join the container to the network {}", network.name);
    let master = joined.master.index;
    let mtu = Some(network.mtu.unwrap_or(joined.master.mtu));
    let index = FIRST + joined.number();
    let far = Settings {
        index: Some(index),
        name: Some(&joined.inside),
        address: Some(joined.mac),
        mtu,
        netns: Some(Netns::Pid(pid)),
        ..Settings::default()
    };
    let advice = |e: &io::Error| match netlink::errno(e) {
        Some(libc::EOPNOTSUPP) => {
            Some("modprobe veth (a kernel that was updated wants a reboot first), or --network none or host")
        }
        // https://github.com/docker/for-linux/issues/1443
        Some(libc::ENOMEM) => Some(
            "kernels 5.15 to 6.7 say so by a fault of their own, also with free memory: a newer one, or a reboot",
        ),
        _ => None,
    };
    if network.driver == Driver::Macvlan {
        let kind = Kind::Macvlan { lower: master, mode: MacvlanMode::Bridge };
        return socket.request(link::add(kind, &far)).doing(doing(), &network.link).map(|()| None);
    }
    // The far end gets a number of its own only where the near one does: one that is nobody's, far above what the kernel gives out.
    let own = joined.veth.get(2..10).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(1);
    for n in 0..10_u32 {
        let number = own.wrapping_add(joined.number() << 16).wrapping_add(n) & 0x3fff_ffff | 0x0100_0000;
        let near = Settings {
            index: Some(number),
            name: Some(&joined.veth),
            up: Some(true),
            mtu,
            master: Some(master),
            ..Settings::default()
        };
        match socket.request(link::add(Kind::Veth(far), &near)) {
            Err(e) if matches!(netlink::errno(&e), Some(libc::EEXIST | libc::EBUSY)) => {
                // Of an earlier life of this container, whose namespace the kernel is just taking away.
                let _ = socket.request(link::delete(&joined.veth));
            }
            Err(e) => {
                let advice = advice(&e);
                return Err(Error::new(doing(), &joined.veth, e).hint(advice));
            }
            Ok(()) => {
                if publishes {
                    // Where bridged packets pass the table too (br_netfilter), one to its own published port goes back where it came from.
                    let hairpin = Port { hairpin: Some(true), ..Port::default() };
                    socket.request(link::set_port(number, &hairpin)).doing(doing(), &joined.veth)?;
                }
                return Ok(Some(number));
            }
        }
    }
    Err(Error::new(doing(), &joined.veth, io::Error::from_raw_os_error(libc::EEXIST)))
}

/// A container's port that somebody has.
fn is_taken(port: &Published, name: &str) -> Error {
    Error::usage(format_args!(
        "the port {}/{} is published by the container {name}: choose another, or stop that one",
        port.place(),
        port.protocol.name()
    ))
}

/// A port that nobody of this host listens at.
fn free_port(port: &Published) -> io::Result<u16> {
    let at = SocketAddr::new(port.at, 0);
    match port.protocol {
        Protocol::Udp => std::net::UdpSocket::bind(at)?.local_addr(),
        _ => std::net::TcpListener::bind(at)?.local_addr(),
    }
    .map(|address| address.port())
}

/// Forks who serves these ports until the process ends. Returns his pidfd.
fn serve(listening: Vec<Listening>, until: BorrowedFd) -> Result<OwnedFd> {
    if let Some((pidfd, _)) = sys::fork().doing("fork the ports' forwarder", "clone3")? {
        return Ok(pidfd);
    }

    let _ = sys::set_name(c"ctr-ports");
    let _ = sys::setsid();
    let _ = sys::block_signals(sys::signal_bit(libc::SIGPIPE));
    close_but(listening.iter().map(|one| one.socket.as_raw_fd()).chain([until.as_raw_fd()]));
    // No filesystem is kept from being unmounted by us.
    let _ = std::env::set_current_dir("/");
    forward::serve(listening, until);
    sys::exit(0)
}

/// Closes all descriptors but these.
fn close_but(kept: impl IntoIterator<Item = i32>) {
    let mut kept: Vec<i32> = kept.into_iter().collect();
    kept.sort_unstable();
    let mut first = 0;
    for fd in kept {
        if fd > first {
            let _ = sys::close_range(first, fd as u32 - 1);
        }
        first = fd + 1;
    }
    let _ = sys::close_range(first, u32::MAX);
}

/// Joins a container that runs to one more network. `enter` has this process go to the container's network namespace, for the rest of
/// its life.
pub fn join_running(
    asked: &Asked,
    n: u32,
    pid: u32,
    owner: Owner,
    enter: &dyn Fn() -> io::Result<()>,
) -> Result<Joined> {
    let [join] = asked.joins else { return Err(Error::usage("one network at a time")) };
    let mut socket = Socket::open(NETLINK_ROUTE).doing("speak to the kernel's network", "NETLINK_ROUTE")?;
    let mut joined = lease(asked.id, n, join, owner)?;
    let done = |socket: &mut Socket, joined: &mut Joined| -> Result<()> {
        joined.master = bridge::ensure(&joined.network, socket)?.0;
        firewall::ensure()?;
        cable(socket, joined, pid, false)?;
        hosts::join(&joined.network.name, &joined.member(asked.id, asked.name))?;
        settle(joined, enter)
    };
    if let Err(e) = done(&mut socket, &mut joined) {
        // By the socket from before: it speaks to this host's network wherever we are by now.
        let _ = socket.request(link::delete(&joined.veth));
        hosts::leave(&joined.network.name, asked.id, true);
        joined.addresses().for_each(leases::release);
        return Err(e);
    }
    Ok(joined)
}

/// What there is of a cable inside, which we enter for it: its link with its addresses, and a way out for a container that has none.
fn settle(joined: &Joined, enter: &dyn Fn() -> io::Result<()>) -> Result<()> {
    let doing = "configure the container's link";
    enter().doing("enter the container's network", "setns")?;
    let mut inside = Socket::open(NETLINK_ROUTE).doing(doing, "NETLINK_ROUTE")?;
    inside.requests(configure(joined, FIRST + joined.number())).doing(doing, &joined.inside)?;
    let routes = route::list(&mut inside).doing(doing, "RTM_GETROUTE")?;
    for range in joined.network.ranges().filter(|_| !joined.network.internal) {
        let v6 = range.subnet.is_v6();
        let has = routes.iter().any(|route| route.v6 == v6 && route.to.is_none() && route.kind == route::RTN_UNICAST);
        if !has {
            inside.request(route::add(&route::Route::by(range.gateway))).doing(doing, range.gateway)?;
        }
    }
    Ok(())
}

/// A container that runs gets a new cable to a network of its, for one that somebody has taken away or elsewhere. The rest of it, its
/// leases and names, is there still. Afterwards we are where we were.
pub fn new_cable(line: &Line, pid: u32, publishes: bool, enter: &dyn Fn() -> io::Result<()>) -> Result<()> {
    let doing = "make a new cable";
    let home = sys::openat(sys::CWD, c"/proc/self/ns/net", k::O_RDONLY, 0).doing(doing, "/proc/self/ns/net")?;
    let mut socket = Socket::open(NETLINK_ROUTE).doing("speak to the kernel's network", "NETLINK_ROUTE")?;
    let network = super::find(&line.network)?;
    let bytes: Vec<u8> = line.mac.split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    let joined = Joined {
        master: bridge::ensure(&network, &mut socket)?.0,
        inside: line.inside.clone(),
        veth: line.veth.clone(),
        v4: line.v4,
        v6: line.v6,
        mac: Mac::try_from(bytes).unwrap_or([2, 0x63, 0, 0, 0, 2]),
        aliases: line.aliases.clone(),
        near: None,
        network,
    };
    match socket.request(link::delete(&joined.veth)) {
        Err(e) if netlink::errno(&e) != Some(libc::ENODEV) => return Err(e).doing(doing, &joined.veth),
        _ => {}
    }
    cable(&mut socket, &joined, pid, publishes)?;
    let done = settle(&joined, enter);
    sys::enter_namespaces(home.as_fd(), k::CLONE_NEWNET).doing("leave the container's network", "setns")?;
    done
}

/// Takes a container that runs from a network. What it has of it is in its record.
pub fn part_running(id: &str, line: &Line) -> Result<()> {
    let mut socket = Socket::open(NETLINK_ROUTE).doing("speak to the kernel's network", "NETLINK_ROUTE")?;
    match socket.request(link::delete(&line.veth)) {
        Err(e) if netlink::errno(&e) != Some(libc::ENODEV) => return Err(e).doing("take the cable away", &line.veth),
        _ => {}
    }
    hosts::leave(&line.network, id, true);
    let addresses = [line.v4.map(IpAddr::V4), line.v6.map(IpAddr::V6)];
    addresses.into_iter().flatten().for_each(leases::release);
    Ok(())
}

/// Gives back all that a container had which nobody looks after any more.
pub fn forget(id: &str) {
    // Its network namespace may be there still for a moment: nobody in there answers for an address that is given back.
    if let (Ok(mut socket), Some(short)) = (Socket::open(NETLINK_ROUTE), id.get(..10)) {
        let down = |n: u32| {
            let name = format!("ve{short}.{n}");
            link::set(0, &Settings { up: Some(false), name: Some(&name), ..Settings::default() })
        };
        let _ = (0..100).try_for_each(|n| socket.request(down(n)));
    }
    let ports = leases::forget(id);
    hosts::forget(id);
    if ports.is_empty() {
        return;
    }
    if let Ok(Some(mut socket)) = firewall::open() {
        let _ = firewall::withdraw(&mut socket, &ports);
        firewall::cut(&mut socket, &ports);
    }
}
