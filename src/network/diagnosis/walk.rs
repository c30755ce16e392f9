//! What nf_tables would do with a packet: the rules are gone through as the kernel goes through them, on paper.
//!
//! Not everything can be known: matches of iptables in a rule that `iptables-nft` made are structs of modules, sets
//! change, the packet is one that we think of. So every byte is known or not, and so is every comparison. What cannot
//! be evaluated is taken for both: a rule that drops if something unknown holds makes the passage a doubt
//! ([`Fate::Perhaps`]), and a rule that accepts if something unknown holds makes a later drop in the same chain one.
//! Only what is certain is called a drop.
//!
//! Pure: no I/O, and no rule set, however odd, makes it panic or run for ever.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use netlink::link::Link;
use netlink::nft::{Chain, Compare, Data, Element, Expr, Family, Header, Nat, Register, Rule, Ruleset, Set, Verdict};
use netlink::route::{self, Route};

/// How deep chains may call each other (`NFT_JUMP_STACK_SIZE`).
const DEEPEST: u32 = 16;
/// Rules that are looked at for one packet at one hook at most: the kernel forbids loops, a rule set read from bytes
/// does not.
const LONGEST: u32 = 200_000;
/// Bytes of registers.
const ROOM: usize = 64;
/// `IPS_SRC_NAT` and `IPS_DST_NAT`.
const SOURCE_NAT: u32 = 16;
const DESTINATION_NAT: u32 = 32;

/// A byte, as far as it is known.
type Byte = Option<u8>;

/// Where a packet comes from or goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// By no link: it is a packet of this host's own, or for it.
    Host,
    /// By the link of this name.
    By(String),
}

impl End {
    /// By the link of this name.
    pub fn by(name: &str) -> End {
        End::By(name.to_owned())
    }
}

/// A packet on its way.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Who sent it, if that is known.
    pub from: Option<IpAddr>,
    /// Whom it is for.
    pub to: IpAddr,
    /// `IPPROTO_*`.
    pub protocol: u8,
    /// The sender's port, if that is known.
    pub from_port: Option<u16>,
    /// The receiver's port, if there is one.
    pub to_port: Option<u16>,
    /// The link that it came in by.
    pub incoming: End,
    /// The link that it goes out by.
    pub outgoing: End,
    /// It is an answer, and not the first packet of a connection.
    pub answer: bool,
    /// `IPS_*` of its connection.
    pub status: u32,
    /// Its mark; none once a rule has set it to something unknown.
    pub mark: Option<u32>,
    /// Where it was sent to before a rule changed that.
    pub first_to: Option<(IpAddr, Option<u16>)>,
}

impl Packet {
    /// The first packet of a connection.
    pub fn new(from: Option<IpAddr>, to: IpAddr, protocol: u8, to_port: Option<u16>) -> Packet {
        Packet {
            from,
            to,
            protocol,
            from_port: None,
            to_port,
            incoming: End::Host,
            outgoing: End::Host,
            answer: false,
            status: 0,
            mark: Some(0),
            first_to: None,
        }
    }

    /// The same on its way in by one link and out by another.
    #[must_use]
    pub fn between(self, incoming: End, outgoing: End) -> Packet {
        Packet { incoming, outgoing, ..self }
    }

    /// The family of tables that sees it.
    pub fn family(&self) -> Family {
        if self.to.is_ipv6() { Family::IPV6 } else { Family::IPV4 }
    }

    /// A rule has changed its source.
    pub fn has_new_source(&self) -> bool {
        self.status & SOURCE_NAT != 0
    }

    /// A rule has changed its destination.
    pub fn has_new_destination(&self) -> bool {
        self.status & DESTINATION_NAT != 0
    }

    fn link_header(&self) -> Vec<Byte> {
        let mut bytes = vec![None; 12];
        bytes.extend(self.ether_type().map(Some));
        bytes
    }

    fn ether_type(&self) -> [u8; 2] {
        if self.to.is_ipv6() { [0x86, 0xdd] } else { [8, 0] }
    }

    fn network_header(&self) -> Vec<Byte> {
        let mut bytes: Vec<Byte>;
        if self.to.is_ipv6() {
            bytes = vec![None; 8];
            put(&mut bytes, 0, &[Some(0x60), Some(0)]);
            put(&mut bytes, 6, &[Some(self.protocol)]);
            bytes.extend(address(self.from, 16));
        } else {
            bytes = vec![None; 12];
            // Version and length, no fragment of anything.
            put(&mut bytes, 0, &[Some(0x45), Some(0)]);
            put(&mut bytes, 6, &[Some(0x40), Some(0)]);
            put(&mut bytes, 9, &[Some(self.protocol)]);
            bytes.extend(address(self.from, 4));
        }
        bytes.extend(address(Some(self.to), 0));
        bytes
    }

    fn transport_header(&self) -> Vec<Byte> {
        let mut bytes = vec![None; 20];
        match i32::from(self.protocol) {
            libc::IPPROTO_ICMP => put(&mut bytes, 0, &[Some(if self.answer { 0 } else { 8 }), Some(0)]),
            libc::IPPROTO_ICMPV6 => put(&mut bytes, 0, &[Some(if self.answer { 129 } else { 128 }), Some(0)]),
            _ => {
                let port = |port: Option<u16>| port.map_or([None; 2], |port| port.to_be_bytes().map(Some));
                put(&mut bytes, 0, &port(self.from_port));
                put(&mut bytes, 2, &port(self.to_port));
                if i32::from(self.protocol) == libc::IPPROTO_TCP {
                    // SYN, and ACK with it if it is an answer.
                    put(&mut bytes, 13, &[Some(if self.answer { 0x12 } else { 2 })]);
                }
            }
        }
        bytes
    }
}

fn put(bytes: &mut [Byte], at: usize, value: &[Byte]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(value) {
        *to = *from;
    }
}

/// An address's bytes, or so many that are not known.
fn address(address: Option<IpAddr>, length: usize) -> Vec<Byte> {
    match address {
        Some(IpAddr::V4(address)) => address.octets().map(Some).to_vec(),
        Some(IpAddr::V6(address)) => address.octets().map(Some).to_vec(),
        None => vec![None; length],
    }
}

fn known(bytes: &[u8]) -> Vec<Byte> {
    bytes.iter().copied().map(Some).collect()
}

