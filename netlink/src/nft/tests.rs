use std::net::IpAddr;

use libc::{IPPROTO_TCP, IPPROTO_UDP};

use super::*;
use crate::wire::tests::{golden, goldens, hex, mangle, same_but};

const GOLDEN: &str = include_str!("../../tests/golden/nft.hex");
const TCP: u8 = IPPROTO_TCP as u8;
const UDP: u8 = IPPROTO_UDP as u8;

/// The batch's messages against those that `nft` sends for this line. `nft` gives a number to every set that it knows of,
/// also where the name says enough, and more userdata to maps, and numbers the elements of a list.
fn is(line: &str, make: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new();
    make(&mut batch);
    let theirs = goldens(GOLDEN, line);
    assert_eq!(batch.messages().len(), theirs.len(), "{line}");
    for (ours, theirs) in batch.messages().iter().zip(&theirs) {
        let mut ours = ours.clone().finish().unwrap();
        let but: &[&[u16]] = match i32::from(theirs[4]) {
            NFT_MSG_NEWRULE => {
                ours = with_set_numbers(&ours, theirs);
                // The kind of a bitwise, which `nft` writes out here and there.
                &[&[NFTA_RULE_EXPRESSIONS, NFTA_LIST_ELEM, NFTA_EXPR_DATA, 6]]
            }
            NFT_MSG_NEWSET => &[&[NFTA_SET_ID], &[NFTA_SET_USERDATA]],
            _ => &[&[NFTA_SET_ELEM_LIST_SET_ID], &[NFTA_SET_ELEM_LIST_ELEMENTS, 0]],
        };
        same_but(&ours, theirs, NFGENMSG, but);
        read_back(&ours);
    }
}

/// Our rule, its lookups with the numbers of sets that theirs has.
fn with_set_numbers(ours: &[u8], theirs: &[u8]) -> Vec<u8> {
    let read = |bytes: &[u8]| every(bytes, NFT_MSG_NEWRULE, rule::read).unwrap().remove(0);
    let Some(number) =
        read(theirs).expressions.iter().find_map(|e| if let Expr::Lookup { id, .. } = e { *id } else { None })
    else {
        return ours.to_vec();
    };
    let mut rule = read(ours);
    for expression in &mut rule.expressions {
        if let Expr::Lookup { id, .. } = expression {
            *id = Some(number);
        }
    }
    let mut batch = Batch::new();
    batch.add_rule(&rule);
    batch.messages()[0].clone().finish().unwrap()
}

/// What was written is read without an error, and as nothing unknown.
fn read_back(bytes: &[u8]) {
    let rules = every(bytes, NFT_MSG_NEWRULE, rule::read).unwrap();
    for rule in rules {
        assert!(!rule.expressions.iter().any(|e| matches!(e, Expr::Other { .. } | Expr::Xt { .. })), "{rule:?}");
        let mut again = Batch::new();
        again.add_rule(&rule);
        let again = every(&again.sent(), NFT_MSG_NEWRULE, rule::read).unwrap();
        assert_eq!(again, [rule]);
    }
    mangle(bytes, |bytes| {
        let _ = every(bytes, NFT_MSG_NEWTABLE, read_table);
        let _ = every(bytes, NFT_MSG_NEWCHAIN, read_chain);
        let _ = every(bytes, NFT_MSG_NEWRULE, rule::read);
        let _ = every(bytes, NFT_MSG_NEWSET, set::read);
        let _ = every(bytes, NFT_MSG_NEWSETELEM, set::read_elements);
    });
}

