//! Where images are kept: flat files, named by what is in them.
//!
//! ```text
//! DIR/lock                 held shared by who adds or looks, alone by who takes away
//! DIR/blobs/HEX            a configuration or a manifest, byte for byte as it came
//! DIR/layers/HEX/tree/     a layer's files, as overlayfs wants them; HEX is the digest of its archive, not compressed (diff id)
//!               /recipe    how to make the archive of them again
//!               /aside/    what the archive had in it and replaced itself
//! DIR/images/HEX           an image: its layers, its manifest. HEX is the digest of its configuration, and the image's id
//! DIR/names/HEX            a name, and which image it is of; HEX is the digest of the name, which is too long for a file's
//! DIR/partial/…            what is being made
//! ```
//! Whoever is killed leaves at most something in `partial/`. A layer is made there, under a name of its own whose lock its maker holds;
//! when it is whole it gets its digest's name, still in there, where the next who wants it finds it. An image is written down last,
//! after all that it consists of is on the disk: so an image that there is, is whole, whatever happened. What was whole in `partial/` before
//! the machine went down may not be, and is made again.
//!
//! Nothing in here is believed to be what it says because of where it is: names are checked when they are read.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::hash::{BuildHasher, Hasher as _, RandomState};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use libc::{LOCK_EX, LOCK_NB, LOCK_SH};
use linux_raw_sys::general as k;

use super::compress::Decompressed;
use super::digest::{Digest, Hashed};
use super::layer::{self, Kept, Rules};
use super::recipe::{self, Recipe};
use super::reference::Reference;
use crate::walk::{Failed, Note, names};
use crate::{remove, sys, usage};

const BLOBS: &CStr = c"blobs";
const LAYERS: &CStr = c"layers";
const IMAGES: &CStr = c"images";
const NAMES: &CStr = c"names";
const PARTIAL: &CStr = c"partial";
const LOCK: &CStr = c"lock";
const TREE: &CStr = c"tree";
const RECIPE: &CStr = c"recipe";
const ASIDE: &CStr = c"aside";

/// Which start of the machine `partial/` is of.
const BOOT: &CStr = c"boot";

/// What the names begin with of what is being made.
const NEW: &str = "new-";

/// The first line of an image's file.
const HEADER: &str = "image 1";

/// The largest of our own small files.
const LARGEST: u64 = 1 << 20;

/// Where images are kept.
#[derive(Debug)]
pub struct Store {
    dir: OwnedFd,
}

/// A store that somebody looks at or adds to: nothing is taken away meanwhile.
#[derive(Debug)]
pub struct Open<'a> {
    store: &'a Store,
    _lock: OwnedFd,
}

/// A store that is ours alone.
#[derive(Debug)]
pub struct Alone<'a> {
    store: &'a Store,
    _lock: OwnedFd,
}

/// An image, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The digest of its configuration: its id.
    pub id: Digest,
    /// Its manifest, where it came with one.
    pub manifest: Option<Digest>,
    /// The digests of its layers' archives, the lowest first.
    pub layers: Vec<Digest>,
}

/// What a place in the store takes on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Each layer, in bytes.
    pub layers: Vec<(Digest, u64)>,
    /// Manifests, configurations, names.
    pub documents: u64,
    /// What was begun.
    pub partial: u64,
}

fn is(errno: i32) -> impl Fn(&io::Error) -> bool {
    move |e| e.raw_os_error() == Some(errno)
}

/// None for what is not there.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(e) if is(libc::ENOENT)(&e) => Ok(None),
        found => found.map(Some),
    }
}

fn folder(dir: BorrowedFd, name: &CStr) -> io::Result<OwnedFd> {
    sys::openat(dir, name, k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW, 0)
}

fn made(dir: BorrowedFd, name: &CStr) -> io::Result<OwnedFd> {
    match sys::mkdir(dir, name, 0o700) {
        Err(e) if !is(libc::EEXIST)(&e) => Err(e),
        _ => folder(dir, name),
    }
}

