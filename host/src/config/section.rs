//! Reading one map of the YAML by its table of keys.
//!
//! Opening a section reports what it lacks and what nobody knows. Every reader below reports a wrong
//! value and goes on with the default, so that one mistake hides no other; a configuration with an
//! error is never used.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::address_template::AddressTemplate;
use super::check::{Check, Kindred};
use super::finding::did_you_mean;
use super::keys::{Key, Kind, Schema};
use super::pem::PemFile;
use super::scalar::{
    Name, Network, Rate, Secret, parse_duration, parse_rate, parse_size, spell_duration, spell_size,
};
use super::yaml::{Node, Place, Value};

/// An open section.
#[derive(Debug)]
pub(super) struct Section<'n> {
    schema: &'static Schema,
    /// For example `listeners.mail.smtp`; empty at the top.
    pub(super) path: String,
    pub(super) place: Place,
    entries: &'n [(Node, Node)],
}

impl<'n> Section<'n> {
    /// Opens a map; reports unknown keys and missing ones.
    pub(super) fn open(
        check: &mut Check,
        schema: &'static Schema,
        node: &'n Node,
        path: String,
    ) -> Self {
        let entries = node.entries().unwrap_or_else(|| {
            let at = if path.is_empty() { "the file" } else { &path };
            check.error(node.place, format!("{at} is a map of keys, not {}", node.kind()));
            &[]
        });
        let section = Self { schema, path, place: node.place, entries };
        for (key, value) in entries {
            section.check_key(check, key);
            section.check_empty(check, key, value);
        }
        if node.entries().is_some() {
            for key in schema.keys.iter().filter(|key| key.required) {
                if section.opt(key.name).is_none() {
                    let path = section.at(key.name);
                    check.error_with(section.place, format!("{path} is missing"), key.about);
                }
            }
        }
        section
    }

    /// A section that nobody wrote, to read the defaults of its table.
    pub(super) fn open_quietly(schema: &'static Schema, node: &'n Node, path: String) -> Self {
        Self { schema, path, place: node.place, entries: node.entries().unwrap_or_default() }
    }

    fn check_key(&self, check: &mut Check, key: &Node) {
        let Some(name) = key.text() else {
            check.error(key.place, format!("a key is a single word, not {}", key.kind()));
            return;
        };
        if self.schema.key(name).is_some() {
            return;
        }
        let inside =
            if self.path.is_empty() { String::new() } else { format!(" in {}", self.path) };
        let known = || self.schema.keys.iter().map(|key| key.name);
        let remedy = match did_you_mean(name, known()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("there is {}", known().collect::<Vec<_>>().join(", ")),
        };
        check.error_with(key.place, format!("unknown key \"{name}\"{inside}"), remedy);
    }

    /// A list, pattern or secret without anything in it names nothing; left out it would mean everything
    /// or have a default. Lines that somebody commented out must not open a door.
    fn check_empty(&self, check: &mut Check, key: &Node, value: &Node) {
        let Some(key) = key.text().and_then(|name| self.schema.key(name)) else { return };
        let limits = matches!(
            key.kind,
            Kind::Several(_) | Kind::AddressPattern | Kind::TextPattern | Kind::Secret
        );
        let empty = match &value.value {
            Value::Null => true,
            Value::List(items) => items.is_empty() && !key.may_be_empty,
            Value::Scalar(_) | Value::Map(_) => false,
        };
        if limits && empty {
            let path = self.at(key.name);
            check.error_with(
                value.place,
                format!("{path} is empty, which names nothing"),
                format!("say what {} is, or leave the key out", key.name),
            );
        }
    }

    /// The same section under a path that its own content gives it.
    pub(super) fn renamed(self, path: String) -> Self {
        Self { path, ..self }
    }

    /// The name that an entry of a list gives itself; empty if it has none, which is noted.
    pub(super) fn own_name(&self, check: &mut Check, name: &str) -> Name {
        let Some(text) = self.opt_text(check, name) else { return "".into() };
        check_name(&text).unwrap_or_else(|problem| {
            let place = self.opt(name).map_or(self.place, |node| node.place);
            check.error(place, format!("{}: {problem}", self.at(name)));
            "".into()
        })
    }

