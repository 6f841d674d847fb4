//! Panics at the word `trap`, after an edit that must not be seen.

use wirepost_sdk::prelude::*;

filter!(judge);

fn judge(m: &mut Message) -> Result<Verdict> {
    if m.text().contains("trap") {
        m.set_text("a trap leaves nothing behind")?;
        kv::set("trapped", b"yes", None)?;
        assert!(m.text().is_empty(), "asked to");
    }
    m.set_meta("trap", Some("passed"))?;
    Ok(next())
}
