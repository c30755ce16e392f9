//! Bad input and bad surroundings: one line on standard error, 125, and nothing left behind; and what is fine although it
//! looks strange.

use crate::options::{go, inside, says};
use crate::support::{Done, Host, Live, Scratch, busybox, ctr, ctr_path, within};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

/// Options that are refused, each with a line of its own that has certain words.
struct Refused {
    host: Host,
    wrong: Vec<String>,
}

impl Refused {
    fn new() -> Refused {
        Refused { host: Host::before(), wrong: Vec::new() }
    }

    #[track_caller]
    fn row(&mut self, options: &[&str], words: &[&str]) {
        let done = go(options.iter().chain(&[busybox(), "echo", "ran all the same"]));
        let line = done.err.starts_with("ctr: ") && done.err.trim_end().lines().count() == 1;
        if done.code != 125 || !done.out.is_empty() || !line || !words.iter().all(|w| done.err.contains(w)) {
            self.wrong.push(format!("{options:?} wants one line with {words:?}: {done:#?}"));
        }
        self.host.same_still();
    }

    #[track_caller]
    fn end(self) {
        assert!(self.wrong.is_empty(), "{} wrong:\n{}", self.wrong.len(), self.wrong.join("\n"));
        self.host.same();
    }
}

#[track_caller]
fn refused(rows: &[(&[&str], &[&str])]) {
    let mut all = Refused::new();
    for (options, words) in rows {
        all.row(options, words);
    }
    all.end();
}

/// `sh -c SCRIPT` around `ctr run WORDS…`, which the script has as "$@".
#[track_caller]
fn around(script: &str, words: &[&str]) -> Done {
    within(
        Command::new("bash").args(["-c", script, "bash"]).arg(ctr_path()).args(["run", "--rm", "--rm"]).args(words),
    )
}

#[test]
fn roots() {
    let host = Host::before();
    let place = Scratch::new("roots");
    fs::create_dir(place.join("empty")).unwrap();
    fs::write(place.join("file"), "").unwrap();
    symlink("no/where", place.join("dangling")).unwrap();
    symlink("loop", place.join("loop")).unwrap();
    let at = |name: &str| place.join(name).into_os_string().into_string().unwrap();
    go([at("none"), "true".into()]).refused(&[&at("none"), "No such file"]);
    go([at("none/below"), "true".into()]).refused(&[&at("none/below"), "No such file"]);
    go([at("file"), "true".into()]).refused(&[&at("file"), "directory"]);
    go([at("file/"), "true".into()]).refused(&["directory"]);
    go([at("empty"), "true".into()]).refused(&[&at("empty"), "empty"]);
    go([at("dangling"), "true".into()]).refused(&["dangling", "No such file"]);
    go([at("loop"), "true".into()]).refused(&["loop"]);
    go(["/dev/null", "true"]).refused(&["/dev/null", "directory"]);
    go(["", "true"]).refused(&["ROOT"]);
    go(["debian", "true"]).refused(&["debian"]);
    go(["debian:12", "true"]).refused(&["debian:12"]);
    go(["--rootfs", &at("none"), "true"]).refused(&[&at("none")]);
    go(["--rootfs", "", "true"]).refused(&["root filesystem"]);
    let long = format!("/{}", "x/".repeat(3000));
    assert_eq!(go([&long, "true"]).code(125).out, "");
    host.same();
}

#[test]
fn a_command_is_missing() {
    let host = Host::before();
    go([""; 0]).refused(&["ROOT"]);
    go(["-i", "--name", "x"]).refused(&["ROOT"]);
    go(["host"]).refused(&["COMMAND"]);
    go([busybox()]).refused(&["COMMAND"]);
    go(["--rootfs", busybox()]).refused(&["COMMAND"]);
    go(["--"]).refused(&["ROOT"]);
    host.same();
}

#[test]
fn verbs() {
    let host = Host::before();
    for (word, near) in [("rum", "run"), ("runn", "run"), ("doktor", "doctor")] {
        within(&mut ctr([word])).refused(&[word, near]);
    }
    within(&mut ctr(["no-such-verb"])).refused(&["no-such-verb"]);
    within(&mut ctr(["--no-such-option"])).refused(&["--no-such-option"]);
    let done = within(&mut ctr([""; 0])).code(125);
    assert!(done.err.contains("run"), "{done:?}");
    host.same();
}

