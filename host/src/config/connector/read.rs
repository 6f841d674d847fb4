//! The keys of `connectors`, and how they are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use message::text::Alphabet;

use super::{
    ClientTls, Concat, Connector, ConnectorKind, IdFormat, Numbering, OnUnknownOutcome, Reconnect,
    RelayHost, SmppConnector, SmtpAuth, SmtpClientTimeouts, SmtpConnector, StatusClass, TlsPolicy,
    Tlvs,
};
use crate::config::account::{BIND_TYPES, NUMBERING, one_second_of};
use crate::config::check::Check;
use crate::config::exposed;
use crate::config::join::{self, JOINS};
use crate::config::keys::{HOUR, Key, Kind, MINUTE, SECOND, Schema, key};
use crate::config::listener::VERSIONS;
use crate::config::pem::PemFile;
use crate::config::retry::{self, Retry};
use crate::config::scalar::Secret;
use crate::config::section::{Section, find_word, parse_int};
use crate::config::server::{Node, hostname};

static KEYS: Schema = Schema {
    about: "What carries messages out. Each has `smpp` or `smtp`.",
    keys: &[
        key("smpp", Kind::Section(&SMPP), SMPP.about),
        key("smtp", Kind::Section(&SMTP), SMTP.about),
        key(
            "retry",
            Kind::Section(&retry::KEYS),
            "What happens after a temporary failure, where the route says nothing; left out, the `retry` at the top.",
        ),
        key(
            "queue_max",
            Kind::Int(1, 100_000_000),
            "Deliveries that may wait for it; doors answer \"later\" from nine tenths of it on, and at all of it to accounts that have little there.",
        )
        .or("1000000"),
    ],
};

static SMPP: Schema = Schema {
    about: "An SMSC that we bind to.",
    keys: &[
        key("host", Kind::Octets(255), "Host name or address.").required(),
        key("port", Kind::Int(1, 65_535), "Port.").or("2775"),
        key("system_id", Kind::Octets(64), "Who we are; 15 octets by the standard.").required(),
        key("password", Kind::Secret, "The password; 8 octets by the standard.").required(),
        key("system_type", Kind::Octets(64), "system_type of the bind; 12 octets by the standard."),
        key("address_range", Kind::Octets(40), "address_range of the bind."),
        key("bind", Kind::Word(&["transceiver", "transmitter", "receiver"]), "The kind of bind.").or("transceiver"),
        key("binds", Kind::Int(1, 64), "Connections that are kept.").or("1"),
        key("window", Kind::Int(1, 1000), "Unanswered requests per connection; many SMSCs allow 10.").or("10"),
        key("rate", Kind::Rate, "The most that is sent, in PDUs. Left out: no limit."),
        key("burst", Kind::Int(1, 1_000_000), "PDUs that may go at once above `rate`; left out, those of one second."),
        key("version", Kind::Word(&["3.3", "3.4", "5.0"]), "The version that we say we speak.").or("3.4"),
        key("tls", Kind::Section(&TLS), TLS.about),
        key("connect_timeout", Kind::Duration(SECOND, 5 * MINUTE), "Time to connect and bind.").or("10s"),
        key("enquire_link", Kind::Duration(SECOND, HOUR), "Silence after which we ask whether the SMSC lives; two misses end the session.").or("30s"),
        key("response_timeout", Kind::Duration(SECOND, HOUR), "Time for the SMSC to answer a request.").or("30s"),
        key("reconnect", Kind::Section(&RECONNECT), RECONNECT.about),
        key("data_coding_0", Kind::Either(&Kind::Word(ALPHABET_WORDS), &Kind::Section(&DIRECTIONS)), "What data_coding 0 means there; one word, or one for each direction.").or("gsm"),
        key("concat", Kind::Word(&["udh8", "udh16", "payload", "sar"]), "How a text that is longer than one SMS is sent.").or("udh8"),
        join::KEY,
        key("tlvs", Kind::Word(&["auto", "always", "never"]), "Whether optional parameters are sent; `auto` leaves them out for 3.3 and after a refusal.").or("auto"),
        key("id_format", Kind::Word(&["auto", "dec", "hex-dec", "dec-hex", "exact"]), "How message ids in receipts relate to those in submit answers; `hex-dec` is hexadecimal in the answer.").or("auto"),
        key("status", Kind::MapOf("a command_status such as 0x45", &Kind::Word(&["temporary", "permanent", "throttle", "connector", "success"])), "What a command_status means here, where it differs from the usual."),
        key("source", Kind::Section(&NUMBERING), "Type of number for senders that have none."),
        key("dest", Kind::Section(&NUMBERING), "Type of number for recipients that have none."),
        key("service_type", Kind::Octets(5), "service_type of what is sent."),
        key("on_unknown_outcome", Kind::Word(&["resend", "hold", "fail"]), "What happens to a message whose answer never came; `resend` may make a duplicate, and says so.").or("resend"),
        key("resend_whole", Kind::Flag, "All parts may go elsewhere although some were sent here.").or("false"),
    ],
};

