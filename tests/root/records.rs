//! What is in the state folders is not as ctr left it: damaged records, strangers' files, a full or read-only disk, times from a
//! wrong clock, numbers that are another process's by now. ctr says so in one line, keeps its hands off what is not its own, and
//! the other containers do not notice.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::reliability::{Seen, c, listed, lives, recorded, start, truth};
use crate::support::{Done, Host, Live, Scratch, busybox, finish, plain, signal, until, within};

const ALL: &str = "/var/lib/ctr/containers";

fn path(name: &str) -> PathBuf {
    Path::new(ALL).join(name)
}

fn record(name: &str) -> PathBuf {
    path(name).join("record")
}

/// Sets a key of a record, or takes it away.
fn edit(name: &str, key: &str, value: Option<&str>) {
    let text = fs::read_to_string(record(name)).unwrap();
    let mut lines: Vec<_> =
        text.lines().filter(|line| line.split(' ').next() != Some(key)).map(str::to_owned).collect();
    lines.extend(value.map(|value| format!("{key} {value}")));
    fs::write(record(name), lines.join("\n") + "\n").unwrap();
}

/// A container that sleeps until it is asked to end, and says 3 then.
#[track_caller]
fn lasting(name: &str) -> i32 {
    lasting_at(name, None)
}

#[track_caller]
fn lasting_at(name: &str, root: Option<&Path>) -> i32 {
    let mut command = plain(["run", "-d", "--name", name, busybox(), "sh", "-c"]);
    command.arg("trap 'exit 3' TERM; echo up; while :; do sleep 1000 & wait; done");
    if let Some(root) = root {
        command.env("CTR_ROOT", root);
    }
    within(&mut command).code(0);
    until("its first words", || {
        let mut logs = plain(["logs", name]);
        if let Some(root) = root {
            logs.env("CTR_ROOT", root);
        }
        finish(&mut logs).out.contains("up").then_some(())
    });
    let folder = root.unwrap_or(Path::new("/var/lib/ctr"));
    let text = fs::read_to_string(folder.join("containers").join(name).join("record")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("pid ")).unwrap().parse().unwrap()
}

/// How it is listed.
#[track_caller]
fn seen(name: &str) -> Option<Seen> {
    listed().into_iter().find(|seen| seen.name == name)
}

/// One clear line.
#[track_caller]
fn refused(words: &[&str]) -> Done {
    let done = c(words);
    let lines: Vec<_> = done.err.trim_end().lines().collect();
    let clear = lines.first().is_some_and(|line| line.starts_with("ctr: "))
        && lines.iter().skip(1).all(|line| line.starts_with("  try: "));
    assert!(done.code == 125 && clear && done.out.is_empty(), "{words:?}: {done:#?}");
    done
}

#[test]
fn a_damaged_record_is_shown_and_can_be_removed() {
    let host = start();
    let good = lasting("good");
    let id = recorded("good", "id").unwrap();
    let cut = |n: usize| move |text: &str| text.as_bytes()[..text.len() * n / 7 + 3].to_vec();
    let damages: Vec<(&str, Box<dyn Fn(&str) -> Vec<u8>>)> = vec![
        ("cut off early", Box::new(cut(0))),
        ("cut off in the id", Box::new(|text| text[..text.find("id ").unwrap() + 20].into())),
        ("without the last newline", Box::new(|text| text.trim_end().into())),
        ("binary", Box::new(|_| (0..=255).cycle().take(5000).collect())),
        ("zeros, as after a power cut", Box::new(|text| vec![0; text.len()])),
        ("empty", Box::new(|_| Vec::new())),
        ("a later version", Box::new(|text| text.replacen("ctr 1", "ctr 2", 1).into())),
        ("another program's", Box::new(|_| b"{\"ociVersion\": \"1.0.2\"}\n".to_vec())),
        (
            "without an id",
            Box::new(|text| {
                text.lines().filter(|l| !l.starts_with("id ")).map(|l| format!("{l}\n")).collect::<String>().into()
            }),
        ),
        ("an id that is a path", Box::new(|text| text.replacen("\nid ", "\nid ../../", 1).into())),
        ("five megabytes", Box::new(|text| [text.as_bytes(), &b"x y\n".repeat(5 << 18)].concat())),
    ];
    for (what, damage) in damages {
        c(&["create", "--name=bad", busybox(), "true"]).code(0);
        let text = fs::read_to_string(record("bad")).unwrap();
        let bytes = damage(&text);
        fs::write(record("bad"), &bytes).unwrap();
        let bad = seen("bad").unwrap_or_else(|| panic!("{what}: is not listed"));
        assert!(bad.state == "unreadable" && bad.status.starts_with("Unreadable"), "{what}: {bad:?}");
        assert!(!bad.status.contains('\n') && bad.status.len() < 300, "{what}: {bad:?}");
        // Nobody but rm -f touches it.
        for words in [
            &["start", "bad"][..],
            &["stop", "bad"],
            &["restart", "bad"],
            &["kill", "bad"],
            &["exec", "bad", "true"],
            &["pause", "bad"],
            &["rename", "bad", "worse"],
            &["wait", "bad"],
            &["rm", "bad"],
            &["run", "-d", "--name=bad", busybox(), "true"],
        ] {
            let done = refused(words);
            assert!(done.err.contains("bad"), "{what}: {done:#?}");
        }
        assert_eq!(fs::read(record("bad")).unwrap(), bytes, "{what}");
        let table = c(&["ps", "-a"]).code(0);
        assert!(table.err.is_empty() && table.out.lines().count() == 3, "{what}: {table:#?}");
        let good_now = seen("good").unwrap();
        assert!(good_now.state == "running" && good_now.pid == Some(good), "{what}: {good_now:?}");
        c(&["exec", "good", "true"]).code(0);
        c(&["rm", "-f", "bad"]).code(0);
        assert!(!path("bad").exists(), "{what}");
    }
    assert_eq!(recorded("good", "id"), Some(id));
    c(&["rm", "-f", "good"]).code(0);
    host.same_soon();
}

