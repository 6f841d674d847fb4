//! A small helping of `cargo xtask soak overload`: more than can be carried, and who suffers.

use std::collections::BTreeSet;
use std::time::Duration;

use smpp::{Sm, Status};
use tokio::net::TcpStream;
use wirepost::queue::loaded::LOADED_BYTES_MAX;
use wirepost_tests::sms::text;
use wirepost_tests::wait::until;
use wirepost_tests::world::{self, relay_connector, smsc_connector};
use wirepost_tests::{Answer, Esme, Relay, Smsc, World};

/// Messages for the good target, which takes 500 in a second.
const FLOOD: usize = 3000;
/// Messages for the dead one.
const DEFERRED: usize = 1500;
/// Connections that say nothing.
const IDLE: usize = 300;

fn words(sms: &[Sm]) -> BTreeSet<String> {
    sms.iter().map(|sm| String::from_utf8_lossy(&sm.short_message).into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_beside_slow_and_dead_targets_loses_nothing_and_starves_nobody() {
    let relay = Relay::start().await;
    let good = Smsc::start_with(|number, _| Answer { cut: number == 1000, ..Answer::default() });
    let slow =
        Smsc::start_with(|_, _| Answer { delay: Duration::from_millis(500), ..Answer::default() });
    let (good, slow, dead) = (good.await, slow.await, Smsc::start().await.stop().await);
    let account = "  shop: { smpp: { system_id: shop, password: secret } }\n";
    let accounts = format!("{account}{}", account.replace("shop", "alarm"));
    let base = world::base()
        .replace(account, &accounts)
        .replace("tarpit: 0ms", "tarpit: 0ms, max_connections_per_ip: 1000");
    let config = format!(
        "{base}connectors:\n{}{}{}{}routes:\n  - {{ name: slow, when: {{ to: {{ prefix: \"+3361\" }} }}, to: slow }}\n  - {{ name: dead, when: {{ to: {{ prefix: \"+3362\" }} }}, to: dead }}\n  - {{ name: good, to: good }}\n",
        relay_connector(relay.address),
        smsc_connector("good", good.address).replace("window: 50,", "window: 50, rate: 500/s,"),
        smsc_connector("slow", slow.address).replace("window: 50,", "window: 10,"),
        smsc_connector("dead", dead),
    );
    let world = World::start(&config).await;
    for name in ["good", "slow"] {
        world.wait_target(name, true).await;
    }
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(TcpStream::connect(world.address("mail")).await.unwrap());
    }
    let shop = world.shop().await;
    shop.submit_all((0..DEFERRED).map(|n| text("33621234567", &n.to_string()))).await;
    shop.submit_all((0..60).map(|n| text("33611234567", &format!("slow {n}")))).await;
    shop.submit_all((0..FLOOD).map(|n| text("33601234567", &n.to_string()))).await;
    let alarm = Esme::bind(world.address("esmes"), "alarm", "secret").await;
    for n in 0..5 {
        let word = format!("alarm {n}");
        assert_eq!(alarm.submit(text("33601234567", &word)).await.0, Status::ROK);
        until(&word, || words(&good.taken()).contains(&word).then_some(())).await;
    }
    let router = &world.app().router;
    let waiting = |name: &str| router.target(name).map_or(0, |target| target.len());
    assert!(waiting("good") > 0, "the alarms did not wait for the flood");
    assert!(router.loaded_bytes() <= LOADED_BYTES_MAX);
    until("the flood to come out", || (waiting("good") == 0).then_some(())).await;
    let wanted: BTreeSet<String> =
        (0..FLOOD).map(|n| n.to_string()).chain((0..5).map(|n| format!("alarm {n}"))).collect();
    assert_eq!(words(&good.taken()), wanted);
    slow.wait(60).await;
    assert_eq!(waiting("dead"), DEFERRED);
    let stalled: Vec<_> = router
        .targets()
        .into_iter()
        .filter(|it| it.is_stalled())
        .map(|it| it.name.clone())
        .collect();
    assert!(stalled.is_empty(), "{stalled:?}");
    drop(idle);
}

#[tokio::test]
async fn a_full_queue_has_room_left_for_accounts_that_have_little_in_it() {
    let (relay, dead) = (Relay::start().await, Smsc::start().await.stop().await);
    let account = "  shop: { smpp: { system_id: shop, password: secret } }\n";
    let accounts = format!("{account}{}", account.replace("shop", "alarm"));
    let base = world::base().replace(account, &accounts);
    let smsc = smsc_connector("smsc", dead).replace("    retry:", "    queue_max: 50\n    retry:");
    let relay = relay_connector(relay.address);
    let config =
        format!("{base}connectors:\n{relay}{smsc}routes:\n  - {{ name: all, to: smsc }}\n");
    let world = World::start(&config).await;
    let shop = world.shop().await;
    let alarm = Esme::bind(world.address("esmes"), "alarm", "secret").await;
    for (esme, taken) in [(&shop, 45), (&alarm, 5)] {
        for n in 0..taken {
            let (status, _) = esme.submit(text("33601234567", "x")).await;
            assert_eq!(status, Status::ROK, "{n} of {taken}");
        }
        let (status, _) = esme.submit(text("33601234567", "too many")).await;
        assert_eq!(status, Status::RMSGQFUL);
    }
    assert_eq!(world.queued(Some("smsc")), 50);
}
