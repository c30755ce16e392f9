//! `ctr exec`: another command in a container that runs. It is as confined as the container's own, nothing of the host or of
//! ctr comes along, and it ends when its process does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::hostile::{probe, root_with_probe};
use crate::kills::start;
use crate::support::{
    Done, Live, Scratch, busybox, busybox_root, cache, ctr, ctr_path, debian, feed, plain, signal, until, within,
};
use crate::terminal::Pty;

/// A container in the background, removed when dropped. Other tests of such containers use it too.
pub struct Resident(pub String);

impl Resident {
    /// `ctr run -d --name NAME OPTIONS… COMMAND…`, with a root of busybox.
    #[track_caller]
    pub fn new(name: &str, options: &[&str], command: &[&str]) -> Resident {
        Resident::of(name, options, busybox(), command)
    }

    #[track_caller]
    pub fn of(name: &str, options: &[&str], root: &str, command: &[&str]) -> Resident {
        // First, so that a test that fails here leaves nothing either.
        let resident = Resident(name.to_owned());
        let done = within(plain(["run", "-d", "--name", name]).args(options).arg(root).args(command)).code(0);
        assert!(done.out.len() == 65 && done.err.is_empty(), "{done:#?}");
        resident
    }

    /// One that does nothing.
    #[track_caller]
    pub fn idle(name: &str, options: &[&str]) -> Resident {
        Resident::new(name, options, &["sleep", "1000"])
    }

    /// `ctr exec WORDS…`: options, the name where there is a `@`, and the command.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = plain(["exec"]);
        command.args(words.iter().map(|word| if *word == "@" { self.0.as_str() } else { word }));
        command
    }

    #[track_caller]
    pub fn exec(&self, words: &[&str]) -> Done {
        within(&mut self.command(words))
    }

    /// What a shell script in there says.
    #[track_caller]
    pub fn says(&self, options: &[&str], script: &str) -> String {
        let done = self.exec(&[options, &["@", "sh", "-c", script]].concat()).code(0);
        assert_eq!(done.err, "", "{options:?} {script}");
        done.out
    }

    /// `ctr VERB NAME`, which must succeed.
    #[track_caller]
    pub fn verb(&self, words: &[&str]) -> Done {
        within(plain(words).arg(&self.0)).code(0)
    }

    /// `ctr inspect --format`.
    #[track_caller]
    pub fn ask(&self, format: &str) -> String {
        self.verb(&["inspect", "--format", format]).out.trim().to_owned()
    }

    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.ask("{{.State.Pid}}").parse().unwrap()
    }

    /// Its directory that lasts.
    pub fn dir(&self) -> PathBuf {
        std::env::var_os("CTR_ROOT")
            .map_or_else(|| "/var/lib/ctr".into(), PathBuf::from)
            .join("containers")
            .join(&self.0)
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        let _ = plain(["rm", "-f", &self.0]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// The state letter and the parent of a process.
fn stat(pid: i32) -> Option<(char, i32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut words = text.rsplit_once(") ")?.1.split(' ');
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

/// Whether this process is no more, or only waits to be reaped.
pub fn gone(pid: i32) -> bool {
    stat(pid).is_none_or(|(state, _)| matches!(state, 'Z' | 'X'))
}

/// The children of a process.
fn children(pid: i32) -> Vec<i32> {
    let all = fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    all.filter(|child| stat(*child).is_some_and(|(_, parent)| parent == pid)).collect()
}

/// The process that this `ctr exec` has made, once it is the user's program of this name.
#[track_caller]
pub fn child(live: i32, name: &str) -> i32 {
    until("the command to be executed", || {
        let is = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name);
        children(live).into_iter().find(is)
    })
}

#[test]
fn exit_codes_and_both_outputs() {
    let host = start();
    let c = Resident::idle("codes", &[]);
    for (code, words) in [
        (0, &["true"][..]),
        (1, &["false"]),
        (3, &["sh", "-c", "exit 3"]),
        (125, &["sh", "-c", "exit 125"]),
        (255, &["sh", "-c", "exit 255"]),
        (44, &["sh", "-c", "exit 300"]),
        (143, &["sh", "-c", "kill -TERM $$"]),
        (137, &["sh", "-c", "kill -KILL $$"]),
        (139, &["sh", "-c", "kill -SEGV $$"]),
        (126, &["/etc/passwd"]),
        (126, &["/etc"]),
        (126, &["/"]),
        (127, &["no-such-command"]),
        (127, &["/no/such/command"]),
    ] {
        let done = c.exec(&[&["@"], words].concat()).code(code);
        assert_eq!(done.out, "", "{words:?}");
        assert_eq!(
            done.err.starts_with("ctr: ") && done.err.lines().count() == 1,
            words[0].len() > 1 && [126, 127].contains(&code) || words == ["/"],
            "{done:#?}"
        );
    }
    let done = c.exec(&["@", "sh", "-c", "echo out; echo err >&2; echo $1 $#", "sh", "--help", "-it"]).code(0);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("out\n--help 2\n", "err\n"));
    // By its id, or the beginning of one.
    let id = c.ask("{{.Id}}");
    for word in [&id[..], &id[..12], &id[..6]] {
        assert_eq!(within(&mut plain(["exec", word, "hostname"])).code(0).out.trim(), &id[..12]);
    }
    drop(c);
    host.same();
}

#[test]
fn bad_words() {
    let host = start();
    let c = Resident::idle("words", &[]);
    for (words, named) in [
        (&[][..], "CONTAINER"),
        (&["@"], "COMMAND"),
        (&["@", ""], "COMMAND"),
        (&["nobody-of-this-name", "true"], "nobody-of-this-name"),
        (&["../codes", "true"], "../codes"),
        (&["", "true"], "container"),
        (&["--no-such", "@", "true"], "--no-such"),
        (&["-w", "relative", "@", "true"], "relative"),
        (&["-w", "", "@", "true"], "-w"),
        (&["-u", "nobody-knows", "@", "true"], "nobody-knows"),
        (&["-u", "2147483648", "@", "true"], "2147483648"),
        (&["-u", "4294967295", "@", "true"], "4294967295"),
        (&["-u", "4294967296", "@", "true"], "4294967296"),
        (&["-u", "-1", "@", "true"], "-1"),
        (&["-u", "0:no-such-group", "@", "true"], "no-such-group"),
        (&["-u", "0:4294967295", "@", "true"], "4294967295"),
        (&["-u", "33:33:33", "@", "true"], "33:33"),
        (&["-e", "=x", "@", "true"], "-e"),
        (&["--env-file", "/no/such/file", "@", "true"], "/no/such/file"),
        (&["-t", "@", "true"], "-t"),
        (&["-it", "@", "true"], "-it"),
        (&["-u", "", "-u"], "-u"),
    ] {
        c.exec(words).refused(&[named]);
    }
    assert!(c.exec(&["--help"]).code(0).out.contains("Usage: ctr exec"));
    drop(c);
    host.same();
}

#[test]
fn standard_input_only_with_i() {
    let host = start();
    let c = Resident::idle("stdin", &[]);
    // Every byte of it, and its end.
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let mut live = Live::start(&mut c.command(&["-i", "@", "sh", "-c", "cat; echo end >&2"]));
    let mut input = live.input();
    let all = bytes.clone();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut input, &all));
    let (code, out, err) = live.bytes();
    writer.join().unwrap().unwrap();
    assert!(code == 0 && out == bytes && err == b"end\n", "{code}: {} bytes, {err:?}", out.len());
    let done = feed(&mut c.command(&["-i", "@", "sh", "-c", "read a; read b; echo $b $a"]), b"one\ntwo\n").code(0);
    assert_eq!(done.out, "two one\n");
    // Without -i there is none, although ctr has one that goes on.
    let mut live = Live::start(&mut c.command(&["@", "sh", "-c", "cat; echo end"]));
    live.say("not for you\n");
    assert_eq!(live.hear("end\n"), "");
    live.done().code(0);
    // A file, as it is.
    let mut command = c.command(&["-i", "@", "head", "-1"]);
    let done = command.stdin(File::open("/etc/passwd").unwrap()).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&done.stdout).trim(),
        fs::read_to_string("/etc/passwd").unwrap().lines().next().unwrap()
    );
    // None at all.
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec \"$@\" {closed}"), "sh"]).arg(ctr_path());
        let done = within(command.args([
            "exec",
            "-i",
            "stdin",
            "sh",
            "-c",
            "for n in 0 1 2; do [ -e /proc/self/fd/$n ] || exit 9; done",
        ]));
        assert!(done.code == 0 || done.code == 125, "{closed}: {done:#?}");
    }
    drop(c);
    host.same();
}

