//! Answers to origins: a receipt for who sent by SMPP, a notification for who sent by mail.
//!
//! An answer is a message of our own. It skips plugins and routes and goes back through the door of
//! its origin; nothing is ever answered about an answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use message::{
    Address, Content, Message, MessageId, Origin, Protocol, Recipient, Ret, Short, Timestamp, Tlv,
    Wish,
};
use smpp::Octets;
use smpp::receipt::{MessageState, ReceiptToSend};

use super::share::Shared;
use super::{bounce, report};
use crate::config::Bounces;
use crate::delivery::{Answers, Cause, Delivery, Queued};

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// message_state (SMPP v3.4 §5.2.28).
    pub state: u8,
    /// Why, in the words of the last peer or ours.
    pub cause: Cause,
    /// When.
    pub at: Timestamp,
    /// Nothing more will come.
    pub last: bool,
}

impl Outcome {
    /// An end, whatever the state: who hands a message over to somebody who tells nothing ends with
    /// [`ACCEPTED`](super::ACCEPTED), who hears nothing in time with [`UNKNOWN`](super::UNKNOWN).
    #[must_use]
    pub const fn last(state: u8, cause: Cause, at: Timestamp) -> Self {
        Self { state, cause, at, last: true }
    }

    /// What is true for now.
    #[must_use]
    pub const fn interim(state: u8, cause: Cause, at: Timestamp) -> Self {
        Self { state, cause, at, last: false }
    }

    /// Whether it is good news.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.state == super::DELIVERED || (self.last && self.state == super::ACCEPTED)
    }

    /// Whether somebody with this wish hears of it. That nobody knows is told to whoever asked for an
    /// end of any kind.
    const fn is_wanted(&self, wish: Wish) -> bool {
        match (self.last, self.state) {
            (false, _) => wish.delay,
            (true, super::DELIVERED | super::ACCEPTED) => wish.success,
            (true, super::UNKNOWN) => wish.success || wish.failure,
            (true, _) => wish.failure,
        }
    }
}

/// What an answer needs to know of the message it is about.
#[derive(Clone, Debug)]
pub struct About {
    /// The id that the origin knows.
    pub message: MessageId,
    /// Where the message came from.
    pub origin: Arc<Origin>,
    /// Its sender.
    pub sender: Address,
    /// The recipient in question.
    pub recipient: Recipient,
    /// Whether the origin hears of it.
    pub answers: Answers,
    /// Its share in the answer, if there are several.
    pub shared: Option<Box<Shared>>,
    /// When we took the message.
    pub received: Timestamp,
    /// ENVID.
    pub envid: Option<Arc<str>>,
    /// RET.
    pub ret: Option<Ret>,
    /// The mail, or what was kept of it.
    pub mail: Option<Bytes>,
    /// How long attempts go on, if they do.
    pub retry_until: Option<Timestamp>,
}

impl About {
    /// About a delivery.
    #[must_use]
    pub fn queued(queued: &Queued) -> Self {
        Self::delivery(&queued.delivery, &queued.message)
    }

    /// About a delivery of a message.
    #[must_use]
    pub fn delivery(delivery: &Delivery, message: &Message) -> Self {
        let recipient = delivery.origin_recipient(message);
        let mut about = Self::recipient(message, &recipient, delivery.answers);
        about.message = delivery.message;
        about.sender = delivery.origin_sender(message).clone();
        about.shared.clone_from(&delivery.terms.shared);
        about
    }

    /// About a recipient of a message.
    #[must_use]
    pub fn recipient(message: &Message, recipient: &Recipient, answers: Answers) -> Self {
        let mail = match &message.content {
            Content::Mail(raw) => Some(raw.clone()),
            Content::Short(_) => None,
        };
        Self {
            message: message.id,
            origin: Arc::clone(&message.origin),
            sender: message.sender.clone(),
            recipient: recipient.clone(),
            answers,
            shared: None,
            received: message.received,
            envid: message.envid.clone(),
            ret: message.ret,
            mail,
            retry_until: None,
        }
    }

    /// About an entry of the book.
    #[must_use]
    pub fn entry(entry: &super::Entry) -> Self {
        Self {
            message: entry.message,
            origin: Arc::clone(&entry.origin),
            sender: entry.sender.clone(),
            recipient: entry.recipient.clone(),
            answers: entry.answers,
            shared: entry.shared.clone(),
            received: entry.received,
            envid: entry.envid.clone(),
            ret: entry.ret,
            mail: entry.mail.clone(),
            retry_until: None,
        }
    }
}

