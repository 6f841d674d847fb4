//! The receiving side of a connection (RFC 5321 §3), as a state machine.
//!
//! ```text
//! session.greet(now);
//! loop {
//!     while let Some(event) = session.poll_event(now) {
//!         // decide, at once or after a while, and
//!         session.reply(now, reply);
//!     }
//!     // write session.output(), then read into session.input() and
//!     session.handle_read(now);
//! }
//! ```
//!
//! All answers between two reads go out in one write, as PIPELINING wants it.

mod config;
mod event;
mod answers;
mod execute;
mod auth;
mod chunk;
mod deadline;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};

pub use config::{Auth, Extensions, Limits, ServerConfig, StartTls, Timeouts};
pub use event::{CloseReason, Event, Stats};

use crate::line::{Line, LineSplitter};
use crate::{BareNewline, Class, Command, CommandError, Reply, Unstuffer, unstuff};
use auth::AuthStep;
use chunk::Chunks;
use deadline::Deadlines;

/// Memory reserved for a message whose announced size cannot be believed yet.
const BODY_RESERVE_MAX: usize = 64 * 1024;

/// One connection to a peer that sends us mail.
#[derive(Debug)]
pub struct ServerSession {
    config: Arc<ServerConfig>,
    input: BytesMut,
    output: BytesMut,
    prefix: Vec<u8>,
    lines: LineSplitter,
    events: VecDeque<Event>,
    state: State,
    /// What BDAT brought so far.
    chunks: Option<Box<Chunks>>,
    /// The question that the driver has not answered yet.
    asked: Option<Question>,
    hello: Option<Hello>,
    transaction: Option<Transaction>,
    secured: bool,
    authenticated: bool,
    shutdown: bool,
    /// The peer closed its side; what it sent before that still counts.
    eof: bool,
    deadlines: Deadlines,
    idle_commands: u32,
    messages: u32,
    errors: u32,
    /// The answer that is held back; nothing goes on before it.
    withheld: Option<Withheld>,
    stats: Stats,
}

#[derive(Debug)]
struct Withheld {
    reply: Reply,
    wait: Duration,
    /// Known from the first look at the time.
    due: Option<Instant>,
}

#[derive(Debug)]
enum State {
    /// Before the greeting.
    New,
    Command,
    /// Between AUTH and its last response.
    Auth(AuthStep),
    /// Between 354 and the end of the message.
    Data(Box<Receiving>),
    /// Within a chunk.
    Chunk,
    /// Within a chunk that nobody wants; the answer comes behind it.
    Discard {
        left: u64,
        reply: Reply,
    },
    /// Between the answer to STARTTLS and the end of the handshake.
    Handshake,
    Closed,
}

#[derive(Debug)]
struct Receiving {
    unstuffer: Unstuffer,
    body: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Auth,
    Mail(Transaction),
    Rcpt,
    Data,
    Chunk { octets: u64, last: bool },
    Message,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hello {
    Basic,
    Extended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Transaction {
    smtputf8: bool,
    size_bytes: u64,
    recipients: usize,
    refused: usize,
}

impl ServerSession {
    /// A session on a fresh connection; `secured` when TLS is on already.
    #[must_use]
    pub fn new(config: Arc<ServerConfig>, now: Instant, secured: bool) -> Self {
        Self {
            input: BytesMut::new(),
            output: BytesMut::new(),
            prefix: Vec::new(),
            lines: LineSplitter::new(config.limits.line_octets_max),
            events: VecDeque::new(),
            state: State::New,
            chunks: None,
            asked: None,
            hello: None,
            transaction: None,
            secured,
            authenticated: false,
            shutdown: false,
            eof: false,
            deadlines: Deadlines::new(now, &config.timeouts),
            idle_commands: 0,
            messages: 0,
            errors: 0,
            withheld: None,
            stats: Stats::default(),
            config,
        }
    }

    /// Greets the peer, which may speak from now on.
    pub fn greet(&mut self, now: Instant) {
        if !matches!(self.state, State::New) {
            return;
        }
        if self.config.refuse_early_talkers && !self.input.is_empty() {
            self.close(&answers::EARLY, CloseReason::Violation);
            return;
        }
        let text = format!("{} {}", self.config.hostname, self.config.greeting);
        Reply::plain(220, "").with_text(text).write_to(&mut self.output);
        self.state = State::Command;
        self.deadlines.greeted(now, &self.config.timeouts);
    }

    /// Turns the peer away instead of greeting it, with 421 or 554.
    pub fn refuse(&mut self, reply: &Reply) {
        self.close(reply, CloseReason::Refused);
    }

    /// Where the driver reads octets into; [`handle_read`](Self::handle_read) follows.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Octets were added to the input.
    pub fn handle_read(&mut self, now: Instant) {
        self.deadlines.progress(now, &self.config.timeouts);
        if matches!(self.state, State::Closed) {
            self.input.clear();
        }
    }

    /// Takes octets from a driver that reads into a buffer of its own.
    pub fn handle_bytes(&mut self, now: Instant, octets: &[u8]) {
        self.input.extend_from_slice(octets);
        self.handle_read(now);
    }

    /// The peer closed its side. What it sent before is still worked off.
    pub fn handle_eof(&mut self) {
        self.eof = true;
    }

    /// The time of [`poll_timeout`](Self::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        if let Some(Withheld { reply, .. }) = self.withheld.take() {
            return self.release(now, &reply);
        }
        let slow =
            matches!(self.state, State::Data(_) | State::Chunk) && !self.deadlines.is_silent(now);
        let reply = if slow { &answers::TOO_SLOW } else { &answers::TIMED_OUT };
        self.close(reply, CloseReason::TimedOut);
    }

