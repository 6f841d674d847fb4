//! Across the border: what a mail says as an SMS, and what an SMS looks like as a mail. Pure.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use message::mail::{Compose, Fields, MailView, SmsFields, compose};
use message::text::{
    Alphabet, Coding, SegmentOptions, Shift, choose, count_parts, fit, meaning, transliterate,
};
use message::{Address, Message, MessageId, Short, ShortBody, Timestamp};

use crate::config::{Convert, OnExcess, Reply};
use crate::delivery::SmsOut;
use crate::pipeline::reply;

/// What a mail says as an SMS.
///
/// # Errors
/// The refusal: it may not become one, or it takes too many parts.
pub fn to_sms(message: &Message, raw: &Bytes, options: &Convert) -> Result<SmsOut, Reply> {
    let view = MailView::new(raw.clone());
    if !options.auto_submitted && (message.sender.is_null() || view.is_automatic()) {
        return Err(reply(554, "5.7.1", 0x45, "Automatic mail is not turned into SMS"));
    }
    let fields = SmsFields::of(&view, &options.strip);
    let text = options.text.render(&fields.as_fields());
    let text = if options.transliterate { transliterate(&text) } else { Cow::Borrowed(&*text) };
    let parts = count_parts(&text);
    let text = if parts <= usize::from(options.parts_max) {
        text
    } else if options.on_excess == OnExcess::Reject {
        let max = options.parts_max;
        let words = format!("Message takes {parts} SMS parts, {max} are allowed");
        return Err(reply(552, "5.3.4", 0x01, &words));
    } else {
        truncate(&text, options.parts_max)
    };
    let sender = options.sender.as_deref().map_or_else(|| Address::phone(""), Address::guess);
    Ok(SmsOut { text: Arc::from(&*text), sender })
}

/// The longest beginning that fits, as it is: its own alphabet may be cheaper than the whole text's.
fn truncate(text: &str, parts_max: u8) -> Cow<'_, str> {
    let options = SegmentOptions { parts_max, ..SegmentOptions::default() };
    Cow::Owned(fit(text, choose(text), &options).unwrap_or_default().to_owned())
}

/// How an SMS becomes a mail.
#[derive(Clone, Copy, Debug)]
pub struct MailHow<'a> {
    /// The route's options.
    pub options: &'a Convert,
    /// The author if the route names none.
    pub fallback_from: &'a str,
    /// Our name, for the Message-ID.
    pub hostname: &'a str,
    /// The time, for the date.
    pub now: Timestamp,
}

/// The mail that an SMS becomes, and its envelope sender.
///
/// # Errors
/// The refusal: the route names no mailbox to send from, or the content is no text.
pub fn to_mail(
    message: &Message,
    short: &Short,
    to: &Address,
    zero: Alphabet,
    how: &MailHow<'_>,
) -> Result<(Bytes, Address), Reply> {
    let Some(text) = short_text(short, zero) else {
        return Err(reply(554, "5.6.1", 0x45, "Binary SMS cannot become mail"));
    };
    if !to.is_mailbox() {
        return Err(reply(
            550,
            "5.1.3",
            0x0B,
            "The recipient is no mailbox; use the route's rewrite_to",
        ));
    }
    let from = match &how.options.mail_from {
        Some(template) => {
            template.render(|place| address_place(place, (&message.sender, to), &message.sender))
        }
        None => how.fallback_from.to_owned(),
    };
    let fields = Fields { subject: "", text: &text, from: &message.sender.value, to: &to.value };
    let subject = how.options.subject.render(&fields);
    let raw = compose(&Compose {
        from: &from,
        from_name: &message.sender.value,
        to: &to.value,
        subject: &subject,
        text: &text,
        date: &how.now.rfc5322(),
        message_id: &message_id(message.id, how.hostname),
        headers: &[("Auto-Submitted", "auto-generated")],
    });
    Ok((Bytes::from(raw), Address::mailbox(from)))
}

/// What stands for a place in an address template of a route; `digits`, `local` and `domain` are
/// those of `own`, the address that is being replaced.
#[must_use]
pub fn address_place<'a>(
    place: &str,
    (from, to): (&'a Address, &'a Address),
    own: &'a Address,
) -> Cow<'a, str> {
    Cow::Borrowed(match place {
        "from" => &from.value,
        "to" => &to.value,
        "digits" => own.value.strip_prefix('+').unwrap_or(&own.value),
        "local" => own.value.rsplit_once('@').map_or(&*own.value, |(local, _)| local),
        "domain" => own.domain().unwrap_or_default(),
        _ => "",
    })
}

/// The text of a short message; none of a binary one.
#[must_use]
pub fn short_text(short: &Short, zero: Alphabet) -> Option<String> {
    match &short.body {
        ShortBody::Text(text) => Some(text.to_string()),
        ShortBody::Coded(_) => {
            let Coding::Text(alphabet) = meaning(short.data_coding, zero).coding else {
                return None;
            };
            let (_, octets) = short.split_udh();
            Some(alphabet.decode(&octets, Shift::default()))
        }
    }
}

/// What data_coding 0 means at the door of a message.
#[must_use]
pub fn zero_at(config: &crate::config::Config, message: &Message) -> Alphabet {
    let origin = &message.origin;
    if let Some(account) = config.accounts.get(&origin.account) {
        return account.data_coding_0;
    }
    match config.connectors.get(&origin.door).map(|connector| &connector.kind) {
        Some(crate::config::ConnectorKind::Smpp(smpp)) => smpp.data_coding_0_in,
        _ => Alphabet::Gsm,
    }
}

fn message_id(id: MessageId, hostname: &str) -> String {
    format!("<{id}@{hostname}>")
}
