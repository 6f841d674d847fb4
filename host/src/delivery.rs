//! A delivery: one recipient of one leg, bound for one target; and what came of an attempt.

use std::sync::Arc;
use std::time::Duration;

use message::{Address, Content, Message, MessageId, Protocol, Recipient, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config::Receipts;
use crate::receipt::share::Shared;

/// Spool state of a delivery that waits for its target.
pub const STATE_SCHEDULED: u8 = 1;
/// Spool state of a message that the plugins have not decided yet.
pub const STATE_UNDECIDED: u8 = 2;
/// Spool state of what an operator must look at.
pub const STATE_HELD: u8 = 3;

/// Where undecided messages wait for the decider; no connector or account can have this name.
pub const DECIDER: &str = "@decider";
/// Where held messages wait for an operator.
pub const HELD: &str = "@held";
/// The route of what an operator released before it had any: it is decided again, for its one
/// recipient, and nothing holds it any more.
pub const RELEASED: &str = "@released";
/// What begins the route of what waits for a decision about its one recipient, or is held by one: the
/// name of the plugin that spoke last follows.
const AFTER: &str = "@after/";
/// The same, once an operator released it.
const RELEASED_AFTER: &str = "@released/";
/// The route of a part of a concatenated SMS that waits for the others.
pub const JOINING: &str = "@joining";

/// Before an undecided message is looked at again for the first time; it doubles with each look.
pub const AGAIN_MIN: Duration = Duration::from_millis(500);

/// One recipient of one leg. This is what the spool keeps as opaque bytes; its index columns repeat
/// target, state, due time, priority, account and expiry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its own id. The first delivery of a message has the message's.
    pub id: MessageId,
    /// The leg, whose body the spool keeps.
    pub body: MessageId,
    /// The message that came in; answers go under this id.
    pub message: MessageId,
    /// Who it goes to.
    pub recipient: Recipient,
    /// Sender and recipient as the origin knows them, where it leaves under others.
    pub known_as: Option<Box<KnownAs>>,
    /// Which route chose the targets; empty if a plugin did.
    pub route: Arc<str>,
    /// Ordered targets; `cursor` says which one is next.
    pub targets: Vec<Arc<str>>,
    /// Index into `targets`.
    pub cursor: u16,
    /// Whether the origin hears of it.
    pub answers: Answers,
    /// The text and sender of a mail that leaves as an SMS; none sends the content as it is.
    pub sms: Option<SmsOut>,
    /// Alphabet and parts, fixed at the first attempt.
    pub parts: Option<Parts>,
    /// Attempts that count.
    pub attempts: u32,
    /// Faults of plugins while it is undecided.
    pub faults: u8,
    /// When it may go next.
    pub due: Timestamp,
    /// When it is given up.
    pub expires: Timestamp,
    /// 0 to 3; higher goes first.
    pub priority: u8,
    /// Whose it is, for fairness.
    pub account: Arc<str>,
    /// It may have arrived already: the answer to an attempt was lost.
    pub doubtful: bool,
    /// Why it waits or is held.
    pub last: Option<Cause>,
    /// How its origin comes to hear of it.
    pub terms: Terms,
}

/// How the origin of a delivery comes to hear of it, beyond what it asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// A mail that was an SMS is told of by a report, which is waited for so long; none tells with
    /// the relay's answer.
    pub report_within: Option<Duration>,
    /// Whether an SMSC is asked for receipts.
    pub ask: Receipts,
    /// Its share in the answer, if a recipient has several.
    pub shared: Option<Box<Shared>>,
}

/// What is decided when an undecided delivery is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again<'a> {
    /// All of the message as it came, by all plugins.
    Whole,
    /// The recipient of the delivery alone.
    Recipient {
        /// By the plugins after this one; none are all of them.
        after: Option<&'a str>,
        /// An operator sent it on: nothing holds it any more.
        released: bool,
    },
}

/// The route of what is decided again, for its one recipient, by the plugins after this one.
#[must_use]
pub fn route_after(plugin: Option<&str>) -> Arc<str> {
    plugin.map_or_else(|| Arc::from(""), |plugin| format!("{AFTER}{plugin}").into())
}

impl Delivery {
    /// What is decided when it is looked at again while it is undecided.
    #[must_use]
    pub fn again(&self) -> Again<'_> {
        let one = |after, released| Again::Recipient { after, released };
        match (self.route.strip_prefix(AFTER), self.route.strip_prefix(RELEASED_AFTER)) {
            (Some(plugin), _) => one(Some(plugin), false),
            (None, Some(plugin)) => one(Some(plugin), true),
            (None, None) if *self.route == *RELEASED => one(None, true),
            (None, None) => Again::Whole,
        }
    }

    /// The route that it has once an operator released it from a hold before it had any.
    #[must_use]
    pub fn route_released(&self) -> Arc<str> {
        match self.route.strip_prefix(AFTER) {
            Some(plugin) => format!("{RELEASED_AFTER}{plugin}").into(),
            None => Arc::from(RELEASED),
        }
    }

    /// The target it goes to next.
    #[must_use]
    pub fn target(&self) -> Option<&Arc<str>> {
        self.targets.get(usize::from(self.cursor))
    }

    /// Whether it carries a receipt or a notification of ours.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        self.answers == Answers::Copy && self.message == self.id
    }

    /// The sender to whom answers about it go.
    #[must_use]
    pub fn origin_sender<'a>(&'a self, message: &'a Message) -> &'a Address {
        match (&self.terms.shared, &self.known_as) {
            (Some(shared), _) => &shared.sender,
            (None, Some(known_as)) => &known_as.sender,
            (None, None) => &message.sender,
        }
    }

    /// The recipient as answers name it: an ESME knows nothing but what it submitted, a bounce says
    /// both (RFC 3464 §2.3).
    #[must_use]
    pub fn origin_recipient(&self, message: &Message) -> Recipient {
        if let Some(shared) = &self.terms.shared {
            return shared.recipient.clone();
        }
        let mut recipient = self.recipient.clone();
        if let Some(known_as) = &self.known_as
            && message.origin.protocol == Protocol::Smpp
        {
            recipient.address = known_as.recipient.clone();
        }
        recipient
    }

    /// SMS parts it has, known after the first attempt; 1 before.
    #[must_use]
    pub fn cost(&self) -> u32 {
        self.parts.as_ref().map_or(1, |parts| u32::from(parts.total.max(1)))
    }
}

