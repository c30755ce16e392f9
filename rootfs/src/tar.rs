//! Tar archives from a file tree, and into one.
//!
//! The `tar` crate knows the format: what stands where in a header, octal and binary numbers, checksums. It is not asked to
//! touch a file (its own unpacking follows links: CVE-2026-70622), nor to follow an archive from header to header (it would
//! keep whatever a long name claims to be in memory). Trees are read by [`Walk`] and written by [`put`], as when they are
//! copied.
//!
//! What is in an archive comes from anybody. All of it stays below the one directory that it is unpacked to: a path is taken
//! apart by its words, so that `..` and `/` mean that directory; what leads to its last name is resolved by the kernel
//! with that directory as root, so that a link which the archive has made itself leads nowhere else; and the last name is
//! never followed.

use std::ffi::{CStr, CString, OsStr};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use linux_raw_sys::general as k;
use tar::{EntryType, Header};

use crate::copy::{Ids, Settings, make_node, packed};
use crate::path::{self, InRoot, Links};
use crate::put::{self, Dress};
use crate::sys;
use crate::walk::{Failed, Identity, LONGEST, Note, Place, Several, Walk, What, errno, identity, kind};

/// Everything in an archive comes in blocks of this size.
const BLOCK: usize = 512;

/// Long names and other extended headers, the map of a sparse file: nobody needs more.
const MOST_EXTENDED: u64 = 1 << 20;

// ---- Writing.

/// Writes an archive of what is at `from`. Its entries are called `name` and `name/…`; their owners are those inside `ids`.
pub fn write(from: Place, name: &OsStr, ids: Ids, out: &mut dyn Write, note: &mut Note) -> Result<(), Failed> {
    let mut walk = Walk::new(from);
    let mut several = Several::new();
    while let Some((found, what)) = walk.step(note)? {
        let below = walk.path();
        let whole = if below.as_os_str().is_empty() { PathBuf::from(name) } else { Path::new(name).join(below) };
        let failed = |e| Failed::new(walk.path(), "write the archive", e);
        let mut header = header(&found, ids);
        let mut path = whole.as_os_str().as_bytes().to_vec();
        match what {
            What::Done(_) => {}
            What::Dir => {
                path.push(b'/');
                header.set_entry_type(EntryType::Directory);
                put_header(out, &mut header, &path, b"").map_err(failed)?;
            }
            What::Link(target) => {
                header.set_entry_type(EntryType::Symlink);
                put_header(out, &mut header, &path, target.as_bytes()).map_err(failed)?;
            }
            What::Node => {
                header.set_entry_type(match kind(&found) {
                    k::S_IFCHR => EntryType::Char,
                    k::S_IFBLK => EntryType::Block,
                    _ => EntryType::Fifo,
                });
                put_header(out, &mut header, &path, b"").map_err(failed)?;
            }
            What::File(_) if several.contains_key(&identity(&found)) => {
                header.set_entry_type(EntryType::Link);
                let first =
                    several.get(&identity(&found)).map_or(b"".as_slice(), |first| first.as_os_str().as_bytes());
                put_header(out, &mut header, &path, first).map_err(failed)?;
            }
            What::File(file) => {
                if found.stx_nlink > 1 {
                    several.insert(identity(&found), whole.clone());
                }
                header.set_entry_type(EntryType::Regular);
                header.set_size(found.stx_size);
                put_header(out, &mut header, &path, b"").map_err(failed)?;
                let missing = put_content(out, file.as_fd(), found.stx_size).map_err(failed)?;
                if missing > 0 {
                    note(walk.path(), "it got shorter meanwhile, zeros stand for the rest");
                }
            }
        }
    }
    let end = out.write_all(&[0; 2 * BLOCK]).and_then(|()| out.flush());
    end.map_err(|e| Failed::new(Path::new(""), "write the archive", e))
}