#[test]
fn options_that_are_none() {
    refused(&[
        (&["--intractive"], &["--intractive", "--interactive"]),
        (&["--hostnam", "x"], &["--hostnam", "--hostname"]),
        (&["--volum=/a:/b"], &["--volum", "--volume"]),
        (&["--netwrok=none"], &["--netwrok", "--network"]),
        (&["--readonly"], &["--readonly", "--read-only"]),
        (&["--envfile", "x"], &["--envfile", "--env-file"]),
        (&["--tempfs=/t"], &["--tempfs", "--tmpfs"]),
        (&["--ulimits", "nofile=3"], &["--ulimits", "--ulimit"]),
        (&["--Init"], &["--Init", "--init"]),
        (&["--no-such-thing-at-all"], &["--no-such-thing-at-all", "--help"]),
        (&["-x"], &["-x"]),
        (&["-ix"], &["-x"]),
        (&["-"], &["-"]),
        (&["-i", "--bogus-thing", "-t"], &["--bogus-thing"]),
        (&["-é"], &["unknown option"]),
        (&["--=x"], &["--"]),
    ]);
    let host = Host::before();
    for option in ["--name", "-e", "-v", "--env-file", "-w", "-u", "--mount", "--ulimit", "-ie"] {
        let done = go([option]).code(125);
        assert!(done.err.contains("needs a value") && done.err.lines().count() == 1, "{done:?}");
        assert!(!done.err.contains("  "), "{done:?}");
    }
    for option in ["--init=maybe", "--rm=2", "--interactive=", "--read-only=no-thanks", "--dry-run=x"] {
        go([option, busybox(), "true"]).refused(&[option.split('=').next().unwrap()]);
    }
    host.same();
}

#[test]
fn environments() {
    refused(&[
        (&["-e", "=x"], &["-e", "=x"]),
        (&["-e", ""], &["-e"]),
        (&["--env=="], &["-e"]),
        (&["--env-file", "/no/such/file"], &["--env-file", "/no/such/file", "No such file"]),
        (&["--env-file", "/etc"], &["--env-file", "/etc", "directory"]),
        (&["--env-file", ""], &["--env-file"]),
    ]);
    let place = Scratch::new("envs");
    let file = place.join("list");
    let file = file.to_str().unwrap();
    for (content, words) in [
        (&b"GOOD=1\n=bad\n"[..], &[file, "2"][..]),
        (b"A B=bad\n", &[file, "1"]),
        (b"GOOD=1\n\nNUL=\0\n", &[file, "3"]),
    ] {
        fs::write(file, content).unwrap();
        refused(&[(&["--env-file", file], words)]);
    }
}

#[test]
fn volumes() {
    let place = Scratch::new("badvolumes");
    let file = place.join("file");
    fs::write(&file, "").unwrap();
    let [file, dir] = [file.to_str().unwrap(), place.path().to_str().unwrap()];
    let spec = |src: &str, rest: &str| format!("{src}{rest}");
    let mut all = Refused::new();
    for (option, words) in [
        ("", &["-v"][..]),
        (":", &["-v"]),
        ("/a", &["-v", "/a"]),
        (":/b", &["-v", ":/b"]),
        (&spec(dir, ":"), &["-v"]),
        (&spec(dir, ":relative"), &["relative"]),
        (&spec(dir, ":./b"), &["./b"]),
        (&spec(dir, ":/b:bogus"), &["bogus"]),
        (&spec(dir, ":/b:ro:rw"), &["ro:rw"]),
        (&spec(dir, ":/b:ro,bogus"), &["bogus"]),
        (&spec(dir, ":/"), &["/"]),
        (&spec(dir, ":/."), &["/"]),
        (&spec(dir, ":/x/.."), &["/"]),
        (&spec(dir, "/none:/b"), &["/none"]),
        (&spec(file, "/below:/b"), &["/below"]),
        ("named-volume:/b", &["named-volume"]),
        ("/no\nsuch:/b", &["-v"]),
    ] {
        all.row(&["-v", option], words);
    }
    all.end();
    refused(&[
        (&["-v", &spec(dir, ":/b"), "-v", &spec(file, ":/b")], &["/b"]),
        (&["-v", &spec(dir, ":/b"), "--tmpfs", "/b/"], &["/b"]),
    ]);
    // The kinds do not fit: found out inside only, so perhaps with a word on what to do.
    let host = Host::before();
    for option in
        [spec(dir, ":/etc/passwd"), spec(file, ":/etc"), spec(dir, ":/etc/passwd/below"), spec(file, ":/dev/null/x")]
    {
        let done = go(["-v", &option, busybox(), "echo", "ran"]).code(125);
        assert!(done.out.is_empty() && done.err.starts_with("ctr: "), "{done:?}");
        assert!(done.err.contains("volume") && done.err.lines().count() <= 2, "{done:?}");
    }
    host.same();
}

