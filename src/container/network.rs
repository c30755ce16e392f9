//! A container's network while it lives: asked for before it is made, joined while it is being made, open when it runs. What that means
//! is `network/`'s matter; here is how it goes together with facts, record and birth.

use std::cell::RefCell;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use super::facts::Held;
use super::plan::{Facts, Net, Way};
use super::record::{Entry, Record, State};
use super::spec::{Network, Spec};
use crate::error::{Doing, Error, Result, hint};
use crate::idmap::IdMap;
use crate::network::connect::{self, Asked, Connection};
use crate::network::{hosts, leases, ports::Published};

/// Who has something that is leased: the name of a container that there is, whether it lives or not; what dead ones left is taken
/// away first.
pub fn owner(id: &str) -> Result<Option<String>> {
    match State::open()?.find(id.as_ref()) {
        Ok(found) if found.record.get("leases").is_some() || found.held => Ok(Some(found.name)),
        Ok(_) | Err(_) => Ok(None),
    }
}

/// Leases what the container is to have of the networks, and says in `facts` what is to be done inside. The record says that
/// something is leased before anything is.
pub fn join(
    spec: &Spec,
    facts: &mut Facts,
    name: &str,
    held: &mut Held,
    record: &mut Record,
    entry: &Entry,
) -> Result<Option<Connection>> {
    let joins = match &spec.network {
        Network::None | Network::Host => return Ok(None),
        Network::Container(other) => return share(other, facts, held).map(|()| None),
        Network::Joined(joins) => joins,
    };
    record.set("leases", "held");
    entry.save(record)?;
    let prepared = connect::prepare(&Asked { id: &facts.id, name, joins, ports: &spec.ports }, &owner);
    let mut connection = match prepared {
        Err(e) if joins.iter().any(|join| join.usual) => {
            // Nobody asked for a network: that there is none is less than usual, not more.
            facts.notices.push(format!("{name} has no network: {e}"));
            facts.net = Net::None;
            "# this container has no network\n".clone_into(&mut facts.resolv_conf);
            record.unset("leases");
            return Ok(None);
        }
        prepared => prepared?,
    };
    if connection.forwarded && !connection.ports.is_empty() {
        facts.notices.push(format!(
            "{name}: this kernel has no nf_tables: its ports are served by ctr itself, and it sees this host's address for everybody's; \
             it reaches others only where somebody else translates its address"
        ));
    }
    facts.notices.extend(connection.notices.iter().map(|notice| format!("{name}: {notice}")));
    let gateway = connection.joined.first().map(|joined| joined.network.v4.gateway);
    let mut own = connection.own_names(&facts.hostname);
    own.extend(known_hosts(spec, gateway)?);
    let root = if let Way::Shifted { map } = &facts.way { IdMap::root(map) } else { (0, 0) };
    let file = hosts::begin(&facts.id, &own, &connection.members(name), root)?;
    connection.hosts = Some(file.clone());
    let messages = connection.inside().doing("prepare the container's links", "")?;
    facts.net = Net::Joined { messages, words: connection.lines(), hosts: Some(file) };
    connection.announce(name)?;
    Ok(Some(connection))
}

/// The network of another container, and its names.
fn share(other: &str, facts: &mut Facts, held: &mut Held) -> Result<()> {
    let found = State::open()?.find(other.as_ref())?;
    let (process, _) = found.process()?;
    let id = found.record.id();
    if id == facts.id {
        return Err(Error::usage("--network container:… names the container itself"));
    }
    let file = hosts::file(id);
    facts.net = Net::Of { process: held.keep(process), hosts: Some(file).filter(|file| file.exists()) };
    Ok(())
}

/// What `--add-host` says, with the host's own address where that was asked for.
pub fn known_hosts(spec: &Spec, gateway: Option<IpAddr>) -> Result<Vec<(IpAddr, String)>> {
    let one = |(name, address): &(String, Option<IpAddr>)| {
        let address = address.or(gateway).ok_or_else(|| {
            Error::usage(format_args!(
                "--add-host {name}:host-gateway needs a network: without one there is no way to the host"
            ))
        })?;
        Ok((address, name.clone()))
    };
    spec.hosts.iter().map(one).collect()
}

/// There is a network namespace, that of the process `space`: the cables are made, and the record says what the container has.
pub fn attach(connection: &RefCell<Option<Connection>>, space: u32, record: &mut Record) -> Result<()> {
    if let Some(connection) = connection.borrow_mut().as_mut() {
        connection.attach(space).map_err(|mut e| {
            e.hint =
                e.hint.take().or_else(|| hint("network", e.cause.raw_os_error().unwrap_or(0)).map(str::to_owned));
            e
        })?;
        remember(connection, record);
    }
    Ok(())
}

fn remember(connection: &Connection, record: &mut Record) {
    record.unset_all(&["net", "port"]);
    for joined in &connection.joined {
        record.add("net", joined.text());
    }
    for port in &connection.ports {
        record.add("port", format!("{} {} {} {} {}", port.protocol.name(), port.at, port.host, port.to, port.inside));
    }
    if connection.forwarded {
        record.set("forwarded", "yes");
    }
}

/// The container runs, and traffic may come. `process` is its pidfd; who is `lasting` stays small.
pub fn open(connection: &RefCell<Option<Connection>>, process: BorrowedFd, lasting: bool) -> Result<()> {
    let mut connection = connection.borrow_mut();
    let Some(connection) = connection.as_mut() else { return Ok(()) };
    connection.open(process)?;
    if lasting {
        connection.rest();
    }
    Ok(())
}

/// What a container has of its networks, as its record says.
pub fn lines(record: &Record) -> Vec<connect::Line> {
    record.words("net").iter().filter_map(|line| connect::line(line.to_str()?)).collect()
}

/// What it publishes, as its record says.
pub fn ports(record: &Record) -> Vec<Published> {
    record.words("port").iter().filter_map(|line| leases::parse(line.to_str()?)).collect()
}

/// A container's `/etc/hosts`, if it has one outside.
pub fn hosts_file(record: &Record) -> Option<PathBuf> {
    Some(hosts::file(record.id())).filter(|file| file.exists())
}
