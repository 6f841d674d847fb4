//! Conversations: an SMS that answers the SMS that a mail became goes back to the mail's sender. Pure.

use std::sync::Arc;

use bytes::Bytes;
use message::mail::MailView;
use message::{Address, Content, Message, Recipient, Timestamp};
use serde::{Deserialize, Serialize};

/// Octets of a subject or a Message-ID that are remembered.
const FIELD_OCTETS_MAX: usize = 500;
/// The note that carries the subject of the mail that a message answers.
const SUBJECT: &str = "conversation.subject";
/// The note that carries its Message-ID.
const MESSAGE_ID: &str = "conversation.message-id";

/// Who spoke last to a number from one of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// The sender of the mail.
    pub mailbox: Address,
    /// Its subject.
    pub subject: Arc<str>,
    /// Its Message-ID.
    pub message_id: Arc<str>,
}

/// A conversation that begins, or goes on, with a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// Where the spool keeps it.
    pub key: Bytes,
    /// What it keeps.
    pub conversation: Conversation,
    /// How long.
    pub until: Timestamp,
}

/// The key of what was said from `ours` to `theirs`. SMSCs write numbers with and without `+`.
#[must_use]
pub fn key(ours: &Address, theirs: &Address) -> Bytes {
    let plain = |address: &Address| {
        let value = address.value.strip_prefix('+').unwrap_or(&address.value);
        value.to_ascii_lowercase()
    };
    Bytes::from(format!("v/{}/{}", plain(ours), plain(theirs)))
}

/// What is remembered of a mail that leaves as an SMS from `ours`; nothing where nobody could answer.
#[must_use]
pub fn spoken(
    message: &Message,
    ours: &Address,
    theirs: &Address,
    until: Timestamp,
) -> Option<Spoken> {
    let Content::Mail(raw) = &message.content else { return None };
    if message.sender.is_null() || ours.value.is_empty() {
        return None;
    }
    let view = MailView::new(raw.clone());
    let conversation = Conversation {
        mailbox: message.sender.clone(),
        subject: short(view.subject()),
        message_id: short(view.header("Message-ID")),
    };
    Some(Spoken { key: key(ours, theirs), conversation, until })
}

/// Makes the sender of the mail the recipient of what answers it. Keeps the notes that make a reply.
#[must_use]
pub fn answer(message: &mut Message, to: &Recipient, conversation: &Conversation) -> Recipient {
    let mut note = |key: &str, value: &Arc<str>| {
        if !value.is_empty() {
            message.meta.insert(key.into(), Arc::clone(value));
        }
    };
    note(SUBJECT, &conversation.subject);
    note(MESSAGE_ID, &conversation.message_id);
    Recipient {
        address: conversation.mailbox.clone(),
        original: Some(Arc::clone(&to.address.value)),
        wish: to.wish,
    }
}

/// Takes the notes away again.
pub fn forget(message: &mut Message) {
    message.meta.remove(SUBJECT);
    message.meta.remove(MESSAGE_ID);
}

/// Subject and Message-ID for a mail that answers another one, as far as it does.
#[must_use]
pub fn reply_fields(message: &Message) -> (Option<String>, Option<Arc<str>>) {
    let subject = message.meta.get(SUBJECT).map(|subject| {
        let is_reply = subject.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("re:"));
        if is_reply { subject.to_string() } else { format!("Re: {subject}") }
    });
    (subject, message.meta.get(MESSAGE_ID).cloned())
}

fn short(text: Option<String>) -> Arc<str> {
    let mut text = text.unwrap_or_default();
    let end = (0..=FIELD_OCTETS_MAX.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    text.truncate(end.unwrap_or(0));
    text.into()
}
