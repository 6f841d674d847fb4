//! `sim relay`: a mail server that takes everything, says what it took and fails on request.

mod session;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use smtp::server::{ServerConfig, StartTls};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::{ServerTls, TlsMode, parse_duration, parse_size};
use crate::platform::clock::Clock;
use crate::tls;

/// How long sessions may go on after the signal to stop.
const STOP_WITHIN: Duration = Duration::from_secs(2);
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
    /// Offer STARTTLS with this certificate chain, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Speak TLS from the first octet instead
    #[arg(long, requires = "tls_cert")]
    pub tls_implicit: bool,
    /// Do not offer PIPELINING
    #[arg(long)]
    pub no_pipelining: bool,
    /// Print how many messages were taken whenever it is a multiple of this
    #[arg(long, value_name = "N")]
    pub count_every: Option<u64>,
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
    let tls = acceptor(&args)?;
    if tls.is_some() && !args.tls_implicit {
        config.extensions.starttls = StartTls::Offered;
    }
    if let Some(dir) = &args.dump {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let relay = Arc::new(Relay {
        args,
        config: Arc::new(config),
        tls,
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
                    sessions.spawn(session::serve(Arc::clone(&relay), socket, peer, stop.clone()));
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

fn acceptor(args: &RelayArgs) -> anyhow::Result<Option<TlsAcceptor>> {
    let (Some(cert), Some(key)) = (&args.tls_cert, &args.tls_key) else { return Ok(None) };
    let mode = if args.tls_implicit { TlsMode::Implicit } else { TlsMode::Starttls };
    let (cert, key) = (cert.clone().into(), key.clone().into());
    let files = ServerTls { cert, key, client_ca: None, mode, required: false };
    Ok(Some(TlsAcceptor::from(tls::server(&files)?)))
}

struct Relay {
    args: RelayArgs,
    config: Arc<ServerConfig>,
    tls: Option<TlsAcceptor>,
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

impl Relay {
    fn print(&self, record: &Value) -> std::io::Result<()> {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(output, "{record}")?;
        output.flush()
    }
}
