//! After a start: what the spool holds enters the queues again.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use message::MessageId;
use spool::{Batch, Index};

use super::Router;
use crate::delivery::{DECIDER, Delivery, HELD};
use crate::observe::event::{Event, What};
use crate::spooler::delivery_of;
use crate::target::Target;

/// Present while a run has not ended in order.
const RUNNING_KEY: &[u8] = b"run/running";
/// The id below which everything may have been delivered before a crash; present until nothing is
/// left below it, however often the router starts and ends in order meanwhile.
const DOUBT_KEY: &[u8] = b"run/doubt";
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
        let mut cursor = None;
        let mut count = 0;
        let mut orphans: usize = 0;
        loop {
            let (entries, next) = self.spool.scan(&Index::Id, cursor, PAGE)?;
            let mut by_target: BTreeMap<Arc<str>, Vec<Delivery>> = BTreeMap::new();
            for entry in entries.iter().filter(|entry| &*entry.target != HELD) {
                let delivery = match delivery_of(entry) {
                    Ok(delivery) => delivery,
                    Err(error) => {
                        tracing::error!(event = "spool.unreadable", id = entry.id, %error);
                        self.shelf.note_damaged(MessageId::from_u64(entry.id));
                        continue;
                    }
                };
                let known = self.target(&entry.target).is_some();
                orphans += usize::from(!known);
                self.recover_part(&delivery);
                let name = if known { Arc::clone(&entry.target) } else { Arc::from(DECIDER) };
                by_target.entry(name).or_default().push(delivery);
                count += 1;
            }
            let now = self.clock.now();
            for (name, group) in by_target {
                if let Some(target) = self.target(&name) {
                    target.push_stored(&group, now);
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
        let mut batch = Batch::new();
        let boundary = if crashed {
            tracing::warn!(
                event = "recovery.unclean",
                "the last run did not end in order; what it left is marked as possibly delivered",
            );
            let boundary = self.next_id();
            let value = message::record::encode(&boundary)?;
            batch.put_key(Bytes::from_static(DOUBT_KEY), value, spool::NEVER_MS);
            Some(boundary)
        } else {
            self.doubt_of_earlier_runs(&mut batch)?
        };
        if let Some(boundary) = boundary {
            for target in self.targets() {
                target.doubt_below(boundary);
            }
        }
        let started = What::Started { in_order: !crashed };
        let started = Event::new(self.clock.now(), MessageId::from_u64(0), started);
        self.journal.record(vec![started]);
        let value = message::record::encode(&self.clock.now())?;
        batch.put_key(Bytes::from_static(RUNNING_KEY), value, spool::NEVER_MS);
        let _durable = self.spool.commit(batch).await?;
        Ok(())
    }

    /// The boundary of a crash before the last run, if something below it is still here.
    fn doubt_of_earlier_runs(&self, batch: &mut Batch) -> anyhow::Result<Option<MessageId>> {
        let Some(value) = self.spool.find(DOUBT_KEY)? else { return Ok(None) };
        let boundary: MessageId = message::record::decode(&value)?;
        let (oldest, _) = self.spool.scan(&Index::Id, None, 1)?;
        if oldest.first().is_some_and(|entry| entry.id < boundary.as_u64()) {
            return Ok(Some(boundary));
        }
        batch.remove_key(Bytes::from_static(DOUBT_KEY));
        Ok(None)
    }

    /// Everything was answered or given back: takes the mark away.
    pub async fn note_end(&self) {
        let mut batch = Batch::new();
        batch.remove_key(Bytes::from_static(RUNNING_KEY));
        if let Err(error) = self.spool.commit(batch).await {
            tracing::warn!(event = "spool.refused", %error);
        }
    }

    /// A reload removed this target: what waits there is routed again at once, what is in flight when
    /// it comes back.
    pub fn adopt(&self, gone: &Arc<Target>) {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.push(Arc::clone(gone));
        drop(leaving);
        self.adopt_waiting(gone);
    }

    /// Hands what waits at a target that is gone to the decider; content stays where it is.
    pub(super) fn adopt_waiting(&self, gone: &Target) {
        let now = self.clock.now();
        loop {
            let ids = gone.waiting_ids(PAGE).into_iter();
            // What cannot be read now is tried again with the next sweep.
            if ids.filter(|id| gone.hand_over(*id, &self.decider, now)).count() == 0 {
                return;
            }
        }
    }
}