/// All that a process's confinement is made of, as the host sees it.
pub fn confinement(pid: i32) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut put = |key: &str, value: String| drop(all.insert(key.to_owned(), value));
    for entry in fs::read_dir(format!("/proc/{pid}/ns")).unwrap().flatten() {
        put(&entry.file_name().to_string_lossy(), fs::read_link(entry.path()).unwrap().display().to_string());
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for key in [
        "Uid",
        "Gid",
        "Groups",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "Seccomp_filters",
        "Speculation_Store_Bypass",
        "SpeculationIndirectBranch",
        "Umask",
        "SigBlk",
        "SigIgn",
        "Cpus_allowed",
        "Mems_allowed",
    ] {
        let line = status.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'));
        put(key, line.unwrap_or("none").split_whitespace().collect::<Vec<_>>().join(" "));
    }
    for file in [
        "cgroup",
        "limits",
        "oom_score_adj",
        "uid_map",
        "gid_map",
        "setgroups",
        "attr/current",
        "personality",
        "coredump_filter",
    ] {
        put(file, fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default());
    }
    let root = fs::metadata(format!("/proc/{pid}/root/.")).unwrap();
    put("root", format!("{}:{}", root.dev(), root.ino()));
    all
}

#[track_caller]
pub fn same_confinement(
    theirs: &BTreeMap<String, String>,
    ours: &BTreeMap<String, String>,
    but: &[&str],
    what: &str,
) {
    for (key, value) in theirs.iter().filter(|(key, _)| !but.contains(&key.as_str())) {
        assert_eq!(ours.get(key), Some(value), "{key} of {what}");
    }
    for key in ["CapInh", "CapAmb"] {
        assert_eq!(ours[key], "0000000000000000", "{key} of {what}");
    }
    assert_eq!(ours["NoNewPrivs"], "1", "{what}");
}

/// Descriptors of a process and where they lead.
pub fn descriptors(pid: i32) -> BTreeSet<i32> {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .map(|e| e.file_name().to_str().unwrap().parse().unwrap())
        .collect()
}

const MODES: [&[&str]; 13] = [
    &[],
    &["--userns=auto"],
    &["--read-only"],
    &["--pid=host", "--userns=host"],
    &["--network=host"],
    &["--ipc=host", "--uts=host", "--userns=host"],
    &["-u33"],
    &["-u", "12:13"],
    &["--init"],
    &["--init", "--userns=auto", "-uweb"],
    &["--ulimit=nofile=77:99", "--ulimit=core=0", "--ulimit=nproc=3000"],
    &["--userns=auto", "--network=host"],
    &["--userns=auto", "-u33", "--read-only"],
];

