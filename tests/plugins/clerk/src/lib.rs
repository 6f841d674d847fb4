//! Answers, copies, counts and says what the SMS of a mail says, as the text asks for it: `answer WORDS`,
//! `copy NUMBER WORDS`, `convert WORDS`, `count NAME`, `gauge NAME VALUE`, `observe NAME VALUE`,
//! `names NUMBER`, `count-and-fail NAME`. The first recipient is who answers.

use wirepost_sdk::prelude::*;

plugin!(Clerk);

/// No state, no configuration.
#[derive(Debug)]
pub struct Clerk;

impl Plugin for Clerk {
    type Config = wirepost_sdk::NoConfig;

    fn new(_: Self::Config) -> Result<Self> {
        metrics::add("started", 1);
        Ok(Self)
    }

    fn process(&mut self, m: &mut Message) -> Result<Verdict> {
        metrics::add("seen", 1);
        let text = m.text().trim().to_owned();
        let (order, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
        match order {
            "answer" => fork(m, m.source().clone(), rest)?,
            "copy" => fork(m, Address::parse(name), value)?,
            "convert" => m.set_field("convert.text", rest)?,
            "count" => metrics::add(name, 1),
            "gauge" => metrics::gauge(name, value.parse()?),
            "observe" => metrics::observe(name, value.parse()?),
            "names" => {
                let names: u32 = name.parse()?;
                (0..names).for_each(|n| metrics::add(&format!("name_{n}"), 1));
            }
            "count-and-fail" => {
                metrics::add(name, 1);
                return Err("as the text says".into());
            }
            _ => {}
        }
        Ok(next())
    }
}

/// Sends words to somebody, as the first recipient of the message.
fn fork(m: &mut Message, to: Address, words: &str) -> Result<()> {
    let from = m.recipients().into_iter().next().ok_or("a message for nobody")?;
    let mut fork = m.fork(Answers::Copy)?;
    fork.set_source(from)?;
    fork.set_recipients([to])?;
    fork.set_text(words)?;
    fork.emit(next())?;
    Ok(())
}
