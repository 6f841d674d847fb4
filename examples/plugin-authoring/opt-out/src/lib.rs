//! Remembers who answered STOP, and lets nothing through to them any more.

use std::time::Duration;

use serde::Deserialize;
use wirepost_sdk::prelude::*;

plugin!(OptOut);

/// The plugin's block `config:` in the YAML.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What people answer who want no more.
    word: String,
    /// How long that holds.
    days: u64,
}

/// One instance; the host keeps several, so what must be remembered is in `kv`.
#[derive(Debug)]
pub struct OptOut {
    word: String,
    holds: Duration,
}

impl Plugin for OptOut {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        if config.word.trim().is_empty() || config.days == 0 {
            return Err("`word` must not be empty, and `days` not 0".into());
        }
        let holds = Duration::from_secs(config.days.saturating_mul(86_400));
        Ok(Self { word: config.word.trim().to_lowercase(), holds })
    }

    fn process(&mut self, m: &mut Message) -> Result<Verdict> {
        if m.text().trim().to_lowercase() == self.word {
            // Joins the message's transaction: it counts once the message is accepted.
            kv::set(&key(m.source()), b"", Some(self.holds))?;
            metrics::add("opted_out", 1);
            return Ok(next());
        }
        for recipient in m.recipients() {
            if kv::get(&key(&recipient))?.is_some() {
                metrics::add("kept_away", 1);
                return Ok(reject("the recipient wants no more").smpp(0x0B).smtp(550, "5.7.1"));
            }
        }
        Ok(next())
    }
}

fn key(address: &Address) -> String {
    format!("stop:{address}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wirepost_sdk::prelude::*;
    use wirepost_sdk::testing::{Harness, sms};

    use super::OptOut;

    #[test]
    fn who_answers_stop_is_left_alone() {
        let mut harness = Harness::<OptOut>::new(json!({"word": "STOP", "days": 2})).unwrap();
        let offer = sms("SHOP", "+33612345678", "shoes at half the price");
        assert_eq!(harness.process(&offer).unwrap().verdict, next());

        let answer = sms("+33612345678", "33700", " Stop\n");
        assert_eq!(harness.process(&answer).unwrap().verdict, next());
        let refused = reject("the recipient wants no more").smpp(0x0B).smtp(550, "5.7.1");
        assert_eq!(harness.process(&offer).unwrap().verdict, refused);
        let other = sms("SHOP", "+33612345679", "shoes at half the price");
        assert_eq!(harness.process(&other).unwrap().verdict, next());

        harness.advance(std::time::Duration::from_secs(3 * 86_400));
        assert_eq!(harness.process(&offer).unwrap().verdict, next());
    }

    #[test]
    fn a_configuration_that_says_nothing_is_refused() {
        assert!(Harness::<OptOut>::new(json!({"word": " ", "days": 2})).is_err());
        assert!(Harness::<OptOut>::new(json!({"word": "STOP"})).is_err());
    }
}
