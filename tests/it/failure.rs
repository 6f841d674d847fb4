//! Peers that fail: nothing is lost, and who must know is told.

use std::collections::BTreeSet;
use std::time::Duration;

use smpp::receipt::MessageState;
use smpp::{Sm, Status};
use wirepost_tests::mailer::mail;
use wirepost_tests::sms::{text, text_with_receipt};
use wirepost_tests::wait::until;
use wirepost_tests::world::{self, ROUTES, config, relay_connector, smsc_connector};
use wirepost_tests::{Answer, Relay, Smsc, World};

async fn world() -> (World, Relay, Smsc) {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let world = World::start(&config(relay.address, smsc.address, ROUTES)).await;
    (world, relay, smsc)
}

fn texts(sms: &[Sm]) -> BTreeSet<String> {
    sms.iter().map(|sm| String::from_utf8_lossy(&sm.short_message).into_owned()).collect()
}

fn numbers(count: usize) -> BTreeSet<String> {
    (0..count).map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn one_recipient_put_off_is_tried_again_and_the_others_are_not() {
    let (world, relay, _smsc) = world().await;
    relay.refuse("bob@", "451 4.7.1 greylisted", 1);
    let recipients = ["ann@example.com", "bob@example.com"];
    world.mailer().await.send("alice@example.org", &recipients, &mail("x", "y")).await;
    let mails = relay.wait(2).await;
    assert_eq!(mails[0].recipients, ["ann@example.com"]);
    assert_eq!(mails[1].recipients, ["bob@example.com"]);
    world.wait_empty().await;
    assert_eq!(relay.mails().len(), 2);
}

#[tokio::test]
async fn a_refused_recipient_bounces_to_the_sender_from_nobody() {
    let (world, relay, _smsc) = world().await;
    relay.refuse("bob@", "550 5.1.1 no such user", 1);
    let recipients = ["ann@example.com", "bob@example.com"];
    world.mailer().await.send("alice@example.org", &recipients, &mail("Lost", "y")).await;
    let mails = relay.wait(2).await;
    world.wait_empty().await;
    assert_eq!(relay.mails().len(), 2);
    let bounce = mails.iter().find(|mail| mail.sender.is_empty()).unwrap();
    assert_eq!(bounce.recipients, ["alice@example.org"]);
    let text = bounce.text();
    for wanted in ["multipart/report", "bob@example.com", "Action: failed", "Status: 5.1.1", "550"]
    {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    assert!(!text.contains("ann@example.com"), "{text}");
}

#[tokio::test]
async fn a_bounce_that_cannot_be_delivered_ends_there() {
    let (world, relay, _smsc) = world().await;
    relay.refuse("@example", "550 5.1.1 no such user", 2);
    world.mailer().await.send("alice@example.org", &["bob@example.com"], &mail("x", "y")).await;
    until("both refusals", || (world.queued(None) == 0 && relay.refused() == 2).then_some(()))
        .await;
    assert_eq!(relay.mails(), []);
}

#[tokio::test]
async fn mail_waits_while_the_relay_is_down_and_goes_when_it_is_back() {
    let (world, relay, _smsc) = world().await;
    let address = relay.stop().await;
    let mut mailer = world.mailer().await;
    for n in 0..20 {
        let reply = mailer
            .send("alice@example.org", &["bob@example.com"], &mail(&n.to_string(), "y"))
            .await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    assert_eq!(world.queued(Some("relay")), 20);
    let world = world.restart().await;
    assert_eq!(world.queued(Some("relay")), 20);
    let relay = Relay::start_at(address).await;
    relay.wait(20).await;
    world.wait_empty().await;
    assert_eq!(relay.mails().len(), 20);
}

#[tokio::test]
async fn a_link_cut_with_a_full_window_loses_nothing() {
    let relay = Relay::start().await;
    let smsc = Smsc::start_with(|number, _| Answer {
        cut: number == 120 || number == 300,
        delay: Duration::from_millis(20),
        ..Answer::default()
    })
    .await;
    let world = World::start(&config(relay.address, smsc.address, ROUTES)).await;
    let shop = world.shop().await;
    shop.submit_all((0..500).map(|n| text("33612345678", &n.to_string()))).await;
    world.wait_empty().await;
    assert_eq!(texts(&smsc.taken()), numbers(500));
    assert!(smsc.binds() >= 3, "{}", smsc.binds());
    assert!(smsc.taken().len() <= 500 + 100, "only what was in the window is repeated");
}

#[tokio::test]
async fn an_smsc_that_throttles_gets_everything_in_the_end() {
    let relay = Relay::start().await;
    let smsc = Smsc::start_with(|number, _| Answer {
        status: if number <= 30 { Status::RTHROTTLED } else { Status::ROK },
        ..Answer::default()
    })
    .await;
    let world = World::start(&config(relay.address, smsc.address, ROUTES)).await;
    let shop = world.shop().await;
    shop.submit_all((0..60).map(|n| text("33612345678", &n.to_string()))).await;
    world.wait_empty().await;
    assert_eq!(texts(&smsc.taken()), numbers(60));
    assert_eq!((smsc.taken().len(), smsc.refused()), (60, 30));
}

#[tokio::test]
async fn the_next_target_takes_over_when_the_first_is_down() {
    let (relay, first, second) = (Relay::start().await, Smsc::start().await, Smsc::start().await);
    let config = format!(
        "{}connectors:\n{}{}{}routes:\n  - {{ name: numbers, to: {{ failover: [smsc-a, smsc-b] }} }}\n",
        world::base(),
        relay_connector(relay.address),
        smsc_connector("smsc-a", first.address),
        smsc_connector("smsc-b", second.address),
    );
    let world = World::start(&config).await;
    world.wait_target("smsc-a", true).await;
    world.wait_target("smsc-b", true).await;
    let shop = world.shop().await;
    shop.submit_all((0..10).map(|n| text("33612345678", &n.to_string()))).await;
    world.wait_empty().await;
    assert_eq!((first.taken().len(), second.taken().len()), (10, 0));
    let address = first.stop().await;
    world.wait_target("smsc-a", false).await;
    shop.submit_all((10..30).map(|n| text("33612345678", &n.to_string()))).await;
    second.wait(20).await;
    world.wait_empty().await;
    let first = Smsc::start_at(address, |_, _| Answer::default()).await;
    world.wait_target("smsc-a", true).await;
    shop.submit(text("33612345678", "back")).await;
    assert_eq!(first.wait(1).await[0].short_message, "back");
    assert_eq!(second.taken().len(), 20);
}

#[tokio::test]
async fn a_refusal_of_the_first_target_goes_to_the_next_where_it_is_temporary() {
    let (relay, second) = (Relay::start().await, Smsc::start().await);
    let first =
        Smsc::start_with(|_, _| Answer { status: Status::RSYSERR, ..Answer::default() }).await;
    let config = format!(
        "{}connectors:\n{}{}{}routes:\n  - {{ name: numbers, to: {{ failover: [smsc-a, smsc-b] }} }}\n",
        world::base(),
        relay_connector(relay.address),
        smsc_connector("smsc-a", first.address),
        smsc_connector("smsc-b", second.address),
    );
    let world = World::start(&config).await;
    world.wait_target("smsc-a", true).await;
    world.wait_target("smsc-b", true).await;
    world.shop().await.submit(text("33612345678", "over there")).await;
    assert_eq!(second.wait(1).await[0].short_message, "over there");
    assert_eq!(first.refused(), 1);
}

#[tokio::test]
async fn a_refusal_for_good_is_told_to_whoever_sent_it() {
    let relay = Relay::start().await;
    let smsc =
        Smsc::start_with(|_, _| Answer { status: Status::RINVDSTADR, ..Answer::default() }).await;
    let world = World::start(&config(relay.address, smsc.address, ROUTES)).await;
    let shop = world.shop().await;
    let (status, id) = shop.submit(text_with_receipt("33612345678", "x")).await;
    assert_eq!(status, Status::ROK);
    let receipts = shop.wait_receipts(1).await;
    assert_eq!(receipts[0].0, id);
    assert_ne!(receipts[0].1, MessageState::Delivered.to_string());
    let message = mail("Hi", "there");
    world.mailer().await.send("alice@example.org", &["0612345678@sms.test"], &message).await;
    let mails = relay.wait(1).await;
    assert_eq!((&*mails[0].sender, &*mails[0].recipients[0]), ("", "alice@example.org"));
    assert!(mails[0].text().contains("0612345678@sms.test"), "{}", mails[0].text());
}

#[tokio::test]
async fn what_expires_is_told_to_whoever_sent_it() {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let dead = smsc.stop().await;
    let routes = ROUTES.replace("to: smsc,", "to: smsc, validity: 1s,");
    let world = World::start(&config(relay.address, dead, &routes)).await;
    let shop = world.shop().await;
    let (_, id) = shop.submit(text_with_receipt("33612345678", "too late")).await;
    let message = mail("Hi", "too late");
    world.mailer().await.send("alice@example.org", &["0612345678@sms.test"], &message).await;
    let receipts = shop.wait_receipts(1).await;
    assert_eq!(receipts, [(id, MessageState::Expired.to_string())]);
    let mails = relay.wait(1).await;
    assert_eq!((&*mails[0].sender, &*mails[0].recipients[0]), ("", "alice@example.org"));
    world.wait_empty().await;
}
