//! After a start: what the spool holds enters the queues again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use message::{MessageId, Timestamp, record};
use spool::{Batch, Entry, Index};

use super::Router;
use crate::delivery::{DECIDER, Delivery, HELD};
use crate::queue::Columns;
use crate::target::Target;

/// Present while a run has not ended in order.
const RUNNING_KEY: &[u8] = b"run/running";
/// Entries read in one go.
const PAGE: usize = 5000;

impl Router {
    /// Fills the queues from the spool; content stays on disk until its turn comes. Returns how many
    /// deliveries wait.
    ///
    /// # Errors
    /// If the spool cannot be read.
    pub async fn recover(&self) -> anyhow::Result<usize> {
        self.note_start().await?;
        let config = Arc::clone(&self.generation().config);
        let mut cursor = None;
        let mut count = 0;
        let mut orphans: usize = 0;
        loop {
            let (entries, next) = self.spool.scan(&Index::Id, cursor, PAGE)?;
            let mut by_target: BTreeMap<Arc<str>, Vec<Columns>> = BTreeMap::new();
            for entry in entries.iter().filter(|entry| &*entry.target != HELD) {
                let known = self.target(&entry.target).is_some();
                orphans += usize::from(!known);
                if let Some(target) = self.target(&entry.target)
                    && config.accounts.contains_key(&entry.target)
                    && record::decode(&entry.bytes).is_ok_and(|it: Delivery| it.is_answer())
                {
                    target.note_answer(MessageId::from_u64(entry.id));
                }
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

    /// Leaves a mark that only an orderly end takes away. If the mark of the last run is still there,
    /// its deliveries are possible duplicates: their answers may have been lost with it.
    async fn note_start(&self) -> anyhow::Result<()> {
        let crashed = self.spool.find(RUNNING_KEY)?.is_some();
        if crashed {
            tracing::warn!(
                event = "recovery.unclean",
                "the last run did not end in order; what it left is marked as possibly delivered",
            );
            let boundary = self.next_id();
            for target in self.targets() {
                target.doubt_below(boundary);
            }
        }
        let mut batch = Batch::new();
        let value = record::encode(&self.clock.now())?;
        batch.put_key(Bytes::from_static(RUNNING_KEY), value, spool::NEVER_MS);
        let _durable = self.spool.commit(batch).await?;
        Ok(())
    }

    /// Everything was answered or given back: takes the mark away.
    pub async fn note_end(&self) {
        let mut batch = Batch::new();
        batch.remove_key(Bytes::from_static(RUNNING_KEY));
        if let Err(error) = self.spool.commit(batch).await {
            tracing::warn!(event = "spool.refused", %error);
        }
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
