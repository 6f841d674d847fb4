//! How we speak to a server, and what it offers.

use std::time::Duration;

use crate::Credentials;

/// How the sessions of one connector behave.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// What we call ourselves at EHLO.
    pub hello_name: String,
    /// Whether TLS is wanted.
    pub tls: TlsPolicy,
    /// Who we are, where the server asks for it.
    pub credentials: Option<Credentials>,
    /// Whether credentials may go over a connection without TLS.
    pub auth_in_clear: bool,
    /// Whether PIPELINING is used where it is offered.
    pub pipelining: bool,
    /// Most messages on one connection; after them [`ClientSession::is_ready`] stays false.
    ///
    /// [`ClientSession::is_ready`]: crate::ClientSession::is_ready
    pub messages_max: u32,
    /// How long the server may take.
    pub timeouts: Timeouts,
}

impl ClientConfig {
    /// The defaults, under this name.
    #[must_use]
    pub fn new(hello_name: impl Into<String>) -> Self {
        Self {
            hello_name: hello_name.into(),
            tls: TlsPolicy::Opportunistic,
            credentials: None,
            auth_in_clear: false,
            pipelining: true,
            messages_max: 1000,
            timeouts: Timeouts::default(),
        }
    }
}

/// Whether the connection is secured by STARTTLS. What certificate will do is the driver's to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsPolicy {
    /// Never.
    None,
    /// Where the server offers it.
    Opportunistic,
    /// Always: without it nothing is sent.
    Required,
}

/// How long the server may take (RFC 5321 §4.5.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From the connection to the greeting.
    pub greeting: Duration,
    /// For the answer to EHLO, HELO, STARTTLS, AUTH, RSET and NOOP.
    pub command: Duration,
    /// For the answer to MAIL.
    pub mail: Duration,
    /// For the answer to each RCPT.
    pub rcpt: Duration,
    /// For the answer to DATA.
    pub data: Duration,
    /// For taking one block of the message.
    pub data_block: Duration,
    /// For the answer to the end of the message.
    pub data_end: Duration,
    /// For the answer to QUIT.
    pub quit: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            greeting: Duration::from_mins(5),
            command: Duration::from_mins(5),
            mail: Duration::from_mins(5),
            rcpt: Duration::from_mins(5),
            data: Duration::from_mins(2),
            data_block: Duration::from_mins(3),
            data_end: Duration::from_mins(10),
            quit: Duration::from_secs(5),
        }
    }
}

/// What a server offered at EHLO.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// PIPELINING.
    pub pipelining: bool,
    /// 8BITMIME.
    pub eight_bit_mime: bool,
    /// SMTPUTF8.
    pub smtputf8: bool,
    /// DSN.
    pub dsn: bool,
    /// STARTTLS.
    pub starttls: bool,
    /// SIZE was offered.
    pub size: bool,
    /// The limit that came with SIZE, if one did.
    pub size_bytes_max: Option<u64>,
    /// AUTH PLAIN.
    pub auth_plain: bool,
    /// AUTH LOGIN.
    pub auth_login: bool,
}

impl Capabilities {
    /// Reads the lines of the answer to EHLO; the first one is the server's name.
    pub(super) fn parse(text: &str) -> Self {
        let mut offered = Self::default();
        for line in text.split('\n').skip(1) {
            let mut words = line.split([' ', '=']);
            match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "PIPELINING" => offered.pipelining = true,
                "8BITMIME" => offered.eight_bit_mime = true,
                "SMTPUTF8" => offered.smtputf8 = true,
                "DSN" => offered.dsn = true,
                "STARTTLS" => offered.starttls = true,
                "SIZE" => {
                    offered.size = true;
                    let limit = words.next().and_then(|word| word.parse().ok());
                    offered.size_bytes_max = limit.filter(|limit| *limit > 0);
                }
                "AUTH" => {
                    for mechanism in words {
                        offered.auth_plain |= mechanism.eq_ignore_ascii_case("PLAIN");
                        offered.auth_login |= mechanism.eq_ignore_ascii_case("LOGIN");
                    }
                }
                _ => {}
            }
        }
        offered
    }
}
