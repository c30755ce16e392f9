//! `ctr audit`: what it finds is what is there, in containers that are as they should be, in such that somebody opened from outside, and in
//! processes that ctr knows nothing of.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::exec::Resident;
use crate::kills::start;
use crate::support::{Done, Live, Scratch, busybox, busybox_root, ctr_path, plain, until, within};

/// A finding of the table: its sign, and what was found.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    sign: char,
    found: String,
}

/// What was said of one check.
#[track_caller]
fn finding(done: &Done, name: &str) -> Finding {
    let mut lines = done.out.lines().skip_while(|line| {
        let rest = line.strip_prefix(['✓', '!', '✗', '?']).and_then(|rest| rest.strip_prefix(' '));
        !rest.is_some_and(|rest| rest.starts_with(&format!("{name:<15}")))
    });
    let first = lines.next().unwrap_or_else(|| panic!("no {name} in {done:#?}"));
    let mut found = first.chars().skip(17).collect::<String>();
    for line in lines.take_while(|line| line.starts_with("                   ")) {
        found = format!("{found} {}", line.trim());
    }
    Finding { sign: first.chars().next().unwrap(), found }
}

#[track_caller]
fn audit(c: &Resident) -> Done {
    let done = within(&mut plain(["audit", &c.0]));
    assert!(done.code < 2 && done.err.is_empty(), "{done:#?}");
    // The exit code is what the table says.
    assert_eq!(done.code == 1, done.out.contains("\n✗ "), "{done:#?}");
    let last = done.out.lines().last().unwrap();
    assert!(last.starts_with(&format!("{}, process ", c.0)) && last.contains(" checks, "), "{done:#?}");
    done
}

#[track_caller]
fn says(done: &Done, name: &str, sign: char, words: &str) {
    let found = finding(done, name);
    assert!(
        found.sign == sign && found.found.contains(words),
        "{name}: {sign} {words:?} wanted, {found:?} in {done:#?}"
    );
}

/// `nsenter` into the mounts of a container, with all of the host's power.
#[track_caller]
fn behind_its_back(c: &Resident, script: &str) {
    let pid = c.pid().to_string();
    // Its own programs, after the namespace was entered: what the container's root has is no matter here.
    within(Command::new("nsenter").args(["-m", "-p", "-t", &pid, "--", "/bin/busybox", "sh", "-c", script])).code(0);
}

#[test]
fn a_container_as_it_should_be() {
    let host = start();
    for options in
        [&[][..], &["--userns=auto"], &["-u33"], &["--init"], &["--read-only"], &["--rw"], &["--userns=auto", "--rw"]]
    {
        let place = Scratch::new("audited");
        busybox_root(&place.join("root"));
        let root = place.join("root").display().to_string();
        let c = Resident::of("audited", options, &root, &["sleep", "1000"]);
        let done = audit(&c);
        assert_eq!(done.code, 0, "{options:?} {done:#?}");
        for (name, words) in [
            ("mounts", "its own"),
            ("processes", "its own"),
            ("network", "its own"),
            ("ipc", "its own"),
            ("hostname", "its own"),
            ("cgroups", "its own"),
            ("inheritable", "none"),
            ("no_new_privs", "on"),
            ("host paths", "at /etc/hosts"),
            ("propagation", "nothing travels"),
            ("hidden", ""),
            ("read-only", ""),
            ("nodes", "none of which"),
            ("descriptors", "none leads out"),
            ("sockets", "none"),
            ("environment", "none of a secret"),
            ("listening", "none"),
        ] {
            says(&done, name, '✓', words);
        }
        let mut quiet = plain(["audit", "-q", "--format=json"]);
        let json = within(quiet.arg(&c.0)).code(0).out;
        assert!(
            json.contains("\"Breached\": 0,") && json.contains("\"Unseen\": 0,") && !json.contains("\"good\""),
            "{json}"
        );
        let json = within(plain(["audit", "--format", "json"]).arg(&c.0)).code(0).out;
        assert!(json.contains("\"Container\": \"audited\"") && json.matches("\"Why\"").count() >= 40, "{json}");
        drop(c);
        host.same_soon();
    }
    host.same_soon();
}

