//! A profile from a JSON file, compiled: the format of Docker (moby/profiles) and of the OCI runtime specification, which it extends.
//!
//! It means what it means to Docker and runc, whose library (libseccomp) has rules that are written nowhere in the profile:
//! - a rule whose action is the default one says nothing and is left out;
//! - of rules for the same call, one without conditions beats those with conditions, and the first one beats later ones;
//! - conditions of one rule hold together, but if two are about the same argument each is a rule of its own;
//! - names that no call has are left out (they are counted);
//! - calls newer than the newest one that the profile names get ENOSYS, so that programs fall back, unless the default action
//!   lets things through;
//! - i386 has two calls that are many, `socketcall` and `ipc`: a rule for `bind`, say, is a rule for that part of `socketcall`. The
//!   arguments proper are behind a pointer, where no filter can look: a rule with conditions that denies then denies all of that
//!   part, and one that allows does not count there;
//! - of an argument of i386 the lower half is compared with the lower half of the value: the kernel takes no notice of the upper
//!   one, which a 64-bit program that uses `int 0x80` fills as it likes.
//!
//! What contradicts itself, or asks for what ctr does not do, is refused as a whole.

use rootfs::json::{self, Value};

use super::bpf::{
    self, ALLOW, ANY_BIT, AT_LEAST, Code, ENOSYS, EQUAL, ERRNO, GREATER, KILL_PROCESS, KILL_THREAD, LOG, Range,
    TRACE, TRAP, To,
};
use super::table::{self, Call, END};
use super::{Insns, Program};
use crate::caps;
use crate::error::{Doing, Error, Result};

/// How long a profile may be; Docker's own has 17 KB.
pub const LONGEST: usize = 256 << 10;

/// A profile, read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Where it is from, for errors.
    from: String,
    /// `SECCOMP_RET_*` for what no rule is about.
    default: u32,
    /// `SECCOMP_FILTER_FLAG_*`.
    flags: u32,
    /// Whether i386 and x32 are among the architectures; x86_64 always is.
    i386: bool,
    x32: bool,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    names: Vec<String>,
    action: u32,
    conditions: Vec<Condition>,
    includes: When,
    excludes: When,
}

/// Docker's conditions on the machine and the container.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct When {
    caps: u64,
    /// Whether ours is among the architectures, if there are any.
    arch: Option<bool>,
    kernel: Option<(u32, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Condition {
    argument: u32,
    how: How,
    value: u64,
    /// For [`How::Masked`]: what is left of the argument.
    left: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    Masked,
}

/// Parts of `socketcall` and `ipc` (include/uapi/linux/net.h, ipc.h).
const PARTS: [(&str, u32, &str); 32] = [
    ("socketcall", 1, "socket"),
    ("socketcall", 2, "bind"),
    ("socketcall", 3, "connect"),
    ("socketcall", 4, "listen"),
    ("socketcall", 5, "accept"),
    ("socketcall", 6, "getsockname"),
    ("socketcall", 7, "getpeername"),
    ("socketcall", 8, "socketpair"),
    ("socketcall", 9, "send"),
    ("socketcall", 10, "recv"),
    ("socketcall", 11, "sendto"),
    ("socketcall", 12, "recvfrom"),
    ("socketcall", 13, "shutdown"),
    ("socketcall", 14, "setsockopt"),
    ("socketcall", 15, "getsockopt"),
    ("socketcall", 16, "sendmsg"),
    ("socketcall", 17, "recvmsg"),
    ("socketcall", 18, "accept4"),
    ("socketcall", 19, "recvmmsg"),
    ("socketcall", 20, "sendmmsg"),
    ("ipc", 1, "semop"),
    ("ipc", 2, "semget"),
    ("ipc", 3, "semctl"),
    ("ipc", 4, "semtimedop"),
    ("ipc", 11, "msgsnd"),
    ("ipc", 12, "msgrcv"),
    ("ipc", 13, "msgget"),
    ("ipc", 14, "msgctl"),
    ("ipc", 21, "shmat"),
    ("ipc", 22, "shmdt"),
    ("ipc", 23, "shmget"),
    ("ipc", 24, "shmctl"),
];

/// One object of the file.
type Map<'a> = &'a [(String, Value)];
type Said<T> = std::result::Result<T, String>;

/// As Go reads it: capitals or not; and `null` is nothing.
fn field<'a>(map: Map<'a>, name: &str) -> Option<&'a Value> {
    let found = map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    found.filter(|value| **value != Value::Null)
}

fn map<'a>(value: &'a Value, what: &str) -> Said<Map<'a>> {
    if let Value::Map(entries) = value { Ok(entries) } else { Err(format!("{what} is not an object")) }
}

fn text<'a>(value: &'a Value, what: &str) -> Said<&'a str> {
    if let Value::Text(words) = value { Ok(words) } else { Err(format!("{what} is not a string")) }
}

fn list<'a>(from: Map<'a>, name: &str) -> Said<&'a [Value]> {
    match field(from, name) {
        None => Ok(&[]),
        Some(Value::List(all)) => Ok(all),
        Some(_) => Err(format!("{name} is not a list")),
    }
}

fn texts<'a>(from: Map<'a>, name: &str) -> Said<Vec<&'a str>> {
    list(from, name)?.iter().map(|value| text(value, name)).collect()
}

fn number(from: Map, name: &str) -> Said<Option<u64>> {
    match field(from, name) {
        None => Ok(None),
        Some(Value::Uint(value)) => Ok(Some(*value)),
        Some(_) => Err(format!("{name} is not a number from 0 on")),
    }
}

/// An action by its name, with its error number.
fn action(name: &str, errno: Option<u64>) -> Said<u32> {
    let with = |base: u32| match errno.unwrap_or(1) {
        code @ 0..=4095 => Ok(base | code as u32),
        code => Err(format!("the error number {code} is not from 0 to 4095")),
    };
    let found = match name {
        "SCMP_ACT_ERRNO" => return with(ERRNO),
        "SCMP_ACT_TRACE" => return with(TRACE),
        "SCMP_ACT_ALLOW" => ALLOW,
        "SCMP_ACT_LOG" => LOG,
        "SCMP_ACT_TRAP" => TRAP,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => KILL_PROCESS,
        "SCMP_ACT_NOTIFY" => {
            return Err("SCMP_ACT_NOTIFY hands system calls to another program, and ctr has none for that".to_owned());
        }
        other => return Err(format!("{other:?} is not an action, such as SCMP_ACT_ALLOW or SCMP_ACT_ERRNO")),
    };
    if errno.is_some() {
        return Err(format!("{name} has no error number, and one is given"));
    }
    Ok(found)
}

