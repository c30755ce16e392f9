//! `-t`: a real terminal on a real pseudo-terminal outside, and what happens to both.
#![allow(unsafe_code)]

use crate::support::{Host, LIMIT, Scratch, Way, both_ways, busybox, ctr_path, debian, plain, signal, until, within};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::Instant;

/// A terminal on which somebody started ctr. A shell is the session's leader, as in life, and stays when ctr ends.
pub struct Pty {
    master: File,
    /// Kept open, so that the terminal does not end with whoever uses it.
    slave: File,
    leader: Child,
    heard: Vec<u8>,
    seen: usize,
    /// ctr.
    pub pid: i32,
}

/// What a program that leaves a terminal must have put back.
#[derive(Debug, PartialEq, Clone)]
pub struct Modes {
    flags: [u32; 4],
    keys: [u8; 32],
}

impl Modes {
    pub fn raw(&self) -> bool {
        self.flags[3] & (libc::ICANON | libc::ECHO | libc::ISIG | libc::IEXTEN) == 0
            && self.flags[1] & libc::OPOST == 0
    }
}

impl Pty {
    /// `ctr run WORDS…` on a terminal of 24 × 80.
    #[track_caller]
    pub fn run(way: Way, words: &[&str]) -> Pty {
        Pty::sized(way, words, 24, 80)
    }

    #[track_caller]
    pub fn sized(way: Way, words: &[&str], rows: u16, columns: u16) -> Pty {
        let ctr = ctr_path().into_os_string().into_string().unwrap();
        let all = [&[ctr.as_str(), "run"], way.options(), words].concat();
        Pty::start("exec \"$@\"", &all, rows, columns)
    }

    /// Any shell script around it, which has the words as "$@".
    #[track_caller]
    pub fn start(script: &str, words: &[&str], rows: u16, columns: u16) -> Pty {
        let (mut master, mut slave) = (0, 0);
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: two places for two descriptors, and a size that is only read.
        let r = unsafe { libc::openpty(&mut master, &mut slave, std::ptr::null_mut(), std::ptr::null(), &size) };
        assert_eq!(r, 0, "openpty: {}", std::io::Error::last_os_error());
        // SAFETY: they have just been made and are nobody else's.
        let [master, slave] = [master, slave].map(|fd| unsafe {
            libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            File::from_raw_fd(fd)
        });
        let around = format!(
            "trap : INT QUIT; sh -c 'echo \"[pid=$$]\"; {}' sh \"$@\"; echo \"[code=$?]\"; exec cat >/dev/null",
            script.replace('\'', "'\\''")
        );
        let mut command = Command::new("sh");
        command.args(["-c", &around, "sh"]).args(words);
        command
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave.try_clone().unwrap());
        command.env("TERM", "xterm");
        // SAFETY: two system calls, nothing that allocates or locks.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let leader = command.spawn().unwrap();
        let mut pty = Pty { master, slave, leader, heard: Vec::new(), seen: 0, pid: 0 };
        pty.hear("[pid=");
        pty.pid = pty.hear("]").parse().unwrap();
        pty.hear("\n");
        pty
    }

    /// Waits until the terminal shows this; what it showed before that since the last time.
    #[track_caller]
    pub fn hear(&mut self, text: &str) -> String {
        let end = Instant::now() + LIMIT;
        // Where it may begin that has not been looked at.
        let mut from = self.seen;
        loop {
            if let Some(at) = self.heard[from..].windows(text.len()).position(|w| w == text.as_bytes()) {
                let before = String::from_utf8_lossy(&self.heard[self.seen..from + at]).into_owned();
                self.seen = from + at + text.len();
                return before;
            }
            from = from.max((self.heard.len() + 1).saturating_sub(text.len()));
            let mut poll = libc::pollfd { fd: self.master.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            let left = end.saturating_duration_since(Instant::now()).as_millis() as i32;
            // SAFETY: one pollfd, which lives as long as the call.
            let ready = unsafe { libc::poll(&mut poll, 1, left) };
            let tail = String::from_utf8_lossy(&self.heard[self.heard.len().saturating_sub(4000)..]);
            assert!(ready == 1, "waited too long for {text:?}; the terminal shows {tail:?}");
            let mut buffer = [0; 1 << 16];
            let length = self.master.read(&mut buffer).unwrap_or_else(|e| panic!("{e}; the terminal shows {tail:?}"));
            self.heard.extend(&buffer[..length]);
        }
    }

    /// Types.
    #[track_caller]
    pub fn enter(&mut self, keys: impl AsRef<[u8]>) {
        self.master.write_all(keys.as_ref()).unwrap();
    }

    /// Waits for the end of ctr; what was shown before it since the last time, and the exit code.
    #[track_caller]
    pub fn end(&mut self) -> (String, i32) {
        let before = self.hear("[code=");
        (before, self.hear("]").parse().unwrap())
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the size is only read.
        assert_eq!(unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &size) }, 0);
    }

    pub fn modes(&self) -> Modes {
        // SAFETY: all zeroes is a termios, and the kernel fills it in.
        let t = unsafe {
            let mut t: libc::termios = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(self.slave.as_raw_fd(), &mut t), 0);
            t
        };
        Modes { flags: [t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag], keys: t.c_cc }
    }

    pub fn set_modes(&self, change: impl FnOnce(&mut libc::termios)) {
        // SAFETY: as above.
        unsafe {
            let mut t: libc::termios = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(self.slave.as_raw_fd(), &mut t), 0);
            change(&mut t);
            assert_eq!(libc::tcsetattr(self.slave.as_raw_fd(), libc::TCSANOW, &t), 0);
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.leader.kill();
        let _ = self.leader.wait();
        // ctr, if it is still there: its terminal goes.
        if fs::read_link(format!("/proc/{}/exe", self.pid)).is_ok_and(|e| e == ctr_path()) {
            signal(self.pid, libc::SIGKILL);
        }
    }
}

