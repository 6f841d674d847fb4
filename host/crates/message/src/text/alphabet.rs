//! Alphabets of short messages: what each can say, and text to octets and back.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::gsm;
use super::national::Shift;
use super::packed::{pack, unpack};

/// How text stands in the octets of a short message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alphabet {
    /// GSM 7 bit default alphabet, one octet a septet.
    Gsm,
    /// GSM 7 bit default alphabet, eight septets in seven octets.
    GsmPacked,
    /// US-ASCII (IA5).
    Ascii,
    /// ISO 8859-1.
    Latin1,
    /// ISO 8859-5.
    Cyrillic,
    /// ISO 8859-8.
    Hebrew,
    /// UTF-16, big end first; what SMPP calls UCS2.
    Ucs2,
    /// UTF-8, which a few message centres use as their default alphabet.
    Utf8,
}

/// A character that the alphabet does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{character:?} at octet {at} of the text is not in the {alphabet} alphabet")]
pub struct Unencodable {
    /// The character.
    pub character: char,
    /// Its octet offset in the text.
    pub at: usize,
    /// The alphabet that lacks it.
    pub alphabet: Alphabet,
}

/// What stands for a character that the alphabet lacks, in all of them.
const SUBSTITUTE: char = '?';

/// The alphabet that takes the fewest segments: GSM if it has every character, else UCS2.
#[must_use]
pub fn choose(text: &str) -> Alphabet {
    if gsm::covers(text) { Alphabet::Gsm } else { Alphabet::Ucs2 }
}

/// The alphabet to use towards a message centre whose `data_coding` 0 means `zero`: that one where
/// the text survives the way to the handset, else UCS2. Over the air there is only GSM and UCS2,
/// so a Latin-1 centre gets what Latin-1 and GSM have in common.
#[must_use]
pub fn choose_for(text: &str, zero: Alphabet) -> Alphabet {
    if gsm::covers(text) && zero.covers(text) { zero } else { Alphabet::Ucs2 }
}

impl Alphabet {
    /// Whether every character of `text` can be written.
    #[must_use]
    pub fn covers(self, text: &str) -> bool {
        match self {
            Self::Ucs2 | Self::Utf8 => true,
            Self::Ascii => text.is_ascii(),
            _ => text.chars().all(|character| self.width(character, Shift::DEFAULT).is_some()),
        }
    }

    /// Octets of `text`.
    ///
    /// # Errors
    /// The first character that the alphabet (with the tables of `shift`, for the GSM ones) lacks.
    pub fn encode(self, text: &str, shift: Shift) -> Result<Vec<u8>, Unencodable> {
        let mut out = Vec::with_capacity(text.len());
        for (at, character) in text.char_indices() {
            if !self.write(character, shift, &mut out) {
                return Err(Unencodable { character, at, alphabet: self });
            }
        }
        Ok(if self == Self::GsmPacked { pack(&out, 0) } else { out })
    }

    /// Octets of `text` with `?` for what the alphabet lacks.
    #[must_use]
    pub fn encode_lossy(self, text: &str, shift: Shift) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        for character in text.chars() {
            if !self.write(character, shift, &mut out) {
                self.write(SUBSTITUTE, shift, &mut out);
            }
        }
        if self == Self::GsmPacked { pack(&out, 0) } else { out }
    }

    /// Text of `octets`; what cannot be read becomes U+FFFD. Never fails.
    #[must_use]
    pub fn decode(self, octets: &[u8], shift: Shift) -> String {
        self.decode_behind(octets, 0, shift)
    }

    /// As [`decode`](Self::decode), for packed septets that start `fill_bits` into the first octet
    /// (see [`Udh::fill_bits`](super::Udh::fill_bits)).
    #[must_use]
    pub fn decode_behind(self, octets: &[u8], fill_bits: usize, shift: Shift) -> String {
        let mut out = String::with_capacity(octets.len());
        match self {
            Self::Gsm => gsm::decode(octets, shift, &mut out),
            Self::GsmPacked => gsm::decode(&unpack(octets, fill_bits), shift, &mut out),
            Self::Ascii => out.extend(octets.iter().map(|&octet| ascii_character(octet))),
            Self::Latin1 => out.extend(octets.iter().map(|&octet| char::from(octet))),
            Self::Cyrillic => out.extend(octets.iter().map(|&octet| cyrillic_character(octet))),
            Self::Hebrew => out.extend(octets.iter().map(|&octet| hebrew_character(octet))),
            Self::Ucs2 => decode_utf16(octets, &mut out),
            Self::Utf8 => out.push_str(&String::from_utf8_lossy(octets)),
        }
        out
    }

    /// Units that `character` takes (septets in the GSM alphabets, octets in all others), none if
    /// the alphabet lacks it.
    pub(super) fn width(self, character: char, shift: Shift) -> Option<usize> {
        match self {
            Self::Gsm | Self::GsmPacked => gsm::code(character, shift).map(gsm::Code::septets),
            Self::Ascii => character.is_ascii().then_some(1),
            Self::Latin1 => u8::try_from(u32::from(character)).ok().map(|_| 1),
            Self::Cyrillic => cyrillic_octet(character).map(|_| 1),
            Self::Hebrew => hebrew_octet(character).map(|_| 1),
            Self::Ucs2 => Some(character.len_utf16() * 2),
            Self::Utf8 => Some(character.len_utf8()),
        }
    }

    /// Appends the units of `character` (septets are not packed here); false if it has none.
    pub(super) fn write(self, character: char, shift: Shift, out: &mut Vec<u8>) -> bool {
        let octet = match self {
            Self::Gsm | Self::GsmPacked => {
                let Some(code) = gsm::code(character, shift) else { return false };
                code.write(out);
                return true;
            }
            Self::Ucs2 => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.extend_from_slice(&unit.to_be_bytes());
                }
                return true;
            }
            Self::Utf8 => {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return true;
            }
            Self::Ascii => u8::try_from(u32::from(character)).ok().filter(u8::is_ascii),
            Self::Latin1 => u8::try_from(u32::from(character)).ok(),
            Self::Cyrillic => cyrillic_octet(character),
            Self::Hebrew => hebrew_octet(character),
        };
        out.extend(octet);
        octet.is_some()
    }
}

