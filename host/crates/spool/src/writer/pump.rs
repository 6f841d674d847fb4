//! The writer's work, done when somebody says so instead of by a thread.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Core, Writer};

/// A writer without a thread, shared with the handles, which finish its work when they close.
pub(crate) type Idle = Arc<Mutex<Option<Writer>>>;

/// Does the writer's work in steps: [`crate::Writing::Pump`].
#[derive(Debug)]
pub struct Pump {
    core: Arc<Core>,
    writer: Idle,
}

impl Pump {
    pub(crate) fn new(core: Arc<Core>, writer: Idle) -> Self {
        Self { core, writer }
    }

    /// Resolves when something waits to be written, or the spool is closed. Cancel safe.
    pub async fn come(&self) {
        poll_fn(|context| self.core.room.poll_come(context)).await;
    }

    /// How long what nobody waited for may stay unsynced: [`Pump::work`] is wanted then at the latest.
    #[must_use]
    pub fn patience(&self) -> Option<Duration> {
        self.writer().as_ref().and_then(Writer::patience)
    }

    /// Writes, syncs and answers all that waits; without anything, syncs what nobody waited for.
    /// False once the spool is closed.
    #[must_use]
    pub fn work(&self) -> bool {
        self.writer().as_mut().is_some_and(|writer| writer.turn(Some(Duration::ZERO)))
    }

    fn writer(&self) -> MutexGuard<'_, Option<Writer>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
