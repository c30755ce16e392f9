//! Networks of containers: our policy, said in the `netlink` crate's words.
//!
//! - this file: what a network is, and its record;
//! - [`subnet`], [`ports`]: addresses and ports as plain data;
//! - [`leases`]: who has which address, and which port of the host;
//! - [`bridge`]: a network's bridge, and what the host has to allow for it;
//! - [`firewall`]: our one nf_tables table;
//! - [`hosts`]: names, `/etc/hosts` and `/etc/resolv.conf`;
//! - [`connect`]: one container's part of it, made and undone;
//! - [`forward`]: ports that user space has to serve;
//! - [`diagnosis`]: why does traffic not move?
//!
//! ```text
//! /run/ctr/networks/bridge        the default network, chosen anew after every boot
//! /var/lib/ctr/networks/NAME      one that somebody made
//! ```
//! A record is `key value` lines, the version first, as a container's. A network's bridge and the table are made when the first
//! container wants them, and stay: making them anew for each would cost ten times as much as all the rest.

pub mod bridge;
pub mod connect;
pub mod diagnosis;
pub mod firewall;
pub mod forward;
pub mod hosts;
pub mod leases;
pub mod legacy;
pub mod ports;
pub mod subnet;

use std::ffi::CString;
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use linux_raw_sys::general as k;

use crate::error::{Doing, Error, Result};
use crate::{clock, folders, names, procfs, sys};
use subnet::Subnet;

/// The first line of every record.
const VERSION: &str = "ctr-network 1";

/// The name of the network that root's containers get who say nothing.
pub const USUAL: &str = "bridge";

/// The longest record that is read.
const LONGEST: usize = 64 << 10;

/// How a network's containers are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// By a bridge of ours, and from there by this host.
    Bridge,
    /// Each with a hardware address of its own on a link of the host.
    Macvlan,
}

impl Driver {
    /// Docker's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Driver::Bridge => "bridge",
            Driver::Macvlan => "macvlan",
        }
    }
}

/// Addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// All of them.
    pub subnet: Subnet,
    /// By whom they reach others.
    pub gateway: IpAddr,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// 64 hexadecimal digits.
    pub id: String,
    /// How its containers are joined.
    pub driver: Driver,
    /// Its bridge; or the host's link that its macvlans are on.
    pub link: String,
    /// IPv4; every network has it.
    pub v4: Range,
    /// IPv6.
    pub v6: Option<Range>,
    /// It leads nowhere but to its own containers and to this host.
    pub internal: bool,
    /// The largest packet, in bytes, if that was asked for.
    pub mtu: Option<u32>,
    /// When it was made.
    pub created: String,
    /// `KEY=VALUE`.
    pub labels: Vec<String>,
}

impl Network {
    /// Whether it is the default one.
    pub fn is_usual(&self) -> bool {
        self.name == USUAL
    }

    /// Its addresses, both families'.
    pub fn ranges(&self) -> impl Iterator<Item = Range> {
        [Some(self.v4), self.v6].into_iter().flatten()
    }

    fn text(&self) -> String {
        let mut text = format!("{VERSION}\nname {}\nid {}\ndriver {}\n", self.name, self.id, self.driver.name());
        let _ = writeln!(text, "link {}\ncreated {}", self.link, self.created);
        for range in self.ranges() {
            let _ = writeln!(text, "subnet {}\ngateway {}", range.subnet, range.gateway);
        }
        if self.internal {
            text.push_str("internal yes\n");
        }
        if let Some(mtu) = self.mtu {
            let _ = writeln!(text, "mtu {mtu}");
        }
        for label in &self.labels {
            let _ = writeln!(text, "label {}", label.replace('\n', " "));
        }
        text
    }

