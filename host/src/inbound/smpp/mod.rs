//! ESMEs bind to us: they submit messages, and get messages and receipts.
//!
//! A session's requests are taken in batches, as they were read: one batch is one commit. The only
//! way to `ESME_ROK` is the proof of that commit.

mod account;
mod answer;
mod bind;
mod session;
mod submit;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

pub use account::Accounts;

use super::proxy;
use crate::config::{Listener, ListenerKind, SmppListener};
use crate::platform::net::{self, Stream};
use crate::router::Router;
use crate::tls;
use crate::wire::Socket;

/// The pause after an error of the listening socket, which mostly says that there are no file
/// descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts ESMEs on one socket of a listener until the router stops. Limits are those of the
/// current generation, for each new connection.
pub async fn run(router: Arc<Router>, listener: Arc<Listener>, mut socket: net::Listener) {
    let connections = Arc::new(Connections::default());
    let mut certificates = Certificates::default();
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
        let generation = router.generation();
        let current = generation.config.listeners.get(&listener.name).unwrap_or(&listener);
        let ListenerKind::Smpp(settings) = &current.kind else { continue };
        let Some(guard) = connections.enter(peer.ip(), settings) else {
            tracing::info!(event = "smpp.refused", listener = &*listener.name, %peer,
                reason = "too many connections");
            continue;
        };
        let tls = match certificates.of(generation.number, settings) {
            Ok(tls) => tls,
            Err(error) => {
                tracing::error!(event = "smpp.tls", listener = &*listener.name, %error);
                continue;
            }
        };
        let door = Door { name: Arc::clone(&listener.name), settings: Arc::new(settings.clone()) };
        let router = Arc::clone(&router);
        router.clone().tasks.spawn("smpp.session", async move {
            match open(tcp, peer, &door.settings, tls).await {
                Ok((socket, peer)) => session::serve(router, door, socket, peer).await,
                Err(error) => {
                    tracing::info!(event = "smpp.close", listener = &*door.name, %peer, %error);
                }
            }
            drop(guard);
        });
    }
}

/// A listener as it was when a connection came.
#[derive(Clone, Debug)]
struct Door {
    name: Arc<str>,
    settings: Arc<SmppListener>,
}

/// Reads the balancer's header and speaks TLS, where the listener says so. Gives the socket and
/// the address that the peer really has.
async fn open(
    mut tcp: Stream,
    mut peer: SocketAddr,
    settings: &SmppListener,
    tls: Option<Arc<ServerConfig>>,
) -> io::Result<(Box<dyn Socket>, SocketAddr)> {
    if settings.proxy_from.iter().any(|network| network.contains(peer.ip())) {
        let header = timeout(settings.session_init, proxy::read(&mut tcp)).await?;
        peer = header?.unwrap_or(peer);
    }
    let Some(tls) = tls else { return Ok((Box::new(tcp), peer)) };
    let socket = timeout(settings.session_init, TlsAcceptor::from(tls).accept(tcp)).await??;
    Ok((Box::new(socket), peer))
}

/// The certificates of the current generation, read once.
#[derive(Debug, Default)]
struct Certificates {
    generation: u64,
    config: Option<Arc<ServerConfig>>,
}

impl Certificates {
    fn of(
        &mut self,
        generation: u64,
        settings: &SmppListener,
    ) -> Result<Option<Arc<ServerConfig>>, tls::TlsError> {
        let Some(files) = &settings.tls else { return Ok(None) };
        if self.generation != generation || self.config.is_none() {
            self.config = Some(tls::server(files)?);
            self.generation = generation;
        }
        Ok(self.config.clone())
    }
}

/// Connections of one listener, in all and of each address.
#[derive(Debug, Default)]
struct Connections {
    counts: Mutex<(u32, HashMap<IpAddr, u32>)>,
}

/// One connection; it is counted until this is dropped.
#[derive(Debug)]
struct Connection {
    connections: Arc<Connections>,
    address: IpAddr,
}

impl Connections {
    fn enter(self: &Arc<Self>, address: IpAddr, settings: &SmppListener) -> Option<Connection> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, each) = &mut *counts;
        let of_address = each.get(&address).copied().unwrap_or(0);
        if *all >= settings.connections_max || of_address >= settings.connections_per_ip_max {
            return None;
        }
        *all += 1;
        each.insert(address, of_address + 1);
        Some(Connection { connections: Arc::clone(self), address })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut counts = self.connections.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, each) = &mut *counts;
        *all = all.saturating_sub(1);
        let left = each.get(&self.address).copied().unwrap_or(1).saturating_sub(1);
        if left == 0 {
            each.remove(&self.address);
        } else {
            each.insert(self.address, left);
        }
    }
}
