//! Random histories, replayed against both spools and against a model too simple to be wrong.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::common::{Place, commit, wait};
use bytes::Bytes;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use wirepost_spool::{Batch, Cursor, Entry, Index, Key, Lease, NEVER_MS, Spool};

/// One operation of a batch, on few enough ids that they meet.
#[derive(Debug, Clone)]
enum Operation {
    Put { entry: Entry, claimed: bool, body: Option<Bytes> },
    Remove(u64),
    PutKey(Key),
    RemoveKey(Bytes),
}

#[derive(Debug, Clone)]
enum Action {
    Commit(Vec<Operation>),
    Later(Vec<Operation>),
    Claim {
        targets: Vec<Arc<str>>,
        before_ms: u64,
        limit: usize,
    },
    Release(Vec<u64>),
    ReleaseAll,
    Sweep {
        now_ms: u64,
        limit: usize,
    },
    Reopen,
    /// Closed while a commit that nobody waits for may not even have been looked at.
    LaterAndReopen(Vec<Operation>),
    /// Damage on disk while it is closed.
    Corrupt(Vec<u64>),
}

fn targets() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![Just("a".into()), Just("b".into()), Just("c".into())]
}

fn times() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..20_u64, 1 => Just(NEVER_MS)]
}

fn bodies() -> impl Strategy<Value = Bytes> {
    // Some are long enough to become files.
    prop_oneof![9 => 0..300_usize, 1 => Just(300_000_usize)]
        .prop_flat_map(|len| any::<u8>().prop_map(move |byte| Bytes::from(vec![byte; len])))
}

fn entries() -> impl Strategy<Value = Entry> {
    (1..12_u64, 0..6_u64, targets(), 0..4_u8, times(), times(), any::<Vec<u8>>()).prop_map(
        |(id, body, target, state, due_ms, expires_ms, bytes)| Entry {
            id,
            body,
            target,
            state,
            due_ms,
            priority: state,
            account: "shop".into(),
            expires_ms,
            bytes: bytes.into(),
        },
    )
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let key = || "[ab]{1,2}".prop_map(Bytes::from);
    let value = (key(), any::<Vec<u8>>(), times()).prop_map(|(key, value, expires_ms)| {
        Operation::PutKey(Key { key, value: value.into(), expires_ms })
    });
    let put = (entries(), any::<bool>(), proptest::option::of(bodies()))
        .prop_map(|(entry, claimed, body)| Operation::Put { entry, claimed, body });
    let one = prop_oneof![
        4 => put,
        2 => (1..12_u64).prop_map(Operation::Remove),
        2 => value,
        1 => key().prop_map(Operation::RemoveKey),
    ];
    proptest::collection::vec(one, 0..6)
}

fn actions() -> impl Strategy<Value = Action> {
    prop_oneof![
        5 => operations().prop_map(Action::Commit),
        2 => operations().prop_map(Action::Later),
        2 => (proptest::collection::vec(targets(), 0..3), times(), 0..5_usize)
            .prop_map(|(targets, before_ms, limit)| Action::Claim { targets, before_ms, limit }),
        1 => proptest::collection::vec(1..12_u64, 0..4).prop_map(Action::Release),
        1 => Just(Action::ReleaseAll),
        1 => operations().prop_map(Action::LaterAndReopen),
        1 => proptest::collection::vec(1..12_u64, 1..3).prop_map(Action::Corrupt),
        1 => (times(), 0..4_usize).prop_map(|(now_ms, limit)| Action::Sweep { now_ms, limit }),
        1 => Just(Action::Reopen),
    ]
}

/// What is stored, and who holds what.
#[derive(Debug, Default, Clone)]
struct Model {
    entries: BTreeMap<u64, (Entry, bool)>,
    bodies: BTreeMap<u64, Bytes>,
    keys: BTreeMap<Bytes, Key>,
    /// Entries that were damaged, and the bodies that their evidence keeps.
    evidence: BTreeMap<u64, u64>,
    /// How many of them were found at the last opening.
    found_corrupt: u64,
}

