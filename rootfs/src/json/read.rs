//! JSON read: text becomes a [`Value`] (RFC 8259), or one sentence says in which line it is none.
//!
//! Stricter than it would have to be in what is a trap for people who read the same file: a name that stands twice in one object is
//! refused. [`read_foreign`] is as strict where two programs could read two things, and no stricter. What it takes from memory and stack is bounded by the text's length and [`DEPTH`].

use super::Value;

/// How deep lists and maps may be in each other.
const DEPTH: usize = 32;

/// The value that a whole text is, which is written for us: names that differ in nothing but capital letters are one, and numbers are
/// whole.
pub fn read(text: &str) -> Result<Value, String> {
    whole(Reader { text, at: 0, foreign: false })
}

/// The value that a whole text is, which is written for many: names may differ in capital letters alone, and a number that is not a
/// whole one, or is larger than we count, is the text that it is.
pub fn read_foreign(text: &str) -> Result<Value, String> {
    whole(Reader { text, at: 0, foreign: true })
}

fn whole(mut reader: Reader) -> Result<Value, String> {
    let text = reader.text;
    let value = reader.value(0);
    let found = value.and_then(|value| {
        reader.blanks();
        if reader.at == text.len() { Ok(value) } else { Err("there is more after its end") }
    });
    found.map_err(|what| {
        let line = 1 + text.as_bytes().iter().take(reader.at).filter(|byte| **byte == b'\n').count();
        format!("line {line}: {what}")
    })
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    foreign: bool,
}

