//! Bytes that are known are not compiled again, and machine code that is not ours is not run.

use std::fs;
use std::path::{Path, PathBuf};

use smpp::Status;
use wirepost_tests::plugins::{another_build_of, install, module};
use wirepost_tests::sms::text;
use wirepost_tests::wait::until;
use wirepost_tests::world::{ROUTES, config, folder};
use wirepost_tests::{Relay, Smsc, World};

const WORDS: &str =
    "plugins:\n  - { name: words, module: stop_words.wasm, config: { words: [lottery] } }\n";

async fn world() -> (World, Relay, Smsc) {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let folder = folder(&format!("{WORDS}{}", config(relay.address, smsc.address, ROUTES)));
    install(folder.path(), "stop_words.wasm", &module("stop_words.wasm"));
    (World::start_in(folder).await, relay, smsc)
}

fn compiled(world: &World) -> u64 {
    world.app().reload.compiled()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("spool/compiled")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

async fn judges(world: &World) {
    let shop = world.shop().await;
    assert_ne!(shop.submit(text("33612345678", "lottery")).await.0, Status::ROK);
    assert_eq!(shop.submit(text("33612345678", "hello")).await.0, Status::ROK);
}

#[tokio::test]
async fn a_start_and_a_reload_of_known_bytes_compile_nothing() {
    let (world, _relay, _smsc) = world().await;
    assert_eq!(compiled(&world), 1);
    let yaml = fs::read_to_string(world.config()).unwrap();
    world.reload(&yaml.replace("[lottery]", "[lottery, casino]")).await;
    assert_eq!(compiled(&world), 1, "the same bytes with other settings");
    let world = world.restart().await;
    judges(&world).await;
    assert_eq!(compiled(&world), 0, "a start");
    let before = world.app().reload.plugins();
    let other = another_build_of(&module("stop_words.wasm"), 1);
    install(world.folder.path(), "stop_words.wasm", &other);
    until("the other build", || (world.app().reload.plugins() != before).then_some(())).await;
    assert_eq!(compiled(&world), 1, "other bytes");
    assert_eq!(entries(world.folder.path()).len(), 1, "what runs no more is not kept");
}

#[tokio::test]
async fn machine_code_that_is_damaged_is_made_anew() {
    let (world, _relay, _smsc) = world().await;
    let folder = world.stop().await;
    let entry = entries(folder.path()).pop().unwrap();
    let mut octets = fs::read(&entry).unwrap();
    let last = octets.len() - 1;
    octets[last] ^= 1;
    fs::write(&entry, &octets).unwrap();
    let world = World::start_in(folder).await;
    assert_eq!(compiled(&world), 1);
    judges(&world).await;
    let world = world.restart().await;
    assert_eq!(compiled(&world), 0, "it was kept again");
}