fn header(found: &k::statx, ids: Ids) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(u32::from(found.stx_mode) & 0o7777);
    let (uid, gid) = ids.inside(found.stx_uid, found.stx_gid);
    header.set_uid(u64::from(uid));
    header.set_gid(u64::from(gid));
    header.set_size(0);
    let seconds = found.stx_mtime.tv_sec;
    header.set_mtime(seconds as u64);
    if seconds < 0 {
        // Binary, 12 bytes, sign and all.
        if let Some(high) = header.as_old_mut().mtime.get_mut(..4) {
            high.fill(0xff);
        }
    }
    if let (k::S_IFCHR | k::S_IFBLK, Some(gnu)) = (kind(found), header.as_gnu_mut()) {
        gnu.set_device_major(found.stx_rdev_major);
        gnu.set_device_minor(found.stx_rdev_minor);
    }
    header
}

/// Writes a header; names that are too long for it come before it, as GNU tar has it (busybox does not know PAX's).
fn put_header(out: &mut dyn Write, header: &mut Header, path: &[u8], link: &[u8]) -> io::Result<()> {
    for (kind, name) in [(EntryType::GNULongLink, link), (EntryType::GNULongName, path)] {
        if name.len() > 100 {
            let mut long = Header::new_gnu();
            fill(&mut long.as_old_mut().name, b"././@LongLink");
            long.set_mode(0o644);
            long.set_uid(0);
            long.set_gid(0);
            long.set_mtime(0);
            long.set_size(name.len() as u64 + 1);
            long.set_entry_type(kind);
            long.set_cksum();
            out.write_all(long.as_bytes())?;
            out.write_all(name)?;
            // The name's own NUL byte, and to the end of the block.
            out.write_all(&[0; BLOCK][..BLOCK - name.len() % BLOCK])?;
        }
    }
    fill(&mut header.as_old_mut().name, path);
    fill(&mut header.as_old_mut().linkname, link);
    header.set_cksum();
    out.write_all(header.as_bytes())
}

/// As much of `text` as fits.
fn fill(field: &mut [u8], text: &[u8]) {
    for (to, from) in field.iter_mut().zip(text) {
        *to = *from;
    }
}

/// Exactly `size` bytes, and to the end of the block: the header has promised that. Tells how many were not there.
fn put_content(out: &mut dyn Write, file: BorrowedFd, size: u64) -> io::Result<u64> {
    let mut buffer = vec![0; 64 << 10];
    let mut left = size;
    while left > 0 {
        let want = left.min(buffer.len() as u64) as usize;
        match sys::read(file, buffer.get_mut(..want).unwrap_or_default()) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) => break,
            got => {
                let got = got?;
                out.write_all(buffer.get(..got).unwrap_or_default())?;
                left -= got as u64;
            }
        }
    }
    let missing = left;
    buffer.fill(0);
    left += padding(size);
    while left > 0 {
        let n = left.min(buffer.len() as u64);
        out.write_all(buffer.get(..n as usize).unwrap_or_default())?;
        left -= n;
    }
    Ok(missing)
}

/// What is missing to whole blocks.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

// ---- Reading.

/// Unpacks an archive into `dir`.
pub fn extract(dir: BorrowedFd, input: &mut dyn Read, settings: &Settings, note: &mut Note) -> Result<(), Failed> {
    let mut archive = Archive { input: BufReader::with_capacity(64 << 10, input) };
    let mut tree = Tree { root: dir, settings, parent: None, unfinished: Vec::new() };
    let nowhere = |e| Failed::new(Path::new(""), "read the archive", e);
    let mut any = false;
    while let Some(entry) = archive.next(!any, note).map_err(nowhere)? {
        any = true;
        let shown = PathBuf::from(OsStr::from_bytes(&entry.path));
        tree.put(&entry, &mut archive, &mut |why| note(&shown, why)).map_err(|e| Failed::new(&shown, "unpack", e))?;
    }
    tree.finish(None).map_err(|(path, e)| Failed::new(&path, "finish the directory", e))
}

/// One file of an archive, its extended headers taken into account.
struct Entry {
    path: Vec<u8>,
    link: Vec<u8>,
    kind: EntryType,
    mode: u32,
    owner: (u32, u32),
    time: (i64, u32),
    device: u32,
    /// Bytes that follow.
    stored: u64,
    /// For a sparse file: where which of them belong, and how long it is.
    sparse: Option<(Vec<(u64, u64)>, u64)>,
}

