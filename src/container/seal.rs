//! Our own binary, as something that cannot be written through by whoever gets hold of it inside of a container.
//!
//! Whoever is in there may have us execute `/proc/self/exe`, as the command or behind a `#!`: then our file is his program, and
//! he may hold it until nobody runs it any more and it can be written (CVE-2019-5736). So `ctr exec` first executes itself
//! again ([`seal`]), from a read-only copy of the mount that it is on, or from a sealed copy in memory ([`init::binary`]).
//!
//! As long as such a copy of a mount is held by the descriptor that made it, whoever has a user namespace of his own may make it
//! writable again (`mount_setattr(2)` asks for no more, if a mount is in no namespace). So it must be let go of before the
//! user's program runs. That takes as long as the kernel's readers need to have seen it (60 us, of a whole `exec` of 1,200): it
//! is done while the child is on its way ([`Sealed::let_go`]), and the child waits for it before it executes anything.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;

use linux_raw_sys::general as k;

use super::init;
use super::step::{LET_GO, Strings};
use crate::error::{Error, Result};
use crate::{procfs, sys};

/// What an error of this is about.
const DOING: &str = "protect our own binary from the container";

/// For how many milliseconds the child is waited for. It has nothing to do before; and if it is late, it is who lets go last.
const PATIENCE: u32 = 20;

/// What we are executed from: something that cannot be written through. Its descriptor, if we still have it.
#[derive(Debug)]
pub struct Sealed(Option<OwnedFd>);

/// Makes sure that our binary cannot be written through us, whoever gets hold of `/proc/PID/exe`: if need be executes
/// ourselves again. Comes back if that is so already. To be called before anything is opened.
pub fn seal(words: &[OsString]) -> Result<Sealed> {
    let name = sys::executed_as();
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<RawFd>().ok().filter(|fd| *fd > 2);
    if let Some(text) = name.strip_prefix(b"/dev/fd/") {
        return Ok(Sealed(number(text).and_then(adopt)));
    }
    if let Some(fd) = name.strip_prefix(b"self/fd/").and_then(number) {
        // See again_by_name().
        if let Some(here) = adopt(fd + 1) {
            let _ = sys::change_directory(here.as_fd());
        }
        return Ok(Sealed(adopt(fd)));
    }
    let binary = init::binary().map_err(|e| Error::new(DOING, "/proc/self/exe", e))?;
    let c = |word: &OsString| CString::new(word.as_bytes()).unwrap_or_default();
    let argv = Strings::new(words.iter().map(c).collect());
    let mut error = match sys::inherit(binary.as_raw_fd(), true) {
        Ok(()) => sys::exec(binary.as_fd(), c"", argv.pointers(), sys::environment()),
        Err(e) => e,
    };
    if error.raw_os_error() == Some(libc::ENOENT) {
        error = again_by_name(binary.as_fd(), &argv);
    }
    let nowhere = error.raw_os_error() == Some(libc::ENOENT);
    Err(Error::new(DOING, "execveat", error).hint(nowhere.then_some("ln -s /proc/self/fd /dev/fd")))
}

/// Until 6.1 TOMOYO, where it is one of the kernel's security modules, looks a program up by its name, and one that is executed
/// by descriptor is called `/dev/fd/N`: ENOENT where nobody has made that, as in an initramfs. From procfs, whether it is mounted
/// or not, `self/fd/N` is a name that leads there. The working directory goes along as the descriptor after it.
fn again_by_name(binary: BorrowedFd, argv: &Strings) -> io::Error {
    let again = || -> io::Result<io::Error> {
        let proc = procfs::open()?;
        let here = sys::openat(sys::CWD, c".", k::O_PATH | k::O_DIRECTORY, 0)?;
        let mut least = 3;
        // Two numbers in a row: what we have inherited may lie in between.
        let (program, _here_too) = loop {
            let program = sys::dup_inherited(binary, least)?;
            let next = sys::dup_inherited(here.as_fd(), program.as_raw_fd() + 1)?;
            if next.as_raw_fd() == program.as_raw_fd() + 1 {
                break (program, next);
            }
            least = next.as_raw_fd();
        };
        let name = CString::new(format!("self/fd/{}", program.as_raw_fd()))?;
        sys::inherit(binary.as_raw_fd(), false)?;
        sys::change_directory(proc.as_fd())?;
        let error = sys::exec(sys::CWD, &name, argv.pointers(), sys::environment());
        let _ = sys::change_directory(here.as_fd());
        Ok(error)
    };
    again().unwrap_or_else(|e| e)
}

/// A descriptor that was handed on to us, if it was.
fn adopt(fd: RawFd) -> Option<OwnedFd> {
    sys::inherit(fd, false).ok().map(|()| sys::adopt(fd))
}

impl Sealed {
    /// The descriptor, for a child that must not hold it ([`super::step::Op::LetGo`]).
    pub fn number(&self) -> Option<RawFd> {
        self.0.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Lets go of the copy, once the child has done so: who is last waits for the kernel, and the child has other things to do.
    pub fn let_go(self) {
        if self.0.is_some() && LET_GO.load(Ordering::Acquire) == 0 {
            let _ = sys::futex_wait(&LET_GO, 0, PATIENCE);
        }
    }
}