#[test]
fn a_record_damaged_while_its_container_runs() {
    let host = start();
    for damage in ["", "ctr 2\nid 7\n", "rubbish"] {
        let pid = lasting("bad");
        fs::write(record("bad"), damage).unwrap();
        assert_eq!(seen("bad").unwrap().state, "unreadable");
        refused(&["exec", "bad", "true"]);
        c(&["rm", "-f", "bad"]).code(0);
        until("its end", || (!lives(pid)).then_some(()));
        assert!(listed().is_empty(), "{damage:?}");
        host.same_soon();
    }
    // Nobody looks after it either: the lines that are left say which process it is, or its control group does.
    for keeps in [true, false] {
        let pid = lasting("bad");
        let text = fs::read_to_string(record("bad")).unwrap();
        kill_supervisor("bad");
        fs::write(record("bad"), if keeps { text.replacen("ctr 1", "ctr 2", 1) } else { String::new() }).unwrap();
        assert_eq!(seen("bad").unwrap().state, "unreadable");
        refused(&["rm", "bad"]);
        assert!(lives(pid));
        c(&["rm", "-f", "bad"]).code(0);
        until("its end", || (!lives(pid)).then_some(()));
        host.same_soon();
    }
}

fn kill_supervisor(name: &str) {
    let supervisor: i32 = recorded(name, "supervisor").unwrap().parse().unwrap();
    signal(supervisor, libc::SIGKILL);
    until("its supervisor's end", || (!lives(supervisor)).then_some(()));
}

/// A backup, made with `cp -a`: it has the same id, and must do no harm.
#[test]
fn a_copy_of_a_containers_directory_is_harmless() {
    let host = start();
    let copy =
        |to: &str| assert!(Command::new("cp").arg("-a").args([path("k"), path(to)]).status().unwrap().success());
    let pid = lasting("k");
    copy("copy");
    for words in [&["stop", "-t0", "copy"][..], &["kill", "copy"], &["restart", "copy"], &["exec", "copy", "true"]] {
        refused(words);
    }
    c(&["rm", "-f", "copy"]).code(0);
    assert!(lives(pid) && !path("copy").exists());
    // Of an earlier run: what its record says is dead.
    copy("copy");
    c(&["restart", "-t0", "k"]).code(0);
    let pid = seen("k").unwrap().pid.unwrap();
    for _ in 0..3 {
        assert_eq!((seen("copy").unwrap().state.as_str(), seen("k").unwrap().pid), ("exited", Some(pid)));
    }
    refused(&["start", "copy"]);
    c(&["rm", "copy"]).code(0);
    assert!(lives(pid) && seen("k").is_some());
    // Damaged, and only its id is left.
    fs::create_dir(path("copy")).unwrap();
    fs::copy(path("k").join("id"), path("copy").join("id")).unwrap();
    fs::write(record("copy"), "?").unwrap();
    c(&["rm", "-f", "copy"]).code(0);
    assert!(lives(pid) && !path("copy").exists());
    c(&["rm", "-f", "k"]).code(0);
    // One that ends with its ctr.
    let live = Live::start(&mut plain(["run", "--rm", "--name=k", busybox(), "sleep", "1000"]));
    until("it to run", || seen("k").and_then(|k| k.pid));
    let at = Path::new("/run/ctr/containers");
    let copied = Command::new("cp").arg("-a").args([at.join("k"), at.join("copy")]).status().unwrap();
    assert!(copied.success());
    let pid = seen("k").unwrap().pid.unwrap();
    assert!(lives(pid));
    drop(live);
    until("its end", || (!lives(pid) && listed().is_empty()).then_some(()));
    host.same_soon();
}

