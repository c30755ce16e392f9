//! A packet's way through every nf_tables chain at a hook, foreign ones too, without a packet: each rule is asked as the kernel would
//! ask it. What cannot be known (an extension of iptables-nft, a limit, a mark that somebody else sets) makes a rule *uncertain*: where
//! such a rule would drop, the verdict is "perhaps".

use std::net::IpAddr;

use netlink::nft::{Chain, Compare, Data, Expr, Family, Header, Register, Rule, Ruleset, Verdict, ifname};

/// A packet, as far as rules look at it: the first of a connection.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Whence.
    pub from: IpAddr,
    /// Where to.
    pub to: IpAddr,
    /// `IPPROTO_*`.
    pub protocol: u8,
    /// The port that it is for.
    pub port: u16,
    /// By which link it came; empty for one of this host's own.
    pub incoming: String,
    /// By which link it goes; empty where that is not known yet.
    pub outgoing: String,
    /// Its destination was changed on the way.
    pub translated: bool,
    /// Its destination is one of this host's own addresses.
    pub local: bool,
}

/// What becomes of it at a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It passes. Where to, if it was translated: a new destination, or (none) the address of the link that it leaves by.
    Passes(Option<Translation>),
    /// Dropped, by this rule or policy, in words.
    Dropped(String, Family),
    /// Perhaps dropped: it cannot be told from here.
    Perhaps(String),
}

/// How it was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Translation {
    /// To this address and port.
    To(IpAddr, u16),
    /// It leaves with this host's address.
    Masqueraded,
}

/// What an expression made of a rule.
enum Step {
    On,
    No,
    Unknown,
    Done(Outcome),
}

enum Outcome {
    Verdict(Verdict),
    Translated(Translation),
}

enum End {
    Accept,
    Drop(String),
    /// The end of the chain, or `return`.
    Return,
    Translated(Translation),
}

const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const META_PROTOCOL: u32 = 1;
const META_MARK: u32 = 3;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;

/// How deep chains call each other at most (`NFT_JUMP_STACK_SIZE`).
const DEPTH: usize = 16;

/// Walks all base chains at a hook, those of one kind only if that is wanted.
pub fn walk(rules: &Ruleset, hook: u32, packet: &Packet) -> Fate {
    let family = if packet.to.is_ipv6() { Family::IPV6 } else { Family::IPV4 };
    let mut translated = None;
    let mut perhaps = None;
    for chain in rules.at_hook(family, hook) {
        let mut walker = Walker { rules, packet, perhaps: None };
        let end = walker.chain(chain, 0);
        perhaps = perhaps.or(walker.perhaps);
        match end {
            End::Translated(to) => translated = translated.or(Some(to)),
            End::Drop(by) => return Fate::Dropped(by, chain.family),
            End::Return if chain.drops == Some(true) => {
                let by = format!("the policy of the chain {} {} {}", chain.family.name(), chain.table, chain.name);
                // A rule that could not be read may have accepted it.
                match perhaps {
                    None => return Fate::Dropped(by, chain.family),
                    Some(_) => perhaps = Some(by),
                }
            }
            End::Accept | End::Return => {}
        }
    }
    match perhaps {
        Some(by) => Fate::Perhaps(by),
        None => Fate::Passes(translated),
    }
}

struct Walker<'a> {
    rules: &'a Ruleset,
    packet: &'a Packet,
    perhaps: Option<String>,
}

/// The memory of a rule, a byte each: none is "not known".
struct Registers([Option<u8>; 64]);

impl Registers {
    /// What is not known takes as much as the longest value.
    fn put(&mut self, to: Register, value: Option<&[u8]>) {
        let start = to.offset() as usize;
        let length = value.map_or(16, <[u8]>::len);
        for n in 0..length {
            if let Some(place) = self.0.get_mut(start.saturating_add(n)) {
                *place = value.and_then(|value| value.get(n)).copied();
            }
        }
    }

    /// So many bytes from a register on, if all of them are known.
    fn load(&self, from: Register, length: usize) -> Option<Vec<u8>> {
        let start = from.offset() as usize;
        let bytes = self.0.get(start..start.checked_add(length)?)?;
        // What lies between two values of a key is 0.
        bytes.iter().enumerate().map(|(n, byte)| byte.or((n % 4 != 0).then_some(0))).collect()
    }
}

