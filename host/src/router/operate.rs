//! What operators and ESMEs ask about single messages, and do to them.

use std::sync::Arc;

use message::{MessageId, Timestamp};
use spool::Index;

use super::Router;
use super::damaged::remains;
use super::settling::reason;
use super::work::Work;
use crate::delivery::{Cause, DECIDER, HELD, Queued};
use crate::ledger;
use crate::queue::Waiting;
use crate::receipt::DELETED;
use crate::receipt::answer::{About, Outcome};
use crate::spooler::{LoadError, entry_of, load, load_entry};
use crate::target::{Stop, StopKind};

/// A delivery as an operator sees it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Shown {
    /// The delivery.
    pub id: String,
    /// The message it belongs to.
    pub message: String,
    /// `scheduled`, `undecided` or `held`.
    pub state: &'static str,
    /// Where it waits.
    pub target: Arc<str>,
    /// All its targets, in order.
    pub targets: Vec<Arc<str>>,
    /// Which route chose them.
    pub route: Arc<str>,
    /// Sender.
    pub from: Arc<str>,
    /// Recipient.
    pub to: Arc<str>,
    /// Where it came in.
    pub door: Arc<str>,
    /// Whose it is.
    pub account: Arc<str>,
    /// Attempts so far.
    pub attempts: u32,
    /// When it goes next.
    pub due: String,
    /// When it is given up.
    pub expires: String,
    /// When we took it.
    pub received: String,
    /// Why it waits.
    pub why: Arc<str>,
    /// It may have arrived already.
    pub doubtful: bool,
    /// 0 to 3.
    pub priority: u8,
    /// Octets of its content.
    pub size: usize,
}

impl Router {
    /// Takes a message back that still waits, durably; false if it is in flight, gone, or not the account's.
    pub async fn cancel(&self, account: &str, id: MessageId) -> bool {
        let Ok(queued) = load(&self.spool, id) else { return false };
        if &*queued.delivery.account != account {
            return false;
        }
        let name = queued.delivery.target().cloned().unwrap_or_default();
        let Some((target, queued)) = self.take_out(id, &name) else { return false };
        let mut work = Work::default();
        let cause = Cause::ours("5.0.0", "cancelled by its sender");
        let outcome = Outcome::last(DELETED, cause, self.clock.now());
        if work.put_answer(self, &About::queued(&queued), &outcome).is_err() {
            target.give_back(vec![queued]);
            return false;
        }
        work.events.push(self.operated(&queued, "cancel", "by the account that sent it"));
        work.batch.remove_entry(id.as_u64());
        work.batch.count(ledger::REMOVED, &target.name, 1);
        let batch = std::mem::take(&mut work.batch);
        if let Err(error) = self.spool.commit(batch).await {
            tracing::error!(event = "spool.refused", id = %id, %error);
            target.give_back(vec![queued]);
            return false;
        }
        target.finish(id);
        work.act(self);
        true
    }

    /// A delivery by its id.
    ///
    /// # Errors
    /// If it is not there or cannot be read.
    pub fn shown(&self, id: MessageId) -> Result<Shown, LoadError> {
        let entry = entry_of(&self.spool, id)?;
        let queued =
            load_entry(&self.spool, &entry).unwrap_or_else(|error| remains(&entry, &error));
        Ok(self.show(&queued, &entry.target))
    }

    /// Deliveries that wait, at one target or anywhere, at most `limit`.
    ///
    /// # Errors
    /// If the spool cannot be read.
    pub fn list(&self, target: Option<&str>, limit: usize) -> anyhow::Result<Vec<Shown>> {
        let index = target.map_or(Index::Id, |name| Index::Target(Arc::from(name)));
        let (entries, _) = self.spool.scan(&index, None, limit)?;
        let mut all = Vec::with_capacity(entries.len());
        for entry in entries {
            let queued = load_entry(&self.spool, &entry);
            let queued = queued.unwrap_or_else(|error| remains(&entry, &error));
            all.push(self.show(&queued, &entry.target));
        }
        Ok(all)
    }

