//! Messages that go through: what comes in is what goes out.

use bytes::Bytes;
use smpp::{Address, EsmClass, Octets, Sm, Status, Tlvs, npi, tag, ton};
use wirepost_tests::mailer::mail;
use wirepost_tests::sms::{number, text};
use wirepost_tests::world::{ROUTES, config, connectors};
use wirepost_tests::{Relay, Smsc, World, world};

async fn world() -> (World, Relay, Smsc) {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let world = World::start(&config(relay.address, smsc.address, ROUTES)).await;
    (world, relay, smsc)
}

#[tokio::test]
async fn a_mail_reaches_the_relay_with_one_received_field_more_and_every_octet_of_its_own() {
    let (world, relay, _smsc) = world().await;
    let mut message = mail("Hello", "one\r\n.\r\n..two\r\n\r\n caf\u{e9} \u{1f600}\t");
    message.extend_from_slice(&[0xff, 0xfe, b' ', 0x80, b'\r', b'\n']);
    let reply =
        world.mailer().await.send("alice@example.org", &["bob@example.com"], &message).await;
    assert!(reply.starts_with("250 2."), "{reply}");
    let mails = relay.wait(1).await;
    let [got] = &mails[..] else { panic!("{mails:?}") };
    assert_eq!(
        (&*got.sender, &got.recipients[..]),
        ("alice@example.org", &["bob@example.com".to_owned()][..])
    );
    assert!(got.data.ends_with(&message), "{}", got.text());
    let added = &got.data[..got.data.len() - message.len()];
    let added = String::from_utf8(added.to_vec()).unwrap();
    assert!(added.starts_with("Received: from client.test"), "{added}");
    assert_eq!(added.matches("Received:").count(), 1);
    assert!(added.ends_with("\r\n") && added.contains("by gw.test"), "{added}");
    world.wait_empty().await;
}

