//! `wirepost test`: whether the messages in a configuration become what its `tests` say.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::check::{EXIT_CONFIG, print_findings};
use super::control::say;
use super::{EX_NOINPUT, EX_UNAVAILABLE, complain};
use crate::config::{CheckOptions, Glob, TestCase, load};
use crate::platform::clock::Clock;
use crate::rehearsal::{OpenError, Rehearsal, Verdict};

/// The exit code if a test fails.
const EXIT_FAILED: u8 = 1;

/// Runs the tests of a configuration: real plugins, routes and conversions, no sockets, no disk.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// The configuration
    #[arg(value_name = "FILE", default_value = super::CONFIG)]
    pub file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Only tests whose name has this in it; `*` and `?` stand for what they do in a shell
    #[arg(long, value_name = "PATTERN")]
    pub name: Option<String>,
}

/// Runs and prints; 0 if all are met, 1 if not, 78 if the configuration is wrong.
pub async fn run(args: TestArgs) -> ExitCode {
    // What a test needs to know is in the configuration; secrets are none of it.
    let loaded = load(&args.file, CheckOptions { environment: false });
    let Some(config) = loaded.config.map(Arc::new) else {
        if args.json {
            say(&format!("{:#}\n", json!({ "ok": false, "findings": loaded.findings })));
        } else {
            print_findings(&loaded.findings);
        }
        return ExitCode::from(EXIT_CONFIG);
    };
    let chosen = match chosen(&config.tests, args.name.as_deref()) {
        Ok(chosen) => chosen,
        Err(problem) => {
            complain(&format!("wirepost: {}: {problem}", args.file.display()));
            return ExitCode::from(EX_NOINPUT);
        }
    };
    let rehearsal = match Rehearsal::open(Arc::clone(&config), Clock::system()).await {
        Ok(rehearsal) => rehearsal,
        Err(error) => {
            complain(&format!("wirepost: {error}"));
            return ExitCode::from(match error {
                OpenError::Plugins(_) => EXIT_CONFIG,
                OpenError::Other(_) => EX_UNAVAILABLE,
            });
        }
    };
    let mut verdicts = Vec::with_capacity(chosen.len());
    for case in chosen {
        let verdict = rehearsal.run(case).await;
        if !args.json {
            say(&for_people(&verdict));
        }
        verdicts.push(verdict);
    }
    let failed = verdicts.iter().filter(|verdict| !verdict.ok).count();
    if args.json {
        let file = args.file.display().to_string();
        let passed = verdicts.len() - failed;
        say(&format!(
            "{:#}\n",
            json!({
                "file": file,
                "ok": failed == 0,
                "passed": passed,
                "failed": failed,
                "tests": verdicts,
            })
        ));
    } else {
        say(&format!("{} tests, {failed} failed\n", verdicts.len()));
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) }
}

/// The tests of this name, or all.
fn chosen<'a>(tests: &'a [TestCase], pattern: Option<&str>) -> Result<Vec<&'a TestCase>, String> {
    let Some(pattern) = pattern else { return Ok(tests.iter().collect()) };
    let glob = Glob::parse(&format!("*{pattern}*"))
        .map_err(|problem| format!("--name {pattern}: {problem}"))?;
    let found: Vec<_> = tests.iter().filter(|case| glob.matches(&case.name)).collect();
    if found.is_empty() {
        return Err(format!("none of its {} tests has \"{pattern}\" in its name", tests.len()));
    }
    Ok(found)
}

fn for_people(verdict: &Verdict) -> String {
    if verdict.ok {
        return format!("ok      {}\n", verdict.name);
    }
    let mut text = format!("FAILED  {} ({})\n", verdict.name, verdict.place);
    for difference in &verdict.differences {
        let (what, expected, got) = (difference.what, &difference.expected, &difference.got);
        text.push_str(&format!(
            "          {what}: expected {}, got {}\n",
            expected.escape_debug(),
            got.escape_debug()
        ));
    }
    if verdict.became.len() > 1 {
        text.push_str(&format!("          it became {} things:\n", verdict.became.len()));
        for became in &verdict.became {
            text.push_str(&format!("            {}\n", became.spell().escape_debug()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::Difference;

    #[test]
    fn a_failure_shows_its_place_what_was_expected_and_what_came() {
        let difference =
            Difference { what: "text", expected: "Hi".to_owned(), got: "H\u{1b}".to_owned() };
        let verdict = Verdict {
            name: "a mail".into(),
            place: "wirepost.yaml:12:5".into(),
            ok: false,
            differences: vec![difference],
            became: Vec::new(),
        };
        assert_eq!(
            for_people(&verdict),
            "FAILED  a mail (wirepost.yaml:12:5)\n          \
             text: expected Hi, got H\\u{1b}\n"
        );
    }
}
