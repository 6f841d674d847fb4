//! What can go wrong, by who has to act.

use std::path::PathBuf;

/// Why a batch was not made durable. Nothing of it was kept unless the variant says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The disk is nearly full; try again when space was freed.
    #[error(
        "the spool's disk is nearly full: {free_bytes} bytes are free, {reserve_bytes} bytes are kept back"
    )]
    Full {
        /// What the file system has left for us.
        free_bytes: u64,
        /// What this kind of batch has to leave alone.
        reserve_bytes: u64,
    },
    /// More waits for the disk than the spool takes; try again shortly.
    #[error("too much waits for the spool's disk: try again shortly")]
    Busy,
    /// The lease was lost to another node. Embedded: never.
    #[error("the lease was lost to another node")]
    Stale,
    /// The batch contradicts itself or the store; a mistake of the caller.
    #[error("the batch is invalid: {0}")]
    Invalid(&'static str),
    /// Writing or syncing failed. What was not acknowledged may or may not be on disk: stop
    /// accepting and start again from the log.
    #[error("the spool's disk failed, stop and start again: {0}")]
    Poisoned(String),
    /// The spool was closed.
    #[error("the spool is closed")]
    Closed,
}

/// Why a spool could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is none, and none was to be created.
    #[error("there is no spool in {path}: is that the folder that `spool.path` names?")]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// Another process, or another spool in this one, has it open.
    #[error(
        "the spool {path} is in use{}: stop the other one first",
        .pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
    )]
    Locked {
        /// The spool's directory.
        path: PathBuf,
        /// The owner, if it left its process id.
        pid: Option<u32>,
    },
    /// It was written by a version that this one does not know. Nothing was changed.
    #[error(
        "the spool {path} has format {found}, this version reads {known}: {}",
        if found > known { "use a newer version" } else { "open it with an older version first" }
    )]
    Version {
        /// The spool's directory.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format known.
        known: u32,
    },
    /// The store's own files are damaged beyond what can be set aside. Nothing was changed.
    #[error(
        "the spool {path} is damaged: {reason}; nothing was changed. Keep a copy of the folder, then restore it from a backup, or move it away and start with an empty one; `wirepost spool verify` says what else is wrong with it"
    )]
    Damaged {
        /// The spool's directory.
        path: PathBuf,
        /// What the store says.
        reason: String,
    },
    /// The operating system refused.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The refusal.
        source: std::io::Error,
    },
}

/// Why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A record does not match its checksum or layout.
    #[error("the {what} {id} is corrupt: {reason}")]
    Corrupt {
        /// Entry, body or key.
        what: &'static str,
        /// Its id, or its key in hexadecimal.
        id: String,
        /// What does not fit.
        reason: &'static str,
    },
    /// The store could not be read.
    #[error("the spool's disk cannot be read: {0}")]
    Io(String),
}
