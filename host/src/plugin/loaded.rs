//! A loaded plugin and the instances that it keeps ready.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::engine::Engine;
use super::env::HostEnv;
use super::fault::Fault;
use super::hooks::HooksPre;
use super::instance::{Given, Instance, survives};
use super::judgement::{Call, Judgement, ReceiptCall, ReceiptJudgement, Verdict};
use super::kv::{Claims, PluginKv};
use super::limits::LOADING_WAIT_MAX;
use super::module::{Module, hex};
use super::ready::Ready;
use super::session::{Finished, Session, Shared};
use super::slots::{Slot, Tenancy, Waiting};
use super::told::Told;
use super::verdict;
use crate::config::PluginConfig;

/// A plugin of one generation. Dropping it drops its instances.
pub struct Plugin {
    engine: Arc<Engine>,
    hooks: HooksPre,
    shared: Arc<Shared>,
    sha256: [u8; 32],
    version: Arc<str>,
    ready: Arc<Ready>,
    tenancy: Tenancy,
    permits: Semaphore,
    permits_max: usize,
    /// Until it has passed its tests, its instance has a slot that traffic cannot take.
    loading: AtomicBool,
    made: AtomicU64,
}

/// What is counted of a plugin for whoever watches it; what says so counts over all of its generations.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Instances that wait for a call.
    pub instances_idle: u64,
    /// Instances made since this generation of it was loaded.
    pub instances_made: u64,
    /// Calls that the router had no room for, over all generations.
    pub calls_put_off: u64,
    /// Lines of its log that were left out, over all generations.
    pub lines_left_out: u64,
}

/// The turn of a call.
struct Turn<'a> {
    place: Place,
    _permit: SemaphorePermit<'a>,
}

/// What a call runs in.
enum Place {
    Ready(Instance),
    /// Room for an instance that is still to be made.
    Slot(Slot),
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
        let permits_max = permits.min(engine.slots().all()).min(Semaphore::MAX_PERMITS);
        let ready: Arc<Ready> = Arc::default();
        let instances: Weak<Ready> = Arc::downgrade(&ready);
        let tenancy = engine.slots().join(permits_max, instances as Weak<dyn Waiting>);
        Self {
            engine,
            hooks,
            shared,
            sha256: module.sha256,
            version: version.into(),
            ready,
            tenancy,
            permits: Semaphore::new(permits_max),
            permits_max,
            loading: AtomicBool::new(true),
            made: AtomicU64::new(0),
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

    /// What it told by metrics since it was loaded.
    #[must_use]
    pub fn told(&self) -> &Told {
        &self.shared.told
    }

    /// Instances made since it was loaded.
    #[must_use]
    pub fn instances_made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Instances that wait for a call.
    #[must_use]
    pub fn instances_idle(&self) -> usize {
        self.ready.len()
    }

    /// What is counted of it.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let tally = &self.shared.kv.tally;
        let idle = u64::try_from(self.instances_idle()).unwrap_or(u64::MAX);
        Figures {
            instances_idle: idle,
            instances_made: self.instances_made(),
            calls_put_off: tally.put_off.load(Ordering::Relaxed),
            lines_left_out: tally.lines_left_out.load(Ordering::Relaxed),
        }
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
        // What a call waits for room is no time of its own.
        let Turn { place, _permit } = self.turn(env).await?;
        self.ready.in_use(self.permits_max - self.permits.available_permits());
        let _running = self.engine.running();
        // One deadline for the start of an instance and the call: a peer waits for the sum.
        let work = async {
            let mut instance = match place {
                Place::Ready(instance) => instance,
                Place::Slot(slot) => self.make(slot, env).await?,
            };
            let outcome = work(&mut instance).await;
            Ok((instance, outcome))
        };
        // What was begun goes with its future, the instance and its half-done work included.
        let time = self.shared.config.limits.time;
        let worked = tokio::time::timeout(time, work).await;
        let (instance, outcome) = worked.map_err(|_elapsed| Fault::Timeout(time))??;
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

    /// Keeps an instance for the next call unless it is worn, or another plugin needs its slot.
    fn keep(&self, instance: Instance, now: Duration) {
        if !instance.is_worn(now) && !self.tenancy.is_missed_elsewhere() {
            self.ready.push(instance);
        }
    }

    /// Waits until a call may run, for as long as a call may take.
    async fn turn(&self, env: &Arc<dyn HostEnv>) -> Result<Turn<'_>, Fault> {
        // Mostly there is nothing to wait for, and no timer is made.
        let mut permit = self.permits.try_acquire().ok();
        if let Some(held) = permit.take() {
            match self.place() {
                Some(place) => return Ok(Turn { place, _permit: held }),
                None => permit = Some(held),
            }
        }
        let mut has_permit = permit.is_some();
        let waiting = async {
            let permit = match permit {
                Some(permit) => permit,
                None => self.permits.acquire().await.ok()?,
            };
            has_permit = true;
            let place = match self.place() {
                Some(place) => place,
                // Another call of this plugin may end before there is room for one more.
                None => tokio::select! {
                    biased;
                    instance = self.ready.next() => Place::Ready(instance),
                    slot = self.slot() => Place::Slot(slot?),
                },
            };
            Some(Turn { place, _permit: permit })
        };
        let time =
            if self.is_loading() { LOADING_WAIT_MAX } else { self.shared.config.limits.time };
        match tokio::time::timeout(time, waiting).await {
            Ok(Some(turn)) => Ok(turn),
            Ok(None) | Err(_) => Err(self.put_off(has_permit, time, env)),
        }
    }

