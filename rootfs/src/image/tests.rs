//! Layers of all kinds, as programs write them and as nobody should: what they become, and that they are made again to the byte.

use std::cell::RefCell;
use std::ffi::CStr;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use tar::EntryType::{self, Block, Char, Directory, Fifo, Link, Regular, Symlink};

use super::digest::Digest;
use super::layer::{self, Kept, Limits, Made, Rules};
use super::recipe::{self, Recipe};
use crate::copy::Owner;
use crate::scratch::Scratch;
use crate::sys;
use crate::tar::tests::{Dice, archive, full, mend, nothing_gets_out, run, same};
use crate::walk::Failed;

/// For who is not root too.
const OPAQUE: &CStr = c"user.overlay.opaque";

/// An entry: its type, path, link, content.
type Said<'a> = (EntryType, &'a str, &'a str, &'a str);

struct Unpacked {
    made: Made,
    notes: Vec<String>,
    recipe: Vec<u8>,
}

fn unpack_by(scratch: &Scratch, to: &str, mut bytes: &[u8], limits: Limits) -> Result<Unpacked, Failed> {
    let mut notes = Vec::new();
    let path = scratch.at(&format!("{}.recipe", to.replace('/', ".")));
    let recipe = RefCell::new(Recipe::new(fs::File::create(&path).unwrap()));
    let rules = Rules { owner: Owner::Maker, opaque: OPAQUE, limits };
    let aside = scratch.open(&format!("{to}.aside"));
    let kept = Kept { recipe: &recipe, aside: aside.as_fd() };
    let made = layer::unpack(scratch.open(to).as_fd(), &mut bytes, &rules, Some(kept), &mut |path, why| {
        notes.push(format!("{}: {why}", path.display()));
    })?;
    recipe.into_inner().finish().unwrap();
    let recipe = fs::read(&path).unwrap();
    fs::remove_file(path).unwrap();
    Ok(Unpacked { made, notes, recipe })
}

fn unpack(scratch: &Scratch, to: &str, bytes: &[u8]) -> Result<Unpacked, Failed> {
    unpack_by(scratch, to, bytes, Limits::default())
}

/// The archive once more, of its directory and its recipe.
fn again(scratch: &Scratch, from: &str, unpacked: &Unpacked) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (dir, aside) = (scratch.open(from), scratch.open(&format!("{from}.aside")));
    let recipe = &mut std::io::Cursor::new(&unpacked.recipe);
    let size = recipe::assemble(dir.as_fd(), aside.as_fd(), recipe, &mut bytes).unwrap();
    assert_eq!((size, size), (bytes.len() as u64, unpacked.made.bytes));
    bytes
}

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_char_device() && m.rdev() == 0)
}

fn is_opaque(scratch: &Scratch, path: &str) -> bool {
    let mut value = [0; 8];
    matches!(sys::attribute(scratch.open(path).as_fd(), OPAQUE, &mut value), Ok(1)) && value[0] == b'y'
}

#[test]
fn what_programs_write_becomes_the_same_tree_and_the_same_bytes() {
    let scratch = Scratch::new();
    full(&scratch);
    for format in ["gnu", "pax", "posix", "oldgnu"] {
        let bytes = run(&["tar", "--format", format, "-cf", "-", "."], &scratch.at("from"), b"");
        let unpacked = unpack(&scratch, format, &bytes).unwrap();
        assert_eq!(unpacked.notes, Vec::<String>::new());
        same(&scratch, "from", format);
        let own = |dir: &str| fs::metadata(scratch.at(dir)).map(|m| (m.mode(), m.mtime())).unwrap();
        assert_eq!(own("from"), own(format), "the directory itself");
        assert!(unpacked.made.exact, "{format}");
        assert_eq!(Digest::of(&again(&scratch, format, &unpacked)), Digest::of(&bytes), "{format}");
        assert!(unpacked.recipe.len() < bytes.len() / 20, "{} of {}", unpacked.recipe.len(), bytes.len());
    }
}

