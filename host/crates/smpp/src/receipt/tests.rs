//! Receipts of the field, and ids of all sorts.
use super::*;

fn sm(esm_class: u8, text: &str) -> Sm {
    let short_message = Bytes::copy_from_slice(text.as_bytes());
    Sm { esm_class: EsmClass(esm_class), short_message, ..Sm::default() }
}

#[track_caller]
fn check(text: &str, id: Option<&str>, state: Option<MessageState>, error: Option<&str>) {
    let receipt = Receipt::of(&sm(EsmClass::RECEIPT, text)).unwrap();
    let shown = |octets: &Option<Octets>| octets.as_ref().map(ToString::to_string);
    assert_eq!(shown(&receipt.id).as_deref(), id, "id of {text}");
    assert_eq!(receipt.state, state, "state of {text}");
    assert_eq!(shown(&receipt.error).as_deref(), error, "error of {text}");
}

#[test]
fn receipts_of_the_field_are_read() {
    use MessageState::{Delivered, Rejected, Undeliverable};
    // SMPP v3.4 Appendix B
    check(
        "id:0123456789 sub:001 dlvrd:001 submit date:0610191018 done date:0610191019 \
         stat:DELIVRD err:000 text:Hello id:7 stat:EXPIRED",
        Some("0123456789"),
        Some(Delivered),
        Some("000"),
    );
    // Any order, any case, seconds in the dates, and no text at all.
    check(
        "Stat:UNDELIV ID:a1b2-c3 ERR:Absent Done Date:061019101955",
        Some("a1b2-c3"),
        Some(Undeliverable),
        Some("Absent"),
    );
    // A state of six letters, and one that the standard spells otherwise.
    check("id:7 stat:FAILED err:1", Some("7"), Some(Undeliverable), Some("1"));
    check("id:7 stat:rejected", Some("7"), Some(Rejected), None);
    check("id:7 stat:STRANGE", Some("7"), None, None);
    // Nothing but an id, nothing at all, an empty field, commas.
    check("id:7", Some("7"), None, None);
    check("", None, None, None);
    check("id: stat:DELIVRD", None, Some(Delivered), None);
    check("id:7,stat:DELIVRD,err:000,", Some("7"), Some(Delivered), Some("000"));
    // A word that ends like a field's name is none.
    check("paid:9 id:7", Some("7"), None, None);
}

#[test]
fn dates_of_every_length_are_read() {
    let text = "id:1 submit date:0610191018 done date:20061019101955 stat:DELIVRD text:x";
    let receipt = Receipt::of(&sm(EsmClass::RECEIPT, text)).unwrap();
    assert_eq!(receipt.submitted_ms, Some(1_161_253_080_000));
    assert_eq!(receipt.done_ms, Some(1_161_253_195_000));
    assert_eq!(receipt.text.unwrap(), "x");
}

#[test]
fn the_text_alone_makes_no_receipt() {
    let text = "id:0123456789 sub:001 dlvrd:001 stat:DELIVRD err:000 text:";
    assert_eq!(Receipt::of(&sm(0, text)), None);
    assert_eq!(Receipt::of(&sm(EsmClass::SME_DELIVERY_ACK, text)), None);
    assert!(Receipt::of(&sm(EsmClass::RECEIPT | EsmClass::UDHI, text)).is_some());
    assert!(Receipt::of(&sm(EsmClass::INTERMEDIATE, text)).is_some());
}

#[test]
fn tlvs_count_more_than_the_text_and_a_contradiction_is_told() {
    let mut message = sm(0, "id:9 stat:EXPIRED err:034");
    message.tlvs.push(tag::RECEIPTED_MESSAGE_ID, b"abc").unwrap(); // no NUL
    message.tlvs.push(tag::MESSAGE_STATE, &[2]).unwrap();
    message.tlvs.push(tag::NETWORK_ERROR_CODE, &[3, 0x01, 0x02]).unwrap();
    let receipt = Receipt::of(&message).unwrap();
    assert_eq!(receipt.id.unwrap(), "abc");
    assert_eq!(receipt.state, Some(MessageState::Delivered));
    assert_eq!(receipt.network_error, Some(NetworkError { network: 3, code: 0x0102 }));
    assert!(receipt.disagrees);
}

#[test]
fn network_errors_of_three_digits_are_read() {
    assert_eq!(NetworkError::of(b"034"), Some(NetworkError { network: 0, code: 34 }));
    assert_eq!(NetworkError::of(&[3]), None);
}

#[test]
fn what_is_written_is_read_back() {
    let id = Octets::from_static(b"123456789012345");
    let to_send = ReceiptToSend {
        id: &id,
        state: MessageState::Delivered,
        submitted_ms: 1_769_860_800_000,
        done_ms: 1_769_860_860_000,
        error: 0,
        text: b"a text that is longer than twenty octets",
    };
    assert_eq!(
        String::from_utf8(to_send.text()).unwrap(),
        "id:123456789012345 sub:001 dlvrd:001 submit date:2601311200 done date:2601311201 \
         stat:DELIVRD err:000 text:a text that is longe"
    );
    let recipient = Address::new(1, 1, Octets::from_static(b"33612345678"));
    let sm = to_send.into_sm(recipient.clone(), Address::default()).unwrap();
    assert_eq!((sm.esm_class.0, &sm.source), (4, &recipient));
    let receipt = Receipt::of(&sm).unwrap();
    assert_eq!(receipt.id, Some(id));
    assert_eq!(receipt.state, Some(MessageState::Delivered));
    assert_eq!(receipt.done_ms, Some(1_769_860_860_000));
    assert!(!receipt.disagrees);
}

#[test]
fn every_state_has_its_number_and_word() {
    for number in 0..=9 {
        let state = MessageState::from_number(number).unwrap();
        assert_eq!(state.number(), number);
        assert_eq!(MessageState::from_word(state.word()), Some(state));
    }
    assert_eq!(MessageState::from_number(10), None);
}

#[track_caller]
fn check_id(response: &str, receipt: &str, relation: Option<IdRelation>) {
    let known = normal_id(response.as_bytes());
    let hit = IdRelation::ALL
        .into_iter()
        .find(|relation| lookup_id(receipt.as_bytes(), *relation).as_ref() == Some(&known));
    assert_eq!(hit, relation, "{response} and {receipt}");
}

#[test]
fn ids_find_each_other_in_both_bases() {
    check_id("123", "123", Some(IdRelation::Same));
    check_id("00AB12", "ab12", Some(IdRelation::Same));
    check_id("7b", "123", Some(IdRelation::ReceiptIsDecimal));
    check_id("123", "7B", Some(IdRelation::ReceiptIsHex));
    check_id("123", "000000007B", Some(IdRelation::ReceiptIsHex));
    // Beyond 64 bits: 2^80
    check_id("1208925819614629174706176", "100000000000000000000", Some(IdRelation::ReceiptIsHex));
    // Not numbers: only the same text is the same.
    let uuid = "5e1d2c3b-0000-4a4a-8b8b-aabbccddeeff";
    check_id(uuid, uuid, Some(IdRelation::Same));
    check_id("msg-7b", "msg-123", None);
    check_id("0", "000", Some(IdRelation::Same));
    assert_eq!(lookup_id(b"", IdRelation::Same), None);
}
