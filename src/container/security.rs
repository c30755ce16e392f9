//! `--security-opt`: the filter for system calls, `no_new_privs`, labels of security modules; and what becomes of them in a plan.
//!
//! The order: a label is written before ids, capabilities and `no_new_privs` change (with the last the modules refuse most of them), but
//! as root of the container's user namespace, if it has one: that was entered long before, to build the root in (the `userns` step).
//! What a module wants for it, it wants over that namespace, or over none. The filter is the last thing before `execve`, so that nothing of ours has to pass it but that. Without `no_new_privs` the
//! kernel wants CAP_SYS_ADMIN for it: then that one capability, which the program shall not have, is kept so far, across the change of ids
//! too, and given up right after the filter, by the one call that must then pass it too.
//!
//! docs/security.md has the reasons.

use std::os::fd::{AsFd, OwnedFd, RawFd};

use linux_raw_sys::general as k;
use rootfs::json;

use super::step::{Op, Step, step};
use crate::error::{Doing, Error, Result};
use crate::lsm::{Label, Wanted};
use crate::seccomp::profile::{self, Profile};
use crate::seccomp::{Filter, Program};
use crate::{caps, procfs, sys};

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Security {
    /// Which system calls there are.
    pub filter: Filter,
    /// Set-user-id programs and file capabilities give nothing; if nothing was said they give something to a privileged
    /// container alone.
    pub no_new_privs: Option<bool>,
    /// What it is to AppArmor or SELinux.
    pub label: Wanted,
}

impl Default for Security {
    fn default() -> Security {
        Security { filter: Filter::Builtin, no_new_privs: None, label: Wanted::default() }
    }
}

/// What all of them are, for errors.
const KNOWN: &str = "seccomp=FILE, seccomp=builtin, seccomp=unconfined, no-new-privileges=true|false, apparmor=PROFILE, \
                     label=disable, label=type:NAME (user:, role:, level:)";

/// `KEY=VALUE`, or `KEY:VALUE` as in Docker's old days.
fn split(text: &str) -> (&str, Option<&str>) {
    match text.find(['=', ':']) {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..)),
        None => (text, None),
    }
}

/// What does not depend on the moment any more: instead of a profile's file name, what is in it. That goes into the record, as in
/// Docker: what `exec` and `start` do later does not depend on a file that somebody may have changed.
pub fn settle(text: &str) -> Result<String> {
    let ("seccomp", Some(path)) = split(text) else { return Ok(text.to_owned()) };
    if matches!(path, "" | "unconfined" | "builtin") || path.starts_with('{') {
        return Ok(text.to_owned());
    }
    let words = read(path)?;
    let profile = Profile::read(&words, path)?;
    // How long a program gets may depend on the capabilities, and is better said now.
    for capabilities in [caps::DEFAULT, caps::all()] {
        profile.compile(capabilities, sys::kernel_release)?;
    }
    let value =
        json::read(&words).map_err(|what| Error::usage(format_args!("bad seccomp profile {path}: {what}")))?;
    Ok(format!("seccomp={}", value.compact()))
}

/// The text of a profile: a file, and no pipe that would let us wait.
fn read(path: &str) -> Result<String> {
    let name = std::ffi::CString::new(path).unwrap_or_default();
    let doing = || "read the seccomp profile";
    let file = sys::openat(sys::CWD, &name, k::O_RDONLY | k::O_NONBLOCK | k::O_NOCTTY, 0).doing(doing(), path)?;
    let found = sys::fstat(file.as_fd()).doing(doing(), path)?;
    if found.st_mode & k::S_IFMT != k::S_IFREG {
        return Err(Error::usage(format_args!("bad seccomp profile {path}: it is no file")));
    }
    let bytes = procfs::read_all(file.as_fd(), profile::LONGEST).map_err(|e| match e.raw_os_error() {
        Some(libc::EFBIG) => Error::usage(format_args!(
            "bad seccomp profile {path}: it has more than {} KiB (Docker's own has 17)",
            profile::LONGEST >> 10
        )),
        _ => Error::new(doing(), path, e),
    })?;
    String::from_utf8(bytes).map_err(|_| Error::usage(format_args!("bad seccomp profile {path}: it is not UTF-8")))
}

/// All `--security-opt`s, settled ones; of two that say the same the last one wins.
pub fn parse(texts: &[String]) -> Result<Security> {
    let mut security = Security::default();
    for text in texts {
        let bad = |why: &str| Error::usage(format_args!("bad --security-opt {text:?}: {why}"));
        match split(text) {
            ("seccomp", Some("builtin")) => security.filter = Filter::Builtin,
            ("seccomp", Some("unconfined")) => security.filter = Filter::Unconfined,
            ("seccomp", Some(words)) if words.starts_with('{') => {
                security.filter = Filter::Profile(Box::new(Profile::read(words, "of this container")?));
            }
            ("seccomp", Some(_)) => return Err(bad("seccomp= wants a file, builtin or unconfined")),
            ("no-new-privileges", None | Some("true")) => security.no_new_privs = Some(true),
            ("no-new-privileges", Some("false")) => security.no_new_privs = Some(false),
            ("no-new-privileges", Some(_)) => return Err(bad("no-new-privileges is true or false")),
            ("apparmor", Some(name)) => security.label.apparmor(name)?,
            ("label", Some(words)) => security.label.label(words)?,
            _ => return Err(Error::usage(format_args!("unknown --security-opt {text:?}: there are {KNOWN}"))),
        }
    }
    Ok(security)
}

