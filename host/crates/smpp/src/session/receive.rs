//! Octets from the peer.
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::pending::{Kind, Pending};
use super::{Dead, Event, Leaving, Role, Session, State, UNBOUND_PDUS_MAX};
use crate::command::CommandId;
use crate::pdu::{BindResp, DecodeFault, Decoded, Header, Pdu, decode, encode_header, header};
use crate::quirk::Quirks;
use crate::status::Status;

impl Session {
    /// Takes octets of the stream.
    pub fn handle_bytes(&mut self, now: Instant, octets: &[u8]) {
        self.framer.extend(octets);
        self.handle_input(now);
    }

    /// Where a driver may read into directly, before it calls [`Session::handle_input`].
    pub const fn input(&mut self) -> &mut BytesMut {
        self.framer.buffer()
    }

    /// Whether a driver may read: what comes behind a bind waits unread until the bind is answered.
    #[must_use]
    pub const fn wants_input(&self) -> bool {
        !matches!((self.state, self.config.role), (State::Binding(_), Role::Smsc))
    }

    /// Looks at what was read into [`Session::input`].
    pub fn handle_input(&mut self, now: Instant) {
        loop {
            match self.state {
                State::Closed => return self.framer.buffer().clear(),
                _ if !self.wants_input() => return,
                _ => {}
            }
            match self.framer.poll_frame() {
                Ok(Some(frame)) => self.handle_frame(now, &frame),
                Ok(None) => return,
                Err(lost) => {
                    let nack = CommandId::GENERIC_NACK;
                    let sequence = lost.sequence_number;
                    encode_header(nack, Status::RINVCMDLEN, sequence, &mut self.output);
                    self.state = State::Closed;
                    self.events.push_back(Event::FramingLost(lost));
                }
            }
        }
    }

    fn handle_frame(&mut self, now: Instant, frame: &Bytes) {
        let Some(header) = header(frame) else { return };
        if self.config.role == Role::Smsc && self.state == State::Open {
            self.unbound_pdus += 1;
            if self.unbound_pdus > UNBOUND_PDUS_MAX {
                return self.die(Dead::NotBound);
            }
        }
        self.clock.received = now;
        self.clock.misses = 0;
        // Whatever came is as good as an answer to `enquire_link`.
        self.clock.enquiry = None;
        if header.command.is_response() {
            self.handle_response(now, frame, header);
        } else {
            self.handle_request(now, frame, header);
        }
    }

    fn handle_request(&mut self, now: Instant, frame: &Bytes, header: Header) {
        let Header { command, sequence_number: sequence, .. } = header;
        if command == CommandId::ENQUIRE_LINK {
            return encode_header(command.response(), Status::ROK, sequence, &mut self.output);
        }
        if !command.is_known() {
            let fault = DecodeFault::UnknownCommand;
            encode_header(CommandId::GENERIC_NACK, Status::RINVCMDID, sequence, &mut self.output);
            let status = Status::RINVCMDID;
            let refused = Event::Refused { command, sequence, status, fault: Some(fault) };
            return self.events.push_back(refused);
        }
        self.clock.active = now;
        if let Err(status) = self.may_receive(command) {
            return self.refuse_frame(header, status, None);
        }
        match decode(frame) {
            Ok(Decoded { pdu: Pdu::Unbind, .. }) => {
                self.leaving = Leaving::Asked(sequence);
                self.answer_unbind_when_done();
            }
            Ok(Decoded { pdu, quirks, .. }) => {
                if let (Pdu::Bind(bind), Role::Smsc) = (&pdu, self.config.role) {
                    self.state = State::Binding(bind.mode);
                }
                if !command.is_unanswered() {
                    self.unanswered += 1;
                }
                self.events.push_back(Event::Request { sequence, pdu, quirks });
            }
            Err(error) => self.refuse_frame(header, error.status, Some(error.fault)),
        }
    }

    fn refuse_frame(&mut self, header: Header, status: Status, fault: Option<DecodeFault>) {
        let Header { command, sequence_number: sequence, .. } = header;
        if !command.is_unanswered() {
            encode_header(command.response(), status, sequence, &mut self.output);
        }
        self.events.push_back(Event::Refused { command, sequence, status, fault });
    }

