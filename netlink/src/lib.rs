//! Raw `AF_NETLINK`: the kernel's links, addresses, routes, rules, neighbours, nf_tables and connection tracking, without
//! `ip`, `nft` or any library between.
//!
//! Layers, each of which only knows those below it:
//! - [`wire`]: bytes to messages and attributes and back. Pure, no I/O, and no bytes make it panic.
//! - `sys`: the raw calls on a netlink socket, the only unsafe code here.
//! - [`socket`]: questions and answers: sequence numbers, acknowledgements, several messages in one send, dumps, and the
//!   kernel's own sentence about what it did not like.
//! - [`link`], [`addr`], [`route`], [`rule`], [`neigh`] (`NETLINK_ROUTE`), [`nft`], [`conntrack`] (`NETLINK_NETFILTER`): one
//!   kernel object each, as functions that make a [`Message`] or ask for a list. Above each stands the `ip`, `nft` or
//!   `conntrack` line that it equals, and a test compares it with the bytes that this line sends.
//!
//! A message is made first and sent later, perhaps by somebody else: by [`Socket::request`] or [`Socket::requests`] in a
//! process that lives a normal life, by [`transact`] or [`transact_all`] in a child between `clone3` and `execve`, which may
//! not allocate. A socket speaks to the network namespace in which it was opened; to change another namespace, open one in
//! there.
//!
//! A refusal is an [`io::Error`](std::io::Error) with the kernel's own sentence in its text. [`errno`] finds its number,
//! [`refusal`] all of it: which of several messages it was for, and which attribute.
//!
//! A veth pair, one end up on a bridge, the other born in the network namespace of another process, with an address and a
//! default route in there:
//!
//! ```no_run
//! use netlink::addr::{self, Address};
//! use netlink::link::{self, Bridge, Kind, Netns, Settings};
//! use netlink::route::{self, Route};
//! use netlink::{NETLINK_ROUTE, Socket};
//!
//! let (named, pid) = (|name| Settings { name: Some(name), ..Settings::default() }, 4711);
//! let mut socket = Socket::open(NETLINK_ROUTE)?;
//! // ip link add br0 up type bridge
//! socket.request(link::add(Kind::Bridge(Bridge::default()), &Settings { up: Some(true), ..named("br0") }))?;
//! let master = Some(link::get(&mut socket, "br0")?.index);
//! // ip link add web master br0 up type veth peer name eth0 netns 4711
//! let eth0 = Settings { netns: Some(Netns::Pid(pid)), ..named("eth0") };
//! socket.request(link::add(Kind::Veth(eth0), &Settings { master, up: Some(true), ..named("web") }))?;
//!
//! // And, by a thread that is in the other namespace, all that is to be done there in one send:
//! let mut inside = Socket::open(NETLINK_ROUTE)?;
//! let eth0 = link::get(&mut inside, "eth0")?.index;
//! inside.requests([
//!     link::set_up(1),
//!     link::set_up(eth0),
//!     addr::add(&Address::new(eth0, [10, 0, 0, 2].into(), 24)),
//!     route::add(&Route::by([10, 0, 0, 1].into())),
//! ])?;
//! # std::io::Result::Ok(())
//! ```
//!
//! The same in a child, prepared by its parent before there is a link: `lo` is 1, and both ends of a veth can be given their
//! index when they are made ([`link::Settings::index`]):
//!
//! ```
//! use netlink::{addr, link, route, wire};
//!
//! let own = addr::Address::new(2, [10, 0, 0, 2].into(), 24);
//! let way = route::Route::by([10, 0, 0, 1].into());
//! let messages = wire::join([link::set_up(1), link::set_up(2), addr::add(&own), route::add(&way)])?;
//! // In the child, later: netlink::transact_all(&messages)
//! # assert!(wire::messages(&messages).all(|message| message.is_ok()));
//! # std::io::Result::Ok(())
//! ```

pub mod addr;
pub mod conntrack;
pub mod link;
pub mod neigh;
pub mod nft;
pub mod route;
pub mod rule;
pub mod socket;
mod sys;
pub mod wire;

pub use libc::{NETLINK_NETFILTER, NETLINK_ROUTE};
pub use socket::{Refusal, Socket, errno, refusal, transact, transact_all};
pub use wire::Message;

/// The address family's number, as a message's struct wants it.
fn family(address: std::net::IpAddr) -> u8 {
    (if address.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET }) as u8
}
