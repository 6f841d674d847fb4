//! Why a recipient goes where it goes: which condition of each earlier route did not hold.

use std::fmt::Write;
use std::sync::Arc;

use crate::config::{AddressPattern, Condition, Name, RouteConfig, TextPattern};

use super::evaluate::{Truth, evaluate};
use super::facts::Facts;
use super::{RouteDecision, RouteTable};

/// The way to a decision.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// Routes in the order in which they were asked, the deciding one last.
    pub steps: Vec<Step>,
    /// Routes that stand before the deciding one and could not take any such recipient, which are
    /// not among the steps.
    pub skipped: usize,
    /// What was decided.
    pub decision: RouteDecision,
}

/// What one route said.
#[derive(Debug, Clone)]
pub struct Step {
    /// The route.
    pub route: Arc<RouteConfig>,
    /// It takes the recipient.
    pub takes: bool,
    /// The condition that decided against it; empty if it takes it.
    pub because: String,
}

impl RouteTable {
    /// Resolves as [`RouteTable::resolve`] does, and says why. Round-robin routes take a turn.
    pub fn explain(&self, facts: &impl Facts) -> Explanation {
        let mut steps = Vec::new();
        let mut last = self.entries.len();
        let mut decision = RouteDecision::NoRoute;
        for number in self.index.candidates(&facts.recipient().value) {
            let Some(entry) = self.entries.get(number) else { continue };
            let route = Arc::clone(&entry.route);
            let because = failing(&route.when, facts);
            if let Some(because) = because {
                steps.push(Step { route, takes: false, because });
            } else if let Some(decided) = entry.decide(facts) {
                steps.push(Step { route, takes: true, because: String::new() });
                decision = decided;
                last = number + 1;
                break;
            } else {
                let because = "its price list has no target for the recipient".to_owned();
                steps.push(Step { route, takes: false, because });
            }
        }
        Explanation { skipped: last - steps.len(), steps, decision }
    }
}

/// The first part of the condition that does not hold, or cannot be said to.
fn failing(condition: &Condition, facts: &impl Facts) -> Option<String> {
    let truth = evaluate(condition, facts);
    match (condition, truth) {
        (_, Truth::Yes) => None,
        (Condition::All(all), _) => all.iter().find_map(|part| failing(part, facts)),
        (_, Truth::No) => Some(format!("{} does not hold", describe(condition))),
        (_, Truth::Open) => Some(format!("{} is not known yet", describe(condition))),
    }
}

/// The condition as it would be written.
fn describe(condition: &Condition) -> String {
    match condition {
        Condition::All(all) => format!("all: [{}]", list(all.iter().map(describe))),
        Condition::Any(any) => format!("any: [{}]", list(any.iter().map(describe))),
        Condition::Not(inner) => format!("not: {{ {} }}", describe(inner)),
        Condition::Door(doors) => format!("door: {}", names(doors)),
        Condition::Account(accounts) => format!("account: {}", names(accounts)),
        Condition::Protocol(protocol) => format!("protocol: {}", protocol.name()),
        Condition::From(patterns) => format!("from: {}", list(patterns.iter().map(address))),
        Condition::To(patterns) => format!("to: {}", list(patterns.iter().map(address))),
        Condition::Meta(key, patterns) => {
            format!("meta.{key}: {}", list(patterns.iter().map(text)))
        }
        Condition::Subject(patterns) => format!("subject: {}", list(patterns.iter().map(text))),
        Condition::Header(name, patterns) => {
            format!("header.{name}: {}", list(patterns.iter().map(text)))
        }
        Condition::Text(patterns) => format!("text: {}", list(patterns.iter().map(text))),
        Condition::Size(min, max) => format!("size: {min} to {max}"),
        Condition::DataCoding(codings) => {
            format!("data_coding: {}", list(codings.iter().map(ToString::to_string)))
        }
        Condition::Tlv(tag, _) => format!("tlv.{tag:#06x}"),
        Condition::Time(windows) => format!("time: {} window(s)", windows.len()),
        Condition::Fork(wanted) => format!("fork: {wanted}"),
        Condition::Share(share) => {
            format!("percentage: {}.{:02}", share / 100, share % 100)
        }
    }
}

/// Patterns in one description at most.
const LIST_MAX: usize = 8;

fn list(items: impl ExactSizeIterator<Item = String>) -> String {
    let more = items.len().saturating_sub(LIST_MAX);
    let mut text = items.take(LIST_MAX).collect::<Vec<_>>().join(", ");
    if more > 0 && write!(text, " and {more} more").is_err() {
        text.push('…');
    }
    text
}

fn names(names: &[Name]) -> String {
    list(names.iter().map(ToString::to_string))
}

fn address(pattern: &AddressPattern) -> String {
    match pattern {
        AddressPattern::Exact(text) => text.to_string(),
        AddressPattern::Prefix(text) => format!("prefix {text}"),
        AddressPattern::Domain(text, false) => format!("domain {text}"),
        AddressPattern::Domain(text, true) => format!("domain .{text}"),
        AddressPattern::Glob(glob) => format!("glob {}", glob.source()),
        AddressPattern::Regex(regex) => format!("regex {regex}"),
        AddressPattern::Table(name, _, None) => format!("table {name}"),
        AddressPattern::Table(name, _, Some(value)) => format!("table {name} with {value}"),
        AddressPattern::Kind(kind) => format!("kind {kind:?}"),
    }
}

fn text(pattern: &TextPattern) -> String {
    match pattern {
        TextPattern::Exact(text) => text.to_string(),
        TextPattern::Prefix(text) => format!("prefix {text}"),
        TextPattern::Contains(text) => format!("contains {text}"),
        TextPattern::Glob(glob) => format!("glob {}", glob.source()),
        TextPattern::Regex(regex) => format!("regex {regex}"),
        TextPattern::Present(present) => format!("present {present}"),
    }
}
