//! The store on disk: fjall for records, files for large bodies. See `FORMAT.md`.

mod open;
mod layout;
mod journal;
mod migrate;
mod witness;
pub(crate) mod record;
mod files;
mod lock;
mod guard;
mod verify;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use fjall::{Database, OwnedWriteBatch, PersistMode, Slice};

use self::files::BodyFiles;
use self::guard::guarded;
use self::journal::{MARK_KEY, Mark};
use self::lock::DirectoryLock;
use self::open::Spaces;
use super::{Between, Changes, Expiry, Store, StoreError};
use crate::entry::{Entry, Key, NEVER_MS};
use crate::error::ReadError;

pub(crate) use open::open;
pub(crate) use verify::verify;

/// Bodies longer than this are files of their own.
const INLINE_BYTES_MAX: usize = 256 * 1024;

/// See the module's text.
pub(crate) struct Disk {
    path: PathBuf,
    database: Database,
    spaces: Spaces,
    files: BodyFiles,
    /// The last group written, and the last one synced.
    mark: Mutex<Mark>,
    /// The last group written before the opening.
    opened_at: u64,
    _lock: DirectoryLock,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Disk {
    /// Writes the large bodies of a group as files; all are durable when this returns.
    fn write_files(&self, changes: &Changes) -> Result<(), StoreError> {
        let mut any = false;
        for (id, body) in &changes.bodies {
            if let Some(body) = body.as_ref().filter(|body| body.len() > INLINE_BYTES_MAX) {
                self.files.write(*id, body).map_err(|error| write_error("write a body", &error))?;
                any = true;
            }
        }
        if any {
            let synced = self.files.sync_directory();
            synced.map_err(|error| broken("sync the directory of bodies", &error))?;
        }
        Ok(())
    }

    fn put_bodies(&self, changes: &Changes, batch: &mut OwnedWriteBatch) {
        for (id, body) in &changes.bodies {
            let key = id.to_be_bytes();
            match body {
                Some(body) if body.len() > INLINE_BYTES_MAX => {
                    batch.insert(&self.spaces.bodies, key, record::encode_body_file(*id, body));
                }
                Some(body) => {
                    batch.insert(&self.spaces.bodies, key, record::encode_body(*id, body));
                }
                None => batch.remove(&self.spaces.bodies, key),
            }
        }
    }

    fn put_keys(&self, changes: &Changes, batch: &mut OwnedWriteBatch) {
        for (key, value) in &changes.keys {
            let Some(value) = value else {
                batch.remove(&self.spaces.keys, &**key);
                continue;
            };
            batch.insert(&self.spaces.keys, &**key, record::encode_key(value));
            if value.expires_ms != NEVER_MS {
                batch.insert(&self.spaces.expiry, expiry_key(value.expires_ms, key), []);
            }
        }
        // A note that was written again in this very group stays: the last word on it is "put".
        let put = changes.keys.iter().filter(|_| !changes.notes.is_empty());
        let put = put.filter_map(|(key, value)| Some((value.as_ref()?.expires_ms, &**key)));
        let put: BTreeSet<(u64, &[u8])> = put.collect();
        for note in &changes.notes {
            if !put.contains(&(note.expires_ms, &*note.key)) {
                batch.remove(&self.spaces.expiry, expiry_key(note.expires_ms, &note.key));
            }
        }
    }

    fn put_aside(&self, changes: &Changes, batch: &mut OwnedWriteBatch) {
        for id in &changes.aside {
            let key = id.to_be_bytes();
            // What the database itself cannot read stays where it is.
            if let Ok(Some(evidence)) = self.spaces.entries.get(key) {
                batch.insert(&self.spaces.corrupt, key, evidence);
                batch.remove(&self.spaces.entries, key);
            }
        }
    }

    fn commit(&self, mut batch: OwnedWriteBatch, sync: bool) -> Result<(), StoreError> {
        let mut last = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Mark { group: last.group + 1, ..*last };
        batch.insert(&self.spaces.meta, MARK_KEY, next.encode());
        let batch = batch.durability(sync.then_some(PersistMode::SyncData));
        batch.commit().map_err(|error| broken("write", &error))?;
        last.group = next.group;
        if sync {
            last.synced = next.group;
        }
        Ok(())
    }

    /// The last group of a store that is closed says that all before it is synced.
    fn write_last(&self) -> Result<(), StoreError> {
        let last = || *self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        if last().group > self.opened_at {
            self.commit(self.database.batch(), true)?;
        }
        self.database.persist(PersistMode::SyncAll).map_err(|error| broken("sync", &error))?;
        witness::write(&self.path, last()).map_err(|error| broken("note the last group", &error))
    }

    fn read(&self, space: Space, key: &[u8]) -> Result<Option<Slice>, ReadError> {
        let records = match space {
            Space::Entries => &self.spaces.entries,
            Space::Bodies => &self.spaces.bodies,
            Space::Keys => &self.spaces.keys,
        };
        let read = || records.get(key).map_err(|error| unread(space, key, &error));
        guarded(read, ReadError::Io)
    }

    fn read_file(&self, id: u64, len: u64, crc: u32) -> Result<Bytes, ReadError> {
        let content = self.files.read(id, len, crc).map_err(|misfit| match misfit {
            files::Misfit::Damaged(reason) => {
                ReadError::Corrupt { what: "body", id: id.to_string(), reason }
            }
            files::Misfit::Io(error) => ReadError::Io(error.to_string()),
        })?;
        Ok(content.into())
    }
}

impl Disk {
    fn write_group(&self, changes: &Changes, sync: bool) -> Result<(), StoreError> {
        self.write_files(changes)?;
        let operations = changes.entries.len() + changes.bodies.len() + 2 * changes.keys.len();
        let mut batch = OwnedWriteBatch::with_capacity(self.database.clone(), operations + 1);
        self.put_aside(changes, &mut batch);
        self.put_bodies(changes, &mut batch);
        for (id, entry) in &changes.entries {
            let key = id.to_be_bytes();
            match entry {
                Some(entry) => {
                    batch.insert(&self.spaces.entries, key, record::encode_entry(entry));
                }
                None => batch.remove(&self.spaces.entries, key),
            }
        }
        self.put_keys(changes, &mut batch);
        self.commit(batch, sync)?;
        for (id, body) in &changes.bodies {
            match body.as_ref().filter(|body| body.len() > INLINE_BYTES_MAX) {
                Some(body) => self.files.supersede(*id, body),
                None => self.files.doom(*id),
            }
        }
        if sync {
            self.files.remove_doomed();
        }
        Ok(())
    }
}

impl Store for Disk {
    fn write(&self, changes: &Changes, sync: bool) -> Result<(), StoreError> {
        guarded(|| self.write_group(changes, sync), StoreError::Broken)
    }

