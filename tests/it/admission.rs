//! What is refused, and how; a session that misbehaves disturbs no other.

use std::time::Duration;

use smpp::{Octets, Pdu, Sm, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wirepost::app::StartError;
use wirepost_tests::mailer::mail;
use wirepost_tests::sms::{number, text};
use wirepost_tests::wait::DEADLINE;
use wirepost_tests::world::{ROUTES, config, folder, start};
use wirepost_tests::{Esme, Mailer, Relay, Smsc, World};

async fn world_with(change: impl FnOnce(String) -> String) -> (World, Relay, Smsc) {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let world = World::start(&change(config(relay.address, smsc.address, ROUTES))).await;
    (world, relay, smsc)
}

async fn world() -> (World, Relay, Smsc) {
    world_with(|config| config).await
}

/// Says HELO with a small mail, to show that the listener is well.
async fn others_go_on(mailer: &mut Mailer) {
    let reply = mailer.send("alice@example.org", &["bob@example.com"], &mail("x", "y")).await;
    assert!(reply.starts_with("250"), "{reply}");
}

#[tokio::test]
async fn strangers_may_not_relay() {
    let (world, relay, _smsc) =
        world_with(|text| text.replace("127.0.0.0/8", "192.0.2.0/24")).await;
    let mut mailer = world.mailer().await;
    let reply = mailer.send("alice@example.org", &["bob@example.com"], &mail("x", "y")).await;
    assert!(reply.starts_with('5') && reply.contains("5.7.1"), "{reply}");
    let reply = mailer.send("alice@example.org", &["0612345678@sms.test"], &mail("x", "y")).await;
    assert!(reply.starts_with('5'), "{reply}");
    assert_eq!((world.queued(None), relay.mails().len()), (0, 0));
}

#[tokio::test]
async fn who_cannot_be_routed_is_refused_when_named_and_the_others_are_not() {
    let (world, relay, _smsc) =
        world_with(|text| text.replace("{ kind: mailbox }", "{ domain: example.com }")).await;
    let mut mailer = world.mailer().await;
    mailer.say("MAIL FROM:<alice@example.org>").await;
    let reply = mailer.say("RCPT TO:<bob@elsewhere.test>").await;
    assert!(reply.starts_with("550 5.4.4"), "{reply}");
    let reply = mailer.say("RCPT TO:<not-a-number@sms.test>").await;
    assert!(reply.starts_with("55"), "{reply}");
    let reply = mailer.say("RCPT TO:<bob@example.com>").await;
    assert!(reply.starts_with("250"), "{reply}");
    mailer.say("DATA").await;
    mailer.write(&mail("x", "y")).await;
    mailer.write(b".\r\n").await;
    assert!(mailer.reply().await.starts_with("250"));
    assert_eq!(relay.wait(1).await[0].recipients, ["bob@example.com"]);
}

#[tokio::test]
async fn a_text_that_needs_too_many_parts_is_refused_where_the_route_says_so() {
    let (world, _relay, smsc) = world_with(|text| {
        text.replace("{ text: \"{subject}: {text}\" }", "{ parts: 2, on_excess: reject }")
    })
    .await;
    let mut mailer = world.mailer().await;
    let long = mail("x", &"0123456789".repeat(31));
    let reply = mailer.send("alice@example.org", &["0612345678@sms.test"], &long).await;
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    let fits = mail("x", &"0123456789".repeat(30));
    let reply = mailer.send("alice@example.org", &["0612345678@sms.test"], &fits).await;
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(smsc.wait(2).await.len(), 2);
}

#[tokio::test]
async fn a_mail_above_the_limit_is_refused_by_its_announced_and_by_its_real_size() {
    let (world, relay, _smsc) =
        world_with(|text| text.replace("tarpit: 0ms", "tarpit: 0ms, max_size: 10KiB")).await;
    let mut mailer = world.mailer().await;
    assert!(mailer.ehlo.contains("SIZE 10240"), "{}", mailer.ehlo);
    let reply = mailer.say("MAIL FROM:<alice@example.org> SIZE=10241").await;
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    let big = mail("x", &"0123456789abcdef\r\n".repeat(1000));
    let reply = mailer.send("alice@example.org", &["bob@example.com"], &big).await;
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    others_go_on(&mut mailer).await;
    assert_eq!(relay.wait(1).await.len(), 1);
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_the_right_one_works_next() {
    let (world, _relay, _smsc) = world().await;
    let address = world.address("esmes");
    for (system_id, password) in [("shop", "wrong"), ("shop", ""), ("nobody", "secret")] {
        let refused = Esme::try_bind(address, system_id, password).await;
        assert_eq!(refused.err(), Some(Status::RBINDFAIL), "{system_id} {password}");
    }
    let shop = world.shop().await;
    assert_eq!(shop.submit(text("33612345678", "x")).await.0, Status::ROK);
}

#[tokio::test]
async fn an_esme_that_nobody_routes_gets_a_status_and_keeps_its_session() {
    let (world, _relay, smsc) =
        world_with(|text| text.replace("{ kind: phone }", "{ prefix: \"+33\" }")).await;
    let shop = world.shop().await;
    let (status, _) = shop.submit(text("491701234567", "x")).await;
    assert_eq!(status, Status::RINVDSTADR);
    assert_eq!(shop.submit(text("33612345678", "x")).await.0, Status::ROK);
    let unknown = Pdu::QuerySm(smpp::pdu::QuerySm {
        message_id: Octets::from_static(b"12345"),
        source: Sm::default().source,
    });
    assert_eq!(shop.request(unknown).await.0, Status::RQUERYFAIL);
    assert!(!shop.is_gone());
    smsc.wait(1).await;
}

/// A raw SMPP connection.
struct Raw(TcpStream);

impl Raw {
    async fn bound(world: &World) -> Self {
        let mut raw = Self(TcpStream::connect(world.address("esmes")).await.unwrap());
        let mut body = b"shop\0secret\0\0".to_vec();
        body.extend_from_slice(&[0x34, 0, 0, 0]);
        raw.send(9, 1, &body).await;
        assert_eq!(raw.answer().await.unwrap().0, (0x8000_0009, 0));
        raw
    }

    async fn send(&mut self, command: u32, sequence: u32, body: &[u8]) {
        let length = u32::try_from(16 + body.len()).unwrap();
        let mut pdu = Vec::new();
        for word in [length, command, 0, sequence] {
            pdu.extend_from_slice(&word.to_be_bytes());
        }
        pdu.extend_from_slice(body);
        self.0.write_all(&pdu).await.unwrap();
    }

    /// Command and status, and the sequence number; none if the peer has closed.
    async fn answer(&mut self) -> Option<((u32, u32), u32)> {
        let mut head = [0; 16];
        let read = timeout(DEADLINE, self.0.read_exact(&mut head)).await.expect("in time");
        read.ok()?;
        let word = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
        let mut body = vec![0; usize::try_from(word(0)).unwrap() - 16];
        self.0.read_exact(&mut body).await.unwrap();
        Some(((word(4), word(8)), word(12)))
    }
}

#[tokio::test]
async fn a_submit_to_nobody_is_refused_although_a_route_takes_all_numbers() {
    let (world, _relay, smsc) = world().await;
    let shop = world.shop().await;
    let nobody = Sm { destination: number(""), ..text("33612345678", "hello") };
    assert_eq!(shop.submit(nobody).await, (Status::RINVDSTADR, String::new()));
    let (status, _) = shop.submit(text("33612345678", "hello")).await;
    assert_eq!(status, Status::ROK);
    assert_eq!(smsc.wait(1).await.len(), 1);
    world.wait_empty().await;
}

#[tokio::test]
async fn a_pdu_that_makes_no_sense_is_answered_and_the_session_goes_on() {
    let (world, _relay, _smsc) = world().await;
    let shop = world.shop().await;
    let mut raw = Raw::bound(&world).await;
    // An unknown command, then a submit_sm that ends in the middle of its sender.
    raw.send(0x0000_0077, 7, b"what").await;
    assert_eq!(raw.answer().await, Some(((0x8000_0000, Status::RINVCMDID.0), 7)));
    raw.send(4, 8, b"\0\x01\x01336").await;
    let ((command, status), sequence) = raw.answer().await.unwrap();
    assert!(command == 0x8000_0004 || command == 0x8000_0000, "{command:08x}");
    assert_ne!(status, 0);
    assert_eq!(sequence, 8);
    raw.send(0x15, 9, b"").await;
    assert_eq!(raw.answer().await, Some(((0x8000_0015, 0), 9)));
    assert_eq!(shop.submit(text("33612345678", "x")).await.0, Status::ROK);
}

#[tokio::test]
async fn a_length_that_cannot_be_ends_its_own_session_only() {
    let (world, _relay, _smsc) = world().await;
    let shop = world.shop().await;
    for length in [u32::MAX, 0, 15] {
        let mut raw = Raw::bound(&world).await;
        let mut head = length.to_be_bytes().to_vec();
        head.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 9]);
        raw.0.write_all(&head).await.unwrap();
        let first = raw.answer().await;
        if let Some(((command, status), _)) = first {
            assert_eq!((command, status), (0x8000_0000, Status::RINVCMDLEN.0), "{length}");
            let mut next = raw.answer().await;
            while next.is_some() {
                next = raw.answer().await;
            }
        }
    }
    assert_eq!(shop.submit(text("33612345678", "x")).await.0, Status::ROK);
}

