//! `ctr logs`: what a container has written, kept within bounds, shown byte for byte, followed; and no reader, slow or gone, and no
//! full disk is any concern of the container's.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::exec::{Resident, gone};
use crate::kills::start;
use crate::support::{Done, Live, Scratch, busybox, ctr, ctr_path, debian, plain, signal, until, within};
use crate::terminal::Pty;

impl Resident {
    /// `ctr logs OPTIONS… NAME`.
    #[track_caller]
    fn logs(&self, options: &[&str]) -> Done {
        within(plain(["logs"]).args(options).arg(&self.0)).code(0)
    }

    fn follow(&self, options: &[&str]) -> Live {
        Live::start(plain(["logs", "-f"]).args(options).arg(&self.0))
    }

    #[track_caller]
    fn until_its_end(&self) -> i32 {
        self.verb(&["wait"]).out.trim().parse().unwrap()
    }

    /// One that has said this, and ended.
    #[track_caller]
    fn said(name: &str, options: &[&str], script: &str) -> Resident {
        let c = Resident::new(name, options, &["sh", "-c", script]);
        c.until_its_end();
        c
    }

    /// Its log files, the oldest first.
    fn files(&self) -> Vec<PathBuf> {
        let mut all: Vec<_> = fs::read_dir(self.dir())
            .unwrap()
            .flatten()
            .map(|e| e.path())
            .filter(|p| p.file_name().unwrap().to_str().unwrap().starts_with("log"))
            .collect();
        all.sort_by_key(|p| std::cmp::Reverse(p.extension().map_or(0, |n| n.to_str().unwrap().parse().unwrap_or(0))));
        all
    }

    fn size(&self) -> u64 {
        self.files().iter().filter_map(|p| p.metadata().ok()).map(|m| m.len()).sum()
    }
}

fn numbers(from: u32, to: u32) -> String {
    (from..=to).map(|n| format!("{n}\n")).collect()
}

/// One line of the kubelet's format, checked to the letter: stream, whether it is full, text.
#[track_caller]
fn entry(line: &[u8]) -> (&str, bool, &[u8]) {
    // ^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) (P|F) [^\n]*$
    let shape = b"dddd-dd-ddTdd:dd:dd.dddddddddZ ";
    let shown = || String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
    let fits = line.len() > shape.len()
        && shape.iter().zip(line).all(|(s, b)| if *s == b'd' { b.is_ascii_digit() } else { s == b });
    assert!(fits, "{:?}", shown());
    let rest = &line[shape.len()..];
    let stream = match rest.get(..7) {
        Some(b"stdout ") => "stdout",
        Some(b"stderr ") => "stderr",
        _ => panic!("{:?}", shown()),
    };
    let full = match rest.get(7..9) {
        Some(b"F ") => true,
        Some(b"P ") => false,
        _ => panic!("{:?}", shown()),
    };
    (stream, full, &rest[9..])
}

/// Every line of every file; what they put together for each of the two streams.
#[track_caller]
fn assembled(c: &Resident) -> [Vec<u8>; 2] {
    let mut all = [Vec::new(), Vec::new()];
    for path in c.files() {
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.is_empty() || bytes.ends_with(b"\n"), "{} ends within a line", path.display());
        for line in bytes.strip_suffix(b"\n").into_iter().flat_map(|b| b.split(|b| *b == b'\n')) {
            let (stream, full, text) = entry(line);
            let to = &mut all[usize::from(stream == "stderr")];
            to.extend_from_slice(text);
            if full {
                to.push(b'\n');
            }
        }
    }
    all
}

#[test]
fn both_streams_and_their_times() {
    let host = start();
    let before = SystemTime::now();
    let c =
        Resident::said("both", &[], "echo one; echo two >&2; echo; echo '  three  '; echo four >&2; printf 'no end'");
    let done = c.logs(&[]);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("one\n\n  three  \nno end", "two\nfour\n"));
    for option in ["-t", "--timestamps"] {
        let done = c.logs(&[option]);
        let mut times = Vec::new();
        let mut said = [Vec::new(), Vec::new()];
        for (to, text) in said.iter_mut().zip([&done.out, &done.err]) {
            for line in text.lines() {
                let (time, rest) = line.split_once(' ').unwrap();
                let full = [time.as_bytes(), b" stdout F ", rest.as_bytes()].concat();
                assert_eq!(entry(&full).2, rest.as_bytes());
                times.push(time.to_owned());
                to.push(rest.to_owned());
            }
        }
        assert_eq!(said, [vec!["one", "", "  three  ", "no end"], vec!["two", "four"]]);
        // All of them are of this very moment.
        let seconds = |time: &str| -> u64 {
            let done = within(Command::new("date").args(["-u", "+%s", "-d", time])).code(0);
            done.out.trim().parse().unwrap()
        };
        let began = before.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert!(times.iter().all(|t| (began..began + 20).contains(&seconds(t))), "{times:?}");
    }
    // Order between the streams is kept in the file.
    let file = fs::read_to_string(c.dir().join("log")).unwrap();
    let order: Vec<_> = file.lines().map(|l| String::from_utf8_lossy(entry(l.as_bytes()).2).into_owned()).collect();
    assert_eq!(order.len(), 6, "{order:?}");
    assert_eq!(assembled(&c)[1], b"two\nfour\n");
    // It outlives the container, but not `rm`; nobody else may read it.
    let dir = c.dir();
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&fs::metadata(dir.join("log")).unwrap()) & 0o7777, 0o600);
    c.verb(&["rm"]);
    assert!(!dir.exists());
    within(&mut plain(["logs", "both"])).refused(&["both", "ctr ps -a"]);
    drop(c);
    host.same_soon();
    host.same();
}

