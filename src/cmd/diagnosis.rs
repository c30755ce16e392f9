//! `ctr doctor CONTAINER`: why does its traffic not move?

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::fd::AsFd;

use linux_raw_sys::general as k;

use crate::cli::Doctor;
use crate::container::network as of;
use crate::container::record::{Found, State};
use crate::error::{Doing, Error, Result};
use crate::network::diagnosis::{self, Fix, Health, Hop, Joined, Port, Subject};
use crate::network::{self, Driver, Range, connect};
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
    let subject = subject(&found, pid)?;
    let mut hops = diagnosis::diagnose(&subject)?;
    if asked.fix {
        let mut mended = false;
        // What is mended may show what was behind it.
        for _ in 0..ROUNDS {
            let ours: Vec<&Hop> = hops.iter().filter(|hop| hop.health == Health::Bad && hop.fix.is_some()).collect();
            if ours.is_empty() {
                break;
            }
            for hop in ours {
                match &hop.fix {
                    Some(Fix::Reload) => drop(super::network::network(&["reload".into()])?),
                    Some(Fix::Cable { inside }) => {
                        let line = of::lines(&found.record).into_iter().find(|line| line.inside == *inside);
                        let enter = || sys::enter_namespaces(process.as_fd(), k::CLONE_NEWNET);
                        if let Some(line) = line {
                            connect::new_cable(&line, pid, !subject.ports.is_empty(), &enter)?;
                        }
                    }
                    _ => drop(diagnosis::mend(&subject, hop)?),
                }
            }
            mended = true;
            hops = diagnosis::diagnose(&subject)?;
        }
        for _ in 0..2 {
            if mended && !diagnosis::is_well(&hops) {
                std::thread::sleep(LINK_WATCH);
                hops = diagnosis::diagnose(&subject)?;
            }
        }
    }
    let text = if json {
        diagnosis::json(&hops).indented() + "\n"
    } else {
        format!("{}\n{}", found.name, diagnosis::picture(&hops, tty::is_terminal(sys::borrow(1))))
    };
    super::print(&text)?;
    Ok(u8::from(!diagnosis::is_well(&hops)))
}

/// A link that was switched on carries when the kernel has looked, which it does once a second (net/core/link_watch.c).
const LINK_WATCH: std::time::Duration = std::time::Duration::from_secs(1);

/// How often `--fix` looks again at most.
const ROUNDS: usize = 5;

/// The container as its record has it.
fn subject(found: &Found, pid: u32) -> Result<Subject> {
    let mut joined = Vec::new();
    for line in of::lines(&found.record) {
        let network = network::load(&line.network)?;
        let range = |range: Option<Range>| range.map(|range| (range.subnet.prefix, range.gateway));
        let v4 = range(network.as_ref().map(|network| network.v4));
        let v6 = range(network.as_ref().and_then(|network| network.v6));
        let of = |range: Option<(u8, IpAddr)>| {
            range.map_or((None, None), |(_, gateway)| match gateway {
                IpAddr::V4(gateway) => (Some(gateway), None),
                IpAddr::V6(gateway) => (None, Some(gateway)),
            })
        };
        joined.push(Joined {
            link: network.as_ref().map_or_else(String::new, |network| network.link.clone()),
            macvlan: network.as_ref().is_some_and(|network| network.driver == Driver::Macvlan),
            internal: network.as_ref().is_some_and(|network| network.internal),
            mtu: network.as_ref().and_then(|network| network.mtu),
            v4: line.v4.zip(v4.map(|(prefix, _)| prefix)),
            gateway4: of(v4).0,
            v6: line.v6.zip(v6.map(|(prefix, _)| prefix)),
            gateway6: of(v6).1,
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
        table: network::table(),
        ports: of::ports(&found.record)
            .into_iter()
            .map(|port| Port {
                protocol: port.protocol.number(),
                at: port.at,
                host: port.host,
                inside: port.inside,
                to: port.to,
            })
            .collect(),
        forwarded: found.record.get("forwarded").is_some(),
    })
}