both_ways!(
    it_is_a_terminal
    keys_reach_it_and_are_shown_once
    its_size_is_the_one_outside_and_follows_it
    the_terminal_outside_is_raw_meanwhile_and_then_exactly_as_it_was
    the_terminal_is_put_back_when_nothing_ran
    the_container_killed_from_outside
    ctrl_c_reaches_the_foreground_process
    job_control_works_in_bash
    nothing_of_a_large_output_is_lost_at_the_end
    much_typed_at_once_arrives
    a_terminal_outside_without_t_stays_outside
    t_without_i_has_no_keys
    one_of_the_three_is_no_terminal
    stopped_and_continued
    the_terminal_outside_goes_away
    ctr_is_killed_and_the_next_one_cleans_up
    two_terminals_at_once
);

/// A shell's prompt and echo are in the way of a test: typed words come back as `a''b`, what is heard is `ab`.
fn shell(way: Way, options: &[&str]) -> Pty {
    let words = [&["-it", "-e", "PS1=$ "], options, &[busybox(), "sh"]].concat();
    let mut pty = Pty::run(way, &words);
    pty.hear("$ ");
    pty
}

fn it_is_a_terminal(way: Way) {
    let host = Host::before();
    let script = "tty; stat -Lc '%t:%T' /dev/stdin; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all three; \
                  ls /dev/pts; echo TERM=$TERM; echo x >/dev/tty; ps -o pid,tty | head -2 | tail -1; exit 5";
    for options in [&[][..], &["--init"], &["--userns=auto"], &["-u", "web"], &["--read-only"]] {
        let mut pty = Pty::run(way, &[&["-it"], options, &[busybox(), "sh", "-c", script]].concat());
        let (shown, code) = pty.end();
        let lines: Vec<_> = shown.split("\r\n").map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert!(lines[0] == "/dev/pts/0" || lines[0] == "/dev/console", "{options:?}: {shown:?}");
        // The first pty of the container's own devpts, and the only one.
        assert_eq!(lines[1..6], ["88:0", "all three", "0 ptmx", "TERM=xterm", "x"], "{options:?}: {shown:?}");
        assert_eq!(lines[6], "1 136,0", "its controlling terminal, {options:?}: {shown:?}");
        assert_eq!(code, 5, "{options:?}");
        drop(pty);
        host.same_after(way);
    }
    host.same_after(way);
}

