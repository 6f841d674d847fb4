//! Reads the message after DATA: finds its end and takes the stuffed dots out (RFC 5321 §4.5.2).

/// What is done about a CR or LF that is not part of a CRLF, and about a NUL.
///
/// Implementations disagree on whether a lone CR or LF ends a line, and some drop a NUL before they look
/// for the end of the message, so a message with one of them in it can hold a second message that only
/// some of them see. No message may have either (RFC 5321 §2.3.8, RFC 5322 §4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BareNewline {
    /// The whole message, or the command, is refused.
    #[default]
    Refuse,
    /// A lone CR or LF becomes CRLF in the message, and ends a command line if it is LF; a NUL becomes a
    /// question mark. Neither ever ends the message.
    Normalize,
}

/// Where the reader stands between two octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Behind CRLF, or before the first octet.
    LineStart,
    /// Behind a dot at the start of a line, which is not written yet.
    Dot,
    /// Behind that dot and a CR, neither written.
    DotCr,
    /// Within a line.
    Text,
    /// Behind a CR within a line, which is written.
    Cr,
}

/// What a call took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unstuffed {
    /// Octets of the input that belong to the message; what is behind them is the next command.
    pub consumed: usize,
    /// Whether the end of the message was among them.
    pub done: bool,
}

/// Takes the stuffed dots out of a message that comes in pieces, counts its octets and stops at the
/// end. Only `CRLF.CRLF` is the end.
#[derive(Debug)]
pub struct Unstuffer {
    state: State,
    bare_newline: BareNewline,
    bare: bool,
    octets: u64,
    octets_max: u64,
}

impl Unstuffer {
    /// A reader for a message of at most `octets_max` octets.
    #[must_use]
    pub fn new(bare_newline: BareNewline, octets_max: u64) -> Self {
        Self { state: State::LineStart, bare_newline, bare: false, octets: 0, octets_max }
    }

    /// Whether a bare CR or LF was seen.
    #[must_use]
    pub fn has_bare_newline(&self) -> bool {
        self.bare
    }

    /// Octets of the message so far, without stuffing, dropped ones too.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Whether the message is longer than it may be; the body is empty then and stays so.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        self.octets > self.octets_max
    }

    /// Takes octets from the peer and appends those of the message to `body`.
    pub fn push(&mut self, input: &[u8], body: &mut Vec<u8>) -> Unstuffed {
        let mut run = Run { input, start: 0, body };
        let mut at = 0;
        while let Some(octet) = input.get(at) {
            match self.state {
                State::LineStart if *octet == b'.' => {
                    self.flush(&mut run, at, at.saturating_add(1));
                    self.state = State::Dot;
                    at = at.saturating_add(1);
                }
                State::LineStart => self.state = State::Text,
                State::Dot if *octet == b'\r' => {
                    at = at.saturating_add(1);
                    run.start = at;
                    self.state = State::DotCr;
                }
                State::Dot => self.state = State::Text,
                State::DotCr if *octet == b'\n' => {
                    return Unstuffed { consumed: at.saturating_add(1), done: true };
                }
                State::DotCr => {
                    self.insert(&mut run, b"\r");
                    self.after_bare_cr(&mut run, at);
                }
                State::Text => at = self.text(&mut run, at),
                State::Cr if *octet == b'\n' => {
                    at = at.saturating_add(1);
                    self.state = State::LineStart;
                }
                State::Cr => self.after_bare_cr(&mut run, at),
            }
        }
        self.flush(&mut run, at, at);
        Unstuffed { consumed: at, done: false }
    }

    /// Runs to the next CR or LF; returns where to go on.
    fn text(&mut self, run: &mut Run<'_>, at: usize) -> usize {
        let rest = run.input.get(at..).unwrap_or_default();
        let Some(found) = memchr::memchr2(b'\r', b'\n', rest) else { return run.input.len() };
        let end = at.saturating_add(found);
        let next = end.saturating_add(1);
        if run.input.get(end) == Some(&b'\r') {
            self.state = State::Cr;
        } else {
            self.bare = true;
            if self.bare_newline == BareNewline::Normalize {
                self.flush(run, end, next);
                self.insert(run, b"\r\n");
            }
        }
        next
    }

    fn after_bare_cr(&mut self, run: &mut Run<'_>, at: usize) {
        self.bare = true;
        if self.bare_newline == BareNewline::Normalize {
            self.flush(run, at, at);
            self.insert(run, b"\n");
        }
        self.state = State::Text;
    }

    /// Writes the run up to `end`; the next one begins at `next`.
    fn flush(&mut self, run: &mut Run<'_>, end: usize, next: usize) {
        let octets = run.input.get(run.start..end).unwrap_or_default();
        run.start = next;
        self.insert(run, octets);
    }

    fn insert(&mut self, run: &mut Run<'_>, octets: &[u8]) {
        self.octets = self.octets.saturating_add(u64::try_from(octets.len()).unwrap_or(u64::MAX));
        if self.is_too_long() {
            *run.body = Vec::new();
        } else {
            run.body.extend_from_slice(octets);
        }
    }
}

