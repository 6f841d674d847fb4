//! `when`: the keys of a condition, and how they are read.

use std::sync::Arc;

use message::Protocol;

use super::{Condition, TimeWindow};
use crate::config::check::{Check, Kindred};
use crate::config::keys::{GIB, Kind, Schema, key};
use crate::config::pattern::{AddressPattern, TextPattern};
use crate::config::section::{Section, parse_int};
use crate::config::yaml::Node;

/// The keys of a condition.
pub(super) static KEYS: Schema = Schema {
    about: "Which messages a route takes. All keys must hold; of a list, one item is enough.",
    keys: &[
        key(
            "door",
            Kind::Several(&Kind::Name("listeners and connectors")),
            "The message came in here.",
        ),
        key("account", Kind::Several(&Kind::Name("accounts")), "Who sent it."),
        key(
            "protocol",
            Kind::Word(&["smtp", "smpp", "internal"]),
            "How it came in; `internal` is what we make ourselves.",
        ),
        key("from", Kind::Several(&Kind::AddressPattern), "The sender."),
        key(
            "to",
            Kind::Several(&Kind::AddressPattern),
            "The recipient; a mailbox of a number domain is a number here.",
        ),
        key("subject", Kind::Several(&Kind::TextPattern), "The subject of a mail."),
        key(
            "header",
            Kind::MapOf("a header field", &Kind::TextPattern),
            "Header fields of a mail.",
        ),
        key("text", Kind::Several(&Kind::TextPattern), "The text of the message."),
        key("meta", Kind::MapOf("a note", &Kind::TextPattern), "Notes that plugins left."),
        key("size", Kind::Section(&SIZE), SIZE.about),
        key("data_coding", Kind::Several(&Kind::Int(0, 255)), "data_coding of a short message."),
        key(
            "tlv",
            Kind::MapOf("a tag such as 0x1400", &Kind::Text),
            "Optional parameters of a short message: `true` if it is there, or the value, as text or as `hex:0a0b`.",
        ),
        key(
            "time",
            Kind::Several(&Kind::Hours),
            "It is one of these hours, such as `mon-fri 08:00-20:00 +01:00`.",
        ),
        key("fork", Kind::Flag, "A plugin made it of another message; `false`: it came so."),
        key(
            "percentage",
            Kind::Decimal(0.0, 100.0),
            "This share of all messages, the same ones whenever they are asked about.",
        ),
        key("all", Kind::Listed(&KEYS), "Each of these conditions holds."),
        key("any", Kind::Listed(&KEYS), "One of these conditions holds."),
        key("not", Kind::Section(&KEYS), "This condition does not hold."),
    ],
};

static SIZE: Schema = Schema {
    about: "Octets of the message, both ends included.",
    keys: &[
        key("min", Kind::Size(0, 4 * GIB), "At least.").or("0"),
        key("max", Kind::Size(0, 4 * GIB), "At most.").or("4GiB"),
    ],
};

/// The deepest nesting of `all`, `any` and `not`.
const DEPTH_MAX: usize = 8;
/// Conditions in one list at most.
const LIST_MAX: usize = 1000;

impl Condition {
    /// Reads a condition; `path` is where it stands, for messages.
    pub(super) fn read(check: &mut Check, node: &Node, path: String, depth: usize) -> Self {
        if depth > DEPTH_MAX {
            check.error(node.place, format!("{path} is nested deeper than {DEPTH_MAX}"));
            return Self::All(Vec::new());
        }
        let section = Section::open(check, &KEYS, node, path);
        let mut all = Vec::new();
        all.extend(section.names(check, "door", Kindred::Door).map(Self::Door));
        all.extend(section.names(check, "account", Kindred::Account).map(Self::Account));
        all.extend(section.opt_word(check, "protocol", &PROTOCOLS).map(Self::Protocol));
        for (name, make) in [("from", Self::From as fn(_) -> _), ("to", Self::To)] {
            if section.has(name) {
                all.push(make(AddressPattern::read_several(check, &section, name)));
            }
        }
        for (name, make) in [("subject", Self::Subject as fn(_) -> _), ("text", Self::Text)] {
            if let Some(node) = section.opt(name) {
                all.push(make(TextPattern::read_several(check, node, &section.at(name))));
            }
        }
        for (name, make) in [("header", Self::Header as fn(_, _) -> _), ("meta", Self::Meta)] {
            let entries = section
                .opt(name)
                .map_or(&[][..], |node| map_entries(check, node, &section.at(name)));
            for (key, value) in entries {
                let key: Arc<str> = key.text().unwrap_or_default().into();
                let path = format!("{}.{key}", section.at(name));
                all.push(make(key, TextPattern::read_several(check, value, &path)));
            }
        }
        if section.has("size") {
            let size = section.section(check, "size", &SIZE);
            all.push(Self::Size(size.size(check, "min"), size.size(check, "max")));
        }
        if section.has("data_coding") {
            all.push(Self::DataCoding(section.several(check, "data_coding", |text| {
                u8::try_from(parse_int(text)?).map_err(|_error| format!("{text} is not 0 to 255"))
            })));
        }
        all.extend(read_tlvs(check, &section));
        if section.has("time") {
            all.push(Self::Time(section.several(check, "time", TimeWindow::parse)));
        }
        if section.has("fork") {
            all.push(Self::Fork(section.flag(check, "fork")));
        }
        if section.has("percentage") {
            all.push(Self::Share(ten_thousandths(section.decimal(check, "percentage"))));
        }
        Self::read_nested(check, &section, depth, &mut all);
        match all.len() {
            1 => all.pop().unwrap_or(Self::All(Vec::new())),
            _ => Self::All(all),
        }
    }

