//! Networks as those see them who use them: this host, another machine on its network, containers, and whoever would do harm. Written
//! from what is promised, not from the code. Other machines are network namespaces; servers and clients are Debian's.

mod doctor;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{
    Done, Host, Live, Scratch, busybox, cache, ctr_path, lasting, plain, services, signal, state, until, within,
};

/// This host's addresses on its uplink, and those of the other machine there.
const US: &str = "192.0.2.1";
const US6: &str = "2001:db8:2::1";
const THEM: &str = "192.0.2.2";
const THEM6: &str = "2001:db8:2::2";

/// A server that says who asks: `KIND ADDRESS PORT WORD`. Over TCP it speaks HTTP.
const SERVER: &str = "
import socket, sys
kind, address, port, word = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_STREAM if kind == 'tcp' else socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if address == '::': s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind((address, port))
if kind == 'tcp': s.listen(64)
print('up', flush=True)
while True:
    if kind == 'tcp':
        c, peer = s.accept()
        try:
            c.settimeout(5)
            while b'\\r\\n\\r\\n' not in c.recv(4096): pass
            c.sendall(('HTTP/1.0 200 OK\\r\\n\\r\\n%s %s\\n' % (word, peer[0].removeprefix('::ffff:'))).encode())
        except OSError: pass
        c.close()
    else:
        data, peer = s.recvfrom(4096)
        s.sendto(('%s %s\\n' % (word, peer[0].removeprefix('::ffff:'))).encode(), peer)
";

/// Its client over UDP: `ADDRESS PORT`.
const ASK: &str = "
import socket, sys
for _ in range(5):
    s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(float(sys.argv[3]))
    s.connect((sys.argv[1], int(sys.argv[2])))
    try:
        s.send(b'who am I')
        print(s.recv(4096).decode(), end='')
        sys.exit(0)
    except OSError as e: why = e
    if len(sys.argv) > 4: break
print(why)
sys.exit(1)
";

/// A router advertisement on a link: `LINK PREFIX`.
const ADVERTISE: &str = "
import socket, struct, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
advertisement = struct.pack('!BBHBBHII', 134, 0, 0, 64, 0, 1800, 0, 0)
prefix = struct.pack('!BBBBIII', 3, 4, 64, 0xc0, 3600, 3600, 0) + socket.inet_pton(socket.AF_INET6, sys.argv[2])
s.sendto(advertisement + prefix, ('ff02::1', 0, 0, socket.if_nametoindex(sys.argv[1])))
";

/// A shell script that must do.
#[track_caller]
fn sh(script: &str) -> String {
    within(Command::new("sh").args(["-ec", script])).code(0).out
}

/// Whatever it says, and if it fails.
fn try_sh(script: &str) -> Done {
    within(Command::new("sh").args(["-c", script]))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}")).trim().to_owned()
}

/// Another machine: a network namespace that somebody holds.
struct Machine(Live);

impl Machine {
    fn new() -> Machine {
        let live = Live::start(Command::new("unshare").args(["--net", "sleep", "1000000"]));
        until("a machine", || {
            (fs::read_to_string(format!("/proc/{}/comm", live.pid())).ok()? == "sleep\n").then_some(())
        });
        let machine = Machine(live);
        machine.sh("ip link set lo up");
        machine
    }

    fn pid(&self) -> i32 {
        self.0.pid()
    }

    fn command(&self, words: &[&str]) -> Command {
        at(self.pid(), words)
    }

    #[track_caller]
    fn sh(&self, script: &str) -> String {
        within(&mut self.command(&["sh", "-ec", script])).code(0).out
    }
}

/// A program of the host's in the network namespace of a process.
fn at(pid: i32, words: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{pid}/ns/net")).args(words);
    command
}

/// A program of the root with servers, run by the host.
fn served(words: &[&str]) -> Vec<String> {
    ["chroot", services()].iter().chain(words).map(|w| (*w).to_owned()).collect()
}

/// Whether a process's network has somebody who listens.
fn listens(pid: i32, kind: &str, port: u16) -> bool {
    let wanted = if kind == "tcp" { "0A" } else { "07" };
    ["", "6"].iter().any(|family| {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{kind}{family}")).unwrap_or_default();
        text.lines().skip(1).any(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            words.len() > 3 && words[1].ends_with(&format!(":{port:04X}")) && words[3] == wanted
        })
    })
}

/// What a container has on one network.
#[derive(Debug)]
struct Ends {
    address: String,
    prefix: String,
    gateway: String,
    mac: String,
    address6: String,
    prefix6: String,
    gateway6: String,
}

/// This host with an uplink, the machine at its other end, and no network of ctr's: as it is after a boot.
struct Site {
    host: Host,
    lan: Option<Machine>,
    forwarding: [String; 2],
    lo: bool,
    whole: bool,
}

const FORWARDING: [&str; 2] = ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"];

impl Site {
    #[track_caller]
    fn new() -> Site {
        Site::with(1500)
    }

    /// The same with this MTU on the uplink.
    #[track_caller]
    fn with(mtu: u32) -> Site {
        let host = Host::before();
        within(&mut plain(["network", "prune", "-f"])).code(0);
        let forwarding = FORWARDING.map(read);
        FORWARDING.iter().for_each(|path| fs::write(path, "0").unwrap());
        let lo = sh("ip -o link show dev lo").contains(",UP");
        let lan = Machine::new();
        let site = Site { host, lan: Some(lan), forwarding, lo, whole: true };
        sh(&format!(
            "ip link set lo up
            ip link add up0 mtu {mtu} type veth peer name lan0 mtu {mtu} netns {}
            sysctl -qw net.ipv6.conf.up0.accept_dad=0
            ip addr add {US}/24 dev up0; ip addr add {US6}/64 dev up0 nodad; ip link set up0 up",
            site.lan().pid()
        ));
        site.lan().sh(&format!(
            "sysctl -qw net.ipv6.conf.lan0.accept_dad=0; ip addr add {THEM}/24 dev lan0; ip addr add {THEM6}/64 dev lan0 nodad; ip link set lan0 up"
        ));
        sh(&format!("ip route add default via {THEM}; ip -6 route add default via {THEM6}"));
        site
    }

    fn lan(&self) -> &Machine {
        self.lan.as_ref().unwrap()
    }

    #[track_caller]
    fn ctr(&self, words: &[&str]) -> Done {
        within(&mut plain(words))
    }

    /// What it says when all is well and there is nothing to complain about.
    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let done = self.ctr(words).code(0);
        assert_eq!(done.err, "", "{words:?}");
        done.out
    }

    /// `ctr run -d --name NAME OPTIONS ROOT COMMAND`; its id.
    #[track_caller]
    fn go(&self, name: &str, options: &[&str], root: &str, command: &[&str]) -> String {
        self.ok(&[&["run", "-d", "--name", name], options, &[root], command].concat()).trim_end().to_owned()
    }

    /// One that does nothing.
    #[track_caller]
    fn idle(&self, name: &str, options: &[&str]) -> String {
        self.go(name, options, busybox(), &["sleep", "100000"])
    }

    /// One whose page at port 80 is its name.
    #[track_caller]
    fn web(&self, name: &str, options: &[&str]) -> String {
        let script = format!("mkdir /w; echo {name} >/w/index.html; exec httpd -f -p 80 -h /w");
        let id = self.go(name, options, busybox(), &["sh", "-c", &script]);
        self.listens(name, "tcp", 80);
        id
    }

    /// One with [`SERVER`].
    #[track_caller]
    fn server(&self, name: &str, options: &[&str], kind: &str, address: &str, port: u16) {
        let text = port.to_string();
        self.go(name, options, services(), &["python3", "-u", "-c", SERVER, kind, address, &text, name]);
        self.listens(name, kind, port);
    }

    /// [`SERVER`] on this host, or on the other machine.
    #[track_caller]
    fn program(&self, lan: bool, kind: &str, address: &str, port: u16, word: &str) -> Live {
        let text = port.to_string();
        let words = served(&["python3", "-u", "-c", SERVER, kind, address, &text, word]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let pid = if lan { self.lan().pid() } else { std::process::id() as i32 };
        let mut live = Live::start(&mut at(pid, &words));
        live.hear("up\n");
        live
    }

    #[track_caller]
    fn listens(&self, name: &str, kind: &str, port: u16) {
        let pid = self.pid(name);
        until(&format!("{name} to listen at {port}"), || listens(pid, kind, port).then_some(()));
    }

    #[track_caller]
    fn field(&self, name: &str, template: &str) -> String {
        self.ok(&["inspect", "-f", template, name]).trim_end().to_owned()
    }

    #[track_caller]
    fn pid(&self, name: &str) -> i32 {
        self.field(name, "{{.State.Pid}}").parse().unwrap()
    }

    #[track_caller]
    fn ends(&self, name: &str, network: &str) -> Ends {
        let fields = [
            "IPAddress",
            "IPPrefixLen",
            "Gateway",
            "MacAddress",
            "GlobalIPv6Address",
            "GlobalIPv6PrefixLen",
            "IPv6Gateway",
        ];
        let template = fields.map(|f| format!("{{{{.NetworkSettings.Networks.{network}.{f}}}}}")).join("|");
        let text = self.field(name, &template);
        let mut words = text.split('|').map(str::to_owned);
        let mut next = || words.next().unwrap_or_else(|| panic!("{name}: {text}"));
        Ends {
            address: next(),
            prefix: next(),
            gateway: next(),
            mac: next(),
            address6: next(),
            prefix6: next(),
            gateway6: next(),
        }
    }

    #[track_caller]
    fn address(&self, name: &str) -> String {
        self.field(name, "{{.NetworkSettings.IPAddress}}")
    }

    fn exec(&self, name: &str, script: &str) -> Done {
        self.ctr(&["exec", name, "sh", "-c", script])
    }

    /// What a shell script in there says.
    #[track_caller]
    fn says(&self, name: &str, script: &str) -> String {
        self.exec(name, script).code(0).out
    }

    /// A page, asked for by somebody: `host`, `lan`, or the name of a container. Negative answers are waited for a second.
    fn get(&self, who: &str, url: &str, seconds: u32) -> Done {
        let curl = format!("curl -sS -g --noproxy '*' --connect-timeout {seconds} -m {} 'http://{url}'", seconds + 3);
        match who {
            "host" => try_sh(&curl),
            "lan" => within(&mut self.lan().command(&["sh", "-c", &curl])),
            _ => {
                // Not -T: that of Debian 12's static busybox ends in a segmentation fault.
                let wget = format!("timeout {seconds} wget -q -O - 'http://{url}'");
                self.exec(who, &format!("command -v curl >/dev/null && exec {curl}; exec {wget}"))
            }
        }
    }

    /// It answers, and what it says has this in it.
    #[track_caller]
    fn reads(&self, who: &str, url: &str, word: &str) {
        let done = self.get(who, url, 5);
        assert!(done.code == 0 && done.out.contains(word), "{who} asks {url} for {word:?}: {done:#?}");
    }

    #[track_caller]
    fn fails(&self, who: &str, url: &str) {
        let done = self.get(who, url, 1);
        assert!(done.code != 0 && done.out.is_empty(), "{who} gets {url}: {done:#?}");
    }

    /// The same over UDP.
    fn ask(&self, who: &str, address: &str, port: u16, last: bool) -> Done {
        let port = port.to_string();
        let mut words = vec!["python3", "-c", ASK, address, &port, "1"];
        words.extend(last.then_some("once"));
        match who {
            "host" | "lan" => {
                let words = served(&words);
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                within(&mut at(if who == "lan" { self.lan().pid() } else { std::process::id() as i32 }, &words))
            }
            _ => self.ctr(&[&["exec", who], &words[..]].concat()),
        }
    }

    /// Who answers a ping, from inside: the address that a name stands for.
    fn ping(&self, name: &str, whom: &str) -> Option<String> {
        let done = self.exec(name, &format!("ping -c 1 -w 3 {whom}"));
        let shown = done.out.split(['(', ')']).nth(1).map(str::to_owned);
        if done.code == 0 { shown } else { None }
    }

    /// What is left of all of this in the places that ctr knows: what a refused command must not change.
    fn picture(&self) -> BTreeMap<&'static str, BTreeSet<String>> {
        let files = |folder: &Path| -> BTreeSet<String> {
            let all = fs::read_dir(folder).into_iter().flatten().flatten();
            all.map(|e| format!("{} {:?}", e.file_name().to_string_lossy(), fs::read_link(e.path()).ok())).collect()
        };
        let lines = |text: String| text.lines().map(|l| l.trim().trim_end_matches(',').to_owned()).collect();
        BTreeMap::from([
            ("addresses", files(&state().join("addresses"))),
            ("ports", files(&state().join("ports"))),
            ("networks", files(&lasting().join("networks"))),
            ("hosts files", files(&lasting().join("hosts"))),
            ("containers", files(&lasting().join("containers"))),
            ("listed", lines(self.ctr(&["network", "ls", "--format", "{{.Name}} {{.Subnet}}"]).out)),
            ("links", lines(sh("ip -br -o link | awk '$1 !~ /^ve/ || $2 == \"UP\" { print $1 }'"))),
            ("table", lines(sh("nft list ruleset"))),
        ])
    }

    #[track_caller]
    fn unchanged(&self, before: &BTreeMap<&'static str, BTreeSet<String>>, what: &str) {
        let end = Instant::now() + Duration::from_secs(5);
        while self.picture() != *before && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        for (kind, now) in self.picture() {
            let (left, lost): (Vec<_>, Vec<_>) =
                (now.difference(&before[kind]).collect(), before[kind].difference(&now).collect());
            assert!(left.is_empty() && lost.is_empty(), "{what}: {kind}: left {left:#?}, lost {lost:#?}");
        }
    }

    /// Refused in one line with these words, at once, and nothing has changed.
    #[track_caller]
    fn bad(&self, words: &[&str], says: &[&str]) {
        let before = self.picture();
        let wrong = self.complaint(words, says);
        assert!(wrong.is_none(), "{wrong:?}");
        self.unchanged(&before, &format!("{words:?}"));
    }

    /// What is wrong with how it is refused.
    fn complaint(&self, words: &[&str], says: &[&str]) -> Option<String> {
        let start = Instant::now();
        let done = self.ctr(words);
        let line = done.err.starts_with("ctr: ") && done.err.trim_end().lines().count() == 1;
        let good = done.code == 125 && line && done.out.is_empty() && says.iter().all(|word| done.err.contains(word));
        if good && start.elapsed() < Duration::from_secs(3) {
            return None;
        }
        Some(format!("{words:?} (wanted {says:?}, took {:?}): {done:?}", start.elapsed()))
    }

    /// ctr's table, if there is one.
    fn table(&self) -> String {
        try_sh("nft list table inet ctr").out
    }

    /// `ctr stop` or `restart`, of which it says that its PID 1 has no handler.
    #[track_caller]
    fn halt(&self, verb: &str, name: &str) {
        self.ctr(&[verb, "-t", "1", name]).code(0);
    }

    #[track_caller]
    fn rm(&self, names: &[&str]) {
        self.ctr(&[&["rm", "-f"], names].concat()).code(0);
    }

    /// Takes everything away.
    fn dismantle(&mut self) {
        if std::mem::take(&mut self.whole) {
            let _ = try_sh("ip link del up0");
            let _ = try_sh(
                "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv4.conf.all.route_localnet=0",
            );
            self.lan = None;
            for (path, value) in FORWARDING.iter().zip(&self.forwarding) {
                let _ = fs::write(path, value);
            }
            if !self.lo {
                let _ = try_sh("ip link set lo down");
            }
        }
    }

    /// All containers have gone: so do the networks, and this host is as it was.
    #[track_caller]
    fn end(mut self) {
        assert_eq!(self.host.kept(), [""; 0]);
        self.ok(&["network", "prune", "-f"]);
        assert_eq!(self.table(), "");
        let links = sh("ip -o link");
        assert!(!links.contains(" ctr"), "{links}");
        assert_eq!(FORWARDING.map(read), ["0", "0"]);
        assert_eq!(fs::read_dir(state().join("members")).into_iter().flatten().count(), 0, "members");
        self.dismantle();
        self.host.same_soon();
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let all = plain(["ps", "-aq"]).output().unwrap();
            let ids = String::from_utf8_lossy(&all.stdout).into_owned();
            let _ = plain(["rm", "-f"]).args(ids.split_whitespace()).output();
            let _ = try_sh("nft flush ruleset; iptables-legacy -P FORWARD ACCEPT; iptables-legacy -F");
            let _ = plain(["network", "prune", "-f"]).output();
        }
        self.dismantle();
    }
}

