//! Makes a fork as the text says, `fork VERDICT ANSWERS [STAGE]`, for a recipient whose number ends in the
//! digit 9 instead of its last one, and lets the message itself go on. `STAGE` `queue` fails at the door,
//! so that the queue is where it forks. A fork that it sees itself is one too many: it says so in the text.

use std::time::Duration;

use wirepost_sdk::prelude::*;

filter!(judge);

fn judge(m: &mut Message) -> Result<Verdict> {
    let text = m.text().to_owned();
    let words: Vec<&str> = text.split_whitespace().collect();
    let (verdict, answers, late) = match *words.as_slice() {
        ["fork", verdict, answers] => (verdict, answers, false),
        ["fork", verdict, answers, "queue"] => (verdict, answers, true),
        _ => return Ok(next()),
    };
    if late && m.env.stage == Stage::Door {
        return Err("not at the door".into());
    }
    let Some(to) = m.recipients().first().map(|to| to.value.clone()) else { return Ok(next()) };
    let mut number = to;
    number.pop();
    number.push('9');
    let answers = if answers == "share" { Answers::Share } else { Answers::Copy };
    let mut fork = m.fork(answers)?;
    fork.set_recipients([number.as_str()])?;
    fork.set_text(format!("a fork to {verdict}"))?;
    fork.emit(match verdict {
        "accept" => accept(),
        "route" => route("smsc"),
        "reject" => reject("no forks"),
        "defer" => defer("not now").after(Duration::from_millis(1)),
        "drop" => drop_message("not wanted"),
        "hold" => hold("for a look"),
        _ => next(),
    })?;
    Ok(next())
}