#[test]
fn what_was_asked_for_is_seen() {
    let host = start();
    let place = Scratch::new("asked");
    fs::create_dir(place.join("data")).unwrap();
    std::os::unix::fs::symlink(place.join("data"), place.join("link")).unwrap();
    let data = place.join("data").display().to_string();
    let link = place.join("link").display().to_string();
    let rows: [(&[&str], &str, char, &str); 18] = [
        (&["--network=host", "--userns=host"], "network", '!', "the host's"),
        (&["--network=host", "--userns=host"], "listening", '!', "the host's"),
        (&["--pid=host", "--userns=host"], "processes", '!', "the host's"),
        (&["--ipc=host", "--userns=host"], "ipc", '!', "the host's"),
        (&["--uts=host", "--userns=host"], "hostname", '!', "the host's"),
        (&["--userns=host"], "users", '!', "the host's"),
        (&["--userns=host"], "capabilities", '✓', "the usual 14"),
        (&["--userns=auto"], "users", '✓', "its own"),
        (&["--userns=auto"], "id maps", '✓', "×65536"),
        (&["--userns=auto"], "ids", '✓', "outside"),
        (&["-v/etc:/x"], "host paths", '!', "/etc at /x"),
        (&["-v/etc:/x:ro"], "host paths", '✓', "/etc at /x (ro)"),
        (&["-v/etc/passwd:/x"], "host paths", '✓', "/etc/passwd at /x"),
        (&["-eDB_PASSWORD=hunter2", "-eTOKEN_FILE=/x"], "environment", '!', "DB_PASSWORD"),
        (&["--ulimit=nofile=10:20"], "resources", '✓', "nofile=10:20"),
        (&["--read-only"], "root", '✓', "read-only"),
        (&["-u33:33", "--userns=host"], "ids", '✓', "user 33, group 33"),
        (&["-u33", "--userns=host"], "capabilities", '✓', "the usual 14"),
    ];
    for (options, name, sign, words) in rows {
        let c = Resident::idle("asked", options);
        let done = audit(&c);
        assert_eq!(done.code, 0, "{options:?} {done:#?}");
        says(&done, name, sign, words);
        assert!(
            !done.out.contains("hunter2") && !finding(&done, "environment").found.contains("TOKEN_FILE"),
            "{done:#?}"
        );
        drop(c);
    }
    for from in [&data, &link] {
        let c = Resident::idle("asked", &[&format!("-v{from}:/x")]);
        says(&audit(&c), "host paths", '✓', &format!("{data} at /x"));
    }
    let c = Resident::new("asked", &[], &["sh", "-c", "nc -l -p 8080 & exec sleep 1000"]);
    until("it to listen", || finding(&audit(&c), "listening").found.contains(":8080").then_some(()));
    says(&audit(&c), "listening", '✓', ":8080");
    says(&audit(&c), "company", '✓', "2 processes");
    drop(c);
    host.same_soon();
}

/// A container that ends with its `run --rm` has a brief record, but all that was asked for is in it.
#[test]
fn what_was_asked_for_in_the_foreground_is_seen() {
    let host = start();
    let place = Scratch::new("fore");
    fs::create_dir(place.join("data")).unwrap();
    let data = place.join("data").display().to_string();
    let mount = format!("--mount=type=bind,source={data},target=/y,readonly");
    let own: [&str; 6] = ["-v./data:/x", &mount, "--read-only", "--tmpfs=/z", "--shm-size=1m", "--dns=192.0.2.1"];
    let shared = ["-v./data:/x", "--ipc=host", "--uts=host", "--userns=host"];
    for options in [&own[..], &shared] {
        let mut live = Live::start(
            plain(["run", "--rm", "--name=fore"])
                .args(options)
                .args([busybox(), "sh", "-c", "echo up; exec sleep 1000"])
                .current_dir(place.join("")),
        );
        live.hear("up");
        let c = Resident("fore".to_owned());
        let done = audit(&c);
        assert_eq!(done.code, 0, "{options:?} {done:#?}");
        says(&done, "host paths", '✓', &format!("{data} at /x"));
        let inspected = within(&mut plain(["inspect", "fore"])).code(0).out;
        assert!(inspected.contains(&format!("\"Source\": \"{}\"", place.join("./data").display())), "{inspected}");
        if options == own {
            says(&done, "host paths", '✓', &format!("{data} at /y (ro)"));
            says(&done, "root", '✓', "read-only");
            assert!(inspected.contains("\"ReadonlyRootfs\": true") && inspected.contains("\"ShmSize\": 1048576"));
        } else {
            says(&done, "ipc", '!', "the host's");
            says(&done, "hostname", '!', "the host's");
        }
        drop(c);
    }
    host.same_soon();
}

