//! The host around a plugin on the command line: nothing is kept, everything that is said is printed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use message::{MessageId, Timestamp};

use crate::platform::clock::Clock;
use crate::plugin::{
    Ask, HostEnv, KvFound, LogLevel, LogLine, LookupAnswer, LookupError, Metric, TargetState,
};

/// Tables are empty, targets are up, keys are new.
#[derive(Debug)]
pub(super) struct World {
    clock: Clock,
    started: Instant,
    targets: Vec<String>,
    answers: BTreeMap<Ask, Arc<str>>,
    keys: Mutex<BTreeMap<String, Bytes>>,
    random: AtomicU64,
    /// Whether log lines and metrics are printed.
    loud: AtomicBool,
}

impl World {
    pub(super) fn new(targets: &[String], answers: BTreeMap<Ask, Arc<str>>) -> Self {
        let clock = Clock::system();
        Self {
            started: clock.instant(),
            clock,
            targets: targets.to_vec(),
            answers,
            keys: Mutex::default(),
            random: AtomicU64::new(std::hash::BuildHasher::hash_one(
                &std::hash::RandomState::new(),
                0_u8,
            )),
            loud: AtomicBool::new(false),
        }
    }

    pub(super) fn set_loud(&self, loud: bool) {
        self.loud.store(loud, Ordering::Relaxed);
    }

    fn is_loud(&self) -> bool {
        self.loud.load(Ordering::Relaxed)
    }
}

/// Reads `LOOKUP:KEY=TEXT`.
pub(super) fn parse_answer(text: &str) -> anyhow::Result<(Ask, Arc<str>)> {
    let parsed = text.split_once(':').and_then(|(name, rest)| {
        let (key, answer) = rest.split_once('=')?;
        Some((Ask { name: name.into(), key: key.into() }, Arc::from(answer)))
    });
    parsed.ok_or_else(|| anyhow::anyhow!("--answer {text} is not LOOKUP:KEY=TEXT"))
}

pub(super) fn host_env(world: &Arc<World>) -> Arc<dyn HostEnv> {
    let env: Arc<dyn HostEnv> = Arc::<World>::clone(world);
    env
}

impl HostEnv for World {
    fn kv_find<'a>(&'a self, _plugin: &'a str, key: &'a str) -> BoxFuture<'a, KvFound> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        Box::pin(ready(Ok(keys.get(key).cloned())))
    }

    fn lookup(&self, _table: &str, _key: &str) -> Option<Arc<str>> {
        None
    }

    fn lookup_prefix(&self, _table: &str, _key: &str) -> Option<(String, Arc<str>)> {
        None
    }

    fn lookup_ip(&self, _table: &str, _address: IpAddr) -> Option<Arc<str>> {
        None
    }

    fn knows_lookup(&self, name: &str) -> bool {
        self.answers.keys().any(|ask| *ask.name == *name)
    }

    fn answers(&self, _message: MessageId, asks: &[Ask]) -> Option<Vec<LookupAnswer>> {
        let answer = |ask| self.answers.get(ask).cloned().ok_or(LookupError::NotFound);
        Some(asks.iter().map(answer).collect())
    }

    fn target(&self, name: &str) -> Option<TargetState> {
        let known = self.targets.iter().any(|target| target == name);
        known.then_some(TargetState { up: true, queued: 0, per_second: 0.0 })
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        self.clock.instant().saturating_duration_since(self.started)
    }

    fn random(&self) -> u64 {
        let state = self.random.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed ^ (mixed >> 31)
    }

    fn log_enabled(&self, _level: LogLevel) -> bool {
        self.is_loud()
    }

    fn log(&self, line: LogLine<'_>) {
        if self.is_loud() || line.level == LogLevel::Error {
            let fields = line.fields.iter().filter(|(name, _)| name != "event");
            let fields: String = fields
                .map(|(name, value)| format!(" {}={}", name.escape_debug(), value.escape_debug()))
                .collect();
            println!("log      {} {}{fields}", line.level.name(), line.text.escape_debug());
        }
    }

    fn metric(&self, _plugin: &str, name: &str, metric: Metric) {
        if self.is_loud() {
            println!("metric   {name} {metric:?}");
        }
    }
}
