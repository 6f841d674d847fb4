//! What the check found: where, what, and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// One mistake, or something that looks like one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether the configuration can be used all the same.
    pub severity: Severity,
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 is the file as a whole.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// How many characters are meant.
    pub length: u32,
    /// What is wrong, in lower case.
    pub message: String,
    /// What to do, if that is known.
    pub remedy: Option<String>,
    /// The line itself, with secrets masked.
    pub snippet: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but probably does not do what was meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

impl fmt::Display for Finding {
    /// The finding as a compiler prints it: place, line, caret, help.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity, self.message)?;
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        if self.line == 0 {
            write!(f, "\n{margin}--> {}", self.file.display())?;
        } else {
            write!(f, "\n{margin}--> {}:{}:{}", self.file.display(), self.line, self.column)?;
            let (snippet, before) = self.window();
            let caret = "^".repeat(
                usize::try_from(self.length.max(1))
                    .unwrap_or(1)
                    .min(snippet.chars().count().saturating_sub(before).max(1)),
            );
            write!(
                f,
                "\n{margin} |\n{number} | {snippet}\n{margin} | {}{caret}",
                " ".repeat(before)
            )?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "\n{margin} = help: {remedy}")?;
        }
        Ok(())
    }
}

/// Characters of a long line that are shown around the place.
const WINDOW: usize = 100;

impl Finding {
    /// An error that stands at no line: something that the file names is wrong.
    #[must_use]
    pub fn of_file(file: &Path, message: String) -> Self {
        Self {
            severity: Severity::Error,
            file: file.to_path_buf(),
            line: 0,
            column: 0,
            length: 0,
            message,
            remedy: None,
            snippet: String::new(),
        }
    }

    /// The part of the line to show, and how many characters of it stand before the place. Tabs
    /// become spaces so that the caret stands right.
    fn window(&self) -> (String, usize) {
        let at = usize::try_from(self.column.saturating_sub(1)).unwrap_or(0);
        let skipped = if at > WINDOW { at - WINDOW / 2 } else { 0 };
        let snippet = self
            .snippet
            .chars()
            .skip(skipped)
            .take(WINDOW + WINDOW / 2)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        (snippet, at - skipped)
    }
}

/// The word among `known` that was probably meant by `written`.
pub(super) fn did_you_mean<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let limit = written.chars().count().div_ceil(3);
    known
        .into_iter()
        .map(|word| (distance(written, word), word))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// How many letters to insert, remove, replace or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &from) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, &to) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&last, j) + usize::from(from != to))
                .min(at(&last, j + 1) + 1)
                .min(at(&row, j) + 1);
            let swapped =
                i > 0 && j > 0 && a.get(i - 1) == Some(&to) && b.get(j - 1) == Some(&from);
            if swapped {
                best = best.min(at(&before_last, j - 1) + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_like_a_compiler_message() {
        let finding = Finding {
            severity: Severity::Error,
            file: "wirepost.yaml".into(),
            line: 12,
            column: 7,
            length: 5,
            message: "unknown key \"bindd\" in listeners.mail.smtp".to_owned(),
            remedy: Some("did you mean \"bind\"?".to_owned()),
            snippet: "      bindd: 127.0.0.1:2525".to_owned(),
        };
        assert_eq!(
            finding.to_string(),
            "error: unknown key \"bindd\" in listeners.mail.smtp\n  \
             --> wirepost.yaml:12:7\n   \
             |\n\
             12 |       bindd: 127.0.0.1:2525\n   \
             |       ^^^^^\n   \
             = help: did you mean \"bind\"?"
        );
    }

    #[test]
    fn near_words_are_proposed_and_far_ones_are_not() {
        let known = ["bind", "hostname", "allow", "connections_max"];
        assert_eq!(did_you_mean("bnid", known), Some("bind"));
        assert_eq!(did_you_mean("max_connections", known), None);
        assert_eq!(did_you_mean("connection_max", known), Some("connections_max"));
        assert_eq!(did_you_mean("zzz", known), None);
    }
}
