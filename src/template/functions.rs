//! What a template can call, and what values are to it: true or not, of which kind, as which text.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

use rootfs::json::Value;

use super::parse::in_name;
use super::render::{Seen, made};
use super::{MOST, WIDEST};

/// A function, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    And,
    Eq,
    Ge,
    Gt,
    Index,
    Join,
    Json,
    Le,
    Len,
    Lower,
    Lt,
    Ne,
    Not,
    Or,
    Pad,
    Print,
    Printf,
    Println,
    Slice,
    Split,
    Title,
    Truncate,
    Upper,
}

/// Their names, and how many arguments they take.
const FUNCTIONS: [(&str, Function, usize, usize); 23] = [
    ("and", Function::And, 1, 99),
    ("eq", Function::Eq, 2, 99),
    ("ge", Function::Ge, 2, 2),
    ("gt", Function::Gt, 2, 2),
    ("index", Function::Index, 1, 99),
    ("join", Function::Join, 2, 2),
    ("json", Function::Json, 1, 1),
    ("le", Function::Le, 2, 2),
    ("len", Function::Len, 1, 1),
    ("lower", Function::Lower, 1, 1),
    ("lt", Function::Lt, 2, 2),
    ("ne", Function::Ne, 2, 2),
    ("not", Function::Not, 1, 1),
    ("or", Function::Or, 1, 99),
    ("pad", Function::Pad, 3, 3),
    ("print", Function::Print, 0, 99),
    ("printf", Function::Printf, 1, 99),
    ("println", Function::Println, 0, 99),
    ("slice", Function::Slice, 1, 3),
    ("split", Function::Split, 2, 2),
    ("title", Function::Title, 1, 1),
    ("truncate", Function::Truncate, 2, 2),
    ("upper", Function::Upper, 1, 1),
];

/// The function of that name.
pub(super) fn named(name: &str) -> Option<Function> {
    FUNCTIONS.iter().find(|(known, ..)| *known == name).map(|(_, function, ..)| *function)
}

/// All names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|(name, ..)| *name)
}

/// Whether so many arguments are what it takes.
pub(super) fn check_count(function: Function, given: usize) -> std::result::Result<(), String> {
    let known = FUNCTIONS.iter().find(|(_, known, ..)| *known == function);
    let Some((name, _, least, most)) = known.filter(|(.., least, most)| given < *least || given > *most) else {
        return Ok(());
    };
    let takes = match (least, most) {
        (least, most) if least == most => least.to_string(),
        (least, 99) => format!("{least} or more"),
        (least, most) => format!("{least} to {most}"),
    };
    Err(format!("{name} takes {takes} argument(s), and gets {given}"))
}

/// A function's result, or what is wrong with its arguments.
type Made<'a> = std::result::Result<Seen<'a>, String>;

/// `and` and `or` come here when no argument but the last could decide.
pub(super) fn apply<'a>(function: Function, arguments: &[Seen<'a>]) -> Made<'a> {
    let nothing = Cow::Owned(Value::Null);
    let last = arguments.last().unwrap_or(&nothing);
    let [a, b, c] = [0, 1, 2].map(|n| arguments.get(n).unwrap_or(&nothing));
    Ok(match function {
        Function::And | Function::Or => last.clone(),
        Function::Not => made(!truth(a)),
        Function::Eq => {
            let mut any = false;
            for other in arguments.iter().skip(1) {
                any = any || compare("eq", a, other)? == Ordering::Equal;
            }
            made(any)
        }
        Function::Ne => made(compare("ne", a, b)? != Ordering::Equal),
        Function::Lt => made(order("lt", a, b)?.is_lt()),
        Function::Le => made(order("le", a, b)?.is_le()),
        Function::Gt => made(order("gt", a, b)?.is_gt()),
        Function::Ge => made(order("ge", a, b)?.is_ge()),
        Function::Index => return index(a.clone(), arguments.get(1..).unwrap_or_default()),
        Function::Len => made(match a.as_ref() {
            Value::Text(text) => text.len(),
            Value::List(items) => items.len(),
            Value::Map(entries) => entries.len(),
            Value::Null => 0,
            other => return Err(format!("len: {} has no length", kind(other))),
        } as u64),
        Function::Slice => {
            let (text, from) = (words_of("slice", a)?, arguments.get(1));
            let from = from.map_or(Ok(0), |from| number_of("slice", from))?;
            let to = if arguments.len() > 2 { number_of("slice", c)? } else { text.len() };
            match text.get(from..to) {
                Some(part) => made(part),
                None => return Err(format!("slice: there is no {from} to {to} in {} bytes", text.len())),
            }
        }
        Function::Join => {
            let Value::List(items) = a.as_ref() else {
                return Err(format!("join: a list comes first, not {}", kind(a)));
            };
            made(items.iter().map(shown).collect::<Vec<_>>().join(words_of("join", b)?))
        }
        Function::Split => {
            let (text, by) = (words_of("split", a)?, words_of("split", b)?);
            let parts: Vec<String> = if by.is_empty() {
                text.chars().map(String::from).take(MOST + 1).collect()
            } else {
                text.split(by).map(str::to_owned).take(MOST + 1).collect()
            };
            if parts.len() > MOST {
                return Err(format!("split: more than {MOST} parts"));
            }
            made(parts)
        }
        Function::Json => made(a.compact()),
        Function::Lower => made(words_of("lower", a)?.to_lowercase()),
        Function::Upper => made(words_of("upper", a)?.to_uppercase()),
        Function::Title => {
            let mut begins = true;
            let raise = |c: char| {
                let first = std::mem::replace(&mut begins, !in_name(c));
                if first { c.to_uppercase().next().unwrap_or(c) } else { c }
            };
            made(words_of("title", a)?.chars().map(raise).collect::<String>())
        }
        Function::Truncate => {
            let length = number_of("truncate", b)?;
            made(words_of("truncate", a)?.chars().take(length).collect::<String>())
        }
        Function::Pad => {
            let text = words_of("pad", a)?;
            let (before, after) = (number_of("pad", b)?, number_of("pad", c)?);
            if before.max(after) > WIDEST {
                return Err(format!("pad: {WIDEST} at most"));
            }
            made(if text.is_empty() { String::new() } else { format!("{:before$}{text}{:after$}", "", "") })
        }
        Function::Print | Function::Println => made(print(arguments, function == Function::Println)),
        Function::Printf => made(printf(words_of("printf", a)?, arguments.get(1..).unwrap_or_default())?),
    })
}

