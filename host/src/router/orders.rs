//! What operators order about whole targets: suspended, draining, working again. It is kept in the
//! spool and stands across restarts, also while the target is not configured.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use spool::{Batch, Spool};

use super::Router;
use super::mandate::Mandate;
use crate::observe::event::{Event, What};
use crate::target::{Stop, StopKind};

/// Keys of orders begin so.
const PREFIX: &[u8] = b"stop/";
/// Orders that are read at the start; more targets than this are not stopped by hand.
const ORDERS_MAX: usize = 10_000;

/// The orders that stand.
pub(super) fn read(spool: &Spool) -> anyhow::Result<BTreeMap<Arc<str>, Stop>> {
    let mut stops = BTreeMap::new();
    for key in spool.keys_with_prefix(PREFIX, None, ORDERS_MAX)? {
        let name = key.key.get(PREFIX.len()..).and_then(|name| std::str::from_utf8(name).ok());
        if let Some(name) = name {
            stops.insert(Arc::from(name), message::record::decode::<Stop>(&key.value)?);
        }
    }
    Ok(stops)
}

impl Router {
    /// Suspends a target, drains it, or lets it work again. The order is durable when this returns.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub async fn order(
        &self,
        name: &str,
        kind: Option<StopKind>,
        mandate: &Mandate,
    ) -> Result<(), String> {
        let target = self.target(name).ok_or_else(|| format!("there is no target \"{name}\""))?;
        let now = self.clock.now();
        let key = Bytes::from([PREFIX, name.as_bytes()].concat());
        let stop = kind.map(|kind| Stop { kind, since: now, why: mandate.to_string().into() });
        let mut batch = Batch::new();
        match &stop {
            Some(stop) => {
                let value = message::record::encode(stop).map_err(|error| error.to_string())?;
                batch.put_key(key, value, spool::NEVER_MS);
            }
            None => batch.remove_key(key),
        }
        let _durable = self.spool.commit(batch).await.map_err(|error| error.to_string())?;
        let action = match kind {
            Some(StopKind::Suspended) => "suspend",
            Some(StopKind::Draining) => "drain",
            None => "resume",
        };
        let mut stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
        match &stop {
            Some(stop) => stops.insert(Arc::clone(&target.name), stop.clone()),
            None => stops.remove(name),
        };
        drop(stops);
        target.set_stop(stop);
        let what =
            What::Operator { action: action.into(), detail: format!("{name}: {mandate}").into() };
        self.journal.record(vec![Event::new(now, self.next_id(), what)]);
        tracing::info!(
            event = "operator.order",
            target = name,
            action,
            why = &*mandate.why,
            by = &*mandate.by
        );
        Ok(())
    }
}
