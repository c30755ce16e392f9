//! A real Debian as the root: its programs behave as on a machine of its own.

use crate::exec::Resident;
use crate::options::go;
use crate::support::{Done, Host, Live, Scratch, cache, ctr, debian, finish, within};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

#[track_caller]
fn bash(options: &[&str], script: &str) -> Done {
    within(ctr(["run"]).args(options).args([debian(), "bash", "-c", script]))
}

/// What it says when it ends well and complains of nothing.
#[track_caller]
fn says(options: &[&str], script: &str) -> String {
    let done = bash(options, script).code(0);
    assert_eq!(done.err, "", "{options:?} {script}");
    done.out
}

/// The ways a container is made that no program in it should notice.
const WAYS: [&[&str]; 4] = [&[], &["--init"], &["--userns=auto"], &["--network=host"]];

#[test]
fn apt_and_dpkg() {
    let host = Host::before();
    for options in WAYS {
        let out =
            says(options, "apt-get --version | head -1; dpkg -l bash | tail -1; dpkg --verify bash && echo intact");
        let lines: Vec<_> = out.lines().collect();
        assert!(lines[0].starts_with("apt 2."), "{out}");
        assert!(lines[1].starts_with("ii  bash ") && lines[2] == "intact", "{out}");
        // What apt does without a network: a check of what is installed, with its lock.
        let done = bash(options, "apt-get check -q 2>&1 && echo fine").code(0);
        assert!(done.out.ends_with("fine\n") && !done.out.contains("W:") && !done.out.contains("E:"), "{done:?}");
    }
    host.same();
}

#[test]
fn a_package_is_built_installed_and_removed() {
    let host = Host::before();
    let script = "set -e; mkdir -p /tmp/p/DEBIAN /tmp/p/usr/bin /tmp/p/var/lib/hello; cd /tmp; \
        printf 'Package: hello-ctr\\nVersion: 1\\nArchitecture: all\\nMaintainer: x <x@example.org>\\nDescription: x\\n' >p/DEBIAN/control; \
        printf '#!/bin/sh\\nset -e\\nchown nobody:nogroup /var/lib/hello\\nuseradd --system hello-user\\n' >p/DEBIAN/postinst; \
        printf '#!/bin/sh\\necho hello from a package\\n' >p/usr/bin/hello-ctr; \
        chmod 755 p/DEBIAN/postinst p/usr/bin/hello-ctr; \
        dpkg-deb --build --root-owner-group p hello.deb >/dev/null; \
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y ./hello.deb >log 2>&1 || { cat log; exit 9; }; \
        hello-ctr; stat -c %U:%G /var/lib/hello; id -un hello-user; \
        apt-get purge -q -y hello-ctr >log 2>&1 || { cat log; exit 9; }; \
        ! test -e /usr/bin/hello-ctr";
    for options in WAYS {
        let out = says(options, script);
        assert_eq!(out, "hello from a package\nnobody:nogroup\nhello-user\n", "{options:?}");
    }
    // None of it is in the directory.
    assert!(!std::path::Path::new(debian()).join("usr/bin/hello-ctr").exists());
    assert!(!std::path::Path::new(debian()).join("tmp/p").exists());
    host.same();
}

