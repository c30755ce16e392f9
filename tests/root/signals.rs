//! Signals to ctr, ctr's own end, and what becomes of the container.

use crate::options::go;
use crate::support::{
    Host, Live, Scratch, Way, both_ways, busybox, ctr, debian, feed, lasting, plain, signal, state, until, within,
};
use crate::terminal::Pty;
use std::fs;
use std::path::{Path, PathBuf};

/// The pid of the container's PID 1, or of its command under `--pid host`, from its pidfile.
fn pid_from(file: &Path) -> i32 {
    until("the pidfile", || fs::read_to_string(file).ok()?.trim().parse().ok())
}

/// Whether this process is no more, or waits to be reaped by somebody else.
fn gone(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |s| s.contains(") Z ") || s.contains(") X "))
}

both_ways!(
    they_reach_pid_1
    a_handler_may_take_its_time
    a_pid_1_that_ignores_sigterm
    a_command_that_ignores_sigterm_under_init
    pid_host_has_no_pid_1
    how_the_command_ended
    processes_that_are_left_end_with_pid_1
    ctr_is_killed
    a_signal_at_any_moment_ends_it_or_is_passed_on
    a_hangup_of_the_terminal_without_t
    standard_input_that_ends
    nothing_of_the_output_is_lost
    who_reads_only_the_beginning
);

fn they_reach_pid_1(way: Way) {
    let host = Host::before();
    let all = [
        (libc::SIGTERM, "TERM"),
        (libc::SIGINT, "INT"),
        (libc::SIGHUP, "HUP"),
        (libc::SIGUSR1, "USR1"),
        (libc::SIGUSR2, "USR2"),
        (libc::SIGQUIT, "QUIT"),
        (libc::SIGALRM, "ALRM"),
        (libc::SIGCONT, "CONT"),
        (libc::SIGRTMIN() + 3, "RTMIN+3"),
    ];
    for options in [&[][..], &["-i"], &["--userns=auto"], &["--pid=host", "--userns=host"]] {
        let script = "trap 'echo got TERM' TERM; trap 'echo got INT' INT; trap 'echo got HUP' HUP; trap 'echo got USR1' USR1; \
                      trap 'echo got USR2' USR2; trap 'echo got QUIT' QUIT; trap 'echo got ALRM' ALRM; trap 'echo got CONT' CONT; \
                      trap 'echo got RTMIN+3' RTMIN+3; trap 'exit 8' RTMIN+4; \
                      echo up; while :; do sleep 1000 & wait $!; done";
        let words = [options, &[debian(), "bash", "-c", script]].concat();
        let mut live = Live::start(&mut way.run(words));
        live.hear("up\n");
        for (number, name) in all {
            live.signal(number);
            assert_eq!(live.line(), format!("got {name}"), "{options:?}");
        }
        live.signal(libc::SIGRTMIN() + 4);
        live.done().code(8);
        host.same_after(way);
    }
    host.same_after(way);
}

fn a_handler_may_take_its_time(way: Way) {
    let host = Host::before();
    let script =
        "trap 'echo cleaning; read line; echo cleaned $line; exit 3' TERM; echo up; while :; do sleep 0.01; done";
    let mut live = Live::start(&mut way.run(["-i", busybox(), "sh", "-c", script]));
    live.hear("up\n");
    live.signal(libc::SIGTERM);
    live.hear("cleaning\n");
    live.say("up\n");
    live.hear("cleaned up\n");
    live.done().code(3);
    host.same_after(way);
}

/// Sends it, and waits until ctr has taken it: pending signals of one kind are one.
fn send(live: &Live, number: i32) {
    live.signal(number);
    until("the signal to be taken", || {
        let Ok(status) = fs::read_to_string(format!("/proc/{}/status", live.pid())) else { return Some(()) };
        let pending = |key: &str| {
            let line = status.lines().find(|l| l.starts_with(key))?;
            u64::from_str_radix(line[key.len()..].trim(), 16).ok()
        };
        (pending("ShdPnd:")? & (1 << (number - 1)) == 0).then_some(())
    });
}