    fn may_receive(&self, command: CommandId) -> Result<(), Status> {
        let is_bind = matches!(
            command,
            CommandId::BIND_RECEIVER | CommandId::BIND_TRANSMITTER | CommandId::BIND_TRANSCEIVER
        );
        let allowed = match (self.config.role, self.state) {
            (Role::Smsc, State::Open) => is_bind,
            (Role::Smsc, State::Bound(_)) if is_bind => return Err(Status::RALYBND),
            (Role::Esme, State::Open) => command == CommandId::OUTBIND,
            (_, State::Bound(_)) if matches!(self.leaving, Leaving::Asked(_)) => false,
            (_, State::Bound(_)) if command == CommandId::UNBIND => true,
            (Role::Smsc, State::Bound(mode)) => mode.transmits() && is_esme_to_smsc(command),
            (Role::Esme, State::Bound(mode)) => mode.receives() && is_smsc_to_esme(command),
            (_, State::Binding(_) | State::Closed) => false,
        };
        if allowed { Ok(()) } else { Err(Status::RINVBNDSTS) }
    }

    fn handle_response(&mut self, now: Instant, frame: &Bytes, header: Header) {
        let Header { command, status, sequence_number: sequence } = header;
        let Some(pending) = self.pending.answer(sequence, command) else {
            return self.events.push_back(Event::Orphan { command, sequence, status });
        };
        let (pdu, quirks) = match decode(frame) {
            Ok(decoded) => (decoded.pdu, decoded.quirks),
            // Only unknown commands fail, and those answer nothing of ours.
            Err(_unknown) => (Pdu::GenericNack, Quirks::default()),
        };
        // A nack says that the request was not understood, whatever else it says.
        let status = if command == CommandId::GENERIC_NACK && status.is_ok() {
            Status::RUNKNOWNERR
        } else {
            status
        };
        match pending.kind {
            Kind::Request(token) => {
                self.clock.active = now;
                let latency = now.saturating_duration_since(pending.sent);
                self.events.push_back(Event::Response { token, status, pdu, latency, quirks });
            }
            Kind::Bind => self.handle_bind_response(&pending, status, pdu),
            Kind::EnquireLink => {}
            Kind::Unbind => {
                self.state = State::Closed;
                self.events.push_back(Event::Unbound);
            }
        }
        self.send_unbind_when_drained(now);
    }

    fn handle_bind_response(&mut self, pending: &Pending, status: Status, pdu: Pdu) {
        let State::Binding(mode) = self.state else { return };
        debug_assert_eq!(pending.command, mode.command());
        if !status.is_ok() {
            self.state = State::Open;
            return self.events.push_back(Event::BindRefused { status });
        }
        let resp = match pdu {
            Pdu::BindResp(resp) => resp,
            _ => BindResp { mode, ..BindResp::default() },
        };
        self.speak(resp.sc_interface_version());
        self.state = State::Bound(mode);
        self.events.push_back(Event::Bound { resp, version: self.dialect.version });
    }
}

/// Requests that an ESME sends on a transmitter (v3.4 Table 2-1).
pub(super) const fn is_esme_to_smsc(command: CommandId) -> bool {
    matches!(
        command,
        CommandId::SUBMIT_SM
            | CommandId::SUBMIT_MULTI
            | CommandId::DATA_SM
            | CommandId::QUERY_SM
            | CommandId::CANCEL_SM
            | CommandId::REPLACE_SM
            | CommandId::BROADCAST_SM
            | CommandId::QUERY_BROADCAST_SM
            | CommandId::CANCEL_BROADCAST_SM
    )
}

/// Requests that an SMSC sends on a receiver (v3.4 Table 2-1).
pub(super) const fn is_smsc_to_esme(command: CommandId) -> bool {
    matches!(command, CommandId::DELIVER_SM | CommandId::DATA_SM | CommandId::ALERT_NOTIFICATION)
}
