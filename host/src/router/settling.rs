//! The way on: what came of attempts is written, then acted on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use message::record::RecordError;
use message::{Protocol, Timestamp};
use spool::{Batch, CommitError};

use super::Router;
use super::known::Asked;
use super::receipts::awaited_key;
use super::work::{Work, concerned};
use crate::config::{ConnectorKind, OnUnknownOutcome, Receipts, Retry};
use crate::delivery::{
    Answers, Attempt, Cause, Defer, Delivery, HELD, Queued, STATE_HELD, STATE_SCHEDULED,
    STATE_UNDECIDED,
};
use crate::generation::Generation;
use crate::ledger;
use crate::observe::event::{Event, What};
use crate::observe::metrics::Metrics;
use crate::receipt::answer::{About, Outcome};
use crate::receipt::report::failed;
use crate::receipt::return_path::REPORTS;
use crate::receipt::{ACCEPTED, DELIVERED, EXPIRED, Receipt, UNDELIVERABLE};
use crate::settle::{Rules, Settlement, expire, fail_over, is_begun, settle};
use crate::target::Target;

/// How long the book knows a mail after the time for its report is over.
const AFTER_LIMIT: Duration = Duration::from_secs(86_400);
/// How long a delivery waits whose outcome could not be written.
const UNWRITTEN_WAIT: Duration = Duration::from_secs(1);

/// How often receipts that came early are tried to be written, a second apart.
const EARLY_TRIES_MAX: u32 = 60;

/// How often the spool is asked to sync what an answer tells before the answer goes all the same, a
/// second apart.
const SYNC_TRIES_MAX: u32 = 30;

/// What is done with one delivery when its outcome is written.
enum Next {
    /// It has left us.
    Finish,
    /// It stays here until its due time.
    Wait(Box<Queued>),
    /// It goes to another target.
    Move(Box<Queued>),
}

/// The outcomes of one call, in the making.
struct Settling<'a> {
    router: &'a Router,
    generation: &'a Generation,
    target: &'a Arc<Target>,
    now: Timestamp,
    /// May be lost in a crash: the delivery is repeated then.
    lazy: Work,
    /// Must be durable before anything follows.
    synced: Work,
    next: Vec<Next>,
    synced_next: Vec<(Next, Queued)>,
    early: Vec<Receipt>,
    early_reports: Vec<Receipt>,
}

impl Router {
    /// Results of attempts by `target`. Marks of delivery ride with the next commit; failures, and
    /// the answers they cause, are durable before anything follows from them.
    pub async fn settle(&self, target: &Arc<Target>, results: Vec<(Queued, Attempt)>) {
        let generation = self.generation();
        let mut settling = Settling::new(self, &generation, target);
        for (queued, attempt) in results {
            settling.note(&queued, &attempt);
            settling.one(queued, attempt);
        }
        settling.conclude().await;
    }

    /// Some parts of deliveries were taken while others are out. It is written with what is written
    /// next; if it is lost in a crash, those parts are repeated.
    pub fn note_progress(&self, target: &Target, deliveries: &[Delivery]) {
        let mut batch = Batch::new();
        for delivery in deliveries {
            match crate::spooler::entry(delivery, STATE_SCHEDULED, &target.name) {
                Ok(entry) => batch.put_entry(entry),
                Err(error) => {
                    tracing::error!(event = "record.encode", id = %delivery.id, %error);
                }
            }
        }
        if let Err(error) = self.spool.commit_later(batch) {
            tracing::debug!(event = "spool.refused", target = &*target.name, %error);
        }
    }

    /// Deliveries whose time is over: the origin is told.
    pub(super) async fn settle_expired(&self, target: &Arc<Target>, items: Vec<Queued>) {
        let generation = self.generation();
        let mut settling = Settling::new(self, &generation, target);
        for queued in items {
            let settlement = expire(&queued.delivery);
            settling.apply(queued, settlement);
        }
        settling.conclude().await;
    }

