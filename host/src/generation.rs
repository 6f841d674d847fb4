//! A generation: one immutable version of configuration, tables, routes and plugins.
//!
//! A message sees exactly one. A reload builds the next one beside it and swaps a pointer.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Config, ConnectorKind, Name, PluginConfig};
use crate::pipeline::Judge;
use crate::plugin::{Breaker, HostEnv};
use crate::route::RouteTable;

/// One version of everything that decides about messages.
#[derive(Debug)]
pub struct Generation {
    /// Counts from 1; in logs, events and `/status`.
    pub number: u64,
    /// The checked configuration.
    pub config: Arc<Config>,
    /// The compiled routes.
    pub routes: RouteTable,
    /// The plugins, in the order in which they run.
    pub plugins: Vec<PluginSlot>,
    /// What plugins may ask the host.
    pub env: Arc<dyn HostEnv>,
    /// What does not run as the files say.
    pub health: Health,
}

/// What a generation does not run as the files say, because they were broken when the router
/// started. A reload takes all of them or nothing, and leaves nothing here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Why the last good configuration runs instead of the one on disk.
    pub config: Option<Arc<str>>,
    /// By plugin: why it runs with its last good bytes.
    pub stale: BTreeMap<Name, Arc<str>>,
    /// By file: why a file that was dropped into the plugin folder does not run.
    pub refused: BTreeMap<Arc<str>, Arc<str>>,
}

/// A plugin and where it runs.
#[derive(Clone, Debug)]
pub struct PluginSlot {
    /// What the operator wrote.
    pub config: Arc<PluginConfig>,
    /// The loaded module.
    pub plugin: Arc<dyn Judge>,
    /// `name@` and the first digits of its hash, as the journal and the log name it.
    pub label: Arc<str>,
    /// SHA-256 of the module's file.
    pub sha256: [u8; 32],
    /// Spares it messages that make it fail. It lives as long as these bytes and settings run.
    pub breaker: Arc<Breaker>,
}

impl PluginSlot {
    /// Whether it looks at messages of this door.
    #[must_use]
    pub fn runs_at(&self, door: &str) -> bool {
        self.config.on.as_ref().is_none_or(|doors| doors.iter().any(|name| &**name == door))
    }
}

/// What a target takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// Mail.
    Mail,
    /// Short messages.
    Short,
}

impl Generation {
    /// What the target `name` takes; none if there is no such connector or account.
    #[must_use]
    pub fn target_kind(&self, name: &str) -> Option<TargetKind> {
        match self.config.connectors.get(name).map(|connector| &connector.kind) {
            Some(ConnectorKind::Smpp(_)) => Some(TargetKind::Short),
            Some(ConnectorKind::Smtp(_)) => Some(TargetKind::Mail),
            None => self.config.accounts.get(name).map(|_account| TargetKind::Short),
        }
    }
}
