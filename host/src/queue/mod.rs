//! What waits for one target: ready, scheduled, in flight. Pure: `now` is an argument.

pub mod rate;
pub mod retry;
pub mod breaker;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use message::{MessageId, Timestamp};

use crate::delivery::Queued;
use breaker::Breaker;
use rate::TokenBucket;

/// Deliveries kept in memory with their message, per target; what exceeds it is read from the spool
/// again when its turn comes.
pub const LOADED_MAX: usize = 20_000;
/// First pause after a throttling answer; it doubles up to [`THROTTLE_PAUSE_MAX`] until one is taken.
pub const THROTTLE_PAUSE_MIN: Duration = Duration::from_millis(200);
/// Longest pause after throttling answers.
pub const THROTTLE_PAUSE_MAX: Duration = Duration::from_secs(10);

/// The queue of one target.
#[derive(Debug)]
pub struct Queue {
    slots: HashMap<MessageId, Slot>,
    /// (3 − priority, order, id): the first one goes first.
    ready: BTreeSet<(u8, u64, MessageId)>,
    /// (due, order, id).
    scheduled: BTreeSet<(Timestamp, u64, MessageId)>,
    /// (expires, id) of everything that expires and is not in flight.
    expiry: BTreeSet<(Timestamp, MessageId)>,
    in_flight: usize,
    loaded: usize,
    order: u64,
    rate: Option<TokenBucket>,
    breaker: Breaker,
    pause: Duration,
    paused_until: Option<Timestamp>,
    suspended: bool,
}

/// One delivery that waits or is in flight.
#[derive(Debug)]
struct Slot {
    place: Place,
    order: u64,
    body: MessageId,
    expires: Timestamp,
    priority: u8,
    cost: u32,
    loaded: Option<Box<Queued>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Ready,
    Scheduled(Timestamp),
    InFlight,
}

/// What [`Queue::take`] hands out.
#[derive(Debug)]
pub enum Taken {
    /// A delivery with its message.
    Loaded(Box<Queued>),
    /// A delivery that must be read from the spool.
    Stored(MessageId),
}

impl Taken {
    /// The delivery's id.
    #[must_use]
    pub fn id(&self) -> MessageId {
        match self {
            Self::Loaded(queued) => queued.delivery.id,
            Self::Stored(id) => *id,
        }
    }
}

/// The columns of a delivery that the queue needs when its content stays in the spool.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// The delivery.
    pub id: MessageId,
    /// Its leg.
    pub body: MessageId,
    /// When it may go.
    pub due: Timestamp,
    /// When it is given up.
    pub expires: Timestamp,
    /// 0 to 3.
    pub priority: u8,
}

/// Why the head of a queue does not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing is there.
    Empty,
    /// Something can go now.
    Ready,
    /// An operator suspended the target.
    Suspended,
    /// All are scheduled for later.
    Due(Timestamp),
    /// The breaker is open, or its probe is out.
    Breaker(Option<Timestamp>),
    /// The target said that we are too fast.
    Throttled(Timestamp),
    /// The rate has no token.
    Rate(Duration),
}

impl Queue {
    /// An empty queue, limited to `rate` if there is one.
    #[must_use]
    pub fn new(rate: Option<TokenBucket>) -> Self {
        Self {
            slots: HashMap::new(),
            ready: BTreeSet::new(),
            scheduled: BTreeSet::new(),
            expiry: BTreeSet::new(),
            in_flight: 0,
            loaded: 0,
            order: 0,
            rate,
            breaker: Breaker::default(),
            pause: Duration::ZERO,
            paused_until: None,
            suspended: false,
        }
    }

    /// Adds a delivery. One whose id is already here is left as it is.
    pub fn push(&mut self, queued: Box<Queued>, now: Timestamp) {
        let columns = columns_of(&queued);
        self.insert(columns, queued.delivery.cost(), Some(queued), now);
    }

    /// Adds a delivery whose content stays in the spool until its turn comes.
    pub fn push_stored(&mut self, columns: Columns, now: Timestamp) {
        self.insert(columns, 1, None, now);
    }

    /// Takes up to `max` deliveries that may go now; they are in flight until [`Queue::finish`],
    /// [`Queue::reschedule`] or [`Queue::give_back`].
    pub fn take(&mut self, now: Timestamp, max: usize) -> Vec<Taken> {
        self.take_while(now, max, |_, _| true)
    }

    /// As [`Queue::take`], but only neighbours that share the body of the first: the recipients of one
    /// message.
    pub fn take_group(&mut self, now: Timestamp, max: usize) -> Vec<Taken> {
        self.take_while(now, max, |first, next| first == next)
    }

