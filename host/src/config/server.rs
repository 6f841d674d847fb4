//! The sections about this node as a whole: `node`, `spool`, `journal`, `admin`, `log`, `bounces`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use message::Address;

use super::scalar::{Name, Secret};

/// `node`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// 0 to 1023; part of every message id, different on each node that shares targets.
    pub id: u16,
    /// The name that this node uses where no other is given.
    pub hostname: Arc<str>,
    /// Memory for drafts at all doors together; then doors answer "later".
    pub drafts_bytes_max: u64,
    /// Time to finish what is in flight after SIGTERM.
    pub drain_timeout: Duration,
}

/// `spool`: where messages are kept until they are delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolConfig {
    /// On disk or not.
    pub place: SpoolPlace,
    /// Octets of free disk space below which nothing is accepted.
    pub free_bytes_min: u64,
    /// Messages in all states at which nothing more is accepted.
    pub messages_max: u64,
    /// Cache of the store.
    pub cache_bytes: u64,
    /// How long held messages and their evidence are kept.
    pub held_ttl: Duration,
    /// How long the book keeps which remote id belongs to which message, for late receipts.
    pub receipts_ttl: Duration,
    /// How long a receipt that came before the answer to its submit waits for it.
    pub early_receipts_ttl: Duration,
}

/// Where the spool is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpoolPlace {
    /// In this folder.
    Disk(PathBuf),
    /// Nowhere: a restart loses everything. For tests and demonstrations.
    Memory,
}

/// `journal`: one JSON line for every message's fate, in a file of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalConfig {
    /// The file.
    pub path: PathBuf,
    /// Octets at which a new file begins.
    pub file_bytes_max: u64,
    /// Files that are kept, the one being written included.
    pub files_max: u32,
}

/// `admin`: how this node is watched and steered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Health, metrics and, with the token, everything else.
    pub http: Option<SocketAddr>,
    /// What an HTTP client must show for more than health and metrics.
    pub token: Option<Secret>,
    /// The socket that the command line uses; mode 0600.
    pub socket: PathBuf,
}

/// `log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// A tracing filter such as `info` or `wirepost=debug,info`.
    pub filter: Arc<str>,
    /// How a record looks.
    pub format: LogFormat,
    /// Whether addresses are written as they are.
    pub addresses: LogAddresses,
}

/// How a log record looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One line for people.
    Human,
    /// One JSON object.
    Json,
}

/// How addresses look in logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogAddresses {
    /// A keyed hash and the last two digits.
    Hashed,
    /// As they are.
    Clear,
}

/// `bounces`: how senders of mail hear of failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounces {
    /// The SMTP connector that carries them.
    pub via: Name,
    /// The mailbox in their `From` field.
    pub from: Address,
    /// The domain of the envelope senders whose bounces come back to us, if any.
    pub return_domain: Option<Arc<str>>,
}
