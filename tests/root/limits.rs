//! What a container may use: limits by control groups as this machine has them, changed while it runs, refused when they are
//! nonsense, and nothing left of them afterwards.

use std::fs;
use std::path::{Path, PathBuf};

use crate::exec::Resident;
use crate::support::{Done, Host, Live, Scratch, busybox, ctr, plain, run, signal, until, within};

/// All control groups of containers.
fn groups() -> Vec<PathBuf> {
    let place = Path::new("/sys/fs/cgroup");
    let all = fs::read_dir(place).unwrap().flatten().map(|e| e.path()).chain([place.to_owned()]);
    all.flat_map(|hierarchy| fs::read_dir(hierarchy.join("ctr")).into_iter().flatten().flatten().map(|e| e.path()))
        .filter(|path| path.is_dir())
        .collect()
}

fn groups_of(id: &str) -> Vec<PathBuf> {
    groups().into_iter().filter(|path| path.ends_with(id)).collect()
}

/// What a file of a container's group says, wherever it is.
fn says(id: &str, names: &[&str]) -> String {
    groups_of(id)
        .iter()
        .flat_map(|dir| names.iter().map(move |name| dir.join(name)))
        .find_map(|path| fs::read_to_string(path).ok())
        .unwrap_or_default()
        .trim()
        .to_owned()
}

const EAT: &str = "dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null; echo $?";

fn id_of(name: &str) -> String {
    within(&mut plain(["inspect", "-f", "{{.Id}}", name])).code(0).out.trim().to_owned()
}

#[test]
fn memory_is_held_and_the_end_is_told() {
    let host = Host::before();
    let eat = ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"];
    let done = within(ctr(["run", "-m", "20m", busybox()]).args(eat)).code(137);
    assert!(done.err.contains("out of memory"), "{done:#?}");
    within(ctr(["run", "-m", "200m", busybox()]).args(eat)).code(0);
    host.same_soon();
    within(plain(["run", "-d", "--name", "eater", "-m", "20m", busybox()]).args(eat)).code(0);
    assert_eq!(within(&mut plain(["wait", "eater"])).code(0).out, "137\n");
    let told = within(&mut plain(["inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", "eater"])).code(0);
    assert_eq!(told.out, "true 137\n");
    let events = within(&mut plain(["events", "--since", "1m", "--until", "0s", "--format", "{{.Action}}"])).code(0);
    assert!(events.out.lines().any(|line| line == "oom"), "{events:#?}");
    within(&mut plain(["rm", "eater"])).code(0);
    host.same_soon();
}

#[test]
fn what_makes_a_container_is_not_charged_to_it() {
    for size in ["1m", "512k", "256k"] {
        let done = run(["-m", size, busybox(), "echo", "small"]).code(0);
        assert_eq!((done.out.as_str(), done.err.as_str()), ("small\n", ""), "{size}");
    }
    within(&mut plain(["run", "-d", "--name", "small", "-m", "512k", busybox(), "sleep", "1000"])).code(0);
    assert_eq!(within(&mut plain(["exec", "small", "echo", "in"])).code(0).out, "in\n");
    within(&mut plain(["rm", "-f", "small"])).code(0);
}

