//! Routing rules: which table is asked for which packet (rtnetlink(7), include/uapi/linux/fib_rules.h). To be read.

use std::io;
use std::net::IpAddr;

use libc::{AF_INET, AF_INET6, AF_UNSPEC, RTM_GETRULE, RTM_NEWRULE};
use linux_raw_sys::netlink as nl;

use crate::socket::Socket;
use crate::wire::{self, Message, Reply};

/// `sizeof(struct fib_rule_hdr)`.
const FIB_RULE_HDR: usize = 12;
/// The rule is for packets that are not as it says: `FIB_RULE_INVERT`.
const INVERT: u32 = 2;

const DST: u16 = nl::FRA_DST as u16;
const SRC: u16 = nl::FRA_SRC as u16;
const IIFNAME: u16 = nl::FRA_IIFNAME as u16;
const OIFNAME: u16 = nl::FRA_OIFNAME as u16;
const GOTO: u16 = nl::FRA_GOTO as u16;
const PRIORITY: u16 = nl::FRA_PRIORITY as u16;
const FWMARK: u16 = nl::FRA_FWMARK as u16;
const FWMASK: u16 = nl::FRA_FWMASK as u16;
const TABLE: u16 = nl::FRA_TABLE as u16;
const SUPPRESS: u16 = nl::FRA_SUPPRESS_PREFIXLEN as u16;

/// A routing rule. The kernel asks them in the order of their priority, 0 first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// Of IPv6, or of IPv4.
    pub v6: bool,
    /// The smaller is asked first.
    pub priority: u32,
    /// `FR_ACT_*`: 1 asks the table, 2 goes to another rule, 6 drops, 7 is unreachable, 8 is prohibited.
    pub action: u8,
    /// The table that is asked.
    pub table: u32,
    /// For packets that are *not* as what follows says.
    pub inverted: bool,
    /// For packets from there.
    pub from: Option<(IpAddr, u8)>,
    /// For packets to there.
    pub to: Option<(IpAddr, u8)>,
    /// For packets that came in by this link, by name; `lo` are those of this host.
    pub incoming: Option<String>,
    /// For packets of sockets that are bound to this link.
    pub outgoing: Option<String>,
    /// For packets with this mark, under this mask.
    pub mark: Option<(u32, u32)>,
    /// The rule to go to, by priority.
    pub goto: Option<u32>,
    /// A route with a prefix of so few bits, or fewer, is passed over: 0 is the default route.
    pub suppress_prefix: Option<u32>,
}

/// `ip rule show` and `ip -6 rule show`: every rule of both families. Needs no privilege.
pub fn list(socket: &mut Socket) -> io::Result<Vec<Rule>> {
    read_all(&socket.dump(question(AF_UNSPEC as u8))?)
}

fn question(family: u8) -> Message {
    let mut message = Message::new(RTM_GETRULE, 0);
    message.fixed(&[family, 0, 0, 0, 0, 0, 0, 0]).fixed(&[0; 4]);
    message
}

fn read_all(answer: &[u8]) -> io::Result<Vec<Rule>> {
    let all = wire::messages(answer).filter_map(|message| match message {
        Ok(message) if message.kind != RTM_NEWRULE => None,
        Ok(message) => read(&message).transpose(),
        Err(error) => Some(Err(error)),
    });
    all.collect()
}

fn read(message: &Reply) -> io::Result<Option<Rule>> {
    let &[family, to, from, _, table, _, _, action] = message.payload().first_chunk().ok_or_else(wire::malformed)?;
    let flags = wire::u32_at(message.payload(), 8).ok_or_else(wire::malformed)?;
    if !matches!(i32::from(family), AF_INET | AF_INET6) {
        return Ok(None);
    }
    let v6 = i32::from(family) == AF_INET6;
    let mut found = Rule { v6, action, table: u32::from(table), inverted: flags & INVERT != 0, ..Rule::default() };
    let (mut mark, mut under) = (None, u32::MAX);
    for attribute in message.attributes(FIB_RULE_HDR) {
        let attribute = attribute?;
        match attribute.kind {
            DST => found.to = Some((attribute.address()?, to)),
            SRC => found.from = Some((attribute.address()?, from)),
            IIFNAME => found.incoming = Some(attribute.text()),
            OIFNAME => found.outgoing = Some(attribute.text()),
            GOTO => found.goto = Some(attribute.u32()?),
            PRIORITY => found.priority = attribute.u32()?,
            FWMARK => mark = Some(attribute.u32()?),
            FWMASK => under = attribute.u32()?,
            TABLE => found.table = attribute.u32()?,
            // -1 is none.
            SUPPRESS => found.suppress_prefix = Some(attribute.u32()?).filter(|&bits| bits != u32::MAX),
            _ => {}
        }
    }
    found.mark = mark.map(|mark| (mark, under));
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{golden, hex, mangle, same};

    #[test]
    fn the_question_is_that_of_ip() {
        for (line, family) in [("ip rule show", AF_INET), ("ip -6 rule show", AF_INET6)] {
            let mut theirs = golden(include_str!("../tests/golden/ip.hex"), line);
            theirs[7] = 0; // NLM_F_DUMP is set by Socket::dump
            same(question(family as u8), &theirs, FIB_RULE_HDR);
        }
    }

    #[test]
    fn rules_are_read() {
        // Linux 6.18, after `ip rule add not from 10.3.0.0/16 fwmark 7/15 iif lo lookup 1000 priority 77`.
        let answer = hex(include_str!("../tests/golden/rules.hex"));
        let rules = read_all(&answer).unwrap();
        let from = Some(("10.3.0.0".parse().unwrap(), 16));
        let incoming = Some("lo".to_owned());
        let ours = Rule {
            priority: 77,
            action: 1,
            table: 1000,
            inverted: true,
            mark: Some((7, 15)),
            from,
            incoming,
            ..Rule::default()
        };
        assert!(rules.contains(&ours), "{rules:?}");
        let plain = |v6, priority, table| Rule { v6, priority, action: 1, table, ..Rule::default() };
        for rule in [plain(false, 0, 255), plain(false, 32766, 254), plain(false, 32767, 253), plain(true, 0, 255)] {
            assert!(rules.contains(&rule), "{rules:?}");
        }
        mangle(&answer, |bytes| drop(read_all(bytes)));
    }
}
