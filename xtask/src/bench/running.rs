//! The router of one scenario between a sink and a generator of load.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::processes::{self, Snapshot, Spent};
use super::scenario::{Protocol, Scenario, Shape};
use super::{HTTP, RELAY, SMPP, SMSC, SMTP, folder};
use crate::process::{Service, http, now, output, ports_are_free, wait_until};

const UP_WITHIN: Duration = Duration::from_secs(60);
/// Time for the last message to come out after the last was taken.
const DRAINED_WITHIN: Duration = Duration::from_secs(120);

const SYNCS: &str = "wirepost_spool_syncs_total";
const MEMORY: &str = "wirepost_memory_bytes";
const DELIVERED: &str = "wirepost_delivered_total{name=\"out\"}";
const UP: &str = "wirepost_target_up{name=\"out\"}";
const GENERATION: &str = "wirepost_generation";

/// What has to be built before anything is measured.
#[derive(Debug)]
pub(super) struct Built {
    /// The program.
    pub(super) wirepost: PathBuf,
    /// The folder of plugins.
    pub(super) modules: PathBuf,
}

/// A router that runs, and what it sends to.
#[derive(Debug)]
pub(super) struct Running<'a> {
    // It ends before its sink does.
    router: Service,
    sink: Service,
    work: PathBuf,
    built: &'a Built,
    scenario: &'a Scenario,
}

/// What one load came to.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) load: Load,
    pub(super) delivered_per_second: f64,
    pub(super) spent: Spent,
    pub(super) syncs: u64,
}

/// What the generator says of itself.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) p999_ms: f64,
}

impl<'a> Running<'a> {
    /// Starts both in a fresh folder.
    pub(super) fn start(built: &'a Built, scenario: &'a Scenario) -> Result<Self> {
        ports_are_free(&[SMTP, SMPP, HTTP, SMSC, RELAY])?;
        let work = prepare(&built.modules, scenario)?;
        let (sink, port) = match scenario.to {
            Protocol::Smtp => (format!("sim relay --quiet --listen 127.0.0.1:{RELAY}"), RELAY),
            Protocol::Smpp => (format!("sim smsc --quiet --listen 127.0.0.1:{SMSC}"), SMSC),
        };
        let mut sink = Service::start("sink", &ours(built, &work, &sink), &work)?;
        sink.wait_port(port, UP_WITHIN)?;
        let router = ours(built, &work, "run --config wirepost.yaml");
        let mut router = Service::start("router", &router, &work)?;
        router.wait_ready(HTTP, UP_WITHIN)?;
        wait_until(UP_WITHIN, || (metric(UP) == Some(1)).then_some(())).with_context(|| {
            format!("the sink is not bound to; the router said:\n{}", router.said())
        })?;
        Ok(Self { router, sink, work, built, scenario })
    }

    /// The process id of the router.
    pub(super) fn pid(&self) -> u32 {
        self.router.pid()
    }

    /// Where its files are.
    pub(super) fn work(&self) -> &Path {
        &self.work
    }

    /// The number of its configuration.
    pub(super) fn generation(&self) -> u64 {
        metric(GENERATION).unwrap_or(0)
    }

    /// Memory that it takes now.
    pub(super) fn rss_mib(&self) -> u64 {
        metric(MEMORY).unwrap_or(0) / 1_048_576
    }

    /// Sends messages and waits until all have come out.
    pub(super) fn send(&self, shape: Shape) -> Result<Sent> {
        let (before, syncs) = (self.snapshot()?, metric(SYNCS).unwrap_or(0));
        let wanted = metric(DELIVERED).unwrap_or(0) + shape.count;
        let started = now();
        let words = self.scenario.load(SMTP, SMPP, shape);
        let load = load(&mut ours(self.built, &self.work, &words))?;
        let drained = wait_until(DRAINED_WITHIN, || (metric(DELIVERED)? >= wanted).then(now));
        let drained = drained.with_context(|| {
            format!(
                "{:?} instead of {wanted} came out; the router said:\n{}\nthe sink said:\n{}",
                metric(DELIVERED),
                self.router.said(),
                self.sink.said()
            )
        })?;
        Ok(Sent {
            load,
            delivered_per_second: per_second(shape.count, drained - started),
            spent: self.snapshot()?.since(&before),
            syncs: metric(SYNCS).unwrap_or(0).saturating_sub(syncs),
        })
    }

    fn snapshot(&self) -> Result<Snapshot> {
        processes::snapshot(self.pid())
    }
}

/// A command of ours in a folder.
pub(super) fn ours(built: &Built, work: &Path, words: &str) -> Command {
    let mut command = Command::new(&built.wirepost);
    command.args(words.split(' ')).current_dir(work);
    command
}

fn prepare(modules: &Path, scenario: &Scenario) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let work = fresh("router")?;
    let plugins = work.join("plugins");
    fs::create_dir_all(&plugins)?;
    fs::set_permissions(&plugins, fs::Permissions::from_mode(0o700))?;
    fs::copy(modules.join("stop_words.wasm"), plugins.join("stop_words.wasm"))?;
    fs::write(work.join("secret"), "test")?;
    fs::set_permissions(work.join("secret"), fs::Permissions::from_mode(0o600))?;
    fs::write(work.join("wirepost.yaml"), scenario.configuration())?;
    Ok(work)
}

/// An empty folder among the figures.
pub(super) fn fresh(name: &str) -> Result<PathBuf> {
    let work = folder().join(name);
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("empty {}", work.display()))?;
    }
    fs::create_dir_all(&work)?;
    Ok(work)
}

/// Runs a generator to its end.
pub(super) fn load(command: &mut Command) -> Result<Load> {
    let out = output(command)?;
    let said = String::from_utf8_lossy(&out.stdout);
    if !out.status.success() {
        bail!("load: {said}{}", String::from_utf8_lossy(&out.stderr));
    }
    let last = said.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
    let last = last.with_context(|| format!("load said no figures: {said}"))?;
    let smpp = last.get("latency_ms").is_some();
    let number =
        |value: &Value| value.as_f64().with_context(|| format!("a figure is missing in {last}"));
    let (rate, latency) = if smpp { ("rate", &last["latency_ms"]) } else { ("per_second", &last) };
    let names = if smpp { ["p50", "p99", "p999"] } else { ["p50_ms", "p99_ms", "p999_ms"] };
    let bad = if smpp { last["errors"].to_string() } else { last["refused"].to_string() };
    ensure!(["{}", "[]", "0", "null"].contains(&bad.as_str()), "messages were refused: {last}");
    for lost in ["timeouts", "cut", "unanswered", "broken_sessions"] {
        ensure!(last[lost].as_u64().unwrap_or(0) == 0, "messages were not answered: {last}");
    }
    Ok(Load {
        per_second: number(&last[rate])?,
        p50_ms: number(&latency[names[0]])?,
        p99_ms: number(&latency[names[1]])?,
        p999_ms: number(&latency[names[2]])?,
    })
}

/// One sample of the router's metrics, without its fraction.
fn metric(name: &str) -> Option<u64> {
    let all = http(HTTP, "/metrics")?;
    let line = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.split('.').next()?.trim().parse().ok()
}

/// A rate for people.
pub(super) fn per_second(messages: u64, time: Duration) -> f64 {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = messages as f64 * 1e6 / micros as f64;
    rate
}
