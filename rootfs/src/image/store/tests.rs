//! Images come, share what they have in common, and go; and nothing that was begun is ever taken for an image.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tar::EntryType::{Directory, Regular};

use super::*;
use crate::copy::Owner;
use crate::image::layer::Limits;
use crate::scratch::Scratch;
use crate::tar::tests::{archive, run};

const RULES: Rules = Rules {
    owner: Owner::Maker,
    opaque: c"user.overlay.opaque",
    limits: Limits { bytes: 1 << 20, files: 1000, depth: 100 },
};

fn store(scratch: &Scratch) -> Store {
    Store::make(&scratch.at("store")).unwrap()
}

fn layer(n: u32) -> Vec<u8> {
    let (name, word) = (format!("d/file{n}"), n.to_string());
    archive(&[(Directory, "d", "", ""), (Regular, &name, "", &word)])
}

fn add(open: &Open, bytes: &[u8], wanted: Option<&Digest>) -> Result<Digest, Failed> {
    open.add_layer(&mut &bytes[..], wanted, &RULES, &mut |path, why| panic!("{}: {why}", path.display()))
}

/// An image of these layers.
fn image(open: &Open, layers: &[u32], names: &[&str]) -> Image {
    let layers: Vec<Digest> = layers.iter().map(|n| add(open, &layer(*n), None).unwrap()).collect();
    let id = open.add_document(format!("{layers:?}").as_bytes()).unwrap();
    let image = Image { id, manifest: None, layers };
    let names: Vec<Reference> = names.iter().map(|name| name.parse().unwrap()).collect();
    open.add_image(&image, &names).unwrap();
    image
}

fn below(scratch: &Scratch, place: &str) -> Vec<String> {
    let mut all: Vec<String> =
        fs::read_dir(scratch.at(place)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

#[test]
fn images_share_their_layers_and_come_out_as_they_went_in() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let open = store.open().unwrap();
    let one = image(&open, &[1, 2], &["one", "one:old"]);
    let two = image(&open, &[1, 3], &["two"]);
    assert_eq!(below(&scratch, "store/layers").len(), 3);
    assert_eq!(below(&scratch, "store/partial"), ["boot"]);
    let mut images = open.images().unwrap();
    images.sort_by_key(|image| image.id != one.id);
    assert_eq!(images, [one.clone(), two.clone()]);
    let names: Vec<String> = open.names().unwrap().iter().map(|(name, _)| name.to_string()).collect();
    let whole = |name: &str| format!("docker.io/library/{name}");
    assert_eq!(names, [whole("one:latest"), whole("one:old"), whole("two:latest")]);
    for (n, digest) in [(1, one.layers[0]), (2, one.layers[1]), (3, two.layers[1])] {
        let mut bytes = Vec::new();
        assert_eq!(open.archive(&digest, &mut bytes).unwrap(), bytes.len() as u64);
        assert!(bytes == layer(n));
        assert!(open.has_layer(&digest).unwrap());
        let tree = open.tree(&digest).unwrap();
        assert!(sys::statx(tree.as_fd(), &CString::new(format!("d/file{n}")).unwrap()).is_ok());
    }
    assert_eq!(open.document(&one.id).unwrap(), format!("{:?}", one.layers).into_bytes());
    let taken = open.taken().unwrap();
    assert!(taken.layers.len() == 3 && taken.layers.iter().all(|(_, bytes)| *bytes > 0) && taken.documents > 0);
    // Nobody else on this machine reads any of it.
    assert_eq!(fs::metadata(scratch.at("store")).unwrap().permissions().mode() & 0o777, 0o700);

    // A name goes to another image, and what no image has any more is swept.
    open.name(&"one".parse().unwrap(), &two.id).unwrap();
    drop(open);
    let alone = store.alone().unwrap();
    assert!(alone.remove_name(&"one:old".parse().unwrap()).unwrap());
    assert!(!alone.remove_name(&"one:old".parse().unwrap()).unwrap());
    assert_eq!(alone.sweep().unwrap(), 0);
    assert!(alone.remove_image(&one.id).unwrap() && !alone.remove_image(&one.id).unwrap());
    assert!(alone.sweep().unwrap() > 0);
    assert!(alone.images().unwrap() == std::slice::from_ref(&two));
    assert_eq!(alone.names().unwrap().len(), 2);
    assert!(alone.remove_image(&two.id).unwrap() && alone.sweep().unwrap() > 0);
    for place in ["layers", "blobs", "images", "names"] {
        assert_eq!(below(&scratch, &format!("store/{place}")), Vec::<String>::new(), "{place}");
    }
}

#[test]
fn layers_come_compressed_or_not_and_are_checked() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let open = store.open().unwrap();
    let bytes = layer(7);
    let digest = Digest::of(&bytes);
    for words in [&["cat"][..], &["gzip", "-c"], &["zstd", "-c"]] {
        let packed = run(words, Path::new("/"), &bytes);
        assert_eq!(add(&open, &packed, Some(&digest)).unwrap(), digest, "{words:?}");
        let other = Digest::of(b"");
        let error = add(&open, &packed, Some(&other)).unwrap_err().to_string();
        assert!(error.contains(&format!("it has the digest {digest}, and {other} was promised")), "{error}");
        assert!(add(&open, &packed[..packed.len() / 2], Some(&digest)).is_err(), "{words:?}");
    }
    // One more byte behind the end is another archive.
    assert!(add(&open, &[&bytes[..], b"\0"].concat(), Some(&digest)).is_err());
    assert_eq!(below(&scratch, "store/partial"), ["boot".to_owned(), digest.hex()]);
    assert_eq!(open.images().unwrap(), []);
}

