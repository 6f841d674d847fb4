//! Many batches as one: what each may do, and the last word on every record.

use std::collections::HashMap;

use bytes::Bytes;

use crate::batch::{Batch, Operation};
use crate::entry::{Entry, Key, Lease, NO_BODY};
use crate::error::CommitError;
use crate::index::{Added, Columnar, TOTAL_PREFIX, stored};
use crate::options::Options;
use crate::store::{Changes, Expiry};

#[derive(Debug)]
struct EntryChange {
    id: u64,
    put: Option<(Entry, Option<Lease>)>,
    existed: bool,
}

#[derive(Debug)]
struct BodyChange {
    id: u64,
    put: Option<Bytes>,
    existed: bool,
    /// How many entries need it, counting those of this group.
    needs: u32,
}

/// The batches taken together so far; each sees what those before it did.
#[derive(Debug, Default)]
pub(super) struct Group {
    entries: Vec<EntryChange>,
    entry_at: HashMap<u64, usize>,
    bodies: Vec<BodyChange>,
    body_at: HashMap<u64, usize>,
    keys: Vec<(Bytes, Option<Key>)>,
    key_at: HashMap<Bytes, usize>,
    aside: Vec<u64>,
    added: Added,
}

impl Group {
    /// Takes a batch in, all of it or, with the reason, nothing.
    pub(super) fn add(&mut self, batch: Batch, index: &Columnar) -> Result<(), CommitError> {
        self.check(&batch, index)?;
        for count in batch.counts {
            self.added.add(count);
        }
        for operation in batch.operations {
            match operation {
                Operation::PutBody(id, bytes) => self.body(id, index).put = Some(bytes),
                Operation::PutEntry(entry, lease) => self.put_entry(entry, lease, index),
                Operation::RemoveEntry(id) => self.remove_entry(id, index),
                Operation::PutKey(key) => self.set_key(key.key.clone(), Some(key)),
                Operation::RemoveKey(key) => self.set_key(key, None),
            }
        }
        Ok(())
    }

    /// Moves an entry that cannot be read out of the way, unless a batch replaced or removed it.
    pub(super) fn set_aside(&mut self, id: u64, index: &Columnar) {
        let touched = self.entry_at.contains_key(&id) || self.aside.contains(&id);
        if !touched && index.body_of(id).is_some() {
            self.aside.push(id);
        }
    }

    /// Removes expired keys, except those that a batch has just spoken about; says how many.
    pub(super) fn sweep(&mut self, expired: &[Expiry]) -> usize {
        let mut swept = 0;
        for expiry in expired {
            if expiry.current && !self.key_at.contains_key(&expiry.key) {
                self.set_key(expiry.key.clone(), None);
                swept += 1;
            }
        }
        swept
    }

    /// What totals come to with this group.
    pub(super) fn totals(&self, index: &Columnar) -> Vec<(Bytes, u64)> {
        self.added.on_top_of(index.totals())
    }

    /// What is to be written, with these totals.
    pub(super) fn changes(&mut self, totals: &[(Bytes, u64)]) -> Changes {
        // Whatever a batch says about an entry wins over its evidence.
        self.aside.retain(|id| !self.entry_at.contains_key(id));
        let mut changes = Changes { aside: self.aside.clone(), ..Changes::default() };
        for EntryChange { id, put, existed } in &self.entries {
            if put.is_some() || *existed {
                changes.entries.push((*id, put.as_ref().map(|(entry, _)| entry.clone())));
            }
        }
        for BodyChange { id, put, existed, needs } in &self.bodies {
            if *needs == 0 && *existed {
                changes.bodies.push((*id, None));
            } else if let (1.., Some(bytes)) = (*needs, put) {
                changes.bodies.push((*id, Some(bytes.clone())));
            }
        }
        changes.keys.clone_from(&self.keys);
        changes.keys.extend(totals.iter().map(|(key, total)| stored(key, *total)));
        changes
    }

    /// Brings the index to what was written.
    pub(super) fn apply(self, index: &mut Columnar, totals: Vec<(Bytes, u64)>) {
        index.set_totals(totals);
        for change in self.entries {
            match change.put {
                Some((entry, lease)) => index.put(&entry, lease),
                None => index.remove(change.id),
            }
        }
        for id in self.aside {
            // The evidence keeps its body.
            index.pin_body(index.body_of(id).unwrap_or(NO_BODY));
            index.remove(id);
            index.count_aside();
        }
    }

