//! Everything around a plugin under test: keys, clock, tables, targets, log and metrics, in memory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;

use message::edit::Edited;

use crate::log::Level;
use crate::lookup::Answer;
use crate::targets::TargetState;
use crate::{Answers, Error, Verdict};

/// As the host.
const FORKS_MAX: u32 = 32;
const ASKS_MAX: usize = 8;
const KV_KEY_BYTES_MAX: usize = 256;
const KV_VALUE_BYTES_MAX: usize = 64 << 10;

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::default());
}

/// Runs something on the world of this thread.
pub(super) fn with<T>(run: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(run)
}

/// What surrounds a plugin. Each harness has its own and lends it to the thread for the time of a call.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) message_id: u64,
    pub(crate) lines: Vec<Line>,
    pub(crate) counters: BTreeMap<String, u64>,
    pub(crate) gauges: BTreeMap<String, f64>,
    pub(crate) observed: BTreeMap<String, Vec<f64>>,
    pub(crate) tables: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) targets: BTreeMap<String, TargetState>,
    /// By look-up and key.
    pub(crate) answers: BTreeMap<(String, String), Answer>,
    asks: Vec<(String, String)>,
    emitted: Vec<Emitted>,
    forks: u32,
    kv: BTreeMap<String, Entry>,
    slots: BTreeMap<String, Slot>,
    seed: u64,
}

impl Default for World {
    fn default() -> Self {
        Self {
            now_ms: 1_735_689_600_000,
            message_id: 1,
            lines: Vec::new(),
            counters: BTreeMap::new(),
            gauges: BTreeMap::new(),
            observed: BTreeMap::new(),
            tables: BTreeMap::new(),
            targets: BTreeMap::new(),
            answers: BTreeMap::new(),
            asks: Vec::new(),
            emitted: Vec::new(),
            forks: 0,
            kv: BTreeMap::new(),
            slots: BTreeMap::new(),
            seed: 0x9E37_79B9_7F4A_7C15,
        }
    }
}

/// One line that the plugin logged.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// What it says.
    pub text: String,
    /// Named values.
    pub fields: Vec<(String, String)>,
}

/// A fork on its way.
#[derive(Clone, Debug)]
pub(crate) struct Emitted {
    pub(crate) edited: Edited,
    pub(crate) verdict: Verdict,
    pub(crate) answers: Answers,
}

#[derive(Clone, Debug)]
struct Entry {
    value: Vec<u8>,
    expires_ms: u64,
    claimed_by: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    Counter { value: i64, expires_ms: u64 },
    Bucket { tokens: f64, at_ms: u64 },
}

impl World {
    /// Lends this world to the thread while `run` runs. What it changed stays, except for keys written by
    /// a call that failed.
    pub(crate) fn during<T, E>(
        &mut self,
        run: impl FnOnce() -> Result<T, E>,
    ) -> (Result<T, E>, Vec<Emitted>) {
        let keys = self.kv.clone();
        self.forks = 0;
        let outside = WORLD.replace(std::mem::take(self));
        let outcome = run();
        *self = WORLD.replace(outside);
        let emitted = std::mem::take(&mut self.emitted);
        if outcome.is_err() {
            self.kv = keys;
            return (outcome, Vec::new());
        }
        (outcome, emitted)
    }

