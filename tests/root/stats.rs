//! `ctr stats`: what containers use, once and again and again, in a pipe and on a terminal.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Done, Host, Live, Scratch, Way, busybox, ctr, ctr_path, plain, signal, until, within};
use crate::terminal::Pty;

#[track_caller]
fn make(name: &str, options: &[&str], script: &str) {
    within(plain(["run", "-d", "--name", name]).args(options).args([busybox(), "sh", "-c", script])).code(0);
}

#[track_caller]
fn remove(names: &[&str]) {
    within(plain(["rm", "-f"]).args(names)).code(0);
}

#[track_caller]
fn stats(words: &[&str]) -> Done {
    within(plain(["stats"]).args(words))
}

/// The fields of the one container that is asked for.
#[track_caller]
fn once(name: &str, fields: &[&str]) -> Vec<String> {
    let template = fields.iter().map(|field| format!("{{{{.{field}}}}}")).collect::<Vec<_>>().join("|");
    let done = stats(&["--no-stream", "--format", &template, name]).code(0);
    done.out.trim_end().split('|').map(str::to_owned).collect()
}

fn per_cent(text: &str) -> f64 {
    text.strip_suffix('%').unwrap_or_else(|| panic!("{text:?}")).parse().unwrap()
}

/// Has it a group in which this is counted? These tests run on whatever layout of control groups there is.
fn counted(field: &str) -> bool {
    once("counted", &[field])[0] != "--"
}

#[test]
fn what_it_shows_is_what_is_used() {
    let host = Host::before();
    make("busy", &[], "while :; do :; done");
    make("idle", &["--network=none"], "sleep 1000");
    make("memory", &[], "head -c 40m /dev/zero | tail -c 40m | sleep 1000");
    make("counted", &["--network=host"], "sleep 1000");
    if counted("CPUPerc") {
        // Others are at work on this machine too.
        let busy = per_cent(&once("busy", &["CPUPerc"])[0]);
        assert!(busy > 5.0 && busy < 130.0, "{busy}");
        assert!(per_cent(&once("idle", &["CPUPerc"])[0]) < 2.0);
    }
    if counted("MemUsage") {
        let usage = until("forty megabytes", || {
            let usage = once("memory", &["MemUsage", "MemPerc"]);
            usage[0].starts_with("4").then_some(usage)
        });
        let (used, limit) = usage[0].split_once(" / ").unwrap();
        assert!(used.ends_with("MiB") && limit.ends_with("iB") && per_cent(&usage[1]) > 0.0, "{usage:?}");
    }
    if counted("PIDs") {
        assert_eq!(once("idle", &["PIDs"]), ["1"]);
        // The shell, tail and sleep: head has done its part.
        until("three processes", || (once("memory", &["PIDs"]) == ["3"]).then_some(()));
    }
    // Its own network has had nothing to do; the host's is nobody's.
    assert_eq!(once("idle", &["NetIO"]), ["0B / 0B"]);
    assert_eq!(once("counted", &["NetIO"]), ["--"]);
    remove(&["busy", "idle", "memory", "counted"]);
    host.same_soon();
}

/// What goes through an interface that is put into it.
#[test]
fn the_network_is_counted_inside() {
    let host = Host::before();
    make("net", &["--cap-add=NET_ADMIN"], "sleep 1000");
    let exec = |script: &str| within(&mut plain(["exec", "net", "sh", "-c", script]));
    let made = exec(
        "ip link add one type veth peer name two && ip addr add 10.9.9.1/24 dev one && ip link set one up && ip link set two up",
    );
    if made.code == 0 {
        exec("ping -c3 -w3 10.9.9.2 >/dev/null 2>&1; ping -c1 127.0.0.1 >/dev/null 2>&1; true").code(0);
        let shown = once("net", &["NetIO"]);
        assert!(shown[0] != "0B / 0B" && shown[0].contains("B / "), "{shown:?}");
    } else {
        println!("no veth on this kernel: {made:?}");
    }
    remove(&["net"]);
    host.same_soon();
}

