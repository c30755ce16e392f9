//! `--filter KEY=VALUE`, as the listings of Docker take it.
//!
//! Values of one key are alternatives, keys add up: `--filter status=exited --filter status=dead --filter name=web` are those
//! that have ended and are called web. Labels alone must all be there. What a key means is the verb's business: it asks for
//! each row whether what the row has matches.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::words;

/// All `--filter` of a command line.
#[derive(Debug, Default)]
pub struct Filters {
    /// Keys and values, in the order in which they were typed.
    given: Vec<(String, String)>,
}

impl Filters {
    /// Reads them. `allowed` are the keys that the verb knows.
    pub fn parse(words: &[String], allowed: &[&str]) -> Result<Filters> {
        let read = |word: &String| {
            let Some((key, value)) = word.split_once('=') else {
                let example = allowed.first().unwrap_or(&"name");
                return Err(Error::usage(format_args!(
                    "bad --filter {word:?}: it is KEY=VALUE, such as {example}=…"
                )));
            };
            let key = key.trim().to_lowercase();
            if allowed.contains(&key.as_str()) {
                return Ok((key, value.trim().to_owned()));
            }
            let near = words::nearest(&key, allowed.iter().copied());
            let advice = near.map_or(String::new(), |near| format!(", did you mean {near}?"));
            let known = allowed.join(", ");
            Err(Error::usage(format_args!("bad --filter {word:?}: unknown key {key:?}{advice} (known: {known})")))
        };
        Ok(Filters { given: words.iter().map(read).collect::<Result<_>>()? })
    }

    /// The values of a key, for those that mean more than a comparison: before, since, until.
    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.given.iter().filter(move |(given, _)| given == key).map(|(_, value)| value.as_str())
    }

    /// Whether there is a filter of that key.
    pub fn has(&self, key: &str) -> bool {
        self.values(key).next().is_some()
    }

    /// The one value of a key that can have but one.
    pub fn only<'a>(&'a self, key: &'a str) -> Result<Option<&'a str>> {
        let mut values = self.values(key);
        match (values.next(), values.next()) {
            (Some(_), Some(_)) => Err(Error::usage(format_args!("--filter {key}=… can be given once"))),
            (one, _) => Ok(one),
        }
    }

    /// No filter of that key, or one whose value is exactly this.
    pub fn matches_exact(&self, key: &str, value: &str) -> bool {
        !self.has(key) || self.values(key).any(|wanted| wanted == value)
    }

    /// No filter of that key, or one whose pattern is found in this: see [`found`].
    pub fn matches_part(&self, key: &str, value: &str) -> bool {
        !self.has(key) || self.values(key).any(|pattern| found(pattern, value))
    }

    /// No filter of that key, or one whose value is how this begins, as an id may be shortened.
    pub fn matches_start(&self, key: &str, value: &str) -> bool {
        !self.has(key) || self.values(key).any(|start| !start.is_empty() && value.starts_with(start))
    }

    /// Every `label=KEY` and `label=KEY=VALUE` is among these labels, and not all of the `label!=…` are (if there are any).
    pub fn matches_label(&self, labels: &[(&str, &str)]) -> bool {
        let there = |wanted: &str| {
            let (key, value) = wanted.split_once('=').map_or((wanted, None), |(key, value)| (key, Some(value)));
            labels.iter().any(|(k, v)| *k == key && value.is_none_or(|value| value == *v))
        };
        self.values("label").all(there) && !(self.has("label!") && self.values("label!").all(there))
    }
}

// ---- patterns

/// One character of a pattern: what fits there, and how often.
struct Piece {
    fits: Fits,
    /// It may be left out.
    none: bool,
    /// It may follow itself.
    more: bool,
}

enum Fits {
    All,
    One(char),
    /// Ranges, and whether it is what is not in them.
    Class(Vec<(char, char)>, bool),
}

impl Fits {
    fn takes(&self, c: char) -> bool {
        match self {
            Fits::All => true,
            Fits::One(one) => *one == c,
            Fits::Class(ranges, negated) => ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *negated,
        }
    }
}

/// Whether a pattern is found in a text, anywhere if it does not say where: a small part of regular expressions (`^ $ . * + ?
/// [a-z] [^a-z] \x`, and `|` between whole patterns), enough for names. Everything else stands for itself.
///
/// As Docker's names once began with a slash, `^/web$` finds web.
pub fn found(pattern: &str, text: &str) -> bool {
    alternatives(pattern).into_iter().any(|pattern| found_one(&pattern, text))
}

