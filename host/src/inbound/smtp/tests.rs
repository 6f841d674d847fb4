//! A listener of a whole host, from the peer's side.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use smtp::Credentials;
use smtp::client::{ClientConfig, Event, TlsPolicy};

use crate::app::{App, Options};
use crate::config::ClientTls;
use crate::outbound::smtp::connection::{Connection, TlsSetup};
use crate::platform::clock::Clock;
use crate::platform::net::Net;
use crate::tls;

/// Longer than anything here takes on a slow machine.
const SOON: Duration = Duration::from_secs(30);

/// A host whose relay is not there; its listener has these settings besides.
async fn start(folder: &tempfile::TempDir, listener: &str) -> App {
    let at = folder.path().display();
    fs::write(folder.path().join("password"), "right").unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let text = format!(
        "spool: {{ memory: true, free_min: 0 }}\n\
         admin: {{ socket: {at}/wirepost.sock }}\n\
         listeners: {{ mail: {{ smtp: {{ bind: '127.0.0.1:0', hostname: gw.example, {listener} }} }} }}\n\
         bounces: {{ via: relay, from: postmaster@gw.example }}\n\
         accounts: {{ shop: {{ smtp: {{ username: u, password: {{ file: {at}/password }} }}, from: {{ glob: '*@shop.example' }} }} }}\n\
         connectors: {{ relay: {{ smtp: {{ host: 127.0.0.1, port: 1 }} }} }}\n\
         routes: [{{ name: all, when: {{ to: {{ domain: example.org }} }}, to: relay }}]\n",
    );
    let path = folder.path().join("wirepost.yaml");
    fs::write(&path, text.replace("FOLDER", &at.to_string())).unwrap();
    App::start(&Options::new(path), Clock::system()).await.unwrap()
}

/// Says each line and compares the beginning of what comes back; a reply of several lines is its
/// last one.
fn dialogue(app: &App, before: &[u8], lines: &[(&str, &str)]) {
    let mut socket = TcpStream::connect(app.addresses["mail"][0]).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.write_all(before).unwrap();
    let mut replies = BufReader::new(socket.try_clone().unwrap());
    for (said, expect) in lines {
        if !said.is_empty() {
            socket.write_all(format!("{said}\r\n").as_bytes()).unwrap();
        }
        let mut reply = String::new();
        while reply.as_bytes().get(3) != Some(&b' ') {
            reply.clear();
            assert!(replies.read_line(&mut reply).unwrap() > 0, "closed instead of {expect}");
        }
        assert!(reply.starts_with(expect), "{said}: {reply}");
    }
}

