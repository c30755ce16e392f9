//! `--security-opt` from outside: what system calls answer inside, with the built-in filter and with profiles of users.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kills::start;
use crate::options::go;
use crate::support::{Done, Host, Scratch, busybox, busybox_root, cache, ctr, debian, plain, within};

/// tests/root/calls.c
fn calls() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/root/calls.c");
    let binary = cache().join("calls");
    let made = |p: &Path| p.metadata().and_then(|m| m.modified()).ok();
    if made(&binary) < made(&source) {
        let new = cache().join("calls.new");
        within(Command::new("cc").args(["-static", "-O1", "-o"]).arg(&new).arg(source)).code(0);
        fs::rename(new, &binary).unwrap();
    }
    binary
}

/// A busybox root with that program in it.
fn root(name: &str) -> Scratch {
    let root = Scratch::new(name);
    busybox_root(root.path());
    fs::copy(calls(), root.join("bin/calls")).unwrap();
    root
}

/// What each call answers, with these options of `run`.
#[track_caller]
fn answers(root: &Scratch, options: &[&str], words: &[&str]) -> Vec<String> {
    let done = within(ctr(["run"]).args(options).arg(root.path()).arg("calls").args(words)).code(0);
    assert_eq!(done.err, "", "{options:?} {words:?}");
    done.out.lines().map(str::to_owned).collect()
}

/// EPERM, ENOSYS, EINVAL, EBADF, EFAULT.
const CASES: &[(&str, &str)] = &[
    // Allowed, whatever the ABI (x32 is not built into every kernel, and ENOSYS then).
    ("64:39", "ok"),
    ("32:20", "ok"),
    ("x32:39", "ok or 38"),
    // Never: add_key, keyctl, io_uring_setup, kexec_load, userfaultfd, pivot_root.
    ("64:248", "1"),
    ("64:250", "1"),
    ("64:425", "1"),
    ("64:246", "1"),
    ("64:323", "1"),
    ("64:155", "1"),
    ("32:288", "1"),
    ("32:425", "1"),
    ("32:217", "1"),
    ("x32:250", "1"),
    ("x32:528", "1"),
    // Only with a capability that it has not: mount, unshare, setns, bpf, perf_event_open, syslog, settimeofday, init_module,
    // reboot, kcmp, iopl, mbind, open_by_handle_at, vhangup, acct.
    ("64:165", "1"),
    ("64:272:0", "1"),
    ("64:308", "1"),
    ("64:321", "1"),
    ("64:298", "1"),
    ("64:103", "1"),
    ("64:164", "1"),
    ("64:175", "1"),
    ("64:169", "1"),
    ("64:312", "1"),
    ("64:172", "1"),
    ("64:237", "1"),
    ("64:304", "1"),
    ("64:153", "1"),
    ("64:163", "1"),
    ("32:21", "1"),
    ("32:310", "1"),
    ("x32:165", "1"),
    ("x32:272", "1"),
    // With one that it has: chroot of nothing.
    ("64:161:0", "14"),
    ("32:61:0", "14"),
    // Nobody knows them: gaps, what is to come, beyond all, and what is no number of a call.
    ("64:400", "38"),
    ("64:467", "38"),
    ("64:600", "38"),
    ("64:0x7fffffff", "38"),
    ("64:0xffffffff", "38"),
    ("32:600", "38"),
    ("x32:600", "38"),
    ("x32:13", "38"),
    // clone: a new user, network or mount namespace; and flags that contradict each other, which the kernel itself finds.
    ("64:56:0x10000000", "1"),
    ("64:56:0x40000000", "1"),
    ("64:56:0x20000", "1"),
    ("64:56:0x10000", "22"),
    ("32:120:0x10000000", "1"),
    ("64:435:0:0", "38"),
    ("32:435:0:0", "38"),
    // socket: local, IPv4, ALG, VSOCK, one that is too high.
    ("64:41:1:1:0", "ok"),
    ("64:41:2:1:0", "ok"),
    ("64:41:38:5:0", "1"),
    ("64:41:40:1:0", "1"),
    ("64:41:46:1:0", "1"),
    ("32:359:38:5:0", "1"),
    ("32:359:1:1:0", "ok"),
    // personality: the question, LINUX32 and back, and no ADDR_NO_RANDOMIZE.
    ("64:135:0xffffffff", "ok"),
    ("64:135:8", "ok"),
    ("64:135:0", "ok"),
    ("64:135:0x40000", "1"),
    ("32:136:0x40000", "1"),
    // ioctl: TIOCSTI and TIOCLINUX, with an upper half too, of which the kernel takes no notice; another one on no descriptor.
    ("64:16:0:0x5412", "1"),
    ("64:16:0:0x541c", "1"),
    ("64:16:0:0xff00005412", "1"),
    ("64:16:99:0x5401", "9"),
    ("32:54:0:0x5412", "1"),
    ("x32:514:0:0x5412", "1"),
];

