//! From nodes and a value to text.

use std::borrow::Cow;
use std::fmt::Write;

use rootfs::json::Value;

use super::functions::{apply, kind, show, sorted, truth};
use super::{Base, Call, Function, LARGEST, Node, Pipe, Range, Term, WORK, wrong};
use crate::error::{Error, Result};
use crate::words;

/// A value: part of what is rendered or of the template, or made here.
pub(super) type Seen<'a> = Cow<'a, Value>;

/// One rendering.
pub(super) struct Render<'a> {
    out: String,
    /// Name and value, the innermost last. The first is `$`.
    variables: Vec<(&'a str, Seen<'a>)>,
    methods: &'a Value,
    header: bool,
    /// Work that may still be done.
    left: usize,
}

pub(super) fn made<'a>(value: impl Into<Value>) -> Seen<'a> {
    Cow::Owned(value.into())
}

impl<'a> Render<'a> {
    pub fn new(value: &'a Value, methods: &'a Value, header: bool) -> Render<'a> {
        Render { out: String::new(), variables: vec![("$", Cow::Borrowed(value))], methods, header, left: WORK }
    }

    pub fn all(mut self, nodes: &'a [Node]) -> Result<String> {
        let dot = self.variables.first().map_or(Cow::Owned(Value::Null), |(_, value)| value.clone());
        self.nodes(nodes, &dot)?;
        Ok(self.out)
    }

    fn spend(&mut self, work: usize) -> Result<()> {
        match self.left.checked_sub(work) {
            Some(left) if self.out.len() <= LARGEST => {
                self.left = left;
                Ok(())
            }
            _ => Err(Error::usage("bad --format: it makes too much of this")),
        }
    }

    fn nodes(&mut self, nodes: &'a [Node], dot: &Seen<'a>) -> Result<()> {
        let outer = self.variables.len();
        for node in nodes {
            match node {
                Node::Text(text) => {
                    self.spend(1 + text.len() / 32)?;
                    self.out.push_str(text);
                }
                Node::Print(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    if pipe.keep.is_none() {
                        let start = self.out.len();
                        show(&mut self.out, &value);
                        self.spend((self.out.len() - start) / 32)?;
                    }
                }
                Node::If(pipe, then, otherwise) => {
                    let inner = self.variables.len();
                    let value = self.pipe(pipe, dot)?;
                    self.nodes(if self.header || truth(&value) { then } else { otherwise }, dot)?;
                    self.variables.truncate(inner);
                }
                Node::With(pipe, then, otherwise) => {
                    let inner = self.variables.len();
                    let value = self.pipe(pipe, dot)?;
                    if self.header || truth(&value) {
                        self.nodes(then, &value)?;
                    } else {
                        self.nodes(otherwise, dot)?;
                    }
                    self.variables.truncate(inner);
                }
                Node::Range(range) => self.range(range, dot)?,
            }
        }
        self.variables.truncate(outer);
        Ok(())
    }

    fn range(&mut self, range: &'a Range, dot: &Seen<'a>) -> Result<()> {
        let outer = self.variables.len();
        let over = self.pipe(&range.over, dot)?;
        let mut any = false;
        for (key, element) in elements(over, self.header).map_err(|what| wrong(range.column, what))? {
            any = true;
            self.spend(1)?;
            let inner = self.variables.len();
            match range.variables.as_slice() {
                [k, v] => self.variables.extend([(k.as_str(), key), (v.as_str(), element.clone())]),
                [v] => self.variables.push((v, element.clone())),
                _ => {}
            }
            self.nodes(&range.body, &element)?;
            self.variables.truncate(inner);
        }
        if !any {
            self.nodes(&range.otherwise, dot)?;
        }
        self.variables.truncate(outer);
        Ok(())
    }

    fn pipe(&mut self, pipe: &'a Pipe, dot: &Seen<'a>) -> Result<Seen<'a>> {
        let mut value = None;
        for call in &pipe.calls {
            value = Some(self.call(call, dot, value)?);
        }
        let value = value.unwrap_or(Cow::Owned(Value::Null));
        match &pipe.keep {
            None => {}
            Some((name, true)) => self.variables.push((name, value.clone())),
            Some((name, false)) => {
                if let Some((_, slot)) = self.variables.iter_mut().rfind(|(known, _)| known == name) {
                    slot.clone_from(&value);
                }
            }
        }
        Ok(value)
    }

    fn call(&mut self, call: &'a Call, dot: &Seen<'a>, piped: Option<Seen<'a>>) -> Result<Seen<'a>> {
        self.spend(1)?;
        let column = call.first.column;
        let Base::Function(function) = call.first.base else {
            if call.arguments.is_empty() {
                return self.term(&call.first, dot);
            }
            return self.method(call, dot);
        };
        let mut arguments = Vec::with_capacity(call.arguments.len() + 1);
        for term in &call.arguments {
            let value = self.term(term, dot)?;
            // These look no further than they must.
            let decides = match function {
                Function::And => !truth(&value),
                Function::Or => truth(&value),
                _ => false,
            };
            if decides {
                return Ok(value);
            }
            arguments.push(value);
        }
        arguments.extend(piped);
        if self.header && !matches!(function, Function::Print | Function::Printf | Function::Println | Function::Pad)
        {
            return Ok(arguments.into_iter().next().unwrap_or(Cow::Owned(Value::Null)));
        }
        match apply(function, &arguments) {
            Ok(value) => {
                self.spend(cost(&value))?;
                Ok(value)
            }
            Err(_) if self.header => Ok(arguments.into_iter().next().unwrap_or(Cow::Owned(Value::Null))),
            Err(what) => Err(wrong(column, what)),
        }
    }

    /// `.Label "x"`.
    fn method(&mut self, call: &'a Call, dot: &Seen<'a>) -> Result<Seen<'a>> {
        let mut arguments = Vec::with_capacity(call.arguments.len());
        for term in &call.arguments {
            arguments.push(self.term(term, dot)?);
        }
        let term = &call.first;
        let key = match arguments.first().map(AsRef::as_ref) {
            Some(Value::Text(key)) if arguments.len() == 1 => key,
            _ => return Err(wrong(term.column, "a field takes no arguments, and a method one string")),
        };
        if self.header {
            // As docker has it: com.example.some-thing is headed "some thing".
            let last = key.rsplit('.').next().unwrap_or_default();
            return Ok(made(last.replace(['-', '_'], " ")));
        }
        let name = term.fields.last().map_or("", String::as_str);
        let map = if term.fields.len() == 1 { self.methods.get(name) } else { None };
        let found = match map {
            Some(map) => map.get(key),
            None => match self.term(term, dot)? {
                Cow::Borrowed(map @ Value::Map(_)) => map.get(key),
                _ => return Err(wrong(term.column, format_args!(".{name} takes no arguments"))),
            },
        };
        Ok(found.map_or_else(|| made(""), Cow::Borrowed))
    }

    fn term(&mut self, term: &'a Term, dot: &Seen<'a>) -> Result<Seen<'a>> {
        let mut value = match &term.base {
            Base::Dot => dot.clone(),
            Base::Variable(name) => {
                let known = self.variables.iter().rfind(|(known, _)| known == name);
                known.map_or(Cow::Owned(Value::Null), |(_, value)| value.clone())
            }
            Base::Constant(value) => Cow::Borrowed(value),
            Base::Group(pipe) => self.pipe(pipe, dot)?,
            // One without arguments: print and println.
            Base::Function(function) => apply(*function, &[])
                .map_err(|what| wrong(term.column, format_args!("{what} (put it in parentheses)")))?,
        };
        self.spend(cost(&value))?;
        for name in &term.fields {
            value = field(value, name, self.header).map_err(|what| wrong(term.column, what))?;
        }
        Ok(value)
    }
}

