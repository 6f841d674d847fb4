//! One connection to the simulated relay.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use message::mail::MailView;
use serde_json::{Value, json};
use smtp::server::{CloseReason, Event, ServerSession};
use smtp::{Mailbox, RcptParams, Reply};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::{Relay, count};
use crate::wire::{Socket, Turn, Wire};

/// Header fields shown for each message unless others are asked for.
const HEADERS_SHOWN: &[&str] =
    &["From", "To", "Subject", "Message-ID", "Auto-Submitted", "Content-Type"];

/// A transaction so far.
#[derive(Default)]
struct Open {
    sender: String,
    envid: Option<String>,
    recipients: Vec<(Mailbox, RcptParams)>,
}

/// What the session does next.
enum Next {
    Go,
    StartTls,
    Wait(Duration),
    Vanish,
    Silence,
    Close,
}

/// A connection and what was said over it.
struct Conversation {
    relay: Arc<Relay>,
    session: ServerSession,
    open: Open,
    /// Messages that came over this connection.
    messages: u64,
    peer: IpAddr,
}

/// Talks until the connection ends.
pub(super) async fn serve(
    relay: Arc<Relay>,
    socket: TcpStream,
    peer: SocketAddr,
    stop: CancellationToken,
) {
    count(&relay.counters.connections, 1);
    if socket.set_nodelay(true).is_err() {
        return;
    }
    let now = relay.clock.instant();
    let implicit = relay.tls.is_some() && relay.args.tls_implicit;
    let mut session = ServerSession::new(Arc::clone(&relay.config), now, implicit);
    session.greet(now);
    let tls = relay.tls.clone();
    let (open, peer) = (Open::default(), peer.ip());
    let mut conversation = Conversation { relay, session, open, messages: 0, peer };
    let socket = if implicit {
        socket
    } else {
        let mut wire = Wire::new(socket);
        if !conversation.run(&mut wire, &stop).await {
            return;
        }
        wire.into_socket()
    };
    let Some(tls) = tls else { return };
    let Ok(secured) = tls.accept(socket).await else { return };
    conversation.session.handle_tls_started(conversation.relay.clock.instant());
    conversation.run(&mut Wire::new(secured), &stop).await;
}

impl Conversation {
    /// True when the peer wants TLS now.
    async fn run<S: Socket>(&mut self, wire: &mut Wire<S>, stop: &CancellationToken) -> bool {
        loop {
            let next = self.answer();
            wire.push(self.session.output());
            let clock = &self.relay.clock;
            match next {
                Next::Go => {}
                Next::StartTls => {
                    while wire.waiting() > 0 {
                        if wire.turn(None).await.is_err() {
                            return false;
                        }
                    }
                    return true;
                }
                Next::Wait(delay) => {
                    clock.sleep(delay).await;
                    self.session.reply(clock.instant(), &accepted(self.messages));
                    continue;
                }
                Next::Vanish => return false,
                Next::Silence => {
                    stop.cancelled().await;
                    return false;
                }
                Next::Close => {
                    // The peer may be gone already; nothing depends on its hearing this.
                    drop(wire.close().await);
                    return false;
                }
            }
            let deadline = self.session.poll_timeout();
            let open = !self.session.is_closed();
            let turned = tokio::select! {
                turned = wire.turn(Some(self.session.input())) => Some(turned),
                () = clock.sleep_until(deadline) => None,
                () = stop.cancelled(), if open => {
                    self.session.handle_shutdown();
                    continue;
                }
            };
            match turned {
                Some(Ok(Turn::Read)) => self.session.handle_read(clock.instant()),
                Some(Ok(Turn::Written)) => {}
                Some(Ok(Turn::Closed) | Err(_)) => self.session.handle_eof(),
                None => self.session.handle_timeout(clock.instant()),
            }
        }
    }

    /// Answers everything that the session asks.
    fn answer(&mut self) -> Next {
        let Self { relay, session, open, messages, peer } = self;
        let now = relay.clock.instant();
        while let Some(event) = session.poll_event(now) {
            match event {
                Event::Mail { sender, params } => {
                    *open = Open {
                        sender: sender.as_str().to_owned(),
                        envid: params.envid.map(|envid| envid.decode()),
                        recipients: Vec::new(),
                    };
                    session.reply(now, &Reply::new(250, (2, 1, 0), "ok"));
                }
                Event::Rcpt { recipient, params } => {
                    let refusal = relay.refusal(recipient.as_str());
                    if refusal.is_none() {
                        open.recipients.push((recipient, params));
                    }
                    session.reply(now, &refusal.unwrap_or(Reply::new(250, (2, 1, 5), "ok")));
                }
                Event::Data => session.reply(now, &Reply::plain(354, "")),
                Event::Message { body } => {
                    *messages += 1;
                    match relay.message(&std::mem::take(open), body, *messages, *peer) {
                        Ok(None) => session.reply(now, &accepted(*messages)),
                        Ok(Some(next)) => return next,
                        Err(reply) => session.reply(now, &reply),
                    }
                }
                Event::Closed(reason) => {
                    return if reason == CloseReason::PeerGone {
                        Next::Vanish
                    } else {
                        Next::Close
                    };
                }
                Event::StartTls => return Next::StartTls,
                Event::Hello { .. } | Event::Auth(_) | Event::Reset => {}
            }
        }
        Next::Go
    }
}