/// What an extended header says about the next file.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    time: Option<(i64, u32)>,
}

struct Archive<'a> {
    input: BufReader<&'a mut dyn Read>,
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Archive<'_> {
    /// The next block. None at the end of the input.
    fn block(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut used = 0;
        while used < BLOCK {
            match self.input.read(block.get_mut(used..).unwrap_or_default()) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) if used == 0 => return Ok(None),
                Ok(0) => return Err(cut_off()),
                got => used += got?,
            }
        }
        Ok(Some(block))
    }

    /// The next file, which `first` says is the first one. None after the last.
    fn next(&mut self, first: bool, note: &mut Note) -> io::Result<Option<Entry>> {
        let mut said = Extended::default();
        let mut first = first;
        loop {
            let Some(block) = self.block()? else {
                if first {
                    return Err(bad("it is empty: no tar archive"));
                }
                note(Path::new(""), "the archive has no end mark: is all of it there?");
                return Ok(None);
            };
            if block.iter().all(|b| *b == 0) {
                // A writer that still has padding to write is not to get SIGPIPE for it.
                let _ = io::copy(&mut self.input.by_ref().take(1 << 20), &mut io::sink());
                return Ok(None);
            }
            let header = Header::from_byte_slice(&block);
            check(header, &block, first)?;
            first = false;
            let size = number(header.entry_size(), &header.as_old().size)?;
            match header.entry_type() {
                EntryType::GNULongName => said.path = Some(until_nul(self.extended(size)?)),
                EntryType::GNULongLink => said.link = Some(until_nul(self.extended(size)?)),
                EntryType::XHeader => said.read(&self.extended(size)?)?,
                // For all that follow: comments, in practice.
                EntryType::XGlobalHeader => self.skip(size.saturating_add(padding(size)))?,
                kind => {
                    let size = said.size.unwrap_or(size);
                    if size > i64::MAX as u64 {
                        return Err(bad("a file's size is out of bounds"));
                    }
                    return self.entry(header, kind, size, said).map(Some);
                }
            }
        }
    }

    fn entry(&mut self, header: &Header, kind: EntryType, size: u64, said: Extended) -> io::Result<Entry> {
        let old = header.as_old();
        let path = said.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link =
            said.link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned)).unwrap_or_default();
        // What is out of bounds is nobody's: Settings::owner() decides what that means.
        let id = |id: u64| u32::try_from(id).unwrap_or(u32::MAX);
        let uid = said.uid.map_or_else(|| number(header.uid(), &old.uid), Ok)?;
        let gid = said.gid.map_or_else(|| number(header.gid(), &old.gid), Ok)?;
        let time = match said.time {
            Some(time) => time,
            None => (number(header.mtime(), &old.mtime)? as i64, 0),
        };
        let half = |found: io::Result<Option<u32>>| found.ok().flatten().unwrap_or(0);
        let sparse = match kind {
            EntryType::GNUSparse => Some(self.sparse_map(header, size)?),
            _ => None,
        };
        // Old archives have no type for directories, but a slash.
        let kind = if kind == EntryType::Regular && path.ends_with(b"/") { EntryType::Directory } else { kind };
        let has_content = !matches!(
            kind,
            EntryType::Link
                | EntryType::Symlink
                | EntryType::Char
                | EntryType::Block
                | EntryType::Directory
                | EntryType::Fifo
        );
        Ok(Entry {
            path,
            link,
            kind,
            mode: number(header.mode().map(u64::from), &old.mode)? as u32,
            owner: (id(uid), id(gid)),
            time,
            device: packed(half(header.device_major()), half(header.device_minor())),
            stored: if has_content { size } else { 0 },
            sparse,
        })
    }

    /// The content of an extended header.
    fn extended(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > MOST_EXTENDED {
            return Err(bad("an extended header of more than 1 MiB"));
        }
        let mut bytes = Vec::new();
        self.pass(size, &mut |part| {
            bytes.extend_from_slice(part);
            Ok(())
        })?;
        self.skip(padding(size))?;
        Ok(bytes)
    }

    /// Where the parts of a sparse file belong (GNU's own format).
    fn sparse_map(&mut self, header: &Header, stored: u64) -> io::Result<(Vec<(u64, u64)>, u64)> {
        let gnu = header.as_gnu().ok_or_else(|| bad("a sparse file in a header that is not GNU's"))?;
        let real = gnu.real_size()?;
        let mut parts = Vec::new();
        let add = |parts: &mut Vec<(u64, u64)>, some: &[tar::GnuSparseHeader]| -> io::Result<()> {
            for part in some.iter().filter(|part| !part.is_empty()) {
                parts.push((part.offset()?, part.length()?));
            }
            Ok(())
        };
        add(&mut parts, &gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            if parts.len() as u64 * 24 > MOST_EXTENDED {
                return Err(bad("a sparse file with a map of more than 1 MiB"));
            }
            let block = self.block()?.ok_or_else(cut_off)?;
            let mut next = tar::GnuExtSparseHeader::new();
            next.as_mut_bytes().copy_from_slice(&block);
            add(&mut parts, next.sparse())?;
            more = next.is_extended();
        }
        let mut end = 0;
        let mut sum = 0u64;
        for (offset, length) in &parts {
            if *offset < end || *length > i64::MAX as u64 {
                return Err(bad("a sparse file whose parts are out of order"));
            }
            end = offset.saturating_add(*length);
            sum = sum.saturating_add(*length);
        }
        if sum != stored || end > real || real > i64::MAX as u64 {
            return Err(bad("a sparse file whose parts do not fit its size"));
        }
        Ok((parts, real))
    }

    /// Hands the next `size` bytes on.
    fn pass(&mut self, size: u64, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut left = size;
        while left > 0 {
            let here = match self.input.fill_buf() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                here => here?,
            };
            if here.is_empty() {
                return Err(cut_off());
            }
            let n = left.min(here.len() as u64) as usize;
            take(here.get(..n).unwrap_or_default())?;
            self.input.consume(n);
            left -= n as u64;
        }
        Ok(())
    }

    fn skip(&mut self, size: u64) -> io::Result<()> {
        self.pass(size, &mut |_| Ok(()))
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends here, in the middle")
}

