//! What a session is told at its start.
use std::time::Duration;

use crate::flags::InterfaceVersion;
use crate::frame::PDU_OCTETS_MAX_DEFAULT;

/// The largest window: what one session may have in flight.
pub const WINDOW_MAX: usize = 4096;

/// Which end of the link we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The one that binds.
    Esme,
    /// The one that is bound to.
    Smsc,
}

/// Whether the peer gets optional parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TlvPolicy {
    /// If its version has them.
    #[default]
    Auto,
    /// Whatever it says.
    Always,
    /// Never.
    Never,
}

/// Limits and timers of a session (v3.4 §7.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which end we are.
    pub role: Role,
    /// The highest version we speak.
    pub version: InterfaceVersion,
    /// Whether the peer gets optional parameters.
    pub tlvs: TlvPolicy,
    /// Send names, passwords and types of systems that are longer than the standard allows.
    pub long_credentials: bool,
    /// The longest PDU taken.
    pub pdu_octets_max: usize,
    /// How many requests may be without an answer, 1 to [`WINDOW_MAX`].
    pub window: usize,
    /// How long a link may be without a bind.
    pub session_init: Duration,
    /// After how much silence the peer is asked whether it is there.
    pub enquire_link: Duration,
    /// How many of these questions may go unanswered, at least 1.
    pub enquire_link_misses_max: u32,
    /// How long a request may be without an answer.
    pub response: Duration,
    /// How long a session may carry no message; `None` is for ever.
    pub inactivity: Option<Duration>,
}

impl Config {
    /// The usual values for one end.
    #[must_use]
    pub const fn new(role: Role) -> Self {
        Self {
            role,
            version: InterfaceVersion::V34,
            tlvs: TlvPolicy::Auto,
            long_credentials: false,
            pdu_octets_max: PDU_OCTETS_MAX_DEFAULT,
            window: 10,
            session_init: Duration::from_secs(5),
            enquire_link: Duration::from_secs(30),
            enquire_link_misses_max: 2,
            response: Duration::from_secs(30),
            inactivity: None,
        }
    }
}
