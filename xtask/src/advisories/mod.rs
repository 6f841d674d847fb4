//! Public advisories about what we depend on: a dated copy in the tree is compared with every lock file,
//! always; where `cargo-deny` and its database can be had, they are asked too.

mod version;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::{cargo, found, root, run as run_command, try_run};
use version::{Version, matches_any};

/// Where the copy is.
const COPY: &str = "xtask/advisories.json";
/// Time to bring the database.
const FETCH_WITHIN: Duration = Duration::from_secs(60);
/// Folders without lock files of ours.
const PASSED_BY: [&str; 4] = ["target", ".git", "node_modules", "src"];

/// One advisory as we keep it.
#[derive(Debug)]
struct Advisory {
    id: String,
    package: String,
    title: String,
    /// Requirements, of which one must hold for a version to be good.
    good: Vec<String>,
    /// Why an affected version may stay for now.
    accepted: Option<String>,
}

/// Compares the copy with every lock file in the tree.
///
/// # Errors
/// If a locked version is affected and nobody accepted that, if what is accepted is not locked any more,
/// or if the copy cannot be read.
pub(crate) fn check_copy() -> Result<()> {
    let text = fs::read_to_string(root().join(COPY)).with_context(|| format!("read {COPY}"))?;
    let (copied, advisories) = read(&text).with_context(|| format!("read {COPY}"))?;
    let mut locks = Vec::new();
    find_locks(&root(), &mut locks)?;
    let mut locked = BTreeMap::new();
    for lock in &locks {
        let text = fs::read_to_string(lock)?;
        let place = lock.strip_prefix(root()).unwrap_or(lock).display().to_string();
        locked.insert(place, packages(&text));
    }
    let said = compare(&advisories, &locked)?;
    for line in &said.accepted {
        println!("accepted: {line}");
    }
    println!(
        "{} advisories, copied on {copied}, compared with {} lock files",
        advisories.len(),
        locks.len()
    );
    ensure!(said.wrong.is_empty(), "{}", said.wrong.join("\n"));
    Ok(())
}

/// What is missing to ask the database itself, and how to get it.
pub(crate) fn missing() -> Option<&'static str> {
    if !found("cargo-deny") {
        return Some("no cargo-deny; `cargo install cargo-deny` brings it");
    }
    let log = root().join("target/advisories.log");
    let there = fs::create_dir_all(root().join("target")).is_ok()
        && try_run(&mut cargo(&["deny", "fetch", "db"]), FETCH_WITHIN, &log).unwrap_or(false);
    (!there).then_some("the advisory database cannot be had; target/advisories.log says why")
}

/// Asks `cargo-deny`, whose settings are in `deny.toml`.
///
/// # Errors
/// What it finds.
pub(crate) fn check_database() -> Result<()> {
    run_command(&mut cargo(&["deny", "check", "advisories"]))
}

/// What the comparison says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    wrong: Vec<String>,
    accepted: Vec<String>,
}

/// Packages and their versions, by lock file.
type Locked = BTreeMap<String, Vec<(String, Version)>>;

fn compare(advisories: &[Advisory], locked: &Locked) -> Result<Said> {
    let mut said = Said::default();
    for advisory in advisories {
        let mut hit = false;
        for (place, packages) in locked {
            for (name, version) in packages {
                if *name != advisory.package || matches_any(version, &advisory.good)? {
                    continue;
                }
                hit = true;
                let Advisory { id, title, good, .. } = advisory;
                let what = format!("{place}: {name} {version}: {id}: {title}");
                match &advisory.accepted {
                    Some(why) => said.accepted.push(format!("{what}; {why}")),
                    None => said.wrong.push(format!("{what}; good are {}", good.join(" or "))),
                }
            }
        }
        if advisory.accepted.is_some() && !hit {
            let Advisory { id, package, .. } = advisory;
            said.wrong.push(format!(
                "{id} is accepted, but no locked {package} is affected: remove `accepted` in {COPY}"
            ));
        }
    }
    Ok(said)
}

fn read(text: &str) -> Result<(String, Vec<Advisory>)> {
    let whole: Value = serde_json::from_str(text)?;
    let copied = string(&whole, "copied")?;
    let list = whole.get("advisories").and_then(Value::as_array).context("no `advisories`")?;
    let advisories = list.iter().map(advisory).collect::<Result<Vec<_>>>()?;
    Ok((copied, advisories))
}

