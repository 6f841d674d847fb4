//! The decider: looks again at messages that could not be decided at the door.

use std::sync::Arc;
use std::time::Duration;

use message::{Content, Message, Protocol, Timestamp};

use super::Router;
use super::work::Work;
use crate::delivery::{
    AGAIN_MIN, Again, Answers, Cause, DECIDER, Delivery, HELD, Queued, STATE_HELD, STATE_SCHEDULED,
    STATE_UNDECIDED,
};
use crate::generation::Generation;
use crate::ledger;
use crate::lookup::Lookups;
use crate::observe::event::{Event, What};
use crate::observe::metrics::Metrics;
use crate::pipeline::{Begin, Decided, Fate, Later, Leg, Writes};
use crate::plugin::Stage;
use crate::settle::is_begun;

/// The longest wait between looks.
pub(super) const AGAIN_MAX: Duration = Duration::from_secs(300);
/// Faults of plugins over one message after which it is held.
const FAULTS_MAX: u8 = 3;
/// Messages looked at in one go.
const AT_ONCE: usize = 8;

/// Where an undecided delivery begins its way through the plugins. What has a part in an answer
/// already has no further parts to give away.
fn begin(delivery: &Delivery) -> Begin<'_> {
    match delivery.again() {
        Again::Whole => Begin { answers: delivery.answers, ..Begin::MESSAGE },
        Again::Recipient { after, .. } => Begin {
            answers: delivery.answers,
            after,
            shares: delivery.answers == Answers::Origin && delivery.terms.shared.is_none(),
        },
    }
}

