//! What an edit changes, and what it leaves alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{EditError, Edited, Kind, Value};
use crate::{
    Address, Content, Message, MessageId, Origin, Protocol, Recipient, Short, Timestamp, Wish,
};

const MAIL: &[u8] = b"From: a@example.org\r\nTo: l@example.org\r\nSubject: =?utf-8?q?Caf=C3=A9?=\r\nX-Old: 1\r\n\r\nWin the Lottery\r\n";

fn message(content: Content) -> Arc<Message> {
    let (door, peer, empty) = (Arc::from("door"), Arc::from("127.0.0.1:1"), Arc::from(""));
    let origin = Origin {
        door,
        protocol: Protocol::Smpp,
        peer,
        account: Arc::clone(&empty),
        session: 1,
        helo: empty,
        tls: false,
    };
    Arc::new(Message {
        id: MessageId::from_u64(1),
        parent: None,
        origin: Arc::new(origin),
        sender: Address::alphanumeric("SHOP"),
        recipients: vec![Recipient::new(Address::phone("+33612345678"), Wish::FINAL)],
        content,
        envid: None,
        ret: None,
        smtputf8: false,
        eight_bit: false,
        meta: BTreeMap::new(),
        received: Timestamp::from_ms(1000),
        not_before: None,
        expires: Timestamp::NEVER,
        priority: 0,
        hops: 0,
    })
}

fn short(octets: &'static [u8], data_coding: u8, esm_class: u8) -> Edited {
    let content = Short::from_coded(Bytes::from_static(octets), data_coding, esm_class);
    Edited::new(message(Content::Short(content)))
}

fn mail() -> Edited {
    Edited::new(message(Content::Mail(Bytes::from_static(MAIL))))
}

#[test]
fn an_edit_that_changes_nothing_is_none() {
    let mut edited = short(b"hello", 0, 0);
    edited.set_text("hello").unwrap();
    edited.set_sender(Address::alphanumeric("SHOP")).unwrap();
    edited.set_recipients([Address::phone("+33612345678")]).unwrap();
    edited.set_field("delivery.priority", &Value::Int(0)).unwrap();
    edited.set_note("x", None).unwrap();
    assert_eq!(edited.into_changed(), None);
}

#[test]
fn the_original_is_never_touched() {
    let base = message(Content::Short(Short::from_text("hello")));
    let mut edited = Edited::new(Arc::clone(&base));
    edited.set_text("bye").unwrap();
    edited.set_note("seen", Some("yes")).unwrap();
    assert_eq!(base.content, Content::Short(Short::from_text("hello")));
    assert!(base.meta.is_empty());
    assert_eq!(edited.text(), Some("bye"));
    assert_eq!(edited.written_bytes(), 3);
}

#[test]
fn text_is_read_in_its_alphabet() {
    assert_eq!(short(b"\x00a\x1b\x65", 0, 0).text(), Some("@a€"));
    assert_eq!(short(b"\x04\x16", 8, 0).text(), Some("Ж"));
    assert_eq!(short(b"\x04\x16", 4, 0).text(), None);
    assert_eq!(mail().text(), Some("Win the Lottery"));
}

#[track_caller]
fn check_kind(octets: &'static [u8], data_coding: u8, esm_class: u8, kind: Kind) {
    assert_eq!(short(octets, data_coding, esm_class).kind(), kind);
}

#[test]
fn parts_and_octets_take_no_text() {
    check_kind(b"hi", 0, 0, Kind::Text);
    check_kind(b"hi", 4, 0, Kind::Binary);
    check_kind(b"\x05\x00\x03\x07\x02\x01hi", 0, 0x40, Kind::Part);
    check_kind(b"\x05\x00\x03\x07\x01\x01hi", 0, 0x40, Kind::Text);
    let mut part = short(b"\x05\x00\x03\x07\x02\x01hi", 0, 0x40);
    assert_eq!(part.set_text("no"), Err(EditError::Invalid));
    assert_eq!(part.field("sms.ref"), Value::Int(7));
    assert_eq!(part.field("sms.parts"), Value::Int(2));
    assert_eq!(part.text(), Some("hi"));
    assert_eq!(part.into_changed(), None);
}

#[test]
fn a_kept_recipient_keeps_its_wishes() {
    let mut edited = mail();
    let (old, new) = (Address::phone("+33612345678"), Address::phone("+44770090"));
    edited.set_recipients([new.clone(), old.clone(), new.clone()]).unwrap();
    assert_eq!(edited.message().recipients.len(), 2);
    edited.replace_recipient(&old, Address::mailbox("a@b.example")).unwrap();
    let replaced = edited.message().recipients.last().unwrap();
    assert_eq!((replaced.wish, replaced.original.as_deref()), (Wish::FINAL, Some("+33612345678")));
    assert_eq!(edited.replace_recipient(&old, new), Err(EditError::NotFound));
}

