//! Leaves a target alone for a while after it showed that it cannot be used.

use std::time::Duration;

use message::{MessageId, Timestamp};

/// First wait after a failure of the target itself.
pub const WAIT_MIN: Duration = Duration::from_secs(1);
/// Longest wait.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// First pause after a throttling answer; it doubles up to [`THROTTLE_PAUSE_MAX`] until one is taken.
pub(super) const THROTTLE_PAUSE_MIN: Duration = Duration::from_millis(200);
/// Longest pause after throttling answers.
pub(super) const THROTTLE_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Closed: everything goes. Open: nothing goes until a time. Then a single probe decides.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    failures: u32,
    open_until: Option<Timestamp>,
    probing: bool,
    /// The body at which the connection ended last; none since the target answered.
    suspect: Option<MessageId>,
}

impl Breaker {
    /// Whether something may go now.
    #[must_use]
    pub fn allows(&self, now: Timestamp) -> bool {
        match self.open_until {
            None => true,
            Some(until) => now >= until && !self.probing,
        }
    }

    /// Whether only a single probe may go.
    #[must_use]
    pub const fn is_half_open(&self) -> bool {
        self.open_until.is_some()
    }

    /// The probe is on its way.
    pub const fn probe(&mut self) {
        self.probing = true;
    }

    /// The probe came back without an answer about the target.
    pub const fn forget_probe(&mut self) {
        self.probing = false;
    }

    /// When to look again; none if closed or while a probe is out.
    #[must_use]
    pub const fn next(&self) -> Option<Timestamp> {
        if self.probing { None } else { self.open_until }
    }

    /// The target answered.
    pub const fn succeed(&mut self) {
        self.failures = 0;
        self.open_until = None;
        self.probing = false;
        self.suspect = None;
    }

    /// Somebody says that it is worth a probe now.
    pub fn hurry(&mut self) {
        if let Some(until) = &mut self.open_until {
            *until = Timestamp::default();
        }
    }

    /// The clock was set back by so much.
    pub fn set_back(&mut self, by: Duration) {
        if let Some(until) = &mut self.open_until {
            let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            *until = Timestamp::from_ms(until.as_ms().saturating_sub(by_ms));
        }
    }

    /// The target took the connection, and ended it within the transaction of a message with this body.
    /// One message may be what it cannot stand; at two that follow each other it is on probation. The
    /// next message is the probe then, and the wait does not grow.
    pub fn suspect(&mut self, now: Timestamp, body: MessageId) {
        let is_another = self.suspect.replace(body).is_some_and(|before| before != body);
        let is_waiting = self.open_until.is_some_and(|until| now < until);
        if is_waiting || !(is_another || self.is_half_open()) {
            return;
        }
        self.open_until = Some(now.after(WAIT_MIN));
        self.probing = false;
    }

    /// The target cannot be used.
    pub fn fail(&mut self, now: Timestamp) {
        if self.open_until.is_some_and(|until| now < until) {
            return; // What was in flight when it opened says nothing new.
        }
        let wait = WAIT_MIN.saturating_mul(1 << self.failures.min(10)).min(WAIT_MAX);
        self.failures = self.failures.saturating_add(1);
        self.open_until = Some(now.after(wait));
        self.probing = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_may_ask_for_the_probe_at_once() {
        let t = Timestamp::from_ms;
        let mut breaker = Breaker::default();
        breaker.hurry();
        assert!(!breaker.is_half_open());
        breaker.fail(t(5));
        assert!(!breaker.allows(t(6)));
        breaker.hurry();
        assert!(breaker.allows(t(6)) && breaker.is_half_open());
        breaker.probe();
        breaker.hurry();
        assert!(!breaker.allows(t(6)));
    }

    #[test]
    fn one_probe_decides() {
        let t = Timestamp::from_ms;
        let mut breaker = Breaker::default();
        assert!(breaker.allows(t(0)));
        breaker.fail(t(0));
        assert!(!breaker.allows(t(999)));
        assert!(breaker.allows(t(1000)));
        breaker.probe();
        assert!(!breaker.allows(t(1000)), "a second one waits for the probe");
        breaker.fail(t(1000));
        assert!(!breaker.allows(t(2999)), "the wait doubles");
        assert!(breaker.allows(t(3000)));
        breaker.succeed();
        assert!(breaker.allows(t(3000)) && !breaker.is_half_open());
    }

    #[test]
    fn a_full_window_that_fails_at_once_counts_once() {
        let t = Timestamp::from_ms;
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            breaker.fail(t(0));
        }
        assert_eq!(breaker.next(), Some(t(1000)));
    }
}
