//! The commands: the router, what steers it, and tools for trying and measuring.
#![expect(clippy::print_stdout, reason = "the output of a command is its result")]

pub mod run;
pub mod control;
pub mod status;
pub mod reload;
pub mod trace;
pub mod events;
pub mod audit;
pub mod queue;
pub mod spool;
pub mod check;
pub mod explain;
pub mod test;
pub mod plugin;
pub mod plugin_compiler;
pub mod load;
pub mod send;
pub mod sim;
pub mod smpp_client;
pub mod specimen;
mod parts;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// The configuration file if none is named.
const CONFIG: &str = "wirepost.yaml";
/// This program, also after the file that it was started from was replaced.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// How long what blocks is waited for when a command has ended; it is left alone then, and ends with the
/// process.
const BLOCKED_MAX: Duration = Duration::from_secs(1);
/// sysexits: the command line is wrong.
const EX_USAGE: u8 = 64;
/// sysexits: data is damaged, or does not fit.
const EX_DATAERR: u8 = 65;
/// sysexits: there is no such message, delivery, target, spool or file.
const EX_NOINPUT: u8 = 66;
/// sysexits: something that is needed is not there.
const EX_UNAVAILABLE: u8 = 69;
/// sysexits: something of ours failed.
const EX_SOFTWARE: u8 = 70;
/// sysexits: the disk failed.
const EX_IOERR: u8 = 74;
/// sysexits: not now; a delivery is in flight.
const EX_TEMPFAIL: u8 = 75;
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
    Run(run::RunArgs),
    /// Check a configuration and everything it names.
    Check(check::CheckArgs),
    /// Reload the configuration of the running router.
    Reload(reload::ReloadArgs),
    /// Show the state of the running router.
    Status(status::StatusArgs),
    /// Tell what happened to a message.
    Trace(trace::TraceArgs),
    /// Show what happens to all messages.
    Events(events::EventsArgs),
    /// Prove that everything that came in is accounted for.
    Audit(audit::AuditArgs),
    /// Show what waits, and do something about it.
    #[command(subcommand)]
    Queue(queue::Queue),
    /// Check, show and move what a spool holds that no router has open.
    #[command(subcommand)]
    Spool(spool::SpoolCommand),
    /// Explain where the routes send a message.
    Explain(explain::ExplainArgs),
    /// Run the tests of a configuration.
    Test(test::TestArgs),
    /// Make, check and try plugins.
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Send one message, as a client would.
    #[command(subcommand)]
    Send(Send),
    /// Simulate a peer: an SMSC, a relay, an ESME.
    #[command(subcommand)]
    Sim(Sim),
    /// Send many messages and measure.
    #[command(subcommand)]
    Load(Load),
    /// What the router starts to compile a plugin: a request and a module in, machine code out.
    #[command(name = plugin_compiler::COMMAND, hide = true)]
    PluginCompiler,
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

/// Reads the arguments and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    crate::plugin::compile_with(PathBuf::from(OWN_PROGRAM));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain_usage(&error),
    };
    match cli.command {
        Command::Check(args) => blocking(check::run(args)),
        Command::Explain(args) => explain::run(&args),
        Command::Test(args) => blocking(test::run(args)),
        Command::Run(args) => blocking(run::run(args)),
        Command::Reload(args) => blocking(reload::run(args)),
        Command::Status(args) => blocking(status::run(args)),
        Command::Trace(args) => blocking(trace::run(args)),
        Command::Events(args) => blocking(events::run(args)),
        Command::Audit(args) => blocking(audit::run(args)),
        Command::Queue(queue) => blocking(queue::run(queue)),
        Command::Spool(command) => blocking(spool::run(command)),
        Command::Plugin(command) => blocking(plugin::run(command)),
        Command::Send(Send::Smtp(args)) => tool(send::smtp::run(args)),
        Command::Send(Send::Smpp(args)) => tool(send::smpp::run(args)),
        Command::Sim(Sim::Smsc(args)) => tool(sim::smsc::run(args)),
        Command::Sim(Sim::Relay(args)) => tool(async { sim::relay::run(args).await.map(drop) }),
        Command::Sim(Sim::Esme(args)) => tool(sim::esme::run(args)),
        Command::Load(Load::Smtp(args)) => tool(async { load::smtp::run(args).await.map(drop) }),
        Command::Load(Load::Smpp(args)) => tool(load::smpp::run(args)),
        Command::PluginCompiler => plugin_compiler::run(),
    }
}

/// Prints help, the version, or what is wrong with the arguments.
fn explain_usage(error: &clap::Error) -> ExitCode {
    if error.print().is_err() {
        tracing::debug!(event = "stdout.closed");
    }
    if error.use_stderr() { ExitCode::from(EX_USAGE) } else { ExitCode::SUCCESS }
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
    match tokio::runtime::Builder::new_multi_thread().thread_name("worker").enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(work);
            runtime.shutdown_timeout(BLOCKED_MAX);
            code
        }
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
