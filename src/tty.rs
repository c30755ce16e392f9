//! Terminals: raw mode outside, and putting back what was there.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Mutex;

use linux_raw_sys::general as k;

use crate::error::{Doing, Error, Result};
use crate::sys;

/// A terminal whose settings are remembered; dropping this puts them back.
///
/// ctr is built without unwinding, and ends by `main` returning, with every signal that could end it blocked: every way
/// out passes the drop but a panic, whose hook calls [`put_back`], and SIGKILL, for which a companion process waits
/// (`container::step::Op::RestoreTerminal`).
#[derive(Debug)]
pub struct Raw(());

/// The terminal that is raw at the moment, and how it was before.
static BEFORE: Mutex<Option<(OwnedFd, k::termios)>> = Mutex::new(None);

/// The terminal and its old settings, for somebody who outlives us.
pub fn remembered() -> Option<(RawFd, k::termios)> {
    let before = BEFORE.lock().ok()?;
    before.as_ref().map(|(terminal, settings)| (terminal.as_raw_fd(), *settings))
}

/// Puts the old settings back, if there is a raw terminal.
pub fn put_back() {
    if let Ok(mut before) = BEFORE.try_lock() {
        if let Some((terminal, settings)) = before.take() {
            let _ = sys::set_terminal(terminal.as_fd(), &settings);
        }
    }
}

impl Raw {
    /// Remembers the settings of the terminal behind `fd`; ENOTTY if it is none.
    pub fn remember(fd: BorrowedFd) -> io::Result<Raw> {
        let before = sys::terminal_settings(fd)?;
        let terminal = sys::dup(fd)?;
        if let Ok(mut place) = BEFORE.lock() {
            *place = Some((terminal, before));
        }
        Ok(Raw(()))
    }

    /// Switches off what the terminal does.
    #[allow(clippy::unused_self)] // who has it has remembered
    pub fn enter(&self, how: How) -> io::Result<()> {
        let (terminal, before) = remembered().ok_or(io::Error::from_raw_os_error(libc::ENOTTY))?;
        sys::set_terminal(sys::borrow(terminal), &made_raw(before, how))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        put_back();
    }
}

/// How much of a terminal's doing is switched off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// All of it: what is typed goes through as it is, Ctrl-C too.
    Raw,
    /// What it does to output.
    Output,
}

/// The settings with every interpretation of bytes switched off, as cfmakeraw(3) lists them.
fn made_raw(mut settings: k::termios, how: How) -> k::termios {
    settings.c_oflag &= !k::OPOST;
    if how == How::Output {
        return settings;
    }
    settings.c_iflag &= !(k::IGNBRK | k::BRKINT | k::PARMRK | k::ISTRIP | k::INLCR | k::IGNCR | k::ICRNL | k::IXON);
    settings.c_lflag &= !(k::ECHO | k::ECHONL | k::ICANON | k::ISIG | k::IEXTEN);
    settings.c_cflag = settings.c_cflag & !(k::CSIZE | k::PARENB) | k::CS8;
    settings.c_cc[k::VMIN as usize] = 1;
    settings.c_cc[k::VTIME as usize] = 0;
    settings
}

/// Whether `fd` is a terminal.
pub fn is_terminal(fd: BorrowedFd) -> bool {
    sys::terminal_settings(fd).is_ok()
}

/// The first of our three standard descriptors that is a terminal, by number.
pub fn ours() -> Option<BorrowedFd<'static>> {
    [0, 1, 2].map(sys::borrow).into_iter().find(|fd| is_terminal(fd.as_fd()))
}

/// Waits, as every program that reads a terminal does, until the shell has put us into its foreground (`fg`): the kernel
/// stops us with SIGTTIN. Must come before signals are blocked.
pub fn await_foreground(terminal: BorrowedFd) -> Result<()> {
    for _ in 0..3 {
        match sys::foreground_of(terminal) {
            // No controlling terminal of ours: then nobody's background either.
            Err(_) => return Ok(()),
            Ok(group) if group == sys::process_group() => return Ok(()),
            Ok(_) => sys::kill(0, libc::SIGTTIN).doing("wait for the terminal", "")?,
        }
    }
    Err(Error::usage("-it in the background: the terminal belongs to another program (leave -t or -i out)"))
}
