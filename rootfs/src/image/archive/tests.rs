//! Archives as programs write them, and as liars would: what is in the store afterwards, and what is said.

use std::fs;

use tar::EntryType::{self, Directory, Regular, Symlink};

use super::*;
use crate::copy::Owner;
use crate::image::layer::Limits;
use crate::image::store::Store;
use crate::scratch::Scratch;
use crate::tar::tests::{archive, mend, run};

const RULES: Rules = Rules {
    owner: Owner::Maker,
    opaque: c"user.overlay.opaque",
    limits: Limits { bytes: 1 << 20, files: 1000, depth: 100 },
};

fn layer(n: u32) -> Vec<u8> {
    let (name, word) = (format!("d/file{n}"), n.to_string());
    archive(&[(Directory, "d", "", ""), (Regular, &name, "", &word)])
}

/// An archive of files, and of links where the bytes say so.
fn tarred(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in files {
        if let Some(target) = bytes.strip_prefix(b"-> ") {
            let target = String::from_utf8(target.to_vec()).unwrap();
            let one = archive(&[(Symlink, name, &target, "")]);
            out.extend_from_slice(&one[..one.len() - 1024]);
        } else {
            file(&mut out, name, bytes).unwrap();
        }
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn config(layers: &[Vec<u8>]) -> Vec<u8> {
    let ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    let rootfs = Value::map([("type", "layers".into()), ("diff_ids", ids.into())]);
    let own = Value::map([("Cmd", vec!["sh"].into())]);
    let platform = Platform::own();
    Value::map([
        ("architecture", platform.architecture.into()),
        ("os", platform.os.into()),
        ("config", own),
        ("rootfs", rootfs),
    ])
    .compact()
    .into_bytes()
}

/// As `docker save` had it until version 24.
fn of_docker(layers: &[Vec<u8>], names: &[&str]) -> Vec<(String, Vec<u8>)> {
    let config = config(layers);
    let id = Digest::of(&config).hex();
    let mut files = vec![];
    for (n, layer) in layers.iter().enumerate() {
        files.push((format!("{n}/VERSION"), b"1.0".to_vec()));
        files.push((format!("{n}/json"), b"{}".to_vec()));
        files.push((format!("{n}/layer.tar"), layer.clone()));
    }
    files.push((format!("{id}.json"), config));
    let paths: Vec<String> = (0..layers.len()).map(|n| format!("{n}/layer.tar")).collect();
    let one = Value::map([
        ("Config", format!("{id}.json").into()),
        ("RepoTags", names.to_vec().into()),
        ("Layers", paths.into()),
    ]);
    files.push(("manifest.json".to_owned(), Value::List(vec![one]).compact().into_bytes()));
    files.push(("repositories".to_owned(), b"{}".to_vec()));
    files
}

fn put(files: &mut Vec<(String, Vec<u8>)>, bytes: Vec<u8>) -> (Digest, u64) {
    let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
    files.push((blob_name(&digest), bytes));
    (digest, size)
}

/// As skopeo and buildah have it: layers compressed, an index of one.
fn of_oci(layers: &[Vec<u8>], name: &str) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
    let (id, size) = put(&mut files, config(layers));
    let mut list = Vec::new();
    for (n, layer) in layers.iter().enumerate() {
        let words = [&["gzip", "-nc"][..], &["zstd", "-c"]][n % 2];
        let (digest, size) = put(&mut files, run(words, Path::new("/"), layer));
        list.push(descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &digest, size));
    }
    let manifest = Value::map([
        ("schemaVersion", 2_u32.into()),
        ("mediaType", MANIFESTS[0].into()),
        ("config", descriptor(CONFIGS[0], &id, size)),
        ("layers", Value::List(list)),
    ]);
    let (digest, size) = put(&mut files, manifest.compact().into_bytes());
    // Beside it one for other machines, which is not there, and what says where it comes from, which is no image.
    let (nobody, _) = put(&mut files, b"{}".to_vec());
    let mut one = descriptor(MANIFESTS[0], &digest, size);
    if let Value::Map(entries) = &mut one {
        entries.push(("annotations".to_owned(), Value::map([("org.opencontainers.image.ref.name", name.into())])));
    }
    let mut other = descriptor(MANIFESTS[0], &nobody, 2);
    if let Value::Map(entries) = &mut other {
        let platform = Value::map([("os", "unknown".into()), ("architecture", "unknown".into())]);
        entries.push(("platform".to_owned(), platform));
    }
    let index = Value::map([("schemaVersion", 2_u32.into()), ("manifests", Value::List(vec![other, one]))]);
    files.push(("index.json".to_owned(), index.compact().into_bytes()));
    files
}

fn read(open: &Open, bytes: &[u8]) -> Result<Vec<Loaded>, Failed> {
    load(open, &mut &bytes[..], &Platform::own(), &RULES, &mut |path, why| {
        assert!(why.contains("no end mark"), "{}: {why}", path.display());
    })
}

fn names(loaded: &Loaded) -> Vec<String> {
    loaded.names.iter().map(ToString::to_string).collect()
}

