//! What is ready, of one priority: a lane for each account, and whose turn it is.
//!
//! Turns are given by start-time fair queueing (Goyal, Vin and Cheng 1996): each lane carries a tag
//! that grows by the cost of what it sent, and the lowest tag goes next. A lane that was empty comes
//! back at the tag of whoever went last, so that nobody saves turns up and nobody waits for what
//! another account sent before. Within a lane the order is kept.

use std::collections::{BTreeMap, BTreeSet};

use message::MessageId;

/// A lane's number; see [`super::names::Names`].
pub(super) type Account = u16;

/// The lanes of one priority.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: BTreeMap<Account, Lane>,
    /// (tag, lane) of the lanes that are not empty.
    turns: BTreeSet<(u64, Account)>,
    /// The tag of whoever went last.
    turn: u64,
    count: usize,
}

#[derive(Debug, Default)]
struct Lane {
    /// By order.
    waiting: BTreeMap<u64, MessageId>,
    tag: u64,
}

impl Lanes {
    /// Adds a delivery at its place in the order of its account.
    pub(super) fn insert(&mut self, account: Account, order: u64, id: MessageId) {
        let lane = self.lanes.entry(account).or_default();
        if lane.waiting.is_empty() {
            lane.tag = lane.tag.max(self.turn);
            self.turns.insert((lane.tag, account));
        }
        self.count += usize::from(lane.waiting.insert(order, id).is_none());
    }

    /// As [`Lanes::insert`], for one that had its turn and made no use of it.
    pub(super) fn put_back(&mut self, account: Account, order: u64, id: MessageId, cost: u8) {
        if let Some(lane) = self.lanes.get_mut(&account) {
            let waits = self.turns.remove(&(lane.tag, account));
            lane.tag = lane.tag.saturating_sub(u64::from(cost));
            if waits {
                self.turns.insert((lane.tag, account));
            }
        }
        self.insert(account, order, id);
    }

    /// Takes a delivery out, whosever turn it is.
    pub(super) fn remove(&mut self, account: Account, order: u64) {
        let Some(lane) = self.lanes.get_mut(&account) else { return };
        self.count -= usize::from(lane.waiting.remove(&order).is_some());
        if lane.waiting.is_empty() {
            self.turns.remove(&(lane.tag, account));
        }
    }

    /// The account whose turn it is, and its first delivery.
    pub(super) fn next(&self) -> Option<(Account, MessageId)> {
        let &(_, account) = self.turns.first()?;
        self.first_of(account).map(|id| (account, id))
    }

    /// The first delivery of an account.
    pub(super) fn first_of(&self, account: Account) -> Option<MessageId> {
        self.lanes.get(&account)?.waiting.first_key_value().map(|(_, &id)| id)
    }

    /// The first delivery of an account goes, at a cost.
    pub(super) fn go(&mut self, account: Account, cost: u8) {
        let Some(lane) = self.lanes.get_mut(&account) else { return };
        self.turns.remove(&(lane.tag, account));
        self.turn = self.turn.max(lane.tag);
        self.count -= usize::from(lane.waiting.pop_first().is_some());
        lane.tag = lane.tag.saturating_add(u64::from(cost.max(1)));
        if !lane.waiting.is_empty() {
            self.turns.insert((lane.tag, account));
        }
    }

    /// How many are ready.
    pub(super) const fn len(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(of: &[(Account, u64)]) -> Lanes {
        let mut lanes = Lanes::default();
        let mut order = 0;
        for &(account, count) in of {
            for _ in 0..count {
                order += 1;
                lanes.insert(account, order, MessageId::from_u64(order));
            }
        }
        lanes
    }

    /// Whose turns the next ones are.
    fn turns(lanes: &mut Lanes, count: usize, cost: impl Fn(Account) -> u8) -> Vec<Account> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let Some((account, _)) = lanes.next() else { break };
            lanes.go(account, cost(account));
            taken.push(account);
        }
        taken
    }

    #[test]
    fn a_hundred_thousand_of_one_account_do_not_delay_the_single_one_of_another() {
        let mut lanes = lanes(&[(1, 100_000)]);
        turns(&mut lanes, 50_000, |_| 1);
        lanes.insert(2, 200_000, MessageId::from_u64(200_000));
        assert!(turns(&mut lanes, 2, |_| 1).contains(&2));
        assert_eq!(lanes.len(), 49_999);
    }

    #[test]
    fn accounts_share_by_cost_and_not_by_count() {
        let mut lanes = lanes(&[(1, 1000), (2, 1000), (3, 1000)]);
        let taken = turns(&mut lanes, 600, |account| if account == 3 { 4 } else { 1 });
        let of = |wanted| taken.iter().filter(|&&account| account == wanted).count();
        assert!(
            (260..=272).contains(&of(1)) && (260..=272).contains(&of(2)),
            "{} {}",
            of(1),
            of(2)
        );
        assert!((60..=70).contains(&of(3)), "{}", of(3));
    }

    #[test]
    fn an_account_that_was_away_has_saved_nothing_up() {
        let mut lanes = lanes(&[(1, 500), (2, 1)]);
        turns(&mut lanes, 201, |_| 1);
        for order in 1000..1100 {
            lanes.insert(2, order, MessageId::from_u64(order));
        }
        let taken = turns(&mut lanes, 20, |_| 1);
        assert_eq!(taken.iter().filter(|&&account| account == 2).count(), 10);
    }

    #[test]
    fn who_gives_a_turn_back_has_it_again() {
        let mut lanes = lanes(&[(1, 2), (2, 2)]);
        let (account, id) = lanes.next().unwrap();
        lanes.go(account, 1);
        lanes.put_back(account, 1, id, 1);
        assert_eq!(lanes.next(), Some((account, id)));
        assert_eq!(lanes.len(), 4);
    }

    #[test]
    fn an_account_keeps_its_order_whatever_is_taken_out_between() {
        let mut lanes = lanes(&[(1, 5)]);
        lanes.remove(1, 3);
        lanes.remove(1, 3);
        let mut ids = Vec::new();
        while let Some((account, id)) = lanes.next() {
            ids.push(id.as_u64());
            lanes.go(account, 1);
        }
        assert_eq!((ids, lanes.len()), (vec![1, 2, 4, 5], 0));
    }
}
