//! The filter that every container has unless something else was asked for: Docker's default profile, made when ctr is compiled.
//!
//! Every class of system call that depends on capabilities ends in returns of its own, of a value that is no action. At run time
//! a copy is taken, and these values become what the container's capabilities make of them; one that was forgotten would kill.
//!
//! The way through it is short: architecture, number, then a binary search. Nothing but architecture and number decides about
//! most calls, so the kernel (5.11 and later) finds that out once, when the filter is installed, and does not run it for them.

use linux_raw_sys::general as k;

use super::bpf::{self, ALLOW, ANY_BIT, Code, ENOSYS, EPERM, EQUAL, Range, To};
use super::table::{self, CLASSES, Class, END, TABLE};
use crate::sys::Insn;

/// No action of the kernel's: what it does not know kills the process. The lowest byte is a [`Class`].
const OPEN: u32 = 0x7000_0000;

/// The program, with the questions of capabilities open.
static PROGRAM: [Insn; BUILT.len()] = BUILT.exact();

/// Only looked at by the compiler.
const BUILT: Code = build();

/// The socket families that Docker's profile allows (include/linux/socket.h). Not there: those that the kernel no longer has, the kernel's
/// own cryptography (AF_ALG), and the machine's line to its hypervisor (AF_VSOCK), which knows no network namespaces.
const FAMILIES: [u32; 37] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29, 30, 31, 32, 33, 35, 36,
    39, 41, 42, 43, 44, 45,
];

/// PER_LINUX, PER_LINUX32, both with UNAME26, and the question which one it is.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// `CLONE_NEW*` of clone(2), whose lowest byte is a signal: there is no CLONE_NEWTIME.
const NAMESPACES: u32 = k::CLONE_NEWNS
    | k::CLONE_NEWUTS
    | k::CLONE_NEWIPC
    | k::CLONE_NEWUSER
    | k::CLONE_NEWPID
    | k::CLONE_NEWNET
    | k::CLONE_NEWCGROUP;

/// TIOCSTI and TIOCLINUX (include/uapi/asm-generic/ioctls.h).
const TYPING: [u32; 2] = [0x5412, 0x541c];

const fn bits(capabilities: &[u32]) -> u64 {
    let (mut set, mut n) = (0, 0);
    while n < capabilities.len() {
        set |= 1 << capabilities[n];
        n += 1;
    }
    set
}

/// One of these capabilities opens the class.
const fn openers(class: u8) -> u64 {
    const fn is(class: u8, other: Class) -> bool {
        class == other as u8
    }
    const ALONE: [(Class, u32); 9] = [
        (Class::DacReadSearch, k::CAP_DAC_READ_SEARCH),
        (Class::SysBoot, k::CAP_SYS_BOOT),
        (Class::SysChroot, k::CAP_SYS_CHROOT),
        (Class::SysModule, k::CAP_SYS_MODULE),
        (Class::SysPacct, k::CAP_SYS_PACCT),
        (Class::SysPtrace, k::CAP_SYS_PTRACE),
        (Class::SysRawio, k::CAP_SYS_RAWIO),
        (Class::SysTime, k::CAP_SYS_TIME),
        (Class::SysNice, k::CAP_SYS_NICE),
    ];
    let mut n = 0;
    while n < ALONE.len() {
        if is(class, ALONE[n].0) {
            return bits(&[ALONE[n].1]);
        }
        n += 1;
    }
    if is(class, Class::SysTtyConfig) {
        bits(&[k::CAP_SYS_TTY_CONFIG])
    } else if is(class, Class::Bpf) {
        bits(&[k::CAP_BPF, k::CAP_SYS_ADMIN])
    } else if is(class, Class::Perfmon) {
        bits(&[k::CAP_PERFMON, k::CAP_SYS_ADMIN])
    } else if is(class, Class::Syslog) {
        bits(&[k::CAP_SYSLOG, k::CAP_SYS_ADMIN])
    } else {
        // SysAdmin, Clone3, and what is left of Clone and Ioctl.
        bits(&[k::CAP_SYS_ADMIN])
    }
}

/// The filter for a container with these capabilities.
pub fn program(capabilities: u64) -> Vec<Insn> {
    let mut program = PROGRAM.to_vec();
    for value in program.iter_mut().filter_map(bpf::returns) {
        if *value & 0xffff_ff00 == OPEN {
            let class = *value as u8;
            *value = match capabilities & openers(class) {
                0 if class == Class::Clone3 as u8 => ENOSYS,
                0 => EPERM,
                _ => ALLOW,
            };
        }
    }
    program
}

/// The class of every number; `old` on i386.
const fn classes(old: bool) -> [Class; END] {
    let mut all = [Class::Newer; END];
    let mut n = 0;
    while n < TABLE.len() {
        let (class, text) = TABLE[n];
        let mut at = 0;
        while let Some((call, end)) = table::read(text, at) {
            let numbers = if old { [call.i386, None] } else { [call.x86_64, call.x32] };
            if let Some(number) = numbers[0] {
                all[number as usize] = class;
            }
            if let Some(number) = numbers[1] {
                all[number as usize] = class;
            }
            at = end;
        }
        n += 1;
    }
    all
}

