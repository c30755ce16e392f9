//! Every option of `ctr run`, and the habits of Docker's command line.

use crate::support::{
    Done, Host, Live, Scratch, Way, both_ways, busybox, busybox_root, ctr, ctr_path, debian, feed, plain, run, until,
    within,
};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

/// `ctr run WORDS…`, to its end.
#[track_caller]
pub fn go<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Done {
    within(ctr(["run"]).args(words))
}

/// `ctr run OPTIONS ROOT sh -c SCRIPT` in the busybox root.
#[track_caller]
pub fn inside(options: &[&str], script: &str) -> Done {
    within(ctr(["run"]).args(options).args([busybox(), "sh", "-c", script]))
}

/// What that says, when it ends well and has nothing to complain about.
#[track_caller]
pub fn says(options: &[&str], script: &str) -> String {
    let done = inside(options, script).code(0);
    assert_eq!(done.err, "", "{options:?} {script}");
    done.out
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Everything about a tree that a write would change.
fn picture(root: &Path) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let m = path.symlink_metadata().unwrap();
        seen.insert(format!(
            "{} mode {:o} owner {}:{} links {} size {} changed {}.{}",
            path.display(),
            m.mode(),
            m.uid(),
            m.gid(),
            m.nlink(),
            m.size(),
            m.ctime(),
            m.ctime_nsec()
        ));
        if m.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
    }
    seen
}

fn id_of(status: &str, key: &str) -> String {
    let line = status.lines().find(|l| l.starts_with(key)).unwrap_or_else(|| panic!("no {key} in {status}"));
    line[key.len()..].split_whitespace().collect::<Vec<_>>().join(" ")
}

both_ways!(a_command_has_its_own_output_errors_and_exit_code exit_codes_of_what_cannot_run);

fn a_command_has_its_own_output_errors_and_exit_code(way: Way) {
    let host = Host::before();
    let inside = |script: &str| within(&mut way.run([busybox(), "sh", "-c", script]));
    let done = inside("echo out; echo err >&2; exit 7").code(7);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("out\n", "err\n"));
    within(&mut way.run([busybox(), "true"])).code(0);
    for code in [0, 1, 2, 125, 126, 127, 128, 200, 255] {
        let done = inside(&format!("exit {code}")).code(code);
        assert_eq!((done.out.as_str(), done.err.as_str()), ("", ""));
    }
    assert_eq!(host.kept().len(), if way == Way::Attached { 11 } else { 0 });
    host.same_after(way);
}

/// A relative path becomes a whole one in the record, where it must mean the same.
#[test]
fn a_relative_volume_below_a_directory_with_a_separator_in_its_name() {
    let host = Host::before();
    let place = Scratch::new("separators");
    for (name, works, refused) in [
        ("a:b", "--mount=type=bind,source=./data,target=/v", "--volume=./data:/v"),
        ("a,b", "--volume=./data:/v", "--mount=type=bind,source=./data,target=/v"),
    ] {
        std::fs::create_dir_all(place.join(name).join("data/inside")).unwrap();
        let run = |option: &str| {
            let words = ["run", "-d", "--name=separated", option, busybox(), "sleep", "1000"];
            within(plain(words).current_dir(place.join(name)))
        };
        run(refused).refused(&["./data", name, "cannot say a path with"]);
        run(works).code(0);
        assert_eq!(within(&mut plain(["exec", "separated", "ls", "/v"])).code(0).out, "inside\n");
        within(&mut plain(["rm", "-f", "separated"])).code(0);
    }
    host.same_soon();
}

#[test]
fn the_root_is_a_directory_named_in_any_way() {
    let host = Host::before();
    let place = Scratch::new("root");
    busybox_root(&place.join("tree"));
    symlink("tree", place.join("link")).unwrap();
    fs::write(place.join("tree/mark"), "here\n").unwrap();
    for words in [
        vec!["./tree", "cat", "/mark"],
        vec!["tree/", "cat", "/mark"],
        vec!["./link", "cat", "/mark"],
        vec!["./tree/../tree/.", "cat", "/mark"],
        vec!["--rootfs", "tree", "cat", "/mark"],
        vec!["--rootfs=./tree", "cat", "/mark"],
    ] {
        let done = within(ctr(["run"]).args(&words).current_dir(place.path())).code(0);
        assert_eq!((done.out.as_str(), done.err.as_str()), ("here\n", ""), "{words:?}");
    }
    // A bare name is an image's; who means the directory is told how to say so.
    within(ctr(["run", "tree", "true"]).current_dir(place.path())).refused(&["./tree"]);
    // A directory that is called host, said to be one.
    busybox_root(&place.join("host"));
    fs::write(place.join("host/mark"), "a directory\n").unwrap();
    let done = within(ctr(["run", "--rootfs", "host", "cat", "/mark"]).current_dir(place.path())).code(0);
    assert_eq!(done.out, "a directory\n");
    let done = within(ctr(["run", "./host", "cat", "/mark"]).current_dir(place.path())).code(0);
    assert_eq!(done.out, "a directory\n");
    host.same();
}

#[test]
fn a_root_has_any_name_a_directory_can_have() {
    let host = Host::before();
    let place = Scratch::new("names");
    let tree = place.join("tree");
    busybox_root(&tree);
    let mut at = tree;
    for name in [
        &b"with space"[..],
        b"colon:and,comma",
        b"back\\slash\\:x\\,y",
        b"quote'\"$(id)",
        b"new\nline",
        b"not utf-8 \xff\xfe",
        b"%s%n",
        &[b'l'; 255],
    ] {
        let to = place.path().join(OsStr::from_bytes(name));
        fs::rename(&at, &to).unwrap();
        at = to;
        let done = go([at.as_os_str(), "sh".as_ref(), "-c".as_ref(), "echo fine; echo x >/new".as_ref()]).code(0);
        assert_eq!((done.out.as_str(), done.err.as_str()), ("fine\n", ""), "{at:?}");
        assert!(!at.join("new").exists());
        let done = go(["--userns=auto".as_ref(), at.as_os_str(), "id".as_ref(), "-u".as_ref()]).code(0);
        assert_eq!(done.out, "0\n", "{at:?}");
    }
    host.same();
}

#[test]
fn host_is_a_copy_on_write_view_of_this_machine() {
    let host = Host::before();
    let place = Scratch::new("host");
    fs::write(place.join("mine"), "as it was\n").unwrap();
    let name = text(place.path()).to_owned();
    let script = format!(
        "cat /etc/os-release; cat {name}/mine; echo changed >{name}/mine; cat {name}/mine; \
         echo x >/ctr-test-was-here; echo x >/etc/ctr-test-was-here; rm /etc/os-release; ls /etc/os-release; true"
    );
    let before = picture(Path::new("/etc"));
    let done = go(["host", "sh", "-c", &script]).code(0);
    let release = fs::read_to_string("/etc/os-release").unwrap();
    assert_eq!(done.out, format!("{release}as it was\nchanged\n"));
    assert!(done.err.contains("No such file"), "{done:?}");
    assert_eq!(fs::read_to_string(place.join("mine")).unwrap(), "as it was\n");
    assert!(!Path::new("/ctr-test-was-here").exists());
    assert_eq!(before, picture(Path::new("/etc")));
    // The machine's own programs, its users, none of its processes.
    let done = go(["host", "bash", "-c", "echo $$; id -un; ls -d /proc/[0-9]*"]).code(0);
    assert!(done.out.starts_with("1\nroot\n/proc/1\n"), "{done:?}");
    assert!(done.out.lines().count() <= 4, "{done:?}");
    host.same();
}

#[test]
fn a_directory_is_not_written_to_unless_rw_says_so() {
    let host = Host::before();
    let place = Scratch::new("rw");
    let root = place.join("root");
    busybox_root(&root);
    fs::write(root.join("old"), "old\n").unwrap();
    let name = text(&root).to_owned();
    let before = picture(&root);
    let script = "echo new >/new; echo changed >/old; rm /etc/group; mkdir -p /a/b; chmod 700 /tmp; cat /new /old";
    for options in [&[][..], &["--tty=false"], &["--userns=auto"], &["--init"], &["-w", "/made/for/me"]] {
        let done = within(ctr(["run"]).args(options).args([&name, "sh", "-c", script])).code(0);
        assert_eq!((done.out.as_str(), done.err.as_str()), ("new\nchanged\n", ""), "{options:?}");
        assert_eq!(picture(&root), before, "{options:?}");
    }
    // What one container wrote the next one does not see.
    assert_eq!(go([&name, "cat", "/old"]).code(0).out, "old\n");

    for dir in ["proc", "sys", "dev"] {
        fs::create_dir(root.join(dir)).unwrap();
    }
    let names = |p: &Path| picture(p).into_iter().map(|l| l.split(" mode ").next().unwrap().to_owned()).collect();
    let before: BTreeSet<String> = names(&root);
    let done = go(["--rw", &name, "sh", "-c", "echo new >/new; echo changed >/old; cat /etc/hosts"]).code(0);
    assert!(done.out.contains("localhost"), "{done:?}");
    assert_eq!(fs::read_to_string(root.join("new")).unwrap(), "new\n");
    assert_eq!(fs::read_to_string(root.join("old")).unwrap(), "changed\n");
    for supplied in ["etc/hosts", "etc/hostname", "etc/resolv.conf"] {
        let said = fs::read_to_string(root.join(supplied)).unwrap_or_default();
        assert_eq!(said, "", "{supplied} was written to the directory");
    }
    assert_eq!(fs::read_dir(root.join("dev")).unwrap().count(), 0, "nodes were made in the directory");
    let mut allowed = before;
    allowed.extend(["new", "etc/hosts", "etc/hostname", "etc/resolv.conf"].map(|n| format!("{name}/{n}")));
    let after: BTreeSet<String> = names(&root);
    assert_eq!(after.difference(&allowed).collect::<Vec<_>>(), Vec::<&String>::new(), "left in the directory");
    host.same();
}

#[test]
fn interactive_keeps_standard_input() {
    let host = Host::before();
    let b = busybox();
    assert_eq!(feed(&mut ctr(["run", b, "cat"]), b"not read").code(0).out, "");
    for option in ["-i", "--interactive", "-i=true", "--interactive=true"] {
        assert_eq!(feed(&mut ctr(["run", option, b, "cat"]), b"read\n").code(0).out, "read\n");
    }
    assert_eq!(feed(&mut ctr(["run", "-i=false", b, "cat"]), b"not read").code(0).out, "");
    // An end of file arrives as one, and what is left unread is no error.
    assert_eq!(
        feed(&mut ctr(["run", "-i", b, "sh", "-c", "read a; echo got $a"]), b"1\n2\n3\n").code(0).out,
        "got 1\n"
    );
    // A conversation, not only a batch.
    let mut talk = Live::start(&mut ctr(["run", "-i", b, "sh"]));
    for i in 0..20 {
        talk.say(format!("echo answer $(({i} * {i}))\n"));
        assert_eq!(talk.line(), format!("answer {}", i * i));
    }
    talk.say("exit 9\n");
    talk.done().code(9);
    host.same();
}

