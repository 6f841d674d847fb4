//! SMTP without I/O: a server session, a client session and the grammar they share.
//!
//! Nothing here reads a clock, a socket or a file. A driver reads octets into a session, asks it for
//! events until there are none, answers them, and writes what the session put into its output:
//!
//! * [`ServerSession`] is the receiving side (RFC 5321 with PIPELINING, SIZE, 8BITMIME, SMTPUTF8,
//!   ENHANCEDSTATUSCODES, DSN, CHUNKING, STARTTLS and AUTH as
//!   configured);
//! * [`ClientSession`] is the sending side, with a result for every recipient.
//!
//! Only `CRLF.CRLF` ends a message, on both sides: an octet sequence that another implementation
//! could read as the end of the message is refused or escaped, never passed on as it stands.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::expect_used,
        clippy::unreachable,
        clippy::as_conversions
    )
)]

mod address;
mod parameter;
mod command;
mod reply;
mod line;
mod base64;
mod credentials;
mod unstuff;
mod stuff;
pub mod server;
pub mod client;

pub use address::{AddressError, Mailbox, PATH_OCTETS_MAX, ReversePath};
pub use client::ClientSession;
pub use command::{Command, CommandError};
pub use credentials::Credentials;
pub use parameter::{Body, MailParams, Notify, OriginalRecipient, RcptParams, Ret, Xtext};
pub use reply::{Class, EnhancedCode, Reply, ReplyError, ReplyReader};
pub use server::ServerSession;
pub use stuff::Stuffer;
pub use unstuff::{BareNewline, Unstuffed, Unstuffer};