    fn take_while(
        &mut self,
        now: Timestamp,
        max: usize,
        same: impl Fn(MessageId, MessageId) -> bool,
    ) -> Vec<Taken> {
        self.wake_due(now);
        let mut taken = Vec::new();
        if self.suspended || self.is_paused(now) || !self.breaker.allows(now) {
            return taken;
        }
        let max = if self.breaker.is_half_open() { max.min(1) } else { max };
        let mut first_body = None;
        while taken.len() < max {
            let Some(&(_, _, id)) = self.ready.first() else { break };
            let Some(slot) = self.slots.get_mut(&id) else {
                self.ready.pop_first();
                continue;
            };
            if !same(*first_body.get_or_insert(slot.body), slot.body) {
                break;
            }
            if self.rate.as_mut().is_some_and(|rate| !rate.take(now, slot.cost)) {
                break;
            }
            self.ready.pop_first();
            self.expiry.remove(&(slot.expires, id));
            slot.place = Place::InFlight;
            self.in_flight += 1;
            taken.push(match slot.loaded.take() {
                Some(queued) => {
                    self.loaded -= 1;
                    Taken::Loaded(queued)
                }
                None => Taken::Stored(id),
            });
        }
        if !taken.is_empty() && self.breaker.is_half_open() {
            self.breaker.probe();
        }
        taken
    }

    /// A delivery in flight came to its end here.
    pub fn finish(&mut self, id: MessageId) {
        if let Some(slot) = self.slots.remove(&id) {
            self.forget(&slot, id);
        }
    }

    /// A delivery in flight waits for `due`, behind everything that is ready then.
    pub fn reschedule(&mut self, queued: Box<Queued>, now: Timestamp) {
        self.finish(queued.delivery.id);
        self.push(queued, now);
    }

    /// A delivery that was not tried keeps its place.
    pub fn give_back(&mut self, queued: Box<Queued>) {
        let id = queued.delivery.id;
        let cost = queued.delivery.cost();
        if let Some(rate) = &mut self.rate {
            rate.put_back(cost);
        }
        self.breaker.forget_probe();
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if slot.place != Place::InFlight {
            return;
        }
        slot.place = Place::Ready;
        slot.cost = cost;
        self.in_flight -= 1;
        if self.loaded < LOADED_MAX {
            slot.loaded = Some(queued);
            self.loaded += 1;
        }
        self.ready.insert((rank(slot.priority), slot.order, id));
        if slot.expires != Timestamp::NEVER {
            self.expiry.insert((slot.expires, id));
        }
    }

    /// A delivery in flight could not be read: it is ready again, to be read later.
    pub fn put_off(&mut self, id: MessageId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if slot.place == Place::InFlight {
            self.in_flight -= 1;
            self.order += 1;
            slot.order = self.order;
            slot.place = Place::Ready;
            self.ready.insert((rank(slot.priority), slot.order, id));
        }
    }

    /// The target answered an attempt, whatever it said about the message.
    pub fn succeeded(&mut self) {
        self.breaker.succeed();
        self.pause = Duration::ZERO;
        self.paused_until = None;
    }

    /// The target cannot be used now.
    pub fn broke(&mut self, now: Timestamp) {
        self.breaker.fail(now);
    }

    /// The target said that we are too fast.
    pub fn throttled(&mut self, now: Timestamp) {
        self.breaker.forget_probe();
        if self.is_paused(now) {
            return; // The rest of the same window.
        }
        self.pause = (self.pause * 2).clamp(THROTTLE_PAUSE_MIN, THROTTLE_PAUSE_MAX);
        self.paused_until = Some(now.after(self.pause));
    }

    /// Everything that expired by `now` and is not in flight; it counts as in flight afterwards.
    pub fn take_expired(&mut self, now: Timestamp, max: usize) -> Vec<Taken> {
        let mut taken = Vec::new();
        while taken.len() < max {
            let Some(&(expires, id)) = self.expiry.first() else { break };
            if expires > now {
                break;
            }
            self.expiry.pop_first();
            taken.extend(self.withdraw(id));
        }
        taken
    }

    /// Takes a delivery out of its place, whatever it waits for; none if it is unknown or in flight.
    pub fn withdraw(&mut self, id: MessageId) -> Option<Taken> {
        let slot = self.slots.get_mut(&id)?;
        match slot.place {
            Place::InFlight => return None,
            Place::Ready => self.ready.remove(&(rank(slot.priority), slot.order, id)),
            Place::Scheduled(due) => self.scheduled.remove(&(due, slot.order, id)),
        };
        self.expiry.remove(&(slot.expires, id));
        slot.place = Place::InFlight;
        self.in_flight += 1;
        Some(match slot.loaded.take() {
            Some(queued) => {
                self.loaded -= 1;
                Taken::Loaded(queued)
            }
            None => Taken::Stored(id),
        })
    }

