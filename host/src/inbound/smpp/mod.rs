//! ESMEs bind to us: they submit messages, and get messages and receipts.
//!
//! A session's requests are taken in batches, as they were read: one batch is one commit. The only
//! way to `ESME_ROK` is the proof of that commit.

mod account;
mod answer;
mod bind;
mod door;
mod session;
mod submit;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

pub use account::Accounts;

use super::gate::Pass;
use super::proxy;
use crate::config::Listener;
use crate::observe::metrics::Metrics;
use crate::platform::net::{self, Stream};
use crate::router::Router;
use crate::wire::Socket;
use door::Door;

/// The pause after an error of the listening socket, which mostly says that there are no file
/// descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts ESMEs on one socket of a listener until the router stops. Limits are those of the
/// current generation, for each new connection.
pub async fn run(router: Arc<Router>, listener: Arc<Listener>, mut socket: net::Listener) {
    let gate = router.gates.of(&listener.name);
    let mut last: Option<Door> = None;
    let stopping = router.tasks.stopping().clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(event = "smpp.accept", listener = &*listener.name, %error);
                router.clock.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        last = Door::of(&router.generation(), &listener.name, last);
        let Some(door) = last.clone() else { continue };
        match gate.enter(door.limits()) {
            Some(pass) => {
                let serving = serve(Arc::clone(&router), door, tcp, peer, pass);
                router.tasks.spawn("smpp.session", serving);
            }
            None => refuse(&router, &door, peer),
        }
    }
}

/// Serves a connection from its first octet on.
async fn serve(router: Arc<Router>, door: Door, tcp: Stream, peer: SocketAddr, mut pass: Pass) {
    match open(tcp, peer, &door, &mut pass).await {
        Ok(Some((socket, peer))) => session::serve(router, door, socket, peer, pass).await,
        Ok(None) => refuse(&router, &door, peer),
        Err(error) => {
            tracing::info!(event = "smpp.close", listener = &*door.name, %peer, %error);
        }
    }
}

/// Reads the balancer's header and speaks TLS, where the listener says so. Gives the socket and
/// the address that the peer really has; nothing if there are too many connections from there.
async fn open(
    mut tcp: Stream,
    mut peer: SocketAddr,
    door: &Door,
    pass: &mut Pass,
) -> io::Result<Option<(Box<dyn Socket>, SocketAddr)>> {
    let settings = &door.settings;
    if settings.proxy_from.iter().any(|network| network.contains(peer.ip())) {
        let header = timeout(pass.handshake_within(), proxy::read(&mut tcp)).await?;
        peer = header?.unwrap_or(peer);
    }
    if !pass.is_admitted(peer.ip(), door.knows(peer.ip())) {
        return Ok(None);
    }
    let Some(tls) = &door.tls else { return Ok(Some((Box::new(tcp), peer))) };
    let accepting = TlsAcceptor::from(Arc::clone(tls)).accept(tcp);
    let socket = timeout(pass.handshake_within(), accepting).await??;
    Ok(Some((Box::new(socket), peer)))
}

fn refuse(router: &Router, door: &Door, peer: SocketAddr) {
    Metrics::add(&router.metrics.connections_refused, &door.name, 1);
    tracing::info!(event = "smpp.refused", listener = &*door.name, %peer,
        reason = "too many connections");
}
