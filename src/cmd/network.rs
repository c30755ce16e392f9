//! `ctr network`: networks are made, looked at, joined, left and removed; and `ctr port`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;

use linux_raw_sys::general as k;
use netlink::{NETLINK_ROUTE, Socket, link};
use rootfs::json::Value;

use crate::cli::{self, Network as Words};
use crate::container::record::{Found, Record, State};
use crate::container::{control, journal, network as of, spec};
use crate::error::{Doing, Error, Result};
use crate::network::connect::{self, Join, Line};
use crate::network::ports::Protocol;
use crate::network::subnet::Subnet;
use crate::network::{self, Network, bridge, firewall, hosts};
use crate::sys;
use crate::table::{self, Column};
use crate::template::Template;

/// What a row of `ls` has, and what stands above it.
const COLUMNS: [Column; 9] = [
    Column { field: "ID", header: "NETWORK ID" },
    Column { field: "Name", header: "NAME" },
    Column { field: "Driver", header: "DRIVER" },
    Column { field: "Scope", header: "SCOPE" },
    Column { field: "Link", header: "LINK" },
    Column { field: "Subnet", header: "SUBNET" },
    Column { field: "Gateway", header: "GATEWAY" },
    Column { field: "Containers", header: "CONTAINERS" },
    Column { field: "Internal", header: "INTERNAL" },
];

const SUBVERBS: [&str; 9] = ["create", "ls", "list", "inspect", "rm", "prune", "connect", "disconnect", "reload"];

/// The verb.
pub fn network(words: &[OsString]) -> Result<u8> {
    let Some((asked, operands)) = super::read::<Words>("network", words)? else { return Ok(0) };
    let operands: Vec<String> = operands
        .iter()
        .map(|word| word.to_str().map(str::to_owned).ok_or_else(|| Error::usage("a name of a network is UTF-8")))
        .collect::<Result<_>>()?;
    let Some((verb, rest)) = operands.split_first() else {
        super::print(&cli::help_of("network"))?;
        return Err(Error::usage("say what to do with networks, for example: ctr network ls"));
    };
    if sys::euid() != 0 && !matches!(verb.as_str(), "ls" | "list" | "inspect") {
        return Err(Error::usage(format_args!("ctr network {verb} takes root: it changes the host's network")));
    }
    match verb.as_str() {
        "create" => create(&asked, rest),
        "ls" | "list" => ls(&asked, rest),
        "inspect" => inspect(&asked, rest),
        "rm" | "remove" => rm(&asked, rest),
        "prune" => prune(&asked, rest),
        "connect" => connect(&asked, rest),
        "disconnect" => disconnect(&asked, rest),
        "reload" => reload(rest),
        other => {
            let near = crate::words::nearest(other, SUBVERBS.into_iter());
            let advice = near.map_or("see ctr network --help".to_owned(), |near| format!("did you mean {near}?"));
            Err(Error::usage(format_args!("unknown verb network {other:?}: {advice}")))
        }
    }
}

fn the_name<'a>(verb: &str, rest: &'a [String]) -> Result<&'a str> {
    match rest {
        [one] => Ok(one),
        _ => Err(Error::usage(format_args!("ctr network {verb} takes one NETWORK (see ctr network --help)"))),
    }
}

