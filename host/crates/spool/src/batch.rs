//! What is committed together: all of it or nothing.

use std::sync::Arc;

use bytes::Bytes;

use crate::entry::{Entry, Key, Lease};

/// What one operation costs beside its bytes: columns, lengths, checksums, journal framing.
const OPERATION_BYTES: usize = 64;

/// One operation, in the order it was asked for.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    PutBody(u64, Bytes),
    PutEntry(Entry, Option<Lease>),
    RemoveEntry(u64),
    PutKey(Key),
    RemoveKey(Bytes),
}

/// Changes that become durable together or not at all; later ones win over earlier ones.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    pub(crate) operations: Vec<Operation>,
    /// What is added to totals: column, name, how much.
    pub(crate) counts: Vec<(&'static str, Arc<str>, u64)>,
    size_bytes: usize,
    puts_body: bool,
    puts: bool,
}

impl Batch {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one with room for `operations`.
    #[must_use]
    pub fn with_capacity(operations: usize) -> Self {
        Self { operations: Vec::with_capacity(operations), ..Self::default() }
    }

    /// Stores a body. Some entry of the same batch must name it; it goes with its last entry.
    pub fn put_body(&mut self, id: u64, bytes: Bytes) {
        self.puts_body = true;
        self.push(bytes.len(), Operation::PutBody(id, bytes));
    }

    /// Inserts or replaces an entry and leaves it to whoever claims it; a claim on it ends.
    pub fn put_entry(&mut self, entry: Entry) {
        self.puts = true;
        self.push(entry_bytes(&entry), Operation::PutEntry(entry, None));
    }

    /// Inserts or replaces an entry that the holder of `lease` works on: it is claimed from the
    /// moment it is durable.
    pub fn put_claimed(&mut self, entry: Entry, lease: &Lease) {
        self.puts = true;
        self.push(entry_bytes(&entry), Operation::PutEntry(entry, Some(*lease)));
    }

    /// Removes an entry, and its body if no other entry needs it. An unknown id changes nothing.
    pub fn remove_entry(&mut self, id: u64) {
        self.push(0, Operation::RemoveEntry(id));
    }

    /// Inserts or replaces a keyed value, to be swept from `expires_ms` on
    /// ([`crate::NEVER_MS`] for never).
    pub fn put_key(&mut self, key: Bytes, value: Bytes, expires_ms: u64) {
        self.puts = true;
        self.push(key.len() + value.len(), Operation::PutKey(Key { key, value, expires_ms }));
    }

    /// Removes a keyed value. An unknown key changes nothing.
    pub fn remove_key(&mut self, key: Bytes) {
        self.push(key.len(), Operation::RemoveKey(key));
    }

    /// Adds to the total of `name` in `column`, for which it becomes durable together with the rest:
    /// after a crash totals and entries are of the same moment. Costs nothing that a batch has to be
    /// refused for. See [`crate::Stats::totals`].
    pub fn count(&mut self, column: &'static str, name: &Arc<str>, more: u64) {
        if more > 0 {
            self.size_bytes += OPERATION_BYTES;
            self.counts.push((column, Arc::clone(name), more));
        }
    }

    /// Takes over everything from `other`, after what is already here.
    pub fn append(&mut self, other: Self) {
        self.size_bytes += other.size_bytes;
        self.puts_body |= other.puts_body;
        self.puts |= other.puts;
        self.operations.extend(other.operations);
        self.counts.extend(other.counts);
    }

    /// About how many bytes this writes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// How many operations it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty() && self.counts.is_empty()
    }

    /// Whether it changes nothing but totals: nobody has to wait for such a batch.
    #[must_use]
    pub fn only_counts(&self) -> bool {
        self.operations.is_empty()
    }

    /// Whether it brings new bodies: the first to be refused when space runs out.
    pub(crate) fn puts_body(&self) -> bool {
        self.puts_body
    }

    /// Whether it writes anything but removals.
    pub(crate) fn puts(&self) -> bool {
        self.puts || self.puts_body
    }

    fn push(&mut self, bytes: usize, operation: Operation) {
        self.size_bytes += OPERATION_BYTES + bytes;
        self.operations.push(operation);
    }
}

fn entry_bytes(entry: &Entry) -> usize {
    entry.bytes.len() + entry.target.len() + entry.account.len()
}
