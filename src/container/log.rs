//! What a detached container says, kept: the log files in its directory, their only [`Writer`], and who [`show`]s
//! them.
//!
//! ```text
//! log      the newest        2026-11-22T23:40:11.123456789Z stdout F listening on port 80
//! log.1    the one before    2026-11-22T23:40:11.200000000Z stderr P a line that goes on in
//! log.2    …                 2026-11-22T23:40:11.300000000Z stderr F the next entry of its stream
//! ```
//!
//! An *entry* is one line of the kubelet's log format (CRI): time, stream, `F` for the end of a line of the program's
//! or `P` for a part of one, text. Text is bytes, any but a newline. Whoever puts a stream's texts together, with a
//! newline after each F, has what the program wrote.
//!
//! What was decided:
//!
//! - **An incomplete line waits** in memory for its end, up to [`HOLD`] bytes: many programs (Java's `println`) write
//!   a line and its newline in two calls, and would fill the log with halves. Beyond that, and whenever the loop
//!   calls [`Writer::flush`] (when nothing came for a moment: a prompt wants to be seen), it is written as P.
//! - **Whole lines are not copied.** An append is one `writev` of a header shared by all its lines and of slices of the
//!   caller's own bytes. More than one takes: more than [`SLICES`] / 2 lines, an end of a P entry in the middle (a
//!   line of more than [`MOST_TEXT`] bytes), a change of files. The time is that of the append: lines that came
//!   together have the same, and times rise as long as nobody sets the clock.
//! - **Entries are never torn.** After a short write the file is cut back to its last whole entry; where even that
//!   fails, as after a power cut, the next write begins with a newline. A reader skips lines that are no entries.
//! - **Nothing blocks, nothing fails.** What cannot be written is counted and dropped; the first write that succeeds
//!   again says so in the log. A full disk is tried at each append (one call that fails); a file that cannot be
//!   opened, or is broken (EIO, EROFS…), is opened anew once a second at most. A line that was cut in two by this is
//!   ended with an empty F, so that it does not run into the next one.
//! - **A change of files** makes the new one first (`log.new`), then shifts the old ones, then puts it in its place:
//!   when there is no room for a file, everything stays as it was. Only files up to the first gap are shifted, so
//!   that a gap that a crash left closes by itself, and there never is more than one. With one file it simply
//!   replaces the old one.
//! - **A restarted container** continues the log. If its last life ended within a line, the line goes on, as on a
//!   terminal.

mod read;

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use linux_raw_sys::general as k;

use crate::clock::{self, Time};
use crate::error::{Doing, Result};
use crate::sys;

pub use read::{Follow, Wanted, show, tail};

/// The longest text of an entry; longer lines are several.
pub const MOST_TEXT: usize = 16 << 10;

/// How much of an incomplete line waits for its end, for each stream.
pub const HOLD: usize = 4 << 10;

/// The most files that a log can have.
pub const MOST_FILES: u32 = 100;

/// How many pieces one `writev` has, two for each line: 8 KiB of stack.
const SLICES: usize = 512;

/// After how many nanoseconds a file that could not be opened is tried again.
const PATIENCE: u64 = 1_000_000_000;

/// `TIME STREAM TAG `.
const HEAD: usize = clock::TEXT + 10;

/// The file that is about to become the newest one.
const NEW: &CStr = c"log.new";

/// Where a container's words came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Stream {
    /// Both of them, each at the place of its number.
    const ALL: [Stream; 2] = [Stream::Out, Stream::Err];

    fn name(self) -> &'static str {
        match self {
            Stream::Out => "stdout",
            Stream::Err => "stderr",
        }
    }
}

/// One line of a log file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// When it was written.
    pub time: Time,
    /// What it was written to.
    pub stream: Stream,
    /// Whether a line ends here; otherwise the next entry of this stream continues it.
    pub full: bool,
    /// The bytes, without the newline.
    pub text: &'a [u8],
}

/// Reads a line of a log file, without its newline. Any RFC 3339 time and further tags (`F:…`) are fine: other
/// programs write this format too. None for what is no entry.
pub fn parse(line: &[u8]) -> Option<Entry<'_>> {
    let mut words = line.splitn(4, |b| *b == b' ');
    let time = clock::parse(words.next()?)?;
    let stream = words.next()?;
    let stream = Stream::ALL.into_iter().find(|s| s.name().as_bytes() == stream)?;
    let full = match words.next()?.split(|b| *b == b':').next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    Some(Entry { time, stream, full, text: words.next().unwrap_or_default() })
}

