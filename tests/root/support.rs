//! What the tests share: the binary, root filesystems, and the comparison of the host before and after.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// One test at a time looks at the host: `Host` holds this.
static ONE: Mutex<()> = Mutex::new(());

/// The binary under test.
pub fn ctr_path() -> PathBuf {
    binary("CTR", "ctr")
}

/// The same with faults on demand (CTR_FAIL=step:ERRNO-number, CTR_KILL=step).
pub fn ctr_fault_path() -> PathBuf {
    binary("CTR_FAULT", "target/ctr-fault")
}

fn binary(variable: &str, default: &str) -> PathBuf {
    let path =
        std::env::var_os(variable).map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(default), PathBuf::from);
    assert!(path.is_file(), "{variable}: no binary at {}; scripts/check builds it", path.display());
    path
}

/// A finished command.
#[derive(Debug)]
pub struct Done {
    /// Exit code; 128 + n if it was killed by signal n.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Done {
    /// Asserts the exit code, showing everything if it is another.
    #[track_caller]
    pub fn code(self, wanted: i32) -> Done {
        assert_eq!(self.code, wanted, "{self:#?}");
        self
    }

    /// Bad input: exit code 125, nothing on standard output, one line on standard error that has these words in it.
    #[track_caller]
    pub fn refused(self, words: &[&str]) -> Done {
        let done = self.code(125);
        assert_eq!(done.out, "", "{done:#?}");
        assert!(done.err.starts_with("ctr: ") && done.err.trim_end().lines().count() == 1, "{done:#?}");
        for word in words {
            assert!(done.err.contains(word), "no {word:?} in {done:#?}");
        }
        done
    }

    /// The same with 126 or 127: the command could not be executed.
    #[track_caller]
    pub fn refused_with(self, code: i32) -> Done {
        let done = self.code(code);
        assert!(done.out.is_empty() && done.err.starts_with("ctr: ") && done.err.lines().count() == 1, "{done:#?}");
        done
    }
}

/// Runs a command to its end, without standard input.
pub fn finish(command: &mut Command) -> Done {
    feed(command, b"")
}

/// Runs a command to its end with this standard input.
pub fn feed(command: &mut Command, input: &[u8]) -> Done {
    use std::os::unix::process::ExitStatusExt;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let mut stdin = child.stdin.take().unwrap();
    // Who does not read is no failure of the test.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap());
    Done {
        code,
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// `ctr WORDS…`, ready to be changed. `run` gets `--rm`: its container ends with it, and it is the process that waits.
pub fn ctr<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(ctr_path());
    for (n, word) in words.into_iter().enumerate() {
        command.arg(&word);
        if n == 0 && word.as_ref() == "run" {
            command.arg("--rm");
        }
    }
    command
}

/// `ctr WORDS…` as it stands: `run` makes a container that stays, and has a supervisor.
pub fn plain<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(ctr_path());
    command.args(words);
    command
}

/// How a container runs in the foreground.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// With `--rm`: ctr itself looks after it, and nothing of it stays.
    Direct,
    /// Without: a supervisor looks after it, ctr is attached to that, and the container stays.
    Attached,
}

impl Way {
    /// What `run` needs for it.
    pub fn options(self) -> &'static [&'static str] {
        match self {
            Way::Direct => &["--rm"],
            Way::Attached => &[],
        }
    }

    /// `ctr run WORDS…`, ready to be changed.
    pub fn run<S: AsRef<OsStr>>(self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = plain(["run"]);
        command.args(self.options()).args(words);
        command
    }
}

