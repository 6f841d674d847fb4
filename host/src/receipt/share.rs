//! Deliveries of forks that share the answer of a recipient: it is delivered when all of them are, else
//! it ends with the first that failed.
//!
//! Each end has a key of its own in the spool, so that it does not matter in which order commits
//! become durable; memory holds what the spool may not show yet.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use message::{Address, MessageId, Recipient, Timestamp, record};
use serde::{Deserialize, Serialize};
use spool::{Batch, Spool};

use super::answer::Outcome;
use super::{ACCEPTED, DELIVERED, UNKNOWN};

/// Shared answers that memory holds because the spool may not show them yet; two such generations
/// exist at a time.
const RECENT_MAX: usize = 10_000;
/// Deliveries of one answer that are read back.
const MEMBERS_MAX: usize = 4096;

/// A share in the answer about a recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// Which recipient of the message, from 0.
    pub index: u16,
    /// Which share, from 0.
    pub member: u16,
    /// How many there are.
    pub of: u16,
    /// The sender, as the origin knows it.
    pub sender: Address,
    /// The recipient, as the origin knows it.
    pub recipient: Recipient,
}

/// How far an answer is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fold {
    /// The end of each share that came to one.
    ended: BTreeMap<u16, u8>,
    /// The share whose end was told as that of all. If its commit fails, it comes again.
    told_by: Option<u16>,
}

/// All shared answers that are not complete.
#[derive(Debug, Default)]
pub struct Folds {
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    recent: HashMap<Bytes, Fold>,
    older: HashMap<Bytes, Fold>,
}

impl Folds {
    /// Notes the end of a share of `message`. Returns the end of all of them, if this is what decides
    /// it.
    ///
    /// # Errors
    /// If the spool cannot be read: nothing was noted.
    pub fn note(
        &self,
        batch: &mut Batch,
        spool: &Spool,
        (message, shared): (MessageId, &Shared),
        outcome: &Outcome,
        until: Timestamp,
    ) -> Result<Option<Outcome>, spool::ReadError> {
        let prefix = Bytes::from(format!("s/{message}/{}/", shared.index));
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fold = match memory.take(&prefix) {
            Some(fold) => fold,
            None => read(spool, &prefix)?,
        };
        let decided = fold.note(shared, outcome);
        let told = fold.told_by == Some(shared.member);
        let key = Bytes::from(format!("s/{message}/{}/{}", shared.index, shared.member));
        // A pair of numbers has an encoding.
        if let Ok(value) = record::encode(&(outcome.state, told)) {
            batch.put_key(key, value, until.as_ms());
        }
        memory.remember(prefix, fold);
        Ok(decided)
    }
}

impl Fold {
    fn note(&mut self, shared: &Shared, outcome: &Outcome) -> Option<Outcome> {
        if self.told_by.is_some_and(|by| by != shared.member) {
            return None;
        }
        let failed = !outcome.is_success() && outcome.state != UNKNOWN;
        self.ended.insert(shared.member, outcome.state);
        if !failed && self.ended.len() < usize::from(shared.of) {
            return None;
        }
        self.told_by = Some(shared.member);
        let mut told = outcome.clone();
        if !failed {
            // As certain as the least certain of them.
            let certainty = |state: &u8| match *state {
                DELIVERED => 0,
                ACCEPTED => 1,
                _ => 2,
            };
            let least = self.ended.values().max_by_key(|state| certainty(state));
            told.state = least.copied().unwrap_or(outcome.state);
        }
        Some(told)
    }
}

impl Memory {
    fn take(&mut self, prefix: &Bytes) -> Option<Fold> {
        self.recent.remove(prefix).or_else(|| self.older.remove(prefix))
    }

    fn remember(&mut self, prefix: Bytes, fold: Fold) {
        if self.recent.len() >= RECENT_MAX {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(prefix, fold);
    }
}

fn read(spool: &Spool, prefix: &Bytes) -> Result<Fold, spool::ReadError> {
    let mut fold = Fold::default();
    for found in spool.keys_with_prefix(prefix, None, MEMBERS_MAX)? {
        let member =
            found.key.strip_prefix(&prefix[..]).and_then(|it| std::str::from_utf8(it).ok());
        let Some(member) = member.and_then(|member| member.parse().ok()) else { continue };
        let Ok((state, told)) = record::decode::<(u8, bool)>(&found.value) else { continue };
        fold.ended.insert(member, state);
        if told {
            fold.told_by = Some(member);
        }
    }
    Ok(fold)
}

#[cfg(test)]
mod tests {
    use message::Wish;

    use super::*;
    use crate::delivery::Cause;
    use crate::receipt::{EXPIRED, UNDELIVERABLE};

    fn shared(member: u16, of: u16) -> Shared {
        let recipient = Recipient::new(Address::phone("+33612345678"), Wish::FINAL);
        Shared { index: 0, member, of, sender: Address::alphanumeric("SHOP"), recipient }
    }

    fn outcome(state: u8) -> Outcome {
        Outcome::last(state, Cause::ours("", ""), Timestamp::from_ms(5))
    }

    fn spool() -> Spool {
        Spool::open_memory(spool::Options::new(|| tokio::time::Instant::now().into_std())).unwrap()
    }

    /// The ends of three shares in this order, each with the end of all that it leads to; `forget`
    /// starts anew from the spool before each.
    async fn check(ends: &[(u16, u8, Option<u8>)], forget: bool) {
        let (spool, message) = (spool(), MessageId::from_u64(7));
        let mut folds = Folds::default();
        for (member, state, expect) in ends {
            if forget {
                folds = Folds::default();
            }
            let mut batch = Batch::new();
            let of = (message, &shared(*member, 3));
            let told = folds.note(&mut batch, &spool, of, &outcome(*state), Timestamp::NEVER);
            assert_eq!(told.unwrap().map(|told| told.state), *expect, "{ends:?} at {member}");
            drop(spool.commit(batch).await.unwrap());
        }
    }

    #[tokio::test]
    async fn all_shares_are_delivered_or_the_first_failure_counts() {
        for forget in [false, true] {
            let (d, a, u) = (DELIVERED, ACCEPTED, UNKNOWN);
            check(&[(0, d, None), (2, d, None), (1, d, Some(d))], forget).await;
            check(&[(0, d, None), (2, a, None), (1, d, Some(a))], forget).await;
            check(&[(0, u, None), (2, a, None), (1, d, Some(u))], forget).await;
            let failed = UNDELIVERABLE;
            check(&[(0, d, None), (1, failed, Some(failed)), (2, d, None)], forget).await;
            check(&[(1, failed, Some(failed)), (0, EXPIRED, None), (2, d, None)], forget).await;
        }
    }

    #[tokio::test]
    async fn a_share_that_ends_twice_counts_once_and_tells_again_what_it_told() {
        for forget in [false, true] {
            let d = DELIVERED;
            let twice =
                [(0, d, None), (0, d, None), (1, d, None), (2, d, Some(d)), (2, d, Some(d))];
            check(&twice, forget).await;
        }
    }
}
