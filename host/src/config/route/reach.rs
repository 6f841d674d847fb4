//! Routes that no message can reach, because earlier ones take everything that they would.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Condition, RouteConfig};
use crate::config::check::Check;
use crate::config::pattern::AddressPattern;
use crate::config::yaml::Place;

/// Warns of routes behind one that takes everything, and of those whose every recipient an earlier
/// route takes. What regular expressions and globs cover is not looked into.
pub(super) fn check_reach(check: &mut Check, routes: &[(Arc<RouteConfig>, Place)]) {
    let mut takes_all: Option<&RouteConfig> = None;
    let mut taken: HashMap<(Shape, &str), &RouteConfig> = HashMap::new();
    for (route, place) in routes {
        let earlier = takes_all.or_else(|| shadowed_by(&taken, &route.when));
        if let Some(earlier) = earlier {
            let (name, other, at) = (&route.name, &earlier.name, &earlier.place);
            check.warning(
                *place,
                format!(
                    "no message reaches the route \"{name}\": \"{other}\" at {at} takes them all"
                ),
                format!("move it before \"{other}\", or remove it"),
            );
        } else if route.when.is_always() {
            takes_all = Some(route);
        } else if let Condition::To(patterns) = &route.when {
            for shape in patterns.iter().filter_map(shape) {
                taken.entry(shape).or_insert(route);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Shape {
    Exact,
    Prefix,
    Domain,
    Below,
}

fn shape(pattern: &AddressPattern) -> Option<(Shape, &str)> {
    match pattern {
        AddressPattern::Exact(text) => Some((Shape::Exact, text)),
        AddressPattern::Prefix(text) => Some((Shape::Prefix, text)),
        AddressPattern::Domain(text, false) => Some((Shape::Domain, text)),
        AddressPattern::Domain(text, true) => Some((Shape::Below, text)),
        AddressPattern::Glob(_)
        | AddressPattern::Regex(_)
        | AddressPattern::Table(..)
        | AddressPattern::Kind(_) => None,
    }
}

/// The route that takes every recipient that the condition allows, if it allows only some.
fn shadowed_by<'r>(
    taken: &HashMap<(Shape, &str), &'r RouteConfig>,
    when: &Condition,
) -> Option<&'r RouteConfig> {
    match when {
        Condition::To(patterns) => {
            let mut takers = patterns.iter().map(|pattern| taker(taken, pattern));
            let first = takers.next()??;
            takers.all(|taker| taker.is_some()).then_some(first)
        }
        Condition::All(all) => all.iter().find_map(|part| shadowed_by(taken, part)),
        _ => None,
    }
}

fn taker<'r>(
    taken: &HashMap<(Shape, &str), &'r RouteConfig>,
    pattern: &AddressPattern,
) -> Option<&'r RouteConfig> {
    let (shape, text) = shape(pattern)?;
    if let Some(route) = taken.get(&(shape, text)) {
        return Some(route);
    }
    if !matches!(shape, Shape::Exact | Shape::Prefix) {
        return None;
    }
    let by_prefix = text
        .char_indices()
        .filter_map(|(at, c)| text.get(..at + c.len_utf8()))
        .find_map(|prefix| taken.get(&(Shape::Prefix, prefix)));
    let by_domain = || {
        let (_, domain) = text.rsplit_once('@').filter(|_| shape == Shape::Exact)?;
        taken.get(&(Shape::Domain, domain))
    };
    by_prefix.or_else(by_domain).copied()
}
