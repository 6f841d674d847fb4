//! Numbers that follow from the seed.

use std::ops::Range;
use std::time::Duration;

/// A stream of numbers. Every actor has one of its own, so that what one of them draws changes
/// nothing for the others.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The stream of an actor.
    pub(crate) fn fork(&self, name: &str) -> Self {
        // FNV-1a: the same on every machine.
        let mut hash = 0xCBF2_9CE4_8422_2325_u64;
        for octet in name.bytes() {
            hash = (hash ^ u64::from(octet)).wrapping_mul(0x100_0000_01B3);
        }
        let mut forked = Self(self.0 ^ hash);
        forked.next();
        forked
    }

    /// SplitMix64.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of the numbers below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap();
        usize::try_from(self.next() % end).unwrap()
    }

    /// True so many times in a thousand.
    pub(crate) fn chance(&mut self, permille: usize) -> bool {
        self.below(1000) < permille
    }

    /// A time between these many milliseconds.
    pub(crate) fn time(&mut self, ms: Range<u64>) -> Duration {
        Duration::from_millis(ms.start + self.next() % (ms.end - ms.start).max(1))
    }
}
