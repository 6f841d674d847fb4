//! Counters and buckets when there are as many as may be.

use std::time::Duration;

use message::Timestamp;

use super::{Bucket, Clocks, KvError, PluginKv, SLOTS_MAX};

const MINUTE: Timestamp = Timestamp::from_ms(60_000);

fn at(ms: u64) -> Clocks {
    Clocks { now: Timestamp::from_ms(ms), monotonic: Duration::from_millis(ms) }
}

/// One message a minute.
const SLOW: Bucket = Bucket { per_second: 1.0 / 60.0, burst: 1.0, cost: 1.0 };

#[test]
fn a_limit_is_kept_however_many_there_are() {
    let kv = PluginKv::default();
    assert_eq!(kv.take("first", SLOW, at(0)), Ok(()));
    for n in 1..SLOTS_MAX {
        assert_eq!(kv.take(&format!("sender-{n}"), SLOW, at(0)), Ok(()));
    }
    // One more has no room, and is refused; nobody's limit is forgotten for it.
    assert!(kv.take("one more", SLOW, at(1)).is_err());
    assert_eq!(kv.add("one more", 1, at(1), MINUTE), Err(KvError::Exhausted));
    assert!(kv.take("first", SLOW, at(2000)).is_err());
    // Full buckets say nothing: there is room for others.
    assert_eq!(kv.take("one more", SLOW, at(60_000)), Ok(()));
    assert!(kv.take("one more", SLOW, at(60_001)).is_err());
}

#[test]
fn counters_that_have_expired_make_room_and_others_stay() {
    let kv = PluginKv::default();
    for n in 0..SLOTS_MAX {
        let expires = if n % 2 == 0 { MINUTE } else { Timestamp::NEVER };
        assert_eq!(kv.add(&format!("count-{n}"), 5, at(0), expires), Ok(5));
    }
    assert_eq!(kv.add("more", 1, at(1), Timestamp::NEVER), Err(KvError::Exhausted));
    assert_eq!(kv.add("more", 1, at(60_000), Timestamp::NEVER), Ok(1));
    assert_eq!(kv.add("count-1", 1, at(60_000), Timestamp::NEVER), Ok(6));
    assert_eq!(kv.add("count-0", 1, at(60_000), MINUTE), Ok(1));
}

#[test]
fn a_counter_without_an_end_goes_when_it_comes_to_nothing() {
    let kv = PluginKv::default();
    let never = Timestamp::NEVER;
    for n in 0..SLOTS_MAX {
        assert_eq!(kv.add(&format!("count-{n}"), 1, at(0), never), Ok(1));
    }
    assert_eq!(kv.add("more", 1, at(1), never), Err(KvError::Exhausted));
    assert_eq!(kv.add("count-7", -1, at(1), never), Ok(0));
    assert_eq!(kv.add("more", 1, at(1), never), Ok(1));
    // To look at one makes none.
    assert_eq!(kv.add("another", 0, at(1), never), Ok(0));
}
