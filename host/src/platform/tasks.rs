//! Tasks: every one has a name, an owner and an end.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Starts tasks and waits for them at the end. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
}

impl Tasks {
    /// Nothing runs yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task that ends when `future` does; a panic in it is logged and ends only it.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let guard = PanicGuard { name, done: false };
        drop(self.tracker.spawn(async move {
            let mut guard = guard;
            future.await;
            guard.done = true;
        }));
    }

    /// Set once: accept nothing new, finish what is in flight, end.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Asks every task to end.
    pub fn stop(&self) {
        self.stopping.cancel();
        self.tracker.close();
    }

    /// How many tasks run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.tracker.len()
    }

    /// Waits for all tasks after [`Tasks::stop`]; false if some still ran at the deadline.
    pub async fn join(&self, wait_max: Duration) -> bool {
        tokio::time::timeout(wait_max, self.tracker.wait()).await.is_ok()
    }
}

/// Says so when a task ends by a panic.
struct PanicGuard {
    name: &'static str,
    done: bool,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if !self.done && std::thread::panicking() {
            tracing::error!(
                event = "task.panic",
                task = self.name,
                "a task panicked; its session ends"
            );
        }
    }
}
