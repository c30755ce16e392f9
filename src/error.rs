//! What went wrong, in words: what was being done, to what, why it failed, and what to do about it.
//!
//! One structure, not an enum of sixty: context is added once, where the intent is known ([`Doing::doing`]), and printed
//! once, in `main`. The cause is the kernel's own errno wherever there is one. Advice is one table, [`hint`]: it must not
//! be scattered over the places where things fail.

use std::fmt::{self, Write};
use std::io;
use std::ops::{Deref, DerefMut};

/// Exit codes of ctr itself, as Docker and the shells have them; 128 + n for a signal and the command's own otherwise.
pub mod exit {
    /// ctr failed, nothing of the user's was run.
    pub const CTR: u8 = 125;
    /// The command was found and cannot be executed.
    pub const NOT_EXECUTABLE: u8 = 126;
    /// The command was not found.
    pub const NOT_FOUND: u8 = 127;
}

/// An error as the user reads it. One word wide, so that everything that can fail is small and quick as long as it does not.
#[derive(Debug)]
pub struct Error(Box<Words>);

impl Deref for Error {
    type Target = Words;

    fn deref(&self) -> &Words {
        &self.0
    }
}

impl DerefMut for Error {
    fn deref_mut(&mut self) -> &mut Words {
        &mut self.0
    }
}

/// What an error says.
#[derive(Debug)]
pub struct Words {
    /// What could not be done, to follow "cannot". Empty for bad input, where the cause is the whole sentence.
    pub doing: String,
    /// Where: a path, a call, a step. May be empty.
    pub at: String,
    /// Why.
    pub cause: io::Error,
    /// What to try.
    pub hint: Option<String>,
    /// The step of a plan that failed, if it was one.
    pub step: Option<&'static str>,
    /// What ctr exits with.
    pub code: u8,
}

/// What everything above `sys.rs` returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Something that failed while `doing` it.
    pub fn new(doing: impl fmt::Display, at: impl fmt::Display, cause: io::Error) -> Error {
        Error::made(doing.to_string(), at.to_string(), cause)
    }

    #[cold]
    fn made(doing: String, at: String, cause: io::Error) -> Error {
        Error(Box::new(Words { doing, at, cause, hint: None, step: None, code: exit::CTR }))
    }

    /// Bad input: one sentence that says what is wrong with it and how it should look.
    pub fn usage(sentence: impl fmt::Display) -> Error {
        Error::made(String::new(), String::new(), io::Error::new(io::ErrorKind::InvalidInput, sentence.to_string()))
    }

    /// Adds advice, unless there is some already.
    #[must_use]
    pub fn hint(mut self, hint: Option<impl fmt::Display>) -> Error {
        if self.hint.is_none() {
            self.hint = hint.map(|h| h.to_string());
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut line = match (self.doing.as_str(), self.at.as_str()) {
            ("", _) => self.cause.to_string(),
            (doing, "") => format!("cannot {doing}: {}", self.cause),
            (doing, at) => format!("cannot {doing} ({at}): {}", self.cause),
        };
        if let Some(hint) = &self.hint {
            line.push_str("; try: ");
            line.push_str(hint);
        }
        // One error is one line, whatever bytes a path or an argument brought along.
        line.chars()
            .try_for_each(|c| if c.is_control() { write!(f, "{}", c.escape_default()) } else { f.write_char(c) })
    }
}

/// Gives a bare `io::Error` its context.
pub trait Doing<T> {
    /// `doing` follows "cannot"; `at` says where.
    fn doing(self, doing: impl fmt::Display, at: impl fmt::Display) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: impl fmt::Display, at: impl fmt::Display) -> Result<T> {
        self.map_err(|cause| Error::new(doing, at, cause))
    }
}

