//! `retry`: when a delivery that failed for now is tried again, and when it is given up.

use std::time::Duration;

use super::check::Check;
use super::keys::{DAY, Kind, MINUTE, SECOND, Schema, key};
use super::scalar::parse_duration;
use super::section::{Section, in_duration_range};

/// A retry schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// The pauses.
    pub delays: Delays,
    /// Time since acceptance after which the delivery has failed.
    pub give_up: Duration,
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

/// The keys of a retry schedule.
pub(super) static KEYS: Schema = Schema {
    about: "When a delivery that failed for now is tried again, and when it is given up.",
    keys: &[
        key(
            "delays",
            Kind::Several(&Kind::Duration(SECOND, 7 * DAY)),
            "Pauses one after another; the last one repeats. Instead of `first`, `factor` and `max`.",
        ),
        key("first", Kind::Duration(SECOND, DAY), "The first pause.").or("30s"),
        key(
            "factor",
            Kind::Decimal(1.0, 100.0),
            "How many times longer each pause is than the one before.",
        )
        .or("2"),
        key("max", Kind::Duration(SECOND, 7 * DAY), "The longest pause.").or("1h"),
        key(
            "give_up",
            Kind::Duration(MINUTE, 30 * DAY),
            "Time since acceptance after which a delivery has failed.",
        )
        .or("2d"),
    ],
};

/// Delays in one schedule at most.
const DELAYS_MAX: usize = 100;

impl Retry {
    /// Reads the schedule of an open section.
    pub(super) fn read(check: &mut Check, section: &Section<'_>) -> Self {
        let range = Some((SECOND, 7 * DAY));
        let list = section
            .several(check, "delays", |text| in_duration_range(parse_duration(text)?, range));
        let delays = if section.has("delays") {
            if let Some(other) = ["first", "factor", "max"].iter().find(|key| section.has(key)) {
                let path = section.at(other);
                check
                    .error(section.place, format!("{path} has no meaning beside a list of delays"));
            }
            if list.is_empty() || list.len() > DELAYS_MAX {
                let path = section.at("delays");
                check.error(section.place, format!("{path} takes 1 to {DELAYS_MAX} durations"));
            }
            Delays::List(list)
        } else {
            let first = section.duration(check, "first");
            let max = section.duration(check, "max");
            if first > max {
                let path = &section.path;
                check.error(
                    section.place,
                    format!("{path}: the first pause is longer than the longest"),
                );
            }
            Delays::Growing { first, factor: section.decimal(check, "factor"), max }
        };
        let give_up = section.duration(check, "give_up");
        Self { delays, give_up }
    }
}
