//! Across the border: what a mail says as an SMS, and what an SMS looks like as a mail. Pure.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use message::edit::CONVERT_TEXT;
use message::mail::{Compose, Fields, MailView, SmsFields, compose};
use message::text::{Alphabet, SegmentOptions, choose, count_parts, fit, transliterate};
use message::{Address, Message, MessageId, Short, Timestamp};
use smtp::Mailbox;

use crate::config::{AddressTemplate, Convert, OnExcess, Reply};
use crate::conversation;
use crate::delivery::SmsOut;
use crate::pipeline::reply;

/// What a mail says as an SMS: what a plugin wrote for it, else what the route makes of it.
///
/// # Errors
/// The refusal: it may not become one, or it takes too many parts.
pub fn to_sms(message: &Message, raw: &Bytes, options: &Convert) -> Result<SmsOut, Reply> {
    let view = MailView::new(raw.clone());
    if !options.auto_submitted && (message.sender.is_null() || view.is_automatic()) {
        return Err(reply(554, "5.7.1", 0x45, "Automatic mail is not turned into SMS"));
    }
    let text = match message.meta.get(CONVERT_TEXT) {
        Some(written) => written.to_string(),
        None => options.text.render(&SmsFields::of(&view, &options.strip).as_fields()),
    };
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
    /// The author, if the route says who it is.
    pub from: Option<&'a AddressTemplate>,
    /// The author if the route names none, or what is no mailbox.
    pub fallback_from: &'a str,
    /// Our name, for the Message-ID.
    pub hostname: &'a str,
    /// The time, for the date.
    pub now: Timestamp,
}

/// The mail that an SMS becomes, and its author.
///
/// # Errors
/// The refusal: there is no mailbox to send to or from, or the content is no text.
pub fn to_mail(
    message: &Message,
    short: &Short,
    to: &Address,
    zero: Alphabet,
    how: &MailHow<'_>,
) -> Result<(Bytes, Address), Reply> {
    let Some(text) = short.text(zero) else {
        return Err(reply(554, "5.6.1", 0x45, "Binary SMS cannot become mail"));
    };
    if !is_full_mailbox(&to.value) {
        let words = "The recipient is no mailbox, see rewrite.to of the route";
        return Err(reply(550, "5.1.3", 0x0B, words));
    }
    let own = &message.sender;
    let by_route = how.from.map(|from| from.render(|place| address_place(place, (own, to), own)));
    let from = by_route
        .and_then(|from| tidy_mailbox(&from))
        .or_else(|| tidy_mailbox(how.fallback_from))
        .ok_or_else(|| {
            reply(
                550,
                "5.1.7",
                0x0A,
                "The sender is no mailbox, see convert.mail_from of the route",
            )
        })?;
    let fields = Fields { subject: "", text: &text, from: &message.sender.value, to: &to.value };
    let (reply_subject, answered) = conversation::reply_fields(message);
    let subject = reply_subject.unwrap_or_else(|| how.options.subject.render(&fields));
    let mut headers = vec![("Auto-Submitted", "auto-generated")];
    if let Some(answered) = &answered {
        headers.extend([("In-Reply-To", &**answered), ("References", answered)]);
    }
    let raw = compose(&Compose {
        from: &from,
        from_name: &message.sender.value,
        to: &to.value,
        subject: &subject,
        text: &text,
        date: &how.now.rfc5322(),
        message_id: &message_id(message.id, how.hostname),
        headers: &headers,
    });
    Ok((Bytes::from(raw), Address::mailbox(from)))
}

/// Whether a relay can be told this recipient.
fn is_full_mailbox(text: &str) -> bool {
    Mailbox::parse(text).is_ok_and(|mailbox| mailbox.domain().is_some())
}

/// The mailbox that a template made of a sender which may have any characters: those that would mean
/// something to a mail system become `_`. None if it is no mailbox even so.
fn tidy_mailbox(text: &str) -> Option<String> {
    let (local, domain) = text.rsplit_once('@')?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "+-_=.".contains(c);
    let local: String = local.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let labels: Vec<&str> = local.split('.').filter(|label| !label.is_empty()).collect();
    let tidy = format!("{}@{domain}", labels.join("."));
    is_full_mailbox(&tidy).then_some(tidy)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CheckOptions, load_text};
    use crate::delivery::Answers;
    use crate::plan::tests::leg;

    const MAIL: &[u8] = b"From: a@example.org\r\nSubject: Disk\r\n\r\nIt is full\r\n";

    /// The text of the SMS that [`MAIL`] becomes, by these options of a route, if a plugin wrote this.
    #[track_caller]
    fn check_sms(written: Option<&str>, convert: &str, expect: Result<&str, u16>) {
        let config = format!(
            "connectors: {{ smsc: {{ smpp: {{ host: 127.0.0.1, system_id: w, password: {{ env: W }} }} }} }}\n\
             routes: [{{ name: all, to: smsc, convert: {{ {convert} }} }}]"
        );
        let options = CheckOptions { environment: false };
        let config = load_text("w.yaml".as_ref(), &config, options).config.unwrap();
        let leg = leg(&["+33612345678"], Answers::Origin);
        let mut message = Arc::unwrap_or_clone(leg.message);
        message.meta.extend(written.map(|text| (CONVERT_TEXT.into(), text.into())));
        let sms = to_sms(&message, &Bytes::from_static(MAIL), &config.routes[0].options.convert);
        let got = sms.as_ref().map(|sms| &*sms.text).map_err(|reply| reply.smtp_code);
        assert_eq!(got, expect);
    }

    #[test]
    fn what_a_plugin_wrote_takes_the_place_of_the_template_and_of_nothing_else() {
        let template = "text: '{subject}: {text}'";
        check_sms(None, template, Ok("Disk: It is full"));
        check_sms(Some("db1 is {text}"), template, Ok("db1 is {text}"));
        check_sms(Some(""), template, Ok(""));
        check_sms(Some("“db1”"), "transliterate: true", Ok("\"db1\""));
        let long = "x".repeat(400);
        check_sms(Some(&long), "parts: 2, on_excess: reject", Err(552));
        check_sms(Some(&long), "parts: 2", Ok(&"x".repeat(306)));
    }

    #[test]
    fn the_author_of_a_mail_is_a_mailbox_whatever_the_sender_of_the_sms() {
        for (rendered, expect) in [
            ("+33612345678@sms.test", Some("+33612345678@sms.test")),
            ("My Shop@sms.test", Some("My_Shop@sms.test")),
            ("a@b@sms.test", Some("a_b@sms.test")),
            ("x%host!y@sms.test", Some("x_host_y@sms.test")),
            ("\"\r\nBcc: you\"@sms.test", Some("___Bcc__you_@sms.test")),
            (".Caf\u{e9}..@sms.test", Some("Caf_@sms.test")),
            ("@sms.test", None),
            ("..@sms.test", None),
            ("desk", None),
            ("desk@", None),
            ("desk@a b", None),
        ] {
            assert_eq!(tidy_mailbox(rendered).as_deref(), expect, "{rendered}");
        }
    }
}