    fn parse(text: &str) -> std::result::Result<Network, String> {
        let mut lines = text.lines();
        if lines.next() != Some(VERSION) {
            return Err(format!("it does not begin with {VERSION:?}"));
        }
        let pairs: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(' ')).collect();
        let all = |key: &str| pairs.iter().filter(|(k, _)| *k == key).map(|(_, value)| *value).collect::<Vec<_>>();
        let one = |key: &str| all(key).first().map(|value| (*value).to_owned()).ok_or(format!("it has no {key}"));
        let mut ranges = Vec::new();
        for (subnet, gateway) in all("subnet").iter().zip(all("gateway")) {
            let subnet: Subnet = subnet.parse().map_err(|why| format!("its subnet: {why}"))?;
            let gateway = gateway.parse().map_err(|_| "its gateway is no address".to_owned())?;
            ranges.push(Range { subnet, gateway });
        }
        let of = |v6| ranges.iter().find(|range: &&Range| range.subnet.is_v6() == v6).copied();
        let id = one("id")?;
        if id.len() != 64 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("its id is none".to_owned());
        }
        Ok(Network {
            name: one("name")?,
            id,
            driver: match one("driver")?.as_str() {
                "bridge" => Driver::Bridge,
                "macvlan" => Driver::Macvlan,
                other => return Err(format!("its driver {other:?} is not known: a newer ctr made it")),
            },
            link: one("link").ok().filter(|link| is_link_name(link)).ok_or("its link is none")?,
            v4: of(false).ok_or("it has no IPv4 subnet")?,
            v6: of(true),
            internal: one("internal").is_ok(),
            mtu: one("mtu").ok().and_then(|mtu| mtu.parse().ok()),
            created: one("created")?,
            labels: all("label").into_iter().map(str::to_owned).collect(),
        })
    }
}

/// Whether the kernel takes this for a link's name (`dev_valid_name`, net/core/dev.c).
pub fn is_link_name(name: &str) -> bool {
    let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    !name.is_empty() && name.len() < 16 && !matches!(name, "." | "..") && !name.contains(odd)
}

/// What tells the links and the table of this state folder from those of another: nothing for /run/ctr.
fn suffix() -> Option<String> {
    let folder = folders::folder();
    // FNV-1a: any function would do that gives the same every time.
    let mix = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let hash = folder.as_os_str().as_bytes().iter().fold(0x811c_9dc5, mix);
    (folder != Path::new("/run/ctr")).then(|| format!("{hash:08x}"))
}

/// The default network's bridge.
pub fn usual_link() -> String {
    format!("ctr0{}", suffix().unwrap_or_default())
}

/// Our nf_tables table, of the family `inet`.
pub fn table() -> String {
    suffix().map_or_else(|| "ctr".to_owned(), |suffix| format!("ctr-{suffix}"))
}

/// The folder of networks that people made. Where the disk cannot be written to, they last until the next boot.
fn lasting() -> PathBuf {
    folders::lasting_folder().join("networks")
}

fn passing() -> PathBuf {
    folders::folder().join("networks")
}

fn folder_of(name: &str) -> Vec<PathBuf> {
    if name == USUAL { vec![passing()] } else { vec![lasting(), passing()] }
}

fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

fn read(path: &Path) -> io::Result<Option<std::result::Result<Network, String>>> {
    let file = match sys::openat(sys::CWD, &c(path), k::O_RDONLY | k::O_NOFOLLOW | k::O_NONBLOCK, 0) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => return Ok(None),
        opened => opened?,
    };
    let mut piece = [0; 4096];
    let length = sys::read(file.as_fd(), &mut piece)?;
    let mut text = piece.get(..length).unwrap_or_default().to_vec();
    // A short one that ends as it should is all there is.
    if length == piece.len() || !text.ends_with(b"\n") {
        text.extend(procfs::read_all(file.as_fd(), LONGEST)?);
    }
    Ok(Some(Network::parse(&String::from_utf8_lossy(&text))))
}

