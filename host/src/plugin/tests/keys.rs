//! Keys: what a commit keeps, what a message may claim, what is immediate.

use std::time::Duration;

use super::{World, judge, load, note_of, sms};
use crate::plugin::{Fault, Plugin};

async fn answer(plugin: &Plugin, text: &str, world: &std::sync::Arc<World>) -> String {
    let judgement = judge(plugin, &sms(text), world).await.unwrap();
    world.commit(&judgement.kv);
    note_of(&judgement, "answer").unwrap()
}

#[tokio::test]
async fn a_write_is_seen_once_it_is_committed() {
    let world = World::new();
    let plugin = load("scribe", "{}", &world).await;
    let uncommitted = judge(&plugin, &sms("set k v"), &world).await.unwrap();
    assert_eq!(answer(&plugin, "get k", &world).await, "");
    world.commit(&uncommitted.kv);
    assert_eq!(answer(&plugin, "get k", &world).await, "v");
    world.advance(Duration::from_secs(61));
    assert_eq!(answer(&plugin, "get k", &world).await, "");
}

#[tokio::test]
async fn a_removed_key_is_gone() {
    let world = World::new();
    let plugin = load("scribe", "{}", &world).await;
    answer(&plugin, "set gone v", &world).await;
    assert_eq!(answer(&plugin, "delete gone", &world).await, "true");
    assert_eq!(answer(&plugin, "delete gone", &world).await, "false");
}

#[tokio::test]
async fn a_second_run_sees_its_own_claim_as_new() {
    let world = World::new();
    let plugin = load("scribe", "{}", &world).await;
    let message = sms("claim once");
    let first = judge(&plugin, &message, &world).await.unwrap();
    assert_eq!(note_of(&first, "answer").as_deref(), Some("true"));
    world.commit(&first.kv);
    drop(first);
    let second = judge(&plugin, &message, &world).await.unwrap();
    assert_eq!(note_of(&second, "answer").as_deref(), Some("true"));
    assert_eq!(answer(&plugin, "claim once", &world).await, "false");
}

#[tokio::test]
async fn a_claim_that_is_not_committed_keeps_others_off_until_it_is_dropped() {
    let world = World::new();
    let plugin = load("scribe", "{}", &world).await;
    let first = judge(&plugin, &sms("claim held"), &world).await.unwrap();
    let fault = judge(&plugin, &sms("claim held"), &world).await.unwrap_err();
    assert_eq!(fault, Fault::Error("not available now".to_owned()));
    drop(first);
    assert_eq!(answer(&plugin, "claim held", &world).await, "true");
}

#[tokio::test]
async fn counters_and_buckets_outlive_a_swap_of_the_module() {
    let world = World::new();
    let plugin = load("scribe", "{}", &world).await;
    let first: i64 = answer(&plugin, "add swaps", &world).await.parse().unwrap();
    let next = load("scribe", "{}", &world).await;
    assert_eq!(answer(&next, "add swaps", &world).await, (first + 1).to_string());
    let taken = [
        answer(&plugin, "take bucket", &world).await,
        answer(&next, "take bucket", &world).await,
        answer(&plugin, "take bucket", &world).await,
    ];
    assert_eq!(taken, ["true", "true", "false"]);
    world.advance(Duration::from_secs(1));
    assert_eq!(answer(&plugin, "take bucket", &world).await, "true");
}
