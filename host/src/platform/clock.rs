//! The clock: the only place that reads time.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use message::Timestamp;

/// Tells the time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Under test: the wall clock at a moment of tokio's (pausable) clock.
    simulated: Option<Arc<Mutex<(Timestamp, tokio::time::Instant)>>>,
}

impl Clock {
    /// The operating system's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self { simulated: None }
    }

    /// A clock that starts at `start` and runs with tokio's, which a test may pause and advance.
    #[must_use]
    pub fn simulated(start: Timestamp) -> Self {
        let at = (start, tokio::time::Instant::now());
        Self { simulated: Some(Arc::new(Mutex::new(at))) }
    }

    /// Sets a simulated clock, as an operator or a time server sets a real one; all clones see it. The
    /// operating system's clock is not ours to set: there it does nothing.
    pub fn set(&self, to: Timestamp) {
        if let Some(at) = &self.simulated {
            let at = &mut *at.lock().unwrap_or_else(PoisonError::into_inner);
            *at = (to, tokio::time::Instant::now());
        }
    }

    /// The wall clock. It may jump; ids and schedules cope.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.simulated {
            Some(at) => {
                let (start, started) = *at.lock().unwrap_or_else(PoisonError::into_inner);
                start.after(started.elapsed())
            }
            None => wall_clock(),
        }
    }

    /// The monotonic clock, for timers of sessions.
    #[must_use]
    pub fn instant(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// Waits.
    pub async fn sleep(&self, wait: Duration) {
        tokio::time::sleep(wait).await;
    }

    /// Waits until `deadline` of the monotonic clock; for ever if there is none.
    pub async fn sleep_until(&self, deadline: Option<Instant>) {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    }
}

/// Waits for deadlines that mostly move on before they come, as those of a connection do with each
/// command. A timer that is set for an earlier moment stays set, and is set anew when it goes off: a
/// wait that something else ends costs no timer of its own.
#[derive(Debug, Default)]
pub struct Alarm {
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Alarm {
    /// Waits until `deadline` of the monotonic clock; for ever if there is none. Cancel safe.
    pub async fn wait_until(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline.map(tokio::time::Instant::from_std) else {
            return std::future::pending().await;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline || timer.is_elapsed() {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().await;
        if timer.deadline() < deadline {
            timer.as_mut().reset(deadline);
            timer.as_mut().await;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn wall_clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::from_ms(since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(0)))
}
