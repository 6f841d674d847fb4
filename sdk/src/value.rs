//! Headers, parts, protocol fields and the reasons why the host says no.

/// One header field of a mail, unfolded and decoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// The name as the sender wrote it.
    pub name: String,
    /// The value, unfolded, RFC 2047 words decoded, lossy UTF-8.
    pub value: String,
}

/// One MIME part of a mail.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Part {
    /// What the other methods call this part.
    pub index: u32,
    /// The part that holds this one.
    pub parent: Option<u32>,
    /// Such as `text/plain`.
    pub content_type: String,
    /// The declared charset.
    pub charset: Option<String>,
    /// The declared file name.
    pub filename: Option<String>,
    /// Whether it is an attachment.
    pub is_attachment: bool,
    /// Decoded octets.
    pub size_bytes: u64,
}

/// A typed protocol field, see [`crate::Message::field`].
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The field is absent; as a new value: remove it.
    None,
    /// A number.
    Int(i64),
    /// Text.
    Text(String),
    /// Octets.
    Bytes(Vec<u8>),
}

impl Value {
    /// The number, if it is one.
    #[must_use]
    pub const fn as_int(&self) -> Option<i64> {
        if let Self::Int(number) = self { Some(*number) } else { None }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The octets, if it is some.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// Why the host did not do what was asked. These six will do for ever; details are in the host's log.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Error {
    /// There is no such thing.
    NotFound,
    /// The operator did not grant this plugin the right.
    Denied,
    /// Over a limit of size.
    TooLarge,
    /// Not possible for this message, or not well formed.
    Invalid,
    /// Over a limit of number.
    Exhausted,
    /// Not now; it may work later.
    Unavailable,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not found",
            Self::Denied => "denied: the operator did not grant this",
            Self::TooLarge => "too large",
            Self::Invalid => "not possible for this message",
            Self::Exhausted => "too many",
            Self::Unavailable => "not available now",
        })
    }
}

impl std::error::Error for Error {}
