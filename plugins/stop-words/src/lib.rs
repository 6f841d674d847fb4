//! Refuses, drops or holds messages that contain a word from a list.

use serde::Deserialize;
use wirepost_sdk::prelude::*;

plugin!(StopWords);
cases!("cases.json");

/// The plugin's block `config:` in the YAML.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What must not occur, in any case.
    words: Vec<String>,
    /// Only as a whole word: `ass` then spares `class`.
    #[serde(default = "yes")]
    whole_word: bool,
    /// What happens to a message that has one.
    #[serde(default)]
    action: Action,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    #[default]
    Reject,
    Drop,
    Hold,
}

/// A filter with its words in lower case.
#[derive(Debug)]
pub struct StopWords {
    words: Vec<String>,
    whole_word: bool,
    action: Action,
}

impl Plugin for StopWords {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        let words: Vec<String> = config.words.iter().map(|word| word.trim().to_lowercase()).collect();
        if words.is_empty() || words.iter().any(String::is_empty) {
            return Err("`words` needs at least one word, and none may be empty".into());
        }
        Ok(Self { words, whole_word: config.whole_word, action: config.action })
    }

    fn process(&mut self, m: &mut Message) -> Result<Verdict> {
        let mut text = m.text().to_lowercase();
        if let Some(subject) = m.subject() {
            text.push('\n');
            text.push_str(&subject.to_lowercase());
        }
        let Some(word) = self.words.iter().find(|word| self.occurs(&text, word)) else {
            return Ok(next());
        };
        metrics::add("hits", 1);
        let why = format!("contains the stop word `{word}`");
        Ok(match self.action {
            Action::Reject => reject("message content is not allowed here").smtp(550, "5.7.1"),
            Action::Drop => drop_message(why),
            Action::Hold => hold(why),
        })
    }
}

impl StopWords {
    /// Whether `word` stands in `text`; both are in lower case.
    fn occurs(&self, text: &str, word: &str) -> bool {
        text.match_indices(word).any(|(at, found)| {
            let before = text.get(..at).and_then(|head| head.chars().next_back());
            let after = text.get(at + found.len()..).and_then(|tail| tail.chars().next());
            !self.whole_word || !before.into_iter().chain(after).any(char::is_alphanumeric)
        })
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests;
