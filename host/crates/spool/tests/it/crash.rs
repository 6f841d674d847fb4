//! Real crashes of a real process over the store on disk: this test program runs itself, is killed
//! or given I/O errors, and what it had a proof for must be there afterwards.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use bytes::Bytes;

use crate::common::{entry, options, wait};
use wirepost_spool::{Batch, CommitError, Options, Spool};

/// Set for the child: the directory of its spool.
const CHILD: &str = "WIREPOST_SPOOL_CHILD";
/// Set for a child that is to stop by itself after so many commits.
const COMMITS: &str = "WIREPOST_SPOOL_COMMITS";
/// Every so often the child commits a body that becomes a file.
const LARGE_EVERY: u64 = 64;

fn body(id: u64) -> Bytes {
    let len = if id.is_multiple_of(LARGE_EVERY) { 300_000 } else { 2048 };
    Bytes::from(vec![u8::try_from(id % 251).unwrap(); len])
}

/// What the child does: commits, says so, removes some of it lazily, until it is stopped.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    // Small tables, so that faults meet the threads that write them, too.
    let options = Options { memtable_bytes: 64 * 1024, ..options() };
    let (spool, _) = Spool::open_fjall(Path::new(&directory), options).unwrap();
    let commits = std::env::var(COMMITS).ok().and_then(|text| text.parse().ok());
    let mut out = std::io::stdout().lock();
    let first = spool.stats().entries + 1;
    for id in (first..).take(commits.unwrap_or(usize::MAX)) {
        let mut batch = Batch::new();
        batch.put_body(id, body(id));
        batch.put_entry(entry(id, id, "a", id));
        match wait(spool.commit(batch)) {
            Ok(_proof) => writeln!(out, "acked {id}").unwrap(),
            Err(CommitError::Poisoned(reason)) => {
                let next = wait(spool.flush()).unwrap_err();
                assert_eq!(next, CommitError::Poisoned(reason));
                writeln!(out, "poisoned").unwrap();
                return;
            }
            Err(error) => panic!("{error}"),
        }
        out.flush().unwrap();
    }
}

fn start(mut command: Command, directory: &Path) -> (Child, BufReader<ChildStdout>) {
    let child = command
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--nocapture", "--test-threads=1"])
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

/// The number in "acked 17"; the test harness writes lines of its own.
fn acked(line: &str) -> Option<u64> {
    line.strip_prefix("acked ")?.parse().ok()
}

/// Opens what is left and checks every message up to `last`.
#[track_caller]
fn check(directory: &Path, last: u64) {
    let (spool, report) = Spool::open_fjall(directory, options()).unwrap();
    assert_eq!(report.corrupt, Vec::<String>::new());
    assert!(report.entries >= last, "{} of {last} acknowledged are there", report.entries);
    for id in 1..=report.entries {
        assert_eq!(spool.entry(id).unwrap(), Some(entry(id, id, "a", id)));
        assert_eq!(spool.body(id).unwrap(), Some(body(id)));
    }
}

#[test]
fn what_was_proven_survives_a_kill_at_any_moment() {
    let place = tempfile::tempdir().unwrap();
    let mut total = 0;
    for round in 0..6 {
        let (mut child, out) = start(Command::new("env"), place.path());
        let mut last = total;
        for line in out.lines() {
            last = acked(&line.unwrap()).unwrap_or(last);
            if last >= total + 1 + 37 * round {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        check(place.path(), last);
        total = Spool::open_fjall(place.path(), options()).unwrap().1.entries;
    }
}

#[test]
fn an_io_error_of_a_sync_is_a_refusal_and_what_was_proven_before_is_there() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("an_io_error_of_a_sync: skipped, strace is not installed");
        return;
    }
    for nth in [3, 20] {
        let place = tempfile::tempdir().unwrap();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync"]);
        strace.args(["-e", &format!("inject=fdatasync:error=EIO:when={nth}")]);
        let (mut child, out) = start(strace, place.path());
        let lines: Vec<String> = out.lines().map_while(Result::ok).collect();
        assert!(child.wait().unwrap().success(), "{lines:?}");
        assert!(lines.iter().any(|line| line == "poisoned"), "{lines:?}");
        let last = lines.iter().filter_map(|line| acked(line)).max();
        check(place.path(), last.unwrap());
    }
}

/// What a disk does wrong: the call, the error, and at which call of a thread.
const FAULTS: [(&str, &str, u64); 12] = [
    ("fdatasync", "EIO", 2),
    ("fdatasync", "ENOSPC", 9),
    ("write", "EIO", 10),
    ("write", "ENOSPC", 25),
    ("write", "ENOSPC", 80),
    ("fsync", "EIO", 3),
    ("fsync", "EIO", 12),
    ("rename", "EIO", 1),
    ("renameat", "EIO", 1),
    ("openat", "EIO", 60),
    ("openat", "ENOSPC", 12),
    ("unlink", "EIO", 1),
];

/// Whichever call fails, once or for good: the process refuses, or does not even open, or is not
/// touched by it; and what it had said is there when the disk is well again.
#[test]
fn whatever_call_fails_nothing_proven_is_lost() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("whatever_call_fails: skipped, strace is not installed");
        return;
    }
    let mut refused = 0;
    for (call, error, nth) in FAULTS {
        let place = tempfile::tempdir().unwrap();
        let mut last = 0;
        for when in ["none".to_owned(), nth.to_string(), format!("{nth}+")] {
            let mut command = Command::new("env");
            if when != "none" {
                command = Command::new("strace");
                command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
                command.args(["-e", &format!("inject={call}:error={error}:when={when}")]);
            }
            command.env(COMMITS, "130");
            let (mut child, out) = start(command, place.path());
            let lines: Vec<String> = out.lines().map_while(Result::ok).collect();
            let status = child.wait().unwrap();
            refused += usize::from(!status.success() || lines.contains(&"poisoned".to_owned()));
            last = lines.iter().filter_map(|line| acked(line)).max().unwrap_or(last);
            check(place.path(), last);
        }
    }
    assert!(refused >= FAULTS.len() / 2, "only {refused} runs met their fault");
}
