//! Ids and names of containers: made up, and checked.
//!
//! An id is 64 hexadecimal digits, shown as its first 12. A name becomes a file's name in the state folder, so what may
//! stand in it is narrow (a name with `/` or `..` once deleted directories outside: GHSA-x7pf-2jmj-pgcq).

use std::io;

use crate::error::{Error, Result};
use crate::sys;

/// How many digits of an id are shown, and serve as the default host name.
pub const SHORT: usize = 12;

/// The longest name: one that is also a host name label with room for a prefix.
const LONGEST: usize = 63;

/// First halves of made-up names.
const HOW: [&str; 32] = [
    "amber", "brave", "brisk", "calm", "clever", "cosy", "daring", "eager", "early", "fair", "fleet", "gentle",
    "glad", "grand", "happy", "humble", "jolly", "keen", "kind", "lively", "lucky", "mellow", "merry", "neat",
    "noble", "proud", "quick", "quiet", "sunny", "swift", "vivid", "wise",
];

/// Second halves: animals, so that nobody is offended.
const WHO: [&str; 32] = [
    "badger", "beaver", "crane", "curlew", "dolphin", "falcon", "ferret", "finch", "gecko", "heron", "ibex",
    "jackdaw", "kestrel", "lark", "lemur", "lynx", "marten", "newt", "osprey", "otter", "owl", "panda", "puffin",
    "raven", "robin", "seal", "stoat", "swallow", "tapir", "vole", "walrus", "wren",
];

/// A new id and a readable name to go with it.
pub fn fresh() -> io::Result<(String, String)> {
    let mut bytes = [0u8; 32];
    sys::random(&mut bytes)?;
    let id = bytes.iter().fold(String::with_capacity(64), |mut id, byte| {
        id.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        id.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
        id
    });
    let pick = |n: usize| usize::from(bytes[n]) % 32;
    let name = format!("{}_{}_{}", HOW[pick(29)], WHO[pick(30)], u32::from(bytes[31]) * 4 + u32::from(bytes[28]) % 4);
    Ok((id, name))
}

/// Checks a name that a user typed: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, as Docker has it.
pub fn check(name: &str) -> Result<()> {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if first && rest && name.len() <= LONGEST {
        return Ok(());
    }
    Err(Error::usage(format_args!(
        "bad name {name:?}: letters, digits, '_', '.' and '-', beginning with a letter or digit, {LONGEST} at most"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_names_pass_their_own_check() {
        for _ in 0..100 {
            let (id, name) = fresh().unwrap();
            assert_eq!(id.len(), 64);
            assert!(id.bytes().all(|b| b.is_ascii_hexdigit()));
            check(&name).unwrap();
        }
    }

    #[test]
    fn names_that_are_paths_are_refused() {
        for bad in ["", ".", "..", "../x", "a/b", "-x", "_x", "a b", "a\n", "ä", &"x".repeat(64)] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "web-1", "a.b_c", "0"] {
            check(good).unwrap();
        }
    }
}
