//! Slots for instances: how many all plugins together may have, and who gets one when they are few.
//!
//! Half of the slots are promised: each plugin that is loaded, of the old generation and of the new one,
//! has an equal share of them that no other can take. The other half is for whoever has work. The slot of
//! an instance that only waits for work is taken back for a plugin that has some. A call that finds no
//! slot waits its turn: that is back-pressure of the router and no fault of a plugin. Loading has slots
//! of its own, so that traffic cannot keep a new plugin out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::Thread;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::engine;
use super::fault::{LoadError, LoadStep};

/// Slots of all plugins together, unless the options say otherwise.
pub(super) const SLOTS: usize = 512;
/// Slots that only plugins get that are being loaded: one is compiled at a time, and has one instance.
pub(super) const LOADING_SLOTS: usize = 4;
/// Core instances of one slot: a component of a language with shared libraries has some dozens.
pub(super) const CORE_INSTANCES_A_SLOT: u32 = 64;
/// Memories of one slot.
pub(super) const MEMORIES_A_SLOT: u32 = 2;
/// Tables of one slot: what `cargo build` makes becomes a component with two.
pub(super) const TABLES_A_SLOT: u32 = 4;
/// The refusal of a component that needs more than there is for each of its instances.
pub(super) fn larger_than_a_slot(error: &engine::Error) -> Option<LoadError> {
    let reason = format!("{error:#}");
    reason.contains("exceeds the configured maximum").then(|| {
        LoadError::new(
            LoadStep::Compile,
            format!("an instance of it is larger than its slot: {reason}"),
            "build it of fewer modules; docs/PLUGINS.md lists what an instance may have",
        )
    })
}

/// How often instances are looked through for those that nobody needs any more.
const UPKEEP_EVERY: Duration = Duration::from_secs(10);

/// Instances that wait for work, as the others see them.
pub(super) trait Waiting: Send + Sync {
    /// Drops the instance that has waited longest; false if none waits.
    fn give_back(&self) -> bool;

    /// Drops what the traffic of late has not needed.
    fn shrink(&self);
}

/// All slots.
pub(super) struct Slots {
    all: usize,
    state: Mutex<State>,
    /// Calls that wait for a slot.
    waiting: AtomicUsize,
    loading: Arc<Semaphore>,
    upkeep: Mutex<Option<Thread>>,
}

#[derive(Default)]
struct State {
    free: usize,
    tenants: BTreeMap<u64, Tenant>,
    tenants_ever: u64,
    tickets: u64,
}

struct Tenant {
    held: usize,
    /// Instances that its settings allow.
    most: usize,
    instances: Weak<dyn Waiting>,
    queue: VecDeque<Turn>,
}

struct Turn {
    ticket: u64,
    slot: oneshot::Sender<Slot>,
}

/// Room for one instance, given back when it is dropped.
pub(super) struct Slot(Kind);

enum Kind {
    Shared {
        slots: Arc<Slots>,
        tenant: u64,
    },
    /// Given back with the permit.
    Loading {
        _permit: OwnedSemaphorePermit,
    },
}

/// A plugin's place among those that share the slots.
pub(super) struct Tenancy {
    slots: Arc<Slots>,
    id: u64,
}

impl std::fmt::Debug for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slots").field("all", &self.all).finish_non_exhaustive()
    }
}

impl Slots {
    /// So many slots; nobody looks after them until [`Slots::tend`].
    pub(super) fn new(all: usize) -> Arc<Self> {
        let all = all.max(1);
        Arc::new(Self {
            all,
            state: Mutex::new(State { free: all, ..State::default() }),
            waiting: AtomicUsize::new(0),
            loading: Arc::new(Semaphore::new(LOADING_SLOTS)),
            upkeep: Mutex::default(),
        })
    }

    /// How many there are.
    pub(super) const fn all(&self) -> usize {
        self.all
    }

    /// Starts a thread that drops what nobody needs any more. It ends with the slots.
    pub(super) fn tend(self: &Arc<Self>) -> std::io::Result<()> {
        let weak = Arc::downgrade(self);
        let thread = std::thread::Builder::new().name("wasm-upkeep".into()).spawn(move || {
            loop {
                std::thread::park_timeout(UPKEEP_EVERY);
                let Some(slots) = weak.upgrade() else { return };
                slots.shrink();
            }
        })?;
        *self.upkeep.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread.thread().clone());
        Ok(())
    }

    /// Lets every plugin drop the instances that the traffic of late has not needed.
    pub(super) fn shrink(&self) {
        let tenants: Vec<_> =
            self.lock().tenants.values().map(|tenant| tenant.instances.clone()).collect();
        for instances in tenants.iter().filter_map(Weak::upgrade) {
            instances.shrink();
        }
    }

    /// A place for a plugin with at most so many instances.
    pub(super) fn join(self: &Arc<Self>, most: usize, instances: Weak<dyn Waiting>) -> Tenancy {
        let mut state = self.lock();
        let id = state.tenants_ever;
        state.tenants_ever += 1;
        state.tenants.insert(id, Tenant { held: 0, most, instances, queue: VecDeque::new() });
        drop(state);
        Tenancy { slots: Arc::clone(self), id }
    }

    /// A slot for an instance that is made while its plugin is loaded.
    pub(super) async fn for_loading(&self) -> Option<Slot> {
        let permit = Arc::clone(&self.loading).acquire_owned().await.ok()?;
        Some(Slot(Kind::Loading { _permit: permit }))
    }

    fn release(self: &Arc<Self>, tenant: u64) {
        let mut state = self.lock();
        state.free += 1;
        if let Some(tenant) = state.tenants.get_mut(&tenant) {
            tenant.held = tenant.held.saturating_sub(1);
        }
        self.settle(state);
    }

    /// Gives free slots to those that wait.
    fn settle(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let mut given = Vec::new();
        while let Some((tenant, turn)) = state.next(self.all) {
            if !turn.slot.is_closed() {
                state.give(tenant);
                given.push((turn.slot, Slot(Kind::Shared { slots: Arc::clone(self), tenant })));
            }
        }
        let waiting = state.tenants.values().map(|tenant| tenant.queue.len()).sum();
        self.waiting.store(waiting, Ordering::SeqCst);
        drop(state);
        for (turn, slot) in given {
            // Who gave up in this moment drops it, and it goes to the next.
            drop(turn.send(slot));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        if let Some(thread) = self.upkeep.get_mut().unwrap_or_else(PoisonError::into_inner) {
            thread.unpark();
        }
    }
}

