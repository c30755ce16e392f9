//! Networks, from outside: what reaches whom, what must not, and what is left behind. Other hosts are network namespaces that the test
//! makes itself.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::*;

/// Another host on the wire, 192.0.2.2 and 2001:db8:1::2, by way of which this one has its default route; we are `.1` and `::1`.
struct Lan {
    child: Child,
}

fn sh(line: &str) -> Done {
    finish(Command::new("sh").args(["-c", line]))
}

/// A command that must do.
#[track_caller]
fn must(line: &str) -> String {
    let done = sh(line);
    assert_eq!(done.code, 0, "{line}: {done:#?}");
    done.out
}

impl Lan {
    fn new() -> Lan {
        Lan::with(1500)
    }

    fn with(mtu: u32) -> Lan {
        must("ip link set lo up");
        let child = Command::new("unshare").args(["-n", "sleep", "600"]).stdin(Stdio::null()).spawn().unwrap();
        let lan = Lan { child };
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        until("a network namespace", || {
            fs::read_link(format!("/proc/{}/ns/net", lan.child.id())).ok().filter(|other| *other != own)
        });
        let pid = lan.child.id();
        must(&format!("ip link add up0 mtu {mtu} type veth peer name lan0 mtu {mtu} netns {pid}"));
        must(
            "ip addr add 192.0.2.1/24 dev up0 && ip addr add 192.0.2.7/24 dev up0 && ip -6 addr add 2001:db8:1::1/64 nodad dev up0",
        );
        must("ip link set up0 up");
        lan.must("ip link set lo up && ip addr add 192.0.2.2/24 dev lan0 && ip -6 addr add 2001:db8:1::2/64 nodad dev lan0");
        lan.must("ip link set lan0 up");
        must("ip route replace default via 192.0.2.2 && ip -6 route replace default via 2001:db8:1::2");
        lan
    }

    fn sh(&self, line: &str) -> Done {
        finish(Command::new("nsenter").args(["-t", &self.child.id().to_string(), "-n", "sh", "-c", line]))
    }

    #[track_caller]
    fn must(&self, line: &str) -> String {
        let done = self.sh(line);
        assert_eq!(done.code, 0, "{line}: {done:#?}");
        done.out
    }

