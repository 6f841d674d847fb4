//! The router beside others of its kind: the same machine, minutes, generator and sink.

mod kannel;
mod ours;
mod postfix;
mod root;
mod swap;
mod table;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::profile;
use super::running::{Built, Load, fresh};
use super::scenario::{Protocol, Shape};
use super::{SHORT, folder};
use crate::process::{Service, wait_until};
use root::Root;
use table::Row;

/// Rows of mail by a command at a time.
const PLAIN_MAIL: &str = "SMTP relay";
/// Rows of mail whose commands are said together.
const PIPELINED_MAIL: &str = "SMTP, pipelined";
/// Time for the last message to come out.
const OUT_WITHIN: Duration = Duration::from_secs(120);
/// Sinks say how many messages they took whenever it is a multiple of this.
const COUNT_EVERY: u64 = 100;
/// Messages over which syncs are counted.
const SYNCED: u64 = 1000;

/// What is sent, for each kind of traffic: one at a time, ten, a hundred; mail needs more sessions, and
/// is sent by a command at a time and pipelined.
const MAIL: [Shape; 4] = [
    shape(1, 1, 4_000),
    shape(20, 1, 60_000),
    shape(100, 1, 60_000),
    pipelined(shape(100, 1, 60_000)),
];
const SHORT_MESSAGES: [Shape; 4] =
    [shape(1, 1, 10_000), shape(1, 10, 100_000), shape(1, 100, 200_000), shape(4, 100, 200_000)];
/// A peer that takes a fraction of the messages in a second gets as few of them.
const POSTFIX: [Shape; 4] =
    [shape(1, 1, 400), shape(20, 1, 4_000), shape(100, 1, 4_000), pipelined(shape(100, 1, 4_000))];
const KANNEL: [Shape; 3] = [shape(1, 1, 10_000), shape(1, 10, 60_000), shape(1, 100, 100_000)];

const fn shape(sessions: u64, window: u64, count: u64) -> Shape {
    Shape { sessions, window, pipelining: false, count }
}

const fn pipelined(shape: Shape) -> Shape {
    Shape { pipelining: true, ..shape }
}

/// With `--short`, fewer messages.
fn scaled(shape: Shape, short: bool) -> Shape {
    let count = if short { shape.count / SHORT } else { shape.count };
    Shape { count: count.next_multiple_of(COUNT_EVERY), ..shape }
}

/// Measures all that can be installed and prints a table; `target/bench/peers.json` has the figures.
///
/// # Errors
/// If the router does not do what it should. A peer that does not run is skipped by name.
pub(super) fn run(built: &Built, short: bool) -> Result<()> {
    let root = Root::install(&folder().join("peers"));
    let mut rows = Vec::new();
    let mut skipped = Vec::new();
    table::head();
    let mut add = |more: Result<Vec<Row>>, who: &str, skipped: &mut Vec<String>| match more {
        Ok(more) => {
            more.iter().for_each(table::line);
            rows.extend(more);
        }
        Err(error) => {
            println!("skipped {who}: {error:#}");
            skipped.push(format!("{who}: {error:#}"));
        }
    };
    let mail: Vec<Shape> = MAIL.iter().map(|shape| scaled(*shape, short)).collect();
    let texts: Vec<Shape> = SHORT_MESSAGES.iter().map(|shape| scaled(*shape, short)).collect();
    add(Ok(ours::measure(built, Protocol::Smtp, &mail)?), "wirepost", &mut skipped);
    let there =
        |root: &Result<Root>| root.as_ref().map_err(|error| anyhow::anyhow!("{error:#}")).cloned();
    let shapes: Vec<Shape> = POSTFIX.iter().map(|shape| scaled(*shape, short)).collect();
    let postfix = there(&root).and_then(|root| postfix::measure(built, &root, &shapes));
    add(postfix, "Postfix", &mut skipped);
    add(Ok(ours::measure(built, Protocol::Smpp, &texts)?), "wirepost", &mut skipped);
    let shapes: Vec<Shape> = KANNEL.iter().map(|shape| scaled(*shape, short)).collect();
    let kannel = there(&root).and_then(|root| kannel::measure(built, &root, &shapes));
    add(kannel, "Kannel", &mut skipped);
    let swaps = swap::measure(built, short)?;
    table::ratios(&rows);
    for swap in &swaps {
        swap.print();
    }
    let file = folder().join("peers.json");
    let figures = json!({
        "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
        "swaps": swaps.iter().map(swap::Swap::json).collect::<Vec<_>>(),
        "skipped": skipped,
    });
    fs::write(&file, format!("{figures:#}\n"))?;
    println!("\n{}", file.display());
    Ok(())
}

/// What a row of mail is called.
const fn mail(shape: Shape) -> &'static str {
    if shape.pipelining { PIPELINED_MAIL } else { PLAIN_MAIL }
}

/// Waits until a sink of ours has said that it took so many messages.
fn wait_count(sink: &Service, wanted: u64) -> Result<()> {
    let taken = || {
        let counts = sink.records().into_iter().filter(|record| record["event"] == "count");
        counts.filter_map(|record| record["messages"].as_u64()).max().unwrap_or(0)
    };
    let all = wait_until(OUT_WITHIN, || (taken() >= wanted).then_some(()));
    all.with_context(|| format!("only {} of {wanted} messages came out", taken()))
}

/// Syncs a thousand messages take, counted by `perf` over all processes of a peer.
fn syncs_per_1000(
    pids: &[u32],
    work: &Path,
    send: impl FnOnce() -> Result<()>,
) -> Result<Option<u64>> {
    if !crate::process::found("perf") {
        return send().map(|()| None);
    }
    let counted = profile::count_calls(pids, work, send)?;
    Ok(counted.ok().map(|counts| {
        let syncs: u64 = ["fsync", "fdatasync"].iter().filter_map(|call| counts.get(*call)).sum();
        syncs * 1000 / SYNCED
    }))
}
