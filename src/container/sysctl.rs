//! `--sysctl`: the parts of `/proc/sys` that belong to a namespace of the container's own, and to nobody else.
//!
//! They are written by the container's process, before it is the user's program, through a descriptor of the procfs that it has
//! mounted itself, taken before anything was mounted on that: no path leads there that the image or a mount has a say in (CVE-2019-16884, CVE-2025-52881: a sysctl that went to
//! another file, `/proc/sysrq-trigger` say). On the way from that descriptor to the file there is no mount and no link.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};

use linux_raw_sys::general as k;

use crate::error::{Error, Result};
use crate::{sys, words};

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// Its name in its usual form, with dots (for people).
    pub key: String,
    /// Its path below `/proc/sys`.
    pub path: CString,
    /// What is written, without a newline.
    pub value: CString,
    /// Nobody asked for it: a kernel that has none (before 4.11) goes without.
    pub usual: bool,
}

/// What a network namespace of a container's own has, unless something else is asked for: whoever runs in there may serve port 80, as
/// with Docker. It guards nobody there; and root of another container who shares the network has no capability over it.
pub fn usual() -> Sysctl {
    Sysctl {
        key: "net.ipv4.ip_unprivileged_port_start".to_owned(),
        path: c"net/ipv4/ip_unprivileged_port_start".into(),
        value: c"0".into(),
        usual: true,
    }
}

/// Which namespace a sysctl belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// System V and POSIX queues, semaphores and shared memory.
    Ipc,
    /// All of `net`.
    Network,
    /// The domain name.
    Uts,
}

/// Those of the ipc namespace (kernel: ipc/ipc_sysctl.c), beside `fs.mqueue.*`.
const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// The domain name, which has a system call of its own.
const DOMAIN: &str = "kernel/domainname";

/// The path of a key below `/proc/sys`, as sysctl(8) reads it: what comes first, dot or slash, separates; the other one is then
/// part of a name (`net.ipv4.conf.eth0/1.forwarding`: the interface eth0.1).
fn path_of(key: &str) -> Option<String> {
    let swap = |c: char| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let path: String = match key.find(['.', '/']) {
        Some(at) if key.get(at..)?.starts_with('.') => key.chars().map(swap).collect(),
        _ => key.to_owned(),
    };
    let good =
        |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(|b| b.is_ascii_graphic());
    (path.len() < 256 && path.contains('/') && path.split('/').all(good)).then_some(path)
}

/// Which namespace a path below `/proc/sys` belongs to; None if it is everybody's.
fn space(path: &str) -> Option<Space> {
    if IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        Some(Space::Ipc)
    } else if path.starts_with("net/") {
        Some(Space::Network)
    } else {
        (path == DOMAIN).then_some(Space::Uts)
    }
}

/// `--sysctl KEY=VALUE`. `has` says whether the container has a namespace of its own of this kind.
pub fn parse(text: &str, has: impl Fn(Space) -> bool) -> Result<Sysctl> {
    let bad = |why: &str| Error::usage(format_args!("bad --sysctl {text:?}: {why}"));
    let form = "it is KEY=VALUE, such as net.ipv4.ip_forward=1";
    let (key, value) = text.split_once('=').ok_or_else(|| bad(form))?;
    let (key, value) = (key.trim(), value.trim());
    let path = path_of(key).ok_or_else(|| bad(form))?;
    if value.is_empty() {
        return Err(bad(form));
    }
    if value.len() > 4095 || value.contains(|c: char| c.is_control() && c != '\t') {
        return Err(bad("a value is one short line"));
    }
    let Some(space) = space(&path) else {
        if path == "kernel/hostname" {
            return Err(bad("the host name is set with -h"));
        }
        let dotted = path.replace('/', ".");
        let near = words::nearest(&path, IPC.iter().copied().chain([DOMAIN]))
            .map_or_else(String::new, |near| format!(", did you mean {}?", near.replace('/', ".")));
        return Err(bad(&format!(
            "{dotted} belongs to the whole machine, not to a container (net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm* \
             and kernel.domainname can be set){near}"
        )));
    };
    if !has(space) {
        return Err(bad(match space {
            Space::Ipc => "with --ipc host it would be the host's",
            Space::Network => "with --network host it would be the host's",
            Space::Uts => "with --uts host it would be the host's",
        }));
    }
    let c = |text: String| CString::new(text).map_err(|_| bad("it has a NUL byte in it"));
    Ok(Sysctl { key: key.to_owned(), path: c(path)?, value: c(value.to_owned())?, usual: false })
}

