//! Kills the router under load, cuts the power of its disk, and simulates worlds of trouble, again and
//! again, and looks for what was lost.

use anyhow::{Context, Result};

use crate::plugins;
use crate::process::{self, build_host, cargo, found, root};

/// Runs the crash tests for so many rounds.
///
/// # Errors
/// If something was lost, or the tests do not build.
pub(crate) fn run(rounds: &str) -> Result<()> {
    let host = build_host(false)?;
    let plugins = plugins::build()?;
    let mut command = if found("cargo-nextest") {
        cargo(&["nextest", "run", "--package", "wirepost-tests", "--no-tests=fail", "crash"])
    } else {
        cargo(&["test", "--package", "wirepost-tests", "crash"])
    };
    command
        .env("WIREPOST_ROUNDS", rounds)
        .env("WIREPOST_BIN", host)
        .env("WIREPOST_PLUGINS", plugins)
        .current_dir(root());
    process::run(&mut command)
}

/// Cuts of one recorded history.
const CUTS_A_SEED: u64 = 1000;

/// Cuts the power of the spool's disk so often, and damages a closed one as often; each thousand with
/// another seed, which is printed, as is the way to repeat what fails.
///
/// # Errors
/// If something was lost, or the tests do not build.
pub(crate) fn storage(cuts: &str) -> Result<()> {
    let mut left: u64 = cuts.parse().context("how many cuts is a number")?;
    let mut seed = u64::from(std::process::id()) << 8;
    while left > 0 {
        let now = left.min(CUTS_A_SEED);
        let mut command = cargo(&["test", "--package", "wirepost-spool", "--test", "it", "--"]);
        command.args(["images::", "damage::", "--nocapture", "--test-threads=2"]);
        command
            .env("WIREPOST_SPOOL_SEED", seed.to_string())
            .env("WIREPOST_SPOOL_CUTS", now.to_string())
            .env("WIREPOST_SPOOL_FLIPS", now.to_string())
            .current_dir(root());
        process::run(&mut command)?;
        left -= now;
        seed += 1;
    }
    Ok(())
}

/// Runs the router on a simulated machine with so many seeds of the day.
///
/// # Errors
/// If a seed failed; what it printed says how to run it again.
pub(crate) fn simulate(seeds: &str) -> Result<()> {
    simulation("WIREPOST_SIM_SEEDS", seeds)
}

/// Runs one seed and prints its trace.
///
/// # Errors
/// If the seed failed.
pub(crate) fn simulate_one(seed: &str) -> Result<()> {
    simulation("WIREPOST_SIM_SEED", seed)
}

fn simulation(variable: &str, value: &str) -> Result<()> {
    let test = "nothing_is_lost_doubled_or_stuck_whatever_the_peers_do";
    let package = ["test", "--package", "wirepost-tests", "--test", "sim", "--"];
    let mut command = cargo(&[&package[..], &["--exact", test, "--nocapture"][..]].concat());
    command.env(variable, value).current_dir(root());
    process::run(&mut command)
}
