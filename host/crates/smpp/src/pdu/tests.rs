//! Golden octets, tolerated deviations, and anything at all.
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::flags::{EsmClass, InterfaceVersion, RegisteredDelivery};
use crate::octets::Octets;
use crate::quirk::{Quirk, Quirks};
use crate::status::Status;
use crate::tlv::{Tlvs, tag};

/// A frame of a header and a body.
fn frame(command: CommandId, status: u32, sequence: u32, body: &[u8]) -> Bytes {
    let mut octets = Vec::new();
    let length = u32::try_from(16 + body.len()).unwrap();
    for number in [length, command.0, status, sequence] {
        octets.extend_from_slice(&number.to_be_bytes());
    }
    octets.extend_from_slice(body);
    octets.into()
}

fn octets(text: &'static str) -> Octets {
    Octets::from_static(text.as_bytes())
}

fn number(addr: &'static str) -> Address {
    Address::new(1, 1, octets(addr))
}

fn tlvs(list: &[(u16, &[u8])]) -> Tlvs {
    let mut tlvs = Tlvs::new();
    for (tag, value) in list {
        tlvs.push(*tag, value).unwrap();
    }
    tlvs
}

fn full_sm() -> Sm {
    Sm {
        service_type: octets("CMT"),
        source: Address::new(5, 0, octets("SHOP")),
        destination: number("33612345678"),
        esm_class: EsmClass(EsmClass::UDHI),
        protocol_id: 1,
        priority_flag: 2,
        schedule_delivery_time: octets("260131120000000+"),
        validity_period: octets("000001000000000R"),
        registered_delivery: RegisteredDelivery::FINAL,
        replace_if_present_flag: 1,
        data_coding: 8,
        sm_default_msg_id: 3,
        short_message: Bytes::from_static(b"\x05\x00\x03\x2A\x02\x01hi"),
        tlvs: tlvs(&[(tag::USER_MESSAGE_REFERENCE, &[0, 7]), (0x1400, b"pe\0"), (0x1400, b"")]),
    }
}

fn binds() -> Vec<Pdu> {
    let bind = |mode| Bind {
        mode,
        system_id: octets("SMPP3TEST"),
        password: octets("secret08"),
        system_type: octets("SUBMIT1"),
        interface_version: InterfaceVersion::V34,
        addr_ton: 1,
        addr_npi: 1,
        address_range: octets("^33"),
    };
    let bind_resp = |mode| BindResp {
        mode,
        system_id: octets("wp"),
        tlvs: tlvs(&[(tag::SC_INTERFACE_VERSION, &[0x34])]),
    };
    let mut all: Vec<Pdu> = Vec::new();
    for mode in [BindMode::Receiver, BindMode::Transmitter, BindMode::Transceiver] {
        all.extend([Pdu::Bind(bind(mode)), Pdu::BindResp(bind_resp(mode))]);
    }
    all
}

/// One of each, with every field set.
fn one_of_each() -> Vec<Pdu> {
    let sm = full_sm();
    let resp = MessageResp { message_id: octets("1234567890"), tlvs: tlvs(&[(0x1D, b"ok\0")]) };
    let mut all = binds();
    let destinations =
        vec![Destination::Address(number("33612345678")), Destination::List(octets("everybody"))];
    let multi = Sm { destination: Address::default(), ..sm.clone() };
    all.extend([
        Pdu::Outbind(Outbind { system_id: octets("smsc"), password: octets("x") }),
        Pdu::Unbind,
        Pdu::UnbindResp,
        Pdu::SubmitSm(sm.clone()),
        Pdu::SubmitSmResp(resp.clone()),
        Pdu::DeliverSm(sm.clone()),
        Pdu::DeliverSmResp(MessageResp::default()),
        Pdu::SubmitMulti(SubmitMulti { sm: multi, destinations }),
        Pdu::SubmitMultiResp(SubmitMultiResp {
            message_id: octets("9"),
            unsuccess: vec![Unsuccess { address: number("1"), status: Status::RINVDSTADR }],
            tlvs: Tlvs::new(),
        }),
        Pdu::DataSm(DataSm {
            service_type: octets("WAP"),
            source: number("1"),
            destination: number("2"),
            esm_class: EsmClass(0),
            registered_delivery: RegisteredDelivery(1),
            data_coding: 4,
            tlvs: tlvs(&[(tag::MESSAGE_PAYLOAD, b"payload")]),
        }),
        Pdu::DataSmResp(resp),
        Pdu::QuerySm(QuerySm { message_id: octets("9"), source: number("1") }),
        Pdu::QuerySmResp(QuerySmResp {
            message_id: octets("9"),
            final_date: octets("260131120000000+"),
            message_state: 2,
            error_code: 1,
        }),
        Pdu::CancelSm(CancelSm {
            service_type: octets("CMT"),
            message_id: octets("9"),
            source: number("1"),
            destination: number("2"),
        }),
        Pdu::CancelSmResp,
        Pdu::ReplaceSm(ReplaceSm {
            message_id: octets("9"),
            source: number("1"),
            schedule_delivery_time: Octets::new(),
            validity_period: octets("000001000000000R"),
            registered_delivery: RegisteredDelivery(1),
            sm_default_msg_id: 0,
            short_message: Bytes::from_static(b"new"),
            tlvs: Tlvs::new(),
        }),
        Pdu::ReplaceSmResp,
        Pdu::EnquireLink,
        Pdu::EnquireLinkResp,
        Pdu::AlertNotification(AlertNotification {
            source: number("1"),
            esme: number("2"),
            tlvs: tlvs(&[(0x0422, &[0])]),
        }),
        Pdu::GenericNack,
        Pdu::Raw(Raw { command: CommandId::BROADCAST_SM, body: Bytes::from_static(b"\0\x01") }),
    ]);
    all
}

