//! What the suites share: a way to wait without a runtime, and short words for entries.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use bytes::Bytes;
use wirepost_spool::{Entry, NEVER_MS, Options};

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
