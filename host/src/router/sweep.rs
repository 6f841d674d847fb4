//! What is done now and then: expiry everywhere, deliveries of targets that are down or gone, targets
//! that stand still, scarce things, clocks that jump, old keys, ids.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use message::{MessageId, Timestamp};
use spool::{Cursor, Entry};

use super::Router;
use super::acts::Claimed;
use super::work::{Work, concerned};
use crate::delivery::{Cause, HELD};
use crate::ledger;
use crate::observe::event::{Event, What};
use crate::platform::leap::{Leap, Leaps};
use crate::receipt::EXPIRED;
use crate::receipt::answer::Outcome;
use crate::spooler::load_entry;
use crate::target::{StopKind, Target};

/// How often.
const INTERVAL: Duration = Duration::from_secs(1);
/// How many deliveries of one kind are handled in one go.
const AT_ONCE: usize = 1000;
/// How many times that in one round.
const PAGES_MAX: usize = 20;
/// Octets of messages that are in memory for it at one time, about.
const CONTENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a target is down before its deliveries go elsewhere, and how long that other target has
/// been up: one that flaps neither sends nor gets them.
const FAIL_OVER_AFTER: Duration = Duration::from_secs(5);
/// Every how many rounds ids are reserved and old keys removed.
const SLOW_ROUNDS: u64 = 30;
/// How long nothing expires after the clock leapt ahead: time to put a wrong clock right.
const LEAP_GRACE: Duration = Duration::from_secs(600);

/// What the sweeper remembers from round to round.
#[derive(Debug)]
struct Sweeper {
    round: u64,
    leaps: Leaps,
    /// Nothing expires before.
    grace_until: Option<Instant>,
    /// Up to where deliveries were looked at for notices of delay.
    delays_seen: Option<Cursor>,
    /// What was missing in the books when they were last looked at.
    difference: i64,
}

