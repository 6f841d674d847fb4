//! What a session tells its driver.
use std::time::Duration;

use thiserror::Error;

use crate::command::CommandId;
use crate::flags::InterfaceVersion;
use crate::frame::FramingLost;
use crate::pdu::{BindResp, DecodeFault, EncodeError, Pdu};
use crate::quirk::Quirks;
use crate::status::Status;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer wants something; answer with `respond`, `refuse` or `accept_bind`. `outbind` and
    /// `alert_notification` get no answer.
    Request {
        /// To be given back with the answer.
        sequence: u32,
        /// What it wants.
        pdu: Pdu,
        /// What was odd about it.
        quirks: Quirks,
    },
    /// A request of ours was answered.
    Response {
        /// The one given with the request.
        token: u64,
        /// How it ended; a `generic_nack` counts as an answer, its status is never ROK.
        status: Status,
        /// The answer.
        pdu: Pdu,
        /// How long it took.
        latency: Duration,
        /// What was odd about it.
        quirks: Quirks,
    },
    /// A request of ours was not answered in time; its outcome is unknown.
    Timeout {
        /// The one given with the request.
        token: u64,
    },
    /// Our bind was accepted.
    Bound {
        /// The answer.
        resp: BindResp,
        /// The version that both speak.
        version: InterfaceVersion,
    },
    /// Our bind was refused. The session can bind again; most drivers close and come back later.
    BindRefused {
        /// Why.
        status: Status,
    },
    /// One side unbound and the other agreed: write what is left and close.
    Unbound,
    /// The session answered a request with an error by itself.
    Refused {
        /// What the peer wanted.
        command: CommandId,
        /// Its sequence number.
        sequence: u32,
        /// The answer; it was sent unless the command has none.
        status: Status,
        /// What is wrong with the PDU; `None` if it came in a wrong state.
        fault: Option<DecodeFault>,
    },
    /// A response to nothing that we wait for: too late, twice, or with a wrong number.
    Orphan {
        /// What it claims to answer.
        command: CommandId,
        /// Its sequence number.
        sequence: u32,
        /// Its status.
        status: Status,
    },
    /// The stream makes no sense any more: write what is left and close.
    FramingLost(FramingLost),
    /// The peer is not there any more: close.
    LinkDead(Dead),
}

/// Why a link is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Dead {
    /// Nobody bound in time, or the bind was not answered.
    #[error("no bind within the session_init time")]
    SessionInit,
    /// Much was said, and no bind.
    #[error("too many PDUs without a bind")]
    NotBound,
    /// Nothing came back, not even to `enquire_link`.
    #[error("no answer to enquire_link")]
    EnquireLink,
    /// No message for too long.
    #[error("no message within the inactivity time")]
    Inactivity,
    /// Our `unbind` was not answered.
    #[error("no answer to unbind")]
    Unbind,
}

/// A request cannot be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Too many are without an answer.
    #[error("the window is full")]
    WindowFull,
    /// The session is not bound.
    #[error("the session is not bound")]
    NotBound,
    /// The bind does not allow it in this direction.
    #[error("{0} is not allowed on this bind")]
    NotAllowed(CommandId),
    /// The session is ending.
    #[error("the session is ending")]
    Closing,
    /// The PDU cannot be written.
    #[error("the PDU cannot be written: {0}")]
    Encode(#[from] EncodeError),
}
