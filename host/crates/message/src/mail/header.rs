//! Header fields: where they stand, what they say, and how to write them (RFC 5322 §2.2, §3.6;
//! RFC 2047).

use std::borrow::Cow;
use std::ops::Range;

use mail_parser::decoders::charsets::map::charset_decoder;

use super::transfer::{self, Transfer};

/// Header fields that are looked at; later ones are passed on unread.
pub const HEADER_FIELDS_MAX: usize = 10_000;
/// Octets of one header field that are decoded; the rest is passed on unread.
pub const HEADER_VALUE_OCTETS_MAX: usize = 65_536;

/// Column behind which a line is folded (RFC 5322 §2.1.1).
const LINE_COLUMNS: usize = 78;
/// Longest word that is written as it is; longer ones become encoded words, so that no line
/// exceeds 998 octets.
const WORD_OCTETS_MAX: usize = 900;
/// Longest encoded word that is read; RFC 2047 allows 75 octets.
const ENCODED_WORD_OCTETS_MAX: usize = 1_000;
/// Longest encoded word that is written (RFC 2047 §2).
const ENCODED_WORD_OCTETS: usize = 75;
/// What an encoded word takes besides its text: `=?utf-8?q?` and `?=`.
const ENCODED_WORD_FRAME: usize = 12;

/// One field, by its offsets in the raw mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// First octet of the name.
    pub(super) start: usize,
    /// Behind the last octet of the name.
    pub(super) name_end: usize,
    /// Behind the colon.
    pub(super) value_start: usize,
    /// Behind the line end of the last line.
    pub(super) end: usize,
}

/// The header of a mail or of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HeaderBlock {
    pub(super) fields: Vec<Field>,
    /// Behind the last field: the empty line, or the body if there is none.
    pub(super) end: usize,
    /// First octet of the body.
    pub(super) body: usize,
}

impl HeaderBlock {
    /// Reads the header that starts at `start`. It ends with an empty line or before the first line
    /// that is no field.
    pub(super) fn scan(raw: &[u8], start: usize) -> Self {
        let mut block = Self { fields: Vec::new(), end: start, body: start };
        let mut at = start;
        let mut seen = 0;
        while at < raw.len() {
            let line = line_at(raw, at);
            let octets = raw.get(line.clone()).unwrap_or_default();
            if matches!(octets, b"\r\n" | b"\n" | b"\r") {
                block.body = line.end;
                return block;
            }
            if matches!(octets.first(), Some(b' ' | b'\t')) && seen > 0 {
                if let Some(field) = block.fields.last_mut().filter(|_| seen <= HEADER_FIELDS_MAX) {
                    field.end = line.end;
                }
            } else if let Some(field) = field_at(octets, at) {
                seen += 1;
                if seen <= HEADER_FIELDS_MAX {
                    block.fields.push(field);
                }
            } else {
                break;
            }
            at = line.end;
            block.end = at;
            block.body = at;
        }
        block
    }

    /// The fields of this name, in order.
    pub(super) fn named<'a>(&'a self, raw: &'a [u8], name: &'a str) -> impl Iterator<Item = Field> {
        self.fields.iter().copied().filter(move |field| field.is_named(raw, name))
    }

    /// The decoded value of the first field of this name.
    pub(super) fn value(&self, raw: &[u8], name: &str) -> Option<String> {
        self.named(raw, name).next().map(|field| decode(field.value(raw)))
    }
}

impl Field {
    pub(super) fn name<'a>(&self, raw: &'a [u8]) -> &'a str {
        let octets = raw.get(self.start..self.name_end).unwrap_or_default();
        std::str::from_utf8(octets).unwrap_or_default()
    }

    pub(super) fn is_named(&self, raw: &[u8], name: &str) -> bool {
        self.name(raw).eq_ignore_ascii_case(name)
    }

    /// The raw value, its folds and line end included.
    pub(super) fn value<'a>(&self, raw: &'a [u8]) -> &'a [u8] {
        raw.get(self.value_start..self.end).unwrap_or_default()
    }
}

/// The line that starts at `at`, its line end included.
pub(super) fn line_at(raw: &[u8], at: usize) -> Range<usize> {
    let rest = raw.get(at..).unwrap_or_default();
    at..rest.iter().position(|&octet| octet == b'\n').map_or(raw.len(), |length| at + length + 1)
}

/// Whether `name` can be the name of a field (RFC 5322 §2.2).
pub(super) fn is_name(name: &str) -> bool {
    (1..=LINE_COLUMNS - 2).contains(&name.len())
        && name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':')
}

/// Whether `value` can be written without starting another field or line.
pub(super) fn is_value(value: &str) -> bool {
    !value.chars().any(|character| character.is_control() && character != '\t')
}

/// `value` with a space for every control character, so that it can be written.
pub(super) fn sanitize(value: &str) -> Cow<'_, str> {
    if is_value(value) {
        Cow::Borrowed(value)
    } else {
        Cow::Owned(value.replace("\r\n", " ").replace(char::is_control, " "))
    }
}

