//! `ctr doctor CONTAINER`: all well where all is well, and each thing that can be wrong with a network, done to it on purpose, is named.

use super::*;

/// What puts it right.
enum Cure {
    /// `--fix`.
    Fix,
    /// The commands that doctor gives, and then `--fix` for what was lost with it.
    Mend,
    /// Whoever brought it about.
    Heal,
}

/// Something that is wrong.
struct Fault {
    what: &'static str,
    /// A script that brings it about. `inside` runs a command in the container's network.
    set: &'static str,
    /// One word of each list is in what is found.
    words: &'static [&'static [&'static str]],
    cure: Cure,
    /// Takes away what was brought about.
    after: &'static str,
}

const fn ours(what: &'static str, set: &'static str, words: &'static [&'static [&'static str]]) -> Fault {
    Fault { what, set, words, cure: Cure::Fix, after: "" }
}

const fn mends(
    what: &'static str,
    set: &'static str,
    words: &'static [&'static [&'static str]],
    after: &'static str,
) -> Fault {
    Fault { what, set, words, cure: Cure::Mend, after }
}

const fn theirs(
    what: &'static str,
    set: &'static str,
    words: &'static [&'static [&'static str]],
    after: &'static str,
) -> Fault {
    Fault { what, set, words, cure: Cure::Heal, after }
}

/// The commands in rows.
fn commands(rows: &str) -> BTreeSet<String> {
    let bad = rows.lines().filter(|row| row.contains("\"Health\": \"bad\""));
    let texts = bad.filter_map(|row| row.split("\"Mend\": \"").nth(1)?.split("\", \"Fixable\"").next());
    texts.map(|text| text.replace("\\\"", "\"").replace("\\\\", "\\")).filter(|text| !text.is_empty()).collect()
}

/// The rows of `doctor NAME --format json` that are not good, one a line, and its exit code; and all of them.
fn rows(s: &Site, name: &str) -> (i32, String, String) {
    let done = s.ctr(&["doctor", name, "--format", "json"]);
    let all: Vec<String> =
        done.out.split('{').skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert!(!all.is_empty() && all.iter().all(|row| row.contains("\"Health\": ")), "{done:#?}");
    let bad: Vec<&str> = all.iter().map(String::as_str).filter(|row| !row.contains("\"Health\": \"good\"")).collect();
    (done.code, bad.join("\n"), format!("{}\n{}", all.join("\n"), done.err))
}

#[track_caller]
fn healthy(s: &Site, name: &str, when: &str) {
    let (code, bad, all) = rows(s, name);
    assert!(code == 0 && !bad.contains("\"bad\""), "{when}: exit {code}: {bad}\nof {all}");
    let done = s.ctr(&["doctor", name]);
    assert!(done.code == 0 && !done.out.contains('✗') && !done.out.is_empty(), "{when}: {done:#?}");
}

impl Site {
    /// The words that scripts of faults use.
    fn stage(&self, name: &str, network: &str) -> String {
        let e = self.ends(name, network);
        let veth = self.field(name, &format!("{{{{.NetworkSettings.Networks.{network}.HostInterface}}}}"));
        let bridge = self.ok(&["network", "inspect", "--format", "{{.Link}}", network]);
        format!(
            "P={} V={veth} B={} IP={} GW={} IP6={} GW6={} LAN={}
            inside() {{ nsenter --net=/proc/$P/ns/net \"$@\"; }}\n",
            self.pid(name),
            bridge.trim(),
            e.address,
            e.gateway,
            e.address6,
            e.gateway6,
            self.lan().pid()
        )
    }

    /// Each of them, one after the other, done to a container of its own.
    #[track_caller]
    fn suffers(&self, options: &[&str], faults: &[Fault]) {
        let mut wrong = Vec::new();
        for fault in faults {
            self.web("web", options);
            healthy(self, "web", fault.what);
            let stage = self.stage("web", "bridge");
            sh(&format!("{stage}{}", fault.set));
            let (code, bad, all) = rows(self, "web");
            let low = bad.to_lowercase();
            let named = fault.words.iter().all(|any| any.iter().any(|word| low.contains(&word.to_lowercase())));
            if code != 1 || !named {
                wrong.push(format!("{}: exit {code}, not named: {bad}\n  of {all}", fault.what));
            }
            let shown = self.ctr(&["doctor", "web"]);
            if shown.code != 1 || !shown.out.contains('✗') {
                wrong.push(format!("{}: as a table: {shown:#?}", fault.what));
            }
            let mut fixed = format!("{:#?}", self.ctr(&["doctor", "web", "--fix"]));
            match fault.cure {
                Cure::Fix => {}
                Cure::Mend => {
                    // Not ours to change: it is told how.
                    let todo = commands(&bad);
                    let script: Vec<&str> = todo.iter().map(String::as_str).collect();
                    let ctr = format!("ctr() {{ {} \"$@\"; }}\n", ctr_path().display());
                    let done = try_sh(&format!("{ctr}{}", script.join("\n")));
                    let more = self.ctr(&["doctor", "web", "--fix"]);
                    fixed = format!("{todo:#?} {done:#?} {more:#?}");
                }
                Cure::Heal => {
                    let (code, ..) = rows(self, "web");
                    if code != 1 {
                        wrong.push(format!("{}: not there any more after --fix: {fixed}", fault.what));
                    }
                    let _ = try_sh(&format!("{stage}{}", fault.after));
                }
            }
            // All is well again; and not only by its own word.
            let (code, bad, _) = rows(self, "web");
            let reached = self.get("lan", &format!("{US}:8080"), 2);
            if code != 0 || !reached.out.contains("web") {
                wrong.push(format!("{}: not put right: {bad}\n  {fixed}\n  {reached:#?}", fault.what));
            }
            if !matches!(fault.cure, Cure::Heal) {
                let _ = try_sh(&format!("{stage}{}", fault.after));
            }
            self.rm(&["web"]);
            // Whatever was done to what is everybody's.
            self.ok(&["network", "prune", "-f"]);
        }
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), faults.len(), wrong.join("\n"));
    }
}

#[test]
fn where_all_is_well_it_says_so() {
    let s = Site::new();
    s.ok(&["network", "create", "n"]);
    s.ok(&["network", "create", "--internal", "in"]);
    s.ok(&[
        "network",
        "create",
        "-d",
        "macvlan",
        "-o",
        "parent=up0",
        "--subnet",
        "192.0.2.0/24",
        "--gateway",
        THEM,
        "mac",
    ]);
    s.web("pod", &["-p", "8080:80"]);
    for (name, options) in [
        ("plain", &[][..]),
        (
            "published",
            &["-p", "8081:80", "-p", "127.0.0.1:8082:80", "-p", "192.0.2.1:8083:80", "-p", "[::1]:8084:80"],
        ),
        ("own", &["--network", "n", "--network", "bridge", "-p", "8081:80", "--network-alias", "x"]),
        ("internal", &["--network", "in"]),
        ("mac", &["--network", "mac", "--ip", "192.0.2.50"]),
        ("none", &["--network", "none"]),
        ("fixed", &["--ip", "10.88.0.99", "--mac-address", "02:11:22:33:44:55", "--userns=host"]),
        ("dns", &["--dns", THEM, "--add-host", "x:192.0.2.9"]),
    ] {
        s.web(name, options);
        healthy(&s, name, name);
        s.rm(&[name]);
    }
    for (name, network) in [("host", "host"), ("side", "container:pod")] {
        s.idle(name, &["--network", network]);
        healthy(&s, name, name);
        s.rm(&[name]);
    }
    // It looks, and changes nothing; also with --fix.
    s.web("web", &["-p", "8081:80", "-p", "127.0.0.1:8082:80"]);
    let before = s.picture();
    for words in [&["doctor", "web"][..], &["doctor", "web", "--fix"], &["doctor", "web", "--format", "json"]] {
        s.ctr(words).code(0);
        s.unchanged(&before, "doctor");
    }
    s.reads("lan", &format!("{US}:8081"), "web");
    s.bad(&["doctor", "nobody"], &["nobody"]);
    // One that does not run has nothing that could be looked at: that is said.
    s.halt("stop", "web");
    let done = s.ctr(&["doctor", "web"]);
    assert!(done.code != 0 && format!("{}{}", done.out, done.err).contains("run"), "{done:#?}");
    s.rm(&["web", "pod"]);
    s.end();
}

#[test]
fn faults_inside_the_container() {
    let s = Site::new();
    s.suffers(
        &["-p", "8080:80"],
        &[
            ours("lo is down", "inside ip link set lo down", &[&["lo"], &["down"]]),
            ours("eth0 is down", "inside ip link set eth0 down", &[&["eth0"], &["down"]]),
            mends(
                "eth0 has another name",
                "inside ip link set eth0 down; inside ip link set eth0 name other0; inside ip link set other0 up",
                &[&["eth0"], &["other0"]],
                "",
            ),
            mends("eth0 is somewhere else", "inside ip link set eth0 netns $LAN", &[&["eth0"]], ""),
            mends("eth0 is gone", "inside ip link del eth0", &[&["eth0"]], ""),
            ours("no address", "inside ip addr flush dev eth0 scope global", &[&["address", "10.88.0."]]),
            ours("no IPv4 address", "inside ip addr del $IP/16 dev eth0", &[&["address", "10.88.0."]]),
            ours(
                "another prefix",
                "inside ip addr del $IP/16 dev eth0; inside ip addr add $IP/24 dev eth0; inside ip route add default via $GW",
                &[&["/24", "/16", "prefix"]],
            ),
            ours("another address", "inside ip addr del $IP/16 dev eth0; inside ip addr add 10.88.7.7/16 dev eth0; inside ip route add default via $GW", &[&["10.88."]]),
            ours("no default route", "inside ip route del default", &[&["route"]]),
            ours("no default route of IPv6", "inside ip -6 route del default", &[&["route"]]),
            ours(
                "a default route to nobody",
                "inside ip route replace default via 10.88.99.99",
                &[&["route", "gateway", "10.88.99.99"]],
            ),
            ours("another MTU", "inside ip link set eth0 mtu 9000", &[&["mtu"]]),
        ],
    );
    s.end();
}

#[test]
fn faults_of_this_host() {
    let s = Site::new();
    s.suffers(
        &["-p", "8080:80"],
        &[
            ours("the other end is down", "ip link set $V down", &[&["down"]]),
            ours("not in the bridge", "ip link set $V nomaster", &[&["bridge", "ctr0"]]),
            mends(
                "in another bridge",
                "ip link add odd0 type bridge; ip link set odd0 up; ip link set $V master odd0",
                &[&["bridge", "ctr0", "odd0"]],
                "ip link del odd0",
            ),
            ours("no gateway address", "ip addr del $GW/16 dev $B", &[&["gateway", "10.88.0.1"]]),
            ours("the bridge is down", "ip link set $B down", &[&["ctr0", "bridge"], &["down"]]),
            ours("no forwarding", "sysctl -qw net.ipv4.ip_forward=0", &[&["ip_forward", "forwarding"]]),
            ours("no forwarding of IPv6", "sysctl -qw net.ipv6.conf.all.forwarding=0", &[&["forwarding"]]),
            ours("no table", "nft delete table inet ctr", &[&["nf_tables", "table", "nft", "rules"]]),
            ours("everything flushed", "nft flush ruleset", &[&["nf_tables", "table", "nft", "rules"]]),
            ours("no masquerading", "nft flush chain inet ctr postrouting", &[&["masquerad", "nat", "postrouting"]]),
            ours("no rules for what passes", "nft flush chain inet ctr forward", &[&["forward"]]),
            ours(
                "no rules for what arrives",
                "nft flush chain inet ctr prerouting",
                &[&["prerouting", "8080", "dnat"]],
            ),
            ours("not published", "nft flush map inet ctr any4", &[&["8080", "any4"]]),
            ours(
                "published somewhere else",
                "nft flush map inet ctr any4; nft add element inet ctr any4 '{ tcp . 8080 : 10.88.99.99 . 80 }'",
                &[&["8080"]],
            ),
            ours("not a network of ours", "nft flush set inet ctr bridges", &[&["bridges", "ctr0"]]),
        ],
    );
    s.end();
}

#[test]
fn faults_of_others() {
    let s = Site::new();
    s.suffers(
        &["-p", "8080:80"],
        &[
            theirs(
                "somebody has its address",
                "ip link add twin0 type veth peer name twin1 netns $LAN; ip link set twin0 master $B up
                nsenter --net=/proc/$LAN/ns/net sh -ec \"ip addr add $IP/32 dev twin1; ip link set twin1 up\"",
                &[&["duplicate", "twice", "another", "somebody", "second", "also"], &["10.88.0.2"]],
                "ip link del twin0",
            ),
            mends(
                "a chain that drops what passes",
                "nft 'table inet guardian { chain passing { type filter hook forward priority 5; policy drop; }; }'",
                &[&["guardian"]],
                "nft delete table inet guardian",
            ),
            mends(
                "a chain with a rule that drops",
                "nft 'table inet guardian { chain passing { type filter hook forward priority 5; policy accept; ct state established,related accept; drop; }; }'",
                &[&["guardian"]],
                "nft delete table inet guardian",
            ),
            mends("iptables", "iptables-nft -P FORWARD DROP", &[&["FORWARD"]], "nft delete table ip filter"),
            theirs(
                "no way out",
                "ip route del default",
                &[&["default route", "no route"]],
                "ip route add default via 192.0.2.2",
            ),
            mends(
                "smaller packets on the uplink",
                "ip link set up0 mtu 1300",
                &[&["mtu"]],
                "ip link set up0 mtu 1500",
            ),
        ],
    );
    s.end();
}

/// What the old iptables have is not to be read by nf_tables: that they are there is said.
#[test]
fn the_old_iptables_are_mentioned() {
    let s = Site::new();
    sh("iptables-legacy -P FORWARD DROP");
    s.web("web", &["-p", "8080:80"]);
    s.fails("lan", &format!("{US}:8080"));
    let (_, found, all) = rows(&s, "web");
    assert!(found.contains("iptables-legacy"), "{all}");
    sh("iptables-legacy -P FORWARD ACCEPT");
    s.rm(&["web"]);
    s.end();
}

#[test]
fn faults_of_its_services() {
    let s = Site::new();
    // What is there to be found has to do with the command, not with the network: each has a container of its own.
    let serve =
        |listen: &str| format!("mkdir /w; echo web >/w/index.html; httpd -p {listen} -h /w; exec sleep 100000");
    let mut wrong = Vec::new();
    for (what, script, exec, words) in [
        ("nobody listens", "exec sleep 100000".to_owned(), "", &["listen"][..]),
        ("by loopback alone", serve("127.0.0.1:80"), "", &["127.0.0.1", "listen"]),
        ("somewhere else", serve("81"), "", &["listen"]),
        ("no name server", serve("80"), ": >/etc/resolv.conf", &["resolv.conf", "name server"]),
        ("a name server on loopback", serve("80"), "echo nameserver 127.0.0.1 >/etc/resolv.conf", &["127.0.0.1"]),
    ] {
        s.go("web", &["-p", "8080:80"], busybox(), &["sh", "-c", &script]);
        if script.contains("httpd") {
            let port = if script.contains("81") { 81 } else { 80 };
            s.listens("web", "tcp", port);
        }
        if !exec.is_empty() {
            s.says("web", exec);
        }
        let (code, bad, all) = rows(&s, "web");
        let low = bad.to_lowercase();
        if code != 1 || !words.iter().any(|word| low.contains(word)) {
            wrong.push(format!("{what}: exit {code}: {bad}\n  of {all}"));
        }
        s.rm(&["web"]);
    }
    // What is outside listens where it was not before.
    s.web("web", &["-p", "192.0.2.1:8080:80"]);
    let program = s.program(false, "tcp", US, 8080, "theirs");
    let (code, bad, all) = rows(&s, "web");
    if code != 1 || !bad.contains("8080") {
        wrong.push(format!("the port is taken: exit {code}: {bad}\n  of {all}"));
    }
    drop(program);
    s.rm(&["web"]);
    // An address of this host that it has no longer.
    sh("ip addr add 192.0.2.3/24 dev up0");
    s.web("web", &["-p", "192.0.2.3:8080:80"]);
    healthy(&s, "web", "with the address");
    sh("ip addr del 192.0.2.3/24 dev up0");
    let (code, bad, all) = rows(&s, "web");
    if code != 1 || !bad.contains("192.0.2.3") {
        wrong.push(format!("the address is gone: exit {code}: {bad}\n  of {all}"));
    }
    s.rm(&["web"]);
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    s.end();
}