#[test]
fn tables_json_and_templates() {
    let host = Host::before();
    // Nothing runs: a heading, and no error.
    let done = stats(&["--no-stream"]).code(0);
    assert_eq!(done.out.lines().count(), 1);
    assert!(done.out.starts_with("CONTAINER ID   NAME") && done.out.contains("MEM USAGE / LIMIT"), "{done:#?}");
    assert_eq!(stats(&["--no-stream", "--format=json"]).code(0).out, "");
    make("one", &[], "sleep 1000");
    make("two", &[], "sleep 1000");
    within(&mut plain(["create", "--name=never", busybox(), "true"])).code(0);
    let names = |words: &[&str]| {
        let done = stats(&[&["--no-stream", "--format={{.Name}}"], words].concat()).code(0);
        done.out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["two", "one"]);
    assert_eq!(names(&["-a"]), ["never", "two", "one"]);
    assert_eq!(names(&["one", "never"]), ["one", "never"]);
    let done = stats(&["--no-stream", "--format", "json", "one", "never"]).code(0);
    let lines: Vec<_> = done.out.lines().collect();
    assert_eq!(lines.len(), 2);
    for key in ["BlockIO", "CPUPerc", "Container", "ID", "MemPerc", "MemUsage", "Name", "NetIO", "PIDs", "Pressure"] {
        assert!(lines.iter().all(|line| line.contains(&format!("\"{key}\":\""))), "{key} {lines:?}");
    }
    // Of what does not run nothing is said that could be taken for a number.
    assert_eq!(lines[1].matches("\"--\"").count(), 7, "{}", lines[1]);
    let id = |words: &[&str]| {
        stats(&[&["--no-stream", "--format={{.ID}}", "one"], words].concat()).code(0).out.trim().len()
    };
    assert_eq!((id(&[]), id(&["--no-trunc"])), (12, 64));
    assert!(
        stats(&["--no-stream", "--format", "table {{.Name}}\t{{.PIDs}}"]).code(0).out.starts_with("NAME      PIDS\n")
    );
    remove(&["one", "two", "never"]);
    host.same_soon();
}

#[test]
fn bad_input() {
    let host = Host::before();
    stats(&["nosuch"]).refused(&["nosuch", "ctr ps -a"]);
    stats(&["--no-stream", "nosuch", "neither"]).refused(&["nosuch"]);
    stats(&["--format", "tabel"]).refused(&["did you mean table?"]);
    stats(&["--format", "{{.Nme}}"]).refused(&["Nme", "did you mean .Name?"]);
    stats(&["--format", "{{.Name"]).refused(&["--format"]);
    stats(&["--nostream"]).refused(&["--no-stream"]);
    stats(&["--no-stream=maybe"]).refused(&["--no-stream"]);
    stats(&[""]).refused(&[]);
    stats(&["a/b", "../x"]).refused(&[]);
    host.same();
}

/// A container of `run --rm` has no group: its numbers are unknown, not nought.
#[test]
fn what_is_not_counted_is_not_guessed() {
    let host = Host::before();
    let mut live = Live::start(ctr(["run"]).args([
        "-i",
        "--network=none",
        "--name=fore",
        busybox(),
        "sh",
        "-c",
        "echo here; cat",
    ]));
    live.hear("here\n");
    let shown = once("fore", &["CPUPerc", "MemUsage", "MemPerc", "NetIO", "PIDs"]);
    assert!(shown[0] == "--" && shown[1] == "--" || shown[1].contains(" / "), "{shown:?}");
    assert_eq!(shown[3], "0B / 0B");
    live.done().code(0);
    host.same_soon();
}

/// In a pipe: one table after the other; with names, until the last of them has ended; and whoever stops reading ends it.
#[test]
fn again_and_again_in_a_pipe() {
    let host = Host::before();
    make("ends", &[], "sleep 1000");
    make("other", &[], "sleep 1000");
    let mut live = Live::start(plain(["stats", "--format", "{{.Name}} {{.PIDs}}", "ends"]).env_remove("LANG"));
    live.hear("ends ");
    live.hear("ends ");
    // Gone in the middle of it.
    remove(&["ends"]);
    let done = live.done().code(0);
    assert_eq!(done.err, "");
    assert!(!done.out.contains('\x1b') && !done.out.contains("other"), "{done:#?}");
    // Never there: one look.
    let began = Instant::now();
    within(&mut plain(["create", "--name=never", busybox(), "true"])).code(0);
    assert_eq!(stats(&["--format={{.Name}} {{.CPUPerc}}", "never"]).code(0).out, "never --\n");
    assert!(began.elapsed() < Duration::from_secs(10));
    // Without names it goes on; as JSON an object a line.
    let mut live = Live::start(&mut plain(["stats", "--format=json"]));
    for _ in 0..2 {
        let line = live.line();
        assert!(line.starts_with('{') && line.contains("\"Name\":\"other\"") && line.ends_with('}'), "{line}");
    }
    live.signal(libc::SIGTERM);
    live.done().code(128 + libc::SIGTERM);
    let script = format!("{} stats | head -n2", ctr_path().display());
    let done = within(Command::new("sh").args(["-c", &script])).code(0);
    assert!(done.out.lines().count() == 2 && done.err.is_empty(), "{done:#?}");
    remove(&["other", "never"]);
    host.same_soon();
}

fn on_terminal(script: &str, words: &[&str], rows: u16, columns: u16) -> Pty {
    let ctr = ctr_path().into_os_string().into_string().unwrap();
    Pty::start(script, &[&[ctr.as_str(), "stats"], words].concat(), rows, columns)
}

