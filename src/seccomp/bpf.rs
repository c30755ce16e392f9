//! Programs of classic BPF for seccomp(2), written from their end to their beginning.
//!
//! A jump only leads forwards, and a conditional one at most 255 instructions far. Written backwards, all that can be jumped to is
//! there already and its distance is known: what is near is used by many, and what is too far gets a stepping stone (a return is
//! repeated, anything else is reached by one unconditional jump). Everything here is `const`, so the built-in filter is finished
//! when ctr is compiled.

use linux_raw_sys::general as k;

use crate::sys::Insn;

/// How many instructions the kernel takes (`BPF_MAXINSNS`).
pub const MOST: usize = 4096;

/// `AUDIT_ARCH_X86_64` and `AUDIT_ARCH_I386` (include/uapi/linux/audit.h).
pub const X86_64: u32 = 0xc000_003e;
/// See [`X86_64`].
pub const I386: u32 = 0x4000_0003;
/// What marks a number of the x32 ABI (`__X32_SYSCALL_BIT`).
pub const X32_BIT: u32 = 0x4000_0000;

/// Where things are in `struct seccomp_data`.
pub const NR: u32 = 0;
/// The architecture.
pub const ARCH: u32 = 4;

/// The lower half of an argument; the upper one is four bytes further.
pub const fn argument(n: u32) -> u32 {
    16 + 8 * n
}

/// `SECCOMP_RET_*` (include/uapi/linux/seccomp.h).
pub const ALLOW: u32 = 0x7fff_0000;
/// Allowed, and told to the audit log.
pub const LOG: u32 = 0x7ffc_0000;
/// For a tracer, with a number for it.
pub const TRACE: u32 = 0x7ff0_0000;
/// Not done; the caller gets an error number.
pub const ERRNO: u32 = 0x0005_0000;
/// `SIGSYS`.
pub const TRAP: u32 = 0x0003_0000;
/// The end of the thread.
pub const KILL_THREAD: u32 = 0;
/// The end of the process.
pub const KILL_PROCESS: u32 = 0x8000_0000;

/// Not done, because it is not permitted.
pub const EPERM: u32 = ERRNO | 1;
/// Not done, as if the kernel did not know it.
pub const ENOSYS: u32 = ERRNO | 0x26;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const GOTO: u16 = 0x05; // BPF_JMP | BPF_JA
const RETURN: u16 = 0x06; // BPF_RET | BPF_K
/// Jump if the accumulator equals the constant.
pub const EQUAL: u16 = 0x15;
/// … is greater.
pub const GREATER: u16 = 0x25;
/// … is greater or equal.
pub const AT_LEAST: u16 = 0x35;
/// … has one of its bits.
pub const ANY_BIT: u16 = 0x45;

/// Where a jump leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// To a return of this value.
    Return(u32),
    /// To an instruction, counted from the program's end: the last one is 1.
    Place(usize),
}

/// Values from `from` on (and below the next range's) lead there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first value.
    pub from: u32,
    /// Where it leads.
    pub to: To,
}

/// Whether an instruction is a return, and of what.
pub fn returns(insn: &mut Insn) -> Option<&mut u32> {
    if insn.code == RETURN { Some(&mut insn.k) } else { None }
}

/// A program that grows at its front.
pub struct Code {
    insns: [Insn; MOST],
    len: usize,
    /// It has grown too long.
    full: bool,
    /// The nearest return of each value so far.
    nearest: [(u32, usize); NEAREST],
    known: usize,
}

/// How many different returns are remembered; there may be more, which are then written more often.
const NEAREST: usize = 32;

impl Code {
    /// Nothing yet.
    #[allow(clippy::large_stack_arrays)] // a constant, and boxed where it is not one
    pub const EMPTY: Code = Code {
        insns: [Insn { code: 0, yes: 0, no: 0, k: 0 }; MOST],
        len: 0,
        full: false,
        nearest: [(0, 0); NEAREST],
        known: 0,
    };

    /// How many instructions there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The program; nothing if it is longer than the kernel takes.
    pub fn finish(&self) -> Option<&[Insn]> {
        if self.full { None } else { self.insns.get(MOST - self.len..) }
    }

    /// The same for a program that is a constant: N is [`Code::len`].
    pub const fn exact<const N: usize>(&self) -> [Insn; N] {
        assert!(!self.full && self.len == N, "the program is not that long");
        let mut all = [Insn { code: 0, yes: 0, no: 0, k: 0 }; N];
        let mut n = 0;
        while n < N {
            all[n] = self.insns[MOST - N + n];
            n += 1;
        }
        all
    }

    const fn push(&mut self, code: u16, yes: usize, no: usize, k: u32) -> usize {
        if self.len == MOST {
            self.full = true;
            return MOST;
        }
        self.len += 1;
        self.insns[MOST - self.len] = Insn { code, yes: yes as u8, no: no as u8, k };
        self.len
    }