#[test]
fn bad_words() {
    let host = start();
    let c = Resident::said("words", &[], "echo x");
    let logs = |words: &[&str]| within(plain(["logs"]).args(words));
    logs(&[]).refused(&["CONTAINER"]);
    logs(&["words", "words"]).refused(&["one CONTAINER"]);
    logs(&["nobody"]).refused(&["nobody", "ctr ps -a"]);
    for tail in ["-1", "x", "1.5", "", "0x10", "+-1"] {
        logs(&[&format!("--tail={tail}"), "words"]).refused(&["--tail"]);
    }
    for option in ["--since", "--until"] {
        for time in ["yesterday-ish", "", "10", "10 m", "-", "2026-13-01", "2026-11-22T25:00:00Z", "m10", "1e9"] {
            let done = logs(&[&format!("{option}={time}"), "words"]);
            // A plain number is unix seconds.
            if time == "10" || time == "1e9" && done.code == 0 {
                done.code(0);
            } else {
                done.refused(&[option]);
            }
        }
    }
    for option in [
        "max-size=0",
        "max-size=-1",
        "max-size=x",
        "max-size=",
        "max-file=0",
        "max-file=-1",
        "max-file=x",
        "max-file=101",
        "nope=1",
        "max-size",
        "",
    ] {
        within(&mut plain(["run", "-d", "--log-opt", option, busybox(), "true"])).refused(&["--log-opt"]);
    }
    let help = logs(&["--help"]).code(0).out;
    assert!(help.contains("max-size=10m") && help.contains("max-file=3"), "{help}");
    drop(c);
    // One that was never started has said nothing.
    let c = Resident("words".into());
    within(&mut plain(["create", "--name=words", busybox(), "true"])).code(0);
    for options in [&[][..], &["--tail=3"], &["-t"]] {
        let done = c.logs(options);
        assert_eq!((done.out.as_str(), done.err.as_str()), ("", ""));
    }
    drop(c);
    host.same();
}

#[test]
fn the_last_lines_alone() {
    let host = start();
    // Enough for several files.
    for options in [&[][..], &["--log-opt=max-size=8k", "--log-opt=max-file=100"]] {
        let c = Resident::said("tail", options, "seq 5000");
        assert!(options.is_empty() || c.files().len() > 10);
        for count in [0, 1, 2, 100, 4999, 5000, 5001, u32::MAX] {
            let wanted = numbers(5001_u32.saturating_sub(count).max(1), 5000);
            for option in
                [&["--tail", &count.to_string()][..], &["-n", &count.to_string()], &[&format!("--tail={count}")]]
            {
                assert!(c.logs(option).out == wanted, "{option:?}");
            }
        }
        assert!(c.logs(&["--tail=all"]).out == numbers(1, 5000));
        let timed = c.logs(&["-t", "--tail=3"]).out;
        assert_eq!(timed.lines().map(|l| l.split_once(' ').unwrap().1).collect::<Vec<_>>(), ["4998", "4999", "5000"]);
        drop(c);
    }
    // Lines, not entries: a long one is one, and one that has not ended is one.
    let c = Resident::said(
        "tail",
        &[],
        "echo first; head -c 100000 /dev/zero | tr '\\0' x; echo; sleep 0.1; echo err >&2; sleep 0.1; printf rest",
    );
    let long = "x".repeat(100_000);
    assert!(c.logs(&["--tail=1"]).out == "rest");
    let two = c.logs(&["--tail=2"]);
    assert_eq!((two.out.as_str(), two.err.as_str()), ("rest", "err\n"));
    assert!(c.logs(&["--tail=3"]).out == format!("{long}\nrest"));
    assert!(c.logs(&["--tail=4"]).out == format!("first\n{long}\nrest"));
    let timed = c.logs(&["-t", "--tail=3"]).out;
    assert_eq!(timed.lines().count(), 2, "one time for a line");
    assert!(timed.lines().next().unwrap().ends_with(&long));
    drop(c);
    host.same();
}

