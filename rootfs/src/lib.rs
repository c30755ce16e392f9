//! File trees for whoever wants to give a process a root of its own: mounts, overlays, `pivot_root`, `/dev`.
//!
//! This crate has never heard of containers. It offers *prepared operations* ([`Op`]): values that are made where
//! allocation is free, and run where it is not, between `clone3` and `execve`. Each one can be run, and each one can
//! say in the words of a shell what it is going to do ([`std::fmt::Display`]), so that a trace, a dry run and an error
//! message all tell the same story.
//!
//! Layers, lowest first: [`sys`] (one system call each), [`path`] (names resolved inside a root), [`mod@dev`] and
//! [`mounts`] (what `/dev` needs; what the kernel says is mounted), [`op`] (the operations). Beside them, for who copies
//! files into such a tree or out of it: [`walk`] (a tree read by descriptors), [`put`] (files made by descriptors), [`copy`]
//! (from the one to the other), and `tar` (archives), which `image` (layers) builds on; and [`usage`] (how much a tree takes), [`remove`] (its end).
#![deny(unsafe_code)]

pub mod copy;
pub mod dev;
#[cfg(feature = "image")]
pub mod image;
pub mod json;
pub mod mounts;
pub mod op;
pub mod path;
pub mod put;
pub mod remove;
#[cfg(test)]
mod scratch;
pub mod sys;
#[cfg(feature = "tar")]
pub mod tar;
pub mod usage;
pub mod walk;

pub use op::{Op, Slot, Trees};
pub use path::InRoot;
