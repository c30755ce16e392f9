//! JSON: a value, and its two looks (RFC 8259); [`read()`] makes one from text.
//!
//! What is told about something is made as a [`Value`] once, and printed as it is, or picked from. Maps keep the order in which they
//! were made.

mod read;

use std::fmt::Write;

pub use read::{read, read_foreign};

/// How far `docker inspect` indents.
const INDENT: usize = 4;

/// A value of JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A number that may be below zero.
    Int(i64),
    /// A number that is not, and may be large: bytes, nanoseconds.
    Uint(u64),
    /// Text.
    Text(String),
    /// Values in a row.
    List(Vec<Value>),
    /// Named values, in this order. No name stands there twice.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// A map of what stands there.
    pub fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
        Value::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// The entry of a map; nothing if there is none, or this is no map.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let Value::Map(entries) = self else { return None };
        entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// In one line, without blanks.
    pub fn compact(&self) -> String {
        let mut text = String::new();
        write(&mut text, self, None);
        text
    }

    /// In many lines, as `docker inspect` prints it. No newline at the end.
    pub fn indented(&self) -> String {
        let mut text = String::new();
        write(&mut text, self, Some(0));
        text
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Int(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::Uint(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Value {
        Value::Uint(value.into())
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::Text(value)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Value {
        Value::List(values.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

/// `depth` is how far we are in, if that is to be seen.
fn write(text: &mut String, value: &Value, depth: Option<usize>) {
    let _ = match value {
        Value::Null => text.write_str("null"),
        Value::Bool(yes) => write!(text, "{yes}"),
        Value::Int(number) => write!(text, "{number}"),
        Value::Uint(number) => write!(text, "{number}"),
        Value::Text(words) => {
            quote(text, words);
            Ok(())
        }
        Value::List(values) => {
            enclose(text, ['[', ']'], values, depth, write);
            Ok(())
        }
        Value::Map(entries) => {
            enclose(text, ['{', '}'], entries, depth, |text, (key, value), depth| {
                quote(text, key);
                text.push_str(if depth.is_some() { ": " } else { ":" });
                write(text, value, depth);
            });
            Ok(())
        }
    };
}

fn enclose<T>(
    text: &mut String,
    [open, close]: [char; 2],
    items: &[T],
    depth: Option<usize>,
    one: impl Fn(&mut String, &T, Option<usize>),
) {
    text.push(open);
    let inside = depth.map(|depth| depth + 1);
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            text.push(',');
        }
        break_line(text, inside);
        one(text, item, inside);
    }
    if !items.is_empty() {
        break_line(text, depth);
    }
    text.push(close);
}

fn break_line(text: &mut String, depth: Option<usize>) {
    if let Some(depth) = depth {
        let _ = write!(text, "\n{:1$}", "", depth * INDENT);
    }
}

/// Appends a JSON string. All that could move a terminal's cursor is escaped, also where JSON would not ask for it (DEL and
/// the control characters above 127).
pub fn quote(text: &mut String, words: &str) {
    text.push('"');
    for c in words.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            // All of these are below U+10000: four digits are enough.
            c if c.is_control() => drop(write!(text, "\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped() {
        let mut text = String::new();
        quote(&mut text, "a \"b\" \\ c\nd\t\r\u{1}\u{1b}\u{7f}\u{9b}é\u{2028}🦀/<&>");
        assert_eq!(text, "\"a \\\"b\\\" \\\\ c\\nd\\t\\r\\u0001\\u001b\\u007f\\u009bé\u{2028}🦀/<&>\"");
        for c in '\0'..='\u{ff}' {
            let mut text = String::new();
            quote(&mut text, &c.to_string());
            assert!(!text.chars().any(char::is_control), "{c:?}");
        }
    }

    fn example() -> Value {
        Value::map([
            ("Id", "a1".into()),
            ("Size", Value::from(u64::MAX)),
            ("Exit", Value::from(-1_i64)),
            ("Pid", Value::from(7_u32)),
            ("Name", String::from("x").into()),
            ("Dead", false.into()),
            ("Health", Option::<bool>::None.into()),
            ("Args", vec!["a", "b"].into()),
            ("None", Value::List(vec![])),
            ("Labels", Value::map([])),
            ("Mounts", Value::List(vec![Value::map([("To", "/x".into())])])),
        ])
    }

    #[test]
    fn compact_is_one_line() {
        let expected = concat!(
            r#"{"Id":"a1","Size":18446744073709551615,"Exit":-1,"Pid":7,"Name":"x","Dead":false,"Health":null,"#,
            r#""Args":["a","b"],"None":[],"Labels":{},"Mounts":[{"To":"/x"}]}"#
        );
        assert_eq!(example().compact(), expected);
        assert_eq!(Value::Null.compact(), "null");
    }

    #[test]
    fn indented_is_what_docker_inspect_prints() {
        let expected = "[\n    {\n        \"Id\": \"a1\",\n        \"Size\": 18446744073709551615,\n        \"Exit\": -1,\n        \
             \"Pid\": 7,\n        \"Name\": \"x\",\n        \"Dead\": false,\n        \"Health\": null,\n        \
             \"Args\": [\n            \"a\",\n            \"b\"\n        ],\n        \"None\": [],\n        \
             \"Labels\": {},\n        \"Mounts\": [\n            {\n                \"To\": \"/x\"\n            }\n        \
             ]\n    }\n]";
        assert_eq!(Value::List(vec![example()]).indented(), expected);
    }

    #[test]
    fn entries_are_found() {
        assert_eq!(example().get("Id"), Some(&Value::from("a1")));
        assert_eq!((example().get("id"), Value::Null.get("Id")), (None, None));
    }
}
