//! An archive made from a tree.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use linux_raw_sys::general as k;
use tar::{EntryType, Header};

use super::{BLOCK, padding};
use crate::copy::Ids;
use crate::sys;
use crate::walk::{Failed, Note, Place, Several, Walk, What, identity, kind};

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

pub(super) fn header(found: &k::statx, ids: Ids) -> Header {
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
pub(super) fn put_header(out: &mut dyn Write, header: &mut Header, path: &[u8], link: &[u8]) -> io::Result<()> {
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
