//! The relays of a connector: which one is next, and a connection to it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use smtp::client::{self, ClientConfig, CloseReason, Event};
use smtp::{Credentials, Reply};

use super::connection::{Connection, TlsSetup};
use crate::config::{RelayHost, SmtpConnector, TlsPolicy};
use crate::platform::clock::Clock;
use crate::platform::net::Net;
use crate::tls::{self, TlsError};

/// How long a relay that could not be used comes last.
const AVOID: Duration = Duration::from_secs(30);
/// Addresses of one relay that are tried.
const ADDRESSES_MAX: usize = 8;

/// The relays of a connector.
pub(super) struct Hosts {
    hosts: Vec<Host>,
    /// As configured, and without STARTTLS for relays whose TLS does not work.
    session: Arc<ClientConfig>,
    session_in_clear: Arc<ClientConfig>,
    policy: TlsPolicy,
    implicit: bool,
    tls: Arc<rustls::ClientConfig>,
    tls_files: crate::config::ClientTls,
    connect_within: Duration,
    /// Counts connections, so that relays of one priority take turns.
    turn: AtomicUsize,
}

struct Host {
    host: RelayHost,
    failed: Mutex<Option<Instant>>,
}

/// A connection that is ready, or why there is none.
pub(super) type Opened = Result<Ready, Failure>;

/// A connection over which a message can go.
pub(super) struct Ready {
    pub(super) connection: Connection,
    /// How the relay is named in causes.
    pub(super) name: String,
}

/// Why no relay could be used: the words of the last one, or ours.
pub(super) struct Failure {
    pub(super) name: String,
    pub(super) reply: Reply,
    pub(super) local: bool,
}

impl Hosts {
    pub(super) fn new(config: &SmtpConnector) -> Result<Self, TlsError> {
        let verify = config.tls == TlsPolicy::Verify;
        let policy = match config.tls {
            TlsPolicy::None => client::TlsPolicy::None,
            TlsPolicy::Opportunistic => client::TlsPolicy::Opportunistic,
            TlsPolicy::Required | TlsPolicy::Verify => client::TlsPolicy::Required,
        };
        let session = session_config(config, policy);
        let in_clear = ClientConfig { tls: client::TlsPolicy::None, ..session.clone() };
        let mut hosts: Vec<Host> = config
            .hosts
            .iter()
            .map(|host| Host { host: host.clone(), failed: Mutex::new(None) })
            .collect();
        hosts.sort_by_key(|host| host.host.priority);
        Ok(Self {
            hosts,
            session: Arc::new(session),
            session_in_clear: Arc::new(in_clear),
            policy: config.tls,
            implicit: config.tls_implicit,
            tls: tls::client(&config.tls_files, verify)?,
            tls_files: config.tls_files.clone(),
            connect_within: config.timeouts.connect,
            turn: AtomicUsize::new(0),
        })
    }

    /// Opens a connection to the first relay that can be used.
    pub(super) async fn open(&self, net: &Net, clock: &Clock) -> Opened {
        let mut failure = Failure {
            name: String::new(),
            reply: Reply::new(451, (4, 3, 5), "no relay is configured"),
            local: true,
        };
        for host in self.in_order(clock.instant()) {
            match self.open_host(&host.host, net, clock).await {
                Ok(ready) => {
                    host.note(None);
                    return Ok(ready);
                }
                Err(failed) => {
                    host.note(Some(clock.instant()));
                    tracing::warn!(
                        event = "smtp.relay",
                        relay = failed.name,
                        reply = %failed.reply,
                        "the relay cannot be used"
                    );
                    failure = failed;
                }
            }
        }
        Err(failure)
    }