#[test]
fn mounts() {
    let place = Scratch::new("badmounts");
    let dir = place.path().to_str().unwrap();
    let bind = |rest: &str| format!("type=bind,source={dir},{rest}");
    let mut all = Refused::new();
    for (option, words) in [
        ("", &["--mount"][..]),
        ("type=bind", &["--mount"]),
        (&bind("readonly"), &["target"]),
        ("type=bind,target=/b", &["source"]),
        ("type=nfs,source=x,target=/b", &["nfs"]),
        (&bind("target=relative"), &["relative"]),
        (&bind("target=/b,bogus=1"), &["bogus"]),
        (&bind("target=/b,bogus"), &["bogus"]),
        (&bind("target=/b,readonly=perhaps"), &["readonly"]),
        (&bind("target=/b,tmpfs-size=1m"), &["tmpfs-size"]),
        (&bind("target=/"), &["/"]),
        ("type=bind,source=/no/such/source,target=/b", &["/no/such/source"]),
        ("type=tmpfs", &["target"]),
        ("type=tmpfs,target=/b,tmpfs-size=much", &["much"]),
        ("type=tmpfs,target=/b,tmpfs-mode=9", &["9"]),
        ("type=tmpfs,target=/b,source=/x", &["source"]),
        ("=,=", &["--mount"]),
    ] {
        all.row(&["--mount", option], words);
    }
    all.end();
    refused(&[
        (&["--tmpfs", ""], &["--tmpfs"]),
        (&["--tmpfs", "relative"], &["relative"]),
        (&["--tmpfs", "/"], &["/"]),
        (&["--tmpfs", "/t:bogus=1"], &["bogus"]),
        (&["--tmpfs", "/t:size=much"], &["much"]),
        (&["--tmpfs", "/t:mode=9"], &["9"]),
        (&["--tmpfs", ":size=1m"], &["--tmpfs"]),
    ]);
}

#[test]
fn workdirs_and_users() {
    refused(&[
        (&["-w", "relative"], &["-w", "relative"]),
        (&["-w", "./here"], &["./here"]),
        (&["-w", ""], &["-w"]),
        (&["-u", "nobody-knows"], &["nobody-knows", "/etc/passwd"]),
        (&["-u", "web:nogroup-here"], &["nogroup-here", "/etc/group"]),
        (&["-u", "2147483648"], &["2147483648", "2147483647"]),
        (&["-u", "4294967295"], &["4294967295"]),
        (&["-u", "4294967296"], &["4294967296"]),
        (&["-u", "99999999999999999999"], &["99999999999999999999"]),
        (&["-u", "0:2147483648"], &["2147483648"]),
        (&["-u", "0:4294967296"], &["4294967296"]),
        (&["-u", "-1"], &["-1"]),
        (&["-u", "+0"], &["+0"]),
        (&["-u", "0x0"], &["0x0"]),
        (&["-u", "1:2:3"], &["2:3"]),
        (&["-u", "a\nb"], &["a\\nb"]),
    ]);
    let host = Host::before();
    let done = go(["-w", "/bin/busybox", busybox(), "echo", "ran"]).code(125);
    assert!(done.out.is_empty() && done.err.contains("/bin/busybox") && done.err.lines().count() <= 2, "{done:?}");
    host.same();
}

