//! Containers that live on their own survive whatever happens to those who look after them: SIGKILL and errors at any system
//! call of ctr and of its supervisor, a hundred commands at once, a thousand containers. After each: `ps` tells the truth
//! (the kernel is asked), everything can be ended, started again and removed, and then nothing is left.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::faults::errors;
use crate::kills::{HELD, PROFILE, sample};
use crate::support::{Done, Host, Live, busybox, ctr_path, others, plain, until, within};
use crate::tracer::{Hit, Shot, Traced, follow, trace};

/// A program that ends, with 3, when it is asked to.
const LASTING: [&str; 3] = ["sh", "-c", "trap 'exit 3' TERM; while :; do sleep 1000 & wait; done"];
/// A program that ends by itself, with 3.
const SHORT: [&str; 3] = ["sh", "-c", "echo done; exit 3"];

/// `ctr WORDS…`, to its end.
#[track_caller]
pub fn c(words: &[&str]) -> Done {
    within(&mut plain(words))
}

/// Takes stock of a host on which all of ctr's folders are there already, and nothing else.
pub fn start() -> Host {
    clear();
    c(&["run", "-d", "--name=first", busybox(), "true"]).code(0);
    c(&["rm", "-f", "first"]).code(0);
    c(&["run", "--rm", "--name=first", busybox(), "true"]).code(0);
    Host::before()
}

/// A container as `ctr ps -a` lists it.
#[derive(Debug)]
pub struct Seen {
    pub name: String,
    pub state: String,
    pub pid: Option<i32>,
    pub status: String,
    pub id: String,
}

impl Seen {
    /// A value of its record.
    pub fn recorded(&self, key: &str) -> Option<String> {
        recorded(&self.name, key)
    }
}

/// What a command that lists containers says; anything on standard error is a failure.
#[track_caller]
pub fn listed() -> Vec<Seen> {
    let done = c(&["ps", "-a", "--no-trunc", "--format={{.Names}}|{{.State}}|{{.Pid}}|{{.Status}}|{{.ID}}"]).code(0);
    assert_eq!(done.err, "", "{done:#?}");
    let seen = |line: &str| {
        let fields: Vec<_> = line.split('|').map(str::to_owned).collect();
        let [name, state, pid, status, id] = fields.try_into().unwrap_or_else(|_| panic!("{line:?} in {done:#?}"));
        Seen { name, state, pid: pid.parse().ok().filter(|pid| *pid > 0), status, id }
    };
    done.out.lines().map(seen).collect()
}

/// A value of a container's record, wherever that is.
pub fn recorded(name: &str, key: &str) -> Option<String> {
    let at = |folder: &str| fs::read_to_string(format!("{folder}/containers/{name}/record")).ok();
    let text = at("/var/lib/ctr").or_else(|| at("/run/ctr"))?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ').map(str::to_owned))
}

/// Whether a process lives, and is no zombie.
pub fn lives(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit(')').next().is_some_and(|rest| !rest.starts_with(" Z") && !rest.starts_with(" X"))
    })
}

fn namespace(pid: i32) -> Option<String> {
    Some(fs::read_link(format!("/proc/{pid}/ns/pid")).ok()?.display().to_string())
}

fn name_of(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// The processes in the control groups of an id.
fn in_groups(id: &str) -> Vec<i32> {
    let mut found = Vec::new();
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|e| e.path());
    for hierarchy in hierarchies.chain(["/sys/fs/cgroup".into()]) {
        let text = fs::read_to_string(hierarchy.join("ctr").join(id).join("cgroup.procs")).unwrap_or_default();
        found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| lives(*pid)));
    }
    found
}

/// Whose the ranges of ids are that are leased.
fn leases() -> Vec<String> {
    let links = fs::read_dir("/run/ctr/ids").into_iter().flatten().flatten();
    links.map(|entry| fs::read_link(entry.path()).unwrap().display().to_string()).collect()
}

/// Whether a container has ids out of the ranges that are leased, which begin at 2^30.
fn has_range(seen: &Seen) -> bool {
    let map = fs::read_to_string(format!("/proc/{}/uid_map", seen.pid.unwrap_or_default())).unwrap_or_default();
    map.split_whitespace().nth(1).is_some_and(|first| first.parse::<u32>().is_ok_and(|first| first >= 1 << 30))
}