/// What somebody changes from outside, or in the record, is a breach: more than was asked for.
#[test]
fn what_was_not_asked_for_is_a_breach() {
    let host = start();
    let place = Scratch::new("breach");
    fs::write(place.join("file"), "").unwrap();
    // The container's root is a directory of the host's busybox; nsenter runs it.
    let rows: [(&[&str], &str, &str, &str); 8] = [
        (&[], "mount -o remount,bind,rw /sys", "read-only", "/sys"),
        (&[], "umount /proc/keys", "hidden", "/proc/keys"),
        (&[], "umount /proc/sys", "read-only", "/proc/sys"),
        (&[], "mkdir -p /mnt/d && mount -t tmpfs -o dev x /mnt/d", "nodev", "/mnt/d"),
        (&[], "mkdir -p /mnt/p && mount -t debugfs x /mnt/p", "kernel's own", "debugfs at /mnt/p"),
        (&["--read-only"], "mount -o remount,rw /", "root", "writable"),
        (
            &[],
            "mkdir -p /mnt/d && mount -t tmpfs -o dev x /mnt/d && mknod /mnt/d/x c 1 1 && touch /mnt/m && mount --bind /mnt/d/x /mnt/m",
            "nodes",
            "/mnt/m (character 1:1)",
        ),
        (&[], "mkdir -p /mnt/c && mount -t cgroup -o memory x /mnt/c", "kernel's own", "cgroup at /mnt/c"),
    ];
    for (options, script, name, words) in rows {
        let c = Resident::idle("opened", &[&["--userns=host"], options].concat());
        assert_eq!(audit(&c).code, 0, "{script}");
        behind_its_back(&c, script);
        let done = audit(&c);
        // Device rules forbid what a missing nodev would allow.
        if name == "nodev" && finding(&done, "rules").sign == '✓' {
            says(&done, name, '✓', words);
        } else {
            says(&done, name, '✗', words);
        }
        drop(c);
        host.same_soon();
    }
    // What the record does not say (any more).
    let file = place.join("file").display().to_string();
    let rows: [(&str, &str, &str, &str); 4] = [
        ("--network host", "network", "the host's", ""),
        ("--pid host", "processes", "the host's", ""),
        ("--ipc host", "ipc", "the host's", ""),
        ("--volume ", "host paths", &file, "/x"),
    ];
    for (line, name, words, _) in rows {
        let option = if line == "--volume " { format!("--volume={file}:/x") } else { line.replace(' ', "=") };
        let c = Resident::idle("forgotten", &["--userns=host", &option]);
        let record = c.dir().join("record");
        let text = fs::read_to_string(&record).unwrap();
        let kept: String = text.lines().filter(|l| !l.starts_with(line)).map(|l| format!("{l}\n")).collect();
        assert_ne!(text, kept);
        fs::write(&record, kept).unwrap();
        let done = audit(&c);
        says(&done, name, '✗', words);
        fs::write(&record, text).unwrap();
        drop(c);
        host.same_soon();
    }
    // A command that came in with more.
    let c = Resident::idle("visited", &["--userns=host"]);
    within(&mut c.command(&["-d", "--privileged", "@", "sleep", "1000"])).code(0);
    let done = until("it to be there", || Some(audit(&c)).filter(|done| done.code == 1));
    says(&done, "capabilities", '✗', "SYS_ADMIN");
    drop(c);
    host.same_soon();
}

