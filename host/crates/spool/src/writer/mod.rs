//! The thread that owns the store: gathers what waits, writes it once, syncs once, answers all.

mod group;
mod pump;
mod room;

use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_channel::oneshot;

use crate::batch::Batch;
use crate::error::CommitError;
use crate::index::Columnar;
use crate::options::Options;
use crate::spool::Durable;
use crate::stats::Counters;
use crate::store::{Changes, Expiry, Store, StoreError};
use group::Group;

pub(crate) use pump::Idle;
pub use pump::Pump;
use room::Taken;
pub(crate) use room::{Answer, Room, Work};

/// After so many written bytes the file system is asked again what is left.
const SPACE_CHECK_BYTES: usize = 1024 * 1024;
/// After so many groups the file system is asked again what is left: others write to it too.
const SPACE_CHECK_GROUPS: u32 = 64;

/// What the thread and the handles share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) options: Options,
    pub(crate) store: Box<dyn Store>,
    pub(crate) index: RwLock<Columnar>,
    pub(crate) room: Room,
    pub(crate) counters: Counters,
    pub(crate) poisoned: OnceLock<String>,
}

impl Core {
    pub(crate) fn refusal(&self) -> Option<CommitError> {
        self.poisoned.get().map(|reason| CommitError::Poisoned(reason.clone()))
    }
}

/// The answers owed for one group, once its sync is through.
#[derive(Debug, Default)]
struct Owed {
    commits: Vec<Answer>,
    flushes: Vec<Answer>,
    sweeps: Vec<(usize, oneshot::Sender<Result<usize, CommitError>>)>,
}

/// The thread's own state.
#[derive(Debug)]
pub(crate) struct Writer {
    core: Arc<Core>,
    /// When the first unsynced group was written.
    unsynced_since: Option<Instant>,
    bytes_since_check: usize,
    groups_since_check: u32,
    /// Batches that nobody waits for and that found no room: they go first, with whatever comes next.
    put_off: Vec<Batch>,
}

/// What was taken, sorted out.
#[derive(Debug, Default)]
struct Gathered {
    group: Group,
    owed: Owed,
    notes: Vec<Expiry>,
    /// Batches of the group that nobody waits for.
    lazy: Vec<Batch>,
}

