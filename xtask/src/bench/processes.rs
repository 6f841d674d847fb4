//! Processor time of processes and their threads, from `/proc`.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

/// Ticks of `/proc/PID/stat` in a second: USER_HZ is 100 on every Linux that we know.
const TICKS_PER_SECOND: u64 = 100;
const US_PER_TICK: u64 = 1_000_000 / TICKS_PER_SECOND;

/// What a process had spent at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    user_us: u64,
    system_us: u64,
    /// Name and time of each thread that lives.
    threads: BTreeMap<u32, (String, u64)>,
}

/// What it spent between two moments.
#[derive(Clone, Debug, Default)]
pub(super) struct Spent {
    pub(super) user_us: u64,
    pub(super) system_us: u64,
    /// By name of threads that lived at the end.
    pub(super) threads: BTreeMap<String, u64>,
}

impl Spent {
    /// In user and kernel.
    pub(super) const fn total_us(&self) -> u64 {
        self.user_us + self.system_us
    }
}

/// Looks at a process.
pub(super) fn snapshot(pid: u32) -> Result<Snapshot> {
    let fields = stat(pid)?;
    let mut threads = BTreeMap::new();
    let tasks = format!("/proc/{pid}/task");
    for task in fs::read_dir(&tasks).with_context(|| format!("read {tasks}"))? {
        let path = task?.path();
        let Some(id) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else {
            continue;
        };
        // A thread may end while it is looked at.
        let Ok(name) = fs::read_to_string(path.join("comm")) else { continue };
        let Ok(times) = fs::read_to_string(path.join("schedstat")) else { continue };
        let ran_ns: u64 = times.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
        threads.insert(id, (name.trim_end().to_owned(), ran_ns / 1000));
    }
    Ok(Snapshot { user_us: fields.us(0), system_us: fields.us(1), threads })
}

impl Snapshot {
    /// What was spent since then.
    pub(super) fn since(&self, before: &Self) -> Spent {
        let mut threads = BTreeMap::new();
        for (id, (name, us)) in &self.threads {
            let known = before.threads.get(id).map_or(0, |(_, us)| *us);
            *threads.entry(kind(name).to_owned()).or_default() += us.saturating_sub(known);
        }
        Spent {
            user_us: self.user_us.saturating_sub(before.user_us),
            system_us: self.system_us.saturating_sub(before.system_us),
            threads,
        }
    }
}

/// The name of a thread without its number.
fn kind(name: &str) -> &str {
    let kind = name.trim_end_matches(|c: char| c.is_ascii_digit() || "-#:".contains(c));
    if kind.is_empty() { name } else { kind }
}

/// A process and all that it started, those that ended included.
pub(super) fn family(pid: u32) -> Result<Vec<u32>> {
    let mut parents = BTreeMap::new();
    for process in fs::read_dir("/proc")? {
        let name = process?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process may end while it is looked at.
        if let Ok(stat) = stat(id) {
            parents.insert(id, stat.parent);
        }
    }
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(&parent) = family.get(at) {
        family.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(id, _)| *id));
        at += 1;
    }
    Ok(family)
}

/// Processor time of a family so far, in microseconds.
pub(super) fn family_us(pid: u32) -> Result<u64> {
    let each = family(pid)?.into_iter().filter_map(|id| stat(id).ok());
    Ok(each.map(|fields| (0..4).map(|column| fields.us(column)).sum::<u64>()).sum())
}

struct Fields {
    parent: u32,
    /// User and kernel, then the same of children that ended.
    ticks: Vec<u64>,
}

impl Fields {
    fn us(&self, column: usize) -> u64 {
        self.ticks.get(column).map_or(0, |ticks| ticks * US_PER_TICK)
    }
}

fn stat(pid: u32) -> Result<Fields> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    read_stat(&text).with_context(|| format!("{path} is not as expected"))
}

fn read_stat(text: &str) -> Option<Fields> {
    // The second field is the name in parentheses, and may hold anything.
    let fields: Vec<&str> = text.rsplit(')').next()?.split_whitespace().collect();
    let ticks =
        fields.get(11..15)?.iter().map(|ticks| ticks.parse().ok()).collect::<Option<_>>()?;
    Some(Fields { parent: fields.get(1)?.parse().ok()?, ticks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_process_are_found_behind_any_name() {
        let text = "42 (a) b (c) S 7 42 42 0 -1 4194560 391 0 0 0 5 6 7 8 20 0 1 0 54728";
        let fields = read_stat(text).unwrap();
        assert_eq!((fields.parent, fields.us(0), fields.us(3)), (7, 50_000, 80_000));
        assert!(read_stat("42 (a) S 7").is_none());
    }

    #[test]
    fn threads_of_a_kind_have_one_name() {
        for (name, expect) in
            [("worker", "worker"), ("pool-3", "pool"), ("fjall:1", "fjall"), ("7", "7")]
        {
            assert_eq!(kind(name), expect);
        }
    }

    #[test]
    fn we_spend_time_ourselves() {
        let us = std::process::id();
        assert!(family(us).unwrap().contains(&us));
        assert!(!snapshot(us).unwrap().threads.is_empty());
    }
}
