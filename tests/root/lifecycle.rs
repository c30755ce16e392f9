//! Containers that live on their own, as Docker's users know them: create, start, stop, kill, restart, rm, rename, wait, pause,
//! unpause, ps, inspect, info, prune, top, events; restart policies, health checks, and what a reboot leaves.

use crate::support::{Done, Host, Live, Scratch, busybox, ctr, feed, plain, signal, until, within};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// PID 1 with a handler: ends with 3 when it is asked to.
const POLITE: &str = "trap 'exit 3' TERM; sleep 1000 & wait";

/// A host on which containers come and go.
struct Place {
    host: Host,
    /// State folders of its own.
    own: Option<Scratch>,
}

impl Place {
    fn new() -> Place {
        Place { host: Host::before(), own: None }
    }

    /// One whose folders the test can do with what it wants.
    fn own(name: &str) -> Place {
        Place { host: Host::before(), own: Some(Scratch::new(name)) }
    }

    fn lasting(&self) -> PathBuf {
        self.own.as_ref().map_or_else(crate::support::lasting, |own| own.join("lib"))
    }

    fn state(&self) -> PathBuf {
        self.own.as_ref().map_or_else(crate::support::state, |own| own.join("run"))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = plain(words);
        command.env("CTR_ROOT", self.lasting()).env("CTR_STATE", self.state());
        command
    }

    #[track_caller]
    fn ctr(&self, words: &[&str]) -> Done {
        within(&mut self.command(words))
    }

