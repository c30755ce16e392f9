//! A real Debian as the root: its programs behave as on a machine of its own.

use crate::options::go;
use crate::support::{Done, Host, Live, Scratch, ctr, debian, within};
use std::collections::BTreeSet;

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
        says(&["-h", "box.example.org"], "hostname; hostname -s; hostname -i; cat /etc/hostname"),
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
