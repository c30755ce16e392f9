//! An archive read, from entry to entry.
//!
//! What is in an archive comes from anybody. Nothing here believes a number before it has compared it, keeps more of one entry in memory
//! than `MOST_EXTENDED`, or knows where in the world a name leads.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use tar::{EntryType, Header};

use super::{BLOCK, padding};
use crate::copy::packed;
use crate::walk::Note;

/// Long names and other extended headers, the map of a sparse file: nobody needs more.
const MOST_EXTENDED: u64 = 1 << 20;

/// The kernel lists no more than 64 KiB of names.
const MOST_ATTRIBUTES: usize = 1000;

/// Before an extended attribute's name in a PAX header: star's convention, which GNU tar, libarchive and Go follow.
const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";

/// One file of an archive, its extended headers taken into account.
#[derive(Debug)]
pub struct Entry {
    /// Its path, as the archive has it.
    pub path: Vec<u8>,
    /// Where a link leads.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: EntryType,
    /// Permissions, with the set-id and sticky bits, and whatever else stands there.
    pub mode: u32,
    /// User and group; `u32::MAX` for what is no id.
    pub owner: (u32, u32),
    /// When it was changed: seconds and nanoseconds.
    pub time: (i64, u32),
    /// A device's number, as `mknod(2)` takes it.
    pub device: u32,
    /// Bytes that follow, without what fills the last block.
    pub stored: u64,
    /// For a sparse file: where which of them belong, and how long it is.
    pub sparse: Option<Parts>,
    /// Extended attributes, names and values (`SCHILY.xattr.`).
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What an extended header says about the next file.
#[derive(Default)]
pub(super) struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    time: Option<(i64, u32)>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    holes: Holes,
}

/// What extended headers say about a sparse file, in one of GNU tar's three ways (its manual, "Storing Sparse Files").
#[derive(Default)]
struct Holes {
    /// 1: the map stands before the content.
    major: Option<u64>,
    /// How the file is called, where its header has another name, for programs that do not know of holes.
    name: Option<Vec<u8>>,
    /// How long the file is.
    real: Option<u64>,
    /// Offset and length of each part.
    numbers: Vec<u64>,
}

impl Holes {
    fn is_any(&self) -> bool {
        self.major.is_some() || self.real.is_some() || !self.numbers.is_empty()
    }
}

/// Told every byte of an archive that is no file's content, in order.
pub type Heard<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// An archive that is being read.
pub struct Archive<'a> {
    input: BufReader<&'a mut dyn Read>,
    any: bool,
    heard: Option<&'a mut Heard<'a>>,
}