    fn read_nested(check: &mut Check, section: &Section<'_>, depth: usize, all: &mut Vec<Self>) {
        for (name, make) in [("all", Self::All as fn(_) -> _), ("any", Self::Any)] {
            let Some(node) = section.opt(name) else { continue };
            let path = section.at(name);
            if node.items().is_empty() {
                check.error_with(
                    node.place,
                    format!("{path} is empty, which names nothing"),
                    "name a condition, or leave the key out",
                );
            }
            if node.items().len() > LIST_MAX {
                check.error(node.place, format!("{path} has more than {LIST_MAX} conditions"));
            }
            let items = node.items().iter().take(LIST_MAX);
            all.push(make(
                items.map(|item| Self::read(check, item, path.clone(), depth + 1)).collect(),
            ));
        }
        if let Some(node) = section.opt("not") {
            let inner = Self::read(check, node, section.at("not"), depth + 1);
            all.push(Self::Not(Box::new(inner)));
        }
    }

    /// Whether it holds for every message.
    #[must_use]
    pub fn is_always(&self) -> bool {
        match self {
            Self::All(all) => all.iter().all(Self::is_always),
            _ => false,
        }
    }
}

const PROTOCOLS: [(&str, Protocol); 3] =
    [("smtp", Protocol::Smtp), ("smpp", Protocol::Smpp), ("internal", Protocol::Internal)];

fn map_entries<'n>(check: &mut Check, node: &'n Node, path: &str) -> &'n [(Node, Node)] {
    node.entries().unwrap_or_else(|| {
        check.error(node.place, format!("{path} is a map, not {}", node.kind()));
        &[]
    })
}

fn read_tlvs(check: &mut Check, section: &Section<'_>) -> Vec<Condition> {
    let Some(node) = section.opt("tlv") else { return Vec::new() };
    let path = section.at("tlv");
    let mut conditions = Vec::new();
    for (key, value) in map_entries(check, node, &path) {
        let tag = parse_int(key.text().unwrap_or_default())
            .and_then(|tag| u16::try_from(tag).map_err(|_error| format!("{tag:#x} is no tag")));
        let tag = match tag {
            Ok(tag) => tag,
            Err(problem) => {
                check.error(key.place, format!("{path}: {problem}"));
                continue;
            }
        };
        let mut values: Vec<Arc<[u8]>> = Vec::new();
        let mut present = false;
        for item in value.items() {
            match item.text() {
                Some("true") => present = true,
                Some(text) => match tlv_octets(text) {
                    Some(octets) => values.push(octets.into()),
                    None => {
                        check.error(item.place, format!("{path}: \"{text}\" is not hexadecimal"));
                    }
                },
                None => check.error(item.place, format!("{path} takes single values")),
            }
        }
        conditions.push(Condition::Tlv(tag, if present { None } else { Some(values) }));
    }
    conditions
}

fn tlv_octets(text: &str) -> Option<Vec<u8>> {
    let Some(hex) = text.strip_prefix("hex:") else { return Some(text.as_bytes().to_vec()) };
    if !hex.len().is_multiple_of(2) || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    hex.as_bytes()
        .chunks_exact(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// Hundredths of a percent.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range of the key keeps it within 0 and 10,000"
)]
fn ten_thousandths(percent: f64) -> u16 {
    (percent * 100.0).round() as u16
}
