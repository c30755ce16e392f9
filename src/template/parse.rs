//! From text to nodes.
//!
//! One pass over the characters, without a list of tokens in between: blanks matter here (`.A.B` is one term, `.A .B` are
//! two; `-}}` is the end of an action only after a blank), and errors need the column.

use rootfs::json::Value;

use super::functions::{self, Function};
use super::{Base, Call, DEEPEST, Node, Pipe, Range, Term, wrong};
use crate::error::{Error, Result};
use crate::words;

/// The nodes of a whole template.
pub(super) fn parse(text: &str) -> Result<Vec<Node>> {
    let mut parser = Parser { text: text.chars().collect(), at: 0, trim: false, depth: 0, variables: Vec::new() };
    match parser.block()? {
        (nodes, Stop::Eof) => Ok(nodes),
        (_, Stop::End(column)) => Err(wrong(column, "{{end}} of nothing")),
        (_, Stop::Else(column)) => Err(wrong(column, "{{else}} of nothing")),
    }
}

/// Words of Go's templates that begin an action. Those that ctr does not know are here to be refused by name.
const KEYWORDS: [&str; 10] =
    ["if", "with", "range", "else", "end", "define", "template", "block", "break", "continue"];

/// Go's idea of a letter or digit in a name.
pub(super) fn in_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn begins_name(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

/// What ended a row of nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    Eof,
    /// `{{end}}`, at that column; read to its braces.
    End(usize),
    /// `{{else`, at that column; what follows in the braces is not read yet.
    Else(usize),
}

struct Parser {
    text: Vec<char>,
    at: usize,
    /// The last action ended with `-}}`.
    trim: bool,
    depth: usize,
    /// Variables in scope, the innermost last.
    variables: Vec<String>,
}

