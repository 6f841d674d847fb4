//! `retry`: when a delivery that failed for now is tried again, and when it is given up.

use std::time::Duration;

/// A retry schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// The pauses.
    pub delays: Delays,
    /// Time since acceptance after which the delivery has failed.
    pub give_up: Duration,
    /// Time since acceptance after which a mail's sender is told of the delay (RFC 3464 `delayed`).
    pub delay_notice: Option<Duration>,
}

/// Pauses between attempts.
#[derive(Debug, Clone, PartialEq)]
pub enum Delays {
    /// One after another; the last one repeats.
    List(Vec<Duration>),
    /// `first`, then `factor` times longer each time up to `max`.
    Growing {
        /// The first pause.
        first: Duration,
        /// At least 1.
        factor: f64,
        /// The longest pause.
        max: Duration,
    },
}

impl Retry {
    /// The pause after the attempt with this number, the first being 1. Without jitter: that is the
    /// queue's.
    #[must_use]
    pub fn delay_after(&self, attempt: u32) -> Duration {
        match &self.delays {
            Delays::List(list) => {
                let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
                list.get(index).or_else(|| list.last()).copied().unwrap_or(Duration::from_secs(60))
            }
            Delays::Growing { first, factor, max } => {
                let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
                let seconds = first.as_secs_f64() * factor.powi(exponent);
                // A factor to a large power is infinite, which no duration can be.
                Duration::try_from_secs_f64(seconds).map_or(*max, |delay| delay.min(*max))
            }
        }
    }
}
