//! After a start: what the spool holds enters the queues again.

use std::collections::BTreeMap;
use std::sync::Arc;

use message::{MessageId, Timestamp};
use spool::{Entry, Index};

use super::Router;
use crate::delivery::{DECIDER, HELD};
use crate::queue::Columns;
use crate::target::Target;

/// Entries read in one go.
const PAGE: usize = 5000;

impl Router {
    /// Fills the queues from the spool; content stays on disk until its turn comes. Returns how many
    /// deliveries wait.
    ///
    /// # Errors
    /// If the spool cannot be read.
    pub fn recover(&self) -> anyhow::Result<usize> {
        let mut cursor = None;
        let mut count = 0;
        let mut orphans: usize = 0;
        loop {
            let (entries, next) = self.spool.scan(&Index::Id, cursor, PAGE)?;
            let mut by_target: BTreeMap<Arc<str>, Vec<Columns>> = BTreeMap::new();
            for entry in entries.iter().filter(|entry| &*entry.target != HELD) {
                let known = self.target(&entry.target).is_some();
                orphans += usize::from(!known);
                let name = if known { Arc::clone(&entry.target) } else { Arc::from(DECIDER) };
                by_target.entry(name).or_default().push(columns(entry));
                count += 1;
            }
            let now = self.clock.now();
            for (name, group) in by_target {
                if let Some(target) = self.target(&name) {
                    target.push_stored(group, now);
                }
            }
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        if orphans > 0 {
            tracing::warn!(
                event = "recovery.orphans",
                count = orphans,
                "deliveries whose target is not configured any more are routed again",
            );
        }
        Ok(count)
    }

    /// What waits for a target that a reload removed is routed again.
    pub fn adopt(&self, gone: &Target) {
        let now = self.clock.now();
        loop {
            let ids = gone.waiting_ids(PAGE);
            if ids.is_empty() {
                return;
            }
            let orphans: Vec<_> = ids
                .into_iter()
                .filter_map(|id| {
                    let queued = gone.withdraw(id);
                    gone.finish(id);
                    queued
                })
                .collect();
            if orphans.is_empty() {
                return;
            }
            self.decider.push(orphans, now);
        }
    }
}

fn columns(entry: &Entry) -> Columns {
    Columns {
        id: MessageId::from_u64(entry.id),
        body: MessageId::from_u64(entry.body),
        due: Timestamp::from_ms(entry.due_ms),
        expires: Timestamp::from_ms(entry.expires_ms),
        priority: entry.priority,
    }
}
