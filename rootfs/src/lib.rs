//! File trees for whoever wants to give a process a root of its own: mounts, overlays, `pivot_root`, `/dev`.
//!
//! This crate has never heard of containers. It offers *prepared operations* ([`Op`]): values that are made where
//! allocation is free, and run where it is not, between `clone3` and `execve`. Each one can be run, and each one can
//! say in the words of a shell what it is going to do ([`std::fmt::Display`]), so that a trace, a dry run and an error
//! message all tell the same story.
//!
//! Layers, lowest first: [`sys`] (one system call each), [`path`] (names resolved inside a root), [`mod@dev`] and
//! [`mounts`] (what `/dev` needs; what the kernel says is mounted), [`remove`] (the end of a tree), [`op`] (the operations).
#![deny(unsafe_code)]

pub mod dev;
pub mod mounts;
pub mod op;
pub mod path;
pub mod remove;
pub mod sys;
pub mod usage;

pub use op::{Op, Slot, Trees};
pub use path::InRoot;
