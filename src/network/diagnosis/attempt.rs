//! What is tried: an echo from the gateway, with a small packet and with the largest; a question to each name server; a connection to
//! each published port, and to where it leads. All at once, and none for long.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::look::{Seen, inside};
use super::{Joined, Subject};
use crate::network::hosts;
use crate::network::ports::Protocol;
use crate::sys::{self, PollFd};

/// How long an answer may take, in milliseconds.
const PATIENCE: u64 = 900;

/// What was tried, and what came of it.
#[derive(Debug, Default)]
pub struct Tried {
    /// The gateway answered: the network, its address, whether a small packet and whether the largest came back.
    pub gateways: Vec<(String, IpAddr, bool, bool)>,
    /// A name server answered.
    pub servers: Vec<(IpAddr, bool)>,
    /// A port was connected to: what was tried, and whether somebody was there (`None`: nobody answered at all).
    pub connections: Vec<(SocketAddr, Option<bool>)>,
}

enum What {
    Ping(usize, bool),
    Server(usize),
    Connection(usize),
}

/// Tries everything at once.
pub fn attempt(subject: &Subject, seen: &Seen, process: BorrowedFd, ourselves: BorrowedFd) -> Tried {
    let mut tried = Tried::default();
    let mut waiting: Vec<(What, OwnedFd)> = Vec::new();
    let servers: Vec<IpAddr> =
        hosts::servers(&subject.resolv_conf).into_iter().filter(|server| !server.is_loopback()).take(3).collect();
    let _ = inside(process, ourselves, || {
        for joined in &subject.joined {
            for (_, _, gateway) in joined.addresses() {
                let at = tried.gateways.len();
                tried.gateways.push((joined.network.clone(), gateway, false, false));
                for large in [false, true] {
                    if let Ok(socket) =
                        ping(gateway, if large { largest(joined, seen, gateway) } else { 16 }, at as u16)
                    {
                        waiting.push((What::Ping(at, large), socket));
                    }
                }
            }
        }
        for server in &servers {
            let at = tried.servers.len();
            tried.servers.push((*server, false));
            if let Ok(socket) = ask(*server) {
                waiting.push((What::Server(at), socket));
            }
        }
    });
    for port in subject.ports.iter().filter(|port| port.protocol == Protocol::Tcp) {
        let at = if port.at.is_unspecified() { crate::network::ports::loopback(port.at.is_ipv6()) } else { port.at };
        for target in [SocketAddr::new(port.to, port.inside), SocketAddr::new(at, port.host)] {
            if tried.connections.iter().any(|(other, _)| *other == target) || tried.connections.len() >= 100 {
                continue;
            }
            let n = tried.connections.len();
            let begun = sys::inet_socket(target.is_ipv6(), true).and_then(|socket| {
                match sys::connect_with(socket.as_fd(), target) {
                    Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => Err(e),
                    _ => Ok(socket),
                }
            });
            match begun {
                Ok(socket) => {
                    tried.connections.push((target, None));
                    waiting.push((What::Connection(n), socket));
                }
                Err(_) => tried.connections.push((target, Some(false))),
            }
        }
    }
    wait(&mut tried, waiting);
    tried
}

/// How many bytes of data the largest echo has.
fn largest(joined: &Joined, seen: &Seen, gateway: IpAddr) -> usize {
    let mtu = seen.inside.link(&joined.inside).map_or(1500, |link| link.mtu) as usize;
    mtu.saturating_sub(if gateway.is_ipv6() { 48 } else { 28 }).clamp(16, 9000)
}