#[test]
fn python() {
    let host = Host::before();
    let program = "
import os, socket, subprocess, tempfile, threading, sys
print(os.getpid() in (1, 2), os.getuid(), socket.gethostname())
print(subprocess.run(['sh', '-c', 'echo from a child; exit 3'], capture_output=True, text=True))
s = socket.create_server(('127.0.0.1', 0))
def serve():
    c, _ = s.accept()
    c.sendall(c.recv(100).upper())
    c.close()
t = threading.Thread(target=serve); t.start()
c = socket.create_connection(s.getsockname()); c.sendall(b'through the loopback'); print(c.recv(100)); t.join()
with tempfile.TemporaryDirectory() as d:
    open(d + '/x', 'w').write('y')
    os.chown(d + '/x', 33, 33)
    print(os.stat(d + '/x').st_uid)
r, w = os.pipe()
if os.fork() == 0:
    os.write(w, b'forked'); os._exit(0)
print(os.read(r, 10)); os.wait()
m = os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY)
print(os.ttyname(os.openpty()[1]).startswith('/dev/pts/'))
print(len(os.urandom(16)), os.path.exists('/dev/shm'))
f = open('/dev/shm/mem', 'w+b'); f.truncate(4096); f.write(b'shared'); f.flush()
print(open('/dev/shm/mem', 'rb').read(6))
sys.exit(42)
";
    // The host's loopback may be down.
    for options in WAYS.into_iter().filter(|w| *w != ["--network=host"]) {
        let words = [options, &["-h", "pybox", debian(), "python3", "-c", program]].concat();
        let done = go(words).code(42);
        assert_eq!(done.err, "", "{options:?}");
        let wanted = "True 0 pybox\nCompletedProcess(args=['sh', '-c', 'echo from a child; exit 3'], returncode=3, \
                      stdout='from a child\\n', stderr='')\nb'THROUGH THE LOOPBACK'\n33\nb'forked'\nTrue\n16 True\nb'shared'\n";
        assert_eq!(done.out, wanted, "{options:?}");
    }
    host.same();
}

#[test]
fn a_crash_has_its_signals_code() {
    let host = Host::before();
    for (options, code) in [(&[][..], 139), (&["--init"], 139), (&["--userns=auto"], 139)] {
        // PID 1 as well: the kernel's own SIGSEGV ends it.
        let words = [
            options,
            &[
                "--ulimit",
                "core=0",
                debian(),
                "python3",
                "-c",
                "import os; f = os.fork if 0 else None\nimport ctypes",
            ],
        ]
        .concat();
        let has_ctypes = go(words).code == 0;
        let program = if has_ctypes { "import ctypes; ctypes.string_at(0)" } else { "exec('('*200 + ')'*200)" };
        if has_ctypes {
            go([options, &["--ulimit", "core=0", debian(), "python3", "-c", program]].concat()).code(code);
        }
    }
    // Without a PID 1's protection.
    let done = bash(&["--init"], "kill -SEGV $$").code(139);
    assert_eq!(done.out, "");
    bash(&["--init"], "kill -ABRT $$").code(134);
    // A shell reports its child's as 128 + n itself.
    bash(&[], "bash -c 'kill -SEGV $$' 2>/dev/null; exit $?").code(139);
    host.same();
}

#[test]
fn ps_sees_its_own_processes_alone() {
    let host = Host::before();
    for options in [&[][..], &["--userns=auto"], &["--network=host"]] {
        let out = says(options, "sleep 1000 & ps aux; kill $!");
        let rows: Vec<Vec<_>> = out.lines().skip(1).map(|l| l.split_whitespace().collect()).collect();
        let commands: Vec<_> = rows.iter().map(|r| (r[0], r[1], r[10])).collect();
        assert_eq!(
            commands,
            [("root", "1", "bash"), ("root", "2", "sleep"), ("root", "3", "ps")],
            "{options:?}: {out}"
        );
    }
    let out = says(&["--init"], "ps -eo pid,ppid,comm --no-headers; true");
    let rows: Vec<Vec<_>> = out.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!((rows[0][0], rows[0][1], rows[1][1], rows[1][2]), ("1", "0", "1", "bash"), "{out}");
    assert_eq!(rows.len(), 3, "{out}");
    // What else looks into /proc.
    let out =
        says(&[], "top -b -n 1 | tail -n +8 | wc -l; pgrep -c . ; free | head -1 | wc -w; uptime | grep -c load");
    assert_eq!(out, "4\n1\n6\n1\n");
    host.same();
}

