//! What is said of what cannot be planned.

use crate::config::Reply;
use crate::pipeline::reply;

/// The refusal of what no route takes.
#[must_use]
pub fn no_route() -> Reply {
    reply(550, "5.4.4", 0x0B, "No route to this recipient")
}

/// The refusal of an answer to a number that got so many that a program must be asking for them.
pub(super) fn too_many_answers() -> Reply {
    reply(550, "5.4.6", 0x45, "Too many answers to this number: does a program answer them?")
}

/// The refusal, for now, of what finds every queue full.
#[must_use]
pub fn queue_full() -> Reply {
    reply(452, "4.3.1", 0x14, "Queue full, try again later")
}
