//! The ledger: accepted + born = delivered + failed + expired + dropped + joined + removed + held + queued.
//!
//! The unit is one recipient of one leg; a message that is not decided yet is one unit until it is.
//! What goes in and out is counted in the batch that writes or removes the entry, so that after any
//! crash the counts and the entries are of the same moment; what is here is counted by the spool's
//! index. Whoever adds or removes an entry counts it: nothing else keeps the books right.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use spool::{Batch, CommitError, Spool, Stats};

use crate::delivery::{HELD, STATE_HELD};

/// In, by door: recipients of messages that were taken.
pub const ACCEPTED: &str = "accepted";
/// In, by door: forks, recipients that plugins added, receipts and bounces.
pub const BORN: &str = "born";
/// Out, by target: the next hop took it.
pub const DELIVERED: &str = "delivered";
/// Out, by target: given up, and the origin told if it wanted to know.
pub const FAILED: &str = "failed";
/// Out, by target: too late, and the origin told if it wanted to know.
pub const EXPIRED: &str = "expired";
/// Out, by door: taken and discarded by a route or a plugin.
pub const DROPPED: &str = "dropped";
/// Out, by door: parts of concatenated SMS that became one message, which is born.
pub const JOINED: &str = "joined";
/// Out, by target: taken back by its sender, or deleted by an operator.
pub const REMOVED: &str = "removed";

/// The door of what the spool held before there was a ledger.
const FOUND: &str = "@found";
/// The door of what `wirepost spool import` added.
pub const IMPORTED: &str = "@import";

/// The books at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// In minus out minus here: 0 if everything is accounted for, more if something is missing.
    pub difference: i64,
    /// Sums over all doors and targets.
    pub sums: Sums,
    /// What came in, by door, and was dropped.
    pub doors: BTreeMap<Arc<str>, Door>,
    /// What became of it, by connector or account.
    pub targets: BTreeMap<Arc<str>, Target>,
}

/// The terms of the equation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// In.
    pub accepted: u64,
    /// In.
    pub born: u64,
    /// Out.
    pub delivered: u64,
    /// Out.
    pub failed: u64,
    /// Out.
    pub expired: u64,
    /// Out.
    pub dropped: u64,
    /// Out.
    pub joined: u64,
    /// Out.
    pub removed: u64,
    /// Here: waits for an operator.
    pub held: u64,
    /// Here: waits for its target or for a decision, or is under way.
    pub queued: u64,
    /// Here: entries that cannot be read, kept as evidence.
    pub damaged: u64,
}

/// One door.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Door {
    /// In.
    pub accepted: u64,
    /// In.
    pub born: u64,
    /// Out.
    pub dropped: u64,
    /// Out.
    pub joined: u64,
}

/// One target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Out.
    pub delivered: u64,
    /// Out.
    pub failed: u64,
    /// Out.
    pub expired: u64,
    /// Out.
    pub removed: u64,
    /// Here.
    pub queued: u64,
}

impl Ledger {
    /// The books that these figures of the spool make.
    #[must_use]
    pub fn of(stats: &Stats) -> Self {
        let mut ledger = Self::default();
        for (name, total) in &stats.totals {
            if let Some((column, name)) = name.split_once('/') {
                ledger.post(column, name, *total);
            }
        }
        for (name, here) in &stats.by_target {
            if &**name != HELD {
                ledger.target(name).queued = here.waiting + here.claimed;
            }
        }
        let held = stats.by_state.iter().find(|(state, _)| *state == STATE_HELD);
        let sums = &mut ledger.sums;
        sums.held = held.map_or(0, |(_, count)| *count);
        sums.queued = stats.entries - sums.held;
        sums.damaged = stats.aside;
        ledger.difference = sums.difference();
        ledger
    }

    /// Whether everything is accounted for.
    #[must_use]
    pub const fn is_balanced(&self) -> bool {
        self.difference == 0
    }

