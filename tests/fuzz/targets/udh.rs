//! User data headers and packed septets: two readers agree, and what is read is written again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use message::text::{Alphabet, Shift, Udh, UdhBuilder, pack, unpack};

fuzz_target!(|octets: &[u8]| {
    let data = Bytes::copy_from_slice(octets);
    if let Ok((udh, text)) = Udh::split(&data) {
        assert_eq!([&udh.octets()[..], &text[..]].concat(), octets);
        let mut builder = UdhBuilder::default();
        for element in udh.elements() {
            builder = builder.element(element.id, element.data);
        }
        if udh.octets().len() > 1
            && let Ok(built) = builder.build()
        {
            assert_eq!(built, udh);
        }
        assert_eq!(udh.without_concat().concat(), None);
        let part = udh.concat().map(|concat| (concat.reference, concat.total, concat.sequence));
        if let Ok((theirs, _)) = smpp::udh::Udh::split(&data) {
            let concat = theirs.concat();
            let theirs = concat.map(|concat| (concat.reference, concat.total, concat.sequence));
            assert_eq!(part, theirs);
        }
        let text = Alphabet::GsmPacked.decode_behind(&text, udh.fill_bits(), Shift::of(&udh));
        assert!(text.len() <= octets.len() * 4);
    }
    for fill_bits in 0..7 {
        let septets = unpack(octets, fill_bits);
        assert_eq!(unpack(&pack(&septets, fill_bits), fill_bits), trimmed(&septets, fill_bits));
    }
});

/// Septets that end as padding does, right at the end of an octet, lose their last one.
fn trimmed(septets: &[u8], fill_bits: usize) -> &[u8] {
    let filled = (fill_bits + septets.len() * 7) % 8 == 0;
    match septets {
        [rest @ .., 0 | message::text::PADDING] if filled => rest,
        _ => septets,
    }
}
