//! The event journal: what happened to every message, as lines of JSON in segment files.
//!
//! The router hands events over in batches and goes on; one thread turns them into text and writes
//! them. Nothing here is synced: the spool is the truth, the journal is its story. Segments are
//! named by the time of their first event, so that the story of one message is looked for only
//! from the time in its id on. The files hold addresses as they are and are readable by their
//! owner only; whoever prints them decides what to mask.

mod room;
mod writer;
mod read;
mod segment;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use self::room::Room;
use self::writer::Writer;
use crate::config::JournalConfig;
use crate::observe::event::Event;
use crate::platform::clock::Clock;

pub use read::{Cursor, Page, ParseCursorError, Position, Reader};
pub use room::UNWRITTEN_MAX;

/// Where a journal lives and how much of it is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of the segments; made if it is not there.
    pub folder: PathBuf,
    /// What may change while it is written.
    pub limits: Limits,
}

/// How much of a journal is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A segment that would grow beyond this is closed and a new one begun.
    pub segment_bytes_max: u64,
    /// The oldest segments go when all of them take more than this.
    pub total_bytes_max: u64,
    /// Segments whose last event is older than this go, if given.
    pub keep: Option<Duration>,
}

impl From<&JournalConfig> for Limits {
    fn from(config: &JournalConfig) -> Self {
        Self {
            segment_bytes_max: config.file_bytes_max,
            total_bytes_max: config.file_bytes_max.saturating_mul(u64::from(config.files_max)),
            keep: config.keep,
        }
    }
}

impl Options {
    /// Segments of 64 MiB, 1 GiB of them, however old.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        let limits = Limits {
            segment_bytes_max: 64 * 1024 * 1024,
            total_bytes_max: 1024 * 1024 * 1024,
            keep: None,
        };
        Self { folder: folder.to_owned(), limits }
    }
}

/// A handle to the journal; clones share it. Without a folder it forgets everything.
#[derive(Clone, Debug)]
pub struct Journal {
    open: Option<Arc<Open>>,
}

#[derive(Debug)]
struct Open {
    folder: PathBuf,
    clock: Clock,
    room: Arc<Room>,
    lost: Arc<AtomicU64>,
    limits: Arc<Mutex<Limits>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// A journal that forgets.
    #[must_use]
    pub const fn none() -> Self {
        Self { open: None }
    }

    /// Opens the journal in a folder and starts the thread that writes it. Old segments are left
    /// as they are: a new one is begun with the first event.
    ///
    /// # Errors
    /// The folder cannot be made or read, or no thread can be started.
    pub fn open(options: Options, clock: Clock) -> io::Result<Self> {
        segment::make_folder(&options.folder)?;
        let room = Arc::new(Room::default());
        let lost = Arc::new(AtomicU64::new(0));
        let limits = Arc::new(Mutex::new(options.limits));
        let folder = options.folder;
        let writer = Writer::new(
            (folder.clone(), Arc::clone(&limits)),
            clock.clone(),
            Arc::clone(&room),
            Arc::clone(&lost),
        )?;
        let thread =
            std::thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run())?;
        let open = Open { folder, clock, room, lost, limits, writer: Mutex::new(Some(thread)) };
        Ok(Self { open: Some(Arc::new(open)) })
    }

    /// Hands events over. Costs a lock and a move; blocks for at most 20 ms when the
    /// disk does not keep up, and then loses and counts them rather than hold up traffic.
    ///
    /// They are in the file, where they outlive the process, as soon as the thread has written what
    /// was before them: a killed process leaves out those of its last [`UNWRITTEN_MAX`] at most.
    pub fn record(&self, events: Vec<Event>) {
        let Some(open) = &self.open else { return };
        let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
        if count > 0 && !open.room.enter(events, open.clock.instant()) {
            open.lost.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// How many events were lost because the disk did not keep up or failed.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.lost.load(Ordering::Relaxed))
    }

    /// Blocks until all that was recorded before is in the files.
    pub fn flush(&self) {
        if let Some(open) = &self.open {
            open.room.flush();
        }
    }

    /// What reads the journal, if there is one. Reading blocks on the disk: do it where that is
    /// fine.
    #[must_use]
    pub fn reader(&self) -> Option<Reader> {
        self.open.as_ref().map(|open| Reader::new(&open.folder))
    }

    /// Keeps more or less from now on.
    pub fn set_limits(&self, limits: Limits) {
        if let Some(open) = &self.open {
            *open.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
            open.room.wake();
        }
    }

    /// Writes what waits and ends the thread; what is recorded later is lost and counted. Blocks.
    pub fn close(&self) {
        if let Some(open) = &self.open {
            open.close();
        }
    }
}

impl Open {
    fn close(&self) {
        self.room.close();
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of the thread was reported by the panic hook.
            drop(thread.join());
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.close();
    }
}