/// What an entry begins with.
fn head(time: Time, stream: Stream, full: bool) -> [u8; HEAD] {
    let mut head = [b' '; HEAD];
    let words = [&time.text()[..], b" ", stream.name().as_bytes(), if full { b" F " } else { b" P " }];
    for (to, from) in head.iter_mut().zip(words.into_iter().flatten()) {
        *to = *from;
    }
    head
}

/// How large a log may grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The most bytes of one file; an entry that is longer by itself gets a file to itself.
    pub max_size: u64,
    /// The most files, from 1 to [`MOST_FILES`]; numbers beyond count as these.
    pub max_files: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_size: 10 << 20, max_files: 3 }
    }
}

/// What could not be written.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Dropped {
    /// Bytes of the container's output.
    pub bytes: u64,
    /// Entries they would have been in.
    pub entries: u64,
}

impl Dropped {
    fn add(&mut self, more: Dropped) {
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.entries = self.entries.saturating_add(more.entries);
    }
}

/// The one who writes a container's log.
#[derive(Debug)]
pub struct Writer {
    dir: OwnedFd,
    limits: Limits,
    file: Option<File>,
    /// The bytes of whole entries in the file.
    size: u64,
    /// The file ends within a line.
    torn: bool,
    /// What waits for the end of its line.
    held: [Vec<u8>; 2],
    /// The last entry of the stream in the file was a P.
    open: [bool; 2],
    dropped: Dropped,
    /// Dropped since the log last said so.
    unsaid: Dropped,
    /// Why, the last time.
    why: i32,
    /// When a file is opened again, on the steady clock.
    again_at: u64,
    /// The room on a disk that is full, for tests.
    #[cfg(test)]
    room: Option<usize>,
}

/// Some entries that are written at once.
struct Batch<'a> {
    slices: [IoSlice<'a>; SLICES],
    used: usize,
    bytes: u64,
    /// The last entry is a P: it takes a third slice, and nothing can follow.
    partial: bool,
}

impl<'a> Batch<'a> {
    /// An empty one; `lead` comes before its entries.
    fn new(lead: &'a [u8]) -> Batch<'a> {
        let mut batch = Batch { slices: [IoSlice::new(&[]); SLICES], used: 0, bytes: 0, partial: false };
        batch.push(lead);
        batch
    }

    /// Whether an entry has a place: its head, what was held, its text, a newline.
    fn has_room(&self) -> bool {
        self.used + 4 <= SLICES && !self.partial
    }

    fn push(&mut self, bytes: &'a [u8]) {
        if let (Some(slice), false) = (self.slices.get_mut(self.used), bytes.is_empty()) {
            *slice = IoSlice::new(bytes);
            self.used += 1;
            self.bytes += bytes.len() as u64;
        }
    }

    fn slices(&self) -> &[IoSlice<'a>] {
        self.slices.get(..self.used).unwrap_or_default()
    }

    /// Of the first so many bytes: how many are whole lines, and how many lines. An entry has one newline, at its
    /// end.
    fn whole(&self, bytes: u64) -> (u64, u64) {
        let (mut at, mut end, mut lines) = (0, 0, 0);
        for byte in self.slices().iter().flat_map(|slice| slice.iter()).take(bytes as usize) {
            at += 1;
            if *byte == b'\n' {
                (end, lines) = (at, lines + 1);
            }
        }
        (end, lines)
    }
}

/// The next entry's text, if there is one: with its newline, and then it is a full line. What is left is an
/// incomplete line that may wait, unless `all` has to go. `held` bytes come before it.
fn next_entry(held: usize, rest: &[u8], all: bool) -> Option<(&[u8], bool)> {
    let room = MOST_TEXT.saturating_sub(held);
    if let Some(end) = rest.iter().take(room + 1).position(|b| *b == b'\n') {
        return Some((rest.get(..=end)?, true));
    }
    if rest.len() > room {
        return Some((rest.get(..room)?, false));
    }
    let waits = held + rest.len();
    (waits > HOLD || all && waits > 0).then_some((rest, false))
}

impl Writer {
    /// The log in `dir`, which is continued if there is one. It fails when descriptors have run out, and then there
    /// is no container either; a log that cannot be opened is tried again later.
    pub fn open(dir: BorrowedFd, limits: Limits) -> Result<Writer> {
        let limits = Limits { max_files: limits.max_files.clamp(1, MOST_FILES), ..limits };
        let mut writer = Writer {
            dir: sys::dup(dir).doing("open the container's log", "fcntl")?,
            limits,
            file: None,
            size: 0,
            torn: false,
            held: [Vec::new(), Vec::new()],
            open: [false; 2],
            dropped: Dropped::default(),
            unsaid: Dropped::default(),
            why: libc::EIO,
            again_at: 0,
            #[cfg(test)]
            room: None,
        };
        // There may have been more files allowed in another life.
        for number in limits.max_files..MOST_FILES {
            if sys::unlink(writer.dir.as_fd(), &name(number), false).is_err() {
                break;
            }
        }
        writer.ready();
        Ok(writer)
    }

