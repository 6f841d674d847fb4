//! What waits for one target: ready, scheduled, in flight. Pure: `now` is an argument.
//!
//! About a hundred bytes a delivery; content stays in the spool but for the part that goes next. Every
//! call does a bounded amount of work, whatever the length of the queue, except where it says so.

pub mod rate;
pub mod retry;
pub mod breaker;
pub mod loaded;
mod lanes;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use message::{MessageId, Timestamp};

use crate::delivery::{Delivery, Queued};
use breaker::{Breaker, THROTTLE_PAUSE_MAX, THROTTLE_PAUSE_MIN};
use lanes::{Account, Lanes};
use loaded::{Loaded, Room};
use names::{Names, ONE_WAY, Reasons, UNTRIED, Ways};
use rate::TokenBucket;

pub use names::Reason;

/// Content is not kept in memory for what waits longer than this.
const LOADED_AHEAD: Duration = Duration::from_secs(10);
/// Deliveries that become ready in one call; the rest follows with the next.
const WOKEN_MAX: usize = 10_000;
/// Deliveries that are looked at in one call for those that can go elsewhere.
const LOOKED_AT_MAX: usize = 100_000;
/// Priorities, 0 to 3.
const PRIORITIES: usize = 4;

/// The queue of one target.
#[derive(Debug)]
pub struct Queue {
    slots: BTreeMap<MessageId, Slot>,
    /// By priority; the last one goes first.
    ready: [Lanes; PRIORITIES],
    /// (due, id).
    scheduled: BTreeSet<(Timestamp, MessageId)>,
    loaded: Loaded,
    accounts: Names,
    ways: Ways,
    reasons: Reasons,
    in_flight: usize,
    order: u64,
    rate: Option<TokenBucket>,
    breaker: Breaker,
    /// The delivery that tries whether the target is well again.
    probe: Option<MessageId>,
    pause: Duration,
    paused_until: Option<Timestamp>,
    suspended: bool,
    /// Up to where [`Queue::movable`] has looked.
    looked_at: Option<MessageId>,
}

/// One delivery that waits or is in flight.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// When it is due, in milliseconds, while it is scheduled; else its place in the order.
    key: u64,
    body: MessageId,
    account: Account,
    way: u16,
    why: u16,
    priority: u8,
    cost: u8,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Ready,
    Scheduled,
    /// It had its turn, and its tokens of the rate.
    InFlight,
    /// It was taken out without either; whether it was scheduled.
    Withdrawn(bool),
}

impl Place {
    const fn waits(self) -> bool {
        matches!(self, Self::Ready | Self::Scheduled)
    }
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

/// Why the head of a queue does not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing is there.
    Empty,
    /// Everything that is there is in flight.
    InFlight,
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
    /// An empty queue of the target `own`, limited to `rate` if there is one, that keeps content in
    /// `room`. What comes for an account from no other account, its receipts among it, is in one order.
    #[must_use]
    pub fn new(own: &Arc<str>, rate: Option<TokenBucket>, room: Arc<Room>) -> Self {
        Self {
            slots: BTreeMap::new(),
            ready: Default::default(),
            scheduled: BTreeSet::new(),
            loaded: Loaded::new(room),
            accounts: Names::new([Arc::from(""), Arc::clone(own)]),
            ways: Ways::default(),
            reasons: Reasons::default(),
            in_flight: 0,
            order: 0,
            rate,
            breaker: Breaker::default(),
            probe: None,
            pause: Duration::ZERO,
            paused_until: None,
            suspended: false,
            looked_at: None,
        }
    }

    /// Adds a delivery. One whose id is already here is left as it is.
    pub fn push(&mut self, queued: Box<Queued>, now: Timestamp) {
        if self.push_stored(&queued.delivery, now) && queued.delivery.due <= now.after(LOADED_AHEAD)
        {
            self.loaded.keep(queued);
        }
    }

