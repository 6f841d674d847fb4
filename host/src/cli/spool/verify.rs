//! `wirepost spool verify`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use spool::{Finding, Spool, Verified};

use super::{EX_DATAERR, Folder, ToolError, options};
use crate::cli::control::{say, say_json};

/// What to check.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    folder: Folder,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Checks and says what is wrong; 65 if something is.
pub(super) fn run(args: &VerifyArgs) -> Result<ExitCode, ToolError> {
    let path = args.folder.path()?;
    let verified = Spool::verify(&path, &options(false))?;
    if args.json {
        let finding = |finding: &Finding| json!({ "what": finding.what, "reason": finding.reason, "remedy": finding.remedy });
        say_json(&json!({
            "path": path.display().to_string(),
            "ok": verified.is_clean(),
            "entries": verified.entries,
            "bodies": verified.bodies,
            "body_files": verified.body_files,
            "keys": verified.keys,
            "notes": verified.notes,
            "outdated_notes": verified.outdated_notes,
            "set_aside": verified.aside,
            "journal_groups": verified.groups,
            "database_files": verified.files,
            "bytes": verified.bytes,
            "torn": verified.torn,
            "findings_total": verified.findings_total,
            "findings": verified.findings.iter().map(finding).collect::<Vec<_>>(),
        }));
    } else {
        say(&text(&path.display().to_string(), &verified));
    }
    Ok(if verified.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(EX_DATAERR) })
}

fn text(path: &str, verified: &Verified) -> String {
    let mut text = String::new();
    for finding in &verified.findings {
        text.push_str(&format!(
            "{}: {}\n  = help: {}\n",
            finding.what, finding.reason, finding.remedy
        ));
    }
    let described = u64::try_from(verified.findings.len()).unwrap_or(u64::MAX);
    if verified.findings_total > described {
        text.push_str(&format!("and {} more\n", verified.findings_total - described));
    }
    if let Some(torn) = &verified.torn {
        text.push_str(&format!("note: {torn}\n"));
    }
    let verdict = match verified.findings_total {
        0 => "is sound".to_owned(),
        1 => "has 1 finding".to_owned(),
        more => format!("has {more} findings"),
    };
    text.push_str(&format!(
        "{path} {verdict}: {} entries, {} bodies ({} of them files), {} keys, {} notes ({} outdated), {} set aside, {} groups in the journal, {} files of the database, {} bytes read\n",
        verified.entries,
        verified.bodies,
        verified.body_files,
        verified.keys,
        verified.notes,
        verified.outdated_notes,
        verified.aside,
        verified.groups,
        verified.files,
        verified.bytes,
    ));
    text
}