fn number(value: u32) -> Vec<Byte> {
    known(&value.to_ne_bytes())
}

/// All of a value's bytes, if they are known.
fn sure(bytes: &[Byte]) -> Option<Vec<u8>> {
    bytes.iter().copied().collect()
}

/// A rule, or a chain's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The table's family.
    pub family: Family,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The base chain by which the packet came there.
    pub base: String,
    /// The rule's handle; none is the chain's policy.
    pub handle: Option<u64>,
    /// The rule's comment.
    pub comment: Option<String>,
    /// The sender is told.
    pub rejects: bool,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (family, table, chain) = (self.family.name(), &self.table, &self.chain);
        match self.handle {
            Some(handle) => write!(f, "rule {handle} of the chain {chain} in the table {family} {table}")?,
            None => write!(f, "the policy of the chain {chain} in the table {family} {table}")?,
        }
        self.comment.as_ref().map_or(Ok(()), |comment| write!(f, " ({comment:?})"))
    }
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It passes.
    Passes,
    /// It may be dropped here: something cannot be evaluated.
    Perhaps(Place),
    /// It is dropped here.
    Drops(Place),
}

impl Fate {
    /// What becomes of it after both.
    #[must_use]
    pub fn and(self, then: impl FnOnce() -> Fate) -> Fate {
        match self {
            Fate::Drops(_) => self,
            Fate::Passes => then(),
            Fate::Perhaps(_) => match then() {
                Fate::Drops(place) => Fate::Drops(place),
                _ => self,
            },
        }
    }
}

/// A host (or a container), as far as rules look at it.
#[derive(Debug)]
pub struct World<'a> {
    ruleset: &'a Ruleset,
    rules: BTreeMap<(u8, &'a str, &'a str), Vec<&'a Rule>>,
    links: &'a [Link],
    routes: &'a [Route],
    local: Vec<IpAddr>,
}

impl<'a> World<'a> {
    /// From what was read. `local` are the host's own addresses.
    pub fn new(ruleset: &'a Ruleset, links: &'a [Link], routes: &'a [Route], local: Vec<IpAddr>) -> World<'a> {
        let mut rules: BTreeMap<_, Vec<&Rule>> = BTreeMap::new();
        for rule in &ruleset.rules {
            rules.entry((rule.family.0, rule.table.as_str(), rule.chain.as_str())).or_default().push(rule);
        }
        World { ruleset, rules, links, routes, local }
    }

    /// Has the packet pass a hook of its own family, and changes it as the rules there do.
    pub fn pass(&self, packet: &mut Packet, hook: u32) -> Fate {
        let family = packet.family();
        self.chains(packet, &self.ruleset.at_hook(family, hook))
    }

    /// The same for a bridge's hook.
    pub fn pass_bridge(&self, packet: &mut Packet, hook: u32) -> Fate {
        self.chains(packet, &self.ruleset.at_hook(Family::BRIDGE, hook))
    }

    /// The same for what comes in by a link, before everything else (`netdev`, and `inet` at ingress), or goes out by
    /// it.
    pub fn pass_link(&self, packet: &mut Packet, link: &str, out: bool) -> Fate {
        let mut chains = self.ruleset.at_hook(Family::NETDEV, u32::from(out));
        if !out {
            chains.extend(self.ruleset.at_hook(packet.family(), libc::NF_INET_INGRESS as u32));
        }
        chains.retain(|chain| {
            let links = chain.hook.as_ref().map(|hook| hook.links.as_slice()).unwrap_or_default();
            links.iter().any(|name| name == link)
        });
        self.chains(packet, &chains)
    }

    fn chains(&self, packet: &mut Packet, chains: &[&'a Chain]) -> Fate {
        let mut fate = Fate::Passes;
        let mut translated = false;
        let mut left = LONGEST;
        for base in chains {
            // Translations are made for the first packet of a connection, and once at each hook.
            if base.kind.as_deref() == Some("nat") && (translated || packet.answer) {
                continue;
            }
            let mut run = Run {
                world: self,
                packet,
                base,
                registers: [None; ROOM],
                doubt: None,
                accepted: false,
                translated: false,
                left: &mut left,
            };
            let one = run.base();
            translated |= run.translated;
            fate = fate.and(|| one);
            if matches!(fate, Fate::Drops(_)) {
                break;
            }
        }
        fate
    }

    fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.local.contains(&address)
    }

    /// `RTN_*` of an address.
    fn kind(&self, address: IpAddr) -> u8 {
        if self.is_local(address) {
            route::RTN_LOCAL
        } else if address.is_multicast() {
            route::RTN_MULTICAST
        } else if address == IpAddr::from([255; 4]) {
            route::RTN_BROADCAST
        } else {
            route::RTN_UNICAST
        }
    }

    /// The link by which an address is reached, by number: 0 is none, nothing is not known.
    fn way_to(&self, address: IpAddr) -> Option<u32> {
        let tables = [route::RT_TABLE_MAIN, route::RT_TABLE_LOCAL];
        let fits = |route: &&Route| {
            tables.contains(&route.table) && route.kind == route::RTN_UNICAST && route.covers(address)
        };
        let all = self.routes.iter().filter(fits);
        let best = all.min_by_key(|route| (u8::MAX - route.to.map_or(0, |(_, prefix)| prefix), route.metric));
        match best {
            Some(route) if route.ways.is_empty() => route.link,
            Some(_) => None,
            None => Some(0),
        }
    }
}

/// Whether something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    Yes,
    No,
    Perhaps,
}

impl Truth {
    fn of(yes: bool) -> Truth {
        if yes { Truth::Yes } else { Truth::No }
    }

    fn not(self) -> Truth {
        match self {
            Truth::Yes => Truth::No,
            Truth::No => Truth::Yes,
            Truth::Perhaps => Truth::Perhaps,
        }
    }

    fn turned(self, turn: bool) -> Truth {
        if turn { self.not() } else { self }
    }
}

fn compare(how: Compare, packet: &[Byte], rule: &[u8]) -> Truth {
    let mut unknown = false;
    for (n, wanted) in rule.iter().enumerate() {
        match packet.get(n).copied().flatten() {
            None => unknown = true,
            Some(byte) if byte == *wanted => {}
            Some(byte) => {
                return match how {
                    Compare::Equal => Truth::No,
                    Compare::NotEqual => Truth::Yes,
                    // The first byte that differs decides, and that may be one before.
                    _ if unknown => Truth::Perhaps,
                    _ => Truth::of(how.holds(&[byte], &[*wanted])),
                };
            }
        }
    }
    if unknown { Truth::Perhaps } else { Truth::of(how.holds(rule, rule)) }
}

