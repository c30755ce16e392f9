//! Black-box tests of the built static binary, as root, with real programs in real namespaces.
//!
//! `CTR` names the binary, `CTR_FAULT` the same with faults on demand. Each test compares the host before and after
//! ([`support::Host`]): mounts, links, cgroups, processes, ctr's files. Run by scripts/check, one test at a time.
#![allow(missing_docs, dead_code, unused_imports, clippy::all, clippy::pedantic)] // tests are read, not built upon

mod attach;
mod audit;
mod breakout;
mod capabilities;
mod debian;
mod devices;
mod doctor;
mod errors;
mod exec;
mod faults;
mod hostile;
mod kills;
mod lifecycle;
mod limits;
mod logs;
mod network;
mod options;
mod readme;
mod records;
mod reliability;
mod rootless;
mod seccomp;
mod signals;
mod stats;
mod support;
mod sysctl;
mod terminal;
mod tracer;
mod userns;
mod wire;