/// A number of a header. Fields that are blank mean 0: writers leave out what does not apply.
fn number(read: io::Result<u64>, field: &[u8]) -> io::Result<u64> {
    if field.iter().all(|b| matches!(b, 0 | b' ')) { Ok(0) } else { read }
}

/// Whether this is a header at all.
fn check(header: &Header, block: &[u8; BLOCK], first: bool) -> io::Result<()> {
    // The checksum is made with blanks in its own place.
    let sum = block.iter().enumerate().map(|(n, b)| u32::from(if (148..156).contains(&n) { b' ' } else { *b })).sum();
    if header.cksum().is_ok_and(|said: u32| said == sum) {
        return Ok(());
    }
    if !first {
        return Err(bad("no header where one should be: the archive is damaged"));
    }
    let packed =
        [(b"\x1f\x8b".as_slice(), "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ", "xz"), (b"BZh", "bzip2")];
    match packed.iter().find(|(magic, _)| block.starts_with(magic)) {
        Some((_, by)) => Err(bad(&format!("it is compressed: unpack it first, with {by} -dc"))),
        None => Err(bad("it is no tar archive")),
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

impl Extended {
    /// Reads PAX records: `LENGTH KEY=VALUE\n`, the length being that of all of it. (The crate splits them at line ends,
    /// which a name may contain.)
    fn read(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let broken = || bad("a broken PAX header");
        while !bytes.is_empty() {
            let blank = bytes.iter().take(8).position(|b| *b == b' ').ok_or_else(broken)?;
            let digits = bytes.get(..blank).unwrap_or_default();
            let length = decimal(digits).and_then(|n| usize::try_from(n).ok()).ok_or_else(broken)?;
            let record = bytes.get(blank + 1..length).and_then(|r| r.strip_suffix(b"\n")).ok_or_else(broken)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(broken)?;
            let (key, value) =
                (record.get(..equals).unwrap_or_default(), record.get(equals + 1..).unwrap_or_default());
            let number = || decimal(value).ok_or_else(broken);
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(number()?),
                b"uid" => self.uid = Some(number()?),
                b"gid" => self.gid = Some(number()?),
                b"mtime" => self.time = Some(seconds(value).ok_or_else(broken)?),
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(bad(
                        "a sparse file in PAX format: make the archive with --format=gnu, or without --sparse",
                    ));
                }
                _ => {}
            }
            bytes = bytes.get(length..).unwrap_or_default();
        }
        Ok(())
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
}

/// Seconds with a fraction, such as `-1.25`, as seconds and the nanoseconds to add.
fn seconds(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut halves = text.splitn(2, |b| *b == b'.');
    let whole = i64::try_from(decimal(halves.next()?)?).ok()?;
    let mut digits = halves.next().unwrap_or_default().to_vec();
    digits.resize(9, b'0');
    let part = u32::try_from(decimal(&digits)?).ok()?;
    Some(match (negative, part) {
        (false, part) => (whole, part),
        (true, 0) => (-whole, 0),
        (true, part) => ((-whole).checked_sub(1)?, 1_000_000_000 - part),
    })
}

/// A directory that gets its mode and time when the archive has left it.
struct Unfinished {
    path: PathBuf,
    is: Identity,
    mode: u32,
    owner: (u32, u32),
    time: (i64, u32),
}

/// The tree that an archive is unpacked to.
struct Tree<'a> {
    root: BorrowedFd<'a>,
    settings: &'a Settings,
    /// The directory that the last file went to: most of the time, the next one does too.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Each below the one before it.
    unfinished: Vec<Unfinished>,
}