/// A log whose times we choose; and lines of other programs that write this format.
#[test]
fn between_two_times() {
    let host = start();
    let c = Resident::said("times", &[], "true");
    let file = "2026-01-01T00:00:00.000000000Z stdout F first\n\
                2026-01-01T10:00:00.500000000Z stdout F second\n\
                2026-01-01T10:00:01.000000001Z stderr F third\n\
                no entry at all\n\
                2026-01-02T00:00:00Z stdout F fourth\n\
                2026-01-02T02:00:00+01:00 stdout F fifth\n\
                2026-01-02T03:00:00.1Z stdout P six\n\
                2026-01-02T03:00:00.2Z stdout F:tags th\n\
                2099-01-01T00:00:00.000000000Z stdout F of the future\n";
    fs::write(c.dir().join("log"), file).unwrap();
    let all = ["first", "second", "third", "fourth", "fifth", "sixth", "of the future"];
    let shown = |options: &[&str]| -> Vec<usize> {
        let done = c.logs(options);
        let mut seen: Vec<_> = done
            .out
            .lines()
            .chain(done.err.lines())
            .map(|l| all.iter().position(|a| *a == l).unwrap_or_else(|| panic!("{l:?}")))
            .collect();
        seen.sort();
        seen
    };
    assert_eq!(shown(&[]), [0, 1, 2, 3, 4, 5, 6]);
    for (options, wanted) in [
        (&["--since=2026-01-01T10:00:00Z"][..], &[1, 2, 3, 4, 5, 6][..]),
        (&["--since", "2026-01-01T10:00:00.6Z"], &[2, 3, 4, 5, 6]),
        (&["--since=2026-01-01T12:00:00+02:00"], &[1, 2, 3, 4, 5, 6]),
        (&["--since=2026-01-02"], &[3, 4, 5, 6]),
        (&["--since=2026-01-02T00:30:00"], &[4, 5, 6]),
        (&["--since=1767312000"], &[3, 4, 5, 6]),
        (&["--since=1767261600.6"], &[2, 3, 4, 5, 6]),
        (&["--until=2026-01-01T10:00:01Z"], &[0, 1]),
        (&["--until=1767261601"], &[0, 1]),
        (&["--since=2026-01-01T01:00:00Z", "--until=2026-01-02T00:30:00Z"], &[1, 2, 3]),
        (&["--since=2026-01-03", "--until=2026-01-04"], &[]),
        (&["--since=2026-01-04", "--until=2026-01-03"], &[]),
        (&["--until=0s"], &[0, 1, 2, 3, 4, 5]),
        (&["--since=0s"], &[6]),
        (&["--since=1m"], &[6]),
        (&["--since=87600h"], &[0, 1, 2, 3, 4, 5, 6]),
        (&["--until=87600h"], &[]),
        // The last of those, and of both streams.
        (&["--until=2026-01-02T00:30:00Z", "--tail=2"], &[2, 3]),
        (&["--since=2026-01-01T01:00:00Z", "--tail=1"], &[6]),
        (&["--since=2026-01-01T01:00:00Z", "--tail=0"], &[]),
        // Nothing can come any more.
        (&["-f", "--until=2026-01-01T10:00:01Z"], &[0, 1]),
    ] {
        assert_eq!(shown(options), wanted, "{options:?}");
    }
    assert_eq!(
        c.logs(&["-t", "--since=2026-01-02T00:30:00Z", "--until=2026-01-02T01:30:00Z"])
            .out
            .split_once(' ')
            .unwrap()
            .1,
        "fifth\n"
    );
    drop(c);
    // And real ones: what came before we looked, and after.
    let c = Resident::new("times", &["-i"], &["cat"]);
    let mut live = Live::start(&mut plain(["attach", "times"]));
    live.say("before\n");
    live.hear("before\n");
    until("it to be logged", || c.logs(&[]).out.contains("before").then_some(()));
    std::thread::sleep(Duration::from_millis(60));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let now = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
    std::thread::sleep(Duration::from_millis(60));
    live.say("after\n");
    live.hear("after\n");
    until("it to be logged", || c.logs(&[]).out.contains("after").then_some(()));
    assert_eq!(c.logs(&["--since", &now]).out, "after\n");
    assert_eq!(c.logs(&["--until", &now]).out, "before\n");
    assert_eq!(c.logs(&["--since=50ms"]).out.contains("before"), false);
    assert_eq!(c.logs(&["--since=10m"]).out, "before\nafter\n");
    assert_eq!(c.logs(&["--until=10m"]).out, "");
    live.signal(libc::SIGKILL);
    drop((live, c));
    host.same_soon();
    host.same();
}

