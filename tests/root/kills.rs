//! `kill -9` at any moment: what belongs to the container dies by itself, and the next ctr command finds a clean host or
//! makes it one.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::{Host, Scratch, busybox, busybox_root, ctr, ctr_fault_path, ctr_path, within};
use crate::tracer::{Hit, Shot, Traced, settings, terminal, trace};

/// Limits and a boundary of which none may be missing once the program runs; and ports, of both ways to be served.
pub const HELD: [&str; 7] = [
    "--userns=required",
    "-m64m",
    "--cpus=1",
    "--pids-limit=100",
    "--device=/dev/null:/dev/mine:r",
    "--publish=18083:83",
    "--publish=127.0.0.1:18084:84/udp",
];

/// A profile of the test's own.
pub const PROFILE: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["getcpu"], "action": "SCMP_ACT_ERRNO"}]}"#;

/// Says "done" if what holds it back is there, and "weak" and what is missing otherwise. Nothing but what the shell can do itself.
const ASK: &str = r#"
    wrong=
    read inside outside count </proc/self/uid_map
    [ "$outside" -ge 100000 ] || wrong="$wrong ids:$outside"
    while read -r key value; do
        case "$key" in Seccomp:) [ "$value" = 2 ] || wrong="$wrong seccomp:$value";; esac
    done </proc/self/status
    if [ "$1" = held ]; then
        cd /sys/fs/cgroup
        for file in memory.max memory/memory.limit_in_bytes; do [ ! -e $file ] || read memory <$file; done
        for file in pids.max pids/pids.max; do [ ! -e $file ] || read pids <$file; done
        for file in cpu.max cpu/cpu.cfs_quota_us cpu,cpuacct/cpu.cfs_quota_us; do [ ! -e $file ] || read cpu rest <$file; done
        [ "$memory $pids $cpu" = "67108864 100 100000" ] || wrong="$wrong limits:$memory,$pids,$cpu"
        [ -c /dev/mine ] || wrong="$wrong device"
    fi
    [ -z "$wrong" ] && echo done || echo "weak:$wrong""#;

/// One way of running a container, with what it needs.
pub struct Way {
    pub name: &'static str,
    pub place: Scratch,
    pub options: Vec<String>,
    pub root: String,
    /// With a terminal as standard input.
    pub tty: bool,
    /// As whom; root otherwise.
    pub user: Option<u32>,
}

impl Way {
    fn new(name: &'static str, options: &[&str]) -> Way {
        let words = options.iter().map(|&o| o.to_owned()).collect();
        let place = Scratch::new(&format!("way-{}", name.replace(' ', "-")));
        Way { name, place, options: words, root: busybox().to_owned(), tty: false, user: None }
    }