static DIRECTIONS: Schema = Schema {
    about: "What data_coding 0 means in each direction.",
    keys: &[
        key("out", Kind::Word(ALPHABET_WORDS), "In what we send.").or("gsm"),
        key("in", Kind::Word(ALPHABET_WORDS), "In what we get.").or("gsm"),
    ],
};

static RECONNECT: Schema = Schema {
    about: "Pauses between attempts to bind, each twice as long as the one before, with jitter.",
    keys: &[
        key("min", Kind::Duration(100, HOUR), "The first pause.").or("1s"),
        key("max", Kind::Duration(100, HOUR), "The longest pause.").or("1m"),
    ],
};

pub(in crate::config) static TLS: Schema = Schema {
    about: "Encryption from the first octet; `{}` is enough for a public certificate.",
    keys: &[
        key("ca", Kind::Path, "Authorities, PEM; left out, those of the system."),
        key("cert", Kind::Path, "Our certificate chain, PEM, where the peer wants one."),
        key("key", Kind::Path, "Its private key, PEM."),
        key(
            "server_name",
            Kind::Octets(255),
            "The name in the peer's certificate; left out, the host.",
        ),
        key("insecure", Kind::Flag, "Any certificate is accepted.").or("false"),
    ],
};

static SMTP: Schema = Schema {
    about: "Mail relays.",
    keys: &[
        key(
            "host",
            Kind::Either(&Kind::Octets(255), &Kind::Listed(&HOST)),
            "Host name or address; or a list of several, names or `{ host, port, priority }`.",
        )
        .required(),
        key("port", Kind::Int(1, 65_535), "Port, where a host has none of its own.").or("25"),
        key(
            "tls",
            Kind::Word(&["none", "opportunistic", "required", "verify"]),
            "How much encryption is demanded; left out, `opportunistic`, with `auth` `verify`.",
        ),
        key(
            "tls_implicit",
            Kind::Flag,
            "TLS from the first octet, as on port 465, instead of STARTTLS.",
        )
        .or("false"),
        key("tls_files", Kind::Section(&TLS), "Authorities and our own certificate."),
        key("auth", Kind::Section(&AUTH), AUTH.about),
        key("helo", Kind::Octets(255), "The name in EHLO; left out, that of the node."),
        key("connections_max", Kind::Int(1, 1000), "Connections at one time to one host.").or("20"),
        key(
            "messages_per_connection",
            Kind::Int(1, 1_000_000),
            "Messages after which a connection is closed.",
        )
        .or("1000"),
        key("max_recipients", Kind::Int(1, 10_000), "Recipients in one transaction.").or("100"),
        key("idle", Kind::Duration(0, HOUR), "How long a connection is kept without work.")
            .or("10s"),
        key("rate", Kind::Rate, "The most that is sent. Left out: no limit."),
        key(
            "burst",
            Kind::Int(1, 1_000_000),
            "Messages that may go at once above `rate`; left out, those of one second.",
        ),
        key("timeouts", Kind::Section(&TIMEOUTS), TIMEOUTS.about),
    ],
};

