//! Tests of a plugin under plain `cargo test`, without WebAssembly.
//!
//! The message is the host's own: text is decoded, headers are folded and edits are refused exactly as in
//! production. Keys, clock, tables and targets are in memory and yours to set. Grants are not checked: they
//! are the operator's.
//!
//! ```
//! use wirepost_sdk::prelude::*;
//! use wirepost_sdk::testing::{Harness, sms};
//!
//! fn no_lottery(m: &mut Message) -> Verdict {
//!     if m.text().contains("lottery") { reject("no lotteries") } else { next() }
//! }
//! wirepost_sdk::filter!(no_lottery);
//!
//! # fn main() -> Result<()> {
//! let mut harness = Harness::<Filter>::new("{}")?;
//! let outcome = harness.process(&sms("SHOP", "+33612345678", "win the lottery"))?;
//! assert_eq!(outcome.verdict, reject("no lotteries"));
//! # Ok(())
//! # }
//! ```

mod sample;

use std::time::Duration;

use message::edit::Edited;

use crate::backend::{self, Handle, World};
use crate::lookup::{Answer, OnLookup};
use crate::receipt::{OnReceipt, Receipt, Tell};
use crate::targets::TargetState;
use crate::{Address, Answers, Message, Plugin, Result, Value, Verdict, parse_config};

pub use backend::Line;
pub use sample::{Sample, binary, mail, sms};

/// A plugin with a world of its own.
#[derive(Debug)]
pub struct Harness<P> {
    plugin: P,
    world: World,
    run: u32,
}

impl<P: Plugin> Harness<P> {
    /// An instance with this configuration: JSON text, or anything that prints as JSON such as
    /// `serde_json::json!({…})`.
    ///
    /// # Errors
    /// What would refuse the module: the configuration, or `new` itself.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a literal or `json!` is handed over as it is"
    )]
    pub fn new<C: ToString>(config: C) -> Result<Self> {
        let mut world = World::default();
        let config = parse_config(&config.to_string())?;
        let (plugin, _) = world.during(|| P::new(config));
        Ok(Self { plugin: plugin?, world, run: 1 })
    }

    /// Lets the plugin judge a new message.
    ///
    /// # Errors
    /// The plugin's own failure; keys that it wrote in this call are forgotten.
    pub fn process(&mut self, sample: &Sample) -> Result<Outcome> {
        self.world.message_id += 1;
        self.run = 1;
        self.call(sample)
    }

    /// Lets the plugin judge the last message again, as after a fault.
    ///
    /// # Errors
    /// As [`Harness::process`].
    pub fn process_again(&mut self, sample: &Sample) -> Result<Outcome> {
        self.run += 1;
        self.call(sample)
    }

    /// Lets time pass.
    pub fn advance(&mut self, by: Duration) {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.world.now_ms = self.world.now_ms.saturating_add(by_ms);
    }

    /// Sets the state of a target.
    pub fn set_target(&mut self, name: &str, up: bool) {
        self.world.targets.insert(name.to_owned(), TargetState::new(name, up, 0, 0.0));
    }

    /// Adds a row to a table.
    pub fn set_row(&mut self, table: &str, key: &str, value: &str) {
        let rows = self.world.tables.entry(table.to_owned()).or_default();
        rows.insert(key.to_owned(), value.to_owned());
    }

    /// The value of a key.
    #[must_use]
    pub fn kv(&self, key: &str) -> Option<Vec<u8>> {
        self.world.kv_get(key).ok().flatten()
    }

    /// The value of a counter of the metrics.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        self.world.counters.get(name).copied().unwrap_or(0)
    }

    /// Everything that was logged.
    #[must_use]
    pub fn log(&self) -> &[Line] {
        &self.world.lines
    }

    /// The plugin itself.
    pub const fn plugin(&mut self) -> &mut P {
        &mut self.plugin
    }

    /// Sets what a look-up says about a key; keys without an answer are not known. A look-up of which
    /// nothing was set is not there.
    pub fn set_answer(&mut self, lookup: &str, key: &str, answer: Answer) {
        self.world.answers.insert((lookup.to_owned(), key.to_owned()), answer);
    }

    fn call(&mut self, sample: &Sample) -> Result<Outcome> {
        let message = sample.message(self.world.message_id, self.world.now_ms);
        let handle = Handle::new(Edited::new(message), Answers::Share, self.run);
        let env = handle.envelope();
        let plugin = &mut self.plugin;
        let (verdict, emitted) =
            self.world.during(|| plugin.process(&mut Message::new(handle.clone(), env)));
        let forks = emitted.into_iter().map(|fork| Forked {
            verdict: fork.verdict,
            answers: fork.answers,
            message: Seen(fork.edited),
        });
        Ok(Outcome { verdict: verdict?, forks: forks.collect(), message: Seen(handle.edited()) })
    }
}