async fn talk(listener: &'static str, before: &'static [u8], lines: &'static [(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    let app = start(&folder, listener).await;
    let (app, said) = tokio::task::spawn_blocking(move || {
        let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            dialogue(&app, before, lines);
        }));
        (app, said)
    })
    .await
    .unwrap();
    app.stop(Some(SOON)).await;
    if let Err(panic) = said {
        std::panic::resume_unwind(panic);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_may_not_relay_and_nobody_beyond_the_routes() {
    talk(
        "allow: 192.0.2.0/24",
        b"",
        &[
            ("", "220 gw.example ESMTP"),
            ("EHLO c", "250 "),
            ("MAIL FROM:<a@b>", "250 2.1.0"),
            ("RCPT TO:<x@example.org>", "554 5.7.1"),
            ("QUIT", "221 2.0.0"),
        ],
    )
    .await;
    talk(
        "allow: 127.0.0.0/8",
        b"",
        &[
            ("", "220 "),
            ("EHLO c", "250 "),
            ("MAIL FROM:<a@b>", "250 2.1.0"),
            ("RCPT TO:<x@elsewhere.example>", "5"),
            ("RCPT TO:<x@example.org>", "250 2.1.5"),
            ("DATA", "354 "),
            ("Subject: x\r\n\r\nhi\r\n.", "250 2.0.0 Ok: queued as "),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_authenticate_and_keep_to_their_senders() {
    talk(
        "auth_without_tls: true",
        b"",
        &[
            ("", "220 "),
            ("EHLO c", "250 "),
            ("AUTH PLAIN AHUAd3Jvbmc=", "535 5.7.8"),
            ("AUTH PLAIN AHUAcmlnaHQ=", "235 2.7.0"),
            ("MAIL FROM:<a@other.example>", "553 5.7.1"),
            ("MAIL FROM:<a@shop.example>", "250 2.1.0"),
            ("RCPT TO:<x@example.org>", "250 2.1.5"),
            ("DATA", "354 "),
            (".", "250 2.0.0"),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_goes_round_in_circles_is_refused() {
    talk(
        "allow: 127.0.0.0/8, hops_max: 2",
        b"",
        &[
            ("", "220 "),
            ("EHLO c", "250 "),
            ("MAIL FROM:<a@b>", "250 "),
            ("RCPT TO:<x@example.org>", "250 "),
            ("DATA", "354 "),
            ("Received: a\r\nReceived: b\r\n\r\n.", "554 5.4.6"),
            ("MAIL FROM:<a@b>", "250 "),
            ("RCPT TO:<x@example.org>", "250 "),
            ("DATA", "354 "),
            ("Received: a\r\n\r\n.", "250 "),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_speaks_for_its_peer() {
    const LINES: &[(&str, &str)] = &[
        ("", "220 "),
        ("EHLO c", "250 "),
        ("MAIL FROM:<a@b>", "250 "),
        ("RCPT TO:<x@example.org>", "250 "),
    ];
    const STRANGER: &[(&str, &str)] = &[
        ("", "220 "),
        ("EHLO c", "250 "),
        ("MAIL FROM:<a@b>", "250 "),
        ("RCPT TO:<x@example.org>", "554 5.7.1"),
    ];
    let listener = "proxy_from: 127.0.0.1/32, allow: 192.0.2.0/24";
    talk(listener, b"PROXY TCP4 192.0.2.7 127.0.0.1 4000 25\r\n", LINES).await;
    talk(listener, b"PROXY TCP4 198.51.100.7 127.0.0.1 4000 25\r\n", STRANGER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_connections_from_one_address_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let app = start(&folder, "allow: 127.0.0.0/8, max_connections_per_ip: 1").await;
    let app = tokio::task::spawn_blocking(move || {
        let first = TcpStream::connect(app.addresses["mail"][0]).unwrap();
        let mut greeting = String::new();
        BufReader::new(&first).read_line(&mut greeting).unwrap();
        assert!(greeting.starts_with("220 "), "{greeting}");
        dialogue(&app, b"", &[("", "421 4.7.0 too many connections")]);
        app
    })
    .await
    .unwrap();
    app.stop(Some(SOON)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_host_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let app = start(&folder, "allow: 127.0.0.0/8").await;
    let mut peer = TcpStream::connect(app.addresses["mail"][0]).unwrap();
    peer.set_read_timeout(Some(SOON)).unwrap();
    let mut replies = BufReader::new(peer.try_clone().unwrap());
    let mut line = String::new();
    replies.read_line(&mut line).unwrap();
    peer.write_all(b"HELO c\r\n").unwrap();
    replies.read_line(&mut line).unwrap();
    app.stop(Some(SOON)).await;
    line.clear();
    replies.read_line(&mut line).unwrap();
    assert!(line.starts_with("421 4.3.2"), "{line}");
    line.clear();
    assert_eq!(replies.read_line(&mut line).unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_by_starttls_and_from_the_first_octet() {
    const FILES: &str = "cert: FOLDER/cert.pem, key: FOLDER/key.pem, required: true";
    for mode in ["starttls", "implicit"] {
        let folder = tempfile::tempdir().unwrap();
        let app = start(&folder, &format!("tls: {{ {FILES}, mode: {mode} }}")).await;
        let ca = Some(folder.path().join("cert.pem"));
        let files = ClientTls {
            ca: ca.map(Into::into),
            cert: None,
            key: None,
            server_name: None,
            insecure: false,
        };
        let setup = TlsSetup {
            config: tls::client(&files, true).unwrap(),
            name: tls::server_name(&files, "localhost").unwrap(),
            implicit: mode == "implicit",
            handshake_within: SOON,
        };
        let (user, password) = ("u".to_owned(), "right".to_owned());
        let config = ClientConfig {
            tls: TlsPolicy::Required,
            credentials: Some(Credentials { user, password }),
            ..ClientConfig::new("c")
        };
        let address = app.addresses["mail"][0];
        let clock = Clock::system();
        let (net, config) = (Net::system(), Arc::new(config));
        let opening = Connection::open(&net, address, config, Some(setup), clock, SOON);
        let mut connection = opening.await.unwrap();
        let event = connection.next().await;
        assert!(matches!(event, Event::Ready(_)), "{mode}: {event:?}");
        assert!(connection.session().is_secured());
        drop(connection);
        app.stop(Some(SOON)).await;
    }
}
