//! A fork's verdict counts as the message's own: whatever a plugin says of a fork happens to it, at the
//! door and in the queue, and the origin hears of it if the fork shares its answer.

use smpp::Status;
use smpp::receipt::MessageState::{Delivered, Rejected};
use wirepost::router::Act;
use wirepost_tests::plugins::{install, module};
use wirepost_tests::sms::{receipt, text_with_receipt};
use wirepost_tests::smsc::Answer;
use wirepost_tests::wait::until;
use wirepost_tests::world::{ROUTES, config, folder};
use wirepost_tests::{Relay, Smsc, World};

const FORKER: &str = "plugins:\n  - { name: forker, module: forker.wasm, on_error: retry, \
                      grants: { fork: 1, recipients: { prefix: \"+33\" }, targets: [smsc] } }\n\
                      journal: { path: journal }\n";

/// What becomes of a fork.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Sent,
    Failed,
    Dropped,
    Held,
}

/// Verdict, what becomes of the fork, and what the origin is told if the fork shares its answer.
const TABLE: [(&str, Fate, Option<smpp::receipt::MessageState>); 8] = [
    ("next", Fate::Sent, Some(Delivered)),
    ("accept", Fate::Sent, Some(Delivered)),
    ("route", Fate::Sent, Some(Delivered)),
    ("defer", Fate::Sent, Some(Delivered)),
    ("reject", Fate::Failed, Some(Rejected)),
    ("drop", Fate::Dropped, Some(Delivered)),
    ("hold", Fate::Held, None),
    ("unknown-words-are-next", Fate::Sent, Some(Delivered)),
];

async fn world() -> (World, Smsc) {
    let relay = Relay::start().await;
    let smsc = Smsc::start_with(|number, sm| Answer {
        after: Some(receipt(sm, &number.to_string(), Delivered)),
        ..Answer::default()
    })
    .await;
    let folder = folder(&format!("{FORKER}{}", config(relay.address, smsc.address, ROUTES)));
    install(folder.path(), "forker.wasm", &module("forker.wasm"));
    (World::start_in(folder).await, smsc)
}

/// One message whose plugin makes one fork: the message goes its way, the fork goes its own.
async fn check(row: usize, shares: bool, in_queue: bool) {
    let (verdict, fate, told) = TABLE[row];
    let (world, smsc) = world().await;
    let shop = world.shop().await;
    let (answers, place) =
        (if shares { "share" } else { "copy" }, if in_queue { " queue" } else { "" });
    let case = format!("{verdict} {answers}{place}");
    let words = format!("fork {case}");
    let (status, id) = shop.submit(text_with_receipt("33612345670", &words)).await;
    assert_eq!(status, Status::ROK, "{case}");
    let sent = 1 + usize::from(fate == Fate::Sent);
    let told = if shares { told } else { Some(Delivered) };
    if let Some(state) = told {
        let receipts = shop.wait_receipts(1).await;
        assert_eq!(receipts, [(id.clone(), state.to_string())], "{case}");
    }
    let mut to: Vec<String> =
        smsc.wait(sent).await.iter().map(|sm| sm.destination.addr.to_string()).collect();
    to.sort();
    assert_eq!(to, ["33612345670", "33612345679"][..sent], "{case}");
    let held = world.app().router.list(None, 10).unwrap();
    let held: Vec<_> = held.iter().filter(|shown| shown.state == "held").collect();
    assert_eq!(held.len(), usize::from(fate == Fate::Held), "{case}");
    if let Some(held) = held.first() {
        assert_eq!((&*held.to, &*held.why), ("+33612345679", "for a look"), "{case}");
        release(&world, &held.id).await;
        // It goes as it was held; its plugin does not fork once more.
        assert_eq!(smsc.wait(2).await[1].short_message, "a fork to hold", "{case}");
        assert_eq!(shop.wait_receipts(1).await, [(id.clone(), Delivered.to_string())], "{case}");
    }
    world.wait_empty().await;
    let story = world.story(&id);
    let said =
        |event: &str| story.iter().any(|(name, line)| name == event && line.contains("fork"));
    assert!(verdict == "next" || verdict.contains('-') || said("decided"), "{case}: {story:#?}");
    let dropped = story.iter().filter(|(name, _)| name == "dropped").count();
    let expect = usize::from(fate == Fate::Dropped || (fate == Fate::Failed && !shares));
    assert_eq!(dropped, expect, "{case}: {story:#?}");
    assert_eq!(shop.receipts().len(), 1, "{case}: one answer");
}

async fn release(world: &World, id: &str) {
    let id = id.parse().unwrap();
    let done = world.app().router.act_on(Act::Release, &[id], &"seen".into()).await;
    assert!(done.iter().all(|(_, done)| done.is_ok()), "{done:?}");
}

#[tokio::test]
async fn a_copy_made_at_the_door_has_the_fate_that_its_plugin_gave_it() {
    for row in 0..TABLE.len() {
        check(row, false, false).await;
    }
}

#[tokio::test]
async fn a_share_made_at_the_door_has_the_fate_that_its_plugin_gave_it() {
    for row in 0..TABLE.len() {
        check(row, true, false).await;
    }
}

#[tokio::test]
async fn a_copy_made_in_the_queue_has_the_fate_that_its_plugin_gave_it() {
    for row in 0..TABLE.len() {
        check(row, false, true).await;
    }
}

#[tokio::test]
async fn a_share_made_in_the_queue_has_the_fate_that_its_plugin_gave_it() {
    for row in 0..TABLE.len() {
        check(row, true, true).await;
    }
}

/// What an operator releases has passed its plugins: they neither edit it nor fork it once more.
#[tokio::test]
async fn a_message_that_a_route_held_is_not_forked_again_when_it_is_released() {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let routes = format!(
        "  - {{ name: look, when: {{ to: {{ exact: \"+33612345670\" }} }}, to: {{ hold: a look }} }}\n{ROUTES}"
    );
    let folder = folder(&format!("{FORKER}{}", config(relay.address, smsc.address, &routes)));
    install(folder.path(), "forker.wasm", &module("forker.wasm"));
    let world = World::start_in(folder).await;
    let shop = world.shop().await;
    let (status, _) = shop.submit(text_with_receipt("33612345670", "fork next copy")).await;
    assert_eq!(status, Status::ROK);
    assert_eq!(smsc.wait(1).await[0].short_message, "a fork to next");
    let held = until("the held message", || {
        let all = world.app().router.list(None, 10).unwrap();
        all.into_iter().find(|shown| shown.state == "held")
    })
    .await;
    release(&world, &held.id).await;
    smsc.wait(2).await;
    world.wait_empty().await;
    let texts: Vec<_> = smsc.taken().iter().map(|sm| sm.short_message.clone()).collect();
    assert_eq!(texts, ["a fork to next", "fork next copy"]);
}

/// A held fork is in the spool like everything else that was acknowledged, with its part in the answer.
#[tokio::test]
async fn a_fork_that_is_held_survives_a_restart() {
    let (world, smsc) = world().await;
    let shop = world.shop().await;
    let (_, id) = shop.submit(text_with_receipt("33612345670", "fork hold share")).await;
    smsc.wait(1).await;
    let world = world.restart().await;
    let shop = world.shop().await;
    let held = world.app().router.list(None, 10).unwrap();
    assert_eq!(held.len(), 1);
    release(&world, &held[0].id).await;
    assert_eq!(shop.wait_receipts(1).await, [(id, Delivered.to_string())]);
    world.wait_empty().await;
}