/// What changes behind a container's back is seen: a kernel parameter, a limit, its group, a command without what holds the others.
#[test]
fn what_is_weakened_by_hand_is_found() {
    let host = start();
    let keys = [
        "net.ipv4.ip_forward=1",
        "net.ipv4.ping_group_range=0 10",
        "kernel.sem=1 2 3 4",
        "kernel.domainname=of.mine",
    ];
    for userns in ["--userns=host", "--userns=auto"] {
        let mut options: Vec<String> = keys.iter().map(|key| format!("--sysctl={key}")).collect();
        options.push(userns.to_owned());
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let c = Resident::idle("parameters", &options);
        says(&audit(&c), "sysctls", '✓', "ip_forward=1");
        let pid = c.pid().to_string();
        // As root in there: what belongs to its ipc namespace is for that one alone.
        let root: &[&str] = if userns == "--userns=auto" { &["-U", "-S0", "-G0"] } else { &[] };
        let inside = |script: &str| {
            let mut command = Command::new("nsenter");
            within(command.args(["-n", "-i", "-t", &pid]).args(root).args(["sh", "-c", script])).code(0);
        };
        inside("echo 0 >/proc/sys/net/ipv4/ip_forward");
        says(&audit(&c), "sysctls", '✗', "ip_forward=0");
        inside("echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 2 3 5 >/proc/sys/kernel/sem");
        says(&audit(&c), "sysctls", '✗', "kernel/sem=1 2 3 5");
        drop(c);
    }
    // Groups of v1 can be written to here without further ado; v2's files are compared by unit tests.
    let c = Resident::idle("raised", &["-m", "64m", "--pids-limit=50", "--cpus=0.5", "--cpu-shares=512"]);
    assert_eq!(audit(&c).code, 0);
    let id = c.ask("{{.Id}}");
    let raise = [
        ("memory", "memory.memsw.limit_in_bytes", "memory", "500m"),
        ("memory", "memory.limit_in_bytes", "memory", "300m"),
        ("pids", "pids.max", "processes", "60"),
        ("cpu", "cpu.cfs_quota_us", "cpu", "60000"),
        ("cpu", "cpu.shares", "weights", "1024"),
    ];
    for (controller, file, name, value) in raise {
        let file = Path::new("/sys/fs/cgroup").join(controller).join("ctr").join(&id).join(file);
        if file.exists() {
            fs::write(file, value).unwrap();
            if value != "500m" {
                // Not by finding(): a check of the namespaces is called processes too.
                let done = audit(&c);
                assert!(done.out.contains(&format!("\n✗ {name} ")), "{name} {done:#?}");
            }
        }
    }
    let top = Path::new("/sys/fs/cgroup/memory");
    if top.join("ctr").join(&id).exists() {
        says(&audit(&c), "group", '✓', &id);
        fs::write(top.join("ctr/cgroup.procs"), c.pid().to_string()).unwrap();
        says(&audit(&c), "group", '✗', "of memory");
    }
    drop(c);
    // A process that came in by another way: no filter, no no_new_privs, all of root's power.
    let c = Resident::idle("entered", &["--userns=host"]);
    assert_eq!(audit(&c).code, 0);
    let pid = c.pid().to_string();
    let guest = Live::start(Command::new("nsenter").args(["-a", "-t", &pid, "sleep", "1000"]));
    let done = until("it to be there", || Some(audit(&c)).filter(|done| done.code == 1));
    for name in ["no_new_privs", "seccomp", "capabilities"] {
        assert_eq!(finding(&done, name).sign, '✗', "{name} {done:#?}");
    }
    drop(c);
    drop(guest);
    host.same_soon();
}