// ---- what a container has, without a word

#[test]
fn the_default_network() {
    let s = Site::with(1380);
    let _them = s.program(true, "tcp", "::", 7000, "seen");
    for options in [&[][..], &["--network", "bridge"], &["--userns=host"]] {
        let id = s.idle("one", options);
        let e = s.ends("one", "bridge");
        let ip: Vec<&str> = e.address.split('.').collect();
        assert!(e.address.starts_with("10.88.") && e.prefix == "16" && e.gateway == "10.88.0.1", "{e:?}");
        assert!(e.address6.starts_with("fd") && e.prefix6 == "64" && e.gateway6.starts_with("fd"), "{e:?}");
        let mac: String = ip.iter().map(|part| format!(":{:02x}", part.parse::<u8>().unwrap())).collect();
        assert_eq!(e.mac, format!("02:63{mac}"));
        let links = s.says("one", "ip -o link");
        assert_eq!(links.lines().count(), 2, "{links}");
        assert!(links.starts_with("1: lo: <LOOPBACK,UP,LOWER_UP>"), "{links}");
        let eth0 = s.says("one", "ip -o link show dev eth0; ip -o addr show dev eth0");
        for wanted in
            [",UP,LOWER_UP", " mtu 1380 ", &e.mac, &format!(" {}/16 ", e.address), &format!(" {}/64 ", e.address6)]
        {
            assert!(eth0.contains(wanted), "no {wanted:?} in {eth0}");
        }
        let routes = s.says("one", "ip route; ip -6 route");
        for gateway in [&e.gateway, &e.gateway6] {
            assert!(routes.contains(&format!("default via {gateway} dev eth0")), "{routes}");
        }
        // The other end.
        let ours = sh("ip -o link; ip -o addr show dev ctr0; ip -o link show master ctr0");
        let veth = format!("ve{}.0", &id[..10]);
        for wanted in
            [&*veth, " ctr0: ", " master ctr0 ", &format!(" {}/16 ", e.gateway), &format!(" {}/64 ", e.gateway6)]
        {
            assert!(ours.contains(wanted), "no {wanted:?} in {ours}");
        }
        assert_eq!(
            (read("/sys/class/net/lo/mtu"), sh("cat /proc/sys/net/ipv6/conf/ctr0/mtu")),
            ("65536".into(), "1380\n".into())
        );
        assert_eq!(read("/proc/sys/net/ipv6/conf/ctr0/accept_ra"), "0");
        // Out, behind this host's address; and the other machine cannot tell that it was a container.
        s.reads("one", &format!("{THEM}:7000"), &format!("seen {US}\n"));
        s.reads("one", &format!("[{THEM6}]:7000"), &format!("seen {US6}\n"));
        // Whole packets pass.
        for whom in [THEM, THEM6, &e.gateway, &e.gateway6, "127.0.0.1", "::1"] {
            let size = if whom.contains(':') { 1332 } else { 1352 };
            let done = s.exec("one", &format!("ping -c 1 -w 3 -s {size} {whom}"));
            assert!(done.code == 0, "{whom}: {done:?}");
        }
        s.rm(&["one"]);
    }
    // Asked for: nothing, and everything.
    let lone = s.ok(&["run", "--rm", "--network", "none", busybox(), "sh", "-c", "ip -o link; ip route"]);
    assert!(lone.lines().count() == 1 && lone.contains("lo: <LOOPBACK,UP"), "{lone}");
    let all = s.ok(&["run", "--rm", "--network", "host", busybox(), "ip", "-o", "link"]);
    assert!(all.contains("up0") && all.contains("ctr0"), "{all}");
    s.end();
}

#[test]
fn subnets_of_others_are_left_alone() {
    let s = Site::new();
    // By a route, and by an address.
    sh(&format!("ip route add 10.88.7.0/24 via {THEM}; ip addr add 10.89.255.1/30 dev up0"));
    sh(&format!("ip route add 10.128.0.0/25 via {THEM}; ip route add 10.128.2.5/32 via {THEM}"));
    s.idle("one", &[]);
    assert!(s.address("one").starts_with("10.90.0."), "{}", s.address("one"));
    for (name, subnet) in [("a", "10.128.1."), ("b", "10.128.3."), ("c", "10.128.4.")] {
        s.ok(&["network", "create", name]);
        s.idle(&format!("in-{name}"), &["--network", name]);
        assert!(s.address(&format!("in-{name}")).starts_with(subnet), "{}", s.address(&format!("in-{name}")));
    }
    s.rm(&["one", "in-a", "in-b", "in-c"]);
    s.end();
}

#[test]
fn a_host_without_ipv6() {
    let s = Site::new();
    sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
    let _them = s.program(true, "tcp", "0.0.0.0", 7000, "seen");
    s.web("web", &["-p", "8080:80"]);
    s.reads("web", &format!("{THEM}:7000"), US);
    for (who, url) in [("lan", "192.0.2.1:8080"), ("host", "127.0.0.1:8080"), ("host", "192.0.2.1:8080")] {
        s.reads(who, url, "web");
    }
    assert_eq!(s.ends("web", "bridge").address6, "");
    assert!(s.ok(&["port", "web"]).contains("80/tcp -> 0.0.0.0:8080\n"));
    s.rm(&["web"]);
    s.ok(&["network", "prune", "-f"]);
    sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0");
    s.end();
}

