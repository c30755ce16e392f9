//! The usual ways out, all of them, from every kind of container (breakout.c has them, with harmless payloads); and replays of published
//! escapes that no other test replays. docs/security-replays.md says which test replays what; that it leaves none out is tested, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::exec::{Resident, child, confinement, descriptors, gone, same_confinement};
use crate::hostile::{outside, picture, root_with_probe, sane, small_root, unchanged};
use crate::kills::start;
use crate::support::{Done, Live, Scratch, busybox, busybox_root, cache, ctr, plain, until, within};

/// The program that tries the ways.
fn breakout() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/root/breakout.c");
    let binary = cache().join("breakout");
    let made = |p: &Path| p.metadata().and_then(|m| m.modified()).ok();
    if made(&binary) < made(&source) {
        let new = cache().join("breakout.new");
        let done = within(Command::new("cc").args(["-static", "-O1", "-o"]).arg(&new).arg(source));
        assert_eq!(done.code, 0, "breakout.c: {}", done.err);
        fs::rename(new, &binary).unwrap();
    }
    binary
}

/// Ways that nothing but a seccomp filter closes: with one, they must be closed; without one, they are known to be open, or to depend
/// on this machine's settings (dmesg_restrict, unprivileged_bpf_disabled, perf_event_paranoid, unprivileged_userfaultfd).
const NEEDS_SECCOMP: [&str; 22] = [
    "bpf-any",
    "bpf-map",
    "clone-user",
    "clone3-user",
    "i386-unshare-user",
    "io-uring",
    "kernel-log",
    "key-add",
    "key-of-host",
    "key-request",
    "keyring-join",
    "nested-bpf",
    "nested-cgroup-v1",
    "nested-cgroup2",
    "nested-tmpfs",
    "perf-everybody",
    "perf-self",
    "unshare-user",
    "userfaultfd",
    "userfaultfd-user",
    "vsock",
    "x32-unshare-user",
];

/// What there is on the host to be found: a file, its disk, a socket, a process, a key.
struct Bait {
    place: Scratch,
    disk: String,
    name: String,
    key: i64,
    _socket: UnixListener,
    process: std::process::Child,
}

#[allow(unsafe_code)]
fn keyctl(call: libc::c_long, arguments: [*const libc::c_char; 5]) -> i64 {
    let [a, b, c, d, e] = arguments;
    // SAFETY: NUL-terminated strings that outlive the call, and numbers.
    unsafe { libc::syscall(call, a, b, c, d, e) }
}

impl Bait {
    fn new() -> Bait {
        let place = Scratch::new("breakout");
        let name = format!("bait{}", std::process::id());
        fs::write(place.join("canary"), "of the host\n").unwrap();
        let device = fs::metadata("/").unwrap().dev();
        let disk = format!("{}:{}", libc::major(device), libc::minor(device));
        let socket = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        fs::copy("/bin/busybox", place.join("busybox")).unwrap();
        fs::copy("/bin/sleep", place.join(&name)).unwrap();
        let process = Command::new(place.join(&name)).arg("1000").spawn().unwrap();
        // In root's own keyring, which belongs to the user, not to the session.
        const USER_KEYRING: isize = -4;
        let c = std::ffi::CString::new(name.as_str()).unwrap();
        let key = keyctl(
            libc::SYS_add_key,
            [c"user".as_ptr(), c.as_ptr(), c"secret".as_ptr(), 6 as *const _, USER_KEYRING as *const _],
        );
        assert!(key > 0, "add_key: {}", std::io::Error::last_os_error());
        Bait { place, disk, name, key, _socket: socket, process }
    }

    /// `/bin/breakout` and what it is to look for.
    fn command(&self) -> [String; 6] {
        let canary = self.place.join("canary").display().to_string();
        let name = || self.name.clone();
        ["/bin/breakout".to_owned(), canary, self.disk.clone(), name(), name(), name()]
    }
}

impl Drop for Bait {
    fn drop(&mut self) {
        const UNLINK: isize = 9;
        let user_keyring: isize = -4;
        let nothing = std::ptr::null();
        keyctl(
            libc::SYS_keyctl,
            [UNLINK as *const _, self.key as *const _, user_keyring as *const _, nothing, nothing],
        );
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What breakout said: whether a filter is on, and each way with how it ended.
#[track_caller]
fn ways(done: &Done) -> (bool, BTreeMap<String, String>) {
    assert!(done.code == 0 && done.out.ends_with("end\n"), "{done:#?}");
    let mut all: BTreeMap<String, String> = done
        .out
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(way, how)| (way.into(), how.into()))
        .collect();
    let filter = all.remove("filter").unwrap();
    assert!(all.len() > 110, "{done:#?}");
    (filter == "2", all)
}

/// No way is open but those that a filter would close.
#[track_caller]
fn closed(done: &Done, what: &str) {
    let (filtered, all) = ways(done);
    let bad: Vec<_> = all
        .iter()
        .filter(|(_, how)| *how == "open" || how.starts_with("not tried") || how.starts_with("signal 14"))
        .filter(|(way, _)| filtered || !NEEDS_SECCOMP.contains(&way.as_str()))
        .collect();
    assert!(bad.is_empty(), "{what} (filter: {filtered}): {bad:?}\n{}", done.out);
}

fn root_with_breakout(at: &Path) -> String {
    let text = root_with_probe(at);
    fs::copy(breakout(), at.join("bin/breakout")).unwrap();
    text
}

/// Files of the host that a way out would write to.
fn settings() -> Vec<Option<String>> {
    let files = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hostname",
        "/sys/kernel/uevent_helper",
        "/sys/fs/cgroup/memory/release_agent",
        "/sys/fs/cgroup/memory/notify_on_release",
    ];
    files.iter().map(|file| fs::read_to_string(file).ok()).collect()
}

