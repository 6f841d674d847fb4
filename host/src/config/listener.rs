//! `listeners`: where connections are accepted, and what a peer may do there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::check::{Check, Kindred};
use super::exposed;
use super::keys::{DAY, GIB, HOUR, KIB, Key, Kind, MIB, SECOND, Schema, key};
use super::pem::PemFile;
use super::scalar::{Name, Network};
use super::section::Section;
use super::server::{Node, hostname};

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
    pub cert: PemFile,
    /// The private key, PEM.
    pub key: PemFile,
    /// Authorities whose client certificates are demanded.
    pub client_ca: Option<PemFile>,
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

static SMTP: Schema = Schema {
    about: "Mail comes in.",
    keys: &[
        key("bind", Kind::Several(&Kind::Socket), "Sockets to listen on.").required().restart(),
        key("hostname", Kind::Octets(255), "The name in the greeting and in `Received`; left out, that of the node."),
        key("banner", Kind::Octets(200), "Text behind the host name in the greeting.").or("ESMTP"),
        key("allow", Kind::Several(&Kind::Network), "Peers that may relay without authentication."),
        key("open_relay", Kind::Flag, "The whole Internet may relay; without it, `allow: 0.0.0.0/0` is refused.").or("false"),
        key("accounts", Kind::Several(&Kind::Name("accounts")), "Accounts that may authenticate; left out, all with `smtp` credentials."),
        key("auth_without_tls", Kind::Flag, "AUTH is offered on unencrypted connections too.").or("false"),
        key("tls", Kind::Section(&TLS), TLS.about),
        key("proxy_from", Kind::Several(&Kind::Network), "Peers whose connections begin with a PROXY protocol header."),
        key("max_size", Kind::Size(KIB, GIB), "The largest message, announced as SIZE.").or("25MiB"),
        key("max_recipients", Kind::Int(1, 50_000), "Recipients of one message; further ones get 452.").or("1000"),
        key("max_connections", Kind::Int(1, 100_000), "Connections at one time.").or("1000").restart(),
        key("max_connections_per_ip", Kind::Int(1, 100_000), "Connections at one time from one address.").or("50"),
        key("max_messages_per_connection", Kind::Int(1, 100_000_000), "Messages on one connection; then 421.").or("100000"),
        key("decide_within", Kind::Duration(10, 30 * SECOND), "How long the peer waits for plugins before the message is taken undecided.").or("250ms"),
        key("timeouts", Kind::Section(&TIMEOUTS), TIMEOUTS.about),
        key("bare_newlines", Kind::Word(&["refuse", "normalize"]), "What happens to a CR or LF that stands alone, and to a NUL: the mail is refused with 550 5.6.11, or they become CRLF and `?`. The end of a message is CRLF.CRLF either way.").or("refuse"),
        key("hops_max", Kind::Int(1, 200), "`Received` fields at which a message is taken to be looping.").or("50"),
        key("data_min_rate", Kind::Size(0, MIB), "Octets per second below which a transfer is ended, after ten seconds; 0 is never.").or("128"),
        key("errors_max", Kind::Int(1, 1000), "Wrong commands after which a session is ended.").or("20"),
        key("tarpit", Kind::Duration(0, 30 * SECOND), "The delay of each answer once half of `errors_max` is used up.").or("1s"),
    ],
};

static TIMEOUTS: Schema = Schema {
    about: "Deadlines of one session (RFC 5321 §4.5.3.2).",
    keys: &[
        key("command", Kind::Duration(SECOND, HOUR), "Waiting for the next command.").or("5m"),
        key(
            "data_block",
            Kind::Duration(SECOND, HOUR),
            "Waiting for the next octets of a message.",
        )
        .or("3m"),
        key(
            "data_total",
            Kind::Duration(SECOND, DAY),
            "The whole message, however steadily it comes.",
        )
        .or("30m"),
        key("session", Kind::Duration(SECOND, 7 * DAY), "The whole session.").or("1d"),
    ],
};

static TLS: Schema = Schema {
    about: "Encryption.",
    keys: &[
        key("cert", Kind::Path, "The certificate chain, PEM.").required(),
        key("key", Kind::Path, "The private key, PEM.").required(),
        key(
            "client_ca",
            Kind::Path,
            "Authorities, PEM; every peer must show a certificate of one.",
        ),
        key(
            "mode",
            Kind::Word(&["starttls", "implicit"]),
            "Left out: `starttls` for SMTP, `implicit` for SMPP, which knows nothing else.",
        ),
        key(
            "required",
            Kind::Flag,
            "Nothing but greeting, EHLO and STARTTLS works before encryption.",
        )
        .or("false"),
    ],
};

