//! The handle that everybody else holds.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use bytes::Bytes;
use futures_channel::oneshot;

use crate::batch::Batch;
use crate::entry::{Cursor, Entry, Index, Key, Lease};
use crate::error::{CommitError, OpenError, ReadError};
use crate::index::{Columnar, TOTAL_PREFIX, restored};
use crate::options::{Options, Writing};
use crate::stats::{Counters, Stats};
use crate::store::{Faults, Memory, Store, open_disk, verify_disk};
use crate::verify::Verified;
use crate::writer::{Core, Idle, Pump, Room, Work, Writer};

/// Proof that a sync has finished after what it stands for was written.
///
/// Only the spool makes one. Whatever tells a peer "accepted" asks for it by value.
#[derive(Debug)]
#[must_use = "a proof that nobody is shown answers nobody"]
pub struct Durable {
    _made_here: (),
}

impl Durable {
    pub(crate) fn after_sync() -> Self {
        Self { _made_here: () }
    }
}

/// A durable store of entries, bodies and keyed values; clones share it.
///
/// When the last clone goes, what waits is written and synced and the writer's thread is joined,
/// which blocks: prefer [`Spool::close`] where blocking is fine.
#[derive(Debug, Clone)]
pub struct Spool {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    core: Arc<Core>,
    epochs: AtomicU64,
    hands: Hands,
}

/// Who does the writer's work.
#[derive(Debug)]
enum Hands {
    Thread(Mutex<Option<JoinHandle<()>>>),
    Pump(Idle),
}

/// What was found at opening.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Entries found.
    pub entries: u64,
    /// Bodies that they need.
    pub bodies: u64,
    /// Records that do not match their checksum or layout and were set aside, each described.
    pub corrupt: Vec<String>,
    /// Body files that no entry needs, removed: what a crash left between file and commit.
    pub orphans_removed: u64,
    /// The end of a write that a crash interrupted, cut off and kept: it was never acknowledged.
    pub torn: Option<String>,
}

impl Spool {
    /// A spool in memory: all of the semantics, none of the durability.
    ///
    /// # Errors
    /// [`OpenError::Io`] if no thread could be started.
    pub fn open_memory(options: Options) -> Result<Self, OpenError> {
        Self::open_memory_with_faults(options).map(|(spool, _)| spool)
    }

    /// As [`Self::open_memory`], with a handle to make it fail.
    ///
    /// # Errors
    /// [`OpenError::Io`] if no thread could be started.
    pub fn open_memory_with_faults(options: Options) -> Result<(Self, Faults), OpenError> {
        let (memory, faults) = Memory::new();
        Ok((Self::in_memory(memory, options)?, faults))
    }

    /// A spool in a directory, which is created if it is not there.
    ///
    /// Rebuilds the index from what is stored: a second or two per million entries. Takes an
    /// exclusive lock on the directory; needs a file system with `fdatasync` that can be trusted.
    ///
    /// # Errors
    /// [`OpenError`]: it is in use, of a newer version, damaged beyond single records, or the
    /// operating system refused. Nothing is deleted then.
    pub fn open_fjall(path: &Path, options: Options) -> Result<(Self, OpenReport), OpenError> {
        let (disk, index, report) = open_disk(path, &options)?;
        let spool = Self::start(Box::new(disk), index, options, path)?;
        let corrupt = u64::try_from(report.corrupt.len()).unwrap_or(u64::MAX);
        Counters::add(&spool.core().counters.corrupt, corrupt);
        Ok((spool, report))
    }

    /// Reads everything in the spool of a folder that nobody has open, and says what is wrong with
    /// it: checksums of records and files, references, notes, what was set aside.
    ///
    /// The torn end that a crash left in the journal is cut off and kept, as at any opening;
    /// nothing else is changed.
    ///
    /// # Errors
    /// [`OpenError`]: there is none, it is in use, of another version, or the operating system
    /// refused. Damage is no error but a finding.
    pub fn verify(path: &Path, options: &Options) -> Result<Verified, OpenError> {
        verify_disk(path, options)
    }

    pub(crate) fn in_memory(memory: Memory, options: Options) -> Result<Self, OpenError> {
        let mut index = Columnar::default();
        for entry in memory.entries() {
            index.put(&entry, None);
        }
        let totals = memory.keys_with_prefix(TOTAL_PREFIX, None, usize::MAX).unwrap_or_default();
        index.set_totals(totals.into_iter().filter_map(restored));
        Self::start(Box::new(memory), index, options, Path::new("(memory)"))
    }

