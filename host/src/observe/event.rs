//! Events: what happened to a message, in the order it happened.

use std::sync::Arc;

use message::{MessageId, Timestamp};
use serde::{Deserialize, Serialize};

/// One thing that happened to one message. The journal keeps it as a line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The message, leg or delivery it is about.
    #[serde(with = "id_as_text")]
    pub id: MessageId,
    /// The message it belongs to, if that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_id_as_text")]
    pub of: Option<MessageId>,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// We took it: the positive answer went out after the commit.
    Accepted {
        /// Listener or connector.
        door: Arc<str>,
        /// Who sent it, if an account did.
        account: Arc<str>,
        /// Peer address.
        peer: Arc<str>,
        /// Sender.
        from: Arc<str>,
        /// Recipients.
        to: Vec<Arc<str>>,
        /// Octets.
        size: u64,
        /// Generation of the configuration.
        generation: u64,
    },
    /// We did not take it.
    Refused {
        /// Listener or connector.
        door: Arc<str>,
        /// The answer.
        reply: Arc<str>,
    },
    /// A plugin decided.
    Decided {
        /// `name@hash`.
        plugin: Arc<str>,
        /// `next`, `reject` and so on.
        verdict: Arc<str>,
        /// Its reason, or what it changed.
        detail: Arc<str>,
        /// Microseconds it took.
        micros: u64,
    },
    /// A plugin failed.
    Fault {
        /// `name@hash`.
        plugin: Arc<str>,
        /// What happened.
        detail: Arc<str>,
    },
    /// It is not decided yet and will be looked at again.
    Undecided {
        /// Why.
        reason: Arc<str>,
    },
    /// A delivery was planned.
    Routed {
        /// Recipient.
        to: Arc<str>,
        /// Name of the route; empty if a plugin chose.
        route: Arc<str>,
        /// Ordered targets.
        targets: Vec<Arc<str>>,
    },
    /// An attempt did not deliver it.
    Attempt {
        /// Connector or account.
        target: Arc<str>,
        /// `deferred`, `unknown`, `failed`.
        outcome: Arc<str>,
        /// What the peer said.
        reply: Arc<str>,
        /// When it goes again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<Timestamp>,
    },
    /// The next hop took it.
    Delivered {
        /// Connector or account.
        target: Arc<str>,
        /// Ids the next hop gave.
        remote: Vec<Arc<str>>,
        /// Its answer.
        reply: Arc<str>,
        /// It may have arrived twice.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        doubtful: bool,
    },
    /// It will not be delivered.
    Failed {
        /// Why.
        reason: Arc<str>,
    },
    /// It was not delivered in time.
    Expired {
        /// What kept it.
        reason: Arc<str>,
    },
    /// Discarded by a rule.
    Dropped {
        /// Plugin or route, and its reason.
        reason: Arc<str>,
    },
    /// A part of a concatenated SMS: it goes on in a message of its own.
    Joined {
        /// Which one.
        into: MessageId,
    },
    /// Put aside for an operator.
    Held {
        /// Why.
        reason: Arc<str>,
    },
    /// An operator did something to it.
    Operator {
        /// `retry`, `release`, `delete`, `bounce`.
        action: Arc<str>,
        /// Why, and by whom as far as that is known.
        detail: Arc<str>,
    },
    /// A receipt for it came.
    Receipt {
        /// From which target.
        target: Arc<str>,
        /// `DELIVRD` and so on.
        state: Arc<str>,
        /// Error code of the network, or enhanced status code of a mail system.
        error: Arc<str>,
        /// The outcome was told before, or nobody knows the message any more: nobody hears of this.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        late: bool,
    },
    /// A run of the router began. Its id is 0, as that of everything about no message.
    Started {
        /// Whether the run before ended in order. If not, its last lines may be missing.
        in_order: bool,
    },
    /// Lines are missing here: the disk did not keep up, or failed.
    Lost {
        /// How many.
        events: u64,
    },
    /// It was made by us: a fork, a receipt, a bounce.
    Born {
        /// What it is.
        kind: Arc<str>,
        /// Who gets it.
        to: Arc<str>,
    },
}

impl Event {
    /// An event about a message of its own.
    #[must_use]
    pub const fn new(at: Timestamp, id: MessageId, what: What) -> Self {
        Self { at, id, of: None, what }
    }

    /// An event about `id`, which belongs to the message `of`.
    #[must_use]
    pub fn about(at: Timestamp, id: MessageId, of: MessageId, what: What) -> Self {
        Self { at, id, of: (of != id).then_some(of), what }
    }
}

mod id_as_text {
    use message::MessageId;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(id: &MessageId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<MessageId, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

mod optional_id_as_text {
    use message::MessageId;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::ref_option, reason = "the signature that serde asks for")]
    pub(super) fn serialize<S: Serializer>(
        id: &Option<MessageId>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => to.collect_str(id),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<MessageId>, D::Error> {
        let text = Option::<std::borrow::Cow<'de, str>>::deserialize(from)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}