/// Starts it and waits until `sleep` is what runs: a shell catches signals itself.
#[track_caller]
fn sleeping(way: Way, options: &[&str], script: &str) -> Live {
    let place = Scratch::new("sleeping");
    let pidfile = place.join("pid");
    let script = format!("echo up; {script}");
    let words = [&["--pidfile", pidfile.to_str().unwrap()], options, &[busybox(), "sh", "-c", &script]].concat();
    let mut live = Live::start(&mut way.run(words));
    live.hear("up\n");
    let init = pid_from(&pidfile);
    let mut tries = 0;
    until("sleep", || {
        let mut pids = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap_or_default();
        pids.push_str(&format!(" {init}"));
        let all: Vec<_> =
            pids.split_whitespace().map(|p| fs::read(format!("/proc/{p}/cmdline")).unwrap_or_default()).collect();
        tries += 1;
        assert!(
            tries < 4000,
            "{options:?} {script}: {pids} are {:?}",
            all.iter().map(|c| String::from_utf8_lossy(c)).collect::<Vec<_>>()
        );
        all.iter().any(|c| c == b"sleep\x001000\0").then_some(())
    });
    live
}

/// A PID 1 has no default action for SIGTERM: the kernel drops it. ctr says so, and who asks a third time means it.
fn a_pid_1_that_ignores_sigterm(way: Way) {
    let host = Host::before();
    for number in [libc::SIGTERM, libc::SIGINT] {
        for script in ["exec sleep 1000", "trap '' TERM INT; exec sleep 1000"] {
            for options in [&[][..], &["-i"], &["--userns=auto"]] {
                let mut live = sleeping(way, options, script);
                send(&live, number);
                // A word on it: that it is ignored, what to do.
                let said = live.hear_err("\n");
                assert!(said.starts_with("ctr: ") && said.contains("ignores") && said.contains("--init"), "{said:?}");
                send(&live, number);
                send(&live, number);
                live.done().code(137);
                host.same_after(way);
            }
        }
    }
    host.same_after(way);
}

fn a_command_that_ignores_sigterm_under_init(way: Way) {
    let host = Host::before();
    for number in [libc::SIGTERM, libc::SIGINT] {
        let live = sleeping(way, &["--init"], "trap '' TERM INT; exec sleep 1000");
        for _ in 0..3 {
            send(&live, number);
        }
        let done = live.done().code(137);
        assert!(done.err.starts_with("ctr: "), "{done:?}");
        host.same_after(way);
    }
    host.same_after(way);
}

/// The signal does what it does to any process, so there is nothing to say.
fn pid_host_has_no_pid_1(way: Way) {
    let host = Host::before();
    for (number, code) in [(libc::SIGTERM, 143), (libc::SIGINT, 130), (libc::SIGHUP, 129), (libc::SIGUSR1, 138)] {
        let live = sleeping(way, &["--pid=host", "--userns=host"], "exec sleep 1000");
        send(&live, number);
        let done = live.done().code(code);
        assert_eq!(done.err, "", "signal {number}");
    }
    host.same_after(way);
}

fn how_the_command_ended(way: Way) {
    let host = Host::before();
    let place = Scratch::new("ended");
    let pidfile = place.join("pid");
    for (options, number, code) in [
        (&[][..], libc::SIGKILL, 137),
        (&["--init"], libc::SIGKILL, 137),
        (&["--userns=auto"], libc::SIGKILL, 137),
        (&["--pid=host", "--userns=host"], libc::SIGKILL, 137),
        (&["--pid=host", "--userns=host"], libc::SIGTERM, 143),
        (&["--pid=host", "--userns=host"], libc::SIGSEGV, 139),
        (&["--pid=host", "--userns=host"], libc::SIGABRT, 134),
    ] {
        let _ = fs::remove_file(&pidfile);
        let words = [
            &["--pidfile", pidfile.to_str().unwrap()],
            options,
            &[busybox(), "sh", "-c", "echo up; exec sleep 1000"],
        ]
        .concat();
        let mut live = Live::start(&mut way.run(words));
        live.hear("up\n");
        let pid = pid_from(&pidfile);
        // sleep, not the shell: that one might still have been there.
        until("exec", || {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|c| options.contains(&"--init") || c.starts_with(b"sleep"))
                .then_some(())
        });
        signal(pid, number);
        live.done().code(code);
        host.same_after(way);
    }
    host.same_after(way);
}

fn processes_that_are_left_end_with_pid_1(way: Way) {
    let host = Host::before();
    let place = Scratch::new("left");
    let volume = format!("{}:/v", place.path().display());
    for options in [&[][..], &["--init"], &["--userns=auto"], &["--pid=host", "--userns=host"]] {
        // One of them holds ctr's own standard output open.
        let script = "trap '' TERM HUP; setsid sleep 1000 & setsid sh -c 'trap \"\" TERM HUP INT; while :; do sleep 1; done' >/dev/null 2>&1 </dev/null & echo left";
        let words = [&["-v", &volume], options, &[busybox(), "sh", "-c", script]].concat();
        let done = Live::start(&mut way.run(words)).done().code(0);
        assert_eq!(done.out, "left\n", "{options:?}");
        host.same_after(way);
    }
    host.same_after(way);
}