/// A supervisor that does not answer (stopped, or waiting for a disk that is gone) keeps nobody from ending its container.
#[test]
fn a_supervisor_that_does_not_answer() {
    let host = start();
    let pid = lasting("k");
    let supervisor: i32 = recorded("k", "supervisor").unwrap().parse().unwrap();
    signal(supervisor, libc::SIGSTOP);
    let done = c(&["kill", "k"]).code(0);
    assert!(done.err.contains("does not answer"), "{done:#?}");
    until("its end", || (!lives(pid)).then_some(()));
    signal(supervisor, libc::SIGCONT);
    until("that to be known", || (seen("k")?.state == "exited").then_some(()));
    c(&["rm", "k"]).code(0);
    let pid = lasting("k");
    signal(recorded("k", "supervisor").unwrap().parse().unwrap(), libc::SIGSTOP);
    c(&["rm", "-f", "k"]).code(0);
    assert!(!lives(pid) && listed().is_empty());
    host.same_soon();
}

/// Whoever has locked a container for a moment is not its supervisor.
#[test]
fn somebody_who_only_looks_changes_nothing() {
    let host = start();
    c(&["create", "--name=k", "--rm", busybox(), "true"]).code(0);
    let lock = Live::start(Command::new("flock").arg("-x").arg(path("k")).args(["sleep", "0.3"]));
    until("the lock", || {
        let free = Command::new("flock").args(["-n", "-x"]).arg(path("k")).arg("true").status().unwrap();
        (!free.success()).then_some(())
    });
    c(&["stop", "k"]).code(0);
    assert_eq!(seen("k").unwrap().state, "created");
    drop(lock);
    c(&["rm", "k"]).code(0);
    host.same_soon();
}

#[test]
fn strangers_among_the_containers_are_left_alone() {
    let host = start();
    let place = Scratch::new("strangers");
    let good = lasting("good");
    // A record that cannot be one, whatever a link, a pipe or a directory leads to.
    let kinds: [(&str, &dyn Fn(&Path)); 5] = [
        ("a fifo", &|at| assert!(Command::new("mkfifo").arg(at).status().unwrap().success())),
        ("a directory", &|at| fs::create_dir(at).unwrap()),
        ("a link to the record of another", &|at| symlink(record("good"), at).unwrap()),
        ("a link to nowhere", &|at| symlink("/nowhere", at).unwrap()),
        ("a socket", &|at| drop(std::os::unix::net::UnixListener::bind(at).unwrap())),
    ];
    for (what, make) in kinds {
        c(&["create", "--name=bad", busybox(), "true"]).code(0);
        fs::remove_file(record("bad")).unwrap();
        make(&record("bad"));
        let all = listed();
        assert!(
            all.iter().any(|s| s.name == "good" && s.state == "running" && s.pid == Some(good)),
            "{what}: {all:#?}"
        );
        assert!(all.iter().any(|s| s.name == "bad" && s.state == "unreadable"), "{what}: {all:#?}");
        refused(&["start", "bad"]);
        c(&["rm", "-f", "bad"]).code(0);
        assert!(!path("bad").exists(), "{what}");
        assert!(record("good").exists() && lives(good), "{what}");
    }
    // No record at all: whoever was to write it is dead. Or somebody has removed it; then there is more than that.
    fs::create_dir(path("dead")).unwrap();
    c(&["run", "--name=layered", busybox(), "sh", "-c", "echo precious > /file"]).code(0);
    fs::remove_file(record("layered")).unwrap();
    let all = listed();
    assert!(!path("dead").exists(), "{all:#?}");
    assert!(
        !path("layered").exists() || all.iter().any(|s| s.name == "layered" && s.state == "unreadable"),
        "it is there, and nobody lists it: {all:#?}"
    );
    c(&["rm", "-f", "layered"]).code(0);
    assert!(!path("layered").exists());
    // What is no container's is no business of ours.
    fs::create_dir(path("stranger")).unwrap();
    fs::write(path("stranger").join("thesis.txt"), "years of work").unwrap();
    fs::write(path("file"), "a note").unwrap();
    symlink(path("good"), path("alias")).unwrap();
    fs::create_dir_all(place.join("outside/layer")).unwrap();
    fs::copy(record("good"), place.join("outside/record")).unwrap();
    symlink(place.join("outside"), path("outside")).unwrap();
    let all = listed();
    assert!(all.iter().all(|s| ["good", "stranger"].contains(&s.name.as_str())), "{all:#?}");
    for name in ["file", "alias", "outside"] {
        c(&["rm", "-f", name]);
        for verb in ["start", "stop", "kill", "restart", "pause", "inspect"] {
            refused(&[verb, name]);
        }
        refused(&["run", "-d", "--name", name, busybox(), "true"]);
    }
    assert_eq!(fs::read_to_string(path("stranger").join("thesis.txt")).unwrap(), "years of work");
    assert!(place.join("outside/record").exists() && place.join("outside/layer").exists());
    assert!(lives(good) && seen("good").unwrap().state == "running");
    for name in ["file", "alias", "outside"] {
        let _ = fs::remove_file(path(name));
    }
    fs::remove_dir_all(path("stranger")).unwrap();
    c(&["rm", "-f", "good"]).code(0);
    host.same_soon();
}