/// What of `ctr ps -a` is not so, if anything.
fn lie(all: &[Seen]) -> Result<(), String> {
    let mut worlds = Vec::new();
    let mut supervisors = Vec::new();
    for seen in all {
        let supervisor = seen.recorded("supervisor").and_then(|pid| pid.parse::<i32>().ok());
        let watched = supervisor.is_some_and(|pid| lives(pid) && name_of(pid).starts_with("ctr"));
        match seen.state.as_str() {
            "running" | "paused" => {
                let Some(pid) = seen.pid.filter(|pid| lives(*pid)) else {
                    return Err(format!("is said to run, and does not: {seen:?}"));
                };
                let (its, ours) = (namespace(pid), namespace(std::process::id() as i32));
                if its.is_none() || its == ours {
                    return Err(format!("its process is no container's: {seen:?}"));
                }
                if seen.status.contains("supervisor was killed") == watched {
                    return Err(format!("supervisor {supervisor:?} (lives: {watched}), and it says {seen:?}"));
                }
                worlds.push(its);
                supervisors.extend(supervisor);
            }
            "created" | "exited" => {
                if seen.pid.is_some_and(lives) || !in_groups(&seen.id).is_empty() || watched {
                    return Err(format!("is said not to run, and does (supervisor {supervisor:?}): {seen:?}"));
                }
            }
            _ => return Err(format!("what is that: {seen:?}")),
        }
    }
    for process in others() {
        let pid: i32 = process.split(' ').next().unwrap().parse().unwrap();
        // Who serves the ports of a container that runs is neither its supervisor nor in it.
        if process.ends_with(" ctr-ports") && !worlds.is_empty() {
            continue;
        }
        if !supervisors.contains(&pid) && !worlds.contains(&namespace(pid)) && lives(pid) {
            return Err(format!("process {process} belongs to none of {all:?}"));
        }
    }
    Ok(())
}

