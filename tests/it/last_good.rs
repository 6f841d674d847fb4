//! A start that finds something broken goes on with what ran last, and says so.

use std::fs;
use std::path::Path;

use smpp::Status;
use tempfile::TempDir;
use wirepost::app::{App, Options, StartError};
use wirepost::platform::clock::Clock;
use wirepost_tests::plugins::{another_build_of, install, module};
use wirepost_tests::sms::text;
use wirepost_tests::wait::until;
use wirepost_tests::world::{ROUTES, config, explain, folder, write};
use wirepost_tests::{Relay, Smsc, World};

const HTTP: &str = "admin: { http: \"127.0.0.1:0\" }\n";
const STOP_WORDS: &str = "plugins:\n  - { name: stop-words, module: stop_words.wasm, \
                          config: { words: [lottery] } }\n";

/// A router with a plugin that has run once, stopped.
async fn stopped() -> (TempDir, Relay, Smsc) {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let config = config(relay.address, smsc.address, ROUTES);
    let folder = folder(&format!("{HTTP}{STOP_WORDS}{config}"));
    install(folder.path(), "stop_words.wasm", &module("stop_words.wasm"));
    (World::start_in(folder).await.stop().await, relay, smsc)
}

fn yaml(folder: &Path) -> String {
    fs::read_to_string(folder.join("wirepost.yaml")).unwrap()
}

async fn start(folder: &Path, strict: bool) -> Result<App, StartError> {
    let mut options = Options::new(folder.join("wirepost.yaml"));
    options.strict = strict;
    App::start(&options, Clock::system()).await
}

async fn refused(world: &World, words: &str) {
    assert_ne!(world.shop().await.submit(text("33612345678", words)).await.0, Status::ROK);
}

async fn taken(world: &World, words: &str) {
    assert_eq!(world.shop().await.submit(text("33612345678", words)).await.0, Status::ROK);
}

