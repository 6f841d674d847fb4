//! Patterns that addresses and texts are compared with. ASCII letters compare without regard to
//! case; a regular expression decides for itself.

use std::borrow::Cow;
use std::sync::Arc;

use message::{Address, AddressKind};
use regex::Regex;

use super::check::{Check, Kindred};
use super::keys::{Kind, Schema, key};
use super::scalar::Name;
use super::section::{Section, find_word};
use super::server::is_domain;
use super::table::Table;
use super::yaml::Node;

/// A pattern for an address.
#[derive(Debug, Clone)]
pub enum AddressPattern {
    /// This very address, in lower case and normal form.
    Exact(Box<str>),
    /// It begins so, in lower case.
    Prefix(Box<str>),
    /// A mailbox in this domain, in lower case; with `true` in one below it instead.
    Domain(Box<str>, bool),
    /// A shape with `*`, `?` and `[a-z]`.
    Glob(Glob),
    /// A regular expression; it may match anywhere unless it has anchors.
    Regex(Regex),
    /// A key of this table is its longest prefix, with this value if one is given.
    Table(Name, Arc<Table>, Option<Arc<str>>),
    /// What it is.
    Kind(AddressKind),
}

impl AddressPattern {
    /// Whether the address, which is in normal form, is one of those meant.
    #[must_use]
    pub fn matches(&self, address: &Address) -> bool {
        let value: &str = &address.value;
        match self {
            Self::Exact(exact) => value.eq_ignore_ascii_case(exact),
            Self::Prefix(prefix) => begins_with(value, prefix),
            Self::Domain(domain, below) => address.domain().is_some_and(|found| {
                if *below { is_below(found, domain) } else { found.eq_ignore_ascii_case(domain) }
            }),
            Self::Glob(glob) => glob.matches(value),
            Self::Regex(regex) => regex.is_match(value),
            Self::Table(_, table, wanted) => table
                .lookup_prefix(value)
                .is_some_and(|(_, value)| wanted.as_ref().is_none_or(|wanted| wanted == value)),
            Self::Kind(kind) => address.kind == *kind,
        }
    }
}

impl PartialEq for AddressPattern {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) | (Self::Prefix(a), Self::Prefix(b)) => a == b,
            (Self::Domain(a, a_below), Self::Domain(b, b_below)) => a == b && a_below == b_below,
            (Self::Glob(a), Self::Glob(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (Self::Table(_, a, a_value), Self::Table(_, b, b_value)) => {
                a == b && a_value == b_value
            }
            (Self::Kind(a), Self::Kind(b)) => a == b,
            _ => false,
        }
    }
}

/// A pattern for a text: a subject, a header field, a body, a note.
#[derive(Debug, Clone)]
pub enum TextPattern {
    /// The whole text, without regard to ASCII case.
    Exact(Box<str>),
    /// It begins so.
    Prefix(Box<str>),
    /// It has this somewhere; in lower case.
    Contains(Box<str>),
    /// A shape with `*`, `?` and `[a-z]`.
    Glob(Glob),
    /// A regular expression.
    Regex(Regex),
    /// It is there at all (`true`) or missing (`false`).
    Present(bool),
}

impl TextPattern {
    /// Whether the text is one of those meant; `None` is a text that is not there.
    #[must_use]
    pub fn matches(&self, text: Option<&str>) -> bool {
        let Some(text) = text else { return matches!(self, Self::Present(false)) };
        match self {
            Self::Exact(exact) => text.eq_ignore_ascii_case(exact),
            Self::Prefix(prefix) => begins_with(text, prefix),
            Self::Contains(needle) => {
                let needle = needle.as_bytes();
                needle.is_empty()
                    || text.as_bytes().windows(needle.len()).any(|w| w.eq_ignore_ascii_case(needle))
            }
            Self::Glob(glob) => glob.matches(text),
            Self::Regex(regex) => regex.is_match(text),
            Self::Present(present) => *present,
        }
    }
}

impl PartialEq for TextPattern {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b))
            | (Self::Prefix(a), Self::Prefix(b))
            | (Self::Contains(a), Self::Contains(b)) => a == b,
            (Self::Glob(a), Self::Glob(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (Self::Present(a), Self::Present(b)) => a == b,
            _ => false,
        }
    }
}

fn begins_with(text: &str, prefix: &str) -> bool {
    text.as_bytes()
        .get(..prefix.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
}

fn is_below(domain: &str, parent: &str) -> bool {
    let bytes = domain.as_bytes();
    bytes.len().checked_sub(parent.len() + 1).is_some_and(|dot| {
        bytes.get(dot) == Some(&b'.')
            && bytes.get(dot + 1..).is_some_and(|tail| tail.eq_ignore_ascii_case(parent.as_bytes()))
    })
}

/// A shape: `*` stands for any run of characters, `?` for one, `[abc]`, `[a-z]` and `[!a-z]` for one
/// of a set, `\` takes the next character as it is. It covers the whole text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    source: Box<str>,
    tokens: Box<[Token]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Run,
    One,
    Char(char),
    Set(bool, Box<[(char, char)]>),
}

