//! Answers that come back: to the one who asked, under the name that we gave.

use std::time::Duration;

use bytes::Bytes;
use smpp::receipt::MessageState;
use smpp::{EsmClass, Sm, Status, Tlvs, tag};
use wirepost_tests::mailer::mail;
use wirepost_tests::sms::{receipt, text, text_with_receipt};
use wirepost_tests::wait::until;
use wirepost_tests::world::{ROUTES, config};
use wirepost_tests::{Answer, Relay, Smsc, World};

async fn world(smsc: &Smsc) -> (World, Relay) {
    let relay = Relay::start().await;
    let world = World::start(&config(relay.address, smsc.address, ROUTES)).await;
    (world, relay)
}

/// Says at once what became of each message.
fn says(state: MessageState) -> impl FnMut(usize, &Sm) -> Answer + Send + 'static {
    move |number, sm| Answer {
        after: Some(receipt(sm, &number.to_string(), state)),
        ..Answer::default()
    }
}

fn delivered(id: String) -> (String, String) {
    (id, MessageState::Delivered.to_string())
}

#[tokio::test]
async fn a_receipt_returns_to_the_esme_under_the_id_that_we_gave() {
    let smsc = Smsc::start_with(says(MessageState::Delivered)).await;
    let (world, _relay) = world(&smsc).await;
    let shop = world.shop().await;
    let (status, id) = shop.submit(text_with_receipt("33612345678", "hello")).await;
    assert_eq!(status, Status::ROK);
    assert_eq!(shop.wait_receipts(1).await, [delivered(id)]);
    let got = &shop.delivered()[0];
    assert_eq!(got.source.addr.to_string(), "33612345678");
    assert_eq!(got.destination.addr.to_string(), "33700");
    world.wait_empty().await;
}

#[tokio::test]
async fn every_receipt_of_many_finds_its_message() {
    let smsc = Smsc::start_with(says(MessageState::Delivered)).await;
    let (world, _relay) = world(&smsc).await;
    let shop = world.shop().await;
    let many = (0..300).map(|n| text_with_receipt("33612345678", &n.to_string()));
    let mut want: Vec<_> = shop.submit_all(many).await.into_iter().map(delivered).collect();
    let mut got = shop.wait_receipts(300).await;
    want.sort();
    got.sort();
    assert_eq!(got, want);
    world.wait_empty().await;
    assert_eq!(shop.receipts().len(), 300);
}

#[tokio::test]
async fn a_failure_of_the_smsc_is_told_as_such() {
    let smsc = Smsc::start_with(says(MessageState::Undeliverable)).await;
    let (world, _relay) = world(&smsc).await;
    let shop = world.shop().await;
    let (_, id) = shop.submit(text_with_receipt("33612345678", "hello")).await;
    let receipts = shop.wait_receipts(1).await;
    assert_eq!(receipts, [(id, MessageState::Undeliverable.to_string())]);
}

#[tokio::test]
async fn a_receipt_that_comes_before_the_answer_waits_for_it() {
    let smsc = Smsc::start_with(|number, sm| Answer {
        before: Some(receipt(sm, &format!("early-{number}"), MessageState::Delivered)),
        id: Some(format!("early-{number}")),
        delay: Duration::from_millis(300),
        ..Answer::default()
    })
    .await;
    let (world, _relay) = world(&smsc).await;
    let shop = world.shop().await;
    let (_, id) = shop.submit(text_with_receipt("33612345678", "hello")).await;
    assert_eq!(shop.wait_receipts(1).await, [delivered(id)]);
    world.wait_empty().await;
    assert_eq!(world.app().router.receipts_parked(), 0);
}

#[tokio::test]
async fn an_id_in_hexadecimal_is_found_by_its_decimal_receipt() {
    for format in ["hex-dec", "auto"] {
        let relay = Relay::start().await;
        let smsc = Smsc::start_with(|number, sm| {
            let id = 0x00ab_cdef_0000_u64 + u64::try_from(number).unwrap();
            Answer {
                id: Some(format!("{id:X}")),
                after: Some(receipt(sm, &id.to_string(), MessageState::Delivered)),
                ..Answer::default()
            }
        })
        .await;
        let config = config(relay.address, smsc.address, ROUTES)
            .replace("window: 50", &format!("window: 50, id_format: {format}"));
        let world = World::start(&config).await;
        let shop = world.shop().await;
        let (_, id) = shop.submit(text_with_receipt("33612345678", "hello")).await;
        assert_eq!(shop.wait_receipts(1).await, [delivered(id)], "{format}");
    }
}

