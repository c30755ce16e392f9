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
