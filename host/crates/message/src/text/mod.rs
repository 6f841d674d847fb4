//! The text of short messages: alphabets, national tables, `data_coding`, user data headers and
//! segmentation (3GPP TS 23.038, 23.040; SMPP v3.4 §5.2.19).

mod alphabet;
mod coding;
mod gsm;
mod national;
mod packed;
mod segment;
mod transliterate;
mod udh;

pub use alphabet::{Alphabet, Unencodable, choose, choose_for};
pub use coding::{Coding, Meaning, Waiting, meaning};
pub use gsm::covers as is_gsm;
pub use national::{Language, Shift};
pub use packed::{PADDING, pack, unpack};
pub use segment::{
    Carrier, Count, PAYLOAD_OCTETS_MAX, SEGMENT_OCTETS_MAX, Segment, SegmentError, SegmentOptions,
    count, count_parts, fit, segment, segment_binary,
};
pub use transliterate::transliterate;
pub use udh::{Concat, Element, Udh, UdhBuilder, UdhError, ie};

#[cfg(test)]
mod tests;