#[test]
fn no_way_out_of_a_container() {
    let bait = Bait::new();
    let host = start();
    let before = settings();
    let text = root_with_breakout(&bait.place.join("root"));
    let modes: [&[&str]; 10] = [
        &["--userns=host"],
        &["--userns=auto"],
        &["--userns=host", "-u33"],
        &["--userns=auto", "-u33"],
        &["--userns=host", "--rw"],
        &["--userns=auto", "--rw"],
        &["--init"],
        &["--read-only", "--tmpfs=/tmp"],
        &["--userns=host", "--ipc=host", "--uts=host"],
        &["--userns=host", "--volume=/tmp:/volume"],
    ];
    for mode in modes {
        closed(&within(ctr(["run"]).args(mode).arg(&text).args(bait.command())), &format!("{mode:?}"));
        host.same_still();
    }
    assert_eq!(settings(), before);
    drop(bait);
    host.same_soon();
}

/// Who comes in later has no more.
#[test]
fn no_way_out_by_exec() {
    let bait = Bait::new();
    let host = start();
    let before = settings();
    let text = root_with_breakout(&bait.place.join("root"));
    for mode in [&["--userns=host"][..], &["--userns=auto"], &["--userns=host", "-u33"]] {
        let c = Resident::of("breakout", mode, &text, &["sleep", "1000"]);
        for user in [&[][..], &["-u33"], &["-u0"], &["-u1234:5678"]] {
            let mut command = plain(["exec"]);
            closed(&within(command.args(user).arg(&c.0).args(bait.command())), &format!("{mode:?} exec {user:?}"));
        }
        drop(c);
        host.same_soon();
    }
    assert_eq!(settings(), before);
    drop(bait);
    host.same_soon();
}

/// The program itself: where everything is allowed, it finds ways open. Nothing of the host changes by that either.
#[test]
fn the_ways_are_ways() {
    let bait = Bait::new();
    let host = start();
    let before = settings();
    let text = root_with_breakout(&bait.place.join("root"));
    let c = Resident::of("open", &["--userns=host"], &text, &["sleep", "1000"]);
    let mut command = plain(["exec", "--privileged"]);
    let done = within(command.arg(&c.0).args(bait.command()));
    let (_, all) = ways(&done);
    for way in [
        "mount-tmpfs",
        "mount-proc",
        "remount-sys",
        "umount-masks",
        "fsopen",
        "open-tree",
        "unshare-mounts",
        "unshare-net",
        "reboot",
        "swapon",
        "acct",
        "clock",
        "hostname",
        "bpf-map",
        "capset",
        "shocker",
        "perf-everybody",
    ] {
        assert_eq!(all.get(way).map(String::as_str), Some("open"), "{way}: {}", done.out);
    }
    drop(c);
    assert_eq!(settings(), before);
    drop(bait);
    host.same_soon();
}

// ---- replays

/// Exchanges two names again and again, as fast as it goes, until dropped.
struct Exchange(std::sync::Arc<AtomicBool>, Option<std::thread::JoinHandle<u64>>);

#[allow(unsafe_code)]
impl Exchange {
    fn of(pairs: Vec<(PathBuf, PathBuf)>) -> Exchange {
        use std::os::unix::ffi::OsStrExt;
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let c = |path: &PathBuf| std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(one, other)| (c(one), c(other))).collect();
        let work = move || {
            let mut count = 0;
            while !seen.load(Ordering::Relaxed) {
                // Twice: in the end each is where it was.
                for (one, other) in pairs.iter().flat_map(|pair| [pair, pair]) {
                    // SAFETY: NUL-terminated strings that outlive the call.
                    let done = unsafe {
                        libc::syscall(
                            libc::SYS_renameat2,
                            libc::AT_FDCWD,
                            one.as_ptr(),
                            libc::AT_FDCWD,
                            other.as_ptr(),
                            libc::RENAME_EXCHANGE,
                        )
                    };
                    count += u64::from(done == 0);
                }
            }
            count
        };
        Exchange(stop, Some(std::thread::spawn(work)))
    }

    fn end(mut self) -> u64 {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().unwrap().join().unwrap()
    }
}

