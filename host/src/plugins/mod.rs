//! The plugins of a generation: files read, modules loaded, those that did not change kept.

mod folder;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};
use spool::Spool;

use crate::config::{Config, Name, PluginConfig, SourceFile};
use crate::generation::PluginSlot;
use crate::last_good::{Kept, LastGood};
use crate::lookup::Lookups;
use crate::pipeline::{Judge, SeeReceipt};
use crate::platform::clock::Clock;
use crate::platform::machine::Machine;
use crate::platform::tasks::Tasks;
use crate::plugin::{
    Call, Fault, Figures, Host, HostEnv, Judgement, LoadError, LoadStep, Options, Plugin,
    ReceiptCall, StartError, Told,
};
use crate::router::{Env, Targets};

pub use folder::unnamed;
use folder::{ReadError, read};

/// A file that is being copied looks damaged; it is read again so often before it is refused.
const SETTLE_TRIES: u32 = 10;
/// Between those tries.
const SETTLE_WAIT: Duration = Duration::from_millis(200);
/// A file that was the same so often is refused without further tries.
const SETTLED_TRIES: u32 = 2;

impl Judge for Plugin {
    fn judge<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Judgement, Fault>> {
        Box::pin(Self::judge(self, call))
    }

    fn see_receipt<'a>(&'a self, call: ReceiptCall<'a>) -> BoxFuture<'a, SeeReceipt> {
        Box::pin(Self::see_receipt(self, call))
    }

    fn figures(&self) -> Figures {
        Self::figures(self)
    }

    fn told(&self) -> Option<&Told> {
        Some(Self::told(self))
    }
}

/// Loads plugins and gives them their surroundings.
#[derive(Debug)]
pub struct PluginSet {
    host: Host,
    spool: Spool,
    clock: Clock,
    targets: Arc<ArcSwap<Targets>>,
    started: std::time::Instant,
    seed: u64,
    tasks: Tasks,
    last_good: LastGood,
    lookups: Option<Arc<Lookups>>,
}

/// What plugins have around them.
#[derive(Debug)]
pub struct Surroundings {
    /// An open spool.
    pub spool: Spool,
    /// Targets, shared with the router.
    pub targets: Arc<ArcSwap<Targets>>,
    /// Where what takes effect is kept.
    pub last_good: LastGood,
    /// Services that they may ask, if any are asked.
    pub lookups: Option<Arc<Lookups>>,
}

/// The plugins of a generation.
#[derive(Debug, Default)]
pub struct Loaded {
    /// In the order in which they run.
    pub slots: Vec<PluginSlot>,
    /// Those that run with their last good bytes, and what is wrong with their files.
    pub stale: BTreeMap<Name, Arc<str>>,
    /// Files that were dropped, never ran and do not now, and what is wrong with them.
    pub refused: BTreeMap<Arc<str>, Arc<str>>,
}

/// A plugin to load.
struct Wanted {
    config: Arc<PluginConfig>,
    /// It is a file of the folder that the list does not name.
    dropped: bool,
}

impl PluginSet {
    /// A set for a router with these parts.
    ///
    /// # Errors
    /// If the engine does not start on this machine.
    pub fn start(machine: &Machine, surroundings: Surroundings) -> Result<Self, StartError> {
        let Surroundings { spool, targets, last_good, lookups } = surroundings;
        let (clock, tasks, seed) = (machine.clock.clone(), machine.tasks.clone(), machine.seed);
        let started = clock.instant();
        let host = match machine.plugins.clone() {
            Some(workshop) => Host::simulated(Options::default(), workshop)?,
            None => Host::start(Options::default())?,
        };
        Ok(Self { host, spool, clock, targets, started, seed, tasks, last_good, lookups })
    }

    /// What the plugins of a generation with this configuration may ask the host.
    #[must_use]
    pub fn env(&self, config: &Arc<Config>) -> Arc<dyn HostEnv> {
        let targets = Arc::clone(&self.targets);
        let (spool, clock) = (self.spool.clone(), self.clock.clone());
        let begun = (self.started, self.seed);
        let env = Env::new(spool, clock, Arc::clone(config), targets, begun);
        Arc::new(env.with(self.lookups.clone(), self.tasks.clone()))
    }

    /// The plugins that the configuration names, in its order, then those that were dropped, if they
    /// may run. What has the same bytes and the same settings as before is kept, with its instances.
    /// What cannot be loaded runs with the bytes of `kept`, if there are any.
    ///
    /// # Errors
    /// A line for each plugin that cannot be loaded.
    pub async fn load(
        &self,
        config: &Arc<Config>,
        env: &Arc<dyn HostEnv>,
        running: &[PluginSlot],
        kept: Option<&Kept>,
    ) -> Result<Loaded, Vec<String>> {
        let (mut loaded, mut errors) = (Loaded::default(), Vec::new());
        for wanted in wanted(config, &mut errors) {
            let Wanted { config: plugin, dropped } = wanted;
            let error = match self.slot(&config.plugins.folder, &plugin, env, running).await {
                Ok(slot) => {
                    loaded.slots.push(slot);
                    continue;
                }
                Err(error) => error,
            };
            let line = format!("plugin {} ({}): {error}", plugin.name, plugin.module);
            match self.last_good_slot(&plugin, env, kept).await {
                Some(Ok(slot)) => {
                    loaded.stale.insert(Arc::clone(&plugin.name), error.into());
                    loaded.slots.push(slot);
                }
                Some(Err(also)) => {
                    errors
                        .push(format!("{line}; nor does it run with its last good bytes: {also}"));
                }
                // What never ran is not missed: the last good state is the one without it.
                None if dropped && kept.is_some() => {
                    loaded.refused.insert(Arc::clone(&plugin.module), error.into());
                }
                None => errors.push(line),
            }
        }
        if errors.is_empty() { Ok(loaded) } else { Err(errors) }
    }

