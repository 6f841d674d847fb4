//! The sending side of a connection (RFC 5321 §3), as a state machine.
//!
//! ```text
//! loop {
//!     while let Some(event) = session.poll_event(now) { … }
//!     // when session.is_ready(): session.send(now, envelope)
//!     // while session.output(now) is not empty: write it
//!     // read into session.input(), then session.handle_read(now)
//! }
//! ```
//!
//! Where the server offers PIPELINING, MAIL, all RCPT and DATA go out in one write. What the server
//! does not offer is left out, with these rules: an address or a header in UTF-8 that needs SMTPUTF8
//! fails (5.6.7); octets above 127 go out as they are, and the outcome says so; a message over the
//! announced SIZE fails (5.3.4); wishes for reports stay with us.

mod config;
mod event;
mod transaction;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

pub use config::{Capabilities, ClientConfig, Timeouts, TlsPolicy};
pub use event::{CloseReason, Envelope, Event, Outcome, RecipientOutcome, Stage, Verdict};

use crate::{Class, Credentials, Reply, ReplyReader, base64};
use transaction::{Progress, Step, Transaction};

const GONE: Reply = Reply::new(451, (4, 4, 2), "the server closed the connection");
const TIMED_OUT: Reply = Reply::new(451, (4, 4, 2), "the server did not answer in time");
const NO_TLS: Reply = Reply::new(451, (4, 7, 4), "the server offers no TLS, which is required");
const NO_AUTH: Reply =
    Reply::new(451, (4, 7, 4), "the server offers no AUTH PLAIN or LOGIN over this connection");
const EARLY_ANSWER: Reply =
    Reply::new(451, (4, 5, 0), "the server accepted the message before its end");

/// One connection to a server that takes mail from us.
#[derive(Debug)]
pub struct ClientSession {
    config: Arc<ClientConfig>,
    input: BytesMut,
    output: BytesMut,
    reader: ReplyReader,
    events: VecDeque<Event>,
    state: State,
    offered: Capabilities,
    secured: bool,
    /// The server may still hold a part of the last transaction.
    reset_needed: bool,
    messages: u32,
    deadline: Option<Instant>,
}

#[derive(Debug)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Handshake,
    Auth(Auth),
    Ready,
    Transaction(Box<Transaction>),
    Noop,
    Quit,
    Closed,
}

/// What AUTH waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Auth {
    Done,
    LoginUser,
    LoginPassword,
}

impl ClientSession {
    /// A session on a fresh connection; `secured` when TLS is on already.
    #[must_use]
    pub fn new(config: Arc<ClientConfig>, now: Instant, secured: bool) -> Self {
        let deadline = now.checked_add(config.timeouts.greeting);
        Self {
            config,
            input: BytesMut::new(),
            output: BytesMut::new(),
            reader: ReplyReader::default(),
            events: VecDeque::new(),
            state: State::Greeting,
            offered: Capabilities::default(),
            secured,
            reset_needed: false,
            messages: 0,
            deadline,
        }
    }