#[test]
fn every_class_of_calls_answers_as_the_table_says() {
    let host = start();
    let root = root("classes");
    let words: Vec<&str> = CASES.iter().map(|(word, _)| *word).collect();
    for options in [
        &[][..],
        &["--init"],
        &["--userns=auto"],
        &["-u", "web"],
        &["--security-opt", "seccomp=builtin"],
        &["--security-opt", "no-new-privileges=false"],
    ] {
        // Who is not root has no CAP_SYS_CHROOT that counts, and EPERM from the kernel.
        let found = answers(&root, options, &words);
        assert_eq!(found.len(), CASES.len());
        for ((word, expected), found) in CASES.iter().zip(&found) {
            assert!(expected.split(" or ").any(|one| one == found), "{options:?} {word}: {found}, not {expected}");
        }
    }
    let found =
        answers(&root, &["--security-opt", "seccomp=unconfined"], &["64:250:99", "64:16:99:0x5412", "64:600"]);
    assert_eq!(found, ["95", "9", "38"]);
    host.same();
}

fn status(done: Done) -> String {
    let done = done.code(0);
    let wanted = |line: &&str| {
        ["NoNewPrivs", "Seccomp", "Seccomp_filters"].iter().any(|key| line.starts_with(&format!("{key}:")))
    };
    done.out
        .lines()
        .filter(wanted)
        .map(|line| line.split_whitespace().last().unwrap().to_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// NoNewPrivs, Seccomp, Seccomp_filters of whoever is started in whatever way.
#[test]
fn whoever_is_started_has_one_filter() {
    let host = start();
    let profile = Scratch::new("one-filter");
    let file = profile.join("p.json");
    fs::write(&file, r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).unwrap();
    let custom = format!("seccomp={}", file.display());
    let ways: [(&[&str], &str); 6] = [
        (&[], "1 2 1"),
        (&["--security-opt", "no-new-privileges=false"], "0 2 1"),
        (&["--security-opt", "no-new-privileges"], "1 2 1"),
        (&["--security-opt", "seccomp=unconfined"], "1 0 0"),
        (&["--security-opt=no-new-privileges=false", "--security-opt=seccomp=unconfined"], "0 0 0"),
        (&["--security-opt", &custom], "1 2 1"),
    ];
    for (options, expected) in ways {
        for more in [&[][..], &["--init"], &["--userns=auto"], &["-u", "web"], &["-u", "web", "--userns=auto"]] {
            let words = ["cat", "/proc/self/status"];
            let done = within(ctr(["run"]).args(options).args(more).arg(busybox()).args(words));
            assert_eq!(status(done), expected, "{options:?} {more:?}");
            within(
                plain(["run", "-d", "--name", "filtered"])
                    .args(options)
                    .args(more)
                    .arg(busybox())
                    .args(["sleep", "1000"]),
            )
            .code(0);
            for user in [&[][..], &["-u", "0"], &["-u", "web"]] {
                let done = within(plain(["exec"]).args(user).arg("filtered").args(words));
                assert_eq!(status(done), expected, "exec {user:?} {options:?} {more:?}");
            }
            // PID 1 too, whoever that is.
            let done = within(&mut plain(["exec", "filtered", "cat", "/proc/1/status"]));
            assert_eq!(status(done), expected, "PID 1 {options:?} {more:?}");
            within(&mut plain(["rm", "-f", "filtered"])).code(0);
        }
    }
    host.same_soon();
}

#[test]
fn capabilities_are_what_they_were_before_the_filter() {
    let host = start();
    let of = |options: &[&str]| {
        let done = within(ctr(["run"]).args(options).arg(busybox()).args(["grep", "^Cap", "/proc/self/status"]));
        done.code(0).out
    };
    for more in [&[][..], &["-u", "web"], &["--userns=auto"], &["-u", "web", "--userns=auto"]] {
        let usual = of(more);
        let free = of(&[more, &["--security-opt", "no-new-privileges=false"]].concat());
        assert_eq!(usual, free, "{more:?}");
        assert!(!free.contains("CapEff:\t00000000a82425fb") && free.contains("CapInh:\t0000000000000000"), "{free}");
    }
    host.same();
}

/// These lines of a `/proc/PID/status`.
fn lines(done: Done, keys: &[&str]) -> String {
    let done = done.code(0);
    let wanted = |line: &&str| keys.iter().any(|key| line.starts_with(&format!("{key}:")));
    done.out.lines().filter(wanted).map(|line| format!("{line}\n")).collect()
}

/// What `no-new-privileges=false` is for: a program with the set-user-id bit.
#[test]
fn set_user_id_programs_work_if_asked_for() {
    let host = start();
    let root = root("setuid");
    fs::copy(calls(), root.join("bin/rootly")).unwrap();
    let done = within(Command::new("chmod").arg("4755").arg(root.join("bin/rootly"))).code(0);
    assert_eq!(done.err, "");
    let id = |options: &[&str], verb: &str| {
        let mut command = if verb == "run" { ctr(["run", "-u", "web"]) } else { plain(["exec", "-u", "web"]) };
        if verb == "run" {
            command.args(options).arg(root.path());
        } else {
            command.arg("setuid");
        }
        lines(within(command.args(["rootly", "status"])), &["Uid"])
    };
    for (options, expected) in [
        (&[][..], "Uid:\t33\t33\t33\t33\n"),
        (&["--security-opt", "no-new-privileges=false"], "Uid:\t33\t0\t0\t0\n"),
        (&["--userns=auto", "--security-opt", "no-new-privileges=false"], "Uid:\t33\t0\t0\t0\n"),
    ] {
        assert_eq!(id(options, "run"), expected, "{options:?}");
        within(plain(["run", "-d", "--name", "setuid"]).args(options).arg(root.path()).args(["sleep", "1000"]))
            .code(0);
        assert_eq!(id(&[], "exec"), expected, "exec {options:?}");
        within(&mut plain(["rm", "-f", "setuid"])).code(0);
    }
    // It is bounded and filtered all the same.
    let done = within(
        ctr(["run", "-u", "web", "--security-opt", "no-new-privileges=false"])
            .arg(root.path())
            .args(["rootly", "status"]),
    );
    let expected = "CapEff:\t00000000a80425fb\nSeccomp_filters:\t1\n";
    assert_eq!(lines(done, &["CapEff", "Seccomp_filters"]), expected);
    host.same_soon();
}

/// A profile in a file of its own.
fn profile(place: &Scratch, text: &str) -> String {
    let path = place.join("profile.json");
    fs::write(&path, text).unwrap();
    format!("seccomp={}", path.display())
}

fn allowing(rules: &str) -> String {
    format!(
        r#"{{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],"syscalls":[{rules}]}}"#
    )
}

#[test]
fn profiles_of_users_have_every_operator_and_action() {
    let host = start();
    let (root, place) = (root("profiles"), Scratch::new("profiles-file"));
    // getpriority's second argument is a number that it does not mind much: a good place to compare.
    let high = "0x500000005";
    let value = 0x5_0000_0005_u64;
    for (op, expected) in [
        ("NE", ["7", "7", "0", "7"]),
        ("LT", ["7", "7", "0", "0"]),
        ("LE", ["7", "7", "7", "0"]),
        ("EQ", ["0", "0", "7", "0"]),
        ("GE", ["0", "0", "7", "7"]),
        ("GT", ["0", "0", "0", "7"]),
    ] {
        let rule = format!(
            r#"{{"names":["getpriority"],"action":"SCMP_ACT_ERRNO","errnoRet":7,"args":[{{"index":5,"value":{value},"op":"SCMP_CMP_{op}"}}]}}"#
        );
        let option = profile(&place, &allowing(&rule));
        let words = ["5", "0x4ffffffff", high, "0x500000006"].map(|n| format!("64:140:0:0:0:0:0:{n}"));
        let found = answers(&root, &["--security-opt", &option], &words.each_ref().map(String::as_str));
        let expected = expected.map(|word| if word == "0" { "ok" } else { word });
        assert_eq!(found, expected, "{op}");
    }
    let rule = r#"{"name":"getpriority","action":"SCMP_ACT_ERRNO","errnoRet":9,"args":[{"index":4,"value":1030792151055,"valueTwo":4,"op":"SCMP_CMP_MASKED_EQ"}]}"#;
    let option = profile(&place, &allowing(rule));
    let found = answers(
        &root,
        &["--security-opt", &option],
        &["64:140:0:0:0:0:4", "64:140:0:0:0:0:0xf4", "64:140:0:0:0:0:0x1000000004", "64:140:0:0:0:0:5"],
    );
    assert_eq!(found, ["9", "9", "ok", "ok"]);
    for (action, more, expected) in [
        ("ERRNO", "", "1"),
        ("ERRNO", r#","errnoRet":71"#, "71"),
        ("ERRNO", r#","errnoRet":0"#, "ok"),
        ("LOG", "", "ok"),
        ("TRACE", "", "38"),
        ("TRAP", "", "signal 31"),
        ("KILL", "", "signal 31"),
        ("KILL_THREAD", "", "signal 31"),
        ("KILL_PROCESS", "", "signal 31"),
    ] {
        let rule = format!(r#"{{"names":["getpriority","nonsense"],"action":"SCMP_ACT_{action}"{more}}}"#);
        let option = profile(&place, &allowing(&rule));
        let found = answers(&root, &["--security-opt", &option], &["fork", "64:140:0", "32:96:0", "64:39"]);
        assert_eq!(found, [expected, expected, "ok"], "{action} {more}");
        // The whole container ends as its command does; 31 is SIGSYS.
        if expected == "signal 31" {
            within(ctr(["run", "--security-opt", &option]).arg(root.path()).args(["calls", "64:140:0"]))
                .code(128 + 31);
        }
    }
    host.same();
}

/// What the kernel takes no notice of is no way past a rule: a 64-bit program's upper halves, and the version in the number of a part of ipc.
#[test]
fn a_denied_call_of_i386_stays_denied_with_anything_beside_its_arguments() {
    let host = start();
    let (root, place) = (root("halves"), Scratch::new("halves-file"));
    let rules = r#"{"names":["bind","shmat"],"action":"SCMP_ACT_ERRNO"},
        {"names":["dup2"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]}"#;
    let option = profile(&place, &allowing(rules));
    let words = [
        "32:63:1:9", // dup2
        "32:63:0x100000001:9",
        "32:102:2", // socketcall: bind
        "32:102:0x700000002",
        "32:117:21:12345",      // ipc: shmat
        "32:117:0x20015:12345", // version 2
        "32:117:0x100000015:12345",
    ];
    assert_eq!(answers(&root, &["--security-opt", &option], &words), ["1"; 7]);
    let others = ["32:63:2:9", "32:102:1", "32:117:22:0"];
    assert_eq!(answers(&root, &["--security-opt", &option], &others), ["ok", "14", "22"]);
    host.same();
}

/// Docker's default profile says the same in its own words; what this one names is enough for busybox, and ours for it.
#[test]
fn a_list_of_what_is_allowed_is_enough_for_ctr_itself() {
    let host = start();
    let (root, place) = (root("allowed"), Scratch::new("allowed-file"));
    let names = "access arch_prctl brk close dup2 getegid getgid setgid setuid execve exit exit_group fcntl fork fstat getcwd geteuid getpid getppid \
        getuid ioctl lseek lstat mmap mprotect munmap newfstatat open openat poll prctl prlimit64 read readlink readlinkat rseq \
        rt_sigaction rt_sigprocmask set_robust_list set_tid_address stat vfork wait4 write writev getrandom uname statx futex";
    let list = names.split_whitespace().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(",");
    for default in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"] {
        let option = profile(
            &place,
            &format!(
                r#"{{"defaultAction":"{default}","syscalls":[{{"names":[{list}],"action":"SCMP_ACT_ALLOW"}}]}}"#
            ),
        );
        for more in [&[][..], &["--trace"], &["--userns=auto"], &["-u", "web"]] {
            let done = within(ctr(["run", "--security-opt", &option]).args(more).arg(root.path()).args([
                "sh",
                "-c",
                "echo fine",
            ]));
            assert_eq!(done.code(0).out, "fine\n", "{default} {more:?}");
        }
        // i386 and x32 were not asked for.
        let calls =
            |word: &str| within(ctr(["run", "--security-opt", &option]).arg(root.path()).args(["calls", word]));
        calls("32:20").code(128 + 31);
        assert_eq!(calls("x32:39").code(0).out, "38\n");
    }
    // Without no_new_privs one more call comes after the filter, as it does in runc: then the profile must know it.
    let without = profile(
        &place,
        &format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":[{list}],"action":"SCMP_ACT_ALLOW"}}]}}"#
        ),
    );
    let free = ["run", "--security-opt", "no-new-privileges=false", "--security-opt"];
    within(ctr(free).arg(&without).arg(root.path()).arg("true")).refused(&["step \"seccomp\"", "capset"]);
    let with = profile(
        &place,
        &format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":["capset",{list}],"action":"SCMP_ACT_ALLOW"}}]}}"#
        ),
    );
    within(ctr(free).arg(&with).arg(root.path()).arg("true")).code(0);
    host.same();
}

#[test]
fn newer_calls_than_the_profile_knows_are_unknown() {
    let host = start();
    let (root, place) = (root("newer"), Scratch::new("newer-file"));
    // Up to faccessat2 (439).
    let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["faccessat2","write","exit_group","execve","brk","mmap","arch_prctl","set_tid_address","set_robust_list","rseq","prlimit64","readlinkat","getrandom","mprotect","newfstatat","fstat","uname","readlink","futex"],"action":"SCMP_ACT_ALLOW"}]}"#;
    let found = answers(
        &root,
        &["--security-opt", &profile(&place, text)],
        &["64:438", "64:439:0:0", "64:440", "64:450", "64:999"],
    );
    assert_eq!(found, ["1", "14", "38", "38", "38"]);
    host.same();
}

