//! A process of ours that does one piece of work: it is given octets, answers with octets, and ends.
//! Whoever stops waiting for it ends it.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

/// What is kept of the process's complaints.
const COMPLAINTS_BYTES_MAX: u64 = 4096;

/// What came of it.
#[derive(Debug)]
pub enum Ended {
    /// It ended by itself, well or not.
    Done {
        /// What it wrote.
        output: Vec<u8>,
        /// The beginning of its complaints.
        complaints: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// It took too long and was ended.
    Late,
    /// It wrote more than was asked for and was ended.
    TooMuch,
}

/// What a process is given, and what it may take.
#[derive(Debug)]
pub struct Work<'a> {
    /// The program.
    pub program: &'a Path,
    /// Its arguments.
    pub args: &'a [&'a str],
    /// Its environment; it has nothing else.
    pub environment: &'a [(&'a str, &'a str)],
    /// Its input, in parts.
    pub input: [Bytes; 2],
    /// What it may write.
    pub output_bytes_max: u64,
    /// How long it may take; none is for ever.
    pub within: Option<Duration>,
}

/// Does the work in a process of its own, which does not outlive this future.
///
/// # Errors
/// The process cannot be started or heard.
pub async fn run(work: Work<'_>) -> io::Result<Ended> {
    let mut command = Command::new(work.program);
    command.args(work.args).env_clear().envs(work.environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A terminal's interrupt is meant for us, who then end it.
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn()?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(io::Error::other("the process has no pipes"));
    };
    let talk = async {
        let give = async {
            for part in work.input {
                // A process that has ended reads nothing more; its end says why.
                if stdin.write_all(&part).await.is_err() {
                    break;
                }
            }
            drop(stdin);
        };
        let hear = read_up_to(stdout, work.output_bytes_max + 1);
        let complain = read_up_to(stderr, COMPLAINTS_BYTES_MAX);
        let ((), output, complaints) = tokio::join!(give, hear, complain);
        let output = output?;
        if u64::try_from(output.len()).unwrap_or(u64::MAX) > work.output_bytes_max {
            return Ok(Ended::TooMuch);
        }
        let complaints = String::from_utf8_lossy(&complaints?).into_owned();
        Ok(Ended::Done { output, complaints, status: child.wait().await? })
    };
    let ended = match work.within {
        None => talk.await,
        Some(within) => timeout(within, talk).await.unwrap_or(Ok(Ended::Late)),
    };
    if !matches!(ended, Ok(Ended::Done { .. })) {
        child.kill().await?;
    }
    ended
}

/// Reads to the end, or so much and no more.
async fn read_up_to(from: impl AsyncRead + Unpin, most: u64) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    from.take(most).read_to_end(&mut octets).await?;
    Ok(octets)
}

/// The signal that ended it, by its number.
#[must_use]
pub fn signal_of(status: ExitStatus) -> Option<i32> {
    status.signal()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh<'a>(args: &'a [&'a str], within: Duration) -> Work<'a> {
        Work {
            program: Path::new("/bin/sh"),
            args,
            environment: &[("GREETING", "hello")],
            input: [Bytes::from_static(b"one "), Bytes::from_static(b"two")],
            output_bytes_max: 100,
            within: Some(within),
        }
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn what_it_is_given_comes_back_with_its_complaints_and_its_end() {
        let script = ["-c", "echo $GREETING; cat; echo no >&2; exit 3"];
        let ended = run(sh(&script, PATIENCE)).await.unwrap();
        let Ended::Done { output, complaints, status } = ended else { panic!("{ended:?}") };
        assert_eq!((&*output, &*complaints), (&b"hello\none two"[..], "no\n"));
        assert_eq!(status.code(), Some(3));
    }

    #[tokio::test]
    async fn what_is_late_or_says_too_much_is_ended() {
        let late = run(sh(&["-c", "read a; exec sleep 1000"], Duration::from_millis(50))).await;
        assert!(matches!(late, Ok(Ended::Late)), "{late:?}");
        let much = run(sh(&["-c", "while :; do echo more; done"], PATIENCE)).await;
        assert!(matches!(much, Ok(Ended::TooMuch)), "{much:?}");
    }

    #[tokio::test]
    async fn a_process_that_nobody_waits_for_any_more_ends() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("echo $$ > {}.new; mv {0}.new {0}; exec sleep 1000", file.display());
        let args = ["-c", script.as_str()];
        let mut running = Box::pin(run(sh(&args, PATIENCE)));
        let pid = loop {
            assert!(timeout(Duration::from_millis(5), &mut running).await.is_err());
            if let Ok(text) = std::fs::read_to_string(&file) {
                break text.trim().to_owned();
            }
        };
        drop(running);
        let process = std::path::PathBuf::from(format!("/proc/{pid}/stat"));
        let is_gone = || {
            let stat = std::fs::read_to_string(&process).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        let waited = timeout(PATIENCE, async {
            while !is_gone() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        assert!(waited.await.is_ok(), "process {pid} goes on");
    }
}