fn ctr_is_killed(way: Way) {
    let host = Host::before();
    let place = Scratch::new("killed");
    let pidfile = place.join("pid");
    for options in [
        &[][..],
        &["-i"],
        &["--init"],
        &["--userns=auto"],
        &["--userns=auto", "--init"],
        &["--network=host"],
        // Not --pid=host: there only the command itself ends with ctr (README says so).
        &["-u", "web"],
        &["-u", "web", "--userns=auto"],
        &["-v", "/usr:/v:ro", "--tmpfs=/t", "--read-only"],
    ] {
        let _ = fs::remove_file(&pidfile);
        let words = [
            &["--name", "victim", "--pidfile", pidfile.to_str().unwrap()],
            options,
            // Processes of several kinds: a child, an orphan, one in a session of its own that ignores signals.
            &[busybox(), "sh", "-c", "sleep 1000 & (sleep 1000 &); setsid sh -c 'trap \"\" TERM HUP; sleep 1000; sleep 1000' & echo up; sleep 1000; sleep 1000"],
        ]
        .concat();
        let mut live = Live::start(&mut way.run(words));
        live.hear("up\n");
        let pid = pid_from(&pidfile);
        assert!(!gone(pid));
        live.signal(libc::SIGKILL);
        // Its output ends: nothing of the container holds it any more. Under --pid host the next command does that.
        if !options.contains(&"--pid=host") {
            until("the end of the container", || gone(pid).then_some(()));
            live.done().code(137);
            let folder = if way == Way::Direct { state() } else { lasting() }.join("containers/victim");
            assert!(folder.is_dir(), "{options:?}: who removed the record?");
            if way == Way::Direct {
                // The next command, whichever, removes what was left.
                go([busybox(), "true"]).code(0);
                assert!(!folder.exists(), "{options:?}");
            } else {
                // It was ended by its supervisor, which wrote that down and went.
                let status =
                    || within(&mut plain(["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "victim"]));
                until("the end to be recorded", || {
                    ["exited 137\n", "exited 129\n"].contains(&&*status().out).then_some(())
                });
            }
        } else {
            until("the end of the command", || gone(pid).then_some(()));
            go([busybox(), "true"]).code(0);
            live.done().code(137);
        }
        host.same_after(way);
        // And its name is free.
        assert_eq!(go(["--name", "victim", busybox(), "echo", "fine"]).code(0).out, "fine\n");
        host.same_after(way);
    }
    host.same_after(way);
}

#[test]
fn many_are_killed_and_one_command_removes_them_while_others_live() {
    let host = Host::before();
    let mut all: Vec<_> = (0..6)
        .map(|n| {
            Live::start(&mut ctr([
                "run",
                "-i",
                "--name",
                &format!("many-{n}"),
                busybox(),
                "sh",
                "-c",
                "echo up; cat",
            ]))
        })
        .collect();
    for one in &mut all {
        one.hear("up\n");
    }
    for n in [0, 2, 4] {
        all[n].signal(libc::SIGKILL);
    }
    let mut alive = Vec::new();
    for (n, one) in all.into_iter().enumerate() {
        if n % 2 == 0 {
            one.done().code(137);
        } else {
            alive.push(one);
        }
    }
    go([busybox(), "true"]).code(0);
    for n in 0..6 {
        assert_eq!(state().join(format!("containers/many-{n}")).exists(), n % 2 == 1, "many-{n}");
    }
    for mut one in alive {
        one.say("still here\n");
        assert_eq!(one.line(), "still here");
        one.done().code(0);
    }
    host.same_soon();
    host.same();
}

#[test]
fn ctr_is_stopped_and_killed_meanwhile() {
    let host = Host::before();
    let mut live = Live::start(&mut ctr(["run", "-i", "--name", "stopped", busybox(), "sh", "-c", "echo up; cat"]));
    live.hear("up\n");
    live.signal(libc::SIGSTOP);
    // A stopped ctr is a living one: its record stays.
    go([busybox(), "true"]).code(0);
    assert!(state().join("containers/stopped").exists());
    go(["--name", "stopped", busybox(), "true"]).refused(&["stopped"]);
    live.signal(libc::SIGKILL);
    live.done().code(137);
    go([busybox(), "true"]).code(0);
    assert!(!state().join("containers/stopped").exists());
    host.same_soon();
    host.same();
}

/// Not only when it stands still: killed at any moment of its start, which a loop of growing delays finds.
#[test]
fn ctr_is_killed_at_any_moment() {
    let host = Host::before();
    for options in [&[][..], &["--userns=auto"], &["--init"]] {
        for n in 0..40u32 {
            let words = [&["run"], options, &[busybox(), "sleep", "1000"]].concat();
            let live = Live::start(&mut ctr(words));
            let end = std::time::Instant::now() + std::time::Duration::from_micros(u64::from(n) * 150);
            while std::time::Instant::now() < end {
                std::hint::spin_loop();
            }
            live.signal(libc::SIGKILL);
            live.done().code(137);
        }
        go([busybox(), "true"]).code(0);
        host.same_soon();
    }
    host.same_soon();
    host.same();
}

fn a_signal_at_any_moment_ends_it_or_is_passed_on(way: Way) {
    let host = Host::before();
    for n in 0..40u32 {
        let mut live = Live::start(&mut way.run(["--init", busybox(), "sleep", "1000"]));
        let end = std::time::Instant::now() + std::time::Duration::from_micros(u64::from(n) * 150);
        while std::time::Instant::now() < end {
            std::hint::spin_loop();
        }
        live.signal(libc::SIGTERM);
        live.hush();
        let done = live.done();
        assert_eq!(done.code, 143, "after {} µs: {done:?}", n * 150);
        host.same_after(way);
    }
    host.same_after(way);
}

fn a_hangup_of_the_terminal_without_t(way: Way) {
    let host = Host::before();
    let mut pty =
        Pty::run(way, &["-i", busybox(), "sh", "-c", "trap 'exit 5' HUP; echo up; while :; do sleep 0.01; done"]);
    pty.hear("up\r\n");
    signal(pty.pid, libc::SIGHUP);
    assert_eq!(pty.end().1, 5);
    drop(pty);
    host.same_after(way);
}

fn standard_input_that_ends(way: Way) {
    let host = Host::before();
    for options in [&["-i"][..], &["-i", "--init"], &["-i", "--userns=auto"]] {
        let big = "a line of input\n".repeat(20_000);
        let words = || options.iter().copied().chain([busybox(), "sh", "-c", "wc -c; cat; exit 3"]);
        let done = feed(&mut way.run(words()), big.as_bytes()).code(3);
        assert_eq!(done.out, format!("{}\n", big.len()), "{options:?}");
        host.same_after(way);
    }
    // Without -i there is none.
    let done = feed(&mut way.run([busybox(), "wc", "-c"]), b"something").code(0);
    assert_eq!(done.out, "0\n");
    host.same_after(way);
}

fn nothing_of_the_output_is_lost(way: Way) {
    let host = Host::before();
    let script = "seq 1 200000; seq 1 100000 >&2; echo the end; exit 2";
    let lines = |n: u32| (1..=n).map(|n| format!("{n}\n")).collect::<String>();
    for options in [&[][..], &["--init"], &["--userns=auto"]] {
        let words = || options.iter().copied().chain([busybox(), "sh", "-c", script]);
        let done = Live::start(&mut way.run(words())).done().code(2);
        assert!(done.out == lines(200_000) + "the end\n", "{options:?}: {} bytes", done.out.len());
        assert!(done.err == lines(100_000), "{options:?}: {} bytes", done.err.len());
        host.same_after(way);
    }
    // Nor if who reads takes a break, and it is written to the end by then.
    let mut command = plain(["run"]);
    command.args(way.options()).args([busybox(), "sh", "-c", "seq 1 200000; echo the end"]);
    let pipe = format!("{} | (read one; sleep 0.5; echo $one; cat)", quoted(&command));
    let done = within(std::process::Command::new("sh").args(["-c", &pipe])).code(0);
    assert!(done.out == lines(200_000) + "the end\n", "{} bytes", done.out.len());
    host.same_after(way);
}

/// A command as a shell reads it.
fn quoted(command: &std::process::Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|w| format!("'{}'", w.to_str().unwrap().replace('\'', "'\\''"))).collect::<Vec<_>>().join(" ")
}

fn who_reads_only_the_beginning(way: Way) {
    let host = Host::before();
    for options in [&[][..], &["--init"], &["--userns=auto"]] {
        let mut command = way.run(options);
        command.args([busybox(), "yes"]);
        let done =
            within(std::process::Command::new("sh").args(["-c", &format!("{} | head -1", quoted(&command))])).code(0);
        assert_eq!(done.out, "y\n", "{options:?}");
        until("the end of the container", || within(&mut plain(["ps", "-q"])).code(0).out.is_empty().then_some(()));
        host.same_after(way);
    }
}