impl Parser {
    fn column(&self) -> usize {
        self.at + 1
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn after(&self, n: usize) -> Option<char> {
        self.text.get(self.at + n).copied()
    }

    fn sees(&self, word: &str) -> bool {
        self.text.get(self.at..).is_some_and(|rest| {
            let mut rest = rest.iter();
            word.chars().all(|c| rest.next() == Some(&c))
        })
    }

    fn eat(&mut self, word: &str) -> bool {
        let there = self.sees(word);
        if there {
            self.at += word.chars().count();
        }
        there
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// At the end of an action, blanks skipped.
    fn closes(&self) -> bool {
        self.sees("}}") || self.closes_and_trims()
    }

    fn closes_and_trims(&self) -> bool {
        let blank_before = self.at.checked_sub(1).and_then(|n| self.text.get(n)).is_some_and(|c| c.is_whitespace());
        blank_before && self.sees("-}}")
    }

    fn close(&mut self) -> Result<()> {
        self.blanks();
        self.trim = self.closes_and_trims();
        if self.eat("-}}") || self.eat("}}") {
            return Ok(());
        }
        Err(self.unexpected("}} should be here"))
    }

    fn unexpected(&self, wanted: &str) -> Error {
        match self.peek() {
            None => wrong(self.column(), "it ends within braces: }} is missing"),
            Some(c) => wrong(self.column(), format_args!("{c:?} cannot stand here, {wanted}")),
        }
    }

    fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(wrong(self.column(), format_args!("more than {DEEPEST} levels deep")));
        }
        Ok(())
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| in_name(*c)) {
            name.push(c);
            self.at += 1;
        }
        name
    }

    /// `$name`, or `$` alone: where the rendering began.
    fn variable(&mut self) -> String {
        let mut name = String::from("$");
        self.at += 1;
        name.push_str(&self.name());
        name
    }

    /// Text, up to the next action.
    fn plain(&mut self, nodes: &mut Vec<Node>) {
        let start = self.at;
        while self.at < self.text.len() && !self.sees("{{") {
            self.at += 1;
        }
        let trims_before = self.sees("{{-") && self.after(3).is_some_and(char::is_whitespace);
        let raw: String = self.text.get(start..self.at).unwrap_or_default().iter().collect();
        let text = raw.replace("\\t", "\t").replace("\\n", "\n");
        let mut text = text.as_str();
        if self.trim {
            text = text.trim_start();
        }
        if trims_before {
            text = text.trim_end();
        }
        if !text.is_empty() {
            nodes.push(Node::Text(text.to_owned()));
        }
        self.trim = false;
    }

    /// Text and actions, until one ends them.
    fn block(&mut self) -> Result<(Vec<Node>, Stop)> {
        let mut nodes = Vec::new();
        loop {
            self.plain(&mut nodes);
            if self.peek().is_none() {
                return Ok((nodes, Stop::Eof));
            }
            let column = self.column();
            self.at += 2;
            if self.peek() == Some('-') && self.after(1).is_some_and(char::is_whitespace) {
                self.at += 1;
            }
            self.blanks();
            if self.eat("/*") {
                while !self.sees("*/") {
                    self.at += 1;
                    if self.peek().is_none() {
                        return Err(wrong(column, "this comment does not end: */ is missing"));
                    }
                }
                self.at += 2;
                self.close()?;
                continue;
            }
            match self.keyword() {
                None => {
                    let pipe = self.pipe()?;
                    self.close()?;
                    nodes.push(Node::Print(pipe));
                }
                Some("if") => nodes.push(self.conditional(column, "if", Node::If)?),
                Some("with") => nodes.push(self.conditional(column, "with", Node::With)?),
                Some("range") => nodes.push(self.range(column)?),
                Some("end") => {
                    self.close()?;
                    return Ok((nodes, Stop::End(column)));
                }
                Some("else") => return Ok((nodes, Stop::Else(column))),
                Some(other) => return Err(wrong(column, format_args!("ctr's templates have no {other}"))),
            }
        }
    }

    fn keyword(&mut self) -> Option<&'static str> {
        let start = self.at;
        let name = self.name();
        let found = KEYWORDS.into_iter().find(|keyword| *keyword == name);
        if found.is_none() {
            self.at = start;
        }
        found
    }

    fn conditional(
        &mut self,
        column: usize,
        what: &str,
        make: impl FnOnce(Pipe, Vec<Node>, Vec<Node>) -> Node,
    ) -> Result<Node> {
        let outer = self.variables.len();
        let pipe = self.pipe()?;
        let (then, otherwise) = self.branches(column, what)?;
        self.variables.truncate(outer);
        Ok(make(pipe, then, otherwise))
    }

    fn range(&mut self, column: usize) -> Result<Node> {
        let outer = self.variables.len();
        self.blanks();
        let start = self.at;
        let mut variables = Vec::new();
        if self.peek() == Some('$') {
            variables.push(self.variable());
            self.blanks();
            if self.eat(",") {
                self.blanks();
                if self.peek() != Some('$') {
                    return Err(self.unexpected("a second variable such as $v should be here"));
                }
                variables.push(self.variable());
                self.blanks();
            }
            if !self.eat(":=") {
                if variables.len() > 1 {
                    return Err(self.unexpected(":= should be here"));
                }
                // A variable to range over.
                variables.clear();
                self.at = start;
            }
        }
        let over = self.pipe()?;
        self.variables.extend(variables.iter().cloned());
        let (body, otherwise) = self.branches(column, "range")?;
        self.variables.truncate(outer);
        Ok(Node::Range(Range { column, variables, over, body, otherwise }))
    }

    /// What stands between the braces of an `if` and its `{{end}}`.
    fn branches(&mut self, opened: usize, what: &str) -> Result<(Vec<Node>, Vec<Node>)> {
        self.deeper()?;
        self.close()?;
        let outer = self.variables.len();
        let (then, stop) = self.block()?;
        self.variables.truncate(outer);
        let unclosed = || wrong(opened, format_args!("{{{{{what}}}}} without an {{{{end}}}}"));
        let otherwise = match stop {
            Stop::Eof => return Err(unclosed()),
            Stop::End(_) => Vec::new(),
            Stop::Else(column) => {
                self.blanks();
                match self.keyword() {
                    // Both end with the same {{end}}.
                    Some("if") => vec![self.conditional(column, "else if", Node::If)?],
                    Some("with") => vec![self.conditional(column, "else with", Node::With)?],
                    Some(_) => return Err(wrong(column, "after else only if or with can follow")),
                    None => {
                        self.close()?;
                        match self.block()? {
                            (_, Stop::Eof) => return Err(unclosed()),
                            (_, Stop::Else(column)) => return Err(wrong(column, "a second {{else}}")),
                            (nodes, Stop::End(_)) => nodes,
                        }
                    }
                }
            }
        };
        self.variables.truncate(outer);
        self.depth -= 1;
        Ok((then, otherwise))
    }

    fn pipe(&mut self) -> Result<Pipe> {
        self.blanks();
        let start = self.at;
        let mut keep = None;
        if self.peek() == Some('$') {
            let name = self.variable();
            self.blanks();
            if self.eat(":=") {
                keep = Some((name, true));
            } else if self.eat("=") {
                self.declared(start + 1, &name)?;
                keep = Some((name, false));
            } else {
                self.at = start;
            }
        }
        let mut calls = vec![self.call(0)?];
        while self.eat("|") {
            calls.push(self.call(1)?);
        }
        if let Some((name, true)) = &keep {
            self.variables.push(name.clone());
        }
        Ok(Pipe { keep, calls })
    }

    /// `piped` arguments come from the call before.
    fn call(&mut self, piped: usize) -> Result<Call> {
        self.blanks();
        if self.closes() || matches!(self.peek(), Some('|' | ')')) {
            return Err(wrong(self.column(), "something is missing here: a field such as .Name, or a function"));
        }
        let first = self.term()?;
        let mut arguments = Vec::new();
        loop {
            self.blanks();
            if self.closes() || matches!(self.peek(), None | Some('|' | ')')) {
                break;
            }
            arguments.push(self.term()?);
        }
        let given = arguments.len() + piped;
        match &first.base {
            Base::Function(function) => {
                functions::check_count(*function, given).map_err(|what| wrong(first.column, what))?;
            }
            _ if piped > 0 => return Err(wrong(first.column, "a function should follow |")),
            // Perhaps a method.
            Base::Dot | Base::Variable(_) if !first.fields.is_empty() => {}
            _ if given > 0 => return Err(wrong(first.column, "this is no function, and cannot take arguments")),
            _ => {}
        }
        Ok(Call { first, arguments })
    }

    fn term(&mut self) -> Result<Term> {
        let column = self.column();
        let base = match self.peek() {
            Some('.') => {
                if !self.after(1).is_some_and(begins_name) {
                    self.at += 1;
                }
                Base::Dot
            }
            Some('$') => {
                let name = self.variable();
                self.declared(column, &name)?;
                Base::Variable(name)
            }
            Some('"') => Base::Constant(Value::Text(self.quoted()?)),
            Some('`') => Base::Constant(Value::Text(self.raw()?)),
            Some('(') => {
                self.deeper()?;
                self.at += 1;
                let pipe = self.pipe()?;
                if !self.eat(")") {
                    return Err(self.unexpected(") should be here"));
                }
                self.depth -= 1;
                Base::Group(pipe)
            }
            Some(c) if c.is_ascii_digit() => self.number()?,
            Some('-' | '+') if self.after(1).is_some_and(|c| c.is_ascii_digit()) => self.number()?,
            Some(c) if begins_name(c) => match self.name().as_str() {
                "true" => Base::Constant(Value::Bool(true)),
                "false" => Base::Constant(Value::Bool(false)),
                "nil" => Base::Constant(Value::Null),
                name => Base::Function(function(column, name)?),
            },
            _ => return Err(self.unexpected("a field such as .Name or a function should be here")),
        };
        let mut fields = Vec::new();
        // `. .A` are two terms: a lone dot has no fields.
        let may_have = match base {
            Base::Dot => self.at + 1 == column,
            Base::Variable(_) | Base::Group(_) => true,
            Base::Constant(_) | Base::Function(_) => false,
        };
        while may_have && self.peek() == Some('.') && self.after(1).is_some_and(begins_name) {
            self.at += 1;
            fields.push(self.name());
        }
        let ends = self.sees("}}") || self.peek().is_none_or(|c| c.is_whitespace() || c == '|' || c == ')');
        if !ends {
            let advice = match self.peek() {
                Some('-') if !fields.is_empty() => "names with it are found by index: {{index .Labels \"a-b\"}}",
                Some(':' | '=' | ',') => "only $variables are given values, at the beginning",
                _ => "a blank, | or }} should be here",
            };
            return Err(self.unexpected(advice));
        }
        Ok(Term { column, base, fields })
    }

    fn declared(&self, column: usize, name: &str) -> Result<()> {
        if name == "$" || self.variables.iter().any(|known| known == name) {
            return Ok(());
        }
        let near = words::nearest(name, self.variables.iter().map(String::as_str));
        let advice = near.map_or(String::new(), |near| format!(", did you mean {near}?"));
        Err(wrong(column, format_args!("unknown variable {name}{advice}")))
    }

    fn number(&mut self) -> Result<Base> {
        let (column, start) = (self.column(), self.at);
        self.at += 1;
        while self.peek().is_some_and(|c| in_name(c) || c == '.') {
            self.at += 1;
        }
        let text: String = self.text.get(start..self.at).unwrap_or_default().iter().collect();
        let number = text.parse::<i64>().map_err(|_| wrong(column, format_args!("{text} is no whole number")))?;
        Ok(Base::Constant(Value::Int(number)))
    }

    fn raw(&mut self) -> Result<String> {
        let column = self.column();
        let mut text = String::new();
        loop {
            self.at += 1;
            match self.peek() {
                Some('`') => break,
                Some(c) => text.push(c),
                None => return Err(wrong(column, "this string does not end: ` is missing")),
            }
        }
        self.at += 1;
        Ok(text)
    }

    fn quoted(&mut self) -> Result<String> {
        let column = self.column();
        let mut text = String::new();
        loop {
            self.at += 1;
            let c = match self.peek() {
                Some('"') => break,
                Some('\\') => self.escape()?,
                Some(c) => c,
                None => return Err(wrong(column, "this string does not end: \" is missing")),
            };
            text.push(c);
        }
        self.at += 1;
        Ok(text)
    }

    /// A backslash and what belongs to it; the last character of that is left to be skipped.
    fn escape(&mut self) -> Result<char> {
        let column = self.column();
        self.at += 1;
        let digits = match self.peek() {
            Some('n') => return Ok('\n'),
            Some('t') => return Ok('\t'),
            Some('r') => return Ok('\r'),
            Some(c @ ('"' | '\\')) => return Ok(c),
            Some('x') => 2,
            Some('u') => 4,
            _ => return Err(wrong(column, "a string may have \\n \\t \\r \\\" \\\\ \\xHH and \\uHHHH")),
        };
        let text: String = self.text.iter().skip(self.at + 1).take(digits).collect();
        let code = Some(&text).filter(|text| text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit()));
        let c = code.and_then(|text| u32::from_str_radix(text, 16).ok()).and_then(char::from_u32);
        self.at += digits;
        c.ok_or_else(|| wrong(column, "this is no character: \\xHH or \\uHHHH"))
    }
}

fn function(column: usize, name: &str) -> Result<Function> {
    if let Some(function) = functions::named(name) {
        return Ok(function);
    }
    // Who leaves the dot out means a field.
    let advice = if name.chars().next().is_some_and(char::is_uppercase) {
        Some(format!(".{name}"))
    } else {
        words::nearest(name, functions::names().chain(KEYWORDS)).map(str::to_owned)
    };
    let advice = advice.map_or(String::new(), |advice| format!(", did you mean {advice}?"));
    Err(wrong(column, format_args!("unknown function {name}{advice}")))
}
