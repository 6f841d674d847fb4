//! Where events wait for the thread that writes them: bounded, emptied in one go.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::observe::event::Event;

/// How many events may wait; a batch may step over it once.
const EVENTS_MAX: usize = 65_536;
/// How long somebody with events waits for room before they are lost.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);

/// How long an event may wait to be written: while one does for longer, further ones are lost and
/// counted. So much, at most, is missing from the files when the process is killed.
pub const UNWRITTEN_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Waiting {
    events: Vec<Event>,
    /// Since when the oldest of `events` waits.
    since: Option<Instant>,
    /// Since when the oldest of those waits that the writer has taken and not written yet.
    writing_since: Option<Instant>,
    /// Somebody wants the writer to look at its limits.
    woken: bool,
    /// Batches of events taken by the writer and written so far; see [`Room::flush`].
    taken: u64,
    written: u64,
    /// Somebody has already waited in vain: others do not, until there is room again.
    stalled: bool,
    closed: bool,
}

impl Waiting {
    /// Too many wait, or one for too long.
    fn is_full(&self, now: Instant) -> bool {
        let oldest = self.writing_since.or(self.since);
        let late = |since: Instant| now.saturating_duration_since(since) > UNWRITTEN_MAX;
        self.events.len() >= EVENTS_MAX || oldest.is_some_and(late)
    }
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
    pub(super) fn enter(&self, mut events: Vec<Event>, now: Instant) -> bool {
        let mut waiting = self.waiting();
        if waiting.is_full(now) && !waiting.stalled {
            let full =
                |waiting: &mut Waiting| waiting.is_full(now) && !waiting.closed && !waiting.stalled;
            let waited = self.gone.wait_timeout_while(waiting, PATIENCE, full);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
            waiting.stalled = waiting.is_full(now);
        }
        if waiting.closed || waiting.is_full(now) {
            return false;
        }
        let writer_sleeps = waiting.events.is_empty();
        if writer_sleeps {
            waiting.events = events;
            waiting.since = Some(now);
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
        let empty =
            |waiting: &mut Waiting| waiting.events.is_empty() && !waiting.closed && !waiting.woken;
        let waited = self.come.wait_timeout_while(waiting, patience, empty);
        let mut waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        let woken = std::mem::take(&mut waiting.woken);
        if waiting.events.is_empty() {
            return if waiting.closed && !woken { Taken::Closed } else { Taken::Nothing };
        }
        waiting.taken += 1;
        waiting.stalled = false;
        waiting.writing_since = waiting.since.take();
        let events = std::mem::take(&mut waiting.events);
        drop(waiting);
        self.gone.notify_all();
        Taken::Events(events)
    }

    /// What was taken last is in the file, or lost.
    pub(super) fn written(&self) {
        let mut waiting = self.waiting();
        waiting.written = waiting.taken;
        waiting.writing_since = None;
        waiting.stalled = false;
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

    /// Makes the writer look at its limits.
    pub(super) fn wake(&self) {
        self.waiting().woken = true;
        self.come.notify_all();
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

#[cfg(test)]
mod tests {
    use message::{MessageId, Timestamp};

    use super::*;
    use crate::observe::event::What;
    use crate::platform::clock::Clock;

    fn event() -> Vec<Event> {
        let what = What::Failed { reason: "no".into() };
        vec![Event::new(Timestamp::from_ms(1), MessageId::from_u64(1), what)]
    }

    #[test]
    fn nothing_waits_longer_than_a_killed_process_may_leave_out() {
        let room = Room::default();
        let start = Clock::system().instant();
        assert!(room.enter(event(), start));
        assert!(room.enter(event(), start + UNWRITTEN_MAX));
        let late = start + UNWRITTEN_MAX + Duration::from_millis(1);
        assert!(!room.enter(event(), late), "the first has waited too long");
        let Taken::Events(taken) = room.take(Duration::ZERO) else { panic!("nothing to take") };
        assert_eq!(taken.len(), 2);
        assert!(!room.enter(event(), late), "it is not written yet");
        room.written();
        assert!(room.enter(event(), late));
    }
}