static SMPP: Schema = Schema {
    about: "SMS come in from ESMEs that bind to us.",
    keys: &[
        key("bind", Kind::Several(&Kind::Socket), "Sockets to listen on.").required().restart(),
        key(
            "accounts",
            Kind::Several(&Kind::Name("accounts")),
            "Accounts that may bind; left out, all with `smpp` credentials.",
        ),
        key("system_id", Kind::Octets(15), "The system_id in our bind answers.").or("wirepost"),
        key(
            "hide_auth_cause",
            Kind::Flag,
            "A wrong name and a wrong password get the same answer, ESME_RBINDFAIL.",
        )
        .or("true"),
        key("tls", Kind::Section(&TLS), TLS.about),
        key(
            "proxy_from",
            Kind::Several(&Kind::Network),
            "Peers whose connections begin with a PROXY protocol header.",
        ),
        key("max_connections", Kind::Int(1, 100_000), "Connections at one time.")
            .or("1000")
            .restart(),
        key(
            "max_connections_per_ip",
            Kind::Int(1, 100_000),
            "Connections at one time from one address.",
        )
        .or("50"),
        key(
            "window",
            Kind::Int(1, 10_000),
            "Unanswered requests of one session; further ones wait unread.",
        )
        .or("100"),
        key(
            "enquire_link",
            Kind::Duration(SECOND, HOUR),
            "Silence after which we ask whether the peer lives; two misses end the session.",
        )
        .or("30s"),
        key("session_init", Kind::Duration(SECOND, HOUR), "Time from the connection to the bind.")
            .or("5s"),
        key(
            "response_timeout",
            Kind::Duration(SECOND, HOUR),
            "Time for the peer to answer a request of ours.",
        )
        .or("30s"),
        key(
            "inactivity",
            Kind::Duration(SECOND, 7 * DAY),
            "Time without a message after which the session is ended.",
        )
        .or("1h"),
        key(
            "max_pdu",
            Kind::Size(256, 16 * MIB),
            "The largest PDU; a larger one ends the session.",
        )
        .or("65KiB"),
        key("version", Kind::Word(&["3.3", "3.4", "5.0"]), "The newest version that is spoken.")
            .or("3.4"),
        key(
            "decide_within",
            Kind::Duration(10, 30 * SECOND),
            "How long the peer waits for plugins before the message is taken undecided.",
        )
        .or("250ms"),
    ],
};

static KEYS: Schema = Schema {
    about: "Where connections are accepted, and what a peer may do there. Each has `smtp` or `smpp`.",
    keys: &[
        key("smtp", Kind::Section(&SMTP), SMTP.about),
        key("smpp", Kind::Section(&SMPP), SMPP.about),
    ],
};

/// The key at the top of the file.
pub(super) const TOP: Key = key("listeners", Kind::Named(&KEYS), KEYS.about);

/// Versions as written in YAML.
pub(super) const VERSIONS: [(&str, SmppVersion); 3] =
    [("3.3", SmppVersion::V33), ("3.4", SmppVersion::V34), ("5.0", SmppVersion::V50)];

impl Listener {
    /// Reads all of `listeners`.
    pub(super) fn read_all(check: &mut Check, top: &Section<'_>, node: &Node) -> Vec<Self> {
        let mut listeners = Vec::new();
        let mut sockets = std::collections::BTreeMap::new();
        for (name, place, entry) in top.named(check, "listeners") {
            let section = Section::open(check, &KEYS, entry, format!("listeners.{name}"));
            let kind = match (section.has("smtp"), section.has("smpp")) {
                (true, false) => ListenerKind::Smtp(SmtpListener::read(check, &section, node)),
                (false, true) => ListenerKind::Smpp(SmppListener::read(check, &section)),
                (true, true) | (false, false) => {
                    let path = &section.path;
                    check.error(place, format!("{path} needs one of smtp and smpp"));
                    check.forgive(&name);
                    continue;
                }
            };
            let listener = Self { name, kind };
            for socket in listener.sockets() {
                if socket.port() != 0
                    && let Some(other) = sockets.insert(*socket, Name::clone(&listener.name))
                {
                    let path = &section.path;
                    check.error(
                        place,
                        format!("{path} binds {socket}, and so does listeners.{other}"),
                    );
                }
            }
            listeners.push(listener);
        }
        listeners
    }

    /// What cannot change while it listens.
    pub(super) fn fixed(&self) -> (bool, &[SocketAddr], u32) {
        let (smtp, connections_max) = match &self.kind {
            ListenerKind::Smtp(smtp) => (true, smtp.connections_max),
            ListenerKind::Smpp(smpp) => (false, smpp.connections_max),
        };
        (smtp, self.sockets(), connections_max)
    }

    /// Sockets to listen on.
    #[must_use]
    pub fn sockets(&self) -> &[SocketAddr] {
        match &self.kind {
            ListenerKind::Smtp(smtp) => &smtp.bind,
            ListenerKind::Smpp(smpp) => &smpp.bind,
        }
    }
}