fn named(digest: &Digest) -> CString {
    CString::new(digest.hex()).unwrap_or_default()
}

/// The digest that a file is named by; none for anything else that lies about.
fn digest_of(name: &CStr) -> Option<Digest> {
    format!("sha256:{}", name.to_str().ok()?).parse().ok()
}

fn random_name() -> CString {
    let random = RandomState::new().build_hasher().finish();
    CString::new(format!("{NEW}{random:016x}")).unwrap_or_default()
}

/// A small file of ours, whole.
fn read_small(dir: BorrowedFd, name: &CStr, most: u64) -> io::Result<Vec<u8>> {
    let file = sys::openat(dir, name, k::O_RDONLY | k::O_NOFOLLOW | k::O_NONBLOCK, 0)?;
    let mut bytes = Vec::new();
    File::from(file).take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(io::Error::from_raw_os_error(libc::EFBIG)) } else { Ok(bytes) }
}

/// Puts a file there, whole or not at all, and on the disk.
fn write_small(dir: BorrowedFd, name: &CStr, bytes: &[u8]) -> io::Result<()> {
    let new = random_name();
    let write = || -> io::Result<()> {
        let file = sys::openat(dir, &new, k::O_WRONLY | k::O_CREAT | k::O_EXCL | k::O_NOFOLLOW, 0o600)?;
        sys::write_all(file.as_fd(), bytes)?;
        sys::sync(file.as_fd())?;
        sys::rename(dir, &new, name)?;
        sys::sync(dir)
    };
    write().inspect_err(|_| drop(sys::unlink(dir, &new, false)))
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Store {
    /// The store at a path, made where it is missing, for us alone (CVE-2021-41103).
    pub fn make(path: &Path) -> io::Result<Store> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let store = Store { dir: File::open(path)?.into() };
        for name in [BLOBS, LAYERS, IMAGES, NAMES, PARTIAL] {
            made(store.dir.as_fd(), name)?;
        }
        let flags = k::O_RDONLY | k::O_CREAT | k::O_NOFOLLOW;
        sys::openat(store.dir.as_fd(), LOCK, flags, 0o600)?;
        Ok(store)
    }

    /// The store at a path, if there is one.
    pub fn find(path: &Path) -> io::Result<Option<Store>> {
        there(File::open(path).map(OwnedFd::from)).map(|dir| dir.map(|dir| Store { dir }))
    }

    fn locked(&self, how: i32) -> io::Result<OwnedFd> {
        let lock = sys::openat(self.dir.as_fd(), LOCK, k::O_RDONLY | k::O_NOFOLLOW, 0)?;
        loop {
            match sys::lock(lock.as_fd(), how) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done.map(|()| lock),
            }
        }
    }

    /// To look, or to add. Waits while somebody takes away.
    pub fn open(&self) -> io::Result<Open<'_>> {
        Ok(Open { store: self, _lock: self.locked(LOCK_SH)? })
    }

    /// To take away. Waits while somebody looks or adds.
    pub fn alone(&self) -> io::Result<Alone<'_>> {
        Ok(Alone { store: self, _lock: self.locked(LOCK_EX)? })
    }

    fn folder(&self, name: &CStr) -> io::Result<OwnedFd> {
        folder(self.dir.as_fd(), name)
    }

    /// All names in a folder that are digests.
    fn digests(&self, name: &CStr) -> io::Result<Vec<Digest>> {
        Ok(names(self.folder(name)?.as_fd())?.iter().filter_map(|name| digest_of(name)).collect())
    }

    fn images(&self) -> io::Result<Vec<Image>> {
        let mut all = Vec::new();
        for id in self.digests(IMAGES)? {
            all.extend(self.image(&id)?);
        }
        Ok(all)
    }

    fn image(&self, id: &Digest) -> io::Result<Option<Image>> {
        let Some(bytes) = there(read_small(self.folder(IMAGES)?.as_fd(), &named(id), LARGEST))? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes);
        let damaged = || broken(&format!("the image {id} is written down in a way that is not ours"));
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) || !text.ends_with('\n') {
            return Err(damaged());
        }
        let mut image = Image { id: *id, manifest: None, layers: Vec::new() };
        for line in lines {
            match line.split_once(' ') {
                Some(("manifest", digest)) => image.manifest = Some(digest.parse().map_err(|_| damaged())?),
                Some(("layer", digest)) => image.layers.push(digest.parse().map_err(|_| damaged())?),
                // A later ctr may know more.
                _ => {}
            }
        }
        Ok(Some(image))
    }

    fn names(&self) -> io::Result<Vec<(Reference, Digest)>> {
        let dir = self.folder(NAMES)?;
        let mut all = Vec::new();
        for name in self.digests(NAMES)? {
            let Some(bytes) = there(read_small(dir.as_fd(), &named(&name), LARGEST))? else { continue };
            let text = String::from_utf8_lossy(&bytes);
            let mut lines = text.lines();
            let one = lines.next().and_then(|line| line.parse::<Reference>().ok());
            // Under another name than its own, it is nobody's.
            if let Some((one, id)) = one.zip(lines.next().and_then(|line| line.parse().ok())) {
                if Digest::of(one.to_string().as_bytes()) == name {
                    all.push((one, id));
                }
            }
        }
        all.sort();
        Ok(all)
    }

    fn document(&self, digest: &Digest) -> io::Result<Vec<u8>> {
        let bytes = read_small(self.folder(BLOBS)?.as_fd(), &named(digest), super::document::LARGEST)?;
        if Digest::of(&bytes) == *digest {
            Ok(bytes)
        } else {
            Err(broken(&format!("{digest} is damaged on the disk")))
        }
    }
}

