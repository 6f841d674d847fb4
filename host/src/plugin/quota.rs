//! How much a plugin may keep under its keys.
//!
//! What is kept is counted once in the store, then carried on with each commit. Keys that expire are not
//! noticed: what seems full is counted again, now and then.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::env::{HostEnv, KvUsage};
use super::kv::KvError;
use crate::config::PluginLimits;

/// How often what seems full is counted again.
const RECOUNT_AFTER: Duration = Duration::from_secs(10);

/// What a plugin keeps.
#[derive(Debug, Default)]
pub(super) struct Usage {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kept: Delta,
    /// When it was counted in the store; none before the first write.
    counted: Option<Duration>,
}

/// How a commit changes what is kept.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) keys: i64,
    pub(super) bytes: i64,
}

impl Delta {
    pub(super) const fn and(self, other: Self) -> Self {
        Self {
            keys: self.keys.saturating_add(other.keys),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    /// What a key becomes, in octets of key and value together, from what it is in the store.
    pub(super) fn of(before: Option<usize>, after: Option<usize>) -> Self {
        let bytes = |size: Option<usize>| i64::try_from(size.unwrap_or(0)).unwrap_or(i64::MAX);
        Self {
            keys: i64::from(after.is_some()) - i64::from(before.is_some()),
            bytes: bytes(after).saturating_sub(bytes(before)),
        }
    }
}

impl Usage {
    /// Whether this much more may be kept. Calls that go on at the same time do not see each other:
    /// together they may go over it by what they write.
    pub(super) async fn check(
        &self,
        env: &dyn HostEnv,
        plugin: &str,
        limits: &PluginLimits,
        more: Delta,
    ) -> Result<(), KvError> {
        if more.keys <= 0 && more.bytes <= 0 {
            return Ok(());
        }
        let most = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
        let fits = |kept: Delta| {
            let all = kept.and(more);
            (more.keys <= 0 || all.keys <= most(limits.keys))
                && (more.bytes <= 0 || all.bytes <= most(limits.keys_bytes))
        };
        {
            let state = self.lock();
            let now = env.monotonic();
            let fresh = state.counted.is_some_and(|at| now.saturating_sub(at) < RECOUNT_AFTER);
            if state.counted.is_some() && fits(state.kept) {
                return Ok(());
            }
            if fresh {
                return Err(KvError::Exhausted);
            }
        }
        let Some(KvUsage { keys, bytes }) = env.kv_usage(plugin).await? else { return Ok(()) };
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let kept = Delta { keys: signed(keys), bytes: signed(bytes) };
        let mut state = self.lock();
        *state = State { kept, counted: Some(env.monotonic()) };
        if fits(kept) { Ok(()) } else { Err(KvError::Exhausted) }
    }

    /// A commit has changed what is kept.
    pub(super) fn apply(&self, delta: Delta) {
        let mut state = self.lock();
        state.kept = state.kept.and(delta);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