/// What `ctr ps -a` says once it is true, which must be soon: what was killed takes a moment to be gone.
#[track_caller]
pub fn truth(what: &str) -> Vec<Seen> {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let all = listed();
        match lie(&all) {
            Ok(()) => return all,
            Err(why) => assert!(Instant::now() < end, "{what}: {why}"),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until the container's program has set its trap.
#[track_caller]
fn ready(name: &str) {
    until("the trap", || {
        let status = fs::read_to_string(format!("/proc/{}/status", recorded(name, "pid")?)).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t"))?;
        (u64::from_str_radix(caught, 16).ok()? & 1 << (libc::SIGTERM - 1) != 0).then_some(())
    });
}

/// Everything can be done with each container that there is, and then it is gone.
#[track_caller]
fn life_goes_on(what: &str, all: &[Seen]) {
    let does = |words: &[&str]| {
        let done = c(words);
        assert!(done.code == 0, "{what}: then ctr {words:?}: {done:#?} with {all:#?}");
    };
    let is = |name: &str, state: &str| {
        let now = truth(what);
        let seen = now.iter().find(|seen| seen.name == name);
        assert!(
            seen.is_some_and(|seen| seen.state == state),
            "{what}: {name} is not {state}: {now:#?}, was {all:#?}"
        );
    };
    for seen in all {
        let name = seen.name.as_str();
        let lasting = recorded(name, "--label") != Some("short".into());
        if seen.state == "paused" {
            does(&["unpause", name]);
        }
        if lasting && matches!(seen.state.as_str(), "running" | "paused") {
            does(&["exec", name, "true"]);
        }
        if matches!(seen.state.as_str(), "running" | "paused") {
            does(&["stop", "-t0", name]);
            is(name, "exited");
        }
        does(&["start", name]);
        if lasting {
            is(name, "running");
            does(&["exec", name, "true"]);
        } else {
            let done = c(&["wait", name]);
            assert_eq!((done.code, done.out.trim()), (0, "3"), "{what}: {done:#?}");
        }
        does(&["rm", "-f", name]);
    }
    assert!(listed().is_empty(), "{what}");
}

/// A verb, with what must be there before it, whom it may concern, and what must be true afterwards whatever happened.
struct Verb {
    name: &'static str,
    words: Vec<String>,
    before: Before,
    /// How many processes there are to be hit: the command, the container's supervisor, and that of its next life.
    processes: usize,
    /// The names and states that are possible afterwards; none at all is "".
    after: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    Created,
    Running,
    Paused,
    Exited,
    /// With limits and a boundary of its own.
    HeldCreated,
    HeldRunning,
}

impl Verb {
    fn all() -> Vec<Verb> {
        let words = |words: &[&str]| words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>();
        let run = |first: &[&str], program: &[&str]| words(&[first, &["--name=k", busybox()], program].concat());
        let verb = |name, words, before, processes, after| Verb { name, words, before, processes, after };
        use Before::{Created, Exited, HeldCreated, HeldRunning, Nothing, Paused, Running};
        let mut all = vec![
            verb("run -d", run(&["run", "-d"], &LASTING), Nothing, 2, &["", "k created", "k running", "k exited"]),
            // Its container ends with it: it was not said to go on.
            verb(
                "run",
                run(&["run", "--label=short"], &SHORT),
                Nothing,
                2,
                &["", "k created", "k running", "k exited"],
            ),
            verb("create", run(&["create"], &LASTING), Nothing, 1, &["", "k created"]),
            verb("start", words(&["start", "k"]), Created, 2, &["k created", "k running", "k exited"]),
            verb("stop", words(&["stop", "-t1", "k"]), Running, 2, &["k running", "k exited"]),
            verb("exec", words(&["exec", "k", "echo", "done"]), Running, 2, &["k running"]),
            verb("rm", words(&["rm", "k"]), Exited, 1, &["", "k exited"]),
            verb("rm -f", words(&["rm", "-f", "k"]), Running, 2, &["", "k running", "k exited"]),
            verb("rename", words(&["rename", "k", "l"]), Running, 2, &["k running", "l running"]),
            verb("restart", words(&["restart", "-t0", "k"]), Running, 3, &["k running", "k exited"]),
            verb("pause", words(&["pause", "k"]), Running, 2, &["k running", "k paused"]),
            verb("unpause", words(&["unpause", "k"]), Paused, 2, &["k running", "k paused"]),
            verb("held", run(&["run", "-d"], &LASTING), Nothing, 2, &["", "k created", "k running", "k exited"]),
            verb("held start", words(&["start", "k"]), HeldCreated, 2, &["k created", "k running", "k exited"]),
            verb(
                "by hand",
                run(&["run", "-d", "--uidmap=0:100000:65536"], &LASTING),
                Nothing,
                2,
                &["", "k created", "k running", "k exited"],
            ),
            verb(
                "update",
                words(&["update", "-m80m", "--pids-limit=90", "--cpus=0.5", "k"]),
                HeldRunning,
                2,
                &["k running"],
            ),
            verb("stats", words(&["stats", "--no-stream", "k"]), HeldRunning, 1, &["k running"]),
            verb("audit", words(&["audit", "k"]), HeldRunning, 1, &["k running"]),
            verb("held exec", words(&["exec", "k", "echo", "done"]), HeldRunning, 2, &["k running"]),
            verb("held rm -f", words(&["rm", "-f", "k"]), HeldRunning, 2, &["", "k running", "k exited"]),
        ];
        let held = all.iter_mut().find(|verb| verb.name == "held").unwrap();
        held.words.splice(2..2, Verb::held());
        if let Ok(names) = std::env::var("CTR_TEST_VERB") {
            all.retain(|verb| names.split(',').any(|name| verb.name == name));
        }
        all
    }

    /// Options of which none may be missing once it runs.
    fn held() -> Vec<String> {
        let profile = "/run/ctr-test-seccomp.json";
        fs::write(profile, PROFILE).unwrap();
        HELD.iter().map(|&w| w.to_owned()).chain([format!("--security-opt=seccomp={profile}")]).collect()
    }

    /// Whether its container is one of those.
    fn is_held(&self) -> bool {
        self.name == "held" || matches!(self.before, Before::HeldCreated | Before::HeldRunning)
    }

    /// Makes what must be there, and runs the verb, as a tracee of ours.
    #[track_caller]
    fn run(&self, shot: Option<Shot>) -> Traced {
        let make = |verb: &[&str], program: &[&str]| {
            c(&[verb, &["--name=k", busybox()], program].concat()).code(0);
        };
        let mut others = Vec::new();
        match self.before {
            Before::Nothing => {}
            Before::Created => make(&["create"], &LASTING),
            Before::Exited => {
                make(&["create"], &LASTING);
                c(&["start", "k"]).code(0);
                c(&["stop", "-t0", "k"]).code(0);
            }
            Before::Running => {
                make(&["run", "-d"], &LASTING);
                ready("k");
                others.push(recorded("k", "supervisor").unwrap().parse().unwrap());
            }
            Before::Paused => {
                make(&["run", "-d"], &LASTING);
                ready("k");
                c(&["pause", "k"]).code(0);
                others.push(recorded("k", "supervisor").unwrap().parse().unwrap());
            }
            Before::HeldCreated | Before::HeldRunning => {
                let held = Verb::held();
                let held: Vec<_> = held.iter().map(String::as_str).collect();
                c(&[&["create", "--name=k"], &held[..], &[busybox()], &LASTING].concat()).code(0);
                if self.before == Before::HeldRunning {
                    c(&["start", "k"]).code(0);
                    ready("k");
                    others.push(recorded("k", "supervisor").unwrap().parse().unwrap());
                }
            }
        }
        let mut command = plain(&self.words);
        let traced = follow(command.stdin(Stdio::null()), &others, shot);
        let show = || format!("{} {shot:?}: {traced:#?}", self.name);
        assert!(!traced.hung, "hangs: {}", show());
        for word in ["bug in ctr", "panicked", "memory allocation", "RUST_BACKTRACE"] {
            assert!(!traced.done.err.contains(word), "{}", show());
        }
        traced
    }

    /// All that can be hit, as an undisturbed run tells.
    #[track_caller]
    fn shots(&self, hits: impl Fn(i64) -> Vec<Hit>) -> Vec<Shot> {
        let usual = self.run(None);
        let wanted = if self.name == "run" { 3 } else { 0 };
        assert_eq!(usual.done.code, wanted, "{}: {usual:#?}", self.name);
        assert!(usual.calls.len() >= self.processes, "{}: {usual:#?}", self.name);
        self.judge(&self.name, "");
        let mut shots = Vec::new();
        for (process, calls) in usual.calls.iter().enumerate().take(self.processes) {
            let mut seen = BTreeMap::<i64, usize>::new();
            for &number in calls {
                let call = seen.entry(number).or_default();
                *call += 1;
                let call = *call;
                shots.extend(hits(number).into_iter().map(|hit| Shot { process, call, number, hit }));
            }
        }
        shots
    }

    /// What must be true now, and after all else has been tried with what is there.
    #[track_caller]
    fn judge(&self, what: &str, err: &str) {
        let all = truth(what);
        let states: Vec<_> = all.iter().map(|seen| format!("{} {}", seen.name, seen.state)).collect();
        assert!(self.after.contains(&states.join(", ").as_str()), "{what}: {err}{all:#?}");
        let runs = all.iter().find(|seen| seen.state == "running");
        // What was asked for is what the kernel says, or it would not run.
        if let Some(seen) = runs.filter(|_| self.is_held()) {
            let audit = c(&["audit", &seen.name]);
            // An update that was killed half-way has changed some, and its record says what was before: that is told.
            let half = self.name == "update" && what.contains("Kill") && audit.code == 1;
            assert!(audit.code == 0 || half, "{what}: {err}{audit:#?}");
        }
        // Who runs has a range of ids of its own, and nobody else has one.
        let leases = leases();
        let own = all.iter().filter(|seen| matches!(seen.state.as_str(), "running" | "paused") && has_range(seen));
        let own: Vec<_> = own.map(|seen| seen.id.as_str()).collect();
        assert_eq!(leases, own, "{what}: ranges of ids: {err}{all:#?}");
        life_goes_on(what, &all);
        assert_eq!(self::leases(), Vec::<String>::new(), "{what}: ranges of ids are left");
    }
}

/// After a failure: the next point, or test, shall not suffer from it. Only where we are alone (alone.sh).
fn clear() {
    const FIRST_PID_NAMESPACE: u64 = 0xefff_fffc;
    if std::os::unix::fs::MetadataExt::ino(&fs::metadata("/proc/self/ns/pid").unwrap()) == FIRST_PID_NAMESPACE {
        return;
    }
    for process in others() {
        let pid: i32 = process.split(' ').next().unwrap().parse().unwrap();
        #[allow(unsafe_code)]
        // SAFETY: no memory is involved.
        unsafe {
            libc::kill(pid, libc::SIGKILL)
        };
    }
    until("their end", || others().is_empty().then_some(()));
    for folder in ["/var/lib/ctr/containers", "/run/ctr/containers", "/run/ctr/layers"] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            c(&["rm", "-f", &entry.file_name().to_string_lossy()]);
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let _ = fs::remove_dir_all("/run/ctr/ids");
    let journal =
        ["events", "events.1"].map(|name| fs::read_to_string(format!("/run/ctr/{name}")).unwrap_or_default());
    let journal = journal.concat();
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let ours = hierarchy.path().join("ctr");
        for entry in fs::read_dir(&ours).into_iter().flatten().flatten() {
            // Those of a test in other namespaces may be about to be used.
            if journal.contains(&*entry.file_name().to_string_lossy()) {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// Each verb, with each of these hits at its points: how many there were.
fn everywhere(
    hits: impl Fn(i64) -> Vec<Hit>,
    most: usize,
    told: impl Fn(&Verb, &Shot, &Traced) -> Result<(), String>,
) {
    let host = start();
    let (mut points, mut hit, mut failed) = (0, 0, 0);
    let began = Instant::now();
    for verb in Verb::all() {
        let shots = verb.shots(&hits);
        host.same_soon();
        let mut by_process = BTreeMap::<usize, (usize, usize)>::new();
        // Each process has its share.
        for process in 0..verb.processes {
            let its: Vec<_> = shots.iter().filter(|shot| shot.process == process).copied().collect();
            for shot in sample(&its, most) {
                let count = by_process.entry(process).or_default();
                count.0 += 1;
                let start = Instant::now();
                // One that fails has said why; the others are tried all the same.
                let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    let traced = verb.run(Some(shot));
                    let what = format!("{} {shot:?}", verb.name);
                    count.1 += usize::from(traced.hit.is_some());
                    if let Err(why) = told(&verb, &shot, &traced) {
                        panic!("{what}: {why}: {traced:#?}");
                    }
                    verb.judge(&what, &format!("{:#?}", traced.done));
                    host.same_soon();
                }));
                if start.elapsed() > Duration::from_secs(1) {
                    println!("slow: {} {shot:?} took {:.1?}", verb.name, start.elapsed());
                }
                if fine.is_err() {
                    failed += 1;
                    clear();
                    host.same_soon();
                }
            }
        }
        println!("{:8} {} points there are, tried and hit by process: {by_process:?}", verb.name, shots.len());
        points += by_process.values().map(|(points, _)| points).sum::<usize>();
        hit += by_process.values().map(|(_, hit)| hit).sum::<usize>();
    }
    println!("{points} points tried, {hit} hit, in {:.1?}", began.elapsed());
    assert_eq!(failed, 0, "of {points} points failed: see above");
    assert!(hit * 10 > points * 7, "most calls are the same each time: {hit} of {points}");
    host.same_soon();
}

#[test]
fn ctr_and_supervisor_killed_at_any_system_call() {
    everywhere(
        |_| vec![Hit::Kill],
        7,
        |_, shot, traced| match (traced.hit, shot.process, traced.done.code) {
            (None, ..) | (_, 0, 137) => Ok(()),
            (_, 0, code) => Err(format!("killed, and its code is {code}")),
            // What the supervisor did not do any more is done without it, or said.
            (_, _, 0 | 3) => Ok(()),
            (_, _, 125 | 137) if traced.done.err.starts_with("ctr: ") => Ok(()),
            _ => Err("no clear word".to_owned()),
        },
    );
}

#[test]
fn errors_at_any_system_call_of_ctr_and_supervisor() {
    let hits = |call| errors(call, false).iter().map(|errno| Hit::Error(*errno)).collect();
    everywhere(hits, 7, |verb, _, traced| {
        let done = &traced.done;
        let right = match verb.name {
            "run" => done.code == 3 && done.out == "done\n",
            "exec" => done.code == 0 && done.out == "done\n",
            _ => done.code == 0,
        };
        let mut lines = done.err.lines();
        let told = ([125, 126, 127, 129, 137].contains(&done.code) || verb.name == "run" && done.code == 3)
            && lines.next().is_some_and(|line| line.starts_with("ctr: "))
            && lines.all(|line| line.starts_with("  try: ") || line.starts_with("ctr: "));
        // A word may come with success too, if it is one.
        let well = right && done.err.lines().all(|line| line.starts_with("ctr: ") || line.starts_with("  try: "));
        if told || well { Ok(()) } else { Err("neither success nor a clear word".to_owned()) }
    });
}

/// Numbers that are the same each time, and look as if they were not.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

#[test]
fn a_hundred_commands_at_once() {
    let host = start();
    let (mut dice, mut wrong) = (Dice(3), Vec::new());
    let names: Vec<_> = (0..10).map(|n| format!("n{n}")).collect();
    let rounds = if std::env::var_os("CTR_TEST_ALL").is_some() { 50 } else { 3 };
    for round in 0..rounds {
        let mut crowd = Vec::new();
        for _ in 0..100 {
            let (name, other) = (names[dice.roll(10)].as_str(), names[dice.roll(10)].as_str());
            let words: Vec<&str> = match dice.roll(12) {
                0..3 => [&["run", "-d", "--name", name, busybox()][..], &LASTING].concat(),
                3 => vec!["stop", "-t1", name],
                4 => vec!["start", name],
                5 => vec!["exec", name, "true"],
                6 => vec!["rm", "-f", name],
                7 => vec!["ps", "-a"],
                8 => vec!["inspect", name],
                9 => vec!["rename", name, other],
                10 => vec!["restart", "-t0", name],
                _ => vec!["create", "--name", name, busybox(), "true"],
            };
            let words: Vec<_> = words.into_iter().map(str::to_owned).collect();
            crowd.push((Live::start(&mut plain(&words)), words));
        }
        for (live, words) in crowd {
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| live.done()));
            let Ok(done) = ended else {
                wrong.push(format!("round {round}: {words:?} hangs"));
                continue;
            };
            let line = |l: &str| l.starts_with("ctr: ") || l.starts_with("  try: ");
            let clear = matches!(done.code, 0 | 125 | 126 | 137 | 143) && done.err.lines().all(line);
            let told = done.code == 0 || !done.err.is_empty() || words[0] == "exec";
            let bad =
                ["bug in ctr", "panicked", "cut off", "does not begin", "it has no id", "os error 22", "is busy"];
            let sane = !bad.iter().any(|word| done.err.contains(word) || done.out.contains(word));
            let listed = words[0] != "ps" || done.code == 0 && done.err.is_empty();
            if !(clear && told && sane && listed) {
                wrong.push(format!("round {round}: {words:?}: {done:#?}"));
            }
        }
        for seen in truth(&format!("round {round}")) {
            if seen.state == "running" {
                // It has the control group that was made while another one took the last one away.
                c(&["pause", &seen.name]).code(0);
                c(&["unpause", &seen.name]).code(0);
                assert!(!seen.status.contains("supervisor was killed"), "{seen:?}");
            }
        }
    }
    let mut rm = vec!["rm", "-f"];
    rm.extend(names.iter().map(String::as_str));
    let done = c(&rm);
    assert!(done.err.is_empty() || done.err.contains("no container"), "{done:#?}");
    assert!(truth("the end").is_empty());
    host.same_soon();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// su, gosu and the like: who changes his ids loses the signal that comes when his parent dies.
#[test]
fn a_first_process_that_changes_its_user_stays_known() {
    let host = start();
    for kill_all in [false, true] {
        let script = "exec su -s /bin/sh web -c 'trap \"exit 3\" TERM; while :; do sleep 1000 & wait; done'";
        c(&["run", "-d", "--name=k", "-u0", "--userns=host", busybox(), "sh", "-c", script]).code(0);
        ready("k");
        let pid: i32 = recorded("k", "pid").unwrap().parse().unwrap();
        let ids = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(ids.contains("Uid:\t33\t33"), "{ids}");
        let supervisor: i32 = recorded("k", "supervisor").unwrap().parse().unwrap();
        crate::support::signal(supervisor, libc::SIGKILL);
        until("its end", || (!lives(supervisor)).then_some(()));
        let all = truth("su, supervisor killed");
        assert!(all.len() == 1 && all[0].state == "running" && all[0].pid == Some(pid), "{all:#?}");
        assert!(all[0].status.contains("supervisor was killed"), "{all:#?}");
        if kill_all {
            c(&["rm", "-f", "k"]).code(0);
        } else {
            c(&["stop", "-t5", "k"]).code(0);
            assert!(!lives(pid));
            life_goes_on("su", &truth("su, stopped"));
        }
        host.same_soon();
    }
    host.same();
}

/// The share of memory of processes that is their own, in KiB.
fn pss(pids: &[i32]) -> u64 {
    let of = |pid: &i32| -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
    };
    pids.iter().map(|pid| of(pid).unwrap_or_else(|| panic!("smaps_rollup of {pid}"))).sum()
}