#[test]
fn two_state_folders_on_one_host() {
    let s = Site::new();
    let other = Scratch::new("other-ctr");
    let theirs = |words: &[&str]| {
        let mut command = plain(words);
        command.env("CTR_ROOT", other.join("lib")).env("CTR_STATE", other.join("run"));
        within(&mut command)
    };
    s.web("web", &["-p", "8080:80"]);
    let script = "mkdir /w; echo theirs >/w/index.html; exec httpd -f -p 80 -h /w";
    theirs(&["run", "-d", "--name", "web", "-p", "8081:80", busybox(), "sh", "-c", script]).code(0);
    let address = theirs(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web"]).code(0).out.trim().to_owned();
    assert!(address.starts_with("10.89.0."), "{address}");
    until("their page", || (s.get("lan", &format!("{US}:8081"), 1).out == "theirs\n").then_some(()));
    s.reads("lan", &format!("{US}:8080"), "web");
    let links = sh("ip -o link");
    let bridges = links.lines().filter_map(|l| l.split(": ").nth(1)).filter(|l| l.starts_with("ctr0")).count();
    assert_eq!(bridges, 2, "{links}");
    let tables = sh("nft list tables");
    assert!(tables.contains("table inet ctr\n") && tables.contains("table inet ctr-"), "{tables}");
    // They are two networks.
    s.fails("web", &format!("{address}:80"));
    // What one of them does takes nothing from the other.
    theirs(&["rm", "-f", "web"]).code(0);
    theirs(&["network", "prune", "-f"]).code(0);
    s.reads("lan", &format!("{US}:8080"), "web");
    assert_eq!(FORWARDING.map(read), ["1", "1"]);
    s.rm(&["web"]);
    s.end();
}

// ---- what is published

#[test]
fn nginx_is_reached_from_everywhere() {
    let s = Site::new();
    let index = "echo from nginx >/var/www/html/index.html; exec nginx -g 'daemon off;'";
    s.go("web", &["-p", "8080:80"], services(), &["sh", "-c", index]);
    s.listens("web", "tcp", 80);
    s.idle("near", &[]);
    s.ok(&["network", "create", "--ipv6", "other"]);
    s.idle("far", &["--network", "other"]);
    s.idle("own", &["--network", "host"]);
    let e = s.ends("web", "bridge");
    let out = [format!("{US}:8080"), format!("[{US6}]:8080")];
    let gateways = [format!("{}:8080", e.gateway), format!("[{}]:8080", e.gateway6)];
    let itself = [format!("{}:80", e.address), format!("[{}]:80", e.address6)];
    let loops = ["127.0.0.1:8080", "[::1]:8080", "localhost:8080", "127.0.0.5:8080"].map(str::to_owned);
    for (who, urls) in [
        ("lan", vec![&out]),
        ("host", vec![&out, &gateways, &itself]),
        ("own", vec![&out, &gateways, &itself]),
        ("web", vec![&out, &gateways, &itself]),
        ("near", vec![&out, &gateways, &itself]),
        ("far", vec![&out]),
    ] {
        for url in urls.into_iter().flatten() {
            s.reads(who, url, "from nginx");
        }
    }
    for url in &loops[..3] {
        s.reads("host", url, "from nginx");
        s.reads("own", url, "from nginx");
    }
    s.reads("near", "web:80", "from nginx");
    // Loopback inside is the container's own.
    s.fails("near", "127.0.0.1:8080");
    // nginx knows who asked: other machines, by their address.
    for url in &out {
        s.reads("lan", url, "from nginx");
    }
    s.reads("near", &itself[0], "from nginx");
    let near = s.address("near");
    until("the log of them", || {
        let log = s.says("web", "cat /var/log/nginx/access.log");
        let all = [THEM, THEM6, &near].iter().all(|who| log.lines().any(|l| l.starts_with(&format!("{who} - "))));
        all.then_some(())
    });
    // What it says of itself.
    assert_eq!(s.ok(&["port", "web"]), "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n");
    for port in ["80", "80/tcp"] {
        assert_eq!(s.ok(&["port", "web", port]), "0.0.0.0:8080\n[::]:8080\n");
    }
    s.ctr(&["port", "web", "81"]).refused(&["81"]);
    s.ctr(&["port", "web", "80/udp"]).refused(&["80/udp"]);
    assert_eq!(
        s.ok(&["ps", "--filter", "name=web", "--format", "{{.Ports}}"]),
        "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp\n"
    );
    assert_eq!(
        s.field("web", "{{json .NetworkSettings.Ports}}"),
        r#"{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"},{"HostIp":"::","HostPort":"8080"}]}"#
    );
    assert_eq!(
        s.field("web", "{{.HostConfig.NetworkMode}} {{json .HostConfig.PortBindings}}"),
        r#"bridge {"80/tcp":[{"HostIp":"","HostPort":"8080"}]}"#
    );
    // A load, and nothing is lost.
    let wrk = served(&["wrk", "-t1", "-c8", "-d1s", "http://192.0.2.1:8080/"]);
    let wrk: Vec<&str> = wrk.iter().map(String::as_str).collect();
    for (who, mut command) in [("lan", s.lan().command(&wrk)), ("host", at(std::process::id() as i32, &wrk))] {
        let done = within(&mut command).code(0);
        assert!(done.out.contains("Requests/sec") && !done.out.contains("Socket errors"), "{who}: {done:#?}");
        assert!(!done.out.contains("Non-2xx"), "{who}: {done:#?}");
    }
    let mut local: Vec<&str> = wrk.clone();
    *local.last_mut().unwrap() = "http://127.0.0.1:8080/";
    let done = within(&mut at(std::process::id() as i32, &local)).code(0);
    assert!(!done.out.contains("Socket errors") && !done.out.contains("Non-2xx"), "by loopback: {done:#?}");
    // Ended: nobody answers. Started again: as before.
    s.halt("stop", "web");
    for (who, url) in
        [("lan", &out[0]), ("lan", &out[1]), ("host", &loops[0]), ("host", &loops[1]), ("host", &out[0])]
    {
        s.fails(who, url);
    }
    s.ok(&["start", "web"]);
    s.listens("web", "tcp", 80);
    s.halt("restart", "web");
    s.listens("web", "tcp", 80);
    for (who, url) in [("lan", &out[0]), ("lan", &out[1]), ("host", &loops[0]), ("near", &out[0])] {
        s.reads(who, url, "from nginx");
    }
    s.rm(&["web", "near", "far", "own"]);
    s.end();
}

#[test]
fn a_stream_goes_through_whole_and_both_ways() {
    let s = Site::new();
    // 64 MiB and a checksum, from everybody; the last half is closed first by either side.
    let make = "head -c 67108864 /dev/zero >/var/www/html/big; exec nginx -g 'daemon off;'";
    s.go("web", &["-p", "8080:80"], services(), &["sh", "-c", make]);
    s.listens("web", "tcp", 80);
    for (who, at) in [("lan", US), ("host", US), ("host", "127.0.0.1"), ("host", "[::1]")] {
        let script = format!("curl -sS -g --noproxy '*' -m 15 'http://{at}:8080/big' | wc -c");
        let out = if who == "lan" { s.lan().sh(&script) } else { sh(&script) };
        assert_eq!(out, "67108864\n", "{who} {at}");
    }
    s.rm(&["web"]);
    // One side says all it has to say and waits for the answer: half-closed connections.
    let count = "exec nc -l -p 90 -e sh -c 'wc -c'";
    for at in ["127.0.0.1", US] {
        s.go("count", &["-p", "9000:90"], busybox(), &["sh", "-c", count]);
        s.listens("count", "tcp", 90);
        let ask = format!(
            "import socket
s = socket.create_connection(('{at}', 9000), 5)
s.sendall(b'x' * 1000000)
s.shutdown(socket.SHUT_WR)
print(s.recv(100).decode().strip())"
        );
        let words = served(&["python3", "-c", &ask]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(within(&mut at_host(&words)).code(0).out, "1000000\n", "{at}");
        s.rm(&["count"]);
    }
    s.end();
}

fn at_host(words: &[&str]) -> Command {
    at(std::process::id() as i32, words)
}

#[test]
fn dnsmasq_is_asked_over_udp_and_tcp() {
    let s = Site::new();
    let serve = "exec dnsmasq -k -u root --no-resolv --no-hosts --log-facility=- --address=/name.example/192.0.2.77";
    s.go("dns", &["-p", "5353:53/udp", "-p", "5353:53/tcp"], services(), &["sh", "-c", serve]);
    s.listens("dns", "udp", 53);
    s.go("near", &[], services(), &["sleep", "100000"]);
    let gateway = s.ends("dns", "bridge").gateway;
    for how in ["+notcp", "+tcp"] {
        for (who, address) in [
            ("lan", US),
            ("lan", US6),
            ("host", US),
            ("host", US6),
            ("host", "127.0.0.1"),
            ("host", "::1"),
            ("near", US),
            ("near", US6),
            ("near", &gateway),
            ("dns", US),
        ] {
            let server = format!("@{address}");
            let dig = ["dig", "+time=2", "+tries=3", "+short", how, "-p", "5353", &server, "name.example"];
            let words = served(&dig);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let done = match who {
                "lan" => within(&mut s.lan().command(&words)),
                "host" => within(&mut at_host(&words)),
                _ => s.ctr(&[&["exec", who], &dig[..]].concat()),
            };
            assert_eq!((done.code, done.out.as_str()), (0, "192.0.2.77\n"), "{who} {address} {how}: {done:?}");
        }
    }
    let shown = s.ok(&["port", "dns"]);
    let wanted = ["53/tcp -> 0.0.0.0:5353", "53/tcp -> [::]:5353", "53/udp -> 0.0.0.0:5353", "53/udp -> [::]:5353"];
    assert_eq!(shown.lines().collect::<BTreeSet<_>>(), wanted.into(), "{shown}");
    s.rm(&["dns", "near"]);
    // Datagrams keep their source, too, also when the container is made anew while somebody keeps on asking from one port.
    for word in ["udp", "again"] {
        s.server(word, &["-p", "7001:7001/udp"], "udp", "::", 7001);
        assert_eq!(s.ask("lan", US, 7001, false).code(0).out, format!("{word} {THEM}\n"));
        assert_eq!(s.ask("lan", US6, 7001, false).code(0).out, format!("{word} {THEM6}\n"));
        s.ask("host", "127.0.0.1", 7001, false).code(0);
        s.rm(&[word]);
        assert_ne!(s.ask("lan", US, 7001, true).code, 0);
    }
    s.end();
}

/// moby #8795, #16720: the kernel goes on sending datagrams of one who never stops asking to a container that has gone.
#[test]
fn who_asks_on_and_on_finds_the_new_container() {
    let s = Site::new();
    let asker = "
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('', 40000)); s.settimeout(0.1)
last = None
while True:
    try:
        s.sendto(b'who', (sys.argv[1], 7001))
        word = s.recv(100).split()[0].decode()
        if word != last: print(word, flush=True)
        last = word
    except OSError: time.sleep(0.02)
";
    let words = served(&["python3", "-u", "-c", asker, US]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for mut asks in [Live::start(&mut s.lan().command(&words)), Live::start(&mut at_host(&words))] {
        // Before, it asks nobody; then the first, then the next one at another address.
        s.server("first", &["-p", "7001:7001/udp"], "udp", "0.0.0.0", 7001);
        asks.hear("first\n");
        s.rm(&["first"]);
        s.idle("between", &[]);
        s.server("second", &["-p", "7001:7001/udp"], "udp", "0.0.0.0", 7001);
        asks.hear("second\n");
        s.rm(&["second", "between"]);
    }
    s.end();
}

#[test]
fn ranges_any_port_and_all_that_is_exposed() {
    let s = Site::new();
    let serve = "for p in 80 81 82 83; do mkdir /w$p; echo page $p >/w$p/index.html; httpd -p $p -h /w$p; done; exec sleep 100000";
    let options = [
        "-p",
        "8000-8002:80-82",
        "-p",
        "80",
        "-p",
        "127.0.0.1:9000:81",
        "-P",
        "--expose",
        "82",
        "--expose",
        "83",
        "--expose",
        "90/udp",
    ];
    s.go("web", &options, busybox(), &["sh", "-c", serve]);
    for port in [80, 81, 82] {
        s.listens("web", "tcp", port);
    }
    for n in 0..3 {
        s.reads("lan", &format!("{US}:{}", 8000 + n), &format!("page {}", 80 + n));
        s.reads("host", &format!("127.0.0.1:{}", 8000 + n), &format!("page {}", 80 + n));
    }
    s.fails("lan", &format!("{US}:8003"));
    s.reads("host", "127.0.0.1:9000", "page 81");
    let shown = s.ok(&["port", "web"]);
    let of = |port: &str| -> Vec<String> {
        let prefix = format!("{port} -> ");
        shown.lines().filter_map(|l| l.strip_prefix(&prefix)).map(str::to_owned).collect()
    };
    assert!(of("81/tcp").contains(&"127.0.0.1:9000".to_owned()), "{shown}");
    // What has a port already is not given another one.
    assert_eq!(of("82/tcp"), ["0.0.0.0:8002", "[::]:8002"]);
    // Any port is one port, for both families, and is where it is said to be.
    for (port, known) in [("80/tcp", ":8000"), ("83/tcp", ":none"), ("90/udp", ":none")] {
        let any: Vec<_> = of(port).into_iter().filter(|at| !at.ends_with(known)).collect();
        assert_eq!(any.len(), 2, "{port}: {shown}");
        let number = any[0].rsplit(':').next().unwrap();
        assert!(any[0] == format!("0.0.0.0:{number}") && any[1] == format!("[::]:{number}"), "{any:?}");
        assert!(number.parse::<u16>().unwrap() >= 1024, "{any:?}");
        if port.ends_with("tcp") {
            s.reads("lan", &format!("{US}:{number}"), &format!("page {}", &port[..2]));
        }
    }
    s.rm(&["web"]);
    // Others have theirs; one that is in use is not given out.
    let names: Vec<String> = (0..8).map(|n| format!("any{n}")).collect();
    let mut seen = BTreeSet::new();
    for name in &names {
        s.idle(name, &["-p", "80"]);
        assert!(seen.insert(s.ok(&["port", name, "80"])), "{seen:?}");
    }
    s.rm(&names.iter().map(String::as_str).collect::<Vec<_>>());
    s.end();
}

// ---- what must not be

#[test]
fn only_what_is_published_and_only_where() {
    let s = Site::new();
    sh("ip addr add 192.0.2.3/24 dev up0; ip addr add 2001:db8:2::3/64 dev up0 nodad");
    let serve = "mkdir /w; echo web >/w/index.html; httpd -p 81 -h /w; exec httpd -f -p 80 -h /w";
    let options = [
        "-p",
        "8080:80",
        "-p",
        "127.0.0.1:8081:80",
        "-p",
        "192.0.2.3:8082:80",
        "-p",
        "[2001:db8:2::3]:8083:80",
        "-p",
        "[::1]:8084:80",
    ];
    s.go("web", &options, busybox(), &["sh", "-c", serve]);
    s.listens("web", "tcp", 80);
    s.listens("web", "tcp", 81);
    s.idle("near", &[]);
    let e = s.ends("web", "bridge");
    // The other machine knows the way to the container, which works: its gateway answers.
    s.lan().sh(&format!("ip route add 10.88.0.0/16 via {US}; ip -6 route add {}/64 via {US6}", e.gateway6));
    s.lan().sh(&format!("busybox ping -c 1 -w 5 {}; busybox ping -c 1 -w 5 {}", e.gateway, e.gateway6));
    for port in ["80", "81", "8080"] {
        s.fails("lan", &format!("{}:{port}", e.address));
        s.fails("lan", &format!("[{}]:{port}", e.address6));
    }
    let done = within(&mut s.lan().command(&["busybox", "ping", "-c", "1", "-w", "1", &e.address]));
    assert_ne!(done.code, 0, "{done:?}");
    // This host and neighbours may.
    for who in ["host", "near"] {
        s.reads(who, &format!("{}:81", e.address), "web");
    }
    // Where it was published, and nowhere else.
    for (port, good) in [
        (8080, &["lan 192.0.2.1", "lan 192.0.2.3", "lan [2001:db8:2::1]", "host 127.0.0.1", "host [::1]"][..]),
        (8081, &["host 127.0.0.1"]),
        (8082, &["lan 192.0.2.3", "host 192.0.2.3", "near 192.0.2.3"]),
        (8083, &["lan [2001:db8:2::3]", "host [2001:db8:2::3]", "near [2001:db8:2::3]"]),
        (8084, &["host [::1]"]),
    ] {
        for place in [
            "lan 192.0.2.1",
            "lan 192.0.2.3",
            "lan [2001:db8:2::1]",
            "lan [2001:db8:2::3]",
            "host 127.0.0.1",
            "host [::1]",
            "host 192.0.2.1",
            "host 192.0.2.3",
            "host [2001:db8:2::3]",
            "near 10.88.0.1",
            "near 192.0.2.3",
            "near [2001:db8:2::3]",
        ] {
            let (who, address) = place.split_once(' ').unwrap();
            if good.contains(&place) {
                s.reads(who, &format!("{address}:{port}"), "web");
            } else if port != 8080 {
                s.fails(who, &format!("{address}:{port}"));
            }
        }
    }
    s.rm(&["web", "near"]);
    s.end();
}

/// moby #41872, #45610, CVE-2020-8558: what is published on 127.0.0.1 is this host's alone, also when others send it packets for
/// 127.0.0.1, and the host's own settings let those in.
#[test]
fn loopback_is_nobody_elses() {
    let s = Site::new();
    s.web("web", &["-p", "127.0.0.1:8080:80", "-p", "8081:80"]);
    s.server("udp", &["-p", "127.0.0.1:8080:80/udp"], "udp", "0.0.0.0", 80);
    s.idle("near", &[]);
    s.ok(&["network", "create", "other"]);
    s.idle("far", &["--network", "other"]);
    // As kube-proxy sets it. A program of this host's is then reached in this way, so the packets do come.
    let _open = s.program(false, "tcp", "127.0.0.1", 9000, "open");
    let _open_udp = s.program(false, "udp", "127.0.0.1", 9000, "open");
    sh("sysctl -qw net.ipv4.conf.all.route_localnet=1");
    let lie = |by: &str, link: &str, from: &str| {
        format!(
            "sysctl -qw net.ipv4.conf.all.route_localnet=1
            ip route flush table local dev lo; ip route flush table local type local dev lo
            ip route add 127.0.0.0/8 via {by} dev {link} src {from}"
        )
    };
    s.lan().sh(&lie(US, "lan0", THEM));
    let (near, far) = (s.pid("near"), s.pid("far"));
    for (pid, name, network) in [(near, "near", "bridge"), (far, "far", "other")] {
        let e = s.ends(name, network);
        within(&mut at(pid, &["sh", "-ec", &lie(&e.gateway, "eth0", &e.address)])).code(0);
    }
    // Who tells lies is not answered by its own kernel: what comes back is looked at as it arrives.
    let ear = "table ip ear {
        set streams { type inet_service; flags dynamic; size 99; }
        set datagrams { type inet_service; flags dynamic; size 99; }
        chain c { type filter hook prerouting priority -400;
            ip saddr 127.0.0.0/8 tcp flags & (syn | ack) == syn | ack add @streams { tcp sport }
            ip saddr 127.0.0.0/8 udp sport != 0 add @datagrams { udp sport }
        }
    }";
    for (who, pid) in [("lan", s.lan().pid()), ("near", near), ("far", far)] {
        within(&mut at(pid, &["nft", ear])).code(0);
        let get = |url: &str| within(&mut at(pid, &["curl", "-sS", "--noproxy", "*", "-m", "1", url]));
        for port in ["8080", "8081", "9000"] {
            get(&format!("http://127.0.0.1:{port}/"));
            let words = served(&["python3", "-c", ASK, "127.0.0.1", port, "0.3", "once"]);
            within(&mut at(pid, &words.iter().map(String::as_str).collect::<Vec<_>>()));
        }
        let heard = within(&mut at(pid, &["nft", "list", "table", "ip", "ear"])).code(0).out;
        assert_eq!(heard.matches("9000").count(), 2, "{who}: the test itself: {heard}");
        assert!(!heard.contains("808"), "{who}: {heard}");
        // Nor by this host's other addresses.
        for address in [US, "10.88.0.1", "10.128.0.1"] {
            let done = get(&format!("http://{address}:8080/"));
            assert!(done.code != 0 && done.out.is_empty(), "{who} gets {address}:8080: {done:?}");
        }
    }
    s.reads("host", "127.0.0.1:8080", "web");
    sh("sysctl -qw net.ipv4.conf.all.route_localnet=0");
    s.rm(&["web", "udp", "near", "far"]);
    s.end();
}

#[test]
fn networks_do_not_see_each_other() {
    let s = Site::new();
    let _them = s.program(true, "tcp", "::", 7000, "seen");
    let _host = s.program(false, "tcp", "::", 7001, "host");
    s.ok(&["network", "create", "--ipv6", "a"]);
    s.ok(&["network", "create", "--ipv6", "b"]);
    s.ok(&["network", "create", "--ipv6", "--internal", "in"]);
    for (name, network) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("d1", "bridge"), ("i1", "in"), ("i2", "in")] {
        s.web(name, &["--network", network]);
    }
    s.web("shown", &["--network", "a", "-p", "8080:80"]);
    let of = |name: &str, network: &str| {
        let e = s.ends(name, network);
        [format!("{}:80", e.address), format!("[{}]:80", e.address6)]
    };
    let all = [("a1", "a"), ("a2", "a"), ("b1", "b"), ("d1", "bridge"), ("i1", "in"), ("i2", "in")];
    for (who, own) in all {
        for (whom, theirs) in all {
            for url in of(whom, theirs) {
                if own == theirs {
                    s.reads(who, &url, whom);
                } else {
                    s.fails(who, &url);
                }
            }
        }
    }
    // Out, and to what is published, go all but the internal one; and nobody comes into that.
    for who in ["a1", "b1", "d1"] {
        s.reads(who, &format!("{THEM}:7000"), US);
        s.reads(who, &format!("[{THEM6}]:7000"), US6);
        s.reads(who, &format!("{US}:8080"), "shown");
    }
    for url in [format!("{THEM}:7000"), format!("[{THEM6}]:7000"), format!("{US}:8080")] {
        s.fails("i1", &url);
    }
    s.reads("host", &of("i1", "in")[0], "i1");
    let [i4, _] = of("i1", "in");
    s.lan().sh(&format!("ip route add 10.128.0.0/9 via {US}"));
    s.fails("lan", &i4);
    s.fails("lan", &of("a1", "a")[0]);
    // The host may be spoken with.
    let gateway = s.ends("i1", "in").gateway;
    s.reads("i1", &format!("{gateway}:7001"), "host");
    s.rm(&["a1", "a2", "b1", "d1", "i1", "i2", "shown"]);
    s.end();
}