impl Walker<'_> {
    fn chain(&mut self, chain: &Chain, depth: usize) -> End {
        let rules: Vec<&Rule> = self.rules.rules_of(chain).collect();
        for rule in rules {
            let (outcome, sure) = self.rule(rule);
            let by = || {
                format!(
                    "the rule with handle {} of the chain {} {} {}",
                    rule.handle,
                    chain.family.name(),
                    chain.table,
                    chain.name
                )
            };
            match outcome {
                Some(Outcome::Translated(to)) if sure => return End::Translated(to),
                Some(Outcome::Verdict(Verdict::Accept)) if sure => return End::Accept,
                Some(Outcome::Verdict(Verdict::Drop)) if sure => return End::Drop(by()),
                // By a rule that cannot be read; or a queue, where some other program decides.
                Some(Outcome::Verdict(Verdict::Drop | Verdict::Accept | Verdict::Other(_))) => {
                    self.perhaps = Some(by());
                }
                Some(Outcome::Verdict(Verdict::Return)) if sure => return End::Return,
                Some(Outcome::Verdict(Verdict::Jump(name) | Verdict::Goto(name))) if depth < DEPTH => {
                    let of = |other: &&Chain| {
                        other.family == chain.family && other.table == chain.table && other.name == name
                    };
                    let Some(next) = self.rules.chains.iter().find(of) else { continue };
                    let end = self.chain(next, depth + 1);
                    match end {
                        End::Return => {}
                        _ if !sure => self.perhaps = Some(by()),
                        end => return end,
                    }
                }
                None | Some(_) => {}
            }
        }
        End::Return
    }

    /// What a rule says, and whether that is certain.
    fn rule(&self, rule: &Rule) -> (Option<Outcome>, bool) {
        let (mut registers, mut sure) = (Registers([None; 64]), true);
        for expression in &rule.expressions {
            match self.step(rule, expression, &mut registers) {
                Step::On => {}
                Step::No => return (None, true),
                Step::Unknown => sure = false,
                Step::Done(outcome) => return (Some(outcome), sure),
            }
        }
        (None, sure)
    }

    fn step(&self, rule: &Rule, expression: &Expr, registers: &mut Registers) -> Step {
        let packet = self.packet;
        let put = |registers: &mut Registers, to: Register, value: Option<Vec<u8>>| {
            registers.put(to, value.as_deref());
            Step::On
        };
        match expression {
            Expr::Payload { to, header, offset, length } => {
                put(registers, *to, self.payload(*header, *offset as usize, *length as usize))
            }
            Expr::Meta { to, key } => {
                let number = |n: u8| Some(vec![n]);
                let value = match *key {
                    META_IIFNAME => Some(ifname(&packet.incoming).to_vec()),
                    META_OIFNAME => Some(ifname(&packet.outgoing).to_vec()),
                    META_NFPROTO => number(if packet.to.is_ipv6() { 10 } else { 2 }),
                    META_L4PROTO => number(packet.protocol),
                    META_MARK => Some(vec![0; 4]),
                    META_PROTOCOL => Some(if packet.to.is_ipv6() { vec![0x86, 0xdd] } else { vec![8, 0] }),
                    _ => None,
                };
                put(registers, *to, value)
            }
            Expr::Ct { to, key, .. } => {
                let bits = |n: u32| Some(n.to_ne_bytes().to_vec());
                let value = match *key {
                    CT_STATE => bits(Rule::NEW),
                    CT_STATUS => bits(if packet.translated { 32 } else { 0 }),
                    _ => None,
                };
                put(registers, *to, value)
            }
            Expr::Fib { to, result: 3, flags: 2 } => {
                let kind: u32 = if packet.local { 2 } else { 1 };
                put(registers, *to, Some(kind.to_ne_bytes().to_vec()))
            }
            Expr::Immediate { to, value } => put(registers, *to, Some(value.clone())),
            Expr::Bitwise { from, to, mask, xor } => {
                let value = registers.load(*from, mask.len());
                let masked =
                    value.map(|value| value.iter().zip(mask).zip(xor).map(|((v, m), x)| v & m ^ x).collect());
                put(registers, *to, masked)
            }
            Expr::Cmp { from, how, value } => match registers.load(*from, value.len()) {
                None => Step::Unknown,
                Some(own) => held(match how {
                    Compare::Equal => own == *value,
                    Compare::NotEqual => own != *value,
                    Compare::Less => own < *value,
                    Compare::LessOrEqual => own <= *value,
                    Compare::Greater => own > *value,
                    Compare::GreaterOrEqual => own >= *value,
                }),
            },
            Expr::Range { from, inverted, low, high } => match registers.load(*from, low.len()) {
                None => Step::Unknown,
                Some(own) => held((own >= *low && own <= *high) != *inverted),
            },
            Expr::Lookup { from, to, set, inverted, .. } => self.look_up(rule, registers, *from, *to, set, *inverted),
            Expr::Verdict(verdict) => Step::Done(Outcome::Verdict(verdict.clone())),
            Expr::Reject { .. } => Step::Done(Outcome::Verdict(Verdict::Drop)),
            Expr::Masquerade { .. } => Step::Done(Outcome::Translated(Translation::Masqueraded)),
            Expr::Nat(nat) if nat.source => Step::Done(Outcome::Translated(Translation::Masqueraded)),
            Expr::Nat(nat) => {
                let length = if nat.v6 { 16 } else { 4 };
                let address =
                    nat.address.and_then(|from| registers.load(from, length)).and_then(|bytes| address(&bytes));
                let port = nat.port.and_then(|from| registers.load(from, 2));
                let port = port.and_then(|bytes| Some(u16::from_be_bytes(bytes.try_into().ok()?)));
                let to = Translation::To(address.unwrap_or(packet.to), port.unwrap_or(packet.port));
                Step::Done(Outcome::Translated(to))
            }
            Expr::Redirect { .. } => Step::Done(Outcome::Translated(Translation::To(packet.to, packet.port))),
            Expr::Counter { .. }
            | Expr::Log { .. }
            | Expr::SetMeta { .. }
            | Expr::SetCt { .. }
            | Expr::Notrack
            | Expr::SetTcpOption { .. } => Step::On,
            // One packet is below any limit; above it nobody passes.
            Expr::Limit { inverted, .. } => held(!inverted),
            _ => Step::Unknown,
        }
    }

    fn look_up(
        &self,
        rule: &Rule,
        registers: &mut Registers,
        from: Register,
        to: Option<Register>,
        set: &str,
        inverted: bool,
    ) -> Step {
        let Some(set) = self.rules.set(rule.family, &rule.table, set) else { return Step::Unknown };
        let Some(key) = registers.load(from, set.key_length as usize) else { return Step::Unknown };
        match (set.find(&key), to) {
            (found, None) => held(found.is_some() != inverted),
            (None, Some(_)) => Step::No,
            (Some(element), Some(to)) => match &element.data {
                Some(Data::Verdict(verdict)) => Step::Done(Outcome::Verdict(verdict.clone())),
                Some(Data::Value(value)) => {
                    registers.put(to, Some(value));
                    Step::On
                }
                None => Step::Unknown,
            },
        }
    }

    fn payload(&self, header: Header, offset: usize, length: usize) -> Option<Vec<u8>> {
        let packet = self.packet;
        let octets = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        // The parts of a header that are known, by their place.
        let parts: Vec<(usize, Vec<u8>)> = match (header, packet.to.is_ipv6()) {
            (Header::Network, false) => {
                vec![(9, vec![packet.protocol]), (12, octets(packet.from)), (16, octets(packet.to))]
            }
            (Header::Network, true) => {
                vec![(6, vec![packet.protocol]), (8, octets(packet.from)), (24, octets(packet.to))]
            }
            (Header::Transport, _) => vec![(2, packet.port.to_be_bytes().to_vec())],
            _ => return None,
        };
        let (start, bytes) =
            parts.into_iter().find(|(start, bytes)| offset >= *start && offset + length <= start + bytes.len())?;
        bytes.get(offset - start..offset - start + length).map(<[u8]>::to_vec)
    }
}