impl SmtpListener {
    fn read(check: &mut Check, listener: &Section<'_>, node: &Node) -> Self {
        let section = listener.section(check, "smtp", &SMTP);
        let allow = section.networks(check, "allow");
        let open_relay = section.flag(check, "open_relay");
        if Network::are_everything(&allow) && !open_relay {
            let everything = allow.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let place = section.opt("allow").map_or(section.place, |node| node.place);
            check.error_with(
                place,
                format!(
                    "{}: {everything} lets the whole Internet send mail through here",
                    section.at("allow")
                ),
                "name the networks of your own servers; or, if you mean it, say open_relay: true",
            );
        }
        let timeouts = section.section(check, "timeouts", &TIMEOUTS);
        Self {
            bind: section.sockets(check, "bind"),
            hostname: hostname(check, &section, "hostname")
                .unwrap_or_else(|| Arc::clone(&node.hostname)),
            banner: section.text(check, "banner"),
            allow,
            accounts: section.names(check, "accounts", Kindred::SmtpAccount),
            auth_without_tls: section.flag(check, "auth_without_tls"),
            open_relay,
            tls: ServerTls::read(check, &section, TlsMode::Starttls),
            proxy_from: section.networks(check, "proxy_from"),
            size_bytes_max: section.size(check, "max_size"),
            recipients_max: section.int(check, "max_recipients"),
            connections_max: section.int(check, "max_connections"),
            connections_per_ip_max: section.int(check, "max_connections_per_ip"),
            messages_per_connection_max: section.int(check, "max_messages_per_connection"),
            decide_within: section.duration(check, "decide_within"),
            timeouts: SmtpServerTimeouts {
                command: timeouts.duration(check, "command"),
                data_block: timeouts.duration(check, "data_block"),
                data_total: timeouts.duration(check, "data_total"),
                session: timeouts.duration(check, "session"),
            },
            bare_newlines: section.word(
                check,
                "bare_newlines",
                &[("refuse", BareNewlines::Refuse), ("normalize", BareNewlines::Normalize)],
            ),
            hops_max: section.int(check, "hops_max"),
            data_min_rate_bytes: u32::try_from(section.size(check, "data_min_rate"))
                .unwrap_or(u32::MAX),
            errors_max: section.int(check, "errors_max"),
            tarpit: section.duration(check, "tarpit"),
        }
    }
}

impl SmppListener {
    fn read(check: &mut Check, listener: &Section<'_>) -> Self {
        let section = listener.section(check, "smpp", &SMPP);
        Self {
            bind: section.sockets(check, "bind"),
            accounts: section.names(check, "accounts", Kindred::SmppAccount),
            system_id: section.text(check, "system_id"),
            hide_auth_cause: section.flag(check, "hide_auth_cause"),
            tls: ServerTls::read(check, &section, TlsMode::Implicit),
            proxy_from: section.networks(check, "proxy_from"),
            connections_max: section.int(check, "max_connections"),
            connections_per_ip_max: section.int(check, "max_connections_per_ip"),
            window: section.int(check, "window"),
            enquire_link: section.duration(check, "enquire_link"),
            session_init: section.duration(check, "session_init"),
            response_timeout: section.duration(check, "response_timeout"),
            inactivity: section.duration(check, "inactivity"),
            pdu_bytes_max: u32::try_from(section.size(check, "max_pdu")).unwrap_or(u32::MAX),
            version: section.word(check, "version", &VERSIONS),
            decide_within: section.duration(check, "decide_within"),
        }
    }
}

impl ServerTls {
    fn read(check: &mut Check, listener: &Section<'_>, usual: TlsMode) -> Option<Self> {
        if !listener.has("tls") {
            return None;
        }
        let section = listener.section(check, "tls", &TLS);
        let words = [("starttls", TlsMode::Starttls), ("implicit", TlsMode::Implicit)];
        let mode = section.opt_word(check, "mode", &words).unwrap_or(usual);
        if mode == TlsMode::Starttls && usual == TlsMode::Implicit {
            let path = section.at("mode");
            check
                .error(section.place, format!("{path}: SMPP has no STARTTLS; its TLS is implicit"));
        }
        let required = section.flag(check, "required");
        let client_ca = section.opt_pem(check, "client_ca");
        let cert = section.opt_pem(check, "cert")?;
        let key = section.opt_pem(check, "key")?;
        exposed::check_key(check, section.place, key.path());
        let tls = Self { cert, key, client_ca, mode, required };
        let files = [Some(&tls.cert), Some(&tls.key), tls.client_ca.as_ref()];
        if check.options.environment
            && files.into_iter().flatten().all(|file| file.path().is_file())
            && let Err(problem) = crate::tls::server(&tls)
        {
            check.error(section.place, format!("{}: {problem}", section.path));
        }
        Some(tls)
    }
}
