//! One connection of a peer that sends us mail.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use message::{MessageId, Origin, Protocol};
use smtp::server::{CloseReason, Event, ServerSession};
use smtp::{Credentials, MailParams, Mailbox, RcptParams, Reply, ReversePath};
use subtle::ConstantTimeEq;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::settings::Settings;
use super::transaction::{self, Transaction};
use crate::config::{Account, Config, ListenerKind, Network};
use crate::inbound::gate::{Pass, SILENCE_CROWDED};
use crate::inbound::logins::{Outcome as Login, Try};
use crate::inbound::proxy;
use crate::intake::{DraftBytes, Outcome};
use crate::observe::metrics::Metrics;
use crate::platform::clock::Alarm;
use crate::platform::net::Stream;
use crate::router::Router;
use crate::wire::{Socket, Turn, Wire};

/// How long the last words may take to reach the peer.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

const SENDER_OK: Reply = Reply::new(250, (2, 1, 0), "sender ok");
const RECIPIENT_OK: Reply = Reply::new(250, (2, 1, 5), "recipient ok");
const SEND: Reply = Reply::plain(354, "");
const AUTHENTICATED: Reply = Reply::new(235, (2, 7, 0), "authenticated");
const WRONG_PASSWORD: Reply = Reply::new(535, (5, 7, 8), "name or password is wrong");
const SHUT_OUT: Reply = Reply::new(421, (4, 7, 0), "too many wrong passwords, try later");
const SENDER_NOT_YOURS: Reply = Reply::new(553, (5, 7, 1), "this account may not use this sender");
const ACCOUNT_CHANGED: Reply = Reply::new(421, (4, 7, 0), "your account was changed, come again");
const TOO_FAST: Reply = Reply::new(450, (4, 7, 1), "this account sends too fast, try later");
const NO_MEMORY: Reply = Reply::new(452, (4, 3, 1), "too many messages are coming in, try later");
const NO_MEMORY_LEFT: Reply = Reply::new(421, (4, 3, 1), "too much mail is coming in, try later");
const ONE_REPORT: Reply = Reply::new(452, (4, 5, 3), "a report has one recipient, send it alone");
const LOOP: Reply = Reply::new(554, (5, 4, 6), "too many hops, the mail goes round in circles");
const TOO_MANY_CONNECTIONS: Reply = Reply::new(421, (4, 7, 0), "too many connections, try later");
const NO_TRANSACTION: Reply = Reply::new(451, (4, 3, 0), "the transaction is lost, try again");

/// A connection and what was said over it.
pub(super) struct Conversation {
    router: Arc<Router>,
    settings: Arc<Settings>,
    /// Its place; none if there was none left.
    pass: Option<Pass>,
    stopping: CancellationToken,
    /// Who we talk to; behind a proxy, whom it speaks for.
    peer: SocketAddr,
    origin: Arc<Origin>,
    extended: bool,
    account: Option<Arc<Account>>,
    open: Option<Transaction>,
    draft_bytes: Option<DraftBytes>,
}

/// Why a conversation over one socket ended.
enum End {
    StartTls,
    Closed(CloseReason),
}

impl Conversation {
    pub(super) fn new(
        router: Arc<Router>,
        settings: Arc<Settings>,
        pass: Option<Pass>,
        peer: SocketAddr,
    ) -> Self {
        let origin = Arc::new(Origin {
            door: Arc::clone(&settings.name),
            protocol: Protocol::Smtp,
            peer: peer.to_string().into(),
            account: "".into(),
            session: router.next_session(),
            helo: "".into(),
            tls: false,
        });
        let stopping = router.tasks.stopping().clone();
        let (account, open, draft_bytes) = (None, None, None);
        let extended = false;
        Self {
            router,
            settings,
            pass,
            stopping,
            peer,
            origin,
            extended,
            account,
            open,
            draft_bytes,
        }
    }

    /// Talks until the connection ends.
    pub(super) async fn run(mut self, mut socket: Stream) {
        if let Err(broken) = self.find_peer(&mut socket).await {
            return self.log_broken("PROXY header", &broken);
        }
        let (address, is_known) = (self.peer.ip(), self.settings.knows(self.peer.ip()));
        self.pass = self.pass.take_if(|pass| pass.is_admitted(address, is_known));
        let now = self.router.clock.instant();
        let server = Arc::clone(&self.settings.server);
        let implicit = self.settings.is_tls_implicit();
        let mut session = ServerSession::new(server, now, implicit);
        let is_admitted = self.pass.is_some();
        if is_admitted {
            session.greet(now);
        } else {
            Metrics::add(&self.router.metrics.connections_refused, &self.settings.name, 1);
            session.refuse(&TOO_MANY_CONNECTIONS);
        }
        tracing::info!(
            event = "smtp.connect",
            door = &*self.origin.door,
            peer = %self.peer,
            session = self.origin.session,
            admitted = is_admitted,
        );
        if implicit && !is_admitted {
            // What we could say would come before the handshake, and a handshake costs.
            return;
        }
        let reason = self.converse_over(socket, &mut session, implicit).await;
        let stats = session.stats();
        tracing::info!(
            event = "smtp.close",
            door = &*self.origin.door,
            peer = %self.peer,
            session = self.origin.session,
            reason = ?reason,
            commands = stats.commands,
            errors = stats.errors,
            accepted = stats.messages_accepted,
            refused = stats.messages_refused,
            bytes = stats.message_bytes,
        );
    }