/// Namespaces, control groups, capabilities (CVE-2022-29162), limits, root, descriptors: what the container's own command has.
#[test]
fn it_is_confined_as_the_container_is() {
    let host = start();
    for mode in MODES {
        let c = Resident::idle("alike", mode);
        let pid = c.pid();
        let pid = if mode.contains(&"--init") { child(pid, "sleep") } else { pid };
        for options in [&[][..], &["-i"], &["-w", "/tmp"], &["-eA=b"]] {
            // ctr's caller has descriptors and ignored signals of its own.
            let mut command = Command::new("sh");
            command.args(["-c", "exec 7</ 8<. 9</proc; exec \"$@\"", "sh"]).arg(ctr_path());
            command.arg("exec").args(options).args(["alike", "sleep", "999"]);
            let mut live = Live::start(&mut command);
            let theirs = child(live.pid(), "sleep");
            let what = format!("{mode:?} {options:?}");
            same_confinement(&confinement(pid), &confinement(theirs), &[], &what);
            assert_eq!(descriptors(theirs), BTreeSet::from([0, 1, 2]), "{what}");
            assert_eq!(gone(pid), false);
            signal(theirs, libc::SIGKILL);
            live.hush();
            live.done().code(137);
        }
        drop(c);
        host.same_soon();
    }
    // A root of its own, and the machine's.
    let place = Scratch::new("exec-rw");
    let root = place.join("root");
    busybox_root(&root);
    for (options, root) in [
        (&["--rw"][..], root.to_str().unwrap()),
        (&["--rw", "--userns=auto"], root.to_str().unwrap()),
        (&[], "host"),
        (&["--userns=auto"], "host"),
    ] {
        let c = Resident::of("alike", options, root, &["sleep", "1000"]);
        let live = Live::start(&mut c.command(&["@", "sleep", "999"]));
        let theirs = child(live.pid(), "sleep");
        same_confinement(&confinement(c.pid()), &confinement(theirs), &[], &format!("{options:?} {root}"));
        signal(theirs, libc::SIGKILL);
        live.done().code(137);
        drop(c);
        host.same_soon();
    }
    // And into one that a foreground ctr looks after.
    let live = Live::start(&mut ctr(["run", "--name=alike", busybox(), "sleep", "1000"]));
    let own = child(live.pid(), "sleep");
    // At once, although little of it has been written down yet.
    within(&mut plain(["exec", "alike", "true"])).code(0);
    let second = Live::start(&mut plain(["exec", "alike", "sleep", "999"]));
    same_confinement(&confinement(own), &confinement(child(second.pid(), "sleep")), &[], "a foreground container");
    live.signal(libc::SIGKILL);
    second.done().code(137);
    drop(live);
    within(&mut ctr(["run", busybox(), "true"])).code(0);
    host.same_soon();
    host.same();
}

/// As another user: his groups, and the powers that this user has in `ctr run`.
#[test]
fn as_another_user() {
    let host = start();
    for mode in [&[][..], &["--userns=auto"], &["-u33"], &["--init"]] {
        let c = Resident::idle("users", mode);
        for (user, id) in [
            ("0", "uid=0(root) gid=0(root) groups=0(root)"),
            ("root", "uid=0(root) gid=0(root) groups=0(root)"),
            ("web", "uid=33(web) gid=33(www) groups=33(www),4(adm),6(disk)"),
            ("33", "uid=33(web) gid=33(www) groups=33(www),4(adm),6(disk)"),
            ("web:adm", "uid=33(web) gid=4(adm) groups=4(adm)"),
            ("web:0", "uid=33(web) gid=0(root) groups=0(root)"),
            ("1234", "uid=1234 gid=0(root) groups=0(root)"),
            ("1234:5678", "uid=1234 gid=5678 groups=5678"),
            ("0:33", "uid=0(root) gid=33(www) groups=33(www)"),
        ] {
            let ours = c
                .exec(&["-u", user, "@", "sh", "-c", "id; grep -E '^(Groups|Cap)' /proc/self/status; echo $HOME"])
                .code(0);
            let run = within(ctr(["run"]).args(mode).args([
                "-u",
                user,
                busybox(),
                "sh",
                "-c",
                "id; grep -E '^(Groups|Cap)' /proc/self/status; echo $HOME",
            ]))
            .code(0);
            assert_eq!(ours.out, run.out, "-u {user} in {mode:?}: exec and run differ");
            let words = |text: &str| text.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
            assert_eq!(words(&ours.out), words(id), "-u {user} in {mode:?}");
            assert!(
                ours.out.contains("CapInh:\t0000000000000000") && ours.out.contains("CapAmb:\t0000000000000000"),
                "{ours:#?}"
            );
        }
        // Nobody said: the container's own.
        let own = if mode == ["-u33"] { "33\n33\n" } else { "0\n0\n" };
        assert_eq!(c.says(&[], "id -u; id -g"), own, "{mode:?}");
        drop(c);
        host.same_soon();
    }
    host.same();
}

#[test]
fn privileged_has_all_that_there_are() {
    let host = start();
    // What we may have at most is what ctr may give.
    let all = confinement(std::process::id() as i32)["CapBnd"].clone();
    let own = "000001ffffffffff";
    for (mode, whole) in [
        (&["--userns=host"][..], all.as_str()),
        (&["--userns=host", "-u33"], &all),
        (&["--userns=auto"], own),
        (&["-u33"], own),
    ] {
        let c = Resident::idle("powers", mode);
        for options in [&["--privileged", "-u0"][..], &["--privileged", "-u", "web"]] {
            let said = c.says(options, "grep ^Cap /proc/self/status | tr -d '\\t'");
            let of = |key: &str| said.lines().find_map(|l| l.strip_prefix(key)).unwrap().to_owned();
            let none = "0000000000000000";
            let is_root = options.contains(&"-u0");
            assert_eq!(of("CapEff:"), if is_root { whole } else { none }, "{mode:?} {options:?}");
            assert_eq!(of("CapPrm:"), of("CapEff:"), "{mode:?} {options:?}");
            assert_eq!((of("CapInh:").as_str(), of("CapAmb:").as_str()), (none, none), "{mode:?} {options:?}");
        }
        // Only this one command.
        let said = c.says(&["-u0"], "grep ^CapEff /proc/self/status");
        assert_eq!(said.trim(), "CapEff:\t00000000a80425fb", "{mode:?}");
        drop(c);
        host.same_soon();
    }
    host.same();
}

