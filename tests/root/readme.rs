//! README's console examples, replayed: the manual cannot lie.

use std::fs;
use std::process::Command;

use crate::support::{Host, Scratch, busybox_root, ctr_path, finish};

/// Does `line` match `pattern`, in which `…` stands for anything?
fn like(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let first = parts.next().unwrap();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut last = first;
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
        last = part;
    }
    rest.is_empty() || (last.is_empty() && pattern.ends_with('…'))
}

#[test]
fn the_examples_of_the_readme() {
    let host = Host::before();
    let place = Scratch::new("readme");
    busybox_root(&place.join("rootfs"));
    for made in ["proc", "sys", "dev"] {
        fs::create_dir_all(place.join("rootfs").join(made)).unwrap();
    }
    fs::create_dir(place.join("data")).unwrap();
    fs::write(place.join("data/file"), "some data\n").unwrap();
    fs::create_dir(place.join("bin")).unwrap();
    std::os::unix::fs::symlink(ctr_path(), place.join("bin/ctr")).unwrap();
    // Containers stay after their run; here they are not in anybody's way.
    let (root, state) = (place.join("lib"), place.join("run"));
    let path = format!("{}:{}", place.join("bin").display(), std::env::var("PATH").unwrap());

    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let mut replayed = 0;
    for block in text.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        for example in block.split("$ ctr ").skip(1) {
            let (command, expected) = example.split_once('\n').unwrap();
            let done = finish(
                Command::new("sh")
                    .args(["-c", &format!("exec 2>&1; ctr {command}")])
                    .env("PATH", &path)
                    .env("CTR_ROOT", &root)
                    .env("CTR_STATE", &state)
                    .current_dir(place.path()),
            );
            let (expected, got): (Vec<_>, Vec<_>) = (expected.lines().collect(), done.out.lines().collect());
            let same = expected.len() <= got.len() && expected.iter().zip(&got).all(|(e, g)| like(e, g));
            // `…` at the end of the last line stands for further lines too.
            let all = expected.len() == got.len() || expected.last().is_some_and(|l| l.ends_with('…'));
            assert!(same && all, "$ ctr {command}\nexpected {expected:#?}\ngot {got:#?}");
            replayed += 1;
        }
    }
    assert!(replayed >= 9, "only {replayed} examples were found");
    // And nothing of them but their records, layers and logs.
    let mut rm = Command::new("sh");
    rm.args(["-c", "ctr ps -aq | xargs -r ctr rm"])
        .env("PATH", &path)
        .env("CTR_ROOT", &root)
        .env("CTR_STATE", &state);
    finish(&mut rm).code(0);
    for left in [root.join("containers"), state.join("containers")] {
        assert_eq!(fs::read_dir(&left).map_or(0, |d| d.count()), 0, "{}", left.display());
    }
    host.same();
}