#[test]
fn names() {
    let long = "n".repeat(300);
    for name in ["a/b", "..", ".", "", "../../etc", "/abs", "a b", "-a", ".hidden", "ü", "a\nb", "a:b", "*", &long] {
        refused(&[(&["--name", name], &["name"])]);
    }
    let long = "h".repeat(65);
    for name in ["", "a b", "a\nb", "a/b", "-a", "ü", "a\t127.0.0.1 bank", &long] {
        refused(&[(&["-h", name], &["host name"])]);
    }
}

#[test]
fn networks_and_namespaces() {
    refused(&[
        (&["--network", "bogus"], &["no network", "bogus", "ctr network ls"]),
        (&["--network", "a/b"], &["bad --network", "none", "host"]),
        (&["--network", ""], &["--network"]),
        (&["--pid", "bogus"], &["--pid", "bogus", "host"]),
        (&["--pid=container:x"], &["--pid"]),
        (&["--ipc", "bogus"], &["--ipc", "bogus", "host"]),
        (&["--uts", "bogus"], &["--uts", "bogus", "host"]),
        (&["--userns", "bogus"], &["--userns", "bogus", "auto", "host"]),
        (&["--userns", ""], &["--userns"]),
        (&["--add-host", ""], &["--add-host"]),
        (&["--add-host", "name"], &["--add-host", "name"]),
        (&["--add-host", "name:"], &["--add-host"]),
        (&["--add-host", ":1.2.3.4"], &["--add-host"]),
        (&["--add-host", "name:300.1.1.1"], &["300.1.1.1"]),
        (&["--add-host", "name:1.2.3"], &["1.2.3"]),
        (&["--add-host", "na me:1.2.3.4"], &["--add-host"]),
        (&["--add-host", "x\ny:1.2.3.4"], &["--add-host"]),
        (&["--dns", ""], &["--dns"]),
        (&["--dns", "name.server"], &["name.server"]),
        (&["--dns", "1.2.3.4.5"], &["1.2.3.4.5"]),
        (&["--dns", "1.2.3.4\nsearch evil"], &["--dns"]),
    ]);
}

#[test]
fn limits() {
    refused(&[
        (&["--ulimit", ""], &["--ulimit"]),
        (&["--ulimit", "nofile"], &["nofile"]),
        (&["--ulimit", "nofile="], &["nofile"]),
        (&["--ulimit", "nofile=x"], &["nofile", "x"]),
        (&["--ulimit", "nofile=1:x"], &["nofile"]),
        (&["--ulimit", "nofile=1:2:3"], &["nofile"]),
        (&["--ulimit", "nofile=-5"], &["-5"]),
        (&["--ulimit", "nofile=5:2"], &["nofile", "5", "2"]),
        (&["--ulimit", "nofiles=5"], &["nofiles"]),
        (&["--ulimit", "=5"], &["--ulimit"]),
        (&["--ulimit", "nofile=99999999999999999999999"], &["99999999999999999999999"]),
        (&["--shm-size", ""], &["--shm-size"]),
        (&["--shm-size", "much"], &["much"]),
        (&["--shm-size", "-5"], &["-5"]),
        (&["--shm-size", "1x"], &["1x"]),
        (&["--shm-size", "99999999999999999999g"], &["99999999999999999999g"]),
        (&["--shm-size", "18446744073709551615g"], &["18446744073709551615g"]),
    ]);
}

#[test]
fn files_of_ids() {
    let place = Scratch::new("files");
    let old = place.join("old");
    fs::write(&old, "of another").unwrap();
    let old = old.to_str().unwrap();
    let none = place.join("no/dir/file");
    let none = none.to_str().unwrap();
    let dir = place.path().to_str().unwrap();
    refused(&[
        (&["--cidfile", old], &["--cidfile", old]),
        (&["--cidfile", none], &["--cidfile", none]),
        (&["--cidfile", dir], &["--cidfile", dir]),
        (&["--cidfile", ""], &["--cidfile"]),
        (&["--pidfile", none], &["--pidfile", none]),
        (&["--pidfile", dir], &["--pidfile", dir]),
        (&["--pidfile", ""], &["--pidfile"]),
    ]);
    assert_eq!(fs::read_to_string(old).unwrap(), "of another");
}

