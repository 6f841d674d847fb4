//! Waiting for a state, with a deadline.

use std::time::Duration;

/// How long anything that is waited for may take; generous, because machines are busy.
pub const DEADLINE: Duration = Duration::from_secs(20);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Returns what `look` finds as soon as it finds something. `what` is named if it never does.
pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
