//! `tables`: named lists of keys and values that routes and plugins look things up in.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::check::Check;
use super::keys::{Key, Kind, Schema, key};
use super::scalar::{Name, Network};
use super::section::Section;

/// A key as it is kept and asked for: that of a mailbox in normal form.
fn normal(key: &str) -> Cow<'_, str> {
    if key.contains('@') { message::normal_mailbox(key) } else { Cow::Borrowed(key) }
}

/// One entry of `tables`, loaded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    rows: HashMap<Box<str>, Arc<str>>,
    /// Lengths of keys in octets, the longest first, so that a prefix search asks only for those.
    key_lengths: Vec<usize>,
    /// Networks of one family and one length of prefix, the longest first: an address is looked for in
    /// each of them, however many networks they are.
    networks: Vec<Networks>,
}

#[derive(Debug, Clone, PartialEq)]
struct Networks {
    is_v6: bool,
    prefix: u8,
    by_bits: HashMap<u128, Arc<str>>,
}

impl Table {
    /// A table of these rows; of two rows with one key the last one stays.
    pub fn new(rows: impl IntoIterator<Item = (Box<str>, Arc<str>)>) -> Self {
        let mut table = Self::default();
        for (key, value) in rows {
            if let Ok(network) = Network::parse(&key) {
                table.add(&network, &value);
            }
            let key = Box::from(normal(&key));
            table.key_lengths.push(str::len(&key));
            table.rows.insert(key, value);
        }
        table.key_lengths.sort_unstable_by(|a, b| b.cmp(a));
        table.key_lengths.dedup();
        // The most specific network answers.
        table.networks.sort_by_key(|networks| std::cmp::Reverse(networks.prefix));
        table
    }

    fn add(&mut self, network: &Network, value: &Arc<str>) {
        let (is_v6, prefix) = (network.is_v6(), network.prefix());
        let alike = |networks: &&mut Networks| networks.is_v6 == is_v6 && networks.prefix == prefix;
        let value = Arc::clone(value);
        match self.networks.iter_mut().find(alike) {
            // Of two ways to write one network the first answers.
            Some(networks) => {
                networks.by_bits.entry(network.bits()).or_insert(value);
            }
            None => {
                let by_bits = HashMap::from([(network.bits(), value)]);
                self.networks.push(Networks { is_v6, prefix, by_bits });
            }
        }
    }

    /// The value of this very key.
    #[must_use]
    pub fn lookup(&self, key: &str) -> Option<&Arc<str>> {
        self.rows.get(&*normal(key))
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
        let address = address.to_canonical();
        let mut networks = self.networks.iter().filter(|it| it.is_v6 == address.is_ipv6());
        networks.find_map(|it| it.by_bits.get(&Network::bits_of(address, it.prefix)))
    }

    /// Whether some keys are digits and none begins with the + of an international number.
    #[must_use]
    pub fn has_bare_numbers(&self) -> bool {
        let is_digits = |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit());
        let mut keys = self.rows.keys();
        keys.clone().any(|key| is_digits(key)) && !keys.any(|key| key.starts_with('+'))
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

static KEYS: Schema = Schema {
    about: "A named list of keys and values that routes and plugins look things up in, by key, by longest prefix or by address.",
    keys: &[
        key(
            "file",
            Kind::Path,
            "A file with a line `key,value` for each row; lines that begin with `#` do not count.",
        ),
        key("rows", Kind::MapOf("a key", &Kind::Text), "The rows themselves."),
    ],
};

/// The key at the top of the file.
pub(super) const TOP: Key = key("tables", Kind::Named(&KEYS), KEYS.about);

/// The largest file of a table, in octets.
const FILE_OCTETS_MAX: u64 = 256 << 20;

impl Table {
    /// Reads all of `tables`.
    pub(super) fn read_all(check: &mut Check, top: &Section<'_>) -> BTreeMap<Name, Arc<Self>> {
        let mut tables = BTreeMap::new();
        for (name, place, node) in top.named(check, "tables") {
            let section = Section::open(check, &KEYS, node, format!("tables.{name}"));
            if section.has("file") == section.has("rows") {
                let path = &section.path;
                check.error(place, format!("{path} needs one of file and rows"));
            }
            let mut rows = read_file(check, &section);
            rows.extend(read_rows(check, &section));
            tables.insert(name, Arc::new(Self::new(rows)));
        }
        tables
    }

