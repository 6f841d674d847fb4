//! The columns of every entry, in memory: who waits for what, since when, until when.
//!
//! About 150 bytes an entry, so that a million of them fit a small machine; the owner's bytes and
//! the bodies stay in the store. Only the writer's thread changes it, after what it says is
//! written; everybody reads.

mod names;
mod totals;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use crate::entry::{Cursor, Entry, Index, Lease, NEVER_MS, NO_BODY};
use crate::stats::{Stats, TargetStats};
use names::Names;
pub(crate) use totals::{Added, TOTAL_PREFIX, Totals, restored, stored};

/// What is known of an entry without reading it.
#[derive(Debug, Clone, Copy)]
struct Columns {
    body: u64,
    due_ms: u64,
    expires_ms: u64,
    target: u32,
    node: u32,
    state: u8,
    claimed: bool,
}

/// The entries of one target by due time and id: those to claim and those claimed.
#[derive(Debug, Default)]
struct Line {
    waiting: BTreeSet<(u64, u64)>,
    claimed: BTreeSet<(u64, u64)>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Columnar {
    entries: BTreeMap<u64, Columns>,
    names: Names,
    lines: Vec<Line>,
    states: BTreeMap<u8, BTreeSet<u64>>,
    expiring: BTreeSet<(u64, u64)>,
    /// Needs for a body beside that of the entry whose id it has: most have no other.
    others: HashMap<u64, u32>,
    bodies: u64,
    totals: Totals,
    /// Entries that are evidence now and count nowhere else.
    aside: u64,
}

impl Columnar {
    /// Inserts or replaces; with a lease the entry is claimed, without one it waits.
    pub(crate) fn put(&mut self, entry: &Entry, lease: Option<Lease>) {
        self.remove(entry.id);
        let target = self.names.intern(&entry.target);
        let columns = Columns {
            body: entry.body,
            due_ms: entry.due_ms,
            expires_ms: entry.expires_ms,
            target,
            node: lease.map_or(0, |lease| lease.node),
            state: entry.state,
            claimed: lease.is_some(),
        };
        let position = (entry.due_ms, entry.id);
        let line = self.line_mut(target);
        if columns.claimed {
            line.claimed.insert(position)
        } else {
            line.waiting.insert(position)
        };
        self.states.entry(entry.state).or_default().insert(entry.id);
        if entry.expires_ms != NEVER_MS {
            self.expiring.insert((entry.expires_ms, entry.id));
        }
        if entry.body != entry.id {
            self.pin_body(entry.body);
        } else if self.needs(entry.body) == 0 {
            self.bodies += 1;
        }
        self.entries.insert(entry.id, columns);
    }

    /// Forgets an entry; an unknown one changes nothing.
    pub(crate) fn remove(&mut self, id: u64) {
        let Some(columns) = self.entries.remove(&id) else { return };
        let position = (columns.due_ms, id);
        let line = self.line_mut(columns.target);
        if columns.claimed {
            line.claimed.remove(&position);
        } else {
            line.waiting.remove(&position);
        }
        if let Some(ids) = self.states.get_mut(&columns.state) {
            ids.remove(&id);
            if ids.is_empty() {
                self.states.remove(&columns.state);
            }
        }
        self.expiring.remove(&(columns.expires_ms, id));
        if columns.body != id
            && let Some(count) = self.others.get_mut(&columns.body)
        {
            *count -= 1;
            if *count == 0 {
                self.others.remove(&columns.body);
            }
        }
        if columns.body != NO_BODY && self.needs(columns.body) == 0 {
            self.bodies -= 1;
        }
    }

    /// Counts one more need for a body: an entry's, or that of evidence set aside.
    pub(crate) fn pin_body(&mut self, body: u64) {
        if body != NO_BODY {
            self.bodies += u64::from(self.needs(body) == 0);
            *self.others.entry(body).or_default() += 1;
        }
    }

