//! Changes while it runs: all or nothing, and nobody notices but those whom it concerns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use smpp::Status;
use wirepost_tests::mailer::mail;
use wirepost_tests::sms::text;
use wirepost_tests::wait::until;
use wirepost_tests::world::{ROUTES, base, config, relay_connector, smsc_connector};
use wirepost_tests::{Answer, Relay, Smsc, World};

struct Two {
    world: World,
    relay: Relay,
    first: Smsc,
    second: Smsc,
}

impl Two {
    async fn start() -> Self {
        let (relay, first, second) =
            (Relay::start().await, Smsc::start().await, Smsc::start().await);
        let world = World::start(&two(&relay, &first, &second, "smsc-a")).await;
        world.wait_target("smsc-a", true).await;
        world.wait_target("smsc-b", true).await;
        Self { world, relay, first, second }
    }

    fn config(&self, numbers_to: &str) -> String {
        two(&self.relay, &self.first, &self.second, numbers_to)
    }
}

fn two(relay: &Relay, first: &Smsc, second: &Smsc, numbers_to: &str) -> String {
    format!(
        "{}connectors:\n{}{}{}routes:\n{}",
        base(),
        relay_connector(relay.address),
        smsc_connector("smsc-a", first.address),
        smsc_connector("smsc-b", second.address),
        ROUTES.replace("to: smsc,", &format!("to: {numbers_to},")),
    )
}

#[tokio::test]
async fn a_changed_route_takes_effect_and_no_session_or_bind_is_dropped() {
    let two = Two::start().await;
    let shop = two.world.shop().await;
    let mut mailer = two.world.mailer().await;
    shop.submit(text("33612345678", "before")).await;
    assert_eq!(two.first.wait(1).await[0].short_message, "before");
    two.world.reload(&two.config("smsc-b")).await;
    shop.submit(text("33612345678", "after")).await;
    assert_eq!(two.second.wait(1).await[0].short_message, "after");
    let reply = mailer.send("a@example.org", &["0612345678@sms.test"], &mail("x", "y")).await;
    assert!(reply.starts_with("250"), "{reply}");
    two.second.wait(2).await;
    assert_eq!((two.first.binds(), two.second.binds()), (1, 1));
    assert_eq!(two.first.taken().len(), 1);
    assert!(!shop.is_gone());
    let report = two.world.app().reload.last().unwrap();
    assert!(report.ok && report.lines.iter().any(|line| line.contains("routes")), "{report:?}");
}

#[tokio::test]
async fn a_broken_configuration_is_refused_with_its_place_and_the_last_good_one_goes_on() {
    let two = Two::start().await;
    let shop = two.world.shop().await;
    for (good, bad) in
        [("routes:\n", "routes: [\n"), ("to: smsc-a,", "to: smsc-z,"), ("spool: {", "spoool: {")]
    {
        let broken = two.config("smsc-a").replace(good, bad);
        two.world.write_config(&broken);
        let report = two.world.app().reload.reload(false).await;
        assert!(!report.ok, "{bad}: {report:?}");
        let last = two.world.app().reload.last().unwrap();
        assert!(!last.ok);
        let said = last.lines.join("\n");
        assert!(said.contains("wirepost.yaml:"), "{bad}: {said}");
        assert_eq!(shop.submit(text("33612345678", "on")).await.0, Status::ROK);
    }
    two.first.wait(3).await;
    two.world.reload(&two.config("smsc-b")).await;
    shop.submit(text("33612345678", "mended")).await;
    assert_eq!(two.second.wait(1).await[0].short_message, "mended");
}

#[tokio::test]
async fn a_mistake_that_is_taken_back_is_not_held_against_anybody() {
    let two = Two::start().await;
    two.world.write_config("routes: [");
    let reload = &two.world.app().reload;
    assert!(!reload.reload(false).await.ok);
    assert!(!reload.last().unwrap().ok);
    two.world.write_config(&two.config("smsc-a"));
    assert!(reload.reload(true).await.ok);
    assert!(!reload.last().unwrap().ok, "a dry run changes nothing");
    let report = reload.reload(false).await;
    assert!(report.ok && report.generation == 1, "{report:?}");
    assert!(reload.last().unwrap().ok);
}

#[tokio::test]
async fn what_needs_a_restart_is_refused_by_name() {
    let two = Two::start().await;
    let moved = two.config("smsc-b").replace("path: spool", "path: elsewhere");
    two.world.write_config(&moved);
    let report = two.world.app().reload.reload(false).await;
    assert!(!report.ok && report.lines.join("\n").contains("spool"), "{report:?}");
    two.world.shop().await.submit(text("33612345678", "still a")).await;
    two.first.wait(1).await;
}