    /// What it says when all is well and there is nothing to complain about.
    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let done = self.ctr(words).code(0);
        assert_eq!(done.err, "", "{words:?}");
        done.out
    }

    /// `ctr run -d --name NAME OPTIONS ROOT sh -c SCRIPT`; its id.
    #[track_caller]
    fn go(&self, name: &str, options: &[&str], script: &str) -> String {
        let id = self.ok(&[&["run", "-d", "--name", name], options, &[busybox(), "sh", "-c", script]].concat());
        id.trim_end().to_owned()
    }

    /// The same of [`POLITE`], when it can be asked.
    #[track_caller]
    fn polite(&self, name: &str, options: &[&str]) -> String {
        let id = self.go(name, options, POLITE);
        self.catches(name, libc::SIGTERM);
        id
    }

    /// Waits until the container's process has a handler.
    #[track_caller]
    fn catches(&self, name: &str, number: i32) {
        let pid = self.pid(name);
        until("a handler", || {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let caught = status.lines().find_map(|l| l.strip_prefix("SigCgt:"))?;
            (u64::from_str_radix(caught.trim(), 16).ok()? & (1 << (number - 1)) != 0).then_some(())
        });
    }

    #[track_caller]
    fn field(&self, name: &str, template: &str) -> String {
        self.ok(&["inspect", "-f", template, name]).trim_end().to_owned()
    }

    #[track_caller]
    fn pid(&self, name: &str) -> i32 {
        self.field(name, "{{.State.Pid}}").parse().unwrap()
    }

    /// State and exit code.
    #[track_caller]
    fn how(&self, name: &str) -> String {
        self.field(name, "{{.State.Status}} {{.State.ExitCode}}")
    }

    #[track_caller]
    fn becomes(&self, name: &str, wanted: &str) {
        until(&format!("{name} to be {wanted}"), || (self.how(name) == wanted).then_some(()));
    }

    /// Names of those that `ps WORDS` lists.
    #[track_caller]
    fn names(&self, words: &[&str]) -> Vec<String> {
        self.ok(&[&["ps", "--format", "{{.Names}}"], words].concat()).lines().map(str::to_owned).collect()
    }

    /// Everything that a command which was refused must not have changed.
    fn picture(&self) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        for entry in fs::read_dir(self.lasting().join("containers")).into_iter().flatten().flatten() {
            let record = fs::read_to_string(entry.path().join("record")).unwrap_or_default();
            seen.insert(format!("{:?} {record}", entry.file_name()));
        }
        seen.extend(self.names(&["-a", "--format", "{{.Names}} {{.State}} {{.Pid}}"]));
        seen
    }

    /// Refused in one line with these words, and nothing has changed.
    #[track_caller]
    fn bad(&self, words: &[&str], says: &[&str]) {
        let before = self.picture();
        self.ctr(words).refused(says);
        assert_eq!(self.picture(), before, "{words:?}");
    }

    /// The events of one container: when, what, and the rest of the line.
    fn events(&self, name: &str) -> Vec<(f64, String)> {
        let filter = format!("container={name}");
        let template = "{{.TimeNano}} {{.Action}}";
        let out = self.ok(&["events", "--since", "1h", "--until", "0s", "--filter", &filter, "--format", template]);
        let pair = |l: &str| {
            let (time, what) = l.split_once(' ').unwrap_or_else(|| panic!("{out}"));
            (time.parse::<f64>().unwrap() / 1e9, what.to_owned())
        };
        out.lines().map(pair).collect()
    }

    /// Everything is as it was.
    #[track_caller]
    fn end(self) {
        let left: Vec<_> = fs::read_dir(self.lasting().join("containers")).into_iter().flatten().flatten().collect();
        assert!(self.own.is_none() || left.is_empty(), "{left:?}");
        self.host.same_soon();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Those in the usual folders are the host's to take away.
        if std::thread::panicking() && self.own.is_some() {
            let all = self.command(&["ps", "-aq"]).output().unwrap();
            let ids = String::from_utf8_lossy(&all.stdout).into_owned();
            let _ = self.command(&["rm", "-f"]).args(ids.split_whitespace()).output();
        }
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

// ---- a life

#[test]
fn made_started_ended_started_again_removed() {
    let p = Place::new();
    let b = busybox();
    let id = p.ok(&["create", "--name", "life", b, "sh", "-c", "echo x >>/count; exit $(wc -l </count)"]);
    assert!(is_id(id.trim_end()), "{id:?}");
    assert_eq!(p.names(&[]), [""; 0]);
    assert_eq!(p.names(&["-a"]), ["life"]);
    assert_eq!(p.how("life"), "created 0");
    assert_eq!(p.ok(&["ps", "-a", "--format", "{{.Status}}"]), "Created\n");
    // The layer lasts from start to start.
    for n in 1..=3 {
        assert_eq!(p.ok(&["start", "life"]), "life\n");
        p.becomes("life", &format!("exited {n}"));
    }
    let status = p.ok(&["ps", "-a", "--format", "{{.Status}}"]);
    assert!(status.starts_with("Exited (3) ") && status.ends_with(" ago\n"), "{status}");
    // By id, whole or short.
    assert_eq!(p.ok(&["start", id.trim_end()]).lines().count(), 1);
    p.becomes(&id[..12], "exited 4");
    assert_eq!(p.ok(&["rm", "life"]), "life\n");
    assert_eq!(p.ok(&["ps", "-aq"]), "");
    p.bad(&["inspect", "life"], &["life"]);
    // And is gone with it.
    p.go("life", &[], "echo x >>/count; exit $(wc -l </count)");
    p.becomes("life", "exited 1");
    p.ok(&["rm", "life"]);
    assert!(!p.lasting().join("containers/life").exists());
    p.end();
}

#[test]
fn run_in_the_background_prints_the_id_and_holds_nothing_of_its_caller() {
    let p = Place::new();
    let files = Scratch::new("detached");
    let [cid, pid] = ["cid", "pid"].map(|n| files.join(n).display().to_string());
    // `within` waits until nobody has its pipes open any more.
    let done = feed(
        &mut p.command(&[
            "run",
            "-d",
            "--name",
            "back",
            "--cidfile",
            &cid,
            "--pidfile",
            &pid,
            busybox(),
            "sleep",
            "1000",
        ]),
        b"not read",
    );
    let id = done.code(0).out;
    assert!(is_id(id.trim_end()) && id.ends_with('\n'), "{id:?}");
    assert_eq!(fs::read_to_string(&cid).unwrap(), id.trim_end());
    assert_eq!(fs::read_to_string(&pid).unwrap().trim(), p.pid("back").to_string());
    assert_eq!(p.ok(&["ps", "-q"]), format!("{}\n", &id[..12]));
    assert_eq!(p.ok(&["ps", "-q", "--no-trunc"]), id);
    // The supervisor is in a session of its own and holds no descriptor but its own.
    let supervisor = p.field("back", "{{.Supervisor.Pid}}");
    let stat = fs::read_to_string(format!("/proc/{supervisor}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').map(str::to_owned).collect();
    assert_eq!(fields[3], supervisor, "its session: {stat}");
    for number in 0..3 {
        let at = fs::read_link(format!("/proc/{supervisor}/fd/{number}")).unwrap();
        assert_eq!(at, Path::new("/dev/null"), "descriptor {number}");
    }
    assert_eq!(p.ok(&["rm", "-f", "back"]), "back\n");
    p.end();
}

#[test]
fn it_outlives_the_session_it_was_started_in() {
    let p = Place::new();
    let script = "\"$@\"; kill -9 0";
    let mut command = Command::new("setsid");
    command.args(["--wait", "sh", "-c", script, "sh"]).arg(crate::support::ctr_path());
    within(command.args(["run", "-d", "--name", "alone", busybox(), "sleep", "1000"])).code(137);
    assert_eq!(p.how("alone"), "running 0");
    p.ok(&["rm", "-f", "alone"]);
    p.end();
}

#[test]
fn how_it_ended_is_recorded() {
    let p = Place::new();
    for (name, options, script, code, number) in [
        ("seven", &[][..], "exit 7", 7, 0),
        ("zero", &[], "true", 0, 0),
        ("most", &[], "exit 255", 255, 0),
        ("init", &["--init"], "kill -9 $$", 137, 0),
        ("host", &["--pid=host", "--userns=host"], "kill -TERM $$", 143, 15),
    ] {
        p.go(name, options, script);
        p.becomes(name, &format!("exited {code}"));
        let signal = p.field(name, "{{.State.Signal}}");
        assert!(signal == number.to_string() || name == "init", "{name}: {signal}");
        assert_eq!(
            p.field(name, "{{.State.Pid}} {{.State.Running}} {{.State.OOMKilled}}"),
            "0 false false",
            "{name}"
        );
        assert_eq!(p.ok(&["wait", name]), format!("{code}\n"));
        let times = p.field(name, "{{.Created}} {{.State.StartedAt}} {{.State.FinishedAt}}");
        let times: Vec<_> = times.split(' ').collect();
        assert!(times[0] <= times[1] && times[1] <= times[2] && times[0].starts_with("20"), "{name}: {times:?}");
        p.ok(&["rm", name]);
    }
    p.end();
}

#[test]
fn what_cannot_start_stays_as_it_was_and_says_why() {
    let p = Place::new();
    p.ok(&["create", "--name", "bad", busybox(), "no-such-command"]);
    for attached in [&[][..], &["-a"]] {
        let done = p.ctr(&[&["start"], attached, &["bad"]].concat());
        assert!([125, 127].contains(&done.code) && (attached.is_empty() || done.code == 127), "{done:?}");
        assert!(
            done.out.is_empty() && done.err.contains("no-such-command") && done.err.lines().count() == 1,
            "{done:?}"
        );
        assert_eq!(p.field("bad", "{{.State.Status}}"), "created");
        assert!(p.field("bad", "{{.State.Error}}").contains("no-such-command"));
    }
    p.ok(&["rm", "bad"]);
    // One that ran once, and then cannot: the root has gone meanwhile.
    let place = Scratch::new("vanished");
    crate::support::busybox_root(&place.join("root"));
    p.ok(&["run", "-d", "--name", "once", place.join("root").to_str().unwrap(), "sh", "-c", "exit 5"]);
    p.becomes("once", "exited 5");
    fs::rename(place.join("root"), place.join("away")).unwrap();
    p.ctr(&["start", "once"]).refused(&["root"]);
    assert_eq!(p.field("once", "{{.State.Status}}"), "exited");
    fs::rename(place.join("away"), place.join("root")).unwrap();
    p.ok(&["start", "once"]);
    p.becomes("once", "exited 5");
    p.ok(&["rm", "once"]);
    // A run in the background that never ran leaves nothing.
    for (code, words) in [(127, &["no-such-command"][..]), (126, &["/etc/passwd"])] {
        let done = p.ctr(&[&["run", "-d", "--name", "never", busybox()], words].concat()).code(code);
        assert!(done.out.is_empty() && done.err.lines().count() == 1, "{done:?}");
        assert_eq!(p.names(&["-a"]), [""; 0]);
    }
    p.end();
}

#[test]
fn rm_when_it_ends() {
    let p = Place::new();
    p.go("brief", &["--rm"], "exit 4");
    until("it to be gone", || p.names(&["-a"]).is_empty().then_some(()));
    // However it ends.
    for (verb, code) in [(&["stop"][..], 3), (&["kill"], 137), (&["rm", "-f"], 137)] {
        p.polite("brief", &["--rm"]);
        let wait = Live::start(&mut p.command(&["wait", "brief"]));
        // It has asked before the end comes.
        std::thread::sleep(Duration::from_millis(50));
        p.ok(&[verb, &["brief"]].concat());
        assert_eq!(wait.done().code(0).out, format!("{code}\n"), "{verb:?}");
        until("it to be gone", || p.names(&["-a"]).is_empty().then_some(()));
        p.host.same_soon();
    }
    p.end();
}

// ---- names

#[test]
fn names_ids_and_prefixes() {
    let p = Place::new();
    let b = busybox();
    let made_up: Vec<_> = (0..17).map(|_| p.ok(&["create", b, "true"]).trim_end().to_owned()).collect();
    let names = p.names(&["-a"]);
    for name in &names {
        let parts: Vec<_> = name.split('_').collect();
        assert!(
            parts.len() >= 2 && parts[..2].iter().all(|w| w.len() > 1 && w.bytes().all(|b| b.is_ascii_lowercase())),
            "{name}"
        );
    }
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 17);
    // 17 ids, 16 first digits.
    let of = |first: char| made_up.iter().filter(|id| id.starts_with(first)).collect::<Vec<_>>();
    let (first, several) = made_up
        .iter()
        .map(|id| (id.chars().next().unwrap(), of(id.chars().next().unwrap())))
        .find(|(_, s)| s.len() > 1)
        .unwrap();
    let before = p.picture();
    let done = p.ctr(&["inspect", &first.to_string()]).code(125);
    for id in &several {
        assert!(done.err.contains(&id[..12]), "{id} is not among the candidates: {done:?}");
    }
    assert!(done.out.is_empty() && done.err.starts_with("ctr: "), "{done:?}");
    for verb in ["start", "stop", "kill", "rm", "wait", "pause", "restart", "top", "rename"] {
        let more: &[&str] = if verb == "rename" { &["other"] } else { &[] };
        p.ctr(&[&[verb, &first.to_string()], more].concat()).refused(&["several"]);
    }
    p.ctr(&["rm", "-f", &first.to_string()]).refused(&["several"]);
    assert_eq!(p.picture(), before);
    // Enough of an id is one; upper case is none.
    let shortest = |id: &str| {
        (1..64).find(|n| made_up.iter().filter(|other| other.starts_with(&id[..*n])).count() == 1).unwrap()
    };
    for id in &made_up[..4] {
        assert_eq!(p.field(&id[..shortest(id)], "{{.Id}}"), *id);
        assert_eq!(p.field(id, "{{.Id}}"), *id);
    }
    // A name goes before an id that begins so.
    let name = &made_up[5][..4];
    let id = p.ok(&["create", "--name", name, b, "true"]);
    assert_eq!(p.field(name, "{{.Id}}"), id.trim_end());
    // Names are not shortened, and not taken twice.
    p.ok(&["create", "--name", "whole", b, "true"]);
    p.bad(&["rm", "whol"], &["whol"]);
    p.bad(&["create", "--name", "whole", b, "true"], &["whole"]);
    p.bad(&["run", "--name", "whole", b, "true"], &["whole"]);
    p.bad(&["run", "-d", "--name", "whole", b, "true"], &["whole"]);
    p.bad(&["run", "--rm", "--name", "whole", b, "true"], &["whole"]);
    for bad in ["", ".", "..", "a/b", "-x", "a b", "é", "a\nb", &"x".repeat(300), ".hidden"] {
        p.bad(&["create", &format!("--name={bad}"), b, "true"], &["name"]);
    }
    p.bad(&["rm", ""], &[]);
    p.ok(&["prune", "-f"]);
    p.end();
}

/// As Docker's `inspect` shows them, and scripts pass them on.
#[test]
fn a_name_may_begin_with_a_slash() {
    let p = Place::new();
    p.ok(&["create", "--name", "slash", busybox(), "true"]);
    assert_eq!(p.field("/slash", "{{.Name}}"), "/slash");
    p.bad(&["rm", "/nosuch"], &["nosuch"]);
    p.ok(&["rm", "/slash"]);
    p.end();
}

#[test]
fn rename_changes_the_name_alone() {
    let p = Place::new();
    p.polite("old", &[]);
    p.ok(&["create", "--name", "other", busybox(), "true"]);
    let (id, pid) = (p.field("old", "{{.Id}}"), p.pid("old"));
    assert_eq!(p.ok(&["rename", "old", "new"]), "");
    p.bad(&["inspect", "old"], &["old"]);
    assert_eq!(p.field("new", "{{.Id}} {{.Name}} {{.State.Pid}}"), format!("{id} /new {pid}"));
    p.bad(&["rename", "new", "other"], &["other"]);
    p.bad(&["rename", "new", "new"], &["new"]);
    p.bad(&["rename", "new", "a/b"], &["name"]);
    p.bad(&["rename", "nosuch", "x"], &["nosuch"]);
    p.bad(&["rename", "new"], &["rename"]);
    p.bad(&["rename", "new", "a", "b"], &["rename"]);
    // Its supervisor finds its things under the new name; the old one is free.
    p.polite("old", &[]);
    assert_eq!(p.ok(&["stop", "new"]), "new\n");
    assert_eq!((p.how("new").as_str(), p.how("old").as_str()), ("exited 3", "running 0"));
    p.ok(&["start", "new"]);
    p.ok(&["rename", &id[..12], "again"]);
    p.ok(&["rm", "-f", "again", "old", "other"]);
    p.end();
}

// ---- stop, kill, restart, rm

#[test]
fn stop_asks_first() {
    let p = Place::new();
    p.polite("a", &[]);
    assert_eq!(p.ok(&["stop", "a"]), "a\n");
    assert_eq!(p.how("a"), "exited 3");
    // What does not run is stopped.
    assert_eq!(p.ok(&["stop", "a"]), "a\n");
    p.ok(&["create", "--name", "made", busybox(), "true"]);
    p.ok(&["stop", "made"]);
    assert_eq!(p.how("made"), "created 0");
    p.ok(&["rm", "made"]);
    // Its own signal, or the one that was said.
    let script = "trap 'exit 4' INT; trap 'exit 5' RTMIN+3; trap 'exit 3' TERM; sleep 1000 & wait";
    for (options, words, code) in [
        (&["--stop-signal", "SIGINT"][..], &[][..], 4),
        (&["--stop-signal=INT"], &["-s", "TERM"], 3),
        (&[], &["-s", "SIGINT"], 4),
        (&[], &["-s", "2"], 4),
        (&[], &["--signal", "int"], 4),
        (&[], &["-s", "KILL"], 137),
        (&["--stop-timeout", "1"], &[], 3),
        (&[], &["-t", "-1"], 3),
        (&[], &["--time=60"], 3),
    ] {
        p.go("b", options, script);
        p.catches("b", libc::SIGTERM);
        p.ok(&[&["stop"], words, &["b"]].concat());
        assert_eq!(p.how("b"), format!("exited {code}"), "{options:?} {words:?}");
        p.ok(&["rm", "b"]);
    }
    // --init passes it on.
    p.ok(&["run", "-d", "--name", "i", "--init", busybox(), "sleep", "1000"]);
    assert_eq!(p.ok(&["stop", "i"]), "i\n");
    assert_eq!(p.how("i"), "exited 143");
    // Several, and what is wrong with one is no harm to the others.
    p.polite("c", &[]);
    let done = p.ctr(&["stop", "nosuch", "c", "i"]).code(1);
    assert_eq!((done.out.as_str(), done.err.lines().count()), ("c\ni\n", 1), "{done:?}");
    assert_eq!(p.how("c"), "exited 3");
    for bad in [
        &["stop"][..],
        &["stop", "-t", "x", "c"],
        &["stop", "-t", "-2", "c"],
        &["stop", "-s", "NONE", "c"],
        &["stop", "-s", "0", "c"],
        &["stop", "-s", "99", "c"],
        &["stop", "nosuch"],
    ] {
        p.bad(bad, &[]);
    }
    p.ok(&["rm", "a", "c", "i"]);
    p.end();
}

#[test]
fn a_pid_1_without_a_handler_is_named_and_killed_in_time() {
    let p = Place::new();
    p.ok(&["run", "-d", "--name", "deaf", busybox(), "sleep", "1000"]);
    let began = Instant::now();
    let done = p.ctr(&["stop", "-t", "1", "deaf"]).code(0);
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(5), "{took:?}");
    assert!(done.err.starts_with("ctr: ") && done.err.lines().count() == 1, "{done:?}");
    for word in ["deaf", "sleep", "SIGTERM", "PID 1"] {
        assert!(done.err.contains(word), "no {word} in {done:?}");
    }
    assert_eq!((done.out.as_str(), p.how("deaf").as_str()), ("deaf\n", "exited 137"));
    // Its own time; and at once.
    for (options, words) in [(&["--stop-timeout", "0"][..], &[][..]), (&[], &["-t0"])] {
        p.ok(&[&["run", "-d", "--name", "none"], options, &[busybox(), "sleep", "1000"]].concat());
        let began = Instant::now();
        p.ctr(&[&["stop"], words, &["none"]].concat()).code(0);
        assert!(began.elapsed() < Duration::from_secs(1));
        assert_eq!(p.how("none"), "exited 137");
        p.ok(&["rm", "none"]);
    }
    // One with a handler that does not end is killed, with everything in it, and nothing is said.
    p.go("slow", &[], "trap : TERM; setsid sleep 1000 & while :; do sleep 1000 & wait; done");
    p.catches("slow", libc::SIGTERM);
    p.ok(&["stop", "-t", "1", "slow"]);
    assert_eq!(p.how("slow"), "exited 137");
    p.ok(&["rm", "deaf", "slow"]);
    p.end();
}

#[test]
fn stop_and_kill_of_a_paused_one() {
    let p = Place::new();
    p.polite("cold", &[]);
    p.ok(&["pause", "cold"]);
    // Thawed, so that it can answer.
    let began = Instant::now();
    p.ok(&["stop", "cold"]);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(p.how("cold"), "exited 3");
    for verb in [&["kill"][..], &["rm", "-f"]] {
        p.ok(&["start", "cold"]);
        p.ok(&["pause", "cold"]);
        p.ok(&[verb, &["cold"]].concat());
        if verb == ["kill"] {
            p.becomes("cold", "exited 137");
        }
    }
    p.end();
}

#[test]
fn kill_sends_a_signal() {
    let p = Place::new();
    let place = Scratch::new("kill");
    let volume = format!("{}:/v", place.path().display());
    let script = "for s in HUP USR1 USR2 RTMIN+3; do trap \"echo $s >/v/$s\" $s; done; trap 'exit 3' TERM; while :; do sleep 1000 & wait $!; done";
    p.ok(&["run", "-d", "--name", "k", "-v", &volume, crate::support::debian(), "bash", "-c", script]);
    p.catches("k", libc::SIGTERM);
    for (word, name) in [("HUP", "HUP"), ("SIGUSR1", "USR1"), ("12", "USR2"), ("SIGRTMIN+3", "RTMIN+3")] {
        assert_eq!(p.ok(&["kill", "-s", word, "k"]), "k\n");
        until(name, || place.join(name).exists().then_some(()));
        assert_eq!(p.how("k"), "running 0");
    }
    p.bad(&["kill", "-s", "NOSUCH", "k"], &["NOSUCH"]);
    assert_eq!(p.ok(&["kill", "k"]), "k\n");
    p.becomes("k", "exited 137");
    assert_eq!(p.field("k", "{{.State.Signal}}"), "9");
    // Not to what does not run.
    p.bad(&["kill", "k"], &["k", "not running"]);
    p.bad(&["kill", "nosuch"], &["nosuch"]);
    p.bad(&["kill"], &[]);
    let before = p.picture();
    assert_eq!(p.ctr(&["kill", "k", "nosuch"]).code(1).err.lines().count(), 2);
    assert_eq!(p.picture(), before);
    p.ok(&["rm", "k"]);
    p.end();
}

#[test]
fn restart_is_stop_and_start() {
    let p = Place::new();
    p.go("r", &[], &format!("echo x >>/count; {POLITE}"));
    p.catches("r", libc::SIGTERM);
    let first = p.pid("r");
    assert_eq!(p.ok(&["restart", "r"]), "r\n");
    assert_ne!(p.pid("r"), first);
    p.catches("r", libc::SIGTERM);
    assert_eq!(p.ok(&["exec", "r", "wc", "-l", "/count"]), "2 /count\n");
    // One that has ended, and one that never was started.
    p.ok(&["stop", "r"]);
    p.ok(&["restart", "r"]);
    p.catches("r", libc::SIGTERM);
    p.ok(&["create", "--name", "n", busybox(), "sleep", "1000"]);
    assert_eq!(p.ok(&["restart", "-t", "0", "n"]), "n\n");
    assert_eq!(p.how("n"), "running 0");
    let done = p.ctr(&["restart", "-t", "0", "n", "nosuch", "r"]).code(1);
    assert_eq!(done.out, "n\nr\n", "{done:?}");
    assert_eq!([p.how("n"), p.how("r")], ["running 0", "running 0"]);
    assert_eq!(p.events("n").iter().filter(|(_, what)| what == "restart").count(), 2);
    p.bad(&["restart", "nosuch"], &["nosuch"]);
    p.ok(&["rm", "-f", "r", "n"]);
    p.end();
}

#[test]
fn rm_of_what_runs_is_refused() {
    let p = Place::new();
    p.polite("live", &[]);
    p.bad(&["rm", "live"], &["live", "running"]);
    p.ok(&["pause", "live"]);
    p.bad(&["rm", "live"], &["live", "paused"]);
    p.ok(&["unpause", "live"]);
    p.ok(&["create", "--name", "made", busybox(), "true"]);
    // Several: what can be is removed.
    let done = p.ctr(&["rm", "live", "made", "nosuch"]).code(1);
    assert_eq!((done.out.as_str(), done.err.lines().count()), ("made\n", 2), "{done:?}");
    assert_eq!(p.names(&["-a"]), ["live"]);
    assert_eq!(p.ok(&["rm", "-fv", "live"]), "live\n");
    // What is not there is no error for -f alone.
    assert_eq!(p.ctr(&["rm", "-f", "nosuch"]).code(0).out, "");
    p.bad(&["rm", "nosuch"], &["nosuch"]);
    p.bad(&["rm"], &[]);
    p.end();
}

#[test]
fn wait_prints_the_exit_codes() {
    let p = Place::new();
    let codes = [("a", 3), ("b", 3), ("c", 0)];
    p.polite("a", &[]);
    p.polite("b", &[]);
    p.go("c", &[], "true");
    p.becomes("c", "exited 0");
    let mut wait = Live::start(&mut p.command(&["wait", "c", "a", "b"]));
    assert_eq!(wait.line(), "0");
    p.ok(&["stop", "b"]);
    p.ok(&["stop", "a"]);
    assert_eq!((wait.line(), wait.line()), ("3".into(), "3".into()));
    wait.done().code(0);
    for (name, code) in codes {
        assert_eq!(p.ok(&["wait", name]), format!("{code}\n"));
    }
    p.bad(&["wait"], &[]);
    p.bad(&["wait", "nosuch"], &["nosuch"]);
    let done = p.ctr(&["wait", "nosuch", "c"]).code(1);
    assert_eq!((done.out.as_str(), done.err.lines().count()), ("0\n", 1));
    p.ok(&["rm", "a", "b", "c"]);
    p.end();
}

#[test]
fn pause_freezes_and_unpause_lets_go_on() {
    let p = Place::new();
    let place = Scratch::new("pause");
    let volume = format!("{}:/v", place.path().display());
    p.go("p", &["-v", &volume], "trap 'exit 3' TERM; while :; do echo x >>/v/count; usleep 1000; done");
    let count = || fs::read(place.join("count")).map_or(0, |c| c.len());
    until("it to count", || (count() > 4).then_some(()));
    assert_eq!(p.ok(&["pause", "p"]), "p\n");
    let frozen = count();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(count(), frozen);
    assert_eq!(p.field("p", "{{.State.Status}} {{.State.Paused}} {{.State.Running}}"), "paused true true");
    assert!(p.ok(&["ps", "--format", "{{.Status}}"]).ends_with("(Paused)\n"));
    assert_eq!(p.names(&["--filter", "status=paused"]), ["p"]);
    p.bad(&["pause", "p"], &["p", "paused"]);
    p.bad(&["exec", "p", "true"], &["p", "paused"]);
    assert_eq!(p.ok(&["unpause", "p"]), "p\n");
    until("it to count again", || (count() > frozen + 4).then_some(()));
    p.bad(&["unpause", "p"], &["p", "not paused"]);
    p.ok(&["stop", "p"]);
    p.bad(&["pause", "p"], &["p", "not running"]);
    p.bad(&["unpause", "p"], &["p"]);
    p.bad(&["exec", "p", "true"], &["p", "not running"]);
    p.bad(&["top", "p"], &["p", "not running"]);
    p.bad(&["attach", "p"], &["p", "not running"]);
    p.ok(&["rm", "p"]);
    p.end();
}

#[test]
fn start_of_a_paused_one_is_refused() {
    let p = Place::new();
    p.polite("p", &[]);
    p.ok(&["pause", "p"]);
    p.bad(&["start", "p"], &["p", "unpause"]);
    p.ok(&["rm", "-f", "p"]);
    p.end();
}

#[test]
fn wait_for_one_in_the_foreground() {
    let p = Place::new();
    let mut live =
        Live::start(&mut ctr(["run", "-i", "--name", "fore", busybox(), "sh", "-c", "echo up; read x; exit 6"]));
    live.hear("up\n");
    let wait = Live::start(&mut p.command(&["wait", "fore"]));
    std::thread::sleep(Duration::from_millis(50));
    live.say("\n");
    assert_eq!(wait.done().code(0).out, "6\n");
    live.done().code(6);
    p.end();
}

/// Who was told that it has ended may start it again at once.
#[test]
fn start_right_after_the_end_starts() {
    let p = Place::new();
    p.ok(&["create", "--name", "quick", busybox(), "true"]);
    for n in 1..=100 {
        p.ok(&["start", "quick"]);
        assert_eq!(p.ok(&["wait", "quick"]), "0\n");
        // `start` of what runs is well, so only the number of its lives tells.
        if n % 20 == 0 {
            let lives = p.events(&p.field("quick", "{{.Id}}")).iter().filter(|(_, what)| what == "start").count();
            assert_eq!(lives, n);
        }
    }
    p.ok(&["rm", "quick"]);
    p.end();
}

#[test]
fn start_attached() {
    let p = Place::new();
    let b = busybox();
    p.ok(&["create", "--name", "a", b, "sh", "-c", "echo out; echo err >&2; exit 7"]);
    for _ in 0..2 {
        let done = p.ctr(&["start", "-a", "a"]).code(7);
        assert_eq!((done.out.as_str(), done.err.as_str()), ("out\n", "err\n"));
    }
    p.ok(&["create", "-i", "--name", "i", b, "sh", "-c", "cat; exit 8"]);
    for options in [&["-ai"][..], &["-i"], &["-a", "-i"]] {
        let done = feed(&mut p.command(&[&["start"], options, &["i"]].concat()), b"typed\n").code(8);
        assert_eq!(done.out, "typed\n", "{options:?}");
    }
    // A signal is passed on.
    p.ok(&["create", "--name", "s", b, "sh", "-c", "trap 'echo asked; exit 3' TERM; echo up; sleep 1000 & wait"]);
    let mut live = Live::start(&mut p.command(&["start", "-a", "s"]));
    live.hear("up\n");
    live.signal(libc::SIGTERM);
    live.hear("asked\n");
    live.done().code(3);
    p.ok(&["start", "s"]);
    p.bad(&["start", "-a", "s"], &["s"]);
    // What runs is started.
    assert_eq!(p.ok(&["start", "s"]), "s\n");
    p.bad(&["start", "-a", "a", "i"], &[]);
    p.bad(&["start"], &[]);
    p.bad(&["start", "nosuch"], &["nosuch"]);
    // Who only looks may go; it goes on.
    p.ok(&["rm", "-f", "s"]);
    p.ok(&["create", "--name", "s", b, "sh", "-c", "echo up; exec sleep 1000"]);
    let mut live = Live::start(&mut p.command(&["start", "-a", "s"]));
    live.hear("up\n");
    live.signal(libc::SIGKILL);
    live.done().code(137);
    assert_eq!(p.how("s"), "running 0");
    p.ok(&["rm", "-f", "a", "i", "s"]);
    p.end();
}

// ---- what comes back

#[test]
fn restart_policies() {
    let p = Place::new();
    let bring = |name: &str, policy: &str, script: &str| p.go(name, &["--restart", policy], script);
    bring("no", "no", "exit 4");
    bring("twice", "on-failure:2", "echo x >>/count; exit $(wc -l </count)");
    bring("well", "on-failure", "exit 0");
    bring("third", "on-failure", "echo x >>/count; [ $(wc -l </count) = 3 ]");
    for (name, how, restarts) in
        [("no", "exited 4", 0), ("twice", "exited 3", 2), ("well", "exited 0", 0), ("third", "exited 0", 2)]
    {
        p.becomes(name, how);
        assert_eq!(p.field(name, "{{.RestartCount}}"), restarts.to_string(), "{name}");
    }
    // It begins to count anew.
    p.ok(&["start", "twice"]);
    p.becomes("twice", "exited 6");
    assert_eq!(p.field("twice", "{{.RestartCount}}"), "2");
    for policy in ["always", "unless-stopped"] {
        bring("on", policy, "exit 0");
        until("restarts", || (p.field("on", "{{.RestartCount}}").parse::<u32>().unwrap() >= 2).then_some(()));
        assert_eq!(p.field("on", "{{.HostConfig.RestartPolicy.Name}}"), policy);
        // Asked to stop, it stays away, whatever it was doing.
        p.ctr(&["stop", "-t0", "on"]).code(0);
        assert_eq!(p.field("on", "{{.State.Status}}"), "exited");
        let before = p.picture();
        std::thread::sleep(Duration::from_millis(900));
        assert_eq!(p.picture(), before);
        p.ok(&["rm", "on"]);
    }
    // Its own end is none.
    bring("on", "always", "exec sleep 1000");
    let first = p.pid("on");
    signal(first, libc::SIGKILL);
    until("the next run", || (![0, first].contains(&p.pid("on"))).then_some(()));
    p.ok(&["rm", "-f", "on"]);
    let b = busybox();
    for bad in ["sometimes", "on-failure:-1", "on-failure:x", "always:3"] {
        p.bad(&["run", "-d", &format!("--restart={bad}"), b, "true"], &["--restart"]);
    }
    p.bad(&["run", "-d", "--rm", "--restart=always", b, "true"], &["--rm", "--restart"]);
    p.ok(&["rm", "no", "twice", "well", "third"]);
    p.end();
}

/// In Docker `kill`, too: what ends of itself comes back, what somebody ends does not.
#[test]
fn kill_is_a_wish_that_it_ends() {
    let p = Place::new();
    p.go("on", &["--restart", "always"], "exec sleep 1000");
    let first = p.pid("on");
    p.ok(&["kill", "on"]);
    until("the end", || (p.pid("on") != first).then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(p.how("on"), "exited 137");
    p.ok(&["rm", "on"]);
    p.end();
}

#[test]
fn restarts_come_slower_and_slower() {
    let p = Place::new();
    p.go("back", &["--restart", "on-failure:4"], "exit 1");
    until("the end", || (p.field("back", "{{.RestartCount}} {{.State.Status}}") == "4 exited").then_some(()));
    let events = p.events("back");
    let times = |what: &str| events.iter().filter(|(_, w)| w == what).map(|(t, _)| *t).collect::<Vec<_>>();
    let (starts, ends) = (times("start"), times("die"));
    assert_eq!((starts.len(), ends.len()), (5, 5), "{events:?}");
    let pauses: Vec<_> = (0..4).map(|n| starts[n + 1] - ends[n]).collect();
    for (n, pause) in pauses.iter().enumerate() {
        let nominal = 0.1 * f64::from(1 << n);
        assert!(*pause >= nominal * 0.9 && *pause < nominal * 2.0 + 0.5, "pause {n}: {pauses:?}");
    }
    p.ok(&["rm", "back"]);
    p.end();
}

#[test]
fn one_that_is_about_to_come_back() {
    let p = Place::new();
    let rest = |name: &str| {
        p.go(name, &["--restart", "always"], "exit 9");
        // The later pauses are long enough to look at.
        until("a long pause", || {
            (p.field(name, "{{.RestartCount}} {{.State.Status}}") == "4 restarting").then_some(())
        });
    };
    rest("soon");
    assert_eq!(p.field("soon", "{{.State.Restarting}} {{.State.ExitCode}}"), "true 9");
    assert!(p.ok(&["ps", "--format", "{{.Status}}"]).starts_with("Restarting (9) "));
    p.bad(&["rm", "soon"], &["soon", "restarting"]);
    p.bad(&["pause", "soon"], &["soon"]);
    p.bad(&["exec", "soon", "true"], &["soon"]);
    p.ok(&["stop", "soon"]);
    assert_eq!(p.how("soon"), "exited 9");
    p.ok(&["rm", "soon"]);
    rest("soon");
    p.ok(&["rm", "-f", "soon"]);
    rest("soon");
    p.ok(&["restart", "soon"]);
    assert!(p.field("soon", "{{.RestartCount}}").parse::<u32>().unwrap() < 4);
    p.ok(&["rm", "-f", "soon"]);
    p.end();
}

/// The machine goes down: no process of any container and nothing in /run is left, and it is another boot.
fn reboot(p: &Place) {
    let records = || fs::read_dir(p.lasting().join("containers")).unwrap().flatten().map(|e| e.path().join("record"));
    for record in records() {
        let text = fs::read_to_string(&record).unwrap();
        let value = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(' ').map(str::to_owned));
        for pid in ["supervisor", "pid"].iter().filter_map(|key| value(key)?.parse::<i32>().ok()) {
            signal(pid, libc::SIGKILL);
            until("its end", || {
                fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |s| s.contains(") Z ")).then_some(())
            });
        }
        let changed: String = text
            .lines()
            .map(|l| {
                if l.starts_with("boot ") {
                    "boot 01234567-89ab-cdef-0123-456789abcdef\n".into()
                } else {
                    format!("{l}\n")
                }
            })
            .collect();
        fs::write(&record, changed).unwrap();
        for group in groups(&value("id").unwrap()) {
            until("the cgroup to be empty", || fs::remove_dir(&group).ok());
        }
    }
    fs::remove_dir_all(p.state()).unwrap();
}

