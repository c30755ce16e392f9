//! Labels of Linux security modules: what a program is, to AppArmor or SELinux, from its `execve` on.
//!
//! A label is written to a file of procfs, and whoever is tricked into writing it elsewhere starts a program without it
//! (CVE-2019-16884, CVE-2019-19921, CVE-2025-52881). So the procfs is the host's, held by descriptor since before the container's
//! files were of any importance; the file is opened below it without leaving it and without magic links, and what was opened is asked
//! whether it is procfs, before anything is written.
//!
//! Nothing is done unless it was asked for: ctr brings no profile and no policy of its own.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use linux_raw_sys::general as k;

use crate::error::{Error, Result};
use crate::{procfs, sys};

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The name of an AppArmor profile, or `unconfined`.
    apparmor: Option<String>,
    /// Fields of an SELinux context that differ from ctr's own: user, role, type, level.
    selinux: [Option<String>; 4],
}

/// The fields' names.
const FIELDS: [&str; 4] = ["user", "role", "type", "level"];

/// A file below procfs and what is written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    file: &'static CStr,
    text: CString,
}

/// A word of a label: no blank could be part of it, and none would be told from its end.
fn word(text: &str, option: &str) -> Result<String> {
    let bad = text.is_empty() || text.len() > 1024 || text.chars().any(|c| c.is_control() || c.is_whitespace());
    if bad {
        return Err(Error::usage(format_args!(
            "bad --security-opt {option}={text:?}: a name without blanks is wanted"
        )));
    }
    Ok(text.to_owned())
}

impl Wanted {
    /// `apparmor=NAME`.
    pub fn apparmor(&mut self, name: &str) -> Result<()> {
        self.apparmor = Some(word(name, "apparmor")?);
        Ok(())
    }

    /// `label=type:NAME` and its like; `label=disable` takes back what was said before.
    pub fn label(&mut self, text: &str) -> Result<()> {
        if text == "disable" {
            self.selinux = Default::default();
            return Ok(());
        }
        let found = text.split_once(':').and_then(|(name, value)| {
            let place = FIELDS.iter().zip(&mut self.selinux).find(|(field, _)| **field == name);
            place.map(|(_, place)| (place, value))
        });
        let Some((place, value)) = found else {
            return Err(Error::usage(format_args!(
                "bad --security-opt label={text:?}: it is disable, or user:, role:, type: or level: with a value"
            )));
        };
        *place = Some(word(value, "label")?);
        Ok(())
    }

    /// Whether there is anything to do.
    pub fn anything(&self) -> bool {
        self.apparmor.is_some() || self.selinux.iter().any(Option::is_some)
    }

    /// The labels to write; an error if the module is not there that would know them. Looks at our own.
    pub fn resolve(&self, proc: BorrowedFd) -> Result<Vec<Label>> {
        let mut labels = Vec::new();
        if let Some(name) = &self.apparmor {
            let there = procfs::read_short(proc, c"self/attr/apparmor/current").is_ok();
            if there {
                labels.push(label(c"self/attr/apparmor/exec", format!("exec {name}"))?);
            } else if name != "unconfined" {
                return Err(Error::usage(format_args!(
                    "--security-opt apparmor={name}: AppArmor is not active on this kernel (/sys/kernel/security/lsm lists what is)"
                )));
            }
        }
        if self.selinux.iter().any(Option::is_some) {
            let own = procfs::read_short(proc, c"self/attr/current").unwrap_or_default();
            let own = String::from_utf8_lossy(&own).trim_end_matches(['\0', '\n']).to_owned();
            let context = self.context(&own).ok_or_else(|| {
                Error::usage("--security-opt label=…: SELinux is not active on this kernel, or has no policy loaded")
            })?;
            labels.push(label(c"self/attr/exec", context)?);
        }
        Ok(labels)
    }

    /// Our own context with the fields that were asked for.
    fn context(&self, own: &str) -> Option<String> {
        let mut fields: Vec<&str> = own.splitn(4, ':').collect();
        if fields.len() < 3 || own.contains(char::is_whitespace) {
            return None;
        }
        for (n, wanted) in self.selinux.iter().enumerate() {
            let Some(wanted) = wanted else { continue };
            match fields.get_mut(n) {
                Some(field) => *field = wanted,
                None => fields.push(wanted),
            }
        }
        Some(fields.join(":"))
    }
}

fn label(file: &'static CStr, text: String) -> Result<Label> {
    let text = CString::new(text).map_err(|_| Error::usage("bad --security-opt: it has a NUL byte in it"))?;
    Ok(Label { file, text })
}

impl Label {
    /// Where it is written to, below procfs.
    pub fn file(&self) -> &CStr {
        self.file
    }

    /// What is written.
    pub fn text(&self) -> &CStr {
        &self.text
    }

    /// Writes it for the next `execve` of this process. Async-signal-safe.
    pub fn write(&self, proc: BorrowedFd) -> io::Result<()> {
        let resolve = k::RESOLVE_BENEATH | k::RESOLVE_NO_XDEV | k::RESOLVE_NO_MAGICLINKS;
        let file = rootfs::sys::openat2(proc, self.file, k::O_WRONLY | k::O_NOCTTY, 0, resolve)?;
        if sys::fs_magic(file.as_fd())? != u64::from(k::PROC_SUPER_MAGIC) {
            return Err(io::Error::from_raw_os_error(libc::EXDEV));
        }
        let text = self.text.to_bytes();
        if sys::write(file.as_fd(), text)? == text.len() {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::EIO))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(labels: &[&str]) -> Wanted {
        let mut wanted = Wanted::default();
        for text in labels {
            wanted.label(text).unwrap();
        }
        wanted
    }

    #[test]
    fn fields_replace_those_of_our_own_context() {
        let own = "unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023";
        assert_eq!(wanted(&["type:spc_t"]).context(own).unwrap(), "unconfined_u:unconfined_r:spc_t:s0-s0:c0.c1023");
        let all = wanted(&["user:system_u", "role:system_r", "type:container_t", "level:s0:c1,c2"]);
        assert_eq!(all.context(own).unwrap(), "system_u:system_r:container_t:s0:c1,c2");
        assert_eq!(wanted(&["level:s0:c1"]).context("u:r:t").unwrap(), "u:r:t:s0:c1");
        for other in ["", "unconfined", "docker-default (enforce)", "a:b", "a:b:c (enforce)"] {
            assert_eq!(all.context(other), None, "{other}");
        }
        assert!(!wanted(&["type:x", "disable"]).anything() && wanted(&["disable", "type:x"]).anything());
    }

    #[test]
    fn bad_words_are_refused() {
        for bad in ["", "type", "type:", "kind:x", "type:a b", "type:a\nb", "Disable"] {
            assert!(Wanted::default().label(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "a b", "a\n"] {
            assert!(Wanted::default().apparmor(bad).is_err(), "{bad:?}");
        }
    }
}