/// What a rule does that holds.
enum Act {
    Verdict(Verdict),
    Reject,
    Translated,
    /// Something that decides by itself: a program in user space.
    Handed,
}

/// How a chain ended.
enum Flow {
    /// At its end.
    Falls,
    Accepts,
    Drops(Place),
}

/// One base chain and one packet.
struct Run<'w, 'a> {
    world: &'w World<'a>,
    packet: &'w mut Packet,
    base: &'a Chain,
    registers: [Byte; ROOM],
    /// The first place where it may have been dropped.
    doubt: Option<Place>,
    /// It may have been accepted.
    accepted: bool,
    translated: bool,
    left: &'w mut u32,
}

impl<'a> Run<'_, 'a> {
    fn base(&mut self) -> Fate {
        let base = self.base;
        let flow = match self.chain(&base.name, 0, true) {
            Flow::Falls if base.drops == Some(true) => Flow::Drops(self.place(&base.name, None)),
            other => other,
        };
        match (flow, self.doubt.take()) {
            (Flow::Drops(place), _) if self.accepted => Fate::Perhaps(place),
            (Flow::Drops(place), _) => Fate::Drops(place),
            (_, Some(place)) => Fate::Perhaps(place),
            (_, None) => Fate::Passes,
        }
    }

    fn place(&self, chain: &str, rule: Option<&Rule>) -> Place {
        Place {
            family: self.base.family,
            table: self.base.table.clone(),
            chain: chain.to_owned(),
            base: self.base.name.clone(),
            handle: rule.map(|rule| rule.handle),
            comment: rule.and_then(|rule| rule.comment.clone()),
            rejects: false,
        }
    }

    /// Goes through a chain. `certain`: the packet comes here for sure; otherwise nothing that is found here ends
    /// anything.
    fn chain(&mut self, name: &str, depth: u32, mut certain: bool) -> Flow {
        let world = self.world;
        let key = (self.base.family.0, self.base.table.as_str(), name);
        let Some(rules) = world.rules.get(&key) else { return Flow::Falls };
        if depth > DEEPEST {
            return Flow::Falls;
        }
        for rule in rules {
            let Some(left) = self.left.checked_sub(1) else { return Flow::Falls };
            *self.left = left;
            let Some((sure, act)) = self.rule(rule) else { continue };
            let sure = sure && certain;
            match act {
                Act::Verdict(Verdict::Accept) | Act::Translated if sure => return Flow::Accepts,
                Act::Verdict(Verdict::Accept) | Act::Translated => self.accepted = true,
                Act::Verdict(Verdict::Drop) | Act::Reject => {
                    let rejects = matches!(act, Act::Reject);
                    let place = Place { rejects, ..self.place(name, Some(rule)) };
                    if sure {
                        return Flow::Drops(place);
                    }
                    self.doubt.get_or_insert(place);
                }
                Act::Handed | Act::Verdict(Verdict::Other(_)) => {
                    let place = self.place(name, Some(rule));
                    self.doubt.get_or_insert(place);
                    if sure {
                        return Flow::Accepts;
                    }
                    self.accepted = true;
                }
                Act::Verdict(Verdict::Jump(to)) => match self.chain(&to, depth + 1, sure) {
                    Flow::Falls => {}
                    ended => return ended,
                },
                Act::Verdict(Verdict::Goto(to)) => {
                    let flow = self.chain(&to, depth + 1, sure);
                    if sure {
                        return flow;
                    }
                }
                Act::Verdict(Verdict::Return) if sure => return Flow::Falls,
                // What follows may not be asked.
                Act::Verdict(Verdict::Return) => certain = false,
                Act::Verdict(Verdict::Continue | Verdict::Break) => {}
            }
        }
        Flow::Falls
    }

    /// What a rule does, and whether that is sure; nothing if it does nothing that ends the way.
    fn rule(&mut self, rule: &'a Rule) -> Option<(bool, Act)> {
        let mut certain = true;
        self.registers = [None; ROOM];
        let mut mark = self.packet.mark;
        let mut act = None;
        for expression in &rule.expressions {
            let truth = match expression {
                Expr::Verdict(verdict) => {
                    act = Some(Act::Verdict(verdict.clone()));
                    break;
                }
                Expr::Reject { .. } => {
                    act = Some(Act::Reject);
                    break;
                }
                Expr::Nat(nat) => {
                    if certain {
                        self.translate(nat);
                    }
                    act = Some(Act::Translated);
                    break;
                }
                Expr::Masquerade { .. } => {
                    self.new_source(certain);
                    act = Some(Act::Translated);
                    break;
                }
                Expr::Redirect { .. } => {
                    act = Some(Act::Translated);
                    break;
                }
                Expr::Lookup { to: Some(Register::VERDICT), from, set, .. } => match self.look_up(*from, set) {
                    (Truth::Yes, Some(Data::Verdict(verdict))) => {
                        act = Some(Act::Verdict(verdict));
                        break;
                    }
                    (Truth::No, _) => Truth::No,
                    _ => {
                        certain = false;
                        act = self.any_of(set);
                        break;
                    }
                },
                Expr::Xt { target: true, name, .. } => match name.as_str() {
                    "REJECT" => {
                        act = Some(Act::Reject);
                        break;
                    }
                    "MASQUERADE" | "SNAT" | "NETMAP" => {
                        self.new_source(certain);
                        act = Some(Act::Translated);
                        break;
                    }
                    "DNAT" | "REDIRECT" => {
                        act = Some(Act::Translated);
                        break;
                    }
                    "NFQUEUE" | "QUEUE" | "TPROXY" | "SYNPROXY" => {
                        act = Some(Act::Handed);
                        break;
                    }
                    "MARK" | "CONNMARK" | "TEE" => {
                        mark = None;
                        Truth::Yes
                    }
                    _ => Truth::Yes,
                },
                Expr::SetMeta { from, key } => {
                    if *key == libc::NFT_META_MARK as u32 {
                        let value = sure(&self.load(*from, 4)).and_then(|bytes| bytes.try_into().ok());
                        mark = value.map(u32::from_ne_bytes).filter(|_| certain);
                    }
                    Truth::Yes
                }
                Expr::Other { name } if matches!(name.as_str(), "queue" | "tproxy" | "synproxy") => {
                    act = Some(Act::Handed);
                    break;
                }
                other => self.holds(other),
            };
            match truth {
                Truth::Yes => {}
                Truth::No => {
                    self.keep_mark(mark, certain);
                    return None;
                }
                Truth::Perhaps => certain = false,
            }
        }
        self.keep_mark(mark, certain);
        act.map(|act| (certain, act))
    }

    fn keep_mark(&mut self, mark: Option<u32>, certain: bool) {
        if mark != self.packet.mark {
            self.packet.mark = mark.filter(|_| certain);
        }
    }

    /// What a map of verdicts may do with a packet of which we do not know what is looked up: the worst that is in
    /// it.
    fn any_of(&self, set: &str) -> Option<Act> {
        let set = self.set(set)?;
        let all = || set.elements.iter().filter_map(|element| element.data.as_ref());
        let is = |wanted: &Verdict| all().any(|data| matches!(data, Data::Verdict(verdict) if verdict == wanted));
        let worst = [Verdict::Drop, Verdict::Accept].into_iter().find(is);
        let other =
            || all().find_map(|data| if let Data::Verdict(verdict) = data { Some(verdict.clone()) } else { None });
        worst.or_else(other).map(Act::Verdict)
    }

    /// Whether an expression lets the rule go on; what it loads is loaded.
    fn holds(&mut self, expression: &Expr) -> Truth {
        match expression {
            Expr::Payload { to, header, offset, length } => {
                let bytes = match header {
                    Header::Link => self.packet.link_header(),
                    Header::Network => self.packet.network_header(),
                    Header::Transport => self.packet.transport_header(),
                    Header::Other(_) => Vec::new(),
                };
                let length = (*length as usize).min(ROOM);
                let part = bytes.into_iter().skip(*offset as usize).chain(std::iter::repeat(None)).take(length);
                let part: Vec<Byte> = part.collect();
                self.store(*to, &part);
                Truth::Yes
            }
            Expr::Meta { to, key } => match self.meta(*key) {
                Some(value) => {
                    self.store(*to, &value);
                    Truth::Yes
                }
                None => Truth::No,
            },
            Expr::Ct { to, key, direction } => {
                let value = self.connection(*key, *direction);
                self.store(*to, &value);
                Truth::Yes
            }
            Expr::Rt { to, .. } => {
                self.store(*to, &[None; 16]);
                Truth::Yes
            }
            Expr::Cmp { from, how, value } => compare(*how, &self.load(*from, value.len()), value),
            Expr::Range { from, inverted, low, high } => {
                let value = self.load(*from, low.len().max(high.len()));
                let truth = match (
                    compare(Compare::GreaterOrEqual, &value, low),
                    compare(Compare::LessOrEqual, &value, high),
                ) {
                    (Truth::Yes, Truth::Yes) => Truth::Yes,
                    (Truth::No, _) | (_, Truth::No) => Truth::No,
                    _ => Truth::Perhaps,
                };
                truth.turned(*inverted)
            }
            Expr::Bitwise { from, to, mask, xor } => {
                let value = self.load(*from, mask.len());
                let bits = value.iter().zip(mask).zip(xor.iter().chain(std::iter::repeat(&0)));
                let one = |((byte, mask), xor): ((&Byte, &u8), &u8)| {
                    // Of what is masked away nothing needs to be known.
                    if *mask == 0 { Some(*xor) } else { byte.map(|byte| byte & mask ^ xor) }
                };
                let value: Vec<Byte> = bits.map(one).collect();
                self.store(*to, &value);
                Truth::Yes
            }
            Expr::Byteorder { from, to, length, size, .. } => {
                let mut value = self.load(*from, (*length as usize).min(ROOM));
                if cfg!(target_endian = "little") {
                    value.chunks_mut((*size as usize).max(1)).for_each(<[Byte]>::reverse);
                }
                self.store(*to, &value);
                Truth::Yes
            }
            Expr::Lookup { from, to, set, inverted, .. } => {
                let (truth, data) = self.look_up(*from, set);
                if let Some(to) = to {
                    match data {
                        Some(Data::Value(value)) if truth == Truth::Yes => self.store(*to, &known(&value)),
                        _ => self.store(*to, &[None; 16]),
                    }
                }
                truth.turned(*inverted)
            }
            Expr::Immediate { to, value } => {
                self.store(*to, &known(value));
                Truth::Yes
            }
            Expr::Fib { to, result, flags } => {
                let value = self.fib(*result, *flags);
                self.store(*to, &value);
                Truth::Yes
            }
            // A single packet is below any limit.
            Expr::Limit { inverted, .. } => Truth::of(!inverted),
            Expr::Xt { target: false, name, revision, info } => self.xt(name, *revision, info),
            Expr::Other { name } => match name.as_str() {
                "objref" | "last" | "dup" | "flow_offload" | "notrack" => Truth::Yes,
                _ => Truth::Perhaps,
            },
            _ => Truth::Yes,
        }
    }

    fn set(&self, name: &str) -> Option<&'a Set> {
        self.world.ruleset.set(self.base.family, &self.base.table, name)
    }

    fn look_up(&self, from: Register, name: &str) -> (Truth, Option<Data>) {
        let Some(set) = self.set(name) else { return (Truth::Perhaps, None) };
        let key = self.load(from, set.key_length as usize);
        let otherwise = || set.elements.iter().find(|element| element.key.is_empty());
        let found = |element: Option<&Element>| match element {
            Some(element) => (Truth::Yes, element.data.clone()),
            None => (Truth::No, None),
        };
        if let Some(key) = sure(&key) {
            return found(set.find(&key).or_else(otherwise));
        }
        // `NFT_SET_INTERVAL`: only its elements as they are tell what may fit.
        let intervals = set.flags & 4 != 0;
        let may_be = |element: &Element| {
            intervals || compare(Compare::Equal, &key, &element.key) != Truth::No || element.key.is_empty()
        };
        (if set.elements.iter().any(may_be) { Truth::Perhaps } else { Truth::No }, None)
    }

    /// What a register holds.
    fn load(&self, from: Register, length: usize) -> Vec<Byte> {
        let start = at(from);
        let all = self.registers.iter().copied().skip(start.unwrap_or(ROOM));
        all.chain(std::iter::repeat(None)).take(length.min(ROOM)).collect()
    }

    fn store(&mut self, to: Register, value: &[Byte]) {
        let Some(start) = at(to) else { return };
        let gap = value.len().next_multiple_of(4) - value.len();
        let value = value.iter().copied().chain(std::iter::repeat_n(Some(0), gap));
        for (place, byte) in self.registers.iter_mut().skip(start).zip(value) {
            *place = byte;
        }
    }

    /// What `meta` loads; nothing where that ends the rule.
    fn meta(&self, key: u32) -> Option<Vec<Byte>> {
        let name = |end: &End| match end {
            End::Host => vec![Some(0); 16],
            End::By(name) => known(&netlink::nft::ifname(name)),
        };
        let index = |end: &End| match end {
            End::Host => number(0),
            End::By(name) => self.world.link(name).map_or(vec![None; 4], |link| number(link.index)),
        };
        let packet = &*self.packet;
        Some(match key as i32 {
            libc::NFT_META_PROTOCOL => known(&packet.ether_type()),
            libc::NFT_META_MARK => packet.mark.map_or(vec![None; 4], number),
            libc::NFT_META_IIF => index(&packet.incoming),
            libc::NFT_META_OIF => index(&packet.outgoing),
            libc::NFT_META_IIFNAME => name(&packet.incoming),
            libc::NFT_META_OIFNAME => name(&packet.outgoing),
            libc::NFT_META_NFPROTO => vec![Some(packet.family().0)],
            libc::NFT_META_L4PROTO => vec![Some(packet.protocol)],
            libc::NFT_META_BRI_IIFNAME | libc::NFT_META_BRI_OIFNAME => {
                let end = if key as i32 == libc::NFT_META_BRI_IIFNAME { &packet.incoming } else { &packet.outgoing };
                let End::By(port) = end else { return Some(vec![None; 16]) };
                let master = self.world.link(port).and_then(|port| port.master);
                let bridge = self.world.links.iter().find(|link| Some(link.index) == master);
                bridge.map_or(vec![None; 16], |bridge| known(&netlink::nft::ifname(&bridge.name)))
            }
            // For this host, or passed on: not broadcast.
            libc::NFT_META_PKTTYPE => vec![Some(0)],
            // What only passes through belongs to no socket.
            libc::NFT_META_SKUID | libc::NFT_META_SKGID | libc::NFT_META_CGROUP if packet.incoming != End::Host => {
                return None;
            }
            _ => vec![None; 16],
        })
    }

    /// What `ct` loads.
    fn connection(&self, key: u32, direction: Option<u8>) -> Vec<Byte> {
        let packet = &*self.packet;
        let (to, port) = packet.first_to.unwrap_or((packet.to, packet.to_port));
        let first = direction == Some(0) && !packet.answer;
        match key as i32 {
            libc::NFT_CT_STATE => number(if packet.answer { Rule::ESTABLISHED } else { Rule::NEW }),
            libc::NFT_CT_DIRECTION => vec![Some(u8::from(packet.answer))],
            // What else is in there (confirmed, seen reply) differs with time.
            libc::NFT_CT_STATUS => {
                let mut bytes = number(packet.status & (SOURCE_NAT | DESTINATION_NAT));
                put(&mut bytes, if cfg!(target_endian = "little") { 1 } else { 2 }, &[None]);
                bytes
            }
            libc::NFT_CT_MARK => number(0),
            libc::NFT_CT_L3PROTOCOL => vec![Some(packet.family().0)],
            libc::NFT_CT_PROTOCOL => vec![Some(packet.protocol)],
            libc::NFT_CT_DST | libc::NFT_CT_DST_IP | libc::NFT_CT_DST_IP6 if first => address(Some(to), 16),
            libc::NFT_CT_PROTO_DST if first => port.map_or(vec![None; 2], |port| known(&port.to_be_bytes())),
            _ => vec![None; 16],
        }
    }

    /// What `fib` loads.
    fn fib(&self, result: u32, flags: u32) -> Vec<Byte> {
        const SOURCE: u32 = 1;
        const INCOMING: u32 = 8;
        const OUTGOING: u32 = 16;
        let packet = &*self.packet;
        let Some(address) = (if flags & SOURCE != 0 { packet.from } else { Some(packet.to) }) else {
            return vec![None; 16];
        };
        let link = |end: &End| match end {
            End::By(name) => self.world.link(name).map(|link| link.index),
            End::Host => None,
        };
        let asked = if flags & INCOMING != 0 {
            Some(link(&packet.incoming))
        } else if flags & OUTGOING != 0 {
            Some(link(&packet.outgoing))
        } else {
            None
        };
        if result == 3 {
            let kind = self.world.kind(address);
            // Of which link it is has not been looked at.
            return if asked.is_some() && kind == route::RTN_LOCAL { vec![None; 4] } else { number(kind.into()) };
        }
        let Some(way) = self.world.way_to(address) else { return vec![None; 16] };
        let way = match asked {
            Some(None) => return vec![None; 16],
            Some(Some(asked)) if asked != way => 0,
            _ => way,
        };
        if result == 1 {
            return number(way);
        }
        let name = self.world.links.iter().find(|link| link.index == way).map_or("", |link| link.name.as_str());
        known(&netlink::nft::ifname(name))
    }

    fn translate(&mut self, nat: &Nat) {
        if nat.source {
            return self.new_source(true);
        }
        self.translated = true;
        let packet = &mut *self.packet;
        packet.first_to.get_or_insert((packet.to, packet.to_port));
        packet.status |= DESTINATION_NAT;
        let bytes = |from: Option<Register>, length| from.and_then(|from| sure(&self.load(from, length)));
        let to: Option<IpAddr> = if nat.v6 {
            bytes(nat.address, 16).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()).map(IpAddr::from)
        } else {
            bytes(nat.address, 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(IpAddr::from)
        };
        let port = bytes(nat.port, 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes);
        let packet = &mut *self.packet;
        packet.to = to.unwrap_or(packet.to);
        packet.to_port = port.or(packet.to_port);
    }

    fn new_source(&mut self, certain: bool) {
        if certain {
            self.translated = true;
            self.packet.status |= SOURCE_NAT;
        }
    }

    /// The matches of iptables that most rules are made of (include/uapi/linux/netfilter/xt_*.h); of others nothing
    /// is known.
    fn xt(&self, name: &str, revision: u32, info: &[u8]) -> Truth {
        self.xt_known(name, revision, info).unwrap_or(Truth::Perhaps)
    }

    fn xt_known(&self, name: &str, revision: u32, info: &[u8]) -> Option<Truth> {
        let byte = |at: usize| info.get(at).copied();
        let half = |at: usize| Some(u16::from_ne_bytes(info.get(at..at + 2)?.try_into().ok()?));
        let word = |at: usize| Some(u32::from_ne_bytes(info.get(at..at + 4)?.try_into().ok()?));
        let packet = &*self.packet;
        let state = if packet.answer { Rule::ESTABLISHED } else { Rule::NEW };
        let within = |port: Option<u16>, (low, high): (u16, u16)| match port {
            _ if (low, high) == (0, u16::MAX) => Truth::Yes,
            Some(port) => Truth::of((low..=high).contains(&port)),
            None => Truth::Perhaps,
        };
        let both = |one, other| match (one, other) {
            (Truth::No, _) | (_, Truth::No) => Truth::No,
            (Truth::Yes, Truth::Yes) => Truth::Yes,
            _ => Truth::Perhaps,
        };
        Some(match (name, revision) {
            ("comment", _) => Truth::Yes,
            ("state", 0) => Truth::of(word(0)? & state != 0),
            ("conntrack", 1..=3) => {
                // XT_CONNTRACK_STATE alone.
                let (asked, inverted) = (half(146)?, half(148)?);
                if asked != 1 {
                    return None;
                }
                let mask = if revision == 1 { u16::from(byte(150)?) } else { half(150)? };
                let mut bits = state as u16;
                bits |= if packet.has_new_source() { 1 << 6 } else { 0 };
                bits |= if packet.has_new_destination() { 1 << 7 } else { 0 };
                Truth::of(mask & bits != 0).turned(inverted & 1 != 0)
            }
            ("tcp" | "udp", 0) => {
                let tcp = name == "tcp";
                let (mask, wanted) = if tcp { (byte(9)?, byte(10)?) } else { (0, 0) };
                if tcp && byte(8)? != 0 {
                    return None;
                }
                let turn = if tcp { byte(11)? } else { byte(8)? };
                let from = within(packet.from_port, (half(0)?, half(2)?)).turned(turn & 1 != 0);
                let to = within(packet.to_port, (half(4)?, half(6)?)).turned(turn & 2 != 0);
                let flags = if packet.answer { 0x12 } else { 2 };
                let flags = Truth::of(flags & mask == wanted).turned(turn & 4 != 0);
                both(both(from, to), flags)
            }
            ("addrtype", 1) => {
                let (source, destination, flags) = (half(0)?, half(2)?, word(4)?);
                if flags & !3 != 0 {
                    return None;
                }
                let is = |address: Option<IpAddr>, mask: u16| match address {
                    _ if mask == 0 => Truth::Yes,
                    Some(address) => Truth::of(mask & 1 << self.world.kind(address) != 0),
                    None => Truth::Perhaps,
                };
                let from = is(packet.from, source).turned(source != 0 && flags & 1 != 0);
                let to = is(Some(packet.to), destination).turned(destination != 0 && flags & 2 != 0);
                both(from, to)
            }
            ("mark", 1) => match packet.mark {
                Some(mark) => Truth::of(mark & word(4)? == word(0)?).turned(byte(8)? != 0),
                None => Truth::Perhaps,
            },
            ("multiport", 1) => {
                let (which, count, inverted) = (byte(0)?, usize::from(byte(1)?), byte(47)? != 0);
                let port = match which {
                    0 => packet.from_port?,
                    1 => packet.to_port?,
                    _ => return None,
                };
                let mut found = false;
                let mut n = 0;
                while n < count.min(15) {
                    let low = half(2 + 2 * n)?;
                    let range = byte(32 + n)? != 0;
                    let high = if range { half(4 + 2 * n)? } else { low };
                    found |= (low..=high).contains(&port);
                    n += if range { 2 } else { 1 };
                }
                Truth::of(found).turned(inverted)
            }
            _ => return None,
        })
    }
}