fn encoded(pdu: &Pdu, status: Status, dialect: Dialect) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::new();
    encode(pdu, 7, status, &dialect, &mut out).map(|()| out.freeze())
}

#[test]
fn the_bind_of_the_standards_annex_has_its_octets() {
    // SMPP v3.4 §2.8.1's relation: a bind_transmitter as Table "Sample PDU" prints it.
    let golden = b"\x00\x00\x00\x2F\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01\
        SMPP3TEST\0secret08\0SUBMIT1\0\x00\x01\x01\0";
    let bind = Pdu::Bind(Bind {
        mode: BindMode::Transmitter,
        system_id: octets("SMPP3TEST"),
        password: octets("secret08"),
        system_type: octets("SUBMIT1"),
        interface_version: InterfaceVersion(0),
        addr_ton: 1,
        addr_npi: 1,
        address_range: Octets::new(),
    });
    let mut out = BytesMut::new();
    encode(&bind, 1, Status::ROK, &Dialect::default(), &mut out).unwrap();
    assert_eq!(&out[..], &golden[..]);
    let decoded = decode(&Bytes::from_static(golden)).unwrap();
    assert_eq!(decoded.pdu, bind);
    assert!(decoded.quirks.is_empty());
    assert!(!format!("{bind:?}").contains("secret08"), "a password is not for logs");
}

#[test]
fn a_submit_has_its_octets() {
    let golden = b"\x00\x00\x00\x35\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x02\
        \0\x05\x00SHOP\0\x01\x0133612345678\0\x00\x00\x00\0\0\x01\x00\x00\x00\x05Hello";
    let decoded = decode(&Bytes::from_static(golden)).unwrap();
    assert!(decoded.quirks.is_empty());
    let Pdu::SubmitSm(sm) = &decoded.pdu else { panic!("{decoded:?}") };
    assert_eq!((sm.source.addr.as_bytes(), &sm.short_message[..]), (&b"SHOP"[..], &b"Hello"[..]));
    let mut out = BytesMut::new();
    encode(&decoded.pdu, 2, Status::ROK, &Dialect::default(), &mut out).unwrap();
    assert_eq!(&out[..], &golden[..]);
}

#[test]
fn each_is_read_as_it_was_written() {
    for pdu in one_of_each() {
        let frame = encoded(&pdu, Status::ROK, Dialect::default()).unwrap();
        let decoded = decode(&frame).unwrap();
        assert_eq!(decoded.pdu, pdu);
        assert_eq!(decoded.header.command, pdu.command());
        assert!(decoded.quirks.is_empty(), "{pdu:?}: {:?}", decoded.quirks);
    }
}

#[test]
fn every_truncation_is_an_answerable_error_or_a_quirk() {
    for pdu in one_of_each() {
        let whole = encoded(&pdu, Status::ROK, Dialect::default()).unwrap();
        for len in 16..whole.len() {
            match decode(&whole.slice(..len)) {
                Ok(decoded) => assert_eq!(decoded.header.sequence_number, 7),
                Err(error) => {
                    assert_eq!((error.command, error.sequence_number), (pdu.command(), 7));
                    assert!(!error.status.is_ok() && !pdu.command().is_response(), "{error}");
                }
            }
        }
        for len in 0..16 {
            assert!(decode(&whole.slice(..len)).is_err());
        }
    }
}

