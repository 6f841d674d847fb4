//! Delivery status notifications (RFC 3461, RFC 3462, RFC 3464): written, and read again when a
//! relay sends one to us.

use super::compose::{Compose, write_envelope_fields};
use super::edit::unused_boundary;
use super::header::{self, HeaderBlock};
use super::view::MailView;

/// Longest value of a field of a status; the rest is cut off.
const FIELD_OCTETS_MAX: usize = 700;
/// Recipients that are read out of one notification.
pub const STATUS_RECIPIENTS_MAX: usize = 1_000;

/// What became of a recipient (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It will not be delivered.
    Failed,
    /// Not yet; more attempts follow.
    Delayed,
    /// It arrived.
    Delivered,
    /// It went to a system that does not report.
    Relayed,
    /// It went to several others.
    Expanded,
}

/// One recipient in a notification. Empty strings are left out.
#[derive(Clone, Copy, Debug)]
pub struct BouncedRecipient<'a> {
    /// Where it went: a mailbox, or a number, which is then written as `X-SMS; +336…`.
    pub final_recipient: &'a str,
    /// ORCPT as the sender gave it, such as `rfc822;alice@example.org`.
    pub original_recipient: &'a str,
    /// What became of it.
    pub action: Action,
    /// Enhanced status code, such as `5.1.1`.
    pub status: &'a str,
    /// Host that answered.
    pub remote_mta: &'a str,
    /// Its answer with type, such as `smtp; 550 no such user`.
    pub diagnostic: &'a str,
    /// RFC 5322 date until which attempts go on.
    pub will_retry_until: &'a str,
}

/// How much of the original comes back (RFC 3461 §4.3, RET).
#[derive(Clone, Copy, Debug)]
pub enum Returned<'a> {
    /// Its header only: `RET=HDRS`, and whenever nothing failed.
    Headers(&'a [u8]),
    /// All of it.
    Full(&'a [u8]),
    /// Nothing: the original was no mail.
    Nothing,
}

/// A notification to be written. It goes out with the null sender.
#[derive(Clone, Copy, Debug)]
pub struct Bounce<'a> {
    /// Mailbox that answers are for, such as `postmaster@gw.example.net`.
    pub from: &'a str,
    /// Sender of the original.
    pub to: &'a str,
    /// Our name.
    pub reporting_mta: &'a str,
    /// ENVID of the original; empty for none.
    pub envelope_id: &'a str,
    /// RFC 5322 date of the original's arrival; empty if unknown.
    pub arrival_date: &'a str,
    /// RFC 5322 date of the notification.
    pub date: &'a str,
    /// Message-ID of the notification.
    pub message_id: &'a str,
    /// What became of whom; at least one.
    pub recipients: &'a [BouncedRecipient<'a>],
    /// What comes back.
    pub returned: Returned<'a>,
}

/// One recipient of a notification that was sent to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientStatus {
    /// Address without type; empty if the notification has none.
    pub final_recipient: String,
    /// Address without type; empty if there is none.
    pub original_recipient: String,
    /// What became of it.
    pub action: Action,
    /// Enhanced status code.
    pub status: String,
    /// Answer of the remote host, its type included.
    pub diagnostic: String,
}

/// What a notification that was sent to us says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryStatus {
    /// ENVID that we had given.
    pub envelope_id: String,
    /// Host that reports.
    pub reporting_mta: String,
    /// Its recipients, at most [`STATUS_RECIPIENTS_MAX`].
    pub recipients: Vec<RecipientStatus>,
}

impl Action {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Failed, Self::Delayed, Self::Delivered, Self::Relayed, Self::Expanded]
            .into_iter()
            .find(|action| name.trim().eq_ignore_ascii_case(action.as_str()))
    }
}

