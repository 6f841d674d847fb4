//! Connections to a server that speaks TLS, or says that it does.

use bytes::Bytes;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use smtp::client::{CloseReason, Envelope, TlsPolicy, Verdict};
use smtp::server::{Event as ServerEvent, ServerConfig, ServerSession, StartTls};
use smtp::{MailParams, Mailbox, RcptParams, Reply, ReversePath};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::ClientTls;
use crate::tls;
use crate::wire::Socket;

const SOON: Duration = Duration::from_secs(20);

/// How the server takes a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Serve {
    Plain,
    StartTls,
    /// It offers STARTTLS and then speaks something else.
    BrokenTls,
    Implicit,
}

struct Server {
    address: SocketAddr,
    /// Its certificate, as authority for clients that verify.
    authority: tempfile::NamedTempFile,
    running: tokio::task::JoinHandle<Vec<(Bytes, bool)>>,
}

fn acceptor() -> (TlsAcceptor, tempfile::NamedTempFile) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let authority = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(authority.path(), made.cert.pem()).unwrap();
    (TlsAcceptor::from(Arc::new(config)), authority)
}

impl Server {
    /// Serves `connections` one after another and returns the messages, each with whether it came
    /// over TLS.
    #[expect(clippy::disallowed_methods, reason = "the test is the task's owner")]
    async fn start(serve: Serve, connections: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (acceptor, authority) = acceptor();
        let running = tokio::spawn(async move {
            let mut taken = Vec::new();
            for _ in 0..connections {
                let (socket, _) = listener.accept().await.unwrap();
                take(serve, socket, &acceptor, &mut taken).await;
            }
            taken
        });
        Self { address, authority, running }
    }

    fn tls(&self, implicit: bool, verify: bool, authority: bool) -> TlsSetup {
        let ca = authority.then(|| self.authority.path().to_owned());
        let files = ClientTls {
            ca: ca.map(Into::into),
            cert: None,
            key: None,
            server_name: None,
            insecure: false,
        };
        TlsSetup {
            config: tls::client(&files, verify).unwrap(),
            name: tls::server_name(&files, "localhost").unwrap(),
            implicit,
            handshake_within: SOON,
        }
    }

    async fn connect(&self, policy: TlsPolicy, tls: TlsSetup) -> io::Result<Connection> {
        let config = ClientConfig { tls: policy, ..ClientConfig::new("test") };
        Connection::open(
            &Net::system(),
            self.address,
            Arc::new(config),
            Some(tls),
            Clock::system(),
            SOON,
        )
        .await
    }
}

async fn take(
    serve: Serve,
    socket: TcpStream,
    acceptor: &TlsAcceptor,
    taken: &mut Vec<(Bytes, bool)>,
) {
    let mut config = ServerConfig::new("localhost");
    if matches!(serve, Serve::StartTls | Serve::BrokenTls) {
        config.extensions.starttls = StartTls::Offered;
    }
    let implicit = serve == Serve::Implicit;
    let mut session = ServerSession::new(Arc::new(config), Clock::system().instant(), implicit);
    session.greet(Clock::system().instant());
    let socket = if implicit {
        socket
    } else {
        let mut wire = Wire::new(socket);
        if !converse(&mut wire, &mut session, taken).await {
            return;
        }
        if serve == Serve::BrokenTls {
            wire.push(&mut BytesMut::from("this is not TLS"));
            wire.close().await.unwrap();
            return;
        }
        wire.into_socket()
    };
    let Ok(secured) = acceptor.accept(socket).await else { return };
    session.handle_tls_started(Clock::system().instant());
    converse(&mut Wire::new(secured), &mut session, taken).await;
}

