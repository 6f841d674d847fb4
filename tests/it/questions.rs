//! What an ESME asks about its messages, and changes while they wait.

use bytes::Bytes;
use smpp::pdu::{QuerySm, QuerySmResp, ReplaceSm};
use smpp::receipt::MessageState;
use smpp::{Octets, Pdu, RegisteredDelivery, Sm, Status};
use wirepost_tests::plugins::{install, module};
use wirepost_tests::sms::{number, receipt, text, text_with_receipt};
use wirepost_tests::wait::{DEADLINE, until};
use wirepost_tests::world::{ROUTES, config, folder};
use wirepost_tests::{Answer, Esme, Relay, Smsc, World};

async fn world(smsc: &Smsc) -> (World, Relay) {
    let relay = Relay::start().await;
    let world = World::start(&config(relay.address, smsc.address, ROUTES)).await;
    (world, relay)
}

/// A world whose SMSC has gone, and where it was.
async fn waiting(config_before: &str) -> (World, Relay, std::net::SocketAddr) {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let folder = folder(&format!("{config_before}{}", config(relay.address, smsc.address, ROUTES)));
    install(folder.path(), "stop_words.wasm", &module("stop_words.wasm"));
    let world = World::start_in(folder).await;
    world.wait_target("smsc", true).await;
    let address = smsc.stop().await;
    world.wait_target("smsc", false).await;
    (world, relay, address)
}

async fn query(shop: &Esme, id: &str) -> Result<QuerySmResp, Status> {
    let message_id = Octets::from_text(id).unwrap();
    let query = QuerySm { message_id, source: text("1", "").source };
    match shop.request(Pdu::QuerySm(query)).await {
        (Status::ROK, Pdu::QuerySmResp(resp)) => Ok(resp),
        (status, _) => Err(status),
    }
}

async fn wait_state(shop: &Esme, id: &str, state: MessageState) -> QuerySmResp {
    let asking = async {
        loop {
            match query(shop, id).await {
                Ok(resp) if resp.message_state == state.number() => return resp,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(DEADLINE, asking).await.expect("the state comes in time")
}

fn replace(id: &str, words: &str) -> ReplaceSm {
    ReplaceSm {
        message_id: Octets::from_text(id).unwrap(),
        source: text("1", "").source,
        short_message: Bytes::copy_from_slice(words.as_bytes()),
        ..ReplaceSm::default()
    }
}

async fn replaced(shop: &Esme, replace: ReplaceSm) -> Status {
    shop.request(Pdu::ReplaceSm(replace)).await.0
}

#[tokio::test]
async fn what_became_of_a_message_is_told_after_it_has_left_also_after_a_restart() {
    let smsc = Smsc::start_with(|number, sm| {
        let state = match &sm.short_message[..] {
            b"good" => MessageState::Delivered,
            b"bad" => MessageState::Undeliverable,
            _ => return Answer::default(),
        };
        Answer { after: Some(receipt(sm, &number.to_string(), state)), ..Answer::default() }
    })
    .await;
    let (world, _relay) = world(&smsc).await;
    let shop = world.shop().await;
    let (_, good) = shop.submit(text_with_receipt("33612345678", "good")).await;
    let (_, bad) = shop.submit(text_with_receipt("33612345678", "bad")).await;
    let (_, untold) = shop.submit(text("33612345678", "untold")).await;
    let resp = wait_state(&shop, &good, MessageState::Delivered).await;
    assert!(!resp.final_date.is_empty());
    assert_eq!(resp.error_code, 0);
    let resp = wait_state(&shop, &bad, MessageState::Undeliverable).await;
    assert_eq!(resp.error_code, 1);
    smsc.wait(3).await;
    shop.wait_receipts(2).await;
    world.wait_empty().await;
    assert!(query(&shop, &untold).await.unwrap().final_date.is_empty());
    assert_eq!(query(&shop, "12345").await, Err(Status::RQUERYFAIL));
    let world = world.restart().await;
    let shop = world.shop().await;
    for (id, state) in [
        (&good, MessageState::Delivered),
        (&bad, MessageState::Undeliverable),
        (&untold, MessageState::Enroute),
    ] {
        assert_eq!(query(&shop, id).await.unwrap().message_state, state.number());
    }
}

#[tokio::test]
async fn a_message_that_waits_gets_another_text_and_other_wishes() {
    let (world, _relay, address) = waiting("").await;
    let shop = world.shop().await;
    let (_, id) = shop.submit(text("33612345678", "old")).await;
    let (_, kept) = shop.submit(text("33612345679", "kept")).await;
    let wish = ReplaceSm { registered_delivery: RegisteredDelivery(1), ..replace(&id, "new") };
    let stranger = ReplaceSm { source: number("33600000000"), ..replace(&id, "stolen") };
    assert_eq!(replaced(&shop, stranger).await, Status::RREPLACEFAIL);
    let late = ReplaceSm {
        validity_period: Octets::from_static(b"200101000000000+"),
        ..replace(&id, "x")
    };
    assert_eq!(replaced(&shop, late).await, Status::RINVEXPIRY);
    assert_eq!(replaced(&shop, replace("12345", "x")).await, Status::RREPLACEFAIL);
    assert_eq!(replaced(&shop, wish).await, Status::ROK);
    assert_eq!(query(&shop, &id).await.unwrap().message_state, MessageState::Enroute.number());
    let smsc = Smsc::start_at(address, |number, sm| Answer {
        after: Some(receipt(sm, &number.to_string(), MessageState::Delivered)),
        ..Answer::default()
    })
    .await;
    assert_eq!(shop.wait_receipts(1).await, [(id.clone(), MessageState::Delivered.to_string())]);
    smsc.wait(2).await;
    world.wait_empty().await;
    let mut texts: Vec<_> = smsc.taken().iter().map(|sm: &Sm| sm.short_message.clone()).collect();
    texts.sort();
    assert_eq!(texts, ["kept", "new"], "{kept}");
    assert_eq!(replaced(&shop, replace(&id, "too late")).await, Status::RREPLACEFAIL);
}

#[tokio::test]
async fn a_new_text_passes_the_plugins_too() {
    let (world, _relay, address) = waiting(
        "plugins:\n  - { name: stop-words, module: stop_words.wasm, config: { words: [lottery] } }\n",
    )
    .await;
    let shop = world.shop().await;
    let (_, id) = shop.submit(text_with_receipt("33612345678", "hello")).await;
    let wish =
        ReplaceSm { registered_delivery: RegisteredDelivery(1), ..replace(&id, "the lottery") };
    assert_eq!(replaced(&shop, wish).await, Status::ROK);
    let receipts = shop.wait_receipts(1).await;
    assert_eq!(receipts, [(id.clone(), MessageState::Rejected.to_string())]);
    wait_state(&shop, &id, MessageState::Rejected).await;
    let smsc = Smsc::start_at(address, |_, _| Answer::default()).await;
    shop.submit(text("33612345678", "the last")).await;
    assert_eq!(smsc.wait(1).await[0].short_message, "the last");
    until("an empty queue", || (world.queued(None) == 0).then_some(())).await;
    assert_eq!(smsc.taken().len(), 1);
}
