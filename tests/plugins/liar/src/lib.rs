//! Says what it should not. The first word of the text is the lie.

use wirepost_sdk::prelude::*;

filter!(judge);

fn judge(m: &mut Message) -> Result<Verdict> {
    let text = m.text().to_owned();
    let mut words = text.split_whitespace();
    let (lie, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    Ok(match lie {
        "unknown-verdict" => Verdict::Other(77, "trust me".to_owned()),
        "route" => route(rest),
        "no-route" => Verdict::Route(Vec::new()),
        "reply" => reject("fine\r\n250 OK").smtp(250, "2.0.0"),
        "edit-and-fail" => {
            m.set_text("edited by a liar")?;
            m.set_meta("liar", Some("was here"))?;
            kv::set("liar", b"was here", None)?;
            return Err("I did it anyway".into());
        }
        "source" => {
            m.set_source(Address::alphanumeric("BANK"))?;
            next()
        }
        "recipient" => {
            m.set_recipients([rest])?;
            next()
        }
        "forks" => {
            let mut made = 0_u32;
            for _ in 0..10_000 {
                match m.fork(Answers::Copy) {
                    Ok(fork) => {
                        fork.emit(next())?;
                        made += 1;
                    }
                    Err(Error::Exhausted) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            m.set_meta("forks", Some(&made.to_string()))?;
            next()
        }
        "lost-forks" => {
            for _ in 0..5 {
                m.fork(Answers::Copy)?.set_text("never sent")?;
            }
            next()
        }
        "fork-lie" => {
            let fork = m.fork(Answers::Share)?;
            // The refusal is swallowed: the host must not take the rest for a decision.
            let _refused = fork.emit(route("nowhere"));
            next()
        }
        "flood" => {
            for _ in 0..1000 {
                log::info(&"x".repeat(5000));
            }
            next()
        }
        "long-error" => return Err("in red \u{1b}[31m\n".repeat(200_000).into()),
        "false-alarms" => {
            for n in 0..1000 {
                log::write(log::Level::Error, &n.to_string(), &[("event", "panic")]);
            }
            next()
        }
        "grow" => {
            let fork_text = "y".repeat(200_000);
            for _ in 0..20 {
                let mut fork = m.fork(Answers::Copy)?;
                fork.set_text(fork_text.as_str())?;
                fork.emit(next())?;
            }
            next()
        }
        _ => next(),
    })
}
