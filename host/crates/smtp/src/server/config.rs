//! What a listener says about its sessions: name, extensions, limits, deadlines.

use std::time::Duration;

use crate::BareNewline;

/// How the sessions of one listener behave.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Our name in the greeting and the answer to EHLO.
    pub hostname: String,
    /// What stands behind the name in the greeting.
    pub greeting: String,
    /// What is offered at EHLO.
    pub extensions: Extensions,
    /// Bounds on what a peer may send.
    pub limits: Limits,
    /// How long a peer may take.
    pub timeouts: Timeouts,
    /// What is done about a CR or LF outside of CRLF.
    pub bare_newline: BareNewline,
    /// Whether a peer that speaks before the greeting is turned away.
    pub refuse_early_talkers: bool,
}

impl ServerConfig {
    /// The defaults, under this name.
    #[must_use]
    pub fn new(hostname: impl Into<String>) -> Self {
        Self {
            hostname: hostname.into(),
            greeting: "ESMTP".to_owned(),
            extensions: Extensions::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            bare_newline: BareNewline::Refuse,
            refuse_early_talkers: false,
        }
    }
}

/// What is offered at EHLO. ENHANCEDSTATUSCODES and SIZE always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extensions {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: StartTls,
    /// AUTH PLAIN and LOGIN (RFC 4954).
    pub auth: Auth,
}

impl Default for Extensions {
    fn default() -> Self {
        Self {
            pipelining: true,
            eight_bit_mime: true,
            smtputf8: true,
            dsn: true,
            chunking: true,
            starttls: StartTls::Off,
            auth: Auth::Off,
        }
    }
}

/// What STARTTLS means on this listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StartTls {
    /// Not offered.
    #[default]
    Off,
    /// Offered.
    Offered,
    /// Offered, and nothing else is done before it.
    Required,
}

/// When AUTH is offered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Auth {
    /// Never.
    #[default]
    Off,
    /// Over TLS.
    OverTls,
    /// Over any connection: passwords go in the clear.
    Always,
}

/// Bounds on what a peer may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest command line, with its CRLF. RFC 5321 asks for 512 and more with extensions.
    pub line_octets_max: usize,
    /// Longest message, without stuffing.
    pub message_bytes_max: u64,
    /// Most recipients of one transaction; more are told 452 and may come in another one.
    pub recipients_max: usize,
    /// Most messages on one connection; after them it ends with 421.
    pub messages_max: u32,
    /// Most commands that lead to no accepted message.
    pub idle_commands_max: u32,
    /// Refusals after which every further one is delayed by `tarpit_delay`.
    pub errors_before_tarpit: u32,
    /// How long a refusal is delayed then.
    pub tarpit_delay: Duration,
    /// Refusals after which the session ends.
    pub errors_max: u32,
    /// Octets read ahead of the command being answered.
    pub buffered_octets_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line_octets_max: 2048,
            message_bytes_max: 25 * 1024 * 1024,
            recipients_max: 1000,
            messages_max: 10_000,
            idle_commands_max: 100,
            errors_before_tarpit: 10,
            tarpit_delay: Duration::from_secs(1),
            errors_max: 20,
            buffered_octets_max: 64 * 1024,
        }
    }
}

/// How long a peer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From the greeting to the first whole command.
    pub greeting: Duration,
    /// Between two commands (RFC 5321 §4.5.3.2.7).
    pub command: Duration,
    /// Between two pieces of a message.
    pub data_block: Duration,
    /// For a whole message.
    pub data: Duration,
    /// For the whole session, but never in the middle of an answer of ours.
    pub session: Duration,
    /// Octets a second below which a message is given up.
    pub data_rate_min: u32,
    /// How long a message may be slower than that.
    pub data_rate_grace: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            greeting: Duration::from_mins(1),
            command: Duration::from_mins(5),
            data_block: Duration::from_mins(3),
            data: Duration::from_mins(30),
            session: Duration::from_hours(24),
            data_rate_min: 100,
            data_rate_grace: Duration::from_mins(1),
        }
    }
}
