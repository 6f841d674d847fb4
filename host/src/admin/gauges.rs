//! Figures that are read when somebody asks: queues, spool, memory.

use std::fmt::Error;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::figures;
use crate::delivery::{DECIDER, STATE_HELD, STATE_SCHEDULED, STATE_UNDECIDED};
use crate::inbound::gate::Crowd;
use crate::platform::memory::resident_bytes;
use crate::plugin::Figures;
use crate::router::{Router, Watermark};
use crate::target::{StopKind, Target};

/// Refused files that have a gauge of their own; whoever may drop files names the gauges. All are
/// counted.
const REFUSED_NAMED_MAX: usize = 20;

/// Reads the figures of a router.
#[derive(Debug)]
pub(super) struct Gauges {
    router: Arc<Router>,
}

type Read<'a> = &'a dyn Fn(&Target) -> u64;
type Count = fn(&Figures) -> u64;
type OfCrowd = fn(&Crowd) -> u64;

impl Gauges {
    pub(super) const fn new(router: Arc<Router>) -> Self {
        Self { router }
    }

    fn of_targets(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut targets = self.router.targets();
        targets.extend(self.router.target(DECIDER));
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let now = self.router.clock.now();
        let families: [(&str, &str, Read<'_>); 9] = [
            ("target_up", "1 if deliveries can go out now", &|t| u64::from(t.is_well())),
            ("queue_deliveries", "Deliveries that wait or are in flight", &|t| count(t.counts().0)),
            ("queue_scheduled", "Deliveries that wait for their time", &|t| count(t.counts().1)),
            ("queue_in_flight", "Deliveries that are being tried", &|t| count(t.counts().2)),
            ("queue_oldest_seconds", "Age of the oldest delivery", &|t| {
                t.oldest().map_or(0, |id| now.since(id.time()).as_secs())
            }),
            ("queue_full", "1 if the queue is at its limit", &|t| u64::from(t.is_full())),
            ("stalled", "1 if deliveries could go and no attempt is made", &|t| {
                u64::from(t.is_stalled())
            }),
            ("target_stopped", "1 if an operator suspended it, 2 if one drains it", &|t| match t
                .stopped()
            {
                None => 0,
                Some(StopKind::Suspended) => 1,
                Some(StopKind::Draining) => 2,
            }),
            ("target_changed_seconds", "When the target went up or down, Unix time", &|t| {
                t.changed().as_secs()
            }),
        ];
        for (name, help, read) in families {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for target in &targets {
                let labels = [("name", &*target.name)];
                ConstGauge::new(read(target)).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Sessions that are bound, by account";
        let mut family = encoder.encode_descriptor("sessions", help, None, MetricType::Gauge)?;
        for name in self.router.generation().config.accounts.keys() {
            let bound = self.router.accounts.sessions(name);
            ConstGauge::new(bound).encode(family.encode_family(&[("name", &**name)])?)?;
        }
        Ok(())
    }

    fn of_spool(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let stats = self.router.spool.stats();
        let help = "Deliveries in the spool, by state";
        let mut family =
            encoder.encode_descriptor("spool_entries", help, None, MetricType::Gauge)?;
        let states =
            [("scheduled", STATE_SCHEDULED), ("undecided", STATE_UNDECIDED), ("held", STATE_HELD)];
        for (state, number) in states {
            let found = stats.by_state.iter().find(|(known, _)| *known == number);
            let count = found.map_or(0, |(_, count)| *count);
            ConstGauge::new(count).encode(family.encode_family(&[("state", state)])?)?;
        }
        let gauges = [
            ("spool_bodies", "Messages in the spool", stats.bodies),
            ("spool_disk_bytes", "What the spool takes on disk", stats.disk_bytes),
            ("spool_waiting_commits", "Commits that wait for the disk", stats.waiting_commits),
            ("spool_waiting_bytes", "Octets that wait for the disk", stats.waiting_bytes),
            ("spool_corrupt", "Records set aside as damaged", stats.corrupt),
            (
                "spool_poisoned",
                "1 if the disk failed",
                u64::from(self.router.spool.poisoned().is_some()),
            ),
        ];
        for (name, help, value) in gauges {
            gauge(encoder, name, help, value)?;
        }
        if stats.free_bytes != u64::MAX {
            gauge(encoder, "spool_free_bytes", "What the disk has left", stats.free_bytes)?;
        }
        counter(encoder, "spool_commits", "Commits that are durable", stats.commits)?;
        counter(encoder, "spool_lazy_commits", "Commits nobody waited for", stats.lazy_commits)?;
        counter(encoder, "spool_groups", "Batches written", stats.groups)?;
        counter(encoder, "spool_syncs", "Syncs of the disk", stats.syncs)?;
        let help = "Time to write and sync one batch";
        let mut family =
            encoder.encode_descriptor("spool_sync_seconds", help, None, MetricType::Gauge)?;
        let latency = stats.sync_latency;
        let quantiles: [(&str, Duration); 3] =
            [("0.5", latency.p50), ("0.99", latency.p99), ("1", latency.max)];
        for (quantile, took) in quantiles {
            let labels = [("quantile", quantile)];
            ConstGauge::new(took.as_secs_f64()).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn of_health(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let generation = self.router.generation();
        let health = &generation.health;
        let help = "1 if the last good configuration runs instead of the one on disk";
        gauge(encoder, "config_stale", help, u64::from(health.config.is_some()))?;
        let help = "1 if a plugin does not run with the bytes of its file, by plugin or file";
        let mut family =
            encoder.encode_descriptor("plugin_stale", help, None, MetricType::Gauge)?;
        let names = generation.plugins.iter().map(|slot| &slot.config.name);
        for name in names.chain(health.refused.keys().take(REFUSED_NAMED_MAX)) {
            let stale = health.stale.contains_key(name) || health.refused.contains_key(name);
            let labels = [("name", &**name)];
            ConstGauge::new(u64::from(stale)).encode(family.encode_family(&labels)?)?;
        }
        let help = "1 if the plugin folder cannot be read, and what was dropped there goes on";
        gauge(encoder, "plugin_folder_stale", help, u64::from(health.folder.is_some()))?;
        let help = "Files that were dropped into the plugin folder and are refused";
        let refused = u64::try_from(health.refused.len()).unwrap_or(u64::MAX);
        gauge(encoder, "plugin_files_refused", help, refused)?;
        Ok(())
    }

    fn of_doors(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let crowds = self.router.gates.crowds();
        let families: [(&str, &str, OfCrowd); 3] = [
            ("door_connections", "Connections, by listener", |crowd| crowd.connections.into()),
            ("door_strangers", "Connections of strangers, by listener", |crowd| {
                crowd.strangers.into()
            }),
            ("door_crowded", "1 while places run out, by listener", |crowd| {
                crowd.is_crowded.into()
            }),
        ];
        for (name, help, read) in families {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (door, crowd) in &crowds {
                let labels = [("name", &**door)];
                ConstGauge::new(read(crowd)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn of_plugins(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let generation = self.router.generation();
        let counted: Vec<_> =
            generation.plugins.iter().map(|slot| (slot, slot.plugin.figures())).collect();
        let families: [(&str, &str, Count); 2] = [
            ("plugin_put_off", "Calls that the router had no room for, by plugin", |counted| {
                counted.calls_put_off
            }),
            ("plugin_lines_left_out", "Lines of logs that were left out, by plugin", |counted| {
                counted.lines_left_out
            }),
        ];
        for (name, help, read) in families {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (slot, counted) in &counted {
                let labels = [("name", &*slot.config.name)];
                ConstCounter::new(read(counted)).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Instances that wait for work, by plugin";
        let metric = MetricType::Gauge;
        let mut family = encoder.encode_descriptor("plugin_instances_idle", help, None, metric)?;
        for (slot, counted) in &counted {
            let labels = [("name", &*slot.config.name)];
            ConstGauge::new(counted.instances_idle).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn of_process(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let router = &self.router;
        let parked = u64::try_from(router.receipts_parked()).unwrap_or(u64::MAX);
        let tasks = u64::try_from(router.tasks.running()).unwrap_or(u64::MAX);
        gauge(
            encoder,
            "generation",
            "Generation of the configuration",
            router.generation().number,
        )?;
        gauge(
            encoder,
            "started_seconds",
            "When it started, Unix time",
            router.started().as_secs(),
        )?;
        gauge(
            encoder,
            "receipts_parked",
            "Receipts that wait for the answer to their submit",
            parked,
        )?;
        let parts = u64::try_from(router.parts_waiting()).unwrap_or(u64::MAX);
        let help = "Parts of concatenated SMS that wait for the others";
        gauge(encoder, "parts_waiting", help, parts)?;
        gauge(encoder, "tasks", "Sessions, connections and loops that run", tasks)?;
        let help = "What came in and is accounted for nowhere; 0 is right";
        let difference = ConstGauge::new(router.ledger().difference);
        let metric = MetricType::Gauge;
        difference.encode(encoder.encode_descriptor("ledger_imbalance", help, None, metric)?)?;
        if let Some(bytes) = resident_bytes() {
            gauge(encoder, "memory_bytes", "Resident memory", bytes)?;
        }
        let help = "1 while something is short and doors answer later";
        let mut family = encoder.encode_descriptor("pressure", help, None, MetricType::Gauge)?;
        for watermark in Watermark::ALL {
            let on = u64::from(router.pressure.is_on(watermark));
            let labels = [("watermark", watermark.name())];
            ConstGauge::new(on).encode(family.encode_family(&labels)?)?;
        }
        let loaded = u64::try_from(router.loaded_bytes()).unwrap_or(u64::MAX);
        gauge(encoder, "queue_loaded_bytes", "Waiting messages that are in memory", loaded)?;
        counter(encoder, "journal_lost", "Events that could not be written", router.journal.lost())
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        self.of_targets(&mut encoder)?;
        self.of_spool(&mut encoder)?;
        self.of_health(&mut encoder)?;
        self.of_doors(&mut encoder)?;
        self.of_plugins(&mut encoder)?;
        figures::encode(&self.router.generation().plugins, &mut encoder)?;
        self.of_process(&mut encoder)
    }
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), Error> {
    let gauge = ConstGauge::new(value);
    gauge.encode(to.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn counter(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> Result<(), Error> {
    let counter = ConstCounter::new(value);
    counter.encode(to.encode_descriptor(name, help, None, MetricType::Counter)?)
}
