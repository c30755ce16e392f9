//! Addresses and networks as numbers: what is in a subnet, what overlaps, and which one is free.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address range: the network's first address, and how many bits of it count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The first address.
    pub network: IpAddr,
    /// How many bits of an address are the network's.
    pub prefix: u8,
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = &'static str;

    /// `10.1.0.0/16`. The address must be the network's own: what stands behind the prefix would be ignored otherwise, in silence.
    fn from_str(text: &str) -> Result<Subnet, &'static str> {
        let (address, prefix) = text.split_once('/').ok_or("it is ADDRESS/BITS, such as 10.1.0.0/16")?;
        let address: IpAddr = address.parse().map_err(|_| "it does not begin with an address")?;
        let prefix: u8 = prefix.parse().map_err(|_| "what follows the slash is no number of bits")?;
        let subnet = Subnet::of(address, prefix);
        if prefix > bits(address) {
            return Err("it has more bits than an address");
        }
        if subnet.network != address {
            return Err("the address has bits behind the prefix: it is not the first of its network");
        }
        Ok(subnet)
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
}

/// An address as a number.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn address(number: u128, v6: bool) -> IpAddr {
    if v6 { IpAddr::V6(Ipv6Addr::from(number)) } else { IpAddr::V4(Ipv4Addr::from(number as u32)) }
}

impl Subnet {
    /// The network of this size that an address is in.
    pub fn of(inside: IpAddr, prefix: u8) -> Subnet {
        let below = u32::from(bits(inside).saturating_sub(prefix));
        let mask = u128::MAX.checked_shl(below).unwrap_or(0);
        Subnet { network: address(number(inside) & mask, inside.is_ipv6()), prefix }
    }

    /// Whether it is of IPv6.
    pub fn is_v6(&self) -> bool {
        self.network.is_ipv6()
    }

    /// How many addresses are in it, the first and the last among them; not counted beyond 2^64.
    pub fn size(&self) -> u128 {
        1_u128 << u32::from(bits(self.network).saturating_sub(self.prefix)).min(64)
    }

    /// The address so many places behind the first, if that is in it.
    pub fn nth(&self, n: u128) -> Option<IpAddr> {
        (n < self.size()).then(|| address(number(self.network).saturating_add(n), self.is_v6()))
    }

    /// The place of an address in it.
    pub fn place(&self, inside: IpAddr) -> Option<u128> {
        self.contains(inside).then(|| number(inside) - number(self.network))
    }

    /// Whether an address is in it.
    pub fn contains(&self, inside: IpAddr) -> bool {
        inside.is_ipv6() == self.is_v6() && Subnet::of(inside, self.prefix).network == self.network
    }

    /// Whether they have an address in common.
    pub fn overlaps(&self, other: &Subnet) -> bool {
        let wider = if self.prefix < other.prefix { (self, other) } else { (other, self) };
        wider.0.contains(wider.1.network)
    }

    /// Where everybody in it listens: IPv4's last address, where there is one that is no host's.
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.nth(self.size().saturating_sub(1)) {
            Some(IpAddr::V4(last)) if self.prefix < 31 => Some(last),
            _ => None,
        }
    }

    /// Whether a host can have this address: it is neither the first, which stands for the network, nor IPv4's last.
    pub fn has_room_for(&self, host: IpAddr) -> bool {
        self.contains(host)
            && (self.prefix + 1 >= bits(self.network) || host != self.network)
            && self.broadcast().is_none_or(|last| IpAddr::V4(last) != host)
    }

    /// What is wrong with it for containers to live in.
    pub fn fault(&self) -> Option<&'static str> {
        let bad = match self.network {
            IpAddr::V4(network) => {
                network.is_loopback()
                    || network.is_multicast()
                    || network.is_link_local()
                    || network.octets()[0] == 0
                    || network.octets()[0] >= 240
            }
            IpAddr::V6(network) => {
                network.is_loopback()
                    || network.is_multicast()
                    || network.is_unicast_link_local()
                    || network.is_unspecified()
                    || network.to_ipv4_mapped().is_some()
            }
        };
        if bad {
            return Some("these addresses are reserved: a host's loopback, multicast or link-local ones");
        }
        match (self.is_v6(), self.prefix) {
            (false, 0..8) | (true, 0..16) => Some("it is absurdly large: it would cover what is not yours"),
            (false, 30..) => Some("it is too small: there must be room for a gateway and a container (/29 at least)"),
            (true, 125..) => {
                Some("it is too small: there must be room for a gateway and a container (/124 at least)")
            }
            _ => None,
        }
    }
}