/// CVE-2021-30465, CVE-2024-45310, CVE-2025-31133, CVE-2025-52565, CVE-2025-52881, CVE-2023-28642, and youki's CVE-2025-62161 and
/// CVE-2025-62596: somebody who may write to the root, another container that shares it say, exchanges what ctr mounts on for links,
/// while ctr does it. A hundred and fifty times, with each name that there is.
#[test]
fn names_that_are_exchanged_meanwhile_lead_nowhere() {
    let host = start();
    let place = Scratch::new("exchange");
    let out = place.join("outside");
    let before = outside(&out);
    let o = out.display().to_string();
    let root = place.join("root");
    let text = small_root(&root);
    let data = place.join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("mine"), "").unwrap();
    let volume = place.join("volume");
    fs::create_dir(&volume).unwrap();
    for dir in ["dev/pts", "dev/shm", "proc/sys", "mnt", "work"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for file in ["dev/null", "dev/console", "etc/hosts", "etc/hostname", "etc/resolv.conf"] {
        fs::write(root.join(file), "").unwrap();
    }
    fs::create_dir(volume.join("below")).unwrap();
    let mut pairs = Vec::new();
    for name in
        ["proc", "sys", "dev", "etc", "mnt", "work", "dev/null", "dev/pts", "dev/console", "etc/hosts", "etc/passwd"]
    {
        let link = root.join(format!("{}.link", name.replace('/', "-")));
        // By its whole path and by climbing: whichever is believed leads out.
        let to =
            if name.len() % 2 == 0 { format!("{o}/{name}") } else { format!("../../../../../../../../..{o}/{name}") };
        symlink(to, &link).unwrap();
        pairs.push((root.join(name), link));
    }
    // The volume is shared too (that is 2021-30465 as it was published).
    symlink(format!("{o}/data"), volume.join("below.link")).unwrap();
    pairs.push((volume.join("below"), volume.join("below.link")));
    let options = [
        format!("--volume={}:/mnt", data.display()),
        format!("--volume={}:/mnt/made/for/it", data.display()),
        format!("--volume={}:/shared", volume.display()),
        format!("--volume={}:/shared/below", data.display()),
        "--workdir=/work/made".to_owned(),
        "--tmpfs=/etc/fresh".to_owned(),
    ];
    let (mut ran, mut told) = (0, 0);
    for pair in &pairs {
        let exchange = Exchange::of(vec![pair.clone()]);
        for n in 0..14 {
            let mode: &[&str] = if n % 2 == 0 { &["--rw", "--userns=host"] } else { &["--rw", "--userns=auto"] };
            let script =
                format!("echo evil >/dev/null; echo evil >/etc/hosts; [ ! -e {o}/canary ] || echo SEEN; echo ran");
            let done =
                within(ctr(["run"]).args(mode).args(&options).args([&text, "/bin/busybox", "sh", "-c", &script]));
            let what = format!("{} {mode:?}", pair.0.display());
            let told_so = done.err.starts_with("ctr: ") && matches!(done.code, 125..=127);
            assert!(told_so || done.code == 0 || done.code == 1, "{what}: {done:#?}");
            assert!(!done.out.contains("SEEN") && !done.err.contains("bug in ctr"), "{what}: {done:#?}");
            ran += u32::from(done.code == 0);
            told += u32::from(told_so);
            unchanged(&out, &before, &what);
        }
        assert!(exchange.end() > 100, "{pair:?} was not exchanged");
        host.same_still();
    }
    assert!(ran > 5, "{ran} ran, {told} were refused: nothing was tried");
    host.same();
}

/// CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2025-52881: what a volume or the image puts in the place of `/proc` takes orders
/// that were meant for the kernel. Nothing is written there, and the orders are carried out all the same.
#[test]
fn what_is_put_over_proc_is_not_believed() {
    let host = start();
    let place = Scratch::new("over-proc");
    let root = place.join("root");
    let text = root_with_probe(&root);
    let decoy = place.join("decoy");
    for dir in [
        "self/attr",
        "self/fd",
        "thread-self/attr/apparmor",
        "self/task/1/attr",
        "1/attr",
        "sys/kernel",
        "sys/net/ipv4",
    ] {
        fs::create_dir_all(decoy.join(dir)).unwrap();
    }
    for file in [
        "self/attr/exec",
        "self/attr/current",
        "self/uid_map",
        "self/gid_map",
        "self/setgroups",
        "self/oom_score_adj",
        "thread-self/attr/apparmor/exec",
        "sys/kernel/core_pattern",
        "sys/kernel/hostname",
        "sys/net/ipv4/ip_forward",
        "sysrq-trigger",
    ] {
        fs::write(decoy.join(file), "decoy\n").unwrap();
        fs::set_permissions(decoy.join(file), fs::Permissions::from_mode(0o666)).unwrap();
    }
    let before = picture(&decoy);
    let confined = |done: &Done, what: &str| {
        let line = |key: &str| {
            done.out
                .lines()
                .find_map(|line| line.strip_prefix(key))
                .map(str::trim)
                .unwrap_or_else(|| panic!("{what}: no {key} in {done:#?}"))
        };
        assert_eq!((line("CapEff:"), line("NoNewPrivs:")), ("00000000a80425fb", "1"), "{what}");
    };
    let script = "mkdir -p /tmp/p; cat /proc/self/status 2>/dev/null; echo end";
    for mode in [&["--userns=host"][..], &["--userns=auto"], &["--userns=host", "--rw"]] {
        for at in
            ["/proc", "/proc/self", "/proc/self/attr", "/proc/sys", "/proc/sys/kernel", "/proc/1", "/sys", "/sys/fs"]
        {
            for option in [format!("--volume={}:{at}", decoy.display()), format!("--tmpfs={at}")] {
                let what = format!("{mode:?} {option}");
                let done = within(ctr(["run", &option]).args(mode).args([&text, "sh", "-c", script]));
                sane(&done, &what);
                unchanged(&decoy, &before, &what);
                // Whoever puts something over proc sees that; all else sees the kernel's.
                if done.code == 0 && !at.starts_with("/proc") {
                    confined(&done, &what);
                }
            }
        }
        // And who comes into such a container later: the kernel is asked what he is, from outside.
        let option = format!("--volume={}:/proc", decoy.display());
        let c =
            plain(["run", "-d", "--name=decoy", &option]).args(mode).args([&text, "sleep", "1000"]).output().unwrap();
        if c.status.success() {
            let c = Resident("decoy".to_owned());
            let pid = c.pid();
            let mut visitor = Live::start(&mut c.command(&["-i", "@", "sh", "-c", "echo up; cat"]));
            visitor.hear("up\n");
            let mut seen = 0;
            for entry in fs::read_dir("/proc").unwrap().flatten() {
                let space = |of: String| fs::read_link(format!("/proc/{of}/ns/pid")).ok();
                let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
                let other = entry.file_name().into_string().unwrap();
                if other.parse::<i32>().is_ok() && space(other) == space(pid.to_string()) {
                    assert!(
                        status.contains("NoNewPrivs:\t1") && status.contains("CapEff:\t00000000a80425fb"),
                        "{status}"
                    );
                    seen += 1;
                }
            }
            assert!(seen >= 2, "{seen}");
            visitor.done().code(0);
            unchanged(&decoy, &before, &format!("{mode:?} exec"));
        }
        host.same_soon();
    }
    host.same_soon();
}