#[test]
fn a_mebibyte_of_random_bytes_goes_through_unharmed() {
    let host = Host::before();
    let mut bytes = vec![0; 1 << 20];
    std::io::Read::read_exact(&mut fs::File::open("/dev/urandom").unwrap(), &mut bytes).unwrap();
    for options in [&["-i"][..], &["-i", "--init"], &["-i", "--userns=auto"]] {
        let mut talk = Live::start(ctr(["run"]).args(options).args([busybox(), "cat"]));
        talk.say(&bytes);
        let (code, out, err) = talk.bytes();
        assert_eq!((code, String::from_utf8_lossy(&err).as_ref()), (0, ""));
        assert!(out == bytes, "{options:?}: {} bytes of {}, or others", out.len(), bytes.len());
        let mut talk = Live::start(ctr(["run"]).args(options).args([busybox(), "sh", "-c", "cat >&2"]));
        talk.say(&bytes);
        let (code, out, err) = talk.bytes();
        assert_eq!((code, out.len()), (0, 0));
        assert!(err == bytes, "{options:?}: {} bytes of {}, or others", err.len(), bytes.len());
    }
    host.same();
}

#[test]
fn names() {
    let host = Host::before();
    for name in ["web", "w", "a.b-c_d", "0", "UPPER", "123abc"] {
        assert_eq!(says(&["--name", name], "echo fine"), "fine\n");
    }
    // One is running: its name is taken, no other one is; and free again when it is gone.
    let b = busybox();
    let mut first = Live::start(&mut ctr(["run", "-i", "--name", "taken", b, "sh", "-c", "echo up; cat"]));
    first.hear("up\n");
    go(["--name", "taken", b, "true"]).refused(&["taken"]);
    go(["--name=taken", "--rm", b, "true"]).refused(&["taken"]);
    let mut second = Live::start(&mut ctr(["run", "-i", "--name", "other", b, "sh", "-c", "echo up; cat"]));
    second.hear("up\n");
    // Both at once, and neither disturbed by what was refused.
    first.say("one\n");
    second.say("two\n");
    assert_eq!((first.line(), second.line()), ("one".to_owned(), "two".to_owned()));
    first.done().code(0);
    go(["--name", "taken", b, "true"]).code(0);
    go(["--name", "other", b, "true"]).refused(&["other"]);
    second.done().code(0);
    go(["--name", "other", b, "true"]).code(0);
    host.same();
}

#[test]
fn many_at_once() {
    let host = Host::before();
    let mut all: Vec<_> =
        (0..12).map(|_| Live::start(&mut ctr(["run", "-i", busybox(), "sh", "-c", "hostname; cat"]))).collect();
    let names: BTreeSet<_> = all.iter_mut().map(Live::line).collect();
    assert_eq!(names.len(), all.len(), "each has a name of its own");
    for one in all {
        one.done().code(0);
    }
    host.same();
}

#[test]
fn the_environment_is_fresh_and_what_env_says() {
    let host = Host::before();
    let env = |options: &[&str]| {
        let mut command = ctr(["run"]);
        command.env("FOO", "the caller's").env("PASSED", "on by name").env("LD_PRELOAD", "");
        let done = within(command.args(options).args([busybox(), "env"])).code(0);
        assert_eq!(done.err, "", "{options:?}");
        let mut lines: Vec<_> = done.out.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let plain = env(&["-h", "box"]);
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(plain, ["HOME=/root", "HOSTNAME=box", path]);
    for (options, wanted) in [
        (&["-e", "A=b"][..], "A=b"),
        (&["-eA=b"], "A=b"),
        (&["--env", "A=b"], "A=b"),
        (&["--env=A=b"], "A=b"),
        (&["-e=A=b"], "A=b"),
        (&["-e", "A="], "A="),
        (&["-e", "A=b=c=d"], "A=b=c=d"),
        (&["-e", "A=with space  and 'quotes' \"too\" $X \\n"], "A=with space  and 'quotes' \"too\" $X \\n"),
        (&["-e", "A=\u{e4}\u{1f980}"], "A=\u{e4}\u{1f980}"),
        (&["-e", "A=first", "-e", "A=last"], "A=last"),
        (&["-e", "PASSED"], "PASSED=on by name"),
        (&["-e", "FOO", "-e", "FOO=mine"], "FOO=mine"),
        (&["-e", "FOO=mine", "-e", "FOO"], "FOO=the caller's"),
        (&["-e", "a.b-c=1"], "a.b-c=1"),
    ] {
        let mut all = vec!["-h", "box"];
        all.extend(options);
        let mut expected = plain.clone();
        expected.push(wanted.to_owned());
        expected.sort();
        assert_eq!(env(&all), expected, "{options:?}");
    }
    // Passed on by name, but the caller has none.
    assert_eq!(env(&["-h", "box", "-e", "NOT_SET_ANYWHERE"]), plain);
    // What ctr sets can be set otherwise, and is there once.
    let other = env(&["-h", "box", "-e", "PATH=/bin", "-e", "HOME=/tmp", "-e", "HOSTNAME=x"]);
    assert_eq!(other, ["HOME=/tmp", "HOSTNAME=x", "PATH=/bin"]);
    // A newline within a value.
    let done = within(&mut ctr(["run", "-e", "A=1\n2", busybox(), "sh", "-c", "echo \"$A\""])).code(0);
    assert_eq!(done.out, "1\n2\n");
    host.same();
}

#[test]
fn env_file() {
    let host = Host::before();
    let place = Scratch::new("env");
    let file = place.join("list");
    fs::write(
        &file,
        "# a comment\n\nPLAIN=1\nSPACES=a b  c\nQUOTED=\"as it is\"\nEMPTY=\nEQUALS=a=b\nPASSED\nUNSET_ANYWHERE\n\
         HASH=a#b\nTWICE=1\nTWICE=2\nLAST=no newline",
    )
    .unwrap();
    let other = place.join("other");
    fs::write(&other, "PLAIN=other\nMORE=1\n").unwrap();
    let env = |options: &[&str]| {
        let done = within(ctr(["run", "-h", "x"]).args(options).args([busybox(), "env"]).env("PASSED", "p")).code(0);
        assert_eq!(done.err, "", "{options:?}");
        let own = |l: &&str| !["PATH=", "HOME=", "HOSTNAME="].iter().any(|k| l.starts_with(k));
        let mut lines: Vec<_> = done.out.lines().filter(own).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let wanted = [
        "EMPTY=",
        "EQUALS=a=b",
        "HASH=a#b",
        "LAST=no newline",
        "PASSED=p",
        "PLAIN=1",
        "QUOTED=\"as it is\"",
        "SPACES=a b  c",
        "TWICE=2",
    ];
    assert_eq!(env(&["--env-file", text(&file)]), wanted);
    assert_eq!(env(&[&format!("--env-file={}", text(&file))]), wanted);
    // -e is stronger wherever it stands; of two files the later one.
    for options in [
        ["-e", "PLAIN=e", "--env-file", text(&file), "--env-file", text(&other)],
        ["--env-file", text(&file), "--env-file", text(&other), "-e", "PLAIN=e"],
    ] {
        let got = env(&options);
        assert!(got.contains(&"PLAIN=e".to_owned()) && got.contains(&"MORE=1".to_owned()), "{got:?}");
    }
    assert!(env(&["--env-file", text(&file), "--env-file", text(&other)]).contains(&"PLAIN=other".to_owned()));
    host.same();
}

#[test]
fn workdir() {
    let host = Host::before();
    assert_eq!(says(&[], "pwd"), "/\n");
    for options in [&["-w", "/tmp"][..], &["-w/tmp"], &["--workdir=/tmp"], &["--workdir", "/tmp"], &["-w", "/tmp/"]] {
        assert_eq!(says(options, "pwd; readlink /proc/self/cwd"), "/tmp\n/tmp\n", "{options:?}");
    }
    assert_eq!(says(&["-w", "/no", "-w", "/etc"], "pwd"), "/etc\n", "the last one wins");
    // Made when it is missing, for everyone to enter.
    assert_eq!(says(&["-w", "/made/for/this"], "pwd; stat -c '%a %u' ."), "/made/for/this\n755 0\n");
    assert_eq!(says(&["-w", "/made/for/web", "-u", "web"], "pwd"), "/made/for/web\n");
    // A relative command is looked for there.
    let script = "cp /bin/busybox /tmp; cd /tmp; ./busybox echo here";
    assert_eq!(says(&[], script), "here\n");
    assert_eq!(go(["-w", "/bin", busybox(), "./busybox", "echo", "x"]).code(0).out, "x\n");
    host.same();
}

#[test]
fn workdir_does_not_leave_the_root() {
    let host = Host::before();
    let place = Scratch::new("cwd");
    let root = place.join("root");
    busybox_root(&root);
    symlink(place.path(), root.join("out")).unwrap();
    symlink("/../../../../../../../..", root.join("up")).unwrap();
    for dir in ["/out/made", "/up/made", "/../../made", "/up/../made"] {
        // Made inside or refused.
        let done = go(["-w", dir, text(&root), "sh", "-c", "pwd -P"]);
        assert!(done.code == 0 || done.code == 125, "{dir}: {done:?}");
        assert!(!place.join("made").exists() && !Path::new("/made").exists(), "{dir}: {done:?}");
    }
    // CVE-2024-21626: no descriptor of the host to stand on.
    for fd in 0..20 {
        for dir in [format!("/proc/self/fd/{fd}"), format!("/proc/1/fd/{fd}")] {
            go(["-w", &dir, text(&root), "ls", "-a"]).code(125);
        }
    }
    host.same();
}

#[test]
fn users_and_groups_are_those_of_the_root() {
    let host = Host::before();
    let place = Scratch::new("user");
    let root = place.join("root");
    busybox_root(&root);
    // Names the host does not have, and one that it has otherwise.
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/var:/bin/sh\ninside:x:4242:4343:,,,:/home/inside:/bin/sh\n\
         daemon:x:77:78::/:/bin/sh\nbroken line\nnohome:x:90:90:::\n",
    )
    .unwrap();
    fs::write(
        root.join("etc/group"),
        "root:x:0:\nwww:x:33:\nadm:x:4:web\nno members\ndisk:x:6:root,web\nin:x:4343:\naudio:x:29:inside,daemon\n",
    )
    .unwrap();
    // user, uid, gid, supplementary groups (the primary one may be among them), HOME
    let rows: &[(&str, u32, u32, &[u32], &str)] = &[
        ("root", 0, 0, &[6], "/root"),
        ("0", 0, 0, &[6], "/root"),
        ("web", 33, 33, &[4, 6], "/var"),
        ("33", 33, 33, &[4, 6], "/var"),
        ("inside", 4242, 4343, &[29], "/home/inside"),
        ("4242", 4242, 4343, &[29], "/home/inside"),
        ("daemon", 77, 78, &[29], "/"),
        ("nohome", 90, 90, &[], "/"),
        ("1000", 1000, 0, &[], "/"),
        ("1000:1000", 1000, 1000, &[], "/"),
        ("web:adm", 33, 4, &[], "/var"),
        ("web:4", 33, 4, &[], "/var"),
        ("33:www", 33, 33, &[], "/var"),
        ("1000:audio", 1000, 29, &[], "/"),
        ("0:0", 0, 0, &[], "/root"),
        ("65535:65535", 65535, 65535, &[], "/"),
    ];
    let script = "cat /proc/self/status; echo HOME=$HOME";
    for (user, uid, gid, groups, home) in rows {
        // The caller's own groups are never among them.
        let done = within(Command::new("setpriv").args(["--groups", "7,8,100"]).arg(ctr_path()).args([
            "run",
            "--rm",
            "-u",
            user,
            text(&root),
            "sh",
            "-c",
            script,
        ]))
        .code(0);
        let four = |n: u32| [n.to_string(), n.to_string(), n.to_string(), n.to_string()].join(" ");
        assert_eq!(id_of(&done.out, "Uid:"), four(*uid), "-u {user}");
        assert_eq!(id_of(&done.out, "Gid:"), four(*gid), "-u {user}");
        let mut got: BTreeSet<u32> =
            id_of(&done.out, "Groups:").split_whitespace().map(|g| g.parse().unwrap()).collect();
        got.remove(gid);
        assert_eq!(got, groups.iter().copied().collect(), "supplementary groups of -u {user}");
        assert!(done.out.ends_with(&format!("HOME={home}\n")), "-u {user}: {}", done.out);
        // Without uid 0 no power at all, and the same bound.
        let power = if *uid == 0 { "00000000a80425fb" } else { "0000000000000000" };
        for (key, wanted) in
            [("CapEff:", power), ("CapPrm:", power), ("CapAmb:", "0000000000000000"), ("CapBnd:", "00000000a80425fb")]
        {
            assert_eq!(id_of(&done.out, key), wanted, "{key} of -u {user}");
        }
    }
    // Whom its user namespace does not have.
    let beyond = ["-u", "2147483647:2147483647", text(&root), "id"];
    go(beyond).refused(&["2147483647", "0 to 65535", "--uidmap", "--userns host"]);
    assert!(go([&["--userns=host"], &beyond[..]].concat()).code(0).out.starts_with("uid=2147483647 gid=2147483647"));
    for options in [&["-uweb"][..], &["--user=web"], &["--user", "web"], &["-u", "nobody-knows", "-u", "web"]] {
        assert_eq!(says(options, "id -u"), "33\n", "{options:?}");
    }
    // A root without /etc/passwd: numbers work, names do not.
    fs::remove_file(root.join("etc/passwd")).unwrap();
    fs::remove_file(root.join("etc/group")).unwrap();
    assert_eq!(go(["-u", "5:6", text(&root), "id"]).code(0).out, "uid=5 gid=6\n");
    go(["-u", "web", text(&root), "id"]).refused(&["web"]);
    assert_eq!(go([text(&root), "id", "-u"]).code(0).out, "0\n");
    host.same();
}

#[test]
fn the_users_of_a_hostile_root_do_not_reach_the_host() {
    let host = Host::before();
    let place = Scratch::new("passwd");
    let root = place.join("root");
    busybox_root(&root);
    // On the host the link leads to another file than inside.
    let outside = place.join("passwd");
    fs::write(&outside, "web:x:1:1::/:/bin/sh\nonly-outside:x:1:1::/:/bin/sh\n").unwrap();
    let twin = root.join(text(&outside).trim_start_matches('/'));
    fs::create_dir_all(twin.parent().unwrap()).unwrap();
    fs::rename(root.join("etc/passwd"), &twin).unwrap();
    symlink(&outside, root.join("etc/passwd")).unwrap();
    assert_eq!(go(["-u", "web", text(&root), "id", "-u"]).code(0).out, "33\n");
    go(["-u", "only-outside", text(&root), "id"]).refused(&["only-outside"]);
    // Neither a pipe that nobody writes to nor a device stops ctr.
    fs::remove_file(root.join("etc/passwd")).unwrap();
    let made = Command::new("mkfifo").arg(root.join("etc/passwd")).status().unwrap();
    assert!(made.success());
    go(["-u", "web", text(&root), "id"]).refused(&["/etc/passwd"]);
    fs::remove_file(root.join("etc/passwd")).unwrap();
    let made = Command::new("mknod").arg(root.join("etc/passwd")).args(["c", "1", "5"]).status().unwrap();
    assert!(made.success());
    go(["-u", "web", text(&root), "id"]).refused(&["/etc/passwd"]);
    fs::remove_file(root.join("etc/passwd")).unwrap();
    fs::create_dir(root.join("etc/passwd")).unwrap();
    go(["-u", "web", text(&root), "id"]).refused(&["/etc/passwd"]);
    host.same();
}

#[test]
fn hostname() {
    let host = Host::before();
    let before = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let script = "hostname; cat /etc/hostname; echo $HOSTNAME; uname -n; grep -q \"[[:space:]]$(hostname)\\$\" /etc/hosts && echo 1";
    let made_up = says(&[], script);
    let name = made_up.lines().next().unwrap();
    assert!(name.len() == 12 && name.bytes().all(|b| b.is_ascii_hexdigit()), "{made_up}");
    assert_eq!(made_up, format!("{name}\n{name}\n{name}\n{name}\n1\n"));
    for options in [&["-h", "web1"][..], &["-hweb1"], &["--hostname=web1"], &["-h", "first", "-h", "web1"]] {
        assert_eq!(says(options, script), "web1\nweb1\nweb1\nweb1\n1\n", "{options:?}");
    }
    let long = "n".repeat(64);
    assert_eq!(says(&["-h", &long], "hostname"), format!("{long}\n"));
    assert_eq!(says(&["-h", "a.example.org"], "hostname"), "a.example.org\n");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), before);
    host.same();
}

