//! Who a message is from and who it is for.

use std::fmt;

/// What an [`Address`] names. Open: a later host may know kinds that this SDK does not.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Kind {
    /// An e-mail mailbox, or the null sender when the value is empty.
    Mailbox,
    /// A telephone number; international ones start with `+`.
    Phone,
    /// An alphanumeric SMS sender such as `ACME`, at most 11 characters.
    Alphanumeric,
    /// A short code such as `33700`.
    ShortCode,
    /// A kind that this SDK does not know; pass it through unchanged.
    Other(u16),
}

impl Kind {
    /// The code of this kind at the border between plugin and host.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Mailbox => 1,
            Self::Phone => 2,
            Self::Alphanumeric => 3,
            Self::ShortCode => 4,
            Self::Other(code) => code,
        }
    }

    /// The kind with this code.
    #[must_use]
    pub const fn from_code(code: u16) -> Self {
        match code {
            1 => Self::Mailbox,
            2 => Self::Phone,
            3 => Self::Alphanumeric,
            4 => Self::ShortCode,
            other => Self::Other(other),
        }
    }
}

/// One address, of a person, a number or a service.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Address {
    /// `alice@example.com`, `+447700900123`, `ACME`, `33700`; empty is the null sender.
    pub value: String,
    /// What the value names.
    pub kind: Kind,
    /// SMPP type of number (SMPP v3.4 §5.2.5); 0 for mail.
    pub ton: u8,
    /// SMPP numbering plan (SMPP v3.4 §5.2.6); 0 for mail.
    pub npi: u8,
}

impl Address {
    /// An e-mail mailbox.
    #[must_use]
    pub fn mailbox(value: impl Into<String>) -> Self {
        Self { value: value.into(), kind: Kind::Mailbox, ton: 0, npi: 0 }
    }

    /// A telephone number: international (TON 1) if it starts with `+`, else of unknown type; NPI 1.
    #[must_use]
    pub fn phone(value: impl Into<String>) -> Self {
        let value = value.into();
        let ton = u8::from(value.starts_with('+'));
        Self { value, kind: Kind::Phone, ton, npi: 1 }
    }

    /// An alphanumeric sender: TON 5, NPI 0.
    #[must_use]
    pub fn alphanumeric(value: impl Into<String>) -> Self {
        Self { value: value.into(), kind: Kind::Alphanumeric, ton: 5, npi: 0 }
    }

    /// A short code: TON 3 (network specific), NPI 0.
    #[must_use]
    pub fn short_code(value: impl Into<String>) -> Self {
        Self { value: value.into(), kind: Kind::ShortCode, ton: 3, npi: 0 }
    }

    /// Reads an address as a person writes it: `@` makes a mailbox, any letter an alphanumeric sender, `+` or
    /// more than six digits a telephone number, fewer a short code.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        if text.is_empty() || text.contains('@') {
            Self::mailbox(text)
        } else if text.chars().any(|c| !c.is_ascii_digit() && c != '+') {
            Self::alphanumeric(text)
        } else if text.starts_with('+') || text.len() > 6 {
            Self::phone(text)
        } else {
            Self::short_code(text)
        }
    }

    /// Whether this is a mailbox.
    #[must_use]
    pub fn is_mailbox(&self) -> bool {
        self.kind == Kind::Mailbox
    }

    /// Whether this is a telephone number.
    #[must_use]
    pub fn is_phone(&self) -> bool {
        self.kind == Kind::Phone
    }

    /// The domain of a mailbox, as written.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.is_mailbox().then(|| self.value.rsplit_once('@').map(|(_, domain)| domain)).flatten()
    }
}

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        Self::parse(text)
    }
}

impl From<String> for Address {
    fn from(text: String) -> Self {
        Self::parse(&text)
    }
}

impl From<&String> for Address {
    fn from(text: &String) -> Self {
        Self::parse(text)
    }
}

impl From<&Self> for Address {
    fn from(address: &Self) -> Self {
        address.clone()
    }
}

impl PartialEq<str> for Address {
    fn eq(&self, other: &str) -> bool {
        self.value == other
    }
}

impl PartialEq<&str> for Address {
    fn eq(&self, other: &&str) -> bool {
        self.value == *other
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, Kind};

    #[track_caller]
    fn check(text: &str, kind: Kind, ton: u8) {
        let address = Address::parse(text);
        assert_eq!((address.kind, address.ton), (kind, ton), "{text}");
    }

    #[test]
    fn whatever_holds_a_text_is_an_address() {
        let text = "+447700900123".to_owned();
        let all = [Address::from(&*text), Address::from(&text), Address::from(text.clone())];
        assert!(all.iter().all(|address| *address == Address::phone(&*text)));
    }

    #[test]
    fn an_address_is_read_as_a_person_writes_it() {
        check("alice@example.com", Kind::Mailbox, 0);
        check("", Kind::Mailbox, 0);
        check("+447700900123", Kind::Phone, 1);
        check("0612345678", Kind::Phone, 0);
        check("33700", Kind::ShortCode, 3);
        check("ACME", Kind::Alphanumeric, 5);
        check("12", Kind::ShortCode, 3);
    }
}
