//! Queues and what operators do to them: nothing is lost, nobody waits for another's flood.

use std::time::Duration;

use smpp::{Sm, Status};
use wirepost::config::Glob;
use wirepost::queue::loaded::LOADED_BYTES_MAX;
use wirepost::router::{Act, Filter, JobShown};
use wirepost::target::StopKind;
use wirepost_tests::mailer::mail;
use wirepost_tests::sms::text;
use wirepost_tests::wait::until;
use wirepost_tests::world::{self, ROUTES, config, connectors, relay_connector, smsc_connector};
use wirepost_tests::{Answer, Esme, Relay, Smsc, World};

const HOLD: &str =
    "  - { name: look, when: { to: { prefix: \"+337\" } }, to: { hold: look at it } }\n";

async fn world_with(routes: &str) -> (World, Relay, Smsc) {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let world = World::start(&config(relay.address, smsc.address, routes)).await;
    (world, relay, smsc)
}

fn words(sms: &[Sm]) -> Vec<String> {
    sms.iter().map(|sm| String::from_utf8_lossy(&sm.short_message).into_owned()).collect()
}

/// The only delivery that waits, anywhere.
async fn only(world: &World) -> String {
    until("one delivery", || {
        let all = world.app().router.list(None, 10).unwrap();
        (all.len() == 1).then(|| all[0].id.clone())
    })
    .await
}

async fn act(world: &World, act: Act, id: &str) {
    let results = world.app().router.act_on(act, &[id.parse().unwrap()], &"a test".into()).await;
    assert_eq!(results[0].1, Ok(()), "{act:?} {id}");
}

/// Runs a job to its end.
async fn job(world: &World, act: Act, filter: Filter, dry_run: bool) -> JobShown {
    let router = &world.app().router;
    let id = router.start_job(act, filter, &"a test".into(), dry_run).unwrap();
    until("the end of a job", || router.job(id).filter(|job| job.state != "running")).await
}

#[tokio::test]
async fn a_suspended_target_gets_nothing_until_it_is_resumed_also_across_a_restart() {
    let (world, _relay, smsc) = world_with(ROUTES).await;
    world.wait_target("smsc", true).await;
    let maintenance = "maintenance".into();
    let order = |kind| world.app().router.order("smsc", kind, &maintenance);
    order(Some(StopKind::Suspended)).await.unwrap();
    let (status, _) = world.shop().await.submit(text("33612345678", "later")).await;
    assert_eq!(status, Status::ROK);
    let world = world.restart().await;
    world.wait_target("smsc", true).await;
    let router = &world.app().router;
    assert!(router.waits_for("smsc").contains("suspended"), "{}", router.waits_for("smsc"));
    assert!(router.waits_for("smsc").contains("maintenance"));
    assert_eq!((smsc.taken().len(), world.queued(Some("smsc"))), (0, 1));
    router.order("smsc", None, &"done".into()).await.unwrap();
    assert_eq!(words(&smsc.wait(1).await), ["later"]);
}

#[tokio::test]
async fn a_target_that_is_drained_takes_nothing_new_and_sends_what_waits() {
    let relay = Relay::start().await;
    let smsc =
        Smsc::start_with(|_, _| Answer { delay: Duration::from_millis(300), ..Answer::default() })
            .await;
    let world = World::start(&config(relay.address, smsc.address, ROUTES)).await;
    world.wait_target("smsc", true).await;
    let shop = world.shop().await;
    shop.submit_all((0..100).map(|n| text("33612345678", &n.to_string()))).await;
    world.app().router.order("smsc", Some(StopKind::Draining), &"moving".into()).await.unwrap();
    assert_eq!(shop.submit(text("33612345678", "new")).await.0, Status::RMSGQFUL);
    let mut mailer = world.mailer().await;
    let reply = mailer.send("a@example.org", &["0612345678@sms.test"], &mail("x", "y")).await;
    assert!(reply.starts_with("452"), "{reply}");
    world.wait_empty().await;
    assert_eq!(smsc.taken().len(), 100);
}

#[tokio::test]
async fn what_a_route_holds_goes_on_when_it_is_released_and_its_neighbours_go_once() {
    let (world, _relay, smsc) = world_with(&format!("{HOLD}{ROUTES}")).await;
    let recipients = ["0612345678@sms.test", "0712345678@sms.test", "0612345679@sms.test"];
    let reply = world.mailer().await.send("a@example.org", &recipients, &mail("Hi", "you")).await;
    assert!(reply.starts_with("250"), "{reply}");
    smsc.wait(2).await;
    let id = only(&world).await;
    act(&world, Act::Release, &id).await;
    let taken = smsc.wait(3).await;
    assert_eq!(taken[2].destination.addr.to_string(), "33712345678");
    world.wait_empty().await;
    assert_eq!(smsc.taken().len(), 3);
}