/// Parts of a pattern between `|`; a part is characters, and whether a backslash was before them.
fn alternatives(pattern: &str) -> Vec<Vec<(char, bool)>> {
    let mut parts = vec![Vec::new()];
    let mut class = false;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let (c, quoted) = match c {
            '\\' => chars.next().map_or(('\\', true), |next| (next, true)),
            c => (c, false),
        };
        match (c, quoted) {
            ('|', false) if !class => parts.push(Vec::new()),
            _ => {
                if !quoted {
                    class = c == '[' || (class && c != ']');
                }
                if let Some(part) = parts.last_mut() {
                    part.push((c, quoted));
                }
            }
        }
    }
    parts
}

fn found_one(pattern: &[(char, bool)], text: &str) -> bool {
    let mut rest = pattern;
    let start = rest.first() == Some(&('^', false));
    rest = rest.get(usize::from(start)..).unwrap_or_default();
    if start && rest.first() == Some(&('/', false)) {
        rest = rest.get(1..).unwrap_or_default();
    }
    let end = rest.last() == Some(&('$', false));
    rest = rest.get(..rest.len() - usize::from(end)).unwrap_or_default();
    let pieces = pieces(rest);

    // All places in the pattern where we may be, after each character of the text: no way is ever gone twice.
    let all = pieces.len();
    let skip = |places: &mut BTreeSet<usize>, from: usize| {
        let mut at = from;
        while places.insert(at) && pieces.get(at).is_some_and(|piece| piece.none) {
            at += 1;
        }
    };
    let mut places = BTreeSet::new();
    skip(&mut places, 0);
    for c in text.chars() {
        if places.contains(&all) && !end {
            return true;
        }
        let mut next = BTreeSet::new();
        for at in places {
            if let Some(piece) = pieces.get(at).filter(|piece| piece.fits.takes(c)) {
                skip(&mut next, at + 1);
                if piece.more {
                    skip(&mut next, at);
                }
            }
        }
        if !start {
            skip(&mut next, 0);
        }
        places = next;
    }
    places.contains(&all)
}

fn pieces(pattern: &[(char, bool)]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut rest = pattern.iter().copied();
    while let Some(c) = rest.next() {
        let fits = match c {
            ('*' | '+' | '?', false) if !pieces.is_empty() => {
                if let Some(last) = pieces.last_mut() {
                    last.none |= c.0 != '+';
                    last.more |= c.0 != '?';
                }
                continue;
            }
            ('.', false) => Fits::All,
            ('[', false) => {
                // One without an end stands for itself.
                let mut class = rest.clone();
                match read_class(&mut class) {
                    Some(fits) => {
                        rest = class;
                        fits
                    }
                    None => Fits::One('['),
                }
            }
            (c, _) => Fits::One(c),
        };
        pieces.push(Piece { fits, none: false, more: false });
    }
    pieces
}