    /// Counts an entry that was moved out of the way.
    pub(crate) fn count_aside(&mut self) {
        self.aside += 1;
    }

    /// The totals that batches count.
    pub(crate) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Totals as they are after a group, or as they were stored.
    pub(crate) fn set_totals(&mut self, totals: impl IntoIterator<Item = (Bytes, u64)>) {
        self.totals.set(totals);
    }

    /// The body that an entry needs; `None` if there is no such entry.
    pub(crate) fn body_of(&self, id: u64) -> Option<u64> {
        self.entries.get(&id).map(|columns| columns.body)
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> u64 {
        u64::try_from(self.entries.len()).unwrap_or(u64::MAX)
    }

    /// How many need a body.
    pub(crate) fn needs(&self, body: u64) -> u32 {
        let own = self.entries.get(&body).is_some_and(|columns| columns.body == body);
        self.others.get(&body).copied().unwrap_or(0) + u32::from(own)
    }

    /// How many bodies are needed.
    pub(crate) const fn bodies(&self) -> u64 {
        self.bodies
    }

    /// Claims entries due before `due_before_ms` for the lease, the earliest first, at most
    /// `limit`. No targets means all.
    pub(crate) fn claim(
        &mut self,
        lease: &Lease,
        targets: &[Arc<str>],
        due_before_ms: u64,
        limit: usize,
    ) -> Vec<u64> {
        let mut due: Vec<(u64, u64, u32)> = Vec::new();
        for target in self.chosen(targets) {
            let Some(line) = self.line(target) else { continue };
            let early = line.waiting.range(..(due_before_ms, 0)).take(limit);
            due.extend(early.map(|&(due_ms, id)| (due_ms, id, target)));
        }
        due.sort_unstable();
        due.truncate(limit);
        for &(due_ms, id, target) in &due {
            self.mark(id, Some(lease));
            let line = self.line_mut(target);
            line.waiting.remove(&(due_ms, id));
            line.claimed.insert((due_ms, id));
        }
        due.into_iter().map(|(_, id, _)| id).collect()
    }

    /// Gives claimed entries back; others are left alone.
    pub(crate) fn release(&mut self, lease: &Lease, ids: &[u64]) {
        for &id in ids {
            let Some(columns) = self.entries.get(&id).copied() else { continue };
            if !columns.claimed || columns.node != lease.node {
                continue;
            }
            self.mark(id, None);
            let line = self.line_mut(columns.target);
            line.claimed.remove(&(columns.due_ms, id));
            line.waiting.insert((columns.due_ms, id));
        }
    }

    /// Everything the lease has claimed.
    pub(crate) fn claimed_by(&self, lease: &Lease) -> Vec<u64> {
        let ids = self.lines.iter().flat_map(|line| line.claimed.iter().map(|&(_, id)| id));
        let of_node = |id: &u64| self.entries.get(id).is_some_and(|c| c.node == lease.node);
        ids.filter(of_node).collect()
    }

    /// The earliest due time among entries that wait.
    pub(crate) fn next_due_ms(&self, targets: &[Arc<str>]) -> Option<u64> {
        let lines = self.chosen(targets).into_iter().filter_map(|target| self.line(target));
        lines.filter_map(|line| line.waiting.first().map(|&(due_ms, _)| due_ms)).min()
    }

    /// One page of a walk, and where it goes on if there is more.
    pub(crate) fn page(
        &self,
        index: &Index,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> (Vec<u64>, Option<Cursor>) {
        let after = cursor.map_or((0, 0), |cursor| (cursor.due_ms, cursor.id.saturating_add(1)));
        let mut page: Vec<(u64, u64)> = match index {
            Index::Id => {
                self.entries.range(after.1..).map(|(&id, _)| (0, id)).take(limit + 1).collect()
            }
            Index::State(state) => self.states.get(state).map_or_else(Vec::new, |ids| {
                ids.range(after.1..).map(|&id| (0, id)).take(limit + 1).collect()
            }),
            Index::Target(target) => {
                let line = self.names.find(target).and_then(|target| self.line(target));
                line.map_or_else(Vec::new, |line| line.page(after, limit + 1))
            }
        };
        let more = page.len() > limit;
        page.truncate(limit);
        let last = page.last().map(|&(due_ms, id)| Cursor { due_ms, id });
        (page.into_iter().map(|(_, id)| id).collect(), last.filter(|_| more))
    }

    /// Entries whose time has run out, the longest expired first.
    pub(crate) fn expired(&self, now_ms: u64, limit: usize) -> Vec<u64> {
        let past = self.expiring.range(..(now_ms.saturating_add(1), 0));
        past.take(limit).map(|&(_, id)| id).collect()
    }

    /// As [`Self::expired`] after a position, with their targets.
    pub(crate) fn expired_after(
        &self,
        now_ms: u64,
        after: Option<Cursor>,
        limit: usize,
    ) -> Vec<(Cursor, Arc<str>)> {
        let from = after.map_or((0, 0), |cursor| (cursor.due_ms, cursor.id.saturating_add(1)));
        let until = (now_ms.saturating_add(1), 0);
        if from >= until {
            return Vec::new();
        }
        let past = self.expiring.range(from..until).take(limit);
        past.filter_map(|&(due_ms, id)| {
            let target = self.names.name(self.entries.get(&id)?.target)?;
            Some((Cursor { due_ms, id }, Arc::clone(target)))
        })
        .collect()
    }

    /// Fills in the figures that only the index knows.
    pub(crate) fn read_into(&self, stats: &mut Stats) {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        stats.entries = count(self.entries.len());
        stats.bodies = self.bodies();
        stats.aside = self.aside;
        stats.totals = self.totals.all();
        stats.by_state =
            self.states.iter().map(|(&state, ids)| (state, count(ids.len()))).collect();
        let lines = self.names.iter().zip(&self.lines);
        stats.by_target = lines
            .filter(|(_, line)| !line.waiting.is_empty() || !line.claimed.is_empty())
            .map(|(name, line)| (Arc::clone(name), line.stats()))
            .collect();
        stats.by_target.sort_by(|a, b| a.0.cmp(&b.0));
    }

    fn mark(&mut self, id: u64, lease: Option<&Lease>) {
        if let Some(columns) = self.entries.get_mut(&id) {
            columns.claimed = lease.is_some();
            columns.node = lease.map_or(0, |lease| lease.node);
        }
    }

    fn chosen(&self, targets: &[Arc<str>]) -> Vec<u32> {
        if targets.is_empty() {
            return self.names.all().collect();
        }
        let mut chosen: Vec<u32> = targets.iter().filter_map(|t| self.names.find(t)).collect();
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }

    fn line(&self, target: u32) -> Option<&Line> {
        self.lines.get(usize::try_from(target).unwrap_or(usize::MAX))
    }

    fn line_mut(&mut self, target: u32) -> &mut Line {
        let at = usize::try_from(target).unwrap_or(0);
        if self.lines.len() <= at {
            self.lines.resize_with(at + 1, Line::default);
        }
        &mut self.lines[at]
    }
}

impl Line {
    /// The two sets, merged in order, from a position on.
    fn page(&self, from: (u64, u64), limit: usize) -> Vec<(u64, u64)> {
        let waiting = self.waiting.range(from..).take(limit);
        let mut page: Vec<_> =
            waiting.chain(self.claimed.range(from..).take(limit)).copied().collect();
        page.sort_unstable();
        page.truncate(limit);
        page
    }

    fn stats(&self) -> TargetStats {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        TargetStats {
            claimed: count(self.claimed.len()),
            waiting: count(self.waiting.len()),
            next_due_ms: self.waiting.first().map(|&(due_ms, _)| due_ms),
        }
    }
}