#[tokio::test]
async fn what_an_operator_holds_goes_where_it_was_going_when_it_is_released() {
    let (world, _relay, smsc) = world_with(ROUTES).await;
    world.app().router.order("smsc", Some(StopKind::Suspended), &"a test".into()).await.unwrap();
    world.shop().await.submit(text("33612345678", "wait")).await;
    let id = only(&world).await;
    act(&world, Act::Hold, &id).await;
    assert_eq!(world.app().router.list(None, 10).unwrap()[0].state, "held");
    world.app().router.order("smsc", None, &"a test".into()).await.unwrap();
    act(&world, Act::Release, &id).await;
    assert_eq!(words(&smsc.wait(1).await), ["wait"]);
    world.wait_empty().await;
}

#[tokio::test]
async fn a_job_routes_again_what_waits_for_a_dead_target_and_a_dry_run_changes_nothing() {
    let (relay, first, second) = (Relay::start().await, Smsc::start().await, Smsc::start().await);
    let dead = first.stop().await;
    let configured = |to: &str| {
        format!(
            "{}connectors:\n{}{}{}routes:\n  - {{ name: numbers, to: {to} }}\n",
            world::base(),
            relay_connector(relay.address),
            smsc_connector("smsc-a", dead),
            smsc_connector("smsc-b", second.address),
        )
    };
    let world = World::start(&configured("smsc-a")).await;
    let shop = world.shop().await;
    shop.submit_all((0..1200).map(|n| text("33612345678", &n.to_string()))).await;
    shop.submit_all((0..3).map(|n| text("4915112345678", &format!("other {n}")))).await;
    world.reload(&configured("smsc-b")).await;
    let filter = || Filter {
        target: Some("smsc-a".into()),
        to: Some(Glob::parse("+33*").unwrap()),
        account: Some("shop".into()),
        ..Filter::default()
    };
    let dry = job(&world, Act::Reroute, filter(), true).await;
    assert_eq!((dry.state, dry.matched, dry.done, dry.samples.len()), ("done", 1200, 0, 10));
    assert_eq!(world.queued(Some("smsc-a")), 1203);
    let none = Filter { older_than: Some(Duration::from_secs(3600)), ..filter() };
    assert_eq!(job(&world, Act::Reroute, none, false).await.matched, 0);
    let done = job(&world, Act::Reroute, filter(), false).await;
    assert_eq!((done.state, done.matched, done.done), ("done", 1200, 1200), "{done:?}");
    second.wait(1200).await;
    until("three that are left", || (world.queued(None) == 3).then_some(())).await;
    assert_eq!(second.taken().len(), 1200);
    let rest = job(
        &world,
        Act::Delete,
        Filter { target: Some("smsc-a".into()), ..Filter::default() },
        false,
    );
    assert_eq!(rest.await.done, 3);
    world.wait_empty().await;
}

#[tokio::test]
async fn a_job_can_be_cancelled_and_two_do_not_work_on_the_same_delivery() {
    let (world, _relay, smsc) = world_with(ROUTES).await;
    world.app().router.order("smsc", Some(StopKind::Suspended), &"a test".into()).await.unwrap();
    let shop = world.shop().await;
    shop.submit_all((0..2000).map(|n| text("33612345678", &n.to_string()))).await;
    let router = &world.app().router;
    let all =
        || Filter { state: Some(Filter::state_of("scheduled").unwrap()), ..Filter::default() };
    let id = router.start_job(Act::Hold, all(), &"a test".into(), false).unwrap();
    assert!(router.cancel_job(id));
    let first = until("its end", || router.job(id).filter(|job| job.state != "running")).await;
    assert_eq!(first.state, "cancelled");
    let second = job(&world, Act::Hold, all(), false).await;
    assert_eq!(first.done + second.done, 2000, "{first:?} {second:?}");
    router.order("smsc", None, &"a test".into()).await.unwrap();
    let held = Filter { state: Some(Filter::state_of("held").unwrap()), ..Filter::default() };
    assert_eq!(job(&world, Act::Release, held, false).await.done, 2000);
    smsc.wait(2000).await;
    world.wait_empty().await;
    let mut taken: Vec<u32> = words(&smsc.taken()).iter().map(|it| it.parse().unwrap()).collect();
    taken.sort_unstable();
    assert_eq!(taken, (0..2000).collect::<Vec<_>>(), "each of them once");
}

