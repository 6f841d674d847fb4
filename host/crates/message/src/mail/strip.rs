//! What of a mail's text is not worth an SMS: signatures, quoted mails, white space.

use serde::{Deserialize, Serialize};

/// What to leave out of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Strip {
    /// Everything from a line `-- ` on (RFC 3676 §4.3).
    pub signature: bool,
    /// Lines that start with `>`.
    pub quotes: bool,
    /// Everything from a line on that starts with one of these, such as
    /// `-----Original Message-----`. Case is ignored, white space before it too.
    pub separators: Vec<String>,
}

impl Default for Strip {
    fn default() -> Self {
        Self { signature: true, quotes: false, separators: Vec::new() }
    }
}

impl Strip {
    /// Leaves everything but superfluous white space.
    pub const NOTHING: Self = Self { signature: false, quotes: false, separators: Vec::new() };

    /// The text without what is to be left out, without white space at line ends, and with no more
    /// than one empty line in a row.
    #[must_use]
    pub fn apply(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut empty_lines = 0;
        for line in text.lines() {
            if self.ends_at(line) {
                break;
            }
            if self.quotes && line.starts_with('>') {
                continue;
            }
            let line = line.trim_end();
            if line.is_empty() {
                empty_lines += 1;
                continue;
            }
            if !out.is_empty() {
                out.push_str(if empty_lines > 0 { "\n\n" } else { "\n" });
            }
            out.push_str(line);
            empty_lines = 0;
        }
        out
    }

    fn ends_at(&self, line: &str) -> bool {
        if self.signature && line.trim_end_matches('\r') == "-- " {
            return true;
        }
        let line = line.trim_start().as_bytes();
        self.separators.iter().any(|separator| {
            let separator = separator.as_bytes();
            !separator.is_empty()
                && line
                    .get(..separator.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(separator))
        })
    }
}
