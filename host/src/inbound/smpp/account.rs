//! What all sessions of an account share, at whatever listener: how many there are, and how fast it
//! may submit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use message::Timestamp;

use crate::config::{Account, Rate};
use crate::queue::rate::TokenBucket;

/// Every account that has ever bound.
#[derive(Debug, Default)]
pub struct Accounts {
    shared: Mutex<BTreeMap<Arc<str>, Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    binds: u32,
    rate: Option<(Rate, u32, TokenBucket)>,
}

impl Accounts {
    /// Counts a session; false if the account has too many.
    #[must_use]
    pub fn enter(&self, account: &Account, binds_max: u32) -> bool {
        let mut accounts = self.lock();
        let shared = accounts.entry(Arc::clone(&account.name)).or_default();
        let free = shared.binds < binds_max;
        shared.binds += u32::from(free);
        free
    }

    /// Forgets a session.
    pub fn leave(&self, name: &str) {
        if let Some(shared) = self.lock().get_mut(name) {
            shared.binds = shared.binds.saturating_sub(1);
        }
    }

    /// Whether the account may submit one message for `cost` recipients now.
    #[must_use]
    pub fn may_submit(&self, account: &Account, cost: u32, now: Timestamp) -> bool {
        let Some(rate) = account.rate else { return true };
        let mut accounts = self.lock();
        let shared = accounts.entry(Arc::clone(&account.name)).or_default();
        let unchanged = shared
            .rate
            .as_ref()
            .is_some_and(|(known, burst, _)| *known == rate && *burst == account.burst);
        if !unchanged {
            let bucket = TokenBucket::new(rate.per_second(), account.burst, now);
            shared.rate = Some((rate, account.burst, bucket));
        }
        shared.rate.as_mut().is_none_or(|(_, _, bucket)| bucket.take(now, cost))
    }

    /// Sessions of an account.
    #[must_use]
    pub fn sessions(&self, name: &str) -> u32 {
        self.lock().get(name).map_or(0, |shared| shared.binds)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Shared>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
