//! What a server session tells its driver.

use bytes::Bytes;

use crate::{Credentials, MailParams, Mailbox, RcptParams, ReversePath};

/// Something happened. Events that ask wait for [`ServerSession::reply`](crate::ServerSession::reply);
/// until then the session reads on but goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The peer said EHLO or HELO and was answered. Whatever transaction there was is gone.
    Hello {
        /// What the peer calls itself; not to be believed.
        name: String,
        /// EHLO, not HELO.
        extended: bool,
    },
    /// AUTH: is this who it claims to be? Asks; 235 or 535.
    Auth(Credentials),
    /// MAIL: may this sender begin a transaction? Asks.
    Mail {
        /// Where answers go.
        sender: ReversePath,
        /// What else MAIL said.
        params: MailParams,
    },
    /// RCPT: may it go there? Asks.
    Rcpt {
        /// The recipient.
        recipient: Mailbox,
        /// What else RCPT said.
        params: RcptParams,
    },
    /// DATA: may the message come now? Asks; any 2xx or 3xx lets it come.
    Data,
    /// The message is here. Asks; only a durable message may be answered 2xx.
    Message {
        /// The prefix that was set, and the message without stuffing.
        body: Bytes,
    },
    /// The transaction is given up (RSET, or a message that the session itself refused).
    Reset,
    /// The peer wants TLS and was told to begin: write the output, do the handshake, then call
    /// [`ServerSession::handle_tls_started`](crate::ServerSession::handle_tls_started).
    StartTls,
    /// The session is over: write the output and close. Comes once, as the last one.
    Closed(CloseReason),
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer said QUIT.
    Quit,
    /// The peer closed the connection.
    PeerGone,
    /// The peer took too long.
    TimedOut,
    /// Too many refusals, or commands that led nowhere.
    TooManyErrors,
    /// The peer does something that no mail client does.
    Violation,
    /// The host is shutting down.
    Shutdown,
    /// The host answered 421, or refused the connection.
    Refused,
}

/// What a session did, for its last log record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Commands read.
    pub commands: u64,
    /// Refusals written.
    pub errors: u64,
    /// Messages answered 2xx.
    pub messages_accepted: u64,
    /// Messages answered otherwise.
    pub messages_refused: u64,
    /// Octets of the messages that came.
    pub message_bytes: u64,
}
