//! The keys of plugins: claims and writes that join a message's commit, counters that do not.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use message::{MessageId, Timestamp};
use serde::{Deserialize, Serialize};

use super::env::{HostEnv, KvUnavailable};
use super::judgement::KvWrite;
use super::limits::{KV_KEY_BYTES_MAX, KV_VALUE_BYTES_MAX, KV_WRITES_MAX};
use super::quota::{Delta, Usage};
use crate::config::{PluginConfig, PluginLimits};

/// How often the log says that calls are put off.
const PUT_OFF_TOLD_EVERY: Duration = Duration::from_secs(1);
/// Counters and buckets of one plugin.
const SLOTS_MAX: usize = 100_000;

/// How often those are looked for that can be forgotten: all of them are looked at.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A key as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    value: Vec<u8>,
    expires: Timestamp,
    /// The message that made the key by `set-if-absent`.
    claimed_by: Option<MessageId>,
}

/// What all instances of one plugin, of all generations, share.
#[derive(Debug, Default)]
pub(super) struct PluginKv {
    slots: Mutex<Slots>,
    claims: Mutex<BTreeMap<Arc<str>, Claim>>,
    calls: AtomicU64,
    usage: Usage,
    pub(super) tally: Tally,
}

/// What is counted of a plugin for whoever watches it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Calls that the router had no room for.
    pub(super) put_off: AtomicU64,
    /// When the log was told of that last.
    put_off_told: Mutex<Option<Duration>>,
    /// Lines of its log that were left out.
    pub(super) lines_left_out: AtomicU64,
}

impl Tally {
    /// Counts a call that was put off; whether the log is to be told, which it is once in a while.
    pub(super) fn put_off(&self, now: Duration) -> bool {
        self.put_off.fetch_add(1, Ordering::Relaxed);
        let mut told = lock(&self.put_off_told);
        let due = told.is_none_or(|told| now.saturating_sub(told) >= PUT_OFF_TOLD_EVERY);
        if due {
            *told = Some(now);
        }
        due
    }
}

#[derive(Debug, Default)]
struct Slots {
    by_key: BTreeMap<Box<str>, Slot>,
    /// When those were looked for last that can be forgotten.
    looked: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
enum Slot {
    Counter { value: i64, expires: Timestamp },
    Bucket { tokens: f64, at: Duration, full: Duration },
}

impl Slot {
    /// Whether it says the same as none: a counter that has expired, a bucket that is full again.
    fn is_spent(&self, clocks: Clocks) -> bool {
        match self {
            Self::Counter { expires, .. } => *expires <= clocks.now,
            Self::Bucket { full, .. } => *full <= clocks.monotonic,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Claim {
    message: MessageId,
    call: u64,
}

/// Keys that a message has claimed and not yet committed. Dropping it frees them, so it is kept
/// until the commit has been answered.
#[derive(Debug, Default)]
pub struct Claims {
    kv: Option<Arc<PluginKv>>,
    call: u64,
    keys: Vec<Arc<str>>,
    /// How the commit changes what the plugin keeps.
    delta: Delta,
}

impl Claims {
    /// The commit is durable: what it wrote counts, and the keys are free.
    pub fn committed(self) {
        if let Some(kv) = &self.kv {
            kv.usage.apply(self.delta);
        }
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        let (Some(kv), false) = (&self.kv, self.keys.is_empty()) else { return };
        let mut claims = lock(&kv.claims);
        for key in &self.keys {
            if claims.get(key).is_some_and(|claim| claim.call == self.call) {
                claims.remove(key);
            }
        }
    }
}

/// Why a key could not be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KvError {
    TooLarge,
    Exhausted,
    Unavailable,
}

impl From<KvUnavailable> for KvError {
    fn from(_: KvUnavailable) -> Self {
        Self::Unavailable
    }
}

/// The keys as one call sees them: the store's, under its own writes.
#[derive(Debug)]
pub(super) struct CallKv {
    shared: Arc<PluginKv>,
    plugin: Arc<str>,
    message: MessageId,
    limits: PluginLimits,
    writes: BTreeMap<Arc<str>, Write>,
    claims: Claims,
}

/// A key that the call has written.
#[derive(Debug)]
struct Write {
    entry: Option<Entry>,
    /// Octets of key and value in the store, and as written; none where there is nothing.
    before: Option<usize>,
    after: Option<usize>,
}

impl CallKv {
    pub(super) fn new(shared: &Arc<PluginKv>, plugin: &PluginConfig, message: MessageId) -> Self {
        Self {
            shared: Arc::clone(shared),
            plugin: Arc::clone(&plugin.name),
            message,
            limits: plugin.limits,
            writes: BTreeMap::new(),
            claims: Claims::default(),
        }
    }

    /// The value of a key.
    pub(super) async fn get(
        &self,
        env: &dyn HostEnv,
        key: &str,
    ) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.entry(env, key).await?.map(|entry| entry.value))
    }

