//! Capabilities: their names, the set that a container keeps, and the words that change it (capabilities(7)).
//!
//! A container's root has the set as its bounding, permitted and effective ones. Any other user has it as bounding set alone:
//! what the kernel would leave to him over `execve`. Nothing is inheritable or ambient for anybody, in `run`, `exec` and health
//! checks alike (CVE-2022-24769, CVE-2022-29162: an inheritable set let files with capabilities give more than was meant).

use linux_raw_sys::general as k;

use crate::error::{Error, Result};
use crate::{sys, words};

/// Every capability that Linux has had, by number (include/uapi/linux/capability.h).
pub const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What Docker leaves to a container's root, and so do we: 14 of 41.
pub const DEFAULT: u64 = bit(k::CAP_CHOWN)
    | bit(k::CAP_DAC_OVERRIDE)
    | bit(k::CAP_FOWNER)
    | bit(k::CAP_FSETID)
    | bit(k::CAP_KILL)
    | bit(k::CAP_SETGID)
    | bit(k::CAP_SETUID)
    | bit(k::CAP_SETPCAP)
    | bit(k::CAP_NET_BIND_SERVICE)
    | bit(k::CAP_NET_RAW)
    | bit(k::CAP_SYS_CHROOT)
    | bit(k::CAP_MKNOD)
    | bit(k::CAP_AUDIT_WRITE)
    | bit(k::CAP_SETFCAP);

/// All that this ctr knows by name; the kernel takes no notice of those that it does not know.
pub fn all() -> u64 {
    (1 << NAMES.len()) - 1
}

/// The bit of one capability in a set.
pub const fn bit(capability: u32) -> u64 {
    1 << capability
}

/// The names in a set, `CAP_` left away, separated by commas.
pub fn list(set: u64) -> String {
    let named = NAMES.iter().enumerate().filter(|(n, _)| set & (1 << n) != 0);
    named.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}

/// What a container's processes may have at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// All of them; [`all`] stands for what there is, whatever the kernel knows and ctr has.
    pub all: u64,
    /// Those of it that were named one by one: they must be there.
    pub named: u64,
}

/// What every container has that nobody said otherwise about.
pub const USUAL: Set = Set { all: DEFAULT, named: 0 };

/// The word that stands for all capabilities.
const ALL: &str = "ALL";

/// The names in one option (a list is taken too): numbers, or None for ALL.
fn read<'a>(texts: &'a [String], option: &'a str) -> impl Iterator<Item = Result<Option<u32>>> + 'a {
    texts.iter().flat_map(|text| text.split(',')).map(move |word| {
        let upper = word.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if upper == ALL {
            return Ok(None);
        }
        if let Some(number) = NAMES.iter().position(|known| *known == name) {
            return Ok(Some(number as u32));
        }
        let near = words::nearest(name, NAMES.iter().copied().chain([ALL]));
        let advice = near.map_or_else(
            || "a name is one of capabilities(7), with or without CAP_, or ALL".to_owned(),
            |near| format!("did you mean {near}?"),
        );
        Err(Error::usage(format_args!("bad {option} {word:?}: there is no such capability; {advice}")))
    })
}

/// `--cap-add`, `--cap-drop` and `--privileged`, with Docker's order: what is dropped goes, then what is added comes; with ALL
/// added, everything but what is dropped by name; with ALL dropped, nothing but what is added. Unlike Docker, and like Podman,
/// a drop counts with `--privileged` too: a limit that was asked for is not passed over.
pub fn set(add: &[String], drop: &[String], privileged: bool) -> Result<Set> {
    let (mut adds, mut add_all, mut drops, mut drop_all) = (0, false, 0, false);
    for word in read(add, "--cap-add") {
        word?.map_or_else(|| add_all = true, |number| adds |= bit(number));
    }
    for word in read(drop, "--cap-drop") {
        word?.map_or_else(|| drop_all = true, |number| drops |= bit(number));
    }
    let base = if privileged { all() } else { DEFAULT };
    Ok(match (add_all, drop_all) {
        (true, _) => Set { all: all() & !drops, named: adds & !drops },
        (false, true) => Set { all: adds, named: adds },
        (false, false) => Set { all: base & !drops | adds, named: adds },
    })
}

/// The two lists as Docker shows them: whole names in order, ALL alone, and nothing dropped that is added as well. From words
/// that were read before: what cannot be read is left out.
pub fn shown(add: &[String], drop: &[String]) -> (Vec<String>, Vec<String>) {
    let names = |texts: &[String]| -> Vec<String> {
        let numbers: Vec<Option<u32>> = read(texts, "").flatten().collect();
        if numbers.contains(&None) {
            return vec![ALL.to_owned()];
        }
        let known = numbers.into_iter().flatten().filter_map(|number| NAMES.get(number as usize));
        let mut names: Vec<String> = known.map(|name| format!("CAP_{name}")).collect();
        names.sort();
        names.dedup();
        names
    };
    let (add, mut drop) = (names(add), names(drop));
    drop.retain(|name| !add.contains(name));
    (add, drop)
}