/// A `submit_sm` body with its variable parts.
fn submit_body(source: &[u8], time: &[u8], sm_length: u8, tail: &[u8]) -> Vec<u8> {
    [
        &b"\0\x01\x01"[..],
        source,
        b"\0\x01\x0133612345678\0\x00\x00\x00",
        time,
        b"\0\0",
        b"\x01\x00\x00\x00",
        &[sm_length],
        tail,
    ]
    .concat()
}

#[track_caller]
fn check_quirks(command: CommandId, status: u32, body: &[u8], expect: &[Quirk]) -> Pdu {
    let decoded = decode(&frame(command, status, 1, body)).unwrap();
    assert_eq!(decoded.quirks, expect.iter().copied().collect::<Quirks>());
    decoded.pdu
}

#[test]
fn strange_submits_are_taken_and_their_quirks_named() {
    let submit = CommandId::SUBMIT_SM;
    let check = |body: Vec<u8>, quirks: &[Quirk]| match check_quirks(submit, 0, &body, quirks) {
        Pdu::SubmitSm(sm) => sm,
        other => panic!("{other:?}"),
    };
    // Latin-1 and spaces in an address.
    let sm = check(submit_body(b"Caf\xE9 1", b"", 0, b""), &[Quirk::OddAddress]);
    assert_eq!(sm.source.addr, "Caf\u{E9} 1");
    // An address of 22 octets and more.
    let sm = check(submit_body(&[b'1'; 40], b"", 0, b""), &[Quirk::OverlongField]);
    assert_eq!(sm.source.addr.len(), 40);
    // A time of another length.
    let sm = check(submit_body(b"1", b"2601311200", 0, b""), &[Quirk::OddTime]);
    assert_eq!(sm.schedule_delivery_time, "2601311200");
    // 255 octets in the text, which v3.4 does not allow.
    let text = [b'x'; 255];
    check(submit_body(b"1", b"", 255, &text), &[Quirk::ShortMessage255]);
    // Text and payload.
    let sm =
        check(submit_body(b"1", b"", 1, b"x\x04\x24\x00\x02pq"), &[Quirk::ShortMessageAndPayload]);
    assert_eq!(&sm.text()[..], b"pq");
    // Octets after the text that are no TLV, and a TLV that is cut.
    check(submit_body(b"1", b"", 1, b"x\0"), &[Quirk::TrailingOctets]);
    let sm = check(
        submit_body(b"1", b"", 1, b"x\x14\x00\x00\x01a\x14\x01\x00\x09b"),
        &[Quirk::TruncatedTlv],
    );
    assert_eq!(sm.tlvs, tlvs(&[(0x1400, b"a")]));
}

#[test]
fn tlvs_pass_octet_by_octet() {
    let raw = b"\x03\x81\x00\x02ab\x77\x77\x00\x00\x03\x81\x00\x02cd\x02\x0C\x00\x01\x05";
    let pdu = check_quirks(CommandId::SUBMIT_SM, 0, &submit_body(b"1", b"", 0, raw), &[]);
    let Pdu::SubmitSm(sm) = &pdu else { panic!("{pdu:?}") };
    assert_eq!(sm.tlvs.as_bytes(), raw);
    // A reference of one octet instead of two.
    assert_eq!(sm.tlvs.number(tag::SAR_MSG_REF_NUM), Some(5));
    assert_eq!(sm.tlvs.without(|tag| tag == 0x0381).iter().count(), 2);
    let again = encoded(&pdu, Status::ROK, Dialect::default()).unwrap();
    assert!(again.ends_with(raw));
}

#[test]
fn strange_responses_are_taken_and_their_quirks_named() {
    let resp = CommandId::SUBMIT_SM.response();
    let check =
        |status, body: &[u8], quirks: &[Quirk]| match check_quirks(resp, status, body, quirks) {
            Pdu::SubmitSmResp(resp) => resp.message_id.to_text().into_owned(),
            other => panic!("{other:?}"),
        };
    assert_eq!(check(0, b"abc\0", &[]), "abc");
    assert_eq!(check(0, b"abc", &[Quirk::MissingNul]), "abc");
    assert_eq!(check(0, b"", &[Quirk::MissingResponseBody]), "");
    assert_eq!(check(0x58, b"", &[]), "");
    assert_eq!(check(0x58, b"\0", &[Quirk::ErrorResponseBody]), "");
    assert_eq!(check(0x45, b"abc\0", &[Quirk::ErrorResponseBody]), "abc");
    assert_eq!(check(0, &[b'7'; 80], &[Quirk::MissingNul, Quirk::OverlongField]).len(), 80);
    let deliver = CommandId::DELIVER_SM.response();
    check_quirks(deliver, 0, b"thanks\0", &[Quirk::ReceiverMessageId]);
    let enquire = CommandId::ENQUIRE_LINK;
    check_quirks(enquire, 0, b"\xAA", &[Quirk::TrailingOctets]);
    // What makes no sense is kept: its status is still an answer.
    let query = CommandId::QUERY_SM.response();
    let pdu = check_quirks(query, 0, b"9\0", &[Quirk::UndecodableResponse]);
    let body = Bytes::from_static(b"9\0");
    assert_eq!(pdu, Pdu::Raw(Raw { command: query, body }));
}