#[test]
fn a_terminal_is_wanted_where_there_is_none() {
    refused(&[
        (&["-t"], &["-t", "terminal"]),
        (&["-it"], &["-t", "terminal"]),
        (&["--tty", "--init"], &["terminal"]),
    ]);
}

/// What a container has as its standard descriptors when ctr had not all three: never another file of ctr's or of its own,
/// so either a refusal in one line or /dev/null.
#[test]
fn standard_descriptors_that_are_closed() {
    let host = Host::before();
    let b = busybox();
    let place = Scratch::new("closed");
    let volume = format!("{}:/v", place.path().to_str().unwrap());
    for (closed, options) in [
        ("<&-", &[][..]),
        ("<&-", &["-i"]),
        ("<&-", &["--init"]),
        (">&-", &[]),
        ("2>&-", &[]),
        (">&- 2>&-", &[]),
        ("<&- >&- 2>&-", &[]),
        ("<&- >&- 2>&-", &["-i", "--init"]),
        ("<&- >&- 2>&-", &["--userns=auto", "--trace"]),
    ] {
        let seen = place.join("seen");
        let _ = fs::remove_file(&seen);
        // The pipes of this test stay open as 7 and 8 only to be closed by ctr.
        let words =
            [options, &["-v", &volume, b, "sh", "-c", "(ls -l /proc/$$/fd) >/v/seen 2>&1; echo out; echo err >&2"]]
                .concat();
        let done = around(&format!("exec {closed}; \"$@\""), &words);
        match fs::read_to_string(&seen) {
            Err(_) => {
                assert_eq!(done.code, 125, "{closed} {options:?}: {done:?}");
                assert!(closed.contains("2>&-") || done.err.lines().count() == 1, "{done:?}");
            }
            Ok(text) => {
                let fds: Vec<_> =
                    text.lines().filter_map(|l| l.split(" -> ").next()?.split_whitespace().last()).collect();
                assert_eq!(fds[fds.len().saturating_sub(3)..], ["0", "1", "2"], "{closed} {options:?}: {text}");
                for line in text.lines().filter(|l| l.contains("->")) {
                    let to = line.split(" -> ").nth(1).unwrap();
                    assert!(to == "/dev/null" || to.starts_with("pipe:"), "{closed} {options:?}: {text}");
                }
                assert_eq!(done.code, 0, "{closed} {options:?}: {done:?}");
            }
        }
        host.same_still();
    }
    host.same();
}

#[test]
fn nobody_reads_what_it_says() {
    let host = Host::before();
    // The reader goes after the first line; the command learns of it and ends, and so does ctr.
    for options in [&[][..], &["--init"], &["--userns=auto"]] {
        let words = [options, &[busybox(), "yes"]].concat();
        let done = around("\"$@\" | head -1; echo ${PIPESTATUS[0]}", &words).code(0);
        let (first, code) = done.out.trim().split_once('\n').unwrap();
        assert_eq!(first, "y");
        assert!(code == "1" || code == "141", "yes ended with {code}");
    }
    // ctr's own words to nobody: it ends, not by a panic.
    for words in ["--help", "run --help", "doctor", "--version", "run --dry-run host true"] {
        for to in ["| true", ">/dev/full", ">&-"] {
            let script = format!("\"$0\" {words} {to}; echo ${{PIPESTATUS[0]}}");
            let done = within(Command::new("bash").args(["-c", &script]).arg(ctr_path()));
            assert!(!done.err.contains("panicked") && !done.err.contains("RUST_BACKTRACE"), "{words} {to}: {done:?}");
            let code: i32 = done.out.lines().last().unwrap().parse().unwrap();
            assert!([0, 1, 125, 141].contains(&code), "{words} {to}: {done:?}");
        }
    }
    // Nor does an error that nobody can read change the code.
    for to in ["2>/dev/full", "2>&-"] {
        let done = around(&format!("\"$@\" {to}"), &["-w", "relative", busybox(), "true"]);
        assert_eq!((done.code, done.out.as_str()), (125, ""), "{to}");
        let done = around(&format!("\"$@\" {to}"), &["--trace", busybox(), "sh", "-c", "exit 3"]);
        assert_eq!((done.code, done.out.as_str()), (3, ""), "{to}");
    }
    host.same();
}