#[test]
fn keys_of_a_later_ctr_are_kept() {
    let host = start();
    c(&["create", "--name=k", busybox(), "sh", "-c", "exit 4"]).code(0);
    edit("k", "colour", Some("blue \\x07 and\\nso on"));
    edit("k", "flag", Some(""));
    let kept = || {
        let text = fs::read_to_string(record("k")).unwrap();
        assert!(text.contains("\ncolour blue \\x07 and\\nso on\n") && text.contains("\nflag"), "{text}");
    };
    c(&["start", "k"]).code(0);
    kept();
    assert_eq!(c(&["wait", "k"]).code(0).out, "4\n");
    kept();
    c(&["stop", "k"]).code(0);
    c(&["restart", "k"]).code(0);
    c(&["wait", "k"]).code(0);
    kept();
    c(&["rm", "k"]).code(0);
    host.same_soon();
}

/// A small filesystem of its own that containers are remembered on.
struct Disk(Scratch);

impl Disk {
    fn new(options: &str) -> Disk {
        let place = Scratch::new("disk");
        let disk = Disk(place);
        let made = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(disk.0.path()).status();
        assert!(made.unwrap().success());
        fs::create_dir(disk.0.join("containers")).unwrap();
        for dir in [disk.0.path().to_owned(), disk.0.join("containers")] {
            fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        }
        disk
    }

    #[track_caller]
    fn c(&self, words: &[&str]) -> Done {
        within(plain(words).env("CTR_ROOT", self.0.path()))
    }

    /// Not one byte more.
    fn fill(&self) {
        use std::io::Write;
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        while file.write(&[b'x'; 4096]).is_ok_and(|n| n > 0) {}
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }

    fn remount(&self, how: &str) {
        let options = format!("remount,bind,{how}");
        assert!(Command::new("mount").args(["-o", &options]).arg(self.0.path()).status().unwrap().success(), "{how}");
    }

    fn recorded(&self, name: &str, key: &str) -> Option<String> {
        let text = fs::read_to_string(self.0.join("containers").join(name).join("record")).ok()?;
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ').map(str::to_owned))
    }

    fn names(&self) -> Vec<String> {
        let all = fs::read_dir(self.0.join("containers")).unwrap().flatten();
        all.map(|e| e.file_name().into_string().unwrap()).collect()
    }

    fn state(&self, name: &str) -> String {
        let done = self.c(&["ps", "-a", "--format={{.Names}} {{.State}} {{.Status}}"]).code(0);
        assert_eq!(done.err, "", "{done:#?}");
        let line = done.out.lines().find_map(|line| line.strip_prefix(&format!("{name} ")).map(str::to_owned));
        line.unwrap_or_else(|| "none".into())
    }

    /// Nothing holds on to it.
    #[track_caller]
    fn away(self) {
        until("the disk to be free", || {
            Command::new("umount").arg(self.0.path()).output().unwrap().status.success().then_some(())
        });
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).stderr(Stdio::null()).status();
    }
}

/// Success, or one line that says what is the matter.
#[track_caller]
fn told(done: &Done, what: &str) {
    let clear = done.err.lines().next().is_none_or(|line| line.starts_with("ctr: "))
        && done.err.lines().skip(1).all(|line| line.starts_with("  try: "));
    assert!(clear && (done.code == 0 || done.code == 125 && done.err.contains("space")), "{what}: {done:#?}");
}

#[test]
fn on_a_disk_of_any_small_size() {
    let host = start();
    for options in [
        "size=4k",
        "size=8k",
        "size=16k",
        "size=64k",
        "size=1m",
        "nr_inodes=4",
        "nr_inodes=7",
        "nr_inodes=9",
        "nr_inodes=12",
    ] {
        let disk = Disk::new(options);
        for words in [
            vec!["create", "--name=k", busybox(), "true"],
            vec!["run", "-d", "--name=k", busybox(), "sleep", "1000"],
            vec!["run", "--name=k", busybox(), "echo", "done"],
        ] {
            for n in 0..3 {
                let name = format!("--name=k{n}");
                let words: Vec<_> = words.iter().map(|w| if *w == "--name=k" { name.as_str() } else { w }).collect();
                let done = disk.c(&words);
                told(&done, &format!("{options} {words:?}"));
                if done.code != 0 {
                    assert_eq!(disk.state(&format!("k{n}")), "none", "{options} {words:?}: {done:#?}");
                }
            }
            disk.c(&["ps", "-a"]).code(0);
            for n in 0..3 {
                disk.c(&["rm", "-f", &format!("k{n}")]).code(0);
            }
            assert!(disk.names().is_empty(), "{options} {words:?}: {:?}", disk.names());
            host_processes_gone(&host);
        }
        disk.away();
    }
    host.same_soon();
}