/// The network of this name, if there is one.
pub fn load(name: &str) -> Result<Option<Network>> {
    if names::check(name).is_err() {
        return Ok(None);
    }
    for folder in folder_of(name) {
        let path = folder.join(name);
        match read(&path).doing(format_args!("read the network {name}"), path.display())? {
            None => {}
            Some(Ok(network)) => return Ok(Some(network)),
            Some(Err(why)) => {
                return Err(Error::new(
                    format_args!("read the network {name}"),
                    path.display(),
                    io::Error::other(why),
                )
                .hint(Some(format!("look at it with cat, or remove it: rm {}", path.display()))));
            }
        }
    }
    Ok(None)
}

/// The network with this name, id, or beginning of an id.
pub fn find(word: &str) -> Result<Network> {
    if let Some(network) = load(word)? {
        return Ok(network);
    }
    let hexadecimal = word.len() >= 3 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let mut fits = all().into_iter().filter(|network| hexadecimal && network.id.starts_with(word));
    match (fits.next(), fits.next()) {
        (Some(network), None) => Ok(network),
        (Some(_), Some(_)) => Err(Error::usage(format_args!("{word:?} is the beginning of several networks' ids"))),
        _ => Err(Error::usage(format_args!("no network {word:?}: ctr network ls lists them"))
            .hint(names::check(word).is_ok().then(|| format!("ctr network create {word}")))),
    }
}

/// Every network, by name. What cannot be read is left out: it is named when it is wanted.
pub fn all() -> Vec<Network> {
    let mut all: Vec<Network> = Vec::new();
    for folder in [passing(), lasting()] {
        for name in folders::names(&folder).into_iter().filter(|name| !name.starts_with('.')) {
            if let Ok(Some(Ok(network))) = read(&folder.join(&name)) {
                if network.name == name && !all.iter().any(|other| other.name == name) {
                    all.push(network);
                }
            }
        }
    }
    all.sort_by(|a, b| (!a.is_usual(), &a.name).cmp(&(!b.is_usual(), &b.name)));
    all
}

/// Whoever changes networks, bridges or the table as a whole holds this; the kernel gives it back with its process.
pub fn lock() -> Result<OwnedFd> {
    let folder = passing();
    let doing = "lock the networks";
    let open = || sys::openat(sys::CWD, &c(&folder), k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW, 0);
    let dir = match open() {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
            make_folder(&folder).doing(doing, folder.display())?;
            open()
        }
        opened => opened,
    }
    .doing(doing, folder.display())?;
    sys::lock(dir.as_fd(), true).doing(doing, folder.display())?;
    Ok(dir)
}

/// A folder for ourselves alone, and what is missing above it.
fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Writes a network's record; the caller has the lock.
pub fn save(network: &Network) -> Result<()> {
    let mut refused = None;
    for folder in folder_of(&network.name) {
        let (path, new) = (folder.join(&network.name), folder.join(format!(".{}.new", network.name)));
        let written = make_folder(&folder)
            .and_then(|()| std::fs::write(&new, network.text()))
            .and_then(|()| std::fs::rename(&new, &path));
        match written {
            Ok(()) => return Ok(()),
            Err(e) => {
                let _ = std::fs::remove_file(&new);
                refused = Some(Error::new(format_args!("remember the network {}", network.name), path.display(), e));
            }
        }
    }
    refused.map_or(Ok(()), Err)
}

/// Removes a network's record; the caller has the lock.
pub fn forget(network: &Network) -> Result<()> {
    for folder in folder_of(&network.name) {
        let path = folder.join(&network.name);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Error::new(format_args!("remove the network {}", network.name), path.display(), e));
            }
            _ => {}
        }
    }
    hosts::forget_network(&network.name);
    Ok(())
}

