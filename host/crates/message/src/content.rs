//! What a message says: a mail as it came, or a short message.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::text::{Alphabet, Coding, Shift, Udh, meaning};

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Raw RFC 5322 octets, dot-unstuffed, CRLF line ends, exactly as received plus our own
    /// `Received:` header.
    Mail(Bytes),
    /// A short message.
    Short(Short),
}

impl Content {
    /// Octets of the raw mail, or of the user data of the short message.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Mail(raw) => raw.len(),
            Self::Short(short) => match &short.body {
                ShortBody::Coded(octets) => octets.len(),
                ShortBody::Text(text) => text.len(),
            },
        }
    }
}

/// A short message with everything that came along, so that what no plugin touched goes out as it
/// came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Short {
    /// The user data.
    pub body: ShortBody,
    /// SMPP data_coding of a coded body (SMPP v3.4 §5.2.19); ignored for text.
    pub data_coding: u8,
    /// SMPP esm_class as received (SMPP v3.4 §5.2.12): mode, type, UDHI, reply path.
    pub esm_class: u8,
    /// SMPP protocol_id (3GPP 23.040 TP-PID).
    pub protocol_id: u8,
    /// SMPP service_type, at most 5 characters; forwarded only where a route says so.
    pub service_type: Arc<str>,
    /// Whether the user data came in the message_payload TLV and goes out there again.
    pub in_payload: bool,
    /// Optional parameters in wire order, unknown and repeated ones too; without message_payload.
    pub tlvs: Vec<Tlv>,
}

/// esm_class bit 6: the user data starts with a user data header.
pub const ESM_UDHI: u8 = 0x40;

impl Short {
    /// A short message of this text: alphabet and parts are chosen when it is sent.
    #[must_use]
    pub fn from_text(text: impl Into<Arc<str>>) -> Self {
        Self { body: ShortBody::Text(text.into()), ..Self::from_coded(Bytes::new(), 0, 0) }
    }

    /// A short message of these octets, as they came or shall go.
    #[must_use]
    pub fn from_coded(octets: Bytes, data_coding: u8, esm_class: u8) -> Self {
        Self {
            body: ShortBody::Coded(octets),
            data_coding,
            esm_class,
            protocol_id: 0,
            service_type: Arc::from(""),
            in_payload: false,
            tlvs: Vec::new(),
        }
    }

    /// Whether a coded body starts with a user data header (3GPP 23.040 §9.2.3.24).
    #[must_use]
    pub fn has_udh(&self) -> bool {
        self.esm_class & ESM_UDHI != 0 && matches!(self.body, ShortBody::Coded(_))
    }

    /// The user data header with its length octet, and what follows it. A header that is longer than
    /// the user data is taken to be no header.
    #[must_use]
    pub fn split_udh(&self) -> (Bytes, Bytes) {
        let ShortBody::Coded(octets) = &self.body else { return (Bytes::new(), Bytes::new()) };
        if !self.has_udh() {
            return (Bytes::new(), octets.clone());
        }
        let length = octets.first().map_or(0, |&n| usize::from(n) + 1);
        if length == 0 || length > octets.len() {
            return (Bytes::new(), octets.clone());
        }
        (octets.slice(..length), octets.slice(length..))
    }

    /// The text, where data_coding 0 means `zero`; none of binary data.
    #[must_use]
    pub fn text(&self, zero: Alphabet) -> Option<String> {
        if let ShortBody::Text(text) = &self.body {
            return Some(text.to_string());
        }
        let Coding::Text(alphabet) = meaning(self.data_coding, zero).coding else { return None };
        let (header, octets) = self.split_udh();
        // Packed septets begin at a boundary of seven bits behind the header.
        let fill_bits = (7 - header.len() * 8 % 7) % 7;
        let udh = Udh::parse(&header).unwrap_or_default();
        Some(alphabet.decode_behind(&octets, fill_bits, Shift::of(&udh)))
    }

    /// The raw value of the first optional parameter with this tag.
    #[must_use]
    pub fn tlv(&self, tag: u16) -> Option<&Bytes> {
        self.tlvs.iter().find(|tlv| tlv.tag == tag).map(|tlv| &tlv.value)
    }
}

/// The user data of a short message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShortBody {
    /// Octets in the alphabet that data_coding names, with the user data header if there is one.
    Coded(Bytes),
    /// Text whose alphabet and parts are chosen at the first attempt.
    Text(Arc<str>),
}

/// An SMPP optional parameter, byte for byte (SMPP v3.4 §5.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tlv {
    /// For example 0x1400.
    pub tag: u16,
    /// The value without tag and length.
    pub value: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Header, user data behind it, and what it says in GSM 03.38.
    #[track_caller]
    fn check(zero: Alphabet, header: &[u8], octets: &[u8], expect: &str) {
        let esm_class = if header.is_empty() { 0 } else { ESM_UDHI };
        let short = Short::from_coded([header, octets].concat().into(), 0, esm_class);
        assert_eq!(short.text(zero).as_deref(), Some(expect));
    }

    #[test]
    fn the_text_is_behind_the_header_and_in_its_tables() {
        check(Alphabet::Gsm, b"", b"a\x00", "a@");
        check(Alphabet::Gsm, b"\x05\x00\x03\x01\x02\x01", b"a", "a");
        // 3GPP 23.038 §6.2.1.2.2: the Turkish single shift table has ş at 0x73.
        check(Alphabet::Gsm, b"\x03\x24\x01\x01", b"\x1B\x73", "ş");
        // "he" packed, one bit behind a header of six octets.
        check(Alphabet::GsmPacked, b"\x05\x00\x03\x01\x02\x01", &[0xD0, 0x65], "he");
        let binary = Short::from_coded(Bytes::from_static(b"x"), 4, 0);
        assert_eq!(binary.text(Alphabet::Gsm), None);
    }
}