/// The containers' processes are gone; the disk of the test itself is still mounted.
#[track_caller]
fn host_processes_gone(_: &Host) {
    until("all processes to be gone", || crate::support::others().is_empty().then_some(()));
}

#[test]
fn how_a_container_ended_is_known_on_a_full_disk() {
    let host = start();
    // The record nearly fills its page, too.
    for padding in [0, 3000, 3300, 3400, 3500, 3600, 3700, 8000] {
        let disk = Disk::new("size=1m");
        let label = format!("--label=pad={}", "x".repeat(padding));
        let script = "trap 'exit 7' TERM; echo up; while :; do sleep 1000 & wait; done";
        for name in ["stopped", "killed", "ended"] {
            disk.c(&["run", "-d", "--name", name, &label, busybox(), "sh", "-c", script]).code(0);
            until("its first words", || disk.c(&["logs", name]).out.contains("up").then_some(()));
        }
        disk.c(&["create", "--name=new", &label, busybox(), "true"]).code(0);
        disk.fill();
        disk.c(&["stop", "-t5", "stopped"]).code(0);
        disk.c(&["kill", "killed"]).code(0);
        disk.c(&["kill", "-sTERM", "ended"]).code(0);
        for (name, code) in [("stopped", "7"), ("killed", "137"), ("ended", "7")] {
            let state = until("its end", || Some(disk.state(name)).filter(|s| !s.contains("running")));
            assert!(state.starts_with(&format!("exited Exited ({code}) ")), "padding {padding}: {name}: {state}");
        }
        assert!(disk.recorded("stopped", "finished").is_some(), "padding {padding}");
        // Started again or not: that is said, and what was there is there.
        for name in ["stopped", "new"] {
            let done = disk.c(&["start", name]);
            told(&done, &format!("padding {padding}: start {name}"));
            let state = disk.state(name);
            assert!(!state.contains("unreadable") && state != "none", "padding {padding}: {name}: {state} {done:#?}");
        }
        told(&disk.c(&["create", "--name=more", busybox(), "true"]), "create");
        told(&disk.c(&["run", "-d", "--name=yet-more", busybox(), "sleep", "1000"]), "run -d");
        // To remove is what makes room.
        for name in disk.names() {
            disk.c(&["rm", "-f", &name]).code(0);
        }
        assert!(disk.names().is_empty(), "{:?}", disk.names());
        disk.empty();
        host_processes_gone(&host);
        disk.away();
    }
    host.same_soon();
}

#[test]
fn a_read_only_disk() {
    let host = start();
    let disk = Disk::new("size=1m");
    disk.c(&["create", "--name=old", busybox(), "true"]).code(0);
    // One that writes to it (its log) keeps a disk from becoming read-only: it is one without a supervisor.
    let pid = lasting_at("runs", Some(disk.0.path()));
    let supervisor: i32 = disk.recorded("runs", "supervisor").unwrap().parse().unwrap();
    signal(supervisor, libc::SIGKILL);
    until("its end", || (!lives(supervisor)).then_some(()));
    disk.remount("ro");
    let done = disk.c(&["run", "-d", "--name=new", busybox(), "sleep", "1000"]).code(0);
    assert!(done.err.starts_with("ctr: ") && done.err.lines().count() == 1, "{done:#?}");
    for word in [&disk.0.path().display().to_string(), "/run/ctr", "new"] {
        assert!(done.err.contains(word), "{word}: {done:#?}");
    }
    assert!(Path::new("/run/ctr/containers/new/record").exists());
    for (name, state) in [("old", "created"), ("runs", "running"), ("new", "running")] {
        assert!(disk.state(name).starts_with(state), "{name}: {}", disk.state(name));
    }
    // A name is taken on either disk.
    for name in ["old", "new"] {
        let done = disk.c(&["run", "-d", "--name", name, busybox(), "true"]).code(125);
        assert!(done.err.contains("taken"), "{done:#?}");
    }
    disk.c(&["exec", "new", "true"]).code(0);
    disk.c(&["exec", "runs", "true"]).code(0);
    disk.c(&["stop", "-t0", "new"]).code(0);
    assert!(disk.state("new").starts_with("exited Exited (137)"), "{}", disk.state("new"));
    disk.c(&["start", "new"]).code(0);
    disk.c(&["rm", "-f", "new"]).code(0);
    assert_eq!(disk.state("new"), "none");
    // It ends, even if nobody can write that down.
    let done = disk.c(&["stop", "-t5", "runs"]);
    assert!(done.code == 0 || done.code == 125 && done.err.contains("Read-only"), "{done:#?}");
    assert!(!lives(pid) && disk.state("runs").starts_with("exited"), "{}", disk.state("runs"));
    for words in [&["start", "old"][..], &["rm", "old"], &["rm", "-f", "runs"], &["rename", "old", "older"]] {
        let done = disk.c(words);
        assert!(
            done.code == 125 && done.err.contains("Read-only") && done.err.starts_with("ctr: "),
            "{words:?}: {done:#?}"
        );
        assert_eq!(done.err.lines().filter(|l| !l.starts_with("  try: ")).count(), 1, "{done:#?}");
    }
    assert!(disk.state("old").starts_with("created"), "{}", disk.state("old"));
    disk.remount("rw");
    disk.c(&["start", "old"]).code(0);
    for name in ["old", "runs"] {
        disk.c(&["rm", "-f", name]).code(0);
    }
    assert!(disk.names().is_empty());
    disk.away();
    host.same_soon();
}

