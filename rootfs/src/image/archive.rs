//! Images in archives and directories: what `docker save`, `podman save`, `skopeo copy`, `buildah` and `umoci` write, and one that all of
//! them read.
//!
//! There are two formats. Docker's has a `manifest.json` that names a configuration and layers by their paths in the archive; OCI's (image
//! layout, image-layout.md) an `index.json` that leads by digests to `blobs/sha256/HEX`. [`save`] writes both at once, over the same
//! blobs.
//!
//! An archive is read once, from front to back, as it comes from a pipe: what it is about stands behind what it consists of, so every file
//! that is no JSON is unpacked as a layer when it comes, and the store forgets those that nothing names. Of a directory only what is
//! named is read, and no link in it is followed (GHSA-r3h2-rgqf-9hv9).

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use linux_raw_sys::general as k;
use tar::{EntryType, Header};

use super::compress::Decompressed;
use super::digest::{Digest, Hashed};
use super::document::{self, CONFIGS, Descriptor, Document, INDEXES, LARGEST, MANIFESTS, Platform};
use super::layer::Rules;
use super::reference::Reference;
use super::store::{Image, Open};
use crate::json::{self, Value};
use crate::path::{self, Links};
use crate::sys;
use crate::tar::extract::inside;
use crate::tar::padding;
use crate::tar::read::Archive;
use crate::walk::{Failed, Note, kind};

/// How many documents an archive may have, each of up to [`LARGEST`] bytes, and all of them together no more than [`MOST_TEXT`].
const MOST_FILES: usize = 10_000;

/// Bytes of documents that are kept in memory until the archive's end.
const MOST_TEXT: u64 = 16 << 20;

/// How deep indexes may lead to indexes.
const DEEPEST: u32 = 4;

/// The type of a layer that is not compressed.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// As it is written down now.
    pub image: Image,
    /// The names that it had there, and has here now.
    pub names: Vec<Reference>,
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Where documents and layers are found by their paths.
trait Source {
    /// A document; none if there is no such file.
    fn document(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>>;
    /// A layer, unpacked: the digest of its archive, not compressed. `stored` is the digest that its file must have.
    fn layer(&mut self, path: &Path, stored: Option<&Digest>) -> Result<Digest, Failed>;
}

fn blob(digest: &Digest) -> PathBuf {
    Path::new("/blobs/sha256").join(digest.hex())
}

fn failed(path: &Path, doing: &'static str) -> impl Fn(io::Error) -> Failed + use<> {
    let path = path.strip_prefix("/").unwrap_or(path).to_owned();
    move |e| Failed::new(&path, doing, e)
}

// ---- Loading.

/// What came in an archive.
struct Collected {
    documents: BTreeMap<PathBuf, Vec<u8>>,
    /// The digest of each layer's archive, and of its file; or why it is none.
    layers: BTreeMap<PathBuf, Result<(Digest, Digest), String>>,
    links: BTreeMap<PathBuf, PathBuf>,
}

impl Collected {
    /// Where a path leads: `docker save` has a link where two images have one layer.
    fn real<'a>(&'a self, path: &'a Path) -> &'a Path {
        self.links.get(path).map_or(path, PathBuf::as_path)
    }
}

impl Source for Collected {
    fn document(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(self.documents.get(self.real(path)).cloned())
    }

