//! Messages to test with.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use message::{
    Address as ModelAddress, Content, Message, MessageId, Origin, Protocol, Recipient, Short,
    Timestamp, Wish,
};

/// A message that comes in.
#[derive(Clone, Debug)]
pub struct Sample {
    from: String,
    to: Vec<String>,
    content: Content,
    door: String,
    account: String,
    notes: BTreeMap<Arc<str>, Arc<str>>,
}

/// A short message of text.
#[must_use]
pub fn sms(from: &str, to: &str, text: &str) -> Sample {
    Sample::new(from, to, Content::Short(Short::from_text(text)))
}

/// A short message as on the wire: user data, data_coding, esm_class.
#[must_use]
pub fn binary(from: &str, to: &str, octets: &[u8], data_coding: u8, esm_class: u8) -> Sample {
    let short = Short::from_coded(Bytes::copy_from_slice(octets), data_coding, esm_class);
    Sample::new(from, to, Content::Short(short))
}

/// A mail as on the wire (RFC 5322); bare line feeds become CRLF. Envelope addresses are those of `From`
/// and `To`, see [`Sample::from`] and [`Sample::to`].
#[must_use]
pub fn mail(raw: &str) -> Sample {
    let raw = raw.replace("\r\n", "\n").replace('\n', "\r\n");
    let content = Content::Mail(Bytes::from(raw));
    let view = message::mail::MailView::new(match &content {
        Content::Mail(raw) => raw.clone(),
        Content::Short(_) => Bytes::new(),
    });
    let from = view.from().unwrap_or_default();
    let to = view.addresses("To");
    let mut sample = Sample::new(&from, "", content);
    sample.to = to;
    sample
}

impl Sample {
    fn new(from: &str, to: &str, content: Content) -> Self {
        Self {
            from: from.to_owned(),
            to: vec![to.to_owned()],
            content,
            door: "test".to_owned(),
            account: String::new(),
            notes: BTreeMap::new(),
        }
    }

    /// The sender of the envelope.
    #[must_use]
    pub fn from(mut self, from: &str) -> Self {
        from.clone_into(&mut self.from);
        self
    }

    /// The recipients of the envelope.
    #[must_use]
    pub fn to<T: Into<String>>(mut self, to: impl IntoIterator<Item = T>) -> Self {
        self.to = to.into_iter().map(Into::into).collect();
        self
    }

    /// The listener or connector that it comes in by.
    #[must_use]
    pub fn door(mut self, door: &str) -> Self {
        door.clone_into(&mut self.door);
        self
    }

    /// The account that sends it.
    #[must_use]
    pub fn account(mut self, account: &str) -> Self {
        account.clone_into(&mut self.account);
        self
    }

    /// A note of an earlier plugin.
    #[must_use]
    pub fn meta(mut self, key: &str, value: &str) -> Self {
        self.notes.insert(key.into(), value.into());
        self
    }

    pub(super) fn message(&self, id: u64, now_ms: u64) -> Arc<Message> {
        let (protocol, wish) = match &self.content {
            Content::Mail(_) => (Protocol::Smtp, Wish::FAILURE),
            Content::Short(_) => (Protocol::Smpp, Wish::NOTHING),
        };
        let origin = Origin {
            door: self.door.as_str().into(),
            protocol,
            peer: "192.0.2.1:40000".into(),
            account: self.account.as_str().into(),
            session: 1,
            helo: "test.example".into(),
            tls: false,
        };
        let to = self.to.iter().map(|to| Recipient::new(ModelAddress::guess(to), wish));
        Arc::new(Message {
            id: MessageId::from_u64(id),
            parent: None,
            origin: Arc::new(origin),
            sender: ModelAddress::guess(&self.from),
            recipients: to.collect(),
            content: self.content.clone(),
            envid: None,
            ret: None,
            smtputf8: false,
            eight_bit: false,
            meta: self.notes.clone(),
            received: Timestamp::from_ms(now_ms),
            not_before: None,
            expires: Timestamp::NEVER,
            priority: 0,
            hops: 0,
        })
    }
}