/// The cgroups of a container.
fn groups(id: &str) -> Vec<PathBuf> {
    let place = Path::new("/sys/fs/cgroup");
    let all = fs::read_dir(place).unwrap().flatten().map(|e| e.path()).chain([place.to_owned()]);
    all.map(|hierarchy| hierarchy.join("ctr").join(id)).filter(|group| group.is_dir()).collect()
}

#[test]
fn after_a_reboot() {
    let p = Place::own("reboot");
    for (name, policy) in [("plain", "no"), ("ever", "always"), ("mine", "unless-stopped"), ("failed", "on-failure")]
    {
        p.polite(name, &["--restart", policy]);
    }
    for (name, policy) in
        [("stopped-ever", "always"), ("stopped-mine", "unless-stopped"), ("stopped-failed", "on-failure")]
    {
        p.polite(name, &["--restart", policy]);
        p.ok(&["stop", name]);
    }
    p.ok(&["create", "--name", "made", "--restart", "always", busybox(), "true"]);
    p.go("ended", &["--restart", "on-failure"], "echo x >/kept");
    p.becomes("ended", "exited 0");
    p.ok(&["exec", "plain", "touch", "/kept"]);
    p.go("loops", &["--restart", "always"], "exit 1");
    until("a long pause", || {
        (p.field("loops", "{{.RestartCount}} {{.State.Status}}") == "4 restarting").then_some(())
    });
    let strangers: Vec<_> = ["plain", "ever"].map(|name| p.pid(name)).into();
    reboot(&p);
    // What ran is listed as what it is: no more.
    assert_eq!(p.names(&[]), [""; 0]);
    assert_eq!(p.names(&["-a"]).len(), 10);
    for name in ["plain", "ever", "mine", "failed", "loops"] {
        let status = p.ok(&["ps", "-a", "--filter", &format!("name=^{name}$"), "--format", "{{.Status}} {{.State}}"]);
        assert!(status.starts_with("Exited (") && status.ends_with(" exited\n"), "{name}: {status}");
        assert_eq!(p.field(name, "{{.State.Running}} {{.State.Pid}}"), "false 0");
    }
    assert_eq!(p.how("stopped-mine"), "exited 3");
    assert!(strangers.iter().all(|pid| !Path::new(&format!("/proc/{pid}/exe")).exists()));
    // Those that asked for it come back; the others are as they were.
    let done = p.ctr(&["start", "--restart-policy"]).code(0);
    let came: BTreeSet<_> = done.out.lines().collect();
    assert_eq!(came, BTreeSet::from(["ever", "stopped-ever", "mine", "failed", "loops"]), "{done:?}");
    assert_eq!(p.names(&[]).into_iter().collect::<BTreeSet<_>>(), came.iter().map(|n| n.to_string()).collect());
    assert_eq!(
        [p.how("stopped-mine"), p.how("stopped-failed"), p.how("ended"), p.how("made")],
        ["exited 3", "exited 3", "exited 0", "created 0"]
    );
    // Once more does nothing.
    assert_eq!(p.ok(&["start", "--restart-policy"]), "");
    p.bad(&["start", "--restart-policy", "plain"], &["--restart-policy"]);
    // The rest by hand, with what they had written.
    p.ok(&["start", "plain"]);
    p.ok(&["exec", "plain", "test", "-e", "/kept"]);
    for name in p.names(&["-a"]) {
        let id = p.field(&name, "{{.Id}}");
        p.ok(&["rm", "-f", &name]);
        until("its cgroups to be gone", || groups(&id).is_empty().then_some(()));
    }
    p.end();
}