    fn layer(&mut self, path: &Path, stored: Option<&Digest>) -> Result<Digest, Failed> {
        let wrong = failed(path, "unpack the layer");
        match self.layers.get(self.real(path)) {
            None => Err(wrong(bad("the archive does not have it"))),
            Some(Err(why)) => Err(wrong(bad(why.clone()))),
            Some(Ok((_, file))) if stored.is_some_and(|stored| stored != file) => {
                Err(wrong(bad(format!("it is not what it is called: its digest is {file}"))))
            }
            Some(Ok((layer, _))) => Ok(*layer),
        }
    }
}

/// Reads all images of an archive into the store, for machines of this kind where there are several.
pub fn load(
    open: &Open,
    input: &mut dyn Read,
    wanted: &Platform,
    rules: &Rules,
    note: &mut Note,
) -> Result<Vec<Loaded>, Failed> {
    let nowhere = |e| Failed::new(Path::new(""), "read the archive", e);
    let mut input = Decompressed::new(input).map_err(nowhere)?;
    let mut archive = Archive::new(&mut input);
    let mut all = Collected { documents: BTreeMap::new(), layers: BTreeMap::new(), links: BTreeMap::new() };
    let (mut files, mut text) = (0, 0);
    while let Some(entry) = archive.next(note).map_err(nowhere)? {
        files += 1;
        if files > MOST_FILES {
            return Err(nowhere(bad(format!("it has more than {MOST_FILES} files: it is no archive of images"))));
        }
        let path = inside(&entry.path).map_err(nowhere)?;
        let wrong = failed(&path, "read");
        match entry.kind {
            EntryType::Regular | EntryType::Continuous if entry.sparse.is_none() => {
                let mut content = archive.content(entry.stored);
                let mut first = [0];
                let is_text = entry.stored > 0 && {
                    content.read_exact(&mut first).map_err(&wrong)?;
                    matches!(first, [b'{' | b'[']) && entry.stored <= LARGEST
                };
                if entry.stored == 0 || is_text || is_old(&path) {
                    text += entry.stored;
                    if text > MOST_TEXT {
                        return Err(nowhere(bad("it has more than 16 MiB of documents: it is no archive of images")));
                    }
                    let mut bytes = first.get(..entry.stored.min(1) as usize).unwrap_or_default().to_vec();
                    content.read_to_end(&mut bytes).map_err(&wrong)?;
                    all.documents.insert(path, bytes);
                } else {
                    let mut whole = Hashed::new(first.chain(&mut content));
                    let unpacked = open.add_layer(&mut whole, None, rules, note);
                    let (digest, left) = (whole.hasher.finish(), content.left);
                    let unpacked = match unpacked {
                        // What is the disk's fault is nobody's lie.
                        Err(e) if e.cause.raw_os_error().is_some() => return Err(e),
                        Err(e) => Err(e.to_string()),
                        Ok(layer) if left == 0 => Ok((layer, digest)),
                        Ok(_) => Err("there is more in it than an archive".to_owned()),
                    };
                    archive.skip(left).map_err(&wrong)?;
                    all.layers.insert(path, unpacked);
                }
                archive.skip(padding(entry.stored)).map_err(&wrong)?;
            }
            EntryType::Symlink | EntryType::Link => {
                let target = Path::new(std::ffi::OsStr::from_bytes(&entry.link));
                let from = if entry.kind == EntryType::Link { None } else { path.parent() };
                let target = from.unwrap_or(Path::new("/")).join(target);
                let target = inside(target.as_os_str().as_bytes()).map_err(wrong)?;
                let target = all.real(&target).to_owned();
                all.links.insert(path, target);
            }
            _ => archive.skip(entry.stored.saturating_add(padding(entry.stored))).map_err(wrong)?,
        }
    }
    add(open, &mut all, wanted)
}

/// Files of Docker's format that are neither a document nor a layer.
fn is_old(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "VERSION" || name == "repositories" || name == "oci-layout")
}

/// A directory in OCI's format.
struct Layout<'a, 'b> {
    root: BorrowedFd<'a>,
    open: &'a Open<'a>,
    rules: &'a Rules<'a>,
    note: &'a mut Note<'b>,
}

impl Layout<'_, '_> {
    fn file(&self, path: &Path) -> io::Result<File> {
        let flags = k::O_RDONLY | k::O_NOFOLLOW | k::O_NONBLOCK | k::O_NOCTTY;
        let file = path::open(self.root, &CString::new(path.as_os_str().as_bytes())?, flags, Links::Refuse)?;
        if kind(&sys::statx(file.as_fd(), c"")?) == k::S_IFREG {
            Ok(file.into())
        } else {
            Err(bad("it is no regular file"))
        }
    }
}

