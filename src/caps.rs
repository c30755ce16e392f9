//! Capabilities: their names, and the set that a container keeps (capabilities(7)).

use linux_raw_sys::general as k;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_set_is_dockers_fourteen() {
        assert_eq!(DEFAULT.count_ones(), 14);
        // The mask that /proc/1/status shows in a Docker container (moby, oci/caps/defaults.go).
        assert_eq!(DEFAULT, 0xa804_25fb);
        assert!(list(DEFAULT).starts_with("CHOWN,DAC_OVERRIDE,FOWNER"));
    }
}
