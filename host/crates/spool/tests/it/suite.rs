//! What every spool promises, asked of each implementation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::common::{Place, commit, entry, message, options, wait};
use bytes::Bytes;
use wirepost_spool::{Batch, CommitError, Index, Lease, NEVER_MS, NO_BODY, Spool};

fn claimed(spool: &Spool, lease: &Lease, before_ms: u64) -> Vec<u64> {
    let entries = spool.claim(lease, &[], before_ms, 100).unwrap();
    entries.iter().map(|entry| entry.id).collect()
}

fn remove(id: u64) -> Batch {
    let mut batch = Batch::new();
    batch.remove_entry(id);
    batch
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    for mut place in Place::both() {
        let spool = place.open();
        let mut batch = message(1, b"first");
        batch.put_key(Bytes::from_static(b"key"), Bytes::from_static(b"value"), 5);
        commit(&spool, batch);
        let found = |spool: &Spool| {
            assert_eq!(spool.entry(1).unwrap(), Some(entry(1, 1, "a", 1)));
            assert_eq!(spool.entry(2).unwrap(), None);
            assert_eq!(spool.body(1).unwrap().unwrap(), "first");
            assert_eq!(spool.find(b"key").unwrap().unwrap(), "value");
            assert_eq!(spool.find(b"other").unwrap(), None);
            assert_eq!((spool.stats().entries, spool.stats().bodies), (1, 1));
        };
        found(&spool);
        drop(spool);
        found(&place.open());
    }
}

#[test]
fn a_body_goes_with_its_last_entry() {
    for mut place in Place::both() {
        let mut spool = place.open();
        let mut batch = message(1, b"shared");
        batch.put_entry(entry(2, 1, "b", 1));
        commit(&spool, batch);
        let mut later = Batch::new();
        later.put_entry(entry(3, 1, "c", 1));
        commit(&spool, later);
        for id in [1, 3] {
            commit(&spool, remove(id));
            assert_eq!(spool.body(1).unwrap().unwrap(), "shared");
            drop(spool);
            spool = place.open();
        }
        let mut moved = Batch::new();
        moved.put_entry(entry(2, NO_BODY, "b", 1));
        commit(&spool, moved);
        assert_eq!(spool.body(1).unwrap(), None, "an entry that changed its body let go of it");
        assert_eq!(spool.stats().bodies, 0);
    }
}

#[test]
fn within_a_batch_the_last_word_wins() {
    for mut place in Place::both() {
        let spool = place.open();
        let mut batch = message(1, b"one");
        batch.remove_entry(1);
        batch.put_entry(entry(1, 1, "z", 9));
        batch.put_key(Bytes::from_static(b"k"), Bytes::from_static(b"1"), NEVER_MS);
        batch.remove_key(Bytes::from_static(b"k"));
        let mut gone = message(2, b"two");
        gone.remove_entry(2);
        batch.append(gone);
        commit(&spool, batch);
        drop(spool);
        let spool = place.open();
        assert_eq!(spool.entry(1).unwrap().unwrap().target, "z".into());
        assert_eq!(spool.find(b"k").unwrap(), None);
        assert_eq!(spool.entry(2).unwrap(), None);
        assert_eq!(spool.body(2).unwrap(), None);
        assert_eq!(spool.stats().bodies, 1);
    }
}

#[test]
fn a_batch_that_contradicts_itself_is_refused_whole() {
    for mut place in Place::both() {
        let spool = place.open();
        let mut lonely = Batch::new();
        lonely.put_entry(entry(5, NO_BODY, "a", 1));
        lonely.put_body(9, Bytes::from_static(b"nobody needs this"));
        let mut dangling = Batch::new();
        dangling.put_entry(entry(6, 10, "a", 1));
        let mut nameless = Batch::new();
        nameless.put_entry(entry(0, NO_BODY, "a", 1));
        let mut wordy = Batch::new();
        wordy.put_entry(entry(7, NO_BODY, &"x".repeat(2000), 1));
        for batch in [lonely, dangling, nameless, wordy] {
            let refusal = wait(spool.commit(batch)).unwrap_err();
            assert!(matches!(refusal, CommitError::Invalid(_)), "{refusal}");
        }
        assert_eq!(spool.stats().entries, 0);
        commit(&spool, message(1, b"and the next one is fine"));
    }
}