    /// All of them: every step there is, is in one of these. CTR_TEST_WAY=name leaves only that one.
    pub fn all() -> Vec<Way> {
        let mut plain = Way::new("plain", &["-w", "/made/for/it"]);
        let mut all =
            vec![Way::new("options", &["--tmpfs=/t", "--read-only", "-u33", "--ulimit=nofile=99", "--init"])];
        let volume = all[0].place.join("volume");
        fs::create_dir(&volume).unwrap();
        all[0].options.extend(["-v".into(), format!("{}:/v", volume.display()), "-w/v".into(), "--ipc=host".into()]);
        plain.options.push(format!("--cidfile={}", plain.place.join("cid").display()));
        plain.options.push(format!("--pidfile={}", plain.place.join("pid").display()));
        all.push(plain);
        all.push(Way::new("userns", &["--userns=required"]));
        for (name, options) in [("rw", &["--rw"][..]), ("userns rw", &["--userns=required", "--rw"])] {
            let mut way = Way::new(name, options);
            let root = way.place.join("root");
            busybox_root(&root);
            way.root = root.display().to_string();
            all.push(way);
        }
        let own = ["--device=/dev/zero:/dev/of/mine", "--sysctl=net.ipv4.ip_forward=1"];
        all.push(Way::new("own", &[&own[..], &["--cap-add=NET_ADMIN", "--cap-drop=KILL", "--group-add=7"]].concat()));
        all.push(Way::new("userns own", &[&own[..], &["--userns=required"]].concat()));
        all.push(Way::new("privileged", &["--privileged"]));
        all.push(Way::new("userns privileged", &["--privileged", "--userns=required"]));
        all.push(Way { tty: true, ..Way::new("tty", &["-it"]) });
        all.push(Way { root: "host".into(), ..Way::new("host", &[]) });
        all.push(Way { root: "host".into(), ..Way::new("userns host", &["--userns=required"]) });
        let mut alone = Way::new("rootless", &own);
        let root = alone.place.join("root");
        busybox_root(&root);
        alone.root = root.display().to_string();
        alone.user = Some(12345);
        std::os::unix::fs::chown(alone.place.path(), Some(12345), Some(12345)).unwrap();
        all.push(alone);
        // What root gets by default, and all that holds a container back at once.
        all.push(Way::new("auto", &["--userns=auto"]));
        all.push(Way::new("by hand", &["--uidmap=0:100000:65536"]));
        let mut held = Way::new("held", &HELD);
        let profile = held.place.join("seccomp.json");
        fs::write(&profile, PROFILE).unwrap();
        held.options.push(format!("--security-opt=seccomp={}", profile.display()));
        all.push(held);
        // Where there may be none, a step of a user namespace that fails is no failure.
        for way in &mut all {
            let decided = |option: &String| option.starts_with("--userns") || option.starts_with("--uidmap");
            if way.user.is_none() && !way.options.iter().any(decided) {
                way.options.push("--userns=host".into());
            }
        }
        if let Ok(name) = std::env::var("CTR_TEST_WAY") {
            all.retain(|way| way.name == name);
        }
        all
    }

    /// A program that says "done", and before that looks whether it is held back as it should be.
    pub fn words(&self) -> Vec<&'static str> {
        match self.name {
            "auto" | "by hand" | "held" => vec!["sh", "-c", ASK, "sh", self.name],
            _ => vec!["echo", "done"],
        }
    }

    /// The command, with its standard input. The terminal is for the caller to hold.
    pub fn command(&self, binary: &PathBuf, words: &[&str]) -> (Command, Option<(fs::File, fs::File)>) {
        for file in ["cid", "pid"] {
            let _ = fs::remove_file(self.place.join(file));
        }
        let mut command = Command::new(binary);
        command.args(["run", "--rm"]).args(&self.options).arg(&self.root).args(words);
        self.dress(&mut command);
        let terminal = self.tty.then(terminal);
        command.stdin(terminal.as_ref().map_or(Stdio::null(), |(_, t)| Stdio::from(t.try_clone().unwrap())));
        (command, terminal)
    }

    fn dress(&self, command: &mut Command) {
        command.env("XDG_RUNTIME_DIR", self.place.path());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
    }

    /// The next ctr command, and what must be true after it.
    #[track_caller]
    pub fn clean_after_the_next(&self, host: &Host, what: &str) {
        let mut next = ctr(["run", "--name=next", &self.root, "true"]);
        self.dress(&mut next);
        let done = within(&mut next);
        assert!(done.code == 0 && done.err.is_empty(), "{}: the command after {what}: {done:#?}", self.name);
        host.same_still();
        let left: Vec<_> = fs::read_dir(self.place.join("ctr/containers")).into_iter().flatten().flatten().collect();
        assert!(left.is_empty(), "{} after {what}: {left:?}", self.name);
        let leased: Vec<_> = fs::read_dir("/run/ctr/ids").into_iter().flatten().flatten().collect();
        assert!(leased.is_empty(), "{} after {what}: ranges of ids {leased:?}", self.name);
    }

    /// Runs it to its end; nothing may hang, and a terminal must be as it was.
    #[track_caller]
    pub fn trace(&self, binary: &PathBuf, words: &[&str], env: Option<(&str, &str)>, shot: Option<Shot>) -> Traced {
        let (mut command, terminal) = self.command(binary, words);
        command.envs(env);
        let before = terminal.as_ref().map(|(_, t)| settings(t));
        let traced = trace(&mut command, shot);
        assert!(!traced.hung, "{} hangs: {env:?} {shot:?} {traced:#?}", self.name);
        let bug = traced.done.err.contains("bug in ctr") || traced.done.err.contains("panicked");
        assert!(!bug, "{}: {env:?} {shot:?} {traced:#?}", self.name);
        assert_eq!(terminal.as_ref().map(|(_, t)| settings(t)), before, "{}: {env:?} {shot:?}", self.name);
        traced
    }

    /// The steps that --dry-run names.
    pub fn steps(&self) -> Vec<String> {
        let (command, _terminal) = self.command(&ctr_fault_path(), &["true"]);
        let words: Vec<_> = command.get_args().skip(1).map(ToOwned::to_owned).collect();
        let mut dry = Command::new(ctr_fault_path());
        dry.args(["run", "--rm", "--dry-run"]).args(words);
        self.dress(&mut dry);
        let terminal = terminal();
        let done = dry.stdin(Stdio::from(terminal.1)).output().unwrap();
        assert!(done.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&done.stderr));
        let text = String::from_utf8(done.stdout).unwrap();
        let steps: Vec<_> = text
            .lines()
            .filter(|l| l.starts_with("  ") && !l.starts_with("   "))
            .map(|l| l.split_whitespace().next().unwrap().to_owned())
            .collect();
        assert!(steps.len() > 15 && steps.last().unwrap() == "exec", "{}: {steps:?}", self.name);
        steps
    }
}

