//! Real crashes of a real process over the store on disk: this test program runs itself, is killed
//! or given I/O errors, and what it had a proof for must be there afterwards.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use bytes::Bytes;

use crate::common::{entry, options, wait};
use wirepost_spool::{Batch, CommitError, Spool};

/// Set for the child: the directory of its spool.
const CHILD: &str = "WIREPOST_SPOOL_CHILD";
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
    let (spool, _) = Spool::open_fjall(Path::new(&directory), options()).unwrap();
    let mut out = std::io::stdout().lock();
    let first = spool.stats().entries + 1;
    for id in first.. {
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
