//! Totals are of the same moment as the entries they count, whatever happens.

use std::sync::Arc;

use crate::common::{Place, commit, message, options, wait};
use bytes::Bytes;
use wirepost_spool::{Batch, CommitError, NEVER_MS, Spool, Stats};

fn enter(id: u64) -> Batch {
    let mut batch = message(id, b"body");
    batch.count("in", &Arc::from("door"), 1);
    batch
}

fn leave(id: u64) -> Batch {
    let mut batch = Batch::new();
    batch.remove_entry(id);
    batch.count("out", &Arc::from("target"), 1);
    batch
}

fn total(spool: &Spool, name: &str) -> u64 {
    in_stats(&spool.stats(), name)
}

fn in_stats(stats: &Stats, name: &str) -> u64 {
    stats.totals.iter().find(|(known, _)| &**known == name).map_or(0, |(_, total)| *total)
}

#[track_caller]
fn check_balance(spool: &Spool) {
    let stats = spool.stats();
    let total = |name| in_stats(&stats, name);
    assert_eq!(total("in/door"), total("out/target") + stats.entries);
}

#[test]
fn totals_outlive_a_restart_and_go_on() {
    for mut place in Place::both() {
        let mut spool = place.open();
        for round in 0..3 {
            for id in 1..=4 {
                commit(&spool, enter(round * 10 + id));
            }
            commit(&spool, leave(round * 10 + 1));
            drop(spool);
            spool = place.open();
            assert_eq!(total(&spool, "in/door"), 4 * (round + 1));
            assert_eq!(total(&spool, "out/target"), round + 1);
            check_balance(&spool);
        }
    }
}

#[test]
fn a_refused_batch_counts_nothing() {
    for mut place in Place::both() {
        let spool = place.open();
        let mut bad = Batch::new();
        bad.put_body(9, Bytes::from_static(b"nobody needs it"));
        bad.count("in", &Arc::from("door"), 1);
        assert!(matches!(wait(spool.commit(bad)), Err(CommitError::Invalid(_))));
        assert_eq!(spool.stats().totals, []);
    }
}

#[test]
fn counts_alone_are_written_and_owners_keep_off_their_keys() {
    for mut place in Place::both() {
        let spool = place.open();
        let mut batch = Batch::new();
        assert!(batch.is_empty());
        batch.count("dropped", &Arc::from("a door"), 2);
        batch.count("dropped", &Arc::from("a door"), 3);
        assert!(batch.only_counts() && !batch.is_empty());
        commit(&spool, batch);
        drop(spool);
        let spool = place.open();
        assert_eq!(spool.stats().totals, [("dropped/a door".into(), 5)]);
        let mut bad = Batch::new();
        bad.put_key(Bytes::from_static(b"\0total/x"), Bytes::new(), NEVER_MS);
        assert!(matches!(wait(spool.commit(bad)), Err(CommitError::Invalid(_))));
    }
}

#[test]
fn whatever_a_crash_leaves_totals_and_entries_agree() {
    let mut options = options();
    options.lazy_max = std::time::Duration::from_secs(3600);
    for kept in 0..6 {
        let (spool, faults) = Spool::open_memory_with_faults(options.clone()).unwrap();
        for id in 1..=5 {
            commit(&spool, enter(id));
        }
        for id in 1..=5 {
            // One group each, so that a crash can fall between any two.
            spool.commit_later(leave(id)).unwrap();
            while spool.stats().entries > 5 - id {
                std::thread::yield_now();
            }
            check_balance(&spool);
        }
        let (reopened, _faults) = faults.crash_keeping(kept, options.clone()).unwrap();
        check_balance(&reopened);
        assert_eq!(total(&reopened, "out/target"), 5.min(kept as u64));
    }
}

#[test]
fn readers_never_see_totals_of_another_moment_than_entries() {
    let (spool, _faults) = Spool::open_memory_with_faults(options()).unwrap();
    let writer = {
        let spool = spool.clone();
        std::thread::spawn(move || {
            for id in 1..=2_000 {
                commit(&spool, enter(id));
                spool.commit_later(leave(id)).unwrap();
            }
        })
    };
    while !writer.is_finished() {
        check_balance(&spool);
    }
    writer.join().unwrap();
    let _proof = wait(spool.flush()).unwrap();
    assert_eq!((total(&spool, "in/door"), total(&spool, "out/target")), (2_000, 2_000));
    check_balance(&spool);
}