/// CVE-2022-1227: a tool that looks into a container runs a program of the container's. CVE-2019-14271: or loads a library of it.
/// CVE-2018-15664, CVE-2019-10152, CVE-2023-0778: or follows its links. Every verb that looks, while the container exchanges names.
#[test]
fn who_only_looks_runs_nothing_and_follows_nothing() {
    let host = start();
    let place = Scratch::new("looks");
    let out = place.join("outside");
    let before = outside(&out);
    let o = out.display().to_string();
    let root = place.join("root");
    busybox_root(&root);
    for name in ["ps", "sh", "tar", "cat", "nsenter", "id", "getent"] {
        let at = root.join("usr/bin").join(name);
        fs::write(&at, format!("#!/bin/busybox sh\nbusybox touch {o}/ran /ran\n")).unwrap();
        fs::set_permissions(&at, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::create_dir_all(root.join("lib/x86_64-linux-gnu")).unwrap();
    for library in ["libnss_files.so.2", "libc.so.6", "libnss_compat.so.2"] {
        fs::write(root.join("lib/x86_64-linux-gnu").join(library), "evil\n").unwrap();
    }
    fs::write(root.join("etc/nsswitch.conf"), "passwd: files evil\n").unwrap();
    fs::create_dir_all(root.join("tmp/dir")).unwrap();
    fs::write(root.join("tmp/dir/canary"), "of the container\n").unwrap();
    let text = root.display().to_string();
    // It exchanges a directory for a link to the host's, as fast as a shell can.
    let script = format!(
        "cp -r /tmp/dir /tmp/real; ln -s {o} /tmp/fake; echo up; \
         while :; do rm -rf /tmp/dir; cp -r /tmp/real /tmp/dir; rm -rf /tmp/dir; ln -s {o} /tmp/dir; done"
    );
    for mode in [&["--userns=host"][..], &["--userns=auto"]] {
        let c = Resident::of(
            "looked-at",
            &[mode, &["-e", "PATH=/usr/bin:/bin", "-e", "LD_LIBRARY_PATH=/lib"]].concat(),
            &text,
            &["/bin/busybox", "sh", "-c", &script],
        );
        until("it to begin", || c.verb(&["logs"]).out.contains("up").then_some(()));
        let into = place.join("into");
        for n in 0..12 {
            let _ = fs::remove_dir_all(&into);
            fs::create_dir(&into).unwrap();
            for words in [
                vec!["top".to_owned(), c.0.clone()],
                vec!["inspect".into(), "-s".into(), c.0.clone()],
                vec!["ps".into(), "-s".into()],
                vec!["audit".into(), c.0.clone()],
                vec!["cp".into(), format!("{}:/tmp/dir", c.0), into.display().to_string()],
                vec!["cp".into(), format!("{}:/tmp/dir/canary", c.0), into.join("file").display().to_string()],
                vec!["cp".into(), format!("{}:/etc/passwd", c.0), into.join("passwd").display().to_string()],
                vec!["cp".into(), out.join("data").display().to_string(), format!("{}:/tmp/dir", c.0)],
                vec!["cp".into(), out.join("canary").display().to_string(), format!("{}:/tmp/dir/canary", c.0)],
            ] {
                let done = within(&mut plain(&words));
                assert!(!done.err.contains("bug in ctr"), "{words:?}: {done:#?}");
                unchanged(&out, &before, &format!("{mode:?} {words:?} {n}"));
            }
            // Nothing of the host came out under a name of the container's.
            for path in picture(&into).keys().filter(|path| path.is_file() && path.ends_with("canary")) {
                assert_ne!(
                    fs::read_to_string(path).unwrap(),
                    fs::read_to_string(out.join("canary")).unwrap(),
                    "{}",
                    path.display()
                );
            }
        }
        assert!(
            !root.join("ran").exists() && within(&mut c.command(&["@", "/bin/busybox", "ls", "/ran"])).code != 0,
            "{mode:?}"
        );
        drop(c);
        host.same_soon();
    }
    host.same_soon();
}

/// CVE-2020-14370: what one container, or one command, was given is not the next one's.
#[test]
fn nothing_is_handed_from_one_to_the_next() {
    let host = start();
    let first = Resident::idle("first", &["-e", "FIRST_SECRET=one"]);
    let second = Resident::idle("second", &["-e", "OWN=two"]);
    let own = |c: &Resident, options: &[&str]| c.says(options, "env | cut -d= -f1 | sort | tr '\\n' ' '");
    assert_eq!(own(&first, &["-e", "MORE=x"]), "FIRST_SECRET HOME HOSTNAME MORE PATH PWD SHLVL ");
    assert_eq!(own(&first, &[]), "FIRST_SECRET HOME HOSTNAME PATH PWD SHLVL ");
    assert_eq!(own(&second, &[]), "HOME HOSTNAME OWN PATH PWD SHLVL ");
    for _ in 0..2 {
        let mut restart = plain(["restart", "-t", "0"]);
        within(restart.env("OF_THE_CALLER", "x").args(["first", "second"])).code(0);
        assert_eq!(own(&second, &[]), "HOME HOSTNAME OWN PATH PWD SHLVL ");
        assert_eq!(own(&first, &[]), "FIRST_SECRET HOME HOSTNAME PATH PWD SHLVL ");
    }
    let environment = fs::read(format!("/proc/{}/environ", second.pid())).unwrap();
    let text = String::from_utf8_lossy(&environment).into_owned();
    assert!(!text.contains("FIRST") && !text.contains("CALLER") && text.contains("OWN=two"), "{text:?}");
    drop((first, second));
    host.same_soon();
}

/// CVE-2020-15257: neither ctr nor a supervisor has an abstract socket, nor one that others may connect to. CVE-2021-41103: what they keep is
/// closed to others while it is there.
#[test]
fn what_ctr_keeps_open_is_closed_to_others() {
    let host = start();
    let sockets = || -> BTreeSet<String> {
        let text = fs::read_to_string("/proc/net/unix").unwrap();
        text.lines().filter_map(|line| line.split_whitespace().nth(7)).map(str::to_owned).collect()
    };
    let before = sockets();
    let c = Resident::idle("kept", &["--userns=auto"]);
    let attached = Live::start(plain(["attach", "--no-stdin"]).arg(&c.0));
    let new: Vec<_> = sockets().difference(&before).cloned().collect();
    assert!(new.iter().all(|at| !at.starts_with('@')), "{new:?}");
    let mut todo: Vec<PathBuf> = ["/run/ctr", "/var/lib/ctr"].iter().map(PathBuf::from).collect();
    while let Some(path) = todo.pop() {
        let found = path.symlink_metadata().unwrap();
        if path.ends_with("layer") {
            continue;
        }
        // The state folders close everything that is in them.
        let top = path.parent().is_some_and(|up| up == Path::new("/run") || up == Path::new("/var/lib"));
        assert!(!top || found.mode() & 0o077 == 0, "{} {:o}", path.display(), found.mode());
        if found.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().flatten().map(|entry| entry.path()));
        }
    }
    let mut others = Command::new("setpriv");
    others.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--", "ls", "/run/ctr", "/var/lib/ctr"]);
    let done = within(&mut others);
    assert!(done.code != 0 && done.out.is_empty(), "{done:#?}");
    // The processes of the container, root in there, may not look into its supervisor.
    attached.signal(libc::SIGKILL);
    drop(attached);
    drop(c);
    host.same_soon();
}

