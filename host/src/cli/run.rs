//! `wirepost run`: the router, until SIGTERM.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{EX_CONFIG, EX_IOERR, EX_UNAVAILABLE, complain};
use crate::app::{self, StartError};
use crate::config::Finding;
use crate::observe::log;
use crate::platform::tasks::Tasks;
use crate::startup::{Options, Startup};

/// Runs the router until SIGTERM.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = super::CONFIG)]
    config: PathBuf,
    /// Do not start with the last good configuration or plugins where those on disk are broken
    #[arg(long)]
    strict: bool,
}

/// Runs; the exit code says how it ended.
pub async fn run(args: RunArgs) -> ExitCode {
    let mut options = Options::new(args.config);
    options.strict = args.strict;
    let startup = match Startup::read(&options, &Tasks::new()).await {
        Ok(startup) => startup,
        Err(error) => return failed(&error),
    };
    log::start(&startup.config.log);
    match app::run(options, startup).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &StartError) -> ExitCode {
    if let StartError::Config(findings) = error {
        return misconfigured(findings);
    }
    complain(&format!("wirepost: {error}"));
    ExitCode::from(match error {
        StartError::Config(_)
        | StartError::Plugins(_)
        | StartError::NothingGood { .. }
        | StartError::Folder(_) => EX_CONFIG,
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