/// A layer that is being made in `partial/`, taken away unless it is kept.
struct Making<'a> {
    partial: &'a OwnedFd,
    name: CString,
    dir: Option<OwnedFd>,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        if self.dir.take().is_some() {
            let _ = remove::tree(self.partial.as_fd(), &self.name);
        }
    }
}

impl Open<'_> {
    /// All images.
    pub fn images(&self) -> io::Result<Vec<Image>> {
        self.store.images()
    }

    /// One image.
    pub fn image(&self, id: &Digest) -> io::Result<Option<Image>> {
        self.store.image(id)
    }

    /// All names, and which images they are of.
    pub fn names(&self) -> io::Result<Vec<(Reference, Digest)>> {
        self.store.names()
    }

    /// A configuration or a manifest; `InvalidData` if it is not what it was.
    pub fn document(&self, digest: &Digest) -> io::Result<Vec<u8>> {
        self.store.document(digest)
    }

    /// A layer's files.
    pub fn tree(&self, layer: &Digest) -> io::Result<OwnedFd> {
        folder(folder(self.store.folder(LAYERS)?.as_fd(), &named(layer))?.as_fd(), TREE)
    }

    /// Whether there is a layer, so that it need not come again.
    pub fn has_layer(&self, layer: &Digest) -> io::Result<bool> {
        for place in [LAYERS, PARTIAL] {
            if there(sys::statx(self.store.folder(place)?.as_fd(), &named(layer)))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How many bytes a layer's archive has, not compressed.
    pub fn archive_size(&self, layer: &Digest) -> io::Result<u64> {
        let (_, mut recipe) = self.recipe(layer)?;
        recipe::size(&mut recipe)
    }

    /// A layer's directory, and its recipe.
    fn recipe(&self, layer: &Digest) -> io::Result<(OwnedFd, File)> {
        let dir = folder(self.store.folder(LAYERS)?.as_fd(), &named(layer))?;
        let found = there(sys::openat(dir.as_fd(), RECIPE, k::O_RDONLY | k::O_NOFOLLOW, 0))?;
        let recipe = found.map(File::from).ok_or_else(|| {
            let why = "its archive replaced a link by which it had gone, and cannot be made again to the byte: pull or load the image where \
                it is needed";
            io::Error::new(io::ErrorKind::Unsupported, format!("the layer {layer}: {why}"))
        })?;
        Ok((dir, recipe))
    }

    /// Writes a layer's archive, not compressed, as it came: its bytes are those that its digest is of, or this fails.
    pub fn archive(&self, layer: &Digest, out: &mut dyn Write) -> io::Result<u64> {
        let (dir, mut recipe) = self.recipe(layer)?;
        let mut hashed = Hashing { out, hasher: super::digest::Hasher::new() };
        let (tree, aside) = (folder(dir.as_fd(), TREE)?, folder(dir.as_fd(), ASIDE)?);
        recipe::assemble(tree.as_fd(), aside.as_fd(), &mut recipe, &mut hashed)?;
        let length = hashed.hasher.length();
        if hashed.hasher.finish() == *layer {
            Ok(length)
        } else {
            Err(broken(&format!("the layer {layer} is damaged on the disk")))
        }
    }

    /// Keeps a configuration or a manifest.
    pub fn add_document(&self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        let blobs = self.store.folder(BLOBS)?;
        // What is damaged is mended by the way.
        if self.store.document(&digest).is_err() {
            write_small(blobs.as_fd(), &named(&digest), bytes)?;
        }
        Ok(digest)
    }

    /// Unpacks a layer as it comes, compressed or not. `wanted` is the digest that its archive must have, where that is known. It is not
    /// part of anything before an image is added that has it.
    pub fn add_layer(
        &self,
        input: &mut dyn Read,
        wanted: Option<&Digest>,
        rules: &Rules,
        note: &mut Note,
    ) -> Result<Digest, Failed> {
        let failed = |doing| move |e| Failed::new(Path::new(""), doing, e);
        let partial = self.store.folder(PARTIAL).map_err(failed("open the store"))?;
        new_boot(&partial).map_err(failed("look after what was begun"))?;
        let mut making = begin(&partial).map_err(failed("make a place for the layer"))?;
        let Some(dir) = &making.dir else { return Err(failed("make a place for the layer")(broken("it is gone"))) };
        let dir = dir.as_fd();
        let make = |name| {
            let flags = k::O_RDWR | k::O_CREAT | k::O_EXCL | k::O_NOFOLLOW;
            sys::openat(dir, name, flags, 0o600).map(File::from).map_err(failed("make a place for the layer"))
        };
        let tree = made(dir, TREE).map_err(failed("make a place for the layer"))?;
        let aside = made(dir, ASIDE).map_err(failed("make a place for the layer"))?;
        sys::chmod_open(tree.as_fd(), 0o755).map_err(failed("make a place for the layer"))?;
        let recipe = RefCell::new(Recipe::new(make(RECIPE)?));
        let mut archive = Hashed::new(Decompressed::new(input).map_err(failed("read the layer"))?);
        let kept = Kept { recipe: &recipe, aside: aside.as_fd() };
        let unpacked = layer::unpack(tree.as_fd(), &mut archive, rules, Some(kept), note)?;
        let digest = archive.hasher.finish();
        if let Some(wanted) = wanted.filter(|wanted| **wanted != digest) {
            let why = format!(
                "its content is not what it should be: it has the digest {digest}, and {wanted} was promised"
            );
            return Err(failed("check the layer")(broken(&why)));
        }
        recipe.into_inner().finish().map_err(failed("write the layer's recipe"))?;
        if !unpacked.exact {
            // Made again it would be another.
            sys::unlink(dir, RECIPE, false).map_err(failed("take the layer's recipe away"))?;
        }
        // Somebody else may have been first.
        let (name, whole) = (making.name.clone(), named(&digest));
        let layers = self.store.folder(LAYERS).map_err(failed("open the store"))?;
        if there(sys::statx(layers.as_fd(), &whole)).map_err(failed("look for the layer"))?.is_some() {
            return Ok(digest);
        }
        match sys::rename(partial.as_fd(), &name, &whole) {
            Err(e) if is(libc::ENOTEMPTY)(&e) || is(libc::EEXIST)(&e) => {}
            done => {
                done.map_err(failed("keep the layer"))?;
                making.dir = None;
            }
        }
        Ok(digest)
    }

    /// Writes an image down, whose layers and documents have been added, and gives it names.
    pub fn add_image(&self, image: &Image, names: &[Reference]) -> io::Result<()> {
        let (partial, layers) = (self.store.folder(PARTIAL)?, self.store.folder(LAYERS)?);
        for digest in [Some(image.id), image.manifest].into_iter().flatten() {
            self.store.document(&digest)?;
        }
        let mut new = Vec::new();
        for layer in &image.layers {
            if there(sys::statx(layers.as_fd(), &named(layer)))?.is_none() && !new.contains(layer) {
                new.push(*layer);
            }
        }
        if !new.is_empty() {
            sys::sync_filesystem(partial.as_fd())?;
        }
        for layer in &new {
            let name = named(layer);
            match sys::rename_between(partial.as_fd(), &name, layers.as_fd(), &name) {
                // Somebody else adds an image that has it too.
                Err(e) if is(libc::ENOENT)(&e) || is(libc::ENOTEMPTY)(&e) || is(libc::EEXIST)(&e) => {
                    sys::statx(layers.as_fd(), &name)?;
                }
                done => done?,
            }
        }
        sys::sync(layers.as_fd())?;
        let mut text = vec![HEADER.to_owned()];
        text.extend(image.manifest.iter().map(|manifest| format!("manifest {manifest}")));
        text.extend(image.layers.iter().map(|layer| format!("layer {layer}")));
        let text = text.join("\n") + "\n";
        write_small(self.store.folder(IMAGES)?.as_fd(), &named(&image.id), text.as_bytes())?;
        names.iter().try_for_each(|name| self.name(name, &image.id))
    }

    /// Gives an image a name, which another one had perhaps.
    pub fn name(&self, name: &Reference, id: &Digest) -> io::Result<()> {
        let text = name.to_string();
        let file = named(&Digest::of(text.as_bytes()));
        write_small(self.store.folder(NAMES)?.as_fd(), &file, format!("{text}\n{id}\n").as_bytes())
    }

    /// What all of it takes on the disk.
    pub fn taken(&self) -> io::Result<Taken> {
        let mut taken = Taken::default();
        let layers = self.store.folder(LAYERS)?;
        for layer in self.store.digests(LAYERS)? {
            taken.layers.push((layer, usage::bytes(layers.as_fd(), &named(&layer))?));
        }
        for place in [BLOBS, IMAGES, NAMES] {
            taken.documents += usage::bytes(self.store.dir.as_fd(), place)?;
        }
        taken.partial = usage::bytes(self.store.dir.as_fd(), PARTIAL)?;
        Ok(taken)
    }
}

/// What was begun before the machine went down, or by who was killed, is taken away.
fn new_boot(partial: &OwnedFd) -> io::Result<()> {
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let same =
        || Ok::<_, io::Error>(there(read_small(partial.as_fd(), BOOT, 4096))?.is_some_and(|there| there == boot));
    // One at a time: what the first one makes anew is not of before.
    let lock = if same()? { None } else { Some(folder(partial.as_fd(), c".")?) };
    lock.as_ref().map_or(Ok(()), |lock| sys::lock(lock.as_fd(), LOCK_EX))?;
    let same = same()?;
    for name in names(partial.as_fd())? {
        let whole = digest_of(&name).is_some();
        if name.as_c_str() == BOOT || whole && same {
            continue;
        }
        // Who makes it holds its lock.
        let Ok(dir) = folder(partial.as_fd(), &name) else { continue };
        if sys::lock(dir.as_fd(), LOCK_EX | LOCK_NB).is_ok() {
            remove::tree(partial.as_fd(), &name)?;
        }
    }
    if same { Ok(()) } else { write_small(partial.as_fd(), BOOT, &boot) }
}

/// A place for a new layer, locked before anybody else could take it for an abandoned one.
fn begin(partial: &OwnedFd) -> io::Result<Making<'_>> {
    for _ in 0..100 {
        let name = random_name();
        sys::mkdir(partial.as_fd(), &name, 0o700)?;
        let dir = match folder(partial.as_fd(), &name) {
            // Somebody who looks after what was begun came in between.
            Err(e) if is(libc::ENOENT)(&e) => continue,
            dir => dir?,
        };
        if sys::lock(dir.as_fd(), LOCK_EX | LOCK_NB).is_err() {
            continue;
        }
        let own = sys::statx(dir.as_fd(), c"")?;
        match there(sys::statx(partial.as_fd(), &name))? {
            Some(found) if found.stx_ino == own.stx_ino => return Ok(Making { partial, name, dir: Some(dir) }),
            _ => {}
        }
    }
    Err(io::Error::from_raw_os_error(libc::EAGAIN))
}

