//! A connection to a mail server: a socket, TLS where it is agreed, and the session that speaks
//! over it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use smtp::client::{ClientConfig, ClientSession, Event};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::platform::clock::{Alarm, Clock};
use crate::platform::net::{Net, Stream};
use crate::wire::{Turn, Wire};

/// How TLS is spoken with the server.
#[derive(Clone, Debug)]
pub struct TlsSetup {
    /// Versions, authorities, our certificate.
    pub config: Arc<rustls::ClientConfig>,
    /// The name that the server's certificate is for.
    pub name: ServerName<'static>,
    /// TLS from the first octet instead of STARTTLS.
    pub implicit: bool,
    /// How long a handshake may take.
    pub handshake_within: Duration,
}

/// A connection to a mail server.
#[derive(Debug)]
pub struct Connection {
    session: ClientSession,
    link: Link,
    tls: Option<TlsSetup>,
    clock: Clock,
    alarm: Alarm,
    peer: SocketAddr,
}

#[derive(Debug)]
enum Link {
    Plain(Wire<Stream>),
    Secured(Box<Wire<TlsStream<Stream>>>),
    /// It broke in a handshake.
    Gone,
}

impl Connection {
    /// Connects within `connect_within`, and secures the connection if TLS is implicit.
    ///
    /// # Errors
    /// The socket's, the handshake's, or `TimedOut`.
    pub async fn open(
        net: &Net,
        peer: SocketAddr,
        config: Arc<ClientConfig>,
        tls: Option<TlsSetup>,
        clock: Clock,
        connect_within: Duration,
    ) -> io::Result<Self> {
        let socket = tokio::time::timeout(connect_within, net.connect(peer)).await??;
        let (link, secured) = match tls.as_ref().filter(|tls| tls.implicit) {
            Some(tls) => (Link::Secured(Box::new(Wire::new(secure(tls, socket).await?))), true),
            None => (Link::Plain(Wire::new(socket)), false),
        };
        let session = ClientSession::new(config, clock.instant(), secured);
        Ok(Self { session, link, tls, clock, alarm: Alarm::default(), peer })
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The session; what it is told goes out with the next [`Connection::next`].
    pub fn session(&mut self) -> &mut ClientSession {
        &mut self.session
    }

    /// Reads and writes until something happened. Cancel safe once the session is ready.
    ///
    /// After [`Event::Closed`] it never returns.
    pub async fn next(&mut self) -> Event {
        loop {
            match self.session.poll_event() {
                Some(Event::StartTls) => self.start_tls().await,
                Some(event) => return event,
                None if self.session.is_closed() => std::future::pending().await,
                None => self.turn().await,
            }
        }
    }

    async fn turn(&mut self) {
        if self.link.waiting() == 0 {
            self.link.push(self.session.output(self.clock.instant()));
        }
        if self.session.is_ready() {
            self.link.rest();
        }
        let deadline = self.session.poll_timeout();
        let turned = tokio::select! {
            biased;
            () = self.alarm.wait_until(deadline) => None,
            turned = self.link.turn(self.session.input()) => Some(turned),
        };
        let now = self.clock.instant();
        match turned {
            Some(Ok(Turn::Read)) => self.session.handle_read(now),
            Some(Ok(Turn::Written)) => {}
            Some(Ok(Turn::Closed)) => self.session.handle_eof(),
            Some(Err(error)) => {
                tracing::debug!(event = "smtp.broken", peer = %self.peer, %error);
                self.session.handle_eof();
            }
            None => self.session.handle_timeout(now),
        }
    }

    async fn start_tls(&mut self) {
        let link = std::mem::replace(&mut self.link, Link::Gone);
        let secured = match (link, &self.tls) {
            (Link::Plain(wire), Some(tls)) => secure(tls, wire.into_socket()).await,
            _ => Err(io::Error::other("TLS is not configured")),
        };
        match secured {
            Ok(stream) => {
                self.link = Link::Secured(Box::new(Wire::new(stream)));
                self.session.handle_tls_started(self.clock.instant());
            }
            Err(error) => {
                let text = format!("TLS handshake with {} failed: {error}", self.peer);
                self.session.abort(&smtp::Reply::new(451, (4, 7, 5), "").with_text(text));
            }
        }
    }
}

impl Link {
    fn waiting(&self) -> usize {
        match self {
            Self::Plain(wire) => wire.waiting(),
            Self::Secured(wire) => wire.waiting(),
            Self::Gone => 0,
        }
    }

    fn push(&mut self, octets: &mut BytesMut) {
        match self {
            Self::Plain(wire) => wire.push(octets),
            Self::Secured(wire) => wire.push(octets),
            Self::Gone => {}
        }
    }

    fn rest(&mut self) {
        match self {
            Self::Plain(wire) => wire.rest(),
            Self::Secured(wire) => wire.rest(),
            Self::Gone => {}
        }
    }

    async fn turn(&mut self, input: &mut BytesMut) -> io::Result<Turn> {
        match self {
            Self::Plain(wire) => wire.turn(Some(input)).await,
            Self::Secured(wire) => wire.turn(Some(input)).await,
            Self::Gone => Ok(Turn::Closed),
        }
    }
}

async fn secure(tls: &TlsSetup, socket: Stream) -> io::Result<TlsStream<Stream>> {
    let connector = TlsConnector::from(Arc::clone(&tls.config));
    let handshake = connector.connect(tls.name.clone(), socket);
    tokio::time::timeout(tls.handshake_within, handshake).await?
}

#[cfg(test)]
mod tests;