fn rule(chain: &str) -> Rule {
    Rule::new(Family::INET, "web", chain)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn chain(name: &str, hook: u32, kind: &str, priority: i32) -> Chain {
    Chain::new(Family::INET, "web", name).at(hook, kind, priority)
}

#[test]
fn tables_and_chains_are_made_as_nft_makes_them() {
    let web = Table { comment: Some("hello".to_owned()), ..Table::new(Family::INET, "web") };
    is("nft add table ip tv", |b| {
        b.add_table(&Table::new(Family::IPV4, "tv"));
    });
    is("nft add table inet web { comment \"hello\"; }", |b| {
        b.add_table(&web);
    });
    is("nft delete table inet web", |b| {
        b.delete_table(Family::INET, "web");
    });
    let forward = Chain { drops: Some(false), ..chain("forward", Hook::FORWARD, "filter", 0) };
    is("nft add chain inet web forward { type filter hook forward priority 0 ; policy accept ; }", |b| {
        b.add_chain(&forward);
    });
    is("nft add chain inet web pre { type nat hook prerouting priority dstnat ; }", |b| {
        b.add_chain(&chain("pre", Hook::PREROUTING, "nat", -100));
    });
    let comment = Some("leave".to_owned());
    is("nft add chain inet web post { type nat hook postrouting priority 100 ; comment \"leave\" ; }", |b| {
        b.add_chain(&Chain { comment, ..chain("post", Hook::POSTROUTING, "nat", 100) });
    });
    is("nft add chain inet web sub", |b| {
        b.add_chain(&Chain::new(Family::INET, "web", "sub"));
    });
    is("nft add chain ip t c { type filter hook forward priority 0 ; policy drop ; }", |b| {
        let chain = Chain::new(Family::IPV4, "t", "c").at(Hook::FORWARD, "filter", 0);
        b.add_chain(&Chain { drops: Some(true), ..chain });
    });
    is("nft add chain netdev n c { type filter hook ingress device lo priority 0 ; }", |b| {
        let mut chain = Chain::new(Family::NETDEV, "n", "c").at(0, "filter", 0);
        chain.hook.as_mut().unwrap().links.push("lo".to_owned());
        b.add_chain(&chain);
    });
    is("nft flush chain inet web raw", |b| {
        b.flush_chain(Family::INET, "web", "raw");
    });
    is("nft delete chain inet web raw", |b| {
        b.delete_chain(Family::INET, "web", "raw");
    });
    is("nft flush table inet web", |b| {
        b.flush_table(Family::INET, "web");
    });
}

#[test]
fn rules_are_made_as_nft_makes_them() {
    let add = |line: &str, rule: Rule| {
        is(&format!("nft add rule inet web {line}"), |b| {
            b.add_rule(&rule);
        });
    };
    let (forward, pre, post) = (rule("forward"), rule("pre"), rule("post"));
    let answers = Rule::ESTABLISHED | Rule::RELATED;
    add(
        "forward iifname \"br0\" oifname != \"br0\" counter accept",
        forward.clone().incoming("br0").outgoing_not("br0").counter().accept(),
    );
    add(
        "forward ct state established,related accept comment \"answers\"",
        forward.clone().state(answers).accept().comment("answers"),
    );
    add("forward ct status dnat accept", forward.clone().status(32).accept());
    let ct = |key: i32| Expr::Ct { to: Register::R1, key: key as u32, direction: None };
    let equals = |value: &[u8]| Expr::Cmp { from: Register::R1, how: Compare::Equal, value: value.to_vec() };
    let reply = forward.clone().push(ct(libc::NFT_CT_DIRECTION)).push(equals(&[1]));
    add(
        "forward ct direction reply ct mark 7 return",
        reply.push(ct(libc::NFT_CT_MARK)).push(equals(&[7, 0, 0, 0])).end(),
    );
    is("nft insert rule inet web forward ip saddr 10.0.0.0/16 drop", |b| {
        b.insert_rule(&forward.clone().from(ip("10.0.0.0"), 16).drop());
    });
    add("forward ip6 daddr fd00::/64 jump sub", forward.clone().to(ip("fd00::"), 64).jump("sub"));
    add("forward meta mark and 0xff == 0x7 goto sub", forward.clone().mark(7, 0xff).goto("sub"));
    let reset = Expr::Reject { kind: 1, code: 0 };
    let web = forward.clone().protocol(TCP).port(80);
    add("forward meta l4proto tcp tcp dport 80 reject with tcp reset", web.push(reset));
    add("forward reject", forward.clone().push(Expr::Reject { kind: 2, code: 1 }));
    let log = Expr::Log { prefix: Some("x: ".to_owned()), level: Some(4), group: None };
    add("forward log prefix \"x: \" level warn counter drop", forward.clone().push(log).counter().drop());
    let limit = Expr::Limit { rate: 10, seconds: 1, burst: 5, bytes: false, inverted: false };
    add("forward limit rate 10/second burst 5 packets accept", forward.clone().push(limit).accept());
    let target = Expr::Payload { to: Register::R1, header: Header::Transport, offset: 2, length: 2 };
    let bound = |how, port: u16| Expr::Cmp { from: Register::R1, how, value: port.to_be_bytes().to_vec() };
    let ports = forward.clone().protocol(TCP).push(target).push(bound(Compare::GreaterOrEqual, 1000));
    add("forward tcp dport 1000-2000 accept", ports.push(bound(Compare::LessOrEqual, 2000)).accept());
    add(
        "post ip saddr 10.0.0.0/24 oifname != \"br0\" masquerade",
        post.clone().from(ip("10.0.0.0"), 24).outgoing_not("br0").masquerade(0),
    );
    add("post meta nfproto ipv6 masquerade fully-random", post.clone().version(true).masquerade(16));
    let published = pre.clone().to_this_host().protocol(TCP).port(8080).dnat("10.0.0.2:80".parse().unwrap());
    // `nft` sets a flag that says that there is a port, which the kernel sets itself.
    let theirs = golden(
        GOLDEN,
        "nft add rule inet web pre fib daddr type local meta l4proto tcp tcp dport 8080 dnat ip to 10.0.0.2:80",
    );
    let mut batch = Batch::new();
    batch.add_rule(&published);
    same_but(&batch.messages()[0].clone().finish().unwrap(), &theirs, NFGENMSG, &[&[4, 1, 2, NFTA_NAT_FLAGS]]);
    assert_eq!(every(&theirs, NFT_MSG_NEWRULE, rule::read).unwrap(), [published]);
    add("post ip saddr 10.0.0.2 snat ip to 10.0.0.1", post.clone().from(ip("10.0.0.2"), 32).snat(ip("10.0.0.1")));
    add("pre meta mark set 0x5", pre.clone().set_mark(5));
    add("raw udp dport 53 notrack", rule("raw").protocol(UDP).port(53).push(Expr::Notrack));
    let other = Expr::Immediate { to: Register::R1, value: vec![0, 82] };
    let redirect = Expr::Redirect { port: Some(Register::R1), flags: 2 };
    add("pre tcp dport 81 redirect to :82", pre.clone().protocol(TCP).port(81).push(other).push(redirect));
    let twenty = Rule::new(Family::IPV4, "t", "c").to(ip("10.0.0.0"), 20).accept();
    is("nft add rule ip t c ip daddr 10.0.0.0/20 accept", |b| {
        b.add_rule(&twenty);
    });
    add("forward tcp flags syn tcp option maxseg size set rt mtu", forward.clone().clamp_mss());
    is("nft delete rule ip t c handle 4", |b| {
        b.delete_rule(&Rule { handle: 4, ..Rule::new(Family::IPV4, "t", "c") });
    });
    // Sets and maps.
    let key = [Field::Destination { v6: false }, Field::Protocol, Field::DestinationPort];
    add("forward ip daddr . meta l4proto . th dport @pairs accept", forward.clone().in_set(&key, "pairs").accept());
    add("forward ip daddr @nets accept", forward.clone().in_set(&key[..1], "nets").accept());
    add("pre dnat ip to meta l4proto . th dport map @maps", pre.clone().dnat_map(false, &key[1..], "maps"));
    add("pre dnat ip6 to meta l4proto . th dport map @maps6", pre.clone().dnat_map(true, &key[1..], "maps6"));
    add("forward iifname vmap @verdicts", forward.clone().verdict_map(&[Field::Incoming], "verdicts"));
}

#[test]
fn sets_are_made_as_nft_makes_them() {
    let set = |name: &str, key: &[Type]| Set::new(Family::INET, "web", name, key);
    let make = |line: &str, set: Set| {
        is(line, |b| {
            b.add_set(&set);
        });
    };
    make("nft add set inet web ports { type inet_service ; }", set("ports", &[Type::SERVICE]));
    make(
        "nft add set inet web nets { type ipv4_addr ; flags interval ; comment \"some\" ; }",
        set("nets", &[Type::IPV4]).with_intervals().comment("some"),
    );
    let three = [Type::IPV4, Type::PROTOCOL, Type::SERVICE];
    make("nft add set inet web pairs { type ipv4_addr . inet_proto . inet_service ; }", set("pairs", &three));
    let to = [Type::IPV4, Type::SERVICE];
    make(
        "nft add map inet web maps { type inet_proto . inet_service : ipv4_addr . inet_service ; }",
        set("maps", &three[1..]).to(&to),
    );
    make(
        "nft add map inet web maps6 { type inet_proto . inet_service : ipv6_addr . inet_service ; }",
        set("maps6", &three[1..]).to(&[Type::IPV6, Type::SERVICE]),
    );
    make(
        "nft add map inet web addrmap { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service ; flags interval ; }",
        set("addrmap", &three).to(&to).with_intervals(),
    );
    make("nft add map inet web verdicts { type ifname : verdict ; }", set("verdicts", &[Type::IFNAME]).to_verdicts());
    make("nft add set ip t m { type mark ; }", Set::new(Family::IPV4, "t", "m", &[Type::MARK]));
    make("nft add set ip t e { type ether_addr ; }", Set::new(Family::IPV4, "t", "e", &[Type::ETHER]));
    is("nft flush set inet web ports", |b| {
        b.flush_set(Family::INET, "web", "ports");
    });
    is("nft delete set inet web ports", |b| {
        b.delete_set(Family::INET, "web", "ports");
    });

    // The userdata, which the comparison above leaves out: byte orders, and the comment.
    for (line, set) in [
        ("nft add set inet web ports { type inet_service ; }", set("ports", &[Type::SERVICE])),
        (
            "nft add set inet web nets { type ipv4_addr ; flags interval ; comment \"some\" ; }",
            set("nets", &[Type::IPV4]).with_intervals().comment("some"),
        ),
        ("nft add map inet web verdicts { type ifname : verdict ; }", set("verdicts", &[Type::IFNAME]).to_verdicts()),
    ] {
        let mut batch = Batch::new();
        batch.add_set(&set);
        let ours = batch.messages()[0].clone().finish().unwrap();
        let data = |bytes: &[u8]| {
            let message = wire::messages(bytes).next().unwrap().unwrap();
            Found::of(message.attributes(NFGENMSG)).unwrap().get(NFTA_SET_USERDATA).unwrap().payload.to_vec()
        };
        let theirs = data(&golden(GOLDEN, line));
        // Behind the orders `nft` says whether the values are intervals too: kind 6.
        let theirs = theirs.strip_suffix(&[6, 4, 0, 0, 0, 0]).unwrap_or(&theirs);
        assert_eq!(data(&ours), theirs, "{line}");
    }
}

#[test]
fn elements_come_and_go_as_with_nft() {
    let add = |line: &str, set: &str, elements: &[Element]| {
        is(line, |b| {
            b.add_elements(Family::INET, "web", set, elements);
        });
    };
    let port = |port: u16| Element::new(port.to_be_bytes());
    let tls = Element { comment: Some("tls".to_owned()), ..port(443) };
    add("nft add element inet web ports { 80, 443 comment \"tls\" }", "ports", &[port(80), tls]);
    is("nft delete element inet web ports { 80 }", |b| {
        b.delete_elements(Family::INET, "web", "ports", &[port(80)]);
    });
    // `nft` begins a set of intervals with the end of a gap at 0; it is no more than that.
    let mut nets = vec![Element { flags: 1, ..Element::new([0; 4]) }];
    nets.extend(Element::range(&[10, 0, 0, 0], &[10, 255, 255, 255]));
    nets.extend(Element::range(&[192, 168, 0, 0], &[192, 168, 255, 255]));
    add("nft add element inet web nets { 10.0.0.0/8, 192.168.0.0/16 }", "nets", &nets);
    let key = concat(&[&[10, 0, 0, 1], &[TCP], &80_u16.to_be_bytes()]);
    add("nft add element inet web pairs { 10.0.0.1 . tcp . 80 }", "pairs", &[Element::new(key)]);
    let key = concat(&[&[TCP], &8080_u16.to_be_bytes()]);
    let value = Data::Value(concat(&[&[10, 0, 0, 2], &80_u16.to_be_bytes()]));
    let published = Element::with(key.clone(), value.clone());
    add("nft add element inet web maps { tcp . 8080 : 10.0.0.2 . 80 }", "maps", &[published]);
    is("nft delete element inet web maps { tcp . 8080 }", |b| {
        b.delete_elements(Family::INET, "web", "maps", &[Element::new(key)]);
    });
    let address = "fd00::2".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let key = concat(&[&[UDP], &53_u16.to_be_bytes()]);
    let sixth = Element::with(key, Data::Value(concat(&[&address, &53_u16.to_be_bytes()])));
    add("nft add element inet web maps6 { udp . 53 : fd00::2 . 53 }", "maps6", &[sixth]);
    let at = |address: [u8; 4]| concat(&[&address, &[TCP], &8080_u16.to_be_bytes()]);
    let spanning = Element::with(at([127, 0, 0, 0]), value).up_to(at([127, 255, 255, 255]));
    add("nft add element inet web addrmap { 127.0.0.0/8 . tcp . 8080 : 10.0.0.2 . 80 }", "addrmap", &[spanning]);
    let jump = Element::with(ifname("br0"), Data::Verdict(Verdict::Jump("sub".to_owned())));
    let drops = Element::with(ifname("br1"), Data::Verdict(Verdict::Drop));
    add("nft add element inet web verdicts { \"br0\" : jump sub, \"br1\" : drop }", "verdicts", &[jump, drops]);
}

#[test]
fn anonymous_sets_are_made_as_nft_makes_them() {
    is("nft add rule inet web forward tcp dport { 22, 23 } accept", |b| {
        let mut set = Set::new(Family::INET, "web", "", &[Type::SERVICE]);
        set.elements = vec![Element::new([0, 22]), Element::new([0, 23])];
        let (name, id) = b.add_anonymous(&set);
        let port = Expr::Payload { to: Register::R1, header: Header::Transport, offset: 2, length: 2 };
        let lookup = Expr::Lookup { from: Register::R1, to: None, set: name, id: Some(id), inverted: false };
        b.add_rule(&rule("forward").protocol(TCP).push(port).push(lookup).accept());
    });
    is(
        "nft add rule inet web forward iifname . oifname vmap { \"br0\" . \"br0\" : accept, \"br0\" . \"br1\" : drop }",
        |b| {
            let mut set = Set::new(Family::INET, "web", "", &[Type::IFNAME, Type::IFNAME]).to_verdicts();
            let both = |other| concat(&[&ifname("br0"), &ifname(other)]);
            set.elements = vec![
                Element::with(both("br0"), Data::Verdict(Verdict::Accept)),
                Element::with(both("br1"), Data::Verdict(Verdict::Drop)),
            ];
            let (name, _) = b.add_anonymous(&set);
            b.add_rule(&rule("forward").verdict_map(&[Field::Incoming, Field::Outgoing], &name));
        },
    );
}

#[test]
fn a_batch_has_a_beginning_and_an_end() {
    let mut batch = Batch::at(7);
    batch.add_table(&Table::new(Family::IPV4, "tv"));
    // NFNL_MSG_BATCH_BEGIN for nf_tables and generation 7, the table, which alone is acknowledged, NFNL_MSG_BATCH_END.
    let expected = hex("1c 00 00 00 10 00 01 00  00 00 00 00 00 00 00 00  00 00 00 0a 08 00 01 00  00 00 00 07
                        24 00 00 00 00 0a 05 00  01 00 00 00 00 00 00 00  02 00 00 00 07 00 01 00  74 76 00 00
                        08 00 02 00 00 00 00 00
                        14 00 00 00 11 00 01 00  02 00 00 00 00 00 00 00  00 00 00 0a");
    assert_eq!(batch.sent(), expected);
    assert!(Batch::new().is_empty());
}

#[test]
fn many_elements_go_in_several_messages() {
    let all: Vec<Element> = (0..60_000u16).map(|port| Element::new(port.to_be_bytes())).collect();
    let mut batch = Batch::new();
    batch.add_elements(Family::INET, "web", "ports", &all);
    assert!(batch.messages().len() > 10);
    assert_eq!(every(&batch.sent(), NFT_MSG_NEWSETELEM, set::read_elements).unwrap().concat(), all);
    // Deleting no elements must not become deleting all of them.
    let mut none = Batch::new();
    none.delete_elements(Family::INET, "web", "ports", &[]);
    assert!(none.is_empty());
}

#[test]
fn keys_are_found_as_the_kernel_finds_them() {
    let set = |types: &[Type]| Set::new(Family::INET, "web", "s", types);
    let mut nets = set(&[Type::IPV4]).with_intervals();
    nets.elements.extend(Element::range(&[10, 0, 0, 0], &[10, 255, 255, 255]));
    nets.elements.extend(Element::range(&[11, 0, 0, 0], &[11, 0, 0, 255]));
    nets.elements.extend(Element::range(&[255, 0, 0, 0], &[255, 255, 255, 255]));
    for (key, found) in [
        ([9, 255, 255, 255], false),
        ([10, 0, 0, 0], true),
        ([10, 255, 255, 255], true),
        ([11, 0, 0, 0], true),
        ([11, 0, 1, 0], false),
        ([255, 255, 255, 255], true),
    ] {
        assert_eq!(nets.find(&key).is_some(), found, "{key:?}");
    }
    let mut pairs = set(&[Type::IPV4, Type::SERVICE]).with_intervals();
    let key = |address: [u8; 4], port: u16| concat(&[&address, &port.to_be_bytes()]);
    pairs.elements.push(Element::new(key([127, 0, 0, 0], 80)).up_to(key([127, 255, 255, 255], 90)));
    assert!(pairs.find(&key([127, 3, 2, 1], 85)).is_some());
    assert!(pairs.find(&key([127, 3, 2, 1], 91)).is_none() && pairs.find(&key([126, 3, 2, 1], 85)).is_none());
    let mut plain = set(&[Type::SERVICE]);
    plain.elements.push(Element::new([0, 80]));
    assert!(plain.find(&[0, 80]).is_some() && plain.find(&[0, 81]).is_none());
}

#[test]
fn what_is_not_known_is_kept_by_name_and_not_written_again() {
    let mut batch = Batch::new();
    batch.add_rule(&rule("forward").counter().push(Expr::Other { name: "queue".to_owned() }));
    let error = batch.send(&mut Socket::open(libc::NETLINK_ROUTE).unwrap()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    // An expression of this name with one attribute.
    let mut message = Message::new(kind(NFT_MSG_NEWRULE), 0);
    message.nfgen(2, 0).name(NFTA_RULE_TABLE, "t").name(NFTA_RULE_CHAIN, "c");
    message.nest(NFTA_RULE_EXPRESSIONS, |m| {
        for name in ["numgen", "match"] {
            m.nest(NFTA_LIST_ELEM, |m| {
                m.name(NFTA_EXPR_NAME, name).nest(NFTA_EXPR_DATA, |m| {
                    m.name(NFTA_MATCH_NAME, "addrtype").be32(NFTA_MATCH_REV, 1).bytes(NFTA_MATCH_INFO, &[1, 2]);
                });
            });
        }
    });
    let rules = every(&message.finish().unwrap(), NFT_MSG_NEWRULE, rule::read).unwrap();
    let xt = Expr::Xt { target: false, name: "addrtype".to_owned(), revision: 1, info: vec![1, 2] };
    assert_eq!(rules[0].expressions, [Expr::Other { name: "numgen".to_owned() }, xt]);
}

/// Rules of iptables-nft and of nft, as the kernel lists them.
#[test]
fn foreign_rules_are_read() {
    let answer: Vec<u8> = hex(include_str!("../../tests/golden/foreign.hex"));
    let rules = every(&answer, NFT_MSG_NEWRULE, rule::read).unwrap();
    let xt = |name: &str| {
        let has = |e: &Expr| matches!(e, Expr::Xt { name: found, .. } if found == name);
        rules.iter().any(|rule| rule.expressions.iter().any(has))
    };
    assert!(xt("MASQUERADE") && xt("DNAT") && xt("addrtype") && xt("conntrack"));
    let docker = rules.iter().find(|rule| rule.chain == "PREROUTING").unwrap();
    assert_eq!(
        (docker.table.as_str(), docker.expressions.last()),
        ("nat", Some(&Expr::Verdict(Verdict::Jump("DOCKER".to_owned()))))
    );
    let post = rules.iter().find(|rule| rule.chain == "POSTROUTING").unwrap();
    // iptables-nft compares no more of a name than there is of it.
    let Expr::Cmp { how, value, .. } = &post.expressions[1] else { panic!("{post:?}") };
    assert_eq!((*how, &value[..]), (Compare::NotEqual, &b"docker0\0"[..]));
    assert!(!how.holds(&ifname("docker0"), value) && how.holds(&ifname("docker01"), value));
    let firewalld: Vec<_> = rules.iter().filter(|rule| rule.table == "firewalld").collect();
    let answers = Expr::Lookup { from: Register::R1, to: None, set: "__set0".to_owned(), id: None, inverted: false };
    assert_eq!(firewalld[0].expressions[1..], [answers, Expr::Verdict(Verdict::Accept)]);
    assert!(firewalld.iter().any(|rule| rule.expressions.contains(&Expr::Other { name: "dynset".to_owned() })));
    assert!(firewalld.iter().any(|rule| rule.expressions == [Expr::Reject { kind: 2, code: 3 }]));
    mangle(&answer[..1200], |bytes| drop(every(bytes, NFT_MSG_NEWRULE, rule::read)));
}

#[test]
fn a_comment_that_is_too_long_is_an_error() {
    let long = |length: usize| {
        let mut batch = Batch::new();
        batch.add_rule(&rule("forward").comment(&"x".repeat(length)));
        batch.messages()[0].clone().finish().is_ok()
    };
    assert!(long(128) && !long(129) && !long(300));
}

#[test]
fn the_question_for_the_generation_is_what_nft_sends() {
    // The first message of `nft list ruleset`, nftables 1.0.6. The acknowledgement is asked for by Socket::get.
    let golden = hex("14 00 00 00 10 0a 01 00  00 00 00 00 00 00 00 00  00 00 00 00");
    assert_eq!(question(NFT_MSG_GETGEN, Family(0)).finish().unwrap(), golden);
}

#[test]
fn the_generation_is_read() {
    // Linux 6.18's answer to it, in a fresh network namespace.
    let answer = hex("2c 00 00 00 0f 0a 00 00  00 00 00 00 eb 79 00 00
                      00 00 00 01 08 00 01 00  00 00 00 01 08 00 02 00
                      00 00 79 eb 08 00 03 00  6e 66 74 00");
    assert_eq!(read_generation(&answer).unwrap(), 1);
    mangle(&answer, |bytes| drop(read_generation(bytes)));
}
