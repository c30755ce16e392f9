//! `--sysctl`: kernel parameters of the container's own namespaces, and of nobody else's.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::options::{go, says};
use crate::support::{Host, Scratch, busybox, busybox_root, ctr_path, plain, within};

const KEYS: [&str; 8] = [
    "net.ipv4.ip_forward=1",
    "net/ipv4/ip_local_port_range=2000 3000",
    "net.ipv4.conf.lo.forwarding=1",
    "kernel.shm_rmid_forced=1",
    "kernel.sem=1 2 3 4",
    "kernel.msgmax=4000",
    "fs.mqueue.msg_max=23",
    "kernel.domainname=of.mine",
];
const SHOW: &str = "cd /proc/sys; cat net/ipv4/ip_forward net/ipv4/ip_local_port_range net/ipv4/conf/lo/forwarding kernel/shm_rmid_forced \
    kernel/sem kernel/msgmax fs/mqueue/msg_max kernel/domainname | tr '\\t' ' '";
const SHOWN: &str = "1\n2000 3000\n1\n1\n1 2 3 4\n4000\n23\nof.mine\n";

fn machine() -> Vec<String> {
    let read = |path| fs::read_to_string(format!("/proc/sys/{path}")).unwrap();
    [
        "net/ipv4/ip_forward",
        "kernel/shm_rmid_forced",
        "kernel/sem",
        "kernel/msgmax",
        "fs/mqueue/msg_max",
        "kernel/domainname",
    ]
    .map(read)
    .to_vec()
}

#[test]
fn they_are_set_inside_and_nowhere_else() {
    let host = Host::before();
    let before = machine();
    let place = Scratch::new("sysctl-rw");
    busybox_root(&place.join("root"));
    let options: Vec<String> = KEYS.iter().map(|key| format!("--sysctl={key}")).collect();
    for userns in ["--userns=host", "--userns=auto"] {
        for rw in ["--rw", "--read-only", "--privileged", "-uweb"] {
            let root = if rw == "--rw" { place.join("root").display().to_string() } else { busybox().to_owned() };
            let words = options.iter().map(String::as_str).chain([userns, rw, &root, "sh", "-c", SHOW]);
            let done = go(words).code(0);
            assert_eq!(done.out, SHOWN, "{userns} {rw}");
            assert_eq!(done.err, "");
        }
    }
    // The last one counts; and what was set can be set no more.
    let script = "cat /proc/sys/net/ipv4/ip_forward; (echo 0 >/proc/sys/net/ipv4/ip_forward) 2>&- || echo read only";
    assert_eq!(says(&["--sysctl=net.ipv4.ip_forward=0", "--sysctl=net/ipv4/ip_forward=1"], script), "1\nread only\n");
    assert_eq!(machine(), before);
    host.same();
}

#[test]
fn an_ordinary_user_sets_his_own() {
    let host = Host::before();
    let before = machine();
    let place = Scratch::new("sysctl-user");
    busybox_root(&place.join("root"));
    fs::create_dir(place.join("run")).unwrap();
    std::os::unix::fs::chown(place.join("run"), Some(12345), Some(12345)).unwrap();
    let mut command = Command::new(ctr_path());
    command.args(["run", "--rm"]).args(KEYS.iter().map(|key| format!("--sysctl={key}"))).arg(place.join("root"));
    command.args(["sh", "-c", SHOW]).uid(12345).gid(12345).env("XDG_RUNTIME_DIR", place.join("run")).current_dir("/");
    assert_eq!(within(&mut command).code(0).out, SHOWN);
    assert_eq!(machine(), before);
    host.same();
}

