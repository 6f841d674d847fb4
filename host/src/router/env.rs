//! What plugins may ask the host: their keys, tables, targets, the clock.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use message::{MessageId, Timestamp};
use spool::Spool;

use super::Targets;
use crate::config::Config;
use crate::lookup::Lookups;
use crate::platform::clock::Clock;
use crate::platform::tasks::Tasks;
use crate::plugin::{
    Ask, HostEnv, KvFound, KvUnavailable, KvUsage, LogLevel, LogLine, LookupAnswer, LookupError,
    TargetState,
};

/// Keys that are read at a time when they are counted.
const KEYS_A_PAGE: usize = 1000;

/// The environment of the plugins of one generation.
#[derive(Debug)]
pub struct Env {
    spool: Spool,
    clock: Clock,
    config: Arc<Config>,
    targets: Arc<ArcSwap<Targets>>,
    started: std::time::Instant,
    random: std::sync::atomic::AtomicU64,
    lookups: Option<Arc<Lookups>>,
    tasks: Tasks,
}

impl Env {
    /// The environment of a generation with this configuration; monotonic time counts from `started`,
    /// the same for all generations of a process, random numbers follow `seed`.
    #[must_use]
    pub fn new(
        spool: Spool,
        clock: Clock,
        config: Arc<Config>,
        targets: Arc<ArcSwap<Targets>>,
        (started, seed): (std::time::Instant, u64),
    ) -> Self {
        let random = std::sync::atomic::AtomicU64::new(seed);
        Self { spool, clock, config, targets, started, random, lookups: None, tasks: Tasks::new() }
    }

    /// The same, with services that plugins may ask, and what counts their keys.
    #[must_use]
    pub fn with(self, lookups: Option<Arc<Lookups>>, tasks: Tasks) -> Self {
        Self { lookups, tasks, ..self }
    }
}

impl HostEnv for Env {
    fn kv_find<'a>(&'a self, plugin: &'a str, key: &'a str) -> BoxFuture<'a, KvFound> {
        let found = self.spool.find(&kv_key(plugin, key)).map_err(|error| {
            tracing::error!(event = "spool.read", plugin, %error);
            KvUnavailable
        });
        Box::pin(ready(found))
    }

    fn kv_usage<'a>(
        &'a self,
        plugin: &'a str,
    ) -> BoxFuture<'a, Result<Option<KvUsage>, KvUnavailable>> {
        let (spool, plugin) = (self.spool.clone(), plugin.to_owned());
        Box::pin(async move {
            match self.tasks.blocking(move || count_keys(&spool, &plugin)).await {
                Ok(Ok(usage)) => Ok(Some(usage)),
                Ok(Err(error)) => {
                    tracing::error!(event = "spool.read", %error);
                    Err(KvUnavailable)
                }
                Err(_panic) => Err(KvUnavailable),
            }
        })
    }

    fn lookup(&self, table: &str, key: &str) -> Option<Arc<str>> {
        self.config.tables.get(table)?.lookup(key).cloned()
    }

    fn lookup_prefix(&self, table: &str, key: &str) -> Option<(String, Arc<str>)> {
        let (prefix, value) = self.config.tables.get(table)?.lookup_prefix(key)?;
        Some((prefix.to_owned(), Arc::clone(value)))
    }

    fn lookup_ip(&self, table: &str, address: IpAddr) -> Option<Arc<str>> {
        self.config.tables.get(table)?.lookup_ip(address).cloned()
    }

    fn knows_lookup(&self, name: &str) -> bool {
        self.config.lookups.contains_key(name)
    }

    fn answers(&self, message: MessageId, asks: &[Ask]) -> Option<Vec<LookupAnswer>> {
        match &self.lookups {
            Some(lookups) => lookups.answers(&self.config.lookups, message, asks),
            None => Some(asks.iter().map(|_ask| Err(LookupError::Unavailable)).collect()),
        }
    }

    fn target(&self, name: &str) -> Option<TargetState> {
        let targets = self.targets.load();
        let Some(target) = targets.get(name) else {
            // While a generation is being built, its targets are only in its configuration.
            let known = self.config.connectors.contains_key(name)
                || self.config.accounts.contains_key(name);
            return known.then_some(TargetState { up: false, queued: 0, per_second: 0.0 });
        };
        let (queued, _, _) = target.counts();
        let seconds = self.clock.instant().duration_since(self.started).as_secs_f64().max(1.0);
        let delivered = target.delivered.load(std::sync::atomic::Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people and plugins")]
        let per_second = delivered as f64 / seconds;
        Some(TargetState {
            up: target.is_well(),
            queued: u64::try_from(queued).unwrap_or(u64::MAX),
            per_second,
        })
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        self.clock.instant().duration_since(self.started)
    }

    fn random(&self) -> u64 {
        // SplitMix64 (Steele, Lea and Flood 2014): plugins need variety, not secrets.
        let step = 0x9e37_79b9_7f4a_7c15;
        let state = self.random.fetch_add(step, std::sync::atomic::Ordering::Relaxed);
        let mut z = state.wrapping_add(step);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn log_enabled(&self, level: LogLevel) -> bool {
        match level {
            LogLevel::Trace => tracing::enabled!(target: "plugin", tracing::Level::TRACE),
            LogLevel::Debug => tracing::enabled!(target: "plugin", tracing::Level::DEBUG),
            LogLevel::Info => tracing::enabled!(target: "plugin", tracing::Level::INFO),
            LogLevel::Warn => tracing::enabled!(target: "plugin", tracing::Level::WARN),
            LogLevel::Error => tracing::enabled!(target: "plugin", tracing::Level::ERROR),
        }
    }

    fn log(&self, line: LogLine<'_>) {
        let LogLine { plugin, text, .. } = line;
        let id = line.message.map(|id| id.to_string()).unwrap_or_default();
        let fields = line.fields;
        match line.level {
            LogLevel::Trace => tracing::trace!(target: "plugin", plugin, id, ?fields, "{text}"),
            LogLevel::Debug => tracing::debug!(target: "plugin", plugin, id, ?fields, "{text}"),
            LogLevel::Info => tracing::info!(target: "plugin", plugin, id, ?fields, "{text}"),
            LogLevel::Warn => tracing::warn!(target: "plugin", plugin, id, ?fields, "{text}"),
            LogLevel::Error => tracing::error!(target: "plugin", plugin, id, ?fields, "{text}"),
        }
    }
}

/// Counts what the spool keeps for a plugin.
fn count_keys(spool: &Spool, plugin: &str) -> Result<KvUsage, spool::ReadError> {
    let prefix = kv_key(plugin, "");
    let mut usage = KvUsage { keys: 0, bytes: 0 };
    let mut after: Option<Bytes> = None;
    loop {
        let page = spool.keys_with_prefix(&prefix, after.as_deref(), KEYS_A_PAGE)?;
        for found in &page {
            let octets = found.key.len().saturating_sub(prefix.len()) + found.value.len();
            usage.keys += 1;
            usage.bytes += u64::try_from(octets).unwrap_or(u64::MAX);
        }
        match page.last() {
            Some(last) if page.len() == KEYS_A_PAGE => after = Some(last.key.clone()),
            _ => return Ok(usage),
        }
    }
}

/// The spool's key of a plugin's key.
pub(super) fn kv_key(plugin: &str, key: &str) -> Bytes {
    Bytes::from(format!("k/{plugin}/{key}"))
}
