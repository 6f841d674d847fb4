//! Mail comes in: listeners, and a task for each connection.
//!
//! The path of a message here: `session` reads what the peer says and asks, `transaction` turns it
//! into a draft and the router's answer into a reply.

mod settings;
mod session;
mod transaction;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::gate::Pass;
use crate::config::Listener;
use crate::platform::net::{self, Stream};
use crate::router::Router;
use session::Conversation;
use settings::Settings;

/// Pause after an accept that failed: out of descriptors, as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections on `socket` for `listener` until the router stops.
///
/// The settings are read again from the current generation when it changes; sessions that are there
/// keep the ones they began with, but every transaction pins the generation of its MAIL.
pub async fn run(router: Arc<Router>, listener: Arc<Listener>, mut socket: net::Listener) {
    let gate = router.gates.of(&listener.name);
    let stopping = router.tasks.stopping().clone();
    let mut settings: Option<Arc<Settings>> = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((connection, peer)) => {
                settings = Settings::of(&router.generation(), &listener.name, settings);
                if let Some(settings) = &settings {
                    let pass = gate.enter(settings.limits());
                    begin(&router, settings, pass, connection, peer);
                }
            }
            Err(error) => {
                tracing::warn!(event = "smtp.accept", door = &*listener.name, %error);
                router.clock.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn begin(
    router: &Arc<Router>,
    settings: &Arc<Settings>,
    pass: Option<Pass>,
    socket: Stream,
    peer: SocketAddr,
) {
    let conversation = Conversation::new(Arc::clone(router), Arc::clone(settings), pass, peer);
    router.tasks.spawn("smtp.session", conversation.run(socket));
}

#[cfg(test)]
mod tests;
