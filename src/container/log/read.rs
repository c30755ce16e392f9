//! `ctr logs`: shows a container's log, and what is added to it.
//!
//! The files are opened first, newest first, because a file only ever moves on to a higher number: whatever the
//! writer does meanwhile, none is missed, one that was met twice is known by its inode, and if `log` is another one
//! at the end, all is done again. From then on the open files are read, wherever their names go.
//!
//! Following, the file that is read is left when `log` is another one by then: it is read to its end once more (the
//! writer has done with it), and then the ones that are newer, in their order. Only who reads more slowly than all
//! files together are filled loses something: then the oldest that is left comes next.
//!
//! A line that is not complete, or may be taken back by the writer ([`super::Writer`]), is read again from its start
//! the next time: what is remembered is where it starts. Lines that are no entries are skipped, however long.
//!
//! `--since` and `--until` choose entries, `--tail` counts what they have chosen: lines, by their ends, over both
//! streams. It is found backwards, block by block; the first line of the other stream may have begun before that,
//! which is searched for within [`LOOK_BACK`].

use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};

use linux_raw_sys::general as k;

use super::{Entry, MOST_FILES, Stream, name, parse};
use crate::clock::{self, TEXT, Time};
use crate::error::{Doing, Error, Result};
use crate::sys::{self, PollFd};

/// How much is read at once: more than any entry has.
const BLOCK: usize = 64 << 10;

/// How many bytes before the last lines are looked through for the beginning of a line that ends among them.
const LOOK_BACK: usize = 1 << 20;

/// How often files are opened again that changed places meanwhile.
const TRIES: usize = 50;

/// How often is looked, in milliseconds, where nothing tells when to.
const TICK: i32 = 200;

/// What of a log is wanted, and how.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Wanted {
    /// Only the last lines, so many; what follows later comes on top.
    pub tail: Option<usize>,
    /// Nothing earlier.
    pub since: Option<Time>,
    /// Nothing later. Following ends there.
    pub until: Option<Time>,
    /// Each line with its time before it.
    pub times: bool,
}

impl Wanted {
    fn has(&self, time: Time) -> bool {
        self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time <= until)
    }
}

/// How long to wait for more.
pub struct Follow<'a> {
    /// Whether more may come. A container that restarts is alive. After the first no the log is read to its end once
    /// more.
    pub alive: &'a mut dyn FnMut() -> bool,
    /// Readable (a pidfd) when it is time to ask that again. Without it, and after it was once, it is asked five
    /// times a second.
    pub ended: Option<BorrowedFd<'a>>,
    /// Where the output goes to, if that is a descriptor: when nobody reads any more, it ends at once, and not with
    /// the next line.
    pub reader: Option<BorrowedFd<'a>>,
}

/// Reads `--tail`: None for all.
pub fn tail(text: &str) -> Result<Option<usize>> {
    if text == "all" {
        return Ok(None);
    }
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        let sentence = "it is all, or a number of lines, such as 100";
        return Err(Error::usage(format_args!("bad --tail {text:?}: {sentence}")));
    }
    // More than fits are all there are.
    Ok(Some(text.parse().unwrap_or(usize::MAX)))
}