#[test]
fn directories_keep_their_times_whatever_comes_later() {
    let scratch = Scratch::new();
    let bytes = archive(&[
        (Directory, "a", "", ""),
        (Directory, "a/b", "", ""),
        (Regular, "a/b/f", "", "1"),
        (Directory, "z", "", ""),
        // Come back to, by its name and by a link.
        (Regular, "a/b/late", "", "2"),
        (Symlink, "l", "a/b", ""),
        (Regular, "z/f", "", "3"),
        (Regular, "l/by-link", "", "4"),
        (Regular, "a/.wh.gone", "", ""),
    ]);
    let unpacked = unpack(&scratch, "to", &bytes).unwrap();
    for dir in ["a", "a/b", "z"] {
        let found = fs::metadata(scratch.at(&format!("to/{dir}"))).unwrap();
        assert_eq!((found.mtime(), found.mode() & 0o7777), (1, 0o750), "{dir}");
    }
    assert_eq!(scratch.read("to/a/b/by-link"), "4");
    assert!(unpacked.made.exact && again(&scratch, "to", &unpacked) == bytes);
}

#[test]
fn what_is_taken_away_is_as_overlayfs_has_it() {
    let scratch = Scratch::new();
    let bytes = archive(&[
        (Directory, "d", "", ""),
        (Regular, "d/.wh..wh..opq", "", ""),
        (Regular, ".wh.file", "", ""),
        (Regular, "no/such/.wh.dir", "", ""),
        // In both orders: what this layer has itself stays.
        (Regular, "kept", "", "1"),
        (Regular, ".wh.kept", "", ""),
        (Regular, ".wh.new", "", ""),
        (Regular, "new", "", "2"),
        (Directory, "dir", "", ""),
        (Regular, ".wh.dir", "", ""),
        (Regular, ".wh.newdir", "", ""),
        (Directory, "newdir", "", ""),
        (Regular, "newdir/f", "", "3"),
        // What aufs kept for itself.
        (Regular, ".wh..wh.aufs", "", ""),
        (Directory, ".wh..wh.plnk", "", ""),
        // Whatever kind it is of, and twice.
        (Symlink, ".wh.by-link", "x", ""),
        (Regular, ".wh.file", "", ""),
    ]);
    let unpacked = unpack(&scratch, "to", &bytes).unwrap();
    for gone in ["file", "no/such/dir", "by-link"] {
        assert!(is_whiteout(&scratch.at(&format!("to/{gone}"))), "{gone}");
    }
    assert_eq!((scratch.read("to/kept"), scratch.read("to/new")), ("1".to_owned(), "2".to_owned()));
    for (dir, opaque) in [("d", true), ("dir", true), ("newdir", true), ("no", false), ("no/such", false)] {
        assert_eq!(is_opaque(&scratch, &format!("to/{dir}")), opaque, "{dir}");
    }
    let mut all = scratch.all("to");
    all.sort();
    let left = ["by-link", "d", "dir", "file", "kept", "new", "newdir", "newdir/f", "no", "no/such", "no/such/dir"];
    assert_eq!(all, left);
    assert!(unpacked.made.exact && again(&scratch, "to", &unpacked) == bytes);

    for bad in [".wh.", ".wh..", ".wh...", "d/.wh...", "../.wh..."] {
        let error = unpack(&scratch, "bad", &archive(&[(Regular, bad, "", "")])).err().unwrap().to_string();
        assert!(error.contains("a whiteout of nothing"), "{bad}: {error}");
    }
    assert_eq!(scratch.all("bad"), ["d"]);
}

#[test]
fn nothing_leads_out_of_the_layer() {
    let scratch = Scratch::new();
    nothing_gets_out(&scratch, &|to, bytes| drop(unpack(&scratch, to, bytes)));
    for (entries, words) in [
        (&[(Fifo, ".", "", "")][..], "would replace"),
        (&[(Symlink, ".", "x", "")], "would replace"),
        (&[(Link, "h", "/", "")], "hard link to a directory"),
        (&[(Directory, "d", "", ""), (Link, "h", "d", "")], "hard link to a directory"),
        (&[(Link, "h", "none", "")], "a hard link to /none: No such file"),
        (&[(Regular, ".wh.f", "", ""), (Link, "h", "f", "")], "a hard link to /f: No such file"),
        (&[(Symlink, "l", "", "")], "link to nothing"),
        (&[(Regular, "f", "", "x"), (Regular, "f/g", "", "x")], "Not a directory"),
    ] {
        let error = unpack(&scratch, "words", &archive(entries)).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
        fs::remove_dir_all(scratch.at("words")).unwrap();
    }
}

