//! `ctr attach`: taking part in a container's output and input, leaving it, and being no burden to it. And what is attached from
//! the beginning: a `ctr run` that stays in the foreground.

use std::fs::{self, File};
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::exec::{Resident, gone};
use crate::kills::start;
use crate::support::{Done, Host, Live, Scratch, busybox, ctr_path, plain, signal, until, within};
use crate::terminal::Pty;

/// Answers each line, says something all the time (so that a test can tell when it is connected), and ends when told.
const TALK: &str = "trap 'echo got TERM' TERM; trap 'echo got INT' INT; trap 'echo got USR1' USR1; \
                    (while echo tick; do sleep 0.02; done) & \
                    while :; do if read line; then case $line in end*) kill $!; exit ${line#end };; err*) echo $line >&2;; *) echo got $line;; esac; fi; done";

impl Resident {
    fn attach(&self, options: &[&str]) -> Live {
        Live::start(plain(["attach"]).args(options).arg(&self.0))
    }

    /// Is attached, and hears.
    #[track_caller]
    fn connected(&self, options: &[&str]) -> Live {
        let mut live = self.attach(options);
        live.hear("tick\n");
        live
    }

    #[track_caller]
    fn runs(&self) -> bool {
        self.ask("{{.State.Running}}") == "true"
    }

    #[track_caller]
    fn ended(&self) {
        until("its end", || (!self.runs()).then_some(()));
    }
}

#[test]
fn output_input_and_exit_code() {
    let host = start();
    for mode in [&[][..], &["--userns=auto"], &["--init"], &["--pid=host", "--userns=host"]] {
        let c = Resident::new("talk", &[&["-i"], mode].concat(), &["sh", "-c", TALK]);
        let mut live = c.connected(&[]);
        live.say("one\n");
        live.hear("got one\n");
        live.say("err two\n");
        live.hear_err("err two\n");
        // By its id as well, and meanwhile.
        let id = c.ask("{{.Id}}");
        let mut second = Live::start(&mut plain(["attach", &id[..12]]));
        second.hear("tick\n");
        second.say("three\n");
        second.hear("got three\n");
        live.hear("got three\n");
        second.say("end 7\n");
        // Both are told how it ended.
        let done = second.done().code(7);
        assert_eq!(done.err, "");
        let done = live.done().code(7);
        assert_eq!(done.err, "err two\n");
        c.ended();
        drop(c);
        host.same_soon();
    }
    host.same();
}

/// As `docker run -di`: whoever comes and goes, its input stays open.
#[test]
fn the_end_of_a_clients_input_is_not_that_of_the_container() {
    let host = start();
    let c = Resident::new("input", &["-i"], &["sh", "-c", TALK]);
    let mut live = c.connected(&[]);
    live.say("first\n");
    live.hear("got first\n");
    live.hush();
    // Its output goes on.
    live.hear("tick\n");
    live.hear("tick\n");
    let mut second = c.connected(&[]);
    second.say("second\n");
    live.hear("got second\n");
    live.signal(libc::SIGKILL);
    second.hear("got second\n");
    second.say("end 3\n");
    second.done().code(3);
    drop((live, c));
    host.same_soon();
    host.same();
}

#[test]
fn its_output_alone() {
    let host = start();
    let c = Resident::new("deaf", &["-i"], &["sh", "-c", TALK]);
    let mut deaf = c.connected(&["--no-stdin"]);
    deaf.say("from the deaf\n");
    let mut live = c.connected(&[]);
    live.say("from the other\n");
    let before = deaf.hear("got from the other\n");
    assert!(!before.contains("from the deaf"), "{before}");
    live.say("end 0\n");
    let said = deaf.done().code(0).out;
    assert!(!said.contains("from the deaf"));
    live.done().code(0);
    drop(c);
    // One that has no input anyway.
    let c = Resident::new("deaf", &[], &["sh", "-c", "cat; while :; do echo tick; sleep 0.02; done"]);
    let mut live = c.connected(&[]);
    live.say("words\n");
    live.hear("tick\n");
    c.verb(&["kill"]);
    let done = live.done().code(137);
    assert!(!done.out.contains("words"));
    drop(c);
    host.same_soon();
    host.same();
}