    /// The plugin with the bytes of its file, which is given time to become whole.
    async fn slot(
        &self,
        folder: &Path,
        config: &Arc<PluginConfig>,
        env: &Arc<dyn HostEnv>,
        running: &[PluginSlot],
    ) -> Result<PluginSlot, String> {
        let (mut before, mut tries) = (None, 0);
        loop {
            let (bytes, error) = match read(&self.tasks, folder, &config.module).await {
                Ok(bytes) => {
                    let hash: [u8; 32] = Sha256::digest(&bytes).into();
                    let same =
                        running.iter().find(|slot| slot.config == *config && slot.sha256 == hash);
                    if let Some(slot) = same {
                        return Ok(slot.clone());
                    }
                    match self.load_bytes(config, bytes.clone(), env).await {
                        Ok(slot) => return Ok(slot),
                        Err(error) if may_be_half_copied(&error) => {
                            (Some(bytes), error.to_string())
                        }
                        Err(error) => return Err(error.to_string()),
                    }
                }
                Err(ReadError::Missing(error)) => (None, error),
                Err(ReadError::Refused(error)) => return Err(error),
            };
            let settled = tries >= SETTLED_TRIES && before == bytes;
            if settled || tries >= SETTLE_TRIES {
                return Err(error);
            }
            (before, tries) = (bytes, tries + 1);
            self.clock.sleep(SETTLE_WAIT).await;
        }
    }

    /// The plugin with the bytes that it ran with last; none if it did not run.
    async fn last_good_slot(
        &self,
        config: &Arc<PluginConfig>,
        env: &Arc<dyn HostEnv>,
        kept: Option<&Kept>,
    ) -> Option<Result<PluginSlot, String>> {
        let (kept, name) = (kept?.clone(), Arc::clone(&config.name));
        let read = self.tasks.blocking(move || kept.module(&name)).await;
        let bytes = match read {
            Ok(read) => read.transpose()?,
            Err(panic) => Err(panic.to_string()),
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => return Some(Err(error)),
        };
        Some(self.load_bytes(config, bytes, env).await.map_err(|error| error.to_string()))
    }

    async fn load_bytes(
        &self,
        config: &Arc<PluginConfig>,
        bytes: Bytes,
        env: &Arc<dyn HostEnv>,
    ) -> Result<PluginSlot, LoadError> {
        let plugin = self.host.load(config, bytes.clone(), env).await?;
        let label = format!("{}@{}", config.name, plugin.short_hash()).into();
        let slot = PluginSlot {
            config: Arc::clone(config),
            sha256: *plugin.sha256(),
            label,
            plugin,
            breaker: Arc::default(),
        };
        self.write("its bytes", move |last_good| last_good.put(&bytes)).await;
        Ok(slot)
    }

    /// Keeps what has just taken effect, for a start that finds something broken.
    pub async fn keep(&self, sources: Vec<SourceFile>, slots: Vec<PluginSlot>) {
        let at = self.clock.now().to_string();
        self.write("the generation", move |last_good| last_good.keep(&sources, &slots, at)).await;
    }

    /// Forgets the bytes of plugins that were loaded and did not take effect.
    pub async fn tidy(&self) {
        self.write("less", LastGood::tidy).await;
    }

    /// A disk that refuses is no reason not to run.
    async fn write(
        &self,
        what: &'static str,
        write: impl FnOnce(&LastGood) -> std::io::Result<()> + Send + 'static,
    ) {
        let last_good = self.last_good.clone();
        let written = self.tasks.blocking(move || write(&last_good)).await;
        let written = written.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        if let Err(error) = written {
            tracing::error!(event = "last_good.unkept", what, %error);
        }
    }

    /// What is different between two generations, a line each.
    #[must_use]
    pub fn changes(old: &[PluginSlot], new: &[PluginSlot]) -> Vec<String> {
        let mut lines = Vec::new();
        let called = |slots: &[PluginSlot], name: &Name| {
            slots.iter().find(|s| s.config.name == *name).cloned()
        };
        for slot in new {
            let (name, label) = (&slot.config.name, &slot.label);
            lines.extend(match called(old, name) {
                None => Some(format!("plugin {label} loaded")),
                Some(before) if before.sha256 != slot.sha256 => {
                    Some(format!("plugin {label} loaded instead of {}", before.label))
                }
                Some(before) if before.config != slot.config => {
                    Some(format!("plugin {label} has other settings"))
                }
                Some(_) => None,
            });
        }
        let went = old.iter().filter(|slot| called(new, &slot.config.name).is_none());
        lines.extend(went.map(|slot| format!("plugin {} retired", slot.label)));
        lines
    }
}

/// What is to be loaded, in the order in which it runs.
fn wanted(config: &Config, errors: &mut Vec<String>) -> Vec<Wanted> {
    let named = config.plugins.list.iter();
    let mut wanted: Vec<Wanted> =
        named.map(|plugin| Wanted { config: Arc::clone(plugin), dropped: false }).collect();
    if config.plugins.auto.is_none() {
        return wanted;
    }
    let dropped = unnamed(&config.plugins).unwrap_or_else(|error| {
        let folder = config.plugins.folder.display();
        errors.push(format!("the plugin folder {folder} cannot be listed: {error}"));
        Vec::new()
    });
    for module in dropped {
        match config.plugins.dropped(&module) {
            Ok(plugin) => wanted.push(Wanted { config: Arc::new(plugin), dropped: true }),
            Err(error) => errors.push(format!("plugin file {module}: {error}")),
        }
    }
    wanted
}

fn may_be_half_copied(error: &LoadError) -> bool {
    matches!(error.step, LoadStep::Read | LoadStep::Validate)
}
