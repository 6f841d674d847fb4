//! `plugins`: which modules run at which doors, with which rights and limits.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::pattern::AddressPattern;
use super::scalar::{Name, Rate};

/// `plugins` as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Plugins {
    /// The folder that modules are read from.
    pub folder: PathBuf,
    /// Modules in the folder that the YAML does not name run too, after the named ones.
    pub auto: bool,
    /// Rights of those.
    pub auto_grants: Grants,
    /// Plugins in the order in which they run.
    pub list: Vec<Arc<PluginConfig>>,
}

/// One plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginConfig {
    /// Its name in routes, logs and metrics.
    pub name: Name,
    /// A bare file name in the folder.
    pub module: Arc<str>,
    /// Doors at which it runs; `None` is every door.
    pub on: Option<Vec<Name>>,
    /// What its `init` is given: the YAML block as JSON; `null` if there is none.
    pub config_json: Arc<str>,
    /// What happens to a message at which it faults.
    pub on_error: OnError,
    /// What it may do.
    pub grants: Grants,
    /// What it may use up.
    pub limits: PluginLimits,
    /// The only bytes that are accepted.
    pub sha256: Option<[u8; 32]>,
}

/// What happens to a message at which a plugin faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// It is accepted undecided and the pipeline runs again later.
    Retry,
    /// The peer is told to try again later.
    Refuse,
    /// As if the plugin were not there.
    Next,
    /// The message is refused for good.
    Reject,
    /// The message is held with the evidence.
    Hold,
}

/// `grants`: what a plugin may do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Grants {
    /// Recipients that it may set; empty is none.
    pub recipients: Vec<AddressPattern>,
    /// It may change the sender.
    pub source: bool,
    /// Forks that one call may make.
    pub fork: u32,
    /// Targets that it may route to; empty is none.
    pub targets: Vec<Name>,
    /// Interfaces that it may import beyond the message itself; `None` is all of them.
    pub imports: Option<Vec<Arc<str>>>,
    /// Look-ups that it may ask.
    pub lookups: Vec<Name>,
}

/// `limits`: what one call of a plugin may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PluginLimits {
    /// Wall-clock time.
    pub time: Duration,
    /// Processor time.
    pub cpu: Duration,
    /// Memory of one instance.
    pub memory_bytes: u64,
    /// Instances at one time.
    pub instances: u32,
    /// Keys and values that it keeps.
    pub kv_bytes: u64,
}

/// One entry of `lookups`: a slow question that a plugin may ask by this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupConfig {
    /// The key under `lookups`.
    pub name: Name,
    /// The address, with `{key}` where the key goes.
    pub url: Arc<str>,
    /// Time for an answer.
    pub timeout: Duration,
    /// How long an answer is kept.
    pub cache: Duration,
    /// The most that is asked.
    pub rate: Option<Rate>,
}