#[tokio::test]
async fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let two = Two::start().await;
    two.world.write_config(&two.config("smsc-b").replace("name: numbers", "name: digits"));
    let report = two.world.app().reload.reload(true).await;
    assert!(report.ok && !report.lines.is_empty(), "{report:?}");
    // The change is still to be made by the file's own reload, which would find nothing to do if
    // the dry run had made it.
    let last = until("the real reload", || two.world.app().reload.last()).await;
    assert!(last.ok && last.lines == report.lines, "{last:?}");
    assert_eq!(last.generation, 2);
}

#[tokio::test]
async fn the_session_of_an_account_that_is_removed_or_changes_its_password_ends() {
    let two = Two::start().await;
    for change in ["secret", "other"] {
        let shop = two.world.shop().await;
        assert_eq!(shop.submit(text("33612345678", "x")).await.0, Status::ROK);
        let without = match change {
            "secret" => two.config("smsc-a").replace("system_id: shop", "system_id: shop2"),
            _ => two.config("smsc-a").replace("password: secret", "password: other"),
        };
        two.world.reload(&without).await;
        until("the end of the session", || shop.is_gone().then_some(())).await;
        two.world.reload(&two.config("smsc-a")).await;
    }
    let shop = two.world.shop().await;
    let without = two.config("smsc-a").replace(
        "  shop: { smpp: { system_id: shop, password: secret } }",
        "  other: { smpp: { system_id: o, password: p } }",
    );
    two.world.reload(&without).await;
    until("the end of the session", || shop.is_gone().then_some(())).await;
}

#[tokio::test]
async fn a_connector_comes_and_goes_with_the_configuration() {
    let (relay, first, second) = (Relay::start().await, Smsc::start().await, Smsc::start().await);
    let world = World::start(&config(relay.address, first.address, ROUTES)).await;
    world.wait_target("smsc", true).await;
    let shop = world.shop().await;
    let more = format!(
        "{}connectors:\n{}{}{}routes:\n{}",
        base(),
        relay_connector(relay.address),
        smsc_connector("smsc", first.address),
        smsc_connector("more", second.address),
        ROUTES.replace("to: smsc,", "to: more,"),
    );
    world.reload(&more).await;
    shop.submit(text("33612345678", "to the new one")).await;
    second.wait(1).await;
    assert_eq!(first.binds(), 1);
    world.reload(&config(relay.address, first.address, ROUTES)).await;
    assert!(world.app().router.target("more").is_none());
    shop.submit(text("33612345678", "to the old one")).await;
    assert_eq!(first.wait(1).await.len(), 1);
    assert_eq!((first.binds(), second.taken().len()), (1, 1));
}

#[tokio::test]
async fn what_waits_for_a_connector_that_is_removed_finds_another_way() {
    let two = Two::start().await;
    two.world.reload(&two.config("smsc-b")).await;
    let Two { world, relay, first, second } = two;
    second.stop().await;
    world.wait_target("smsc-b", false).await;
    let shop = world.shop().await;
    shop.submit_all((0..20).map(|n| text("33612345678", &n.to_string()))).await;
    assert_eq!(world.queued(Some("smsc-b")), 20);
    let without = format!(
        "{}connectors:\n{}{}routes:\n{}",
        base(),
        relay_connector(relay.address),
        smsc_connector("smsc-a", first.address),
        ROUTES.replace("to: smsc,", "to: smsc-a,"),
    );
    world.reload(&without).await;
    first.wait(20).await;
    world.wait_empty().await;
    assert_eq!(first.taken().len(), 20);
}

#[tokio::test]
async fn files_that_change_under_load_are_reloaded_and_nobody_fails() {
    let (relay, first, second) = (
        Relay::start().await,
        Smsc::start_with(|_, _| Answer::default()).await,
        Smsc::start().await,
    );
    let world = World::start(&two(&relay, &first, &second, "smsc-a")).await;
    world.wait_target("smsc-a", true).await;
    world.wait_target("smsc-b", true).await;
    let shop = Arc::new(world.shop().await);
    let done = Arc::new(AtomicBool::new(false));
    let mut load = tokio::task::JoinSet::new();
    let (sender, stop) = (Arc::clone(&shop), Arc::clone(&done));
    load.spawn(async move {
        let mut sent = 0;
        while !stop.load(Ordering::Acquire) {
            // All must be taken: `submit_all` insists.
            sent +=
                sender.submit_all((0..50).map(|n| text("33612345678", &n.to_string()))).await.len();
        }
        sent
    });
    for (generation, target) in (2..).zip(["smsc-b", "smsc-a", "smsc-b"]) {
        world.write_config(&two(&relay, &first, &second, target));
        until("the reload", || {
            (world.app().router.generation().number >= generation).then_some(())
        })
        .await;
    }
    done.store(true, Ordering::Release);
    let sent = load.join_next().await.unwrap().unwrap();
    world.wait_empty().await;
    assert_eq!(first.taken().len() + second.taken().len(), sent);
    assert!(!second.taken().is_empty());
    assert_eq!((first.binds(), second.binds()), (1, 1));
    assert!(!shop.is_gone());
}