impl<P: OnLookup> Harness<P> {
    /// Lets the plugin judge a new message, and go on with it whenever it waits for answers.
    ///
    /// # Errors
    /// The plugin's own failure.
    pub fn process_answered(&mut self, sample: &Sample) -> Result<Outcome> {
        self.world.message_id += 1;
        self.run = 1;
        let message = sample.message(self.world.message_id, self.world.now_ms);
        let handle = Handle::new(Edited::new(message), Answers::Share, self.run);
        let env = handle.envelope();
        let plugin = &mut self.plugin;
        let (mut verdict, mut emitted) =
            self.world.during(|| plugin.process(&mut Message::new(handle.clone(), env.clone())));
        while let Ok(Verdict::Wait(state)) = &verdict {
            let (state, answers) = (state.clone(), self.world.take_answers());
            if answers.is_empty() {
                return Err("`wait` without a question".into());
            }
            let resume = || {
                let mut message = Message::new(handle.clone(), env.clone());
                plugin.resume(&mut message, &state, &answers)
            };
            let (next, more) = self.world.during(resume);
            verdict = next;
            emitted.extend(more);
        }
        let forks = emitted.into_iter().map(|fork| Forked {
            verdict: fork.verdict,
            answers: fork.answers,
            message: Seen(fork.edited),
        });
        Ok(Outcome { verdict: verdict?, forks: forks.collect(), message: Seen(handle.edited()) })
    }
}

impl<P: OnReceipt> Harness<P> {
    /// Shows a receipt to the plugin.
    ///
    /// # Errors
    /// The plugin's own failure.
    pub fn receipt(&mut self, receipt: &Receipt) -> Result<Tell> {
        let plugin = &mut self.plugin;
        self.world.during(|| plugin.receipt(receipt)).0
    }
}

/// What a plugin made of a message.
#[derive(Debug)]
pub struct Outcome {
    /// What it decided.
    pub verdict: Verdict,
    /// The message with its edits.
    pub message: Seen,
    /// The forks it emitted, in order.
    pub forks: Vec<Forked>,
}

/// A fork that was emitted.
#[derive(Debug)]
pub struct Forked {
    /// What was decided about it.
    pub verdict: Verdict,
    /// What the origin hears of it.
    pub answers: Answers,
    /// The fork with its edits.
    pub message: Seen,
}

/// A message after the plugin, to look at.
#[derive(Debug)]
pub struct Seen(Edited);

impl Seen {
    /// Whether the plugin changed anything.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.0.clone().into_changed().is_some()
    }

    /// The sender.
    #[must_use]
    pub fn source(&self) -> Address {
        backend::address(&self.0.message().sender)
    }

    /// The recipients' values.
    #[must_use]
    pub fn recipients(&self) -> Vec<String> {
        self.0.message().recipients.iter().map(|to| to.address.value.to_string()).collect()
    }

    /// The text; empty if there is none.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.text().unwrap_or_default()
    }

    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.0.view()?.header(name)
    }

    /// A protocol field.
    #[must_use]
    pub fn field(&self, key: &str) -> Value {
        backend::value(self.0.field(key))
    }

    /// A note.
    #[must_use]
    pub fn meta(&self, key: &str) -> Option<&str> {
        self.0.note(key)
    }

    /// SMS parts that the text takes, in the alphabet that needs the fewest.
    #[must_use]
    pub fn sms_parts(&self) -> usize {
        message::text::count_parts(self.text())
    }
}
