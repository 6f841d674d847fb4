//! What a route may ask about a message and one of its recipients.

use std::borrow::Cow;
use std::cell::OnceCell;

use message::mail::MailView;
use message::text::Alphabet;
use message::{Address, Content, Message, MessageId, Protocol, Short, ShortBody, Timestamp};

/// An answer, or none yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact<T> {
    /// This is so.
    Known(T),
    /// Nobody can say before the content is there.
    Later,
}

/// What a route may ask. Answers that cost something are computed when they are asked for.
pub trait Facts {
    /// The listener or connector that the message came in by.
    fn door(&self) -> &str;
    /// Who sent it; empty is nobody.
    fn account(&self) -> &str;
    /// How it came in.
    fn protocol(&self) -> Protocol;
    /// The sender, in normal form.
    fn sender(&self) -> &Address;
    /// The recipient in question, in normal form.
    fn recipient(&self) -> &Address;
    /// The time of the decision.
    fn now(&self) -> Timestamp;
    /// A plugin made it of another message.
    fn is_fork(&self) -> bool;
    /// The message's id.
    fn id(&self) -> Fact<MessageId>;
    /// Octets of the raw mail, or of the user data.
    fn size_bytes(&self) -> Fact<u64>;
    /// data_coding of a short message.
    fn data_coding(&self) -> Fact<Option<u8>>;
    /// The subject of a mail.
    fn subject(&self) -> Fact<Option<Cow<'_, str>>>;
    /// The first header field of this name, decoded.
    fn header(&self, name: &str) -> Fact<Option<Cow<'_, str>>>;
    /// The text of the message.
    fn text(&self) -> Fact<Option<Cow<'_, str>>>;
    /// A note of a plugin.
    fn meta(&self, key: &str) -> Fact<Option<&str>>;
    /// Values of the optional parameter with this tag, in wire order.
    fn tlvs(&self, tag: u16) -> Fact<Vec<&[u8]>>;
}

/// What is known when a recipient is named: at RCPT.
#[derive(Debug, Clone)]
pub struct Envelope<'a> {
    /// The listener or connector.
    pub door: &'a str,
    /// Who sends; empty is nobody.
    pub account: &'a str,
    /// How.
    pub protocol: Protocol,
    /// The sender, in normal form.
    pub sender: Cow<'a, Address>,
    /// The recipient in question, in normal form.
    pub recipient: Cow<'a, Address>,
    /// The time.
    pub now: Timestamp,
}

impl Facts for Envelope<'_> {
    fn door(&self) -> &str {
        self.door
    }

    fn account(&self) -> &str {
        self.account
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn sender(&self) -> &Address {
        &self.sender
    }

    fn recipient(&self) -> &Address {
        &self.recipient
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn is_fork(&self) -> bool {
        false
    }

    fn id(&self) -> Fact<MessageId> {
        Fact::Later
    }

    fn size_bytes(&self) -> Fact<u64> {
        Fact::Later
    }

    fn data_coding(&self) -> Fact<Option<u8>> {
        Fact::Later
    }

    fn subject(&self) -> Fact<Option<Cow<'_, str>>> {
        Fact::Later
    }

    fn header(&self, _: &str) -> Fact<Option<Cow<'_, str>>> {
        Fact::Later
    }

    fn text(&self) -> Fact<Option<Cow<'_, str>>> {
        Fact::Later
    }

    fn meta(&self, _: &str) -> Fact<Option<&str>> {
        Fact::Later
    }

    fn tlvs(&self, _: u16) -> Fact<Vec<&[u8]>> {
        Fact::Later
    }
}

/// A whole message, seen for one recipient after another. What was found in its content for one is
/// kept for the next.
#[derive(Debug)]
pub struct MessageFacts<'a> {
    message: &'a Message,
    sender: Cow<'a, Address>,
    recipient: Cow<'a, Address>,
    now: Timestamp,
    /// What data_coding 0 means at the message's door.
    zero: Alphabet,
    is_fork: bool,
    view: OnceCell<MailView>,
    short_text: OnceCell<Option<String>>,
}

impl<'a> MessageFacts<'a> {
    /// Facts about a message for one recipient. `zero` is what data_coding 0 means to whoever sent
    /// it.
    #[must_use]
    pub fn new(
        message: &'a Message,
        recipient: &'a Address,
        now: Timestamp,
        zero: Alphabet,
    ) -> Self {
        let (view, short_text) = (OnceCell::new(), OnceCell::new());
        let (sender, recipient) = (message.sender.normal(), recipient.normal());
        Self { message, sender, recipient, now, zero, is_fork: false, view, short_text }
    }

    /// The same of a fork, or of a message that is none.
    #[must_use]
    pub fn fork(self, is_fork: bool) -> Self {
        Self { is_fork, ..self }
    }

    /// The same message for another recipient.
    #[must_use]
    pub fn for_recipient(self, recipient: &'a Address) -> Self {
        Self { recipient: recipient.normal(), ..self }
    }

    fn mail(&self) -> Option<&MailView> {
        let Content::Mail(raw) = &self.message.content else { return None };
        Some(self.view.get_or_init(|| MailView::new(raw.clone())))
    }

    fn short(&self) -> Option<&'a Short> {
        if let Content::Short(short) = &self.message.content { Some(short) } else { None }
    }
}

impl Facts for MessageFacts<'_> {
    fn door(&self) -> &str {
        &self.message.origin.door
    }

    fn account(&self) -> &str {
        &self.message.origin.account
    }

    fn protocol(&self) -> Protocol {
        self.message.origin.protocol
    }

    fn sender(&self) -> &Address {
        &self.sender
    }

    fn recipient(&self) -> &Address {
        &self.recipient
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn is_fork(&self) -> bool {
        self.is_fork
    }

    fn id(&self) -> Fact<MessageId> {
        Fact::Known(self.message.id)
    }

    fn size_bytes(&self) -> Fact<u64> {
        Fact::Known(u64::try_from(self.message.content.size_bytes()).unwrap_or(u64::MAX))
    }

    fn data_coding(&self) -> Fact<Option<u8>> {
        let coded = self.short().filter(|short| matches!(short.body, ShortBody::Coded(_)));
        Fact::Known(coded.map(|short| short.data_coding))
    }

    fn subject(&self) -> Fact<Option<Cow<'_, str>>> {
        Fact::Known(self.mail().and_then(MailView::subject).map(Cow::Owned))
    }

    fn header(&self, name: &str) -> Fact<Option<Cow<'_, str>>> {
        Fact::Known(self.mail().and_then(|mail| mail.header(name)).map(Cow::Owned))
    }

    fn text(&self) -> Fact<Option<Cow<'_, str>>> {
        if let Some(mail) = self.mail() {
            return Fact::Known(mail.text().map(Cow::Borrowed));
        }
        let text = self
            .short_text
            .get_or_init(|| self.short().and_then(|short| short.text(self.zero)))
            .as_deref();
        Fact::Known(text.map(Cow::Borrowed))
    }

    fn meta(&self, key: &str) -> Fact<Option<&str>> {
        Fact::Known(self.message.meta.get(key).map(|value| &**value))
    }

    fn tlvs(&self, tag: u16) -> Fact<Vec<&[u8]>> {
        let tlvs = self.short().map_or(&[][..], |short| &short.tlvs);
        Fact::Known(tlvs.iter().filter(|tlv| tlv.tag == tag).map(|tlv| &*tlv.value).collect())
    }
}
