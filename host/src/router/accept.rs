//! The way in: drafts are decided, planned, committed in one batch, and answered.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use message::{Address, Message, MessageId, Origin, Recipient, Timestamp};

use super::Router;
use super::work::Work;
use crate::config::{ListenerKind, Resolved};
use crate::delivery::{AGAIN_MIN, Answers, Cause, DECIDER, Delivery, STATE_UNDECIDED, Terms};
use crate::generation::Generation;
use crate::intake::{Accepted, Draft, Outcome, Proof, Refusal};
use crate::ledger;
use crate::observe::event::{Event, What};
use crate::observe::metrics::Metrics;
use crate::pipeline::{Begin, Decided, Later, Leg, PAUSED, Run, Writes, reply};
use crate::plan::{Plan, Planner, no_route, queue_full};
use crate::plugin::Stage;
use crate::receipt::REJECTED;
use crate::receipt::answer;
use crate::route::{Envelope, EnvelopeDecision, RouteDecision};
use crate::sms::join::Part;
use crate::target::StopKind;

/// How long an SMSC waits for a decision about a message of its own.
const CONNECTOR_PATIENCE: Duration = Duration::from_millis(250);

/// What one draft became before anything is written.
pub(super) enum Fated {
    Refused(Refusal),
    Planned(Plan, Writes),
    Undecided(Later),
    /// A part that waits for the others of its message.
    Part(Part),
    /// A part that waits here already.
    Repeated,
}

impl Router {
    /// Whether a recipient may be named at all: number domains become numbers, strangers may not
    /// relay, and what no route takes is refused before the content comes.
    ///
    /// # Errors
    /// The refusal.
    pub fn admit_recipient(
        &self,
        generation: &Generation,
        origin: &Origin,
        sender: &Address,
        mut recipient: Recipient,
        relay_allowed: bool,
    ) -> Result<Recipient, Refusal> {
        if !relay_allowed {
            return Err(refusal(&reply(554, "5.7.1", 0x0D, "Relay access denied")));
        }
        if let Some(reply) = self.pressure.refusal() {
            return Err(later(&reply));
        }
        if recipient.address.is_mailbox() {
            match generation.config.domains.resolve(&recipient.address.value) {
                Resolved::Mailbox => {}
                Resolved::Number(number) => {
                    let mailbox = std::mem::replace(&mut recipient.address, number);
                    recipient.original.get_or_insert(mailbox.value);
                }
                Resolved::NotANumber(problem) => {
                    let words = format!("Not a phone number: {problem}");
                    return Err(refusal(&reply(550, "5.1.3", 0x0B, &words)));
                }
            }
        }
        if !generation.plugins.iter().any(|slot| slot.runs_at(&origin.door)) {
            // A plugin could still choose a target; without one the routes have the last word.
            let envelope = Envelope {
                door: &origin.door,
                account: &origin.account,
                protocol: origin.protocol,
                sender: sender.normal(),
                recipient: recipient.address.normal(),
                now: self.clock.now(),
            };
            match generation.routes.resolve_envelope(&envelope) {
                EnvelopeDecision::NoRoute => return Err(refusal(&no_route())),
                EnvelopeDecision::Certain(RouteDecision::Reject { reply, .. }) => {
                    return Err(refusal(&reply));
                }
                EnvelopeDecision::Certain(RouteDecision::Targets { targets, .. })
                    if !targets
                        .iter()
                        .any(|name| self.has_room(generation, name, &origin.account)) =>
                {
                    return Err(later(&queue_full()));
                }
                EnvelopeDecision::Certain(_) | EnvelopeDecision::NeedsContent => {}
            }
        }
        Ok(recipient)
    }

