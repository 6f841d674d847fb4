//! The way back: receipts from next hops find their message and become answers to its origin.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use message::{MessageId, Timestamp};

use super::Router;
use super::work::Work;
use crate::config::SpoolConfig;
use crate::delivery::Cause;
use crate::intake::{Accepted, Proof, Refusal};
use crate::observe::event::{Event, What};
use crate::observe::metrics::Metrics;
use crate::plugin::{Fault, ReceiptCall, SeenReceipt};
use crate::receipt::answer::{About, Outcome};
use crate::receipt::return_path::REPORTS;
use crate::receipt::{DELIVERED, Entry, Keep, Match, Receipt, UNDELIVERABLE, UNKNOWN, report};

/// How long the book remembers that a final receipt was told, so that a repetition is known as one.
const DONE_TTL: Duration = Duration::from_secs(3600);
/// Mails whose report did not come in time that are handled in one go.
const AWAITED_AT_ONCE: usize = 1000;
/// The code of the GSM network for a subscriber that it does not know (3GPP 29.002 §17.6.6).
const UNKNOWN_SUBSCRIBER: u32 = 1;

impl Router {
    /// Receipts that came from `target`. When this returns, what follows from them is durable: they
    /// may be acknowledged.
    ///
    /// # Errors
    /// The refusal, if they could not be kept: the peer shall send them again.
    pub async fn receipts(&self, target: &Arc<str>, receipts: Vec<Receipt>) -> Result<(), Refusal> {
        let mut work = Work::default();
        for receipt in receipts {
            if let Err(error) = self.one_receipt(&mut work, (target, None), receipt).await {
                return Err(self.unwritten(work, target, &error));
            }
        }
        self.conclude_receipts(work, target).await.map(|_proof| ())
    }

    /// A mail that came for the return address of the leg `of`, under the id `own`. Whatever it is, it
    /// is taken and never answered by another mail: what a report says goes into the book, what cannot
    /// be read goes into the journal.
    ///
    /// # Errors
    /// The refusal, if what it says could not be kept: the peer shall send it again.
    pub async fn report(
        &self,
        of: MessageId,
        own: MessageId,
        raw: &Bytes,
    ) -> Result<Accepted, Refusal> {
        let target: Arc<str> = Arc::from(REPORTS);
        let mut work = Work::default();
        match report::read(raw, of) {
            Some(receipt) => {
                let kept = self.one_receipt(&mut work, (&target, Some((own, of))), receipt).await;
                if let Err(error) = kept {
                    return Err(self.unwritten(work, &target, &error));
                }
            }
            None => {
                Metrics::add(&self.metrics.receipts, &target, 1);
                Metrics::add(&self.metrics.receipts_unmatched, &target, 1);
                tracing::info!(event = "report.unreadable", id = %of);
                let (state, error) = ("UNREADABLE".into(), "".into());
                let what = What::Receipt { target: Arc::clone(&target), state, error, late: true };
                work.events.push(Event::about(self.clock.now(), own, of, what));
            }
        }
        let proof = self.conclude_receipts(work, &target).await?;
        Ok(Accepted::new(own, proof))
    }

    /// Mails that were SMS and whose report did not come within the time of their route: their senders
    /// are told that nobody knows.
    pub(super) async fn give_up_reports(&self) {
        loop {
            let now = self.clock.now();
            let Ok(keys) = self.spool.keys_with_prefix(AWAITED, None, AWAITED_AT_ONCE) else {
                return;
            };
            let due: Vec<_> = keys
                .iter()
                .filter_map(|key| Some((key.key.clone(), awaited(&key.key)?)))
                .take_while(|(_, (until, _))| *until <= now)
                .collect();
            if due.is_empty() {
                return;
            }
            let mut work = Work::default();
            for (key, (_, id)) in &due {
                work.batch.remove_key(key.clone());
                if let Err(error) = self.give_up_report(&mut work, *id) {
                    let _later = self.unwritten(work, REPORTS, &error);
                    return;
                }
            }
            if self.conclude_receipts(work, &Arc::from(REPORTS)).await.is_err() {
                return;
            }
        }
    }