fn keys_reach_it_and_are_shown_once(way: Way) {
    let host = Host::before();
    let mut pty = shell(way, &[]);
    pty.enter("echo h''ello\n");
    let shown = pty.hear("hello\r\n");
    // Echoed by the terminal inside, once.
    assert_eq!(shown.matches("echo h''ello").count(), 1, "{shown:?}");
    pty.hear("$ ");
    // An end of file at the prompt ends the shell.
    pty.enter([4]);
    assert_eq!(pty.end().1, 0);
    drop(pty);
    host.same_after(way);
}

fn its_size_is_the_one_outside_and_follows_it(way: Way) {
    let host = Host::before();
    let program = "
import os, signal, sys
def say(*a): os.write(1, b'size %d %d\\n' % (os.get_terminal_size(0).lines, os.get_terminal_size(0).columns))
signal.signal(signal.SIGTERM, lambda *a: sys.exit(143)); signal.signal(signal.SIGWINCH, say); say()
while True: signal.pause()
";
    for options in [&[][..], &["--init"], &["--userns=auto"]] {
        let words = [&["-it"], options, &[debian(), "python3", "-c", program]].concat();
        let mut pty = Pty::sized(way, &words, 33, 111);
        pty.hear("size 33 111\r\n");
        for (rows, columns) in [(50, 132), (24, 80), (1, 1), (999, 1000)] {
            pty.resize(rows, columns);
            pty.hear(&format!("size {rows} {columns}\r\n"));
        }
        signal(pty.pid, libc::SIGTERM);
        assert_eq!(pty.end().1, 143);
        drop(pty);
        host.same_after(way);
    }
    host.same_after(way);
}

fn the_terminal_outside_is_raw_meanwhile_and_then_exactly_as_it_was(way: Way) {
    let host = Host::before();
    let kill = |n| move |pty: &mut Pty| signal(pty.pid, n);
    type End = Box<dyn Fn(&mut Pty)>;
    let ends: &[(&str, End, &[i32])] = &[
        ("exit", Box::new(|pty| pty.enter("exit 4\n")), &[4]),
        ("it is killed", Box::new(|pty| pty.enter("kill -9 $$\n")), &[137]),
        ("SIGTERM", Box::new(kill(libc::SIGTERM)), &[143]),
        ("SIGHUP", Box::new(kill(libc::SIGHUP)), &[129]),
        ("SIGINT", Box::new(kill(libc::SIGINT)), &[130]),
    ];
    for (what, end, codes) in ends {
        let script = "stty raw -echo 2>/dev/null; stty sane; echo ready; while read line; do eval \"$line\"; done";
        let mut pty = Pty::start(
            "sleep 1000 & read go; kill $!; exec \"$@\"",
            &[
                &[ctr_path().to_str().unwrap(), "run"],
                way.options(),
                &["--init", "-it", busybox(), "sh", "-c", script],
            ]
            .concat(),
            24,
            80,
        );
        // Not the usual modes either.
        pty.set_modes(|t| {
            t.c_cc[libc::VERASE] = 8;
            t.c_cc[libc::VINTR] = 24;
            t.c_iflag |= libc::IXANY | libc::IUTF8;
            t.c_lflag &= !libc::ECHOE;
        });
        let before = pty.modes();
        assert!(!before.raw());
        pty.enter("go\n");
        pty.hear("ready\r\n");
        assert!(pty.modes().raw(), "{what}: {:?}", pty.modes());
        end(&mut pty);
        let (shown, code) = pty.end();
        assert!(codes.contains(&code), "{what}: {code} {shown:?}");
        assert_eq!(pty.modes(), before, "{what}");
        drop(pty);
        host.same_after(way);
    }
    host.same_after(way);
}