/// Runtimes size themselves by what /sys/fs/cgroup says (JVM, Go, .NET): there are the container's own groups, for all ways to a root,
/// and they cannot be written to.
#[test]
fn a_program_can_ask_for_its_limits() {
    let host = Host::before();
    let ask = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null
        for dir in /sys/fs/cgroup /sys/fs/cgroup/memory; do mkdir $dir/x 2>/dev/null && echo made in $dir; done
        echo 1g 2>/dev/null >/sys/fs/cgroup/memory/memory.limit_in_bytes || true";
    let scratch = Scratch::new("asks");
    let copy = scratch.join("root");
    crate::support::busybox_root(&copy);
    for more in [
        vec![busybox()],
        vec!["--userns", "host", busybox()],
        vec!["--userns", "host", "--network", "host", "--read-only", busybox()],
        vec!["--rw", copy.to_str().unwrap()],
        vec!["--rw", "--userns", "host", copy.to_str().unwrap()],
        vec!["host"],
    ] {
        let done = within(ctr(["run", "-m", "64m"]).args(&more).args(["sh", "-c", ask])).code(0);
        assert_eq!((done.out.as_str(), done.err.as_str()), ("67108864\n", ""), "{more:?}");
    }
    // One that is kept and started again, and programs that come later.
    within(&mut plain(["run", "-d", "--name", "asks", "-m", "64m", busybox(), "sleep", "1000"])).code(0);
    assert_eq!(within(&mut plain(["exec", "asks", "sh", "-c", ask])).code(0).out, "67108864\n");
    within(&mut plain(["restart", "-t0", "asks"])).code(0);
    assert_eq!(within(&mut plain(["exec", "asks", "sh", "-c", ask])).code(0).out, "67108864\n");
    within(&mut plain(["rm", "-f", "asks"])).code(0);
    // What was asked for there comes first; without a group there is nothing to be seen.
    let list = ["sh", "-c", "ls /sys/fs/cgroup"];
    let volume = format!("{}/bin:/sys/fs/cgroup:ro", busybox());
    let done = within(ctr(["run", "-m", "64m", "-v", &volume, busybox()]).args(list)).code(0);
    assert!(done.out.contains("busybox"), "{done:#?}");
    assert_eq!(within(ctr(["run", busybox()]).args(list)).code(0).out, "");
    // The machine's, as asked: to look at.
    let all = "ls -d /sys/fs/cgroup/memory/ctr /sys/fs/cgroup/ctr 2>/dev/null; mkdir /sys/fs/cgroup/x /sys/fs/cgroup/memory/x 2>/dev/null && echo made";
    let done = within(&mut ctr(["run", "-m", "64m", "--cgroupns", "host", busybox(), "sh", "-c", all]));
    assert!(done.out.ends_with("/ctr\n") && done.out.lines().count() == 1, "{done:#?}");
    host.same_soon();
}

/// Who may write to his own groups (a privileged container) makes more in them, and hides processes there.
#[test]
fn groups_in_its_own_are_taken_away_with_it() {
    let host = Host::before();
    let hide = "for dir in /sys/fs/cgroup /sys/fs/cgroup/memory; do
            [ ! -e $dir/cgroup.procs ] || { mkdir -p $dir/a/b $dir/c && echo $$ >$dir/a/b/cgroup.procs && echo hidden; }
        done; exec \"$@\"";
    let privileged = ["--privileged", "--userns=host", "-m", "64m"];
    let words = [busybox(), "sh", "-c", hide, "sh"];
    let done = within(ctr(["run"]).args(privileged).args(words).arg("true")).code(0);
    assert_eq!(done.out, "hidden\n");
    host.same_soon();
    // No pid namespace whose end would end it.
    let hidden = ["--pid=host", "--name=hider"];
    within(plain(["run", "-d"]).args(privileged).args(hidden).args(words).args(["sh", "-c", "sleep 12321 & wait"]))
        .code(0);
    until("the program", || plain(["logs", "hider"]).output().unwrap().stdout.starts_with(b"hidden").then_some(()));
    let seen = within(&mut plain(["top", "hider", "-o", "pid,args"])).code(0).out;
    assert!(seen.contains("sleep 12321"), "{seen}");
    within(&mut plain(["rm", "-f", "hider"])).code(0);
    host.same_soon();
}

#[test]
fn processes_are_counted() {
    let host = Host::before();
    let done =
        run(["--pids-limit", "5", busybox(), "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done; wait"]);
    assert!(done.err.contains("fork"), "{done:#?}");
    host.same_soon();
}

#[test]
fn two_that_are_busy_get_what_one_is_given() {
    let held =
        Resident::new("busy", &["--cpus", "0.5"], &["sh", "-c", "(while :; do :; done) & while :; do :; done"]);
    let id = id_of("busy");
    let file = Path::new("/sys/fs/cgroup/unified/ctr").join(&id).join("cpu.stat");
    let file = if file.exists() { file } else { Path::new("/sys/fs/cgroup/ctr").join(&id).join("cpu.stat") };
    let used = || -> u64 {
        let text = fs::read_to_string(&file).unwrap();
        text.lines().find_map(|l| l.strip_prefix("usage_usec ")).unwrap().parse().unwrap()
    };
    // Never more; and as much, unless others keep the machine busy: then another time.
    let mut parts = Vec::new();
    for _ in 0..5 {
        let (begun, before) = (std::time::Instant::now(), used());
        std::thread::sleep(std::time::Duration::from_secs(3));
        let (spent, elapsed) = (used() - before, begun.elapsed().as_micros() as u64);
        let part = spent as f64 / elapsed as f64;
        assert!(part <= 0.525, "{part} of a processor");
        parts.push(part);
        if part >= 0.475 {
            break;
        }
    }
    assert!(parts.last().is_some_and(|part| *part >= 0.475), "{parts:?} of a processor");
    drop(held);
}

