//! The model's words to the SDK's and back.

use message::edit::{EditError, Edited, Kind as ContentKind};
use message::{AddressKind, Protocol as Came};

use crate::{Address, Content, Envelope, Error, Kind, Part, Protocol, Stage, Value};

/// As the host: texts up to this many octets come with the envelope.
const INLINE_TEXT_BYTES_MAX: usize = 2048;
/// As the host: recipients that come with the envelope.
const INLINE_RECIPIENTS_MAX: usize = 32;

pub(crate) fn address(address: &message::Address) -> Address {
    let kind = match address.kind {
        AddressKind::Mailbox => Kind::Mailbox,
        AddressKind::Phone => Kind::Phone,
        AddressKind::Alphanumeric => Kind::Alphanumeric,
        AddressKind::ShortCode => Kind::ShortCode,
    };
    Address { value: address.value.to_string(), kind, ton: address.ton, npi: address.npi }
}

pub(crate) fn lower_address(address: &Address) -> Result<message::Address, Error> {
    let kind = match address.kind {
        Kind::Mailbox => AddressKind::Mailbox,
        Kind::Phone => AddressKind::Phone,
        Kind::Alphanumeric => AddressKind::Alphanumeric,
        Kind::ShortCode => AddressKind::ShortCode,
        Kind::Other(_) => return Err(Error::Invalid),
    };
    Ok(message::Address {
        kind,
        value: address.value.as_str().into(),
        ton: address.ton,
        npi: address.npi,
    })
}

pub(crate) fn value(value: message::edit::Value) -> Value {
    match value {
        message::edit::Value::None => Value::None,
        message::edit::Value::Int(number) => Value::Int(number),
        message::edit::Value::Text(text) => Value::Text(text),
        message::edit::Value::Bytes(octets) => Value::Bytes(octets.to_vec()),
    }
}

pub(super) fn lower_value(value: &Value) -> message::edit::Value {
    match value {
        Value::None => message::edit::Value::None,
        Value::Int(number) => message::edit::Value::Int(*number),
        Value::Text(text) => message::edit::Value::Text(text.clone()),
        Value::Bytes(octets) => message::edit::Value::Bytes(octets.clone().into()),
    }
}

pub(super) fn part(part: message::mail::Part) -> Part {
    Part {
        index: narrow(part.index),
        parent: part.parent.map(narrow),
        content_type: part.content_type,
        charset: part.charset,
        filename: part.filename,
        is_attachment: part.is_attachment,
        size_bytes: part.size_bytes as u64,
    }
}

pub(crate) fn envelope(edited: &Edited, run: u32) -> Envelope {
    let message = edited.message();
    let text = edited.text();
    let inline = text.filter(|text| !text.is_empty() && text.len() <= INLINE_TEXT_BYTES_MAX);
    let recipients = message.recipients.iter().take(INLINE_RECIPIENTS_MAX);
    Envelope {
        id: message.id.as_u64(),
        parent: message.parent.map(message::MessageId::as_u64),
        protocol: match message.origin.protocol {
            Came::Smtp => Protocol::Smtp,
            Came::Smpp => Protocol::Smpp,
            Came::Internal => Protocol::Other(3),
        },
        stage: Stage::Door,
        content: match edited.kind() {
            ContentKind::Mail => Content::Mail,
            ContentKind::Text => Content::Text,
            ContentKind::Binary => Content::Binary,
            ContentKind::Part => Content::Part,
        },
        door: message.origin.door.to_string(),
        account: message.origin.account.to_string(),
        peer: message.origin.peer.to_string(),
        received_ms: message.received.as_ms(),
        run,
        source: address(&message.sender),
        recipients: recipients.map(|recipient| address(&recipient.address)).collect(),
        recipient_count: narrow(message.recipients.len()),
        size_bytes: message.content.size_bytes() as u64,
        subject: edited.view().and_then(message::mail::MailView::subject),
        text: inline.map(str::to_owned),
        text_bytes: narrow(text.map_or(0, str::len)),
    }
}

pub(super) fn window(octets: &[u8], offset: u64, max: u32) -> Vec<u8> {
    let rest =
        usize::try_from(offset).ok().and_then(|offset| octets.get(offset..)).unwrap_or_default();
    rest.get(..max as usize).unwrap_or(rest).to_vec()
}

pub(super) fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl From<EditError> for Error {
    fn from(error: EditError) -> Self {
        match error {
            EditError::NotFound => Self::NotFound,
            EditError::Denied => Self::Denied,
            EditError::TooLarge => Self::TooLarge,
            EditError::Invalid => Self::Invalid,
            EditError::Exhausted => Self::Exhausted,
        }
    }
}