    /// What has been lost so far.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Whether an incomplete line waits for its end: then [`Writer::flush`] would do something.
    pub fn is_holding(&self) -> bool {
        self.held.iter().any(|held| !held.is_empty())
    }

    /// Writes what came from a stream. Never fails; whole lines are in the file afterwards, or counted as dropped.
    pub fn append(&mut self, stream: Stream, bytes: &[u8], time: Time) {
        if !bytes.is_empty() {
            self.put(stream, bytes, time, false);
        }
    }

    /// Writes incomplete lines too, as they are.
    pub fn flush(&mut self, time: Time) {
        for stream in Stream::ALL {
            if !self.held[stream as usize].is_empty() {
                self.put(stream, &[], time, true);
            }
        }
    }

    /// The container has ended: writes what is left, and what is to be said about drops.
    pub fn finish(&mut self, time: Time) {
        self.flush(time);
        if self.unsaid.entries > 0 {
            self.again_at = 0;
            self.put(Stream::Err, &[], time, true);
        }
    }

    fn put(&mut self, stream: Stream, bytes: &[u8], time: Time, all: bool) {
        let heads = [head(time, stream, false), head(time, stream, true)];
        let mut held = mem::take(&mut self.held[stream as usize]);
        let mut rest = bytes;
        // Each turn is one write.
        loop {
            self.ready();
            let lead = self.lead(time);
            let mut batch = Batch::new(&lead);
            let (mut first, mut is_full) = (held.as_slice(), false);
            while let (true, Some((text, full))) = (batch.has_room(), next_entry(first.len(), rest, all)) {
                let after = self.size + batch.bytes;
                let entry = HEAD + first.len() + text.len() + usize::from(!full);
                // An empty file takes anything, or this would not come to an end.
                let is_empty = after == lead.len() as u64;
                if self.file.is_some() && !is_empty && after + entry as u64 > self.limits.max_size {
                    is_full = true;
                    break;
                }
                batch.push(&heads[usize::from(full)]);
                batch.push(first);
                batch.push(text);
                if !full {
                    batch.push(b"\n");
                    batch.partial = true;
                }
                first = &[];
                rest = rest.get(text.len()..).unwrap_or_default();
            }
            // At the end of a file what is to be said goes into the next one, before the entries that it is about.
            if batch.bytes > lead.len() as u64 || !lead.is_empty() && !is_full {
                self.write(&batch, lead.len() as u64, stream);
            }
            if first.is_empty() {
                held.clear();
            }
            if is_full {
                self.rotate();
            } else if next_entry(held.len(), rest, all).is_none() {
                break;
            }
        }
        if !rest.is_empty() {
            held.reserve_exact(HOLD.saturating_sub(held.len()));
            held.extend_from_slice(rest);
        }
        self.held[stream as usize] = held;
    }

    /// What comes before the next entries: the end of a broken line, and what has become of those that are missing.
    fn lead(&self, time: Time) -> Vec<u8> {
        let mut lead = Vec::new();
        if self.file.is_none() {
            return lead;
        }
        if self.torn {
            lead.push(b'\n');
        }
        let Dropped { bytes, entries } = self.unsaid;
        if entries > 0 {
            for stream in Stream::ALL.into_iter().filter(|stream| self.open[*stream as usize]) {
                lead.extend_from_slice(&head(time, stream, true));
                lead.push(b'\n');
            }
            let why = io::Error::from_raw_os_error(self.why).to_string();
            let why = why.split(" (os error").next().unwrap_or_default();
            lead.extend_from_slice(&head(time, Stream::Err, true));
            let _ = writeln!(lead, "ctr: log: {bytes} bytes in {entries} lines were dropped: {why}");
        }
        lead
    }

