//! Who sends and who receives: mailboxes, phone numbers, short codes and names.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::normal_mailbox;

/// What an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AddressKind {
    /// `alice@example.org`; an empty value is the null sender (RFC 5321 §4.5.5).
    Mailbox,
    /// A number; an international one (TON 1) carries its `+`.
    Phone,
    /// A name as sender of an SMS, at most 11 characters on air (TON 5).
    Alphanumeric,
    /// A number of 3 to 8 digits that only one network knows (TON 3 or 6).
    ShortCode,
}

/// TON 1: international (SMPP v3.4 §5.2.5).
pub const TON_INTERNATIONAL: u8 = 1;
/// TON 3: network specific, used for short codes.
pub const TON_NETWORK: u8 = 3;
/// TON 5: alphanumeric.
pub const TON_ALPHANUMERIC: u8 = 5;
/// TON 6: abbreviated.
pub const TON_ABBREVIATED: u8 = 6;
/// NPI 1: ISDN, E.164 (SMPP v3.4 §5.2.6).
pub const NPI_ISDN: u8 = 1;

/// An address of either world. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    /// What it is.
    pub kind: AddressKind,
    /// The mailbox, the number (with `+` if international) or the name.
    pub value: Arc<str>,
    /// SMPP type of number as received or as to be sent; 0 for mailboxes.
    pub ton: u8,
    /// SMPP numbering plan; 0 for mailboxes.
    pub npi: u8,
}

impl Address {
    /// A mailbox; `""` is the null sender.
    #[must_use]
    pub fn mailbox(value: impl Into<Arc<str>>) -> Self {
        Self { kind: AddressKind::Mailbox, value: value.into(), ton: 0, npi: 0 }
    }

    /// The null sender `<>`.
    #[must_use]
    pub fn null_sender() -> Self {
        Self::mailbox("")
    }

    /// A phone number; `+` makes it international (TON 1, NPI 1), otherwise TON 0, NPI 1.
    #[must_use]
    pub fn phone(value: impl Into<Arc<str>>) -> Self {
        let value = value.into();
        let ton = if value.starts_with('+') { TON_INTERNATIONAL } else { 0 };
        Self { kind: AddressKind::Phone, value, ton, npi: NPI_ISDN }
    }

    /// A name as sender (TON 5, NPI 0).
    #[must_use]
    pub fn alphanumeric(value: impl Into<Arc<str>>) -> Self {
        Self { kind: AddressKind::Alphanumeric, value: value.into(), ton: TON_ALPHANUMERIC, npi: 0 }
    }

    /// A short code (TON 3, NPI 0).
    #[must_use]
    pub fn short_code(value: impl Into<Arc<str>>) -> Self {
        Self { kind: AddressKind::ShortCode, value: value.into(), ton: TON_NETWORK, npi: 0 }
    }

    /// The address in a configuration or on a command line: a mailbox if it has an `@`, a name if it
    /// has a letter, a short code if it has 3 to 6 digits, else a phone number.
    #[must_use]
    pub fn guess(text: &str) -> Self {
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

    /// What an SMPP peer wrote: octets are Latin-1, an international number gets its `+`
    /// (SMPP v3.4 §5.2.5–5.2.6).
    #[must_use]
    pub fn from_smpp(ton: u8, npi: u8, octets: &[u8]) -> Self {
        let text: String = octets.iter().map(|&octet| char::from(octet)).collect();
        let digits = !text.is_empty()
            && text.strip_prefix('+').unwrap_or(&text).bytes().all(|b| b.is_ascii_digit());
        let (kind, value) = match ton {
            TON_ALPHANUMERIC => (AddressKind::Alphanumeric, text),
            TON_INTERNATIONAL if digits && !text.starts_with('+') => {
                (AddressKind::Phone, format!("+{text}"))
            }
            TON_NETWORK | TON_ABBREVIATED => (AddressKind::ShortCode, text),
            0 if digits && !text.starts_with('+') && text.len() <= 6 => {
                (AddressKind::ShortCode, text)
            }
            0 if !digits && !text.is_empty() => (AddressKind::Alphanumeric, text),
            _ => (AddressKind::Phone, text),
        };
        Self { kind, value: value.into(), ton, npi }
    }

    /// What to write to an SMPP peer: (TON, NPI, octets). Characters beyond Latin-1 become `?`; an
    /// international number loses its `+`.
    #[must_use]
    pub fn to_smpp(&self) -> (u8, u8, Vec<u8>) {
        let text = if self.ton == TON_INTERNATIONAL {
            self.value.strip_prefix('+').unwrap_or(&self.value)
        } else {
            &self.value
        };
        let octets = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect();
        (self.ton, self.npi, octets)
    }

    /// The form in which it is compared with others: a mailbox as [`normal_mailbox`] has it.
    #[must_use]
    pub fn normal(&self) -> Cow<'_, Self> {
        if !self.is_mailbox() {
            return Cow::Borrowed(self);
        }
        match normal_mailbox(&self.value) {
            Cow::Borrowed(_) => Cow::Borrowed(self),
            Cow::Owned(value) => Cow::Owned(Self { value: value.into(), ..self.clone() }),
        }
    }

    /// Whether it is the null sender.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.kind == AddressKind::Mailbox && self.value.is_empty()
    }

    /// Whether it is a mailbox.
    #[must_use]
    pub fn is_mailbox(&self) -> bool {
        self.kind == AddressKind::Mailbox
    }

    /// The part of a mailbox after its last `@`.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        if self.is_mailbox() { self.value.rsplit_once('@').map(|(_, domain)| domain) } else { None }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_null() { f.write_str("<>") } else { f.write_str(&self.value) }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({}, {}/{})", self.kind, self.value, self.ton, self.npi)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_smpp(ton: u8, npi: u8, octets: &[u8], kind: AddressKind, value: &str) {
        let address = Address::from_smpp(ton, npi, octets);
        assert_eq!((address.kind, &*address.value), (kind, value));
        let plain = octets.strip_prefix(b"+").unwrap_or(octets);
        let expect = if ton == TON_INTERNATIONAL { plain } else { octets };
        assert_eq!(address.to_smpp(), (ton, npi, expect.to_vec()));
    }

    #[test]
    fn smpp_addresses_keep_their_octets() {
        check_smpp(1, 1, b"33612345678", AddressKind::Phone, "+33612345678");
        check_smpp(1, 1, b"+33612345678", AddressKind::Phone, "+33612345678");
        check_smpp(5, 0, b"ACME", AddressKind::Alphanumeric, "ACME");
        check_smpp(5, 0, b"Caf\xe9", AddressKind::Alphanumeric, "Café");
        check_smpp(0, 0, b"33700", AddressKind::ShortCode, "33700");
        check_smpp(3, 0, b"33700", AddressKind::ShortCode, "33700");
        check_smpp(0, 1, b"0612345678", AddressKind::Phone, "0612345678");
        check_smpp(0, 0, b"SHOP", AddressKind::Alphanumeric, "SHOP");
        check_smpp(0, 0, b"", AddressKind::Phone, "");
    }

    #[test]
    fn guesses_follow_the_form() {
        for (text, kind) in [
            ("a@b.example", AddressKind::Mailbox),
            ("+33612345678", AddressKind::Phone),
            ("33700", AddressKind::ShortCode),
            ("SHOP", AddressKind::Alphanumeric),
            ("", AddressKind::Mailbox),
        ] {
            assert_eq!(Address::guess(text).kind, kind, "{text}");
        }
    }
}
