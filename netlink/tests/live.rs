//! This crate against the kernel it runs on.
//!
//! The first tests change nothing and need no privilege: they talk to whatever network namespace they are in. Those that
//! are `#[ignore]`d make and delete links, and want a fresh network namespace for themselves:
//! `unshare -rn cargo test -p netlink --test live -- --ignored --test-threads=1`. They refuse to run anywhere else.
#![allow(unsafe_code)] // for the counting allocator alone

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use libc::{EEXIST, EINVAL, ENODEV, EOPNOTSUPP, EPERM, IFF_LOOPBACK, IFF_UP, NLM_F_ACK, NLMSG_NOOP, RTM_NEWADDR};
use netlink::addr::{self, Address};
use netlink::conntrack::Flow;
use netlink::link::{Bridge, Ipv4Conf, Ipv6Conf, Kind, Netns, Port, Settings};
use netlink::neigh::{self, Neighbour};
use netlink::nft::{
    Batch, Chain, Data, Element, Expr, Family, Field, Hook, Rule, Ruleset, Set, Table, Type, Verdict, concat, ifname,
};
use netlink::route::{self, Packet, Route};
use netlink::{
    Message, NETLINK_NETFILTER, NETLINK_ROUTE, Socket, conntrack, errno, link, nft, refusal, rule, transact,
    transact_all, wire,
};

thread_local!(static ALLOCATIONS: Cell<u32> = const { Cell::new(0) });

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counter neither allocates nor has a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise about `layout`, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise that `memory` came from `alloc` with this layout, passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A question that changes nothing and that everybody may ask: netlink itself says yes to it, whatever the protocol.
fn nothing() -> Message {
    Message::new(NLMSG_NOOP as u16, NLM_F_ACK)
}

/// No link can have this name: the kernel takes a slash in none.
const NO_SUCH: &str = "no/such";

#[test]
fn the_list_has_lo() {
    let links = link::list(&mut Socket::open(NETLINK_ROUTE).unwrap()).unwrap();
    let lo = links.iter().find(|link| link.name == "lo").unwrap();
    assert_eq!((lo.index, lo.kind.as_deref(), lo.flags & IFF_LOOPBACK as u32), (1, None, IFF_LOOPBACK as u32));
    assert!(lo.mtu >= 16384, "{lo:?}");
}

#[test]
fn a_request_is_acknowledged_and_a_bad_one_refused() {
    let mut socket = Socket::open(NETLINK_ROUTE).unwrap();
    socket.request(nothing()).unwrap();
    let refused = socket.request(link::delete(NO_SUCH)).unwrap_err();
    assert!(matches!(errno(&refused), Some(ENODEV | EPERM)), "{refused}");
    socket.request(nothing()).unwrap();
}

#[test]
fn the_generation_is_a_number_or_a_plain_refusal() {
    let answer = Socket::open(NETLINK_NETFILTER).and_then(|mut socket| nft::generation(&mut socket));
    match answer {
        Ok(_) => {}
        Err(error) => assert!(matches!(errno(&error), Some(EPERM | EINVAL)), "{error}"),
    }
}

#[test]
fn transact_returns_the_verdict_and_allocates_nothing() {
    let (good, bad) = (nothing().finish().unwrap(), link::delete(NO_SUCH).finish().unwrap());
    // Its refusal carries it back, and does not fit the buffer: MSG_TRUNC, see sys::receive.
    let mut long = Message::new(libc::RTM_DELLINK, NLM_F_ACK);
    let long = long.ifinfo(0).name(libc::IFLA_IFNAME, NO_SUCH).name(libc::IFLA_IFALIAS, &"x".repeat(200)).clone();
    let long = long.finish().unwrap();
    let before = ALLOCATIONS.get();
    let verdicts = [transact(&good), transact(&bad), transact(&long), transact(&good[..15]), transact(&[])];
    let after = ALLOCATIONS.get();
    assert_eq!(after - before, 0);
    let verdicts = verdicts.map(|verdict| verdict.err().and_then(|error| error.raw_os_error()));
    assert_eq!(verdicts[0], None);
    assert!(matches!(verdicts[1], Some(ENODEV | EPERM)), "{verdicts:?}");
    assert!(matches!(verdicts[2], Some(ENODEV | EPERM)), "{verdicts:?}");
    assert_eq!(verdicts[3..], [Some(EINVAL), Some(EINVAL)]);
}

#[test]
fn transact_wants_a_message_that_asks_for_its_verdict() {
    let silent = Message::new(NLMSG_NOOP as u16, 0).finish().unwrap();
    assert_eq!(transact(&silent).unwrap_err().raw_os_error(), Some(EINVAL));
}

/// A socket of a network namespace in which nothing has happened yet, or the test stops here.
fn fresh() -> Socket {
    let mut socket = Socket::open(NETLINK_ROUTE).unwrap();
    let links = link::list(&mut socket).unwrap();
    let lo_alone = links.iter().all(|link| link.name == "lo" && link.flags & IFF_UP as u32 == 0);
    assert!(lo_alone && links.len() == 1, "run me under `unshare -rn`, with --test-threads=1: there is {links:?}");
    socket
}

