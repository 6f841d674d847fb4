//! `listeners`: where connections are accepted, and what a peer may do there.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::scalar::{Name, Network};

/// One entry of `listeners`.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// The key under `listeners`; also the name of the door.
    pub name: Name,
    /// The protocol and its settings.
    pub kind: ListenerKind,
}

/// What a listener speaks.
#[derive(Debug, Clone, PartialEq)]
pub enum ListenerKind {
    /// Mail comes in.
    Smtp(SmtpListener),
    /// SMS come in from ESMEs that bind to us.
    Smpp(SmppListener),
}

/// `listeners.NAME.smtp`.
#[derive(Debug, Clone, PartialEq)]
pub struct SmtpListener {
    /// Sockets to listen on; at least one.
    pub bind: Vec<SocketAddr>,
    /// The name in the greeting, in `Received` and in EHLO's answer.
    pub hostname: Arc<str>,
    /// Text behind the host name in the 220 greeting.
    pub banner: Arc<str>,
    /// Peers that may relay without authentication.
    pub allow: Vec<Network>,
    /// Accounts that may authenticate here; `None` is every account with `smtp` credentials.
    pub accounts: Option<Vec<Name>>,
    /// AUTH is offered on connections without TLS too.
    pub auth_without_tls: bool,
    /// The operator has said in as many words that the whole Internet may relay.
    pub open_relay: bool,
    /// Certificates, if TLS is spoken here.
    pub tls: Option<ServerTls>,
    /// Peers whose connections begin with a PROXY protocol header (v1 or v2).
    pub proxy_from: Vec<Network>,
    /// The largest message, announced as SIZE (RFC 1870).
    pub size_bytes_max: u64,
    /// Recipients of one message; further ones get 452.
    pub recipients_max: u32,
    /// Connections at one time.
    pub connections_max: u32,
    /// Connections at one time from one address.
    pub connections_per_ip_max: u32,
    /// Messages on one connection; then 421.
    pub messages_per_connection_max: u32,
    /// How long the peer waits for plugins before the message is taken undecided.
    pub decide_within: Duration,
    /// Deadlines of one session.
    pub timeouts: SmtpServerTimeouts,
    /// What happens to a CR or LF that stands alone.
    pub bare_newlines: BareNewlines,
    /// `Received` fields at which a message is taken to be looping.
    pub hops_max: u32,
    /// Octets per second below which a DATA transfer is ended, after a grace of ten seconds.
    pub data_min_rate_bytes: u32,
    /// Wrong commands after which a session is ended.
    pub errors_max: u32,
    /// The delay before each answer once half of `errors_max` is used up.
    pub tarpit: Duration,
}

/// `listeners.NAME.smtp.timeouts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpServerTimeouts {
    /// Waiting for the next command.
    pub command: Duration,
    /// Waiting for the next octets of a message.
    pub data_block: Duration,
    /// The whole of DATA or all BDAT chunks, however steadily they come.
    pub data_total: Duration,
    /// The whole session.
    pub session: Duration,
}

/// What an SMTP listener does with a CR or LF that is not part of CRLF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BareNewlines {
    /// The message is refused.
    Refuse,
    /// It becomes CRLF; the end of the message is CRLF.CRLF all the same.
    Normalize,
}

/// `listeners.NAME.smpp`.
#[derive(Debug, Clone, PartialEq)]
pub struct SmppListener {
    /// Sockets to listen on; at least one.
    pub bind: Vec<SocketAddr>,
    /// Accounts that may bind here; `None` is every account with `smpp` credentials.
    pub accounts: Option<Vec<Name>>,
    /// The system_id in our bind answers; at most 15 octets (SMPP v3.4 §4.1.2).
    pub system_id: Arc<str>,
    /// Wrong names and wrong passwords get the same answer, `ESME_RBINDFAIL`.
    pub hide_auth_cause: bool,
    /// Certificates, if TLS is spoken here.
    pub tls: Option<ServerTls>,
    /// Peers whose connections begin with a PROXY protocol header (v1 or v2).
    pub proxy_from: Vec<Network>,
    /// Connections at one time.
    pub connections_max: u32,
    /// Connections at one time from one address.
    pub connections_per_ip_max: u32,
    /// Requests of one session that may be unanswered at one time; further ones wait unread.
    pub window: u16,
    /// Silence after which we ask whether the peer lives; two misses end the session.
    pub enquire_link: Duration,
    /// Time from the connection to the bind.
    pub session_init: Duration,
    /// Time for the peer to answer a request of ours.
    pub response_timeout: Duration,
    /// Time without a message after which the session is ended.
    pub inactivity: Duration,
    /// The largest PDU; more ends the session.
    pub pdu_bytes_max: u32,
    /// The newest version that we speak here.
    pub version: SmppVersion,
    /// How long the peer waits for plugins before the message is taken undecided.
    pub decide_within: Duration,
}

/// Versions of SMPP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SmppVersion {
    /// 3.3: no optional parameters, message ids of up to eight hexadecimal digits.
    V33,
    /// 3.4.
    V34,
    /// 5.0.
    V50,
}

/// `tls` of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
    /// Authorities whose client certificates are demanded.
    pub client_ca: Option<PathBuf>,
    /// When the connection becomes encrypted.
    pub mode: TlsMode,
    /// Nothing but greeting, EHLO and STARTTLS works before encryption.
    pub required: bool,
}

/// When a connection becomes encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// From the first octet.
    Implicit,
    /// When the peer asks for it with STARTTLS; SMTP only.
    Starttls,
}
