//! `domains`: mail domains whose mailboxes are phone numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use message::Address;

/// `domains` as a whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Domains {
    by_name: BTreeMap<Box<str>, NumberDomain>,
}

/// One domain whose mailboxes are phone numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberDomain {
    /// ISO 3166 code of the country that national numbers belong to; without one only international
    /// numbers are understood.
    pub country: Option<Arc<str>>,
    /// Three to eight digits are a short code.
    pub short_codes: bool,
}

impl Domains {
    /// Number domains by name in lower case.
    pub fn new(by_name: BTreeMap<Box<str>, NumberDomain>) -> Self {
        Self { by_name }
    }

    /// The rule for this domain, whatever its case.
    #[must_use]
    pub fn rule(&self, domain: &str) -> Option<&NumberDomain> {
        self.by_name.get(domain.to_ascii_lowercase().as_str())
    }

    /// Names and rules, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &NumberDomain)> {
        self.by_name.iter().map(|(name, rule)| (&**name, rule))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// What a mailbox is in the light of the number domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// Its domain is an ordinary one.
    Mailbox,
    /// It is this number or short code.
    Number(Address),
    /// Its domain is one of numbers, but the local part is none.
    NotANumber,
}