#[test]
fn signals_are_passed_on_or_not() {
    let host = start();
    let c = Resident::new("proxy", &["-i"], &["sh", "-c", TALK]);
    for options in [&[][..], &["--sig-proxy=true"], &["--sig-proxy=1"]] {
        let mut live = c.connected(options);
        for (number, name) in [(libc::SIGTERM, "TERM"), (libc::SIGINT, "INT"), (libc::SIGUSR1, "USR1")] {
            live.signal(number);
            live.hear(&format!("got {name}\n"));
        }
        live.signal(libc::SIGKILL);
        drop(live);
    }
    // Otherwise they are for ctr itself, which ends of them; and nobody else does.
    for number in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let live = c.connected(&["--sig-proxy=false"]);
        let mut other = c.connected(&[]);
        live.signal(number);
        let pid = live.pid();
        until("the end of attach", || gone(pid).then_some(()));
        live.done().code(128 + number);
        other.say("still there\n");
        let said = other.hear("got still there\n");
        assert!(!said.contains("got TERM") && !said.contains("got INT"), "{said}");
        other.signal(libc::SIGKILL);
        drop(other);
    }
    drop(c);
    host.same_soon();
    host.same();
}

#[test]
fn bad_words() {
    let host = start();
    let attach = |words: &[&str]| within(plain(["attach"]).args(words));
    attach(&[]).refused(&["CONTAINER"]);
    attach(&["no-such-name"]).refused(&["no-such-name", "ctr ps"]);
    let c = Resident::idle("words", &[]);
    attach(&["words", "words"]).refused(&["one CONTAINER"]);
    attach(&["--sig-proxy=perhaps", "words"]).refused(&["--sig-proxy", "perhaps"]);
    for keys in ["", "ctrl-", "alt-x", "ab", ",", "ctrl-p,", "ctrl-1", "ctrl-pp"] {
        attach(&[&format!("--detach-keys={keys}"), "words"]).refused(&["--detach-keys"]);
        within(&mut plain(["run", "-d", &format!("--detach-keys={keys}"), busybox(), "true"]))
            .refused(&["--detach-keys"]);
    }
    c.verb(&["pause"]);
    attach(&["words"]).refused(&["words", "paused", "ctr unpause words"]);
    c.verb(&["unpause"]);
    c.verb(&["kill"]);
    c.ended();
    attach(&["words"]).refused(&["words", "ctr start words"]);
    drop(c);
    let c = Resident("words".into());
    within(&mut plain(["create", "--name=words", busybox(), "true"])).code(0);
    attach(&["words"]).refused(&["words", "ctr start words"]);
    drop(c);
    // One with a terminal, and we have none.
    let mut pty = on_a_terminal(&["run", "-dit", "--name=words", busybox(), "cat"]);
    assert_eq!(pty.end().1, 0);
    let c = Resident("words".into());
    attach(&["words"]).refused(&["terminal"]);
    drop((c, pty));
    // One whose output is its own ctr's alone.
    let mut live =
        Live::start(&mut plain(["run", "--rm", "--name=words", busybox(), "sh", "-c", "echo up; exec sleep 1000"]));
    live.hear("up\n");
    let done = attach(&["words"]).code(125);
    assert!(done.out.is_empty() && done.err.contains("--rm") && done.err.contains("foreground"), "{done:#?}");
    live.signal(libc::SIGKILL);
    drop(live);
    within(&mut plain(["run", "--rm", busybox(), "true"])).code(0);
    host.same_soon();
    host.same();
}

/// `ctr WORDS…` on a terminal of 33 × 111.
fn on_a_terminal(words: &[&str]) -> Pty {
    let ctr = ctr_path().display().to_string();
    Pty::start("exec \"$@\"", &[&[ctr.as_str()], words].concat(), 33, 111)
}

/// A signal that interrupts `read` is no end of the input, but busybox answers 1 to both: three in a row are one.
const SHELL: &str = "echo ready; n=0; while [ $n -lt 3 ]; do if read line; then n=0; eval \"$line\"; else n=$((n+1)); fi; done; exit 5";

