//! `wirepost check`: is this configuration right, and if not, where not.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::config::{CheckOptions, Finding, Loaded, Severity, json_schema, load};

/// The exit code for a wrong configuration (sysexits `EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;

/// Checks configuration files and everything that they include.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Files to check, each on its own.
    #[arg(value_name = "FILE", default_value = "wirepost.yaml")]
    pub files: Vec<PathBuf>,
    /// Print one JSON object per file.
    #[arg(long)]
    pub json: bool,
    /// Warnings are errors.
    #[arg(long)]
    pub deny_warnings: bool,
    /// Print the JSON Schema of the configuration instead.
    #[arg(long)]
    pub schema: bool,
    /// Take environment variables, secrets and certificates to be there.
    #[arg(long)]
    pub no_environment: bool,
}

/// Checks and prints; 0 if every file is right, 78 if not.
#[must_use]
pub fn run(args: &CheckArgs) -> ExitCode {
    if args.schema {
        println!("{:#}", json_schema());
        return ExitCode::SUCCESS;
    }
    let options = CheckOptions { environment: !args.no_environment };
    let mut right = true;
    for file in &args.files {
        let loaded = load(file, options);
        let file_is_right =
            loaded.config.is_some() && (!args.deny_warnings || loaded.findings.is_empty());
        right &= file_is_right;
        if args.json {
            println!("{}", as_json(&loaded, &file.display().to_string(), file_is_right));
        } else {
            print_findings(&loaded.findings);
            println!("{}", summary(&loaded, &file.display().to_string(), file_is_right));
        }
    }
    if right { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CONFIG) }
}

/// Prints findings as a compiler does, one after another.
pub fn print_findings(findings: &[Finding]) {
    for finding in findings {
        println!("{finding}\n");
    }
}

fn summary(loaded: &Loaded, file: &str, right: bool) -> String {
    let errors = loaded.errors();
    let warnings = loaded.findings.len() - errors;
    let found = match (errors, warnings) {
        (0, 0) => String::new(),
        (0, warnings) => format!(" ({})", count(warnings, "warning")),
        (errors, 0) => format!(" ({})", count(errors, "error")),
        (errors, warnings) => {
            format!(" ({}, {})", count(errors, "error"), count(warnings, "warning"))
        }
    };
    let Some(config) = loaded.config.as_ref().filter(|_| right) else {
        return format!("{file} cannot be used{found}");
    };
    format!(
        "{file} is right{found}: {}, {}, {}, {}, {}",
        count(config.listeners.len(), "listener"),
        count(config.accounts.len(), "account"),
        count(config.connectors.len(), "connector"),
        count(config.plugins.list.len(), "plugin"),
        count(config.routes.len(), "route"),
    )
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn as_json(loaded: &Loaded, file: &str, right: bool) -> serde_json::Value {
    let warnings = loaded.findings.iter().filter(|found| found.severity == Severity::Warning);
    json!({
        "file": file,
        "ok": right,
        "errors": loaded.errors(),
        "warnings": warnings.count(),
        "findings": loaded.findings,
        "files": loaded.files,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, deny_warnings: bool) -> ExitCode {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wirepost.yaml");
        std::fs::write(&file, text).unwrap();
        let files = vec![file];
        let json = deny_warnings;
        run(&CheckArgs { files, json, deny_warnings, schema: false, no_environment: true })
    }

    #[test]
    fn the_exit_code_says_whether_it_can_be_used() {
        assert_eq!(check("node: { id: 1 }", true), ExitCode::SUCCESS);
        assert_eq!(check("nodes: { id: 1 }", false), ExitCode::from(EXIT_CONFIG));
        let warning = "spool: { memory: true, path: here }";
        assert_eq!(check(warning, false), ExitCode::SUCCESS);
        assert_eq!(check(warning, true), ExitCode::from(EXIT_CONFIG));
    }

    #[test]
    fn the_summary_counts() {
        let options = CheckOptions::default();
        let loaded = crate::config::load_text("x.yaml".as_ref(), "node: { id: 1, x: 2 }", options);
        assert_eq!(summary(&loaded, "x.yaml", false), "x.yaml cannot be used (1 error)");
        assert_eq!(as_json(&loaded, "x.yaml", false)["findings"][0]["column"], 16);
    }
}