    /// Receipts that wait for an account in vain, the oldest beyond what it may have: they are given
    /// up.
    pub(super) async fn settle_excess(&self, target: &Arc<Target>, items: Vec<Queued>) {
        let generation = self.generation();
        let count = items.len();
        tracing::warn!(event = "receipt.discarded", account = &*target.name, count);
        let mut settling = Settling::new(self, &generation, target);
        for queued in items {
            let why = "more receipts wait for the account than its receipts_max, the oldest go";
            settling.apply(queued, Settlement::Expired { cause: Cause::ours("4.4.7", why) });
        }
        settling.conclude().await;
    }

    /// Deliveries of a target that is down go to others that are up.
    pub(super) async fn settle_moved(&self, target: &Arc<Target>, items: Vec<Queued>) {
        let generation = self.generation();
        let mut settling = Settling::new(self, &generation, target);
        for mut queued in items {
            let moved = settling.with_rules(&Arc::clone(&queued.delivery.route), |rules, now| {
                fail_over(&mut queued.delivery, rules, now)
            });
            if moved {
                settling.apply(queued, Settlement::Again { moved });
            } else if is_begun(&queued.delivery) {
                target.give_back_pinned(queued);
            } else {
                target.give_back(vec![queued]);
            }
        }
        settling.conclude().await;
    }
}

impl<'a> Settling<'a> {
    fn new(router: &'a Router, generation: &'a Generation, target: &'a Arc<Target>) -> Self {
        Self {
            router,
            generation,
            target,
            now: router.clock.now(),
            lazy: Work::default(),
            synced: Work::default(),
            next: Vec::new(),
            synced_next: Vec::new(),
            early: Vec::new(),
            early_reports: Vec::new(),
        }
    }

    /// What an attempt says about the target itself.
    fn note(&self, queued: &Queued, attempt: &Attempt) {
        match attempt {
            Attempt::Delivered { .. } | Attempt::Failed { .. } => self.target.note_success(),
            Attempt::Unfit { .. } => {}
            Attempt::Deferred { class, .. } => match class {
                Defer::Throttled => self.target.note_throttled(self.now),
                Defer::Connector => self.target.note_broken(self.now),
                Defer::Session => self.target.note_suspect(self.now, queued.delivery.body),
                Defer::Temporary | Defer::Limited => self.target.note_success(),
            },
            Attempt::Unknown { .. } => self.target.note_unanswered(self.now),
        }
    }

    fn one(&mut self, mut queued: Queued, attempt: Attempt) {
        if matches!(attempt, Attempt::Unknown { .. }) {
            Metrics::add(&self.router.metrics.unknown, &self.target.name, 1);
        }
        let route = Arc::clone(&queued.delivery.route);
        let origin = &queued.message.origin;
        let nobody_hears = origin.protocol == Protocol::Smpp && origin.account.is_empty();
        let settlement = self.with_rules(&route, |rules, now| {
            let rules = Rules { nobody_hears, ..*rules };
            settle(&mut queued.delivery, attempt, &rules, now)
        });
        self.apply(queued, settlement);
    }