#[test]
fn its_environment_is_the_containers_and_its_own() {
    let host = start();
    let place = Scratch::new("exec-env");
    fs::write(place.join("file"), "# a comment\n\nFROM_FILE=f\nB=file\nCALLER\n").unwrap();
    let file = place.join("file").display().to_string();
    let c = Resident::idle("env", &["-eA=container", "-eB=container", "-eEMPTY=", "-hinside"]);
    let env = |command: &mut Command| -> BTreeSet<String> {
        within(command.env("CALLER", "mine").env("SECRET", "hidden")).code(0).out.lines().map(str::to_owned).collect()
    };
    let own = env(&mut c.command(&["@", "env"]));
    let theirs = fs::read_to_string(format!("/proc/{}/environ", c.pid())).unwrap();
    let theirs: BTreeSet<_> = theirs.split('\0').filter(|v| !v.is_empty()).map(str::to_owned).collect();
    assert_eq!(own, theirs);
    assert!(own.contains("A=container") && own.contains("EMPTY=") && !own.iter().any(|v| v.contains("hidden")));
    let new = env(&mut c.command(&[
        "-eA=exec",
        "--env-file",
        &file,
        "-eCALLER",
        "-eUNSET_BY_CALLER",
        "-eX=a=b c",
        "@",
        "env",
    ]));
    let mut wanted: BTreeSet<_> =
        own.iter().filter(|v| !v.starts_with("A=") && !v.starts_with("B=")).cloned().collect();
    wanted.extend(["A=exec", "B=file", "FROM_FILE=f", "CALLER=mine", "X=a=b c"].map(str::to_owned));
    assert_eq!(new, wanted);
    // What is said later wins; HOME is the user's.
    assert_eq!(c.says(&["-eA=1", "-eA=2", "--env-file", &file, "-eB=last"], "echo $A $B $HOME"), "2 last /root\n");
    assert_eq!(c.says(&["-u", "web"], "echo $HOME"), "/var\n");
    assert_eq!(c.says(&["-eHOME=/mine", "-ePATH=/bin:/extra"], "echo $HOME $PATH"), "/mine /bin:/extra\n");
    // The command is looked for where its own PATH says.
    c.exec(&["-ePATH=/nowhere", "@", "true"]).code(127);
    drop(c);
    host.same();
}

/// As `ctr run`: made if it is missing. CVE-2024-21626: and never outside, however it is called.
#[test]
fn its_working_directory_is_inside() {
    let host = start();
    let place = Scratch::new("exec-workdir");
    let text = root_with_probe(&place.join("root"));
    for (link, to) in [
        ("fd", "/proc/self/fd/7"),
        ("fd3", "/proc/self/fd/3"),
        ("fd5", "/proc/self/fd/5"),
        ("one", "/proc/1/root"),
        ("up", "../../../../../.."),
        ("self", "/self"),
        ("cwd", "/proc/self/cwd"),
        ("chain", "/fd"),
        ("dev", "/dev/fd/8"),
    ] {
        symlink(to, place.join("root").join(link)).unwrap();
    }
    let mut asked: Vec<_> = (0..24).map(|n| format!("/proc/self/fd/{n}")).collect();
    asked.extend((3..12).map(|n| format!("/proc/self/fd/{n}/../../..")));
    asked.extend(
        [
            "/proc/1/root",
            "/proc/1/cwd",
            "/proc/self/cwd",
            "/proc/self/root/..",
            "/proc/thread-self/root",
            "/proc/1/root/tmp",
            "/proc/1/task/1/cwd",
            "/../../..",
            "/fd",
            "/fd/..",
            "/fd3",
            "/fd5/../..",
            "/one",
            "/one/tmp",
            "/up",
            "/up/tmp",
            "/self",
            "/cwd",
            "/chain",
            "/chain/new",
            "/dev",
            "/dev/../..",
            "/proc/1/ns",
            "/proc/1/map_files",
            "/dev/fd/7",
        ]
        .map(str::to_owned),
    );
    let o = place.path().display();
    for mode in [&[][..], &["--userns=auto"], &["--pid=host", "--userns=host"], &["-w", "/tmp"]] {
        let c = Resident::of("where", mode, &text, &["sleep", "1000"]);
        assert_eq!(c.says(&[], "pwd"), if mode.contains(&"-w") { "/tmp\n" } else { "/\n" });
        assert_eq!(c.says(&["-w", "/var"], "pwd; echo $PWD"), "/var\n/var\n");
        assert_eq!(c.says(&["-w", "/made/for it"], "pwd"), "/made/for it\n", "{mode:?}");
        for dir in &asked {
            let mut command = Command::new("sh");
            command.args(["-c", "exec 7</ 8<. 9</proc; exec \"$@\"", "sh"]).arg(ctr_path());
            let done = within(command.args(["exec", "-w", dir, "where", "probe", "cwd"]));
            let refused = done.code == 125 && done.err.starts_with("ctr: ") && done.err.lines().count() == 1;
            assert!(refused || done.code == 0 && done.out.ends_with(" inside\n"), "{mode:?} {dir}: {done:#?}");
            // Nothing is made outside either, and nothing of the host is there to be seen.
            let seen = c.says(&[], &format!("ls -d {o} 2>&- || echo none"));
            assert_eq!(seen, "none\n");
        }
        assert!(!place.path().join("new").exists());
        drop(c);
        host.same_soon();
    }
    host.same();
}

#[test]
fn only_where_something_runs() {
    let host = start();
    let c = Resident::idle("state", &[]);
    c.verb(&["pause"]);
    let before = Instant::now();
    c.exec(&["@", "true"]).refused(&["state", "paused", "ctr unpause state"]);
    c.exec(&["-d", "@", "true"]).refused(&["paused"]);
    assert!(before.elapsed() < Duration::from_secs(2));
    c.verb(&["unpause"]);
    c.exec(&["@", "true"]).code(0);
    c.verb(&["kill"]);
    c.verb(&["wait"]);
    c.exec(&["@", "true"]).refused(&["state", "not running", "exited", "ctr start state"]);
    c.verb(&["start"]);
    c.exec(&["@", "true"]).code(0);
    drop(c);
    let c = Resident("state".into());
    within(&mut plain(["create", "--name=state", busybox(), "true"])).code(0);
    c.exec(&["@", "true"]).refused(&["state", "ctr start state"]);
    drop(c);
    host.same();
}

