//! The thread that writes: text in large pieces, a new segment when one is full, the oldest gone.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::room::{Room, Taken};
use super::{Limits, segment};
use crate::observe::event::{Event, What};
use crate::platform::clock::Clock;

/// So much text is gathered before it is written.
const PIECE_BYTES: usize = 256 * 1024;
/// How often the age of segments is looked at when nothing happens.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// The segment being written.
#[derive(Debug)]
struct Current {
    file: File,
    bytes: u64,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Writer {
    folder: PathBuf,
    limits: Arc<Mutex<Limits>>,
    clock: Clock,
    room: Arc<Room>,
    lost: Arc<AtomicU64>,
    /// So many of those are in the journal as lost.
    lost_told: u64,
    current: Option<Current>,
    newest_ms: u64,
    text: Vec<u8>,
    failing: bool,
}

impl Writer {
    pub(super) fn new(
        (folder, limits): (PathBuf, Arc<Mutex<Limits>>),
        clock: Clock,
        room: Arc<Room>,
        lost: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        let newest_ms = segment::list(&folder)?.last().copied().unwrap_or(0);
        Ok(Self {
            folder,
            limits,
            clock,
            room,
            lost,
            lost_told: 0,
            current: None,
            newest_ms,
            text: Vec::new(),
            failing: false,
        })
    }

    /// Writes until the room is closed and empty.
    pub(super) fn run(mut self) {
        self.tidy();
        loop {
            match self.room.take(TIDY_EVERY) {
                Taken::Events(events) => {
                    self.write(&events);
                    self.room.written();
                }
                Taken::Nothing => self.tidy(),
                Taken::Closed => break,
            }
        }
        self.room.ended();
    }

    fn write(&mut self, events: &[Event]) {
        let mut gathered: u64 = 0;
        let gap = self.gap();
        for event in gap.iter().chain(events) {
            let start = self.text.len();
            if serde_json::to_writer(&mut self.text, event).is_err() {
                self.text.truncate(start);
                self.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            self.text.push(b'\n');
            gathered += 1;
            if self.text.len() >= PIECE_BYTES {
                self.write_piece(std::mem::take(&mut gathered));
            }
        }
        self.write_piece(gathered);
    }

    /// A line in the place of those that were lost since the last one.
    fn gap(&mut self) -> Option<Event> {
        let lost = self.lost.load(Ordering::Relaxed);
        let events = lost.saturating_sub(std::mem::replace(&mut self.lost_told, lost));
        let id = message::MessageId::from_u64(0);
        (events > 0).then(|| Event::new(self.clock.now(), id, What::Lost { events }))
    }

    fn limits(&self) -> Limits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is gathered; what cannot be written is lost, counted, and told once.
    fn write_piece(&mut self, events: u64) {
        if self.text.is_empty() {
            return;
        }
        let written = self.try_write();
        self.text.clear();
        match written {
            Ok(()) => self.failing = false,
            Err(error) => {
                // The piece may be torn: the next one begins a new segment.
                self.current = None;
                self.lost.fetch_add(events, Ordering::Relaxed);
                if !std::mem::replace(&mut self.failing, true) {
                    let folder = self.folder.display();
                    tracing::error!(event = "journal.failed", %error, %folder, "events are lost");
                }
            }
        }
    }

    fn try_write(&mut self) -> io::Result<()> {
        let more = u64::try_from(self.text.len()).unwrap_or(u64::MAX);
        let bytes_max = self.limits().segment_bytes_max;
        let full = |current: &Current| current.bytes + more > bytes_max;
        if self.current.as_ref().is_some_and(full) {
            self.current = None;
            self.tidy();
        }
        let current = match &mut self.current {
            Some(current) => current,
            none => none.insert(begin(&self.folder, &self.clock, &mut self.newest_ms)?),
        };
        current.file.write_all(&self.text)?;
        current.bytes += more;
        Ok(())
    }

    /// Removes the oldest segments: those too many, and those too old.
    fn tidy(&self) {
        if let Err(error) = self.try_tidy() {
            let folder = self.folder.display();
            tracing::warn!(event = "journal.tidy_failed", %error, %folder, "old segments stay");
        }
    }

    fn try_tidy(&self) -> io::Result<()> {
        let (folder, limits) = (&self.folder, self.limits());
        let segments = segment::list(folder)?;
        let oldest_ms = limits.keep.map_or(0, |keep| {
            let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
            self.clock.now().as_ms().saturating_sub(keep_ms)
        });
        let mut sizes = Vec::with_capacity(segments.len());
        for first_ms in &segments {
            sizes.push(fs::metadata(segment::path(folder, *first_ms))?.len());
        }
        let mut total: u64 = sizes.iter().sum();
        // A segment ends where the next begins; the newest one always stays.
        for ((first_ms, size), next) in segments.iter().zip(sizes).zip(segments.iter().skip(1)) {
            if total <= limits.total_bytes_max && *next > oldest_ms {
                break;
            }
            fs::remove_file(segment::path(folder, *first_ms))?;
            total -= size;
        }
        Ok(())
    }
}

/// Begins a segment, named by the time but after every one before it.
fn begin(folder: &Path, clock: &Clock, newest_ms: &mut u64) -> io::Result<Current> {
    let first_ms = clock.now().as_ms().max(newest_ms.saturating_add(1));
    let file = segment::create(folder, first_ms)?;
    *newest_ms = first_ms;
    Ok(Current { file, bytes: 0 })
}
