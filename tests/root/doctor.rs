//! `ctr doctor` on a machine where everything works: it must not raise a false alarm, wherever it is called and by whom.

use std::os::unix::process::CommandExt;
use std::path::Path;

use crate::kills::start;
use crate::support::{Scratch, busybox, ctr, plain, within};

/// Rows that are about what containers need; others are about the machine (its clock, its modules), which may lack something.
const NEEDED: [&str; 9] =
    ["kernel", "user namespaces", "namespaces", "mounting", "filesystems", "root", "overlayfs", "/dev", "ctr run"];

#[test]
fn where_ctr_works_it_says_so() {
    let host = start();
    let place = Scratch::new("doctor");
    for (user, at) in [(0, Path::new("/")), (0, place.path()), (65533, Path::new("/")), (65533, Path::new("/dev"))] {
        let mut command = plain(["doctor", "--format", "json"]);
        command.uid(user).gid(user).current_dir(at).env("HOME", "/tmp").env_remove("XDG_RUNTIME_DIR");
        let done = within(&mut command).code(0);
        for name in NEEDED {
            let good = format!("\"name\": \"{name}\", \"state\": \"good\"");
            assert!(done.out.contains(&good), "{user} in {}: {name}: {}", at.display(), done.out);
        }
    }
    // What it says of the whole is so.
    within(ctr(["run"]).args([busybox(), "true"])).code(0);
    host.same();
}
