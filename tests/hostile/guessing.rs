//! Passwords guessed by pipelined commands, by many connections and from many addresses, at both
//! doors. Customers go on.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use smpp::Status;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use wirepost::config::{LogAddresses, LogConfig, LogFormat};
use wirepost::inbound::logins::WAIT_MAX;
use wirepost::observe::log;
use wirepost_tests::sms::text;
use wirepost_tests::stranger::{connect, rest, try_bind};
use wirepost_tests::world::{ROUTES, config};
use wirepost_tests::{Mailer, Relay, Smsc, World};

/// Base64 of `NUL clerk NUL right`.
const RIGHT: &str = "AUTH PLAIN AGNsZXJrAHJpZ2h0";
/// Base64 of `NUL clerk NUL wrong`.
const WRONG: &str = "AUTH PLAIN AGNsZXJrAHdyb25n";
/// What a hundred wrong passwords in one write are.
const MANY: usize = 100;

async fn world(logins: &str) -> World {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let text = config(relay.address, smsc.address, ROUTES)
        .replace("allow: [127.0.0.0/8], tarpit: 0ms", "auth_without_tls: true, errors_max: 1000")
        .replace(
            "accounts:\n",
            "accounts:\n  clerk: { smtp: { username: clerk, password: right } }\n",
        );
    World::start(&format!("admin: {{ http: \"127.0.0.1:0\" }}\nlogins: {{ {logins} }}\n{text}"))
        .await
}

/// The value of a metric.
async fn metric(world: &World, line: &str) -> u64 {
    let page = world.page("/metrics").await;
    let found = page.lines().find_map(|found| found.strip_prefix(line));
    found.map_or(0, |value| value.trim().parse().unwrap())
}

