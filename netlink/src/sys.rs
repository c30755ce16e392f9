//! The raw calls on a netlink socket: one call each, no policy, no retry, nothing allocated.
//!
//! There is no `bind`: the kernel gives an unbound netlink socket its port at the first send (netlink(7)), and nobody
//! here listens to a multicast group, which is the other thing `bind` is for.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use libc::{
    AF_NETLINK, MSG_TRUNC, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK, SO_SNDBUFFORCE, SOCK_CLOEXEC,
    SOCK_RAW, SOL_NETLINK, SOL_SOCKET, c_int,
};
use linux_raw_sys::general::{__NR_recvfrom, __NR_sendto, __NR_setsockopt, __NR_socket};
use linux_raw_sys::netlink::sockaddr_nl;

/// What a syscall returned, as Rust says it. The errno form of `io::Error` does not allocate.
fn check(r: usize) -> io::Result<usize> {
    match r as isize {
        errno @ -4095..=-1 => Err(io::Error::from_raw_os_error(-errno as i32)),
        _ => Ok(r),
    }
}

/// A netlink socket of one protocol (`NETLINK_ROUTE`, `NETLINK_NETFILTER`). It speaks to the network namespace that the
/// caller is in now, for as long as it lives: socket(2), netlink(7).
pub fn socket(protocol: c_int) -> io::Result<OwnedFd> {
    let flags = SOCK_RAW | SOCK_CLOEXEC;
    // SAFETY: no memory is passed.
    let r = unsafe { sc::syscall3(__NR_socket as usize, AF_NETLINK as usize, flags as usize, protocol as usize) };
    // SAFETY: on success the kernel has just made this fd for us; nobody else owns it.
    check(r).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Have refusals explained in words: `NETLINK_EXT_ACK`, Linux 4.12.
pub fn set_extended_ack(fd: BorrowedFd) -> io::Result<()> {
    switch_on(fd, NETLINK_EXT_ACK)
}

/// Have refusals without a copy of what we sent: `NETLINK_CAP_ACK`, Linux 4.3.
pub fn set_capped_ack(fd: BorrowedFd) -> io::Result<()> {
    switch_on(fd, NETLINK_CAP_ACK)
}

/// Have the kernel check the header and the attributes of a dump request, and filter by them, instead of ignoring what
/// it does not know: `NETLINK_GET_STRICT_CHK`, Linux 4.20.
pub fn set_strict_check(fd: BorrowedFd) -> io::Result<()> {
    switch_on(fd, NETLINK_GET_STRICT_CHK)
}

fn switch_on(fd: BorrowedFd, option: c_int) -> io::Result<()> {
    set(fd, SOL_NETLINK, option, 1)
}

/// Let what waits to be sent be this long, beyond what the host allows to anybody: `SO_SNDBUFFORCE`, Linux 2.6.14, which
/// wants CAP_NET_ADMIN over the socket's network namespace. The kernel doubles the number for its own bookkeeping.
pub fn force_send_buffer(fd: BorrowedFd, bytes: c_int) -> io::Result<()> {
    set(fd, SOL_SOCKET, SO_SNDBUFFORCE, bytes)
}

fn set(fd: BorrowedFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the kernel reads four bytes at `value`, which outlives the call.
    let r = unsafe {
        sc::syscall5(
            __NR_setsockopt as usize,
            fd.as_raw_fd() as usize,
            level as usize,
            option as usize,
            &raw const value as usize,
            size_of_val(&value),
        )
    };
    check(r).map(drop)
}

/// Send to the kernel, which is where an unconnected netlink socket sends when no address is given. A netlink send is
/// whole or not at all; and the kernel has handled the request, and queued its answer, before this returns.
pub fn send(fd: BorrowedFd, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads `bytes.len()` bytes of a live slice; there is no address.
    let r = unsafe {
        sc::syscall6(__NR_sendto as usize, fd.as_raw_fd() as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0)
    };
    check(r).map(drop)
}

/// Receive one datagram. Returns its length and its sender's port, which is 0 for the kernel.
/// Quirk: `MSG_TRUNC` asks for the datagram's own length, so a result above `buffer.len()` means that its end is lost.
/// Pinned by netlink/tests/live.rs.
pub fn receive(fd: BorrowedFd, buffer: &mut [u8], flags: c_int) -> io::Result<(usize, u32)> {
    let mut sender = sockaddr_nl { nl_family: 0, nl_pad: 0, nl_pid: 0, nl_groups: 0 };
    let mut sender_size = size_of_val(&sender) as u32;
    // SAFETY: the kernel writes at most `buffer.len()` bytes to a slice that is ours alone, and at most `sender_size`
    // bytes to `sender`; both outlive the call.
    let r = unsafe {
        sc::syscall6(
            __NR_recvfrom as usize,
            fd.as_raw_fd() as usize,
            buffer.as_mut_ptr() as usize,
            buffer.len(),
            (flags | MSG_TRUNC) as usize,
            &raw mut sender as usize,
            &raw mut sender_size as usize,
        )
    };
    check(r).map(|length| (length, sender.nl_pid))
}
