//! The end of the process, if it does not come by itself.

use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

/// For the log, which may be what hangs.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Kills the process after this time: whoever asked for its end may rely on it, whatever hangs. What
/// was acknowledged is on disk.
///
/// # Errors
/// There is no thread to be had.
#[expect(clippy::disallowed_methods, reason = "a thread of its own: it blocks no worker")]
pub fn end_after(wait: Duration) -> std::io::Result<()> {
    let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let end = move || {
        std::thread::sleep(wait);
        let told = named("last-words").spawn(|| {
            tracing::error!(event = "stopping.hangs", "something hangs; the process is killed");
        });
        if told.is_ok() {
            std::thread::sleep(LAST_WORDS);
        }
        if kill_process(getpid(), Signal::KILL).is_err() {
            std::process::abort();
        }
    };
    named("last-resort").spawn(end).map(drop)
}