impl Glob {
    /// Reads a shape.
    ///
    /// # Errors
    ///
    /// A sentence about an unclosed set or a `\` at the end.
    pub fn parse(source: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut chars = source.chars();
        while let Some(c) = chars.next() {
            let token = match c {
                '*' if tokens.last() == Some(&Token::Run) => continue,
                '*' => Token::Run,
                '?' => Token::One,
                '[' => parse_set(&mut chars)?,
                '\\' => {
                    let c = chars.next().ok_or("a glob cannot end with \"\\\"")?;
                    Token::Char(c.to_ascii_lowercase())
                }
                c => Token::Char(c.to_ascii_lowercase()),
            };
            tokens.push(token);
        }
        Ok(Self { source: source.into(), tokens: tokens.into() })
    }

    /// The shape as written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The characters, in lower case, that every matching text begins with.
    #[must_use]
    pub fn literal_prefix(&self) -> String {
        self.tokens
            .iter()
            .map_while(|token| if let Token::Char(c) = token { Some(*c) } else { None })
            .collect()
    }

    /// Whether the shape covers the whole text. The time is at most the product of both lengths:
    /// only the last `*` is ever tried again.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let mut rest = text.chars();
        let mut next = 0;
        let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let here = rest.clone();
            match (self.tokens.get(next), rest.next()) {
                (Some(Token::Run), _) => {
                    next += 1;
                    rest = here.clone();
                    retry = Some((next, here));
                    continue;
                }
                (Some(token), Some(c)) if token.takes(c.to_ascii_lowercase()) => {
                    next += 1;
                    continue;
                }
                (None, None) => return true,
                _ => {}
            }
            // A dead end: let the last `*` take one more character.
            let Some((behind_run, from)) = retry.as_mut() else { return false };
            if from.next().is_none() {
                return false;
            }
            next = *behind_run;
            rest = from.clone();
        }
    }
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Run => false,
            Self::One => true,
            Self::Char(wanted) => *wanted == c,
            Self::Set(negated, ranges) => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

fn parse_set(chars: &mut std::str::Chars<'_>) -> Result<Token, String> {
    const UNCLOSED: &str = "\"[\" without \"]\"; write \\[ for a bracket";
    let mut ranges: Vec<(char, char)> = Vec::new();
    let mut ahead = chars.clone();
    let negated = matches!(ahead.next(), Some('!' | '^'));
    if negated {
        *chars = ahead;
    }
    loop {
        let low = match chars.next().ok_or(UNCLOSED)? {
            ']' if !ranges.is_empty() => return Ok(Token::Set(negated, ranges.into())),
            '\\' => chars.next().ok_or(UNCLOSED)?,
            c => c,
        };
        let mut ahead = chars.clone();
        let is_range = ahead.next() == Some('-') && ahead.clone().next() != Some(']');
        let high = if is_range {
            *chars = ahead;
            chars.next().ok_or(UNCLOSED)?
        } else {
            low
        };
        if high < low {
            return Err(format!("the range {low}-{high} is empty"));
        }
        ranges.push((low.to_ascii_lowercase(), high.to_ascii_lowercase()));
    }
}

/// What an address pattern may say in place of a plain address.
pub(super) static ADDRESS: Schema = Schema {
    about: "A pattern for an address; a plain text is the address itself. Letters compare without regard to case. With several keys one of them is enough.",
    keys: &[
        key("exact", Kind::Several(&Kind::Text), "This very address."),
        key("prefix", Kind::Several(&Kind::Text), "It begins so."),
        key(
            "domain",
            Kind::Several(&Kind::Text),
            "A mailbox in this domain; with a leading dot, in one below it.",
        ),
        key(
            "glob",
            Kind::Several(&Kind::Text),
            "A shape: `*` any run, `?` one character, `[0-9]` one of a set.",
        ),
        key(
            "regex",
            Kind::Several(&Kind::Text),
            "A regular expression; it may match anywhere unless it has anchors.",
        ),
        key(
            "table",
            Kind::Several(&Kind::Name("tables")),
            "The longest key of this table that it begins with is there.",
        ),
        key("value", Kind::Text, "The value that the table must have."),
        key(
            "kind",
            Kind::Several(&Kind::Word(&["mailbox", "phone", "alphanumeric", "short_code"])),
            "What it is.",
        ),
    ],
};

/// What a text pattern may say in place of a plain text.
pub(super) static TEXT: Schema = Schema {
    about: "A pattern for a text; a plain text is the whole text itself. Letters compare without regard to case. With several keys one of them is enough.",
    keys: &[
        key("exact", Kind::Several(&Kind::Text), "This very text."),
        key("prefix", Kind::Several(&Kind::Text), "It begins so."),
        key("contains", Kind::Several(&Kind::Text), "It has this somewhere."),
        key("glob", Kind::Several(&Kind::Text), "A shape, see address patterns."),
        key("regex", Kind::Several(&Kind::Text), "A regular expression."),
        key("present", Kind::Flag, "It is there at all, or is not."),
    ],
};