/// Writes a notification: a text for people, the status for programs, and what comes back of the
/// original.
#[must_use]
pub fn bounce(bounce: &Bounce<'_>) -> Vec<u8> {
    let text = explanation(bounce);
    let status = status(bounce);
    let original = returned(bounce);
    let global = !status.is_ascii();
    let boundary = unused_boundary(&[&text, &status, original.octets]);
    let eight_bit = !(text.is_ascii() && status.is_ascii() && original.octets.is_ascii());
    let transfer = if eight_bit { "8bit" } else { "7bit" };

    let mut out = Vec::with_capacity(original.octets.len() + text.len() + status.len() + 1024);
    let envelope = Compose {
        from: bounce.from,
        from_name: "Mail Delivery System",
        to: bounce.to,
        subject: subject(bounce),
        date: bounce.date,
        message_id: bounce.message_id,
        headers: &[("Auto-Submitted", "auto-replied")],
        ..Compose::default()
    };
    write_envelope_fields(&mut out, &envelope);
    let kind = format!("multipart/report; report-type=delivery-status; boundary=\"{boundary}\"");
    header::write(&mut out, "Content-Type", &kind);
    header::write(&mut out, "Content-Transfer-Encoding", transfer);
    out.extend_from_slice(b"\r\n");

    let status_type =
        if global { "message/global-delivery-status" } else { "message/delivery-status" };
    let parts: [(&str, &str, &[u8]); 3] = [
        ("Notification", "text/plain; charset=utf-8", &text),
        ("Delivery report", status_type, &status),
        ("Undelivered message", original.content_type, original.octets),
    ];
    for (description, content_type, body) in parts {
        if content_type.is_empty() {
            continue;
        }
        out.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        header::write(&mut out, "Content-Description", description);
        header::write(&mut out, "Content-Type", content_type);
        let transfer = if body.is_ascii() { "7bit" } else { "8bit" };
        header::write(&mut out, "Content-Transfer-Encoding", transfer);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body);
        if !body.ends_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    out
}

/// What a mail says about deliveries, if it is a notification (RFC 3464).
#[must_use]
pub fn delivery_status(view: &MailView) -> Option<DeliveryStatus> {
    let part = view.parts().into_iter().find(|part| {
        matches!(&*part.content_type, "message/delivery-status" | "message/global-delivery-status")
    })?;
    let octets = view.part(part.index)?;
    let message = HeaderBlock::scan(&octets, 0);
    let value = |block: &HeaderBlock, name: &str| block.value(&octets, name).unwrap_or_default();
    let mut found = DeliveryStatus {
        envelope_id: value(&message, "Original-Envelope-Id"),
        reporting_mta: without_type(&value(&message, "Reporting-MTA")),
        recipients: Vec::new(),
    };
    let mut at = message.body;
    while at < octets.len() && found.recipients.len() < STATUS_RECIPIENTS_MAX {
        let block = HeaderBlock::scan(&octets, at);
        // A line that is neither field nor empty would be read for ever.
        if block.body <= at {
            break;
        }
        at = block.body;
        let Some(action) = Action::named(&value(&block, "Action")) else { continue };
        found.recipients.push(RecipientStatus {
            final_recipient: without_type(&value(&block, "Final-Recipient")),
            original_recipient: without_type(&value(&block, "Original-Recipient")),
            action,
            status: value(&block, "Status").split([' ', '(']).next().unwrap_or_default().to_owned(),
            diagnostic: value(&block, "Diagnostic-Code"),
        });
    }
    (!found.recipients.is_empty()).then_some(found)
}

struct Original<'a> {
    content_type: &'static str,
    octets: &'a [u8],
}

fn returned<'a>(bounce: &Bounce<'a>) -> Original<'a> {
    match bounce.returned {
        Returned::Full(raw) => {
            let header = HeaderBlock::scan(raw, 0).end;
            let global = raw.get(..header).is_some_and(|header| !header.is_ascii());
            let content_type = if global { "message/global" } else { "message/rfc822" };
            Original { content_type, octets: raw }
        }
        Returned::Headers(raw) => {
            let octets = raw.get(..HeaderBlock::scan(raw, 0).end).unwrap_or_default();
            let global = !octets.is_ascii();
            let content_type =
                if global { "message/global-headers" } else { "text/rfc822-headers" };
            Original { content_type, octets }
        }
        Returned::Nothing => Original { content_type: "", octets: &[] },
    }
}