    /// The handshake that [`Event::StartTls`] asked for is done. Nothing said before it counts.
    pub fn handle_tls_started(&mut self, now: Instant) {
        if matches!(self.state, State::Handshake) {
            self.state = State::Command;
            self.secured = true;
            self.authenticated = false;
            self.hello = None;
            self.transaction = None;
            self.chunks = None;
            self.input.clear();
            self.lines.reset();
            self.deadlines.greeted(now, &self.config.timeouts);
        }
    }

    /// The host is shutting down. A message that is coming may still come and is answered; everything
    /// else ends now with 421.
    pub fn handle_shutdown(&mut self) {
        self.shutdown = true;
        if (self.asked.is_none() || self.withheld.is_some())
            && matches!(self.state, State::New | State::Command | State::Auth(_))
        {
            self.close(&answers::SHUTDOWN, CloseReason::Shutdown);
        }
    }

    /// What happened next, until there is nothing more to be made of the input.
    pub fn poll_event(&mut self, now: Instant) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if let Some(withheld) = &mut self.withheld {
                withheld.due = withheld.due.or_else(|| now.checked_add(withheld.wait));
                return None;
            }
            if self.asked.is_some() {
                return None;
            }
            let progress = match self.state {
                State::Command | State::Auth(_) => self.next_line(now),
                State::Data(_) => self.next_data(now),
                State::Chunk => self.next_chunk(now),
                State::Discard { .. } => self.next_discarded(),
                State::New | State::Handshake | State::Closed => false,
            };
            if !progress && !self.eof {
                return None;
            }
            if !progress {
                self.eof = false;
                self.close_silently(CloseReason::PeerGone);
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called. Time that the host takes to
    /// answer is not the peer's.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if let Some(withheld) = &self.withheld {
            return withheld.due;
        }
        if self.asked.is_some() {
            return None;
        }
        match self.state {
            State::New | State::Closed => None,
            State::Command | State::Auth(_) | State::Discard { .. } | State::Handshake => {
                self.deadlines.command()
            }
            State::Data(_) | State::Chunk => self.deadlines.data(),
        }
    }

    /// Whether more octets may be read; not while much is read ahead of an answer.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        !self.eof
            && self.input.len() < self.config.limits.buffered_octets_max
            && !matches!(self.state, State::Handshake | State::Closed)
    }

    /// Lets the peer be silent for so long at most, until this is called with nothing: there are too
    /// many peers. It counts from when the peer was heard last, and fewer commands may lead to nothing.
    pub fn hurry(&mut self, silence: Option<Duration>) {
        self.deadlines.hurry(silence);
    }

    /// What is to be written; the driver takes it off the front.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Puts octets, such as a `Received` field, in front of the next message. They do not count
    /// towards its size, and spare copying it to put them there later.
    pub fn set_prefix(&mut self, prefix: Vec<u8>) {
        self.prefix = prefix;
    }

    /// Answers the last event that asked after a wait, during which nothing else is done: what was
    /// sent behind the question waits as well.
    pub fn reply_after(&mut self, now: Instant, wait: Duration, reply: &Reply) {
        if wait.is_zero() {
            self.reply(now, reply);
        } else if self.asked.is_some() {
            let due = now.checked_add(wait);
            self.withheld = Some(Withheld { reply: reply.clone(), wait, due });
        }
    }

    /// Answers the last event that asked. Without one it does nothing.
    ///
    /// 421 also ends the session.
    pub fn reply(&mut self, now: Instant, reply: &Reply) {
        let Some(question) = self.asked.take() else { return };
        self.deadlines.answered(now, &self.config.timeouts);
        match question {
            Question::Mail(transaction) if reply.is_done() => self.transaction = Some(transaction),
            Question::Rcpt => self.count_recipient(reply.is_done()),
            Question::Data if matches!(reply.class(), Class::Done | Class::Continue) => {
                self.receive(now);
                answers::SEND_DATA.write_to(&mut self.output);
                return;
            }
            Question::Chunk { octets, last }
                if matches!(reply.class(), Class::Done | Class::Continue) =>
            {
                self.begin_chunks(now, octets, last);
                return;
            }
            Question::Chunk { octets, .. } => {
                self.transaction = None;
                if reply.code != 421 {
                    self.discard(octets, reply.clone());
                    return;
                }
            }
            Question::Data => self.transaction = None,
            Question::Message => self.count_message(reply.is_done()),
            Question::Auth if reply.is_done() => self.authenticated = true,
            Question::Mail(_) | Question::Auth => {}
        }
        if reply.code == 421 {
            self.close(reply, CloseReason::Refused);
            return;
        }
        self.answer(reply);
        if self.shutdown && question == Question::Message {
            self.close(&answers::SHUTDOWN, CloseReason::Shutdown);
        }
    }

    /// Whether TLS is on.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        self.secured
    }

    /// Whether [`Event::Auth`] was answered 2xx.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// Whether the session is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Memory that the session holds, in octets: what came and is not handed on yet.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        let body = match &self.state {
            State::Data(receiving) => receiving.body.capacity(),
            _ => self.chunks.as_ref().map_or(0, |chunks| chunks.buffered_bytes()),
        };
        self.input.capacity().saturating_add(body)
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    fn next_line(&mut self, now: Instant) -> bool {
        let Some(line) = self.lines.next(&mut self.input) else { return false };
        self.deadlines.command_read(now, &self.config.timeouts);
        self.stats.commands = self.stats.commands.saturating_add(1);
        let (octets, with_end) = match line {
            Line::Whole { octets, with_end } => (octets, with_end),
            Line::Bare { octets, with_end }
                if self.config.bare_newline == BareNewline::Normalize =>
            {
                (octets, with_end)
            }
            Line::Bare { with_end, .. } => {
                self.input.advance(with_end);
                self.answer(&answers::BARE_COMMAND);
                return true;
            }
            Line::TooLong => {
                self.answer(&answers::LINE_TOO_LONG);
                return true;
            }
        };
        if let State::Auth(step) = &mut self.state {
            let step = std::mem::take(step);
            let response = self.input.split_to(with_end);
            self.auth_response(step, response.get(..octets).unwrap_or_default());
            return true;
        }
        let command = Command::parse(self.input.get(..octets).unwrap_or_default());
        self.input.advance(with_end);
        match command {
            Ok(command) => self.execute(command),
            Err(CommandError::Http) => {
                let reply = answers::command_error(&CommandError::Http);
                self.close(&reply, CloseReason::Violation);
            }
            Err(error) => self.answer(&answers::command_error(&error)),
        }
        true
    }

    fn receive(&mut self, now: Instant) {
        let limit = self.config.limits.message_bytes_max;
        let announced = self.transaction.map_or(0, |open| open.size_bytes);
        let reserve = usize::try_from(announced).unwrap_or(usize::MAX).min(BODY_RESERVE_MAX);
        let unstuffer = Unstuffer::new(self.config.bare_newline, limit);
        let mut body = std::mem::take(&mut self.prefix);
        body.reserve(reserve);
        self.state = State::Data(Box::new(Receiving { unstuffer, body }));
        self.deadlines.data_started(now, &self.config.timeouts);
    }

    fn next_data(&mut self, now: Instant) -> bool {
        let State::Data(receiving) = &mut self.state else { return false };
        let Receiving { unstuffer, body } = &mut **receiving;
        let unstuffed = unstuffer.push(&self.input, body);
        self.input.advance(unstuffed.consumed);
        self.deadlines.received(unstuffer.octets(), &self.config.timeouts);
        if !unstuffed.done {
            return false;
        }
        self.deadlines.command_read(now, &self.config.timeouts);
        self.stats.message_bytes = self.stats.message_bytes.saturating_add(unstuffer.octets());
        let strict = self.config.bare_newline == BareNewline::Refuse;
        let has_nul = unstuff::has_nul(body);
        let refusal = if unstuffer.is_too_long() {
            Some(&answers::SIZE)
        } else if strict && unstuffer.has_bare_newline() {
            Some(&answers::BARE_MESSAGE)
        } else if strict && has_nul {
            Some(&answers::NUL_MESSAGE)
        } else {
            None
        };
        if has_nul {
            unstuff::replace_nul(body);
        }
        let body = Bytes::from(std::mem::take(body));
        self.state = State::Command;
        if let Some(reply) = refusal {
            self.count_message(false);
            self.events.push_back(Event::Reset);
            self.answer(reply);
            if self.shutdown {
                self.close(&answers::SHUTDOWN, CloseReason::Shutdown);
            }
        } else {
            self.ask(Question::Message, Event::Message { body });
        }
        true
    }

    fn ask(&mut self, question: Question, event: Event) {
        self.asked = Some(question);
        self.events.push_back(event);
    }

    /// Writes an answer; a session that collects refusals gets further ones late, and is ended.
    fn answer(&mut self, reply: &Reply) {
        if reply.class() != Class::Permanent {
            reply.write_to(&mut self.output);
            return;
        }
        self.stats.errors = self.stats.errors.saturating_add(1);
        self.errors = self.errors.saturating_add(1);
        let limits = self.config.limits;
        let wait = limits.tarpit_delay;
        if self.errors < limits.errors_max
            && self.errors > limits.errors_before_tarpit
            && !wait.is_zero()
        {
            self.withheld = Some(Withheld { reply: reply.clone(), wait, due: None });
            return;
        }
        reply.write_to(&mut self.output);
        if self.errors >= limits.errors_max {
            self.close(&answers::TOO_MANY_ERRORS, CloseReason::TooManyErrors);
        }
    }

    /// The wait for an answer is over.
    fn release(&mut self, now: Instant, reply: &Reply) {
        if self.asked.is_some() {
            self.reply(now, reply);
        } else {
            reply.write_to(&mut self.output);
            self.deadlines.answered(now, &self.config.timeouts);
        }
    }

    fn reset(&mut self) {
        self.chunks = None;
        if self.transaction.take().is_some() {
            self.events.push_back(Event::Reset);
        }
    }

    fn count_recipient(&mut self, accepted: bool) {
        if let Some(open) = &mut self.transaction {
            let counter = if accepted { &mut open.recipients } else { &mut open.refused };
            *counter = counter.saturating_add(1);
        }
    }

    fn count_message(&mut self, accepted: bool) {
        self.transaction = None;
        self.messages = self.messages.saturating_add(1);
        if accepted {
            self.idle_commands = 0;
            self.errors = 0;
            self.stats.messages_accepted = self.stats.messages_accepted.saturating_add(1);
        } else {
            self.stats.messages_refused = self.stats.messages_refused.saturating_add(1);
        }
    }

    fn close(&mut self, reply: &Reply, reason: CloseReason) {
        if !self.is_closed() {
            reply.write_to(&mut self.output);
            self.close_silently(reason);
        }
    }

    fn close_silently(&mut self, reason: CloseReason) {
        if self.is_closed() {
            return;
        }
        self.state = State::Closed;
        self.asked = None;
        self.withheld = None;
        self.transaction = None;
        self.chunks = None;
        self.input.clear();
        self.events.push_back(Event::Closed(reason));
    }
}
