//! Parts of concatenated SMS wait for each other where they become a mail, and go on as one message.

use bytes::Bytes;
use smpp::receipt::MessageState;
use smpp::{EsmClass, RegisteredDelivery, Sm, Status};
use wirepost_tests::plugins::{install, module};
use wirepost_tests::sms::{number, receipt, text};
use wirepost_tests::wait::until;
use wirepost_tests::world::{base, connectors, folder};
use wirepost_tests::{Answer, Relay, Smsc, World};

const WORDS: [&str; 3] = ["The pump in cellar ", "two has stopped, ", "and the water rises."];

struct Stage {
    world: World,
    relay: Relay,
    smsc: Smsc,
}

/// Numbers of desks become mails, others go on as SMS. `change` makes of the configuration what the
/// test needs.
async fn stage(change: impl Fn(String) -> String) -> Stage {
    let relay = Relay::start().await;
    let smsc = Smsc::start_with(|number, sm| Answer {
        after: (sm.registered_delivery.0 & 1 == 1)
            .then(|| receipt(sm, &number.to_string(), MessageState::Delivered)),
        id: Some(number.to_string()),
        ..Answer::default()
    })
    .await;
    let text = format!(
        "{}{}journal: {{ path: journal }}\nroutes:\n\
         \x20 - {{ name: stop, when: {{ to: {{ prefix: \"+337\" }}, text: {{ prefix: stop }} }}, to: relay, rewrite: {{ to: stop@example.org }} }}\n\
         \x20 - {{ name: desk, when: {{ to: {{ prefix: \"+337\" }} }}, to: relay, rewrite: {{ to: desk@example.org }} }}\n\
         \x20 - {{ name: numbers, when: {{ to: {{ kind: phone }} }}, to: smsc }}\n",
        base(),
        connectors(relay.address, smsc.address)
    );
    let folder = folder(&change(text));
    install(folder.path(), "stop_words.wasm", &module("stop_words.wasm"));
    let world = World::start_in(folder).await;
    world.wait_target("smsc", true).await;
    Stage { world, relay, smsc }
}

fn as_it_is(text: String) -> String {
    text
}

/// Part `sequence` of [`WORDS`], from 1.
fn part(to: &str, sequence: u8) -> Sm {
    part_saying(to, sequence, WORDS[usize::from(sequence) - 1])
}

fn part_saying(to: &str, sequence: u8, words: &str) -> Sm {
    let header = [0x05, 0x00, 0x03, 0x2A, 3, sequence];
    Sm {
        source: number("33611111111"),
        esm_class: EsmClass(0x40),
        short_message: Bytes::from([&header, words.as_bytes()].concat()),
        ..text(to, "")
    }
}

impl Stage {
    /// The texts of the mails, as soon as there are so many.
    async fn texts(&self, count: usize) -> Vec<String> {
        let mails = self.relay.wait(count).await;
        mails
            .iter()
            .map(|mail| String::from_utf8_lossy(mail.body()).trim_end().to_owned())
            .collect()
    }
}

#[tokio::test]
async fn the_parts_of_a_mobile_make_one_mail_in_whatever_order_they_come() {
    let stage = stage(as_it_is).await;
    for sequence in [3, 1, 2] {
        stage.smsc.deliver(part("33712345678", sequence));
    }
    assert_eq!(stage.texts(1).await, [WORDS.concat()]);
    stage.world.wait_empty().await;
    assert_eq!(stage.relay.mails().len(), 1);
}

#[tokio::test]
async fn parts_wait_across_a_restart_and_are_shown_meanwhile() {
    let stage = stage(as_it_is).await;
    let (status, id) = stage.world.shop().await.submit(part("33712345678", 1)).await;
    assert_eq!(status, Status::ROK);
    let Stage { world, relay, smsc } = stage;
    let world = world.restart().await;
    let waits = world.app().router.list(None, 10).unwrap();
    assert_eq!((waits.len(), waits[0].state), (1, "undecided"));
    assert!(waits[0].why.contains("part 1 of 3"), "{}", waits[0].why);
    assert_eq!(world.app().router.parts_waiting(), 1);
    let shop = world.shop().await;
    for sequence in [2, 3] {
        assert_eq!(shop.submit(part("33712345678", sequence)).await.0, Status::ROK);
    }
    let stage = Stage { world, relay, smsc };
    assert_eq!(stage.texts(1).await, [WORDS.concat()]);
    stage.world.wait_empty().await;
    let story: Vec<String> = stage.world.story(&id).into_iter().map(|(event, _)| event).collect();
    assert_eq!(story, ["accepted", "undecided", "joined"]);
}

