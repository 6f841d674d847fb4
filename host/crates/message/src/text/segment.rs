//! Segmentation: text or octets to the parts that fit a short message each (3GPP TS 23.040
//! §9.2.3.24.1), never cutting an escape from its septet or a surrogate from its pair.

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::alphabet::{Alphabet, Unencodable, choose};
use super::gsm;
use super::national::Shift;
use super::packed::pack;
use super::udh::{Concat, Udh, UdhBuilder, ie};

/// Octets of user data in one short message, header included (23.040 §9.2.3.16).
pub const SEGMENT_OCTETS_MAX: usize = 140;

/// Octets that the `message_payload` parameter can hold (SMPP v3.4 §5.3.2.32).
pub const PAYLOAD_OCTETS_MAX: usize = 65_535;

/// Octets of a header with nothing but an 8 bit concatenation element.
const CONCAT_8_OCTETS: usize = 6;
/// Octets of a header with nothing but a 16 bit concatenation element.
const CONCAT_16_OCTETS: usize = 7;

/// What carries the number of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carrier {
    /// A user data header with an 8 bit reference: understood everywhere.
    #[default]
    Udh8,
    /// A user data header with a 16 bit reference: one octet less text in each part.
    Udh16,
    /// The SAR parameters of SMPP; the message centre makes an 8 bit header of them.
    Sar,
    /// No parts here: the whole text in `message_payload`, cut by the message centre.
    Payload,
}

/// How to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentOptions {
    /// What carries the number of a part.
    pub carrier: Carrier,
    /// The number that the parts share; 8 bit carriers use the low octet.
    pub reference: u16,
    /// Parts allowed, also for a payload that the message centre will cut.
    pub parts_max: u8,
    /// National tables, for the GSM alphabets.
    pub shift: Shift,
    /// Whether the message centre turns this alphabet (Latin-1, ASCII or UTF-8 as its meaning of
    /// `data_coding` 0) into GSM or UCS2, so that those limits count. Otherwise each octet counts.
    pub recoded: bool,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self {
            carrier: Carrier::Udh8,
            reference: 0,
            parts_max: u8::MAX,
            shift: Shift::DEFAULT,
            recoded: false,
        }
    }
}

/// One part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The user data header with its length octet; empty if there is none.
    pub udh: Bytes,
    /// What follows the header.
    pub payload: Bytes,
    /// Which octets of the text (or of the binary data) it holds.
    pub range: Range<usize>,
}

/// Why a text cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// It takes more parts than allowed.
    #[error("the text takes {needed} parts, {max} are allowed")]
    TooManyParts {
        /// Parts that it takes.
        needed: usize,
        /// Parts allowed.
        max: u8,
    },
    /// The alphabet lacks a character.
    #[error(transparent)]
    Unencodable(#[from] Unencodable),
    /// It does not fit `message_payload`.
    #[error("{octets} octets do not fit message_payload, which holds {PAYLOAD_OCTETS_MAX}")]
    TooLong {
        /// Octets that it takes.
        octets: usize,
    },
}

/// What a text takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Parts; at least 1.
    pub parts: usize,
    /// Septets or octets without headers.
    pub units: usize,
}

/// Parts that `text` takes in the cheapest alphabet with 8 bit references. Allocates nothing.
#[must_use]
pub fn count_parts(text: &str) -> usize {
    let options = SegmentOptions::default();
    // The cheapest alphabet has every character, so there is nothing to fail.
    count(text, choose(text), &options).map_or(usize::MAX, |count| count.parts)
}

/// Parts and units that `text` takes. Allocates nothing and knows no limit of parts.
///
/// # Errors
/// The alphabet lacks a character.
pub fn count(
    text: &str,
    alphabet: Alphabet,
    options: &SegmentOptions,
) -> Result<Count, Unencodable> {
    let measure = Measure::of(text, alphabet, options);
    let mut units = 0;
    let mut parts = 1;
    let mut used = 0;
    for (at, character) in text.char_indices() {
        let Some(width) = measure.width(character) else {
            return Err(Unencodable { character, at, alphabet });
        };
        units += width;
        if used + width > measure.several {
            parts += 1;
            used = 0;
        }
        used += width;
    }
    if units <= measure.single {
        parts = 1;
    }
    Ok(Count { parts, units })
}