/// The last word counts for the tree, and every word for the archive.
#[test]
fn what_is_said_twice_is_made_again() {
    let scratch = Scratch::new();
    let cases: &[(&[Said], bool)] = &[
        (&[(Regular, "x", "", "1"), (Regular, "x", "", "new")], true),
        (&[(Regular, "x", "", "1"), (Regular, "x", "", "22"), (Regular, "x", "", "new")], true),
        (&[(Directory, "x", "", ""), (Regular, "x/f", "", "1"), (Regular, "x", "", "new")], true),
        (&[(Regular, "a", "", "old"), (Link, "x", "a", ""), (Regular, "x", "", "new")], true),
        (&[(Regular, "x", "", "new"), (Link, "x", "x", "")], true),
        (&[(Regular, "x", "", "new"), (Link, "y", "x", "")], true),
        (&[(Directory, "d", "", ""), (Directory, "d", "", ""), (Regular, "x", "", "new")], true),
        (&[(Regular, ".wh.d", "", "what is in here?"), (Regular, "x", "", "new")], true),
        (
            &[
                (Regular, "d/d/f", "", "1"),
                (Regular, "d/d", "", "2"),
                (Regular, "d", "", "3"),
                (Regular, "d2", "", "4"),
                (Fifo, "d", "", ""),
                (Regular, "d/", "", ""),
                (Regular, "d/d/f", "", "5"),
                (Regular, "x", "", "new"),
            ],
            true,
        ),
        (&[(Symlink, "x", "y", ""), (Regular, "x", "", "new")], false),
    ];
    for (n, (entries, exact)) in cases.iter().enumerate() {
        let (to, bytes) = (format!("to{n}"), archive(entries));
        let unpacked = unpack(&scratch, &to, &bytes).unwrap();
        assert_eq!(scratch.read(&format!("{to}/x")), "new", "{n}");
        assert_eq!(unpacked.made.exact, *exact, "{n}");
        assert!(!exact || again(&scratch, &to, &unpacked) == bytes, "{n}");
    }
    assert_eq!(scratch.read("to3/a"), "old");
    assert_eq!((scratch.read("to8/d/d/f"), scratch.read("to8/d2")), ("5".to_owned(), "4".to_owned()));
}

#[test]
fn holes_stay_holes() {
    let scratch = Scratch::new();
    scratch.dir("from");
    let file = fs::File::create(scratch.at("from/sparse")).unwrap();
    for at in [1 << 20, 3 << 20, 5 << 20] {
        std::os::unix::fs::FileExt::write_all_at(&file, b"data", at).unwrap();
    }
    file.set_len(9 << 20).unwrap();
    for format in ["gnu", "pax"] {
        let bytes = run(&["tar", "--format", format, "-cSf", "-", "."], &scratch.at("from"), b"");
        assert!(bytes.len() < 1 << 20, "tar finds no holes here");
        let unpacked = unpack(&scratch, format, &bytes).unwrap();
        same(&scratch, "from", format);
        assert!(fs::metadata(scratch.at(&format!("{format}/sparse"))).unwrap().blocks() * 512 < 1 << 20);
        assert!(unpacked.made.exact && again(&scratch, format, &unpacked) == bytes);
    }
}

#[test]
fn limits_are_kept() {
    let scratch = Scratch::new();
    let limits = Limits { bytes: 10_000, files: 4, depth: 3 };
    let error = |entries: &[Said]| {
        unpack_by(&scratch, "to", &archive(entries), limits).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert_eq!(
        error(&[(Regular, "1", "", ""), (Regular, "2", "", ""), (Regular, "3", "", ""), (Fifo, "4", "", "")]),
        ""
    );
    assert_eq!(error(&[(Regular, "a/b/c", "", "")]), "");
    assert!(error(&[(Regular, "a/b/c/d", "", "")]).contains("more than 3 directories deep"));
    assert!(error(&[(Fifo, "1", "", ""); 5]).contains("more than 4 files"));
    assert!(error(&[(Regular, "f", "", &"x".repeat(9_000))]).contains("more than 10000 bytes unpacked"));
    // Also where it is no file's content.
    assert!(error(&[(EntryType::XGlobalHeader, "f", "", &"x".repeat(9_000))]).contains("more than 10000 bytes"));
    // One that goes on and on is read no further than that.
    let endless = [&archive(&[(Fifo, "f", "", "")])[..], &vec![0; 20_000]].concat();
    let error = unpack_by(&scratch, "to", &endless, limits).err().unwrap();
    assert!(error.to_string().contains("more than 10000 bytes"), "{error}");
}

/// A PAX header with these records before a file.
fn with_records(records: &[(&str, &[u8])], entry: Said) -> Vec<u8> {
    let mut said = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest..rest + 9).find(|n| n.to_string().len() + rest == *n).unwrap();
        said.extend(format!("{length} {key}=").bytes());
        said.extend(*value);
        said.push(b'\n');
    }
    // Its bytes need not be text.
    let mut bytes = archive(&[(EntryType::XHeader, "pax", "", &" ".repeat(said.len()))]);
    bytes[512..512 + said.len()].copy_from_slice(&said);
    bytes.truncate(bytes.len() - 1024);
    [bytes, archive(&[entry])].concat()
}

