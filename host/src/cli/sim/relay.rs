//! `sim relay`: a mail server that takes everything, says what it took and fails on request.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use message::mail::MailView;
use serde_json::{Value, json};
use smtp::server::{CloseReason, Event, ServerConfig, ServerSession};
use smtp::{Mailbox, RcptParams, Reply};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{parse_duration, parse_size};
use crate::platform::clock::Clock;
use crate::wire::{Turn, Wire};

/// How long sessions may go on after the signal to stop.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// Header fields shown for each message unless others are asked for.
const HEADERS_SHOWN: &[&str] =
    &["From", "To", "Subject", "Message-ID", "Auto-Submitted", "Content-Type"];

/// A simulated mail relay.
#[derive(Clone, Debug, clap::Args)]
pub struct RelayArgs {
    /// Where to listen; port 0 picks a free one, which the first line of output names
    #[arg(long, default_value = "127.0.0.1:2526")]
    pub listen: SocketAddr,
    /// Do not print messages, only the totals
    #[arg(long)]
    pub quiet: bool,
    /// Refuse recipients that contain PATTERN with CODE (4xx or 5xx): 'bob@=550'
    #[arg(long, value_name = "PATTERN=CODE")]
    pub fail: Vec<FailRule>,
    /// Refuse every message after its last octet with this code
    #[arg(long, value_name = "CODE")]
    pub fail_data: Option<u16>,
    /// Wait this long before each message is answered
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    pub delay: Option<Duration>,
    /// Close each connection without an answer after this many messages
    #[arg(long, value_name = "N")]
    pub drop_after: Option<u64>,
    /// Take messages and never answer them
    #[arg(long)]
    pub never_answer: bool,
    /// Write each message to a file of its own here
    #[arg(long, value_name = "DIR")]
    pub dump: Option<PathBuf>,
    /// Header fields to print, instead of the usual ones
    #[arg(long, value_name = "NAME")]
    pub header: Vec<String>,
    /// Largest message
    #[arg(long, value_parser = parse_size, default_value = "64MiB", value_name = "SIZE")]
    pub size: u64,
    /// The name in the greeting
    #[arg(long, default_value = "relay.sim")]
    pub hostname: String,
    /// Do not offer PIPELINING
    #[arg(long)]
    pub no_pipelining: bool,
}

/// A part of a recipient's address, and the code that recipients with it get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailRule {
    pattern: String,
    code: u16,
}

impl FromStr for FailRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const HELP: &str = "give a part of an address and a code from 400 to 599: 'bob@=550'";
        let (pattern, code) = text.rsplit_once('=').ok_or(HELP)?;
        let code = code.parse().ok().filter(|code| (400..=599).contains(code)).ok_or(HELP)?;
        Ok(Self { pattern: pattern.to_owned(), code })
    }
}

/// What a relay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections taken.
    pub connections: u64,
    /// Messages answered 250.
    pub accepted: u64,
    /// Recipients of those.
    pub recipients: u64,
    /// Octets of those.
    pub bytes: u64,
    /// Recipients and messages refused on request.
    pub refused: u64,
    /// Messages taken and left without an answer on request.
    pub unanswered: u64,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot listen, or cannot write what it was asked to write.
pub async fn run(args: RelayArgs) -> anyhow::Result<Totals> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stopped = stop.clone();
    let mut waiting = JoinSet::new();
    waiting.spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        stopped.cancel();
    });
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    serve(args, listener, stop).await
}

/// Takes mail from `listener` until `stop`.
///
/// # Errors
/// When it cannot write what it was asked to write.
pub async fn serve(
    args: RelayArgs,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<Totals> {
    let mut config = ServerConfig::new(args.hostname.clone());
    config.limits.message_bytes_max = args.size;
    config.limits.messages_max = u32::MAX;
    config.limits.recipients_max = 100_000;
    config.limits.errors_max = u32::MAX;
    config.limits.errors_before_tarpit = u32::MAX;
    config.extensions.pipelining = !args.no_pipelining;
    if let Some(dir) = &args.dump {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let relay = Arc::new(Relay {
        args,
        config: Arc::new(config),
        clock: Clock::system(),
        output: Mutex::new(std::io::BufWriter::new(std::io::stdout())),
        counters: Counters::default(),
    });
    relay.print(&json!({"event": "listening", "address": listener.local_addr()?.to_string()}))?;
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    let session = Arc::clone(&relay).session(socket, peer, stop.clone());
                    sessions.spawn(session);
                }
                // Out of descriptors, as a rule: those that are there must end first.
                Err(_) => relay.clock.sleep(Duration::from_millis(100)).await,
            },
            Some(_) = sessions.join_next() => {}
            () = stop.cancelled() => break,
        }
    }
    drop(listener);
    let all_done = async { while sessions.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_WITHIN, all_done).await.is_err() {
        sessions.abort_all();
    }
    let totals = relay.counters.totals();
    relay.print(&json!({
        "event": "totals",
        "connections": totals.connections,
        "accepted": totals.accepted,
        "recipients": totals.recipients,
        "bytes": totals.bytes,
        "refused": totals.refused,
        "unanswered": totals.unanswered,
    }))?;
    Ok(totals)
}