    pub(crate) fn start(
        store: Box<dyn Store>,
        index: Columnar,
        options: Options,
        path: &Path,
    ) -> Result<Self, OpenError> {
        let core = Arc::new(Core {
            room: Room::new(options.waiting_commits_max, options.waiting_bytes_max),
            options,
            store,
            index: RwLock::new(index),
            counters: Counters::default(),
            poisoned: OnceLock::new(),
        });
        let writer = Writer::new(Arc::clone(&core));
        let hands = match core.options.writing {
            Writing::Pump => Hands::Pump(Arc::new(Mutex::new(Some(writer)))),
            Writing::Thread => {
                let thread = std::thread::Builder::new()
                    .name("spool-writer".to_owned())
                    .spawn(move || writer.run())
                    .map_err(|source| OpenError::Io {
                        doing: "start the thread that writes",
                        path: PathBuf::from(path),
                        source,
                    })?;
                Hands::Thread(Mutex::new(Some(thread)))
            }
        };
        let handle = Handle { core, epochs: AtomicU64::new(1), hands };
        Ok(Self { handle: Arc::new(handle) })
    }

    /// The means to do the writer's work, if no thread does: see [`Writing::Pump`].
    #[must_use]
    pub fn pump(&self) -> Option<Pump> {
        match &self.handle.hands {
            Hands::Thread(_) => None,
            Hands::Pump(writer) => {
                Some(Pump::new(Arc::clone(&self.handle.core), Arc::clone(writer)))
            }
        }
    }

    /// Makes a batch durable: waits its turn, is written with all that waits, is synced.
    ///
    /// The commit is on its way when this returns; dropping the future does not take it back.
    /// Batches take effect in the order of the calls. The future resolves to
    /// [`CommitError::Full`], [`CommitError::Busy`], [`CommitError::Invalid`],
    /// [`CommitError::Poisoned`] or [`CommitError::Closed`] otherwise; after any of them but
    /// `Poisoned`, nothing of the batch was kept.
    pub fn commit(&self, batch: Batch) -> Commit {
        self.ask(batch.size_bytes(), |answer| Work::Commit(batch, answer))
    }

    /// Writes a batch that nobody waits for: soon visible to reads, synced with the next commit
    /// or [`Options::lazy_max`] later. A crash before that undoes it. It may use the reserve, and
    /// what finds no room at all is tried again with what comes next, in its order.
    ///
    /// # Errors
    /// [`CommitError::Busy`], [`CommitError::Poisoned`] or [`CommitError::Closed`]; nothing of
    /// the batch was kept.
    pub fn commit_later(&self, batch: Batch) -> Result<(), CommitError> {
        let core = self.core();
        if let Some(refusal) = core.refusal() {
            return Err(refusal);
        }
        core.room.enter(batch.size_bytes(), Work::Later(batch))
    }

    /// Resolves once everything asked for so far is durable.
    pub fn flush(&self) -> Commit {
        self.ask(0, Work::Flush)
    }

    /// Removes keys that expired, at most `limit`, and resolves to how many there were, once that
    /// is written. Call again at once if it removed `limit`.
    pub fn sweep_keys(&self, now_ms: u64, limit: usize) -> Sweep {
        let (answer, waiting) = oneshot::channel();
        let core = self.core();
        let entered = match core.refusal() {
            Some(refusal) => Err(refusal),
            None => core.room.enter(0, Work::Sweep { now_ms, limit, answer }),
        };
        Sweep(entered.map(|()| waiting).map_err(Some))
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`ReadError`]: it is corrupt or the disk failed.
    pub fn body(&self, id: u64) -> Result<Option<Bytes>, ReadError> {
        self.core().store.body(id)
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// [`ReadError`]: it is corrupt, and set aside now, or the disk failed.
    pub fn entry(&self, id: u64) -> Result<Option<Entry>, ReadError> {
        let read = self.core().store.entry(id);
        if matches!(read, Err(ReadError::Corrupt { .. })) {
            self.set_aside(id);
        }
        read
    }

    /// Reads the value of a key; an expired one is found until it is swept.
    ///
    /// # Errors
    /// [`ReadError`]: it is corrupt or the disk failed.
    pub fn find(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.core().store.find(key)?.map(|found| found.value))
    }

