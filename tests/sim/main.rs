//! The whole host on a simulated machine: its disk in memory, its network and its clock are drawn
//! from a seed, and so is everything that its peers do.
//!
//! A failing seed prints the command that runs it again. `cargo xtask soak sim` runs many.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test stops at the first surprise"
)]

mod random;
mod scope;
mod trace;
mod net;
mod facts;
mod pdu;
mod peers;
mod plugins;
mod config;
mod host;
mod check;
mod scenario;

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use scenario::{Outcome, run};
use scope::spread;

/// Seeds that found something once.
const REGRESSIONS: &[u64] = &[
    0x99b3_0a54_eff0,
    0x99b3_0a54_eff2,
    0x37ea_840e_70a1,
    0x37ea_840e_6fca,
    0x37ea_840e_7031,
    0x37ea_840e_7036,
    0x1_37ea_840e_6f3d,
    0x2_37ea_840e_6f52,
    0x5_37ea_840e_6f3d,
    0x5_37ea_840e_6f7d,
];
/// Seeds that every run of the tests has. Fresh ones, those of the day, are for `cargo xtask soak sim`:
/// a change is not to fail for what it did not touch.
const FIXED: u64 = 50;
/// How many seeds to run, instead of those above: `cargo xtask soak sim`.
const SEEDS_VARIABLE: &str = "WIREPOST_SIM_SEEDS";
/// One seed to run, with its trace.
const SEED_VARIABLE: &str = "WIREPOST_SIM_SEED";
/// Runs at one time.
const THREADS: usize = 2;
/// A run takes a second; one that takes so long goes round in circles.
const RUN_WITHIN: Duration = Duration::from_secs(300);

#[test]
fn nothing_is_lost_doubled_or_stuck_whatever_the_peers_do() {
    if let Some(seed) = variable(SEED_VARIABLE) {
        let outcome = run(seed);
        println!("{}\n{}", outcome.trace, summary(seed, &outcome));
        assert!(outcome.wrong.is_empty(), "{}", report(seed, &outcome));
        return;
    }
    let seeds: Vec<u64> = match variable(SEEDS_VARIABLE) {
        Some(count) => {
            let first = mixed(today());
            (0..count).map(|n| spread(first.wrapping_add(n))).collect()
        }
        None => REGRESSIONS.iter().copied().chain((0..FIXED).map(spread)).collect(),
    };
    println!("{} seeds, from {:#x} to {:#x}", seeds.len(), seeds[0], seeds[seeds.len() - 1]);
    let failures = run_all(&seeds);
    assert!(
        failures.is_empty(),
        "{} of {} seeds:\n{}",
        failures.len(),
        seeds.len(),
        failures.join("\n")
    );
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [7, spread(7)] {
        let (first, second) = (run(seed), run(seed));
        let differs = first.trace.lines().zip(second.trace.lines()).find(|(a, b)| a != b);
        assert_eq!(differs, None);
        assert_eq!(first.trace.len(), second.trace.len());
    }
}

/// Runs seeds on a few threads; a report for each that fails.
fn run_all(seeds: &[u64]) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let started = now();
    let totals = Mutex::new((0, 0, 0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = watched(seed);
                    let mut totals = totals.lock().unwrap();
                    totals.0 += outcome.sent;
                    totals.1 += outcome.accepted;
                    totals.2 += outcome.deaths;
                    if !outcome.wrong.is_empty() {
                        let report = report(seed, &outcome);
                        println!("{report}");
                        failures.lock().unwrap().push(report);
                    }
                }
            });
        }
    });
    let (sent, accepted, deaths) = totals.into_inner().unwrap();
    println!(
        "{} seeds in {:.1?}: {sent} recipients sent, {accepted} acknowledged, {deaths} crashes and failed disks, {} seeds failed",
        seeds.len(),
        now().duration_since(started),
        failures.lock().unwrap().len(),
    );
    failures.into_inner().unwrap()
}

/// Runs a seed on a thread of its own, so that one that never ends can be named.
fn watched(seed: u64) -> Outcome {
    let (sender, outcome) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || drop(sender.send(run(seed))));
    outcome.recv_timeout(RUN_WITHIN).unwrap_or_else(|error| Outcome {
        trace: String::new(),
        wrong: vec![format!("the run panicked or never ended: {error}")],
        sent: 0,
        accepted: 0,
        deaths: 0,
        took: Duration::ZERO,
    })
}

fn report(seed: u64, outcome: &Outcome) -> String {
    let mut text = summary(seed, outcome);
    for wrong in outcome.wrong.iter().take(20) {
        write!(text, "\n  {wrong}").unwrap();
    }
    write!(text, "\n  again, with a trace: cargo xtask soak sim --seed {seed:#x}").unwrap();
    text
}

fn summary(seed: u64, outcome: &Outcome) -> String {
    let Outcome { sent, accepted, deaths, took, wrong, .. } = outcome;
    format!(
        "seed {seed:#x}: {sent} recipients, {accepted} acknowledged, {deaths} deaths, {took:.0?} simulated, {} problems",
        wrong.len()
    )
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    Some(parsed.unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

fn mixed(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16
}

/// Days since 1970.
#[expect(clippy::disallowed_methods, reason = "the seeds of the day")]
fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 86_400
}

#[expect(clippy::disallowed_methods, reason = "it says how long real work took")]
fn now() -> Instant {
    Instant::now()
}
