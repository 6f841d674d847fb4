//! Message ids: 63 bits that grow with time and are unique across nodes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// 2025-01-01T00:00:00Z, where ids begin.
const EPOCH_MS: u64 = 1_735_689_600_000;
/// Bits of node number.
const NODE_BITS: u32 = 10;
/// Bits of sequence within a millisecond.
const SEQUENCE_BITS: u32 = 12;
/// The highest node number.
pub const NODE_MAX: u16 = (1 << NODE_BITS) - 1;
/// Where the time starts.
const TIME_SHIFT: u32 = NODE_BITS + SEQUENCE_BITS;

/// The id of a message, a leg or a delivery: 41 bits of milliseconds since 2025, 10 of node, 12 of
/// sequence. Written in decimal, at most 19 digits; a string in JSON, since it exceeds 53 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId(u64);

impl MessageId {
    /// The id with these bits; the top bit is dropped.
    #[must_use]
    pub const fn from_u64(bits: u64) -> Self {
        Self(bits & (u64::MAX >> 1))
    }

    /// The id as a number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// When the id was made, as far as the clock of its node could be trusted.
    #[must_use]
    pub const fn time(self) -> Timestamp {
        Timestamp::from_ms((self.0 >> TIME_SHIFT) + EPOCH_MS)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A text that is no message id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a message id: a decimal number of at most 19 digits is expected")]
pub struct ParseIdError(String);

impl FromStr for MessageId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        match text.trim_start_matches('#').parse::<u64>() {
            Ok(bits) if bits <= u64::MAX >> 1 => Ok(Self(bits)),
            Ok(_) | Err(_) => Err(ParseIdError(text.to_owned())),
        }
    }
}

/// Makes ids that only ever grow, whatever the clock does.
///
/// It knows no clock: the caller says what time it is. Two sources of the same node must not live
/// at once, and a source after a restart must start above everything handed out before: the host
/// keeps a high-water mark on disk and passes it as `floor`.
#[derive(Debug)]
pub struct IdSource {
    node: u64,
    last: u64,
}

impl IdSource {
    /// A source for `node` (0 to [`NODE_MAX`]) whose ids are all above `floor`.
    #[must_use]
    pub fn new(node: u16, floor: MessageId) -> Self {
        Self { node: u64::from(node & NODE_MAX) << SEQUENCE_BITS, last: floor.0 }
    }

    /// The next id at `now`. If the clock went back, or a millisecond is used up, ids run ahead of
    /// the clock instead of repeating.
    pub fn next(&mut self, now: Timestamp) -> MessageId {
        let sequence_mask = (1 << SEQUENCE_BITS) - 1;
        let now_part = now.as_ms().saturating_sub(EPOCH_MS) << TIME_SHIFT;
        let last_part = self.last >> TIME_SHIFT << TIME_SHIFT;
        self.last = if now_part > last_part {
            now_part | self.node
        } else if self.last & sequence_mask < sequence_mask
            && self.last & !sequence_mask == last_part | self.node
        {
            self.last + 1
        } else {
            (last_part + (1 << TIME_SHIFT)) | self.node
        };
        MessageId::from_u64(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_even_when_the_clock_goes_back() {
        let mut source = IdSource::new(3, MessageId::from_u64(0));
        let late = Timestamp::from_ms(EPOCH_MS + 5000);
        let early = Timestamp::from_ms(EPOCH_MS + 10);
        let mut last = source.next(late);
        for n in 0..10_000 {
            let id = source.next(if n % 2 == 0 { early } else { late });
            assert!(id > last, "{id} after {last}");
            last = id;
        }
        assert!(last.time().as_ms() >= late.as_ms());
    }

    #[test]
    fn a_restart_starts_above_the_floor() {
        let now = Timestamp::from_ms(EPOCH_MS + 1_000_000);
        let floor = IdSource::new(0, MessageId::from_u64(0))
            .next(now.after(std::time::Duration::from_secs(60)));
        let mut source = IdSource::new(0, floor);
        assert!(source.next(now) > floor);
    }

    #[test]
    fn nodes_never_meet() {
        let now = Timestamp::from_ms(EPOCH_MS + 77);
        let mut a = IdSource::new(1, MessageId::from_u64(0));
        let mut b = IdSource::new(2, MessageId::from_u64(0));
        let from_a: Vec<_> = (0..5000).map(|_| a.next(now)).collect();
        assert!((0..5000).map(|_| b.next(now)).all(|id| !from_a.contains(&id)));
    }

    #[test]
    fn ids_are_decimal() {
        let id = MessageId::from_u64(123_456_789_012_345);
        assert_eq!(id.to_string().parse::<MessageId>(), Ok(id));
        assert!("9223372036854775808".parse::<MessageId>().is_err());
        assert!("x".parse::<MessageId>().is_err());
    }
}
