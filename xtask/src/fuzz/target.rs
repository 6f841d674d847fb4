//! One target: where its inputs are, and how it is run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{host, package, work};
use crate::process::run as run_command;

/// Time for one input; more is a finding.
const INPUT_WITHIN_S: u32 = 20;
/// Memory of a target; more is a finding.
const MEMORY_MIB: u32 = 2048;

/// Where chance begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seed {
    /// Each run tries something else.
    Random,
    /// A run can be repeated.
    Fixed,
}

/// What came of a run.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) executed: u64,
    pub(super) failed: bool,
}

#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: String,
}

impl Target {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned() }
    }

    /// What was learned, as it is kept in the tree.
    pub(super) fn corpus(&self) -> PathBuf {
        package().join("corpus").join(&self.name)
    }

    /// Inputs that open the doors.
    pub(super) fn seeds(&self) -> PathBuf {
        package().join("seeds").join(&self.name)
    }

    /// Inputs that failed once, kept in the tree.
    pub(super) fn found(&self) -> PathBuf {
        package().join("found").join(&self.name)
    }

    /// What was learned on this machine.
    pub(super) fn learned(&self) -> PathBuf {
        work().join("corpus").join(&self.name)
    }

    /// The folders in the tree that are there.
    pub(super) fn kept(&self) -> Vec<PathBuf> {
        let all = [self.corpus(), self.seeds(), self.found()];
        all.into_iter().filter(|folder| folder.is_dir()).collect()
    }

    fn artifacts(&self) -> PathBuf {
        work().join("artifacts").join(&self.name)
    }

    fn log(&self) -> PathBuf {
        work().join(format!("{}.log", self.name))
    }

    pub(super) fn program(&self, host: &str) -> PathBuf {
        work().join(host).join("release").join(&self.name)
    }

    /// Runs it for a time. What it says goes into a log.
    pub(super) fn run(&self, host: &str, length: Duration, seed: Seed) -> Result<Ran> {
        let (learned, artifacts) = (self.learned(), self.artifacts());
        fs::create_dir_all(&artifacts)?;
        let mut command = Command::new(self.program(host));
        match seed {
            Seed::Random => {}
            Seed::Fixed => {
                // What chance on this machine brought before has no part in it.
                if learned.is_dir() {
                    fs::remove_dir_all(&learned)?;
                }
                command.arg("-seed=1");
            }
        }
        fs::create_dir_all(&learned)?;
        let log = File::create(self.log())?;
        command
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg(format!("-max_total_time={}", length.as_secs()))
            .arg(format!("-timeout={INPUT_WITHIN_S}"))
            .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
            .arg("-print_final_stats=1")
            .arg(&learned)
            .args(self.kept())
            .stdout(log.try_clone()?)
            .stderr(log);
        let ended = command.status().with_context(|| format!("start {}", self.name))?;
        let said = fs::read(self.log())?;
        let executed = executed(&String::from_utf8_lossy(&said));
        Ok(Ran { executed, failed: !ended.success() })
    }

    /// Runs one input; what it says is ours.
    pub(super) fn run_input(&self, input: &Path) -> Result<()> {
        let mut command = Command::new(self.program(&host()?));
        run_command(command.arg(format!("-timeout={INPUT_WITHIN_S}")).arg(input))
    }

    /// Where a finding is, and what to do with it.
    pub(super) fn describe_finding(&self) -> String {
        format!(
            "{name}: the input is in {}, what was said in {}; `cargo xtask fuzz {name} --input FILE` \
             shows it again. Make it a test beside the code, mend it, and put the input into {}",
            self.artifacts().display(),
            self.log().display(),
            self.found().display(),
            name = self.name,
        )
    }
}

/// The count that libFuzzer prints at its end; after a finding, the last one that it printed before.
fn executed(said: &str) -> u64 {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let last = said.lines().rev().find_map(|line| {
        if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            return number(count);
        }
        let (count, _) = line.strip_prefix('#')?.split_once(['\t', ' ', ':'])?;
        number(count)
    });
    last.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::executed;

    #[test]
    fn executions_are_read_from_what_libfuzzer_says() {
        let whole = "#2\tINITED cov: 1\n#512\tNEW    cov: 2\nDone 700 runs in 3 second(s)\n\
                     stat::number_of_executed_units: 700\nstat::peak_rss_mb: 30\n";
        assert_eq!(executed(whole), 700);
        assert_eq!(executed("#2\tINITED cov: 1\n#512\tNEW    cov: 2\nthread panicked\n"), 512);
        assert_eq!(executed("error while loading"), 0);
    }
}
