//! Messages a second, processor time and latencies of the router, between load and sink of our own:
//! by itself, with where its time goes, or beside others of its kind.

mod areas;
mod peers;
mod processes;
mod profile;
mod report;
mod running;
mod scenario;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::plugins;
use crate::process::{build_host, root};
use profile::Profile;
use report::Measured;
use running::{Built, Running};
use scenario::{SCENARIOS, Scenario, Shape};

/// Ports of the scenarios: ours, then the sinks'.
const SMTP: u16 = 2725;
const SMPP: u16 = 2975;
const HTTP: u16 = 8225;
const SMSC: u16 = 2976;
const RELAY: u16 = 2726;
/// With `--short`, this part of the messages.
const SHORT: u64 = 20;
/// Where the time goes is looked at with this part of the messages, twice.
const PROFILED: u64 = 4;

/// What was asked for.
#[derive(Debug, Default)]
struct Options {
    short: bool,
    peers: bool,
    without_profile: bool,
    only: Option<String>,
}

/// Runs every scenario and prints tables; files in `target/bench` have the same figures.
///
/// # Errors
/// If something does not start, is refused or does not come out.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let options = Options::read(words)?;
    let built = Built { wirepost: build_host(true)?, modules: plugins::build()? };
    if options.peers {
        return peers::run(&built, options.short);
    }
    let mut all = Vec::new();
    let chosen = |scenario: &&Scenario| {
        options.only.as_ref().is_none_or(|part| scenario.name.contains(part.as_str()))
    };
    report::head();
    for scenario in SCENARIOS.iter().filter(chosen) {
        let (measured, profile) = measure(&built, scenario, &options)
            .with_context(|| format!("scenario `{}`", scenario.name))?;
        report::row(scenario.name, &measured);
        all.push((scenario.name, measured, profile));
    }
    for (name, measured, profile) in &all {
        report::breakdown(name, measured, profile);
    }
    let file = folder().join("scenarios.json");
    fs::write(&file, format!("{:#}\n", report::json(&all)))?;
    println!("\n{}", file.display());
    Ok(())
}

impl Options {
    fn read(words: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--short" => options.short = true,
                "--peers" => options.peers = true,
                "--no-profile" => options.without_profile = true,
                "--only" => options.only = words.next().map(|part| (*part).to_owned()),
                other => bail!(
                    "bench does not know `{other}`; it knows --short, --peers, --no-profile and --only PART-OF-A-NAME"
                ),
            }
        }
        Ok(options)
    }
}

/// Where the figures and all that they needed are.
fn folder() -> PathBuf {
    root().join("target/bench")
}

fn measure(built: &Built, scenario: &Scenario, options: &Options) -> Result<(Measured, Profile)> {
    let running = Running::start(built, scenario)?;
    let idle_mib = running.rss_mib();
    let mut shape = scenario.shape();
    shape.count /= if options.short { SHORT } else { 1 };
    let sent = running.send(shape)?;
    let messages = shape.count.max(1);
    let measured = Measured {
        messages,
        accepted_per_second: sent.load.per_second,
        delivered_per_second: sent.delivered_per_second,
        cpu_us: sent.spent.total_us() / messages,
        p50_ms: sent.load.p50_ms,
        p99_ms: sent.load.p99_ms,
        p999_ms: sent.load.p999_ms,
        syncs_per_1000: sent.syncs * 1000 / messages,
        rss_mib: running.rss_mib(),
        idle_mib,
        spent: sent.spent,
    };
    let profile = if options.without_profile {
        Profile::default()
    } else {
        let part = Shape { count: (messages / PROFILED).max(1), ..shape };
        profile::take(&running, part)?
    };
    Ok((measured, profile))
}