    /// Writes a batch, or counts what of it could not be written.
    fn write(&mut self, batch: &Batch, lead: u64, stream: Stream) {
        let answer = match &self.file {
            None => Err(io::Error::from_raw_os_error(self.why)),
            Some(file) => self.writev(file, batch.slices()),
        };
        let written = *answer.as_ref().unwrap_or(&0) as u64;
        // A lead stands or falls as one.
        let is_led = written > 0 && written >= lead;
        if is_led {
            self.torn = false;
            if mem::take(&mut self.unsaid).entries > 0 {
                self.open = [false; 2];
            }
        }
        if written == batch.bytes {
            self.size += written;
            if batch.bytes > lead {
                self.open[stream as usize] = batch.partial;
            }
            return;
        }
        // A regular file takes less than it was given only when there is no more room; a second try would tell the
        // same.
        self.why = answer.err().and_then(|e| e.raw_os_error()).unwrap_or(libc::ENOSPC);
        let (whole, lines) = if is_led { batch.whole(written) } else { (0, 0) };
        let lead_lines = batch.whole(lead).1;
        let kept = lines.saturating_sub(lead_lines);
        if kept > 0 {
            // A P is the last of its batch, so those that made it are all F.
            self.open[stream as usize] = false;
        }
        let entries = batch.whole(batch.bytes).1.saturating_sub(lead_lines + kept);
        // The newline after a P is not the container's.
        let around = entries * HEAD as u64 + u64::from(batch.partial);
        let lost = Dropped { bytes: (batch.bytes - whole.max(lead)).saturating_sub(around), entries };
        self.dropped.add(lost);
        self.unsaid.add(lost);
        self.cut_back(written, whole);
        if !matches!(self.why, libc::ENOSPC | libc::EDQUOT | libc::EFBIG | libc::EAGAIN) && self.file.is_some() {
            self.give_up(self.why);
        }
    }

