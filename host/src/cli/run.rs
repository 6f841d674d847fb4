//! `wirepost run`: the router, until SIGTERM.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{EX_CONFIG, EX_IOERR, EX_UNAVAILABLE, complain};
use crate::app::{self, StartError};
use crate::config::{self, CheckOptions, Finding};
use crate::observe::log;

/// Runs the router until SIGTERM.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = super::CONFIG)]
    config: PathBuf,
}

/// Runs; the exit code says how it ended.
pub async fn run(args: RunArgs) -> ExitCode {
    // How to log stands in the file; the router reads it again.
    let loaded = config::load(&args.config, CheckOptions { environment: true });
    let Some(read) = loaded.config else { return misconfigured(&loaded.findings) };
    log::start(&read.log);
    drop(read);
    let Err(error) = app::run(app::Options { config: args.config }).await else {
        return ExitCode::SUCCESS;
    };
    if let StartError::Config(findings) = &error {
        return misconfigured(findings);
    }
    complain(&format!("wirepost: {error}"));
    ExitCode::from(match error {
        StartError::Config(_) | StartError::Plugins(_) => EX_CONFIG,
        StartError::Disk(_) | StartError::Spool(_) => EX_IOERR,
        StartError::Socket { .. } | StartError::Other(_) => EX_UNAVAILABLE,
    })
}

fn misconfigured(findings: &[Finding]) -> ExitCode {
    for finding in findings {
        complain(&format!("{finding}\n"));
    }
    complain("wirepost: the configuration has errors; `wirepost check` shows them too");
    ExitCode::from(EX_CONFIG)
}