    /// Tries everything of a target now, or of all. Returns how many were scheduled for later.
    #[must_use]
    pub fn retry_all(&self, target: Option<&str>) -> usize {
        let chosen = self.all_targets().into_iter();
        chosen
            .filter(|known| target.is_none_or(|name| *known.name == *name))
            .map(|known| known.retry_all())
            .sum()
    }

    /// A 32-bit name for a message, for peers of SMPP 3.3; the same one whenever it is asked for.
    #[must_use]
    pub fn alias(&self, id: MessageId) -> u32 {
        let mut alias = hashed(id);
        // A clash takes the next free one; after this many the receipt would find the wrong message.
        for _ in 0..64 {
            match self.unalias(alias) {
                Some(known) if known == id => return alias,
                Some(_) => alias = alias.wrapping_add(1).max(1),
                None => break,
            }
        }
        let mut batch = spool::Batch::new();
        if let Ok(value) = message::record::encode(&id) {
            let ttl = self.generation().config.spool.receipts_ttl;
            batch.put_key(alias_key(alias), value, self.clock.now().after(ttl).as_ms());
            if let Err(error) = self.spool.commit_later(batch) {
                tracing::warn!(event = "spool.refused", id = %id, %error);
            }
        }
        alias
    }

    /// The message that goes by this name.
    #[must_use]
    pub fn unalias(&self, alias: u32) -> Option<MessageId> {
        let bytes = self.spool.find(&alias_key(alias)).ok().flatten()?;
        message::record::decode(&bytes).ok()
    }

    fn show(&self, queued: &Queued, target: &Arc<str>) -> Shown {
        let (delivery, message) = (&queued.delivery, &queued.message);
        Shown {
            id: delivery.id.to_string(),
            message: delivery.message.to_string(),
            state: match &**target {
                HELD => "held",
                DECIDER => "undecided",
                _ => "scheduled",
            },
            target: Arc::clone(target),
            targets: delivery.targets.clone(),
            route: Arc::clone(&delivery.route),
            from: Arc::clone(&message.sender.value),
            to: Arc::clone(&delivery.recipient.address.value),
            door: Arc::clone(&message.origin.door),
            account: Arc::clone(&delivery.account),
            attempts: delivery.attempts,
            due: delivery.due.to_string(),
            expires: delivery.expires.to_string(),
            received: message.received.to_string(),
            why: delivery.last.as_ref().map_or_else(|| self.waits_for(target), reason),
            doubtful: delivery.doubtful,
            priority: delivery.priority,
            size: message.content.size_bytes(),
        }
    }

    /// Why the head of a queue does not move, in words.
    #[must_use]
    pub fn waits_for(&self, name: &str) -> Arc<str> {
        let Some(target) = self.target(name) else { return "its target is gone".into() };
        if let Some(Stop { kind: StopKind::Suspended, since, why }) = target.stop() {
            return format!("{name} is suspended since {since}: {why}").into();
        }
        if !target.is_up() {
            let since = target.changed();
            return if since == Timestamp::default() {
                format!("{name} was not up yet").into()
            } else {
                format!("{name} is down since {since}").into()
            };
        }
        match target.waiting(self.clock.now()) {
            Waiting::Empty => "nothing waits".into(),
            Waiting::InFlight => "it is on its way".into(),
            Waiting::Ready if target.is_stalled() => {
                format!("{name} takes nothing although it is up").into()
            }
            Waiting::Ready => "it is about to go".into(),
            Waiting::Suspended => format!("{name} is suspended").into(),
            Waiting::Due(at) => format!("it is scheduled for {at}").into(),
            Waiting::Breaker(Some(at)) => {
                format!("{name} failed; it is tried again at {at}").into()
            }
            Waiting::Breaker(None) => format!("{name} failed; a probe is on its way").into(),
            Waiting::Throttled(until) => format!("{name} asked to slow down until {until}").into(),
            Waiting::Rate(wait) => format!("the rate of {name} allows the next in {wait:?}").into(),
        }
    }
}

fn alias_key(alias: u32) -> bytes::Bytes {
    bytes::Bytes::from(format!("a/{alias:08x}"))
}

fn hashed(id: MessageId) -> u32 {
    let mixed = id.as_u64().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    u32::try_from(mixed).unwrap_or(1).max(1)
}
