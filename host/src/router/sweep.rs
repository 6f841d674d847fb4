//! What is done now and then: expiry everywhere, deliveries of targets that are down, old keys, ids.

use std::sync::Arc;
use std::time::Duration;

use spool::Batch;

use super::Router;
use crate::delivery::{Delivery, HELD};
use crate::observe::event::{Event, What};
use crate::target::Target;

/// How often.
const INTERVAL: Duration = Duration::from_secs(1);
/// How many deliveries of one kind are handled in one go.
const AT_ONCE: usize = 1000;
/// How long a target is down before its deliveries go elsewhere.
const FAIL_OVER_AFTER: Duration = Duration::from_secs(5);
/// Every how many rounds ids are reserved and old keys removed.
const SLOW_ROUNDS: u64 = 30;

impl Router {
    /// Sweeps until the router stops.
    pub async fn run_sweeper(self: Arc<Self>) {
        let stopping = self.tasks.stopping().clone();
        let mut round: u64 = 0;
        let mut delays_seen = None;
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                () = self.clock.sleep(INTERVAL) => {}
            }
            round += 1;
            self.sweep_targets().await;
            self.sweep_held().await;
            self.give_up_reports().await;
            self.tell_delays(&mut delays_seen).await;
            if round.is_multiple_of(SLOW_ROUNDS) {
                self.sweep_slowly().await;
            }
        }
    }

    async fn sweep_targets(&self) {
        let now = self.clock.now();
        let config = Arc::clone(&self.generation().config);
        let decider = std::iter::once(Arc::clone(&self.decider));
        for target in self.targets().into_iter().chain(decider) {
            loop {
                let expired = target.take_expired(now, AT_ONCE);
                if expired.is_empty() {
                    break;
                }
                self.settle_expired(&target, expired).await;
            }
            let account = config.accounts.get(&target.name);
            let receipts_max = account.map(|account| account.receipts_max);
            while let Some(max) = receipts_max.and_then(|max| usize::try_from(max).ok()) {
                let excess = target.take_excess_answers(max, AT_ONCE);
                if excess.is_empty() {
                    break;
                }
                self.settle_excess(&target, excess).await;
            }
            if !target.is_up() && now.since(target.changed()) >= FAIL_OVER_AFTER {
                self.fail_over(&target).await;
            }
        }
    }

    /// Moves what waits for a target that is down and has another.
    async fn fail_over(&self, target: &Arc<Target>) {
        let mut movable = Vec::new();
        for id in target.waiting_ids(AT_ONCE) {
            let Some(queued) = target.withdraw(id) else { continue };
            movable.push(queued);
        }
        let (several, one): (Vec<_>, Vec<_>) =
            movable.into_iter().partition(|queued| queued.delivery.targets.len() > 1);
        target.give_back(one);
        if !several.is_empty() {
            self.settle_moved(target, several).await;
        }
    }

    /// Held messages whose time is over are deleted; the journal keeps that they were.
    async fn sweep_held(&self) {
        let now = self.clock.now();
        let Ok(expired) = self.spool.expired(now.as_ms(), AT_ONCE) else { return };
        let mut batch = Batch::new();
        let mut events = Vec::new();
        for entry in expired.iter().filter(|entry| &*entry.target == HELD) {
            batch.remove_entry(entry.id);
            if let Ok(delivery) = message::record::decode::<Delivery>(&entry.bytes) {
                let what = What::Expired { reason: "it was held and nobody released it".into() };
                events.push(Event::about(now, delivery.id, delivery.message, what));
            }
        }
        if !batch.is_empty() && self.spool.commit(batch).await.is_ok() {
            self.journal.record(events);
        }
    }

    async fn sweep_slowly(&self) {
        let now = self.clock.now();
        if let Err(error) = self.ids.reserve(&self.spool, now).await {
            tracing::error!(event = "spool.refused", %error);
        }
        while self.spool.sweep_keys(now.as_ms(), AT_ONCE).await.is_ok_and(|n| n >= AT_ONCE) {}
        self.book.forget_parked(&self.spool);
    }
}