static HOST: Schema = Schema {
    about: "One relay.",
    keys: &[
        key("host", Kind::Octets(255), "Host name or address.").required(),
        key("port", Kind::Int(1, 65_535), "Port; left out, that of the connector."),
        key("priority", Kind::Int(0, 65_535), "Lower is tried first; equal ones share the load.")
            .or("10"),
    ],
};

static AUTH: Schema = Schema {
    about: "Name and password for AUTH; never sent without encryption.",
    keys: &[
        key("username", Kind::Octets(255), "The name.").required(),
        key("password", Kind::Secret, "The password.").required(),
    ],
};

static TIMEOUTS: Schema = Schema {
    about: "Deadlines of one transaction (RFC 5321 §4.5.3.2).",
    keys: &[
        key("connect", Kind::Duration(SECOND, HOUR), "TCP connection and TLS.").or("30s"),
        key("greeting", Kind::Duration(SECOND, HOUR), "The greeting.").or("5m"),
        key("command", Kind::Duration(SECOND, HOUR), "The answer to a command.").or("5m"),
        key("data_init", Kind::Duration(SECOND, HOUR), "Leave to send the message (354).").or("2m"),
        key("data_block", Kind::Duration(SECOND, HOUR), "A block of the message is taken.")
            .or("3m"),
        key("data_end", Kind::Duration(SECOND, HOUR), "The answer to the message.").or("10m"),
    ],
};

/// The key at the top of the file.
pub(in crate::config) const TOP: Key = key("connectors", Kind::Named(&KEYS), KEYS.about);

/// The key of the retry schedule of all connectors at the top of the file.
pub(in crate::config) const RETRY: Key = key(
    "retry",
    Kind::Section(&retry::KEYS),
    "The retry schedule of targets and routes that have none of their own.",
);

const ALPHABET_WORDS: &[&str] = &["gsm", "latin1", "ascii", "utf8", "gsm-packed"];

/// Alphabets as written in YAML.
pub(in crate::config) const ALPHABETS: [(&str, Alphabet); 5] = [
    ("gsm", Alphabet::Gsm),
    ("latin1", Alphabet::Latin1),
    ("ascii", Alphabet::Ascii),
    ("utf8", Alphabet::Utf8),
    ("gsm-packed", Alphabet::GsmPacked),
];

impl Connector {
    /// Reads all of `connectors`.
    pub(in crate::config) fn read_all(
        check: &mut Check,
        top: &Section<'_>,
        node: &Node,
        usual_retry: &Arc<Retry>,
    ) -> Vec<Self> {
        let mut connectors = Vec::new();
        for (name, place, entry) in top.named(check, "connectors") {
            let section = Section::open(check, &KEYS, entry, format!("connectors.{name}"));
            let (kind, protocol) = match (section.has("smpp"), section.has("smtp")) {
                (true, false) => {
                    let protocol = section.section(check, "smpp", &SMPP);
                    let smpp = SmppConnector::read(check, &protocol);
                    (smpp.map(|smpp| ConnectorKind::Smpp(Box::new(smpp))), protocol)
                }
                (false, true) => {
                    let protocol = section.section(check, "smtp", &SMTP);
                    let smtp = SmtpConnector::read(check, &protocol, node);
                    (Some(ConnectorKind::Smtp(Box::new(smtp))), protocol)
                }
                (true, true) | (false, false) => {
                    let path = &section.path;
                    check.error(place, format!("{path} needs one of smpp and smtp"));
                    check.forgive(&name);
                    continue;
                }
            };
            let rate = protocol.rate(check, "rate");
            let burst = protocol.opt_int(check, "burst");
            let retry = match section.has("retry") {
                true => {
                    let retry = section.section(check, "retry", &retry::KEYS);
                    Arc::new(Retry::read(check, &retry))
                }
                false => Arc::clone(usual_retry),
            };
            let burst = burst.unwrap_or(rate.map_or(1, one_second_of));
            let queue_max = section.int(check, "queue_max");
            // Without a password nothing is built: that mistake is noted already.
            let Some(kind) = kind else {
                check.forgive(&name);
                continue;
            };
            connectors.push(Self { name, kind, rate, burst, queue_max, retry });
        }
        connectors
    }
}