/// The text of a raw value: unfolded, encoded words decoded, trimmed; lossy UTF-8.
pub(super) fn decode(value: &[u8]) -> String {
    let value = value.get(..value.len().min(HEADER_VALUE_OCTETS_MAX)).unwrap_or_default();
    let unfolded: Vec<u8> =
        value.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
    let unfolded = unfolded.trim_ascii();
    let mut decoder = WordDecoder { out: String::with_capacity(unfolded.len()), pending: None };
    let mut ends = WordEnds { octets: unfolded, next: None };
    let mut rest = unfolded;
    let mut plain = 0;
    while let Some(&octet) = rest.get(plain) {
        if octet == b'='
            && let Some(octets) = rest.get(plain..)
            && let Some((word, length)) = EncodedWord::read(octets, &mut ends)
        {
            decoder.plain(rest.get(..plain).unwrap_or_default());
            decoder.word(word);
            rest = rest.get(plain + length..).unwrap_or_default();
            plain = 0;
        } else {
            plain += 1;
        }
    }
    decoder.plain(rest);
    decoder.flush();
    decoder.out
}

/// Octets of text in `charset`; an unknown one is read as UTF-8.
pub(super) fn decode_charset(octets: &[u8], charset: &str) -> String {
    match charset_decoder(charset.as_bytes()) {
        Some(decoder) if !charset.eq_ignore_ascii_case("utf-8") => decoder(octets),
        // Nearly all of it is well formed, which is found out faster than it is repaired.
        _ => match std::str::from_utf8(octets) {
            Ok(text) => text.to_owned(),
            Err(_) => String::from_utf8_lossy(octets).into_owned(),
        },
    }
}

/// Appends a field: folded at 78 columns, other characters than ASCII in encoded words. Control
/// characters become spaces.
pub(super) fn write(out: &mut Vec<u8>, name: &str, value: &str) {
    let value = sanitize(value);
    let mut writer = FoldingWriter { out, column: 0 };
    writer.put(name);
    writer.put(":");
    let mut spaces = " ";
    let mut rest = value.trim_matches([' ', '\t']);
    while !rest.is_empty() {
        let (run, after) = next_run(rest);
        if needs_encoding(run) {
            writer.encoded(spaces, run);
        } else {
            writer.word(spaces, run);
        }
        let next = after.trim_start_matches([' ', '\t']);
        spaces = after.split_at(after.len() - next.len()).0;
        rest = next;
    }
    writer.put("\r\n");
}

fn field_at(line: &[u8], at: usize) -> Option<Field> {
    let colon = line.iter().position(|&octet| octet == b':')?;
    let name = line.get(..colon)?.trim_ascii_end();
    let named = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    named.then(|| Field {
        start: at,
        name_end: at + name.len(),
        value_start: at + colon + 1,
        end: at + line.len(),
    })
}

struct EncodedWord<'a> {
    charset: &'a str,
    octets: Vec<u8>,
}

impl<'a> EncodedWord<'a> {
    /// `=?charset*language?encoding?text?=` and its length.
    fn read(octets: &'a [u8], ends: &mut WordEnds<'_>) -> Option<(Self, usize)> {
        let inner = octets.strip_prefix(b"=?")?;
        let inner = inner.get(..inner.len().min(ENCODED_WORD_OCTETS_MAX))?;
        let mut fields = inner.splitn(3, |&octet| octet == b'?');
        let (charset, encoding, rest) = (fields.next()?, fields.next()?, fields.next()?);
        let charset = std::str::from_utf8(charset).ok()?;
        let charset = charset.split('*').next()?;
        let start = ends.octets.len() - octets.len() + "=?".len() + inner.len() - rest.len();
        let length = ends.next(start) - start;
        if length + "?=".len() > rest.len() {
            return None;
        }
        let text = rest.get(..length)?;
        let plain = charset.bytes().all(|octet| octet.is_ascii_graphic());
        if charset.is_empty() || !plain {
            return None;
        }
        let octets = match encoding {
            b"B" | b"b" => transfer::decode(text, Transfer::Base64),
            b"Q" | b"q" => {
                let spaced: Vec<u8> =
                    text.iter().map(|&octet| if octet == b'_' { b' ' } else { octet }).collect();
                transfer::decode_q(&spaced)
            }
            _ => return None,
        };
        let used = inner.len() - rest.len() + length + "=??=".len();
        Some((Self { charset, octets }, used))
    }
}

/// Where encoded words end in a value. What has been looked through is not looked through again, so that a
/// value full of beginnings costs no more than another.
struct WordEnds<'a> {
    octets: &'a [u8],
    next: Option<usize>,
}