/// CVE-2023-25809 (a writable group of the host's in a user's container), CVE-2014-8989 (setgroups in a user namespace drops a
/// group that was there to deny).
#[test]
fn a_users_container_has_neither_groups_nor_control_groups_of_the_host() {
    let host = start();
    let place = Scratch::new("users-own");
    busybox_root(&place.join("root"));
    for dir in ["home", "run"] {
        fs::create_dir(place.join(dir)).unwrap();
        std::os::unix::fs::chown(place.join(dir), Some(12345), Some(12345)).unwrap();
    }
    let script = "cat /proc/self/setgroups; grep cgroup /proc/self/mountinfo; \
                  for d in $(find /sys/fs/cgroup -type d 2>/dev/null); do mkdir $d/evil 2>/dev/null && echo MADE $d; done; \
                  find /sys/fs/cgroup -name cgroup.procs | while read f; do echo 0 2>/dev/null >$f && echo WROTE $f; done; \
                  setpriv --clear-groups true 2>&1; id -G; echo end";
    let mut command = Command::new("setpriv");
    command.args(["--reuid=12345", "--regid=12345", "--groups=12345,4242", "--"]).arg(crate::support::ctr_path());
    command.args(["run", "--rm"]).arg(place.join("root")).args(["sh", "-c", script]).current_dir(place.join("home"));
    command.env("HOME", place.join("home")).env("XDG_RUNTIME_DIR", place.join("run"));
    let done = within(&mut command).code(0);
    assert!(done.out.starts_with("deny\n") && done.out.ends_with("end\n"), "{done:#?}");
    for bad in ["MADE", "WROTE", " - cgroup"] {
        assert!(!done.out.contains(bad), "{done:#?}");
    }
    host.same_soon();
}

/// What an image brings along as a device stays a name, whatever is done with its root. (`--read-only` once brought them to life:
/// its remount took `nodev` away again.)
#[test]
fn device_nodes_of_an_image_are_dead() {
    let host = start();
    let place = Scratch::new("image-nodes");
    let text = root_with_probe(&place.join("root"));
    let volume = place.join("volume");
    fs::create_dir(&volume).unwrap();
    for (name, kind, major, minor) in
        [("z", "c", "1", "5"), ("l", "b", "7", "0"), ("k", "c", "1", "11"), ("f", "c", "10", "229")]
    {
        for at in [place.join("root").join(name), place.join("root/dev").join(name), volume.join(name)] {
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            within(Command::new("mknod").args(["-m", "666"]).arg(at).args([kind, major, minor])).code(0);
        }
    }
    let volumes = [format!("--volume={}:/v", volume.display()), format!("--volume={}:/r:ro", volume.display())];
    let script = "for f in /z /l /k /f /v/z /v/l /v/k /v/f /r/z /r/l /r/k /r/f /dev/z /dev/l /dev/k /dev/f; do \
                  (head -c 0 <$f) 2>/dev/null && echo OPENED $f; done; echo end";
    for userns in ["--userns=host", "--userns=auto"] {
        for mode in [&[][..], &["--read-only"], &["--rw"], &["--read-only", "--tmpfs=/tmp"], &["--init"], &["-u33"]] {
            let done =
                within(ctr(["run", userns]).args(&volumes).args(mode).args([&text, "sh", "-c", script])).code(0);
            assert_eq!(done.out, "end\n", "{userns} {mode:?} {done:#?}");
            let mut command = plain(["run", "-d", "--name=nodes", userns]);
            within(command.args(&volumes).args(mode).args([&text, "sleep", "1000"])).code(0);
            let c = Resident("nodes".to_owned());
            assert_eq!(c.says(&[], script), "end\n", "{userns} {mode:?} exec");
            drop(c);
        }
        host.same_soon();
    }
    // A view of the host, and what is mounted in it.
    let at = place.join("z");
    within(Command::new("mknod").args(["-m", "666"]).arg(&at).args(["c", "1", "5"])).code(0);
    for mode in [&[][..], &["--read-only"]] {
        let script = format!(
            "(head -c 0 <{0}) 2>/dev/null && echo OPENED; grep -c ' / [^ ]*nodev' /proc/self/mountinfo",
            at.display()
        );
        let done = within(ctr(["run"]).args(mode).args(["host", "sh", "-c", &script])).code(0);
        assert_eq!(done.out, "1\n", "{mode:?} {done:#?}");
    }
    host.same_soon();
}

