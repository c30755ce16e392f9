//! One file a verb, each a recipe: it reads from top to bottom what the verb does.

pub mod attach;
pub mod audit;
pub mod completion;
pub mod cp;
pub mod diagnosis;
pub mod doctor;
pub mod end;
pub mod events;
pub mod exec;
pub mod inspect;
pub mod logs;
pub mod network;
pub mod pause;
pub mod ps;
pub mod run;
pub mod start;
pub mod stats;
pub mod top;
pub mod update;

mod asked;
mod see;

use std::ffi::OsString;
use std::io::Write;

use argh::{ArgsInfo, FromArgs};

use crate::cli::{self, VERBS};
use crate::container::record::{Found, State};
use crate::error::{Doing, Error, Result};

/// What the user typed after a verb, or None if it was a wish for help, which is granted.
fn read<T: FromArgs + ArgsInfo>(name: &str, words: &[OsString]) -> Result<Option<(T, Vec<OsString>)>> {
    let command = VERBS.iter().any(|verb| verb.name == name && verb.command);
    let line = cli::split(&T::get_args_info(), words, command)?;
    if line.help {
        help(name)?;
        return Ok(None);
    }
    Ok(Some((cli::parse(name, &line.options)?, line.operands)))
}

/// The help of a verb, on standard output.
fn help(name: &str) -> Result<()> {
    VERBS.iter().filter(|verb| verb.name == name).try_for_each(|verb| print(&cli::help(verb)))
}

/// Does something to each container that was named: all are tried, what goes wrong is said, and the exit code is 1 then (as
/// Docker has it) where there were several; of a single one the error is the answer.
fn each(
    verb: &str,
    operands: &[OsString],
    mut act: impl FnMut(&State, Found) -> Result<Option<String>>,
) -> Result<u8> {
    if operands.is_empty() {
        return Err(Error::usage(format_args!(
            "no CONTAINER: say which one, for example: ctr {verb} web (ctr ps -a lists them)"
        )));
    }
    let state = State::open()?;
    let mut code = 0;
    for word in operands {
        let done = state.find(word).and_then(|found| act(&state, found));
        match done {
            Ok(Some(line)) => print(&format!("{line}\n"))?,
            Ok(None) => {}
            Err(e) if operands.len() == 1 => return Err(e),
            Err(e) => {
                let _ = writeln!(std::io::stderr(), "ctr: {e}");
                code = 1;
            }
        }
    }
    Ok(code)
}

/// The one container that a verb is about.
fn the_one<'a>(verb: &str, operands: &'a [OsString]) -> Result<&'a OsString> {
    match operands {
        [one] => Ok(one),
        [] => Err(Error::usage(format_args!(
            "no CONTAINER: say which one, for example: ctr {verb} web (ctr ps -a lists them)"
        ))),
        _ => Err(Error::usage(format_args!("ctr {verb} takes one CONTAINER (see ctr {verb} --help)"))),
    }
}

/// Data for standard output.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).doing("write to standard output", "")
}
