//! The book of what a next hop took under which id, so that its receipts find their message.
//!
//! The book is in the spool, keyed by target and normalised remote id; memory holds what was just
//! written and what came too early. A receipt may come before the answer to its submit, on another
//! bind, or after a restart.

pub mod answer;
pub mod bounce;
pub mod remote_id;
pub mod report;
pub mod return_path;
pub mod share;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use message::mail::MailView;
use message::{
    Address, Content, Message, MessageId, Origin, Protocol, Recipient, Ret, Timestamp, record,
};
use serde::{Deserialize, Serialize};
use smpp::receipt::IdRelation;
use spool::{Batch, Spool};

use self::remote_id::Learned;
use self::return_path::REPORTS;
use self::share::Shared;
use crate::delivery::{Answers, Delivery, Queued};

/// Entries of the book that memory holds because the spool may not show them yet; two such
/// generations exist at a time.
const RECENT_MAX: usize = 10_000;
/// Octets of mail that those entries keep.
const RECENT_OCTETS_MAX: usize = 16 * 1024 * 1024;
/// Receipts for ids that nobody knows, waiting for the answer to their submit.
pub const PARKED_MAX: usize = 10_000;

/// message_state 0 (SMPP v5.0 §4.7.15).
pub const SCHEDULED: u8 = 0;
/// message_state 1 (SMPP v3.4 §5.2.28).
pub const ENROUTE: u8 = 1;
/// message_state 2.
pub const DELIVERED: u8 = 2;
/// message_state 3.
pub const EXPIRED: u8 = 3;
/// message_state 4.
pub const DELETED: u8 = 4;
/// message_state 5.
pub const UNDELIVERABLE: u8 = 5;
/// message_state 6.
pub const ACCEPTED: u8 = 6;
/// message_state 7.
pub const UNKNOWN: u8 = 7;
/// message_state 8.
pub const REJECTED: u8 = 8;

/// A receipt as it came from a next hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The id as the receipt spells it.
    pub remote: Arc<str>,
    /// message_state (SMPP v3.4 §5.2.28): 1 enroute, 2 delivered, 3 expired, 4 deleted,
    /// 5 undeliverable, 6 accepted, 7 unknown, 8 rejected.
    pub state: u8,
    /// Error code of the network, as text; empty if none.
    pub error: Arc<str>,
    /// Text of the receipt, for the trace.
    pub text: Arc<str>,
    /// When the network was done with it, if it says so.
    pub done: Option<Timestamp>,
}

impl Receipt {
    /// Whether nothing more will come (SMPP v3.4 Appendix B; ACCEPTD is not final).
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self.state, 2..=5 | 8 | 9)
    }
}

/// Who hears of a delivery, written when the next hop took it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The id that the origin knows.
    pub message: MessageId,
    /// The delivery.
    pub delivery: MessageId,
    /// Where the message came from.
    pub origin: Arc<Origin>,
    /// Its sender.
    pub sender: Address,
    /// Its recipient.
    pub recipient: Recipient,
    /// Whether the origin hears of it.
    pub answers: Answers,
    /// Its share in the answer, if there are several.
    pub shared: Option<Box<Shared>>,
    /// When we took the message.
    pub received: Timestamp,
    /// ENVID of the mail.
    pub envid: Option<Arc<str>>,
    /// RET of the mail.
    pub ret: Option<Ret>,
    /// What a notification returns of a mail: its header, or all of it if it is short and RET says so.
    pub mail: Option<Bytes>,
    /// Which part this id stands for, from 0, and how many there are.
    pub part: (u8, u8),
    /// The state that was told last, so that a repetition is known as one; none before the first.
    pub told: Option<u8>,
    /// The final outcome was told; what comes now is a repetition.
    pub done: bool,
}

/// The outcomes of the parts of one delivery so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Fold {
    /// State of each part; 0 is none yet.
    states: Vec<u8>,
}

/// What a receipt turned out to mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// It ends a delivery, or reports on its way: the origin may be told.
    Tell(Box<Entry>, Receipt),
    /// One part of several; others are awaited.
    Part(Box<Entry>, Receipt),
    /// Told before.
    Repeated(Box<Entry>, Receipt),
    /// Nobody knows this id yet: parked.
    Parked,
    /// Nobody knows this id and there is no room to park it.
    Unknown,
}

/// What the book's memory said before something was written: taken back if the commit fails, so that
/// a receipt that comes again is no repetition.
#[derive(Debug, Default)]
#[must_use = "the commit may fail"]
pub struct Undo {
    entry: Option<(Bytes, Entry)>,
    fold: Option<(Bytes, Option<Fold>)>,
    parked: Option<(Bytes, Option<Receipt>)>,
}

