//! What operators do to deliveries: one at a time or a page of them, in one commit.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use message::MessageId;
use message::record::RecordError;

use super::Router;
use super::damaged::remains;
use super::mandate::Mandate;
use super::settling::state_at;
use super::work::{Work, concerned};
use crate::delivery::{Cause, DECIDER, HELD, Queued, STATE_HELD, STATE_UNDECIDED};
use crate::ledger;
use crate::observe::event::{Event, What};
use crate::receipt::answer::Outcome;
use crate::receipt::{DELETED, EXPIRED, UNDELIVERABLE};
use crate::spooler::LoadError;
use crate::target::Target;

/// How long a released message is tried at most.
const RELEASED_FOR: Duration = Duration::from_secs(2 * 86_400);

/// Octets of messages that are in memory for one commit, about.
const CONTENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What is done to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// It is tried now.
    Retry,
    /// It is routed again, without plugins.
    Reroute,
    /// It is put aside.
    Hold,
    /// It is sent on after it was put aside.
    Release,
    /// It is removed; its sender is told that it failed.
    Bounce,
    /// It is removed; its sender is told that its time was over.
    Expire,
    /// It is removed; nobody is told.
    Delete,
}

impl Act {
    /// Its name on the command line, in the journal and in the log.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Reroute => "reroute",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Bounce => "bounce",
            Self::Expire => "expire",
            Self::Delete => "delete",
        }
    }

    /// Whether it is for what is held; all others but those that end a delivery are not.
    const fn fits(self, held: bool) -> bool {
        match self {
            Self::Release => held,
            Self::Retry | Self::Hold => !held,
            Self::Reroute | Self::Bounce | Self::Expire | Self::Delete => true,
        }
    }
}

/// A delivery that is taken out of its queue for an act; held ones are in none.
struct Taken {
    queued: Queued,
    from: Option<Arc<Target>>,
}

/// Deliveries that somebody works on outside of their queue; nobody else does meanwhile.
pub(super) struct Claimed<'a> {
    router: &'a Router,
    ids: BTreeSet<MessageId>,
}

impl<'a> Claimed<'a> {
    /// None yet.
    pub(super) const fn new(router: &'a Router) -> Self {
        Self { router, ids: BTreeSet::new() }
    }

    /// Claims a delivery until this goes; false if somebody else has.
    pub(super) fn claim(&mut self, id: MessageId) -> bool {
        let mut all = self.router.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = all.insert(id);
        if is_new {
            self.ids.insert(id);
        }
        is_new
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        let mut all = self.router.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        for id in &self.ids {
            all.remove(id);
        }
    }
}

impl Router {
    /// Does the same to these, in one commit; for each why not, where it did not work. It stops where
    /// memory would be short: what has no result comes in another call.
    pub async fn act_on(
        &self,
        act: Act,
        ids: &[MessageId],
        mandate: &Mandate,
    ) -> Vec<(MessageId, Result<(), String>)> {
        let mut claimed = Claimed::new(self);
        let mut work = Work::default();
        let mut taken = Vec::new();
        let mut results = Vec::with_capacity(ids.len());
        let mut bytes = 0;
        for &id in ids {
            if bytes >= CONTENT_BYTES_MAX {
                break;
            }
            let done = match self.begin_act(act, id, &mut claimed) {
                Ok(None) => Ok(()),
                Ok(Some(item)) => match self.written(act, &item.queued, mandate) {
                    Ok(more) => {
                        bytes += item.queued.message.content.size_bytes();
                        work.absorb(more);
                        taken.push(item);
                        Ok(())
                    }
                    Err(error) => {
                        give_back(item);
                        Err(error.to_string())
                    }
                },
                Err(error) => Err(error),
            };
            results.push((id, done));
        }
        if taken.is_empty() {
            return results;
        }
        let batch = std::mem::take(&mut work.batch);
        match self.spool.commit(batch).await {
            Ok(_durable) => {
                for Taken { queued, from } in taken {
                    if let Some(from) = from {
                        from.finish(queued.delivery.id);
                    }
                }
                work.act(self);
            }
            Err(error) => {
                let failed: BTreeSet<_> = taken.iter().map(|it| it.queued.delivery.id).collect();
                taken.into_iter().for_each(give_back);
                for (id, done) in &mut results {
                    if failed.contains(id) {
                        *done = Err(error.to_string());
                    }
                }
            }
        }
        results
    }

