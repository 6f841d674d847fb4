//! One commit in the making: what is written, and what is done when it is durable.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use message::record::{RecordError, encode};
use message::{Message, MessageId, Timestamp};
use spool::Batch;

use super::Router;
use super::accept::outcome_of;
use super::joining::{self, each_part};
use super::known::Asked;
use crate::conversation::Spoken;
use crate::delivery::{
    Again, Answers, DECIDER, Delivery, HELD, Queued, STATE_HELD, STATE_SCHEDULED, STATE_UNDECIDED,
    Terms,
};
use crate::ledger;
use crate::observe::event::{Event, What};
use crate::observe::metrics::Metrics;
use crate::plan::Plan;
use crate::plugin::{Claims, KvWrite};
use crate::receipt::Undo;
use crate::receipt::answer::{About, Outcome, answer, is_wanted};
use crate::router::env::kv_key;
use crate::sms::join::Part;
use crate::spooler;

/// How long the ends of deliveries that share an answer are remembered: the longest that one of them
/// may take, and its receipt.
const SHARES_TTL: Duration = Duration::from_secs(120 * 86_400);

/// What one commit writes and what follows from it.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// What is written.
    pub(super) batch: Batch,
    /// What enters queues afterwards, under its target.
    pub(super) pushes: Vec<(Arc<str>, Queued)>,
    /// What the journal is told afterwards.
    pub(super) events: Vec<Event>,
    /// Bodies that are in the batch.
    bodies: BTreeSet<MessageId>,
    /// Keys claimed by plugins, freed when the commit was answered.
    pub(super) claims: Vec<Claims>,
    /// What the receipt book said before.
    pub(super) undo: Vec<Undo>,
    /// Parts that wait for others.
    pub(super) parts: Vec<(Part, MessageId)>,
    /// Messages made of parts, of which the end is told.
    pub(super) paid: Vec<MessageId>,
}

impl Work {
    /// Writes a delivery and its leg. If it is a new one, the caller counts it.
    pub(super) fn put(
        &mut self,
        delivery: Delivery,
        message: &Arc<Message>,
        (state, target): (u8, Arc<str>),
    ) -> Result<(), RecordError> {
        if self.bodies.insert(message.id) {
            self.batch.put_body(message.id.as_u64(), spooler::body(message)?);
        }
        self.batch.put_entry(spooler::entry(&delivery, state, &target)?);
        if state != STATE_HELD {
            self.pushes.push((target, Queued { delivery, message: Arc::clone(message) }));
        }
        Ok(())
    }

    /// Writes what was decided about a message of ours: deliveries, what is held, and what the origin
    /// is owed. The plan takes the place of `came` units of the ledger, which are counted already.
    pub(super) fn put_plan(
        &mut self,
        router: &Router,
        (origin, door): (MessageId, &Arc<str>),
        came: usize,
        mut plan: Plan,
    ) -> Result<(), RecordError> {
        let now = router.clock.now();
        self.count_plan(door, came, &plan);
        if let Some(fewer) = came.checked_sub(plan.units()).filter(|fewer| *fewer > 0) {
            let reason = format!("plugins took {fewer} of its recipients away").into();
            self.events.push(Event::new(now, origin, What::Dropped { reason }));
        }
        for refused in plan.refused {
            let what = What::Failed { reason: Arc::clone(&refused.reply.text) };
            self.events.push(Event::about(now, refused.about.message, origin, what));
            plan.outcomes.push((refused.about, outcome_of(&refused.reply, now)));
        }
        for (delivery, message) in plan.deliveries {
            let Some(target) = delivery.target().cloned() else { continue };
            self.put(delivery, &message, (STATE_SCHEDULED, target))?;
        }
        for (delivery, message) in plan.held {
            Metrics::add(&router.metrics.held, &message.origin.door, 1);
            self.put(delivery, &message, (STATE_HELD, Arc::from(HELD)))?;
        }
        for (delivery, message) in plan.later {
            Metrics::add(&router.metrics.undecided, &message.origin.door, 1);
            self.put(delivery, &message, (STATE_UNDECIDED, Arc::from(DECIDER)))?;
        }
        for Spoken { key, conversation, until } in plan.spoken {
            self.batch.put_key(key, encode(&conversation)?, until.as_ms());
        }
        for (mut about, outcome) in plan.outcomes {
            about.message = origin;
            self.put_answer(router, &about, &outcome)?;
        }
        self.events.extend(plan.events);
        Ok(())
    }

    /// Counts what a plan adds to what it takes the place of, and what of it goes no further.
    fn count_plan(&mut self, door: &Arc<str>, came: usize, plan: &Plan) {
        let count = |units: usize| u64::try_from(units).unwrap_or(u64::MAX);
        let became = plan.units();
        let taken_away = came.saturating_sub(became);
        self.batch.count(ledger::BORN, door, count(became.saturating_sub(came)));
        self.batch.count(ledger::DROPPED, door, count(plan.dropped + plan.lost + taken_away));
        if !plan.refused.is_empty() {
            self.batch.count(ledger::FAILED, &Arc::from(DECIDER), count(plan.refused.len()));
        }
    }

    /// Writes what plugins wrote to their keys.
    pub(super) fn put_kv(&mut self, writes: Vec<KvWrite>) {
        for write in writes {
            let key = kv_key(&write.plugin, &write.key);
            match write.entry {
                Some(value) => self.batch.put_key(key, value, write.expires.as_ms()),
                None => self.batch.remove_key(key),
            }
        }
    }

