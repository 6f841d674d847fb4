//! Where a message goes: the routes of a configuration, compiled so that a hundred thousand of them
//! cost as little as ten. Pure: time and ids are facts that the caller brings.

mod facts;
mod evaluate;
mod index;
mod targets;
mod explain;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::config::{Action, Config, DropAnswer, Name, Reply, RouteConfig};

pub use explain::{Explanation, Step};
pub use facts::{Envelope, Fact, Facts, MessageFacts};

use evaluate::{Truth, evaluate};
use index::Index;
use targets::Orders;

/// The compiled routes of one generation.
#[derive(Debug)]
pub struct RouteTable {
    entries: Vec<Entry>,
    index: Index,
}

#[derive(Debug)]
struct Entry {
    route: Arc<RouteConfig>,
    /// The orders in which the targets may be tried; none for routes that send nowhere.
    orders: Orders,
}

/// What the routes say about one recipient of one message.
#[derive(Debug, Clone, PartialEq)]
pub enum RouteDecision {
    /// It goes to the first of these that takes it.
    Targets {
        /// The route that decided.
        route: Arc<RouteConfig>,
        /// In the order in which they are to be tried; at least one.
        targets: Arc<[Name]>,
    },
    /// It is accepted and forgotten.
    Drop {
        /// The route that decided.
        route: Arc<RouteConfig>,
        /// What the sender is told.
        answer: DropAnswer,
    },
    /// It is refused.
    Reject {
        /// The route that decided.
        route: Arc<RouteConfig>,
        /// In these terms.
        reply: Reply,
    },
    /// It waits for an operator.
    Hold {
        /// The route that decided.
        route: Arc<RouteConfig>,
        /// For this reason.
        reason: Arc<str>,
    },
    /// No route takes it.
    NoRoute,
}

impl RouteDecision {
    /// The route that decided.
    #[must_use]
    pub fn route(&self) -> Option<&Arc<RouteConfig>> {
        match self {
            Self::Targets { route, .. }
            | Self::Drop { route, .. }
            | Self::Reject { route, .. }
            | Self::Hold { route, .. } => Some(route),
            Self::NoRoute => None,
        }
    }
}

/// What the routes say before the content is known.
#[derive(Debug, Clone, PartialEq)]
pub enum EnvelopeDecision {
    /// Whatever the content will be, this is decided.
    Certain(RouteDecision),
    /// The content will decide, or whether a route takes it at all.
    NeedsContent,
    /// No content would make any route take it: the recipient can be refused.
    NoRoute,
}

impl RouteTable {
    /// Compiles the routes of a configuration.
    #[must_use]
    pub fn compile(config: &Config) -> Self {
        let index = Index::build(config.routes.iter().map(|route| &route.when));
        let entries = config
            .routes
            .iter()
            .map(|route| Entry { route: Arc::clone(route), orders: Orders::of(&route.action) })
            .collect();
        Self { entries, index }
    }

    /// The first route that takes the recipient. Facts that are not known yet count as not holding;
    /// with content use [`MessageFacts`], which knows all of them.
    pub fn resolve(&self, facts: &impl Facts) -> RouteDecision {
        self.first(facts, |_action| true)
    }

    /// As [`RouteTable::resolve`], as if no route held messages: for what an operator released.
    pub fn resolve_past_holds(&self, facts: &impl Facts) -> RouteDecision {
        self.first(facts, |action| !matches!(action, Action::Hold(_)))
    }

    fn first(&self, facts: &impl Facts, wanted: impl Fn(&Action) -> bool) -> RouteDecision {
        for number in self.index.candidates(&facts.recipient().value) {
            let Some(entry) = self.entries.get(number) else { continue };
            if wanted(&entry.route.action)
                && evaluate(&entry.route.when, facts) == Truth::Yes
                && let Some(decision) = entry.decide(facts)
            {
                return decision;
            }
        }
        RouteDecision::NoRoute
    }

    /// What is certain from the envelope alone, when a recipient is named and nothing else is known.
    pub fn resolve_envelope(&self, facts: &impl Facts) -> EnvelopeDecision {
        for number in self.index.candidates(&facts.recipient().value) {
            let Some(entry) = self.entries.get(number) else { continue };
            match evaluate(&entry.route.when, facts) {
                Truth::No => {}
                Truth::Open => return EnvelopeDecision::NeedsContent,
                Truth::Yes => {
                    if let Some(decision) = entry.decide(facts) {
                        return EnvelopeDecision::Certain(decision);
                    }
                }
            }
        }
        EnvelopeDecision::NoRoute
    }

    /// Every target that a message with this envelope may go to, whatever it says.
    #[must_use]
    pub fn possible_targets(&self, facts: &impl Facts) -> Vec<&Name> {
        let mut targets = Vec::new();
        for number in self.index.candidates(&facts.recipient().value) {
            let Some(entry) = self.entries.get(number) else { continue };
            let truth = evaluate(&entry.route.when, facts);
            if truth != Truth::No {
                targets.extend(entry.route.targets());
            }
            if truth == Truth::Yes && entry.decide(facts).is_some() {
                break;
            }
        }
        targets
    }

    /// The route of this name.
    #[must_use]
    pub fn route(&self, name: &str) -> Option<&Arc<RouteConfig>> {
        self.entries.iter().map(|entry| &entry.route).find(|route| &*route.name == name)
    }

    /// How many routes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no route at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Entry {
    /// What the route does; nothing if it asks a price list that does not know the recipient.
    fn decide(&self, facts: &impl Facts) -> Option<RouteDecision> {
        let route = Arc::clone(&self.route);
        Some(match &self.route.action {
            Action::Send(..) => {
                let targets = self.orders.choose(facts)?;
                RouteDecision::Targets { route, targets }
            }
            Action::Drop(answer) => RouteDecision::Drop { route, answer: *answer },
            Action::Reject(reply) => RouteDecision::Reject { route, reply: reply.clone() },
            Action::Hold(reason) => RouteDecision::Hold { route, reason: Arc::clone(reason) },
        })
    }
}
