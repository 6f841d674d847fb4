//! Which deliveries are meant.

use std::sync::Arc;

use clap::Args;
use message::{MessageId, record};
use spool::{Cursor, Entry, Index, ReadError, Spool};

use crate::delivery::Delivery;

/// Entries read at once.
const PAGE: usize = 1000;

/// Everything, if nothing is asked for.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Filter {
    /// Only what is bound for this connector or account
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Only this delivery, or all deliveries of this message; may be given several times
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<MessageId>,
}

impl Filter {
    /// Whether all is meant.
    pub(super) fn is_everything(&self) -> bool {
        self.target.is_none() && self.ids.is_empty()
    }

    fn wants(&self, entry: &Entry) -> bool {
        self.ids.is_empty()
            || self.ids.iter().any(|id| id.as_u64() == entry.id || belongs(entry, *id))
    }

    /// Shows every entry that is meant to `look`, in order of their ids or of their turn.
    pub(super) fn each<E: From<ReadError>>(
        &self,
        spool: &Spool,
        mut look: impl FnMut(Entry) -> Result<(), E>,
    ) -> Result<(), E> {
        let index = match &self.target {
            Some(name) => Index::Target(Arc::from(name.as_str())),
            None => Index::Id,
        };
        let mut cursor: Option<Cursor> = None;
        loop {
            let (page, next) = spool.scan(&index, cursor, PAGE)?;
            for entry in page.into_iter().filter(|entry| self.wants(entry)) {
                look(entry)?;
            }
            cursor = next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }
}

/// Whether an entry is a delivery of this message, or of a leg of it.
fn belongs(entry: &Entry, id: MessageId) -> bool {
    entry.body == id.as_u64()
        || record::decode::<Delivery>(&entry.bytes).is_ok_and(|delivery| delivery.message == id)
}