const KINDS: [(&str, AddressKind); 4] = [
    ("mailbox", AddressKind::Mailbox),
    ("phone", AddressKind::Phone),
    ("alphanumeric", AddressKind::Alphanumeric),
    ("short_code", AddressKind::ShortCode),
];

/// The largest program that one regular expression may become, in octets.
const REGEX_OCTETS_MAX: usize = 1 << 20;

fn parse_regex(text: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(text).size_limit(REGEX_OCTETS_MAX).build().map_err(|error| {
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        format!("not a regular expression: {}", last.strip_prefix("error: ").unwrap_or(last))
    })
}

fn lower(text: &str) -> Result<Box<str>, String> {
    if text.is_empty() {
        return Err("an empty pattern matches nothing that anybody means".to_owned());
    }
    Ok(text.to_ascii_lowercase().into())
}

/// Refuses a part of a mailbox with a domain that no address has: those that are compared have A-labels.
fn ascii_domain(text: &str) -> Result<(), String> {
    let domain = text.rsplit_once('@').map_or("", |(_, domain)| domain);
    if domain.is_ascii() {
        return Ok(());
    }
    let example = match message::normal_domain(domain) {
        Cow::Owned(domain) if domain.is_ascii() => domain,
        _ => "xn--bcher-kva.example".to_owned(),
    };
    Err(format!("\"{text}\" matches nothing: domains are compared as A-labels, such as {example}"))
}

/// An address in lower case and normal form.
fn exact(text: &str) -> Box<str> {
    message::normal_mailbox(text).to_ascii_lowercase().into()
}

impl AddressPattern {
    /// Reads one or several patterns.
    pub(super) fn read_several(check: &mut Check, section: &Section<'_>, name: &str) -> Vec<Self> {
        let mut patterns = Vec::new();
        for item in section.opt(name).map_or(&[][..], Node::items) {
            if let Some(text) = item.text() {
                patterns.push(Self::Exact(exact(text)));
            } else {
                let section = Section::open(check, &ADDRESS, item, section.at(name));
                Self::read_map(check, &section, &mut patterns);
                if item.entries().is_some_and(<[_]>::is_empty) {
                    check.error(item.place, format!("{} is an empty pattern", section.path));
                }
            }
        }
        patterns
    }

    fn read_map(check: &mut Check, section: &Section<'_>, patterns: &mut Vec<Self>) {
        patterns.extend(
            section.several(check, "exact", |text| lower(text).map(|_| Self::Exact(exact(text)))),
        );
        patterns.extend(section.several(check, "prefix", |text| {
            ascii_domain(text)?;
            lower(text).map(Self::Prefix)
        }));
        patterns.extend(section.several(check, "domain", |text| {
            let (domain, below) =
                text.strip_prefix('.').map_or((text, false), |domain| (domain, true));
            let domain = &*message::normal_domain(domain);
            if is_domain(domain) {
                lower(domain).map(|domain| Self::Domain(domain, below))
            } else {
                Err(format!("\"{text}\" is not a domain"))
            }
        }));
        patterns.extend(section.several(check, "glob", |text| {
            ascii_domain(text)?;
            Glob::parse(text).map(Self::Glob)
        }));
        patterns.extend(section.several(check, "regex", |text| {
            ascii_domain(text)?;
            parse_regex(text).map(Self::Regex)
        }));
        patterns
            .extend(section.several(check, "kind", |text| find_word(text, &KINDS).map(Self::Kind)));
        let value = section.opt_text(check, "value");
        for name in section.names(check, "table", Kindred::Table).unwrap_or_default() {
            let table = check.table(&name);
            patterns.push(Self::Table(name, table, value.clone()));
        }
        if value.is_some() && !section.has("table") {
            let path = section.at("value");
            check.error(section.place, format!("{path} has no meaning without table"));
        }
    }
}

impl TextPattern {
    /// Reads one or several patterns; `path` is where they stand, for messages.
    pub(super) fn read_several(check: &mut Check, node: &Node, path: &str) -> Vec<Self> {
        let mut patterns = Vec::new();
        for item in node.items() {
            if let Some(text) = item.text() {
                patterns.push(Self::Exact(text.into()));
                continue;
            }
            let section = Section::open(check, &TEXT, item, path.to_owned());
            patterns.extend(section.several(check, "exact", |text| Ok(Self::Exact(text.into()))));
            patterns.extend(section.several(check, "prefix", |text| lower(text).map(Self::Prefix)));
            patterns
                .extend(section.several(check, "contains", |text| lower(text).map(Self::Contains)));
            patterns
                .extend(section.several(check, "glob", |text| Glob::parse(text).map(Self::Glob)));
            patterns
                .extend(section.several(check, "regex", |text| parse_regex(text).map(Self::Regex)));
            if section.has("present") {
                patterns.push(Self::Present(section.flag(check, "present")));
            }
            if item.entries().is_some_and(<[_]>::is_empty) {
                check.error(item.place, format!("{path} is an empty pattern"));
            }
        }
        patterns
    }
}