#[test]
fn what_is_the_machines_is_refused() {
    let host = Host::before();
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    for (options, words) in [
        (&["--sysctl=kernel.core_pattern=|/x"][..], &["kernel.core_pattern", "whole machine"][..]),
        (&["--sysctl=kernel/core_pattern=|/x"], &["whole machine"]),
        (&["--sysctl=net/../kernel/core_pattern=|/x"], &["KEY=VALUE"]),
        (&["--sysctl=net./..kernel.core_pattern=|/x"], &["--sysctl"]),
        (&["--sysctl=vm.swappiness=1"], &["whole machine"]),
        (&["--sysctl=user.max_user_namespaces=0"], &["whole machine"]),
        (&["--sysctl=kernel.hostname=x"], &["-h"]),
        (&["--sysctl=kernel.shmmx=1"], &["did you mean kernel.shmmax?"]),
        (&["--sysctl=net.ipv4.ip_forward"], &["KEY=VALUE"]),
        (&["--sysctl=net.ipv4.ip_forward="], &["KEY=VALUE"]),
        (&["--sysctl==1"], &["KEY=VALUE"]),
        (&["--sysctl="], &["KEY=VALUE"]),
        (&["--sysctl=net.ipv4.ip_forward=1\n2"], &["one short line"]),
        (&["--sysctl=net.ipv4.ip_forward=1", "--network=host"], &["--network host"]),
        (&["--sysctl=kernel.sem=1 2 3 4", "--ipc=host"], &["--ipc host"]),
        (&["--sysctl=kernel.domainname=x", "--uts=host"], &["--uts host"]),
    ] {
        for verb in ["run", "create"] {
            within(plain([verb]).args(options).args([busybox(), "true"])).refused(words);
        }
    }
    // What the kernel says no to.
    for (key, word) in [
        ("net.ipv4.nothing=1", "no such parameter"),
        ("net.ipv4.conf.eth0/1.forwarding=1", "no such parameter"),
        ("net.ipv4=1", "sysctl"),
        ("net.ipv4.ip_forward=many", "does not take this value"),
        (
            "kernel.domainname=a-name-that-is-longer-than-the-sixty-four-bytes-that-there-are-for-it",
            "does not take this value",
        ),
    ] {
        within(&mut plain(["run", "--rm", "--sysctl", key, busybox(), "true"])).refused(&["step \"sysctl\"", word]);
    }
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), pattern);
    host.same_soon();
}

/// CVE-2019-16884, CVE-2025-52881: a /proc of the image's making takes no write, and gives none.
#[test]
fn a_proc_that_the_image_brings_is_not_written_to() {
    let host = Host::before();
    let place = Scratch::new("sysctl-decoy");
    let root = place.join("root");
    busybox_root(&root);
    fs::create_dir_all(place.join("decoy/sys/net/ipv4")).unwrap();
    fs::write(place.join("decoy/sys/net/ipv4/ip_forward"), "decoy").unwrap();
    let shown = root.display().to_string();
    // As a directory it is covered; a link is covered too, or, where the directory itself is the root, refused.
    for link in [false, true] {
        if link {
            symlink("../decoy", root.join("proc")).unwrap();
        } else {
            within(Command::new("cp").arg("-r").arg(place.join("decoy")).arg(root.join("proc"))).code(0);
        }
        let run =
            |more: &str| go([more, "--sysctl=net.ipv4.ip_forward=1", &shown, "cat", "/proc/sys/net/ipv4/ip_forward"]);
        assert_eq!(run("--init=false").code(0).out, "1\n");
        let done = run("--rw");
        assert!(if link { done.code == 125 } else { done.out == "1\n" }, "{done:#?}");
        // A container that stays writes its own layer, and may make the same trap for its next start.
        let trap = "umount -l /proc 2>&-; cat /proc/sys/net/ipv4/ip_forward";
        let name = format!("decoy-{link}");
        let words = ["run", "--name", &name, "--sysctl=net.ipv4.ip_forward=1", &shown, "sh", "-c", trap];
        assert_eq!(within(&mut plain(words)).code(0).out, "1\n");
        assert_eq!(within(&mut plain(["start", "-a", &name])).code(0).out, "1\n");
        within(&mut plain(["rm", &name])).code(0);
        let _ = fs::remove_dir_all(root.join("proc")).or_else(|_| fs::remove_file(root.join("proc")));
    }
    assert_eq!(fs::read_to_string(place.join("decoy/sys/net/ipv4/ip_forward")).unwrap(), "decoy");
    let shown = within(&mut plain([
        "create",
        "--name=shown",
        "--sysctl=net.ipv4.ip_forward=1",
        "--sysctl=kernel.sem=1 2 3 4",
        busybox(),
        "true",
    ]));
    shown.code(0);
    let shown = within(&mut plain(["inspect", "-f", "{{json .HostConfig.Sysctls}}", "shown"])).code(0).out;
    assert_eq!(shown, "{\"net.ipv4.ip_forward\":\"1\",\"kernel.sem\":\"1 2 3 4\"}\n");
    within(&mut plain(["rm", "shown"])).code(0);
    host.same_soon();
}
