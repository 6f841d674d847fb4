//! Does what the text says, so that tests can see each function of the host: `claim KEY`, `set KEY VALUE`,
//! `get KEY`, `delete KEY`, `add KEY`, `take KEY`, `header NAME VALUE`, `text WORD`, `fork NUMBER WORD`,
//! `replace OLD NEW`, `lookup TABLE KEY`, `sha`, `clock`, `find WORD`. The answer is the note `answer`.

use std::time::Duration;

use wirepost_sdk::prelude::*;

filter!(judge);

fn judge(m: &mut Message) -> Result<Verdict> {
    let text = m.text().to_owned();
    let words: Vec<&str> = text.split_whitespace().collect();
    let answer = match *words.as_slice() {
        ["claim", key] => kv::set_if_absent(key, b"1", None)?.to_string(),
        ["set", key, value] => {
            kv::set(key, value.as_bytes(), Some(Duration::from_secs(60)))?;
            get(key)?
        }
        ["get", key] => get(key)?,
        ["delete", key] => kv::delete(key)?.to_string(),
        ["add", key] => kv::add(key, 1, None)?.to_string(),
        ["take", key] => kv::take(key, 1.0, 2.0, 1.0).is_ok().to_string(),
        ["header", name, value] => {
            m.set_header(name, value)?;
            m.header(name).unwrap_or_default()
        }
        ["text", word] => {
            m.set_text(word)?;
            m.text().to_owned()
        }
        ["fork", number, word] => {
            let mut fork = m.fork(Answers::Share)?;
            fork.set_recipients([number])?;
            fork.set_text(word)?;
            fork.emit(next())?.to_string()
        }
        ["replace", old, new] => {
            m.replace_recipient(&Address::parse(old), new)?;
            m.recipients().iter().map(|to| to.value.clone()).collect::<Vec<_>>().join(",")
        }
        ["lookup", table, key] => tables::lookup(table, key).unwrap_or_default(),
        ["sha"] => m.sha256(None)?.len().to_string(),
        ["clock"] => (clock::now_ms() > 0 && random::bytes(16).len() == 16).to_string(),
        ["find", word] => m.find(&["absent", word], true).len().to_string(),
        _ => "nothing".to_owned(),
    };
    m.set_meta("answer", Some(&answer))?;
    Ok(next())
}

fn get(key: &str) -> Result<String> {
    let value = kv::get(key)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&value).into_owned())
}
