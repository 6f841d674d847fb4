//! What a `data_coding` says (SMPP v3.4 §5.2.19 below 0x10, 3GPP TS 23.038 §4 above).

use super::alphabet::Alphabet;

/// What the octets of a short message are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// Text in an alphabet.
    Text(Alphabet),
    /// Octets that are not text.
    Binary,
    /// Text in an alphabet that is not read here (JIS, KS C 5601, pictograms), compressed text or
    /// a reserved value: octets to be passed on as they are.
    Opaque,
}

/// A message waiting indication (23.038 §4, groups 1100 to 1110).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Waiting {
    /// Whether the indication is to be set or cleared.
    pub active: bool,
    /// 0 voice mail, 1 fax, 2 electronic mail, 3 other.
    pub kind: u8,
    /// Whether the handset keeps the text.
    pub store: bool,
}

/// A `data_coding`, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Meaning {
    /// What the octets are.
    pub coding: Coding,
    /// Message class 0 (flash) to 3.
    pub class: Option<u8>,
    /// Message waiting indication.
    pub waiting: Option<Waiting>,
}

/// What `data_coding` says at a peer whose 0 means `zero` (SMPP leaves it to the message centre,
/// v3.4 §5.2.19 note c). Every group that names the GSM default alphabet means the peer's default
/// alphabet, as message centres treat it.
#[must_use]
pub const fn meaning(data_coding: u8, zero: Alphabet) -> Meaning {
    let class = data_coding & 0x03;
    match data_coding {
        0x00..=0x0F => plain(simple(data_coding, zero)),
        0x10..=0x7F => {
            let coding = if data_coding & 0x20 != 0 {
                Coding::Opaque
            } else {
                match data_coding >> 2 & 0x03 {
                    0 => Coding::Text(zero),
                    1 => Coding::Binary,
                    2 => Coding::Text(Alphabet::Ucs2),
                    _ => Coding::Opaque,
                }
            };
            let class = if data_coding & 0x10 != 0 { Some(class) } else { None };
            Meaning { coding, class, waiting: None }
        }
        0x80..=0xBF => plain(Coding::Opaque),
        0xC0..=0xEF => {
            let coding = if data_coding >= 0xE0 { Alphabet::Ucs2 } else { zero };
            let active = data_coding & 0x08 != 0;
            let waiting = Waiting { active, kind: class, store: data_coding >= 0xD0 };
            Meaning { coding: Coding::Text(coding), class: None, waiting: Some(waiting) }
        }
        0xF0..=0xFF => {
            let binary = data_coding & 0x04 != 0;
            let coding = if binary { Coding::Binary } else { Coding::Text(zero) };
            Meaning { coding, class: Some(class), waiting: None }
        }
    }
}

impl Coding {
    /// The `data_coding` that says this, with a message class if one is wanted, towards a peer
    /// whose 0 means `zero`. None if there is none: the GSM alphabet at a peer with another
    /// default, a class with an alphabet that 23.038 does not know, anything opaque.
    #[must_use]
    pub fn data_coding(self, zero: Alphabet, class: Option<u8>) -> Option<u8> {
        let base = match self {
            Self::Text(alphabet) if alphabet == zero => 0x00,
            Self::Text(Alphabet::Ucs2) => 0x08,
            Self::Binary => 0x04,
            Self::Text(Alphabet::Ascii) if class.is_none() => 0x01,
            Self::Text(Alphabet::Latin1) if class.is_none() => 0x03,
            Self::Text(Alphabet::Cyrillic) if class.is_none() => 0x06,
            Self::Text(Alphabet::Hebrew) if class.is_none() => 0x07,
            Self::Text(_) | Self::Opaque => return None,
        };
        match class {
            None => Some(base),
            Some(class @ 0..=3) => Some(0x10 | base | class),
            Some(_) => None,
        }
    }
}

const fn plain(coding: Coding) -> Meaning {
    Meaning { coding, class: None, waiting: None }
}

const fn simple(data_coding: u8, zero: Alphabet) -> Coding {
    match data_coding {
        0x00 => Coding::Text(zero),
        0x01 => Coding::Text(Alphabet::Ascii),
        0x02 | 0x04 => Coding::Binary,
        0x03 => Coding::Text(Alphabet::Latin1),
        0x06 => Coding::Text(Alphabet::Cyrillic),
        0x07 => Coding::Text(Alphabet::Hebrew),
        0x08 => Coding::Text(Alphabet::Ucs2),
        _ => Coding::Opaque,
    }
}
