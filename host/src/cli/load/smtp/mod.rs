//! `load smtp`: mail from many sessions at once, with rate and latencies.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use smtp::client::{ClientConfig, Envelope, Event, RecipientOutcome, Stage, TlsPolicy, Verdict};
use smtp::{Mailbox, RcptParams, Reply, ReversePath};
use tokio::task::JoinSet;

use crate::config::{Rate, parse_rate, parse_size};
use crate::outbound::smtp::connection::Connection;
use crate::platform::clock::Clock;
use crate::platform::net::Net;

/// How long the server may take to be connected to.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Pause before a broken session connects anew.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
/// Length of a line of the body, without its CRLF.
const LINE_OCTETS: usize = 76;

/// Sends many mails and measures.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadArgs {
    /// The server
    #[arg(long, default_value = "127.0.0.1:2525", value_name = "ADDR")]
    pub target: SocketAddr,
    /// Sessions at one time
    #[arg(long, default_value_t = 20)]
    pub sessions: u32,
    /// Messages in all
    #[arg(long, default_value_t = 10_000)]
    pub count: u64,
    /// Octets of a message
    #[arg(long, value_parser = parse_size, default_value = "2048", value_name = "SIZE")]
    pub size: u64,
    /// Messages a second in all, such as 500/s; as fast as possible if left out
    #[arg(long, value_parser = parse_rate, value_name = "RATE")]
    pub rate: Option<Rate>,
    /// The sender
    #[arg(long, default_value = "load@example.org")]
    pub from: String,
    /// A recipient; may be given several times. `{n}` becomes the number of the message
    #[arg(long, default_value = "user{n}@example.org")]
    pub rcpt: Vec<String>,
    /// Send MAIL, RCPT and DATA in one write
    #[arg(long)]
    pub pipeline: bool,
    /// Connect anew when a session breaks, and send what was not answered again
    #[arg(long)]
    pub reconnect: bool,
    /// Append the tag of each acknowledged message to this file, one a line, at once
    #[arg(long, value_name = "FILE")]
    pub ack_log: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What was measured.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct LoadReport {
    /// Messages that were taken for every recipient.
    pub accepted: u64,
    /// Messages refused for a recipient or more, by the code of the first refusal.
    pub refused: std::collections::BTreeMap<u16, u64>,
    /// Messages whose session broke before their answer.
    pub unanswered: u64,
    /// Sessions that broke or could not be opened.
    pub broken_sessions: u64,
    /// From the first connection to the last answer.
    pub seconds: f64,
    /// Messages taken per second.
    pub per_second: f64,
    /// Half of the accepted messages took at most this long from MAIL to the last answer.
    pub p50_ms: f64,
    /// 99 of 100 did.
    pub p99_ms: f64,
    /// 999 of 1000 did.
    pub p999_ms: f64,
    /// All did.
    pub max_ms: f64,
}

/// Sends, measures and prints.
///
/// # Errors
/// When an address is none, the log of acknowledgements cannot be written, or nothing was sent.
pub async fn run(args: LoadArgs) -> anyhow::Result<LoadReport> {
    let json = args.json;
    let report = measure(args).await?;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{}", describe(&report));
    }
    Ok(report)
}

/// Sends and measures, without a word.
///
/// # Errors
/// When an address is none, or the log of acknowledgements cannot be written.
pub async fn measure(args: LoadArgs) -> anyhow::Result<LoadReport> {
    let clock = Clock::system();
    let load = Arc::new(Load::new(args, clock.clone())?);
    let mut sessions = JoinSet::new();
    for _ in 0..load.args.sessions.max(1) {
        sessions.spawn(Arc::clone(&load).session());
    }
    let mut report = LoadReport::default();
    let mut latencies = Vec::new();
    while let Some(ended) = sessions.join_next().await {
        let Tally { latencies: more, accepted, refused, unanswered, broken } = ended??;
        latencies.extend(more);
        report.accepted += accepted;
        report.unanswered += unanswered;
        report.broken_sessions += broken;
        for (code, times) in refused {
            *report.refused.entry(code).or_default() += times;
        }
    }
    latencies.sort_unstable();
    let at = |per_mille| milliseconds(percentile(&latencies, per_mille));
    (report.p50_ms, report.p99_ms) = (at(500), at(990));
    (report.p999_ms, report.max_ms) = (at(999), at(1000));
    report.seconds = clock.instant().duration_since(load.started).as_secs_f64();
    let accepted = f64::from(u32::try_from(report.accepted).unwrap_or(u32::MAX));
    report.per_second = accepted / report.seconds.max(f64::MIN_POSITIVE);
    Ok(report)
}

