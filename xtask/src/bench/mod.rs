//! Messages a second, processor time and latencies of the router, between load and sink of our own.

mod report;
mod scenario;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::plugins;
use crate::process::{Service, build_host, http, now, output, ports_are_free, root, wait_until};
use report::Measured;
use scenario::{Protocol, SCENARIOS, Scenario};

/// Ports of the scenarios: ours, then the sinks'.
const SMTP: u16 = 2725;
const SMPP: u16 = 2975;
const HTTP: u16 = 8225;
const SMSC: u16 = 2976;
const RELAY: u16 = 2726;
const UP_WITHIN: Duration = Duration::from_secs(60);
/// Time for the last message to come out after the last was taken.
const DRAINED_WITHIN: Duration = Duration::from_secs(120);
/// With `--short`, this part of the messages.
const SHORT: u64 = 20;
/// Ticks of `/proc/PID/stat` in a second: USER_HZ is 100 on every Linux that we know.
const TICKS_PER_SECOND: u64 = 100;

/// Runs every scenario and prints a table; `target/bench.json` has the same figures.
///
/// # Errors
/// If something does not start, is refused or does not come out.
pub(crate) fn run(short: bool) -> Result<()> {
    let wirepost = build_host(true)?;
    let modules = plugins::build()?;
    let mut all = Vec::new();
    report::head();
    for scenario in &SCENARIOS {
        let measured = measure(&wirepost, &modules, scenario, short)
            .with_context(|| format!("scenario `{}`", scenario.name))?;
        report::row(scenario.name, &measured);
        all.push((scenario.name, measured));
    }
    let file = root().join("target/bench.json");
    fs::write(&file, report::json(&all).to_string())?;
    println!("\n{}", file.display());
    Ok(())
}

fn measure(wirepost: &Path, modules: &Path, scenario: &Scenario, short: bool) -> Result<Measured> {
    ports_are_free(&[SMTP, SMPP, HTTP, SMSC, RELAY])?;
    let work = prepare(modules, scenario)?;
    let ours = |words: &str| {
        let mut command = Command::new(wirepost);
        command.args(words.split(' ')).current_dir(&work);
        command
    };
    let (sink, port) = match scenario.to {
        Protocol::Smtp => (ours(&format!("sim relay --quiet --listen 127.0.0.1:{RELAY}")), RELAY),
        Protocol::Smpp => (ours(&format!("sim smsc --quiet --listen 127.0.0.1:{SMSC}")), SMSC),
    };
    let mut sink = Service::start("sink", &sink, &work)?;
    sink.wait_port(port, UP_WITHIN)?;
    let mut router = Service::start("router", &ours("run --config wirepost.yaml"), &work)?;
    router.wait_ready(HTTP, UP_WITHIN)?;
    wait_until(UP_WITHIN, || (metric(UP) == Some(1)).then_some(())).with_context(|| {
        format!("the sink is not bound to; the router said:\n{}", router.said())
    })?;

    let count = if short { scenario.count / SHORT } else { scenario.count };
    let (cpu, syncs) = (cpu_ticks(&router)?, metric(SYNCS).unwrap_or(0));
    let started = now();
    let load = load(&mut ours(&scenario.load(SMTP, SMPP, count)))?;
    let drained = wait_until(DRAINED_WITHIN, || (metric(DELIVERED)? >= count).then(now));
    let drained = drained.with_context(|| {
        format!("{:?} of {count} came out; the router said:\n{}", metric(DELIVERED), router.said())
    })?;
    let messages = count.max(1);
    Ok(Measured {
        messages,
        accepted_per_second: load.per_second,
        delivered_per_second: per_second(messages, drained - started),
        cpu_us: (cpu_ticks(&router)? - cpu) * 1_000_000 / TICKS_PER_SECOND / messages,
        p50_ms: load.p50_ms,
        p99_ms: load.p99_ms,
        syncs_per_1000: (metric(SYNCS).unwrap_or(0) - syncs) * 1000 / messages,
        rss_mib: metric(MEMORY).unwrap_or(0) / 1_048_576,
    })
}

const SYNCS: &str = "wirepost_spool_syncs_total";
const MEMORY: &str = "wirepost_memory_bytes";
const DELIVERED: &str = "wirepost_delivered_total{name=\"out\"}";
const UP: &str = "wirepost_target_up{name=\"out\"}";

fn prepare(modules: &Path, scenario: &Scenario) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let work = root().join("target/bench");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    let plugins = work.join("plugins");
    fs::create_dir_all(&plugins)?;
    fs::set_permissions(&plugins, fs::Permissions::from_mode(0o700))?;
    fs::copy(modules.join("stop_words.wasm"), plugins.join("stop_words.wasm"))?;
    fs::write(work.join("secret"), "test")?;
    fs::set_permissions(work.join("secret"), fs::Permissions::from_mode(0o600))?;
    fs::write(work.join("wirepost.yaml"), scenario.configuration())?;
    Ok(work)
}

/// What the generator says of itself.
struct Load {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

fn load(command: &mut Command) -> Result<Load> {
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
    let (p50, p99) = if smpp { ("p50", "p99") } else { ("p50_ms", "p99_ms") };
    let bad = if smpp { last["errors"].to_string() } else { last["refused"].to_string() };
    ensure!(["{}", "[]", "0", "null"].contains(&bad.as_str()), "messages were refused: {last}");
    Ok(Load {
        per_second: number(&last[rate])?,
        p50_ms: number(&latency[p50])?,
        p99_ms: number(&latency[p99])?,
    })
}

/// One sample of the router's metrics, without its fraction.
fn metric(name: &str) -> Option<u64> {
    let all = http(HTTP, "/metrics")?;
    let line = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.split('.').next()?.trim().parse().ok()
}

/// Processor time of the router so far, in user and kernel.
fn cpu_ticks(router: &Service) -> Result<u64> {
    let path = format!("/proc/{}/stat", router.pid());
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // The second field is the name in parentheses, and may hold anything.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().context("read utime and stime")).sum()
}

fn per_second(messages: u64, time: Duration) -> f64 {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = messages as f64 * 1e6 / micros as f64;
    rate
}