    /// The path of a key in this section, for a message.
    pub(super) fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The node of a key, if it is there and not empty.
    pub(super) fn opt(&self, name: &str) -> Option<&'n Node> {
        debug_assert!(self.schema.key(name).is_some(), "{} is not declared", self.at(name));
        let (_, node) = self.entries.iter().find(|(key, _)| key.text() == Some(name))?;
        if matches!(node.value, Value::Null) { None } else { Some(node) }
    }

    /// Whether the key is there and not empty.
    pub(super) fn has(&self, name: &str) -> bool {
        self.opt(name).is_some()
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        self.schema.key(name)
    }

    /// The text of a key as written or, failing that, as in the table.
    fn spelled(&self, check: &mut Check, name: &str) -> Option<(&'n str, Option<Place>)> {
        if let Some(node) = self.opt(name) {
            if let Some(text) = node.text() {
                return Some((text, Some(node.place)));
            }
            let kind = node.kind();
            check.error(node.place, format!("{} is a single value, not {kind}", self.at(name)));
        }
        let default = self.key(name).map_or("", |key| key.default);
        if default.is_empty() { None } else { Some((default, None)) }
    }

    /// Reads a key by `read`; `None` if it is left out and has no default.
    fn parsed<T>(
        &self,
        check: &mut Check,
        name: &str,
        read: impl Fn(&str, Option<Kind>) -> Result<T, String>,
    ) -> Option<T> {
        let (text, place) = self.spelled(check, name)?;
        let kind = self.key(name).map(|key| key.kind);
        match read(text, kind) {
            Ok(value) => Some(value),
            Err(problem) => {
                let place = place.unwrap_or(self.place);
                check.error(place, format!("{}: {problem}", self.at(name)));
                let default = self.key(name).map_or("", |key| key.default);
                read(default, kind).ok()
            }
        }
    }

    /// A whole number, 0 if it is left out and has no default.
    pub(super) fn int<T: TryFrom<u64> + Default>(&self, check: &mut Check, name: &str) -> T {
        self.opt_int(check, name).unwrap_or_default()
    }

    /// A whole number, if there is one.
    pub(super) fn opt_int<T: TryFrom<u64>>(&self, check: &mut Check, name: &str) -> Option<T> {
        self.parsed(check, name, |text, kind| {
            let (min, max) =
                if let Some(Kind::Int(min, max)) = kind { (min, max) } else { (0, u64::MAX) };
            let value = parse_int(text)?;
            if !(min..=max).contains(&value) {
                return Err(format!("{value} is not in {min} to {max}"));
            }
            T::try_from(value).map_err(|_error| format!("{value} is too large"))
        })
    }

    /// A decimal number.
    pub(super) fn decimal(&self, check: &mut Check, name: &str) -> f64 {
        let read = |text: &str, kind: Option<Kind>| {
            let (min, max) =
                if let Some(Kind::Decimal(min, max)) = kind { (min, max) } else { (0.0, 1.0) };
            let value: f64 =
                text.parse().map_err(|_error| format!("\"{text}\" is not a number"))?;
            if (min..=max).contains(&value) {
                Ok(value)
            } else {
                Err(format!("{value} is not in {min} to {max}"))
            }
        };
        self.parsed(check, name, read).unwrap_or_default()
    }

    /// A duration, zero if it is left out and has no default.
    pub(super) fn duration(&self, check: &mut Check, name: &str) -> Duration {
        self.opt_duration(check, name).unwrap_or_default()
    }

    /// A duration, if there is one.
    pub(super) fn opt_duration(&self, check: &mut Check, name: &str) -> Option<Duration> {
        self.parsed(check, name, |text, kind| {
            let range =
                if let Some(Kind::Duration(min, max)) = kind { Some((min, max)) } else { None };
            in_duration_range(parse_duration(text)?, range)
        })
    }

    /// Octets, if given.
    pub(super) fn size(&self, check: &mut Check, name: &str) -> u64 {
        let read = |text: &str, kind: Option<Kind>| {
            let octets = parse_size(text)?;
            if let Some(Kind::Size(min, max)) = kind
                && !(min..=max).contains(&octets)
            {
                let (min, max) = (spell_size(min), spell_size(max));
                return Err(format!("{text} is not in {min} to {max}"));
            }
            Ok(octets)
        };
        self.parsed(check, name, read).unwrap_or_default()
    }

    /// Messages in time, if there is a limit.
    pub(super) fn rate(&self, check: &mut Check, name: &str) -> Option<Rate> {
        self.parsed(check, name, |text, _| parse_rate(text))
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, check: &mut Check, name: &str) -> bool {
        let read = |text: &str, _| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("\"{text}\" is neither true nor false")),
        };
        self.parsed(check, name, read).unwrap_or_default()
    }

    /// One of these words; the first if the key is left out and has no default.
    pub(super) fn word<T: Copy, const N: usize>(
        &self,
        check: &mut Check,
        name: &str,
        words: &[(&str, T); N],
    ) -> T {
        const { assert!(N > 0, "a key of words takes at least one word") };
        debug_assert!(
            matches!(self.key(name).map(|key| key.kind), Some(Kind::Word(declared))
                if declared.iter().eq(words.iter().map(|(word, _)| word))),
            "{} takes other words than declared",
            self.at(name)
        );
        self.parsed(check, name, |text, _| find_word(text, words)).unwrap_or(words[0].1)
    }

    /// One of these words, if the key is there.
    pub(super) fn opt_word<T: Copy>(
        &self,
        check: &mut Check,
        name: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        self.parsed(check, name, |text, _| find_word(text, words))
    }

    /// A text, if there is one.
    pub(super) fn opt_text(&self, check: &mut Check, name: &str) -> Option<Arc<str>> {
        self.parsed(check, name, |text, kind| {
            if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
                return Err("control characters cannot stand here".to_owned());
            }
            match kind {
                Some(Kind::Octets(max)) if text.len() > max => {
                    Err(format!("\"{text}\" is {} octets long; at most {max} fit", text.len()))
                }
                _ => Ok(Arc::from(text)),
            }
        })
    }

    /// A text, empty if there is none.
    pub(super) fn text(&self, check: &mut Check, name: &str) -> Arc<str> {
        self.opt_text(check, name).unwrap_or_else(|| Arc::from(""))
    }

    /// A file or folder, if there is one.
    pub(super) fn opt_path(&self, check: &mut Check, name: &str) -> Option<PathBuf> {
        let text = self.opt_text(check, name)?;
        Some(check.resolve(&text))
    }

    /// A file that must be there, if the key is.
    pub(super) fn opt_file(&self, check: &mut Check, name: &str) -> Option<PathBuf> {
        let path = self.opt_path(check, name)?;
        if check.options.environment && !path.is_file() {
            let place = self.opt(name).map_or(self.place, |node| node.place);
            check.error(place, format!("{}: there is no file {}", self.at(name), path.display()));
        }
        check.files.push(path.clone());
        Some(path)
    }

    /// A file of certificates or a key that must be there, if the key is.
    pub(super) fn opt_pem(&self, check: &mut Check, name: &str) -> Option<PemFile> {
        let path = self.opt_file(check, name)?;
        Some(if check.options.environment { PemFile::read(path) } else { path.into() })
    }

    /// A template in which the places of the table may stand.
    pub(super) fn opt_template(&self, check: &mut Check, name: &str) -> Option<AddressTemplate> {
        self.parsed(check, name, |text, kind| {
            let known = if let Some(Kind::Template(known)) = kind { known } else { &[] };
            AddressTemplate::parse(text, known)
        })
    }

    /// A template for a text.
    pub(super) fn opt_text_template(
        &self,
        check: &mut Check,
        name: &str,
    ) -> Option<message::mail::Template> {
        self.parsed(check, name, |text, _| {
            message::mail::Template::parse(text).map_err(|error| error.to_string())
        })
    }

    /// Sockets to bind.
    pub(super) fn sockets(&self, check: &mut Check, name: &str) -> Vec<SocketAddr> {
        let read = |text: &str| {
            text.parse().map_err(|_error| {
                format!("\"{text}\" is not ADDRESS:PORT, such as 127.0.0.1:2525 or [::]:2525")
            })
        };
        self.several(check, name, read)
    }

    /// Networks; none if the key is left out.
    pub(super) fn networks(&self, check: &mut Check, name: &str) -> Vec<Network> {
        self.several(check, name, Network::parse)
    }

    /// One or several values, read by `read`.
    pub(super) fn several<T>(
        &self,
        check: &mut Check,
        name: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut values = Vec::new();
        for item in self.opt(name).map_or(&[][..], Node::items) {
            match item.text().map(&read) {
                Some(Ok(value)) => values.push(value),
                Some(Err(problem)) => {
                    check.error(item.place, format!("{}: {problem}", self.at(name)));
                }
                None => {
                    let kind = item.kind();
                    check.error(
                        item.place,
                        format!("{} takes single values, not {kind}", self.at(name)),
                    );
                }
            }
        }
        values
    }

    /// Names of other entries, which are looked up later; `None` if the key is left out.
    pub(super) fn names(&self, check: &mut Check, name: &str, to: Kindred) -> Option<Vec<Name>> {
        let node = self.opt(name)?;
        let mut names = Vec::new();
        for item in node.items() {
            names.extend(read_name(check, item, to, || self.at(name)));
        }
        Some(names)
    }

    /// The name of another entry, which is looked up later.
    pub(super) fn name(&self, check: &mut Check, name: &str, to: Kindred) -> Option<Name> {
        read_name(check, self.opt(name)?, to, || self.at(name))
    }

    /// A password or token.
    pub(super) fn opt_secret(&self, check: &mut Check, name: &str) -> Option<Secret> {
        let node = self.opt(name)?;
        super::secret::read(check, node, &self.at(name))
    }

    /// One or several passwords or tokens.
    pub(super) fn secrets(&self, check: &mut Check, name: &str) -> Vec<Secret> {
        let items = self.opt(name).map_or(&[][..], Node::items);
        let path = self.at(name);
        items.iter().filter_map(|node| super::secret::read(check, node, &path)).collect()
    }

    /// A section within this one; the defaults of its table if it is left out.
    pub(super) fn section(&self, check: &mut Check, name: &str, schema: &'static Schema) -> Self {
        match self.opt(name) {
            Some(node) => Self::open(check, schema, node, self.at(name)),
            None => Self { schema, path: self.at(name), place: self.place, entries: &[] },
        }
    }

    /// Names in a map, without a word about those that are none.
    pub(super) fn named_quietly(&self, name: &str) -> Vec<(Name, Place)> {
        let entries = self.opt(name).and_then(Node::entries).unwrap_or_default();
        let names = entries.iter().filter_map(|(key, _)| Some((key.text()?.into(), key.place)));
        names.collect()
    }

    /// A map from names to nodes. A name is letters, digits, `-`, `_` and `.`.
    pub(super) fn named(&self, check: &mut Check, name: &str) -> Vec<(Name, Place, &'n Node)> {
        let Some(node) = self.opt(name) else { return Vec::new() };
        let Some(entries) = node.entries() else {
            let kind = node.kind();
            check.error(node.place, format!("{} is a map of names, not {kind}", self.at(name)));
            return Vec::new();
        };
        let mut named = Vec::new();
        for (key, value) in entries {
            match key.text().map(check_name) {
                Some(Ok(entry)) => named.push((entry, key.place, value)),
                Some(Err(problem)) => {
                    check.error(key.place, format!("{}: {problem}", self.at(name)));
                }
                None => check.error(key.place, format!("a name is a word, not {}", key.kind())),
            }
        }
        named
    }
}

