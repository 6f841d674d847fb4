//! In which order the targets of a route are tried. All orders that a route can give are made when
//! it is compiled, so that choosing one copies nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::{Action, Name, Prices, Strategy, TargetRef};

use super::evaluate::spread;
use super::facts::{Fact, Facts};

/// The orders of one route.
#[derive(Debug)]
pub(super) enum Orders {
    /// It sends nowhere.
    None,
    /// Always this one.
    One(Arc<[Name]>),
    /// The next one for each message.
    InTurn(Vec<Arc<[Name]>>, AtomicUsize),
    /// Drawn by weight; each order with the sum of weights up to and with it.
    Drawn(Vec<(u64, Arc<[Name]>)>),
    /// By the recipient; each order with a number of its first target.
    ByRecipient(Vec<(u64, Arc<[Name]>)>),
    /// By a price list.
    ByPrice(Arc<Prices>),
}

impl Orders {
    /// The orders of what a route does.
    pub(super) fn of(action: &Action) -> Self {
        let Action::Send(strategy, targets) = action else { return Self::None };
        match strategy {
            Strategy::LeastCost(prices) => Self::ByPrice(Arc::clone(prices)),
            Strategy::Failover => Self::One(names(targets.iter())),
            _ if targets.len() == 1 => Self::One(names(targets.iter())),
            Strategy::RoundRobin => {
                let orders = (0..targets.len()).map(|first| rotated(targets, first)).collect();
                Self::InTurn(orders, AtomicUsize::new(0))
            }
            Strategy::Weighted => Self::drawn(targets),
            Strategy::Hash => {
                let orders = (0..targets.len()).map(|first| rotated(targets, first));
                let seeds = targets.iter().map(|target| hash(&target.name));
                Self::ByRecipient(seeds.zip(orders).collect())
            }
        }
    }

    /// One target by its weight, then the others by theirs, the heaviest first.
    fn drawn(targets: &[TargetRef]) -> Self {
        let mut by_weight: Vec<&TargetRef> = targets.iter().collect();
        by_weight.sort_by_key(|target| std::cmp::Reverse(target.weight));
        let mut sum = 0;
        let mut orders = Vec::new();
        for first in targets.iter().filter(|target| target.weight > 0) {
            sum += u64::from(first.weight);
            let others = by_weight.iter().copied().filter(|other| other.name != first.name);
            orders.push((sum, names(std::iter::once(first).chain(others))));
        }
        Self::Drawn(orders)
    }

    /// The order for this message and recipient; none if no price is known.
    pub(super) fn choose(&self, facts: &impl Facts) -> Option<Arc<[Name]>> {
        match self {
            Self::None => None,
            Self::One(order) => Some(Arc::clone(order)),
            Self::InTurn(orders, turn) => {
                let turn = turn.fetch_add(1, Ordering::Relaxed);
                orders.get(turn % orders.len().max(1)).map(Arc::clone)
            }
            Self::Drawn(orders) => {
                let (sum, _) = orders.last()?;
                let drawn = draw(facts) % (*sum).max(1);
                orders.iter().find(|(upto, _)| drawn < *upto).map(|(_, order)| Arc::clone(order))
            }
            Self::ByRecipient(orders) => {
                // The target that scores highest for the recipient: when one is added or removed,
                // only the recipients that it gains or loses move.
                let recipient = hash(&facts.recipient().value);
                let best = orders.iter().max_by_key(|(seed, _)| spread(seed ^ recipient));
                best.map(|(_, order)| Arc::clone(order))
            }
            Self::ByPrice(prices) => {
                let targets = prices.targets(&facts.recipient().value)?;
                if targets.is_empty() { None } else { Some(Arc::clone(targets)) }
            }
        }
    }
}

/// A number that is the same for one message and recipient whenever it is asked for.
fn draw(facts: &impl Facts) -> u64 {
    let id = if let Fact::Known(id) = facts.id() { id.as_u64() } else { 0 };
    spread(id ^ hash(&facts.recipient().value))
}

/// FNV-1a: the same on every machine and in every version.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(octet.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
    })
}

fn names<'t>(targets: impl Iterator<Item = &'t TargetRef>) -> Arc<[Name]> {
    targets.map(|target| Name::clone(&target.name)).collect()
}

fn rotated(targets: &[TargetRef], first: usize) -> Arc<[Name]> {
    names(targets.iter().cycle().skip(first).take(targets.len()))
}