#[test]
fn a_disk_is_held_back() {
    // Only where the disk that is written to is one, and can be held back.
    if !Path::new("/dev/vda").exists() {
        eprintln!("skipped: no /dev/vda here");
        return;
    }
    let dir = crate::support::cache().join("io");
    fs::create_dir_all(&dir).unwrap();
    let on_disk = within(std::process::Command::new("df").arg("--output=source").arg(&dir)).out.contains("/dev/vda")
        || within(std::process::Command::new("df").arg("--output=source").arg(&dir)).out.contains("/dev/root");
    if !on_disk {
        eprintln!("skipped: {} is not on /dev/vda", dir.display());
        return;
    }
    let volume = format!("{}:/io", dir.display());
    let write = |options: &[&str]| {
        let begun = std::time::Instant::now();
        let script = "dd if=/dev/zero of=/io/file bs=1M count=6 oflag=direct 2>&1";
        let root = crate::support::debian();
        within(ctr(["run", "-v", &volume]).args(options).args([root, "sh", "-c", script])).code(0);
        begun.elapsed().as_secs_f64()
    };
    let (free, held) = (write(&[]), write(&["--device-write-bps", "/dev/vda:2m"]));
    fs::remove_dir_all(&dir).unwrap();
    assert!(held > 2.0 && held > free, "{held} s, without a limit {free} s");
}

#[test]
fn limits_are_changed_while_it_runs_and_hold_after_a_restart() {
    let host = Host::before();
    {
        let one = Resident::idle("change", &["-m", "100m"]);
        let id = id_of("change");
        let memory = ["memory.limit_in_bytes", "memory.max"];
        assert_eq!(says(&id, &memory), "104857600");
        let done =
            within(&mut plain(["update", "-m", "50m", "--pids-limit", "7", "--cpus", "0.5", "change"])).code(0);
        assert_eq!(done.out, "change\n");
        assert_eq!((says(&id, &memory), says(&id, &["pids.max"])), ("52428800".into(), "7".into()));
        let format = "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.NanoCpus}}";
        let look = || within(&mut plain(["inspect", "-f", format, "change"])).code(0).out;
        assert_eq!(look(), "52428800 7 500000000\n");
        // A command in there is held as well; and so is its successor.
        one.exec(&["@", "sh", "-c", EAT]);
        within(&mut plain(["restart", "-t", "0", "change"])).code(0);
        assert_eq!((says(&id, &memory), says(&id, &["pids.max"])), ("52428800".into(), "7".into()));
        // What is refused changes nothing.
        for bad in [
            &["-m", "1"][..],
            &["--cpuset-cpus", "4000"],
            &["-m", "10m", "--memory-swap", "5m"],
            &["--cpus", "1000"],
            &[],
        ] {
            within(plain(["update"]).args(bad).arg("change")).refused(&[]);
        }
        assert_eq!(look(), "52428800 7 500000000\n");
        assert_eq!(says(&id, &memory), "52428800");
        // What cannot be done changes nothing either, though a part of it could be.
        one.exec(&["@", "dd", "if=/dev/zero", "of=/dev/shm/held", "bs=1M", "count=20"]).code(0);
        within(&mut plain(["update", "-m", "4m", "--pids-limit", "70", "--cpus", "0.7", "change"])).refused(&["-m"]);
        let quota = ["cpu.cfs_quota_us", "cpu.max"];
        assert_eq!((says(&id, &memory), says(&id, &["pids.max"])), ("52428800".into(), "7".into()));
        assert!(says(&id, &quota).starts_with("50000"));
        assert_eq!(look(), "52428800 7 500000000\n");
        // What is named no more is as it usually is.
        let update = |words: &[&str]| drop(within(plain(["update"]).args(words).arg("change")).code(0));
        update(&["--cpu-period", "50000", "--cpu-quota", "20000", "--cpu-shares", "512", "--pids-limit", "0"]);
        assert!(says(&id, &quota).starts_with("20000") && says(&id, &["pids.max"]) == "max");
        update(&["--cpu-period", "0", "--cpu-quota", "0", "--cpu-shares", "0", "-m", "0"]);
        assert!(["-1", "max 100000"].contains(&says(&id, &quota).as_str()));
        assert!(["100000", ""].contains(&says(&id, &["cpu.cfs_period_us"]).as_str()));
        assert!(["1024", "100"].contains(&says(&id, &["cpu.shares", "cpu.weight"]).as_str()));
        assert!(["9223372036854771712", "max"].contains(&says(&id, &memory).as_str()));
    }
    host.same_soon();
}

