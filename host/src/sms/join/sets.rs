//! Parts that wait for the others of their message. Memory only: the parts are in the spool.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use message::{MessageId, Timestamp};

use super::{Key, Part};

/// Parts of one account or connector that wait at one time; further ones go on by themselves.
pub const PARTS_OF_ONE_MAX: usize = 10_000;

/// All messages of which parts are here.
#[derive(Debug, Default)]
pub struct Sets {
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    open: HashMap<Key, Set>,
    /// Parts by whose they are.
    counts: HashMap<Arc<str>, usize>,
    complete: VecDeque<Complete>,
}

/// The parts of one message, in their order.
#[derive(Debug)]
struct Set {
    seats: Vec<Option<Seat>>,
    left: usize,
}

#[derive(Clone, Copy, Debug)]
struct Seat {
    id: MessageId,
    says: u64,
}

/// A message whose parts are all here.
#[derive(Debug)]
pub struct Complete {
    /// The ids of its parts, in their order.
    pub parts: Vec<MessageId>,
}

/// What is done with a part that comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// It waits.
    Waits,
    /// The same part is here already.
    Repeated,
    /// There is no room: it goes on by itself.
    Full,
}

impl Sets {
    /// What to do with a part that comes in.
    #[must_use]
    pub fn entrance(&self, part: &Part) -> Entrance {
        let memory = self.lock();
        let seat = memory.open.get(&part.key).and_then(|set| set.seat(part));
        if seat.is_some_and(|seat| seat.says == part.says) {
            return Entrance::Repeated;
        }
        let waiting = memory.counts.get(&part.key.whose).copied().unwrap_or(0);
        if waiting >= PARTS_OF_ONE_MAX { Entrance::Full } else { Entrance::Waits }
    }

    /// Adds a part that is in the spool. Returns those that need not wait any more: another part came
    /// in their place, so that theirs is another message, of which the rest will not come.
    #[must_use]
    pub fn add(&self, part: &Part, id: MessageId) -> Vec<MessageId> {
        let mut memory = self.lock();
        let is_other = memory.open.get(&part.key).is_some_and(|set| set.seat(part).is_some());
        let others = if is_other { memory.remove(&part.key) } else { Vec::new() };
        let total = usize::from(part.total());
        let new = || Set { seats: vec![None; total], left: total };
        let set = memory.open.entry(part.key.clone()).or_insert_with(new);
        let Some(seat) = set.seats.get_mut(usize::from(part.sequence) - 1) else { return others };
        *seat = Some(Seat { id, says: part.says });
        set.left -= 1;
        let is_complete = set.left == 0;
        *memory.counts.entry(Arc::clone(&part.key.whose)).or_default() += 1;
        if is_complete {
            let parts = memory.remove(&part.key);
            memory.complete.push_back(Complete { parts });
        }
        others
    }

    /// A part goes on by itself: its message is never complete here. Another may have begun meanwhile.
    pub fn forget(&self, part: &Part, id: MessageId) {
        let mut memory = self.lock();
        let seat = memory.open.get(&part.key).and_then(|set| set.seat(part));
        if seat.is_some_and(|seat| seat.id == id) {
            drop(memory.remove(&part.key));
        }
    }

    /// Forgets messages that began before: their parts have gone on by themselves, or are gone.
    pub fn forget_before(&self, at: Timestamp) {
        let mut memory = self.lock();
        let is_old = |set: &Set| set.seats.iter().flatten().all(|seat| seat.id.time() < at);
        let old = memory.open.iter().filter(|(_, set)| is_old(set));
        let old: Vec<Key> = old.map(|(key, _)| key.clone()).collect();
        for key in old {
            drop(memory.remove(&key));
        }
    }