/// The first subnet that overlaps none of `taken`: for the default network one of a size that is not used up soon.
pub fn free(usual: bool, taken: &[Subnet]) -> Option<Subnet> {
    let v4 = |a, b, c, prefix| Subnet { network: IpAddr::V4(Ipv4Addr::new(10, a, b, c)), prefix };
    let mut candidates: Box<dyn Iterator<Item = Subnet>> = if usual {
        Box::new((88..=127).chain(0..88).map(|n| v4(n, 0, 0, 16)))
    } else {
        Box::new((128..=255).flat_map(|n| (0..=255).map(move |m| (n, m))).map(|(n, m)| v4(n, m, 0, 24)))
    };
    let fits = |wanted: &Subnet| !taken.iter().any(|other| other.overlaps(wanted));
    let more = || {
        // A host that routes all of 10.0.0.0/8 somewhere: what else is nobody's (RFC 1918).
        let wide = (16..32).map(|n| Subnet { network: IpAddr::V4(Ipv4Addr::new(172, n, 0, 0)), prefix: 16 });
        let small = (0..=255).map(|n| Subnet { network: IpAddr::V4(Ipv4Addr::new(192, 168, n, 0)), prefix: 24 });
        wide.chain(small).find(fits)
    };
    candidates.find(fits).or_else(more)
}

/// A subnet of addresses that are nobody's but locally (RFC 4193), made from random bytes.
pub fn local_v6(random: [u8; 7]) -> Subnet {
    let byte = |n: usize| random.get(n).copied().unwrap_or(0);
    let word = |n: usize| u16::from_be_bytes([byte(n), byte(n + 1)]);
    Subnet {
        network: IpAddr::V6(Ipv6Addr::new(0xfd00 | u16::from(byte(0)), word(1), word(3), word(5), 0, 0, 0, 0)),
        prefix: 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn subnets_are_read_and_compared() {
        let one = net("10.1.0.0/16");
        assert_eq!((one.size(), one.nth(1), one.nth(65536)), (65536, Some("10.1.0.1".parse().unwrap()), None));
        assert_eq!(one.broadcast(), Some("10.1.255.255".parse().unwrap()));
        for (other, overlap) in
            [("10.1.2.0/24", true), ("10.0.0.0/8", true), ("10.2.0.0/16", false), ("fd00::/64", false)]
        {
            assert_eq!((one.overlaps(&net(other)), net(other).overlaps(&one)), (overlap, overlap), "{other}");
        }
        let six = net("fd00:1::/64");
        assert!(six.contains("fd00:1::7".parse().unwrap()) && !six.contains("fd00:2::".parse().unwrap()));
        assert_eq!(six.place("fd00:1::7".parse().unwrap()), Some(7));
        for bad in
            ["", "10.1.0.0", "10.1.0.0/33", "10.1.0.1/16", "x/8", "10.1.0.0/x", "fd00::1/64", "fd00::/129", "/8"]
        {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_no_container_can_live_in_is_named() {
        for bad in [
            "127.0.0.0/8",
            "0.0.0.0/0",
            "224.0.0.0/8",
            "169.254.0.0/16",
            "10.0.0.0/30",
            "::/64",
            "fe80::/64",
            "ff00::/16",
        ] {
            assert!(net(bad).fault().is_some(), "{bad}");
        }
        for good in ["10.0.0.0/8", "192.168.1.0/29", "fd00::/64", "2001:db8::/48"] {
            assert_eq!(net(good).fault(), None, "{good}");
        }
        let small = net("10.0.0.0/29");
        assert!(!small.has_room_for("10.0.0.0".parse().unwrap()) && !small.has_room_for("10.0.0.7".parse().unwrap()));
        assert!(small.has_room_for("10.0.0.6".parse().unwrap()));
    }

    #[test]
    fn a_free_subnet_overlaps_nothing() {
        assert_eq!(free(true, &[]).unwrap(), net("10.88.0.0/16"));
        assert_eq!(free(true, &[net("10.88.3.0/24"), net("10.89.0.0/16")]).unwrap(), net("10.90.0.0/16"));
        assert_eq!(free(false, &[net("10.128.0.0/24")]).unwrap(), net("10.128.1.0/24"));
        assert_eq!(free(false, &[net("10.0.0.0/8")]).unwrap(), net("172.16.0.0/16"));
        assert_eq!(free(true, &[net("10.0.0.0/8"), net("172.0.0.0/8"), net("192.0.0.0/8")]), None);
        assert!(local_v6([1; 7]).to_string().starts_with("fd01:101:"));
    }
}