impl State {
    /// What a plugin is promised.
    fn share(&self, all: usize, tenant: &Tenant) -> usize {
        (all / 2 / self.tenants.len().max(1)).max(1).min(tenant.most)
    }

    fn may_take(&self, all: usize, id: u64) -> bool {
        let Some(tenant) = self.tenants.get(&id) else { return false };
        if self.free == 0 || tenant.held < self.share(all, tenant) {
            return self.free > 0;
        }
        let others = self.tenants.iter().filter(|(other, _)| **other != id);
        let promised =
            others.map(|(_, tenant)| self.share(all, tenant).saturating_sub(tenant.held));
        self.free > promised.sum()
    }

    fn give(&mut self, id: u64) {
        self.free = self.free.saturating_sub(1);
        if let Some(tenant) = self.tenants.get_mut(&id) {
            tenant.held += 1;
        }
    }

    /// The turn that is next and may take a slot: those within their share first.
    fn next(&mut self, all: usize) -> Option<(u64, Turn)> {
        let waiting = self.tenants.iter().filter_map(|(id, tenant)| {
            let beyond = tenant.held >= self.share(all, tenant);
            Some((beyond, tenant.queue.front()?.ticket, *id))
        });
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_unstable();
        let (_, _, id) = waiting.into_iter().find(|(_, _, id)| self.may_take(all, *id))?;
        Some((id, self.tenants.get_mut(&id)?.queue.pop_front()?))
    }

    /// Whether an instance of this plugin had better go than wait for work.
    fn is_missed_elsewhere(&self, all: usize, id: u64) -> bool {
        let beyond =
            self.tenants.get(&id).is_none_or(|tenant| tenant.held > self.share(all, tenant));
        self.tenants
            .iter()
            .any(|(other, tenant)| *other != id && tenant.waits() && (beyond || tenant.held == 0))
    }

    /// Whose instances may have to go for this plugin: who has most beyond its share comes first. One
    /// that has none at all takes those that others were promised, too.
    fn debtors(&self, all: usize, id: u64) -> Vec<Weak<dyn Waiting>> {
        let starves = self.tenants.get(&id).is_some_and(|tenant| tenant.held == 0);
        let others = self.tenants.iter().filter(|(other, _)| **other != id);
        let mut debtors: Vec<_> = others
            .filter_map(|(other, tenant)| {
                let beyond = tenant.held.saturating_sub(self.share(all, tenant));
                let owes = tenant.held > 0 && (beyond > 0 || starves);
                owes.then(|| (std::cmp::Reverse(beyond), *other, tenant.instances.clone()))
            })
            .collect();
        debtors.sort_unstable_by_key(|(beyond, other, _)| (*beyond, *other));
        debtors.into_iter().map(|(_, _, instances)| instances).collect()
    }
}

impl Tenant {
    fn waits(&self) -> bool {
        self.queue.iter().any(|turn| !turn.slot.is_closed())
    }
}

impl Tenancy {
    /// A slot, if there is one at once; another plugin's instance that only waits goes for it.
    pub(super) fn take_now(&self) -> Option<Slot> {
        if let Some(slot) = self.try_take() {
            return Some(slot);
        }
        self.call_in();
        self.try_take()
    }

    /// A slot, in turn. Dropping the future gives the turn up.
    pub(super) async fn take(&self) -> Option<Slot> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.slots.lock();
            state.tickets += 1;
            let ticket = state.tickets;
            let tenant = state.tenants.get_mut(&self.id)?;
            tenant.queue.retain(|turn| !turn.slot.is_closed());
            tenant.queue.push_back(Turn { ticket, slot: sender });
            self.slots.settle(state);
        }
        self.call_in();
        receiver.await.ok()
    }

    /// Whether an instance that has no work had better go: somebody waits for its slot.
    pub(super) fn is_missed_elsewhere(&self) -> bool {
        // Mostly nobody waits, and nothing is locked.
        self.slots.waiting.load(Ordering::SeqCst) > 0
            && self.slots.lock().is_missed_elsewhere(self.slots.all, self.id)
    }

    fn try_take(&self) -> Option<Slot> {
        let mut state = self.slots.lock();
        if state.tenants.get(&self.id).is_none_or(Tenant::waits)
            || !state.may_take(self.slots.all, self.id)
        {
            return None;
        }
        state.give(self.id);
        drop(state);
        Some(Slot(Kind::Shared { slots: Arc::clone(&self.slots), tenant: self.id }))
    }

    /// Makes another plugin drop an instance that waits, if one may have to.
    fn call_in(&self) {
        let debtors = self.slots.lock().debtors(self.slots.all, self.id);
        debtors.iter().filter_map(Weak::upgrade).find(|instances| instances.give_back());
    }
}

impl Drop for Tenancy {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        state.tenants.remove(&self.id);
        // The others are promised more now.
        self.slots.settle(state);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Kind::Shared { slots, tenant } = &self.0 {
            slots.release(*tenant);
        }
    }
}

#[cfg(test)]
mod tests;
