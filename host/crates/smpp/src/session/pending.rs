//! Requests of ours without an outcome.
use std::time::{Duration, Instant};

use super::config::WINDOW_MAX;
use crate::command::CommandId;

/// Room for the session's own requests beside the window's: bind, unbind, `enquire_link`.
const OWN_REQUESTS_MAX: usize = 8;
/// The largest sequence number that we use (v3.4 §5.1.4).
const SEQUENCE_MAX: u32 = 0x7FFF_FFFF;

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request(u64),
    Bind,
    EnquireLink,
    Unbind,
}

/// One request without an outcome.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) command: CommandId,
    pub(super) kind: Kind,
    pub(super) sent: Instant,
    sequence: u32,
    /// Counts up, so that the oldest can be told after the sequence numbers have wrapped.
    order: u64,
}

/// A table with at least twice as many places as there can be requests, found by the low bits of
/// the sequence number. A number whose place is taken is left out.
#[derive(Debug)]
pub(super) struct PendingTable {
    places: Box<[Option<Pending>]>,
    mask: u32,
    window_max: usize,
    last_sequence: u32,
    order: u64,
    requests: usize,
    /// No request was sent before this; `None` if it must be found out.
    oldest: Option<Instant>,
    taken: usize,
}

impl PendingTable {
    pub(super) fn new(window: usize) -> Self {
        let window_max = window.clamp(1, WINDOW_MAX);
        let places = (2 * (window_max + OWN_REQUESTS_MAX)).next_power_of_two();
        Self {
            places: vec![None; places].into_boxed_slice(),
            mask: u32::try_from(places - 1).unwrap_or(u32::MAX),
            window_max,
            last_sequence: 0,
            order: 0,
            requests: 0,
            oldest: None,
            taken: 0,
        }
    }

    pub(super) const fn window_max(&self) -> usize {
        self.window_max
    }

    /// How many of the driver's requests are in it.
    pub(super) const fn requests(&self) -> usize {
        self.requests
    }

    /// A sequence number whose place is free. One is always found within one round, since half of
    /// the places are free.
    pub(super) fn next_sequence(&mut self) -> u32 {
        for _ in 0..self.places.len() {
            self.last_sequence =
                if self.last_sequence >= SEQUENCE_MAX { 1 } else { self.last_sequence + 1 };
            let sequence = self.last_sequence;
            if self.place(sequence).is_some_and(|place| place.is_none()) {
                break;
            }
        }
        self.last_sequence
    }

    pub(super) fn insert(&mut self, sequence: u32, command: CommandId, kind: Kind, sent: Instant) {
        self.order += 1;
        let pending = Pending { command, kind, sent, sequence, order: self.order };
        if let Some(place) = self.place(sequence) {
            *place = Some(pending);
            self.taken += 1;
            self.requests += usize::from(matches!(kind, Kind::Request(_)));
            if self.taken == 1 {
                self.oldest = Some(sent);
            }
        }
    }

    /// Takes out the request that `response` with this number answers.
    pub(super) fn answer(&mut self, sequence: u32, response: CommandId) -> Option<Pending> {
        let place = self.place(sequence)?;
        let pending = (*place)?;
        let answers = response == CommandId::GENERIC_NACK
            || response == pending.command.response()
            || (pending.kind == Kind::Bind && is_bind_response(response));
        if pending.sequence != sequence || !answers {
            return None;
        }
        *place = None;
        self.removed(&pending);
        Some(pending)
    }

    /// Forgets a request of the session's own.
    pub(super) fn forget(&mut self, sequence: u32) {
        if let Some(place) = self.place(sequence)
            && let Some(pending) = *place
            && pending.sequence == sequence
        {
            *place = None;
            self.removed(&pending);
        }
    }

    /// No request can be overdue before this.
    pub(super) fn deadline(&self, response: Duration) -> Option<Instant> {
        if self.taken == 0 { None } else { self.oldest.map(|oldest| oldest + response) }
    }

    /// Takes out all requests that were sent `response` ago or earlier, oldest first.
    pub(super) fn take_overdue(&mut self, now: Instant, response: Duration) -> Vec<Pending> {
        let mut overdue = Vec::new();
        let mut oldest = None;
        for place in &mut self.places {
            let Some(pending) = *place else { continue };
            if now.saturating_duration_since(pending.sent) >= response {
                *place = None;
                overdue.push(pending);
            } else {
                oldest = Some(oldest.map_or(pending.sent, |at: Instant| at.min(pending.sent)));
            }
        }
        for pending in &overdue {
            self.removed(pending);
        }
        self.oldest = oldest;
        overdue.sort_unstable_by_key(|pending| pending.order);
        overdue
    }

    /// Takes out everything; gives the driver's tokens, oldest first.
    pub(super) fn take_all(&mut self) -> Vec<u64> {
        let mut all: Vec<Pending> = self.places.iter_mut().filter_map(Option::take).collect();
        all.sort_unstable_by_key(|pending| pending.order);
        self.requests = 0;
        self.taken = 0;
        self.oldest = None;
        all.iter()
            .filter_map(|pending| match pending.kind {
                Kind::Request(token) => Some(token),
                Kind::Bind | Kind::EnquireLink | Kind::Unbind => None,
            })
            .collect()
    }

    #[cfg(test)]
    pub(super) const fn set_last_sequence(&mut self, sequence: u32) {
        self.last_sequence = sequence;
    }

    fn place(&mut self, sequence: u32) -> Option<&mut Option<Pending>> {
        let at = usize::try_from(sequence & self.mask).ok()?;
        self.places.get_mut(at)
    }

    fn removed(&mut self, pending: &Pending) {
        self.taken = self.taken.saturating_sub(1);
        if matches!(pending.kind, Kind::Request(_)) {
            self.requests = self.requests.saturating_sub(1);
        }
    }
}

const fn is_bind_response(response: CommandId) -> bool {
    matches!(
        response.request(),
        CommandId::BIND_RECEIVER | CommandId::BIND_TRANSMITTER | CommandId::BIND_TRANSCEIVER
    )
}