/// Reads a name that refers to another entry, and remembers to look it up.
pub(super) fn read_name(
    check: &mut Check,
    node: &Node,
    to: Kindred,
    path: impl Fn() -> String,
) -> Option<Name> {
    let Some(text) = node.text() else {
        check.error(node.place, format!("{} is a name, not {}", path(), node.kind()));
        return None;
    };
    let name: Name = text.into();
    check.refer(to, &name, node.place, path());
    Some(name)
}

/// The longest name of a listener, account, connector, plugin, table or route.
const NAME_OCTETS_MAX: usize = 64;

/// A name that an operator chose.
pub(super) fn check_name(text: &str) -> Result<Name, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > NAME_OCTETS_MAX || !text.chars().all(fits) {
        return Err(format!(
            "\"{text}\" is no name; a name is 1 to {NAME_OCTETS_MAX} letters, digits, \"-\", \"_\" or \".\""
        ));
    }
    Ok(text.into())
}

/// A whole number, decimal or `0x…`.
pub(super) fn parse_int(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_error| format!("\"{text}\" is not a whole number"))
}

/// The duration, if it is within the range of the table.
pub(super) fn in_duration_range(
    duration: Duration,
    range: Option<(u64, u64)>,
) -> Result<Duration, String> {
    if let Some((min, max)) = range {
        let (min, max) = (Duration::from_millis(min), Duration::from_millis(max));
        if !(min..=max).contains(&duration) {
            let duration = spell_duration(duration);
            let (min, max) = (spell_duration(min), spell_duration(max));
            return Err(format!("{duration} is not in {min} to {max}"));
        }
    }
    Ok(duration)
}

/// The value of a word.
pub(super) fn find_word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let near = did_you_mean(text, all.iter().copied());
    let near = near.map(|word| format!("; did you mean \"{word}\"?")).unwrap_or_default();
    Err(format!("\"{text}\" is none of {}{near}", all.join(", ")))
}
