//! What a client session is given to send, and what it tells its driver.

use bytes::Bytes;

use super::Capabilities;
use crate::{Class, MailParams, Mailbox, RcptParams, Reply, ReversePath};

/// One message to its recipients at one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Where answers go.
    pub sender: ReversePath,
    /// What else MAIL is to say; SIZE is filled in, AUTH is left out. Parameters that the server
    /// does not offer are left out too.
    pub params: MailParams,
    /// The recipients, at least one.
    pub recipients: Vec<(Mailbox, RcptParams)>,
    /// Header lines to put in front, each with its CRLF; may be empty.
    pub prefix: Bytes,
    /// The message.
    pub body: Bytes,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The server is ready for the first message.
    Ready(Capabilities),
    /// The server agreed to TLS: do the handshake, then call
    /// [`ClientSession::handle_tls_started`](crate::ClientSession::handle_tls_started), or drop the
    /// connection if it fails.
    StartTls,
    /// A probe was answered.
    Alive,
    /// A message is done with.
    Sent(Outcome),
    /// The session is over: close. Comes once, as the last one; what was being sent came before.
    Closed {
        /// Why.
        reason: CloseReason,
        /// The server's words, or ours.
        reply: Reply,
    },
}

/// What became of a message, recipient by recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// In the order of [`Envelope::recipients`].
    pub recipients: Vec<RecipientOutcome>,
    /// The server took the wishes for reports over; otherwise reports about a delivery are ours.
    pub dsn_relayed: bool,
    /// The message holds octets above 127 and went to a server that did not offer 8BITMIME.
    pub eight_bit_unannounced: bool,
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientOutcome {
    /// What it means.
    pub verdict: Verdict,
    /// Which step decided it.
    pub stage: Stage,
    /// The words of the server, or ours.
    pub reply: Reply,
    /// The words are ours: the server said nothing, or was not asked.
    pub local: bool,
}

/// What an outcome means for the delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The server took it over.
    Delivered,
    /// Not now.
    Deferred,
    /// Never.
    Failed,
    /// The whole message went out and no answer came: it may have been taken over.
    Unknown,
}

impl Verdict {
    pub(super) fn of(reply: &Reply) -> Self {
        match reply.class() {
            Class::Done => Self::Delivered,
            Class::Permanent => Self::Failed,
            Class::Transient | Class::Continue => Self::Deferred,
        }
    }
}

/// A step of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before MAIL: the message does not fit the server.
    Offer,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// The message and its end.
    Body,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// We said QUIT.
    Quit,
    /// The server closed the connection.
    PeerGone,
    /// The server took too long.
    TimedOut,
    /// The server does not want us (its greeting, EHLO, AUTH, or 421 at any time).
    Refused,
    /// TLS is required and not to be had.
    NoTls,
    /// Credentials are configured and the server offers no way to use them.
    NoAuth,
    /// What came is not SMTP.
    Violation,
    /// We gave up.
    Aborted,
}
