//! Raw `AF_NETLINK`: the kernel's links, and (as they are needed) addresses, routes and nf_tables rules, without
//! `ip`, `nft` or any library between.
//!
//! Four layers, each of which only knows those below it:
//! - [`wire`]: bytes to messages and attributes and back. Pure, no I/O, and no bytes make it panic.
//! - `sys`: the raw calls on a netlink socket, the only unsafe code here.
//! - [`socket`]: questions and answers: sequence numbers, acknowledgements, dumps, and the kernel's own sentence about
//!   what it did not like.
//! - [`link`], [`nft`]: one kernel object each, as functions that make a [`Message`] or ask for a list. Above each stands
//!   the `ip` or `nft` line that it equals.
//!
//! A message is made first and sent later, perhaps by somebody else: [`Socket::request`] for a process that lives a
//! normal life, [`transact`] for a child between `clone3` and `execve`, which may not allocate.
//!
//! ```
//! // ip link set dev lo up
//! let message = netlink::link::set_up(1).finish()?;
//! assert_eq!(message.len(), 32);
//! // In the child, later: netlink::transact(&message)
//! # std::io::Result::Ok(())
//! ```
//!
//! ```no_run
//! use netlink::{NETLINK_ROUTE, Socket, link};
//!
//! let mut socket = Socket::open(NETLINK_ROUTE)?;
//! socket.request(link::add_veth("ctr-web", "eth0"))?;
//! for link in link::list(&mut socket)? {
//!     println!("{}: {} mtu {}", link.index, link.name, link.mtu);
//! }
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
