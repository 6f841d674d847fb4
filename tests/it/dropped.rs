//! Plugins that are dropped into the folder without being named, and files that change in the many
//! ways in which files change.

use std::fs;
use std::sync::Arc;

use wirepost_tests::plugins::{another_build_of, install, module};
use wirepost_tests::sms::text;
use wirepost_tests::wait::until;
use wirepost_tests::world::{ROUTES, config, folder};
use wirepost_tests::{Relay, Smsc, Traffic, World};

const AUTO: &str = "plugins: { auto: true }\n";

async fn world(plugins: &str) -> (World, Relay, Smsc) {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let config = config(relay.address, smsc.address, ROUTES);
    let folder = folder(&format!("{plugins}{config}"));
    fs::create_dir(folder.path().join("plugins")).unwrap();
    (World::start_in(folder).await, relay, smsc)
}

/// The names of the plugins that run, in their order.
fn names(world: &World) -> Vec<String> {
    let labels = world.app().reload.plugins();
    labels.iter().filter_map(|label| Some(label.split_once('@')?.0.to_owned())).collect()
}

async fn wait_names(world: &World, wanted: &[&str]) {
    until(&format!("plugins {wanted:?}"), || (names(world) == wanted).then_some(())).await;
}

/// Waits until another build of the same plugins runs.
async fn wait_other(world: &World, than: &[String]) {
    until("another build", || (world.app().reload.plugins() != than).then_some(())).await;
}

#[tokio::test]
async fn a_dropped_plugin_is_loaded_replaced_kept_and_retired_under_traffic_and_nobody_fails() {
    let (world, _relay, smsc) = world(AUTO).await;
    let shop = Arc::new(world.shop().await);
    let traffic = Traffic::start(&shop);
    traffic.goes_on().await;
    let bytes = module("scribe.wasm");
    install(world.folder.path(), "scribe.wasm", &bytes);
    wait_names(&world, &["scribe"]).await;
    traffic.goes_on().await;
    let before = world.app().reload.plugins();
    install(world.folder.path(), "scribe.wasm", &another_build_of(&bytes, 1));
    wait_other(&world, &before).await;
    let running = world.app().reload.plugins();
    install(world.folder.path(), "scribe.wasm", &bytes[..bytes.len() / 2]);
    let report =
        until("the refusal", || world.app().reload.last().filter(|report| !report.ok)).await;
    assert!(report.lines.join("\n").contains("scribe.wasm"), "{report:?}");
    assert_eq!(world.app().reload.plugins(), running);
    traffic.goes_on().await;
    fs::remove_file(world.folder.path().join("plugins/scribe.wasm")).unwrap();
    wait_names(&world, &[]).await;
    traffic.goes_on().await;
    let sent = traffic.stop().await;
    world.wait_empty().await;
    assert_eq!(smsc.taken().len(), sent);
    assert!(!shop.is_gone());
}

#[tokio::test]
async fn dropped_plugins_run_after_named_ones_in_the_order_of_their_names() {
    let named = "plugins: { auto: true, list: [{ name: z-first, module: trap.wasm }] }\n";
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let config = config(relay.address, smsc.address, ROUTES);
    let folder = folder(&format!("{named}{config}"));
    for (name, from) in
        [("trap.wasm", "trap.wasm"), ("b.wasm", "scribe.wasm"), ("a.wasm", "liar.wasm")]
    {
        install(folder.path(), name, &module(from));
    }
    let world = World::start_in(folder).await;
    assert_eq!(names(&world), ["z-first", "a", "b"]);
    world.shop().await.submit(text("33612345678", "text dropped")).await;
    assert_eq!(smsc.wait(1).await[0].short_message, "dropped");
}

#[tokio::test]
async fn dropped_plugins_get_the_grants_of_the_folder() {
    let granted = "plugins: { auto: true, defaults: { grants: { fork: 2, recipients: [{ prefix: \"+336\" }] } } }\n";
    for (plugins, copies) in [(AUTO, 0), (granted, 1)] {
        let (world, _relay, smsc) = world(plugins).await;
        install(world.folder.path(), "scribe.wasm", &module("scribe.wasm"));
        wait_names(&world, &["scribe"]).await;
        world.shop().await.submit(text("33612345678", "fork +33600000000 twin")).await;
        if copies == 0 {
            until("a fault", || {
                let waits = world.app().router.list(None, 10).unwrap();
                waits.iter().any(|shown| shown.why.contains("scribe")).then_some(())
            })
            .await;
        } else {
            assert_eq!(smsc.wait(2).await.len(), 2);
        }
    }
}

#[tokio::test]
async fn a_file_that_nothing_names_is_listed_as_unused() {
    let (world, _relay, _smsc) = world("").await;
    install(world.folder.path(), "scribe.wasm", &module("scribe.wasm"));
    let report = world.app().reload.reload(false).await;
    assert_eq!(report.unused, [Arc::from("scribe.wasm")]);
    assert_eq!(world.status().await["plugins_unused"][0], "scribe.wasm");
    assert_eq!(names(&world), Vec::<String>::new());
}

