//! Replies: written by the server, read by the client (RFC 5321 §4.2, RFC 2034, RFC 3463).

use std::borrow::Cow;
use std::fmt;

use bytes::{Buf, BufMut, BytesMut};

/// Longest reply line written, with its CRLF (RFC 5321 §4.5.3.1.5).
const WRITTEN_LINE_OCTETS_MAX: usize = 512;
/// What a written line takes beside its text at most.
const WRITTEN_FRAME_OCTETS_MAX: usize = "250-255.65535.65535 \r\n".len();
/// Most lines written for one reply; what is left of the text is dropped.
const WRITTEN_LINES_MAX: usize = 32;
/// Longest reply line read. Peers exceed the 512 octets of the RFC.
const READ_LINE_OCTETS_MAX: usize = 2048;
/// Most lines of one reply read.
const READ_LINES_MAX: usize = 128;
/// Most octets of one reply read.
const READ_OCTETS_MAX: usize = 16 * 1024;

/// What a reply means, by its first digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 2xx: done.
    Done,
    /// 3xx: go on.
    Continue,
    /// 4xx: not now.
    Transient,
    /// 5xx: never.
    Permanent,
}

/// An enhanced status code such as `5.7.1` (RFC 3463).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnhancedCode {
    /// 2, 4 or 5.
    pub class: u8,
    /// What it is about, up to 999.
    pub subject: u16,
    /// What happened, up to 999.
    pub detail: u16,
}

impl EnhancedCode {
    /// The code `class.subject.detail`.
    #[must_use]
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        Self { class, subject, detail }
    }

    /// Reads `class.subject.detail`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.');
        let class = match numbers.next()? {
            "2" => 2,
            "4" => 4,
            "5" => 5,
            _ => return None,
        };
        let mut number = || {
            let digits = numbers.next().filter(|digits| (1..=3).contains(&digits.len()))?;
            let only_digits = digits.bytes().all(|octet| octet.is_ascii_digit());
            if only_digits { digits.parse().ok() } else { None }
        };
        let (subject, detail) = (number()?, number()?);
        numbers.next().is_none().then_some(Self { class, subject, detail })
    }

    fn write_to(self, out: &mut BytesMut) {
        put_number(out, u16::from(self.class));
        for number in [self.subject, self.detail] {
            out.put_u8(b'.');
            put_number(out, number);
        }
    }
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// A reply: a code, an enhanced code where it has one, and a text of one or more lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// The enhanced code; greetings, answers to EHLO and 3xx have none.
    pub enhanced: Option<EnhancedCode>,
    /// The text, lines apart by `\n`, without codes.
    pub text: Cow<'static, str>,
}

impl Reply {
    /// A reply with a fixed text; `enhanced` is class, subject and detail.
    #[must_use]
    pub const fn new(code: u16, enhanced: (u8, u16, u16), text: &'static str) -> Self {
        let (class, subject, detail) = enhanced;
        let enhanced = Some(EnhancedCode { class, subject, detail });
        Self { code, enhanced, text: Cow::Borrowed(text) }
    }

    /// A reply without an enhanced code.
    #[must_use]
    pub const fn plain(code: u16, text: &'static str) -> Self {
        Self { code, enhanced: None, text: Cow::Borrowed(text) }
    }

    /// The same reply with another text, which may hold anything: it is made harmless when written.
    #[must_use]
    pub fn with_text(self, text: impl Into<Cow<'static, str>>) -> Self {
        Self { text: text.into(), ..self }
    }

    /// What it means. A code outside 2xx to 5xx is a refusal for ever.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self.code {
            200..=299 => Class::Done,
            300..=399 => Class::Continue,
            400..=499 => Class::Transient,
            _ => Class::Permanent,
        }
    }

    /// Whether it is 2xx.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.class(), Class::Done)
    }

    /// Appends the reply as it goes over the wire.
    ///
    /// Control characters and octets above 127 become `?`; long lines are cut into several.
    pub fn write_to(&self, out: &mut BytesMut) {
        let room = WRITTEN_LINE_OCTETS_MAX.saturating_sub(WRITTEN_FRAME_OCTETS_MAX);
        let mut lines = self.text.split('\n').flat_map(|line| pieces(line, room)).peekable();
        for left in (0..WRITTEN_LINES_MAX).rev() {
            let Some(line) = lines.next() else { return };
            let last = left == 0 || lines.peek().is_none();
            put_code(out, self.code);
            out.put_u8(if last { b' ' } else { b'-' });
            if let Some(enhanced) = self.enhanced {
                enhanced.write_to(out);
                out.put_u8(b' ');
            }
            put_harmless(out, line);
            out.put_slice(b"\r\n");
            if last {
                return;
            }
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        for line in self.text.split('\n').filter(|line| !line.is_empty()) {
            write!(f, " {line}")?;
        }
        Ok(())
    }
}