/// What a path in an archive means, seen from the root of the tree.
fn inside(path: &[u8]) -> io::Result<PathBuf> {
    if path.len() > LONGEST {
        return Err(errno(libc::ENAMETOOLONG));
    }
    let whole = [b"/", path].concat();
    let clean = InRoot::new(Path::new(OsStr::from_bytes(&whole))).ok_or_else(|| errno(libc::EINVAL))?;
    Ok(clean.as_path().to_owned())
}

fn c(path: &OsStr) -> io::Result<CString> {
    Ok(CString::new(path.as_bytes())?)
}

impl Tree<'_> {
    fn put(&mut self, entry: &Entry, archive: &mut Archive, note: &mut dyn FnMut(&str)) -> io::Result<()> {
        let path = inside(&entry.path)?;
        self.finish(Some(&path)).map_err(|(_, e)| e)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return self.root_entry(entry) };
        let name = c(name)?;
        // Taken out, and put back when all went well.
        let parent = match self.parent.take() {
            Some((kept, dir)) if kept == parent => (kept, dir),
            _ => (parent.to_owned(), self.parent(parent)?),
        };
        let dir = parent.1.as_fd();
        match entry.kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let dress = self.dress(entry, k::S_IFREG)?;
                put::file(dir, &name, &dress, &mut |to| content(entry, archive, to))?;
                archive.skip(padding(entry.stored))?;
            }
            EntryType::Directory => self.directory(entry, path, dir, &name)?,
            EntryType::Symlink => {
                if entry.link.is_empty() || entry.link.len() >= LONGEST {
                    return Err(bad("a symbolic link to nothing, or to more than a path"));
                }
                put::link(dir, &name, &c(OsStr::from_bytes(&entry.link))?, &self.dress(entry, k::S_IFLNK)?)?;
            }
            EntryType::Link => self.hard_link(entry, dir, &name)?,
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let what = match entry.kind {
                    EntryType::Char => k::S_IFCHR,
                    EntryType::Block => k::S_IFBLK,
                    _ => k::S_IFIFO,
                };
                make_node(dir, &name, what, entry.device, &self.dress(entry, what)?, self.settings, note)?;
            }
            _ => {
                archive.skip(entry.stored.saturating_add(padding(entry.stored)))?;
                note("a kind of entry that is no file");
            }
        }
        self.parent = Some(parent);
        Ok(())
    }

    fn dress(&self, entry: &Entry, kind: u32) -> io::Result<Dress<'static>> {
        self.settings.dress(kind, entry.mode, entry.owner, entry.time)
    }

    /// `.`, or whatever else means the directory that everything goes to. It may be nothing else (CVE-2021-29136).
    fn root_entry(&mut self, entry: &Entry) -> io::Result<()> {
        if entry.kind != EntryType::Directory {
            return Err(bad("the archive would replace the directory that it is unpacked to"));
        }
        self.remember(entry, PathBuf::from("/"), self.root, false)
    }

    fn directory(&mut self, entry: &Entry, path: PathBuf, dir: BorrowedFd, name: &CStr) -> io::Result<()> {
        let (made, new) = put::directory(dir, name)?;
        self.remember(entry, path, made.as_fd(), new)
    }

    /// Notes a directory that has to get its mode and time.
    fn remember(&mut self, entry: &Entry, path: PathBuf, dir: BorrowedFd, new: bool) -> io::Result<()> {
        if new || self.settings.dresses_existing() {
            let is = identity(&sys::statx(dir, c"")?);
            let Entry { mode, owner, time, .. } = *entry;
            // Said once more, the last word counts.
            if self.unfinished.last().is_some_and(|last| last.path == path) {
                self.unfinished.pop();
            }
            self.unfinished.push(Unfinished { path, is, mode, owner, time });
        }
        Ok(())
    }

    fn hard_link(&self, entry: &Entry, dir: BorrowedFd, name: &CStr) -> io::Result<()> {
        let target = inside(&entry.link)?;
        let (Some(parent), Some(last)) = (target.parent(), target.file_name()) else {
            return Err(bad("a hard link to a directory"));
        };
        let place = k::O_PATH | k::O_DIRECTORY;
        let parent = path::open(self.root, &c(parent.as_os_str())?, place, Links::Refuse);
        parent
            .and_then(|parent| put::hard_link(parent.as_fd(), &c(last)?, dir, name))
            .map_err(|e| io::Error::new(e.kind(), format!("a hard link to {}: {e}", target.display())))
    }

    /// The directory that a file goes to. What is missing on the way is made.
    fn parent(&self, path: &Path) -> io::Result<OwnedFd> {
        let place = k::O_PATH | k::O_DIRECTORY;
        match path::open(self.root, &c(path.as_os_str())?, place, Links::Follow) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
            done => return done,
        }
        let mut here = path::open(self.root, c"/", place, Links::Follow)?;
        let mut so_far = PathBuf::from("/");
        for name in path.iter().skip(1) {
            so_far.push(name);
            here = match path::open(self.root, &c(so_far.as_os_str())?, place, Links::Follow) {
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                    let (made, new) = put::directory(here.as_fd(), &c(name)?)?;
                    if new {
                        let plain = self.settings.dress(k::S_IFDIR, 0o755, (0, 0), (0, 0))?;
                        put::dress(made.as_fd(), &Dress { time: None, ..plain })?;
                    }
                    made
                }
                done => done?,
            };
        }
        Ok(here)
    }

    /// Finishes the directories that `path` is not in; all of them without one.
    fn finish(&mut self, path: Option<&Path>) -> Result<(), (PathBuf, io::Error)> {
        let left = |dir: &Unfinished| path.is_none_or(|path| !path.starts_with(&dir.path));
        while self.unfinished.last().is_some_and(left) {
            if let Some(dir) = self.unfinished.pop() {
                self.finish_one(&dir).map_err(|e| (dir.path, e))?;
            }
        }
        Ok(())
    }

    fn finish_one(&self, dir: &Unfinished) -> io::Result<()> {
        let flags = k::O_RDONLY | k::O_DIRECTORY;
        let open = path::open(self.root, &c(dir.path.as_os_str())?, flags, Links::Follow)?;
        // Somebody moved ours away, and what is there now is theirs.
        if identity(&sys::statx(open.as_fd(), c"")?) != dir.is {
            return Ok(());
        }
        put::dress(open.as_fd(), &self.settings.dress(k::S_IFDIR, dir.mode, dir.owner, dir.time)?)
    }
}