/// Somebody kills the container meanwhile: a clear line, or a code, and at once.
#[test]
fn into_a_container_that_dies() {
    let host = start();
    let (mut told, mut ran) = (0, 0);
    for round in 0..40 {
        let c = Resident::idle("dying", if round % 4 == 3 { &["--userns=auto"] } else { &[] });
        let pid = c.pid();
        let all: Vec<_> = (0..6)
            .map(|n| {
                if n == 3 {
                    std::thread::sleep(Duration::from_micros(150 * round));
                    signal(pid, libc::SIGKILL);
                }
                let live = Live::start(&mut c.command(&["@", "true"]));
                std::thread::sleep(Duration::from_micros(100));
                live
            })
            .collect();
        for live in all {
            let done = live.done();
            match done.code {
                0 | 137 => {
                    ran += 1;
                    assert_eq!((done.out.as_str(), done.err.as_str()), ("", ""), "{done:#?}");
                }
                _ => {
                    told += 1;
                    let done = done.refused(&["dying"]);
                    assert!(["not running", "ended"].iter().any(|w| done.err.contains(w)), "{done:#?}");
                }
            }
        }
    }
    assert!(told > 10 && ran > 10, "{told} were refused, {ran} ran: no race");
    host.same_soon();
    host.same();
}

/// Everything in it ends with the container, and whoever waits is told.
#[test]
fn it_ends_with_the_container() {
    let host = start();
    for mode in [&[][..], &["--userns=auto"], &["--init"]] {
        let c = Resident::idle("ending", mode);
        let mut live =
            Live::start(&mut c.command(&["-i", "@", "sh", "-c", "trap '' TERM HUP INT; echo up; cat; sleep 1000"]));
        live.hear("up\n");
        c.exec(&["-d", "@", "sleep", "1000"]).code(0);
        c.verb(&["kill"]);
        live.done().code(137);
        drop(c);
        host.same_soon();
    }
    host.same();
}

/// Field notes 24 and 25: grandchildren have its pipes or its terminal, and nobody waits for them.
#[test]
fn it_ends_when_its_process_does() {
    let host = start();
    let place = Scratch::new("exec-ends");
    for mode in [&[][..], &["--userns=auto"], &["--init"]] {
        let c = Resident::idle("ends", mode);
        for options in [&[][..], &["-i"]] {
            let (out, err) = (File::create(place.join("out")).unwrap(), File::create(place.join("err")).unwrap());
            let mut command =
                c.command(&[options, &["@", "sh", "-c", "sleep 1000 & echo x; echo y >&2; exit 6"]].concat());
            let before = Instant::now();
            // Its standard input stays open as well.
            let mut child = command.stdin(Stdio::piped()).stdout(out).stderr(err).spawn().unwrap();
            let status = until("the end of exec", || child.try_wait().unwrap());
            assert!(status.code() == Some(6) && before.elapsed() < Duration::from_secs(1), "{status:?}");
            assert_eq!(fs::read_to_string(place.join("out")).unwrap(), "x\n");
            assert_eq!(fs::read_to_string(place.join("err")).unwrap(), "y\n");
        }
        // Pipes that ctr has made itself, because ours are terminals; and a terminal inside.
        for options in [&[][..], &["-i"], &["-t"], &["-it"]] {
            let ctr = ctr_path().display().to_string();
            let script = "trap '' HUP; sleep 1000 & echo x; exit 6";
            let words = [&[ctr.as_str(), "exec"], options, &["ends", "sh", "-c", script]].concat();
            let before = Instant::now();
            let mut pty = Pty::start("exec \"$@\"", &words, 24, 80);
            let (shown, code) = pty.end();
            assert!(shown.contains('x') && code == 6, "{options:?}: {shown:?} {code}");
            assert!(before.elapsed() < Duration::from_secs(1), "{options:?}: {:?}", before.elapsed());
        }
        drop(c);
        host.same_soon();
    }
    host.same();
}

/// All that it says comes out, however fast it is and however soon it ends.
#[test]
fn nothing_of_its_output_is_lost() {
    let host = start();
    let c = Resident::idle("output", &[]);
    let numbers = |count: u32| (1..=count).map(|n| format!("{n}\n")).collect::<String>();
    assert!(c.exec(&["@", "seq", "300000"]).code(0).out == numbers(300_000));
    let ctr = ctr_path().display().to_string();
    for options in [&[][..], &["-t"], &["-it"]] {
        // Out of a terminal the ends of lines are two bytes.
        let mut pty = Pty::start(
            "exec \"$@\"",
            &[&[ctr.as_str(), "exec"], options, &["output", "seq", "20000"]].concat(),
            24,
            80,
        );
        let (shown, code) = pty.end();
        let lines: Vec<_> = shown.lines().map(|l| l.trim_end_matches('\r')).filter(|l| !l.is_empty()).collect();
        assert!(code == 0 && lines.len() == 20000, "{options:?}: {code}, {} lines", lines.len());
        assert!(lines.iter().zip(1..).all(|(line, n)| *line == n.to_string()), "{options:?}");
    }
    drop(c);
    host.same();
}

/// Who reads its errors has stopped reading: it can still be ended, and so can what it runs. (It waits some seconds for a reader
/// that may come back.)
#[test]
fn a_full_pipe_does_not_keep_it() {
    use std::io::Read;
    let host = start();
    let c = Resident::idle("full", &[]);
    for end in ["inside", "signal", "container"] {
        let mut command = c.command(&["@", "sh", "-c", "echo up; exec yes >&2"]);
        // Nobody reads the other end of standard error.
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = self::child(child.id() as i32, "yes");
        // All pipes on the way are full: it sleeps for good.
        let switches = || {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            status.lines().find(|l| l.starts_with("voluntary_ctxt_switches")).unwrap().to_owned()
        };
        until("the pipe to be full", || {
            let before = switches();
            std::thread::sleep(Duration::from_millis(30));
            (before == switches() && stat(pid)?.0 == 'S').then_some(())
        });
        match end {
            "signal" => signal(child.id() as i32, libc::SIGTERM),
            "inside" => drop(c.exec(&["@", "killall", "-9", "yes"]).code(0)),
            _ => drop(c.verb(&["kill"])),
        }
        until("the end of yes", || gone(pid).then_some(()));
        if end != "signal" {
            let mut rest = Vec::new();
            child.stderr.take().unwrap().read_to_end(&mut rest).unwrap();
        }
        let status = until("the end of exec", || child.try_wait().unwrap());
        assert_eq!(status.code(), Some(if end == "signal" { 143 } else { 137 }), "{end}: {status:?}");
    }
    drop(c);
    host.same_soon();
    host.same();
}