/// SIGTERM for everybody is how a machine goes down: nobody wished that they stay away.
#[test]
fn the_machine_goes_down_in_order() {
    let p = Place::own("shutdown");
    for (name, policy) in [("ever", "always"), ("mine", "unless-stopped"), ("plain", "no")] {
        p.polite(name, &["--restart", policy]);
        signal(p.field(name, "{{.Supervisor.Pid}}").parse().unwrap(), libc::SIGTERM);
        // Each had the time to end well, and was not started again.
        until("its supervisor's end", || (p.field(name, "{{.Supervisor.Alive}}") == "false").then_some(()));
        assert_eq!(p.how(name), "exited 3", "{name}");
    }
    reboot(&p);
    let came = p.ok(&["start", "--restart-policy"]);
    assert_eq!(came.lines().collect::<BTreeSet<_>>(), BTreeSet::from(["ever", "mine"]));
    p.ok(&["rm", "-f", "ever", "mine", "plain"]);
    p.end();
}

#[test]
fn one_whose_supervisor_was_killed() {
    let p = Place::new();
    let orphan = |name: &str, options: &[&str]| {
        p.polite(name, options);
        let supervisor = p.field(name, "{{.Supervisor.Pid}}").parse().unwrap();
        signal(supervisor, libc::SIGKILL);
        until("it to be seen", || (p.field(name, "{{.Supervisor.Alive}}") == "false").then_some(()));
    };
    orphan("lost", &[]);
    // It runs on, and that is said.
    assert_eq!(p.field("lost", "{{.State.Status}}"), "running");
    assert!(p.ok(&["ps", "--format", "{{.Status}}"]).contains("supervisor"));
    assert_eq!(p.ok(&["exec", "lost", "echo", "here"]), "here\n");
    p.bad(&["rm", "lost"], &["lost", "running"]);
    p.ok(&["pause", "lost"]);
    p.ok(&["unpause", "lost"]);
    p.ok(&["stop", "lost"]);
    let status = p.ok(&["ps", "-a", "--format", "{{.Status}}"]);
    assert!(status.starts_with("Exited ("), "{status}");
    p.ok(&["start", "lost"]);
    assert_eq!(p.how("lost"), "running 0");
    p.ok(&["rm", "-f", "lost"]);
    orphan("lost", &["--restart", "always"]);
    let first = p.pid("lost");
    p.ok(&["restart", "lost"]);
    assert_ne!(p.pid("lost"), first);
    assert_eq!(p.field("lost", "{{.Supervisor.Alive}}"), "true");
    p.ok(&["rm", "-f", "lost"]);
    orphan("lost", &[]);
    p.ok(&["rm", "-f", "lost"]);
    orphan("lost", &["--rm"]);
    p.ok(&["stop", "lost"]);
    assert_eq!(p.names(&["-a"]), [""; 0]);
    p.end();
}

