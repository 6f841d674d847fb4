//! The WebAssembly engine and the clock that keeps its guests honest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wasmtime::{Config, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::features;
use super::load::Options;
use super::slots::{CORE_INSTANCES_A_SLOT, LOADING_SLOTS, MEMORIES_A_SLOT, Slots, TABLES_A_SLOT};

/// How often a running guest is asked to let others run; also the grain of processor budgets.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// How often the ticker looks whether a call runs while none does: a call's first tick may come so
/// much later. Calls are mostly over long before; waking up for each tick between them costs more than
/// they do.
const LOOK: Duration = Duration::from_millis(4);
/// Looks without a call after which the ticker sleeps until the next one.
const IDLE_LOOKS: u32 = 250;
/// Memory of an instance that stays mapped for the next one.
const KEEP_RESIDENT_BYTES: usize = 1 << 20;
/// Address space behind each memory that catches overruns.
const GUARD_BYTES: u64 = 32 << 20;

/// What the engine says when it refuses.
pub(super) type Error = wasmtime::Error;

/// What machine code depends on besides the engine's version and the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    /// Memory of a slot, where slots are kept ready.
    pool_memory_bytes: Option<usize>,
}

impl Settings {
    /// An engine that compiles for those with these settings, and keeps no slots.
    pub(super) fn compiling(self) -> wasmtime::Result<wasmtime::Engine> {
        wasmtime::Engine::new(&self.config())
    }

    /// An engine that runs what was compiled, with so many instances.
    fn running(self, instances_max: usize) -> wasmtime::Result<wasmtime::Engine> {
        let mut config = self.config();
        if let Some(bytes) = self.pool_memory_bytes {
            // Whoever has a slot has all that it needs: what a component may have is bounded, and there
            // is that much for each.
            let slots = u32::try_from(instances_max + LOADING_SLOTS).unwrap_or(u32::MAX);
            let mut pool = PoolingAllocationConfig::new();
            pool.total_component_instances(slots)
                .max_core_instances_per_component(CORE_INSTANCES_A_SLOT)
                .total_core_instances(slots.saturating_mul(CORE_INSTANCES_A_SLOT))
                .max_memories_per_component(MEMORIES_A_SLOT)
                .total_memories(slots.saturating_mul(MEMORIES_A_SLOT))
                .max_tables_per_component(TABLES_A_SLOT)
                .total_tables(slots.saturating_mul(TABLES_A_SLOT))
                .total_stacks(slots)
                .max_memory_size(bytes)
                .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
                .max_unused_warm_slots(slots / 2);
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        }
        wasmtime::Engine::new(&config)
    }

