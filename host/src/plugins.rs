//! The plugins of a generation: files read, modules loaded, those that did not change kept.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use spool::Spool;

use crate::config::Config;
use crate::generation::PluginSlot;
use crate::platform::clock::Clock;
use crate::plugin::HostEnv;
use crate::router::{Env, Targets};

/// Loads plugins and gives them their surroundings.
#[derive(Debug)]
pub struct PluginSet {
    spool: Spool,
    clock: Clock,
    targets: Arc<ArcSwap<Targets>>,
}

impl PluginSet {
    /// A set for a router with these parts.
    #[must_use]
    pub const fn new(spool: Spool, clock: Clock, targets: Arc<ArcSwap<Targets>>) -> Self {
        Self { spool, clock, targets }
    }

    /// What the plugins of a generation with this configuration may ask the host.
    #[must_use]
    pub fn env(&self, config: &Arc<Config>) -> Arc<dyn HostEnv> {
        let targets = Arc::clone(&self.targets);
        Arc::new(Env::new(self.spool.clone(), self.clock.clone(), Arc::clone(config), targets))
    }

    /// The plugins that the configuration names, in its order.
    ///
    /// # Errors
    /// A line for each plugin that cannot be loaded.
    pub async fn load(
        &self,
        config: &Arc<Config>,
        running: &[PluginSlot],
    ) -> Result<Vec<PluginSlot>, Vec<String>> {
        let (mut slots, mut errors) = (Vec::new(), Vec::new());
        for plugin in &config.plugins.list {
            let path = config.plugins.folder.join(&*plugin.module);
            match read(&path).await {
                Ok(_bytes) => errors.push(format!("plugin {}: not loaded", plugin.name)),
                Err(error) => errors.push(format!("plugin {}: {error}", plugin.name)),
            }
            slots.extend(running.iter().find(|slot| slot.config == *plugin).cloned());
        }
        if errors.is_empty() { Ok(slots) } else { Err(errors) }
    }

    /// What is different between two generations, a line each.
    #[must_use]
    pub fn changes(old: &[PluginSlot], new: &[PluginSlot]) -> Vec<String> {
        let before: Vec<_> = old.iter().map(|slot| &slot.label).collect();
        let fresh = new.iter().filter(|slot| !before.contains(&&slot.label));
        fresh.map(|slot| format!("plugin {} loaded", slot.label)).collect()
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, String> {
    tokio::fs::read(path).await.map_err(|error| format!("{}: {error}", path.display()))
}