/// What can be had of a set: all of it but what the kernel lacks, and ctr too (which may run in a container itself); over a
/// user namespace of its own a container has all. What was named must be there.
pub fn available(set: Set, own_namespace: bool) -> Result<u64> {
    if set == USUAL {
        // Nothing to find out: what is missing of these is left out when it comes to that.
        return Ok(set.all);
    }
    let known = (0..NAMES.len() as u32).filter(|n| sys::in_bounding_set(*n).is_ok()).fold(0, |all, n| all | bit(n));
    let ours = if own_namespace {
        known
    } else {
        sys::permitted().map_err(|e| Error::new("learn what ctr may do", "capget", e))?
    };
    let missing = |set: u64, whose: &str, advice: &str| {
        let sentence = format!("--cap-add {}: {whose}; {advice}", list(set));
        if set == 0 { Ok(()) } else { Err(Error::usage(sentence)) }
    };
    missing(set.named & !known, "this kernel has no such capability", "leave it out")?;
    missing(
        set.named & !ours,
        "ctr itself does not have it, and cannot give it away",
        "run ctr outside of the container that it is in, or leave it out",
    )?;
    Ok(set.all & ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn made(add: &str, drop: &str) -> u64 {
        set(&words(add), &words(drop), false).unwrap().all
    }

    #[test]
    fn the_order_is_dockers() {
        let (chown, admin) = (bit(k::CAP_CHOWN), bit(k::CAP_SYS_ADMIN));
        assert_eq!(set(&[], &[], false).unwrap(), USUAL);
        assert_eq!(made("sys_admin", ""), DEFAULT | admin);
        assert_eq!(made("", "CAP_CHOWN"), DEFAULT & !chown);
        // In doubt it is added.
        assert_eq!(made("chown", "chown"), DEFAULT);
        assert_eq!(made("cap_Sys_Admin,CHOWN", "all"), admin | chown);
        assert_eq!(made("ALL", "sys_admin"), all() & !admin);
        assert_eq!(made("ALL,SYS_ADMIN", "SYS_ADMIN"), all() & !admin);
        assert_eq!((made("ALL", "ALL"), made("", "ALL")), (all(), 0));
        assert_eq!(set(&[], &[], true).unwrap(), Set { all: all(), named: 0 });
        assert_eq!(set(&[], &words("SYS_ADMIN"), true).unwrap().all, all() & !admin);
        assert_eq!(set(&words("ALL MKNOD"), &words("CHOWN"), false).unwrap().named, bit(k::CAP_MKNOD));
    }

    #[test]
    fn what_is_no_capability_is_named_with_the_nearest() {
        for (bad, near) in [
            ("SYS_ADMN", "SYS_ADMIN"),
            ("cap_net_raww", "NET_RAW"),
            ("net", "NET_"),
            ("al", "ALL"),
            ("CAP_ALLL", "ALL"),
            ("chownn", "CHOWN"),
        ] {
            let error = set(&words(bad), &[], false).unwrap_err().to_string();
            assert!(error.contains(bad) && error.contains("--cap-add") && error.contains(near), "{error}");
        }
        for bad in ["", ",", "CHOWN,", "CAP_", "CAP_CAP_CHOWN", "21", "-1", "\u{0}", "añb", "CHOWN SYS"] {
            let error = set(&[], &[bad.to_owned()], false).unwrap_err().to_string();
            assert!(error.contains("--cap-drop") && error.lines().count() == 1, "{error}");
        }
    }

    #[test]
    fn docker_shows_them_whole_and_in_order() {
        let pair = |add: &str, drop: &str| shown(&words(add), &words(drop));
        assert_eq!(pair("sys_admin,chown CHOWN", "mknod"), (words("CAP_CHOWN CAP_SYS_ADMIN"), words("CAP_MKNOD")));
        assert_eq!(pair("chown", "chown,kill"), (words("CAP_CHOWN"), words("CAP_KILL")));
        assert_eq!(pair("chown all", "ALL,kill"), (words("ALL"), vec![]));
        assert_eq!(pair("", "all"), (vec![], words("ALL")));
    }

    #[test]
    fn the_default_set_is_dockers_fourteen() {
        assert_eq!(DEFAULT.count_ones(), 14);
        // The mask that /proc/1/status shows in a Docker container (moby, oci/caps/defaults.go).
        assert_eq!(DEFAULT, 0xa804_25fb);
        assert!(list(DEFAULT).starts_with("CHOWN,DAC_OVERRIDE,FOWNER"));
    }
}