    fn sync(&self) -> Result<(), StoreError> {
        let persist = || {
            let persisted = self.database.persist(PersistMode::SyncData);
            persisted.map_err(|error| broken("sync", &error))
        };
        guarded(persist, StoreError::Broken)?;
        {
            let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
            mark.synced = mark.group;
        }
        self.files.remove_doomed();
        Ok(())
    }

    fn close(&self) -> Result<(), StoreError> {
        guarded(|| self.write_last(), StoreError::Broken)
    }

    fn entry(&self, id: u64) -> Result<Option<Entry>, ReadError> {
        let found = self.read(Space::Entries, &id.to_be_bytes())?;
        let decode = |record: Slice| {
            record::decode_entry(id, &record).map_err(|reason| ReadError::Corrupt {
                what: "entry",
                id: id.to_string(),
                reason,
            })
        };
        found.map(decode).transpose()
    }

    fn entries_between(&self, first: u64, last: u64) -> Result<Between, ReadError> {
        let read = || {
            let mut found = Between::new();
            for pair in self.spaces.entries.range(first.to_be_bytes()..=last.to_be_bytes()) {
                let (key, record) = pair
                    .into_inner()
                    .map_err(|error| unread(Space::Entries, &first.to_be_bytes(), &error))?;
                let Ok(id) = <[u8; 8]>::try_from(&*key).map(u64::from_be_bytes) else { continue };
                let entry = record::decode_entry(id, &record).map_err(|reason| {
                    ReadError::Corrupt { what: "entry", id: id.to_string(), reason }
                });
                found.push((id, entry));
            }
            Ok(found)
        };
        guarded(read, ReadError::Io)
    }

    fn body(&self, id: u64) -> Result<Option<Bytes>, ReadError> {
        let Some(record) = self.read(Space::Bodies, &id.to_be_bytes())? else { return Ok(None) };
        match record::decode_body(id, &record) {
            Ok(record::Body::Inline(content)) => Ok(Some(content)),
            Ok(record::Body::File { len, crc }) => self.read_file(id, len, crc).map(Some),
            Err(reason) => Err(ReadError::Corrupt { what: "body", id: id.to_string(), reason }),
        }
    }

    fn find(&self, key: &[u8]) -> Result<Option<Key>, ReadError> {
        let found = self.read(Space::Keys, key)?;
        found.map(|record| decode_key(key, &record)).transpose()
    }

