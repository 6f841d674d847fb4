//! A text as the short messages that carry it.

use bytes::BytesMut;
use message::text::{Alphabet, SegmentError, SegmentOptions, choose, segment};
use smpp::{EsmClass, Sm};

/// The parts of a text in the cheapest alphabet, without addresses.
///
/// # Errors
/// It takes more parts than there can be.
pub(super) fn parts(text: &str, reference: u16) -> Result<Vec<Sm>, SegmentError> {
    let alphabet = choose(text);
    let options = SegmentOptions { reference, ..SegmentOptions::default() };
    let parts = segment(text, alphabet, &options)?.into_iter().map(|segment| {
        let mut body = BytesMut::from(&segment.udh[..]);
        body.extend_from_slice(&segment.payload);
        Sm {
            esm_class: EsmClass(0).with_udh(!segment.udh.is_empty()),
            data_coding: if alphabet == Alphabet::Ucs2 { 8 } else { 0 },
            short_message: body.freeze(),
            ..Sm::default()
        }
    });
    Ok(parts.collect())
}
