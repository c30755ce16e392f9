//! The rules of the old iptables (x_tables without nf_tables), as far as they stop what passes through this host.
//!
//! nf_tables knows nothing of them, though a host may have both. They are read by getsockopt(2), as iptables-legacy itself does
//! (kernel: include/uapi/linux/netfilter_ipv4/ip_tables.h, .../netfilter_ipv6/ip6_tables.h, .../netfilter/x_tables.h): one blob of
//! entries, each with what it matches, then its matches, then its target. Nothing is ever changed there.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;

use crate::sys;

/// `IPT_SO_GET_INFO`, `IPT_SO_GET_ENTRIES`: the same numbers for both families.
const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;
/// `XT_TABLE_MAXNAMELEN`.
const NAME: usize = 32;
/// `NF_INET_FORWARD`.
const FORWARD: usize = 2;
/// More than this is not looked at: a table of that many rules takes seconds to read.
const LARGEST: usize = 16 << 20;

/// Where the parts of an entry are, in bytes: `struct ipt_entry`, `struct ip6t_entry`.
struct Layout {
    /// Addresses and their masks.
    addresses: usize,
    /// The names of the links, incoming and outgoing, of 16 bytes each; after them their masks.
    links: usize,
    /// What comes after the links and their masks: the protocol.
    protocol: usize,
    /// `target_offset`; 2 bytes later `next_offset`.
    offsets: usize,
    /// The whole, without matches and target.
    size: usize,
}

const V4: Layout = Layout { addresses: 16, links: 16, protocol: 80, offsets: 88, size: 112 };
const V6: Layout = Layout { addresses: 64, links: 64, protocol: 128, offsets: 140, size: 168 };

/// Why what passes to and from a link is dropped by the table `filter`, as far as that can be told: its policy, or a rule for
/// everything; unless some rule names the link, which was put there for it. None where the table is not there or lets it pass.
pub fn drops(v6: bool, link: &str) -> io::Result<Option<String>> {
    let (any, level) = if v6 { ("[::]:0", libc::IPPROTO_IPV6) } else { ("0.0.0.0:0", libc::IPPROTO_IP) };
    // Any socket of the family will do to ask.
    let socket = UdpSocket::bind(any)?;
    let mut info = [0_u8; NAME + 52];
    info.get_mut(..6).unwrap_or_default().copy_from_slice(b"filter");
    match sys::get_option(socket.as_fd(), level, GET_INFO, &mut info) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOPROTOOPT)) => return Ok(None),
        done => done?,
    };
    let size = word(&info, NAME + 48).unwrap_or(0) as usize;
    if size == 0 || size > LARGEST {
        return Ok(None);
    }
    // After the name and the size, for the entries have numbers of 8 bytes.
    let begin = NAME + 8;
    let mut all = vec![0_u8; begin + size];
    all.get_mut(..6).unwrap_or_default().copy_from_slice(b"filter");
    all.get_mut(NAME..NAME + 4).unwrap_or_default().copy_from_slice(&(size as u32).to_ne_bytes());
    // EAGAIN: somebody has changed it since we asked for its size. Next time, then.
    match sys::get_option(socket.as_fd(), level, GET_ENTRIES, &mut all) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        done => done?,
    };
    let layout = if v6 { &V6 } else { &V4 };
    let (from, to) = (word(&info, NAME + 4 + 4 * FORWARD), word(&info, NAME + 24 + 4 * FORWARD));
    let (Some(from), Some(to)) = (from, to) else { return Ok(None) };
    Ok(judge(all.get(begin..).unwrap_or_default(), layout, (from as usize, to as usize), link))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

