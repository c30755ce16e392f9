//! `ctr doctor CONTAINER`: why does its traffic not move?

use std::ffi::OsString;
use std::os::fd::AsFd;

use crate::cli::Doctor;
use crate::container::network as of;
use crate::container::record::{Found, State};
use crate::error::{Doing, Error, Result};
use crate::network::diagnosis::{self, Fix, Health, Hop, Joined, Subject};
use crate::network::{self, Range};
use crate::{procfs, sys, tty};

/// Looks at one container; exit code 1 if something is in the way.
pub fn diagnose(asked: &Doctor, word: &OsString) -> Result<u8> {
    if sys::euid() != 0 {
        return Err(Error::usage("ctr doctor CONTAINER takes root: it enters the container's network"));
    }
    let json = match asked.format.as_deref() {
        None | Some("table") => false,
        Some("json") => true,
        Some(other) => return Err(Error::usage(format_args!("bad --format {other:?}: it is table or json"))),
    };
    let found = State::unswept()?.find(word)?;
    let (process, pid) = found.process()?;
    let ourselves = sys::pidfd_open(std::process::id()).doing("get a descriptor of ourselves", "pidfd_open")?;
    let subject = subject(&found, pid)?;
    let look = || diagnosis::diagnose(&subject, process.as_fd(), ourselves.as_fd());
    let mut hops = look()?;
    if asked.fix {
        // What is mended may show what was behind it.
        for _ in 0..10 {
            let ours: Vec<Fix> =
                hops.iter().filter(|hop| hop.health == Health::Bad).filter_map(|hop| hop.fix.clone()).collect();
            if ours.is_empty() {
                break;
            }
            for fix in &ours {
                match fix {
                    Fix::Reload => drop(super::network::network(&["reload".into()])?),
                    other => diagnosis::mend(other, process.as_fd(), ourselves.as_fd())?,
                }
            }
            hops = look()?;
        }
    }
    let text = if json {
        diagnosis::json(&hops).indented() + "\n"
    } else {
        diagnosis::picture(&found.name, &hops, tty::is_terminal(sys::borrow(1)))
    };
    super::print(&text)?;
    let bad = |hop: &Hop| hop.health == Health::Bad;
    Ok(u8::from(hops.iter().any(bad)))
}

/// The container as its record has it.
fn subject(found: &Found, pid: u32) -> Result<Subject> {
    let mut joined = Vec::new();
    for line in of::lines(&found.record) {
        let network = network::load(&line.network)?;
        let range = |range: Option<Range>| range.map(|range| (range.subnet.prefix, range.gateway));
        let v4 = range(network.as_ref().map(|network| network.v4));
        let v6 = range(network.as_ref().and_then(|network| network.v6));
        let bytes: Vec<u8> = line.mac.split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
        joined.push(Joined {
            link: network.as_ref().map_or_else(String::new, |network| network.link.clone()),
            internal: network.as_ref().is_some_and(|network| network.internal),
            mac: bytes.try_into().ok(),
            v4: line.v4.zip(v4).map(|(address, (prefix, gateway))| (address, prefix, gateway)),
            v6: line.v6.zip(v6).map(|(address, (prefix, gateway))| (address, prefix, gateway)),
            network: line.network,
            inside: line.inside,
            veth: line.veth,
        });
    }
    // As it stands in there: by the process's own root, whatever is mounted on the file.
    let proc = procfs::open().doing("find /proc", "")?;
    let path = std::ffi::CString::new(format!("{pid}/root/etc/resolv.conf")).unwrap_or_default();
    let text = procfs::read(proc.as_fd(), &path).unwrap_or_default();
    Ok(Subject {
        name: found.name.clone(),
        pid,
        resolv_conf: String::from_utf8_lossy(&text).into_owned(),
        joined,
        ports: of::ports(&found.record),
        forwarded: found.record.get("forwarded").is_some(),
    })
}
