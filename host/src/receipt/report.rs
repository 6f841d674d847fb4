//! Delivery reports of mail systems (RFC 3464) as receipts, and outcomes of mail as states of SMPP.

use std::sync::Arc;

use bytes::Bytes;
use message::MessageId;
use message::mail::{Action, DeliveryStatus, MailView, RecipientStatus, delivery_status};

use super::{ACCEPTED, DELIVERED, ENROUTE, EXPIRED, REJECTED, Receipt, UNDELIVERABLE};

/// Octets of a diagnostic that are kept.
const TEXT_OCTETS_MAX: usize = 300;

/// What a report says about the mail that was sent from a return address, which has one recipient;
/// none if the mail is no report.
#[must_use]
pub fn read(raw: &Bytes, of: MessageId) -> Option<Receipt> {
    let status = delivery_status(&MailView::new(raw.clone()))?;
    let recipient = weightiest(&status)?;
    let state = match recipient.action {
        Action::Delivered => DELIVERED,
        Action::Relayed | Action::Expanded => ACCEPTED,
        Action::Delayed => ENROUTE,
        Action::Failed => failed(&recipient.status),
    };
    Some(Receipt {
        remote: of.to_string().into(),
        state,
        error: clean(&recipient.status),
        text: clean(&recipient.diagnostic),
        done: None,
    })
}

/// An address that a list expanded has several: what failed weighs most, what only waits least.
fn weightiest(status: &DeliveryStatus) -> Option<&RecipientStatus> {
    let weight = |recipient: &&RecipientStatus| match recipient.action {
        Action::Failed => 4,
        Action::Delivered => 3,
        Action::Expanded => 2,
        Action::Relayed => 1,
        Action::Delayed => 0,
    };
    status.recipients.iter().max_by_key(weight)
}

/// message_state of a mail that was given up with this enhanced status code (RFC 3463): a matter of
/// policy is a rejection, of time an expiry.
#[must_use]
pub fn failed(enhanced: &str) -> u8 {
    let mut numbers = enhanced.trim().split('.').skip(1);
    match (numbers.next(), numbers.next()) {
        (Some("7"), _) => REJECTED,
        (Some("4"), Some("7")) => EXPIRED,
        _ => UNDELIVERABLE,
    }
}

/// The error in a receipt for a mail that failed so: 001, unknown subscriber, where there is no such
/// mailbox, else `other`.
#[must_use]
pub fn error(enhanced: &str, other: u16) -> u16 {
    let mut numbers = enhanced.trim().split('.').skip(1);
    match (numbers.next(), numbers.next()) {
        (Some("1"), Some("1" | "2" | "3" | "6" | "10")) => 1,
        _ => other,
    }
}

/// One line, of a length that a journal can keep.
fn clean(text: &str) -> Arc<str> {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let end = (0..=TEXT_OCTETS_MAX.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    text.get(..end.unwrap_or(0)).unwrap_or_default().trim().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    /// A report whose groups of fields about recipients are these.
    fn report(groups: &str) -> Bytes {
        let raw = format!(
            "From: MAILER-DAEMON@example.org\nContent-Type: multipart/report; \
             report-type=delivery-status; boundary=b\n\n--b\n\nIt did not work.\n\n--b\n\
             Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.org\n\
             {groups}\n--b--\n"
        );
        Bytes::from(raw.replace('\n', "\r\n"))
    }

    #[track_caller]
    fn check(groups: &str, expect: Option<(u8, &str, &str)>) {
        let got = read(&report(groups), MessageId::from_u64(7));
        let got = got.as_ref().map(|it| (it.state, &*it.error, &*it.text));
        assert_eq!(got, expect, "{groups}");
    }

    fn group(action: &str, status: &str) -> String {
        format!(
            "\nFinal-Recipient: rfc822; desk@example.org\nAction: {action}\nStatus: {status}\n\
             Diagnostic-Code: smtp; 550 no\n"
        )
    }

    #[test]
    fn actions_become_states() {
        let text = "smtp; 550 no";
        check(&group("delivered", "2.1.5"), Some((DELIVERED, "2.1.5", text)));
        check(&group("relayed", "2.0.0"), Some((ACCEPTED, "2.0.0", text)));
        check(&group("expanded", "2.0.0"), Some((ACCEPTED, "2.0.0", text)));
        check(&group("delayed", "4.4.1"), Some((ENROUTE, "4.4.1", text)));
        check(&group("failed", "5.1.1"), Some((UNDELIVERABLE, "5.1.1", text)));
        check(&group("Failed", "5.7.1 (policy)"), Some((REJECTED, "5.7.1", text)));
        check(&group("failed", "4.4.7"), Some((EXPIRED, "4.4.7", text)));
        check(&group("failed", "rubbish"), Some((UNDELIVERABLE, "rubbish", text)));
    }

    #[test]
    fn of_several_recipients_the_one_that_failed_counts() {
        let both =
            group("delivered", "2.0.0") + &group("failed", "5.2.2") + &group("delayed", "4.0.0");
        check(&both, Some((UNDELIVERABLE, "5.2.2", "smtp; 550 no")));
    }

    #[test]
    fn what_is_no_report_says_nothing() {
        check("", None);
        check(&group("exploded", "5.0.0"), None);
        let plain = Bytes::from_static(b"Subject: I am on holiday\r\n\r\nAction: failed\r\n");
        assert_eq!(read(&plain, MessageId::from_u64(7)), None);
    }

    #[test]
    fn an_unknown_mailbox_is_an_unknown_subscriber() {
        for (enhanced, expect) in [("5.1.1", 1), ("5.1.10", 1), ("5.2.2", 552), ("", 552)] {
            assert_eq!(error(enhanced, 552), expect, "{enhanced}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_comes_stops_us(raw in any::<Vec<u8>>(), groups in "[ -~\n]{0,300}") {
            let _any = read(&Bytes::from(raw), MessageId::from_u64(7));
            if let Some(receipt) = read(&report(&groups), MessageId::from_u64(7)) {
                assert!(receipt.text.len() <= TEXT_OCTETS_MAX && receipt.error.len() <= TEXT_OCTETS_MAX);
            }
        }
    }
}