/// An answer, and the target it goes to.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The receipt or the notification.
    pub message: Message,
    /// The account or the connector for bounces.
    pub target: Arc<str>,
}

/// Whether the origin wants to hear of this.
#[must_use]
pub fn is_wanted(about: &About, outcome: &Outcome) -> bool {
    about.answers != Answers::Copy && outcome.is_wanted(about.recipient.wish)
}

/// The answer that the origin wants, if it wants one.
#[must_use]
pub fn answer(
    about: &About,
    outcome: &Outcome,
    bounces: Option<(&Bounces, &str)>,
    id: MessageId,
    now: Timestamp,
) -> Option<Answer> {
    if !is_wanted(about, outcome) {
        return None;
    }
    match about.origin.protocol {
        Protocol::Smpp if !about.origin.account.is_empty() => {
            Some(receipt(about, outcome, id, now))
        }
        // An SMSC that sent us an MO hears nothing more.
        Protocol::Smpp | Protocol::Internal => None,
        Protocol::Smtp => {
            let (bounces, hostname) = bounces?;
            let (raw, to) = bounce::notification(about, outcome, (bounces, hostname), id, now)?;
            let content = Content::Mail(raw);
            let message = born(about, id, Address::null_sender(), to, content, now);
            Some(Answer { message, target: Arc::clone(&bounces.via) })
        }
    }
}

/// A receipt for an ESME (SMPP v3.4 §5.2.12, Appendix B).
fn receipt(about: &About, outcome: &Outcome, id: MessageId, now: Timestamp) -> Answer {
    let state = MessageState::from_number(outcome.state).unwrap_or(MessageState::Unknown);
    let known_as = Octets::from(about.message.to_string().into_bytes());
    let text = ReceiptToSend {
        id: &known_as,
        state,
        submitted_ms: i64::try_from(about.received.as_ms()).unwrap_or(i64::MAX),
        done_ms: i64::try_from(outcome.at.as_ms()).unwrap_or(i64::MAX),
        error: error(outcome),
        text: b"",
    }
    .text();
    let esm_class = if outcome.last { 0x04 } else { 0x20 };
    let mut short = Short::from_coded(Bytes::from(text), 0, esm_class);
    let mut id_with_nul = known_as.as_bytes().to_vec();
    id_with_nul.push(0);
    short.tlvs = vec![
        Tlv { tag: smpp::tag::RECEIPTED_MESSAGE_ID, value: Bytes::from(id_with_nul) },
        Tlv { tag: smpp::tag::MESSAGE_STATE, value: Bytes::copy_from_slice(&[outcome.state]) },
    ];
    // The addresses are swapped: the receipt comes from the recipient.
    let from = about.recipient.address.clone();
    let message = born(about, id, from, about.sender.clone(), Content::Short(short), now);
    Answer { message, target: Arc::clone(&about.origin.account) }
}

/// `err` of a receipt: the code of the network, or what stands for an answer of a mail system.
fn error(outcome: &Outcome) -> u16 {
    let Cause { code, enhanced, text, .. } = &outcome.cause;
    if outcome.is_success() || !outcome.last {
        return 0;
    }
    if *code != 0 && *code < 200 {
        return u16::try_from(*code).unwrap_or(999);
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).take(3).collect();
    let said = if *code == 0 { digits.parse().unwrap_or(0) } else { *code };
    report::error(enhanced, u16::try_from(said).unwrap_or(999).min(999))
}

fn born(
    about: &About,
    id: MessageId,
    sender: Address,
    to: Address,
    content: Content,
    now: Timestamp,
) -> Message {
    let origin = Origin {
        door: Arc::from("@wirepost"),
        protocol: Protocol::Internal,
        peer: Arc::from(""),
        account: Arc::clone(&about.origin.account),
        session: 0,
        helo: Arc::from(""),
        tls: false,
    };
    Message {
        id,
        parent: Some(about.message),
        origin: Arc::new(origin),
        sender,
        recipients: vec![Recipient::new(to, Wish::NOTHING)],
        content,
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
    }
}