#[test]
fn hosts_and_resolv_conf() {
    let host = Host::before();
    let hosts = says(&["-h", "box"], "cat /etc/hosts");
    assert!(hosts.lines().any(|l| l.split_whitespace().eq(["127.0.0.1", "localhost"])), "{hosts}");
    assert!(hosts.lines().any(|l| l.split_whitespace().any(|w| w == "box")), "{hosts}");
    let hosts = says(
        &[
            "--add-host",
            "db:10.0.0.5",
            "--add-host=cache:10.0.0.6",
            "--add-host",
            "six:fd00::1",
            "--add-host",
            "self:127.0.0.1",
        ],
        "cat /etc/hosts; ping -c 1 self >/dev/null && echo reached",
    );
    for (ip, name) in [("10.0.0.5", "db"), ("10.0.0.6", "cache"), ("fd00::1", "six")] {
        let count = hosts.lines().filter(|l| l.split_whitespace().eq([ip, name])).count();
        assert_eq!(count, 1, "{ip} {name} in {hosts}");
    }
    assert!(hosts.ends_with("reached\n"), "{hosts}");
    let conf = says(&["--dns", "10.0.0.53", "--dns=fd00::53"], "cat /etc/resolv.conf");
    let servers: Vec<_> = conf.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).collect();
    assert_eq!(servers, ["nameserver 10.0.0.53", "nameserver fd00::53"]);
    // No network, no name server that could not be asked; the host's network, the host's.
    assert!(!says(&["--network=none"], "cat /etc/resolv.conf").contains("nameserver"));
    let theirs = says(&["--network", "host"], "grep -v '^#' /etc/resolv.conf; true");
    let ours = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert_eq!(theirs.trim(), ours.lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>().join("\n").trim());
    // They can be written to inside, and that stays there.
    assert!(says(&[], "echo 1.2.3.4 x >>/etc/hosts && cat /etc/hosts").contains("1.2.3.4 x\n"));
    assert!(!fs::read_to_string("/etc/hosts").unwrap().contains("1.2.3.4 x"));
    // A user who is not root reads them, whatever the caller's umask.
    let script = "umask 077; exec \"$@\" cat /etc/hosts /etc/hostname /etc/resolv.conf";
    for options in [&["-u", "web"][..], &["-u", "web", "--userns=auto"]] {
        let done = within(
            Command::new("sh")
                .args(["-c", script, "sh"])
                .arg(ctr_path())
                .args(["run", "--rm"])
                .args(options)
                .arg(busybox()),
        )
        .code(0);
        assert!(done.out.contains("localhost") && done.err.is_empty(), "{options:?} {done:?}");
    }
    host.same();
}

#[test]
fn the_callers_umask_is_not_the_containers() {
    let host = Host::before();
    for umask in ["077", "000", "777"] {
        let script = format!("umask {umask}; exec \"$@\"");
        let look = "umask; stat -c '%a %n' / /etc /dev /dev/pts /dev/shm /dev/mqueue /dev/null /dev/tty /w /v /t; touch f; stat -c %a f";
        let done = within(
            Command::new("sh")
                .args(["-c", &script, "sh"])
                .arg(ctr_path())
                .args(["run", "--rm", "-w", "/w", "-v", "/usr:/v"])
                .args(["--tmpfs", "/t", busybox(), "sh", "-c", look]),
        )
        .code(0);
        let wanted = "0022\n755 /\n755 /etc\n755 /dev\n755 /dev/pts\n1777 /dev/shm\n1777 /dev/mqueue\n666 /dev/null\n\
                      666 /dev/tty\n755 /w\n755 /v\n1777 /t\n644\n";
        assert_eq!((done.out.as_str(), done.err.as_str()), (wanted, ""), "umask {umask}");
    }
    host.same();
}