    /// Takes drafts: plugins and routes decide, one commit makes them ours. Outcomes are in the order
    /// of the drafts.
    pub async fn accept(&self, generation: &Arc<Generation>, drafts: Vec<Draft>) -> Vec<Outcome> {
        let now = self.clock.now();
        let messages: Vec<Arc<Message>> =
            drafts.into_iter().map(|draft| Arc::new(draft.message)).collect();
        self.note_entries(generation);
        let fated = if let Some(reply) = self.pressure.refusal() {
            let refused = |_message| (Fated::Refused(later(&reply)), Vec::new());
            messages.iter().map(refused).collect()
        } else if generation.plugins.is_empty() {
            let fate = |message: &Arc<Message>| match self.seat(generation, message) {
                Some(seat) => (seat, Vec::new()),
                None => self.plan_plain(generation, message),
            };
            messages.iter().map(fate).collect()
        } else {
            let fate = async |message: &Arc<Message>| match self.seat(generation, message) {
                Some(seat) => (seat, Vec::new()),
                None => self.fate(generation, message, patience(generation, message)).await,
            };
            join_all(messages.iter().map(fate)).await
        };
        let mut work = Work::default();
        let mut outcomes = Vec::with_capacity(messages.len());
        for (message, (fated, events)) in messages.iter().zip(fated) {
            work.events.extend(events);
            let written = self.write(&mut work, generation, message, fated, now);
            outcomes.push(written.unwrap_or_else(|error| {
                tracing::error!(event = "record.encode", id = %message.id, %error);
                Err(refusal(&reply(451, "4.3.0", 0x08, "Temporary failure, try again later")))
            }));
        }
        self.conclude(work, &messages, outcomes).await
    }

    /// Commits and says what became of each draft.
    async fn conclude(
        &self,
        mut work: Work,
        messages: &[Arc<Message>],
        outcomes: Vec<Result<MessageId, Refusal>>,
    ) -> Vec<Outcome> {
        let batch = std::mem::take(&mut work.batch);
        let proof = if batch.only_counts() {
            // Nobody has to wait until it is counted what was dropped.
            if !batch.is_empty() {
                self.write_later(batch).await;
            }
            Ok(Proof::Nothing)
        } else {
            self.spool.commit(batch).await.map(|durable| Proof::Durable(Arc::new(durable)))
        };
        let proof = proof.map_err(|error| {
            self.spool_refused("", &error);
            Refusal::from_commit(&error)
        });
        if proof.is_ok() {
            work.act(self);
        }
        let outcomes = messages.iter().zip(outcomes).map(|(message, outcome)| {
            let outcome = outcome.and_then(|id| proof.clone().map(|proof| (id, proof)));
            let door = &message.origin.door;
            match outcome {
                Ok((id, proof)) => {
                    Metrics::add(&self.metrics.accepted, door, 1);
                    Outcome::Accepted(Accepted::new(id, proof))
                }
                Err(refusal) => {
                    Metrics::add(&self.metrics.refused, door, 1);
                    Outcome::Refused(refusal)
                }
            }
        });
        outcomes.collect()
    }

    /// Writes what one draft became.
    fn write(
        &self,
        work: &mut Work,
        generation: &Generation,
        message: &Arc<Message>,
        fated: Fated,
        now: Timestamp,
    ) -> Result<Result<MessageId, Refusal>, message::record::RecordError> {
        match fated {
            Fated::Refused(refusal) => {
                let reply: Arc<str> =
                    format!("{} {} {}", refusal.smtp_code, refusal.enhanced, refusal.text).into();
                tracing::info!(
                    event = "message.refused", id = %message.id, door = &*message.origin.door,
                    peer = &*message.origin.peer, reply = &*reply,
                );
                let door = Arc::clone(&message.origin.door);
                work.events.push(Event::new(now, message.id, What::Refused { door, reply }));
                return Ok(Err(refusal));
            }
            Fated::Planned(plan, writes) => {
                work.events.push(accepted(message, generation, now));
                if plan.dropped > 0 {
                    let dropped = u64::try_from(plan.dropped).unwrap_or(0);
                    Metrics::add(&self.metrics.dropped, &message.origin.door, dropped);
                }
                let came = message.recipients.len();
                let taken = u64::try_from(came).unwrap_or(u64::MAX);
                work.batch.count(ledger::ACCEPTED, &message.origin.door, taken);
                work.put_plan(self, (message.id, &message.origin.door), came, plan)?;
                work.put_kv(writes.kv);
                work.claims.extend(writes.claims);
            }
            Fated::Undecided(Later { reason, fault, wait }) => {
                Metrics::add(&self.metrics.undecided, &message.origin.door, 1);
                work.events.push(accepted(message, generation, now));
                work.events.push(Event::new(
                    now,
                    message.id,
                    What::Undecided { reason: Arc::clone(&reason) },
                ));
                work.batch.count(ledger::ACCEPTED, &message.origin.door, 1);
                let mut delivery = undecided(message, reason, u8::from(fault), now);
                delivery.due = delivery.due.max(now.after(wait));
                work.put(delivery, message, (STATE_UNDECIDED, Arc::from(DECIDER)))?;
            }
            Fated::Part(part) => {
                work.events.push(accepted(message, generation, now));
                work.batch.count(ledger::ACCEPTED, &message.origin.door, 1);
                self.put_part(work, generation, message, part)?;
            }
            Fated::Repeated => {
                work.events.push(accepted(message, generation, now));
                let reason = "the same part came before and waits for the others".into();
                work.events.push(Event::new(now, message.id, What::Dropped { reason }));
                work.batch.count(ledger::ACCEPTED, &message.origin.door, 1);
                work.batch.count(ledger::DROPPED, &message.origin.door, 1);
            }
        }
        Ok(Ok(message.id))
    }

