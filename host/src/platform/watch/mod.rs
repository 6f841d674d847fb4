//! Tells when files change that the configuration was read from.
//!
//! What is watched is the folder of each file: a watch on the file itself is dead after the first
//! rename, and editors, `mv` and Kubernetes all rename. Events only wake the thread; whether
//! something changed is decided by contents, so that a file that is merely read, or written again as
//! it was, stays quiet. A look at all of them every few seconds finds what no event tells: a folder
//! that was removed and made again, or a network file system.

mod seen;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::clock::Clock;
use seen::Seen;

/// Quiet time after an event before contents are compared.
const SETTLE: Duration = Duration::from_millis(250);
/// Settling times after which they are compared although events go on.
const SETTLE_ROUNDS_MAX: u32 = 8;
/// How often all files are looked at without any event.
const POLL: Duration = Duration::from_secs(5);
/// Wake-ups that may wait; more of them say nothing new.
const WAKE_UPS_MAX: usize = 64;

/// What to watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    /// Files, each with the octets up to which its content is compared; of a larger one size and
    /// times are. One that is not there yet counts too.
    pub files: BTreeMap<PathBuf, u64>,
    /// Folders.
    pub folders: Vec<Folder>,
}

/// A folder to watch: which one it is, the names in it and the contents of files count, not folders
/// below. A name that begins with a dot does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Where.
    pub path: PathBuf,
    /// What a name ends with that counts; everything if it is empty.
    pub suffix: &'static str,
    /// The octets up to which a file's content is compared.
    pub octets_max: u64,
}

/// Why watching could not begin.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The system gives no more watches; `fs.inotify.max_user_instances` is the usual limit.
    #[error("cannot watch files for changes: {0}")]
    Notify(#[from] notify::Error),
    /// No thread could be started.
    #[error("cannot start the thread that watches files: {0}")]
    Thread(#[from] io::Error),
}

/// Watches files until it is dropped.
#[derive(Debug)]
pub struct Watch {
    wake: SyncSender<WakeUp>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum WakeUp {
    Touched,
    Paths(Watched),
}

impl Watch {
    /// Begins to watch. The receiver sees a new number after each change; what changed between two
    /// looks at it is one change. To miss nothing, begin with the main file *before* reading the
    /// configuration, then [`Watch::set`] all the files that it turned out to have.
    ///
    /// # Errors
    ///
    /// The system allows no watch, or no thread.
    pub fn start(
        watched: Watched,
    ) -> Result<(Self, tokio::sync::watch::Receiver<u64>), WatchError> {
        Self::start_with(watched, SETTLE, POLL)
    }

    fn start_with(
        watched: Watched,
        settle: Duration,
        poll: Duration,
    ) -> Result<(Self, tokio::sync::watch::Receiver<u64>), WatchError> {
        let (wake, wake_ups) = sync_channel(WAKE_UPS_MAX);
        let touched = wake.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error may be an overflow of the queue: something changed. Reading is no change.
            let matters = event.map_or(true, |event| !matches!(event.kind, EventKind::Access(_)));
            if matters && touched.try_send(WakeUp::Touched).is_err() {
                // The queue is full of wake-ups: the thread will look anyway.
            }
        })?;
        let (signal, receiver) = tokio::sync::watch::channel(0);
        let stop = Arc::new(AtomicBool::new(false));
        let mut looker = Looker {
            watcher,
            folders: BTreeMap::new(),
            seen: Seen::default(),
            stop: Arc::clone(&stop),
            signal,
            watched,
            settle,
            poll,
        };
        looker.watch_folders();
        let now = Clock::system().now();
        looker.seen = Seen::look(&looker.seen, &looker.watched, now, seen::hash);
        let thread = std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || looker.run(&wake_ups))?;
        Ok((Self { wake, stop, thread: Some(thread) }, receiver))
    }

    /// Watches these from now on. If they are others than before, that counts as a change, because
    /// what happened to the new ones in the meantime is not known.
    pub fn set(&self, watched: Watched) {
        // It blocks only while the thread compares files, and fails only when the thread is gone.
        if self.wake.send(WakeUp::Paths(watched)).is_err() {
            tracing::error!("files are no longer watched for changes; reload by hand");
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if self.wake.try_send(WakeUp::Touched).is_err() {
            // The thread has something to do and will see the flag.
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches files panicked");
        }
    }
}

/// The thread's state.
struct Looker {
    watcher: RecommendedWatcher,
    /// Watched folders and which inode they had: a folder made again is another one.
    folders: BTreeMap<PathBuf, (u64, u64)>,
    watched: Watched,
    seen: Seen,
    stop: Arc<AtomicBool>,
    signal: tokio::sync::watch::Sender<u64>,
    settle: Duration,
    poll: Duration,
}

impl Looker {
    fn run(mut self, wake_ups: &Receiver<WakeUp>) {
        // The flag is set before the wake-up is sent, and settling may swallow the wake-up: so it is
        // looked at before waiting and after.
        while !self.stop.load(Ordering::Acquire) {
            let woken = wake_ups.recv_timeout(self.poll);
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            match woken {
                Ok(first) => {
                    let renewed = self.settle(first, wake_ups);
                    self.look(renewed);
                }
                Err(RecvTimeoutError::Timeout) => self.look(false),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Waits until nothing more comes, but not for ever; `true` if the files to watch are others than
    /// before.
    fn settle(&mut self, first: WakeUp, wake_ups: &Receiver<WakeUp>) -> bool {
        let clock = Clock::system();
        let deadline = clock.instant() + self.settle * SETTLE_ROUNDS_MAX;
        let mut renewed = self.take(first);
        while clock.instant() < deadline && !self.stop.load(Ordering::Acquire) {
            match wake_ups.recv_timeout(self.settle) {
                Ok(wake_up) => renewed |= self.take(wake_up),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        renewed
    }

    /// `true` if the files to watch are others than before.
    fn take(&mut self, wake_up: WakeUp) -> bool {
        match wake_up {
            WakeUp::Paths(watched) if watched != self.watched => {
                self.watched = watched;
                true
            }
            WakeUp::Paths(_) | WakeUp::Touched => false,
        }
    }

    /// Looks at everything and tells if something is other than before.
    fn look(&mut self, renewed: bool) {
        self.watch_folders();
        let seen = Seen::look(&self.seen, &self.watched, Clock::system().now(), seen::hash);
        let changed = renewed || !seen.is_same(&self.seen);
        self.seen = seen;
        if changed {
            self.signal.send_modify(|changes| *changes = changes.wrapping_add(1));
        }
    }

    /// Watches every folder that has a file to watch, anew where it was made again.
    fn watch_folders(&mut self) {
        let mut wanted = BTreeMap::new();
        let parents = self.watched.files.keys().filter_map(|file| file.parent());
        for folder in parents.chain(self.watched.folders.iter().map(|folder| &*folder.path)) {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            if let Ok(metadata) = fs::metadata(folder) {
                wanted.insert(folder.to_path_buf(), (metadata.dev(), metadata.ino()));
            }
        }
        for (folder, inode) in &self.folders {
            if wanted.get(folder) != Some(inode) && self.watcher.unwatch(folder).is_err() {
                // It is gone, and its watch with it.
            }
        }
        for (folder, inode) in &wanted {
            if self.folders.get(folder) != Some(inode)
                && let Err(error) = self.watcher.watch(folder, RecursiveMode::NonRecursive)
            {
                tracing::warn!(folder = %folder.display(), %error, "no change is told here; looking every few seconds instead");
            }
        }
        self.folders = wanted;
    }
}

#[cfg(test)]
mod tests;