/// The architectures that a profile may name; those of other machines do not matter here.
fn arches(names: &[&str]) -> Said<(bool, bool)> {
    let (mut i386, mut x32) = (false, false);
    for name in names {
        match *name {
            "SCMP_ARCH_X86" => i386 = true,
            "SCMP_ARCH_X32" => x32 = true,
            other if other.starts_with("SCMP_ARCH_") => {}
            other => return Err(format!("{other:?} is not an architecture, such as SCMP_ARCH_X86_64")),
        }
    }
    Ok((i386, x32))
}

/// `5.10`, or `5.10.3-x`: the first two numbers.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.splitn(2, '.');
    let first = parts.next()?.parse().ok()?;
    let rest = parts.next()?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((first, rest.get(..end)?.parse().ok()?))
}

impl When {
    fn read(from: Map, name: &str) -> Said<When> {
        let Some(value) = field(from, name) else { return Ok(When::default()) };
        let from = map(value, name)?;
        let mut when = When::default();
        for name in texts(from, "caps")? {
            let bare = name.strip_prefix("CAP_").unwrap_or(name);
            let found = caps::NAMES.iter().zip(0..).find(|(known, _)| **known == bare);
            let (_, number) = found.ok_or_else(|| format!("{name:?} is not a capability"))?;
            when.caps |= caps::bit(number);
        }
        let names = texts(from, "arches")?;
        when.arch = (!names.is_empty()).then(|| names.contains(&"amd64"));
        if let Some(value) = field(from, "minKernel") {
            let words = text(value, "minKernel")?;
            when.kernel = Some(version(words).ok_or_else(|| format!("minKernel {words:?} is not like 5.10"))?);
        }
        Ok(when)
    }
}

impl Condition {
    fn read(value: &Value) -> Said<Condition> {
        let from = map(value, "an entry of args")?;
        let argument = number(from, "index")?.unwrap_or(0);
        if argument > 5 {
            return Err(format!("index {argument}: a system call has arguments 0 to 5"));
        }
        let op = field(from, "op").ok_or("an entry of args has no op")?;
        let how = match text(op, "op")? {
            "SCMP_CMP_NE" => How::NotEqual,
            "SCMP_CMP_LT" => How::Less,
            "SCMP_CMP_LE" => How::LessOrEqual,
            "SCMP_CMP_EQ" => How::Equal,
            "SCMP_CMP_GE" => How::GreaterOrEqual,
            "SCMP_CMP_GT" => How::Greater,
            "SCMP_CMP_MASKED_EQ" => How::Masked,
            other => return Err(format!("{other:?} is not an operator, such as SCMP_CMP_EQ")),
        };
        let (value, left) = (number(from, "value")?.unwrap_or(0), number(from, "valueTwo")?.unwrap_or(0));
        if how == How::Masked && left & !value != 0 {
            return Err(format!("no argument masked with {value:#x} can be {left:#x} (SCMP_CMP_MASKED_EQ)"));
        }
        Ok(Condition { argument: argument as u32, how, value, left })
    }

    /// Code that goes on at `yes` if it holds, else at `no`. The kernel's words have 32 bits, an argument has 64, of which
    /// a `narrow` one counts only the lower.
    fn write(&self, code: &mut Code, narrow: bool, yes: To, no: To) -> To {
        let (low, high) = (bpf::argument(self.argument), bpf::argument(self.argument) + 4);
        let halves = |value: u64| ((value >> 32) as u32, value as u32);
        let (above, below) = halves(self.value);
        let equal = |code: &mut Code, yes, no| {
            let to = code.jump(EQUAL, below, yes, no);
            let to = code.load(low, to);
            if narrow {
                return to;
            }
            let to = code.jump(EQUAL, above, to, no);
            code.load(high, to)
        };
        // The upper halves decide, unless they are equal.
        let order = |code: &mut Code, how, yes, no| {
            let to = code.jump(how, below, yes, no);
            let to = code.load(low, to);
            if narrow {
                return to;
            }
            let to = code.jump(EQUAL, above, to, no);
            let to = code.jump(GREATER, above, yes, to);
            code.load(high, to)
        };
        match self.how {
            How::Equal => equal(code, yes, no),
            How::NotEqual => equal(code, no, yes),
            How::Greater => order(code, GREATER, yes, no),
            How::LessOrEqual => order(code, GREATER, no, yes),
            How::GreaterOrEqual => order(code, AT_LEAST, yes, no),
            How::Less => order(code, AT_LEAST, no, yes),
            How::Masked => {
                let (left_above, left_below) = halves(self.left);
                let half = |code: &mut Code, bits, left, offset, yes| {
                    let to = match (bits, left) {
                        (0, _) => return yes,
                        (_, 0) => code.jump(ANY_BIT, bits, no, yes),
                        _ => {
                            let to = code.jump(EQUAL, left, yes, no);
                            code.mask(bits, to)
                        }
                    };
                    code.load(offset, to)
                };
                let to = half(code, below, left_below, low, yes);
                if narrow { to } else { half(code, above, left_above, high, to) }
            }
        }
    }
}

impl Rule {
    fn read(value: &Value) -> Said<Rule> {
        let from = map(value, "an entry of syscalls")?;
        let names = match (field(from, "name"), field(from, "names")) {
            (Some(_), Some(_)) => return Err("an entry of syscalls has both name and names".to_owned()),
            (Some(name), None) => vec![text(name, "name")?],
            (None, Some(_)) => texts(from, "names")?,
            (None, None) => return Err("an entry of syscalls has no names".to_owned()),
        };
        let of = || names.first().map_or(String::new(), |name| format!("{name}: "));
        let read = || {
            let name = field(from, "action").ok_or("there is no action")?;
            Ok(Rule {
                names: names.iter().map(|name| (*name).to_owned()).collect(),
                action: action(text(name, "action")?, number(from, "errnoRet")?)?,
                conditions: list(from, "args")?.iter().map(Condition::read).collect::<Said<_>>()?,
                includes: When::read(from, "includes")?,
                excludes: When::read(from, "excludes")?,
            })
        };
        read().map_err(|what: String| format!("{}{what}", of()))
    }

