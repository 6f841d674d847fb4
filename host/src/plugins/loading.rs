//! Which plugins a generation gets, and what goes on where a file is refused.
//!
//! What the YAML names takes effect as a whole or not at all. What was only dropped into the folder
//! stands for itself: a file that never ran does not run, one that ran goes on with the bytes that it
//! ran with, and neither keeps anything else from taking effect.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::folder::{self, Listing, ReadError};
use super::{Loaded, PluginSet};
use crate::config::{Config, PluginConfig};
use crate::generation::{Generation, PluginSlot};
use crate::last_good::Kept;
use crate::plugin::{HostEnv, LoadError, LoadStep};

/// Files that are being copied look damaged; they are read again so often before they are refused.
const SETTLE_TRIES: u32 = 10;
/// Between those tries; all files that wait for it wait together.
const SETTLE_WAIT: Duration = Duration::from_millis(200);
/// A file that was the same so often is refused without further tries.
const SETTLED_TRIES: u32 = 2;

/// What was there before: it goes on where a file is refused.
#[derive(Debug, Clone, Copy)]
pub enum Before<'a> {
    /// Nothing: whatever is refused is an error.
    Nothing,
    /// What ran last, kept on disk: this is a start.
    Kept(&'a Kept),
    /// What runs: this is a reload.
    Running(&'a Generation),
}

impl<'a> Before<'a> {
    fn slots(self) -> &'a [PluginSlot] {
        match self {
            Self::Nothing | Self::Kept(_) => &[],
            Self::Running(generation) => &generation.plugins,
        }
    }

    /// Whether a plugin ran that came from this file.
    fn ran(self, module: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Kept(kept) => kept.ran(module),
            Self::Running(generation) => generation.slot_of(module).is_some(),
        }
    }

    /// Files that were dropped into the folder of this configuration and ran; none if they are not
    /// known, because nothing ran or another folder was meant.
    fn dropped(self, config: &Config) -> Option<Vec<Arc<str>>> {
        match self {
            Self::Nothing => None,
            Self::Kept(kept) => Some(kept.dropped()),
            Self::Running(generation) => {
                let plugins = &generation.config.plugins;
                let same = plugins.auto.is_some() && plugins.folder == config.plugins.folder;
                let named =
                    |slot: &PluginSlot| plugins.list.iter().any(|p| p.name == slot.config.name);
                let dropped = generation.plugins.iter().filter(|slot| !named(slot));
                same.then(|| dropped.map(|slot| Arc::clone(&slot.config.module)).collect())
            }
        }
    }
}

/// Octets that were refused, for which settings, and why.
#[derive(Debug)]
pub(super) struct Refusal {
    config: Arc<PluginConfig>,
    sha256: [u8; 32],
    error: String,
}

/// A plugin to load.
struct Wanted {
    config: Arc<PluginConfig>,
    /// It is a file of the folder that the list does not name.
    dropped: bool,
    /// The folder cannot be listed, and this ran before.
    lost: Option<Arc<str>>,
}

/// A plugin that was not loaded.
#[derive(Clone)]
struct Failed {
    error: String,
    /// What its file had in it, if it could be read.
    sha256: Option<[u8; 32]>,
    /// A moment later the file may be another.
    may_settle: bool,
    /// The same octets will be refused again.
    lasts: bool,
}

/// What becomes of a plugin that was not loaded.
enum Instead {
    /// It goes on with the bytes that it ran with.
    GoesOn(PluginSlot),
    /// It never ran, and does not now.
    Refused,
    /// Nothing takes effect.
    Error(String),
}

/// What was found before anything is loaded.
#[derive(Default)]
struct Choice {
    wanted: Vec<Wanted>,
    loaded: Loaded,
    errors: Vec<String>,
}

impl PluginSet {
    /// The plugins that the configuration names, in its order, then those that were dropped, if they
    /// may run. What has the same bytes and the same settings as before is kept, with its instances.
    ///
    /// # Errors
    /// A line for each plugin that cannot be loaded and keeps the others from taking effect.
    pub async fn load(
        &self,
        config: &Arc<Config>,
        env: &Arc<dyn HostEnv>,
        before: Before<'_>,
    ) -> Result<Loaded, Vec<String>> {
        self.host.compiler().limit(config.plugins.compile);
        let Choice { wanted, mut loaded, mut errors } = self.choose(config, before).await;
        let tried = self.settle(config, &wanted, env, before.slots()).await;
        self.remember(&wanted, &tried);
        for (wanted, tried) in wanted.iter().zip(tried) {
            let error = match tried {
                Ok(slot) => {
                    loaded.slots.push(slot);
                    continue;
                }
                Err(failed) => failed.error,
            };
            let plugin = &wanted.config;
            match self.instead(wanted, &error, env, before).await {
                Instead::GoesOn(slot) => {
                    let named = wanted.lost.is_some() || error.contains(&*plugin.module);
                    let why = if named { error } else { format!("{}: {error}", plugin.module) };
                    loaded.stale.insert(Arc::clone(&plugin.name), why.into());
                    loaded.slots.push(slot);
                }
                Instead::Refused => {
                    loaded.refused.insert(Arc::clone(&plugin.module), error.into());
                }
                Instead::Error(line) => errors.push(line),
            }
        }
        if errors.is_empty() { Ok(loaded) } else { Err(errors) }
    }