    fn give_up_report(&self, work: &mut Work, id: MessageId) -> anyhow::Result<()> {
        let (now, keep) = (self.clock.now(), self.keep(REPORTS));
        let place = (REPORTS, &*id.to_string());
        let given_up = self.book.give_up(&mut work.batch, &self.spool, place, keep)?;
        let Some((entry, undo)) = given_up else { return Ok(()) };
        work.undo.push(undo);
        let text = "no report came in time";
        let what = What::Receipt {
            target: Arc::from(REPORTS),
            state: "UNKNOWN".into(),
            error: text.into(),
            late: false,
        };
        work.events.push(Event::about(now, entry.delivery, entry.message, what));
        let outcome = Outcome::last(UNKNOWN, Cause::ours("4.4.7", text), now);
        work.put_answer(self, &About::entry(&entry), &outcome)?;
        Ok(())
    }

    /// Nothing of this is written: what the book took for told is not.
    fn unwritten(&self, work: Work, target: &str, error: &anyhow::Error) -> Refusal {
        tracing::error!(event = "receipt.unwritten", target, %error);
        self.book.undo(work.undo.into_iter());
        Refusal::from_commit(&spool::CommitError::Closed)
    }

    /// Commits what receipts led to.
    async fn conclude_receipts(&self, mut work: Work, target: &Arc<str>) -> Result<Proof, Refusal> {
        let batch = std::mem::take(&mut work.batch);
        let committing = if batch.is_empty() {
            // What a repetition repeats may still be on its way to the disk.
            self.spool.flush()
        } else {
            self.spool.commit(batch)
        };
        match committing.await {
            Ok(durable) => {
                work.act(self);
                Ok(Proof::Durable(Arc::new(durable)))
            }
            Err(error) => {
                tracing::error!(event = "spool.refused", target = &**target, %error);
                self.book.undo(work.undo.into_iter());
                Err(Refusal::from_commit(&error))
            }
        }
    }

    fn keep(&self, target: &str) -> Keep {
        let now = self.clock.now();
        let SpoolConfig { early_receipts_ttl, receipts_ttl, .. } = self.generation().config.spool;
        // A return address lives as long as the book: a second report is no stranger.
        let done_ttl = if target == REPORTS { receipts_ttl } else { DONE_TTL };
        Keep {
            parked_until: now.after(early_receipts_ttl),
            done_until: now.after(done_ttl),
            book_until: now.after(receipts_ttl),
        }
    }

    /// One receipt; of a report also its own id, and the leg that it is about.
    async fn one_receipt(
        &self,
        work: &mut Work,
        (target, report): (&Arc<str>, Option<(MessageId, MessageId)>),
        receipt: Receipt,
    ) -> anyhow::Result<()> {
        let now = self.clock.now();
        let keep = self.keep(target);
        let what = |late| What::Receipt {
            target: Arc::clone(target),
            state: word(receipt.state).into(),
            error: Arc::clone(&receipt.error),
            late,
        };
        let (known, strange) = (what(false), what(true));
        let about = |entry: &Entry, what| {
            let id = report.map_or(entry.delivery, |(own, _)| own);
            Event::about(now, id, entry.message, what)
        };
        Metrics::add(&self.metrics.receipts, target, 1);
        let (found, undo) = self.book.find(&mut work.batch, &self.spool, target, receipt, keep)?;
        work.undo.push(undo);
        match found {
            Match::Tell(entry, receipt) => {
                work.events.push(about(&entry, known));
                if !self.is_told(work, target, &entry, &receipt).await? {
                    return Ok(());
                }
                let outcome = outcome(target, &receipt, receipt.done.unwrap_or(now));
                work.put_answer(self, &About::entry(&entry), &outcome)?;
            }
            Match::Part(entry, _) => work.events.push(about(&entry, known)),
            Match::Repeated(entry, _) => {
                work.events.push(about(&entry, strange));
                tracing::debug!(
                    event = "receipt.repeated", target = &**target, id = %entry.message,
                );
            }
            found @ (Match::Parked | Match::Unknown) => {
                Metrics::add(&self.metrics.receipts_unmatched, target, 1);
                if let Some((own, of)) = report {
                    work.events.push(Event::about(now, own, of, strange));
                }
                if found == Match::Unknown {
                    tracing::warn!(event = "receipt.unknown", target = &**target);
                }
            }
        }
        Ok(())
    }

