//! Random numbers from the host.

use crate::backend;

/// 64 random bits.
#[must_use]
pub fn next() -> u64 {
    backend::random_next()
}

/// `count` random octets, at most 1,024.
#[must_use]
pub fn bytes(count: u32) -> Vec<u8> {
    backend::random_bytes(count)
}