#[test]
fn what_it_started_ends_with_it() {
    let host = start();
    for mode in [&[][..], &["--userns=auto"], &["-u33"], &["--pid=host", "--userns=host"], &["--init"]] {
        let c = Resident::idle("orphan", mode);
        for options in [&[][..], &["-i"], &["-u", "web"], &["-u0"], &["-w", "/tmp"]] {
            let mut live = Live::start(
                &mut c.command(&[options, &["@", "sh", "-c", "trap '' TERM HUP; echo up; exec sleep 998"]].concat()),
            );
            live.hear("up\n");
            let pid = child(live.pid(), "sleep");
            live.signal(libc::SIGKILL);
            until("the end of its process", || gone(pid).then_some(()));
            live.done().code(137);
        }
        // The container goes on.
        c.exec(&["@", "true"]).code(0);
        // What is detached stays when its ctr has gone, which it has at once, and with no word.
        let done = c.exec(&["-d", "@", "sh", "-c", "echo lost; sleep 997"]).code(0);
        assert_eq!((done.out.as_str(), done.err.as_str()), ("", ""));
        until("the detached process", || c.says(&[], "ps -o args").contains("sleep 997").then_some(()));
        drop(c);
        host.same_soon();
    }
    host.same();
}

#[test]
fn detached() {
    let host = start();
    let place = Scratch::new("exec-detached");
    let volume = format!("-v{}:/v", place.path().display());
    let c = Resident::idle("behind", &[&volume]);
    let done = c
        .exec(&[
            "-d",
            "-u",
            "0",
            "-eA=b",
            "-w",
            "/tmp",
            "@",
            "sh",
            "-c",
            "echo $A; (echo $A; pwd; ls -l /proc/self/fd; cat) >/v/new; mv /v/new /v/done; exec sleep 1000",
        ])
        .code(0);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("", ""));
    let said = until("its file", || fs::read_to_string(place.join("done")).ok());
    // Nothing to read, and nobody to talk to.
    assert!(said.starts_with("b\n/tmp\n") && said.matches("/dev/null").count() >= 2, "{said}");
    // Its process is in a session of its own, and nobody's child outside but whoever reaps.
    c.exec(&["-d", "@", "no-such-command"]).refused_with(127);
    c.exec(&["-d", "@", "/etc/passwd"]).refused_with(126);
    // A SIGHUP or SIGINT for whoever called is none for it.
    let ctr = ctr_path().display().to_string();
    let mut pty = Pty::start("exec \"$@\"", &[&ctr, "exec", "-d", "behind", "sh", "-c", "sleep 996; echo"], 24, 80);
    assert_eq!(pty.end().1, 0);
    pty.enter([3]);
    drop(pty);
    assert!(c.says(&[], "ps -o args").contains("sleep 996"));
    assert!(!c.verb(&["logs"]).out.contains('b'), "what exec says is not in the log");
    drop(c);
    host.same_soon();
    host.same();
}

#[test]
fn signals_reach_its_process() {
    let host = start();
    for mode in [&[][..], &["--userns=auto"], &["--pid=host", "--userns=host"]] {
        let c = Resident::idle("signals", mode);
        let all = [
            (libc::SIGTERM, "TERM"),
            (libc::SIGINT, "INT"),
            (libc::SIGHUP, "HUP"),
            (libc::SIGUSR1, "USR1"),
            (libc::SIGQUIT, "QUIT"),
        ];
        let script = "for s in TERM INT HUP USR1 QUIT; do trap \"echo got $s\" $s; done; trap 'exit 8' USR2; echo up; while :; do sleep 0.01; done";
        let mut live = Live::start(&mut c.command(&["@", "sh", "-c", script]));
        live.hear("up\n");
        for (number, name) in all {
            live.signal(number);
            assert_eq!(live.line(), format!("got {name}"), "{mode:?}");
        }
        live.signal(libc::SIGUSR2);
        live.done().code(8);
        // Who has no handler ends by it: it is no PID 1.
        for (number, _) in all {
            let live = Live::start(&mut c.command(&["@", "sleep", "995"]));
            child(live.pid(), "sleep");
            live.signal(number);
            let done = live.done().code(128 + number);
            assert_eq!(done.err, "", "{mode:?}");
        }
        drop(c);
        host.same_soon();
    }
    host.same();
}

fn on_a_terminal(c: &Resident, options: &[&str], command: &[&str]) -> Pty {
    let ctr = ctr_path().display().to_string();
    Pty::start("exec \"$@\"", &[&[ctr.as_str(), "exec"], options, &[&c.0], command].concat(), 33, 111)
}

#[test]
fn a_terminal() {
    let host = start();
    let script = "tty; stty size; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all three; echo TERM=$TERM; echo x >/dev/tty; \
                  stat -c %u $(tty); echo y >$(tty); ls /dev/pts | tr '\\n' ' '; exit 5";
    for mode in [
        &[][..],
        &["--userns=auto"],
        &["--read-only"],
        &["--init"],
        &["--pid=host", "--userns=host"],
        &["-u33"],
        &["-t"],
        &["-it"],
    ] {
        let c = if mode.iter().any(|o| o.contains('t') && o.len() < 4) {
            // Its own terminal is another.
            let mut pty = Pty::start(
                "exec \"$@\"",
                &[&[ctr_path().to_str().unwrap(), "run", "-d", "--name=tty"], mode, &[busybox(), "sleep", "1000"]]
                    .concat(),
                24,
                80,
            );
            assert_eq!(pty.end().1, 0);
            Resident("tty".into())
        } else {
            Resident::idle("tty", mode)
        };
        for (options, user) in [(&["-it"][..], None), (&["-t"], None), (&["-it", "-u", "web"], Some("33"))] {
            let mut pty = on_a_terminal(&c, options, &["sh", "-c", script]);
            let (shown, code) = pty.end();
            let lines: Vec<_> = shown.split('\n').map(|l| l.trim_end_matches('\r')).collect();
            let own = user.unwrap_or(if mode == ["-u33"] { "33" } else { "0" });
            assert!(lines[0].starts_with("/dev/pts/"), "{mode:?} {options:?}: {shown:?}");
            assert_eq!(
                lines[1..7],
                ["33 111", "all three", "TERM=xterm", "x", own, "y"],
                "{mode:?} {options:?}: {shown:?}"
            );
            assert_eq!(code, 5, "{mode:?} {options:?}");
        }
        // A command that is not there, on a terminal that is given back.
        let mut pty = on_a_terminal(&c, &["-it"], &["no-such-command"]);
        let (shown, code) = pty.end();
        assert!(code == 127 && shown.starts_with("ctr: ") && !pty.modes().raw(), "{shown:?}");
        drop((pty, c));
        host.same_soon();
    }
    host.same();
}

