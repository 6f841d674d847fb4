//! Files that arrive in the plugin folder under traffic: bad ones by the dozen, and good ones again and
//! again. `cargo xtask soak hostile` has the long forms.

use std::fs;
use std::sync::Arc;

use bytes::Bytes;
use wirepost::plugin::Module;
use wirepost_tests::plugins::{install, module};
use wirepost_tests::wait::until;
use wirepost_tests::world::{ROUTES, config, folder};
use wirepost_tests::{Relay, Smsc, Traffic, World};

const AUTO: &str = "plugins: { auto: true }\n";
/// Bad files at a time; `WIREPOST_DROPS` asks for more.
const DROPS: usize = 10;
/// Swaps, one after the other; `WIREPOST_SWAPS` asks for more.
const SWAPS: u64 = 5;

fn number<T: std::str::FromStr>(variable: &str, otherwise: T) -> T {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

async fn world() -> (World, Relay, Smsc) {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let folder = folder(&format!("{AUTO}{}", config(relay.address, smsc.address, ROUTES)));
    install(folder.path(), "scribe.wasm", &module("scribe.wasm"));
    (World::start_in(folder).await, relay, smsc)
}

/// Octets that are no plugin any more, each in another way.
fn broken(whole: &[u8], count: usize) -> Vec<Vec<u8>> {
    let mut state = 1_u64;
    let mut broken = Vec::new();
    while broken.len() < count {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = usize::try_from(state >> 33).unwrap() % whole.len();
        let mut octets = whole.to_vec();
        match broken.len() % 4 {
            0 => octets.truncate(at),
            1 => octets[at] ^= 0x55,
            2 => drop(octets.drain(at..(at + 9).min(whole.len()))),
            _ => octets = b"#!/bin/sh\necho no plugin\n".iter().copied().cycle().take(at).collect(),
        }
        if Module::read(&Bytes::from(octets.clone()), None).is_err() {
            broken.push(octets);
        }
    }
    broken
}

/// What a module with other bytes, which mean the same, is called in a log.
fn build_of(bytes: &[u8], number: u64) -> Vec<u8> {
    // A custom section without a meaning (WebAssembly core §5.5.3).
    [bytes, &[0, 13, 4, b's', b'w', b'a', b'p'], &number.to_be_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_files_dropped_under_traffic_are_each_refused_and_stop_nothing() {
    let (world, _relay, smsc) = world().await;
    let shop = Arc::new(world.shop().await);
    let traffic = Traffic::start(&shop);
    traffic.goes_on().await;
    let before = world.app().reload.plugins();
    let all = broken(&module("scribe.wasm"), number("WIREPOST_DROPS", DROPS));
    for (index, octets) in all.iter().enumerate() {
        install(world.folder.path(), &format!("bad-{index:03}.wasm"), octets);
    }
    traffic.goes_on().await;
    // One of them is looked at after all of them have arrived.
    let report = until("a report that names the last one", || {
        let report = world.app().reload.last()?;
        let last = format!("bad-{:03}.wasm", all.len() - 1);
        report.lines.iter().any(|line| line.contains(&last)).then_some(report)
    })
    .await;
    for line in &report.lines {
        assert_eq!(line.lines().count(), 1, "{line}");
    }
    assert_eq!(world.app().reload.plugins(), before);
    traffic.goes_on().await;
    for index in 0..all.len() {
        fs::remove_file(world.folder.path().join(format!("plugins/bad-{index:03}.wasm"))).unwrap();
    }
    install(world.folder.path(), "scribe.wasm", &build_of(&module("scribe.wasm"), 1));
    until("the good one", || (world.app().reload.plugins() != before).then_some(())).await;
    let sent = traffic.stop().await;
    world.wait_empty().await;
    assert_eq!(smsc.taken().len(), sent);
    assert!(!shop.is_gone());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_swapped_again_and_again_under_load_fails_nobody() {
    let (world, _relay, smsc) = world().await;
    let shop = Arc::new(world.shop().await);
    let traffic = Traffic::start(&shop);
    let bytes = module("scribe.wasm");
    for swap in 0..number("WIREPOST_SWAPS", SWAPS) {
        let before = world.app().reload.plugins();
        install(world.folder.path(), "scribe.wasm", &build_of(&bytes, swap));
        until("the new plugin", || (world.app().reload.plugins() != before).then_some(())).await;
        traffic.goes_on().await;
    }
    let sent = traffic.stop().await;
    world.wait_empty().await;
    assert_eq!(smsc.taken().len(), sent);
    assert!(!shop.is_gone());
}
