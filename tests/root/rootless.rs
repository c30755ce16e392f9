//! ctr for an ordinary user: root inside, himself outside, and nothing more.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::kills::start;
use crate::support::{Done, Scratch, busybox_root, ctr_path, within};
use crate::tracer::{settings, terminal, trace};

/// Nobody in particular.
const USER: u32 = 12345;

/// A place that belongs to the user, with a root filesystem that belongs to root.
struct Place {
    scratch: Scratch,
    root: String,
}

impl Place {
    fn new(name: &str) -> Place {
        let scratch = Scratch::new(name);
        let root = scratch.join("root");
        busybox_root(&root);
        for dir in ["home", "run"] {
            fs::create_dir(scratch.join(dir)).unwrap();
            chown(scratch.join(dir), Some(USER), Some(USER)).unwrap();
        }
        Place { root: root.display().to_string(), scratch }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// `ctr run WORDS…` as the user.
    fn command<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(ctr_path());
        command.args(["run", "--rm"]).args(words).uid(USER).gid(USER).current_dir(self.path("home"));
        command.env("HOME", self.path("home")).env("XDG_RUNTIME_DIR", self.path("run"));
        command
    }

    fn run<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Done {
        within(&mut self.command(words))
    }

    /// `ctr run OPTIONS ROOT sh -c SCRIPT` as the user.
    #[track_caller]
    fn says(&self, options: &[&str], script: &str) -> String {
        let words = options.iter().copied().chain([self.root.as_str(), "sh", "-c", script]);
        let done = self.run(words).code(0);
        assert_eq!(done.err, "", "{options:?} {script}");
        done.out
    }