impl Router {
    /// Sweeps until the router stops.
    pub async fn run_sweeper(self: Arc<Self>) {
        let stopping = self.tasks.stopping().clone();
        let leaps = Leaps::new(self.clock.now(), self.clock.instant());
        let mut sweeper =
            Sweeper { round: 0, leaps, grace_until: None, delays_seen: None, difference: 0 };
        loop {
            // At once after a start: what expired meanwhile must not go out first.
            sweeper.round += 1;
            self.sweep(&mut sweeper).await;
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                () = self.clock.sleep(INTERVAL) => {}
            }
        }
    }

    async fn sweep(&self, sweeper: &mut Sweeper) {
        self.watch_clock(sweeper);
        self.watch_pressure();
        self.watch_targets();
        let instant = self.clock.instant();
        if sweeper.grace_until.is_none_or(|until| instant >= until) {
            sweeper.grace_until = None;
            self.expiry_paused.store(false, Ordering::Relaxed);
            self.sweep_expired().await;
            self.give_up_reports().await;
        }
        self.tell_delays(&mut sweeper.delays_seen).await;
        self.hold_damaged().await;
        self.sweep_excess().await;
        self.sweep_down().await;
        self.sweep_leaving();
        if sweeper.round.is_multiple_of(SLOW_ROUNDS) {
            self.sweep_slowly().await;
            sweeper.difference = self.look_at_the_books(sweeper.difference);
        }
    }

    /// A clock that leapt is believed, but not in haste.
    fn watch_clock(&self, sweeper: &mut Sweeper) {
        let instant = self.clock.instant();
        match sweeper.leaps.observe(self.clock.now(), instant) {
            Leap::None => {}
            Leap::Ahead(by) => {
                tracing::warn!(event = "clock.ahead", ?by, grace = ?LEAP_GRACE, "nothing expires for a while");
                sweeper.grace_until = Some(instant + LEAP_GRACE);
                self.expiry_paused.store(true, Ordering::Relaxed);
            }
            Leap::Back(by) => {
                tracing::warn!(
                    event = "clock.back",
                    ?by,
                    "what waits for another try waits no longer"
                );
                sweeper.grace_until = None;
                for target in self.all_targets() {
                    target.set_back(by);
                }
            }
        }
    }

    fn watch_targets(&self) {
        let now = self.clock.now();
        let longest = self.generation().config.node.stall_after;
        for target in self.all_targets() {
            target.watch(now, longest);
        }
    }

    /// All targets, the decider included.
    pub(super) fn all_targets(&self) -> Vec<Arc<Target>> {
        let mut targets = self.targets();
        targets.push(Arc::clone(&self.decider));
        targets
    }

    /// What has expired, wherever it sits, but for what is in flight: its attempt comes first.
    async fn sweep_expired(&self) {
        let now = self.clock.now().as_ms();
        let mut after = None;
        for _ in 0..PAGES_MAX {
            let page = self.spool.expired_ids(now, after, AT_ONCE);
            let count = page.len();
            let mut by_target: BTreeMap<Arc<str>, Vec<MessageId>> = BTreeMap::new();
            for (at, name) in page {
                after = Some(at);
                by_target.entry(name).or_default().push(MessageId::from_u64(at.id));
            }
            for (name, ids) in by_target {
                if &*name == HELD {
                    self.expire_held(&ids).await;
                    continue;
                }
                let target = self.target(&name).unwrap_or_else(|| Arc::clone(&self.decider));
                let mut ids = ids.into_iter();
                loop {
                    let items = target.withdraw_all(ids.by_ref(), CONTENT_BYTES_MAX);
                    if items.is_empty() {
                        break;
                    }
                    self.settle_expired(&target, items).await;
                }
            }
            if count < AT_ONCE {
                return;
            }
        }
    }

    /// Held messages whose time is over are deleted; their origins are told, as of any expiry.
    async fn expire_held(&self, ids: &[MessageId]) {
        let now = self.clock.now();
        let mut work = Work::default();
        // An operator may release one at this moment.
        let mut claimed = Claimed::new(self);
        for id in ids {
            if !claimed.claim(*id) {
                continue;
            }
            let Ok(Some(mut entry)) = self.spool.entry(id.as_u64()) else { continue };
            // It may have been released between then and now.
            if &*entry.target != HELD || !is_over(&entry, now) {
                continue;
            }
            let queued = match load_entry(&self.spool, &entry) {
                Ok(queued) => queued,
                Err(error) => {
                    // Nobody can be told of it: it stays as evidence, and is looked at again later.
                    tracing::error!(event = "spool.unreadable", target = HELD, id = %id, %error);
                    let held_ttl = self.generation().config.spool.held_ttl;
                    entry.expires_ms = now.after(held_ttl).as_ms();
                    work.batch.put_entry(entry);
                    continue;
                }
            };
            work.batch.remove_entry(entry.id);
            work.batch.count(ledger::EXPIRED, &entry.target, 1);
            let why = "it was held and nobody released it";
            let delivery = &queued.delivery;
            let what = What::Expired { reason: why.into() };
            work.events.push(Event::about(now, delivery.id, delivery.message, what));
            let outcome = Outcome::last(EXPIRED, Cause::ours("4.4.7", why), now);
            for about in concerned(&queued) {
                if let Err(error) = work.put_answer(self, &about, &outcome) {
                    tracing::error!(event = "record.encode", id = entry.id, %error);
                }
            }
        }
        let batch = std::mem::take(&mut work.batch);
        if batch.is_empty() {
            return;
        }
        match self.spool.commit(batch).await {
            Ok(_durable) => work.act(self),
            // They are still here, and come again with the next sweep.
            Err(error) => tracing::error!(event = "spool.refused", target = HELD, %error),
        }
    }

    /// Receipts beyond what an account may have waiting: the oldest go.
    async fn sweep_excess(&self) {
        let config = Arc::clone(&self.generation().config);
        for target in self.targets() {
            let account = config.accounts.get(&target.name);
            let receipts_max = account.map(|account| account.receipts_max);
            let Some(max) = receipts_max.and_then(|max| usize::try_from(max).ok()) else {
                continue;
            };
            // What could not be written is here again, so that there is an end to trying.
            for _ in 0..PAGES_MAX {
                let excess = target.take_excess_answers(max, AT_ONCE);
                if excess.is_empty() {
                    break;
                }
                self.settle_excess(&target, excess).await;
            }
        }
    }

    /// Moves what waits for a target that is down, or suspended, and has another that is well.
    async fn sweep_down(&self) {
        let now = self.clock.now();
        let since = |target: &Target| now.since(target.changed().max(self.started));
        let targets = self.targets.load_full();
        let is_well = |name: &Arc<str>| {
            let target = targets.get(name);
            target.is_some_and(|target| target.is_usable() && since(target) >= FAIL_OVER_AFTER)
        };
        for target in targets.values() {
            let is_down = !target.is_up() && since(target) >= FAIL_OVER_AFTER;
            if !is_down && target.stopped() != Some(StopKind::Suspended) {
                continue;
            }
            let others =
                |list: &[Arc<str>]| list.iter().any(|name| *name != target.name && is_well(name));
            let ids = target.movable(others, AT_ONCE);
            let items = target.withdraw_all(ids, CONTENT_BYTES_MAX);
            if !items.is_empty() {
                self.settle_moved(target, items).await;
            }
        }
    }

    /// What comes back from flight to a target that a reload removed is routed again.
    fn sweep_leaving(&self) {
        let leaving: Vec<_> = {
            let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
            leaving.retain(|target| !target.is_empty());
            leaving.clone()
        };
        for target in leaving {
            self.adopt_waiting(&target);
        }
    }

    /// Says once when the books do not balance, and once when they do again.
    fn look_at_the_books(&self, before: i64) -> i64 {
        let difference = self.ledger().difference;
        if difference != 0 && difference != before {
            tracing::error!(
                event = "ledger.imbalance",
                difference,
                "messages are not accounted for; `wirepost audit` shows more",
            );
        } else if difference != before {
            tracing::info!(event = "ledger.balanced");
        }
        difference
    }

    async fn sweep_slowly(&self) {
        let now = self.clock.now();
        if let Err(error) = self.ids.reserve(&self.spool, now).await {
            tracing::error!(event = "spool.refused", %error);
        }
        while self.spool.sweep_keys(now.as_ms(), AT_ONCE).await.is_ok_and(|n| n >= AT_ONCE) {}
        self.book.forget_parked(&self.spool);
        self.sweep_joining();
    }
}

fn is_over(entry: &Entry, now: Timestamp) -> bool {
    entry.expires_ms <= now.as_ms()
}