    /// A key as committed.
    pub(crate) fn kv_get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        check(key, &[])?;
        Ok(self.entry(key).map(|entry| entry.value.clone()))
    }

    pub(super) fn kv_set(
        &mut self,
        key: &str,
        value: &[u8],
        ttl_ms: Option<u64>,
    ) -> Result<(), Error> {
        check(key, value)?;
        let entry =
            Entry { value: value.to_vec(), expires_ms: self.expiry(ttl_ms), claimed_by: None };
        self.kv.insert(key.to_owned(), entry);
        Ok(())
    }

    pub(super) fn kv_set_if_absent(
        &mut self,
        key: &str,
        value: &[u8],
        ttl_ms: Option<u64>,
    ) -> Result<bool, Error> {
        check(key, value)?;
        if let Some(entry) = self.entry(key) {
            return Ok(entry.claimed_by == Some(self.message_id));
        }
        let claimed_by = Some(self.message_id);
        let entry = Entry { value: value.to_vec(), expires_ms: self.expiry(ttl_ms), claimed_by };
        self.kv.insert(key.to_owned(), entry);
        Ok(true)
    }

    pub(super) fn kv_delete(&mut self, key: &str) -> Result<bool, Error> {
        check(key, &[])?;
        let there = self.entry(key).is_some();
        self.kv.remove(key);
        Ok(there)
    }

    pub(super) fn kv_add(&mut self, key: &str, by: i64, ttl_ms: Option<u64>) -> Result<i64, Error> {
        check(key, &[])?;
        if let Some(Slot::Counter { value, expires_ms }) = self.slots.get_mut(key)
            && *expires_ms > self.now_ms
        {
            *value = value.saturating_add(by);
            return Ok(*value);
        }
        let slot = Slot::Counter { value: by, expires_ms: self.expiry(ttl_ms) };
        self.slots.insert(key.to_owned(), slot);
        Ok(by)
    }

    pub(super) fn kv_take(
        &mut self,
        key: &str,
        per_second: f64,
        burst: f64,
        cost: f64,
    ) -> Result<(), u64> {
        let now_ms = self.now_ms;
        let tokens = match self.slots.get(key) {
            Some(Slot::Bucket { tokens, at_ms }) => {
                let gained = std::time::Duration::from_millis(now_ms.saturating_sub(*at_ms))
                    .as_secs_f64()
                    * per_second;
                (tokens + gained).min(burst)
            }
            Some(Slot::Counter { .. }) | None => burst,
        };
        let (left, outcome) = if tokens >= cost {
            (tokens - cost, Ok(()))
        } else {
            let wait = std::time::Duration::try_from_secs_f64((cost - tokens) / per_second);
            let wait_ms =
                wait.map_or(u64::MAX, |wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            (tokens, Err(wait_ms.max(1)))
        };
        self.slots.insert(key.to_owned(), Slot::Bucket { tokens: left, at_ms: now_ms });
        outcome
    }

    pub(super) fn fork(&mut self) -> Result<(), Error> {
        if self.forks == FORKS_MAX {
            return Err(Error::Exhausted);
        }
        self.forks += 1;
        Ok(())
    }

    pub(super) fn emit(&mut self, fork: Emitted) -> u64 {
        self.emitted.push(fork);
        self.emitted.len() as u64
    }

    pub(super) fn ask(&mut self, name: &str, key: &str) -> Result<u32, Error> {
        if !self.answers.keys().any(|(known, _)| known == name) {
            return Err(Error::NotFound);
        }
        if self.asks.len() >= ASKS_MAX {
            return Err(Error::Exhausted);
        }
        self.asks.push((name.to_owned(), key.to_owned()));
        Ok(u32::try_from(self.asks.len() - 1).unwrap_or(u32::MAX))
    }

    /// The answers to what was asked, in its order; a key without one is not known.
    pub(crate) fn take_answers(&mut self) -> Vec<Answer> {
        let asks = std::mem::take(&mut self.asks);
        let answer = |ask| self.answers.get(&ask).cloned().unwrap_or(Err(Error::NotFound));
        asks.into_iter().map(answer).collect()
    }

    pub(super) fn lookup_ip(&self, table: &str, ip: &str) -> Option<String> {
        let ip: IpAddr = ip.parse().ok()?;
        let rows = self.tables.get(table)?.iter();
        let matching = rows.filter_map(|(network, value)| Some((prefix_of(network, ip)?, value)));
        matching.max_by_key(|(prefix, _)| *prefix).map(|(_, value)| value.clone())
    }

    /// Numbers that look random and are the same in every run.
    pub(super) fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.kv.get(key).filter(|entry| entry.expires_ms > self.now_ms)
    }

    fn expiry(&self, ttl_ms: Option<u64>) -> u64 {
        ttl_ms.map_or(u64::MAX, |ttl| self.now_ms.saturating_add(ttl))
    }
}

/// The length of the network's prefix if it holds the address.
fn prefix_of(network: &str, ip: IpAddr) -> Option<u32> {
    let (base, prefix) = match network.split_once('/') {
        Some((base, prefix)) => (base, Some(prefix.parse::<u32>().ok()?)),
        None => (network, None),
    };
    let (base, ip, width) = match (base.parse().ok()?, ip) {
        (IpAddr::V4(base), IpAddr::V4(ip)) => {
            (u128::from(base.to_bits()), u128::from(ip.to_bits()), 32)
        }
        (IpAddr::V6(base), IpAddr::V6(ip)) => (base.to_bits(), ip.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    let prefix = prefix.unwrap_or(width);
    let shift = width.checked_sub(prefix)?;
    let same = base.checked_shr(shift).unwrap_or(0) == ip.checked_shr(shift).unwrap_or(0);
    same.then_some(prefix)
}

fn check(key: &str, value: &[u8]) -> Result<(), Error> {
    let fits = key.len() <= KV_KEY_BYTES_MAX && value.len() <= KV_VALUE_BYTES_MAX;
    if fits { Ok(()) } else { Err(Error::TooLarge) }
}