/// The longest beginning of `text` that fits `options.parts_max` parts.
///
/// # Errors
/// The alphabet lacks a character of the whole text.
pub fn fit<'a>(
    text: &'a str,
    alphabet: Alphabet,
    options: &SegmentOptions,
) -> Result<&'a str, Unencodable> {
    let parts_max = usize::from(options.parts_max.max(1));
    if count(text, alphabet, options)?.parts <= parts_max {
        return Ok(text);
    }
    let measure = Measure::of(text, alphabet, options);
    let limit = if parts_max == 1 { measure.single } else { measure.several };
    let mut parts = 1;
    let mut used = 0;
    for (at, character) in text.char_indices() {
        let width = measure.width(character).unwrap_or(0);
        if used + width > limit {
            if parts == parts_max {
                return Ok(text.split_at(at).0);
            }
            parts += 1;
            used = 0;
        }
        used += width;
    }
    Ok(text)
}

/// Cuts `text` into parts. An empty text is one empty part.
///
/// # Errors
/// More parts than allowed, a character that the alphabet lacks, or a payload too long.
pub fn segment(
    text: &str,
    alphabet: Alphabet,
    options: &SegmentOptions,
) -> Result<Vec<Segment>, SegmentError> {
    let septets = matches!(alphabet, Alphabet::Gsm | Alphabet::GsmPacked);
    let shift = if septets { options.shift } else { Shift::DEFAULT };
    let options = &SegmentOptions { shift, ..*options };
    let needed = count(text, alphabet, options)?.parts;
    let max = options.parts_max.max(1);
    let Some(total) = u8::try_from(needed).ok().filter(|&total| total <= max) else {
        return Err(SegmentError::TooManyParts { needed, max });
    };
    if total == 1 || options.carrier == Carrier::Payload {
        let udh = header(options, None);
        let payload = encode(text, alphabet, options, &udh)?;
        if payload.len() > PAYLOAD_OCTETS_MAX {
            return Err(SegmentError::TooLong { octets: payload.len() });
        }
        return Ok(vec![Segment { udh, payload, range: 0..text.len() }]);
    }
    let measure = Measure::of(text, alphabet, options);
    let mut segments = Vec::with_capacity(needed);
    let mut start = 0;
    for sequence in 1..=total {
        let rest = text.get(start..).unwrap_or_default();
        let piece = measure.longest(rest);
        let udh = header(options, Some((sequence, total)));
        let payload = encode(piece, alphabet, options, &udh)?;
        let range = start..start + piece.len();
        start = range.end;
        segments.push(Segment { udh, payload, range });
    }
    Ok(segments)
}

/// Cuts octets that are not text into parts, without copying them.
///
/// # Errors
/// More parts than allowed, or a payload too long.
pub fn segment_binary(
    data: &Bytes,
    options: &SegmentOptions,
) -> Result<Vec<Segment>, SegmentError> {
    let room = SEGMENT_OCTETS_MAX - concat_octets(options.carrier);
    let needed = if data.len() <= SEGMENT_OCTETS_MAX { 1 } else { data.len().div_ceil(room) };
    let max = options.parts_max.max(1);
    let Some(total) = u8::try_from(needed).ok().filter(|&total| total <= max) else {
        return Err(SegmentError::TooManyParts { needed, max });
    };
    if total == 1 || options.carrier == Carrier::Payload {
        if data.len() > PAYLOAD_OCTETS_MAX {
            return Err(SegmentError::TooLong { octets: data.len() });
        }
        let range = 0..data.len();
        return Ok(vec![Segment { udh: Bytes::new(), payload: data.clone(), range }]);
    }
    let options = SegmentOptions { shift: Shift::DEFAULT, ..*options };
    Ok((1..=total)
        .map(|sequence| {
            let start = usize::from(sequence - 1) * room;
            let range = start..data.len().min(start + room);
            let udh = header(&options, Some((sequence, total)));
            Segment { udh, payload: data.slice(range.clone()), range }
        })
        .collect())
}

