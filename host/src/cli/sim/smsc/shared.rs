//! What all links of a simulated SMSC share: ids, counters, the throttle and the record.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use smpp::{Octets, Sm, Status};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{IdStyle, SmscArgs};
use crate::cli::load::histogram::Histogram;
use crate::platform::clock::Clock;

/// Receipts that wait for somebody to bind who receives; the oldest are dropped.
const ORPHANS_MAX: usize = 1_000_000;

/// Shared by all links.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) args: SmscArgs,
    pub(super) stop: CancellationToken,
    /// Somebody should look whether there is a receipt to send.
    pub(super) wake: Notify,
    pub(super) submits: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) throttled: AtomicU64,
    pub(super) receipts: AtomicU64,
    pub(super) delivered: AtomicU64,
    /// How long the answers to these messages took.
    latencies: Mutex<Histogram>,
    links: AtomicU64,
    references: AtomicU16,
    last_id: AtomicU64,
    second: Mutex<(Option<Instant>, u32)>,
    /// Messages to send: (started, sent so far).
    mo: Mutex<(Option<Instant>, u64)>,
    /// Receipts of links that do not receive: (due, receipt).
    orphans: Mutex<VecDeque<(Instant, Sm)>>,
}

impl Shared {
    pub(super) fn new(args: SmscArgs, stop: CancellationToken) -> Self {
        Self {
            args,
            stop,
            wake: Notify::new(),
            submits: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            receipts: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            latencies: Mutex::default(),
            links: AtomicU64::new(0),
            references: AtomicU16::new(0),
            // Another run has other ids, so that a router can tell their receipts apart.
            last_id: AtomicU64::new(wall_ms().unsigned_abs() << 20),
            second: Mutex::new((None, 0)),
            mo: Mutex::new((None, 0)),
            orphans: Mutex::new(VecDeque::new()),
        }
    }

    pub(super) fn next_link(&self) -> u64 {
        self.links.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A new id as the answer and as the receipt writes it.
    pub(super) fn next_id(&self) -> (Octets, Octets) {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let dec = || Octets::from(id.to_string().into_bytes());
        let hex = || Octets::from(format!("{id:x}").into_bytes());
        match self.args.ids {
            IdStyle::Dec => (dec(), dec()),
            IdStyle::Hex => (hex(), hex()),
            IdStyle::HexDec => (hex(), dec()),
            IdStyle::DecHex => (dec(), hex()),
        }
    }

    /// Counts a message that an ESME took.
    pub(super) fn count_delivered(&self, latency: Duration) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
        lock(&self.latencies).add(latency);
    }

    /// Counts a submit; says how many were accepted, as often as was asked for.
    pub(super) fn count(&self, status: Status) {
        let counter = match status {
            Status::ROK => &self.accepted,
            Status::RTHROTTLED => &self.throttled,
            _ => &self.refused,
        };
        let number = counter.fetch_add(1, Ordering::Relaxed) + 1;
        if !status.is_ok() {
            return;
        }
        if self.args.count_every.is_some_and(|every| number.is_multiple_of(every.max(1))) {
            self.note(&json!({ "event": "count", "messages": number, "time_ms": wall_ms() }));
        }
    }

    /// What becomes of a submit to this destination.
    pub(super) fn status(&self, destination: &Octets, now: Instant) -> Status {
        let number = destination.to_text();
        let failing = self.args.fail.iter().find(|(prefix, _)| number.starts_with(&**prefix));
        if let Some((_, status)) = failing {
            return *status;
        }
        let Some(most) = self.args.throttle else { return Status::ROK };
        let mut second = lock(&self.second);
        let begun = second.0.is_some_and(|begun| now < begun + Duration::from_secs(1));
        if !begun {
            *second = (Some(now), 0);
        }
        second.1 += 1;
        if second.1 > most { Status::RTHROTTLED } else { Status::ROK }
    }

    /// Another reference for the parts of each message.
    pub(super) fn next_reference(&self) -> u16 {
        self.references.fetch_add(1, Ordering::Relaxed)
    }

    /// How many messages a link should send now, and when to ask again.
    pub(super) fn due_mo(&self, now: Instant, room: usize) -> (u64, Option<Instant>) {
        let mut mo = lock(&self.mo);
        let (count, rate) = (self.args.mo_count, u64::from(self.args.mo_rate.max(1)));
        if mo.1 >= count {
            return (0, None);
        }
        let started = *mo.0.get_or_insert(now);
        let elapsed_ms = u64::try_from((now - started).as_millis()).unwrap_or(u64::MAX);
        let should = (elapsed_ms.saturating_mul(rate) / 1000 + 1).min(count);
        let due = should.saturating_sub(mo.1).min(u64::try_from(room).unwrap_or(0));
        mo.1 += due;
        let next = started + Duration::from_millis(mo.1.saturating_mul(1000).div_ceil(rate));
        (due, (mo.1 < count).then_some(next.max(now + Duration::from_millis(1))))
    }

    pub(super) fn keep_orphan(&self, due: Instant, receipt: Sm) {
        let mut orphans = lock(&self.orphans);
        if orphans.len() >= ORPHANS_MAX {
            orphans.pop_front();
        }
        orphans.push_back((due, receipt));
        drop(orphans);
        self.wake.notify_one();
    }

    pub(super) fn take_orphans(&self, now: Instant, room: usize) -> (Vec<Sm>, Option<Instant>) {
        let mut orphans = lock(&self.orphans);
        let mut taken = Vec::new();
        while taken.len() < room && orphans.front().is_some_and(|(due, _)| *due <= now) {
            taken.extend(orphans.pop_front().map(|(_, receipt)| receipt));
        }
        let next = orphans.front().map(|(due, _)| (*due).max(now + Duration::from_millis(1)));
        (taken, next)
    }

    /// Says how a link's task ended, if it did not end well.
    pub(super) fn ended(&self, ended: Result<std::io::Result<()>, tokio::task::JoinError>) {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.note(&json!({ "event": "link", "error": error.to_string() })),
            Err(error) => self.note(&json!({ "event": "task", "error": error.to_string() })),
        }
    }

    pub(super) fn totals(&self) -> Value {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        json!({
            "event": "totals",
            "links": count(&self.links),
            "submits": count(&self.submits),
            "accepted": count(&self.accepted),
            "throttled": count(&self.throttled),
            "refused": count(&self.refused),
            "receipts": count(&self.receipts),
            "delivered": count(&self.delivered),
            "delivery_latency_ms": lock(&self.latencies).in_ms(),
        })
    }

    /// Prints one record.
    pub(super) fn note(&self, record: &Value) {
        print(&format!("{record}\n"));
    }
}

/// Prints whole lines at once. A reader that is gone does not stop the simulation.
pub(super) fn print(lines: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(lines.as_bytes()).and_then(|()| out.flush()).is_err() {
        tracing::debug!(event = "stdout.closed");
    }
}

/// Milliseconds since 1970 UTC.
pub(super) fn wall_ms() -> i64 {
    i64::try_from(Clock::system().now().as_ms()).unwrap_or(i64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