/// One in the foreground, which has no supervisor to write it down.
#[test]
fn limits_of_one_in_the_foreground_are_changed() {
    let host = Host::before();
    let mut live =
        Live::start(&mut ctr(["run", "-i", "--name=front", "-m", "100m", busybox(), "sh", "-c", "echo up; cat"]));
    live.hear("up\n");
    within(&mut plain(["update", "-m", "50m", "front"])).code(0);
    assert_eq!(says(&id_of("front"), &["memory.limit_in_bytes", "memory.max"]), "52428800");
    assert_eq!(within(&mut plain(["inspect", "-f", "{{.HostConfig.Memory}}", "front"])).code(0).out, "52428800\n");
    within(&mut plain(["audit", "front"])).code(0);
    live.hush();
    live.done().code(0);
    host.same_soon();
}

#[test]
fn device_rules_hold() {
    let one = Resident::idle("nodes", &[]);
    assert_eq!(one.says(&[], "echo x >/dev/null; head -c 3 /dev/zero | wc -c").trim(), "3");
    let rules = says(&id_of("nodes"), &["devices.list"]);
    assert!(rules.is_empty() || (rules.contains("c 1:3 rwm") && !rules.contains("a *:* rwm")), "{rules}");
    drop(one);
    let one = Resident::idle("more", &["--device-cgroup-rule", "c 10:200 rw"]);
    let rules = says(&id_of("more"), &["devices.list"]);
    assert!(rules.is_empty() || rules.contains("c 10:200 rw"), "{rules}");
    drop(one);
}

#[test]
fn nonsense_is_refused_and_nothing_is_left() {
    let host = Host::before();
    for bad in [
        &["-m", "1"][..],
        &["-m", "-5"],
        &["-m", "99999999999999999999"],
        &["--memory-swap", "1g"],
        &["-m", "20m", "--memory-swap", "10m"],
        &["--cpus", "1000"],
        &["--cpus", "-1"],
        &["--cpu-shares", "1"],
        &["--cpuset-cpus", "4000"],
        &["--cpuset-cpus", "x"],
        &["--cpuset-mems", "900"],
        &["--pids-limit", "-7"],
        &["--blkio-weight", "1"],
        &["--device-read-bps", "/dev/null:1m"],
        &["--device-read-bps", "/nowhere:1m"],
        &["--device-cgroup-rule", "all"],
        &["--cgroup-parent", "/a/../b"],
        &["--cgroupns", "maybe"],
        &["--oom-kill-disable"],
    ] {
        within(ctr(["run"]).args(bad).args([busybox(), "true"])).refused(&[]);
        within(plain(["run", "-d"]).args(bad).args([busybox(), "true"])).refused(&[]);
        within(plain(["create"]).args(bad).args([busybox(), "true"])).refused(&[]);
    }
    host.same_soon();
}

#[test]
fn a_killed_ctr_leaves_a_group_that_the_next_one_takes_away() {
    let host = Host::before();
    let live = Live::start(ctr(["run", "-m", "50m", "--name", "doomed"]).args([busybox(), "sleep", "1000"]));
    let id = until("its record", || {
        Some(id_of_quietly("doomed")).filter(|id| !id.is_empty() && !groups_of(id).is_empty())
    });
    signal(live.pid(), libc::SIGKILL);
    live.done();
    until("the next ctr to clean up", || {
        within(&mut plain(["ps", "-a"]));
        groups_of(&id).is_empty().then_some(())
    });
    host.same_soon();
}

fn id_of_quietly(name: &str) -> String {
    within(&mut plain(["inspect", "-f", "{{.Id}}", name])).out.trim().to_owned()
}
