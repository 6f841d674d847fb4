//! Splits the octets of a peer into command lines (RFC 5321 §2.3.8, §4.5.3.1.4).

use bytes::{Buf, BytesMut};

/// Finds line ends in a buffer that grows, without looking at an octet twice.
#[derive(Debug)]
pub(crate) struct LineSplitter {
    octets_max: usize,
    scanned: usize,
    /// Octets of an endless line thrown away so far; its end is still to come.
    discarding: bool,
}

/// What stands at the front of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line of so many octets; `with_end` includes its CRLF.
    Whole { octets: usize, with_end: usize },
    /// A line that was too long, now gone.
    TooLong,
    /// A line with a CR or LF that is not part of a CRLF, of `with_end` octets.
    Bare { octets: usize, with_end: usize },
}

impl LineSplitter {
    pub(crate) fn new(octets_max: usize) -> Self {
        Self { octets_max, scanned: 0, discarding: false }
    }

    /// Finds the next line; the caller takes `with_end` octets off the buffer.
    pub(crate) fn next(&mut self, input: &mut BytesMut) -> Option<Line> {
        let Some(found) = memchr::memchr(b'\n', input.get(self.scanned..).unwrap_or_default())
        else {
            self.scanned = input.len();
            if self.discarding || input.len() > self.octets_max {
                self.discarding = true;
                self.scanned = 0;
                input.clear();
            }
            return None;
        };
        let end = self.scanned.saturating_add(found);
        let with_end = end.saturating_add(1);
        self.scanned = 0;
        if std::mem::take(&mut self.discarding) || with_end > self.octets_max {
            input.advance(with_end);
            return Some(Line::TooLong);
        }
        let text = input.get(..end).unwrap_or_default();
        Some(match text.strip_suffix(b"\r") {
            Some(text) if memchr::memchr(b'\r', text).is_none() => {
                Line::Whole { octets: text.len(), with_end }
            }
            _ => Line::Bare { octets: text.strip_suffix(b"\r").unwrap_or(text).len(), with_end },
        })
    }

    /// Forgets what was seen; the buffer is a new one.
    pub(crate) fn reset(&mut self) {
        self.scanned = 0;
        self.discarding = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in chunks and lists what came out.
    fn split(input: &[u8], chunk_octets: usize) -> Vec<String> {
        let mut splitter = LineSplitter::new(8);
        let mut buffer = BytesMut::new();
        let mut lines = Vec::new();
        for chunk in input.chunks(chunk_octets) {
            buffer.extend_from_slice(chunk);
            while let Some(line) = splitter.next(&mut buffer) {
                lines.push(match line {
                    Line::Whole { octets, with_end } => {
                        let text = String::from_utf8_lossy(&buffer.split_to(with_end)[..octets])
                            .into_owned();
                        format!("line {text}")
                    }
                    Line::Bare { with_end, .. } => {
                        buffer.advance(with_end);
                        "bare".to_owned()
                    }
                    Line::TooLong => "long".to_owned(),
                });
            }
            assert!(buffer.len() <= 8);
        }
        lines
    }

    #[test]
    fn lines_end_in_crlf_whatever_the_chunks() {
        for chunk_octets in 1..40 {
            let lines = split(
                b"a\r\nbb\nc\rd\r\n\r\n0123456789\r\nend\r\r\n123456\r\n1234567\r\n",
                chunk_octets,
            );
            assert_eq!(
                lines,
                ["line a", "bare", "bare", "line ", "long", "bare", "line 123456", "long"],
                "chunks of {chunk_octets}"
            );
        }
    }
}
