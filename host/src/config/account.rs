//! `accounts`: who may send to us, and where answers for them go.

use std::sync::Arc;
use std::time::Duration;

use super::connector::{DefaultAlphabet, Numbering};
use super::pattern::AddressPattern;
use super::scalar::{Name, Network, Rate, Secret};

/// One entry of `accounts`.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// The key under `accounts`; also the name of the target.
    pub name: Name,
    /// How it binds over SMPP, if it may.
    pub smpp: Option<SmppCredentials>,
    /// How it authenticates over SMTP, if it may.
    pub smtp: Option<SmtpCredentials>,
    /// The most that it may submit; more is answered with a throttle.
    pub rate: Option<Rate>,
    /// Messages that may come at once above `rate`.
    pub burst: u32,
    /// Unanswered requests in each direction of one session; `None` is the listener's.
    pub window: Option<u16>,
    /// Senders that it may use; empty is any.
    pub from: Vec<AddressPattern>,
    /// Its share of a target that several accounts use, relative to the others.
    pub weight: u32,
    /// Messages that may wait for it to bind.
    pub queue_max: u32,
    /// Incomplete concatenated messages that we keep for it.
    pub assembling_max: u32,
    /// How long a receipt waits for it.
    pub receipts_ttl: Duration,
    /// What data_coding 0 means in what it sends and gets.
    pub data_coding_0: DefaultAlphabet,
    /// Type of number and numbering plan for senders that come with 0/0.
    pub source: Numbering,
    /// The same for recipients.
    pub dest: Numbering,
}

/// `accounts.NAME.smpp`.
#[derive(Debug, Clone, PartialEq)]
pub struct SmppCredentials {
    /// The system_id; 15 octets by the standard, longer ones are accepted.
    pub system_id: Arc<str>,
    /// The password; 8 octets by the standard, longer ones are accepted.
    pub password: Secret,
    /// Peers that may bind; empty is any.
    pub allow: Vec<Network>,
    /// Sessions at one time.
    pub binds_max: u32,
    /// Kinds of bind that are accepted.
    pub bind_types: Vec<BindType>,
}

/// `accounts.NAME.smtp`.
#[derive(Debug, Clone, PartialEq)]
pub struct SmtpCredentials {
    /// The name in AUTH.
    pub username: Arc<str>,
    /// The password in AUTH.
    pub password: Secret,
    /// Peers that may authenticate; empty is any.
    pub allow: Vec<Network>,
}

/// The three kinds of SMPP bind (v3.4 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindType {
    /// Sends only.
    Transmitter,
    /// Receives only.
    Receiver,
    /// Both over one connection.
    Transceiver,
}