    fn keys_with_prefix(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Key>, ReadError> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let from = match after {
            Some(after) if after >= prefix => Excluded(after),
            _ => Included(prefix),
        };
        let read = || {
            let mut page = Vec::new();
            for pair in self.spaces.keys.range::<&[u8], _>((from, Unbounded)).take(limit) {
                let (key, record) =
                    pair.into_inner().map_err(|error| unread(Space::Keys, prefix, &error))?;
                if !key.starts_with(prefix) {
                    break;
                }
                page.push(decode_key(&key, &record)?);
            }
            Ok(page)
        };
        guarded(read, ReadError::Io)
    }

    fn expired_keys(&self, now_ms: u64, limit: usize) -> Result<Vec<Expiry>, ReadError> {
        let read = || {
            let past = self.spaces.expiry.range(..now_ms.saturating_add(1).to_be_bytes());
            let notes = past.take(limit).map(|pair| {
                let note = pair.key().map_err(|error| ReadError::Io(error.to_string()))?;
                let Some((expires_ms, key)) = note.split_first_chunk::<8>() else {
                    return Ok(None);
                };
                let expires_ms = u64::from_be_bytes(*expires_ms);
                // What cannot be read is no longer swept: it stays where it can be looked at.
                let now = match self.find(key) {
                    Ok(found) => found.map(|found| found.expires_ms),
                    Err(ReadError::Corrupt { .. }) => None,
                    Err(error @ ReadError::Io(_)) => return Err(error),
                };
                let current = now == Some(expires_ms);
                Ok(Some(Expiry { expires_ms, key: Bytes::copy_from_slice(key), current }))
            });
            notes.filter_map(Result::transpose).collect()
        };
        guarded(read, ReadError::Io)
    }

    fn aside(&self, limit: usize) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let read = || {
            let records = self.spaces.corrupt.iter().take(limit).map(|pair| {
                let (key, record) = pair.into_inner()?;
                Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&record)))
            });
            records.collect::<fjall::Result<_>>().map_err(|error| ReadError::Io(error.to_string()))
        };
        guarded(read, ReadError::Io)
    }

    fn free_bytes(&self) -> Result<u64, StoreError> {
        let space = rustix::fs::statvfs(&self.path).map_err(|error| broken("ask", &error))?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn disk_bytes(&self) -> u64 {
        self.database.disk_space().unwrap_or(0).saturating_add(self.files.bytes())
    }
}

/// The key of a note that a key expires: the time, then the key.
fn expiry_key(expires_ms: u64, key: &[u8]) -> Vec<u8> {
    [&expires_ms.to_be_bytes(), key].concat()
}

fn decode_key(key: &[u8], record: &[u8]) -> Result<Key, ReadError> {
    record::decode_key(key, record).map_err(|reason| {
        let id = Space::Keys.name_of(key);
        ReadError::Corrupt { what: "key", id, reason }
    })
}

/// Where a record is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Space {
    Entries,
    Bodies,
    Keys,
}

impl Space {
    fn what(self) -> &'static str {
        match self {
            Self::Entries => "entry",
            Self::Bodies => "body",
            Self::Keys => "key",
        }
    }

    /// Ids as numbers, keys in hexadecimal.
    fn name_of(self, key: &[u8]) -> String {
        match (self, <[u8; 8]>::try_from(key)) {
            (Self::Entries | Self::Bodies, Ok(id)) => u64::from_be_bytes(id).to_string(),
            _ => key.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// A damaged block concerns what is in it; anything else concerns the disk.
fn unread(space: Space, key: &[u8], error: &fjall::Error) -> ReadError {
    use fjall::LsmError::{
        ChecksumMismatch, Decompress, InvalidHeader, InvalidTag, InvalidTrailer,
    };
    let block_damaged = matches!(
        error,
        fjall::Error::Storage(
            ChecksumMismatch { .. }
                | Decompress(_)
                | InvalidHeader(_)
                | InvalidTag(_)
                | InvalidTrailer
        )
    );
    if block_damaged {
        let reason = "its block in a table of the database is damaged";
        ReadError::Corrupt { what: space.what(), id: space.name_of(key), reason }
    } else {
        ReadError::Io(error.to_string())
    }
}

fn broken(doing: &str, error: &dyn std::error::Error) -> StoreError {
    StoreError::Broken(format!("cannot {doing}: {error}"))
}

/// Before the commit, a full disk is a refusal and not yet a broken store.
fn write_error(doing: &str, error: &std::io::Error) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => broken(doing, error),
    }
}
