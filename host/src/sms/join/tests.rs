//! Parts as phones and ESMEs send them.

use std::collections::BTreeMap;

use message::{Address, Origin, Protocol, Recipient, Timestamp, Tlv};
use proptest::prelude::*;

use super::*;

/// A header with an 8-bit reference.
pub(super) fn header(reference: u8, total: u8, sequence: u8) -> Vec<u8> {
    vec![0x05, 0x00, 0x03, reference, total, sequence]
}

pub(super) fn message(header: &[u8], text: &str) -> Message {
    coded(0, behind(header, text.as_bytes()))
}

fn coded(data_coding: u8, octets: Vec<u8>) -> Message {
    of(Short::from_coded(octets.into(), data_coding, ESM_UDHI))
}

fn of(short: Short) -> Message {
    let origin = Origin {
        door: "esmes".into(),
        protocol: Protocol::Smpp,
        peer: "127.0.0.1:1".into(),
        account: "shop".into(),
        session: 1,
        helo: "shop".into(),
        tls: false,
    };
    Message {
        id: MessageId::from_u64(1),
        parent: None,
        origin: Arc::new(origin),
        sender: Address::phone("+33612345678"),
        recipients: vec![Recipient::new(Address::phone("33700"), Wish::NOTHING)],
        content: Content::Short(short),
        envid: None,
        ret: None,
        smtputf8: false,
        eight_bit: false,
        meta: BTreeMap::new(),
        received: Timestamp::from_ms(1_769_860_800_000),
        not_before: None,
        expires: Timestamp::NEVER,
        priority: 0,
        hops: 0,
    }
}

fn sar(reference: [u8; 2], total: u8, sequence: u8) -> Vec<Tlv> {
    let tlv = |tag, value: &[u8]| Tlv { tag, value: Bytes::copy_from_slice(value) };
    vec![tlv(0x020C, &reference), tlv(0x020E, &[total]), tlv(0x020F, &[sequence])]
}

/// Which part it is said to be: (reference, kind, total, sequence).
#[track_caller]
fn check_part(message: &Message, expect: Option<(u16, Kind, u8, u8)>) {
    let found = part(message);
    let found = found.map(|it| (it.key.reference, it.key.kind, it.key.total, it.sequence));
    assert_eq!(found, expect);
}

#[test]
fn parts_are_known_by_header_or_by_tlvs() {
    check_part(&message(&header(7, 3, 2), "x"), Some((7, Kind::Udh8, 3, 2)));
    let wide = vec![0x06, 0x08, 0x04, 0x12, 0x34, 3, 1];
    check_part(&message(&wide, "x"), Some((0x1234, Kind::Udh16, 3, 1)));
    let tlvs = sar([0x12, 0x34], 3, 3);
    let short = Short { tlvs, ..Short::from_coded(Bytes::from_static(b"x"), 0, 0) };
    check_part(&of(short.clone()), Some((0x1234, Kind::Sar, 3, 3)));
    // A Spanish single shift table (3GPP 23.038 §6.2.1.2.2) is about the text.
    let shifted = vec![0x08, 0x00, 0x03, 7, 2, 1, 0x24, 0x01, 0x02];
    check_part(&message(&shifted, "x"), Some((7, Kind::Udh8, 2, 1)));
    let several = Message {
        recipients: vec![of(short).recipients[0].clone(); 2],
        ..message(&header(7, 3, 2), "x")
    };
    check_part(&several, None);
}

#[test]
fn what_makes_no_sense_or_means_more_is_no_part() {
    check_part(&message(&header(7, 1, 1), "alone"), None);
    check_part(&message(&header(7, 3, 4), "x"), None);
    check_part(&message(&header(7, 3, 0), "x"), None);
    check_part(&message(&[0x60, 0x00], "short"), None);
    // To port 2948 (WAP push).
    let ports = vec![0x0B, 0x05, 0x04, 0x0B, 0x84, 0x23, 0xF0, 0x00, 0x03, 7, 2, 1];
    check_part(&message(&ports, "x"), None);
    let tlvs = sar([0, 1], 2, 3);
    check_part(&of(Short { tlvs, ..Short::from_coded(Bytes::new(), 0, 0) }), None);
    check_part(&of(Short::from_text("x")), None);
}

#[test]
fn another_sender_account_or_width_is_another_message() {
    let key = |message: &Message| part(message).unwrap().key;
    let one = message(&header(7, 2, 1), "x");
    let mut other = message(&header(7, 2, 2), "y");
    assert_eq!(key(&one), key(&other));
    other.sender = Address::phone("+33612345679");
    assert_ne!(key(&one), key(&other));
    assert_ne!(key(&one), key(&message(&[0x06, 0x08, 0x04, 0, 7, 2, 2], "y")));
    assert_ne!(key(&one), key(&message(&header(7, 3, 2), "y")));
}