    fn with_rules<T>(&self, route: &str, decide: impl FnOnce(&Rules<'_>, Timestamp) -> T) -> T {
        let connector = self.generation.config.connectors.get(&self.target.name);
        let route = self.generation.routes.route(route);
        let by_route = route.and_then(|route| route.options.retry.as_deref());
        let by_target = connector.map(|connector| &*connector.retry);
        let fallback;
        let retry = match by_route.or(by_target) {
            Some(retry) => retry,
            None => {
                fallback = default_retry();
                &fallback
            }
        };
        let (on_unknown, resend_whole) = match connector.map(|connector| &connector.kind) {
            Some(ConnectorKind::Smpp(smpp)) => (smpp.on_unknown_outcome, smpp.resend_whole),
            _ => (OnUnknownOutcome::Resend, false),
        };
        let rules = Rules {
            retry,
            on_unknown,
            nobody_hears: false,
            resend_whole,
            is_up: &|name| self.router.is_usable(name),
        };
        decide(&rules, self.now)
    }

    fn apply(&mut self, queued: Queued, settlement: Settlement) {
        let written = match settlement {
            Settlement::Delivered { remote, reply, tells } => {
                self.delivered(&queued, &remote, (&reply, tells))
            }
            Settlement::Again { moved } => self.again(&queued, moved),
            Settlement::Failed { cause } => {
                Metrics::add(&self.router.metrics.failed, &self.target.name, 1);
                self.target.failed.fetch_add(1, Ordering::Relaxed);
                let what = What::Failed { reason: reason(&cause) };
                let was_short = queued.was_short();
                let state = if was_short { failed(&cause.enhanced) } else { UNDELIVERABLE };
                self.given_up(&queued, what, state, cause)
            }
            Settlement::Expired { cause } => {
                Metrics::add(&self.router.metrics.expired, &self.target.name, 1);
                let what = What::Expired { reason: reason(&cause) };
                self.given_up(&queued, what, EXPIRED, cause)
            }
            Settlement::Held { cause } => self.held(&queued, &cause),
        };
        if let Err(error) = written {
            tracing::error!(event = "record.encode", id = %queued.delivery.id, %error);
            self.target.give_back(vec![queued]);
        }
    }

    fn delivered(
        &mut self,
        queued: &Queued,
        remote: &[Arc<str>],
        (reply, tells): (&Cause, bool),
    ) -> Result<(), RecordError> {
        let delivery = &queued.delivery;
        self.target.delivered.fetch_add(1, Ordering::Relaxed);
        Metrics::add(&self.router.metrics.delivered, &self.target.name, 1);
        self.lazy.batch.remove_entry(delivery.id.as_u64());
        self.lazy.batch.count(ledger::DELIVERED, &self.target.name, 1);
        let what = What::Delivered {
            target: Arc::clone(&self.target.name),
            remote: remote.to_vec(),
            reply: reason(reply),
            doubtful: delivery.doubtful,
        };
        self.lazy.events.push(Event::about(self.now, delivery.id, delivery.message, what));
        self.known(queued, remote, reply);
        self.await_receipts(queued, remote, (reply, tells))?;
        self.target.finish(delivery.id);
        Ok(())
    }

    /// Whoever took it may have more to say; if not, the origin is told what is known now.
    fn await_receipts(
        &mut self,
        queued: &Queued,
        remote: &[Arc<str>],
        (reply, tells): (&Cause, bool),
    ) -> Result<(), RecordError> {
        let until = self.now.after(self.generation.config.spool.receipts_ttl);
        let Queued { delivery, message } = queued;
        let (ask, wish) = (delivery.terms.ask, delivery.recipient.wish);
        let is_account = self.generation.config.accounts.contains_key(&self.target.name);
        let awaited = !remote.is_empty() && !is_account && ask != Receipts::Never;
        let state = if is_account { DELIVERED } else { ACCEPTED };
        if message.origin.protocol == Protocol::Internal {
            Ok(())
        } else if queued.was_short() {
            self.taken_by_relay(queued, reply, until)
        } else if awaited && (wish.any() || ask == Receipts::Always) {
            let book = &self.router.book;
            let early = book.enter(&mut self.lazy.batch, &self.target.name, queued, remote, until);
            self.early.extend(early);
            Ok(())
        } else if awaited || (delivery.terms.shared.is_none() && (tells || !wish.success)) {
            // It tells itself, more is to come, or nobody wants to know.
            Ok(())
        } else {
            let outcome = Outcome::last(state, reply.clone(), self.now);
            self.lazy.put_answer(self.router, &About::queued(queued), &outcome)
        }
    }

    /// What its sender is told when it asks: whoever took it may have more to say, or has not.
    fn known(&mut self, queued: &Queued, remote: &[Arc<str>], reply: &Cause) {
        let delivery = &queued.delivery;
        let (config, origin) = (&self.generation.config, &queued.message.origin);
        let is_account = config.accounts.contains_key(&self.target.name);
        let more_comes =
            (!remote.is_empty() && !is_account) || delivery.terms.report_within.is_some();
        let batch = &mut self.lazy.batch;
        let mut keep = |id| {
            let Some(asked) = Asked::of(config, origin, id, delivery.answers) else { return };
            if more_comes {
                asked.handed_over(batch, self.now);
            } else {
                asked.ended(batch, &Outcome::last(DELIVERED, reply.clone(), self.now));
            }
        };
        match self.router.joining.parts_of(delivery.message) {
            Some(parts) => parts.iter().for_each(|(id, _)| keep(*id)),
            None => keep(delivery.message),
        }
    }

    /// An SMS that became a mail: unless its route waits for a report, the relay's answer is the
    /// receipt. A report may come back in either case.
    fn taken_by_relay(
        &mut self,
        queued: &Queued,
        reply: &Cause,
        until: Timestamp,
    ) -> Result<(), RecordError> {
        let delivery = &queued.delivery;
        if delivery.answers == Answers::Copy {
            return Ok(());
        }
        let told = delivery.terms.report_within.is_none() && delivery.recipient.wish.success;
        if told {
            let outcome = Outcome::last(DELIVERED, reply.clone(), self.now);
            self.lazy.put_answer(self.router, &About::queued(queued), &outcome)?;
        }
        let mut until = until;
        if let Some(within) = delivery.terms.report_within {
            until = until.max(self.now.after(within).after(AFTER_LIMIT));
            let key = awaited_key(self.now.after(within), delivery.body);
            self.lazy.batch.put_key(key, Bytes::new(), spool::NEVER_MS);
        }
        let book = &self.router.book;
        let early = book.enter_report(&mut self.lazy.batch, queued, told, until);
        self.early_reports.extend(early);
        Ok(())
    }

    fn again(&mut self, queued: &Queued, moved: bool) -> Result<(), RecordError> {
        Metrics::add(&self.router.metrics.deferred, &self.target.name, 1);
        self.target.deferred.fetch_add(1, Ordering::Relaxed);
        let delivery = &queued.delivery;
        let target = delivery.target().cloned().unwrap_or_else(|| Arc::clone(&self.target.name));
        self.lazy.batch.put_entry(crate::spooler::entry(delivery, STATE_SCHEDULED, &target)?);
        let cause = delivery.last.clone().unwrap_or_else(|| Cause::ours("", ""));
        let what = What::Attempt {
            target: Arc::clone(&self.target.name),
            outcome: if delivery.doubtful { "unknown" } else { "deferred" }.into(),
            reply: reason(&cause),
            next: Some(delivery.due),
        };
        self.lazy.events.push(Event::about(self.now, delivery.id, delivery.message, what));
        let queued = Box::new(queued.clone());
        self.next.push(if moved { Next::Move(queued) } else { Next::Wait(queued) });
        Ok(())
    }

    fn given_up(
        &mut self,
        queued: &Queued,
        what: What,
        state: u8,
        cause: Cause,
    ) -> Result<(), RecordError> {
        let delivery = &queued.delivery;
        let mut work = Work::default();
        work.events.push(Event::about(self.now, delivery.id, delivery.message, what));
        work.batch.remove_entry(delivery.id.as_u64());
        let column = if state == EXPIRED { ledger::EXPIRED } else { ledger::FAILED };
        work.batch.count(column, &self.target.name, 1);
        if queued.message.origin.protocol != Protocol::Internal {
            let outcome = Outcome::last(state, cause, self.now);
            for about in concerned(queued) {
                work.put_answer(self.router, &about, &outcome)?;
            }
        }
        self.synced.absorb(work);
        self.synced_next.push((Next::Finish, queued.clone()));
        Ok(())
    }

    fn held(&mut self, queued: &Queued, cause: &Cause) -> Result<(), RecordError> {
        let mut delivery = queued.delivery.clone();
        delivery.expires = self.now.after(self.generation.config.spool.held_ttl);
        Metrics::add(&self.router.metrics.held, &queued.message.origin.door, 1);
        let entry = crate::spooler::entry(&delivery, STATE_HELD, &Arc::from(HELD))?;
        self.synced.batch.put_entry(entry);
        let what = What::Held { reason: reason(cause) };
        self.synced.events.push(Event::about(self.now, delivery.id, delivery.message, what));
        self.synced_next.push((Next::Finish, queued.clone()));
        Ok(())
    }

    async fn conclude(self) {
        let Self { router, target, mut lazy, mut synced, next, synced_next, .. } = self;
        let early =
            [(Arc::clone(&target.name), self.early), (Arc::from(REPORTS), self.early_reports)];
        let batch = std::mem::take(&mut lazy.batch);
        if !batch.is_empty() {
            router.write_later(batch).await;
        }
        let answers = std::mem::take(&mut lazy.pushes);
        lazy.act(router);
        for step in next {
            step.act(router, target);
        }
        let batch = std::mem::take(&mut synced.batch);
        if !batch.is_empty() {
            match router.spool.commit(batch).await {
                Ok(_durable) => {
                    for (step, queued) in synced_next {
                        target.finish(queued.delivery.id);
                        step.act(router, target);
                    }
                    synced.act(router);
                }
                Err(error) => {
                    router.spool_refused(&target.name, &error);
                    let now = router.clock.now();
                    for (_, mut queued) in synced_next {
                        queued.delivery.due = now.after(UNWRITTEN_WAIT);
                        target.reschedule(queued, now);
                    }
                }
            }
        }
        // An answer goes out when what it tells can no longer be forgotten. If the disk fails before
        // that, the next run finds the answer in the spool, or the delivery that it is about.
        if !answers.is_empty() && router.is_synced().await {
            router.push(answers, router.clock.now());
        }
        for (name, early) in early {
            router.early_receipts(&name, early).await;
        }
    }
}

impl Router {
    /// Receipts that waited for the answer to their submit. Their senders were told that we have
    /// them, so that nobody sends them again.
    async fn early_receipts(&self, target: &Arc<str>, receipts: Vec<Receipt>) {
        if receipts.is_empty() {
            return;
        }
        for _ in 0..EARLY_TRIES_MAX {
            let Err(refusal) = self.receipts(target, receipts.clone()).await else { return };
            let reason = &*refusal.text;
            tracing::warn!(event = "receipt.early", target = &**target, reason);
            if self.spool.poisoned().is_some() {
                // They are still parked for the next run.
                return;
            }
            self.clock.sleep(UNWRITTEN_WAIT).await;
        }
    }

