//! SMS that become mail, and the reports that come back for them.

use std::time::Duration;

use bytes::Bytes;
use message::{MessageId, Timestamp};
use smpp::receipt::MessageState;
use smpp::{RegisteredDelivery, Sm, Status};
use wirepost::receipt::return_path::ReturnPaths;
use wirepost_tests::dsn::report;
use wirepost_tests::mailer::mail;
use wirepost_tests::sms::{number, text, text_with_receipt};
use wirepost_tests::wait::until;
use wirepost_tests::world::{base, connectors};
use wirepost_tests::{Esme, Relay, Smsc, World};

/// Where the SMS of these tests go as mail.
const DESK: &str = "desk@example.org";

struct Stage {
    world: World,
    relay: Relay,
    smsc: Smsc,
}

/// Every SMS becomes a mail to the desk, under these options of conversion.
async fn stage(convert: &str) -> Stage {
    stage_with("{ protocol: smpp }", convert).await
}

async fn stage_with(when: &str, convert: &str) -> Stage {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let routes = format!(
        "  - {{ name: desk, when: {when}, to: relay, rewrite: {{ to: {DESK} }}, convert: {{ {convert} }} }}\n\
         \x20 - {{ name: numbers, when: {{ to: {{ kind: phone }} }}, to: smsc }}\n"
    );
    let text = format!(
        "{}{}journal: {{ path: journal }}\nroutes:\n{routes}",
        base(),
        connectors(relay.address, smsc.address)
    );
    let text = text.replace("from: postmaster@gw.test", "from: postmaster@gw.test, secret: shared");
    Stage { world: World::start(&text).await, relay, smsc }
}

impl Stage {
    /// Submits a text and waits for its mail: the id, and where reports about it go.
    async fn mailed(&self, shop: &Esme, sm: Sm) -> (String, String) {
        let count = self.relay.mails().len();
        let (status, id) = shop.submit(sm).await;
        assert_eq!(status, Status::ROK);
        let mails = self.relay.wait(count + 1).await;
        self.world.wait_empty().await;
        (id, mails[count].sender.clone())
    }

    /// Sends a report by a peer that may not relay.
    async fn reports(&self, to: &str, report: &[u8]) -> String {
        self.world.mailer().await.send("", &[to], report).await
    }

    fn receipts_in_story(&self, id: &str) -> Vec<String> {
        let story = self.world.story(id);
        story.into_iter().filter(|(event, _)| event == "receipt").map(|(_, line)| line).collect()
    }
}

fn wants(registered_delivery: u8) -> Sm {
    Sm { registered_delivery: RegisteredDelivery(registered_delivery), ..text("33612345678", "hi") }
}

fn state(state: MessageState) -> String {
    state.to_string()
}

#[tokio::test]
async fn a_message_of_an_smsc_becomes_a_mail_in_utf_8_that_says_what_it_is() {
    let stage = stage("mail_from: '{digits}@sms.test', subject: 'SMS from {from}'").await;
    stage.world.wait_target("smsc", true).await;
    let words = "Приве\u{301}т \u{1f600}";
    let text: Vec<u8> = words.encode_utf16().flat_map(u16::to_be_bytes).collect();
    stage.smsc.deliver(Sm {
        source: number("33611111111"),
        destination: number("33612345678"),
        data_coding: 8,
        short_message: Bytes::from(text),
        ..Sm::default()
    });
    let mails = stage.relay.wait(1).await;
    let view = message::mail::MailView::new(Bytes::from(mails[0].data.clone()));
    assert_eq!(mails[0].recipients, [DESK]);
    assert!(mails[0].sender.starts_with("b+") && mails[0].sender.ends_with("@gw.test"));
    assert_eq!(view.text().unwrap().trim_end(), words);
    assert_eq!(view.subject().unwrap(), "SMS from +33611111111");
    assert_eq!(view.from().unwrap(), "33611111111@sms.test");
    assert_eq!(view.to().unwrap(), DESK);
    assert_eq!(view.header("Auto-Submitted").unwrap(), "auto-generated");
    assert_eq!(view.header("MIME-Version").unwrap(), "1.0");
    assert_eq!(view.parts()[0].charset.as_deref(), Some("utf-8"));
    assert!(mails[0].data.is_ascii(), "it passes relays without 8BITMIME");
    let reply = stage.reports(&mails[0].sender, &report(DESK, "failed", "5.1.1")).await;
    assert!(reply.starts_with("250"), "a report on it has nobody to go to: {reply}");
    stage.world.wait_empty().await;
}

