//! Traffic that goes on while something happens: short messages, each of which must be taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinSet;

use crate::esme::Esme;
use crate::sms::text;
use crate::wait::until;

/// Messages that are sent before an answer is waited for.
const AT_ONCE: usize = 20;

/// Messages of one session, one batch after the other, until it is stopped.
#[derive(Debug)]
pub struct Traffic {
    sent: Arc<AtomicUsize>,
    done: Arc<AtomicBool>,
    sending: JoinSet<()>,
}

impl Traffic {
    /// Begins.
    #[must_use]
    pub fn start(esme: &Arc<Esme>) -> Self {
        let (sent, done) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut sending = JoinSet::new();
        sending.spawn({
            let (esme, sent, done) = (Arc::clone(esme), Arc::clone(&sent), Arc::clone(&done));
            async move {
                while !done.load(Ordering::Acquire) {
                    // All must be taken: `submit_all` insists.
                    let many = (0..AT_ONCE).map(|n| text("33612345678", &n.to_string()));
                    sent.fetch_add(esme.submit_all(many).await.len(), Ordering::AcqRel);
                }
            }
        });
        Self { sent, done, sending }
    }

    /// Waits until a batch more was taken.
    pub async fn goes_on(&self) {
        let before = self.sent.load(Ordering::Acquire);
        until("more messages to be taken", || {
            (self.sent.load(Ordering::Acquire) >= before + 2 * AT_ONCE).then_some(())
        })
        .await;
    }

    /// Ends, and says how many were taken.
    pub async fn stop(mut self) -> usize {
        self.done.store(true, Ordering::Release);
        self.sending.join_next().await.unwrap().unwrap();
        self.sent.load(Ordering::Acquire)
    }
}