/// Where a register begins, in bytes.
fn at(register: Register) -> Option<usize> {
    (0..ROOM / 4).find(|word| Register::word(*word as u32) == register).map(|word| word * 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink::nft::{Hook, Table, Type, concat, ifname};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn chain(name: &str, hook: Option<(u32, &str, i32)>, drops: bool) -> Chain {
        let chain = Chain::new(Family::INET, "t", name);
        match hook {
            Some((number, kind, priority)) => Chain { drops: Some(drops), ..chain.at(number, kind, priority) },
            None => chain,
        }
    }

    fn ruleset(chains: Vec<Chain>, rules: Vec<Rule>, sets: Vec<Set>) -> Ruleset {
        let rules = rules.into_iter().zip(1..).map(|(rule, handle)| Rule { handle, ..rule }).collect();
        Ruleset { generation: 1, tables: vec![Table::new(Family::INET, "t")], chains, rules, sets }
    }

    fn rule(chain: &str) -> Rule {
        Rule::new(Family::INET, "t", chain)
    }

    fn forward(drops: bool) -> Chain {
        chain("f", Some((Hook::FORWARD, "filter", 0)), drops)
    }

    /// A packet of a container's to the outside.
    fn packet() -> Packet {
        Packet::new(Some(ip("10.88.0.2")), ip("1.1.1.1"), 6, Some(443)).between(End::by("ctr0"), End::by("eth0"))
    }

    fn fate(ruleset: &Ruleset, packet: &mut Packet) -> Fate {
        World::new(ruleset, &[], &[], vec![ip("192.0.2.1")]).pass(packet, Hook::FORWARD)
    }

    fn handle(fate: &Fate) -> Option<u64> {
        match fate {
            Fate::Drops(place) | Fate::Perhaps(place) => place.handle,
            Fate::Passes => panic!("it passes"),
        }
    }

    #[test]
    fn the_first_rule_that_holds_decides() {
        let rules = vec![
            rule("f").incoming("other").drop(),
            rule("f").protocol(17).drop(),
            rule("f").from(ip("10.88.0.0"), 16).to_not(ip("10.0.0.0"), 8).port(443).accept(),
            rule("f").drop(),
        ];
        let mut all = ruleset(vec![forward(true)], rules, vec![]);
        assert_eq!(fate(&all, &mut packet()), Fate::Passes);
        let other = &mut Packet { to_port: Some(80), ..packet() };
        let dropped = fate(&all, other);
        assert_eq!(handle(&dropped), Some(4));
        assert_eq!(
            match dropped {
                Fate::Drops(place) => place.to_string(),
                _ => String::new(),
            },
            "rule 4 of the chain f in the table inet t"
        );
        all.rules.pop();
        assert_eq!(handle(&fate(&all, other)), None);
        all.tables[0].flags = 1;
        assert_eq!(fate(&all, other), Fate::Passes);
    }

    #[test]
    fn every_base_chain_must_agree() {
        let late = chain("late", Some((Hook::FORWARD, "filter", 10)), true);
        let all = ruleset(vec![forward(false), late], vec![rule("f").accept()], vec![]);
        let Fate::Drops(place) = fate(&all, &mut packet()) else { panic!() };
        assert_eq!((place.base.as_str(), place.handle), ("late", None));
    }

    #[test]
    fn chains_are_jumped_to_and_come_back() {
        let chains = vec![forward(true), chain("sub", None, false), chain("end", None, false)];
        let jump =
            |last: Rule| vec![rule("f").jump("sub"), last, rule("sub").incoming("ctr0").end(), rule("sub").drop()];
        let all = ruleset(chains.clone(), jump(rule("f").accept()), vec![]);
        assert_eq!(fate(&all, &mut packet()), Fate::Passes);
        // Whom goto leads away does not come back: the policy decides.
        let away = vec![rule("f").goto("sub"), rule("f").accept(), rule("sub").jump("end"), rule("end").counter()];
        let all = ruleset(chains.clone(), away, vec![]);
        assert_eq!(handle(&fate(&all, &mut packet())), None);
        let Fate::Drops(place) = fate(&all, &mut packet()) else { panic!() };
        assert_eq!(place.chain, "f");
        // Loops, which the kernel forbids, end.
        let all =
            ruleset(chains, vec![rule("f").jump("sub"), rule("sub").jump("f"), rule("sub").jump("sub")], vec![]);
        assert!(matches!(fate(&all, &mut packet()), Fate::Drops(_)));
    }

    #[test]
    fn connections_have_states() {
        let rules = vec![rule("f").state(Rule::ESTABLISHED | Rule::RELATED).accept(), rule("f").status(32).accept()];
        let all = ruleset(vec![forward(true)], rules, vec![]);
        assert!(matches!(fate(&all, &mut packet()), Fate::Drops(_)));
        assert_eq!(fate(&all, &mut Packet { answer: true, ..packet() }), Fate::Passes);
        assert_eq!(fate(&all, &mut Packet { status: 32, ..packet() }), Fate::Passes);
    }

    #[test]
    fn what_is_not_known_makes_doubts() {
        let odd = || rule("f").push(Expr::Other { name: "odd".to_owned() });
        let rules = |first: Rule, drops| {
            ruleset(vec![forward(drops), chain("sub", None, false)], vec![first, rule("sub").drop()], vec![])
        };
        // It may drop; it may have let it pass what the policy drops; it may go where it is dropped.
        assert!(matches!(fate(&rules(odd().drop(), false), &mut packet()), Fate::Perhaps(_)));
        assert!(matches!(fate(&rules(odd().accept(), true), &mut packet()), Fate::Perhaps(_)));
        assert_eq!(fate(&rules(odd().accept(), false), &mut packet()), Fate::Passes);
        assert!(matches!(fate(&rules(odd().jump("sub"), false), &mut packet()), Fate::Perhaps(_)));
        assert!(matches!(fate(&rules(odd().drop(), true), &mut packet()), Fate::Drops(_)));
        // What fails in any case is no doubt.
        assert_eq!(
            fate(
                &rules(rule("f").incoming("x").push(Expr::Other { name: "odd".to_owned() }).drop(), false),
                &mut packet()
            ),
            Fate::Passes
        );
        // A source that is not known may be any.
        let from = rule("f").from(ip("192.0.2.0"), 24).drop();
        let unknown = &mut Packet { from: None, ..packet() };
        assert!(matches!(fate(&rules(from.clone(), false), unknown), Fate::Perhaps(_)));
        assert_eq!(fate(&rules(from, false), &mut packet()), Fate::Passes);
        // A program that decides.
        let queue = rule("f").push(Expr::Other { name: "queue".to_owned() });
        assert!(matches!(fate(&rules(queue, true), &mut packet()), Fate::Perhaps(_)));
    }

    #[test]
    fn sets_and_maps_of_verdicts_are_looked_up() {
        let mut links = Set::new(Family::INET, "t", "links", &[Type::IFNAME]);
        links.elements = vec![Element::new(ifname("ctr0")), Element::new(ifname("ctr1"))];
        let mut ports = Set::new(Family::INET, "t", "ports", &[Type::SERVICE]).to_verdicts();
        ports.elements = vec![Element::with([1, 187], Data::Verdict(Verdict::Drop))];
        let sets = vec![links, ports];
        let (incoming, to) = ([netlink::nft::Field::Incoming], [netlink::nft::Field::DestinationPort]);
        let of = |first: Rule| ruleset(vec![forward(true)], vec![first], sets.clone());
        assert_eq!(fate(&of(rule("f").in_set(&incoming, "links").accept()), &mut packet()), Fate::Passes);
        assert!(matches!(
            fate(&of(rule("f").not_in_set(&incoming, "links").accept()), &mut packet()),
            Fate::Drops(_)
        ));
        let mapped = of(rule("f").verdict_map(&to, "ports"));
        assert_eq!(handle(&fate(&mapped, &mut packet())), Some(1));
        assert_eq!(handle(&fate(&mapped, &mut Packet { to_port: Some(80), ..packet() })), None);
        assert!(matches!(fate(&mapped, &mut Packet { to_port: None, ..packet() }), Fate::Drops(_)));
    }

    #[test]
    fn destinations_and_sources_change() {
        let mut ports =
            Set::new(Family::INET, "t", "any4", &[Type::PROTOCOL, Type::SERVICE]).to(&[Type::IPV4, Type::SERVICE]);
        let to = concat(&[&[10, 88, 0, 2], &80_u16.to_be_bytes()]);
        ports.elements = vec![Element::with(concat(&[&[6], &8080_u16.to_be_bytes()]), Data::Value(to))];
        let pre = chain("pre", Some((Hook::PREROUTING, "nat", -100)), false);
        let later = chain("later", Some((Hook::PREROUTING, "nat", -50)), false);
        let post = chain("post", Some((Hook::POSTROUTING, "nat", 100)), false);
        let fields = [netlink::nft::Field::Protocol, netlink::nft::Field::DestinationPort];
        let rules = vec![
            rule("pre").version(false).to_this_host().dnat_map(false, &fields, "any4"),
            rule("later").dnat("192.0.2.9:9".parse().unwrap()),
            rule("post").from(ip("10.88.0.0"), 16).outgoing_not("ctr0").masquerade(0),
        ];
        let all = ruleset(vec![pre, later, post], rules, vec![ports]);
        let world = World::new(&all, &[], &[], vec![ip("192.0.2.1")]);
        let asked = Packet::new(Some(ip("198.51.100.7")), ip("192.0.2.1"), 6, Some(8080));
        let mut one = asked.clone().between(End::by("eth0"), End::Host);
        assert_eq!(world.pass(&mut one, Hook::PREROUTING), Fate::Passes);
        assert_eq!((one.to, one.to_port, one.has_new_destination()), (ip("10.88.0.2"), Some(80), true));
        assert_eq!(one.first_to, Some((ip("192.0.2.1"), Some(8080))));
        let mut answer = Packet { answer: true, ..asked };
        world.pass(&mut answer, Hook::PREROUTING);
        assert!(!answer.has_new_destination());
        let mut out = packet();
        world.pass(&mut out, Hook::POSTROUTING);
        assert!(out.has_new_source());
        let mut back = packet().between(End::by("eth0"), End::by("ctr0"));
        world.pass(&mut back, Hook::POSTROUTING);
        assert!(!back.has_new_source());
    }

    #[test]
    fn matches_of_iptables_are_known_or_not() {
        let xt =
            |name: &str, revision, info: Vec<u8>| Expr::Xt { target: false, name: name.to_owned(), revision, info };
        let all = |expression| ruleset(vec![forward(true)], vec![rule("f").push(expression).accept()], vec![]);
        let mut state = vec![0; 160];
        state[146] = 1;
        state[150] = 6; // ESTABLISHED, RELATED
        assert!(matches!(fate(&all(xt("conntrack", 3, state.clone())), &mut packet()), Fate::Drops(_)));
        let answer = &mut Packet { answer: true, ..packet() };
        assert_eq!(fate(&all(xt("conntrack", 3, state.clone())), answer), Fate::Passes);
        state[148] = 1;
        assert_eq!(fate(&all(xt("conntrack", 3, state.clone())), &mut packet()), Fate::Passes);
        state[146] = 3;
        assert!(matches!(fate(&all(xt("conntrack", 3, state)), &mut packet()), Fate::Perhaps(_)));
        let port = |low: u16, high: u16| {
            let mut info = [0, u16::MAX, low, high].map(u16::to_ne_bytes).concat();
            info.extend([0; 4]);
            xt("tcp", 0, info)
        };
        assert_eq!(fate(&all(port(400, 500)), &mut packet()), Fate::Passes);
        assert!(matches!(fate(&all(port(500, 600)), &mut packet()), Fate::Drops(_)));
        assert_eq!(fate(&all(xt("comment", 0, vec![])), &mut packet()), Fate::Passes);
        for odd in [
            xt("set", 4, vec![]),
            xt("conntrack", 3, vec![0; 9]),
            xt("tcp", 0, vec![1]),
            xt("multiport", 1, vec![1, 9]),
        ] {
            assert!(matches!(fate(&all(odd), &mut packet()), Fate::Perhaps(_)));
        }
        let reject = Expr::Xt { target: true, name: "REJECT".to_owned(), revision: 0, info: vec![] };
        let Fate::Drops(place) =
            fate(&ruleset(vec![forward(false)], vec![rule("f").push(reject)], vec![]), &mut packet())
        else {
            panic!()
        };
        assert!(place.rejects);
    }

    #[test]
    fn routes_are_asked_for_the_way_back() {
        let link = |index, name: &str| Link { index, name: name.to_owned(), ..Link::default() };
        let links = [link(2, "eth0"), link(3, "ctr0")];
        let routes = [
            Route { link: Some(2), ..Route::by(ip("192.0.2.254")) },
            Route { link: Some(3), ..Route::to(ip("10.88.0.0"), 16) },
        ];
        // fib saddr . iif oif missing drop
        let missing = rule("f")
            .push(Expr::Fib { to: Register::R1, result: 1, flags: 9 })
            .push(Expr::Cmp { from: Register::R1, how: Compare::Equal, value: vec![0; 4] })
            .drop();
        let all = ruleset(vec![forward(false)], vec![missing], vec![]);
        let world = World::new(&all, &links, &routes, vec![]);
        assert_eq!(world.pass(&mut packet(), Hook::FORWARD), Fate::Passes);
        let mut wrong = packet().between(End::by("eth0"), End::by("ctr0"));
        assert_eq!(handle(&world.pass(&mut wrong, Hook::FORWARD)), Some(1));
    }

    #[test]
    fn bits_and_bytes() {
        assert_eq!(compare(Compare::Less, &[None, Some(1)], &[1, 2]), Truth::Perhaps);
        assert_eq!(compare(Compare::Less, &[Some(0), None], &[1, 2]), Truth::Yes);
        assert_eq!(compare(Compare::NotEqual, &[None, Some(1)], &[1, 2]), Truth::Yes);
        assert_eq!(compare(Compare::Equal, &[Some(1)], &[1]), Truth::Yes);
        let marked = vec![rule("f").set_mark(5), rule("f").mark(5, u32::MAX).drop()];
        assert_eq!(handle(&fate(&ruleset(vec![forward(false)], marked, vec![]), &mut packet())), Some(2));
    }
}
