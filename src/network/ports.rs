//! Published ports, as they are asked for and as they are.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::{Error, Result};

/// A protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// tcp(7)
    Tcp,
    /// udp(7)
    Udp,
    /// sctp(7)
    Sctp,
}

impl Protocol {
    /// `IPPROTO_*`.
    pub fn number(self) -> u8 {
        (match self {
            Protocol::Tcp => libc::IPPROTO_TCP,
            Protocol::Udp => libc::IPPROTO_UDP,
            Protocol::Sctp => libc::IPPROTO_SCTP,
        }) as u8
    }

    /// Its name, as /etc/protocols has it.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Protocol> {
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|protocol| protocol.name() == name)
    }
}

/// A port that is to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Of which protocol.
    pub protocol: Protocol,
    /// At which address of the host; none is all.
    pub at: Option<IpAddr>,
    /// At which port of it; none is any that is free.
    pub host: Option<u16>,
    /// Where it leads to.
    pub inside: u16,
}

/// A port that is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Of which protocol.
    pub protocol: Protocol,
    /// At which address of the host; `0.0.0.0` and `::` are all of a family.
    pub at: IpAddr,
    /// At which port of it.
    pub host: u16,
    /// The container's address, of whichever family it has one.
    pub to: IpAddr,
    /// And port.
    pub inside: u16,
}

impl Published {
    /// `0.0.0.0:8080`, `[::]:8080`.
    pub fn place(&self) -> String {
        std::net::SocketAddr::new(self.at, self.host).to_string()
    }
}

impl fmt::Display for Published {
    /// As `docker ps` shows it.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}->{}/{}", self.place(), self.inside, self.protocol.name())
    }
}

/// How many ports one option may name.
const MOST: u16 = 20_000;

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0 && digits(text));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last && last - first < MOST).then_some((first, last))
}

fn protocol(text: &str) -> Option<(&str, Protocol)> {
    match text.rsplit_once('/') {
        None => Some((text, Protocol::Tcp)),
        Some((ports, name)) => Some((ports, Protocol::named(&name.to_ascii_lowercase())?)),
    }
}

/// `-p [[IP:]HOST:]CONTAINER[/PROTOCOL]`, where ports may be ranges.
pub fn publish(text: &str) -> Result<Vec<Wish>> {
    let bad = |why: &str| {
        Error::usage(format_args!("bad -p {text:?}: {why}; it is [[ADDRESS:]HOST:]CONTAINER[/udp], such as 8080:80"))
    };
    let (rest, protocol) = protocol(text).ok_or_else(|| bad("the protocol is tcp, udp or sctp"))?;
    let (before, inside) = rest.rsplit_once(':').map_or((None, rest), |(before, inside)| (Some(before), inside));
    let (inside, last) =
        range(inside).ok_or_else(|| bad("a port is a number from 1 to 65535, or two with a dash"))?;
    let (at, host) = match before {
        None => (None, ""),
        Some(before) => match before.strip_prefix('[') {
            Some(rest) => {
                let (address, host) = rest.split_once(']').ok_or_else(|| bad("a bracket is not closed"))?;
                let host = host.strip_prefix(':').ok_or_else(|| bad("behind the address there is no port"))?;
                (Some(address), host)
            }
            None => before.rsplit_once(':').map_or((None, before), |(address, host)| (Some(address), host)),
        },
    };
    let at = match at {
        None | Some("") => None,
        Some(address) => {
            Some(address.parse::<IpAddr>().map_err(|_| bad(&format!("{address:?} is no address of a host")))?)
        }
    };
    if at.is_some_and(|at| at.is_multicast() || at == IpAddr::V4(Ipv4Addr::BROADCAST)) {
        return Err(bad("nobody can be reached at such an address"));
    }
    let count = last - inside;
    let wish = |n: u16, host: Option<u16>| Wish { protocol, at, host, inside: inside + n };
    if host.is_empty() {
        if before.is_some() && at.is_none() {
            return Err(bad("there is a colon and no port"));
        }
        return Ok((0..=count).map(|n| wish(n, None)).collect());
    }
    let (first, end) = range(host).ok_or_else(|| bad("a port is a number from 1 to 65535, or two with a dash"))?;
    match end - first {
        others if others == count => Ok((0..=count).map(|n| wish(n, Some(first + n))).collect()),
        _ => Err(bad("the two ranges are not of one length")),
    }
}

/// `--expose PORT[/PROTOCOL]`, where the port may be a range.
pub fn expose(text: &str) -> Result<Vec<(u16, Protocol)>> {
    let read = || {
        let (ports, protocol) = protocol(text)?;
        range(ports).map(|(first, last)| (first..=last).map(|port| (port, protocol)).collect())
    };
    read().ok_or_else(|| {
        Error::usage(format_args!("bad --expose {text:?}: it is PORT[/udp], such as 80, or two ports with a dash"))
    })
}

/// All addresses of a family.
pub fn any(v6: bool) -> IpAddr {
    if v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) }
}

/// This host's own address in itself.
pub fn loopback(v6: bool) -> IpAddr {
    if v6 { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_docker_has_them() {
        let one = |text: &str| publish(text).unwrap()[0];
        let plain = Wish { protocol: Protocol::Tcp, at: None, host: Some(8080), inside: 80 };
        assert_eq!(one("8080:80"), plain);
        assert_eq!(one("8080:80/udp"), Wish { protocol: Protocol::Udp, ..plain });
        assert_eq!(one("127.0.0.1:8080:80").at, Some(loopback(false)));
        assert_eq!(one("[::1]:8080:80/tcp").at, Some(loopback(true)));
        assert_eq!(one("127.0.0.1::80"), Wish { at: Some(loopback(false)), host: None, ..plain });
        assert_eq!(one("80").host, None);
        let all = publish("8000-8002:80-82").unwrap();
        assert_eq!(
            all.iter().map(|wish| (wish.host, wish.inside)).collect::<Vec<_>>(),
            [(Some(8000), 80), (Some(8001), 81), (Some(8002), 82)]
        );
        for bad in [
            "",
            ":",
            "80:",
            ":80",
            "0:80",
            "80:0",
            "65536:1",
            "1:65536",
            "a:80",
            "8000-8001:80",
            "2-1:2-1",
            "80/icmp",
            "300.1.1.1:1:1",
            "1:2:3:4",
            "[::1:8:9",
            "[::1]8:9",
            "+80:80",
            "224.0.0.1:80:80",
            "80:80/",
        ] {
            assert!(publish(bad).is_err(), "{bad:?}");
        }
        assert_eq!(expose("53/udp").unwrap(), [(53, Protocol::Udp)]);
        assert!(expose("x").is_err() && expose("1-2").unwrap().len() == 2);
    }
}
