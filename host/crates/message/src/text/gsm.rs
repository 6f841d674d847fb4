//! The GSM 7 bit default alphabet and its extension table (3GPP TS 23.038 §6.2.1), one octet a
//! septet.

use super::national::Shift;

/// Announces that the next septet is to be looked up in the extension (single shift) table.
pub(super) const ESCAPE: u8 = 0x1B;

/// Septet to character (§6.2.1). The escape's own place holds a space, which §6.2.1 note 1 asks a
/// receiver to show when it cannot make sense of what follows.
#[rustfmt::skip]
const BASIC: [char; 128] = [
    '@', '£', '$', '¥', 'è', 'é', 'ù', 'ì', 'ò', 'Ç', '\n', 'Ø', 'ø', '\r', 'Å', 'å',
    'Δ', '_', 'Φ', 'Γ', 'Λ', 'Ω', 'Π', 'Ψ', 'Σ', 'Θ', 'Ξ', ' ', 'Æ', 'æ', 'ß', 'É',
    ' ', '!', '"', '#', '¤', '%', '&', '\'', '(', ')', '*', '+', ',', '-', '.', '/',
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', ':', ';', '<', '=', '>', '?',
    '¡', 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O',
    'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z', 'Ä', 'Ö', 'Ñ', 'Ü', '§',
    '¿', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o',
    'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z', 'ä', 'ö', 'ñ', 'ü', 'à',
];

/// The default extension table (§6.2.1.1).
pub(super) const EXTENSION: &[(u8, char)] = &[
    (0x0A, '\u{0C}'),
    (0x14, '^'),
    (0x28, '{'),
    (0x29, '}'),
    (0x2F, '\\'),
    (0x3C, '['),
    (0x3D, '~'),
    (0x3E, ']'),
    (0x40, '|'),
    (0x65, '€'),
];

/// Marks an entry of [`LATIN`] that stands in the extension table.
const ESCAPED: u8 = 0x80;
/// Marks an entry of [`LATIN`] that the alphabet does not have.
const ABSENT: u8 = 0xFF;

/// Latin-1 character to septet, built from the tables above: the hot path of encoding is one
/// look-up.
const LATIN: [u8; 256] = latin_table();

#[expect(
    clippy::cast_possible_truncation,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which has no try_from and would stop at a bad index"
)]
const fn latin_table() -> [u8; 256] {
    let mut table = [ABSENT; 256];
    let mut septet = 0;
    while septet < BASIC.len() {
        let code = BASIC[septet] as usize;
        if code < table.len() && septet != ESCAPE as usize {
            table[code] = septet as u8;
        }
        septet += 1;
    }
    let mut index = 0;
    while index < EXTENSION.len() {
        let (septet, character) = EXTENSION[index];
        if (character as usize) < table.len() {
            table[character as usize] = septet | ESCAPED;
        }
        index += 1;
    }
    table
}

/// How a character is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// In the basic (or locking shift) table: one septet.
    Basic(u8),
    /// In the extension (or single shift) table: the escape and one septet.
    Escaped(u8),
}

impl Code {
    /// Length in septets.
    pub(super) const fn septets(self) -> usize {
        match self {
            Self::Basic(_) => 1,
            Self::Escaped(_) => 2,
        }
    }

    /// Appends the one or two septets.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Basic(septet) => out.push(septet),
            Self::Escaped(septet) => out.extend([ESCAPE, septet]),
        }
    }
}

/// Whether every character of `text` is in the default alphabet or its extension table.
#[must_use]
pub fn covers(text: &str) -> bool {
    text.chars().all(|character| default_code(character).is_some())
}

/// How `character` is written under the tables of `shift`.
pub(super) fn code(character: char, shift: Shift) -> Option<Code> {
    if shift.is_default() { default_code(character) } else { shifted_code(character, shift) }
}

/// Characters of `septets`; what is not assigned becomes what 23.038 asks a receiver to show: the
/// character of the basic table after an unknown escape, a space for a lone or doubled escape.
pub(super) fn decode(septets: &[u8], shift: Shift, out: &mut String) {
    let mut rest = septets.iter().map(|septet| septet & 0x7F);
    while let Some(septet) = rest.next() {
        if septet != ESCAPE {
            out.push(basic_character(septet, shift));
            continue;
        }
        match rest.next() {
            None | Some(ESCAPE) => out.push(' '),
            Some(escaped) => out.push(
                character_of(shift.extension(), escaped)
                    .unwrap_or_else(|| basic_character(escaped, shift)),
            ),
        }
    }
}

fn default_code(character: char) -> Option<Code> {
    let point = u32::from(character);
    let entry = match usize::try_from(point).ok().and_then(|index| LATIN.get(index)) {
        Some(&entry) => entry,
        None => beyond_latin(character)?,
    };
    match entry {
        ABSENT => None,
        entry if entry & ESCAPED != 0 => Some(Code::Escaped(entry & 0x7F)),
        entry => Some(Code::Basic(entry)),
    }
}

fn shifted_code(character: char, shift: Shift) -> Option<Code> {
    if let Some(septet) = septet_of(shift.overrides(), character) {
        return Some(Code::Basic(septet));
    }
    if let Some(Code::Basic(septet)) = default_code(character)
        && character_of(shift.overrides(), septet).is_none()
    {
        return Some(Code::Basic(septet));
    }
    septet_of(shift.extension(), character).map(Code::Escaped)
}

fn basic_character(septet: u8, shift: Shift) -> char {
    character_of(shift.overrides(), septet)
        .unwrap_or_else(|| BASIC.get(usize::from(septet)).copied().unwrap_or(' '))
}

fn beyond_latin(character: char) -> Option<u8> {
    Some(match character {
        '€' => 0x65 | ESCAPED,
        'Δ' => 0x10,
        'Φ' => 0x12,
        'Γ' => 0x13,
        'Λ' => 0x14,
        'Ω' => 0x15,
        'Π' => 0x16,
        'Ψ' => 0x17,
        'Σ' => 0x18,
        'Θ' => 0x19,
        'Ξ' => 0x1A,
        _ => return None,
    })
}

fn septet_of(table: &[(u8, char)], character: char) -> Option<u8> {
    table.iter().find(|entry| entry.1 == character).map(|entry| entry.0)
}

fn character_of(table: &[(u8, char)], septet: u8) -> Option<char> {
    table.iter().find(|entry| entry.0 == septet).map(|entry| entry.1)
}
