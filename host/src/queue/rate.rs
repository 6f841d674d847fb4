//! A token bucket: a steady rate with bursts.

use std::time::Duration;

use message::Timestamp;

/// Tokens refill at `per_second` up to `burst`. One SMS part, or one mail, costs one token.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled: Timestamp,
}

impl TokenBucket {
    /// A full bucket. `burst` is at least 1, and at least the largest cost that is asked for at once:
    /// a cost above the burst is let through when the bucket is full, and paid off afterwards.
    #[must_use]
    pub fn new(per_second: f64, burst: u32, now: Timestamp) -> Self {
        let burst = f64::from(burst.max(1));
        Self { per_second: per_second.max(0.001), burst, tokens: burst, filled: now }
    }

    /// Takes `cost` tokens if they are there.
    pub fn take(&mut self, now: Timestamp, cost: u32) -> bool {
        self.fill(now);
        let allowed = self.tokens >= f64::from(cost).min(self.burst);
        if allowed {
            self.tokens -= f64::from(cost);
        }
        allowed
    }

    /// Gives tokens back that were taken for something that did not happen.
    pub fn put_back(&mut self, cost: u32) {
        self.tokens = (self.tokens + f64::from(cost)).min(self.burst);
    }

    /// How long until [`TokenBucket::take`] of `cost` succeeds; zero if it does now.
    pub fn wait(&mut self, now: Timestamp, cost: u32) -> Duration {
        self.fill(now);
        let missing = f64::from(cost).min(self.burst) - self.tokens;
        if missing <= 0.0 {
            return Duration::ZERO;
        }
        // A millisecond more, so that rounding never wakes too early.
        Duration::from_secs_f64((missing / self.per_second).min(86_400.0))
            + Duration::from_millis(1)
    }

    fn fill(&mut self, now: Timestamp) {
        let gained = now.since(self.filled).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gained).min(self.burst);
        self.filled = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_holds_over_time() {
        let mut now = Timestamp::from_ms(1000);
        let mut bucket = TokenBucket::new(10.0, 5, now);
        let mut sent = 0;
        for _ in 0..10_000 {
            while bucket.take(now, 1) {
                sent += 1;
            }
            now = now.after(Duration::from_millis(1));
        }
        assert!((100..=106).contains(&sent), "{sent} in ten seconds at 10/s with a burst of 5");
    }

    #[test]
    fn a_message_of_more_parts_than_the_burst_goes_and_is_paid_off() {
        let now = Timestamp::from_ms(0);
        let mut bucket = TokenBucket::new(1.0, 2, now);
        assert!(bucket.take(now, 3));
        assert!(!bucket.take(now, 1));
        let wait = bucket.wait(now, 1);
        assert!(!bucket.take(now.after(wait / 2), 1));
        assert!(bucket.take(now.after(wait), 1));
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_and_takes_nothing() {
        let mut bucket = TokenBucket::new(1.0, 1, Timestamp::from_ms(5000));
        assert!(bucket.take(Timestamp::from_ms(5000), 1));
        assert!(!bucket.take(Timestamp::from_ms(1000), 1));
        assert!(bucket.take(Timestamp::from_ms(2100), 1));
    }
}
