//! `wirepost load smpp`: submits messages as fast as the windows allow, or at a rate, and says
//! how it went.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};
use smpp::pdu::MessageResp;
use smpp::receipt::Receipt;
use smpp::session::WINDOW_MAX;
use smpp::{Address, Event, Octets, Pdu, RegisteredDelivery, Sm, Status, npi, ton};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::histogram::Histogram;
use crate::cli::smpp_client::{Credentials, bind};
use crate::config::parse_duration;
use crate::sms::link::{Link, Step, now};

/// The pause before the next try to bind.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// Many messages.
#[derive(Args, Clone, Debug)]
pub struct SmppArgs {
    /// host:port
    #[arg(long, default_value = "127.0.0.1:2775")]
    pub target: String,
    /// Who binds
    #[command(flatten)]
    pub credentials: Credentials,
    /// Connections
    #[arg(long, default_value_t = 4)]
    pub binds: usize,
    /// Unanswered requests on each
    #[arg(long, default_value_t = 100)]
    pub window: usize,
    /// Messages in all
    #[arg(long, default_value_t = 100_000)]
    pub count: u64,
    /// Messages per second in all; without, as fast as it goes
    #[arg(long)]
    pub rate: Option<u32>,
    /// Octets of each text, at most 160
    #[arg(long, default_value_t = 60)]
    pub text_octets: usize,
    /// Words of each text, behind its tag
    #[arg(long, default_value = "")]
    pub words: String,
    /// Ask for receipts, and count them
    #[arg(long)]
    pub receipts: bool,
    /// How long to wait for the last receipts
    #[arg(long, value_parser = parse_duration, default_value = "10s")]
    pub receipt_wait: Duration,
    /// Sender
    #[arg(long, default_value = "LOAD")]
    pub from: String,
    /// First recipient; the others follow
    #[arg(long, default_value_t = 33_600_000_000)]
    pub dest: u64,
    /// How many recipients there are
    #[arg(long, default_value_t = 10_000)]
    pub dests: u64,
    /// Bind again when a link is cut
    #[arg(long)]
    pub reconnect: bool,
    /// Write one line for each acknowledged message: its unique tag, which is in its text, and its
    /// id
    #[arg(long)]
    pub ack_log: Option<PathBuf>,
    /// Time for an answer
    #[arg(long, value_parser = parse_duration, default_value = "30s")]
    pub response_timeout: Duration,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    args: SmppArgs,
    run: String,
    next: AtomicU64,
    acks: Option<Mutex<File>>,
    received: AtomicU64,
    begun: Instant,
}

/// What one connection counted.
#[derive(Clone, Debug, Default)]
struct Tally {
    latencies: Histogram,
    statuses: BTreeMap<u32, u64>,
    receipts: BTreeMap<String, u64>,
    timeouts: u64,
    cut: u64,
    links: u64,
    first: Option<Instant>,
    last: Option<Instant>,
}

