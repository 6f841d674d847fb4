//! What operators do to many deliveries: a job walks through the spool page by page, in the order of
//! ids, and can be watched and cancelled. Jobs end with the process; what they did stays done.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use message::{MessageId, Timestamp};
use serde::Serialize;
use spool::{Cursor, Entry, Index};

use super::mandate::Mandate;
use super::{Act, Router};
use crate::config::Glob;
use crate::delivery::{Cause, Delivery, STATE_HELD, STATE_SCHEDULED, STATE_UNDECIDED};
use crate::observe::event::{Event, What};
use crate::spooler::delivery_of;

/// Entries that are looked at in one go.
const PAGE: usize = 500;
/// Deliveries that are changed in one commit.
const COMMIT: usize = 50;
/// The pause between pages: a job never takes more than its share of disk and processor.
const BREATH: Duration = Duration::from_millis(2);
/// Jobs that run at one time.
const RUNNING_MAX: usize = 4;
/// Jobs that are remembered.
const REMEMBERED_MAX: usize = 100;
/// Deliveries that a report shows.
const SAMPLES_MAX: usize = 10;

/// Which deliveries a job is about: those that fit everything that is given.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Bound for this connector or account next.
    pub target: Option<Arc<str>>,
    /// `scheduled`, `undecided` or `held`.
    pub state: Option<u8>,
    /// Of this account.
    pub account: Option<Arc<str>>,
    /// To recipients of this shape.
    pub to: Option<Glob>,
    /// Taken at least so long ago.
    pub older_than: Option<Duration>,
}

impl Filter {
    /// Reads a state.
    ///
    /// # Errors
    /// A sentence, if there is no such state.
    pub fn state_of(word: &str) -> Result<u8, String> {
        match word {
            "scheduled" => Ok(STATE_SCHEDULED),
            "undecided" => Ok(STATE_UNDECIDED),
            "held" => Ok(STATE_HELD),
            other => Err(format!("\"{other}\" is no state: it is scheduled, undecided or held")),
        }
    }

    /// Whether nothing is asked for: everything fits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.target.is_none()
            && self.state.is_none()
            && self.account.is_none()
            && self.to.is_none()
            && self.older_than.is_none()
    }

    fn fits(&self, entry: &Entry, delivery: &Delivery, now: Timestamp) -> bool {
        self.target.as_ref().is_none_or(|name| {
            *entry.target == **name
                // What is held keeps the target that it is bound for.
                || entry.state == STATE_HELD && delivery.target() == Some(name)
        }) && self.state.is_none_or(|state| entry.state == state)
            && self.account.as_ref().is_none_or(|name| *entry.account == **name)
            && self.to.as_ref().is_none_or(|to| to.matches(&delivery.recipient.address.value))
            && self.older_than.is_none_or(|age| now.since(delivery.id.time()) >= age)
    }

    fn words(&self) -> String {
        let state = self.state.map(|state| match state {
            STATE_HELD => "held",
            STATE_UNDECIDED => "undecided",
            _ => "scheduled",
        });
        let parts = [
            self.target.as_ref().map(|name| format!("target {name}")),
            state.map(|state| format!("state {state}")),
            self.account.as_ref().map(|name| format!("account {name}")),
            self.to.as_ref().map(|to| format!("to {}", to.source())),
            self.older_than.map(|age| format!("older than {age:?}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { "everything".to_owned() } else { parts.join(", ") }
    }
}

/// A job as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct JobShown {
    /// Its number, for watching and cancelling.
    pub id: u64,
    /// What it does.
    pub act: &'static str,
    /// To which deliveries.
    pub filter: String,
    /// Why, in the words of the operator.
    pub why: Arc<str>,
    /// The operator; empty if it is not known.
    pub by: Arc<str>,
    /// Whether it only counts.
    pub dry_run: bool,
    /// `running`, `done`, `cancelled` or `failed`.
    pub state: &'static str,
    /// When it began.
    pub started: String,
    /// When it ended.
    pub ended: Option<String>,
    /// Entries that it looked at.
    pub looked_at: u64,
    /// Entries in the spool when it began.
    pub of: u64,
    /// Those that fit.
    pub matched: u64,
    /// Those to which it was done.
    pub done: u64,
    /// Those to which it could not be done; in flight, most likely.
    pub failed: u64,
    /// Why the last of those could not.
    pub problem: Option<String>,
    /// Some of those that fit.
    pub samples: Vec<Sample>,
}

impl JobShown {
    fn mandate(&self) -> Mandate {
        Mandate { why: Arc::clone(&self.why), by: Arc::clone(&self.by) }
    }
}

/// A delivery that fits.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    id: String,
    target: Arc<str>,
    account: Arc<str>,
    to: Arc<str>,
    why: Arc<str>,
}

