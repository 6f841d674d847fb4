//! Chooses targets by the number's prefix and the text's first word.

use std::collections::BTreeMap;

use serde::Deserialize;
use wirepost_sdk::prelude::*;

plugin!(PrefixRoute);

/// The plugin's block `config:` in the YAML.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// First words of the text (in any case) and their targets; they go before prefixes.
    #[serde(default)]
    keywords: BTreeMap<String, Targets>,
    /// Prefixes of recipients' numbers and their targets; the longest wins.
    #[serde(default)]
    prefixes: BTreeMap<String, Targets>,
    /// Skip targets that are down, unless all are.
    #[serde(default)]
    skip_down: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Targets {
    One(String),
    Many(Vec<String>),
}

/// A router; keywords are in lower case.
#[derive(Debug)]
pub struct PrefixRoute {
    keywords: BTreeMap<String, Vec<String>>,
    prefixes: BTreeMap<String, Vec<String>>,
    skip_down: bool,
}

impl Plugin for PrefixRoute {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        let names = |targets: Targets| match targets {
            Targets::One(name) => vec![name],
            Targets::Many(names) => names,
        };
        let keywords: BTreeMap<_, _> =
            config.keywords.into_iter().map(|(word, targets)| (word.to_lowercase(), names(targets))).collect();
        let prefixes: BTreeMap<_, _> =
            config.prefixes.into_iter().map(|(prefix, targets)| (prefix, names(targets))).collect();
        if keywords.is_empty() && prefixes.is_empty() {
            return Err("neither `keywords` nor `prefixes` is set: nothing to route by".into());
        }
        if keywords.values().chain(prefixes.values()).any(Vec::is_empty) {
            return Err("a keyword or prefix has no target".into());
        }
        Ok(Self { keywords, prefixes, skip_down: config.skip_down })
    }

    fn process(&mut self, m: &mut Message) -> Result<Verdict> {
        if !self.keywords.is_empty() {
            let word = m.text().split_whitespace().next().unwrap_or_default().to_lowercase();
            if let Some(targets) = self.keywords.get(&word) {
                return Ok(self.send(targets));
            }
        }
        let mut chosen = None;
        for recipient in m.recipients() {
            let targets = self.by_prefix(&recipient.value);
            if chosen.is_some_and(|first| Some(first) != targets) {
                // One verdict is for all recipients: those that differ are the route tables' business.
                return Ok(next());
            }
            let Some(targets) = targets else { return Ok(next()) };
            chosen = Some(targets);
        }
        Ok(chosen.map_or_else(next, |targets| self.send(targets)))
    }
}

impl PrefixRoute {
    fn by_prefix(&self, number: &str) -> Option<&Vec<String>> {
        let ends = (1..=number.len()).rev();
        ends.filter_map(|end| number.get(..end)).find_map(|prefix| self.prefixes.get(prefix))
    }

    fn send(&self, names: &[String]) -> Verdict {
        let up = |name: &&String| targets::state(name).is_some_and(|state| state.up);
        let usable: Vec<&String> = if self.skip_down { names.iter().filter(up).collect() } else { Vec::new() };
        if usable.is_empty() { route_any(names.iter()) } else { route_any(usable) }
    }
}

#[cfg(test)]
mod tests;
