//! What compiling a module may use up, and how a module that needs more is refused.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{CompileLimits, spell_duration, spell_size};
use crate::plugin::fault::{LoadError, LoadStep};

/// A mebibyte: times are given for each that is begun.
const MIB: u64 = 1 << 20;

/// The limits of one compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Allowance {
    /// Processor time; none for bytes that ran last.
    pub(crate) cpu: Option<Duration>,
    /// Wall-clock time; none for bytes that ran last.
    pub(crate) time: Option<Duration>,
    /// Memory.
    pub(crate) memory_bytes: u64,
}

/// Which limit a module exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Cpu,
    Time,
    Memory,
}

impl Allowance {
    /// For a module of this size. Bytes that ran last were compiled once: how long that takes on a
    /// busy machine is no reason to go without them.
    pub(crate) fn of(limits: &CompileLimits, size_bytes: usize, ran_last: bool) -> Self {
        let begun = u32::try_from(as_u64(size_bytes).div_ceil(MIB).max(1)).unwrap_or(u32::MAX);
        let times = |each: Duration| (!ran_last).then(|| each.saturating_mul(begun));
        Self { cpu: times(limits.cpu), time: times(limits.time), memory_bytes: limits.memory_bytes }
    }

    /// The refusal of a module that exceeds one of them.
    pub(crate) fn refuse(&self, exceeded: Exceeded) -> LoadError {
        let spelled = |time: Option<Duration>| spell_duration(time.unwrap_or_default());
        let (what, most, key) = match exceeded {
            Exceeded::Cpu => ("processor time", spelled(self.cpu), "cpu"),
            Exceeded::Time => ("time", spelled(self.time), "time"),
            Exceeded::Memory => ("memory", spell_size(self.memory_bytes), "memory"),
        };
        LoadError::new(
            LoadStep::Compile,
            format!("compiling it takes more than {most} of {what}, the limit for its size"),
            format!(
                "look for a function of many loops, blocks or locals in it; if it is as you want \
                 it, raise `{key}` of `plugins: compile` in the YAML"
            ),
        )
    }
}

pub(crate) fn as_u64(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_grows_with_each_mebibyte_that_is_begun_and_is_not_asked_of_what_ran_last() {
        let limits = CompileLimits::default();
        let cpu = |size, ran_last| Allowance::of(&limits, size, ran_last).cpu;
        let seconds = |count| Some(Duration::from_secs(count));
        assert_eq!((cpu(0, false), cpu(1 << 20, false)), (seconds(10), seconds(10)));
        assert_eq!(
            (cpu((1 << 20) + 1, false), cpu(12_397_681, false)),
            (seconds(20), seconds(120))
        );
        let last = Allowance::of(&limits, 1, true);
        assert_eq!((last.cpu, last.time, last.memory_bytes), (None, None, 1 << 30));
    }

    #[test]
    fn a_refusal_names_the_limit_and_its_key() {
        let allowance = Allowance::of(&CompileLimits::default(), 1, false);
        let text = allowance.refuse(Exceeded::Cpu).to_string();
        assert!(text.contains("10s of processor time") && text.contains("`cpu`"), "{text}");
        let text = allowance.refuse(Exceeded::Memory).to_string();
        assert!(text.contains("1GiB of memory") && text.contains("(at compile)"), "{text}");
    }
}
