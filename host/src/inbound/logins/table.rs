//! Failures by key, in bounded memory.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Keys of one table. When there are more, those that failed least go, the oldest first: they took
/// one guess each to make.
pub(super) const ENTRIES_MAX: usize = 65_536;
/// How much of a full table is given up at once, as a divisor.
const GIVEN_UP: usize = 4;
/// The longest that a key is shut.
pub(super) const SHUT_MAX: Duration = Duration::from_hours(24);

/// Failures by key.
#[derive(Debug)]
pub(super) struct Table<K> {
    entries: BTreeMap<K, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Failures since `begun`.
    count: u32,
    begun: Instant,
    last: Instant,
    /// How often it was shut, one time after the other.
    times: u32,
    shut_until: Option<Instant>,
    /// When all of it is forgotten.
    forgotten: Instant,
}

/// What a failure led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// Failures in a row, this one included.
    pub(super) count: u32,
    /// Now it is shut, for so long.
    pub(super) shut: Option<Duration>,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { entries: BTreeMap::new() }
    }
}

impl<K: Ord + Copy> Table<K> {
    pub(super) fn is_shut(&self, key: &K, now: Instant) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.is_shut(now))
    }

    pub(super) fn forgive(&mut self, key: &K) {
        self.entries.remove(key);
    }

    /// Counts a failure. So many within `lockout` shut the key for that time, and twice as long each
    /// time that it happens again.
    pub(super) fn fail(&mut self, key: K, max: u32, lockout: Duration, now: Instant) -> Failed {
        if self.entries.len() >= ENTRIES_MAX && !self.entries.contains_key(&key) {
            self.make_room(now);
        }
        let fresh = Entry {
            count: 0,
            begun: now,
            last: now,
            times: 0,
            shut_until: None,
            forgotten: later(now, lockout.saturating_mul(2)),
        };
        let entry = self.entries.entry(key).or_insert(fresh);
        if now >= entry.forgotten {
            *entry = fresh;
        } else if now.saturating_duration_since(entry.begun) >= lockout {
            (entry.begun, entry.count) = (now, 0);
        }
        entry.last = now;
        entry.count = entry.count.saturating_add(1);
        entry.forgotten = entry.forgotten.max(later(now, lockout.saturating_mul(2)));
        if entry.count < max || entry.is_shut(now) {
            return Failed { count: entry.count, shut: None };
        }
        let doubled = 2_u32.checked_pow(entry.times).and_then(|by| lockout.checked_mul(by));
        let shut = doubled.map_or(SHUT_MAX, |shut| shut.min(SHUT_MAX));
        let count = entry.count;
        *entry = Entry {
            count: 0,
            begun: later(now, shut),
            last: now,
            times: entry.times.saturating_add(1),
            shut_until: Some(later(now, shut)),
            // A guesser who waits that long meanwhile guesses nothing.
            forgotten: later(now, shut.saturating_mul(3)),
        };
        Failed { count, shut: Some(shut) }
    }

    fn make_room(&mut self, now: Instant) {
        self.entries.retain(|_, entry| now < entry.forgotten);
        if self.entries.len() < ENTRIES_MAX {
            return;
        }
        let rank = |entry: &Entry| (entry.is_shut(now), entry.times, entry.count, entry.last);
        let mut ranks: Vec<_> =
            self.entries.iter().map(|(key, entry)| (rank(entry), *key)).collect();
        ranks.sort_unstable();
        for (_, key) in ranks.iter().take(ENTRIES_MAX / GIVEN_UP) {
            self.entries.remove(key);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl Entry {
    fn is_shut(&self, now: Instant) -> bool {
        self.shut_until.is_some_and(|until| now < until)
    }
}

/// A moment too far away to be counted has not come.
fn later(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).unwrap_or(now)
}
