//! The few nodes and links of a minimal `/dev`, and why those.
//!
//! The list is the OCI runtime specification's ("Default Devices", config-linux.md), which is also what Docker gives:
//! devices that hold no data and reach no hardware.

use std::ffi::CStr;

/// A character device that every program may use.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// Its name in `/dev`.
    pub name: &'static CStr,
    /// The device number (`drivers/char/mem.c`, `drivers/tty/tty_io.c`).
    pub major: u32,
    /// See `major`.
    pub minor: u32,
    /// What it is for.
    pub why: &'static str,
}

impl Node {
    /// The number as `mknod` takes it (`include/linux/kdev_t.h`, `new_encode_dev`), for numbers below 256.
    pub fn number(&self) -> u32 {
        (self.major << 8) | self.minor
    }
}

/// The type (`S_IFCHR`, `S_IFBLK`) and number of any device, the number as `stat` shows it and `mknod` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// `S_IFCHR` or `S_IFBLK`.
    pub kind: u32,
    /// As the kernel packs it (`new_encode_dev`): 12 bits of major, 20 of minor.
    pub device: u64,
}

impl Number {
    /// The first half of the number.
    pub fn major(self) -> u32 {
        (self.device >> 8 & 0xfff) as u32
    }

    /// The second half of the number.
    pub fn minor(self) -> u32 {
        (self.device & 0xff | self.device >> 12 & 0xf_ff00) as u32
    }

    /// `c` or `b`.
    pub fn letter(self) -> char {
        if self.kind == linux_raw_sys::general::S_IFBLK { 'b' } else { 'c' }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} {} {}", self.letter(), self.major(), self.minor())
    }
}

/// The nodes, mode 0666 each.
pub const NODES: [Node; 6] = [
    Node { name: c"null", major: 1, minor: 3, why: "swallows what is written" },
    Node { name: c"zero", major: 1, minor: 5, why: "endless zeros" },
    Node { name: c"full", major: 1, minor: 7, why: "always out of space" },
    Node { name: c"random", major: 1, minor: 8, why: "the kernel's random numbers" },
    Node { name: c"urandom", major: 1, minor: 9, why: "the same" },
    Node { name: c"tty", major: 5, minor: 0, why: "whatever terminal the process has" },
];

/// Links in `/dev`: (name, what it says).
pub const LINKS: [(&CStr, &CStr); 5] = [
    (c"fd", c"/proc/self/fd"),
    (c"stdin", c"/proc/self/fd/0"),
    (c"stdout", c"/proc/self/fd/1"),
    (c"stderr", c"/proc/self/fd/2"),
    // devpts has its own ptmx; the one of the host would make terminals in the host's instance.
    (c"ptmx", c"pts/ptmx"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_apart_as_the_kernel_packs_them() {
        let number = |device| Number { kind: linux_raw_sys::general::S_IFBLK, device };
        assert_eq!((number(0x103).major(), number(0x103).minor()), (1, 3));
        assert_eq!((number(0x0010_fe00).major(), number(0x0010_fe00).minor()), (254, 256));
        assert_eq!(number(0xffff_ffff).to_string(), "b 4095 1048575");
    }
}