#[test]
fn hostname_mount_and_id() {
    let host = Host::before();
    assert_eq!(
        says(&["-h", "box.example.org", "--network=none"], "hostname; hostname -s; hostname -i; cat /etc/hostname"),
        "box.example.org\nbox\n127.0.0.1\nbox.example.org\n"
    );
    let out = says(
        &[],
        "mount; df -k / | tail -1; findmnt -n -o FSTYPE /; for m in /proc /dev/pts /dev/shm; do mountpoint $m; done",
    );
    assert!(out.starts_with("overlay on / type overlay (rw,"), "{out}");
    assert!(
        out.contains("\nproc on /proc type proc (rw,nosuid,nodev,noexec")
            && out.contains("\nsysfs on /sys type sysfs (ro,"),
        "{out}"
    );
    assert!(
        out.ends_with("overlay\n/proc is a mountpoint\n/dev/pts is a mountpoint\n/dev/shm is a mountpoint\n"),
        "{out}"
    );
    assert_eq!(says(&[], "id"), "uid=0(root) gid=0(root) groups=0(root)\n");
    assert_eq!(
        says(&["-u", "daemon"], "id; echo $HOME"),
        "uid=1(daemon) gid=1(daemon) groups=1(daemon)\n/usr/sbin\n"
    );
    assert_eq!(says(&["-u", "nobody:nogroup"], "id -u; id -g; id -G"), "65534\n65534\n65534\n");
    assert_eq!(
        says(&["-u", "www-data", "--userns=auto"], "id"),
        "uid=33(www-data) gid=33(www-data) groups=33(www-data)\n"
    );
    // A usual program of a user who is not root.
    bash(&["-u", "www-data"], "touch /etc/x 2>/dev/null || touch /tmp/x && stat -c %U /tmp/x").code(0);
    host.same();
}

#[test]
fn su_and_setpriv() {
    let host = Host::before();
    for options in WAYS {
        assert_eq!(
            says(options, "su -s /bin/sh www-data -c 'id -un; id -gn'"),
            "www-data\nwww-data\n",
            "{options:?}"
        );
        assert_eq!(says(options, "su - root -c 'pwd; id -u'"), "/root\n0\n", "{options:?}");
        let out = says(
            options,
            "setpriv --reuid=33 --regid=33 --init-groups id -u; setpriv --reuid=1 --regid=1 --clear-groups id -G",
        );
        assert_eq!(out, "33\n1\n", "{options:?}");
        let out = says(
            options,
            "setpriv --bounding-set=-all --reuid=33 --regid=33 --clear-groups grep -E '^Cap(Eff|Bnd)' /proc/self/status",
        );
        assert_eq!(out, "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n", "{options:?}");
    }
    // No new privileges: a set-user-id su gives a user none.
    let done = bash(&["-u", "www-data"], "cp /bin/bash /tmp/b 2>/dev/null; su -s /bin/sh root -c 'id -u' </dev/null");
    assert!(done.code != 0 && !done.out.contains('0'), "{done:?}");
    let done = bash(
        &[],
        "cp /usr/bin/id /tmp/id; chmod 4755 /tmp/id; setpriv --reuid=33 --regid=33 --clear-groups /tmp/id -u",
    )
    .code(0);
    assert_eq!(done.out, "33\n");
    host.same();
}