/// CVE-2020-13401.
#[test]
fn who_claims_to_be_a_router_is_not_believed() {
    let s = Site::new();
    s.go("liar", &[], services(), &["sleep", "100000"]);
    s.idle("near", &[]);
    let advertise = |link: &str, prefix: &str| served(&["python3", "-c", ADVERTISE, link, prefix]);
    // Somebody who believes: the other machine. So the words are well chosen.
    s.lan().sh("sysctl -qw net.ipv6.conf.lan0.accept_ra=2");
    let words = advertise("up0", "2001:db8:bad1::");
    until("our own advertisement to be believed", || {
        within(&mut at_host(&words.iter().map(String::as_str).collect::<Vec<_>>())).code(0);
        s.lan().sh("ip -6 route").contains("2001:db8:bad1::/64").then_some(())
    });
    let before = sh("ip -6 route; ip -6 addr show dev ctr0");
    // The worst case: this host does not forward IPv6, and so would listen.
    for forwards in ["1", "0"] {
        fs::write(FORWARDING[1], forwards).unwrap();
        s.ok(&["exec", "liar", "python3", "-c", ADVERTISE, "eth0", "2001:db8:bad2::"]);
        // In order, on the same link.
        s.says("liar", "ping -c 2 -w 5 $(ip -6 route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p')");
        let now = sh("ip -6 route; ip -6 addr");
        assert!(!now.contains("2001:db8:bad2") && !now.contains("proto ra"), "before {before}, now {now}");
    }
    fs::write(FORWARDING[1], "1").unwrap();
    s.rm(&["liar", "near"]);
    s.end();
}

/// A container that has root and NET_RAW speaks for nobody but itself in what leaves this host.
#[test]
fn what_leaves_has_this_hosts_address() {
    let s = Site::new();
    let mut ear = Live::start(&mut s.lan().command(&[
        "chroot",
        services(),
        "python3",
        "-u",
        "-c",
        "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('0.0.0.0', 7000)); print('up', flush=True)
while True: print(s.recvfrom(100)[1][0], flush=True)
",
    ]));
    ear.hear("up\n");
    s.go("one", &[], services(), &["sleep", "100000"]);
    let say = format!(
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', ('{THEM}', 7000))"
    );
    s.ok(&["exec", "one", "python3", "-c", &say]);
    assert_eq!(ear.line(), US);
    s.rm(&["one"]);
    s.end();
}

// ---- one port, one owner

#[test]
fn who_comes_second_is_told_who_was_first() {
    let s = Site::new();
    sh("ip addr add 192.0.2.3/24 dev up0");
    s.idle(
        "first",
        &["-p", "8080:80", "-p", "192.0.2.1:8081:80", "-p", "127.0.0.1:8082:80", "-p", "8090-8095:90-95"],
    );
    for ports in [
        &["8080:80"][..],
        &["8080:1"],
        &["127.0.0.1:8080:80"],
        &["192.0.2.3:8080:80"],
        &["[::1]:8080:80"],
        &["192.0.2.1:8081:80"],
        &["8081:80"],
        &["8082:80"],
        &["8095-8099:80-84"],
        &["8079:79", "8080:80"],
    ] {
        let mut words = vec!["run", "-d", "--name", "second"];
        words.extend(ports.iter().flat_map(|p| ["-p", p]));
        words.extend([busybox(), "sleep", "100000"]);
        s.bad(&words, &["first", "80"]);
        words.remove(1);
        words.insert(1, "--rm");
        s.bad(&words, &["first"]);
    }
    // Others are free.
    s.idle("second", &["-p", "8080:80/udp", "-p", "192.0.2.3:8081:80", "-p", "192.0.2.1:8082:80"]);
    s.rm(&["second"]);
    // Made, it asks for nothing yet; started, it is told, and can be started when the other has gone.
    s.ok(&["create", "--name", "later", "-p", "8080:80", busybox(), "sleep", "100000"]);
    let before = s.picture();
    s.ctr(&["start", "later"]).refused(&["8080", "first"]);
    s.unchanged(&before, "start");
    assert!(s.field("later", "{{.State.Error}}").contains("8080"));
    s.halt("stop", "first");
    s.ok(&["start", "later"]);
    s.ctr(&["start", "first"]).refused(&["8080", "later"]);
    s.rm(&["later", "first"]);
    // Eight at once: one gets it.
    for round in 0..5 {
        let all: Vec<Live> = (0..8)
            .map(|n| {
                let name = format!("racer{n}");
                Live::start(&mut plain(["run", "-d", "--name", &name, "-p", "8080:80", busybox(), "sleep", "100000"]))
            })
            .collect();
        let all: Vec<Done> = all.into_iter().map(Live::done).collect();
        assert_eq!(all.iter().filter(|d| d.code == 0).count(), 1, "round {round}: {all:#?}");
        for done in all.into_iter().filter(|d| d.code != 0) {
            done.refused(&["8080", "racer"]);
        }
        let names = s.ok(&["ps", "-a", "--format", "{{.Names}}"]);
        assert_eq!(names.lines().count(), 1, "{names}");
        s.rm(&[names.trim()]);
    }
    s.end();
}

#[test]
fn a_port_of_another_program() {
    let s = Site::new();
    s.idle("there", &[]);
    for (kind, address) in [
        ("tcp", "0.0.0.0"),
        ("tcp", "::"),
        ("tcp", "127.0.0.1"),
        ("tcp", US),
        ("tcp", "::1"),
        ("udp", "0.0.0.0"),
        ("udp", US),
    ] {
        let program = s.program(false, kind, address, 8080, "theirs");
        let port = format!("8080:80/{kind}");
        s.bad(&["run", "-d", "--name", "web", "-p", &port, busybox(), "sleep", "100000"], &["8080"]);
        s.bad(&["run", "--rm", "-p", &format!("8079-8081:79-81/{kind}"), busybox(), "true"], &["8080"]);
        // It goes on as before.
        if kind == "tcp" {
            let to = if address.contains(':') {
                "[::1]"
            } else if address == US {
                US
            } else {
                "127.0.0.1"
            };
            s.reads("host", &format!("{to}:8080"), "theirs");
        }
        drop(program);
        s.ok(&["run", "--rm", "-p", &port, busybox(), "true"]);
    }
    // One that is about to end still has connections of its own: those are in nobody's way.
    s.web("web", &["-p", "8080:80"]);
    s.reads("host", "127.0.0.1:8080", "web");
    s.rm(&["web"]);
    s.web("web", &["-p", "8080:80"]);
    s.reads("host", "127.0.0.1:8080", "web");
    s.rm(&["web", "there"]);
    s.end();
}

// ---- names

#[test]
fn they_find_each_other_by_name() {
    let s = Site::new();
    s.ok(&["network", "create", "--ipv6", "n"]);
    s.ok(&["network", "create", "m"]);
    let id =
        s.web("a", &["--network", "n", "--network-alias", "first", "--network-alias", "uno.example", "-h", "box"]);
    // Who asks for a name that is not there hears so at once.
    s.idle("b", &["--network", "n", "--dns", "127.0.0.1"]);
    s.idle("stranger", &["--network", "m", "--dns", "127.0.0.1"]);
    s.go("glibc", &["--network", "n"], services(), &["sleep", "100000"]);
    let address = s.ends("a", "n").address;
    for name in ["a", "first", "uno.example", &id[..12]] {
        assert_eq!(s.ping("b", name).as_deref(), Some(&*address), "{name}");
        let out = s.says("glibc", &format!("getent ahostsv4 {name} | head -1"));
        assert!(out.starts_with(&format!("{address} ")), "{name}: {out}");
        assert_eq!(s.ping("stranger", name), None, "{name}");
    }
    let out = s.says("glibc", "getent ahostsv6 a | head -1");
    assert!(out.starts_with(&s.ends("a", "n").address6), "{out}");
    s.reads("b", "first:80", "a");
    assert_eq!(s.ping("a", "a").as_deref(), Some(&*address));
    assert_eq!(s.ping("a", "box").as_deref(), Some(&*address));
    // Those that come are known at once, and those that go are not.
    s.idle("c", &["--network", "n"]);
    for who in ["a", "b"] {
        assert_eq!(s.ping(who, "c").as_deref(), Some(&*s.ends("c", "n").address));
    }
    for end in [&["stop", "-t", "0", "c"][..], &["rm", "-f", "c"]] {
        s.ctr(end).code(0);
        for who in ["a", "b"] {
            let hosts = s.says(who, "cat /etc/hosts");
            assert!(!hosts.split_whitespace().any(|w| w == "c"), "{end:?}: {hosts}");
        }
    }
    // Without anybody's word: killed, and ended by itself.
    s.idle("c", &["--network", "n"]);
    signal(s.pid("c"), libc::SIGKILL);
    until("c to be forgotten", || {
        (!s.says("b", "cat /etc/hosts").split_whitespace().any(|w| w == "c")).then_some(())
    });
    // Back, at another address, since somebody else has its own now.
    let was = "10.128.0.".to_owned();
    s.idle("d", &["--network", "n"]);
    s.ok(&["start", "c"]);
    assert_eq!(s.ping("b", "c").as_deref(), Some(&*s.ends("c", "n").address), "{was}");
    assert_eq!(s.ping("b", "d").as_deref(), Some(&*s.ends("d", "n").address));
    assert_ne!(s.ends("c", "n").address, s.ends("d", "n").address);
    // Another name.
    s.ok(&["rename", "a", "z"]);
    assert_eq!((s.ping("b", "z"), s.ping("b", "a")), (Some(address.clone()), None));
    assert_eq!(s.ping("b", "first"), Some(address.clone()));
    assert_eq!(s.ping("z", "z"), Some(address.clone()));
    // On two networks, one is found by those of each.
    s.ok(&["network", "connect", "--alias", "bridgehead", "m", "z"]);
    let there = s.ends("z", "m").address;
    for name in ["z", "bridgehead"] {
        assert_eq!(s.ping("stranger", name), Some(there.clone()), "{name}");
    }
    assert_eq!((s.ping("b", "z"), s.ping("b", "bridgehead")), (Some(address), None));
    assert_eq!(s.ping("z", "stranger"), Some(s.ends("stranger", "m").address));
    s.ok(&["network", "disconnect", "m", "z"]);
    assert_eq!((s.ping("stranger", "z"), s.ping("z", "stranger")), (None, None));
    // On the default network, too.
    s.idle("x", &[]);
    s.idle("y", &[]);
    assert_eq!((s.ping("x", "y"), s.ping("y", "x")), (Some(s.address("y")), Some(s.address("x"))));
    // Who is on a network of another's has its names, and ends up in nobody's way.
    let out =
        s.ok(&["run", "--rm", "--name", "guest", "--network", "container:b", busybox(), "wget", "-qO-", "http://z/"]);
    assert_eq!(out, "a\n");
    s.rm(&["z", "b", "c", "d", "x", "y", "glibc", "stranger"]);
    s.end();
}