impl Model {
    /// The batch, made valid: an entry whose body is nowhere brings one.
    fn batch(&self, operations: &[Operation], lease: &Lease) -> Batch {
        let mut batch = Batch::new();
        let mut put = Vec::new();
        for operation in operations {
            match operation {
                Operation::Put { entry, claimed, body } => {
                    let known = entry.body == 0
                        || self.bodies.contains_key(&entry.body)
                        || put.contains(&entry.body);
                    if entry.body != 0 && (body.is_some() || !known) {
                        batch.put_body(entry.body, body.clone().unwrap_or_default());
                        put.push(entry.body);
                    }
                    if *claimed {
                        batch.put_claimed(entry.clone(), lease);
                    } else {
                        batch.put_entry(entry.clone());
                    }
                }
                Operation::Remove(id) => batch.remove_entry(*id),
                Operation::PutKey(key) => {
                    batch.put_key(key.key.clone(), key.value.clone(), key.expires_ms);
                }
                Operation::RemoveKey(key) => batch.remove_key(key.clone()),
            }
        }
        batch
    }

    fn apply(&mut self, operations: &[Operation]) {
        for operation in operations {
            match operation {
                Operation::Put { entry, claimed, body } => {
                    let missing = !self.bodies.contains_key(&entry.body);
                    if entry.body != 0 && (body.is_some() || missing) {
                        self.bodies.insert(entry.body, body.clone().unwrap_or_default());
                    }
                    self.entries.insert(entry.id, (entry.clone(), *claimed));
                }
                Operation::Remove(id) => {
                    self.entries.remove(id);
                }
                Operation::PutKey(key) => {
                    self.keys.insert(key.key.clone(), key.clone());
                }
                Operation::RemoveKey(key) => {
                    self.keys.remove(key);
                }
            }
        }
        let Self { entries, evidence, .. } = self;
        self.bodies.retain(|id, _| {
            let needed = entries.values().any(|(entry, _)| entry.body == *id);
            needed || evidence.values().any(|body| body == id)
        });
    }

    fn reopened(&mut self) {
        self.found_corrupt = 0;
        for (_, claimed) in self.entries.values_mut() {
            *claimed = false;
        }
    }

    /// Of these entries, those that can be damaged: each once.
    fn corrupt(&mut self, ids: &[u64]) -> Vec<u64> {
        let mut damaged = Vec::new();
        for id in ids {
            if !self.evidence.contains_key(id)
                && let Some((entry, _)) = self.entries.remove(id)
            {
                self.evidence.insert(*id, entry.body);
                damaged.push(*id);
            }
        }
        damaged
    }

    fn claim(&mut self, targets: &[Arc<str>], before_ms: u64, limit: usize) -> Vec<Entry> {
        let free = self.entries.values().filter(|(entry, claimed)| {
            let meant = targets.is_empty() || targets.contains(&entry.target);
            !claimed && entry.due_ms < before_ms && meant
        });
        let mut due: Vec<Entry> = free.map(|(entry, _)| entry.clone()).collect();
        due.sort_by_key(|entry| (entry.due_ms, entry.id));
        due.truncate(limit);
        for entry in &due {
            self.entries.get_mut(&entry.id).unwrap().1 = true;
        }
        due
    }

    fn sorted(
        &self,
        key: impl Fn(&Entry) -> (u64, u64),
        keep: impl Fn(&Entry) -> bool,
    ) -> Vec<Entry> {
        let mut all: Vec<Entry> =
            self.entries.values().map(|(e, _)| e).filter(|e| keep(e)).cloned().collect();
        all.sort_by_key(|entry| key(entry));
        all
    }

    /// Whether the spool says the same to every question.
    #[track_caller]
    fn check(&self, spool: &Spool) {
        for id in 0..12 {
            assert_eq!(spool.entry(id).unwrap(), self.entries.get(&id).map(|(e, _)| e.clone()));
            assert_eq!(spool.body(id).unwrap(), self.bodies.get(&id).cloned());
        }
        assert_eq!(walk(spool, &Index::Id), self.sorted(|e| (0, e.id), |_| true));
        for target in ["a", "b", "c"] {
            let expect = self.sorted(|e| (e.due_ms, e.id), |e| *e.target == *target);
            assert_eq!(walk(spool, &Index::Target(target.into())), expect);
        }
        for state in 0..4 {
            let expect = self.sorted(|e| (0, e.id), |e| e.state == state);
            assert_eq!(walk(spool, &Index::State(state)), expect);
        }
        for now_ms in [0, 10, NEVER_MS - 1] {
            let expect = self.sorted(|e| (e.expires_ms, e.id), |e| e.expires_ms <= now_ms);
            assert_eq!(spool.expired(now_ms, 100).unwrap(), expect);
        }
        for targets in [&[][..], &["a".into()], &["b".into(), "c".into()]] {
            let waiting = self.entries.values().filter(|(entry, claimed)| {
                !claimed && (targets.is_empty() || targets.contains(&entry.target))
            });
            assert_eq!(spool.next_due_ms(targets), waiting.map(|(entry, _)| entry.due_ms).min());
        }
        let keys: Vec<Key> = self.keys.values().cloned().collect();
        assert_eq!(spool.keys_with_prefix(b"", None, 100).unwrap(), keys);
        assert_eq!(spool.find(b"a").unwrap(), self.keys.get(&b"a"[..]).map(|k| k.value.clone()));
        let stats = spool.stats();
        assert_eq!(stats.entries, self.entries.len() as u64);
        assert_eq!(stats.bodies, self.bodies.len() as u64);
        assert_eq!(stats.corrupt, self.found_corrupt);
        let aside = spool.aside(100).unwrap();
        assert_eq!(aside.len(), self.evidence.len());
    }
}

