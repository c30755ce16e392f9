//! User namespaces of root's containers: whose ids they are, that nobody else has them, that files look right on both sides, and what
//! happens where there can be none.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::exec::Resident;
use crate::support::{Done, Host, Scratch, busybox, busybox_root, ctr, plain, until, within};

/// Where ranges are leased.
const IDS: &str = "/run/ctr/ids";

/// `ctr run --rm WORDS…`.
fn run(words: &[&str]) -> Done {
    within(&mut ctr([&["run"], words].concat()))
}

/// Ranges in use, and whose they are.
fn leases() -> Vec<(String, String)> {
    let mut all: Vec<_> = fs::read_dir(IDS)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| {
            let owner = fs::read_link(entry.path()).unwrap().display().to_string();
            (entry.file_name().into_string().unwrap(), owner)
        })
        .collect();
    all.sort();
    all
}

/// The first user id outside, by what the kernel says of a process inside.
fn first(map: &str) -> u32 {
    map.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Without the leases of those that other tests killed at the worst moment, or whose system calls failed.
fn begin() -> Host {
    let host = Host::before();
    let _ = fs::remove_dir_all(IDS);
    host
}

const OWN: &[&str] = &["--userns=required"];

#[test]
fn two_containers_have_different_ids_and_give_them_back() {
    let host = begin();
    let one = Resident::idle("ids-one", OWN);
    let two = Resident::idle("ids-two", OWN);
    let maps = [&one, &two].map(|c| c.says(&[], "cat /proc/self/uid_map"));
    let ids = [&one, &two].map(|c| c.ask("{{.Id}}"));
    assert!(first(&maps[0]).abs_diff(first(&maps[1])) >= 65536, "{maps:?}");
    for (map, id) in maps.iter().zip(&ids) {
        let number = (first(map) - (1 << 30)) / 65536;
        assert_eq!(fs::read_link(Path::new(IDS).join(number.to_string())).unwrap().display().to_string(), *id);
    }
    // One in the foreground has a range as long as it runs.
    assert_eq!(leases().len(), 2);
    run(&["--userns=required", busybox(), "true"]).code(0);
    run(&["--userns=required", busybox(), "false"]).code(1);
    run(&["--userns=required", busybox(), "no-such-program"]).code(127);
    assert_eq!(leases().len(), 2);
    // At rest it has none, and its files are its own whichever it gets next: here its usual one is taken.
    one.says(&[], "echo kept >/kept; chown 5:6 /kept; mkdir /dir; chown 7 /dir");
    let usual = leases().into_iter().find(|(_, id)| *id == ids[0]).unwrap().0;
    one.verb(&["stop", "-t0"]);
    assert_eq!(leases().len(), 1);
    symlink(&ids[1], Path::new(IDS).join(&usual)).unwrap();
    one.verb(&["start"]);
    let now = one.says(&[], "cat /proc/self/uid_map");
    assert_ne!(first(&now), first(&maps[0]));
    assert_eq!(one.says(&[], "stat -c %u:%g /kept /dir; cat /kept"), "5:6\n7:0\nkept\n");
    drop((one, two));
    fs::remove_file(Path::new(IDS).join(&usual)).unwrap();
    assert_eq!(leases(), []);
    host.same();
}

#[test]
fn what_killed_ones_had_is_given_back() {
    let host = begin();
    // In the foreground.
    let mut child = ctr(["run", "--userns=required", busybox(), "sleep", "1000"]).spawn().unwrap();
    until("a lease", || leases().first().cloned());
    until("a record", || {
        let containers = fs::read_dir("/run/ctr/containers").ok()?.flatten();
        containers.map(|c| c.path().join("record")).find(|record| record.exists())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    until("its lease to be given back", || {
        within(&mut plain(["ps"])).code(0);
        leases().is_empty().then_some(())
    });
    // A supervisor: its container lives on, and so does the lease.
    let c = Resident::idle("ids-orphan", OWN);
    let pid = c.pid();
    let supervisor: i32 = c.ask("{{.Supervisor.Pid}}").parse().unwrap();
    within(Command::new("kill").args(["-9", &supervisor.to_string()])).code(0);
    until("its end", || (!Path::new(&format!("/proc/{supervisor}")).exists()).then_some(()));
    within(&mut plain(["ps"])).code(0);
    assert_eq!(leases().len(), 1);
    within(Command::new("kill").args(["-9", &pid.to_string()])).code(0);
    until("its end", || (c.ask("{{.State.Status}}") == "exited").then_some(()));
    assert_eq!(leases(), []);
    c.verb(&["start"]);
    assert_eq!(leases().len(), 1);
    drop(c);
    assert_eq!(leases(), []);
    host.same();
}

#[test]
fn when_all_ranges_are_taken() {
    let host = begin();
    let c = Resident::idle("ids-all", OWN);
    let id = c.ask("{{.Id}}");
    let before = leases();
    // Of containers that nobody knows: they are given back.
    let fill = |id: &str| {
        for number in 0..16_382 {
            let _ = symlink(id, Path::new(IDS).join(number.to_string()));
        }
    };
    fill(&"0".repeat(64));
    run(&["--userns=required", busybox(), "true"]).code(0);
    assert_eq!(leases(), before);
    // Of one that lives: they are not.
    fill(&id);
    for mode in ["--userns=required", "--userns=auto"] {
        run(&[mode, busybox(), "true"]).refused(&["16382", IDS, "--userns host"]);
    }
    let done = within(plain(["run", "-d", "--name=none-left", "--userns=required", busybox(), "true"]).env("X", "y"));
    done.refused(&["16382"]);
    assert_eq!(leases().len(), 16_382);
    run(&["--userns=host", busybox(), "true"]).code(0);
    drop(c);
    fill(&id);
    run(&["--userns=required", busybox(), "true"]).code(0);
    assert_eq!(leases(), []);
    let _ = within(&mut plain(["rm", "-f", "none-left"]));
    host.same();
}

#[test]
fn root_inside_is_nobody_outside() {
    let host = begin();
    let place = Scratch::new("ids-nobody");
    let volume = place.join("v");
    fs::create_dir(&volume).unwrap();
    // Of the host's root, of somebody who exists inside, of somebody who does not.
    for (name, owner) in [("root", 0), ("user", 1000), ("beyond", 70_000)] {
        fs::write(volume.join(name), "secret\n").unwrap();
        fs::set_permissions(volume.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        chown(volume.join(name), Some(owner), Some(owner)).unwrap();
    }
    let mut sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
    let c = Resident::idle("nobody", &["--userns=required", "-v", &format!("{}:/v", volume.display())]);
    // Seen from the host, no process and no file in memory of its is anybody's.
    let outside = first(&fs::read_to_string(format!("/proc/{}/uid_map", c.pid())).unwrap());
    assert_eq!(fs::metadata(format!("/proc/{}", c.pid())).unwrap().uid(), outside);
    // Files look right on both sides.
    assert_eq!(c.says(&[], "cd /v; stat -c '%n %u:%g' *"), "beyond 65534:65534\nroot 0:0\nuser 1000:1000\n");
    assert_eq!(
        c.says(&[], "cat /v/root; cat /v/beyond 2>&- || echo no; chown 0 /v/beyond 2>&- || echo no"),
        "secret\nno\nno\n"
    );
    // Who is somebody else inside has no more of them.
    assert_eq!(
        c.says(&["-u1000"], "cat /v/user; cat /v/root 2>&- || echo no; cat /v/beyond 2>&- || echo no"),
        "secret\nno\nno\n"
    );
    c.says(&[], "echo new >/v/new; echo mine >/v/mine; chown 1000:33 /v/mine; mkdir /v/dir");
    let owner = |name: &str| volume.join(name).metadata().map(|m| (m.uid(), m.gid())).unwrap();
    assert_eq!((owner("new"), owner("mine"), owner("dir")), ((0, 0), (1000, 33), (0, 0)));
    // No power over what is outside, nor over what its namespaces do not own.
    for script in [
        format!("kill -9 {}", sleeper.id()),
        "echo 1 >/proc/sys/kernel/panic".into(),
        "mknod /v/disk b 8 0".into(),
        "umount /proc/acpi".into(),
        "mount -o remount,rw /proc/sys".into(),
        "mount -t tmpfs none /tmp".into(),
        "chroot /proc/1/root/.. cat /etc/shadow".into(),
        "nsenter -t 1 -m true && nsenter -t 1 -U true".into(),
    ] {
        let done = c.exec(&["@", "sh", "-c", &script]);
        assert!(done.code != 0, "{script}: {done:#?}");
    }
    assert!(sleeper.try_wait().unwrap().is_none());
    // Even with all capabilities there every mount is locked, with its flags.
    for script in [
        "umount /proc/acpi",
        "umount /proc/keys",
        "umount /proc/sys",
        "mount -o remount,bind,rw /proc/sys",
        "mount -o remount,bind,dev /v",
        "umount /v",
    ] {
        let done = c.exec(&["--privileged", "@", "sh", "-c", script]);
        assert!(done.code != 0, "{script}: {done:#?}");
    }
    assert_eq!(
        c.exec(&["--privileged", "@", "sh", "-c", "mount -t tmpfs none /tmp && hostname other && hostname"])
            .code(0)
            .out,
        "other\n"
    );
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    drop(c);
    host.same();
}

#[test]
fn descriptors_and_terminals_lead_through_its_own_mounts() {
    let host = begin();
    assert_eq!(run(&["--userns=required", busybox(), "readlink", "/proc/self/fd/0"]).code(0).out, "/dev/null\n");
    let done = within(plain(["run", "--rm", "--userns=required", "-v", "/usr:/dev", busybox(), "cat"]).env("A", "b"));
    assert!(done.code == 0 && done.out.is_empty(), "{done:#?}");
    host.same();
}

#[test]
fn copies_at_rest_keep_their_owners() {
    let host = begin();
    let place = Scratch::new("ids-cp");
    let c = Resident::idle("ids-cp", OWN);
    c.says(&[], "echo inside >/file; chown 33:5 /file");
    let out = place.join("out");
    let copy = |from: &str, to: &str| within(plain(["cp", "-a"]).args([from, to])).code(0);
    fs::write(place.join("in"), "outside\n").unwrap();
    chown(place.join("in"), Some(7), Some(8)).unwrap();
    let source = place.join("in").display().to_string();
    for round in ["running", "at rest"] {
        let _ = fs::remove_file(&out);
        copy("ids-cp:/file", out.to_str().unwrap());
        let m = out.metadata().unwrap();
        assert_eq!((m.uid(), m.gid(), fs::read_to_string(&out).unwrap().as_str()), (33, 5, "inside\n"), "{round}");
        copy(&source, &format!("ids-cp:/{}", if round == "running" { "one" } else { "two" }));
        if round == "running" {
            c.verb(&["stop", "-t0"]);
        }
    }
    c.verb(&["start"]);
    assert_eq!(c.says(&[], "stat -c %u:%g /one /two; cat /one /two"), "7:8\n7:8\noutside\noutside\n");
    drop(c);
    host.same();
}

/// A filesystem without id-mapped mounts, with a root in it; unmounted when it goes.
struct Unfit(PathBuf, Scratch);

impl Unfit {
    fn new(name: &str) -> Unfit {
        let scratch = Scratch::new(name);
        let at = scratch.join("ramfs");
        fs::create_dir(&at).unwrap();
        within(Command::new("mount").args(["-t", "ramfs", "none"]).arg(&at)).code(0);
        busybox_root(&at.join("root"));
        Unfit(at, scratch)
    }
}

impl Drop for Unfit {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn where_there_can_be_none() {
    let host = begin();
    let unfit = Unfit::new("ids-unfit");
    let root = unfit.0.join("root").display().to_string();
    let volume = format!("{}:/v", unfit.0.display());
    let host_ids = "         0          0 4294967295\n";
    for (options, root) in [(&[][..], root.as_str()), (&["-v", &volume], busybox())] {
        let words = [options, &[root, "cat", "/proc/self/uid_map"]].concat();
        // auto goes on, and says so.
        let done = run(&[&["--userns=auto", "--trace"], &words[..]].concat()).code(0);
        assert_eq!(done.out, host_ids);
        assert!(done.err.contains("the host's ids instead") && done.err.contains("idmap"), "{done:#?}");
        let said = run(&[&["--userns=auto"], &words[..]].concat()).code(0).err;
        assert!(
            said.contains("has the host's user ids") && said.contains("idmap") && said.lines().count() == 1,
            "{said}"
        );
        // required does not.
        run(&[&["--userns=required"], &words[..]].concat()).refused(&["idmap", "--userns required", "--userns auto"]);
        run(&[&["--uidmap=0:100000:65536"], &words[..]].concat()).refused(&["idmap", "--uidmap"]);
        let name = ["run", "-d", "--name=unfit", "--userns=required"];
        within(plain(name).args(options).args([root, "true"])).refused(&["idmap", "--userns required"]);
        assert!(!Path::new("/var/lib/ctr/containers/unfit").exists());
        // Neither for want of something that may be there the next time.
        let detached = ["run", "-d", "--rm", "--name=said", "--userns=auto"];
        let said = within(plain(detached).args(options).args([root, "true"])).code(0).err;
        assert!(said.starts_with("ctr: said has the host's user ids") && said.lines().count() == 1, "{said}");
        let c = Resident("fell-back".into());
        let words = ["run", "-d", "--name=fell-back", "--userns=auto"];
        within(plain(words).args(options).args([root, "sleep", "1000"])).code(0);
        assert_eq!(c.ask("{{.HostConfig.UsernsMode}} {{.Userns.Own}}"), "auto false");
        assert!(c.ask("{{.Userns.Fallback}}").contains("idmap"));
        assert_eq!(c.says(&[], "cat /proc/self/uid_map"), host_ids);
        drop(c);
        assert_eq!(leases(), []);
    }
    // What is the host's belongs to the host's ids.
    for option in ["--pid=host", "--ipc=host"] {
        let done = run(&["--userns=auto", option, busybox(), "cat", "/proc/self/uid_map"]).code(0);
        assert_eq!(done.out, host_ids);
        assert!(done.err.contains("has the host's user ids") && done.err.lines().count() == 1, "{done:#?}");
        let quiet = run(&["--userns=host", option, busybox(), "cat", "/proc/self/uid_map"]).code(0);
        assert_eq!((quiet.out.as_str(), quiet.err.as_str()), (host_ids, ""));
        run(&["--userns=required", option, busybox(), "true"]).refused(&["--userns host"]);
    }
    let c = Resident::idle("own", OWN);
    assert_eq!(c.ask("{{.HostConfig.UsernsMode}} {{.Userns.Own}} {{.Userns.Fallback}}"), "required true");
    assert!(c.ask("{{json .Userns.UidMap}}").contains(":65536"));
    drop(c);
    drop(unfit);
    host.same();
}

#[test]
fn maps_by_hand() {
    let host = begin();
    let maps = "cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '";
    let says = |options: &[&str]| run(&[options, &[busybox(), "sh", "-c", maps]].concat()).code(0).out;
    assert_eq!(says(&["--uidmap=0:100000:65536"]), " 0 100000 65536\n 0 100000 65536\n");
    assert_eq!(
        says(&["--uidmap", "0:100000:10", "--uidmap=33:500000:1", "--gidmap=0:7:20"]),
        " 0 100000 10\n 33 500000 1\n 0 7 20\n"
    );
    assert_eq!(leases(), []);
    let place = Scratch::new("ids-hand");
    fs::create_dir(place.join("v")).unwrap();
    let volume = format!("-v{}:/v", place.join("v").display());
    let two = ["--uidmap=0:100000:10", "--uidmap=33:500000:1", "--gidmap=0:7:40", &volume];
    let done = run(&[
        &two[..],
        &[
            "-u33:33",
            busybox(),
            "sh",
            "-c",
            "id -u; id -g; cat /dev/shm/x 2>&-; touch /dev/shm/y; stat -c %u:%g /dev/shm/y /v",
        ],
    ]
    .concat());
    assert_eq!(done.code(0).out, "33\n33\n33:33\n0:0\n");
    run(&[&two[..], &["-u34", busybox(), "true"]].concat()).refused(&["34", "0 to 9, 33"]);
    let c = Resident::idle("by-hand", &two);
    assert_eq!(c.says(&[], "touch /v/f /g; chown 33:3 /v/f /g; stat -c %u:%g /v/f /g"), "33:3\n33:3\n");
    let m = place.join("v/f").metadata().unwrap();
    assert_eq!((m.uid(), m.gid()), (33, 3));
    c.verb(&["stop", "-t0"]);
    c.verb(&["start"]);
    assert_eq!(c.says(&["-u33"], "id -u; stat -c %u:%g /g"), "33\n33:3\n");
    drop(c);
    for bad in [
        "",
        "0",
        "0:1",
        "0:1:2:3",
        "a:b:c",
        "0:1:0",
        "0:-1:1",
        "-1:0:1",
        "+0:1:1",
        "0:2147483648:1",
        "0:1:2147483648",
        "0:2147483647:2",
        "2147483647:0:2",
        "0:99999999999999999999:1",
        "0::1",
        "1:1:1",
        "0 1 1",
    ] {
        run(&["--uidmap", bad, busybox(), "true"]).refused(&["--uidmap"]);
        run(&["--gidmap", bad, busybox(), "true"]).refused(&["--gidmap"]);
    }
    for (options, word) in [
        (&["--uidmap=0:100:10", "--uidmap=9:200:10"][..], "overlaps"),
        (&["--uidmap=0:100:10", "--uidmap=10:109:10"], "overlaps"),
        (&["--userns=host", "--uidmap=0:100:10"], "--userns host"),
        (&["--pid=host", "--uidmap=0:100:10"], "--userns host"),
        (&["--userns=yes"], "required"),
    ] {
        run(&[options, &[busybox(), "true"]].concat()).refused(&[word]);
        within(plain(["create"]).args(options).args([busybox(), "true"])).refused(&[word]);
    }
    let many: Vec<String> = (0..341).map(|n| format!("--uidmap={n}:{}:1", 2 * n)).collect();
    run(&[&many.iter().map(String::as_str).collect::<Vec<_>>()[..], &[busybox(), "true"]].concat()).refused(&["340"]);
    host.same();
}
