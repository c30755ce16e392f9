//! What happened to containers, one line each, in the state folder: `events`, and `events.1` before that.
//!
//! ```text
//! 2026-11-22T23:40:11.123456789Z die 3f2a… web exitCode=0 root=/srv/debian
//! ```
//! Everybody who changes a container appends to it (a line is one write, so lines do not mix). `ctr events` follows it.
//! It is a convenience: that it cannot be written (a full disk) never stops anything.

use std::ffi::CString;
use std::fmt::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use linux_raw_sys::general as k;

use super::record::{self, Record};
use crate::{clock, sys};

/// The file's name in the state folder, and that of the one before.
pub const NAME: &str = "events";
/// See [`NAME`].
pub const BEFORE: &str = "events.1";

/// From which size on a new one is begun.
const MOST: u64 = 1 << 20;

/// Appends a line. `name` is the container's, if it has one still.
pub fn note(what: &str, record: &Record, name: Option<&str>, more: &[(&str, String)]) {
    let mut line = format!("{} {what} {} {}", clock::now(), record.id(), name.unwrap_or("-"));
    let root = record.get("root").map(|root| ("root", root.to_owned()));
    for (key, value) in more.iter().cloned().chain(root) {
        let _ = write!(line, " {key}={}", blank_free(&value));
    }
    for label in record.lines().filter(|(key, _)| *key == "--label") {
        let (key, value) = label.1.split_once('=').unwrap_or((label.1, ""));
        let _ = write!(line, " {}={}", blank_free(key), blank_free(value));
    }
    line.push('\n');
    let path = |name: &str| CString::new(record::folder().join(name).as_os_str().as_bytes()).unwrap_or_default();
    let flags = k::O_WRONLY | k::O_APPEND | k::O_CREAT | k::O_NOFOLLOW;
    let Ok(file) = sys::openat(sys::CWD, &path(NAME), flags, 0o600) else { return };
    let _ = sys::write(file.as_fd(), line.as_bytes());
    if sys::fstat(file.as_fd()).is_ok_and(|stat| stat.st_size as u64 > MOST) {
        let _ = sys::rename(sys::CWD, &path(NAME), &path(BEFORE));
    }
}

/// A value without blanks, so that a line can be taken apart: they become `\s`.
fn blank_free(value: &str) -> String {
    value
        .chars()
        .map(|c| if c.is_whitespace() || c.is_control() { "\\s".to_owned() } else { c.to_string() })
        .collect()
}
