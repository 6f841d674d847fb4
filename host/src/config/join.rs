//! Whether parts of concatenated SMS are joined, the same for accounts and connectors.

use super::keys::{Key, Kind, key};

/// Whether the parts of a concatenated SMS wait for each other and go on as one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// Those that a route may turn into a mail.
    Auto,
    /// All.
    Always,
    /// None: each part goes on by itself.
    Never,
}

/// As written in YAML.
pub(super) const JOINS: [(&str, Join); 3] =
    [("auto", Join::Auto), ("always", Join::Always), ("never", Join::Never)];

/// The key.
pub(super) const KEY: Key = key(
    "join",
    Kind::Word(&["auto", "always", "never"]),
    "Which parts of concatenated SMS that come from there wait for each other and go on as one message; `auto`: those that a route may turn into a mail.",
)
.or("auto");
