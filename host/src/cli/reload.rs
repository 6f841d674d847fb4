//! `wirepost reload`: take the configuration as it is on disk now, or say why not.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::control::{Place, field, say, say_json, with_query};
use super::{EX_CONFIG, complain};

/// Reloads the running router.
#[derive(Args, Debug)]
pub struct ReloadArgs {
    #[command(flatten)]
    place: Place,
    /// Only check and say what would change
    #[arg(long)]
    dry_run: bool,
}

/// Asks and prints; 78 if the configuration was refused.
pub async fn run(args: ReloadArgs) -> ExitCode {
    let dry_run = args.dry_run.then_some("true");
    let report = match args.place.post(&with_query("/reload", &[("dry_run", dry_run)])).await {
        Ok(report) => report,
        Err(error) => return error.complained(),
    };
    let ok = report.get("ok") == Some(&Value::Bool(true));
    if args.place.json {
        say_json(&report);
    } else if ok {
        let verb = if args.dry_run { "would be taken" } else { "in place" };
        say(&format!(
            "{verb}: generation {} runs\n{}{}",
            field(&report, "generation"),
            lines(&report),
            unused(&report, "unused"),
        ));
    } else {
        complain(&format!(
            "refused; generation {} goes on\n\n{}",
            field(&report, "generation"),
            lines(&report),
        ));
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::from(EX_CONFIG) }
}

/// The last reload, for `status`.
pub(super) fn describe(report: &Value) -> String {
    let at = field(report, "at");
    if report.get("ok") == Some(&Value::Bool(true)) {
        return format!("last reload {at}: taken\n");
    }
    format!("LAST RELOAD {at} WAS REFUSED:\n{}", lines(report))
}

/// Files of the plugin folder that nothing uses.
pub(super) fn unused(of: &Value, list: &str) -> String {
    let files = of.get(list).and_then(Value::as_array).into_iter().flatten();
    let line = |file: &str| {
        format!(
            "plugin file {} is not used: name it under `plugins`, or set `plugins: auto`\n",
            file.escape_debug()
        )
    };
    files.filter_map(Value::as_str).map(line).collect()
}

/// Findings have several lines each, with carets that must stand where they do.
fn lines(report: &Value) -> String {
    let empty = Vec::new();
    let lines = report.get("lines").and_then(Value::as_array).unwrap_or(&empty);
    let mut text = String::new();
    for line in lines.iter().filter_map(Value::as_str) {
        let clean = |c: char| if c.is_control() && c != '\n' { '\u{FFFD}' } else { c };
        text.extend(line.chars().map(clean));
        text.push('\n');
    }
    text
}