/// Limits as they work: the smallest up the tree.
#[test]
fn limits_are_those_that_work() {
    let host = start();
    let c = Resident::idle("limited", &[]);
    let group = fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
    let path = |controller: &str| {
        group.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            (parts.next()?.split(',').any(|name| name == controller)).then(|| parts.next().map(str::to_owned))?
        })
    };
    // v1 alone can be written without anybody's leave; in v2 a controller must have been switched on.
    let memory = path("memory").map(|path| Path::new("/sys/fs/cgroup/memory").join(path.trim_start_matches('/')));
    if let Some(own) =
        memory.filter(|own| own.join("memory.limit_in_bytes").exists() && own.ends_with(c.ask("{{.Id}}")))
    {
        says(&audit(&c), "memory", '!', "no limit");
        fs::write(own.join("memory.limit_in_bytes"), "100m").unwrap();
        says(&audit(&c), "memory", '✓', "100m");
    }
    says(&audit(&c), "group", '✓', &c.ask("{{.Id}}"));
    drop(c);
    host.same_soon();
}

/// Processes that ctr knows nothing of.
#[test]
fn any_process() {
    let host = start();
    let of = |pid: u32| within(&mut plain(["audit".to_owned(), "--pid".to_owned(), pid.to_string()]));
    // One of the host's own: nothing is between.
    let open = Live::start(Command::new("sleep").arg("1000"));
    let done = of(open.pid() as u32).code(1);
    for name in ["mounts", "processes", "network", "ipc", "capabilities", "read-only", "root", "nodes"] {
        assert_eq!(finding(&done, name).sign, '✗', "{name} {done:#?}");
    }
    open.signal(libc::SIGKILL);
    open.done();
    // One that was confined by hand, and has a directory of the host left.
    let pid_of = |live: &Live, name: &str| {
        until(name, || {
            let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", live.pid())).ok()?;
            let all: Vec<u32> = children.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            all.into_iter()
                .chain([live.pid() as u32])
                .find(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name))
        })
    };
    let script =
        "exec 7</etc; exec unshare --mount --pid --net --ipc --uts --fork --mount-proc --kill-child sleep 1000";
    let confined = Live::start(Command::new("sh").args(["-c", script]));
    let pid = pid_of(&confined, "sleep");
    let done = of(pid).code(1);
    for name in ["mounts", "processes", "network", "ipc", "hostname"] {
        assert_eq!(finding(&done, name).sign, '✓', "{name} {done:#?}");
    }
    says(&done, "descriptors", '✗', &format!("7 of {pid} (sleep) is /etc"));
    says(&done, "capabilities", '✗', "SYS_ADMIN");
    confined.signal(libc::SIGKILL);
    confined.done();
    // With a user namespace, and an ordinary user who looks himself.
    let mut words = vec![
        "--reuid=12345",
        "--regid=12345",
        "--clear-groups",
        "--",
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "--pid",
    ];
    words.extend(["--net", "--ipc", "--fork", "--kill-child", "sleep", "1000"]);
    let own = Live::start(Command::new("setpriv").args(&words));
    let pid = pid_of(&own, "sleep");
    let done = of(pid);
    says(&done, "users", '✓', "its own");
    says(&done, "id maps", '✓', "0→12345 ×1");
    let himself = within(
        Command::new("setpriv")
            .args(["--reuid=12345", "--regid=12345", "--clear-groups", "--"])
            .arg(ctr_path())
            .args(["audit", "--pid", &pid.to_string()]),
    );
    assert!(himself.code < 2 && himself.err.is_empty(), "{himself:#?}");
    says(&himself, "users", '✓', "its own");
    own.signal(libc::SIGKILL);
    own.done();
    host.same_soon();
}

/// Who may not look is told what he did not see, and nothing is guessed.
#[test]
fn without_root() {
    let host = start();
    let c = Resident::idle("hidden", &[]);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(ctr_path());
    let done = within(command.args(["audit", "--pid", &c.pid().to_string()])).code(0);
    for name in
        ["mounts", "processes", "network", "hidden", "read-only", "nodes", "nodev", "descriptors", "environment"]
    {
        says(&done, name, '?', "only root may look");
    }
    assert!(!done.out.contains("✗ "), "{done:#?}");
    assert!(done.out.lines().last().unwrap().contains(" not to be seen"), "{done:#?}");
    drop(c);
    host.same_soon();
}

