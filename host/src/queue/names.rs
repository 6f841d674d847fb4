//! What many deliveries share, as small numbers: accounts, lists of targets, reasons to wait.

use std::collections::HashMap;
use std::sync::Arc;

use message::MessageId;

/// Reasons that are told apart at one target; further ones are counted together.
const REASONS_MAX: usize = 500;

/// Accounts as numbers, in the order of their first appearance, and how many deliveries each has
/// here. They come from the configuration, so they are few and are kept; what does not fit any more
/// shares the last number.
#[derive(Debug)]
pub(super) struct Names {
    numbers: HashMap<Arc<str>, u16>,
    next: u16,
    /// By number.
    held: Vec<usize>,
    /// Numbers that have something here.
    busy: usize,
}

impl Names {
    /// With the names that share the number 0.
    pub(super) fn new(same: [Arc<str>; 2]) -> Self {
        let numbers = same.into_iter().map(|name| (name, 0)).collect();
        Self { numbers, next: 1, held: Vec::new(), busy: 0 }
    }

    /// The number of an account, and one more that it has.
    pub(super) fn enter(&mut self, name: &Arc<str>) -> u16 {
        let number = self.number(name);
        let at = usize::from(number);
        if self.held.len() <= at {
            self.held.resize(at + 1, 0);
        }
        if let Some(held) = self.held.get_mut(at) {
            self.busy += usize::from(*held == 0);
            *held += 1;
        }
        number
    }

    /// One that it had is gone.
    pub(super) fn leave(&mut self, number: u16) {
        let Some(held) = self.held.get_mut(usize::from(number)) else { return };
        self.busy -= usize::from(*held == 1);
        *held = held.saturating_sub(1);
    }

    /// Whether an account has less than half of an equal share of `room`.
    pub(super) fn is_light(&self, name: &str, room: usize) -> bool {
        let number = self.numbers.get(name).map(|&number| usize::from(number));
        let held = number.and_then(|number| self.held.get(number)).copied().unwrap_or(0);
        let sharers = self.busy + usize::from(held == 0);
        held < room / sharers.saturating_mul(2)
    }

    fn number(&mut self, name: &Arc<str>) -> u16 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.next;
        self.next = self.next.saturating_add(1);
        self.numbers.insert(Arc::clone(name), number);
        number
    }
}

/// The list of targets of a delivery that has no choice, or whose choice is not known.
pub(super) const ONE_WAY: u16 = 0;

/// Lists of targets, and how many deliveries have each.
#[derive(Debug, Default)]
pub(super) struct Ways {
    numbers: HashMap<Box<[Arc<str>]>, u16>,
    lists: Vec<(Box<[Arc<str>]>, usize)>,
}

impl Ways {
    /// The number of a list, and one more that has it.
    pub(super) fn enter(&mut self, targets: &[Arc<str>]) -> u16 {
        if targets.len() < 2 {
            return ONE_WAY;
        }
        let number = self.numbers.get(targets).copied().or_else(|| {
            let number = u16::try_from(self.lists.len() + 1).ok()?;
            let list: Box<[Arc<str>]> = targets.into();
            self.numbers.insert(list.clone(), number);
            self.lists.push((list, 0));
            Some(number)
        });
        let Some(number) = number else { return ONE_WAY };
        self.count(number, |count| count + 1);
        number
    }

    /// One that had it is gone.
    pub(super) fn leave(&mut self, number: u16) {
        self.count(number, |count| count.saturating_sub(1));
    }

    /// For each number whether somebody has a list that `usable` likes; none if nobody has.
    pub(super) fn usable(&self, usable: impl Fn(&[Arc<str>]) -> bool) -> Option<Vec<bool>> {
        let wanted = self.lists.iter().map(|(list, count)| *count > 0 && usable(list));
        let all: Vec<bool> = std::iter::once(false).chain(wanted).collect();
        all.contains(&true).then_some(all)
    }

    fn count(&mut self, number: u16, change: impl Fn(usize) -> usize) {
        let at = usize::from(number).checked_sub(1);
        if let Some((_, count)) = at.and_then(|at| self.lists.get_mut(at)) {
            *count = change(*count);
        }
    }
}

/// The reason of a delivery that was never tried.
pub(super) const UNTRIED: u16 = 0;
/// The reason of all for which there was no number.
const OTHERS: u16 = 1;

/// Why deliveries wait, and how many for each reason.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    numbers: HashMap<Arc<str>, u16>,
    known: HashMap<u16, (Arc<str>, usize)>,
    untried: usize,
    others: usize,
}