#[tokio::test]
async fn what_waits_or_is_in_flight_for_a_target_that_is_removed_is_routed_again() {
    let (relay, second) = (Relay::start().await, Smsc::start().await);
    // It takes a window of submits and never answers.
    let first = Smsc::start_with(|_, _| Answer { silent: true, ..Answer::default() }).await;
    let with_first = format!(
        "{}connectors:\n{}{}{}routes:\n  - {{ name: numbers, to: smsc-a }}\n",
        world::base(),
        relay_connector(relay.address),
        smsc_connector("smsc-a", first.address),
        smsc_connector("smsc-b", second.address),
    );
    let without = format!(
        "{}connectors:\n{}{}routes:\n  - {{ name: numbers, to: smsc-b }}\n",
        world::base(),
        relay_connector(relay.address),
        smsc_connector("smsc-b", second.address),
    );
    let impatient =
        |config: String| config.replace("window: 50,", "window: 50, response_timeout: 1s,");
    let (with_first, without) = (impatient(with_first), impatient(without));
    let world = World::start(&with_first).await;
    world.wait_target("smsc-a", true).await;
    let shop = world.shop().await;
    shop.submit_all((0..120).map(|n| text("33612345678", &n.to_string()))).await;
    let target = world.app().router.target("smsc-a").unwrap();
    until("a full window", || (target.counts().2 == 50).then_some(())).await;
    world.reload(&without).await;
    let taken = second.wait(120).await;
    let mut numbers: Vec<u32> = words(&taken).iter().map(|it| it.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..120).collect::<Vec<_>>());
    world.wait_empty().await;
}

#[tokio::test]
async fn what_no_route_takes_after_its_target_is_removed_is_held_with_the_reason() {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let dead = smsc.stop().await;
    let world = World::start(&config(relay.address, dead, ROUTES)).await;
    world.shop().await.submit(text("33612345678", "x")).await;
    let without = format!(
        "{}connectors:\n{}routes:\n  - {{ name: mails, when: {{ to: {{ kind: mailbox }} }}, to: relay }}\n",
        world::base(),
        relay_connector(relay.address),
    );
    world.reload(&without).await;
    let held = until("the hold", || {
        world.app().router.list(None, 10).unwrap().into_iter().find(|it| it.state == "held")
    })
    .await;
    assert!(held.why.contains("no route takes it"), "{}", held.why);
}

#[tokio::test]
async fn what_cannot_be_read_any_more_is_held_and_shown_until_it_is_deleted() {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let dead = smsc.stop().await;
    let world = World::start(&config(relay.address, dead, ROUTES)).await;
    world.shop().await.submit(text("33612345678", "x")).await;
    let id: message::MessageId = only(&world).await.parse().unwrap();
    let spool = &world.app().router.spool;
    let entry = spool.entry(id.as_u64()).unwrap().unwrap();
    let mut batch = spool::Batch::new();
    batch.put_body(entry.body, bytes::Bytes::from_static(b"rot"));
    batch.put_entry(entry);
    drop(spool.commit(batch).await.unwrap());
    let world = world.restart().await;
    let _smsc = Smsc::start_at(dead, |_, _| Answer::default()).await;
    let held = until("the hold", || {
        world.app().router.list(None, 10).unwrap().into_iter().find(|it| it.state == "held")
    })
    .await;
    assert_eq!((&*held.to, &*held.account), ("+33612345678", "shop"));
    assert!(held.why.contains("cannot be read"), "{}", held.why);
    let (ids, why) = ([id], "looked at".into());
    let act = |act| world.app().router.act_on(act, &ids, &why);
    let mut refused = act(Act::Release).await.remove(0).1.unwrap_err();
    while refused.contains("somebody else") {
        // The sweep, which has just held it.
        tokio::task::yield_now().await;
        refused = act(Act::Release).await.remove(0).1.unwrap_err();
    }
    assert!(refused.contains("only delete"), "{refused}");
    assert_eq!(act(Act::Delete).await.remove(0).1, Ok(()));
    world.wait_empty().await;
}

#[tokio::test]
async fn what_is_held_and_cannot_be_read_stays_as_evidence_when_its_time_is_over() {
    let (world, _relay, _smsc) = world_with(&format!("{HOLD}{ROUTES}")).await;
    world.shop().await.submit(text("33712345678", "x")).await;
    let id: message::MessageId = only(&world).await.parse().unwrap();
    let spool = &world.app().router.spool;
    let mut entry = spool.entry(id.as_u64()).unwrap().unwrap();
    entry.expires_ms = 1;
    let mut batch = spool::Batch::new();
    batch.put_body(entry.body, bytes::Bytes::from_static(b"rot"));
    batch.put_entry(entry);
    drop(spool.commit(batch).await.unwrap());
    let kept = until("another time for it", || {
        let entry = spool.entry(id.as_u64()).unwrap();
        assert!(entry.is_some(), "it is gone");
        entry.filter(|entry| entry.expires_ms > 1)
    })
    .await;
    assert_eq!(&*kept.target, "@held");
}