#[tokio::test]
async fn a_receipt_finds_its_message_after_a_restart_and_waits_for_the_esme_to_bind() {
    let smsc = Smsc::start().await;
    let (world, _relay) = world(&smsc).await;
    let shop = world.shop().await;
    let (_, id) = shop.submit(text_with_receipt("33612345678", "hello")).await;
    let taken = smsc.wait(1).await;
    world.wait_empty().await;
    shop.cut().await;
    let world = world.restart().await;
    smsc.deliver(receipt(&taken[0], "1", MessageState::Delivered));
    until("a receipt that waits for shop", || (world.queued(Some("shop")) == 1).then_some(()))
        .await;
    let world = world.restart().await;
    assert_eq!(world.queued(Some("shop")), 1);
    let shop = world.shop().await;
    assert_eq!(shop.wait_receipts(1).await, [delivered(id)]);
    world.wait_empty().await;
}

#[tokio::test]
async fn each_part_that_an_esme_sends_gets_its_own_receipt() {
    let smsc = Smsc::start_with(says(MessageState::Delivered)).await;
    let (world, _relay) = world(&smsc).await;
    let shop = world.shop().await;
    let parts = [1_u8, 2].map(|number| Sm {
        esm_class: EsmClass(0x40),
        short_message: Bytes::from(vec![5, 0, 3, 77, 2, number, b'h', b'i']),
        ..text_with_receipt("33612345678", "")
    });
    let mut want: Vec<_> =
        shop.submit_all(parts.clone()).await.into_iter().map(delivered).collect();
    let mut got = shop.wait_receipts(2).await;
    want.sort();
    got.sort();
    assert_eq!(got, want);
    let taken = smsc.taken();
    assert_eq!(taken.len(), 2);
    for (got, sent) in taken.iter().zip(&parts) {
        assert_eq!(got.short_message, sent.short_message);
    }
}

#[tokio::test]
async fn a_long_text_of_one_submit_gets_one_receipt_however_it_is_sent() {
    let smsc = Smsc::start_with(says(MessageState::Delivered)).await;
    let (world, _relay) = world(&smsc).await;
    let shop = world.shop().await;
    let mut tlvs = Tlvs::new();
    tlvs.push(tag::MESSAGE_PAYLOAD, "0123456789".repeat(40).as_bytes()).unwrap();
    let long = Sm { tlvs, ..text_with_receipt("33612345678", "") };
    let (status, id) = shop.submit(long).await;
    assert_eq!(status, Status::ROK);
    assert_eq!(shop.wait_receipts(1).await, [delivered(id)]);
    world.wait_empty().await;
    assert_eq!(shop.receipts().len(), 1);
}

