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
//!   part, and one that allows does not count there.
//!
//! What contradicts itself, or asks for what ctr does not do, is refused as a whole.

use super::Program;
use super::bpf::{
    self, ALLOW, ANY_BIT, AT_LEAST, Code, ENOSYS, EQUAL, ERRNO, GREATER, KILL_PROCESS, KILL_THREAD, LOG, Range,
    TRACE, TRAP, To,
};
use super::table::{self, Call, END};
use crate::caps;
use crate::error::{Doing, Error, Result};
use crate::json::{self, Value};

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

    /// Code that goes on at `yes` if it holds, else at `no`. The kernel's words have 32 bits, an argument has 64.
    fn write(&self, code: &mut Code, yes: To, no: To) -> To {
        let (low, high) = (bpf::argument(self.argument), bpf::argument(self.argument) + 4);
        let halves = |value: u64| ((value >> 32) as u32, value as u32);
        let (above, below) = halves(self.value);
        let equal = |code: &mut Code, yes, no| {
            let to = code.jump(EQUAL, below, yes, no);
            let to = code.load(low, to);
            let to = code.jump(EQUAL, above, to, no);
            code.load(high, to)
        };
        // The upper halves decide, unless they are equal.
        let order = |code: &mut Code, how, yes, no| {
            let to = code.jump(how, below, yes, no);
            let to = code.load(low, to);
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
                half(code, above, left_above, high, to)
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
fn chain(code: &mut Code, all: &[Sometimes], otherwise: u32) -> To {
    let mut to = To::Return(otherwise);
    for (conditions, action) in all.iter().rev() {
        let no = to;
        to = To::Return(*action);
        for condition in conditions.iter().rev() {
            to = condition.write(code, to, no);
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
                let condition = Condition { argument: 0, how: How::Equal, value: (*number).into(), left: 0 };
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
        let mut written: Vec<(&[Sometimes], To)> = Vec::new();
        for (_, call, verdict) in &calls {
            let done = written.iter().find(|(rules, _)| *rules == verdict.sometimes.as_slice());
            let to = match (verdict.always, done) {
                (Some(action), _) => To::Return(action),
                (None, _) if verdict.sometimes.is_empty() => continue,
                (None, Some((_, to))) => *to,
                (None, None) => {
                    let to = chain(&mut code, &verdict.sometimes, self.default);
                    written.push((&verdict.sometimes, to));
                    to
                }
            };
            let x32 = call.x32.filter(|_| self.x32);
            for number in call.x86_64.into_iter().chain(x32) {
                wide.get_mut(usize::from(number)).into_iter().for_each(|target| *target = to);
            }
            call.i386.and_then(|number| old.get_mut(usize::from(number))).into_iter().for_each(|target| *target = to);
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
            Some(insns) => Ok(Program { insns: insns.to_vec(), flags: self.flags, unknown: unknown.len() }),
            None => Err(Error::usage(format_args!(
                "bad seccomp profile {}: it is too long: the kernel takes {} instructions, and it needs more",
                self.from,
                bpf::MOST
            ))),
        }
    }
}
