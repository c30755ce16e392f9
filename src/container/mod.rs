//! The life of one container: what was asked ([`spec`]), the way there as a list ([`plan`], [`step`]), who walks it
//! ([`spawn`], [`child`]), who stays (`supervise` outside, `init` inside), and what is remembered ([`record`]).

pub mod child;
pub mod client;
pub mod control;
pub mod device;
pub mod enter;
pub mod facts;
pub mod fault;
pub mod halt;
pub mod ids;
pub mod init;
pub mod journal;
pub mod layer;
pub mod limits;
pub mod log;
pub mod network;
pub mod plan;
pub mod record;
pub mod seal;
pub mod security;
pub mod spawn;
pub mod spec;
pub mod step;
pub mod streams;
pub mod supervise;
pub mod supervisor;
pub mod sysctl;
pub mod trace;
