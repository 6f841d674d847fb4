//! A first look.
mod common;
use bytes::Bytes;
use common::{entry, options, wait};
use wirepost_spool::{Batch, Spool};

#[test]
fn what_was_committed_is_found() {
    let spool = Spool::open_memory(options()).unwrap();
    let mut batch = Batch::new();
    batch.put_body(7, Bytes::from_static(b"body"));
    batch.put_entry(entry(1, 7, "a", 10));
    batch.put_key(Bytes::from_static(b"k"), Bytes::from_static(b"v"), 5);
    let _proof = wait(spool.commit(batch)).unwrap();
    assert_eq!(spool.body(7).unwrap().unwrap(), "body");
    let lease = spool.lease(0);
    assert_eq!(spool.claim(&lease, &[], 10, 10).unwrap(), []);
    assert_eq!(spool.claim(&lease, &[], 11, 10).unwrap(), [entry(1, 7, "a", 10)]);
    assert_eq!(spool.claim(&lease, &[], 11, 10).unwrap(), []);
    let mut batch = Batch::new();
    batch.remove_entry(1);
    spool.commit_later(batch).unwrap();
    assert_eq!(wait(spool.sweep_keys(5, 10)).unwrap(), 1);
    let _proof = wait(spool.flush()).unwrap();
    assert_eq!(spool.body(7).unwrap(), None);
    spool.close();
}