/// The same for a plan, with what had to be looked at.
#[derive(Clone, Debug, Default)]
pub struct Boundary {
    /// The filter; nothing if there is none.
    pub filter: Option<Program>,
    /// The opposite of `no_new_privs`.
    pub new_privs: bool,
    /// What is written, and the procfs that it is written to.
    pub labels: Vec<Label>,
    /// See `labels`.
    pub proc: RawFd,
}

impl Security {
    /// Looks at the kernel, as far as something was asked for that needs it. `capabilities` is the bounding set.
    pub fn look(&self, capabilities: u64, privileged: bool) -> Result<Boundary> {
        let filter = self.filter.program(capabilities, privileged, sys::kernel_release)?;
        let new_privs = !self.no_new_privs.unwrap_or(!privileged);
        let mut boundary = Boundary { filter, new_privs, labels: Vec::new(), proc: -1 };
        if self.label.anything() {
            let proc = procfs::open().doing("find /proc, for --security-opt", "")?;
            boundary.labels = self.label.resolve(proc.as_fd())?;
        }
        Ok(boundary)
    }
}

impl Boundary {
    /// The descriptor that the child will need, if it needs one; `keep` holds it until there is the child.
    pub fn prepare(&mut self, keep: impl FnOnce(OwnedFd) -> RawFd) -> Result<()> {
        if !self.labels.is_empty() {
            self.proc = keep(procfs::open().doing("find /proc, for --security-opt", "")?);
        }
        Ok(())
    }

    /// Whether the filter needs a capability.
    fn needs_admin(&self) -> bool {
        self.new_privs && self.filter.is_some()
    }

    /// Before anything is given up.
    pub fn label(&self) -> Option<Step> {
        let ops = self.labels.iter().map(|label| Op::Label(self.proc, label.clone())).collect::<Vec<_>>();
        (!ops.is_empty()).then(|| step("label", "what it is to the machine's security module", ops))
    }

    /// The change of ids.
    pub fn user(&self, change: Op) -> Vec<Op> {
        let keep = self.needs_admin().then_some(Op::KeepCapabilities);
        keep.into_iter().chain([change]).collect()
    }

    /// The capabilities until the filter is there, of which `kept` are those of the program.
    pub fn until_filtered(&self, kept: u64) -> u64 {
        kept | if self.needs_admin() { caps::bit(k::CAP_SYS_ADMIN) } else { 0 }
    }

    /// After them.
    pub fn no_new_privs(&self) -> Option<Step> {
        let wanted = !self.new_privs;
        wanted.then(|| step("no-new-privs", "set-user-id programs give nothing", vec![Op::NoNewPrivs]))
    }

    /// The last step before `execve`.
    pub fn filter(&self, kept: u64) -> Option<Step> {
        let mut ops = vec![Op::Filter(self.filter.clone()?)];
        if self.needs_admin() {
            ops.push(Op::Capabilities(kept));
        }
        Some(step("seccomp", "system calls that nothing in here can make", ops))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Security> {
        parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn what_docker_users_type_is_understood() {
        assert!(matches!(read(&[]).unwrap(), Security { filter: Filter::Builtin, no_new_privs: None, .. }));
        for text in ["seccomp=unconfined", "seccomp:unconfined"] {
            assert!(matches!(read(&[text]).unwrap().filter, Filter::Unconfined));
        }
        assert!(matches!(read(&["seccomp=unconfined", "seccomp=builtin"]).unwrap().filter, Filter::Builtin));
        for (text, expected) in
            [("no-new-privileges", true), ("no-new-privileges=true", true), ("no-new-privileges:false", false)]
        {
            assert_eq!(read(&[text]).unwrap().no_new_privs, Some(expected));
        }
        let profile = read(&[r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW"}"#]).unwrap();
        assert!(matches!(profile.filter, Filter::Profile(_)));
        assert!(read(&["label=type:x", "apparmor=y"]).unwrap().label.anything());
        assert!(!read(&["label=disable"]).unwrap().label.anything());
    }

    #[test]
    fn bad_ones_are_one_line() {
        for bad in [
            "",
            "seccomp",
            "seccomp=",
            "seccomp=/x",
            "seccomp={",
            "no-new-privileges=maybe",
            "apparmor",
            "apparmor=",
            "label",
            "label=x",
            "systempaths=unconfined",
            "seccomp={}",
        ] {
            let error = read(&[bad]).unwrap_err().to_string();
            assert!(error.contains("bad ") || error.contains("unknown "), "{bad}: {error}");
            assert!(!error.contains('\n'));
        }
    }

    #[test]
    fn only_without_no_new_privs_a_capability_is_kept_for_the_filter() {
        let boundary = |new_privs, filter| Boundary { filter, new_privs, ..Boundary::default() };
        let program = || Filter::Builtin.program(caps::DEFAULT, false, sys::kernel_release).unwrap();
        let admin = caps::bit(k::CAP_SYS_ADMIN);
        for (new_privs, filter, kept) in
            [(false, program(), 0), (true, program(), admin), (true, None, 0), (false, None, 0)]
        {
            let it = boundary(new_privs, filter);
            assert_eq!(it.until_filtered(0), kept);
            assert_eq!(it.user(Op::Session).len(), if kept == 0 { 1 } else { 2 });
            assert_eq!(it.no_new_privs().is_some(), !new_privs);
            let last = it.filter(7);
            assert_eq!(last.is_some(), it.filter.is_some());
            let given_up = last.is_some_and(|step| matches!(step.ops.last(), Some(Op::Capabilities(7))));
            assert_eq!(given_up, kept != 0);
        }
    }
}