#[test]
fn the_reader_of_errors_may_be_slow() {
    let host = Host::before();
    // More than a pipe holds, to both, and nobody reads until it has to wait.
    let mut live = Live::start(&mut ctr([
        "run",
        "-i",
        busybox(),
        "sh",
        "-c",
        "seq 1 100000; seq 1 100000 >&2; echo end; read a; echo $a",
    ]));
    live.say("more\n");
    let done = live.done().code(0);
    let numbers: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    assert!(done.err == numbers, "{} bytes of {}", done.err.len(), numbers.len());
    assert!(done.out == format!("{numbers}end\nmore\n"), "{} bytes", done.out.len());
    host.same();
}

#[test]
fn few_descriptors() {
    let host = Host::before();
    let mut worked = None;
    for limit in 3..=40 {
        for options in [&[][..], &["--init", "-v", "/usr:/v", "--tmpfs=/t", "-i"], &["--userns=auto"]] {
            let words = [options, &[busybox(), "sh", "-c", "ulimit -n"]].concat();
            let done = around(&format!("ulimit -n {limit}; exec \"$@\""), &words);
            if done.code == 0 {
                assert_eq!(
                    (done.out, done.err.as_str()),
                    (format!("{limit}\n"), ""),
                    "the limit is the container's too"
                );
                worked.get_or_insert(limit);
            } else {
                done.refused(&["descriptors"]);
                assert!(limit <= 38, "not even with {limit}");
            }
            host.same_still();
        }
    }
    host.same();
}

#[test]
fn a_working_directory_that_is_gone() {
    let host = Host::before();
    let place = Scratch::new("gone");
    let script = format!("mkdir {0}/d; cd {0}/d; rmdir {0}/d; exec \"$@\"", place.path().display());
    // Nothing of it is needed for these.
    assert_eq!(around(&script, &[busybox(), "pwd"]).code(0).out, "/\n");
    assert_eq!(around(&script, &["-w", "/etc", "--userns=auto", busybox(), "pwd"]).code(0).out, "/etc\n");
    assert_eq!(around(&script, &["host", "pwd"]).code(0).out, "/\n");
    // But for these.
    around(&script, &["./tree", "true"]).refused(&["./tree"]);
    around(&script, &["-v", "./d:/d", busybox(), "true"]).refused(&["./d"]);
    around(&script, &[".", "true"]).code(125);
    host.same();
}

/// What the caller blocks is not blocked inside. What it ignores stays ignored, as in any program that is started (`nohup`);
/// but for SIGCHLD, without which ctr would not learn how its child ended.
#[test]
fn signals_blocked_or_ignored_at_the_start() {
    let host = Host::before();
    let look = "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status";
    // But for 32 and 33, which no program knows: glibc's posix_spawn leaves them ignored, and they are its own.
    let wanted = ["0000000000000000", "0000000180000000"]
        .map(|ign| format!("SigBlk:\t0000000000000000\nSigIgn:\t{ign}\nSigCgt:\t0000000000000000\n"));
    for options in [&[][..], &["--init"], &["-i"], &["--userns=auto"]] {
        let words = [options, &[busybox(), "grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"]].concat();
        for script in [
            "exec \"$@\"",
            "trap '' INT PIPE HUP QUIT TERM USR1 USR2 CHLD WINCH TSTP TTIN TTOU ALRM; exec \"$@\"",
            "nohup \"$@\" </dev/null | cat",
            "trap '' CHLD; \"$@\"; exit $?",
            "env --block-signal=INT,TERM,HUP,CHLD,USR1,WINCH,PIPE \"$@\"",
        ] {
            let done = around(script, &words).code(0);
            let ignores = script.starts_with("trap '' INT") || script.starts_with("nohup") || script.contains('&');
            let unblocked =
                done.out.starts_with("SigBlk:\t0000000000000000\n") && done.out.contains("SigCgt:\t0000000000000000");
            let line = done.out.lines().find_map(|l| l.strip_prefix("SigIgn:\t")).unwrap();
            let ignored = u64::from_str_radix(line, 16).unwrap();
            let bit = |signal: i32| ignored & (1 << (signal - 1)) != 0;
            assert!(unblocked && !bit(libc::SIGCHLD), "{options:?} {script}: {}", done.out);
            assert!(ignores || wanted.contains(&done.out), "{options:?} {script}: {}", done.out);
            assert!(!ignores || bit(libc::SIGHUP) || bit(libc::SIGINT), "{options:?} {script}: {}", done.out);
        }
    }
    // And what ctr itself cannot do without still works: it learns of the end, and of signals.
    let done = around("trap '' CHLD TERM INT; exec \"$@\"", &[busybox(), "sh", "-c", "exit 9"]);
    done.code(9);
    assert_eq!(says(&[], look).lines().next(), Some("SigBlk:\t0000000000000000"));
    host.same();
}