#[test]
fn hosts_by_hand() {
    let s = Site::new();
    let _host = s.program(false, "tcp", "::", 7000, "host");
    let hosts =
        ["--add-host", "up:host-gateway", "--add-host", "far.example:192.0.2.99", "--add-host", "six:2001:db8::9"];
    s.idle("one", &hosts);
    let text = s.says("one", "cat /etc/hosts");
    for wanted in ["192.0.2.99\tfar.example", "2001:db8::9\tsix", "127.0.0.1\tlocalhost"] {
        assert!(text.contains(wanted), "no {wanted:?} in {text}");
    }
    s.reads("one", "up:7000", &format!("host {}", s.address("one")));
    // What others do later leaves them there, and so does a new start.
    s.idle("two", &[]);
    s.rm(&["two"]);
    s.halt("restart", "one");
    let text = s.says("one", "cat /etc/hosts");
    assert!(
        text.contains("far.example") && text.contains("up") && !text.split_whitespace().any(|w| w == "two"),
        "{text}"
    );
    s.reads("one", "up:7000", "host ");
    // In a file that is a part of its root, nothing of this is left.
    assert!(!Path::new(busybox()).join("etc/hosts").exists());
    s.rm(&["one"]);
    s.end();
}

#[test]
fn name_servers() {
    let s = Site::new();
    let place = Scratch::new("resolv");
    let (file, real) = (place.join("resolv.conf"), Path::new("/run/systemd/resolve/resolv.conf"));
    fs::write(&file, "").unwrap();
    sh(&format!("mount --bind {} /etc/resolv.conf", file.display()));
    let dns = served(&[
        "dnsmasq",
        "-k",
        "-u",
        "root",
        "--no-resolv",
        "--no-hosts",
        "--address=/name.example/192.0.2.77",
        "--log-facility=-",
    ]);
    let _dns = Live::start(&mut s.lan().command(&dns.iter().map(String::as_str).collect::<Vec<_>>()));
    until("a name server", || listens(s.lan().pid(), "udp", 53).then_some(()));
    let cat = |options: &[&str]| {
        within(plain(["run", "--rm"]).args(options).args([busybox(), "cat", "/etc/resolv.conf"])).code(0)
    };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        // As it stands.
        fs::write(&file, format!("search lan.example\nnameserver {THEM}\noptions ndots:2 timeout:1\n")).unwrap();
        let done = cat(&[]);
        for wanted in [&*format!("nameserver {THEM}\n"), "search lan.example\n", "ndots:2", "timeout:1"] {
            assert!(done.out.contains(wanted), "no {wanted:?} in {done:?}");
        }
        let out = s.ok(&["run", "--rm", busybox(), "nslookup", "-type=a", "name.example"]);
        assert!(out.contains("192.0.2.77"), "{out}");
        // Loopback addresses mean nothing inside; the others do.
        fs::write(&file, format!("nameserver 127.0.0.1\nnameserver {THEM}\nnameserver ::1\nsearch x.example\n"))
            .unwrap();
        let out = cat(&[]).out;
        let wanted = [&*format!("nameserver {THEM}"), "search x.example"];
        assert_eq!(out.lines().collect::<BTreeSet<_>>(), wanted.into(), "{out}");
        // systemd-resolved keeps the real ones elsewhere.
        fs::write(&file, "# stub\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n").unwrap();
        fs::create_dir_all(real.parent().unwrap()).unwrap();
        fs::write(real, format!("nameserver {THEM}\nsearch real.example\n")).unwrap();
        let done = cat(&[]);
        assert!(done.out.contains(&format!("nameserver {THEM}\n")) && !done.out.contains("127.0"), "{done:?}");
        assert!(s.ok(&["run", "--rm", busybox(), "nslookup", "-type=a", "name.example"]).contains("192.0.2.77"));
        // With the host's own network its own are right.
        assert!(cat(&["--network", "host"]).out.contains("nameserver 127.0.0.53\n"));
        // Nobody at all: nothing is made up, and it is said.
        fs::remove_dir_all(real.parent().unwrap().parent().unwrap()).unwrap();
        for text in ["nameserver 127.0.0.53\n", "", "# nothing\n\n"] {
            fs::write(&file, text).unwrap();
            let done = cat(&[]);
            assert!(!done.out.lines().any(|l| l.starts_with("nameserver")), "{done:?}");
            assert!(text != "nameserver 127.0.0.53\n" || (done.out + &done.err).contains("name server"), "{text:?}");
        }
        // By hand, whatever the host has.
        let by_hand = [
            "--dns",
            THEM,
            "--dns",
            "2001:db8::53",
            "--dns-search",
            "a.example",
            "--dns-search",
            "b.example",
            "--dns-option",
            "ndots:3",
            "--dns-option",
            "timeout:2",
        ];
        let done = cat(&by_hand);
        let words: Vec<Vec<&str>> = done.out.lines().map(|l| l.split_whitespace().collect()).collect();
        for wanted in [
            &["nameserver", THEM][..],
            &["nameserver", "2001:db8::53"],
            &["search", "a.example", "b.example"],
            &["options", "ndots:3", "timeout:2"],
        ] {
            assert!(words.iter().any(|w| w == wanted), "no {wanted:?} in {done:?}");
        }
        assert_eq!(words.len(), 4, "{done:?}");
        assert_eq!(done.err, "");
        let out = s.ok(&["run", "--rm", "--dns", THEM, busybox(), "nslookup", "-type=a", "name.example"]);
        assert!(out.contains("192.0.2.77"), "{out}");
        // It is the container's, and may be written to.
        fs::write(&file, format!("nameserver {THEM}\n")).unwrap();
        s.ok(&[
            "run",
            "--rm",
            busybox(),
            "sh",
            "-c",
            "echo nameserver 192.0.2.9 >/etc/resolv.conf; grep -q 2.9 /etc/resolv.conf",
        ]);
        assert_eq!(read(file.to_str().unwrap()), format!("nameserver {THEM}"));
    }));
    sh("umount /etc/resolv.conf");
    let _ = fs::remove_dir_all("/run/systemd");
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
    s.end();
}

// ---- networks

#[test]
fn networks_come_and_go() {
    let s = Site::new();
    let id = s.ok(&["network", "create", "--label", "for=tests", "one"]);
    let id = id.trim_end();
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    let own = [
        "network",
        "create",
        "--subnet",
        "10.5.0.0/24",
        "--gateway",
        "10.5.0.9",
        "--ipv6",
        "--subnet",
        "fd05::/64",
        "--mtu",
        "1300",
        "two",
    ];
    s.ok(&own);
    let (a, b) = (
        s.web("a", &["--network", "one"]),
        s.web("b", &["--network", "two", "--network", "one", "--network-alias", "bee"]),
    );
    assert_eq!(s.ok(&["network", "ls", "-q"]).lines().collect::<BTreeSet<_>>(), ["one", "two"].into());
    let [one, two] = ["one", "two"].map(|name| s.ok(&["network", "inspect", name]));
    for (json, wanted) in [
        (&one, &[id, "\"one\"", "10.128.0.0/24", "10.128.0.1", "\"for\": \"tests\"", &a, &b][..]),
        (&two, &["10.5.0.0/24", "10.5.0.9", "fd05::/64", "fd05::1", "1300", &b]),
    ] {
        for word in wanted {
            assert!(json.contains(word), "no {word:?} in {json}");
        }
    }
    assert!(!two.contains(&a), "{two}");
    let both = s.ok(&["network", "inspect", "one", "two", "--format", "{{.Name}} {{.Driver}}"]);
    assert_eq!(both, "one bridge\ntwo bridge\n");
    // By id, whole or short.
    assert_eq!(s.ok(&["network", "inspect", "--format", "{{.Name}}", id, &id[..12]]), "one\none\n");
    let links = sh("ip -o link");
    assert!(links.contains(&format!(" ctr-{}:", &id[..8])), "{links}");
    // In the order they were asked for.
    let (first, second) = (s.ends("b", "two"), s.ends("b", "one"));
    let shown = s.says("b", "ip -o addr show dev eth0; ip -o addr show dev eth1; cat /sys/class/net/eth0/mtu /sys/class/net/eth1/mtu; ip route");
    for wanted in [
        &*format!("eth0    inet {}/24", first.address),
        &format!("eth1    inet {}/24", second.address),
        "\n1300\n1500\n",
        "default via 10.5.0.9 dev eth0",
    ] {
        assert!(shown.contains(wanted), "no {wanted:?} in {shown}");
    }
    assert_eq!(shown.matches("default").count(), 1, "{shown}");
    assert!(first.address6.starts_with("fd05::") && second.address6.is_empty(), "{first:?} {second:?}");
    assert!(
        links.contains(&format!("ve{}.0@", &b[..10])) && links.contains(&format!("ve{}.1@", &b[..10])),
        "{links}"
    );
    for (who, whom) in [("a", &second.address), ("host", &first.address), ("host", &second.address)] {
        s.reads(who, &format!("{whom}:80"), "b");
    }
    assert_eq!(s.ping("a", "bee"), Some(second.address.clone()));
    // The drawing.
    let drawn = s.ok(&["network", "ls"]);
    for word in [
        "one",
        "two",
        &format!("ctr-{}", &id[..8]),
        "10.5.0.0/24",
        "10.5.0.9",
        "eth1",
        &second.address,
        &format!("ve{}.1", &b[..10]),
    ] {
        assert!(drawn.contains(word), "no {word:?} in {drawn}");
    }
    // In use: not to be removed.
    s.bad(&["network", "rm", "one"], &["one"]);
    s.ok(&["network", "prune", "-f"]);
    assert_eq!(s.ok(&["network", "ls", "-q"]).lines().count(), 2);
    // Off, and on again while it runs; and what it does is not interrupted on the other.
    s.ok(&["network", "disconnect", "two", "b"]);
    assert!(!s.exec("b", "ip -o addr").out.contains("10.5.0."));
    s.fails("host", &format!("{}:80", first.address));
    s.reads("a", &format!("{}:80", second.address), "b");
    s.reads("b", &format!("{}:80", s.ends("a", "one").address), "a");
    s.bad(&["network", "disconnect", "two", "b"], &["two"]);
    s.ok(&["network", "connect", "--ip", "10.5.0.77", "--ip6", "fd05::77", "--alias", "bumble", "two", "b"]);
    s.bad(&["network", "connect", "two", "b"], &["two"]);
    for url in ["10.5.0.77:80", "[fd05::77]:80"] {
        s.reads("host", url, "b");
    }
    s.ok(&["network", "connect", "two", "a"]);
    assert_eq!(s.ping("a", "bumble").as_deref(), Some("10.5.0.77"));
    // It lasts, from start to start.
    s.halt("restart", "b");
    s.listens("b", "tcp", 80);
    s.reads("host", "10.5.0.77:80", "b");
    assert_eq!(s.ends("b", "two").address, "10.5.0.77");
    // One that does not run is connected when it starts.
    s.halt("stop", "b");
    s.ok(&["network", "disconnect", "two", "b"]);
    s.ok(&["network", "create", "three"]);
    s.ok(&["network", "connect", "three", "b"]);
    s.ok(&["start", "b"]);
    s.listens("b", "tcp", 80);
    s.reads("host", &format!("{}:80", s.ends("b", "three").address), "b");
    let shown = s.says("b", "ip -o -4 addr");
    assert!(!shown.contains("10.5.0.") && shown.lines().count() == 3, "{shown}");
    // One network after the other; the link goes with it.
    s.rm(&["a", "b"]);
    assert_eq!(s.ok(&["network", "rm", "one", "two"]), "one\ntwo\n");
    let links = sh("ip -o link");
    assert!(!links.contains(&id[..8]) && !links.contains(": ve"), "{links}");
    assert!(!s.table().contains(&id[..8]) && !s.table().contains("10.5.0"), "{}", s.table());
    assert_eq!(s.ok(&["network", "prune", "-f"]).matches("three").count(), 1);
    assert_eq!(s.ok(&["network", "ls", "-q"]), "");
    s.end();
}