    /// Parts that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().counts.values().sum()
    }

    /// Messages that are complete, at most `max`.
    #[must_use]
    pub fn take_complete(&self, max: usize) -> Vec<Complete> {
        let mut memory = self.lock();
        let count = memory.complete.len().min(max);
        memory.complete.drain(..count).collect()
    }

    /// Messages that could not be joined now.
    pub fn put_back(&self, complete: Vec<Complete>) {
        let mut memory = self.lock();
        complete.into_iter().rev().for_each(|one| memory.complete.push_front(one));
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// Takes a set out; the ids of its parts.
    fn remove(&mut self, key: &Key) -> Vec<MessageId> {
        let Some(set) = self.open.remove(key) else { return Vec::new() };
        let ids: Vec<MessageId> = set.seats.iter().flatten().map(|seat| seat.id).collect();
        if let Some(count) = self.counts.get_mut(&key.whose) {
            *count = count.saturating_sub(ids.len());
            if *count == 0 {
                self.counts.remove(&key.whose);
            }
        }
        ids
    }
}

impl Set {
    fn seat(&self, part: &Part) -> Option<&Seat> {
        self.seats.get(usize::from(part.sequence) - 1)?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{header, message};
    use super::*;
    use crate::sms::join::part;

    fn piece(sequence: u8, total: u8, text: &str) -> Part {
        part(&message(&header(7, total, sequence), text)).unwrap()
    }

    fn ids(ids: &[u64]) -> Vec<MessageId> {
        ids.iter().copied().map(MessageId::from_u64).collect()
    }

    fn complete(sets: &Sets) -> Vec<Vec<MessageId>> {
        sets.take_complete(10).into_iter().map(|it| it.parts).collect()
    }

    #[test]
    fn a_message_is_complete_when_all_its_parts_are_here_in_whatever_order() {
        let sets = Sets::default();
        for (sequence, id) in [(3, 30), (1, 10), (2, 20)] {
            assert_eq!(complete(&sets), Vec::<Vec<MessageId>>::new());
            let part = piece(sequence, 3, "x");
            assert_eq!(sets.entrance(&part), Entrance::Waits);
            assert_eq!(sets.add(&part, MessageId::from_u64(id)), []);
        }
        assert_eq!(complete(&sets), [ids(&[10, 20, 30])]);
        assert!(sets.lock().counts.is_empty() && sets.lock().open.is_empty());
    }

    #[test]
    fn a_part_that_comes_twice_is_one_and_another_in_its_place_begins_another_message() {
        let sets = Sets::default();
        assert_eq!(sets.add(&piece(1, 2, "x"), MessageId::from_u64(1)), []);
        assert_eq!(sets.entrance(&piece(1, 2, "x")), Entrance::Repeated);
        let other = piece(1, 2, "y");
        assert_eq!(sets.entrance(&other), Entrance::Waits);
        assert_eq!(sets.add(&other, MessageId::from_u64(2)), ids(&[1]));
        assert_eq!(sets.add(&piece(2, 2, "x"), MessageId::from_u64(3)), []);
        assert_eq!(complete(&sets), [ids(&[2, 3])]);
    }

    #[test]
    fn what_was_forgotten_is_not_complete_with_the_rest() {
        let sets = Sets::default();
        let _none = sets.add(&piece(1, 2, "x"), MessageId::from_u64(1));
        let part = piece(1, 2, "x");
        sets.forget(&part, MessageId::from_u64(9));
        assert_eq!(sets.lock().open.len(), 1);
        sets.forget(&part, MessageId::from_u64(1));
        let _none = sets.add(&piece(2, 2, "x"), MessageId::from_u64(2));
        assert_eq!(complete(&sets), Vec::<Vec<MessageId>>::new());
        assert_eq!(sets.lock().counts.values().copied().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let sets = Sets::default();
        let _none = sets.add(&piece(1, 2, "x"), MessageId::from_u64(1));
        let at = MessageId::from_u64(1).time();
        sets.forget_before(at);
        assert_eq!(sets.waiting(), 1);
        sets.forget_before(at.after(std::time::Duration::from_millis(1)));
        assert!(sets.lock().open.is_empty() && sets.lock().counts.is_empty());
    }

    #[test]
    fn one_sender_has_only_so_much_room() {
        let sets = Sets::default();
        let mut last = piece(1, 2, "x");
        for n in 0..PARTS_OF_ONE_MAX {
            last.key.sender = n.to_string().into();
            let _none = sets.add(&last, MessageId::from_u64(1));
        }
        last.key.sender = "one more".into();
        assert_eq!(sets.entrance(&last), Entrance::Full);
        last.key.whose = "another".into();
        assert_eq!(sets.entrance(&last), Entrance::Waits);
    }
}
