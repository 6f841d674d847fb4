//! What a plugin may look at beyond its message. The pipeline implements it; tests and the command
//! line have their own.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use message::{MessageId, Timestamp};

/// The host around a call.
pub trait HostEnv: fmt::Debug + Send + Sync {
    /// The committed entry of a plugin's key, byte for byte as [`super::KvWrite`] had it.
    fn kv_find<'a>(&'a self, plugin: &'a str, key: &'a str) -> BoxFuture<'a, KvFound>;

    /// How much the store keeps for a plugin; none if nobody counts.
    fn kv_usage<'a>(
        &'a self,
        _plugin: &'a str,
    ) -> BoxFuture<'a, Result<Option<KvUsage>, KvUnavailable>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// The value of a key in a table of the YAML.
    fn lookup(&self, table: &str, key: &str) -> Option<Arc<str>>;

    /// The longest prefix of `key` in a table, and its value.
    fn lookup_prefix(&self, table: &str, key: &str) -> Option<(String, Arc<str>)>;

    /// The value of the smallest network in a table that holds the address.
    fn lookup_ip(&self, table: &str, address: IpAddr) -> Option<Arc<str>>;

    /// Whether there is a look-up of this name.
    fn knows_lookup(&self, _name: &str) -> bool {
        false
    }

    /// The answers to the questions of a message, in their order. None if one is still to come: then
    /// it is being asked, and the message is to be looked at again.
    fn answers(&self, _message: MessageId, asks: &[Ask]) -> Option<Vec<LookupAnswer>> {
        Some(asks.iter().map(|_ask| Err(LookupError::Unavailable)).collect())
    }

    /// A connector or an account now; `None` if there is none of that name.
    fn target(&self, name: &str) -> Option<TargetState>;

    /// The wall clock.
    fn now(&self) -> Timestamp;

    /// A clock that never goes back, from any origin.
    fn monotonic(&self) -> Duration;

    /// 64 random bits.
    fn random(&self) -> u64;

    /// Whether a line of this level would be kept.
    fn log_enabled(&self, level: LogLevel) -> bool;

    /// A line of the plugin's log. It counts as content: it may hold what the message said.
    fn log(&self, line: LogLine<'_>);

    /// A number that was noted among the plugin's figures, for tools that show it at once.
    fn metric(&self, _plugin: &str, _name: &str, _metric: Metric) {}
}

/// What the store said about a key.
pub type KvFound = Result<Option<Bytes>, KvUnavailable>;

/// What the store keeps for a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvUsage {
    /// Keys, expired ones that were not swept included.
    pub keys: u64,
    /// Octets of keys and values.
    pub bytes: u64,
}

/// The store did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvUnavailable;

/// A question to a look-up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ask {
    /// The look-up.
    pub name: Arc<str>,
    /// What is asked for.
    pub key: Arc<str>,
}

/// What a look-up said.
pub type LookupAnswer = Result<Arc<str>, LookupError>;

/// Why a look-up has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupError {
    /// The service does not know the key.
    NotFound,
    /// The answer is longer than it may be.
    TooLarge,
    /// The answer is no text.
    Invalid,
    /// Too many questions wait.
    Exhausted,
    /// The service did not answer in time, or not as it should.
    Unavailable,
}

/// A target at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetState {
    /// It takes messages.
    pub up: bool,
    /// Deliveries that wait for it.
    pub queued: u64,
    /// Deliveries a second, lately.
    pub per_second: f64,
}

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// What helps to find a mistake.
    Debug,
    /// What an operator may want to know.
    Info,
    /// What an operator should look at.
    Warn,
    /// What went wrong.
    Error,
}

impl LogLevel {
    /// `trace` to `error`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// One line of a plugin's log, cut to its limits.
#[derive(Debug, Clone, Copy)]
pub struct LogLine<'a> {
    /// Who writes.
    pub plugin: &'a str,
    /// Over which message; `None` while the plugin starts.
    pub message: Option<MessageId>,
    /// How much it matters.
    pub level: LogLevel,
    /// What it says.
    pub text: &'a str,
    /// Named values.
    pub fields: &'a [(String, String)],
}

/// One observation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metric {
    /// Adds to a counter.
    Add(u64),
    /// Sets a gauge.
    Gauge(f64),
    /// Adds to a histogram.
    Observe(f64),
}