#[test]
fn a_network_survives_what_is_not_its_end() {
    // As after a boot: its record is there, its link and ctr's state are not.
    let s = Site::new();
    s.ok(&["network", "create", "--subnet", "10.5.0.0/24", "lasting"]);
    s.web("web", &["--network", "lasting", "--ip", "10.5.0.5", "-p", "8080:80", "--restart", "no"]);
    s.halt("stop", "web");
    sh(
        "for l in $(ip -br link | sed -n 's/^\\(ctr[^ @]*\\).*/\\1/p'); do ip link del $l; done; nft delete table inet ctr",
    );
    FORWARDING.iter().for_each(|path| fs::write(path, "0").unwrap());
    for folder in ["addresses", "ports", "members", "networks"] {
        let _ = fs::remove_dir_all(state().join(folder));
    }
    s.ok(&["start", "web"]);
    s.listens("web", "tcp", 80);
    s.reads("lan", &format!("{US}:8080"), "web");
    s.reads("host", "10.5.0.5:80", "web");
    s.rm(&["web"]);
    s.end();
}

#[test]
fn macvlan_makes_it_a_machine_on_the_lan() {
    let s = Site::new();
    let _them = s.program(true, "tcp", "::", 7000, "seen");
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
    let options = ["--network", "mac", "--ip", "192.0.2.50", "--mac-address", "02:11:22:33:44:55"];
    s.web("one", &options);
    s.web("two", &["--network", "mac"]);
    let shown = s.says("one", "ip -o link show dev eth0; ip -o addr show dev eth0; ip route");
    for wanted in ["02:11:22:33:44:55", " 192.0.2.50/24 ", "default via 192.0.2.2 dev eth0"] {
        assert!(shown.contains(wanted), "no {wanted:?} in {shown}");
    }
    // Seen with its own address, reached with it, and by neighbours; no address of others is given out.
    s.reads("one", &format!("{THEM}:7000"), "seen 192.0.2.50\n");
    s.reads("lan", "192.0.2.50:80", "one");
    let two = s.ends("two", "mac").address;
    assert!(![US, THEM, "192.0.2.50"].contains(&&*two), "{two}");
    s.reads("one", &format!("{two}:80"), "two");
    s.reads("lan", &format!("{two}:80"), "two");
    assert_eq!(s.ping("one", "two"), Some(two));
    s.bad(
        &["run", "-d", "--name", "three", "--network", "mac", "--ip", "192.0.2.50", busybox(), "sleep", "9"],
        &["192.0.2.50", "one"],
    );
    let before = sh("ip -o addr show dev up0");
    s.rm(&["one", "two"]);
    s.ok(&["network", "rm", "mac"]);
    assert_eq!(sh("ip -o addr show dev up0"), before);
    s.end();
}

#[test]
fn nonsense_is_refused() {
    let s = Site::new();
    s.ok(&["network", "create", "--subnet", "10.5.0.0/24", "there"]);
    s.idle("one", &[]);
    s.idle("two", &["--network", "there", "--ip", "10.5.0.5"]);
    s.ok(&["create", "--name", "lone", "--network", "none", busybox(), "true"]);
    s.ok(&["create", "--name", "open", "--network", "host", busybox(), "true"]);
    let long = "x".repeat(300);
    let subnet = |subnet: &'static str| vec!["--subnet", subnet, "x"];
    let mut create: Vec<Vec<&str>> = [
        "",
        "x",
        "10.6.0.0",
        "10.6.0.0/",
        "10.6.0.0/33",
        "10.6.0.0/-1",
        "10.6.0.0/2x",
        "10.6.0.0/32",
        "10.6.0.0/31",
        "10.6/16",
        "010.6.0.0/24",
        "0.0.0.0/0",
        "127.0.0.0/8",
        "127.1.0.0/24",
        "224.0.0.0/24",
        "240.0.0.0/24",
        "255.255.255.0/24",
        "192.0.2.0/24",
        "192.0.0.0/16",
        "192.0.2.128/26",
        "10.88.0.0/16",
        "10.88.7.0/24",
        "10.0.0.0/8",
        "10.5.0.0/24",
        "10.5.0.128/25",
        "10.4.0.0/15",
        "::/0",
        "fe80::/64",
        "ff02::/64",
        "::1/128",
        "fd00::/129",
        "2001:db8:2::/64",
        "2001:db8::/32",
        "fd00::/127",
        "fd00::/128",
        "::ffff:10.6.0.0/120",
    ]
    .map(subnet)
    .to_vec();
    create.extend([
        vec!["--subnet", "10.6.0.0/24", "--gateway", "10.7.0.1", "x"],
        vec!["--subnet", "10.6.0.0/24", "--gateway", "10.6.0.0", "x"],
        vec!["--subnet", "10.6.0.0/24", "--gateway", "10.6.0.255", "x"],
        vec!["--subnet", "10.6.0.0/24", "--gateway", "here", "x"],
        vec!["--subnet", "10.6.0.0/24", "--gateway", "fd00::1", "x"],
        vec!["--subnet", "10.6.0.0/24", "--gateway", "", "x"],
        vec!["--subnet", "10.6.0.0/24", "--subnet", "10.6.0.0/24", "x"],
        vec!["--mtu", "0", "x"],
        vec!["--mtu", "10", "x"],
        vec!["--mtu", "-1", "x"],
        vec!["--mtu", "99999999", "x"],
        vec!["--mtu", "big", "x"],
        vec!["--ipv6", "--mtu", "1000", "x"],
        vec!["-d", "ipvlan9", "x"],
        vec!["-d", "", "x"],
        vec!["-d", "macvlan", "x"],
        vec!["-d", "macvlan", "-o", "parent=", "x"],
        vec!["-d", "macvlan", "-o", "parent=nolink0", "--subnet", "10.6.0.0/24", "x"],
        vec!["-d", "macvlan", "-o", "parent=a/b", "--subnet", "10.6.0.0/24", "x"],
        vec!["-o", "nonsense=1", "x"],
        vec!["-o", "parent=up0", "x"],
        vec![],
        vec![""],
        vec!["a b"],
        vec!["a/b"],
        vec![".."],
        vec!["../x"],
        vec![".x"],
        vec!["x\ny"],
        vec!["x\u{1b}[31m"],
        vec!["bridge"],
        vec!["none"],
        vec!["host"],
        vec!["default"],
        vec!["container:one"],
        vec!["there"],
        vec![&long],
        vec!["x", "y"],
    ]);
    // The word is a choice, not a mistake.
    create.retain(|words| words != &["default"]);
    let mut wrong = Vec::new();
    let before = s.picture();
    for words in &create {
        if let Some(complaint) = s.complaint(&[&["network", "create"], &words[..]].concat(), &[]) {
            wrong.push(complaint);
            let _ = s.ctr(&[&["network", "rm"], &words[words.len().saturating_sub(1)..]].concat());
        }
    }
    for words in [
        &["network", "nonsense"][..],
        &["network", "rm"],
        &["network", "rm", "nobody"],
        &["network", "rm", "there"],
        &["network", "rm", "host"],
        &["network", "rm", "none"],
        &["network", "rm", "../there"],
        &["network", "rm", ""],
        &["network", "inspect", "nobody"],
        &["network", "inspect", "one"],
        &["network", "inspect", "there", "--format", "{{.Nonsense"],
        &["network", "connect", "there"],
        &["network", "connect", "nobody", "one"],
        &["network", "connect", "there", "nobody"],
        &["network", "connect", "there", "two"],
        &["network", "connect", "bridge", "one"],
        &["network", "connect", "host", "one"],
        &["network", "connect", "none", "one"],
        &["network", "connect", "there", "lone"],
        &["network", "connect", "there", "open"],
        &["network", "connect", "--ip", "10.5.0.5", "there", "one"],
        &["network", "connect", "--ip", "10.5.0.1", "there", "one"],
        &["network", "connect", "--ip", "10.9.0.1", "there", "one"],
        &["network", "connect", "--ip6", "fd00::5", "there", "one"],
        &["network", "connect", "--alias", "a b", "there", "one"],
        &["network", "disconnect", "there", "one"],
        &["network", "disconnect", "nobody", "one"],
        &["network", "disconnect", "there", "nobody"],
        &["port", "nobody"],
        &["port", "one", "x"],
        &["port", "one", "70000"],
        &["port"],
    ] {
        wrong.extend(s.complaint(words, &[]));
    }
    for options in [
        &["--network", "nobody"][..],
        &["--network", ""],
        &["--network", "container:nobody"],
        &["--network", "container:"],
        &["--network", "container:lone"],
        &["--network", "../there"],
        &["--network", "none", "--network", "there"],
        &["--network", "host", "--network", "there"],
        &["--network", "container:one", "--network", "there"],
        &["--network", "there", "--network", "there"],
        &["--network", "none", "-p", "8080:80"],
        &["--network", "container:one", "-p", "8080:80"],
        &["--network", "none", "--ip", "10.5.0.9"],
        &["--network", "host", "--mac-address", "02:00:00:00:00:01"],
        &["--network", "container:one", "--network-alias", "x"],
        &["--network", "there", "--ip", "10.5.0.5"],
        &["--network", "there", "--ip", "10.5.0.1"],
        &["--network", "there", "--ip", "10.5.0.0"],
        &["--network", "there", "--ip", "10.5.0.255"],
        &["--network", "there", "--ip", "10.5.1.5"],
        &["--network", "there", "--ip", "10.5.0.x"],
        &["--network", "there", "--ip", "10.5.0.6/24"],
        &["--network", "there", "--ip", ""],
        &["--network", "there", "--ip", "0.0.0.0"],
        &["--network", "there", "--ip", "127.0.0.1"],
        &["--network", "there", "--ip", "010.5.0.6"],
        &["--network", "there", "--ip6", "fd00::6"],
        &["--network", "there", "--ip6", "10.5.0.6"],
        &["--network", "there", "--mac-address", "02:00"],
        &["--network", "there", "--mac-address", "01:00:5e:00:00:01"],
        &["--network", "there", "--mac-address", "00:00:00:00:00:00"],
        &["--network", "there", "--mac-address", "ff:ff:ff:ff:ff:ff"],
        &["--network", "there", "--mac-address", "02:00:00:00:00:0g"],
        &["--network", "there", "--mac-address", ""],
        &["--network-alias", ""],
        &["--network-alias", "a b"],
        &["--network-alias", "a_b c"],
        &["--network-alias", "-a"],
        &["--network-alias", "a..b"],
        &["--network-alias", "a\nb"],
        &["--network-alias", "localhost\t6.6.6.6"],
        &["--network-alias", &long],
        &["-p", ""],
        &["-p", ":"],
        &["-p", ":80"],
        &["-p", "8080:"],
        &["-p", "x"],
        &["-p", "0"],
        &["-p", "8080:0"],
        &["-p", "70000:80"],
        &["-p", "80:70000"],
        &["-p", "-1:80"],
        &["-p", "+80:80"],
        &["-p", " 80:80"],
        &["-p", "8080:80/icmp"],
        &["-p", "8080:80/"],
        &["-p", "8080:80/tcp/udp"],
        &["-p", "8000-8010:80-85"],
        &["-p", "8010-8000:80-90"],
        &["-p", "8000-:80"],
        &["-p", "1-65536:1-65536"],
        &["-p", "300.1.1.1:8080:80"],
        &["-p", "1.2.3:8080:80"],
        &["-p", "nowhere:8080:80"],
        &["-p", "[::1:8080:80"],
        &["-p", "[::g]:8080:80"],
        &["-p", "203.0.113.77:8080:80"],
        &["-p", "[2001:db8:77::1]:8080:80"],
        &["-p", "1:2:3:4"],
        &["-p", "8080:80", "-p", "8080:81"],
        &["-p", "8080:80", "-p", "127.0.0.1:8080:81"],
        &["-p", "8080-8090:80-90", "-p", "8085:99"],
        &["--expose", ""],
        &["--expose", "0"],
        &["--expose", "70000"],
        &["--expose", "x"],
        &["--expose", "80/icmp"],
        &["--expose", "90-80"],
        &["--dns", ""],
        &["--dns", "x"],
        &["--dns", "1.2.3"],
        &["--dns", "192.0.2.1\nnameserver 6.6.6.6"],
        &["--dns-search", "a b"],
        &["--dns-search", "a..b"],
        &["--dns-search", "a\nb"],
        &["--dns-option", "a\nb"],
        &["--dns-option", ""],
        &["--add-host", "x"],
        &["--add-host", "x:"],
        &["--add-host", ":192.0.2.9"],
        &["--add-host", "x:300.1.1.1"],
        &["--add-host", "x y:192.0.2.9"],
        &["--add-host", "x\ny:192.0.2.9"],
        &["--add-host", "x:host-gatewayy"],
    ] {
        for verb in [&["run", "--rm"][..], &["run", "-d"]] {
            if let Some(complaint) =
                s.complaint(&[verb, &["--name", "bad"], options, &[busybox(), "true"]].concat(), &[])
            {
                wrong.push(complaint);
                s.ctr(&["rm", "-f", "bad"]);
            }
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
    s.unchanged(&before, "all of it");
    // What was there goes on.
    assert_eq!(s.ping("two", "two").as_deref(), Some("10.5.0.5"));
    s.rm(&["one", "two", "lone", "open"]);
    s.end();
}

// ---- addresses

#[test]
fn addresses_are_had_once() {
    let s = Site::new();
    s.ok(&["network", "create", "--subnet", "10.5.0.0/29", "--subnet", "fd05::/64", "small"]);
    let options =
        ["--network", "small", "--ip", "10.5.0.6", "--ip6", "fd05::66", "--mac-address", "02:11:22:33:44:55"];
    s.web("fixed", &options);
    let check = || {
        let e = s.ends("fixed", "small");
        assert_eq!((&*e.address, &*e.address6, &*e.mac), ("10.5.0.6", "fd05::66", "02:11:22:33:44:55"));
        let shown = s.says("fixed", "ip -o link show dev eth0; ip -o addr show dev eth0");
        for wanted in [" 10.5.0.6/29 ", " fd05::66/64 ", "02:11:22:33:44:55"] {
            assert!(shown.contains(wanted), "no {wanted:?} in {shown}");
        }
    };
    check();
    s.halt("restart", "fixed");
    check();
    let run = |name: &'static str, more: &[&'static str]| -> Vec<&'static str> {
        [&["run", "-d", "--name", name, "--network", "small"], more, &[busybox(), "sleep", "100000"]].concat()
    };
    s.bad(&run("x", &["--ip", "10.5.0.6"]), &["10.5.0.6", "fixed"]);
    s.bad(&run("x", &["--ip6", "fd05::66"]), &["fd05::66", "fixed"]);
    // Six addresses, one of them the gateway's.
    for name in ["b", "c", "d", "e"] {
        s.ok(&run(name, &[]));
    }
    s.bad(&run("x", &[]), &["10.5.0.0/29", "small"]);
    let all: BTreeSet<String> = ["fixed", "b", "c", "d", "e"].map(|name| s.address(name)).into();
    assert_eq!(all.len(), 5, "{all:?}");
    assert!(!all.contains("10.5.0.1") && !all.contains("10.5.0.0") && !all.contains("10.5.0.7"), "{all:?}");
    // One that goes makes room, however it goes.
    s.rm(&["b"]);
    s.ok(&run("b", &[]));
    s.halt("stop", "c");
    s.ok(&run("f", &[]));
    let done = s.ctr(&["start", "c"]);
    done.refused(&["10.5.0.0/29"]);
    for name in ["d", "e"] {
        let pids = [s.field(name, "{{.Supervisor.Pid}}"), s.field(name, "{{.State.Pid}}")];
        for pid in pids.iter().map(|pid| pid.parse::<i32>().unwrap()) {
            signal(pid, libc::SIGKILL);
        }
        until("both to end", || pids.iter().all(|pid| crate::exec::gone(pid.parse().unwrap())).then_some(()));
    }
    for name in ["g", "h"] {
        s.ok(&run(name, &[]));
    }
    s.bad(&run("x", &[]), &["10.5.0.0/29"]);
    // A lease that nobody can have made any more is nobody's.
    s.rm(&["g"]);
    let ghost = state().join("addresses/10.5.0.4");
    let _ = fs::remove_file(&ghost);
    std::os::unix::fs::symlink("0".repeat(64), &ghost).unwrap();
    let more = s.ctr(&run("g", &[]));
    assert_eq!(more.code, 0, "{more:#?}");
    s.rm(&["fixed", "b", "c", "d", "e", "f", "g", "h"]);
    let _ = fs::remove_file(&ghost);
    // The one who asks for it and the one who is given any do not get the same.
    s.ok(&["network", "rm", "small"]);
    s.ok(&["network", "create", "--subnet", "10.5.0.0/24", "room"]);
    let all: Vec<Live> = (0..8)
        .map(|n| {
            let (name, ip) = (format!("r{n}"), format!("10.5.0.{}", 2 + n / 2));
            let mut command = plain(["run", "-d", "--name", &name, "--network", "room"]);
            command.args(if n % 2 == 0 { vec!["--ip", &*ip] } else { vec![] });
            Live::start(command.args([busybox(), "sleep", "100000"]))
        })
        .collect();
    let codes: Vec<Done> = all.into_iter().map(Live::done).collect();
    let names: Vec<String> = (0..8).filter(|n| codes[*n].code == 0).map(|n| format!("r{n}")).collect();
    let given: BTreeSet<String> = names.iter().map(|name| s.address(name)).collect();
    assert_eq!(given.len(), names.len(), "{given:?}");
    assert!((0..8).filter(|n| n % 2 == 1).all(|n| codes[n].code == 0), "{codes:#?}");
    s.rm(&names.iter().map(String::as_str).collect::<Vec<_>>());
    s.end();
}