#[tokio::test]
async fn a_report_that_comes_back_becomes_the_receipt_of_the_sms() {
    let stage = stage("receipt: reported").await;
    let shop = stage.world.shop().await;
    for (action, status, expect, error) in [
        ("delivered", "2.1.5", MessageState::Delivered, "err:000"),
        ("failed", "5.1.1", MessageState::Undeliverable, "err:001"),
        ("failed", "5.7.1", MessageState::Rejected, "err:550"),
        ("failed", "4.4.7", MessageState::Expired, "err:550"),
    ] {
        let count = shop.receipts().len();
        let (id, back) = stage.mailed(&shop, text_with_receipt("33612345678", "hi")).await;
        assert_eq!(shop.receipts().len(), count, "the relay's word is none");
        let reply = stage.reports(&back, &report(DESK, action, status)).await;
        assert!(reply.starts_with("250 2."), "{reply}");
        let receipts = shop.wait_receipts(count + 1).await;
        assert_eq!(receipts[count], (id.clone(), state(expect)));
        let got = String::from_utf8_lossy(&shop.delivered()[count].short_message).into_owned();
        assert!(got.contains(error), "{got}");
        let story = stage.receipts_in_story(&id);
        assert!(story.len() == 1 && story[0].contains(status), "{story:?}");
    }
    stage.world.wait_empty().await;
}

#[tokio::test]
async fn delayed_and_relayed_are_told_to_those_who_ask_and_end_nothing() {
    let stage = stage("receipt: reported").await;
    let shop = stage.world.shop().await;
    let (quiet, back_quiet) = stage.mailed(&shop, wants(1)).await;
    let (curious, back_curious) = stage.mailed(&shop, wants(0x11)).await;
    for back in [&back_quiet, &back_curious] {
        for action in ["delayed", "delayed", "relayed", "delivered"] {
            let reply = stage.reports(back, &report(DESK, action, "2.0.0")).await;
            assert!(reply.starts_with("250"), "{reply}");
        }
    }
    let of = |id: &str, states: &[MessageState]| -> Vec<(String, String)> {
        states.iter().map(|it| (id.to_owned(), state(*it))).collect()
    };
    let mut want = of(&quiet, &[MessageState::Delivered]);
    let all = [MessageState::Enroute, MessageState::Accepted, MessageState::Delivered];
    want.extend(of(&curious, &all));
    assert_eq!(shop.wait_receipts(4).await, want);
    stage.world.wait_empty().await;
    assert_eq!(shop.receipts().len(), 4);
}

#[tokio::test]
async fn a_bounce_is_told_to_who_wants_failures_only_although_the_relay_took_the_mail() {
    let stage = stage("").await;
    let shop = stage.world.shop().await;
    let (id, back) = stage.mailed(&shop, wants(2)).await;
    assert!(shop.receipts().is_empty());
    stage.reports(&back, &report(DESK, "failed", "5.2.2")).await;
    assert_eq!(shop.wait_receipts(1).await, [(id, state(MessageState::Undeliverable))]);
}

#[tokio::test]
async fn a_receipt_that_the_relay_caused_is_the_only_one() {
    let stage = stage("").await;
    let shop = stage.world.shop().await;
    let (id, back) = stage.mailed(&shop, wants(1)).await;
    assert_eq!(shop.wait_receipts(1).await, [(id.clone(), state(MessageState::Delivered))]);
    let reply = stage.reports(&back, &report(DESK, "failed", "5.1.1")).await;
    assert!(reply.starts_with("250"), "{reply}");
    let story = stage.receipts_in_story(&id);
    assert!(story.len() == 1 && story[0].contains("\"late\":true"), "{story:?}");
    stage.world.wait_empty().await;
    assert_eq!(shop.receipts().len(), 1);
}

#[tokio::test]
async fn a_report_finds_its_sms_after_a_restart() {
    let Stage { world, relay, smsc } = stage("receipt: reported").await;
    let shop = world.shop().await;
    let stage = Stage { world, relay, smsc };
    let (id, back) = stage.mailed(&shop, wants(1)).await;
    let Stage { world, relay, smsc } = stage;
    shop.cut().await;
    let stage = Stage { world: world.restart().await, relay, smsc };
    stage.reports(&back, &report(DESK, "failed", "5.1.1")).await;
    let shop = stage.world.shop().await;
    assert_eq!(shop.wait_receipts(1).await, [(id, state(MessageState::Undeliverable))]);
    stage.world.wait_empty().await;
}

