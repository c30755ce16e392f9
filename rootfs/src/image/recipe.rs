//! How to make a layer's archive again from its directory, to the byte: what is in the archive beside its files' content (headers,
//! their extensions, what fills up blocks, what follows the end), and in between the paths of those files.
//!
//! A layer is known by the digest of its archive, and two programs make two archives of one directory. Kept besides the directory
//! instead of the archive, this is a hundredth of it.
//!
//! ```text
//! R LENGTH BYTES                  as they are; LENGTH in 4 bytes, the lowest first
//! F OFFSET SIZE LENGTH PATH       a part of a file's content; OFFSET and SIZE in 8 bytes
//! A NUMBER LENGTH PATH            what stood at PATH so far, and what is below it, stands in the directory aside, under NUMBER
//! E SIZE                          the end; SIZE of the whole archive
//! ```
//! All of it compressed by gzip. `A` is for archives that say a name twice, of which the last word counts.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};

use flate2::write::GzEncoder;
use linux_raw_sys::general as k;

use crate::path::{self, Links};
use crate::sys;
use crate::walk::{LONGEST, kind};

/// A recipe that is being written.
pub struct Recipe {
    out: GzEncoder<BufWriter<File>>,
    /// Not written yet: what stands together comes in pieces.
    raw: Vec<u8>,
    size: u64,
    aside: u64,
}

/// The most that is kept in memory of what stands together.
const TOGETHER: usize = 64 << 10;

impl Recipe {
    /// Writes to an empty file.
    pub fn new(file: File) -> Recipe {
        let out = GzEncoder::new(BufWriter::new(file), flate2::Compression::fast());
        Recipe { out, raw: Vec::new(), size: 0, aside: 0 }
    }

    /// Bytes that are no file's content.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.size += bytes.len() as u64;
        for part in bytes.chunks(TOGETHER) {
            if self.raw.len() + part.len() > TOGETHER {
                self.flush()?;
            }
            self.raw.extend_from_slice(part);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.raw.is_empty() {
            return Ok(());
        }
        self.out.write_all(b"R")?;
        self.out.write_all(&(self.raw.len() as u32).to_le_bytes())?;
        self.out.write_all(&self.raw)?;
        self.raw.clear();
        Ok(())
    }

    /// A part of a file's content, at this path in the directory.
    pub fn content(&mut self, path: &[u8], offset: u64, size: u64) -> io::Result<()> {
        if size == 0 {
            return Ok(());
        }
        self.flush()?;
        self.size += size;
        self.out.write_all(b"F")?;
        self.out.write_all(&offset.to_le_bytes())?;
        self.out.write_all(&size.to_le_bytes())?;
        self.path(path)
    }

    fn path(&mut self, path: &[u8]) -> io::Result<()> {
        self.out.write_all(&(path.len() as u32).to_le_bytes())?;
        self.out.write_all(path)
    }

    /// What stands at this path gives way: the name under which it is to be put aside.
    pub fn aside(&mut self, path: &[u8]) -> io::Result<CString> {
        self.flush()?;
        let number = self.aside;
        self.aside += 1;
        self.out.write_all(b"A")?;
        self.out.write_all(&number.to_le_bytes())?;
        self.path(path)?;
        Ok(name_aside(number))
    }

