//! What the suites share: a way to wait without a runtime, short words for entries, and a place
//! that opens either kind of spool again and again.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use bytes::Bytes;
use tempfile::TempDir;
use wirepost_spool::{Batch, Entry, Faults, NEVER_MS, Options, Spool};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// What a future has now, if it has anything.
pub(crate) fn look<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

pub(crate) fn options() -> Options {
    #[expect(clippy::disallowed_methods, reason = "the suite is the spool's owner and has a clock")]
    Options::new(Instant::now)
}

/// An entry that needs the body `body`, bound for `target`.
pub(crate) fn entry(id: u64, body: u64, target: &str, due_ms: u64) -> Entry {
    Entry {
        id,
        body,
        target: target.into(),
        state: 1,
        due_ms,
        priority: 0,
        account: "shop".into(),
        expires_ms: NEVER_MS,
        bytes: Bytes::from(format!("entry {id}")),
    }
}

/// A batch with one entry and its body.
pub(crate) fn message(id: u64, body: &'static [u8]) -> Batch {
    let mut batch = Batch::new();
    batch.put_body(id, Bytes::from_static(body));
    batch.put_entry(entry(id, id, "a", id));
    batch
}

/// Commits and waits for the proof.
pub(crate) fn commit(spool: &Spool, batch: Batch) {
    let _proof = wait(spool.commit(batch)).unwrap();
}

/// Where a spool lives between two openings.
#[derive(Debug)]
pub(crate) enum Place {
    Memory(Option<Faults>),
    Disk(TempDir),
}

impl Place {
    pub(crate) fn both() -> [Self; 2] {
        [Self::Memory(None), Self::Disk(tempfile::tempdir().unwrap())]
    }

    /// Opens it, again if it was open before; the spool opened before must be gone.
    pub(crate) fn open(&mut self) -> Spool {
        self.open_with(options())
    }

    pub(crate) fn open_with(&mut self, options: Options) -> Spool {
        match self {
            Self::Memory(faults) => {
                let (spool, new) = match faults {
                    Some(before) => before.crash(options).unwrap(),
                    None => Spool::open_memory_with_faults(options).unwrap(),
                };
                *faults = Some(new);
                spool
            }
            Self::Disk(directory) => Spool::open_fjall(directory.path(), options).unwrap().0,
        }
    }
}