#[test]
fn capabilities_by_name() {
    let host = Host::before();
    let out = says(&[], "/usr/sbin/capsh --print");
    let line = out.lines().find(|l| l.starts_with("Bounding set")).unwrap();
    let names: BTreeSet<_> = line.split('=').nth(1).unwrap().split(',').collect();
    let wanted = "cap_chown cap_dac_override cap_fowner cap_fsetid cap_kill cap_setgid cap_setuid cap_setpcap \
                  cap_net_bind_service cap_net_raw cap_sys_chroot cap_mknod cap_audit_write cap_setfcap";
    assert_eq!(names, wanted.split_whitespace().collect(), "{out}");
    // Those of them that are easily seen to work, and some that are not there.
    assert_eq!(
        says(
            &[],
            "python3 -c \"import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); s = socket.create_server(('127.0.0.1', 80)); print('both')\""
        ),
        "both\n"
    );
    for script in [
        "mount --bind /tmp /mnt",
        "nice -n -5 true 2>&1 | grep -q . && exit 1",
        "chroot / nsenter -t 1 -m true",
        "unshare -m true",
        "swapoff -a && mknod -m 600 /dev/x b 7 0 && mount /dev/x /mnt",
    ] {
        assert!(bash(&[], script).code != 0, "{script}");
    }
    host.same();
}

#[test]
fn a_service_like_process_is_stopped_properly() {
    let host = Host::before();
    let place = Scratch::new("service");
    let volume = format!("{}:/data", place.path().display());
    let program = "
import signal, sys, time
def stop(*a):
    open('/data/stopped', 'w').write('cleanly'); sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print('serving', flush=True)
while True: signal.pause()
";
    for options in [&[][..], &["--init"]] {
        let words = [&["run", "-v", &volume], options, &[debian(), "python3", "-u", "-c", program]].concat();
        let mut live = Live::start(&mut ctr(words));
        live.hear("serving\n");
        live.signal(libc::SIGTERM);
        live.done().code(0);
        assert_eq!(std::fs::read_to_string(place.join("stopped")).unwrap(), "cleanly");
        std::fs::remove_file(place.join("stopped")).unwrap();
    }
    host.same();
}

#[test]
fn a_pipeline_of_two_containers() {
    let host = Host::before();
    let mut first = Live::start(&mut ctr(["run", "-i", debian(), "bash", "-c", "sort -n | uniq"]));
    for n in (1..=3000).rev() {
        first.say(format!("{n}\n{n}\n"));
    }
    let sorted = first.done().code(0).out;
    assert_eq!(sorted.lines().count(), 3000);
    let done = crate::support::feed(
        &mut ctr(["run", "-i", "--userns=auto", debian(), "tar", "-cf", "-", "-C", "/etc", "passwd"]),
        b"",
    )
    .code(0);
    assert!(done.out.contains("root:x:0:0"), "{done:?}");
    host.same();
}

/// apt's own sources are replaced by the packages that tests/root/roots.sh has fetched, and services are not started by packages.
const SOURCES: &str = "set -e; export DEBIAN_FRONTEND=noninteractive; rm -rf /etc/apt/sources.list.d; \
    echo 'deb [trusted=yes] file:/debs ./' >/etc/apt/sources.list; \
    printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; \
    apt() { apt-get -q -y --no-install-recommends \"$@\" >/tmp/log 2>&1 || { cat /tmp/log; exit 9; }; ! grep -E '^(W|E):' /tmp/log; }; ";

/// The volume in which they are.
fn debs() -> String {
    let debs = cache().join("debs");
    assert!(debs.join("Packages").exists(), "no packages at {}: run tests/root/roots.sh", debs.display());
    format!("{}:/debs:ro", debs.display())
}

/// What packages leave that is more than a file: modes, owners, capabilities, and users of their own.
const TRACES: &str = "stat -c '%a %U:%G' /usr/bin/sudo /var/lib/redis; /usr/sbin/getcap -n /usr/bin/ping; id -un redis; \
    dpkg -l redis-server iputils-ping sudo | grep -c ^ii; dpkg --verify sudo iputils-ping redis-server";

