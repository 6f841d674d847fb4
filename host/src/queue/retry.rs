//! When to try again: the schedule of the configuration, spread so that what failed together does
//! not come back together.

use std::time::Duration;

use message::MessageId;

use crate::config::Retry;

/// Answers that may mean anything (SMPP ESME_RSUBMITFAIL and the like) are tried this often.
pub const LIMITED_ATTEMPTS_MAX: u32 = 5;

/// How long to wait after `attempts` attempts (1 or more): the schedule's wait and up to a tenth
/// more. The jitter comes from the id, so that a replay gives the same times.
#[must_use]
pub fn delay(retry: &Retry, attempts: u32, id: MessageId) -> Duration {
    let base = retry.delay_after(attempts);
    base + base.mul_f64(f64::from(spread(id, attempts)) / 10_000.0)
}

/// 0 to 999, from the id and the attempt.
fn spread(id: MessageId, attempts: u32) -> u16 {
    let mixed = (id.as_u64() ^ u64::from(attempts)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    u16::try_from(mixed % 1000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Delays;

    fn retry() -> Retry {
        let delays = [10, 30, 60].map(Duration::from_secs).to_vec();
        Retry { delays: Delays::List(delays), give_up: Duration::from_secs(3600) }
    }

    #[test]
    fn delays_follow_the_list_and_stay_at_its_end() {
        let id = MessageId::from_u64(42);
        for (attempts, seconds) in [(1, 10), (2, 30), (3, 60), (100, 60)] {
            let base = Duration::from_secs(seconds);
            let delay = delay(&retry(), attempts, id);
            assert!(delay >= base && delay <= base + base / 10, "{attempts}: {delay:?}");
        }
    }

    #[test]
    fn what_failed_together_spreads() {
        let delays: std::collections::BTreeSet<_> =
            (0..100).map(|n| delay(&retry(), 3, MessageId::from_u64(n << 22))).collect();
        assert!(delays.len() > 50, "{}", delays.len());
    }
}