fn names(socket: &mut Socket) -> Vec<(String, Option<String>)> {
    let mut names: Vec<_> = link::list(socket).unwrap().into_iter().map(|link| (link.name, link.kind)).collect();
    names.sort();
    names
}

fn named(name: &str, kind: Option<&str>) -> (String, Option<String>) {
    (name.to_owned(), kind.map(str::to_owned))
}

/// What the kernel said, as a number and as text.
fn said(result: io::Result<()>) -> (Option<i32>, String) {
    let error = result.unwrap_err();
    (errno(&error), error.to_string())
}

#[test]
#[ignore = "needs a network namespace of its own: unshare -rn"]
fn links_come_and_go() {
    let mut socket = fresh();
    socket.request(link::add_bridge("ctr0")).unwrap();
    socket.request(link::add_veth("ctr-web", "eth0")).unwrap();
    let there = [named("ctr-web", Some("veth")), named("ctr0", Some("bridge")), named("eth0", Some("veth"))];
    assert_eq!(names(&mut socket), [&there[..], &[named("lo", None)]].concat());

    // Refusals, the kernel's words among them where it has any.
    assert_eq!(said(socket.request(link::add_bridge("ctr0"))).0, Some(EEXIST));
    assert_eq!(said(socket.request(link::add_veth("new", "eth0"))).0, Some(EEXIST));
    assert_eq!(said(socket.request(link::delete("new"))).0, Some(ENODEV));
    let (number, words) = said(socket.request(link::add_bridge("sixteen-bytes-xx")));
    assert_eq!(number, Some(libc::ERANGE), "{words}");
    assert!(words.contains("; the kernel says: "), "{words}");

    socket.request(link::delete("ctr-web")).unwrap();
    socket.request(link::delete("ctr0")).unwrap();
    assert_eq!(names(&mut socket), [named("lo", None)]);

    // Not every kernel has the dummy driver.
    match socket.request(link::add_dummy("dummy0")) {
        Ok(()) => socket.request(link::delete("dummy0")).unwrap(),
        Err(error) => {
            assert_eq!(errno(&error), Some(EOPNOTSUPP));
            assert!(error.to_string().ends_with("; the kernel says: Unknown device type"), "{error}");
        }
    }

    // The child's way, last: lo does not come down again.
    transact(&link::set_up(1).finish().unwrap()).unwrap();
    let lo = link::list(&mut socket).unwrap().remove(0);
    assert_eq!(lo.flags & IFF_UP as u32, IFF_UP as u32);
    socket.request(down(1)).unwrap();
}

/// `ip link set dev lo down`, so that the next test finds the namespace as this one did.
fn down(index: u32) -> Message {
    let mut message = Message::new(libc::RTM_NEWLINK, NLM_F_ACK);
    message.ifinfo_flags(index, 0, IFF_UP as u32);
    message
}

#[test]
#[ignore = "needs a network namespace of its own: unshare -rn"]
fn a_long_list_comes_whole() {
    let mut socket = fresh();
    for n in 0..200 {
        socket.request(link::add_bridge(&format!("br{n}"))).unwrap();
    }
    let links = link::list(&mut socket).unwrap();
    assert_eq!(links.len(), 201);
    assert!(links.iter().all(|link| link.name == "lo" || link.kind.as_deref() == Some("bridge")));

    // Somebody else changes the list all the while. We get a whole one or are told that we did not.
    let (mut whole, mut disturbed) = (0, 0);
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let mut socket = Socket::open(NETLINK_ROUTE).unwrap();
            for _ in 0..20 {
                socket.request(link::add_veth("come", "go")).unwrap();
                socket.request(link::delete("come")).unwrap();
            }
        });
        while !busy.is_finished() {
            match link::list(&mut socket) {
                Ok(links) => {
                    assert!(links.iter().filter(|link| link.name.starts_with("br")).count() == 200);
                    whole += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy, "{error}");
                    disturbed += 1;
                }
            }
        }
    });
    eprintln!("{whole} lists were whole, {disturbed} disturbed ten times");
    for n in 0..200 {
        socket.request(link::delete(&format!("br{n}"))).unwrap();
    }
}

#[test]
#[ignore = "needs a network namespace of its own: unshare -rn"]
fn the_generation_is_answered_to_root() {
    let mut socket = Socket::open(NETLINK_NETFILTER).unwrap();
    assert_eq!(nft::generation(&mut socket).unwrap(), nft::generation(&mut socket).unwrap());
}