#[test]
fn volumes() {
    let host = Host::before();
    let place = Scratch::new("volume");
    fs::create_dir(place.join("dir")).unwrap();
    fs::write(place.join("dir/file"), "content\n").unwrap();
    fs::write(place.join("one"), "one\n").unwrap();
    fs::create_dir(place.join("with space")).unwrap();
    fs::write(place.join("with space/x"), "spaced\n").unwrap();
    let dir = place.join("dir");
    let dir = text(&dir);
    for (n, option) in [
        vec!["-v".to_owned(), format!("{dir}:/v")],
        vec![format!("-v{dir}:/v")],
        vec!["--volume".to_owned(), format!("{dir}:/v")],
        vec![format!("--volume={dir}:/v")],
        vec!["-v".to_owned(), format!("{dir}:/v:rw")],
        vec!["-v".to_owned(), format!("{dir}/:/v/")],
        vec!["-v".to_owned(), format!("{dir}:/tmp/../v")],
    ]
    .iter()
    .enumerate()
    {
        let option: Vec<_> = option.iter().map(String::as_str).collect();
        let out = says(&option, &format!("cat /v/file; echo {n} >/v/written"));
        assert_eq!(out, "content\n", "{option:?}");
        assert_eq!(fs::read_to_string(place.join("dir/written")).unwrap(), format!("{n}\n"), "{option:?}");
    }
    // Read-only means it, whoever asks.
    let ro = format!("{dir}:/v:ro");
    for extra in [&[][..], &["--userns=auto"], &["--rw"]] {
        let mut options = vec!["-v", ro.as_str()];
        options.extend(extra);
        let root = place.join("root");
        busybox_root(&root);
        let script = "cat /v/file; echo x >/v/file || touch /v/new || rm /v/file || chmod 777 /v || echo safe";
        let done = within(ctr(["run"]).args(&options).args([text(&root), "sh", "-c", script])).code(0);
        assert_eq!(done.out, "content\nsafe\n", "{extra:?}");
        assert_eq!(done.err.matches("Read-only file system").count(), 4, "{extra:?} {done:?}");
        fs::remove_dir_all(root).unwrap();
    }
    // A single file, onto one that is there and onto one that is not.
    let one = format!("{}:/etc/passwd", text(&place.join("one")));
    let two = format!("{}:/new/place/file:ro", text(&place.join("one")));
    assert_eq!(
        says(&["-v", &one, "-v", &two], "cat /etc/passwd /new/place/file; echo two >/etc/passwd"),
        "one\none\n"
    );
    assert_eq!(fs::read_to_string(place.join("one")).unwrap(), "two\n");
    let spaced = format!("{}:/a b", text(&place.join("with space")));
    assert_eq!(says(&["-v", &spaced], "cat '/a b/x'"), "spaced\n");
    // Several, the inner one given first.
    let inner = format!("{}:/v/sub", text(&place.join("with space")));
    fs::create_dir(place.join("dir/sub")).unwrap();
    for order in [["-v", &ro, "-v", &inner], ["-v", &inner, "-v", &ro]] {
        assert_eq!(says(&order, "cat /v/file /v/sub/x"), "content\nspaced\n", "{order:?}");
    }
    // Relative to where the caller stands, as Docker does it.
    let done = within(ctr(["run", "-v", "./dir:/v", busybox(), "cat", "/v/file"]).current_dir(place.path())).code(0);
    assert_eq!(done.out, "content\n");
    // Over /etc/hosts and below /dev and /proc's neighbours: the user's word is the last one.
    let over = format!("{}:/etc/hosts", text(&place.join("one")));
    assert_eq!(says(&["-v", &over], "cat /etc/hosts"), "two\n");
    let shm = format!("{dir}:/dev/shm");
    assert_eq!(says(&["-v", &shm], "cat /dev/shm/file"), "content\n");
    host.same();
}

#[test]
fn volumes_bring_what_is_mounted_below_them_and_read_only_covers_it() {
    let host = Host::before();
    let place = Scratch::new("below");
    fs::create_dir_all(place.join("v/sub")).unwrap();
    let mount = |what: &[&str]| assert!(Command::new("mount").args(what).status().unwrap().success());
    mount(&["-t", "tmpfs", "tmpfs", text(&place.join("v/sub"))]);
    fs::write(place.join("v/sub/file"), "below\n").unwrap();
    let name = text(&place.join("v")).to_owned();
    let rw = inside(&["-v", &format!("{name}:/v")], "cat /v/sub/file; echo x >/v/sub/w");
    let ro = inside(&["-v", &format!("{name}:/v:ro")], "cat /v/sub/file; echo x >/v/sub/no");
    let mounted = format!("type=bind,source={name},target=/v,readonly");
    let also = inside(&["--mount", &mounted], "echo x >/v/sub/no");
    let written = place.join("v/sub/w").exists();
    let leaked = place.join("v/sub/no").exists();
    assert!(Command::new("umount").arg(place.join("v/sub")).status().unwrap().success());
    assert_eq!(rw.code(0).out, "below\n");
    assert!(written);
    assert!(!leaked, "read-only stopped at the first mount: {ro:?}");
    let ro = ro.code(1);
    assert!(ro.out == "below\n" && ro.err.contains("Read-only file system"), "{ro:?}");
    also.code(1);
    host.same();
}

#[test]
fn mounts_with_their_keys() {
    let host = Host::before();
    let place = Scratch::new("mount");
    fs::write(place.join("file"), "content\n").unwrap();
    let src = text(place.path());
    for (spec, writable) in [
        (format!("type=bind,source={src},target=/m"), true),
        (format!("type=bind,src={src},dst=/m"), true),
        (format!("target=/m,source={src},type=bind"), true),
        (format!("type=bind,src={src},destination=/m,readonly"), false),
        (format!("type=bind,src={src},target=/m,ro"), false),
        (format!("type=bind,src={src},target=/m,readonly=true"), false),
        (format!("type=bind,src={src},target=/m,readonly=false"), true),
        (format!("readonly,type=bind,src={src},target=/m"), false),
    ] {
        let done = inside(&["--mount", &spec], "cat /m/file; touch /m/new && echo written").code(if writable {
            0
        } else {
            1
        });
        let wanted = if writable { "content\nwritten\n" } else { "content\n" };
        assert_eq!(done.out, wanted, "{spec}");
        assert_eq!(place.join("new").exists(), writable, "{spec}");
        let _ = fs::remove_file(place.join("new"));
    }
    let look = "grep ' /m ' /proc/mounts; stat -c %a /m; touch /m/x && echo written";
    let out = says(&["--mount=type=tmpfs,target=/m"], look);
    assert!(out.starts_with("tmpfs /m tmpfs rw,") && out.ends_with("1777\nwritten\n"), "{out}");
    let out = says(&["--mount", "type=tmpfs,dst=/m,tmpfs-size=1m,tmpfs-mode=0750"], look);
    assert!(out.contains("size=1024k") && out.ends_with("750\nwritten\n"), "{out}");
    let done = inside(&["--mount", "type=tmpfs,target=/m,readonly"], "touch /m/x");
    assert!(done.err.contains("Read-only file system"), "{done:?}");
    host.same();
}

#[test]
fn tmpfs() {
    let host = Host::before();
    let look = |options: &[&str]| says(options, "grep ' /t ' /proc/mounts; stat -c '%a %u' /t");
    let plain = look(&["--tmpfs", "/t"]);
    for flag in ["rw", "nosuid", "nodev", "noexec"] {
        assert!(plain.split([' ', ',']).any(|w| w == flag), "no {flag} in {plain}");
    }
    assert!(plain.ends_with("\n1777 0\n"), "{plain}");
    let sized = look(&["--tmpfs=/t:size=1m,mode=700"]);
    assert!(sized.contains("size=1024k") && sized.ends_with("\n700 0\n"), "{sized}");
    let done = inside(
        &["--tmpfs", "/t:size=1m"],
        "head -c 900000 /dev/zero >/t/a || exit 5; head -c 900000 /dev/zero >/t/b",
    );
    assert!(done.code == 1 && done.err.contains("head"), "{done:?}");
    let exec = says(&["--tmpfs", "/t:exec"], "cp /bin/busybox /t; /t/busybox echo ran");
    assert_eq!(exec, "ran\n");
    let done = inside(&["--tmpfs", "/t"], "cp /bin/busybox /t; /t/busybox echo ran").code(126);
    assert_eq!(done.out, "");
    let done = inside(&["--tmpfs", "/t:ro"], "touch /t/x");
    assert!(done.err.contains("Read-only file system"), "{done:?}");
    let owned = look(&["--tmpfs", "/t:uid=33,mode=755"]);
    assert!(owned.ends_with("\n755 33\n"), "{owned}");
    // Over a directory that has something, and several.
    assert_eq!(
        says(&["--tmpfs", "/bin/../etc", "--tmpfs", "/a/b"], "ls /etc/passwd 2>/dev/null; touch /a/b/c; ls /a/b"),
        "c\n"
    );
    host.same();
}

#[test]
fn read_only() {
    let host = Host::before();
    let place = Scratch::new("ro");
    let volume = format!("{}:/v", text(place.path()));
    let script = "for d in / /etc /tmp /root /sys /proc /usr/bin; do \
                      touch $d/x 2>/dev/null && echo $d; \
                  done; \
                  echo x >/etc/hosts; echo x >>/etc/passwd; \
                  for d in /v /t /dev/shm; do touch $d/x && echo $d; done; head -1 /etc/hosts";
    for extra in [&[][..], &["--userns", "auto"], &["--init"]] {
        let mut options = vec!["--read-only", "-v", &volume, "--tmpfs", "/t"];
        options.extend(extra);
        let done = inside(&options, script).code(0);
        let lines: Vec<_> = done.out.lines().collect();
        assert_eq!(lines[..lines.len() - 1], ["/v", "/t", "/dev/shm"], "{extra:?} {done:?}");
        assert!(lines[lines.len() - 1].contains("localhost"), "{done:?}");
        assert!(place.join("x").exists());
        fs::remove_file(place.join("x")).unwrap();
    }
    assert_eq!(says(&["--read-only=false"], "touch /x && echo written"), "written\n");
    // Both: the directory itself, which cannot be written to.
    let root = place.join("root");
    busybox_root(&root);
    for dir in ["proc", "sys", "dev"] {
        fs::create_dir(root.join(dir)).unwrap();
    }
    let done = go(["--rw", "--read-only", text(&root), "touch", "/x"]);
    assert!(done.code == 1 || done.code == 125, "{done:?}");
    assert!(!root.join("x").exists());
    host.same();
}

#[test]
fn read_only_makes_its_workdir() {
    let host = Host::before();
    assert_eq!(says(&["--read-only", "-w", "/new/w"], "pwd; touch x 2>/dev/null || echo no"), "/new/w\nno\n");
    host.same();
}

#[test]
fn network_none_is_a_loopback_alone() {
    let host = Host::before();
    for options in [&["--network", "none"][..], &["--network=none"], &["--network=none", "--userns=host"]] {
        let out = says(
            options,
            "ls /sys/class/net; ip -o link; ip -o -4 addr; ip route; cat /proc/net/route | wc -l; \
             (while :; do echo from the server | nc -l -p 5000 >/dev/null; done) & \
             i=0; until echo | nc 127.0.0.1 5000 2>/dev/null | grep server || [ $i = 500 ]; do usleep 2000; i=$((i+1)); done",
        );
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines[0], "lo", "{out}");
        assert!(lines[1].contains("lo:") && lines[1].contains(",UP"), "{out}");
        assert!(lines[2].contains("127.0.0.1/8") && lines[2].contains("lo"), "{out}");
        assert_eq!(&lines[3..], ["1", "from the server"], "no route, and 127.0.0.1 answers: {out}");
    }
    // Outside is out of reach.
    inside(&["--network=none"], "nc -w 2 192.0.2.1 80").code(1);
    host.same();
}

/// Which namespaces of the container are ours.
fn shared(options: &[&str]) -> Vec<&'static str> {
    let all = ["mnt", "pid", "uts", "ipc", "net", "cgroup", "user", "time"];
    let out = says(options, &format!("cd /proc/self/ns; for n in {}; do readlink $n; done", all.join(" ")));
    let ours = |n: &str| fs::read_link(format!("/proc/self/ns/{n}")).unwrap();
    let theirs: Vec<_> = out.lines().collect();
    assert_eq!(theirs.len(), all.len(), "{out}");
    all.into_iter().zip(theirs).filter(|(n, t)| ours(n).as_os_str() == *t).map(|(n, _)| n).collect()
}

