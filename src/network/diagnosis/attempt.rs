//! What answers: packets are sent and waited for, all at once, and none of them for longer than a second or two.
//!
//! An [`Attempt`] is a socket that was opened where it is to be tried, in the container's network namespace or in
//! ours, and what was sent by it. [`wait`] waits for all of them together. Nothing that comes is believed further
//! than that it came.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use netlink::link::Mac;

use crate::sys::{self, PollFd};

/// How long, in nanoseconds, somebody may take to answer.
const PATIENCE: u64 = 800_000_000;
/// The same for who is to accept a connection: one whose queue is full, of our own attempts perhaps (busybox' httpd has room for nine),
/// drops the first packet, and the kernel sends another a second later (net/ipv4, `TCP_TIMEOUT_INIT`).
const PATIENCE_TO_CONNECT: u64 = 1_500_000_000;
/// How long it is listened for a second owner of an address, who may be anywhere on the link.
const LISTEN: u64 = 150_000_000;

/// `IP_MTU_DISCOVER`, `IPV6_MTU_DISCOVER` and `IP_PMTUDISC_PROBE`: packets are not taken apart, whatever was learned
/// of the path.
const PROBE: i32 = 3;

/// `ETH_P_ARP`.
const ARP: u16 = 0x0806;

/// What is waited for.
#[derive(Debug)]
enum Wanted {
    /// An echo with this number.
    Echo { v6: bool, number: u16 },
    /// Answers to our ARP question about this address.
    Owners { address: Ipv4Addr, asker: Mac },
    /// An answer with these first two bytes.
    Name([u8; 2]),
    /// A connection.
    Open,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered,
    /// It was refused, by whom the kernel heard of: an errno.
    Refused(i32),
    /// Nothing came.
    Silent,
    /// Those who said that they have an address, each as often as it was said.
    Owners(Vec<Mac>),
}

/// Something that was begun.
#[derive(Debug)]
pub struct Attempt {
    /// None once it has ended.
    socket: Option<OwnedFd>,
    wanted: Wanted,
    outcome: Outcome,
    until: u64,
}

fn begin(wanted: Wanted, open: impl FnOnce() -> io::Result<OwnedFd>) -> Attempt {
    let patience = match wanted {
        Wanted::Owners { .. } => LISTEN,
        Wanted::Open => PATIENCE_TO_CONNECT,
        Wanted::Echo { .. } | Wanted::Name(_) => PATIENCE,
    };
    let until = sys::now() + patience;
    match open() {
        Ok(socket) => Attempt { socket: Some(socket), wanted, outcome: Outcome::Silent, until },
        Err(error) => {
            let outcome = Outcome::Refused(error.raw_os_error().unwrap_or(libc::EIO));
            Attempt { socket: None, wanted, outcome, until }
        }
    }
}

/// An echo is asked for, in a packet of this size, which must not be taken apart.
pub fn ping(to: IpAddr, size: u32, number: u16) -> Attempt {
    let v6 = to.is_ipv6();
    begin(Wanted::Echo { v6, number }, || {
        let socket = sys::icmp_socket(v6)?;
        let (level, option) = if v6 { (libc::IPPROTO_IPV6, 23) } else { (libc::IPPROTO_IP, 10) };
        sys::set_socket_option(socket.as_fd(), level, option, PROBE)?;
        sys::connect_with(socket.as_fd(), SocketAddr::new(to, 0))?;
        let header = if v6 { 40 } else { 20 };
        let length = (size as usize).clamp(header + 8, 65_535) - header;
        let mut packet = vec![0; length];
        let kind = if v6 { 128 } else { 8 };
        let start = [&[kind, 0, 0, 0][..], &number.to_be_bytes(), &[0, 1]].concat();
        packet.iter_mut().zip(&start).for_each(|(to, from)| *to = *from);
        if !v6 {
            // For IPv6 the kernel does it, which knows the addresses.
            let sum = checksum(&packet).to_be_bytes();
            packet.iter_mut().skip(2).zip(sum).for_each(|(to, from)| *to = from);
        }
        sys::write(socket.as_fd(), &packet)?;
        Ok(socket)
    })
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let pairs = bytes.chunks(2).map(|pair| {
        u32::from(pair.first().copied().unwrap_or(0)) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))
    });
    let mut sum: u32 = pairs.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// Who has an address is asked, on the link with this number and hardware address.
///
/// For nobody: the sender's address is `0.0.0.0` (RFC 5227). So nobody learns anything from it, and an answer is told
/// from one to what the kernel asks at the same time.
pub fn owners(link: u32, mac: Mac, address: Ipv4Addr) -> Attempt {
    begin(Wanted::Owners { address, asker: mac }, || {
        let socket = sys::packet_socket()?;
        sys::bind_to_link(socket.as_fd(), ARP, link)?;
        let mut frame = Vec::with_capacity(60);
        frame.extend([0xff; 6]);
        frame.extend(mac);
        frame.extend(ARP.to_be_bytes());
        // Ethernet, IPv4, their lengths, a question.
        frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend(mac);
        frame.extend([0; 4]);
        frame.extend([0; 6]);
        frame.extend(address.octets());
        frame.resize(60, 0);
        sys::write(socket.as_fd(), &frame)?;
        Ok(socket)
    })
}