impl SmppConnector {
    fn read(check: &mut Check, section: &Section<'_>) -> Option<Self> {
        let (data_coding_0_out, data_coding_0_in) = read_data_coding_0(check, section);
        let password = section.opt_secret(check, "password");
        let has_password = password.is_some();
        let smpp = Self {
            host: section.text(check, "host"),
            port: section.int(check, "port"),
            system_id: section.text(check, "system_id"),
            // Read on without it, so that the other mistakes are told too.
            password: password.unwrap_or_else(|| Secret::new("")),
            system_type: section.text(check, "system_type"),
            address_range: section.text(check, "address_range"),
            bind: section.word(check, "bind", &BIND_TYPES),
            binds: section.int(check, "binds"),
            window: section.int(check, "window"),
            version: section.word(check, "version", &VERSIONS),
            tls: section
                .has("tls")
                .then(|| section.section(check, "tls", &TLS))
                .map(|tls| ClientTls::read(check, &tls)),
            connect_timeout: section.duration(check, "connect_timeout"),
            enquire_link: section.duration(check, "enquire_link"),
            response_timeout: section.duration(check, "response_timeout"),
            reconnect: Reconnect::read(check, section),
            data_coding_0_out,
            data_coding_0_in,
            concat: section.word(check, "concat", &CONCATS),
            join: section.word(check, "join", &JOINS),
            tlvs: section.word(check, "tlvs", &TLVS),
            id_format: section.word(check, "id_format", &ID_FORMATS),
            status: read_status(check, section),
            source: Numbering::read(check, section, "source"),
            dest: Numbering::read(check, section, "dest"),
            service_type: section.text(check, "service_type"),
            on_unknown_outcome: section.word(check, "on_unknown_outcome", &UNKNOWN_OUTCOMES),
            resend_whole: section.flag(check, "resend_whole"),
        };
        warn_of_long_credentials(check, section, &smpp);
        has_password.then_some(smpp)
    }
}

const CONCATS: [(&str, Concat); 4] = [
    ("udh8", Concat::Udh8),
    ("udh16", Concat::Udh16),
    ("payload", Concat::Payload),
    ("sar", Concat::Sar),
];

const TLVS: [(&str, Tlvs); 3] =
    [("auto", Tlvs::Auto), ("always", Tlvs::Always), ("never", Tlvs::Never)];

const ID_FORMATS: [(&str, IdFormat); 5] = [
    ("auto", IdFormat::Auto),
    ("dec", IdFormat::Dec),
    ("hex-dec", IdFormat::HexDec),
    ("dec-hex", IdFormat::DecHex),
    ("exact", IdFormat::Exact),
];

const UNKNOWN_OUTCOMES: [(&str, OnUnknownOutcome); 3] = [
    ("resend", OnUnknownOutcome::Resend),
    ("hold", OnUnknownOutcome::Hold),
    ("fail", OnUnknownOutcome::Fail),
];

const STATUS_CLASSES: [(&str, StatusClass); 5] = [
    ("temporary", StatusClass::Temporary),
    ("permanent", StatusClass::Permanent),
    ("throttle", StatusClass::Throttle),
    ("connector", StatusClass::Connector),
    ("success", StatusClass::Success),
];

