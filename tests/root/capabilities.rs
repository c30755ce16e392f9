//! The five capability sets of whatever runs in a container: as asked, and nothing inheritable or ambient; `--privileged`;
//! groups that a user is put into; limits that ctr cannot raise.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::options::{go, inside, says};
use crate::support::{Host, Scratch, busybox, busybox_root, ctr, ctr_path, plain, until, within};

const DEFAULT: u64 = 0xa804_25fb;
const CHOWN: u64 = 1;
const KILL: u64 = 1 << 5;
const NET_ADMIN: u64 = 1 << 12;
const SYS_ADMIN: u64 = 1 << 21;

/// All that ctr itself has: what the tests run with.
fn all() -> u64 {
    sets(&fs::read_to_string("/proc/self/status").unwrap())[1]
}

/// Inheritable, permitted, effective, bounding, ambient.
fn sets(status: &str) -> [u64; 5] {
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|name| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {status}"));
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    })
}

const STATUS: &str = "cat /proc/self/status";

#[test]
fn five_sets_for_root_and_for_others() {
    let host = Host::before();
    for (options, wanted) in [
        (&[][..], DEFAULT),
        (&["--cap-add=SYS_ADMIN"], DEFAULT | SYS_ADMIN),
        (
            &["--cap-add=cap_Sys_Admin,net_admin", "--cap-drop", "chown", "--cap-drop=KILL"],
            DEFAULT & !CHOWN & !KILL | SYS_ADMIN | NET_ADMIN,
        ),
        (&["--cap-drop=CHOWN", "--cap-add=CHOWN"], DEFAULT),
        (&["--cap-drop=ALL"], 0),
        (&["--cap-drop=all", "--cap-add=chown"], CHOWN),
        (&["--cap-add=ALL"], all()),
        (&["--cap-add=ALL", "--cap-drop=SYS_ADMIN"], all() & !SYS_ADMIN),
        (&["--cap-add=all", "--cap-drop=all"], all()),
        (&["--privileged"], all()),
        (&["--privileged", "--cap-drop=SYS_ADMIN"], all() & !SYS_ADMIN),
    ] {
        for init in [&[][..], &["--init"]] {
            let with = |more: &[&'static str]| [options, init, more, &["--userns=host"]].concat();
            assert_eq!(sets(&says(&with(&[]), STATUS)), [0, wanted, wanted, wanted, 0], "{options:?} {init:?}");
            // Whoever is not root has what the kernel would leave him: nothing.
            assert_eq!(sets(&says(&with(&["-uweb"]), STATUS)), [0, 0, 0, wanted, 0], "{options:?} {init:?} -u");
        }
    }
    host.same();
}

#[test]
fn with_a_user_namespace_they_are_over_that_one() {
    let host = Host::before();
    for (options, wanted) in
        [(&[][..], DEFAULT), (&["--cap-add=SYS_ADMIN", "--cap-drop=kill"], DEFAULT & !KILL | SYS_ADMIN)]
    {
        let options = [options, &["--userns=auto"]].concat();
        assert_eq!(sets(&says(&options, STATUS)), [0, wanted, wanted, wanted, 0], "{options:?}");
    }
    // Even what ctr itself lacks can be had over a namespace of one's own.
    let [_, permitted, ..] = sets(&says(&["--userns=auto", "--privileged"], STATUS));
    assert_eq!(permitted & all(), all());
    let script = format!("mount -t tmpfs x /tmp && echo mounted; mknod /tmp/b b 7 0 2>&- || echo no node");
    assert_eq!(says(&["--userns=auto", "--cap-add=SYS_ADMIN"], &script), "mounted\nno node\n");
    host.same();
}

#[test]
fn exec_and_health_checks_have_the_same() {
    let host = Host::before();
    let mut run = plain([
        "run",
        "-d",
        "--name=caps",
        "--userns=host",
        "--cap-add=NET_ADMIN",
        "--cap-drop=CHOWN",
        "--group-add=disk",
        "--group-add=77",
    ]);
    run.args([
        "--health-cmd=cat /proc/self/status >/tmp/health",
        "--health-interval=50ms",
        busybox(),
        "sleep",
        "1000",
    ]);
    within(&mut run).code(0);
    let wanted = DEFAULT & !CHOWN | NET_ADMIN;
    let exec =
        |options: &[&str], words: &[&str]| within(plain(["exec"]).args(options).arg("caps").args(words)).code(0).out;
    let status = ["cat", "/proc/self/status"];
    assert_eq!(sets(&exec(&[], &status)), [0, wanted, wanted, wanted, 0]);
    assert_eq!(sets(&exec(&["-uweb"], &status)), [0, 0, 0, wanted, 0]);
    assert_eq!(sets(&exec(&["--privileged"], &status)), [0, all(), all(), all(), 0]);
    assert_eq!(sets(&exec(&["--privileged", "-u33"], &status)), [0, 0, 0, all(), 0]);
    assert_eq!(exec(&[], &["id", "-G"]), "0 6 77\n");
    assert_eq!(exec(&["-uweb"], &["id", "-G"]), "33 4 6 77\n");
    let health = until("a health check", || {
        let out = exec(&[], &["sh", "-c", "cat /tmp/health 2>&-; true"]);
        out.contains("CapAmb").then_some(out)
    });
    assert_eq!(sets(&health), [0, wanted, wanted, wanted, 0]);
    let shown = |path: &str| {
        within(&mut plain(["inspect", "-f", &format!("{{{{json .HostConfig.{path}}}}}"), "caps"])).code(0).out
    };
    assert_eq!(shown("CapAdd"), "[\"CAP_NET_ADMIN\"]\n");
    assert_eq!(shown("CapDrop"), "[\"CAP_CHOWN\"]\n");
    assert_eq!(shown("Privileged"), "false\n");
    assert_eq!(shown("GroupAdd"), "[\"disk\",\"77\"]\n");
    within(&mut plain(["rm", "-f", "caps"])).code(0);
    host.same_soon();
}

/// A container of `run --rm` keeps no record of its own making, but exec finds in it what it needs.
#[test]
fn exec_into_a_container_of_the_foreground() {
    let host = Host::before();
    let mut live = crate::support::Live::start(ctr(["run"]).args([
        "-i",
        "--name=fore",
        "--privileged",
        "--userns=host",
        "--cap-drop=CHOWN",
        "--group-add=77",
        busybox(),
        "sh",
        "-c",
        "echo here; cat",
    ]));
    live.hear("here\n");
    let wanted = all() & !CHOWN;
    let status = within(&mut plain(["exec", "fore", "cat", "/proc/self/status"])).code(0).out;
    assert_eq!(sets(&status), [0, wanted, wanted, wanted, 0]);
    assert!(status.contains("NoNewPrivs:\t0"), "{status}");
    assert_eq!(within(&mut plain(["exec", "fore", "id", "-G"])).code(0).out, "0 77\n");
    live.done().code(0);
    host.same();
}

#[test]
fn what_is_no_capability_or_cannot_be_had() {
    let host = Host::before();
    let refused = |options: &[&str], words: &[&str]| {
        for verb in ["run", "create"] {
            within(plain([verb]).args(options).args([busybox(), "true"])).refused(words);
        }
    };
    refused(&["--cap-add=SYS_ADMN"], &["--cap-add", "SYS_ADMN", "did you mean SYS_ADMIN?"]);
    refused(&["--cap-drop=cap_net_ra"], &["--cap-drop", "cap_net_ra", "NET_RAW"]);
    refused(&["--cap-add=CHOWN,,KILL"], &["--cap-add", "\"\""]);
    refused(&["--cap-add="], &["--cap-add"]);
    refused(&["--cap-add=\n"], &["--cap-add"]);
    refused(&["--group-add=nobody-here"], &["--group-add", "nobody-here"]);
    refused(&["--group-add=2147483648"], &["--group-add", "2147483648"]);
    refused(&["--group-add="], &["--group-add"]);
    refused(&["--tmpfs=/t:dev"], &["--tmpfs", "--privileged"]);
    let everything = (1 << 41) - 1;
    if all() != everything {
        // What ctr itself lacks here it cannot give.
        let number = (!all() & everything).trailing_zeros();
        let name = ["SYS_RESOURCE", "24"];
        if number == 24 {
            refused(
                &["--cap-add=sys_resource", "--userns=host"],
                &["--cap-add", name[0], "ctr itself does not have it"],
            );
        }
    }
    // Nor can it when its own have been taken away.
    let mut less = Command::new("setpriv");
    less.args(["--bounding-set=-net_admin", "--"]).arg(ctr_path()).args([
        "run",
        "--rm",
        "--cap-add=NET_ADMIN",
        "--userns=host",
        busybox(),
        "true",
    ]);
    within(&mut less).refused(&["NET_ADMIN", "ctr itself does not have it"]);
    let less = |words: &[&str]| {
        let mut less = Command::new("setpriv");
        less.args(["--bounding-set=-audit_write,-sys_time", "--"])
            .arg(ctr_path())
            .args(["run", "--rm", "--userns=host"])
            .args(words);
        within(less.args([busybox(), "cat", "/proc/self/status"])).code(0).out
    };
    const AUDIT_WRITE: u64 = 1 << 29;
    const SYS_TIME: u64 = 1 << 25;
    assert_eq!(sets(&less(&[]))[1], DEFAULT & !AUDIT_WRITE);
    assert_eq!(sets(&less(&["--privileged"]))[1], all() & !AUDIT_WRITE & !SYS_TIME);
    host.same();
}

#[test]
fn limits_that_ctr_may_not_raise() {
    let host = Host::before();
    let less = |limit: &str, userns: &str| {
        let mut less = Command::new("prlimit");
        less.args(["--nofile=256:512", "setpriv", "--bounding-set=-sys_resource", "--"]).arg(ctr_path());
        less.args(["run", "--rm", userns, limit, busybox(), "sh", "-c", "ulimit -Sn; ulimit -Hn"]);
        within(&mut less)
    };
    for userns in ["--userns=host", "--userns=auto"] {
        assert_eq!(less("--ulimit=nofile=100:512", userns).code(0).out, "100\n512\n");
        less("--ulimit=nofile=100:513", userns).refused(&["--ulimit", "nofile=100:513", "512", "CAP_SYS_RESOURCE"]);
        less("--ulimit=nofile=unlimited", userns).refused(&["--ulimit", "512"]);
    }
    host.same();
}

#[test]
fn privileged_is_what_docker_means() {
    let host = Host::before();
    let script = "mount | grep -cE ' /(proc|sys|dev)/(kcore|keys|sys|bus|fs|irq|sysrq-trigger|timer_list|interrupts|scsi|firmware) ';
        mount | sed -nE 's/^(proc|sysfs) .*\\((rw|ro),.*/\\1 \\2/p';
        grep NoNewPrivs /proc/self/status | tr '\\t' ' ';
        echo 1 >/proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward;
        mknod /null c 1 3 && echo swallowed >/null && echo a node that lives;
        mount -t tmpfs none /tmp && mknod /tmp/null c 1 3 && echo swallowed >/tmp/null && echo another;
        [ -c /dev/loop-control ] && echo all devices; [ -L /dev/ptmx ] && tty 2>&1; : </dev/fuse && echo opened; exit 0";
    for rw in [false, true] {
        let place = Scratch::new("privileged");
        busybox_root(place.path());
        let root = place.path().to_str().unwrap();
        let done = go([if rw { "--rw" } else { "--tty=false" }, "--privileged", root, "sh", "-c", script]).code(0);
        let wanted =
            "0\nproc rw\nsysfs rw\nNoNewPrivs: 0\n1\na node that lives\nanother\nall devices\nnot a tty\nopened\n";
        assert_eq!(done.out, wanted, "{done:#?}");
    }
    // What is the container's own stays that: terminals, shared memory, /dev/null.
    assert_eq!(
        says(&["--privileged"], "ls /dev/pts; echo x >/dev/null; [ -c /dev/null ] && echo null; ls /dev/shm"),
        "ptmx\nnull\n"
    );
    // With a user namespace no further than that: the host's devices are somebody else's, nodes are not to be made.
    let script =
        "mknod /null c 1 3 2>&- || echo none; [ -c /dev/fuse ] && echo there; (: </dev/fuse) 2>&- || echo not mine;
        (: </dev/zero) && echo x >/dev/null && echo these; (echo 1 >/proc/sys/vm/drop_caches) 2>&- || echo no";
    assert_eq!(says(&["--privileged", "--userns=auto"], script), "none\nthere\nnot mine\nthese\nno\n");
    host.same();
}

/// The image is somebody else's: its nodes stay dead where they were dead.
#[test]
fn nodes_are_dead_unless_privileged() {
    let host = Host::before();
    let place = Scratch::new("nodes");
    busybox_root(&place.join("root"));
    within(Command::new("mknod").arg(place.join("root/node")).args(["c", "1", "5"])).code(0);
    fs::set_permissions(place.join("root/node"), fs::Permissions::from_mode(0o666)).unwrap();
    let root = place.join("root").display().to_string();
    let volume = format!("-v{}:/v", place.join("root").display());
    let try_it = |options: &[&str]| {
        let script = "(: </node) 2>&- && echo root; (: </v/node) 2>&- && echo volume; exit 0";
        go(options.iter().copied().chain([&*volume, &*root, "sh", "-c", script])).code(0).out
    };
    for options in [
        &["--userns=host"][..],
        &["--userns=auto"],
        &["--cap-add=ALL", "--userns=host"],
        &["--privileged", "--userns=auto"],
        &["--rw", "--userns=host"],
        &["--device=/dev/fuse"],
    ] {
        assert_eq!(try_it(options), "", "{options:?}");
    }
    assert_eq!(try_it(&["--privileged"]), "root\nvolume\n");
    assert_eq!(try_it(&["--privileged", "--rw"]), "root\nvolume\n");
    host.same();
}

#[test]
fn a_user_has_them_over_his_own_namespace() {
    let host = Host::before();
    let place = Scratch::new("caps-user");
    busybox_root(&place.join("root"));
    fs::create_dir(place.join("run")).unwrap();
    std::os::unix::fs::chown(place.join("run"), Some(12345), Some(12345)).unwrap();
    let run = |words: &[&str]| {
        let mut command = Command::new(ctr_path());
        command.args(["run", "--rm"]).args(words).arg(place.join("root")).args(["sh", "-c", STATUS]);
        within(command.uid(12345).gid(12345).env("XDG_RUNTIME_DIR", place.join("run")).current_dir("/"))
    };
    let wanted = DEFAULT & !CHOWN | SYS_ADMIN;
    assert_eq!(sets(&run(&["--cap-add=SYS_ADMIN", "--cap-drop=CHOWN"]).code(0).out), [0, wanted, wanted, wanted, 0]);
    let [_, permitted, _, bounding, _] = sets(&run(&["--privileged"]).code(0).out);
    assert!(permitted == bounding && permitted & all() == all());
    run(&["--group-add=5"]).refused(&["--group-add", "root"]);
    run(&["--cap-add=SYS_ADMN"]).refused(&["SYS_ADMIN"]);
    run(&["--ulimit=nproc=unlimited"]).refused(&["--ulimit", "nproc"]);
    host.same();
}
