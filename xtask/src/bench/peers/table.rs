//! What the router and its peers came to, side by side.

use serde_json::{Value, json};

use super::{Load, PIPELINED_MAIL, PLAIN_MAIL, Shape};

/// One load of one program.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) who: &'static str,
    pub(super) what: &'static str,
    pub(super) shape: Shape,
    pub(super) accepted_per_second: Option<f64>,
    pub(super) delivered_per_second: f64,
    pub(super) cpu_us: u64,
    pub(super) latency: Option<Load>,
    pub(super) syncs_per_1000: Option<u64>,
}

impl Row {
    pub(super) fn json(&self) -> Value {
        json!({
            "who": self.who,
            "what": self.what,
            "sessions": self.shape.sessions,
            "window": self.shape.window,
            "messages": self.shape.count,
            "accepted_per_second": self.accepted_per_second,
            "delivered_per_second": self.delivered_per_second,
            "cpu_us_per_message": self.cpu_us,
            "accept_p50_ms": self.latency.as_ref().map(|it| it.p50_ms),
            "accept_p99_ms": self.latency.as_ref().map(|it| it.p99_ms),
            "accept_p999_ms": self.latency.as_ref().map(|it| it.p999_ms),
            "syncs_per_1000": self.syncs_per_1000,
        })
    }
}

/// The first line.
pub(super) fn head() {
    println!(
        "{:<10}{:<16}{:>9}{:>7}{:>10}{:>12}{:>13}{:>12}{:>9}{:>9}{:>10}{:>12}",
        "who",
        "what",
        "sessions",
        "window",
        "messages",
        "accepted/s",
        "delivered/s",
        "CPU us/msg",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "syncs/1000"
    );
}

/// One line.
pub(super) fn line(row: &Row) {
    let shown = |figure: Option<f64>, digits: usize| {
        figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.digits$}"))
    };
    let latency = |pick: fn(&Load) -> f64| shown(row.latency.as_ref().map(pick), 2);
    println!(
        "{:<10}{:<16}{:>9}{:>7}{:>10}{:>12}{:>13.0}{:>12}{:>9}{:>9}{:>10}{:>12}",
        row.who,
        row.what,
        row.shape.sessions,
        row.shape.window,
        row.shape.count,
        shown(row.accepted_per_second, 0),
        row.delivered_per_second,
        row.cpu_us,
        latency(|it| it.p50_ms),
        latency(|it| it.p99_ms),
        latency(|it| it.p999_ms),
        row.syncs_per_1000.map_or_else(|| "-".to_owned(), |syncs| syncs.to_string()),
    );
}

/// The best of ours against the best of each peer.
pub(super) fn ratios(rows: &[Row]) {
    println!();
    let pairs = [("Postfix", PLAIN_MAIL), ("Postfix", PIPELINED_MAIL), ("Kannel", "SMPP relay")];
    for (peer, what) in pairs {
        let of = |who: &str| {
            let rows = rows.iter().filter(|row| row.who == who && row.what == what);
            rows.max_by(|a, b| a.delivered_per_second.total_cmp(&b.delivered_per_second))
        };
        let (Some(ours), Some(theirs)) = (of("wirepost"), of(peer)) else { continue };
        let cpu = f64::from(u32::try_from(theirs.cpu_us).unwrap_or(u32::MAX))
            / f64::from(u32::try_from(ours.cpu_us.max(1)).unwrap_or(u32::MAX));
        println!(
            "{what}: delivered {:.1} x {peer}'s best; processor time a message: 1/{cpu:.1} of it",
            ours.delivered_per_second / theirs.delivered_per_second
        );
    }
}