impl Source for Layout<'_, '_> {
    fn document(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let file = match self.file(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LARGEST { Err(bad("it is larger than 4 MiB")) } else { Ok(Some(bytes)) }
    }

    fn layer(&mut self, path: &Path, stored: Option<&Digest>) -> Result<Digest, Failed> {
        let wrong = failed(path, "unpack the layer");
        let mut file = Hashed::new(self.file(path).map_err(&wrong)?);
        let layer = self.open.add_layer(&mut file, None, self.rules, self.note)?;
        io::copy(&mut file, &mut io::sink()).map_err(&wrong)?;
        let own = file.hasher.finish();
        if stored.is_some_and(|stored| *stored != own) {
            return Err(wrong(bad(format!("it is not what it is called: its digest is {own}"))));
        }
        Ok(layer)
    }
}

/// Reads all images of a directory in OCI's format into the store.
pub fn load_layout(
    open: &Open,
    root: BorrowedFd,
    wanted: &Platform,
    rules: &Rules,
    note: &mut Note,
) -> Result<Vec<Loaded>, Failed> {
    add(open, &mut Layout { root, open, rules, note }, wanted)
}

/// Adds what is named.
fn add(open: &Open, source: &mut dyn Source, wanted: &Platform) -> Result<Vec<Loaded>, Failed> {
    let (of_docker, of_oci) = (Path::new("/manifest.json"), Path::new("/index.json"));
    // Docker writes both since version 25, and its own with the names.
    let loaded = if let Some(bytes) = source.document(of_docker).map_err(failed(of_docker, "read"))? {
        of_manifest(open, source, &bytes, wanted)?
    } else if let Some(bytes) = source.document(of_oci).map_err(failed(of_oci, "read"))? {
        let index = document::read(&bytes, None).map_err(|e| failed(of_oci, "read")(bad(e.to_string())))?;
        let Document::Index(all) = index else {
            return Err(failed(of_oci, "read")(bad("it is a manifest, and not an index of them")));
        };
        let mut loaded = Vec::new();
        for one in &all {
            loaded.extend(of_descriptor(open, source, one, wanted, all.len() == 1, 0)?);
        }
        loaded
    } else {
        let why = "it has neither a manifest.json nor an index.json: it is no archive of images (a root filesystem's is imported: ctr import)";
        return Err(Failed::new(Path::new(""), "read the archive", bad(why)));
    };
    if loaded.is_empty() {
        let why = format!("it has no image for {wanted}");
        return Err(Failed::new(Path::new(""), "read the archive", bad(why)));
    }
    for one in &loaded {
        open.add_image(&one.image, &one.names).map_err(|e| Failed::new(Path::new(""), "write the image down", e))?;
    }
    Ok(loaded)
}

/// An image of this configuration, whose layers are what it says.
fn image(
    open: &Open,
    at: &Path,
    config: &[u8],
    manifest: Option<&[u8]>,
    layers: Vec<Digest>,
) -> Result<Image, Failed> {
    let wrong = failed(at, "read");
    let said = document::config(config).map_err(|e| wrong(bad(e.to_string())))?;
    if said.diff_ids != layers {
        let why = "its layers are not those that its configuration speaks of";
        return Err(wrong(bad(why)));
    }
    let id = open.add_document(config).map_err(&wrong)?;
    let manifest = manifest.map(|bytes| open.add_document(bytes)).transpose().map_err(&wrong)?;
    Ok(Image { id, manifest, layers })
}

/// What Docker's `manifest.json` names.
fn of_manifest(open: &Open, source: &mut dyn Source, bytes: &[u8], wanted: &Platform) -> Result<Vec<Loaded>, Failed> {
    let at = Path::new("/manifest.json");
    let wrong = |why: &str| failed(at, "read")(bad(why));
    let text = std::str::from_utf8(bytes).map_err(|_| wrong("it is not text"))?;
    let value = json::read_foreign(text).map_err(|why| wrong(&format!("it is not JSON: {why}")))?;
    let Value::List(all) = value else { return Err(wrong("it is no list")) };
    let mut loaded = Vec::new();
    for one in &all {
        let texts = |key| match one.get(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::List(list)) => list
                .iter()
                .map(|text| match text {
                    Value::Text(text) => Ok(text.as_str()),
                    _ => Err(wrong(&format!("{key} has something in it that is not text"))),
                })
                .collect(),
            Some(_) => Err(wrong(&format!("{key} is no list"))),
        };
        let path = |text: &str| inside(text.as_bytes()).map_err(failed(at, "read"));
        let Some(Value::Text(config)) = one.get("Config") else { return Err(wrong("it names no configuration")) };
        let config = path(config)?;
        let bytes = source.document(&config).map_err(failed(&config, "read"))?;
        let bytes = bytes.ok_or_else(|| failed(&config, "read")(bad("the archive does not have it")))?;
        let said = document::config(&bytes).map_err(|e| failed(&config, "read")(bad(e.to_string())))?;
        // A `docker save` of several platforms names each.
        if !said.platform.serves(wanted) {
            continue;
        }
        let layers =
            texts("Layers")?.into_iter().map(|text| source.layer(&path(text)?, None)).collect::<Result<_, _>>()?;
        let names = texts("RepoTags")?
            .into_iter()
            .map(|text| text.parse::<Reference>().map_err(|e| wrong(&format!("bad image name {text:?}: {e}"))));
        let names = names.collect::<Result<_, _>>()?;
        loaded.push(Loaded { image: image(open, &config, &bytes, None, layers)?, names });
    }
    Ok(loaded)
}

