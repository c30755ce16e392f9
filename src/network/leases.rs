//! Addresses and ports of the host that containers have: one symbolic link each, named by what is leased, whose content says who has
//! it. Making a link is one system call, no two commands succeed, and it has its content from the beginning on.
//!
//! ```text
//! /run/ctr/addresses/10.88.0.2           -> ID
//! /run/ctr/ports/tcp.0.0.0.0.8080        -> ID 10.88.0.2 80
//! ```
//! Before anything is leased the container's record says that it will be (`leases held`). So whoever takes away what is left of a dead
//! container knows that there is something to be given back ([`forget`]), and a link whose container is gone is nobody's.

use std::ffi::{CStr, CString};
use std::io;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::ports::{Protocol, Published};
use crate::{folders, sys};

/// What is leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An address of a network.
    Address,
    /// A port of the host.
    Port,
}

impl Kind {
    fn folder(self) -> PathBuf {
        folders::folder().join(match self {
            Kind::Address => "addresses",
            Kind::Port => "ports",
        })
    }
}

fn path(kind: Kind, name: &str) -> CString {
    CString::new(kind.folder().join(name).as_os_str().as_bytes()).unwrap_or_default()
}

/// The name of a port's link.
pub fn name(port: &Published) -> String {
    format!("{}.{}.{}", port.protocol.name(), port.at, port.host)
}

/// What a port's link says.
fn text(id: &str, port: &Published) -> String {
    format!("{id} {} {}", port.to, port.inside)
}

/// Makes a link; false if there is one.
fn make(kind: Kind, name: &str, content: &str) -> io::Result<bool> {
    let (link, content) = (path(kind, name), CString::new(content)?);
    let mut made = rootfs::sys::symlink(&content, sys::CWD, &link);
    if made.as_ref().is_err_and(|e| e.raw_os_error() == Some(libc::ENOENT)) {
        let folder = CString::new(kind.folder().as_os_str().as_bytes())?;
        match sys::mkdir(sys::CWD, &folder, 0o700) {
            Err(e) if e.raw_os_error() != Some(libc::EEXIST) => return Err(e),
            _ => made = rootfs::sys::symlink(&content, sys::CWD, &link),
        }
    }
    match made {
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        done => done.map(|()| true),
    }
}

/// Takes an address; false if somebody has it.
pub fn take(address: IpAddr, id: &str) -> io::Result<bool> {
    make(Kind::Address, &address.to_string(), id)
}

/// Takes a port; false if somebody has it.
pub fn take_port(port: &Published, id: &str) -> io::Result<bool> {
    make(Kind::Port, &name(port), &text(id, port))
}

/// The words of a link; none if there is none.
fn read(link: &CStr) -> Option<String> {
    let mut words = [0; 256];
    // Once more, should it have failed for want of something: who is not known is taken for nobody.
    let length =
        sys::readlink(sys::CWD, link, &mut words).or_else(|_| sys::readlink(sys::CWD, link, &mut words)).ok()?;
    Some(String::from_utf8_lossy(words.get(..length)?).into_owned())
}

/// Who has something: his id.
pub fn owner(kind: Kind, name: &str) -> Option<String> {
    read(&path(kind, name))?.split(' ').next().map(str::to_owned)
}

fn give_back(kind: Kind, name: &str) {
    let link = path(kind, name);
    // Once more: nobody looks for it before somebody else wants it.
    if sys::unlink(sys::CWD, &link, false).is_err() {
        let _ = sys::unlink(sys::CWD, &link, false);
    }
}

/// Gives an address back.
pub fn release(address: IpAddr) {
    give_back(Kind::Address, &address.to_string());
}

/// Gives a port back.
pub fn release_port(port: &Published) {
    give_back(Kind::Port, &name(port));
}

/// Every link of a kind, with its words.
fn all(kind: Kind) -> Vec<(String, String)> {
    folders::names(&kind.folder())
        .into_iter()
        .filter_map(|name| read(&path(kind, &name)).map(|words| (name, words)))
        .collect()
}

/// Every port that is published, and by whom.
pub fn ports() -> Vec<(String, Published)> {
    let one = |(name, words): (String, String)| {
        let (protocol, rest) = name.split_once('.')?;
        let (at, host) = rest.rsplit_once('.')?;
        let mut words = words.split(' ');
        let (id, to, inside) = (words.next()?, words.next()?, words.next()?);
        let protocol = Protocol::named(protocol)?;
        let (at, host) = (at.parse().ok()?, host.parse().ok()?);
        let port = Published { protocol, at, host, to: to.parse().ok()?, inside: inside.parse().ok()? };
        Some((id.to_owned(), port))
    };
    all(Kind::Port).into_iter().filter_map(one).collect()
}

/// A published port as a record has it: `tcp 0.0.0.0 8080 10.88.0.2 80`.
pub fn parse(line: &str) -> Option<Published> {
    let words: Vec<&str> = line.split(' ').collect();
    let [protocol, at, host, to, inside] = words.as_slice() else { return None };
    let protocol = Protocol::named(protocol)?;
    Some(Published {
        protocol,
        at: at.parse().ok()?,
        host: host.parse().ok()?,
        to: to.parse().ok()?,
        inside: inside.parse().ok()?,
    })
}

/// Every address that is leased, and by whom.
pub fn addresses() -> Vec<(String, IpAddr)> {
    all(Kind::Address).into_iter().filter_map(|(name, words)| Some((words, name.parse().ok()?))).collect()
}

/// Gives back all that a container had which nobody looks after any more. The ports that it had.
pub fn forget(id: &str) -> Vec<Published> {
    let had: Vec<Published> = ports().into_iter().filter(|(owner, _)| owner == id).map(|(_, port)| port).collect();
    had.iter().for_each(release_port);
    for (_, address) in addresses().into_iter().filter(|(owner, _)| owner == id) {
        release(address);
    }
    had
}

/// The first of these ports that cannot be had beside what somebody else has: that of all addresses and that of one of them. Who
/// has it, and which one of ours.
pub fn rival(ours: &[Published], id: &str) -> Option<(String, Published)> {
    let others: Vec<_> = ports().into_iter().filter(|(owner, _)| owner != id).collect();
    if others.is_empty() {
        return None;
    }
    ours.iter().find_map(|port| {
        let meets = |other: &Published| {
            let same = (other.protocol, other.host) == (port.protocol, port.host);
            let meet = other.at == port.at || other.at.is_unspecified() || port.at.is_unspecified();
            same && meet && other.at.is_ipv6() == port.at.is_ipv6()
        };
        others.iter().find(|(_, other)| meets(other)).map(|(owner, _)| (owner.clone(), *port))
    })
}