fn wait(tried: &mut Tried, mut waiting: Vec<(What, OwnedFd)>) {
    let end = sys::now() + PATIENCE * 1_000_000;
    while !waiting.is_empty() {
        let left = end.saturating_sub(sys::now()) / 1_000_000;
        let mut wanted: Vec<PollFd> = waiting
            .iter()
            .map(|(what, socket)| {
                let events = if matches!(what, What::Connection(_)) { libc::POLLOUT } else { libc::POLLIN };
                PollFd { fd: socket.as_raw_fd(), events, revents: 0 }
            })
            .collect();
        if left == 0 || !sys::poll(&mut wanted, left as i32).is_ok_and(|n| n > 0) {
            return;
        }
        let mut done = wanted.iter().map(|found| found.revents != 0);
        waiting.retain(|(what, socket)| {
            if !done.next().unwrap_or(false) {
                return true;
            }
            let mut answer = [0; 9100];
            match what {
                What::Connection(n) => {
                    if let Some((_, reached)) = tried.connections.get_mut(*n) {
                        *reached = Some(sys::socket_error(socket.as_fd()).is_ok_and(|error| error == 0));
                    }
                }
                What::Server(n) => {
                    if let (Some((_, answered)), Ok(1..)) =
                        (tried.servers.get_mut(*n), sys::read(socket.as_fd(), &mut answer))
                    {
                        *answered = true;
                    }
                }
                What::Ping(n, large) => {
                    let Ok(length) = sys::read(socket.as_fd(), &mut answer) else { return false };
                    if let Some((_, gateway, small_came, large_came)) = tried.gateways.get_mut(*n) {
                        if !is_echo(answer.get(..length).unwrap_or_default(), gateway.is_ipv6(), *n as u16) {
                            return true;
                        }
                        *(if *large { large_came } else { small_came }) = true;
                    }
                }
            }
            false
        });
    }
}

/// An echo request (RFC 792, RFC 4443), never cut into pieces.
fn ping(to: IpAddr, bytes: usize, number: u16) -> io::Result<OwnedFd> {
    let socket = sys::raw_icmp(to.is_ipv6())?;
    let (level, option) = if to.is_ipv6() {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)
    } else {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
    };
    // IP_PMTUDISC_PROBE: with the don't-fragment bit, and whatever is known of the way.
    sys::set_socket_option(socket.as_fd(), level, option, 3)?;
    sys::connect_with(socket.as_fd(), SocketAddr::new(to, 0))?;
    let mut packet = vec![0; 8 + bytes];
    let kind = if to.is_ipv6() { 128 } else { 8 };
    for (place, byte) in
        packet.iter_mut().zip([kind, 0, 0, 0].into_iter().chain(identity()).chain(number.to_be_bytes()))
    {
        *place = byte;
    }
    if !to.is_ipv6() {
        let sum = checksum(&packet);
        for (place, byte) in packet.iter_mut().skip(2).zip(sum.to_be_bytes()) {
            *place = byte;
        }
    }
    sys::write(socket.as_fd(), &packet)?;
    Ok(socket)
}

/// By which we know our own echoes.
fn identity() -> [u8; 2] {
    (std::process::id() as u16).to_be_bytes()
}

fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

fn is_echo(packet: &[u8], v6: bool, number: u16) -> bool {
    // IPv4's header comes along.
    let start = if v6 { 0 } else { packet.first().map_or(0, |byte| usize::from(byte & 15) * 4) };
    let echo = packet.get(start..).unwrap_or_default();
    let kind = if v6 { 129 } else { 0 };
    echo.first() == Some(&kind)
        && echo.get(4..6) == Some(&identity())
        && echo.get(6..8) == Some(&number.to_be_bytes())
}

/// Asks a name server who is the root (RFC 1035): every one knows, or says that it does not.
fn ask(server: IpAddr) -> io::Result<OwnedFd> {
    let any = crate::network::ports::any(server.is_ipv6());
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.set_nonblocking(true)?;
    socket.connect(SocketAddr::new(server, 53))?;
    let question = [0x63, 0x74, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
    socket.send(&question)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echoes_are_known() {
        let mut packet = vec![0x45; 20];
        packet.extend([0, 0, 0, 0]);
        packet.extend(identity());
        packet.extend(7_u16.to_be_bytes());
        assert!(is_echo(&packet, false, 7) && !is_echo(&packet, false, 8) && !is_echo(&packet, true, 7));
        for garbage in [&[][..], &[0xff], &[0x4f; 30]] {
            assert!(!is_echo(garbage, false, 0) && !is_echo(garbage, true, 0));
        }
        assert_eq!(checksum(&[8, 0, 0, 0, 0, 1, 0, 9]), 0xf7f5);
    }
}