pub(crate) fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl<'a> Archive<'a> {
    /// An archive that nothing of has been read.
    pub fn new(input: &'a mut dyn Read) -> Archive<'a> {
        Archive { input: BufReader::with_capacity(64 << 10, input), any: false, heard: None }
    }

    /// The same, and `heard` is told what is no content; what follows the end mark is read too, to the last byte.
    pub fn heard(input: &'a mut dyn Read, heard: &'a mut Heard<'a>) -> Archive<'a> {
        Archive { heard: Some(heard), ..Archive::new(input) }
    }

    fn hear(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.heard.as_mut().map_or(Ok(()), |heard| heard(bytes))
    }

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
        self.hear(&block)?;
        Ok(Some(block))
    }

    /// The next file. None after the last. The content of the one before has been taken, or skipped, with what fills its last block.
    pub fn next(&mut self, note: &mut Note) -> io::Result<Option<Entry>> {
        let mut said = Extended::default();
        loop {
            let Some(block) = self.block()? else {
                if !self.any {
                    return Err(bad("it is empty: no tar archive"));
                }
                note(Path::new(""), "the archive has no end mark: is all of it there?");
                return Ok(None);
            };
            if block.iter().all(|b| *b == 0) {
                return self.end().map(|()| None);
            }
            let header = Header::from_byte_slice(&block);
            check(header, &block, !self.any)?;
            self.any = true;
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

    /// What follows the end mark. A writer that still has padding to write is not to get SIGPIPE for it.
    fn end(&mut self) -> io::Result<()> {
        let Some(heard) = self.heard.as_mut() else {
            let _ = io::copy(&mut self.input.by_ref().take(1 << 20), &mut io::sink());
            return Ok(());
        };
        loop {
            let here = match self.input.fill_buf() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                here => here?,
            };
            if here.is_empty() {
                return Ok(());
            }
            heard(here)?;
            let length = here.len();
            self.input.consume(length);
        }
    }

    fn entry(&mut self, header: &Header, kind: EntryType, size: u64, mut said: Extended) -> io::Result<Entry> {
        let old = header.as_old();
        let path = said.holes.name.take().or(said.path).unwrap_or_else(|| header.path_bytes().into_owned());
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
        let (sparse, size) = match kind {
            EntryType::GNUSparse => (Some(self.sparse_map(header, size)?), size),
            EntryType::Regular if said.holes.is_any() => {
                let (parts, size) = self.sparse_parts(&said.holes, size)?;
                (Some(parts), size)
            }
            _ => (None, size),
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
            attributes: said.attributes,
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
        self.hear(&bytes)?;
        self.skip(padding(size))?;
        Ok(bytes)
    }

    /// Where the parts of a sparse file belong (GNU's own format).
    fn sparse_map(&mut self, header: &Header, stored: u64) -> io::Result<Parts> {
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
        fitting(parts, real, stored)
    }

    /// The same, as extended headers say it; and how many bytes the content has without a map that stands before it.
    fn sparse_parts(&mut self, holes: &Holes, size: u64) -> io::Result<(Parts, u64)> {
        let real = holes.real.ok_or_else(|| bad("a sparse file that does not say how long it is"))?;
        let (numbers, stored) = match holes.major {
            Some(1) => self.map_before_content(size)?,
            _ => (holes.numbers.clone(), size),
        };
        let parts = numbers.chunks(2).map(|pair| match *pair {
            [offset, length] => Ok((offset, length)),
            _ => Err(bad("a sparse file whose map ends in the middle")),
        });
        // A part of no length says where the file ends.
        let parts = parts.filter(|part| !matches!(part, Ok((_, 0)))).collect::<io::Result<_>>()?;
        Ok((fitting(parts, real, stored)?, stored))
    }

    /// How many parts there are, and their offsets and lengths, each with a line's end, in whole blocks.
    fn map_before_content(&mut self, size: u64) -> io::Result<(Vec<u64>, u64)> {
        let broken = || bad("a sparse file with a broken map");
        let (mut numbers, mut digits, mut used) = (Vec::new(), Vec::new(), 0);
        loop {
            if used + BLOCK as u64 > size || used > MOST_EXTENDED {
                return Err(broken());
            }
            let block = self.block()?.ok_or_else(cut_off)?;
            used += BLOCK as u64;
            for byte in block {
                if byte != b'\n' {
                    digits.push(byte);
                    continue;
                }
                numbers.push(decimal(&digits).ok_or_else(broken)?);
                digits.clear();
                let wanted = numbers.first().and_then(|count| count.checked_mul(2)).ok_or_else(broken)?;
                if numbers.len() as u64 - 1 == wanted {
                    return Ok((numbers.split_off(1), size - used));
                }
            }
        }
    }

    /// Hands the next `size` bytes on.
    pub fn pass(&mut self, size: u64, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
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

    /// The next `size` bytes, to be read. What is left of them when this is dropped comes next.
    pub fn content(&mut self, size: u64) -> Content<'_, 'a> {
        Content { archive: self, left: size }
    }

    /// Passes over the next `size` bytes.
    pub fn skip(&mut self, size: u64) -> io::Result<()> {
        match self.heard.take() {
            None => self.pass(size, &mut |_| Ok(())),
            Some(heard) => {
                let passed = self.pass(size, &mut |part| heard(part));
                self.heard = Some(heard);
                passed
            }
        }
    }
}

/// A file's content.
pub struct Content<'b, 'a> {
    archive: &'b mut Archive<'a>,
    /// Bytes that have not been read.
    pub left: u64,
}

impl Read for Content<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let want = self.left.min(into.len() as u64) as usize;
        if want == 0 {
            return Ok(0);
        }
        match self.archive.input.read(into.get_mut(..want).unwrap_or_default())? {
            0 => Err(cut_off()),
            got => {
                self.left -= got as u64;
                Ok(got)
            }
        }
    }
}

/// Where the parts of a sparse file belong, and how long it is.
pub type Parts = (Vec<(u64, u64)>, u64);

/// The parts of a file of this length, if they are in order and as long as what is stored.
fn fitting(parts: Vec<(u64, u64)>, real: u64, stored: u64) -> io::Result<Parts> {
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
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> io::Result<()> {
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
                key if key.starts_with(ATTRIBUTE) => {
                    let name = key.get(ATTRIBUTE.len()..).unwrap_or_default().to_vec();
                    if self.attributes.len() >= MOST_ATTRIBUTES {
                        return Err(bad("a file with more than a thousand extended attributes"));
                    }
                    // Said once more, the last word counts.
                    self.attributes.retain(|(other, _)| *other != name);
                    self.attributes.push((name, value.to_vec()));
                }
                b"GNU.sparse.name" => self.holes.name = Some(value.to_vec()),
                b"GNU.sparse.major" => self.holes.major = Some(number()?),
                b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.holes.real = Some(number()?),
                b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.holes.numbers.push(number()?),
                b"GNU.sparse.map" => {
                    let numbers = value.split(|b| *b == b',').map(|digits| decimal(digits).ok_or_else(broken));
                    self.holes.numbers = numbers.collect::<io::Result<_>>()?;
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
pub(super) fn seconds(text: &[u8]) -> Option<(i64, u32)> {
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