/// Goes through a table. `hook`: where the chain FORWARD begins, and where its policy is.
fn judge(table: &[u8], layout: &Layout, hook: (usize, usize), link: &str) -> Option<String> {
    let mut at = 0;
    let mut why = None;
    let named = |entry: &[u8]| {
        [0, 16].into_iter().any(|side| {
            let name = entry.get(layout.links + side..layout.links + side + 16).unwrap_or_default();
            !link.is_empty() && name.strip_prefix(link.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
        })
    };
    while let Some(entry) = table.get(at..) {
        let (Some(target), Some(next)) = (half(entry, layout.offsets), half(entry, layout.offsets + 2)) else {
            break;
        };
        if named(entry) {
            return None;
        }
        if next < layout.size || target < layout.size {
            break;
        }
        // For everything: no address, no link, no protocol, no match.
        let masks = entry.get(layout.addresses / 2..layout.addresses).unwrap_or(&[1]);
        let rest = entry.get(layout.links..layout.protocol + 2).unwrap_or(&[1]);
        let all = masks.iter().chain(rest).all(|byte| *byte == 0) && target == layout.size;
        if at >= hook.0 && at <= hook.1 && all && why.is_none() {
            let name = entry.get(target + 2..target + 31).unwrap_or_default();
            let verdict = word(entry, target + 32);
            why = match name.split(|byte| *byte == 0).next() {
                // `-NF_DROP - 1`.
                Some(b"") if verdict == Some(u32::MAX) && at == hook.1 => Some("its policy is DROP".to_owned()),
                Some(b"") if verdict == Some(u32::MAX) => Some("a rule drops everything".to_owned()),
                Some(b"REJECT") => Some("a rule rejects everything".to_owned()),
                // `-NF_ACCEPT - 1`: what comes after it is met by nothing.
                Some(b"") if verdict == Some(u32::MAX - 1) => return None,
                _ => None,
            };
        }
        at += next;
    }
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry of IPv4: an incoming link, a target and its verdict.
    fn entry(link: &str, target: &str, verdict: i32) -> Vec<u8> {
        let mut bytes = vec![0; V4.size + 40];
        bytes[V4.links..V4.links + link.len()].copy_from_slice(link.as_bytes());
        bytes[V4.offsets..V4.offsets + 2].copy_from_slice(&(V4.size as u16).to_ne_bytes());
        let size = bytes.len() as u16;
        bytes[V4.offsets + 2..V4.offsets + 4].copy_from_slice(&size.to_ne_bytes());
        bytes[V4.size + 2..V4.size + 2 + target.len()].copy_from_slice(target.as_bytes());
        bytes[V4.size + 32..V4.size + 36].copy_from_slice(&verdict.to_ne_bytes());
        bytes
    }

    fn judged(entries: &[Vec<u8>]) -> Option<String> {
        let last = entries.iter().rev().skip(1).map(Vec::len).sum();
        judge(&entries.concat(), &V4, (0, last), "ctr0")
    }

    #[test]
    fn policies_and_rules_for_everything_are_seen() {
        let (drop, accept) = (|| entry("", "", -1), || entry("", "", -2));
        assert_eq!(judged(&[drop()]).as_deref(), Some("its policy is DROP"));
        assert_eq!(judged(&[accept()]), None);
        assert_eq!(judged(&[entry("eth0", "", -2), drop()]).as_deref(), Some("its policy is DROP"));
        assert_eq!(judged(&[entry("ctr0", "", -2), drop()]), None);
        assert_eq!(judged(&[entry("ctr0x", "", -2), drop()]).as_deref(), Some("its policy is DROP"));
        assert_eq!(judged(&[drop(), accept()]).as_deref(), Some("a rule drops everything"));
        assert_eq!(judged(&[entry("", "REJECT", 0), accept()]).as_deref(), Some("a rule rejects everything"));
        assert_eq!(judged(&[accept(), drop()]), None);
    }

    #[test]
    fn garbage_is_read_to_its_end() {
        let good = entry("", "", -1);
        for length in 0..good.len() {
            let _ = judge(&good[..length], &V4, (0, 0), "ctr0");
            let _ = judge(&good[..length], &V6, (0, 0), "ctr0");
        }
        let _ = judge(&[0xff; 1000], &V4, (0, 900), "");
        let _ = judge(&[0; 1000], &V6, (0, 0), "");
    }
}
