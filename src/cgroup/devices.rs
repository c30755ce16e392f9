//! Which device nodes a container may make and use: what was allowed, as v1 wants to be told, and as a program for v2.
//!
//! Everything is forbidden that no rule allows. In v1 the `devices` controller is told so line by line. v2 has no files for this,
//! but asks a program (`BPF_PROG_TYPE_CGROUP_DEVICE`, Linux 4.15) whenever somebody opens or makes a node: one is written
//! here, instruction by instruction (Documentation/bpf/standardization/instruction-set.rst), loaded, and attached to the group.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::write;
use crate::error::{Error, Result};
use crate::sys;

/// Making a node.
pub const MKNOD: u32 = 1;
/// Reading from it.
pub const READ: u32 = 2;
/// Writing to it.
pub const WRITE: u32 = 4;

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Both.
    All,
    /// Block devices.
    Block,
    /// Character devices.
    Char,
}

/// Something that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// Which kind of node.
    pub kind: Kind,
    /// Which number; None for all.
    pub major: Option<u32>,
    /// The same.
    pub minor: Option<u32>,
    /// [`MKNOD`], [`READ`], [`WRITE`].
    pub access: u32,
}

const fn char(major: u32, minor: Option<u32>) -> DeviceRule {
    DeviceRule { kind: Kind::Char, major: Some(major), minor, access: MKNOD | READ | WRITE }
}

/// What every container may, as Docker has it: make any node (using it is another matter), and use null, zero, full, random,
/// urandom, tty, console, ptmx and its own terminals.
pub const USUAL: [DeviceRule; 10] = [
    DeviceRule { kind: Kind::Char, major: None, minor: None, access: MKNOD },
    DeviceRule { kind: Kind::Block, major: None, minor: None, access: MKNOD },
    char(1, Some(3)),
    char(1, Some(5)),
    char(1, Some(7)),
    char(1, Some(8)),
    char(1, Some(9)),
    char(5, Some(0)),
    char(5, Some(2)),
    char(136, None),
];

/// /dev/console, which is a pty's end in here, and the machine's own elsewhere: allowed as Docker has it.
const CONSOLE: DeviceRule = char(5, Some(1));

impl DeviceRule {
    /// Whatever there is: no rules at all.
    pub const EVERYTHING: DeviceRule =
        DeviceRule { kind: Kind::All, major: None, minor: None, access: MKNOD | READ | WRITE };

