//! The instances of a plugin that wait for their next call.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::instance::Instance;
use super::slots::Waiting;

/// The last one used is used first: its memory is in the caches.
#[derive(Debug, Default)]
pub(super) struct Ready {
    instances: Mutex<Vec<Instance>>,
    /// Wakes a call that waits for room.
    came: Notify,
    /// Calls at one time, at most, since the last look.
    peak: AtomicUsize,
    /// The same between the last two looks.
    peak_before: AtomicUsize,
}

impl Ready {
    /// So many calls go on.
    pub(super) fn in_use(&self, calls: usize) {
        self.peak.fetch_max(calls, Ordering::Relaxed);
    }

    /// One that is ready.
    pub(super) fn pop(&self) -> Option<Instance> {
        self.lock().pop()
    }

    pub(super) fn push(&self, instance: Instance) {
        self.lock().push(instance);
        self.came.notify_one();
    }

    /// One that is ready, as soon as there is one.
    pub(super) async fn next(&self) -> Instance {
        loop {
            let (instance, more) = {
                let mut instances = self.lock();
                (instances.pop(), !instances.is_empty())
            };
            if let Some(instance) = instance {
                if more {
                    self.came.notify_one();
                }
                return instance;
            }
            self.came.notified().await;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Drops all of them.
    pub(super) fn clear(&self) {
        let all = std::mem::take(&mut *self.lock());
        // Their slots go to others: no lock is held meanwhile.
        drop(all);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Instance>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting for Ready {
    fn give_back(&self) -> bool {
        let oldest = {
            let mut instances = self.lock();
            (!instances.is_empty()).then(|| instances.remove(0))
        };
        oldest.is_some()
    }

    fn shrink(&self) {
        let peak = self.peak.swap(0, Ordering::Relaxed);
        let before = self.peak_before.swap(peak, Ordering::Relaxed);
        let needed = peak.max(before).max(1);
        let unneeded: Vec<Instance> = {
            let mut instances = self.lock();
            let surplus = instances.len().saturating_sub(needed);
            instances.drain(..surplus).collect()
        };
        drop(unneeded);
    }
}
