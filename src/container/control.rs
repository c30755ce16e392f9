//! What a supervisor and a ctr command say to each other: whole messages over a socket (`SOCK_SEQPACKET`, unix(7)) in the
//! container's directory, which only its owner can reach. The first byte says what a message is, the rest is its data.
//!
//! A supervisor never waits for a client: what does not fit into the socket is dropped and counted, but for a client that
//! is the container's own terminal or pipe (`run`, `start -a`), for which the container waits as it would for any reader.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys;

/// The socket's name in the container's directory.
pub const NAME: &std::ffi::CStr = c"control";

/// The most data in one message.
pub const MOST: usize = 4096;

/// What a client says.
pub mod ask {
    /// I want the output; flags ([`super::INPUT`], …) follow.
    pub const ATTACH: u8 = b'A';
    /// Standard input.
    pub const INPUT: u8 = b'I';
    /// There will be no more of it.
    pub const END: u8 = b'E';
    /// The terminal has this size: rows and columns, two bytes each (native order).
    pub const SIZE: u8 = b'R';
    /// The container gets this signal.
    pub const SIGNAL: u8 = b'G';
    /// I go, and it goes on.
    pub const DETACH: u8 = b'D';
    /// It shall not come back when it ends; answered by [`super::tell::NOTED`].
    pub const DOWN: u8 = b'S';
    /// The same, and everything in it is killed now.
    pub const KILL: u8 = b'K';
    /// These options (`--memory 1g`, one a line) replace those of the record; answered by [`super::tell::NOTED`].
    pub const UPDATE: u8 = b'U';
    /// These lines (`--network`, `net`) replace those of the record; answered by [`super::tell::NOTED`].
    pub const NETWORKS: u8 = b'N';
    /// I only want to know how it ends.
    pub const WAIT: u8 = b'W';
}

/// What a supervisor says.
pub mod tell {
    /// It runs; its pid follows (four bytes, native order), and lines that who started it should read.
    pub const STARTED: u8 = b's';
    /// It could not be started: exit code, then the error's line.
    pub const FAILED: u8 = b'f';
    /// Standard output.
    pub const OUTPUT: u8 = b'o';
    /// Standard error.
    pub const ERROR: u8 = b'e';
    /// So many bytes of output did not fit (eight bytes, native order).
    pub const DROPPED: u8 = b'd';
    /// It has ended, with this exit code.
    pub const ENDED: u8 = b'x';
    /// What was asked is done.
    pub const NOTED: u8 = b'k';
}

/// With standard input.
pub const INPUT: u8 = 1;
/// The container waits for this client, and ends when it goes without a word: it is its `ctr run`.
pub const OWNER: u8 = 2;
/// The container waits for this client.
pub const LOSSLESS: u8 = 4;

/// Sends one message; see [`sys::send`] for what can go wrong.
pub fn send(socket: BorrowedFd, kind: u8, data: &[u8]) -> io::Result<()> {
    let mut message = [0u8; 1 + MOST];
    message[0] = kind;
    let length = data.len().min(MOST);
    if let (Some(to), Some(from)) = (message.get_mut(1..=length), data.get(..length)) {
        to.copy_from_slice(from);
    }
    sys::send(socket, message.get(..=length).unwrap_or_default())
}

/// The same for a word that somebody waits for, and that the kernel has no memory for at the moment perhaps.
pub fn send_surely(socket: BorrowedFd, kind: u8, data: &[u8]) -> io::Result<()> {
    for _ in 0..20 {
        match send(socket, kind, data) {
            // Only who has gone does not want to know.
            Err(e) if !matches!(e.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) => {
                let _ = sys::poll(&mut [], 10);
            }
            done => return done,
        }
    }
    send(socket, kind, data)
}

/// Connects with the supervisor of the container whose directory this is. ECONNREFUSED or ENOENT if there is none.
pub fn connect(dir: BorrowedFd) -> io::Result<OwnedFd> {
    // A path may be longer than the address of a socket (108 bytes): from inside the directory it is short.
    let here = sys::openat(sys::CWD, c".", linux_raw_sys::general::O_PATH, 0);
    rootfs::sys::fchdir(dir)?;
    let mut socket = sys::connect_to(NAME);
    for _ in 0..1000 {
        match &socket {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                let _ = sys::poll(&mut [], 1);
                socket = sys::connect_to(NAME);
            }
            _ => break,
        }
    }
    if let Ok(here) = here {
        let _ = rootfs::sys::fchdir(here.as_fd());
    }
    socket
}

/// Tells the supervisor of the container whose directory this is which networks it is on now, and waits until that is noted.
pub fn networks(dir: BorrowedFd, lines: &str) -> io::Result<()> {
    let socket = connect(dir)?;
    send_surely(socket.as_fd(), ask::NETWORKS, lines.as_bytes())?;
    let mut message = [0u8; 1 + MOST];
    loop {
        match next(socket.as_fd(), &mut message, 10_000)? {
            Some((tell::NOTED, _)) => return Ok(()),
            Some(_) => {}
            None => return Err(io::Error::other("it did not answer")),
        }
    }
}

/// A supervisor's socket, in its working directory.
pub fn listen() -> io::Result<OwnedFd> {
    match sys::unlink(sys::CWD, NAME, false) {
        Err(e) if e.raw_os_error() != Some(libc::ENOENT) => return Err(e),
        _ => {}
    }
    sys::listen_at(NAME)
}

/// Waits for the next message, at most so many milliseconds (negative: for ever): its kind and length, None at the end or
/// when time is up.
pub fn next(socket: BorrowedFd, into: &mut [u8; 1 + MOST], patience: i32) -> io::Result<Option<(u8, usize)>> {
    loop {
        match sys::receive(socket, into) {
            Ok(0) => return Ok(None),
            Ok(n) => return Ok(Some((into[0], n - 1))),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
                let mut wanted = [sys::PollFd { fd, events: libc::POLLIN, revents: 0 }];
                match sys::poll(&mut wanted, patience) {
                    Ok(0) => return Ok(None),
                    Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                    _ => {}
                }
            }
            Err(e) if e.raw_os_error() == Some(libc::ECONNRESET) => return Ok(None),
            Err(e) => return Err(e),
        }
    }
}