#[test]
fn attributes_are_kept_but_for_overlayfs_own() {
    let scratch = Scratch::new();
    let records: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.user.kept", b"value\0\xff\n="),
        ("SCHILY.xattr.user.empty", b""),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.trusted.overlay.metacopy", b""),
        ("SCHILY.xattr.security.selinux", b"system_u:object_r:etc_t:s0"),
    ];
    for entry in [(Regular, "f", "", "x"), (Directory, "f", "", "")] {
        let to = format!("to{:?}", entry.0);
        let unpacked = unpack(&scratch, &to, &with_records(records, entry)).unwrap();
        assert_eq!(unpacked.notes, Vec::<String>::new());
        let file = fs::File::open(scratch.at(&format!("{to}/f"))).unwrap();
        let mut list = [0; 1000];
        let used = sys::list_attributes(file.as_fd(), &mut list).unwrap();
        let mut names: Vec<&[u8]> = list[..used].split(|b| *b == 0).filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        assert_eq!(names, [&b"user.empty"[..], b"user.kept"]);
        let mut value = [0; 100];
        let length = sys::attribute(file.as_fd(), c"user.kept", &mut value).unwrap();
        assert_eq!(&value[..length], b"value\0\xff\n=");
    }
    let odd = with_records(&[("SCHILY.xattr.no-such-kind", b"x")], (Regular, "g", "", ""));
    let notes = unpack(&scratch, "odd", &odd).unwrap().notes;
    assert!(notes.len() == 1 && notes[0].contains("without its attribute no-such-kind"), "{notes:?}");
    let nul = with_records(&[("SCHILY.xattr.user.\0", b"x")], (Regular, "g", "", ""));
    assert!(unpack(&scratch, "nul", &nul).err().unwrap().to_string().contains("NUL"));
    let long = with_records(&[(&format!("SCHILY.xattr.user.{}", "n".repeat(300)), b"x")], (Regular, "g", "", ""));
    assert!(unpack(&scratch, "long", &long).err().unwrap().to_string().contains("its attribute user.nnn"));
}

