//! What a detached container says, kept: the log files in its directory, and their only [`Writer`]. [`read`] reads them.
//!
//! ```text
//! log      the newest        2026-11-22T23:40:11.123456789Z stdout F listening on port 80
//! log.1    the one before    2026-11-22T23:40:11.200000000Z stderr P a line that goes on in
//! log.2    …                 2026-11-22T23:40:11.300000000Z stderr F the next entry of its stream
//! ```
//!
//! An *entry* is one line of the kubelet's log format (CRI): time, stream, `F` for the end of a line of the program's or `P`
//! for a part of one, text. Text is bytes, any but a newline. Whoever puts a stream's texts together, with a newline after
//! each F, has what the program wrote.
//!
//! What was decided:
//!
//! - **An incomplete line waits** in memory for its end, up to [`HOLD`] bytes: many programs (Java's `println`) write a
//!   line and its newline in two calls, and would fill the log with halves. Beyond that, and whenever the loop calls
//!   [`Writer::flush`] (when nothing came for a moment: a prompt wants to be seen), it is written as P.
//! - **Nothing is copied.** An append is one `writev` of a header shared by all its lines and of slices of the
//!   caller's own bytes. More than one takes: more than [`SLICES`] / 2 lines, an end of a P entry in the middle (a line of
//!   more than [`MOST_TEXT`] bytes), a change of files. The time is that of the append: lines that came together have
//!   the same, and times rise as long as nobody sets the clock.
//! - **Entries are never torn.** After a short write the file is cut back to its last whole entry; where even that fails,
//!   as after a power cut, the next write begins with a newline. A reader skips lines that are no entries.
//! - **Nothing blocks, nothing fails.** What cannot be written is counted and dropped; the first write that succeeds again
//!   says so in the log. A full disk is tried at each append (one call that fails); a file that cannot be opened, or is broken
//!   (EIO, EROFS…), is opened anew once a second at most. A line that was cut in two by this is ended with an empty F,
//!   so that it does not run into the next one.
//! - **A change of files** makes the new one first (`log.new`), then shifts the old ones, then puts it in its place: when
//!   there is no room for a file, everything stays as it was. Only files up to the first gap are shifted, so that a gap
//!   that a crash left closes by itself, and there never is more than one. With one file it simply replaces the old one.
//! - **A restarted container** continues the log. If its last life ended within a line, the line goes on, as on a terminal.

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
    /// Both of them, each at the place of its [`Stream::index`].
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

/// Reads a line of a log file, without its newline. Any RFC 3339 time and further tags (`F:…`) are fine: other programs write
/// this format too. None for what is no entry.
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

    /// Of the first so many bytes: how many are whole lines, and how many lines. An entry has one newline, at its end.
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

/// The next entry's text, if there is one: with its newline, and then it is a full line. What is left is an incomplete
/// line that may wait, unless `all` has to go. `held` bytes come before it.
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
    /// The log in `dir`, which is continued if there is one. It fails when descriptors have run out, and then there is no
    /// container either; a log that cannot be opened is tried again later.
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
                if self.file.is_some() && after > 0 && after + entry as u64 > self.limits.max_size {
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
            // This was counted as its own error, which stays.
            None => Err(io::Error::from_raw_os_error(self.why)),
            Some(file) => self.writev(file, batch.slices()),
        };
        let written = *answer.as_ref().unwrap_or(&0) as u64;
        if written > 0 && written >= lead {
            (self.torn, self.unsaid) = (false, if lead > 1 { Dropped::default() } else { self.unsaid });
            if lead > 1 {
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
        // A regular file takes less than it was given only when there is no more room; a second try would tell the same.
        self.why = answer.err().and_then(|e| e.raw_os_error()).unwrap_or(libc::ENOSPC);
        // A lead stands or falls as one.
        let (whole, lines) = if written >= lead { batch.whole(written) } else { (0, 0) };
        let all = batch.whole(batch.bytes);
        let lead_lines = batch.whole(lead).1;
        let kept = lines.saturating_sub(lead_lines);
        let entries = all.1.saturating_sub(lead_lines + kept);
        let gone = all.0.saturating_sub(whole.max(lead)).saturating_sub(entries * HEAD as u64);
        // The newline after a P is not the container's.
        let lost = Dropped { bytes: gone.saturating_sub(u64::from(batch.partial)), entries };
        self.dropped.add(lost);
        self.unsaid.add(lost);
        if kept > 0 {
            // A P is the last of its batch, so those that made it are all F.
            self.open[stream as usize] = false;
        }
        self.cut_back(written, whole);
        if !matches!(self.why, libc::ENOSPC | libc::EDQUOT | libc::EAGAIN | libc::EFBIG) && self.file.is_some() {
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
