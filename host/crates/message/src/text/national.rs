//! National language shift tables (3GPP TS 23.038 Annex A), chosen by two elements of the user
//! data header (23.040 §9.2.3.24.15 and .16).

use serde::{Deserialize, Serialize};

use super::gsm::EXTENSION;
use super::udh::{Udh, ie};

/// A language with shift tables of its own here. Messages in another one decode with the default
/// tables, as 23.038 §6.2.1.2.1 asks of a receiver that does not know a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Language {
    /// Identifier 1, both tables.
    Turkish,
    /// Identifier 2, single shift only.
    Spanish,
    /// Identifier 3, both tables.
    Portuguese,
}

impl Language {
    /// The language of a National Language Identifier (23.038 §6.2.1.2.4).
    #[must_use]
    pub const fn from_identifier(identifier: u8) -> Option<Self> {
        match identifier {
            1 => Some(Self::Turkish),
            2 => Some(Self::Spanish),
            3 => Some(Self::Portuguese),
            _ => None,
        }
    }

    /// Its National Language Identifier.
    #[must_use]
    pub const fn identifier(self) -> u8 {
        match self {
            Self::Turkish => 1,
            Self::Spanish => 2,
            Self::Portuguese => 3,
        }
    }

    /// Where its locking shift table differs from the default alphabet.
    const fn locking(self) -> &'static [(u8, char)] {
        match self {
            Self::Turkish => TURKISH_LOCKING,
            Self::Spanish => &[],
            Self::Portuguese => PORTUGUESE_LOCKING,
        }
    }

    /// Its single shift table, whole.
    const fn single(self) -> &'static [(u8, char)] {
        match self {
            Self::Turkish => TURKISH_SINGLE,
            Self::Spanish => SPANISH_SINGLE,
            Self::Portuguese => PORTUGUESE_SINGLE,
        }
    }
}

/// Which tables a message uses; none for the default ones. Each costs three octets of every
/// segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shift {
    /// Replaces the basic table (element 0x25).
    pub locking: Option<Language>,
    /// Replaces the extension table (element 0x24).
    pub single: Option<Language>,
}

impl Shift {
    /// The default alphabet and its extension table.
    pub const DEFAULT: Self = Self { locking: None, single: None };

    /// The tables that a user data header asks for. The last element of a kind counts; unknown
    /// languages leave the default table.
    #[must_use]
    pub fn of(udh: &Udh) -> Self {
        let mut shift = Self::DEFAULT;
        for element in udh.elements() {
            match (element.id, element.data) {
                (ie::LOCKING_SHIFT, &[identifier]) => {
                    shift.locking = Language::from_identifier(identifier);
                }
                (ie::SINGLE_SHIFT, &[identifier]) => {
                    shift.single = Language::from_identifier(identifier);
                }
                _ => {}
            }
        }
        shift
    }

    /// Whether no national table is in use.
    #[must_use]
    pub const fn is_default(self) -> bool {
        self.locking.is_none() && self.single.is_none()
    }

    /// Octets that its elements take in a user data header.
    pub(super) fn header_octets(self) -> usize {
        (usize::from(self.locking.is_some()) + usize::from(self.single.is_some())) * 3
    }

    pub(super) const fn overrides(self) -> &'static [(u8, char)] {
        match self.locking {
            Some(language) => language.locking(),
            None => &[],
        }
    }

    pub(super) const fn extension(self) -> &'static [(u8, char)] {
        match self.single {
            Some(language) => language.single(),
            None => EXTENSION,
        }
    }
}

/// A.3.1.
const TURKISH_LOCKING: &[(u8, char)] = &[
    (0x04, '€'),
    (0x07, 'ı'),
    (0x0B, 'Ğ'),
    (0x0C, 'ğ'),
    (0x1C, 'Ş'),
    (0x1D, 'ş'),
    (0x40, 'İ'),
    (0x60, 'ç'),
];

/// A.2.1.
#[rustfmt::skip]
const TURKISH_SINGLE: &[(u8, char)] = &[
    (0x0A, '\u{0C}'), (0x14, '^'), (0x28, '{'), (0x29, '}'), (0x2F, '\\'), (0x3C, '['),
    (0x3D, '~'), (0x3E, ']'), (0x40, '|'), (0x47, 'Ğ'), (0x49, 'İ'), (0x53, 'Ş'),
    (0x63, 'ç'), (0x65, '€'), (0x67, 'ğ'), (0x69, 'ı'), (0x73, 'ş'),
];

/// A.2.2.
#[rustfmt::skip]
const SPANISH_SINGLE: &[(u8, char)] = &[
    (0x09, 'ç'), (0x0A, '\u{0C}'), (0x14, '^'), (0x28, '{'), (0x29, '}'), (0x2F, '\\'),
    (0x3C, '['), (0x3D, '~'), (0x3E, ']'), (0x40, '|'), (0x41, 'Á'), (0x49, 'Í'),
    (0x4F, 'Ó'), (0x55, 'Ú'), (0x61, 'á'), (0x65, '€'), (0x69, 'í'), (0x6F, 'ó'),
    (0x75, 'ú'),
];

/// A.3.3.
#[rustfmt::skip]
const PORTUGUESE_LOCKING: &[(u8, char)] = &[
    (0x04, 'ê'), (0x06, 'ú'), (0x07, 'í'), (0x08, 'ó'), (0x09, 'ç'), (0x0B, 'Ô'),
    (0x0C, 'ô'), (0x0E, 'Á'), (0x0F, 'á'), (0x12, 'ª'), (0x13, 'Ç'), (0x14, 'À'),
    (0x15, '∞'), (0x16, '^'), (0x17, '\\'), (0x18, '€'), (0x19, 'Ó'), (0x1A, '|'),
    (0x1C, 'Â'), (0x1D, 'â'), (0x1E, 'Ê'), (0x24, 'º'), (0x40, 'Í'), (0x5B, 'Ã'),
    (0x5C, 'Õ'), (0x5D, 'Ú'), (0x60, '~'), (0x7B, 'ã'), (0x7C, 'õ'), (0x7D, '`'),
];

/// A.2.3.
#[rustfmt::skip]
const PORTUGUESE_SINGLE: &[(u8, char)] = &[
    (0x05, 'ê'), (0x09, 'ç'), (0x0A, '\u{0C}'), (0x0B, 'Ô'), (0x0C, 'ô'), (0x0E, 'Á'),
    (0x0F, 'á'), (0x12, 'Φ'), (0x13, 'Γ'), (0x14, '^'), (0x15, 'Ω'), (0x16, 'Π'),
    (0x17, 'Ψ'), (0x18, 'Σ'), (0x19, 'Θ'), (0x1F, 'Ê'), (0x28, '{'), (0x29, '}'),
    (0x2F, '\\'), (0x3C, '['), (0x3D, '~'), (0x3E, ']'), (0x40, '|'), (0x41, 'À'),
    (0x49, 'Í'), (0x4F, 'Ó'), (0x55, 'Ú'), (0x5B, 'Ã'), (0x5C, 'Õ'), (0x61, 'Â'),
    (0x65, '€'), (0x69, 'í'), (0x6F, 'ó'), (0x75, 'ú'), (0x7B, 'ã'), (0x7C, 'õ'),
    (0x7F, 'â'),
];