// ---- health

#[test]
fn health_checks() {
    let p = Place::new();
    let often = ["--health-interval", "50ms", "--health-retries", "2"];
    let health = |name: &str| p.field(name, "{{.State.Health.Status}}");
    p.go("h", &[&["--health-cmd", "test -e /ok"][..], &often].concat(), "exec sleep 1000");
    assert_eq!(health("h"), "starting");
    until("unhealthy", || (health("h") == "unhealthy").then_some(()));
    assert!(p.field("h", "{{.State.Health.FailingStreak}}").parse::<u32>().unwrap() >= 2);
    assert!(p.ok(&["ps", "--format", "{{.Status}}"]).contains("(unhealthy)"));
    assert_eq!(p.names(&["--filter", "health=unhealthy"]), ["h"]);
    p.ok(&["exec", "h", "touch", "/ok"]);
    until("healthy", || (health("h") == "healthy").then_some(()));
    assert!(p.ok(&["ps", "--format", "{{.Status}}"]).contains("(healthy)"));
    // Begins anew.
    p.ctr(&["restart", "-t0", "h"]).code(0);
    until("healthy again", || (health("h") == "healthy").then_some(()));
    p.ok(&["rm", "-f", "h"]);
    // A check that takes too long has failed, and leaves no process.
    p.go(
        "slow",
        &[&["--health-cmd", "sleep 1000", "--health-timeout", "50ms"][..], &often].concat(),
        "exec sleep 2000",
    );
    until("unhealthy", || (health("slow") == "unhealthy").then_some(()));
    p.ctr(&["stop", "-t0", "slow"]).code(0);
    p.ok(&["rm", "slow"]);
    // During the start period failures do not count.
    p.go(
        "young",
        &[&["--health-cmd", "test -e /ok", "--health-start-period", "1h"][..], &often].concat(),
        "exec sleep 1000",
    );
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(health("young"), "starting");
    p.ok(&["exec", "young", "touch", "/ok"]);
    until("healthy", || (health("young") == "healthy").then_some(()));
    // None at all.
    p.go("none", &[], "exec sleep 1000");
    assert_eq!(p.names(&["--filter", "health=none"]), ["none"]);
    p.ok(&["rm", "-f", "young", "none"]);
    let b = busybox();
    for bad in [
        &["--health-interval", "1s"][..],
        &["--health-cmd", "true", "--health-interval", "soon"],
        &["--health-cmd", "true", "--health-retries", "0"],
        &["--health-cmd", "true", "--health-timeout", "-1s"],
    ] {
        p.bad(&[&["run", "-d"], bad, &[b, "true"]].concat(), &["--health"]);
    }
    let events: Vec<_> =
        p.events("h").into_iter().map(|(_, what)| what).filter(|w| w.starts_with("health")).collect();
    assert_eq!(events, ["health_status: unhealthy", "health_status: healthy", "health_status: healthy"]);
    p.end();
}