    /// Takes a delivery out of its queue; none if there is nothing more to do.
    fn begin_act(
        &self,
        act: Act,
        id: MessageId,
        claimed: &mut Claimed<'_>,
    ) -> Result<Option<Taken>, String> {
        if !claimed.claim(id) {
            return Err(format!("somebody else is about to do something to {id}"));
        }
        let entry = self.spool.entry(id.as_u64()).map_err(|error| error.to_string())?;
        let entry = entry.ok_or_else(|| LoadError::Gone.to_string())?;
        let held = entry.state == STATE_HELD;
        if !act.fits(held) {
            let text = if held { "is held: release it first" } else { "is not held" };
            return Err(format!("{id} {text}"));
        }
        let undecided = |queued: &Queued| {
            queued.delivery.targets.first().is_some_and(|name| &**name == DECIDER)
        };
        if act == Act::Retry {
            let all = self.all_targets();
            let _scheduled = all.iter().any(|target| target.retry_now(id));
            return Ok(None);
        }
        if held {
            let queued = match self.shelf.load(id) {
                Ok(queued) => queued,
                Err(error @ LoadError::Io(_)) => return Err(error.to_string()),
                Err(error) if act == Act::Delete => remains(&entry, &error),
                Err(error) => return Err(format!("{error}; only delete gives it up")),
            };
            if act == Act::Reroute && undecided(&queued) {
                return Err(format!("{id} was never routed: release it"));
            }
            return Ok(Some(Taken { queued, from: None }));
        }
        if act == Act::Reroute && entry.state == STATE_UNDECIDED {
            return Err(format!("{id} was never routed, the plugins have not decided: retry it"));
        }
        let (from, queued) = self
            .take_out(id, &entry.target)
            .ok_or_else(|| format!("{id} is being delivered right now; try again"))?;
        Ok(Some(Taken { queued, from: Some(from) }))
    }

    /// Takes a waiting delivery out of the queue that it is in, most likely that of `target`.
    pub(super) fn take_out(&self, id: MessageId, target: &str) -> Option<(Arc<Target>, Queued)> {
        let likely = self.target(target).unwrap_or_else(|| Arc::clone(&self.decider));
        std::iter::once(likely).chain(self.all_targets()).find_map(|target| {
            let queued = target.withdraw(id)?;
            Some((target, queued))
        })
    }

    /// What an act writes, and what follows from it.
    fn written(&self, act: Act, queued: &Queued, mandate: &Mandate) -> Result<Work, RecordError> {
        let now = self.clock.now();
        let mut work = Work::default();
        let why = &*mandate.why;
        work.events.push(self.operated(queued, act.word(), mandate.to_string()));
        let end = |code: &str, words: String, state: u8| {
            Some(Outcome::last(state, Cause::ours(code, words), now))
        };
        let outcome = match act {
            Act::Retry => None,
            Act::Delete => {
                work.batch.remove_entry(queued.delivery.id.as_u64());
                work.batch.count(ledger::REMOVED, &place(queued), 1);
                let cause = Cause::ours("5.0.0", "deleted by the operator");
                for about in concerned(queued) {
                    work.put_known(self, &about, &Outcome::last(DELETED, cause.clone(), now));
                }
                return Ok(work);
            }
            Act::Bounce => end("5.0.0", format!("returned by the operator: {why}"), UNDELIVERABLE),
            Act::Expire => end("4.4.7", format!("expired by the operator: {why}"), EXPIRED),
            Act::Hold => {
                self.hold(queued, &mut work, format!("by the operator: {why}").into())?;
                None
            }
            Act::Reroute => {
                self.reroute(&self.generation(), queued, &mut work)?;
                None
            }
            Act::Release => {
                self.released(queued, &mut work)?;
                None
            }
        };
        if let Some(outcome) = outcome {
            work.batch.remove_entry(queued.delivery.id.as_u64());
            let column = if act == Act::Expire { ledger::EXPIRED } else { ledger::FAILED };
            work.batch.count(column, &place(queued), 1);
            for about in concerned(queued) {
                work.put_answer(self, &about, &outcome)?;
            }
        }
        Ok(work)
    }

    /// A held message goes on: to its targets, or if it has none through the rest of the pipeline: the
    /// plugins that have spoken do not speak again, and no hold counts any more.
    fn released(&self, queued: &Queued, work: &mut Work) -> Result<(), RecordError> {
        let now = self.clock.now();
        let mut delivery = queued.delivery.clone();
        if delivery.targets.first().is_none_or(|name| &**name == HELD) {
            delivery.targets = vec![Arc::from(DECIDER)];
            delivery.route = delivery.route_released();
        }
        (delivery.faults, delivery.due) = (0, now);
        delivery.expires = queued.message.expires.min(now.after(RELEASED_FOR));
        let target = delivery.target().cloned().unwrap_or_else(|| Arc::from(DECIDER));
        let state = state_at(&target);
        work.put(delivery, &queued.message, (state, target))
    }

    pub(super) fn operated(
        &self,
        queued: &Queued,
        action: &str,
        detail: impl Into<Arc<str>>,
    ) -> Event {
        let delivery = &queued.delivery;
        let what = What::Operator { action: action.into(), detail: detail.into() };
        Event::about(self.clock.now(), delivery.id, delivery.message, what)
    }
}

/// The target in whose column of the ledger a delivery ends.
fn place(queued: &Queued) -> Arc<str> {
    queued.delivery.target().cloned().unwrap_or_else(|| Arc::from(DECIDER))
}

fn give_back(Taken { queued, from }: Taken) {
    if let Some(from) = from {
        from.give_back(vec![queued]);
    }
}