struct Hashing<'a> {
    out: &'a mut dyn Write,
    hasher: super::digest::Hasher,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Alone<'_> {
    /// All images.
    pub fn images(&self) -> io::Result<Vec<Image>> {
        self.store.images()
    }

    /// All names, and which images they are of.
    pub fn names(&self) -> io::Result<Vec<(Reference, Digest)>> {
        self.store.names()
    }

    /// Takes a name away; the image stays. False if there is no such name.
    pub fn remove_name(&self, name: &Reference) -> io::Result<bool> {
        let file = named(&Digest::of(name.to_string().as_bytes()));
        there(sys::unlink(self.store.folder(NAMES)?.as_fd(), &file, false)).map(|gone| gone.is_some())
    }

    /// Takes an image away, and its names; what it consisted of stays until [`Alone::sweep`].
    pub fn remove_image(&self, id: &Digest) -> io::Result<bool> {
        for (name, of) in self.store.names()? {
            if of == *id {
                self.remove_name(&name)?;
            }
        }
        there(sys::unlink(self.store.folder(IMAGES)?.as_fd(), &named(id), false)).map(|gone| gone.is_some())
    }

    /// Takes away what no image consists of. Returns the bytes that were freed.
    pub fn sweep(&self) -> io::Result<u64> {
        let images = self.store.images()?;
        let layers: BTreeSet<Digest> = images.iter().flat_map(|image| image.layers.iter().copied()).collect();
        let documents: BTreeSet<Digest> =
            images.iter().flat_map(|image| [Some(image.id), image.manifest].into_iter().flatten()).collect();
        let mut freed = 0;
        for place in [IMAGES, NAMES] {
            // Of who was killed while he wrote one.
            let dir = self.store.folder(place)?;
            for name in names(dir.as_fd())?.iter().filter(|name| name.to_bytes().starts_with(NEW.as_bytes())) {
                sys::unlink(dir.as_fd(), name, false)?;
            }
        }
        for (place, kept) in [(LAYERS, &layers), (BLOBS, &documents), (PARTIAL, &BTreeSet::new())] {
            let dir = self.store.folder(place)?;
            for name in names(dir.as_fd())? {
                if digest_of(&name).is_some_and(|digest| kept.contains(&digest)) || name.as_c_str() == BOOT {
                    continue;
                }
                let found = sys::statx(dir.as_fd(), &name)?;
                freed += found.stx_blocks * 512 + usage::bytes(dir.as_fd(), &name).unwrap_or(0);
                remove::tree(dir.as_fd(), &name)?;
            }
        }
        Ok(freed)
    }
}

#[cfg(test)]
mod tests;
