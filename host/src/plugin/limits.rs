//! What one instance may use up, and how it is noticed that it did.

use std::time::Duration;

use wasmtime::ResourceLimiter;

use super::slots::{CORE_INSTANCES_A_SLOT, MEMORIES_A_SLOT, TABLES_A_SLOT};

/// Host memory that the arguments of one call into the host may take up.
pub(super) const HOSTCALL_BYTES_MAX: usize = 8 << 20;
/// Messages that an instance may hold handles of.
pub(super) const HANDLES_MAX: usize = 256;
/// Elements of one table.
const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Calls after which an instance is replaced.
pub(super) const CALLS_MAX: u32 = 10_000;
/// Age at which an instance is replaced.
pub(super) const AGE_MAX: Duration = Duration::from_secs(300);
/// Time and processor time for `init` and for the self-test.
pub(super) const INIT_TIME_MAX: Duration = Duration::from_secs(2);
/// How long a plugin that is loaded waits for a slot: others that are loaded have them all.
pub(super) const LOADING_WAIT_MAX: Duration = Duration::from_secs(10);
/// Texts up to this many octets are handed over with the envelope.
pub(super) const INLINE_TEXT_BYTES_MAX: usize = 2048;
/// Recipients that are handed over with the envelope.
pub(super) const INLINE_RECIPIENTS_MAX: usize = 32;
/// Recipients that a plugin may give a message.
pub(super) const RECIPIENTS_MAX: usize = 1000;
/// Forks of one call, whatever the grant says.
pub(super) const FORKS_MAX: u32 = 32;
/// Octets of the header of a mail that a plugin edits: each edit copies it.
pub(super) const EDITED_HEADER_BYTES_MAX: usize = 128 << 10;
/// Octets that a call may write beyond four times the size of its message.
pub(super) const OUTPUT_BYTES_EXTRA: usize = 1 << 20;
/// Names of metrics of one plugin; others are not counted.
pub(super) const METRICS_MAX: usize = 64;
/// Octets of the name of a metric.
pub(super) const METRIC_NAME_BYTES_MAX: usize = 64;
/// Writes to keys in one call.
pub(super) const KV_WRITES_MAX: usize = 64;
/// Octets of a key.
pub(super) const KV_KEY_BYTES_MAX: usize = 256;
/// Octets of a value.
pub(super) const KV_VALUE_BYTES_MAX: usize = 64 << 10;
/// Questions to look-ups in one call.
pub(super) const ASKS_MAX: usize = 8;
/// How often one call may wait for look-ups.
pub(super) const WAITS_MAX: usize = 4;
/// Octets of what a plugin remembers while it waits.
pub(super) const WAIT_STATE_BYTES_MAX: usize = 64 << 10;
/// Octets of the key of a question.
pub(super) const ASK_KEY_BYTES_MAX: usize = 256;
/// Log lines of one call; later ones are not written.
pub(super) const LOG_LINES_MAX: u32 = 32;
/// Octets of a log line, and as many of all of its fields; the rest is cut off.
pub(super) const LOG_LINE_BYTES_MAX: usize = 1024;
/// Fields of a log line; later ones are not written.
pub(super) const LOG_FIELDS_MAX: usize = 32;
/// Octets of an error that a plugin returns; the rest is cut off.
pub(super) const ERROR_BYTES_MAX: usize = 1 << 10;
/// Octets of what a plugin says when it panics; the rest is cut off.
pub(super) const PANIC_TEXT_BYTES_MAX: usize = 2 << 10;
/// Octets of the names of the functions in which it did; further ones are left out.
pub(super) const BACKTRACE_BYTES_MAX: usize = 2 << 10;
/// Needles of one `find`.
pub(super) const NEEDLES_MAX: usize = 256;
/// Octets of all needles of one `find`.
pub(super) const NEEDLE_BYTES_MAX: usize = 16 << 10;
/// Octets that the host reads, hashes or decodes in one tick of a plugin's processor time. What takes less
/// than a tick is seen by the ticks themselves. Octets that are only copied count for less.
pub(super) const WORK_BYTES_A_TICK: usize = 1 << 20;
/// Octets of one read of a part or of the raw message.
pub(super) const READ_BYTES_MAX: u32 = 1 << 20;

/// Keeps an instance within its memory. Growth beyond it is a trap: a plugin that went on without
/// the memory would only fail at a place that says less.
#[derive(Debug)]
pub(super) struct Limiter {
    bytes_max: usize,
    bytes: usize,
    refused: bool,
}

impl Limiter {
    pub(super) const fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, refused: false }
    }

    /// Linear memory now.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether growth was refused since the instance was made.
    pub(super) const fn refused(&self) -> bool {
        self.refused
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = self.bytes.saturating_add(desired.saturating_sub(current));
        if bytes > self.bytes_max {
            self.refused = true;
            return Err(wasmtime::Error::msg("memory limit"));
        }
        self.bytes = bytes;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        usize::try_from(CORE_INSTANCES_A_SLOT).unwrap_or(usize::MAX)
    }

    fn tables(&self) -> usize {
        usize::try_from(TABLES_A_SLOT).unwrap_or(usize::MAX)
    }

    fn memories(&self) -> usize {
        usize::try_from(MEMORIES_A_SLOT).unwrap_or(usize::MAX)
    }
}