    /// What is to be loaded, in the order in which it runs.
    async fn choose(&self, config: &Arc<Config>, before: Before<'_>) -> Choice {
        let mut choice = Choice::default();
        let named = config.plugins.list.iter();
        choice.wanted.extend(named.map(|plugin| Wanted::new(Arc::clone(plugin), false)));
        if config.plugins.auto.is_none() {
            return choice;
        }
        match self.list(config, before).await {
            Ok(listing) => choice.take(listing, config, before),
            Err(error) => {
                let folder = config.plugins.folder.display();
                let why = format!(
                    "the plugin folder {folder} cannot be read: {error} (at read); mount or make \
                     it, or set `auto: false`"
                );
                choice.go_on(&why.into(), config, before);
            }
        }
        choice
    }

    async fn list(&self, config: &Arc<Config>, before: Before<'_>) -> io::Result<Listing> {
        if let Before::Kept(kept) = before {
            self.folder_is_mount.store(kept.folder_was_mount(), Ordering::Relaxed);
        }
        let of = Arc::clone(config);
        let listing = self.tasks.blocking(move || Listing::read(&of.plugins)).await;
        let listing = listing.map_err(io::Error::other)??;
        let was_mount = self.folder_is_mount.load(Ordering::Relaxed);
        let ran = before.dropped(config).is_some_and(|dropped| !dropped.is_empty());
        if ran && was_mount && listing.is_unmounted() {
            return Err(io::Error::other("it is empty, and nothing is mounted there any more"));
        }
        self.folder_is_mount.store(listing.is_mount, Ordering::Relaxed);
        Ok(listing)
    }

    /// Loads each plugin from its file. Those that are not there or look half copied are given time to
    /// become whole, together.
    async fn settle(
        &self,
        config: &Arc<Config>,
        wanted: &[Wanted],
        env: &Arc<dyn HostEnv>,
        running: &[PluginSlot],
    ) -> Vec<Result<PluginSlot, Failed>> {
        let lost = |wanted: &Wanted| Err(Failed::new(wanted.lost.as_deref().unwrap_or_default()));
        let mut tried: Vec<Result<PluginSlot, Failed>> = wanted.iter().map(lost).collect();
        let mut waiting: Vec<usize> = Vec::new();
        for (at, (wanted, tried)) in wanted.iter().zip(&mut tried).enumerate() {
            if wanted.lost.is_none() {
                *tried = self.attempt(config, wanted, env, running, None).await;
                waiting.extend(tried.as_ref().err().filter(|failed| failed.may_settle).map(|_| at));
            }
        }
        for round in 1..=SETTLE_TRIES {
            if waiting.is_empty() {
                break;
            }
            self.clock.sleep(SETTLE_WAIT).await;
            let mut unsettled = Vec::new();
            for at in waiting {
                let (Some(wanted), Some(tried)) = (wanted.get(at), tried.get_mut(at)) else {
                    continue;
                };
                let before = tried.as_ref().err().cloned();
                *tried = self.attempt(config, wanted, env, running, before.as_ref()).await;
                let Err(failed) = tried else { continue };
                let same = before.is_some_and(|before| before.sha256 == failed.sha256);
                if failed.may_settle && !(same && round >= SETTLED_TRIES) {
                    unsettled.push(at);
                }
            }
            waiting = unsettled;
        }
        tried
    }