/// Does it with each of them, sixteen at a time.
fn sixteen_at_a_time(names: &[String], act: impl Fn(&str) + Sync) -> Duration {
    let began = Instant::now();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    act(name);
                }
            });
        }
    });
    began.elapsed()
}

/// So many at once (1,000 with CTR_TEST_ALL): started, listed, stopped, removed; nothing is left.
#[test]
fn many_at_once() {
    let most = if std::env::var_os("CTR_TEST_ALL").is_some() { 1000 } else { 60 };
    let host = start();
    let sleeper = |name: &str| c(&["run", "-d", "--name", name, busybox(), "sleep", "100000"]).code(0);
    let supervisors = || -> Vec<i32> {
        listed().iter().map(|seen| seen.recorded("supervisor").unwrap().parse().unwrap()).collect()
    };
    // They let go of what they do not need when nothing has happened for a moment.
    let settled = || {
        let end = Instant::now() + Duration::from_secs(8);
        let mut best = u64::MAX;
        while Instant::now() < end && best > 100 {
            std::thread::sleep(Duration::from_millis(100));
            let all = supervisors();
            best = best.min(pss(&all) / all.len() as u64);
        }
        best
    };
    sleeper("m0");
    let alone = settled();
    let names: Vec<_> = (1..most).map(|n| format!("m{n}")).collect();
    let took = sixteen_at_a_time(&names, |name| drop(sleeper(name)));
    println!("{most} containers: {took:.2?} to start {} of them", names.len());
    let together = settled();
    println!("supervisor PSS: {alone} KiB when alone, {together} KiB each of {most}");

    let all = truth("all run");
    assert!(all.len() == most && all.iter().all(|seen| seen.state == "running"), "{}", all.len());
    let began = Instant::now();
    let done = c(&["ps", "-q"]).code(0);
    println!("ps -q: {:.1?}", began.elapsed());
    assert_eq!(done.out.lines().count(), most);
    let began = Instant::now();
    c(&["ps"]).code(0);
    println!("ps: {:.1?}", began.elapsed());
    let calls = trace(plain(["ps"]).stdin(Stdio::null()), None).calls[0].len();
    println!("ps: {calls} system calls, {:.1} for each container", calls as f64 / most as f64);
    assert!(calls < 40 * most + 100, "{calls} system calls of ps");

    let mut names = names;
    names.push("m0".into());
    let (stopped, rest) = names.split_at(most / 2);
    let took = sixteen_at_a_time(stopped, |name| drop(c(&["stop", "-t0", name]).code(0)));
    println!("stop -t0 of {}: {took:.2?}", stopped.len());
    let words: Vec<_> = ["stop", "-t0"].into_iter().chain(rest.iter().map(String::as_str)).collect();
    let began = Instant::now();
    within_a_minute(&words);
    println!("one stop -t0 of {}: {:.2?}", rest.len(), began.elapsed());
    let words: Vec<_> = ["rm"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let began = Instant::now();
    within_a_minute(&words);
    println!("one rm of {most}: {:.2?}", began.elapsed());
    assert!(truth("all gone").is_empty());
    host.same_soon();
    assert!(alone <= 100 && together <= 100, "supervisor PSS: {alone} KiB alone, {together} KiB among {most}");
}

/// For what is allowed to take longer than other commands.
#[track_caller]
fn within_a_minute(words: &[&str]) {
    let done = plain(words).stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// What could grow: files and directories in the state folders, and what the kernel counts.
fn growth() -> BTreeMap<&'static str, usize> {
    fn count(path: &std::path::Path) -> usize {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        // The journal is looked at below.
        let entries = entries.filter(|e| !e.file_name().to_string_lossy().starts_with("events"));
        entries.map(|e| 1 + if e.file_type().unwrap().is_dir() { count(&e.path()) } else { 0 }).sum()
    }
    let lines = |path: &str| fs::read_to_string(path).unwrap_or_default().lines().count();
    BTreeMap::from([
        ("files in /run/ctr", count("/run/ctr".as_ref())),
        ("files in /var/lib/ctr", count("/var/lib/ctr".as_ref())),
        ("mounts", lines("/proc/self/mountinfo")),
        ("unix sockets", lines("/proc/net/unix")),
        ("descriptors of ours", fs::read_dir("/proc/self/fd").unwrap().count()),
        ("flock locks", fs::read_to_string("/proc/locks").unwrap().matches("FLOCK").count()),
        (
            "processes",
            fs::read_dir("/proc")
                .unwrap()
                .flatten()
                .filter(|e| e.file_name().to_string_lossy().parse::<u32>().is_ok())
                .count(),
        ),
    ])
}

/// Life after life (1,000 with CTR_TEST_ALL): nothing grows.
#[test]
fn life_after_life() {
    let cycles = if std::env::var_os("CTR_TEST_ALL").is_some() { 1000 } else { 50 };
    let host = start();
    let before = growth();
    let began = Instant::now();
    for _ in 0..cycles {
        let done = c(&["run", "--rm", busybox(), "echo", "done"]).code(0);
        assert_eq!((done.out.as_str(), done.err.as_str()), ("done\n", ""));
    }
    println!("{cycles} times run --rm: {:.2?}", began.elapsed());
    let began = Instant::now();
    for _ in 0..cycles {
        let id = c(&["run", "-d", busybox(), "sleep", "100000"]).code(0).out;
        c(&["rm", "-f", id.trim()]).code(0);
    }
    println!("{cycles} times run -d and rm -f: {:.2?}", began.elapsed());
    host.same_soon();
    let grown = || growth().into_iter().filter(|(what, now)| *now > before[what]).collect::<Vec<_>>();
    let end = Instant::now() + Duration::from_secs(5);
    while !grown().is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(grown().is_empty(), "{:?}, before {before:?}", grown());
    let journal: u64 = ["events", "events.1"]
        .iter()
        .filter_map(|f| fs::metadata(format!("/run/ctr/{f}")).ok())
        .map(|m| m.len())
        .sum();
    println!("the journal has {journal} bytes");
    assert!(journal <= 3 << 20, "{journal}");
}

/// So many with ids of their own (200 with CTR_TEST_ALL), half of them killed with all that looks after them: two that live never have
/// the same range, and what dead ones had is given back.
#[test]
fn ranges_of_ids_among_many() {
    let most = if std::env::var_os("CTR_TEST_ALL").is_some() { 200 } else { 32 };
    let host = start();
    let sleeper = |name: &str| {
        c(&["run", "-d", "--userns=required", "--name", name, busybox(), "sleep", "100000"]).code(0);
    };
    let ranges = |all: &[Seen]| -> BTreeMap<String, String> {
        let range = |seen: &Seen| {
            assert!(has_range(seen), "{seen:?}");
            let map = fs::read_to_string(format!("/proc/{}/uid_map", seen.pid.unwrap())).unwrap();
            (map.split_whitespace().nth(1).unwrap().to_owned(), seen.name.clone())
        };
        let ranges: BTreeMap<_, _> = all.iter().map(range).collect();
        assert_eq!(ranges.len(), all.len(), "some have the same: {ranges:?}");
        let mut ids: Vec<_> = all.iter().map(|seen| seen.id.clone()).collect();
        let mut leases = leases();
        ids.sort();
        leases.sort();
        assert_eq!(leases, ids);
        ranges
    };
    let names = |letter: char, most: usize| (0..most).map(|n| format!("{letter}{n}")).collect::<Vec<_>>();
    let took = sixteen_at_a_time(&names('a', most), sleeper);
    println!("{most} containers with ids of their own: {took:.2?}");
    let all = truth("all run");
    let before = ranges(&all);
    let (dead, alive) = all.split_at(most / 2);
    for seen in dead {
        for pid in [seen.recorded("supervisor").unwrap().parse().unwrap(), seen.pid.unwrap()] {
            crate::support::signal(pid, libc::SIGKILL);
        }
    }
    // While what they had is given back, others come.
    sixteen_at_a_time(&names('b', most / 2), sleeper);
    let now = truth("half of them were killed");
    let (running, ended): (Vec<_>, Vec<_>) = now.into_iter().partition(|seen| seen.state == "running");
    assert_eq!((running.len(), ended.len()), (most / 2 * 2, most / 2));
    let after = ranges(&running);
    for seen in alive {
        let range =
            |of: &BTreeMap<String, String>| of.iter().find(|(_, name)| **name == seen.name).unwrap().0.clone();
        assert_eq!(range(&before), range(&after), "{seen:?}");
    }
    let all: Vec<_> = running.iter().chain(&ended).map(|seen| seen.name.as_str()).collect();
    within_a_minute(&[&["rm", "-f"], &all[..]].concat());
    assert_eq!(leases(), Vec::<String>::new());
    host.same_soon();
}