#[tokio::test]
async fn parts_whose_others_do_not_come_go_on_as_they_are() {
    let stage = stage(|text| text.replace("node: {", "node: { join_within: 1s,")).await;
    for sequence in [3, 1] {
        stage.smsc.deliver(part("33712345678", sequence));
    }
    let mut texts = stage.texts(2).await;
    texts.sort_unstable();
    assert_eq!(texts, [WORDS[0].trim_end(), WORDS[2]]);
    stage.world.wait_empty().await;
}

#[tokio::test]
async fn a_part_that_comes_twice_is_one_and_another_in_its_place_begins_another_message() {
    let stage = stage(as_it_is).await;
    let shop = stage.world.shop().await;
    for sm in [
        part_saying("33712345678", 1, "Never mind"),
        part("33712345678", 1),
        part("33712345678", 1),
        part("33712345678", 2),
        part("33712345678", 3),
    ] {
        assert_eq!(shop.submit(sm).await.0, Status::ROK);
    }
    let mut texts = stage.texts(2).await;
    texts.sort_unstable();
    assert_eq!(texts, ["Never mind".to_owned(), WORDS.concat()]);
    stage.world.wait_empty().await;
    assert_eq!(stage.relay.mails().len(), 2);
}

#[tokio::test]
async fn each_part_has_its_receipt_and_its_state() {
    let stage = stage(as_it_is).await;
    let shop = stage.world.shop().await;
    stage.relay.refuse("desk", "550 5.1.1 no such desk", 1);
    for expect in [MessageState::Undeliverable, MessageState::Delivered] {
        let count = shop.receipts().len();
        let mut ids = Vec::new();
        for sequence in 1..=3 {
            let wish = RegisteredDelivery(u8::from(sequence != 2));
            let sm = Sm { registered_delivery: wish, ..part("33712345678", sequence) };
            ids.push(shop.submit(sm).await.1);
        }
        shop.wait_receipts(count + 2).await;
        stage.world.wait_empty().await;
        let mut told = shop.receipts().split_off(count);
        told.sort_unstable();
        let wanted = [&ids[0], &ids[2]].map(|id| (id.clone(), expect.to_string()));
        assert_eq!(told, wanted);
        for id in &ids {
            let known = stage.world.app().router.query("shop", id.parse().unwrap()).unwrap();
            assert_eq!(known.state, expect.number(), "{id}");
        }
    }
}

#[tokio::test]
async fn what_goes_on_as_sms_keeps_its_parts_unless_all_are_joined() {
    let plain = stage(as_it_is).await;
    let shop = plain.world.shop().await;
    for sequence in 1..=3 {
        shop.submit(part("33612345678", sequence)).await;
    }
    let taken = plain.smsc.wait(3).await;
    let sent: Vec<Bytes> = (1..=3).map(|it| part("33612345678", it).short_message).collect();
    assert_eq!(taken.iter().map(|sm| sm.short_message.clone()).collect::<Vec<_>>(), sent);
    plain.world.wait_empty().await;

    let joined = stage(|text| joining(&text)).await;
    let shop = joined.world.shop().await;
    let mut ids = Vec::new();
    for sequence in 1..=3 {
        let wish = RegisteredDelivery(1);
        let sm = Sm { registered_delivery: wish, ..part("33612345678", sequence) };
        ids.push((shop.submit(sm).await.1, MessageState::Delivered.to_string()));
    }
    let taken = joined.smsc.wait(1).await;
    assert_eq!(taken[0].short_message, Bytes::from(WORDS.concat()));
    let mut told = shop.wait_receipts(3).await;
    told.sort_unstable();
    assert_eq!(told, ids);
    joined.world.wait_empty().await;
    until("one message", || (joined.smsc.taken().len() == 1).then_some(())).await;
}

#[tokio::test]
async fn a_word_that_is_cut_in_two_is_seen_by_plugins_where_all_parts_are_joined() {
    let stage = stage(|text| {
        let plugins = "plugins:\n  - { name: stop-words, module: stop_words.wasm, config: { words: [lottery] } }\n";
        format!("{plugins}{}", joining(&text))
    })
    .await;
    let shop = stage.world.shop().await;
    let mut ids = Vec::new();
    for (sequence, words) in [(1, "You won the lot"), (2, "tery, "), (3, "call us")] {
        let wish = RegisteredDelivery(1);
        let sm = Sm { registered_delivery: wish, ..part_saying("33612345678", sequence, words) };
        let (status, id) = shop.submit(sm).await;
        assert_eq!(status, Status::ROK);
        ids.push((id, MessageState::Rejected.to_string()));
    }
    let mut told = shop.wait_receipts(3).await;
    told.sort_unstable();
    assert_eq!(told, ids);
    stage.world.wait_empty().await;
    assert_eq!(stage.smsc.taken().len(), 0);
}

fn joining(text: &str) -> String {
    let plain = "password: secret } }";
    assert!(text.contains(plain), "{text}");
    text.replace(plain, "password: secret }, join: always }")
}