#[test]
fn apt_get_installs_real_packages() {
    let host = Host::before();
    let debs = debs();
    let wanted = "4755 root:root\n750 redis:redis\n/usr/bin/ping cap_net_raw=ep\nredis\n3\n";
    // apt fetches as the user _apt, who must be able to do that, and have been it.
    let install = "apt update; apt install iputils-ping sudo redis-server; stat -c %U /var/lib/apt/lists/partial; ";
    let works = "ping -c 1 -q 127.0.0.1 | grep -c ' 0% packet loss'; sudo -n -u redis id -un; ";
    for options in [&[][..], &["--userns=required"], &["--userns=host"], &["--userns=auto", "--init"]] {
        let script = format!("{SOURCES}{install}{works}{TRACES}");
        // As in every ordinary installation: sudo from root needs no new privileges.
        let words = [&["-v", &debs], options, &[debian(), "bash", "-c", &script]].concat();
        let done = finish(ctr(["run"]).args(words)).code(0);
        assert_eq!(done.out, format!("_apt\n1\nredis\n{wanted}"), "{options:?} {done:#?}");
        assert_eq!(done.err, "", "{options:?}");
    }
    // In a directory, by somebody whose ids are others: it is all as if it had been done outside.
    let place = Scratch::new("debian-rw");
    let root = place.join("root");
    within(Command::new("cp").arg("-a").arg(debian()).arg(&root)).code(0);
    let root = root.to_str().unwrap();
    let script = format!("{SOURCES}{install}{TRACES}");
    let own = ["--rw", "--userns=required", "-v", &debs, root, "bash", "-c", &script];
    let done = finish(ctr(["run"]).args(own)).code(0);
    assert_eq!((done.out, done.err), (format!("_apt\n{wanted}"), String::new()));
    let sudo = place.join("root/usr/bin/sudo").metadata().unwrap();
    assert_eq!((sudo.mode() & 0o7777, sudo.uid(), sudo.gid()), (0o4755, 0, 0));
    assert!((100..1000).contains(&place.join("root/var/lib/redis").metadata().unwrap().uid()));
    // The capabilities are the host's root's (no `rootid`), and dpkg finds all as it was.
    assert_eq!(go(["--rw", "--userns=host", root, "bash", "-c", TRACES]).code(0).out, wanted);
    let purge = format!(
        "{SOURCES} export SUDO_FORCE_REMOVE=yes; apt purge redis-server redis-tools sudo iputils-ping; ! test -e /usr/bin/sudo"
    );
    finish(&mut ctr(["run", "--rw", "-v", &debs, root, "bash", "-c", &purge])).code(0);
    assert!(!place.join("root/usr/bin/sudo").exists() && !place.join("root/var/lib/redis").exists());
    host.same();
}

#[test]
fn dpkg_in_a_volume() {
    let host = Host::before();
    let place = Scratch::new("debian-volume");
    let volume = format!("{}:/v", place.path().display());
    let script = "set -e; mkdir -p /v/root/var/lib/dpkg/info /v/root/var/lib/dpkg/updates; touch /v/root/var/lib/dpkg/status; \
        dpkg --root=/v/root --force-depends --unpack /debs/iputils-ping_*.deb /debs/netbase_*.deb >/tmp/log 2>&1 || { cat /tmp/log; exit 9; }; \
        dpkg-query --admindir=/v/root/var/lib/dpkg -W -f '${Package} ${db:Status-Abbrev}\\n'; \
        setcap cap_net_raw=ep /v/root/bin/ping 2>/tmp/log || setcap cap_net_raw=ep /v/root/usr/bin/ping; \
        tar -C /v/root -cf - . | tar -C /v -xpf - ; chown -R 33:33 /v/root/usr/share/doc/netbase";
    let done = bash(&["-v", &volume, "-v", &debs(), "--userns=required"], script).code(0);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("iputils-ping iU \nnetbase iU \n", ""));
    let owner = |name: &str| place.join(name).metadata().map(|m| (m.uid(), m.gid())).unwrap();
    // What is in etc waits under other names to be configured.
    assert_eq!(owner("root/usr/share/doc/netbase/copyright"), (33, 33));
    assert_eq!((owner("usr/share/doc/netbase/copyright"), owner("root/var/lib/dpkg/status")), ((0, 0), (0, 0)));
    let ping = ["root/bin/ping", "root/usr/bin/ping"].into_iter().find(|p| place.join(p).exists()).unwrap();
    let asked = format!("/usr/sbin/getcap -n /v/{ping}");
    let done = bash(&["-v", &volume, "--userns=host"], &asked).code(0);
    assert_eq!(done.out, format!("/v/{ping} cap_net_raw=ep\n"));
    host.same();
}

