//! Sessions: one link's protocol in either role, without I/O.
//!
//! A driver reads octets into [`Session::input`] and calls [`Session::handle_input`], takes
//! [`Event`]s from [`Session::poll_event`], writes what [`Session::take_output`] gives, and calls
//! [`Session::handle_timeout`] when [`Session::poll_timeout`] says. After [`Event::Unbound`],
//! [`Event::FramingLost`] or [`Event::LinkDead`] it writes what is left and closes the link;
//! [`Session::close`] then names every request whose outcome is unknown.
mod config;
mod event;
mod pending;
mod receive;
mod timers;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Instant;

use bytes::BytesMut;

pub use config::{Config, Role, TlvPolicy, WINDOW_MAX};
pub use event::{Dead, Event, RequestError};

use crate::command::CommandId;
use crate::flags::InterfaceVersion;
use crate::frame::Framer;
use crate::octets::Octets;
use crate::pdu::{Bind, BindMode, BindResp, Dialect, EncodeError, Pdu, Raw, encode, encode_header};
use crate::status::Status;
use crate::tlv::{Tlvs, tag};
use pending::{Kind, PendingTable};

/// Room for events that is kept between two reads.
const EVENTS_KEPT: usize = 512;

/// The longest PDU of a peer that has not bound: a bind, with room for parameters of vendors.
pub const UNBOUND_OCTETS_MAX: usize = 4096;
/// PDUs that a peer may send without binding.
pub const UNBOUND_PDUS_MAX: u32 = 20;

/// One link's state machine.
#[derive(Debug)]
pub struct Session {
    config: Config,
    framer: Framer,
    state: State,
    leaving: Leaving,
    dialect: Dialect,
    pending: PendingTable,
    unanswered: usize,
    /// PDUs that came before a bind.
    unbound_pdus: u32,
    events: VecDeque<Event>,
    output: BytesMut,
    clock: Clock,
}

/// How far the bind is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// A bind was sent (ESME) or waits for its answer (SMSC).
    Binding(BindMode),
    Bound(BindMode),
    Closed,
}

/// How far the farewell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    /// We want to unbind and wait for the answers to our requests until then.
    Draining(Instant),
    /// We sent an `unbind` and wait for its answer until then.
    Sent(Instant),
    /// The peer wants to unbind; it is answered when its requests are.
    Asked(u32),
}

/// When what happened last.
#[derive(Clone, Copy, Debug)]
struct Clock {
    opened: Instant,
    /// Any PDU came.
    received: Instant,
    /// A PDU other than `enquire_link` came or went.
    active: Instant,
    /// Since when an `enquire_link` is out and nothing came.
    enquiry: Option<Instant>,
    /// The sequence number of the last `enquire_link`, answered or not.
    last_enquiry: u32,
    misses: u32,
}

impl Session {
    /// A session on a link that was opened `now`.
    #[must_use]
    pub fn new(mut config: Config, now: Instant) -> Self {
        config.window = config.window.clamp(1, WINDOW_MAX);
        Self {
            framer: Framer::new(match config.role {
                Role::Smsc => config.pdu_octets_max.min(UNBOUND_OCTETS_MAX),
                Role::Esme => config.pdu_octets_max,
            }),
            state: State::Open,
            leaving: Leaving::No,
            dialect: Dialect {
                version: config.version,
                tlvs: config.tlvs != TlvPolicy::Never && config.version.has_tlvs(),
                long_credentials: config.long_credentials,
                long_fields: false,
            },
            pending: PendingTable::new(config.window),
            unanswered: 0,
            unbound_pdus: 0,
            events: VecDeque::new(),
            output: BytesMut::new(),
            clock: Clock {
                opened: now,
                received: now,
                active: now,
                enquiry: None,
                last_enquiry: 0,
                misses: 0,
            },
            config,
        }
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if event.is_none() && self.events.capacity() > EVENTS_KEPT {
            self.events.shrink_to(EVENTS_KEPT);
        }
        event
    }

    /// What is to be written, for a driver that wants to know how much that is.
    #[must_use]
    pub const fn output(&self) -> &BytesMut {
        &self.output
    }

    /// Takes what is to be written.
    pub fn take_output(&mut self) -> BytesMut {
        self.output.split()
    }

