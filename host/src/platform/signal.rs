//! A number that many wait for: each change wakes all of them, in the order in which they came.
//!
//! Tokio's `watch` wakes in an order that two runs do not share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Rooms in which receivers wait, so that thousands of them do not want one lock.
const ROOMS: usize = 8;

/// Tells of a number.
#[derive(Debug)]
pub struct Signal {
    shared: Arc<Shared>,
}

/// Hears of it.
#[derive(Debug)]
pub struct Listening {
    shared: Arc<Shared>,
    room: usize,
    seen: u64,
}

#[derive(Debug)]
struct Shared {
    number: AtomicU64,
    come: AtomicUsize,
    rooms: [Notify; ROOMS],
}

impl Signal {
    /// The first number, of which nobody is told.
    #[must_use]
    pub fn new(number: u64) -> Self {
        let number = AtomicU64::new(number);
        let rooms = std::array::from_fn(|_| Notify::new());
        Self { shared: Arc::new(Shared { number, come: AtomicUsize::new(0), rooms }) }
    }

    /// Somebody who hears of numbers after this one.
    #[must_use]
    pub fn listen(&self) -> Listening {
        let room = self.shared.come.fetch_add(1, Ordering::Relaxed) % ROOMS;
        let seen = self.shared.number.load(Ordering::Acquire);
        Listening { shared: Arc::clone(&self.shared), room, seen }
    }

    /// Tells everybody.
    pub fn set(&self, number: u64) {
        self.shared.number.store(number, Ordering::Release);
        for room in &self.shared.rooms {
            room.notify_waiters();
        }
    }
}

impl Listening {
    /// Waits for another number than the last one heard. Cancel safe.
    pub async fn changed(&mut self) {
        loop {
            let Some(room) = self.shared.rooms.get(self.room) else { return };
            // Before the look: it hears of what is set in between.
            let notified = room.notified();
            let number = self.shared.number.load(Ordering::Acquire);
            if number != self.seen {
                self.seen = number;
                return;
            }
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_change_is_heard_once_by_everybody_who_was_there() {
        let signal = Signal::new(1);
        let (mut early, mut other) = (signal.listen(), signal.listen());
        assert_eq!(early.changed().now_or_never(), None);
        signal.set(2);
        let mut late = signal.listen();
        assert_eq!(early.changed().now_or_never(), Some(()));
        assert_eq!(early.changed().now_or_never(), None);
        assert_eq!(other.changed().now_or_never(), Some(()));
        assert_eq!(late.changed().now_or_never(), None);
        signal.set(3);
        assert_eq!(late.changed().now_or_never(), Some(()));
    }
}