fn subject(bounce: &Bounce<'_>) -> &'static str {
    let any = |action| bounce.recipients.iter().any(|recipient| recipient.action == action);
    if any(Action::Failed) {
        "Undelivered Mail Returned to Sender"
    } else if any(Action::Delayed) {
        "Delayed Mail (still being retried)"
    } else {
        "Successful Mail Delivery Report"
    }
}

fn explanation(bounce: &Bounce<'_>) -> Vec<u8> {
    let mut text = format!("This is the mail system at {}.\r\n", clean(bounce.reporting_mta));
    let groups: [(&[Action], &str); 3] = [
        (
            &[Action::Failed],
            "Your message could not be delivered to the recipients below.\r\n\
             No further attempts are made.",
        ),
        (
            &[Action::Delayed],
            "Your message has not reached the recipients below yet.\r\n\
             It need not be sent again: attempts go on.",
        ),
        (
            &[Action::Delivered, Action::Relayed, Action::Expanded],
            "Your message was handed over for the recipients below.",
        ),
    ];
    for (actions, introduction) in groups {
        let mut recipients = bounce
            .recipients
            .iter()
            .filter(|recipient| actions.contains(&recipient.action))
            .peekable();
        if recipients.peek().is_none() {
            continue;
        }
        text.push_str("\r\n");
        text.push_str(introduction);
        text.push_str("\r\n\r\n");
        for recipient in recipients {
            text.push_str(&format!("{}: {}", named(recipient), recipient.status));
            if !recipient.diagnostic.is_empty() {
                text.push_str(&format!("\r\n    {}", clean(recipient.diagnostic)));
            }
            text.push_str("\r\n");
        }
    }
    text.into_bytes()
}

/// A recipient as the sender wrote it, and as what it was tried, where that is another one.
fn named(recipient: &BouncedRecipient<'_>) -> String {
    let tried = clean(recipient.final_recipient);
    match without_type(recipient.original_recipient) {
        written if written.is_empty() || written == tried => format!("<{tried}>"),
        written => format!("<{}> ({tried})", clean(&written)),
    }
}

fn status(bounce: &Bounce<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    field(&mut out, "Original-Envelope-Id", "", bounce.envelope_id);
    field(&mut out, "Reporting-MTA", "dns; ", bounce.reporting_mta);
    field(&mut out, "Arrival-Date", "", bounce.arrival_date);
    for recipient in bounce.recipients {
        out.extend_from_slice(b"\r\n");
        let kind = match recipient.final_recipient {
            number if !number.contains('@') => "X-SMS; ",
            mailbox if mailbox.is_ascii() => "rfc822; ",
            _ => "utf-8; ",
        };
        field(&mut out, "Original-Recipient", "", recipient.original_recipient);
        field(&mut out, "Final-Recipient", kind, recipient.final_recipient);
        field(&mut out, "Action", "", recipient.action.as_str());
        field(&mut out, "Status", "", recipient.status);
        field(&mut out, "Remote-MTA", "dns; ", recipient.remote_mta);
        field(&mut out, "Diagnostic-Code", "", recipient.diagnostic);
        field(&mut out, "Will-Retry-Until", "", recipient.will_retry_until);
    }
    out
}

/// A field of a status: on one line, without encoded words, which RFC 3464 §2.1.2 does not have.
fn field(out: &mut Vec<u8>, name: &str, kind: &str, value: &str) {
    if !value.is_empty() {
        out.extend_from_slice(format!("{name}: {kind}{}\r\n", clean(value)).as_bytes());
    }
}

/// A value on one line of bounded length.
fn clean(value: &str) -> String {
    let value = header::sanitize(value);
    value
        .get(..super::html::floor_boundary(&value, FIELD_OCTETS_MAX))
        .unwrap_or_default()
        .to_owned()
}

/// `rfc822;alice@example.org` without its type.
fn without_type(value: &str) -> String {
    value.split_once(';').map_or(value, |(_, address)| address).trim().to_owned()
}