    /// After `written` bytes, of which `whole` are to stay.
    fn cut_back(&mut self, written: u64, whole: u64) {
        self.size += whole;
        if let (Some(file), true) = (&self.file, written > whole) {
            if file.set_len(self.size).is_err() {
                self.size += written - whole;
                self.torn = true;
            }
        }
    }

    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests have a full disk in it"))]
    fn writev(&self, mut file: &File, slices: &[IoSlice]) -> io::Result<usize> {
        #[cfg(test)]
        if let Some(room) = self.room {
            let used = file.metadata()?.len() as usize;
            let bytes: Vec<u8> =
                slices.iter().flat_map(|s| s.iter()).copied().take(room.saturating_sub(used)).collect();
            file.write_all(&bytes)?;
            return if bytes.is_empty() { Err(io::Error::from_raw_os_error(libc::ENOSPC)) } else { Ok(bytes.len()) };
        }
        loop {
            match file.write_vectored(slices) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// Opens the file if it is time to.
    fn ready(&mut self) {
        if self.file.is_some() || sys::now() < self.again_at {
            return;
        }
        match open_newest(self.dir.as_fd()) {
            Ok((file, size, torn)) => (self.file, self.size, self.torn) = (Some(file), size, torn),
            Err(e) => self.give_up(e.raw_os_error().unwrap_or(libc::EIO)),
        }
    }

    /// There is no file to write to, for some time.
    fn give_up(&mut self, why: i32) {
        (self.file, self.size, self.torn, self.why) = (None, 0, false, why);
        self.again_at = sys::now().saturating_add(PATIENCE);
    }

    /// Begins a new file.
    fn rotate(&mut self) {
        match shift(self.dir.as_fd(), self.limits.max_files) {
            Ok(file) => (self.file, self.size, self.torn) = (Some(file), 0, false),
            Err(e) => self.give_up(e.raw_os_error().unwrap_or(libc::EIO)),
        }
    }
}

/// The name of the nth newest file.
fn name(number: u32) -> CString {
    let name = if number == 0 { String::from("log") } else { format!("log.{number}") };
    CString::new(name).unwrap_or_default()
}

/// Opens `log`: the file, its size, and whether it ends within a line.
fn open_newest(dir: BorrowedFd) -> io::Result<(File, u64, bool)> {
    let flags = k::O_RDWR | k::O_APPEND | k::O_CREAT | k::O_NOFOLLOW | k::O_NONBLOCK;
    let file = File::from(sys::openat(dir, c"log", flags, 0o600)?);
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut last = [b'\n'];
    if let Some(before) = found.len().checked_sub(1) {
        file.read_at(&mut last, before)?;
    }
    Ok((file, found.len(), last != [b'\n']))
}

/// Makes a new `log`, after every file has moved on by one; the oldest one is lost.
fn shift(dir: BorrowedFd, max_files: u32) -> io::Result<File> {
    let flags = k::O_RDWR | k::O_APPEND | k::O_CREAT | k::O_EXCL | k::O_NOFOLLOW;
    let new = match sys::openat(dir, NEW, flags, 0o600) {
        // A crash left it.
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {
            sys::unlink(dir, NEW, false)?;
            sys::openat(dir, NEW, flags, 0o600)?
        }
        opened => opened?,
    };
    let oldest = max_files - 1;
    if oldest > 0 {
        let is_free = |number: &u32| sys::openat(dir, &name(*number), k::O_PATH | k::O_NOFOLLOW, 0).is_err();
        let free = (1..oldest).find(is_free).unwrap_or(oldest);
        for number in (0..free).rev() {
            match sys::rename(dir, &name(number), &name(number + 1)) {
                // Somebody took it away.
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
                done => done?,
            }
        }
    }
    sys::rename(dir, NEW, c"log").map(|()| File::from(new))
}

/// Takes the log files out of a container's directory, as far as it can.
pub fn remove(dir: BorrowedFd) {
    let _ = sys::unlink(dir, NEW, false);
    let mut missing = 0;
    for number in 0..MOST_FILES {
        missing = if sys::unlink(dir, &name(number), false).is_err() { missing + 1 } else { 0 };
        // A crash leaves one gap at most.
        if missing > 1 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Deref;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A directory of its own for a test.
    pub struct Folder {
        path: PathBuf,
        dir: File,
    }

    impl Folder {
        pub fn new() -> Folder {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("ctr-log-{}-{number}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir(&path).unwrap();
            Folder { dir: File::open(&path).unwrap(), path }
        }

        pub fn fd(&self) -> BorrowedFd<'_> {
            self.dir.as_fd()
        }

        pub fn writer(&self, max_size: u64, max_files: u32) -> Writer {
            Writer::open(self.fd(), Limits { max_size, max_files }).unwrap()
        }

        /// A file's text without the times.
        pub fn text(&self, name: &str) -> String {
            let text = String::from_utf8(std::fs::read(self.join(name)).unwrap()).unwrap();
            text.lines()
                .map(|line| line.get(TIME..).unwrap_or(line))
                .fold(String::new(), |all, line| all + line + "\n")
        }

        pub fn names(&self) -> Vec<String> {
            let entries = std::fs::read_dir(&self.path).unwrap();
            let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Deref for Folder {
        type Target = PathBuf;
        fn deref(&self) -> &PathBuf {
            &self.path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }

    /// A time and its blank.
    const TIME: usize = clock::TEXT + 1;

    pub fn at(seconds: i64) -> Time {
        Time::new(seconds, 0).unwrap()
    }

    const MUCH: u64 = 1 << 30;

    #[test]
    fn lines_of_a_log_file_are_read() {
        let entry = parse(b"2026-11-22T23:40:11.123456789Z stdout F a  b").unwrap();
        assert_eq!((entry.stream, entry.full, entry.text), (Stream::Out, true, &b"a  b"[..]));
        let entry = parse(b"2026-11-22T23:40:11.5+01:00 stderr P:x \xff\0 ").unwrap();
        assert_eq!((entry.stream, entry.full, entry.text), (Stream::Err, false, &b"\xff\0 "[..]));
        assert_eq!(parse(b"1970-01-01T00:00:00Z stdout F").unwrap().text, b"");
        assert_eq!(parse(b"1970-01-01T00:00:00Z stdout F ").unwrap().text, b"");
        for garbage in [
            &b""[..],
            b" ",
            b"1970-01-01T00:00:00Z",
            b"1970-01-01T00:00:00Z stdout",
            b"1970-01-01T00:00:00Z stdin F x",
            b"1970-01-01T00:00:00Z stdout X x",
            b"1970-01-01T00:00:00Z stdout FP x",
            b"99999-01-01T00:00:00Z stdout F x",
            b"now stdout F x",
            b"\xff\xfe stdout F x",
            &[0; 100],
        ] {
            assert_eq!(parse(garbage), None);
        }
        assert_eq!(&head(at(0), Stream::Err, false), b"1970-01-01T00:00:00.000000000Z stderr P ");
    }

    #[test]
    fn lines_are_written_at_once_and_incomplete_ones_wait() {
        let folder = Folder::new();
        let mut log = folder.writer(MUCH, 3);
        log.append(Stream::Out, b"one\n\ntwo\nth", at(0));
        assert_eq!(
            std::fs::read_to_string(folder.join("log")).unwrap(),
            "1970-01-01T00:00:00.000000000Z stdout F one\n1970-01-01T00:00:00.000000000Z stdout F \n\
             1970-01-01T00:00:00.000000000Z stdout F two\n"
        );
        assert!(log.is_holding());
        log.append(Stream::Err, b"oops\n$ ", at(1));
        log.append(Stream::Out, b"", at(1));
        log.append(Stream::Out, b"r", at(1));
        log.append(Stream::Out, b"ee\nfour", at(1));
        assert_eq!(folder.text("log").lines().skip(3).collect::<Vec<_>>(), ["stderr F oops", "stdout F three"]);
        log.flush(at(2));
        assert!(!log.is_holding());
        log.append(Stream::Out, b"\n", at(3));
        log.append(Stream::Out, b"end", at(3));
        log.finish(at(4));
        log.finish(at(4));
        assert_eq!(
            folder.text("log").lines().skip(5).collect::<Vec<_>>(),
            ["stdout P four", "stderr P $ ", "stdout F ", "stdout P end"]
        );
        assert_eq!(log.dropped(), Dropped::default());
    }

    #[test]
    fn long_lines_are_several_entries_and_many_lines_several_writes() {
        let folder = Folder::new();
        let mut log = folder.writer(MUCH, 3);
        let line = |length: usize| [vec![b'x'; length], vec![b'\n']].concat();
        log.append(Stream::Out, &line(MOST_TEXT), at(0));
        log.append(Stream::Out, &line(MOST_TEXT + 1), at(0));
        log.append(Stream::Out, &line(3 * MOST_TEXT), at(0));
        log.append(Stream::Out, &[b'y'; HOLD], at(0));
        log.append(Stream::Out, &line(MOST_TEXT), at(0));
        log.append(Stream::Out, &[b'z'; HOLD], at(0));
        log.append(Stream::Out, b"z", at(0));
        log.append(Stream::Out, b"\n", at(0));
        let lengths: Vec<_> = folder.text("log").lines().map(|l| (l.as_bytes()[7], l.len() - 9)).collect();
        let (k, h) = (MOST_TEXT, HOLD);
        let wanted = [(b'F', k), (b'P', k), (b'F', 1), (b'P', k), (b'P', k), (b'F', k), (b'P', k), (b'F', h)];
        assert_eq!(lengths[..8], wanted);
        assert_eq!(lengths[8..], [(b'P', h + 1), (b'F', 0)]);
        log.append(Stream::Out, &vec![b'\n'; 10_000], at(0));
        assert_eq!(folder.text("log").lines().count(), 10_010);
        assert_eq!(std::fs::metadata(folder.join("log")).unwrap().len(), log.size);
    }

    #[test]
    fn files_change_before_they_are_too_large() {
        let folder = Folder::new();
        // Four lines of 48 bytes, and not one more.
        let mut log = folder.writer(4 * 48, 3);
        for n in 0..11 {
            log.append(Stream::Out, format!("line{n:03}\n").as_bytes(), at(n));
        }
        assert_eq!(folder.names(), ["log", "log.1", "log.2"]);
        assert_eq!(folder.text("log.2").lines().next(), Some("stdout F line000"));
        assert_eq!(folder.text("log"), "stdout F line008\nstdout F line009\nstdout F line010\n");
        log.append(Stream::Out, b"line011\nline012\n", at(12));
        assert_eq!(folder.text("log"), "stdout F line012\n");
        assert_eq!(folder.text("log.2").lines().next(), Some("stdout F line004"));
        // Longer than a file may be.
        log.append(Stream::Out, &[[b'x'; 300].as_slice(), b"\ny\n"].concat(), at(13));
        assert_eq!(folder.text("log"), "stdout F y\n");
        assert_eq!(folder.text("log.1").len(), 310);
        drop(log);
        let mut log = folder.writer(100, 1);
        assert_eq!(folder.names(), ["log"]);
        log.append(Stream::Out, &[b'z'; 101].map(|b| [b, b'\n']).concat(), at(14));
        assert_eq!(
            (folder.names(), folder.text("log")),
            (vec!["log".to_owned()], "stdout F z\nstdout F z\n".to_owned())
        );
        drop(log);
        let mut log = folder.writer(0, 0);
        log.append(Stream::Out, b"1\n2\n", at(15));
        assert_eq!(folder.text("log"), "stdout F 2\n");
    }

    #[test]
    fn what_a_crash_left_is_put_right() {
        let folder = Folder::new();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("log", "1970-01-01T00:00:00Z stdout F whole\n1970-01-01T00:00:00Z std");
        write("log.2", "2");
        write("log.5", "5");
        write("log.new", "half");
        let mut log = folder.writer(120, 5);
        assert_eq!(folder.names(), ["log", "log.2", "log.new"]);
        log.append(Stream::Out, b"next\n", at(0));
        assert_eq!(folder.text("log").lines().last(), Some("stdout F next"));
        log.append(Stream::Out, b"new\n", at(0));
        assert_eq!(folder.names(), ["log", "log.1", "log.2"]);
        assert_eq!(std::fs::read(folder.join("log.2")).unwrap(), b"2");
        std::fs::write(folder.join("record"), "").unwrap();
        remove(folder.fd());
        assert_eq!(folder.names(), ["record"]);
    }

    #[test]
    fn a_full_disk_is_told_of_and_leaves_no_halves() {
        let folder = Folder::new();
        let mut log = folder.writer(MUCH, 3);
        // Room for two lines and a half.
        log.room = Some(110);
        log.append(Stream::Out, b"aaa\nbbb\nccc\nddd\n", at(0));
        assert_eq!(folder.text("log"), "stdout F aaa\nstdout F bbb\n");
        log.append(Stream::Err, b"ee", at(1));
        log.append(Stream::Err, b"e\nff", at(1));
        assert_eq!(log.dropped(), Dropped { bytes: 12, entries: 3 });
        assert_eq!(folder.text("log").lines().count(), 2);
        log.flush(at(2));
        assert_eq!(log.dropped(), Dropped { bytes: 14, entries: 4 });
        log.room = None;
        log.append(Stream::Out, b"ggg\n", at(3));
        assert_eq!(
            folder.text("log").lines().skip(2).collect::<Vec<_>>(),
            ["stderr F ctr: log: 14 bytes in 4 lines were dropped: No space left on device", "stdout F ggg"]
        );
        // A line in two: what is left of it does not run into the next one.
        log.append(Stream::Out, &vec![b'h'; MOST_TEXT + 1], at(4));
        log.room = Some(0);
        log.append(Stream::Out, b"tail\n", at(5));
        log.room = None;
        log.append(Stream::Out, b"iii\n", at(6));
        let text = folder.text("log");
        let last: Vec<_> = text.lines().skip(5).collect();
        assert_eq!(
            last,
            [
                "stdout F ",
                "stderr F ctr: log: 6 bytes in 1 lines were dropped: No space left on device",
                "stdout F iii"
            ]
        );
        log.room = Some(0);
        log.append(Stream::Out, b"last words", at(7));
        log.flush(at(7));
        log.room = None;
        log.finish(at(8));
        assert!(folder.text("log").lines().last().unwrap().contains("10 bytes in 1 lines"));
        assert_eq!(log.dropped(), Dropped { bytes: 30, entries: 6 });
        assert_eq!(std::fs::metadata(folder.join("log")).unwrap().len(), log.size);
    }

    #[test]
    fn what_is_dropped_is_counted_to_the_byte() {
        let folder = Folder::new();
        let mut log = folder.writer(5000, 100);
        let (mut bytes, mut entries) = (0, 0);
        for n in 0..500 {
            // Whole lines, so that no line is ended for a lost part; a disk that is full, and less so, and full.
            let lines = (0..=n * 7 % 5).map(|line| format!("{}\n", "x".repeat((n * 31 + line) % 97)));
            let text: String = lines.collect();
            log.room = (n % 3 > 0).then_some(log.size as usize + n * 53 % 700);
            log.append(Stream::Out, text.as_bytes(), at(0));
            bytes += text.len() as u64;
            entries += text.lines().count() as u64;
        }
        log.room = None;
        log.finish(at(0));
        let (mut found, mut told) = (Dropped::default(), Dropped::default());
        for name in folder.names() {
            for line in std::fs::read(folder.join(name)).unwrap().split_inclusive(|b| *b == b'\n') {
                let entry = parse(line.strip_suffix(b"\n").unwrap()).unwrap();
                if entry.stream == Stream::Out {
                    found.add(Dropped { bytes: entry.text.len() as u64 + 1, entries: 1 });
                } else {
                    let text = String::from_utf8_lossy(entry.text);
                    let numbers: Vec<u64> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
                    told.add(Dropped { bytes: numbers[0], entries: numbers[1] });
                }
            }
        }
        assert!(told.entries > 100 && found.entries > 100);
        assert_eq!(told, log.dropped());
        assert_eq!((found.bytes + told.bytes, found.entries + told.entries), (bytes, entries));
    }

    #[test]
    fn where_nothing_can_be_cut_back_the_next_line_is_a_new_one() {
        // A pipe takes what it can, and cannot be shortened; nor can /dev/full.
        let folder = Folder::new();
        let mut log = folder.writer(MUCH, 3);
        let (from, to) = sys::pipe().unwrap();
        sys::set_nonblocking(to.as_fd(), true).unwrap();
        sys::set_nonblocking(from.as_fd(), true).unwrap();
        log.file = Some(File::from(to));
        let mut all = Vec::new();
        let read = |all: &mut Vec<u8>| {
            let mut block = [0; 4096];
            while let Ok(used @ 1..) = sys::read(from.as_fd(), &mut block) {
                all.extend_from_slice(&block[..used]);
            }
        };
        let mut kept = 0;
        for round in 0..20 {
            log.append(Stream::Out, &[[b'x'; 990].as_slice(), b"\n"].concat().repeat(100), at(round));
            read(&mut all);
        }
        log.append(Stream::Out, b"end\n", at(20));
        read(&mut all);
        let (mut told, mut broken) = (0, 0);
        for line in all.split(|b| *b == b'\n') {
            match parse(line) {
                Some(Entry { stream: Stream::Out, full: true, text: &[b'x', ..], .. }) if line.len() == 1030 => {
                    kept += 1;
                }
                Some(Entry { stream: Stream::Err, text, .. }) => {
                    let text = std::str::from_utf8(text).unwrap();
                    told += text.split(' ').nth(5).unwrap().parse::<u64>().unwrap();
                }
                _ => broken += 1,
            }
        }
        assert_eq!((kept + told, log.dropped().entries), (2000, told));
        assert!(broken > 2 && told > 100 && kept > 100 && all.ends_with(b"F end\n"));

        log.file = Some(File::options().append(true).open("/dev/full").unwrap());
        log.append(Stream::Out, b"x\n", at(0));
        assert_eq!((log.why, log.dropped().entries), (libc::ENOSPC, told + 1));
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_tried_again() {
        let folder = Folder::new();
        std::fs::create_dir(folder.join("log")).unwrap();
        let mut log = folder.writer(MUCH, 3);
        log.append(Stream::Out, b"a\nb", at(0));
        log.append(Stream::Out, b"\n", at(0));
        assert_eq!(log.dropped(), Dropped { bytes: 4, entries: 2 });
        std::fs::remove_dir(folder.join("log")).unwrap();
        log.again_at = 0;
        log.append(Stream::Out, b"c\n", at(0));
        assert_eq!(
            folder.text("log"),
            "stderr F ctr: log: 4 bytes in 2 lines were dropped: Is a directory\nstdout F c\n"
        );
        // No room for a new file: what is there stays, and what comes is dropped.
        std::fs::create_dir(folder.join("log.new")).unwrap();
        log.limits.max_size = 10;
        log.append(Stream::Out, b"d\ne\n", at(0));
        log.append(Stream::Out, b"f\n", at(0));
        assert_eq!(log.dropped(), Dropped { bytes: 10, entries: 5 });
        assert_eq!(folder.text("log").lines().count(), 2);
        std::fs::remove_dir(folder.join("log.new")).unwrap();
        log.finish(at(0));
        assert!(folder.text("log").lines().last().unwrap().contains("6 bytes in 3 lines"));
        log.append(Stream::Out, b"g\n", at(0));
        assert_eq!(folder.text("log"), "stdout F g\n");
    }
}
