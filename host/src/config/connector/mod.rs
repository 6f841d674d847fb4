//! `connectors`: what carries messages out, and how.

use crate::config::join::Join;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use message::text::Alphabet;
use smpp::receipt::IdRelation;

use super::account::BindType;
use super::listener::SmppVersion;
use super::pem::PemFile;
use super::retry::Retry;
use super::scalar::{Name, Rate, Secret};

mod read;

pub(super) use read::{ALPHABETS, RETRY, TLS, TOP};

/// One entry of `connectors`.
#[derive(Debug, Clone, PartialEq)]
pub struct Connector {
    /// The key under `connectors`; also the name of the target, and of the door for what an SMSC
    /// sends us.
    pub name: Name,
    /// The protocol and its settings.
    pub kind: ConnectorKind,
    /// The most that it is given.
    pub rate: Option<Rate>,
    /// Messages or parts that may go at once above `rate`.
    pub burst: u32,
    /// Deliveries that may wait for it before doors answer "later".
    pub queue_max: u32,
    /// What happens after a temporary failure, where the route says nothing.
    pub retry: Arc<Retry>,
}

/// What a connector speaks.
#[derive(Debug, Clone, PartialEq)]
pub enum ConnectorKind {
    /// An SMSC that we bind to as an ESME.
    Smpp(Box<SmppConnector>),
    /// Mail relays.
    Smtp(Box<SmtpConnector>),
}

/// `connectors.NAME.smpp`.
#[derive(Debug, Clone, PartialEq)]
pub struct SmppConnector {
    /// Host name or address.
    pub host: Arc<str>,
    /// Port.
    pub port: u16,
    /// Who we are.
    pub system_id: Arc<str>,
    /// The password.
    pub password: Secret,
    /// system_type of the bind.
    pub system_type: Arc<str>,
    /// address_range of the bind.
    pub address_range: Arc<str>,
    /// The kind of bind.
    pub bind: BindType,
    /// Connections that are kept.
    pub binds: u16,
    /// Unanswered requests per connection.
    pub window: u16,
    /// The version that we say we speak.
    pub version: SmppVersion,
    /// TLS from the first octet, if any.
    pub tls: Option<ClientTls>,
    /// Time to connect and bind.
    pub connect_timeout: Duration,
    /// Silence after which we ask whether the SMSC lives.
    pub enquire_link: Duration,
    /// Time for the SMSC to answer a request.
    pub response_timeout: Duration,
    /// Pauses between attempts to bind.
    pub reconnect: Reconnect,
    /// What data_coding 0 means in what we send.
    pub data_coding_0_out: Alphabet,
    /// What data_coding 0 means in what we get.
    pub data_coding_0_in: Alphabet,
    /// How a text that is longer than one SMS is sent.
    pub concat: Concat,
    /// Whether parts of long messages that come from there are joined.
    pub join: Join,
    /// Whether optional parameters are sent.
    pub tlvs: Tlvs,
    /// How message ids in receipts relate to those in submit answers.
    pub id_format: IdFormat,
    /// What command statuses mean here, where it differs from the default table.
    pub status: BTreeMap<u32, StatusClass>,
    /// Type of number and numbering plan for senders that have none.
    pub source: Numbering,
    /// The same for recipients.
    pub dest: Numbering,
    /// service_type of what we send.
    pub service_type: Arc<str>,
    /// What happens to a delivery whose answer never came.
    pub on_unknown_outcome: OnUnknownOutcome,
    /// All parts may go over another target although some were sent over this one.
    pub resend_whole: bool,
}

/// `reconnect`: the pause doubles from `min` to `max`, with jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// The first pause.
    pub min: Duration,
    /// The longest pause.
    pub max: Duration,
}

/// Type of number and numbering plan indicator (SMPP v3.4 §5.2.5, §5.2.6); `None` is "by the look of
/// the address".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Numbering {
    /// Type of number.
    pub ton: Option<u8>,
    /// Numbering plan indicator.
    pub npi: Option<u8>,
}

/// How the parts of a long text say that they belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concat {
    /// A user data header with an 8-bit reference.
    Udh8,
    /// A user data header with a 16-bit reference.
    Udh16,
    /// One PDU with message_payload.
    Payload,
    /// sar_msg_ref_num and its companions.
    Sar,
}

