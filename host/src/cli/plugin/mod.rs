//! `wirepost plugin`: the author's tools, in the real engine.

mod world;
mod report;
mod kit;
pub mod new;
pub mod inspect;
pub mod judge;
pub mod cases;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::{Args, Subcommand};

use crate::config::{AddressPattern, Glob, Grants, OnError, PluginConfig, PluginLimits};
use crate::plugin::{Host, Options, Plugin};
use world::World;

/// Tools for authors of plugins.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Make a folder with a plugin that builds and passes its tests.
    New(new::NewArgs),
    /// Load a module as the router would, and say why it would refuse it.
    Check(CheckArgs),
    /// Show what a module says about itself, without running it.
    Inspect(inspect::InspectArgs),
    /// Let a module judge one message and show what it did.
    Run(judge::RunArgs),
    /// Let a module judge the messages that its author put into it, and compare.
    Test(cases::TestArgs),
    /// Let a module judge one message many times and measure.
    Bench(judge::BenchArgs),
}

/// A module and what it is started with.
#[derive(Debug, Args)]
pub struct ModuleArgs {
    /// The module, as `cargo build` left it.
    file: PathBuf,
    /// The plugin's configuration as JSON.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    config: String,
    /// A target that the plugin may route to; more by repeating it.
    #[arg(long = "target", value_name = "NAME")]
    targets: Vec<String>,
    /// What a look-up says about a key; more by repeating it. Other keys of it are not known.
    #[arg(long = "answer", value_name = "LOOKUP:KEY=TEXT")]
    answers: Vec<String>,
}

/// What `plugin check` is told.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    module: ModuleArgs,
}

/// Runs one of the tools.
pub async fn run(command: PluginCommand) -> ExitCode {
    let done = match command {
        PluginCommand::New(args) => new::run(&args),
        PluginCommand::Check(args) => check(&args).await,
        PluginCommand::Inspect(args) => inspect::run(&args),
        PluginCommand::Run(args) => judge::run(&args).await,
        PluginCommand::Test(args) => cases::run(&args).await,
        PluginCommand::Bench(args) => judge::bench(&args).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            super::complain(&format!("wirepost: {error:#}"));
            ExitCode::from(super::EX_SOFTWARE)
        }
    }
}

async fn check(args: &CheckArgs) -> Result<()> {
    let (plugin, _world) = load(&args.module).await?;
    println!("{} {} would be loaded: {}", plugin.name(), plugin.version(), plugin.short_hash());
    Ok(())
}

/// Loads a module with every right, since rights are the operator's to give.
async fn load(args: &ModuleArgs) -> Result<(Arc<Plugin>, Arc<World>)> {
    let answers = args.answers.iter().map(|answer| world::parse_answer(answer));
    let answers = answers.collect::<Result<_>>()?;
    let world = Arc::new(World::new(&args.targets, answers));
    let host = Host::start(Options::default())?;
    let config = Arc::new(config(args)?);
    let env = world::host_env(&world);
    let plugin = host.load(&config, read(&args.file)?, &env).await?;
    Ok((plugin, world))
}

fn read(file: &Path) -> Result<Bytes> {
    let octets =
        std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    Ok(octets.into())
}

fn config(args: &ModuleArgs) -> Result<PluginConfig> {
    let parsed: serde_json::Value =
        serde_json::from_str(&args.config).context("--config is not JSON")?;
    let everybody = Glob::parse("*").map_err(anyhow::Error::msg)?;
    let name = args.file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into());
    Ok(PluginConfig {
        name: name.as_str().into(),
        module: args.file.to_string_lossy().into(),
        on: None,
        config_json: parsed.to_string().into(),
        on_error: OnError::Retry,
        grants: Grants {
            recipients: vec![AddressPattern::Glob(everybody)],
            source: true,
            fork: 32,
            targets: args.targets.iter().map(|name| name.as_str().into()).collect(),
            imports: None,
        },
        limits: PluginLimits {
            time: Duration::from_secs(1),
            cpu: Duration::from_millis(50),
            memory_bytes: 32 << 20,
            instances: 1,
            keys: 100_000,
            keys_bytes: 64 << 20,
            log_lines: 100_000,
        },
        sha256: None,
    })
}
