//! The life of one container: what was asked ([`spec`]), the way there as a list ([`plan`], [`step`]), who walks it
//! ([`spawn`], [`child`]), who stays (`supervise` outside, `init` inside), and what is remembered ([`record`]).

pub mod child;
pub mod fault;
pub mod init;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the supervisor of a detached container writes it, ctr logs reads it")
)]
pub mod log;
pub mod plan;
pub mod record;
pub mod spawn;
pub mod spec;
pub mod step;
pub mod supervise;
pub mod trace;