/// Long lines, and bytes that are no text, come out as they went in.
#[test]
fn every_byte_is_kept() {
    let host = start();
    let place = Scratch::new("bytes");
    let mut bytes: Vec<u8> = (0..=255).collect();
    bytes.extend(b"\r\n\n\r\0\n\x1b[31mred\x1b[0m\n");
    // All sizes around those that a writer may cut at.
    for size in [4095, 4096, 4097, 8192, 16383, 16384, 16385, 20480, 32768, 65536, 65537, 1 << 20] {
        bytes.extend(
            (0..size)
                .map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
                .map(|b| if b == b'\n' { 0 } else { b }),
        );
        bytes.push(b'\n');
    }
    let mut state = 88_172_645_463_325_252_u64;
    bytes.extend((0..300_000).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    }));
    fs::write(place.join("data"), &bytes).unwrap();
    let volume = format!("-v{}:/v:ro", place.path().display());
    for end in ["", "; echo"] {
        let wanted = [&bytes[..], if end.is_empty() { b"" } else { b"\n" }].concat();
        for options in [&[][..], &["--log-opt=max-size=100k", "--log-opt=max-file=100"]] {
            let script = format!("cat /v/data{end}; exec >&2; cat /v/data{end}");
            let c = Resident::new("bytes", &[&[volume.as_str()], options].concat(), &["sh", "-c", &script]);
            // A follower, from the beginning or from somewhere within.
            let follower = c.follow(&[]);
            c.until_its_end();
            for (how, (code, out, err)) in [
                ("followed", follower.bytes()),
                ("shown", c.follow(&[]).bytes()),
                ("again", Live::start(&mut plain(["logs", "bytes"])).bytes()),
            ] {
                assert_eq!(code, 0);
                for (stream, said) in [("out", &out), ("err", &err)] {
                    let at = said.iter().zip(&wanted).position(|(a, b)| a != b);
                    assert!(
                        *said == wanted,
                        "{how} {stream} {options:?}: {} bytes, wanted {}, differ at {at:?}",
                        said.len(),
                        wanted.len()
                    );
                }
            }
            let [out, err] = assembled(&c);
            assert!(out.starts_with(&wanted) && err.starts_with(&wanted) && out.len() <= wanted.len() + 1);
            drop(c);
        }
    }
    // Slowly, byte by byte, with ends of lines that come later; two streams in turn.
    let c = Resident::said(
        "bytes",
        &[],
        "for n in 1 2 3; do printf a; printf A >&2; sleep 0.05; printf b; sleep 0.15; printf 'c\\n'; printf 'B\\n' >&2; done",
    );
    let done = c.logs(&[]);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("abc\nabc\nabc\n", "AB\nAB\nAB\n"));
    assembled(&c);
    drop(c);
    host.same_soon();
    host.same();
}

/// Field note 29: never more than it may be, not even for a moment; and by default too.
#[test]
fn it_never_takes_more_than_it_may() {
    let host = start();
    for (options, most) in [
        (&["--log-opt=max-size=64k", "--log-opt=max-file=2"][..], 128 << 10),
        (&["--log-opt", "max-size=16k,max-file=4"], 64 << 10),
        (&["--log-opt=max-size=20k", "--log-opt=max-file=1"], 20 << 10),
        (&[], 30 << 20),
    ] {
        let lines = if options.is_empty() { 900_000 } else { 60_000 };
        let script = format!("seq {lines}; exit 3");
        let c = Resident::new("bound", options, &["sh", "-c", &script]);
        let mut largest = 0;
        until("its end", || {
            largest = largest.max(c.size());
            (c.ask("{{.State.Running}}") == "false").then_some(())
        });
        assert_eq!(c.until_its_end(), 3);
        let size = c.size();
        assert!(largest.max(size) <= most, "{options:?}: {largest} and {size}, allowed {most}");
        assert!(size > most / 4, "{options:?}: {size} of {most}: it keeps less than it could");
        // What is left is the end of it, whole.
        let shown = c.logs(&[]).out;
        let first: u32 = shown.lines().next().unwrap().parse().unwrap();
        assert!(first > 1 && shown == numbers(first, lines), "{options:?}: from {first}");
        assert_eq!(c.logs(&["--tail=1"]).out, format!("{lines}\n"));
        assembled(&c);
        assert_eq!(c.ask("{{.DroppedLogBytes}}"), "0");
        drop(c);
    }
    host.same_soon();
    host.same();
}

