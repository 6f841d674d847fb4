//! The one door: a draft is decided, planned and committed; only then is it ours.

use std::sync::Arc;

use message::{Message, MessageId};
use spool::Durable;

use crate::config::Reply;

/// A parsed inbound message, nobody's yet. Its id comes from the router.
#[derive(Debug)]
pub struct Draft {
    /// What came in.
    pub message: Message,
}

/// What became of a draft.
#[derive(Debug)]
pub enum Outcome {
    /// It is ours; the peer may forget it.
    Accepted(Accepted),
    /// It is not; nothing was written.
    Refused(Refusal),
}

/// Proof that a message is durable. Functions that write `250` or `ESME_ROK` take one.
#[derive(Debug)]
pub struct Accepted {
    /// The id that the peer is given.
    pub id: MessageId,
    /// Shared by all messages of one commit.
    _proof: Proof,
}

/// What was written, or why nothing had to be.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    /// A finished sync.
    Durable(#[expect(dead_code, reason = "it is the proof, nobody reads it")] Arc<Durable>),
    /// A rule said to take it and forget it: there is nothing to keep.
    Nothing,
}

impl Accepted {
    pub(crate) const fn new(id: MessageId, proof: Proof) -> Self {
        Self { id, _proof: proof }
    }
}

/// The answer to a peer whose message we do not take, in both protocols' terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whether coming again is pointless.
    pub permanent: bool,
    /// SMTP reply code.
    pub smtp_code: u16,
    /// Enhanced status code (RFC 3463).
    pub enhanced: Arc<str>,
    /// SMPP command_status.
    pub smpp_status: u32,
    /// For people; nothing of ours in it.
    pub text: Arc<str>,
}

impl Refusal {
    /// A refusal in the terms of a reply.
    #[must_use]
    pub fn from_reply(reply: &Reply, permanent: bool) -> Self {
        Self {
            permanent,
            smtp_code: reply.smtp_code,
            enhanced: Arc::clone(&reply.enhanced),
            smpp_status: reply.smpp_status,
            text: Arc::clone(&reply.text),
        }
    }

    /// Why a commit did not happen: come again later.
    #[must_use]
    pub fn from_commit(error: &spool::CommitError) -> Self {
        let (enhanced, smpp_status, text) = match error {
            spool::CommitError::Full { .. } => ("4.3.1", 0x14, "Insufficient system storage"),
            spool::CommitError::Busy => ("4.3.2", 0x58, "Too busy, try again later"),
            _ => ("4.3.0", 0x08, "Temporary failure, try again later"),
        };
        let smtp_code = if enhanced == "4.3.1" { 452 } else { 451 };
        Self {
            permanent: false,
            smtp_code,
            enhanced: enhanced.into(),
            smpp_status,
            text: text.into(),
        }
    }
}
