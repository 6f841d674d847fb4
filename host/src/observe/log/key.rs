//! The key of the hashes in the log: made at the first start and kept in the spool, so that hashes
//! can be compared over restarts.

use bytes::Bytes;
use spool::{Batch, Spool};

use super::conceal::Key;

/// Under this the spool has it.
const LOG_KEY: &[u8] = b"log/key";

/// The spool's key, which is made if it has none.
///
/// # Errors
/// The spool cannot be read or written, or there is no randomness.
pub async fn of(spool: &Spool) -> anyhow::Result<Key> {
    let found = spool.find(LOG_KEY)?;
    if let Some(octets) = found.and_then(|octets| <[u8; 32]>::try_from(&*octets).ok()) {
        return Ok(Key::new(octets));
    }
    let octets = random()?;
    let mut batch = Batch::new();
    batch.put_key(Bytes::from_static(LOG_KEY), Bytes::copy_from_slice(&octets), spool::NEVER_MS);
    let _durable = spool.commit(batch).await?;
    Ok(Key::new(octets))
}

/// Octets that nobody can guess.
pub(super) fn random() -> anyhow::Result<[u8; 32]> {
    let mut octets = [0; 32];
    aws_lc_rs::rand::fill(&mut octets)
        .map_err(|_unspecified| anyhow::anyhow!("the system gives no random numbers"))?;
    Ok(octets)
}
