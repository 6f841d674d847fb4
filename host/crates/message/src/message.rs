//! The message: an envelope, its content and where it came from.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::content::Content;
use crate::id::MessageId;
use crate::time::Timestamp;

/// A message of either protocol. As a draft it is nobody's yet; once committed it is ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its id; a leg made by a fork has its own.
    pub id: MessageId,
    /// Set on what was born from another message: a fork, a bounce, a receipt.
    pub parent: Option<MessageId>,
    /// Where it came from.
    pub origin: Arc<Origin>,
    /// Reverse-path or source address.
    pub sender: Address,
    /// Forward-paths or destination addresses; at least one.
    pub recipients: Vec<Recipient>,
    /// What it says.
    pub content: Content,
    /// ENVID of MAIL (RFC 3461 §4.4), xtext decoded.
    pub envid: Option<Arc<str>>,
    /// RET of MAIL (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// SMTPUTF8 was asked for (RFC 6531).
    pub smtputf8: bool,
    /// BODY=8BITMIME was declared (RFC 6152).
    pub eight_bit: bool,
    /// Notes of plugins and routes; keys are theirs.
    pub meta: BTreeMap<Arc<str>, Arc<str>>,
    /// When we took it; frozen for its life.
    pub received: Timestamp,
    /// Not to be sent earlier.
    pub not_before: Option<Timestamp>,
    /// Not to be sent later; [`Timestamp::NEVER`] lets the route decide.
    pub expires: Timestamp,
    /// 0 (bulk) to 3 (urgent), as SMPP priority_flag.
    pub priority: u8,
    /// How many hosts it passed before us.
    pub hops: u8,
}

/// The protocol a message came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// Mail.
    Smtp,
    /// Short messages.
    Smpp,
    /// Made by us: a bounce, a receipt.
    Internal,
}

impl Protocol {
    /// `smtp`, `smpp` or `internal`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Smpp => "smpp",
            Self::Internal => "internal",
        }
    }
}

/// Where a message came from. Shared by all messages of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The listener, or the connector for what an SMSC sent us.
    pub door: Arc<str>,
    /// By which protocol.
    pub protocol: Protocol,
    /// `address:port` of the peer.
    pub peer: Arc<str>,
    /// Who may send to us and where answers go; empty for nobody.
    pub account: Arc<str>,
    /// Counts sessions since the start, for the log.
    pub session: u64,
    /// What the peer called itself: HELO name or system_id.
    pub helo: Arc<str>,
    /// Whether the session was encrypted.
    pub tls: bool,
}

/// One recipient and what its sender wants to hear about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// Where it goes.
    pub address: Address,
    /// ORCPT (RFC 3461 §4.2), or the mailbox that became a phone number.
    pub original: Option<Arc<str>>,
    /// Which outcomes to report.
    pub wish: Wish,
}

impl Recipient {
    /// A recipient whose sender wants what the protocol's default is.
    #[must_use]
    pub fn new(address: Address, wish: Wish) -> Self {
        Self { address, original: None, wish }
    }
}

/// Which outcomes the sender asked to hear about: NOTIFY (RFC 3461 §4.1) and registered_delivery
/// (SMPP v3.4 §5.2.17) in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wish {
    /// Tell of success.
    pub success: bool,
    /// Tell of failure.
    pub failure: bool,
    /// Tell of delay, or of intermediate states.
    pub delay: bool,
    /// Nothing was said, which is another thing than saying the same: long delays may be told then.
    pub unsaid: bool,
}

impl Wish {
    /// Nothing at all: NOTIFY=NEVER, registered_delivery 0.
    pub const NOTHING: Self = Self { success: false, failure: false, delay: false, unsaid: false };
    /// Failures, of a sender that said nothing: the default of mail.
    pub const FAILURE: Self = Self { failure: true, unsaid: true, ..Self::NOTHING };
    /// Success and failure.
    pub const FINAL: Self = Self { success: true, failure: true, ..Self::NOTHING };

    /// From registered_delivery: bits 1–0 say final receipts (1 both, 2 failure, 3 success), bit 4
    /// says intermediate ones.
    #[must_use]
    pub const fn from_registered_delivery(octet: u8) -> Self {
        Self {
            success: matches!(octet & 3, 1 | 3),
            failure: matches!(octet & 3, 1 | 2),
            delay: octet & 0x10 != 0,
            unsaid: false,
        }
    }

    /// The registered_delivery that asks the next hop for what this wish needs.
    #[must_use]
    pub const fn to_registered_delivery(self) -> u8 {
        let last = match (self.success, self.failure) {
            (true, true) => 1,
            (false, true) => 2,
            (true, false) => 3,
            (false, false) => 0,
        };
        if self.delay { last | 0x10 } else { last }
    }

    /// Whether anything is wanted.
    #[must_use]
    pub const fn any(self) -> bool {
        self.success || self.failure || self.delay
    }
}

/// How much of the mail a failure notice returns (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its headers.
    Headers,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_delivery_round_trips() {
        for octet in [0u8, 1, 2, 3, 0x10, 0x11, 0x12, 0x13] {
            assert_eq!(Wish::from_registered_delivery(octet).to_registered_delivery(), octet);
        }
        assert_eq!(Wish::from_registered_delivery(0x0c), Wish::NOTHING);
    }
}