const TLS_POLICIES: [(&str, TlsPolicy); 4] = [
    ("none", TlsPolicy::None),
    ("opportunistic", TlsPolicy::Opportunistic),
    ("required", TlsPolicy::Required),
    ("verify", TlsPolicy::Verify),
];

/// `gsm`, or `{ out: gsm, in: latin1 }`.
fn read_data_coding_0(check: &mut Check, section: &Section<'_>) -> (Alphabet, Alphabet) {
    let is_map = section.opt("data_coding_0").is_some_and(|node| node.text().is_none());
    if is_map {
        let each = section.section(check, "data_coding_0", &DIRECTIONS);
        (each.word(check, "out", &ALPHABETS), each.word(check, "in", &ALPHABETS))
    } else {
        let both = section.opt_word(check, "data_coding_0", &ALPHABETS).unwrap_or(Alphabet::Gsm);
        (both, both)
    }
}

/// Peers cut longer ones or refuse the bind (SMPP v3.4 §4.1); some take them.
fn warn_of_long_credentials(check: &mut Check, section: &Section<'_>, smpp: &SmppConnector) {
    let lengths = [
        ("system_id", smpp.system_id.len(), 15),
        ("password", smpp.password.reveal().len(), 8),
        ("system_type", smpp.system_type.len(), 12),
    ];
    for (name, octets, fit) in lengths {
        if octets > fit {
            let place = section.opt(name).map_or(section.place, |node| node.place);
            let path = section.at(name);
            check.warning(
                place,
                format!("{path} is {octets} octets long; the standard has room for {fit}"),
                "ask the operator of the SMSC whether it takes that",
            );
        }
    }
}

fn read_status(check: &mut Check, section: &Section<'_>) -> BTreeMap<u32, StatusClass> {
    let mut classes = BTreeMap::new();
    let Some(node) = section.opt("status") else { return classes };
    let Some(entries) = node.entries() else {
        let path = section.at("status");
        check.error(node.place, format!("{path} is a map such as {{ 0x45: temporary }}"));
        return classes;
    };
    for (key, value) in entries {
        let status = parse_int(key.text().unwrap_or_default())
            .and_then(|n| u32::try_from(n).map_err(|_error| format!("{n} is too large")));
        let class = find_word(value.text().unwrap_or_default(), &STATUS_CLASSES);
        let path = section.at("status");
        match (status, class) {
            (Ok(status), Ok(class)) => {
                classes.insert(status, class);
            }
            (Err(problem), _) => check.error(key.place, format!("{path}: {problem}")),
            (_, Err(problem)) => check.error(value.place, format!("{path}: {problem}")),
        }
    }
    classes
}

impl Reconnect {
    fn read(check: &mut Check, section: &Section<'_>) -> Self {
        let section = section.section(check, "reconnect", &RECONNECT);
        let reconnect =
            Self { min: section.duration(check, "min"), max: section.duration(check, "max") };
        if reconnect.min > reconnect.max {
            let path = &section.path;
            check.error(section.place, format!("{path}: min is longer than max"));
        }
        reconnect
    }
}

impl ClientTls {
    pub(in crate::config) fn read(check: &mut Check, section: &Section<'_>) -> Self {
        let tls = Self {
            ca: section.opt_pem(check, "ca"),
            cert: section.opt_pem(check, "cert"),
            key: section.opt_pem(check, "key"),
            server_name: section.opt_text(check, "server_name"),
            insecure: section.flag(check, "insecure"),
        };
        if let Some(key) = &tls.key {
            exposed::check_key(check, section.place, key.path());
        }
        let files: Vec<&PemFile> = [&tls.ca, &tls.cert, &tls.key].into_iter().flatten().collect();
        if check.options.environment
            && !files.is_empty()
            && files.iter().all(|file| file.path().is_file())
            && let Err(problem) = crate::tls::client(&tls, tls.ca.is_some())
        {
            check.error(section.place, format!("{}: {problem}", section.path));
        }
        if tls.cert.is_some() != tls.key.is_some() {
            let path = &section.path;
            check.error(section.place, format!("{path}: cert and key go together"));
        }
        if tls.insecure {
            check.warning(
                section.place,
                format!("{}: whoever sits in between can read everything", section.at("insecure")),
                "name the peer's authority in ca instead",
            );
        }
        tls
    }
}