impl WordEnds<'_> {
    /// The first `?=` from there on, or the end of the value; it is asked from left to right.
    fn next(&mut self, from: usize) -> usize {
        if let Some(next) = self.next.filter(|next| *next >= from) {
            return next;
        }
        let rest = self.octets.get(from..).unwrap_or_default();
        let found = rest.windows(2).position(|pair| pair == b"?=");
        let next = found.map_or(self.octets.len(), |length| from + length);
        self.next = Some(next);
        next
    }
}

/// Joins the octets of neighbouring words before their charset is decoded: some programs cut a
/// character in two.
struct WordDecoder<'a> {
    out: String,
    pending: Option<(&'a str, Vec<u8>)>,
}

impl<'a> WordDecoder<'a> {
    fn plain(&mut self, octets: &[u8]) {
        if octets.is_empty() || (self.pending.is_some() && octets.trim_ascii().is_empty()) {
            return;
        }
        self.flush();
        self.out.push_str(&String::from_utf8_lossy(octets));
    }

    fn word(&mut self, word: EncodedWord<'a>) {
        match &mut self.pending {
            Some((charset, octets)) if charset.eq_ignore_ascii_case(word.charset) => {
                octets.extend(word.octets);
            }
            _ => {
                self.flush();
                self.pending = Some((word.charset, word.octets));
            }
        }
    }

    fn flush(&mut self) {
        if let Some((charset, octets)) = self.pending.take() {
            self.out.push_str(&decode_charset(&octets, charset));
        }
    }
}

/// The words up to the next change between those that must be encoded and those that need not.
fn next_run(text: &str) -> (&str, &str) {
    let mut words = text.split_inclusive([' ', '\t']).peekable();
    let Some(first) = words.next() else { return (text, "") };
    let trimmed = first.trim_end_matches([' ', '\t']);
    if !needs_encoding(trimmed) {
        return text.split_at(trimmed.len());
    }
    let mut end = trimmed.len();
    let mut seen = first.len();
    for word in words {
        let trimmed = word.trim_end_matches([' ', '\t']);
        if !trimmed.is_empty() && !needs_encoding(trimmed) {
            break;
        }
        if !trimmed.is_empty() {
            end = seen + trimmed.len();
        }
        seen += word.len();
    }
    text.split_at(end)
}

fn needs_encoding(word: &str) -> bool {
    !word.is_ascii() || word.contains("=?") || word.len() > WORD_OCTETS_MAX
}

struct FoldingWriter<'a> {
    out: &'a mut Vec<u8>,
    column: usize,
}

impl FoldingWriter<'_> {
    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.column += text.len();
    }

    fn fold(&mut self) {
        self.out.extend_from_slice(b"\r\n");
        self.column = 0;
    }

    fn word(&mut self, spaces: &str, word: &str) {
        if self.column + spaces.len() + word.len() > LINE_COLUMNS && self.column > 0 {
            self.fold();
        }
        self.put(spaces);
        self.put(word);
    }

    fn encoded(&mut self, spaces: &str, text: &str) {
        let dense =
            text.bytes().filter(|octet| !octet.is_ascii_alphanumeric()).count() * 3 > text.len();
        let mut spaces = spaces;
        let mut rest = text;
        while !rest.is_empty() {
            let left = LINE_COLUMNS.saturating_sub(self.column + spaces.len());
            // Less than a few characters is not worth the frame.
            if left < ENCODED_WORD_FRAME + 16 {
                self.fold();
            }
            let left = LINE_COLUMNS.saturating_sub(self.column + spaces.len());
            let room = left.min(ENCODED_WORD_OCTETS).saturating_sub(ENCODED_WORD_FRAME);
            let (word, after) = take_word(rest, dense, room.max(12));
            self.put(spaces);
            self.put(&word);
            spaces = " ";
            rest = after;
        }
    }
}

/// One encoded word with at most `room` octets of encoded text, and what is left.
fn take_word(text: &str, dense: bool, room: usize) -> (String, &str) {
    let mut used = 0;
    let end = text
        .char_indices()
        .find(|&(at, character)| {
            used += if dense { 0 } else { q_width(character) };
            let next = at + character.len_utf8();
            at > 0 && (if dense { next.div_ceil(3) * 4 } else { used }) > room
        })
        .map_or(text.len(), |(at, _)| at);
    let (piece, rest) = text.split_at(end);
    let word = if dense {
        format!("=?utf-8?b?{}?=", transfer::base64(piece.as_bytes()))
    } else {
        let mut word = "=?utf-8?q?".to_owned();
        for octet in piece.bytes() {
            if octet == b' ' {
                word.push('_');
            } else if octet.is_ascii_alphanumeric() {
                word.push(char::from(octet));
            } else {
                transfer::push_escape(&mut word, octet);
            }
        }
        word.push_str("?=");
        word
    };
    (word, rest)
}

fn q_width(character: char) -> usize {
    if character == ' ' || character.is_ascii_alphanumeric() { 1 } else { character.len_utf8() * 3 }
}
