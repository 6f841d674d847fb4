//! Parts of concatenated short messages wait for each other, and go on as one message.
//!
//! Each part is in the spool before it is answered, as an undecided message that is due when it has
//! waited long enough: whatever happens, the decider takes it up then as it is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use message::record::{self, RecordError};
use message::{Message, MessageId, Timestamp, Wish};
use spool::Batch;
use tokio::sync::Notify;

use super::Router;
use super::accept::{Fated, undecided};
use super::known::Asked;
use super::work::Work;
use crate::config::{ConnectorKind, Join};
use crate::convert::zero_at;
use crate::delivery::{Answers, DECIDER, Delivery, JOINING, Queued, STATE_UNDECIDED};
use crate::generation::Generation;
use crate::ledger;
use crate::observe::event::{Event, What};
use crate::receipt::answer::About;
use crate::route::Envelope;
use crate::sms::join::sets::{Complete, Entrance, Sets};
use crate::sms::join::{Part, join, part};
use crate::spooler;

/// Messages that are joined in one commit.
const AT_ONCE: usize = 64;
/// After a commit that failed.
const AGAIN: Duration = Duration::from_secs(1);
/// Keys that say which parts a message was.
const PREFIX: &[u8] = b"j/";
/// Those that are read in one go.
const PAGE: usize = 5000;
/// How long the parts of a message are remembered: the longest that it may take, and its receipt.
const PARTS_TTL: Duration = Duration::from_secs(120 * 86_400);

/// Ids that an origin was given, and what it wants to hear of each.
type Parts = Arc<[(MessageId, Wish)]>;

/// What waits to be joined, and what was joined and is not answered yet.
#[derive(Debug, Default)]
pub(super) struct Joining {
    sets: Sets,
    complete: Notify,
    /// Parts of messages whose origin still wants to hear of them.
    owed: Mutex<HashMap<MessageId, Parts>>,
    owed_count: AtomicUsize,
}

impl Joining {
    /// Reads what is not answered yet.
    ///
    /// # Errors
    /// If the spool cannot be read.
    pub(super) fn open(spool: &spool::Spool) -> anyhow::Result<Self> {
        let joining = Self::default();
        let mut after: Option<Bytes> = None;
        loop {
            let keys = spool.keys_with_prefix(PREFIX, after.as_deref(), PAGE)?;
            let Some(last) = keys.last() else { return Ok(joining) };
            after = Some(last.key.clone());
            for key in &keys {
                let (id, parts): (MessageId, Vec<(MessageId, Wish)>) = record::decode(&key.value)?;
                joining.owe(id, parts.into());
            }
        }
    }

    fn owe(&self, id: MessageId, parts: Parts) {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        owed.insert(id, parts);
        self.owed_count.store(owed.len(), Ordering::Relaxed);
    }

    /// The parts that a message was, under whose ids its origin knows it; none of most messages.
    pub(super) fn parts_of(&self, id: MessageId) -> Option<Parts> {
        if self.owed_count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.owed.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn forget_owed_before(&self, at: Timestamp) {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        owed.retain(|id, _| id.time() >= at);
        self.owed_count.store(owed.len(), Ordering::Relaxed);
    }

    /// Its origin was told the end.
    pub(super) fn paid(&self, id: MessageId) {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        owed.remove(&id);
        self.owed_count.store(owed.len(), Ordering::Relaxed);
    }
}

/// The key of the parts of a message.
pub(super) fn key(id: MessageId) -> Bytes {
    Bytes::from([PREFIX, &id.as_u64().to_be_bytes()].concat())
}

impl Router {
    /// Whether a message that comes in is a part that waits for others.
    pub(super) fn seat(&self, generation: &Generation, message: &Message) -> Option<Fated> {
        let part = part(message)?;
        if !self.is_joined(generation, message) {
            return None;
        }
        match self.joining.sets.entrance(&part) {
            Entrance::Waits => Some(Fated::Part(part)),
            Entrance::Repeated => Some(Fated::Repeated),
            Entrance::Full => {
                tracing::warn!(event = "join.full", door = &*message.origin.door, id = %message.id);
                None
            }
        }
    }