// ---- what is there

#[test]
fn ps_lists_filters_and_formats() {
    let p = Place::new();
    let b = busybox();
    let ids = [
        p.ok(&["create", "--name", "made", "-l", "app=shop", "-l", "flag", b, "true"]),
        p.go("ended", &["-l", "app=shop", "-l", "tier=db"], "echo $(seq 5000) >/big; exit 3"),
        p.polite("web-1", &["-l", "app=blog"]),
        p.polite("web-2", &[]),
    ];
    p.becomes("ended", "exited 3");
    let all = ["web-2", "web-1", "ended", "made"];
    // The newest first.
    assert_eq!(p.names(&["-a"]), all);
    assert_eq!(p.names(&["--all"]), all);
    assert_eq!(p.names(&[]), ["web-2", "web-1"]);
    for (words, wanted) in [
        (&["-l"][..], &["web-2"][..]),
        (&["--latest"], &["web-2"]),
        (&["-n", "3"], &["web-2", "web-1", "ended"]),
        (&["--last=9"], &all),
        (&["-n", "-1"], &["web-2", "web-1"]),
        (&["--filter", "name=web"], &["web-2", "web-1"]),
        (&["-f", "name=^web-1$"], &["web-1"]),
        (&["-a", "-f", "name=e"], &all),
        (&["-a", "-f", "name=made", "-f", "name=ended"], &["ended", "made"]),
        (&["-f", "status=exited"], &["ended"]),
        (&["-f", "status=created", "-f", "status=exited"], &["ended", "made"]),
        (&["-a", "-f", "status=running"], &["web-2", "web-1"]),
        (&["-f", "exited=3"], &["ended"]),
        (&["-f", "exited=0"], &[]),
        (&["-a", "-f", "label=app"], &["web-1", "ended", "made"]),
        (&["-a", "-f", "label=app=shop"], &["ended", "made"]),
        (&["-a", "-f", "label=app=shop", "-f", "label=flag"], &["made"]),
        (&["-f", "label=app=shop"], &[]),
        (&["-a", "-f", "before=web-1"], &["ended", "made"]),
        (&["-a", "-f", "since=ended"], &["web-2", "web-1"]),
        (&["-a", "-f", "id=zz"], &[]),
        (&["-a", "-f", "health=healthy"], &[]),
    ] {
        assert_eq!(p.names(words), wanted, "{words:?}");
    }
    assert_eq!(p.names(&["-a", "-f", &format!("id={}", &ids[1][..12])]), ["ended"]);
    assert_eq!(p.names(&["-a", "-f", &format!("ancestor={b}")]), all);
    // -q: ids, short or whole.
    let short: String = ids.iter().rev().map(|id| format!("{}\n", &id[..12])).collect();
    assert_eq!(p.ok(&["ps", "-aq"]), short);
    let whole: String = ids.iter().rev().map(|id| format!("{}\n", id.trim_end())).collect();
    assert_eq!(p.ok(&["ps", "-aq", "--no-trunc"]), whole);
    // The table of everyday.
    let table = p.ok(&["ps", "-a"]);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 5, "{table}");
    assert_eq!(
        lines[0].split("  ").map(str::trim).filter(|w| !w.is_empty()).collect::<Vec<_>>(),
        ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    );
    assert!(
        lines[1].starts_with(&ids[3][..12]) && lines[1].ends_with("web-2") && lines[1].contains(" Up "),
        "{table}"
    );
    assert!(lines[1].contains("\"sh -c ") && lines[1].contains("…\""), "{table}");
    assert!(p.ok(&["ps", "-a", "--no-trunc"]).contains(&format!("\"sh -c {POLITE}\"")));
    // -s: what each has written.
    let size = p.ok(&["ps", "-a", "-s", "--format", "{{.Names}} {{.Size}}"]);
    let of = |name: &str| size.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
    assert!(of("ended").ends_with("kB") && of("made") == "0B", "{size}");
    assert!(p.ok(&["ps", "-as"]).lines().next().unwrap().contains("SIZE"));
    // Formats.
    assert_eq!(
        p.ok(&["ps", "--format", "table {{.Names}}\\t{{.State}}"]),
        "NAMES     STATE\nweb-2     running\nweb-1     running\n"
    );
    assert_eq!(
        p.ok(&["ps", "-a", "-n2", "--format", "{{.Names}}:{{.Label \"app\"}}:{{json .State}}"]),
        "web-2::\"running\"\nweb-1:blog:\"running\"\n"
    );
    let json = p.ok(&["ps", "-a", "--format", "json"]);
    assert_eq!(json.lines().count(), 4);
    for (line, name) in json.lines().zip(all) {
        assert!(
            line.starts_with('{') && line.ends_with('}') && line.contains(&format!("\"Names\":\"{name}\"")),
            "{line}"
        );
    }
    assert!(
        json.contains("\"Labels\":\"app=shop,flag=\"") || json.contains("\"Labels\":\"flag=,app=shop\""),
        "{json}"
    );
    // Bad ones.
    for (bad, says) in [
        (&["ps", "--filter", "nonsense=1"][..], "nonsense"),
        (&["ps", "--filter", "nam=web"], "name"),
        (&["ps", "--filter", "name"], "name"),
        (&["ps", "--filter", "status=asleep"], "asleep"),
        (&["ps", "--filter", "exited=many"], "many"),
        (&["ps", "--filter", "health=fine"], "fine"),
        (&["ps", "--filter", "before=nosuch"], "nosuch"),
        (&["ps", "--format", "{{.Names"], "format"),
        (&["ps", "--format", "{{.NoSuch}}"], "NoSuch"),
        (&["ps", "--format", "{{nosuch .Names}}"], "nosuch"),
        (&["ps", "-n", "x"], "x"),
        (&["ps", "-n", "-2"], "-2"),
        (&["ps", "web-1"], "ps"),
        (&["ps", "--nosuch"], "--nosuch"),
    ] {
        p.bad(bad, &[says]);
    }
    p.ok(&["rm", "-f", "made", "ended", "web-1", "web-2"]);
    p.end();
}

