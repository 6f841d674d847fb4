//! Notices that a delivery takes long: one for each, to those who ask or who said nothing
//! (RFC 3461 §4.1).

use std::time::Duration;

use bytes::Bytes;
use message::{MessageId, Protocol, Timestamp};
use spool::{Cursor, Entry, Index};

use super::Router;
use super::work::{Work, concerned};
use crate::delivery::{Answers, Cause, HELD, Queued};
use crate::receipt::ENROUTE;
use crate::receipt::answer::Outcome;
use crate::spooler::load_entry;

/// Deliveries that are looked at in one go.
const AT_ONCE: usize = 500;
/// How long it is remembered that a notice was sent, where the delivery itself never expires.
const TOLD_TTL: Duration = Duration::from_secs(31 * 86_400);

impl Router {
    /// Looks at deliveries that have become as old as a notice is due at. Ids grow with time, so each
    /// is looked at once: after a restart once more, when the spool knows which were told.
    pub(super) async fn tell_delays(&self, last: &mut Option<Cursor>) {
        let generation = self.generation();
        let Some(bounces) = &generation.config.bounces else { return };
        if bounces.delay_after.is_zero() {
            return;
        }
        let now = self.clock.now();
        let is_old =
            |entry: &Entry| MessageId::from_u64(entry.id).time().after(bounces.delay_after) <= now;
        // One to see whether there is anything to do, which there rarely is.
        let first = self.spool.scan(&Index::Id, *last, 1);
        if !first.is_ok_and(|(first, _)| first.iter().any(is_old)) {
            return;
        }
        let Ok((entries, _)) = self.spool.scan(&Index::Id, *last, AT_ONCE) else { return };
        let mut work = Work::default();
        let mut seen = *last;
        for entry in entries.iter().take_while(|entry| is_old(entry)) {
            seen = Some(Cursor { due_ms: 0, id: entry.id });
            if let Err(error) = self.tell_delay(&mut work, entry, now) {
                tracing::error!(event = "delay.unwritten", id = entry.id, %error);
            }
        }
        let batch = std::mem::take(&mut work.batch);
        if batch.is_empty() || self.spool.commit(batch).await.is_ok() {
            work.act(self);
            *last = seen;
        }
    }

    fn tell_delay(&self, work: &mut Work, entry: &Entry, now: Timestamp) -> anyhow::Result<()> {
        let key = told_key(entry.id);
        if &*entry.target == HELD || self.spool.find(&key)?.is_some() {
            return Ok(());
        }
        // It may be delivered by now.
        let Ok(queued) = load_entry(&self.spool, entry) else { return Ok(()) };
        let Queued { delivery, message } = &queued;
        let waits_as_wished = delivery.attempts == 0 && delivery.due > now;
        let theirs = message.origin.protocol != Protocol::Internal;
        if waits_as_wished || !theirs || delivery.answers != Answers::Origin {
            return Ok(());
        }
        let why = delivery
            .last
            .clone()
            .unwrap_or_else(|| Cause::ours("4.4.7", "the next system does not take it yet"));
        let outcome = Outcome::interim(ENROUTE, why, now);
        for mut about in concerned(&queued) {
            about.recipient.wish.delay |= about.recipient.wish.unsaid;
            about.retry_until = Some(delivery.expires).filter(|it| *it != Timestamp::NEVER);
            work.put_answer(self, &about, &outcome)?;
        }
        let until = if delivery.expires == Timestamp::NEVER { now } else { delivery.expires };
        work.batch.put_key(key, Bytes::new(), until.after(TOLD_TTL).as_ms());
        Ok(())
    }
}

fn told_key(delivery: u64) -> Bytes {
    Bytes::from(format!("d/{delivery}"))
}
