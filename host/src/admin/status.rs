//! The state of the router at one moment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use message::Timestamp;
use serde::Serialize;

use super::Shared;
use crate::config::{Config, ConnectorKind, Listener, ListenerKind};
use crate::delivery::{DECIDER, STATE_HELD, STATE_SCHEDULED, STATE_UNDECIDED};
use crate::generation::Generation;
use crate::platform::memory::resident_bytes;
use crate::plugin::{Compiling, Standing};
use crate::reload::Report;
use crate::router::{Router, Watermark};
use crate::target::Target;

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    hostname: Arc<str>,
    now: String,
    started: String,
    generation: u64,
    /// Whether nothing expires now, since the clock leapt ahead.
    expiry_paused: bool,
    /// Whether new messages are taken; if not, why.
    accepting: bool,
    not_accepting_because: Option<String>,
    listeners: Vec<ListenerStatus>,
    targets: Vec<TargetStatus>,
    plugins: Vec<String>,
    /// The plugin that is compiled right now.
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin_compiling: Option<Compiling>,
    /// Why the last good configuration runs instead of the one on disk.
    config_stale: Option<Arc<str>>,
    /// Why the plugin folder cannot be read, though what was dropped there and ran goes on.
    plugin_folder_stale: Option<Arc<str>>,
    /// By plugin: why it runs with its last good bytes.
    plugins_stale: BTreeMap<Arc<str>, Arc<str>>,
    /// By file: why one that was dropped into the plugin folder does not run.
    plugins_refused: BTreeMap<Arc<str>, Arc<str>>,
    /// By plugin: which messages wait since they made it fail.
    plugins_paused: BTreeMap<Arc<str>, String>,
    /// Files of the plugin folder that nothing uses.
    plugins_unused: Vec<Arc<str>>,
    spool: SpoolStatus,
    journal: JournalStatus,
    receipts_parked: usize,
    tasks: usize,
    memory_bytes: Option<u64>,
    /// The last reload that did something or was refused.
    reload: Option<Report>,
}

#[derive(Debug, Serialize)]
struct ListenerStatus {
    name: Arc<str>,
    protocol: &'static str,
    addresses: Vec<SocketAddr>,
    connections: u32,
    /// Whether places run out, and connections before a login get seconds.
    crowded: bool,
}

#[derive(Debug, Serialize)]
struct TargetStatus {
    name: Arc<str>,
    /// `smpp`, `smtp`, `account`, or `decider` for messages that plugins have not decided.
    kind: &'static str,
    up: bool,
    /// Since when it is up or down; none if it was never up.
    since: Option<String>,
    /// `suspended` or `draining`, with when and why, if an operator ordered that.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<String>,
    /// Whether deliveries could go and no attempt is made.
    stalled: bool,
    /// When the oldest delivery was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<String>,
    /// Sessions of an account.
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions: Option<u32>,
    queued: usize,
    scheduled: usize,
    in_flight: usize,
    waiting: Arc<str>,
    delivered: u64,
    deferred: u64,
    failed: u64,
}

#[derive(Debug, Serialize)]
struct SpoolStatus {
    entries: u64,
    bodies: u64,
    scheduled: u64,
    undecided: u64,
    held: u64,
    disk_bytes: u64,
    free_bytes: Option<u64>,
    commits: u64,
    groups: u64,
    syncs: u64,
    waiting_commits: u64,
    corrupt: u64,
    sync_p50_us: u128,
    sync_p99_us: u128,
    sync_max_us: u128,
}

#[derive(Debug, Serialize)]
struct JournalStatus {
    kept: bool,
    lost: u64,
}

/// Reads everything; the spool is asked for figures only.
pub(super) fn status(shared: &Shared) -> Status {
    let router = &shared.router;
    let generation = router.generation();
    let config = &generation.config;
    let not_accepting = why_not_accepting(router);
    let mut targets: Vec<_> =
        router.targets().iter().map(|target| of_target(shared, config, target)).collect();
    if let Some(decider) = router.target(DECIDER) {
        targets.push(of_target(shared, config, &decider));
    }
    Status {
        version: env!("CARGO_PKG_VERSION"),
        hostname: Arc::clone(&config.node.hostname),
        now: router.clock.now().to_string(),
        started: router.started().to_string(),
        generation: generation.number,
        expiry_paused: router.is_expiry_paused(),
        accepting: not_accepting.is_none(),
        not_accepting_because: not_accepting,
        listeners: listeners(shared, config),
        targets,
        plugins: shared.reload.plugins(),
        plugin_compiling: shared.reload.compiling(),
        config_stale: generation.health.config.clone(),
        plugin_folder_stale: generation.health.folder.clone(),
        plugins_stale: generation.health.stale.clone(),
        plugins_refused: generation.health.refused.clone(),
        plugins_paused: paused(&generation, router.clock.now()),
        plugins_unused: crate::reload::unused(config),
        spool: spool(shared),
        journal: JournalStatus {
            kept: router.journal.reader().is_some(),
            lost: router.journal.lost(),
        },
        receipts_parked: router.receipts_parked(),
        tasks: router.tasks.running(),
        memory_bytes: resident_bytes(),
        reload: shared.reload.last(),
    }
}