    /// Behind a balancer, the peer is whom it speaks for. Without a place that is not asked.
    async fn find_peer(&mut self, socket: &mut Stream) -> io::Result<()> {
        if let Some(pass) = &self.pass
            && contains(&self.settings.listener.proxy_from, self.peer.ip())
        {
            let header = timeout(pass.handshake_within(), proxy::read(socket)).await??;
            self.set_peer(header.unwrap_or(self.peer));
        }
        Ok(())
    }

    /// In the clear, over TLS, or first the one and then the other.
    async fn converse_over(
        &mut self,
        socket: Stream,
        session: &mut ServerSession,
        implicit: bool,
    ) -> CloseReason {
        let socket = if implicit {
            socket
        } else {
            let mut wire = Wire::new(socket);
            match self.converse(&mut wire, session).await {
                End::Closed(reason) => return reason,
                End::StartTls => wire.into_socket(),
            }
        };
        let Some(acceptor) = &self.settings.tls else { return CloseReason::Violation };
        let Some(pass) = &self.pass else { return CloseReason::Refused };
        let handshake = timeout(pass.handshake_within(), acceptor.accept(socket)).await;
        let secured = match handshake {
            Ok(Ok(secured)) => secured,
            Ok(Err(error)) => {
                self.log_broken("TLS handshake", &error);
                return CloseReason::PeerGone;
            }
            Err(elapsed) => {
                self.log_broken("TLS handshake", &elapsed);
                return CloseReason::TimedOut;
            }
        };
        session.handle_tls_started(self.router.clock.instant());
        self.account = None;
        self.change_origin(|origin| {
            origin.tls = true;
            origin.account = "".into();
        });
        match self.converse(&mut Wire::new(secured), session).await {
            End::Closed(reason) => reason,
            End::StartTls => CloseReason::Violation,
        }
    }

    async fn converse<S: Socket>(
        &mut self,
        wire: &mut Wire<S>,
        session: &mut ServerSession,
    ) -> End {
        let mut stopping = false;
        let mut alarm = Alarm::default();
        self.hurry(session);
        loop {
            let end = self.work_off(session).await;
            wire.push(session.output());
            match end {
                Some(End::StartTls) => {
                    while wire.waiting() > 0 {
                        if wire.turn(None).await.is_err() {
                            return End::Closed(CloseReason::PeerGone);
                        }
                    }
                    return End::StartTls;
                }
                Some(closed) => {
                    // The peer may be gone already; nothing depends on its hearing this.
                    drop(timeout(CLOSE_WITHIN, wire.close()).await);
                    return closed;
                }
                None => {}
            }
            let deadline = session.poll_timeout();
            let input = session.wants_input().then(|| session.input());
            let turn = async {
                match input {
                    Some(input) => wire.read(input).await,
                    None => wire.turn(None).await,
                }
            };
            let turned = tokio::select! {
                biased;
                () = self.stopping.cancelled(), if !stopping => {
                    stopping = true;
                    session.handle_shutdown();
                    continue;
                }
                () = crowded(self.pass.as_mut()) => {
                    self.hurry(session);
                    continue;
                }
                () = alarm.wait_until(deadline) => None,
                turned = turn => Some(turned),
            };
            let now = self.router.clock.instant();
            match turned {
                Some(Ok(Turn::Read)) => self.handle_read(session),
                Some(Ok(Turn::Written)) => {}
                Some(Ok(Turn::Closed) | Err(_)) => session.handle_eof(),
                None => session.handle_timeout(now),
            }
        }
    }

    /// Strangers get less time while places run out.
    fn hurry(&self, session: &mut ServerSession) {
        let is_hurried = self.pass.as_ref().is_some_and(Pass::is_hurried);
        session.hurry(is_hurried.then_some(SILENCE_CROWDED));
    }