fn words_of<'v>(name: &str, value: &'v Value) -> std::result::Result<&'v str, String> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(format!("{name} takes text, not {}", kind(other))),
    }
}

fn number_of(name: &str, value: &Value) -> std::result::Result<usize, String> {
    number(value)
        .and_then(|number| usize::try_from(number).ok())
        .ok_or_else(|| format!("{name} takes a number from 0 on, not {}", kind(value)))
}

fn number(value: &Value) -> Option<i128> {
    match value {
        Value::Int(number) => Some((*number).into()),
        Value::Uint(number) => Some((*number).into()),
        _ => None,
    }
}

/// Equal, or in which way not. Nothing is equal to itself alone, and can be compared with all.
fn compare(name: &str, a: &Value, b: &Value) -> std::result::Result<Ordering, String> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Ok(a.cmp(b)),
        (Value::Null, Value::Null) => Ok(Ordering::Equal),
        (Value::Null, _) => Ok(Ordering::Less),
        (_, Value::Null) => Ok(Ordering::Greater),
        _ => order(name, a, b),
    }
}

fn order(name: &str, a: &Value, b: &Value) -> std::result::Result<Ordering, String> {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => Ok(a.cmp(b)),
        _ => number(a)
            .zip(number(b))
            .map(|(a, b)| a.cmp(&b))
            .ok_or_else(|| format!("{name} cannot compare {} with {}", kind(a), kind(b))),
    }
}

