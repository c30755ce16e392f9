//! This crate against the kernel it runs on.
//!
//! The first tests change nothing and need no privilege: they talk to whatever network namespace they are in. Those that
//! are `#[ignore]`d make and delete links, and want a fresh network namespace for themselves:
//! `unshare -rn cargo test -p netlink --test live -- --ignored --test-threads=1`. They refuse to run anywhere else.
#![allow(unsafe_code)] // for the counting allocator alone

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;

use libc::{EEXIST, EINVAL, ENODEV, EOPNOTSUPP, EPERM, IFF_LOOPBACK, IFF_UP, NLM_F_ACK, NLMSG_NOOP};
use netlink::{Message, NETLINK_NETFILTER, NETLINK_ROUTE, Socket, errno, link, nft, transact};

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
fn refusal(result: io::Result<()>) -> (Option<i32>, String) {
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
    assert_eq!(refusal(socket.request(link::add_bridge("ctr0"))).0, Some(EEXIST));
    assert_eq!(refusal(socket.request(link::add_veth("new", "eth0"))).0, Some(EEXIST));
    assert_eq!(refusal(socket.request(link::delete("new"))).0, Some(ENODEV));
    let (number, words) = refusal(socket.request(link::add_bridge("sixteen-bytes-xx")));
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