/// A name server is asked for the root's name servers, which every one of them can say something about.
pub fn name(server: IpAddr, number: u16) -> Attempt {
    let number = number.to_be_bytes();
    begin(Wanted::Name(number), || {
        let socket = sys::inet_socket(server.is_ipv6(), false)?;
        sys::connect_with(socket.as_fd(), SocketAddr::new(server, 53))?;
        let mut question = number.to_vec();
        // Recursion is wanted; one question; the root, NS, IN.
        question.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1]);
        sys::write(socket.as_fd(), &question)?;
        Ok(socket)
    })
}

/// A connection is made, and closed at once.
pub fn connect(to: SocketAddr) -> Attempt {
    begin(Wanted::Open, || {
        let socket = sys::inet_socket(to.is_ipv6(), true)?;
        match sys::connect_with(socket.as_fd(), to) {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket),
            done => done.map(|()| socket),
        }
    })
}

/// Waits for all of them, and says how each went.
pub fn wait(mut attempts: Vec<Attempt>) -> Vec<Outcome> {
    let mut buffer = vec![0; 65_536];
    loop {
        let now = sys::now();
        for attempt in attempts.iter_mut().filter(|attempt| attempt.until <= now) {
            attempt.socket = None;
        }
        let mut open: Vec<&mut Attempt> = attempts.iter_mut().filter(|attempt| attempt.socket.is_some()).collect();
        let Some(next) = open.iter().map(|attempt| attempt.until).min() else { break };
        let mut fds: Vec<PollFd> = open.iter().map(|attempt| attempt.polled()).collect();
        let patience = (next - now).div_ceil(1_000_000).min(1000) as i32;
        match sys::poll(&mut fds, patience) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
            Ok(_) => {}
        }
        for (attempt, fd) in open.iter_mut().zip(&fds) {
            if fd.revents != 0 {
                attempt.hear(&mut buffer);
            }
        }
    }
    attempts.into_iter().map(|attempt| attempt.outcome).collect()
}

impl Attempt {
    fn polled(&self) -> PollFd {
        let events = if matches!(self.wanted, Wanted::Open) { libc::POLLOUT } else { libc::POLLIN };
        PollFd { fd: self.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd), events, revents: 0 }
    }

    /// Something has come.
    fn hear(&mut self, buffer: &mut [u8]) {
        let Some(socket) = &self.socket else { return };
        let heard = if matches!(self.wanted, Wanted::Open) {
            sys::socket_error(socket.as_fd()).and_then(|errno| match errno {
                0 => Ok(0),
                errno => Err(io::Error::from_raw_os_error(errno)),
            })
        } else {
            sys::read(socket.as_fd(), buffer)
        };
        let length = match heard {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => return,
            Err(error) => {
                self.outcome = Outcome::Refused(error.raw_os_error().unwrap_or(libc::EIO));
                self.socket = None;
                return;
            }
        };
        let bytes = buffer.get(..length).unwrap_or_default();
        let ends = match &self.wanted {
            Wanted::Open => true,
            Wanted::Name(number) => bytes.starts_with(number),
            Wanted::Echo { v6: true, number } => {
                bytes.first() == Some(&129) && bytes.get(4..6) == Some(&number.to_be_bytes())
            }
            Wanted::Echo { v6: false, number } => {
                // With IP's header in front, of as many words as it says.
                let start = bytes.first().map_or(0, |first| usize::from(first & 15) * 4);
                bytes.get(start) == Some(&0) && bytes.get(start + 4..start + 6) == Some(&number.to_be_bytes())
            }
            Wanted::Owners { address, asker } => {
                if let Some(mac) = owner(bytes, *address, *asker) {
                    if let Outcome::Owners(owners) = &mut self.outcome {
                        owners.push(mac);
                    } else {
                        self.outcome = Outcome::Owners(vec![mac]);
                    }
                }
                false
            }
        };
        if ends {
            self.outcome = Outcome::Answered;
            self.socket = None;
        }
    }
}

/// Who says to us in this frame that the address is his.
fn owner(frame: &[u8], address: Ipv4Addr, asker: Mac) -> Option<Mac> {
    let is_answer = frame.get(12..22)? == [8, 6, 0, 1, 8, 0, 6, 4, 0, 2];
    let his = frame.get(28..32)? == address.octets();
    let to_us = frame.get(32..38)? == asker && frame.get(38..42)? == [0; 4];
    if is_answer && his && to_us { frame.get(22..28)?.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_internet() {
        assert_eq!(checksum(&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!((checksum(&[]), checksum(&[1])), (0xffff, 0xfeff));
    }

    #[test]
    fn owners_are_read_from_answers_alone() {
        let mut frame = vec![0xff; 12];
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 9, 10, 0, 0, 2, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0]);
        let address = Ipv4Addr::new(10, 0, 0, 2);
        assert_eq!(owner(&frame, address, [1; 6]), Some([2, 0, 0, 0, 0, 9]));
        assert_eq!(owner(&frame, Ipv4Addr::new(10, 0, 0, 3), [1; 6]), None);
        assert_eq!(owner(&frame, address, [2; 6]), None);
        for length in 0..frame.len() {
            assert_eq!(owner(&frame[..length], address, [1; 6]), None);
        }
        for (at, byte) in [(21, 1), (41, 1)] {
            let mut other = frame.clone();
            other[at] = byte;
            assert_eq!(owner(&other, address, [1; 6]), None);
        }
    }
}