    /// A new value for a key.
    pub(super) async fn set(
        &mut self,
        env: &dyn HostEnv,
        key: &str,
        value: Vec<u8>,
        expires: Timestamp,
    ) -> Result<(), KvError> {
        check(key, &value)?;
        self.write(env, key, Some(Entry { value, expires, claimed_by: None })).await
    }

    /// Makes a key unless it is there; true if this message made it, now or on an earlier run.
    pub(super) async fn set_if_absent(
        &mut self,
        env: &dyn HostEnv,
        key: &str,
        value: Vec<u8>,
        expires: Timestamp,
    ) -> Result<bool, KvError> {
        check(key, &value)?;
        // Claimed before the store is asked: of two messages only one gets past this line.
        let newly = self.claim(key)?;
        let found = match self.entry(env, key).await {
            Ok(found) => found,
            Err(error) => {
                self.unclaim(key, newly);
                return Err(error);
            }
        };
        match found {
            None => {
                let entry = Entry { value, expires, claimed_by: Some(self.message) };
                if let Err(error) = self.write(env, key, Some(entry)).await {
                    self.unclaim(key, newly);
                    return Err(error);
                }
                Ok(true)
            }
            Some(entry) => {
                self.unclaim(key, newly);
                Ok(entry.claimed_by == Some(self.message))
            }
        }
    }

    /// Removes a key; true if it was there.
    pub(super) async fn delete(&mut self, env: &dyn HostEnv, key: &str) -> Result<bool, KvError> {
        check(key, &[])?;
        let found = self.entry(env, key).await?.is_some();
        if found {
            self.write(env, key, None).await?;
        }
        Ok(found)
    }

    /// The counters, which know no transaction.
    pub(super) fn counters(&self) -> &PluginKv {
        &self.shared
    }

    /// The writes and claims of a call that ended well.
    pub(super) fn into_parts(self) -> (Vec<KvWrite>, Claims) {
        let (plugin, mut claims) = (self.plugin, self.claims);
        let deltas = self.writes.values().map(|write| Delta::of(write.before, write.after));
        claims.delta = deltas.fold(Delta::default(), Delta::and);
        claims.kv.get_or_insert(self.shared);
        let writes = self.writes.into_iter().filter_map(|(key, Write { entry, .. })| {
            let expires = entry.as_ref().map_or(Timestamp::NEVER, |entry| entry.expires);
            let entry = match entry {
                Some(entry) => Some(message::record::encode(&entry).ok()?),
                None => None,
            };
            Some(KvWrite { plugin: Arc::clone(&plugin), key, entry, expires })
        });
        (writes.collect(), claims)
    }

    async fn entry(&self, env: &dyn HostEnv, key: &str) -> Result<Option<Entry>, KvError> {
        if key.len() > KV_KEY_BYTES_MAX {
            return Err(KvError::TooLarge);
        }
        let now = env.now();
        let entry = match self.writes.get(key) {
            Some(written) => written.entry.clone(),
            None => {
                env.kv_find(&self.plugin, key).await?.map(|bytes| decode(&bytes)).transpose()?
            }
        };
        Ok(entry.filter(|entry| entry.expires > now))
    }

    async fn write(
        &mut self,
        env: &dyn HostEnv,
        key: &str,
        entry: Option<Entry>,
    ) -> Result<(), KvError> {
        let before = match self.writes.get(key) {
            Some(written) => written.before,
            None if self.writes.len() >= KV_WRITES_MAX => return Err(KvError::Exhausted),
            None => {
                let stored = env.kv_find(&self.plugin, key).await?;
                stored.map(|stored| key.len().saturating_add(stored.len()))
            }
        };
        let after = match &entry {
            None => None,
            Some(entry) => {
                let encoded = message::record::encode(entry).map_err(|_long| KvError::TooLarge)?;
                Some(key.len().saturating_add(encoded.len()))
            }
        };
        let others = self.writes.iter().filter(|(written, _)| ***written != *key);
        let others = others.map(|(_, write)| Delta::of(write.before, write.after));
        let more = others.fold(Delta::of(before, after), Delta::and);
        self.shared.usage.check(env, &self.plugin, &self.limits, more).await?;
        self.writes.insert(key.into(), Write { entry, before, after });
        Ok(())
    }

    /// True if the key was free, false if this call holds it already.
    fn claim(&mut self, key: &str) -> Result<bool, KvError> {
        let mut claims = lock(&self.shared.claims);
        match claims.get(key) {
            Some(claim) if claim.message != self.message => return Err(KvError::Unavailable),
            Some(claim) if self.claims.kv.is_some() && claim.call == self.claims.call => {
                return Ok(false);
            }
            Some(_) | None => {}
        }
        if self.claims.kv.is_none() {
            self.claims.call = self.shared.calls.fetch_add(1, Ordering::Relaxed);
            self.claims.kv = Some(Arc::clone(&self.shared));
        }
        let key: Arc<str> = key.into();
        claims.insert(Arc::clone(&key), Claim { message: self.message, call: self.claims.call });
        self.claims.keys.push(key);
        Ok(true)
    }