    fn counts(&self, capabilities: u64, kernel: (u32, u32)) -> bool {
        let reached = |when: &When| when.kernel.is_some_and(|least| kernel >= least);
        let excluded =
            self.excludes.arch == Some(true) || self.excludes.caps & capabilities != 0 || reached(&self.excludes);
        let included = self.includes.arch != Some(false)
            && self.includes.caps & !capabilities == 0
            && (self.includes.kernel.is_none() || reached(&self.includes));
        included && !excluded
    }
}

/// What becomes of a system call.
#[derive(Clone, Debug, Default)]
struct Verdict {
    always: Option<u32>,
    /// One after the other; conditions of one entry hold together.
    sometimes: Vec<Sometimes>,
}

/// Conditions that hold together, and what is done then.
type Sometimes = (Vec<Condition>, u32);

/// One after the other, and what is done if none of them holds.
fn chain(code: &mut Code, narrow: bool, all: &[Sometimes], otherwise: u32) -> To {
    let mut to = To::Return(otherwise);
    for (conditions, action) in all.iter().rev() {
        let no = to;
        to = To::Return(*action);
        for condition in conditions.iter().rev() {
            to = condition.write(code, narrow, to, no);
        }
    }
    to
}

impl Verdict {
    fn add(&mut self, rule: &Rule) {
        let twice =
            |one: &Condition| rule.conditions.iter().filter(|other| one.argument == other.argument).count() > 1;
        if rule.conditions.is_empty() {
            self.always.get_or_insert(rule.action);
        } else if self.sometimes.len() > bpf::MOST {
            // No program has room for these already; more would only take memory (a name may stand in a rule thousands of times).
        } else if rule.conditions.iter().any(twice) {
            self.sometimes.extend(rule.conditions.iter().map(|one| (vec![*one], rule.action)));
        } else {
            self.sometimes.push((rule.conditions.clone(), rule.action));
        }
    }
}

/// Whether a filter with this default action is meant to let things through.
fn is_lenient(action: u32) -> bool {
    matches!(action & 0xffff_0000, ALLOW | LOG | TRACE)
}

impl Profile {
    /// Reads the text of a file, whose name is for errors.
    pub fn read(text: &str, from: &str) -> Result<Profile> {
        Profile::parse(text, from).map_err(|what| Error::usage(format_args!("bad seccomp profile {from}: {what}")))
    }

    fn parse(words: &str, from: &str) -> Said<Profile> {
        let value = json::read(words)?;
        let top = map(&value, "the whole")?;
        let Some(default) = field(top, "defaultAction") else {
            return Err("there is no defaultAction; for no filter at all write seccomp=unconfined".to_owned());
        };
        let default = action(text(default, "defaultAction")?, number(top, "defaultErrnoRet")?)
            .map_err(|what| format!("defaultAction: {what}"))?;
        let (listed, mapped) = (texts(top, "architectures")?, list(top, "archMap")?);
        if !listed.is_empty() && !mapped.is_empty() {
            return Err("both architectures and archMap are given".to_owned());
        }
        let (mut i386, mut x32) = arches(&listed)?;
        for entry in mapped {
            let entry = map(entry, "an entry of archMap")?;
            let name =
                text(field(entry, "architecture").ok_or("an entry of archMap has no architecture")?, "architecture")?;
            arches(&[name])?;
            if name == "SCMP_ARCH_X86_64" {
                (i386, x32) = arches(&texts(entry, "subArchitectures")?)?;
            }
        }
        if field(top, "listenerPath").is_some() || field(top, "listenerMetadata").is_some() {
            return Err("it wants a listener for SCMP_ACT_NOTIFY, and ctr has none".to_owned());
        }
        let flags = match field(top, "flags") {
            None => super::SPEC_ALLOW,
            Some(_) => texts(top, "flags")?.into_iter().try_fold(0, |all, name| {
                Ok(all
                    | match name {
                        "SECCOMP_FILTER_FLAG_TSYNC" => 1,
                        "SECCOMP_FILTER_FLAG_LOG" => 2,
                        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => super::SPEC_ALLOW,
                        other => return Err(format!("the flag {other:?} is none that ctr can set")),
                    })
            })?,
        };
        let rules = list(top, "syscalls")?.iter().map(Rule::read).collect::<Said<_>>()?;
        Ok(Profile { from: from.to_owned(), default, flags, i386, x32, rules })
    }

    /// The program for a container with these capabilities. `release` tells the kernel's, if a rule wants to know.
    pub fn compile(&self, capabilities: u64, release: impl FnOnce() -> std::io::Result<String>) -> Result<Program> {
        let asks = self.rules.iter().any(|rule| rule.includes.kernel.is_some() || rule.excludes.kernel.is_some());
        let kernel = if asks {
            let release = release().doing("learn which kernel this is", "uname")?;
            version(&release).ok_or_else(|| Error::usage(format_args!("the kernel says that it is {release:?}")))?
        } else {
            (0, 0)
        };
        self.program(capabilities, kernel)
    }