fn held(holds: bool) -> Step {
    if holds { Step::On } else { Step::No }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use netlink::nft::{Element, Field, Hook, Set, Table, Type, concat};

    use super::*;

    fn packet() -> Packet {
        Packet {
            from: "10.88.0.2".parse().unwrap(),
            to: "192.0.2.9".parse().unwrap(),
            protocol: 6,
            port: 80,
            incoming: "ctr0".into(),
            outgoing: "eth0".into(),
            translated: false,
            local: false,
        }
    }

    fn rules(chain: Chain, rules: Vec<Rule>) -> Ruleset {
        let tables = vec![Table::new(chain.family, &chain.table)];
        Ruleset { tables, chains: vec![chain], rules, ..Ruleset::default() }
    }

    fn forward(drops: bool) -> Chain {
        Chain { drops: Some(drops), ..Chain::new(Family::INET, "t", "f").at(Hook::FORWARD, "filter", 0) }
    }

    #[test]
    fn verdicts_are_those_of_the_kernel() {
        let chain = forward(false);
        let rule = || Rule::in_chain(&chain);
        let fate = |list: Vec<Rule>| walk(&rules(chain.clone(), list), Hook::FORWARD, &packet());
        assert_eq!(fate(vec![]), Fate::Passes(None));
        assert!(matches!(fate(vec![rule().incoming("ctr0").drop()]), Fate::Dropped(..)));
        assert_eq!(fate(vec![rule().incoming("ctr1").drop()]), Fate::Passes(None));
        assert_eq!(
            fate(vec![rule().from("10.88.0.0".parse().unwrap(), 16).accept(), rule().drop()]),
            Fate::Passes(None)
        );
        assert!(matches!(
            fate(vec![rule().to("192.0.2.0".parse().unwrap(), 25).protocol(6).port(80).drop()]),
            Fate::Dropped(..)
        ));
        assert_eq!(fate(vec![rule().state(Rule::ESTABLISHED).drop()]), Fate::Passes(None));
        assert_eq!(fate(vec![rule().status(32).drop()]), Fate::Passes(None));
        let odd = Expr::Xt { target: false, name: "recent".into(), revision: 0, info: Vec::new() };
        assert!(matches!(fate(vec![rule().push(odd.clone()).drop()]), Fate::Perhaps(_)));
        let closed = |list| walk(&rules(forward(true), list), Hook::FORWARD, &packet());
        assert!(matches!(closed(vec![]), Fate::Dropped(by, _) if by.contains("policy")));
        assert!(matches!(closed(vec![rule().push(odd).accept()]), Fate::Perhaps(_)));
        assert_eq!(closed(vec![rule().outgoing("eth0").accept()]), Fate::Passes(None));
    }

    #[test]
    fn maps_and_jumps_are_followed() {
        let chain = Chain::new(Family::INET, "t", "n").at(Hook::PREROUTING, "nat", -100);
        let fields = [Field::Protocol, Field::DestinationPort];
        let mut map =
            Set::new(Family::INET, "t", "any4", &[Type::PROTOCOL, Type::SERVICE]).to(&[Type::IPV4, Type::SERVICE]);
        let to = concat(&[&[10, 88, 0, 2], &80_u16.to_be_bytes()]);
        map.elements = vec![Element::with(concat(&[&[6], &8080_u16.to_be_bytes()]), Data::Value(to))];
        let rule = Rule::in_chain(&chain).version(false).to_this_host().dnat_map(false, &fields, "any4");
        let mut all = rules(chain, vec![rule]);
        all.sets.push(map);
        let local = Packet { local: true, port: 8080, ..packet() };
        let to = Translation::To("10.88.0.2".parse().unwrap(), 80);
        assert_eq!(walk(&all, Hook::PREROUTING, &local), Fate::Passes(Some(to)));
        assert_eq!(walk(&all, Hook::PREROUTING, &Packet { port: 81, ..local.clone() }), Fate::Passes(None));
        assert_eq!(walk(&all, Hook::PREROUTING, &Packet { local: false, ..local }), Fate::Passes(None));
        let base = forward(false);
        let other = Chain::new(Family::INET, "t", "sub");
        let mut all = rules(base.clone(), vec![Rule::in_chain(&base).jump("sub"), Rule::in_chain(&other).drop()]);
        all.chains.push(other);
        assert!(matches!(walk(&all, Hook::FORWARD, &packet()), Fate::Dropped(by, _) if by.contains("sub")));
    }
}