    /// Shows a receipt to the plugins that look at receipts: whether the origin is told of it. A
    /// fault passes it on.
    ///
    /// # Errors
    /// The router has no room to ask a plugin: the peer shall send the receipt again.
    async fn is_told(
        &self,
        work: &mut Work,
        target: &Arc<str>,
        entry: &Entry,
        receipt: &Receipt,
    ) -> anyhow::Result<bool> {
        let generation = self.generation();
        let seen = SeenReceipt {
            message: entry.message,
            recipient: entry.recipient.address.clone(),
            target: Arc::clone(target),
            state: receipt.state,
            error: Arc::clone(&receipt.error),
            text: Arc::clone(&receipt.text),
        };
        let mut told = true;
        for slot in generation.plugins.iter().filter(|slot| slot.runs_at(&entry.origin.door)) {
            let call = ReceiptCall { receipt: &seen, env: &generation.env };
            let plugin = Arc::clone(&slot.label);
            let what = match slot.plugin.see_receipt(call).await {
                None => continue,
                Some(Ok(judgement)) => {
                    work.put_kv(judgement.kv);
                    work.claims.push(judgement.claims);
                    if judgement.tell {
                        continue;
                    }
                    told = false;
                    let (verdict, detail) = ("silence".into(), "the origin is not told".into());
                    What::Decided { plugin, verdict, detail, micros: 0 }
                }
                Some(Err(busy @ Fault::Busy(_))) => {
                    anyhow::bail!("plugin {} waits: {busy}", slot.config.name)
                }
                Some(Err(fault)) => {
                    Metrics::add(&self.metrics.faults, &slot.config.name, 1);
                    let id = entry.message;
                    tracing::warn!(event = "plugin.fault", plugin = &*plugin, %id, error = %fault);
                    What::Fault { plugin, detail: fault.to_string().into() }
                }
            };
            let now = self.clock.now();
            work.events.push(Event::about(now, entry.delivery, entry.message, what));
        }
        Ok(told)
    }
}

/// Before the keys of mails whose report is awaited; the deadline and the leg follow.
const AWAITED: &[u8] = b"w/";

/// The key under which a leg waits for its report until then.
pub(super) fn awaited_key(until: Timestamp, leg: MessageId) -> Bytes {
    Bytes::from(format!("w/{:020}/{leg}", until.as_ms()))
}

fn awaited(key: &[u8]) -> Option<(Timestamp, MessageId)> {
    let text = std::str::from_utf8(key.strip_prefix(AWAITED)?).ok()?;
    let (until, leg) = text.split_once('/')?;
    Some((Timestamp::from_ms(until.parse().ok()?), leg.parse().ok()?))
}

fn word(state: u8) -> &'static str {
    smpp::receipt::MessageState::from_number(state)
        .map_or("UNKNOWN", smpp::receipt::MessageState::word)
}

fn outcome(target: &Arc<str>, receipt: &Receipt, at: Timestamp) -> Outcome {
    let code: u32 = receipt.error.trim_start_matches('0').parse().unwrap_or(0);
    let code = if code < 200 { code } else { 0 };
    let enhanced: Arc<str> = match receipt.state {
        _ if &**target == REPORTS => Arc::clone(&receipt.error),
        DELIVERED => "2.1.5".into(),
        crate::receipt::EXPIRED => "4.4.7".into(),
        crate::receipt::REJECTED => "5.7.1".into(),
        UNDELIVERABLE if code == UNKNOWN_SUBSCRIBER => "5.1.1".into(),
        crate::receipt::ENROUTE | crate::receipt::SCHEDULED => "4.4.7".into(),
        _ => "5.0.0".into(),
    };
    let text = if &**target == REPORTS {
        Arc::clone(&receipt.text)
    } else {
        // Not the text of the receipt: it is that of the message.
        format!("{} err:{}", word(receipt.state), receipt.error).into()
    };
    let cause = Cause { code, enhanced, text, peer: Arc::clone(target) };
    if receipt.is_final() {
        Outcome::last(receipt.state, cause, at)
    } else {
        Outcome::interim(receipt.state, cause, at)
    }
}
