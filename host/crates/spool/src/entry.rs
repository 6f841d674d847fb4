//! What is stored: an entry's columns and bytes, and the ways to walk through entries.

use std::sync::Arc;

use bytes::Bytes;

/// A time that never comes, for [`Entry::due_ms`] and every `expires_ms`.
pub const NEVER_MS: u64 = u64::MAX;

/// The [`Entry::body`] of an entry that needs none.
pub const NO_BODY: u64 = 0;

/// One piece of work that must not be forgotten.
///
/// The columns are what the spool can search by; `bytes` belong to the owner, who versions them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Unique among entries; never 0.
    pub id: u64,
    /// The id of the body it needs, or [`NO_BODY`]. A body goes with its last entry.
    pub body: u64,
    /// Where it is bound. At most [`crate::Options::NAME_BYTES_MAX`] bytes; may be empty.
    pub target: Arc<str>,
    /// The owner's state; the spool only searches by it.
    pub state: u8,
    /// From when on it may be claimed, in milliseconds of the owner's epoch. [`NEVER_MS`]: only
    /// by a change of the entry.
    pub due_ms: u64,
    /// The owner's priority; the spool only stores it.
    pub priority: u8,
    /// Whose it is. At most [`crate::Options::NAME_BYTES_MAX`] bytes; may be empty.
    pub account: Arc<str>,
    /// When it expires, wherever it sits; [`NEVER_MS`] for never.
    pub expires_ms: u64,
    /// The owner's bytes.
    pub bytes: Bytes,
}

/// The way a scan walks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Index {
    /// All entries, by id.
    Id,
    /// The entries of one target, claimed or not, by due time and then id.
    Target(Arc<str>),
    /// The entries in one state, by id.
    State(u8),
}

/// Where a scan goes on: after the position it names.
///
/// It stays valid whatever is committed meanwhile; an entry that moved in the index during a scan
/// may be seen twice or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The due time for a scan by target, else 0.
    pub due_ms: u64,
    /// The id of the last entry seen.
    pub id: u64,
}

/// One node's right to work on what it claimed.
///
/// In the embedded implementations a lease never ends and its claims do not outlive the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub(crate) node: u32,
    pub(crate) epoch: u64,
}

impl Lease {
    /// The node that holds it.
    #[must_use]
    pub fn node(&self) -> u32 {
        self.node
    }

    /// Grows with every lease given out.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

/// A keyed value as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// When it may be swept; [`NEVER_MS`] for never.
    pub expires_ms: u64,
}
