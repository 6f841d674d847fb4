//! A loaded plugin and the instances that it keeps ready.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::engine::Engine;
use super::env::HostEnv;
use super::fault::Fault;
use super::hooks::HooksPre;
use super::instance::{Given, Instance, survives};
use super::judgement::{Call, Judgement, ReceiptCall, ReceiptJudgement, Verdict};
use super::kv::{Claims, PluginKv};
use super::module::{Module, hex};
use super::session::{Finished, Session, Shared};
use super::verdict;
use crate::config::PluginConfig;

/// Instances that wait for the next call; more than that are made when they are needed.
const IDLE_MAX: usize = 64;

/// A plugin of one generation. Dropping it drops its instances.
pub struct Plugin {
    engine: Arc<Engine>,
    hooks: HooksPre,
    shared: Arc<Shared>,
    sha256: [u8; 32],
    version: Arc<str>,
    /// The last one used is used first: its memory is in the caches.
    idle: Mutex<Vec<Instance>>,
    permits: Semaphore,
    made: AtomicU64,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.name())
            .field("sha256", &hex(&self.sha256))
            .finish_non_exhaustive()
    }
}

impl Plugin {
    pub(super) fn new(
        engine: Arc<Engine>,
        hooks: HooksPre,
        shared: Arc<Shared>,
        module: &Module,
    ) -> Self {
        let version = module.manifest.as_ref().map_or("", |manifest| &manifest.version);
        let permits = usize::try_from(shared.config.limits.instances.max(1)).unwrap_or(1);
        Self {
            engine,
            hooks,
            shared,
            sha256: module.sha256,
            version: version.into(),
            idle: Mutex::default(),
            permits: Semaphore::new(permits.min(Semaphore::MAX_PERMITS)),
            made: AtomicU64::new(1),
        }
    }

    /// Its name in the YAML.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.shared.config.name
    }

    /// What the YAML says about it.
    #[must_use]
    pub fn config(&self) -> &Arc<PluginConfig> {
        &self.shared.config
    }

    /// SHA-256 of the module as it was read.
    #[must_use]
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// The first twelve digits of the hash, for logs: `name@hash`.
    #[must_use]
    pub fn short_hash(&self) -> String {
        hex(self.sha256.get(..6).unwrap_or_default())
    }

    /// The author's version; empty if the module does not say.
    #[must_use]
    pub const fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// Instances made since it was loaded.
    #[must_use]
    pub fn instances_made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Instances that wait for a call.
    #[must_use]
    pub fn instances_idle(&self) -> usize {
        self.idle().len()
    }

    /// Asks the plugin about one message. Dropping the future ends the call and leaves nothing behind.
    ///
    /// # Errors
    /// The plugin came to no judgement; the message is as it was.
    pub async fn judge(&self, call: Call<'_>) -> Result<Judgement, Fault> {
        self.judge_with(&call, &self.shared.kv).await
    }

    pub(super) async fn judge_with(
        &self,
        call: &Call<'_>,
        keys: &Arc<PluginKv>,
    ) -> Result<Judgement, Fault> {
        let started = call.env.monotonic();
        let cpu = self.shared.config.limits.cpu;
        let session = Session::new(&self.shared, call, keys);
        let work = async |instance: &mut Instance| instance.process(session, cpu).await;
        let (given, finished) = self.call(call.env, work).await?;
        let duration = call.env.monotonic().saturating_sub(started);
        let verdict = match given {
            Given::Verdict(verdict) => verdict,
            Given::Waits(what) => {
                // Nothing of the call counts: all of it happens again when the answers are there.
                let (verdict, message) = (Verdict::Wait(what), None);
                let (forks, kv, claims) = (Vec::new(), Vec::new(), Claims::default());
                return Ok(Judgement { verdict, message, forks, kv, claims, duration });
            }
        };
        let Some(edited) = finished.edited else {
            return Err(Fault::Output("it gave its message away".to_owned()));
        };
        let verdict = verdict::read(verdict, &self.shared.config.grants, &**call.env)?;
        let (kv, claims) = finished.kv.into_parts();
        let (message, forks) = (edited.into_changed(), finished.forks);
        Ok(Judgement { verdict, message, forks, kv, claims, duration })
    }

    /// Shows a receipt to the plugin; none if it does not look at receipts.
    ///
    /// # Errors
    /// The plugin came to no judgement.
    pub async fn see_receipt(
        &self,
        call: ReceiptCall<'_>,
    ) -> Option<Result<ReceiptJudgement, Fault>> {
        if !self.hooks.sees_receipts() {
            return None;
        }
        let cpu = self.shared.config.limits.cpu;
        let session = Session::about_receipt(&self.shared, &call);
        let work = async |instance: &mut Instance| instance.see_receipt(session, cpu).await;
        let judged = self.call(call.env, work).await;
        Some(judged.map(|(code, finished)| {
            let (kv, claims) = finished.kv.into_parts();
            ReceiptJudgement { tell: code != 1, kv, claims }
        }))
    }

    /// One call of an instance, and what it did if it came to a clean end.
    async fn call<T>(
        &self,
        env: &Arc<dyn HostEnv>,
        work: impl AsyncFnOnce(&mut Instance) -> Result<(T, Session), Fault>,
    ) -> Result<(T, Finished), Fault> {
        let limits = &self.shared.config.limits;
        let _running = self.engine.running();
        let mut queued = true;
        // One deadline for the turn, the start of an instance and the call: a peer waits for the sum.
        let work = async {
            let _permit = self.permit().await?;
            queued = false;
            let mut instance = self.instance(env).await?;
            let outcome = work(&mut instance).await;
            Ok((instance, outcome))
        };
        // What was begun goes with its future, the instance and its half-done work included.
        let worked = tokio::time::timeout(limits.time, work).await;
        let (instance, outcome) = match worked {
            Ok(worked) => worked?,
            Err(_elapsed) if queued => return Err(self.busy()),
            Err(_elapsed) => return Err(Fault::Timeout(limits.time)),
        };
        let now = env.monotonic();
        match outcome {
            Ok((given, session)) => {
                let finished = session.finish();
                if !matches!(finished, Err(Fault::Trap { .. })) {
                    self.keep(instance, now);
                }
                Ok((given, finished?))
            }
            Err(fault) => {
                if survives(&fault) {
                    self.keep(instance, now);
                }
                Err(fault)
            }
        }
    }

    /// Keeps an instance for the next call unless it is worn.
    pub(super) fn keep(&self, instance: Instance, now: Duration) {
        if instance.is_worn(now) {
            return;
        }
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX {
            idle.push(instance);
        }
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, Fault> {
        self.permits.acquire().await.map_err(|_closed| self.busy())
    }

    fn busy(&self) -> Fault {
        let limits = &self.shared.config.limits;
        let (instances, time) = (limits.instances, limits.time);
        Fault::Unavailable(format!("all {instances} instances were busy for {time:?}"))
    }

    /// Throws away the instances that wait and makes one anew: what they have seen is gone.
    pub(super) async fn renew(&self, env: &Arc<dyn HostEnv>) -> Result<(), Fault> {
        self.idle().clear();
        let instance = self.instance(env).await?;
        self.made.store(1, Ordering::Relaxed);
        self.keep(instance, env.monotonic());
        Ok(())
    }

    async fn instance(&self, env: &Arc<dyn HostEnv>) -> Result<Instance, Fault> {
        let ready = self.idle().pop();
        if let Some(instance) = ready {
            return Ok(instance);
        }
        self.made.fetch_add(1, Ordering::Relaxed);
        Instance::start(&self.engine, &self.hooks, &self.shared, env).await
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Instance>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
