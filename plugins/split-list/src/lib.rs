//! Turns one address into the members of a list.

use std::collections::BTreeMap;

use serde::Deserialize;
use wirepost_sdk::prelude::*;

plugin!(SplitList);

/// The plugin's block `config:` in the YAML.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// List addresses and their members.
    lists: BTreeMap<String, Vec<String>>,
    /// One message for all members, or a fork of it for each.
    #[serde(default)]
    each: Each,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Each {
    /// The members become recipients of the message: the origin hears of each.
    #[default]
    Recipient,
    /// Each member gets a message of its own, and the origin hears one answer about the list: it is
    /// delivered when all members have theirs.
    Message,
}

/// A splitter; the list addresses are in lower case.
#[derive(Debug)]
pub struct SplitList {
    lists: BTreeMap<String, Vec<Address>>,
    each: Each,
}

impl Plugin for SplitList {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        let mut lists = BTreeMap::new();
        for (list, members) in config.lists {
            if members.is_empty() {
                return Err(format!("the list `{list}` has no members").into());
            }
            let members: Vec<Address> = members.iter().map(|member| Address::parse(member)).collect();
            lists.insert(list.to_lowercase(), members);
        }
        Ok(Self { lists, each: config.each })
    }

    fn process(&mut self, m: &mut Message) -> Result<Verdict> {
        let (mut others, mut members) = (Vec::new(), Vec::new());
        for recipient in m.recipients() {
            match self.lists.get(&recipient.value.to_lowercase()) {
                Some(list) => members.extend(list.iter().cloned()),
                None => others.push(recipient),
            }
        }
        if members.is_empty() {
            return Ok(next());
        }
        members.retain({
            let mut seen: Vec<Address> = others.clone();
            move |member| {
                let new = !seen.contains(member);
                seen.push(member.clone());
                new
            }
        });
        if self.each == Each::Recipient {
            others.append(&mut members);
            m.set_recipients(others)?;
            return Ok(next());
        }
        for member in members {
            let mut copy = m.fork(Answers::Share)?;
            copy.set_recipients([member])?;
            copy.emit(next())?;
        }
        if others.is_empty() {
            return Ok(drop_message("every recipient was a list; the members have their own copies"));
        }
        m.set_recipients(others)?;
        Ok(next())
    }
}

#[cfg(test)]
mod tests;
