//! Faults on demand, in the `fault` build alone: `CTR_FAIL=step:ERRNO` makes a step fail before it does anything,
//! `CTR_KILL=step` kills ctr with SIGKILL after it. Without that feature these are empty and cost nothing.

#[cfg(not(feature = "fault"))]
use super::step::Step;

#[cfg(feature = "fault")]
pub use on_demand::Fault;

/// No fault, ever.
#[cfg(not(feature = "fault"))]
#[derive(Clone, Copy, Debug)]
pub struct Fault;

#[cfg(not(feature = "fault"))]
#[allow(clippy::unused_self)] // the shape of the other one
impl Fault {
    /// For what is not a container's way.
    pub fn none() -> Fault {
        Fault
    }

    /// What the environment wants of these steps.
    pub fn wanted(_: &[Step]) -> Fault {
        Fault
    }

    /// The errno that a step shall fail with.
    pub fn fails(self, _: &str) -> Option<i32> {
        None
    }

    /// In the child, after a step: if the parent is to die here, wait for that.
    pub fn wait_after(self, _: &str) {}

    /// In the parent: SIGKILL for ourselves, if this step is the one.
    pub fn kill_ourselves_after(self, _: &str) {}
}

#[cfg(feature = "fault")]
mod on_demand {
    use std::os::fd::RawFd;

    use crate::container::step::{Op, Step};
    use crate::sys;

    /// What is to go wrong.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct Fault {
        fail: Option<(&'static str, i32)>,
        kill: Option<&'static str>,
        parent: Option<RawFd>,
    }

    impl Fault {
        /// For what is not a container's way.
        pub fn none() -> Fault {
            Fault::default()
        }

        /// What the environment wants of these steps.
        pub fn wanted(steps: &[Step]) -> Fault {
            let known = |name: &str| steps.iter().find(|step| step.name == name).map(|step| step.name);
            let fail = std::env::var("CTR_FAIL").ok().and_then(|text| {
                let (name, errno) = text.split_once(':')?;
                Some((known(name)?, errno.parse().ok()?))
            });
            let parent = steps.iter().flat_map(|step| &step.ops).find_map(|op| match op {
                Op::Guard(fd) => Some(*fd),
                _ => None,
            });
            Fault { fail, kill: std::env::var("CTR_KILL").ok().and_then(|name| known(&name)), parent }
        }

        /// The errno that a step shall fail with.
        pub fn fails(self, step: &str) -> Option<i32> {
            self.fail.filter(|(name, _)| *name == step).map(|(_, errno)| errno)
        }

        /// In the child, after a step: if the parent is to die here, wait until it has (its pidfd tells), so that the
        /// rest of the way is walked as an orphan.
        pub fn wait_after(self, step: &str) {
            if let (true, Some(fd)) = (self.kill == Some(step), self.parent) {
                let _ = sys::poll(&mut [sys::PollFd { fd, events: libc::POLLIN, revents: 0 }], 5000);
            }
        }

        /// In the parent: SIGKILL for ourselves, if this step is the one.
        pub fn kill_ourselves_after(self, step: &str) {
            if self.kill == Some(step) {
                let _ = sys::kill(std::process::id() as i32, libc::SIGKILL);
            }
        }
    }
}