/// Parts of one message, from (data_coding, user data), and what they say.
#[track_caller]
fn check_text(parts: &[(u8, Vec<u8>)], expect: &str) {
    let parts: Vec<Message> =
        parts.iter().map(|(coding, octets)| coded(*coding, octets.clone())).collect();
    let parts: Vec<&Message> = parts.iter().collect();
    let joined = join(&parts, Alphabet::Gsm, MessageId::from_u64(9)).unwrap();
    let Content::Short(short) = &joined.content else { panic!("{joined:?}") };
    assert_eq!(short.body, ShortBody::Text(expect.into()));
    assert_eq!((short.esm_class, short.in_payload), (0, false));
}

fn behind(header: &[u8], octets: &[u8]) -> Vec<u8> {
    [header, octets].concat()
}

#[test]
fn texts_are_joined_whatever_their_alphabets() {
    let udh = |sequence| header(7, 2, sequence);
    check_text(&[(0, behind(&udh(1), b"one ")), (0, behind(&udh(2), b"two"))], "one two");
    // GSM 03.38 and UCS-2 in one message.
    check_text(&[(0, behind(&udh(1), b"a\x00")), (8, behind(&udh(2), b"\x04\x36"))], "a@ж");
    // An escape and a surrogate pair that were cut in two.
    check_text(&[(0, behind(&udh(1), b"5 \x1B")), (0, behind(&udh(2), b"\x65!"))], "5 €!");
    let (high, low) = (b"\xD8\x3D".as_slice(), b"\xDE\x00".as_slice());
    check_text(&[(8, behind(&udh(1), high)), (8, behind(&udh(2), low))], "😀");
}

#[test]
fn binary_parts_make_one_binary_message() {
    let parts =
        [coded(4, behind(&header(7, 2, 1), &[1, 2])), coded(4, behind(&header(7, 2, 2), &[3]))];
    let joined = join(&[&parts[0], &parts[1]], Alphabet::Gsm, MessageId::from_u64(9)).unwrap();
    let Content::Short(short) = &joined.content else { panic!("{joined:?}") };
    assert_eq!(short.body, ShortBody::Coded(Bytes::from_static(&[1, 2, 3])));
    assert_eq!((short.esm_class, short.data_coding, short.in_payload), (0, 4, true));
}

#[test]
fn what_its_parts_want_the_message_wants() {
    let mut parts = [1, 2].map(|sequence| {
        let tlvs = [sar([0, 1], 2, sequence), vec![Tlv { tag: 0x1400, value: "a".into() }]];
        let body = Short::from_coded(Bytes::from_static(b"x"), 0, 0);
        of(Short { tlvs: tlvs.concat(), ..body })
    });
    parts[1].recipients[0].wish = Wish::FINAL;
    parts[1].expires = Timestamp::from_ms(5);
    parts[1].priority = 2;
    let joined = join(&[&parts[0], &parts[1]], Alphabet::Gsm, MessageId::from_u64(9)).unwrap();
    assert_eq!((joined.id, joined.parent), (MessageId::from_u64(9), Some(parts[0].id)));
    assert_eq!((joined.expires, joined.priority), (Timestamp::from_ms(5), 2));
    assert_eq!(joined.recipients[0].wish, Wish::FINAL);
    let Content::Short(short) = &joined.content else { panic!("{joined:?}") };
    assert_eq!(short.tlvs.iter().map(|tlv| tlv.tag).collect::<Vec<_>>(), [0x1400]);
    assert_eq!(join(&[], Alphabet::Gsm, MessageId::from_u64(9)), None);
}

proptest! {
    #[test]
    fn whatever_a_phone_sends_is_a_sensible_part_or_none_and_can_be_joined(
        shorts in prop::collection::vec((any::<u8>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 1..5)
    ) {
        let messages: Vec<Message> = shorts
            .into_iter()
            .map(|(coding, esm_class, octets)| of(Short::from_coded(octets.into(), coding, esm_class)))
            .collect();
        for message in &messages {
            if let Some(part) = part(message) {
                prop_assert!(part.total() > 1 && (1..=part.total()).contains(&part.sequence));
            }
        }
        let all: Vec<&Message> = messages.iter().collect();
        prop_assert!(join(&all, Alphabet::Gsm, MessageId::from_u64(9)).is_some());
    }
}