/// From after `[` to `]`.
fn read_class(rest: &mut (impl Iterator<Item = (char, bool)> + Clone)) -> Option<Fits> {
    let mut ranges = Vec::new();
    let mut negated = false;
    let mut first = true;
    loop {
        let c = match rest.next()? {
            (']', false) if !first => return Some(Fits::Class(ranges, negated)),
            ('^', false) if first && !negated => {
                negated = true;
                continue;
            }
            (c, _) => c,
        };
        first = false;
        let mut ahead = rest.clone();
        let to = match (ahead.next(), ahead.next()) {
            (Some(('-', false)), Some((to, quoted))) if to != ']' || quoted => {
                *rest = ahead;
                to
            }
            _ => c,
        };
        ranges.push((c, to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(words: &[&str]) -> Result<Filters> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Filters::parse(&words, &["name", "status", "label", "label!", "dangling", "before"])
    }

    #[test]
    fn mistakes_are_named() {
        let text = |word: &str| filters(&[word]).unwrap_err().to_string();
        assert_eq!(text("running"), "bad --filter \"running\": it is KEY=VALUE, such as name=…");
        assert_eq!(
            text("nam=x"),
            "bad --filter \"nam=x\": unknown key \"nam\", did you mean name? (known: name, status, label, label!, dangling, before)"
        );
        assert!(text("=x").contains("unknown key \"\" (known: name"));
        assert!(text("zzzzzz=x").contains("unknown key \"zzzzzz\" (known: name"));
    }

    #[test]
    fn keys_add_up_and_values_are_alternatives() {
        let both = filters(&["status=exited", "Status = dead ", "name=web"]).unwrap();
        let shows = |status, name| both.matches_exact("status", status) && both.matches_part("name", name);
        assert!(shows("exited", "web") && shows("dead", "myweb2"));
        assert!(!shows("running", "web") && !shows("exited", "db") && !shows("exite", "web"));
        let none = filters(&[]).unwrap();
        assert!(none.matches_exact("status", "x") && none.matches_part("name", "") && none.matches_start("id", ""));
        assert_eq!(both.values("status").collect::<Vec<_>>(), ["exited", "dead"]);
        assert!(both.has("name") && !both.has("before"));
    }

    #[test]
    fn values_that_are_asked_for() {
        let given = filters(&["before=a", "dangling=true", "name=abc"]).unwrap();
        assert_eq!((given.only("before").unwrap(), given.only("status").unwrap()), (Some("a"), None));
        assert!(filters(&["before=a", "before=b"]).unwrap().only("before").is_err());
        assert!(given.matches_start("name", "abcdef") && !given.matches_start("name", "xabc"));
        assert!(!filters(&["name="]).unwrap().matches_start("name", "abc"));
    }

    #[test]
    fn labels_must_all_be_there() {
        let labels = [("a", "1"), ("b", "2=3"), ("c", "")];
        let matches = |words: &[&str]| filters(words).unwrap().matches_label(&labels);
        assert!(matches(&[]) && matches(&["label=a"]) && matches(&["label=a=1", "label=b=2=3", "label=c="]));
        assert!(!matches(&["label=a", "label=d"]) && !matches(&["label=a=2"]) && !matches(&["label=A"]));
        assert!(!matches(&["label!=a"]) && !matches(&["label!=b=2=3"]) && !matches(&["label=a", "label!=c"]));
        assert!(matches(&["label!=d"]) && matches(&["label=a", "label!=a=2"]));
    }

    #[test]
    fn patterns() {
        let yes = [
            ("", "x"),
            ("we", "web"),
            ("eb", "web"),
            ("web", "web"),
            ("^we", "web"),
            ("b$", "web"),
            ("^web$", "web"),
            ("^/web$", "web"),
            ("/web", "a/web"),
            ("^$", ""),
            ("$", "a"),
            ("^", "a"),
            ("w.b", "web"),
            ("^w.*1$", "web-01"),
            ("web-[0-9]+$", "web-12"),
            ("[^a-z]", "a1"),
            ("[]x]", "]"),
            ("[a-]$", "-"),
            ("a|b", "xbx"),
            ("^a$|^b$", "b"),
            (r"a\.b", "a.b"),
            (r"\^", "^"),
            ("ab?c", "ac"),
            ("ab?c", "abc"),
            ("[", "["),
            ("(a)", "(a)"),
            ("x*", ""),
            ("*a", "*a"),
            ("ä.ö", "xäüö"),
            ("[|]", "|"),
            ("[a|b]$", "b"),
            (r"a\|b", "a|b"),
            ("a+a", "aa"),
            ("", ""),
        ];
        for (pattern, text) in yes {
            assert!(found(pattern, text), "{pattern:?} {text:?}");
        }
        let no = [
            ("x", ""),
            ("x", "web"),
            ("^eb", "web"),
            ("we$", "web"),
            ("^web$", "web1"),
            (r"a\.b", "axb"),
            ("^$", "a"),
            ("web-[0-9]+$", "web-"),
            ("[^a-z]", "abc"),
            ("ab?c", "abbc"),
            ("^a$|^b$", "ab"),
            ("[z-a]", "m"),
            ("a+a", "a"),
            (r"\", "a"),
            ("x+$", "xy"),
        ];
        for (pattern, text) in no {
            assert!(!found(pattern, text), "{pattern:?} {text:?}");
        }
        // What costs other machines years.
        assert!(!found(&format!("^{}b$", "a*".repeat(200)), &"a".repeat(200)));
    }

    #[test]
    fn no_pattern_ends_it() {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % below as u64) as usize
        };
        let letters = ['a', 'b', '^', '$', '.', '*', '+', '?', '[', ']', '-', '\\', '|', '/', 'é', '('];
        for _ in 0..20_000 {
            let mut word = |length| (0..length).map(|_| letters[next(letters.len())]).collect::<String>();
            let (pattern, text) = (word(12), word(6));
            found(&pattern, &text);
        }
    }
}