#[test]
fn what_was_begun_is_no_image_and_is_swept() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let open = store.open().unwrap();
    let begun = add(&open, &layer(1), None).unwrap();
    assert!(open.has_layer(&begun).unwrap());
    // Killed in the middle; and somebody who is at it still.
    fs::create_dir_all(scratch.at("store/partial/new-killed/tree")).unwrap();
    fs::create_dir_all(scratch.at("store/partial/new-alive/tree")).unwrap();
    let alive = scratch.open("store/partial/new-alive");
    sys::lock(alive.as_fd(), LOCK_EX | LOCK_NB).unwrap();
    let second = add(&open, &layer(2), None).unwrap();
    let mut left = vec![begun.hex(), second.hex(), "boot".to_owned(), "new-alive".to_owned()];
    left.sort();
    assert_eq!(below(&scratch, "store/partial"), left);
    // The machine was started again: what was whole may not be.
    fs::write(scratch.at("store/partial/boot"), "another").unwrap();
    let third = add(&open, &layer(3), None).unwrap();
    let mut left = vec![third.hex(), "boot".to_owned(), "new-alive".to_owned()];
    left.sort();
    assert_eq!(below(&scratch, "store/partial"), left);
    assert!(!open.has_layer(&begun).unwrap());
    drop((open, alive));
    for place in ["blobs", "images", "names"] {
        fs::write(scratch.at(&format!("store/{place}/new-killed")), "half").unwrap();
    }
    let alone = store.alone().unwrap();
    assert!(alone.sweep().unwrap() > 0);
    assert_eq!(below(&scratch, "store/partial"), ["boot"]);
    for place in ["blobs", "images", "names"] {
        assert_eq!(below(&scratch, &format!("store/{place}")), Vec::<String>::new(), "{place}");
    }

    // An image of layers that are not there is none.
    drop(alone);
    let open = store.open().unwrap();
    let id = open.add_document(b"x").unwrap();
    let error = open.add_image(&Image { id, manifest: None, layers: vec![begun] }, &[]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    assert_eq!(open.images().unwrap(), []);
    let nobody = Digest::of(b"nobody's");
    assert!(open.add_image(&Image { id: nobody, manifest: None, layers: vec![] }, &[]).is_err());
}

#[test]
fn damage_is_told_and_foreign_files_are_passed_over() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let open = store.open().unwrap();
    let one = image(&open, &[1], &["one"]);
    let at = |place: &str, digest: &Digest| scratch.at(&format!("store/{place}/{}", digest.hex()));
    for place in ["blobs", "images", "names", "layers"] {
        fs::write(scratch.at(&format!("store/{place}/foreign")), "x").unwrap();
    }
    // Under a name that is not its own.
    fs::write(at("names", &Digest::of(b"x")), format!("docker.io/library/x:latest\n{}\n", one.id)).unwrap();
    fs::write(at("names", &Digest::of(b"y")), "garbage").unwrap();
    assert_eq!((open.images().unwrap().len(), open.names().unwrap().len()), (1, 1));

    fs::write(at("blobs", &one.id), "other").unwrap();
    assert!(open.document(&one.id).unwrap_err().to_string().contains("damaged"));
    open.add_document(format!("{:?}", one.layers).as_bytes()).unwrap();
    assert!(open.document(&one.id).is_ok());
    let layer = at("layers", &one.layers[0]);
    fs::write(layer.join("tree/d/file1"), "2").unwrap();
    assert!(open.archive(&one.layers[0], &mut io::sink()).unwrap_err().to_string().contains("damaged"));
    fs::remove_file(layer.join("tree/d/file1")).unwrap();
    assert!(open.archive(&one.layers[0], &mut io::sink()).unwrap_err().to_string().contains("d/file1"));
    std::os::unix::fs::symlink("/etc/passwd", layer.join("tree/d/file1")).unwrap();
    assert!(open.archive(&one.layers[0], &mut io::sink()).is_err());
    for text in ["", "image 2\n", "image 1\nlayer ../../x\n", "image 1\nlayer", "image 1\nmanifest x\n"] {
        fs::write(at("images", &one.id), text).unwrap();
        assert!(open.images().unwrap_err().to_string().contains("not ours"), "{text:?}");
    }
    fs::write(at("images", &one.id), "image 1\nfrom the future\n").unwrap();
    assert_eq!(open.images().unwrap()[0].layers, []);
}

#[test]
fn many_at_once() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    std::thread::scope(|threads| {
        for n in 0..4 {
            let store = &store;
            threads.spawn(move || {
                for round in 0..10 {
                    let open = store.open().unwrap();
                    let image = image(&open, &[0, round % 3 + 1, n % 2 + 10], &[&format!("image{round}")]);
                    for layer in &image.layers {
                        open.archive(layer, &mut io::sink()).unwrap();
                    }
                }
            });
        }
        threads.spawn(|| {
            for _ in 0..20 {
                let alone = store.alone().unwrap();
                if let Some(image) = alone.images().unwrap().first() {
                    alone.remove_image(&image.id).unwrap();
                }
                alone.sweep().unwrap();
                for image in alone.images().unwrap() {
                    for layer in image.layers {
                        assert!(scratch.at(&format!("store/layers/{}/tree", layer.hex())).exists());
                    }
                }
            }
        });
    });
    let alone = store.alone().unwrap();
    for image in alone.images().unwrap() {
        alone.remove_image(&image.id).unwrap();
    }
    alone.sweep().unwrap();
    assert_eq!(below(&scratch, "store/layers"), Vec::<String>::new());
    assert_eq!(below(&scratch, "store/partial"), ["boot"]);
}
