//! The format of the whole directory: what is written, what is read, and the way from one to the
//! next.

use std::path::Path;

use fjall::{Database, Keyspace, OwnedWriteBatch, PersistMode};

use super::open::{damaged, refusal};
use crate::error::OpenError;

/// The format that this version writes.
pub(super) const FORMAT: u32 = 1;
/// Under this key in `meta`.
const FORMAT_KEY: &str = "format";

/// Brings a store from one format to the next. All of its changes go into the batch, which is
/// written with the new number, atomically; a crash leaves the old format or the new one.
type Step = fn(&Database, &mut OwnedWriteBatch) -> fjall::Result<()>;

/// The steps, each with the format it starts from; there is one for every format that was ever
/// released, except the last.
const STEPS: &[(u32, Step)] = &[];

/// Writes the format into a new store.
pub(super) fn stamp(path: &Path, database: &Database, meta: &Keyspace) -> Result<(), OpenError> {
    let mut batch = database.batch().durability(Some(PersistMode::SyncAll));
    batch.insert(meta, FORMAT_KEY, FORMAT.to_be_bytes().to_vec());
    batch.commit().map_err(|error| refusal(path, error))
}

/// Refuses a newer format, takes the steps from an older one, and leaves the own one alone.
pub(super) fn bring_up_to_date(
    path: &Path,
    database: &Database,
    meta: &Keyspace,
) -> Result<(), OpenError> {
    climb(path, database, meta, FORMAT, STEPS)
}

fn climb(
    path: &Path,
    database: &Database,
    meta: &Keyspace,
    to: u32,
    steps: &[(u32, Step)],
) -> Result<(), OpenError> {
    let mut at = read(path, meta)?;
    while at != to {
        let step = steps.iter().find(|(from, _)| *from == at && at < to);
        let Some((_, step)) = step else {
            return Err(OpenError::Version { path: path.to_owned(), found: at, known: to });
        };
        let mut batch = database.batch().durability(Some(PersistMode::SyncAll));
        step(database, &mut batch).map_err(|error| refusal(path, error))?;
        at += 1;
        batch.insert(meta, FORMAT_KEY, at.to_be_bytes().to_vec());
        batch.commit().map_err(|error| refusal(path, error))?;
    }
    Ok(())
}

/// A store is stamped before it gets its name: one without a format has lost it.
fn read(path: &Path, meta: &Keyspace) -> Result<u32, OpenError> {
    let found = meta.get(FORMAT_KEY).map_err(|error| refusal(path, error))?;
    let format = found.and_then(|bytes| Some(u32::from_be_bytes(bytes.as_ref().try_into().ok()?)));
    format.ok_or_else(|| damaged(path, "its format cannot be read from `meta`".to_owned()))
}

#[cfg(test)]
mod tests {
    use fjall::KeyspaceCreateOptions;

    use super::*;

    fn store(path: &Path) -> (Database, Keyspace, Keyspace) {
        let database = Database::builder(path).open().unwrap();
        let meta = database.keyspace("meta", KeyspaceCreateOptions::default).unwrap();
        let words = database.keyspace("words", KeyspaceCreateOptions::default).unwrap();
        (database, meta, words)
    }

    fn louder(database: &Database, batch: &mut OwnedWriteBatch) -> fjall::Result<()> {
        let words = database.keyspace("words", KeyspaceCreateOptions::default)?;
        for pair in words.iter() {
            let (key, value) = pair.into_inner()?;
            batch.insert(&words, key, value.to_ascii_uppercase());
        }
        Ok(())
    }

    fn longer(database: &Database, batch: &mut OwnedWriteBatch) -> fjall::Result<()> {
        let words = database.keyspace("words", KeyspaceCreateOptions::default)?;
        for pair in words.iter() {
            let (key, value) = pair.into_inner()?;
            batch.insert(&words, key, [&*value, b"!"].concat());
        }
        Ok(())
    }

    fn broken(_: &Database, _: &mut OwnedWriteBatch) -> fjall::Result<()> {
        Err(fjall::Error::Unrecoverable)
    }

    const TABLE: &[(u32, Step)] = &[(1, louder), (2, longer)];

    #[test]
    fn a_store_climbs_from_any_older_format_and_stays_there() {
        for start in 1..=3_u32 {
            let place = tempfile::tempdir().unwrap();
            let expect = match start {
                1 => "HELLO!",
                2 => "hello!",
                _ => "hello",
            };
            let (database, meta, words) = store(place.path());
            meta.insert(FORMAT_KEY, start.to_be_bytes()).unwrap();
            words.insert("a", "hello").unwrap();
            for _ in 0..2 {
                climb(place.path(), &database, &meta, 3, TABLE).unwrap();
                assert_eq!(&*words.get("a").unwrap().unwrap(), expect.as_bytes());
                assert_eq!(read(place.path(), &meta).unwrap(), 3);
            }
            drop((database, meta, words));
            let (_database, meta, words) = store(place.path());
            assert_eq!(read(place.path(), &meta).unwrap(), 3);
            assert_eq!(&*words.get("a").unwrap().unwrap(), expect.as_bytes());
        }
    }

    #[test]
    fn a_step_that_fails_changes_nothing() {
        let place = tempfile::tempdir().unwrap();
        let (database, meta, words) = store(place.path());
        meta.insert(FORMAT_KEY, 1_u32.to_be_bytes()).unwrap();
        words.insert("a", "hello").unwrap();
        let table: &[(u32, Step)] = &[(1, louder), (2, broken)];
        let refusal = climb(place.path(), &database, &meta, 3, table).unwrap_err();
        assert!(matches!(refusal, OpenError::Damaged { .. }), "{refusal}");
        assert_eq!(read(place.path(), &meta).unwrap(), 2, "the first step stays");
        assert_eq!(&*words.get("a").unwrap().unwrap(), b"HELLO");
    }

    #[test]
    fn a_newer_format_and_one_without_a_way_are_refused() {
        for (found, known) in [(4, 3), (0, 3)] {
            let place = tempfile::tempdir().unwrap();
            let (database, meta, _words) = store(place.path());
            meta.insert(FORMAT_KEY, u32::to_be_bytes(found)).unwrap();
            let refusal = climb(place.path(), &database, &meta, known, TABLE).unwrap_err();
            let OpenError::Version { found: f, known: k, .. } = refusal else {
                panic!("{refusal}")
            };
            assert_eq!((f, k), (found, known));
            assert_eq!(read(place.path(), &meta).unwrap(), found, "it was not touched");
        }
    }
}
