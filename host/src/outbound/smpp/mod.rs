//! SMSCs that we bind to as an ESME: what waits for a connector goes out over its binds, and what
//! the SMSC sends comes in.

mod connect;
mod incoming;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::{BindType, Connector, ConnectorKind, SmppConnector, Tlvs};
use crate::router::Router;
use crate::sms::compose::Composing;
use crate::sms::flight::Flight;
use crate::sms::references::References;
use crate::sms::verdict::Judge;
use crate::target::Target;
use connect::{ConnectError, connect};

/// The shortest pause after the SMSC refused our name or password: many SMSCs ban who insists.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// A connector and what its binds share.
#[derive(Debug)]
struct Bound {
    router: Arc<Router>,
    connector: Arc<Connector>,
    target: Arc<Target>,
    /// Binds that can send.
    senders: AtomicUsize,
    /// The number that the parts of one message share.
    references: Arc<References>,
    stop: CancellationToken,
}

/// Keeps the connector's binds up until `stop`.
pub fn start(
    router: &Arc<Router>,
    connector: &Arc<Connector>,
    target: &Arc<Target>,
    stop: &CancellationToken,
) {
    let ConnectorKind::Smpp(settings) = &connector.kind else { return };
    let bound = Arc::new(Bound {
        router: Arc::clone(router),
        connector: Arc::clone(connector),
        target: Arc::clone(target),
        senders: AtomicUsize::new(0),
        references: Arc::new(References::starting_at(router.clock.now().as_ms())),
        stop: stop.clone(),
    });
    for number in 0..settings.binds.max(1) {
        let (bound, settings) = (Arc::clone(&bound), settings.clone());
        router.tasks.spawn("smpp.connector", async move { bound.keep(&settings, number).await });
    }
}

impl Bound {
    /// Binds, and binds again.
    async fn keep(&self, settings: &SmppConnector, number: u16) {
        let name = &*self.connector.name;
        let (least, most) = (settings.reconnect.min, settings.reconnect.max);
        let mut pause = least;
        while !self.stop.is_cancelled() {
            let connected = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                connected = connect(&self.router.net, &self.router.clock, settings) => connected,
            };
            match connected {
                Ok(link) => {
                    tracing::info!(event = "smpp.bound", connector = name, bind = number);
                    pause = least;
                    let why = session::serve(self, settings, link).await;
                    tracing::info!(
                        event = "smpp.unbound",
                        connector = name,
                        bind = number,
                        reason = why
                    );
                }
                Err(error) => {
                    tracing::warn!(event = "smpp.bind_failed", connector = name, bind = number, %error);
                    if let ConnectError::Refused(_) = error {
                        pause = pause.max(REFUSED_PAUSE.min(most));
                    }
                }
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.router.clock.sleep(jittered(pause, number, &self.router)) => {}
            }
            pause = (pause * 2).min(most);
        }
    }

    fn sends(settings: &SmppConnector) -> bool {
        settings.bind != BindType::Receiver
    }

    /// One more bind, or one less, can send.
    fn count_sender(&self, more: bool) {
        let before = if more {
            self.senders.fetch_add(1, Ordering::AcqRel)
        } else {
            self.senders.fetch_sub(1, Ordering::AcqRel)
        };
        let now = self.router.clock.now();
        match (more, before) {
            (true, 0) => self.target.set_up(true, now),
            (false, 1) => self.target.set_up(false, now),
            _ => {}
        }
    }

    fn flight(&self, settings: &SmppConnector) -> Flight {
        Flight::new(
            Composing::for_connector(settings),
            Judge::Smsc(Arc::clone(&self.connector)),
            settings.tlvs == Tlvs::Auto,
            Arc::clone(&self.connector.name),
            Arc::clone(&self.references),
        )
    }
}

/// Between three quarters of the pause and the pause, so that binds that were cut together do not
/// come back together.
fn jittered(pause: Duration, number: u16, router: &Router) -> Duration {
    let noise = (router.clock.now().as_ms() ^ u64::from(number).wrapping_mul(0x9E37_79B9)) % 256;
    let noise = u32::try_from(noise).unwrap_or(0);
    pause * 3 / 4 + pause / 4 * noise / 255
}
