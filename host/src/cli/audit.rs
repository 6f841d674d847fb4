//! `wirepost audit`: whether everything that came in is accounted for.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::control::{AskError, Place, field, say, say_json, table};
use super::{EX_IOERR, EX_NOINPUT, complain};
use crate::observe::journal::{Journal, Reader};
use crate::platform::clock::Clock;
use crate::router;

/// The exit code if something is not accounted for.
const EXIT_DIFFERENCE: u8 = 1;

/// Proves that accepted + born = delivered + failed + expired + dropped + joined + removed + held + queued.
#[derive(Args, Debug)]
pub struct AuditArgs {
    /// The folder of a spool that no router has open, instead of the running router
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// The folder of the journal that belongs to it
    #[arg(long, value_name = "DIR", requires = "spool")]
    journal: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// Audits and prints; 0 if everything is accounted for, 1 if not.
pub async fn run(args: AuditArgs) -> ExitCode {
    let audited = match &args.spool {
        Some(folder) => closed(folder, args.journal.as_deref()).await,
        None => args.place.get("/audit").await.map_err(|error: AskError| error.complained()),
    };
    let audited = match audited {
        Ok(audited) => audited,
        Err(exit) => return exit,
    };
    if args.place.json {
        say_json(&audited);
    } else {
        say(&for_people(&audited));
    }
    if audited.get("balanced") == Some(&Value::Bool(true)) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_DIFFERENCE)
    }
}

/// Audits a spool that is at rest.
async fn closed(folder: &Path, journal: Option<&Path>) -> Result<Value, ExitCode> {
    let failed = |exit: u8| {
        move |problem: String| {
            complain(&format!("wirepost: {problem}"));
            ExitCode::from(exit)
        }
    };
    // Opening would make one.
    if !folder.join("db").is_dir() {
        return Err(failed(EX_NOINPUT)(format!("{} is no spool", folder.display())));
    }
    let mut options = spool::Options::new(|| Clock::system().instant());
    options.reserve_bytes = 0;
    let (spool, report) = spool::Spool::open_fjall(folder, options)
        .map_err(|error| failed(EX_IOERR)(error.to_string()))?;
    for damage in &report.corrupt {
        complain(&format!("wirepost: {damage}; it was set aside, not deleted"));
    }
    let reader = journal.map(Reader::new);
    let audited = router::audit(&spool, reader, &Journal::none(), &Clock::system()).await;
    let audited = audited.map_err(|error| failed(EX_IOERR)(format!("the journal: {error:#}")))?;
    serde_json::to_value(audited).map_err(|error| failed(EX_IOERR)(error.to_string()))
}

fn for_people(audited: &Value) -> String {
    let none = Value::Null;
    let ledger = audited.get("ledger").unwrap_or(&none);
    let sums = ledger.get("sums").unwrap_or(&none);
    let mut text = String::new();
    text.push_str(&by_name(ledger, "doors", "door", &["accepted", "born", "dropped", "joined"]));
    let columns = ["delivered", "failed", "expired", "removed", "queued"];
    text.push_str(&by_name(ledger, "targets", "target", &columns));
    let term = |name: &&str| format!("{} {name}", field(sums, name));
    let side = |names: &[&str]| names.iter().map(term).collect::<Vec<_>>().join(" + ");
    let left = side(&["accepted", "born"]);
    let out = [
        "delivered",
        "failed",
        "expired",
        "dropped",
        "joined",
        "removed",
        "held",
        "queued",
        "damaged",
    ];
    let right = side(&out);
    let difference = ledger.get("difference").and_then(Value::as_i64).unwrap_or(0);
    let sign = if difference == 0 { "=" } else { "≠" };
    text.push_str(&format!("\n{left}\n  {sign} {right}\n\n"));
    text.push_str(&match difference {
        0 => "everything is accounted for\n".to_owned(),
        1.. => format!("{difference} NOT ACCOUNTED FOR\n"),
        _ => format!("{} MORE LEFT OR ARE HERE THAN CAME\n", difference.unsigned_abs()),
    });
    match audited.get("journal").filter(|story| !story.is_null()) {
        Some(story) => text.push_str(&told(story)),
        None => text.push_str("no journal is kept: it could name ids\n"),
    }
    text
}

fn told(story: &Value) -> String {
    let since = field(story, "since");
    if since.is_empty() {
        return "the journal is empty\n".to_owned();
    }
    let mut text = format!("the journal has {} lines since {since}\n", field(story, "lines"));
    let count = |name: &str| story.get(name).and_then(Value::as_u64).unwrap_or(0);
    if count("missing_count") > 0 {
        let ids = field(story, "missing").replace(',', "\n  ");
        text.push_str(&format!(
            "{} ids have a beginning and no end in it, and are not in the spool:\n  {ids}\n",
            count("missing_count"),
        ));
    }
    if count("untold_count") > 0 {
        text.push_str(&format!(
            "{} ids more have no end in it, but began before a crash or a gap of the journal\n",
            count("untold_count"),
        ));
    }
    text
}

fn by_name(ledger: &Value, what: &str, head: &str, columns: &[&str]) -> String {
    let Some(rows) = ledger.get(what).and_then(Value::as_object).filter(|rows| !rows.is_empty())
    else {
        return String::new();
    };
    let row = |(name, figures): (&String, &Value)| {
        let figures = columns.iter().map(|column| field(figures, column));
        std::iter::once(name.clone()).chain(figures).collect()
    };
    let rows: Vec<Vec<String>> = rows.iter().map(row).collect();
    let head: Vec<&str> = std::iter::once(head).chain(columns.iter().copied()).collect();
    table(&head, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_equation_is_shown_with_what_is_missing() {
        let audited = serde_json::json!({
            "balanced": false,
            "ledger": {
                "difference": 1,
                "sums": { "accepted": 3, "born": 0, "delivered": 2, "failed": 0, "expired": 0,
                    "dropped": 0, "joined": 0, "removed": 0, "held": 0, "queued": 0, "damaged": 0 },
                "doors": { "mail": { "accepted": 3, "born": 0, "dropped": 0, "joined": 0 } },
                "targets": { "relay": { "delivered": 2, "failed": 0, "expired": 0, "removed": 0, "queued": 0 } },
            },
            "journal": { "since": "2026-11-23T09:22:05.123Z", "lines": 9, "missing": ["7"],
                "missing_count": 1, "untold_count": 0 },
        });
        let text = for_people(&audited);
        assert!(
            text.starts_with(
                "door  accepted  born  dropped  joined\nmail         3     0        0       0\n"
            ),
            "{text}"
        );
        let equation = "\n3 accepted + 0 born\n  ≠ 2 delivered + 0 failed + 0 expired + 0 dropped + \
                        0 joined + 0 removed + 0 held + 0 queued + 0 damaged\n\n1 NOT ACCOUNTED FOR\n";
        assert!(text.contains(equation), "{text}");
        assert!(text.ends_with("and are not in the spool:\n  7\n"), "{text}");
    }
}