#[test]
fn a_folder_that_is_not_there() {
    let host = start();
    let place = Scratch::new("nowhere");
    let at = |root: &Path, words: &[&str]| within(plain(words).env("CTR_ROOT", root));
    // It is made, with all that leads to it.
    let deep = place.join("not/there/yet");
    let done = at(&deep, &["run", "-d", "--name=k", busybox(), "sleep", "1000"]).code(0);
    assert_eq!(done.err, "");
    assert_eq!(fs::metadata(deep.join("containers/k")).unwrap().mode() & 0o777, 0o700);
    at(&deep, &["rm", "-f", "k"]).code(0);
    // It cannot be made: the other folder does until the next boot, and that is said.
    fs::write(place.join("file"), "").unwrap();
    for bad in [place.join("file"), place.join("file/below"), PathBuf::from("/proc/nothing/here")] {
        at(&bad, &["ps", "-a"]).code(0);
        let done = at(&bad, &["run", "-d", "--name=k", busybox(), "sleep", "1000"]).code(0);
        assert!(done.err.starts_with("ctr: ") && done.err.contains("/run/ctr"), "{done:#?}");
        assert_eq!(done.err.lines().count(), 1, "{done:#?}");
        at(&bad, &["stop", "-t0", "k"]).code(0);
        at(&bad, &["start", "k"]).code(0);
        at(&bad, &["rm", "-f", "k"]).code(0);
    }
    host.same_soon();
}

#[test]
fn times_that_cannot_be() {
    let host = start();
    lasting("runs");
    let done = c(&["run", "--name=ended", busybox(), "sh", "-c", "echo one; echo two >&2; exit 5"]);
    assert_eq!(done.code, 5, "{done:#?}");
    c(&["create", "--name=new", busybox(), "true"]).code(0);
    let times = [
        "2099-12-31T23:59:59.999999999Z",
        "9999-12-31T23:59:59Z",
        "1970-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "99999-01-01T00:00:00Z",
        "2026-13-45T99:99:99Z",
        "yesterday",
        "",
        "-1",
    ];
    for time in times {
        for key in ["created", "started", "finished"] {
            for name in ["runs", "ended", "new"] {
                if recorded(name, key).is_some() || key == "created" {
                    edit(name, key, Some(time));
                }
            }
        }
        let sane = |done: &Done| {
            let odd = [" -1", " -2", "--", "1844674", "NaN"].iter().any(|odd| done.out.contains(odd));
            let odd = odd || done.out.chars().any(|c| c.is_control() && c != '\n');
            assert!(done.err.is_empty() && !odd, "{time:?}: {done:#?}");
        };
        let table = c(&["ps", "-a"]).code(0);
        sane(&table);
        assert_eq!(table.out.lines().count(), 4, "{time:?}: {table:#?}");
        let words = c(&["ps", "-a", "--format={{.Names}}: {{.RunningFor}}, {{.Status}}"]).code(0);
        sane(&words);
        for (name, status) in [("runs", "Up "), ("ended", "Exited (5) "), ("new", "Created")] {
            assert!(words.out.lines().any(|l| l.starts_with(name) && l.contains(status)), "{time:?}: {words:#?}");
        }
        let future = time.starts_with("2099") || time.starts_with("9999-");
        assert!(!future || words.out.contains("Less than a second"), "{time:?}: {words:#?}");
        c(&["inspect", "runs", "ended", "new"]).code(0);
        for since in ["1h", "2099-01-01T00:00:00Z", "1970-01-01", "0"] {
            let done = c(&["logs", "--since", since, "ended"]).code(0);
            let wanted = if since.starts_with("2099") { "" } else { "one\n" };
            assert_eq!(done.out, wanted, "{time:?} --since {since}: {done:#?}");
        }
        c(&["exec", "runs", "true"]).code(0);
    }
    // And a log from the future.
    let log = fs::read_to_string(path("ended").join("log")).unwrap();
    let year = log.get(..4).unwrap();
    fs::write(path("ended").join("log"), log.replace(&format!("{year}-"), "2099-")).unwrap();
    for (since, wanted) in [("1h", "one\n"), ("2100-01-01T00:00:00Z", "")] {
        assert_eq!(c(&["logs", "--since", since, "ended"]).code(0).out, wanted);
    }
    assert_eq!(c(&["logs", "--until", "1h", "ended"]).code(0).out, "");
    c(&["stop", "runs"]).code(0);
    c(&["start", "ended", "new"]).code(0);
    until("their ends", || listed().iter().all(|s| s.state == "exited").then_some(()));
    c(&["rm", "runs", "ended", "new"]).code(0);
    host.same_soon();
}

