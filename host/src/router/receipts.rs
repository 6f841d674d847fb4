//! The way back: receipts from next hops find their message and become answers to its origin.

use std::sync::Arc;
use std::time::Duration;

use super::Router;
use super::work::Work;
use crate::delivery::Cause;
use crate::intake::Refusal;
use crate::observe::event::{Event, What};
use crate::observe::metrics::Metrics;
use crate::receipt::answer::{About, Outcome};
use crate::receipt::{DELIVERED, Entry, Keep, Match, Receipt};

/// How long the book remembers that a final receipt was told, so that a repetition is known as one.
const DONE_TTL: Duration = Duration::from_secs(3600);

impl Router {
    /// Receipts that came from `target`. When this returns, what follows from them is durable: they
    /// may be acknowledged.
    ///
    /// # Errors
    /// The refusal, if they could not be kept: the peer shall send them again.
    pub async fn receipts(&self, target: &Arc<str>, receipts: Vec<Receipt>) -> Result<(), Refusal> {
        let mut work = Work::default();
        for receipt in receipts {
            Metrics::add(&self.metrics.receipts, target, 1);
            self.one_receipt(&mut work, target, receipt).map_err(|error| {
                tracing::error!(event = "receipt.unwritten", target = &**target, %error);
                Refusal::from_commit(&spool::CommitError::Closed)
            })?;
        }
        let batch = std::mem::take(&mut work.batch);
        if !batch.is_empty() {
            let _durable = self.spool.commit(batch).await.map_err(|error| {
                tracing::error!(event = "spool.refused", target = &**target, %error);
                Refusal::from_commit(&error)
            })?;
        }
        work.act(self);
        Ok(())
    }

    fn one_receipt(
        &self,
        work: &mut Work,
        target: &Arc<str>,
        receipt: Receipt,
    ) -> anyhow::Result<()> {
        let now = self.clock.now();
        let settings = &self.generation().config.spool;
        let keep = Keep {
            parked_until: now.after(settings.early_receipts_ttl),
            done_until: now.after(DONE_TTL),
            book_until: now.after(settings.receipts_ttl),
        };
        match self.book.find(&mut work.batch, &self.spool, target, receipt, keep)? {
            Match::Tell(entry, receipt) => {
                work.events.push(self.event(target, &entry, &receipt));
                let outcome = outcome(target, &receipt, receipt.done.unwrap_or(now));
                work.put_answer(self, &About::entry(&entry), &outcome)?;
            }
            Match::Part(entry, receipt) => work.events.push(self.event(target, &entry, &receipt)),
            Match::Repeated(entry) => {
                tracing::debug!(
                    event = "receipt.repeated", target = &**target, id = %entry.message,
                );
            }
            Match::Parked => Metrics::add(&self.metrics.receipts_unmatched, target, 1),
            Match::Unknown => {
                Metrics::add(&self.metrics.receipts_unmatched, target, 1);
                tracing::warn!(event = "receipt.unknown", target = &**target);
            }
        }
        Ok(())
    }

    fn event(&self, target: &Arc<str>, entry: &Entry, receipt: &Receipt) -> Event {
        let state = smpp::receipt::MessageState::from_number(receipt.state)
            .map_or("UNKNOWN", smpp::receipt::MessageState::word);
        let what = What::Receipt {
            target: Arc::clone(target),
            state: state.into(),
            error: Arc::clone(&receipt.error),
        };
        Event::about(self.clock.now(), entry.delivery, entry.message, what)
    }
}

fn outcome(target: &Arc<str>, receipt: &Receipt, at: message::Timestamp) -> Outcome {
    let enhanced = match receipt.state {
        DELIVERED => "2.1.5",
        crate::receipt::EXPIRED => "5.4.7",
        crate::receipt::REJECTED => "5.7.1",
        _ => "5.0.0",
    };
    let code: u32 = receipt.error.trim_start_matches('0').parse().unwrap_or(0);
    let cause = Cause {
        code: if code < 200 { code } else { 0 },
        enhanced: enhanced.into(),
        text: Arc::clone(&receipt.text),
        peer: Arc::clone(target),
    };
    Outcome { state: receipt.state, cause, at }
}
