//! Why an operator orders something, and who that is.

use std::fmt;
use std::sync::Arc;

/// A reason and a name. The reason may be told to senders, the name is for the journal and the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mandate {
    /// In the operator's words.
    pub why: Arc<str>,
    /// The operator; empty if it is not known.
    pub by: Arc<str>,
}

impl From<&str> for Mandate {
    fn from(why: &str) -> Self {
        Self { why: why.into(), by: Arc::from("") }
    }
}

impl fmt::Display for Mandate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.by {
            "" => f.write_str(&self.why),
            by => write!(f, "{}, by {by}", self.why),
        }
    }
}