#[test]
fn a_process_that_only_has_the_number_is_never_signalled() {
    let host = start();
    let stranger = Live::start(Command::new("sleep").arg("1000"));
    let pid = stranger.pid();
    // The kernel says so of it; a handler or a stop would show.
    let unharmed = |what: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        assert!(stat.contains(") S "), "{what}: {stat}");
    };
    until("it sleeps", || {
        fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains("(sleep) S ").then_some(())
    });
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let ticks: u64 = stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse().unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned();
    let namespace = fs::metadata("/proc/self/ns/pid").unwrap().ino();
    let truths = [
        ("pid", pid.to_string()),
        ("ticks", ticks.to_string()),
        ("boot", boot),
        ("pid-namespace", namespace.to_string()),
    ];
    let lies: [(&str, Option<&str>); 9] = [
        ("ticks", Some("1")),
        ("ticks", Some("")),
        ("ticks", Some("-1")),
        ("ticks", None),
        ("boot", Some("251d565d-0000-4435-9776-0ccd5fe59953")),
        ("boot", None),
        ("pid-namespace", Some("4026531836")),
        ("pid-namespace", None),
        ("pid", Some("1")),
    ];
    let forge = |folder: &str, lie: Option<(&str, Option<&str>)>| {
        let at = format!("{folder}/containers/k/record");
        let text = fs::read_to_string(&at).unwrap();
        let keys = ["pid", "ticks", "boot", "pid-namespace", "state", "supervisor", "finished", "exit", "stopped"];
        let mut text: String = text
            .lines()
            .filter(|l| !keys.contains(&l.split(' ').next().unwrap()))
            .map(|l| format!("{l}\n"))
            .collect();
        text += &format!("state running\nsupervisor {pid}\n");
        for (key, value) in &truths {
            match lie {
                Some((about, None)) if about == *key => {}
                Some((about, Some(lie))) if about == *key => text += &format!("{key} {lie}\n"),
                _ => text += &format!("{key} {value}\n"),
            }
        }
        fs::write(at, text).unwrap();
    };
    for lie in lies {
        for words in [
            &["ps", "-a"][..],
            &["stop", "-t0", "k"],
            &["stop", "-t1", "k"],
            &["kill", "k"],
            &["kill", "-sSTOP", "k"],
            &["restart", "-t0", "k"],
            &["pause", "k"],
            &["exec", "k", "true"],
            &["rm", "k"],
            &["rm", "-f", "k"],
            &["prune", "-f"],
        ] {
            c(&["create", "--name=k", busybox(), "sleep", "1000"]).code(0);
            forge("/var/lib/ctr", Some(lie));
            let done = c(words);
            let what = format!("{lie:?} {words:?}: {done:#?}");
            unharmed(&what);
            assert!(matches!(done.code, 0 | 125), "{what}");
            let now = seen("k");
            // From another pid namespace nobody can tell whether it lives.
            let runs = words[0] == "restart" || lie.0 == "pid-namespace" && lie.1.is_some();
            assert!(now.as_ref().is_none_or(|s| runs || s.state == "exited"), "{what}: {now:?}");
            let done = c(&["rm", "-f", "k"]);
            unharmed(&what);
            assert!(done.code == 0 && !path("k").exists(), "nobody can remove it: {what} {done:#?}");
        }
        // One that is to end with its ctr run: whoever comes next would end it.
        fs::create_dir("/run/ctr/containers/k").unwrap();
        fs::write(
            "/run/ctr/containers/k/record",
            format!("ctr 1\nid {}\nguarded yes\nroot host\narg x\n", "5".repeat(64)),
        )
        .unwrap();
        forge("/run/ctr", Some(lie));
        c(&["ps", "-a"]).code(0);
        unharmed(&format!("guarded {lie:?}"));
        assert!(!Path::new("/run/ctr/containers/k").exists(), "{lie:?}");
    }
    // That this could have been seen: with no lie it is the container's.
    c(&["create", "--name=k", busybox(), "sleep", "1000"]).code(0);
    forge("/var/lib/ctr", None);
    let all = listed();
    assert!(all[0].state == "running" && all[0].pid == Some(pid), "{all:#?}");
    forge("/var/lib/ctr", Some(("ticks", Some("2"))));
    c(&["rm", "-f", "k"]).code(0);
    unharmed("the end");
    drop(stranger);
    host.same_soon();
}

