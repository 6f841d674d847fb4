//! What is scarce: memory, disk, room in the spool. Doors answer "later" while one of them is short.
//!
//! Each watermark has two levels, so that doors do not open and close with each message: it is
//! crossed at the high one and left at the low one.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Router;
use crate::config::Reply;
use crate::generation::Generation;
use crate::pipeline::reply;
use crate::plan::queue_full;
use crate::platform::memory::resident_bytes;

/// Something that can run short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watermark {
    /// Resident memory, by `node.memory_max`.
    Memory,
    /// Free space of the spool's disk, by `spool.free_min`.
    Disk,
    /// Entries of the spool, by `spool.messages_max`.
    Queue,
}

impl Watermark {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Disk, Self::Queue];

    /// Its name in the log and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Queue => "queue",
        }
    }

    fn refusal(self) -> Reply {
        match self {
            Self::Memory => reply(452, "4.3.1", 0x14, "Too busy, try again later"),
            Self::Disk => reply(452, "4.3.1", 0x14, "Insufficient system storage"),
            Self::Queue => queue_full(),
        }
    }
}

/// Which watermarks are crossed.
#[derive(Debug, Default)]
pub struct Pressure {
    memory: AtomicBool,
    disk: AtomicBool,
    queue: AtomicBool,
}

impl Pressure {
    /// Whether a watermark is crossed.
    #[must_use]
    pub fn is_on(&self, watermark: Watermark) -> bool {
        self.flag(watermark).load(Ordering::Relaxed)
    }

    /// What a door answers now; none if it may take messages.
    #[must_use]
    pub fn refusal(&self) -> Option<Reply> {
        Watermark::ALL.into_iter().find(|mark| self.is_on(*mark)).map(Watermark::refusal)
    }

    /// Notes a level that is crossed at `high` and left at `low`, and says so.
    fn note(&self, watermark: Watermark, level: u64, (low, high): (u64, u64)) {
        let flag = self.flag(watermark);
        let was_on = flag.load(Ordering::Relaxed);
        let on = is_crossed(was_on, level, (low, high));
        if on == was_on || flag.swap(on, Ordering::Relaxed) == on {
            return;
        }
        let name = watermark.name();
        if on {
            tracing::warn!(
                event = "pressure.on",
                watermark = name,
                level,
                high,
                "doors answer later"
            );
        } else {
            tracing::info!(event = "pressure.off", watermark = name, level, low);
        }
    }

    const fn flag(&self, watermark: Watermark) -> &AtomicBool {
        match watermark {
            Watermark::Memory => &self.memory,
            Watermark::Disk => &self.disk,
            Watermark::Queue => &self.queue,
        }
    }
}

const fn is_crossed(was: bool, level: u64, (low, high): (u64, u64)) -> bool {
    if was { level >= low } else { level >= high }
}

impl Router {
    /// Looks at all watermarks.
    pub(super) fn watch_pressure(&self) {
        let generation = self.generation();
        self.note_entries(&generation);
        let config = &generation.config;
        let most = config.node.memory_bytes_max;
        if most > 0
            && let Some(bytes) = resident_bytes()
        {
            self.pressure.note(Watermark::Memory, bytes, (most - most / 10, most));
        } else if most == 0 {
            self.pressure.note(Watermark::Memory, 0, (1, 1));
        }
        // Counted from the other end: what is missing of twice the least that must be free.
        let least = config.spool.free_bytes_min;
        let missing = least.saturating_mul(2).saturating_sub(self.spool.free_bytes());
        self.pressure.note(Watermark::Disk, missing, (least - least / 10, least.saturating_add(1)));
    }

    /// Looks at the number of entries.
    pub(super) fn note_entries(&self, generation: &Generation) {
        let most = generation.config.spool.messages_max;
        self.pressure.note(Watermark::Queue, self.spool.entries(), (most - most / 20, most));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(levels: &[u64], marks: (u64, u64), expect: &[bool]) {
        let mut on = false;
        let got: Vec<bool> = levels
            .iter()
            .map(|&level| {
                on = is_crossed(on, level, marks);
                on
            })
            .collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn a_watermark_is_crossed_at_the_high_level_and_left_below_the_low_one() {
        check(
            &[94, 99, 100, 96, 95, 94, 99],
            (95, 100),
            &[false, false, true, true, true, false, false],
        );
        check(&[1, 0, 1], (1, 1), &[true, false, true]);
    }

    #[test]
    fn the_first_that_is_short_answers() {
        let pressure = Pressure::default();
        assert_eq!(pressure.refusal(), None);
        pressure.note(Watermark::Queue, 5, (5, 5));
        pressure.note(Watermark::Disk, 5, (5, 5));
        assert_eq!(
            pressure.refusal().map(|it| it.text),
            Some("Insufficient system storage".into())
        );
        pressure.note(Watermark::Disk, 4, (5, 5));
        assert_eq!(pressure.refusal().map(|it| it.text), Some(queue_full().text));
    }
}
