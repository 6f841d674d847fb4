//! Numbers for the host's metrics page, under the plugin's name.
//!
//! They count at once, also if the call fails. The first use of a name says whether it is a counter, a gauge or
//! a histogram. A plugin has 64 names, of at most 64 letters, digits and `_`; others are not kept.

use crate::backend;

/// Adds to a counter.
pub fn add(name: &str, by: u64) {
    backend::metric_add(name, by);
}

/// Sets a gauge.
pub fn gauge(name: &str, value: f64) {
    backend::metric_gauge(name, value);
}

/// Adds one observation to a histogram.
pub fn observe(name: &str, value: f64) {
    backend::metric_observe(name, value);
}