#[test]
fn odd_sequence_numbers_are_kept() {
    for sequence in [0, 0x8000_0000, u32::MAX] {
        let decoded = decode(&frame(CommandId::ENQUIRE_LINK, 0, sequence, b"")).unwrap();
        assert_eq!(decoded.header.sequence_number, sequence);
        assert!(decoded.quirks.contains(Quirk::OddSequence));
    }
}

#[track_caller]
fn check_error(command: CommandId, body: &[u8], status: Status) {
    let error = decode(&frame(command, 0, 0x8000_0001, body)).unwrap_err();
    assert_eq!((error.status, error.sequence_number), (status, 0x8000_0001), "{error}");
}

#[test]
fn what_cannot_be_understood_has_a_status_to_answer() {
    let submit = CommandId::SUBMIT_SM;
    check_error(submit, b"", Status::RINVCMDLEN);
    check_error(submit, &submit_body(b"1", b"", 9, b"short"), Status::RINVMSGLEN);
    check_error(submit, &submit_body(b"1", b"", 0, b"\x04\x24\xFF\xFFx"), Status::RINVPARLEN);
    check_error(CommandId(0x55), b"", Status::RINVCMDID);
    check_error(CommandId(0x8000_0055), b"", Status::RINVCMDID);
    check_error(CommandId::SUBMIT_MULTI, b"\0\0\x000\0\0", Status::RINVNUMDESTS);
    check_error(CommandId::SUBMIT_MULTI, b"\0\0\x000\0\x01\x03", Status::RINVDESTFLAG);
}

#[track_caller]
fn check_refused(sm: Sm, dialect: Dialect, expect: EncodeError) {
    let mut out = BytesMut::from(&b"before"[..]);
    let refused = encode(&Pdu::SubmitSm(sm), 1, Status::ROK, &dialect, &mut out);
    assert_eq!((refused, &out[..]), (Err(expect), &b"before"[..]));
}

#[test]
fn what_the_standard_forbids_is_not_sent() {
    let dialect = Dialect::default();
    let long = Address::new(1, 1, octets("123456789012345678901"));
    let too_long = EncodeError::TooLong { field: "source_addr", octets: 21, octets_max: 20 };
    check_refused(Sm { source: long.clone(), ..Sm::default() }, dialect, too_long);
    let nul = Address::new(1, 1, octets("12\x003"));
    let expect = EncodeError::Nul { field: "destination_addr" };
    check_refused(Sm { destination: nul, ..Sm::default() }, dialect, expect);
    let text = Bytes::from_static(&[b'x'; 255]);
    let expect = EncodeError::TooLong { field: "short_message", octets: 255, octets_max: 254 };
    check_refused(Sm { short_message: text.clone(), ..Sm::default() }, dialect, expect);
    // v5.0 allows 255, and an operator can allow long fields.
    let v5 = Dialect { version: InterfaceVersion::V50, long_fields: true, ..dialect };
    let sm = Sm { short_message: text, source: long, ..Sm::default() };
    assert!(encoded(&Pdu::SubmitSm(sm), Status::ROK, v5).is_ok());
    // Long credentials do not make the addresses of messages long.
    let credentials = Dialect { long_credentials: true, ..dialect };
    let source = Address::new(1, 1, octets("123456789012345678901"));
    let expect = EncodeError::TooLong { field: "source_addr", octets: 21, octets_max: 20 };
    check_refused(Sm { source, ..Sm::default() }, credentials, expect);
    // No TLVs for v3.3; one that changes the message is not silently lost.
    let v33 = Dialect { version: InterfaceVersion::V33, tlvs: false, ..dialect };
    let payload = tlvs(&[(tag::MESSAGE_PAYLOAD, b"x")]);
    let expect = EncodeError::TlvNotAllowed { tag: tag::MESSAGE_PAYLOAD };
    check_refused(Sm { tlvs: payload, ..Sm::default() }, v33, expect);
    let sm = Sm { tlvs: tlvs(&[(0x1400, b"x")]), ..Sm::default() };
    let frame = encoded(&Pdu::SubmitSm(sm), Status::ROK, v33).unwrap();
    assert_eq!(check_tlvs(&frame), 0);
}