fn the_terminal_is_put_back_when_nothing_ran(way: Way) {
    let host = Host::before();
    let b = busybox();
    for (words, wanted) in [
        (&["-it", b, "no-such-command"][..], 127),
        (&["-it", "--init", b, "no-such-command"], 127),
        (&["-it", b, "/etc/passwd"], 126),
        (&["-it", b, "true"], 0),
        (&["-it", "-u", "nobody-knows", b, "true"], 125),
        (&["-it", "-v", "/usr:/etc/passwd", b, "true"], 125),
    ] {
        let mut pty = Pty::run(way, words);
        let (shown, code) = pty.end();
        assert_eq!(code, wanted, "{words:?}: {shown:?}");
        let modes = pty.modes();
        assert!(!modes.raw(), "{words:?}: {modes:?}");
        // An error is lines, not a staircase.
        if wanted > 124 {
            assert!(shown.contains("ctr: ") && shown.ends_with("\r\n"), "{shown:?}");
            assert_eq!(shown.matches('\n').count(), shown.matches("\r\n").count(), "{shown:?}");
        }
        drop(pty);
        host.same_after(way);
    }
    host.same_after(way);
}

fn the_container_killed_from_outside(way: Way) {
    let host = Host::before();
    let place = Scratch::new("ttykill");
    let pidfile = place.join("pid");
    let mut pty =
        Pty::run(way, &["-it", "--pidfile", pidfile.to_str().unwrap(), busybox(), "sh", "-c", "echo up; cat"]);
    pty.hear("up\r\n");
    assert!(pty.modes().raw());
    let pid: i32 = until("the pidfile", || fs::read_to_string(&pidfile).ok()?.trim().parse().ok());
    signal(pid, libc::SIGKILL);
    assert_eq!(pty.end().1, 137);
    assert!(!pty.modes().raw());
    drop(pty);
    host.same_after(way);
}

/// A `sleep 1000` whose process group is the foreground one of its terminal.
fn sleep_in_foreground() -> Option<std::path::PathBuf> {
    let is_one = |path: &std::path::Path| -> Option<bool> {
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        let fields: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
        Some(fs::read(path.join("cmdline")).ok()? == b"sleep\x001000\0" && fields[2] == fields[5])
    };
    fs::read_dir("/proc").unwrap().flatten().map(|e| e.path()).find(|p| is_one(p) == Some(true))
}

fn ctrl_c_reaches_the_foreground_process(way: Way) {
    let host = Host::before();
    for options in [&[][..], &["--init"], &["--userns=auto"]] {
        // A process in the foreground, while the shell goes on.
        let mut pty = shell(way, options);
        pty.enter("echo st''arted; sleep 1000; echo ended with $?\n");
        pty.hear("started\r\n");
        // The shell starts it after the words: until it is the terminal's foreground group, Ctrl-C is for the shell.
        until("sleep in the foreground", sleep_in_foreground);
        pty.enter([3]);
        // A shell says so, or gives up the line: then no sleep is left.
        until("the end of sleep", || sleep_in_foreground().is_none().then_some(()));
        pty.hear("$ ");
        // One that handles it.
        pty.enter("sh -c 'trap \"echo caught; exit 7\" INT; echo wait''ing; while :; do sleep 0.01; done'; echo co''de $?\n");
        pty.hear("waiting\r\n");
        pty.enter([3]);
        pty.hear("caught\r\n");
        pty.hear("$ ");
        pty.enter("exit 0\n");
        assert_eq!(pty.end().1, 0);
        drop(pty);
        host.same_after(way);
    }
    // PID 1 itself, with a handler.
    let mut pty = Pty::run(
        way,
        &["-it", busybox(), "sh", "-c", "trap 'echo got it; exit 6' INT; echo up; while :; do sleep 0.01; done"],
    );
    pty.hear("up\r\n");
    pty.enter([3]);
    pty.hear("got it\r\n");
    assert_eq!(pty.end().1, 6);
    drop(pty);
    // And under --init one without: the kernel's own end of it.
    let mut pty = Pty::run(way, &["-it", "--init", busybox(), "sh", "-c", "echo up; exec sleep 1000"]);
    pty.hear("up\r\n");
    // Between the words and exec the shell would die of it as well.
    pty.enter([3]);
    assert_eq!(pty.end().1, 130);
    drop(pty);
    host.same_after(way);
}

