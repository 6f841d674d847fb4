//! The end of a journal: torn and cut off, or damaged and refused.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tempfile::TempDir;
use wirepost_spool::{Batch, OpenError, OpenReport, Spool};

use crate::common::{commit, entry, options};
use crate::images::copy;

fn open(path: &Path) -> Result<(Spool, OpenReport), OpenError> {
    Spool::open_fjall(path, options())
}

fn message(id: u64, body: impl Into<Bytes>) -> Batch {
    let mut batch = Batch::new();
    batch.put_body(id, body.into());
    batch.put_entry(entry(id, id, "a", id));
    batch
}

fn journal(spool: &Path) -> PathBuf {
    spool.join("db/0.jnl")
}

/// How much of the journal is written.
fn used(spool: &Path) -> usize {
    let content = fs::read(journal(spool)).unwrap();
    content.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}

/// A store as a kill leaves it after three groups, and where each ends.
fn killed(last: impl Into<Bytes>) -> (TempDir, Vec<usize>) {
    let place = tempfile::tempdir().unwrap();
    let (spool, _) = open(place.path()).unwrap();
    let mut ends = vec![];
    for (id, body) in [(1, Bytes::from(vec![1; 9000])), (2, vec![2; 9000].into()), (3, last.into())]
    {
        commit(&spool, message(id, body));
        ends.push(used(place.path()));
    }
    let copied = tempfile::tempdir().unwrap();
    copy(place.path(), copied.path());
    (copied, ends)
}

fn damage(spool: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(journal(spool)).unwrap();
    change(&mut content);
    fs::write(journal(spool), content).unwrap();
}

fn kept(spool: &Path) -> Vec<PathBuf> {
    let Ok(folder) = fs::read_dir(spool.join("aside")) else { return vec![] };
    folder.map(|file| file.unwrap().path()).collect()
}

#[test]
fn the_torn_end_of_a_group_is_cut_off_kept_and_told() {
    // A page in the middle, the beginning, the last byte, everything from some point on.
    let tears: [fn(&mut [u8]); 4] = [
        |group| group[3000..6000].fill(0),
        |group| group[..10].fill(0),
        |group| *group.last_mut().unwrap() ^= 0xff,
        |group| group[500..].fill(0),
    ];
    for tear in tears {
        let (place, ends) = killed(vec![3; 9000]);
        damage(place.path(), |content| tear(&mut content[ends[1]..ends[2]]));
        let torn = fs::read(journal(place.path())).unwrap();
        let (spool, report) = open(place.path()).unwrap();
        assert_eq!((report.entries, report.corrupt.len()), (2, 0));
        let told = report.torn.unwrap();
        assert!(told.contains("0.jnl") && told.contains("aside"), "{told}");
        let files = kept(place.path());
        let evidence = fs::read(&files[0]).unwrap();
        assert_eq!(evidence, torn[ends[1]..ends[1] + evidence.len()]);
        commit(&spool, message(4, "it goes on"));
        spool.close();
        let (spool, report) = open(place.path()).unwrap();
        assert_eq!((report.entries, report.torn), (3, None));
        assert_eq!(spool.body(4).unwrap().unwrap(), "it goes on");
    }
}

#[test]
fn damage_before_a_group_that_knows_better_is_refused_and_nothing_is_touched() {
    let (place, ends) = killed(vec![3; 9000]);
    for at in [0, 1, 13, 20, 5000, ends[0] - 1, ends[0], ends[0] + 4000] {
        let copied = tempfile::tempdir().unwrap();
        copy(place.path(), copied.path());
        damage(copied.path(), |content| content[at] ^= 0x10);
        let before = fs::read(journal(copied.path())).unwrap();
        let refusal = open(copied.path()).unwrap_err();
        assert!(matches!(refusal, OpenError::Damaged { .. }), "{at}: {refusal}");
        let text = refusal.to_string();
        assert!(
            text.contains("0.jnl") && text.contains("synced") && text.contains("backup"),
            "{text}"
        );
        assert!(fs::read(journal(copied.path())).unwrap() == before, "{at}");
        let verified = Spool::verify(copied.path(), &options()).unwrap();
        assert_eq!(verified.findings_total, 1);
        assert!(verified.findings[0].what.ends_with("0.jnl"), "{verified:?}");
    }
}

#[test]
fn content_that_looks_like_a_journal_proves_nothing() {
    let (other, ends) = killed("x");
    let forged = fs::read(journal(other.path())).unwrap()[..ends[2]].to_vec();
    let (place, ends) = killed(forged);
    // The group that holds the forgery is torn: its own beginning is gone.
    damage(place.path(), |content| content[ends[1]] = 0);
    let (_spool, report) = open(place.path()).unwrap();
    assert_eq!(report.entries, 2);
    assert!(report.torn.is_some());
}

#[test]
fn a_journal_that_lost_its_end_or_is_gone_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let (spool, _) = open(place.path()).unwrap();
    commit(&spool, message(1, "one"));
    let end = used(place.path());
    commit(&spool, message(2, "two"));
    spool.close();
    let cases: [fn(&Path, usize); 3] = [
        |spool, end| {
            fs::File::options()
                .write(true)
                .open(journal(spool))
                .unwrap()
                .set_len(end as u64)
                .unwrap();
        },
        |spool, _| fs::remove_file(journal(spool)).unwrap(),
        |spool, _| fs::remove_dir_all(spool.join("db")).unwrap(),
    ];
    for lose in cases {
        let copied = tempfile::tempdir().unwrap();
        copy(place.path(), copied.path());
        lose(copied.path(), end);
        let refusal = open(copied.path()).unwrap_err();
        let text = refusal.to_string();
        assert!(text.contains("is gone") && text.contains("groups up to 3"), "{text}");
    }
    open(place.path()).unwrap();
}

#[test]
fn a_database_that_a_crash_left_half_made_is_made_again() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir_all(place.path().join("db.new/keyspaces/3")).unwrap();
    fs::write(place.path().join("db.new/0.jnl"), "half").unwrap();
    let (spool, report) = open(place.path()).unwrap();
    assert_eq!(report, OpenReport::default());
    commit(&spool, message(1, "one"));
    assert!(!place.path().join("db.new").exists());
}

#[test]
fn a_list_of_files_that_is_missing_or_damaged_is_refused_before_anything_is_cleared_away() {
    let (place, _) = killed("x");
    for file in ["version", "keyspaces/0/current", "keyspaces/3/current", "keyspaces/2/v0"] {
        for remove in [true, false] {
            let copied = tempfile::tempdir().unwrap();
            copy(place.path(), copied.path());
            let path = copied.path().join("db").join(file);
            if remove {
                fs::remove_file(&path).unwrap();
            } else {
                let mut content = fs::read(&path).unwrap();
                content[2] ^= 4;
                fs::write(&path, content).unwrap();
            }
            let refusal = open(copied.path()).unwrap_err().to_string();
            assert!(
                refusal.contains("db/") && refusal.contains("nothing was changed"),
                "{refusal}"
            );
            assert!(copied.path().join("db/keyspaces/3/tables").exists());
        }
    }
}
