//! Which system calls a container may make: seccomp(2).
//!
//! - [`table`]: names and numbers, and the classes that Docker's default profile puts them into;
//! - [`bpf`]: programs, written backwards;
//! - [`builtin`]: the default profile as a program that is ready when ctr is compiled;
//! - [`profile`]: a profile from a JSON file (Docker's format, or the one of the OCI runtime specification), compiled at run time.
//!
//! docs/security.md says why things are as they are.

pub mod bpf;
pub mod builtin;
pub mod profile;
pub mod table;

use std::fmt;

use crate::error::Result;
use crate::sys::Insn;
use profile::Profile;

/// Speculation is left as it is (`SECCOMP_FILTER_FLAG_SPEC_ALLOW`): until 5.16 x86 would switch store bypass off for
/// everything behind a filter, which costs far more than the filter.
const SPEC_ALLOW: u32 = 1 << 2;

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub enum Filter {
    /// The built-in one.
    #[default]
    Builtin,
    /// None.
    Unconfined,
    /// A profile of the user's.
    Profile(Box<Profile>),
}

/// What the kernel gets.
#[derive(Clone, PartialEq, Eq)]
pub struct Program {
    /// The instructions.
    pub insns: Vec<Insn>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
    /// How many names of the profile no system call has.
    pub unknown: usize,
    /// It is a profile's of the user's, and may deny anything.
    pub foreign: bool,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "seccomp filter of {} instructions", self.insns.len())?;
        match self.unknown {
            0 => Ok(()),
            1 => write!(f, ", 1 unknown name left out"),
            n => write!(f, ", {n} unknown names left out"),
        }
    }
}

impl Filter {
    /// The program for a process with these capabilities in its bounding set; nothing if it is to be unconfined.
    ///
    /// `release` tells the kernel's, for conditions of a profile. This is the one place where filter and capabilities meet: whoever
    /// is privileged passes `privileged`, and is then only held by a profile that was asked for by name.
    pub fn program(
        &self,
        capabilities: u64,
        privileged: bool,
        release: impl FnOnce() -> std::io::Result<String>,
    ) -> Result<Option<Program>> {
        match self {
            Filter::Unconfined => Ok(None),
            Filter::Builtin if privileged => Ok(None),
            Filter::Builtin => Ok(Some(Program {
                insns: builtin::program(capabilities),
                flags: SPEC_ALLOW,
                unknown: 0,
                foreign: false,
            })),
            Filter::Profile(profile) => profile.compile(capabilities, release).map(Some),
        }
    }
}
