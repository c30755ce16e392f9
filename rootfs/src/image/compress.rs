//! Streams that may be compressed: gzip (RFC 1952), zstd (RFC 8878), or neither, which their first bytes tell. What media types say is
//! not asked: they lie, and files have none.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use flate2::bufread::GzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// How something is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    /// Not at all.
    None,
    /// Members of gzip, one behind the other.
    Gzip,
    /// Frames of zstd, one behind the other.
    Zstd,
}

/// What compressed streams begin with that others can undo.
const OTHERS: [(&[u8], &str); 3] = [(b"\xfd7zXZ\0", "xz"), (b"BZh", "bzip2"), (b"\x04\x22\x4d\x18", "lz4")];

const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// Zstandard's skippable frames: the last byte of their number, the rest of it, and four bytes of length (RFC 8878, 3.1.2).
const SKIPPABLE: (u8, &[u8]) = (0x50, b"\x2a\x4d\x18");

/// The most that a stream's beginning is looked at.
const MAGIC: usize = 6;

/// What a stream says, decompressed.
pub struct Decompressed<R: Read> {
    state: State<R>,
    /// Kept from frame to frame: some archives have one for each file.
    zstd: Option<Box<FrameDecoder>>,
}

/// What has been looked at already, and the rest.
type Input<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

enum State<R: Read> {
    /// Between two members or frames, which are all of one kind.
    Between(Compression, Input<R>),
    Plain(Input<R>),
    Gzip(GzDecoder<Input<R>>),
    Zstd(Input<R>),
    /// A member broke off.
    Broken,
}

fn broken(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<R: Read> Decompressed<R> {
    /// Looks at the first bytes. `InvalidData` if it is compressed by something that is not undone here.
    pub fn new(mut input: R) -> io::Result<Decompressed<R>> {
        let start = beginning(&mut input)?;
        if let Some((_, by)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
            return Err(broken(format!(
                "it is compressed by {by}, which ctr does not undo: unpack it first, with {by} -dc"
            )));
        }
        let skippable = start.first().is_some_and(|b| b & 0xf0 == SKIPPABLE.0)
            && start.get(1..).is_some_and(|rest| rest.starts_with(SKIPPABLE.1));
        let (gzip, zstd) = (start.starts_with(GZIP), start.starts_with(ZSTD) || skippable);
        let input = BufReader::with_capacity(64 << 10, Cursor::new(start).chain(input));
        let state = match (gzip, zstd) {
            (true, _) => State::Between(Compression::Gzip, input),
            (_, true) => State::Between(Compression::Zstd, input),
            _ => State::Plain(input),
        };
        Ok(Decompressed { state, zstd: None })
    }

    /// How it is compressed.
    pub fn compression(&self) -> Compression {
        match &self.state {
            State::Between(kind, _) => *kind,
            State::Plain(_) => Compression::None,
            State::Gzip(_) => Compression::Gzip,
            State::Zstd(_) | State::Broken => Compression::Zstd,
        }
    }
}

/// The first bytes: [`MAGIC`] of them, if there are as many. A pipe may bring them one by one.
fn beginning(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(MAGIC);
    input.take(MAGIC as u64).read_to_end(&mut start)?;
    Ok(start)
}

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            match &mut self.state {
                State::Plain(input) => return input.read(into),
                State::Gzip(decoder) => match decoder.read(into)? {
                    0 => {}
                    n => return Ok(n),
                },
                State::Zstd(input) => match more(self.zstd.get_or_insert_default(), input, into)? {
                    0 => {}
                    n => return Ok(n),
                },
                State::Broken => return Err(broken("the zstd stream is broken".to_owned())),
                State::Between(..) => {}
            }
            // A member is at its end, or the first one comes.
            self.state = match std::mem::replace(&mut self.state, State::Broken) {
                State::Gzip(decoder) => State::Between(Compression::Gzip, decoder.into_inner()),
                State::Zstd(input) => State::Between(Compression::Zstd, input),
                State::Between(kind, mut input) => {
                    if at_end(&mut input)? {
                        self.state = State::Between(kind, input);
                        return Ok(0);
                    }
                    match kind {
                        Compression::Gzip => State::Gzip(GzDecoder::new(input)),
                        _ => frame(self.zstd.get_or_insert_default(), input)?,
                    }
                }
                other => other,
            };
        }
    }
}

fn at_end(input: &mut impl BufRead) -> io::Result<bool> {
    loop {
        match input.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            here => return here.map(<[u8]>::is_empty),
        }
    }
}

