//! Whether the boundary around a process really holds: `ctr audit`.
//!
//! Four parts that know little of each other. `parse` understands the kernel's text files, and is pure. `look` opens them, and makes
//! [`look::Facts`] of them. `judge` is a table of rules: each gets the facts and what was asked for ([`judge::Asked`]) and says how
//! well one thing is; pure too. `show` prints.
//!
//! What holds for all of it:
//! - Nothing of the container is executed, loaded, or believed: the kernel is asked, from outside, and by descriptors. The process is
//!   held by a pidfd; `/proc/PID` is opened once, the process looked at again after that, and all else is opened in
//!   that directory, which never leads to another process. Files in the container's root are opened as places alone
//!   (`O_PATH`: no FIFO blocks, no device does anything), within that root, and never through a link of procfs.
//! - The auditor shares no code with what it audits: it has its own list of what must be covered, its own reading of options,
//!   its own walk up the control groups. A mistake in `plan.rs` is not made twice.
//! - One thing cannot be seen from outside, kernel parameters: for them [`look::sysctls`] enters namespaces, as the last thing that is done.
//! - What could not be seen is said to be unseen, and is no finding: neither good nor bad.

pub mod judge;
pub mod limits;
pub mod look;
pub mod parse;
pub mod show;