#[test]
fn a_terminal_is_raw_meanwhile_and_then_as_it_was() {
    let host = start();
    let c = Resident::idle("raw", &[]);
    type End = fn(&mut Pty);
    let ends: [(&str, End, i32); 5] = [
        ("exit", |pty| pty.enter("exit 4\n"), 4),
        ("killed", |pty| pty.enter("kill -9 $$\n"), 137),
        ("SIGTERM", |pty| signal(pty.pid, libc::SIGTERM), 143),
        ("SIGHUP", |pty| signal(pty.pid, libc::SIGHUP), 129),
        ("SIGKILL", |pty| signal(pty.pid, libc::SIGKILL), 137),
    ];
    for (what, end, wanted) in ends {
        let script = "echo ready; while read line; do eval \"$line\"; done";
        let mut pty = Pty::start(
            "read go; exec \"$@\"",
            &[ctr_path().to_str().unwrap(), "exec", "-it", "raw", "sh", "-c", script],
            24,
            80,
        );
        pty.set_modes(|t| {
            t.c_cc[libc::VERASE] = 8;
            t.c_cc[libc::VINTR] = 24;
            t.c_iflag |= libc::IXANY | libc::IUTF8;
        });
        let before = pty.modes();
        assert!(!before.raw());
        pty.enter("go\n");
        pty.hear("ready\r\n");
        assert!(pty.modes().raw(), "{what}");
        // The size follows.
        pty.resize(50, 132);
        until("the new size", || {
            pty.enter("echo si''ze:$(stty size).\n");
            pty.hear("size:");
            (pty.hear(".") == "50 132").then_some(())
        });
        // Ctrl-C is for the process inside.
        pty.enter("trap 'echo cau''ght' INT; echo trap''ped\n");
        pty.hear("trapped\r\n");
        pty.enter([3]);
        pty.enter("\n");
        pty.hear("caught\r\n");
        end(&mut pty);
        let (shown, code) = pty.end();
        assert_eq!(code, wanted, "{what}: {shown:?}");
        until("the terminal to be put back", || (pty.modes() == before).then_some(()));
        drop(pty);
        until("its process to be gone", || {
            (c.says(&[], "ps -o args | grep -c '[e]val'; true") == "0\n").then_some(())
        });
    }
    drop(c);
    host.same_soon();
    host.same();
}

/// The window is closed.
#[test]
fn a_terminal_that_goes_away_ends_it() {
    let host = start();
    let c = Resident::idle("window", &[]);
    for command in [
        &["sh", "-c", "echo up; exec sh"][..],
        &["sh", "-c", "echo up; exec sleep 994"],
        &["sh", "-c", "echo up; cat"],
    ] {
        let mut pty = on_a_terminal(&c, &["-it"], command);
        pty.hear("up\r\n");
        let pid = pty.pid;
        crate::terminal::drop_terminal(pty);
        until(&format!("the end of {command:?}"), || gone(pid).then_some(()));
        until("the end of what it ran", || (c.says(&[], "ps -o args | wc -l") == "4\n").then_some(()));
    }
    drop(c);
    host.same_soon();
    host.same();
}

#[test]
fn a_hundred_at_once() {
    let host = start();
    for mode in [&[][..], &["--userns=auto"]] {
        let c = Resident::idle("many", mode);
        let before = descriptors(c.ask("{{.Supervisor.Pid}}").parse().unwrap());
        let all: Vec<_> = (0..100)
            .map(|n| Live::start(&mut c.command(&["-i", "@", "sh", "-c", &format!("cat; echo {n}; exit {n}")])))
            .collect();
        for (n, mut live) in all.into_iter().enumerate() {
            live.say("in\n");
            let done = live.done().code(n as i32);
            assert_eq!((done.out, done.err.as_str()), (format!("in\n{n}\n"), ""));
        }
        // No pipe: what is about to become its other end has no name yet.
        let left = c.exec(&["@", "ps", "-o", "pid,args"]).code(0).out;
        assert_eq!(left.lines().count(), 3, "only PID 1 is left, and ps: {left}");
        assert_eq!(descriptors(c.ask("{{.Supervisor.Pid}}").parse().unwrap()), before);
        drop(c);
        host.same_soon();
    }
    host.same();
}

/// The resident attacker.
fn lurk() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/root/lurk.c");
    let binary = cache().join("lurk");
    let made = |p: &Path| p.metadata().and_then(|m| m.modified()).ok();
    if made(&binary) < made(&source) {
        let new = cache().join("lurk.new");
        within(Command::new("cc").args(["-static", "-O1", "-o"]).arg(&new).arg(source)).code(0);
        fs::rename(new, &binary).unwrap();
    }
    binary
}