#[tokio::test]
async fn a_line_that_never_ends_and_a_bare_line_feed_disturb_nobody() {
    let (world, relay, _smsc) = world().await;
    let mut other = world.mailer().await;
    let mut mailer = world.mailer().await;
    let reply = mailer.say(&format!("NOOP {}", "x".repeat(100_000))).await;
    assert!(reply.starts_with("500") || reply.starts_with("501"), "{reply}");
    let reply = mailer.say("NOOP").await;
    assert!(reply.starts_with("250"), "{reply}");
    others_go_on(&mut other).await;
    let reply = mailer
        .send("alice@example.org", &["bob@example.com"], b"Subject: x\r\n\r\none\ntwo\r\n")
        .await;
    assert!(reply.starts_with('5'), "{reply}");
    let reply = mailer
        .send(
            "a@example.org",
            &["b@example.com"],
            b"Subject: x\r\n\r\none\n.\nMAIL FROM:<evil@x>\r\n",
        )
        .await;
    assert!(reply.starts_with('5'), "smuggling: {reply}");
    let mut after = world.mailer().await;
    others_go_on(&mut after).await;
    world.wait_empty().await;
    assert_eq!(relay.mails().len(), 2);
}

#[tokio::test]
async fn a_command_in_the_wrong_place_is_answered() {
    let (world, _relay, _smsc) = world().await;
    let mut mailer = world.mailer().await;
    for (line, want) in [
        ("RCPT TO:<bob@example.com>", "503"),
        ("DATA", "503"),
        ("XYZZY", "500"),
        ("MAIL FROM:alice@", "501"),
        ("VRFY bob", "252"),
        ("HELP", "214"),
    ] {
        let reply = mailer.say(line).await;
        assert!(reply.starts_with(want), "{line}: {reply}");
    }
    others_go_on(&mut mailer).await;
}