    /// Makes everything that is scheduled ready now, or only `id`; returns how many. A target that
    /// failed is tried now.
    pub fn retry_now(&mut self, id: Option<MessageId>) -> usize {
        if id.is_none_or(|id| self.slots.contains_key(&id)) {
            self.breaker.hurry();
        }
        let chosen: Vec<_> = self
            .scheduled
            .iter()
            .filter(|(_, _, slot_id)| id.is_none_or(|id| id == *slot_id))
            .copied()
            .collect();
        for key in &chosen {
            self.make_ready(*key);
        }
        chosen.len()
    }

    /// The ids of what waits here and is not in flight, at most `max`.
    #[must_use]
    pub fn waiting_ids(&self, max: usize) -> Vec<MessageId> {
        let ready = self.ready.iter().map(|&(_, _, id)| id);
        ready.chain(self.scheduled.iter().map(|&(_, _, id)| id)).take(max).collect()
    }

    /// Stops or starts handing out.
    pub const fn suspend(&mut self, suspended: bool) {
        self.suspended = suspended;
    }

    /// Replaces the rate after a reload.
    pub fn set_rate(&mut self, rate: Option<TokenBucket>) {
        self.rate = rate;
    }

    /// What the head of the queue waits for.
    pub fn waiting(&mut self, now: Timestamp) -> Waiting {
        self.wake_due(now);
        let Some(&(_, _, id)) = self.ready.first() else {
            return match self.scheduled.first() {
                Some(&(due, _, _)) => Waiting::Due(due),
                None => Waiting::Empty,
            };
        };
        if self.suspended {
            return Waiting::Suspended;
        }
        if !self.breaker.allows(now) {
            return Waiting::Breaker(self.breaker.next());
        }
        if let Some(until) = self.paused_until.filter(|&until| now < until) {
            return Waiting::Throttled(until);
        }
        let cost = self.slots.get(&id).map_or(1, |slot| slot.cost);
        match self.rate.as_mut().map(|rate| rate.wait(now, cost)) {
            Some(wait) if wait > Duration::ZERO => Waiting::Rate(wait),
            _ => Waiting::Ready,
        }
    }

    /// Deliveries here, in flight ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether nothing is here, not even in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Deliveries in a connector's hands.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Deliveries scheduled for later.
    #[must_use]
    pub fn scheduled(&self) -> usize {
        self.scheduled.len()
    }

    fn insert(&mut self, columns: Columns, cost: u32, queued: Option<Box<Queued>>, now: Timestamp) {
        if self.slots.contains_key(&columns.id) {
            return;
        }
        self.order += 1;
        let loaded = queued.filter(|_| self.loaded < LOADED_MAX);
        self.loaded += usize::from(loaded.is_some());
        let place = if columns.due > now { Place::Scheduled(columns.due) } else { Place::Ready };
        match place {
            Place::Scheduled(due) => self.scheduled.insert((due, self.order, columns.id)),
            Place::Ready | Place::InFlight => {
                self.ready.insert((rank(columns.priority), self.order, columns.id))
            }
        };
        if columns.expires != Timestamp::NEVER {
            self.expiry.insert((columns.expires, columns.id));
        }
        let slot = Slot {
            place,
            order: self.order,
            body: columns.body,
            expires: columns.expires,
            priority: columns.priority,
            cost,
            loaded,
        };
        self.slots.insert(columns.id, slot);
    }

    /// Moves what is due to the end of what is ready.
    fn wake_due(&mut self, now: Timestamp) {
        while let Some(&key) = self.scheduled.first() {
            if key.0 > now {
                break;
            }
            self.make_ready(key);
        }
    }

    fn make_ready(&mut self, key: (Timestamp, u64, MessageId)) {
        self.scheduled.remove(&key);
        if let Some(slot) = self.slots.get_mut(&key.2) {
            self.order += 1;
            slot.order = self.order;
            slot.place = Place::Ready;
            self.ready.insert((rank(slot.priority), slot.order, key.2));
        }
    }

    fn is_paused(&self, now: Timestamp) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    fn forget(&mut self, slot: &Slot, id: MessageId) {
        match slot.place {
            Place::InFlight => self.in_flight -= 1,
            Place::Ready => {
                self.ready.remove(&(rank(slot.priority), slot.order, id));
            }
            Place::Scheduled(due) => {
                self.scheduled.remove(&(due, slot.order, id));
            }
        }
        self.expiry.remove(&(slot.expires, id));
        self.loaded -= usize::from(slot.loaded.is_some());
    }
}

const fn rank(priority: u8) -> u8 {
    3u8.saturating_sub(priority)
}

fn columns_of(queued: &Queued) -> Columns {
    let delivery = &queued.delivery;
    Columns {
        id: delivery.id,
        body: delivery.body,
        due: delivery.due,
        expires: delivery.expires,
        priority: delivery.priority,
    }
}

#[cfg(test)]
mod tests;
