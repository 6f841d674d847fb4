//! Kills the router under load, again and again, and looks for what was lost.

use anyhow::Result;

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
