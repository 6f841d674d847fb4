//! `tests`: messages and what must become of them, for `wirepost test`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::check::{Check, Kindred};
use super::keys::{Key, Kind, Schema, key};
use super::scalar::Name;
use super::section::Section;
use super::yaml::Node;

/// One entry of `tests`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestCase {
    /// What it shows; a sentence.
    pub name: Arc<str>,
    /// The message.
    pub send: TestMessage,
    /// What must become of it.
    pub expect: Expectation,
    /// The file, line and column that it stands at.
    pub place: Arc<str>,
}

/// `send`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestMessage {
    /// The listener or connector that it comes in by.
    pub door: Name,
    /// The account that sends it.
    pub account: Option<Name>,
    /// The sender.
    pub from: Arc<str>,
    /// The recipients.
    pub to: Vec<Arc<str>>,
    /// The subject of a mail.
    pub subject: Option<Arc<str>>,
    /// Further header fields of a mail.
    pub headers: BTreeMap<Arc<str>, Arc<str>>,
    /// The text.
    pub text: Arc<str>,
}

/// `expect`: what is left out is not compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expectation {
    /// The first target.
    pub target: Option<Name>,
    /// The route.
    pub route: Option<Arc<str>>,
    /// The text that goes out.
    pub text: Option<Arc<str>>,
    /// The recipient that it goes to.
    pub to: Option<Arc<str>>,
    /// The sender that it goes out with.
    pub from: Option<Arc<str>>,
    /// SMS parts.
    pub parts: Option<u32>,
    /// What the pipeline and the routes decided.
    pub outcome: Option<Outcome>,
}

/// What the pipeline and the routes decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is sent.
    Sent,
    /// It is accepted and forgotten.
    Dropped,
    /// It is refused.
    Rejected,
    /// It is refused for now; the peer shall come again.
    Deferred,
    /// It is accepted, and looked at again later.
    Undecided,
    /// It waits for an operator.
    Held,
    /// No route takes it.
    NoRoute,
}

/// The sender of a message that names none; what an account may send from does not concern it.
pub const ANYBODY: &str = "test@localhost";

static KEYS: Schema = Schema {
    about: "A message and what must become of it, for `wirepost test`.",
    keys: &[
        key("name", Kind::Text, "What it shows.").required(),
        key("send", Kind::Section(&SEND), SEND.about).required(),
        key("expect", Kind::Section(&EXPECT), EXPECT.about).required(),
    ],
};

static SEND: Schema = Schema {
    about: "The message.",
    keys: &[
        key("door", Kind::Name("listeners and connectors"), "Where it comes in.").required(),
        key("account", Kind::Name("accounts"), "Who sends it."),
        key("from", Kind::Text, "The sender.").or(ANYBODY),
        key("to", Kind::Several(&Kind::Text), "The recipients.").required(),
        key("subject", Kind::Text, "The subject of a mail."),
        key(
            "header",
            Kind::MapOf("a header field", &Kind::Text),
            "Further header fields of a mail.",
        ),
        key("text", Kind::Text, "The text."),
    ],
};

static EXPECT: Schema = Schema {
    about: "What must become of it; what is left out is not compared.",
    keys: &[
        key("target", Kind::Name("connectors and accounts"), "The first target."),
        key("route", Kind::Text, "The route."),
        key("text", Kind::Text, "The text that goes out."),
        key("to", Kind::Text, "The recipient that it goes to."),
        key("from", Kind::Text, "The sender that it goes out with."),
        key("parts", Kind::Int(1, 255), "SMS parts."),
        key(
            "outcome",
            Kind::Word(&[
                "sent",
                "dropped",
                "rejected",
                "deferred",
                "undecided",
                "held",
                "no-route",
            ]),
            "What was decided.",
        ),
    ],
};

/// The key at the top of the file.
pub(super) const TOP: Key = key("tests", Kind::Listed(&KEYS), KEYS.about);

const OUTCOMES: [(&str, Outcome); 7] = [
    ("sent", Outcome::Sent),
    ("dropped", Outcome::Dropped),
    ("rejected", Outcome::Rejected),
    ("deferred", Outcome::Deferred),
    ("undecided", Outcome::Undecided),
    ("held", Outcome::Held),
    ("no-route", Outcome::NoRoute),
];

impl Outcome {
    /// As it is written in `expect.outcome`.
    #[must_use]
    pub fn word(self) -> &'static str {
        OUTCOMES.iter().find(|(_, outcome)| *outcome == self).map_or("", |(word, _)| word)
    }
}

impl TestCase {
    /// Reads all of `tests`.
    pub(super) fn read_all(check: &mut Check, top: &Section<'_>) -> Vec<Self> {
        let items = top.opt("tests").map_or(&[][..], Node::items);
        items.iter().filter_map(|item| Self::read(check, item)).collect()
    }

    fn read(check: &mut Check, node: &Node) -> Option<Self> {
        let section = Section::open(check, &KEYS, node, "tests".to_owned());
        let name = section.text(check, "name");
        let send = section.section(check, "send", &SEND);
        let expect = section.section(check, "expect", &EXPECT);
        let door = send.name(check, "door", Kindred::Door);
        let send = TestMessage {
            account: send.name(check, "account", Kindred::Account),
            from: send.text(check, "from"),
            to: send.several(check, "to", |text| Ok(text.into())),
            subject: send.opt_text(check, "subject"),
            headers: read_headers(check, &send),
            text: send.text(check, "text"),
            door: door?,
        };
        let expect = Expectation {
            target: expect.name(check, "target", Kindred::Target),
            route: expect.opt_text(check, "route"),
            text: expect.opt_text(check, "text"),
            to: expect.opt_text(check, "to"),
            from: expect.opt_text(check, "from"),
            parts: expect.opt_int(check, "parts"),
            outcome: expect.opt_word(check, "outcome", &OUTCOMES),
        };
        if expect == Expectation::default() {
            check.error(node.place, format!("tests: \"{name}\" expects nothing"));
        }
        Some(Self { name, send, expect, place: check.spell_position(node.place).into() })
    }
}

fn read_headers(check: &mut Check, section: &Section<'_>) -> BTreeMap<Arc<str>, Arc<str>> {
    let mut headers = BTreeMap::new();
    let Some(node) = section.opt("header") else { return headers };
    let entries = node.entries().unwrap_or_default();
    for (key, value) in entries {
        if let (Some(key), Some(value)) = (key.text(), value.text()) {
            headers.insert(key.into(), value.into());
        }
    }
    if headers.len() < entries.len() || node.entries().is_none() {
        check.error(node.place, format!("{} is a map of texts", section.at("header")));
    }
    headers
}