    fn handle_read(&mut self, session: &mut ServerSession) {
        session.handle_read(self.router.clock.instant());
        let held = session.buffered_bytes();
        if let Some(reserved) = &mut self.draft_bytes
            && !reserved.grow_to(held)
        {
            session.refuse(&NO_MEMORY_LEFT);
        }
    }

    /// Answers everything that the session asks.
    async fn work_off(&mut self, session: &mut ServerSession) -> Option<End> {
        loop {
            let now = self.router.clock.instant();
            match session.poll_event(now)? {
                Event::Hello { name, extended } => {
                    self.open = None;
                    self.extended = extended;
                    self.change_origin(|origin| origin.helo = name.into());
                }
                Event::Auth(credentials) => {
                    let (reply, wait) = self.authenticate(&credentials, now);
                    self.hurry(session);
                    session.reply_after(now, wait, &reply);
                }
                Event::Mail { sender, params } => {
                    let reply = self.mail(&sender, params);
                    self.log_refused(&reply, "mail");
                    session.reply(now, &reply);
                }
                Event::Rcpt { recipient, params } => {
                    let reply = self.rcpt(&recipient, &params);
                    self.log_refused(&reply, "rcpt");
                    session.reply(now, &reply);
                }
                Event::Data => {
                    let reply = self.data(session);
                    self.log_refused(&reply, "data");
                    session.reply(now, &reply);
                }
                Event::Message { body } => {
                    let reply = self.message(body).await;
                    self.log_refused(&reply, "message");
                    session.reply(self.router.clock.instant(), &reply);
                }
                Event::Reset => {
                    self.open = None;
                    self.draft_bytes = None;
                }
                Event::StartTls => return Some(End::StartTls),
                Event::Closed(reason) => return Some(End::Closed(reason)),
            }
        }
    }

    fn mail(&mut self, sender: &ReversePath, params: MailParams) -> Reply {
        let generation = self.router.generation();
        if let Some(account) = &self.account {
            let current = generation.config.accounts.get(&account.name);
            if !current.is_some_and(|current| current.smtp == account.smtp) {
                return ACCOUNT_CHANGED;
            }
            self.account = current.cloned();
        }
        let relay_allowed = self.account.is_some() || self.is_peer_allowed(&generation.config);
        let sender = transaction::sender_address(sender);
        if let Some(account) = &self.account
            && !account.may_send_as(&sender)
        {
            return SENDER_NOT_YOURS;
        }
        self.open = Some(Transaction {
            generation,
            relay_allowed,
            sender,
            params,
            recipients: Vec::new(),
            report_on: None,
            id: MessageId::from_u64(0),
            prefix_bytes: 0,
        });
        SENDER_OK
    }

    /// Whether the peer's address alone lets it relay.
    fn is_peer_allowed(&self, config: &Config) -> bool {
        let listener = config.listeners.get(&self.settings.name).map(|listener| &listener.kind);
        let Some(ListenerKind::Smtp(listener)) = listener else { return false };
        listener.open_relay || contains(&listener.allow, self.peer.ip())
    }

    fn rcpt(&mut self, mailbox: &Mailbox, params: &RcptParams) -> Reply {
        let Some(open) = &mut self.open else { return NO_TRANSACTION };
        let recipient = transaction::recipient_of(mailbox, params);
        match self.router.report_on(&open.generation, &open.sender, &recipient.address) {
            Ok(None) if open.report_on.is_none() => {}
            Ok(Some(leg)) if open.report_on.is_none() && open.recipients.is_empty() => {
                open.report_on = Some(leg);
                return RECIPIENT_OK;
            }
            Ok(_) => return ONE_REPORT,
            Err(refusal) => return transaction::refused(&refusal),
        }
        let admitted = self.router.admit_recipient(
            &open.generation,
            &self.origin,
            &open.sender,
            recipient,
            open.relay_allowed,
        );
        match admitted {
            Ok(recipient) => {
                open.recipients.push(recipient);
                RECIPIENT_OK
            }
            Err(refusal) => transaction::refused(&refusal),
        }
    }

    fn data(&mut self, session: &mut ServerSession) -> Reply {
        let Some(open) = &mut self.open else { return NO_TRANSACTION };
        if let Some(account) = &self.account {
            let cost = u32::try_from(open.recipients.len()).unwrap_or(u32::MAX);
            if !self.router.accounts.may_submit(account, cost, self.router.clock.now()) {
                return TOO_FAST;
            }
        }
        let announced = open.params.size_bytes.unwrap_or(0);
        let bytes_max = open.generation.config.node.drafts_bytes_max;
        let reserved = DraftBytes::reserve(&self.router.drafts, announced, bytes_max);
        let Some(reserved) = reserved else { return NO_MEMORY };
        self.draft_bytes = Some(reserved);
        open.id = self.router.next_id();
        let us = (&*self.settings.listener.hostname, self.extended);
        let now = self.router.clock.now();
        let received = transaction::received_field(open, &self.origin, self.peer, us, now);
        open.prefix_bytes = received.len();
        session.set_prefix(received.into_bytes());
        SEND
    }

