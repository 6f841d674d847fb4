//! Opening a directory: lock it, check its format, rebuild the index, set aside what is corrupt.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode,
};

use super::files::{BodyFiles, DIRECTORY_MODE};
use super::guard::guarded;
use super::journal::{self, Mark, Trouble};
use super::lock::DirectoryLock;
use super::witness::{self, Witness};
use super::{Disk, layout, migrate, record};
use crate::error::OpenError;
use crate::index::{Columnar, TOTAL_PREFIX, restored};
use crate::options::Options;
use crate::spool::OpenReport;

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
    if !options.create && !path.join("db").is_dir() {
        return Err(OpenError::Missing { path: path.to_owned() });
    }
    let mut directory = DirBuilder::new();
    directory.recursive(true).mode(DIRECTORY_MODE).create(path).map_err(io("create"))?;
    let lock = DirectoryLock::take(path)?;
    let mut report = OpenReport::default();
    let (database, spaces, mark) = open_database(path, options, &mut report)?;
    let index = guard(path, || load(path, &database, &spaces, &mut report))?;
    let bodies = path.join("bodies");
    let (files, orphans_removed) =
        BodyFiles::open(bodies, |id| index.needs(id) > 0).map_err(io("sweep the bodies of"))?;
    report.orphans_removed = orphans_removed;
    // This makes the name of `bodies` durable as well.
    witness::write(path, mark).map_err(io("note how far it has come in"))?;
    let opened_at = mark.group;
    let mark = Mutex::new(mark);
    let disk =
        Disk { path: path.to_owned(), database, spaces, files, mark, opened_at, _lock: lock };
    Ok((disk, index, report))
}

/// Opens the database under the lock, with all that has to be looked at before and brought up to
/// date after; says where its groups stand.
pub(super) fn open_database(
    path: &Path,
    options: &Options,
    report: &mut OpenReport,
) -> Result<(Database, Spaces, Mark), OpenError> {
    let db = path.join("db");
    let witness = Witness::read(path).map_err(|source| io_error("read", path, source))?;
    if !db.try_exists().map_err(|source| io_error("look for", &db, source))? {
        if let Some(witness) = witness {
            return Err(behind(path, witness, 0));
        }
        create(path, options)?;
    }
    look_before(path, &db, report)?;
    guard(path, || {
        let (database, spaces) = open_fjall(&db, options).map_err(|error| refusal(path, error))?;
        let mark = spaces.meta.get(journal::MARK_KEY).map_err(|error| refusal(path, error))?;
        let mark = mark.and_then(|bytes| Mark::decode(&bytes));
        if let Some(witness) = witness.filter(|witness| !witness.agrees(mark)) {
            return Err(behind(path, witness, mark.map_or(0, |mark| mark.group)));
        }
        migrate::bring_up_to_date(path, &database, &spaces.meta)?;
        let mark = mark.unwrap_or_else(Mark::first);
        // fjall has synced the journal that it goes on with.
        Ok((database, spaces, Mark { synced: mark.group, ..mark }))
    })
}

fn behind(path: &Path, witness: Witness, found: u64) -> OpenError {
    let reason = format!(
        "{}: groups up to {} were written, and only those up to {found} are there: a journal, or the end of one, is gone",
        path.join("db").display(),
        witness.group,
    );
    damaged(path, reason)
}

/// Makes the database under another name, so that a crash meanwhile leaves nothing half made.
fn create(path: &Path, options: &Options) -> Result<(), OpenError> {
    let unfinished = path.join("db.new");
    if unfinished.try_exists().map_err(|source| io_error("look for", &unfinished, source))? {
        fs::remove_dir_all(&unfinished)
            .map_err(|source| io_error("remove what a crash left of", &unfinished, source))?;
    }
    guard(path, || {
        let (database, spaces) =
            open_fjall(&unfinished, options).map_err(|error| refusal(path, error))?;
        migrate::stamp(path, &database, &spaces.meta)
    })?;
    let whole = sync_names(&unfinished)
        .and_then(|()| fs::rename(&unfinished, path.join("db")))
        .and_then(|()| File::open(path)?.sync_all());
    whole.map_err(|source| io_error("create", &path.join("db"), source))
}

