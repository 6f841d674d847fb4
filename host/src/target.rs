//! A target: a connector or an account, with the queue of what waits for it.
//!
//! All binds of a connector, all connections to a relay and all bound sessions of an account share
//! one [`Target`] and take from it. The lock guards memory only and is never held across an await.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use message::{MessageId, Timestamp};
use tokio::sync::Notify;

use crate::delivery::Queued;
use crate::platform::clock::Clock;
use crate::queue::rate::TokenBucket;
use crate::queue::{Columns, Queue, Taken, Waiting};
use crate::spooler::{self, LoadError};
use spool::Spool;

/// How long a loop that waits for an unknown event sleeps at most before it looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What something is delivered to.
#[derive(Debug)]
pub struct Target {
    /// The connector's or account's name.
    pub name: Arc<str>,
    queue: Mutex<Queue>,
    /// Receipts among what is here, by age.
    answers: Mutex<BTreeSet<MessageId>>,
    wake: Notify,
    up: AtomicBool,
    changed: AtomicU64,
    /// Deliveries older than this id may have arrived before a crash.
    doubtful_below: AtomicU64,
    spool: Spool,
    /// What was handed over since the start.
    pub delivered: AtomicU64,
    /// What was refused for good since the start.
    pub failed: AtomicU64,
    /// Attempts that were put off since the start.
    pub deferred: AtomicU64,
}

impl Target {
    /// A target with nothing queued. It counts as down until its connector says otherwise.
    #[must_use]
    pub fn new(name: Arc<str>, rate: Option<TokenBucket>, spool: Spool) -> Self {
        Self {
            name,
            queue: Mutex::new(Queue::new(rate)),
            answers: Mutex::default(),
            wake: Notify::new(),
            up: AtomicBool::new(false),
            changed: AtomicU64::new(0),
            doubtful_below: AtomicU64::new(0),
            spool,
            delivered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            deferred: AtomicU64::new(0),
        }
    }

    /// Adds deliveries in their order and wakes whoever waits for them.
    pub fn push(&self, items: impl IntoIterator<Item = Queued>, now: Timestamp) {
        let mut queue = self.lock();
        for queued in items {
            if queued.delivery.is_answer() {
                self.note_answer(queued.delivery.id);
            }
            queue.push(Box::new(queued), now);
        }
        drop(queue);
        self.wake.notify_waiters();
        self.wake.notify_one();
    }

    /// Adds deliveries whose content stays in the spool.
    pub fn push_stored(&self, items: impl IntoIterator<Item = Columns>, now: Timestamp) {
        let mut queue = self.lock();
        for columns in items {
            queue.push_stored(columns, now);
        }
        drop(queue);
        self.wake();
    }

    /// Takes up to `max` deliveries that may go now. Each must come back by the router's `settle`, or
    /// by [`Target::give_back`].
    #[must_use]
    pub fn take(&self, now: Timestamp, max: usize) -> Vec<Queued> {
        let taken = self.lock().take(now, max);
        self.load(taken)
    }

    /// Takes deliveries that are recipients of one message.
    #[must_use]
    pub fn take_group(&self, now: Timestamp, max: usize) -> Vec<Queued> {
        let taken = self.lock().take_group(now, max);
        self.load(taken)
    }

    /// Takes what has expired.
    #[must_use]
    pub fn take_expired(&self, now: Timestamp, max: usize) -> Vec<Queued> {
        let taken = self.lock().take_expired(now, max);
        self.load(taken)
    }

    /// Something that is here, its content in the spool, is a receipt.
    pub fn note_answer(&self, id: MessageId) {
        self.answers().insert(id);
    }

    /// Takes the oldest receipts out, at most `max`, if more than `kept` wait here.
    #[must_use]
    pub fn take_excess_answers(&self, kept: usize, max: usize) -> Vec<Queued> {
        let excess: Vec<MessageId> = {
            let answers = self.answers();
            answers.iter().take(answers.len().saturating_sub(kept).min(max)).copied().collect()
        };
        excess.into_iter().filter_map(|id| self.withdraw(id)).collect()
    }

    /// Takes one delivery out, whatever it waits for; none if it is not here or in flight.
    #[must_use]
    pub fn withdraw(&self, id: MessageId) -> Option<Queued> {
        let taken = self.lock().withdraw(id)?;
        self.load(vec![taken]).pop()
    }