/// All jobs since the start, as many as are remembered.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    all: Mutex<BTreeMap<u64, Arc<Job>>>,
}

#[derive(Debug)]
struct Job {
    act: Act,
    filter: Filter,
    cancelled: AtomicBool,
    shown: Mutex<JobShown>,
}

impl Job {
    fn shown(&self) -> MutexGuard<'_, JobShown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Router {
    /// Starts a job, or one that only counts. Returns its number.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn start_job(
        self: &Arc<Self>,
        act: Act,
        filter: Filter,
        mandate: &Mandate,
        dry_run: bool,
    ) -> Result<u64, String> {
        let mut all = self.jobs.all.lock().unwrap_or_else(PoisonError::into_inner);
        let running = all.values().filter(|job| job.shown().state == "running").count();
        if running >= RUNNING_MAX {
            return Err(format!("{running} jobs run already: wait, or cancel one"));
        }
        let id = all.last_key_value().map_or(1, |(last, _)| last + 1);
        let shown = JobShown {
            id,
            act: act.word(),
            filter: filter.words(),
            why: Arc::clone(&mandate.why),
            by: Arc::clone(&mandate.by),
            dry_run,
            state: "running",
            started: self.clock.now().to_string(),
            ended: None,
            looked_at: 0,
            of: self.spool.entries(),
            matched: 0,
            done: 0,
            failed: 0,
            problem: None,
            samples: Vec::new(),
        };
        let cancelled = AtomicBool::new(false);
        let job = Arc::new(Job { act, filter, cancelled, shown: Mutex::new(shown) });
        all.insert(id, Arc::clone(&job));
        if all.len() > REMEMBERED_MAX
            && let Some(oldest) =
                all.iter().find(|(_, job)| job.shown().state != "running").map(|(&id, _)| id)
        {
            all.remove(&oldest);
        }
        drop(all);
        self.tasks.spawn("queue job", Arc::clone(self).run_job(job));
        Ok(id)
    }

    /// All jobs that are remembered, the newest first.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobShown> {
        let all = self.jobs.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().rev().map(|job| job.shown().clone()).collect()
    }

    /// One job.
    #[must_use]
    pub fn job(&self, id: u64) -> Option<JobShown> {
        let all = self.jobs.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&id).map(|job| job.shown().clone())
    }

    /// Asks a job to end after the commit that it is at; false if there is no such job.
    #[must_use]
    pub fn cancel_job(&self, id: u64) -> bool {
        let all = self.jobs.all.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(job) = all.get(&id) else { return false };
        job.cancelled.store(true, Ordering::Relaxed);
        true
    }

    async fn run_job(self: Arc<Self>, job: Arc<Job>) {
        self.note_job(&job, "began");
        let state = match self.walk(&job).await {
            Ok(()) if job.cancelled.load(Ordering::Relaxed) => "cancelled",
            Ok(()) if self.tasks.stopping().is_cancelled() => "cancelled",
            Ok(()) => "done",
            Err(error) => {
                job.shown().problem = Some(error);
                "failed"
            }
        };
        let ended = self.clock.now().to_string();
        let mut shown = job.shown();
        (shown.state, shown.ended) = (state, Some(ended));
        drop(shown);
        self.note_job(&job, state);
    }

    async fn walk(&self, job: &Job) -> Result<(), String> {
        // What is made meanwhile, by this job too, is not its business.
        let last = self.next_id();
        let index = match job.filter.state {
            Some(state) => Index::State(state),
            None => Index::Id,
        };
        let mut cursor: Option<Cursor> = None;
        loop {
            let page = self.spool.scan(&index, cursor, PAGE);
            let (entries, next) = page.map_err(|error| format!("the spool: {error}"))?;
            let fitting = self.look_at(job, &entries, last);
            if !job.shown().dry_run {
                let mut rest = &fitting[..];
                while !rest.is_empty() {
                    if self.is_over(job) {
                        return Ok(());
                    }
                    let count = self.change(job, rest).await.max(1);
                    rest = rest.get(count..).unwrap_or_default();
                }
            }
            cursor = next;
            let past = entries.last().is_some_and(|entry| entry.id > last.as_u64());
            if cursor.is_none() || past || self.is_over(job) {
                return Ok(());
            }
            self.clock.sleep(BREATH).await;
        }
    }

    fn is_over(&self, job: &Job) -> bool {
        job.cancelled.load(Ordering::Relaxed) || self.tasks.stopping().is_cancelled()
    }

    /// Counts a page, and says which of it fit.
    fn look_at(&self, job: &Job, entries: &[Entry], last: MessageId) -> Vec<MessageId> {
        let now = self.clock.now();
        let mut fitting = Vec::new();
        let mut shown = job.shown();
        for entry in entries.iter().filter(|entry| entry.id <= last.as_u64()) {
            shown.looked_at += 1;
            let Ok(delivery) = delivery_of(entry) else { continue };
            if !job.filter.fits(entry, &delivery, now) {
                continue;
            }
            shown.matched += 1;
            fitting.push(delivery.id);
            if shown.samples.len() < SAMPLES_MAX {
                shown.samples.push(Sample {
                    id: delivery.id.to_string(),
                    target: Arc::clone(&entry.target),
                    account: Arc::clone(&entry.account),
                    to: Arc::clone(&delivery.recipient.address.value),
                    why: delivery.last.as_ref().map(Cause::in_words).unwrap_or_default(),
                });
            }
        }
        fitting
    }

    /// Changes the first of these; returns how many.
    async fn change(&self, job: &Job, ids: &[MessageId]) -> usize {
        let mandate = job.shown().mandate();
        let ids = ids.get(..COMMIT).unwrap_or(ids);
        let results = self.act_on(job.act, ids, &mandate).await;
        let count = results.len();
        let mut shown = job.shown();
        for (_, result) in results {
            match result {
                Ok(()) => shown.done += 1,
                Err(error) => {
                    shown.failed += 1;
                    shown.problem = Some(error);
                }
            }
        }
        count
    }

    /// The journal keeps what was ordered, and what came of it, under an id of its own.
    fn note_job(&self, job: &Job, state: &str) {
        let shown = job.shown().clone();
        let dry = if shown.dry_run { ", dry run" } else { "" };
        let detail = format!(
            "job {} {state}: {}{dry}; {} fit, {} done, {} failed; {}",
            shown.id,
            shown.filter,
            shown.matched,
            shown.done,
            shown.failed,
            shown.mandate(),
        );
        tracing::info!(
            event = "operator.job",
            job = shown.id,
            act = shown.act,
            state,
            matched = shown.matched,
            done = shown.done,
            failed = shown.failed,
            why = &*shown.why,
            by = &*shown.by,
            filter = shown.filter,
        );
        let what = What::Operator { action: shown.act.into(), detail: detail.into() };
        self.journal.record(vec![Event::new(self.clock.now(), self.next_id(), what)]);
    }
}