#[test]
fn a_new_recipient_has_the_wishes_of_the_one_that_it_replaces() {
    let base = message(Content::Short(Short::from_text("hello")));
    let named = |to: &str, wish| Recipient::new(Address::mailbox(to), wish);
    let recipients =
        vec![named("quiet@b.example", Wish::NOTHING), named("list@b.example", Wish::FINAL)];
    let mut edited = Edited::new(Arc::new(Message { recipients, ..(*base).clone() }));
    let to = ["quiet@b.example", "member@b.example"].map(Address::mailbox);
    edited.set_recipients(to).unwrap();
    let wishes: Vec<Wish> = edited.message().recipients.iter().map(|to| to.wish).collect();
    assert_eq!(wishes, [Wish::NOTHING, Wish::FINAL]);
}

#[track_caller]
fn check_recipient(address: Address, expect: Result<(), EditError>) {
    assert_eq!(mail().set_recipients([address]), expect);
}

#[test]
fn what_is_no_address_is_refused() {
    check_recipient(Address::mailbox("a@b.example"), Ok(()));
    check_recipient(Address::mailbox(""), Err(EditError::Invalid));
    check_recipient(Address::mailbox("a@b>\r\nDATA"), Err(EditError::Invalid));
    check_recipient(Address::phone("+33 6"), Err(EditError::Invalid));
    check_recipient(Address::alphanumeric("x".repeat(400)), Err(EditError::TooLarge));
    assert_eq!(mail().set_recipients([]), Err(EditError::Invalid));
    let many = (0..1001).map(|n| Address::phone(format!("+33{n}")));
    assert_eq!(mail().set_recipients(many), Err(EditError::Exhausted));
}

#[test]
fn headers_change_and_the_body_does_not() {
    let mut edited = mail();
    edited.set_header("Subject", "Wärme").unwrap();
    edited.add_header("X-New", "2").unwrap();
    assert_eq!(edited.remove_header("X-Old"), Ok(1));
    assert_eq!(edited.remove_header("X-Old"), Ok(0));
    let view = edited.view().unwrap();
    assert_eq!(view.subject().as_deref(), Some("Wärme"));
    assert_eq!(view.text(), Some("Win the Lottery"));
    assert!(view.raw().ends_with(b"\r\n\r\nWin the Lottery\r\n"));
    assert_eq!(edited.set_header("X", "a\r\nBcc: b"), Err(EditError::Invalid));
    assert_eq!(short(b"x", 0, 0).set_header("X", "1"), Err(EditError::Invalid));
}

#[test]
fn needles_are_found_in_subject_and_text() {
    let needles = ["café", "LOTTERY", "absent", ""].map(str::to_owned);
    assert_eq!(mail().find(&needles, true), [0, 1]);
    assert_eq!(mail().find(&needles, false), [0_usize; 0]);
}

#[test]
fn fields_have_types_and_rights() {
    let mut edited = short(b"x", 0, 0);
    assert_eq!(edited.set_field("smtp.helo", &Value::Int(1)), Err(EditError::Denied));
    assert_eq!(edited.set_field("no.such", &Value::Int(1)), Err(EditError::NotFound));
    assert_eq!(edited.set_field("delivery.priority", &Value::Int(4)), Err(EditError::Invalid));
    assert_eq!(edited.set_field("smpp.esm_class", &Value::Int(256)), Err(EditError::Invalid));
    edited.set_field("delivery.validity-ms", &Value::Int(500)).unwrap();
    assert_eq!(edited.field("delivery.expires-ms"), Value::Int(1500));
    let octets = Value::Bytes(Bytes::from_static(b"ok"));
    edited.set_field("smpp.tlv.0x1403", &octets).unwrap();
    assert_eq!(edited.fields("smpp.tlv."), [("smpp.tlv.0x1403".to_owned(), octets)]);
    edited.set_field("smpp.tlv.0x1403", &Value::None).unwrap();
    assert_eq!(edited.fields("smpp.tlv."), []);
    assert_eq!(mail().set_field("smpp.data_coding", &Value::Int(8)), Err(EditError::Invalid));
}

#[test]
fn the_text_of_the_sms_that_a_mail_becomes_is_a_field_of_bounded_length() {
    let mut edited = mail();
    let text = Value::Text("Win".to_owned());
    edited.set_field("convert.text", &text).unwrap();
    assert_eq!(edited.field("convert.text"), text);
    assert_eq!(edited.fields("convert."), [("convert.text".to_owned(), text)]);
    let long = |octets| Value::Text("x".repeat(octets));
    assert_eq!(edited.set_field("convert.text", &long(4097)), Err(EditError::TooLarge));
    edited.set_field("convert.text", &long(4096)).unwrap();
    assert_eq!(edited.set_field("convert.text", &Value::Int(1)), Err(EditError::Invalid));
    edited.set_field("convert.text", &Value::None).unwrap();
    assert_eq!(edited.fields("convert."), []);
}

#[test]
fn notes_are_bounded() {
    let mut edited = mail();
    for n in 0..64 {
        edited.set_note(&n.to_string(), Some("x")).unwrap();
    }
    assert_eq!(edited.set_note("more", Some("x")), Err(EditError::Exhausted));
    edited.set_note("1", Some("y")).unwrap();
    assert_eq!(edited.set_note("1", Some(&"y".repeat(5000))), Err(EditError::TooLarge));
}