/// The addresses of a delivery before a route or a conversion gave it others: answers carry them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownAs {
    /// The sender.
    pub sender: Address,
    /// The recipient.
    pub recipient: Address,
}

/// Whether the outcome of a leg concerns the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answers {
    /// The origin hears of it.
    Origin,
    /// A copy: its outcome concerns nobody.
    Copy,
    /// Folded into the origin's answer about the recipient of the same address, or about its first
    /// one.
    Share,
}

/// What a mail says as an SMS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmsOut {
    /// The text to send.
    pub text: Arc<str>,
    /// Source address to send from.
    pub sender: Address,
}

/// How a text was cut, fixed at the first attempt so that only missing parts are sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// Concatenation reference (3GPP 23.040 §9.2.3.24.1).
    pub reference: u16,
    /// 1 to 255.
    pub total: u8,
    /// data_coding of all parts.
    pub data_coding: u8,
    /// Whether the reference has 16 bits.
    pub wide: bool,
    /// State of each part.
    pub sent: Vec<Part>,
}

/// One part of a concatenated SMS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// Not sent, or not answered.
    Missing,
    /// Taken by the SMSC under this message_id.
    Sent(Arc<str>),
    /// Refused with this command_status.
    Failed(u32),
}

/// A delivery in a connector's hands.
#[derive(Clone, Debug)]
pub struct Queued {
    /// What to deliver.
    pub delivery: Delivery,
    /// The leg it belongs to.
    pub message: Arc<Message>,
}

impl Queued {
    /// Whether it is a mail that was an SMS.
    #[must_use]
    pub fn was_short(&self) -> bool {
        self.message.origin.protocol == Protocol::Smpp
            && matches!(self.message.content, Content::Mail(_))
    }
}

/// What came of an attempt: always an answer, never an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The next hop took it.
    Delivered {
        /// SMSC message ids, one per part; empty for SMTP.
        remote: Vec<Arc<str>>,
        /// The positive answer.
        reply: Cause,
        /// It tells the origin of what follows itself: the wishes went along (RFC 3461 §5.2.1).
        tells: bool,
    },
    /// Not now.
    Deferred {
        /// Why.
        cause: Cause,
        /// What it says about the target.
        class: Defer,
    },
    /// Never.
    Failed {
        /// Why.
        cause: Cause,
    },
    /// It cannot be written in the protocol of the target: never, and nobody saw it. One of which nobody
    /// would hear is held.
    Unfit {
        /// What does not fit.
        cause: Cause,
    },
    /// The answer was lost: it may have arrived.
    Unknown {
        /// What happened instead of an answer.
        cause: Cause,
    },
}

/// What a temporary failure says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defer {
    /// This message, later.
    Temporary,
    /// Too fast: slow down; no attempt is counted.
    Throttled,
    /// The target is not usable now: others are tried, it is left alone for a while.
    Connector,
    /// May mean anything: a few tries, then failed.
    Limited,
    /// The connection ended within the transaction of this message. The message is to blame until
    /// another one fares the same.
    Session,
}

/// Why: in the words of the peer, or ours if there were none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// SMTP reply code or SMPP command_status; 0 if there was no answer.
    pub code: u32,
    /// Enhanced status code such as `4.4.1` (RFC 3463).
    pub enhanced: Arc<str>,
    /// What the peer said, or what happened.
    pub text: Arc<str>,
    /// Who said it.
    pub peer: Arc<str>,
}

impl Cause {
    /// A cause of our own.
    #[must_use]
    pub fn ours(enhanced: &str, text: impl Into<Arc<str>>) -> Self {
        Self { code: 0, enhanced: enhanced.into(), text: text.into(), peer: Arc::from("") }
    }

    /// All of it in one line: code, enhanced code and text.
    #[must_use]
    pub fn in_words(&self) -> Arc<str> {
        if self.code == 0 {
            return Arc::clone(&self.text);
        }
        let is_smtp = (200..600).contains(&self.code);
        if is_smtp && !self.enhanced.is_empty() {
            format!("{} {} {}", self.code, self.enhanced, self.text).into()
        } else if is_smtp {
            format!("{} {}", self.code, self.text).into()
        } else {
            format!("0x{:08X} {}", self.code, self.text).into()
        }
    }
}
