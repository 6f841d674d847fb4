//! Where the processor time of a router under load goes: what it asks the kernel for, and in which
//! functions it is found. Both by `perf`; what is not there is skipped by name.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::areas::{self, Sample};
use super::report::per;
use super::running::Running;
use super::scenario::Shape;
use crate::process::{Service, found, output, pause};

/// Samples a second of each thread that runs: not a divisor of any timer's rate.
const SAMPLES_PER_SECOND: &str = "997";
/// Time for `perf` to attach before the load begins.
const ATTACH: Duration = Duration::from_millis(500);
/// Time for `perf` to write what it has seen.
const WRITTEN_WITHIN: Duration = Duration::from_secs(30);
/// Where the kernel lists what can be counted.
const TRACEPOINTS: &str = "/sys/kernel/tracing/events/syscalls";
/// Calls that are counted one by one; all others together.
const CALLS: [&str; 30] = [
    "read",
    "readv",
    "recvfrom",
    "recvmsg",
    "write",
    "writev",
    "pwrite64",
    "sendto",
    "sendmsg",
    "epoll_wait",
    "epoll_pwait",
    "epoll_ctl",
    "futex",
    "fsync",
    "fdatasync",
    "setsockopt",
    "accept4",
    "connect",
    "close",
    "openat",
    "unlink",
    "mmap",
    "munmap",
    "madvise",
    "sched_yield",
    "clock_nanosleep",
    "poll",
    "ioctl",
    "lseek",
    "statfs",
];
/// How far apart names that matter are from noise.
const PART_MIN: f64 = 0.002;