#[test]
fn namespaces() {
    let host = Host::before();
    assert_eq!(shared(&[]), ["time"]);
    assert_eq!(shared(&["--userns", "host"]), ["user", "time"]);
    assert_eq!(shared(&["--userns", "auto"]), ["time"]);
    assert_eq!(shared(&["--network", "host"]), ["net", "time"]);
    assert_eq!(shared(&["--network", "host", "--userns=host"]), ["net", "user", "time"]);
    assert_eq!(shared(&["--pid=host", "--userns=host"]), ["pid", "user", "time"]);
    assert_eq!(shared(&["--ipc", "host", "--userns=host"]), ["ipc", "user", "time"]);
    assert_eq!(shared(&["--uts=host"]), ["uts", "time"]);
    let all = ["--network=host", "--pid=host", "--ipc=host", "--uts=host", "--userns=host"];
    assert_eq!(shared(&all), ["pid", "uts", "ipc", "net", "user", "time"]);
    host.same();
}

#[test]
fn pid_host_sees_the_hosts_processes() {
    let host = Host::before();
    assert_eq!(says(&[], "echo $$; ps -o pid >/tmp/list; wc -l </tmp/list"), "1\n3\n");
    let me = std::process::id();
    let out = says(&["--pid=host", "--userns=host"], &format!("cat /proc/{me}/comm; [ $$ != 1 ] && echo another"));
    let comm = fs::read_to_string("/proc/self/comm").unwrap();
    assert_eq!(out, format!("{comm}another\n"));
    // What it leaves running ends with it.
    let place = Scratch::new("pidhost");
    let volume = format!("{}:/v", text(place.path()));
    let out = says(
        &["--pid=host", "--userns=host", "-v", &volume],
        "setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo $!; (sleep 1000 >/dev/null 2>&1 &)",
    );
    let pid: i32 = out.trim().parse().unwrap();
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "still there: {state}");
    host.same();
}

#[test]
fn ipc_host_shares_memory() {
    let host = Host::before();
    let name = format!("/dev/shm/ctr-test-{}", std::process::id());
    fs::write(&name, "shared\n").unwrap();
    let seen = inside(&["--ipc=host", "--userns=host"], &format!("cat {name}; echo written >{name}"));
    let after = fs::read_to_string(&name).unwrap();
    let unseen = inside(&[], &format!("cat {name}"));
    fs::remove_file(&name).unwrap();
    assert_eq!(seen.code(0).out, "shared\n");
    assert_eq!(after, "written\n");
    unseen.code(1);
    host.same();
}

#[test]
fn uts_host_uses_the_hosts_name() {
    let host = Host::before();
    let ours = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(says(&["--uts=host"], "hostname; cat /etc/hostname"), format!("{ours}{ours}"));
    // It cannot be changed from there, and -h would do that.
    go(["--uts=host", "-h", "other", busybox(), "true"]).refused(&["-h", "--uts host"]);
    inside(&["--uts=host"], "hostname other").code(1);
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), ours);
    host.same();
}

#[test]
fn root_of_a_user_namespace_is_nobody_outside() {
    let host = Host::before();
    let place = Scratch::new("userns");
    let root = place.join("root");
    busybox_root(&root);
    chown(root.join("var"), Some(33), Some(33)).unwrap();
    let volume = place.join("v");
    fs::create_dir(&volume).unwrap();
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(place.join("secret"), "only the host's root\n").unwrap();
    fs::set_permissions(place.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let pidfile = place.join("pid");
    let start = |script: &str| {
        Live::start(
            ctr(["run", "-i", "--userns=auto", "--pidfile", text(&pidfile)])
                .args(["-v", &format!("{}:/v", text(&volume))])
                .args([text(&root), "sh", "-c", script]),
        )
    };
    let mut one = start(
        "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map; stat -c '%u:%g %n' /bin/busybox /etc/passwd /var / /etc /etc/hosts /dev/null; \
         touch /mine && stat -c '%u' /mine; chown 33:33 /mine && stat -c '%u:%g' /mine; touch /var/x && rm -r /var && echo removed; \
         touch /v/file; echo up; cat",
    );
    assert_eq!((one.line(), one.line()), ("0".to_owned(), "0".to_owned()));
    for _ in 0..2 {
        let map = one.line();
        let [inner, outer, count] = map.split_whitespace().map(|n| n.parse().unwrap()).collect::<Vec<u64>>()[..]
        else {
            panic!("{map}")
        };
        // Not one id that the host gives to anybody.
        assert!(inner == 0 && outer >= 65536 && count >= 65536 && outer + count < 1 << 32, "{map}");
    }
    let seen = one.hear("up\n");
    let wanted = "0:0 /bin/busybox\n0:0 /etc/passwd\n33:33 /var\n0:0 /\n0:0 /etc\n0:0 /etc/hosts\n0:0 /dev/null\n0\n33:33\nremoved\n";
    assert_eq!(seen, wanted);
    // The same process, seen from the host.
    let pid: i32 = until("the pidfile", || fs::read_to_string(&pidfile).ok()?.trim().parse().ok());
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for key in ["Uid:", "Gid:"] {
        let ids = id_of(&status, key);
        assert!(ids.split(' ').all(|id| id.parse::<u64>().unwrap() >= 65536), "{key} {ids}");
    }
    assert_eq!(id_of(&status, "CapInh:"), "0000000000000000");
    assert_eq!(id_of(&status, "CapBnd:"), "00000000a80425fb");
    assert_eq!(id_of(&status, "NoNewPrivs:"), "1");
    assert!(root.join("var").exists());
    // Another one has other ids.
    let mut two = start("cat /proc/self/uid_map; echo up; cat");
    let map = two.hear("up\n");
    let first = fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
    let outer = |m: &str| m.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
    assert!(outer(&map).abs_diff(outer(&first)) >= 65536, "{map} and {first}");
    one.done().code(0);
    two.done().code(0);
    // Other users inside.
    let done =
        go(["--userns", "auto", "-u", "web", text(&root), "sh", "-c", "id; touch /var/x; touch /etc/x || echo no"])
            .code(0);
    assert!(done.out.starts_with("uid=33(web) gid=33(www)") && done.out.ends_with("no\n"), "{done:?}");
    let done = go([
        "--userns=auto",
        "-i",
        debian(),
        "bash",
        "-c",
        "stat -c %u:%g /etc/shadow; dpkg -l bash | tail -1; su -s /bin/sh nobody -c 'id -un'",
    ])
    .code(0);
    assert!(done.out.starts_with("0:42\nii  bash") && done.out.ends_with("nobody\n"), "{done:?}");
    host.same();
}

/// Volumes are id-mapped: what root inside leaves there is root's outside, so that files look right on both sides. (What
/// that means for set-user-id programs is said in README.)
#[test]
fn files_in_a_volume_look_right_on_both_sides() {
    let host = Host::before();
    let place = Scratch::new("usernsvolume");
    let volume = place.join("v");
    fs::create_dir(&volume).unwrap();
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).unwrap();
    let option = format!("{}:/v", text(&volume));
    says(&["--userns=auto", "-v", &option], "cp /bin/busybox /v/sh && chmod 4755 /v/sh");
    let file = fs::metadata(volume.join("sh")).unwrap();
    assert_eq!(file.uid(), 0);
    host.same();
}

#[test]
fn entrypoint() {
    let host = Host::before();
    let b = busybox();
    assert_eq!(go(["--entrypoint", "echo", b, "a", "b c"]).code(0).out, "a b c\n");
    assert_eq!(go(["--entrypoint=/bin/echo", b, "-n", "x"]).code(0).out, "x");
    assert_eq!(go(["-h", "box", "--entrypoint", "hostname", b]).code(0).out, "box\n");
    assert_eq!(go(["--entrypoint", "false", "--entrypoint", "echo", b, "last"]).code(0).out, "last\n");
    assert_eq!(go(["--entrypoint", "", b, "echo", "hi"]).code(0).out, "hi\n");
    // One word, spaces and all.
    go(["--entrypoint", "echo hi", b]).code(127);
    host.same();
}

#[test]
fn ulimits() {
    let host = Host::before();
    let script = "ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hc; ulimit -St";
    let out = says(&["--ulimit", "nofile=100:200", "--ulimit=core=0", "--ulimit", "cpu=77:78"], script);
    assert_eq!(out, "100\n200\n0\n0\n77\n");
    assert_eq!(says(&["--ulimit", "nofile=300"], "ulimit -Sn; ulimit -Hn"), "300\n300\n");
    assert_eq!(says(&["--ulimit", "nofile=1:2", "--ulimit", "nofile=64:65"], "ulimit -Sn; ulimit -Hn"), "64\n65\n");
    assert_eq!(
        says(&["--ulimit", "core=-1", "--ulimit", "stack=unlimited"], "ulimit -Sc; ulimit -Hs"),
        "unlimited\nunlimited\n"
    );
    // Every name that Docker has.
    let names =
        "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split(' ');
    for name in names {
        // What a shell needs, and no more than root may set without CAP_SYS_RESOURCE.
        let limit = match name {
            "data" | "fsize" | "rss" | "stack" | "rttime" | "cpu" => "800000000",
            "memlock" | "msgqueue" => "65536",
            "nice" | "rtprio" => "0",
            _ => "19",
        };
        let out = says(&["--ulimit", &format!("{name}={limit}")], "cat /proc/self/limits");
        assert!(out.lines().any(|l| l.split_whitespace().filter(|w| *w == limit).count() == 2), "{name}: {out}");
    }
    // It is the container's limit, not ctr's: one that ctr could not live with.
    assert_eq!(says(&["--ulimit", "nofile=3"], "ulimit -n"), "3\n");
    assert_eq!(says(&["--ulimit", "fsize=0", "--ulimit=as=100000000"], "ulimit -f"), "0\n");
    host.same();
}

#[test]
fn shm_size() {
    let host = Host::before();
    for (options, kib) in [
        (&[][..], 65536),
        (&["--shm-size", "1m"], 1024),
        (&["--shm-size=2M"], 2048),
        (&["--shm-size=64k"], 64),
        (&["--shm-size=1g"], 1 << 20),
        (&["--shm-size", "1048576"], 1024),
        (&["--shm-size", "1048576b"], 1024),
        (&["--shm-size=1m", "--shm-size=3m"], 3072),
        (&["--shm-size=3m", "--userns=auto"], 3072),
    ] {
        let out = says(options, "df -k /dev/shm | tail -1; stat -c %a /dev/shm");
        let words: Vec<_> = out.split_whitespace().collect();
        assert_eq!((words[1], *words.last().unwrap()), (kib.to_string().as_str(), "1777"), "{options:?}: {out}");
    }
    host.same();
}

