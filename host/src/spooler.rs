//! Between the router and the spool: deliveries as entries, messages as bodies, ids that never
//! repeat.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use message::{IdSource, Message, MessageId, Timestamp, record};
use spool::{Batch, CommitError, Entry, Spool};

use crate::delivery::{Delivery, Queued};

/// The key of the highest id that may have been handed out.
pub const HIGH_WATER_KEY: &[u8] = b"ids/high-water";
/// How far ahead of the clock ids are reserved, so that a reservation is rare.
pub const RESERVE_AHEAD: Duration = Duration::from_secs(120);

/// What a delivery, or a message beside its content, comes to mostly.
const RECORD_OCTETS: usize = 512;

/// The spool's entry for a delivery in `state`, under `target`.
///
/// # Errors
/// [`record::RecordError`] if it has no encoding, which no delivery lacks.
pub fn entry(
    delivery: &Delivery,
    state: u8,
    target: &Arc<str>,
) -> Result<Entry, record::RecordError> {
    Ok(Entry {
        id: delivery.id.as_u64(),
        body: delivery.body.as_u64(),
        target: Arc::clone(target),
        state,
        due_ms: delivery.due.as_ms(),
        priority: delivery.priority,
        account: Arc::clone(&delivery.account),
        expires_ms: delivery.expires.as_ms(),
        bytes: record::encode_sized(delivery, RECORD_OCTETS)?,
    })
}

/// The spool's body for a leg.
///
/// # Errors
/// [`record::RecordError`] if it has no encoding, which no message lacks.
pub fn body(message: &Message) -> Result<Bytes, record::RecordError> {
    record::encode_sized(message, message.content.size_bytes().saturating_add(RECORD_OCTETS))
}

/// A delivery that could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The entry or its body is not there.
    #[error("the delivery is not in the spool any more")]
    Gone,
    /// The bytes do not form a delivery or a message.
    #[error("the record cannot be read: {0}; it stays in the spool, see `wirepost spool verify`")]
    Damaged(String),
    /// The disk failed.
    #[error("the spool cannot be read: {0}")]
    Io(String),
}

/// Reads a delivery and its message back.
///
/// # Errors
/// [`LoadError`].
pub fn load(spool: &Spool, id: MessageId) -> Result<Queued, LoadError> {
    let delivery = delivery(spool, id)?;
    let message = message(spool, delivery.body)?;
    Ok(Queued { delivery, message: Arc::new(message) })
}

/// Reads a delivery back without its message.
///
/// # Errors
/// [`LoadError`].
pub fn delivery(spool: &Spool, id: MessageId) -> Result<Delivery, LoadError> {
    delivery_of(&entry_of(spool, id)?)
}

/// Reads an entry.
///
/// # Errors
/// [`LoadError`].
pub fn entry_of(spool: &Spool, id: MessageId) -> Result<Entry, LoadError> {
    spool.entry(id.as_u64()).map_err(|error| read_error(&error))?.ok_or(LoadError::Gone)
}

/// The delivery of an entry.
///
/// # Errors
/// [`LoadError::Damaged`].
pub fn delivery_of(entry: &Entry) -> Result<Delivery, LoadError> {
    record::decode(&entry.bytes).map_err(|error| LoadError::Damaged(error.to_string()))
}

/// Reads a message.
///
/// # Errors
/// [`LoadError`].
pub fn message(spool: &Spool, body: MessageId) -> Result<Message, LoadError> {
    let bytes =
        spool.body(body.as_u64()).map_err(|error| read_error(&error))?.ok_or(LoadError::Gone)?;
    record::decode_message(&bytes).map_err(|error| LoadError::Damaged(error.to_string()))
}

/// The delivery of an entry, and its message.
///
/// # Errors
/// [`LoadError`].
pub fn load_entry(spool: &Spool, entry: &Entry) -> Result<Queued, LoadError> {
    let delivery = delivery_of(entry)?;
    let message = message(spool, MessageId::from_u64(entry.body))?;
    Ok(Queued { delivery, message: Arc::new(message) })
}

fn read_error(error: &spool::ReadError) -> LoadError {
    match error {
        spool::ReadError::Io(_) => LoadError::Io(error.to_string()),
        spool::ReadError::Corrupt { .. } => LoadError::Damaged(error.to_string()),
    }
}

/// Hands out ids below a mark that is on disk, whatever the clock does.
#[derive(Debug)]
pub struct Ids {
    source: Mutex<(IdSource, Timestamp)>,
}

impl Ids {
    /// Reads the mark, reserves ids above it and makes that durable.
    ///
    /// # Errors
    /// What the spool says: nothing may be accepted without a reservation.
    pub async fn open(spool: &Spool, node: u16, now: Timestamp) -> anyhow::Result<Self> {
        let floor = match spool.find(HIGH_WATER_KEY)? {
            Some(bytes) => record::decode::<MessageId>(&bytes)?,
            None => MessageId::from_u64(0),
        };
        let ids = Self { source: Mutex::new((IdSource::new(node, floor), Timestamp::from_ms(0))) };
        ids.reserve(spool, now.max(floor.time())).await?;
        Ok(ids)
    }

    /// Moves the mark to [`RESERVE_AHEAD`] after `now`, and never back: after starts in quick
    /// succession ids run ahead of the clock. Called every half of that.
    ///
    /// # Errors
    /// [`CommitError`]; ids go on below the old mark.
    pub async fn reserve(&self, spool: &Spool, now: Timestamp) -> Result<(), CommitError> {
        let mark = now.after(RESERVE_AHEAD).max(self.mark());
        let high = IdSource::new(message::id::NODE_MAX, MessageId::from_u64(0))
            .next(mark.after(Duration::from_secs(1)));
        let mut batch = Batch::new();
        let value = record::encode(&high)
            .map_err(|_never| CommitError::Invalid("an id has an encoding"))?;
        batch.put_key(Bytes::from_static(HIGH_WATER_KEY), value, spool::NEVER_MS);
        let durable = spool.commit(batch).await?;
        drop(durable);
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        source.1 = source.1.max(mark);
        Ok(())
    }

    fn mark(&self) -> Timestamp {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// The next id. If the clock runs ahead of the mark, ids stay below it.
    pub fn next(&self, now: Timestamp) -> MessageId {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now.min(source.1);
        source.0.next(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_id_comes_twice_however_often_it_starts() {
        let spool = Spool::open_memory(spool::Options::new(|| {
            crate::platform::clock::Clock::system().instant()
        }));
        let (spool, now) = (spool.unwrap(), Timestamp::from_ms(1_800_000_000_000));
        let mut last = MessageId::from_u64(0);
        for _ in 0..5 {
            let ids = Ids::open(&spool, 1, now).await.unwrap();
            for _ in 0..3 {
                let id = ids.next(now);
                assert!(id > last, "{id} after {last}");
                last = id;
                // The sweep's, by a clock that is behind the ids.
                ids.reserve(&spool, now).await.unwrap();
            }
        }
    }
}
