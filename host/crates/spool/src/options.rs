//! How a spool is opened.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where the watermark learns how much room is left; see [`Options::space`].
pub type Space = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Limits and settings of a spool; start from [`Options::new`].
#[derive(Clone)]
pub struct Options {
    /// The clock: for the deadline of lazy commits and for the latencies in
    /// [`crate::Stats`].
    pub clock: fn() -> Instant,
    /// How long a commit that nobody waits for may stay unsynced. Default 50 ms.
    pub lazy_max: Duration,
    /// How many commits may wait for the disk before further ones are told to come back.
    pub waiting_commits_max: usize,
    /// How many bytes may wait for the disk before further ones are told to come back.
    pub waiting_bytes_max: usize,
    /// How much one write and sync takes along.
    pub group_bytes_max: usize,
    /// Free space below which batches with bodies are refused; an eighth of it is what batches
    /// without bodies leave alone. Removals are always tried.
    pub reserve_bytes: u64,
    /// Asks for the free bytes instead of the file system; for tests.
    pub space: Option<Space>,
    /// Cache for blocks read from disk.
    pub cache_bytes: u64,
    /// Who writes.
    pub writing: Writing,
    /// Whether to create a spool where none is.
    pub create: bool,
    /// About how much is kept in memory before it is written as a table; a store keeps what it was
    /// created with.
    pub memtable_bytes: u64,
}

/// Who does the writer's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// A thread of the spool's own, as soon as there is work.
    Thread,
    /// Whoever has the [`crate::Pump`], when they like: a simulation, in which no thread may decide
    /// who is first.
    Pump,
}

impl Options {
    /// The longest name of a target or an account, in bytes.
    pub const NAME_BYTES_MAX: usize = 1024;
    /// The longest key, in bytes.
    pub const KEY_BYTES_MAX: usize = 4096;
    /// The largest value of a key, and the largest bytes of an entry.
    pub const VALUE_BYTES_MAX: usize = 64 * 1024 * 1024;
    /// The largest body.
    pub const BODY_BYTES_MAX: usize = 1024 * 1024 * 1024;

    /// The defaults, with the clock to use.
    #[must_use]
    pub fn new(clock: fn() -> Instant) -> Self {
        Self {
            clock,
            lazy_max: Duration::from_millis(50),
            waiting_commits_max: 100_000,
            waiting_bytes_max: 128 * 1024 * 1024,
            group_bytes_max: 8 * 1024 * 1024,
            reserve_bytes: 256 * 1024 * 1024,
            space: None,
            cache_bytes: 16 * 1024 * 1024,
            writing: Writing::Thread,
            create: true,
            memtable_bytes: 8 * 1024 * 1024,
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("lazy_max", &self.lazy_max)
            .field("waiting_commits_max", &self.waiting_commits_max)
            .field("waiting_bytes_max", &self.waiting_bytes_max)
            .field("group_bytes_max", &self.group_bytes_max)
            .field("reserve_bytes", &self.reserve_bytes)
            .field("cache_bytes", &self.cache_bytes)
            .field("create", &self.create)
            .field("memtable_bytes", &self.memtable_bytes)
            .finish_non_exhaustive()
    }
}