/// Whether a CR or LF stands outside of CRLF.
pub(crate) fn has_bare_newline(body: &[u8]) -> bool {
    let mut rest = body;
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
        let Some((_, tail)) = rest.split_at_checked(at) else { return false };
        let Some(after) = tail.strip_prefix(b"\r\n") else { return true };
        rest = after;
    }
    false
}

/// The body with CRLF for every CR or LF outside of one.
pub(crate) fn normalized(body: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(body.len().saturating_add(body.len() / 16));
    let mut rest = body;
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
        let (line, tail) = rest.split_at_checked(at).unwrap_or((rest, b""));
        lines.extend_from_slice(line);
        lines.extend_from_slice(b"\r\n");
        rest = tail.strip_prefix(b"\r\n").or_else(|| tail.get(1..)).unwrap_or_default();
    }
    lines.extend_from_slice(rest);
    lines
}

/// Whether there is a NUL.
pub(crate) fn has_nul(body: &[u8]) -> bool {
    memchr::memchr(0, body).is_some()
}

/// Puts a question mark in the place of each NUL. Were it dropped, what stands around it could become
/// the end of a message.
pub(crate) fn replace_nul(body: &mut [u8]) {
    body.iter_mut().filter(|octet| **octet == 0).for_each(|octet| *octet = b'?');
}

