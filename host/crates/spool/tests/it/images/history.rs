//! A history of work on a spool: made from a seed, done by a child process, and known here without
//! asking it.

use std::collections::BTreeMap;

use bytes::Bytes;
use wirepost_spool::{Batch, Entry, Index, Key, NEVER_MS, NO_BODY, Spool};

/// Under this key every batch notes its own number.
const PROGRESS: &[u8] = b"progress";
/// Entries and keys are few, so that they are replaced and removed often.
const IDS: u64 = 60;
/// One MiB: so many of them bring the journal to where fjall begins the next one.
const FILLER_BYTES: usize = 1 << 20;

/// Numbers that look random and are the same for the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64, more: u64) -> Self {
        let mut dice =
            Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ more ^ 0x5851_f42d_4c95_7f2d);
        for _ in 0..4 {
            dice.next();
        }
        dice
    }

    pub(crate) fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn bytes(&mut self, len: usize) -> Bytes {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes.into()
    }
}

/// What a batch does.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Message(Entry, Bytes),
    Entry(Entry),
    Remove(u64),
    PutKey(Key),
    RemoveKey(Bytes),
}

/// One thing after another.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Committed, and waited for.
    Commit(Vec<Change>),
    /// Committed lazily.
    Later(Vec<Change>),
    /// Expired keys are swept.
    Sweep(u64),
    /// The spool is closed and opened.
    Reopen,
}

/// What a spool holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    entries: BTreeMap<u64, Entry>,
    bodies: BTreeMap<u64, Bytes>,
    keys: BTreeMap<Bytes, Key>,
}

/// All steps of one seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct History {
    pub(crate) seed: u64,
    /// So many steps at the beginning only fill the journal.
    pub(crate) fill: u64,
}

impl History {
    /// The step with this number, of a spool in this state.
    pub(crate) fn step(self, number: u64, state: &State) -> Step {
        if number < self.fill {
            let value = Dice::new(self.seed, number).bytes(FILLER_BYTES);
            let key = Key { key: "filler".into(), value, expires_ms: NEVER_MS };
            return Step::Commit(vec![Change::PutKey(key), progress(number)]);
        }
        let mut dice = Dice::new(self.seed, number);
        match dice.below(60) {
            0 => Step::Reopen,
            1..=3 => Step::Sweep(number),
            4..=14 => Step::Later(changes(&mut dice, number, state)),
            _ => Step::Commit(changes(&mut dice, number, state)),
        }
    }

    /// A batch to go on with, whatever the step of this number is.
    pub(crate) fn after(self, number: u64, state: &State) -> Vec<Change> {
        changes(&mut Dice::new(self.seed, number), number, state)
    }

    /// The states after each step, from the empty spool on, as far as `steps`.
    pub(crate) fn states(self, steps: u64) -> Vec<State> {
        let mut states = vec![State::default()];
        for number in 0..steps {
            let mut state = states.last().unwrap().clone();
            let step = self.step(number, &state);
            state.apply(&step);
            states.push(state);
        }
        states
    }
}

fn progress(number: u64) -> Change {
    let value = Bytes::copy_from_slice(&number.to_be_bytes());
    Change::PutKey(Key { key: Bytes::from_static(PROGRESS), value, expires_ms: NEVER_MS })
}

fn changes(dice: &mut Dice, number: u64, state: &State) -> Vec<Change> {
    let mut changes = Vec::new();
    for _ in 0..=dice.below(4) {
        changes.push(change(dice, number, state));
    }
    changes.push(progress(number));
    changes
}

fn change(dice: &mut Dice, number: u64, state: &State) -> Change {
    let id = 1 + dice.next() % IDS;
    let key = Bytes::from(format!("key/{}", dice.below(30)));
    match dice.below(20) {
        0..=9 => {
            // Most are inline, some are kept apart, some take many pages, a few are files.
            let len = match dice.below(50) {
                0 => 300_000,
                1..=3 => 5_000 + dice.below(40_000),
                4..=20 => dice.below(400),
                _ => dice.below(3000),
            };
            Change::Message(entry(dice, id, id), dice.bytes(len))
        }
        10..=11 => {
            let body = state.bodies.keys().nth(dice.below(state.bodies.len() + 1));
            let body = body.copied().unwrap_or(NO_BODY);
            // Only one in the same batch could have taken it away.
            Change::Entry(entry(
                dice,
                IDS + number,
                if number.is_multiple_of(3) { body } else { 0 },
            ))
        }
        12..=15 => {
            let there = state.entries.keys().nth(dice.below(state.entries.len().max(1)));
            Change::Remove(there.copied().unwrap_or(id))
        }
        16..=18 => {
            let expires_ms = if dice.one_in(3) { NEVER_MS } else { number + dice.next() % 90 };
            let len = dice.below(300);
            Change::PutKey(Key { key, value: dice.bytes(len), expires_ms })
        }
        _ => Change::RemoveKey(key),
    }
}

