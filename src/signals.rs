//! Signals by name and number, as people type them: `TERM`, `SIGTERM`, `15`, `RTMIN+3` (signal(7)).

use crate::error::{Error, Result};

/// By number, x86_64 (arch/x86/include/uapi/asm/signal.h).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
    "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
    "WINCH", "IO", "PWR", "SYS",
];

/// `SIGRTMIN` and `SIGRTMAX` as programs see them: the C library keeps the first two (glibc) or three (musl) for itself. What
/// systemd calls SIGRTMIN+3 is 37.
const FIRST: i32 = 34;
const LAST: i32 = 64;

/// The number of a signal that a user typed for `option`.
pub fn parse(text: &str, option: &str) -> Result<i32> {
    let bad =
        || Error::usage(format_args!("bad {option} {text:?}: it is a signal such as TERM, SIGKILL, 15 or RTMIN+3"));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=LAST).contains(&number) { Ok(number) } else { Err(bad()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let place = NAMES.iter().position(|known| *known == name);
    let other = || match name {
        "IOT" => Some(6),
        "CLD" => Some(17),
        "POLL" => Some(29),
        "RTMIN" => Some(FIRST),
        "RTMAX" => Some(LAST),
        _ => {
            let (base, step) = match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
                (Some(step), _) => (FIRST, step.parse::<i32>().ok()?),
                (_, Some(step)) => (LAST, -step.parse::<i32>().ok()?),
                _ => return None,
            };
            Some(base.checked_add(step)?).filter(|n| (FIRST..=LAST).contains(n))
        }
    };
    place.map(|n| n as i32 + 1).or_else(other).ok_or_else(bad)
}

/// What a signal is called.
pub fn name(number: i32) -> String {
    let known = usize::try_from(number - 1).ok().and_then(|n| NAMES.get(n));
    known.map_or_else(|| format!("signal {number}"), |name| format!("SIG{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_people_type_them() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigkill", 9),
            ("15", 15),
            ("RTMIN+3", 37),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("WINCH", 28),
            ("64", 64),
        ] {
            assert_eq!(parse(text, "-s").unwrap(), number, "{text}");
        }
        for bad in ["", "0", "65", "-1", "TERMX", "SIG", "RTMIN+99", "RTMIN-1", "9 "] {
            assert!(parse(bad, "-s").is_err(), "{bad}");
        }
        assert_eq!((name(15).as_str(), name(40).as_str()), ("SIGTERM", "signal 40"));
    }
}
