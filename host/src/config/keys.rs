//! What a key is: its name, the kind of its value, its default and what it means.
//!
//! Each section declares its keys as a table of these. The reader takes defaults and ranges from the
//! table, unknown keys are those that are not in it, and the reference in `docs/OPERATING.md` and
//! the JSON Schema are printed from it, so none of them can say anything else than the others.

/// The keys of one section.
#[derive(Debug)]
pub(super) struct Schema {
    /// What the section is for; a sentence.
    pub(super) about: &'static str,
    /// In the order of the reference.
    pub(super) keys: &'static [Key],
}

impl Schema {
    /// The key of this name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// As written in YAML.
    pub(super) name: &'static str,
    /// What its value is.
    pub(super) kind: Kind,
    /// The value if the key is left out, as it would be written; empty if there is none.
    pub(super) default: &'static str,
    /// It cannot be left out.
    pub(super) required: bool,
    /// A change needs a restart, and a reload that has one is refused.
    pub(super) restart: bool,
    /// An empty list is none of them, which is what it says.
    pub(super) may_be_empty: bool,
    /// What it means; a sentence.
    pub(super) about: &'static str,
}

/// A key that may be left out and has no default.
pub(super) const fn key(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { name, kind, default: "", required: false, restart: false, may_be_empty: false, about }
}

impl Key {
    /// With this default.
    pub(super) const fn or(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    /// It cannot be left out.
    pub(super) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// An empty list is none.
    pub(super) const fn or_none(mut self) -> Self {
        self.may_be_empty = true;
        self
    }

    /// A change needs a restart.
    pub(super) const fn restart(mut self) -> Self {
        self.restart = true;
        self
    }
}

/// What a value is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Any text.
    Text,
    /// Text of at most so many octets.
    Octets(usize),
    /// `true` or `false`.
    Flag,
    /// A whole number between these.
    Int(u64, u64),
    /// A decimal number between these.
    Decimal(f64, f64),
    /// A duration between these, in milliseconds.
    Duration(u64, u64),
    /// Octets between these.
    Size(u64, u64),
    /// Messages in time.
    Rate,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A file or folder; a relative one is relative to the main file.
    Path,
    /// A password or token.
    Secret,
    /// `ADDRESS:PORT`.
    Socket,
    /// An address or network in CIDR notation.
    Network,
    /// An entry of these sections.
    Name(&'static str),
    /// A text with places.
    Template(&'static [&'static str]),
    /// A pattern for an address.
    AddressPattern,
    /// A pattern for a text.
    TextPattern,
    /// Hours of the week.
    Hours,
    /// One or several of a kind.
    Several(&'static Self),
    /// A map of this section.
    Section(&'static Schema),
    /// A map from names to sections.
    Named(&'static Schema),
    /// A list of a kind.
    ListOf(&'static Self),
    /// A list of sections.
    Listed(&'static Schema),
    /// A map from keys to a kind.
    MapOf(&'static str, &'static Self),
    /// One of two kinds.
    Either(&'static Self, &'static Self),
    /// Anything.
    Free,
}

/// A second in the milliseconds that [`Kind::Duration`] counts.
pub(super) const SECOND: u64 = 1000;
/// A minute in milliseconds.
pub(super) const MINUTE: u64 = 60 * SECOND;
/// An hour in milliseconds.
pub(super) const HOUR: u64 = 60 * MINUTE;
/// A day in milliseconds.
pub(super) const DAY: u64 = 24 * HOUR;
/// 1,024 octets.
pub(super) const KIB: u64 = 1 << 10;
/// 1,048,576 octets.
pub(super) const MIB: u64 = 1 << 20;
/// 1,073,741,824 octets.
pub(super) const GIB: u64 = 1 << 30;