#[test]
fn one_network_for_two() {
    let s = Site::new();
    s.idle("pod", &["-p", "8080:80", "-h", "pod"]);
    s.web("side", &["--network", "container:pod"]);
    s.reads("lan", &format!("{US}:8080"), "side");
    s.reads("pod", "127.0.0.1:80", "side");
    let [a, b] = ["pod", "side"].map(|name| s.says(name, "ip -o addr; cat /etc/hosts; readlink /proc/self/ns/net"));
    assert_eq!(a, b);
    assert!(s.field("side", "{{.HostConfig.NetworkMode}}").starts_with("container:"));
    // By id, and it is not said of the one what belongs to the other.
    let id = s.field("pod", "{{.Id}}");
    s.ok(&[
        "run",
        "--rm",
        "--network",
        &format!("container:{id}"),
        busybox(),
        "wget",
        "-q",
        "-O",
        "/dev/null",
        "http://127.0.0.1/",
    ]);
    s.rm(&["side"]);
    assert!(s.ok(&["port", "pod"]).contains("8080"));
    s.idle("side", &["--network", "container:pod"]);
    // The one whose it is ends: nobody else can come, and what is left is taken away with the last.
    s.halt("stop", "pod");
    s.bad(&["run", "--rm", "--network", "container:pod", busybox(), "true"], &["pod"]);
    s.fails("lan", &format!("{US}:8080"));
    s.rm(&["side", "pod"]);
    s.end();
}

#[test]
fn a_hundred_at_once() {
    let s = Site::new();
    s.ok(&["network", "create", "--ipv6", "many"]);
    let gateway = "10.128.0.1";
    let each = |round: u32, n: usize| {
        let name = format!("m{n}");
        let port = format!("{}:80", 20000 + n);
        let script = format!("ping -c 1 -w 10 {gateway} >/dev/null && echo reached; exec sleep 100000");
        let mut command =
            plain(["run", "-d", "--name", &name, "--network", "many", "-p", &port, busybox(), "sh", "-c", &script]);
        let done = within(&mut command);
        assert!(done.code == 0 && done.err.is_empty(), "round {round}, {name}: {done:#?}");
    };
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for k in 0..16 {
            scope.spawn(move || (0..100).filter(|n| n % 16 == k).for_each(|n| each(0, n)));
        }
    });
    eprintln!("100 containers in {:?}", begun.elapsed());
    let names: Vec<String> = (0..100).map(|n| format!("m{n}")).collect();
    let template = "{{.NetworkSettings.Networks.many.IPAddress}} {{.NetworkSettings.Networks.many.GlobalIPv6Address}} {{.NetworkSettings.Networks.many.MacAddress}}";
    let told =
        s.ok(&[&["inspect", "-f", template], &names.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat());
    for column in 0..3 {
        let all: BTreeSet<&str> = told.lines().map(|l| l.split(' ').nth(column).unwrap()).collect();
        assert_eq!(all.len(), 100, "{told}");
    }
    for name in &names {
        until(&format!("{name} to reach its gateway"), || s.ok(&["logs", name]).contains("reached").then_some(()));
    }
    let inside = s.says("m7", "ip -o -4 addr show dev eth0");
    assert!(inside.contains(&format!(" {}/24", told.lines().nth(7).unwrap().split(' ').next().unwrap())), "{inside}");
    // All know all.
    let hosts = s.says("m42", "cat /etc/hosts");
    for name in names.iter().filter(|name| *name != "m42") {
        assert!(hosts.split_whitespace().any(|w| w == name), "no {name} in {hosts}");
    }
    // They go as they came: at once, and some come meanwhile.
    std::thread::scope(|scope| {
        for k in 0..16 {
            let names = &names;
            scope.spawn(move || {
                for n in (0..100).filter(|n| n % 16 == k) {
                    within(&mut plain(["rm", "-f", &names[n]])).code(0);
                    if n % 5 == 0 {
                        each(1, n);
                    }
                }
            });
        }
    });
    let left: Vec<&str> = names.iter().step_by(5).map(String::as_str).collect();
    let told = s.ok(&[&["inspect", "-f", template], &left[..]].concat());
    assert_eq!(told.lines().collect::<BTreeSet<_>>().len(), 20, "{told}");
    let table = s.table();
    assert_eq!(table.matches("tcp . 200").count(), 20 * 3, "{table}");
    let hosts = s.says(left[3], "cat /etc/hosts");
    let others =
        left.iter().filter(|n| **n != left[3]).filter(|n| hosts.split_whitespace().any(|w| w == **n)).count();
    let known = names.iter().filter(|n| *n != left[3]).filter(|n| hosts.split_whitespace().any(|w| w == *n)).count();
    assert_eq!((others, known), (19, 19), "{hosts}");
    s.rm(&left);
    assert!(!s.table().contains("tcp . 200"), "{}", s.table());
    s.ok(&["network", "rm", "many"]);
    s.end();
}

// ---- firewalls, of ours and of others

/// What others have in nf_tables and in the old iptables.
fn foreign() -> String {
    let tables = sh("nft list tables");
    let lists: Vec<String> = tables
        .lines()
        .filter(|t| !t.starts_with("table inet ctr"))
        .map(|t| sh(&format!("nft -s list {t}")))
        .chain(
            ["filter", "nat", "mangle", "raw"]
                .map(|t| sh(&format!("iptables-legacy-save -t {t} | grep -v '^#' | sed 's/ \\[.*//'"))),
        )
        .collect();
    lists.concat()
}

#[test]
fn firewalls_of_others_stay_as_they_are() {
    let s = Site::new();
    sh("nft 'table inet mine { set s { type ipv4_addr; elements = { 203.0.113.9 }; }
        chain c { type filter hook input priority 0; policy accept; ip saddr @s drop; }
        chain f { type filter hook forward priority 10; policy accept; ip saddr @s drop; }
        chain n { type nat hook prerouting priority -100; tcp dport 4444 redirect to :4445; }; }'
        nft 'table ip other { chain p { type nat hook postrouting priority 100; ip saddr 203.0.113.0/24 masquerade; }; }'
        iptables-nft -A FORWARD -s 203.0.113.9 -j DROP; iptables-nft -t nat -A PREROUTING -p tcp --dport 4446 -j REDIRECT --to-ports 4447
        iptables-legacy -A FORWARD -s 203.0.113.10 -j DROP; iptables-legacy -t nat -A POSTROUTING -s 203.0.113.0/24 -j MASQUERADE");
    let before = foreign();
    assert!(before.contains("203.0.113.10") && before.contains("203.0.113.9") && before.contains("4446"), "{before}");
    let _them = s.program(true, "tcp", "::", 7000, "seen");
    s.ok(&["network", "create", "--ipv6", "n"]);
    s.web("web", &["-p", "8080:80", "-p", "127.0.0.1:8081:80", "--network", "n"]);
    s.ok(&["network", "connect", "bridge", "web"]);
    assert_eq!(foreign(), before);
    s.reads("lan", &format!("{US}:8080"), "web");
    s.reads("web", &format!("{THEM}:7000"), US);
    s.ok(&["network", "reload"]);
    assert_eq!(foreign(), before);
    s.reads("lan", &format!("{US}:8080"), "web");
    s.rm(&["web"]);
    s.ok(&["network", "prune", "-f"]);
    assert_eq!(foreign(), before);
    sh("nft flush ruleset; iptables-legacy -F; iptables-legacy -t nat -F");
    s.end();
}

#[test]
fn a_flush_is_repaired() {
    let s = Site::new();
    let _them = s.program(true, "tcp", "::", 7000, "seen");
    s.ok(&["network", "create", "--ipv6", "n"]);
    s.ok(&["network", "create", "--internal", "in"]);
    s.web("web", &["-p", "8080:80", "-p", "192.0.2.1:8082:80"]);
    s.web("too", &["-p", "8081:80", "--network", "n"]);
    s.web("hid", &["--network", "in"]);
    let of = |name: &str, network: &str| format!("{}:80", s.ends(name, network).address);
    let hidden = of("hid", "in");
    s.lan().sh(&format!("ip route add 10.0.0.0/8 via {US}"));
    let whole = |when: &str| {
        eprintln!("{when}");
        for address in [US, &format!("[{US6}]")] {
            s.reads("lan", &format!("{address}:8080"), "web");
            s.reads("lan", &format!("{address}:8081"), "too");
        }
        s.reads("lan", &format!("{US}:8082"), "web");
        s.reads("host", "127.0.0.1:8080", "web");
        s.reads("web", &format!("{US}:8081"), "too");
        s.reads("web", &format!("{US}:8080"), "web");
        for who in ["web", "too"] {
            s.reads(who, &format!("{THEM}:7000"), &format!("seen {US}\n"));
            s.reads(who, &format!("[{THEM6}]:7000"), &format!("seen {US6}\n"));
        }
        s.fails("web", &of("too", "n"));
        s.fails("web", &hidden);
        s.fails("lan", &of("web", "bridge"));
        s.fails("lan", &hidden);
        s.fails("hid", &format!("{THEM}:7000"));
    };
    whole("before");
    let lines = |text: String| -> BTreeSet<String> {
        text.lines().map(|l| l.trim().trim_end_matches(',').to_owned()).collect()
    };
    let before = lines(s.table());
    for (flush, dead) in [
        ("nft flush ruleset", true),
        ("nft delete table inet ctr", true),
        ("nft flush table inet ctr", false),
        ("nft flush map inet ctr any4", true),
        ("nft flush set inet ctr bridges; nft flush set inet ctr same", false),
        ("nft flush chain inet ctr postrouting; nft flush chain inet ctr forward", false),
        ("nft delete chain inet ctr forward", false),
    ] {
        for way in [&["network", "reload"][..], &["run", "--rm", busybox(), "true"]] {
            // A later run need not look for every single rule; for the whole table it does.
            if way[0] == "run" && flush != "nft flush ruleset" && flush != "nft delete table inet ctr" {
                continue;
            }
            sh(flush);
            if dead {
                s.fails("lan", &format!("{US}:8080"));
            }
            s.ctr(way).code(0);
            assert_eq!(lines(s.table()), before, "{flush}, {way:?}");
        }
    }
    whole("after");
    // Also one that is asked for nothing of the kind, and what was switched off.
    sh("nft flush ruleset; sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0");
    s.ok(&["network", "reload"]);
    whole("switched on again");
    // Whoever comes with its own port finds the others' again.
    sh("nft flush ruleset");
    s.web("new", &["-p", "8083:80"]);
    s.reads("lan", &format!("{US}:8083"), "new");
    whole("with a new one");
    s.rm(&["web", "too", "hid", "new"]);
    s.end();
}

