//! A message made up from what a command line or a test of the configuration says, as it would be
//! once a door had taken it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use message::mail::{Compose, compose};
use message::{
    Address, Content, Message, MessageId, Origin, Protocol, Recipient, Short, Timestamp, Wish,
};

use crate::config::{Config, ConnectorKind, ListenerKind, Resolved, TestMessage};

/// The message that would come of this.
///
/// # Errors
///
/// A sentence about a door that is not there, or a recipient that the door would refuse.
pub fn specimen(config: &Config, wanted: &TestMessage, now: Timestamp) -> Result<Message, String> {
    let protocol = protocol_of(config, &wanted.door)?;
    let recipients: Result<Vec<Recipient>, String> =
        wanted.to.iter().map(|to| recipient(config, to, protocol)).collect();
    let origin = Origin {
        door: Arc::clone(&wanted.door),
        protocol,
        peer: "127.0.0.1:0".into(),
        account: wanted.account.clone().unwrap_or_else(|| "".into()),
        session: 0,
        helo: "specimen".into(),
        tls: false,
    };
    Ok(Message {
        id: MessageId::from_u64(1),
        parent: None,
        origin: Arc::new(origin),
        sender: sender(&wanted.from, protocol),
        recipients: recipients?,
        content: content(wanted, protocol, now),
        envid: None,
        ret: None,
        smtputf8: false,
        eight_bit: false,
        meta: BTreeMap::new(),
        received: now,
        not_before: None,
        expires: Timestamp::NEVER,
        priority: 0,
        hops: 0,
    })
}

/// What is spoken at a door.
fn protocol_of(config: &Config, door: &str) -> Result<Protocol, String> {
    let listener = config.listeners.get(door).map(|listener| match listener.kind {
        ListenerKind::Smtp(_) => Protocol::Smtp,
        ListenerKind::Smpp(_) => Protocol::Smpp,
    });
    let connector = config.connectors.get(door).map(|connector| match connector.kind {
        ConnectorKind::Smtp(_) => Protocol::Smtp,
        ConnectorKind::Smpp(_) => Protocol::Smpp,
    });
    listener.or(connector).ok_or_else(|| format!("there is no listener or connector \"{door}\""))
}

/// A mailbox stays one even without a domain when it comes in by mail.
fn sender(text: &str, protocol: Protocol) -> Address {
    if protocol == Protocol::Smtp { Address::mailbox(text) } else { Address::guess(text) }
}

fn recipient(config: &Config, text: &str, protocol: Protocol) -> Result<Recipient, String> {
    if protocol != Protocol::Smtp {
        return Ok(Recipient::new(Address::guess(text), Wish::FINAL));
    }
    let digits = text.strip_prefix('+').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit()) {
        // A number without a domain is a number.
        return Ok(Recipient::new(Address::guess(text), Wish::FAILURE));
    }
    match config.domains.resolve(text) {
        Resolved::Mailbox => Ok(Recipient::new(Address::mailbox(text), Wish::FAILURE)),
        Resolved::Number(number) => {
            let recipient = Recipient::new(number, Wish::FAILURE);
            Ok(Recipient { original: Some(text.into()), ..recipient })
        }
        Resolved::NotANumber(problem) => {
            Err(format!("{text} is refused when it is named: {problem}"))
        }
    }
}

fn content(wanted: &TestMessage, protocol: Protocol, now: Timestamp) -> Content {
    if protocol != Protocol::Smtp {
        return Content::Short(Short::from_text(Arc::clone(&wanted.text)));
    }
    let headers: Vec<(&str, &str)> =
        wanted.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    let mail = compose(&Compose {
        from: &wanted.from,
        from_name: "",
        to: wanted.to.first().map_or("", |to| to),
        subject: wanted.subject.as_deref().unwrap_or_default(),
        text: &wanted.text,
        date: &now.rfc5322(),
        message_id: "specimen@localhost",
        headers: &headers,
    });
    Content::Mail(Bytes::from(mail))
}