struct Load {
    args: LoadArgs,
    clock: Clock,
    config: Arc<ClientConfig>,
    sender: ReversePath,
    filler: String,
    /// Unlike any other run's.
    run: String,
    started: Instant,
    numbered: AtomicU64,
    acknowledged: Option<Mutex<File>>,
}

/// What one session counted.
#[derive(Default)]
struct Tally {
    latencies: Vec<Duration>,
    accepted: u64,
    refused: std::collections::BTreeMap<u16, u64>,
    unanswered: u64,
    broken: u64,
}

/// How sending over one connection ended.
enum End {
    AllSent,
    /// The message of this number was not answered; 0 if none was on its way.
    Broken(u64),
}

impl Load {
    fn new(args: LoadArgs, clock: Clock) -> anyhow::Result<Self> {
        let mut config = ClientConfig::new("wirepost-load");
        config.tls = TlsPolicy::None;
        config.pipelining = args.pipeline;
        config.messages_max = u32::MAX;
        let sender = Mailbox::parse(&args.from)
            .with_context(|| format!("{} is no address", args.from))
            .map(ReversePath::Mailbox)?;
        let acknowledged = match &args.ack_log {
            Some(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path);
                Some(Mutex::new(file.with_context(|| format!("cannot write {}", path.display()))?))
            }
            None => None,
        };
        let run = format!("{:016x}", RandomState::new().build_hasher().finish());
        let filler = filler(usize::try_from(args.size).context("size")?);
        let (config, started) = (Arc::new(config), clock.instant());
        let numbered = AtomicU64::new(0);
        Ok(Self { args, clock, config, sender, filler, run, started, numbered, acknowledged })
    }

    async fn session(self: Arc<Self>) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        let mut again = 0;
        loop {
            let end = self.connection(&mut tally, again).await?;
            match end {
                End::AllSent => return Ok(tally),
                End::Broken(number) => {
                    tally.broken += 1;
                    tally.unanswered += u64::from(number > 0);
                    if !self.args.reconnect || self.is_all_numbered() && number == 0 {
                        return Ok(tally);
                    }
                    again = number;
                    self.clock.sleep(RECONNECT_PAUSE).await;
                }
            }
        }
    }

    /// Sends over one connection until all is sent or it breaks; message `again` first, if any.
    async fn connection(&self, tally: &mut Tally, again: u64) -> anyhow::Result<End> {
        let config = Arc::clone(&self.config);
        let (net, clock) = (Net::system(), self.clock.clone());
        let opened = Connection::open(&net, self.args.target, config, None, clock, CONNECT_WITHIN);
        let Ok(mut connection) = opened.await else { return Ok(End::Broken(again)) };
        let mut number = again;
        let mut sent_at = self.clock.instant();
        loop {
            match connection.next().await {
                Event::Sent(outcome) => {
                    let took = self.clock.instant().duration_since(sent_at);
                    // Without an answer the session is over, and the number says what was lost.
                    if !outcome.recipients.iter().any(is_unanswered) {
                        self.count(tally, number, &outcome.recipients, took)?;
                        number = 0;
                    }
                }
                Event::Closed { .. } => return Ok(End::Broken(number)),
                Event::Ready(_) | Event::Alive | Event::StartTls => {}
            }
            if !connection.session().is_ready() {
                continue;
            }
            if number == 0 {
                number = self.next_number().await;
            }
            let now = self.clock.instant();
            if number == 0 {
                connection.session().quit(now);
                while !matches!(connection.next().await, Event::Closed { .. }) {}
                return Ok(End::AllSent);
            }
            sent_at = now;
            let envelope = self.envelope(number)?;
            if connection.session().send(now, envelope).is_err() {
                return Ok(End::Broken(number));
            }
        }
    }

    /// The number of the next message when its time has come; 0 when there is none left.
    async fn next_number(&self) -> u64 {
        let number = self.numbered.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if number > self.args.count {
            return 0;
        }
        if let Some(rate) = self.args.rate {
            let before = f64::from(u32::try_from(number - 1).unwrap_or(u32::MAX));
            let wait = Duration::from_secs_f64(before / rate.per_second());
            self.clock.sleep_until(self.started.checked_add(wait)).await;
        }
        number
    }

    fn is_all_numbered(&self) -> bool {
        self.numbered.load(Ordering::Relaxed) >= self.args.count
    }

    fn envelope(&self, number: u64) -> anyhow::Result<Envelope> {
        let recipients = self.args.rcpt.iter().map(|template| {
            let address = template.replace("{n}", &number.to_string());
            let mailbox =
                Mailbox::parse(&address).with_context(|| format!("{address} is no address"))?;
            Ok((mailbox, RcptParams::default()))
        });
        let recipients = recipients.collect::<anyhow::Result<Vec<_>>>()?;
        let tag = self.tag(number);
        let mut body = String::with_capacity(self.filler.len().saturating_add(256));
        write!(
            body,
            "From: <{}>\r\nTo: <{}>\r\nSubject: load {tag}\r\nX-Wirepost-Load: {tag}\r\n\
             Message-ID: <{tag}@load.example>\r\n\r\n",
            self.args.from,
            recipients.first().map_or("", |(mailbox, _)| mailbox.as_str()),
        )?;
        let room = usize::try_from(self.args.size)?.saturating_sub(body.len());
        body.push_str(self.filler.get(..room).unwrap_or(&self.filler));
        if !body.ends_with("\r\n") {
            body.push_str("\r\n");
        }
        let params = smtp::MailParams::default();
        let (sender, prefix) = (self.sender.clone(), Bytes::new());
        Ok(Envelope { sender, params, recipients, prefix, body: Bytes::from(body) })
    }

    fn tag(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }

    fn count(
        &self,
        tally: &mut Tally,
        number: u64,
        outcomes: &[RecipientOutcome],
        took: Duration,
    ) -> anyhow::Result<()> {
        let delivered = |outcome: &&RecipientOutcome| outcome.verdict == Verdict::Delivered;
        let Some(refused) = outcomes.iter().find(|outcome| !delivered(outcome)) else {
            tally.accepted += 1;
            tally.latencies.push(took);
            return self.acknowledge(number, outcomes.first().map(|outcome| &outcome.reply));
        };
        *tally.refused.entry(refused.reply.code).or_default() += 1;
        Ok(())
    }

    /// One write, at once: what the file says was acknowledged, was.
    fn acknowledge(&self, number: u64, reply: Option<&Reply>) -> anyhow::Result<()> {
        let Some(file) = &self.acknowledged else { return Ok(()) };
        let text = reply.map(ToString::to_string).unwrap_or_default();
        let line = format!("{} {text}\n", self.tag(number));
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes()).context("cannot write the log of acknowledgements")
    }
}