#[test]
fn on_a_terminal_it_is_drawn_in_place() {
    let host = Host::before();
    make("shown", &[], "sleep 1000");
    make("counted", &[], "while :; do :; done");
    let counted = counted("CPUPerc");
    for (locale, bars) in [("C.UTF-8", &["▁", "█", "▇", "▆", "▅"][..]), ("C", &["_", "#", "*", "+"])] {
        let mut pty = on_terminal(&format!("exec env LC_ALL={locale} \"$@\""), &[], 24, 120);
        let before = pty.modes();
        pty.hear("\x1b[2J");
        pty.hear("CPU HISTORY");
        pty.hear("shown");
        // The second picture has the first per cent.
        pty.hear("\x1b[H");
        pty.hear("\x1b[H");
        let picture = pty.hear("\x1b[J");
        assert!(!counted || bars.iter().any(|bar| picture.contains(bar)), "{picture:?}");
        assert!(picture.contains("shown") && picture.contains("counted") && !picture.contains("\n\n"));
        // A smaller window: fewer lines and columns, at once.
        pty.resize(2, 30);
        let picture = until("a small picture", || {
            pty.hear("\x1b[H");
            let picture = pty.hear("\x1b[J");
            picture.contains("more").then_some(picture)
        });
        for line in picture.split("\r\n") {
            assert!(line.trim_end_matches('\r').replace("\x1b[K", "").chars().count() <= 30, "{line:?}");
        }
        assert_eq!(picture.matches("\r\n").count(), 1, "{picture:?}");
        pty.resize(24, 120);
        // Ctrl-C: the last numbers stay, and the shell goes on below them.
        pty.enter("\x03");
        let (left, code) = pty.end();
        // Nothing was changed that a kill would have left as it is: no other screen, no hidden cursor.
        assert!(left.ends_with("\r\n") && !left.contains("\x1b[?") && !left.contains("\x1b[2J"), "{left:?}");
        assert_eq!((code, pty.modes()), (130, before));
    }
    remove(&["shown", "counted"]);
    host.same_soon();
}

#[test]
fn a_container_that_ends_while_it_is_watched_on_a_terminal() {
    let host = Host::before();
    make("ends", &[], "sleep 1000");
    let mut pty = on_terminal("exec \"$@\"", &["ends"], 24, 80);
    pty.hear("ends");
    within(&mut plain(["stop", "-t0", "ends"])).code(0);
    let (left, code) = pty.end();
    assert!(code == 0 && left.ends_with("\r\n"), "{left:?}");
    // Without names it is just not shown any more.
    within(&mut plain(["start", "ends"])).code(0);
    let mut pty = on_terminal("exec \"$@\"", &[], 24, 80);
    pty.hear("ends");
    remove(&["ends"]);
    until("a picture without it", || {
        pty.hear("\x1b[H");
        (!pty.hear("\x1b[J").contains("ends")).then_some(())
    });
    signal(pty.pid, libc::SIGTERM);
    assert_eq!(pty.end().1, 128 + libc::SIGTERM);
    // An error is said on the screen that the shell has.
    let mut pty = on_terminal("exec \"$@\"", &["ends"], 24, 80);
    let (left, code) = pty.end();
    assert!(code == 125 && left.contains("no container") && !left.contains('\x1b'), "{left:?}");
    host.same_soon();
}

#[test]
fn stopped_and_continued_on_a_terminal() {
    let host = Host::before();
    let mut pty = on_terminal("exec \"$@\"", &[], 24, 80);
    pty.hear("CONTAINER ID");
    signal(pty.pid, libc::SIGTSTP);
    until("a stop", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pty.pid)).unwrap();
        stat.contains(") T ").then_some(())
    });
    signal(pty.pid, libc::SIGCONT);
    pty.hear("\x1b[2J");
    pty.hear("CONTAINER ID");
    signal(pty.pid, libc::SIGINT);
    assert_eq!(pty.end().1, 130);
    host.same();
}

/// Records that cannot be read, and groups that vanish: no wrong number, no end.
#[test]
fn garbage_in_the_state_folder() {
    let host = Host::before();
    make("good", &[], "sleep 1000");
    let bad = crate::support::lasting().join("containers/bad");
    std::fs::create_dir(&bad).unwrap();
    std::fs::write(bad.join("record"), b"ctr 1\nid \xff\xfe\npid 1\nstate running\n").unwrap();
    let done = stats(&["--no-stream", "--format={{.Name}}"]).code(0);
    assert_eq!(done.out, "good\n", "{done:#?}");
    let done = stats(&["--no-stream", "-a", "--format={{.Name}} {{.CPUPerc}} {{.PIDs}}"]).code(0);
    assert!(done.out.contains("bad -- --\n"), "{done:#?}");
    std::fs::remove_dir_all(bad).unwrap();
    remove(&["good"]);
    host.same_soon();
}