/// What a descriptor of an index leads to, if that is for these machines.
fn of_descriptor(
    open: &Open,
    source: &mut dyn Source,
    one: &Descriptor,
    wanted: &Platform,
    alone: bool,
    depth: u32,
) -> Result<Option<Loaded>, Failed> {
    let at = blob(&one.digest);
    let wrong = failed(&at, "read");
    if depth > DEEPEST {
        return Err(wrong(bad("indexes lead to indexes, without an end")));
    }
    let image_type = |kind: &str| kind.is_empty() || INDEXES.contains(&kind) || MANIFESTS.contains(&kind);
    if !image_type(&one.media_type) || one.platform.as_ref().is_some_and(|platform| !platform.serves(wanted)) {
        return Ok(None);
    }
    let mut fetch = |one: &Descriptor| -> Result<Option<Vec<u8>>, Failed> {
        let at = blob(&one.digest);
        let wrong = failed(&at, "read");
        let Some(bytes) = source.document(&at).map_err(&wrong)? else { return Ok(None) };
        if Digest::of(&bytes) != one.digest || bytes.len() as u64 != one.size {
            return Err(wrong(bad(format!(
                "it is not what it is called: {} bytes of {}",
                bytes.len(),
                Digest::of(&bytes)
            ))));
        }
        Ok(Some(bytes))
    };
    let Some(bytes) = fetch(one)? else {
        // `docker save` names other platforms that it does not have.
        return if alone { Err(wrong(bad("it is not there"))) } else { Ok(None) };
    };
    let told = Some(one.media_type.as_str()).filter(|kind| !kind.is_empty());
    let names = match &one.name {
        // A tag alone names nothing.
        Some(name) if name.contains(['/', ':']) => {
            let why = |e: super::reference::NoReference| wrong(bad(format!("bad image name {name:?}: {e}")));
            vec![name.parse::<Reference>().map_err(why)?]
        }
        _ => Vec::new(),
    };
    match document::read(&bytes, told).map_err(|e| wrong(bad(e.to_string())))? {
        Document::Index(all) => {
            let Ok(best) = document::choose(&all, wanted) else { return Ok(None) };
            let found = of_descriptor(open, source, best, wanted, true, depth + 1)?;
            Ok(found.map(|found| Loaded { names: [names, found.names].concat(), ..found }))
        }
        Document::Manifest(manifest) => {
            let config = fetch(&manifest.config)?
                .ok_or_else(|| failed(&blob(&manifest.config.digest), "read")(bad("it is not there")))?;
            let said = document::config(&config).map_err(|e| wrong(bad(e.to_string())))?;
            document::agree(&manifest, &said, wanted).map_err(|e| wrong(bad(e.to_string())))?;
            let layers = manifest.layers.iter().map(|layer| source.layer(&blob(&layer.digest), Some(&layer.digest)));
            let layers = layers.collect::<Result<_, _>>()?;
            Ok(Some(Loaded { image: image(open, &at, &config, Some(&bytes), layers)?, names }))
        }
    }
}

// ---- Saving.

