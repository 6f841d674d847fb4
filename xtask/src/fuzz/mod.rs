//! Fuzzes everything that reads what a stranger wrote: builds the targets with coverage counters, lets
//! each run for a time, keeps what it learned, and counts what it executed.
//!
//! The counters that libFuzzer steers by come from LLVM's own pass, so that the stable compiler does.

mod corpus;
mod record;
mod target;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{cargo, found, output, root, run as run_command, target as target_folder};
use target::{Ran, Seed, Target};

/// How long each target runs without `--for`.
const RUN_FOR: Duration = Duration::from_secs(60);
/// How long each target runs as a part of `cargo xtask test`.
const SAMPLE_FOR: Duration = Duration::from_secs(5);
/// libFuzzer itself is C++.
const COMPILERS: [&str; 3] = ["c++", "g++", "clang++"];
const FLAGS: &str = "--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    target: Option<String>,
    length: Duration,
    /// One input, to be run once.
    input: Option<PathBuf>,
}

/// Runs one target, or all; what they learn is added to the corpus, and what they executed to
/// `docs/PROMISES.md`.
///
/// # Errors
/// If a target finds something, does not build, or is not known.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let asked = read(words)?;
    if let Some(why) = missing() {
        bail!(why);
    }
    let targets = chosen(asked.target.as_deref())?;
    build(&targets)?;
    if let Some(input) = &asked.input {
        let [target] = &targets[..] else { bail!("--input needs a TARGET") };
        return target.run_input(input);
    }
    let all = run_all(&targets, asked.length, Seed::Random)?;
    let mut found = Vec::new();
    for (target, ran) in targets.iter().zip(&all) {
        corpus::keep(target)?;
        record::add(target, ran.executed)?;
        report(target, ran);
        found.extend(ran.failed.then(|| target.describe_finding()));
    }
    ensure!(found.is_empty(), "fuzzing found something:\n{}", found.join("\n"));
    Ok(())
}

/// Some seconds of each target on the corpus as it is; nothing in the tree changes.
///
/// # Errors
/// If a target finds something, or does not build.
pub(crate) fn sample() -> Result<()> {
    let targets = chosen(None)?;
    build(&targets)?;
    let all = run_all(&targets, SAMPLE_FOR, Seed::Fixed)?;
    let mut found = Vec::new();
    for (target, ran) in targets.iter().zip(&all) {
        report(target, ran);
        found.extend(ran.failed.then(|| target.describe_finding()));
    }
    ensure!(found.is_empty(), "fuzzing found something:\n{}", found.join("\n"));
    Ok(())
}

/// What is missing to fuzz at all, and how to get it.
pub(crate) fn missing() -> Option<&'static str> {
    let there = std::env::var_os("CXX").is_some() || COMPILERS.into_iter().any(found);
    (!there).then_some("no C++ compiler for libFuzzer; `apt-get install g++` brings one")
}

fn read(words: &[&str]) -> Result<Asked> {
    let mut asked = Asked { target: None, length: RUN_FOR, input: None };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--for" => {
                let text = words.next().context("--for needs a time such as 60s or 5m")?;
                asked.length = duration(text)?;
            }
            "--input" => {
                let file = words.next().context("--input needs a file")?;
                asked.input = Some(std::path::absolute(file)?);
            }
            name if !name.starts_with('-') && asked.target.is_none() => {
                asked.target = Some(name.to_owned());
            }
            other => {
                bail!("fuzz does not know `{other}`; it knows TARGET, --for TIME and --input FILE")
            }
        }
    }
    Ok(asked)
}

/// `60s`, `5m`, `2h`, or a number of seconds.
fn duration(text: &str) -> Result<Duration> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, text.chars().next_back()),
        None => (text, None),
    };
    let number: u64 =
        number.parse().with_context(|| format!("`{text}` is no time: 60s, 5m, 2h"))?;
    ensure!(number > 0, "a target runs for a second at least");
    let seconds = match unit {
        Some('m') => 60,
        Some('h') => 3600,
        _ => 1,
    };
    Ok(Duration::from_secs(number * seconds))
}

/// The folder of the package of targets.
fn package() -> PathBuf {
    root().join("tests/fuzz")
}

/// Where they are built and work.
fn work() -> PathBuf {
    target_folder().join("fuzz")
}

fn chosen(name: Option<&str>) -> Result<Vec<Target>> {
    let all = names(&package().join("targets"))?;
    let wanted = all.iter().filter(|one| name.is_none_or(|name| name == **one));
    let chosen: Vec<_> = wanted.map(|name| Target::new(name)).collect();
    if let (Some(name), true) = (name, chosen.is_empty()) {
        bail!("there is no target `{name}`; there are {}", all.join(", "));
    }
    Ok(chosen)
}

/// Each file in the folder of targets is one.
fn names(folder: &Path) -> Result<Vec<String>> {
    let files = std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut names = Vec::new();
    for file in files {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// The counters are asked for with a named `--target`, so that build scripts are built without them.
fn build(targets: &[Target]) -> Result<()> {
    let host = host()?;
    let mut command = cargo(&["build", "--release", "--locked", "--target", &host]);
    for target in targets {
        command.args(["--bin", &target.name]);
    }
    command
        .current_dir(package())
        .env("CARGO_TARGET_DIR", work())
        .env("RUSTFLAGS", FLAGS)
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    run_command(&mut command)
}

/// The triple of this machine.
fn host() -> Result<String> {
    let mut command = std::process::Command::new("rustc");
    let said = output(command.arg("-vV").current_dir(root()))?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

/// As many at a time as there are processors; in the order of the targets.
fn run_all(targets: &[Target], length: Duration, seed: Seed) -> Result<Vec<Ran>> {
    let host = host()?;
    let at_once = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let waiting: Mutex<VecDeque<usize>> = Mutex::new((0..targets.len()).collect());
    let done: Mutex<Vec<(usize, Result<Ran>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(targets.len()) {
            scope.spawn(|| {
                let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                while let Some(index) = next() {
                    let Some(target) = targets.get(index) else { return };
                    let ran = target.run(&host, length, seed);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, ran));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, ran)| ran).collect()
}

fn report(target: &Target, ran: &Ran) {
    let end = if ran.failed { "FOUND SOMETHING" } else { "nothing found" };
    println!("fuzz {}: {} executions, {end}", target.name, ran.executed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &[&str], expect: Option<(Option<&str>, u64)>) {
        let asked = read(words).ok().map(|asked| (asked.target, asked.length.as_secs()));
        assert_eq!(asked, expect.map(|(target, secs)| (target.map(str::to_owned), secs)));
    }

    #[test]
    fn a_target_and_a_time_are_read() {
        check(&[], Some((None, 60)));
        check(&["udh"], Some((Some("udh"), 60)));
        check(&["udh", "--for", "5s"], Some((Some("udh"), 5)));
        check(&["--for", "2m"], Some((None, 120)));
        check(&["--for", "1h"], Some((None, 3600)));
        check(&["--for", "7"], Some((None, 7)));
        for wrong in [&["--for"][..], &["--for", "soon"], &["--for", "0s"], &["a", "b"], &["--x"]] {
            check(wrong, None);
        }
    }

    #[test]
    fn there_are_ten_targets_each_with_its_place_in_the_manifest() {
        let names = names(&package().join("targets")).unwrap();
        assert_eq!(names.len(), 10, "{names:?}");
        let manifest = std::fs::read_to_string(package().join("Cargo.toml")).unwrap();
        for name in names {
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
            assert!(package().join("seeds").join(&name).is_dir(), "{name} has no seeds");
        }
    }
}
