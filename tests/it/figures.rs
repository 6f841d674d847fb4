//! What plugins count is on the metrics page.

use std::fs;

use smpp::Status;
use wirepost_tests::plugins::{another_build_of, install, module};
use wirepost_tests::sms::text;
use wirepost_tests::wait::until;
use wirepost_tests::world::{ROUTES, config, folder};
use wirepost_tests::{Relay, Smsc, World};

const SETTINGS: &str = "admin: { http: \"127.0.0.1:0\" }
plugins:
  - { name: clerk, module: clerk.wasm, on_error: reject }
";

async fn world() -> (World, Relay, Smsc) {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let folder = folder(&format!("{SETTINGS}{}", config(relay.address, smsc.address, ROUTES)));
    install(folder.path(), "clerk.wasm", &module("clerk.wasm"));
    (World::start_in(folder).await, relay, smsc)
}

async fn submit(world: &World, words: &str) -> Status {
    let shop = world.shop().await;
    let (status, _) = shop.submit(text("33612345678", words)).await;
    shop.cut().await;
    status
}

/// The page, which must have these lines.
async fn page(world: &World, lines: &[&str]) -> String {
    let page = world.page("/metrics").await;
    for line in lines {
        assert!(page.lines().any(|had| had == *line), "{line} is not in:\n{page}");
    }
    page
}

#[tokio::test]
async fn what_a_plugin_counts_gauges_and_observes_is_scraped() {
    let (world, _relay, _smsc) = world().await;
    for words in ["count hits", "count hits", "gauge depth 2.5", "observe took 0.3"] {
        assert_eq!(submit(&world, words).await, Status::ROK);
    }
    assert_ne!(submit(&world, "count-and-fail hits").await, Status::ROK);
    let page = page(
        &world,
        &[
            "# TYPE wirepost_plugin_counter counter",
            "wirepost_plugin_counter_total{plugin=\"clerk\",name=\"hits\"} 3",
            "wirepost_plugin_counter_total{plugin=\"clerk\",name=\"seen\"} 5",
            "# TYPE wirepost_plugin_gauge gauge",
            "wirepost_plugin_gauge{plugin=\"clerk\",name=\"depth\"} 2.5",
            "# TYPE wirepost_plugin_histogram histogram",
            "wirepost_plugin_histogram_sum{plugin=\"clerk\",name=\"took\"} 0.3",
            "wirepost_plugin_histogram_count{plugin=\"clerk\",name=\"took\"} 1",
            "wirepost_plugin_histogram_bucket{le=\"0.25\",plugin=\"clerk\",name=\"took\"} 0",
            "wirepost_plugin_histogram_bucket{le=\"0.5\",plugin=\"clerk\",name=\"took\"} 1",
            "wirepost_plugin_metrics_refused_total{plugin=\"clerk\"} 0",
        ],
    )
    .await;
    assert!(page.contains("name=\"started\""), "what an instance counts when it starts: {page}");
    let kept = fs::read_to_string(world.config()).unwrap();
    world.reload(&kept.replace("name: mails", "name: mail-out")).await;
    let hits = "wirepost_plugin_counter_total{plugin=\"clerk\",name=\"hits\"} 3";
    self::page(&world, &[hits]).await;
    let before = world.app().reload.plugins();
    install(world.folder.path(), "clerk.wasm", &another_build_of(&module("clerk.wasm"), 1));
    until("the new plugin", || (world.app().reload.plugins() != before).then_some(())).await;
    let page = world.page("/metrics").await;
    assert!(!page.contains("name=\"hits\""), "other bytes begin anew: {page}");
    world
        .reload(
            &kept.replace("  - { name: clerk, module: clerk.wasm, on_error: reject }\n", "  []\n"),
        )
        .await;
    assert!(!world.page("/metrics").await.contains("plugin=\"clerk\""));
}

#[tokio::test]
async fn a_plugin_that_makes_up_names_fills_no_page() {
    let (world, _relay, _smsc) = world().await;
    assert_eq!(submit(&world, "names 1000").await, Status::ROK);
    let page = world.page("/metrics").await;
    let names = page.matches("wirepost_plugin_counter_total{").count();
    assert_eq!(names, 64, "{page}");
    assert!(page.contains("wirepost_plugin_metrics_refused_total{plugin=\"clerk\"} 938"), "{page}");
}
