//! The interface's types and ours, one into the other.

use message::edit::{EditError, Edited, Kind, Value};
use message::{Address, AddressKind, Protocol};

use super::bindings::wirepost::plugin::log;
use super::bindings::wirepost::plugin::types::{self as wit, Error};
use super::env::{LogLevel, LookupAnswer, LookupError};
use super::judgement::Stage;
use super::kv::KvError;
use super::limits::{INLINE_RECIPIENTS_MAX, INLINE_TEXT_BYTES_MAX};

/// Octets of a mail up to which its text is looked for before it is asked for.
const EAGER_MAIL_BYTES_MAX: usize = 64 << 10;

pub(super) fn envelope(edited: &Edited, stage: Stage, run: u32) -> wit::Envelope {
    let message = edited.message();
    let kind = edited.kind();
    let large = kind == Kind::Mail && message.content.size_bytes() > EAGER_MAIL_BYTES_MAX;
    let text = if large { None } else { edited.text() };
    let text_octets = if large { u32::MAX } else { narrow(text.map_or(0, str::len)) };
    let inline = text.filter(|text| !text.is_empty() && text.len() <= INLINE_TEXT_BYTES_MAX);
    wit::Envelope {
        id: message.id.as_u64(),
        parent: message.parent.map(message::MessageId::as_u64),
        protocol: match message.origin.protocol {
            Protocol::Smtp => 1,
            Protocol::Smpp => 2,
            Protocol::Internal => 3,
        },
        stage: match stage {
            Stage::Door => 1,
            Stage::Queue => 2,
        },
        content: match kind {
            Kind::Mail => 1,
            Kind::Text => 2,
            Kind::Binary => 3,
            Kind::Part => 4,
        },
        door: message.origin.door.to_string(),
        account: message.origin.account.to_string(),
        peer: message.origin.peer.to_string(),
        received_ms: message.received.as_ms(),
        run,
        source: lower(&message.sender),
        recipients: message
            .recipients
            .iter()
            .take(INLINE_RECIPIENTS_MAX)
            .map(|recipient| lower(&recipient.address))
            .collect(),
        recipient_count: narrow(message.recipients.len()),
        size: u64::try_from(message.content.size_bytes()).unwrap_or(u64::MAX),
        subject: if large {
            None
        } else {
            edited.view().and_then(message::mail::MailView::subject)
        },
        text: inline.map(str::to_owned),
        text_octets,
    }
}

pub(super) fn empty_envelope() -> wit::Envelope {
    let null = || wit::Address { value: String::new(), kind: 1, ton: 0, npi: 0 };
    wit::Envelope {
        id: 0,
        parent: None,
        protocol: 0,
        stage: 0,
        content: 0,
        door: String::new(),
        account: String::new(),
        peer: String::new(),
        received_ms: 0,
        run: 0,
        source: null(),
        recipients: Vec::new(),
        recipient_count: 0,
        size: 0,
        subject: None,
        text: None,
        text_octets: 0,
    }
}

/// In normal form: a plugin compares it with what its author wrote.
pub(super) fn lower(address: &Address) -> wit::Address {
    let address = address.normal();
    let kind = match address.kind {
        AddressKind::Mailbox => 1,
        AddressKind::Phone => 2,
        AddressKind::Alphanumeric => 3,
        AddressKind::ShortCode => 4,
    };
    wit::Address { value: address.value.to_string(), kind, ton: address.ton, npi: address.npi }
}

pub(super) fn lift(address: wit::Address) -> Result<Address, Error> {
    let kind = match address.kind {
        1 => AddressKind::Mailbox,
        2 => AddressKind::Phone,
        3 => AddressKind::Alphanumeric,
        4 => AddressKind::ShortCode,
        _ => return Err(Error::Invalid),
    };
    let (ton, npi) = (address.ton, address.npi);
    Ok(Address { kind, value: address.value.into(), ton, npi })
}

pub(super) fn lower_part(part: message::mail::Part) -> wit::Part {
    wit::Part {
        index: narrow(part.index),
        parent: part.parent.map(narrow),
        content_type: part.content_type,
        charset: part.charset,
        filename: part.filename,
        is_attachment: part.is_attachment,
        size: u64::try_from(part.size_bytes).unwrap_or(u64::MAX),
    }
}

pub(super) fn lower_value(value: Option<Value>) -> wit::Value {
    match value {
        None | Some(Value::None) => wit::Value::None,
        Some(Value::Int(number)) => wit::Value::Int(number),
        Some(Value::Text(text)) => wit::Value::Text(text),
        Some(Value::Bytes(octets)) => wit::Value::Bytes(octets.to_vec()),
    }
}

pub(super) fn lift_level(level: log::Level) -> LogLevel {
    match level {
        log::Level::Trace => LogLevel::Trace,
        log::Level::Debug => LogLevel::Debug,
        log::Level::Info => LogLevel::Info,
        log::Level::Warn => LogLevel::Warn,
        log::Level::Error => LogLevel::Error,
    }
}

pub(super) fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

pub(super) fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// What a look-up said, as the plugin sees it.
pub(super) fn lower_answer(answer: LookupAnswer) -> Result<String, Error> {
    answer.map(|text| text.to_string()).map_err(|error| match error {
        LookupError::NotFound => Error::NotFound,
        LookupError::TooLarge => Error::TooLarge,
        LookupError::Invalid => Error::Invalid,
        LookupError::Exhausted => Error::Exhausted,
        LookupError::Unavailable => Error::Unavailable,
    })
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

impl From<KvError> for Error {
    fn from(error: KvError) -> Self {
        match error {
            KvError::TooLarge => Self::TooLarge,
            KvError::Exhausted => Self::Exhausted,
            KvError::Unavailable => Self::Unavailable,
        }
    }
}