/// Makes every name below a folder durable; the database has synced the files.
fn sync_names(folder: &Path) -> std::io::Result<()> {
    for file in fs::read_dir(folder)? {
        let file = file?;
        if file.file_type()?.is_dir() {
            sync_names(&file.path())?;
        }
    }
    File::open(folder)?.sync_all()
}

/// What would be lost if the database cleared it away is found here, and nothing is touched.
pub(super) fn look_before(
    path: &Path,
    db: &Path,
    report: &mut OpenReport,
) -> Result<(), OpenError> {
    layout::check(db).map_err(|missing| {
        damaged(path, format!("{}: {}", missing.file.display(), missing.reason))
    })?;
    let checked = journal::check(db).map_err(|trouble| match trouble {
        Trouble::Damaged { journal, at, reason } => damaged(
            path,
            format!("{} cannot be read from byte {at} on, and {reason}", journal.display()),
        ),
        Trouble::Io(path, source) => OpenError::Io { doing: "read", path, source },
    })?;
    if let Some(torn) = checked.torn {
        let kept = torn
            .set_aside(path)
            .map_err(|source| io_error("set aside the torn end of the journal of", path, source))?;
        report.torn = Some(format!("{}; they are kept in {}", torn.describe(), kept.display()));
    }
    Ok(())
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

fn open_fjall(db: &Path, options: &Options) -> fjall::Result<(Database, Spaces)> {
    let database = Database::builder(db)
        .cache_size(options.cache_bytes)
        .max_cached_files(Some(OPEN_FILES_MAX))
        .max_journaling_size(JOURNAL_BYTES_MAX)
        .journal_compression(CompressionType::None)
        .manual_journal_persist(true)
        .worker_threads(WORKERS)
        .open()?;
    // Most of what is asked for is there, and most of it is written and removed soon: a memtable
    // of some seconds' traffic keeps short-lived records out of the tables.
    let memtable = |parts: u64| {
        KeyspaceCreateOptions::default()
            .max_memtable_size(options.memtable_bytes.saturating_mul(parts) / 8)
            .expect_point_read_hits(true)
            .manual_journal_persist(true)
    };
    let space = |name: &str, parts: u64| database.keyspace(name, || memtable(parts));
    // Bodies apart from their keys: a drained backlog gives its space back without being copied.
    let apart = KvSeparationOptions::default()
        .compression(CompressionType::None)
        .separation_threshold(APART_BYTES_MIN)
        .file_target_size(16 * MIB);
    let bodies = || memtable(16).with_kv_separation(Some(apart));
    let spaces = Spaces {
        // The first one: marks are found by its number.
        meta: space("meta", 4)?,
        entries: space("entries", 8)?,
        bodies: database.keyspace("bodies", bodies)?,
        keys: space("keys", 8)?,
        expiry: space("expiry", 4)?,
        corrupt: space("corrupt", 1)?,
    };
    Ok((database, spaces))
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
pub(super) fn refusal(path: &Path, error: fjall::Error) -> OpenError {
    match error {
        fjall::Error::Locked => OpenError::Locked { path: PathBuf::from(path), pid: None },
        fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source)) => {
            io_error("open", path, source)
        }
        other => damaged(path, format!("{}: {other}", path.join("db").display())),
    }
}

pub(super) fn damaged(path: &Path, reason: String) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), reason }
}

fn io_error(doing: &'static str, path: &Path, source: std::io::Error) -> OpenError {
    OpenError::Io { doing, path: path.to_owned(), source }
}

/// fjall panics on some kinds of damage; that is a refusal like any other.
fn guard<T>(path: &Path, work: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    guarded(work, |panic| damaged(path, format!("{}: {panic}", path.join("db").display())))
}