#[tokio::test]
async fn without_a_report_in_time_nobody_knows_also_after_a_restart() {
    let stage = stage("receipt: reported, receipt_within: 2s").await;
    let shop = stage.world.shop().await;
    let (id, back) = stage.mailed(&shop, wants(1)).await;
    shop.cut().await;
    let Stage { world, relay, smsc } = stage;
    let stage = Stage { world: world.restart().await, relay, smsc };
    let shop = stage.world.shop().await;
    assert_eq!(shop.wait_receipts(1).await, [(id.clone(), state(MessageState::Unknown))]);
    stage.reports(&back, &report(DESK, "delivered", "2.0.0")).await;
    let story = stage.receipts_in_story(&id);
    assert_eq!(story.len(), 2, "{story:?}");
    stage.world.wait_empty().await;
    assert_eq!(shop.receipts().len(), 1, "what comes too late is written down only");
}

#[tokio::test]
async fn strange_reports_are_taken_written_down_and_never_answered() {
    let stage = stage("receipt: reported").await;
    let shop = stage.world.shop().await;
    let (id, back) = stage.mailed(&shop, wants(1)).await;
    let holiday = mail("Out of office", "Back on Monday.");
    for _ in 0..2 {
        let reply = stage.reports(&back, &holiday).await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    let nobody =
        ReturnPaths::new(b"shared", []).address(stage.world.app().router.next_id(), "gw.test");
    for _ in 0..3 {
        let reply = stage.reports(&nobody.value, &report(DESK, "failed", "5.0.0")).await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    assert_eq!(stage.world.app().router.receipts_parked(), 1);
    for _ in 0..3 {
        let reply = stage.reports(&back, &report(DESK, "failed", "5.0.0")).await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    assert_eq!(shop.wait_receipts(1).await.len(), 1);
    let leg = back.split(['+', '.']).nth(1).unwrap();
    let unread = stage.receipts_in_story(leg);
    assert!(unread.len() == 2 && unread[0].contains("UNREADABLE"), "{unread:?}");
    let story = stage.receipts_in_story(&id);
    let late = story.iter().filter(|line| line.contains("\"late\":true")).count();
    assert_eq!((story.len(), late), (3, 2), "{story:?}");
    stage.world.wait_empty().await;
    assert_eq!((stage.relay.mails().len(), shop.receipts().len()), (1, 1));
}

#[tokio::test]
async fn return_addresses_are_for_reports_and_nobody_else_makes_them() {
    let stage = stage("").await;
    let shop = stage.world.shop().await;
    let (_, back) = stage.mailed(&shop, wants(1)).await;
    let mut mailer = stage.world.mailer().await;
    let now = stage.world.app().router.clock.now();
    let old = {
        let week = Duration::from_secs(8 * 86_400);
        let then = Timestamp::from_ms(now.as_ms() - u64::try_from(week.as_millis()).unwrap());
        message::IdSource::new(0, MessageId::from_u64(0)).next(then)
    };
    let paths = ReturnPaths::new(b"shared", []);
    let forged = back.replace("b+", "b+1");
    for (sender, to, expect) in [
        ("", &*forged, "550 5.1.1"),
        ("", &paths.address(old, "gw.test").value, "550 5.1.1"),
        ("alice@example.org", &back, "550 5.7.1"),
        ("", &back.to_ascii_uppercase(), "250"),
    ] {
        let reply = mailer.send(sender, &[to], &report(DESK, "delayed", "4.0.0")).await;
        assert!(reply.starts_with(expect), "{to}: {reply}");
        mailer.say("RSET").await;
    }
    mailer.say("MAIL FROM:<>").await;
    assert!(mailer.say(&format!("RCPT TO:<{back}>")).await.starts_with("250"));
    for further in [&*back, "0612345678@sms.test"] {
        let reply = mailer.say(&format!("RCPT TO:<{further}>")).await;
        assert!(reply.starts_with("452 4.5.3"), "{reply}");
    }
}

#[tokio::test]
async fn mail_that_a_program_sent_becomes_no_sms_unless_the_route_says_so() {
    let automatic = [
        ("", "Subject: bounce\r\n\r\nx\r\n"),
        ("a@example.org", "Auto-Submitted: auto-generated\r\n\r\nx\r\n"),
        ("a@example.org", "Precedence: bulk\r\n\r\nx\r\n"),
        ("a@example.org", "Precedence: junk\r\n\r\nx\r\n"),
        ("a@example.org", "Precedence: list\r\n\r\nx\r\n"),
    ];
    let Stage { world, smsc, relay } = stage("").await;
    for (sender, text) in automatic {
        let mut mailer = world.mailer().await;
        let reply = mailer.send(sender, &["0612345678@sms.test"], text.as_bytes()).await;
        assert!(reply.starts_with("554 5.7.1"), "{text}: {reply}");
    }
    let mut mailer = world.mailer().await;
    let by_hand = "Auto-Submitted: no\r\nSubject: a\r\n\r\nb\r\n";
    let reply = mailer.send("a@example.org", &["0612345678@sms.test"], by_hand.as_bytes()).await;
    assert!(reply.starts_with("250"), "{reply}");
    smsc.wait(1).await;
    let looping = "Received: x\r\n".repeat(60) + by_hand;
    let reply = mailer.send("a@example.org", &["0612345678@sms.test"], looping.as_bytes()).await;
    assert!(reply.starts_with("554 5.4.6"), "{reply}");

    let config = std::fs::read_to_string(world.config()).unwrap();
    let wanted = "to: smsc, convert: { auto_submitted: true } }";
    world.reload(&config.replace("to: smsc }", wanted)).await;
    for (sender, text) in automatic {
        let mut mailer = world.mailer().await;
        let reply = mailer.send(sender, &["0612345678@sms.test"], text.as_bytes()).await;
        assert!(reply.starts_with("250"), "{text}: {reply}");
    }
    assert_eq!(smsc.wait(1 + automatic.len()).await.len(), 1 + automatic.len());
    world.wait_empty().await;
    assert!(relay.mails().is_empty());
}

#[tokio::test]
async fn an_author_that_no_relay_would_take_is_made_into_one() {
    let stage = stage("mail_from: '{from}@sms.test'").await;
    let shop = stage.world.shop().await;
    let name = smpp::Address::new(5, 0, smpp::Octets::from_static(b"My <Shop>"));
    stage.mailed(&shop, Sm { source: name, ..wants(0) }).await;
    let mail = stage.relay.mails()[0].text();
    assert!(mail.contains("<My__Shop_@sms.test>"), "{mail}");
}

#[tokio::test]
async fn a_recipient_that_is_no_mailbox_is_refused_to_an_esme_and_held_for_an_smsc() {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let routes = "  - { name: desk, when: { protocol: smpp }, to: relay, rewrite: { to: '{to}@example.org' } }\n";
    let config = format!("{}{}routes:\n{routes}", base(), connectors(relay.address, smsc.address));
    let world = World::start(&config).await;
    let shop = world.shop().await;
    let nowhere = smpp::Address::new(5, 0, smpp::Octets::from_static(b"My <Shop>"));
    let sm = Sm { destination: nowhere, ..wants(1) };
    assert_eq!(shop.submit(sm.clone()).await.0, Status::RINVDSTADR);
    world.wait_target("smsc", true).await;
    smsc.deliver(sm);
    until("a held message", || (world.queued(Some("@held")) == 1).then_some(())).await;
    let held = world.app().router.list(Some("@held"), 10).unwrap();
    assert!(held[0].why.contains("rewrite.to"), "{held:?}");
}

#[tokio::test]
async fn forks_that_share_have_one_answer_about_the_list_whose_members_they_are() {
    let shared = stage_with_list("fails@example.org").await;
    let shop = shared.world.shop().await;
    let list =
        Sm { registered_delivery: RegisteredDelivery(1), ..text("33699999999", "all hands") };
    let (status, id) = shop.submit(list.clone()).await;
    assert_eq!(status, Status::ROK);
    shared.smsc.wait(1).await;
    shared.relay.wait(1).await;
    shared.world.wait_empty().await;
    assert!(shop.receipts().is_empty(), "one of the two is not there yet");
    shop.cut().await;
    let Stage { world, relay, smsc } = shared;
    let world = world.restart().await;
    world.wait_target("smsc", true).await;
    let taken = &smsc.taken()[0];
    smsc.deliver(wirepost_tests::sms::receipt(taken, "1", MessageState::Delivered));
    let shop = world.shop().await;
    assert_eq!(shop.wait_receipts(1).await, [(id, state(MessageState::Delivered))]);
    assert_eq!(shop.delivered()[0].source.addr.to_string(), "33699999999");

    relay.refuse("fails@", "550 5.1.1 nobody", 1);
    let (_, id) = shop.submit(list).await;
    let receipts = shop.wait_receipts(2).await;
    assert_eq!(receipts[1], (id, state(MessageState::Undeliverable)), "the first failure");
    let taken = &smsc.wait(2).await[1];
    smsc.deliver(wirepost_tests::sms::receipt(taken, "2", MessageState::Delivered));
    let parked = || world.app().router.receipts_parked() == 0;
    until("no receipt that waits", || parked().then_some(())).await;
    world.wait_empty().await;
    assert_eq!(shop.receipts().len(), 2);
}

/// A list of a number and a mailbox, each with a fork of its own that shares the answer.
async fn stage_with_list(mailbox: &str) -> Stage {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let lists = format!("{{ '+33699999999': ['+33612345678', '{mailbox}'] }}");
    let text = format!(
        "{}{}plugins:\n  - {{ name: lists, module: split_list.wasm, grants: {{ recipients: ['+33612345678', {{ domain: example.org }}], fork: 8 }}, \
         config: {{ each: message, lists: {lists} }} }}\nroutes:\n\
         \x20 - {{ name: numbers, when: {{ to: {{ kind: phone }} }}, to: smsc }}\n\
         \x20 - {{ name: mails, when: {{ to: {{ kind: mailbox }} }}, to: relay }}\n",
        base(),
        connectors(relay.address, smsc.address)
    );
    let folder = wirepost_tests::world::folder(&text);
    let name = "split_list.wasm";
    wirepost_tests::plugins::install(folder.path(), name, &wirepost_tests::plugins::module(name));
    Stage { world: World::start_in(folder).await, relay, smsc }
}

#[tokio::test]
async fn an_sms_that_answers_a_mail_goes_back_to_its_sender_who_can_answer_in_turn() {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let routes = "  - { name: out, when: { door: mail, to: { kind: phone } }, to: smsc, \
                  convert: { sender: '33700', conversation: 7d } }\n\
                  \x20 - { name: back, when: { door: smsc, to: { domain: example.org } }, to: relay, \
                  convert: { mail_from: '{digits}@sms.test' } }\n\
                  \x20 - { name: others, when: { door: smsc }, to: shop }\n";
    let config = format!("{}{}routes:\n{routes}", base(), connectors(relay.address, smsc.address));
    let world = World::start(&config).await;
    let mut mailer = world.mailer().await;
    let question = mail("Lunch?", "At noon?");
    let reply = mailer.send("alice@example.org", &["0612345678@sms.test"], &question).await;
    assert!(reply.starts_with("250"), "{reply}");
    let sent = smsc.wait(1).await.remove(0);
    assert_eq!(sent.source.addr.to_string(), "33700");
    let world = world.restart().await;
    world.wait_target("smsc", true).await;
    let shop = world.shop().await;
    let answer = |from: &str, words: &str| Sm {
        source: number(from),
        destination: sent.source.clone(),
        short_message: Bytes::copy_from_slice(words.as_bytes()),
        ..Sm::default()
    };
    smsc.deliver(answer("33612345679", "a stranger"));
    until("what a stranger says", || (shop.delivered().len() == 1).then_some(())).await;
    smsc.deliver(answer("33612345678", "See you there"));
    let back = relay.wait(1).await.remove(0);
    assert_eq!(back.recipients, ["alice@example.org"]);
    let view = message::mail::MailView::new(Bytes::from(back.data));
    assert_eq!(view.subject().unwrap(), "Re: Lunch?");
    assert_eq!(view.header("In-Reply-To").unwrap(), "<1@example.org>");
    assert_eq!(view.text().unwrap().trim_end(), "See you there");
    let author = view.from().unwrap();
    assert_eq!(author, "33612345678@sms.test");
    let mut mailer = world.mailer().await;
    let reply = mailer.send("alice@example.org", &[&author], &mail("Re: Lunch?", "Good")).await;
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(smsc.wait(2).await[1].destination, number("33612345678"));
    world.wait_empty().await;
    assert_eq!(shop.delivered().len(), 1);
}