/// CVE-2019-5736 (and 2016-9962): whoever comes in is looked at by one who waits for him: by the image's `#!/proc/self/exe`, by its
/// own path, and while ctr's child is not yet the user's program. The same for health checks, which are execs too.
#[test]
fn our_own_file_cannot_be_written_by_whom_we_visit() {
    let host = start();
    let place = Scratch::new("visit");
    let root = place.join("root");
    busybox_root(&root);
    fs::copy(lurk(), root.join("bin/lurk")).unwrap();
    for (name, line) in [("evil", "#!/proc/self/exe\n"), ("evil2", "#!/proc/self/exe events\n")] {
        fs::write(root.join("bin").join(name), line).unwrap();
        fs::set_permissions(root.join("bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    symlink("/proc/self/exe", root.join("bin/self")).unwrap();
    // A second image, whose shell is ctr: for health checks.
    let sick = place.join("sick");
    busybox_root(&sick);
    fs::copy(lurk(), sick.join("bin/lurk")).unwrap();
    fs::remove_file(sick.join("bin/sh")).unwrap();
    fs::copy(root.join("bin/evil"), sick.join("bin/sh")).unwrap();
    let own = place.join("ctr");
    let volume = place.join("volume");
    fs::create_dir(&volume).unwrap();
    for mode in [&[][..], &["--userns=auto"], &["--pid=host", "--userns=host"], &["--rw"], &["--init"]] {
        for health in [false, true] {
            fs::copy(ctr_path(), &own).unwrap();
            let picture = || (fs::read(&own).unwrap(), own.metadata().unwrap().ino(), own.metadata().unwrap().mode());
            let before = picture();
            let _ = fs::remove_file(volume.join("enough"));
            let mut run = Command::new(&own);
            run.args(["run", "-d", "--name=visit", &format!("-v{}:/tmp", volume.display())]).args(mode);
            if health {
                run.args(["--health-cmd=true", "--health-interval=1ms", "--health-retries=1000000"]);
            }
            let c = Resident("visit".into());
            let canary = own.display().to_string();
            within(run.arg(if health { &sick } else { &root }).args(["lurk", &canary])).code(0);
            let log = || within(&mut plain(["logs", "visit"])).out;
            if health {
                until("checks", || {
                    (c.ask("{{.State.Health.FailingStreak}}").parse::<u32>().ok()? > 60).then_some(())
                });
            } else {
                let visit = |words: &[&str]| within(Command::new(&own).args(["exec", "visit"]).args(words));
                for n in 0..if mode == ["--rw"] || mode == ["--init"] { 60 } else { 200 } {
                    match n % 4 {
                        0 => drop(visit(&["evil"])),
                        1 => drop(visit(&["true"]).code(0)),
                        2 => drop(visit(&["self"])),
                        _ => drop(visit(&["/proc/self/exe", "--version"])),
                    }
                }
                // One that is ctr, and stays.
                let mut live = Live::start(Command::new(&own).args(["exec", "visit", "/proc/self/exe", "events"]));
                std::thread::sleep(Duration::from_millis(100));
                live.hush();
                live.signal(libc::SIGKILL);
                drop(live);
            }
            fs::write(volume.join("enough"), "").unwrap();
            until("the lurker's end", || (c.ask("{{.State.Running}}") == "false").then_some(()));
            let said = log();
            let what = format!("{mode:?} health {health}: {said}");
            assert!(said.starts_with("up\n") && said.contains("rounds many"), "{what}");
            // It has looked at something: a ctr that it could hold, or one that it was denied.
            assert!(said.contains("seen ") || said.contains("denied some"), "{what}");
            for bad in ["WRITABLE", "WRITTEN", "ESCAPED", "odd"] {
                assert!(!said.contains(bad), "{what}");
            }
            assert!(picture() == before, "the binary has changed: {what}");
            // And now that nobody runs it: is what protected it more than luck? The file itself must be writable again.
            // Who takes its cable away is a ctr too, for a moment.
            until("the binary to be at rest", || match fs::OpenOptions::new().append(true).open(&own) {
                Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => None,
                opened => Some(drop(opened.unwrap_or_else(|e| panic!("{e}: {what}")))),
            });
            drop(c);
            host.same_soon();
        }
    }
    host.same();
}

/// An ordinary user's container, visited by him.
#[test]
fn a_users_own() {
    const USER: u32 = 12345;
    let host = start();
    let place = Scratch::new("exec-rootless");
    let root = place.join("root");
    busybox_root(&root);
    chown(place.path(), Some(USER), Some(USER)).unwrap();
    let ctr = |words: &[&str]| {
        let mut command = Command::new(ctr_path());
        command.args(words).uid(USER).gid(USER).current_dir(place.path());
        command.env("HOME", place.path()).env("XDG_RUNTIME_DIR", place.path());
        command
    };
    let done =
        within(&mut ctr(&["run", "-d", "--name=mine", "-eA=b", root.to_str().unwrap(), "sleep", "1000"])).code(0);
    assert_eq!(done.err, "");
    let pid: i32 =
        within(&mut ctr(&["inspect", "--format", "{{.State.Pid}}", "mine"])).code(0).out.trim().parse().unwrap();
    for options in [&[][..], &["-i"], &["-u0"]] {
        let live = Live::start(&mut ctr(&[&["exec"], options, &["mine", "sleep", "993"]].concat()));
        let theirs = child(live.pid(), "sleep");
        same_confinement(&confinement(pid), &confinement(theirs), &[], &format!("{options:?}"));
        assert_eq!(descriptors(theirs), BTreeSet::from([0, 1, 2]));
        live.signal(libc::SIGKILL);
        until("its end", || gone(theirs).then_some(()));
        drop(live);
    }
    let says = |options: &[&str], script: &str| {
        within(&mut ctr(&[&["exec"], options, &["mine", "sh", "-c", script]].concat()))
    };
    assert_eq!(says(&["-w", "/tmp", "-eC=d"], "id -u; pwd; echo $A $C; exit 4").code(4).out, "0\n/tmp\nb d\n");
    assert_eq!(says(&["--privileged"], "grep CapEff /proc/self/status").code(0).out, "CapEff:\t000001ffffffffff\n");
    says(&["-u33"], "id").refused(&["33"]);
    says(&["-u", "web"], "id").refused(&["33"]);
    within(&mut ctr(&["exec", "-d", "mine", "sleep", "992"])).code(0);
    // Somebody else's is none of root's business, nor root's any of his.
    let roots = Resident::idle("roots", &[]);
    within(&mut ctr(&["exec", "roots", "true"])).refused(&["roots"]);
    within(&mut plain(["exec", "mine", "true"])).refused(&["mine"]);
    drop(roots);
    within(&mut ctr(&["rm", "-f", "mine"])).code(0);
    host.same_soon();
    host.same();
}