fn create(asked: &Words, rest: &[String]) -> Result<u8> {
    let name = the_name("create", rest)?;
    let macvlan = match asked.driver.as_deref() {
        None | Some("bridge") => false,
        Some("macvlan") => true,
        Some(other) => return Err(Error::usage(format_args!("bad --driver {other:?}: it is bridge or macvlan"))),
    };
    let mut parent = None;
    let mut mtu_word = asked.mtu.clone();
    for text in &asked.opt {
        match text.split_once('=') {
            Some(("parent", link)) if network::is_link_name(link) => parent = Some(link.to_owned()),
            Some(("com.docker.network.driver.mtu" | "mtu", mtu)) => mtu_word = Some(mtu.to_owned()),
            _ => return Err(Error::usage(format_args!("bad -o {text:?}: it is parent=LINK, for --driver macvlan"))),
        }
    }
    if macvlan != parent.is_some() {
        return Err(Error::usage(
            "--driver macvlan and -o parent=LINK go together: the link of this host that it is on",
        ));
    }
    if let Some(link) = &parent {
        let mut socket = Socket::open(NETLINK_ROUTE).doing("speak to the kernel's network", "NETLINK_ROUTE")?;
        link::get(&mut socket, link)
            .map_err(|_| Error::usage(format_args!("bad -o parent={link}: this host has no such link")))?;
    }
    let mtu = mtu_word.as_deref().map(|text| {
        let bad = || Error::usage(format_args!("bad --mtu {text:?}: it is a number of bytes from 576 to 65535"));
        text.parse::<u32>().ok().filter(|mtu| (576..=65_535).contains(mtu)).ok_or_else(bad)
    });
    let subnets = asked
        .subnet
        .iter()
        .map(|text| text.parse::<Subnet>().map_err(|why| Error::usage(format_args!("bad --subnet {text:?}: {why}"))));
    let gateways = asked.gateway.iter().map(|text| {
        text.parse()
            .map_err(|_| Error::usage(format_args!("bad --gateway {text:?}: it is an address, such as 10.5.0.1")))
    });
    let mtu = mtu.transpose()?;
    if let Some(mtu) =
        mtu.filter(|mtu| *mtu < 1280 && (asked.ipv6 || asked.subnet.iter().any(|text| text.contains(':'))))
    {
        return Err(Error::usage(format_args!(
            "bad --mtu {mtu}: IPv6 takes packets of 1280 bytes at least (RFC 8200)"
        )));
    }
    asked.label.iter().try_for_each(|label| spec::label(label))?;
    let wish = network::Asked {
        name: name.to_owned(),
        parent,
        macvlan,
        subnets: subnets.collect::<Result<_>>()?,
        gateways: gateways.collect::<Result<_>>()?,
        v6: asked.ipv6,
        internal: asked.internal,
        mtu,
        labels: asked.label.clone(),
    };
    let _lock = network::lock()?;
    let made = network::create(&wish)?;
    firewall::refresh()?;
    super::print(&format!("{}\n", made.id))?;
    Ok(0)
}

/// A container that is on a network, as its record says.
struct Guest {
    name: String,
    id: String,
    line: Line,
    ports: Vec<String>,
}

/// Who is on a network.
fn guests(network: &Network, all: &[Found]) -> Vec<Guest> {
    let mut guests = Vec::new();
    for found in all.iter().filter(|found| found.is_alive()) {
        for line in of::lines(&found.record).into_iter().filter(|line| line.network == network.name) {
            let own = |port: &crate::network::ports::Published| {
                line.v4.is_some_and(|v4| port.to == std::net::IpAddr::V4(v4))
                    || line.v6.is_some_and(|v6| port.to == std::net::IpAddr::V6(v6))
            };
            let ports = of::ports(&found.record).iter().filter(|port| own(port)).map(ToString::to_string).collect();
            guests.push(Guest { name: found.name.clone(), id: found.record.id().to_owned(), line, ports });
        }
    }
    guests.sort_by_key(|guest| (guest.line.v4, guest.name.clone()));
    guests
}

fn prefixed(address: Option<std::net::IpAddr>, range: Option<network::Range>) -> Option<String> {
    Some(format!("{}/{}", address?, range?.subnet.prefix))
}