    const fn give(&mut self, value: u32) -> usize {
        let place = self.push(RETURN, 0, 0, value);
        let mut n = 0;
        while n < self.known && self.nearest[n].0 != value {
            n += 1;
        }
        if n < NEAREST {
            self.nearest[n] = (value, place);
            if n == self.known {
                self.known += 1;
            }
        }
        place
    }

    /// How far a jump that stands `later` instructions before the present front has to go.
    const fn distance(&self, place: usize, later: usize) -> usize {
        self.len + later - place
    }

    /// A place for `to` that the next conditional jump reaches, even if `later` instructions come before it is written.
    const fn near(&mut self, to: To, later: usize) -> usize {
        match to {
            To::Place(place) if self.distance(place, later) <= 255 => place,
            To::Place(place) => self.push(GOTO, 0, 0, self.distance(place, 0) as u32),
            To::Return(value) => {
                let mut n = 0;
                while n < self.known {
                    if self.nearest[n].0 == value && self.distance(self.nearest[n].1, later) <= 255 {
                        return self.nearest[n].1;
                    }
                    n += 1;
                }
                self.give(value)
            }
        }
    }

    /// `to` comes next: an instruction that is written now falls through to it.
    const fn next(&mut self, to: To) {
        match to {
            To::Place(place) if place == self.len => {}
            To::Place(place) => {
                self.push(GOTO, 0, 0, self.distance(place, 0) as u32);
            }
            To::Return(value) => {
                self.give(value);
            }
        }
    }

    /// A conditional jump.
    pub const fn jump(&mut self, how: u16, k: u32, yes: To, no: To) -> To {
        let no = self.near(no, 1);
        let yes = self.near(yes, 0);
        To::Place(self.push(how, self.distance(yes, 0), self.distance(no, 0), k))
    }

    /// A word of the call is loaded; then it goes on there.
    pub const fn load(&mut self, offset: u32, then: To) -> To {
        self.next(then);
        To::Place(self.push(LOAD, 0, 0, offset))
    }

    /// Only these bits of the loaded word are looked at from there on.
    pub const fn mask(&mut self, bits: u32, then: To) -> To {
        self.next(then);
        To::Place(self.push(AND, 0, 0, bits))
    }

    /// A binary search over ranges in rising order, of which the first one starts at 0.
    pub const fn search(&mut self, ranges: &[Range], first: usize, end: usize) -> To {
        if end - first <= 1 {
            return ranges[first].to;
        }
        let middle = first + (end - first) / 2;
        let above = self.search(ranges, middle, end);
        let below = self.search(ranges, first, middle);
        self.jump(AT_LEAST, ranges[middle].from, above, below)
    }
}

/// `EM_*` and friends are the kernel's; this is what ties our numbers to it.
const _: () = assert!(k::__NR_read == 0 && size_of::<Insn>() == 8);

/// What a program answers: a tiny interpreter, for the tests.
#[cfg(test)]
pub fn run(program: &[Insn], nr: u32, arch: u32, args: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(nr.to_le_bytes());
    data.extend(arch.to_le_bytes());
    data.extend([0; 8]);
    for arg in args {
        data.extend(arg.to_le_bytes());
    }
    let (mut at, mut a) = (0, 0u32);
    loop {
        let insn = program[at];
        at += 1;
        let jump = |yes| usize::from(if yes { insn.yes } else { insn.no });
        match insn.code {
            LOAD => a = u32::from_le_bytes(data[insn.k as usize..][..4].try_into().unwrap()),
            AND => a &= insn.k,
            GOTO => at += insn.k as usize,
            RETURN => return insn.k,
            EQUAL => at += jump(a == insn.k),
            GREATER => at += jump(a > insn.k),
            AT_LEAST => at += jump(a >= insn.k),
            ANY_BIT => at += jump(a & insn.k != 0),
            other => panic!("instruction {other:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_finds_every_value_however_far_its_answer_is() {
        for count in [1_u32, 2, 3, 100, 300, 700, 1500] {
            let mut code = Box::new(Code::EMPTY);
            // More different answers than are remembered, and one that is far away.
            let far = code.load(argument(0), To::Return(7));
            let to = |n: u32| if n % 5 == 3 { far } else { To::Return(100 + n % 50) };
            let ranges: Vec<Range> = (0..count).map(|n| Range { from: n * 3, to: to(n) }).collect();
            let tree = code.search(&ranges, 0, ranges.len());
            code.load(NR, tree);
            let program = code.finish().unwrap();
            for nr in 0..count * 3 + 5 {
                let n = (nr / 3).min(count - 1);
                let expected = if n % 5 == 3 { 7 } else { 100 + n % 50 };
                assert_eq!(run(program, nr, X86_64, [0; 6]), expected, "{count} {nr}");
            }
        }
    }

    #[test]
    fn what_is_too_long_is_no_program() {
        let mut code = Box::new(Code::EMPTY);
        let mut to = To::Return(1);
        for n in 0..5000 {
            to = code.load(argument(n % 6), to);
        }
        assert!(code.finish().is_none());
        assert_eq!(code.len(), MOST);
    }
}