/// The file may change, or go: a container has what was in it when it was made.
#[test]
fn a_profile_is_remembered_by_what_is_in_it() {
    let host = start();
    let (root, place) = (root("remembered"), Scratch::new("remembered-file"));
    let rule = r#"{"names":["getpriority"],"action":"SCMP_ACT_ERRNO","errnoRet":77}"#;
    let option = profile(&place, &allowing(rule));
    within(plain(["create", "--name", "kept", "--security-opt", &option]).arg(root.path()).args([
        "sh",
        "-c",
        "calls 64:140; sleep 1000",
    ]))
    .code(0);
    fs::write(place.join("profile.json"), "broken").unwrap();
    within(&mut plain(["start", "kept"])).code(0);
    assert_eq!(within(&mut plain(["exec", "kept", "calls", "64:140", "32:96"])).code(0).out, "77\n77\n");
    crate::support::until("an answer", || (within(&mut plain(["logs", "kept"])).code(0).out == "77\n").then_some(()));
    fs::remove_file(place.join("profile.json")).unwrap();
    assert_eq!(within(&mut plain(["exec", "-u", "web", "kept", "calls", "64:140"])).code(0).out, "77\n");
    within(&mut plain(["restart", "-t", "0", "kept"])).code(0);
    assert_eq!(within(&mut plain(["exec", "kept", "calls", "64:140"])).code(0).out, "77\n");
    let shown = within(&mut plain(["inspect", "-f", "{{index .HostConfig.SecurityOpt 0}}", "kept"])).code(0).out;
    assert!(
        shown.starts_with("seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"") && shown.contains("getpriority"),
        "{shown}"
    );
    // Said by its own command, of which the second one has just been started.
    crate::support::until("both answers", || {
        (within(&mut plain(["logs", "kept"])).code(0).out == "77\n77\n").then_some(())
    });
    within(&mut plain(["rm", "-f", "kept"])).code(0);
    // The same for one that ends with its ctr.
    let option = profile(&place, &allowing(rule));
    let mut live = crate::support::Live::start(
        ctr(["run", "--name", "brief", "--security-opt", &option]).arg(root.path()).args([
            "sh",
            "-c",
            "echo up; sleep 1000",
        ]),
    );
    live.hear("up");
    fs::remove_file(place.join("profile.json")).unwrap();
    assert_eq!(within(&mut plain(["exec", "brief", "calls", "64:140"])).code(0).out, "77\n");
    within(&mut plain(["kill", "brief"])).code(0);
    live.done().code(137);
    host.same_soon();
}

/// A check is an exec: it is held by the same filter.
#[test]
fn health_checks_are_filtered() {
    let host = start();
    let root = root("checked");
    let check = [
        "--health-interval=100ms",
        "--health-cmd",
        "grep -q 'Seccomp_filters:.1$' /proc/self/status && test $(calls 64:250) = 1",
    ];
    within(plain(["run", "-d", "--name", "checked"]).args(check).arg(root.path()).args(["sleep", "1000"])).code(0);
    crate::support::until("a check", || {
        let shown = within(&mut plain(["inspect", "-f", "{{.State.Health.Status}}", "checked"])).code(0).out;
        (shown == "healthy\n").then_some(())
    });
    within(&mut plain(["rm", "-f", "checked"])).code(0);
    host.same_soon();
}

#[test]
fn bad_profiles_are_refused_and_leave_nothing() {
    let host = start();
    let place = Scratch::new("bad");
    let huge = format!("{{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"x\":\"{}\"}}", "x".repeat(300 << 10));
    let many: Vec<String> = (0..1500)
        .map(|n| {
            format!(
                r#"{{"name":"dup2","action":"SCMP_ACT_KILL","args":[{{"index":0,"value":{n},"op":"SCMP_CMP_EQ"}}]}}"#
            )
        })
        .collect();
    let (many, deep) = (allowing(&many.join(",")), "[".repeat(50_000));
    for (text, word) in [
        ("", "line 1: it ends too early"),
        ("{", "line 1"),
        ("{}", "no defaultAction"),
        ("{\n\"defaultAction\":\"SCMP_ACT_ALLOW\",\n\"defaultAction\":\"SCMP_ACT_KILL\"}", "line 3: the same name"),
        (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "SCMP_ACT_NOTIFY"),
        (r#"{"defaultAction":"SCMP_ACT_ERRNO"}"#, "it denies execve"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"execve","action":"SCMP_ACT_KILL"}]}"#,
            "it denies execve",
        ),
        (&huge, "256 KiB"),
        (&many, "4096 instructions"),
        (&deep, "too deep"),
        ("\u{1b}[2J{\n", "line 1"),
    ] {
        let option = profile(&place, text);
        for verb in ["run", "create"] {
            within(plain([verb, "--security-opt", &option]).args([busybox(), "true"]))
                .refused(&["bad seccomp profile", word]);
        }
    }
    for (option, word) in [
        ("seccomp=/nowhere/x.json", "/nowhere/x.json"),
        ("seccomp=/dev/zero", "it is no file"),
        ("seccomp=/", "it is no file"),
        ("seccomp=", "wants a file"),
        ("seccomp", "unknown --security-opt"),
        ("no-new-privileges=perhaps", "true or false"),
        ("apparmor=", "a name without blanks"),
        ("label=colour:red", "label="),
        ("nonsense=1", "unknown --security-opt"),
        ("", "unknown --security-opt"),
    ] {
        go(["--security-opt", option, busybox(), "true"]).refused(&[word]);
    }
    host.same();
}

/// This machine has neither module at work; where one is, its own tests would have to be written.
#[test]
fn labels_that_nobody_knows_are_refused() {
    let host = start();
    let asked = |option: &str| go(["--security-opt", option, busybox(), "true"]);
    if !Path::new("/proc/self/attr/apparmor").exists() {
        asked("apparmor=docker-default").refused(&["AppArmor is not active"]);
    }
    if fs::read("/proc/self/attr/current").is_err() {
        asked("label=type:container_t").refused(&["SELinux is not active"]);
    }
    // Nothing to do is nothing to refuse.
    for option in ["apparmor=unconfined", "label=disable"] {
        asked(option).code(0);
    }
    host.same();
}

#[test]
fn execve_that_is_denied_at_times_is_said_so() {
    let host = start();
    let place = Scratch::new("execve");
    // A condition that always holds, but that ctr cannot know.
    let rule = r#"{"name":"execve","action":"SCMP_ACT_ERRNO","errnoRet":13,"args":[{"index":0,"value":1,"op":"SCMP_CMP_GT"}]}"#;
    let option = profile(&place, &allowing(rule));
    within(ctr(["run", "--security-opt", &option]).args([busybox(), "true"])).refused_with(126);
    // Even the end can be denied.
    let rule = format!(r#"{rule},{{"names":["exit_group","exit"],"action":"SCMP_ACT_ERRNO"}}"#);
    let option = profile(&place, &allowing(&rule));
    within(ctr(["run", "--security-opt", &option]).args([busybox(), "true"])).refused_with(126);
    host.same();
}

/// Real programs do not notice.
#[test]
fn a_debian_lives_behind_the_filter() {
    let host = Host::before();
    let script = "set -e; grep -q 'Seccomp_filters:.1$' /proc/self/status; apt-get check -q >/dev/null; dpkg -l bash | tail -1 | cut -c1-2; \
        python3 -c 'import os, socket, subprocess, threading\n\
t = threading.Thread(target=lambda: None); t.start(); t.join()\n\
p = os.fork()\n\
if p == 0: os._exit(45)\n\
print(os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]))\n\
a, b = socket.socketpair(); a.sendall(b\"x\"); assert b.recv(1) == b\"x\"\n\
s = socket.socket(); s.bind((\"127.0.0.1\", 0)); s.listen(); socket.create_connection(s.getsockname()).close()\n\
assert subprocess.run([\"true\"]).returncode == 0'; \
        ! unshare --user true 2>/tmp/said; grep -q 'Operation not permitted' /tmp/said";
    for options in [&[][..], &["--init"], &["--userns=auto"]] {
        let done = within(ctr(["run"]).args(options).args([debian(), "bash", "-c", script]));
        assert_eq!(done.code(0).out, "ii\n45\n", "{options:?}");
    }
    host.same();
}