    /// By priority, those of one priority in turn, those that failed just now last.
    fn in_order(&self, now: Instant) -> Vec<&Host> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut order = Vec::with_capacity(self.hosts.len());
        for equals in self.hosts.chunk_by(|a, b| a.host.priority == b.host.priority) {
            let (front, back) = equals.split_at(turn % equals.len().max(1));
            order.extend(back.iter().chain(front));
        }
        // Stable: the order stays among those that failed, and among the others.
        order.sort_by_key(|host| host.is_avoided(now));
        order
    }

    async fn open_host(&self, host: &RelayHost, net: &Net, clock: &Clock) -> Opened {
        let mut failure = Failure {
            name: format!("{}:{}", host.host, host.port),
            reply: Reply::new(451, (4, 4, 4), "the name of the relay has no address"),
            local: true,
        };
        let addresses = match net.resolve(&host.host, host.port).await {
            Ok(addresses) => addresses.into_iter().take(ADDRESSES_MAX),
            Err(error) => {
                failure.reply = failure.reply.with_text(format!("cannot resolve: {error}"));
                return Err(failure);
            }
        };
        for address in addresses {
            match self.open_address(host, address, (net, clock)).await {
                Ok(ready) => return Ok(ready),
                Err(failed) => failure = failed,
            }
        }
        Err(failure)
    }

    /// Where TLS is only welcome and does not work, the connection is made without it.
    async fn open_address(
        &self,
        host: &RelayHost,
        address: SocketAddr,
        machine: (&Net, &Clock),
    ) -> Opened {
        let opened = self.attempt(host, address, machine, &self.session).await;
        match opened {
            Err((_, CloseReason::Aborted)) if self.policy == TlsPolicy::Opportunistic => {
                let config = &self.session_in_clear;
                self.attempt(host, address, machine, config).await.map_err(|(failure, _)| failure)
            }
            other => other.map_err(|(failure, _)| failure),
        }
    }

    async fn attempt(
        &self,
        host: &RelayHost,
        address: SocketAddr,
        (net, clock): (&Net, &Clock),
        config: &Arc<ClientConfig>,
    ) -> Result<Ready, (Failure, CloseReason)> {
        let name = format!("{}[{}]:{}", host.host, address.ip(), address.port());
        let broken = |error: std::io::Error| {
            let reply =
                Reply::new(451, (4, 4, 1), "").with_text(format!("cannot connect: {error}"));
            (Failure { name: name.clone(), reply, local: true }, CloseReason::PeerGone)
        };
        let tls = match self.policy {
            TlsPolicy::None if !self.implicit => None,
            _ => Some(TlsSetup {
                config: Arc::clone(&self.tls),
                name: tls::server_name(&self.tls_files, &host.host).map_err(broken)?,
                implicit: self.implicit,
                handshake_within: self.connect_within,
            }),
        };
        let (config, within) = (Arc::clone(config), self.connect_within);
        let opening = Connection::open(net, address, config, tls, clock.clone(), within);
        let mut connection = opening.await.map_err(broken)?;
        loop {
            match connection.next().await {
                Event::Ready(_) => return Ok(Ready { connection, name }),
                Event::Closed { reason, reply } => {
                    let local = reason != CloseReason::Refused;
                    return Err((Failure { name, reply, local }, reason));
                }
                Event::StartTls | Event::Alive | Event::Sent(_) => {}
            }
        }
    }
}

impl Host {
    fn note(&self, failed: Option<Instant>) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }

    fn is_avoided(&self, now: Instant) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|at| now.saturating_duration_since(at) < AVOID)
    }
}

fn session_config(config: &SmtpConnector, tls: client::TlsPolicy) -> ClientConfig {
    let timeouts = &config.timeouts;
    ClientConfig {
        tls,
        credentials: config.auth.as_ref().map(|auth| Credentials {
            user: auth.username.to_string(),
            password: auth.password.reveal().to_owned(),
        }),
        messages_max: config.messages_per_connection,
        timeouts: client::Timeouts {
            greeting: timeouts.greeting,
            command: timeouts.command,
            mail: timeouts.command,
            rcpt: timeouts.command,
            data: timeouts.data_init,
            data_block: timeouts.data_block,
            data_end: timeouts.data_end,
            ..client::Timeouts::default()
        },
        ..ClientConfig::new(&*config.helo)
    }
}