    /// Reads keys that begin with `prefix`, in order, after `after`, at most `limit`.
    ///
    /// # Errors
    /// [`ReadError`]: one is corrupt or the disk failed.
    pub fn keys_with_prefix(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Key>, ReadError> {
        self.core().store.keys_with_prefix(prefix, after, limit)
    }

    /// Keys and records that were set aside as corrupt, at most `limit`.
    ///
    /// # Errors
    /// [`ReadError`]: the disk failed.
    pub fn aside(&self, limit: usize) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.core().store.aside(limit)
    }

    /// Gives a node the right to claim. Embedded, there is one node and the lease never ends.
    #[must_use]
    pub fn lease(&self, node: u32) -> Lease {
        Lease { node, epoch: self.handle.epochs.fetch_add(1, Ordering::Relaxed) }
    }

    /// Keeps a lease for longer.
    ///
    /// # Errors
    /// [`CommitError::Stale`] if it was lost; embedded: never.
    pub fn renew(&self, lease: &Lease) -> Result<(), CommitError> {
        let issued = self.handle.epochs.load(Ordering::Relaxed);
        if lease.epoch < issued { Ok(()) } else { Err(CommitError::Stale) }
    }

    /// Claims entries due before `due_before_ms`, the earliest first, at most `limit`: nobody
    /// else is given them until they are released or put back by [`Batch::put_entry`]. No targets
    /// means all of them. Entries found corrupt are set aside and left out.
    ///
    /// # Errors
    /// [`ReadError::Io`] if the disk failed; nothing is claimed then.
    pub fn claim(
        &self,
        lease: &Lease,
        targets: &[Arc<str>],
        due_before_ms: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        let index = &self.core().index;
        let ids = {
            let mut index = index.write().unwrap_or_else(PoisonError::into_inner);
            index.claim(lease, targets, due_before_ms, limit)
        };
        let read = self.read_all(&ids);
        if read.is_err() {
            self.release(lease, &ids);
        }
        read
    }

    /// Gives claimed entries back to whoever claims next; others are left alone.
    pub fn release(&self, lease: &Lease, ids: &[u64]) {
        let mut index = self.core().index.write().unwrap_or_else(PoisonError::into_inner);
        index.release(lease, ids);
    }

    /// Gives back everything that the lease's node has claimed.
    pub fn release_all(&self, lease: &Lease) {
        let mut index = self.core().index.write().unwrap_or_else(PoisonError::into_inner);
        let ids = index.claimed_by(lease);
        index.release(lease, &ids);
    }

    /// When the earliest entry that waits is due. No targets means all of them.
    #[must_use]
    pub fn next_due_ms(&self, targets: &[Arc<str>]) -> Option<u64> {
        self.core().index.read().unwrap_or_else(PoisonError::into_inner).next_due_ms(targets)
    }

    /// Walks through entries, claimed or not: one page, and the cursor for the next if there is
    /// more. Entries found corrupt are set aside and left out.
    ///
    /// # Errors
    /// [`ReadError::Io`] if the disk failed.
    pub fn scan(
        &self,
        index: &Index,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<(Vec<Entry>, Option<Cursor>), ReadError> {
        let (ids, next) = {
            let columns = self.core().index.read().unwrap_or_else(PoisonError::into_inner);
            columns.page(index, cursor, limit)
        };
        let entries = match (index, ids.first(), ids.last()) {
            (Index::Id, Some(&first), Some(&last)) => match self.read_between(first, last) {
                // A damaged block stops a walk, but not the reading of what is in other blocks.
                Err(ReadError::Corrupt { .. }) => self.read_all(&ids)?,
                read => read?,
            },
            _ => self.read_all(&ids)?,
        };
        Ok((entries, next))
    }

    /// Entries that have expired, wherever they sit, the longest expired first.
    ///
    /// # Errors
    /// [`ReadError::Io`] if the disk failed.
    pub fn expired(&self, now_ms: u64, limit: usize) -> Result<Vec<Entry>, ReadError> {
        let ids = {
            let index = self.core().index.read().unwrap_or_else(PoisonError::into_inner);
            index.expired(now_ms, limit)
        };
        self.read_all(&ids)
    }

    /// As [`Self::expired`], but only where they are: (when, id) as a cursor, and the target. A page
    /// begins after `after`. Reads nothing from the disk.
    #[must_use]
    pub fn expired_ids(
        &self,
        now_ms: u64,
        after: Option<Cursor>,
        limit: usize,
    ) -> Vec<(Cursor, Arc<str>)> {
        let index = self.core().index.read().unwrap_or_else(PoisonError::into_inner);
        index.expired_after(now_ms, after, limit)
    }

    /// What the file system has left, asked now; [`u64::MAX`] if nobody knows.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        let core = self.core();
        let free_bytes = match &core.options.space {
            Some(space) => space(),
            None => core.store.free_bytes().unwrap_or(u64::MAX),
        };
        core.counters.free_bytes.store(free_bytes, Ordering::Relaxed);
        free_bytes
    }