fn put_code(out: &mut BytesMut, code: u16) {
    // A code that is no code would desynchronise the peer; 451 is what a fault of ours deserves.
    put_number(out, if (200..=599).contains(&code) { code } else { 451 });
}

fn put_number(out: &mut BytesMut, number: u16) {
    for divisor in [10_000, 1000, 100, 10, 1] {
        if number >= divisor || divisor == 1 {
            out.put_u8(b'0'.saturating_add(u8::try_from(number / divisor % 10).unwrap_or(0)));
        }
    }
}

fn put_harmless(out: &mut BytesMut, line: &str) {
    if is_printable(line) {
        out.put_slice(line.as_bytes());
    } else {
        out.extend(line.chars().map(harmless));
    }
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|octet| (b' '..=b'~').contains(&octet))
}

fn harmless(character: char) -> u8 {
    match u8::try_from(character) {
        Ok(octet @ b' '..=b'~') => octet,
        Ok(b'\t') => b' ',
        _ => b'?',
    }
}

/// Cuts a line into pieces of at most `characters_max` characters; an empty line is one empty piece.
fn pieces(line: &str, characters_max: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest.take()?;
        let Some((cut, _)) = line.char_indices().nth(characters_max) else { return Some(line) };
        let (piece, tail) = line.split_at_checked(cut)?;
        rest = Some(tail);
        Some(piece)
    })
}

/// Why octets from a server are no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The line does not begin with a code.
    #[error("the peer's answer is not an SMTP reply")]
    Syntax,
    /// Lines of one reply carry different codes.
    #[error("the lines of the peer's reply carry different codes")]
    CodesDiffer,
    /// More lines or octets than a reply may have.
    #[error("the peer's reply is longer than {READ_OCTETS_MAX} octets or {READ_LINES_MAX} lines")]
    TooLong,
}

/// Collects the lines of a reply.
#[derive(Debug, Default)]
pub struct ReplyReader {
    code: u16,
    enhanced: Option<EnhancedCode>,
    text: String,
    lines: usize,
}

impl ReplyReader {
    /// Takes one whole reply from the front of `input`; `None` when it is not complete yet.
    ///
    /// # Errors
    /// When the octets are no reply; the connection is of no use then.
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<Reply>, ReplyError> {
        loop {
            let Some(end) = memchr::memchr(b'\n', input) else {
                let too_long = input.len() > READ_LINE_OCTETS_MAX;
                return if too_long { Err(ReplyError::TooLong) } else { Ok(None) };
            };
            let line = input.get(..end).unwrap_or_default();
            let last = self.take_line(line.strip_suffix(b"\r").unwrap_or(line))?;
            input.advance(end.saturating_add(1));
            if last {
                let Self { code, enhanced, text, .. } = std::mem::take(self);
                return Ok(Some(Reply { code, enhanced, text: Cow::Owned(text) }));
            }
        }
    }

    fn take_line(&mut self, line: &[u8]) -> Result<bool, ReplyError> {
        if line.len() > READ_LINE_OCTETS_MAX {
            return Err(ReplyError::TooLong);
        }
        let (code, rest) = line.split_at_checked(3).ok_or(ReplyError::Syntax)?;
        let code = parse_code(code).ok_or(ReplyError::Syntax)?;
        let (last, text) = match rest.split_first() {
            None => (true, rest),
            Some((b' ', text)) => (true, text),
            Some((b'-', text)) => (false, text),
            Some(_) => return Err(ReplyError::Syntax),
        };
        if self.lines > 0 && code != self.code {
            return Err(ReplyError::CodesDiffer);
        }
        self.code = code;
        self.push_text(&String::from_utf8_lossy(text));
        self.lines = self.lines.saturating_add(1);
        if self.lines > READ_LINES_MAX || self.text.len() > READ_OCTETS_MAX {
            return Err(ReplyError::TooLong);
        }
        Ok(last)
    }

