//! Concatenation references: the number that the parts of one message share.
//!
//! A phone joins parts by sender, recipient and reference (3GPP 23.040 §9.2.3.24.1), so two messages
//! of one sender to one recipient must not come to the same number soon. With a counter for each
//! pair the number comes round only after 256 long messages of that pair (65,536 with 16 bits),
//! whatever else the connector sends.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU16, Ordering};

/// Counters; pairs that share one only use it up faster.
const COUNTERS: usize = 256;

/// A counter for each pair of sender and recipient, shared by all binds of a connector.
#[derive(Debug)]
pub struct References {
    counters: Vec<AtomicU16>,
}

impl References {
    /// Counters that begin near `first`: another one after each start, so that a message does not
    /// take the number of the last one before it.
    #[must_use]
    pub fn starting_at(first: u64) -> Self {
        let first = u16::try_from(first & 0xFFFF).unwrap_or(0);
        Self { counters: std::iter::repeat_with(|| AtomicU16::new(first)).take(COUNTERS).collect() }
    }

    /// The next reference of this pair. A carrier with 8 bits takes the lower half.
    #[must_use]
    pub fn next(&self, sender: &str, recipient: &str) -> u16 {
        let mut hasher = DefaultHasher::new();
        (sender, recipient).hash(&mut hasher);
        let count = u64::try_from(self.counters.len()).unwrap_or(1).max(1);
        let at = usize::try_from(hasher.finish() % count).unwrap_or(0);
        self.counters.get(at).map_or(0, |counter| counter.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_get_does_not_use_up_the_numbers_of_a_pair() {
        let references = References::starting_at(7);
        let first = references.next("SHOP", "+33612345678");
        assert_eq!(first, 7);
        for number in 0..255 {
            let _other = references.next("SHOP", &format!("+4930{number:07}"));
        }
        let second = references.next("SHOP", "+33612345678");
        assert_ne!(first & 0xFF, second & 0xFF);
        assert!(second - first < 8, "a few others may share the counter: {second}");
    }

    #[test]
    fn a_pair_counts_on_and_comes_round() {
        let references = References::starting_at(u64::from(u16::MAX));
        assert_eq!(references.next("a", "b"), u16::MAX);
        assert_eq!(references.next("a", "b"), 0);
    }
}