async fn is_ready(world: &World) {
    assert!(world.page("/readyz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_plugin_whose_file_is_missing_or_broken_at_the_start_runs_with_its_last_good_bytes() {
    let bytes = module("stop_words.wasm");
    let broken: [(&str, Option<&[u8]>); 4] = [
        ("missing", None),
        ("truncated", Some(&bytes[..bytes.len() / 2])),
        ("empty", Some(b"")),
        // A WebAssembly module without anything in it is whole, and no plugin.
        ("no plugin", Some(b"\0asm\x01\0\0\0")),
    ];
    let (mut folder, _relay, _smsc) = stopped().await;
    for (what, with) in broken {
        match with {
            None => fs::remove_file(folder.path().join("plugins/stop_words.wasm")).unwrap(),
            Some(bytes) => install(folder.path(), "stop_words.wasm", bytes),
        }
        let world = World::start_in(folder).await;
        refused(&world, "lottery").await;
        taken(&world, "hello").await;
        let status = world.status().await;
        let why = status["plugins_stale"]["stop-words"].as_str().unwrap();
        assert!(why.contains("stop_words.wasm") || why.contains("at "), "{what}: {why}");
        let metrics = world.page("/metrics").await;
        assert!(metrics.contains("wirepost_plugin_stale{name=\"stop-words\"} 1"), "{what}");
        assert!(metrics.contains("wirepost_config_stale 0"), "{what}");
        is_ready(&world).await;
        folder = world.stop().await;
    }
    let world = World::start_in(folder).await;
    install(world.folder.path(), "stop_words.wasm", &bytes);
    until("the end of it", || {
        world.app().router.generation().health.stale.is_empty().then_some(())
    })
    .await;
    let metrics = world.page("/metrics").await;
    assert!(metrics.contains("wirepost_plugin_stale{name=\"stop-words\"} 0"), "{metrics}");
    refused(&world, "lottery").await;
}

#[tokio::test]
async fn last_good_bytes_run_with_the_grants_and_the_settings_of_today() {
    let (folder, _relay, _smsc) = stopped().await;
    fs::remove_file(folder.path().join("plugins/stop_words.wasm")).unwrap();
    let other = yaml(folder.path()).replace("words: [lottery]", "words: [casino]");
    write(&folder.path().join("wirepost.yaml"), &other);
    let world = World::start_in(folder).await;
    assert!(world.status().await["plugins_stale"]["stop-words"].is_string());
    refused(&world, "casino").await;
    taken(&world, "lottery").await;
}

#[tokio::test]
async fn the_bytes_that_took_effect_last_are_kept_and_no_others() {
    let (folder, _relay, _smsc) = stopped().await;
    let world = World::start_in(folder).await;
    let bytes = module("stop_words.wasm");
    for mark in 0..3 {
        let before = world.app().reload.plugins();
        install(world.folder.path(), "stop_words.wasm", &another_build_of(&bytes, mark));
        until("the new plugin", || (world.app().reload.plugins() != before).then_some(())).await;
    }
    let running = world.app().reload.plugins();
    let folder = world.stop().await;
    let contents = fs::read_dir(folder.path().join("spool/last-good/contents")).unwrap();
    assert_eq!(contents.count(), 2, "the configuration and the module");
    fs::remove_file(folder.path().join("plugins/stop_words.wasm")).unwrap();
    let world = World::start_in(folder).await;
    assert_eq!(world.app().reload.plugins(), running);
}

#[tokio::test]
async fn a_configuration_that_is_broken_at_the_start_leaves_the_last_good_one_in_place() {
    let (mut folder, _relay, smsc) = stopped().await;
    let good = yaml(folder.path());
    let broken = [
        good.replace("routes:\n", "routes: [\n"),
        good.replace("to: smsc,", "to: smsc-z,"),
        good.replace("words: [lottery]", "words: 7"),
        "no: configuration\n".to_owned(),
    ];
    for (count, bad) in (1..).zip(broken) {
        write(&folder.path().join("wirepost.yaml"), &bad);
        let world = World::start_in(folder).await;
        refused(&world, "lottery").await;
        taken(&world, "hello").await;
        smsc.wait(count).await;
        let why = world.app().router.generation().health.config.clone().unwrap();
        assert!(why.contains("runs instead"), "{why}");
        is_ready(&world).await;
        assert!(world.page("/metrics").await.contains("wirepost_config_stale 1"));
        let report = world.app().reload.reload(false).await;
        assert!(!report.ok, "a reload says what is wrong: {report:?}");
        folder = world.stop().await;
    }
    fs::remove_file(folder.path().join("wirepost.yaml")).unwrap();
    let world = World::start_in(folder).await;
    world.reload(&good).await;
    assert_eq!(world.app().router.generation().health.config, None);
    let lines = world.app().reload.last().unwrap().lines.join("\n");
    assert!(lines.contains("again the one on disk"), "{lines}");
}

#[tokio::test]
async fn a_strict_start_refuses_what_is_broken() {
    let (folder, _relay, _smsc) = stopped().await;
    let good = yaml(folder.path());
    write(&folder.path().join("wirepost.yaml"), &good.replace("routes:\n", "routes: [\n"));
    let error = start(folder.path(), true).await.unwrap_err();
    assert!(explain(&error).contains("wirepost.yaml:"), "{error}");
    write(&folder.path().join("wirepost.yaml"), &good);
    fs::remove_file(folder.path().join("plugins/stop_words.wasm")).unwrap();
    let error = start(folder.path(), true).await.unwrap_err();
    assert!(explain(&error).contains("stop_words.wasm"), "{error}");
    start(folder.path(), false).await.unwrap().stop(None).await;
}

#[tokio::test]
async fn without_a_last_good_state_what_is_broken_does_not_start() {
    let (folder, _relay, _smsc) = stopped().await;
    let good = yaml(folder.path());
    fs::remove_dir_all(folder.path().join("spool/last-good")).unwrap();
    write(&folder.path().join("wirepost.yaml"), &good.replace("routes:\n", "routes: [\n"));
    assert!(matches!(start(folder.path(), false).await, Err(StartError::Config(_))));
    write(&folder.path().join("wirepost.yaml"), &good);
    fs::remove_file(folder.path().join("plugins/stop_words.wasm")).unwrap();
    assert!(matches!(start(folder.path(), false).await, Err(StartError::Plugins(_))));
}

#[tokio::test]
async fn included_routes_and_tables_are_kept_and_secrets_are_not() {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let whole = config(relay.address, smsc.address, "").replace("secret }", "{ file: secret } }");
    let folder = folder(&format!(
        "tables: {{ t: {{ file: t.csv }} }}\n{}",
        whole.replace("routes:\n", "routes: { include: routes.d/*.yaml }\n")
    ));
    let place = |name: &str| folder.path().join(name);
    fs::create_dir(place("routes.d")).unwrap();
    write(&place("routes.d/all.yaml"), ROUTES);
    write(&place("t.csv"), "a,b\n");
    write(&place("secret"), "secret\n");
    let folder = World::start_in(folder).await.stop().await;
    for entry in fs::read_dir(folder.path().join("spool/last-good/contents")).unwrap() {
        assert_ne!(fs::read(entry.unwrap().path()).unwrap(), b"secret\n");
    }
    fs::remove_dir_all(folder.path().join("routes.d")).unwrap();
    write(&folder.path().join("t.csv"), "a,b\na,c\n");
    let world = World::start_in(folder).await;
    assert!(world.app().router.generation().health.config.is_some());
    taken(&world, "hello").await;
    smsc.wait(1).await;
}
