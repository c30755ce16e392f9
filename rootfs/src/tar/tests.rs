//! What is written is read, by us and by others; and what is no archive, or a hostile one, does no harm.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use linux_raw_sys::general as k;
use tar::{EntryType, Header};

use super::read::{Extended, seconds};
use super::write::{header, put_header};
use super::*;
use crate::copy::{Ids, Owner, Settings};
use crate::scratch::Scratch;
use crate::sys;
use crate::walk::Failed;

use EntryType::{Directory, Fifo, Link, Regular, Symlink};

const PLAIN: Settings = Settings { owner: Owner::Maker, set_ids: true, devices: false, attributes: None };

fn written(scratch: &Scratch, from: &str, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(scratch.place(".", from), OsStr::new(name), Ids::SAME, &mut bytes, &mut |_, _| {}).unwrap();
    bytes
}

fn unpacked(scratch: &Scratch, to: &str, mut bytes: &[u8]) -> Result<Vec<String>, Failed> {
    let mut words = Vec::new();
    extract(scratch.open(to).as_fd(), &mut bytes, &PLAIN, &mut |path, why| {
        words.push(format!("{}: {why}", path.display()));
    })?;
    Ok(words)
}

/// Runs a program with `input`; what it wrote.
pub(crate) fn run(words: &[&str], dir: &Path, input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || drop(pipe.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(output.status.success(), "{words:?}");
    output.stdout
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// A tree with everything that a format can stumble on.
pub(crate) fn full(scratch: &Scratch) {
    let (long, longer) = ("n".repeat(120), "d/".repeat(100));
    scratch.dir(&format!("from/{longer}{long}"));
    scratch.dir("from/closed");
    fs::write(scratch.at(&format!("from/{longer}{long}/{long}")), "deep").unwrap();
    fs::write(scratch.at(&format!("from/{}", "e".repeat(100))), "just").unwrap();
    fs::write(scratch.at(&format!("from/{}", "f".repeat(101))), "one more").unwrap();
    fs::write(scratch.at("from/big"), (0..700_001).map(|n| n as u8).collect::<Vec<_>>()).unwrap();
    fs::write(scratch.at("from/block"), [b'b'; 1024]).unwrap();
    fs::write(scratch.at("from/empty"), "").unwrap();
    fs::write(scratch.at("from/odd \n\\name"), "odd").unwrap();
    fs::hard_link(scratch.at("from/big"), scratch.at("from/closed/same")).unwrap();
    symlink("/etc/passwd", scratch.at("from/link")).unwrap();
    symlink("t".repeat(300), scratch.at("from/longlink")).unwrap();
    sys::mknod(scratch.open("from").as_fd(), c"fifo", k::S_IFIFO | 0o640, 0).unwrap();
    fs::set_permissions(scratch.at("from/big"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::set_permissions(scratch.at("from/closed"), fs::Permissions::from_mode(0o711)).unwrap();
    for path in ["from/big", "from/closed"] {
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_007);
        fs::File::open(scratch.at(path)).unwrap().set_modified(old).unwrap();
    }
    let ancient = std::time::UNIX_EPOCH - std::time::Duration::from_secs(5);
    fs::File::open(scratch.at("from/block")).unwrap().set_modified(ancient).unwrap();
}

pub(crate) fn same(scratch: &Scratch, one: &str, other: &str) {
    assert_eq!(scratch.all(one), scratch.all(other));
    for path in scratch.all(one) {
        let (a, b) = (scratch.at(&format!("{one}/{path}")), scratch.at(&format!("{other}/{path}")));
        let (x, y) = (fs::symlink_metadata(&a).unwrap(), fs::symlink_metadata(&b).unwrap());
        assert_eq!(x.file_type(), y.file_type(), "{path}");
        if x.is_symlink() {
            assert_eq!(fs::read_link(&a).unwrap(), fs::read_link(&b).unwrap());
        } else {
            assert_eq!((x.mode(), x.mtime()), (y.mode(), y.mtime()), "{path}");
        }
        if x.is_file() {
            assert_eq!((x.len(), x.nlink()), (y.len(), y.nlink()), "{path}");
            assert!(fs::read(&a).unwrap() == fs::read(&b).unwrap(), "{path}");
        }
    }
}

#[test]
fn what_we_write_we_read() {
    let scratch = Scratch::new();
    full(&scratch);
    let archive = written(&scratch, "from", "name");
    assert_eq!(archive.len() % BLOCK, 0);
    assert_eq!(unpacked(&scratch, "to", &archive).unwrap(), Vec::<String>::new());
    same(&scratch, "from", "to/name");
    assert!(fs::symlink_metadata(scratch.at("to/name/fifo")).unwrap().file_type().is_fifo());
    // Once more over what is there; and its content alone.
    unpacked(&scratch, "to", &archive).unwrap();
    assert_eq!(scratch.all("from"), scratch.all("to/name"));
    unpacked(&scratch, "content", &written(&scratch, "from", ".")).unwrap();
    same(&scratch, "from", "content");
    unpacked(&scratch, "file", &written(&scratch, "from/big", "big")).unwrap();
    assert_eq!(scratch.all("file"), ["big"]);
}

#[test]
fn other_programs_read_what_we_write() {
    let scratch = Scratch::new();
    full(&scratch);
    let archive = written(&scratch, "from", "name");
    run(&["tar", "-xpf", "-"], &scratch.dir("gnu"), &archive);
    same(&scratch, "from", "gnu/name");
    if has("busybox") {
        fs::remove_file(scratch.at("from/fifo")).unwrap();
        fs::remove_file(scratch.at("from/block")).unwrap(); // its time is before 1970
        run(&["busybox", "tar", "-xpf", "-"], &scratch.dir("busybox"), &written(&scratch, "from", "name"));
        // It leaves the directories' times as they come.
        assert_eq!(scratch.all("from"), scratch.all("busybox/name"));
        assert_eq!(scratch.read("busybox/name/odd \n\\name"), "odd");
    }
}

#[test]
fn we_read_what_other_programs_write() {
    let scratch = Scratch::new();
    full(&scratch);
    for format in ["gnu", "pax", "posix", "oldgnu"] {
        let archive = run(&["tar", "--format", format, "-cf", "-", "."], &scratch.at("from"), b"");
        assert_eq!(unpacked(&scratch, format, &archive).unwrap(), Vec::<String>::new());
        same(&scratch, "from", format);
    }
    if has("busybox") {
        let archive =
            run(&["busybox", "tar", "-cf", "-", "closed", "link", "longlink", "big"], &scratch.at("from"), b"");
        unpacked(&scratch, "busybox", &archive).unwrap();
        assert_eq!(scratch.all("busybox"), ["big", "closed", "closed/same", "link", "longlink"]);
    }
    // The formats with a short arm cannot hold the long names.
    let archive = run(&["tar", "--format=v7", "-cf", "-", "closed", "big"], &scratch.at("from"), b"");
    unpacked(&scratch, "v7", &archive).unwrap();
    assert_eq!(scratch.all("v7"), ["big", "closed", "closed/same"]);
    assert_eq!(fs::metadata(scratch.at("v7/closed")).unwrap().mode() & 0o7777, 0o711);
}

#[test]
fn files_beyond_eight_gigabytes() {
    let scratch = Scratch::new();
    scratch.dir("from");
    let name = &"big".repeat(50);
    let big = fs::File::create(scratch.at(&format!("from/{name}"))).unwrap();
    big.set_len(9 << 30).unwrap();
    for n in 0..40 {
        std::os::unix::fs::FileExt::write_all_at(&big, b"data", n * (200 << 20)).unwrap();
    }
    // As a sparse file in GNU's formats, with more parts than a header holds.
    for (n, words) in [
        &["--format=gnu"][..],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ]
    .iter()
    .enumerate()
    {
        let to = format!("to{n}");
        let archive = run(&[&["tar"], *words, &["-cSf", "-", name]].concat(), &scratch.at("from"), b"");
        assert!(archive.len() < 10 << 20, "{words:?}");
        unpacked(&scratch, &to, &archive).unwrap_or_else(|e| panic!("{words:?}: {e}"));
        assert_eq!(scratch.all(&to), [name.as_str()], "{words:?}");
        let to = fs::File::open(scratch.at(&format!("{to}/{name}"))).unwrap();
        assert_eq!(to.metadata().unwrap().len(), 9 << 30);
        assert!(to.metadata().unwrap().blocks() < 100_000);
        let mut read = [0; 4];
        std::os::unix::fs::FileExt::read_exact_at(&to, &mut read, 39 * (200 << 20)).unwrap();
        assert_eq!(&read, b"data");
    }
    // Sizes that octal digits do not hold, there and back; all of it, without the zeros of it.
    let found = scratch.place("from", name).look().unwrap();
    let mut made = header(&found, Ids::SAME);
    made.set_size(found.stx_size);
    assert_eq!(made.entry_size().unwrap(), 9 << 30);
    let mut said = Extended::default();
    said.read(b"19 size=9663676416\n").unwrap();
    assert_eq!(said.size, Some(9 << 30));
}

/// An archive of entries: type, path, link, content.
pub(crate) fn archive(entries: &[(EntryType, &str, &str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, path, link, content) in entries {
        let mut header = Header::new_gnu();
        header.set_mode(if *kind == Directory { 0o750 } else { 0o640 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        put_header(&mut bytes, &mut header, path.as_bytes(), link.as_bytes()).unwrap();
        bytes.extend_from_slice(content.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    bytes.extend_from_slice(&[0; 2 * BLOCK]);
    bytes
}

/// Archives that try to get out of the directory that they are unpacked to, each by `unpack` to one of its own; and after each, a look at
/// what is outside.
pub(crate) fn nothing_gets_out(scratch: &Scratch, unpack: &dyn Fn(&str, &[u8])) {
    let outside = scratch.dir("outside");
    fs::write(scratch.at("outside/precious"), "precious").unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o755)).unwrap();
    let away = outside.to_str().unwrap();
    let beside = format!("{away}/new");
    let precious = format!("{away}/precious");
    let attempts: &[&[(EntryType, &str, &str, &str)]] = &[
        &[(Regular, "../outside/new", "", "x")],
        &[(Regular, "a/../../../outside/new", "", "x")],
        &[(Regular, &beside, "", "x")],
        &[(Symlink, "l", away, ""), (Regular, "l/new", "", "x")],
        &[(Symlink, "l", "../outside", ""), (Regular, "l/new", "", "x")],
        &[(Symlink, "l", "../outside", ""), (Directory, "l", "", ""), (Regular, "l/new", "", "x")],
        &[(Symlink, "l", "..", ""), (Symlink, "m", "l/outside", ""), (Regular, "m/new", "", "x")],
        &[(Symlink, "l", &precious, ""), (Regular, "l", "", "x")],
        &[(Symlink, "l", away, ""), (Link, "h", "l/precious", ""), (Regular, "h", "", "x")],
        &[(Link, "h", "../outside/precious", ""), (Regular, "h", "", "x")],
        &[(Link, "h", &precious, ""), (Regular, "h", "", "x")],
        &[(Symlink, "l", &precious, ""), (Link, "h", "l", ""), (Regular, "h", "", "x")],
        &[(Symlink, "l", "/proc/self/root", ""), (Regular, &format!("l{beside}"), "", "x")],
        &[(Symlink, "l", "/proc/self/cwd", ""), (Directory, "l/new", "", "")],
        &[(Directory, "../outside", "", ""), (Directory, "..", "", "")],
        &[(Symlink, "l", away, ""), (Directory, "l", "", "")],
        &[(Symlink, ".", away, ""), (Regular, "new", "", "x")],
        &[(Symlink, "/", away, ""), (Regular, "new", "", "x")],
        &[(Symlink, "a/..", away, ""), (Regular, "new", "", "x")],
        &[(Fifo, "../outside/new", "", "")],
        // In a layer, these take something away: here, and nowhere else.
        &[(Symlink, "l", away, ""), (Regular, "l/.wh.precious", "", "")],
        &[(Symlink, "l", away, ""), (Regular, "l/.wh..wh..opq", "", "")],
        &[(Regular, "../outside/.wh.precious", "", "")],
        // What is replaced by something else is removed, and what it leads to is not.
        &[(Symlink, "l", away, ""), (Fifo, "l", "", ""), (Directory, "l", "", "")],
    ];
    for (n, entries) in attempts.iter().enumerate() {
        unpack(&format!("to{n}"), &archive(entries));
        assert_eq!(scratch.all("outside"), ["precious"], "attempt {n}");
        assert_eq!(scratch.read("outside/precious"), "precious", "attempt {n}");
        assert_eq!(fs::metadata(&outside).unwrap().mode() & 0o7777, 0o755, "attempt {n}");
        let mut list = [0; 100];
        assert_eq!(sys::list_attributes(scratch.open("outside").as_fd(), &mut list).unwrap_or(0), 0, "attempt {n}");
    }
}

#[test]
fn nothing_leads_out_of_the_directory() {
    let scratch = Scratch::new();
    nothing_gets_out(&scratch, &|to, bytes| drop(unpacked(&scratch, to, bytes)));
    // Confined, not refused: `..` and `/` are the directory itself.
    assert_eq!(scratch.read("to0/outside/new"), "x");
    for (entries, words) in [
        (&[(Regular, "./", "", "x")][..], "would replace"),
        (&[(Symlink, ".", "x", "")][..], "would replace"),
        (&[(Link, "h", "/", "")][..], "hard link to a directory"),
        (&[(Link, "h", "none", "")][..], "a hard link to /none: No such file"),
        (&[(Symlink, "l", "", "")][..], "link to nothing"),
        (&[(Directory, "d", "", ""), (Regular, "d", "", "x")][..], "a directory is there"),
        (&[(Regular, "f", "", "x"), (Directory, "f", "", "")][..], "no directory"),
    ] {
        // A regular file whose name ends with a slash is a directory in old archives.
        let entries: Vec<_> = entries.iter().map(|e| if e.1 == "./" { (Fifo, ".", "", "") } else { *e }).collect();
        let error = unpacked(&scratch, "words", &archive(&entries)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_directory_is_finished_when_the_archive_has_left_it() {
    let scratch = Scratch::new();
    let bytes = archive(&[
        (Directory, "d", "", ""),
        (Regular, "d/f", "", "1"),
        (Regular, "made/on/the/way", "", "2"),
        (Regular, "d/late", "", "3"),
    ]);
    unpacked(&scratch, "to", &bytes).unwrap();
    assert_eq!(scratch.read("to/d/late"), "3");
    assert_eq!(fs::metadata(scratch.at("to/d")).unwrap().mode() & 0o7777, 0o750);
    assert_eq!(fs::metadata(scratch.at("to/made/on")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(scratch.read("to/made/on/the/way"), "2");
}

#[test]
fn what_is_no_archive_is_told() {
    let scratch = Scratch::new();
    let words = |bytes: &[u8]| unpacked(&scratch, "to", bytes).unwrap_err().to_string();
    let good = archive(&[(Regular, "f", "", "content"), (Regular, "g", "", "content")]);
    assert!(words(b"").contains("empty"));
    assert!(words(&[b'x'; 600]).contains("no tar archive"));
    assert!(words(b"short").contains("in the middle"));
    assert!(words(&[b"\x1f\x8b".as_slice(), &[7; 600]].concat()).contains("gzip -dc"));
    assert_eq!(unpacked(&scratch, "to", &good[..2048]).unwrap().len(), 1, "no end mark");
    assert!(words(&good[..2047]).contains("in the middle"));
    assert!(words(&good[..515]).contains("in the middle"));
    let mut damaged = good.clone();
    damaged[1030] ^= 1;
    assert!(words(&damaged).contains("damaged"));
    let extended = |kind, size: u64, content: &[u8]| {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        let mut bytes = [header.as_bytes().as_slice(), content].concat();
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        [bytes, good.clone()].concat()
    };
    for kind in [EntryType::XHeader, EntryType::GNULongName, EntryType::GNULongLink] {
        assert!(words(&extended(kind, 1 << 40, b"")).contains("more than 1 MiB"));
    }
    for broken in ["x", "5 a=b\n", "3 a\n", "99 path=a\n", "0 a=b\n", "6 a=bc", "11 size=-1\n", "99999999999 a=b\n"] {
        let error = words(&extended(EntryType::XHeader, broken.len() as u64, broken.as_bytes()));
        assert!(error.contains("broken PAX"), "{broken:?}: {error}");
    }
    let record = |text: &str| extended(EntryType::XHeader, text.len() as u64, text.as_bytes());
    unpacked(&scratch, "to", &record("14 path=a\nb\nc\n")).unwrap();
    assert_eq!(scratch.read("to/a\nb\nc"), "content");
    assert!(words(&record("12 path=a\0b\n")).contains("unpack"));
    assert!(words(&record(&format!("5011 path={}\n", "p".repeat(5000)))).contains("too long"));
    assert!(words(&record("29 size=18446744073709551615\n")).contains("out of bounds"));
    assert!(words(&record("28 size=9223372036854775807\n")).contains("in the middle"));
    assert!(!scratch.all("to").iter().any(|path| path.contains(".new-")), "nothing half stays");
}

#[test]
fn times_before_and_between_seconds() {
    assert_eq!(seconds(b"12"), Some((12, 0)));
    assert_eq!(seconds(b"12.5"), Some((12, 500_000_000)));
    assert_eq!(seconds(b"-1.25"), Some((-2, 750_000_000)));
    assert_eq!(seconds(b"-3"), Some((-3, 0)));
    for bad in ["", "-", ".", "1.x", "+1", "99999999999999999999", "1.0000000001"] {
        assert!(seconds(bad.as_bytes()).is_none_or(|(_, part)| part < 1_000_000_000), "{bad}");
    }
}

/// xorshift, seeded: the same every time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

/// Makes the checksums right again, so that damage gets further than the first look.
pub(crate) fn mend(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(BLOCK) {
        if block[257..262] == *b"ustar" {
            let mut header = Header::new_old();
            header.as_mut_bytes().copy_from_slice(block);
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
    }
}

#[test]
fn garbage_never_panics_and_never_leaves() {
    let scratch = Scratch::new();
    scratch.dir("from/sub");
    fs::write(scratch.at("from/file"), "content").unwrap();
    fs::write(scratch.at(&format!("from/sub/{}", "n".repeat(150))), "content").unwrap();
    symlink("../..", scratch.at("from/sub/link")).unwrap();
    fs::hard_link(scratch.at("from/file"), scratch.at("from/sub/hard")).unwrap();
    let sparse = fs::File::create(scratch.at("from/sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", 1 << 20).unwrap();
    let mut good = vec![written(&scratch, "from", "x")];
    for words in [&["--format=gnu"][..], &["--format=pax"], &["--format=pax", "--sparse-version=0.1"]] {
        let words = [&["tar"], words, &["-cSf", "-", "sub", "file", "sparse"]].concat();
        good.push(run(&words, &scratch.at("from"), b""));
    }
    scratch.dir("jail/to");
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for round in 0..3000 {
        let mut bytes = if round % 10 == 0 {
            (0..dice.roll(3000)).map(|_| dice.roll(256) as u8).collect()
        } else {
            good[round % good.len()].clone()
        };
        for _ in 0..dice.roll(8) {
            // Mostly where headers are, and mostly what means something there.
            let at = dice.roll(bytes.len().clamp(1, 12 * BLOCK));
            let with =
                [b'/', b'.', 0, b'0', b'7', 0x80, 0xff, b'x', b'L', b'S', b'1', b'2', b' ', b'\n'][dice.roll(14)];
            if let Some(byte) = bytes.get_mut(at) {
                *byte = with;
            }
        }
        if round % 3 == 0 {
            bytes.truncate(dice.roll(bytes.len().max(1)));
        }
        if round % 7 != 0 {
            mend(&mut bytes);
        }
        let _ = unpacked(&scratch, "jail/to", &bytes);
        if round % 50 == 0 {
            assert_eq!(fs::read_dir(scratch.at("jail")).unwrap().count(), 1);
            let _ = Command::new("chmod").args(["-R", "u+rwx", "jail"]).current_dir(scratch.at(".")).status();
            fs::remove_dir_all(scratch.at("jail/to")).unwrap();
        }
    }
    assert_eq!(scratch.all("from/sub").len(), 3);
    assert_eq!(scratch.read("from/file"), "content");
}