    fn place(&self) -> Option<Place> {
        if let Some(instance) = self.ready.pop() {
            return Some(Place::Ready(instance));
        }
        if self.is_loading() { None } else { self.tenancy.take_now().map(Place::Slot) }
    }

    async fn slot(&self) -> Option<Slot> {
        if self.is_loading() {
            self.engine.slots().for_loading().await
        } else {
            self.tenancy.take().await
        }
    }

    fn is_loading(&self) -> bool {
        self.loading.load(Ordering::Relaxed)
    }

    fn put_off(&self, has_permit: bool, time: Duration, env: &Arc<dyn HostEnv>) -> Fault {
        let (slots, instances) = (self.engine.slots().all(), self.permits_max);
        let reason = if has_permit {
            format!("all {slots} instance slots of its plugins had work for {time:?}")
        } else {
            format!(
                "all {instances} instances that `limits: instances` allows had work for {time:?}"
            )
        };
        let tally = &self.shared.kv.tally;
        if tally.put_off(env.monotonic()) {
            let (plugin, calls) = (&**self.name(), tally.put_off.load(Ordering::Relaxed));
            tracing::warn!(event = "plugin.put_off", plugin, calls, reason);
        }
        Fault::Busy(reason)
    }

    /// Makes the first instance, which its tests run in.
    pub(super) async fn warm(&self, env: &Arc<dyn HostEnv>) -> Result<(), Fault> {
        let waiting = tokio::time::timeout(LOADING_WAIT_MAX, self.slot());
        let Ok(Some(slot)) = waiting.await else {
            return Err(self.put_off(true, LOADING_WAIT_MAX, env));
        };
        let instance = self.make(slot, env).await?;
        self.ready.push(instance);
        Ok(())
    }

    /// Throws away the instances that the tests ran in, and what they have seen with them, and makes one
    /// anew for the traffic. Where all slots have work, the first call makes it.
    pub(super) async fn renew(&self, env: &Arc<dyn HostEnv>) -> Result<(), Fault> {
        self.ready.clear();
        self.shared.told.forget();
        self.loading.store(false, Ordering::Relaxed);
        self.made.store(0, Ordering::Relaxed);
        if let Some(slot) = self.tenancy.take_now() {
            let instance = self.make(slot, env).await?;
            self.keep(instance, env.monotonic());
        }
        Ok(())
    }

    async fn make(&self, slot: Slot, env: &Arc<dyn HostEnv>) -> Result<Instance, Fault> {
        self.made.fetch_add(1, Ordering::Relaxed);
        Instance::start(&self.engine, &self.hooks, &self.shared, env, slot).await
    }
}
