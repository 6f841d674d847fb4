//! Which routes can take a recipient at all: by its exact address, its prefixes and its domain.
//!
//! A route goes into the index by what its condition demands of the recipient; one that demands
//! nothing that can be looked up stands in the list of those that are always tried.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::config::{AddressPattern, Condition};

/// Numbers of routes, ascending.
type Numbers = Vec<u32>;

/// The index.
#[derive(Debug, Default)]
pub(super) struct Index {
    always: Numbers,
    exact: HashMap<Box<str>, Numbers>,
    prefix: HashMap<Box<str>, Numbers>,
    /// Lengths of the prefixes in octets, ascending.
    prefix_lengths: Vec<usize>,
    domain: HashMap<Box<str>, Numbers>,
    /// Domains whose subdomains are meant.
    below: HashMap<Box<str>, Numbers>,
}

enum Demand<'c> {
    Exact(&'c str),
    Prefix(Cow<'c, str>),
    Domain(&'c str),
    Below(&'c str),
}

impl Index {
    /// An index of these conditions, numbered in their order.
    pub(super) fn build<'c>(conditions: impl Iterator<Item = &'c Condition>) -> Self {
        let mut index = Self::default();
        for (condition, number) in conditions.zip(0_u32..) {
            match demands(condition) {
                None => index.always.push(number),
                Some(demands) => {
                    for demand in demands {
                        index.insert(&demand, number);
                    }
                }
            }
        }
        index.prefix_lengths.sort_unstable();
        index.prefix_lengths.dedup();
        index
    }

    fn insert(&mut self, demand: &Demand<'_>, number: u32) {
        let numbers = match demand {
            Demand::Exact(text) => self.exact.entry((*text).into()).or_default(),
            Demand::Prefix(text) => {
                self.prefix_lengths.push(text.len());
                self.prefix.entry(text.as_ref().into()).or_default()
            }
            Demand::Domain(text) => self.domain.entry((*text).into()).or_default(),
            Demand::Below(text) => self.below.entry((*text).into()).or_default(),
        };
        // Two demands of one route may be the same.
        if numbers.last() != Some(&number) {
            numbers.push(number);
        }
    }

    /// Numbers of the routes that may take this recipient, in their order.
    pub(super) fn candidates(&self, recipient: &str) -> Candidates<'_> {
        let lower = if recipient.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(recipient.to_ascii_lowercase())
        } else {
            Cow::Borrowed(recipient)
        };
        let mut lists: Vec<&[u32]> = Vec::with_capacity(8);
        lists.push(&self.always);
        lists.extend(self.exact.get(lower.as_ref()).map(Vec::as_slice));
        for length in &self.prefix_lengths {
            match lower.get(..*length) {
                Some(prefix) => lists.extend(self.prefix.get(prefix).map(Vec::as_slice)),
                None if *length > lower.len() => break,
                None => {}
            }
        }
        if let Some((_, domain)) = lower.rsplit_once('@') {
            lists.extend(self.domain.get(domain).map(Vec::as_slice));
            let mut parent = domain;
            while !self.below.is_empty()
                && let Some((_, next)) = parent.split_once('.')
            {
                parent = next;
                lists.extend(self.below.get(parent).map(Vec::as_slice));
            }
        }
        Candidates { lists }
    }
}

/// Several ascending lists as one, without repeats.
pub(super) struct Candidates<'i> {
    lists: Vec<&'i [u32]>,
}

impl Iterator for Candidates<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let next = self.lists.iter().filter_map(|list| list.first()).min().copied()?;
        for list in &mut self.lists {
            if let Some((first, rest)) = list.split_first()
                && *first == next
            {
                *list = rest;
            }
        }
        usize::try_from(next).ok()
    }
}

/// What the condition demands of the recipient: one of these holds whenever the condition does.
/// `None` if nothing can be said.
fn demands(condition: &Condition) -> Option<Vec<Demand<'_>>> {
    match condition {
        Condition::To(patterns) => patterns.iter().map(demand).collect(),
        Condition::All(all) => all.iter().filter_map(demands).min_by_key(Vec::len),
        Condition::Any(any) => {
            let each: Option<Vec<Vec<Demand<'_>>>> = any.iter().map(demands).collect();
            each.map(|each| each.into_iter().flatten().collect())
        }
        _ => None,
    }
}

fn demand(pattern: &AddressPattern) -> Option<Demand<'_>> {
    match pattern {
        AddressPattern::Exact(text) => Some(Demand::Exact(text)),
        AddressPattern::Prefix(text) => Some(Demand::Prefix(Cow::Borrowed(text))),
        AddressPattern::Domain(text, false) => Some(Demand::Domain(text)),
        AddressPattern::Domain(text, true) => Some(Demand::Below(text)),
        AddressPattern::Glob(glob) => {
            let prefix = glob.literal_prefix();
            if prefix.is_empty() { None } else { Some(Demand::Prefix(Cow::Owned(prefix))) }
        }
        AddressPattern::Regex(_) | AddressPattern::Table(..) | AddressPattern::Kind(_) => None,
    }
}