    /// Keys and values in no order that matters.
    pub(super) fn rows(&self) -> Vec<(&str, &Arc<str>)> {
        let mut rows: Vec<_> = self.rows.iter().map(|(key, value)| (&**key, value)).collect();
        rows.sort_unstable();
        rows
    }
}

fn read_file(check: &mut Check, section: &Section<'_>) -> Vec<(Box<str>, Arc<str>)> {
    let Some(path) = section.opt_path(check, "file") else { return Vec::new() };
    let place = section.opt("file").map_or(section.place, |node| node.place);
    let at = section.at("file");
    let text = match check.read_source(&path, FILE_OCTETS_MAX) {
        Ok(read) => read.text,
        Err(problem) => {
            check.error(place, format!("{at}: cannot read {}: {problem}", path.display()));
            return Vec::new();
        }
    };
    let mut rows = Vec::new();
    let mut keys = std::collections::HashSet::new();
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once(',').unwrap_or((line, ""));
        let (key, value) = (key.trim(), value.trim());
        if !keys.insert(key) {
            check.error(place, format!("{at}: line {number}: \"{key}\" is there twice"));
        }
        rows.push((key.into(), value.into()));
    }
    rows
}

fn read_rows(check: &mut Check, section: &Section<'_>) -> Vec<(Box<str>, Arc<str>)> {
    let Some(node) = section.opt("rows") else { return Vec::new() };
    let mut rows = Vec::new();
    for (key, value) in node.entries().unwrap_or_default() {
        match (key.text(), value.text()) {
            (Some(key), Some(value)) => rows.push((key.into(), value.into())),
            _ => check.error(key.place, format!("{} has single values only", section.at("rows"))),
        }
    }
    if node.entries().is_none() {
        check.error(node.place, format!("{} is a map", section.at("rows")));
    }
    rows
}

impl Prices {
    /// Reads a table whose values are `target=price target=price`, and sorts each by price.
    ///
    /// # Errors
    ///
    /// A sentence about the first row that says something else.
    pub(super) fn from_table(table: &Table) -> Result<Self, String> {
        let mut rows = Vec::new();
        for (key, value) in table.rows() {
            let mut offers = Vec::new();
            for offer in value.split_whitespace() {
                let price = offer.split_once('=').and_then(|(target, price)| {
                    let price: f64 = price.parse().ok()?;
                    (price.is_finite() && !target.is_empty()).then_some((price, Name::from(target)))
                });
                offers.push(price.ok_or_else(|| {
                    format!("the row \"{key}\" has \"{offer}\", which is not target=price")
                })?);
            }
            offers.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            let targets: Arc<[Name]> = offers.into_iter().map(|(_, target)| target).collect();
            rows.push((key.into(), targets));
        }
        Ok(Self::new(rows))
    }

    /// Every target that the list names.
    pub(super) fn names(&self) -> std::collections::BTreeSet<Name> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_unstable();
        rows.into_iter().flat_map(|(_, targets)| targets.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[track_caller]
    fn check(address: &str, expect: Option<&str>) {
        let rows = [
            ("10.0.0.0/8", "office"),
            ("10.1.0.0/16", "branch"),
            ("10.1.2.3", "printer"),
            ("10.1.2.3/32", "never"),
            ("0.0.0.0/0", "elsewhere"),
            ("2001:db8::/32", "documents"),
            ("a word", "no network"),
        ];
        let table = Table::new(rows.map(|(key, value)| (key.into(), value.into())));
        assert_eq!(table.lookup_ip(address.parse().unwrap()).map(|value| &**value), expect);
    }

    #[test]
    fn the_smallest_network_answers() {
        check("10.1.2.3", Some("printer"));
        check("10.1.2.4", Some("branch"));
        check("10.2.0.0", Some("office"));
        check("::ffff:10.2.0.0", Some("office"));
        check("192.0.2.1", Some("elsewhere"));
        check("2001:db8::1", Some("documents"));
        check("2001:db9::1", None);
    }
}
