//! Kannel's bearerbox as a router in memory: what one SMSC delivers is submitted to another. It is no
//! SMPP server, so that our simulated SMSC is its generator as well as its sink.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::root::Root;
use super::table::Row;
use super::{COUNT_EVERY, Load, SYNCED, Service, Shape, fresh, shape, syncs_per_1000, wait_count};
use crate::bench::running::{Built, ours, per_second};
use crate::bench::{SMSC, processes};
use crate::process::{now, ports_are_free, wait_until};

/// The SMSC that delivers.
const IN: u16 = 2977;
const ADMIN: u16 = 2978;
const SMSBOX: u16 = 2979;
const UP_WITHIN: Duration = Duration::from_secs(30);
const OUT_WITHIN: Duration = Duration::from_secs(120);
const END_WITHIN: Duration = Duration::from_secs(10);

/// Kannel between our simulators, one row for each window.
pub(super) fn measure(built: &Built, root: &Root, shapes: &[Shape]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &shape in shapes {
        rows.push(relay(built, root, shape, false)?.0);
    }
    let (_, syncs) = relay(built, root, shape(1, 10, SYNCED), true)?;
    for row in &mut rows {
        row.syncs_per_1000 = syncs;
    }
    Ok(rows)
}

/// One run from start to end: the messages come as soon as it is bound.
fn relay(built: &Built, root: &Root, shape: Shape, counted: bool) -> Result<(Row, Option<u64>)> {
    ports_are_free(&[IN, SMSC, ADMIN, SMSBOX])?;
    let work = fresh("kannel")?;
    fs::write(work.join("kannel.conf"), configuration(&work))?;
    let words = format!("sim smsc --quiet --listen 127.0.0.1:{SMSC} --count-every {COUNT_EVERY}");
    let mut sink = Service::start("sink", &ours(built, &work, &words), &work)?;
    sink.wait_port(SMSC, UP_WITHIN)?;
    let bearerbox = root.command("/usr/sbin/bearerbox", &["-v", "4", "kannel.conf"]);
    let mut bearerbox_in_work = bearerbox;
    bearerbox_in_work.current_dir(&work);
    let kannel = Service::start("kannel", &bearerbox_in_work, &work)?;
    wait_bound(&sink).with_context(|| format!("Kannel said:\n{}", kannel.said()))?;
    let source = || -> Result<Service> {
        let Shape { window, count, .. } = shape;
        let text = "x".repeat(100);
        let words = format!(
            "sim smsc --quiet --listen 127.0.0.1:{IN} --window {window} --mo-count {count} --mo-rate 100000000 --mo-text {text}"
        );
        Service::start("source", &ours(built, &work, &words), &work)
    };
    // It tries to bind to the source once a second: what comes then is not waited for.
    let run = || -> Result<(Service, Duration)> {
        let source = source()?;
        wait_bound(&source)?;
        let started = now();
        wait_count(&sink, shape.count)?;
        Ok((source, now() - started))
    };
    if counted {
        let pids = processes::family(kannel.pid())?;
        let mut row = None;
        let syncs = syncs_per_1000(&pids, &work, || {
            let (_source, took) = run()?;
            row = Some(took);
            Ok(())
        })?;
        let took = row.unwrap_or_default();
        return Ok((figures(shape, took, 0, None), syncs));
    }
    let cpu = processes::family_us(kannel.pid())?;
    let (mut source, took) = run()?;
    let cpu_us = (processes::family_us(kannel.pid())? - cpu) / shape.count;
    source.terminate(END_WITHIN);
    let totals = source.wait_record(END_WITHIN, |record| record["event"] == "totals");
    let latency = totals.as_ref().and_then(|totals| latency(&totals["delivery_latency_ms"]));
    Ok((figures(shape, took, cpu_us, latency), None))
}

fn figures(shape: Shape, took: Duration, cpu_us: u64, latency: Option<Load>) -> Row {
    Row {
        who: "Kannel",
        what: "SMPP relay",
        shape,
        accepted_per_second: None,
        delivered_per_second: per_second(shape.count, took),
        cpu_us,
        latency,
        syncs_per_1000: None,
    }
}

fn wait_bound(smsc: &Service) -> Result<()> {
    let bound = |smsc: &Service| smsc.records().iter().any(|record| record["event"] == "bind");
    wait_until(OUT_WITHIN, || bound(smsc).then_some(())).context("nobody bound")
}

fn latency(totals: &Value) -> Option<Load> {
    let figure = |name: &str| totals[name].as_f64();
    Some(Load {
        per_second: 0.0,
        p50_ms: figure("p50")?,
        p99_ms: figure("p99")?,
        p999_ms: figure("p999")?,
    })
}

fn configuration(work: &Path) -> String {
    let log = work.join("kannel.txt");
    let log = log.display();
    let smsc = |name: &str, port: u16, more: &str| {
        format!(
            "group = smsc
smsc = smpp
smsc-id = {name}
host = 127.0.0.1
port = {port}
transceiver-mode = true
smsc-username = \"wp\"
smsc-password = \"test\"
system-type = \"\"
enquire-link-interval = 30
reconnect-delay = 1
{more}
"
        )
    };
    // Groups end with an empty line, and unknown keys are fatal.
    format!(
        "group = core
admin-port = {ADMIN}
admin-interface = 127.0.0.1
admin-password = bar
status-password = foo
smsbox-port = {SMSBOX}
smsbox-interface = 127.0.0.1
log-level = 4
log-file = \"{log}\"
dlr-storage = internal
sms-resend-retry = 1

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = 13013

{}{}",
        smsc("IN", IN, "reroute-smsc-id = OUT\ndenied-smsc-id = OUT\n"),
        smsc("OUT", SMSC, "max-pending-submits = 100\n"),
    )
}