    fn program(&self, capabilities: u64, kernel: (u32, u32)) -> Result<Program> {
        let mut calls: Vec<(&str, Call, Verdict)> =
            table::all().map(|(name, _, call)| (name, call, Verdict::default())).collect();
        calls.sort_unstable_by_key(|(name, ..)| *name);
        let mut parts = vec![Verdict::default(); PARTS.len()];
        let mut unknown: Vec<&str> = Vec::new();
        let (mut newest, mut newest_i386) = (None, None);
        for rule in self.rules.iter().filter(|rule| rule.counts(capabilities, kernel)) {
            let says_something = rule.action != self.default;
            for name in &rule.names {
                let part = PARTS.iter().zip(&mut parts).find(|((.., part), _)| part == name);
                let found = calls.binary_search_by_key(&name.as_str(), |(name, ..)| name).ok();
                let found = found.and_then(|n| calls.get_mut(n));
                if found.is_none() && part.is_none() && !unknown.contains(&name.as_str()) {
                    unknown.push(name);
                }
                if let (Some((_, verdict)), true) = (part, says_something) {
                    verdict.add(rule);
                }
                if let Some((_, call, verdict)) = found {
                    newest = newest.max(call.x86_64);
                    newest_i386 = newest_i386.max(call.i386);
                    if says_something {
                        verdict.add(rule);
                    }
                }
            }
        }
        // The first thing that the command needs. Not found out by trying: if it kills, nobody is left to tell.
        let execve = calls.iter().find(|(name, ..)| *name == "execve").map(|(.., verdict)| verdict);
        let may = |verdict: &Verdict| match verdict.always {
            Some(action) => is_lenient(action),
            None => is_lenient(self.default) || verdict.sometimes.iter().any(|(_, action)| is_lenient(*action)),
        };
        if !execve.is_some_and(may) {
            return Err(Error::usage(format_args!(
                "bad seccomp profile {}: it denies execve, and no command can be started without",
                self.from
            )));
        }
        for ((whole, number, _), part) in PARTS.iter().zip(parts) {
            // What is decided by arguments proper cannot be seen here.
            let deny = || part.sometimes.iter().map(|(_, action)| *action).find(|action| !is_lenient(*action));
            let found = calls.binary_search_by_key(whole, |(name, ..)| name).ok().and_then(|n| calls.get_mut(n));
            if let (Some(action), Some((.., verdict))) = (part.always.or_else(deny), found) {
                // `ipc` has a version in the upper 16 bits of the part's number, and does the same whatever that says.
                let value = if *whole == "ipc" { 0xffff } else { u32::MAX.into() };
                let condition = Condition { argument: 0, how: How::Masked, value, left: (*number).into() };
                verdict.sometimes.push((vec![condition], action));
            }
        }
        let patched = !is_lenient(self.default) && self.default != ENOSYS;
        let usual = |number: usize, newest: Option<u16>, x32: bool| match newest {
            Some(newest) if patched && number > newest.into() && !(x32 && (512..548).contains(&number)) => ENOSYS,
            _ => self.default,
        };
        let targets = |newest, x32| (0..END).map(|n| To::Return(usual(n, newest, x32))).collect::<Vec<_>>();
        let (mut wide, mut old) = (targets(newest, self.x32), targets(newest_i386, false));
        let mut code = Box::new(Code::EMPTY);
        let mut written: Vec<(&[Sometimes], bool, To)> = Vec::new();
        for (_, call, verdict) in &calls {
            let mut target = |narrow: bool| {
                let done = written.iter().find(|(rules, how, _)| *rules == verdict.sometimes && *how == narrow);
                match (verdict.always, done) {
                    (Some(action), _) => Some(To::Return(action)),
                    (None, _) if verdict.sometimes.is_empty() => None,
                    (None, Some((.., to))) => Some(*to),
                    (None, None) => {
                        let to = chain(&mut code, narrow, &verdict.sometimes, self.default);
                        written.push((&verdict.sometimes, narrow, to));
                        Some(to)
                    }
                }
            };
            let x32 = call.x32.filter(|_| self.x32);
            for number in call.x86_64.into_iter().chain(x32) {
                let place = wide.get_mut(usize::from(number));
                place.zip(target(false)).into_iter().for_each(|(place, to)| *place = to);
            }
            if let Some(number) = call.i386.filter(|_| self.i386) {
                let place = old.get_mut(usize::from(number));
                place.zip(target(true)).into_iter().for_each(|(place, to)| *place = to);
            }
        }
        let search = |code: &mut Code, targets: &[To], bits: u32| {
            let mut ranges: Vec<Range> = Vec::new();
            for (to, from) in targets.iter().zip(0..) {
                if ranges.last().is_none_or(|last| last.to != *to) {
                    ranges.push(Range { from, to: *to });
                }
            }
            let to = code.search(&ranges, 0, ranges.len());
            let to = if bits == u32::MAX { to } else { code.mask(bits, to) };
            code.load(bpf::NR, to)
        };
        let stranger = To::Return(KILL_PROCESS);
        let other = if self.i386 {
            let old = search(&mut code, &old, u32::MAX);
            code.jump(EQUAL, bpf::I386, old, stranger)
        } else {
            stranger
        };
        // As in the built-in filter: the same numbers, but for 36 of its own.
        let mut numbers = search(&mut code, &wide, if self.x32 { !bpf::X32_BIT } else { u32::MAX });
        if !self.x32 {
            // The number -1 is nobody's ABI: a tracer writes it, so that the call is left out.
            let foreign = To::Return(if patched && newest.is_some() { ENOSYS } else { KILL_PROCESS });
            let to = code.jump(EQUAL, u32::MAX, numbers, foreign);
            let to = code.jump(AT_LEAST, bpf::X32_BIT, to, numbers);
            numbers = code.load(bpf::NR, to);
        }
        let start = code.jump(EQUAL, bpf::X86_64, numbers, other);
        code.load(bpf::ARCH, start);
        match code.finish() {
            Some(insns) => Ok(Program {
                insns: Insns::Compiled(insns.into()),
                flags: self.flags,
                unknown: unknown.len(),
                foreign: true,
            }),
            None => Err(Error::usage(format_args!(
                "bad seccomp profile {}: it is too long: the kernel takes {} instructions, and it needs more",
                self.from,
                bpf::MOST
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::bpf::{EPERM, I386, X32_BIT, X86_64, run};
    use crate::seccomp::builtin;
    use crate::seccomp::table::Class;
    use crate::sys::Insn;
    use linux_raw_sys::general as k;

    const NONE: [u64; 6] = [0; 6];

    /// What an operator means.
    type Holds = fn(u64, u64) -> bool;

    fn compiled(text: &str) -> Program {
        Profile::parse(text, "test").unwrap().program(caps::DEFAULT, (6, 1)).unwrap()
    }

    fn words(program: &Program) -> Vec<Insn> {
        match &program.insns {
            Insns::Compiled(insns) => insns.to_vec(),
            Insns::Builtin(_) => panic!("not a profile's"),
        }
    }

    fn insns(text: &str) -> Vec<Insn> {
        words(&compiled(text))
    }

    /// A profile that allows, and says this of some calls.
    fn allowing(rules: &str) -> String {
        format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],"syscalls":[{rules}]}}"#
        )
    }

    fn mistake(text: &str) -> String {
        let found = Profile::read(text, "p.json").and_then(|profile| profile.program(caps::DEFAULT, (6, 1)));
        let sentence = found.unwrap_err().to_string();
        assert!(!sentence.contains('\n'), "{sentence}");
        sentence.strip_prefix("bad seccomp profile p.json: ").unwrap_or_else(|| panic!("{sentence}")).to_owned()
    }

    #[test]
    fn every_operator_compares_64_bits() {
        let values = [
            0,
            1,
            5,
            0xffff_ffff,
            0x1_0000_0000,
            0x1_0000_0005,
            0x5_0000_0001,
            0x5_0000_0005,
            u64::MAX,
            u64::MAX - 1,
        ];
        let operators: [(&str, Holds); 6] = [
            ("NE", |a, b| a != b),
            ("LT", |a, b| a < b),
            ("LE", |a, b| a <= b),
            ("EQ", |a, b| a == b),
            ("GE", |a, b| a >= b),
            ("GT", |a, b| a > b),
        ];
        for (name, holds) in operators {
            for value in values {
                let program = insns(&allowing(&format!(
                    r#"{{"name":"dup2","action":"SCMP_ACT_ERRNO","errnoRet":7,"args":[{{"index":5,"value":{value},"op":"SCMP_CMP_{name}"}}]}}"#
                )));
                for argument in values {
                    let answer = run(&program, k::__NR_dup2, X86_64, [9, 9, 9, 9, 9, argument]);
                    assert_eq!(
                        answer,
                        if holds(argument, value) { ERRNO | 7 } else { ALLOW },
                        "{argument} {name} {value}"
                    );
                }
            }
        }
        for (mask, left) in
            [(0xff, 0x12), (0x7e02_0000, 0), (0xff00_0000_00ff, 0x1200_0000_0034), (0xff00_0000_0000, 0), (0, 0)]
        {
            let program = insns(&allowing(&format!(
                r#"{{"names":["dup2"],"action":"SCMP_ACT_TRAP","args":[{{"index":0,"value":{mask},"valueTwo":{left},"op":"SCMP_CMP_MASKED_EQ"}}]}}"#
            )));
            for argument in values.into_iter().chain([
                0x12,
                0xff12,
                0x1200_0000_0034,
                0x1300_0000_0034,
                0xab12_0000_0034,
                1 << 25,
            ]) {
                let answer = run(&program, k::__NR_dup2, X86_64, [argument, 0, 0, 0, 0, 0]);
                assert_eq!(
                    answer,
                    if argument & mask == left { TRAP } else { ALLOW },
                    "{argument:#x} & {mask:#x} == {left:#x}"
                );
            }
        }
    }

    /// The kernel takes no notice of the upper half of what a 64-bit program passes by `int 0x80`; nor does a filter.
    #[test]
    fn on_i386_lower_halves_are_compared() {
        let operators: [(&str, Holds); 6] = [
            ("NE", |a, b| a != b),
            ("LT", |a, b| a < b),
            ("LE", |a, b| a <= b),
            ("EQ", |a, b| a == b),
            ("GE", |a, b| a >= b),
            ("GT", |a, b| a > b),
        ];
        for (name, holds) in operators {
            for value in [0, 1, 5, 0xffff_ffff, u64::MAX] {
                let program = insns(&allowing(&format!(
                    r#"{{"name":"dup2","action":"SCMP_ACT_TRAP","args":[{{"index":1,"value":{value},"op":"SCMP_CMP_{name}"}}]}}"#
                )));
                for argument in [0, 1, 4, 5, 6, 0xffff_ffff_u64] {
                    for garbage in [0, 1 << 32, u64::MAX << 32] {
                        let answer = run(&program, 63, I386, [0, argument | garbage, 0, 0, 0, 0]);
                        let expected = if holds(argument, value & 0xffff_ffff) { TRAP } else { ALLOW };
                        assert_eq!(answer, expected, "{argument} {garbage:#x} {name} {value}");
                    }
                }
            }
        }
        let masked = insns(&allowing(
            r#"{"name":"dup2","action":"SCMP_ACT_TRAP","args":[{"value":18374686479671623935,"valueTwo":18,"op":"SCMP_CMP_MASKED_EQ"}]}"#,
        ));
        for (argument, expected) in [(0x112, TRAP), (0x1_0000_0012, TRAP), (0x13, ALLOW)] {
            assert_eq!(run(&masked, 63, I386, [argument, 0, 0, 0, 0, 0]), expected, "{argument:#x}");
        }
    }

    #[test]
    fn every_action_is_the_kernels() {
        for (name, more, expected) in [
            ("KILL", "", KILL_THREAD),
            ("KILL_THREAD", "", KILL_THREAD),
            ("KILL_PROCESS", "", KILL_PROCESS),
            ("TRAP", "", TRAP),
            ("ERRNO", "", EPERM),
            ("ERRNO", r#","errnoRet":0"#, ERRNO),
            ("ERRNO", r#","errnoRet":4095"#, ERRNO | 4095),
            ("TRACE", "", TRACE | 1),
            ("TRACE", r#","errnoRet":9"#, TRACE | 9),
            ("LOG", "", LOG),
        ] {
            let program = insns(&allowing(&format!(r#"{{"names":["dup2"],"action":"SCMP_ACT_{name}"{more}}}"#)));
            assert_eq!(run(&program, k::__NR_dup2, X86_64, NONE), expected, "{name}");
            assert_eq!(run(&program, k::__NR_dup2 | X32_BIT, X86_64, NONE), expected, "{name}");
            assert_eq!(run(&program, 63, I386, NONE), expected, "{name}");
            assert_eq!(run(&program, k::__NR_dup, X86_64, NONE), ALLOW);
        }
    }

    #[test]
    fn rules_add_up_as_in_libseccomp() {
        let one = |errno: u32, args: &str| {
            format!(r#"{{"names":["dup2"],"action":"SCMP_ACT_ERRNO","errnoRet":{errno},"args":[{args}]}}"#)
        };
        let is = |index: u32, value: u32| format!(r#"{{"index":{index},"value":{value},"op":"SCMP_CMP_EQ"}}"#);
        let answer = |rules: &[String], args| run(&insns(&allowing(&rules.join(","))), k::__NR_dup2, X86_64, args);
        // Together, one after the other; and twice the same argument is two rules.
        let both = [one(2, &[is(0, 1), is(1, 1)].join(",")), one(3, &is(0, 1))];
        for (args, expected) in [([1, 1], ERRNO | 2), ([1, 0], ERRNO | 3), ([0, 1], ALLOW)] {
            assert_eq!(answer(&both, [args[0], args[1], 0, 0, 0, 0]), expected);
        }
        let twice = [one(2, &[is(0, 1), is(0, 2)].join(","))];
        for (value, expected) in [(1, ERRNO | 2), (2, ERRNO | 2), (3, ALLOW)] {
            assert_eq!(answer(&twice, [value, 0, 0, 0, 0, 0]), expected);
        }
        // Without conditions beats with them, and the first one beats the second.
        assert_eq!(answer(&[one(2, &is(0, 0)), one(3, ""), one(4, "")], NONE), ERRNO | 3);
        // A rule that says what holds anyway says nothing.
        let allow = r#"{"names":["dup2"],"action":"SCMP_ACT_ALLOW"}"#.to_owned();
        assert_eq!(answer(&[allow, one(5, "")], NONE), ERRNO | 5);
    }

    #[test]
    fn architectures_decide() {
        let rule = r#""syscalls":[{"names":["read","execve"],"action":"SCMP_ACT_ALLOW"}]"#;
        let only = insns(&format!(
            r#"{{"defaultAction":"SCMP_ACT_KILL","archMap":[{{"architecture":"SCMP_ARCH_X86_64"}}],{rule}}}"#
        ));
        assert_eq!(run(&only, k::__NR_read, X86_64, NONE), ALLOW);
        assert_eq!(run(&only, 3, I386, NONE), KILL_PROCESS);
        // Newer than anything it knows, as runc sees it; and -1 is a tracer's.
        assert_eq!(run(&only, k::__NR_read | X32_BIT, X86_64, NONE), ENOSYS);
        assert_eq!(run(&only, u32::MAX, X86_64, NONE), ENOSYS);
        assert_eq!(run(&only, k::__NR_execve + 1, X86_64, NONE), ENOSYS);
        assert_eq!(run(&only, k::__NR_open, X86_64, NONE), KILL_THREAD);
        let lenient = insns(r#"{"defaultAction":"SCMP_ACT_LOG"}"#);
        assert_eq!(run(&lenient, 9999, X86_64, NONE), LOG);
        assert_eq!(run(&lenient, X32_BIT, X86_64, NONE), KILL_PROCESS);
        let all = insns(&format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{{"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_ARM"]}},{{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]}}],{rule}}}"#
        ));
        for (nr, arch) in
            [(k::__NR_read, X86_64), (k::__NR_read | X32_BIT, X86_64), (X32_BIT + 520, X86_64), (3, I386), (11, I386)]
        {
            assert_eq!(run(&all, nr, arch, NONE), ALLOW, "{nr} {arch:#x}");
        }
        assert_eq!(run(&all, 0, 0xc000_00b7, NONE), KILL_PROCESS);
    }

    #[test]
    fn parts_of_socketcall_and_ipc_are_calls() {
        let program = insns(&allowing(
            r#"{"names":["bind","recv"],"action":"SCMP_ACT_ERRNO"},{"name":"socket","action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":38,"op":"SCMP_CMP_EQ"}]},{"name":"shmat","action":"SCMP_ACT_ERRNO"}"#,
        ));
        for part in 0..30 {
            let args = [part, 0, 0, 0, 0, 0];
            assert_eq!(run(&program, 102, I386, args) == EPERM, [1, 2, 10].contains(&part), "socketcall {part}");
            assert_eq!(run(&program, 117, I386, args) == EPERM, part == 21, "ipc {part}");
            // What the kernel takes no notice of makes no difference: upper halves, and the version in ipc's number.
            let args = [part | 7 << 32, 0, 0, 0, 0, 0];
            assert_eq!(run(&program, 102, I386, args) == EPERM, [1, 2, 10].contains(&part), "socketcall {part}");
            let args = [part | 7 << 32 | 2 << 16, 0, 0, 0, 0, 0];
            assert_eq!(run(&program, 117, I386, args) == EPERM, part == 21, "ipc {part}");
        }
        assert_eq!(run(&program, k::__NR_bind, X86_64, NONE), EPERM);
        assert_eq!(run(&program, k::__NR_socket, X86_64, NONE), ALLOW);
    }

    #[test]
    fn conditions_on_container_and_machine_count() {
        let with = |when: &str| {
            let text = allowing(&format!(r#"{{"names":["dup2"],"action":"SCMP_ACT_ERRNO",{when}}}"#));
            run(&insns(&text), k::__NR_dup2, X86_64, NONE) == EPERM
        };
        for (when, counts) in [
            (r#""includes":{"caps":["CAP_CHOWN","KILL"]}"#, true),
            (r#""includes":{"caps":["CAP_CHOWN","CAP_SYS_ADMIN"]}"#, false),
            (r#""excludes":{"caps":["CAP_SYS_ADMIN"]}"#, true),
            (r#""excludes":{"caps":["CAP_SYS_ADMIN","CAP_CHOWN"]}"#, false),
            (r#""includes":{"arches":["arm","amd64"]}"#, true),
            (r#""includes":{"arches":["s390x"]}"#, false),
            (r#""excludes":{"arches":["s390x"]}"#, true),
            (r#""excludes":{"arches":["amd64"]}"#, false),
            (r#""includes":{"minKernel":"6.1"}"#, true),
            (r#""includes":{"minKernel":"6.2"}"#, false),
            (r#""excludes":{"minKernel":"4.8"}"#, false),
            (r#""includes":{},"excludes":null,"comment":"x""#, true),
        ] {
            assert_eq!(with(when), counts, "{when}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_one_sentence() {
        for (text, sentence) in [
            ("{", "line 1: a name in quotes is missing"),
            ("[]", "the whole is not an object"),
            ("{}", "there is no defaultAction; for no filter at all write seccomp=unconfined"),
            (
                r#"{"defaultAction":"ALLOW"}"#,
                "defaultAction: \"ALLOW\" is not an action, such as SCMP_ACT_ALLOW or SCMP_ACT_ERRNO",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":1}"#,
                "defaultAction: SCMP_ACT_ALLOW has no error number, and one is given",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":4096}"#,
                "defaultAction: the error number 4096 is not from 0 to 4095",
            ),
            (r#"{"defaultAction":"SCMP_ACT_ERRNO"}"#, "it denies execve, and no command can be started without"),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["x"]}"#,
                "\"x\" is not an architecture, such as SCMP_ARCH_X86_64",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}"#,
                "both architectures and archMap are given",
            ),
            (r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["X"]}"#, "the flag \"X\" is none that ctr can set"),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x"}"#,
                "it wants a listener for SCMP_ACT_NOTIFY, and ctr has none",
            ),
            (r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":{}}"#, "syscalls is not a list"),
            (&allowing("1"), "an entry of syscalls is not an object"),
            (&allowing("{}"), "an entry of syscalls has no names"),
            (
                &allowing(r#"{"name":"a","names":["b"],"action":"SCMP_ACT_KILL"}"#),
                "an entry of syscalls has both name and names",
            ),
            (&allowing(r#"{"name":"dup2"}"#), "dup2: there is no action"),
            (
                &allowing(r#"{"name":"dup2","action":"SCMP_ACT_NOTIFY"}"#),
                "dup2: SCMP_ACT_NOTIFY hands system calls to another program, and ctr has none for that",
            ),
            (
                &allowing(r#"{"name":"dup2","action":"SCMP_ACT_KILL","errnoRet":1}"#),
                "dup2: SCMP_ACT_KILL has no error number, and one is given",
            ),
            (
                &allowing(r#"{"name":"dup2","action":"SCMP_ACT_ERRNO","errnoRet":-1}"#),
                "dup2: errnoRet is not a number from 0 on",
            ),
            (
                &allowing(r#"{"name":"dup2","action":"SCMP_ACT_KILL","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}"#),
                "dup2: index 6: a system call has arguments 0 to 5",
            ),
            (
                &allowing(r#"{"name":"dup2","action":"SCMP_ACT_KILL","args":[{"index":0}]}"#),
                "dup2: an entry of args has no op",
            ),
            (
                &allowing(r#"{"name":"dup2","action":"SCMP_ACT_KILL","args":[{"op":"=="}]}"#),
                "dup2: \"==\" is not an operator, such as SCMP_CMP_EQ",
            ),
            (
                &allowing(
                    r#"{"name":"dup2","action":"SCMP_ACT_KILL","args":[{"op":"SCMP_CMP_MASKED_EQ","value":1,"valueTwo":2}]}"#,
                ),
                "dup2: no argument masked with 0x1 can be 0x2 (SCMP_CMP_MASKED_EQ)",
            ),
            (
                &allowing(r#"{"name":"dup2","action":"SCMP_ACT_KILL","includes":{"caps":["CAP_X"]}}"#),
                "dup2: \"CAP_X\" is not a capability",
            ),
            (
                &allowing(r#"{"name":"dup2","action":"SCMP_ACT_KILL","includes":{"minKernel":"new"}}"#),
                "dup2: minKernel \"new\" is not like 5.10",
            ),
        ] {
            assert_eq!(mistake(text), sentence, "{text}");
        }
        let many: Vec<String> = (0..3000).map(|n| format!(r#"{{"name":"dup2","action":"SCMP_ACT_KILL","args":[{{"index":0,"value":{n},"op":"SCMP_CMP_EQ"}}]}}"#)).collect();
        assert_eq!(
            mistake(&allowing(&many.join(","))),
            "it is too long: the kernel takes 4096 instructions, and it needs more"
        );
    }

    #[test]
    fn what_no_program_has_room_for_takes_no_memory() {
        let conditions = vec![Condition { argument: 0, how: How::Equal, value: 0, left: 0 }; 1000];
        let rule = Rule {
            names: Vec::new(),
            action: KILL_THREAD,
            conditions,
            includes: When::default(),
            excludes: When::default(),
        };
        let mut verdict = Verdict::default();
        (0..100).for_each(|_| verdict.add(&rule));
        assert!((bpf::MOST + 1..bpf::MOST + 1002).contains(&verdict.sometimes.len()), "{}", verdict.sometimes.len());
        let names = vec!["\"dup2\""; 50].join(",");
        let args = vec![r#"{"index":0,"op":"SCMP_CMP_EQ"}"#; 1000].join(",");
        let text = allowing(&format!(r#"{{"names":[{names}],"action":"SCMP_ACT_KILL","args":[{args}]}}"#));
        assert!(mistake(&text).starts_with("it is too long"));
    }

    #[test]
    fn unknown_names_are_counted_once() {
        let text =
            allowing(r#"{"names":["dup2","riscv_hwprobe","recv","nonsense","nonsense"],"action":"SCMP_ACT_KILL"}"#);
        assert_eq!(compiled(&text).unknown, 2);
    }

    /// The built-in filter, written as a profile: two ways to the same answers, which share nothing but the table of names.
    #[test]
    fn the_built_in_filter_is_what_its_profile_compiles_to() {
        let mut rules = Vec::new();
        for class in table::TABLE.map(|(class, _)| class) {
            let of_class =
                || table::all().filter(move |(_, other, _)| *other == class).map(|(name, ..)| format!("{name:?}"));
            let names = of_class().collect::<Vec<_>>().join(",");
            let mut rule = |action: &str, more: &str| {
                rules.push(format!(r#"{{"names":[{names}],"action":"SCMP_ACT_{action}"{more}}}"#));
            };
            let arg = |index: u32, op: &str, value: u64| {
                format!(r#"{{"index":{index},"value":{value},"op":"SCMP_CMP_{op}"}}"#)
            };
            let mut caps = |name: &str| rule("ALLOW", &format!(r#","includes":{{"caps":["{name}"]}}"#));
            match class {
                Class::Allow => rule("ALLOW", ""),
                Class::Ioctl => rule("ALLOW", &format!(r#","args":[{}]"#, arg(1, "LT", 0x5412))),
                Class::Socket => {
                    rule("ALLOW", &format!(r#","args":[{}]"#, arg(0, "LT", 12)));
                    for family in [
                        13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29, 30, 31, 32, 33, 35, 36, 39, 41, 42, 43,
                        44, 45,
                    ] {
                        rule("ALLOW", &format!(r#","args":[{}]"#, arg(0, "EQ", family)));
                    }
                }
                Class::Personality => {
                    for value in [0, 8, 131_072, 131_080, 4_294_967_295] {
                        rule("ALLOW", &format!(r#","args":[{}]"#, arg(0, "EQ", value)));
                    }
                }
                Class::Clone => {
                    rule(
                        "ALLOW",
                        &format!(
                            r#","args":[{}],"excludes":{{"caps":["CAP_SYS_ADMIN"]}}"#,
                            arg(0, "MASKED_EQ", 2_114_060_288)
                        ),
                    );
                    rule("ALLOW", r#","includes":{"caps":["CAP_SYS_ADMIN"]}"#);
                }
                Class::Clone3 => {
                    rule("ERRNO", r#","errnoRet":38,"excludes":{"caps":["CAP_SYS_ADMIN"]}"#);
                    rule("ALLOW", r#","includes":{"caps":["CAP_SYS_ADMIN"]}"#);
                }
                Class::DacReadSearch => caps("CAP_DAC_READ_SEARCH"),
                Class::SysAdmin => caps("CAP_SYS_ADMIN"),
                Class::Bpf => ["CAP_BPF", "CAP_SYS_ADMIN"].into_iter().for_each(caps),
                Class::Perfmon => ["CAP_PERFMON", "CAP_SYS_ADMIN"].into_iter().for_each(caps),
                Class::Syslog => ["CAP_SYSLOG", "CAP_SYS_ADMIN"].into_iter().for_each(caps),
                Class::SysBoot => caps("CAP_SYS_BOOT"),
                Class::SysChroot => caps("CAP_SYS_CHROOT"),
                Class::SysModule => caps("CAP_SYS_MODULE"),
                Class::SysPacct => caps("CAP_SYS_PACCT"),
                Class::SysPtrace => caps("CAP_SYS_PTRACE"),
                Class::SysRawio => caps("CAP_SYS_RAWIO"),
                Class::SysTime => caps("CAP_SYS_TIME"),
                Class::SysTtyConfig => caps("CAP_SYS_TTY_CONFIG"),
                Class::SysNice => caps("CAP_SYS_NICE"),
                Class::Deny => rule("ERRNO", r#","errnoRet":1"#),
                Class::Newer => {}
            }
        }
        let text = format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"archMap":[{{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]}}],"syscalls":[{}]}}"#,
            rules.join(",")
        );
        let profile = Profile::parse(&text, "test").unwrap();
        for set in [caps::DEFAULT, 0, caps::all(), caps::bit(21), caps::bit(38) | caps::bit(39), caps::bit(34)] {
            let (theirs, ours) = (profile.program(set, (6, 1)).unwrap(), builtin::program(set));
            assert_eq!(theirs.unknown, 0);
            for nr in 0..600 {
                for (arch, bit) in [(X86_64, 0), (X86_64, X32_BIT), (I386, 0)] {
                    for value in [0, 2, 12, 38, 40, 46, 0x2_0000, 0x1_0000_0000 - 1, u64::from(k::CLONE_NEWNET)] {
                        let args = [value, 0, 0, 0, 0, 0];
                        let (one, other) =
                            (run(&words(&theirs), nr | bit, arch, args), run(&ours, nr | bit, arch, args));
                        // Where no call has that number, ours says so; a profile cannot tell a gap from what it denies.
                        let gap = other == ENOSYS && one == EPERM;
                        assert!(one == other || gap, "{nr} {arch:#x} {value:#x} {set:#x}: {one:#x} {other:#x}");
                    }
                }
            }
        }
    }

    /// A small generator, so that every run sees the same texts.
    fn random(state: &mut u64) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state as usize
    }

    #[test]
    fn no_profile_makes_it_panic() {
        let whole = allowing(
            r#"{"names":["dup2","socket","execve"],"action":"SCMP_ACT_ERRNO","errnoRet":5,"args":[{"index":1,"value":18446744073709551615,"valueTwo":3,"op":"SCMP_CMP_MASKED_EQ"},{"index":2,"value":7,"op":"SCMP_CMP_LE"}],"includes":{"caps":["CAP_CHOWN"],"minKernel":"4.8"}}"#,
        );
        let pieces =
            ["null", "{}", "[]", "-1", "\"\"", "99999999999", "\"SCMP_ACT_TRACE\"", "[[]]", "true", "\"dup2\""];
        let mut state = 0x0123_4567_89ab_cdef;
        let mut taken = 0;
        for _ in 0..3000 {
            let mut text = whole.clone();
            for _ in 0..=random(&mut state) % 3 {
                // A value somewhere becomes another one, or something is cut out.
                let at = random(&mut state) % text.len();
                let from = text.get(at..).and_then(|rest| rest.find([':', '[', ','])).map_or(at, |n| at + n + 1);
                let to =
                    text.get(from..).and_then(|rest| rest.find([',', ']', '}'])).map_or(text.len(), |n| from + n);
                text.replace_range(from..to, pieces[random(&mut state) % pieces.len()]);
            }
            let found = Profile::read(&text, "x").and_then(|profile| profile.program(caps::DEFAULT, (6, 1)));
            taken += usize::from(found.is_ok());
        }
        assert!(taken > 20, "{taken}");
    }
}
