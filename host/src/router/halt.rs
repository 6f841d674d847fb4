//! What follows when the spool refuses to write.

use std::fmt::Display;
use std::sync::atomic::Ordering;

use super::Router;

impl Router {
    /// The spool refused what `target` had to write.
    ///
    /// Once its disk has failed, nothing is recorded until the next start. No delivery begins from then
    /// on: its outcome would be forgotten, and it would be sent again. That is said once; what could not
    /// be written because of it is only counted.
    pub(super) fn spool_refused(&self, target: &str, error: &dyn Display) {
        self.metrics.commit_failures.inc();
        let Some(why) = self.spool.poisoned() else {
            tracing::error!(event = "spool.refused", target, %error);
            return;
        };
        if self.halted.swap(true, Ordering::Relaxed) {
            tracing::debug!(event = "spool.refused", target, %error);
            return;
        }
        for target in self.targets() {
            target.halt();
        }
        self.decider.halt();
        tracing::error!(
            event = "spool.refused",
            target,
            %error,
            "no delivery begins any more, since the disk failed: {why}"
        );
    }
}