/// The book.
#[derive(Debug, Default)]
pub struct Book {
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    recent: HashMap<Bytes, Entry>,
    /// Octets of mail in `recent`.
    recent_octets: usize,
    older: HashMap<Bytes, Entry>,
    folds: HashMap<Bytes, Fold>,
    parked: HashMap<Bytes, Receipt>,
    spelled: HashMap<Arc<str>, Learned>,
}

impl Book {
    /// Reads the parked receipts of the last run.
    ///
    /// # Errors
    /// What the spool says.
    pub fn open(spool: &Spool) -> anyhow::Result<Self> {
        let mut memory = Memory::default();
        for key in spool.keys_with_prefix(b"p/", None, PARKED_MAX)? {
            if let Ok(receipt) = record::decode(&key.value) {
                memory.parked.insert(key.key, receipt);
            }
        }
        Ok(Self { memory: Mutex::new(memory) })
    }

    /// How `target` spells ids, if that need not be learned.
    pub fn spell(&self, target: &Arc<str>, relation: Option<IdRelation>) {
        let mut memory = self.lock();
        let known = memory.spelled.entry(Arc::clone(target)).or_default();
        known.fix(relation);
    }

    /// Writes what `target` took under `remote` ids into `batch`. Returns receipts that were waiting
    /// for it; the caller handles them as if they came now.
    pub fn enter(
        &self,
        batch: &mut Batch,
        target: &str,
        queued: &Queued,
        remote: &[Arc<str>],
        expires: Timestamp,
    ) -> Vec<Receipt> {
        let total = u8::try_from(remote.len()).unwrap_or(u8::MAX);
        let mut waiting = Vec::new();
        let mut memory = self.lock();
        for (index, id) in remote.iter().enumerate().take(255) {
            let part = (u8::try_from(index).unwrap_or(u8::MAX), total);
            let entry = entry_for(&queued.delivery, queued, part);
            let key = book_key(target, &remote_id::canonical(id));
            put(batch, &key, &entry, expires);
            memory.remember(key, entry);
            if let Some((parked, receipt)) = memory.take_parked(target, id) {
                batch.remove_key(parked);
                waiting.push(receipt);
            }
        }
        waiting
    }

    /// Writes that a relay took a mail that was an SMS, so that a report about it finds the SMS; `told`
    /// if the outcome was told with the relay's answer. Returns reports that came before.
    pub fn enter_report(
        &self,
        batch: &mut Batch,
        queued: &Queued,
        told: bool,
        expires: Timestamp,
    ) -> Option<Receipt> {
        let mut entry = entry_for(&queued.delivery, queued, (0, 1));
        entry.done = told;
        let id = queued.delivery.body.to_string();
        let key = book_key(REPORTS, &id);
        let mut memory = self.lock();
        put(batch, &key, &entry, expires);
        memory.remember(key, entry);
        let (parked, receipt) = memory.take_parked(REPORTS, &id)?;
        batch.remove_key(parked);
        Some(receipt)
    }

    /// Nothing was heard of this id in time: what comes now is too late. None if it was, or if nobody
    /// knows the id.
    ///
    /// # Errors
    /// If the spool cannot be read: nothing was changed.
    pub fn give_up(
        &self,
        batch: &mut Batch,
        spool: &Spool,
        (target, id): (&str, &str),
        keep: Keep,
    ) -> Result<Option<(Entry, Undo)>, spool::ReadError> {
        let mut memory = self.lock();
        let key = book_key(target, id);
        let Some(mut entry) = memory.look_up(spool, &key)?.filter(|entry| !entry.done) else {
            return Ok(None);
        };
        let undo = Undo { entry: Some((key.clone(), entry.clone())), ..Undo::default() };
        (entry.told, entry.done) = (Some(UNKNOWN), true);
        put(batch, &key, &entry, keep.book_until);
        memory.remember(key, entry.clone());
        Ok(Some((entry, undo)))
    }

    /// The commit of what was written failed: the memory says again what it said before.
    pub fn undo(&self, undos: impl DoubleEndedIterator<Item = Undo>) {
        let mut memory = self.lock();
        for Undo { entry, fold, parked } in undos.rev() {
            if let Some((key, entry)) = entry {
                memory.remember(key, entry);
            }
            match fold {
                Some((key, Some(fold))) => drop(memory.folds.insert(key, fold)),
                Some((key, None)) => drop(memory.folds.remove(&key)),
                None => {}
            }
            match parked {
                Some((key, Some(receipt))) => drop(memory.parked.insert(key, receipt)),
                Some((key, None)) => drop(memory.parked.remove(&key)),
                None => {}
            }
        }
    }

