//! Short messages between the common model and SMPP, the same for both roles: what came in
//! ([`read`]), what goes out ([`compose`]), what an answer means ([`verdict`]), and what is on its
//! way over one session ([`flight`]), and which parts make one message ([`join`]).
//!
//! In the model `data_coding` 0 is GSM 03.38, one septet in an octet. What it is at a peer is
//! translated here, in both directions; everything else passes octet by octet.

pub mod read;
pub mod compose;
pub mod references;
pub mod verdict;
pub mod flight;
pub mod join;
pub mod link;

use smpp::InterfaceVersion;

use crate::config::SmppVersion;

/// A version as it stands on the wire.
#[must_use]
pub const fn version(version: SmppVersion) -> InterfaceVersion {
    match version {
        SmppVersion::V33 => InterfaceVersion::V33,
        SmppVersion::V34 => InterfaceVersion::V34,
        SmppVersion::V50 => InterfaceVersion::V50,
    }
}
