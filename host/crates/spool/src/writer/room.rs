//! The waiting room before the disk: bounded, and emptied in one go.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_channel::oneshot;

use crate::batch::Batch;
use crate::error::CommitError;
use crate::spool::Durable;

/// What somebody who waits for the disk is told.
pub(crate) type Answer = oneshot::Sender<Result<Durable, CommitError>>;

/// One thing for the writer's thread to do.
#[derive(Debug)]
pub(crate) enum Work {
    /// Make a batch durable and say so.
    Commit(Batch, Answer),
    /// Write a batch; nobody waits.
    Later(Batch),
    /// Say when everything before is durable.
    Flush(Answer),
    /// Remove keys that expired, at most so many, and say how many there were.
    Sweep { now_ms: u64, limit: usize, answer: oneshot::Sender<Result<usize, CommitError>> },
    /// Move an entry that cannot be read out of the way.
    SetAside(u64),
}

/// What the writer's thread finds when it looks.
#[derive(Debug)]
pub(super) enum Taken {
    /// Something to do.
    Works(Vec<Work>),
    /// Nothing came before the deadline.
    Nothing,
    /// Nothing will come any more.
    Closed,
}

#[derive(Debug, Default)]
struct Waiting {
    works: Vec<Work>,
    bytes: usize,
    closed: bool,
    writer_sleeps: bool,
    /// Who pumps, if nobody writes by themselves.
    pump: Option<Waker>,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Room {
    waiting: Mutex<Waiting>,
    come: Condvar,
    works_max: usize,
    bytes_max: usize,
}

impl Room {
    pub(crate) fn new(works_max: usize, bytes_max: usize) -> Self {
        Self { waiting: Mutex::default(), come: Condvar::new(), works_max, bytes_max }
    }

    /// Lets a batch in, if it is not too much. A batch that finds the room empty always fits.
    pub(crate) fn enter(&self, size_bytes: usize, work: Work) -> Result<(), CommitError> {
        let mut waiting = self.waiting();
        if waiting.closed {
            return Err(CommitError::Closed);
        }
        let too_many = waiting.works.len() >= self.works_max;
        let too_much = waiting.bytes.saturating_add(size_bytes) > self.bytes_max;
        if !waiting.works.is_empty() && (too_many || too_much) {
            return Err(CommitError::Busy);
        }
        waiting.bytes = waiting.bytes.saturating_add(size_bytes);
        waiting.works.push(work);
        let wake = std::mem::take(&mut waiting.writer_sleeps);
        let pump = waiting.pump.take();
        drop(waiting);
        if let Some(pump) = pump {
            pump.wake();
        }
        if wake {
            self.come.notify_one();
        }
        Ok(())
    }

    /// Takes all that waits; waits for something, no longer than `patience`.
    pub(super) fn take(&self, patience: Option<Duration>) -> Taken {
        let mut waiting = self.waiting();
        while waiting.works.is_empty() {
            if waiting.closed {
                return Taken::Closed;
            }
            waiting.writer_sleeps = true;
            let Some(patience) = patience else {
                waiting = self.come.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (guard, timeout) =
                self.come.wait_timeout(waiting, patience).unwrap_or_else(PoisonError::into_inner);
            waiting = guard;
            if timeout.timed_out() && waiting.works.is_empty() {
                waiting.writer_sleeps = false;
                return Taken::Nothing;
            }
        }
        waiting.writer_sleeps = false;
        waiting.bytes = 0;
        Taken::Works(std::mem::take(&mut waiting.works))
    }

    /// Ready once something waits, or nothing will come any more.
    pub(super) fn poll_come(&self, context: &Context<'_>) -> Poll<()> {
        let mut waiting = self.waiting();
        if waiting.works.is_empty() && !waiting.closed {
            waiting.pump = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Lets nobody in any more; what waits is still done.
    pub(crate) fn close(&self) {
        let pump = {
            let mut waiting = self.waiting();
            waiting.closed = true;
            waiting.pump.take()
        };
        if let Some(pump) = pump {
            pump.wake();
        }
        self.come.notify_one();
    }

    /// How many and how many bytes wait.
    pub(crate) fn queue(&self) -> (usize, usize) {
        let waiting = self.waiting();
        (waiting.works.len(), waiting.bytes)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
