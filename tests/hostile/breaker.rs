//! A sender whose messages make a plugin fail waits alone: the plugin goes on for everybody else, and
//! nothing passes a filter because somebody made it fail.

use smpp::{Address, Octets, Sm, Status, npi, ton};
use wirepost::delivery::DECIDER;
use wirepost::platform::clock::Clock;
use wirepost::queue::Waiting;
use wirepost_tests::plugins::{install, module};
use wirepost_tests::sms::text;
use wirepost_tests::wait::until;
use wirepost_tests::world::{ROUTES, config, folder};
use wirepost_tests::{Esme, Relay, Smsc, World};

async fn world(on_error: &str, clock: Clock) -> (World, Smsc) {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let plugin =
        format!("plugins:\n  - {{ name: trap, module: trap.wasm, on_error: {on_error} }}\n");
    let config = config(relay.address, smsc.address, ROUTES);
    // Pauses are leapt over: nobody is asked meanwhile whether it lives.
    let patient = "reconnect: { min: 100ms, max: 200ms }, enquire_link: 1h";
    let config = config.replace("reconnect: { min: 100ms, max: 200ms }", patient);
    let config = config.replace(
        "smpp: { bind: \"127.0.0.1:0\" }",
        "smpp: { bind: \"127.0.0.1:0\", enquire_link: 1h }",
    );
    let folder = folder(&format!("{plugin}{config}"));
    install(folder.path(), "trap.wasm", &module("trap.wasm"));
    (World::start_in_with_clock(folder, clock).await, smsc)
}

fn clock() -> Clock {
    Clock::simulated(Clock::system().now())
}

/// A text from this short code.
fn from(code: &'static [u8], words: &str) -> Sm {
    let source = Address::new(ton::NETWORK_SPECIFIC, npi::UNKNOWN, Octets::from_static(code));
    Sm { source, ..text("33612345678", words) }
}

/// Traps until the breaker puts the sender off.
async fn trap_until_paused(world: &World, shop: &Esme) {
    for _ in 0..5 {
        shop.submit(from(b"666", "a trap")).await;
    }
    until("the pause", || paused(world)).await;
}

/// What `status` says of the plugin's breaker.
fn paused(world: &World) -> Option<usize> {
    let router = &world.app().router;
    let generation = router.generation();
    let standing = generation.plugins[0].breaker.standing(router.clock.now());
    Some(standing.senders).filter(|senders| *senders > 0)
}

#[tokio::test]
async fn messages_of_a_sender_who_makes_a_plugin_fail_wait_and_others_go_on() {
    let (world, smsc) = world("retry", clock()).await;
    let shop = world.shop().await;
    trap_until_paused(&world, &shop).await;
    let status = world.status().await;
    let why = status["plugins_paused"]["trap"].as_str().unwrap();
    assert!(why.contains("one sender"), "{why}");
    assert_eq!(shop.submit(from(b"666", "a good one")).await.0, Status::ROK);
    for number in 0..20 {
        assert_eq!(shop.submit(from(b"33700", &number.to_string())).await.0, Status::ROK);
    }
    let taken = smsc.wait(20).await;
    assert!(taken.iter().all(|sm| sm.short_message != "a good one"), "it waits undecided");
    let listed = world.app().router.list(None, 100).unwrap();
    let waits = listed.iter().filter(|shown| shown.why.contains("trap is paused")).count();
    assert!(waits > 0, "{listed:#?}");
}

#[tokio::test]
async fn what_waited_goes_on_after_the_pause() {
    let clock = clock();
    let (world, smsc) = world("retry", clock.clone()).await;
    let shop = world.shop().await;
    trap_until_paused(&world, &shop).await;
    shop.submit(from(b"666", "a good one")).await;
    let decider = world.app().router.target(DECIDER).unwrap();
    // Each pause ends with probes; bad messages are held at their third fault, the good one goes. Time
    // goes on only while everything waits for it: whatever is under way has the time that it needs.
    until("the good one", || {
        if let Waiting::Due(due) = decider.waiting(clock.now()) {
            clock.set(due);
            // It sleeps as long as it was to wait before.
            decider.set_stop(None);
        }
        (!smsc.taken().is_empty()).then_some(())
    })
    .await;
    assert_eq!(smsc.taken()[0].short_message, "a good one");
}

#[tokio::test]
async fn nobody_passes_a_filter_because_he_made_it_fail() {
    for on_error in ["next", "reject", "hold"] {
        let (world, smsc) = world(on_error, clock()).await;
        let shop = world.shop().await;
        trap_until_paused(&world, &shop).await;
        assert_eq!(shop.submit(from(b"666", "unseen")).await.0, Status::ROK, "{on_error}");
        assert_eq!(shop.submit(from(b"33700", "seen")).await.0, Status::ROK, "{on_error}");
        let arrived = |words: &str| smsc.taken().iter().any(|sm| sm.short_message == *words);
        until("the seen one", || arrived("seen").then_some(())).await;
        assert!(!arrived("unseen"), "{on_error}");
    }
}

#[tokio::test]
async fn a_peer_is_told_to_come_again_where_the_operator_says_refuse() {
    let (world, smsc) = world("refuse", clock()).await;
    let shop = world.shop().await;
    trap_until_paused(&world, &shop).await;
    assert_eq!(shop.submit(from(b"666", "unseen")).await.0, Status::RSYSERR);
    assert_eq!(shop.submit(from(b"33700", "seen")).await.0, Status::ROK);
    assert_eq!(smsc.wait(1).await[0].short_message, "seen");
    world.wait_empty().await;
}
