//! What an operator ordered about a target: nothing goes out, or nothing more comes in.

use std::sync::Arc;

use message::Timestamp;
use serde::{Deserialize, Serialize};

/// An order that stands until it is taken back, also across a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// What is stopped.
    pub kind: StopKind,
    /// Since when.
    pub since: Timestamp,
    /// Why, in the words of the operator.
    pub why: Arc<str>,
}

/// What is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StopKind {
    /// No attempts are made; messages go on coming in, to others first where routes name others.
    Suspended,
    /// What waits goes out, and nothing more comes in.
    Draining,
}

impl StopKind {
    /// In a listing.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Suspended => "suspended",
            Self::Draining => "draining",
        }
    }
}
