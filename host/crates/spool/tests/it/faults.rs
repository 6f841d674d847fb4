//! What happens when the disk fails or the machine stops: asked of the spool in memory, which does
//! both on request.

use crate::common::{commit, look, message, options, wait};
use wirepost_spool::{Batch, CommitError, Options, Spool, Writing};

fn remove(id: u64) -> Batch {
    let mut batch = Batch::new();
    batch.remove_entry(id);
    batch
}

#[test]
fn commits_that_wait_share_one_sync() {
    let (spool, faults) = Spool::open_memory_with_faults(options()).unwrap();
    faults.hold();
    let first = spool.commit(message(1, b"held"));
    faults.wait_until_held();
    let waiting: Vec<_> = (2..500).map(|id| spool.commit(message(id, b"waits"))).collect();
    faults.release();
    for commit in waiting.into_iter().chain([first]) {
        assert!(wait(commit).is_ok());
    }
    let stats = spool.stats();
    assert_eq!((stats.commits, stats.groups, stats.syncs), (499, 2, 2));
    assert_eq!(stats.sync_latency.count, 2);
}

#[test]
fn a_failed_sync_is_a_refusal_and_the_end() {
    let (spool, faults) = Spool::open_memory_with_faults(options()).unwrap();
    commit(&spool, message(1, b"good"));
    faults.fail_next_sync();
    let refusal = wait(spool.commit(message(2, b"bad"))).unwrap_err();
    assert!(matches!(refusal, CommitError::Poisoned(_)), "{refusal}");
    assert_eq!(spool.stats().entries, 1, "what was not synced is not shown");
    assert_eq!(wait(spool.commit(message(3, b"after"))).unwrap_err(), refusal);
    assert_eq!(spool.commit_later(remove(1)).unwrap_err(), refusal);
    assert_eq!(wait(spool.flush()).unwrap_err(), refusal);
    assert_eq!(wait(spool.sweep_keys(1, 1)).unwrap_err(), refusal);
    assert!(spool.poisoned().is_some());
    let syncs = spool.stats().syncs;
    spool.clone().close();
    assert_eq!(spool.stats().syncs, syncs, "a failed sync is never tried again");
    let (spool, _faults) = faults.crash(options()).unwrap();
    assert_eq!(spool.body(1).unwrap().unwrap(), "good");
    assert_eq!(spool.body(2).unwrap(), None);
}

#[test]
fn a_full_disk_refuses_the_group_and_the_next_one_is_tried_again() {
    let (spool, faults) = Spool::open_memory_with_faults(options()).unwrap();
    faults.refuse_next_write();
    let refusal = wait(spool.commit(message(1, b"no room"))).unwrap_err();
    assert!(matches!(refusal, CommitError::Full { .. }), "{refusal}");
    assert_eq!(spool.stats().entries, 0);
    commit(&spool, message(2, b"room"));
}

#[test]
fn a_crash_undoes_what_nobody_waited_for_and_never_what_was_proven() {
    let mut options = options();
    options.lazy_max = std::time::Duration::from_secs(3600);
    let (spool, faults) = Spool::open_memory_with_faults(options.clone()).unwrap();
    commit(&spool, message(1, b"proven"));
    commit(&spool, message(2, b"proven"));
    spool.commit_later(remove(1)).unwrap();
    while spool.entry(1).unwrap().is_some() {
        std::thread::yield_now();
    }
    let (reopened, _faults) = faults.crash(options.clone()).unwrap();
    assert_eq!(reopened.body(1).unwrap().unwrap(), "proven");
    assert_eq!(reopened.stats().entries, 2);
    let (reopened, faults) = faults.crash_keeping(1, options.clone()).unwrap();
    assert_eq!(reopened.stats().entries, 1, "unless it had reached the disk anyway");
    reopened.commit_later(remove(2)).unwrap();
    commit(&reopened, message(3, b"takes it along"));
    let (reopened, _faults) = faults.crash(options).unwrap();
    assert_eq!(reopened.stats().entries, 1);
    assert_eq!(reopened.body(3).unwrap().unwrap(), "takes it along");
}

#[test]
fn a_flush_proves_all_that_went_before() {
    let mut options = options();
    options.lazy_max = std::time::Duration::from_secs(3600);
    let (spool, faults) = Spool::open_memory_with_faults(options.clone()).unwrap();
    spool.commit_later(message(1, b"later")).unwrap();
    let _proof = wait(spool.flush()).unwrap();
    let (spool, _faults) = faults.crash(options).unwrap();
    assert_eq!(spool.body(1).unwrap().unwrap(), "later");
}

/// What tells of something that has happened is not lost with the group that found no room.
#[test]
fn a_batch_that_nobody_waits_for_is_tried_again_on_a_full_disk() {
    let options = || Options { writing: Writing::Pump, ..options() };
    let (spool, faults) = Spool::open_memory_with_faults(options()).unwrap();
    let pump = spool.pump().unwrap();
    let mut stored = spool.commit(message(1, b"a"));
    assert!(pump.work());
    assert!(look(&mut stored).unwrap().is_ok());
    spool.commit_later(remove(1)).unwrap();
    let mut refused = spool.commit(message(2, b"b"));
    faults.refuse_next_write();
    assert!(pump.work());
    assert!(matches!(look(&mut refused), Some(Err(CommitError::Full { .. }))));
    assert_eq!(spool.stats().entries, 1);
    assert!(pump.patience().is_some(), "it is tried again without anything new");
    assert!(pump.work());
    assert_eq!((spool.stats().entries, spool.stats().lazy_refused), (0, 0));
}

/// What a simulation needs: nothing is written before it says so, and closing still finishes.
#[test]
fn a_pumped_spool_writes_when_it_is_told_to() {
    let options = || Options { writing: Writing::Pump, ..options() };
    let (spool, faults) = Spool::open_memory_with_faults(options()).unwrap();
    let pump = spool.pump().unwrap();
    let mut first = spool.commit(message(1, b"a"));
    let mut second = spool.commit(message(2, b"b"));
    assert!(look(&mut first).is_none());
    assert!(look(&mut Box::pin(pump.come())).is_some());
    assert!(pump.work());
    assert!(look(&mut first).unwrap().is_ok());
    assert!(look(&mut second).unwrap().is_ok());
    assert_eq!(spool.stats().syncs, 1);
    spool.commit_later(remove(1)).unwrap();
    assert!(pump.work());
    assert!(pump.patience().is_some(), "it is written, not synced");
    let mut lost = spool.commit(message(3, b"c"));
    let (after, _faults) = faults.crash(options()).unwrap();
    assert_eq!(after.stats().entries, 2);
    spool.close();
    assert!(!pump.work());
    assert!(look(&mut lost).unwrap().is_err());
    let mut finished = after.commit(message(4, b"d"));
    after.close();
    assert!(look(&mut finished).unwrap().is_ok());
}
