//! Digests: bytes named by their content, as the OCI image specification has it (`sha256:` and 64 hexadecimal digits).
//!
//! A digest that comes from outside is no path before it has been read by [`Digest::from_str`] (CVE-2024-3727), and what it names is
//! not believed before its bytes have gone through a [`Hasher`].

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// That of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// Its 64 hexadecimal digits: a file's name.
    pub fn hex(&self) -> String {
        self.0.iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoDigest {
    /// It may be one, of another algorithm.
    Algorithm,
    /// It is none.
    Form,
}

impl fmt::Display for NoDigest {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            NoDigest::Algorithm => "a digest of an algorithm that is not sha256",
            NoDigest::Form => "not a digest (sha256: and 64 digits of 0-9 and a-f)",
        })
    }
}

impl std::error::Error for NoDigest {}

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Digest, NoDigest> {
        let (algorithm, digits) = text.split_once(':').ok_or(NoDigest::Form)?;
        let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+._-".contains(&b);
        let lower = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
        if algorithm.is_empty() || !algorithm.bytes().all(known) || !digits.as_bytes().iter().all(lower) {
            return Err(NoDigest::Form);
        }
        if algorithm != "sha256" {
            return Err(NoDigest::Algorithm);
        }
        let mut bytes = [0; 32];
        let pairs = digits.as_bytes().chunks_exact(2);
        if digits.len() != 64 {
            return Err(NoDigest::Form);
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let pair = std::str::from_utf8(pair).map_err(|_| NoDigest::Form)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NoDigest::Form)?;
        }
        Ok(Digest(bytes))
    }
}

/// Makes a digest of what is written to it.
#[derive(Clone, Default)]
pub struct Hasher {
    state: Sha256,
    length: u64,
}

impl Hasher {
    /// Of nothing so far.
    pub fn new() -> Hasher {
        Hasher::default()
    }

    /// More bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// How many they were.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The digest of all of them.
    pub fn finish(self) -> Digest {
        Digest(self.state.finalize().into())
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader whose bytes are hashed as they pass.
pub struct Hashed<R> {
    input: R,
    /// What has passed.
    pub hasher: Hasher,
}

impl<R: Read> Hashed<R> {
    /// Nothing has passed so far.
    pub fn new(input: R) -> Hashed<R> {
        Hashed { input, hasher: Hasher::new() }
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(into)?;
        self.hasher.update(into.get(..n).unwrap_or_default());
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn nothing_has_a_digest_too() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse(), Ok(Digest::of(b"")));
        let mut through = Hashed::new(&b"abc"[..]);
        io::copy(&mut through, &mut io::sink()).unwrap();
        assert_eq!((through.hasher.length(), through.hasher.finish()), (3, Digest::of(b"abc")));
    }

    #[test]
    fn what_could_be_a_path_is_no_digest() {
        let bad = [
            "",
            ":",
            "sha256",
            "sha256:",
            "sha256:../../../../etc/passwd",
            "../../etc:0000",
            "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8555",
            "sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85",
            "sha256:+3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "sha256:\u{661}3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85",
            "SHA256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ];
        for text in bad {
            assert_eq!(text.parse::<Digest>(), Err(NoDigest::Form), "{text}");
        }
        let other = format!("sha512:{}", "0".repeat(128));
        assert_eq!(other.parse::<Digest>(), Err(NoDigest::Algorithm));
    }
}