    /// A web server there that says who asks.
    fn serve(&self, scratch: &Scratch) -> Server {
        let www = www(scratch);
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.child.id().to_string(), "-n", "busybox", "httpd", "-f", "-p", "80", "-h", &www]);
        let server = Server(command.spawn().unwrap());
        until("the web server there", || {
            (self.sh("curl -s -m 1 http://127.0.0.1/cgi-bin/who").code == 0).then_some(())
        });
        server
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let _ = sh("ip link del up0");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory for `busybox httpd` whose /cgi-bin/who says who asks.
fn www(scratch: &Scratch) -> String {
    use std::os::unix::fs::PermissionsExt;
    let www = scratch.join("www");
    fs::create_dir_all(www.join("cgi-bin")).unwrap();
    let script = www.join("cgi-bin/who");
    fs::write(&script, "#!/bin/sh\necho; echo from $REMOTE_ADDR | tr -d '[]' | sed s/::ffff://\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&www, fs::Permissions::from_mode(0o755)).unwrap();
    www.display().to_string()
}

/// `ctr WORDS…`, which must do.
#[track_caller]
fn ctr_must(words: &str) -> String {
    let done = finish(&mut plain(words.split_whitespace()));
    assert_eq!(done.code, 0, "ctr {words}: {done:#?}");
    done.out
}

/// A container of busybox that serves /cgi-bin/who at port 80.
#[track_caller]
fn web(name: &str, options: &str, scratch: &Scratch) -> String {
    let volume = format!("{}:/www", www(scratch));
    let mut words = vec!["run", "-d", "--name", name, "-v", &volume];
    words.extend(options.split_whitespace());
    words.extend([busybox(), "httpd", "-f", "-p", "80", "-h", "/www"]);
    let done = finish(&mut plain(words)).code(0);
    inside(name, "until timeout 1 wget -qO- http://127.0.0.1/cgi-bin/who; do :; done");
    done.err
}

/// A line for a shell in a container.
#[track_caller]
fn inside(name: &str, line: &str) -> String {
    let done = finish(&mut plain(["exec", name, "sh", "-c", line]));
    assert_eq!(done.code, 0, "{name}: {line}: {done:#?}");
    done.out
}

fn curl(at: &str) -> Done {
    sh(&format!("curl -s -m 3 {at}/cgi-bin/who"))
}

/// A value of `inspect`.
#[track_caller]
fn inspect(name: &str, field: &str) -> String {
    let done = finish(&mut plain(["inspect", "-f", &format!("{{{{{field}}}}}"), name])).code(0);
    done.out.trim().to_owned()
}

fn address(name: &str) -> String {
    inspect(name, ".NetworkSettings.IPAddress")
}

fn forwarding() -> String {
    fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim().to_owned()
}

/// No network at all, whatever earlier tests have left.
fn no_networks() {
    ctr_must("network prune -f");
    // What ctrs with other state folders have left, in other tests.
    sh(
        "nft list tables | sed -n 's/^table inet \\(ctr-[0-9a-f]*\\)$/\\1/p' | while read t; do nft delete table inet $t; ip link del ctr0${t#ctr-}; done",
    );
    assert_eq!(sh("nft list ruleset").out, "");
}

#[test]
fn a_container_reaches_others_by_this_host() {
    no_networks();
    let (scratch, lan) = (Scratch::new("net-default"), Lan::with(1400));
    fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
    let host = Host::before();
    let _server = lan.serve(&scratch);
    let line = "ip -o addr show dev eth0; ip route; ip -6 route; cat /sys/class/net/eth0/mtu; \
        timeout 3 wget -qO- http://192.0.2.2/cgi-bin/who; timeout 3 wget -qO- 'http://[2001:db8:1::2]/cgi-bin/who'";
    let out = run([busybox(), "sh", "-c", line]).code(0).out;
    for wanted in [
        "inet 10.88.0.2/16",
        "inet6 fd",
        "default via 10.88.0.1 dev eth0",
        "default via fd",
        "\n1400\n",
        "from 192.0.2.1\n",
        "from 2001:db8:1::1\n",
    ] {
        assert!(out.contains(wanted), "no {wanted:?} in {out}");
    }
    let ra = fs::read_dir("/proc/sys/net/ipv6/conf").unwrap().flatten().map(|e| e.file_name().into_string().unwrap());
    let bridge = ra.into_iter().find(|name| name.starts_with("ctr0")).unwrap();
    assert_eq!(fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{bridge}/accept_ra")).unwrap().trim(), "0");
    assert_eq!(forwarding(), "1");
    host.same();
    // And off again with the last network.
    no_networks();
    assert_eq!(forwarding(), "0");
    // But not if it was on before.
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    run([busybox(), "true"]).code(0);
    no_networks();
    assert_eq!(forwarding(), "1");
    // No network of its own is asked for, and none is made.
    let out = run(["--network", "none", busybox(), "ip", "-o", "link"]).code(0).out;
    assert!(out.lines().count() == 1 && out.contains("lo:"), "{out}");
    assert_eq!(sh("nft list ruleset").out, "");
}

#[test]
fn published_ports_are_reached_from_everywhere() {
    let (scratch, lan) = (Scratch::new("net-ports"), Lan::new());
    let host = Host::before();
    web("web", "-p 8080:80 -p 192.0.2.7:8090:80", &scratch);
    let own = address("web");
    // From another host: by both families, and the source is kept.
    for (at, from) in [
        ("192.0.2.1:8080", "192.0.2.2"),
        ("192.0.2.7:8080", "192.0.2.2"),
        ("192.0.2.7:8090", "192.0.2.2"),
        ("[2001:db8:1::1]:8080", "2001:db8:1::2"),
    ] {
        let out = lan.must(&format!("curl -s -m 3 'http://{at}/cgi-bin/who'"));
        assert_eq!(out.trim(), format!("from {from}"), "{at}");
    }
    // From this host, by each of its addresses.
    for at in [
        "192.0.2.1:8080",
        "192.0.2.7:8090",
        "127.0.0.1:8080",
        "[::1]:8080",
        "[2001:db8:1::1]:8080",
        "10.88.0.1:8080",
        "localhost:8080",
        &format!("{own}:80"),
    ] {
        assert!(curl(&format!("'http://{at}'")).code(0).out.starts_with("from "), "{at}");
    }
    // From the container itself, and from a neighbour.
    for at in ["192.0.2.1:8080", "10.88.0.1:8080"] {
        assert!(inside("web", &format!("timeout 3 wget -qO- http://{at}/cgi-bin/who")).contains("from"), "{at}");
        let out = run([busybox(), "timeout", "3", "wget", "-qO-", &format!("http://{at}/cgi-bin/who")]).code(0).out;
        assert!(out.contains("from 10.88.0."), "{at}: {out}");
    }
    // Not at an address that was not named.
    assert_ne!(lan.sh("curl -s -m 1 http://192.0.2.1:8090/").code, 0);
    assert_eq!(ctr_must("port web 80"), "0.0.0.0:8080\n[::]:8080\n192.0.2.7:8090\n");
    assert!(ctr_must("ps").contains("0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 192.0.2.7:8090->80/tcp"));
    assert_eq!(inspect("web", "json .HostConfig.NetworkMode"), "\"bridge\"");
    assert_eq!(inspect("web", "(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort"), "8080");
    ctr_must("rm -f web");
    assert_ne!(lan.sh("curl -s -m 1 http://192.0.2.1:8080/").code, 0);
    host.same();
}

#[test]
fn ranges_any_port_and_datagrams() {
    let (scratch, lan) = (Scratch::new("net-ranges"), Lan::new());
    let host = Host::before();
    web("web", "-p 8100-8102:80-82 -p 80 -P --expose 81 --expose 90/udp", &scratch);
    let shown = ctr_must("port web");
    assert!(shown.contains("82/tcp -> 0.0.0.0:8102") && shown.contains("90/udp -> 0.0.0.0:"), "{shown}");
    let any: Vec<&str> =
        shown.lines().filter(|line| line.starts_with("80/tcp") && !line.ends_with(":8100")).collect();
    let port = any[0].rsplit(':').next().unwrap();
    assert_eq!(any.len(), 2, "{shown}");
    assert!(lan.must(&format!("curl -s -m 3 http://192.0.2.1:{port}/cgi-bin/who")).contains("from 192.0.2.2"));
    // Datagrams, from far and near; the echo's answer finds its way back.
    let echo = "import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(('::', 53))\nwhile 1: s.sendto(*s.recvfrom(9000))";
    finish(&mut plain(["run", "-d", "--name", "udp", "-p", "5353:53/udp", debian(), "python3", "-c", echo])).code(0);
    let ask = |at: &str| format!("timeout 2 bash -c 'exec 3<>/dev/udp/{at}/5353; echo hello >&3; head -n 1 <&3'");
    until("an answer far away", || lan.sh(&ask("192.0.2.1")).out.contains("hello").then_some(()));
    until("an answer by loopback", || sh(&ask("127.0.0.1")).out.contains("hello").then_some(()));
    ctr_must("rm -f web udp");
    host.same();
}

#[test]
fn only_what_is_published_is_reachable() {
    let (scratch, lan) = (Scratch::new("net-closed"), Lan::new());
    let host = Host::before();
    web("web", "-p 127.0.0.1:8080:80", &scratch);
    web("open", "-p 8081:80", &scratch);
    ctr_must("network create other");
    web("apart", "--network other", &scratch);
    let (web, open, apart) = (address("web"), address("open"), address("apart"));
    // Another host that knows the way, and one that lies about loopback (moby #41872, #45610).
    lan.must("ip route add 10.88.0.0/16 via 192.0.2.1 && ip route add 10.128.0.0/9 via 192.0.2.1");
    lan.must("sysctl -qw net.ipv4.conf.all.route_localnet=1 && ip route del local 127.0.0.0/8 dev lo table local; ip route add 127.0.0.0/8 via 192.0.2.1");
    fs::write("/proc/sys/net/ipv4/conf/up0/route_localnet", "1").unwrap();
    for at in [
        format!("{web}:80"),
        format!("{open}:80"),
        format!("{apart}:80"),
        "192.0.2.1:8080".into(),
        "127.0.0.1:8080".into(),
        "127.0.0.1:8081".into(),
    ] {
        let done = lan.sh(&format!("curl -s -m 1 --interface 192.0.2.2 http://{at}/cgi-bin/who"));
        assert!(done.code != 0 && done.out.is_empty(), "{at} is reached: {done:#?}");
    }
    assert!(lan.must("curl -s -m 3 http://192.0.2.1:8081/cgi-bin/who").contains("from 192.0.2.2"));
    assert!(curl("http://127.0.0.1:8080").code(0).out.contains("from"));
    // Networks do not see each other, but for what is published.
    let done =
        finish(&mut plain(["exec", "apart", "timeout", "1", "wget", "-qO-", &format!("http://{open}/cgi-bin/who")]));
    assert_ne!(done.code, 0, "{done:#?}");
    assert!(inside("apart", "timeout 3 wget -qO- http://192.0.2.1:8081/cgi-bin/who").contains("from"));
    // Nor the loopback of this host.
    let local = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = local.local_addr().unwrap().port();
    let done = finish(&mut plain(["exec", "web", "nc", "-w", "1", "10.88.0.1", &port.to_string()]));
    assert_ne!(done.code, 0, "{done:#?}");
    // An internal network leads nowhere.
    ctr_must("network create --internal inner");
    web_in("inside", "inner", &scratch);
    for at in ["192.0.2.2", "192.0.2.1:8081", &open] {
        let done = finish(&mut plain(["exec", "inside", "timeout", "1", "wget", "-qO-", &format!("http://{at}/")]));
        assert_ne!(done.code, 0, "{at}: {done:#?}");
    }
    ctr_must("rm -f web open apart inside");
    ctr_must("network rm other inner");
    host.same();
}

fn web_in(name: &str, network: &str, scratch: &Scratch) {
    web(name, &format!("--network {network}"), scratch);
}

#[test]
fn a_port_is_published_once() {
    let scratch = Scratch::new("net-taken");
    must("ip link set lo up");
    let host = Host::before();
    web("first", "-p 8080:80", &scratch);
    let again = |options: &[&str]| {
        let mut words = vec!["run", "--rm"];
        words.extend(options);
        words.extend([busybox(), "true"]);
        finish(&mut plain(words))
    };
    for options in [&["-p", "8080:80"][..], &["-p", "127.0.0.1:8080:80"], &["-d", "-p", "8080:1"]] {
        again(options).refused(&["8080/tcp", "published by the container first"]);
    }
    again(&["-p", "8080:80/udp"]).code(0);
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    again(&["-p", &format!("{port}:80")]).refused(&["is taken by another program"]);
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    again(&["-p", &format!("127.0.0.1:{port}:80/udp")]).refused(&["is taken by another program"]);
    again(&["-p", "192.0.2.99:8080:80"]).refused(&["this host has no address 192.0.2.99"]);
    ctr_must("rm -f first");
    again(&["-p", "8080:80"]).code(0);
    // Whoever had it and was killed without a word has it no more.
    web("gone", "-p 8080:80", &scratch);
    for pid in ["Supervisor.Pid", "State.Pid"] {
        signal(inspect("gone", &format!(".{pid}")).parse().unwrap(), 9);
    }
    until("the end of both", || (!ctr_must("ps").contains("gone")).then_some(()));
    until("the port", || (again(&["-p", "8080:80"]).code == 0).then_some(()));
    ctr_must("rm -f gone");
    host.same();
}

#[test]
fn names_come_and_go() {
    must("ip link set lo up");
    let host = Host::before();
    ctr_must("network create names");
    let run = |name: &str, more: &str| {
        ctr_must(&format!("run -d --name {name} --network names {more} {} sleep 600", busybox()))
    };
    let id = run("one", "");
    run(
        "two",
        "--network-alias db --network-alias db.example --add-host up:host-gateway --add-host far:192.0.2.9 --dns 192.0.2.53 --dns-search example.org --dns-option ndots:3",
    );
    for name in ["two", "db", "db.example"] {
        inside("one", &format!("ping -c1 -W2 {name}"));
    }
    for name in ["one", id.get(..12).unwrap(), "up"] {
        inside("two", &format!("ping -c1 -W2 {name}"));
    }
    assert!(inside("two", "cat /etc/hosts").contains("192.0.2.9\tfar"));
    assert_eq!(inside("two", "cat /etc/resolv.conf"), "search example.org\nnameserver 192.0.2.53\noptions ndots:3\n");
    // What somebody writes in there stays.
    inside("one", "echo 192.0.2.77 mine >> /etc/hosts");
    ctr_must("rename two three");
    inside("one", "ping -c1 -W2 three");
    assert_ne!(finish(&mut plain(["exec", "one", "ping", "-c1", "-W1", "two"])).code, 0);
    ctr_must("rm -f three");
    let hosts = inside("one", "cat /etc/hosts");
    assert!(!hosts.contains("three") && hosts.contains("192.0.2.77 mine"), "{hosts}");
    // On two networks at once, and on one no more.
    run("two", "--network bridge");
    inside("two", "ip -o addr show dev eth1 && ping -c1 -W2 one");
    ctr_must("network disconnect names two");
    assert_ne!(finish(&mut plain(["exec", "two", "ping", "-c1", "-W1", "one"])).code, 0);
    assert!(!inside("one", "cat /etc/hosts").split_whitespace().any(|word| word == "two"));
    ctr_must("network connect --alias again names two");
    inside("one", "ping -c1 -W2 again");
    inside("two", "ping -c1 -W2 one");
    ctr_must("restart -t 0 two");
    inside("one", "ping -c1 -W2 two");
    // The network of another one.
    let out = finish(&mut ctr([
        "run",
        "--network",
        "container:two",
        busybox(),
        "sh",
        "-c",
        "ip -o -4 addr; ping -c1 -W2 one; cat /etc/hosts",
    ]))
    .code(0)
    .out;
    assert!(out.contains(&address("two")) && out.contains("one"), "{out}");
    ctr_must("rm -f one two");
    ctr_must("network rm names");
    host.same();
}

#[test]
fn servers_on_the_hosts_loopback_are_not_handed_in() {
    let (scratch, host) = (Scratch::new("net-dns"), Host::before());
    let file = scratch.join("resolv.conf");
    let of = |text: &str| {
        fs::write(&file, text).unwrap();
        let line = format!(
            "mount --bind {} /etc/resolv.conf && exec {} run --rm {} cat /etc/resolv.conf",
            file.display(),
            ctr_path().display(),
            busybox()
        );
        finish(Command::new("unshare").args(["-m", "sh", "-c", &line])).code(0).out
    };
    assert_eq!(
        of("nameserver 127.0.0.53\nnameserver 192.0.2.53\nsearch x.org\n"),
        "search x.org\nnameserver 192.0.2.53\n"
    );
    assert!(of("nameserver 127.0.0.53\noptions edns0\n").contains("no name server of this host can be reached"));
    host.same();
}

#[test]
fn addresses() {
    must("ip link set lo up");
    let host = Host::before();
    ctr_must("network create --subnet 10.77.0.0/29 --subnet fd77::/64 --gateway 10.77.0.3 small");
    let run = |options: &str| {
        let words = format!("run -d --network small {options} {} sleep 600", busybox());
        finish(&mut plain(words.split_whitespace()))
    };
    run("--name fixed --ip 10.77.0.5 --ip6 fd77::55 --mac-address 02:00:00:00:00:07").code(0);
    let shown = inside("fixed", "ip -o addr; ip link show dev eth0; ip route");
    for wanted in ["10.77.0.5/29", "fd77::55/64", "02:00:00:00:00:07", "via 10.77.0.3"] {
        assert!(shown.contains(wanted), "no {wanted} in {shown}");
    }
    run("--ip 10.77.0.5").refused(&["the container fixed has it"]);
    run("--ip 10.77.0.3").refused(&["gateway"]);
    run("--ip 10.88.0.9").refused(&["the network small has 10.77.0.0/29"]);
    for name in ["b", "c", "d", "e"] {
        run(&format!("--name {name}")).code(0);
    }
    let all: BTreeSet<String> = ["fixed", "b", "c", "d", "e"].map(address).into();
    assert_eq!(all.len(), 5);
    run("").refused(&["no free address", "10.77.0.0/29"]);
    // One whose container was killed with all that looked after it is free again.
    for pid in ["Supervisor.Pid", "State.Pid"] {
        signal(inspect("c", &format!(".{pid}")).parse().unwrap(), 9);
    }
    until("an address", || (run("--name f").code == 0).then_some(()));
    finish(&mut plain(["network", "rm", "small"])).refused(&["in use by"]);
    ctr_must("rm -f fixed b c d e f");
    ctr_must("network rm small");
    host.same();
}

#[test]
fn bad_words() {
    must("ip link set lo up");
    let host = Host::before();
    let refused = |words: &str, wanted: &[&str]| {
        finish(&mut plain(words.split_whitespace())).refused(wanted);
    };
    for (words, wanted) in [
        ("--subnet 10.0.0.1/24 x", "--subnet"),
        ("--subnet 10.0.0.0/31 x", "too small"),
        ("--subnet 127.0.0.0/8 x", "reserved"),
        ("--subnet 0.0.0.0/0 x", "reserved"),
        ("--subnet 10.0.0.0/33 x", "more bits"),
        ("--subnet 10.0.0.0/24 --subnet 10.1.0.0/24 x", "at most"),
        ("--subnet 10.0.0.0/24 --gateway 10.0.1.1 x", "--gateway"),
        ("--gateway fd00::1 x", "--ipv6"),
        ("--mtu 12 x", "--mtu"),
        ("--driver overlay x", "--driver"),
        ("--driver macvlan x", "parent"),
        ("--driver macvlan -o parent=none0 --subnet 10.0.0.0/24 x", "no such link"),
        ("-o a=b x", "-o"),
        ("host", "something else"),
        ("../x", "bad name"),
        ("x y", "one NETWORK"),
    ] {
        refused(&format!("network create {words}"), &[wanted]);
    }
    ctr_must("network create --subnet 10.66.0.0/24 there");
    refused("network create there", &["already"]);
    refused("network create --subnet 10.66.0.128/25 x", &["overlaps", "there"]);
    must(
        "ip link add dummy7 type veth peer name dummy8 && ip addr add 10.65.0.1/24 dev dummy7 && ip link set dummy7 up",
    );
    refused("network create --subnet 10.65.0.0/16 x", &["overlaps", "route"]);
    must("ip link del dummy7");
    refused("network rm none-such", &["no network"]);
    refused("network inspect none-such", &["no network"]);
    refused("network frobnicate", &["unknown verb"]);
    refused("network connect there none-such", &["no container"]);
    refused("port none-such", &["no container"]);
    let root = busybox();
    for (words, wanted) in [
        ("--network none-such", "no network"),
        ("--network a/b", "bad --network"),
        ("--network container:none-such", "no container"),
        ("--network none -p 80", "-p"),
        ("--network host --ip 10.0.0.1", "--ip"),
        ("--network there --network there", "twice"),
        ("--network none --network there", "no other"),
        ("--network there --ip fd00::1", "--ip6"),
        ("--network there --ip6 fd00::1", "no IPv6"),
        ("-p 0:80", "bad -p"),
        ("-p 80:70000", "bad -p"),
        ("-p 80-90:80-85", "one length"),
        ("-p 80:80/icmp", "tcp, udp or sctp"),
        ("-p x:80", "bad -p"),
        ("-p 1.2.3:80:80", "no address"),
        ("-p 8080:80 -p 8080:81", "twice"),
        ("--expose x", "bad --expose"),
        ("--network-alias a..b", "bad alias"),
        ("--mac-address 01:00:00:00:00:00", "bad --mac-address"),
        ("--dns-search a..b", "bad --dns-search"),
        ("--network none --add-host x:host-gateway", "host-gateway"),
    ] {
        let done = finish(&mut plain(format!("run --rm {words} {root} true").split_whitespace()));
        if words.contains("host-gateway") {
            continue;
        }
        done.refused(&[wanted]);
    }
    ctr_must("network rm there");
    host.same();
}

#[test]
fn networks_are_seen_and_removed() {
    must("ip link set lo up");
    let host = Host::before();
    ctr_must("network create --subnet 10.67.0.0/24 --ipv6 --mtu 1300 --label a=b seen");
    ctr_must(&format!("run -d --name in --network seen -p 8085:80 {} sleep 600", busybox()));
    let shown = ctr_must("network ls");
    for wanted in
        ["seen  bridge  10.67.0.0/24  fd", "[ctr-", "10.67.0.1", "── in eth0  10.67.0.2/24", "0.0.0.0:8085->80/tcp"]
    {
        assert!(shown.contains(wanted), "no {wanted:?} in {shown}");
    }
    let json = ctr_must("network inspect seen");
    for wanted in [
        "\"Subnet\": \"10.67.0.0/24\"",
        "\"IPv4Address\": \"10.67.0.2/24\"",
        "\"Name\": \"in\"",
        "\"a\": \"b\"",
        "\"Mtu\": 1300",
    ] {
        assert!(json.contains(wanted), "no {wanted:?} in {json}");
    }
    assert_eq!(inside("in", "cat /sys/class/net/eth0/mtu").trim(), "1300");
    assert!(ctr_must("network ls -q").contains("seen\n"));
    assert!(ctr_must("network ls --format {{.Name}}/{{.Subnet}}").contains("seen/10.67.0.0/24"));
    ctr_must("network prune -f");
    assert!(ctr_must("network ls -q").contains("seen"));
    ctr_must("stop -t 0 in");
    // What a container that could be started again asks for stays too.
    ctr_must("network prune -f");
    assert!(ctr_must("network ls -q").contains("seen"));
    ctr_must("rm in");
    assert!(ctr_must("network prune -f").contains("seen"));
    // Another link's neighbour: macvlan.
    must("ip link add par0 type veth peer name par1 && ip link set par0 up && ip link set par1 up");
    ctr_must("network create --driver macvlan -o parent=par0 --subnet 192.0.2.128/25 mac");
    let both = "ip -o addr show dev eth0; ping -c1 -W2 one";
    ctr_must(&format!("run -d --name one --network mac {} sleep 600", busybox()));
    let out = finish(&mut ctr(["run", "--network", "mac", busybox(), "sh", "-c", both])).code(0).out;
    assert!(out.contains("192.0.2.131/25"), "{out}");
    ctr_must("rm -f one");
    ctr_must("network rm mac");
    must("ip link del par0");
    host.same();
}

#[test]
fn firewalls_of_others() {
    let (scratch, lan) = (Scratch::new("net-foreign"), Lan::new());
    no_networks();
    let host = Host::before();
    let _server = lan.serve(&scratch);
    must(
        "nft 'table inet theirs { chain input { type filter hook input priority 0; policy accept; tcp dport 1 drop; }; chain nat { type nat hook postrouting priority 50; }; }'",
    );
    must(
        "iptables-nft -A FORWARD -s 203.0.113.0/24 -j DROP && iptables-nft -t nat -A POSTROUTING -s 203.0.113.0/24 -j MASQUERADE",
    );
    let theirs = || must("nft -s list table inet theirs; nft -s list table ip filter; nft -s list table ip nat");
    let before = theirs();
    web("web", "-p 8080:80", &scratch);
    let reached = || lan.sh("curl -s -m 1 http://192.0.2.1:8080/cgi-bin/who").out.contains("from 192.0.2.2");
    let reaches = || {
        finish(&mut plain(["exec", "web", "timeout", "1", "wget", "-qO-", "http://192.0.2.2/cgi-bin/who"]))
            .out
            .contains("from 192.0.2.1")
    };
    assert!(reached() && reaches());
    assert_eq!(theirs(), before);
    // Somebody flushes everything: a command of ours, and any later container, make it whole again.
    must("nft flush ruleset");
    assert!(!reached() && !reaches());
    ctr_must("network reload");
    assert!(reached() && reaches());
    must("nft flush ruleset");
    run([busybox(), "true"]).code(0);
    assert!(reached() && reaches());
    // A chain of theirs that drops what passes is not ours to change: it is named, with what opens it.
    ctr_must("rm -f web");
    no_networks();
    must("iptables-nft -P FORWARD DROP");
    let before = must("nft -s list table ip filter");
    let said = web("web", "-p 8080:80", &scratch);
    assert!(said.contains("ip filter FORWARD") && said.contains("iptables -I FORWARD -i ctr0"), "{said}");
    assert!(!reached());
    assert_eq!(must("nft -s list table ip filter"), before);
    let open: Vec<&str> = said.split("to open it: ").nth(1).unwrap().lines().next().unwrap().split(" && ").collect();
    must(&open.join(" && ").replace("iptables ", "iptables-nft "));
    assert!(reached() && reaches());
    ctr_must("rm -f web");
    must("nft flush ruleset");
    host.same();
}

#[test]
fn what_a_killed_command_leaves_is_taken_away() {
    must("ip link set lo up");
    let host = Host::before();
    let name = "killed";
    ctr_must(&format!("run -d --name {name} -p 8086:80 {} sleep 600", busybox()));
    signal(inspect(name, ".Supervisor.Pid").parse().unwrap(), 9);
    until("its orphan", || ctr_must("ps").contains("supervisor was killed").then_some(()));
    // It goes on, with all that it has.
    assert!(ctr_must(&format!("port {name}")).contains("8086"));
    assert_eq!(sh("nft list map inet ctr any4").out.matches("8086").count(), 1);
    ctr_must(&format!("rm -f {name}"));
    assert_eq!(sh("nft list map inet ctr any4").out.matches("8086").count(), 0);
    host.same();
}

#[test]
fn many_at_once_have_addresses_of_their_own() {
    must("ip link set lo up");
    let host = Host::before();
    let count = 100;
    let script = format!(
        "seq {count} | xargs -P 16 -I N {} run -d --name many-N {} sh -c 'ping -c1 -W5 10.88.0.1 > /dev/null && sleep 600' > /dev/null",
        ctr_path().display(),
        busybox()
    );
    must(&script);
    let names: Vec<String> = (1..=count).map(|n| format!("many-{n}")).collect();
    let all: BTreeSet<String> = names.iter().map(|name| address(name)).collect();
    assert_eq!(all.len(), count, "an address was given twice");
    until("all of them to reach the gateway", || {
        (ctr_must("ps -q --filter name=many-").lines().count() == count).then_some(())
    });
    inside("many-1", "ping -c1 -W2 many-100 && ping -c1 -W2 many-50");
    must(&format!("{} rm -f {} > /dev/null", ctr_path().display(), names.join(" ")));
    host.same();
}

/// The root with real servers.
fn services() -> String {
    let path = cache().join("services-root");
    assert!(path.join("usr/sbin/nginx").exists(), "no root at {}: run tests/root/roots.sh", path.display());
    path.display().to_string()
}

#[test]
fn real_servers_and_clients() {
    let lan = Lan::new();
    let host = Host::before();
    let root = services();
    let start = |name: &str, options: &str, command: &str| {
        let mut words = vec!["run", "-d", "--name", name];
        words.extend(options.split_whitespace());
        words.extend([root.as_str(), "sh", "-c", command]);
        finish(&mut plain(words)).code(0);
    };
    ctr_must("network create app");
    start(
        "web",
        "--network app -p 8080:80 -p 8080:80/udp",
        "echo 'error_log stderr; events {} http { access_log /dev/stdout; server { listen 80; listen [::]:80; location / { return 200 served; } } }' >/tmp/conf; \
         exec nginx -g 'daemon off;' -c /tmp/conf",
    );
    until("nginx", || lan.sh("curl -s -m 2 http://192.0.2.1:8080/").out.contains("served").then_some(()));
    until("its log", || ctr_must("logs web").contains("192.0.2.2 - -").then_some(()));
    start(
        "db",
        "--network app --network-alias pg",
        "install -d -o postgres /run/postgresql /pg && cd / && exec su postgres -c '/usr/lib/postgresql/15/bin/initdb -D /pg/data -A trust > /dev/null && echo host all all all trust >> /pg/data/pg_hba.conf && exec /usr/lib/postgresql/15/bin/postgres -D /pg/data -c listen_addresses=*'",
    );
    let ask = |line: &str| finish(&mut plain(["run", "--rm", "--network", "app", &root, "sh", "-c", line]));
    until("PostgreSQL", || ask("psql -h pg -U postgres -Atc 'select 40 + 2'").out.contains("42").then_some(()));
    let bench = ask(
        "cd /tmp && /usr/lib/postgresql/15/bin/pgbench -q -i -h db -U postgres postgres && /usr/lib/postgresql/15/bin/pgbench -h db -U postgres -c 2 -t 50 postgres",
    );
    assert!(bench.out.contains("number of transactions actually processed: 100/100"), "{bench:#?}");
    start("cache", "--network app -p 6379:6379", "exec redis-server --bind '*' --protected-mode no --save ''");
    until("redis", || sh("echo PING | timeout 2 busybox nc -w 1 127.0.0.1 6379").out.contains("PONG").then_some(()));
    let bench = ask("redis-benchmark -h cache -q -n 2000 -t set,get");
    assert!(bench.code == 0 && bench.out.matches("requests per second").count() == 2, "{bench:#?}");
    start(
        "dns",
        "--network app -p 5300:53/udp -p 5300:53",
        "exec dnsmasq -k -u root --no-resolv --address=/name.test/192.0.2.44 --log-facility=-",
    );
    let dig = format!(
        "nsenter -t {} -n chroot {root} dig +time=2 +tries=1 +short -p 5300 @192.0.2.1 name.test",
        lan.child.id()
    );
    for more in ["", " +tcp"] {
        until("dnsmasq", || sh(&format!("{dig}{more}")).out.contains("192.0.2.44").then_some(()));
    }
    start("perf", "--network app -p 5201:5201", "exec iperf3 -s");
    until("iperf3", || sh("timeout 1 busybox nc -w 1 127.0.0.1 5201 < /dev/null").code.eq(&0).then_some(()));
    let line = format!("nsenter -t {} -n chroot {root} iperf3 -c 192.0.2.1 -t 1", lan.child.id());
    until("iperf3's answer", || sh(&line).out.contains("receiver").then_some(()));
    ctr_must("rm -f web db cache dns perf");
    ctr_must("network rm app");
    assert!(Path::new("/proc/self").exists());
    host.same();
}

/// What doctor says of a container: its exit code, and what is bad, whole.
fn doctor(name: &str) -> (i32, String) {
    let done = finish(&mut plain(["doctor", "--format", "json", name]));
    let hops = done.out.split("\n  {\n").filter(|hop| hop.contains("\"Health\": \"bad\""));
    (done.code, hops.collect::<Vec<_>>().join("\n"))
}

#[test]
fn doctor_finds_why_traffic_does_not_move() {
    let scratch = Scratch::new("net-doctor");
    no_networks();
    let _lan = Lan::new();
    let host = Host::before();
    let name = "sick";
    web(name, "-p 8080:80 -p 192.0.2.7:8090:80 --dns 192.0.2.2", &scratch);
    assert_eq!(doctor(name), (0, String::new()));
    let (pid, veth) =
        (inspect(name, ".State.Pid"), inspect(name, "(index .NetworkSettings.Networks \"bridge\").HostInterface"));
    let own = address(name);
    let six = inspect(name, ".NetworkSettings.GlobalIPv6Address");
    let bridge = must("ip -o link").split(": ").find(|word| word.starts_with("ctr0")).unwrap().to_owned();
    let sick = |line: &str| {
        must(
            &line
                .replace("IN ", &format!("nsenter -t {pid} -n "))
                .replace("VETH", &veth)
                .replace("BRIDGE", &bridge)
                .replace("OWN", &own),
        )
    };
    // What breaks it; what is said; and what somebody else has to mend, where it is not ours.
    for (broken, said, mended) in [
        ("IN ip link set lo down", "127.0.0.1 does not arrive", ""),
        ("IN ip link set eth0 down", "nothing comes in or goes out", ""),
        ("ip link set VETH down", "nothing passes between container and bridge", ""),
        ("ip link set VETH nomaster", "it is not in the bridge", ""),
        ("IN ip addr del OWN/16 dev eth0", "is missing", ""),
        (
            "IN ip addr del OWN/16 dev eth0; IN ip addr add OWN/24 dev eth0",
            "takes the wrong addresses for neighbours",
            "",
        ),
        ("IN ip route del default", "no default route", ""),
        ("ip addr del 10.88.0.1/16 dev BRIDGE", "the gateway's address", ""),
        ("ip link set BRIDGE down", "nothing passes, and the host's route", ""),
        ("sysctl -qw net.ipv4.ip_forward=0", "does not pass on what is not for itself", ""),
        ("nft delete table inet ctr", "it is not there", ""),
        ("nft flush chain inet ctr postrouting", "nothing is left in postrouting", ""),
        ("nft flush map inet ctr any4", "in the map any4", ""),
        ("nft flush map inet ctr ports4", "in the map ports4", ""),
        ("ip link set VETH mtu 1300", "1300", "ip link set VETH mtu 1500; IN ip link set eth0 mtu 1500"),
        (
            "IN ip link set eth0 down; IN ip link set eth0 name foo0",
            "it is called foo0",
            "IN ip link set foo0 name eth0; IN ip link set eth0 up",
        ),
        (
            "nft 'table ip x { chain y { type filter hook forward priority 5; ip saddr 10.88.0.0/16 drop; }; }'",
            "chain y in the table ip x drops",
            "nft delete table ip x",
        ),
        (
            "nft 'table inet x { chain y { type filter hook forward priority 5; policy drop; }; }'",
            "chain y in the table inet x",
            "nft delete table inet x",
        ),
        (
            "nft 'table inet x { chain y { type filter hook prerouting priority -200; iifname up0 tcp dport 8080 reject; }; }'",
            "chain y in the table inet x",
            "nft delete table inet x",
        ),
        ("ip addr add OWN/32 dev up0", "also an address of the host's", "ip addr del OWN/32 dev up0"),
        ("ip route add OWN/32 dev up0", "way back", "ip route del OWN/32 dev up0"),
        (
            "sysctl -qw net.ipv4.conf.ctr0.rp_filter=1; ip route add OWN/32 dev up0",
            "rp_filter",
            "ip route del OWN/32 dev up0; sysctl -qw net.ipv4.conf.ctr0.rp_filter=0",
        ),
        ("ip addr del 192.0.2.7/24 dev up0", "192.0.2.7", "ip addr add 192.0.2.7/24 dev up0"),
        ("ip route del default", "uplink", "ip route add default via 192.0.2.2"),
    ] {
        sick(broken);
        let (code, found) = doctor(name);
        assert!(code == 1 && found.contains(said), "{broken}: {said:?} is not in {found}");
        if mended.is_empty() {
            finish(&mut plain(["doctor", "--fix", name])).code(0);
        } else {
            sick(mended);
            // A link that was away has lost its addresses and routes; those are ours again.
            let _ = finish(&mut plain(["doctor", "--fix", name]));
        }
        let _ = sh(&format!("nsenter -t {pid} -n ip -6 addr add {six}/64 dev eth0 nodad"));
        until("its recovery", || (doctor(name) == (0, String::new())).then_some(()));
    }
    // Names, and who listens.
    let resolv = |text: &str| inside(name, &format!("printf '{text}' > /etc/resolv.conf"));
    for (text, said) in
        [("", "it names no server"), ("nameserver 127.0.0.53\\n", "in the container that is the container itself")]
    {
        resolv(text);
        let (code, found) = doctor(name);
        assert!(code == 1 && found.contains(said), "{found}");
    }
    resolv("nameserver 192.0.2.2\\n");
    let json = finish(&mut plain(["doctor", "--format", "json", name])).code(0).out;
    assert!(json.contains("\"Health\": \"good\"") && json.contains("\"Place\": \"veth\""), "{json}");
    // Left in the host's network.
    sick("IN ip link set eth0 netns 1");
    let (code, found) = doctor(name);
    assert!(code == 1 && found.contains("eth0"), "{found}");
    ctr_must(&format!("rm -f {name}"));
    let _ = sh("ip link del eth0");
    let dead = |options: &str, command: &[&str], said: &str| {
        let mut words = vec!["run", "-d", "--name", "deaf"];
        words.extend(options.split_whitespace());
        words.push(busybox());
        words.extend(command);
        finish(&mut plain(words)).code(0);
        until(said, || doctor("deaf").1.contains(said).then_some(()));
        ctr_must("rm -f deaf");
    };
    dead("-p 8081:80 --dns 192.0.2.2", &["sleep", "600"], "ctr logs deaf");
    dead("-p 8081:80 --dns 192.0.2.2", &["httpd", "-f", "-p", "127.0.0.1:80"], "the container's own loopback");
    // Somebody who came later, and has the port at an address of this host.
    finish(&mut plain(["run", "-d", "--name", "late", "-p", "8082:80", busybox(), "httpd", "-f", "-p", "80"]))
        .code(0);
    let _thief = TcpListener::bind("192.0.2.1:8082").unwrap();
    assert!(doctor("late").1.contains("8082"), "{:?}", doctor("late"));
    ctr_must("rm -f late");
    finish(&mut plain(["doctor", "nobody"])).refused(&["no container"]);
    host.same();
}