/// What a new network is to be like; what is none is chosen.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Its name.
    pub name: String,
    /// A macvlan's lower link.
    pub parent: Option<String>,
    /// How its containers are joined; a bridge, if nobody says.
    pub macvlan: bool,
    /// At most one of each family.
    pub subnets: Vec<Subnet>,
    /// The same.
    pub gateways: Vec<IpAddr>,
    /// It shall have IPv6.
    pub v6: bool,
    /// It leads nowhere.
    pub internal: bool,
    /// The largest packet.
    pub mtu: Option<u32>,
    /// `KEY=VALUE`.
    pub labels: Vec<String>,
}

/// Whether this host has IPv6.
pub fn host_has_v6() -> bool {
    let off = procfs::open().and_then(|proc| procfs::read_short(proc.as_fd(), c"sys/net/ipv6/conf/all/disable_ipv6"));
    off.is_ok_and(|off| off.first() == Some(&b'0'))
}

/// Makes a network: chooses what was not said, and remembers it. The caller has the lock.
pub fn create(asked: &Asked) -> Result<Network> {
    let name = &asked.name;
    names::check(name)?;
    if matches!(name.as_str(), "none" | "host" | "default" | "container") {
        return Err(Error::usage(format_args!("bad name {name:?}: --network has it for something else")));
    }
    let there = all();
    let usual = name == USUAL;
    if there.iter().any(|network| network.name == *name) {
        return Err(Error::usage(format_args!("there is a network {name} already"))
            .hint(Some(format!("ctr network inspect {name}, or choose another name"))));
    }
    let taken = taken(&there)?;
    let (id, _) = names::fresh().doing("make up an id", "getrandom")?;
    let given = |v6: bool| asked.subnets.iter().find(|subnet| subnet.is_v6() == v6).copied();
    for subnet in &asked.subnets {
        if let Some(why) = subnet.fault() {
            return Err(Error::usage(format_args!("bad --subnet {subnet}: {why}")));
        }
        let others = taken.iter().filter(|(other, _)| !asked.macvlan && other.overlaps(subnet));
        if let Some((other, whose)) = others.into_iter().next() {
            return Err(Error::usage(format_args!(
                "bad --subnet {subnet}: {other} {whose} overlaps it: choose another"
            )));
        }
    }
    if asked.subnets.iter().filter(|subnet| !subnet.is_v6()).count() > 1
        || asked.subnets.iter().filter(|subnet| subnet.is_v6()).count() > 1
    {
        return Err(Error::usage("--subnet: one of IPv4 and one of IPv6 at most"));
    }
    let occupied: Vec<Subnet> = taken.iter().map(|(subnet, _)| *subnet).collect();
    let v4 = match given(false) {
        Some(subnet) => subnet,
        None if asked.macvlan => {
            return Err(Error::usage(
                "a macvlan network needs the --subnet (and --gateway) of the link that it is on",
            ));
        }
        None => subnet::free(usual, &occupied).ok_or_else(|| {
            Error::usage("every private subnet overlaps a route of this host: choose one with --subnet")
        })?,
    };
    let v6 = match given(true) {
        None if asked.v6 || usual && host_has_v6() => {
            let mut random = [0; 7];
            sys::random(&mut random).doing("make up an IPv6 subnet", "getrandom")?;
            Some(subnet::local_v6(random))
        }
        other => other,
    };
    let range = |subnet: Subnet| -> Result<Range> {
        let asked = asked.gateways.iter().find(|gateway| gateway.is_ipv6() == subnet.is_v6());
        if let Some(gateway) = asked.filter(|gateway| !subnet.has_room_for(**gateway)) {
            return Err(Error::usage(format_args!("bad --gateway {gateway}: no host of {subnet} can have it")));
        }
        let first = || subnet.nth(1).ok_or_else(|| Error::usage(format_args!("{subnet} has no room")));
        Ok(Range { subnet, gateway: asked.copied().map_or_else(first, Ok)? })
    };
    let (v4, v6) = (range(v4)?, v6.map(range).transpose()?);
    if let Some(gateway) = asked.gateways.iter().find(|gateway| gateway.is_ipv6() && v6.is_none()) {
        return Err(Error::usage(format_args!(
            "bad --gateway {gateway}: the network has no IPv6 subnet; --ipv6 gives it one"
        )));
    }
    let link = match (&asked.parent, usual) {
        (Some(parent), _) => parent.clone(),
        (None, true) => usual_link(),
        (None, false) => format!("ctr-{}", id.get(..8).unwrap_or_default()),
    };
    let network = Network {
        name: name.clone(),
        id,
        driver: if asked.macvlan { Driver::Macvlan } else { Driver::Bridge },
        link,
        v4,
        v6,
        internal: asked.internal,
        mtu: asked.mtu,
        created: clock::now().to_string(),
        labels: asked.labels.clone(),
    };
    save(&network)?;
    Ok(network)
}