/// A root with seize.c in it.
fn root_with_seize(at: &Path) {
    let binary = at.with_extension("seize");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/root/seize.c");
    let done = within(Command::new("cc").args(["-static", "-O1", "-o"]).arg(&binary).arg(source));
    assert_eq!(done.code, 0, "seize.c: {}", done.err);
    busybox_root(at);
    fs::copy(binary, at.join("bin/seize")).unwrap();
}

/// Visits a container in which seize.c waits, and tells what it said. `command` is ctr's, for who may come in.
fn visited(command: &dyn Fn(&[&str]) -> Command, root: &Path, options: &[&str], visits: &[&[&str]]) -> String {
    let root = root.to_str().unwrap();
    within(&mut command(&[&["run", "-d", "--name=seized"], options, &[root, "seize"]].concat())).code(0);
    let log = || within(&mut command(&["logs", "seized"])).out;
    until("the attacker", || log().starts_with("up").then_some(()));
    for n in 0..60 {
        let visit = visits[n % visits.len()];
        let words = [&["exec"], visit, &["seized", "sh", "-c", "echo $((6 * 7)); exec sleep 0.02"]].concat();
        let done = within(command(&words).env("CANARY", "of ctr's"));
        // It has looked at us and not changed what we do: nobody that it could hold was us.
        let what = format!("{options:?} {visit:?} {done:?}");
        assert!(done.code == 0 && done.out.trim() == if visit.contains(&"-d") { "" } else { "42" }, "{what}");
    }
    // The container ends by it, and touch with the container, before it has ended itself perhaps.
    let last = within(&mut command(&["exec", "seized", "touch", "/dev/shm/enough"]));
    assert!([0, 137].contains(&last.code), "{last:?}");
    until("its end", || log().contains("end: ").then_some(()));
    let said = log();
    within(&mut command(&["rm", "-f", "seized"])).code(0);
    said
}

/// A container with SYS_PTRACE over the host's ids, or an ordinary user's with all powers over its own: what `exec` makes in there can be
/// held before it is the user's program, and must then be nothing but what the attacker is himself.
#[test]
fn who_may_trace_finds_nothing_in_a_visitor() {
    let host = start();
    let place = Scratch::new("seize");
    let root = place.join("root");
    root_with_seize(&root);
    let visits: [&[&str]; 5] = [&[], &["-u", "1000"], &["-i"], &["-d"], &["-e", "A=b"]];
    let tracer = &["--userns=host", "--cap-add=SYS_PTRACE"][..];
    for options in [
        tracer,
        &["--userns=host", "--cap-add=SYS_PTRACE", "--security-opt=no-new-privileges=false"],
        &["--userns=host", "--privileged", "--cap-drop=SYS_ADMIN,SYS_MODULE,SYS_RAWIO,MKNOD"],
        // Its powers are over its own ids, to which our memory does not belong.
        &["--userns=required", "--cap-add=SYS_PTRACE"],
    ] {
        let own_ids = options[0] == "--userns=required";
        let said = visited(&|words| plain(words), &root, options, &visits);
        let what = format!("{options:?}: {said}");
        for bad in ["POWER", "UNFILTERED", "NEW PRIV", "DESCRIPTOR", "ENVIRONMENT"] {
            assert!(!said.contains(bad), "{what}");
        }
        assert!(said.contains("rounds, met some") || own_ids && said.contains("refused EPERM"), "{what}");
        assert!(!(own_ids && said.contains("held")), "{what}");
        host.same_soon();
    }
    // A terminal, the end of ctr, and what cannot be run.
    let c = Resident::idle("apart", tracer);
    let terminal =
        "script -qec 'CTR exec -it apart sh -c \"tty; echo \\$((6*7)); ps -o pid,sid,comm | grep -c sh\"' /dev/null";
    let own = crate::support::ctr_path();
    let done = within(Command::new("sh").args(["-c", &terminal.replace("CTR", own.to_str().unwrap())]));
    assert!(done.out.contains("/dev/pts/0") && done.out.contains("42"), "{done:#?}");
    within(&mut plain(["exec", "apart", "nothing-like-this"])).code(127);
    within(&mut plain(["exec", "apart", "/etc"])).code(126);
    within(&mut plain(["exec", "apart", "sh", "-c", "kill -9 $$"])).code(137);
    let live = Live::start(&mut plain(["exec", "apart", "sleep", "977"]));
    let theirs = child(live.pid(), "sleep");
    let first: i32 = c.ask("{{.State.Pid}}").parse().unwrap();
    same_confinement(&confinement(first), &confinement(theirs), &[], "who was made apart");
    assert_eq!(descriptors(theirs), BTreeSet::from([0, 1, 2]));
    assert!(fs::read(format!("/proc/{}/environ", live.pid())).unwrap().iter().all(|byte| *byte == 0));
    live.signal(libc::SIGKILL);
    drop(live);
    until("its end with ctr", || gone(theirs).then_some(()));
    drop(c);
    host.same();
}