/// Runs the load and prints the result.
///
/// # Errors
/// If nothing can be bound or the file of acknowledgements cannot be written.
pub async fn run(args: SmppArgs) -> anyhow::Result<()> {
    let json = args.json;
    let result = measure(args).await?;
    let text = if json { format!("{result}\n") } else { for_people(&result) };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// Runs the load and gives the result.
///
/// # Errors
/// As [`run`].
pub async fn measure(args: SmppArgs) -> anyhow::Result<Value> {
    let acks = match &args.ack_log {
        Some(path) => {
            let file = File::options().create(true).append(true).open(path);
            Some(Mutex::new(file.with_context(|| path.display().to_string())?))
        }
        None => None,
    };
    let begun = now();
    let run = format!("{:x}", std::process::id() ^ nanos_of(begun));
    let shared = Arc::new(Shared {
        run,
        next: AtomicU64::new(0),
        acks,
        received: AtomicU64::new(0),
        begun,
        args,
    });
    let mut connections = JoinSet::new();
    for _ in 0..shared.args.binds.max(1) {
        connections.spawn(connection(Arc::clone(&shared)));
    }
    let mut sum = Tally::default();
    while let Some(ended) = connections.join_next().await {
        sum.add(&ended??);
    }
    Ok(sum.result(&shared))
}

/// One connection, bound again as often as needed.
async fn connection(shared: Arc<Shared>) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let args = &shared.args;
    loop {
        let window = args.window.clamp(1, WINDOW_MAX);
        match bind(&args.target, &args.credentials, window, args.response_timeout).await {
            Ok(link) => {
                tally.links += 1;
                let mut running =
                    Running { shared: &shared, tally: &mut tally, acks: String::new() };
                if running.run(link).await? || !args.reconnect {
                    return Ok(tally);
                }
            }
            Err(error) if !args.reconnect => return Err(error),
            Err(error) => tracing::debug!(event = "load.bind", error = format!("{error:#}")),
        }
        if shared.next.load(Ordering::Relaxed) >= args.count {
            return Ok(tally);
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

/// One link while it lasts.
struct Running<'a> {
    shared: &'a Shared,
    tally: &'a mut Tally,
    acks: String,
}

impl Running<'_> {
    /// True if everything was sent and has come to something.
    async fn run(&mut self, mut link: Link<TcpStream>) -> anyhow::Result<bool> {
        let mut receipts_until = None;
        loop {
            let mut ended = false;
            while let Some(event) = link.session.poll_event() {
                ended |= self.handle(&mut link, event);
            }
            self.write_acks()?;
            if ended {
                break;
            }
            let due = self.submit(&mut link)?;
            let all = due == Due::Never && link.session.pending() == 0;
            if all && self.has_receipts(&mut receipts_until) {
                link.session.unbind(now());
            }
            let until = match due {
                Due::At(at) => Some(at),
                Due::Answer => None,
                Due::Never => receipts_until.filter(|_| all).map(|_| now() + RECONNECT_PAUSE / 10),
            };
            match link.step(true, until).await {
                Ok(Step::Moved) => {}
                Ok(Step::Gone) => break,
                Err(error) => {
                    tracing::debug!(event = "load.link", %error);
                    break;
                }
            }
        }
        let pending = link.close().await.len();
        self.tally.cut += u64::try_from(pending).unwrap_or(0);
        let all = self.shared.next.load(Ordering::Relaxed) >= self.shared.args.count;
        Ok(all)
    }

    fn handle(&mut self, link: &mut Link<TcpStream>, event: Event) -> bool {
        match event {
            Event::Response { token, status, pdu, latency, .. } => {
                self.tally.latencies.add(latency);
                self.tally.last = Some(now());
                *self.tally.statuses.entry(status.0).or_default() += 1;
                if let (true, Pdu::SubmitSmResp(resp)) = (status.is_ok(), &pdu)
                    && self.shared.acks.is_some()
                {
                    let tag = self.shared.tag(token);
                    self.acks.push_str(&format!("{tag} {}\n", resp.message_id));
                }
            }
            Event::Timeout { .. } => self.tally.timeouts += 1,
            Event::Request { sequence, pdu, .. } => self.request(link, sequence, &pdu),
            Event::Unbound | Event::FramingLost(_) | Event::LinkDead(_) => return true,
            Event::Bound { .. }
            | Event::BindRefused { .. }
            | Event::Refused { .. }
            | Event::Orphan { .. } => {}
        }
        false
    }

    fn request(&mut self, link: &mut Link<TcpStream>, sequence: u32, pdu: &Pdu) {
        if pdu.command().is_unanswered() {
            return;
        }
        let Pdu::DeliverSm(sm) = pdu else {
            return link.session.refuse(now(), sequence, pdu.command(), Status::RSYSERR);
        };
        if let Some(receipt) = Receipt::of(sm) {
            let state = receipt.state.map_or_else(|| "?".to_owned(), |state| state.to_string());
            *self.tally.receipts.entry(state).or_default() += 1;
            self.shared.received.fetch_add(1, Ordering::Relaxed);
        }
        let resp = Pdu::DeliverSmResp(MessageResp::default());
        if link.session.respond(now(), sequence, Status::ROK, &resp).is_err() {
            link.session.refuse(now(), sequence, pdu.command(), Status::RSYSERR);
        }
    }

    /// Submits what window and rate allow; says when to go on.
    fn submit(&mut self, link: &mut Link<TcpStream>) -> anyhow::Result<Due> {
        let args = &self.shared.args;
        while link.session.window_free() > 0 {
            let now = now();
            if let Some(rate) = args.rate {
                let elapsed = now - self.shared.begun;
                let allowed = elapsed.as_micros() * u128::from(rate) / 1_000_000 + 1;
                if u128::from(self.shared.next.load(Ordering::Relaxed)) >= allowed {
                    let more = self.shared.next.load(Ordering::Relaxed) < args.count;
                    let soon = now + Duration::from_millis(1);
                    return Ok(if more { Due::At(soon) } else { Due::Never });
                }
            }
            let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
            if number >= args.count {
                return Ok(Due::Never);
            }
            self.tally.first.get_or_insert(now);
            link.session.request(now, &self.shared.message(number)?, number)?;
        }
        Ok(if self.shared.next.load(Ordering::Relaxed) < args.count {
            Due::Answer
        } else {
            Due::Never
        })
    }

    /// True if no receipt is awaited any more.
    fn has_receipts(&self, until: &mut Option<Instant>) -> bool {
        let args = &self.shared.args;
        if !args.receipts || self.shared.received.load(Ordering::Relaxed) >= args.count {
            return true;
        }
        now() >= *until.get_or_insert(now() + args.receipt_wait)
    }

    /// Acknowledgements are on their way to the disk before anything else happens.
    fn write_acks(&mut self) -> anyhow::Result<()> {
        if let Some(file) = self.shared.acks.as_ref().filter(|_| !self.acks.is_empty()) {
            lock(file).write_all(self.acks.as_bytes()).context("write the acknowledgements")?;
            self.acks.clear();
        }
        Ok(())
    }
}

/// When the next message may go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    At(Instant),
    /// After an answer.
    Answer,
    /// All are sent.
    Never,
}