    /// Binds as an ESME.
    ///
    /// # Errors
    /// [`RequestError::NotAllowed`] if it was bound before, or the credentials cannot be written.
    pub fn bind(&mut self, now: Instant, bind: Bind) -> Result<u32, RequestError> {
        if self.config.role != Role::Esme || self.state != State::Open {
            return Err(RequestError::NotAllowed(bind.mode.command()));
        }
        let mode = bind.mode;
        let sequence = self.send(now, &Pdu::Bind(bind), Kind::Bind)?;
        self.state = State::Binding(mode);
        Ok(sequence)
    }

    /// Sends a request. Its outcome comes as [`Event::Response`] or [`Event::Timeout`] with
    /// `token`, or from [`Session::close`]; never twice. `outbind` and `alert_notification` have
    /// no outcome.
    ///
    /// # Errors
    /// [`RequestError`]; nothing was sent.
    pub fn request(&mut self, now: Instant, pdu: &Pdu, token: u64) -> Result<u32, RequestError> {
        let command = pdu.command();
        if self.leaving != Leaving::No {
            return Err(RequestError::Closing);
        }
        self.may_send(command)?;
        if command.is_unanswered() {
            let sequence = self.pending.next_sequence();
            encode(pdu, sequence, Status::ROK, &self.dialect, &mut self.output)?;
            self.clock.active = now;
            return Ok(sequence);
        }
        if self.window_free() == 0 {
            return Err(RequestError::WindowFull);
        }
        self.send(now, pdu, Kind::Request(token))
    }

    /// Answers [`Event::Request`]. A positive answer to a bind makes the session bound.
    ///
    /// # Errors
    /// [`EncodeError`] if the answer cannot be written; the request is then still unanswered.
    pub fn respond(
        &mut self,
        now: Instant,
        sequence: u32,
        status: Status,
        pdu: &Pdu,
    ) -> Result<(), EncodeError> {
        if self.state == State::Closed {
            return Ok(());
        }
        encode(pdu, sequence, status, &self.dialect, &mut self.output)?;
        self.answered(now, pdu.command(), status);
        Ok(())
    }

    /// Answers [`Event::Request`] with an error.
    pub fn refuse(&mut self, now: Instant, sequence: u32, request: CommandId, status: Status) {
        if self.state != State::Closed {
            encode_header(request.response(), status, sequence, &mut self.output);
            self.answered(now, request.response(), status);
        }
    }

    /// Accepts the bind in [`Event::Request`]: what is sent from now on is what the ESME's
    /// version knows.
    ///
    /// # Errors
    /// [`EncodeError`] if our `system_id` cannot be written.
    pub fn accept_bind(
        &mut self,
        now: Instant,
        sequence: u32,
        bind: &Bind,
        system_id: Octets,
    ) -> Result<(), EncodeError> {
        self.speak(Some(bind.interface_version));
        let mut tlvs = Tlvs::new();
        if self.dialect.tlvs {
            tlvs.push(tag::SC_INTERFACE_VERSION, &[self.config.version.0])
                .map_err(|_long| EncodeError::PduTooLong)?;
        }
        let resp = BindResp { mode: bind.mode, system_id, tlvs };
        self.respond(now, sequence, Status::ROK, &Pdu::BindResp(resp))
    }

    /// Ends the session in order: no new requests, answers awaited for the response timer, then
    /// `unbind`. [`Event::Unbound`] or [`Event::LinkDead`] tells the end.
    pub fn unbind(&mut self, now: Instant) {
        if self.leaving == Leaving::No && matches!(self.state, State::Bound(_)) {
            self.leaving = Leaving::Draining(now + self.config.response);
            self.send_unbind_when_drained(now);
        }
    }

    /// Ends the session because the link is gone or to be closed. Gives the tokens of all requests
    /// without an outcome, oldest first.
    pub fn close(&mut self) -> Vec<u64> {
        self.state = State::Closed;
        self.unanswered = 0;
        self.pending.take_all()
    }

    /// The bind's direction once it is bound.
    #[must_use]
    pub const fn mode(&self) -> Option<BindMode> {
        match self.state {
            State::Bound(mode) => Some(mode),
            _ => None,
        }
    }

    /// How the peer is spoken to.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// How many requests of ours are without an outcome.
    #[must_use]
    pub const fn pending(&self) -> usize {
        self.pending.requests()
    }

