//! `tables`: named lists of keys and values that routes and plugins look things up in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::scalar::{Name, Network};

/// One entry of `tables`, loaded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    rows: HashMap<Box<str>, Arc<str>>,
    /// Lengths of keys in octets, the longest first, so that a prefix search asks only for those.
    key_lengths: Vec<usize>,
    networks: Vec<(Network, Arc<str>)>,
}

impl Table {
    /// A table of these rows; of two rows with one key the last one stays.
    pub fn new(rows: impl IntoIterator<Item = (Box<str>, Arc<str>)>) -> Self {
        let mut table = Self::default();
        for (key, value) in rows {
            if let Ok(network) = Network::parse(&key) {
                table.networks.push((network, Arc::clone(&value)));
            }
            table.key_lengths.push(key.len());
            table.rows.insert(key, value);
        }
        table.key_lengths.sort_unstable_by(|a, b| b.cmp(a));
        table.key_lengths.dedup();
        // The most specific network answers.
        table.networks.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix()));
        table
    }

    /// The value of this very key.
    #[must_use]
    pub fn lookup(&self, key: &str) -> Option<&Arc<str>> {
        self.rows.get(key)
    }

    /// The longest key that `text` begins with, and its value.
    #[must_use]
    pub fn lookup_prefix<'a>(&self, text: &'a str) -> Option<(&'a str, &Arc<str>)> {
        self.key_lengths.iter().find_map(|&length| {
            let prefix = text.get(..length)?;
            Some((prefix, self.rows.get(prefix)?))
        })
    }

    /// The value of the smallest network that the address lies in.
    #[must_use]
    pub fn lookup_ip(&self, address: IpAddr) -> Option<&Arc<str>> {
        self.networks.iter().find(|(network, _)| network.contains(address)).map(|(_, value)| value)
    }

    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// A price list for `least_cost`: by prefix of the recipient, targets from the cheapest on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prices {
    rows: HashMap<Box<str>, Arc<[Name]>>,
    key_lengths: Vec<usize>,
}

impl Prices {
    /// A price list of these rows.
    pub fn new(rows: impl IntoIterator<Item = (Box<str>, Arc<[Name]>)>) -> Self {
        let mut prices = Self::default();
        for (key, targets) in rows {
            prices.key_lengths.push(key.len());
            prices.rows.insert(key, targets);
        }
        prices.key_lengths.sort_unstable_by(|a, b| b.cmp(a));
        prices.key_lengths.dedup();
        prices
    }

    /// Targets for this recipient, the cheapest first.
    #[must_use]
    pub fn targets(&self, recipient: &str) -> Option<&Arc<[Name]>> {
        self.key_lengths.iter().find_map(|&length| self.rows.get(recipient.get(..length)?))
    }
}
