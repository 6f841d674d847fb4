//! The host's clocks: the ones in `std` panic in a plugin.

use std::time::Duration;

use crate::backend;

/// Unix time in milliseconds.
#[must_use]
pub fn now_ms() -> u64 {
    backend::now_ms()
}

/// A clock that never goes back, for durations.
#[must_use]
pub fn monotonic() -> Duration {
    Duration::from_nanos(backend::monotonic_ns())
}