#[test]
fn cidfile() {
    let host = Host::before();
    let place = Scratch::new("cid");
    let file = place.join("cid");
    let name = says(&["--cidfile", text(&file)], "hostname");
    let id = fs::read_to_string(&file).unwrap();
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id:?}");
    assert_eq!(id[..12], *name.trim());
    // It is there while the container runs, and never another one's.
    go(["--cidfile", text(&file), busybox(), "true"]).refused(&[text(&file)]);
    assert_eq!(fs::read_to_string(&file).unwrap(), id);
    let second = place.join("second");
    let mut live = Live::start(&mut ctr([
        "run",
        "-i",
        &format!("--cidfile={}", text(&second)),
        busybox(),
        "sh",
        "-c",
        "echo up; cat",
    ]));
    live.hear("up\n");
    let other = fs::read_to_string(&second).unwrap();
    assert!(other.len() == 64 && other != id, "{other:?}");
    live.done().code(0);
    // Not through a link to somewhere.
    symlink(place.join("target"), place.join("link")).unwrap();
    go(["--cidfile", text(&place.join("link")), busybox(), "true"]).refused(&["link"]);
    assert!(!place.join("target").exists());
    // And nothing of it when there was no container.
    go(["--cidfile", text(&place.join("third")), "-u", "nobody-knows", busybox(), "true"]).refused(&["nobody-knows"]);
    assert!(!place.join("third").exists());
    go(["--cidfile", text(&place.join("no/dir")), busybox(), "true"]).refused(&["no/dir"]);
    host.same();
}

#[test]
fn pidfile() {
    let host = Host::before();
    let place = Scratch::new("pid");
    let file = place.join("pid");
    // It is there before the command is.
    let volume = format!("{}:/v", text(place.path()));
    for n in 0..100 {
        let _ = fs::remove_file(&file);
        let done = go(["-v", &volume, "--pidfile", text(&file), busybox(), "cat", "/v/pid"]).code(0);
        assert!(done.out.trim().parse::<i32>().is_ok(), "{done:?} after {n} good ones");
    }
    for options in [&[][..], &["--init"], &["--userns=auto"], &["--pid=host", "--userns=host"]] {
        let _ = fs::remove_file(&file);
        let mut live = Live::start(ctr(["run", "-i", "--pidfile", text(&file)]).args(options).args([
            busybox(),
            "sh",
            "-c",
            "readlink /proc/self/ns/mnt; cat",
        ]));
        let theirs = live.line();
        let pid: i32 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let ns = fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
        assert_eq!(ns.to_str().unwrap(), theirs, "{options:?}");
        let parent = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert_eq!(id_of(&parent, "PPid:"), live.pid().to_string(), "{options:?}");
        live.done().code(0);
    }
    // Rewritten, unlike the cidfile.
    fs::write(&file, "an old one, and longer than any number of a process\n").unwrap();
    says(&["--pidfile", text(&file)], "true");
    let text_now = fs::read_to_string(&file).unwrap_or_default();
    assert!(text_now.is_empty() || text_now.trim().parse::<i32>().is_ok(), "{text_now:?}");
    go(["--pidfile", text(&place.join("no/dir")), busybox(), "true"]).refused(&["no/dir"]);
    host.same();
}

#[test]
fn init_reaps_and_forwards() {
    let host = Host::before();
    // The command is its child.
    let out = says(&["--init"], "echo $$ $PPID; cat /proc/1/comm; tr '\\0' ' ' </proc/1/cmdline");
    let lines: Vec<_> = out.lines().collect();
    assert!(lines[0].ends_with(" 1") && lines[0] != "1 0" && lines[1].starts_with("ctr"), "{out}");
    // Orphans become PID 1's, and are gone when they end.
    let mut live = Live::start(&mut ctr(["run", "-i", "--init", busybox(), "sh"]));
    for _ in 0..3 {
        live.say("sh -c 'sleep 1000 >/dev/null 2>&1 & echo $!'\n");
        let orphan = live.line();
        live.say(format!("awk '{{print $4}}' /proc/{orphan}/stat\n"));
        assert_eq!(live.line(), "1", "the parent of an orphan");
        live.say(format!(
            "kill -9 {orphan}; i=0; while [ -e /proc/{orphan} ] && [ $i != 1000 ]; do usleep 2000; i=$((i+1)); done; \
             [ -e /proc/{orphan} ] && cat /proc/{orphan}/stat || echo gone\n"
        ));
        assert_eq!(live.line(), "gone", "the orphan was not reaped");
    }
    // A hundred of them.
    live.say("i=0; while [ $i != 100 ]; do (true & true & true &); i=$((i+1)); done; echo made\n");
    live.hear("made\n");
    live.say("i=0; while ps -o stat | grep -q Z && [ $i != 500 ]; do usleep 2000; i=$((i+1)); done; ps -o stat | grep -c Z; echo end\n");
    assert_eq!(live.hear("end\n"), "0\n", "zombies");
    live.say("exit 5\n");
    live.done().code(5);
    // Exit codes as without it, signals too.
    for (script, code) in
        [("exit 0", 0), ("exit 77", 77), ("kill -9 $$", 137), ("kill -SEGV $$", 139), ("kill -TERM $$", 143)]
    {
        inside(&["--init"], script).code(code);
    }
    go(["--init", busybox(), "no-such-command"]).code(127);
    go(["--init", busybox(), "/etc/passwd"]).code(126);
    // The command's end is the container's: others end with it.
    let done = inside(&["--init"], "sleep 1000 & sleep 1000 >/dev/null 2>&1 & exit 3");
    done.code(3);
    // A signal to ctr is the command's.
    for (number, name) in
        [(libc::SIGTERM, "TERM"), (libc::SIGINT, "INT"), (libc::SIGHUP, "HUP"), (libc::SIGUSR1, "USR1")]
    {
        let script =
            format!("trap 'echo got {name}; exit 42' {name}; echo up; while :; do sleep 1000 & wait $!; done");
        let mut live = Live::start(&mut ctr(["run", "--init", busybox(), "sh", "-c", &script]));
        live.hear("up\n");
        live.signal(number);
        assert_eq!(live.line(), format!("got {name}"));
        live.done().code(42);
    }
    // And one that nobody handles ends it, as PID 1 it would not.
    let mut live = Live::start(&mut ctr(["run", "--init", busybox(), "sh", "-c", "echo up; exec sleep 1000"]));
    live.hear("up\n");
    live.signal(libc::SIGTERM);
    live.done().code(143);
    host.same();
}

/// CVE-2019-5736: what runs as PID 1 is the host's file.
#[test]
fn init_cannot_be_written_to_from_inside() {
    let host = Host::before();
    let place = Scratch::new("init");
    let own = place.join("ctr");
    fs::copy(ctr_path(), &own).unwrap();
    let before = fs::read(&own).unwrap();
    let script = "exec 3</proc/1/exe; for f in /proc/1/exe /proc/self/fd/3; do \
                  (: >>$f) 2>&1; (: >$f) 2>&1; chmod 777 $f 2>&1; done; true";
    let done = within(Command::new(&own).args(["run", "--rm", "--init", busybox(), "sh", "-c", script])).code(0);
    assert!(fs::read(&own).unwrap() == before, "{done:?}");
    // "Text file busy" alone would only be luck: it goes when PID 1 does. Truncating and chmod tell of the mount.
    assert_eq!(done.out.matches("Read-only file system").count(), 4, "{done:?}");
    host.same();
}

/// The names of the steps that --dry-run lists.
fn dry_steps(out: &str) -> Vec<String> {
    out.lines()
        .filter(|l| l.starts_with("  ") && !l.starts_with("   "))
        .map(|l| l.split_whitespace().next().unwrap().to_owned())
        .collect()
}

#[test]
fn trace_says_every_step_and_a_sum() {
    let host = Host::before();
    let place = Scratch::new("trace");
    let volume = format!("{}:/v", text(place.path()));
    for options in [
        &[][..],
        &[
            "--init",
            "-v",
            &volume,
            "--tmpfs",
            "/t",
            "--read-only",
            "-w",
            "/tmp",
            "-u",
            "web",
            "--ulimit",
            "nofile=99",
        ],
        &["--network", "host", "--pid=host", "--ipc=host", "--uts=host"],
        &["--userns", "auto"],
    ] {
        let dry = go(options.iter().chain(&["--dry-run", busybox(), "echo", "hello"])).code(0);
        let names = dry_steps(&format!("{}{}", dry.out, dry.err));
        assert!(names.len() > 15 && names.last().unwrap() == "exec", "{names:?}");
        let done = go(options.iter().chain(&["--trace", busybox(), "echo", "hello"])).code(0);
        assert_eq!(done.out, "hello\n", "{options:?}");
        let mut sum = 0.0;
        let mut traced = Vec::new();
        let (mut total, mut count) = (None, None);
        for line in done.err.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            let Ok(cost) = words[0].parse::<f64>() else { continue };
            if words[1] == "in" && words[3] == "steps" {
                (total, count) = (Some(cost), Some(words[2].parse::<usize>().unwrap()));
            } else {
                sum += cost;
                traced.push(words[1].to_owned());
            }
        }
        assert!(done.err.contains("µs"), "{}", done.err);
        // In the same order, each of them.
        let mut rest = traced.iter();
        for name in &names {
            assert!(rest.any(|t| t == name), "{name} is not in the trace of {options:?}, or elsewhere: {}", done.err);
        }
        assert_eq!(count, Some(traced.len()), "{}", done.err);
        let total = total.unwrap_or_else(|| panic!("no sum: {}", done.err));
        assert!((total - sum).abs() <= 5.0 + sum / 50.0, "{total} is not the sum {sum}: {}", done.err);
    }
    // A command that fails is traced as well, to the step where it did.
    let done = go(["--trace", busybox(), "no-such-command"]).code(127);
    assert!(done.err.contains("no-such-command") && done.err.contains("pivot"), "{done:?}");
    host.same();
}

#[test]
fn dry_run_does_nothing_and_needs_no_root() {
    let host = Host::before();
    let place = Scratch::new("dry");
    busybox_root(&place.join("root"));
    fs::copy(ctr_path(), place.join("ctr")).unwrap();
    fs::create_dir(place.join("v")).unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let root = text(&place.join("root")).to_owned();
    let before = picture(place.path());
    let run = fs::read_dir("/run").unwrap().count();
    let volume = format!("{}:/v", text(&place.join("v")));
    let cid = text(&place.join("cid")).to_owned();
    let pid = text(&place.join("pid")).to_owned();
    for who in [&[][..], &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]] {
        for root in ["host", &root] {
            let all = [
                &["run", "--dry-run", "-v", &volume, "--cidfile", &cid, "--pidfile", &pid, "--name", "dry", "--init"]
                    [..],
                &["--trace", "-i", "--rm", "-w", "/x", "--tmpfs=/t", root, "touch", "/v/no"],
            ]
            .concat();
            let mut words: Vec<_> = who.iter().map(|w| std::ffi::OsString::from(*w)).collect();
            words.push(place.join("ctr").into());
            words.extend(all.iter().map(std::ffi::OsString::from));
            let done = within(Command::new(&words[0]).args(&words[1..])).code(0);
            let names = dry_steps(&done.out);
            for step in ["private", "overlay", "pivot", "proc", "volume", "capabilities", "exec"] {
                assert!(names.iter().any(|n| n == step), "no {step}, {who:?} {root}: {done:?}");
            }
            assert!(done.out.contains("nothing was done"), "{done:?}");
        }
    }
    assert_eq!(picture(place.path()), before);
    assert_eq!(fs::read_dir("/run").unwrap().count(), run, "files in /run");
    // Bad input is bad there too.
    go(["--dry-run", "-w", "relative", busybox(), "true"]).refused(&["relative"]);
    go(["--dry-run", "/no/such/root", "true"]).refused(&["/no/such/root"]);
    host.same();
}

