//! What was executed, written down in `docs/PROMISES.md`.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::corpus::files;
use super::target::Target;
use crate::process::{output, root};

/// Adds a run to the row of its target.
pub(super) fn add(target: &Target, executed: u64) -> Result<()> {
    let path = root().join("docs/PROMISES.md");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let found = files(&target.found())?.len();
    let said = output(Command::new("date").args(["-u", "+%F"]))?;
    ensure!(said.status.success(), "`date` does not tell the date");
    let today = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    Ok(fs::write(path, with(&text, &target.name, executed, found, &today)?)?)
}

/// The text with more executions in the row of a target.
fn with(text: &str, target: &str, executed: u64, found: usize, today: &str) -> Result<String> {
    let begin = format!("| `{target}` |");
    let mut seen = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(&begin) else {
            lines.push(line.to_owned());
            continue;
        };
        let before = rest.split('|').next().unwrap_or_default().replace(' ', "");
        let before: u64 =
            before.parse().with_context(|| format!("{target}: `{before}` is no number"))?;
        seen = true;
        lines.push(format!("{begin} {} | {found} | {today} |", before + executed));
    }
    ensure!(seen, "docs/PROMISES.md has no row for `{target}`");
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_add_up_in_the_row_of_their_target_only() {
        let text =
            "# P\n\n| target | executed |\n|---|---:|\n| `a` | 5 | 0 | – |\n| `ab` | 1 | 2 | – |\n";
        let after = with(text, "a", 7, 1, "2027-01-02").unwrap();
        let expect = text.replace("| `a` | 5 | 0 | – |", "| `a` | 12 | 1 | 2027-01-02 |");
        assert_eq!(after, expect);
        assert!(with(text, "b", 1, 0, "2027-01-02").is_err());
        assert!(with("| `a` | many | 0 | – |\n", "a", 1, 0, "2027-01-02").is_err());
    }
}
