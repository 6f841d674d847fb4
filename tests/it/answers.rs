//! Notifications for senders of mail (RFC 3461, RFC 3464), and answers that wait for accounts.

use smpp::Sm;
use smpp::receipt::MessageState;
use wirepost::target::StopKind;
use wirepost_tests::mailer::mail;
use wirepost_tests::relay::Mail;
use wirepost_tests::sms::{number, receipt, text, text_with_receipt};
use wirepost_tests::wait::until;
use wirepost_tests::world::{ROUTES, base, config, connectors};
use wirepost_tests::{Answer, Mailer, Relay, Smsc, World};

/// A transaction with parameters of DSN; the last answer.
async fn send(mailer: &mut Mailer, from: &str, to: &str, message: &[u8]) -> String {
    for command in [format!("MAIL FROM:{from}"), format!("RCPT TO:{to}")] {
        let reply = mailer.say(&command).await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    mailer.say("DATA").await;
    mailer.write(message).await;
    mailer.write(b".\r\n").await;
    mailer.reply().await
}

/// Every line of `wanted` is in the text.
#[track_caller]
fn check_text(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
}

async fn world_with(smsc: &Smsc, change: impl Fn(String) -> String) -> (World, Relay) {
    let relay = Relay::start().await;
    let text = change(config(relay.address, smsc.address, ROUTES));
    (World::start(&text).await, relay)
}

#[tokio::test]
async fn a_mail_for_a_relay_without_dsn_is_reported_as_relayed_to_who_asked() {
    let smsc = Smsc::start().await;
    let (world, relay) = world_with(&smsc, |text| text).await;
    let mut mailer = world.mailer().await;
    let to = "<bob@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Robert@example.com";
    send(&mut mailer, "<alice@example.org> RET=HDRS ENVID=QQ1", to, &mail("Hi", "x")).await;
    let mails = relay.wait(2).await;
    world.wait_empty().await;
    assert_eq!(
        mails[0].commands,
        [
            "MAIL FROM:<alice@example.org> SIZE=".to_owned() + &mails[0].data.len().to_string(),
            "RCPT TO:<bob@example.com>".to_owned()
        ]
    );
    assert_eq!((&*mails[1].sender, &*mails[1].recipients[0]), ("", "alice@example.org"));
    check_text(
        &mails[1].text(),
        &[
            "Action: relayed",
            "Status: 2.",
            "Original-Envelope-Id: QQ1",
            "Original-Recipient: rfc822;Robert@example.com",
            "Final-Recipient: rfc822; bob@example.com",
            "Auto-Submitted: auto-replied",
            "Subject: Hi",
        ],
    );
    send(&mut mailer, "<alice@example.org>", "<bob@example.com>", &mail("Hi", "x")).await;
    send(&mut mailer, "<>", "<bob@example.com> NOTIFY=SUCCESS", &mail("Hi", "x")).await;
    relay.wait(4).await;
    world.wait_empty().await;
    assert_eq!(relay.mails().len(), 4, "nobody else asked who can be told");
}

#[tokio::test]
async fn a_relay_with_dsn_is_asked_and_tells_itself() {
    let smsc = Smsc::start().await;
    let (world, relay) = world_with(&smsc, |text| text).await;
    relay.offer_dsn();
    let mut mailer = world.mailer().await;
    let orcpt = " ORCPT=rfc822;Robert@example.com";
    for notify in [" NOTIFY=SUCCESS,FAILURE", " NOTIFY=NEVER", " NOTIFY=FAILURE", ""] {
        let to = format!("<bob@example.com>{notify}{orcpt}");
        send(&mut mailer, "<alice@example.org> RET=FULL ENVID=QQ1", &to, &mail("Hi", "x")).await;
    }
    let mails = relay.wait(4).await;
    world.wait_empty().await;
    assert_eq!(relay.mails().len(), 4);
    let mut asked: Vec<String> = mails.iter().map(|mail| mail.commands[1].clone()).collect();
    asked.sort();
    let rcpt = |notify: &str| format!("RCPT TO:<bob@example.com>{notify}{orcpt}");
    let failure = [" NOTIFY=FAILURE", " NOTIFY=NEVER", " NOTIFY=SUCCESS,FAILURE", ""].map(rcpt);
    assert_eq!(asked, failure);
    check_text(&mails[0].commands[0], &[" RET=FULL", " ENVID=QQ1"]);
}

#[tokio::test]
async fn a_delay_is_told_once_to_who_asked_or_said_nothing() {
    let smsc = Smsc::start().await;
    let change = |text: String| {
        text.replace("from: postmaster@gw.test", "from: postmaster@gw.test, delay_after: 1s")
    };
    let (world, relay) = world_with(&smsc, change).await;
    world.wait_target("smsc", true).await;
    let address = smsc.stop().await;
    world.wait_target("smsc", false).await;
    let mut mailer = world.mailer().await;
    let asks = ["", " NOTIFY=DELAY,FAILURE", " NOTIFY=FAILURE", " NOTIFY=SUCCESS", " NOTIFY=NEVER"];
    for (at, notify) in asks.iter().enumerate() {
        let to = format!("<061234567{at}@sms.test>{notify}");
        send(&mut mailer, "<alice@example.org> ENVID=QQ2", &to, &mail("Hi", "x")).await;
    }
    send(&mut mailer, "<>", "<0612345679@sms.test>", b"X: y\r\n\r\nz\r\n").await;
    let mut told: Vec<String> = relay.wait(2).await.iter().map(Mail::text).collect();
    told.sort_by_key(|text| text.contains("0612345671"));
    for (text, number) in told.iter().zip(["0612345670", "0612345671"]) {
        check_text(
            text,
            &[
                "Action: delayed",
                "Status: 4.",
                "Will-Retry-Until: ",
                "Original-Envelope-Id: QQ2",
                number,
            ],
        );
    }
    let world = world.restart().await;
    until("all of it again", || (world.queued(Some("smsc")) == 5).then_some(())).await;
    let smsc = Smsc::start_at(address, |_, _| Answer::default()).await;
    assert_eq!(smsc.wait(5).await.len(), 5);
    world.wait_empty().await;
    assert_eq!(relay.mails().len(), 2, "once each, and a restart does not forget it");
}

#[tokio::test]
async fn receipts_of_the_smsc_become_what_the_mail_asked_for() {
    let smsc = Smsc::start_with(|number, sm| {
        let state = if sm.short_message.ends_with(b"good") {
            MessageState::Delivered
        } else {
            MessageState::Undeliverable
        };
        Answer { after: Some(receipt(sm, &number.to_string(), state)), ..Answer::default() }
    })
    .await;
    let (world, relay) = world_with(&smsc, |text| text).await;
    let mut mailer = world.mailer().await;
    let mut expect = 0;
    for (ret, notify, words, wanted) in [
        ("HDRS", "SUCCESS", "good", Some(["Action: delivered", "Status: 2.1.5", "rfc822-headers"])),
        ("HDRS", "FAILURE", "bad", Some(["Action: failed", "Status: 5.1.1", "rfc822-headers"])),
        ("FULL", "FAILURE", "bad", Some(["Action: failed", "Status: 5.1.1", "message/rfc822"])),
        ("FULL", "SUCCESS", "bad", None),
        ("FULL", "FAILURE", "good", None),
        ("FULL", "NEVER", "bad", None),
    ] {
        let from = format!("<alice@example.org> RET={ret} ENVID=QQ3");
        let to = format!("<0612345678@sms.test> NOTIFY={notify} ORCPT=rfc822;Bob@example.com");
        let taken = smsc.taken().len();
        send(&mut mailer, &from, &to, &mail("Hi", words)).await;
        smsc.wait(taken + 1).await;
        if let Some(wanted) = wanted {
            expect += 1;
            let text = relay.wait(expect).await[expect - 1].text();
            check_text(&text, &wanted);
            check_text(
                &text,
                &["QQ3", "Original-Recipient: rfc822;Bob@example.com", "Subject: Hi"],
            );
            assert_eq!(text.contains("\r\nbad"), ret == "FULL", "{text}");
        }
    }
    world.wait_empty().await;
    assert_eq!(relay.mails().len(), expect);
}

#[tokio::test]
async fn a_route_that_asks_for_no_receipts_still_tells_what_it_knows() {
    let smsc = Smsc::start_with(|_, sm| Answer {
        status: if sm.short_message.ends_with(b"bad") {
            smpp::Status::RINVDSTADR
        } else {
            smpp::Status::ROK
        },
        ..Answer::default()
    })
    .await;
    let change = |text: String| text.replace("to: smsc,", "to: smsc, receipts: never,");
    let (world, relay) = world_with(&smsc, change).await;
    let mut mailer = world.mailer().await;
    let to = "<0612345678@sms.test> NOTIFY=SUCCESS,FAILURE";
    send(&mut mailer, "<alice@example.org>", to, &mail("Hi", "good")).await;
    check_text(&relay.wait(1).await[0].text(), &["Action: relayed", "Status: 2."]);
    assert_eq!(smsc.taken()[0].registered_delivery.0, 0);
    send(&mut mailer, "<alice@example.org>", "<0612345678@sms.test>", &mail("Hi", "bad")).await;
    check_text(&relay.wait(2).await[1].text(), &["Action: failed", "Status: 5."]);
    let shop = world.shop().await;
    let (_, id) = shop.submit(text_with_receipt("33612345678", "good")).await;
    let told = shop.wait_receipts(1).await;
    assert_eq!(told, [(id, MessageState::Accepted.to_string())]);
    world.wait_empty().await;
}

#[tokio::test]
async fn a_route_that_always_asks_tells_nobody_who_did_not() {
    let smsc = Smsc::start_with(|number, sm| Answer {
        after: Some(receipt(sm, &number.to_string(), MessageState::Delivered)),
        ..Answer::default()
    })
    .await;
    let change = |text: String| text.replace("to: smsc,", "to: smsc, receipts: always,");
    let (world, relay) = world_with(&smsc, change).await;
    let mut mailer = world.mailer().await;
    send(&mut mailer, "<alice@example.org>", "<0612345678@sms.test>", &mail("Hi", "x")).await;
    let shop = world.shop().await;
    shop.submit(text("33612345678", "quiet")).await;
    let (_, id) = shop.submit(text_with_receipt("33612345678", "loud")).await;
    assert_eq!(shop.wait_receipts(1).await, [(id, MessageState::Delivered.to_string())]);
    world.wait_empty().await;
    assert!(smsc.taken().iter().all(|sm| sm.registered_delivery.0 == 1));
    assert_eq!((relay.mails().len(), shop.receipts().len()), (0, 1));
}

#[tokio::test]
async fn an_esme_that_takes_a_message_of_another_is_its_receipt() {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let accounts = "  desk: { smpp: { system_id: desk, password: secret } }\nconnectors:";
    let routes = "  - { name: desk, when: { account: shop }, to: desk }\n";
    let text = format!("{}{}routes:\n{routes}", base(), connectors(relay.address, smsc.address));
    let world = World::start(&text.replace("connectors:", accounts)).await;
    let shop = world.shop().await;
    let (_, id) = shop.submit(text_with_receipt("33612345678", "hello desk")).await;
    assert_eq!(world.queued(Some("desk")), 1);
    let desk = wirepost_tests::Esme::bind(world.address("esmes"), "desk", "secret").await;
    assert_eq!(shop.wait_receipts(1).await, [(id, MessageState::Delivered.to_string())]);
    assert_eq!(desk.delivered()[0].short_message, "hello desk");
}

/// A message that the SMSC sends us.
fn incoming(words: &str) -> Sm {
    Sm { source: number("33611111111"), ..text("33699999999", words) }
}

#[tokio::test]
async fn what_came_for_an_absent_esme_is_delivered_in_order_when_it_binds() {
    let smsc = Smsc::start().await;
    let routes = "  - { name: in, when: { door: smsc }, to: shop }\n  - { name: out, to: smsc }\n";
    let relay = Relay::start().await;
    let world = World::start(&config(relay.address, smsc.address, routes)).await;
    let shop = world.shop().await;
    let (_, id) = shop.submit(text_with_receipt("33612345678", "hello")).await;
    let taken = smsc.wait(1).await;
    shop.cut().await;
    world.wait_target("shop", false).await;
    for part in 0..20 {
        smsc.deliver(incoming(&format!("{part}")));
        until("the next one", || (world.queued(Some("shop")) == part + 1).then_some(())).await;
    }
    smsc.deliver(receipt(&taken[0], "1", MessageState::Delivered));
    until("the receipt", || (world.queued(Some("shop")) == 21).then_some(())).await;
    let world = world.restart().await;
    let shop = world.shop().await;
    assert_eq!(shop.wait_receipts(1).await, [(id, MessageState::Delivered.to_string())]);
    world.wait_empty().await;
    let got: Vec<String> = shop
        .delivered()
        .iter()
        .map(|sm| String::from_utf8_lossy(&sm.short_message).into_owned())
        .collect();
    let messages: Vec<String> = (0..20).map(|part| part.to_string()).collect();
    let (receipts, got): (Vec<_>, Vec<_>) =
        got.into_iter().partition(|text| text.starts_with("id:"));
    assert_eq!((got, receipts.len()), (messages, 1));
}

#[tokio::test]
async fn the_oldest_receipts_make_room_and_messages_are_put_off_at_the_door() {
    let smsc = Smsc::start_with(|number, sm| Answer {
        after: Some(receipt(sm, &number.to_string(), MessageState::Delivered)),
        ..Answer::default()
    })
    .await;
    let routes =
        "  - { name: in, when: { door: [smsc, mail] }, to: shop }\n  - { name: out, to: smsc }\n";
    let relay = Relay::start().await;
    let text = config(relay.address, smsc.address, routes)
        .replace("password: secret } }", "password: secret }, receipts_max: 2, queue_max: 3 }");
    let text = format!("{text}journal: {{ path: journal }}\n");
    let world = World::start(&text).await;
    world.wait_target("smsc", true).await;
    let mut mailer = world.mailer().await;
    smsc.deliver(incoming("first"));
    until("a message", || (world.queued(Some("shop")) == 1).then_some(())).await;
    let shop = world.shop().await;
    until("it", || (shop.delivered().len() == 1).then_some(())).await;
    world.app().router.order("shop", Some(StopKind::Suspended), &"a test".into()).await.unwrap();
    let ids = shop.submit_all((0..5).map(|_| text_with_receipt("33612345678", "x"))).await;
    smsc.wait(5).await;
    let discarded = || {
        let gone = |id: &String| {
            let story = world.story(id);
            story.iter().any(|(event, line)| event == "expired" && line.contains("receipts_max"))
        };
        ids.iter().map(gone).collect::<Vec<_>>()
    };
    let gone = || discarded().iter().filter(|gone| **gone).count();
    until("three that are gone", || (gone() == 3).then_some(())).await;
    assert_eq!(world.queued(Some("shop")), 2);
    smsc.deliver(incoming("second"));
    until("room for one message", || (world.queued(Some("shop")) == 3).then_some(())).await;
    let reply = mailer.send("a@example.org", &["0612345678@sms.test"], &mail("Hi", "x")).await;
    assert!(reply.starts_with("452 4.3.1"), "{reply}");
    assert_eq!(world.queued(Some("shop")), 3);
    world.app().router.order("shop", None, &"a test".into()).await.unwrap();
    world.wait_empty().await;
    assert_eq!((shop.receipts().len(), shop.delivered().len()), (2, 4));
}

#[tokio::test]
async fn a_receipt_whose_account_is_gone_goes_to_nobody_else() {
    let smsc = Smsc::start().await;
    let (world, relay) = world_with(&smsc, |text| text).await;
    let shop = world.shop().await;
    shop.submit(text_with_receipt("33612345678", "hello")).await;
    let taken = smsc.wait(1).await;
    shop.cut().await;
    world.wait_target("shop", false).await;
    smsc.deliver(receipt(&taken[0], "1", MessageState::Delivered));
    until("the receipt", || (world.queued(Some("shop")) == 1).then_some(())).await;
    let text = std::fs::read_to_string(world.config()).unwrap();
    world
        .reload(&text.replace("  shop: { smpp: { system_id: shop", "  new: { smpp: { system_id: n"))
        .await;
    world.wait_empty().await;
    assert_eq!((smsc.taken().len(), relay.mails().len()), (1, 0));
}

#[tokio::test]
async fn receipts_for_nobody_are_bounded_and_the_same_for_ever_is_told_once() {
    let smsc = Smsc::start().await;
    let (world, _relay) =
        world_with(&smsc, |text| format!("{text}journal: {{ path: journal }}\n")).await;
    let shop = world.shop().await;
    let (_, id) = shop.submit(text_with_receipt("33612345678", "hello")).await;
    let taken = smsc.wait(1).await;
    world.wait_empty().await;
    for _ in 0..50 {
        smsc.deliver(receipt(&taken[0], "1", MessageState::Delivered));
        smsc.deliver(receipt(&taken[0], "nobody", MessageState::Delivered));
    }
    let late = || {
        let story = world.story(&id);
        let late = story.iter().filter(|(_, line)| line.contains("\"late\":true")).count();
        (late == 49).then_some(())
    };
    until("all of them in the journal", late).await;
    until("one that waits", || (world.app().router.receipts_parked() == 1).then_some(())).await;
    let told = [(id, MessageState::Delivered.to_string())];
    assert_eq!(shop.wait_receipts(1).await, told);
    world.wait_empty().await;
    assert_eq!(shop.receipts(), told);
}
