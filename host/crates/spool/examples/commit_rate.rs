//! How fast the spool on disk commits: 2 KB messages, each committed, proven, and removed lazily.
//!
//! `cargo run --release -p wirepost-spool --example commit_rate -- [DIRECTORY] [SECONDS]`
//!
//! Prints, for 8 and for 512 messages outstanding: messages a second, CPU per message of the whole
//! process, syncs, and latencies. Then what a million queued messages cost in memory and how long
//! they take to open.
#![expect(clippy::print_stdout, reason = "it is a program that prints figures")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]
#![expect(clippy::unwrap_used, reason = "a measurement may stop at the first surprise")]
#![expect(clippy::cast_precision_loss, reason = "figures are rounded anyway")]

use std::collections::VecDeque;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wirepost_spool::{Batch, Entry, NEVER_MS, Options, Spool};

const BODY_BYTES: usize = 2048;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Octets that do not compress.
fn noise() -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(BODY_BYTES);
    while bytes.len() < BODY_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes.into()
}

fn message(id: u64, body: &Bytes) -> (Bytes, Entry) {
    let entry = Entry {
        id,
        body: id,
        target: "smsc-a".into(),
        state: 1,
        due_ms: id,
        priority: 1,
        account: "shop".into(),
        expires_ms: id + 86_400_000,
        bytes: body.slice(..200),
    };
    (body.clone(), entry)
}

/// One line of `/proc/self/status`, in MiB.
fn memory_mib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// CPU time of this process, user and system.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let ticks = after_name.split_whitespace().skip(11).take(2);
    Duration::from_millis(10 * ticks.map(|n| n.parse::<u64>().unwrap()).sum::<u64>())
}

fn run(spool: &Spool, outstanding: usize, first: u64, seconds: u64) -> u64 {
    let body = noise();
    let lease = spool.lease(1);
    let mut waiting = VecDeque::new();
    let (started, cpu_before) = (Instant::now(), cpu());
    let before = spool.stats();
    let mut id = first;
    let mut done = 0_u64;
    while started.elapsed() < Duration::from_secs(seconds) {
        while waiting.len() < outstanding {
            let (bytes, entry) = message(id, &body);
            let mut batch = Batch::with_capacity(2);
            batch.put_body(id, bytes);
            batch.put_claimed(entry, &lease);
            waiting.push_back((id, spool.commit(batch)));
            id += 1;
        }
        let (oldest, commit) = waiting.pop_front().unwrap();
        let _proof = wait(commit).unwrap();
        let mut batch = Batch::with_capacity(1);
        batch.remove_entry(oldest);
        spool.commit_later(batch).unwrap();
        done += 1;
    }
    for (_, commit) in waiting {
        let _proof = wait(commit).unwrap();
    }
    let took = started.elapsed().as_secs_f64();
    let used = (cpu() - cpu_before).as_secs_f64() * 1e6;
    let after = spool.stats();
    println!(
        "{outstanding:>4} outstanding: {:>7.0} messages/s, {:>5.1} µs CPU each, {:>6.0} syncs/s, sync p50 {:?} p99 {:?} max {:?}",
        done as f64 / took,
        used / done as f64,
        (after.syncs - before.syncs) as f64 / took,
        after.sync_latency.p50,
        after.sync_latency.p99,
        after.sync_latency.max,
    );
    println!(
        "                  disk {} MiB, RSS {} MiB",
        after.disk_bytes >> 20,
        memory_mib("VmRSS")
    );
    id
}

fn million(path: &Path, count: u64) {
    let body = noise();
    let (spool, _) = Spool::open_fjall(path, Options::new(Instant::now)).unwrap();
    let started = Instant::now();
    for first in (1..=count).step_by(500) {
        let mut batch = Batch::with_capacity(1000);
        for id in first..first + 500 {
            let (bytes, entry) = message(id, &body);
            batch.put_body(id, bytes);
            batch.put_entry(entry);
        }
        let _proof = wait(spool.commit(batch)).unwrap();
    }
    println!(
        "{count} queued in {:.1} s, RSS {} MiB, disk {} MiB",
        started.elapsed().as_secs_f64(),
        memory_mib("VmRSS"),
        spool.stats().disk_bytes >> 20
    );
    spool.close();
}

fn reopen(path: &Path) {
    let started = Instant::now();
    let (spool, report) = Spool::open_fjall(path, Options::new(Instant::now)).unwrap();
    println!(
        "{} open again in {:.1} s, RSS {} MiB",
        report.entries,
        started.elapsed().as_secs_f64(),
        memory_mib("VmRSS")
    );
    let started = Instant::now();
    let lease = spool.lease(1);
    let mut bytes = 0;
    let (mut claimed, mut pages) = (0, 0);
    loop {
        let entries = spool.claim(&lease, &[], NEVER_MS, 1000).unwrap();
        if entries.is_empty() {
            break;
        }
        pages += 1;
        let mut batch = Batch::with_capacity(entries.len());
        for entry in &entries {
            bytes += spool.body(entry.body).unwrap().unwrap().len();
            batch.remove_entry(entry.id);
        }
        claimed += entries.len();
        let _proof = wait(spool.commit(batch)).unwrap();
    }
    println!(
        "{claimed} claimed, read ({} MiB) and removed in {:.1} s, {pages} pages, RSS {} MiB, disk {} MiB",
        bytes >> 20,
        started.elapsed().as_secs_f64(),
        memory_mib("VmRSS"),
        spool.stats().disk_bytes >> 20
    );
    spool.close();
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let place = tempfile::tempdir().unwrap();
    let directory = arguments.next().map_or_else(|| place.path().to_owned(), Into::into);
    let what = arguments.next().unwrap_or_else(|| "rate".to_owned());
    let number: u64 = arguments.next().map_or(5, |n| n.parse().unwrap());
    match &*what {
        "fill" => million(&directory, number),
        "open" => reopen(&directory),
        _ => {
            let (spool, _) = Spool::open_fjall(&directory, Options::new(Instant::now)).unwrap();
            println!("idle: RSS {} MiB", memory_mib("VmRSS"));
            let next = run(&spool, 8, 1, number);
            run(&spool, 512, next, number);
            spool.close();
        }
    }
}