/// How characters count, and how much fits.
struct Measure {
    unit: Unit,
    shift: Shift,
    /// Units in a message of one part.
    single: usize,
    /// Units in each part of a message of several.
    several: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Septets,
    /// Octets of this alphabet.
    Octets(Alphabet),
}

impl Measure {
    fn of(text: &str, alphabet: Alphabet, options: &SegmentOptions) -> Self {
        let unit = match alphabet {
            Alphabet::Gsm | Alphabet::GsmPacked => Unit::Septets,
            _ if options.recoded && alphabet != Alphabet::Ucs2 => {
                if gsm::covers(text) {
                    Unit::Septets
                } else {
                    Unit::Octets(Alphabet::Ucs2)
                }
            }
            _ => Unit::Octets(alphabet),
        };
        let shift = match alphabet {
            Alphabet::Gsm | Alphabet::GsmPacked => options.shift,
            _ => Shift::DEFAULT,
        };
        let national = shift.header_octets();
        let alone = if national == 0 { 0 } else { national + 1 };
        let several = concat_octets(options.carrier) + national;
        Self { unit, shift, single: unit.room(alone), several: unit.room(several) }
    }

    fn width(&self, character: char) -> Option<usize> {
        match self.unit {
            Unit::Septets => Alphabet::Gsm.width(character, self.shift),
            Unit::Octets(alphabet) => alphabet.width(character, self.shift),
        }
    }

    /// The longest beginning of `text` that fits one part of several.
    fn longest<'a>(&self, text: &'a str) -> &'a str {
        let mut used = 0;
        for (at, character) in text.char_indices() {
            used += self.width(character).unwrap_or(0);
            if used > self.several {
                return text.split_at(at).0;
            }
        }
        text
    }
}

impl Unit {
    /// Units that fit behind a header of `header_octets`.
    const fn room(self, header_octets: usize) -> usize {
        let octets = SEGMENT_OCTETS_MAX - header_octets;
        match self {
            Self::Septets => octets * 8 / 7,
            Self::Octets(_) => octets,
        }
    }
}

const fn concat_octets(carrier: Carrier) -> usize {
    match carrier {
        Carrier::Udh8 | Carrier::Sar | Carrier::Payload => CONCAT_8_OCTETS,
        Carrier::Udh16 => CONCAT_16_OCTETS,
    }
}

fn header(options: &SegmentOptions, part: Option<(u8, u8)>) -> Bytes {
    let mut builder = UdhBuilder::default();
    if let Some((sequence, total)) = part
        && matches!(options.carrier, Carrier::Udh8 | Carrier::Udh16)
    {
        let wide = options.carrier == Carrier::Udh16;
        builder = builder.concat(Concat { reference: options.reference, wide, total, sequence });
    }
    if let Some(language) = options.shift.single {
        builder = builder.element(ie::SINGLE_SHIFT, &[language.identifier()]);
    }
    if let Some(language) = options.shift.locking {
        builder = builder.element(ie::LOCKING_SHIFT, &[language.identifier()]);
    }
    // At most 13 octets, which always fit.
    builder.build().map(|udh| udh.octets().clone()).unwrap_or_default()
}

fn encode(
    text: &str,
    alphabet: Alphabet,
    options: &SegmentOptions,
    udh: &Bytes,
) -> Result<Bytes, Unencodable> {
    if alphabet != Alphabet::GsmPacked {
        return alphabet.encode(text, options.shift).map(Bytes::from);
    }
    let septets = Alphabet::Gsm.encode(text, options.shift)?;
    let fill_bits = Udh::parse(udh).map_or(0, |udh| udh.fill_bits());
    Ok(Bytes::from(pack(&septets, fill_bits)))
}
