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

/// What a generation does not run as the files say, because they are broken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Why the last good configuration runs instead of the one on disk.
    pub config: Option<Arc<str>>,
    /// Why the plugin folder cannot be read, though files that are dropped there run.
    pub folder: Option<Arc<str>>,
    /// By plugin: why it runs with the bytes that it ran with last.
    pub stale: BTreeMap<Name, Arc<str>>,
    /// By file: why a file that was dropped into the plugin folder does not run.
    pub refused: BTreeMap<Arc<str>, Arc<str>>,
}

/// Files of one kind that the log names at a time; the others are counted there, and named by `status`.
const LOGGED_MAX: usize = 20;

impl Health {
    /// Whether everything runs as the files say.
    #[must_use]
    pub fn is_well(&self) -> bool {
        *self == Self::default()
    }

    /// What is wrong with plugins and their folder, a line each.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let folder = self.folder.iter().map(ToString::to_string);
        let stale = self.stale.iter().filter(|(_, why)| self.folder.as_ref() != Some(*why));
        let stale = stale.map(|(name, why)| {
            format!("plugin {name} goes on with the bytes that it ran with: {why}")
        });
        let refused = self.refused.iter();
        let refused = refused
            .map(|(file, why)| format!("plugin file {file} is refused and does not run: {why}"));
        folder.chain(stale).chain(refused).collect()
    }

    /// Says in the log what is wrong with plugins that was not so `before`.
    pub fn announce(&self, before: &Self) {
        if let Some(why) = self.folder.as_ref().filter(|_| self.folder != before.folder) {
            tracing::error!(event = "plugin.folder", "dropped plugins go on as they ran: {why}");
        }
        let new = |map: &BTreeMap<Arc<str>, Arc<str>>, old: &BTreeMap<Arc<str>, Arc<str>>| {
            let new = map.iter().filter(|(name, why)| old.get(*name) != Some(*why));
            new.map(|(name, why)| (Arc::clone(name), Arc::clone(why))).collect::<Vec<_>>()
        };
        for (plugin, why) in new(&self.stale, &before.stale) {
            let plugin = &*plugin;
            tracing::error!(
                event = "plugin.stale",
                plugin,
                "it runs with its last good bytes: {why}"
            );
        }
        let refused = new(&self.refused, &before.refused);
        for (module, why) in refused.iter().take(LOGGED_MAX) {
            tracing::error!(event = "plugin.refused", module = &**module, "it does not run: {why}");
        }
        if let Some(more) = refused.len().checked_sub(LOGGED_MAX).filter(|more| *more > 0) {
            tracing::error!(event = "plugin.refused", more, "more files do not run; see `status`");
        }
    }
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
    /// A plugin that came from this file.
    #[must_use]
    pub fn slot_of(&self, module: &str) -> Option<&PluginSlot> {
        self.plugins.iter().find(|slot| *slot.config.module == *module)
    }

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