    /// The plugin with the bytes of its file now; `last` is what came of the attempt before.
    async fn attempt(
        &self,
        config: &Arc<Config>,
        wanted: &Wanted,
        env: &Arc<dyn HostEnv>,
        running: &[PluginSlot],
        last: Option<&Failed>,
    ) -> Result<PluginSlot, Failed> {
        let plugin = &wanted.config;
        let (of, module) = (Arc::clone(config), Arc::clone(&plugin.module));
        let read = self.tasks.blocking(move || folder::read(&of.plugins, &module)).await;
        let bytes = match read {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(ReadError::Missing(error))) => {
                return Err(Failed { may_settle: true, ..Failed::new(&error) });
            }
            Ok(Err(ReadError::Refused(error))) => return Err(Failed::new(&error)),
            Err(panic) => return Err(Failed::new(&format!("it could not be read: {panic}"))),
        };
        let sha256: [u8; 32] = Sha256::digest(&bytes).into();
        let same = running.iter().find(|slot| slot.config == *plugin && slot.sha256 == sha256);
        if let Some(same) = same {
            return Ok(same.clone());
        }
        if let Some(last) = last.filter(|last| last.sha256 == Some(sha256)) {
            return Err(last.clone());
        }
        if let Some(error) = self.known_refusal(plugin, &sha256) {
            let failed = Failed::new(&error);
            return Err(Failed { sha256: Some(sha256), lasts: true, ..failed });
        }
        self.load_bytes(plugin, bytes, env).await.map_err(|error| Failed {
            sha256: Some(sha256),
            may_settle: may_be_half_copied(&error),
            lasts: lasts(&error),
            ..Failed::new(&error.to_string())
        })
    }

    fn known_refusal(&self, plugin: &Arc<PluginConfig>, sha256: &[u8; 32]) -> Option<String> {
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let known = refusals.get(&plugin.name)?;
        (known.config == *plugin && known.sha256 == *sha256).then(|| known.error.clone())
    }

    /// What need not be tried again while it is as it is.
    fn remember(&self, wanted: &[Wanted], tried: &[Result<PluginSlot, Failed>]) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.clear();
        for (wanted, tried) in wanted.iter().zip(tried) {
            let Err(Failed { error, sha256: Some(sha256), lasts: true, .. }) = tried else {
                continue;
            };
            let (config, sha256, error) = (Arc::clone(&wanted.config), *sha256, error.clone());
            refusals.insert(Arc::clone(&config.name), Refusal { config, sha256, error });
        }
    }

    /// What becomes of a plugin whose file is refused for this reason.
    async fn instead(
        &self,
        wanted: &Wanted,
        why: &str,
        env: &Arc<dyn HostEnv>,
        before: Before<'_>,
    ) -> Instead {
        let plugin = &wanted.config;
        let bytes = match before {
            Before::Nothing => None,
            Before::Kept(kept) => {
                let (kept, plugin, dropped) = (kept.clone(), Arc::clone(plugin), wanted.dropped);
                let read = move || kept.module(&plugin.name, dropped.then_some(&*plugin.module));
                self.tasks
                    .blocking(read)
                    .await
                    .unwrap_or_else(|panic| Err(panic.to_string()))
                    .transpose()
            }
            Before::Running(generation) if wanted.dropped => {
                match generation.slot_of(&plugin.module) {
                    None => None,
                    Some(slot) if slot.config == *plugin => return Instead::GoesOn(slot.clone()),
                    Some(slot) => Some(self.bytes_of(slot).await),
                }
            }
            Before::Running(_) => None,
        };
        let line = format!("plugin {} ({}): {why}", plugin.name, plugin.module);
        let also = match bytes {
            // What never ran is not missed: the last good state is the one without it.
            None if wanted.dropped && !matches!(before, Before::Nothing) => {
                return Instead::Refused;
            }
            None => return Instead::Error(line),
            Some(Ok(bytes)) => match self.load_bytes(plugin, bytes, env).await {
                Ok(slot) => return Instead::GoesOn(slot),
                Err(error) => error.to_string(),
            },
            Some(Err(error)) => error,
        };
        Instead::Error(format!("{line}; nor does it run with its last good bytes: {also}"))
    }

    /// The bytes that a plugin runs with.
    async fn bytes_of(&self, slot: &PluginSlot) -> Result<Bytes, String> {
        let (last_good, sha256) = (self.last_good.clone(), slot.sha256);
        let read = self.tasks.blocking(move || last_good.bytes(&sha256)).await;
        read.unwrap_or_else(|panic| Err(panic.to_string()))
    }
}

impl Wanted {
    fn new(config: Arc<PluginConfig>, dropped: bool) -> Self {
        Self { config, dropped, lost: None }
    }
}

impl Failed {
    fn new(error: &str) -> Self {
        Self { error: error.to_owned(), sha256: None, may_settle: false, lasts: false }
    }
}

impl Choice {
    /// Takes what is in the folder and may run.
    fn take(&mut self, listing: Listing, config: &Config, before: Before<'_>) {
        if let Before::Kept(kept) = before {
            let is_there = |module: &Arc<str>| listing.unnamed.contains(module);
            self.loaded.gone = kept.surely_dropped();
            self.loaded.gone.retain(|module| !is_there(module));
        }
        for (name, why) in listing.nameless {
            self.refuse(name, &why, before);
        }
        for module in listing.unnamed {
            match config.plugins.dropped(&module) {
                Ok(plugin) => self.wanted.push(Wanted::new(Arc::new(plugin), true)),
                Err(why) => self.refuse(module, &why, before),
            }
        }
    }