/// A second network namespace, as a descriptor and as a socket that speaks to it. It is a thread's, which is gone by then.
fn elsewhere() -> (File, Socket) {
    let thread = std::thread::spawn(|| {
        // SAFETY: no memory is passed; the namespace is this thread's alone.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
        (File::open("/proc/thread-self/ns/net").unwrap(), Socket::open(NETLINK_ROUTE).unwrap())
    });
    thread.join().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Two namespaces, a bridge in one, a veth between them, addresses, routes, neighbours: made, read, and taken down.
#[test]
#[ignore = "needs a network namespace of its own: unshare -rn"]
fn a_network_is_made_read_and_taken_down() {
    let mut here = fresh();
    let (namespace, mut there) = elsewhere();
    let nothing = Settings::default();

    // A bridge in one message, and its addresses in another send.
    let options = Bridge { forward_delay: Some(0), ageing_time: Some(12_000), ..Bridge::default() };
    let mac = Some([2, 0x42, 0, 0, 0, 1]);
    let settings = Settings { name: Some("net0"), mtu: Some(1400), address: mac, up: Some(true), ..nothing };
    here.request(link::add(Kind::Bridge(options), &settings)).unwrap();
    let bridge = link::get(&mut here, "net0").unwrap();
    assert_eq!((bridge.kind.as_deref(), bridge.mtu, bridge.address), (Some("bridge"), 1400, mac));
    assert!(bridge.is_up() && bridge.index > 1);
    let read = bridge.bridge.unwrap();
    assert_eq!((read.forward_delay, read.ageing_time, read.stp), (Some(0), Some(12_000), Some(false)));
    assert_eq!(link::get_index(&mut here, bridge.index).unwrap().name, "net0");
    assert_eq!(errno(&link::get(&mut here, "none").unwrap_err()), Some(ENODEV));
    let fourth = Address::new(bridge.index, ip("10.77.0.1"), 24);
    let sixth = Address { flags: addr::IFA_F_NODAD, ..Address::new(bridge.index, ip("fd77::1"), 64) };
    here.requests([addr::add(&fourth), addr::add(&sixth)]).unwrap();

    // A veth: master and up in the message that makes it, the peer born elsewhere.
    let peer_mac = Some([2, 0x42, 0, 0, 0, 2]);
    let inside = Some(Netns::Fd(namespace.as_fd()));
    let peer = Settings { name: Some("eth0"), mtu: Some(1400), address: peer_mac, netns: inside, ..nothing };
    let settings =
        Settings { name: Some("web"), mtu: Some(1400), master: Some(bridge.index), up: Some(true), ..nothing };
    here.request(link::add(Kind::Veth(peer), &settings)).unwrap();
    // A peer cannot be born up.
    let early = Settings { name: Some("eth1"), up: Some(true), ..peer };
    let error = here.request(link::add(Kind::Veth(early), &Settings { name: Some("web1"), ..settings })).unwrap_err();
    assert_eq!(errno(&error), Some(libc::ENOTCONN), "{error}");
    let eth0 = link::get(&mut there, "eth0").unwrap();
    assert_eq!((eth0.mtu, eth0.address, eth0.is_up()), (1400, peer_mac, false));
    let web = link::get(&mut here, "web").unwrap();
    assert_eq!((web.master, web.peer, web.is_up(), web.carrier), (Some(bridge.index), Some(eth0.index), true, false));
    assert!(web.peer_netns.is_some());

    // All that the other end needs in one send. Of two that fail the first is named.
    let lo = link::set_up(1);
    let up = link::set_up(eth0.index);
    let own = Address::new(eth0.index, ip("10.77.0.2"), 24);
    let own6 = Address { flags: addr::IFA_F_NODAD, ..Address::new(eth0.index, ip("fd77::2"), 64) };
    let way = Route { mtu: Some(1300), source: Some(own.address), ..Route::by(fourth.address) };
    let way6 = Route::by(sixth.address);
    there.requests([lo, up, addr::add(&own), addr::add(&own6), route::add(&way), route::add(&way6)]).unwrap();
    let lost = Route { to: Some((ip("10.99.0.0"), 16)), ..Route::by(ip("10.98.0.1")) };
    let error = there.requests([link::set_up(1), addr::add(&own), route::add(&lost)]).unwrap_err();
    let told = refusal(&error).unwrap();
    assert_eq!((told.errno, told.message, &told.failed[..]), (EEXIST, Some(1), &[2][..]), "{error}");
    let error = there.request(route::add(&lost)).unwrap_err();
    assert_eq!(errno(&error), Some(libc::ENETUNREACH));
    assert!(error.to_string().ends_with("; the kernel says: Nexthop has invalid gateway"), "{error}");
    // The kernel points at the name that is too long.
    let error = here.request(link::add_bridge("sixteen-bytes-xx")).unwrap_err();
    assert_eq!(refusal(&error).unwrap().attribute, [libc::IFLA_IFNAME], "{error}");

    // What is there now.
    assert!(link::get(&mut here, "web").unwrap().carrier);
    let all = addr::list(&mut there).unwrap();
    let mine: Vec<_> = all.iter().filter(|found| found.index == eth0.index && found.scope == 0).collect();
    assert_eq!(mine.len(), 2, "{all:?}");
    assert!(mine.iter().any(|found| found.address == own.address && found.prefix == 24 && found.broadcast.is_none()));
    assert!(mine.iter().any(|found| found.address == own6.address && found.flags & addr::IFA_F_TENTATIVE == 0));
    assert!(all.iter().any(|found| found.address == ip("127.0.0.1")), "{all:?}");
    let few = addr::list_of(&mut there, eth0.index).unwrap();
    assert!(few.iter().all(|found| found.index == eth0.index) && few.len() < all.len());
    let routes = route::list(&mut there).unwrap();
    let found = routes.iter().find(|route| route.to.is_none() && !route.v6).unwrap();
    assert_eq!((found.gateway, found.link, found.mtu), (way.gateway, Some(eth0.index), Some(1300)));
    assert_eq!((found.table, found.source), (route::RT_TABLE_MAIN, Some(own.address)));
    assert!(routes.iter().any(|route| route.v6 && route.to.is_none() && route.gateway == way6.gateway));
    assert!(routes.iter().any(|route| route.to == Some((ip("10.77.0.0"), 24)) && route.protocol == 2));
    assert!(routes.iter().any(|route| route.kind == route::RTN_LOCAL && route.table == route::RT_TABLE_LOCAL));
    let far = route::get(&mut there, ip("192.0.2.1"), &Packet::default()).unwrap();
    assert_eq!((far.gateway, far.link, far.source), (way.gateway, Some(eth0.index), Some(own.address)));
    let far = route::get(&mut there, ip("2001:db8::1"), &Packet::default()).unwrap();
    assert_eq!(far.gateway, way6.gateway);
    let error = route::get(&mut here, ip("192.0.2.1"), &Packet::default()).unwrap_err();
    assert_eq!(errno(&error), Some(libc::ENETUNREACH));
    assert!(rule::list(&mut here).unwrap().iter().any(|rule| rule.table == route::RT_TABLE_MAIN && !rule.v6));

    // A port's and a link's settings are written and read.
    let port = Port { isolated: Some(true), hairpin: Some(true), flood: Some(false), ..Port::default() };
    here.request(link::set_port(web.index, &port)).unwrap();
    let read = link::get(&mut here, "web").unwrap().port.unwrap();
    assert_eq!(
        (read.isolated, read.hairpin, read.flood, read.learning),
        (Some(true), Some(true), Some(false), Some(true))
    );
    assert_eq!(read.state, Some(3), "forwarding, since the delay is 0");
    let ipv4 = [(Ipv4Conf::ROUTE_LOCALNET, 1), (Ipv4Conf::RP_FILTER, 2)];
    let mode = Some(link::ADDR_GEN_NONE);
    let settings = Settings { ipv4: &ipv4, addr_gen_mode: mode, alias: Some("words"), ..nothing };
    here.request(link::set(bridge.index, &settings)).unwrap();
    let read = link::get(&mut here, "net0").unwrap();
    assert_eq!((read.addr_gen_mode, read.alias.as_deref()), (mode, Some("words")));
    let conf = read.ipv4.unwrap();
    assert_eq!((conf.get(Ipv4Conf::ROUTE_LOCALNET), conf.get(Ipv4Conf::RP_FILTER)), (Some(1), Some(2)));
    assert_eq!(read.ipv6.unwrap().get(Ipv6Conf::DISABLE_IPV6), Some(0));

    // Neighbours.
    let known =
        Neighbour { index: bridge.index, address: own.address, mac: peer_mac, state: neigh::NUD_PERMANENT, flags: 0 };
    here.request(neigh::replace(&known)).unwrap();
    assert_eq!(refusal_of(here.request(neigh::add(&known))), Some(EEXIST));
    assert!(neigh::list(&mut here).unwrap().contains(&known));
    assert!(neigh::list_of(&mut here, bridge.index).unwrap().contains(&known));
    assert!(!neigh::list_of(&mut here, web.index).unwrap().contains(&known));
    here.request(neigh::delete(&known)).unwrap();

    // Indexes that are known beforehand, for both ends; taken ones are refused.
    let (far, near) = (Settings { index: Some(77), ..nothing }, Settings { index: Some(70_077), ..nothing });
    let far = Settings { name: Some("far"), netns: inside, ..far };
    here.request(link::add(Kind::Veth(far), &Settings { name: Some("near"), ..near })).unwrap();
    assert_eq!(link::get_index(&mut there, 77).unwrap().name, "far");
    assert_eq!(link::get_index(&mut here, 70_077).unwrap().name, "near");
    let again =
        link::add(Kind::Veth(Settings { name: Some("far2"), ..far }), &Settings { name: Some("near2"), ..near });
    assert_eq!(refusal_of(here.request(again)), Some(EEXIST));
    let taken = Settings { index: Some(70_078), name: Some("near2"), ..nothing };
    let again = link::add(Kind::Veth(Settings { name: Some("far2"), ..far }), &taken);
    assert!(matches!(refusal_of(here.request(again)), Some(libc::EBUSY | EEXIST)));
    here.request(link::delete("near")).unwrap();

    // A macvlan on top of a veth, its parent here and it elsewhere; then everything goes.
    here.request(link::add_veth("low", "other")).unwrap();
    let low = link::get(&mut here, "low").unwrap().index;
    let lower = Kind::Macvlan { lower: low, mode: link::MacvlanMode::Bridge };
    match here.request(link::add(lower, &Settings { name: Some("mv0"), netns: inside, ..nothing })) {
        Ok(()) => {
            let above = link::get(&mut there, "mv0").unwrap();
            assert_eq!((above.kind.as_deref(), above.macvlan), (Some("macvlan"), Some(4)));
            there.request(link::delete_index(above.index)).unwrap();
        }
        Err(error) => assert_eq!(errno(&error), Some(EOPNOTSUPP), "{error}"),
    }
    here.request(link::delete("low")).unwrap();
    there.requests([route::delete(&way), route::delete(&way6), addr::delete(&own), addr::delete(&own6)]).unwrap();
    assert_eq!(refusal_of(there.request(route::delete(&way))), Some(libc::ESRCH));
    assert_eq!(refusal_of(there.request(addr::delete(&own))), Some(libc::EADDRNOTAVAIL));
    here.requests([link::delete_index(web.index), link::delete("net0")]).unwrap();
    assert_eq!(names(&mut here), [named("lo", None)]);
    assert_eq!(names(&mut there), [named("lo", None)]);
}

fn refusal_of(result: io::Result<()>) -> Option<i32> {
    errno(&result.unwrap_err())
}

/// What a child does between `clone3` and `execve`: several changes, one send, nothing allocated.
#[test]
#[ignore = "needs a network namespace of its own: unshare -rn"]
fn transact_all_does_all_of_it_and_allocates_nothing() {
    let mut socket = fresh();
    socket.request(link::add_veth("one", "two")).unwrap();
    let one = link::get(&mut socket, "one").unwrap().index;
    let own = Address::new(one, ip("10.77.0.2"), 24);
    let way = Route { link: Some(one), ..Route::by(ip("10.77.0.1")) };
    let messages = [link::set_up(one), addr::add(&own), route::add(&way)];
    let good = wire::join(messages.clone()).unwrap();
    let bad = wire::join([link::set_up(one), addr::add(&own), route::add(&way)]).unwrap();
    assert_eq!(wire::messages(&good).filter(|m| m.as_ref().unwrap().kind == RTM_NEWADDR).count(), 1);
    let before = ALLOCATIONS.get();
    let (first, second) = (transact_all(&good), transact_all(&bad));
    assert_eq!(ALLOCATIONS.get() - before, 0);
    first.unwrap();
    let (which, error) = second.unwrap_err();
    assert_eq!((which, error.raw_os_error()), (1, Some(EEXIST)));
    assert_eq!(route::list(&mut socket).unwrap().iter().filter(|route| route.gateway == way.gateway).count(), 1);
    socket.request(link::delete("one")).unwrap();
}

/// `nft` with these words, or nothing where there is none.
fn nft(words: &[&str]) -> Option<String> {
    let done = match Command::new("nft").args(words).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            eprintln!("not compared with nft: there is none here");
            return None;
        }
        done => done.unwrap(),
    };
    assert!(done.status.success(), "nft {words:?}: {}", String::from_utf8_lossy(&done.stderr));
    Some(String::from_utf8(done.stdout).unwrap())
}