const NOTHING: Range = Range { from: 0, to: To::Return(ENOSYS) };

/// The search among the numbers of one architecture.
const fn numbers(code: &mut Code, old: bool, targets: &[To; CLASSES]) -> To {
    let classes = classes(old);
    let mut ranges = [NOTHING; END];
    let (mut count, mut nr) = (0, 0);
    while nr < END {
        if nr == 0 || classes[nr] as u8 != classes[nr - 1] as u8 {
            ranges[count] = Range { from: nr as u32, to: targets[classes[nr] as usize] };
            count += 1;
        }
        nr += 1;
    }
    code.search(&ranges, 0, count)
}

/// Whether the first argument is one of these, in rising order; the kernel itself takes no notice of its upper half.
const fn one_of(code: &mut Code, values: &[u32]) -> To {
    let mut ranges = [Range { from: 0, to: To::Return(EPERM) }; 64];
    let (mut count, mut n) = (1, 0);
    while n < values.len() {
        let value = values[n];
        if ranges[count - 1].from != value {
            ranges[count] = Range { from: value, to: To::Return(ALLOW) };
            count += 1;
        } else if count > 1 {
            // It follows the one before, whose range grows.
            count -= 1;
        } else {
            ranges[0].to = To::Return(ALLOW);
        }
        if value != u32::MAX {
            ranges[count] = Range { from: value + 1, to: To::Return(EPERM) };
            count += 1;
        }
        n += 1;
    }
    let found = code.search(&ranges, 0, count);
    code.load(bpf::argument(0), found)
}