/// Deliveries of one target that wait for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What the last attempt said; none for those that were never tried.
    pub why: Option<Arc<str>>,
    /// How many.
    pub count: usize,
    /// One of them.
    pub example: MessageId,
}

impl Reasons {
    /// The number of a reason, and one more that has it.
    pub(super) fn enter(&mut self, why: Option<Arc<str>>) -> u16 {
        let Some(why) = why else {
            self.untried += 1;
            return UNTRIED;
        };
        let number = self.numbers.get(&why).copied().unwrap_or_else(|| self.new_number(&why));
        match self.known.get_mut(&number) {
            Some((_, count)) => *count += 1,
            None => self.others += 1,
        }
        number
    }

    fn new_number(&mut self, why: &Arc<str>) -> u16 {
        if self.known.len() >= REASONS_MAX {
            return OTHERS;
        }
        let most = u16::try_from(REASONS_MAX).unwrap_or(u16::MAX);
        let free = (2..most.saturating_add(2)).find(|number| !self.known.contains_key(number));
        let Some(number) = free else { return OTHERS };
        self.numbers.insert(Arc::clone(why), number);
        self.known.insert(number, (Arc::clone(why), 0));
        number
    }

    /// One that had it is gone.
    pub(super) fn leave(&mut self, number: u16) {
        match number {
            UNTRIED => self.untried = self.untried.saturating_sub(1),
            OTHERS => self.others = self.others.saturating_sub(1),
            number => {
                let Some((why, count)) = self.known.get_mut(&number) else { return };
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.numbers.remove(why);
                    self.known.remove(&number);
                }
            }
        }
    }

    /// All of them: number, text and count. Those without a number of their own come under one text.
    pub(super) fn all(&self) -> Vec<(u16, Option<Arc<str>>, usize)> {
        let mut all: Vec<_> = self
            .numbers
            .values()
            .filter_map(|&number| {
                let (why, count) = self.known.get(&number)?;
                Some((number, Some(Arc::clone(why)), *count))
            })
            .collect();
        if self.others > 0 {
            all.push((OTHERS, Some("other reasons".into()), self.others));
        }
        if self.untried > 0 {
            all.push((UNTRIED, None, self.untried));
        }
        all.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.1.cmp(&b.1)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_counted_and_only_so_many_are_told_apart() {
        let mut reasons = Reasons::default();
        let untried = reasons.enter(None);
        let numbers: Vec<u16> =
            (0..REASONS_MAX + 10).map(|n| reasons.enter(Some(n.to_string().into()))).collect();
        let all = reasons.all();
        assert_eq!(all.iter().map(|(.., count)| count).sum::<usize>(), REASONS_MAX + 11);
        assert_eq!(all[0], (1, Some("other reasons".into()), 10));
        for number in numbers {
            reasons.leave(number);
        }
        reasons.leave(untried);
        assert_eq!(reasons.all(), []);
        let number = reasons.enter(Some("again".into()));
        assert_eq!(reasons.all(), [(number, Some("again".into()), 1)]);
    }

    #[test]
    fn who_has_less_than_half_of_an_equal_share_is_light() {
        let mut names = Names::new(["".into(), "smsc".into()]);
        let (big, small): (Arc<str>, Arc<str>) = ("big".into(), "small".into());
        assert!(names.is_light("big", 100));
        let numbers: Vec<u16> = (0..50).map(|_| names.enter(&big)).collect();
        assert!(!names.is_light("big", 100), "alone, and it has half of all");
        assert!(names.is_light("big", 102));
        assert!(names.is_light("", 100) && names.is_light("small", 100));
        let one = names.enter(&small);
        assert!(names.is_light("small", 8) && !names.is_light("small", 4));
        names.leave(one);
        numbers.into_iter().for_each(|number| names.leave(number));
        assert_eq!(names.busy, 0);
        assert!(names.is_light("big", 2) && !names.is_light("big", 1));
    }

    #[test]
    fn a_list_is_usable_while_somebody_has_it() {
        let list = |names: &[&str]| names.iter().map(|&name| Arc::from(name)).collect::<Vec<_>>();
        let mut ways = Ways::default();
        assert_eq!(ways.enter(&list(&["a"])), ONE_WAY);
        let number = ways.enter(&list(&["a", "b"]));
        assert_eq!(ways.enter(&list(&["a", "b"])), number);
        let to = |name: &'static str| move |list: &[Arc<str>]| list.iter().any(|t| **t == *name);
        assert_eq!(ways.usable(to("b")), Some(vec![false, true]));
        assert_eq!(ways.usable(to("c")), None);
        ways.leave(number);
        ways.leave(number);
        assert_eq!(ways.usable(to("b")), None);
    }
}