    fn unclaim(&mut self, key: &str, newly: bool) {
        if newly {
            lock(&self.shared.claims).remove(key);
            self.claims.keys.retain(|held| &**held != key);
        }
    }
}

impl PluginKv {
    /// Adds to a counter and gives its new value. One without an end that comes to 0 is forgotten.
    pub(super) fn add(
        &self,
        key: &str,
        by: i64,
        clocks: Clocks,
        expires: Timestamp,
    ) -> Result<i64, KvError> {
        if key.len() > KV_KEY_BYTES_MAX {
            return Err(KvError::TooLarge);
        }
        let mut slots = lock(&self.slots);
        if let Some(Slot::Counter { value, expires: until }) = slots.by_key.get_mut(key)
            && *until > clocks.now
        {
            *value = value.saturating_add(by);
            let (value, endless) = (*value, *until == Timestamp::NEVER);
            if value == 0 && endless {
                slots.by_key.remove(key);
            }
            return Ok(value);
        }
        if by == 0 && expires == Timestamp::NEVER && !slots.by_key.contains_key(key) {
            return Ok(0);
        }
        slots.make_room(key, clocks)?;
        slots.by_key.insert(key.into(), Slot::Counter { value: by, expires });
        Ok(by)
    }

    /// Takes tokens from a bucket, or says how long to wait for them.
    pub(super) fn take(&self, key: &str, bucket: Bucket, clocks: Clocks) -> Result<(), Duration> {
        const LONG: Duration = Duration::from_secs(1);
        let sane = |n: f64| n.is_finite() && n >= 0.0;
        let Bucket { per_second, burst, cost } = bucket;
        if key.len() > KV_KEY_BYTES_MAX || ![per_second, burst, cost].into_iter().all(sane) {
            return Err(LONG);
        }
        let mut slots = lock(&self.slots);
        let tokens = match slots.by_key.get(key) {
            Some(Slot::Bucket { tokens, at, .. }) => {
                let gained = clocks.monotonic.saturating_sub(*at).as_secs_f64() * per_second;
                (tokens + gained).min(burst)
            }
            Some(Slot::Counter { .. }) | None => burst,
        };
        if slots.make_room(key, clocks).is_err() {
            return Err(LONG);
        }
        let (left, outcome) = if tokens >= cost {
            (tokens - cost, Ok(()))
        } else {
            let seconds = (cost - tokens) / per_second;
            let wait = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
            (tokens, Err(wait.max(Duration::from_millis(1))))
        };
        let missing = Duration::try_from_secs_f64((burst - left).max(0.0) / per_second);
        let at = clocks.monotonic;
        // A bucket that nothing flows into is never full again.
        let full = missing.map_or(Duration::MAX, |missing| at.saturating_add(missing));
        slots.by_key.insert(key.into(), Slot::Bucket { tokens: left, at, full });
        outcome
    }
}

/// A token bucket as a plugin describes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    pub(super) per_second: f64,
    pub(super) burst: f64,
    pub(super) cost: f64,
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    pub(super) now: Timestamp,
    pub(super) monotonic: Duration,
}

/// When a key with this time to live is forgotten.
pub(super) fn expiry(now: Timestamp, ttl_ms: Option<u64>) -> Timestamp {
    ttl_ms.map_or(Timestamp::NEVER, |ms| now.after(Duration::from_millis(ms)))
}

impl Slots {
    /// Forgets what says nothing any more, if that is needed for one more key. What still counts is never
    /// forgotten: a limit would be none.
    fn make_room(&mut self, key: &str, clocks: Clocks) -> Result<(), KvError> {
        if self.by_key.len() < SLOTS_MAX || self.by_key.contains_key(key) {
            return Ok(());
        }
        let lately = |at| clocks.monotonic.saturating_sub(at) < LOOK_AGAIN_AFTER;
        if self.looked.is_some_and(lately) {
            return Err(KvError::Exhausted);
        }
        self.looked = Some(clocks.monotonic);
        self.by_key.retain(|_, slot| !slot.is_spent(clocks));
        if self.by_key.len() < SLOTS_MAX { Ok(()) } else { Err(KvError::Exhausted) }
    }
}

fn check(key: &str, value: &[u8]) -> Result<(), KvError> {
    let fits = key.len() <= KV_KEY_BYTES_MAX && value.len() <= KV_VALUE_BYTES_MAX;
    if fits { Ok(()) } else { Err(KvError::TooLarge) }
}

fn decode(bytes: &Bytes) -> Result<Entry, KvError> {
    message::record::decode(bytes).map_err(|_damaged| KvError::Unavailable)
}

/// A lock that a panic elsewhere does not spoil: every change under it is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