fn listeners(shared: &Shared, config: &Config) -> Vec<ListenerStatus> {
    let crowds: BTreeMap<_, _> = shared.router.gates.crowds().into_iter().collect();
    let of = |listener: &Arc<Listener>| {
        let crowd = crowds.get(&listener.name);
        ListenerStatus {
            name: Arc::clone(&listener.name),
            protocol: match &listener.kind {
                ListenerKind::Smtp(_) => "smtp",
                ListenerKind::Smpp(_) => "smpp",
            },
            addresses: shared.addresses.get(&listener.name).cloned().unwrap_or_default(),
            connections: crowd.map_or(0, |crowd| crowd.connections),
            crowded: crowd.is_some_and(|crowd| crowd.is_crowded),
        }
    };
    config.listeners.values().map(of).collect()
}

/// What the breakers of the plugins let wait.
fn paused(generation: &Generation, now: Timestamp) -> BTreeMap<Arc<str>, String> {
    let standing = generation.plugins.iter().map(|slot| (slot, slot.breaker.standing(now)));
    let paused = standing.filter_map(|(slot, Standing { senders, open_until })| {
        let why = match (open_until, senders) {
            (Some(until), _) => {
                format!("it fails for all senders; all messages wait until {until}")
            }
            (None, 0) => return None,
            (None, 1) => "the messages of one sender wait, since they make it fail".to_owned(),
            (None, _) => format!("the messages of {senders} senders wait, since they make it fail"),
        };
        Some((Arc::clone(&slot.config.name), why))
    });
    paused.collect()
}

fn why_not_accepting(router: &Router) -> Option<String> {
    if let Some(why) = router.spool.poisoned() {
        return Some(format!("the spool's disk failed: {why}"));
    }
    if router.tasks.stopping().is_cancelled() {
        return Some("it is stopping".to_owned());
    }
    let short = Watermark::ALL.into_iter().find(|mark| router.pressure.is_on(*mark))?;
    Some(match short {
        Watermark::Memory => "memory is above node.memory_max".to_owned(),
        Watermark::Disk => "the spool's disk has less than spool.free_min".to_owned(),
        Watermark::Queue => "the spool holds spool.messages_max".to_owned(),
    })
}

fn of_target(shared: &Shared, config: &Config, target: &Target) -> TargetStatus {
    let router = &shared.router;
    let (queued, scheduled, in_flight) = target.counts();
    let kind = match config.connectors.get(&target.name).map(|connector| &connector.kind) {
        Some(ConnectorKind::Smpp(_)) => "smpp",
        Some(ConnectorKind::Smtp(_)) => "smtp",
        None if &*target.name == DECIDER => "decider",
        None => "account",
    };
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let changed = target.changed();
    let sessions = (kind == "account").then(|| router.accounts.sessions(&target.name));
    TargetStatus {
        name: Arc::clone(&target.name),
        kind,
        up: target.is_well(),
        since: (changed != Timestamp::default()).then(|| changed.to_string()),
        stopped: target
            .stop()
            .map(|stop| format!("{} since {}: {}", stop.kind.word(), stop.since, stop.why)),
        stalled: target.is_stalled(),
        oldest: target.oldest().map(|id| id.time().to_string()),
        sessions,
        queued,
        scheduled,
        in_flight,
        waiting: if queued == 0 { "".into() } else { router.waits_for(&target.name) },
        delivered: load(&target.delivered),
        deferred: load(&target.deferred),
        failed: load(&target.failed),
    }
}

fn spool(shared: &Shared) -> SpoolStatus {
    let stats = shared.router.spool.stats();
    let of = |wanted: u8| {
        stats.by_state.iter().find(|(state, _)| *state == wanted).map_or(0, |(_, count)| *count)
    };
    SpoolStatus {
        entries: stats.entries,
        bodies: stats.bodies,
        scheduled: of(STATE_SCHEDULED),
        undecided: of(STATE_UNDECIDED),
        held: of(STATE_HELD),
        disk_bytes: stats.disk_bytes,
        free_bytes: (stats.free_bytes != u64::MAX).then_some(stats.free_bytes),
        commits: stats.commits,
        groups: stats.groups,
        syncs: stats.syncs,
        waiting_commits: stats.waiting_commits,
        corrupt: stats.corrupt,
        sync_p50_us: stats.sync_latency.p50.as_micros(),
        sync_p99_us: stats.sync_latency.p99.as_micros(),
        sync_max_us: stats.sync_latency.max.as_micros(),
    }
}