/// What there is of a network, for people: its bridge, and the cables that lead from there.
fn drawing(network: &Network, guests: &[Guest], up: bool) -> String {
    let mut text = network.name.clone();
    let ranges: Vec<String> = network.ranges().map(|range| range.subnet.to_string()).collect();
    let _ = write!(
        text,
        "  {}{}  {}",
        network.driver.name(),
        if network.internal { ", internal" } else { "" },
        ranges.join("  ")
    );
    text.push('\n');
    let gateways: Vec<String> = network.ranges().map(|range| range.gateway.to_string()).collect();
    let state = match (network.driver, up) {
        (network::Driver::Macvlan, _) => "the host's link",
        (_, true) => "up",
        (_, false) => "made when a container wants it",
    };
    let _ = writeln!(text, "  [{}] {}  ({state})", network.link, gateways.join("  "));
    let rows: Vec<[String; 4]> = guests
        .iter()
        .map(|guest| {
            let v4 = guest.line.v4.map(Into::into);
            let v6 = guest.line.v6.map(Into::into);
            let addresses: Vec<String> =
                [prefixed(v4, Some(network.v4)), prefixed(v6, network.v6)].into_iter().flatten().collect();
            [
                guest.line.veth.clone(),
                format!("{} {}", guest.name, guest.line.inside),
                addresses.join(" "),
                guest.ports.join(", "),
            ]
        })
        .collect();
    let width =
        |n: usize| rows.iter().map(|row| row.get(n).map_or(0, |cell| cell.chars().count())).max().unwrap_or(0);
    let (one, two, three) = (width(0), width(1), width(2));
    for (n, [veth, name, addresses, ports]) in rows.iter().enumerate() {
        let branch = if n + 1 == rows.len() { "└" } else { "├" };
        let line = format!("   {branch}─ {veth:<one$} ── {name:<two$}  {addresses:<three$}  {ports}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn is_up(socket: &mut Socket, network: &Network) -> bool {
    link::get(socket, &network.link).is_ok_and(|link| link.is_up())
}

fn ls(asked: &Words, rest: &[String]) -> Result<u8> {
    if !rest.is_empty() {
        return Err(Error::usage("ctr network ls takes no operands: ctr network inspect NETWORK says everything"));
    }
    let networks = network::all();
    if asked.quiet && asked.format.is_none() {
        let names = networks.iter().fold(String::new(), |names, network| names + &network.name + "\n");
        return super::print(&names).map(|()| 0);
    }
    let all = State::unswept()?.all();
    if asked.format.is_none() {
        let mut socket = Socket::open(NETLINK_ROUTE).doing("speak to the kernel's network", "NETLINK_ROUTE")?;
        let one = |network: &Network| drawing(network, &guests(network, &all), is_up(&mut socket, network));
        let text = networks.iter().map(one).collect::<Vec<_>>().join("\n");
        let none = "no networks yet: the first container makes the network bridge, or ctr network create NAME\n";
        return super::print(if text.is_empty() { none } else { &text }).map(|()| 0);
    }
    let row = |network: &Network| {
        let subnets: Vec<String> = network.ranges().map(|range| range.subnet.to_string()).collect();
        let gateways: Vec<String> = network.ranges().map(|range| range.gateway.to_string()).collect();
        Value::map([
            ("ID", network.id.get(..12).unwrap_or_default().into()),
            ("Name", network.name.as_str().into()),
            ("Driver", network.driver.name().into()),
            ("Scope", "local".into()),
            ("Link", network.link.as_str().into()),
            ("Subnet", subnets.join(", ").into()),
            ("Gateway", gateways.join(", ").into()),
            ("Containers", guests(network, &all).len().to_string().into()),
            ("Internal", network.internal.into()),
        ])
    };
    let rows: Vec<Value> = networks.iter().map(row).collect();
    let usual = ["ID", "Name", "Driver", "Link", "Subnet", "Containers"];
    super::print(&table::listing(asked.format.as_deref(), &COLUMNS, &usual, &rows)?)?;
    Ok(0)
}

fn inspect(asked: &Words, rest: &[String]) -> Result<u8> {
    if rest.is_empty() {
        return Err(Error::usage("no NETWORK: say which one, for example: ctr network inspect bridge"));
    }
    let all = State::unswept()?.all();
    let mut values = Vec::new();
    let found = rest.iter().map(|word| network::find(word)).collect::<Result<Vec<_>>>()?;
    let drawn = asked.format.as_deref() == Some("table");
    if drawn {
        let mut socket = Socket::open(NETLINK_ROUTE).doing("speak to the kernel's network", "NETLINK_ROUTE")?;
        let one = |network: &Network| drawing(network, &guests(network, &all), is_up(&mut socket, network));
        return super::print(&found.iter().map(one).collect::<Vec<_>>().join("\n")).map(|()| 0);
    }
    for network in &found {
        values.push(describe(network, &guests(network, &all)));
    }
    match asked.format.as_deref() {
        None | Some("") => super::print(&(Value::List(values).indented() + "\n"))?,
        Some("json") => super::print(&(Value::List(values).compact() + "\n"))?,
        Some(text) => {
            let template = Template::parse(text)?;
            values.iter().try_for_each(|value| super::print(&(template.render(value)? + "\n")))?;
        }
    }
    Ok(0)
}

fn describe(network: &Network, guests: &[Guest]) -> Value {
    let text = |text: Option<String>| Value::from(text.unwrap_or_default());
    let ranges = network.ranges().map(|range| {
        Value::map([("Subnet", range.subnet.to_string().into()), ("Gateway", range.gateway.to_string().into())])
    });
    let containers = guests.iter().map(|guest| {
        let line = &guest.line;
        let value = Value::map([
            ("Name", guest.name.as_str().into()),
            ("Interface", line.inside.as_str().into()),
            ("HostInterface", line.veth.as_str().into()),
            ("MacAddress", line.mac.as_str().into()),
            ("IPv4Address", text(prefixed(line.v4.map(Into::into), Some(network.v4)))),
            ("IPv6Address", text(prefixed(line.v6.map(Into::into), network.v6))),
            ("Aliases", line.aliases.clone().into()),
            ("Ports", guest.ports.clone().into()),
        ]);
        (guest.id.clone(), value)
    });
    let labels = network.labels.iter().map(|label| {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        (key.to_owned(), value.into())
    });
    Value::map([
        ("Name", network.name.as_str().into()),
        ("Id", network.id.as_str().into()),
        ("Created", network.created.as_str().into()),
        ("Scope", "local".into()),
        ("Driver", network.driver.name().into()),
        ("Link", network.link.as_str().into()),
        ("EnableIPv6", network.v6.is_some().into()),
        ("IPAM", Value::map([("Driver", "default".into()), ("Config", Value::List(ranges.collect()))])),
        ("Internal", network.internal.into()),
        ("Mtu", network.mtu.map_or(Value::Null, |mtu| u64::from(mtu).into())),
        ("Containers", Value::Map(containers.collect())),
        ("Labels", Value::Map(labels.collect())),
    ])
}

/// Why a network cannot be removed now.
fn users(network: &Network, all: &[Found]) -> Vec<String> {
    let asks = |found: &&Found| {
        let on = of::lines(&found.record).iter().any(|line| line.network == network.name);
        found.is_alive() && on
    };
    all.iter().filter(asks).map(|found| found.name.clone()).collect()
}

fn remove(network: &Network, socket: &mut Socket) -> Result<()> {
    bridge::remove(network, socket)?;
    network::forget(network)
}

/// What there is of ctr's beside the networks goes with the last of them.
fn clean_up(socket: &mut Socket) -> Result<()> {
    let left = network::all();
    if left.iter().any(|network| is_up(socket, network) && network.driver == network::Driver::Bridge) {
        return firewall::refresh();
    }
    if let Some(mut table) = firewall::open()? {
        firewall::remove(&mut table)?;
    }
    bridge::put_back(socket);
    Ok(())
}

fn rm(asked: &Words, rest: &[String]) -> Result<u8> {
    if rest.is_empty() {
        return Err(Error::usage(
            "no NETWORK: say which one, for example: ctr network rm web (ctr network ls lists them)",
        ));
    }
    let all = State::open()?.all();
    let mut socket = Socket::open(NETLINK_ROUTE).doing("speak to the kernel's network", "NETLINK_ROUTE")?;
    let _lock = network::lock()?;
    let mut code = 0;
    for word in rest {
        let removed = network::find(word).and_then(|network| {
            let users = users(&network, &all);
            if !users.is_empty() {
                let hint =
                    format!("ctr rm -f {0}, or: ctr network disconnect {1} {0}", users.join(" "), network.name);
                let who = users.join(", ");
                return Err(
                    Error::usage(format_args!("the network {} is in use by {who}", network.name)).hint(Some(hint))
                );
            }
            remove(&network, &mut socket)?;
            super::print(&format!("{}\n", network.name))
        });
        match removed {
            Ok(()) => {}
            Err(_) if asked.force && network::find(word).is_err() => {}
            Err(e) if rest.len() == 1 => return Err(e),
            Err(e) => {
                let _ = writeln!(io::stderr(), "ctr: {e}");
                code = 1;
            }
        }
    }
    clean_up(&mut socket)?;
    Ok(code)
}

fn prune(asked: &Words, rest: &[String]) -> Result<u8> {
    if !rest.is_empty() {
        return Err(Error::usage("ctr network prune takes no operands: ctr network rm removes one"));
    }
    if !asked.force {
        let _ = write!(io::stderr(), "This will remove all networks that no container uses. Go on? [y/N] ");
        let mut answer = String::new();
        let _ = io::stdin().lock().read_line(&mut answer);
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Ok(0);
        }
    }
    let all = State::open()?.all();
    let mut socket = Socket::open(NETLINK_ROUTE).doing("speak to the kernel's network", "NETLINK_ROUTE")?;
    let _lock = network::lock()?;
    let mut removed = String::new();
    for network in network::all() {
        // One that a container at rest asks for stays: it could not be started any more. The default one is made again.
        let wanted = |found: &Found| {
            let named = asked_for(&found.record).iter().any(|word| spec::joined_name(word) == network.name);
            named && !network.is_usual()
        };
        if users(&network, &all).is_empty() && !all.iter().any(wanted) {
            remove(&network, &mut socket)?;
            let _ = writeln!(removed, "{}", network.name);
        }
    }
    clean_up(&mut socket)?;
    let text = if removed.is_empty() { String::new() } else { format!("Deleted Networks:\n{removed}") };
    super::print(&text).map(|()| 0)
}

/// The network and the container that `connect` and `disconnect` are about.
fn two(verb: &str, rest: &[String]) -> Result<(String, State, Found)> {
    let [name, container] = rest else {
        return Err(Error::usage(format_args!("ctr network {verb} takes a NETWORK and a CONTAINER")));
    };
    let state = State::open()?;
    let found = state.find(container.as_ref())?;
    if found.record.get("guarded").is_some() {
        return Err(Error::usage(format_args!(
            "{} ends with its ctr run (--rm): its networks stay as they are",
            found.name
        )));
    }
    Ok((name.clone(), state, found))
}

/// The networks that a container asks for, and what it wishes there: words of `--network`, from its record.
fn asked_for(record: &Record) -> Vec<String> {
    let all = record.words("--network").iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>();
    if all.is_empty() { vec![network::USUAL.to_owned()] } else { all }
}

/// Changes what a container's record says of its networks: by its supervisor, where it has one.
fn note(state: &State, found: &Found, change: &dyn Fn(&mut Record)) -> Result<()> {
    let mut record = found.record.clone();
    change(&mut record);
    if found.held {
        let mut text = String::new();
        for key in ["--network", "net"] {
            for word in record.words(key) {
                let _ = writeln!(text, "{key} {}", word.to_string_lossy());
            }
        }
        return control::networks(found.dir()?.as_fd(), &text).doing("tell the container's supervisor", &found.name);
    }
    let entry = state.lock(found)?;
    let mut record = entry.record()?;
    change(&mut record);
    entry.keep();
    entry.save(&record)
}

fn connect(asked: &Words, rest: &[String]) -> Result<u8> {
    let (name, state, found) = two("connect", rest)?;
    let network = if name == network::USUAL { network::usual()? } else { network::find(&name)? };
    let wanted = asked_for(&found.record);
    if wanted.iter().any(|other| spec::joined_name(other) == network.name) {
        return Err(Error::usage(format_args!("{} is on the network {} already", found.name, network.name)));
    }
    if let Some(other) =
        wanted.iter().find(|other| matches!(other.as_str(), "none" | "host") || other.starts_with("container:"))
    {
        return Err(Error::usage(format_args!(
            "{} was made with --network {other}: it can be on no other",
            found.name
        )));
    }
    let address = |text: &Option<String>, option: &str| {
        text.as_ref()
            .map(|text| {
                text.parse().map_err(|_| Error::usage(format_args!("bad {option} {text:?}: it is an address")))
            })
            .transpose()
    };
    let (v4, v6) = (
        address(&asked.ip, "--ip")?.map(|address: std::net::IpAddr| match address {
            std::net::IpAddr::V4(v4) => Ok(v4),
            std::net::IpAddr::V6(_) => Err(Error::usage("--ip is for IPv4: --ip6 is for the other")),
        }),
        address(&asked.ip6, "--ip6")?.map(|address: std::net::IpAddr| match address {
            std::net::IpAddr::V6(v6) => Ok(v6),
            std::net::IpAddr::V4(_) => Err(Error::usage("--ip6 is for IPv6: --ip is for the other")),
        }),
    );
    let aliases = asked.alias.iter().map(|text| spec::alias(text)).collect::<Result<Vec<_>>>()?;
    let join = Join {
        network: network.name.clone(),
        aliases,
        v4: v4.transpose()?,
        v6: v6.transpose()?,
        mac: None,
        usual: false,
    };
    let word = spec::join_word(&join);
    let word = word.as_str();
    if !found.is_running() {
        note(&state, &found, &|record| ask_for(record, &wanted, word))?;
        return Ok(0);
    }
    let (process, pid) = found.process()?;
    let used: Vec<u32> =
        of::lines(&found.record).iter().filter_map(|line| line.inside.strip_prefix("eth")?.parse().ok()).collect();
    let number = (0..100).find(|n| !used.contains(n)).ok_or_else(|| Error::usage("it is on a hundred networks"))?;
    let id = found.record.id().to_owned();
    let wish = connect::Asked { id: &id, name: &found.name, joins: std::slice::from_ref(&join), ports: &[] };
    let enter = || sys::enter_namespaces(process.as_fd(), k::CLONE_NEWNET);
    let joined = connect::join_running(&wish, number, pid, &of::owner, &enter)?;
    let noted = note(&state, &found, &|record| {
        ask_for(record, &wanted, word);
        record.set("leases", "held");
        record.add("net", joined.text());
    });
    if let Err(e) = noted {
        if let Some(line) = connect::line(&joined.text()) {
            let _ = connect::part_running(&id, &line);
        }
        return Err(e);
    }
    journal::note("connect", &found.record, Some(&found.name), &[("network", network.name.clone())]);
    Ok(0)
}

fn ask_for(record: &mut Record, before: &[String], more: &str) {
    record.unset("--network");
    before.iter().map(String::as_str).chain([more]).for_each(|name| record.add("--network", name));
}

fn disconnect(asked: &Words, rest: &[String]) -> Result<u8> {
    let (name, state, found) = two("disconnect", rest)?;
    let name = network::find(&name).map_or(name, |network| network.name);
    let mut wanted = asked_for(&found.record);
    let line = of::lines(&found.record).into_iter().find(|line| line.network == name);
    if !wanted.iter().any(|other| spec::joined_name(other) == name) && line.is_none() {
        return if asked.force {
            Ok(0)
        } else {
            Err(Error::usage(format_args!("{} is not on the network {name}", found.name)))
        };
    }
    wanted.retain(|other| spec::joined_name(other) != name);
    if let Some(line) = line.filter(|_| found.is_running()) {
        let own = |port: &crate::network::ports::Published| {
            line.v4.map(std::net::IpAddr::V4) == Some(port.to) || line.v6.map(std::net::IpAddr::V6) == Some(port.to)
        };
        if of::ports(&found.record).iter().any(own) && !asked.force {
            return Err(Error::usage(format_args!("{} publishes ports on the network {name}", found.name))
                .hint(Some("disconnect -f, if they shall lead nowhere")));
        }
        connect::part_running(found.record.id(), &line)?;
    }
    if wanted.is_empty() {
        wanted.push("none".to_owned());
    }
    note(&state, &found, &|record| {
        record.unset("--network");
        for other in &wanted {
            record.add("--network", other);
        }
        let kept: Vec<OsString> = record
            .words("net")
            .into_iter()
            .filter(|line| !line.to_string_lossy().starts_with(&format!("{name} ")))
            .collect();
        record.unset("net");
        for line in &kept {
            record.add("net", line);
        }
    })?;
    journal::note("disconnect", &found.record, Some(&found.name), &[("network", name)]);
    Ok(0)
}

/// Bridges, cables' places and the table, as they should be.
fn reload(rest: &[String]) -> Result<u8> {
    if !rest.is_empty() {
        return Err(Error::usage("ctr network reload takes no operands: it looks after all networks"));
    }
    let all = State::open()?.all();
    let mut socket = Socket::open(NETLINK_ROUTE).doing("speak to the kernel's network", "NETLINK_ROUTE")?;
    let _lock = network::lock()?;
    let mut any = false;
    for network in network::all().into_iter().filter(|network| network.driver == network::Driver::Bridge) {
        let guests = guests(&network, &all);
        if guests.is_empty() && link::get(&mut socket, &network.link).is_err() {
            continue;
        }
        any = true;
        let index = bridge::make(&network, &mut socket)?.index;
        for guest in guests {
            // One whose cable somebody has pulled or switched off.
            let settings = link::Settings { master: Some(index), up: Some(true), ..link::Settings::default() };
            if let Ok(near) = link::get(&mut socket, &guest.line.veth) {
                if near.master != Some(index) || !near.is_up() {
                    socket.request(link::set(near.index, &settings)).doing("mend a cable", &guest.line.veth)?;
                }
            }
        }
    }
    match firewall::open()? {
        Some(mut table) if any => firewall::rebuild(&mut table)?,
        Some(_) => {}
        None => {
            return Err(Error::usage("this kernel has no nf_tables: there are no rules to be made")
                .hint(Some("modprobe nf_tables")));
        }
    }
    Ok(0)
}

/// `ctr port`.
pub fn port(words: &[OsString]) -> Result<u8> {
    let Some((cli::Port {}, operands)) = super::read::<cli::Port>("port", words)? else { return Ok(0) };
    let (word, wanted) = match operands.as_slice() {
        [word] => (word, None),
        [word, port] => (word, Some(port.to_string_lossy().into_owned())),
        _ => return Err(Error::usage("ctr port takes a CONTAINER, and a PORT if one is enough")),
    };
    let wanted = wanted
        .map(|text| {
            let (port, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
            let bad = || Error::usage(format_args!("bad port {text:?}: it is PORT[/udp], such as 80"));
            Ok::<_, Error>((port.parse::<u16>().map_err(|_| bad())?, Protocol::named(protocol).ok_or_else(bad)?))
        })
        .transpose()?;
    let found = State::open()?.find(word)?;
    let ports = of::ports(&found.record);
    let mut text = String::new();
    for port in &ports {
        match wanted {
            None => {
                let _ = writeln!(text, "{}/{} -> {}", port.inside, port.protocol.name(), port.place());
            }
            Some(wanted) if wanted == (port.inside, port.protocol) => {
                let _ = writeln!(text, "{}", port.place());
            }
            Some(_) => {}
        }
    }
    if let (true, Some((port, protocol))) = (text.is_empty(), wanted) {
        return Err(Error::usage(format_args!("{} does not publish {port}/{}", found.name, protocol.name())));
    }
    super::print(&text).map(|()| 0)
}

/// What `ps` shows of a container's ports.
pub fn shown_ports(record: &Record) -> String {
    of::ports(record).iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The networks that a container is on, or would be.
pub fn shown_networks(record: &Record) -> String {
    let now: Vec<String> = of::lines(record).into_iter().map(|line| line.network).collect();
    if now.is_empty() { mode(record) } else { now.join(",") }
}

/// `HostConfig.NetworkMode`.
pub fn mode(record: &Record) -> String {
    let first = record.words("--network").into_iter().next().map(|word| word.to_string_lossy().into_owned());
    match first {
        Some(word) => spec::joined_name(&word).to_owned(),
        None if sys::euid() == 0 => network::USUAL.to_owned(),
        None => "none".to_owned(),
    }
}

/// `HostConfig.PortBindings`, from what was asked for.
pub fn bindings(record: &Record) -> Value {
    let mut all: Vec<(String, Vec<Value>)> = Vec::new();
    for word in record.words("--publish") {
        for wish in crate::network::ports::publish(&word.to_string_lossy()).unwrap_or_default() {
            let at = wish.at.map_or(String::new(), |at| at.to_string());
            let host = wish.host.map_or(String::new(), |host| host.to_string());
            add(&mut all, wish.inside, wish.protocol, at, host);
        }
    }
    Value::Map(all.into_iter().map(|(key, list)| (key, Value::List(list))).collect())
}

fn add(all: &mut Vec<(String, Vec<Value>)>, inside: u16, protocol: Protocol, at: String, host: String) {
    let key = format!("{inside}/{}", protocol.name());
    let value = Value::map([("HostIp", at.into()), ("HostPort", host.into())]);
    match all.iter_mut().find(|(other, _)| *other == key) {
        Some((_, list)) => list.push(value),
        None => all.push((key, vec![value])),
    }
}

/// `NetworkSettings`.
pub fn settings(found: &Found) -> Value {
    let record = &found.record;
    let mut ports: Vec<(String, Vec<Value>)> = Vec::new();
    for port in of::ports(record) {
        add(&mut ports, port.inside, port.protocol, port.at.to_string(), port.host.to_string());
    }
    let text = |address: Option<String>| Value::from(address.unwrap_or_default());
    let mut networks = Vec::new();
    let mut first = None;
    for line in of::lines(record) {
        let network = network::load(&line.network).ok().flatten();
        let v4 = network.as_ref().map(|network| network.v4).filter(|_| line.v4.is_some());
        let v6 = network.as_ref().and_then(|network| network.v6).filter(|_| line.v6.is_some());
        let prefix = |range: Option<network::Range>| -> Value {
            range.map_or(0_i64, |range| i64::from(range.subnet.prefix)).into()
        };
        let gateway = |range: Option<network::Range>| text(range.map(|range| range.gateway.to_string()));
        let (address, address6) = (text(line.v4.map(|a| a.to_string())), text(line.v6.map(|a| a.to_string())));
        first = first.or_else(|| {
            Some((
                address.clone(),
                prefix(v4),
                gateway(v4),
                line.mac.clone(),
                address6.clone(),
                prefix(v6),
                gateway(v6),
            ))
        });
        let value = Value::map([
            ("NetworkID", text(network.as_ref().map(|network| network.id.clone()))),
            ("Interface", line.inside.as_str().into()),
            ("HostInterface", line.veth.as_str().into()),
            ("IPAddress", address),
            ("IPPrefixLen", prefix(v4)),
            ("Gateway", gateway(v4)),
            ("GlobalIPv6Address", address6),
            ("GlobalIPv6PrefixLen", prefix(v6)),
            ("IPv6Gateway", gateway(v6)),
            ("MacAddress", line.mac.as_str().into()),
            ("Aliases", line.aliases.clone().into()),
        ]);
        networks.push((line.network, value));
    }
    let hosts = of::hosts_file(record).map_or(String::new(), |path| path.display().to_string());
    let mut entries = vec![
        ("Ports", Value::Map(ports.into_iter().map(|(key, list)| (key, Value::List(list))).collect())),
        ("Networks", Value::Map(networks)),
        ("HostsPath", hosts.into()),
        ("ForwardedInUserSpace", record.get("forwarded").is_some().into()),
    ];
    let none = || Value::from("");
    let (address, prefix, gateway, mac, address6, prefix6, gateway6) =
        first.unwrap_or_else(|| (none(), 0_i64.into(), none(), String::new(), none(), 0_i64.into(), none()));
    entries.extend([
        ("IPAddress", address),
        ("IPPrefixLen", prefix),
        ("Gateway", gateway),
        ("MacAddress", mac.into()),
        ("GlobalIPv6Address", address6),
        ("GlobalIPv6PrefixLen", prefix6),
        ("IPv6Gateway", gateway6),
    ]);
    Value::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// A container has another name: others find it by that.
pub fn renamed(found: &Found, new: &str) {
    if found.record.get("leases").is_some() {
        hosts::rename(found.record.id(), &found.name, new);
    }
}
