//! Plugins in the running router: they judge at the door, and their faults are theirs alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use smpp::Status;
use wirepost_tests::mailer::mail;
use wirepost_tests::plugins::{another_build_of, install, module};
use wirepost_tests::sms::text;
use wirepost_tests::wait::until;
use wirepost_tests::world::{ROUTES, config, folder};
use wirepost_tests::{Relay, Smsc, World};

const STOP_WORDS: &str = "plugins:\n  - { name: stop-words, module: stop_words.wasm, \
                          config: { words: [lottery] } }\n";
const TRAP: &str = "plugins:\n  - { name: trap, module: trap.wasm, on_error: retry }\n";

async fn world(plugins: &str, name: &str) -> (World, Relay, Smsc) {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let folder = folder(&format!("{plugins}{}", config(relay.address, smsc.address, ROUTES)));
    install(folder.path(), name, &module(name));
    (World::start_in(folder).await, relay, smsc)
}

#[tokio::test]
async fn a_stop_word_is_refused_at_the_door_in_the_terms_of_each_peer() {
    let (world, relay, smsc) = world(STOP_WORDS, "stop_words.wasm").await;
    let mut mailer = world.mailer().await;
    let won = mail("You won", "the Lottery, again");
    let reply = mailer.send("a@example.org", &["bob@example.com"], &won).await;
    assert!(reply.starts_with("550 5.7.1") && reply.contains("not allowed"), "{reply}");
    let reply = mailer.send("a@example.org", &["bob@example.com"], &mail("x", "y")).await;
    assert!(reply.starts_with("250"), "{reply}");
    let shop = world.shop().await;
    let (status, _) = shop.submit(text("33612345678", "lottery")).await;
    assert_ne!(status, Status::ROK);
    assert_eq!(shop.submit(text("33612345678", "lotteries")).await.0, Status::ROK);
    assert_eq!(smsc.wait(1).await[0].short_message, "lotteries");
    relay.wait(1).await;
    world.wait_empty().await;
    assert_eq!((relay.mails().len(), smsc.taken().len()), (1, 1));
}

#[tokio::test]
async fn a_message_that_traps_a_plugin_is_taken_and_held_at_the_third_fault_alone() {
    let (world, _relay, smsc) = world(TRAP, "trap.wasm").await;
    let shop = world.shop().await;
    let (status, id) = shop.submit(text("33612345678", "a trap")).await;
    assert_eq!(status, Status::ROK);
    shop.submit_all((0..50).map(|n| text("33612345678", &n.to_string()))).await;
    smsc.wait(50).await;
    let held = until("a held message", || {
        let all = world.app().router.list(None, 100).unwrap();
        all.into_iter().find(|shown| shown.state == "held")
    })
    .await;
    assert_eq!(held.message, id);
    assert!(held.why.contains("trap"), "{}", held.why);
    assert_eq!((world.queued(None), smsc.taken().len()), (1, 50));
}

#[tokio::test]
async fn a_trapping_plugin_that_is_replaced_lets_what_waited_go_on() {
    let (world, _relay, smsc) = world(TRAP, "trap.wasm").await;
    let shop = world.shop().await;
    assert_eq!(shop.submit(text("33612345678", "a trap")).await.0, Status::ROK);
    let without = fs_config(&world).replace(TRAP, "");
    world.reload(&without).await;
    assert_eq!(smsc.wait(1).await[0].short_message, "a trap");
    world.wait_empty().await;
}

fn fs_config(world: &World) -> String {
    std::fs::read_to_string(world.config()).unwrap()
}

#[tokio::test]
async fn a_plugin_file_replaced_under_load_fails_nobody() {
    let (world, _relay, smsc) = world(STOP_WORDS, "stop_words.wasm").await;
    let shop = Arc::new(world.shop().await);
    let done = Arc::new(AtomicBool::new(false));
    let mut load = tokio::task::JoinSet::new();
    let (sender, stop) = (Arc::clone(&shop), Arc::clone(&done));
    load.spawn(async move {
        let mut sent = 0;
        while !stop.load(Ordering::Acquire) {
            let many = (0..20).map(|n| text("33612345678", &n.to_string()));
            sent += sender.submit_all(many).await.len();
        }
        sent
    });
    let bytes = module("stop_words.wasm");
    for mark in 0..3 {
        let before = world.app().reload.plugins();
        install(world.folder.path(), "stop_words.wasm", &another_build_of(&bytes, mark));
        until("the new plugin", || (world.app().reload.plugins() != before).then_some(())).await;
    }
    let (status, _) = shop.submit(text("33612345678", "lottery")).await;
    assert_ne!(status, Status::ROK, "the new one judges too");
    done.store(true, Ordering::Release);
    let sent = load.join_next().await.unwrap().unwrap();
    world.wait_empty().await;
    assert_eq!(smsc.taken().len(), sent);
}

#[tokio::test]
async fn a_truncated_plugin_is_refused_and_the_old_one_goes_on() {
    let (world, _relay, _smsc) = world(STOP_WORDS, "stop_words.wasm").await;
    let bytes = module("stop_words.wasm");
    let before = world.app().reload.plugins();
    install(world.folder.path(), "stop_words.wasm", &bytes[..bytes.len() / 2]);
    let report =
        until("the refusal", || world.app().reload.last().filter(|report| !report.ok)).await;
    assert!(report.lines.join("\n").contains("stop_words.wasm"), "{report:?}");
    assert_eq!(world.app().reload.plugins(), before);
    let shop = world.shop().await;
    assert_ne!(shop.submit(text("33612345678", "lottery")).await.0, Status::ROK);
    assert_eq!(shop.submit(text("33612345678", "hello")).await.0, Status::ROK);
    install(world.folder.path(), "stop_words.wasm", &another_build_of(&bytes, 1));
    until("the mended plugin", || (world.app().reload.plugins() != before).then_some(())).await;
}

#[tokio::test]
async fn a_plugin_keeps_no_more_keys_than_it_may_also_across_a_restart() {
    let scribe = "plugins:\n  - { name: scribe, module: scribe.wasm, on_error: reject, limits: { keys: 2 } }\n";
    let (world, _relay, _smsc) = world(scribe, "scribe.wasm").await;
    submit_each(&world, &[("set a 1", true), ("set b 1", true), ("set c 1", false)]).await;
    submit_each(&world, &[("set a 2", true), ("set c 1", false)]).await;
    let world = world.restart().await;
    submit_each(&world, &[("set c 1", false), ("delete a", true), ("set c 1", true)]).await;
    submit_each(&world, &[("set a 1", false)]).await;
}

/// Submits each text; whether it is taken.
async fn submit_each(world: &World, texts: &[(&str, bool)]) {
    let shop = world.shop().await;
    for (words, taken) in texts {
        let (status, _) = shop.submit(text("33612345678", words)).await;
        assert_eq!(status == Status::ROK, *taken, "{words}: {status:?}");
    }
}
