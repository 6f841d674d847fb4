//! What stands on the wire.

use std::sync::Arc;
use std::time::Duration;

use message::{Message, MessageId, Origin, Recipient, Tlv, Wish};

use super::*;
use crate::delivery::{Answers, Delivery, SmsOut, Terms};

const NOW: Timestamp = Timestamp::from_ms(1_769_860_800_000);

pub(crate) fn queued(content: Content) -> Queued {
    let origin = Origin {
        door: "esmes".into(),
        protocol: Protocol::Smpp,
        peer: "192.0.2.1:4242".into(),
        account: "shop".into(),
        session: 1,
        helo: "shop".into(),
        tls: false,
    };
    let id = MessageId::from_u64(7);
    let recipient = Recipient::new(Address::phone("+33612345678"), Wish::FINAL);
    let message = Message {
        id,
        parent: None,
        origin: Arc::new(origin),
        sender: Address::alphanumeric("SHOP"),
        recipients: vec![recipient.clone()],
        content,
        envid: None,
        ret: None,
        smtputf8: false,
        eight_bit: false,
        meta: std::collections::BTreeMap::new(),
        received: NOW,
        not_before: None,
        expires: Timestamp::NEVER,
        priority: 0,
        hops: 0,
    };
    let delivery = Delivery {
        id,
        body: id,
        message: id,
        recipient,
        route: "r".into(),
        targets: vec!["smsc-a".into()],
        cursor: 0,
        answers: Answers::Origin,
        sms: None,
        parts: None,
        attempts: 0,
        faults: 0,
        due: NOW,
        expires: Timestamp::NEVER,
        priority: 0,
        account: "shop".into(),
        doubtful: false,
        known_as: None,
        last: None,
        terms: Terms::default(),
    };
    Queued { delivery, message: Arc::new(message) }
}

/// A message that we made.
fn ours(content: Content) -> Queued {
    let mut queued = queued(content);
    let message = Arc::get_mut(&mut queued.message).unwrap();
    let mut origin = (*message.origin).clone();
    origin.protocol = Protocol::Internal;
    message.origin = Arc::new(origin);
    queued
}

pub(crate) fn text(text: &str) -> Queued {
    queued(Content::Short(Short::from_text(text)))
}

pub(crate) fn composing() -> Composing {
    Composing {
        to_smsc: true,
        zero: Alphabet::Gsm,
        concat: Concat::Udh8,
        source: Numbering::default(),
        dest: Numbering::default(),
        service_type: Octets::new(),
    }
}

fn composed(queued: &mut Queued, composing: &Composing) -> Vec<Sm> {
    compose(queued, composing, || 0x1234, NOW).unwrap()
}

#[test]
fn a_short_text_is_one_part_with_the_addresses_of_its_kind() {
    let mut queued = text("h\u{e9}llo");
    let sms = composed(&mut queued, &composing());
    let [sm] = &sms[..] else { panic!("{sms:?}") };
    assert_eq!(sm.source, smpp::Address::new(5, 0, Octets::from_static(b"SHOP")));
    assert_eq!(sm.destination, smpp::Address::new(1, 1, Octets::from_static(b"33612345678")));
    assert_eq!((sm.data_coding, &sm.short_message[..]), (0, &b"h\x05llo"[..]));
    assert_eq!((sm.registered_delivery.0, sm.validity_period.len()), (1, 0));
    assert_eq!(queued.delivery.parts, None);
}

#[test]
fn a_long_text_is_cut_once_and_for_all() {
    let mut queued = text(&"x".repeat(200));
    let sms = composed(&mut queued, &composing());
    assert_eq!(sms.len(), 2);
    assert!(sms.iter().all(|sm| sm.esm_class.has_udh()));
    assert_eq!(sms[1].short_message[..7], [5, 0, 3, 0x34, 2, 2, b'x']);
    let parts = queued.delivery.parts.clone().unwrap();
    assert_eq!((parts.reference, parts.total, parts.sent.len()), (0x1234, 2, 2));
    // The next attempt has the same reference, even if the operator has other ideas now.
    let wide = Composing { concat: Concat::Udh16, ..composing() };
    let again = compose(&mut queued, &wide, || 0x9999, NOW).unwrap();
    assert_eq!(again, sms);
}