    /// Runs plugins and routes, at most so long.
    pub(super) async fn fate(
        &self,
        generation: &Arc<Generation>,
        message: &Arc<Message>,
        within: Duration,
    ) -> (Fated, Vec<Event>) {
        let mut events = Vec::new();
        let how = (Stage::Door, 1, Begin::MESSAGE);
        let deciding = self.decide(generation, message, how, &mut events);
        match tokio::time::timeout(within, deciding).await {
            Ok(Decided::Later(later)) => (Fated::Undecided(later), events),
            Ok(Decided::Legs(legs, writes)) => {
                (self.planned(generation, message, &legs, writes), events)
            }
            Err(_late) => {
                let reason = format!("plugins took longer than {within:?} at the door").into();
                let later = Later { reason, fault: false, wait: Duration::ZERO };
                (Fated::Undecided(later), Vec::new())
            }
        }
    }

    /// Without plugins there is nothing to wait for.
    pub(super) fn plan_plain(
        &self,
        generation: &Arc<Generation>,
        message: &Arc<Message>,
    ) -> (Fated, Vec<Event>) {
        let leg = Leg::by_tables(Arc::clone(message), Answers::Origin);
        (self.planned(generation, message, &[leg], Writes::default()), Vec::new())
    }

    fn planned(
        &self,
        generation: &Arc<Generation>,
        message: &Arc<Message>,
        legs: &[Leg],
        writes: Writes,
    ) -> Fated {
        let has_room = |name: &str| self.has_room(generation, name, &message.origin.account);
        let plan = self.plan_with(generation, (message.id, message), legs, (&has_room, true));
        match plan.refusal() {
            Some(refused) => {
                Fated::Refused(Refusal::from_reply(&refused.reply, !refused.temporary))
            }
            None => Fated::Planned(plan, writes),
        }
    }

    /// Plans what is ours already: a full queue is no reason to lose it.
    pub(super) fn plan(
        &self,
        generation: &Generation,
        origin: (MessageId, &Message),
        legs: &[Leg],
    ) -> Plan {
        self.plan_with(generation, origin, legs, (&|_name| true, true))
    }

    /// Plans what an operator sent on: nothing holds it any more.
    pub(super) fn plan_released(
        &self,
        generation: &Generation,
        origin: (MessageId, &Message),
        legs: &[Leg],
    ) -> Plan {
        self.plan_with(generation, origin, legs, (&|_name| true, false))
    }

    fn plan_with(
        &self,
        generation: &Generation,
        origin: (MessageId, &Message),
        legs: &[Leg],
        (has_room, may_hold): (&dyn Fn(&str) -> bool, bool),
    ) -> Plan {
        let planner = Planner {
            generation,
            now: self.clock.now(),
            is_up: &|name| self.is_usable(name),
            has_room,
            may_hold,
            may_answer: &|target, to| self.count_answer(target, to),
            new_id: &|| self.next_id(),
            return_address: &|leg| self.return_address(generation, leg),
        };
        planner.plan(origin, legs)
    }

    fn count_answer(&self, target: &str, to: &Address) -> bool {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.count(target, to, self.clock.now())
    }

