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

/// `ctr WORDS…`, ready to be changed.
pub fn ctr<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(ctr_path());
    command.args(words);
    command
}

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
        let path = std::env::temp_dir().join(format!("ctr-test-{}-{name}", std::process::id()));
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

/// A real Debian (apt, bash, python3, procps), made once by mmdebstrap and kept in the cache.
pub fn debian() -> &'static str {
    static ROOT: OnceLock<String> = OnceLock::new();
    ROOT.get_or_init(|| {
        let path = cache().join("debian-root");
        if !path.join("usr/bin/python3").exists() {
            let making = cache().join("debian-root.new");
            let _ = fs::remove_dir_all(&making);
            let made = Command::new("mmdebstrap")
                .args(["--quiet", "--variant=apt", "--include=python3-minimal,procps,hostname,libcap2-bin"])
                .args(["bookworm".as_ref(), making.as_os_str()])
                .stdin(Stdio::null())
                .output()
                .expect("mmdebstrap is missing; scripts/test.sh installs it");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            let _ = fs::remove_dir_all(&path);
            fs::rename(making, &path).unwrap();
        }
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
        for ((what, before), (_, after)) in self.before.iter().zip(stock()) {
            let left: Vec<_> = after.difference(before).collect();
            let lost: Vec<_> = before.difference(&after).collect();
            assert!(left.is_empty() && lost.is_empty(), "{what}: left behind {left:#?}, lost {lost:#?}");
        }
    }
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}

fn stock() -> Vec<(&'static str, BTreeSet<String>)> {
    let mounts = lines(&fs::read_to_string("/proc/self/mountinfo").unwrap());
    // name, without counters
    let links = fs::read_to_string("/proc/net/dev").unwrap();
    let links = links.lines().skip(2).filter_map(|l| l.split(':').next()).map(|l| l.trim().to_owned()).collect();
    let state = std::env::var_os("CTR_STATE").map_or_else(|| PathBuf::from("/run/ctr"), PathBuf::from);
    vec![
        ("mounts", mounts),
        ("links", links),
        ("cgroups", tree(Path::new("/sys/fs/cgroup"))),
        ("containers", tree(&state.join("containers"))),
        ("processes of containers", others()),
    ]
}

/// Every directory below a path.
fn tree(path: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.insert(entry.path().display().to_string());
            found.extend(tree(&entry.path()));
        }
    }
    found
}

/// Processes in another mount, pid or user namespace than ours, or that are called ctr: containers, or their parents.
fn others() -> BTreeSet<String> {
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
        if elsewhere || name == "ctr" || name == "ctr-fault" {
            found.insert(format!("{pid} {name}"));
        }
    }
    found
}
