//! The plugins of a generation: files read, modules loaded, those that did not change kept.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};
use spool::Spool;

use crate::config::{Config, PluginConfig};
use crate::generation::PluginSlot;
use crate::pipeline::Judge;
use crate::platform::clock::Clock;
use crate::platform::machine::Machine;
use crate::platform::tasks::Tasks;
use crate::plugin::{
    Call, Fault, Host, HostEnv, Judgement, LoadError, LoadStep, MODULE_BYTES_MAX, Options, Plugin,
    StartError,
};
use crate::router::{Env, Targets};

/// A file that is being copied looks damaged; it is read again so often before it is refused.
const SETTLE_TRIES: u32 = 10;
/// Between those tries.
const SETTLE_WAIT: Duration = Duration::from_millis(200);
/// Permission bits that let others than the owner put plugins into a folder.
const WRITABLE_BY_OTHERS: u32 = 0o022;

impl Judge for Plugin {
    fn judge<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Judgement, Fault>> {
        Box::pin(Self::judge(self, call))
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
}

impl PluginSet {
    /// A set for a router with these parts.
    ///
    /// # Errors
    /// If the engine does not start on this machine.
    pub fn start(
        spool: Spool,
        machine: &Machine,
        targets: Arc<ArcSwap<Targets>>,
    ) -> Result<Self, StartError> {
        let (clock, tasks, seed) = (machine.clock.clone(), machine.tasks.clone(), machine.seed);
        let started = clock.instant();
        let host = Host::start(Options::default())?;
        Ok(Self { host, spool, clock, targets, started, seed, tasks })
    }

    /// What the plugins of a generation with this configuration may ask the host.
    #[must_use]
    pub fn env(&self, config: &Arc<Config>) -> Arc<dyn HostEnv> {
        let targets = Arc::clone(&self.targets);
        Arc::new(Env::new(
            self.spool.clone(),
            self.clock.clone(),
            Arc::clone(config),
            targets,
            (self.started, self.seed),
        ))
    }

    /// The plugins that the configuration names, in its order. What has the same bytes and the same
    /// settings as before is kept, with its instances.
    ///
    /// # Errors
    /// A line for each plugin that cannot be loaded.
    pub async fn load(
        &self,
        config: &Arc<Config>,
        env: &Arc<dyn HostEnv>,
        running: &[PluginSlot],
    ) -> Result<Vec<PluginSlot>, Vec<String>> {
        let (mut slots, mut errors) = (Vec::new(), Vec::new());
        for plugin in &config.plugins.list {
            match self.slot(&config.plugins.folder, plugin, env, running).await {
                Ok(slot) => slots.push(slot),
                Err(error) => {
                    errors.push(format!("plugin {} ({}): {error}", plugin.name, plugin.module));
                }
            }
        }
        if errors.is_empty() { Ok(slots) } else { Err(errors) }
    }

    async fn slot(
        &self,
        folder: &Path,
        config: &Arc<PluginConfig>,
        env: &Arc<dyn HostEnv>,
        running: &[PluginSlot],
    ) -> Result<PluginSlot, String> {
        let mut bytes = self.read(folder, &config.module).await?;
        let mut tries = 0;
        loop {
            let hash: [u8; 32] = Sha256::digest(&bytes).into();
            let kept = running.iter().find(|slot| slot.config == *config && slot.sha256 == hash);
            if let Some(slot) = kept {
                return Ok(slot.clone());
            }
            match self.host.load(config, bytes.clone(), env).await {
                Ok(plugin) => {
                    let label = format!("{}@{}", config.name, plugin.short_hash()).into();
                    let config = Arc::clone(config);
                    return Ok(PluginSlot { config, plugin, label, sha256: hash });
                }
                Err(error) if may_be_half_copied(&error) && tries < SETTLE_TRIES => {
                    tries += 1;
                    self.clock.sleep(SETTLE_WAIT).await;
                    let again = self.read(folder, &config.module).await?;
                    if again == bytes && tries >= 2 {
                        return Err(error.to_string());
                    }
                    bytes = again;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Reads a module out of the folder, and only out of it.
    async fn read(&self, folder: &Path, module: &str) -> Result<Bytes, String> {
        let (folder, module) = (folder.to_path_buf(), module.to_owned());
        let reading = self.tasks.blocking(move || read_now(&folder, &module));
        reading.await.map_err(|error| format!("it could not be read: {error}"))?
    }

    /// What is different between two generations, a line each.
    #[must_use]
    pub fn changes(old: &[PluginSlot], new: &[PluginSlot]) -> Vec<String> {
        let has = |slots: &[PluginSlot], label: &Arc<str>| slots.iter().any(|s| s.label == *label);
        let came = new.iter().filter(|slot| !has(old, &slot.label));
        let went = old.iter().filter(|slot| !has(new, &slot.label));
        came.map(|slot| format!("plugin {} loaded", slot.label))
            .chain(went.map(|slot| format!("plugin {} retired", slot.label)))
            .collect()
    }
}

fn may_be_half_copied(error: &LoadError) -> bool {
    matches!(error.step, LoadStep::Read | LoadStep::Validate)
}

fn read_now(folder: &Path, module: &str) -> Result<Bytes, String> {
    let say = |path: &Path, error: std::io::Error| {
        format!("{}: {error}; put the module there, or correct `module`", path.display())
    };
    let folder: PathBuf = folder.canonicalize().map_err(|error| say(folder, error))?;
    let mode = folder.metadata().map_err(|error| say(&folder, error))?.mode();
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(format!(
            "{} is writable by others than its owner, who could put code into the router; \
             `chmod go-w` it",
            folder.display()
        ));
    }
    let path = folder.join(module);
    let real = path.canonicalize().map_err(|error| say(&path, error))?;
    if !real.starts_with(&folder) {
        return Err(format!("{} leads out of {}", path.display(), folder.display()));
    }
    let size = real.metadata().map_err(|error| say(&real, error))?.len();
    if size > u64::try_from(MODULE_BYTES_MAX).unwrap_or(u64::MAX) {
        return Err(format!(
            "{} has {size} octets, {MODULE_BYTES_MAX} are allowed",
            real.display()
        ));
    }
    std::fs::read(&real).map(Bytes::from).map_err(|error| say(&real, error))
}