#[test]
fn nohup() {
    let host = Host::before();
    let place = Scratch::new("nohup");
    let script = format!("cd {}; nohup \"$@\" >out 2>&1 </dev/null & wait $!; cat out", place.path().display());
    let done = around(&script, &[busybox(), "sh", "-c", "echo fine; exit 4"]).code(0);
    assert_eq!(done.out.lines().last(), Some("fine"));
    host.same();
}

#[test]
fn a_state_directory_that_cannot_be_used() {
    let host = Host::before();
    let place = Scratch::new("state");
    fs::write(place.join("file"), "").unwrap();
    for state in ["file", "file/below"] {
        let done = within(ctr(["run", busybox(), "true"]).env("CTR_STATE", place.join(state))).code(125);
        assert!(done.out.is_empty() && done.err.starts_with("ctr: ") && done.err.contains(state), "{done:?}");
    }
    // One of its own is made, for root alone, parents too.
    within(ctr(["run", busybox(), "true"]).env("CTR_STATE", place.join("a/b"))).code(0);
    let mode = fs::metadata(place.join("a/b")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700, "{mode:o}");
    // Whatever lies in there, it is nobody's name for a crash or for something to remove outside.
    fs::write(place.join("a/b/containers/stray"), "").unwrap();
    fs::create_dir(place.join("a/b/containers/no-record")).unwrap();
    fs::create_dir(place.join("a/b/containers/garbage")).unwrap();
    fs::write(place.join("a/b/containers/garbage/record"), [0xff; 100]).unwrap();
    fs::create_dir(place.join("precious")).unwrap();
    fs::write(place.join("precious/file"), "still here").unwrap();
    symlink(place.join("precious"), place.join("a/b/containers/link")).unwrap();
    let done = within(ctr(["run", busybox(), "echo", "fine"]).env("CTR_STATE", place.join("a/b"))).code(0);
    assert_eq!(done.out, "fine\n");
    assert_eq!(fs::read_to_string(place.join("precious/file")).unwrap(), "still here");
    host.same();
}

#[test]
fn a_refusal_leaves_no_file_and_starts_no_process() {
    let host = Host::before();
    let place = Scratch::new("nothing");
    let volume = format!("{}:/v", place.path().to_str().unwrap());
    let cid = place.join("cid");
    let pid = place.join("pid");
    for bad in [
        &["-u", "nobody-knows"][..],
        &["-w", "relative"],
        &["-v", "/no/such/source:/x"],
        &["--mount", "type=x"],
        &["--dns", "x"],
    ] {
        let words = [
            &["-v", &volume, "--cidfile", cid.to_str().unwrap(), "--pidfile", pid.to_str().unwrap()],
            bad,
            &[busybox(), "touch", "/v/ran"],
        ]
        .concat();
        assert_eq!(go(words).code(125).out, "");
        let left: Vec<_> = fs::read_dir(place.path()).unwrap().collect();
        assert!(left.is_empty(), "{bad:?}: {left:?}");
        host.same_still();
    }
    // The name is free.
    let both = ["--name", "free", "-u", "nobody-knows", busybox(), "true"];
    go(both).refused(&["nobody-knows"]);
    assert_eq!(go(["--name", "free", busybox(), "echo", "fine"]).code(0).out, "fine\n");
    assert_eq!(inside(&[], "exit 5").code, 5);
    host.same();
}