    /// How many entries are stored; cheap enough to ask before every batch.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.core().index.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Figures as of now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let core = self.core();
        let mut stats = Stats::default();
        core.index.read().unwrap_or_else(PoisonError::into_inner).read_into(&mut stats);
        core.counters.read_into(&mut stats);
        let (works, bytes) = core.room.queue();
        stats.waiting_commits = u64::try_from(works).unwrap_or(u64::MAX);
        stats.waiting_bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        stats.disk_bytes = core.store.disk_bytes();
        stats
    }

    /// Why the spool takes nothing any more, if its disk failed.
    #[must_use]
    pub fn poisoned(&self) -> Option<&str> {
        self.core().poisoned.get().map(String::as_str)
    }

    /// Lets nothing in any more, finishes what waits, syncs, and joins the writer's thread.
    /// Blocks. Reads through other clones still answer.
    pub fn close(self) {
        self.handle.close();
    }

    fn ask(
        &self,
        size_bytes: usize,
        work: impl FnOnce(oneshot::Sender<Result<Durable, CommitError>>) -> Work,
    ) -> Commit {
        let core = self.core();
        if let Some(refusal) = core.refusal() {
            return Commit(Err(Some(refusal)));
        }
        let (answer, waiting) = oneshot::channel();
        Commit(core.room.enter(size_bytes, work(answer)).map(|()| waiting).map_err(Some))
    }

    fn read_all(&self, ids: &[u64]) -> Result<Vec<Entry>, ReadError> {
        let mut entries = Vec::with_capacity(ids.len());
        for &id in ids {
            match self.entry(id) {
                Ok(entry) => entries.extend(entry),
                Err(ReadError::Corrupt { .. }) => {}
                Err(error @ ReadError::Io(_)) => return Err(error),
            }
        }
        Ok(entries)
    }

    fn read_between(&self, first: u64, last: u64) -> Result<Vec<Entry>, ReadError> {
        let found = self.core().store.entries_between(first, last)?;
        let mut entries = Vec::with_capacity(found.len());
        for (id, entry) in found {
            match entry {
                Ok(entry) => entries.push(entry),
                Err(ReadError::Corrupt { .. }) => self.set_aside(id),
                Err(error @ ReadError::Io(_)) => return Err(error),
            }
        }
        Ok(entries)
    }

    /// If the writer has no time for it now, the next read will ask again.
    fn set_aside(&self, id: u64) {
        drop(self.core().room.enter(0, Work::SetAside(id)));
    }

    fn core(&self) -> &Core {
        &self.handle.core
    }
}

impl Handle {
    fn close(&self) {
        self.core.room.close();
        match &self.hands {
            Hands::Thread(thread) => {
                let thread = thread.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(thread) = thread {
                    // A panic of the thread was reported by the panic hook.
                    drop(thread.join());
                }
            }
            Hands::Pump(writer) => {
                let writer = writer.lock().unwrap_or_else(PoisonError::into_inner).take();
                // The room is closed: this does what waits and returns.
                if let Some(writer) = writer {
                    writer.run();
                }
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

/// Resolves when a commit is durable or refused.
#[derive(Debug)]
#[must_use = "the answer is the point of a commit"]
pub struct Commit(Answered<Durable>);

/// Resolves when expired keys were removed.
#[derive(Debug)]
#[must_use = "it says how many keys were removed, and whether it worked"]
pub struct Sweep(Answered<usize>);

/// An answer on its way, or a refusal at the door until it is given.
type Answered<T> = Result<oneshot::Receiver<Result<T, CommitError>>, Option<CommitError>>;

impl Future for Commit {
    type Output = Result<Durable, CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        poll_answer(&mut self.0, context)
    }
}

impl Future for Sweep {
    type Output = Result<usize, CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        poll_answer(&mut self.0, context)
    }
}

fn poll_answer<T>(
    answered: &mut Answered<T>,
    context: &mut Context<'_>,
) -> Poll<Result<T, CommitError>> {
    match answered {
        Ok(waiting) => {
            Pin::new(waiting).poll(context).map(|answer| answer.unwrap_or(Err(CommitError::Closed)))
        }
        Err(refusal) => Poll::Ready(Err(refusal.take().unwrap_or(CommitError::Closed))),
    }
}
