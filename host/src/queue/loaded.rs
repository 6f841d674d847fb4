//! Content of deliveries that is kept in memory: bounded in number for each target, and in octets for
//! all targets together. What does not fit is read from the spool when its turn comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use message::MessageId;

use crate::delivery::Queued;

/// Deliveries kept in memory with their message, per target.
pub const LOADED_MAX: usize = 20_000;
/// Octets of messages kept in memory by all targets together.
pub const LOADED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a delivery takes beside its content, about.
const OVERHEAD_BYTES: usize = 1024;

/// Memory for waiting messages, shared by all queues.
#[derive(Debug, Default)]
pub struct Room {
    bytes: AtomicUsize,
}

impl Room {
    /// Octets that are in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn enter(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|used| *used <= LOADED_BYTES_MAX);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn leave(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The content that one queue keeps.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    items: BTreeMap<MessageId, Box<Queued>>,
    room: Arc<Room>,
}

impl Loaded {
    pub(super) const fn new(room: Arc<Room>) -> Self {
        Self { items: BTreeMap::new(), room }
    }

    /// Keeps a delivery if there is room. Recipients of one message share its content and still count
    /// it each: the more they are, the sooner they are read again, which costs them less.
    pub(super) fn keep(&mut self, queued: Box<Queued>) {
        if self.items.len() < LOADED_MAX && self.room.enter(bytes(&queued)) {
            let id = queued.delivery.id;
            if let Some(before) = self.items.insert(id, queued) {
                self.room.leave(bytes(&before));
            }
        }
    }

    pub(super) fn take(&mut self, id: MessageId) -> Option<Box<Queued>> {
        let queued = self.items.remove(&id)?;
        self.room.leave(bytes(&queued));
        Some(queued)
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.room.leave(self.items.values().map(|queued| bytes(queued)).sum());
    }
}

fn bytes(queued: &Queued) -> usize {
    OVERHEAD_BYTES.saturating_add(queued.message.content.size_bytes())
}
