//! Writes a message for DATA: CRLF line ends, stuffed dots and the end (RFC 5321 §4.5.2).

use bytes::BytesMut;

/// Writes a message of one or more parts in blocks.
///
/// A bare CR or LF becomes CRLF: a server behind us could read it as a line end, and what follows
/// as the end of the message.
#[derive(Debug, Default)]
pub struct Stuffer {
    at: usize,
    line_start: LineStart,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum LineStart {
    #[default]
    Yes,
    No,
}

impl Stuffer {
    /// A writer that stands before the first octet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends about `octets_max` more octets of `part` to `out`. `true` when it is all written: the
    /// next call begins another part.
    pub fn write_block(&mut self, part: &[u8], octets_max: usize, out: &mut BytesMut) -> bool {
        let block_end = self.at.saturating_add(octets_max).min(part.len());
        let mut run = Run { part, start: self.at, out };
        run.out.reserve(block_end.saturating_sub(self.at));
        while self.at < block_end {
            if self.line_start == LineStart::Yes && part.get(self.at) == Some(&b'.') {
                run.insert(self.at, b".", self.at);
            }
            self.skip_line(block_end, &mut run);
        }
        run.insert(self.at, b"", self.at);
        let done = self.at >= part.len();
        if done {
            self.at = 0;
        }
        done
    }

    /// Appends the end of the message.
    pub fn write_end(&mut self, out: &mut BytesMut) {
        let end: &[u8] = if self.line_start == LineStart::Yes { b".\r\n" } else { b"\r\n.\r\n" };
        out.extend_from_slice(end);
        *self = Self::default();
    }

    /// Goes to the end of the line, which is a CRLF then, or of the block.
    fn skip_line(&mut self, block_end: usize, run: &mut Run<'_>) {
        let block = run.part.get(self.at..block_end).unwrap_or_default();
        let Some(found) = memchr::memchr2(b'\r', b'\n', block) else {
            self.line_start = LineStart::No;
            self.at = block_end;
            return;
        };
        let end = self.at.saturating_add(found);
        let next = end.saturating_add(1);
        if run.part.get(end) == Some(&b'\r') && run.part.get(next) == Some(&b'\n') {
            self.at = next.saturating_add(1);
        } else {
            run.insert(end, b"\r\n", next);
            self.at = next;
        }
        self.line_start = LineStart::Yes;
    }
}

/// Octets of a part from `start` on that are not written yet: they go as they are.
struct Run<'a> {
    part: &'a [u8],
    start: usize,
    out: &'a mut BytesMut,
}

impl Run<'_> {
    /// Writes the run up to `end`, and these octets; the next one begins at `next`.
    fn insert(&mut self, end: usize, octets: &[u8], next: usize) {
        self.out.extend_from_slice(self.part.get(self.start..end).unwrap_or_default());
        self.out.extend_from_slice(octets);
        self.start = next;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{BareNewline, Unstuffer};

    fn stuff(body: &[u8], block_octets: usize) -> Vec<u8> {
        let mut stuffer = Stuffer::new();
        let mut out = BytesMut::new();
        while !stuffer.write_block(body, block_octets, &mut out) {}
        stuffer.write_end(&mut out);
        out.to_vec()
    }

    #[track_caller]
    fn check(body: &str, expect: &str) {
        for block_octets in 1..=body.len().max(1) {
            let got = stuff(body.as_bytes(), block_octets);
            assert_eq!(String::from_utf8_lossy(&got), expect, "{body:?} by {block_octets}");
        }
    }

    #[test]
    fn messages_are_stuffed() {
        check("", ".\r\n");
        check("a", "a\r\n.\r\n");
        check("a\r\n", "a\r\n.\r\n");
        check(".\r\n..a\r\n", "..\r\n...a\r\n.\r\n");
        check("a\n.\nb", "a\r\n..\r\nb\r\n.\r\n");
        check("a\r.\rb\r", "a\r\n..\r\nb\r\n.\r\n");
        check("\r\r\n", "\r\n\r\n.\r\n");
    }

    proptest! {
        #[test]
        fn what_is_stuffed_comes_back(
            body in prop::collection::vec(prop::sample::select(b"\r\n.ab".to_vec()), 0..60),
            block_octets in 1_usize..9,
        ) {
            let wire = stuff(&body, block_octets);
            prop_assert_eq!(&stuff(&body, 1 << 20), &wire);
            let mut reader = Unstuffer::new(BareNewline::Refuse, 1 << 20);
            let mut back = Vec::new();
            let progress = reader.push(&wire, &mut back);
            prop_assert!(progress.done && progress.consumed == wire.len() && !reader.has_bare_newline());
            // Line by line it is the same message.
            let text = String::from_utf8(body).unwrap();
            let mut lines = text.replace("\r\n", "\n").replace('\r', "\n");
            if !lines.is_empty() && !lines.ends_with('\n') {
                lines.push('\n');
            }
            prop_assert_eq!(String::from_utf8(back).unwrap(), lines.replace('\n', "\r\n"));
        }
    }
}
