//! Damage to closed stores: whatever byte of whatever file is wrong, what is intact is found, and
//! what is not is reported, or the store refuses with the name of the file and what to do.
//!
//! `WIREPOST_SPOOL_FLIPS` says how often (default 150), `WIREPOST_SPOOL_SEED` makes it other ones.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tempfile::TempDir;
use wirepost_spool::{
    Batch, Entry, Index, NEVER_MS, OpenError, Options, ReadError, Spool, Verified,
};

use crate::common::{commit, entry, options};
use crate::images::{Dice, copy, number, scratch, seed};

const ENTRIES: u64 = 400;
const KEYS: u64 = 200;

fn small() -> Options {
    Options { memtable_bytes: 32 * 1024, create: false, ..options() }
}

fn body(id: u64) -> Bytes {
    let len = match id % 100 {
        0 => 300_000,
        n => usize::try_from(n * 17).unwrap(),
    };
    let octet = |n: usize| u8::try_from((n * 31 + usize::try_from(id).unwrap()) % 251).unwrap();
    (0..len).map(octet).collect::<Vec<_>>().into()
}

fn stored(id: u64) -> Entry {
    Entry { bytes: body(id + 7).slice(..50.min(body(id + 7).len())), ..entry(id, id, "a", id) }
}

fn key(n: u64) -> (Bytes, Bytes, u64) {
    let expires_ms = if n.is_multiple_of(3) { NEVER_MS } else { n };
    (Bytes::from(format!("key/{n}")), Bytes::from(vec![7; 40]), expires_ms)
}

/// A store with tables, blobs, two sorts of journals and body files, closed.
fn store() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let options = Options { create: true, ..small() };
        let (spool, _) = Spool::open_fjall(place.path(), options).unwrap();
        for id in (1..=ENTRIES).filter(|id| id % 4 == round) {
            let mut batch = Batch::new();
            batch.put_body(id, body(id));
            batch.put_entry(stored(id));
            commit(&spool, batch);
        }
        let mut batch = Batch::new();
        for n in (1..=KEYS).filter(|n| n % 4 == round) {
            let (key, value, expires_ms) = key(n);
            batch.put_key(key, value, expires_ms);
        }
        commit(&spool, batch);
        spool.close();
    }
    place
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push(path);
        }
    }
    all.sort();
    all
}

/// The part of a file that means something: journals end in zeros that nobody reads.
fn used(content: &[u8]) -> usize {
    content.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}

/// Damages one file and says how.
fn damage(folder: &Path, dice: &mut Dice) -> String {
    let files = files(folder);
    let file = &files[dice.below(files.len())];
    let name = file.strip_prefix(folder).unwrap().display().to_string();
    let mut content = fs::read(file).unwrap();
    let used = used(&content);
    let at = dice.below(used.max(1));
    match dice.below(8) {
        0 => {
            fs::remove_file(file).unwrap();
            return format!("{name} removed");
        }
        1 => {
            content.truncate(at);
            fs::write(file, content).unwrap();
            return format!("{name} cut at {at}");
        }
        2 => {
            let end = (at + 4096).min(content.len());
            content[at..end].fill(0);
            fs::write(file, content).unwrap();
            return format!("{name} zeroed at {at}");
        }
        _ => {}
    }
    if let Some(byte) = content.get_mut(at) {
        *byte ^= 1 << dice.below(8);
    }
    fs::write(file, content).unwrap();
    format!("{name} flipped at {at}")
}

/// What is wrong, as far as reading shows it.
#[derive(Debug, Default)]
struct Seen {
    entries: Vec<String>,
    bodies: Vec<String>,
    keys: Vec<String>,
    reported: Vec<String>,
}

/// Reads everything that should be there; what is not as it was and not said to be wrong is a
/// failure.
fn look(folder: &Path) -> Result<Seen, OpenError> {
    let (spool, report) = Spool::open_fjall(folder, small())?;
    let mut seen = Seen { reported: report.corrupt.clone(), ..Seen::default() };
    let mut all = BTreeMap::new();
    let mut cursor = None;
    loop {
        let (page, next) = match spool.scan(&Index::Id, cursor, 50) {
            Ok(page) => page,
            Err(error) => {
                seen.entries.push(error.to_string());
                return Ok(seen);
            }
        };
        all.extend(page.into_iter().map(|entry| (entry.id, entry)));
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    for id in 1..=ENTRIES {
        let said = || report.corrupt.iter().any(|text| text.starts_with(&format!("entry {id}:")));
        match all.get(&id) {
            Some(found) => assert_eq!(*found, stored(id)),
            None if said() => continue,
            None => {
                let error = spool.entry(id);
                assert!(matches!(error, Err(ReadError::Corrupt { .. })), "entry {id}: {error:?}");
                seen.entries.push(format!("entry {id}"));
            }
        }
        match spool.body(id) {
            Ok(found) => assert_eq!(found, Some(body(id)), "body {id}"),
            Err(error) => seen.bodies.push(error.to_string()),
        }
    }
    for n in 1..=KEYS {
        let (key, value, _) = key(n);
        match spool.find(&key) {
            Ok(found) => assert_eq!(found, Some(value), "key {n}"),
            Err(error) => seen.keys.push(error.to_string()),
        }
    }
    Ok(seen)
}

/// One damage: reading and checking must agree on whether something is wrong.
fn check(folder: &Path, what: &str) -> &'static str {
    let copied = scratch();
    copy(folder, copied.path());
    let verified = Spool::verify(copied.path(), &small());
    match look(folder) {
        Err(OpenError::Missing { .. }) => "refused",
        Err(error @ (OpenError::Damaged { .. } | OpenError::Io { .. })) => {
            let text = error.to_string();
            let named = text.contains(&folder.display().to_string());
            assert!(named, "{what}: no file is named: {text}");
            if matches!(error, OpenError::Damaged { .. }) {
                assert!(text.contains("backup"), "{what}: no remedy: {text}");
            }
            let said = verified.map_or(true, |verified| !verified.is_clean());
            assert!(said, "{what}: it does not open and verify finds nothing: {text}");
            "refused"
        }
        Err(error) => panic!("{what}: {error}"),
        Ok(seen) => {
            let wrong = [&seen.entries, &seen.bodies, &seen.keys, &seen.reported]
                .iter()
                .map(|list| list.len())
                .sum::<usize>();
            let verified = verified.unwrap_or_else(|error| panic!("{what}: {error}"));
            let counted: fn(&Verified) -> String = |verified| format!("{verified:?}");
            assert!(
                wrong == 0 || !verified.is_clean(),
                "{what}: {seen:?} and verify says {}",
                counted(&verified)
            );
            if wrong == 0 { "harmless" } else { "reported" }
        }
    }
}

#[test]
fn damage_is_reported_or_refused_and_never_silent() {
    let store = store();
    assert_eq!(check(store.path(), "nothing"), "harmless");
    let mut dice = Dice::new(seed(), 5);
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    for round in 0..number("WIREPOST_SPOOL_FLIPS").unwrap_or(150) {
        let place = scratch();
        copy(store.path(), place.path());
        let what = damage(place.path(), &mut dice);
        let checked = std::panic::catch_unwind(|| check(place.path(), &what));
        match checked {
            Ok(outcome) => *outcomes.entry(outcome).or_default() += 1,
            Err(panic) => {
                eprintln!("round {round}: {what}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{outcomes:?}");
    assert!(outcomes.contains_key("refused"), "{outcomes:?}");
}
