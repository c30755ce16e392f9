//! One file a verb, each a recipe: it reads from top to bottom what the verb does.

#[allow(dead_code)] // until the verb is in cli.rs and main.rs
pub mod cp;
pub mod doctor;
pub mod run;

use std::ffi::OsString;
use std::io::Write;

use argh::{ArgsInfo, FromArgs};

use crate::cli::{self, VERBS};
use crate::error::{Doing, Result};

/// What the user typed after a verb, or None if it was a wish for help, which is granted.
fn read<T: FromArgs + ArgsInfo>(name: &str, words: &[OsString]) -> Result<Option<(T, Vec<OsString>)>> {
    let line = cli::split(&T::get_args_info(), words)?;
    if line.help {
        for verb in VERBS.iter().filter(|verb| verb.name == name) {
            print(&cli::help(verb))?;
        }
        return Ok(None);
    }
    Ok(Some((cli::parse(name, &line.options)?, line.operands)))
}

/// Data for standard output.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).doing("write to standard output", "")
}