/// A shell on a terminal of its own, in the background.
fn with_terminal(name: &str, options: &[&str]) -> Resident {
    // A size has to come from somewhere.
    let mut pty =
        on_a_terminal(&[&["run", "-dit", "--name", name], options, &[busybox(), "sh", "-c", SHELL]].concat());
    let (shown, code) = pty.end();
    assert_eq!(code, 0, "{shown:?}");
    Resident(name.into())
}

#[test]
fn keys_that_leave_it() {
    let host = start();
    for (options, keys) in [
        (&[][..], &b"\x10\x11"[..]),
        (&["--detach-keys=ctrl-p,ctrl-q"], b"\x10\x11"),
        (&["--detach-keys=ctrl-a,d"], b"\x01d"),
        (&["--detach-keys", "ctrl-]"], b"\x1d"),
        (&["--detach-keys=ctrl-x,x,ctrl-x"], b"\x18x\x18"),
        (&["--detach-keys=q,u,i,t"], b"quit"),
    ] {
        let c = with_terminal("keys", &[]);
        // All at once, and one by one.
        for piecemeal in [false, true] {
            let mut pty = on_a_terminal(&[&["attach"], options, &["keys"]].concat());
            until("an answer", || {
                pty.enter("echo he''re\n");
                pty.hear("he''re");
                pty.hear("here").contains("\n").then_some(())
            });
            // The first of them alone is not meant.
            if keys.len() > 1 && keys[0] != b'q' {
                pty.enter([keys[0]]);
                pty.enter("\n");
            }
            pty.enter("echo st''ill\n");
            pty.hear("still\r\n");
            if piecemeal {
                for key in keys {
                    pty.enter([*key]);
                    std::thread::sleep(Duration::from_millis(5));
                }
            } else {
                pty.enter(keys);
            }
            let (shown, code) = pty.end();
            assert_eq!(code, 0, "{options:?}: {shown:?}");
            assert!(!pty.modes().raw());
            assert!(c.runs());
        }
        // Its exit code, for whoever is there at the end.
        let mut pty = on_a_terminal(&["attach", "keys"]);
        pty.enter("\nexit 9\n");
        let (shown, code) = pty.end();
        assert_eq!(code, 9, "{shown:?}");
        drop((pty, c));
        host.same_soon();
    }
    host.same();
}

#[test]
fn a_terminal_of_its_own() {
    let host = start();
    let c = with_terminal("tty", &[]);
    let mut pty = on_a_terminal(&["attach", "tty"]);
    // What is typed comes back as si''ze, once or twice: the answer is another.
    pty.enter("echo si''ze:$(stty size).\n");
    pty.hear("size:");
    assert_eq!(pty.hear("."), "33 111");
    let modes = pty.modes();
    assert!(modes.raw());
    pty.resize(50, 132);
    until("the new size", || {
        pty.enter("echo si''ze:$(stty size).\n");
        pty.hear("size:");
        (pty.hear(".") == "50 132").then_some(())
    });
    // A second one on another terminal sees the same, and so does the first what the second types.
    let mut second = on_a_terminal(&["attach", "tty"]);
    until("both to hear", || {
        second.enter("echo fr''om second\n");
        pty.hear("from second\r\n");
        second.hear("from second\r\n");
        Some(())
    });
    // Ctrl-C goes in as it is, and the container's terminal makes the signal of it.
    pty.enter("trap 'echo cau''ght' INT; echo trap''ped\n");
    pty.hear("trapped\r\n");
    pty.enter([3]);
    pty.enter("\n");
    pty.hear("caught\r\n");
    // Killed: the terminal is put back, and neither the other nor the container notices.
    signal(pty.pid, libc::SIGKILL);
    assert_eq!(pty.end().1, 137);
    until("the terminal to be put back", || (!pty.modes().raw()).then_some(()));
    second.enter("echo st''ill\n");
    second.hear("still\r\n");
    // The window is closed.
    let pid = second.pid;
    crate::terminal::drop_terminal(second);
    until("the end of attach", || gone(pid).then_some(()));
    assert!(c.runs());
    let mut third = on_a_terminal(&["attach", "tty"]);
    third.enter("echo th''ird; exit 4\n");
    third.hear("third\r\n");
    assert_eq!(third.end().1, 4);
    assert!(!third.modes().raw());
    drop((pty, third, c));
    host.same_soon();
    host.same();
}

