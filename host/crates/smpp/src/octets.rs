//! Octet strings of the wire, kept as they came.
use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use thiserror::Error;

/// The octets of one C-octet string without its NUL.
///
/// The standards say ASCII; the field sends Latin-1 and worse (spaces, `0x80`). Nothing is
/// converted on the way through; [`Octets::to_text`] reads the octets as Latin-1, which loses
/// nothing. A decoded value shares the buffer of its PDU.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Octets(Bytes);

/// A text has a character beyond Latin-1 and cannot stand in an octet string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("character {0:?} has no Latin-1 octet")]
pub struct NotLatin1(pub char);

impl Octets {
    /// No octets.
    #[must_use]
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// Octets that live as long as the program.
    #[must_use]
    pub const fn from_static(octets: &'static [u8]) -> Self {
        Self(Bytes::from_static(octets))
    }

    /// The text in Latin-1.
    ///
    /// # Errors
    /// [`NotLatin1`] with the first character that has no octet.
    pub fn from_text(text: &str) -> Result<Self, NotLatin1> {
        if text.is_ascii() {
            return Ok(Self(Bytes::copy_from_slice(text.as_bytes())));
        }
        let octets: Result<Vec<u8>, NotLatin1> =
            text.chars().map(|c| u8::try_from(c).map_err(|_beyond| NotLatin1(c))).collect();
        octets.map(|octets| Self(Bytes::from(octets)))
    }

    /// The octets read as Latin-1; borrowed when they are ASCII.
    #[must_use]
    pub fn to_text(&self) -> Cow<'_, str> {
        latin1(&self.0)
    }

    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The octets, shared or owned.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// How many octets, without a NUL.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A copy with a buffer of its own, for values that outlive their PDU: a slice of a read
    /// buffer keeps the whole buffer alive.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

/// Octets read as Latin-1.
#[must_use]
pub fn latin1(octets: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(octets) {
        Ok(text) if text.is_ascii() => Cow::Borrowed(text),
        _ => Cow::Owned(octets.iter().map(|&octet| char::from(octet)).collect()),
    }
}

impl From<Bytes> for Octets {
    fn from(octets: Bytes) -> Self {
        Self(octets)
    }
}

impl From<Vec<u8>> for Octets {
    fn from(octets: Vec<u8>) -> Self {
        Self(Bytes::from(octets))
    }
}

impl From<&[u8]> for Octets {
    fn from(octets: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(octets))
    }
}

impl PartialEq<[u8]> for Octets {
    fn eq(&self, other: &[u8]) -> bool {
        self.as_bytes() == other
    }
}

impl PartialEq<&[u8]> for Octets {
    fn eq(&self, other: &&[u8]) -> bool {
        self.as_bytes() == *other
    }
}

impl PartialEq<&str> for Octets {
    fn eq(&self, other: &&str) -> bool {
        self.to_text() == *other
    }
}

impl fmt::Display for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_text(), f)
    }
}