    /// Whether a message may be sent now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready) && self.messages < self.config.messages_max
    }

    /// Whether the session is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether TLS is on.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        self.secured
    }

    /// What the server offered; nothing before [`Event::Ready`].
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.offered
    }

    /// Begins to send a message; [`Event::Sent`] follows.
    ///
    /// # Errors
    /// The envelope comes back when the session [is not ready](Self::is_ready).
    pub fn send(&mut self, now: Instant, envelope: Envelope) -> Result<(), Box<Envelope>> {
        if !self.is_ready() {
            return Err(Box::new(envelope));
        }
        self.messages = self.messages.saturating_add(1);
        let mut transaction = Transaction::new(envelope, self.offered, self.reset_needed);
        if transaction.is_settled_unsaid() {
            self.events.push_back(Event::Sent(transaction.into_outcome()));
            return Ok(());
        }
        transaction.say(self.pipelining(), &mut self.output);
        self.reset_needed = false;
        self.state = State::Transaction(Box::new(transaction));
        self.restart_deadline(now);
        Ok(())
    }

    /// Asks whether the server is still there; [`Event::Alive`] follows. Only when ready.
    pub fn probe(&mut self, now: Instant) {
        if matches!(self.state, State::Ready) {
            self.say("NOOP", State::Noop, now);
        }
    }

    /// Takes leave. In the middle of a message the session is broken off instead.
    pub fn quit(&mut self, now: Instant) {
        match self.state {
            State::Ready | State::Ehlo | State::Helo => self.say("QUIT", State::Quit, now),
            State::Quit | State::Closed => {}
            _ => self.abort(&Reply::new(451, (4, 3, 2), "given up on our side")),
        }
    }

    /// Gives up, for this reason.
    pub fn abort(&mut self, reply: &Reply) {
        self.close(CloseReason::Aborted, reply, true);
    }

    /// Where the driver reads octets into; [`handle_read`](Self::handle_read) follows.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Octets were added to the input.
    pub fn handle_read(&mut self, now: Instant) {
        while !matches!(self.state, State::Closed | State::Handshake) {
            match self.reader.read(&mut self.input) {
                Ok(Some(reply)) => self.handle_reply(now, &reply),
                Ok(None) => return,
                Err(error) => {
                    let reply = Reply::new(451, (4, 5, 0), "").with_text(error.to_string());
                    self.close(CloseReason::Violation, &reply, true);
                }
            }
        }
        if self.is_closed() {
            self.input.clear();
        }
    }

    /// Takes octets from a driver that reads into a buffer of its own.
    pub fn handle_bytes(&mut self, now: Instant, octets: &[u8]) {
        self.input.extend_from_slice(octets);
        self.handle_read(now);
    }

    /// The server closed the connection, or it broke.
    pub fn handle_eof(&mut self) {
        let reason = if matches!(self.state, State::Quit) {
            CloseReason::Quit
        } else {
            CloseReason::PeerGone
        };
        self.close(reason, &GONE, true);
    }

    /// The time of [`poll_timeout`](Self::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|due| now >= due) {
            let quit = matches!(self.state, State::Quit);
            let reason = if quit { CloseReason::Quit } else { CloseReason::TimedOut };
            self.close(reason, &TIMED_OUT, true);
        }
    }

    /// The handshake that [`Event::StartTls`] asked for is done. Nothing said before it counts.
    pub fn handle_tls_started(&mut self, now: Instant) {
        if matches!(self.state, State::Handshake) {
            self.secured = true;
            self.input.clear();
            self.reader = ReplyReader::default();
            self.hello(now);
        }
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called. None while the session is
    /// ready, or in a handshake: how long those may last is the driver's to say.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Ready | State::Handshake | State::Closed => None,
            _ => self.deadline,
        }
    }

    /// What is to be written now, filled up when it is empty and a message is going out. The driver
    /// takes it off the front and asks again until it stays empty.
    pub fn output(&mut self, now: Instant) -> &mut BytesMut {
        if self.output.is_empty()
            && let State::Transaction(transaction) = &mut self.state
        {
            let mut refilled = false;
            while transaction.is_sending() && self.output.is_empty() {
                transaction.write_block(&mut self.output);
                refilled = true;
            }
            if refilled {
                self.restart_deadline(now);
            }
        }
        &mut self.output
    }

    fn handle_reply(&mut self, now: Instant, reply: &Reply) {
        if matches!(self.state, State::Transaction(_)) {
            self.handle_transaction_reply(now, reply);
            return;
        }
        if let State::Quit = self.state {
            self.close(CloseReason::Quit, reply, false);
            return;
        }
        if reply.code == 421 {
            self.close(CloseReason::Refused, reply, false);
            return;
        }
        match self.state {
            State::Greeting if reply.is_done() => self.hello(now),
            State::Ehlo if reply.is_done() => {
                self.offered = Capabilities::parse(&reply.text);
                self.after_hello(now);
            }
            State::Ehlo if reply.class() == Class::Permanent => {
                let line = format!("HELO {}", self.config.hello_name);
                self.say(&line, State::Helo, now);
            }
            State::Helo if reply.is_done() => {
                self.offered = Capabilities::default();
                self.after_hello(now);
            }
            State::StartTls if reply.is_done() => {
                // Octets behind the answer came in the clear and must not be taken for TLS's.
                self.input.clear();
                self.state = State::Handshake;
                self.events.push_back(Event::StartTls);
            }
            State::StartTls if self.config.tls == TlsPolicy::Opportunistic => self.after_tls(now),
            State::Auth(step) => self.handle_auth_reply(now, step, reply),
            State::Noop if reply.is_done() => {
                self.state = State::Ready;
                self.events.push_back(Event::Alive);
            }
            _ => self.close(CloseReason::Refused, reply, false),
        }
    }

    fn hello(&mut self, now: Instant) {
        let line = format!("EHLO {}", self.config.hello_name);
        self.say(&line, State::Ehlo, now);
    }

    fn after_hello(&mut self, now: Instant) {
        if self.secured || self.config.tls == TlsPolicy::None {
            self.after_tls(now);
        } else if self.offered.starttls {
            self.say("STARTTLS", State::StartTls, now);
        } else if self.config.tls == TlsPolicy::Required {
            self.close(CloseReason::NoTls, &NO_TLS, true);
        } else {
            self.after_tls(now);
        }
    }

    fn after_tls(&mut self, now: Instant) {
        let Some(Credentials { user, password }) = self.config.credentials.clone() else {
            self.become_ready();
            return;
        };
        let may_say = self.secured || self.config.auth_in_clear;
        if may_say && self.offered.auth_plain {
            let response = base64::encode(format!("\0{user}\0{password}").as_bytes());
            self.say(&format!("AUTH PLAIN {response}"), State::Auth(Auth::Done), now);
        } else if may_say && self.offered.auth_login {
            self.say("AUTH LOGIN", State::Auth(Auth::LoginUser), now);
        } else {
            self.close(CloseReason::NoAuth, &NO_AUTH, true);
        }
    }

    fn handle_auth_reply(&mut self, now: Instant, step: Auth, reply: &Reply) {
        let config = Arc::clone(&self.config);
        match (step, reply.class(), &config.credentials) {
            (Auth::Done, Class::Done, _) => self.become_ready(),
            (Auth::LoginUser, Class::Continue, Some(credentials)) => {
                let user = base64::encode(credentials.user.as_bytes());
                self.say(&user, State::Auth(Auth::LoginPassword), now);
            }
            (Auth::LoginPassword, Class::Continue, Some(credentials)) => {
                let password = base64::encode(credentials.password.as_bytes());
                self.say(&password, State::Auth(Auth::Done), now);
            }
            _ => self.close(CloseReason::Refused, reply, false),
        }
    }

    fn become_ready(&mut self) {
        self.state = State::Ready;
        self.events.push_back(Event::Ready(self.offered));
    }

    fn handle_transaction_reply(&mut self, now: Instant, reply: &Reply) {
        let State::Transaction(transaction) = &mut self.state else { return };
        let Some(step) = transaction.awaited() else {
            // An answer in the middle of the message: the rest of it cannot be taken back.
            let accepted = matches!(reply.class(), Class::Done | Class::Continue);
            let (reply, local) = if accepted { (&EARLY_ANSWER, true) } else { (reply, false) };
            self.close(CloseReason::Violation, reply, local);
            return;
        };
        let progress = transaction.answer(step, reply, &mut self.output);
        if reply.code == 421 {
            self.close(CloseReason::Refused, reply, false);
            return;
        }
        match progress {
            Progress::Going => {
                transaction
                    .say(self.config.pipelining && self.offered.pipelining, &mut self.output);
            }
            Progress::Over { reset } => {
                self.reset_needed = reset;
                self.finish_transaction();
            }
        }
        self.restart_deadline(now);
    }

    fn finish_transaction(&mut self) {
        if let State::Transaction(transaction) = std::mem::replace(&mut self.state, State::Ready) {
            self.events.push_back(Event::Sent(transaction.into_outcome()));
        }
    }

    fn pipelining(&self) -> bool {
        self.config.pipelining && self.offered.pipelining
    }

    fn say(&mut self, line: &str, next: State, now: Instant) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
        self.state = next;
        self.restart_deadline(now);
    }

    /// The server's time for what is awaited begins.
    fn restart_deadline(&mut self, now: Instant) {
        let timeouts = &self.config.timeouts;
        let allowed = match &self.state {
            State::Greeting => timeouts.greeting,
            State::Quit => timeouts.quit,
            State::Transaction(transaction) => match transaction.awaited() {
                Some(Step::Mail) => timeouts.mail,
                Some(Step::Rcpt(_)) => timeouts.rcpt,
                Some(Step::Data) => timeouts.data,
                Some(Step::End) => timeouts.data_end,
                Some(Step::Reset) => timeouts.command,
                None => timeouts.data_block,
            },
            _ => timeouts.command,
        };
        self.deadline = now.checked_add(allowed);
    }

    fn close(&mut self, reason: CloseReason, reply: &Reply, local: bool) {
        if self.is_closed() {
            return;
        }
        if let State::Transaction(mut transaction) =
            std::mem::replace(&mut self.state, State::Closed)
        {
            transaction.break_off(reply, local);
            self.events.push_back(Event::Sent(transaction.into_outcome()));
        }
        self.output.clear();
        self.events.push_back(Event::Closed { reason, reply: reply.clone() });
    }
}