#[test]
fn without_root() {
    let host = Host::before();
    let place = Scratch::new("nobody");
    busybox_root(&place.join("root"));
    fs::copy(ctr_path(), place.join("ctr")).unwrap();
    let state = place.join("state");
    fs::create_dir(&state).unwrap();
    chown(&state, Some(65534), Some(65534)).unwrap();
    let run = |options: &[&str], state: &Path| {
        within(
            Command::new("setpriv")
                .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
                .arg(place.join("ctr"))
                .args(["run", "--rm"])
                .args(options)
                .args([text(&place.join("root")), "sh", "-c", "id -u; hostname; echo $$; touch /new && echo written"])
                .env("CTR_STATE", state),
        )
    };
    // The host's ids are not for everyone to take.
    run(&["--userns=host", "-h", "box"], &state).refused(&["--userns"]);
    let done = run(&["--userns=auto", "-h", "box"], &state);
    if done.code == 125 {
        // Not a promise of today, but then said in one line.
        done.refused(&["root"]);
    } else {
        assert_eq!(done.code(0).out, "0\nbox\n1\nwritten\n");
    }
    assert!(!place.join("root/new").exists());
    let left: Vec<_> = fs::read_dir(state.join("containers")).into_iter().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    // Where it may not write its records it says so.
    fs::create_dir(place.join("closed")).unwrap();
    let done = run(&["--userns=auto"], &place.join("closed")).code(125);
    assert!(done.err.starts_with("ctr: ") && done.out.is_empty(), "{done:?}");
    host.same();
}

#[test]
fn dockers_habits() {
    let host = Host::before();
    let b = busybox();
    // What follows ROOT is the command's, whatever it looks like.
    assert_eq!(
        go([b, "echo", "-i", "--rm", "-e", "A=b", "--name=x", "--", "--help", "-h"]).code(0).out,
        "-i --rm -e A=b --name=x -- --help -h\n"
    );
    assert_eq!(go(["--", b, "echo", "hi"]).code(0).out, "hi\n");
    assert_eq!(go(["-i", "--", b, "echo", "hi"]).code(0).out, "hi\n");
    // Short ones together, the last with a value.
    assert_eq!(feed(&mut ctr(["run", "-ieA=b", b, "sh", "-c", "cat; echo $A"]), b"in ").code(0).out, "in b\n");
    assert_eq!(feed(&mut ctr(["run", "-ie", "A=b", b, "sh", "-c", "cat; echo $A"]), b"in ").code(0).out, "in b\n");
    assert_eq!(feed(&mut ctr(["run", "-iw/tmp", b, "sh", "-c", "cat; pwd"]), b"in ").code(0).out, "in /tmp\n");
    assert_eq!(says(&["-iuweb", "-hbox"], "id -un; hostname"), "web\nbox\n");
    go(["-it", b, "true"]).refused(&["-t"]);
    // Values that look like options, like nothing, or like both.
    assert_eq!(says(&["-e", "A=--rm", "--env", "B=-i"], "echo $A $B"), "--rm -i\n");
    assert_eq!(says(&["--env", "A=--x=y"], "echo $A"), "--x=y\n");
    // Yes and no.
    assert_eq!(
        says(&["--rm=false", "--rm", "--rm=true", "--init=false", "--trace=false", "--dry-run=false"], "echo $$"),
        "1\n"
    );
    assert_eq!(says(&["--init=true", "--init=false"], "echo $$"), "1\n");
    // The last one wins.
    assert_eq!(
        says(&["-u", "web", "-u", "0", "-w", "/", "-w", "/etc", "-h", "a", "-h", "b"], "id -u; pwd; hostname"),
        "0\n/etc\nb\n"
    );
    // Arguments and passed on values that are not UTF-8 arrive; options are refused. Empty arguments, more than one line.
    let script = "printf '[%s]' \"$A\" \"$@\"";
    let (code, out, _) = Live::start(
        ctr(["run", "-e", "A", b, "sh", "-c", script, "sh"])
            .arg(OsStr::from_bytes(b"\xfe"))
            .env("A", OsStr::from_bytes(b"\xff")),
    )
    .bytes();
    assert_eq!((code, out.as_slice()), (0, &b"[\xff][\xfe]"[..]));
    within(ctr(["run", "-e"]).arg(OsStr::from_bytes(b"A=\xff")).args([b, "true"])).refused(&["UTF-8"]);
    assert_eq!(go([b, "printf", "[%s]", "", "a b", "c\nd", "é"]).code(0).out, "[][a b][c\nd][é]");
    let long = "x".repeat(100_000);
    assert_eq!(go([b, "echo", &long, &long, &long, &long]).code(0).out.len(), 400_004);
    let mut many = ctr(["run", b, "sh", "-c", "echo $#", "sh"]);
    assert_eq!(within(many.args((0..20_000).map(|n| n.to_string()))).code(0).out, "20000\n");
    host.same();
}