/// Shows the log of the container in `dir`: its standard output goes to `out`, its standard error to `err`, in large
/// pieces. Ends when everything was shown, following when that says so, and in both cases when nobody reads any more,
/// which is no error: for that SIGPIPE must be blocked or ignored.
pub fn show(
    dir: BorrowedFd,
    wanted: &Wanted,
    follow: Option<Follow>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<()> {
    let mut shown = Shown { wanted, to: [out, err], buffer: Vec::new(), stream: Stream::Out, open: [false; 2] };
    match go_through(dir, wanted, follow, &mut shown) {
        Err(e) if e.cause.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

fn go_through(dir: BorrowedFd, wanted: &Wanted, mut follow: Option<Follow>, shown: &mut Shown) -> Result<()> {
    // Before the first look, so that nothing comes unnoticed after it. Where there is no more of it, TICK does.
    let notify = follow.as_ref().and_then(|_| notify(dir).ok());
    let (mut files, _) = read(newer(dir, None))?;
    files.reverse();
    let from = match wanted.tail {
        None => [(0, 0); 2],
        Some(lines) => read(start(&files, lines, wanted))?,
    };
    let first = from[0].min(from[1]);
    let mut block = vec![0; BLOCK];
    let mut current = None;
    for (number, mut file) in files.into_iter().enumerate().skip(first.0) {
        file.at = if number == first.0 { first.1 } else { 0 };
        file.drain(&mut block, &mut |line, at| match parse(line) {
            Some(entry) if (number, at) >= from[entry.stream as usize] => shown.entry(&entry),
            _ => Ok(()),
        })?;
        current = Some(file);
    }
    shown.flush()?;
    while let Some(follow) = &mut follow {
        let may_go_on = (follow.alive)() && wanted.until.is_none_or(|until| clock::now() <= until);
        advance(dir, &mut current, &mut block, shown)?;
        shown.flush()?;
        if !may_go_on || wait(notify.as_ref(), follow, wanted.until).is_break() {
            break;
        }
    }
    Ok(())
}

/// Shows everything that has come since.
fn advance(dir: BorrowedFd, current: &mut Option<Source>, block: &mut [u8], shown: &mut Shown) -> Result<()> {
    loop {
        let mut take = |line: &[u8], _| parse(line).map_or(Ok(()), |entry| shown.entry(&entry));
        if let Some(file) = current {
            file.drain(block, &mut take)?;
        }
        let (newer, met) = read(newer(dir, current.as_ref().map(|file| file.id)))?;
        if newer.is_empty() {
            return Ok(());
        }
        // What was written between the last read and the change of files.
        if let Some(file) = current {
            file.drain(block, &mut take)?;
        }
        if current.is_some() && !met {
            shown.flush()?;
            let line = "ctr: lines are missing here: the log went on faster than it was read (--log-opt max-size and max-file)\n";
            let _ = shown.to[1].write_all(line.as_bytes());
        }
        let mut take = |line: &[u8], _| parse(line).map_or(Ok(()), |entry| shown.entry(&entry));
        for mut file in newer.into_iter().rev() {
            file.drain(block, &mut take)?;
            *current = Some(file);
        }
    }
}

fn read<T>(answer: io::Result<T>) -> Result<T> {
    answer.doing("read the container's log", "")
}

/// Tells when something happens in `dir`.
fn notify(dir: BorrowedFd) -> io::Result<OwnedFd> {
    let inotify = sys::inotify_init()?;
    let path = std::ffi::CString::new(format!("/proc/self/fd/{}", dir.as_raw_fd()))?;
    let mask = libc::IN_MODIFY | libc::IN_CREATE | libc::IN_MOVED_TO | libc::IN_MOVED_FROM | libc::IN_DELETE;
    sys::inotify_add_watch(inotify.as_fd(), &path, mask | libc::IN_ONLYDIR)?;
    Ok(inotify)
}

/// Waits until it is worth another look. `Break` when nobody would see what is found.
fn wait(notify: Option<&OwnedFd>, follow: &mut Follow, until: Option<Time>) -> ControlFlow<()> {
    let number = |fd: Option<BorrowedFd>| fd.map_or(-1, |fd| fd.as_raw_fd());
    let mut fds = [
        PollFd { fd: number(notify.map(AsFd::as_fd)), events: libc::POLLIN, revents: 0 },
        PollFd { fd: number(follow.ended), events: libc::POLLIN, revents: 0 },
        // Errors alone, which need not be asked for.
        PollFd { fd: number(follow.reader), events: 0, revents: 0 },
    ];
    let mut patience = if notify.is_some() && follow.ended.is_some() { i32::MAX } else { TICK };
    if let Some(until) = until {
        let left = until.since(clock::now()) / 1_000_000 + 1;
        patience = patience.min(i32::try_from(left).unwrap_or(i32::MAX));
    }
    // A signal that interrupts is a reason to look, too.
    let _ = sys::poll(&mut fds, patience);
    let [told, ended, reader] = fds;
    if let (true, Some(notify)) = (told.revents != 0, notify) {
        // What has happened does not matter. What is left makes the next wait a short one.
        let _ = sys::read(notify.as_fd(), &mut [0; 4096]);
    }
    if ended.revents != 0 {
        follow.ended = None;
    }
    if reader.revents == 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// Puts lines together and hands them out.
struct Shown<'a> {
    wanted: &'a Wanted,
    to: [&'a mut dyn Write; 2],
    /// What was not handed out yet, all of it of one stream: on a terminal both must come in their order.
    buffer: Vec<u8>,
    stream: Stream,
    /// The last entry of the stream was a P.
    open: [bool; 2],
}

impl Shown<'_> {
    fn entry(&mut self, entry: &Entry) -> Result<()> {
        if !self.wanted.has(entry.time) {
            return Ok(());
        }
        if self.stream != entry.stream || self.buffer.len() + TEXT + 2 + entry.text.len() > BLOCK {
            self.flush()?;
            self.stream = entry.stream;
        }
        let open = &mut self.open[entry.stream as usize];
        if self.wanted.times && !*open {
            self.buffer.extend_from_slice(&entry.time.text());
            self.buffer.push(b' ');
        }
        self.buffer.extend_from_slice(entry.text);
        if entry.full {
            self.buffer.push(b'\n');
        }
        *open = !entry.full;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let to = &mut self.to[self.stream as usize];
        to.write_all(&self.buffer).and_then(|()| to.flush()).doing("show the container's log", self.stream.name())?;
        self.buffer.clear();
        Ok(())
    }
}

/// What a file is, whatever its name.
type Id = (u64, u64);

/// Where an entry is: which file, counted from the oldest, and where in it.
type Place = (usize, u64);

/// A log file that is being read.
struct Source {
    file: File,
    id: Id,
    /// Everything before this was read.
    at: u64,
    /// In a line that is too long to be an entry.
    skipping: bool,
}

fn find_newline(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|b| *b == b'\n')
}

/// Fills `into` from `at` on, as far as there is something.
fn read_at(file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(into, at) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

impl Source {
    /// The nth newest file; None if there is none.
    fn open(dir: BorrowedFd, number: u32) -> io::Result<Option<Source>> {
        let file = match sys::openat(dir, &name(number), k::O_RDONLY | k::O_NOFOLLOW | k::O_NONBLOCK, 0) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ELOOP | libc::ENXIO)) => return Ok(None),
            opened => File::from(opened?),
        };
        let found = file.metadata()?;
        let id = (found.dev(), found.ino());
        Ok(found.is_file().then_some(Source { file, id, at: 0, skipping: false }))
    }

    /// Hands out every whole line that was not yet, with its place.
    fn drain(&mut self, block: &mut [u8], take: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        loop {
            let used = read(read_at(&self.file, block, self.at))?;
            let bytes = block.get(..used).unwrap_or_default();
            if bytes.is_empty() {
                // Somebody has emptied it (`: > log`).
                if read(self.file.metadata())?.len() < self.at {
                    (self.at, self.skipping) = (0, false);
                    continue;
                }
                return Ok(());
            }
            let mut rest = bytes;
            while let Some(end) = find_newline(rest) {
                let (line, tail) = rest.split_at(end);
                if !std::mem::take(&mut self.skipping) {
                    take(line, self.at + (bytes.len() - rest.len()) as u64)?;
                }
                rest = tail.get(1..).unwrap_or_default();
            }
            let mut done = bytes.len() - rest.len();
            if done == 0 {
                self.skipping |= used == BLOCK;
                if !self.skipping {
                    return Ok(());
                }
                done = used;
            }
            self.at += done as u64;
        }
    }

    /// Hands out every whole line from the last one back, with its offset.
    fn back(
        &self,
        block: &mut [u8],
        take: &mut dyn FnMut(&[u8], u64) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        let mut end = self.file.metadata()?.len();
        while end > 0 {
            let begin = end.saturating_sub(block.len() as u64);
            let room = block.get_mut(..(end - begin) as usize).unwrap_or_default();
            let used = read_at(&self.file, room, begin)?;
            let bytes = room.get(..used).unwrap_or_default();
            // The first line began earlier; the last one, if it has no newline, is not complete.
            let first = if begin == 0 { Some(0) } else { find_newline(bytes).map(|n| n + 1) };
            let last = bytes.iter().rposition(|b| *b == b'\n');
            if let (Some(first), Some(mut at)) = (first, last) {
                for line in bytes.get(first..at).into_iter().flat_map(|lines| lines.rsplit(|b| *b == b'\n')) {
                    at -= line.len();
                    if take(line, begin + at as u64).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    at = at.saturating_sub(1);
                }
            }
            // What has no beginning in a whole block is no entry.
            let next = begin + first.filter(|first| *first < used).unwrap_or_default() as u64;
            end = if begin == 0 || next >= end { begin } else { next };
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The files that are newer than the one that is known, or all; the newest first. And whether the known one is still there: if
/// not, others between may have come and gone.
fn newer(dir: BorrowedFd, known: Option<Id>) -> io::Result<(Vec<Source>, bool)> {
    let mut files = Vec::new();
    let mut met = false;
    for _ in 0..TRIES {
        met = false;
        files = Vec::from_iter(Source::open(dir, 0)?);
        let newest = files.first().map(|file| file.id);
        if newest.is_some() && newest == known {
            return Ok((Vec::new(), true));
        }
        let mut missing = 0;
        for number in 1..MOST_FILES {
            match Source::open(dir, number)? {
                Some(file) if Some(file.id) == known => {
                    met = true;
                    break;
                }
                Some(file) => {
                    missing = 0;
                    if files.iter().all(|other| other.id != file.id) {
                        files.push(file);
                    }
                }
                // The writer leaves one gap at most.
                None if missing > 0 => break,
                None => missing += 1,
            }
        }
        let now = Source::open(dir, 0)?.map(|file| file.id);
        if now == newest && (now.is_some() || files.is_empty()) {
            break;
        }
        if now.is_none() {
            // It is about to be there, or the writer died at that very moment.
            let _ = sys::poll(&mut [], 1);
        }
    }
    Ok((files, met))
}

/// Where the last so many lines begin, for each stream.
fn start(files: &[Source], lines: usize, wanted: &Wanted) -> io::Result<[Place; 2]> {
    let mut block = vec![0; BLOCK];
    // The end of what is there.
    let mut end = (files.len().saturating_sub(1), 0);
    if let Some(file) = files.last() {
        let _ = file.back(&mut block, &mut |line, at| {
            end.1 = at + line.len() as u64 + 1;
            ControlFlow::Break(())
        })?;
    }
    let mut from = [end; 2];
    let (mut ends, mut settled, mut looked) = (0, [lines == 0; 2], 0);
    for (number, file) in files.iter().enumerate().rev() {
        let done = file.back(&mut block, &mut |line, at| {
            if ends == lines {
                looked += line.len() + 1;
            }
            if settled == [true; 2] || looked > LOOK_BACK {
                return ControlFlow::Break(());
            }
            let Some(entry) = parse(line).filter(|entry| wanted.has(entry.time)) else {
                return ControlFlow::Continue(());
            };
            let (this, other) = (entry.stream as usize, 1 - entry.stream as usize);
            if settled[this] {
                return ControlFlow::Continue(());
            }
            // A last P is a line, if not yet a whole one; any other P belongs to the entry that was met before.
            let is_end = entry.full || from[this] == end;
            if is_end && ends == lines {
                settled[this] = true;
                settled[other] |= from[other] == end;
            } else {
                ends += usize::from(is_end);
                from[this] = (number, at);
            }
            ControlFlow::Continue(())
        })?;
        if done.is_break() {
            break;
        }
    }
    Ok(from)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::super::tests::{Folder, at};
    use super::super::{MOST_TEXT, Stream};
    use super::*;

    const ALL: Wanted = Wanted { tail: None, since: None, until: None, times: false };

    fn shown(folder: &Folder, wanted: &Wanted) -> (String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        show(folder.fd(), wanted, None, &mut out, &mut err).unwrap();
        (String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned())
    }

    /// Numbers that look random and are the same every time (xorshift).
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self, below: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) as usize % below
        }

        /// Bytes of which every so many is a newline.
        fn bytes(&mut self, length: usize, newline: usize) -> Vec<u8> {
            (0..length).map(|_| if self.next(newline) == 0 { b'\n' } else { self.next(256) as u8 }).collect()
        }
    }

    #[test]
    fn what_was_written_is_shown_byte_for_byte() {
        for seed in 1..=20u64 {
            let folder = Folder::new();
            let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let size = 10_000 + numbers.next(60_000) as u64;
            let mut log = folder.writer(size, 100);
            let mut wanted = [Vec::new(), Vec::new()];
            for second in 0..60 {
                let (length, power) = (1 + numbers.next(6000), numbers.next(14));
                let newline = 16 + numbers.next(1 << power);
                let bytes = numbers.bytes(length, newline);
                let stream = Stream::ALL[numbers.next(2)];
                wanted[stream as usize].extend_from_slice(&bytes);
                log.append(stream, &bytes, at(second));
                match numbers.next(10) {
                    0 => log.flush(at(second)),
                    // A restart.
                    1 => {
                        log.finish(at(second));
                        log = folder.writer(size, 100);
                    }
                    _ => {}
                }
            }
            log.finish(at(60));
            assert!(!folder.join("log.99").exists(), "the test must not lose the first ones");
            let (mut out, mut err) = (Vec::new(), Vec::new());
            show(folder.fd(), &ALL, None, &mut out, &mut err).unwrap();
            assert!(wanted[0] == out && wanted[1] == err, "seed {seed}");
            for name in folder.names() {
                let length = std::fs::metadata(folder.join(name)).unwrap().len();
                assert!(length <= size.max(MOST_TEXT as u64 + 41));
            }
        }
    }

    #[test]
    fn the_last_lines_are_the_same_as_counted_from_the_front() {
        let folder = Folder::new();
        let mut numbers = Numbers(7);
        let mut log = folder.writer(1500, 100);
        // The entries as they are written: stream, whether they end a line, text.
        let mut entries: Vec<(Stream, bool, String)> = Vec::new();
        for n in 0..300 {
            let (stream, full) = (Stream::ALL[numbers.next(4) / 3], numbers.next(3) > 0);
            let text = format!("{n}-{}", "x".repeat(numbers.next(30)));
            log.append(stream, text.as_bytes(), at(n));
            if full {
                log.append(stream, b"\n", at(n));
            } else {
                log.flush(at(n));
            }
            entries.push((stream, full, text));
        }
        let last = |stream| entries.iter().rposition(|e| e.0 == stream);
        let is_end = |n: usize| entries[n].1 || last(entries[n].0) == Some(n);
        let total = (0..entries.len()).filter(|n| is_end(*n)).count();
        for tail in (0..total + 3).step_by(5).chain([1, 2, 3, total, usize::MAX]) {
            let mut left = total.saturating_sub(tail);
            let (mut cut, mut wanted) = ([0; 2], [String::new(), String::new()]);
            for (n, entry) in entries.iter().enumerate() {
                if is_end(n) && left > 0 {
                    left -= 1;
                    cut[entry.0 as usize] = n + 1;
                }
            }
            for (n, (stream, full, text)) in entries.iter().enumerate() {
                if n >= cut[*stream as usize] {
                    wanted[*stream as usize] += text;
                    wanted[*stream as usize] += if *full { "\n" } else { "" };
                }
            }
            let [out, err] = wanted;
            assert_eq!(shown(&folder, &Wanted { tail: Some(tail), ..ALL }), (out, err), "--tail {tail}");
        }
    }

    #[test]
    fn only_what_is_wanted_is_shown() {
        let folder = Folder::new();
        let mut log = folder.writer(200, 10);
        for n in 0..10 {
            log.append(Stream::Out, format!("{n}\n").as_bytes(), at(n));
        }
        log.append(Stream::Err, b"long ", at(10));
        log.flush(at(10));
        log.append(Stream::Out, b"between\n", at(11));
        log.append(Stream::Err, b"line\n", at(12));
        let show = |wanted| shown(&folder, &wanted);
        let text = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(show(Wanted { tail: Some(2), ..ALL }), text("between\n", "long line\n"));
        assert_eq!(show(Wanted { tail: Some(1), ..ALL }), text("", "long line\n"));
        assert_eq!(show(Wanted { tail: Some(0), ..ALL }), text("", ""));
        assert_eq!(show(Wanted { since: Some(at(8)), until: Some(at(9)), ..ALL }), text("8\n9\n", ""));
        assert_eq!(show(Wanted { tail: Some(2), until: Some(at(5)), ..ALL }), text("4\n5\n", ""));
        assert_eq!(show(Wanted { tail: Some(9), since: Some(at(9)), ..ALL }), text("9\nbetween\n", "long line\n"));
        assert_eq!(show(Wanted { since: Some(at(100)), ..ALL }), text("", ""));
        let times = show(Wanted { tail: Some(2), times: true, ..ALL });
        let wanted = ("1970-01-01T00:00:11.000000000Z between\n", "1970-01-01T00:00:10.000000000Z long line\n");
        assert_eq!((times.0.as_str(), times.1.as_str()), wanted);
        let nothing = Folder::new();
        assert_eq!(shown(&nothing, &ALL), text("", ""));
        assert_eq!(shown(&nothing, &Wanted { tail: Some(5), ..ALL }), text("", ""));
    }

    #[test]
    fn what_is_no_log_is_skipped() {
        let folder = Folder::new();
        let mut numbers = Numbers(3);
        let good = |text: &str| format!("9999-12-31T23:59:59.999999999Z stdout F {text}\n").into_bytes();
        let long = vec![b'a'; 3 * BLOCK + 17];
        let first = [
            good("1"),
            numbers.bytes(200_000, 100),
            b"\n".to_vec(),
            good("2"),
            long.clone(),
            b"\n".to_vec(),
            good("3"),
            vec![0; BLOCK],
            b"\n0000-01-01T00:00:00Z stderr F old\n".to_vec(),
            b"1970-01-01T00:00:00Z stdout F torn".to_vec(),
        ];
        std::fs::write(folder.join("log.2"), first.concat()).unwrap();
        std::fs::write(folder.join("log.1"), [good("4"), numbers.bytes(70_000, 1 << 20)].concat()).unwrap();
        std::fs::write(folder.join("log"), [long.as_slice(), b"\n\n\n", &good("5"), &long].concat()).unwrap();
        let (out, err) = shown(&folder, &ALL);
        assert_eq!((out.as_str(), err.as_str()), ("1\n2\n3\n4\n5\n", "old\n"));
        assert_eq!(shown(&folder, &Wanted { tail: Some(3), ..ALL }), ("4\n5\n".to_owned(), "old\n".to_owned()));
        assert_eq!(shown(&folder, &Wanted { tail: Some(4), ..ALL }).0, "3\n4\n5\n");
        std::fs::remove_file(folder.join("log.1")).unwrap();
        assert_eq!(shown(&folder, &ALL).0, "1\n2\n3\n5\n");
        std::fs::remove_file(folder.join("log")).unwrap();
        std::fs::create_dir(folder.join("log")).unwrap();
        std::os::unix::fs::symlink("log.2", folder.join("log.1")).unwrap();
        assert_eq!(shown(&folder, &ALL).0, "1\n2\n3\n");
        for seed in 1..30 {
            let folder = Folder::new();
            let mut numbers = Numbers(seed);
            for name in ["log", "log.1"] {
                let length = numbers.next(150_000);
                std::fs::write(folder.join(name), numbers.bytes(length, 1 << (seed % 20))).unwrap();
            }
            assert_eq!(shown(&folder, &ALL), (String::new(), String::new()));
            assert_eq!(shown(&folder, &Wanted { tail: Some(1), ..ALL }), (String::new(), String::new()));
        }
    }

    /// A place for output that says when so much has come.
    struct Progress<'a>(Vec<u8>, &'a std::sync::atomic::AtomicUsize);

    impl Write for Progress<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.fetch_add(bytes.len(), Ordering::Relaxed);
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_is_followed_through_changes_of_files() {
        // With a descriptor that tells the end, and with questions alone.
        for by_descriptor in [true, false] {
            let folder = Folder::new();
            let (running, read) = (AtomicBool::new(true), std::sync::atomic::AtomicUsize::new(0));
            let (end, other_end) = sys::pipe().unwrap();
            let mut out = Progress(Vec::new(), &read);
            let (mut err, mut asked) = (Vec::new(), 0);
            let wanted = std::thread::scope(|scope| {
                let writer = scope.spawn(|| {
                    let mut numbers = Numbers(5);
                    let mut log = folder.writer(3000, 8);
                    let (mut all, mut second) = (Vec::new(), 0);
                    while all.len() < 300_000 {
                        let length = 1 + numbers.next(700);
                        let bytes = numbers.bytes(length, 50);
                        log.append(Stream::Out, &bytes, at(second));
                        all.extend_from_slice(&bytes);
                        second += 1;
                        if second % 7 == 0 {
                            log.flush(at(second));
                        }
                        // Who is slower than all files together loses something: not here.
                        while all.len() > read.load(Ordering::Relaxed) + 8000 {
                            std::thread::yield_now();
                        }
                        if second % 100 == 0 {
                            log.finish(at(second));
                            log = folder.writer(3000, 8);
                        }
                    }
                    log.append(Stream::Err, b"bye", at(second));
                    log.finish(at(second));
                    running.store(false, Ordering::SeqCst);
                    drop(other_end);
                    all
                });
                let mut alive = || {
                    asked += 1;
                    running.load(Ordering::SeqCst)
                };
                let ended = by_descriptor.then(|| end.as_fd());
                let follow = Follow { alive: &mut alive, ended, reader: None };
                show(folder.fd(), &ALL, Some(follow), &mut out, &mut err).unwrap();
                writer.join().unwrap()
            });
            assert!(wanted == out.0, "{} bytes of {}", out.0.len(), wanted.len());
            assert!(err == b"bye" && asked > 1);
        }
    }

    #[test]
    fn following_begins_with_the_last_lines() {
        let folder = Folder::new();
        let mut log = folder.writer(120, 5);
        log.append(Stream::Out, b"1\n2\n3\n", at(0));
        for (tail, wanted) in [(0, "4\n5\n6\n7\n"), (1, "3\n4\n5\n6\n7\n")] {
            // The second time everything is there already.
            let mut out = Vec::new();
            let turn = Cell::new(0);
            let mut alive = || {
                if tail == 0 && turn.get() == 0 {
                    log.append(Stream::Out, b"4\n5\n6\n7\n", at(1));
                }
                turn.set(turn.get() + 1);
                turn.get() < 2
            };
            let follow = Follow { alive: &mut alive, ended: None, reader: None };
            let tail = if tail == 0 { Some(0) } else { Some(5) };
            show(folder.fd(), &Wanted { tail, ..ALL }, Some(follow), &mut out, &mut io::sink()).unwrap();
            assert_eq!(String::from_utf8_lossy(&out), wanted);
        }
        // A log that is not there yet; one that somebody empties.
        let folder = Folder::new();
        let (mut out, mut turn) = (Vec::new(), 0);
        let mut alive = || {
            turn += 1;
            match turn {
                1 => folder.writer(1000, 3).append(Stream::Out, b"long first line\n", at(0)),
                2 => File::options().write(true).truncate(true).open(folder.join("log")).map(drop).unwrap(),
                3 => folder.writer(1000, 3).append(Stream::Out, b"2\n", at(0)),
                _ => {}
            }
            turn < 4
        };
        let follow = Follow { alive: &mut alive, ended: None, reader: None };
        show(folder.fd(), &ALL, Some(follow), &mut out, &mut io::sink()).unwrap();
        assert_eq!(out, b"long first line\n2\n");
    }

    #[test]
    fn following_ends_with_the_time_or_the_reader() {
        let folder = Folder::new();
        folder.writer(1000, 3).append(Stream::Out, b"x\n", at(0));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let until = Some(clock::now().before(Duration::from_secs(1)));
        let follow = Follow { alive: &mut || true, ended: None, reader: None };
        show(folder.fd(), &Wanted { until, ..ALL }, Some(follow), &mut out, &mut err).unwrap();
        assert_eq!(out, b"x\n");

        let (from, to) = sys::pipe().unwrap();
        drop(from);
        let follow = Follow { alive: &mut || true, ended: None, reader: Some(to.as_fd()) };
        show(folder.fd(), &Wanted { tail: Some(0), ..ALL }, Some(follow), &mut out, &mut err).unwrap();

        let follow = Follow { alive: &mut || true, ended: None, reader: None };
        show(folder.fd(), &ALL, Some(follow), &mut File::from(to), &mut err).unwrap();

        let mut full = File::options().write(true).open("/dev/full").unwrap();
        let error = show(folder.fd(), &ALL, None, &mut full, &mut err).unwrap_err().to_string();
        assert_eq!(error, "cannot show the container's log (stdout): No space left on device (os error 28)");
    }

    #[test]
    fn tail_is_all_or_a_number() {
        assert_eq!(tail("all").unwrap(), None);
        assert_eq!(tail("0").unwrap(), Some(0));
        assert_eq!(tail("010").unwrap(), Some(10));
        assert_eq!(tail("99999999999999999999999").unwrap(), Some(usize::MAX));
        for bad in ["-1", "", "+1", "ALL", "1.5", "ten", "１"] {
            let error = tail(bad).unwrap_err().to_string();
            assert!(error.starts_with("bad --tail \"") && !error.contains('\n'), "{error}");
        }
    }
}