/// Writes images into an archive of both formats: layers not compressed, so that their digests are those that the configuration names,
/// and with it the image keeps its id wherever it is loaded.
pub fn save(open: &Open, images: &[(Image, Vec<Reference>)], out: &mut dyn Write) -> Result<(), Failed> {
    let wrong = |e| Failed::new(Path::new(""), "write the archive", e);
    let mut written = Vec::new();
    let (mut of_docker, mut of_oci) = (Vec::new(), Vec::new());
    for name in ["blobs/", "blobs/sha256/"] {
        header(out, name, EntryType::Directory, 0).map_err(wrong)?;
    }
    for (image, names) in images {
        let config = open.document(&image.id).map_err(wrong)?;
        let mut layers = Vec::new();
        for layer in &image.layers {
            let size = open.archive_size(layer).map_err(wrong)?;
            layers.push(descriptor(LAYER, layer, size));
            if !written.contains(layer) {
                written.push(*layer);
                header(out, &blob_name(layer), EntryType::Regular, size).map_err(wrong)?;
                let length = open.archive(layer, out).map_err(wrong)?;
                if length != size {
                    return Err(wrong(bad(format!("the layer {layer} changed while it was written"))));
                }
                fill_block(out, size).map_err(wrong)?;
            }
        }
        let manifest = Value::map([
            ("schemaVersion", 2_u32.into()),
            ("mediaType", MANIFESTS[0].into()),
            ("config", descriptor(CONFIGS[0], &image.id, config.len() as u64)),
            ("layers", Value::List(layers)),
        ]);
        let manifest = manifest.compact().into_bytes();
        let digest = Digest::of(&manifest);
        for (digest, bytes) in [(image.id, &config), (digest, &manifest)] {
            if !written.contains(&digest) {
                written.push(digest);
                file(out, &blob_name(&digest), bytes).map_err(wrong)?;
            }
        }
        let one = |name: Option<&Reference>| {
            let Value::Map(mut entries) = descriptor(MANIFESTS[0], &digest, manifest.len() as u64) else {
                return Value::Null;
            };
            if let Some(name) = name {
                let tag = name.tag.as_deref().unwrap_or_default();
                let whole = name.to_string();
                let all = [("io.containerd.image.name", whole.as_str()), ("org.opencontainers.image.ref.name", tag)];
                let all = all.iter().filter(|(_, value)| !value.is_empty());
                let all = all.map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
                entries.push(("annotations".to_owned(), Value::Map(all)));
            }
            Value::Map(entries)
        };
        if names.is_empty() {
            of_oci.push(one(None));
        }
        of_oci.extend(names.iter().map(|name| one(Some(name))));
        let tags: Vec<String> =
            names.iter().filter_map(|name| Some(format!("{}:{}", name.short_name(), name.tag.as_ref()?))).collect();
        of_docker.push(Value::map([
            ("Config", blob_name(&image.id).into()),
            ("RepoTags", if tags.is_empty() { Value::Null } else { tags.into() }),
            ("Layers", image.layers.iter().map(blob_name).collect::<Vec<_>>().into()),
        ]));
    }
    let index = Value::map([
        ("schemaVersion", 2_u32.into()),
        ("mediaType", INDEXES[0].into()),
        ("manifests", Value::List(of_oci)),
    ]);
    let last = [
        ("index.json", index.compact()),
        ("manifest.json", Value::List(of_docker).compact()),
        ("oci-layout", Value::map([("imageLayoutVersion", "1.0.0".into())]).compact()),
    ];
    for (name, text) in last {
        file(out, name, text.as_bytes()).map_err(wrong)?;
    }
    out.write_all(&[0; 1024]).and_then(|()| out.flush()).map_err(wrong)
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn descriptor(kind: &str, digest: &Digest, size: u64) -> Value {
    Value::map([("mediaType", kind.into()), ("digest", digest.to_string().into()), ("size", size.into())])
}

/// The same header in every archive of the same images: of nobody, and of 1970.
fn header(out: &mut dyn Write, name: &str, kind: EntryType, size: u64) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_entry_type(kind);
    header.set_path(name)?;
    header.set_cksum();
    out.write_all(header.as_bytes())
}

fn fill_block(out: &mut dyn Write, size: u64) -> io::Result<()> {
    out.write_all([0; 512].get(..padding(size) as usize).unwrap_or_default())
}

fn file(out: &mut dyn Write, name: &str, bytes: &[u8]) -> io::Result<()> {
    header(out, name, EntryType::Regular, bytes.len() as u64)?;
    out.write_all(bytes)?;
    fill_block(out, bytes.len() as u64)
}

#[cfg(test)]
mod tests;