    fn config(self) -> Config {
        let mut config = Config::new();
        config.wasm_features(features::FORBIDDEN, false).wasm_features(features::ALLOWED, true);
        config.epoch_interruption(true).memory_init_cow(true).memory_guard_size(GUARD_BYTES);
        // A plugin is compiled beside the traffic: one processor is enough, and its thread ends with it.
        config.parallel_compilation(false);
        if let Some(bytes) = self.pool_memory_bytes {
            config.memory_reservation(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
        config
    }
}

/// SHA-256 of what the engine says that machine code depends on: its version, its settings, the
/// processor's features.
fn fingerprint(engine: &wasmtime::Engine) -> [u8; 32] {
    struct Hasher(Sha256);
    impl std::hash::Hasher for Hasher {
        fn write(&mut self, octets: &[u8]) {
            self.0.update(octets);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = Hasher(Sha256::new_with_prefix(env!("CARGO_PKG_VERSION")));
    std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut hasher);
    hasher.0.finalize().into()
}

/// An engine whose epoch advances every [`TICK`] while calls run, and every [`LOOK`] between them.
#[derive(Debug)]
pub(super) struct Engine {
    engine: wasmtime::Engine,
    ticker: Arc<Ticker>,
    thread: Option<JoinHandle<()>>,
    settings: Settings,
    fingerprint: [u8; 32],
    slots: Arc<Slots>,
}

#[derive(Debug, Default)]
struct Ticker {
    calls: AtomicUsize,
    asleep: AtomicBool,
    ended: AtomicBool,
}

/// While one of these lives, the epoch advances.
#[derive(Debug)]
pub(super) struct Running<'a>(&'a Ticker);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Engine {
    /// An engine for so many instances of at most so much memory. It keeps slots for instances ready; where
    /// the address space does not allow that, it makes each instance from nothing.
    pub(super) fn start(options: &Options) -> wasmtime::Result<Self> {
        let mut engine = Self::still(options)?;
        engine.slots.tend()?;
        let thread = std::thread::Builder::new().name("wasm-epoch".into()).spawn({
            let (ticker, weak) = (Arc::clone(&engine.ticker), engine.engine.weak());
            move || tick(&ticker, &weak)
        })?;
        engine.thread = Some(thread);
        Ok(engine)
    }

    /// The same, but its epoch stands still: no guest is interrupted, however long it computes.
    pub(super) fn still(options: &Options) -> wasmtime::Result<Self> {
        let instances_max = options.instances_max;
        let mut settings = Settings { pool_memory_bytes: Some(options.memory_bytes_max) };
        let engine = settings.running(instances_max).or_else(|_no_room| {
            settings = Settings { pool_memory_bytes: None };
            settings.running(instances_max)
        })?;
        let (fingerprint, slots) = (fingerprint(&engine), Slots::new(instances_max));
        Ok(Self { engine, ticker: Arc::default(), thread: None, settings, fingerprint, slots })
    }

    pub(super) const fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }

    /// Room for instances.
    pub(super) const fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// Whether slots for instances are kept ready.
    pub(super) const fn is_pooling(&self) -> bool {
        self.settings.pool_memory_bytes.is_some()
    }

    /// What its machine code depends on.
    pub(super) const fn settings(&self) -> Settings {
        self.settings
    }

    /// The same and more, as a hash: code that was made under another one does not run here.
    pub(super) const fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Keeps the epoch advancing for the time of a call.
    pub(super) fn running(&self) -> Running<'_> {
        self.ticker.calls.fetch_add(1, Ordering::SeqCst);
        if self.ticker.asleep.load(Ordering::SeqCst) {
            self.wake();
        }
        Running(&self.ticker)
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.ticker.ended.store(true, Ordering::SeqCst);
        self.wake();
    }
}

#[expect(clippy::disallowed_methods, reason = "a thread of its own: it blocks no worker")]
fn tick(ticker: &Ticker, engine: &EngineWeak) {
    let mut idle = 0;
    while !ticker.ended.load(Ordering::SeqCst) {
        std::thread::sleep(if idle == 0 { TICK } else { LOOK });
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
        drop(engine);
        idle = if ticker.calls.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
        if idle < IDLE_LOOKS {
            continue;
        }
        // Said before looking: a call that begins now either sees this or is seen.
        ticker.asleep.store(true, Ordering::SeqCst);
        while ticker.calls.load(Ordering::SeqCst) == 0 && !ticker.ended.load(Ordering::SeqCst) {
            std::thread::park();
        }
        ticker.asleep.store(false, Ordering::SeqCst);
        idle = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_only_compiles_makes_code_for_the_one_that_runs_it() {
        for pool_memory_bytes in [None, Some(64 << 20)] {
            let settings = Settings { pool_memory_bytes };
            let (compiling, running) =
                (settings.compiling().unwrap(), settings.running(8).unwrap());
            assert_eq!(fingerprint(&compiling), fingerprint(&running), "{settings:?}");
        }
        let of =
            |pool_memory_bytes| fingerprint(&Settings { pool_memory_bytes }.compiling().unwrap());
        assert_ne!(of(None), of(Some(64 << 20)), "other settings, other code");
    }
}