    /// Adds a delivery whose content stays in the spool until its turn comes; false if it is here.
    pub fn push_stored(&mut self, delivery: &Delivery, now: Timestamp) -> bool {
        let id = delivery.id;
        if self.slots.contains_key(&id) {
            return false;
        }
        let slot = Slot {
            key: delivery.due.as_ms(),
            body: delivery.body,
            account: self.accounts.enter(&delivery.account),
            way: self.ways.enter(&delivery.targets),
            why: self.reasons.enter(delivery.last.as_ref().map(crate::delivery::Cause::in_words)),
            priority: delivery.priority,
            cost: u8::try_from(delivery.cost()).unwrap_or(u8::MAX),
            place: Place::Scheduled,
        };
        self.slots.insert(id, slot);
        if delivery.due > now {
            self.scheduled.insert((delivery.due, id));
        } else {
            self.make_ready(id);
        }
        true
    }

    /// Takes up to `max` deliveries that may go now; they are in flight until [`Queue::finish`],
    /// [`Queue::reschedule`] or [`Queue::give_back`].
    pub fn take(&mut self, now: Timestamp, max: usize) -> Vec<Taken> {
        self.take_some(now, max, false)
    }

    /// As [`Queue::take`], but only neighbours that share the body of the first: the recipients of one
    /// message.
    pub fn take_group(&mut self, now: Timestamp, max: usize) -> Vec<Taken> {
        self.take_some(now, max, true)
    }

    fn take_some(&mut self, now: Timestamp, max: usize, grouped: bool) -> Vec<Taken> {
        self.wake_due(now);
        let mut taken = Vec::new();
        if self.suspended || self.is_paused(now) || !self.breaker.allows(now) {
            return taken;
        }
        let max = if self.breaker.is_half_open() { max.min(1) } else { max };
        let mut group = None;
        while taken.len() < max {
            let Some(lanes) = self.ready.iter_mut().rev().find(|lanes| lanes.len() > 0) else {
                break;
            };
            let Some((account, id)) = (match group {
                Some((account, _)) if grouped => lanes.first_of(account).map(|id| (account, id)),
                _ => lanes.next(),
            }) else {
                break;
            };
            let Some(&slot) = self.slots.get(&id) else {
                lanes.go(account, 1);
                continue;
            };
            if grouped && group.is_some_and(|(_, body)| body != slot.body) {
                break;
            }
            let cost = u32::from(slot.cost);
            if self.rate.as_mut().is_some_and(|rate| !rate.take(now, cost)) {
                break;
            }
            group.get_or_insert((account, slot.body));
            lanes.go(account, slot.cost);
            taken.push(self.begin(id, Place::InFlight));
        }
        if let Some(first) = taken.first()
            && self.breaker.is_half_open()
        {
            self.breaker.probe();
            self.probe = Some(first.id());
        }
        taken
    }

    /// A delivery in flight came to its end here.
    pub fn finish(&mut self, id: MessageId) {
        let was_out = self.end_flight(id).is_some();
        let Some(slot) = self.slots.remove(&id) else { return };
        if !was_out {
            self.unplace(id, slot);
        }
        self.accounts.leave(slot.account);
        self.ways.leave(slot.way);
        self.reasons.leave(slot.why);
        drop(self.loaded.take(id));
    }

    /// A delivery in flight waits for `due`, behind everything that is ready then.
    pub fn reschedule(&mut self, queued: Box<Queued>, now: Timestamp) {
        self.finish(queued.delivery.id);
        self.push(queued, now);
    }

    /// A delivery that was not tried keeps its place or its time, and its account its turn.
    pub fn give_back(&mut self, queued: Box<Queued>) {
        let id = queued.delivery.id;
        let Some(slot) = self.end_flight(id) else { return };
        if slot.place == Place::Withdrawn(true) {
            self.slots.entry(id).and_modify(|slot| slot.place = Place::Scheduled);
            self.scheduled.insert((Timestamp::from_ms(slot.key), id));
            return;
        }
        let had_turn = slot.place == Place::InFlight;
        if let Some(rate) = self.rate.as_mut().filter(|_| had_turn) {
            rate.put_back(u32::from(slot.cost));
        }
        if let Some(lanes) = lanes(&mut self.ready, slot.priority) {
            if had_turn {
                lanes.put_back(slot.account, slot.key, id, slot.cost);
            } else {
                lanes.insert(slot.account, slot.key, id);
            }
        }
        self.loaded.keep(queued);
    }

    /// A delivery in flight could not be read: it is ready again, behind the others.
    pub fn put_off(&mut self, id: MessageId) {
        if self.end_flight(id).is_some() {
            self.make_ready(id);
        }
    }

