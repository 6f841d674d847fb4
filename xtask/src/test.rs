//! All that must pass before a change lands, cheapest first.

use anyhow::{Context, Result};

use crate::process::{self, cargo, found, now, root};
use crate::{advisories, fuzz, plugins};

/// Runs the stages in order and stops at the first that fails. What this machine has no tools for is
/// skipped by name, and counted at the end.
///
/// # Errors
/// If a stage fails; it is named.
pub(crate) fn run() -> Result<()> {
    let started = now();
    let mut skipped = Vec::new();
    stage("format", || process::run(&mut cargo(&["fmt", "--all", "--check"])))?;
    stage("advisories, as copied", advisories::check_copy)?;
    let database = advisories::missing();
    stage_unless(database, "advisories", advisories::check_database, &mut skipped)?;
    stage("clippy", || {
        process::run(&mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
    })?;
    stage("docs", || {
        let mut command = cargo(&["doc", "--workspace", "--no-deps"]);
        process::run(command.env("RUSTDOCFLAGS", "-Dwarnings"))
    })?;
    stage("plugins", || plugins::build().map(drop))?;
    stage("plugin tests", || process::run(cargo(&["test"]).current_dir(root().join("plugins"))))?;
    stage_unless(fuzz::missing(), "fuzz", fuzz::sample, &mut skipped)?;
    stage("tests", tests)?;
    let named = if skipped.is_empty() { String::new() } else { skipped.join(", ") + ": " };
    println!(
        "all stages passed in {} s; {named}{} skipped",
        (now() - started).as_secs(),
        skipped.len()
    );
    Ok(())
}

/// Runs a stage, or says why this machine cannot.
fn stage_unless(
    missing: Option<&str>,
    name: &'static str,
    work: impl FnOnce() -> Result<()>,
    skipped: &mut Vec<&'static str>,
) -> Result<()> {
    let Some(why) = missing else { return stage(name, work) };
    println!("==> {name} SKIPPED: {why}");
    skipped.push(name);
    Ok(())
}

fn stage(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("==> {name}");
    let started = now();
    work().with_context(|| format!("stage `{name}` failed"))?;
    println!("==> {name} passed in {:.1} s", (now() - started).as_secs_f64());
    Ok(())
}

/// With nextest if it is there: it prints the totals of all packages as one closing line.
fn tests() -> Result<()> {
    // A test that had to build the program itself would be taken for one that hangs.
    let host = process::build_host(false)?;
    let mut command = if found("cargo-nextest") {
        cargo(&["nextest", "run", "--workspace", "--no-fail-fast"])
    } else {
        cargo(&["test", "--workspace", "--no-fail-fast"])
    };
    command.env("WIREPOST_PLUGINS", root().join("target/plugins")).env("WIREPOST_BIN", host);
    process::run(&mut command)
}
