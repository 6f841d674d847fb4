//! All that must pass before a change lands, cheapest first.

use anyhow::{Context, Result};

use crate::plugins;
use crate::process::{self, cargo, found, now, root};

/// Runs the stages in order and stops at the first that fails.
///
/// # Errors
/// If a stage fails; it is named.
pub(crate) fn run() -> Result<()> {
    let started = now();
    stage("format", || process::run(&mut cargo(&["fmt", "--all", "--check"])))?;
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
    stage("tests", tests)?;
    println!("all stages passed in {} s", (now() - started).as_secs());
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
