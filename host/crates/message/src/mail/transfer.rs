//! Content transfer encodings (RFC 2045 §6), read leniently and written strictly.

/// How the octets of a part are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Transfer {
    /// 7bit, 8bit, binary, or anything unknown: as they are.
    #[default]
    Identity,
    QuotedPrintable,
    Base64,
}

/// Columns of a line of quoted-printable or base64 (RFC 2045 §6.7, §6.8).
const LINE_COLUMNS: usize = 76;
/// Longest line of a text that is sent as it is (RFC 5322 §2.1.1 allows 998).
const TEXT_LINE_OCTETS_MAX: usize = 900;

const HEX: &[u8; 16] = b"0123456789ABCDEF";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl Transfer {
    /// What a Content-Transfer-Encoding says.
    pub(super) fn named(name: &str) -> Self {
        let name = name.trim();
        if name.eq_ignore_ascii_case("base64") {
            Self::Base64
        } else if name.eq_ignore_ascii_case("quoted-printable") {
            Self::QuotedPrintable
        } else {
            Self::Identity
        }
    }
}

/// The octets that `encoded` stands for.
pub(super) fn decode(encoded: &[u8], transfer: Transfer) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded.len());
    match transfer {
        Transfer::Identity => out.extend_from_slice(encoded),
        Transfer::QuotedPrintable => decode_quoted(encoded, |octet| out.push(octet)),
        Transfer::Base64 => decode_base64(encoded, |octet| out.push(octet)),
    }
    out
}

/// How many octets [`decode`] gives.
pub(super) fn decoded_size(encoded: &[u8], transfer: Transfer) -> usize {
    let mut size = 0;
    match transfer {
        Transfer::Identity => size = encoded.len(),
        Transfer::QuotedPrintable => decode_quoted(encoded, |_| size += 1),
        Transfer::Base64 => decode_base64(encoded, |_| size += 1),
    }
    size
}

/// The `Q` encoding of header words, underscores already made spaces.
pub(super) fn decode_q(encoded: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((&octet, after)) = rest.split_first() {
        if let (b'=', Some(value)) = (octet, escape_at(after)) {
            out.push(value);
            rest = after.get(2..).unwrap_or_default();
        } else {
            out.push(octet);
            rest = after;
        }
    }
    out
}

/// Base64 without line ends.
pub(super) fn base64(octets: &[u8]) -> String {
    let mut out = String::with_capacity(octets.len().div_ceil(3) * 4);
    for group in octets.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, &octet| bits << 8 | u32::from(octet))
            << (8 * (3 - group.len()));
        for place in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * place) & 63).unwrap_or(0);
            let digit = ALPHABET.get(index).copied().unwrap_or(b'=');
            out.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// `=XX`.
pub(super) fn push_escape(out: &mut String, octet: u8) {
    let digit = |nibble: u8| char::from(HEX.get(usize::from(nibble)).copied().unwrap_or(b'0'));
    out.extend(['=', digit(octet >> 4), digit(octet & 15)]);
}

/// Text as a body: its Content-Transfer-Encoding and its lines, which end with CRLF each but the
/// last. As it is if that is safe, else the shorter of the two encodings; base64 wherever a line
/// could be taken for one of `boundaries`.
pub(super) fn encode_text(text: &str, boundaries: &[&[u8]]) -> (&'static str, Vec<u8>) {
    let text = canonical(text);
    let plain = text.is_ascii() && text.lines().all(|line| line.len() <= TEXT_LINE_OCTETS_MAX);
    if contains_boundary(text.as_bytes(), boundaries) {
        return ("base64", base64_lines(text.as_bytes()));
    }
    if plain && !text.contains('\0') {
        return ("7bit", text.into_bytes());
    }
    let escaped = text.bytes().filter(|&octet| is_escaped(octet)).count();
    if escaped * 6 > text.len() {
        return ("base64", base64_lines(text.as_bytes()));
    }
    ("quoted-printable", quoted_lines(&text))
}

/// Octets as a body.
pub(super) fn encode_octets(octets: &[u8]) -> (&'static str, Vec<u8>) {
    ("base64", base64_lines(octets))
}

/// The text with CRLF for every line end.
pub(super) fn canonical(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 32);
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\r' => {
                rest.next_if_eq(&'\n');
                out.push_str("\r\n");
            }
            '\n' => out.push_str("\r\n"),
            other => out.push(other),
        }
    }
    out
}

