//! The hidden command that compiles one plugin: the router starts it, and sets its limits.

use std::io;
use std::process::ExitCode;

use super::{EX_SOFTWARE, complain};
pub use crate::plugin::COMMAND;

/// Serves one request on standard input and output.
#[must_use]
pub fn run() -> ExitCode {
    match crate::plugin::serve(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            complain(&format!("wirepost: {problem}"));
            ExitCode::from(EX_SOFTWARE)
        }
    }
}
