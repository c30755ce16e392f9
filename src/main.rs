//! ctr: argv in, exit code out.
//!
//! Exit codes: 125 ctr failed, 126 the command cannot be executed, 127 it was not found, 128 + n it was killed by signal
//! n, otherwise the command's own.
//!
//! Rust's own start-up code is left out (`no_main`): it would cost a dozen system calls, and decide for us what SIGPIPE
//! does. What it does that we need is below, and is little.
#![deny(unsafe_code)]
#![cfg_attr(not(test), no_main)]

mod arena;
mod caps;
mod cli;
mod cmd;
mod container;
mod error;
mod idmap;
mod names;
mod procfs;
mod sys;
mod tty;
mod user;

use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int};
use std::io::Write;
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use linux_raw_sys::general as k;

use error::{Error, Result, exit};

/// The command line as it came.
fn arguments(count: c_int, words: *const *const c_char) -> Vec<OsString> {
    let word = |n: usize| {
        // SAFETY: the kernel put `count` NUL-terminated strings on the initial stack, and they stay there.
        #[allow(unsafe_code)]
        let text = unsafe { CStr::from_ptr(*words.add(n)) };
        OsStr::from_bytes(text.to_bytes()).to_owned()
    };
    (0..usize::try_from(count).unwrap_or(0)).map(word).collect()
}

/// Standard descriptors that are closed become /dev/null, or else the next file that we open would take their place
/// and be the container's standard output.
fn three_descriptors() {
    let mut three = [0, 1, 2].map(|fd| sys::PollFd { fd, events: 0, revents: 0 });
    let closed = sys::poll(&mut three, 0).is_ok_and(|n| n > 0)
        && three.iter().any(|found| found.revents & libc::POLLNVAL != 0);
    // In an initramfs there may be no /dev/null; a directory cannot be read or written either.
    let nothing = || {
        let null = sys::openat(sys::CWD, c"/dev/null", k::O_RDWR, 0);
        null.or_else(|_| sys::openat(sys::CWD, c"/", k::O_RDONLY | k::O_DIRECTORY, 0))
    };
    if !closed {
        return;
    }
    // The lowest free number is taken first: they stay open, until one is above the three.
    while nothing().is_ok_and(|fd| fd.into_raw_fd() <= 2) {}
}

/// Where the C library calls us.
#[cfg_attr(not(test), expect(unsafe_code, reason = "the one symbol that the C library looks for"))]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub extern "C" fn main(count: c_int, words: *const *const c_char) -> c_int {
    three_descriptors();
    std::panic::set_hook(Box::new(|panic| {
        // Not abort(): in a child that shares our memory it would signal us instead (musl), and it would dump core.
        tty::put_back();
        let _ = writeln!(std::io::stderr(), "ctr: {panic}\nctr: this is a bug in ctr");
        sys::exit(i32::from(exit::CTR));
    }));
    let words = arguments(count, words);
    let code = run(&words).unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "ctr: {error}");
        error.code
    });
    c_int::from(code)
}

fn run(words: &[OsString]) -> Result<u8> {
    // Executed by ourselves as PID 1 of a container: ctr-init -- COMMAND…
    if words.first().is_some_and(|name| name.as_bytes() == container::step::INIT.to_bytes()) {
        return init(words.get(2..).unwrap_or_default());
    }
    let Some(verb) = words.get(1) else {
        cmd::print(&cli::overview())?;
        return Err(Error::usage("say what to do, for example: ctr run -it host sh"));
    };
    let rest = words.get(2..).unwrap_or_default();
    match verb.to_str() {
        Some("--help" | "-h" | "help") => cmd::print(&cli::overview()).map(|()| 0),
        Some("--version" | "-v" | "version") => {
            cmd::print(concat!("ctr ", env!("CARGO_PKG_VERSION"), "\n")).map(|()| 0)
        }
        Some("run") => cmd::run::run(rest),
        Some("doctor") => cmd::doctor::run(rest),
        _ => {
            let verb = verb.to_string_lossy();
            let near = cli::nearest(&verb, cli::VERBS.iter().map(|verb| verb.name));
            let advice = near.map_or(String::from("see ctr --help"), |near| format!("did you mean {near}?"));
            Err(Error::usage(format_args!("unknown verb {verb:?}: {advice}")))
        }
    }
}

fn init(command: &[OsString]) -> Result<u8> {
    let c = |word: &OsString| CString::new(word.as_bytes()).unwrap_or_default();
    let pair = |(mut key, value): (OsString, OsString)| {
        key.push("=");
        key.push(value);
        CString::new(key.into_vec()).unwrap_or_default()
    };
    container::init::run(command.iter().map(c).collect(), std::env::vars_os().map(pair).collect())
}