    /// Finds the message of a receipt and says what it means; what must be remembered goes into
    /// `batch`.
    ///
    /// # Errors
    /// If the spool cannot be read: nothing was changed, the peer may send it again.
    pub fn find(
        &self,
        batch: &mut Batch,
        spool: &Spool,
        target: &str,
        receipt: Receipt,
        keep: Keep,
    ) -> Result<(Match, Undo), spool::ReadError> {
        let mut memory = self.lock();
        if let Some((id, entry)) = memory.find(spool, target, &receipt.remote)? {
            return memory.apply(batch, spool, (book_key(target, &id), entry), receipt, keep);
        }
        if memory.parked.len() >= PARKED_MAX {
            return Ok((Match::Unknown, Undo::default()));
        }
        let key = parked_key(target, &remote_id::canonical(&receipt.remote));
        let before = memory.parked.get(&key).cloned();
        // What is not final ends nothing, also if it was overtaken on its way.
        let ended = before.clone().filter(|before| before.is_final() && !receipt.is_final());
        let receipt = ended.unwrap_or(receipt);
        put(batch, &key, &receipt, keep.parked_until);
        memory.parked.insert(key.clone(), receipt);
        Ok((Match::Parked, Undo { parked: Some((key, before)), ..Undo::default() }))
    }

    /// Forgets parked receipts whose keys the spool has swept.
    pub fn forget_parked(&self, spool: &Spool) {
        let mut memory = self.lock();
        memory.parked.retain(|key, _| !matches!(spool.find(key), Ok(None)));
    }

    /// Receipts that wait for the answer to their submit.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.lock().parked.len()
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long things are remembered.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// A receipt for an unknown id.
    pub parked_until: Timestamp,
    /// That a final receipt was told.
    pub done_until: Timestamp,
    /// Entries of the book and outcomes of parts.
    pub book_until: Timestamp,
}

impl Memory {
    /// The receipt that waits for this id of an answer.
    fn take_parked(&mut self, target: &str, id: &str) -> Option<(Bytes, Receipt)> {
        let mut learned = self.spelled.get(target).copied().unwrap_or_default();
        let found = learned.find(
            |relation| remote_id::in_receipt(id, relation),
            |spelled| {
                let key = parked_key(target, spelled);
                Ok::<_, Infallible>(self.parked.contains_key(&key).then_some(key))
            },
        );
        self.learn(target, learned);
        let Ok(Some((_, key))) = found else { return None };
        let receipt = self.parked.remove(&key)?;
        Some((key, receipt))
    }

    /// The entry that a receipt with this id is about, and the id of its answer.
    fn find(
        &mut self,
        spool: &Spool,
        target: &str,
        id: &str,
    ) -> Result<Option<(String, Entry)>, spool::ReadError> {
        let mut learned = self.spelled.get(target).copied().unwrap_or_default();
        let found = learned.find(
            |relation| remote_id::in_answer(id, relation),
            |spelled| self.look_up(spool, &book_key(target, spelled)),
        )?;
        self.learn(target, learned);
        Ok(found)
    }

    fn learn(&mut self, target: &str, learned: Learned) {
        match self.spelled.get_mut(target) {
            Some(known) => *known = learned,
            None => {
                self.spelled.insert(Arc::from(target), learned);
            }
        }
    }

    fn remember(&mut self, key: Bytes, entry: Entry) {
        if self.recent.len() >= RECENT_MAX || self.recent_octets >= RECENT_OCTETS_MAX {
            self.older = std::mem::take(&mut self.recent);
            self.recent_octets = 0;
            self.folds.clear();
        }
        self.recent_octets += entry.mail.as_ref().map_or(0, Bytes::len);
        self.recent.insert(key, entry);
    }

    fn look_up(&self, spool: &Spool, key: &Bytes) -> Result<Option<Entry>, spool::ReadError> {
        if let Some(entry) = self.recent.get(key).or_else(|| self.older.get(key)) {
            return Ok(Some(entry.clone()));
        }
        Ok(spool.find(key)?.and_then(|bytes| record::decode(&bytes).ok()))
    }