    /// By what the configuration says of its door; if nothing, whether it may become a mail.
    fn is_joined(&self, generation: &Generation, message: &Message) -> bool {
        let (config, origin) = (&generation.config, &message.origin);
        let join = match config.connectors.get(&origin.door).map(|connector| &connector.kind) {
            Some(ConnectorKind::Smpp(smpp)) => smpp.join,
            _ => config.accounts.get(&origin.account).map_or(Join::Auto, |account| account.join),
        };
        let recipient = match (join, message.recipients.first()) {
            (Join::Always, _) => return true,
            (Join::Never, _) | (Join::Auto, None) => return false,
            (Join::Auto, Some(recipient)) => recipient,
        };
        let envelope = Envelope {
            door: &origin.door,
            account: &origin.account,
            protocol: origin.protocol,
            sender: message.sender.normal(),
            recipient: recipient.address.normal(),
            now: self.clock.now(),
        };
        generation.routes.possible_targets(&envelope).into_iter().any(|name| {
            let connector = config.connectors.get(name);
            connector.is_some_and(|connector| matches!(connector.kind, ConnectorKind::Smtp(_)))
        })
    }

    /// Writes a part that waits.
    pub(super) fn put_part(
        &self,
        work: &mut Work,
        generation: &Generation,
        message: &Arc<Message>,
        part: Part,
    ) -> Result<(), RecordError> {
        let now = self.clock.now();
        let words = format!("part {} of {}, the others are to come", part.sequence, part.total());
        let reason: Arc<str> = words.into();
        work.events.push(Event::new(
            now,
            message.id,
            What::Undecided { reason: Arc::clone(&reason) },
        ));
        let delivery = Delivery {
            route: Arc::from(JOINING),
            attempts: 0,
            due: now.after(generation.config.node.join_within),
            ..undecided(message, reason, 0, now)
        };
        work.put(delivery, message, (STATE_UNDECIDED, Arc::from(DECIDER)))?;
        work.parts.push((part, message.id));
        Ok(())
    }

    /// A part is durable.
    pub(super) fn note_part(&self, part: &Part, id: MessageId) {
        for other in self.joining.sets.add(part, id) {
            let _scheduled = self.decider.retry_now(other);
        }
        self.joining.complete.notify_one();
    }

    /// After a start: a part that waited before.
    pub(super) fn recover_part(&self, delivery: &Delivery) {
        if *delivery.route != *JOINING {
            return;
        }
        // What cannot be read is found by the decider when it is due.
        let message = spooler::message(&self.spool, delivery.body).ok();
        if let Some(part) = message.as_ref().and_then(part) {
            self.note_part(&part, delivery.id);
        }
    }

    /// A part that has waited in vain, or that an operator sends on, is decided as it is.
    pub(super) fn give_up_joining(&self, queued: &mut Queued) {
        if *queued.delivery.route != *JOINING {
            return;
        }
        queued.delivery.route = Arc::from("");
        if let Some(part) = part(&queued.message) {
            self.joining.sets.forget(&part, queued.delivery.id);
        }
    }

    /// Parts of concatenated SMS that wait for the others.
    #[must_use]
    pub fn parts_waiting(&self) -> usize {
        self.joining.sets.waiting()
    }

    /// Forgets what went on without being joined.
    pub(super) fn sweep_joining(&self) {
        let within = self.generation().config.node.join_within;
        let at = self.clock.now().as_ms().saturating_sub(2 * millis(within));
        self.joining.sets.forget_before(Timestamp::from_ms(at));
        let at = self.clock.now().as_ms().saturating_sub(millis(PARTS_TTL));
        self.joining.forget_owed_before(Timestamp::from_ms(at));
    }