#[tokio::test]
async fn a_dropped_file_that_never_ran_and_is_broken_at_the_start_does_not_keep_the_router_down() {
    let (world, _relay, smsc) = world(AUTO).await;
    install(world.folder.path(), "scribe.wasm", &module("scribe.wasm"));
    wait_names(&world, &["scribe"]).await;
    let folder = world.stop().await;
    install(folder.path(), "new.wasm", b"\0asm");
    install(folder.path(), "scribe.wasm", b"\0asm");
    let world = World::start_in(folder).await;
    assert_eq!(names(&world), ["scribe"]);
    let status = world.status().await;
    assert!(status["plugins_refused"]["new.wasm"].is_string(), "{status}");
    assert!(status["plugins_stale"]["scribe"].is_string(), "{status}");
    world.shop().await.submit(text("33612345678", "text dropped")).await;
    assert_eq!(smsc.wait(1).await[0].short_message, "dropped");
}

#[tokio::test]
async fn a_name_that_two_plugins_would_have_is_refused() {
    let named = "plugins: { auto: true, list: [{ name: scribe, module: trap.wasm }] }\n";
    let (world, _relay, _smsc) = {
        let (relay, smsc) = (Relay::start().await, Smsc::start().await);
        let config = config(relay.address, smsc.address, ROUTES);
        let folder = folder(&format!("{named}{config}"));
        install(folder.path(), "trap.wasm", &module("trap.wasm"));
        (World::start_in(folder).await, relay, smsc)
    };
    install(world.folder.path(), "scribe.wasm", &module("scribe.wasm"));
    let report = world.app().reload.reload(false).await;
    assert!(!report.ok && report.lines[0].contains("another plugin"), "{report:?}");
    assert_eq!(names(&world), ["scribe"]);
}

/// A change of a file, and how it is made.
type Change = fn(&std::path::Path, &[u8]);

#[tokio::test]
async fn however_a_module_is_replaced_the_whole_new_one_runs_and_nobody_fails() {
    let ways: [(&str, Change); 5] = [
        ("written in place, in two halves", |path, bytes| {
            use std::io::Write;
            let mut file = fs::File::create(path).unwrap();
            file.write_all(&bytes[..bytes.len() / 2]).unwrap();
            file.sync_all().unwrap();
            file.write_all(&bytes[bytes.len() / 2..]).unwrap();
        }),
        ("renamed over", |path, bytes| {
            let new = path.with_extension("tmp");
            fs::write(&new, bytes).unwrap();
            fs::rename(new, path).unwrap();
        }),
        ("moved away and written anew, as some editors do", |path, bytes| {
            fs::rename(path, path.with_extension("wasm~")).unwrap();
            fs::write(path, bytes).unwrap();
        }),
        ("removed, then a symbolic link", |path, bytes| {
            let real = path.with_extension("v2");
            fs::write(&real, bytes).unwrap();
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink(real, path).unwrap();
        }),
        ("a symbolic link renamed over, as Kubernetes does", |path, bytes| {
            let (real, link) = (path.with_extension("v3"), path.with_extension("link"));
            fs::write(&real, bytes).unwrap();
            std::os::unix::fs::symlink(real, &link).unwrap();
            fs::rename(link, path).unwrap();
        }),
    ];
    let (world, _relay, smsc) = world(AUTO).await;
    let bytes = module("scribe.wasm");
    install(world.folder.path(), "scribe.wasm", &bytes);
    wait_names(&world, &["scribe"]).await;
    let shop = Arc::new(world.shop().await);
    let traffic = Traffic::start(&shop);
    for (mark, (way, change)) in (1..).zip(ways) {
        let path = world.folder.path().join("plugins/scribe.wasm");
        let bytes = another_build_of(&bytes, mark);
        change(&path, &bytes);
        until(way, || {
            let generation = world.app().router.generation();
            let slot = generation.plugins.first()?;
            (slot.sha256 == sha256(&bytes)).then_some(())
        })
        .await;
        traffic.goes_on().await;
    }
    let sent = traffic.stop().await;
    world.wait_empty().await;
    assert_eq!(smsc.taken().len(), sent);
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    wirepost::plugin::Module::read(&bytes::Bytes::copy_from_slice(bytes), None).unwrap().sha256
}

#[tokio::test]
async fn a_dry_run_names_what_would_change_for_plugins() {
    let (world, _relay, _smsc) = world("plugins: { auto: true, folder: plugins }\n").await;
    install(world.folder.path(), "scribe.wasm", &module("scribe.wasm"));
    wait_names(&world, &["scribe"]).await;
    install(world.folder.path(), "liar.wasm", &module("liar.wasm"));
    install(world.folder.path(), "scribe.wasm", &another_build_of(&module("scribe.wasm"), 1));
    let report = world.app().reload.reload(true).await;
    let said = report.lines.join("\n");
    assert!(report.ok && said.contains("plugin liar@") && said.contains(" loaded"), "{said}");
    assert!(said.contains("loaded instead of scribe@"), "{said}");
    fs::remove_file(world.folder.path().join("plugins/liar.wasm")).unwrap();
    fs::remove_file(world.folder.path().join("plugins/scribe.wasm")).unwrap();
    wait_names(&world, &[]).await;
}
