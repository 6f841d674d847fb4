//! What a store has to do, once the writer's thread has sorted out what is to be written.

mod memory;
mod faults;
mod disk;

use bytes::Bytes;

use crate::entry::{Entry, Key};
use crate::error::ReadError;

pub(crate) use disk::{open as open_disk, record, verify as verify_disk};
pub use faults::Faults;
pub(crate) use memory::Memory;

/// One group's changes, each entry, body and key at most once: the last word on it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Changes {
    /// The new entry, or its removal.
    pub(crate) entries: Vec<(u64, Option<Entry>)>,
    /// The new body, or its removal.
    pub(crate) bodies: Vec<(u64, Option<Bytes>)>,
    /// The new value, or its removal.
    pub(crate) keys: Vec<(Bytes, Option<Key>)>,
    /// Notes on when a key expires that were acted upon or outdated.
    pub(crate) notes: Vec<Expiry>,
    /// Entries that cannot be read: moved out of the way, kept as evidence.
    pub(crate) aside: Vec<u64>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.bodies.is_empty()
            && self.keys.is_empty()
            && self.notes.is_empty()
            && self.aside.is_empty()
    }
}

/// A note that a key expires at some time, and whether that is still so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expiry {
    pub(crate) expires_ms: u64,
    pub(crate) key: Bytes,
    pub(crate) current: bool,
}

/// Ids, and the entry of each or what is wrong with it.
pub(crate) type Between = Vec<(u64, Result<Entry, ReadError>)>;

/// Why a store did not write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreError {
    /// No room; nothing of the group was kept and the store is sound.
    Full,
    /// Anything else; the store must not be written again.
    Broken(String),
}

/// A place for records. Only the writer's thread calls the methods that change it; anybody reads.
pub(crate) trait Store: Send + Sync + std::fmt::Debug {
    /// Writes a group atomically, and with `sync` makes it and all before it durable.
    fn write(&self, changes: &Changes, sync: bool) -> Result<(), StoreError>;
    /// Makes all that was written durable.
    fn sync(&self) -> Result<(), StoreError>;
    /// Gives up whatever the store holds open, after the last write.
    fn close(&self) -> Result<(), StoreError>;

    fn entry(&self, id: u64) -> Result<Option<Entry>, ReadError>;
    /// Entries from one id to another, both included, in order: one walk instead of many searches.
    /// What is corrupt is an error in its place.
    fn entries_between(&self, first: u64, last: u64) -> Result<Between, ReadError>;
    fn body(&self, id: u64) -> Result<Option<Bytes>, ReadError>;
    fn find(&self, key: &[u8]) -> Result<Option<Key>, ReadError>;
    /// Keys that begin with `prefix`, after `after`, in order.
    fn keys_with_prefix(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Key>, ReadError>;
    /// What was noted to expire up to `now_ms`, the longest expired first.
    fn expired_keys(&self, now_ms: u64, limit: usize) -> Result<Vec<Expiry>, ReadError>;

    /// Evidence: keys and records that were set aside.
    fn aside(&self, limit: usize) -> Result<Vec<(Bytes, Bytes)>, ReadError>;

    /// What the file system has left.
    fn free_bytes(&self) -> Result<u64, StoreError>;
    /// What the store takes on disk.
    fn disk_bytes(&self) -> u64;
}
