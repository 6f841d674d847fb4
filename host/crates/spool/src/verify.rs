//! What a check of a whole spool says.

use std::fmt;

/// Findings that are described; more are only counted.
pub(crate) const FINDINGS_MAX: usize = 1000;

/// What [`crate::Spool::verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Entries that were read.
    pub entries: u64,
    /// Bodies that were read.
    pub bodies: u64,
    /// How many of them are files of their own.
    pub body_files: u64,
    /// Keyed values that were read.
    pub keys: u64,
    /// Notes on when a key expires.
    pub notes: u64,
    /// How many of them are outdated, which is no harm.
    pub outdated_notes: u64,
    /// Records that were set aside, each a finding too.
    pub aside: u64,
    /// Groups in the journals whose checksums match.
    pub groups: u64,
    /// Files of the database whose checksums match.
    pub files: u64,
    /// Bytes read for that.
    pub bytes: u64,
    /// The end of a write that a crash interrupted. It was never acknowledged and is no finding.
    pub torn: Option<String>,
    /// What is wrong, the first of it described.
    pub findings: Vec<Finding>,
    /// How much is wrong.
    pub findings_total: u64,
}

/// One thing that is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The record or the file.
    pub what: String,
    /// What is wrong with it.
    pub reason: String,
    /// What an operator can do.
    pub remedy: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.what, self.reason, self.remedy)
    }
}

impl Verified {
    pub(crate) fn find(&mut self, what: String, reason: impl Into<String>, remedy: &'static str) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { what, reason: reason.into(), remedy });
        }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings_total == 0
    }
}
