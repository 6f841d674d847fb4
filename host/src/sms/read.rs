//! From a `submit_sm` or `deliver_sm` to the content and envelope of a message.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use message::text::{Alphabet, Coding, Shift, Udh, meaning};
use message::{Address, Short, ShortBody, Timestamp, Wish};
use smpp::receipt::MessageState;
use smpp::time::Time;
use smpp::{Sm, Status, tag};

use crate::config::Numbering;
use crate::receipt::Receipt;

/// How a peer means what it leaves open.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// What its `data_coding` 0 stands for.
    pub zero: Alphabet,
    /// Type of number and numbering plan of senders that come with 0 and 0.
    pub source: Numbering,
    /// The same for recipients.
    pub dest: Numbering,
}

/// What a `submit_sm` or `deliver_sm` says, without its recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Who it is from.
    pub sender: Address,
    /// What it says.
    pub content: Short,
    /// Which receipts are wanted.
    pub wish: Wish,
    /// 0 to 3.
    pub priority: u8,
    /// Not to be sent earlier.
    pub not_before: Option<Timestamp>,
    /// Not to be sent later.
    pub expires: Timestamp,
}

/// Reads everything but the recipient.
///
/// # Errors
/// The status to answer with: a time that is none, or a validity that is over.
pub fn read(sm: &Sm, reading: &Reading, now: Timestamp) -> Result<Incoming, Status> {
    let not_before = time(&sm.schedule_delivery_time, now, Status::RINVSCHED)?;
    let mut expires = time(&sm.validity_period, now, Status::RINVEXPIRY)?;
    if let Some(seconds) = sm.tlvs.number(tag::QOS_TIME_TO_LIVE) {
        expires = expires.or(Some(now.after(Duration::from_secs(seconds.into()))));
    }
    if expires.is_some_and(|expires| expires <= now || not_before.is_some_and(|at| at >= expires)) {
        return Err(Status::RINVEXPIRY);
    }
    Ok(Incoming {
        sender: address(&sm.source, reading.source),
        content: short(sm, reading.zero),
        wish: Wish::from_registered_delivery(sm.registered_delivery.0),
        priority: sm.priority_flag.min(3),
        not_before: not_before.filter(|at| *at > now),
        expires: expires.unwrap_or(Timestamp::NEVER),
    })
}

/// An address as a peer wrote it; one with 0 and 0 is of the kind that the operator says.
#[must_use]
pub fn address(given: &smpp::Address, numbering: Numbering) -> Address {
    let (ton, npi) = match (given.ton, given.npi) {
        (0, 0) => (numbering.ton.unwrap_or(0), numbering.npi.unwrap_or(0)),
        given => given,
    };
    Address::from_smpp(ton, npi, given.addr.as_bytes())
}

/// The content, in buffers of its own: the buffer that it was read into is free again.
#[must_use]
pub fn short(sm: &Sm, zero: Alphabet) -> Short {
    let in_payload = sm.tlvs.first(tag::MESSAGE_PAYLOAD).is_some_and(|value| !value.is_empty());
    let mut short = Short {
        body: ShortBody::Coded(Bytes::copy_from_slice(&sm.text())),
        data_coding: sm.data_coding,
        esm_class: sm.esm_class.0,
        protocol_id: sm.protocol_id,
        service_type: Arc::from(sm.service_type.to_text()),
        in_payload,
        tlvs: sm
            .tlvs
            .iter()
            .filter(|tlv| tlv.tag != tag::MESSAGE_PAYLOAD)
            .map(|tlv| message::Tlv { tag: tlv.tag, value: Bytes::copy_from_slice(tlv.value) })
            .collect(),
    };
    if zero != Alphabet::Gsm {
        to_model(&mut short, zero);
    }
    short
}

/// A receipt as the book wants it; `None` if it names no message.
#[must_use]
pub fn receipt(receipt: &smpp::receipt::Receipt) -> Option<Receipt> {
    let error = match (&receipt.network_error, &receipt.error) {
        (Some(network), _) => format!("{:03}", network.code),
        (None, Some(error)) => error.to_string(),
        (None, None) => String::new(),
    };
    Some(Receipt {
        remote: receipt.id.as_ref()?.to_text().as_ref().into(),
        state: receipt.state.unwrap_or(MessageState::Unknown).number(),
        error: error.into(),
        text: receipt.text.as_ref().map_or(Arc::from(""), |text| text.to_text().as_ref().into()),
        done: receipt.done_ms.and_then(|ms| u64::try_from(ms).ok()).map(Timestamp::from_ms),
    })
}

fn time(field: &smpp::Octets, now: Timestamp, bad: Status) -> Result<Option<Timestamp>, Status> {
    if field.is_empty() {
        return Ok(None);
    }
    let time = Time::parse(field.as_bytes()).ok_or(bad)?;
    let at_ms = time.to_timestamp(i64::try_from(now.as_ms()).unwrap_or(i64::MAX));
    Ok(Some(Timestamp::from_ms(u64::try_from(at_ms).unwrap_or(0))))
}