#[test]
fn following() {
    let host = start();
    let c = Resident::new(
        "follow",
        &["-i"],
        &["sh", "-c", "echo old; while read l; do echo out $l; echo err $l >&2; done; exit 4"],
    );
    until("the first line", || (c.logs(&[]).out == "old\n").then_some(()));
    let mut all = c.follow(&[]);
    let mut new = c.follow(&["--tail=0"]);
    let mut timed = c.follow(&["-t", "--tail=1"]);
    let mut long = Live::start(&mut plain(["logs", "--follow", "follow"]));
    all.hear("old\n");
    long.hear("old\n");
    timed.hear("Z old\n");
    let mut input = Live::start(&mut plain(["attach", "follow"]));
    for n in 1..=20 {
        let begun = Instant::now();
        input.say(format!("{n}\n"));
        all.hear(&format!("out {n}\n"));
        all.hear_err(&format!("err {n}\n"));
        assert!(begun.elapsed() < Duration::from_secs(1), "line {n} took {:?}", begun.elapsed());
    }
    assert_eq!(new.hear("out 20\n").matches("old").count(), 0);
    timed.hear("Z out 20\n");
    // One that is killed disturbs nobody.
    long.signal(libc::SIGKILL);
    long.done().code(137);
    // A signal ends it; that is the end of the follower alone.
    let polite = c.follow(&[]);
    polite.signal(libc::SIGTERM);
    polite.done().code(143);
    // A pause is not the end.
    c.verb(&["pause"]);
    c.verb(&["unpause"]);
    input.say("last\n");
    all.hear("out last\n");
    input.signal(libc::SIGKILL);
    drop(input);
    // What has not ended its line is seen too.
    c.verb(&["stop", "-t0"]);
    let done = all.done().code(0);
    assert!(done.out.ends_with("out last\n") && done.err.ends_with("err last\n"));
    timed.done().code(0);
    new.done().code(0);
    // Of one that has ended: all of it, and at once.
    let done = c.follow(&["--tail=1"]).done().code(0);
    assert_eq!(done.out.len() + done.err.len(), "err last\n".len());
    drop(c);
    // A prompt, which waits for an answer on its line.
    let c = Resident::new("follow", &["-i"], &["sh", "-c", "printf 'name? '; read l; echo hello $l"]);
    let mut all = c.follow(&[]);
    all.hear("name? ");
    let mut input = Live::start(&mut plain(["attach", "follow"]));
    input.say("you\n");
    all.hear("hello you\n");
    all.done().code(0);
    input.done().code(0);
    drop(c);
    host.same_soon();
    host.same();
}

