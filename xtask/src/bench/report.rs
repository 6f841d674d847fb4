//! The figures, as tables for people and as JSON for comparisons.

use serde_json::{Value, json};

use super::processes::Spent;
use super::profile::{Profile, Share};

/// Lines of a list that are printed.
const LINES: usize = 14;

/// What one scenario came to.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) messages: u64,
    pub(super) accepted_per_second: f64,
    pub(super) delivered_per_second: f64,
    pub(super) cpu_us: u64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) p999_ms: f64,
    pub(super) syncs_per_1000: u64,
    pub(super) rss_mib: u64,
    pub(super) idle_mib: u64,
    pub(super) spent: Spent,
}

/// The first line of the table.
pub(super) fn head() {
    println!(
        "{:<36}{:>9}{:>12}{:>13}{:>12}{:>9}{:>9}{:>9}{:>12}{:>10}{:>9}",
        "scenario",
        "messages",
        "accepted/s",
        "delivered/s",
        "CPU us/msg",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "syncs/1000",
        "idle MiB",
        "RSS MiB"
    );
}

/// One line of the table.
pub(super) fn row(name: &str, measured: &Measured) {
    println!(
        "{name:<36}{:>9}{:>12.0}{:>13.0}{:>12}{:>9.2}{:>9.2}{:>9.2}{:>12}{:>10}{:>9}",
        measured.messages,
        measured.accepted_per_second,
        measured.delivered_per_second,
        measured.cpu_us,
        measured.p50_ms,
        measured.p99_ms,
        measured.p999_ms,
        measured.syncs_per_1000,
        measured.idle_mib,
        measured.rss_mib
    );
}

/// Where the time of one scenario went, in microseconds a message.
pub(super) fn breakdown(name: &str, measured: &Measured, profile: &Profile) {
    let each = |us: u64| per(us, measured.messages);
    let spent = &measured.spent;
    println!("\n{name}: where {:.0} us a message go", each(spent.total_us()));
    println!("  user {:.1}, kernel {:.1}", each(spent.user_us), each(spent.system_us));
    let mut threads: Vec<(&String, &u64)> = spent.threads.iter().collect();
    threads.sort_by(|a, b| b.1.cmp(a.1));
    let threads = threads.iter().map(|(name, us)| format!("{name} {:.1}", each(**us)));
    println!("  threads: {}", threads.collect::<Vec<_>>().join(", "));
    for why in &profile.skipped {
        println!("  skipped: {why}");
    }
    if !profile.syscalls.is_empty() {
        let all: f64 = profile.syscalls.iter().map(|share| share.amount).sum();
        let kinds = profile.syscalls.iter().take(LINES);
        let kinds = kinds.map(|share| format!("{} {:.2}", share.name, share.amount));
        println!("  system calls: {all:.1}: {}", kinds.collect::<Vec<_>>().join(", "));
    }
    let us = |share: &Share| share.amount * each(spent.total_us());
    for (title, shares) in [("areas", &profile.areas), ("functions", &profile.functions)] {
        if shares.is_empty() {
            continue;
        }
        println!("  {title}:");
        for share in shares.iter().take(LINES) {
            println!("  {:>8.1}  {}", us(share), share.name);
        }
    }
}

/// All of it.
pub(super) fn json(all: &[(&str, Measured, Profile)]) -> Value {
    let rows = all.iter().map(|(name, measured, profile)| {
        let each = |us: u64| per(us, measured.messages);
        let total = each(measured.spent.total_us());
        let list = |shares: &[Share], unit: f64| -> Value {
            let pairs = shares.iter().map(|share| (share.name.clone(), json!(share.amount * unit)));
            Value::Object(pairs.collect())
        };
        let threads = measured.spent.threads.iter();
        let threads = threads.map(|(name, us)| (name.clone(), json!(each(*us))));
        json!({
            "scenario": name,
            "messages": measured.messages,
            "accepted_per_second": measured.accepted_per_second,
            "delivered_per_second": measured.delivered_per_second,
            "cpu_us_per_message": measured.cpu_us,
            "accept_p50_ms": measured.p50_ms,
            "accept_p99_ms": measured.p99_ms,
            "accept_p999_ms": measured.p999_ms,
            "syncs_per_1000": measured.syncs_per_1000,
            "idle_rss_mib": measured.idle_mib,
            "rss_mib": measured.rss_mib,
            "user_us": each(measured.spent.user_us),
            "kernel_us": each(measured.spent.system_us),
            "threads_us": Value::Object(threads.collect()),
            "syscalls": list(&profile.syscalls, 1.0),
            "areas_us": list(&profile.areas, total),
            "functions_us": list(&profile.functions, total),
            "skipped": profile.skipped,
        })
    });
    rows.collect()
}

/// So much of each message.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub(super) fn per(amount: u64, messages: u64) -> f64 {
    amount as f64 / messages.max(1) as f64
}
