//! The picture, and (by hand) the whole in namespaces that a script has made: `by_hand`.

use super::*;

fn hops() -> Vec<Hop> {
    vec![
        Hop::good("container", "lo", "up"),
        Hop::bad("container", "eth0", "down\n\x1b", "why ".repeat(40), "do").fix(Fix::Reload),
        Hop::note("uplink", "a name that is long enough for two", "x", "y"),
        Hop::good("port 80/tcp", "0.0.0.0:80", "answers"),
    ]
}

#[test]
fn the_picture_keeps_its_shape() {
    let text = picture(&hops(), false);
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    assert!(!text.contains('\x1b') && text.contains("down??"), "{text}");
    assert!(text.starts_with("● container\n│  ✓ lo"), "{text}");
    assert!(text.contains("\n● uplink\n   · a name that is long enough for two x\n"), "{text}");
    assert!(text.ends_with("1 fault, which --fix mends\n"), "{text}");
    let coloured = picture(&hops(), true);
    assert!(coloured.contains("\x1b[1;31m✗\x1b[0m eth0"), "{coloured}");
    assert_eq!(picture(&[], false), "all well\n");
    assert!(!is_well(&hops()) && is_well(&[]));
}

#[test]
fn programs_get_all_of_it() {
    let Value::List(list) = json(&hops()) else { panic!() };
    assert_eq!(list[1].get("Fixable"), Some(&Value::Bool(true)));
    assert_eq!(list[2].get("Health"), Some(&"note".into()));
    assert_eq!(list[0].get("Place"), Some(&"container".into()));
}

/// Judges what a script has made: `DIAGNOSE="PID PORTS"`, where a container of that process has 10.88.0.2/16 on eth0,
/// ve0.0 on ctr0, and publishes PORTS (`tcp/0.0.0.0/8080/80/10.88.0.2`, commas between); `FIX=1` mends until nothing
/// is left to mend.
#[test]
#[ignore = "by hand, in namespaces that were made for it"]
fn by_hand() {
    let asked = std::env::var("DIAGNOSE").unwrap();
    let (pid, ports) = asked.split_once(' ').unwrap();
    let port = |text: &str| {
        let words: Vec<&str> = text.split('/').collect();
        let protocol = if words[0] == "udp" { 17 } else { 6 };
        let number = |n: usize| words[n].parse().unwrap();
        Port {
            protocol,
            at: words[1].parse().unwrap(),
            host: number(2),
            inside: number(3),
            to: words[4].parse().unwrap(),
        }
    };
    let var = |name: &str| std::env::var(name).ok();
    let (v6, macvlan) = (var("V6").is_some(), var("MACVLAN").is_some());
    let joined = Joined {
        network: "bridge".to_owned(),
        link: if macvlan { "eth9".to_owned() } else { "ctr0".to_owned() },
        macvlan,
        internal: var("INTERNAL").is_some(),
        inside: "eth0".to_owned(),
        veth: "ve0.0".to_owned(),
        v4: Some(if macvlan { ([192, 0, 2, 9].into(), 24) } else { ([10, 88, 0, 2].into(), 16) }),
        gateway4: Some(if macvlan { [192, 0, 2, 254].into() } else { [10, 88, 0, 1].into() }),
        v6: v6.then(|| ("fd00:88::2".parse().unwrap(), 64)),
        gateway6: v6.then(|| "fd00:88::1".parse().unwrap()),
        ..Joined::default()
    };
    let subject = Subject {
        name: "web".to_owned(),
        pid: pid.parse().unwrap(),
        resolv_conf: var("RESOLV").unwrap_or_else(|| "nameserver 192.0.2.53\n".to_owned()),
        table: "ctr".to_owned(),
        joined: vec![joined],
        ports: ports.split(',').filter(|text| !text.is_empty()).map(port).collect(),
        forwarded: false,
    };
    let began = crate::sys::now();
    let mut hops = diagnose(&subject).unwrap();
    let took = (crate::sys::now() - began) / 1_000_000;
    println!("{}took {took} ms", picture(&hops, false));
    if var("FIX").is_some() {
        for _ in 0..4 {
            let mended: Vec<_> =
                hops.iter().filter(|hop| hop.health == Health::Bad).map(|hop| mend(&subject, hop)).collect();
            println!("mended: {mended:?}");
            hops = diagnose(&subject).unwrap();
        }
        println!("{}", picture(&hops, false));
    }
}

/// What cannot be made in a namespace: the table of connections is one for the whole machine.
#[test]
fn a_full_table_of_connections_is_a_fault() {
    let subject = Subject { joined: vec![Joined::default()], ..Subject::default() };
    let of = |tracked| {
        let look = Look { tracked: Some(tracked), ..Look::default() };
        let hops = judge::judge(&subject, &look, &Heard::default());
        hops.into_iter().find(|hop| hop.about == "connections").map(|hop| hop.health)
    };
    assert_eq!(of((100, 65_536)), None);
    assert_eq!(of((65_000, 65_536)), Some(Health::Note));
    assert_eq!(of((65_536, 65_536)), Some(Health::Bad));
    assert_eq!(of((0, 0)), None);
}

/// A kernel without nf_tables, without a bridge's driver, and with iptables of its own.
#[test]
fn what_the_kernel_lacks_is_named() {
    let joined = Joined { link: "ctr0".to_owned(), ..Joined::default() };
    let subject = Subject { joined: vec![joined], ..Subject::default() };
    let look = Look { lacking: vec!["bridge"], legacy: vec!["ip nat".to_owned()], ..Look::default() };
    let hops = judge::judge(&subject, &look, &Heard::default());
    let mends: Vec<&str> = hops.iter().map(|hop| hop.mend.as_str()).collect();
    assert!(mends.iter().any(|mend| mend.starts_with("modprobe bridge")), "{mends:?}");
    assert!(mends.iter().any(|mend| mend.starts_with("modprobe -a nf_tables")), "{mends:?}");
    assert!(hops.iter().any(|hop| hop.health == Health::Note && hop.found.contains("ip nat")));
}