/// How often a code begins a line.
fn count(heard: &[u8], code: &str) -> usize {
    String::from_utf8_lossy(heard).lines().filter(|line| line.starts_with(code)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_passwords_are_answered_one_by_one_and_soon_not_at_all() {
    let world = world("wrong_max: 3, delay: 200ms").await;
    let address = world.address("mail");
    let started = Instant::now();
    let mut socket = connect("127.0.0.2", address).await;
    let wrong = format!("{WRONG}\r\n").repeat(MANY);
    socket.write_all(format!("EHLO x\r\n{wrong}").as_bytes()).await.unwrap();
    let heard = rest(&mut socket).await;
    assert_eq!((count(&heard, "535"), count(&heard, "421")), (3, 1));
    // 200, 400 and 800 ms, and 200 ms before it is sent away.
    assert!(started.elapsed() >= Duration::from_millis(1600), "{:?}", started.elapsed());
    let mut again = Mailer::connect_from("127.0.0.2", address).await;
    assert!(again.say(RIGHT).await.starts_with("421"), "nobody learns that it was right");
    assert_eq!(metric(&world, "wirepost_logins_failed_total{name=\"mail\"}").await, 3);
    assert_eq!(metric(&world, "wirepost_logins_shut_out_total{name=\"mail\"}").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_guesses_shuts_no_customer_out() {
    let world = world("wrong_max: 3, delay: 100ms").await;
    let (mail, esmes) = (world.address("mail"), world.address("esmes"));
    let shop = world.shop().await;
    for _ in 0..3 {
        let mut guesser = Mailer::connect_from("127.0.0.2", mail).await;
        assert!(guesser.say(WRONG).await.starts_with("535"));
        let refused = try_bind("127.0.0.2", esmes, "shop", "guess").await;
        assert_eq!(refused, Some(Status::RBINDFAIL));
    }
    assert!(Mailer::connect_from("127.0.0.2", mail).await.say(RIGHT).await.starts_with("421"));
    let shut_out = try_bind("127.0.0.2", esmes, "shop", "secret").await;
    assert_eq!(shut_out, Some(Status::RBINDFAIL));
    let mut clerk = Mailer::connect_from("127.0.0.3", mail).await;
    assert!(clerk.say(RIGHT).await.starts_with("235"));
    assert_eq!(try_bind("127.0.0.3", esmes, "shop", "secret").await, Some(Status::ROK));
    assert_eq!(shop.submit(text("33612345678", "still here")).await.0, Status::ROK);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_guess_no_more_than_one() {
    let world = world("wrong_max: 3, delay: 100ms").await;
    let (mail, esmes) = (world.address("mail"), world.address("esmes"));
    let mails = (0..30).map(|_| async {
        Mailer::connect_from("127.0.0.2", mail).await.say(WRONG).await.starts_with("535")
    });
    let wrong = join_all(mails).await.into_iter().filter(|wrong| *wrong).count();
    assert_eq!(wrong, 3);
    join_all((0..30).map(|_| try_bind("127.0.0.2", esmes, "shop", "guess"))).await;
    assert_eq!(metric(&world, "wirepost_logins_failed_total{name=\"esmes\"}").await, 3);
    assert_eq!(metric(&world, "wirepost_logins_shut_out_total{name=\"esmes\"}").await, 27);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_from_many_addresses_make_strangers_late_and_nobody_else() {
    let world = world("wrong_max: 2, delay: 100ms").await;
    let mail = world.address("mail");
    let mut before = Mailer::connect_from("127.0.0.3", mail).await;
    assert!(before.say(RIGHT).await.starts_with("235"));
    let guesses = (0..20).map(|number| async move {
        let mut guesser = Mailer::connect_from(&format!("127.0.1.{number}"), mail).await;
        guesser.say(WRONG).await.starts_with("535")
    });
    assert!(join_all(guesses).await.into_iter().all(|wrong| wrong));
    let mut stranger = Mailer::connect_from("127.0.2.1", mail).await;
    let mut customer = Mailer::connect_from("127.0.0.3", mail).await;
    let asked = Instant::now();
    stranger.write(format!("{RIGHT}\r\n").as_bytes()).await;
    assert!(customer.say(RIGHT).await.starts_with("235"));
    assert_eq!(stranger.reply_within(Duration::ZERO).await, None, "the customer went first");
    assert!(stranger.reply().await.starts_with("235"), "late, but in");
    assert!(asked.elapsed() >= WAIT_MAX);
}

#[tokio::test(flavor = "multi_thread")]
async fn binds_from_many_addresses_make_strangers_late_and_nobody_in_allow() {
    let world = world("wrong_max: 2, delay: 100ms").await;
    let text = std::fs::read_to_string(world.config()).unwrap();
    let text = text.replace("accounts:\n", "accounts:\n  known: { smpp: { system_id: known, password: secret, allow: [127.0.0.0/8] } }\n");
    world.reload(&text).await;
    let esmes = world.address("esmes");
    for name in ["shop", "known"] {
        join_all((0..20).map(|number| async move {
            let source = format!("127.0.1.{number}");
            assert_eq!(try_bind(&source, esmes, name, "guess").await, Some(Status::RBINDFAIL));
        }))
        .await;
    }
    let asked = Instant::now();
    let stranger = Box::pin(try_bind("127.0.2.1", esmes, "shop", "secret"));
    let listed = Box::pin(try_bind("127.0.2.2", esmes, "known", "secret"));
    let Either::Right((first, stranger)) = select(stranger, listed).await else {
        panic!("a stranger went before who is in `allow`");
    };
    assert_eq!(first, Some(Status::ROK));
    assert_eq!(stranger.await, Some(Status::ROK), "late, but bound");
    assert!(asked.elapsed() >= WAIT_MAX);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_guesses_is_two_lines_in_the_log() {
    let written = Arc::new(Mutex::new(String::new()));
    let to = Arc::clone(&written);
    let sink: log::lines::Sink = Arc::new(move |line: &str| to.lock().unwrap().push_str(line));
    let config = LogConfig {
        filter: "info".into(),
        format: LogFormat::Json,
        addresses: LogAddresses::Hashed,
    };
    log::start_to(&config, false, sink);
    let world = world("wrong_max: 5, delay: 100ms").await;
    let mail = world.address("mail");
    join_all((0..40).map(|_| async {
        Mailer::connect_from("127.0.0.2", mail).await.say(WRONG).await;
    }))
    .await;
    drop(world.stop().await);
    let log = written.lock().unwrap().clone();
    let count = |event: &str| log.matches(&format!("\"event\":\"{event}\"")).count();
    assert_eq!((count("smtp.auth"), count("logins.shut_out")), (1, 1), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tarpit_holds_for_pipelined_commands() {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let text = config(relay.address, smsc.address, ROUTES)
        .replace("tarpit: 0ms", "tarpit: 200ms, errors_max: 8");
    let world = World::start(&text).await;
    let started = Instant::now();
    let mut socket = connect("127.0.0.2", world.address("mail")).await;
    socket.write_all(&b"FROB\r\n".repeat(MANY)).await.unwrap();
    let heard = rest(&mut socket).await;
    assert_eq!((count(&heard, "500"), count(&heard, "421")), (8, 1));
    assert!(started.elapsed() >= Duration::from_millis(3 * 200), "{:?}", started.elapsed());
}