#[test]
fn inspect_says_everything() {
    let p = Place::new();
    let place = Scratch::new("inspect");
    fs::write(place.join("labels"), "# some\nfrom=file\n\nempty=\n").unwrap();
    let labels = place.join("labels").display().to_string();
    let volume = format!("{}:/v:ro", place.path().display());
    let id = p.go(
        "all",
        &[
            "-l",
            "a=b c",
            "--label-file",
            &labels,
            "-e",
            "KEY=a \"value\"",
            "-w",
            "/tmp",
            "-h",
            "box",
            "-u",
            "web",
            "-v",
            &volume,
            "--restart",
            "on-failure:3",
            "--stop-signal",
            "INT",
            "--stop-timeout",
            "4",
            "--init",
            "--read-only",
            "--tmpfs",
            "/t",
            "--ulimit",
            "nofile=64:65",
            "--log-opt",
            "max-size=1m",
        ],
        "exec sleep 1000",
    );
    for (template, wanted) in [
        ("{{.Id}}", id.as_str()),
        ("{{.Name}}", "/all"),
        ("{{.Path}} {{.Args}}", "sh [-c exec sleep 1000]"),
        ("{{json .Config.Cmd}}", "[\"sh\",\"-c\",\"exec sleep 1000\"]"),
        ("{{index .Config.Labels \"a\"}}/{{index .Config.Labels \"from\"}}", "b c/file"),
        ("{{len .Config.Labels}}", "3"),
        ("{{.Config.Hostname}} {{.Config.User}} {{.Config.WorkingDir}}", "box web /tmp"),
        ("{{range .Config.Env}}{{.}}{{end}}", "KEY=a \"value\""),
        ("{{.Config.StopSignal}} {{.Config.StopTimeout}}", "INT 4"),
        ("{{.HostConfig.RestartPolicy.Name}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}}", "on-failure:3"),
        ("{{.HostConfig.Init}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.AutoRemove}}", "true true false"),
        ("{{range .Mounts}}{{if eq .Type \"bind\"}}{{.Destination}} {{.RW}};{{end}}{{end}}", "/v false;"),
        ("{{.State.Status}} {{.State.Running}} {{.State.ExitCode}}", "running true 0"),
        ("{{if gt .State.Pid 0}}lives{{else}}dead{{end}}", "lives"),
        ("{{.Image}}", busybox()),
    ] {
        assert_eq!(p.field("all", template), wanted, "{template}");
    }
    let text = p.ok(&["inspect", "all"]);
    assert!(text.starts_with("[\n    {\n") && text.ends_with("\n]\n"), "{text}");
    assert_eq!(p.ok(&["inspect", "-f", "json", "all"]).lines().count(), 1);
    p.ok(&["create", "--name", "two", busybox(), "true"]);
    assert_eq!(p.ok(&["inspect", "-f", "{{.Name}}", "all", "two"]), "/all\n/two\n");
    let done = p.ctr(&["inspect", "-f", "{{.Name}}", "all", "nosuch", "two"]).code(1);
    assert_eq!((done.out.as_str(), done.err.lines().count()), ("/all\n/two\n", 1));
    assert!(p.ok(&["inspect", "-s", "two"]).contains("\"SizeRw\""));
    for bad in [
        &["inspect"][..],
        &["inspect", "nosuch"],
        &["inspect", "-f", "{{", "all"],
        &["inspect", "-f", "{{.No.Such}}", "all"],
        &["inspect", "--type", "image", "all"],
    ] {
        p.bad(bad, &[]);
    }
    p.ok(&["rm", "-f", "all", "two"]);
    // Bad labels.
    for bad in [
        &["-l", "=x"][..],
        &["-l", ""],
        &["--label-file", "/no/such"],
        &["--stop-signal", "NONE"],
        &["--stop-timeout", "long"],
    ] {
        p.bad(&[&["create"], bad, &[busybox(), "true"]].concat(), &[]);
    }
    p.end();
}

#[test]
fn info_counts() {
    let p = Place::new();
    p.ok(&["create", "--name", "a", busybox(), "true"]);
    p.polite("b", &[]);
    p.polite("c", &[]);
    p.ok(&["pause", "c"]);
    let template = "{{.Containers}} {{.ContainersRunning}} {{.ContainersPaused}} {{.ContainersStopped}}";
    assert_eq!(p.ok(&["info", "--format", template]), "3 1 1 1\n");
    let text = p.ok(&["info"]);
    assert!(text.contains("Containers: 3\n") && text.contains(p.lasting().to_str().unwrap()), "{text}");
    assert!(p.ok(&["info", "--format", "json"]).starts_with("{\""));
    p.bad(&["info", "x"], &[]);
    p.bad(&["info", "--format", "{{.Nosuch}}"], &["Nosuch"]);
    p.ok(&["rm", "-f", "a", "b", "c"]);
    p.end();
}

#[test]
fn prune_removes_what_does_not_run() {
    let p = Place::new();
    p.ok(&["create", "--name", "made", "-l", "keep", busybox(), "true"]);
    p.go("ended", &[], "head -c 100000 /dev/zero >/big");
    p.becomes("ended", "exited 0");
    p.polite("runs", &[]);
    let ended = p.field("ended", "{{.Id}}");
    // Asked first.
    for answer in ["n\n", "", "what\n"] {
        let done = feed(&mut p.command(&["prune"]), answer.as_bytes()).code(0);
        assert!(done.err.contains("[y/N]") && !done.out.contains(&ended), "{done:?}");
        assert_eq!(p.names(&["-a"]).len(), 3);
    }
    for (filter, left) in [("until=24h", 3), ("label=nosuch", 3), ("until=2001-01-01", 3), ("label!=keep", 2)] {
        p.ok(&["prune", "-f", "--filter", filter]);
        assert_eq!(p.names(&["-a"]).len(), left, "{filter}");
    }
    p.go("ended", &[], "head -c 100000 /dev/zero >/big");
    p.becomes("ended", "exited 0");
    let ended = p.field("ended", "{{.Id}}");
    let done = feed(&mut p.command(&["prune"]), b"y\n").code(0);
    assert!(done.out.starts_with("Deleted Containers:\n") && done.out.contains(&ended), "{done:?}");
    let freed = done.out.lines().last().unwrap().strip_prefix("Total reclaimed space: ").unwrap().to_owned();
    assert!(freed.ends_with("kB") && freed.starts_with('1'), "{freed}");
    assert_eq!(p.names(&["-a"]), ["runs"]);
    assert_eq!(p.ok(&["prune", "--force"]), "Total reclaimed space: 0B\n");
    for bad in [
        &["prune", "-f", "--filter", "until=yesterday-ish"][..],
        &["prune", "-f", "--filter", "nosuch=1"],
        &["prune", "-f", "x"],
    ] {
        p.bad(bad, &[]);
    }
    p.ok(&["rm", "-f", "runs"]);
    p.end();
}