/// What the kernel counts is not what was asked for.
fn without_counts(rules: &[Rule]) -> Vec<(String, Vec<Expr>, Option<String>)> {
    let expressions = |rule: &Rule| {
        let plain = |expression: &Expr| match expression {
            Expr::Counter { .. } => Expr::Counter { packets: 0, bytes: 0 },
            other => other.clone(),
        };
        rule.expressions.iter().map(plain).collect()
    };
    rules.iter().map(|rule| (rule.chain.clone(), expressions(rule), rule.comment.clone())).collect()
}

/// A ruleset is built, printed by `nft`, read, used by real traffic, and taken down.
#[test]
#[ignore = "needs a network namespace of its own: unshare -rn"]
fn published_ports_are_a_map_and_connections_are_seen_and_ended() {
    let mut socket = fresh();
    let mut filter = Socket::open(NETLINK_NETFILTER).unwrap();
    match nft::generation(&mut filter) {
        Err(error) if errno(&error) == Some(EINVAL) => return eprintln!("skipped: the kernel has no nf_tables"),
        other => drop(other.unwrap()),
    }
    let (namespace, mut there, tcp, udp) = std::thread::spawn(|| {
        // SAFETY: no memory is passed; the namespace is this thread's alone.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
        let socket = Socket::open(NETLINK_ROUTE).unwrap();
        let namespace = File::open("/proc/thread-self/ns/net").unwrap();
        (namespace, socket, TcpListener::bind("0.0.0.0:80").unwrap(), UdpSocket::bind("0.0.0.0:53").unwrap())
    })
    .join()
    .unwrap();

    // Two namespaces with a veth between them.
    let nothing = Settings::default();
    let inside = Some(Netns::Fd(namespace.as_fd()));
    let peer = Settings { name: Some("eth0"), netns: inside, ..nothing };
    let outer = Settings { name: Some("net0"), up: Some(true), ..nothing };
    socket.requests([link::set_up(1), link::add(Kind::Veth(peer), &outer)]).unwrap();
    let net0 = link::get(&mut socket, "net0").unwrap().index;
    let eth0 = link::get(&mut there, "eth0").unwrap().index;
    let localnet = Settings { ipv4: &[(Ipv4Conf::ROUTE_LOCALNET, 1)], ..nothing };
    let bridge_address = Address::new(net0, ip("10.77.0.1"), 24);
    socket.requests([addr::add(&bridge_address), link::set(net0, &localnet)]).unwrap();
    let own = Address::new(eth0, ip("10.77.0.2"), 24);
    there.requests([link::set_up(eth0), addr::add(&own), route::add(&Route::by(bridge_address.address))]).unwrap();

    // A table with everything in it, in one batch.
    let family = Family::INET;
    let table = Table { comment: Some("of a test".to_owned()), ..Table::new(family, "pub") };
    let out = Chain::new(family, "pub", "out").at(Hook::OUTPUT, "nat", -100);
    let post = Chain::new(family, "pub", "post").at(Hook::POSTROUTING, "nat", 100);
    let forward = Chain { drops: Some(true), ..Chain::new(family, "pub", "forward").at(Hook::FORWARD, "filter", 0) };
    let sub = Chain { comment: Some("jumped to".to_owned()), ..Chain::new(family, "pub", "sub") };
    let key = [Type::PROTOCOL, Type::SERVICE];
    let ports = Set::new(family, "pub", "ports", &key).to(&[Type::IPV4, Type::SERVICE]).comment("published");
    let subnets = Set::new(family, "pub", "nets", &[Type::IPV4]).with_intervals();
    let span_set = Set::new(family, "pub", "spans", &[Type::IPV4, Type::SERVICE]).with_intervals();
    let links = Set::new(family, "pub", "links", &[Type::IFNAME]).to_verdicts();
    let fields = [Field::Protocol, Field::DestinationPort];
    let published = Rule::in_chain(&out).to_this_host().dnat_map(false, &fields, "ports").comment("published ports");
    let leaving = Rule::in_chain(&post).from(ip("127.0.0.0"), 8).outgoing("net0").counter().masquerade(0);
    let address = Field::Destination { v6: false };
    let known = Rule::in_chain(&forward).state(Rule::ESTABLISHED | Rule::RELATED).counter().accept();
    let by_link = Rule::in_chain(&forward).verdict_map(&[Field::Incoming], "links");
    let by_net = Rule::in_chain(&forward).in_set(&[address], "nets").push(Expr::Reject { kind: 2, code: 1 });
    let by_span = Rule::in_chain(&forward).not_in_set(&[address, Field::DestinationPort], "spans").drop();
    let odd = Rule::in_chain(&sub).from(ip("fd00::"), 61).mark(7, 0xff).clamp_mss();
    let mut anonymous = Set::new(family, "pub", "", &[Type::SERVICE]);
    anonymous.elements = vec![Element::new([0, 22]), Element::new([0, 23])];
    let at = |port: u16| concat(&[&[libc::IPPROTO_TCP as u8], &port.to_be_bytes()]);
    let to = |port: u16| Data::Value(concat(&[&[10, 77, 0, 2], &port.to_be_bytes()]));
    let udp_at = concat(&[&[libc::IPPROTO_UDP as u8], &5353_u16.to_be_bytes()]);
    let elements = [
        Element { comment: Some("web".to_owned()), ..Element::with(at(8080), to(80)) },
        Element::with(udp_at, to(53)),
    ];
    let mut ranges = Element::range(&[10, 0, 0, 0], &[10, 255, 255, 255]);
    ranges.extend(Element::range(&[192, 0, 2, 0], &[192, 0, 2, 255]));
    let corner = |address: [u8; 4], port: u16| concat(&[&address, &port.to_be_bytes()]);
    let area = Element::new(corner([10, 0, 0, 0], 80)).up_to(corner([10, 0, 0, 255], 90));
    let jump = Element::with(ifname("net0"), Data::Verdict(Verdict::Jump("sub".to_owned())));
    let drops = Element::with(ifname("other"), Data::Verdict(Verdict::Drop));

    let mut batch = Batch::new();
    batch.add_table(&table).add_chain(&out).add_chain(&post).add_chain(&forward).add_chain(&sub);
    batch.add_set(&ports).add_set(&subnets).add_set(&span_set).add_set(&links);
    batch.add_elements(family, "pub", "ports", &elements).add_elements(family, "pub", "nets", &ranges);
    batch.add_elements(family, "pub", "spans", &[area]).add_elements(family, "pub", "links", &[jump, drops]);
    batch.add_rule(&published).add_rule(&leaving).add_rule(&by_link).add_rule(&by_net).add_rule(&by_span);
    batch.insert_rule(&known).add_rule(&odd);
    let (name, number) = batch.add_anonymous(&anonymous);
    let few = Rule::in_chain(&sub).protocol(6).in_set(&[Field::DestinationPort], &name);
    let numbered = |mut rule: Rule| {
        for expression in &mut rule.expressions {
            if let Expr::Lookup { id, .. } = expression {
                *id = Some(number);
            }
        }
        rule
    };
    batch.add_rule(&numbered(few).accept());
    batch.send(&mut filter).unwrap();

    // `nft` prints it as it would print its own.
    if let Some(text) = nft(&["list", "ruleset"]) {
        for line in [
            "comment \"of a test\"",
            "type nat hook output priority -100; policy accept;",
            "fib daddr type local dnat ip to meta l4proto . th dport map @ports comment \"published ports\"",
            "tcp . 8080 comment \"web\" : 10.77.0.2 . 80",
            "comment \"published\"",
            "type filter hook forward priority filter; policy drop;",
            "ct state established,related counter packets 0 bytes 0 accept",
            "iifname vmap @links",
            "ip daddr @nets reject",
            "ip daddr . th dport != @spans drop",
            "ip saddr 127.0.0.0/8 oifname \"net0\" counter packets 0 bytes 0 masquerade",
            "elements = { 10.0.0.0/8, 192.0.2.0/24 }",
            "elements = { 10.0.0.0/24 . 80-90 }",
            "\"net0\" : jump sub",
            "tcp dport { 22, 23 } accept",
            "ip6 saddr fd00::/61 meta mark & 0x000000ff == 0x00000007",
            "tcp option maxseg size set rt mtu",
        ] {
            assert!(text.contains(line), "`{line}` is not in\n{text}");
        }
    }

    // We read what we wrote.
    let all = nft::ruleset(&mut filter).unwrap();
    assert_eq!(all.tables.len(), 1);
    assert_eq!((all.tables[0].comment.as_deref(), all.tables[0].owner), (Some("of a test"), None));
    let found = all.chains.iter().find(|chain| chain.name == "forward").unwrap();
    assert_eq!((found.drops, &found.hook, found.kind.as_deref()), (Some(true), &forward.hook, Some("filter")));
    assert_eq!(all.chains.iter().find(|chain| chain.name == "sub").unwrap().comment, sub.comment);
    let of = |all: &Ruleset, chain: &Chain| without_counts(&all.rules_of(chain).cloned().collect::<Vec<_>>());
    assert_eq!(of(&all, &forward), without_counts(&[known.clone(), by_link, by_net, by_span]));
    assert_eq!((of(&all, &out), of(&all, &post)), (without_counts(&[published]), without_counts(&[leaving])));
    assert_eq!(of(&all, &sub)[0], without_counts(&[odd])[0]);
    let at_hook: Vec<_> = all.at_hook(Family::IPV4, Hook::POSTROUTING).iter().map(|chain| &chain.name).collect();
    assert_eq!(at_hook, ["post"]);
    let read = all.set(family, "pub", "ports").unwrap();
    assert_eq!(
        (read.comment.as_deref(), read.find(&at(8080)), read.find(&at(8081))),
        (Some("published"), Some(&elements[0]), None)
    );
    let read = all.set(family, "pub", "nets").unwrap();
    assert!(read.find(&[10, 3, 2, 1]).is_some() && read.find(&[192, 0, 2, 255]).is_some());
    assert!(read.find(&[9, 255, 255, 255]).is_none() && read.find(&[192, 0, 3, 0]).is_none());
    let read = all.set(family, "pub", "spans").unwrap();
    assert!(read.find(&corner([10, 0, 0, 9], 85)).is_some() && read.find(&corner([10, 0, 0, 9], 91)).is_none());
    let verdict = |key: &str| all.set(family, "pub", "links").unwrap().find(&ifname(key)).unwrap().data.clone();
    assert_eq!(verdict("net0"), Some(Data::Verdict(Verdict::Jump("sub".to_owned()))));

    // Foreign words are kept by name.
    if nft(&["add", "rule", "inet", "pub", "sub", "numgen", "random", "mod", "2", "0", "accept"]).is_some() {
        let rules = nft::rules(&mut filter).unwrap();
        assert!(
            rules.iter().any(|rule| rule.expressions[0] == Expr::Other { name: "numgen".to_owned() }),
            "{rules:?}"
        );
    }

    // All or nothing; and nothing, where somebody was faster.
    let now = nft::generation(&mut filter).unwrap();
    let mut bad = Batch::new();
    bad.add_chain(&Chain::new(family, "pub", "late")).add_rule(&Rule::new(family, "pub", "none").accept());
    let error = bad.send(&mut filter).unwrap_err();
    let told = refusal(&error).unwrap();
    assert_eq!((told.errno, told.message, told.attribute.clone()), (libc::ENOENT, Some(1), vec![2]), "{error}");
    assert_eq!(nft::generation(&mut filter).unwrap(), now);
    assert!(nft::chains(&mut filter).unwrap().iter().all(|chain| chain.name != "late"));
    let mut stale = Batch::at(now.wrapping_sub(1));
    stale.add_chain(&Chain::new(family, "pub", "late"));
    let error = stale.send(&mut filter).unwrap_err();
    assert_eq!(errno(&error), Some(libc::ERESTART), "{error}");
    let mut timely = Batch::at(now);
    timely.add_chain(&Chain::new(family, "pub", "late")).delete_chain(family, "pub", "late");
    timely.send(&mut filter).unwrap();

    // Real traffic, by 127.0.0.1 and a published port.
    let mut client = TcpStream::connect("127.0.0.1:8080").unwrap();
    let (mut server, from) = tcp.accept().unwrap();
    assert_eq!(from.ip(), bridge_address.address);
    client.write_all(b"hello").unwrap();
    let mut heard = [0; 5];
    server.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    let caller = UdpSocket::bind("0.0.0.0:0").unwrap();
    caller.send_to(b"who", "10.77.0.1:5353").unwrap();
    udp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut heard = [0; 16];
    let (length, from) = udp.recv_from(&mut heard).unwrap();
    assert_eq!((&heard[..length], from.ip()), (&b"who"[..], bridge_address.address));
    let rules = nft::rules(&mut filter).unwrap();
    let counted = |e: &Expr| matches!(e, Expr::Counter { packets, .. } if *packets > 0);
    assert!(rules.iter().any(|rule| rule.chain == "post" && rule.expressions.iter().any(counted)), "{rules:?}");

    // The connections, and an end to those of one destination.
    let flows = conntrack::list(&mut filter).unwrap();
    let web = flows.iter().find(|flow| flow.original.to() == "127.0.0.1:8080".parse().unwrap()).unwrap();
    assert_eq!(web.reply.from(), "10.77.0.2:80".parse().unwrap());
    assert_eq!((web.reply.to().ip(), web.tcp_state), (bridge_address.address, Some(3)));
    let both = conntrack::IPS_DST_NAT | conntrack::IPS_SRC_NAT;
    assert_eq!(web.status & both, both);
    let count = conntrack::count(&mut filter).unwrap();
    assert!(count.entries >= 2 && count.most.is_none_or(|most| most > count.entries), "{count:?}");
    let udp_to = |flow: &conntrack::Flow| flow.original.protocol == 17 && flow.reply.source == own.address;
    assert_eq!(conntrack::delete_where(&mut filter, udp_to).unwrap(), 1);
    let flows = conntrack::list(&mut filter).unwrap();
    assert!(!flows.iter().any(udp_to) && flows.contains(&flow_like(&flows, web)), "{flows:?}");
    assert_eq!(
        refusal_of(filter.request(conntrack::delete(&Flow { id: Some(1), ..web.clone() }))),
        Some(libc::ENOENT)
    );
    filter.request(conntrack::delete(web)).unwrap();

    // A published port goes; many come, in a batch that is longer than a send buffer.
    let mut batch = Batch::new();
    batch.delete_elements(family, "pub", "ports", &[Element::new(at(8080))]);
    batch.send(&mut filter).unwrap();
    assert_eq!(TcpStream::connect("127.0.0.1:8080").unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    let many: Vec<Element> = (10_000..18_000).map(|port| Element::with(at(port), to(80))).collect();
    let mut batch = Batch::new();
    batch.add_elements(family, "pub", "ports", &many);
    match batch.send(&mut filter) {
        Ok(()) => {
            let read = nft::elements(&mut filter, family, "pub", "ports").unwrap();
            assert_eq!(read.len(), 8001);
            let mut batch = Batch::new();
            batch.flush_set(family, "pub", "ports");
            batch.send(&mut filter).unwrap();
            assert!(nft::elements(&mut filter, family, "pub", "ports").unwrap().is_empty());
        }
        // Not every kernel lets the root of a user namespace go beyond net.core.wmem_max.
        Err(error) => {
            assert_eq!(errno(&error), Some(libc::EMSGSIZE), "{error}");
            let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
            assert!(!map.contains("4294967295"), "root of the first user namespace may: {error}");
        }
    }
    let gone = nft::elements(&mut filter, family, "pub", "none").unwrap_err();
    assert_eq!(errno(&gone), Some(libc::ENOENT));

    // Rules by handle, and the whole table.
    let rules = nft::rules(&mut filter).unwrap();
    let first = rules.iter().find(|rule| rule.chain == "forward").unwrap();
    let mut batch = Batch::new();
    batch.delete_rule(first);
    batch.send(&mut filter).unwrap();
    assert!(nft::rules(&mut filter).unwrap().iter().all(|rule| rule.handle != first.handle));
    let mut batch = Batch::new();
    batch.delete_table(family, "pub");
    batch.send(&mut filter).unwrap();
    let empty = nft::ruleset(&mut filter).unwrap();
    assert_eq!(empty, Ruleset { generation: empty.generation, ..Ruleset::default() });
    socket.requests([link::delete("net0"), down(1)]).unwrap();
}

/// The flow of `flows` between the same ends as this one.
fn flow_like(flows: &[Flow], like: &Flow) -> Flow {
    flows.iter().find(|flow| flow.id == like.id).unwrap_or(like).clone()
}