/// Whether a line of `body` is a delimiter of one of `boundaries`.
pub(super) fn contains_boundary(body: &[u8], boundaries: &[&[u8]]) -> bool {
    body.split(|&octet| octet == b'\n')
        .filter_map(|line| line.strip_prefix(b"--"))
        .any(|line| boundaries.iter().any(|boundary| line.starts_with(boundary)))
}

fn decode_base64(encoded: &[u8], mut sink: impl FnMut(u8)) {
    let mut bits = 0u32;
    let mut digits = 0;
    for &octet in encoded {
        let value = match octet {
            b'A'..=b'Z' => octet - b'A',
            b'a'..=b'z' => octet - b'a' + 26,
            b'0'..=b'9' => octet - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            // Padding ends a group; joined pieces of base64 go on behind it.
            b'=' => {
                finish_group(bits, digits, &mut sink);
                (bits, digits) = (0, 0);
                continue;
            }
            _ => continue,
        };
        bits = bits << 6 | u32::from(value);
        digits += 1;
        if digits == 4 {
            let [_, first, second, third] = bits.to_be_bytes();
            sink(first);
            sink(second);
            sink(third);
            (bits, digits) = (0, 0);
        }
    }
    finish_group(bits, digits, &mut sink);
}

fn finish_group(bits: u32, digits: u8, sink: &mut impl FnMut(u8)) {
    let [_, _, high, low] = bits.to_be_bytes();
    match digits {
        2 => {
            let [_, octet] = (u16::from_be_bytes([high, low]) >> 4).to_be_bytes();
            sink(octet);
        }
        3 => {
            let [_, first, second, _] = (bits << 6).to_be_bytes();
            sink(first);
            sink(second);
        }
        _ => {}
    }
}

fn decode_quoted(encoded: &[u8], mut sink: impl FnMut(u8)) {
    let mut rest = encoded;
    while let Some((&octet, after)) = rest.split_first() {
        rest = match octet {
            b'=' => {
                if let Some(value) = escape_at(after) {
                    sink(value);
                    after.get(2..).unwrap_or_default()
                } else if let Some(after) = soft_break(after) {
                    after
                } else {
                    sink(octet);
                    after
                }
            }
            b' ' | b'\t' => {
                let blanks = 1 + after.iter().take_while(|&&o| o == b' ' || o == b'\t').count();
                let (run, after) = rest.split_at(blanks);
                // White space before a line end was added on the way (RFC 2045 §6.7 rule 3).
                if !matches!(after.first(), Some(b'\r' | b'\n')) {
                    run.iter().for_each(|&octet| sink(octet));
                }
                after
            }
            _ => {
                sink(octet);
                after
            }
        };
    }
}

/// What follows a line end that `=` hides, white space before it included.
fn soft_break(after: &[u8]) -> Option<&[u8]> {
    // White space behind "=" is rare; more than this is not worth a look.
    let blanks = after.iter().take(8).take_while(|&&o| o == b' ' || o == b'\t').count();
    let rest = after.get(blanks..)?;
    rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")).or_else(|| {
        // "=" at the very end hides nothing.
        rest.is_empty().then_some(rest)
    })
}

fn escape_at(octets: &[u8]) -> Option<u8> {
    let digit =
        |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match octets {
        [high, low, ..] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

fn base64_lines(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() * 3 / 2);
    for line in octets.chunks(LINE_COLUMNS / 4 * 3) {
        if !out.is_empty() {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(base64(line).as_bytes());
    }
    out
}

const fn is_escaped(octet: u8) -> bool {
    !matches!(octet, b' ' | b'\t' | b'\r' | b'\n' | b'!'..=b'<' | b'>'..=b'~')
}

fn quoted_lines(text: &str) -> Vec<u8> {
    let mut out = String::with_capacity(text.len() * 3 / 2);
    for (number, line) in text.split("\r\n").enumerate() {
        if number > 0 {
            out.push_str("\r\n");
        }
        let mut column = 0;
        let last = line.len().saturating_sub(1);
        for (at, octet) in line.bytes().enumerate() {
            let blank_at_end = at == last && matches!(octet, b' ' | b'\t');
            // A lone "." or "From " at the start of a line is mangled by some programs.
            let fragile = column == 0 && matches!(octet, b'.' | b'F');
            let escaped = is_escaped(octet) || blank_at_end || fragile;
            let width = if escaped { 3 } else { 1 };
            if column + width >= LINE_COLUMNS {
                out.push_str("=\r\n");
                column = 0;
            }
            column += width;
            if escaped {
                push_escape(&mut out, octet);
            } else {
                out.push(char::from(octet));
            }
        }
    }
    out.into_bytes()
}
