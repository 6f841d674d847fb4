//! Totals: what batches count, by the key under which the store keeps each.
//!
//! They change with the index, under its lock, so that whoever reads both sees one moment; and they
//! are stored in the same atomic write as the entries they count.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::entry::{Key, NEVER_MS};

/// Keys of totals begin with this; owners leave it alone.
pub(crate) const TOTAL_PREFIX: &[u8] = b"\0total/";

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    by_key: BTreeMap<Bytes, u64>,
}

/// What one group adds.
#[derive(Debug, Default)]
pub(crate) struct Added {
    by_name: BTreeMap<(&'static str, Arc<str>), u64>,
}

impl Totals {
    /// Each total, by `COLUMN/NAME`.
    pub(crate) fn all(&self) -> Vec<(Arc<str>, u64)> {
        let name = |key: &Bytes| {
            String::from_utf8_lossy(key.get(TOTAL_PREFIX.len()..).unwrap_or_default()).into()
        };
        self.by_key.iter().map(|(key, total)| (name(key), *total)).collect()
    }

    pub(super) fn set(&mut self, totals: impl IntoIterator<Item = (Bytes, u64)>) {
        self.by_key.extend(totals);
    }
}

impl Added {
    pub(crate) fn add(&mut self, (column, name, more): (&'static str, Arc<str>, u64)) {
        let sum = self.by_name.entry((column, name)).or_default();
        *sum = sum.saturating_add(more);
    }

    /// The new totals.
    pub(crate) fn on_top_of(&self, totals: &Totals) -> Vec<(Bytes, u64)> {
        let mut new: Vec<(Bytes, u64)> = Vec::with_capacity(self.by_name.len());
        for ((column, name), more) in &self.by_name {
            let mut key = Vec::with_capacity(TOTAL_PREFIX.len() + column.len() + 1 + name.len());
            key.extend_from_slice(TOTAL_PREFIX);
            key.extend_from_slice(column.as_bytes());
            key.push(b'/');
            key.extend_from_slice(name.as_bytes());
            let key = Bytes::from(key);
            let total = totals.by_key.get(&key).copied().unwrap_or(0).saturating_add(*more);
            new.push((key, total));
        }
        new
    }
}

/// A total as a keyed value.
pub(crate) fn stored(key: &Bytes, total: u64) -> (Bytes, Option<Key>) {
    let value = Bytes::copy_from_slice(&total.to_be_bytes());
    (key.clone(), Some(Key { key: key.clone(), value, expires_ms: NEVER_MS }))
}

/// A keyed value as a total; none if it is something else.
pub(crate) fn restored(key: Key) -> Option<(Bytes, u64)> {
    let total = <[u8; 8]>::try_from(&*key.value).map(u64::from_be_bytes).ok()?;
    key.key.starts_with(TOTAL_PREFIX).then_some((key.key, total))
}
