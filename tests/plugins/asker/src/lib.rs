//! Asks look-ups what the text says, `ask LOOKUP KEY…`, and puts the answers in place of the text. `ask-in-vain`
//! waits without a question. Says nothing of receipts for numbers that end in 0, and counts the others.

use wirepost_sdk::prelude::*;

plugin!(Asker, on_lookup, on_receipt);

/// No state, no configuration.
#[derive(Debug)]
pub struct Asker;

impl Plugin for Asker {
    type Config = wirepost_sdk::NoConfig;

    fn new(_: Self::Config) -> Result<Self> {
        Ok(Self)
    }

    fn process(&mut self, m: &mut Message) -> Result<Verdict> {
        let text = m.text().to_owned();
        let mut words = text.split_whitespace();
        match (words.next(), words.next()) {
            (Some("ask"), Some(name)) => {
                m.set_meta("asked", Some(name))?;
                for key in words {
                    lookup::ask(name, key)?;
                }
                Ok(wait(name))
            }
            (Some("ask-in-vain"), _) => Ok(wait("")),
            _ => Ok(next()),
        }
    }
}

impl OnLookup for Asker {
    fn resume(&mut self, m: &mut Message, state: &[u8], answers: &[Answer]) -> Result<Verdict> {
        let said = answers.iter().map(|answer| match answer {
            Ok(text) => text.clone(),
            Err(error) => format!("{error:?}"),
        });
        let said: Vec<String> = said.collect();
        m.set_text(&format!("{}: {}", String::from_utf8_lossy(state), said.join(", ")))?;
        Ok(next())
    }
}

impl OnReceipt for Asker {
    fn receipt(&mut self, receipt: &Receipt) -> Result<Tell> {
        if receipt.recipient.value.ends_with('0') {
            return Ok(Tell::Nobody);
        }
        kv::set("receipt", receipt.target.as_bytes(), None)?;
        Ok(Tell::Origin)
    }
}