fn entry(dice: &mut Dice, id: u64, body: u64) -> Entry {
    let len = dice.below(200);
    Entry {
        id,
        body,
        target: format!("target-{}", dice.below(3)).into(),
        state: 1,
        due_ms: dice.next() % 1000,
        priority: 0,
        account: "shop".into(),
        expires_ms: NEVER_MS,
        bytes: dice.bytes(len),
    }
}

/// The batch of these changes, with bodies for entries whose own was taken away in the same batch.
pub(crate) fn batch(changes: &[Change], state: &State) -> Batch {
    let mut batch = Batch::new();
    for change in effective(changes, state) {
        match change {
            Change::Message(entry, body) => {
                batch.put_body(entry.body, body);
                batch.put_entry(entry);
            }
            Change::Entry(entry) => batch.put_entry(entry),
            Change::Remove(id) => batch.remove_entry(id),
            Change::PutKey(key) => batch.put_key(key.key, key.value, key.expires_ms),
            Change::RemoveKey(key) => batch.remove_key(key),
        }
    }
    batch
}

/// An entry keeps no body that an earlier change of its batch has let go.
fn effective(changes: &[Change], state: &State) -> Vec<Change> {
    let mut state = state.clone();
    let mut all = Vec::new();
    for change in changes {
        let mut change = change.clone();
        if let Change::Entry(entry) = &mut change
            && !state.bodies.contains_key(&entry.body)
        {
            entry.body = NO_BODY;
        }
        state.change(&change);
        all.push(change);
    }
    all
}

impl State {
    pub(crate) fn apply(&mut self, step: &Step) {
        match step {
            Step::Commit(changes) | Step::Later(changes) => {
                for change in effective(changes, self) {
                    self.change(&change);
                }
            }
            Step::Sweep(now_ms) => self.keys.retain(|_, key| key.expires_ms > *now_ms),
            Step::Reopen => {}
        }
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::Message(entry, body) => {
                self.bodies.insert(entry.body, body.clone());
                self.entries.insert(entry.id, entry.clone());
            }
            Change::Entry(entry) => {
                self.entries.insert(entry.id, entry.clone());
            }
            Change::Remove(id) => {
                self.entries.remove(id);
            }
            Change::PutKey(key) => {
                self.keys.insert(key.key.clone(), key.clone());
            }
            Change::RemoveKey(key) => {
                self.keys.remove(key);
            }
        }
        let entries = &self.entries;
        self.bodies.retain(|id, _| entries.values().any(|entry| entry.body == *id));
    }

    /// Everything that a spool holds; what cannot be read is an error.
    pub(crate) fn read(spool: &Spool) -> Result<Self, String> {
        let mut state = Self::default();
        let mut cursor = None;
        loop {
            let (page, next) =
                spool.scan(&Index::Id, cursor, 100).map_err(|error| error.to_string())?;
            for entry in page {
                if entry.body != NO_BODY {
                    let body = spool.body(entry.body).map_err(|error| error.to_string())?;
                    let body = body.ok_or(format!("the body of entry {} is gone", entry.id))?;
                    state.bodies.insert(entry.body, body);
                }
                state.entries.insert(entry.id, entry);
            }
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        let keys = spool.keys_with_prefix(b"", None, 10_000).map_err(|error| error.to_string())?;
        state.keys = keys.into_iter().map(|key| (key.key.clone(), key)).collect();
        if spool.stats().bodies != state.bodies.len() as u64 {
            return Err("it counts other bodies than its entries need".to_owned());
        }
        Ok(state)
    }

    /// The number of the last step whose batch is there.
    pub(crate) fn progress(&self) -> Option<u64> {
        let key = self.keys.get(PROGRESS)?;
        Some(u64::from_be_bytes(key.value.as_ref().try_into().unwrap()))
    }

    /// In what it differs from another, for people.
    pub(crate) fn difference(&self, other: &Self) -> String {
        let mut all = Vec::new();
        for (id, entry) in &self.entries {
            match other.entries.get(id) {
                None => all.push(format!("entry {id} is missing")),
                Some(there) if there != entry => all.push(format!("entry {id} is another")),
                Some(_) => {}
            }
        }
        for (id, body) in &self.bodies {
            match other.bodies.get(id) {
                None => all.push(format!("body {id} is missing")),
                Some(there) if there != body => all.push(format!("body {id} is another")),
                Some(_) => {}
            }
        }
        for (name, key) in &self.keys {
            match other.keys.get(name) {
                None => all.push(format!("key {name:?} is missing")),
                Some(there) if there != key => all.push(format!("key {name:?} is another")),
                Some(_) => {}
            }
        }
        let more = other.entries.keys().filter(|id| !self.entries.contains_key(id));
        all.extend(more.map(|id| format!("entry {id} is too many")));
        let more = other.keys.keys().filter(|key| !self.keys.contains_key(*key));
        all.extend(more.map(|key| format!("key {key:?} is too many")));
        all.join(", ")
    }
}