    /// The target answered an attempt, whatever it said about the message. True if more may go now than
    /// before.
    pub fn succeeded(&mut self) -> bool {
        let held_back = self.breaker.is_half_open() || self.paused_until.is_some();
        self.breaker.succeed();
        self.pause = Duration::ZERO;
        self.paused_until = None;
        held_back
    }

    /// The target cannot be used now.
    pub fn broke(&mut self, now: Timestamp) {
        self.breaker.fail(now);
    }

    /// The connection ended within the transaction of a message.
    pub fn suspect(&mut self, now: Timestamp, body: MessageId) {
        self.breaker.suspect(now, body);
    }

    /// Whether the target showed that it cannot be used, and has not answered since.
    #[must_use]
    pub const fn is_on_probation(&self) -> bool {
        self.breaker.is_half_open()
    }

    /// The answer to an attempt was lost: that says something only while the target is on probation.
    pub fn unanswered(&mut self, now: Timestamp) {
        if self.breaker.is_half_open() {
            self.breaker.fail(now);
        }
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

    /// Takes a delivery out of its place, whatever it waits for; none if it is unknown or in flight.
    pub fn withdraw(&mut self, id: MessageId) -> Option<Taken> {
        let slot = *self.slots.get(&id)?;
        if !slot.place.waits() {
            return None;
        }
        self.unplace(id, slot);
        Some(self.begin(id, Place::Withdrawn(slot.place == Place::Scheduled)))
    }

    /// Deliveries that wait and that can go to another target, for those whose list of targets is
    /// `usable`, at most `max`. Goes on with each call where the one before stopped.
    pub fn movable(&mut self, usable: impl Fn(&[Arc<str>]) -> bool, max: usize) -> Vec<MessageId> {
        let Some(usable) = self.ways.usable(usable) else { return Vec::new() };
        let from = self.looked_at.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let mut found = Vec::new();
        let mut at = None;
        for (&id, slot) in self.slots.range((from, std::ops::Bound::Unbounded)).take(LOOKED_AT_MAX)
        {
            at = Some(id);
            let likes = usable.get(usize::from(slot.way)).copied().unwrap_or(false);
            if likes && slot.place.waits() {
                found.push(id);
                if found.len() == max {
                    break;
                }
            }
        }
        // At the end it begins anew.
        self.looked_at = at;
        found
    }

    /// A delivery that was found movable cannot move after all: it is not found again.
    pub fn pin(&mut self, id: MessageId) {
        if let Some(slot) = self.slots.get_mut(&id) {
            self.ways.leave(slot.way);
            slot.way = ONE_WAY;
        }
    }

    /// Makes one scheduled delivery ready now; false if it is not scheduled. A target that failed is
    /// tried now.
    pub fn retry_now(&mut self, id: MessageId) -> bool {
        let Some(&slot) = self.slots.get(&id) else { return false };
        self.breaker.hurry();
        if slot.place != Place::Scheduled {
            return false;
        }
        self.scheduled.remove(&(Timestamp::from_ms(slot.key), id));
        self.make_ready(id);
        true
    }

    /// Makes what is scheduled up to `until` ready now, at most `max`; returns how many. A target that
    /// failed is tried now.
    pub fn retry_until(&mut self, until: Timestamp, max: usize) -> usize {
        self.breaker.hurry();
        self.wake(until, max)
    }

    /// When the last one that is scheduled is due.
    #[must_use]
    pub fn last_due(&self) -> Option<Timestamp> {
        self.scheduled.last().map(|&(due, _)| due)
    }

    /// The clock was set back by so much: what waits for another try, and pauses, wait no longer than
    /// they would have. What somebody asked to be sent at a certain time keeps it. Takes time in
    /// proportion to what is scheduled.
    pub fn set_back(&mut self, by: Duration) {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        let earlier = |at: Timestamp| Timestamp::from_ms(at.as_ms().saturating_sub(by_ms));
        self.breaker.set_back(by);
        self.paused_until = self.paused_until.map(earlier);
        let before = std::mem::take(&mut self.scheduled);
        for (due, id) in before {
            let mut at = due;
            if let Some(slot) = self.slots.get_mut(&id).filter(|slot| slot.why != UNTRIED) {
                at = earlier(due);
                slot.key = at.as_ms();
            }
            self.scheduled.insert((at, id));
        }
    }

    /// The ids of what waits here and is not in flight, at most `max`.
    #[must_use]
    pub fn waiting_ids(&self, max: usize) -> Vec<MessageId> {
        let waiting = self.slots.iter().filter(|(_, slot)| slot.place.waits());
        waiting.map(|(&id, _)| id).take(max).collect()
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
        let Some(lanes) = self.ready.iter().rev().find(|lanes| lanes.len() > 0) else {
            return match self.scheduled.first() {
                Some(&(due, _)) => Waiting::Due(due),
                None if self.in_flight > 0 => Waiting::InFlight,
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
        let next = lanes.next().and_then(|(_, id)| self.slots.get(&id));
        let cost = next.map_or(1, |slot| u32::from(slot.cost));
        match self.rate.as_mut().map(|rate| rate.wait(now, cost)) {
            Some(wait) if wait > Duration::ZERO => Waiting::Rate(wait),
            _ => Waiting::Ready,
        }
    }

    /// Why deliveries wait, by what their last attempt said, the most frequent first: all of them.
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        let all = self.reasons.all().into_iter();
        all.filter_map(|(number, why, count)| {
            let (&example, _) = self.slots.iter().find(|(_, slot)| slot.why == number)?;
            Some(Reason { why, count, example })
        })
        .collect()
    }

    /// The oldest delivery, in flight ones included.
    #[must_use]
    pub fn oldest(&self) -> Option<MessageId> {
        self.slots.first_key_value().map(|(&id, _)| id)
    }

    /// Whether a delivery is here, in flight or not.
    #[must_use]
    pub fn contains(&self, id: MessageId) -> bool {
        self.slots.contains_key(&id)
    }

    /// Deliveries here, in flight ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether an account has less than half of an equal share of `room` here.
    #[must_use]
    pub fn is_light(&self, account: &str, room: usize) -> bool {
        self.accounts.is_light(account, room)
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

    /// Moves what is due to the end of what is ready.
    fn wake_due(&mut self, now: Timestamp) {
        self.wake(now, WOKEN_MAX);
    }

    fn wake(&mut self, until: Timestamp, max: usize) -> usize {
        let mut count = 0;
        while count < max
            && let Some(&(due, id)) = self.scheduled.first()
            && due <= until
        {
            self.scheduled.pop_first();
            self.make_ready(id);
            count += 1;
        }
        count
    }

    /// Puts a slot that is in no other place behind what is ready.
    fn make_ready(&mut self, id: MessageId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        self.order += 1;
        slot.key = self.order;
        slot.place = Place::Ready;
        if let Some(lanes) = lanes(&mut self.ready, slot.priority) {
            lanes.insert(slot.account, slot.key, id);
        }
    }

    /// A slot that is in no place goes out.
    fn begin(&mut self, id: MessageId, place: Place) -> Taken {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.place = place;
            self.in_flight += 1;
        }
        self.loaded.take(id).map_or(Taken::Stored(id), Taken::Loaded)
    }

    /// A delivery in flight comes back: its slot as it was; afterwards it is in no place, and counts as
    /// ready. None if it was not in flight. The target has its next probe even if this one said nothing about it.
    fn end_flight(&mut self, id: MessageId) -> Option<Slot> {
        let slot = self.slots.get_mut(&id).filter(|slot| !slot.place.waits())?;
        let before = *slot;
        slot.place = Place::Ready;
        self.in_flight -= 1;
        if self.probe == Some(id) {
            self.probe = None;
            self.breaker.forget_probe();
        }
        Some(before)
    }

    /// Takes a slot out of what is ready or scheduled.
    fn unplace(&mut self, id: MessageId, slot: Slot) {
        match slot.place {
            Place::InFlight | Place::Withdrawn(_) => {}
            Place::Scheduled => {
                self.scheduled.remove(&(Timestamp::from_ms(slot.key), id));
            }
            Place::Ready => {
                if let Some(lanes) = lanes(&mut self.ready, slot.priority) {
                    lanes.remove(slot.account, slot.key);
                }
            }
        }
    }

    fn is_paused(&self, now: Timestamp) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }
}

fn lanes(ready: &mut [Lanes; PRIORITIES], priority: u8) -> Option<&mut Lanes> {
    ready.get_mut(usize::from(priority).min(PRIORITIES - 1))
}

#[cfg(test)]
mod tests;
