//! A stream of PDUs: no octet panics, a bad PDU moves nothing, and what was understood can be
//! written and understood again.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use smpp::pdu::Dialect;
use smpp::receipt::Receipt;
use smpp::{Framer, InterfaceVersion, Pdu, Status, decode, encode};

const PDU_OCTETS_MAX: usize = 4096;

fuzz_target!(|octets: &[u8]| {
    let mut framer = Framer::new(PDU_OCTETS_MAX);
    framer.extend(octets);
    let mut taken = 0;
    while let Ok(Some(frame)) = framer.poll_frame() {
        taken += frame.len();
        check(&frame);
    }
    assert!(taken <= octets.len());
    // The body of any command, without the luck of a right length.
    if let Some((command, body)) = octets.split_first_chunk::<4>() {
        let mut frame = BytesMut::from(&[0; 4][..]);
        frame.extend_from_slice(command);
        frame.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1]);
        frame.extend_from_slice(body);
        check(&frame.freeze());
    }
});

fn check(frame: &Bytes) {
    let Ok(decoded) = decode(frame) else { return };
    if let Pdu::DeliverSm(sm) | Pdu::SubmitSm(sm) = &decoded.pdu {
        let _receipt = Receipt::of(sm);
    }
    let dialect = Dialect { version: InterfaceVersion::V50, tlvs: true, long_fields: true, long_credentials: true };
    let mut again = BytesMut::new();
    if encode(&decoded.pdu, 1, Status::ROK, &dialect, &mut again).is_ok() {
        let again = decode(&again.freeze()).expect("what was written is read");
        assert_eq!(again.pdu, decoded.pdu);
    }
}