    /// How many more requests may be sent now; 0 unless bound and staying.
    #[must_use]
    pub fn window_free(&self) -> usize {
        if self.mode().is_none() || self.leaving != Leaving::No {
            return 0;
        }
        self.config.window.saturating_sub(self.pending.requests())
    }

    /// Changes the window, up to the one that the session began with.
    pub fn set_window(&mut self, window: usize) {
        self.config.window = window.clamp(1, self.pending.window_max());
    }

    /// Changes how long a link may be without a bind.
    pub const fn set_session_init(&mut self, session_init: std::time::Duration) {
        self.config.session_init = session_init;
    }

    /// Changes the response timer for requests from now on and those out.
    pub const fn set_response(&mut self, response: std::time::Duration) {
        self.config.response = response;
    }

    /// How many requests of the peer are without our answer. A driver stops reading when there
    /// are too many.
    #[must_use]
    pub const fn unanswered(&self) -> usize {
        self.unanswered
    }

    fn send(&mut self, now: Instant, pdu: &Pdu, kind: Kind) -> Result<u32, RequestError> {
        let sequence = self.pending.next_sequence();
        // Known before its octets leave: an answer can be as fast as the loopback.
        encode(pdu, sequence, Status::ROK, &self.dialect, &mut self.output)?;
        self.pending.insert(sequence, pdu.command(), kind, now);
        if kind != Kind::EnquireLink {
            self.clock.active = now;
        }
        Ok(sequence)
    }

    fn answered(&mut self, now: Instant, response: CommandId, status: Status) {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.clock.active = now;
        if let (State::Binding(mode), Role::Smsc) = (self.state, self.config.role)
            && response == mode.command().response()
        {
            self.state = if status.is_ok() { State::Bound(mode) } else { State::Open };
            if status.is_ok() {
                self.framer.allow(self.config.pdu_octets_max);
            }
            // An ESME may have sent more behind its bind.
            self.handle_input(now);
        }
        self.answer_unbind_when_done();
    }

    fn answer_unbind_when_done(&mut self) {
        if let Leaving::Asked(sequence) = self.leaving
            && self.unanswered == 0
            && self.state != State::Closed
        {
            let command = CommandId::UNBIND.response();
            encode_header(command, Status::ROK, sequence, &mut self.output);
            self.state = State::Closed;
            self.events.push_back(Event::Unbound);
        }
    }

    fn send_unbind_when_drained(&mut self, now: Instant) {
        if let Leaving::Draining(until) = self.leaving
            && (self.pending.requests() == 0 || now >= until)
        {
            self.leaving = Leaving::Sent(now + self.config.response);
            // An unbind has no field that could be wrong.
            if self.send(now, &Pdu::Unbind, Kind::Unbind).is_err() {
                self.die(Dead::Unbind);
            }
        }
    }

    /// Settles on what both know.
    fn speak(&mut self, peer: Option<InterfaceVersion>) {
        let ours = self.config.version;
        self.dialect.version = peer.map_or(ours, |peer| peer.min(ours));
        self.dialect.tlvs = match self.config.tlvs {
            TlvPolicy::Always => true,
            TlvPolicy::Never => false,
            // A peer that does not say takes them, whatever the standard says (v3.4 §3.4).
            TlvPolicy::Auto => self.dialect.version.has_tlvs(),
        };
    }

    fn may_send(&self, command: CommandId) -> Result<(), RequestError> {
        let allowed = match (self.config.role, self.state) {
            (Role::Smsc, State::Open) => return allow(command == CommandId::OUTBIND, command),
            (Role::Esme, State::Bound(mode)) => {
                mode.transmits() && receive::is_esme_to_smsc(command)
            }
            (Role::Smsc, State::Bound(mode)) => {
                mode.receives() && receive::is_smsc_to_esme(command)
            }
            _ => return Err(RequestError::NotBound),
        };
        allow(allowed, command)
    }

    fn die(&mut self, dead: Dead) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.events.push_back(Event::LinkDead(dead));
        }
    }
}

const fn allow(allowed: bool, command: CommandId) -> Result<(), RequestError> {
    if allowed { Ok(()) } else { Err(RequestError::NotAllowed(command)) }
}

/// The positive answer without parameters to a request that has one, for answers that say nothing
/// (`unbind_resp`, `cancel_sm_resp`, …).
#[must_use]
pub const fn empty_response(request: CommandId) -> Pdu {
    Pdu::Raw(Raw { command: request.response(), body: bytes::Bytes::new() })
}
