//! Peers that have not logged in, and mean to take everything: memory, places, time. Each octet and
//! each connection before a login has a bound, and whom `allow` names gets in all the same.

use std::time::Duration;

use futures_util::future::{join_all, select_all};
use smpp::Status;
use smpp::session::UNBOUND_PDUS_MAX;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wirepost::platform::memory::resident_bytes;
use wirepost_tests::stranger::{bind, connect, is_closed, rest, try_bind};
use wirepost_tests::wait::{DEADLINE, until};
use wirepost_tests::world::{ROUTES, config, folder};
use wirepost_tests::{Mailer, Relay, Smsc, World};

/// Shorter than any deadline that is not that of a crowd.
const SECONDS: Duration = Duration::from_secs(30);
/// Long enough for what is there already.
const SOON: Duration = Duration::from_millis(500);
/// Eight of ten.
const SILENT: usize = 8;

/// A router whose listeners have these settings instead of `allow: [127.0.0.0/8]`, or besides.
async fn world(mail: &str, esmes: &str) -> World {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let text =
        config(relay.address, smsc.address, ROUTES).replace("allow: [127.0.0.0/8]", mail).replace(
            "esmes: { smpp: { bind: \"127.0.0.1:0\" } }",
            &format!("esmes: {{ smpp: {{ bind: \"127.0.0.1:0\", {esmes} }} }}"),
        );
    let folder = folder(&format!("admin: {{ http: \"127.0.0.1:0\" }}\n{text}"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    World::start_in(folder).await
}

/// The first octets that a listener says to a new connection; nothing if it closes.
async fn first_words(source: &str, world: &World, before: &[u8]) -> String {
    let mut socket = connect(source, world.address("mail")).await;
    // A peer that was turned away at once does not take this any more.
    drop(socket.write_all(before).await);
    let mut words = [0; 64];
    let read = timeout(DEADLINE, socket.read(&mut words)).await.expect("an answer in time");
    String::from_utf8_lossy(&words[..read.unwrap_or(0)]).into_owned()
}

/// Waits until so many connections have a place at a listener.
async fn wait_connections(world: &World, door: &str, count: u32) {
    until(&format!("{count} connections"), || {
        let crowds = world.app().router.gates.crowds();
        crowds
            .iter()
            .any(|(name, crowd)| &**name == door && crowd.connections == count)
            .then_some(())
    })
    .await;
}

async fn silent(source: &str, world: &World, door: &str, count: usize) -> Vec<TcpStream> {
    join_all((0..count).map(|_| connect(source, world.address(door)))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn octets_behind_a_refused_bind_stay_outside() {
    let world = world("allow: [127.0.0.0/8]", "window: 10").await;
    let before = resident_bytes().unwrap();
    let mut socket = connect("127.0.0.2", world.address("esmes")).await;
    socket.write_all(&bind("shop", "guess")).await.unwrap();
    let zeroes = vec![0; 1 << 20];
    let mut taken = 0;
    // What the kernel holds on both sides is all that goes out while the answer waits.
    while taken < 256 && timeout(DEADLINE, socket.write_all(&zeroes)).await.unwrap().is_ok() {
        taken += 1;
    }
    assert!(taken < 64, "{taken} MiB were taken");
    let after = resident_bytes().unwrap();
    assert!(after < before + (64 << 20), "{before} octets, and then {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_not_bound_says_little_and_nothing_long() {
    let world = world("allow: [127.0.0.0/8]", "session_init: 1h").await;
    let mut chatty = connect("127.0.0.2", world.address("esmes")).await;
    let enquire: [u8; 16] = [0, 0, 0, 16, 0, 0, 0, 0x15, 0, 0, 0, 0, 0, 0, 0, 1];
    // Written at once and small enough for the kernel to take all of it.
    chatty.write_all(&enquire.repeat(1000)).await.unwrap();
    let heard = rest(&mut chatty).await;
    assert!(heard.len() <= 16 * usize::try_from(UNBOUND_PDUS_MAX).unwrap(), "{}", heard.len());
    let mut long = connect("127.0.0.2", world.address("esmes")).await;
    let head = [0, 0, 0x20, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1];
    long.write_all(&head).await.unwrap();
    // A generic_nack, and the end: the rest of it is not waited for.
    assert_eq!(rest(&mut long).await[4..8], [0x80, 0, 0, 0]);
    assert_eq!(
        try_bind("127.0.0.2", world.address("esmes"), "shop", "secret").await,
        Some(Status::ROK)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_counted_before_their_handshake() {
    let tls = "tls: { cert: cert.pem, key: key.pem, mode: implicit }, max_connections: 5, \
               timeouts: { command: 1h }";
    let world = world(tls, "tls: { cert: cert.pem, key: key.pem }, max_connections: 5").await;
    for door in ["mail", "esmes"] {
        let _places = silent("127.0.0.2", &world, door, 5).await;
        wait_connections(&world, door, 5).await;
        // No greeting, no handshake: whoever has no place is sent away at once.
        let more = silent("127.0.0.3", &world, door, 50).await;
        let closed = more
            .into_iter()
            .map(|mut socket| async move { is_closed(&mut socket, Duration::from_secs(2)).await });
        assert!(join_all(closed).await.into_iter().all(|closed| closed));
        wait_connections(&world, door, 5).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_counted_before_the_header_of_their_balancer() {
    let settings = "proxy_from: [127.0.0.2/32], max_connections: 5";
    let world = world(&format!("allow: [127.0.0.9/32], {settings}"), settings).await;
    for door in ["mail", "esmes"] {
        let _places = silent("127.0.0.2", &world, door, 5).await;
        wait_connections(&world, door, 5).await;
        let mut more = connect("127.0.0.2", world.address(door)).await;
        assert!(is_closed(&mut more, Duration::from_secs(2)).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_balancer_each_client_has_its_own_limit() {
    let world = world(
        "allow: [127.0.0.0/8]",
        "proxy_from: [127.0.0.2/32], max_connections_per_ip: 2, session_init: 1m",
    )
    .await;
    let behind = async |client: &str| {
        let mut socket = connect("127.0.0.2", world.address("esmes")).await;
        let header = format!("PROXY TCP4 {client} 10.0.0.1 4242 2775\r\n");
        socket.write_all(header.as_bytes()).await.unwrap();
        socket
    };
    let mut hostile = Vec::new();
    for _ in 0..3 {
        hostile.push(behind("192.0.2.1").await);
    }
    let closed = hostile.iter_mut().map(|socket| Box::pin(is_closed(socket, DEADLINE)));
    assert!(select_all(closed).await.0, "it has two, and one is closed");
    wait_connections(&world, "esmes", 2).await;
    for client in ["192.0.2.2", "192.0.2.3", "192.0.2.4"] {
        let mut socket = behind(client).await;
        socket.write_all(&bind("shop", "secret")).await.unwrap();
        let mut head = [0; 16];
        timeout(DEADLINE, socket.read_exact(&mut head)).await.unwrap().unwrap();
        assert_eq!(head[8..12], [0; 4], "{client} is bound");
    }
    drop(hostile);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_leave_places_for_networks_that_allow_names() {
    let world = world(
        "allow: [127.0.0.9/32], max_connections: 20, max_connections_per_ip: 4",
        "max_connections: 20, max_connections_per_ip: 4, session_init: 1m",
    )
    .await;
    let text = std::fs::read_to_string(world.config()).unwrap();
    let known = "accounts:\n  known: { smpp: { system_id: known, password: secret, allow: [127.0.0.9/32] } }\n";
    world.reload(&text.replace("accounts:\n", known)).await;
    let mut all = Vec::new();
    for door in ["mail", "esmes"] {
        for number in 0..6 {
            all.extend(silent(&format!("127.0.1.{number}"), &world, door, 4).await);
        }
        wait_connections(&world, door, 18).await;
    }
    assert!(first_words("127.0.2.1", &world, b"").await.starts_with("421"), "a stranger");
    let relay = Mailer::connect_from("127.0.0.9", world.address("mail")).await;
    assert!(relay.ehlo.starts_with("250"));
    let bound = try_bind("127.0.0.9", world.address("esmes"), "known", "secret").await;
    assert_eq!(bound, Some(Status::ROK));
    let page = world.page("/metrics").await;
    assert!(page.contains("wirepost_connections_refused_total{name=\"mail\"} 7"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_strangers_get_seconds_while_places_run_out() {
    let world = world(
        "allow: [127.0.0.9/32], max_connections: 10, timeouts: { command: 1h }",
        "max_connections: 10, session_init: 1h",
    )
    .await;
    let mail = world.address("mail");
    let mut relay = Mailer::connect_from("127.0.0.9", mail).await;
    let mut idle = Vec::new();
    for _ in 0..SILENT {
        idle.push(Mailer::connect_from("127.0.0.2", mail).await);
    }
    let mut unbound = silent("127.0.0.2", &world, "esmes", SILENT).await;
    wait_connections(&world, "esmes", u32::try_from(SILENT).unwrap()).await;
    let status = world.status().await;
    for listener in status["listeners"].as_array().unwrap() {
        assert_eq!(listener["crowded"], true, "{status}");
    }
    let page = world.page("/metrics").await;
    assert!(page.contains("wirepost_door_crowded{name=\"mail\"} 1"), "{page}");
    // They go one by one, until so many have gone that the others may stay.
    until("a calm router", || {
        let crowds = world.app().router.gates.crowds();
        crowds.iter().all(|(_, crowd)| !crowd.is_crowded).then_some(())
    })
    .await;
    let told = join_all(idle.iter_mut().map(|mailer| mailer.reply_within(SOON))).await;
    let told: Vec<_> = told.into_iter().flatten().collect();
    assert!(told.len() >= 4 && told.iter().all(|told| told.starts_with("421")), "{told:?}");
    let closed = join_all(unbound.iter_mut().map(|socket| is_closed(socket, SOON))).await;
    assert!(closed.into_iter().filter(|closed| *closed).count() >= 3);
    assert!(relay.say("NOOP").await.starts_with("250"), "whom `allow` names may be idle");
    assert_eq!(world.status().await["listeners"][0]["crowded"], false);
    let mut patient = Mailer::connect_from("127.0.0.2", mail).await;
    assert!(patient.say("NOOP").await.starts_with("250"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_of_ipv6_has_the_places_of_one_address() {
    let settings = "proxy_from: [127.0.0.2/32], max_connections_per_ip: 2";
    let world = world(&format!("allow: [127.0.0.9/32], {settings}"), settings).await;
    let behind = async |client: &str| {
        let header = format!("PROXY TCP6 {client} 2001:db8::1 4242 25\r\n");
        let mut socket = connect("127.0.0.2", world.address("mail")).await;
        socket.write_all(header.as_bytes()).await.unwrap();
        let mut code = [0; 3];
        timeout(DEADLINE, socket.read_exact(&mut code)).await.unwrap().unwrap();
        (socket, String::from_utf8_lossy(&code).into_owned())
    };
    let first = behind("2001:db8:1:2::1").await;
    let second = behind("2001:db8:1:2:ffff::7").await;
    assert_eq!((&*first.1, &*second.1), ("220", "220"));
    assert_eq!(behind("2001:db8:1:2:3:4:5:6").await.1, "421");
    assert_eq!(behind("2001:db8:1:3::1").await.1, "220");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_has_little_time_and_few_places() {
    let world = world("allow: [127.0.0.0/8]", "window: 10").await;
    let http = world.app().http.unwrap();
    let half = async |_| {
        let mut socket = connect("127.0.0.2", http).await;
        // The last ones are closed before they say anything.
        drop(socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").await);
        socket
    };
    let mut all = join_all((0..300).map(half)).await;
    let at_once = join_all(all.iter_mut().map(|socket| is_closed(socket, Duration::from_secs(3))));
    let at_once = at_once.await;
    let at_once = at_once.into_iter().filter(|closed| *closed).count();
    assert!(at_once >= 300 - 64, "{at_once} of 300");
    let closed = join_all(all.iter_mut().map(|socket| is_closed(socket, SECONDS))).await;
    assert!(closed.into_iter().all(|closed| closed));
    assert!(world.page("/healthz").await.contains("alive"));
}