/// The default network, made if it is not there.
pub fn usual() -> Result<Network> {
    if let Some(network) = load(USUAL)? {
        return Ok(network);
    }
    let _lock = lock()?;
    if let Some(network) = load(USUAL)? {
        return Ok(network);
    }
    let network = create(&Asked { name: USUAL.to_owned(), ..Asked::default() })?;
    firewall::refresh()?;
    Ok(network)
}

/// Subnets that are somebody's: those of other networks, and all that a route of this host leads to.
fn taken(networks: &[Network]) -> Result<Vec<(Subnet, String)>> {
    let mut taken: Vec<(Subnet, String)> = Vec::new();
    for network in networks.iter().filter(|network| network.driver == Driver::Bridge) {
        taken.extend(network.ranges().map(|range| (range.subnet, format!("of the network {}", network.name))));
    }
    let doing = "see which addresses this host uses";
    let mut socket = netlink::Socket::open(netlink::NETLINK_ROUTE).doing(doing, "NETLINK_ROUTE")?;
    for route in netlink::route::list(&mut socket).doing(doing, "RTM_GETROUTE")? {
        let special = matches!(route.kind, netlink::route::RTN_BROADCAST | netlink::route::RTN_MULTICAST);
        if let Some((address, prefix)) = route.to.filter(|(address, prefix)| {
            let local = match address {
                IpAddr::V4(address) => address.is_loopback(),
                IpAddr::V6(address) => {
                    address.is_loopback() || address.is_unicast_link_local() || address.is_multicast()
                }
            };
            // Two halves of everything are a way to say "default" (VPNs do).
            !special && !local && *prefix > 1
        }) {
            taken.push((Subnet::of(address, prefix), "that this host has a route to".to_owned()));
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Network {
        let range = |subnet: &str, gateway: &str| Range {
            subnet: subnet.parse().unwrap(),
            gateway: gateway.parse().unwrap(),
        };
        Network {
            name: "web".into(),
            id: "0123456789abcdef".repeat(4),
            driver: Driver::Bridge,
            link: "ctr-01234567".into(),
            v4: range("10.128.0.0/24", "10.128.0.1"),
            v6: Some(range("fd00:1::/64", "fd00:1::1")),
            internal: true,
            mtu: Some(1400),
            created: "2026-11-23T10:00:00Z".into(),
            labels: vec!["a=b c".into()],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Network::parse(&sample().text()).unwrap(), sample());
        let plain = Network { v6: None, internal: false, mtu: None, labels: Vec::new(), ..sample() };
        assert_eq!(Network::parse(&plain.text()).unwrap(), plain);
        for garbage in ["", "ctr-network 2\n", "ctr-network 1\nname x\n", "\0", "ctr-network 1\nid 7\n"] {
            assert!(Network::parse(garbage).is_err(), "{garbage:?}");
        }
    }

    #[test]
    fn names_of_links_are_the_kernels() {
        assert!(is_link_name("ctr0") && is_link_name("eth0.1"));
        for bad in ["", ".", "..", "a/b", "a b", "a:b", "0123456789abcdef"] {
            assert!(!is_link_name(bad), "{bad}");
        }
        assert!(is_link_name(&usual_link()));
    }
}