/// Nothing that a container does makes the auditor wait, fall, or draw something else than the table.
#[test]
fn a_hostile_container() {
    let host = start();
    let place = Scratch::new("hostile-audit");
    let root = place.join("root");
    busybox_root(&root);
    let evil = OsStr::from_bytes(b"e\x1b[2J\nvil\xff");
    fs::copy("/bin/busybox", root.join("bin").join(evil)).unwrap();
    let script = "mkfifo /dev/pipe /dev/shm/pipe; mkdir -p '/dev/shm/a/b/c/d/e/f/g/h/i'; ln -s /proc/1/root /dev/self; \
                  ln -s ../../../../../../etc /dev/up; ln -s /dev/loop /dev/loop; \
                  n=0; while [ $n -lt 300 ]; do : >\"/dev/shm/$n\"; n=$((n+1)); done; \
                  printf 'x\\033]0;owned\\007' >/proc/self/comm 2>/dev/null; \
                  exec 5<>/dev/pipe 6</dev/self/etc 8</etc 9<>/dev/shm/1; \
                  /bin/e*vil* sleep 1000 & mkdir '/tmp/'$(printf 'a\\033[31m\\nb'); cd /tmp/a*; echo up; \
                  export BIG=$(head -c 100000 /dev/zero | tr '\\0' x); exec env \"$(printf 'PASSWORD_\\033[2J=x')\" sleep 1000";
    for options in [&["--userns=host"][..], &["--userns=auto"], &["--userns=host", "--rw"]] {
        let text = root.display().to_string();
        let c = Resident::of("hostile-audit", options, &text, &["sh", "-c", script]);
        until("it to be up", || c.verb(&["logs"]).out.contains("up").then_some(()));
        for words in [&["audit"][..], &["audit", "--format=json"], &["audit", "-q"]] {
            let done = within(plain(words).arg(&c.0)).code(0);
            assert!(!done.out.chars().any(|c| c.is_control() && c != '\n'), "{options:?} {:?}", done.out);
            assert!(!done.out.contains("/dev/loop (") && done.err.is_empty(), "{done:#?}");
        }
        says(&audit(&c), "environment", '!', "PASSWORD_\\u{1b}[2J");
        drop(c);
        host.same_soon();
    }
    // One that ends meanwhile, again and again.
    let (mut told, mut found) = (0, 0);
    for _ in 0..60 {
        let mut short = Command::new("unshare");
        short.args([
            "--pid",
            "--mount",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            "sleep 0.02 & sleep 0.01",
        ]);
        let mut child = short.stdout(Stdio::null()).spawn().unwrap();
        let done = within(&mut plain(["audit".to_owned(), "--pid".into(), child.id().to_string()]));
        match done.code {
            0 | 1 => found += 1,
            _ => told += u32::from(done.refused(&["ended"]).code == 125),
        }
        child.wait().unwrap();
    }
    assert_eq!(told + found, 60);
    host.same_soon();
}

#[test]
fn bad_words() {
    let host = start();
    let refused = |words: &[&str], why: &[&str]| within(plain(["audit"]).args(words)).refused(why);
    refused(&[], &["no CONTAINER", "ctr audit web"]);
    refused(&["a", "b"], &["one CONTAINER"]);
    refused(&["nosuch"], &["no container \"nosuch\""]);
    refused(&["--pid", "1", "web"], &["--pid and CONTAINER"]);
    for pid in ["0", "-1", "x", "", "4294967296", "2147483648", "99999999999999999999", "1.5", " 1"] {
        refused(&[&format!("--pid={pid}")], &["bad --pid", "such as"]);
    }
    refused(&["--pid", "2147483647"], &["no process 2147483647"]);
    refused(&["--format", "xml", "web"], &["bad --format", "table or json"]);
    refused(&["--fromat", "json", "web"], &["--format"]);
    let c = Resident::new("ended", &[], &["true"]);
    until("its end", || (c.ask("{{.State.Status}}") == "exited").then_some(()));
    refused(&["ended"], &["is not running", "ctr start ended"]);
    drop(c);
    // A paused one can be looked at.
    let c = Resident::idle("frozen", &[]);
    c.verb(&["pause"]);
    assert_eq!(audit(&c).code, 0);
    c.verb(&["unpause"]);
    drop(c);
    host.same_soon();
}
