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
mod audit;
mod caps;
mod cgroup;
mod cli;
mod clock;
mod cmd;
mod container;
mod error;
mod filter;
mod folders;
mod idmap;
mod lsm;
mod names;
mod network;
mod procfs;
mod seccomp;
mod signals;
mod sys;
mod table;
mod template;
mod tty;
mod user;
mod words;

use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use error::{Doing, Error, Result, exit};

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

/// Where the C library calls us.
#[cfg_attr(not(test), expect(unsafe_code, reason = "the one symbol that the C library looks for"))]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub extern "C" fn main(count: c_int, words: *const *const c_char) -> c_int {
    std::panic::set_hook(Box::new(|panic| {
        // Not abort(): in a child that shares our memory it would signal us instead (musl), and it would dump core.
        tty::put_back();
        let _ = writeln!(std::io::stderr(), "ctr: {panic}\nctr: this is a bug in ctr");
        sys::exit(i32::from(exit::CTR));
    }));
    if sys::is_privileged_program() {
        let _ = writeln!(std::io::stderr(), "ctr: refusing to run with a set-user-ID bit: everybody would be root");
        return c_int::from(exit::CTR);
    }
    let words = arguments(count, words);
    let code = run(&words).unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "ctr: {error}");
        error.code
    });
    c_int::from(code)
}

/// The only two that the standard library wants of an unwinding library, for backtraces, which a program that ends at a panic
/// and has no symbols does not show. With them that library stays out: 60 KB (`build.sh`).
#[cfg(no_unwind)]
#[expect(unsafe_code, reason = "the names that the standard library looks for")]
mod no_unwind {
    use std::ffi::{c_int, c_void};

    /// `_URC_END_OF_STACK`: there are no frames.
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Backtrace(_: *const c_void, _: *const c_void) -> c_int {
        5
    }

    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_GetIP(_: *const c_void) -> usize {
        0
    }
}

fn run(words: &[OsString]) -> Result<u8> {
    // Executed by ourselves as PID 1 of a container: ctr-init -- COMMAND…, by descriptor. By a path, such as a link in an
    // image to /proc/self/exe, anybody could have us run a program beside us while /proc/1/exe is the host's own ctr.
    let named = words.first().is_some_and(|name| name.as_bytes() == container::step::INIT.to_bytes());
    if named && sys::executed_by_descriptor() {
        return init(words.get(2..).unwrap_or_default());
    }
    if sys::euid() == 0 {
        // A container's child shares our memory, and towards its end it has no more power than root in other containers, who
        // may see it (--pid host); and a container may itself be what executes us. Nobody but the host's root may look into
        // us, or reach our file through /proc/PID/exe (CVE-2016-9962, CVE-2019-5736). The command's exec ends that. Without
        // root, id maps could not be written any more; whoever enters a container does it before he goes in (container/enter.rs).
        sys::not_dumpable().doing("close our memory to others", "prctl")?;
    }
    let Some(verb) = words.get(1) else {
        cmd::print(&cli::overview())?;
        return Err(Error::usage("say what to do, for example: ctr run -it host sh"));
    };
    let rest = words.get(2..).unwrap_or_default();
    // By pointer: all verbs put into one function would share one frame, as large as all of theirs, and a supervisor lives in it.
    let act: fn(&[OsString]) -> Result<u8> = match verb.to_str() {
        Some("--help" | "-h" | "help") => return cmd::print(&cli::overview()).map(|()| 0),
        Some("--version" | "-v" | "version") => {
            return cmd::print(concat!("ctr ", env!("CARGO_PKG_VERSION"), "\n")).map(|()| 0);
        }
        Some("run") => cmd::run::run,
        Some("create") => cmd::run::create,
        Some("start") => cmd::start::start,
        Some("restart") => cmd::start::restart,
        Some("stop") => cmd::end::stop,
        Some("kill") => cmd::end::kill,
        Some("rm") => cmd::end::rm,
        Some("rename") => cmd::end::rename,
        Some("pause") => cmd::pause::pause,
        Some("unpause") => cmd::pause::unpause,
        Some("update") => cmd::update::update,
        Some("attach") => cmd::attach::attach,
        Some("wait") => cmd::attach::wait,
        Some("ps") => cmd::ps::ps,
        Some("prune") => cmd::ps::prune,
        Some("inspect") => cmd::inspect::inspect,
        Some("network") => cmd::network::network,
        Some("port") => cmd::network::port,
        Some("info") => cmd::inspect::info,
        Some("stats") => cmd::stats::stats,
        Some("top") => cmd::top::top,
        Some("logs") => cmd::logs::logs,
        Some("cp") => cmd::cp::cp,
        Some("events") => cmd::events::events,
        Some("audit") => cmd::audit::audit,
        Some("doctor") => cmd::doctor::run,
        Some("completion") => cmd::completion::run,
        Some("exec") => return cmd::exec::exec(rest, words),
        _ => {
            let verb = verb.to_string_lossy();
            let near = words::nearest(&verb, cli::VERBS.iter().map(|verb| verb.name));
            let advice = near.map_or(String::from("see ctr --help"), |near| format!("did you mean {near}?"));
            return Err(Error::usage(format_args!("unknown verb {verb:?}: {advice}")));
        }
    };
    act(rest)
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
