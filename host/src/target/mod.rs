//! A target: a connector or an account, with the queue of what waits for it.
//!
//! All binds of a connector, all connections to a relay and all bound sessions of an account share
//! one [`Target`] and take from it. The lock guards memory only and is never held across an await.

mod shelf;
mod stop;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use message::{MessageId, Timestamp};
use tokio::sync::Notify;

use crate::delivery::{Delivery, Queued};
use crate::platform::clock::Clock;
use crate::queue::rate::TokenBucket;
use crate::queue::{Queue, Reason, Taken, Waiting};
use crate::spooler::LoadError;

pub use shelf::Shelf;
pub use stop::{Stop, StopKind};

/// How long a loop that waits for an unknown event sleeps at most before it looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Deliveries that are made ready under one lock when an operator asks for all.
const RETRIED_AT_ONCE: usize = 10_000;

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
    /// Sessions of an account that receive.
    receivers: Mutex<usize>,
    changed: AtomicU64,
    /// When something was taken for an attempt, or there was nothing to take; see [`Target::watch`].
    moved: AtomicU64,
    stop: Mutex<Option<Stop>>,
    full: AtomicBool,
    stalled: AtomicBool,
    /// The spool takes nothing any more.
    halted: AtomicBool,
    /// Deliveries older than this id may have arrived before a crash.
    doubtful_below: AtomicU64,
    shelf: Arc<Shelf>,
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
    pub fn new(name: Arc<str>, rate: Option<TokenBucket>, shelf: &Arc<Shelf>) -> Self {
        let queue = Queue::new(&name, rate, Arc::clone(shelf.room()));
        Self {
            name,
            queue: Mutex::new(queue),
            answers: Mutex::default(),
            wake: Notify::new(),
            up: AtomicBool::new(false),
            receivers: Mutex::default(),
            changed: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            stop: Mutex::new(None),
            full: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            halted: AtomicBool::new(false),
            doubtful_below: AtomicU64::new(0),
            shelf: Arc::clone(shelf),
            delivered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            deferred: AtomicU64::new(0),
        }
    }

    /// Adds deliveries in their order and wakes whoever waits for them.
    pub fn push(&self, items: impl IntoIterator<Item = Queued>, now: Timestamp) {
        let mut queue = self.lock();
        for queued in items {
            self.note_answer(&queued.delivery);
            self.shelf.remember(&queued.message);
            queue.push(Box::new(queued), now);
        }
        drop(queue);
        self.wake();
    }

    /// Adds deliveries whose content stays in the spool.
    pub fn push_stored<'a>(&self, items: impl IntoIterator<Item = &'a Delivery>, now: Timestamp) {
        let mut queue = self.lock();
        for delivery in items {
            self.note_answer(delivery);
            queue.push_stored(delivery, now);
        }
        drop(queue);
        self.wake();
    }

    /// Takes up to `max` deliveries that may go now. Each must come back by the router's `settle`, or
    /// by [`Target::give_back`].
    #[must_use]
    pub fn take(&self, now: Timestamp, max: usize) -> Vec<Queued> {
        let taken = self.lock().take(now, max);
        self.taken(taken, now)
    }

    /// Takes deliveries that are recipients of one message.
    #[must_use]
    pub fn take_group(&self, now: Timestamp, max: usize) -> Vec<Queued> {
        let taken = self.lock().take_group(now, max);
        self.taken(taken, now)
    }

    fn taken(&self, taken: Vec<Taken>, now: Timestamp) -> Vec<Queued> {
        if !taken.is_empty() {
            self.moved.store(now.as_ms(), Ordering::Relaxed);
        }
        self.load(taken)
    }

    fn note_answer(&self, delivery: &Delivery) {
        if delivery.is_answer() {
            self.answers().insert(delivery.id);
        }
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

    /// Hands a delivery that waits here to another target, content or not. What was tried before goes
    /// at once there. False if it is not here, in flight, or cannot be read now.
    pub fn hand_over(&self, id: MessageId, to: &Self, now: Timestamp) -> bool {
        let Some(taken) = self.lock().withdraw(id) else { return false };
        let at_once = |delivery: &mut Delivery| {
            if delivery.last.is_some() {
                delivery.due = delivery.due.min(now);
            }
        };
        match taken {
            Taken::Loaded(mut queued) => {
                at_once(&mut queued.delivery);
                to.note_answer(&queued.delivery);
                to.lock().push(queued, now);
            }
            Taken::Stored(id) => match self.shelf.delivery(id) {
                Ok(mut delivery) => {
                    at_once(&mut delivery);
                    to.note_answer(&delivery);
                    to.lock().push_stored(&delivery, now);
                }
                Err(error @ LoadError::Io(_)) => {
                    tracing::error!(event = "spool.read", target = &*self.name, id = %id, %error);
                    self.lock().put_off(id);
                    return false;
                }
                Err(error @ (LoadError::Gone | LoadError::Damaged(_))) => {
                    self.leave_to_operators(id, &error);
                }
            },
        }
        self.finish(id);
        to.wake();
        true
    }

    /// Takes these deliveries out, as far as they wait here, until their content comes to `bytes_max`.
    #[must_use]
    pub fn withdraw_all(
        &self,
        ids: impl IntoIterator<Item = MessageId>,
        bytes_max: usize,
    ) -> Vec<Queued> {
        let mut bytes = 0;
        let mut withdrawn = Vec::new();
        for id in ids {
            let Some(queued) = self.withdraw(id) else { continue };
            bytes += queued.message.content.size_bytes();
            withdrawn.push(queued);
            if bytes >= bytes_max {
                break;
            }
        }
        withdrawn
    }

    /// What waits here and can go to another target: see [`Queue::movable`].
    #[must_use]
    pub fn movable(&self, usable: impl Fn(&[Arc<str>]) -> bool, max: usize) -> Vec<MessageId> {
        self.lock().movable(usable, max)
    }

    /// Puts back what could not move to another target; it is not found movable again.
    pub fn give_back_pinned(&self, queued: Queued) {
        let mut queue = self.lock();
        queue.pin(queued.delivery.id);
        queue.give_back(Box::new(queued));
    }

    /// Resolves when [`Target::take`] may have something: at once if it has now. Cancel safe.
    pub async fn ready(&self, clock: &Clock) {
        loop {
            let notified = self.wake.notified();
            let now = clock.now();
            let wait = match self.lock().waiting(now) {
                Waiting::Ready => return,
                Waiting::Empty
                | Waiting::InFlight
                | Waiting::Suspended
                | Waiting::Breaker(None) => LOOK_AGAIN,
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
        if self.lock().succeeded() {
            self.wake();
        }
    }

    /// The target cannot be used now.
    pub fn note_broken(&self, now: Timestamp) {
        self.lock().broke(now);
    }

    /// The connection ended within the transaction of a message with this body.
    pub fn note_suspect(&self, now: Timestamp, body: MessageId) {
        self.lock().suspect(now, body);
    }

    /// The answer to an attempt was lost.
    pub fn note_unanswered(&self, now: Timestamp) {
        self.lock().unanswered(now);
    }

    /// The target said that we are too fast.
    pub fn note_throttled(&self, now: Timestamp) {
        self.lock().throttled(now);
    }

    /// Makes one scheduled delivery ready now; false if it is not scheduled here.
    pub fn retry_now(&self, id: MessageId) -> bool {
        let retried = self.lock().retry_now(id);
        self.wake();
        retried
    }

    /// Makes everything ready now that is scheduled at this moment. Returns how many.
    pub fn retry_all(&self) -> usize {
        let (until, most) = {
            let queue = self.lock();
            (queue.last_due().unwrap_or_default(), queue.scheduled())
        };
        let mut count = 0;
        loop {
            let retried = self.lock().retry_until(until, RETRIED_AT_ONCE.min(most - count));
            count += retried;
            self.wake();
            if retried < RETRIED_AT_ONCE {
                return count;
            }
        }
    }

    /// What an operator ordered, or that nothing is ordered.
    pub fn set_stop(&self, stop: Option<Stop>) {
        let suspended = stop.as_ref().is_some_and(|stop| stop.kind == StopKind::Suspended);
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = stop;
        self.lock().suspend(suspended || self.halted.load(Ordering::Relaxed));
        self.wake();
    }

    /// Nothing is taken any more, whatever an operator orders.
    pub fn halt(&self) {
        self.halted.store(true, Ordering::Relaxed);
        self.lock().suspend(true);
    }

    /// What an operator ordered.
    #[must_use]
    pub fn stop(&self) -> Option<Stop> {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What an operator stopped.
    #[must_use]
    pub fn stopped(&self) -> Option<StopKind> {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|stop| stop.kind)
    }

    /// A reload changed the rate.
    pub fn set_rate(&self, rate: Option<TokenBucket>) {
        self.lock().set_rate(rate);
        self.wake();
    }

    /// The clock was set back by so much.
    pub fn set_back(&self, by: Duration) {
        self.lock().set_back(by);
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

    /// A session of the account receives.
    pub fn join(&self, now: Timestamp) {
        let mut receivers = self.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        *receivers += 1;
        if *receivers == 1 {
            self.set_up(true, now);
        }
    }

    /// One that did has ended.
    pub fn leave(&self, now: Timestamp) {
        let mut receivers = self.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        *receivers = receivers.saturating_sub(1);
        if *receivers == 0 {
            self.set_up(false, now);
        }
    }

    /// Whether a connection is there.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Whether a connection is there, and nothing has shown that it cannot be used.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.is_up() && !self.lock().is_on_probation()
    }

    /// Whether new deliveries should go here: a connection is there and no operator stopped it.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.is_up() && self.stopped().is_none()
    }

    /// Since when it is up or down.
    #[must_use]
    pub fn changed(&self) -> Timestamp {
        Timestamp::from_ms(self.changed.load(Ordering::Relaxed))
    }

    /// Whether a delivery of an account finds room: never more than `max` are here, and the last tenth
    /// is kept for accounts that have less than half of an equal share. Whoever has more is told to wait
    /// from nine tenths on until eight tenths are left, so that doors do not open and close with each
    /// delivery.
    #[must_use]
    pub fn has_room(&self, max: usize, account: &str) -> bool {
        let tenth = max / 10;
        let len = self.len();
        let was_full = self.full.load(Ordering::Relaxed);
        let is_full = len >= max - tenth * if was_full { 2 } else { 1 };
        if is_full != was_full && self.full.swap(is_full, Ordering::Relaxed) != is_full {
            if is_full {
                tracing::warn!(event = "queue.full", target = &*self.name, len, max);
            } else {
                tracing::info!(event = "queue.room", target = &*self.name, len, max);
            }
        }
        !is_full || (len < max && self.lock().is_light(account, max))
    }

    /// Whether the last [`Target::has_room`] found none but for accounts that have little here.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Looks whether deliveries could go and no attempt was made for longer than `longest`. Says so
    /// once, with what it waits for, and once when it goes on.
    pub fn watch(&self, now: Timestamp, longest: Duration) {
        let waiting = self.waiting(now);
        let should_move =
            self.is_up() && matches!(waiting, Waiting::Ready | Waiting::Breaker(None));
        let moved = Timestamp::from_ms(self.moved.load(Ordering::Relaxed));
        // A clock that went back counts from now.
        if !should_move || moved > now || moved == Timestamp::default() {
            self.moved.store(now.as_ms(), Ordering::Relaxed);
        }
        let stalled = should_move && moved != Timestamp::default() && now.since(moved) > longest;
        if self.stalled.swap(stalled, Ordering::Relaxed) == stalled {
            return;
        }
        let (queued, _, in_flight) = self.counts();
        if stalled {
            let waits_for = match (waiting, in_flight) {
                (Waiting::Breaker(_), _) => "the outcome of the probe that is on its way",
                (_, 0) => "a connection to take them; none asks for work",
                _ => "the outcome of those in flight",
            };
            tracing::error!(
                event = "target.stalled", target = &*self.name, since = %moved, queued, in_flight,
                waits_for,
            );
        } else {
            tracing::info!(event = "target.moves", target = &*self.name, queued, in_flight);
        }
    }

    /// Whether the last [`Target::watch`] found that nothing moves.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// What the head of the queue waits for.
    #[must_use]
    pub fn waiting(&self, now: Timestamp) -> Waiting {
        self.lock().waiting(now)
    }

    /// Why deliveries wait, all of them: see [`Queue::reasons`].
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        self.lock().reasons()
    }

    /// The oldest delivery here.
    #[must_use]
    pub fn oldest(&self) -> Option<MessageId> {
        self.lock().oldest()
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

    fn leave_to_operators(&self, id: MessageId, error: &LoadError) {
        tracing::error!(event = "spool.unreadable", target = &*self.name, id = %id, %error);
        self.shelf.note_damaged(id);
    }

    /// Reads what memory does not hold. What cannot be read now stays in the queue for later; what
    /// is damaged leaves the queue, and is held with the next sweep.
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
            match self.shelf.load(id) {
                Ok(mut queued) => {
                    queued.delivery.doubtful |= id.as_u64() < doubtful_below;
                    loaded.push(queued);
                }
                Err(error @ (LoadError::Gone | LoadError::Damaged(_))) => {
                    self.leave_to_operators(id, &error);
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
