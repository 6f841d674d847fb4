//! What the binary does when it is not the router: tools for trying and measuring.
#![expect(clippy::print_stdout, reason = "the output of a command is its result")]

pub mod check;
pub mod explain;
pub mod load;
pub mod send;
pub mod sim;
pub mod smpp_client;
pub mod specimen;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::app::{self, StartError};

/// sysexits: something that is needed is not there.
const EX_UNAVAILABLE: u8 = 69;
/// sysexits: the disk failed.
const EX_IOERR: u8 = 74;
/// sysexits: the configuration is wrong.
const EX_CONFIG: u8 = 78;

/// A programmable message router between e-mail and SMS.
#[derive(Debug, Parser)]
#[command(name = "wirepost", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the router.
    Run(RunArgs),
    /// Check a configuration and everything it names.
    Check(check::CheckArgs),
    /// Explain where the routes send a message.
    Explain(explain::ExplainArgs),
    /// Send one message, as a client would.
    #[command(subcommand)]
    Send(Send),
    /// Simulate a peer: an SMSC, a relay, an ESME.
    #[command(subcommand)]
    Sim(Sim),
    /// Send many messages and measure.
    #[command(subcommand)]
    Load(Load),
}

#[derive(Debug, Subcommand)]
enum Send {
    /// A mail.
    Smtp(send::smtp::SendArgs),
    /// A short message.
    Smpp(send::smpp::SmppArgs),
}

#[derive(Debug, Subcommand)]
enum Sim {
    /// An SMSC to which connectors bind.
    Smsc(sim::smsc::SmscArgs),
    /// A relay that takes mail.
    Relay(sim::relay::RelayArgs),
    /// An ESME that binds and shows what it gets.
    Esme(sim::esme::EsmeArgs),
}

#[derive(Debug, Subcommand)]
enum Load {
    /// Mail.
    Smtp(load::smtp::LoadArgs),
    /// Short messages.
    Smpp(load::smpp::SmppArgs),
}

/// Run the router until SIGTERM.
#[derive(Args, Debug)]
struct RunArgs {
    /// The configuration file.
    #[arg(short, long, default_value = "/etc/wirepost/wirepost.yaml")]
    config: PathBuf,
}

/// Reads the arguments and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Run(args) => blocking(run(args)),
        Command::Send(Send::Smtp(args)) => tool(send::smtp::run(args)),
        Command::Send(Send::Smpp(args)) => tool(send::smpp::run(args)),
        Command::Sim(Sim::Smsc(args)) => tool(sim::smsc::run(args)),
        Command::Sim(Sim::Relay(args)) => tool(async { sim::relay::run(args).await.map(drop) }),
        Command::Sim(Sim::Esme(args)) => tool(sim::esme::run(args)),
        Command::Load(Load::Smtp(args)) => tool(async { load::smtp::run(args).await.map(drop) }),
        Command::Load(Load::Smpp(args)) => tool(load::smpp::run(args)),
    }
}

async fn run(args: RunArgs) -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("WIREPOST_LOG")
                .unwrap_or_else(|_unset| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .init();
    match app::run(app::Options { config: args.config }).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let StartError::Config(findings) = &error {
                for finding in findings {
                    complain(&finding.to_string());
                }
            }
            complain(&format!("wirepost: {error}"));
            ExitCode::from(match error {
                StartError::Config(_) | StartError::Plugins(_) => EX_CONFIG,
                StartError::Disk(_) | StartError::Spool(_) => EX_IOERR,
                StartError::Socket { .. } | StartError::Other(_) => EX_UNAVAILABLE,
            })
        }
    }
}

fn tool(work: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    blocking(async {
        match work.await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&format!("wirepost: {error:#}"));
                ExitCode::from(EX_UNAVAILABLE)
            }
        }
    })
}

fn blocking(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => {
            complain(&format!("wirepost: cannot start: {error}"));
            ExitCode::from(EX_UNAVAILABLE)
        }
    }
}

#[expect(clippy::print_stderr, reason = "errors of a command go to standard error")]
fn complain(text: &str) {
    eprintln!("{text}");
}