/// `ctr run -it`, left by its keys.
#[test]
fn a_foreground_run_is_left_and_found_again() {
    let host = start();
    for (options, keys) in [
        (&[][..], &b"\x10\x11"[..]),
        (&["--detach-keys=ctrl-a,d"], b"\x01d"),
        (&["--userns=auto", "--init"], b"\x10\x11"),
    ] {
        let c = Resident("left".into());
        let mut pty =
            on_a_terminal(&[&["run", "-it", "--name=left"], options, &[busybox(), "sh", "-c", SHELL]].concat());
        pty.hear("ready\r\n");
        pty.enter("kept=value\n");
        pty.enter("echo fi''rst\n");
        pty.hear("first\r\n");
        let run = pty.pid;
        pty.enter(keys);
        let (shown, code) = pty.end();
        assert_eq!(code, 0, "{shown:?}");
        assert!(gone(run) && !pty.modes().raw());
        assert!(c.runs());
        let mut again = on_a_terminal(&["attach", "left"]);
        again.enter("echo $kept again; exit 6\n");
        again.hear("value again\r\n");
        assert_eq!(again.end().1, 6);
        c.ended();
        assert_eq!(c.ask("{{.State.ExitCode}}"), "6");
        drop((pty, again, c));
        host.same_soon();
    }
    host.same();
}

/// Who is the only one to want it takes it along; who only looks does not.
#[test]
fn killed_as_its_owner_and_as_a_guest() {
    let host = start();
    // It is stopped as by `ctr stop`, in the time that it asked for.
    for mode in [&[][..], &["-i"], &["--userns=auto"], &["--init", "--stop-timeout=1"], &["-u33"]] {
        let c = Resident("owned".into());
        let mut live = Live::start(plain(["run", "--name=owned"]).args(mode).args([
            busybox(),
            "sh",
            "-c",
            "trap '' TERM HUP INT PIPE; echo up; while echo tick; do sleep 0.02; done; sleep 1000",
        ]));
        live.hear("up\n");
        let pid = c.pid();
        // A guest comes and goes, one way and the other.
        for number in [libc::SIGKILL, libc::SIGHUP] {
            let mut guest = c.connected(&["--sig-proxy=false"]);
            guest.signal(number);
            let pid = guest.pid();
            until("the end of the guest", || gone(pid).then_some(()));
            guest.hush();
        }
        live.hear("tick\n");
        live.signal(libc::SIGKILL);
        until("the end of its container", || gone(pid).then_some(()));
        live.done().code(137);
        c.ended();
        assert!(c.ask("{{.State.Status}} {{.State.ExitCode}}").starts_with("exited 137"), "{mode:?}");
        // It is still known, and what it wrote.
        assert!(c.verb(&["logs"]).out.starts_with("up\ntick\n"));
        drop(c);
        host.same_soon();
    }
    // On a terminal.
    let c = Resident("owned".into());
    let mut pty = on_a_terminal(&["run", "-it", "--name=owned", busybox(), "sh", "-c", SHELL]);
    pty.hear("ready\r\n");
    let pid = c.pid();
    signal(pty.pid, libc::SIGKILL);
    assert_eq!(pty.end().1, 137);
    until("the end of its container", || gone(pid).then_some(()));
    until("the terminal to be put back", || (!pty.modes().raw()).then_some(()));
    drop((pty, c));
    host.same_soon();
    host.same();
}

/// An own volume with a file `go`, whose making starts the container's work.
fn waits_for_go(place: &Scratch, name: &str, options: &[&str], script: &str) -> Resident {
    let volume = format!("-v{}:/v", place.path().display());
    let script = format!("while [ ! -e /v/go ]; do echo tick; sleep 0.01; done; {script}");
    Resident::new(name, &[&[volume.as_str()], options].concat(), &["sh", "-c", &script])
}

