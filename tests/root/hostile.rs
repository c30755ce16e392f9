//! Hostile root filesystems and hostile programs: nothing outside of the root changes, is seen or is reached.
//!
//! The mechanisms of published escapes, each named where it is tried. What needs system calls that no shell has is in
//! probe.c, which is compiled once and runs inside as /bin/probe.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::kills::start;
use crate::support::{Done, Live, Scratch, busybox, busybox_root, cache, ctr, ctr_path, until, within};
use crate::tracer::{terminal, waiting, with_controlling_terminal};

/// The program that tries what a shell cannot.
pub fn probe() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/root/probe.c");
    let binary = cache().join("probe");
    let made = |p: &Path| p.metadata().and_then(|m| m.modified()).ok();
    if made(&binary) < made(&source) {
        let new = cache().join("probe.new");
        let done = within(Command::new("cc").args(["-static", "-O1", "-o"]).arg(&new).arg(source));
        assert_eq!(done.code, 0, "probe.c: {}", done.err);
        fs::rename(new, &binary).unwrap();
    }
    binary
}

/// A busybox root with the probe, in this directory.
pub fn root_with_probe(at: &Path) -> String {
    busybox_root(at);
    fs::copy(probe(), at.join("bin/probe")).unwrap();
    at.display().to_string()
}

/// As small as a root can be.
pub fn small_root(at: &Path) -> String {
    for dir in ["bin", "etc", "proc", "sys", "dev", "run", "tmp"] {
        fs::create_dir_all(at.join(dir)).unwrap();
    }
    fs::hard_link(Path::new(busybox()).join("bin/busybox"), at.join("bin/busybox"))
        .or_else(|_| fs::copy("/bin/busybox", at.join("bin/busybox")).map(drop))
        .unwrap();
    symlink("busybox", at.join("bin/sh")).unwrap();
    fs::write(at.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nweb:x:33:33::/:/bin/sh\n").unwrap();
    fs::write(at.join("etc/group"), "root:x:0:\nwww:x:33:\n").unwrap();
    at.display().to_string()
}

/// Everything about a tree that can be changed but the times of reading.
pub fn picture(top: &Path) -> BTreeMap<PathBuf, String> {
    let mut seen = BTreeMap::new();
    let mut todo = vec![top.to_owned()];
    while let Some(path) = todo.pop() {
        let Ok(m) = path.symlink_metadata() else { continue };
        let what = if m.is_symlink() {
            format!("{:?}", fs::read_link(&path))
        } else if m.is_file() && m.size() < 1 << 20 {
            let bytes = fs::read(&path).unwrap_or_default();
            format!("{} bytes {:?}", bytes.len(), String::from_utf8_lossy(&bytes[..bytes.len().min(40)]))
                + &format!(" {:x}", bytes.iter().fold(5381_u64, |sum, b| sum.wrapping_mul(33) ^ u64::from(*b)))
        } else {
            format!("{} bytes", m.size())
        };
        let changed = (m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
        seen.insert(path.clone(), format!("{:o} {}:{} {} {changed:?} {what}", m.mode(), m.uid(), m.gid(), m.nlink()));
        if m.is_dir() {
            todo.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|e| e.path()));
        }
    }
    seen
}

#[track_caller]
pub fn unchanged(top: &Path, before: &BTreeMap<PathBuf, String>, what: &str) {
    let after = picture(top);
    let mut all: Vec<_> = before.keys().chain(after.keys()).collect();
    all.sort();
    all.dedup();
    for path in all {
        assert_eq!(after.get(path), before.get(path), "{} after {what}", path.display());
    }
}

