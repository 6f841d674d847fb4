//! Opening a directory: lock it, check its format, rebuild the index, set aside what is corrupt.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode,
};

use super::files::{BodyFiles, DIRECTORY_MODE};
use super::lock::DirectoryLock;
use super::{Disk, record};
use crate::error::OpenError;
use crate::index::{Columnar, TOTAL_PREFIX, restored};
use crate::options::Options;
use crate::spool::OpenReport;

/// The format of the whole directory; a newer one is not touched.
const FORMAT: u32 = 1;
/// Under this key in `meta`.
const FORMAT_KEY: &str = "format";
/// What the journals may take before the oldest is folded into tables.
const JOURNAL_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Tables kept open.
const OPEN_FILES_MAX: usize = 256;
/// One to flush, one to compact.
const WORKERS: usize = 2;

/// Bodies from this length on are kept apart from their keys.
const APART_BYTES_MIN: u32 = 512;

const MIB: u64 = 1024 * 1024;

/// Opens or creates the spool in a directory.
pub(crate) fn open(
    path: &Path,
    options: &Options,
) -> Result<(Disk, Columnar, OpenReport), OpenError> {
    let io = |doing| move |source| OpenError::Io { doing, path: path.to_owned(), source };
    let mut directory = DirBuilder::new();
    directory.recursive(true).mode(DIRECTORY_MODE).create(path).map_err(io("create"))?;
    let lock = DirectoryLock::take(path)?;
    let (database, spaces) = open_database(path, options)?;
    check_format(path, &database, &spaces.meta)?;
    let mut report = OpenReport::default();
    let index = load(path, &database, &spaces, &mut report)?;
    let bodies = path.join("bodies");
    let (files, orphans_removed) =
        BodyFiles::open(bodies, |id| index.needs(id) > 0).map_err(io("sweep the bodies of"))?;
    report.orphans_removed = orphans_removed;
    // The names just made, `bodies` and `db`, must outlive a power cut.
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(io("sync the directory"))?;
    let disk = Disk { path: path.to_owned(), database, spaces, files, _lock: lock };
    Ok((disk, index, report))
}

/// The key spaces of the database.
pub(super) struct Spaces {
    pub(super) meta: Keyspace,
    pub(super) entries: Keyspace,
    pub(super) bodies: Keyspace,
    pub(super) keys: Keyspace,
    pub(super) expiry: Keyspace,
    pub(super) corrupt: Keyspace,
}

fn open_database(path: &Path, options: &Options) -> Result<(Database, Spaces), OpenError> {
    let fail = |error: fjall::Error| refusal(path, error);
    let database = Database::builder(path.join("db"))
        .cache_size(options.cache_bytes)
        .max_cached_files(Some(OPEN_FILES_MAX))
        .max_journaling_size(JOURNAL_BYTES_MAX)
        .journal_compression(CompressionType::None)
        .manual_journal_persist(true)
        .worker_threads(WORKERS)
        .open()
        .map_err(fail)?;
    // Most of what is asked for is there, and most of it is written and removed soon: a memtable
    // of some seconds' traffic keeps short-lived records out of the tables.
    let options = |memtable_bytes: u64| {
        KeyspaceCreateOptions::default()
            .max_memtable_size(memtable_bytes)
            .expect_point_read_hits(true)
            .manual_journal_persist(true)
    };
    let space =
        |name: &str, memtable_bytes: u64| database.keyspace(name, || options(memtable_bytes));
    // Bodies apart from their keys: a drained backlog gives its space back without being copied.
    let apart = KvSeparationOptions::default()
        .compression(CompressionType::None)
        .separation_threshold(APART_BYTES_MIN)
        .file_target_size(16 * MIB);
    let bodies = || options(16 * MIB).with_kv_separation(Some(apart));
    let spaces = Spaces {
        meta: space("meta", MIB).map_err(fail)?,
        entries: space("entries", 8 * MIB).map_err(fail)?,
        bodies: database.keyspace("bodies", bodies).map_err(fail)?,
        keys: space("keys", 8 * MIB).map_err(fail)?,
        expiry: space("expiry", 4 * MIB).map_err(fail)?,
        corrupt: space("corrupt", MIB).map_err(fail)?,
    };
    Ok((database, spaces))
}