#[test]
fn top_lists_the_processes() {
    let p = Place::new();
    p.go("t", &["-u", "web"], "sleep 1001 & exec sleep 1000");
    until("both", || (p.ok(&["top", "t"]).lines().count() == 3).then_some(()));
    let text = p.ok(&["top", "t"]);
    let titles: Vec<_> = text.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(titles, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    until("sleep", || p.ok(&["top", "t"]).contains("sleep 1000\n").then_some(()));
    let text = p.ok(&["top", "t"]);
    assert!(text.contains("sleep 1001\n") && text.contains(&format!(" {} ", p.pid("t"))), "{text}");
    assert_eq!(
        p.ok(&["top", "t", "-o", "pid,args"]).lines().next().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["PID", "ARGS"].map(|t| t)
    );
    p.bad(&["top"], &[]);
    p.bad(&["top", "nosuch"], &["nosuch"]);
    p.bad(&["top", "t", "-o", "nosuch"], &["nosuch"]);
    p.ok(&["rm", "-f", "t"]);
    p.end();
}

#[test]
fn events_tell_what_happens() {
    let p = Place::new();
    let mut lines = Live::start(&mut p.command(&["events"]));
    let mut json = Live::start(&mut p.command(&["events", "--format", "json"]));
    let mut some = Live::start(&mut p.command(&[
        "events",
        "-f",
        "event=die",
        "-f",
        "container=my-e",
        "--format",
        "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}",
    ]));
    for live in [&lines, &json, &some] {
        // It watches before it is told anything.
        until("the watch", || {
            let fds = fs::read_dir(format!("/proc/{}/fd", live.pid())).ok()?;
            fds.flatten()
                .any(|e| fs::read_link(e.path()).is_ok_and(|l| l.to_string_lossy().contains("inotify")))
                .then_some(())
        });
    }
    std::thread::sleep(Duration::from_millis(50));
    let id = p.ok(&["create", "--name", "my-e", "-l", "app=my shop", busybox(), "sh", "-c", POLITE]);
    let id = id.trim_end();
    p.ok(&["start", "my-e"]);
    p.catches("my-e", libc::SIGTERM);
    p.ok(&["pause", "my-e"]);
    p.ok(&["unpause", "my-e"]);
    p.ok(&["rename", "my-e", "f"]);
    p.ok(&["rename", "f", "my-e"]);
    p.ok(&["kill", "-s", "WINCH", "my-e"]);
    p.ok(&["stop", "my-e"]);
    p.ok(&["rm", "my-e"]);
    for what in ["create", "start", "pause", "unpause", "rename", "rename", "kill", "die", "stop", "destroy"] {
        let line = lines.line();
        let rest = line.split_once(' ').unwrap().1;
        let name = if what == "rename" && !line.contains("oldName=f") { "f" } else { "my-e" };
        assert!(line.starts_with("20") && rest.starts_with(&format!("container {what} {id} (")), "{what}: {line}");
        assert!(line.contains(&format!("name={name}")) && line.contains("app=my shop"), "{what}: {line}");
        let line = json.line();
        for part in [
            format!("\"Action\":\"{what}\""),
            format!("\"ID\":\"{id}\""),
            "\"Type\":\"container\"".into(),
            "\"timeNano\":".into(),
            "\"app\":\"my shop\"".into(),
        ] {
            assert!(line.contains(&part), "no {part} in {line}");
        }
        if what == "die" {
            assert!(line.contains("\"exitCode\":\"3\""), "{line}");
        }
    }
    assert_eq!(some.line(), "die my-e 3");
    // Those that end with their `ctr run --rm` as well.
    within(&mut ctr(["run", "--name", "brief", busybox(), "true"])).code(0);
    assert!(lines.line().contains(" container start "));
    assert!(lines.line().contains(" container die "));
    for live in [lines, json, some] {
        live.signal(libc::SIGTERM);
        live.done().code(143);
    }
    // What was, of one container, until now.
    let what: Vec<_> = p.events("my-e").into_iter().map(|(_, what)| what).collect();
    assert!(what.ends_with(&["stop".to_owned(), "destroy".to_owned()]), "{what:?}");
    // --until ends it; a reader that goes, too.
    assert_eq!(p.ok(&["events", "--until", "0s"]), "");
    for (bad, says) in [
        (&["events", "--since", "yesterday-ish"][..], "yesterday-ish"),
        (&["events", "--until", "soon"], "soon"),
        (&["events", "--filter", "nosuch=1"], "nosuch"),
        (&["events", "--filter", "event"], "event"),
        (&["events", "--format", "{{"], "format"),
        (&["events", "x"], "events"),
    ] {
        p.bad(bad, &[says]);
    }
    p.end();
}

#[test]
fn a_missing_key_of_a_map_is_no_error() {
    let p = Place::new();
    p.go("m", &["-l", "app=shop"], "exit 3");
    p.becomes("m", "exited 3");
    for template in ["{{index .Config.Labels \"nosuch\"}}", "{{.Config.Labels.nosuch}}"] {
        let said = p.field("m", template);
        assert!(["", "<no value>"].contains(&said.as_str()), "{template}: {said}");
    }
    assert_eq!(p.field("m", "{{.Config.Labels.app}}"), "shop");
    assert_eq!(p.ok(&["ps", "-a", "--format", "{{.Label \"nosuch\"}};"]), ";\n");
    let template = "{{.Action}} {{.Actor.Attributes.exitCode}}";
    let out = p.ok(&["events", "--since", "1h", "--until", "0s", "-f", "container=m", "--format", template]);
    let out = out.replace("<no value>", "");
    assert_eq!(out, "create \nstart \ndie 3\n");
    p.ok(&["rm", "m"]);
    p.end();
}

#[test]
fn logs_that_cannot_be_asked_for() {
    let p = Place::new();
    p.go("l", &[], "seq 5; seq 6 8 >&2");
    p.becomes("l", "exited 0");
    let done = p.ctr(&["logs", "l"]).code(0);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("1\n2\n3\n4\n5\n", "6\n7\n8\n"));
    let done = p.ctr(&["logs", "--tail", "2", "l"]).code(0);
    assert_eq!(done.out.lines().count() + done.err.lines().count(), 2);
    assert_eq!(p.ok(&["logs", "-n0", "l"]), "");
    for (bad, says) in [
        (&["logs"][..], "CONTAINER"),
        (&["logs", "nosuch"], "nosuch"),
        (&["logs", "--tail", "-1", "l"], "--tail"),
        (&["logs", "--tail", "x", "l"], "x"),
        (&["logs", "--since", "yesterday-ish", "l"], "yesterday-ish"),
        (&["logs", "--until", "tomorrow", "l"], "tomorrow"),
        (&["logs", "l", "l"], "one"),
    ] {
        p.bad(bad, &[says]);
    }
    p.ok(&["rm", "l"]);
    p.end();
}

// ---- many at once

#[test]
fn many_commands_at_once_do_not_get_in_each_others_way() {
    let p = Place::new();
    // One name: one gets it.
    let all: Vec<_> = (0..12)
        .map(|_| Live::start(&mut p.command(&["create", "--name", "one", busybox(), "sleep", "1000"])))
        .collect();
    let codes: Vec<_> = all.into_iter().map(|live| live.done().code).collect();
    assert_eq!(codes.iter().filter(|c| **c == 0).count(), 1, "{codes:?}");
    assert!(codes.iter().all(|c| [0, 125].contains(c)), "{codes:?}");
    // One container: every verb either does its work or says why not.
    for round in 0..4 {
        let verbs = ["start", "stop -t0", "restart -t0", "kill", "pause", "unpause", "start", "inspect", "top", "rm"];
        let all: Vec<_> = verbs
            .iter()
            .map(|verb| {
                let words: Vec<_> = verb.split(' ').chain(["one"]).collect();
                (verb, Live::start(&mut p.command(&words)))
            })
            .collect();
        for (verb, live) in all {
            eprintln!("round {round}: {verb}");
            let done = live.done();
            assert!([0, 125].contains(&done.code), "{verb}: {done:?}");
            // One line, and perhaps one before it about a PID 1 that does not listen.
            assert!(done.code == 0 || !done.err.is_empty(), "{verb}: {done:?}");
            assert!(done.err.lines().all(|line| line.starts_with("ctr: ")), "{verb}: {done:?}");
        }
        // The truth afterwards.
        let names = p.names(&["-a"]);
        assert!(names.len() <= 1, "{names:?}");
        if names.is_empty() {
            p.ok(&["create", "--name", "one", busybox(), "sleep", "1000"]);
        }
        let state = p.field("one", "{{.State.Status}}");
        assert!(["created", "running", "paused", "exited"].contains(&state.as_str()), "round {round}: {state}");
        p.ctr(&["start", "one"]);
        p.ctr(&["unpause", "one"]);
        p.ctr(&["stop", "-t0", "one"]).code(0);
        assert!(["exited", "created"].contains(&p.field("one", "{{.State.Status}}").as_str()));
    }
    p.ok(&["rm", "-f", "one"]);
    p.end();
}