fn index<'a>(mut value: Seen<'a>, keys: &[Seen<'a>]) -> Made<'a> {
    for key in keys {
        value = match (value, key.as_ref()) {
            (Cow::Borrowed(map @ Value::Map(entries)), Value::Text(key)) => {
                map.get(key).map_or_else(|| absent(entries), Cow::Borrowed)
            }
            (Cow::Owned(Value::Map(mut entries)), Value::Text(key)) => {
                match entries.iter().position(|(name, _)| name == key) {
                    Some(n) => Cow::Owned(entries.swap_remove(n).1),
                    None => absent(&entries),
                }
            }
            (Cow::Borrowed(Value::List(items)), key) => {
                let n = number_of("index: a list", key)?;
                items.get(n).map(Cow::Borrowed).ok_or_else(|| beyond(n, items.len()))?
            }
            (Cow::Owned(Value::List(mut items)), key) => {
                let (n, length) = (number_of("index: a list", key)?, items.len());
                if n >= length {
                    return Err(beyond(n, length));
                }
                Cow::Owned(items.swap_remove(n))
            }
            (value, Value::Null) if *value == Value::Null => return Err("index of nothing (null)".to_owned()),
            (value, key) => return Err(format!("index finds nothing in {} by {}", kind(&value), kind(key))),
        };
    }
    Ok(value)
}

/// What a map of texts has for a key that is not there is an empty text, as in Go; others have nothing.
fn absent<'a>(entries: &[(String, Value)]) -> Seen<'a> {
    if entries.iter().all(|(_, value)| matches!(value, Value::Text(_))) { made("") } else { Cow::Owned(Value::Null) }
}

fn beyond(n: usize, length: usize) -> String {
    format!("index: there is no {n} in a list of {length} (they count from 0)")
}

/// Go's Sprint puts a blank only between two values that are no text, and Sprintln always.
fn print(values: &[Seen], line: bool) -> String {
    let mut text = String::new();
    let mut was_text = true;
    for (n, value) in values.iter().enumerate() {
        let is_text = matches!(value.as_ref(), Value::Text(_));
        if n > 0 && (line || !(was_text || is_text)) {
            text.push(' ');
        }
        show(&mut text, value);
        was_text = is_text;
    }
    text.push_str(if line { "\n" } else { "" });
    text
}

/// A number out of decimal digits, 0 without any; one that is too wide anyway stays small.
fn digits(rest: &mut Peekable<Chars>) -> usize {
    let mut number = 0;
    while let Some(digit) = rest.peek().and_then(|c| c.to_digit(10)) {
        rest.next();
        number = (number * 10 + digit as usize).min(WIDEST + 1);
    }
    number
}

/// %s %v %d %q %t %%, with `-`, a width and (for text) a precision.
fn printf(format: &str, values: &[Seen]) -> std::result::Result<String, String> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let left = rest.next_if_eq(&'-').is_some();
        let zeros = !left && rest.next_if_eq(&'0').is_some();
        let width = digits(&mut rest);
        let precision = rest.next_if_eq(&'.').map(|_| digits(&mut rest));
        if width > WIDEST || precision.is_some_and(|precision| precision > WIDEST) {
            return Err(format!("printf: {WIDEST} characters at most"));
        }
        let verb = rest.next();
        if verb == Some('%') {
            out.push('%');
            continue;
        }
        let mut next = || values.next().ok_or_else(|| "printf: fewer values than % in its format".to_owned());
        let text = match verb {
            Some('s' | 'v') => shown(next()?),
            Some('q') => {
                let value = next()?;
                match value.as_ref() {
                    Value::List(_) | Value::Map(_) => value.compact(),
                    other => Value::Text(shown(other)).compact(),
                }
            }
            Some('d') => match next()?.as_ref() {
                number @ (Value::Int(_) | Value::Uint(_)) => number.compact(),
                other => return Err(format!("printf: %d takes a number, not {}", kind(other))),
            },
            Some('t') => match next()?.as_ref() {
                yes @ Value::Bool(_) => yes.compact(),
                other => return Err(format!("printf: %t takes true or false, not {}", kind(other))),
            },
            _ => return Err("printf knows %s %v %d %q %t and %%".to_owned()),
        };
        let text: String = match precision {
            Some(precision) => text.chars().take(precision).collect(),
            None => text,
        };
        let _ = match (left, zeros && verb == Some('d')) {
            (true, _) => write!(out, "{text:<width$}"),
            (_, true) => write!(out, "{text:0>width$}"),
            _ => write!(out, "{text:>width$}"),
        };
    }
    if values.next().is_some() {
        return Err("printf: more values than % in its format".to_owned());
    }
    Ok(out)
}
pub(super) fn sorted(entries: &[(String, Value)]) -> Vec<(&String, &Value)> {
    let mut sorted: Vec<_> = entries.iter().map(|(key, value)| (key, value)).collect();
    sorted.sort_by_key(|(key, _)| *key);
    sorted
}

/// What `if` takes for true.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Int(number) => *number != 0,
        Value::Uint(number) => *number != 0,
        Value::Text(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Map(entries) => !entries.is_empty(),
    }
}

/// What a value is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing (null)",
        Value::Bool(_) => "true or false",
        Value::Int(_) | Value::Uint(_) => "a number",
        Value::Text(_) => "text",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
    }
}

/// As Go prints it.
pub(super) fn show(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("<no value>"),
        Value::Text(words) => text.push_str(words),
        Value::Bool(_) | Value::Int(_) | Value::Uint(_) => text.push_str(&value.compact()),
        Value::List(items) => {
            text.push('[');
            for (n, item) in items.iter().enumerate() {
                text.push_str(if n > 0 { " " } else { "" });
                show(text, item);
            }
            text.push(']');
        }
        Value::Map(entries) => {
            text.push_str("map[");
            for (n, (key, value)) in sorted(entries).into_iter().enumerate() {
                text.push_str(if n > 0 { " " } else { "" });
                text.push_str(key);
                text.push(':');
                show(text, value);
            }
            text.push(']');
        }
    }
}

fn shown(value: &Value) -> String {
    let mut text = String::new();
    show(&mut text, value);
    text
}
