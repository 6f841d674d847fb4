//! The plugins of a generation: files read, modules loaded, those that did not change kept.

mod folder;
mod loading;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use spool::Spool;

use crate::config::{Config, Name, PluginConfig, SourceFile};
use crate::generation::{Generation, PluginSlot};
use crate::last_good::{LastGood, State};
use crate::lookup::Lookups;
use crate::pipeline::{Judge, SeeReceipt};
use crate::platform::clock::Clock;
use crate::platform::machine::Machine;
use crate::platform::tasks::Tasks;
use crate::plugin::{
    Call, Compiler, Fault, Figures, Host, HostEnv, Judgement, LoadError, Options, Plugin,
    ReceiptCall, StartError, Told,
};
use crate::router::{Env, Targets};

pub use folder::unnamed;
pub use loading::Before;
use loading::Refusal;

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
    /// By plugin: octets that were refused at the last load, and would be again.
    refusals: Mutex<BTreeMap<Name, Refusal>>,
    /// Something was mounted at the plugin folder when it was listed last.
    folder_is_mount: AtomicBool,
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
    /// What compiles them.
    pub compiler: Compiler,
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
    /// Why the plugin folder could not be listed, if it should have been.
    pub folder: Option<Arc<str>>,
    /// Files that were dropped and ran before the start, and are not there any more.
    pub gone: Vec<Arc<str>>,
}

impl PluginSet {
    /// A set for a router with these parts.
    ///
    /// # Errors
    /// If the engine does not start on this machine.
    pub fn start(machine: &Machine, surroundings: Surroundings) -> Result<Self, StartError> {
        let Surroundings { spool, targets, last_good, lookups, compiler } = surroundings;
        let options = Options { compiler, ..Options::default() };
        let (clock, tasks, seed) = (machine.clock.clone(), machine.tasks.clone(), machine.seed);
        let started = clock.instant();
        let host = match machine.plugins.clone() {
            Some(workshop) => Host::simulated(options, workshop)?,
            None => Host::start(options)?,
        };
        let (refusals, folder_is_mount) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self {
            host,
            spool,
            clock,
            targets,
            started,
            seed,
            tasks,
            last_good,
            lookups,
            refusals,
            folder_is_mount,
        })
    }

    /// What compiles them.
    #[must_use]
    pub const fn compiler(&self) -> &Compiler {
        self.host.compiler()
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

    /// Tries everything anew at the next load: what was refused may have been for want of something
    /// that is there now.
    pub fn forget_refusals(&self) {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clear();
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
    pub async fn keep(&self, sources: Vec<SourceFile>, generation: Arc<Generation>) {
        let at = self.clock.now().to_string();
        let folder_is_mount = self.folder_is_mount.load(Ordering::Relaxed);
        let compiler = self.host.compiler().clone();
        let keep = move |last_good: &LastGood| {
            let running = generation.plugins.iter().map(|slot| slot.sha256).collect();
            last_good.keep(&State {
                sources: &sources,
                plugins: &generation.plugins,
                listed: &generation.config.plugins.list,
                folder_is_mount,
                at,
            })?;
            compiler.keep_only(&running)
        };
        self.write("the generation", keep).await;
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
