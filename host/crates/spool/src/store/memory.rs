//! The store in memory: two images, what is written and what a crash would leave.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::{Between, Changes, Expiry, Faults, Store, StoreError};
use crate::entry::{Entry, Key, NEVER_MS};
use crate::error::ReadError;

/// Everything that is stored, at one moment.
#[derive(Debug, Default, Clone)]
pub(super) struct Image {
    pub(super) entries: BTreeMap<u64, Entry>,
    bodies: BTreeMap<u64, Bytes>,
    keys: BTreeMap<Bytes, Key>,
    expiring: BTreeSet<(u64, Bytes)>,
}

/// What is written, what of it is synced, and what came between.
#[derive(Debug, Default)]
pub(super) struct Images {
    live: Image,
    synced: Image,
    unsynced: Vec<Changes>,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Memory {
    images: Arc<Mutex<Images>>,
    faults: Faults,
}

impl Memory {
    pub(crate) fn new() -> (Self, Faults) {
        Self::from_image(Image::default())
    }

    pub(super) fn from_image(image: Image) -> (Self, Faults) {
        let images = Images { live: image.clone(), synced: image, unsynced: Vec::new() };
        let images = Arc::new(Mutex::new(images));
        let faults = Faults::new(Arc::clone(&images));
        (Self { images, faults: faults.clone() }, faults)
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.read(|image| image.entries.values().cloned().collect())
    }

    fn read<T>(&self, look: impl FnOnce(&Image) -> T) -> T {
        look(&self.images.lock().unwrap_or_else(PoisonError::into_inner).live)
    }
}

impl Store for Memory {
    fn write(&self, changes: &Changes, sync: bool) -> Result<(), StoreError> {
        self.faults.before_write()?;
        {
            let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
            images.live.apply(changes);
            images.unsynced.push(changes.clone());
        }
        if sync { self.sync() } else { Ok(()) }
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.faults.before_sync()?;
        self.images.lock().unwrap_or_else(PoisonError::into_inner).sync();
        Ok(())
    }

    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn entry(&self, id: u64) -> Result<Option<Entry>, ReadError> {
        Ok(self.read(|image| image.entries.get(&id).cloned()))
    }

    fn entries_between(&self, first: u64, last: u64) -> Result<Between, ReadError> {
        let read = |image: &Image| {
            let range = image.entries.range(first..=last);
            range.map(|(&id, entry)| (id, Ok(entry.clone()))).collect()
        };
        Ok(self.read(read))
    }

    fn body(&self, id: u64) -> Result<Option<Bytes>, ReadError> {
        Ok(self.read(|image| image.bodies.get(&id).cloned()))
    }

    fn find(&self, key: &[u8]) -> Result<Option<Key>, ReadError> {
        Ok(self.read(|image| image.keys.get(key).cloned()))
    }

    fn keys_with_prefix(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Key>, ReadError> {
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        Ok(self.read(|image| {
            let keys = image.keys.range::<[u8], _>((from, Bound::Unbounded));
            let keys = keys.skip_while(|(key, _)| key.as_ref() < prefix);
            let keys = keys.take_while(|(key, _)| key.starts_with(prefix));
            keys.take(limit).map(|(_, value)| value.clone()).collect()
        }))
    }

    fn expired_keys(&self, now_ms: u64, limit: usize) -> Result<Vec<Expiry>, ReadError> {
        Ok(self.read(|image| {
            let past = image.expiring.range(..(now_ms.saturating_add(1), Bytes::new()));
            let expiry = |(expires_ms, key): &(u64, Bytes)| Expiry {
                expires_ms: *expires_ms,
                key: key.clone(),
                current: true,
            };
            past.take(limit).map(expiry).collect()
        }))
    }

    fn aside(&self, _limit: usize) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        Ok(Vec::new())
    }

    fn free_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.faults.free_bytes())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

impl Images {
    fn sync(&mut self) {
        for changes in self.unsynced.drain(..) {
            self.synced.apply(&changes);
        }
    }

    /// What is left if the machine stops now and the first `unsynced` unsynced groups happened to
    /// reach the disk.
    pub(super) fn after_crash(&self, unsynced: usize) -> Image {
        let mut image = self.synced.clone();
        for changes in self.unsynced.iter().take(unsynced) {
            image.apply(changes);
        }
        image
    }
}

impl Image {
    fn apply(&mut self, changes: &Changes) {
        for (id, entry) in &changes.entries {
            match entry {
                Some(entry) => self.entries.insert(*id, entry.clone()),
                None => self.entries.remove(id),
            };
        }
        for (id, body) in &changes.bodies {
            match body {
                Some(body) => self.bodies.insert(*id, body.clone()),
                None => self.bodies.remove(id),
            };
        }
        for id in &changes.aside {
            self.entries.remove(id);
        }
        for (key, value) in &changes.keys {
            let before = match value {
                Some(value) => self.keys.insert(key.clone(), value.clone()),
                None => self.keys.remove(key),
            };
            if let Some(before) = before {
                self.expiring.remove(&(before.expires_ms, key.clone()));
            }
            if let Some(value) = value.as_ref().filter(|value| value.expires_ms != NEVER_MS) {
                self.expiring.insert((value.expires_ms, key.clone()));
            }
        }
    }
}