    async fn message(&mut self, body: Bytes) -> Reply {
        // Memory is set aside until the message is in the spool or refused.
        let _reserved = self.draft_bytes.take();
        let Some(open) = self.open.take() else { return NO_TRANSACTION };
        if let Some(leg) = open.report_on {
            return match self.router.report(leg, open.id, &body).await {
                Ok(accepted) => transaction::queued(&accepted),
                Err(refusal) => transaction::refused(&refusal),
            };
        }
        let generation = Arc::clone(&open.generation);
        let origin = Arc::clone(&self.origin);
        let draft = open.into_draft(origin, body, self.router.clock.now());
        if u32::from(draft.message.hops) >= self.settings.listener.hops_max {
            return LOOP;
        }
        let mut outcomes = self.router.accept(&generation, vec![draft]).await;
        match outcomes.pop() {
            Some(Outcome::Accepted(accepted)) => transaction::queued(&accepted),
            Some(Outcome::Refused(refusal)) => transaction::refused(&refusal),
            None => NO_TRANSACTION,
        }
    }

    /// The answer to a name and a password, and how long it waits.
    fn authenticate(&mut self, credentials: &Credentials, now: Instant) -> (Reply, Duration) {
        let generation = self.router.generation();
        let listener = &self.settings.listener;
        let mut found = None;
        let mut is_allowed = contains(&listener.allow, self.peer.ip());
        for (name, account) in &generation.config.accounts {
            let Some(smtp) = &account.smtp else { continue };
            let here = listener.accounts.as_ref().is_none_or(|names| names.contains(name));
            let named = smtp.username.as_bytes().ct_eq(credentials.user.as_bytes());
            let known =
                named & smtp.password.reveal().as_bytes().ct_eq(credentials.password.as_bytes());
            let listed = contains(&smtp.allow, self.peer.ip());
            is_allowed |= bool::from(named) && here && listed;
            if bool::from(known) && here && (smtp.allow.is_empty() || listed) {
                found = Some(Arc::clone(account));
            }
        }
        let tried = Try {
            protocol: Protocol::Smtp,
            door: &self.settings.name,
            peer: self.peer.ip(),
            name: &credentials.user,
            is_allowed,
            is_right: found.is_some(),
        };
        let judged = self.router.logins.judge(&generation.config.logins, &tried, now);
        let metrics = &self.router.metrics;
        match (judged.outcome, found) {
            (Login::In, Some(account)) => {
                self.change_origin(|origin| origin.account = Arc::clone(&account.name));
                self.account = Some(account);
                if let Some(pass) = &mut self.pass {
                    pass.know();
                }
                return (AUTHENTICATED, judged.wait);
            }
            (Login::ShutOut, _) => {
                Metrics::add(&metrics.logins_shut_out, &self.settings.name, 1);
                return (SHUT_OUT, judged.wait);
            }
            (Login::In | Login::Wrong, _) => {
                Metrics::add(&metrics.logins_failed, &self.settings.name, 1);
            }
        }
        if judged.is_told {
            tracing::warn!(
                event = "smtp.auth",
                door = &*self.origin.door,
                peer = %self.peer,
                session = self.origin.session,
                "authentication failed"
            );
        }
        (WRONG_PASSWORD, judged.wait)
    }

    fn set_peer(&mut self, peer: SocketAddr) {
        self.peer = peer;
        self.change_origin(|origin| origin.peer = peer.to_string().into());
    }

    fn change_origin(&mut self, change: impl FnOnce(&mut Origin)) {
        change(Arc::make_mut(&mut self.origin));
    }

    fn log_refused(&self, reply: &Reply, stage: &'static str) {
        if reply.code >= 400 {
            tracing::info!(
                event = "smtp.refused",
                door = &*self.origin.door,
                peer = %self.peer,
                session = self.origin.session,
                stage,
                code = reply.code,
                text = &*reply.text,
            );
        }
    }

    fn log_broken(&self, what: &'static str, error: &dyn std::fmt::Display) {
        tracing::info!(
            event = "smtp.broken",
            door = &*self.origin.door,
            peer = %self.peer,
            session = self.origin.session,
            what,
            error = %error,
        );
    }
}

/// Waits until it is crowded, or no longer; for ever without a place.
async fn crowded(pass: Option<&mut Pass>) {
    match pass {
        Some(pass) => pass.turned().await,
        None => std::future::pending().await,
    }
}

fn contains(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address.to_canonical()))
}