impl SmtpConnector {
    fn read(check: &mut Check, section: &Section<'_>, node: &Node) -> Self {
        let auth = SmtpAuth::read(check, section);
        let usual = if section.has("auth") { TlsPolicy::Verify } else { TlsPolicy::Opportunistic };
        let tls = section.opt_word(check, "tls", &TLS_POLICIES).unwrap_or(usual);
        if section.has("auth") && tls < TlsPolicy::Required {
            let place = section.opt("tls").map_or(section.place, |node| node.place);
            let path = section.at("tls");
            check.error_with(
                place,
                format!("{path}: a password is not sent over a connection that may be unencrypted"),
                "say verify or required, or leave auth out",
            );
        }
        let tls_files = section.section(check, "tls_files", &TLS);
        let timeouts = section.section(check, "timeouts", &TIMEOUTS);
        Self {
            hosts: read_hosts(check, section),
            tls,
            tls_implicit: section.flag(check, "tls_implicit"),
            tls_files: ClientTls::read(check, &tls_files),
            auth,
            helo: hostname(check, section, "helo").unwrap_or_else(|| Arc::clone(&node.hostname)),
            connections_max: section.int(check, "connections_max"),
            messages_per_connection: section.int(check, "messages_per_connection"),
            recipients_max: section.int(check, "max_recipients"),
            idle: section.duration(check, "idle"),
            timeouts: SmtpClientTimeouts {
                connect: timeouts.duration(check, "connect"),
                greeting: timeouts.duration(check, "greeting"),
                command: timeouts.duration(check, "command"),
                data_init: timeouts.duration(check, "data_init"),
                data_block: timeouts.duration(check, "data_block"),
                data_end: timeouts.duration(check, "data_end"),
            },
        }
    }
}

impl SmtpAuth {
    fn read(check: &mut Check, connector: &Section<'_>) -> Option<Self> {
        if !connector.has("auth") {
            return None;
        }
        let section = connector.section(check, "auth", &AUTH);
        let password = section.opt_secret(check, "password");
        let username = section.opt_text(check, "username")?;
        Some(Self { username, password: password? })
    }
}

/// One name, or a list of names and `{ host, port, priority }`. Names in a list are tried in order.
fn read_hosts(check: &mut Check, section: &Section<'_>) -> Vec<RelayHost> {
    let usual_port: u16 = section.int(check, "port");
    let mut hosts = Vec::new();
    for (item, position) in section.opt("host").map_or(&[][..], |node| node.items()).iter().zip(1..)
    {
        if let Some(text) = item.text() {
            let priority = 10_u16.saturating_mul(position);
            hosts.push(RelayHost { host: text.into(), port: usual_port, priority });
        } else {
            let each = Section::open(check, &HOST, item, section.at("host"));
            hosts.push(RelayHost {
                host: each.text(check, "host"),
                port: each.opt_int(check, "port").unwrap_or(usual_port),
                priority: each.int(check, "priority"),
            });
        }
    }
    for relay in &hosts {
        let is_name = crate::config::server::is_domain(&relay.host)
            || relay.host.parse::<std::net::IpAddr>().is_ok();
        if !is_name {
            let place = section.opt("host").map_or(section.place, |node| node.place);
            let path = section.at("host");
            check.error(place, format!("{path}: \"{}\" is not a host name or address", relay.host));
        }
    }
    hosts.sort_by_key(|relay| relay.priority);
    hosts
}