/// The bytes that a client was told about and not shown; and whether the last of them could not even be counted for it.
fn dropped(err: &str) -> (u64, bool) {
    let (mut bytes, mut more) = (0, false);
    for line in err.lines() {
        match line.trim_end().strip_prefix("ctr: ").and_then(|l| l.split_once(" bytes of output came too fast")) {
            Some((count, _)) => bytes += count.parse::<u64>().unwrap(),
            None if line.starts_with("ctr: its last output came faster than it was read") => more = true,
            None => panic!("{line:?}"),
        }
    }
    (bytes, more)
}

/// Field note 29's other half: nobody who does not read keeps a container waiting.
#[test]
fn a_client_that_does_not_read_is_no_burden() {
    let host = start();
    const WRITTEN: u64 = 50_000_000;
    for how in ["stopped", "full pipe"] {
        let place = Scratch::new("slow");
        let c = waits_for_go(
            &place,
            "slow",
            &["--log-opt=max-size=64k", "--log-opt=max-file=2"],
            "head -c 50000000 /dev/zero | tr '\\0' x; exit 3",
        );
        let out = File::create(place.join("out")).unwrap();
        let mut command = plain(["attach", "slow"]);
        command.stdin(Stdio::null()).stderr(File::create(place.join("err")).unwrap());
        let mut child =
            if how == "stopped" { command.stdout(out) } else { command.stdout(Stdio::piped()) }.spawn().unwrap();
        // Another one, that does read.
        let good = c.connected(&[]);
        let mut pipe = child.stdout.take();
        let mut head = [0; 5];
        if let Some(pipe) = &mut pipe {
            pipe.read_exact(&mut head).unwrap();
        } else {
            until("attach to be connected", || (fs::metadata(place.join("out")).unwrap().len() > 4).then_some(()));
            signal(child.id() as i32, libc::SIGSTOP);
        }
        let begun = Instant::now();
        fs::write(place.join("go"), "").unwrap();
        c.ended();
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(5), "{how}: {took:?}");
        assert_eq!(c.ask("{{.State.ExitCode}}"), "3");
        assert!(child.try_wait().unwrap().is_none(), "{how}");
        let mut rest = Vec::new();
        if let Some(pipe) = &mut pipe {
            pipe.read_to_end(&mut rest).unwrap();
        } else {
            signal(child.id() as i32, libc::SIGCONT);
        }
        let status = until("the end of attach", || child.try_wait().unwrap());
        let err = fs::read_to_string(place.join("err")).unwrap();
        assert_eq!(status.code(), Some(3), "{how}: {err}");
        if pipe.is_none() {
            rest = fs::read(place.join("out")).unwrap();
        }
        let shown = rest.iter().filter(|b| **b == b'x').count() as u64;
        let (missing, more) = dropped(&err);
        assert!(shown < WRITTEN / 2 && (missing > 0 || more), "{how}: {shown} shown, {err}");
        // Ticks may be among what was dropped.
        assert!(more || (WRITTEN..WRITTEN + 10_000).contains(&(shown + missing)), "{how}: {shown} shown, {err}");
        // Who reads has had as much as came, and was told about the rest.
        let (code, out, err) = good.bytes();
        let shown = out.iter().filter(|b| **b == b'x').count() as u64;
        let (missing, more) = dropped(&String::from_utf8_lossy(&err));
        assert!(code == 3 && (more || shown + missing == WRITTEN), "{how}: {code}, {shown} shown, {missing} missing");
        drop(c);
        host.same_soon();
    }
    host.same();
}