    /// A file whose name is none, or that of another plugin.
    fn refuse(&mut self, module: Arc<str>, why: &str, before: Before<'_>) {
        if matches!(before, Before::Nothing) || before.ran(&module) {
            self.errors.push(format!("plugin file {module}: {why}"));
        } else {
            self.loaded.refused.insert(module, why.into());
        }
    }

    /// The folder cannot be read: what was dropped there and ran goes on.
    fn go_on(&mut self, why: &Arc<str>, config: &Config, before: Before<'_>) {
        let Some(dropped) = before.dropped(config) else {
            self.errors.push(why.to_string());
            return;
        };
        self.loaded.folder = Some(Arc::clone(why));
        for module in dropped {
            if config.plugins.list.iter().any(|plugin| plugin.module == module) {
                continue;
            }
            match config.plugins.dropped(&module) {
                Ok(plugin) => {
                    let lost = Some(Arc::clone(why));
                    self.wanted.push(Wanted { lost, ..Wanted::new(Arc::new(plugin), true) });
                }
                Err(why) => self.refuse(module, &why, before),
            }
        }
    }
}

fn may_be_half_copied(error: &LoadError) -> bool {
    matches!(error.step, LoadStep::Read | LoadStep::Validate)
}

/// Whether the same octets and the same settings will be refused again: what a plugin does when it
/// starts may depend on tables, on the hour, on what is free.
fn lasts(error: &LoadError) -> bool {
    // How large it may be and what compiling it may take, a key says; the compiler remembers what it
    // refused, for the limits of that time.
    let by_keys = matches!(error.step, LoadStep::Read | LoadStep::Compile);
    !by_keys && !matches!(error.step, LoadStep::Init | LoadStep::SelfTest)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use arc_swap::ArcSwap;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::config::{self, CheckOptions, SpoolPlace};
    use crate::generation::Health;
    use crate::last_good::LastGood;
    use crate::pipeline::Judge;
    use crate::platform::clock::Clock;
    use crate::platform::machine::Machine;
    use crate::plugin::{Call, Fault, Judgement};
    use crate::plugins::Surroundings;
    use crate::route::RouteTable;
    use crate::router::Targets;

    /// An empty folder in which all files run, and what loads them.
    struct Fixture {
        _folder: tempfile::TempDir,
        set: PluginSet,
        config: Arc<Config>,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("plugins")).unwrap();
            let main = folder.path().join("wirepost.yaml");
            let loaded =
                config::load_text(&main, "plugins: { auto: true }", CheckOptions::default());
            let config = Arc::new(loaded.config.unwrap());
            let mut options = spool::Options::new(|| Clock::system().instant());
            options.reserve_bytes = 0;
            let surroundings = Surroundings {
                spool: spool::Spool::open_memory(options).unwrap(),
                targets: Arc::new(ArcSwap::new(Arc::new(Targets::new()))),
                last_good: LastGood::of(Path::new(""), &SpoolPlace::Memory),
                lookups: None,
                compiler: crate::plugin::Compiler::default(),
            };
            let set = PluginSet::start(&Machine::from(Clock::system()), surroundings).unwrap();
            Self { _folder: folder, set, config }
        }
    }

    #[tokio::test]
    async fn an_empty_folder_below_a_volume_that_ran_is_an_error() {
        let fixture = Fixture::new();
        let generation = |dropped: bool| {
            let config = Arc::clone(&fixture.config);
            let plugin = dropped.then(|| Arc::new(config.plugins.dropped("p.wasm").unwrap()));
            let slot = |config| {
                let (plugin, label): (Arc<dyn Judge>, _) = (Arc::new(Still), "p@0".into());
                PluginSlot { label, sha256: [0; 32], plugin, config, breaker: Arc::default() }
            };
            Generation {
                number: 1,
                routes: RouteTable::compile(&config),
                plugins: plugin.into_iter().map(slot).collect(),
                env: fixture.set.env(&config),
                health: Health::default(),
                config,
            }
        };
        let listed = async |generation: &Generation| {
            fixture.set.list(&fixture.config, Before::Running(generation)).await.map(drop)
        };
        // Nothing was mounted there: what is removed is removed on purpose.
        assert!(listed(&generation(true)).await.is_ok());
        fixture.set.folder_is_mount.store(true, Ordering::Relaxed);
        assert!(listed(&generation(true)).await.unwrap_err().to_string().contains("mounted"));
        assert!(listed(&generation(false)).await.is_ok());
    }

    /// A plugin that nobody asks.
    #[derive(Debug)]
    struct Still;

    impl Judge for Still {
        fn judge<'a>(&'a self, _call: Call<'a>) -> BoxFuture<'a, Result<Judgement, Fault>> {
            Box::pin(std::future::pending())
        }
    }
}