fn job_control_works_in_bash(way: Way) {
    let host = Host::before();
    for options in [&[][..], &["--init"], &["--userns=auto"]] {
        let words = [&["-it", "-e", "PS1=$ "], options, &[debian(), "bash", "--norc", "-i"]].concat();
        let mut pty = Pty::run(way, &words);
        let start = pty.hear("$ ");
        assert!(
            !start.contains("no job control") && !start.contains("cannot set terminal"),
            "{options:?}: {start:?}"
        );
        pty.enter("sleep 1000\n");
        // Ctrl-Z needs a foreground process that is there.
        until("sleep in the foreground", sleep_in_foreground);
        pty.enter([26]);
        pty.hear("Stopped");
        pty.hear("$ ");
        pty.enter("jobs; bg; fg\n");
        pty.hear("sleep 1000 &");
        pty.hear("sleep 1000\r\n");
        until("sleep in the foreground again", sleep_in_foreground);
        pty.enter([3]);
        pty.hear("$ ");
        pty.enter("echo co''de $?; exit 8\n");
        pty.hear("code 130\r\n");
        let (shown, code) = pty.end();
        assert_eq!(code, 8, "{shown:?}");
        drop(pty);
        host.same_after(way);
    }
    host.same_after(way);
}

fn nothing_of_a_large_output_is_lost_at_the_end(way: Way) {
    let host = Host::before();
    for options in [&["-it"][..], &["-it", "--init"], &["-it", "--userns=auto"]] {
        for _ in 0..3 {
            let mut pty =
                Pty::run(way, &[options, &[busybox(), "sh", "-c", "seq 1 100000; echo the end; exit 2"]].concat());
            let (shown, code) = pty.end();
            assert_eq!(code, 2);
            let wanted = (1..=100_000).map(|n| format!("{n}\r\n")).collect::<String>() + "the end\r\n";
            assert!(
                shown == wanted,
                "{options:?}: {} bytes of {}, the last {:?}",
                shown.len(),
                wanted.len(),
                &shown[shown.len().saturating_sub(80)..]
            );
            drop(pty);
        }
    }
    host.same_after(way);
}