/// The next frame of zstd, or what comes behind one that is to be skipped.
fn frame<R: Read>(decoder: &mut FrameDecoder, mut input: Input<R>) -> io::Result<State<R>> {
    match decoder.init(&mut input) {
        Ok(()) => Ok(State::Zstd(input)),
        Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
            let length = u64::from(length);
            if io::copy(&mut input.by_ref().take(length), &mut io::sink())? < length {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the zstd stream ends in the middle"));
            }
            Ok(State::Between(Compression::Zstd, input))
        }
        Err(e) => Err(broken(format!("the zstd stream is broken: {e}"))),
    }
}

/// More of what a frame says; 0 at its end.
fn more(decoder: &mut FrameDecoder, input: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    while decoder.can_collect() == 0 && !decoder.is_finished() {
        let some = BlockDecodingStrategy::UptoBytes(into.len());
        decoder.decode_blocks(&mut *input, some).map_err(|e| broken(format!("the zstd stream is broken: {e}")))?;
    }
    decoder.read(into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// Through a program.
    fn by(words: &[&str], input: &[u8]) -> Option<Vec<u8>> {
        let mut command = Command::new(words[0]);
        let mut child = command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let mut pipe = child.stdin.take()?;
        let input = input.to_vec();
        let feeder = std::thread::spawn(move || drop(pipe.write_all(&input)));
        let output = child.wait_with_output().ok()?;
        feeder.join().ok()?;
        output.status.success().then_some(output.stdout)
    }

    struct OneByOne<'a>(&'a [u8]);

    impl Read for OneByOne<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let most = into.len().min(1);
            self.0.read(&mut into[..most])
        }
    }

    fn undone(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Decompressed::new(bytes)?.read_to_end(&mut out)?;
        Ok(out)
    }

    fn text(lines: u64) -> Vec<u8> {
        (0..lines).flat_map(|n| (n / 7 * n).to_string().into_bytes()).collect()
    }

    #[test]
    fn what_programs_compress_comes_back() {
        let text = text(300_000);
        for words in [&["gzip", "-c"][..], &["zstd", "-c"], &["zstd", "-19", "-c"], &["zstd", "-c", "--no-check"]] {
            let small = by(words, &text).expect("gzip and zstd are there");
            assert!(undone(&small).unwrap() == text, "{words:?}");
            // One behind the other, as pigz and estargz have it.
            let twice = [&small[..], &small[..]].concat();
            assert!(undone(&twice).unwrap() == [&text[..], &text[..]].concat(), "{words:?} twice");
            // As a pipe brings it, in the worst case.
            let mut slowly = Vec::new();
            Decompressed::new(OneByOne(&small[..])).unwrap().read_to_end(&mut slowly).unwrap();
            assert!(slowly == text, "{words:?} byte by byte");
            for end in [5, 20, small.len() / 2, small.len() - 1] {
                assert!(undone(&small[..end]).is_err(), "{words:?}: {end} of {}", small.len());
            }
        }
        assert_eq!(undone(b"plain").unwrap(), b"plain");
        assert_eq!(undone(b"").unwrap(), b"");
    }

    #[test]
    fn frames_that_are_to_be_skipped_are() {
        let small = by(&["zstd", "-c"], b"word").expect("zstd is there");
        let skipped = b"\x52\x2a\x4d\x18\x03\0\0\0abc";
        assert_eq!(undone(&[skipped, &small[..], skipped].concat()).unwrap(), b"word");
        assert!(undone(&[skipped, &small[..], &skipped[..9]].concat()).is_err());
    }

    #[test]
    fn others_are_named() {
        let error = undone(b"\xfd7zXZ\0 and so on").unwrap_err();
        assert!(error.to_string().contains("xz -dc"), "{error}");
    }

    #[test]
    fn garbage_is_an_error_and_no_more() {
        let text = text(3_000);
        for words in [&["gzip", "-c"][..], &["zstd", "-c"]] {
            let small = by(words, &text).expect("gzip and zstd are there");
            for n in 0..300 {
                let mut bytes = small.clone();
                let at = (n * 7919) % small.len();
                bytes[at] ^= 1 << (n % 8);
                let mut out = Vec::new();
                if let Ok(stream) = Decompressed::new(&bytes[..]) {
                    let _ = stream.take(10 << 20).read_to_end(&mut out);
                }
            }
        }
    }
}
