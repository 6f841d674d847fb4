//! Everything small about a message, handed over once per call.

use crate::Address;

/// The protocol that a message came in by. Open.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Protocol {
    /// E-mail.
    Smtp,
    /// SMS.
    Smpp,
    /// A protocol that this SDK does not know.
    Other(u16),
}

/// Where in its life the message is. Open.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Stage {
    /// The peer waits: a reject is the peer's answer.
    Door,
    /// The message is ours: a reject tells the origin, a defer makes us retry.
    Queue,
    /// A stage that this SDK does not know.
    Other(u16),
}

/// What a message carries. Open.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Content {
    /// A mail (RFC 5322).
    Mail,
    /// A short message of text.
    Text,
    /// A short message of octets.
    Binary,
    /// One part of a concatenated short message, passed on alone.
    Part,
    /// Content that this SDK does not know.
    Other(u16),
}

/// Everything small about a message. It does not follow edits made during the call; the methods of
/// [`crate::Message`] do.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Envelope {
    /// The message's id.
    pub id: u64,
    /// The id of the message that this one was forked from.
    pub parent: Option<u64>,
    /// The protocol it came in by.
    pub protocol: Protocol,
    /// Whether the peer still waits.
    pub stage: Stage,
    /// What it carries.
    pub content: Content,
    /// The listener, or the connector for what a message centre sends us.
    pub door: String,
    /// The account that sent it; empty if none.
    pub account: String,
    /// The peer's address and port.
    pub peer: String,
    /// When it came in, Unix milliseconds; the same for the life of the message.
    pub received_ms: u64,
    /// 1 on the first run of the plugins over this message.
    pub run: u32,
    /// The sender.
    pub source: Address,
    /// The recipients, at most 32 of them.
    pub recipients: Vec<Address>,
    /// How many recipients there really are.
    pub recipient_count: u32,
    /// Octets of the message as received.
    pub size_bytes: u64,
    /// The subject of a mail.
    pub subject: Option<String>,
    /// The text if it is short, see [`crate::Message::text`].
    pub text: Option<String>,
    /// Octets of the text, also when it is not in `text`.
    pub text_bytes: u32,
}

impl Protocol {
    /// The protocol with this code.
    #[must_use]
    pub const fn from_code(code: u16) -> Self {
        match code {
            1 => Self::Smtp,
            2 => Self::Smpp,
            other => Self::Other(other),
        }
    }
}

impl Stage {
    /// The stage with this code.
    #[must_use]
    pub const fn from_code(code: u16) -> Self {
        match code {
            1 => Self::Door,
            2 => Self::Queue,
            other => Self::Other(other),
        }
    }
}

impl Content {
    /// The content with this code.
    #[must_use]
    pub const fn from_code(code: u16) -> Self {
        match code {
            1 => Self::Mail,
            2 => Self::Text,
            3 => Self::Binary,
            4 => Self::Part,
            other => Self::Other(other),
        }
    }
}