    /// All has been said. The file, which is not on the disk for certain before `fsync`.
    pub fn finish(mut self) -> io::Result<File> {
        self.flush()?;
        self.out.write_all(b"E")?;
        self.out.write_all(&self.size.to_le_bytes())?;
        self.out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a layer's recipe is damaged")
}

fn number<const N: usize>(recipe: &mut dyn Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    recipe.read_exact(&mut bytes).map(|()| bytes)
}

fn name_aside(number: u64) -> CString {
    CString::new(number.to_string()).unwrap_or_default()
}

/// One record.
enum Record {
    Raw(u64),
    File { offset: u64, size: u64, path: Vec<u8> },
    Aside { number: u64, path: Vec<u8> },
    End(u64),
}

/// The next record. What follows `Raw` is for the caller to read.
fn next(recipe: &mut dyn Read) -> io::Result<Record> {
    let path = |recipe: &mut dyn Read| {
        let length = u32::from_le_bytes(number(recipe)?) as usize;
        let mut path = vec![0; if length > LONGEST { return Err(broken()) } else { length }];
        recipe.read_exact(&mut path).map(|()| path)
    };
    Ok(match number::<1>(recipe)? {
        [b'R'] => Record::Raw(u64::from(u32::from_le_bytes(number(recipe)?))),
        [b'F'] => {
            let (offset, size) = (u64::from_le_bytes(number(recipe)?), u64::from_le_bytes(number(recipe)?));
            Record::File { offset, size, path: path(recipe)? }
        }
        [b'A'] => Record::Aside { number: u64::from_le_bytes(number(recipe)?), path: path(recipe)? },
        [b'E'] => Record::End(u64::from_le_bytes(number(recipe)?)),
        _ => return Err(broken()),
    })
}

/// How many bytes the archive of this recipe has.
pub fn size(recipe: &mut dyn Read) -> io::Result<u64> {
    read_through(&mut flate2::bufread::GzDecoder::new(io::BufReader::new(recipe))).map(|(_, size)| size)
}

/// What was put aside: before which part of content, under which number, and from where.
type Moved = (u64, u64, Vec<u8>);

/// Reads through a recipe for what was put aside, and for the archive's size.
fn read_through(recipe: &mut dyn Read) -> io::Result<(Vec<Moved>, u64)> {
    let (mut all, mut parts) = (Vec::new(), 0);
    loop {
        match next(recipe)? {
            Record::Raw(length) => {
                if io::copy(&mut recipe.take(length), &mut io::sink())? < length {
                    return Err(broken());
                }
            }
            Record::File { .. } => parts += 1,
            Record::Aside { number, path } => all.push((parts, number, path)),
            Record::End(size) => return Ok((all, size)),
        }
    }
}

/// Writes the archive that a recipe, the layer's directory, and the one with what was put aside make. Whether it is what it was, its
/// digest tells: that is for who asks.
pub fn assemble(
    dir: BorrowedFd,
    aside: BorrowedFd,
    recipe: &mut (impl Read + Seek),
    out: &mut dyn Write,
) -> io::Result<u64> {
    let (moved, _) = read_through(&mut flate2::bufread::GzDecoder::new(io::BufReader::new(&mut *recipe)))?;
    recipe.rewind()?;
    let recipe = &mut flate2::bufread::GzDecoder::new(io::BufReader::new(recipe)) as &mut dyn Read;
    let mut buffer = vec![0; 64 << 10];
    let (mut made, mut parts) = (0_u64, 0);
    loop {
        match next(recipe)? {
            Record::Raw(length) => {
                copy(&mut recipe.take(length), length, &mut buffer, out)?;
                made += length;
            }
            Record::File { offset, size, path } => {
                let shown = String::from_utf8_lossy(&path).into_owned();
                // The first move after it was written: what is aside is not moved again.
                let gone = moved.iter().find_map(|(before, number, from)| {
                    let below =
                        path.strip_prefix(&from[..]).filter(|rest| rest.is_empty() || rest.starts_with(b"/"))?;
                    (*before > parts).then(|| [number.to_string().as_bytes(), below].concat())
                });
                let (root, path) = gone.map_or((dir, path), |path| (aside, path));
                let file = open(root, path);
                let content = file.and_then(|mut file| {
                    let end = offset.checked_add(size).ok_or_else(broken)?;
                    if file.metadata()?.len() < end {
                        return Err(broken());
                    }
                    file.seek(io::SeekFrom::Start(offset))?;
                    copy(&mut file, size, &mut buffer, out)
                });
                content.map_err(|e| io::Error::new(e.kind(), format!("{shown}: {e}")))?;
                made = made.checked_add(size).ok_or_else(broken)?;
                parts += 1;
            }
            Record::Aside { .. } => {}
            Record::End(size) if size == made => return Ok(made),
            Record::End(_) => return Err(broken()),
        }
    }
}

/// A regular file, and nothing else.
fn open(root: BorrowedFd, path: Vec<u8>) -> io::Result<File> {
    let flags = k::O_RDONLY | k::O_NOFOLLOW | k::O_NONBLOCK | k::O_NOCTTY;
    let file = path::open(root, &CString::new(path)?, flags, Links::Follow)?;
    if kind(&sys::statx(file.as_fd(), c"")?) == k::S_IFREG { Ok(file.into()) } else { Err(broken()) }
}

/// Exactly so many bytes.
fn copy(from: &mut dyn Read, length: u64, buffer: &mut [u8], out: &mut dyn Write) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        let want = left.min(buffer.len() as u64) as usize;
        let part = buffer.get_mut(..want).unwrap_or_default();
        match from.read(part) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) => return Err(broken()),
            got => {
                let got = got?;
                out.write_all(part.get(..got).unwrap_or_default())?;
                left -= got as u64;
            }
        }
    }
    Ok(())
}
