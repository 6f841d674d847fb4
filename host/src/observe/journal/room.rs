//! Where events wait for the thread that writes them: bounded, emptied in one go.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::observe::event::Event;

/// How many events may wait; a batch may step over it once.
const EVENTS_MAX: usize = 65_536;
/// How long somebody with events waits for room before they are lost.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct Waiting {
    events: Vec<Event>,
    /// Batches of events taken by the writer and written so far; see [`Room::flush`].
    taken: u64,
    written: u64,
    /// Somebody has already waited in vain: others do not, until there is room again.
    stalled: bool,
    closed: bool,
}

/// What the writer finds.
#[derive(Debug)]
pub(super) enum Taken {
    Events(Vec<Event>),
    /// Nothing came in time.
    Nothing,
    Closed,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Room {
    waiting: Mutex<Waiting>,
    come: Condvar,
    gone: Condvar,
}

impl Room {
    /// Lets events in; `false` if they have to be given up.
    pub(super) fn enter(&self, mut events: Vec<Event>) -> bool {
        let mut waiting = self.waiting();
        if waiting.events.len() >= EVENTS_MAX && !waiting.stalled {
            let full = |waiting: &mut Waiting| {
                waiting.events.len() >= EVENTS_MAX && !waiting.closed && !waiting.stalled
            };
            let waited = self.gone.wait_timeout_while(waiting, PATIENCE, full);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
            waiting.stalled = waiting.events.len() >= EVENTS_MAX;
        }
        if waiting.closed || waiting.events.len() >= EVENTS_MAX {
            return false;
        }
        let writer_sleeps = waiting.events.is_empty();
        if writer_sleeps {
            waiting.events = events;
        } else {
            waiting.events.append(&mut events);
        }
        drop(waiting);
        if writer_sleeps {
            self.come.notify_one();
        }
        true
    }

    /// Takes all that waits, after waiting for it no longer than `patience`.
    pub(super) fn take(&self, patience: Duration) -> Taken {
        let waiting = self.waiting();
        let empty = |waiting: &mut Waiting| waiting.events.is_empty() && !waiting.closed;
        let waited = self.come.wait_timeout_while(waiting, patience, empty);
        let mut waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        if waiting.events.is_empty() {
            return if waiting.closed { Taken::Closed } else { Taken::Nothing };
        }
        waiting.taken += 1;
        waiting.stalled = false;
        let events = std::mem::take(&mut waiting.events);
        drop(waiting);
        self.gone.notify_all();
        Taken::Events(events)
    }

    /// What was taken last is in the file, or lost.
    pub(super) fn written(&self) {
        let mut waiting = self.waiting();
        waiting.written = waiting.taken;
        drop(waiting);
        self.gone.notify_all();
    }

    /// Nothing is written any more; whoever waits stops waiting.
    pub(super) fn ended(&self) {
        self.close();
        self.gone.notify_all();
    }

    /// Blocks until what is in the room now is written.
    pub(super) fn flush(&self) {
        let waiting = self.waiting();
        let goal = waiting.taken + u64::from(!waiting.events.is_empty());
        let unwritten = |waiting: &mut Waiting| {
            waiting.written < goal && !(waiting.closed && waiting.events.is_empty())
        };
        drop(self.gone.wait_while(waiting, unwritten).unwrap_or_else(PoisonError::into_inner));
    }

    /// Lets nobody in any more; what waits is still written.
    pub(super) fn close(&self) {
        self.waiting().closed = true;
        self.come.notify_all();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
