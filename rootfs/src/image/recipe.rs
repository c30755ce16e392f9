//! How to make a layer's archive again from its directory, to the byte: what is in the archive beside its files' content (headers,
//! their extensions, what fills up blocks, what follows the end), and in between the paths of those files.
//!
//! A layer is known by the digest of its archive, and two programs make two archives of one directory. Kept besides the directory
//! instead of the archive, this is a hundredth of it.
//!
//! ```text
//! R LENGTH BYTES          as they are; LENGTH in 4 bytes, the lowest first
//! F SIZE LENGTH PATH      the content of a file; SIZE in 8 bytes
//! E SIZE                  the end; SIZE of the whole archive
//! ```
//! All of it compressed by gzip.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
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
}

/// The most that is kept in memory of what stands together.
const TOGETHER: usize = 64 << 10;

impl Recipe {
    /// Writes to an empty file.
    pub fn new(file: File) -> Recipe {
        let out = GzEncoder::new(BufWriter::new(file), flate2::Compression::fast());
        Recipe { out, raw: Vec::new(), size: 0 }
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

    /// A file's content, at this path in the directory.
    pub fn content(&mut self, path: &[u8], size: u64) -> io::Result<()> {
        if size == 0 {
            return Ok(());
        }
        self.flush()?;
        self.size += size;
        self.out.write_all(b"F")?;
        self.out.write_all(&size.to_le_bytes())?;
        self.out.write_all(&(path.len() as u32).to_le_bytes())?;
        self.out.write_all(path)
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

/// Writes the archive that `recipe` and the layer's directory make. Whether it is what it was, its digest tells: that is for who asks.
pub fn assemble(dir: BorrowedFd, recipe: &mut dyn Read, out: &mut dyn Write) -> io::Result<u64> {
    let recipe = &mut flate2::bufread::GzDecoder::new(io::BufReader::new(recipe)) as &mut dyn Read;
    let mut buffer = vec![0; 64 << 10];
    let mut size = 0;
    loop {
        match number::<1>(recipe)? {
            [b'R'] => {
                let length = u64::from(u32::from_le_bytes(number(recipe)?));
                copy(&mut recipe.take(length), length, &mut buffer, out)?;
                size += length;
            }
            [b'F'] => {
                let length = u64::from_le_bytes(number(recipe)?);
                let named = u32::from_le_bytes(number(recipe)?) as usize;
                if named > LONGEST {
                    return Err(broken());
                }
                let mut path = vec![0; named];
                recipe.read_exact(&mut path)?;
                let shown = String::from_utf8_lossy(&path).into_owned();
                let flags = k::O_RDONLY | k::O_NOFOLLOW | k::O_NONBLOCK | k::O_NOCTTY;
                let read = || -> io::Result<()> {
                    let file = path::open(dir, &CString::new(path)?, flags, Links::Follow)?;
                    let found = sys::statx(file.as_fd(), c"")?;
                    if kind(&found) != k::S_IFREG || found.stx_size != length {
                        return Err(broken());
                    }
                    copy(&mut File::from(file), length, &mut buffer, out)
                };
                read().map_err(|e| io::Error::new(e.kind(), format!("{shown}: {e}")))?;
                size = size.checked_add(length).ok_or_else(broken)?;
            }
            [b'E'] if u64::from_le_bytes(number(recipe)?) == size => return Ok(size),
            _ => return Err(broken()),
        }
    }
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