/// Octets of the input from `start` on that are not written yet.
struct Run<'a> {
    input: &'a [u8],
    start: usize,
    body: &'a mut Vec<u8>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the reader makes of `input` in chunks: the body, whether something was bare, and what
    /// was left behind the end; `None` without an end.
    fn unstuff(
        input: &[u8],
        chunk_octets: usize,
        policy: BareNewline,
    ) -> Option<(Vec<u8>, bool, Vec<u8>)> {
        let mut reader = Unstuffer::new(policy, 1 << 20);
        let mut body = Vec::new();
        let mut consumed = 0;
        for chunk in input.chunks(chunk_octets.max(1)) {
            let progress = reader.push(chunk, &mut body);
            consumed += progress.consumed;
            if progress.done {
                return Some((body, reader.has_bare_newline(), input[consumed..].to_vec()));
            }
            assert_eq!(progress.consumed, chunk.len());
        }
        None
    }

    #[track_caller]
    fn check(input: &str, expect: Option<(&str, bool, &str)>) {
        for chunk_octets in 1..=input.len() {
            let got = unstuff(input.as_bytes(), chunk_octets, BareNewline::Refuse);
            let expect = expect.map(|(body, bare, rest)| (body.into(), bare, rest.into()));
            assert_eq!(got, expect, "{input:?} in chunks of {chunk_octets}");
        }
    }

    #[test]
    fn only_crlf_dot_crlf_ends_the_message() {
        check(".\r\nQUIT\r\n", Some(("", false, "QUIT\r\n")));
        check("a\r\n.\r\n", Some(("a\r\n", false, "")));
        check("..a\r\n...\r\n.b\r\n.\r\n", Some((".a\r\n..\r\nb\r\n", false, "")));
        check("a\n.\r\nMAIL\r\n.\r\n", Some(("a\n.\r\nMAIL\r\n", true, "")));
        check("a\n.\nMAIL\r\n.\r\n", Some(("a\n.\nMAIL\r\n", true, "")));
        check("a\r.\r\nb\r\n.\r\n", Some(("a\r.\r\nb\r\n", true, "")));
        check("a\r\n.\r\r\nb\r\n.\r\n", Some(("a\r\n\r\r\nb\r\n", true, "")));
        check("a\r\n.\nb\r\n.\r\n", Some(("a\r\n\nb\r\n", true, "")));
        check("a\r\n.\rb\r\n.\r\n", Some(("a\r\n\rb\r\n", true, "")));
        check("a\r\r\n.\r\n", Some(("a\r\r\n", true, "")));
        check("a.\r\n", None);
        check("a\r\n.", None);
        check("a\n.\r\n", None);
        check("\n.\n", None);
    }

    #[test]
    fn bare_newlines_become_crlf_on_request_and_never_end_the_message() {
        for (input, expect) in [
            ("a\nb\rc\r\n.\r\n", "a\r\nb\r\nc\r\n"),
            ("a\n.\nb\r\n.\r\n", "a\r\n.\r\nb\r\n"),
            ("a\r\n.\rb\r\n.\r\n", "a\r\n\r\nb\r\n"),
            ("\r\r\n.\r\n", "\r\n\r\n"),
        ] {
            for chunk_octets in 1..=input.len() {
                let got = unstuff(input.as_bytes(), chunk_octets, BareNewline::Normalize).unwrap();
                assert_eq!(String::from_utf8_lossy(&got.0), expect, "{input:?}");
            }
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_counted_and_dropped() {
        let mut reader = Unstuffer::new(BareNewline::Refuse, 4);
        let mut body = Vec::new();
        assert!(!reader.push(b"ab\r\n", &mut body).done);
        assert!(!reader.is_too_long());
        assert!(reader.push(b"cd\r\n.\r\n", &mut body).done);
        assert!(reader.is_too_long() && body.is_empty());
        assert_eq!(reader.octets(), 8);
    }

    #[test]
    fn bare_newlines_of_a_whole_body() {
        for (body, bare, expect) in [
            ("", false, ""),
            ("a\r\nb\r\n", false, "a\r\nb\r\n"),
            ("a\nb\rc\r\r\n\n", true, "a\r\nb\r\nc\r\n\r\n\r\n"),
            ("a\r", true, "a\r\n"),
        ] {
            assert_eq!(has_bare_newline(body.as_bytes()), bare, "{body:?}");
            assert_eq!(String::from_utf8(normalized(body.as_bytes())).unwrap(), expect);
        }
    }

    proptest! {
        #[test]
        fn every_split_gives_the_same_message(
            pieces in prop::collection::vec(prop::sample::select(vec!["\r", "\n", ".", "a", "\r\n", "\r\n.", "xyz"]), 0..24),
            chunk_octets in 1_usize..9,
        ) {
            let mut input = pieces.concat();
            input.push_str("\r\n.\r\n");
            for policy in [BareNewline::Refuse, BareNewline::Normalize] {
                let whole = unstuff(input.as_bytes(), input.len(), policy).unwrap();
                prop_assert_eq!(&unstuff(input.as_bytes(), chunk_octets, policy).unwrap(), &whole);
                // What is left of a normalised message has no bare newline.
                let text = String::from_utf8(whole.0).unwrap().replace("\r\n", "");
                prop_assert!(policy == BareNewline::Refuse || !text.contains(['\r', '\n']));
            }
        }
    }
}
