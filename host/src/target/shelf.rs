//! Content of what waits: in memory within a bound, else in the spool. Recipients of one message share
//! it, however and whenever it was read.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use message::{Message, MessageId};
use spool::Spool;

use crate::delivery::{Delivery, Queued};
use crate::queue::loaded::Room;
use crate::spooler::{self, LoadError};

/// Messages below this size are not worth remembering: a copy costs as much.
const SHARED_BYTES_MIN: usize = 4 * 1024;
/// Remembered messages at which those that are gone are forgotten.
const FORGET_AT: usize = 256;

/// One for all targets of a router.
#[derive(Debug)]
pub struct Shelf {
    spool: Spool,
    room: Arc<Room>,
    known: Mutex<Known>,
    /// What was found to be unreadable, until somebody asks.
    damaged: Mutex<BTreeSet<MessageId>>,
}

/// Large messages that somebody holds.
#[derive(Debug)]
struct Known {
    messages: HashMap<MessageId, Weak<Message>>,
    forget_at: usize,
}

impl Shelf {
    /// Nothing is in memory yet.
    #[must_use]
    pub fn new(spool: Spool) -> Self {
        let known = Known { messages: HashMap::new(), forget_at: FORGET_AT };
        let (room, damaged) = Default::default();
        Self { spool, room, known: Mutex::new(known), damaged }
    }

    /// Memory for waiting messages.
    #[must_use]
    pub const fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// Remembers a message while somebody holds it.
    pub fn remember(&self, message: &Arc<Message>) {
        if message.content.size_bytes() < SHARED_BYTES_MIN {
            return;
        }
        let mut known = self.lock();
        known.messages.insert(message.id, Arc::downgrade(message));
        if known.messages.len() >= known.forget_at {
            known.messages.retain(|_, message| message.strong_count() > 0);
            known.forget_at = known.messages.len().saturating_mul(2).max(FORGET_AT);
        }
    }

    /// Reads a delivery without its message.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn delivery(&self, id: MessageId) -> Result<Delivery, LoadError> {
        spooler::delivery(&self.spool, id)
    }

    /// Reads a delivery, and its message unless somebody holds it.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(&self, id: MessageId) -> Result<Queued, LoadError> {
        let delivery = self.delivery(id)?;
        let held = self.lock().messages.get(&delivery.body).and_then(Weak::upgrade);
        if let Some(message) = held {
            return Ok(Queued { delivery, message });
        }
        let message = Arc::new(spooler::message(&self.spool, delivery.body)?);
        self.remember(&message);
        Ok(Queued { delivery, message })
    }

    /// A delivery cannot be read, now or later, and has left its queue.
    pub fn note_damaged(&self, id: MessageId) {
        self.damaged().insert(id);
    }

    /// What was noted so, at most `max`.
    #[must_use]
    pub fn take_damaged(&self, max: usize) -> Vec<MessageId> {
        let mut damaged = self.damaged();
        std::iter::from_fn(|| damaged.pop_first()).take(max).collect()
    }

    fn damaged(&self) -> MutexGuard<'_, BTreeSet<MessageId>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
