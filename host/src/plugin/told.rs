//! What a plugin counted, gauged and observed since it was loaded: its part of the metrics page.
//!
//! The figures belong to the loaded plugin. They go on while a reload keeps it, begin anew with other
//! bytes or settings, and leave with it; what a refused module counted is never seen.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::env::Metric;
use super::limits::{METRIC_NAME_BYTES_MAX, METRICS_MAX};

/// Upper ends of the buckets of a histogram: whatever it is that a plugin observes, three a decade.
const BUCKETS: [f64; 22] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0,
    100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0,
];

/// What is known under one name. Clones show the same.
#[derive(Clone, Debug)]
pub enum Figure {
    /// What was added.
    Counter(Counter),
    /// What was set last.
    Gauge(Gauge<f64, AtomicU64>),
    /// What was observed.
    Histogram(Histogram),
}

/// The figures of one loaded plugin.
#[derive(Debug, Default)]
pub struct Told {
    named: Mutex<BTreeMap<Box<str>, Figure>>,
    refused: Counter,
}

impl Told {
    /// Notes a number; whether it is kept. The first use of a name says what kind of figure it is. More
    /// than [`METRICS_MAX`] names, other names than letters, digits and `_` make, and what is no finite
    /// number are counted as refused.
    pub(super) fn note(&self, name: &str, metric: Metric) -> bool {
        let mut named = self.named();
        if !named.contains_key(name) && is_name(name) && named.len() < METRICS_MAX {
            named.insert(name.into(), Figure::new(metric));
        }
        let noted = named.get(name).is_some_and(|figure| figure.note(metric));
        if !noted {
            self.refused.inc();
        }
        noted
    }

    /// All of them, by name.
    #[must_use]
    pub fn all(&self) -> Vec<(Box<str>, Figure)> {
        self.named().iter().map(|(name, figure)| (name.clone(), figure.clone())).collect()
    }

    /// How many numbers were not kept.
    #[must_use]
    pub const fn refused(&self) -> &Counter {
        &self.refused
    }

    /// Forgets all of them.
    pub(super) fn forget(&self) {
        self.named().clear();
        self.refused.inner().store(0, std::sync::atomic::Ordering::Relaxed);
    }

    fn named(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Figure>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Figure {
    fn new(metric: Metric) -> Self {
        match metric {
            Metric::Add(_) => Self::Counter(Counter::default()),
            Metric::Gauge(_) => Self::Gauge(Gauge::default()),
            Metric::Observe(_) => Self::Histogram(Histogram::new(BUCKETS)),
        }
    }

    fn note(&self, metric: Metric) -> bool {
        match (self, metric) {
            (Self::Counter(counter), Metric::Add(by)) => {
                counter.inc_by(by);
            }
            (Self::Gauge(gauge), Metric::Gauge(value)) if value.is_finite() => {
                gauge.set(value);
            }
            (Self::Histogram(histogram), Metric::Observe(value)) if value.is_finite() => {
                histogram.observe(value);
            }
            _ => return false,
        }
        true
    }
}

/// Whether it is what a metrics page and its readers take for a name everywhere.
fn is_name(name: &str) -> bool {
    let usable = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=METRIC_NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(usable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(told: &Told, name: &str, metric: Metric, kept: bool) {
        assert_eq!(told.note(name, metric), kept, "{name} {metric:?}");
    }

    #[test]
    fn a_name_is_one_figure_of_one_kind() {
        let told = Told::default();
        check(&told, "hits", Metric::Add(2), true);
        check(&told, "hits", Metric::Add(1), true);
        check(&told, "hits", Metric::Gauge(1.0), false);
        check(&told, "level", Metric::Gauge(f64::NAN), false);
        check(&told, "level", Metric::Gauge(-0.5), true);
        check(&told, "took", Metric::Observe(0.3), true);
        check(&told, "took", Metric::Observe(f64::INFINITY), false);
        for name in ["", "a-b", "a{}", "\n", "x\"y", &"n".repeat(65)] {
            check(&told, name, Metric::Add(1), false);
        }
        let all = told.all();
        let [(hits, Figure::Counter(count)), (level, Figure::Gauge(gauge)), (took, _)] = &*all
        else {
            panic!("{all:?}")
        };
        assert_eq!((&**hits, &**level, &**took), ("hits", "level", "took"));
        assert_eq!((count.get(), gauge.get().to_string()), (3, "-0.5".to_owned()));
        assert_eq!(told.refused().get(), 9);
        told.forget();
        assert_eq!((told.all().len(), told.refused().get()), (0, 0));
    }

    #[test]
    fn there_are_so_many_names_and_no_more() {
        let told = Told::default();
        for _ in 0..2 {
            for n in 0..100 {
                check(&told, &format!("of_sender_{n}"), Metric::Add(1), n < METRICS_MAX);
            }
        }
        assert_eq!(told.all().len(), METRICS_MAX);
        assert_eq!(told.refused().get(), 2 * (100 - 64));
    }
}