/// Rewrites a text in the peer's default alphabet so that `data_coding` says what it is.
fn to_model(short: &mut Short, zero: Alphabet) {
    let said = meaning(short.data_coding, zero);
    if said.coding != Coding::Text(zero) || meaning(short.data_coding, Alphabet::Gsm) == said {
        return;
    }
    match (zero, short.data_coding) {
        (Alphabet::Latin1, 0) => short.data_coding = 3,
        (Alphabet::Ascii, 0) => short.data_coding = 1,
        _ => {
            let (header, text) = short.split_udh();
            let udh = Udh::parse(&header).unwrap_or_default();
            let text = zero.decode_behind(&text, udh.fill_bits(), Shift::of(&udh));
            let (alphabet, coded) = match Alphabet::Gsm.encode(&text, Shift::DEFAULT) {
                Ok(coded) => (Alphabet::Gsm, coded),
                Err(_not_gsm) => {
                    (Alphabet::Ucs2, Alphabet::Ucs2.encode_lossy(&text, Shift::DEFAULT))
                }
            };
            let coding = Coding::Text(alphabet).data_coding(Alphabet::Gsm, said.class);
            short.data_coding = coding.unwrap_or(8);
            let mut body = BytesMut::from(&header[..]);
            body.extend_from_slice(&coded);
            short.body = ShortBody::Coded(body.freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use smpp::{EsmClass, Octets};

    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_769_860_800_000); // 2026-01-31 12:00 UTC

    fn reading(zero: Alphabet) -> Reading {
        Reading { zero, source: Numbering::default(), dest: Numbering::default() }
    }

    #[track_caller]
    fn check_text(zero: Alphabet, data_coding: u8, body: &[u8], expect: (u8, &[u8])) {
        let sm = Sm { data_coding, short_message: Bytes::copy_from_slice(body), ..Sm::default() };
        let short = short(&sm, zero);
        let ShortBody::Coded(octets) = &short.body else { panic!("{short:?}") };
        assert_eq!((short.data_coding, &octets[..]), expect);
    }

    #[test]
    fn what_zero_means_at_the_peer_is_said_in_the_model() {
        check_text(Alphabet::Gsm, 0, b"\x00a", (0, b"\x00a"));
        check_text(Alphabet::Latin1, 0, b"\xE9", (3, b"\xE9"));
        check_text(Alphabet::Ascii, 0, b"a", (1, b"a"));
        check_text(Alphabet::Utf8, 0, "é".as_bytes(), (0, b"\x05"));
        check_text(Alphabet::Utf8, 0, "ж".as_bytes(), (8, b"\x04\x36"));
        check_text(Alphabet::GsmPacked, 0, &[0xE8, 0x32], (0, b"he"));
        check_text(Alphabet::Latin1, 8, b"\x04\x36", (8, b"\x04\x36"));
        check_text(Alphabet::Latin1, 4, b"\xFF", (4, b"\xFF"));
        check_text(Alphabet::Latin1, 0x10, b"\xE9", (0x10, b"\x05")); // flash
    }

    #[test]
    fn times_and_wishes_are_read() {
        let sm = Sm {
            schedule_delivery_time: Octets::from_static(b"000000010000000R"),
            validity_period: Octets::from_static(b"260201120000000+"),
            registered_delivery: smpp::RegisteredDelivery(0x11),
            priority_flag: 9,
            ..Sm::default()
        };
        let incoming = read(&sm, &reading(Alphabet::Gsm), NOW).unwrap();
        assert_eq!(incoming.not_before, Some(NOW.after(Duration::from_secs(3600))));
        assert_eq!(incoming.expires, NOW.after(Duration::from_secs(86_400)));
        assert_eq!(incoming.wish, Wish { delay: true, ..Wish::FINAL });
        assert_eq!(incoming.priority, 3);
    }

    #[track_caller]
    fn check_refused(schedule: &'static str, validity: &'static str, expect: Status) {
        let sm = Sm {
            schedule_delivery_time: Octets::from_static(schedule.as_bytes()),
            validity_period: Octets::from_static(validity.as_bytes()),
            ..Sm::default()
        };
        assert_eq!(read(&sm, &reading(Alphabet::Gsm), NOW).unwrap_err(), expect);
    }

    #[test]
    fn times_that_are_none_are_refused() {
        check_refused("tomorrow", "", Status::RINVSCHED);
        check_refused("", "for ever", Status::RINVEXPIRY);
        check_refused("", "250131120000000+", Status::RINVEXPIRY); // a year ago
        check_refused("000002000000000R", "000001000000000R", Status::RINVEXPIRY);
    }

    #[test]
    fn everything_else_is_kept_octet_by_octet() {
        let mut sm = Sm {
            esm_class: EsmClass(0x43),
            protocol_id: 0x41,
            data_coding: 0xF5,
            short_message: Bytes::from_static(b"\x05\x00\x03\x01\x02\x01xyz"),
            ..Sm::default()
        };
        for (tag, value) in [(0x1400, &b"a"[..]), (0x0381, b"1"), (0x0381, b"2")] {
            sm.tlvs.push(tag, value).unwrap();
        }
        let short = short(&sm, Alphabet::Gsm);
        assert_eq!((short.esm_class, short.protocol_id, short.data_coding), (0x43, 0x41, 0xF5));
        assert_eq!(short.body, ShortBody::Coded(sm.short_message.clone()));
        let tags: Vec<_> = short.tlvs.iter().map(|tlv| (tlv.tag, &tlv.value[..])).collect();
        assert_eq!(tags, [(0x1400, &b"a"[..]), (0x0381, b"1"), (0x0381, b"2")]);
        sm.tlvs.push(tag::MESSAGE_PAYLOAD, b"long").unwrap();
        let short = super::short(&sm, Alphabet::Gsm);
        assert!(short.in_payload && short.tlvs.len() == 3);
        assert_eq!(short.body, ShortBody::Coded(Bytes::from_static(b"long")));
    }

    #[test]
    fn numbers_without_a_kind_get_the_operators() {
        let given = smpp::Address::new(0, 0, Octets::from_static(b"33612345678"));
        let numbering = Numbering { ton: Some(1), npi: Some(1) };
        assert_eq!(&*address(&given, numbering).value, "+33612345678");
        let given = smpp::Address { ton: 5, ..given };
        assert_eq!(address(&given, numbering).ton, 5);
    }
}
