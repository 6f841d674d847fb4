//! Figures about a spool.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Figures at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries stored.
    pub entries: u64,
    /// Bodies stored.
    pub bodies: u64,
    /// Entries by the owner's state; only states that occur.
    pub by_state: Vec<(u8, u64)>,
    /// Entries by target, in order of name; only targets that have any.
    pub by_target: Vec<(Arc<str>, TargetStats)>,
    /// Entries that could not be read and are kept as evidence.
    pub aside: u64,
    /// What batches counted, by `COLUMN/NAME`, in order of name. Of the same moment as the figures
    /// above.
    pub totals: Vec<(Arc<str>, u64)>,
    /// What the store takes on disk; 0 in memory.
    pub disk_bytes: u64,
    /// What the file system has left, when it was last asked.
    pub free_bytes: u64,
    /// Commits answered with a proof.
    pub commits: u64,
    /// Commits that nobody waited for.
    pub lazy_commits: u64,
    /// Commits that nobody waited for and that were refused for lack of space.
    pub lazy_refused: u64,
    /// Atomic batches written.
    pub groups: u64,
    /// Syncs done.
    pub syncs: u64,
    /// Commits that wait for the disk now.
    pub waiting_commits: u64,
    /// Bytes that wait for the disk now.
    pub waiting_bytes: u64,
    /// Records set aside as corrupt since the spool was opened, with those found at opening.
    pub corrupt: u64,
    /// How long write and sync of a group took.
    pub sync_latency: Latency,
}

/// Entries of one target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TargetStats {
    /// Entries that somebody works on.
    pub claimed: u64,
    /// Entries that wait for their time.
    pub waiting: u64,
    /// The earliest due time among those that wait.
    pub next_due_ms: Option<u64>,
}

/// How long something took, in steps of powers of two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    /// How often it was measured.
    pub count: u64,
    /// Half of them took no longer than this.
    pub p50: Duration,
    /// 99 of 100 took no longer than this.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

/// Steps of the histogram: step n counts what took less than 2^n µs.
const STEPS: usize = 40;

/// The counters that the writer's thread moves and anybody reads.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) lazy_commits: AtomicU64,
    pub(crate) lazy_refused: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) corrupt: AtomicU64,
    pub(crate) free_bytes: AtomicU64,
    steps: [AtomicU64; STEPS],
    max_us: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            commits: AtomicU64::new(0),
            lazy_commits: AtomicU64::new(0),
            lazy_refused: AtomicU64::new(0),
            groups: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            corrupt: AtomicU64::new(0),
            free_bytes: AtomicU64::new(u64::MAX),
            steps: std::array::from_fn(|_| AtomicU64::new(0)),
            max_us: AtomicU64::new(0),
        }
    }
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn synced(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let step = usize::try_from(u64::BITS - us.leading_zeros()).unwrap_or(STEPS);
        if let Some(counter) = self.steps.get(step.min(STEPS - 1)) {
            Self::add(counter, 1);
        }
        self.max_us.fetch_max(us, Ordering::Relaxed);
    }

    pub(crate) fn latency(&self) -> Latency {
        let steps: Vec<u64> = self.steps.iter().map(|step| step.load(Ordering::Relaxed)).collect();
        let count: u64 = steps.iter().sum();
        let max = Duration::from_micros(self.max_us.load(Ordering::Relaxed));
        let quantile = |parts: u64| {
            let rank = count.saturating_mul(parts).div_ceil(100);
            let mut seen = 0;
            for (step, n) in steps.iter().enumerate() {
                seen += n;
                if seen >= rank {
                    return Duration::from_micros(1 << step).min(max);
                }
            }
            max
        };
        Latency { count, p50: quantile(50), p99: quantile(99), max }
    }

    /// Copies the counters into figures that the index and the store complete.
    pub(crate) fn read_into(&self, stats: &mut Stats) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        stats.commits = load(&self.commits);
        stats.lazy_commits = load(&self.lazy_commits);
        stats.lazy_refused = load(&self.lazy_refused);
        stats.groups = load(&self.groups);
        stats.syncs = load(&self.syncs);
        stats.corrupt = load(&self.corrupt);
        stats.free_bytes = load(&self.free_bytes);
        stats.sync_latency = self.latency();
    }
}
