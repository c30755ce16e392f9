//! `--device`: nodes of the host inside, alive, while all others stay dead; and nothing of the host's `/dev` is shared.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::options::{go, says};
use crate::support::{Host, Scratch, busybox, busybox_root, ctr_path, plain, within};

const TRY: &str = "head -c3 /dev/of/mine | wc -c; stat -c '%F %t:%T %a %u:%g' /dev/of/mine; head -c3 /other | wc -c;
    mknod /dev/x c 1 5 2>&- && head -c3 /dev/x 2>&-; mknod /tmp/x c 1 5 2>&- && head -c3 /tmp/x 2>&-; echo end";

#[test]
fn a_node_lives_where_it_is_wanted() {
    let host = Host::before();
    let place = Scratch::new("device-rw");
    busybox_root(place.path());
    let before = fs::metadata("/dev/zero").unwrap();
    for (rw, root) in [(&[][..], busybox()), (&["--rw"], place.path().to_str().unwrap())] {
        for userns in ["--userns=host", "--userns=auto"] {
            let options = ["--device=/dev/zero:/dev/of/mine", "--device", "/dev/zero:/other:rm", userns];
            let done = go(options.iter().chain(rw).copied().chain([root, "sh", "-c", TRY])).code(0);
            assert_eq!(done.out, "3\ncharacter special file 1:5 666 0:0\n3\nend\n", "{userns} {rw:?} {done:#?}");
            // Its owner and permissions inside are nobody's business outside.
            let script = "chmod 600 /dev/of/mine; chown 33 /dev/of/mine; rm /dev/of/mine 2>&- || echo stays; stat -c '%a %u' /dev/of/mine";
            let done = go(options.iter().chain(rw).copied().chain([root, "sh", "-c", script])).code(0);
            assert_eq!(done.out, "stays\n600 33\n");
        }
    }
    let after = fs::metadata("/dev/zero").unwrap();
    assert_eq!((before.mode(), before.uid(), before.ctime()), (after.mode(), after.uid(), after.ctime()));
    assert!(!place.join("devices").exists());
    host.same();
}

#[test]
fn a_directory_of_devices_and_a_link_to_one() {
    let host = Host::before();
    let place = Scratch::new("device-dir");
    fs::create_dir_all(place.join("dir/below")).unwrap();
    for name in ["dir/one", "dir/below/two"] {
        within(Command::new("mknod").args(["-m", "640"]).arg(place.join(name)).args(["c", "1", "5"])).code(0);
    }
    fs::write(place.join("dir/file"), "no device").unwrap();
    symlink("one", place.join("dir/link")).unwrap();
    symlink("dir/one", place.join("link")).unwrap();
    let dir = format!("--device={}:/dev/all", place.join("dir").display());
    let link = format!("--device={}:/dev/linked", place.join("link").display());
    for userns in ["--userns=host", "--userns=auto"] {
        let script = "cd /dev/all; find . -type c | sort; find . -type f; head -c2 below/two | wc -c; stat -c %a one; head -c2 /dev/linked | wc -c";
        assert_eq!(says(&[&dir, &link, userns], script), "./below/two\n./one\n2\n640\n2\n", "{userns}");
    }
    // A real one, to where it is on the host.
    assert_eq!(says(&["--device=/dev/net"], "stat -c %t:%T /dev/net/tun"), "a:c8\n");
    // The same place twice: the last one.
    let script = "stat -c %t:%T /dev/all/one";
    assert_eq!(says(&[&dir, "--device=/dev/full:/dev/all/one"], script), "1:7\n");
    host.same();
}

#[test]
fn what_is_no_device_or_no_place() {
    let host = Host::before();
    let place = Scratch::new("device-bad");
    busybox_root(&place.join("root"));
    let root = place.join("root").display().to_string();
    let fifo = place.join("fifo");
    within(Command::new("mkfifo").arg(&fifo)).code(0);
    let fifo = fifo.display().to_string();
    for (device, words) in [
        ("/dev/nothing", &["/dev/nothing", "No such file"][..]),
        ("/etc/passwd", &["/etc/passwd", "no device"]),
        ("/etc", &["no device is in that directory"]),
        (&fifo, &["no device"]),
        ("", &["--device"]),
        ("zero", &["begins with /"]),
        ("/dev/zero:zero", &["begins with /"]),
        ("/dev/zero:/", &["--device"]),
        ("/dev/zero:/dev/z:rwx", &["r, w and m"]),
        ("/dev/zero:/dev/z:rr", &["r, w and m"]),
        ("/dev/zero:/dev/z:", &["r, w and m"]),
        ("/dev/zero:/dev/z:r:w", &["too many"]),
        ("vendor.com/gpu=all", &["begins with /"]),
    ] {
        for verb in ["run", "create"] {
            within(&mut plain([verb, "--device", device, &root, "true"])).refused(words);
        }
    }
    // Into a place that the image decides about: nothing but a failure, and nothing of the host's is touched.
    symlink("/proc/sys", place.join("root/to-proc")).unwrap();
    symlink("/proc/self/fd", place.join("root/magic")).unwrap();
    let outside = place.join("outside");
    fs::create_dir(&outside).unwrap();
    symlink("../outside", place.join("root/up")).unwrap();
    for (to, ok) in [
        ("/to-proc/x", false),
        ("/magic/3", false),
        ("/dev/fd/x", false),
        ("/dev/ptmx", false),
        ("/up/x", false),
        ("/bin/sh/x", false),
    ] {
        for rw in ["--rw", "--tty=false"] {
            let done = go([rw, &format!("--device=/dev/zero:{to}"), &root, "true"]);
            assert_eq!(done.code == 0, ok, "{to} {done:#?}");
            assert!(done.code == 125 && done.err.lines().count() == 1, "{to} {done:#?}");
        }
    }
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
    host.same();
}