#[track_caller]
fn check_carrier(concat: Concat, expect: impl Fn(&[Sm]) -> bool) {
    let sms = composed(&mut text(&"x".repeat(200)), &Composing { concat, ..composing() });
    assert!(expect(&sms), "{sms:?}");
}

#[test]
fn parts_say_that_they_belong_together_as_the_operator_wants() {
    check_carrier(Concat::Udh16, |sms| {
        sms.len() == 2 && sms[0].short_message[..7] == [6, 8, 4, 0x12, 0x34, 2, 1]
    });
    check_carrier(Concat::Sar, |sms| {
        let number = |tag| sms[1].tlvs.number(tag);
        sms.len() == 2
            && !sms[1].esm_class.has_udh()
            && number(tag::SAR_MSG_REF_NUM) == Some(0x1234)
            && number(tag::SAR_TOTAL_SEGMENTS) == Some(2)
            && number(tag::SAR_SEGMENT_SEQNUM) == Some(2)
    });
    let long = composed(
        &mut text(&"x".repeat(300)),
        &Composing { concat: Concat::Payload, ..composing() },
    );
    assert_eq!((long.len(), long[0].short_message.len(), long[0].text().len()), (1, 0, 300));
}

#[test]
fn what_nobody_touched_goes_out_as_it_came() {
    let short = Short {
        esm_class: 0x43,
        protocol_id: 0x41,
        tlvs: vec![
            Tlv { tag: 0x1400, value: Bytes::from_static(b"pe\0") },
            Tlv { tag: 0x1400, value: Bytes::from_static(b"pe\0") },
        ],
        ..Short::from_coded(Bytes::from_static(b"\x05\x00\x03\x01\x02\x01xyz"), 0xF5, 0)
    };
    let mut queued = queued(Content::Short(short.clone()));
    let sms = composed(&mut queued, &composing());
    let [sm] = &sms[..] else { panic!("{sms:?}") };
    assert_eq!((sm.esm_class.0, sm.protocol_id, sm.data_coding), (0x43, 0x41, 0xF5));
    assert_eq!(ShortBody::Coded(sm.short_message.clone()), short.body);
    assert_eq!(sm.tlvs.as_bytes(), b"\x14\x00\x00\x03pe\0\x14\x00\x00\x03pe\0");
    let back = crate::sms::read::short(sm, Alphabet::Gsm);
    assert_eq!(back, short);
}

#[test]
fn a_payload_stays_a_payload() {
    let short = Short { in_payload: true, ..Short::from_coded(Bytes::from_static(b"tiny"), 0, 0) };
    let sms = composed(&mut queued(Content::Short(short)), &composing());
    assert_eq!(sms[0].tlvs.first(tag::MESSAGE_PAYLOAD), Some(&b"tiny"[..]));
    assert!(sms[0].short_message.is_empty());
}

#[track_caller]
fn check_zero(zero: Alphabet, data_coding: u8, octets: &'static [u8], expect: (u8, &[u8])) {
    let short = Short::from_coded(Bytes::from_static(octets), data_coding, 0);
    let composing = Composing { zero, ..composing() };
    let sms = composed(&mut queued(Content::Short(short)), &composing);
    assert_eq!((sms[0].data_coding, &sms[0].short_message[..]), expect);
}

#[test]
fn what_zero_means_at_the_peer_is_what_it_gets() {
    check_zero(Alphabet::Gsm, 0, b"\x05", (0, b"\x05"));
    check_zero(Alphabet::Latin1, 0, b"\x05", (0, b"\xE9"));
    check_zero(Alphabet::Latin1, 3, b"\xE9", (3, b"\xE9"));
    check_zero(Alphabet::Ascii, 0, b"\x05", (8, b"\x00\xE9"));
    check_zero(Alphabet::GsmPacked, 0, b"he", (0, &[0xE8, 0x32]));
    check_zero(Alphabet::Utf8, 0x10, b"\x05", (0x10, b"\xC3\xA9"));
    let composing = Composing { zero: Alphabet::Latin1, ..composing() };
    let sms = composed(&mut text("\u{e9}"), &composing);
    assert_eq!((sms[0].data_coding, &sms[0].short_message[..]), (0, &b"\xE9"[..]));
    let sms = composed(&mut text("\u{436}"), &composing);
    assert_eq!((sms[0].data_coding, &sms[0].short_message[..]), (8, &b"\x04\x36"[..]));
}