    /// Waits until what was written so far is durable; false if it never will be in this run.
    async fn is_synced(&self) -> bool {
        for _ in 0..SYNC_TRIES_MAX {
            match self.spool.flush().await {
                Ok(_durable) => return true,
                Err(CommitError::Poisoned(_) | CommitError::Closed) => return false,
                Err(error) => tracing::warn!(event = "spool.unsynced", %error),
            }
            self.clock.sleep(UNWRITTEN_WAIT).await;
        }
        true
    }

    /// Writes what may be lost in a crash; waits if the spool has no room for it now.
    pub(super) async fn write_later(&self, batch: Batch) {
        if self.spool.commit_later(batch.clone()).is_ok() {
            return;
        }
        if let Err(error) = self.spool.commit(batch).await {
            // After a restart the delivery is repeated, marked as what it is.
            self.spool_refused("", &error);
        }
    }
}

impl Next {
    fn act(self, router: &Router, target: &Arc<Target>) {
        let now = router.clock.now();
        match self {
            Self::Finish => {}
            Self::Wait(queued) => target.reschedule(*queued, now),
            Self::Move(queued) => {
                target.finish(queued.delivery.id);
                let name =
                    queued.delivery.target().cloned().unwrap_or_else(|| Arc::clone(&target.name));
                router.push(vec![(name, *queued)], now);
            }
        }
    }
}

/// The spool state of a delivery by where it waits.
pub(super) fn state_at(target: &str) -> u8 {
    match target {
        HELD => STATE_HELD,
        crate::delivery::DECIDER => STATE_UNDECIDED,
        _ => STATE_SCHEDULED,
    }
}

/// For accounts, which have no schedule of their own: a bound ESME that answered "later".
fn default_retry() -> Retry {
    let delays = [5, 15, 60, 300].map(Duration::from_secs).to_vec();
    Retry { delays: crate::config::Delays::List(delays), give_up: Duration::from_secs(86_400) }
}

/// A cause in one line.
pub(super) fn reason(cause: &Cause) -> Arc<str> {
    cause.in_words()
}