/// At most this many of them, evenly, the first and the last among them; all with CTR_TEST_ALL.
pub fn sample<T: Clone>(all: &[T], most: usize) -> Vec<T> {
    if std::env::var_os("CTR_TEST_ALL").is_some() || all.len() <= most {
        return all.to_vec();
    }
    (0..most).map(|n| all[n * (all.len() - 1) / (most - 1)].clone()).collect()
}

/// Takes stock of a host without what a test before us may have left.
pub fn start() -> Host {
    within(&mut ctr(["run", busybox(), "true"])).code(0);
    let _ = fs::remove_dir_all("/run/ctr/ids");
    Host::before()
}

#[test]
fn ctr_killed_after_each_step() {
    let host = start();
    for way in Way::all() {
        // The last one has no "after": once it has succeeded, it is another program.
        for step in way.steps().iter().filter(|s| *s != "exec") {
            let traced = way.trace(&ctr_fault_path(), &["sleep", "1000"], Some(("CTR_KILL", step)), None);
            assert_eq!(traced.done.code, 137, "{} after {step}: {traced:#?}", way.name);
            way.clean_after_the_next(&host, step);
        }
    }
    host.same();
}

/// SIGKILL for one process at each of its system calls (a sample of them, all with CTR_TEST_ALL).
fn killed_everywhere(process: impl Fn(usize) -> bool, points: usize) {
    let host = start();
    for way in Way::all() {
        let usual = way.trace(&ctr_path(), &["true"], None, None);
        assert_eq!(usual.done.code, 0, "{}: {usual:#?}", way.name);
        host.same_still();
        let mut shots = Vec::new();
        for (process, calls) in usual.calls.iter().enumerate().filter(|(number, _)| process(*number)) {
            shots.extend((1..).zip(calls).map(|(call, number)| Shot {
                process,
                call,
                number: *number,
                hit: Hit::Kill,
            }));
        }
        assert!(shots.len() > 20, "{}: {usual:#?}", way.name);
        for shot in sample(&shots, points) {
            let traced = way.trace(&ctr_path(), &["true"], None, Some(shot));
            if traced.hit.is_none() {
                continue;
            }
            let (code, err) = (traced.done.code, &traced.done.err);
            let told = match shot.process {
                0 => code == 137,
                _ => code == 0 || code == 137 || (code == 125 && err.starts_with("ctr: ")),
            };
            assert!(told, "{}: {shot:?} {traced:#?}", way.name);
            way.clean_after_the_next(&host, &format!("{shot:?}"));
        }
    }
    host.same();
}

#[test]
fn ctr_killed_at_any_system_call() {
    killed_everywhere(|process| process == 0, 60);
}

#[test]
fn what_ctr_starts_killed_at_any_system_call() {
    killed_everywhere(|process| process != 0, 40);
}
