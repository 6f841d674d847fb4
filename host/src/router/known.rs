//! What an ESME may ask about its messages (query_sm), also when the spool does not hold them any
//! more: small values of their own, which expire.
//!
//! That a next hop took a message and what became of it there are two values: a receipt may be
//! written before the answer that it belongs to, and must not be overwritten by it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use message::record;
use message::{MessageId, Origin, Protocol, Timestamp};
use serde::{Deserialize, Serialize};
use spool::Batch;

use super::Router;
use crate::config::Config;
use crate::delivery::Answers;
use crate::receipt::ENROUTE;
use crate::receipt::answer::Outcome;
use crate::spooler::load;

/// What an ESME may know of its message (query_sm, SMPP v3.4 §4.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// message_state.
    pub state: u8,
    /// When it ended, if it did.
    pub ended: Option<Timestamp>,
    /// error_code, the network's; 0 if there is none, or none that fits.
    pub error: u8,
}

/// What is kept of a message that has left the spool.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    account: Arc<str>,
    state: u8,
    at: Timestamp,
    error: u8,
}

/// Whose message it is and under which id, if anybody may ask for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    account: &'a Arc<str>,
    message: MessageId,
    ttl: Duration,
}

impl<'a> Asked<'a> {
    /// None for mail, copies, and accounts whose answers are not kept.
    pub(super) fn of(
        config: &Config,
        origin: &'a Origin,
        message: MessageId,
        answers: Answers,
    ) -> Option<Self> {
        let asks = origin.protocol == Protocol::Smpp && answers != Answers::Copy;
        let account = config.accounts.get(&origin.account).filter(|_| asks)?;
        let ttl = account.query_ttl;
        (!ttl.is_zero()).then_some(Self { account: &origin.account, message, ttl })
    }

    /// Keeps that the next hop has it and a receipt will say the rest.
    pub(super) fn handed_over(&self, batch: &mut Batch, now: Timestamp) {
        self.keep(batch, handed_over_key(self.message), (ENROUTE, 0), now);
    }

    /// Keeps what became of it, if that is final.
    pub(super) fn ended(&self, batch: &mut Batch, outcome: &Outcome) {
        if outcome.last {
            let error = u8::try_from(outcome.cause.code).unwrap_or(0);
            self.keep(batch, ended_key(self.message), (outcome.state, error), outcome.at);
        }
    }

    fn keep(&self, batch: &mut Batch, key: Bytes, (state, error): (u8, u8), at: Timestamp) {
        let kept = Kept { account: Arc::clone(self.account), state, at, error };
        // Every value has an encoding; one that had none would only not be told.
        if let Ok(value) = record::encode(&kept) {
            batch.put_key(key, value, at.after(self.ttl).as_ms());
        }
    }
}

impl Router {
    /// The state of a message for the account that sent it; none if we know nothing of it, or not any
    /// more.
    #[must_use]
    pub fn query(&self, account: &str, id: MessageId) -> Option<Known> {
        if let Ok(queued) = load(&self.spool, id) {
            let known = Known { state: ENROUTE, ended: None, error: 0 };
            return (&*queued.delivery.account == account).then_some(known);
        }
        let kept = self.kept(&ended_key(id)).or_else(|| self.kept(&handed_over_key(id)))?;
        let Kept { account: whose, state, at, error } = kept;
        let ended = (state != ENROUTE).then_some(at);
        (*whose == *account).then_some(Known { state, ended, error })
    }

    fn kept(&self, key: &[u8]) -> Option<Kept> {
        let found = self.spool.find(key).unwrap_or_else(|error| {
            tracing::error!(event = "spool.read", %error);
            None
        });
        record::decode(&found?).ok()
    }
}

fn handed_over_key(id: MessageId) -> Bytes {
    key(b"h/", id)
}

fn ended_key(id: MessageId) -> Bytes {
    key(b"q/", id)
}

fn key(prefix: &[u8], id: MessageId) -> Bytes {
    Bytes::from([prefix, &id.as_u64().to_be_bytes()].concat())
}