fn walk(spool: &Spool, index: &Index) -> Vec<Entry> {
    let (mut all, mut cursor): (Vec<Entry>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let (page, next) = spool.scan(index, cursor, 3).unwrap();
        all.extend(page);
        if next.is_none() {
            return all;
        }
        cursor = next;
    }
}

/// Sweeping in small steps ends where one big step does, whatever outdated notes it meets.
fn sweep_all(spool: &Spool, now_ms: u64, limit: usize) -> usize {
    let mut swept = 0;
    for _ in 0..200 {
        swept += wait(spool.sweep_keys(now_ms, limit.max(1))).unwrap();
    }
    swept
}

fn replay(mut place: Place, actions: &[Action]) {
    let mut spool = place.open();
    let mut lease = spool.lease(1);
    let mut model = Model::default();
    for action in actions {
        match action {
            Action::Commit(operations) => {
                commit(&spool, model.batch(operations, &lease));
                model.apply(operations);
            }
            Action::Later(operations) => {
                spool.commit_later(model.batch(operations, &lease)).unwrap();
                let _proof = wait(spool.flush()).unwrap();
                model.apply(operations);
            }
            Action::Claim { targets, before_ms, limit } => {
                let got = spool.claim(&lease, targets, *before_ms, *limit).unwrap();
                assert_eq!(got, model.claim(targets, *before_ms, *limit));
            }
            Action::ReleaseAll => {
                spool.release_all(&lease);
                model.entries.values_mut().for_each(|(_, claimed)| *claimed = false);
            }
            Action::Release(ids) => {
                spool.release(&lease, ids);
                for id in ids {
                    if let Some((_, claimed)) = model.entries.get_mut(id) {
                        *claimed = false;
                    }
                }
            }
            Action::Sweep { now_ms, limit } => {
                let before = model.keys.len();
                model.keys.retain(|_, key| key.expires_ms == NEVER_MS || key.expires_ms > *now_ms);
                let swept = sweep_all(&spool, *now_ms, *limit);
                assert_eq!(swept, before - model.keys.len());
            }
            Action::Reopen | Action::LaterAndReopen(_) | Action::Corrupt(_) => {
                if let Action::LaterAndReopen(operations) = action {
                    spool.commit_later(model.batch(operations, &lease)).unwrap();
                    model.apply(operations);
                }
                drop(spool);
                model.reopened();
                if let (Action::Corrupt(ids), Place::Disk(place)) = (action, &place) {
                    let damaged = model.corrupt(ids);
                    model.found_corrupt = damaged.len() as u64;
                    damage(place.path(), &damaged);
                }
                spool = place.open();
                lease = spool.lease(1);
            }
        }
        model.check(&spool);
    }
}

/// Damages entries in the database underneath.
fn damage(path: &Path, ids: &[u64]) {
    let database = fjall::Database::builder(path.join("db")).open().unwrap();
    let entries = database.keyspace("entries", fjall::KeyspaceCreateOptions::default).unwrap();
    for id in ids {
        let mut record = entries.get(id.to_be_bytes()).unwrap().unwrap().to_vec();
        *record.last_mut().unwrap() ^= 1;
        entries.insert(id.to_be_bytes(), record).unwrap();
    }
    database.persist(fjall::PersistMode::SyncAll).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_spools_tell_the_same_story(
        actions in proptest::collection::vec(actions(), 0..24),
    ) {
        for place in Place::both() {
            replay(place, &actions);
        }
    }
}
