//! Clocks that are set: ahead, or back. Pure.

use std::time::{Duration, Instant};

use message::Timestamp;

/// How far the wall clock may run from the monotonic one between two looks before that is a leap.
const LEAP_MIN: Duration = Duration::from_secs(10);

/// Finds out when the wall clock was set.
#[derive(Debug)]
pub struct Leaps {
    last: (Timestamp, Instant),
}

/// What the wall clock did since the last look, beside running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leap {
    /// Nothing.
    None,
    /// It was set ahead, or the machine slept.
    Ahead(Duration),
    /// It was set back.
    Back(Duration),
}

impl Leaps {
    /// Looks from now on.
    #[must_use]
    pub const fn new(now: Timestamp, instant: Instant) -> Self {
        Self { last: (now, instant) }
    }

    /// What happened since the last look.
    pub fn observe(&mut self, now: Timestamp, instant: Instant) -> Leap {
        let (last_now, last_instant) = std::mem::replace(&mut self.last, (now, instant));
        let expected = last_now.after(instant.saturating_duration_since(last_instant));
        let (ahead, back) = (now.since(expected), expected.since(now));
        if ahead >= LEAP_MIN {
            Leap::Ahead(ahead)
        } else if back >= LEAP_MIN {
            Leap::Back(back)
        } else {
            Leap::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::clock::Clock;

    #[track_caller]
    fn check(wall_ms: u64, real_ms: u64, expect: Leap) {
        let begun = Clock::system().instant();
        let mut leaps = Leaps::new(Timestamp::from_ms(100_000), begun);
        let instant = begun + Duration::from_millis(real_ms);
        assert_eq!(leaps.observe(Timestamp::from_ms(wall_ms), instant), expect);
        let later = Timestamp::from_ms(wall_ms + 1000);
        assert_eq!(leaps.observe(later, instant + Duration::from_secs(1)), Leap::None);
    }

    #[test]
    fn a_clock_that_was_set_is_found_and_one_that_only_runs_is_not() {
        check(101_000, 1000, Leap::None);
        check(109_000, 1000, Leap::None);
        check(99_000, 1000, Leap::None);
        check(3_701_000, 1000, Leap::Ahead(Duration::from_secs(3600)));
        check(41_000, 1000, Leap::Back(Duration::from_secs(60)));
    }
}