fn much_typed_at_once_arrives(way: Way) {
    let host = Host::before();
    let mut pty = Pty::run(
        way,
        &["-it", busybox(), "sh", "-c", "stty raw -echo; echo up; head -c 300000 | sha256sum; stty sane"],
    );
    pty.hear("up");
    let bytes: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut hash = Command::new("sha256sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    hash.stdin.take().unwrap().write_all(&bytes).unwrap();
    let hash = String::from_utf8(hash.wait_with_output().unwrap().stdout).unwrap();
    for part in bytes.chunks(1000) {
        pty.enter(part);
    }
    pty.hear(&hash[..64]);
    assert_eq!(pty.end().1, 0);
    drop(pty);
    host.same_after(way);
}

fn a_terminal_outside_without_t_stays_outside(way: Way) {
    let host = Host::before();
    for options in [&[][..], &["-i"], &["--init", "-i"], &["-i", "--userns=auto"]] {
        let script = "ls -l /proc/$$/fd 2>/dev/null | grep -c -E '(tty|pts|console)'; [ -t 0 ] || [ -t 1 ] || [ -t 2 ] || echo none is; \
                      (cat </dev/tty) 2>&1; readlink /proc/$$/fd/1; exit 3";
        let mut pty = Pty::run(way, &[options, &[busybox(), "sh", "-c", script]].concat());
        let before = pty.modes();
        let (shown, code) = pty.end();
        let lines: Vec<_> = shown.split("\r\n").collect();
        assert_eq!(lines[..2], ["0", "none is"], "{options:?}: {shown:?}");
        assert!(lines[2].contains("/dev/tty: No such device or address"), "{options:?}: {shown:?}");
        assert!(lines[3].starts_with("pipe:"), "{options:?}: {shown:?}");
        assert_eq!(code, 3);
        assert_eq!(pty.modes(), before, "{options:?}");
        drop(pty);
        host.same_after(way);
    }
    // Typed lines arrive all the same, and Ctrl-C is a signal to ctr, which passes it on.
    let mut pty = Pty::run(
        way,
        &[
            "-i",
            busybox(),
            "sh",
            "-c",
            "trap 'echo interrupted; exit 4' INT; echo up; while read l; do echo got $l; done",
        ],
    );
    pty.hear("up\r\n");
    assert!(!pty.modes().raw());
    pty.enter("line\n");
    pty.hear("got line\r\n");
    pty.enter([3]);
    pty.hear("interrupted\r\n");
    assert_eq!(pty.end().1, 4);
    drop(pty);
    host.same_after(way);
}

fn t_without_i_has_no_keys(way: Way) {
    let host = Host::before();
    let mut pty = Pty::run(
        way,
        &["-t", "--init", busybox(), "sh", "-c", "tty; stty size; echo up; read line; echo read \"<$line>\" $?"],
    );
    pty.hear("/dev/");
    pty.hear("24 80\r");
    pty.hear("up\r");
    pty.enter("secret\n");
    // Either it ends at once, or waits for a line that never comes; it does not get this one.
    signal(pty.pid, libc::SIGTERM);
    let (shown, _) = pty.end();
    assert!(!shown.contains("read <secret>"), "{shown:?}");
    drop(pty);
    host.same_after(way);
}

fn one_of_the_three_is_no_terminal(way: Way) {
    let host = Host::before();
    let place = Scratch::new("redirected");
    let file = place.join("out");
    // The output goes to a file: as Docker, what the terminal inside says goes there.
    let script = format!("\"$@\" >{}", file.display());
    let ctr = ctr_path();
    let mut pty = Pty::start(
        &script,
        &[&[ctr.to_str().unwrap(), "run"], way.options(), &["-t", busybox(), "sh", "-c", "tty; echo done; exit 6"]]
            .concat(),
        24,
        80,
    );
    let before = pty.modes();
    assert_eq!(pty.end().1, 6);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("/dev/") && text.ends_with("done\r\n"), "{text:?}");
    assert_eq!(pty.modes(), before);
    drop(pty);
    // Keys come from a file.
    fs::write(place.join("in"), "echo from a file\nexit 7\n").unwrap();
    let script = format!("\"$@\" <{}", place.join("in").display());
    let mut pty = Pty::start(
        &script,
        &[&[ctr.to_str().unwrap(), "run"], way.options(), &["-it", busybox(), "sh"]].concat(),
        24,
        80,
    );
    let (shown, code) = pty.end();
    // Docker refuses ("the input device is not a TTY"); doing it is as good.
    assert!(
        (code == 125 && shown.contains("terminal")) || (code == 7 && shown.contains("from a file\r\n")),
        "{code} {shown:?}"
    );
    drop(pty);
    host.same_after(way);
}

fn stopped_and_continued(way: Way) {
    let host = Host::before();
    let mut pty = Pty::run(way, &["-it", busybox(), "sh", "-c", "echo up; read line; echo got $line"]);
    pty.hear("up\r\n");
    signal(pty.pid, libc::SIGSTOP);
    until("ctr to stop", || {
        fs::read_to_string(format!("/proc/{}/stat", pty.pid)).unwrap().contains(") T ").then_some(())
    });
    pty.enter("line\n");
    signal(pty.pid, libc::SIGCONT);
    pty.hear("got line\r\n");
    assert_eq!(pty.end().1, 0);
    drop(pty);
    host.same_after(way);
}