#[tokio::test]
async fn a_long_mail_is_split_and_its_sender_gets_one_report() {
    let smsc = Smsc::start_with(says(MessageState::Delivered)).await;
    let (world, relay) = world(&smsc).await;
    let mut mailer = world.mailer().await;
    mailer.say("MAIL FROM:<alice@example.org> RET=HDRS ENVID=QQ314159").await;
    let reply = mailer.say("RCPT TO:<0612345678@sms.test> NOTIFY=SUCCESS,FAILURE").await;
    assert!(reply.starts_with("250"), "{reply}");
    mailer.say("DATA").await;
    mailer.write(&mail("Long", &"0123456789".repeat(40))).await;
    mailer.write(b".\r\n").await;
    assert!(mailer.reply().await.starts_with("250"));
    assert_eq!(smsc.wait(3).await.len(), 3);
    let mails = relay.wait(1).await;
    world.wait_empty().await;
    assert_eq!(relay.mails().len(), 1, "one report");
    let (report, text) = (&mails[0], mails[0].text());
    assert_eq!((&*report.sender, &*report.recipients[0]), ("", "alice@example.org"));
    for wanted in [
        "multipart/report",
        "Original-Envelope-Id: QQ314159",
        "Action: delivered",
        "Status: 2.",
        "0612345678@sms.test",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
}

#[tokio::test]
async fn a_mail_whose_sms_could_not_be_delivered_bounces() {
    let smsc = Smsc::start_with(says(MessageState::Undeliverable)).await;
    let (world, relay) = world(&smsc).await;
    let mut mailer = world.mailer().await;
    let reply = mailer.send("alice@example.org", &["0612345678@sms.test"], &mail("Hi", "x")).await;
    assert!(reply.starts_with("250"), "{reply}");
    let mails = relay.wait(1).await;
    let text = mails[0].text();
    assert_eq!((&*mails[0].sender, &*mails[0].recipients[0]), ("", "alice@example.org"));
    assert!(text.contains("Action: failed"), "{text}");
}

#[tokio::test]
async fn nobody_is_told_who_did_not_ask() {
    let smsc = Smsc::start_with(says(MessageState::Delivered)).await;
    let (world, _relay) = world(&smsc).await;
    let shop = world.shop().await;
    shop.submit(text("33612345678", "quiet")).await;
    let (_, id) = shop.submit(text_with_receipt("33612345678", "loud")).await;
    assert_eq!(shop.wait_receipts(1).await, [delivered(id)]);
    world.wait_empty().await;
    assert_eq!(shop.receipts().len(), 1);
}

#[tokio::test]
async fn a_mail_made_from_a_short_message_gives_the_esme_a_receipt() {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let routes = "  - { name: desk, when: { protocol: smpp }, to: relay, \
                  rewrite: { to: desk@example.org } }\n";
    let world = World::start(&config(relay.address, smsc.address, routes)).await;
    let shop = world.shop().await;
    let (_, id) = shop.submit(text_with_receipt("33612345678", "to the desk")).await;
    relay.wait(1).await;
    assert_eq!(shop.wait_receipts(1).await, [delivered(id)]);
    let got = &shop.delivered()[0];
    assert_eq!(got.source.addr.to_string(), "33612345678");
    assert_eq!(got.destination.addr.to_string(), "33700");
    relay.refuse("desk@", "550 5.1.1 nobody", 1);
    let (_, id) = shop.submit(text_with_receipt("33612345678", "to nobody")).await;
    let receipts = shop.wait_receipts(2).await;
    assert_eq!(receipts[1].0, id);
    assert_ne!(receipts[1].1, delivered(String::new()).1);
}

#[tokio::test]
async fn query_and_cancel_speak_of_what_still_waits() {
    let smsc = Smsc::start().await;
    let (world, _relay) = world(&smsc).await;
    world.wait_target("smsc", true).await;
    let address = smsc.stop().await;
    world.wait_target("smsc", false).await;
    let shop = world.shop().await;
    let sent = text_with_receipt("33612345678", "never mind");
    let (_, id) = shop.submit(sent.clone()).await;
    let (_, kept) = shop.submit(text("33612345678", "mind")).await;
    let id_octets = smpp::Octets::from_text(&id).unwrap();
    let query = smpp::Pdu::QuerySm(smpp::pdu::QuerySm {
        message_id: id_octets.clone(),
        source: sent.source.clone(),
    });
    let (status, answer) = shop.request(query).await;
    assert_eq!(status, Status::ROK);
    let smpp::Pdu::QuerySmResp(answer) = answer else { panic!("{answer:?}") };
    assert_eq!(answer.message_state, MessageState::Enroute.number());
    let cancel = smpp::Pdu::CancelSm(smpp::pdu::CancelSm {
        message_id: id_octets,
        source: sent.source.clone(),
        destination: sent.destination.clone(),
        ..smpp::pdu::CancelSm::default()
    });
    assert_eq!(shop.request(cancel.clone()).await.0, Status::ROK);
    assert_eq!(shop.request(cancel).await.0, Status::RCANCELFAIL);
    assert_eq!(shop.wait_receipts(1).await, [(id, MessageState::Deleted.to_string())]);
    let smsc = Smsc::start_at(address, |_, _| Answer::default()).await;
    let taken = smsc.wait(1).await;
    world.wait_empty().await;
    assert_eq!(smsc.taken().len(), 1, "{kept}");
    assert_eq!(taken[0].short_message, "mind");
}