    /// Writes what an ESME is told when it asks for this message.
    pub(super) fn put_known(&mut self, router: &Router, about: &About, outcome: &Outcome) {
        let generation = router.generation();
        let asked = Asked::of(&generation.config, &about.origin, about.message, about.answers);
        if let Some(asked) = asked {
            asked.ended(&mut self.batch, outcome);
        }
    }

    /// Writes the answer that the origin wants, if it wants one.
    pub(super) fn put_answer(
        &mut self,
        router: &Router,
        about: &About,
        outcome: &Outcome,
    ) -> Result<(), RecordError> {
        let Some(outcome) = &self.fold(router, about, outcome) else { return Ok(()) };
        let Some(parts) = router.joining.parts_of(about.message) else {
            return self.put_one_answer(router, about, outcome);
        };
        if outcome.last {
            self.batch.remove_key(joining::key(about.message));
            self.paid.push(about.message);
        }
        for about in each_part(about, &parts) {
            self.put_one_answer(router, &about, outcome)?;
        }
        Ok(())
    }

    fn put_one_answer(
        &mut self,
        router: &Router,
        about: &About,
        outcome: &Outcome,
    ) -> Result<(), RecordError> {
        self.put_known(router, about, outcome);
        if !is_wanted(about, outcome) {
            return Ok(());
        }
        let generation = router.generation();
        let config = &generation.config;
        let bounces = config.bounces.as_ref().map(|b| (b, &*config.node.hostname));
        let now = router.clock.now();
        let id = router.next_id();
        let Some(answer) = answer(about, outcome, bounces, id, now) else { return Ok(()) };
        let Some(recipient) = answer.message.recipients.first().cloned() else { return Ok(()) };
        let ttl = match config.accounts.get(&answer.target) {
            Some(account) => account.receipts_ttl,
            None => config
                .connectors
                .get(&answer.target)
                .map_or(Duration::from_secs(86_400), |via| via.retry.give_up),
        };
        let what = What::Born {
            kind: if answer.message.sender.is_null() { "bounce" } else { "receipt" }.into(),
            to: Arc::clone(&recipient.address.value),
        };
        self.events.push(Event::about(now, id, about.message, what));
        self.batch.count(ledger::BORN, &answer.message.origin.door, 1);
        Metrics::add(&router.metrics.born, &answer.target, 1);
        let delivery = Delivery {
            id,
            body: id,
            message: id,
            recipient,
            route: Arc::from(""),
            targets: vec![Arc::clone(&answer.target)],
            cursor: 0,
            answers: Answers::Copy,
            sms: None,
            parts: None,
            attempts: 0,
            faults: 0,
            due: now,
            expires: now.after(ttl),
            priority: 0,
            account: Arc::clone(&answer.message.origin.account),
            doubtful: false,
            known_as: None,
            last: None,
            terms: Terms::default(),
        };
        self.put(delivery, &Arc::new(answer.message), (STATE_SCHEDULED, answer.target))
    }

    /// What the origin may hear of this outcome: where several deliveries share an answer, only what
    /// decides it.
    fn fold(&mut self, router: &Router, about: &About, outcome: &Outcome) -> Option<Outcome> {
        let Some(shared) = &about.shared else { return Some(outcome.clone()) };
        if !outcome.last {
            return Some(outcome.clone()).filter(|_| about.answers == Answers::Origin);
        }
        let until = router.clock.now().after(SHARES_TTL);
        let of = (about.message, &**shared);
        let folded = router.folds.note(&mut self.batch, &router.spool, of, outcome, until);
        folded.unwrap_or_else(|error| {
            // The disk fails; what is told now does not become durable either.
            tracing::error!(event = "spool.read", id = %about.message, %error);
            Some(outcome.clone())
        })
    }

    /// Does what follows from the commit.
    pub(super) fn act(self, router: &Router) {
        let now = router.clock.now();
        // Before it can be delivered, so that no end is told before its beginning.
        router.journal.record(self.events);
        router.push(self.pushes, now);
        self.claims.into_iter().for_each(Claims::committed);
        self.parts.iter().for_each(|(part, id)| router.note_part(part, *id));
        self.paid.into_iter().for_each(|id| router.joining.paid(id));
    }
}

impl Router {
    /// Puts deliveries into the queues of their targets, in order. What has no target any more goes
    /// to the decider, who finds it a new one.
    pub(super) fn push(&self, pushes: Vec<(Arc<str>, Queued)>, now: Timestamp) {
        let mut pushes = pushes.into_iter().peekable();
        while let Some((name, first)) = pushes.next() {
            let mut group = vec![first];
            while let Some((_, next)) = pushes.next_if(|(next, _)| *next == name) {
                group.push(next);
            }
            match self.target(&name) {
                Some(target) => target.push(group, now),
                None => self.decider.push(group, now),
            }
        }
    }
}

impl Work {
    /// Takes over what another work writes and does.
    pub(super) fn absorb(&mut self, other: Self) {
        self.batch.append(other.batch);
        self.pushes.extend(other.pushes);
        self.events.extend(other.events);
        self.bodies.extend(other.bodies);
        self.claims.extend(other.claims);
        self.undo.extend(other.undo);
        self.parts.extend(other.parts);
        self.paid.extend(other.paid);
    }
}

/// Whom the end of a delivery concerns: its recipient, or all of the message while it is undecided.
pub(super) fn concerned(queued: &Queued) -> Vec<About> {
    let undecided = queued.delivery.targets.first().is_some_and(|name| &**name == DECIDER);
    if !undecided || queued.delivery.again() != Again::Whole {
        return vec![About::queued(queued)];
    }
    let Queued { delivery, message } = queued;
    let each = message.recipients.iter();
    each.map(|recipient| About::recipient(message, recipient, delivery.answers)).collect()
}