impl Relay {
    fn refusal(&self, recipient: &str) -> Option<Reply> {
        let rule = self.args.fail.iter().find(|rule| recipient.contains(&rule.pattern))?;
        count(&self.counters.refused, 1);
        Some(asked_for(rule.code))
    }

    fn message(
        &self,
        open: &Open,
        body: Bytes,
        of_connection: u64,
        peer: IpAddr,
    ) -> Result<Option<Next>, Reply> {
        if let Some(code) = self.args.fail_data {
            count(&self.counters.refused, 1);
            return Err(asked_for(code));
        }
        let unanswered = self.args.never_answer || self.args.drop_after == Some(of_connection);
        let counter = if unanswered { &self.counters.unanswered } else { &self.counters.accepted };
        let number = count(counter, 1);
        let told = if unanswered {
            Ok(())
        } else {
            count(&self.counters.recipients, open.recipients.len());
            count(&self.counters.bytes, body.len());
            self.tell_count(number)
        };
        let recorded = told.and_then(|()| self.record(open, body, number, unanswered, peer));
        recorded.map_err(|error| {
            Reply::new(452, (4, 3, 1), "").with_text(format!("cannot write: {error}"))
        })?;
        Ok(match (self.args.never_answer, unanswered, self.args.delay) {
            (true, ..) => Some(Next::Silence),
            (_, true, _) => Some(Next::Vanish),
            (.., Some(delay)) => Some(Next::Wait(delay)),
            _ => None,
        })
    }

    /// Says how many there are, as often as was asked for.
    fn tell_count(&self, number: u64) -> std::io::Result<()> {
        if self.args.count_every.is_none_or(|every| !number.is_multiple_of(every.max(1))) {
            return Ok(());
        }
        let time_ms = self.clock.now().as_ms();
        self.print(&json!({ "event": "count", "messages": number, "time_ms": time_ms }))
    }

    fn record(
        &self,
        open: &Open,
        body: Bytes,
        number: u64,
        unanswered: bool,
        peer: IpAddr,
    ) -> std::io::Result<()> {
        if let Some(dir) = &self.args.dump {
            let kind = if unanswered { "unanswered-" } else { "" };
            std::fs::write(dir.join(format!("{kind}{number:08}.eml")), &body)?;
        }
        if self.args.quiet {
            return Ok(());
        }
        let size_bytes = body.len();
        let view = MailView::new(body);
        let mut headers = serde_json::Map::new();
        let usual = HEADERS_SHOWN.iter().map(|name| (*name).to_owned());
        let chosen = self.args.header.iter().cloned();
        for name in usual.filter(|_| self.args.header.is_empty()).chain(chosen) {
            if let Some(value) = view.header(&name) {
                headers.insert(name, Value::String(value));
            }
        }
        self.print(&json!({
            "event": if unanswered { "unanswered" } else { "message" },
            "number": number,
            "time_ms": self.clock.now().as_ms(),
            "peer": peer.to_string(),
            "sender": open.sender,
            "envid": open.envid,
            "recipients": open.recipients.iter().map(show_recipient).collect::<Vec<_>>(),
            "headers": headers,
            "text": view.text(),
            "size": size_bytes,
        }))
    }
}

fn show_recipient((mailbox, params): &(Mailbox, RcptParams)) -> Value {
    let mut shown = json!({"address": mailbox.as_str()});
    if let Some(notify) = params.notify {
        shown["notify"] = notify.to_string().into();
    }
    if let Some(orcpt) = &params.orcpt {
        shown["orcpt"] = orcpt.to_string().into();
    }
    shown
}

fn accepted(number: u64) -> Reply {
    Reply::new(250, (2, 0, 0), "").with_text(format!("taken, number {number} of this connection"))
}

fn asked_for(code: u16) -> Reply {
    let class = if code < 500 { 4 } else { 5 };
    Reply::new(code, (class, 0, 0), "refused because it was asked for")
}