/// Tests that hold for both ways: functions of a [`Way`], listed, become a test in each of two modules.
macro_rules! both_ways {
    ($($name:ident)*) => {
        mod direct {
            $(#[test] fn $name() { super::$name($crate::support::Way::Direct); })*
        }
        mod attached {
            $(#[test] fn $name() { super::$name($crate::support::Way::Attached); })*
        }
    };
}
pub(crate) use both_ways;

/// `ctr run WORDS…`, to its end.
pub fn run<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Done {
    finish(ctr(["run"]).args(words))
}

/// Where test files and cached root filesystems are kept.
pub fn cache() -> PathBuf {
    let path = std::env::var_os("CTR_TEST_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or("/root".into())).join(".cache/ctr-tests"),
        PathBuf::from,
    );
    fs::create_dir_all(&path).unwrap();
    path
}

/// An empty directory of this test's own, removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        // In another pid namespace somebody may have our pid.
        let space = std::os::unix::fs::MetadataExt::ino(&fs::metadata("/proc/self/ns/pid").unwrap());
        let path = std::env::temp_dir().join(format!("ctr-test-{space}-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A small root filesystem of busybox alone, made anew in `at`: /bin with links for every applet, /etc/passwd, /tmp.
pub fn busybox_root(at: &Path) {
    for dir in ["bin", "etc", "tmp", "root", "var", "usr/bin"] {
        fs::create_dir_all(at.join(dir)).unwrap();
    }
    let busybox = Path::new("/bin/busybox");
    assert!(busybox.exists(), "busybox-static is missing; scripts/test.sh installs it");
    fs::copy(busybox, at.join("bin/busybox")).unwrap();
    let list = Command::new(busybox).arg("--list").output().unwrap();
    for applet in String::from_utf8_lossy(&list.stdout).lines().filter(|a| *a != "busybox") {
        std::os::unix::fs::symlink("busybox", at.join("bin").join(applet)).unwrap();
    }
    fs::write(at.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/var:/bin/sh\n").unwrap();
    fs::write(at.join("etc/group"), "root:x:0:\nwww:x:33:\nadm:x:4:web\ndisk:x:6:web\n").unwrap();
}

/// The same, shared by tests that do not write to it.
pub fn busybox() -> &'static str {
    static ROOT: OnceLock<String> = OnceLock::new();
    ROOT.get_or_init(|| {
        let path = cache().join("busybox-root");
        let _ = fs::remove_dir_all(&path);
        busybox_root(&path);
        path.into_os_string().into_string().unwrap()
    })
}

/// A real Debian (apt, bash, python3, procps): tests/root/roots.sh has made it, because the tests have no network.
pub fn debian() -> &'static str {
    static ROOT: OnceLock<String> = OnceLock::new();
    ROOT.get_or_init(|| {
        let path = cache().join("debian-root");
        assert!(
            path.join("usr/bin/python3").exists(),
            "no Debian root at {}: run tests/root/roots.sh",
            path.display()
        );
        path.into_os_string().into_string().unwrap()
    })
}

/// Another one with servers and their clients: nginx, PostgreSQL, redis, dnsmasq, iperf3; curl, wrk, dig, python3.
pub fn services() -> &'static str {
    static ROOT: OnceLock<String> = OnceLock::new();
    ROOT.get_or_init(|| {
        let path = cache().join("services-root");
        assert!(
            path.join("usr/sbin/dnsmasq").exists(),
            "no root of servers at {}: run tests/root/roots.sh",
            path.display()
        );
        path.into_os_string().into_string().unwrap()
    })
}

/// What of the host must be the same after a test. Only one test at a time has one.
pub struct Host {
    before: Vec<(&'static str, BTreeSet<String>)>,
    _alone: MutexGuard<'static, ()>,
}

impl Host {
    /// Takes stock.
    pub fn before() -> Host {
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        Host { before: stock(), _alone: alone }
    }

    /// Asserts that everything is as it was.
    #[track_caller]
    pub fn same(self) {
        self.same_still();
    }

    /// The same, and goes on.
    #[track_caller]
    pub fn same_still(&self) {
        for ((what, before), (_, mut after)) in self.before.iter().zip(stock()) {
            // The kernel takes a dead container's links away in its own time.
            let end = std::time::Instant::now() + LIMIT;
            while *what == "links" && after != *before && std::time::Instant::now() < end {
                std::thread::sleep(std::time::Duration::from_millis(2));
                after = links();
            }
            let left: Vec<_> = after.difference(before).collect();
            let lost: Vec<_> = before.difference(&after).collect();
            assert!(left.is_empty() && lost.is_empty(), "{what}: left behind {left:#?}, lost {lost:#?}");
        }
    }
}

/// A test that fails takes its containers away, so that the next one does not fail as well.
impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = plain(["rm", "-f"]).args(self.kept()).output();
        }
    }
}