#[test]
fn what_others_write_is_read() {
    let scratch = Scratch::new();
    let store = Store::make(&scratch.at("store")).unwrap();
    let open = store.open().unwrap();
    let layers = [layer(1), layer(2), layer(3)];
    let ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let docker = tarred(&of_docker(&layers, &["web:1", "example.org/web:latest"]));
    let oci = of_oci(&layers, "example.org/web:oci");
    for words in [&["cat"][..], &["gzip", "-c"], &["zstd", "-c"]] {
        let loaded = read(&open, &run(words, Path::new("/"), &docker)).unwrap();
        assert_eq!(names(&loaded[0]), ["docker.io/library/web:1", "example.org/web:latest"]);
        assert_eq!(loaded[0].image, Image { id: Digest::of(&config(&layers)), manifest: None, layers: ids.clone() });
    }
    let loaded = read(&open, &tarred(&oci)).unwrap();
    assert_eq!((loaded.len(), names(&loaded[0])), (1, vec!["example.org/web:oci".to_owned()]));
    assert_eq!((loaded[0].image.layers.clone(), loaded[0].image.manifest.is_some()), (ids.clone(), true));
    // The same in another order, with directories and `./` before all names.
    let mut turned: Vec<_> = oci.iter().rev().map(|(name, bytes)| (format!("./{name}"), bytes.clone())).collect();
    turned.insert(0, ("./blobs/sha256/README".to_owned(), b"no layer, and nobody asks for it".to_vec()));
    assert_eq!(read(&open, &tarred(&turned)).unwrap(), loaded);
    // A tag alone names nothing.
    assert_eq!(names(&read(&open, &tarred(&of_oci(&layers, "latest"))).unwrap()[0]), Vec::<String>::new());
    // One layer twice: the second is a link.
    let mut linked = of_docker(&[layer(1), layer(1)], &[]);
    linked
        .iter_mut()
        .filter(|(name, _)| name == "1/layer.tar")
        .for_each(|(_, bytes)| *bytes = b"-> ../0/layer.tar".to_vec());
    assert_eq!(read(&open, &tarred(&linked)).unwrap()[0].image.layers, [ids[0], ids[0]]);

    // A directory: what is named is read, and nothing else.
    for (name, bytes) in &oci {
        let at = scratch.at(&format!("layout/{name}"));
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, bytes).unwrap();
    }
    let layout = scratch.open("layout");
    let by_directory = || load_layout(&open, layout.as_fd(), &Platform::own(), &RULES, &mut |_, _| {});
    assert_eq!(by_directory().unwrap(), loaded);
    let config = scratch.at(&format!("layout/{}", blob_name(&loaded[0].image.id)));
    fs::rename(&config, scratch.at("elsewhere")).unwrap();
    assert!(by_directory().unwrap_err().to_string().contains("it is not there"));
    std::os::unix::fs::symlink(scratch.at("elsewhere"), &config).unwrap();
    assert!(by_directory().unwrap_err().to_string().contains("symbolic links"));
}

#[test]
fn what_we_write_we_read_and_ids_stay() {
    let scratch = Scratch::new();
    let store = Store::make(&scratch.at("store")).unwrap();
    let open = store.open().unwrap();
    let one = read(&open, &tarred(&of_docker(&[layer(1), layer(2)], &["one", "other.org/one:x"]))).unwrap().remove(0);
    let two = read(&open, &tarred(&of_oci(&[layer(1), layer(3)], "two:1"))).unwrap().remove(0);
    let three = read(&open, &tarred(&of_docker(&[layer(1), layer(1)], &[]))).unwrap().remove(0);
    let all: Vec<_> = [&one, &two, &three].iter().map(|one| (one.image.clone(), one.names.clone())).collect();
    let mut bytes = Vec::new();
    save(&open, &all, &mut bytes).unwrap();
    let mut again = Vec::new();
    save(&open, &all, &mut again).unwrap();
    assert!(bytes == again);
    // Each blob once: three layers, three configurations, three manifests.
    fs::write(scratch.at("all.tar"), &bytes).unwrap();
    let list = String::from_utf8(run(&["tar", "-tf", "all.tar"], &scratch.at("."), b"")).unwrap();
    assert_eq!(list.lines().filter(|line| line.len() > "blobs/sha256/".len()).count(), 9, "{list}");

    let second = Store::make(&scratch.at("second")).unwrap();
    let open = second.open().unwrap();
    let loaded = read(&open, &bytes).unwrap();
    let ids = |all: &[&Loaded]| {
        all.iter().map(|one| (one.image.id, one.image.layers.clone(), names(one))).collect::<Vec<_>>()
    };
    assert_eq!(ids(&loaded.iter().collect::<Vec<_>>()), ids(&[&one, &two, &three]));
    // As OCI's alone.
    let at = bytes.windows(14).position(|name| name == b"manifest.json\0").unwrap();
    bytes[at..at + 14].copy_from_slice(b"manifest.oth\0\0");
    mend(&mut bytes);
    let loaded = read(&open, &bytes).unwrap();
    let mut found: Vec<_> = loaded.iter().map(|one| (one.image.id, names(one))).collect();
    found.sort();
    let single = |id: Digest, name: &str| (id, vec![name.to_owned()]);
    let mut wanted = vec![
        single(one.image.id, "docker.io/library/one:latest"),
        single(one.image.id, "other.org/one:x"),
        single(two.image.id, "docker.io/library/two:1"),
        (three.image.id, Vec::new()),
    ];
    wanted.sort();
    assert_eq!(found, wanted);
}

