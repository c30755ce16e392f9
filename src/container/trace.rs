//! `--trace`: every step as it happens, with its cost, on standard error.

use std::io::Write;

use crate::sys;

/// The clock of a run, and whether anybody wants to see it.
#[derive(Debug)]
pub struct Trace {
    on: bool,
    began: u64,
    last: u64,
    steps: usize,
}

impl Trace {
    /// Starts the clock. Does not look at it unless `on`.
    pub fn new(on: bool) -> Trace {
        let now = if on { sys::now() } else { 0 };
        let trace = Trace { on, began: now, last: now, steps: 0 };
        if on {
            say(&format!("{:>9}  {:<14} {}", "µs", "step", "what it makes true"));
        }
        trace
    }

    /// Whether anybody watches.
    pub fn on(&self) -> bool {
        self.on
    }

    /// A step that was done at `time` (nanoseconds since boot).
    pub fn step(&mut self, name: &str, why: &str, time: u64) {
        if self.on {
            let cost = time.saturating_sub(self.last);
            say(&format!("{:>7}.{}  {name:<14} {why}", cost / 1000, cost % 1000 / 100));
            self.last = self.last.max(time);
            self.steps += 1;
        }
    }

    /// A step that has just been done by ourselves.
    pub fn note(&mut self, name: &str, why: &str) {
        if self.on {
            self.step(name, why, sys::now());
        }
    }

    /// The sum.
    pub fn sum(&self) {
        if self.on {
            let all = self.last.saturating_sub(self.began);
            say(&format!("{:>7}.{}  in {} steps", all / 1000, all % 1000 / 100, self.steps));
        }
    }
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