/// Advice for a step of the way into a container that failed with an errno. None where the kernel's word is enough.
pub fn hint(step: &str, errno: i32) -> Option<&'static str> {
    let advice = match (step, errno) {
        ("clone", libc::EPERM) => {
            "run as root, or allow unprivileged user namespaces: sysctl -w kernel.unprivileged_userns_clone=1 \
             user.max_user_namespaces=10000 (ctr doctor tells which)"
        }
        ("clone", libc::EINVAL) => "this kernel lacks a namespace type that was asked for: ctr doctor tells which",
        ("clone", libc::ENOSPC) => {
            "a limit below /proc/sys/user is used up (max_user_namespaces, max_mnt_namespaces…)"
        }
        ("overlay", libc::ENODEV) => {
            "this kernel has no overlayfs: modprobe overlay (or insmod overlay.ko), or let the container write to the \
             directory itself: ctr run --rw DIR …"
        }
        ("overlay", libc::EINVAL | libc::ELOOP) => {
            "overlayfs refuses this directory as a lower layer: copy it to a plain filesystem, or use --rw"
        }
        ("overlay", libc::EPERM) => "an overlay in a user namespace needs Linux 5.11: run as root, or use --rw",
        ("root" | "volumes", libc::EPERM) => "run as root: only root can take a copy of a mount",
        ("root" | "volumes", libc::EINVAL) => {
            "its filesystem, or one mounted in it, may not know id-mapped mounts (ctr doctor): use --userns host; \
             without root, choose a directory without mounts in it"
        }
        ("root" | "volumes" | "host-mounts", libc::ENOSYS) => {
            "this kernel or filesystem has no id-mapped mounts (ctr doctor): use --userns host"
        }
        ("procfs", libc::EPERM) => {
            "in a user namespace proc can be mounted only where an unmasked /proc is visible: run ctr outside of that \
             container, or as root with --userns host"
        }
        ("maps", libc::EPERM) => "id maps can be written only by root, or for one's own id alone",
        ("volume", libc::ENOTDIR | libc::EISDIR) => {
            "a file can be mounted on a file only, a directory on a directory"
        }
        ("sysctl", libc::ENOENT) => {
            "this kernel has no such parameter, or not in a namespace of a container's own: look with sysctl -a inside"
        }
        ("sysctl", libc::EINVAL | libc::ERANGE) => "the kernel does not take this value",
        ("sysctl", libc::EACCES | libc::EPERM | libc::EROFS) => {
            "it can only be read, or this kernel lets only the machine's own root write it: --userns host, as root"
        }
        ("devices" | "host-devices", libc::EPERM) => {
            "making device nodes takes CAP_MKNOD: run ctr as root, outside of the container that it is in"
        }
        ("devices", libc::ENODEV) => "another device was put in its place just now: run it again",
        ("device", libc::EPERM | libc::ELOOP | libc::EEXIST) => {
            "where it is to be inside, there is a link or a filesystem of the kernel's: choose another place"
        }
        ("mqueue" | "devpts", libc::ENODEV) => "this kernel lacks the filesystem: rebuild it, or load its module",
        ("seccomp", libc::EINVAL | libc::ENOSYS) => {
            "this kernel has no filters for system calls (CONFIG_SECCOMP_FILTER): --security-opt seccomp=unconfined"
        }
        ("label", libc::ENOENT) => {
            "the security module knows no such profile: load it first (apparmor_parser -r FILE)"
        }
        ("label", libc::EINVAL) => "the security module's policy has no such label",
        (_, libc::EMFILE) => "raise the limit of open files: ulimit -n 1024",
        (_, libc::ENOMEM) => "free some memory, or raise the limits of the cgroup that ctr runs in",
        _ => return None,
    };
    Some(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_where_why_and_what_to_do() {
        let error = Error::new("mount the overlay", "/run/x", io::Error::from_raw_os_error(libc::ENODEV))
            .hint(hint("overlay", libc::ENODEV));
        let text = error.to_string();
        assert!(text.starts_with("cannot mount the overlay (/run/x): "), "{text}");
        assert!(text.contains("; try: ") && text.contains("modprobe overlay"), "{text}");
        assert_eq!(Error::usage("no such option").to_string(), "no such option");
        assert_eq!(Error::usage("a\nb").to_string(), "a\\nb");
    }

    #[test]
    fn every_hint_is_one_line_of_advice() {
        let steps = [
            "clone", "overlay", "root", "volumes", "volume", "procfs", "maps", "mqueue", "devpts", "sysctl",
            "devices", "device", "other",
        ];
        let mut found = 0;
        for step in steps {
            for errno in 1..134 {
                if let Some(text) = hint(step, errno) {
                    assert!(!text.contains('\n') && text.len() > 20, "{step} {errno}: {text}");
                    found += 1;
                }
            }
        }
        assert!(found >= 12 + 2 * steps.len(), "{found}");
        assert_eq!(hint("hostname", libc::EPERM), None);
    }
}
