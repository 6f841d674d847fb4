//! Counters that an operator watches. Gauges are read from the queues and the spool when asked.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The name of a listener, a connector, an account or a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Named {
    name: String,
}

/// A family of counters by name.
pub type ByName = Family<Named, Counter>;

/// All counters. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Messages taken, by door.
    pub accepted: ByName,
    /// Messages refused, by door.
    pub refused: ByName,
    /// Messages taken undecided, by door.
    pub undecided: ByName,
    /// Deliveries handed over, by target.
    pub delivered: ByName,
    /// Attempts put off, by target.
    pub deferred: ByName,
    /// Deliveries that failed for good, by target.
    pub failed: ByName,
    /// Deliveries that expired, by target.
    pub expired: ByName,
    /// Attempts whose answer was lost, by target.
    pub unknown: ByName,
    /// Messages and deliveries put aside, by door.
    pub held: ByName,
    /// Legs dropped by rule, by door.
    pub dropped: ByName,
    /// Receipts, by target.
    pub receipts: ByName,
    /// Receipts for ids that nobody knows, by target.
    pub receipts_unmatched: ByName,
    /// Faults of plugins, by plugin.
    pub faults: ByName,
    /// Messages that a plugin did not look at while its breaker was open, by plugin.
    pub paused: ByName,
    /// Messages made by us: receipts and bounces, by target.
    pub born: ByName,
    /// Connections for which there was no place, by door.
    pub connections_refused: ByName,
    /// Logins with a wrong name or password, by door.
    pub logins_failed: ByName,
    /// Logins refused unseen, since too many had failed, by door.
    pub logins_shut_out: ByName,
    /// Reloads that were taken.
    pub reloads: Counter,
    /// Reloads that were refused.
    pub reloads_refused: Counter,
    /// Commits that the spool refused.
    pub commit_failures: Counter,
}

impl Metrics {
    /// Adds `count` to a counter of `family`.
    pub fn add(family: &ByName, name: &Arc<str>, count: u64) {
        family.get_or_create(&Named { name: name.to_string() }).inc_by(count);
    }

    /// Registers all counters.
    pub fn register(&self, registry: &mut Registry) {
        let families: [(&str, &str, &ByName); 18] = [
            ("accepted", "Messages taken, by door", &self.accepted),
            ("refused", "Messages refused, by door", &self.refused),
            ("undecided", "Messages taken before plugins decided, by door", &self.undecided),
            ("delivered", "Deliveries handed over, by target", &self.delivered),
            ("deferred", "Attempts put off, by target", &self.deferred),
            ("failed", "Deliveries failed for good, by target", &self.failed),
            ("expired", "Deliveries expired, by target", &self.expired),
            ("unknown", "Attempts whose answer was lost, by target", &self.unknown),
            ("held", "Deliveries put aside, by door", &self.held),
            ("dropped", "Legs dropped by rule, by door", &self.dropped),
            ("receipts", "Receipts that came, by target", &self.receipts),
            ("receipts_unmatched", "Receipts for unknown ids, by target", &self.receipts_unmatched),
            ("plugin_faults", "Faults of plugins, by plugin", &self.faults),
            ("plugin_paused", "Messages put off while a plugin is paused, by plugin", &self.paused),
            (
                "connections_refused",
                "Connections without a place, by door",
                &self.connections_refused,
            ),
            ("logins_failed", "Logins with a wrong name or password, by door", &self.logins_failed),
            (
                "logins_shut_out",
                "Logins refused unseen after too many wrong ones, by door",
                &self.logins_shut_out,
            ),
            ("born", "Receipts and bounces made, by target", &self.born),
        ];
        for (name, help, family) in families {
            registry.register(name, help, family.clone());
        }
        let counters = [
            ("reloads", "Generations put in place", &self.reloads),
            (
                "reloads_refused",
                "Reloads that kept the last good generation",
                &self.reloads_refused,
            ),
            ("commit_failures", "Commits that the spool refused", &self.commit_failures),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
    }
}