    /// Joins what is complete until the router stops.
    pub async fn run_joining(self: Arc<Self>) {
        let stopping = self.tasks.stopping().clone();
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                () = self.joining.complete.notified() => {}
            }
            loop {
                let complete = self.joining.sets.take_complete(AT_ONCE);
                if complete.is_empty() {
                    break;
                }
                if let Err(complete) = self.join(complete).await {
                    self.joining.sets.put_back(complete);
                    tokio::select! {
                        biased;
                        () = stopping.cancelled() => return,
                        () = self.clock.sleep(AGAIN) => {}
                    }
                }
            }
        }
    }

    /// Makes messages of their parts, in one commit; an error gives back what was not.
    async fn join(&self, complete: Vec<Complete>) -> Result<(), Vec<Complete>> {
        let generation = self.generation();
        let mut work = Work::default();
        let mut taken = Vec::new();
        for Complete { parts: ids } in complete {
            let parts: Vec<Queued> =
                ids.iter().filter_map(|id| self.decider.withdraw(*id)).collect();
            if parts.len() < ids.len() {
                // One was decided by itself, or is gone: so are the others.
                self.go_alone(parts);
                continue;
            }
            let mut one = Work::default();
            let id = self.next_id();
            match self.put_joined(&generation, id, &parts, &mut one).await {
                Ok(()) => {
                    work.absorb(one);
                    taken.push((id, parts));
                }
                Err(error) => {
                    tracing::error!(event = "record.encode", %error);
                    self.go_alone(parts);
                }
            }
        }
        let batch = std::mem::take(&mut work.batch);
        if batch.is_empty() {
            return Ok(());
        }
        match self.spool.commit(batch).await {
            Ok(_durable) => {
                for part in taken.iter().flat_map(|(_, parts)| parts) {
                    self.decider.finish(part.delivery.id);
                }
                work.act(self);
                Ok(())
            }
            Err(error) => {
                tracing::error!(event = "spool.refused", target = DECIDER, %error);
                let again = taken.into_iter().map(|(id, parts)| {
                    self.joining.paid(id);
                    let ids = parts.iter().map(|part| part.delivery.id).collect();
                    self.decider.give_back(parts);
                    Complete { parts: ids }
                });
                Err(again.collect())
            }
        }
    }

    fn go_alone(&self, parts: Vec<Queued>) {
        let ids: Vec<MessageId> = parts.iter().map(|part| part.delivery.id).collect();
        self.decider.give_back(parts);
        for id in ids {
            let _scheduled = self.decider.retry_now(id);
        }
    }

    /// The message takes the place of its parts, and is decided like any other.
    async fn put_joined(
        &self,
        generation: &Arc<Generation>,
        id: MessageId,
        parts: &[Queued],
        work: &mut Work,
    ) -> Result<(), RecordError> {
        let now = self.clock.now();
        let messages: Vec<&Message> = parts.iter().map(|part| &*part.message).collect();
        let zero = messages.first().map(|first| zero_at(&generation.config, first));
        let message = zero.and_then(|zero| join(&messages, zero, id));
        let Some(message) = message.map(Arc::new) else { return Ok(()) };
        let door = Arc::clone(&message.origin.door);
        for part in parts {
            work.batch.remove_entry(part.delivery.id.as_u64());
            let what = What::Joined { into: message.id };
            work.events.push(Event::new(now, part.delivery.id, what));
        }
        work.batch.count(ledger::JOINED, &door, u64::try_from(parts.len()).unwrap_or(u64::MAX));
        work.batch.count(ledger::BORN, &door, 1);
        let what = What::Born {
            kind: "joined".into(),
            to: message
                .recipients
                .first()
                .map_or(Arc::from(""), |to| Arc::clone(&to.address.value)),
        };
        work.events.push(Event::new(now, message.id, what));
        self.put_owed(generation, &message, parts, &mut work.batch)?;
        let delivery = undecided(&message, "its parts are here".into(), 0, now);
        self.rerun(generation, &Queued { delivery, message }, work).await
    }

    /// The origin knows the parts: what becomes of the message is told of each.
    fn put_owed(
        &self,
        generation: &Generation,
        message: &Message,
        parts: &[Queued],
        batch: &mut Batch,
    ) -> Result<(), RecordError> {
        let ids: Vec<(MessageId, Wish)> = parts
            .iter()
            .filter_map(|part| Some((part.delivery.message, part.message.recipients.first()?.wish)))
            .collect();
        for (id, _) in &ids {
            let asked = Asked::of(&generation.config, &message.origin, *id, Answers::Origin);
            if let Some(asked) = asked {
                asked.handed_over(batch, self.clock.now());
            }
        }
        if ids.iter().any(|(_, wish)| wish.any()) {
            let until = self.clock.now().after(PARTS_TTL);
            batch.put_key(key(message.id), record::encode(&(message.id, &ids))?, until.as_ms());
            self.joining.owe(message.id, ids.into());
        }
        Ok(())
    }
}

/// The same about each part that a message was.
pub(super) fn each_part(about: &About, parts: &[(MessageId, Wish)]) -> Vec<About> {
    let each = parts.iter().map(|&(message, wish)| {
        let mut about = About { message, ..about.clone() };
        about.recipient.wish = wish;
        about
    });
    each.collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