fn check_format(path: &Path, database: &Database, meta: &Keyspace) -> Result<(), OpenError> {
    let fail = |error: fjall::Error| refusal(path, error);
    let Some(found) = meta.get(FORMAT_KEY).map_err(fail)? else {
        let mut batch = database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(meta, FORMAT_KEY, FORMAT.to_be_bytes().to_vec());
        return batch.commit().map_err(fail);
    };
    let Ok(found) = <[u8; 4]>::try_from(&*found).map(u32::from_be_bytes) else {
        let reason = "its format cannot be read".to_owned();
        return Err(OpenError::Damaged { path: path.to_owned(), reason });
    };
    if found == FORMAT {
        Ok(())
    } else {
        Err(OpenError::Version { path: path.to_owned(), found, known: FORMAT })
    }
}

/// Rebuilds the index from the entries.
fn load(
    path: &Path,
    database: &Database,
    spaces: &Spaces,
    report: &mut OpenReport,
) -> Result<Columnar, OpenError> {
    let fail = |error: fjall::Error| refusal(path, error);
    let mut index = Columnar::default();
    for pair in spaces.corrupt.iter() {
        let (_, evidence) = pair.into_inner().map_err(fail)?;
        index.pin_body(record::guess_body(&evidence).unwrap_or(crate::NO_BODY));
        index.count_aside();
    }
    let mut aside = database.batch().durability(Some(PersistMode::SyncAll));
    for pair in spaces.entries.iter() {
        let (key, value) = pair.into_inner().map_err(fail)?;
        let id = <[u8; 8]>::try_from(&*key).map(u64::from_be_bytes);
        let decoded = match id {
            Ok(id) => record::decode_entry(id, &value),
            Err(_) => Err("its key is not an id"),
        };
        match decoded {
            Ok(entry) => {
                report.entries += 1;
                index.put(&entry, None);
            }
            Err(reason) => {
                let id = id.map_or_else(|_| format!("{key:?}"), |id| id.to_string());
                report.corrupt.push(format!("entry {id}: {reason}"));
                index.pin_body(record::guess_body(&value).unwrap_or(crate::NO_BODY));
                index.count_aside();
                aside.insert(&spaces.corrupt, key.clone(), value);
                aside.remove(&spaces.entries, key);
            }
        }
    }
    aside.commit().map_err(fail)?;
    load_totals(path, spaces, &mut index, report)?;
    report.bodies = index.bodies();
    Ok(index)
}

/// Takes up what batches counted. A total that cannot be read is told of; it counts from 0 again.
fn load_totals(
    path: &Path,
    spaces: &Spaces,
    index: &mut Columnar,
    report: &mut OpenReport,
) -> Result<(), OpenError> {
    for pair in spaces.keys.prefix(TOTAL_PREFIX) {
        let (key, value) = pair.into_inner().map_err(|error| refusal(path, error))?;
        match record::decode_key(&key, &value).map(restored) {
            Ok(total) => index.set_totals(total),
            Err(reason) => {
                let name = String::from_utf8_lossy(&key).into_owned();
                report.corrupt.push(format!("total {}: {reason}", name.escape_debug()));
            }
        }
    }
    Ok(())
}

/// Says in our words why fjall does not open.
fn refusal(path: &Path, error: fjall::Error) -> OpenError {
    let path = PathBuf::from(path);
    match error {
        fjall::Error::Locked => OpenError::Locked { path, pid: None },
        fjall::Error::Io(source) => OpenError::Io { doing: "open", path, source },
        other => OpenError::Damaged { path, reason: other.to_string() },
    }
}