/// A part of something.
#[derive(Clone, Debug)]
pub(super) struct Share {
    pub(super) name: String,
    /// Of all, or a message.
    pub(super) amount: f64,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Profile {
    /// System calls a message.
    pub(super) syscalls: Vec<Share>,
    /// Parts of the processor time by what it was spent on.
    pub(super) areas: Vec<Share>,
    /// Parts of the processor time by function.
    pub(super) functions: Vec<Share>,
    /// What could not be looked at, and why.
    pub(super) skipped: Vec<String>,
}

/// Looks at a router while it carries messages, twice.
pub(super) fn take(running: &Running<'_>, shape: Shape) -> Result<Profile> {
    let mut profile = Profile::default();
    if !found("perf") {
        let why = "system calls and functions, perf is not installed (Debian: linux-perf)";
        profile.skipped.push(why.to_owned());
        return Ok(profile);
    }
    let counted = count_calls(&[running.pid()], running.work(), || running.send(shape).map(drop))?;
    match counted {
        Ok(counts) => profile.syscalls = shares(counts, |count| per(count, shape.count)),
        Err(why) => profile.skipped.push(format!("system calls, {why}")),
    }
    match sample(running, shape)? {
        Ok(samples) => {
            let total = samples.len().try_into().unwrap_or(u64::MAX);
            let part = |count| per(count, total);
            profile.areas = shares(count(&samples, areas::area), part);
            profile.functions = shares(count(&samples, areas::function), part);
        }
        Err(why) => profile.skipped.push(format!("functions, {why}")),
    }
    Ok(profile)
}

/// System calls by name while `work` goes on; the inner error is why they cannot be counted.
pub(super) fn count_calls(
    pids: &[u32],
    folder: &Path,
    work: impl FnOnce() -> Result<()>,
) -> Result<Result<BTreeMap<String, u64>, String>> {
    let there = |call: &&&str| Path::new(TRACEPOINTS).join(format!("sys_enter_{call}")).is_dir();
    let mut events: Vec<String> =
        CALLS.iter().filter(there).map(|call| format!("syscalls:sys_enter_{call}")).collect();
    if events.is_empty() {
        return Ok(Err(format!("{TRACEPOINTS} cannot be read (it takes root)")));
    }
    events.push("raw_syscalls:sys_enter".to_owned());
    let file = folder.join("calls.csv");
    let mut perf = Command::new("perf");
    perf.args(["stat", "-x", ",", "-e", &events.join(",")]).arg("-o").arg(&file);
    perf.arg("-p").arg(join(pids));
    if let Err(why) = watched(&perf, "perf-stat", folder, work)? {
        return Ok(Err(why));
    }
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    Ok(Ok(read_counts(&text)))
}

/// Lines of `perf stat -x,`: a count, a unit, the name of the event and more.
fn read_counts(text: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let mut all = 0;
    for line in text.lines() {
        let mut columns = line.split(',');
        let (Some(count), Some(event)) = (columns.next(), columns.nth(1)) else { continue };
        let Ok(count) = count.parse::<u64>() else { continue };
        match event.strip_prefix("syscalls:sys_enter_") {
            Some(call) => drop(counts.insert(call.to_owned(), count)),
            None => all = count,
        }
    }
    let named: u64 = counts.values().sum();
    counts.insert("others".to_owned(), all.saturating_sub(named));
    counts.retain(|_, count| *count > 0);
    counts
}

/// Samples of the running functions; the inner error is why there are none.
fn sample(running: &Running<'_>, shape: Shape) -> Result<Result<Vec<Sample>, String>> {
    let file = running.work().join("perf.data");
    let mut perf = Command::new("perf");
    perf.args(["record", "-q", "-F", SAMPLES_PER_SECOND, "-e", "cpu-clock", "-g", "-o"]).arg(&file);
    perf.arg("-p").arg(running.pid().to_string());
    let work = || running.send(shape).map(drop);
    if let Err(why) = watched(&perf, "perf-record", running.work(), work)? {
        return Ok(Err(why));
    }
    let mut script = Command::new("perf");
    script.args(["script", "--no-inline", "-F", "comm,ip,sym,dso", "-i"]).arg(&file);
    let said = output(&mut script)?;
    let text = String::from_utf8_lossy(&said.stdout);
    let samples = areas::read(&text);
    if samples.is_empty() {
        let why = String::from_utf8_lossy(&said.stderr);
        return Ok(Err(format!("perf saw nothing: {}", why.trim())));
    }
    Ok(Ok(samples))
}

/// Runs `work` while a `perf` that was told what to watch goes on.
fn watched(
    perf: &Command,
    name: &str,
    folder: &Path,
    work: impl FnOnce() -> Result<()>,
) -> Result<Result<(), String>> {
    let mut perf = Service::start(name, perf, folder)?;
    pause(ATTACH);
    if perf.ended() {
        return Ok(Err(format!("perf may not look: {}", perf.said().trim())));
    }
    let worked = work();
    let ended = perf.interrupt(WRITTEN_WITHIN);
    worked?;
    ensure!(ended, "perf did not end: {}", perf.said());
    Ok(Ok(()))
}

fn join(pids: &[u32]) -> String {
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    pids.join(",")
}

fn count(samples: &[Sample], name: impl Fn(&Sample) -> String) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for sample in samples {
        *counts.entry(name(sample)).or_default() += 1;
    }
    counts
}

/// The largest first, without what is hardly there.
fn shares(counts: BTreeMap<String, u64>, amount: impl Fn(u64) -> f64) -> Vec<Share> {
    let each = counts.into_iter();
    let mut shares: Vec<Share> =
        each.map(|(name, count)| Share { name, amount: amount(count) }).collect();
    shares.retain(|share| share.amount >= PART_MIN);
    shares.sort_by(|a, b| b.amount.total_cmp(&a.amount));
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_have_no_name_of_their_own_are_counted_together() {
        let text = "# started on Thu\n\n12,,syscalls:sys_enter_read,1000,100.00,,\n\
                    0,,syscalls:sys_enter_write,0,100.00,,\n<not counted>,,syscalls:sys_enter_futex,0,0,,\n\
                    20,,raw_syscalls:sys_enter,1000,100.00,,\n";
        let expect = [("others".to_owned(), 8), ("read".to_owned(), 12)];
        assert_eq!(read_counts(text).into_iter().collect::<Vec<_>>(), expect);
    }

    #[test]
    fn the_largest_share_is_first() {
        let counts =
            BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 3), ("c".to_owned(), 0)]);
        let shares = shares(counts, |count| per(count, 4));
        let names: Vec<&str> = shares.iter().map(|share| &*share.name).collect();
        assert_eq!(names, ["b", "a"]);
    }
}