fn check_tlvs(frame: &Bytes) -> usize {
    match decode(frame).unwrap().pdu {
        Pdu::SubmitSm(sm) => sm.tlvs.iter().count(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_error_response_is_a_header_unless_its_tlvs_say_more() {
    let resp = MessageResp { message_id: octets("7"), tlvs: Tlvs::new() };
    let frame = encoded(&Pdu::SubmitSmResp(resp), Status::RTHROTTLED, Dialect::default());
    assert_eq!(frame.unwrap().len(), 16);
    let resp = MessageResp { message_id: Octets::new(), tlvs: tlvs(&[(0x1D, b"no\0")]) };
    let frame = encoded(&Pdu::DataSmResp(resp), Status::RX_P_APPN, Dialect::default());
    assert_eq!(frame.unwrap().len(), 16 + 1 + 7);
}

fn any_octets(max: usize) -> impl Strategy<Value = Octets> {
    prop::collection::vec(1u8..=255, 0..=max).prop_map(Octets::from)
}

prop_compose! {
    fn any_sm()(
        service_type in any_octets(5),
        source in (any::<u8>(), any::<u8>(), any_octets(20)),
        destination in (any::<u8>(), any::<u8>(), any_octets(20)),
        bytes in any::<[u8; 7]>(),
        times in (any_octets(16), any_octets(16)),
        text in prop::collection::vec(any::<u8>(), 0..=254),
        list in prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..40)), 0..5),
    ) -> Sm {
        let mut tlvs = Tlvs::new();
        for (tag, value) in list {
            tlvs.push(tag, &value).unwrap();
        }
        let [esm, pid, prio, reg, replace, dcs, default] = bytes;
        Sm {
            service_type,
            source: Address::new(source.0, source.1, source.2),
            destination: Address::new(destination.0, destination.1, destination.2),
            esm_class: EsmClass(esm),
            protocol_id: pid,
            priority_flag: prio,
            schedule_delivery_time: times.0,
            validity_period: times.1,
            registered_delivery: RegisteredDelivery(reg),
            replace_if_present_flag: replace,
            data_coding: dcs,
            sm_default_msg_id: default,
            short_message: text.into(),
            tlvs,
        }
    }
}

fn any_command() -> impl Strategy<Value = u32> {
    prop_oneof![
        (0u32..0x25, any::<bool>()).prop_map(|(id, resp)| id | (u32::from(resp) << 31)),
        (0x100u32..0x115, any::<bool>()).prop_map(|(id, resp)| id | (u32::from(resp) << 31)),
        any::<u32>(),
    ]
}

proptest! {
    #[test]
    fn any_message_is_read_as_it_was_written(sm in any_sm(), deliver in any::<bool>()) {
        let pdu = if deliver { Pdu::DeliverSm(sm) } else { Pdu::SubmitSm(sm) };
        let frame = encoded(&pdu, Status::ROK, Dialect::default()).unwrap();
        prop_assert_eq!(decode(&frame).unwrap().pdu, pdu);
    }

    #[test]
    fn anything_at_all_is_decoded_or_refused_and_what_is_decoded_can_be_read_again(
        command in any_command(),
        status in prop_oneof![Just(0u32), any::<u32>()],
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let frame = frame(CommandId(command), status, 7, &body);
        if let Ok(decoded) = decode(&frame) {
            let dialect =
                Dialect { long_fields: true, version: InterfaceVersion::V50, ..Dialect::default() };
            let again = encoded(&decoded.pdu, Status::ROK, dialect).unwrap();
            prop_assert_eq!(decode(&again).unwrap().pdu, decoded.pdu);
        }
        // Whatever a peer puts into a text may be looked at as a receipt, a header or a time.
        let body = Bytes::from(body);
        let receipt = crate::receipt::Receipt::parse_text(&body);
        prop_assert!(receipt.network_error.is_none());
        if let Ok((udh, text)) = crate::udh::Udh::split(&body) {
            prop_assert_eq!(udh.join(&text), body.clone());
            prop_assert!(udh.concat().is_none_or(|concat| concat.sequence <= concat.total));
        }
        prop_assert!(crate::time::Time::parse(&body).is_none_or(|time| time.to_timestamp(0) < i64::MAX));
    }
}
