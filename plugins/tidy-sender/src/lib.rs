//! Gives senders one spelling, stamps headers and replaces text.

use std::collections::BTreeMap;

use serde::Deserialize;
use wirepost_sdk::prelude::*;

plugin!(TidySender);

/// The plugin's block `config:` in the YAML. What is left out is not done.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Spellings (in any case) and the sender that each becomes.
    senders: BTreeMap<String, String>,
    /// Header fields to set on mail.
    headers: BTreeMap<String, String>,
    /// What to replace in the text, in this order.
    replace: Vec<Replace>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replace {
    find: String,
    with: String,
}

/// A rewriter; the keys of `senders` are in lower case.
#[derive(Debug)]
pub struct TidySender {
    senders: BTreeMap<String, Address>,
    headers: BTreeMap<String, String>,
    replace: Vec<Replace>,
}

impl Plugin for TidySender {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        if config.replace.iter().any(|rule| rule.find.is_empty()) {
            return Err("`find` in `replace` must not be empty".into());
        }
        let senders = config.senders.iter().map(|(from, to)| (from.trim().to_lowercase(), Address::parse(to)));
        Ok(Self { senders: senders.collect(), headers: config.headers, replace: config.replace })
    }

    fn process(&mut self, m: &mut Message) -> Result<Verdict> {
        let spelling = m.source().value.trim().to_lowercase();
        if let Some(tidy) = self.senders.get(&spelling)
            && tidy != m.source()
        {
            m.set_source(tidy)?;
        }
        if m.env.content == Content::Mail {
            for (name, value) in &self.headers {
                m.set_header(name, value)?;
            }
        }
        if matches!(m.env.content, Content::Mail | Content::Text) {
            self.replace_text(m)?;
        }
        Ok(next())
    }
}

impl TidySender {
    /// Leaves a text in which nothing is found exactly as it came.
    fn replace_text(&self, m: &mut Message) -> Result<()> {
        if !self.replace.iter().any(|rule| m.text().contains(&rule.find)) {
            return Ok(());
        }
        let mut text = m.text().to_owned();
        for rule in &self.replace {
            text = text.replace(&rule.find, &rule.with);
        }
        Ok(m.set_text(text)?)
    }
}

#[cfg(test)]
mod tests;