/// A `ctr run` in the foreground is the reader that the container waits for, as if it had its pipe.
#[test]
fn a_foreground_run_loses_nothing() {
    let host = start();
    let numbers = (1..=300_000).map(|n| format!("{n}\n")).collect::<String>();
    for options in [&[][..], &["-i"]] {
        let c = Resident("whole".into());
        let mut command = plain(["run", "--name=whole", "--log-opt=max-size=64k"]);
        command.args(options).args([busybox(), "sh", "-c", "seq 300000; echo last >&2; exit 2"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Full, for a while.
        std::thread::sleep(Duration::from_millis(200));
        assert!(c.runs());
        let (mut out, mut err) = (String::new(), String::new());
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert!(out == numbers, "{} bytes instead of {}", out.len(), numbers.len());
        assert_eq!((err.as_str(), child.wait().unwrap().code()), ("last\n", Some(2)));
        drop(c);
        host.same_soon();
    }
    // `start -a` too: it is a second life, and its output is whole again.
    let c = Resident("whole".into());
    within(&mut plain(["create", "--name=whole", busybox(), "sh", "-c", "seq 300000; exit 2"])).code(0);
    let done = within(&mut plain(["start", "-a", "whole"])).code(2);
    assert!(done.out == numbers, "{} bytes instead of {}", done.out.len(), numbers.len());
    drop(c);
    host.same_soon();
    host.same();
}

#[test]
fn many_at_once() {
    let host = start();
    let place = Scratch::new("many");
    let c = waits_for_go(&place, "many", &[], "for n in 1 2 3 4 5 6 7 8; do echo line $n; done; exit 8");
    let supervisor: i32 = c.ask("{{.Supervisor.Pid}}").parse().unwrap();
    let count = || fs::read_dir(format!("/proc/{supervisor}/fd")).unwrap().count();
    let before = count();
    let mut all: Vec<_> = (0..50).map(|_| c.attach(&[])).collect();
    for live in &mut all {
        live.hear("tick\n");
    }
    // Half of them are killed.
    for live in all.drain(..25) {
        live.signal(libc::SIGKILL);
        live.done().code(137);
    }
    fs::write(place.join("go"), "").unwrap();
    let lines: String = (1..=8).map(|n| format!("line {n}\n")).collect();
    let last = all.pop().unwrap();
    for live in all {
        let done = live.done().code(8);
        assert!(done.out.ends_with(&lines) && done.err.is_empty(), "{done:#?}");
    }
    last.done().code(8);
    drop(c);
    // Nothing of them stays with the supervisor.
    let c = Resident::new("many", &[], &["sh", "-c", "while echo tick; do sleep 0.01; done"]);
    let supervisor: i32 = c.ask("{{.Supervisor.Pid}}").parse().unwrap();
    for _ in 0..30 {
        let live = c.connected(&[]);
        live.signal(libc::SIGKILL);
        live.done().code(137);
    }
    until("its descriptors to be closed", || {
        (fs::read_dir(format!("/proc/{supervisor}/fd")).unwrap().count() <= before).then_some(())
    });
    drop(c);
    host.same_soon();
    host.same();
}

/// Its supervisor is killed: whoever is attached is told, and does not hang.
#[test]
fn without_its_supervisor() {
    let host = start();
    let c = Resident::new("lost", &[], &["sh", "-c", "while echo tick; do sleep 0.01; done; exec sleep 1000"]);
    let live = c.connected(&[]);
    signal(c.ask("{{.Supervisor.Pid}}").parse().unwrap(), libc::SIGKILL);
    let done: Done = live.done().code(125);
    assert!(done.err.starts_with("ctr: ") && done.err.contains("supervisor"), "{done:#?}");
    let done = within(&mut plain(["attach", "lost"])).code(125);
    assert!(done.err.starts_with("ctr: ") && done.err.contains("lost"), "{done:#?}");
    drop(c);
    host.same_soon();
    host.same();
}

/// Nobody reads standard output any more: attach ends, as any filter would, and nothing else.
#[test]
fn a_reader_that_leaves() {
    let host = start();
    let c = Resident::new("head", &[], &["sh", "-c", "while echo tick; do sleep 0.01; done"]);
    let mut child =
        plain(["attach", "head"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut some = [0; 5];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let status = until("the end of attach", || child.try_wait().unwrap());
    assert!(status.code().is_some(), "{status:?}");
    assert!(c.runs());
    drop(c);
    host.same_soon();
    host.same();
}