fn the_terminal_outside_goes_away(way: Way) {
    let host = Host::before();
    let b = busybox();
    for words in [
        &["-it", b, "sh", "-c", "echo up; exec sh"][..],
        &["-it", "--init", b, "sh", "-c", "echo up; exec sh"],
        &["-it", debian(), "bash", "-c", "echo up; exec bash --norc -i"],
        &["-it", b, "sh", "-c", "echo up; cat >/dev/null"],
        &["-i", b, "sh", "-c", "echo up; cat >/dev/null"],
    ]
    .into_iter()
    // A race between the kernel's hang-up and ctr's own: not seen at once.
    .chain([&["-it", "--init", b, "sh", "-c", "echo up; exec sleep 1000"][..]; 30])
    {
        let mut pty = Pty::run(way, words);
        pty.hear("up\r\n");
        let pid = pty.pid;
        // The window is closed: ctr hears SIGHUP and an end of file, the program inside as well, and all ends.
        drop_terminal(pty);
        until(&format!("the end of {words:?}"), || {
            let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            (state.is_empty() || state.contains(") Z ")).then_some(())
        });
        // Its supervisor learns of that from ctr's end.
        until("the end of the container", || within(&mut plain(["ps", "-q"])).code(0).out.is_empty().then_some(()));
        host.same_after(way);
    }
    host.same_after(way);
}

/// Closes a terminal as a window does, and leaves ctr to itself.
pub fn drop_terminal(mut pty: Pty) {
    // Not this one's to kill.
    pty.pid = 0;
    let null = || File::open("/dev/null").unwrap();
    drop(std::mem::replace(&mut pty.slave, null()));
    drop(std::mem::replace(&mut pty.master, null()));
}

fn ctr_is_killed_and_the_next_one_cleans_up(way: Way) {
    let host = Host::before();
    for options in [&[][..], &["--init"], &["--userns=auto"]] {
        let mut pty =
            Pty::run(way, &[&["-it", "--name", "lost"], options, &[busybox(), "sh", "-c", "echo up; cat"]].concat());
        pty.hear("up\r\n");
        let raw = pty.modes();
        assert!(raw.raw());
        signal(pty.pid, libc::SIGKILL);
        assert_eq!(pty.end().1, 137);
        // Even then somebody puts the terminal back.
        until("the terminal to be put back", || (!pty.modes().raw()).then_some(()));
        // One that stays is at rest now, and says how it ended.
        if way == Way::Attached {
            until("its end", || within(&mut plain(["ps", "-q"])).code(0).out.is_empty().then_some(()));
            within(&mut plain(["rm", "lost"])).code(0);
        }
        let mut next = Pty::run(way, &["-it", "--name", "lost", busybox(), "tty"]);
        next.hear("/dev/");
        assert_eq!(next.end().1, 0);
        assert_eq!(pty.modes(), next.modes());
        drop((pty, next));
        host.same_after(way);
    }
    host.same_after(way);
}

fn two_terminals_at_once(way: Way) {
    let host = Host::before();
    let [mut a, mut b] = [shell(way, &["-h", "one"]), shell(way, &["-h", "two"])];
    a.enter("echo I am $(hostname)\n");
    b.enter("echo I am $(hostname)\n");
    a.hear("I am one\r\n");
    b.hear("I am two\r\n");
    a.resize(40, 100);
    until("the new size", || {
        a.enter("echo size:$(stty size).\n");
        a.hear("size:$");
        a.hear("size:");
        (a.hear(".") == "40 100").then_some(())
    });
    b.enter("echo size:$(stty size).\n");
    b.hear("size:24 80.");
    for pty in [&mut a, &mut b] {
        pty.enter("exit 0\n");
        assert_eq!(pty.end().1, 0);
    }
    drop((a, b));
    host.same_after(way);
}