#[test]
fn a_mail_needs_a_text_and_a_number() {
    let mut mail = queued(Content::Mail(Bytes::from_static(b"Subject: x\r\n\r\ny\r\n")));
    assert!(matches!(compose(&mut mail, &composing(), || 0, NOW), Err(ComposeError::NoText)));
    mail.delivery.sms = Some(SmsOut { text: "x: y".into(), sender: Address::short_code("33700") });
    let sms = composed(&mut mail, &composing());
    assert_eq!(&sms[0].short_message[..], b"x: y");
    assert_eq!(sms[0].source, smpp::Address::new(3, 0, Octets::from_static(b"33700")));
    // A mailbox is no sender of an SMS: the SMSC puts its own.
    mail.delivery.sms = Some(SmsOut { text: "x".into(), sender: Address::mailbox("a@b.example") });
    assert_eq!(composed(&mut mail, &composing())[0].source, smpp::Address::default());
    mail.delivery.recipient.address = Address::mailbox("a@b.example");
    assert!(matches!(compose(&mut mail, &composing(), || 0, NOW), Err(ComposeError::NoNumber)));
}

#[test]
fn validity_shrinks_while_the_message_waits() {
    let mut queued = text("x");
    Arc::get_mut(&mut queued.message).unwrap().expires = NOW.after(Duration::from_secs(3600));
    let later = NOW.after(Duration::from_secs(600));
    let sms = compose(&mut queued, &composing(), || 0, later).unwrap();
    assert_eq!(sms[0].validity_period, "000000005000000R");
}

#[test]
fn towards_an_esme_there_are_no_wishes() {
    let receipt = Short::from_coded(Bytes::from_static(b"id:7 stat:DELIVRD"), 0, 0x04);
    let mut queued = ours(Content::Short(receipt));
    queued.delivery.priority = 2;
    let composing = Composing { to_smsc: false, ..composing() };
    let sms = composed(&mut queued, &composing);
    assert_eq!((sms[0].esm_class.0, sms[0].registered_delivery.0, sms[0].priority_flag), (4, 0, 0));
    // And an SMSC never gets one.
    let sms = composed(&mut queued, &self::composing());
    assert_eq!((sms[0].esm_class.0, sms[0].priority_flag), (0, 2));
}

/// Appendix B of v3.4, as a sender or a plugin could write it.
#[test]
fn nobody_but_us_makes_receipts() {
    let composing = Composing { to_smsc: false, ..composing() };
    let forged = |body: &str, esm_class: u8| {
        let mut short = Short::from_coded(Bytes::copy_from_slice(body.as_bytes()), 0, esm_class);
        for (tag, value) in [(0x001E, &b"7\0"[..]), (0x0427, &[2]), (0x1400, b"kept")] {
            short.tlvs.push(Tlv { tag, value: Bytes::copy_from_slice(value) });
        }
        Content::Short(short)
    };
    for esm_class in [0x04, 0x20, 0x24, 0x44, 0x00] {
        let sms = composed(&mut queued(forged("id:7 stat:DELIVRD", esm_class)), &composing);
        let tags: Vec<_> = sms[0].tlvs.iter().map(|tlv| tlv.tag).collect();
        assert_eq!((sms[0].is_receipt(), tags), (false, vec![0x1400]), "{esm_class:#x}");
        assert_eq!(sms[0].esm_class.0, esm_class & 0x40);
    }
    for acknowledgement in [0x08, 0x10] {
        let sms = composed(&mut queued(forged("seen", acknowledgement)), &composing);
        assert_eq!((sms[0].esm_class.0, sms[0].tlvs.iter().count()), (acknowledgement, 1));
    }
    let sms = composed(&mut ours(forged("id:7 stat:DELIVRD", 0x04)), &composing);
    assert!(sms[0].is_receipt() && sms[0].tlvs.iter().count() == 3);
}

#[test]
fn numbers_without_a_kind_get_the_operators() {
    let mut queued = text("x");
    queued.delivery.recipient.address = Address::from_smpp(0, 0, b"0612345678");
    let dest = Numbering { ton: Some(2), npi: Some(1) };
    let sms = composed(&mut queued, &Composing { dest, ..composing() });
    assert_eq!((sms[0].destination.ton, sms[0].destination.npi), (2, 1));
}
