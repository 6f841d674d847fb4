//! The figures, as a table for people and as JSON for comparisons.

use serde_json::{Value, json};

/// What one scenario came to.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) messages: u64,
    pub(super) accepted_per_second: f64,
    pub(super) delivered_per_second: f64,
    pub(super) cpu_us: u64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) syncs_per_1000: u64,
    pub(super) rss_mib: u64,
}

/// The first line of the table.
pub(super) fn head() {
    println!(
        "{:<26}{:>9}{:>12}{:>13}{:>12}{:>9}{:>9}{:>14}{:>9}",
        "scenario",
        "messages",
        "accepted/s",
        "delivered/s",
        "CPU us/msg",
        "p50 ms",
        "p99 ms",
        "syncs/1000",
        "RSS MiB"
    );
}

/// One line of the table.
pub(super) fn row(name: &str, measured: &Measured) {
    println!(
        "{name:<26}{:>9}{:>12.0}{:>13.0}{:>12}{:>9.2}{:>9.2}{:>14}{:>9}",
        measured.messages,
        measured.accepted_per_second,
        measured.delivered_per_second,
        measured.cpu_us,
        measured.p50_ms,
        measured.p99_ms,
        measured.syncs_per_1000,
        measured.rss_mib
    );
}

/// All of it.
pub(super) fn json(all: &[(&str, Measured)]) -> Value {
    let rows = all.iter().map(|(name, measured)| {
        json!({
            "scenario": name,
            "messages": measured.messages,
            "accepted_per_second": measured.accepted_per_second,
            "delivered_per_second": measured.delivered_per_second,
            "cpu_us_per_message": measured.cpu_us,
            "accept_p50_ms": measured.p50_ms,
            "accept_p99_ms": measured.p99_ms,
            "syncs_per_1000": measured.syncs_per_1000,
            "rss_mib": measured.rss_mib,
        })
    });
    rows.collect()
}
