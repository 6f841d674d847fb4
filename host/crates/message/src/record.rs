//! The bytes of a stored message: a version octet, then the message.

use bytes::Bytes;

use crate::message::Message;

/// The version that [`encode`] writes. A new one gets its own decoder beside the old ones.
pub const VERSION: u8 = 1;

/// A stored message that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// No bytes at all.
    #[error("the record is empty")]
    Empty,
    /// Written by a version this one does not know.
    #[error(
        "the record has version {0}, this program reads up to {VERSION}: upgrade it, or export the spool with the version that wrote it"
    )]
    Version(u8),
    /// The bytes do not form a record.
    #[error("the record is damaged: {0}")]
    Damaged(postcard::Error),
}

/// The bytes of `message`.
///
/// # Errors
/// None in practice: every field has an encoding; the result is passed on rather than assumed.
pub fn encode<T: serde::Serialize>(message: &T) -> Result<Bytes, RecordError> {
    encode_sized(message, 0)
}

/// The bytes of `message`, which are about so many: a buffer that does not grow. What is kept for
/// long keeps the whole buffer.
///
/// # Errors
/// As [`encode`].
pub fn encode_sized<T: serde::Serialize>(message: &T, octets: usize) -> Result<Bytes, RecordError> {
    let mut bytes = Vec::with_capacity(octets);
    bytes.push(VERSION);
    postcard::to_extend(message, bytes).map(Bytes::from).map_err(RecordError::Damaged)
}

/// What the bytes of [`encode`] said.
///
/// # Errors
/// [`RecordError`] if the bytes are empty, of an unknown version or damaged.
pub fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, RecordError> {
    match bytes.split_first() {
        None => Err(RecordError::Empty),
        Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(RecordError::Damaged),
        Some((&version, _)) => Err(RecordError::Version(version)),
    }
}

/// A stored message.
///
/// # Errors
/// As [`decode`].
pub fn decode_message(bytes: &[u8]) -> Result<Message, RecordError> {
    decode(bytes)
}
