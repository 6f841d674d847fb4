//! Panics at the word `trap`, after an edit that must not be seen, and calls itself without end at `deep`.

use wirepost_sdk::prelude::*;

filter!(judge);

fn judge(m: &mut Message) -> Result<Verdict> {
    if m.text().contains("trap") {
        m.set_text("a trap leaves nothing behind")?;
        kv::set("trapped", b"yes", None)?;
        assert!(m.text().is_empty(), "asked to");
    }
    if m.text().contains("deep") {
        m.set_meta("depth", Some(&deep(1).to_string()))?;
    }
    m.set_meta("trap", Some("passed"))?;
    Ok(next())
}

fn deep(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 64]);
    if n == 0 { 0 } else { deep(n + 1) + frame.iter().sum::<u64>() }
}