#[tokio::test]
async fn a_pipelined_transaction_is_answered_line_by_line() {
    let (world, relay, _smsc) = world().await;
    let mut mailer = world.mailer().await;
    mailer
        .write(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nRCPT TO:<c@example.com>\r\nDATA\r\n")
        .await;
    for want in ["250", "250", "250", "354"] {
        let reply = mailer.reply().await;
        assert!(reply.starts_with(want), "{reply}");
    }
    mailer.write(b"Subject: x\r\n\r\ny\r\n.\r\nQUIT\r\n").await;
    assert!(mailer.reply().await.starts_with("250"));
    assert!(mailer.reply().await.starts_with("221"));
    assert_eq!(mailer.reply_within(Duration::from_secs(5)).await.as_deref(), Some(""));
    assert_eq!(relay.wait(1).await[0].recipients.len(), 2);
}

#[tokio::test]
async fn a_port_in_use_names_the_listener() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let config = config(relay.address, smsc.address, ROUTES)
        .replace("smpp: { bind: \"127.0.0.1:0\" }", &format!("smpp: {{ bind: \"{address}\" }}"));
    let folder = folder(&config);
    let error = start(&folder.path().join("wirepost.yaml")).await.unwrap_err();
    let StartError::Socket { listener, address: named, .. } = &error else { panic!("{error:?}") };
    assert_eq!((&**listener, *named), ("esmes", address));
    assert!(error.to_string().contains("esmes"), "{error}");
}