    /// Opens the books of a spool that has none, with what it holds.
    ///
    /// # Errors
    /// If the spool cannot be written.
    pub async fn begin(spool: &Spool) -> Result<(), CommitError> {
        let stats = spool.stats();
        if !stats.totals.is_empty() || stats.entries + stats.aside == 0 {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.count(BORN, &Arc::from(FOUND), stats.entries + stats.aside);
        spool.commit(batch).await.map(drop)
    }

    fn post(&mut self, column: &str, name: &str, total: u64) {
        let sum = match column {
            ACCEPTED => {
                self.door(name).accepted = total;
                &mut self.sums.accepted
            }
            BORN => {
                self.door(name).born = total;
                &mut self.sums.born
            }
            DROPPED => {
                self.door(name).dropped = total;
                &mut self.sums.dropped
            }
            JOINED => {
                self.door(name).joined = total;
                &mut self.sums.joined
            }
            DELIVERED => {
                self.target(name).delivered = total;
                &mut self.sums.delivered
            }
            FAILED => {
                self.target(name).failed = total;
                &mut self.sums.failed
            }
            EXPIRED => {
                self.target(name).expired = total;
                &mut self.sums.expired
            }
            REMOVED => {
                self.target(name).removed = total;
                &mut self.sums.removed
            }
            // A column of a newer version: it shows as a difference, which is what it is.
            _ => return,
        };
        *sum += total;
    }

    fn door(&mut self, name: &str) -> &mut Door {
        self.doors.entry(Arc::from(name)).or_default()
    }

    fn target(&mut self, name: &str) -> &mut Target {
        self.targets.entry(Arc::from(name)).or_default()
    }
}

impl Sums {
    fn difference(&self) -> i64 {
        let came = i128::from(self.accepted) + i128::from(self.born);
        let rest = [
            self.delivered,
            self.failed,
            self.expired,
            self.dropped,
            self.joined,
            self.removed,
            self.held,
            self.queued,
            self.damaged,
        ];
        let rest: i128 = rest.map(i128::from).iter().sum();
        i64::try_from(came - rest).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(totals: &[(&str, u64)], scheduled: u64, held: u64) -> Stats {
        let here = spool::TargetStats { waiting: scheduled, ..Default::default() };
        Stats {
            entries: scheduled + held,
            by_state: vec![(1, scheduled), (STATE_HELD, held)],
            by_target: vec![("@held".into(), Default::default()), ("smsc".into(), here)],
            totals: totals.iter().map(|(name, total)| (Arc::from(*name), *total)).collect(),
            ..Stats::default()
        }
    }

    const TOTALS: [(&str, u64); 9] = [
        ("accepted/esmes", 20),
        ("accepted/mail", 10),
        ("born/@wirepost", 4),
        ("delivered/relay", 3),
        ("delivered/smsc", 15),
        ("dropped/mail", 2),
        ("expired/smsc", 1),
        ("failed/smsc", 2),
        ("removed/smsc", 1),
    ];

    #[test]
    fn what_came_is_what_went_and_what_is_here() {
        let ledger = Ledger::of(&stats(&TOTALS, 8, 2));
        assert_eq!((ledger.difference, ledger.is_balanced()), (0, true));
        assert_eq!((ledger.sums.accepted, ledger.sums.delivered), (30, 18));
        assert_eq!(ledger.targets["smsc"].queued, 8);
        assert_eq!(ledger.doors["mail"], Door { accepted: 10, dropped: 2, ..Door::default() });
        assert!(!ledger.targets.contains_key("@held"));
    }

    #[test]
    fn what_is_missing_is_more_than_nothing_and_what_is_double_is_less() {
        assert_eq!(Ledger::of(&stats(&TOTALS, 7, 2)).difference, 1);
        assert_eq!(Ledger::of(&stats(&TOTALS, 8, 4)).difference, -2);
        let strange = [("vanished/x", 5)];
        assert_eq!(Ledger::of(&stats(&strange, 0, 0)).difference, 0);
    }

    #[test]
    fn evidence_is_here_too() {
        let mut stats = stats(&TOTALS, 7, 2);
        stats.aside = 1;
        assert!(Ledger::of(&stats).is_balanced());
    }
}