    /// Resolves when [`Target::take`] may have something: at once if it has now. Cancel safe.
    pub async fn ready(&self, clock: &Clock) {
        loop {
            let notified = self.wake.notified();
            let now = clock.now();
            let wait = match self.lock().waiting(now) {
                Waiting::Ready => return,
                Waiting::Empty | Waiting::Suspended | Waiting::Breaker(None) => LOOK_AGAIN,
                Waiting::Due(at) | Waiting::Throttled(at) | Waiting::Breaker(Some(at)) => {
                    at.since(now).clamp(Duration::from_millis(1), LOOK_AGAIN)
                }
                Waiting::Rate(wait) => wait.min(LOOK_AGAIN),
            };
            tokio::select! {
                biased;
                () = notified => {}
                () = clock.sleep(wait) => {}
            }
        }
    }

    /// Puts back what was not tried; it keeps its place.
    pub fn give_back(&self, items: Vec<Queued>) {
        let mut queue = self.lock();
        for queued in items {
            queue.give_back(Box::new(queued));
        }
        drop(queue);
        self.wake();
    }

    /// Something in flight is done with, here at least.
    pub fn finish(&self, id: MessageId) {
        self.answers().remove(&id);
        self.lock().finish(id);
    }

    /// Something in flight goes again at its `due`.
    pub fn reschedule(&self, queued: Queued, now: Timestamp) {
        self.lock().reschedule(Box::new(queued), now);
        self.wake();
    }

    /// The target gave an answer.
    pub fn note_success(&self) {
        self.lock().succeeded();
    }

    /// The target cannot be used now.
    pub fn note_broken(&self, now: Timestamp) {
        self.lock().broke(now);
    }

    /// The target said that we are too fast.
    pub fn note_throttled(&self, now: Timestamp) {
        self.lock().throttled(now);
    }

    /// Makes what is scheduled ready now; everything, or one delivery. Returns how many.
    pub fn retry_now(&self, id: Option<MessageId>) -> usize {
        let count = self.lock().retry_now(id);
        self.wake();
        count
    }

    /// Stops or starts handing out deliveries.
    pub fn suspend(&self, suspended: bool) {
        self.lock().suspend(suspended);
        self.wake();
    }

    /// A reload changed the rate.
    pub fn set_rate(&self, rate: Option<TokenBucket>) {
        self.lock().set_rate(rate);
        self.wake();
    }

    /// The last run did not end in order: what it left may have arrived already.
    pub fn doubt_below(&self, id: MessageId) {
        self.doubtful_below.store(id.as_u64(), Ordering::Relaxed);
    }

    /// The connector is bound or connected, or an ESME is there; or not any more.
    pub fn set_up(&self, up: bool, now: Timestamp) {
        if self.up.swap(up, Ordering::Relaxed) != up {
            self.changed.store(now.as_ms(), Ordering::Relaxed);
            tracing::info!(event = "target.state", target = &*self.name, up);
        }
        self.wake();
    }

    /// Whether deliveries can go out now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Since when it is up or down.
    #[must_use]
    pub fn changed(&self) -> Timestamp {
        Timestamp::from_ms(self.changed.load(Ordering::Relaxed))
    }

    /// What the head of the queue waits for.
    #[must_use]
    pub fn waiting(&self, now: Timestamp) -> Waiting {
        self.lock().waiting(now)
    }

    /// Deliveries here: (all, scheduled for later, in flight).
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let queue = self.lock();
        (queue.len(), queue.scheduled(), queue.in_flight())
    }

    /// Deliveries here, whatever they wait for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether nothing is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids of what waits here, at most `max`.
    #[must_use]
    pub fn waiting_ids(&self, max: usize) -> Vec<MessageId> {
        self.lock().waiting_ids(max)
    }

    fn wake(&self) {
        self.wake.notify_waiters();
        self.wake.notify_one();
    }

    /// Reads what memory does not hold. What cannot be read now stays in the queue for later; what
    /// is damaged was set aside by the spool and leaves the queue.
    fn load(&self, taken: Vec<Taken>) -> Vec<Queued> {
        let mut loaded = Vec::with_capacity(taken.len());
        let doubtful_below = self.doubtful_below.load(Ordering::Relaxed);
        for item in taken {
            let id = match item {
                Taken::Loaded(queued) => {
                    loaded.push(*queued);
                    continue;
                }
                Taken::Stored(id) => id,
            };
            match spooler::load(&self.spool, id) {
                Ok(mut queued) => {
                    queued.delivery.doubtful |= id.as_u64() < doubtful_below;
                    loaded.push(queued);
                }
                Err(error @ (LoadError::Gone | LoadError::Damaged(_))) => {
                    tracing::error!(event = "spool.unreadable", target = &*self.name, id = %id, %error);
                    self.finish(id);
                }
                Err(error @ LoadError::Io(_)) => {
                    tracing::error!(event = "spool.read", target = &*self.name, id = %id, %error);
                    self.lock().put_off(id);
                }
            }
        }
        loaded
    }

    fn answers(&self) -> MutexGuard<'_, BTreeSet<MessageId>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
