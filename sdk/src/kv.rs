//! The plugin's own keys and values. They survive replaced instances, new versions and restarts.
//!
//! `set`, `set_if_absent` and `delete` join the message's transaction: they count when the message is
//! committed and vanish if it is refused. `add` and `take` are immediate, kept in memory and never undone.

use std::time::Duration;

use crate::{Error, backend};

/// The value of a key, this message's own writes included.
///
/// # Errors
/// [`Error::TooLarge`] for a key over 256 octets, [`Error::Unavailable`] if the store does not answer.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    backend::kv_get(key)
}

/// Sets a key, for ever or for some time.
///
/// # Errors
/// [`Error::TooLarge`] for a key over 256 octets or a value over 64 KiB, [`Error::Exhausted`] over 64 writes
/// a call.
pub fn set(key: &str, value: impl AsRef<[u8]>, ttl: Option<Duration>) -> Result<(), Error> {
    backend::kv_set(key, value.as_ref(), ttl.map(millis))
}

/// Sets a key unless it is there. `true` if this message made it, also on a second run of the same message:
/// duplicate suppression in one step.
///
/// # Errors
/// As [`set`]; [`Error::Unavailable`] while another uncommitted message holds the key.
pub fn set_if_absent(
    key: &str,
    value: impl AsRef<[u8]>,
    ttl: Option<Duration>,
) -> Result<bool, Error> {
    backend::kv_set_if_absent(key, value.as_ref(), ttl.map(millis))
}

/// Removes a key and says whether it was there.
///
/// # Errors
/// As [`set`].
pub fn delete(key: &str) -> Result<bool, Error> {
    backend::kv_delete(key)
}

/// Adds to a counter in memory and returns its new value. A counter that is not there counts from 0; one
/// without a `ttl` that comes to 0 is forgotten.
///
/// # Errors
/// [`Error::Exhausted`] over the number of counters and buckets: none that still counts is forgotten for
/// another.
pub fn add(key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, Error> {
    backend::kv_add(key, by, ttl.map(millis))
}

/// Takes `cost` tokens from a bucket that gains `per_second` of them and holds `burst`.
///
/// # Errors
/// The time until there are enough; a second for a bucket beyond the number of counters and buckets.
pub fn take(key: &str, per_second: f64, burst: f64, cost: f64) -> Result<(), Duration> {
    backend::kv_take(key, per_second, burst, cost).map_err(Duration::from_millis)
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}