impl Shared {
    /// Unique, and in the text of the message.
    fn tag(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }

    fn message(&self, number: u64) -> anyhow::Result<Pdu> {
        let mut text = self.tag(number).into_bytes();
        text.push(b' ');
        if !self.args.words.is_empty() {
            text.extend_from_slice(self.args.words.as_bytes());
            text.push(b' ');
        }
        text.resize(self.args.text_octets.clamp(text.len(), 160), b'x');
        let destination = self.args.dest + number % self.args.dests.max(1);
        let from = Octets::from_text(&self.args.from).context("--from")?;
        Ok(Pdu::SubmitSm(Sm {
            source: Address::new(ton::ALPHANUMERIC, npi::UNKNOWN, from),
            destination: Address::new(
                ton::INTERNATIONAL,
                npi::ISDN,
                Octets::from(destination.to_string().into_bytes()),
            ),
            registered_delivery: RegisteredDelivery(u8::from(self.args.receipts)),
            short_message: Bytes::from(text),
            ..Sm::default()
        }))
    }
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.latencies.merge(&other.latencies);
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        for (state, count) in &other.receipts {
            *self.receipts.entry(state.clone()).or_default() += count;
        }
        self.timeouts += other.timeouts;
        self.cut += other.cut;
        self.links += other.links;
        self.first = [self.first, other.first].into_iter().flatten().min();
        self.last = self.last.max(other.last);
    }

    fn result(&self, shared: &Shared) -> Value {
        let answered = self.latencies.total();
        let seconds = match (self.first, self.last) {
            (Some(first), Some(last)) => last.saturating_duration_since(first).as_secs_f64(),
            _ => 0.0,
        };
        let answered_f = f64::from(u32::try_from(answered).unwrap_or(u32::MAX));
        let errors: BTreeMap<String, u64> = self
            .statuses
            .iter()
            .filter(|(status, _)| **status != 0)
            .map(|(status, count)| (Status(*status).to_string(), *count))
            .collect();
        json!({
            "run": shared.run,
            "binds": self.links,
            "sent": shared.next.load(Ordering::Relaxed).min(shared.args.count),
            "answered": answered,
            "ok": self.statuses.get(&0).copied().unwrap_or(0),
            "errors": errors,
            "timeouts": self.timeouts,
            "cut": self.cut,
            "seconds": seconds,
            "rate": if seconds > 0.0 { (answered_f / seconds).round() } else { 0.0 },
            "latency_ms": self.latencies.in_ms(),
            "receipts": self.receipts,
        })
    }
}

fn for_people(result: &Value) -> String {
    let latency = result.get("latency_ms").cloned().unwrap_or_default();
    let field =
        |value: &Value, name: &str| value.get(name).map(ToString::to_string).unwrap_or_default();
    format!(
        "{} sent, {} answered, {} ok in {} s: {}/s\nlatency ms: p50 {}, p99 {}, p99.9 {}, max {}\n\
         errors {}, timeouts {}, cut {}, receipts {}\n",
        field(result, "sent"),
        field(result, "answered"),
        field(result, "ok"),
        field(result, "seconds"),
        field(result, "rate"),
        field(&latency, "p50"),
        field(&latency, "p99"),
        field(&latency, "p999"),
        field(&latency, "max"),
        field(result, "errors"),
        field(result, "timeouts"),
        field(result, "cut"),
        field(result, "receipts"),
    )
}

/// Differs between two runs of one process too.
fn nanos_of(instant: Instant) -> u32 {
    use std::hash::{BuildHasher, RandomState};
    let hash = RandomState::new().hash_one(instant);
    u32::try_from(hash & 0xFFFF_FFFF).unwrap_or(0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
