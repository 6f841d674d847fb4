//! The one door: a draft is decided, planned and committed; only then is it ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use message::{Message, MessageId};
use spool::Durable;

use crate::config::Reply;

/// A parsed inbound message, nobody's yet. Its id comes from the router.
#[derive(Debug)]
pub struct Draft {
    /// What came in.
    pub message: Message,
}

/// What became of a draft.
#[derive(Debug)]
pub enum Outcome {
    /// It is ours; the peer may forget it.
    Accepted(Accepted),
    /// It is not; nothing was written.
    Refused(Refusal),
}

/// Proof that a message is durable. Functions that write `250` or `ESME_ROK` take one.
#[derive(Debug)]
pub struct Accepted {
    /// The id that the peer is given.
    pub id: MessageId,
    /// Shared by all messages of one commit.
    _proof: Proof,
}

/// What was written, or why nothing had to be.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    /// A finished sync.
    Durable(#[expect(dead_code, reason = "it is the proof, nobody reads it")] Arc<Durable>),
    /// A rule said to take it and forget it: there is nothing to keep.
    Nothing,
}

impl Accepted {
    pub(crate) const fn new(id: MessageId, proof: Proof) -> Self {
        Self { id, _proof: proof }
    }
}

/// The answer to a peer whose message we do not take, in both protocols' terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whether coming again is pointless.
    pub permanent: bool,
    /// SMTP reply code.
    pub smtp_code: u16,
    /// Enhanced status code (RFC 3463).
    pub enhanced: Arc<str>,
    /// SMPP command_status.
    pub smpp_status: u32,
    /// For people; nothing of ours in it.
    pub text: Arc<str>,
}

impl Refusal {
    /// A refusal in the terms of a reply.
    #[must_use]
    pub fn from_reply(reply: &Reply, permanent: bool) -> Self {
        Self {
            permanent,
            smtp_code: reply.smtp_code,
            enhanced: Arc::clone(&reply.enhanced),
            smpp_status: reply.smpp_status,
            text: Arc::clone(&reply.text),
        }
    }

    /// Why a commit did not happen: come again later.
    #[must_use]
    pub fn from_commit(error: &spool::CommitError) -> Self {
        let (enhanced, smpp_status, text) = match error {
            spool::CommitError::Full { .. } => ("4.3.1", 0x14, "Insufficient system storage"),
            spool::CommitError::Busy => ("4.3.2", 0x58, "Too busy, try again later"),
            _ => ("4.3.0", 0x08, "Temporary failure, try again later"),
        };
        let smtp_code = if enhanced == "4.3.1" { 452 } else { 451 };
        Self {
            permanent: false,
            smtp_code,
            enhanced: enhanced.into(),
            smpp_status,
            text: text.into(),
        }
    }
}

/// What a message is taken to need before it says more.
const DRAFT_BYTES_MIN: usize = 64 * 1024;

/// Memory for drafts at all doors together, whose size nobody knows before they are there.
#[derive(Debug, Default)]
pub struct DraftRoom {
    bytes: AtomicUsize,
}

/// Memory set aside for one draft, until it is dropped.
#[derive(Debug)]
pub struct DraftBytes {
    room: Arc<DraftRoom>,
    bytes: usize,
    bytes_max: usize,
}

impl DraftBytes {
    /// Sets memory aside for a message of the announced size; none if all drafts would need more than
    /// `bytes_max`.
    #[must_use]
    pub fn reserve(room: &Arc<DraftRoom>, announced: u64, bytes_max: u64) -> Option<Self> {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let mut reserved = Self { room: Arc::clone(room), bytes: 0, bytes_max };
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        reserved.grow_to(announced.max(DRAFT_BYTES_MIN)).then_some(reserved)
    }

    /// Makes it this much; false if there is no room.
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let fits = |used: usize| used.checked_add(more).filter(|used| *used <= self.bytes_max);
        let used = &self.room.bytes;
        let grown =
            more == 0 || used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if grown {
            self.bytes = self.bytes.max(bytes);
        }
        grown
    }
}

impl Drop for DraftBytes {
    fn drop(&mut self) {
        self.room.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_for_drafts_has_a_bound_and_comes_back() {
        const MAX: usize = 1 << 20;
        let room = Arc::new(DraftRoom::default());
        let first = DraftBytes::reserve(&room, MAX as u64 / 2, MAX as u64).unwrap();
        let mut second = DraftBytes::reserve(&room, 1, MAX as u64).unwrap();
        assert!(!second.grow_to(MAX));
        assert!(DraftBytes::reserve(&room, MAX as u64 / 2, MAX as u64).is_none());
        drop(first);
        assert!(second.grow_to(MAX));
        drop(second);
        assert_eq!(room.bytes.load(Ordering::Relaxed), 0);
    }
}