/// Needs root, for devices and for files of others.
#[test]
#[ignore = "needs root"]
fn devices_and_owners() {
    let scratch = Scratch::new();
    full(&scratch);
    for (path, kind, device) in [(c"null", 0o020_000, 0x103), (c"disk", 0o060_000, 0x0010_0800)] {
        sys::mknod(scratch.open("from").as_fd(), path, kind | 0o640, device).unwrap();
    }
    for (path, id) in [("from/big", 1_234_567), ("from/closed", 7), ("from/link", 8), ("from/null", 9)] {
        std::os::unix::fs::lchown(scratch.at(path), Some(id), Some(id + 1)).unwrap();
    }
    fs::set_permissions(scratch.at("from/big"), fs::Permissions::from_mode(0o6755)).unwrap();
    let file = fs::File::open(scratch.at("from/big")).unwrap();
    // cap_net_raw, as setcap writes it.
    let cap = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    sys::set_attribute(file.as_fd(), c"security.capability", cap).unwrap();
    let words = ["tar", "--format=pax", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-cf", "-", "."];
    let bytes = run(&words, &scratch.at("from"), b"");
    let rules = Rules {
        owner: Owner::Kept(crate::copy::Ids::SAME, crate::copy::Ids::SAME),
        opaque: c"trusted.overlay.opaque",
        limits: Limits::default(),
    };
    layer::unpack(scratch.open("to").as_fd(), &mut &bytes[..], &rules, None, &mut |path, why| {
        panic!("{}: {why}", path.display());
    })
    .unwrap();
    same(&scratch, "from", "to");
    for path in scratch.all("from") {
        let look = |top: &str| fs::symlink_metadata(scratch.at(&format!("{top}/{path}"))).unwrap();
        let (a, b) = (look("from"), look("to"));
        assert_eq!((a.uid(), a.gid(), a.rdev(), a.mtime()), (b.uid(), b.gid(), b.rdev(), b.mtime()), "{path}");
    }
    let mut value = [0; 64];
    let file = fs::File::open(scratch.at("to/big")).unwrap();
    assert_eq!(sys::attribute(file.as_fd(), c"security.capability", &mut value).unwrap(), 20);
    assert_eq!(&value[..20], cap);

    // A device 0:0 would take away what another layer has.
    let mut notes = Vec::new();
    let bytes = archive(&[(Char, "gone", "", ""), (Block, "odd", "", "")]);
    layer::unpack(scratch.open("null").as_fd(), &mut &bytes[..], &rules, None, &mut |path, why| {
        notes.push(format!("{}: {why}", path.display()));
    })
    .unwrap();
    assert_eq!(scratch.all("null"), ["odd"]);
    assert!(notes.len() == 1 && notes[0].starts_with("gone: left out: a device 0:0"), "{notes:?}");
}

#[test]
fn garbage_never_panics_and_never_leaves() {
    let scratch = Scratch::new();
    scratch.dir("from/sub");
    fs::write(scratch.at("from/file"), "content").unwrap();
    fs::write(scratch.at("from/sub/.wh.gone"), "").unwrap();
    fs::write(scratch.at("from/sub/.wh..wh..opq"), "").unwrap();
    fs::write(scratch.at(&format!("from/sub/{}", "n".repeat(150))), "content").unwrap();
    symlink("../..", scratch.at("from/sub/link")).unwrap();
    fs::hard_link(scratch.at("from/file"), scratch.at("from/sub/hard")).unwrap();
    let records: &[(&str, &[u8])] = &[("SCHILY.xattr.user.kept", b"value"), ("mtime", b"1.5")];
    let mut good = vec![with_records(records, (Regular, "f", "", "x"))];
    for format in ["gnu", "pax"] {
        good.push(run(&["tar", "--format", format, "-cSf", "-", "sub", "file"], &scratch.at("from"), b""));
    }
    scratch.dir("jail/to");
    scratch.dir("jail/to.aside");
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for round in 0..2000 {
        let mut bytes = good[round % good.len()].clone();
        for _ in 0..dice.roll(8) {
            let at = dice.roll(bytes.len().clamp(1, 12 * 512));
            let with = [b'/', b'.', 0, b'0', b'7', 0x80, 0xff, b'x', b'L', b'S', b'1', b'2', b' ', b'\n'];
            bytes[at] = with[dice.roll(with.len())];
        }
        if round % 3 == 0 {
            bytes.truncate(dice.roll(bytes.len()));
        }
        if round % 7 != 0 {
            mend(&mut bytes);
        }
        if let Ok(unpacked) = unpack(&scratch, "jail/to", &bytes) {
            // Whatever it is, it is made again, or said not to be.
            if unpacked.made.exact {
                let same = again(&scratch, "jail/to", &unpacked);
                assert!(same == bytes, "round {round}");
            }
            // A recipe may be damaged too.
            let mut recipe = unpacked.recipe;
            let at = dice.roll(recipe.len());
            recipe[at] ^= 1 << dice.roll(8);
            let (dir, aside) = (scratch.open("jail/to"), scratch.open("jail/to.aside"));
            let recipe = &mut std::io::Cursor::new(recipe);
            let _ = recipe::assemble(dir.as_fd(), aside.as_fd(), recipe, &mut std::io::sink());
        }
        assert_eq!(fs::read_dir(scratch.at("jail")).unwrap().count(), 2);
        let _ = crate::remove::tree(scratch.open("jail").as_fd(), c"to");
        let _ = crate::remove::tree(scratch.open("jail").as_fd(), c"to.aside");
        scratch.dir("jail/to.aside");
    }
    assert_eq!(scratch.read("from/file"), "content");
}