/// Strangers' things where ranges of ids are leased: none is opened, followed or removed, nothing waits for one, and the range is
/// somebody else's.
#[test]
fn strangers_among_the_leases() {
    let host = start();
    let ids = Path::new("/run/ctr/ids");
    let place = Scratch::new("leases");
    let foreign = place.join("foreign");
    fs::write(&foreign, "keep me").unwrap();
    let _ = fs::remove_dir_all(ids);
    fs::create_dir(ids).unwrap();
    fs::write(ids.join("not a number"), "").unwrap();
    fs::write(ids.join("99999999999999999999"), "").unwrap();
    symlink(&foreign, ids.join("-1")).unwrap();
    let huge = fs::File::create(ids.join("0")).unwrap();
    huge.set_len(1 << 40).unwrap();
    fs::create_dir_all(ids.join("1/below")).unwrap();
    within(Command::new("mkfifo").arg(ids.join("2"))).code(0);
    // All but the last one, so that each kind is met on the way there.
    for number in 3..16_381 {
        let path = ids.join(number.to_string());
        match number % 3 {
            0 => fs::hard_link(ids.join("2"), path).unwrap(),
            1 => fs::hard_link(ids.join("0"), path).unwrap(),
            _ => fs::hard_link(ids.join("not a number"), path).unwrap(),
        }
    }
    let names =
        || fs::read_dir(ids).unwrap().flatten().map(|e| e.file_name()).collect::<std::collections::BTreeSet<_>>();
    let before = names();
    let own = ["run", "--rm", "--userns=required", busybox(), "cat", "/proc/self/uid_map"];
    let done = c(&own).code(0);
    let first: u32 = done.out.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!((first, done.err.as_str()), ((1 << 30) + 16_381 * 65_536, ""));
    assert_eq!(names(), before);
    fs::write(ids.join("16381"), "").unwrap();
    let done = refused(&own);
    assert!(done.err.contains("16382") && done.err.contains("/run/ctr/ids"), "{done:#?}");
    c(&["ps", "-a"]).code(0);
    assert_eq!(names().len(), before.len() + 1);
    fs::remove_dir_all(ids).unwrap();

    // The folder itself.
    fs::write(ids, "").unwrap();
    assert!(refused(&own).err.contains("/run/ctr/ids"));
    fs::remove_file(ids).unwrap();
    within(Command::new("mkfifo").arg(ids)).code(0);
    assert!(refused(&own).err.contains("/run/ctr/ids"));
    c(&["ps", "-a"]).code(0);
    fs::remove_file(ids).unwrap();
    symlink(place.path(), ids).unwrap();
    symlink("0".repeat(64), place.join("5")).unwrap();
    let _ = c(&own);
    assert!(c(&["ps", "-a"]).code(0).err.is_empty());
    assert_eq!(fs::read_to_string(&foreign).unwrap(), "keep me");
    assert!(fs::symlink_metadata(place.join("5")).is_ok());
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
    fs::remove_file(ids).unwrap();
    host.same_soon();
}

/// A copy of a container at rest has the id of one that runs by now, but not its range of ids.
#[test]
fn a_copy_at_rest_takes_no_range_away() {
    let host = start();
    let leases = || fs::read_dir("/run/ctr/ids").into_iter().flatten().count();
    c(&["create", "--name=k", "--userns=required", busybox(), "sleep", "1000"]).code(0);
    within(Command::new("cp").arg("-a").args([path("k"), path("copy")])).code(0);
    c(&["start", "k"]).code(0);
    assert_eq!(leases(), 1);
    c(&["ps", "-a"]).code(0);
    assert_eq!(leases(), 1, "ps");
    c(&["rm", "-f", "copy"]).code(0);
    assert_eq!(leases(), 1, "rm -f of the copy");
    c(&["rm", "-f", "k"]).code(0);
    assert_eq!(leases(), 0);
    host.same_soon();
}