fn is_unanswered(outcome: &RecipientOutcome) -> bool {
    outcome.verdict == Verdict::Unknown || (outcome.local && outcome.stage != Stage::Offer)
}

fn filler(octets: usize) -> String {
    let line = "abcdefghijklmnopqrstuvwxyz ".repeat(3);
    let line = line.get(..LINE_OCTETS).unwrap_or(&line);
    format!("{line}\r\n").repeat(octets.div_ceil(LINE_OCTETS))
}

/// The latency that `per_mille` of a thousand messages did not exceed.
fn percentile(sorted: &[Duration], per_mille: usize) -> Duration {
    let rank = sorted.len().saturating_mul(per_mille).div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn describe(report: &LoadReport) -> String {
    let mut text = format!(
        "{} accepted in {:.2} s, {:.0}/s; p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms",
        report.accepted,
        report.seconds,
        report.per_second,
        report.p50_ms,
        report.p99_ms,
        report.p999_ms,
        report.max_ms
    );
    for (code, times) in &report.refused {
        text.push_str(&format!("\nrefused with {code}: {times}"));
    }
    for (what, times) in
        [("without an answer", report.unanswered), ("broken sessions", report.broken_sessions)]
    {
        if times > 0 {
            text.push_str(&format!("\n{what}: {times}"));
        }
    }
    text
}

#[cfg(test)]
mod tests;