fn advisory(value: &Value) -> Result<Advisory> {
    let id = string(value, "id")?;
    let list = value.get("good").and_then(Value::as_array);
    let list = list.with_context(|| format!("{id} has no list `good`"))?;
    let good = list.iter().map(|one| one.as_str().map(str::to_owned));
    let good: Option<Vec<_>> = good.collect();
    let accepted = value.get("accepted").and_then(Value::as_str).map(str::to_owned);
    Ok(Advisory {
        package: string(value, "package")?,
        title: string(value, "title")?,
        good: good.with_context(|| format!("{id}: what is good is a text"))?,
        accepted,
        id,
    })
}

fn string(value: &Value, key: &str) -> Result<String> {
    let text = value.get(key).and_then(Value::as_str);
    Ok(text.with_context(|| format!("no `{key}` in {value}"))?.to_owned())
}

fn find_locks(folder: &Path, locks: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let kind = entry.file_type()?;
        if kind.is_file() && name == "Cargo.lock" {
            locks.push(entry.path());
        } else if kind.is_dir() && !PASSED_BY.iter().any(|passed| name == *passed) {
            find_locks(&entry.path(), locks)?;
        }
    }
    locks.sort();
    Ok(())
}

/// The packages of a lock file, whose form Cargo writes and nobody else.
fn packages(lock: &str) -> Vec<(String, Version)> {
    let value = |line: &str, key: &str| {
        let text = line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')?;
        Some(text.to_owned())
    };
    let mut packages = Vec::new();
    let mut name = None;
    for line in lock.lines() {
        if let Some(text) = value(line, "name") {
            name = Some(text);
        } else if let (Some(version), Some(name)) = (value(line, "version"), name.take()) {
            packages.extend(Version::parse(&version).map(|version| (name, version)));
        }
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"engine\"\nversion = \"48.0.8\"\nsource = \"x\"\n\
                        dependencies = [\n \"other\",\n]\n\n[[package]]\nname = \"other\"\nversion = \"1.0.0+deprecated\"\n";

    fn said(advisory: &str) -> Said {
        let text = format!("{{\"copied\": \"2026-11-30\", \"advisories\": [{advisory}]}}");
        let (_, advisories) = read(&text).unwrap();
        compare(&advisories, &BTreeMap::from([("Cargo.lock".to_owned(), packages(LOCK))])).unwrap()
    }

    #[test]
    fn an_affected_version_is_told_with_its_place_and_its_remedy() {
        let said = said(
            r#"{"id": "R-1", "package": "engine", "title": "it aborts", "good": [">=48.0.9, <49", "<47"]}"#,
        );
        let expect =
            "Cargo.lock: engine 48.0.8: R-1: it aborts; good are >=48.0.9, <49 or <47".to_owned();
        assert_eq!(said, Said { wrong: vec![expect], accepted: Vec::new() });
    }

    #[test]
    fn a_good_version_and_a_package_that_is_not_locked_are_silent() {
        let good =
            r#"{"id": "R-1", "package": "engine", "title": "x", "good": [">=48.0.8"]}"#.to_owned();
        let none = r#"{"id": "R-2", "package": "none", "title": "x", "good": []}"#;
        assert_eq!(said(&format!("{good}, {none}")), Said::default());
    }

    #[test]
    fn what_is_accepted_is_told_and_must_not_outlive_its_cause() {
        let accepted = |version: &str| {
            said(&format!(
                r#"{{"id": "R-1", "package": "engine", "title": "x", "good": ["{version}"], "accepted": "not yet out"}}"#
            ))
        };
        assert!(accepted(">=48.0.9").accepted[0].ends_with("x; not yet out"));
        assert!(accepted(">=48.0.8").wrong[0].contains("remove `accepted`"));
    }

    #[test]
    fn lock_files_of_every_workspace_are_found() {
        let mut locks = Vec::new();
        find_locks(&root(), &mut locks).unwrap();
        for place in ["Cargo.lock", "plugins/Cargo.lock", "tests/fuzz/Cargo.lock"] {
            assert!(locks.contains(&root().join(place)), "{place}: {locks:?}");
        }
    }

    #[test]
    fn the_copy_is_dated_and_each_entry_says_what_is_good() {
        let text = fs::read_to_string(root().join(COPY)).unwrap();
        let (copied, advisories) = read(&text).unwrap();
        assert_eq!(copied.len(), "2026-11-30".len());
        for advisory in &advisories {
            matches_any(&Version::parse("1.0.0").unwrap(), &advisory.good).unwrap();
        }
        let ignored = fs::read_to_string(root().join("deny.toml")).unwrap();
        for advisory in advisories.iter().filter(|one| one.accepted.is_some()) {
            let known = advisory.id.starts_with("RUSTSEC-");
            assert!(!known || ignored.contains(&advisory.id), "deny.toml ignores {}", advisory.id);
        }
    }
}