/// Whoever follows sees every line, in order, through all changes of files, as long as he keeps up.
#[test]
fn following_through_changes_of_files() {
    let host = start();
    // As fast as it goes, with room for a reader that is a little late.
    let c = Resident::new(
        "fast",
        &["-i", "--log-opt=max-size=1m", "--log-opt=max-file=20"],
        &["sh", "-c", "read go; seq 200000; exit 3"],
    );
    let followers: Vec<_> = (0..3).map(|_| c.follow(&[])).collect();
    let mut input = Live::start(&mut plain(["attach", "--sig-proxy=false", "fast"]));
    input.say("go\n");
    for follower in followers {
        let done = follower.done().code(0);
        let wanted = numbers(1, 200_000);
        let at = done.out.lines().zip(1..).find(|(line, n)| *line != n.to_string());
        assert!(
            done.out == wanted && done.err.is_empty(),
            "{} bytes of {}, first wrong {at:?}, {:?}",
            done.out.len(),
            wanted.len(),
            done.err
        );
    }
    input.done().code(3);
    assert!(c.files().len() > 5);
    drop(c);
    // Small files: many changes, at a pace that anybody can keep.
    let script =
        "n=0; while [ $n -lt 200 ]; do seq $((n * 100 + 1)) $((n * 100 + 100)); n=$((n + 1)); sleep 0.01; done";
    let c = Resident::new("paced", &["--log-opt=max-size=64k", "--log-opt=max-file=2"], &["sh", "-c", script]);
    let follower = c.follow(&[]);
    let done = follower.done().code(0);
    assert!(
        done.out == numbers(1, 20_000) && done.err.is_empty(),
        "{} lines, {:?}",
        done.out.lines().count(),
        done.err
    );
    assert!(c.size() <= 128 << 10);
    drop(c);
    // Faster than anybody can read: what is gone is gone, but it is said, and nothing is torn or out of order.
    let c = Resident::new(
        "late",
        &["-i", "--log-opt=max-size=8k", "--log-opt=max-file=2"],
        &["sh", "-c", "read go; seq 300000; exit 3"],
    );
    let mut command = plain(["logs", "-f", "late"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = Live::start(&mut plain(["attach", "--sig-proxy=false", "late"]));
    input.say("go\n");
    assert_eq!(c.until_its_end(), 3, "a follower that does not read is no burden");
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert!(until("its end", || child.try_wait().unwrap()).success(), "{err}");
    let seen: Vec<u32> = out.lines().map(|l| l.parse().unwrap_or_else(|_| panic!("torn: {l:?}"))).collect();
    assert!(seen.windows(2).all(|w| w[0] < w[1]), "out of order");
    assert_eq!(seen.last(), Some(&300_000));
    assert!(
        seen.len() == 300_000 || err.starts_with("ctr: "),
        "{} lines are missing and nobody says so",
        300_000 - seen.len()
    );
    input.done().code(3);
    drop(c);
    host.same_soon();
    host.same();
}

/// `ctr logs -f C | head -1`.
#[test]
fn a_reader_that_leaves() {
    let host = start();
    for (what, script) in
        [("goes on", "while echo tick; do sleep 0.01; done"), ("is quiet", "echo tick; exec sleep 1000")]
    {
        let c = Resident::new("head", &[], &["sh", "-c", script]);
        let mut child = plain(["logs", "-f", "head"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut some = [0; 5];
        child.stdout.take().unwrap().read_exact(&mut some).unwrap();
        let status = until(&format!("the end of logs of one that {what}"), || child.try_wait().unwrap());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        // As any other filter: by SIGPIPE, or as if by it, and without a word.
        assert!(err.is_empty(), "{what}: {status:?} {err}");
        assert_eq!(c.ask("{{.State.Running}}"), "true");
        drop(c);
    }
    let c = Resident::said("head", &[], "seq 100000");
    let mut shell = Command::new("sh");
    let done = within(shell.args(["-c", "\"$@\" | head -2", "sh"]).arg(ctr_path()).args(["logs", "head"])).code(0);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("1\n2\n", ""));
    drop(c);
    host.same_soon();
    host.same();
}

#[test]
fn all_its_lives() {
    let host = start();
    let c =
        Resident::new("lives", &[], &["sh", "-c", "echo began; echo err >&2; printf 'no end'; sleep 0.2; exit 2"]);
    let first = c.follow(&[]);
    c.until_its_end();
    first.done().code(0);
    c.verb(&["start"]);
    c.until_its_end();
    c.verb(&["restart", "-t0"]);
    c.until_its_end();
    let done = c.logs(&[]);
    assert_eq!(done.out.matches("began\n").count(), 3, "{done:#?}");
    assert_eq!(done.out.matches("no end").count(), 3, "{done:#?}");
    assert_eq!(done.err, "err\nerr\nerr\n");
    assembled(&c);
    // Since it was started: the last life alone.
    let began = c.ask("{{.State.StartedAt}}");
    assert_eq!(c.logs(&["--since", &began]).out.matches("began").count(), 1);
    drop(c);
    // One that comes back by itself: who follows goes on until it stays down.
    let c = Resident::new("lives", &["--restart=on-failure:3"], &["sh", "-c", "echo life; sleep 0.05; exit 1"]);
    let follower = c.follow(&[]);
    let done = follower.done().code(0);
    assert_eq!(done.out, "life\n".repeat(4), "followed through its restarts");
    assert_eq!(c.logs(&[]).out, "life\n".repeat(4));
    drop(c);
    host.same_soon();
    host.same();
}

/// Every way of running one.
#[test]
fn of_all_kinds_of_containers() {
    let host = start();
    let script = "echo out; echo err >&2; exit 1";
    for options in [
        &["-d"][..],
        &["-di"],
        &[],
        &["-d", "--init"],
        &["-d", "--userns=auto"],
        &["-d", "-u33"],
        &["-d", "--pid=host"],
        &["-d", "--read-only"],
    ] {
        let c = Resident("kinds".into());
        within(plain(["run", "--name=kinds"]).args(options).args([busybox(), "sh", "-c", script]));
        c.until_its_end();
        let done = c.logs(&[]);
        assert_eq!((done.out.as_str(), done.err.as_str()), ("out\n", "err\n"), "{options:?}");
        drop(c);
    }
    // /dev/stdout by name, as daemons do.
    for options in [&[][..], &["-u33"], &["--userns=auto", "-u33"]] {
        let c = Resident::said(
            "kinds",
            options,
            "echo out >/dev/stdout; echo err >/dev/stderr; echo more >/proc/self/fd/1",
        );
        let done = c.logs(&[]);
        assert_eq!((done.out.as_str(), done.err.as_str()), ("out\nmore\n", "err\n"), "{options:?}");
        drop(c);
    }
    // A terminal: all of it is its output, as a terminal makes it.
    let ctr = ctr_path().display().to_string();
    for options in ["-dt", "-dit", "-it"] {
        let c = Resident("kinds".into());
        let mut pty =
            Pty::start("exec \"$@\"", &[&ctr, "run", options, "--name=kinds", busybox(), "sh", "-c", script], 24, 80);
        pty.end();
        c.until_its_end();
        let done = c.logs(&[]);
        assert_eq!((done.out.as_str(), done.err.as_str()), ("out\r\nerr\r\n", ""), "{options}");
        drop((pty, c));
    }
    // One that is its own ctr's alone has none, and that is said.
    let mut live = Live::start(&mut ctr_run_rm());
    live.hear("up\n");
    let done = within(&mut plain(["logs", "kinds"]));
    assert!(done.code == 0 && done.out == "up\n" || done.code == 125 && done.err.contains("--rm"), "{done:#?}");
    live.signal(libc::SIGKILL);
    drop(live);
    within(&mut plain(["run", "--rm", busybox(), "true"])).code(0);
    host.same_soon();
    host.same();
}

fn ctr_run_rm() -> Command {
    ctr(["run", "--name=kinds", busybox(), "sh", "-c", "echo up; exec sleep 1000"])
}

/// Two hundred thousand lines on both streams at once: each stream in order, nothing lost, nothing mixed up.
#[test]
fn two_streams_at_once() {
    let host = start();
    let c = Resident::new(
        "two",
        &["--log-opt=max-size=1m", "--log-opt=max-file=40"],
        &["sh", "-c", "seq 100000 & seq 100000 >&2; wait"],
    );
    let follower = c.follow(&[]);
    c.until_its_end();
    let wanted = numbers(1, 100_000);
    for done in [follower.done().code(0), c.logs(&[])] {
        assert!(done.out == wanted && done.err == wanted, "{} and {} bytes", done.out.len(), done.err.len());
    }
    drop(c);
    host.same_soon();
    host.same();
}

/// A small file system for `CTR_ROOT`, unmounted when dropped.
struct SmallDisk(Scratch);

impl SmallDisk {
    fn new(name: &str, size: &str) -> SmallDisk {
        let place = Scratch::new(name);
        for dir in ["disk", "v"] {
            fs::create_dir(place.join(dir)).unwrap();
        }
        within(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "ctr-test"])
                .arg(place.join("disk")),
        )
        .code(0);
        SmallDisk(place)
    }

    fn ctr(&self, words: &[&str]) -> Command {
        let mut command = plain(words);
        command.env("CTR_ROOT", self.0.join("disk"));
        command
    }

    #[track_caller]
    fn says(&self, words: &[&str]) -> String {
        within(&mut self.ctr(words)).code(0).out
    }

    /// Not a byte is left.
    fn fill(&self) {
        let mut file = File::create(self.0.join("disk/ballast")).unwrap();
        for size in [4096, 1] {
            while file.write(&vec![0; size]).is_ok() {}
        }
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("disk/ballast")).unwrap();
    }

    fn touch(&self, name: &str) {
        fs::write(self.0.join("v").join(name), "").unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.ctr(&["rm", "-f", "full"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let _ = Command::new("umount").arg("-l").arg(self.0.join("disk")).status();
    }
}

#[test]
fn a_full_disk_is_no_concern_of_the_container() {
    let host = start();
    let disk = SmallDisk::new("full-disk", "3m");
    let volume = format!("-v{}:/v", disk.0.join("v").display());
    // Its own writes go to the volume, which is on another disk.
    let script = "echo first; touch /v/up; wait_for() { while [ ! -e /v/$1 ]; do sleep 0.01; done; }; wait_for full; \
                  seq 100000; seq 1000 >&2; touch /v/written; wait_for empty; echo last; wait_for end; exit 3";
    disk.says(&["run", "-d", "--name=full", &volume, busybox(), "sh", "-c", script]);
    let there = |name: &str| until(name, || disk.0.join("v").join(name).exists().then_some(()));
    there("up");
    until("the first line", || (disk.says(&["logs", "full"]) == "first\n").then_some(()));
    disk.fill();
    disk.touch("full");
    let begun = Instant::now();
    there("written");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(disk.says(&["inspect", "--format={{.State.Running}}", "full"]), "true\n");
    // What is there can still be read, and somebody attached sees what comes.
    assert!(disk.says(&["logs", "full"]).starts_with("first\n"));
    disk.empty();
    disk.touch("empty");
    let total = (numbers(1, 100_000).len() + numbers(1, 1000).len()) as u64;
    let done = until("the word of it", || {
        let done = within(&mut disk.ctr(&["logs", "full"])).code(0);
        done.out.ends_with("last\n").then_some(done)
    });
    disk.touch("end");
    assert_eq!(disk.says(&["wait", "full"]), "3\n");
    // It is said, once, where it happened, and the numbers are true.
    let words: Vec<_> = done.err.lines().filter(|l| l.starts_with("ctr: log: ")).collect();
    assert_eq!(words.len(), 1, "{:?}", &done.err[done.err.len().saturating_sub(1000)..]);
    assert!(words[0].contains("dropped") && words[0].contains("No space left"), "{words:?}");
    let number = |at: usize| words[0].split_whitespace().filter_map(|w| w.parse::<u64>().ok()).nth(at).unwrap();
    let shown = (done.out.len() - "first\nlast\n".len() + done.err.len() - words[0].len() - 1) as u64;
    assert_eq!(number(0) + shown, total, "{words:?}, {shown} bytes are there");
    assert!(number(1) > 90_000 && number(1) <= 101_000, "{words:?}");
    // And in the record, for as long as it lives.
    let record = fs::read_to_string(disk.0.join("disk/containers/full/record")).unwrap();
    let dropped = record.lines().find_map(|l| l.strip_prefix("dropped ")).unwrap_or_else(|| panic!("{record}"));
    assert_eq!(dropped.split(' ').next().unwrap().parse::<u64>().unwrap(), number(0), "{record}");
    assert_eq!(
        disk.says(&["inspect", "--format={{.DroppedLogBytes}}", "full"]).trim().parse::<u64>().unwrap(),
        number(0)
    );
    drop(disk);
    host.same_soon();
    host.same();
}

/// It ends while the disk is full: how it ended is known all the same once there is room.
#[test]
fn ending_on_a_full_disk() {
    let host = start();
    let disk = SmallDisk::new("full-end", "3m");
    let volume = format!("-v{}:/v", disk.0.join("v").display());
    let script = "echo first; touch /v/up; while [ ! -e /v/full ]; do sleep 0.01; done; seq 20000; exit 3";
    disk.says(&["run", "-d", "--name=full", &volume, busybox(), "sh", "-c", script]);
    until("it to be up", || disk.0.join("v/up").exists().then_some(()));
    disk.fill();
    let waiter = Live::start(&mut disk.ctr(&["wait", "full"]));
    disk.touch("full");
    let done = waiter.done().code(0);
    assert_eq!(done.out, "3\n");
    let done = within(&mut disk.ctr(&["ps", "-a", "--format={{.Names}} {{.Status}}"]));
    assert!(done.code == 0 && done.out.starts_with("full Exited (3)"), "{done:#?}");
    disk.empty();
    assert_eq!(disk.says(&["inspect", "--format={{.State.ExitCode}}", "full"]), "3\n");
    assert!(disk.says(&["logs", "full"]).starts_with("first\n"));
    within(&mut disk.ctr(&["rm", "full"])).code(0);
    drop(disk);
    host.same_soon();
    host.same();
}

/// Its supervisor is killed: what was written is still there, and who follows does not hang when the container ends.
#[test]
fn without_its_supervisor() {
    let host = start();
    let c = Resident::new("lost", &[], &["sh", "-c", "echo up; exec sleep 1000"]);
    let mut follower = c.follow(&[]);
    follower.hear("up\n");
    let pid = c.pid();
    signal(c.ask("{{.Supervisor.Pid}}").parse().unwrap(), libc::SIGKILL);
    assert_eq!(c.logs(&[]).out, "up\n");
    within(&mut plain(["kill", "lost"]));
    until("the end of its process", || gone(pid).then_some(()));
    let done = follower.done();
    assert!(done.code == 0 || done.code == 125 && done.err.starts_with("ctr: "), "{done:#?}");
    assert_eq!(c.logs(&[]).out, "up\n");
    drop(c);
    host.same_soon();
    host.same();
}

/// A container that is removed while somebody follows.
#[test]
fn removed_under_a_follower() {
    let host = start();
    let c = Resident::new("removed", &[], &["sh", "-c", "echo up; while echo tick; do sleep 0.01; done"]);
    let mut follower = c.follow(&[]);
    follower.hear("tick\n");
    c.verb(&["rm", "-f"]);
    let done = follower.done();
    assert!(done.code == 0 && done.err.is_empty(), "{done:#?}");
    drop(c);
    // One that removes itself: all of it is seen.
    let c = Resident::new("removed", &["--rm"], &["sh", "-c", "echo up; sleep 0.3; seq 1000"]);
    let done = c.follow(&[]).done().code(0);
    assert_eq!(done.out, format!("up\n{}", numbers(1, 1000)));
    drop(c);
    host.same_soon();
    host.same();
}