    #[track_caller]
    fn nothing_left(&self) {
        let left: Vec<_> = fs::read_dir(self.path("run/ctr/containers")).into_iter().flatten().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn root_inside_and_himself_outside() {
    let host = start();
    let place = Place::new("rootless");
    assert_eq!(
        place.says(&[], "id -u; id -g; whoami; cat /proc/self/uid_map | tr -s ' '"),
        format!("0\n0\nroot\n 0 {USER} 1\n")
    );
    // He made it, and nobody else.
    let volume = format!("-v{}:/v", place.path("home").display());
    assert_eq!(
        place.says(&[&volume], "echo mine >/v/file; stat -c %u:%g /v/file /v; ls -ld /v | cut -c1-10"),
        "0:0\n0:0\ndrwxr-xr-x\n"
    );
    let m = place.path("home/file").metadata().unwrap();
    assert_eq!((m.uid(), m.gid(), m.mode() & 0o7777), (USER, USER, 0o644));
    assert_eq!(place.says(&[&format!("{volume}:ro")], "cat /v/file; touch /v/new 2>&- || echo no"), "mine\nno\n");
    // Written to a layer, not to the root: which he may not write to either.
    assert_eq!(place.says(&[], "echo x >/new; rm /etc/passwd; mkdir /etc/dir; ls /new"), "/new\n");
    assert!(!place.path("root/new").exists() && place.path("root/etc/passwd").exists());
    // Somebody else's file stays somebody else's.
    fs::write(place.path("home/secret"), "of root").unwrap();
    fs::set_permissions(place.path("home/secret"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(
        place.says(
            &[&volume],
            "cat /v/secret 2>&- || echo no; chown 0:0 /v/secret 2>&- || echo no; chmod 777 /v/secret 2>&- || echo no"
        ),
        "no\nno\nno\n"
    );
    // Only his own id is there to be had.
    assert_eq!(place.says(&[], "chown 33:33 /tmp 2>&- || echo no; su web -c id 2>&- || echo no"), "no\nno\n");
    place.nothing_left();
    host.same();
}

/// newuidmap(1) gives who is in /etc/subuid more ids than his own, when he asks for them.
#[test]
fn a_range_of_ids_through_newuidmap() {
    let host = start();
    let place = Place::new("rootless-range");
    let with = |name: &str, line: &str| {
        let path = place.path(&name.replace('/', "_"));
        fs::write(&path, fs::read_to_string(name).unwrap_or_default() + line).unwrap();
        if !Path::new(name).exists() {
            fs::write(name, "").unwrap();
        }
        within(Command::new("mount").arg("--bind").arg(&path).arg(name)).code(0);
        name.to_owned()
    };
    // In the tests' own mount namespace.
    let mut mounts = vec![with("/etc/passwd", &format!("somebody:x:{USER}:{USER}::/:/bin/sh\n"))];
    let maps: Vec<String> = ["uid", "gid"]
        .iter()
        .flat_map(|kind| [format!("--{kind}map=0:{USER}:1"), format!("--{kind}map=1:700000:65535")])
        .collect();
    let maps: Vec<&str> = maps.iter().map(String::as_str).collect();
    let words = |more: &[&'static str]| [&maps[..], more, &[place.root.as_str()]].concat();
    // Nobody gave him that.
    let done = place.run([&words(&[])[..], &["true"]].concat()).code(125);
    assert!(done.err.contains("newuidmap") && done.err.lines().count() == 1, "{done:#?}");
    for name in ["/etc/subuid", "/etc/subgid"] {
        mounts.push(with(name, "somebody:700000:65535\n"));
    }
    let script = "tr -s ' ' </proc/self/uid_map; id -u; touch /dev/shm/a; chown 33:33 /dev/shm/a; stat -c %u:%g /dev/shm/a; chmod 0 /dev/shm/a; \
        mkdir -m 700 /dev/shm/own; chown 33 /dev/shm/own; ls /dev/shm/own; id -G";
    let done = place.run([&words(&[])[..], &["sh", "-c", script]].concat()).code(0);
    assert_eq!(done.out, format!(" 0 {USER} 1\n 1 700000 65535\n0\n33:33\n0\n"), "{done:#?}");
    let done = place.run(
        [&words(&["-u33:44"])[..], &["sh", "-c", "id -u; id -g; grep -E '^Cap(Prm|Bnd)' /proc/self/status"]].concat(),
    );
    assert!(done.out.starts_with("33\n44\nCapPrm:\t0000000000000000\n"), "{done:#?}");
    // What is his outside is root's inside; others' is nobody's.
    let volume = format!("-v{}:/v", place.path("home").display());
    let script = "echo x >/v/mine; touch /v/theirs; chown 33 /v/theirs; stat -c %u /v/mine /v/theirs /bin";
    let done = place.run([&[volume.as_str()], &words(&[])[..], &["sh", "-c", script]].concat()).code(0);
    assert_eq!(done.out, "0\n33\n65534\n");
    let owner = |name: &str| place.path("home").join(name).metadata().unwrap().uid();
    assert_eq!((owner("mine"), owner("theirs")), (USER, 700_032));
    // Only what ends with its ctr.
    let mut lasting = Command::new(ctr_path());
    lasting.args(["create"]).args(words(&[])).arg("true").uid(USER).gid(USER).current_dir(place.path("home"));
    lasting.env("HOME", place.path("home")).env("XDG_RUNTIME_DIR", place.path("run"));
    within(&mut lasting).refused(&["--rm"]);
    for name in mounts.iter().rev() {
        within(Command::new("umount").arg(name)).code(0);
    }
    place.nothing_left();
    host.same();
}

#[test]
fn what_takes_root_is_refused() {
    let host = start();
    let place = Place::new("rootless-refused");
    let root = &place.root;
    place.run(["host", "true"]).refused(&["host", "root"]);
    place.run(["--userns=host", root, "true"]).refused(&["--userns"]);
    place.run(["-u33", root, "id"]).refused(&["33"]);
    place.run(["-uweb", root, "id"]).refused(&["33"]);
    place.run(["-u0:33", root, "id"]).refused(&["33"]);
    place.run(["-u2147483648", root, "id"]).refused(&["2147483648"]);
    // What he may not read he may not run either, nor mount.
    fs::create_dir(place.path("private")).unwrap();
    fs::set_permissions(place.path("private"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(place.path("private/below")).unwrap();
    for dir in ["private/below", "private"] {
        let path = place.path(dir).display().to_string();
        let done = place.run([&path, "true"]);
        assert!((125..=127).contains(&done.code) && done.err.starts_with("ctr: "), "{done:#?}");
        let done = place.run([&format!("-v{path}:/v"), root, "ls", "/v"]);
        assert!(done.code != 0 && done.out.is_empty(), "{done:#?}");
    }
    place.nothing_left();
    host.same();
}

#[test]
fn options_work_for_a_user_too() {
    let host = start();
    let place = Place::new("rootless-options");
    assert_eq!(
        place.says(
            &["--read-only"],
            "touch /x 2>&- || echo no; touch /tmp/x 2>&- || echo no; touch /dev/shm/x && echo shm"
        ),
        "no\nno\nshm\n"
    );
    assert_eq!(
        place.says(&["--init"], "tr '\\0' ' ' </proc/1/cmdline | cut -d' ' -f1; [ $$ -gt 1 ] && echo child"),
        "ctr-init\nchild\n"
    );
    assert_eq!(
        place.says(&["--tmpfs=/t", "-w/t", "-eA=b", "-hname"], "pwd; echo $A; hostname; touch x && ls"),
        "/t\nb\nname\nx\n"
    );
    assert_eq!(
        place.says(
            &["--ulimit=nofile=64", "--shm-size=1m"],
            "ulimit -n; df /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2"
        ),
        "64\n1024\n"
    );
    assert_eq!(place.says(&[], "ls /sys/class/net; ping -c1 -w1 127.0.0.1 >/dev/null 2>&1; echo $$"), "lo\n1\n");
    assert_eq!(place.says(&["-u0:0"], "id -u"), "0\n");
    assert_eq!(place.says(&["--userns=auto"], "id -u"), "0\n");
    // The host's network he has anyway.
    assert_eq!(place.says(&["--network=host"], "id -u"), "0\n");
    for option in ["--ipc=host", "--uts=host", "--pid=host"] {
        let done = place.run([option, &place.root, "id", "-u"]);
        assert!(done.code == 0 || (done.code == 125 && done.err.starts_with("ctr: --")), "{done:#?}");
    }
    // The directory itself, if it is his.
    let own = place.path("home/root");
    busybox_root(&own);
    within(Command::new("chown").args(["-R", &format!("{USER}:{USER}")]).arg(&own)).code(0);
    place.run(["--rw", own.to_str().unwrap(), "sh", "-c", "echo kept >/kept; chmod 600 /etc/group"]).code(0);
    let m = own.join("kept").metadata().unwrap();
    assert_eq!((m.uid(), fs::read_to_string(own.join("kept")).unwrap().as_str()), (USER, "kept\n"));
    // And if it is not, it stays as it is.
    let done = place.run(["--rw", &place.root, "sh", "-c", "echo kept >/kept"]);
    assert!(done.code != 0 && !place.path("root/kept").exists(), "{done:#?}");
    for (code, script) in [(3, "exit 3"), (143, "kill -TERM $$; sleep 9"), (127, "nothing-of-this-name")] {
        place.run([&place.root, "sh", "-c", &format!("trap 'exit 143' TERM; {script}")]).code(code);
    }
    place.run([&place.root, "nothing-of-this-name"]).code(127);
    place.nothing_left();
    host.same();
}

#[test]
fn a_terminal_for_a_user() {
    let host = start();
    let place = Place::new("rootless-tty");
    let (_person, program) = terminal();
    let before = settings(&program);
    let mut command = place.command([
        "-it",
        &place.root,
        "sh",
        "-c",
        "tty; test -t 0 && test -t 1 && test -t 2 && echo all three; stat -c %u $(tty)",
    ]);
    let traced = trace(command.stdin(Stdio::from(program.try_clone().unwrap())), None);
    assert!(!traced.hung && traced.done.code == 0, "{traced:#?}");
    assert_eq!(traced.done.out, "/dev/pts/0\r\nall three\r\n0\r\n");
    assert_eq!(settings(&program), before);
    place.nothing_left();
    host.same();
}

/// Nothing that he could not do himself; and the powers he has inside are over nothing that is not his.
#[test]
fn a_user_gains_nothing() {
    let host = start();
    let place = Place::new("rootless-powers");
    let status = place.says(&[], "grep -E '^(Cap|NoNewPrivs|Groups)' /proc/self/status | tr -s '\\t ' ' '");
    for line in ["CapInh: 0000000000000000", "CapBnd: 00000000a80425fb", "CapEff: 00000000a80425fb", "NoNewPrivs: 1"]
    {
        assert!(status.contains(line), "{line}: {status}");
    }
    // A program with set-user-id bits that belongs to root.
    let suid = place.path("root/bin/id");
    fs::remove_file(&suid).unwrap();
    fs::copy("/bin/busybox", &suid).unwrap();
    fs::set_permissions(&suid, fs::Permissions::from_mode(0o4755)).unwrap();
    assert_eq!(place.says(&[], "id -u; cat /proc/self/setgroups"), "0\ndeny\n");
    let out = place.says(
        &[],
        "mknod /tmp/x b 7 0 2>&- && echo node; mount -t tmpfs x /tmp 2>&- && echo mounted; umount /proc/sys 2>&- && echo uncovered; \
         echo 1 2>&- >/proc/sys/vm/drop_caches && echo wrote; hostname evil 2>&- && echo named; chroot / true && echo chroot",
    );
    assert_eq!(out, "chroot\n");
    place.nothing_left();
    host.same();
}

/// Without XDG_RUNTIME_DIR the records are in /tmp, where others may have been first.
#[test]
fn a_state_that_others_prepared_is_not_used() {
    let host = start();
    let place = Place::new("rootless-state");
    let state = PathBuf::from(format!("/tmp/ctr-{USER}"));
    let gone = |path: &Path| drop(fs::remove_dir_all(path).or_else(|_| fs::remove_file(path)));
    let run = || {
        let mut command = place.command([place.root.as_str(), "true"]);
        within(command.env_remove("XDG_RUNTIME_DIR"))
    };
    gone(&state);
    run().code(0);
    let m = state.symlink_metadata().expect("records in /tmp");
    assert_eq!((m.mode() & 0o7777, m.uid()), (0o700, USER));
    assert_eq!(fs::read_dir(state.join("containers")).unwrap().count(), 0);
    // Somebody else's directory; a link to somewhere; a file; his own that everybody may write to.
    let trap = place.path("trap");
    fs::create_dir_all(trap.join("containers/old")).unwrap();
    fs::write(trap.join("containers/old/file"), "canary").unwrap();
    for owner in [0, USER + 1, USER] {
        gone(&state);
        within(Command::new("cp").arg("-r").arg(&trap).arg(&state)).code(0);
        fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
        within(Command::new("chown").args(["-R", &owner.to_string()]).arg(&state)).code(0);
        let done = run();
        if owner == USER {
            assert!(done.code == 125 || state.metadata().unwrap().mode() & 0o77 == 0, "{done:#?}");
        } else {
            done.refused(&["/tmp/ctr-12345"]);
            assert_eq!(fs::read_to_string(state.join("containers/old/file")).unwrap(), "canary");
        }
    }
    for to in [trap.clone(), place.path("home"), place.path("nowhere")] {
        gone(&state);
        chown(&trap, Some(USER), Some(USER)).unwrap();
        symlink(&to, &state).unwrap();
        run().refused(&["/tmp/ctr-12345"]);
        assert_eq!(fs::read_to_string(trap.join("containers/old/file")).unwrap(), "canary");
        assert!(!place.path("home/containers").exists() && !place.path("nowhere").exists());
    }
    gone(&state);
    fs::write(&state, "a file").unwrap();
    run().refused(&["/tmp/ctr-12345"]);
    gone(&state);
    host.same();
}