/// fd 0 is what /dev/null was before anybody had a say.
#[test]
fn a_device_over_dev_null_is_not_standard_input() {
    let host = Host::before();
    let script = "stat -Lc %t:%T /proc/self/fd/0; stat -c %t:%T /dev/null";
    let done = go(["--device=/dev/zero:/dev/null", busybox(), "sh", "-c", script]).code(0);
    assert_eq!(done.out, "1:3\n1:5\n");
    host.same();
}

#[test]
fn an_ordinary_user_takes_what_he_may_use() {
    let host = Host::before();
    let place = Scratch::new("device-user");
    busybox_root(&place.join("root"));
    fs::create_dir(place.join("run")).unwrap();
    std::os::unix::fs::chown(place.join("run"), Some(12345), Some(12345)).unwrap();
    let run = |words: &[&str], script: &str| {
        let mut command = Command::new(ctr_path());
        command.args(["run", "--rm"]).args(words).arg(place.join("root")).args(["sh", "-c", script]);
        within(command.uid(12345).gid(12345).env("XDG_RUNTIME_DIR", place.join("run")).current_dir("/"))
    };
    let done = run(&["--device=/dev/zero:/dev/of/mine", "--device=/dev/zero:/other"], TRY).code(0);
    assert_eq!(done.out, "3\ncharacter special file 1:5 666 65534:65534\n3\nend\n", "{done:#?}");
    // What is root's stays root's.
    let done = run(
        &["--device=/dev/loop-control"],
        "(: </dev/loop-control) 2>&- || echo no; chmod 666 /dev/loop-control 2>&- || echo no",
    )
    .code(0);
    assert_eq!(done.out, "no\nno\n");
    let done = run(
        &["--privileged"],
        "ls /dev/loop-control 2>&-; mknod /tmp/x c 1 5 2>&- || echo no; echo x >/dev/null && echo null",
    )
    .code(0);
    assert_eq!(done.out, "no\nnull\n");
    host.same();
}

/// It is looked for anew with every start; and a record shows what Docker's does.
#[test]
fn a_container_that_stays_has_it_each_time() {
    let host = Host::before();
    let script = "head -c3 /dev/of/mine | wc -c";
    within(&mut plain(["run", "--name=dev", "--device=/dev/zero:/dev/of/mine:rw", busybox(), "sh", "-c", script]))
        .code(0);
    let done = within(&mut plain(["start", "-a", "dev"])).code(0);
    assert_eq!(done.out, "3\n", "{done:#?}");
    let shown = within(&mut plain(["inspect", "-f", "{{json .HostConfig.Devices}}", "dev"])).code(0).out;
    assert_eq!(
        shown,
        "[{\"PathOnHost\":\"/dev/zero\",\"PathInContainer\":\"/dev/of/mine\",\"CgroupPermissions\":\"rw\"}]\n"
    );
    within(&mut plain(["rm", "dev"])).code(0);
    host.same();
}

/// What may be done with a node is a matter of the container's control group.
#[test]
fn reading_alone_is_reading_alone() {
    let host = Host::before();
    let script = "exec 3</dev/own && echo reads; (exec 3>/dev/own) 2>/dev/null && echo writes; echo end";
    for (access, wanted) in [("r", "reads\nend\n"), ("rw", "reads\nwrites\nend\n")] {
        let device = format!("--device=/dev/fuse:/dev/own:{access}");
        assert_eq!(says(&[&device], script), wanted);
        let (name, options) = (format!("own-{access}"), ["run", "-d", "--name"]);
        within(plain(options).args([&name, &device, busybox(), "sleep", "1000"])).code(0);
        let done = within(&mut plain(["exec", &name, "sh", "-c", script])).code(0);
        assert_eq!(done.out, wanted, "{access}");
        within(&mut plain(["rm", "-f", &name])).code(0);
    }
    // What was not named has the usual rules, and no others.
    host.same_soon();
    host.same();
}

/// Who may mount finds mounts where nodes live: then the control group has to say which.
#[test]
fn who_may_mount_makes_no_device_of_his_own() {
    let host = Host::before();
    let script = "mount -t tmpfs none /tmp && mknod /tmp/own c 10 229 && mknod /tmp/null c 1 3 && echo >/tmp/null && echo lives;
        (exec 3</tmp/own) 2>/dev/null && echo opened; echo end";
    for userns in ["--userns=host", "--userns=required"] {
        let done = go(["--cap-add=SYS_ADMIN", userns, busybox(), "sh", "-c", script]).code(0);
        let wanted = if userns == "--userns=host" { "lives\nend\n" } else { "end\n" };
        assert_eq!(done.out, wanted, "{userns} {}", done.err);
        host.same_soon();
    }
    host.same();
}

/// A power over a namespace of one's own does not become one over the host because there is no such namespace.
#[test]
fn powers_do_not_fall_back_to_the_host() {
    let host = Host::before();
    for powers in ["--privileged", "--cap-add=SYS_ADMIN", "--security-opt=no-new-privileges=false"] {
        let option = powers.split('=').next().unwrap();
        for shared in ["--pid=host", "--ipc=host"] {
            go(["--userns=auto", powers, shared, busybox(), "true"]).refused(&[option, "--userns host"]);
        }
    }
    host.same();
}
