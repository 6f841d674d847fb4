//! Notifications for senders of mail (RFC 3464).

use bytes::Bytes;
use message::mail::{Action, Bounce, BouncedRecipient, Returned, bounce};
use message::{Address, MessageId, Ret, Timestamp};

use super::answer::{About, Outcome};
use super::{DELIVERED, EXPIRED, REJECTED};
use crate::config::Bounces;

/// The notification about one recipient and the mailbox that gets it; none for the null sender: a
/// bounce of a bounce is never made.
#[must_use]
pub fn notification(
    about: &About,
    outcome: &Outcome,
    (bounces, hostname): (&Bounces, &str),
    id: MessageId,
    now: Timestamp,
) -> Option<(Bytes, Address)> {
    if about.sender.is_null() || !about.sender.is_mailbox() {
        return None;
    }
    let action = match (outcome.state, outcome.is_final()) {
        (DELIVERED, _) => Action::Delivered,
        (_, true) => Action::Failed,
        (_, false) => Action::Delayed,
    };
    let cause = &outcome.cause;
    let status = status(outcome);
    let diagnostic = if cause.code >= 200 && cause.code < 600 {
        format!("smtp; {} {}", cause.code, cause.text)
    } else if cause.text.is_empty() {
        String::new()
    } else {
        format!("X-SMS; {}", cause.text)
    };
    let original = about.recipient.original.as_deref().map_or_else(String::new, |given| {
        if given.contains(';') { given.to_owned() } else { format!("rfc822;{given}") }
    });
    let recipient = BouncedRecipient {
        final_recipient: &about.recipient.address.value,
        original_recipient: &original,
        action,
        status: &status,
        remote_mta: &cause.peer,
        diagnostic: &diagnostic,
        will_retry_until: "",
    };
    let returned = match (&about.mail, about.ret, action) {
        (None, ..) => Returned::Nothing,
        (Some(raw), Some(Ret::Full), Action::Failed) => Returned::Full(raw),
        (Some(raw), ..) => Returned::Headers(raw),
    };
    let raw = bounce(&Bounce {
        from: &bounces.from.value,
        to: &about.sender.value,
        reporting_mta: hostname,
        envelope_id: about.envid.as_deref().unwrap_or_default(),
        arrival_date: &about.received.rfc5322(),
        date: &now.rfc5322(),
        message_id: &format!("<{id}@{hostname}>"),
        recipients: &[recipient],
        returned,
    });
    Some((Bytes::from(raw), about.sender.clone()))
}

/// The enhanced status code of an outcome (RFC 3463; the class follows the outcome).
fn status(outcome: &Outcome) -> String {
    let class = match (outcome.state, outcome.is_final()) {
        (DELIVERED, _) => '2',
        (_, true) => '5',
        (_, false) => '4',
    };
    let detail = match outcome.cause.enhanced.split_once('.') {
        Some((_, detail)) if !detail.is_empty() => detail,
        _ => match outcome.state {
            DELIVERED => "1.5",
            EXPIRED => "4.7",
            REJECTED => "7.1",
            _ => "0.0",
        },
    };
    format!("{class}.{detail}")
}