    fn apply(
        &mut self,
        batch: &mut Batch,
        spool: &Spool,
        (key, mut entry): (Bytes, Entry),
        mut receipt: Receipt,
        keep: Keep,
    ) -> Result<(Match, Undo), spool::ReadError> {
        if entry.done {
            return Ok((Match::Repeated(Box::new(entry), receipt), Undo::default()));
        }
        let mut undo = Undo { entry: Some((key.clone(), entry.clone())), ..Undo::default() };
        if !receipt.is_final() {
            if entry.told.replace(receipt.state) == Some(receipt.state) {
                return Ok((Match::Repeated(Box::new(entry), receipt), Undo::default()));
            }
            put(batch, &key, &entry, keep.book_until);
            self.remember(key, entry.clone());
            let first_part = entry.part.0 == 0;
            let (entry, told) = (Box::new(entry), receipt);
            let found =
                if first_part { Match::Tell(entry, told) } else { Match::Part(entry, told) };
            return Ok((found, undo));
        }
        let fold_key = Bytes::from(format!("f/{}", entry.delivery));
        let known = self.folds.get(&fold_key).cloned();
        let stored = match &known {
            None if entry.part.1 > 1 => spool.find(&fold_key)?,
            _ => None,
        };
        // Nothing fails from here on.
        (entry.told, entry.done) = (Some(receipt.state), true);
        put(batch, &key, &entry, keep.done_until);
        self.remember(key, entry.clone());
        if entry.part.1 <= 1 {
            return Ok((Match::Tell(Box::new(entry), receipt), undo));
        }
        self.folds.remove(&fold_key);
        undo.fold = Some((fold_key.clone(), known.clone()));
        let stored = || stored.and_then(|bytes| record::decode(&bytes).ok());
        let mut fold: Fold = known.or_else(stored).unwrap_or_default();
        fold.states.resize(usize::from(entry.part.1), 0);
        if let Some(state) = fold.states.get_mut(usize::from(entry.part.0)) {
            *state = receipt.state;
        }
        if fold.states.contains(&0) {
            put(batch, &fold_key, &fold, keep.book_until);
            self.folds.insert(fold_key, fold);
            return Ok((Match::Part(Box::new(entry), receipt), undo));
        }
        batch.remove_key(fold_key);
        // Delivered when all parts were; else the first outcome that was not.
        receipt.state =
            fold.states.iter().copied().find(|&state| state != DELIVERED).unwrap_or(DELIVERED);
        Ok((Match::Tell(Box::new(entry), receipt), undo))
    }
}

fn entry_for(delivery: &Delivery, queued: &Queued, part: (u8, u8)) -> Entry {
    let message = &queued.message;
    Entry {
        message: delivery.message,
        delivery: delivery.id,
        origin: Arc::clone(&message.origin),
        sender: delivery.origin_sender(message).clone(),
        recipient: delivery.origin_recipient(message),
        answers: delivery.answers,
        shared: delivery.terms.shared.clone(),
        received: message.received,
        envid: message.envid.clone(),
        // Where a part is kept only, it is no mail any more.
        ret: message.ret.filter(|_| message.content.size_bytes() <= MAIL_OCTETS_MAX),
        mail: kept_of(message),
        part,
        told: None,
        done: false,
    }
}

/// Octets of a mail that the book keeps, to return them with a notification.
const MAIL_OCTETS_MAX: usize = 8 * 1024;

/// What can be returned of a mail once it is gone: as much of the header as fits, in whole lines.
fn kept_of(message: &Message) -> Option<Bytes> {
    let Content::Mail(raw) = &message.content else { return None };
    if message.origin.protocol != Protocol::Smtp {
        return None;
    }
    if message.ret == Some(Ret::Full) && raw.len() <= MAIL_OCTETS_MAX {
        return Some(Bytes::copy_from_slice(raw));
    }
    let header = MailView::new(raw.clone()).header_bytes();
    let fits = header.get(..header.len().min(MAIL_OCTETS_MAX)).unwrap_or_default();
    let lines = if fits.len() == header.len() {
        fits
    } else {
        fits.get(..fits.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1))
            .unwrap_or_default()
    };
    Some(Bytes::copy_from_slice(lines))
}

fn put<T: Serialize>(batch: &mut Batch, key: &Bytes, value: &T, expires: Timestamp) {
    // Every value has an encoding; one that had none would only cost its receipt.
    if let Ok(bytes) = record::encode(value) {
        batch.put_key(key.clone(), bytes, expires.as_ms());
    }
}

fn book_key(target: &str, id: &str) -> Bytes {
    Bytes::from(format!("r/{target}/{id}"))
}

fn parked_key(target: &str, id: &str) -> Bytes {
    Bytes::from(format!("p/{target}/{id}"))
}