impl fmt::Display for Alphabet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gsm => "gsm",
            Self::GsmPacked => "gsm-packed",
            Self::Ascii => "ascii",
            Self::Latin1 => "latin1",
            Self::Cyrillic => "cyrillic",
            Self::Hebrew => "hebrew",
            Self::Ucs2 => "ucs2",
            Self::Utf8 => "utf8",
        })
    }
}

/// An odd last octet is half a unit and becomes U+FFFD like an unpaired surrogate.
fn decode_utf16(octets: &[u8], out: &mut String) {
    let (units, rest) = octets.as_chunks::<2>();
    let units = units.iter().map(|&unit| u16::from_be_bytes(unit));
    out.extend(char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
    if !rest.is_empty() {
        out.push(char::REPLACEMENT_CHARACTER);
    }
}

fn ascii_character(octet: u8) -> char {
    if octet.is_ascii() { char::from(octet) } else { char::REPLACEMENT_CHARACTER }
}

/// ISO 8859-5: U+0401 to U+045F in order, but for the soft hyphen, the numero and the section sign.
fn cyrillic_character(octet: u8) -> char {
    match octet {
        0xAD => '\u{AD}',
        0xF0 => '№',
        0xFD => '§',
        0xA1.. => char::from_u32(0x0400 + u32::from(octet - 0xA0)).unwrap_or(SUBSTITUTE),
        _ => char::from(octet),
    }
}

fn cyrillic_octet(character: char) -> Option<u8> {
    let octet = match u32::from(character) {
        point @ (0..=0xA0 | 0xAD) => point,
        0x2116 => 0xF0,
        0xA7 => 0xFD,
        0x040D | 0x0450 | 0x045D => return None,
        point @ 0x0401..=0x045F => point - 0x0400 + 0xA0,
        _ => return None,
    };
    u8::try_from(octet).ok()
}

/// ISO 8859-8: Latin-1 signs, the letters from 0xE0, the two marks of direction; the rest is not
/// assigned.
fn hebrew_character(octet: u8) -> char {
    match octet {
        0xAA => '×',
        0xBA => '÷',
        0xDF => '‗',
        0xE0..=0xFA => char::from_u32(0x05D0 + u32::from(octet - 0xE0)).unwrap_or(SUBSTITUTE),
        0xFD => '\u{200E}',
        0xFE => '\u{200F}',
        0xA1 | 0xBF..=0xDE | 0xFB | 0xFC | 0xFF => char::REPLACEMENT_CHARACTER,
        _ => char::from(octet),
    }
}

fn hebrew_octet(character: char) -> Option<u8> {
    let octet = match u32::from(character) {
        0xD7 => 0xAA,
        0xF7 => 0xBA,
        0x2017 => 0xDF,
        0x200E => 0xFD,
        0x200F => 0xFE,
        point @ 0x05D0..=0x05EA => point - 0x05D0 + 0xE0,
        0xA1 | 0xAA | 0xBA => return None,
        point @ 0..=0xBE => point,
        _ => return None,
    };
    u8::try_from(octet).ok()
}