#[tokio::test]
async fn a_flood_of_one_account_does_not_delay_the_single_message_of_another() {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let accounts = "  shop: { smpp: { system_id: shop, password: secret } }\n";
    let two = format!("{accounts}  alarm: {{ smpp: {{ system_id: alarm, password: secret }} }}\n");
    let text_of = config(relay.address, smsc.address, ROUTES)
        .replace(accounts, &two)
        .replace("window: 50,", "window: 50, rate: 200/s, burst: 1,");
    let world = World::start(&text_of).await;
    world.wait_target("smsc", true).await;
    let shop = world.shop().await;
    shop.submit_all((0..3000).map(|n| text("33612345678", &n.to_string()))).await;
    let alarm = Esme::bind(world.address("esmes"), "alarm", "secret").await;
    let before = smsc.taken().len();
    assert_eq!(alarm.submit(text("33612345678", "fire")).await.0, Status::ROK);
    let at = until("the alarm", || words(&smsc.taken()).iter().position(|it| it == "fire")).await;
    // What was in the window goes first, and what was sent until the alarm was in the spool.
    assert!(world.queued(Some("smsc")) > 500, "the flood still waits: {before} {at}");
}

#[tokio::test]
async fn a_large_mail_to_many_is_in_memory_once_and_arrives() {
    let (world, relay, _smsc) = world_with(ROUTES).await;
    let address = relay.stop().await;
    let large = mail("large", &"0123456789abcdef\r\n".repeat(160_000));
    let names: Vec<String> = (0..40).map(|n| format!("r{n}@example.com")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let reply = world.mailer().await.send("a@example.org", &names, &large).await;
    assert!(reply.starts_with("250"), "{reply}");
    assert!(world.app().router.loaded_bytes() <= LOADED_BYTES_MAX);
    let why = "a test".into();
    world.app().router.order("relay", Some(StopKind::Suspended), &why).await.unwrap();
    let world = world.restart().await;
    assert_eq!(world.app().router.loaded_bytes(), 0, "content is read when its turn comes");
    let relay = Relay::start_at(address).await;
    world.app().router.order("relay", None, &why).await.unwrap();
    world.wait_empty().await;
    let got: usize = relay.mails().iter().map(|mail| mail.recipients.len()).sum();
    assert_eq!(got, 40);
    assert!(relay.mails().iter().all(|mail| mail.data.ends_with(&large)));
}

#[tokio::test]
async fn deliveries_behind_thousands_without_a_choice_still_go_to_the_target_that_is_up() {
    let (relay, first, second) = (Relay::start().await, Smsc::start().await, Smsc::start().await);
    let dead = first.stop().await;
    let config = format!(
        "{}connectors:\n{}{}{}routes:\n  - {{ name: either, when: {{ to: {{ prefix: \"+337\" }} }}, to: {{ failover: [smsc-a, smsc-b] }} }}\n  - {{ name: one, to: smsc-a }}\n",
        world::base(),
        relay_connector(relay.address),
        smsc_connector("smsc-a", dead),
        smsc_connector("smsc-b", second.address),
    );
    let address = second.stop().await;
    let world = World::start(&config).await;
    let shop = world.shop().await;
    shop.submit_all((0..1500).map(|n| text("33612345678", &n.to_string()))).await;
    shop.submit_all((0..20).map(|n| text("33712345678", &format!("either {n}")))).await;
    let second = Smsc::start_at(address, |_, _| Answer::default()).await;
    let taken = second.wait(20).await;
    assert!(words(&taken).iter().all(|it| it.starts_with("either")));
    until("what has no choice", || (world.queued(Some("smsc-a")) == 1500).then_some(())).await;
}

#[tokio::test]
async fn why_is_counted_over_the_whole_queue() {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let dead = smsc.stop().await;
    let text_of = format!("{}{}routes:\n{ROUTES}", world::base(), connectors(relay.address, dead));
    let world = World::start(&text_of).await;
    let shop = world.shop().await;
    shop.submit_all((0..2500).map(|n| text("33612345678", &n.to_string()))).await;
    let target = world.app().router.target("smsc").unwrap();
    let reasons = target.reasons();
    assert_eq!(reasons.iter().map(|it| it.count).sum::<usize>(), 2500);
    assert_eq!(
        target.oldest().map(|id| id.to_string()),
        Some(world.app().router.list(None, 1).unwrap()[0].id.clone())
    );
}