#[test]
fn a_body_that_an_earlier_batch_of_the_group_let_go_is_gone_for_the_next() {
    let (spool, faults) = Spool::open_memory_with_faults(options()).unwrap();
    commit(&spool, message(1, b"body"));
    faults.hold();
    let first = spool.commit(message(8, b"held"));
    faults.wait_until_held();
    let mut takes = Batch::new();
    takes.put_entry(entry(2, 1, "b", 1));
    let (removed, taken) = (spool.commit(remove(1)), spool.commit(takes));
    faults.release();
    assert!(wait(first).is_ok());
    assert!(wait(removed).is_ok());
    assert!(matches!(wait(taken), Err(CommitError::Invalid(_))));
    assert_eq!(spool.body(1).unwrap(), None);
}

#[test]
fn a_claim_takes_what_is_due_once_and_earliest_first() {
    for mut place in Place::both() {
        let spool = place.open();
        let mut batch = Batch::new();
        for (id, target, due_ms) in [(1, "a", 30), (2, "b", 10), (3, "a", 20), (4, "c", NEVER_MS)] {
            batch.put_entry(entry(id, NO_BODY, target, due_ms));
        }
        commit(&spool, batch);
        let lease = spool.lease(1);
        assert_eq!(spool.next_due_ms(&[]), Some(10));
        assert_eq!(spool.next_due_ms(&["a".into()]), Some(20));
        assert_eq!(spool.next_due_ms(&["unknown".into()]), None);
        assert_eq!(claimed(&spool, &lease, 10), []);
        let first = spool.claim(&lease, &["a".into(), "b".into()], 31, 2).unwrap();
        assert_eq!(first, [entry(2, NO_BODY, "b", 10), entry(3, NO_BODY, "a", 20)]);
        assert_eq!(claimed(&spool, &lease, NEVER_MS), [1]);
        assert_eq!(claimed(&spool, &lease, NEVER_MS), []);
        spool.release(&lease, &[3, 99]);
        assert_eq!(claimed(&spool, &lease, NEVER_MS), [3]);
        spool.release(&spool.lease(2), &[3]);
        assert_eq!(claimed(&spool, &lease, NEVER_MS), [], "another node's claim stays");
        spool.release_all(&lease);
        assert_eq!(claimed(&spool, &lease, NEVER_MS), [2, 3, 1]);
        spool.renew(&lease).unwrap();
        drop(spool);
        let spool = place.open();
        assert_eq!(claimed(&spool, &spool.lease(1), NEVER_MS), [2, 3, 1], "a restart ends claims");
    }
}

#[test]
fn an_entry_put_as_claimed_is_given_to_nobody_until_it_is_put_back() {
    for mut place in Place::both() {
        let spool = place.open();
        let lease = spool.lease(1);
        let mut batch = Batch::new();
        batch.put_claimed(entry(1, NO_BODY, "a", 5), &lease);
        commit(&spool, batch);
        assert_eq!(claimed(&spool, &lease, 10), []);
        let mut again = Batch::new();
        again.put_claimed(entry(1, NO_BODY, "b", 6), &lease);
        commit(&spool, again);
        assert_eq!(claimed(&spool, &lease, 10), []);
        let stats = spool.stats();
        assert_eq!(stats.by_target.len(), 1);
        assert_eq!((stats.by_target[0].1.claimed, stats.by_target[0].1.waiting), (1, 0));
        let mut back = Batch::new();
        back.put_entry(entry(1, NO_BODY, "b", 7));
        commit(&spool, back);
        assert_eq!(claimed(&spool, &lease, 10), [1]);
    }
}