#[test]
fn who_lies_is_not_believed() {
    let scratch = Scratch::new();
    let store = Store::make(&scratch.at("store")).unwrap();
    let open = store.open().unwrap();
    let layers = [layer(1), layer(2)];
    let error = |files: Vec<(String, Vec<u8>)>| read(&open, &tarred(&files)).unwrap_err().to_string();
    let changed = |files: &[(String, Vec<u8>)], name: &str, from: &str, to: &str| {
        let mut files = files.to_vec();
        let (_, bytes) = files.iter_mut().find(|(other, _)| other.contains(name)).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.contains(from), "{name}: {from}");
        *bytes = text.replace(from, to).into_bytes();
        error(files)
    };
    let docker = of_docker(&layers, &["web:1"]);
    let with = |name: &str, bytes: &[u8]| {
        let mut files = docker.clone();
        files.iter_mut().find(|(other, _)| other == name).unwrap().1 = bytes.to_vec();
        error(files)
    };
    assert!(with("1/layer.tar", &layer(7)).contains("not those that its configuration speaks of"));
    assert!(with("1/layer.tar", b"no archive").contains("unpack the layer 1/layer.tar"));
    assert!(with("manifest.json", b"[").contains("not JSON"));
    assert!(with("manifest.json", b"[{}]").contains("names no configuration"));
    assert!(with("manifest.json", b"[]").contains("it has no image"));
    for (from, to, said) in [
        ("0/layer.tar", "../../etc/passwd", "the archive does not have it"),
        ("0/layer.tar", "1/layer.tar", "not those that its configuration speaks of"),
        ("\"0/layer.tar\",", "", "not those that its configuration speaks of"),
        ("web:1", "../../web", "bad image name"),
        (".json", ".no", "the archive does not have it"),
    ] {
        let found = changed(&docker, "manifest.json", from, to);
        assert!(found.contains(said), "{from}: {found}");
    }
    assert!(changed(&docker, &Digest::of(&config(&layers)).hex(), "linux", "plan9").contains("it has no image for"));

    let oci = of_oci(&layers, "web:1");
    let manifest = oci.iter().find(|(_, bytes)| bytes.starts_with(b"{\"schemaVersion\":2,\"mediaType\"")).unwrap();
    let hex = manifest.0.rsplit('/').next().unwrap();
    assert!(changed(&oci, &manifest.0, "+gzip", "+gzap").contains("it is not what it is called"));
    assert!(changed(&oci, "index.json", hex, &"0".repeat(64)).contains("it has no image"));
    assert!(changed(&oci, "index.json", hex, "../../../../etc/passwd").contains("not a digest"));
    let size = format!("\"size\":{}", manifest.1.len());
    assert!(changed(&oci, "index.json", &size, "\"size\":7").contains("it is not what it is called"));
    // A layer that is another one, under the name of the first.
    let mut files = oci.clone();
    let (_, bytes) = files.iter_mut().find(|(_, bytes)| bytes.starts_with(b"\x1f\x8b")).unwrap();
    *bytes = run(&["gzip", "-nc"], Path::new("/"), &layer(9));
    assert!(error(files).contains("it is not what it is called: its digest is"));
    let mut files = oci.clone();
    let (_, bytes) = files.iter_mut().find(|(_, bytes)| bytes.starts_with(b"\x1f\x8b")).unwrap();
    bytes.truncate(bytes.len() - 9);
    assert!(error(files).contains("unpack the layer blobs/sha256/"));

    assert!(error(vec![]).contains("neither a manifest.json nor an index.json"));
    assert!(error(vec![("etc/passwd".to_owned(), b"root".to_vec())]).contains("ctr import"));
    assert!(read(&open, b"").unwrap_err().to_string().contains("empty"));
    let whole = tarred(&docker);
    for end in [100, 700, 2000, whole.len() / 2] {
        assert!(read(&open, &whole[..end]).is_err(), "{end}");
    }
    let many = vec![(EntryType::Fifo, "x", "", ""); MOST_FILES + 1];
    assert!(read(&open, &archive(&many)).unwrap_err().to_string().contains("more than 10000 files"));
    let large: Vec<_> = (0..9).map(|n| (format!("{n}.json"), vec![b'['; 2 << 20])).collect();
    assert!(error(large).contains("16 MiB of documents"));

    // And nothing of it is an image.
    assert_eq!((open.images().unwrap(), open.names().unwrap()), (vec![], vec![]));
}