/// True when the peer wants TLS now.
async fn converse<S: Socket>(
    wire: &mut Wire<S>,
    session: &mut ServerSession,
    taken: &mut Vec<(Bytes, bool)>,
) -> bool {
    loop {
        let now = Clock::system().instant();
        let mut start_tls = false;
        while let Some(event) = session.poll_event(now) {
            match event {
                ServerEvent::StartTls => start_tls = true,
                ServerEvent::Closed(_) => {
                    wire.push(session.output());
                    // The client may have closed first.
                    drop(wire.close().await);
                    return false;
                }
                ServerEvent::Message { body } => taken.push((body, session.is_secured())),
                _ => {}
            }
            session.reply(now, &Reply::new(250, (2, 0, 0), "ok"));
        }
        wire.push(session.output());
        if start_tls {
            while wire.waiting() > 0 {
                wire.turn(None).await.unwrap();
            }
            return true;
        }
        match wire.turn(Some(session.input())).await {
            Ok(Turn::Read) => session.handle_read(now),
            Ok(Turn::Written) => {}
            Ok(Turn::Closed) | Err(_) => session.handle_eof(),
        }
    }
}

fn envelope(body: &[u8]) -> Envelope {
    Envelope {
        sender: ReversePath::Null,
        params: MailParams::default(),
        recipients: vec![(Mailbox::parse("a@localhost").unwrap(), RcptParams::default())],
        prefix: Bytes::from_static(b"X: 1\r\n"),
        body: Bytes::copy_from_slice(body),
    }
}

async fn send(mut connection: Connection, body: &[u8]) -> Verdict {
    let Event::Ready(_) = connection.next().await else { panic!("not ready") };
    let now = Clock::system().instant();
    connection.session().send(now, envelope(body)).unwrap();
    let Event::Sent(outcome) = connection.next().await else { panic!("not sent") };
    connection.session().quit(Clock::system().instant());
    assert!(matches!(connection.next().await, Event::Closed { reason: CloseReason::Quit, .. }));
    outcome.recipients[0].verdict
}

#[tokio::test]
async fn messages_go_over_tls_where_it_is_offered() {
    for (serve, policy, implicit, secured) in [
        (Serve::StartTls, TlsPolicy::Opportunistic, false, true),
        (Serve::StartTls, TlsPolicy::Required, false, true),
        (Serve::StartTls, TlsPolicy::None, false, false),
        (Serve::Plain, TlsPolicy::Opportunistic, false, false),
        (Serve::Implicit, TlsPolicy::Required, true, true),
    ] {
        let server = Server::start(serve, 1).await;
        let connection = server.connect(policy, server.tls(implicit, true, true)).await.unwrap();
        assert_eq!(send(connection, b"hi\r\n").await, Verdict::Delivered);
        let taken = server.running.await.unwrap();
        assert_eq!(taken, [(Bytes::from_static(b"X: 1\r\nhi\r\n"), secured)]);
    }
}

#[tokio::test]
async fn a_large_message_goes_through_in_blocks() {
    let body = b".a line that is rather long, so that it does not take too many\r\n".repeat(50_000);
    let server = Server::start(Serve::StartTls, 1).await;
    let tls = server.tls(false, true, true);
    let connection = server.connect(TlsPolicy::Required, tls).await.unwrap();
    assert_eq!(send(connection, &body).await, Verdict::Delivered);
    let taken = server.running.await.unwrap();
    assert_eq!(taken[0].0.len(), body.len() + 6);
}

#[tokio::test]
async fn nothing_goes_to_a_server_that_cannot_be_verified() {
    let server = Server::start(Serve::StartTls, 1).await;
    let other = Server::start(Serve::StartTls, 1).await;
    // Its certificate is not among the authorities.
    let connecting = server.connect(TlsPolicy::Required, other.tls(false, true, true));
    let mut connection = connecting.await.unwrap();
    let Event::Closed { reason, reply } = connection.next().await else { panic!("not closed") };
    assert_eq!((reason, reply.code), (CloseReason::Aborted, 451));
    assert!(reply.text.contains("TLS handshake"), "{reply}");
    drop(connection);
    assert_eq!(server.running.await.unwrap(), []);
}

#[tokio::test]
async fn required_tls_is_never_done_without() {
    for (serve, reason) in
        [(Serve::Plain, CloseReason::NoTls), (Serve::BrokenTls, CloseReason::Aborted)]
    {
        let server = Server::start(serve, 1).await;
        let tls = server.tls(false, false, false);
        let mut connection = server.connect(TlsPolicy::Required, tls).await.unwrap();
        let Event::Closed { reason: got, .. } = connection.next().await else { panic!("open") };
        assert_eq!(got, reason);
        drop(connection);
        assert_eq!(server.running.await.unwrap(), []);
    }
}