struct Relay {
    args: RelayArgs,
    config: Arc<ServerConfig>,
    clock: Clock,
    output: Mutex<std::io::BufWriter<std::io::Stdout>>,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    connections: AtomicU64,
    accepted: AtomicU64,
    recipients: AtomicU64,
    bytes: AtomicU64,
    refused: AtomicU64,
    unanswered: AtomicU64,
}

impl Counters {
    fn totals(&self) -> Totals {
        Totals {
            connections: self.connections.load(Ordering::Relaxed),
            accepted: self.accepted.load(Ordering::Relaxed),
            recipients: self.recipients.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            unanswered: self.unanswered.load(Ordering::Relaxed),
        }
    }
}

fn count(counter: &AtomicU64, more: usize) -> u64 {
    let more = u64::try_from(more).unwrap_or(u64::MAX);
    counter.fetch_add(more, Ordering::Relaxed).saturating_add(more)
}

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
    Wait(Duration),
    Vanish,
    Silence,
    Close,
}

impl Relay {
    async fn session(
        self: Arc<Self>,
        socket: TcpStream,
        peer: SocketAddr,
        stop: CancellationToken,
    ) {
        count(&self.counters.connections, 1);
        if socket.set_nodelay(true).is_err() {
            return;
        }
        let mut wire = Wire::new(socket);
        let mut session = ServerSession::new(Arc::clone(&self.config), self.clock.instant(), false);
        session.greet(self.clock.instant());
        let mut open = Open::default();
        let mut messages = 0;
        loop {
            let next = self.answer(&mut session, &mut open, &mut messages, peer.ip());
            wire.push(session.output().split());
            match next {
                Next::Go => {}
                Next::Wait(delay) => {
                    self.clock.sleep(delay).await;
                    session.reply(self.clock.instant(), &accepted(messages));
                    continue;
                }
                Next::Vanish => return,
                Next::Silence => {
                    stop.cancelled().await;
                    return;
                }
                Next::Close => {
                    // The peer may be gone already; nothing depends on its hearing this.
                    drop(wire.close().await);
                    return;
                }
            }
            let deadline = session.poll_timeout();
            let turned = tokio::select! {
                turned = wire.turn(Some(session.input())) => Some(turned),
                () = self.clock.sleep_until(deadline) => None,
                () = stop.cancelled(), if !session.is_closed() => {
                    session.handle_shutdown();
                    continue;
                }
            };
            match turned {
                Some(Ok(Turn::Read)) => session.handle_read(self.clock.instant()),
                Some(Ok(Turn::Written)) => {}
                Some(Ok(Turn::Closed) | Err(_)) => session.handle_eof(),
                None => session.handle_timeout(self.clock.instant()),
            }
        }
    }

    /// Answers everything that the session asks.
    fn answer(
        &self,
        session: &mut ServerSession,
        open: &mut Open,
        messages: &mut u64,
        peer: IpAddr,
    ) -> Next {
        let now = self.clock.instant();
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
                    let refusal = self.refusal(recipient.as_str());
                    if refusal.is_none() {
                        open.recipients.push((recipient, params));
                    }
                    session.reply(now, &refusal.unwrap_or(Reply::new(250, (2, 1, 5), "ok")));
                }
                Event::Data => session.reply(now, &Reply::plain(354, "")),
                Event::Message { body } => {
                    *messages += 1;
                    match self.message(&std::mem::take(open), body, *messages, peer) {
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
                Event::Hello { .. } | Event::Auth(_) | Event::Reset | Event::StartTls => {}
            }
        }
        Next::Go
    }

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
        if !unanswered {
            count(&self.counters.recipients, open.recipients.len());
            count(&self.counters.bytes, body.len());
        }
        self.record(open, body, number, unanswered, peer).map_err(|error| {
            Reply::new(452, (4, 3, 1), "").with_text(format!("cannot write: {error}"))
        })?;
        Ok(match (self.args.never_answer, unanswered, self.args.delay) {
            (true, ..) => Some(Next::Silence),
            (_, true, _) => Some(Next::Vanish),
            (.., Some(delay)) => Some(Next::Wait(delay)),
            _ => None,
        })
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

    fn print(&self, record: &Value) -> std::io::Result<()> {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(output, "{record}")?;
        output.flush()
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