#[tokio::test]
async fn an_empty_message_and_a_header_without_a_body_are_relayed() {
    let (world, relay, _smsc) = world().await;
    let mut mailer = world.mailer().await;
    for message in [&b"Subject: nothing else\r\n"[..], b"Subject: x\r\n\r\n"] {
        let reply = mailer.send("alice@example.org", &["bob@example.com"], message).await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    assert_eq!(mailer.say("MAIL FROM:<alice@example.org>").await.get(..3), Some("250"));
    mailer.say("RCPT TO:<bob@example.com>").await;
    mailer.say("DATA").await;
    mailer.write(b".\r\n").await;
    assert!(mailer.reply().await.starts_with("250"));
    assert_eq!(relay.wait(3).await.len(), 3);
}

#[tokio::test]
async fn a_mail_to_a_number_becomes_its_text_at_the_smsc() {
    let (world, _relay, smsc) = world().await;
    let message = mail("Hi", "Your code is 1234.\r\n-- \r\nAlice");
    let reply =
        world.mailer().await.send("alice@example.org", &["0612345678@sms.test"], &message).await;
    assert!(reply.starts_with("250"), "{reply}");
    let taken = smsc.wait(1).await;
    assert_eq!(taken[0].short_message, "Hi: Your code is 1234.");
    assert_eq!(taken[0].destination, number("33612345678"));
    assert_eq!(taken[0].data_coding, 0);
}

#[tokio::test]
async fn a_mail_in_another_script_becomes_ucs2() {
    let (world, _relay, smsc) = world().await;
    let message =
        b"Subject: =?utf-8?B?0J/RgNC40LLQtdGC?=\r\nContent-Type: text/plain; charset=utf-8\r\n\
        Content-Transfer-Encoding: base64\r\n\r\n8J+YgA==\r\n";
    let reply = world.mailer().await.send("a@example.org", &["0612345678@sms.test"], message).await;
    assert!(reply.starts_with("250"), "{reply}");
    let taken = smsc.wait(1).await;
    assert_eq!(taken[0].data_coding, 8);
    let want: Vec<u8> = "\u{41f}\u{440}\u{438}\u{432}\u{435}\u{442}: \u{1f600}"
        .encode_utf16()
        .flat_map(u16::to_be_bytes)
        .collect();
    assert_eq!(taken[0].short_message, want);
}

#[tokio::test]
async fn a_short_message_reaches_the_smsc_octet_by_octet() {
    let (world, _relay, smsc) = world().await;
    let shop = world.shop().await;
    let mut tlvs = Tlvs::new();
    tlvs.push(tag::USER_MESSAGE_REFERENCE, &[0x12, 0x34]).unwrap();
    tlvs.push(0x1400, b"vendor").unwrap();
    tlvs.push(0x1400, b"again").unwrap();
    let udh = Sm {
        source: Address::new(ton::ALPHANUMERIC, npi::UNKNOWN, Octets::from_static(b"SHOP")),
        esm_class: EsmClass(0x40),
        short_message: Bytes::from_static(b"\x06\x05\x04\x0b\x84\x23\xf0\x01\x02\xff\x00\x80"),
        data_coding: 0xf5,
        protocol_id: 0x41,
        ..text("33612345678", "")
    };
    let with_tlvs = Sm { tlvs, data_coding: 4, ..text("33612345679", "\u{1}\u{2}") };
    let plain = Sm {
        data_coding: 3,
        short_message: Bytes::from_static(b"caf\xe9"),
        ..text("33612345670", "")
    };
    for sm in [&udh, &with_tlvs, &plain] {
        let (status, id) = shop.submit(sm.clone()).await;
        assert_eq!(status, Status::ROK);
        assert!(id.parse::<u64>().is_ok(), "{id}");
    }
    let taken = smsc.wait(3).await;
    for (got, sent) in taken.iter().zip([&udh, &with_tlvs, &plain]) {
        assert_eq!(got.source, sent.source);
        assert_eq!(got.destination, sent.destination);
        assert_eq!(got.esm_class, sent.esm_class);
        assert_eq!(got.data_coding, sent.data_coding);
        assert_eq!(got.protocol_id, sent.protocol_id);
        assert_eq!(got.short_message, sent.short_message);
        assert_eq!(got.tlvs, sent.tlvs);
    }
    world.wait_empty().await;
}

#[tokio::test]
async fn a_hundred_messages_of_one_session_keep_their_order() {
    let (world, _relay, smsc) = world().await;
    let shop = world.shop().await;
    let ids = shop.submit_all((0..100).map(|n| text("33612345678", &format!("{n}")))).await;
    let taken = smsc.wait(100).await;
    let got: Vec<String> =
        taken.iter().map(|sm| String::from_utf8_lossy(&sm.short_message).into_owned()).collect();
    assert_eq!(got, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    let numbers: Vec<u64> = ids.iter().map(|id| id.parse().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

#[tokio::test]
async fn several_recipients_of_one_mail_are_one_transaction_at_the_relay() {
    let (world, relay, _smsc) = world().await;
    let recipients = ["a@example.com", "b@example.com", "c@example.net"];
    let reply = world.mailer().await.send("alice@example.org", &recipients, &mail("x", "y")).await;
    assert!(reply.starts_with("250"), "{reply}");
    world.wait_empty().await;
    let mails = relay.mails();
    assert_eq!(mails.len(), 1, "{mails:?}");
    let mut got = mails[0].recipients.clone();
    got.sort();
    assert_eq!(got, recipients);
}

#[tokio::test]
async fn numbers_and_mailboxes_of_one_mail_go_their_own_ways() {
    let (world, relay, smsc) = world().await;
    let recipients = ["bob@example.com", "0612345678@sms.test", "+33712345678@sms.test"];
    let reply =
        world.mailer().await.send("alice@example.org", &recipients, &mail("Hi", "there")).await;
    assert!(reply.starts_with("250"), "{reply}");
    let mails = relay.wait(1).await;
    assert_eq!(mails[0].recipients, ["bob@example.com"]);
    let mut taken: Vec<String> =
        smsc.wait(2).await.iter().map(|sm| sm.destination.addr.to_string()).collect();
    taken.sort();
    assert_eq!(taken, ["33612345678", "33712345678"]);
    world.wait_empty().await;
    assert_eq!((relay.mails().len(), smsc.taken().len()), (1, 2));
}

#[tokio::test]
async fn a_mail_from_nobody_is_relayed_from_nobody() {
    let (world, relay, _smsc) = world().await;
    let reply = world.mailer().await.send("", &["bob@example.com"], &mail("x", "y")).await;
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(relay.wait(1).await[0].sender, "");
}

#[tokio::test]
async fn a_short_message_becomes_a_mail_where_a_route_says_so() {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let config = format!(
        "{}{}routes:\n  - {{ name: desk, when: {{ protocol: smpp }}, to: relay, rewrite: {{ to: desk@example.org }}, \
         convert: {{ mail_from: \"{{digits}}@sms.test\", subject: \"From {{from}}\" }} }}\n",
        world::base(),
        connectors(relay.address, smsc.address),
    );
    let world = World::start(&config).await;
    let shop = world.shop().await;
    let message = Sm { source: number("33611111111"), ..text("33612345678", "please call") };
    assert_eq!(shop.submit(message).await.0, Status::ROK);
    let mails = relay.wait(1).await;
    let text = mails[0].text();
    assert_eq!(mails[0].recipients, ["desk@example.org"]);
    assert!(text.contains("33611111111"), "{text}");
    assert!(String::from_utf8_lossy(mails[0].body()).contains("please call"), "{text}");
}