impl Writer {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        // The first group asks for the space.
        Self {
            core,
            unsynced_since: None,
            bytes_since_check: usize::MAX,
            groups_since_check: 0,
            put_off: Vec::new(),
        }
    }

    /// Works until the spool is closed and all that waited is done.
    pub(crate) fn run(mut self) {
        while self.turn(self.patience()) {}
        self.work(Vec::new());
        self.sync_late();
        let core = Arc::clone(&self.core);
        if core.poisoned.get().is_none()
            && let Err(error) = core.store.close()
        {
            self.poison(error);
        }
    }

    /// Does what waits, or comes within `patience`; false if nothing will come any more.
    fn turn(&mut self, patience: Option<Duration>) -> bool {
        match self.core.room.take(patience) {
            Taken::Works(works) => self.work(works),
            Taken::Nothing => {
                self.work(Vec::new());
                self.sync_late();
            }
            Taken::Closed => return false,
        }
        true
    }

    /// How long it may wait for more: until what is unsynced has to be synced, or what found no room
    /// is tried again.
    fn patience(&self) -> Option<Duration> {
        let again = (!self.put_off.is_empty()).then_some(self.core.options.lazy_max);
        self.sync_patience().into_iter().chain(again).min()
    }

    fn sync_patience(&self) -> Option<Duration> {
        let since = self.unsynced_since?;
        let waited = (self.core.options.clock)().saturating_duration_since(since);
        Some(self.core.options.lazy_max.saturating_sub(waited))
    }

    /// Does all that was taken, in groups of bounded size.
    fn work(&mut self, works: Vec<Work>) {
        let group_bytes_max = self.core.options.group_bytes_max;
        let mut works = works.into_iter().peekable();
        let mut again = !self.put_off.is_empty();
        while std::mem::take(&mut again) || works.peek().is_some() {
            // Before whatever was asked for after them, whichever group that is in.
            let mut taken: Vec<Work> = self.put_off.drain(..).map(Work::Later).collect();
            let mut bytes: usize = taken.iter().map(size_bytes).sum();
            while bytes < group_bytes_max
                && let Some(work) = works.next()
            {
                bytes += size_bytes(&work);
                taken.push(work);
            }
            self.write_group(taken, bytes);
            self.keep_the_promise();
        }
    }

    /// A steady stream of unsynced groups must not postpone their sync for ever.
    fn keep_the_promise(&mut self) {
        if self.sync_patience() == Some(Duration::ZERO) {
            self.sync_late();
        }
    }

    fn write_group(&mut self, works: Vec<Work>, bytes: usize) {
        let core = Arc::clone(&self.core);
        self.check_space(bytes);
        let Gathered { mut group, owed, notes, lazy } = self.gather(works);
        let totals = {
            // Nobody but this thread changes it: what is read here still holds below.
            group.totals(&core.index.read().unwrap_or_else(PoisonError::into_inner))
        };
        let mut changes = group.changes(&totals);
        changes.notes = notes;
        let sync = !owed.commits.is_empty() || !owed.flushes.is_empty();
        let result = self.write(&changes, sync);
        if result.is_ok() {
            let mut index = core.index.write().unwrap_or_else(PoisonError::into_inner);
            group.apply(&mut index, totals);
            Counters::add(&core.counters.corrupt, count(changes.aside.len()));
            Counters::add(&core.counters.lazy_commits, count(lazy.len()));
        } else if matches!(result, Err(CommitError::Full { .. })) {
            self.put_off(lazy);
        }
        self.answer(owed, &result);
    }

    /// Sorts out what of it is to be written, and who is owed an answer then.
    fn gather(&self, works: Vec<Work>) -> Gathered {
        let core = &self.core;
        let index = core.index.read().unwrap_or_else(PoisonError::into_inner);
        let Gathered { mut group, mut owed, mut notes, mut lazy } = Gathered::default();
        for work in works {
            match work {
                Work::Commit(batch, answer) => {
                    let admitted = self.has_room(&batch).and_then(|()| group.add(batch, &index));
                    match admitted {
                        Ok(()) => owed.commits.push(answer),
                        Err(refusal) => tell(answer, Err(refusal)),
                    }
                }
                // It tells of what happened, which no lack of space undoes: the reserve is for it.
                Work::Later(batch) => match group.add(batch.clone(), &index) {
                    Ok(()) => lazy.push(batch),
                    Err(_) => Counters::add(&core.counters.lazy_refused, 1),
                },
                Work::Flush(answer) => owed.flushes.push(answer),
                Work::SetAside(id) => group.set_aside(id, &index),
                Work::Sweep { now_ms, limit, answer } => {
                    match core.store.expired_keys(now_ms, limit) {
                        Ok(expired) => {
                            owed.sweeps.push((group.sweep(&expired), answer));
                            notes.extend(expired);
                        }
                        Err(error) => tell(answer, Err(CommitError::Poisoned(error.to_string()))),
                    }
                }
            }
        }
        Gathered { group, owed, notes, lazy }
    }

    /// Keeps batches that nobody waits for until there is room, as many as may wait for the disk.
    fn put_off(&mut self, lazy: Vec<Batch>) {
        let bytes_max = self.core.options.waiting_bytes_max;
        let mut bytes: usize = self.put_off.iter().map(Batch::size_bytes).sum();
        for batch in lazy {
            bytes = bytes.saturating_add(batch.size_bytes());
            if bytes > bytes_max {
                Counters::add(&self.core.counters.lazy_refused, 1);
            } else {
                self.put_off.push(batch);
            }
        }
    }

    /// Whether there is room for a batch that somebody waits for.
    fn has_room(&self, batch: &Batch) -> Result<(), CommitError> {
        if let Some(refusal) = self.core.refusal() {
            return Err(refusal);
        }
        let reserve_bytes = if batch.puts_body() {
            self.core.options.reserve_bytes
        } else if batch.puts() {
            self.core.options.reserve_bytes / 8
        } else {
            0
        };
        let free_bytes = self.free_bytes();
        if free_bytes < reserve_bytes {
            return Err(CommitError::Full { free_bytes, reserve_bytes });
        }
        Ok(())
    }

    fn write(&mut self, changes: &Changes, sync: bool) -> Result<(), CommitError> {
        if let Some(refusal) = self.core.refusal() {
            return Err(refusal);
        }
        let core = Arc::clone(&self.core);
        let started = (core.options.clock)();
        let written = if changes.is_empty() {
            if sync && self.unsynced_since.is_some() { core.store.sync() } else { Ok(()) }
        } else {
            Counters::add(&core.counters.groups, 1);
            core.store.write(changes, sync)
        };
        match written {
            Ok(()) if sync => {
                self.unsynced_since = None;
                self.count_sync(started);
                Ok(())
            }
            Ok(()) => {
                if !changes.is_empty() {
                    self.unsynced_since.get_or_insert(started);
                }
                Ok(())
            }
            Err(StoreError::Full) => {
                self.bytes_since_check = usize::MAX;
                let reserve_bytes = core.options.reserve_bytes;
                Err(CommitError::Full { free_bytes: self.free_bytes(), reserve_bytes })
            }
            Err(error @ StoreError::Broken(_)) => Err(self.poison(error)),
        }
    }

    /// Syncs what nobody waited for.
    fn sync_late(&mut self) {
        if self.unsynced_since.take().is_none() || self.core.poisoned.get().is_some() {
            return;
        }
        let started = (self.core.options.clock)();
        match self.core.store.sync() {
            Ok(()) => self.count_sync(started),
            Err(error) => {
                self.poison(error);
            }
        }
    }

    fn count_sync(&self, started: Instant) {
        let took = (self.core.options.clock)().saturating_duration_since(started);
        Counters::add(&self.core.counters.syncs, 1);
        self.core.counters.synced(took);
    }

    fn poison(&self, error: StoreError) -> CommitError {
        let reason = match error {
            StoreError::Full => "no space left on the device".to_owned(),
            StoreError::Broken(reason) => reason,
        };
        CommitError::Poisoned(self.core.poisoned.get_or_init(|| reason).clone())
    }

    fn answer(&self, owed: Owed, result: &Result<(), CommitError>) {
        let Owed { commits, flushes, sweeps } = owed;
        if result.is_ok() {
            Counters::add(&self.core.counters.commits, count(commits.len()));
        }
        for answer in commits.into_iter().chain(flushes) {
            tell(answer, result.clone().map(|()| Durable::after_sync()));
        }
        for (swept, answer) in sweeps {
            tell(answer, result.clone().map(|()| swept));
        }
    }

    fn check_space(&mut self, bytes: usize) {
        self.bytes_since_check = self.bytes_since_check.saturating_add(bytes);
        self.groups_since_check += 1;
        let low = self.free_bytes() < self.core.options.reserve_bytes.saturating_mul(2);
        if !low
            && self.bytes_since_check < SPACE_CHECK_BYTES
            && self.groups_since_check < SPACE_CHECK_GROUPS
        {
            return;
        }
        self.bytes_since_check = 0;
        self.groups_since_check = 0;
        let free_bytes = match &self.core.options.space {
            Some(space) => Ok(space()),
            None => self.core.store.free_bytes(),
        };
        // Not knowing is no reason to refuse: a full disk still shows when it is written to.
        let free_bytes = free_bytes.unwrap_or(u64::MAX);
        self.core.counters.free_bytes.store(free_bytes, std::sync::atomic::Ordering::Relaxed);
    }

    fn free_bytes(&self) -> u64 {
        self.core.counters.free_bytes.load(std::sync::atomic::Ordering::Relaxed)
    }
}

fn size_bytes(work: &Work) -> usize {
    match work {
        Work::Commit(batch, _) | Work::Later(batch) => batch.size_bytes(),
        Work::Flush(_) | Work::Sweep { .. } | Work::SetAside(_) => 0,
    }
}

/// Whoever no longer listens has decided not to know.
fn tell<T>(answer: oneshot::Sender<T>, what: T) {
    drop(answer.send(what));
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