#[test]
fn a_firewall_that_drops_is_named() {
    let s = Site::new();
    let _them = s.program(true, "tcp", "::", 7000, "seen");
    for (set, words) in [
        (
            "nft 'table inet guardian { chain passing { type filter hook forward priority 5; policy drop; }; }'",
            &["guardian", "passing"][..],
        ),
        (
            "nft 'table ip guardian { chain passing { type filter hook forward priority -5; policy drop; ct state established,related accept; }; }'",
            &["guardian"],
        ),
        ("iptables-nft -P FORWARD DROP", &["FORWARD"]),
        ("iptables-legacy -P FORWARD DROP", &["FORWARD"]),
    ] {
        sh(set);
        let before = foreign();
        let script = "mkdir /w; echo web >/w/index.html; exec httpd -f -p 80 -h /w";
        let done = s.ctr(&["run", "-d", "--name", "web", "-p", "8080:80", busybox(), "sh", "-c", script]).code(0);
        s.listens("web", "tcp", 80);
        // The test itself: it does drop.
        s.fails("lan", &format!("{US}:8080"));
        let doctor = s.ctr(&["doctor", "web"]);
        let said = format!("{}{}{}", done.err, doctor.out, doctor.err);
        assert!(words.iter().all(|word| said.contains(word)), "{set}: {said}");
        assert_eq!(foreign(), before, "{set}");
        // By loopback it works all the same.
        s.reads("host", "127.0.0.1:8080", "web");
        sh(
            "nft list tables | grep -v ' ctr' | while read t; do nft delete $t; done; iptables-legacy -P FORWARD ACCEPT",
        );
        s.reads("lan", &format!("{US}:8080"), "web");
        s.rm(&["web"]);
    }
    s.end();
}

#[test]
fn forwarding_is_given_back() {
    let s = Site::new();
    let state = || FORWARDING.map(read);
    for was in [["0", "0"], ["1", "0"], ["0", "1"], ["1", "1"]] {
        for (path, value) in FORWARDING.iter().zip(was) {
            fs::write(path, value).unwrap();
        }
        s.ok(&["network", "create", "--ipv6", "n"]);
        s.ok(&["run", "--rm", "--network", "n", busybox(), "true"]);
        assert_eq!(state(), ["1", "1"], "{was:?}");
        s.ok(&["run", "--rm", busybox(), "true"]);
        s.ok(&["network", "rm", "n"]);
        // The default one is still there.
        assert_eq!(state(), ["1", "1"], "{was:?}");
        s.ok(&["network", "prune", "-f"]);
        assert_eq!(state(), was);
        // And with rm alone.
        s.ok(&["network", "create", "--ipv6", "n"]);
        s.ok(&["run", "--rm", "--network", "n", busybox(), "true"]);
        s.ok(&["network", "rm", "n"]);
        assert_eq!(state(), was);
    }
    FORWARDING.iter().for_each(|path| fs::write(path, "0").unwrap());
    s.end();
}

// ---- what is left

#[test]
fn whatever_its_end_nothing_stays() {
    let s = Site::new();
    s.ok(&["network", "create", "--ipv6", "n"]);
    s.ok(&["run", "--rm", "--network", "n", busybox(), "true"]);
    s.idle("calm", &[]);
    let before = s.picture();
    let ends: &[(&str, fn(&Site))] = &[
        ("stop", |s| s.halt("stop", "web")),
        ("kill", |s| drop(s.ok(&["kill", "web"]))),
        ("itself", |s| drop(s.ctr(&["exec", "web", "kill", "-TERM", "1"]))),
        ("rm -f", |s| s.rm(&["web"])),
        ("kill -9 of it", |s| signal(s.pid("web"), libc::SIGKILL)),
        ("kill -9 of its supervisor", |s| {
            signal(s.field("web", "{{.Supervisor.Pid}}").parse().unwrap(), libc::SIGKILL)
        }),
        ("kill -9 of both", |s| {
            let pids = ["{{.Supervisor.Pid}}", "{{.State.Pid}}"].map(|f| s.field("web", f).parse().unwrap());
            pids.into_iter().for_each(|pid| signal(pid, libc::SIGKILL));
            until("both to end", || pids.iter().all(|pid| crate::exec::gone(*pid)).then_some(()));
        }),
        ("kill -9 of the network's helpers", |s| {
            // Whoever serves 127.0.0.1 for it.
            let all = try_sh("ss -Hltnp 'sport = :8080'").out;
            let pids: BTreeSet<i32> =
                all.split("pid=").skip(1).filter_map(|w| w.split(',').next()?.parse().ok()).collect();
            assert!(!pids.is_empty(), "nobody listens: {all}");
            pids.into_iter().for_each(|pid| signal(pid, libc::SIGKILL));
            s.rm(&["web"]);
        }),
    ];
    for options in [&[][..], &["--rm"]] {
        for (what, end) in ends {
            let all = [
                &[
                    "-p",
                    "8080:80",
                    "-p",
                    "127.0.0.1:8081:80",
                    "-p",
                    "8090-8092:90-92/udp",
                    "--network",
                    "bridge",
                    "--network",
                    "n",
                ],
                options,
            ]
            .concat();
            let script = "trap 'exit 0' TERM; mkdir /w; httpd -p 80 -h /w; while :; do sleep 1000 & wait; done";
            s.go("web", &all, busybox(), &["sh", "-c", script]);
            s.listens("web", "tcp", 80);
            end(&s);
            if what.contains("both") || what.contains("supervisor") {
                // Whoever looks next takes it away.
                s.ctr(&["ps"]).code(0);
                if what.contains("supervisor") {
                    s.rm(&["web"]);
                }
            }
            // Of one that has ended, and stays, nothing is on the network any more.
            let gone = || {
                let now = s.picture();
                ["addresses", "ports", "links", "table"].iter().all(|kind| now[kind] == before[kind])
            };
            let limit = Instant::now() + Duration::from_secs(5);
            while !gone() && Instant::now() < limit {
                std::thread::sleep(Duration::from_millis(10));
            }
            let now = s.picture();
            for kind in ["addresses", "ports", "links", "table"] {
                assert_eq!(now[kind], before[kind], "{options:?} {what}: {kind}");
            }
            let _ = s.ctr(&["rm", "-f", "web"]);
            s.unchanged(&before, what);
            // And what it had is free.
            s.ok(&["run", "--rm", "-p", "8080:80", "-p", "127.0.0.1:8081:80", busybox(), "true"]);
        }
    }
    // ctr itself, in the foreground, killed at any moment.
    for n in 0..20 {
        let mut command =
            plain(["run", "--rm", "--name", "fore", "-p", "8080:80", "--network", "n", busybox(), "sleep", "100000"]);
        let live = Live::start(&mut command);
        std::thread::sleep(Duration::from_millis(n * 2));
        live.signal(libc::SIGKILL);
        drop(live);
        until("the next one to have it all", || {
            let done =
                s.ctr(&["run", "--rm", "-p", "8080:80", "--network", "n", "--ip", "10.128.0.2", busybox(), "true"]);
            (done.code == 0).then_some(())
        });
        s.ctr(&["ps", "-a"]).code(0);
        let _ = s.ctr(&["rm", "-f", "fore"]);
        s.unchanged(&before, &format!("killed after {} ms", n * 2));
    }
    // The last container goes: bridge and table stay.
    s.rm(&["calm"]);
    assert!(sh("ip -o link").contains(" ctr0:") && !s.table().is_empty());
    assert_eq!(FORWARDING.map(read), ["1", "1"]);
    s.ok(&["network", "prune", "-f"]);
    assert!(!sh("ip -o link").contains(" ctr") && s.table().is_empty());
    s.end();
}

/// A run that fails late has taken addresses and ports before.
#[test]
fn a_run_that_fails_gives_all_back() {
    let s = Site::new();
    s.idle("calm", &[]);
    let before = s.picture();
    for (code, command) in [(127, "/no/such/program"), (126, "/etc/passwd")] {
        for how in [&["run", "--rm"][..], &["run", "-d"]] {
            let done = s.ctr(
                &[how, &["--name", "bad", "-p", "8080:80", "-p", "8090-8099:90-99", busybox(), command]].concat(),
            );
            assert_eq!(done.code, code, "{done:#?}");
            s.unchanged(&before, command);
        }
    }
    s.rm(&["calm"]);
    s.end();
}

// ---- servers as people run them

#[test]
fn postgresql_and_redis() {
    let s = Site::new();
    s.ok(&["network", "create", "--ipv6", "app"]);
    let serve = "install -d -o postgres /d /run/postgresql && cd / && P=/usr/lib/postgresql/15/bin && \
        su postgres -c \"$P/initdb -N -A trust -D /d/pg >/dev/null && echo host all all all trust >>/d/pg/pg_hba.conf\" && \
        exec su postgres -c \"exec $P/postgres -D /d/pg -c listen_addresses='*'\"";
    s.go(
        "db",
        &["--network", "app", "--network-alias", "postgres", "-p", "5432:5432"],
        services(),
        &["sh", "-c", serve],
    );
    let redis = ["redis-server", "--protected-mode", "no", "--save", "", "--bind", "*", "-::*"];
    s.go("cache", &["--network", "app", "-p", "6379:6379"], services(), &redis);
    s.go("app", &["--network", "app"], services(), &["sleep", "100000"]);
    s.listens("cache", "tcp", 6379);
    until("PostgreSQL", || (s.exec("db", "pg_isready -q -h 127.0.0.1").code == 0).then_some(()));
    let make = "psql -q -h db -U postgres -c 'create table t as select generate_series(1, 1000) as n' && psql -h postgres -U postgres -Atc 'select sum(n) from t'";
    assert_eq!(s.says("app", make), "500500\n");
    let run = |who: &str, words: &[&str]| {
        let words = served(words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = if who == "lan" { s.lan().command(&words) } else { at_host(&words) };
        within(&mut command).code(0).out
    };
    for (who, address) in [("lan", US), ("lan", US6), ("host", "127.0.0.1"), ("host", "::1"), ("host", US)] {
        let out =
            run(who, &["psql", "-h", address, "-U", "postgres", "-Atc", "select max(n), inet_client_addr() from t"]);
        assert!(out.starts_with("1000|"), "{who} {address}: {out}");
        if who == "lan" {
            assert!([THEM, THEM6].contains(&out[5..].trim()), "{who} {address}: {out}");
        }
        let out = run(who, &["redis-benchmark", "-h", address, "-n", "1000", "-q", "-t", "set,get"]);
        assert!(out.contains("SET: ") && out.contains("GET: ") && !out.contains("rror"), "{who} {address}: {out}");
        assert!(run(who, &["redis-cli", "-h", address, "dbsize"]).trim().parse::<u32>().unwrap() > 0);
    }
    let out = s.says("app", "redis-benchmark -h cache -n 1000 -q -t set,get");
    assert!(out.contains("SET: ") && out.contains("GET: ") && !out.contains("rror"), "{out}");
    s.rm(&["db", "cache", "app"]);
    s.end();
}

#[test]
fn iperf3_in_all_directions() {
    let s = Site::new();
    let iperf = |words: &[&str]| served(&[&["iperf3"], words].concat());
    let ear = iperf(&["-s", "-p", "5301", "--forceflush"]);
    let mut ear = Live::start(&mut s.lan().command(&ear.iter().map(String::as_str).collect::<Vec<_>>()));
    ear.hear("listening");
    s.go("one", &["-p", "5201:5201", "-p", "5201:5201/udp"], services(), &["iperf3", "-s"]);
    s.listens("one", "tcp", 5201);
    let bits = |text: &str| -> f64 {
        let line = text.lines().find(|l| l.contains("receiver")).unwrap_or_else(|| panic!("{text}"));
        let words: Vec<_> = line.split_whitespace().collect();
        let at = words.iter().position(|w| w.ends_with("bits/sec")).unwrap_or_else(|| panic!("{text}"));
        words[at - 1].parse::<f64>().unwrap()
            * if words[at].starts_with('G') {
                1e9
            } else if words[at].starts_with('M') {
                1e6
            } else {
                1e3
            }
    };
    for more in [&[][..], &["-R"], &["-u", "-b", "100M"], &["-u", "-b", "100M", "-R"]] {
        let out = s.ok(&[&["exec", "one", "iperf3", "-c", THEM, "-p", "5301", "-t", "1"], more].concat());
        assert!(bits(&out) > 2e7, "out {more:?}: {out}");
        let words = iperf(&[&["-c", US, "-t", "1"], more].concat());
        let done = within(&mut s.lan().command(&words.iter().map(String::as_str).collect::<Vec<_>>())).code(0);
        assert!(bits(&done.out) > 2e7, "in {more:?}: {done:#?}");
    }
    let words = iperf(&["-c", "127.0.0.1", "-t", "1"]);
    let done = within(&mut at_host(&words.iter().map(String::as_str).collect::<Vec<_>>())).code(0);
    assert!(bits(&done.out) > 2e7, "by loopback: {done:#?}");
    drop(ear);
    s.rm(&["one"]);
    s.end();
}