    /// Whether a target's queue takes more of an account by its `queue_max`, and no operator is draining
    /// it. Batches that are being decided at this moment do not count yet.
    fn has_room(&self, generation: &Generation, name: &str, account: &str) -> bool {
        let connector = generation.config.connectors.get(name).map(|it| it.queue_max);
        let of_account = || generation.config.accounts.get(name).map(|it| it.queue_max);
        let Some(max) = connector.or_else(of_account) else { return true };
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        self.targets.load().get(name).is_none_or(|target| {
            target.stopped() != Some(StopKind::Draining) && target.has_room(max, account)
        })
    }

    pub(super) async fn decide(
        &self,
        generation: &Generation,
        message: &Arc<Message>,
        (stage, run, begin): (Stage, u32, Begin<'_>),
        events: &mut Vec<Event>,
    ) -> Decided {
        let run = Run {
            generation,
            stage,
            run,
            now: self.clock.now(),
            env: &generation.env,
            new_id: &|| self.next_id(),
        };
        let before = events.len();
        let decided = run.decide(Arc::clone(message), begin, events).await;
        for event in events.iter().skip(before) {
            let (family, plugin) = match &event.what {
                What::Fault { plugin, .. } => (&self.metrics.faults, plugin),
                What::Decided { plugin, verdict, .. } if &**verdict == PAUSED => {
                    (&self.metrics.paused, plugin)
                }
                _ => continue,
            };
            let name = plugin.split_once('@').map_or(&**plugin, |(name, _hash)| name);
            Metrics::add(family, &Arc::from(name), 1);
        }
        decided
    }
}

/// How long the peer waits for a decision at the door of a message.
fn patience(generation: &Generation, message: &Message) -> Duration {
    let listener = generation.config.listeners.get(&message.origin.door);
    match listener.map(|listener| &listener.kind) {
        Some(ListenerKind::Smtp(smtp)) => smtp.decide_within,
        Some(ListenerKind::Smpp(smpp)) => smpp.decide_within,
        None => CONNECTOR_PATIENCE,
    }
}

/// The entry under which an undecided message waits for the decider.
pub(super) fn undecided(
    message: &Message,
    reason: Arc<str>,
    faults: u8,
    now: Timestamp,
) -> Delivery {
    let nobody = || Recipient::new(Address::null_sender(), message::Wish::NOTHING);
    Delivery {
        id: message.id,
        body: message.id,
        message: message.id,
        recipient: message.recipients.first().cloned().unwrap_or_else(nobody),
        route: Arc::from(""),
        targets: vec![Arc::from(DECIDER)],
        cursor: 0,
        answers: Answers::Origin,
        sms: None,
        parts: None,
        attempts: 1,
        faults,
        due: now.after(AGAIN_MIN),
        expires: message.expires,
        priority: message.priority,
        account: Arc::clone(&message.origin.account),
        doubtful: false,
        known_as: None,
        last: Some(Cause::ours("4.3.0", reason)),
        terms: Terms::default(),
    }
}

/// The outcome that a refusal after acceptance is.
pub(super) fn outcome_of(reply: &crate::config::Reply, now: Timestamp) -> answer::Outcome {
    let cause = Cause {
        code: u32::from(reply.smtp_code),
        enhanced: Arc::clone(&reply.enhanced),
        text: Arc::clone(&reply.text),
        peer: Arc::from(""),
    };
    answer::Outcome::last(REJECTED, cause, now)
}

fn accepted(message: &Message, generation: &Generation, now: Timestamp) -> Event {
    let origin = &message.origin;
    let what = What::Accepted {
        door: Arc::clone(&origin.door),
        account: Arc::clone(&origin.account),
        peer: Arc::clone(&origin.peer),
        from: Arc::clone(&message.sender.value),
        to: message.recipients.iter().map(|to| Arc::clone(&to.address.value)).collect(),
        size: u64::try_from(message.content.size_bytes()).unwrap_or(u64::MAX),
        generation: generation.number,
    };
    Event::new(now, message.id, what)
}

fn refusal(reply: &crate::config::Reply) -> Refusal {
    Refusal::from_reply(reply, true)
}

fn later(reply: &crate::config::Reply) -> Refusal {
    Refusal::from_reply(reply, false)
}