const fn build() -> Code {
    let mut code = Code::EMPTY;
    let mut targets = [To::Return(ALLOW); CLASSES];
    let mut n = Class::Clone3 as usize;
    while n < CLASSES {
        targets[n] = To::Return(OPEN | n as u32);
        n += 1;
    }
    targets[Class::Deny as usize] = To::Return(EPERM);
    targets[Class::Newer as usize] = To::Return(ENOSYS);
    let admin = To::Return(OPEN | Class::SysAdmin as u32);

    targets[Class::Socket as usize] = one_of(&mut code, &FAMILIES);
    targets[Class::Personality as usize] = one_of(&mut code, &PERSONALITIES);
    let clone = code.jump(ANY_BIT, NAMESPACES, admin, To::Return(ALLOW));
    targets[Class::Clone as usize] = code.load(bpf::argument(0), clone);
    let ioctl = code.jump(EQUAL, TYPING[1], admin, To::Return(ALLOW));
    let ioctl = code.jump(EQUAL, TYPING[0], admin, ioctl);
    targets[Class::Ioctl as usize] = code.load(bpf::argument(1), ioctl);

    let old = numbers(&mut code, true, &targets);
    let old = code.load(bpf::NR, old);
    let other = code.jump(EQUAL, bpf::I386, old, To::Return(bpf::KILL_PROCESS));
    // x32 has the numbers of x86_64 with a bit, but for 36 that are its own. What only the one or the other has, the kernel does not
    // find in the other's table.
    let wide = numbers(&mut code, false, &targets);
    let wide = code.mask(!bpf::X32_BIT, wide);
    let wide = code.load(bpf::NR, wide);
    let start = code.jump(EQUAL, bpf::X86_64, wide, other);
    code.load(bpf::ARCH, start);
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::bpf::{I386, KILL_PROCESS, X32_BIT, X86_64, run};
    use std::collections::HashMap;

    /// Sets that differ in each capability that is asked for.
    fn sets() -> Vec<u64> {
        [0, u64::MAX, 0xa804_25fb].into_iter().chain((0..41).flat_map(|n| [1 << n, !(1 << n)])).collect()
    }

    /// What the table says, without any program.
    fn expected(class: Class, set: u64, args: [u64; 6]) -> u32 {
        let has = |number: u32| set & 1 << number != 0;
        let admin = has(k::CAP_SYS_ADMIN);
        let first = args[0] as u32;
        let (open, closed) = match class {
            Class::Allow => (true, EPERM),
            Class::Ioctl => (admin || !TYPING.contains(&(args[1] as u32)), EPERM),
            Class::Socket => (FAMILIES.contains(&first), EPERM),
            Class::Personality => (PERSONALITIES.contains(&first), EPERM),
            Class::Clone => (admin || first & 0x7e02_0000 == 0, EPERM),
            Class::Clone3 => (admin, ENOSYS),
            Class::DacReadSearch => (has(2), EPERM),
            Class::SysAdmin => (admin, EPERM),
            Class::Bpf => (admin || has(39), EPERM),
            Class::Perfmon => (admin || has(38), EPERM),
            Class::Syslog => (admin || has(34), EPERM),
            Class::SysBoot => (has(22), EPERM),
            Class::SysChroot => (has(18), EPERM),
            Class::SysModule => (has(16), EPERM),
            Class::SysPacct => (has(20), EPERM),
            Class::SysPtrace => (has(19), EPERM),
            Class::SysRawio => (has(17), EPERM),
            Class::SysTime => (has(25), EPERM),
            Class::SysTtyConfig => (has(26), EPERM),
            Class::SysNice => (has(23), EPERM),
            Class::Deny => (false, EPERM),
            Class::Newer => (false, ENOSYS),
        };
        if open { ALLOW } else { closed }
    }

    #[test]
    fn the_program_is_the_table() {
        let (mut wide, mut old) = (HashMap::new(), HashMap::new());
        for (_, class, call) in table::all() {
            wide.extend(call.x86_64.into_iter().chain(call.x32).map(|number| (u32::from(number), class)));
            old.extend(call.i386.map(|number| (u32::from(number), class)));
        }
        let edges = [X32_BIT - 1, i32::MAX as u32, 1 << 31, u32::MAX, u32::MAX - 1, 1 << 16];
        let arguments =
            [0, 1, 0x5412, 0x541c, 0x1_0000_5412, k::CLONE_NEWUSER.into(), k::CLONE_NEWTIME.into(), u64::MAX];
        for set in sets() {
            let program = program(set);
            for nr in (0..600).chain(edges) {
                // Most answers do not depend on arguments.
                let asks = [16, 41, 54, 56, 120, 135, 136, 359, 514].contains(&nr);
                for value in arguments.into_iter().take(if asks { 8 } else { 1 }) {
                    let args = [value; 6];
                    let of = |map: &HashMap<u32, Class>| expected(*map.get(&nr).unwrap_or(&Class::Newer), set, args);
                    assert_eq!(run(&program, nr, X86_64, args), of(&wide), "{nr} {set:#x} {value:#x}");
                    assert_eq!(run(&program, nr, I386, args), of(&old), "i386 {nr} {set:#x} {value:#x}");
                    if nr < X32_BIT {
                        let x32 = run(&program, nr | X32_BIT, X86_64, args);
                        assert_eq!(x32, of(&wide), "x32 {nr} {set:#x}");
                    }
                }
            }
            assert_eq!(run(&program, 0, 0xc000_00b7, [0; 6]), KILL_PROCESS);
        }
    }

    #[test]
    fn arguments_are_looked_at() {
        let program = program(0xa804_25fb);
        for family in (0..70).chain([255, 1 << 31, u32::MAX]) {
            for (nr, arch) in [(k::__NR_socket, X86_64), (359, I386)] {
                let answer = run(&program, nr, arch, [family.into(), 1, 0, 0, 0, 0]);
                assert_eq!(answer == ALLOW, FAMILIES.contains(&family), "{family}");
            }
        }
        for value in (0..0x3_0000).chain([u32::MAX - 1, u32::MAX]) {
            let answer = run(&program, k::__NR_personality, X86_64, [value.into(), 0, 0, 0, 0, 0]);
            assert_eq!(answer == ALLOW, PERSONALITIES.contains(&value), "{value:#x}");
        }
        for bit in 0..64 {
            let answer = run(&program, k::__NR_clone, X86_64, [1 << bit, 0, 0, 0, 0, 0]);
            assert_eq!(answer == ALLOW, ![17, 25, 26, 27, 28, 29, 30].contains(&bit), "{bit}");
        }
    }

    #[test]
    fn it_is_short_and_nothing_is_left_open() {
        assert!(PROGRAM.len() <= 330, "{} instructions", PROGRAM.len());
        for set in sets() {
            let mut program = program(set);
            let answers: Vec<u32> = program.iter_mut().filter_map(bpf::returns).map(|value| *value).collect();
            assert!(answers.iter().all(|value| [ALLOW, EPERM, ENOSYS, KILL_PROCESS].contains(value)), "{answers:x?}");
        }
    }

    /// What the kernel's own look at a filter can follow (seccomp_is_const_allow, kernel/seccomp.c): loads of number and architecture,
    /// jumps, AND, returns. Every call that is allowed whatever its arguments must get through it with these alone.
    #[test]
    fn number_and_architecture_alone_decide_about_what_is_always_allowed() {
        let program = program(0xa804_25fb);
        for (name, class, call) in table::all().filter(|(_, class, _)| *class == Class::Allow) {
            for (number, arch) in [(call.x86_64, X86_64), (call.i386, I386)] {
                let Some(number) = number else { continue };
                let (mut at, mut a) = (0, 0);
                loop {
                    let insn = program[at];
                    at += 1;
                    match insn.code {
                        0x20 => a = [u32::from(number), arch][(insn.k / 4) as usize],
                        0x54 => a &= insn.k,
                        0x05 => at += insn.k as usize,
                        0x15 => at += usize::from(if a == insn.k { insn.yes } else { insn.no }),
                        0x35 => at += usize::from(if a >= insn.k { insn.yes } else { insn.no }),
                        0x06 => break assert_eq!(insn.k, ALLOW, "{name} {class:?}"),
                        other => panic!("{name}: {other:#x}"),
                    }
                }
            }
        }
    }
}