/// The work of making this, or of copying it. What was not made here is not copied.
fn cost(value: &Seen) -> usize {
    match value {
        Cow::Owned(Value::Text(text)) => text.len() / 32,
        Cow::Owned(Value::List(items)) => items.len(),
        Cow::Owned(Value::Map(entries)) => entries.len(),
        _ => 0,
    }
}

/// The entry of that name.
fn field<'a>(value: Seen<'a>, name: &str, header: bool) -> std::result::Result<Seen<'a>, String> {
    let entries = match value.as_ref() {
        Value::Map(entries) => entries,
        // Part of a column.
        Value::Text(_) if header => return Ok(made(name.to_uppercase())),
        other => return Err(format!("{} has no field .{name}", kind(other))),
    };
    let mut like = entries.iter().enumerate().filter(|(_, (key, _))| key.eq_ignore_ascii_case(name));
    let position = match (entries.iter().position(|(key, _)| key == name), like.next(), like.next()) {
        (Some(exact), ..) => Some(exact),
        (None, Some((only, _)), None) => Some(only),
        _ => None,
    };
    // Our own maps have names that begin with a capital letter, all of them. Others, labels say, have the keys that they have,
    // and one that is missing is empty, as Docker has it.
    let free = entries.iter().any(|(key, _)| !key.starts_with(|c: char| c.is_ascii_uppercase()));
    if position.is_none() && (free || entries.is_empty()) {
        return Ok(Cow::Owned(Value::Null));
    }
    let Some(position) = position else {
        let keys = || entries.iter().map(|(key, _)| key.as_str());
        let mut what = format!("unknown field .{name}");
        if let Some(near) = words::nearest(name, keys()) {
            let _ = write!(what, ", did you mean .{near}?");
        } else if !entries.is_empty() {
            let some: Vec<_> = keys().take(24).collect();
            let more = if entries.len() > some.len() { " …" } else { "" };
            let _ = write!(what, " (known: {}{more})", some.join(" "));
        }
        return Err(what);
    };
    let found = match value {
        Cow::Borrowed(Value::Map(entries)) => entries.get(position).map(|(_, value)| Cow::Borrowed(value)),
        Cow::Owned(Value::Map(mut entries)) => Some(Cow::Owned(entries.swap_remove(position).1)),
        _ => None,
    };
    Ok(found.unwrap_or(Cow::Owned(Value::Null)))
}

/// What a range goes over: keys and values. Maps in the order of their keys, as Go has it.
fn elements(over: Seen<'_>, header: bool) -> std::result::Result<Vec<(Seen<'_>, Seen<'_>)>, String> {
    fn number<'a>(n: usize) -> Seen<'a> {
        made(n as u64)
    }
    Ok(match over {
        Cow::Borrowed(Value::List(items)) => {
            items.iter().enumerate().map(|(n, item)| (number(n), Cow::Borrowed(item))).collect()
        }
        Cow::Owned(Value::List(items)) => {
            items.into_iter().enumerate().map(|(n, item)| (number(n), Cow::Owned(item))).collect()
        }
        Cow::Borrowed(Value::Map(entries)) => {
            sorted(entries).into_iter().map(|(key, value)| (made(key.as_str()), Cow::Borrowed(value))).collect()
        }
        Cow::Owned(Value::Map(mut entries)) => {
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries.into_iter().map(|(key, value)| (made(key), Cow::Owned(value))).collect()
        }
        one if header => vec![(one.clone(), one)],
        over if *over == Value::Null => Vec::new(),
        other => return Err(format!("range goes over lists and maps, not over {}", kind(&other))),
    })
}
