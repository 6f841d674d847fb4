//! `wirepost spool`: looking at a spool that no router has open, and moving messages between spools.

mod verify;
mod dump;
mod filter;
mod export;
mod import;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use spool::{OpenError, Options, Spool};

use super::{EX_CONFIG, EX_DATAERR, EX_IOERR, EX_NOINPUT, EX_TEMPFAIL, complain};
use crate::config::{self, CheckOptions, SpoolPlace};
use crate::platform::clock::Clock;

/// What `spool` does. The router must not be running on the same folder: the lock says who has it.
#[derive(Debug, Subcommand)]
pub enum SpoolCommand {
    /// Read everything and say what is wrong.
    Verify(verify::VerifyArgs),
    /// Print deliveries as lines of JSON.
    Dump(dump::DumpArgs),
    /// Write messages into a file that any spool can take in.
    Export(export::ExportArgs),
    /// Take messages in from such a file.
    Import(import::ImportArgs),
}

/// Which spool.
#[derive(Args, Clone, Debug)]
pub struct Folder {
    /// The folder of the spool; left out, the one that the configuration names
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The configuration that names it
    #[arg(short, long, value_name = "FILE", default_value = super::CONFIG)]
    config: PathBuf,
}

/// Why a command about a spool did not do its work.
#[derive(Debug, thiserror::Error)]
enum ToolError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot read the spool {path}: {error}; `wirepost spool verify` says what is wrong", path = .0.display(), error = .1)]
    Read(PathBuf, spool::ReadError),
    #[error("cannot write the spool {path}: {error}", path = .0.display(), error = .1)]
    Commit(PathBuf, spool::CommitError),
    #[error("cannot {doing} {path}: {error}", path = .path.display())]
    File { doing: &'static str, path: PathBuf, error: std::io::Error },
    #[error("the export {path} cannot be used: {error}; nothing was added", path = .0.display(), error = .1)]
    Stream(PathBuf, spool::portable::PortableError),
    #[error("{0}")]
    Refused(String),
    #[error("{config} does not say where the spool is; name its folder, or see `wirepost check`", config = .0.display())]
    NoPlace(PathBuf),
}

impl ToolError {
    fn exit(&self) -> ExitCode {
        use std::io::ErrorKind::NotFound;
        ExitCode::from(match self {
            Self::Open(OpenError::Missing { .. }) => EX_NOINPUT,
            Self::File { error, .. } if error.kind() == NotFound => EX_NOINPUT,
            Self::Open(OpenError::Locked { .. }) => EX_TEMPFAIL,
            Self::Open(OpenError::Io { .. })
            | Self::Read(..)
            | Self::Commit(..)
            | Self::File { .. } => EX_IOERR,
            Self::Open(OpenError::Version { .. } | OpenError::Damaged { .. })
            | Self::Stream(..)
            | Self::Refused(_) => EX_DATAERR,
            Self::NoPlace(_) => EX_CONFIG,
        })
    }
}

/// Does what the command says.
pub async fn run(command: SpoolCommand) -> ExitCode {
    let done = match command {
        SpoolCommand::Verify(args) => verify::run(&args),
        SpoolCommand::Dump(args) => dump::run(&args),
        SpoolCommand::Export(args) => export::run(&args),
        SpoolCommand::Import(args) => import::run(&args).await,
    };
    done.unwrap_or_else(|error| {
        complain(&format!("wirepost: {error}"));
        error.exit()
    })
}

impl Folder {
    fn path(&self) -> Result<PathBuf, ToolError> {
        if let Some(dir) = &self.dir {
            return Ok(dir.clone());
        }
        let read = config::load(&self.config, CheckOptions { environment: false }).config;
        match read.map(|config| config.spool.place) {
            Some(SpoolPlace::Disk(path)) => Ok(path),
            Some(SpoolPlace::Memory) | None => Err(ToolError::NoPlace(self.config.clone())),
        }
    }
}

/// How such a spool is opened.
fn options(create: bool) -> Options {
    Options { create, ..Options::new(monotonic) }
}

fn monotonic() -> std::time::Instant {
    Clock::system().instant()
}

/// Opens a spool that is there, and says what was found.
fn open(path: &Path, create: bool) -> Result<Spool, ToolError> {
    let (spool, report) = Spool::open_fjall(path, options(create))?;
    for damage in &report.corrupt {
        complain(&format!("wirepost: {damage}; it was set aside, not deleted"));
    }
    if let Some(torn) = &report.torn {
        complain(&format!("wirepost: {torn}"));
    }
    Ok(spool)
}