impl Router {
    /// Looks at undecided messages until the router stops.
    pub async fn run_decider(self: Arc<Self>) {
        let stopping = self.tasks.stopping().clone();
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                () = self.decider.ready(&self.clock) => {}
            }
            let items = self.decider.take(self.clock.now(), AT_ONCE);
            for queued in items {
                self.look_again(queued).await;
            }
        }
    }

    /// Looks again at messages whose look-ups are answered, until the router stops. One that is just
    /// being looked at finds the answer the next time.
    pub async fn run_lookups(self: Arc<Self>, lookups: Arc<Lookups>) {
        let stopping = self.tasks.stopping().clone();
        loop {
            let arrived = tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                arrived = lookups.arrived() => arrived,
            };
            for id in arrived {
                let scheduled = self.decider.retry_now(id);
                tracing::debug!(event = "lookup.arrived", %id, scheduled);
            }
        }
    }

    async fn look_again(&self, mut queued: Queued) {
        self.give_up_joining(&mut queued);
        let generation = self.generation();
        let id = queued.delivery.id;
        let mut work = Work::default();
        let written = if queued.delivery.targets.first().is_some_and(|name| &**name == DECIDER) {
            self.rerun(&generation, &queued, &mut work).await
        } else {
            self.readdress(&generation, &queued, &mut work)
        };
        if let Err(error) = written {
            tracing::error!(event = "record.encode", id = %id, %error);
            return self.put_off(queued);
        }
        let batch = std::mem::take(&mut work.batch);
        match self.spool.commit(batch).await {
            Ok(_durable) => {
                self.decider.finish(id);
                work.act(self);
            }
            Err(error) => {
                self.spool_refused(DECIDER, &error);
                self.put_off(queued);
            }
        }
    }

    /// Runs the whole pipeline again over the original message.
    pub(super) async fn rerun(
        &self,
        generation: &Arc<Generation>,
        queued: &Queued,
        work: &mut Work,
    ) -> Result<(), message::record::RecordError> {
        let run = queued.delivery.attempts.saturating_add(1);
        let message = self.undecided_message(queued);
        let mut events = Vec::new();
        let how = (Stage::Queue, run, begin(&queued.delivery));
        let decided = self.decide(generation, &message, how, &mut events).await;
        work.events.extend(events);
        match decided {
            Decided::Legs(legs, writes) => {
                let deferred = legs.first().and_then(|leg| match &leg.fate {
                    Fate::Defer(reply, hint) => Some((Arc::clone(&reply.text), *hint)),
                    _ => None,
                });
                match deferred {
                    Some((reason, hint)) => self.later(queued, work, reason, (false, hint)),
                    None => self.take_up(generation, queued, work, &legs, writes),
                }
            }
            Decided::Later(Later { reason, fault, wait }) => {
                self.later(queued, work, reason, (fault, wait))
            }
        }
    }

    /// What the pipeline looks at: the message, or what of it is decided alone. That is a message of its
    /// own, since the other recipients may be on their way.
    fn undecided_message(&self, queued: &Queued) -> Arc<Message> {
        if queued.delivery.again() == Again::Whole || queued.message.recipients.len() == 1 {
            return Arc::clone(&queued.message);
        }
        let mut message = (*queued.message).clone();
        message.id = self.next_id();
        message.recipients = vec![queued.delivery.recipient.clone()];
        Arc::new(message)
    }

    /// A delivery whose target is gone goes to the next of its targets that is there, else it is routed
    /// again.
    fn readdress(
        &self,
        generation: &Arc<Generation>,
        queued: &Queued,
        work: &mut Work,
    ) -> Result<(), message::record::RecordError> {
        let delivery = &queued.delivery;
        let count = delivery.targets.len();
        let current = usize::from(delivery.cursor);
        let next = (0..count).map(|step| (current + step) % count).find_map(|index| {
            let name = delivery.targets.get(index)?;
            self.target(name)?;
            Some((u16::try_from(index).ok()?, Arc::clone(name)))
        });
        let Some((cursor, target)) = next else { return self.reroute(generation, queued, work) };
        let mut delivery = delivery.clone();
        if delivery.cursor != cursor {
            // Another SMSC has seen none of the parts.
            delivery.doubtful |= is_begun(&delivery);
            delivery.parts = None;
        }
        (delivery.cursor, delivery.due) = (cursor, self.clock.now());
        work.put(delivery, &queued.message, (STATE_SCHEDULED, target))
    }

    /// Routes a delivery again, without plugins, by what its sender said; held if no route takes it.
    /// It keeps its id.
    pub(super) fn reroute(
        &self,
        generation: &Arc<Generation>,
        queued: &Queued,
        work: &mut Work,
    ) -> Result<(), message::record::RecordError> {
        if queued.message.origin.protocol == Protocol::Internal {
            return self.redirect_answer(generation, queued, work);
        }
        let old = &queued.delivery;
        let mut message = (*queued.message).clone();
        let mut recipient = old.recipient.clone();
        // What was an SMS goes on as the mail that it is.
        if let Some(known_as) = old.known_as.as_ref().filter(|_| !queued.was_short()) {
            recipient.address = known_as.recipient.clone();
            if known_as.sender != message.sender {
                // The stored body says another sender: this one gets a body of its own.
                message.id = self.next_id();
                message.sender = known_as.sender.clone();
            }
        }
        message.recipients = vec![recipient];
        let leg = Leg::by_tables(Arc::new(message), old.answers);
        let origin = (old.message, &*leg.message);
        let mut plan = self.plan(generation, origin, std::slice::from_ref(&leg));
        if plan.is_refusal() {
            let reason: Arc<str> = "its targets are gone and no route takes it".into();
            return self.hold(queued, work, reason);
        }
        for (delivery, message) in plan.deliveries.iter_mut().chain(&mut plan.held) {
            for event in plan.events.iter_mut().filter(|event| event.id == delivery.id) {
                *event = Event::about(event.at, old.id, old.message, event.what.clone());
            }
            delivery.id = old.id;
            if queued.was_short() {
                delivery.known_as.clone_from(&old.known_as);
                delivery.terms = old.terms.clone();
            }
            delivery.terms.shared.clone_from(&old.terms.shared);
            delivery.doubtful = old.doubtful || is_begun(old);
            if message.id == queued.message.id {
                // Others share this body: it stays as it is.
                *message = Arc::clone(&queued.message);
            }
        }
        work.batch.remove_entry(old.id.as_u64());
        work.put_plan(self, (old.message, &queued.message.origin.door), 1, plan)
    }

    /// Our own answers are never routed. A notification goes by the relay that carries them now; a
    /// receipt whose account is gone has nobody to go to.
    fn redirect_answer(
        &self,
        generation: &Generation,
        queued: &Queued,
        work: &mut Work,
    ) -> Result<(), message::record::RecordError> {
        let mut delivery = queued.delivery.clone();
        let gone = delivery.targets.first().map_or_else(|| Arc::from(""), Arc::clone);
        let target = match (&queued.message.content, &generation.config.bounces) {
            (Content::Mail(_), Some(bounces)) => Some(Arc::clone(&bounces.via)),
            _ => Some(Arc::clone(&gone)).filter(|name| self.target(name).is_some()),
        };
        if let Some(target) = target {
            (delivery.targets, delivery.cursor) = (vec![Arc::clone(&target)], 0);
            return work.put(delivery, &queued.message, (STATE_SCHEDULED, target));
        }
        Metrics::add(&self.metrics.expired, &gone, 1);
        let reason = format!("its account {gone} is not configured any more").into();
        let what = What::Expired { reason };
        let now = self.clock.now();
        work.events.push(Event::about(now, delivery.id, delivery.message, what));
        work.batch.remove_entry(delivery.id.as_u64());
        work.batch.count(ledger::EXPIRED, &gone, 1);
        Ok(())
    }

    /// The pipeline has decided: deliveries take the place of the undecided entry.
    fn take_up(
        &self,
        generation: &Arc<Generation>,
        queued: &Queued,
        work: &mut Work,
        legs: &[Leg],
        writes: Writes,
    ) -> Result<(), message::record::RecordError> {
        let origin = (queued.delivery.message, &*queued.message);
        let door = &queued.message.origin.door;
        let (plan, came) = match queued.delivery.again() {
            Again::Whole => (self.plan(generation, origin, legs), queued.message.recipients.len()),
            Again::Recipient { released, .. } => {
                let mut plan = if released {
                    self.plan_released(generation, origin, legs)
                } else {
                    self.plan(generation, origin, legs)
                };
                plan.inherit(&queued.delivery);
                (plan, 1)
            }
        };
        // It was one while nobody knew what would become of it.
        let more = u64::try_from(came.saturating_sub(1)).unwrap_or(u64::MAX);
        work.batch.count(ledger::ACCEPTED, door, more);
        work.batch.remove_entry(queued.delivery.id.as_u64());
        work.put_kv(writes.kv);
        work.claims.extend(writes.claims);
        work.put_plan(self, (queued.delivery.message, door), came, plan)
    }

    /// Not yet: another look later, or the hold after too many faults.
    fn later(
        &self,
        queued: &Queued,
        work: &mut Work,
        reason: Arc<str>,
        (fault, hint): (bool, Duration),
    ) -> Result<(), message::record::RecordError> {
        let mut delivery = queued.delivery.clone();
        delivery.attempts = delivery.attempts.saturating_add(1);
        delivery.faults = delivery.faults.saturating_add(u8::from(fault));
        if delivery.faults >= FAULTS_MAX {
            return self.hold(queued, work, reason);
        }
        let now = self.clock.now();
        let doubled = AGAIN_MIN.saturating_mul(1 << delivery.attempts.min(16)).min(AGAIN_MAX);
        delivery.due = now.after(if hint.is_zero() { doubled } else { hint });
        delivery.last = Some(Cause::ours("4.3.0", Arc::clone(&reason)));
        let what = What::Undecided { reason };
        work.events.push(Event::new(now, delivery.message, what));
        work.put(delivery, &queued.message, (STATE_UNDECIDED, Arc::from(DECIDER)))
    }

    /// Puts a message aside with the reason.
    pub(super) fn hold(
        &self,
        queued: &Queued,
        work: &mut Work,
        reason: Arc<str>,
    ) -> Result<(), message::record::RecordError> {
        let now = self.clock.now();
        let mut delivery = queued.delivery.clone();
        delivery.expires = now.after(self.generation().config.spool.held_ttl);
        delivery.last = Some(Cause::ours("4.7.0", Arc::clone(&reason)));
        tracing::warn!(event = "message.held", id = %delivery.message, reason = &*reason);
        Metrics::add(&self.metrics.held, &queued.message.origin.door, 1);
        let what = What::Held { reason };
        work.events.push(Event::about(now, delivery.id, delivery.message, what));
        work.put(delivery, &queued.message, (STATE_HELD, Arc::from(HELD)))
    }

    /// The spool did not take it: the same again a little later.
    fn put_off(&self, mut queued: Queued) {
        let now: Timestamp = self.clock.now();
        queued.delivery.due = now.after(AGAIN_MIN);
        self.decider.reschedule(queued, now);
    }
}