fn exit_codes_of_what_cannot_run(way: Way) {
    let host = Host::before();
    let place = Scratch::new("exec");
    let root = place.join("root");
    busybox_root(&root);
    let script = |name: &str, mode: u32, content: &[u8]| {
        fs::write(root.join("bin").join(name), content).unwrap();
        fs::set_permissions(root.join("bin").join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    script("plain", 0o644, b"#!/bin/sh\n");
    script("no-interpreter", 0o755, b"#!/no/such/interpreter\n");
    script("nonsense", 0o755, b"\x7fELF but not really\n");
    script("empty", 0o755, b"");
    script("good", 0o755, b"#!/bin/sh\nexit 12\n");
    symlink("/no/where", root.join("bin/dangling")).unwrap();
    symlink("loop", root.join("bin/loop")).unwrap();
    let r = text(&root);
    for (code, words) in [
        (12, &["good"][..]),
        (12, &["/bin/good"]),
        (127, &["no-such-command"]),
        (127, &["/no/such/command"]),
        (127, &["./no-such-command"]),
        (127, &["dangling"]),
        (127, &["/bin/dangling"]),
        (127, &["/bin/no-interpreter"]),
        (126, &["plain"]),
        (126, &["/bin/plain"]),
        (126, &["/etc"]),
        (126, &["/bin/nonsense"]),
        (126, &["/bin/empty"]),
    ] {
        for init in [&[][..], &["--init"]] {
            let done = within(way.run(["--name", "never"]).args(init.iter().chain(&[r]).chain(words))).code(code);
            assert_eq!(done.out, "", "{words:?}");
            // What never ran leaves nothing behind, and its name is free again.
            // With --init something has run: ctr's init, which then could not.
            assert!(code == 12 || !init.is_empty() || host.kept().is_empty(), "{words:?} left {:?}", host.kept());
            host.same_after(way);
            if code != 12 {
                assert!(done.err.starts_with("ctr: ") && done.err.contains(words[0]), "{words:?}: {done:?}");
                assert_eq!(done.err.lines().count(), 1, "{done:?}");
            }
        }
    }
    // What ctr itself cannot do is 125, and leaves as little.
    for (words, says) in [
        (&["-u", "nobody-knows", r, "true"][..], "nobody-knows"),
        (&["-v", "/usr:/etc/passwd", r, "true"], "/etc/passwd"),
        (&["-v", "/no/such/source:/v", r, "true"], "/no/such/source"),
        (&["-w", "/etc/passwd", r, "true"], "/etc/passwd"),
        (&["/no/such/root", "true"], "/no/such/root"),
    ] {
        let done = within(way.run(["--name", "never"]).args(words)).code(125);
        assert!(done.out.is_empty() && done.err.starts_with("ctr: ") && done.err.contains(says), "{done:?}");
        host.same_soon();
    }
    let done = go([r, "loop"]);
    assert!(done.code == 126 || done.code == 127, "{done:?}");
    // PATH is the container's; a program that only the host has is none.
    assert_eq!(go(["-e", "PATH=/usr/bin", r, "echo", "x"]).code(127).out, "");
    assert_eq!(go(["-e", "PATH=/usr/bin:/bin", r, "echo", "x"]).code(0).out, "x\n");
    go([r, text(&ctr_path())]).code(127);
    // Not for this user.
    script("secret", 0o700, b"#!/bin/sh\n");
    go(["-u", "web", r, "secret"]).code(126);
    host.same();
}

#[test]
fn powers_are_dockers_fourteen() {
    let host = Host::before();
    let look = "grep -E '^(Cap|NoNewPrivs)' /proc/self/status";
    let wanted = "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n\
                  CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n";
    for options in [
        &[][..],
        &["--init"],
        &["--userns=auto"],
        &["--pid=host", "--userns=host"],
        &["--rw=false"],
        &["--userns=auto", "--init"],
    ] {
        assert_eq!(says(options, look), wanted, "{options:?}");
        assert_eq!(
            says(options, "grep -E '^(CapInh|CapBnd|CapAmb|NoNewPrivs)' /proc/1/status | grep -c 0425fb; true")
                .trim()
                .len(),
            1
        );
    }
    assert_eq!(
        says(&["--init"], "grep -E '^(CapInh|CapBnd|CapAmb)' /proc/1/status"),
        "CapInh:\t0000000000000000\nCapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\n"
    );
    // A caller with more than usual.
    let done = within(
        Command::new("setpriv")
            .args(["--inh-caps=+sys_admin,+net_admin,+chown", "--ambient-caps=+sys_admin,+net_admin,+chown"])
            .arg(ctr_path())
            .args(["run", "--rm", busybox(), "sh", "-c", look]),
    )
    .code(0);
    assert_eq!(done.out, wanted);
    // They are what they say.
    for (script, works) in [
        ("chown 5:5 /tmp", true),
        ("chroot / true", true),
        ("mount -t tmpfs tmpfs /tmp", false),
        ("umount /proc/sys", false),
        ("mount -o remount,rw /sys", false),
        ("hostname other", false),
        ("ip link add x type dummy", false),
        ("ip link set lo down", false),
        ("unshare -n true", false),
        ("dmesg -c", false),
    ] {
        let done = inside(&[], script);
        assert_eq!(done.code == 0, works, "{script}: {done:?}");
    }
    host.same();
}

#[test]
fn only_three_descriptors_come_along() {
    let host = Host::before();
    let script = "exec 9</etc/passwd 8>/dev/null 7</; exec \"$@\"";
    for options in [&[][..], &["-i"], &["--init"], &["--userns=auto"], &["--rw=false", "-v", "/usr:/v"]] {
        let done = within(
            Command::new("bash")
                .args(["-c", script, "bash"])
                .arg(ctr_path())
                .args(["run", "--rm"])
                .args(options)
                .args([busybox(), "sh", "-c", "ls /proc/$$/fd; true"]),
        )
        .code(0);
        assert_eq!(done.out, "0\n1\n2\n", "{options:?}");
        let done = within(
            Command::new("bash")
                .args(["-c", script, "bash"])
                .arg(ctr_path())
                .args(["run", "--rm"])
                .args(options)
                .args([busybox(), "sh", "-c", "ls -l /proc/1/fd; true"]),
        )
        .code(0);
        assert!(!done.out.contains("passwd") && !done.out.contains(" -> /\n"), "{done:?}");
    }
    host.same();
}

#[test]
fn devices() {
    let host = Host::before();
    for options in [&[][..], &["--userns=auto"]] {
        let out = says(
            options,
            "cd /dev; for f in * pts/*; do [ -L $f ] && continue; [ -c $f ] && stat -c '%n %t:%T %a' $f; \
             [ -b $f ] && echo block $f; done; true",
        );
        let found: BTreeSet<_> = out.lines().collect();
        let wanted = [
            "full 1:7 666",
            "null 1:3 666",
            "random 1:8 666",
            "tty 5:0 666",
            "urandom 1:9 666",
            "zero 1:5 666",
            "pts/ptmx 5:2 666",
        ];
        assert_eq!(found, wanted.into_iter().collect(), "{options:?}");
        let out =
            says(options, "cd /dev; for f in *; do [ -L $f ] && echo $f $(readlink $f); done; ls -d pts shm mqueue");
        let found: BTreeSet<_> = out.lines().collect();
        let wanted = [
            "fd /proc/self/fd",
            "stdin /proc/self/fd/0",
            "stdout /proc/self/fd/1",
            "stderr /proc/self/fd/2",
            "ptmx pts/ptmx",
            "pts",
            "shm",
            "mqueue",
        ];
        let mut found = found;
        found.remove("core /proc/kcore");
        assert_eq!(found, wanted.into_iter().collect(), "{options:?}");
        // They work, for everybody.
        let mut all = options.to_vec();
        all.extend(["-u", "web"]);
        let out = says(
            &all,
            "head -c 5 /dev/zero | wc -c; head -c 5 /dev/urandom | wc -c; echo x >/dev/null; cat </dev/null | wc -c; \
             echo x 2>/dev/null >/dev/full || echo full; touch /dev/shm/x && echo shm",
        );
        assert_eq!(out, "5\n5\n0\nfull\nshm\n", "{options:?}");
    }
    let done = inside(&[], "echo out >/dev/stdout; echo piped | cat /dev/stdin; echo err >/dev/stderr").code(0);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("out\npiped\n", "err\n"));
    host.same();
}

/// Others are not to be had: a node can be made, but it opens nothing.
#[test]
fn devices_of_the_host_cannot_be_opened() {
    let host = Host::before();
    let scratch = Scratch::new("disk");
    let volume = format!("{}:/v", text(scratch.path()));
    let mut opened = Vec::new();
    for place in ["/tmp/node", "/dev/node", "/dev/shm/node", "/t/node", "/v/node"] {
        // A block device, physical memory's neighbour, the kernel's log.
        for node in ["b 7 0", "c 1 11", "c 1 1", "c 10 200", "c 10 229"] {
            let script = format!("mknod {place} {node}; exec 3<{place}");
            let done = inside(&["--tmpfs", "/t", "-v", &volume], &script);
            let _ = fs::remove_file(scratch.join("node"));
            if done.code == 0 || done.err.contains("No such device") {
                opened.push(format!("{node} at {place}"));
            }
        }
    }
    assert_eq!(opened, Vec::<String>::new(), "opened, or only for want of a driver not");
    host.same();
}

#[test]
fn proc_and_sys_give_nothing_away() {
    let host = Host::before();
    for options in [&[][..], &["--userns=auto"], &["--init"], &["--network=host"]] {
        // Nothing in /proc/sys, /proc/sysrq-trigger, /proc/irq, /proc/bus or /sys can be written to.
        let out = inside(
            options,
            "for f in /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sys/vm/drop_caches /proc/sysrq-trigger \
                      /proc/sys/net/ipv4/ip_forward /proc/irq/default_smp_affinity /sys/kernel/mm/ksm/run /sys/kernel/uevent_helper \
                      /sys/power/state; do \
                 [ ! -e $f ] || { echo 0 >$f; } 2>/dev/null && [ -e $f ] && echo written $f; \
             done; true",
        )
        .code(0);
        assert_eq!(out.out, "", "{options:?}");
        let out = says(
            options,
            "grep -E ' /(sys|proc/sys|proc/bus|proc/irq|proc/fs) ' /proc/mounts | cut -d' ' -f2,4 | sort",
        );
        for line in out.lines() {
            let words: Vec<_> = line.split([' ', ',']).collect();
            for flag in ["ro", "nosuid", "nodev", "noexec"] {
                assert!(words.contains(&flag), "{options:?}: {line}");
            }
        }
        for at in ["/sys ", "/proc/sys ", "/proc/bus ", "/proc/irq ", "/proc/fs "] {
            assert!(out.lines().any(|l| l.starts_with(at)), "{options:?}: no {at} in {out}");
        }
        // Masked: empty, whoever reads.
        let masked = [
            "/proc/acpi",
            "/proc/asound",
            "/proc/interrupts",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/proc/sched_debug",
            "/proc/scsi",
            "/sys/firmware",
            "/sys/devices/virtual/powercap",
        ];
        let here: Vec<_> = masked.into_iter().filter(|m| Path::new(m).exists()).collect();
        assert!(here.len() >= 3, "{here:?}");
        let script = format!(
            "for f in {}; do if [ -d $f ]; then echo $f $(ls -A $f | wc -l); else echo $f $(head -c 10 $f | wc -c); fi; done",
            here.join(" ")
        );
        let out = says(options, &script);
        let wanted: String = here.iter().map(|m| format!("{m} 0\n")).collect();
        assert_eq!(out, wanted, "{options:?}");
    }
    host.same();
}

#[test]
fn the_old_root_and_the_hosts_mounts_are_gone() {
    let host = Host::before();
    for root in [busybox(), "host"] {
        for options in [&[][..], &["--userns=auto"], &["--rw=false", "--network=host"]] {
            let done = go(options.iter().chain(&[root, "cat", "/proc/self/mountinfo"])).code(0);
            for line in done.out.lines() {
                let words: Vec<_> = line.split_whitespace().collect();
                assert!(
                    words[4] == "/"
                        || ["/proc", "/sys", "/dev", "/run", "/etc", "/tmp"].iter().any(|p| words[4].starts_with(p)),
                    "{line}"
                );
                assert!(!line.contains("/containers/"), "what ctr keeps is to be seen: {line}");
                assert!(!words.iter().any(|w| w.starts_with("shared:")), "{line}");
            }
            for (n, line) in done.out.lines().enumerate() {
                let kind = line.split(" - ").nth(1).unwrap().split(' ').next().unwrap();
                let known = ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup2"];
                // Of the host's devices a single node at a time, where none can be made.
                let node = kind == "devtmpfs"
                    && ["null", "zero", "full", "random", "urandom", "tty"]
                        .iter()
                        .any(|d| line.split(' ').nth(3) == Some(&format!("/{d}")));
                assert!(if n == 0 { kind == "overlay" } else { known.contains(&kind) || node }, "{line}");
            }
        }
    }
    host.same();
}

#[test]
fn mounts_do_not_travel_even_from_a_shared_root() {
    let host = Host::before();
    let place = Scratch::new("shared");
    // A host as systemd leaves it: everything shared.
    let script = "mount --make-rshared / && cat /proc/self/mountinfo >\"$0/before\" && \
                  \"$@\" && cat /proc/self/mountinfo >\"$0/after\"";
    for options in [&[][..], &["-v", "/usr:/v", "--tmpfs=/t"], &["--userns=auto"], &["--init", "--read-only"]] {
        let done = within(
            Command::new("unshare")
                .args(["--mount", "--propagation", "unchanged", "sh", "-c", script])
                .arg(place.path())
                .arg(ctr_path())
                .args(["run", "--rm"])
                .args(options)
                .args([busybox(), "grep", "-c", "shared:", "/proc/self/mountinfo"]),
        );
        // grep -c finds none: its exit code is 1, so the script ends there; look again without it.
        assert_eq!((done.code, done.out.trim()), (1, "0"), "{options:?} {done:?}");
        within(
            Command::new("unshare")
                .args(["--mount", "--propagation", "unchanged", "sh", "-c", script])
                .arg(place.path())
                .arg(ctr_path())
                .args(["run", "--rm"])
                .args(options)
                .args([busybox(), "true"]),
        )
        .code(0);
        let [before, after] = ["before", "after"].map(|n| fs::read_to_string(place.join(n)).unwrap());
        assert!(before.contains("shared:") && before == after, "{options:?}");
    }
    host.same();
}

#[test]
fn the_container_has_a_session_a_cgroup_view_and_clean_limits_of_its_own() {
    let host = Host::before();
    // No session, no process group, no terminal of the caller's.
    assert_eq!(says(&[], "awk '{print $5, $6, $7}' /proc/1/stat"), "1 1 0\n");
    let done = inside(&[], "cat </dev/tty").code(1);
    assert!(done.err.contains("No such device or address"), "{done:?}");
    assert_eq!(says(&[], "cat /proc/self/cgroup").lines().filter(|l| l.contains("/..")).count(), 0);
    for line in says(&[], "cat /proc/self/cgroup").lines() {
        assert!(line.ends_with(":/"), "{line}");
    }
    assert_eq!(
        says(&["-u", "web"], "cat /proc/self/oom_score_adj"),
        fs::read_to_string("/proc/self/oom_score_adj").unwrap()
    );
    // Personality, working directory and environment of a process that nobody prepared.
    assert_eq!(says(&[], "cat /proc/self/personality 2>/dev/null || echo 00000000").trim(), "00000000");
    host.same();
}

#[test]
fn help_and_version() {
    let host = Host::before();
    let help = within(&mut ctr(["run", "--help"])).code(0);
    assert_eq!(help.err, "");
    for option in [
        "-i, --interactive",
        "-t, --tty",
        "--rm",
        "--name",
        "-e, --env ",
        "--env-file",
        "-w, --workdir",
        "-u, --user",
        "-h, --hostname",
        "-v, --volume",
        "--mount",
        "--tmpfs",
        "--read-only",
        "--rw",
        "--rootfs",
        "--network",
        "--pid",
        "--ipc",
        "--uts",
        "--userns",
        "--entrypoint",
        "--add-host",
        "--dns",
        "--ulimit",
        "--shm-size",
        "--cidfile",
        "--pidfile",
        "--init",
        "--trace",
        "--dry-run",
    ] {
        assert!(help.out.contains(option), "{option}");
    }
    for line in help.out.lines() {
        assert!(line.chars().count() <= 132, "{line}");
    }
    assert!(within(&mut ctr(["--help"])).code(0).out.contains("run"));
    let version = within(&mut ctr(["--version"])).code(0);
    assert!(version.out.starts_with("ctr ") && version.out.lines().count() == 1, "{version:?}");
    // Help for the verb, not for the command.
    assert_eq!(go([busybox(), "echo", "--help"]).code(0).out, "--help\n");
    assert_eq!(within(&mut ctr(["run", "-i", "--help"])).code(0).out, help.out);
    host.same();
}
