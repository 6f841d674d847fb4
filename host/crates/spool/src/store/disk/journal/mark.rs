//! What every group says about the groups before it, so that a reader of the journal can tell a torn
//! end from damage.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// The key space that holds marks: the first that is created.
pub(super) const META_ID: u64 = 1;
/// Under this key.
pub(in crate::store::disk) const MARK_KEY: &[u8] = b"group";
/// Three numbers.
pub(super) const MARK_BYTES: u64 = 24;

/// A group's number, and which groups were synced before it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::disk) struct Mark {
    /// The store's own random number: content that looks like a journal does not know it.
    pub(in crate::store::disk) salt: u64,
    /// Counts groups, without gaps.
    pub(in crate::store::disk) group: u64,
    /// The last group that was known to be synced when this one was written.
    pub(in crate::store::disk) synced: u64,
}

impl Mark {
    /// Before the first group of a new store.
    pub(in crate::store::disk) fn first() -> Self {
        Self { salt: RandomState::new().build_hasher().finish(), group: 0, synced: 0 }
    }

    pub(in crate::store::disk) fn encode(self) -> Vec<u8> {
        [self.salt, self.group, self.synced].iter().flat_map(|n| n.to_be_bytes()).collect()
    }

    pub(in crate::store::disk) fn decode(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        match (numbers, rest) {
            ([salt, group, synced], []) => Some(Self {
                salt: u64::from_be_bytes(*salt),
                group: u64::from_be_bytes(*group),
                synced: u64::from_be_bytes(*synced),
            }),
            _ => None,
        }
    }

    pub(super) fn is_under(keyspace: u64, key: &[u8]) -> bool {
        keyspace == META_ID && key == MARK_KEY
    }
}