type Found<T> = Result<T, &'static str>;

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Found<Value> {
        if depth > DEPTH {
            return Err("lists and maps are too deep in each other");
        }
        self.blanks();
        match self.peek() {
            Some(b'{') => self.map(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Value::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => {
                let words = [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))];
                let rest = self.text.get(self.at..).unwrap_or_default();
                for (word, value) in words {
                    if rest.starts_with(word) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err("a value is missing")
            }
            None => Err("it ends too early"),
        }
    }

    fn list(&mut self, depth: usize) -> Found<Value> {
        let mut all = Vec::new();
        self.at += 1;
        self.blanks();
        if self.take(b']') {
            return Ok(Value::List(all));
        }
        loop {
            all.push(self.value(depth + 1)?);
            self.blanks();
            if self.take(b']') {
                return Ok(Value::List(all));
            }
            if !self.take(b',') {
                return Err("a comma or ] is missing");
            }
        }
    }

    fn map(&mut self, depth: usize) -> Found<Value> {
        let mut all: Vec<(String, Value)> = Vec::new();
        self.at += 1;
        self.blanks();
        if self.take(b'}') {
            return Ok(Value::Map(all));
        }
        loop {
            self.blanks();
            if self.peek() != Some(b'"') {
                return Err("a name in quotes is missing");
            }
            let name = self.string()?;
            self.blanks();
            if !self.take(b':') {
                return Err("a colon is missing");
            }
            // Few names stand in one map, and none of ours has a hundred.
            let foreign = self.foreign;
            let is_one = |other: &String| *other == name || !foreign && other.eq_ignore_ascii_case(&name);
            if all.len() >= 4096 || all.iter().any(|(other, _)| is_one(other)) {
                return Err("the same name stands twice in one object (or there are thousands)");
            }
            let value = self.value(depth + 1)?;
            all.push((name, value));
            self.blanks();
            if self.take(b'}') {
                return Ok(Value::Map(all));
            }
            if !self.take(b',') {
                return Err("a comma or } is missing");
            }
        }
    }

    fn number(&mut self) -> Found<Value> {
        let from = self.at;
        self.take(b'-');
        let digits = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        let word = self.text.get(from..self.at).unwrap_or_default();
        let first = self.text.as_bytes().get(digits);
        if self.at == digits || (first == Some(&b'0') && self.at > digits + 1) {
            return Err("a number does not begin so");
        }
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return if self.foreign { self.fraction(from) } else { Err("a number is not a whole one") };
        }
        let found = match word.strip_prefix('-') {
            None => word.parse().map(Value::Uint).ok(),
            Some("0") => Some(Value::Uint(0)),
            Some(_) => word.parse().map(Value::Int).ok(),
        };
        match found {
            None if self.foreign => Ok(Value::from(word)),
            found => found.ok_or("a number is too large"),
        }
    }

    /// The rest of a number that began at `from` and is not a whole one.
    fn fraction(&mut self, from: usize) -> Found<Value> {
        let digits = |reader: &mut Self| {
            let start = reader.at;
            while matches!(reader.peek(), Some(b'0'..=b'9')) {
                reader.at += 1;
            }
            if reader.at > start { Ok(()) } else { Err("a number does not end so") }
        };
        if self.take(b'.') {
            digits(self)?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            digits(self)?;
        }
        Ok(Value::from(self.text.get(from..self.at).unwrap_or_default()))
    }

    fn string(&mut self) -> Found<String> {
        let mut all = String::new();
        self.at += 1;
        loop {
            let from = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..=0x1f)) {
                self.at += 1;
            }
            // Both ends are beside ASCII: no letter is cut in two.
            all.push_str(self.text.get(from..self.at).unwrap_or_default());
            let found = self.peek();
            self.at += 1;
            match found {
                Some(b'"') => return Ok(all),
                Some(b'\\') => all.push(self.escaped()?),
                _ => {
                    self.at -= 1;
                    return Err("a string does not end");
                }
            }
        }
    }

    fn escaped(&mut self) -> Found<char> {
        let letter = self.peek().ok_or("a string does not end")?;
        self.at += 1;
        Ok(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let mut code = self.hex()?;
                if (0xd800..0xdc00).contains(&code) && self.take(b'\\') && self.take(b'u') {
                    let low = self.hex()?;
                    // Not a pair: then the sum is no letter either.
                    code = if (0xdc00..0xe000).contains(&low) {
                        0x10000 + ((code & 0x3ff) << 10) + (low & 0x3ff)
                    } else {
                        code
                    };
                }
                char::from_u32(code).ok_or("\\u names no letter")?
            }
            _ => return Err("a backslash stands before a letter that needs none"),
        })
    }

    fn hex(&mut self) -> Found<u32> {
        let digits = self.text.get(self.at..self.at + 4).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        self.at += 4;
        digits.and_then(|text| u32::from_str_radix(text, 16).ok()).ok_or("\\u wants four hexadecimal digits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let value = Value::map([
            ("A", "a \"b\" \\ \n\u{1}é🦀".into()),
            ("B", Value::from(u64::MAX)),
            ("C", Value::from(-7_i64)),
            ("D", Value::List(vec![Value::Null, true.into(), false.into(), Value::map([]), Value::List(vec![])])),
        ]);
        assert_eq!(read(&value.compact()).as_ref(), Ok(&value));
        assert_eq!(read(&value.indented()).as_ref(), Ok(&value));
        assert_eq!(read(r#" "\u00e9\ud83e\udd80\/\b\f" "#), Ok(Value::from("é🦀/\u{8}\u{c}")));
    }

    #[test]
    fn what_is_broken_is_said_in_one_sentence() {
        for (text, sentence) in [
            ("", "line 1: it ends too early"),
            ("{", "line 1: a name in quotes is missing"),
            ("{\n\"a\" 1}", "line 2: a colon is missing"),
            ("{\"a\":\n\n}", "line 3: a value is missing"),
            ("[1,]", "line 1: a value is missing"),
            ("[1 2]", "line 1: a comma or ] is missing"),
            ("{\"a\":1 \"b\":2}", "line 1: a comma or } is missing"),
            ("{\"a\":1,\"A\":2}", "line 1: the same name stands twice in one object (or there are thousands)"),
            ("1 1", "line 1: there is more after its end"),
            ("01", "line 1: a number does not begin so"),
            ("-", "line 1: a number does not begin so"),
            ("1.5", "line 1: a number is not a whole one"),
            ("1e3", "line 1: a number is not a whole one"),
            ("18446744073709551616", "line 1: a number is too large"),
            ("\"a\nb\"", "line 1: a string does not end"),
            ("\"a", "line 1: a string does not end"),
            ("\"\\x\"", "line 1: a backslash stands before a letter that needs none"),
            ("\"\\ud800\"", "line 1: \\u names no letter"),
            ("\"\\ud800\\u0041\"", "line 1: \\u names no letter"),
            ("\"\\u12\"", "line 1: \\u wants four hexadecimal digits"),
            ("\"\\u12é4\"", "line 1: \\u wants four hexadecimal digits"),
            ("nul", "line 1: a value is missing"),
        ] {
            assert_eq!(read(text), Err(sentence.to_owned()), "{text:?}");
        }
        assert!(read(&"[".repeat(100_000)).is_err());
        assert!(read(&("[".repeat(32) + &"]".repeat(32))).is_ok());
    }

    #[test]
    fn what_others_write_is_read_as_it_is_meant() {
        let text = r#"{"a":1.5,"A":-0.25e+10,"b":[1E3,18446744073709551616,-9223372036854775809],"c":7}"#;
        let value = read_foreign(text).unwrap();
        assert_eq!((value.get("a"), value.get("A")), (Some(&"1.5".into()), Some(&"-0.25e+10".into())));
        let large = vec!["1E3", "18446744073709551616", "-9223372036854775809"];
        assert_eq!((value.get("b"), value.get("c")), (Some(&large.into()), Some(&7_u32.into())));
        assert!(read(text).is_err());
        for (text, sentence) in [
            (r#"{"a":1,"a":2}"#, "line 1: the same name stands twice in one object (or there are thousands)"),
            ("1.", "line 1: a number does not end so"),
            ("1e", "line 1: a number does not end so"),
            ("1e+", "line 1: a number does not end so"),
            (".5", "line 1: a value is missing"),
            ("01.5", "line 1: a number does not begin so"),
        ] {
            assert_eq!(read_foreign(text), Err(sentence.to_owned()), "{text:?}");
        }
    }

    /// A small generator, so that every run sees the same texts.
    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn no_text_makes_it_panic() {
        let pieces = [
            "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u", "d83e", "dd80", "0", "-", "9", "e", ".", "é", "🦀",
            "null", " ", "\n", "\u{1}", "a",
        ];
        let mut state = 0x1234_5678_9abc_def1;
        for _ in 0..20_000 {
            let count = random(&mut state) % 24;
            let text: String = (0..count).map(|_| pieces[random(&mut state) as usize % pieces.len()]).collect();
            if let Ok(value) = read(&text) {
                assert_eq!(read(&value.compact()), Ok(value), "{text:?}");
            }
            if let Ok(value) = read_foreign(&text) {
                assert_eq!(read_foreign(&value.compact()), Ok(value), "{text:?}");
            }
        }
    }
}