    /// Whether every body has its entry and every entry its body, and nothing is too long.
    fn check(&self, batch: &Batch, index: &Columnar) -> Result<(), CommitError> {
        let mut put: Vec<(u64, bool)> = Vec::new();
        for operation in &batch.operations {
            if let Operation::PutBody(id, bytes) = operation {
                if *id == NO_BODY || bytes.len() > Options::BODY_BYTES_MAX {
                    return Err(CommitError::Invalid("a body has id 0 or is too long"));
                }
                put.push((*id, false));
            }
        }
        put.sort_unstable();
        for operation in &batch.operations {
            match operation {
                Operation::PutEntry(entry, _) => {
                    check_entry(entry)?;
                    if let Ok(at) = put.binary_search_by_key(&entry.body, |&(id, _)| id) {
                        put[at].1 = true;
                    } else if entry.body != NO_BODY && self.needs(entry.body, index) == 0 {
                        return Err(CommitError::Invalid(
                            "an entry needs a body that is not there",
                        ));
                    }
                }
                Operation::PutKey(key) => check_key(key)?,
                Operation::PutBody(..) | Operation::RemoveEntry(_) | Operation::RemoveKey(_) => {}
            }
        }
        let named =
            put.chunk_by(|a, b| a.0 == b.0).all(|same| same.iter().any(|&(_, named)| named));
        if named { Ok(()) } else { Err(CommitError::Invalid("a body has no entry that needs it")) }
    }

    fn needs(&self, body: u64, index: &Columnar) -> u32 {
        match self.body_at.get(&body) {
            Some(&at) => self.bodies[at].needs,
            None => index.needs(body),
        }
    }

    fn put_entry(&mut self, entry: Entry, lease: Option<Lease>, index: &Columnar) {
        self.remove_entry(entry.id, index);
        if entry.body != NO_BODY {
            self.body(entry.body, index).needs += 1;
        }
        let at = self.entry(entry.id, index);
        self.entries[at].put = Some((entry, lease));
    }

    fn remove_entry(&mut self, id: u64, index: &Columnar) {
        let first_touch = !self.entry_at.contains_key(&id);
        let at = self.entry(id, index);
        let before = match self.entries[at].put.take() {
            Some((entry, _)) => Some(entry.body),
            None if first_touch => index.body_of(id),
            None => None,
        };
        if let Some(body) = before.filter(|&body| body != NO_BODY) {
            let body = self.body(body, index);
            body.needs = body.needs.saturating_sub(1);
        }
    }

    fn entry(&mut self, id: u64, index: &Columnar) -> usize {
        let entries = &mut self.entries;
        *self.entry_at.entry(id).or_insert_with(|| {
            entries.push(EntryChange { id, put: None, existed: index.body_of(id).is_some() });
            entries.len() - 1
        })
    }

    fn body(&mut self, id: u64, index: &Columnar) -> &mut BodyChange {
        let bodies = &mut self.bodies;
        let at = *self.body_at.entry(id).or_insert_with(|| {
            let needs = index.needs(id);
            bodies.push(BodyChange { id, put: None, existed: needs > 0, needs });
            bodies.len() - 1
        });
        &mut self.bodies[at]
    }

    fn set_key(&mut self, key: Bytes, value: Option<Key>) {
        let keys = &mut self.keys;
        if let Some(&at) = self.key_at.get(&key) {
            keys[at].1 = value;
            return;
        }
        keys.push((key.clone(), value));
        self.key_at.insert(key, keys.len() - 1);
    }
}

fn check_entry(entry: &Entry) -> Result<(), CommitError> {
    let names = entry.target.len().max(entry.account.len());
    if entry.id == 0 {
        return Err(CommitError::Invalid("an entry has id 0"));
    }
    if names > Options::NAME_BYTES_MAX || entry.bytes.len() > Options::VALUE_BYTES_MAX {
        return Err(CommitError::Invalid("an entry is too long"));
    }
    Ok(())
}

fn check_key(key: &Key) -> Result<(), CommitError> {
    let fits =
        key.key.len() <= Options::KEY_BYTES_MAX && key.value.len() <= Options::VALUE_BYTES_MAX;
    if key.key.starts_with(TOTAL_PREFIX) {
        return Err(CommitError::Invalid("the key belongs to a total"));
    }
    if fits && !key.key.is_empty() {
        Ok(())
    } else {
        Err(CommitError::Invalid("a key is empty, or it or its value is too long"))
    }
}