/// A tree outside of every root, with the names that ctr would like to write to.
pub fn outside(at: &Path) -> BTreeMap<PathBuf, String> {
    for dir in ["etc", "proc/sys", "sys", "dev/pts", "dev/shm", "run", "tmp", "root", "data"] {
        fs::create_dir_all(at.join(dir)).unwrap();
    }
    for file in [
        "canary",
        "etc/passwd",
        "etc/group",
        "etc/hosts",
        "etc/hostname",
        "etc/resolv.conf",
        "dev/null",
        "dev/console",
    ] {
        fs::write(at.join(file), "web:x:33:33:the host's:/:/bin/sh\n").unwrap();
        fs::set_permissions(at.join(file), fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::chown(at.join(file), Some(7), Some(8)).unwrap();
    }
    picture(at)
}

/// Ends in either of two ways: it ran, or ctr says why not. No crash, no hang.
#[track_caller]
pub fn sane(done: &Done, what: &str) {
    let told = done.code == 125 && done.err.starts_with("ctr: ") && done.out.is_empty();
    assert!((done.code == 0 || told) && !done.err.contains("bug in ctr"), "{what}: {done:#?}");
}

const MODES: [&[&str]; 4] = [&[], &["--rw"], &["--userns=auto"], &["--userns=auto", "--rw"]];

/// CVE-2019-19921, CVE-2023-27561, CVE-2026-41579, CVE-2026-47766 (a name that ctr mounts on is a link),
/// CVE-2026-88264/88265 (/dev/console, /dev/null), CVE-2025-31133, CVE-2025-52565, CVE-2024-9676 (a pipe).
#[test]
fn a_root_full_of_links_reaches_nothing_outside() {
    let host = start();
    let place = Scratch::new("links");
    let out = place.join("outside");
    let before = outside(&out);
    let etc = picture(Path::new("/etc"));
    let devices = || -> Vec<_> {
        let nodes = ["null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "pts", "shm", "."];
        let look =
            |n| Path::new("/dev").join(n).symlink_metadata().map(|m| (n, m.mode(), m.uid(), m.gid(), m.rdev()));
        nodes.into_iter().map(|n| look(n).ok()).collect()
    };
    let nodes = devices();
    let names = [
        "proc",
        "sys",
        "dev",
        "etc",
        "run",
        "tmp",
        "dev/null",
        "dev/console",
        "dev/pts",
        "dev/shm",
        "etc/passwd",
        "etc/group",
        "etc/hosts",
        "etc/hostname",
        "etc/resolv.conf",
    ];
    let o = out.display();
    for name in names {
        for kind in ["absolute", "climbing", "new", "dangling", "magic", "loop", "pipe", "file"] {
            let root = place.join("root");
            let _ = fs::remove_dir_all(&root);
            let text = small_root(&root);
            let at = root.join(name);
            let _ = fs::remove_dir_all(&at).or_else(|_| fs::remove_file(&at));
            match kind {
                "absolute" => symlink(out.join(name), &at).unwrap(),
                "climbing" => symlink(format!("../../../../../../../../..{o}/{name}"), &at).unwrap(),
                "new" => symlink(out.join("new"), &at).unwrap(),
                "dangling" => symlink(out.join("no/such/place"), &at).unwrap(),
                "magic" => symlink(format!("/proc/1/root/{o}/{name}"), &at).unwrap(),
                "loop" => symlink(Path::new("/").join(name), &at).unwrap(),
                "pipe" => drop(within(Command::new("mkfifo").arg(&at)).code(0)),
                _ => fs::write(&at, "a file\n").unwrap(),
            }
            for mode in MODES {
                let was = picture(&root);
                for user in [&[][..], &["-uweb"]] {
                    if !user.is_empty() && !["etc", "etc/passwd", "etc/group"].contains(&name) {
                        continue;
                    }
                    let what = format!("{name} as {kind}, {mode:?} {user:?}");
                    let files = "/etc/passwd /etc/hosts /etc/hostname /etc/resolv.conf /dev/null /dev/console /dev/x /run/x \
                                 /tmp/x /proc/x /sys/x /dev/pts/x /dev/shm/x";
                    let script = format!(
                        "for f in {files}; do [ -p $f ] || {{ echo evil >$f; }} 2>&-; done; \
                         [ ! -e {o}/canary ] || echo SEEN; echo ran"
                    );
                    let done = within(ctr(["run"]).args(mode).args(user).args([&text, "/bin/sh", "-c", &script]));
                    sane(&done, &what);
                    assert!(done.code != 0 || done.out == "ran\n", "{what}: {done:#?}");
                    // A layer of our own covers whatever is there.
                    let covered = !mode.contains(&"--rw") && !["etc", "etc/passwd", "etc/group"].contains(&name);
                    assert!(!covered || done.code == 0, "{what}: {done:#?}");
                    unchanged(&out, &before, &what);
                    if !mode.contains(&"--rw") {
                        unchanged(&root, &was, &what);
                    }
                }
            }
        }
        host.same_still();
    }
    unchanged(Path::new("/etc"), &etc, "all of it");
    assert_eq!(devices(), nodes);
    host.same();
}

/// CVE-2024-9676 and GO-2026-5475: who looks users up reads no more than a sane file.
#[test]
fn passwd_without_end() {
    let host = start();
    let place = Scratch::new("passwd-size");
    let text = small_root(&place.join("root"));
    for name in ["passwd", "group"] {
        let file = fs::OpenOptions::new().append(true).open(place.join("root/etc").join(name)).unwrap();
        file.set_len(1 << 40).unwrap();
        for options in [&[][..], &["-uweb"], &["-uroot:www"], &["-unobody-at-all"], &["-u33"]] {
            // With 64 MiB of address space it cannot be read whole.
            let mut limited = Command::new("prlimit");
            limited.arg("--as=67108864").arg(ctr_path()).args(["run", "--rm"]).args(options);
            sane(&within(limited.args([&text, "/bin/busybox", "id"])), &format!("{name} {options:?}"));
        }
        host.same_still();
    }
    host.same();
}

/// CVE-2024-21626: a working directory behind a descriptor that ctr has open, or was given.
#[test]
fn a_workdir_is_inside() {
    let host = start();
    let place = Scratch::new("workdir");
    let text = root_with_probe(&place.join("root"));
    for (link, to) in
        [("fd", "/proc/self/fd/7"), ("one", "/proc/1/root"), ("up", "../../../../../.."), ("self", "/self")]
    {
        symlink(to, place.join("root").join(link)).unwrap();
    }
    let mut asked: Vec<_> = (0..24).map(|n| format!("/proc/self/fd/{n}")).collect();
    asked.extend((3..12).map(|n| format!("/proc/self/fd/{n}/../../..")));
    asked.extend(
        [
            "/proc/1/root",
            "/proc/1/cwd",
            "/proc/self/cwd",
            "/proc/self/root/..",
            "/proc/thread-self/root",
            "/proc/1/root/tmp",
            "/proc/1/task/1/cwd",
            "/../../..",
            "/fd",
            "/fd/..",
            "/one",
            "/one/tmp",
            "/up",
            "/up/tmp",
            "/self",
            "/proc/1/ns",
            "/proc/1/map_files",
            "/dev/fd/7",
        ]
        .map(str::to_owned),
    );
    for mode in MODES {
        for dir in &asked {
            // ctr's caller has descriptors open that lead to the host.
            let mut command = Command::new("sh");
            command
                .args(["-c", "exec 7</ 8<. 9</proc; exec \"$@\"", "sh"])
                .arg(ctr_path())
                .args(["run", "--rm"])
                .args(mode);
            let done = within(command.args(["-w", dir, &text, "probe", "cwd"]));
            sane(&done, &format!("{mode:?} {dir}"));
            assert!(done.code != 0 || done.out.ends_with(" inside\n"), "{mode:?} {dir}: {done:#?}");
        }
        host.same_still();
    }
    host.same();
}

/// CVE-2021-30465, CVE-2019-18837: a mount's target is a link that the image made.
#[test]
fn volumes_land_inside() {
    let host = start();
    let place = Scratch::new("targets");
    let out = place.join("outside");
    let before = outside(&out);
    let root = place.join("root");
    let text = small_root(&root);
    let data = out.join("data");
    let o = out.display().to_string();
    let up = format!("../../../../../../../..{o}");
    let links = [
        ("proc-link", "/proc"),
        ("sys-link", "/sys"),
        ("dev-link", "/dev"),
        ("abs", &o),
        ("up", &up),
        ("fd", "/proc/self/fd/5"),
        ("fd3", "/proc/self/fd/3"),
        ("one", "/proc/1/root"),
        ("cwd", "/proc/self/cwd"),
        ("exe", "/proc/self/exe"),
        ("loop", "/loop"),
        ("file", "/etc/passwd"),
        ("null", "/dev/null"),
        ("deep", "/abs/../up/../proc-link/1/root"),
    ];
    for (link, to) in links {
        symlink(to, root.join(link)).unwrap();
    }
    for mode in MODES {
        let was = picture(&root);
        for (link, _) in links {
            for below in ["", "/etc", "/new/place"] {
                let target = format!("/{link}{below}");
                let options = [
                    format!("--volume={}:{target}", data.display()),
                    format!("--volume={}:{target}:ro", out.join("canary").display()),
                    format!("--tmpfs={target}"),
                ];
                for option in options {
                    let script = format!(
                        "[ ! -e {o}/canary ] || [ -n \"$(ls -d {o}/data 2>&1 >/dev/null)\" ] || echo SEEN; echo ran"
                    );
                    let what = format!("{mode:?} {option}");
                    let done = within(ctr(["run", &option]).args(mode).args([&text, "/bin/sh", "-c", &script]));
                    sane(&done, &what);
                    assert!(done.code != 0 || done.out == "ran\n", "{what}: {done:#?}");
                    unchanged(&out, &before, &what);
                    if !mode.contains(&"--rw") {
                        unchanged(&root, &was, &what);
                    }
                }
            }
        }
        host.same_still();
    }
    host.same();
}

#[test]
fn volumes_from_links_and_below_each_other() {
    let host = start();
    let place = Scratch::new("sources");
    for dir in ["a", "b"] {
        fs::create_dir_all(place.join(dir)).unwrap();
        fs::write(place.join(dir).join("from"), dir).unwrap();
    }
    fs::create_dir(place.join("a/y")).unwrap();
    symlink("b", place.join("relative")).unwrap();
    symlink(place.join("b"), place.join("absolute")).unwrap();
    symlink("nowhere", place.join("dangling")).unwrap();
    symlink("loop", place.join("loop")).unwrap();
    symlink("b/from", place.join("file")).unwrap();
    let before = picture(place.path());
    let volume = |from: &str, to: &str| format!("-v{}:{to}", place.join(from).display());
    for mode in [&[][..], &["--userns=auto"]] {
        let go = |options: &[String], script: &str| {
            within(ctr(["run"]).args(mode).args(options).args([busybox(), "sh", "-c", script]))
        };
        let nested = [volume("a", "/x"), volume("b", "/x/y")];
        let reversed = [nested[1].clone(), nested[0].clone()];
        for order in [nested, reversed] {
            assert_eq!(go(&order, "cat /x/from /x/y/from").code(0).out, "ab", "{mode:?} {order:?}");
        }
        for link in ["relative", "absolute"] {
            assert_eq!(go(&[volume(link, "/x:ro")], "cat /x/from; touch /x/new 2>&-; echo").code(0).out, "b\n");
        }
        assert_eq!(go(&[volume("file", "/x:ro")], "cat /x").code(0).out, "b");
        for link in ["dangling", "loop"] {
            go(&[volume(link, "/x")], "true").refused(&[link]);
        }
        unchanged(place.path(), &before, "volumes");
    }
    host.same();
}

/// What the probe said, without the lines that are allowed to succeed.
#[track_caller]
fn succeeded(done: Done, allowed: &[&str]) -> Vec<String> {
    assert!(done.err.is_empty() && done.out.lines().count() >= 10, "{done:#?}");
    let lines = done.out.lines().filter(|line| !line.starts_with(|c: char| c == '/'));
    lines
        .filter(|l| l.ends_with(" ok") && !allowed.iter().any(|a| *l == format!("{a} ok")))
        .map(str::to_owned)
        .collect()
}

/// CVE-2019-5736: whatever of ctr is to be seen inside, the host's file stays what it is.
#[test]
fn our_own_file_cannot_be_changed_from_inside() {
    let host = start();
    let place = Scratch::new("own-file");
    let root = place.join("root");
    let text = root_with_probe(&root);
    let own = place.join("bin/ctr");
    fs::create_dir(place.join("bin")).unwrap();
    fs::copy(ctr_path(), &own).unwrap();
    for name in ["ctr-init", "ctr", "evil"] {
        symlink("/proc/self/exe", root.join("bin").join(name)).unwrap();
    }
    for (name, line) in
        [("one", "#!/proc/self/exe\n"), ("two", "#!/proc/self/exe --\n"), ("three", "#!/bin/ctr-init --\n")]
    {
        fs::write(root.join("bin").join(name), line).unwrap();
        fs::set_permissions(root.join("bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let before = picture(&place.join("bin"));
    let bytes = fs::read(&own).unwrap();
    let tries: [&[&str]; 13] = [
        &["/proc/self/exe", "--version"],
        &["/proc/1/exe", "--version"],
        &["/proc/thread-self/exe", "--version"],
        &["evil", "--version"],
        &["one"],
        &["ctr-init", "--version"],
        &["ctr-init", "--", "probe", "exe", "/proc/1/exe"],
        &["ctr-init", "--", "probe", "exe", "/proc/self/exe"],
        &["ctr", "run", "--init", "/", "probe", "exe", "/proc/1/exe"],
        &["ctr", "run", "-v/proc:/tmp", "/", "probe", "exe", "/tmp/1/exe"],
        &["evil", "--", "probe", "exe", "/proc/1/exe"],
        &["two", "probe", "exe", "/proc/1/exe"],
        &["three", "probe", "exe", "/proc/1/exe"],
    ];
    for mode in [
        &[][..],
        &["--rw"],
        &["--userns=auto"],
        &["--init"],
        &["--init", "--userns=auto"],
        &["--pid=host", "--userns=host"],
        &["-u33"],
    ] {
        let what = |words: &[&str]| format!("{mode:?} {words:?}");
        for words in tries {
            let done = within(Command::new(&own).args(["run", "--rm", "--rm"]).args(mode).arg(&text).args(words));
            unchanged(&place.join("bin"), &before, &what(words));
            assert!(fs::read(&own).unwrap() == bytes, "{}", what(words));
            let harmless = ["read-open", "path-open", "link"];
            let bad: Vec<_> =
                done.out.lines().filter(|l| l.ends_with(" ok") && !harmless.contains(&&l[..l.len() - 3])).collect();
            // What says ETXTBSY is protected by luck: until whoever runs it ends.
            let luck = done.out.lines().any(|l| l.ends_with("ETXTBSY")) && !done.out.contains("truncate-path EROFS");
            assert!(bad.is_empty() && !luck, "{}: {bad:?} {done:#?}", what(words));
            // That ctr may be what runs (`/proc/self/exe`, as the command or behind `#!`) harms nobody: nothing else is in that
            // pid namespace, and it is no init unless it is executed by descriptor, so nothing else comes.
        }
        // PID 1 of --init, and whoever is there without it.
        let done = within(Command::new(&own).args(["run", "--rm", "--rm"]).args(mode).args([
            &text,
            "probe",
            "exe",
            "/proc/1/exe",
        ]));
        unchanged(&place.join("bin"), &before, &format!("{mode:?}"));
        if mode.contains(&"--init") {
            assert_eq!(succeeded(done, &["read-open", "path-open"]), [""; 0], "{mode:?}");
        }
    }
    host.same();
}

/// The same where two containers see each other: one that runs ctr's own file, and goes on doing that, is looked at by another.
#[test]
fn our_own_file_cannot_be_changed_by_a_neighbour() {
    let host = start();
    let place = Scratch::new("neighbour");
    let root = place.join("root");
    let text = root_with_probe(&root);
    within(Command::new("mkfifo").arg(root.join("pipe"))).code(0);
    fs::create_dir(place.join("bin")).unwrap();
    let own = place.join("bin/ctr");
    fs::copy(ctr_path(), &own).unwrap();
    let before = picture(&place.join("bin"));
    for program in ["/proc/self/exe", "/proc/thread-self/exe"] {
        let words = ["run", "--rm", "--pid=host", &text, program, "run", "--env-file=/pipe", "/", "true"];
        let first = Live::start(Command::new(&own).args(words));
        // It is not there if ctr does not execute itself, which is well.
        let inside = until("the first to run or to be refused", || {
            let state = fs::read_to_string(format!("/proc/{}/stat", first.pid())).unwrap();
            let ended = state.contains(") Z ");
            let mut all = fs::read_dir("/proc").unwrap().flatten().map(|e| e.path());
            let found = all.find(|p| {
                let words = fs::read_to_string(p.join("cmdline")).unwrap_or_default();
                words.contains("--env-file=/pipe") && !words.contains("--pid=host")
            });
            (ended || found.is_some()).then_some(found)
        });
        if let Some(path) = inside {
            let exe = path.join("exe").display().to_string();
            let done =
                within(Command::new(&own).args(["run", "--rm", "--pid=host", &text, "probe", "exe", &exe])).code(0);
            unchanged(&place.join("bin"), &before, &format!("{program}: {done:#?}"));
        }
        drop(first);
        within(&mut ctr(["run", busybox(), "true"])).code(0);
    }
    host.same();
}

/// Everything that takes more than a container's fourteen powers, among it CVE-2022-0492 (release_agent), "Shocker"
/// (open_by_handle_at), device nodes, and files of the kernel that reach the host. (sysrq: 'h' alone, which prints help.)
#[test]
fn powers_that_nobody_has() {
    let host = start();
    let place = Scratch::new("powers");
    let text = root_with_probe(&place.join("root"));
    fs::create_dir(place.join("volume")).unwrap();
    let volume = format!("-v{}:/volume", place.join("volume").display());
    let modes: [&[&str]; 9] = [
        &[],
        &["--rw"],
        &["--userns=auto"],
        &["--userns=auto", "--rw"],
        &["-u33"],
        &["--init"],
        &["--read-only"],
        &["--network=host"],
        &["--ipc=host", "--uts=host", "--pid=host", "--userns=host"],
    ];
    for mode in modes {
        let done =
            within(ctr(["run", &volume, "--tmpfs=/tmpfs"]).args(mode).args([&text, "probe", "powers"])).code(0);
        assert!(done.out.lines().count() > 90, "{done:#?}");
        assert_eq!(succeeded(done, &[]), [""; 0], "{mode:?}");
        host.same_still();
    }
    host.same();
}

/// In a user namespace of his own a program has every power, and none over what was there before.
#[test]
fn a_user_namespace_inside_uncovers_nothing() {
    let host = start();
    let place = Scratch::new("nested");
    let text = root_with_probe(&place.join("root"));
    let modes: [&[&str]; 7] = [
        &[],
        &["--rw"],
        &["--userns=auto"],
        &["--userns=auto", "--rw"],
        &["-u33"],
        &["--userns=auto", "-u33"],
        &["--init"],
    ];
    for mode in modes {
        let done = within(ctr(["run"]).args(mode).args([&text, "sh", "-c", "probe nested; true"])).code(0);
        // An administrator may have forbidden them.
        if done.out.starts_with("userns ok\n") {
            // cgroup v1 can be mounted, and looked at: until seccomp forbids that.
            assert_eq!(succeeded(done, &["userns", "map", "mount-cgroup-v1"]), [""; 0], "{mode:?}");
        }
        host.same_still();
    }
    host.same();
}

#[test]
fn no_way_out_of_the_root() {
    let host = start();
    let place = Scratch::new("escape");
    let text = root_with_probe(&place.join("root"));
    fs::write(place.join("canary"), "").unwrap();
    let canary = place.join("canary").display().to_string();
    let modes: [&[&str]; 6] = [
        &[],
        &["--rw"],
        &["--userns=auto"],
        &["--userns=auto", "--rw"],
        &["--init"],
        &["--read-only", "--tmpfs=/tmp"],
    ];
    for mode in modes {
        let script = format!("probe escape {canary}");
        let done = within(ctr(["run"]).args(mode).args([&text, "sh", "-c", &script])).code(0);
        let wanted =
            "fchdir root same canary hidden\ndotdot root same canary hidden\nopenat root same canary hidden\nend\n";
        assert_eq!(done.out, wanted, "{mode:?}");
        host.same_still();
    }
    // Where the host's processes are to be seen, their roots still are not.
    let done = within(&mut ctr([
        "run",
        "--pid=host",
        &text,
        "sh",
        "-c",
        "ls /proc/1/root/ /proc/1/cwd/; readlink /proc/1/fd/0 /proc/1/exe",
    ]));
    assert!(done.code != 0 && done.out.is_empty(), "{done:#?}");
    host.same();
}

/// CVE-2017-5226: typing into the terminal of whoever called.
#[test]
fn the_callers_terminal_is_not_typed_into() {
    let host = start();
    let place = Scratch::new("type");
    let text = root_with_probe(&place.join("root"));
    for mode in [&[][..], &["--rw"], &["--userns=auto"], &["--init"], &["-u33"]] {
        let (_person, program) = terminal();
        let mut command = ctr(["run", "-i"]);
        command.args(mode).args([&text, "probe", "type"]);
        command.stdin(program.try_clone().unwrap()).stderr(program.try_clone().unwrap()).stdout(Stdio::piped());
        let output = with_controlling_terminal(&mut command).spawn().unwrap().wait_with_output().unwrap();
        assert!(output.status.success(), "{mode:?} {output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.lines().count() >= 9 && !said.contains(" ok"), "{mode:?} {said}");
        assert_eq!(waiting(&program), 0, "{mode:?} {said}");
    }
    host.same();
}

/// CVE-2020-15257 (abstract sockets), and whatever else goes from process to process.
#[test]
fn sockets_and_processes_of_the_host_are_out_of_reach() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    let host = start();
    within(Command::new("busybox").args(["ip", "link", "set", "lo", "up"])).code(0);
    let place = Scratch::new("reach");
    let text = root_with_probe(&place.join("root"));
    let name = format!("ctr-test-{}", std::process::id());
    let _shouting = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let serving = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = serving.local_addr().unwrap().port();
    let mut bystander = Live::start(Command::new("cat").arg("-"));
    let pid = bystander.pid();
    for mode in [&[][..], &["--rw"], &["--userns=auto"], &["--init"], &["--userns=auto", "--init"]] {
        let script = format!(
            "probe dial {name}; for a in 127.0.0.1 10.1.2.3 ::1; do nc -w 1 $a {port} </dev/null 2>&- && echo connected $a; done; \
             ls /sys/class/net; tail -n +3 /proc/net/dev | cut -d: -f1; grep -c . /proc/net/route; \
             kill -9 {pid} 2>&-; kill -9 -1 2>&-; ls -d /proc/{pid} 2>&-; echo end"
        );
        let done = within(ctr(["run"]).args(mode).args([&text, "sh", "-c", &script]));
        // kill -9 -1 spares the killer, and PID 1.
        let said: Vec<_> = done.out.split_whitespace().collect();
        // It has a link of its own, and a way out, but none to what listens on this host's loopback alone.
        let wanted = ["abstract", "ECONNREFUSED", "eth0", "lo", "lo", "eth0", "3", "end"];
        assert_eq!(said, wanted, "{mode:?} {done:#?}");
        bystander.say("alive\n");
        assert_eq!(bystander.line(), "alive", "{mode:?}");
    }
    bystander.done().code(0);
    host.same();
}

/// CVE-2024-40635 (ids that overflow to root), CVE-2026-30892 (ids read wrong).
#[test]
fn users_are_who_they_say() {
    let host = start();
    let place = Scratch::new("users");
    let root = place.join("root");
    let text = small_root(&root);
    let entries = "root:x:0:0::/:/bin/sh\nweb:x:33:33::/:/bin/sh\n33:x:0:0::/:/bin/sh\nweb:x:0:0::/:/bin/sh\n\
        over:x:4294967296:0::/:/bin/sh\nminus:x:-1:0::/:/bin/sh\nnobody:x:4294967295:0::/:/bin/sh\nempty:x::::/:/bin/sh\n\
        space:x: 0:0::/:/bin/sh\nhex:x:0x0:0::/:/bin/sh\nplus:x:+0:0::/:/bin/sh\nshort:x\nhigh:x:2147483648:0::/:/bin/sh\n\
        biggroup:x:40:4294967296::/:/bin/sh\nhuge:x:340282366920938463463374607431768211456:0::/:/bin/sh\nnul\0:x:0:0::/:/bin/sh\n\
        :x:0:0::/:/bin/sh\ntrail:x:0 :0::/:/bin/sh\nend:x:41:42::/:/bin/sh";
    fs::write(root.join("etc/passwd"), entries).unwrap();
    fs::write(
        root.join("etc/group"),
        "root:x:0:\nwww:x:33:\nbig:x:4294967296:end\nminus:x:-1:end\nwww2:x:44:end,web\n33:x:0:web",
    )
    .unwrap();
    let id = |user: &str| within(&mut ctr(["run", "-u", user, &text, "/bin/busybox", "id"]));
    // Names with a number that is none, and words that are neither a name nor a number.
    let names = [
        "over", "minus", "nobody", "empty", "space", "hex", "plus", "short", "high", "biggroup", "huge", "trail",
        "nul",
    ];
    let words = [
        "2147483648",
        "4294967295",
        "4294967296",
        "4294967297",
        "18446744073709551616",
        "99999999999999999999",
        "-1",
        "-0",
        "0x0",
        "+0",
        " 0",
        "0 ",
        "",
        ":",
        "0:",
        ":0",
        "1e3",
        "33.",
        "33,0",
        "33\n",
        "\u{663}\u{663}",
        "0\t",
        "root:4294967296",
        "root:2147483648",
        "4294967296:0",
        "33:-1",
        "33:99999999999",
        "33:33:33",
        "web:big",
        "web:minus",
        "web:",
        "web: 0",
        "x:0",
        "../etc/passwd",
        "web/../root",
        "#0",
        "%0",
        "$0",
    ];
    let taken: Vec<_> =
        names.into_iter().chain(words).map(|u| (u, id(u))).filter(|(_, done)| done.code != 125).collect();
    assert!(taken.is_empty(), "{taken:#?}");
    for user in words {
        id(user).refused(&[]);
    }
    let good = [
        ("33", (33, 33)),
        ("web", (33, 33)),
        ("web:0", (33, 0)),
        ("web:root", (33, 0)),
        ("33:33", (33, 33)),
        ("33:www", (33, 33)),
        ("0:0", (0, 0)),
        ("end", (41, 42)),
        ("65535:65535", (65535, 65535)),
        ("end:33", (41, 33)),
    ];
    for (user, (uid, gid)) in good {
        let out = id(user).code(0).out;
        let first: Vec<_> = out.split_whitespace().map(|w| w.split('(').next().unwrap()).collect();
        assert_eq!(first[..2], [format!("uid={uid}"), format!("gid={gid}")], "{user}: {out}");
        assert!(
            !out.contains("4294967295")
                && (gid == 0 || !user.contains(':') || !out.replace("(33)", "").contains("0(")),
            "{user}: {out}"
        );
    }
    host.same();
}

/// CVE-2022-24769 and its like (inheritable capabilities), CVE-2022-36109, CVE-2022-2989 (supplementary groups): nothing of
/// the caller's comes along, whoever he is.
#[test]
fn nothing_of_the_caller_is_inherited() {
    let host = start();
    let place = Scratch::new("inherit");
    let text = root_with_probe(&place.join("root"));
    let modes: [(&[&str], &str, &str); 6] = [
        (&[], "00000000a80425fb", ""),
        (&["--userns=auto"], "00000000a80425fb", ""),
        (&["--init"], "00000000a80425fb", ""),
        (&["-uweb"], "0000000000000000", "4 6"),
        (&["-uweb", "--userns=auto"], "0000000000000000", "4 6"),
        (&["-u33:33", "--init"], "0000000000000000", ""),
    ];
    for (mode, powers, groups) in modes {
        let mut command = Command::new("setpriv");
        command.args([
            "--inh-caps=+chown,+kill,+sys_admin,+net_admin",
            "--ambient-caps=+sys_admin,+kill",
            "--groups=4,24,27,1000",
            "--",
        ]);
        command.env("SECRET", "of the caller").env("BASH_ENV", "/evil");
        let script = "cat /proc/self/status; tr '\\0' '\\n' </proc/self/environ; echo FDs:; ls /proc/self/fd";
        // Blocked and ignored signals, a umask, limits and descriptors are the caller's too.
        let outer = "umask 0777; trap '' INT HUP USR1; exec 5</etc/shadow 6</; exec \"$@\"";
        let done = within(
            command
                .args(["sh", "-c", outer, "sh"])
                .arg(ctr_path())
                .args(["run", "--rm"])
                .args(mode)
                .args([&text, "sh", "-c", script]),
        );
        let show = format!("{mode:?} {done:#?}");
        let line = |key: &str| {
            let found = done.out.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_else(|| panic!("{key} {show}"));
            found.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        for key in ["CapInh:", "CapAmb:", "SigBlk:"] {
            assert_eq!(line(key), "0000000000000000", "{key} {show}");
        }
        for (key, wanted) in [("CapEff:", powers), ("CapPrm:", powers), ("CapBnd:", "00000000a80425fb")] {
            assert_eq!(line(key), wanted, "{key} {show}");
        }
        assert_eq!(line("NoNewPrivs:"), "1", "{show}");
        assert_eq!(line("Groups:"), groups, "{show}");
        // 3 is the directory that ls reads.
        assert!(done.out.ends_with("FDs:\n0\n1\n2\n3\n"), "{show}");
        assert_eq!(line("Umask:"), "0022", "{show}");
        assert!(!done.out.contains("SECRET") && !done.out.contains("BASH_ENV"), "{show}");
    }
    host.same();
}

/// CVE-2021-41103: what ctr keeps is for root alone.
#[test]
fn records_are_private() {
    let host = start();
    for options in [&[][..], &["--userns=auto"]] {
        let mut live = Live::start(ctr(["run", "-i", "--name=private"]).args(options).args([
            busybox(),
            "sh",
            "-c",
            "echo up; cat",
        ]));
        live.hear("up\n");
        let state = Path::new("/run/ctr");
        let mine = state.join("containers/private");
        assert!(mine.exists());
        for path in [state.to_owned(), state.join("containers"), mine] {
            let m = path.metadata().unwrap();
            assert_eq!((m.mode() & 0o7777, m.uid(), m.gid()), (0o700, 0, 0), "{}", path.display());
        }
        let others =
            Command::new("setpriv").args(["--reuid=65534", "--clear-groups", "ls", "/run/ctr"]).output().unwrap();
        assert!(!others.status.success() && others.stdout.is_empty(), "{others:?}");
        live.done().code(0);
        until("its end", || (!state.join("containers/private").exists()).then_some(()));
    }
    host.same();
}