    fn push_text(&mut self, line: &str) {
        let (word, after) = line.split_once(' ').unwrap_or((line, ""));
        let enhanced =
            EnhancedCode::parse(word).filter(|found| u16::from(found.class) == self.code / 100);
        let text = if enhanced.is_some() { after } else { line };
        if self.lines == 0 {
            self.enhanced = enhanced;
        } else {
            self.text.push('\n');
        }
        if is_printable(text) {
            self.text.push_str(text);
        } else {
            self.text.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
        }
    }
}

fn parse_code(digits: &[u8]) -> Option<u16> {
    let code = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (200..=599).contains(&code).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reply: &Reply) -> String {
        let mut out = BytesMut::new();
        reply.write_to(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn every_line_of_a_reply_carries_its_codes() {
        let reply = Reply::new(550, (5, 1, 1), "no such\nuser");
        assert_eq!(written(&reply), "550-5.1.1 no such\r\n550 5.1.1 user\r\n");
        assert_eq!(written(&Reply::plain(354, "go")), "354 go\r\n");
        assert_eq!(written(&Reply::plain(250, "")), "250 \r\n");
        assert_eq!(reply.to_string(), "550 5.1.1 no such user");
    }

    #[test]
    fn a_text_from_elsewhere_cannot_forge_a_reply() {
        let reply = Reply::new(550, (5, 7, 1), "").with_text("a\r\n250 ok\u{7}\u{2028}é");
        assert_eq!(written(&reply), "550-5.7.1 a?\r\n550 5.7.1 250 ok???\r\n");
        assert_eq!(written(&Reply::plain(7, "x")), "451 x\r\n");
    }

    #[test]
    fn long_texts_are_cut_into_lines() {
        let text = written(&Reply::new(550, (5, 7, 1), "").with_text("x".repeat(100_000)));
        let lines: Vec<&str> = text.split_inclusive("\r\n").collect();
        assert_eq!(lines.len(), WRITTEN_LINES_MAX);
        assert!(lines.iter().all(|line| line.len() <= WRITTEN_LINE_OCTETS_MAX));
        assert!(lines.last().unwrap().starts_with("550 5.7.1 x"));
    }

    type Seen<'a> = Option<(u16, Option<&'a str>, &'a str)>;

    #[track_caller]
    fn check_read(input: &str, expect: Result<Seen<'_>, ReplyError>) {
        let got = ReplyReader::default()
            .read(&mut BytesMut::from(input))
            .map(|reply| reply.map(|r| (r.code, r.enhanced.map(|code| code.to_string()), r.text)));
        let seen = match &got {
            Ok(Some((code, enhanced, text))) => {
                Ok(Some((*code, enhanced.as_deref(), text.as_ref())))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(*error),
        };
        assert_eq!(seen, expect, "{input:?}");
    }

    #[test]
    fn replies_are_read() {
        check_read("250 2.1.5 ok\r\n", Ok(Some((250, Some("2.1.5"), "ok"))));
        check_read("250 ok\n", Ok(Some((250, None, "ok"))));
        check_read("250\r\n", Ok(Some((250, None, ""))));
        check_read("250-2.0.0 a\r\n250 2.0.0 b\r\n", Ok(Some((250, Some("2.0.0"), "a\nb"))));
        check_read("250 5.0.0 odd\r\n", Ok(Some((250, None, "5.0.0 odd"))));
        check_read("250-a\r\n", Ok(None));
        check_read("250-a\r\n251 b\r\n", Err(ReplyError::CodesDiffer));
        check_read("25\r\n", Err(ReplyError::Syntax));
        check_read("199 x\r\n", Err(ReplyError::Syntax));
        check_read("250x\r\n", Err(ReplyError::Syntax));
        check_read(&"2".repeat(3000), Err(ReplyError::TooLong));
        check_read(&"250-a\r\n".repeat(1000), Err(ReplyError::TooLong));
    }
}
