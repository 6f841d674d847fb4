//! Notifications for senders of mail (RFC 3464).

use bytes::Bytes;
use message::mail::{Action, Bounce, BouncedRecipient, Returned, bounce};
use message::{Address, MessageId, Ret, Timestamp};

use super::answer::{About, Outcome};
use super::{ACCEPTED, DELIVERED, ENROUTE, EXPIRED, REJECTED, SCHEDULED};
use crate::config::Bounces;
use crate::delivery::Cause;

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
    let action = action(outcome)?;
    let cause = &outcome.cause;
    let status = status(outcome, action);
    let diagnostic = diagnostic(cause, about.recipient.address.is_mailbox());
    let original = about.recipient.original.as_deref().map_or_else(String::new, |given| {
        if given.contains(';') { given.to_owned() } else { format!("rfc822;{given}") }
    });
    let until = about.retry_until.map_or_else(String::new, Timestamp::rfc5322);
    let recipient = BouncedRecipient {
        final_recipient: &about.recipient.address.value,
        original_recipient: &original,
        action,
        status: &status,
        remote_mta: &cause.peer,
        diagnostic: &diagnostic,
        will_retry_until: &until,
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

/// What the peer said, as it said it (RFC 3464 §2.3.6), or what happened.
fn diagnostic(cause: &Cause, is_mail: bool) -> String {
    let Cause { code, enhanced, text, .. } = cause;
    if text.is_empty() {
        return String::new();
    }
    match (is_mail, code) {
        // The general code stands for one that the relay did not give.
        (true, 200..600) if enhanced.ends_with(".0.0") => format!("smtp; {code} {text}"),
        (true, 200..600) => format!("smtp; {code} {enhanced} {text}"),
        (true, _) => format!("X-Wirepost; {text}"),
        (false, _) => format!("X-SMS; {text}"),
    }
}

/// What a sender of mail is told; nothing of what is neither an end nor a delay.
const fn action(outcome: &Outcome) -> Option<Action> {
    match (outcome.state, outcome.last) {
        (DELIVERED, _) => Some(Action::Delivered),
        (ACCEPTED, true) => Some(Action::Relayed),
        (_, true) => Some(Action::Failed),
        (SCHEDULED | ENROUTE, false) => Some(Action::Delayed),
        (_, false) => None,
    }
}

/// The enhanced status code of an outcome (RFC 3463): the class follows the outcome, and a delivery
/// that ran out of time may succeed if it is tried anew.
fn status(outcome: &Outcome, action: Action) -> String {
    let class = match (action, outcome.state) {
        (Action::Delivered | Action::Relayed | Action::Expanded, _) => '2',
        (Action::Delayed, _) | (Action::Failed, EXPIRED) => '4',
        (Action::Failed, _) => '5',
    };
    let detail = match outcome.cause.enhanced.split_once('.') {
        Some((_, detail)) if !detail.is_empty() => detail,
        _ => match outcome.state {
            DELIVERED => "1.5",
            EXPIRED | ENROUTE => "4.7",
            REJECTED => "7.1",
            _ => "0.0",
        },
    };
    format!("{class}.{detail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_is_what_the_peer_said() {
        #[track_caller]
        fn check(code: u32, enhanced: &str, text: &str, is_mail: bool, expect: &str) {
            let cause = Cause { code, ..Cause::ours(enhanced, text) };
            assert_eq!(diagnostic(&cause, is_mail), expect);
        }
        check(550, "5.1.1", "no such user", true, "smtp; 550 5.1.1 no such user");
        check(554, "5.0.0", "no", true, "smtp; 554 no");
        check(0, "4.4.1", "connection refused", true, "X-Wirepost; connection refused");
        check(11, "5.1.1", "ESME_RINVDSTADR", false, "X-SMS; ESME_RINVDSTADR");
        check(254, "4.0.0", "ESME_RX_T_APPN", false, "X-SMS; ESME_RX_T_APPN");
        check(0, "5.0.0", "", false, "");
    }
}
