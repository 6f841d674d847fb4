//! What can go wrong with a plugin: at a call, and while it is loaded.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::words::{sized, tamed};

/// Octets of the reason why a module is refused; the rest is cut off.
const REFUSAL_BYTES_MAX: usize = 2 << 10;

/// A call that gave no judgement. All edits are gone; the operator's `on_error` decides.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// The plugin returned an error, which is cut.
    #[error("the plugin failed: {0}")]
    Error(String),
    /// The plugin panicked or did what WebAssembly forbids.
    #[error("the plugin stopped: {reason}{}", within(backtrace))]
    Trap {
        /// The panic with file and line, or the trap's name.
        reason: String,
        /// Where it was, the innermost function first; empty if the module has no names.
        backtrace: String,
    },
    /// It took longer than `limits: time`.
    #[error("the plugin did not answer within {0:?}")]
    Timeout(Duration),
    /// It computed longer than `limits: cpu`.
    #[error("the plugin computed for more than {0:?}")]
    CpuBudget(Duration),
    /// It asked for more memory than `limits: memory`.
    #[error("the plugin wanted more than its {} of memory", sized(*.0))]
    Memory(u64),
    /// Its verdict needs a right that it was not granted.
    #[error("the plugin was not granted {0}")]
    Denied(String),
    /// Its verdict names what does not exist.
    #[error("the plugin's verdict is not known here: {0}")]
    Unknown(String),
    /// What it exports has other types than the interface of this host.
    #[error("the plugin does not fit the interface of this host: {0}")]
    Unfit(String),
    /// It made more than a call may make.
    #[error("the plugin made too much: {0}")]
    Output(String),
    /// It could not be called.
    #[error("the plugin could not be called: {0}")]
    Unavailable(String),
    /// The router had no room for the call. That is nobody's fault: the message waits undecided,
    /// whatever `on_error` says.
    #[error("the router is busy: {0}")]
    Busy(String),
}

impl Fault {
    /// Its name in logs and metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Error(_) => "error",
            Self::Trap { .. } => "trap",
            Self::Timeout(_) => "timeout",
            Self::CpuBudget(_) => "cpu",
            Self::Memory(_) => "memory",
            Self::Denied(_) => "denied",
            Self::Unknown(_) => "unknown",
            Self::Unfit(_) => "unfit",
            Self::Output(_) => "output",
            Self::Unavailable(_) => "unavailable",
            Self::Busy(_) => "busy",
        }
    }
}

fn within(backtrace: &str) -> String {
    if backtrace.is_empty() { String::new() } else { format!("; in {backtrace}") }
}

/// The step at which a module was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoadStep {
    /// Its octets are counted and hashed.
    Read,
    /// Its octets form a WebAssembly module or component.
    Validate,
    /// Its manifest fits this host.
    Manifest,
    /// Its hash is the one in the YAML.
    Pin,
    /// It is made a component.
    Componentize,
    /// It asks for nothing that it was not granted.
    Imports,
    /// It is made machine code.
    Compile,
    /// Its imports and exports have the host's types.
    Link,
    /// It has a hook that this host runs.
    Hooks,
    /// It takes its configuration.
    Init,
    /// It judges a message of our own.
    SelfTest,
}

impl LoadStep {
    /// Its name in logs and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Validate => "validate",
            Self::Manifest => "manifest",
            Self::Pin => "pin",
            Self::Componentize => "componentize",
            Self::Imports => "imports",
            Self::Compile => "compile",
            Self::Link => "link",
            Self::Hooks => "hooks",
            Self::Init => "init",
            Self::SelfTest => "self-test",
        }
    }
}

/// A module that was refused. What ran before goes on.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub struct LoadError {
    /// Where.
    pub step: LoadStep,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

impl LoadError {
    pub(super) fn new(
        step: LoadStep,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        // Names in a module are its author's, and what it says is the plugin's.
        let reason: String = reason.into();
        let reason = tamed(&reason, REFUSAL_BYTES_MAX).into_owned();
        Self { step, reason, remedy: remedy.into() }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at {}); {}", self.reason, self.step.name(), self.remedy)
    }
}
