//! Wirepost's durable store: entries, the bodies they need, and keyed values.
//!
//! The spool knows neither what it stores nor a runtime nor the clock. One interface, [`Spool`],
//! has two implementations: memory (the model, with [`Faults`]) and fjall (on disk). A commit
//! answers with [`Durable`], a proof that only a finished sync makes; nothing may be acknowledged
//! to a peer without one.
//!
//! One thread owns the store. It takes everything that waits, writes it as one atomic batch with
//! one sync, and answers everybody at once: a sync starts as soon as the disk is idle and takes
//! along all that came while the previous one ran.
//!
//! What is on disk, and its limits, is described in `FORMAT.md` beside this crate.

mod batch;
mod entry;
mod error;
mod index;
mod options;
pub mod portable;
mod spool;
mod stats;
mod store;
mod verify;
mod writer;

pub use batch::Batch;
pub use entry::{Cursor, Entry, Index, Key, Lease, NEVER_MS, NO_BODY};
pub use error::{CommitError, OpenError, ReadError};
pub use options::{Options, Space, Writing};
pub use spool::{Commit, Durable, OpenReport, Spool, Sweep};
pub use stats::{Latency, Stats, TargetStats};
pub use store::Faults;
pub use verify::{Finding, Verified};
pub use writer::Pump;