/// The same for an ordinary user's container, whose root is he himself.
#[test]
fn a_users_container_cannot_trace_who_visits_it() {
    const USER: u32 = 12345;
    let host = start();
    let place = Scratch::new("seize-rootless");
    let root = place.join("root");
    root_with_seize(&root);
    std::os::unix::fs::chown(place.path(), Some(USER), Some(USER)).unwrap();
    let ctr = |words: &[&str]| {
        let mut command = Command::new(crate::support::ctr_path());
        command.args(words).uid(USER).gid(USER).current_dir(place.path());
        command.env("HOME", place.path()).env("XDG_RUNTIME_DIR", place.path());
        command
    };
    let said = visited(&ctr, &root, &["--cap-add=ALL"], &[&[], &["-i"], &["--privileged"]]);
    assert!(said.contains("end: ") && (said.contains("met some") || said.contains("refused EPERM")), "{said}");
    assert!(!said.contains("held"), "{said}");
    host.same_soon();
}

/// With other ids the kernel makes memory readable again if the host's fs.suid_dumpable says so; ctr's child shares ctr's.
#[test]
fn a_change_of_ids_is_followed_by_closing_our_memory() {
    let host = start();
    let c = Resident::idle("ids", &[]);
    let root = busybox();
    for words in [
        &["exec", "ids", "true"][..],
        &["exec", "-u", "web", "ids", "true"],
        &["run", "--rm", root, "true"],
        &["run", "--rm", "-u", "web", root, "true"],
        &["run", "--rm", "--userns=host", "-u", "web", root, "true"],
    ] {
        let traced = crate::tracer::trace(&mut plain(words), None);
        assert_eq!(traced.done.code, 0, "{words:?} {traced:?}");
        let mut changes = 0;
        for (process, calls) in traced.calls.iter().enumerate() {
            let calls = &calls[..traced.ours(process)];
            for (at, _) in calls.iter().enumerate().filter(|(_, call)| **call == libc::SYS_setresuid) {
                changes += 1;
                assert_eq!(calls.get(at + 1), Some(&libc::SYS_prctl), "{words:?} {process} {calls:?}");
            }
        }
        assert!(changes > 0, "{words:?}");
    }
    drop(c);
    host.same();
}

/// docs/security-replays.md has a line for each published escape, and each line names tests that there are.
#[test]
fn every_replay_is_there() {
    /// Those of sections 1, 2 and 4 of the collection that this comes from.
    const ESCAPES: &str = "CVE-2019-5736 CVE-2019-16884 CVE-2019-19921 CVE-2023-27561 CVE-2023-28642 CVE-2025-52881 CVE-2025-62596 \
        CVE-2021-30465 CVE-2024-45310 CVE-2025-31133 CVE-2025-62161 CVE-2025-52565 CVE-2026-41579 CVE-2026-47766 CVE-2026-88264 \
        CVE-2026-88265 CVE-2019-18837 CVE-2024-21626 CVE-2018-15664 CVE-2019-14271 CVE-2019-10152 CVE-2022-1227 CVE-2023-0778 \
        CVE-2024-9676 CVE-2022-24769 CVE-2022-29162 CVE-2022-27649 CVE-2022-27650 CVE-2024-40635 CVE-2026-30892 CVE-2022-36109 \
        CVE-2022-2989 CVE-2022-2990 CVE-2023-25809 CVE-2022-0492 CVE-2014-8989 CVE-2021-43784 CVE-2017-5226 CVE-2020-15257 \
        CVE-2021-41103 CVE-2020-14370 CVE-2025-54388 CVE-2025-54410 #41872 #45610 CVE-2021-20199 CVE-2020-13401";
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(top.join("docs/security-replays.md")).unwrap();
    let rows: Vec<_> =
        text.lines().filter(|line| line.starts_with("| CVE-") || line.starts_with("| moby ")).collect();
    let missing: Vec<_> =
        ESCAPES.split_whitespace().filter(|cve| !rows.iter().any(|row| row.contains(cve))).collect();
    assert!(missing.is_empty(), "not in docs/security-replays.md: {missing:?}");
    for row in rows {
        let tests: Vec<_> = row.split('`').skip(1).step_by(2).filter(|word| word.contains("::")).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        for test in tests {
            let (file, name) = test.split_once("::").unwrap();
            let path = if file.contains('/') {
                top.join(format!("{file}.rs"))
            } else {
                top.join(format!("tests/root/{file}.rs"))
            };
            let source = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert!(source.contains(&format!("fn {name}(")), "{test} is named, and is not there: {row}");
        }
    }
}
