//! The corpus in the tree: the least inputs that reach what all runs reached, within bounds.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::target::Target;
use super::{host, work};

/// Octets that a target keeps in the tree.
const OCTETS_MAX: u64 = 32 << 10;
/// Inputs that a target keeps in the tree.
const INPUTS_MAX: usize = 120;

/// Replaces what is kept of a target by the smallest inputs that do what the kept and the new ones do
/// together. Seeds and former findings are kept beside it, so what they reach costs nothing here.
pub(super) fn keep(target: &Target) -> Result<()> {
    let merged = work().join("merged").join(&target.name);
    if merged.is_dir() {
        fs::remove_dir_all(&merged)?;
    }
    fs::create_dir_all(&merged)?;
    let mut given = Vec::new();
    for folder in [target.seeds(), target.found()] {
        for (from, _) in files(&folder)? {
            let to = merged.join(format!("given-{}", given.len()));
            fs::copy(&from, &to)?;
            given.push(to);
        }
    }
    merge(target, &merged)?;
    for file in given {
        fs::remove_file(file)?;
    }
    replace(&target.corpus(), &bounded(files(&merged)?))
}

/// libFuzzer adds to the first folder what the others reach beyond it, smallest inputs first.
fn merge(target: &Target, into: &Path) -> Result<()> {
    let log = File::create(work().join(format!("{}.merge.log", target.name)))?;
    let mut command = Command::new(target.program(&host()?));
    command.arg("-merge=1").arg(into);
    let from = [target.corpus(), target.learned()];
    command.args(from.iter().filter(|folder| folder.is_dir()));
    command.stdout(log.try_clone()?).stderr(log);
    let ended = command.status().with_context(|| format!("start {}", target.name))?;
    ensure!(ended.success(), "the corpus of {} cannot be merged: {ended}", target.name);
    Ok(())
}

/// As many as may be kept, small and large: what is reached only by large ones counts too. Then the
/// largest go until the others have room.
fn bounded(mut files: Vec<(PathBuf, u64)>) -> Vec<PathBuf> {
    files.sort_by(|(a, a_size), (b, b_size)| a_size.cmp(b_size).then_with(|| a.cmp(b)));
    let every = files.len().div_ceil(INPUTS_MAX).max(1);
    let mut octets = 0;
    let fits = |(path, size): (PathBuf, u64)| {
        octets += size;
        (octets <= OCTETS_MAX).then_some(path)
    };
    files.into_iter().step_by(every).map_while(fits).collect()
}

fn replace(folder: &Path, inputs: &[PathBuf]) -> Result<()> {
    fs::create_dir_all(folder)?;
    for (old, _) in files(folder)? {
        if !inputs.iter().any(|input| input.file_name() == old.file_name()) {
            fs::remove_file(old)?;
        }
    }
    for input in inputs {
        let name = input.file_name().context("an input has a name")?;
        fs::copy(input, folder.join(name))?;
    }
    Ok(())
}

/// The files of a folder, if it is there, with their sizes.
pub(super) fn files(folder: &Path) -> Result<Vec<(PathBuf, u64)>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push((entry.path(), entry.metadata()?.len()));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_inputs_are_kept_within_the_bounds() {
        let all = [("c", 3), ("a", 1), ("b", 1), ("big", OCTETS_MAX)];
        let files = all.map(|(name, size)| (PathBuf::from(name), size)).to_vec();
        assert_eq!(bounded(files), ["a", "b", "c"].map(PathBuf::from));
        let many = (0..1000).map(|n| (PathBuf::from(format!("{n:04}")), n / 10)).collect();
        let kept = bounded(many);
        assert!(kept.len() <= INPUTS_MAX && kept.len() > INPUTS_MAX / 2, "{}", kept.len());
        assert!(kept.contains(&PathBuf::from("0990")), "large ones too");
    }
}
