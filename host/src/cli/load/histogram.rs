//! Latencies, counted in buckets that are 3 % wide.

use std::time::Duration;

use serde_json::{Value, json};

/// Buckets for each doubling.
const STEPS: u32 = 32;
/// Buckets up to about an hour of microseconds: 32 doublings.
const BUCKETS: usize = 1024;

/// Counts of latencies.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_micros: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max_micros: 0 }
    }
}

impl Histogram {
    /// Adds one.
    pub fn add(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(micros)) {
            *count += 1;
        }
        self.total += 1;
        self.max_micros = self.max_micros.max(micros);
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max_micros = self.max_micros.max(other.max_micros);
    }

    /// The latency that `per_mille` of a thousand do not exceed, in microseconds.
    #[must_use]
    pub fn quantile_micros(&self, per_mille: u64) -> u64 {
        let wanted = (self.total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper(index).min(self.max_micros);
            }
        }
        self.max_micros
    }

    /// The longest, in microseconds.
    #[must_use]
    pub const fn max_micros(&self) -> u64 {
        self.max_micros
    }

    /// What people ask for, in milliseconds.
    #[must_use]
    pub fn in_ms(&self) -> Value {
        json!({
            "p50": millis(self.quantile_micros(500)),
            "p99": millis(self.quantile_micros(990)),
            "p999": millis(self.quantile_micros(999)),
            "max": millis(self.max_micros()),
        })
    }

    /// How many there are.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }
}

fn millis(micros: u64) -> f64 {
    f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1000.0
}

/// Below [`STEPS`] each microsecond has its own; above, each doubling has [`STEPS`].
fn bucket(micros: u64) -> usize {
    let doublings = micros.max(1).ilog2().saturating_sub(STEPS.ilog2());
    let step = micros >> doublings;
    let index = u64::from(doublings * STEPS) + step;
    usize::try_from(index).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The largest value in a bucket.
fn upper(index: usize) -> u64 {
    let index = u64::try_from(index).unwrap_or(u64::MAX);
    let steps = u64::from(STEPS);
    if index < 2 * steps {
        return index;
    }
    let doublings = index / steps - 1;
    ((index - doublings * steps + 1) << doublings) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        for micros in (0..100_000).chain([1 << 20, (1 << 30) + 12345]) {
            let index = bucket(micros);
            assert!(upper(index) >= micros, "{micros}");
            assert!(index == 0 || upper(index - 1) < micros, "{micros}");
        }
    }

    #[test]
    fn quantiles_are_within_their_bucket() {
        let mut histogram = Histogram::default();
        for micros in 1..=1000 {
            histogram.add(Duration::from_micros(micros));
        }
        let p50 = histogram.quantile_micros(500);
        assert!((500..=516).contains(&p50), "{p50}");
        assert_eq!((histogram.quantile_micros(1000), histogram.max_micros()), (1000, 1000));
        let mut sum = Histogram::default();
        sum.merge(&histogram);
        assert_eq!((sum.total(), sum.quantile_micros(500)), (1000, p50));
        assert_eq!(sum.in_ms()["max"], 1.0);
    }
}