/// What is in a file.
fn content(entry: &Entry, archive: &mut Archive, to: BorrowedFd) -> io::Result<()> {
    let mut write = |part: &[u8]| sys::write_all(to, part);
    let Some((parts, length)) = &entry.sparse else { return archive.pass(entry.stored, &mut write) };
    for (offset, length) in parts {
        sys::seek(to, *offset, k::SEEK_SET)?;
        archive.pass(*length, &mut write)?;
    }
    sys::set_length(to, *length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::Owner;
    use crate::scratch::Scratch;
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
    use std::process::{Command, Stdio};

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
    fn run(words: &[&str], dir: &Path, input: &[u8]) -> Vec<u8> {
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
    fn full(scratch: &Scratch) {
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

    fn same(scratch: &Scratch, one: &str, other: &str) {
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
        let big = fs::File::create(scratch.at("from/big")).unwrap();
        big.set_len(9 << 30).unwrap();
        for n in 0..40 {
            std::os::unix::fs::FileExt::write_all_at(&big, b"data", n * (200 << 20)).unwrap();
        }
        // As a sparse file in GNU's format, with more parts than a header holds.
        let archive = run(&["tar", "--format=gnu", "-cSf", "-", "big"], &scratch.at("from"), b"");
        unpacked(&scratch, "to", &archive).unwrap();
        let to = fs::File::open(scratch.at("to/big")).unwrap();
        assert_eq!(to.metadata().unwrap().len(), 9 << 30);
        assert!(to.metadata().unwrap().blocks() < 100_000);
        let mut read = [0; 4];
        std::os::unix::fs::FileExt::read_exact_at(&to, &mut read, 39 * (200 << 20)).unwrap();
        assert_eq!(&read, b"data");
        let pax = run(&["tar", "--format=pax", "-cSf", "-", "big"], &scratch.at("from"), b"");
        assert!(unpacked(&scratch, "pax", &pax).unwrap_err().cause.to_string().contains("--format=gnu"));
        // Sizes that octal digits do not hold, there and back; all of it, without the zeros of it.
        let found = scratch.place("from", "big").look().unwrap();
        let mut made = header(&found, Ids::SAME);
        made.set_size(found.stx_size);
        assert_eq!(made.entry_size().unwrap(), 9 << 30);
        let mut said = Extended::default();
        said.read(b"19 size=9663676416\n").unwrap();
        assert_eq!(said.size, Some(9 << 30));
    }

    /// An archive of entries: type, path, link, content.
    fn archive(entries: &[(EntryType, &str, &str, &str)]) -> Vec<u8> {
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

    #[test]
    fn nothing_leads_out_of_the_directory() {
        let scratch = Scratch::new();
        let outside = scratch.dir("outside");
        fs::write(scratch.at("outside/precious"), "precious").unwrap();
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
            &[(Symlink, ".", away, ""), (Regular, "new", "", "x")],
            &[(Symlink, "/", away, ""), (Regular, "new", "", "x")],
            &[(Symlink, "a/..", away, ""), (Regular, "new", "", "x")],
            &[(Fifo, "../outside/new", "", "")],
        ];
        for (n, entries) in attempts.iter().enumerate() {
            let _ = unpacked(&scratch, &format!("to{n}"), &archive(entries));
            assert_eq!(scratch.all("outside"), ["precious"], "attempt {n}");
            assert_eq!(scratch.read("outside/precious"), "precious", "attempt {n}");
            assert_eq!(
                fs::metadata(&outside).unwrap().mode() & 0o777,
                0o755 & fs::metadata(scratch.at("to0")).unwrap().mode()
            );
        }
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
            let entries: Vec<_> =
                entries.iter().map(|e| if e.1 == "./" { (Fifo, ".", "", "") } else { *e }).collect();
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
        for broken in
            ["x", "5 a=b\n", "3 a\n", "99 path=a\n", "0 a=b\n", "6 a=bc", "11 size=-1\n", "99999999999 a=b\n"]
        {
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
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % sides as u64) as usize
        }
    }

    /// Makes the checksums right again, so that damage gets further than the first look.
    fn mend(bytes: &mut [u8]) {
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
        for format in ["gnu", "pax"] {
            good.push(run(
                &["tar", "--format", format, "-cSf", "-", "sub", "file", "sparse"],
                &scratch.at("from"),
                b"",
            ));
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
}