/// `/proc/sys`, in what must be a procfs's root. What is mounted on it later is not on the way from here. Async-signal-safe.
pub fn place(proc: BorrowedFd) -> io::Result<OwnedFd> {
    open(proc, c"sys", k::O_PATH | k::O_DIRECTORY)
}

/// Sets it, in the namespaces that we are in, at its [`place`]. Async-signal-safe.
pub fn set(place: BorrowedFd, sysctl: &Sysctl) -> io::Result<()> {
    if sysctl.path.to_bytes() == DOMAIN.as_bytes() {
        // The file is for the first root alone, the call for whoever is root over the namespace.
        return sys::setdomainname(sysctl.value.to_bytes());
    }
    let file = match open(place, &sysctl.path, k::O_WRONLY) {
        Err(e) if sysctl.usual && e.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
        file => file?,
    };
    let value = sysctl.value.to_bytes();
    let done = match sys::write(file.as_fd(), value) {
        Ok(n) if n == value.len() => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        Err(e) => Err(e),
    };
    // Closed at once: a mount with a file open for writing cannot be made read-only.
    let file = file.into_raw_fd();
    sys::close_range(file, file as u32).and(done)
}

fn open(dir: BorrowedFd, path: &CStr, flags: u32) -> io::Result<OwnedFd> {
    if sys::fs_magic(dir)? != u64::from(k::PROC_SUPER_MAGIC) {
        return Err(io::Error::from_raw_os_error(libc::EXDEV));
    }
    let resolve = k::RESOLVE_BENEATH | k::RESOLVE_NO_XDEV | k::RESOLVE_NO_MAGICLINKS | k::RESOLVE_NO_SYMLINKS;
    rootfs::sys::openat2(dir, path, flags | k::O_NOFOLLOW, 0, resolve)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> String {
        parse(text, |_| true).unwrap().path.into_string().unwrap()
    }

    #[test]
    fn dots_and_slashes_as_sysctl_has_them() {
        assert_eq!(path("net.ipv4.ip_forward=1"), "net/ipv4/ip_forward");
        assert_eq!(path("net/ipv4/ip_forward=1"), "net/ipv4/ip_forward");
        assert_eq!(path("net.ipv4.conf.eth0/1.forwarding=1"), "net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(path("net/ipv4/conf/eth0.1/forwarding = 1"), "net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(path("kernel.shm_rmid_forced=1"), "kernel/shm_rmid_forced");
        assert_eq!(path("fs.mqueue.msg_max=20"), "fs/mqueue/msg_max");
        let range = parse("net.ipv4.ip_local_port_range=1024 65000", |_| true).unwrap();
        assert_eq!(range.value.as_c_str(), c"1024 65000");
    }

    #[test]
    fn what_is_everybodys_is_refused() {
        let refused = |text: &str, has: bool| parse(text, |_| has).unwrap_err().to_string();
        for bad in [
            "kernel.core_pattern=|/x",
            "kernel.sysrq=1",
            "vm.swappiness=1",
            "kernel/core_pattern=x",
            "fs.file-max=1",
            "kernel.pid_max=9",
            "kernel.msg=1",
            "fs.mqueue=1",
            "kernel.hostname=x",
            "user.max_user_namespaces=0",
            "kernel.sem.x=1",
        ] {
            let error = refused(bad, true);
            assert!(error.contains("--sysctl") && error.lines().count() == 1, "{error}");
        }
        assert!(refused("kernel.shmmx=1", true).contains("did you mean kernel.shmmax?"));
        for (bad, option) in
            [("kernel.sem=1", "--ipc"), ("net.core.somaxconn=1", "--network"), ("kernel.domainname=x", "--uts")]
        {
            assert!(refused(bad, false).contains(option));
        }
    }

    #[test]
    fn no_path_leads_out() {
        for bad in [
            "",
            "=",
            "=1",
            "net",
            "net=1",
            "net.=1",
            ".net.x=1",
            "net..x=1",
            "/net/x=1",
            "net/../kernel/x=1",
            "net///x=1",
            "net.ipv4",
            "net.ipv4.x=",
            "net.x=a\nb",
            "net.x=\0",
            "net.x\0=1",
            "net.é=1",
            "net./..kernel.core_pattern=1",
            "net/./x=1",
            "net .x=1",
        ] {
            assert!(parse(bad, |_| true).is_err(), "{bad:?}");
        }
        // A slash that is a dot in a name is no way up.
        assert_eq!(path_of("net.ipv4.//.x"), None);
        assert_eq!(path_of(&format!("net.{}", "x".repeat(300))), None);
    }
}