/// Where what lives until the next boot is kept.
pub fn state() -> PathBuf {
    std::env::var_os("CTR_STATE").map_or_else(|| PathBuf::from("/run/ctr"), PathBuf::from)
}

/// Where what outlives a boot is kept.
pub fn lasting() -> PathBuf {
    std::env::var_os("CTR_ROOT").map_or_else(|| PathBuf::from("/var/lib/ctr"), PathBuf::from)
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}

fn stock() -> Vec<(&'static str, BTreeSet<String>)> {
    // An option of the one cgroup2 filesystem that a machine has, which anybody else on it may change.
    let mounts = lines(&fs::read_to_string("/proc/self/mountinfo").unwrap().replace(",nsdelegate", ""));
    let journal =
        ["events", "events.1"].map(|name| fs::read_to_string(state().join(name)).unwrap_or_default()).concat();
    let files = |folder: PathBuf| -> BTreeSet<String> {
        let all = fs::read_dir(folder).into_iter().flatten().flatten();
        all.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let members = files(state().join("members"));
    vec![
        ("mounts", mounts),
        ("links", links()),
        ("addresses", files(state().join("addresses"))),
        ("ports", files(state().join("ports"))),
        ("networks", files(lasting().join("networks"))),
        ("members", members.iter().flat_map(|network| files(state().join("members").join(network))).collect()),
        ("hosts files", files(lasting().join("hosts")).union(&files(state().join("hosts"))).cloned().collect()),
        ("cgroups", tree(Path::new("/sys/fs/cgroup")).into_iter().filter(|path| ours(path, &journal)).collect()),
        ("containers", tree(&state().join("containers"))),
        ("lasting containers", tree(&lasting().join("containers"))),
        ("layers in memory", tree(&state().join("layers"))),
        ("processes of containers", others()),
    ]
}

/// The names of all links but the default network's bridge, which stays. A cable that is switched off is one whose container has
/// gone: the kernel takes it away in its own time, which is waited for.
fn links() -> BTreeSet<String> {
    let all = || -> BTreeSet<String> {
        let text = fs::read_to_string("/proc/net/dev").unwrap();
        text.lines().skip(2).filter_map(|l| l.split(':').next()).map(|l| l.trim().to_owned()).collect()
    };
    // Not by /sys: what is mounted there is of another network namespace.
    let dying = || {
        let shown = Command::new("ip").args(["-o", "link"]).output().unwrap();
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        text.lines().any(|line| {
            line.contains(": vx")
                || line.contains(": ve") && !line.split('>').next().unwrap_or_default().contains("UP")
        })
    };
    let end = std::time::Instant::now() + LIMIT;
    while all().iter().any(|name| name.starts_with('v')) && dying() && std::time::Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    all().into_iter().filter(|name| !name.starts_with("ctr0")).collect()
}

/// Whether a cgroup is that of a container of ours: others may be at work on this machine, and containers of a ctr in other
/// namespaces have theirs in the same place. Those that were strangers when we began stay so: a long journal is long to look through.
fn ours(path: &str, journal: &str) -> bool {
    static STRANGERS: OnceLock<BTreeSet<String>> = OnceLock::new();
    let is_id = |part: &&str| part.len() == 64 && part.bytes().all(|b| b.is_ascii_hexdigit());
    let strangers = STRANGERS.get_or_init(|| {
        let all = tree(Path::new("/sys/fs/cgroup")).into_iter();
        let ids = all.filter_map(|path| path.split('/').find(is_id).map(str::to_owned));
        ids.filter(|id| !journal.contains(id)).collect()
    });
    path.split('/').find(is_id).is_some_and(|id| !strangers.contains(id) && journal.contains(id))
}

/// Every directory below a path.
fn tree(path: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        // process_api is what runs commands on these machines; its groups come and go.
        if entry.file_type().is_ok_and(|t| t.is_dir()) && entry.file_name() != "process_api" {
            found.insert(entry.path().display().to_string());
            found.extend(tree(&entry.path()));
        }
    }
    found
}