/// Whether optional parameters are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tlvs {
    /// Unless the peer speaks 3.3; once without them after the peer refused one.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How message ids in receipts relate to those in submit answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdFormat {
    /// Learnt from the first receipts.
    Auto,
    /// Decimal in both.
    Dec,
    /// Hexadecimal in the answer, decimal in the receipt.
    HexDec,
    /// Decimal in the answer, hexadecimal in the receipt.
    DecHex,
    /// The same octets in both.
    Exact,
}

impl IdFormat {
    /// The relation that it stands for; none if that is learned.
    #[must_use]
    pub const fn relation(self) -> Option<IdRelation> {
        match self {
            Self::Auto => None,
            Self::Dec | Self::Exact => Some(IdRelation::Same),
            Self::HexDec => Some(IdRelation::ReceiptIsDecimal),
            Self::DecHex => Some(IdRelation::ReceiptIsHex),
        }
    }
}

/// What a command_status means for a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusClass {
    /// Try again later, then elsewhere.
    Temporary,
    /// Never try again.
    Permanent,
    /// Slow down; the attempt does not count.
    Throttle,
    /// The connector is at fault: leave it alone and use another.
    Connector,
    /// Taken as delivered to the SMSC.
    Success,
}

/// What happens to a delivery whose answer never came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnknownOutcome {
    /// Send it again, marked as a possible duplicate.
    Resend,
    /// Tell the sender that it failed.
    Fail,
    /// Keep it until an operator decides.
    Hold,
}

/// `tls` of an SMPP connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// Authorities, PEM; `None` is the system's.
    pub ca: Option<PemFile>,
    /// Our certificate chain, PEM, where the peer wants one.
    pub cert: Option<PemFile>,
    /// Its private key, PEM.
    pub key: Option<PemFile>,
    /// The name in the peer's certificate; `None` is the host.
    pub server_name: Option<Arc<str>>,
    /// Any certificate is accepted.
    pub insecure: bool,
}

/// `connectors.NAME.smtp`.
#[derive(Debug, Clone, PartialEq)]
pub struct SmtpConnector {
    /// Relays, the most wanted first; at least one. Equal priorities share the load.
    pub hosts: Vec<RelayHost>,
    /// How much encryption is demanded.
    pub tls: TlsPolicy,
    /// TLS from the first octet (port 465) instead of STARTTLS.
    pub tls_implicit: bool,
    /// Authorities and our own certificate.
    pub tls_files: ClientTls,
    /// Name and password for AUTH.
    pub auth: Option<SmtpAuth>,
    /// The name in EHLO.
    pub helo: Arc<str>,
    /// Connections at one time to one host.
    pub connections_max: u16,
    /// Messages after which a connection is closed.
    pub messages_per_connection: u32,
    /// Recipients in one transaction.
    pub recipients_max: u32,
    /// How long a connection is kept without work.
    pub idle: Duration,
    /// Deadlines of one transaction.
    pub timeouts: SmtpClientTimeouts,
}

/// One relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayHost {
    /// Host name or address.
    pub host: Arc<str>,
    /// Port.
    pub port: u16,
    /// Lower is tried first.
    pub priority: u16,
}

/// How much encryption an SMTP connector demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsPolicy {
    /// Never.
    None,
    /// If the relay offers it, with any certificate.
    Opportunistic,
    /// Always, with any certificate.
    Required,
    /// Always, with a certificate that is valid for the host.
    Verify,
}

/// Credentials for AUTH at a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpAuth {
    /// The name.
    pub username: Arc<str>,
    /// The password.
    pub password: Secret,
}

/// `connectors.NAME.smtp.timeouts` (RFC 5321 §4.5.3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpClientTimeouts {
    /// TCP connection.
    pub connect: Duration,
    /// The 220 greeting.
    pub greeting: Duration,
    /// An answer to a command.
    pub command: Duration,
    /// The message may be sent (354).
    pub data_init: Duration,
    /// A block of the message is taken.
    pub data_block: Duration,
    /// The answer to the message.
    pub data_end: Duration,
}