    /// `c 1:3 rwm`: a kind (a, b, c), numbers or *, and what is allowed.
    pub fn read(text: &str) -> Result<DeviceRule> {
        let bad = || {
            Error::usage(format_args!(
                "bad --device-cgroup-rule {text:?}: it is KIND MAJOR:MINOR ACCESS, such as 'c 1:3 rwm' or 'b 8:* r'"
            ))
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let [kind, numbers, access] = words.as_slice() else { return Err(bad()) };
        let kind = match *kind {
            "a" => Kind::All,
            "b" => Kind::Block,
            "c" => Kind::Char,
            _ => return Err(bad()),
        };
        let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
        let number = |word: &str, bits: u32| match word {
            "*" => Ok(None),
            // So many bits a number has (include/linux/kdev_t.h).
            _ => word.parse::<u32>().ok().filter(|n| *n < 1 << bits).map(Some).ok_or_else(bad),
        };
        let mut allowed = 0;
        for letter in access.chars() {
            allowed |= match letter {
                'r' => READ,
                'w' => WRITE,
                'm' => MKNOD,
                _ => return Err(bad()),
            };
        }
        Ok(DeviceRule { kind, major: number(major, 12)?, minor: number(minor, 20)?, access: allowed })
    }

    /// Everything there is.
    pub fn is_all(&self) -> bool {
        self.kind == Kind::All && self.major.is_none() && self.minor.is_none() && self.access == MKNOD | READ | WRITE
    }

    /// As v1's `devices.allow` wants it: there `a` alone would be everything.
    fn texts(&self) -> Vec<String> {
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        let letters: String = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
            .iter()
            .filter(|(bit, _)| self.access & bit != 0)
            .map(|(_, l)| l)
            .collect();
        let line = |kind| format!("{kind} {}:{} {letters}", number(self.major), number(self.minor));
        match self.kind {
            Kind::All => vec![line('b'), line('c')],
            Kind::Block => vec![line('b')],
            Kind::Char => vec![line('c')],
        }
    }
}

/// All rules of a container: the usual ones and those that were asked for.
fn all(asked: &[DeviceRule]) -> Vec<DeviceRule> {
    USUAL.into_iter().chain([CONSOLE]).chain(asked.iter().copied()).collect()
}

/// Tells v1's controller, whose group this is.
pub fn set_v1(dir: BorrowedFd, asked: &[DeviceRule]) -> io::Result<()> {
    if asked.iter().any(DeviceRule::is_all) {
        return write(dir, c"devices.allow", "a");
    }
    write(dir, c"devices.deny", "a")?;
    all(asked).iter().flat_map(DeviceRule::texts).try_for_each(|line| write(dir, c"devices.allow", &line))
}

/// Attaches the program to a v2 group.
pub fn set_v2(dir: BorrowedFd, asked: &[DeviceRule]) -> io::Result<()> {
    if asked.iter().any(DeviceRule::is_all) {
        return Ok(());
    }
    let program = sys::load_device_program(&program(&all(asked)))?;
    sys::attach_device_program(dir, program.as_fd())
}

/// One instruction: code, destination and source register, jump, number.
fn instruction(code: u8, to: u8, from: u8, jump: i16, number: u32) -> u64 {
    u64::from(code) | u64::from(to | from << 4) << 8 | u64::from(jump as u16) << 16 | u64::from(number) << 32
}

/// The program: 1 (allowed) if a rule fits what is wanted, 0 otherwise. It gets a `struct bpf_cgroup_dev_ctx`: kind (1 block, 2
/// character) and access (in the upper half) in one word, then major and minor.
fn program(rules: &[DeviceRule]) -> Vec<u64> {
    const LOAD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
    const COPY: u8 = 0xbf; // BPF_ALU64 | BPF_MOV | BPF_X
    const SET: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
    const AND: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
    const SHIFT: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
    const UNLESS: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K: away if it is another
    const EXIT: u8 = 0x95;
    const KIND: u8 = 2;
    const ACCESS: u8 = 3;
    const MAJOR: u8 = 4;
    const MINOR: u8 = 5;
    const SCRATCH: u8 = 6;
    let mut code = vec![
        instruction(LOAD, KIND, 1, 0, 0),
        instruction(COPY, ACCESS, KIND, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(SHIFT, ACCESS, 0, 0, 16),
        instruction(LOAD, MAJOR, 1, 4, 0),
        instruction(LOAD, MINOR, 1, 8, 0),
    ];
    for rule in rules {
        let mut tests: Vec<(u8, u32)> = Vec::new();
        match rule.kind {
            Kind::All => {}
            Kind::Block => tests.push((KIND, 1)),
            Kind::Char => tests.push((KIND, 2)),
        }
        tests.extend(rule.major.map(|n| (MAJOR, n)));
        tests.extend(rule.minor.map(|n| (MINOR, n)));
        let forbidden = !rule.access & 7;
        let extra = if forbidden == 0 { 0 } else { 3 };
        // Past the rest of the tests, and the two that allow.
        let rest = |n: usize| (tests.len() - n - 1 + extra + 2) as i16;
        for (n, (register, wanted)) in tests.iter().enumerate() {
            code.push(instruction(UNLESS, *register, 0, rest(n), *wanted));
        }
        if forbidden != 0 {
            code.push(instruction(COPY, SCRATCH, ACCESS, 0, 0));
            code.push(instruction(AND, SCRATCH, 0, 0, forbidden));
            code.push(instruction(UNLESS, SCRATCH, 0, 2, 0));
        }
        code.push(instruction(SET, 0, 0, 0, 1));
        code.push(instruction(EXIT, 0, 0, 0, 0));
    }
    code.push(instruction(SET, 0, 0, 0, 0));
    code.push(instruction(EXIT, 0, 0, 0, 0));
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read() {
        let rule = DeviceRule::read("c 1:3 mr").unwrap();
        assert_eq!(rule, DeviceRule { kind: Kind::Char, major: Some(1), minor: Some(3), access: MKNOD | READ });
        assert_eq!(rule.texts(), ["c 1:3 rm"]);
        assert!(DeviceRule::read("a *:* rwm").unwrap().is_all());
        for bad in
            ["", "c", "c 1:3", "x 1:3 r", "c 1 r", "c 1:3 x", "c -1:3 r", "c 4096:0 r", "c 1:1048576 r", "c 1:3 r w"]
        {
            assert!(DeviceRule::read(bad).is_err(), "{bad:?}");
        }
    }

    /// Runs the program as the kernel would.
    fn allowed(code: &[u64], kind: u64, access: u64, major: u64, minor: u64) -> bool {
        let context = [kind | access << 16, major, minor];
        let (mut register, mut at) = ([0u64; 11], 0usize);
        loop {
            let one = code[at];
            at += 1;
            let (to, from) = ((one >> 8 & 15) as usize, (one >> 12 & 15) as usize);
            let (jump, number) = ((one >> 16) as u16 as usize, one >> 32);
            match one as u8 {
                0x61 => register[to] = context[jump / 4],
                0xbf => register[to] = register[from],
                0xb7 => register[to] = number,
                0x54 => register[to] &= number,
                0x74 => register[to] >>= number,
                0x55 => at += if register[to] == number { 0 } else { jump },
                0x95 => return register[0] == 1,
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn the_program_says_what_the_rules_say() {
        let code = program(&all(&[DeviceRule::read("b 8:* r").unwrap()]));
        let (block, char) = (1, 2);
        assert!(allowed(&code, char, 6, 1, 3) && allowed(&code, char, 7, 136, 77) && allowed(&code, char, 2, 5, 2));
        assert!(!allowed(&code, char, 2, 1, 1) && !allowed(&code, char, 6, 10, 200));
        assert!(allowed(&code, char, 1, 1, 1) && allowed(&code, block, 1, 254, 0), "any node may be made");
        assert!(!allowed(&code, block, 2, 254, 0) && !allowed(&code, block, 3, 254, 0));
        assert!(allowed(&code, block, 2, 8, 1) && !allowed(&code, block, 6, 8, 1) && !allowed(&code, char, 2, 8, 1));
        assert!(allowed(&program(&[DeviceRule::read("a *:* rwm").unwrap()]), block, 7, 9, 9));
    }
}