#[test]
fn scans_walk_every_index_in_pages() {
    for mut place in Place::both() {
        let spool = place.open();
        let lease = spool.lease(1);
        let mut batch = Batch::new();
        for id in 1..=9 {
            let mut entry = entry(id, NO_BODY, if id % 2 == 0 { "even" } else { "odd" }, 100 - id);
            entry.state = u8::try_from(id % 3).unwrap();
            if id > 5 {
                batch.put_claimed(entry, &lease);
            } else {
                batch.put_entry(entry);
            }
        }
        commit(&spool, batch);
        let walk = |index: &Index| {
            let (mut ids, mut cursor) = (Vec::new(), None);
            loop {
                let (page, next) = spool.scan(index, cursor, 2).unwrap();
                assert!(page.len() <= 2);
                ids.extend(page.iter().map(|entry| entry.id));
                cursor = next;
                if cursor.is_none() {
                    return ids;
                }
            }
        };
        assert_eq!(walk(&Index::Id), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(walk(&Index::Target("even".into())), [8, 6, 4, 2]);
        assert_eq!(walk(&Index::Target("none".into())), []);
        assert_eq!(walk(&Index::State(1)), [1, 4, 7]);
        assert_eq!(walk(&Index::State(77)), []);
        assert_eq!(spool.stats().by_state, [(0, 3), (1, 3), (2, 3)]);
    }
}

#[test]
fn expired_entries_show_wherever_they_sit() {
    for mut place in Place::both() {
        let spool = place.open();
        let lease = spool.lease(1);
        let mut batch = Batch::new();
        for (id, expires_ms) in [(1, 50), (2, 40), (3, NEVER_MS), (4, 60)] {
            let mut entry = entry(id, NO_BODY, "a", NEVER_MS);
            entry.expires_ms = expires_ms;
            batch.put_claimed(entry, &lease);
        }
        commit(&spool, batch);
        let expired = |now_ms| -> Vec<u64> {
            spool.expired(now_ms, 10).unwrap().iter().map(|entry| entry.id).collect()
        };
        assert_eq!(expired(39), []);
        assert_eq!(expired(50), [2, 1]);
        assert_eq!(expired(NEVER_MS), [2, 1, 4]);
        commit(&spool, remove(2));
        assert_eq!(expired(50), [1]);
    }
}

#[test]
fn keys_are_listed_in_order_and_swept_when_their_last_expiry_is_past() {
    for mut place in Place::both() {
        let spool = place.open();
        let mut batch = Batch::new();
        for (key, expires_ms) in [("b/2", 10), ("b/1", 20), ("a", 10), ("b", 30), ("c", NEVER_MS)] {
            batch.put_key(Bytes::from(key), Bytes::from(key.to_uppercase()), expires_ms);
        }
        commit(&spool, batch);
        let keys = |prefix: &str, after: Option<&str>| -> Vec<Bytes> {
            let page = spool.keys_with_prefix(prefix.as_bytes(), after.map(str::as_bytes), 2);
            page.unwrap().into_iter().map(|found| found.key).collect()
        };
        assert_eq!(keys("b/", None), ["b/1", "b/2"]);
        assert_eq!(keys("b", None), ["b", "b/1"]);
        assert_eq!(keys("b", Some("b/1")), ["b/2"]);
        assert_eq!(keys("b/", Some("a")), ["b/1", "b/2"]);
        assert_eq!(keys("", Some("b/2")), ["c"]);

        let mut longer = Batch::new();
        longer.put_key(Bytes::from_static(b"a"), Bytes::from_static(b"again"), 25);
        commit(&spool, longer);
        assert_eq!(wait(spool.sweep_keys(9, 100)).unwrap(), 0);
        assert_eq!(wait(spool.sweep_keys(20, 100)).unwrap(), 2);
        assert_eq!(keys("", None), ["a", "b"]);
        assert_eq!(spool.find(b"a").unwrap().unwrap(), "again");
        assert_eq!(wait(spool.sweep_keys(25, 100)).unwrap(), 1);
        assert_eq!(wait(spool.sweep_keys(u64::MAX, 100)).unwrap(), 1);
        assert_eq!(keys("", None), ["c"]);
        commit(&spool, Batch::new());
        drop(spool);
        let spool = place.open();
        assert_eq!(wait(spool.sweep_keys(u64::MAX, 100)).unwrap(), 0);
        assert_eq!(spool.find(b"c").unwrap().unwrap(), "C");
    }
}

#[test]
fn what_nobody_waits_for_is_seen_soon_and_synced_by_itself() {
    for mut place in Place::both() {
        let spool = place.open();
        commit(&spool, message(1, b"one"));
        let syncs = spool.stats().syncs;
        spool.commit_later(remove(1)).unwrap();
        while spool.stats().syncs == syncs {
            std::thread::yield_now();
        }
        assert_eq!(spool.entry(1).unwrap(), None);
        assert_eq!(spool.stats().lazy_commits, 1);
        drop(spool);
        assert_eq!(place.open().stats().entries, 0);
    }
}

#[test]
fn a_nearly_full_disk_refuses_bodies_first_and_removals_never() {
    for mut place in Place::both() {
        let free = Arc::new(AtomicU64::new(u64::MAX));
        let mut options = options();
        options.reserve_bytes = 8_000;
        let asked = Arc::clone(&free);
        options.space = Some(Arc::new(move || asked.load(Ordering::Relaxed)));
        let spool = place.open_with(options);
        commit(&spool, message(1, b"one"));
        // The file system is asked again after some groups at the latest.
        free.store(7_999, Ordering::Relaxed);
        let mut id = 2;
        let refusal = loop {
            match wait(spool.commit(message(id, b"more"))) {
                Ok(_proof) => id += 1,
                Err(refusal) => break refusal,
            }
        };
        assert_eq!(refusal, CommitError::Full { free_bytes: 7_999, reserve_bytes: 8_000 });
        let mut put_off = Batch::new();
        put_off.put_entry(entry(1, 1, "a", 99));
        commit(&spool, put_off.clone());
        free.store(999, Ordering::Relaxed);
        assert!(matches!(wait(spool.commit(message(id, b"more"))), Err(CommitError::Full { .. })));
        assert!(matches!(wait(spool.commit(put_off)), Err(CommitError::Full { .. })));
        free.store(0, Ordering::Relaxed);
        commit(&spool, remove(1));
        free.store(u64::MAX, Ordering::Relaxed);
        commit(&spool, message(id, b"room again"));
    }
}

#[test]
fn too_much_in_the_waiting_room_is_told_to_come_back() {
    let mut options = options();
    options.waiting_commits_max = 2;
    let (spool, faults) = Spool::open_memory_with_faults(options).unwrap();
    faults.hold();
    let first = spool.commit(message(1, b"held"));
    faults.wait_until_held();
    let waiting: Vec<_> = (2..4).map(|id| spool.commit(message(id, b"waits"))).collect();
    assert_eq!(wait(spool.commit(message(4, b"too many"))).unwrap_err(), CommitError::Busy);
    assert_eq!(spool.commit_later(remove(1)), Err(CommitError::Busy));
    assert_eq!(spool.stats().waiting_commits, 2);
    faults.release();
    for commit in waiting.into_iter().chain([first]) {
        assert!(wait(commit).is_ok());
    }
    assert_eq!(spool.stats().entries, 3);
}

#[test]
fn after_closing_nothing_gets_in_and_all_that_waited_is_there() {
    for mut place in Place::both() {
        let spool = place.open();
        let other = spool.clone();
        let waiting: Vec<_> = (1..50).map(|id| spool.commit(message(id, b"waits"))).collect();
        spool.close();
        for commit in waiting {
            assert!(wait(commit).is_ok());
        }
        assert_eq!(wait(other.commit(message(50, b"late"))).unwrap_err(), CommitError::Closed);
        assert_eq!(other.body(1).unwrap().unwrap(), "waits");
        drop(other);
        assert_eq!(place.open().stats().entries, 49);
    }
}
