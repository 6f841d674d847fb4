//! Tasks: every one has a name, an owner and an end.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Starts tasks and waits for them at the end. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
    /// In a simulation: all tasks end when this is cancelled, wherever they are.
    power: Option<CancellationToken>,
}

impl Tasks {
    /// Nothing runs yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing runs yet, and nothing will once `power` is cancelled: every task ends where it is, as
    /// if the machine had stopped. What blocks is done at once, so that no thread decides who is first.
    #[must_use]
    pub fn simulated(power: CancellationToken) -> Self {
        Self { power: Some(power), ..Self::default() }
    }

    /// Starts a task that ends when `future` does; a panic in it is logged and ends only it.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let guard = PanicGuard { name, done: false };
        let guarded = async move {
            let mut guard = guard;
            future.await;
            guard.done = true;
        };
        match self.power.clone() {
            None => drop(self.tracker.spawn(guarded)),
            Some(power) => drop(self.tracker.spawn(async move {
                tokio::select! {
                    biased;
                    () = power.cancelled() => {}
                    () = guarded => {}
                }
            })),
        }
    }

    /// Does what blocks: reads files, computes for long.
    ///
    /// # Errors
    /// It panicked.
    pub async fn blocking<T, F>(&self, work: F) -> Result<T, JoinError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        match self.power {
            None => tokio::task::spawn_blocking(work).await,
            Some(_) => Ok(work()),
        }
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