/// Processes in another mount, pid or user namespace than ours, or that are called ctr: containers, or their parents.
/// Who takes the cables of a container away does it in the kernel's time, and is waited for.
pub fn others() -> BTreeSet<String> {
    let end = std::time::Instant::now() + LIMIT;
    loop {
        let found = others_now();
        if !found.iter().any(|who| who.ends_with(" ctr-cable")) || std::time::Instant::now() > end {
            return found;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn others_now() -> BTreeSet<String> {
    let namespace = |pid: &str, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().into_string().unwrap();
        if pid.parse::<u32>().is_err() {
            continue;
        }
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned();
        let elsewhere = ["mnt", "pid", "user"]
            .iter()
            .any(|kind| namespace(&pid, kind).is_some_and(|theirs| Some(theirs) != namespace("self", kind)));
        // Who is dead, and waits for a parent to look, holds nothing.
        let dead = fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")));
        if !dead && (elsewhere || matches!(&*name, "ctr" | "ctr-fault" | "ctr-ports")) {
            found.insert(format!("{pid} {name}"));
        }
    }
    found
}

/// How long anything a test waits for may take.
pub const LIMIT: std::time::Duration = std::time::Duration::from_secs(20);

/// Looks again and again until there is something, for at most [`LIMIT`].
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = std::time::Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(std::time::Instant::now() < end, "waited too long for {what}");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Sends a signal.
#[allow(unsafe_code)]
pub fn signal(pid: i32, number: i32) {
    // SAFETY: no memory is involved.
    assert_eq!(unsafe { libc::kill(pid, number) }, 0, "kill {pid}: {}", std::io::Error::last_os_error());
}

/// A command that goes on while the test looks at it and speaks with it. Killed when dropped.
pub struct Live {
    child: std::process::Child,
    stdin: Option<std::process::ChildStdin>,
    /// What its standard output (0) and error (1) said: pieces, and nothing at the end.
    heard: std::sync::mpsc::Receiver<(usize, Vec<u8>)>,
    said: [Vec<u8>; 2],
    open: [bool; 2],
    /// How much of it [`Live::hear`] has had.
    seen: [usize; 2],
}

impl Live {
    /// Starts it, with pipes for all three.
    #[track_caller]
    pub fn start(command: &mut Command) -> Live {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let (tell, heard) = std::sync::mpsc::channel();
        let ends: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for (which, mut end) in ends.into_iter().enumerate() {
            let tell = tell.clone();
            std::thread::spawn(move || {
                let mut buffer = vec![0; 1 << 16];
                loop {
                    let length = end.read(&mut buffer).unwrap_or(0);
                    if tell.send((which, buffer[..length].to_vec())).is_err() || length == 0 {
                        break;
                    }
                }
            });
        }
        let stdin = child.stdin.take();
        Live { child, stdin, heard, said: Default::default(), open: [true; 2], seen: [0; 2] }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn signal(&self, number: i32) {
        signal(self.pid(), number);
    }

    /// Writes to its standard input.
    #[track_caller]
    pub fn say(&mut self, text: impl AsRef<[u8]>) {
        self.stdin.as_mut().unwrap().write_all(text.as_ref()).unwrap();
    }

    /// Its standard input, for a thread of its own.
    pub fn input(&mut self) -> std::process::ChildStdin {
        self.stdin.take().unwrap()
    }

    /// Closes its standard input.
    pub fn hush(&mut self) {
        self.stdin = None;
    }

    /// Waits for the next piece.
    #[track_caller]
    fn listen(&mut self, end: std::time::Instant, what: &str) {
        let left = end.saturating_duration_since(std::time::Instant::now());
        let Ok((which, piece)) = self.heard.recv_timeout(left) else {
            let [out, err] =
                self.said.each_ref().map(|s| String::from_utf8_lossy(&s[s.len().saturating_sub(4000)..]));
            panic!("waited too long for {what}: so far {out:?} and {err:?}");
        };
        self.open[which] = !piece.is_empty();
        self.said[which].extend(piece);
    }

    #[track_caller]
    fn hear_on(&mut self, which: usize, text: &str) -> String {
        let end = std::time::Instant::now() + LIMIT;
        loop {
            let new = &self.said[which][self.seen[which]..];
            if let Some(at) = new.windows(text.len()).position(|w| w == text.as_bytes()) {
                let before = String::from_utf8_lossy(&new[..at]).into_owned();
                self.seen[which] += at + text.len();
                return before;
            }
            assert!(
                self.open[which],
                "ended without {text:?}: {:?}",
                self.said.each_ref().map(|s| String::from_utf8_lossy(s))
            );
            self.listen(end, text);
        }
    }

    /// Waits until standard output has said this; what it said before that since the last time.
    #[track_caller]
    pub fn hear(&mut self, text: &str) -> String {
        self.hear_on(0, text)
    }

    /// The same of standard error.
    #[track_caller]
    pub fn hear_err(&mut self, text: &str) -> String {
        self.hear_on(1, text)
    }

    /// The next line of standard output.
    #[track_caller]
    pub fn line(&mut self) -> String {
        self.hear("\n")
    }

    /// Closes its standard input and waits for the end: exit code, standard output, standard error.
    #[track_caller]
    pub fn bytes(mut self) -> (i32, Vec<u8>, Vec<u8>) {
        use std::os::unix::process::ExitStatusExt;
        self.hush();
        let end = std::time::Instant::now() + LIMIT;
        while self.open != [false; 2] {
            self.listen(end, "the end of its output");
        }
        let status = until("its end", || self.child.try_wait().unwrap());
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap());
        let [out, err] = std::mem::take(&mut self.said);
        (code, out, err)
    }

    /// The same as text.
    #[track_caller]
    pub fn done(self) -> Done {
        let (code, out, err) = self.bytes();
        Done {
            code,
            out: String::from_utf8_lossy(&out).into_owned(),
            err: String::from_utf8_lossy(&err).into_owned(),
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end, without standard input, for at most [`LIMIT`].
#[track_caller]
pub fn within(command: &mut Command) -> Done {
    Live::start(command).done()
}

impl Host {
    /// Everything is as it was when what [`Way::Attached`] keeps has been removed; which works, so all of it has ended.
    #[track_caller]
    pub fn same_after(&self, way: Way) {
        if way == Way::Attached {
            // A ctr that was ended while it made its container leaves what the next one takes away.
            within(&mut plain(["ps"])).code(0);
            for name in self.kept() {
                within(&mut plain(["rm", &name])).code(0);
            }
        }
        self.same_soon();
    }

    /// The names of containers that stayed.
    pub fn kept(&self) -> Vec<String> {
        let find = |all: &[(&'static str, BTreeSet<String>)]| -> BTreeSet<String> {
            all.iter().find(|(what, _)| *what == "lasting containers").unwrap().1.clone()
        };
        let containers = lasting().join("containers");
        find(&stock())
            .difference(&find(&self.before))
            .filter_map(|path| Path::new(path).strip_prefix(&containers).ok()?.to_str().map(str::to_owned))
            .filter(|name| !name.contains('/'))
            .collect()
    }

    /// Everything is as it was, or will be at once: what somebody else killed takes a moment to be gone and to be reaped.
    #[track_caller]
    pub fn same_soon(&self) {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while stock() != self.before && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        self.same_still();
    }
}