#[test]
fn postgresql_redis_and_nginx_with_their_data_in_a_volume() {
    let host = Host::before();
    let place = Scratch::new("debian-services");
    let volume = format!("{}:/data", place.path().display());
    let options = ["--userns=required", "-v", &volume, "-v", &debs()];
    let c = Resident::of("services", &options, debian(), &["sleep", "1000"]);
    let install = format!("{SOURCES} apt update; apt install postgresql redis-server nginx-light");
    let done = finish(&mut c.command(&["@", "bash", "-c", &install])).code(0);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("", ""));
    // What initdb makes must be its user's alone, on both sides.
    let says = |script: &str| finish(&mut c.command(&["@", "bash", "-c", script])).code(0).out;
    let postgres = "cd /; export PATH=/usr/lib/postgresql/15/bin:$PATH; run() { su postgres -s /bin/bash -c \"PATH=$PATH; $*\"; }; ";
    let start = "run pg_ctl -D /data/pg -w -l /data/pg/log start >/dev/null; ";
    let script = format!(
        "{postgres} set -e; install -d -o postgres -g postgres -m 700 /data/pg; run initdb -D /data/pg >/tmp/log 2>&1; {start} \
         run \"psql -qAtc 'create table t as select generate_series(1, 1000) as n'\"; run \"psql -qAtc 'select sum(n) from t'\"; \
         run pg_ctl -D /data/pg -m fast -w stop >/dev/null; {start} run \"psql -qAtc 'select count(*) from t'\"; \
         run pg_ctl -D /data/pg -m fast -w stop >/dev/null"
    );
    assert_eq!(says(&script), "500500\n1000\n");
    let redis = "set -e; cd /; install -d -o redis -g redis /data/redis; \
        su redis -s /bin/bash -c 'redis-server --dir /data/redis --daemonize yes --port 6379 --bind 127.0.0.1 >/dev/null'; \
        for n in $(seq 100); do redis-cli ping >/dev/null 2>&1 && break; sleep 0.1; done; \
        redis-cli set key value; redis-cli get key; redis-cli bgsave >/dev/null; redis-cli shutdown save; sleep 0.3; stat -c %U /data/redis/dump.rdb";
    assert_eq!(says(redis), "OK\nvalue\nredis\n");
    let nginx = "set -e; echo from nginx >/var/www/html/page; chown www-data /var/www/html/page; chmod 600 /var/www/html/page; nginx; \
        exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET /page HTTP/1.0\\r\\n\\r\\n' >&3; tail -n 1 <&3; \
        ps -C nginx -o user= | sort -u; nginx -s quit";
    assert_eq!(says(nginx), "from nginx\nroot\nwww-data\n");
    for (name, user) in [("pg/PG_VERSION", "postgres"), ("pg", "postgres"), ("redis/dump.rdb", "redis")] {
        let inside: u32 = says(&format!("id -u {user}")).trim().parse().unwrap();
        assert_eq!(place.join(name).metadata().unwrap().uid(), inside, "{name}");
    }
    assert_eq!(place.join("pg/PG_VERSION").metadata().unwrap().mode() & 0o777, 0o600);
    drop(c);
    // Another container, with other ids, finds its own there.
    let script = "stat -c '%u %a' /data/pg | sed s/^1.../x/; test $(stat -c %u /data/pg) -gt 0";
    bash(&["-v", &volume], script).code(0);
    host.same();
}
