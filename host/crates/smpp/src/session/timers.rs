//! Time passes.
use std::time::Instant;

use super::pending::Kind;
use super::{Dead, Event, Leaving, Role, Session, State};
use crate::pdu::Pdu;

impl Session {
    /// When [`Session::handle_timeout`] wants to be called; `None` is never.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let next = match self.state {
            State::Closed => return None,
            // It is us who let the peer wait.
            State::Binding(_) if self.config.role == Role::Smsc => None,
            State::Open | State::Binding(_) => Some(self.clock.opened + self.config.session_init),
            State::Bound(_) => Some(self.enquiry_due()),
        };
        let leaving = match self.leaving {
            Leaving::Draining(until) | Leaving::Sent(until) => Some(until),
            Leaving::No | Leaving::Asked(_) => None,
        };
        let overdue = self.pending.deadline(self.config.response);
        let inactive = self.config.inactivity.map(|time| self.clock.active + time);
        [next, leaving, overdue, inactive].into_iter().flatten().min()
    }

    /// Does what is due. It may be called too early or too often.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.state == State::Closed {
            return;
        }
        if self.pending.deadline(self.config.response).is_some_and(|due| now >= due) {
            self.time_out_requests(now);
        }
        match self.state {
            State::Binding(_) if self.config.role == Role::Smsc => {}
            State::Open | State::Binding(_) => {
                if now >= self.clock.opened + self.config.session_init {
                    self.die(Dead::SessionInit);
                }
            }
            State::Bound(_) if now >= self.enquiry_due() => self.enquire(now),
            State::Bound(_) | State::Closed => {}
        }
        match self.leaving {
            Leaving::Draining(_) => self.send_unbind_when_drained(now),
            Leaving::Sent(until) if now >= until => self.die(Dead::Unbind),
            Leaving::No | Leaving::Sent(_) | Leaving::Asked(_) => {}
        }
        if self.config.inactivity.is_some_and(|time| now >= self.clock.active + time) {
            self.die(Dead::Inactivity);
        }
    }

    /// The driver is not reading: the peer's silence means nothing.
    pub const fn excuse_silence(&mut self, now: Instant) {
        self.clock.received = now;
        self.clock.enquiry = None;
        self.clock.misses = 0;
    }

    fn time_out_requests(&mut self, now: Instant) {
        for pending in self.pending.take_overdue(now, self.config.response) {
            match pending.kind {
                Kind::Request(token) => self.events.push_back(Event::Timeout { token }),
                Kind::Bind => self.die(Dead::SessionInit),
                Kind::Unbind => self.die(Dead::Unbind),
                Kind::EnquireLink => {}
            }
        }
    }

    /// When the silence has been long enough to ask, or to hold the question for unanswered.
    fn enquiry_due(&self) -> Instant {
        match self.clock.enquiry {
            Some(asked) => asked + self.config.response.min(self.config.enquire_link),
            None => self.clock.received + self.config.enquire_link,
        }
    }

    fn enquire(&mut self, now: Instant) {
        self.pending.forget(self.clock.last_enquiry);
        if self.clock.enquiry.take().is_some() {
            self.clock.misses += 1;
            if self.clock.misses >= self.config.enquire_link_misses_max {
                return self.die(Dead::EnquireLink);
            }
        }
        // It has no field that could be wrong, and the table has room beside the window.
        if let Ok(sequence) = self.send(now, &Pdu::EnquireLink, Kind::EnquireLink) {
            self.clock.enquiry = Some(now);
            self.clock.last_enquiry = sequence;
        }
    }
}
