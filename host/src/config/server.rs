//! The sections about this node as a whole: `node`, `spool`, `journal`, `admin`, `log`, `bounces`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use message::Address;

use super::check::{Check, Kindred};
use super::keys::{DAY, GIB, HOUR, Key, Kind, MIB, MINUTE, SECOND, Schema, key};
use super::scalar::{Name, Secret};
use super::section::Section;

/// `node`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// 0 to 1023; part of every message id, different on each node that shares targets.
    pub id: u16,
    /// The name that this node uses where no other is given.
    pub hostname: Arc<str>,
    /// Memory for mail that is coming in, at all listeners together; then DATA is answered "later".
    pub drafts_bytes_max: u64,
    /// Resident memory at which nothing more is accepted; 0 is no limit.
    pub memory_bytes_max: u64,
    /// How long a target that is up, with deliveries that could go, may make no attempt before that
    /// is reported.
    pub stall_after: Duration,
    /// How long parts of a concatenated SMS wait for the others.
    pub join_within: Duration,
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
    /// Deliveries, held and undecided messages at which nothing more is accepted.
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

/// `journal`: what happened to every message, as lines of JSON in the files of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalConfig {
    /// The folder.
    pub path: PathBuf,
    /// Octets at which a new file begins.
    pub file_bytes_max: u64,
    /// Files that are kept, the one being written included.
    pub files_max: u32,
    /// How long lines are kept, if not for as long as there is room.
    pub keep: Option<Duration>,
}

/// `admin`: how this node is watched and steered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Health and metrics.
    pub http: Option<SocketAddr>,
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
    /// What it shows of phone numbers and mailboxes.
    pub addresses: LogAddresses,
}

/// What a log record shows of phone numbers and mailboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogAddresses {
    /// A keyed hash, and the last two digits or the domain.
    Hashed,
    /// All of it.
    Plain,
}

/// How a log record looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One line for people.
    Human,
    /// One JSON object.
    Json,
}

/// `bounces`: how senders of mail hear of failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounces {
    /// The SMTP connector that carries them.
    pub via: Name,
    /// The mailbox in their `From` field.
    pub from: Address,
    /// How long a delivery takes before its sender hears of the delay; zero is never.
    pub delay_after: Duration,
    /// The domain of return addresses of mail that was an SMS.
    pub domain: Arc<str>,
    /// Keys of the codes in return addresses: the first makes them, all are accepted. Without any it is
    /// the spool's own.
    pub keys: Vec<Secret>,
}

/// Octets below which a key of return addresses is too short.
const KEY_OCTETS_MIN: usize = 32;

static NODE: Schema = Schema {
    about: "This node.",
    keys: &[
        key("id", Kind::Int(0, 1023), "Part of every message id; different on each node that shares targets.").or("0").restart(),
        key("hostname", Kind::Octets(255), "The name that this node uses where no other is given.").or("localhost"),
        key("drafts_max", Kind::Size(MIB, 64 * GIB), "Memory for mail that is coming in, at all listeners together; beyond it DATA is answered \"later\".").or("256MiB"),
        key("memory_max", Kind::Size(64 * MIB, 1024 * GIB), "Resident memory at which nothing more is accepted, until it is a tenth below. Left out: no limit."),
        key("stall_after", Kind::Duration(SECOND, DAY), "How long a target that is up may make no attempt, although deliveries could go, before that is reported.").or("1m"),
        key("join_within", Kind::Duration(SECOND, DAY), "How long the parts of a concatenated SMS wait for the others where they are joined; then they go on as they are.").or("5m"),
        key("drain_timeout", Kind::Duration(0, HOUR), "Time to finish what is in flight after SIGTERM.").or("30s"),
    ],
};

static SPOOL: Schema = Schema {
    about: "Where messages are kept until they are delivered.",
    keys: &[
        key("path", Kind::Path, "The folder of the spool.").or("spool").restart(),
        key(
            "memory",
            Kind::Flag,
            "Keep everything in memory; a restart loses it. For tests and demonstrations.",
        )
        .or("false")
        .restart(),
        key(
            "free_min",
            Kind::Size(0, 1024 * GIB),
            "Free disk space below which nothing is accepted.",
        )
        .or("512MiB"),
        key(
            "messages_max",
            Kind::Int(1, 1_000_000_000),
            "Deliveries, held and undecided messages together at which nothing more is accepted.",
        )
        .or("10000000"),
        key("cache", Kind::Size(MIB, 64 * GIB), "Memory that the store uses as a cache.")
            .or("32MiB")
            .restart(),
        key(
            "held_ttl",
            Kind::Duration(MINUTE, 365 * DAY),
            "How long held messages and their evidence are kept.",
        )
        .or("14d"),
        key(
            "receipts_ttl",
            Kind::Duration(MINUTE, 90 * DAY),
            "How long a late receipt still finds its message.",
        )
        .or("7d"),
        key(
            "early_receipts_ttl",
            Kind::Duration(SECOND, DAY),
            "How long a receipt waits for the answer to its submit.",
        )
        .or("10m"),
    ],
};

static JOURNAL: Schema = Schema {
    about: "What happened to every message, as lines of JSON; `wirepost trace` reads it.",
    keys: &[
        key("path", Kind::Path, "Folder of its files, named by the time of their first line.")
            .required()
            .restart(),
        key("file_max", Kind::Size(MIB, 64 * GIB), "Size at which a new file begins.").or("100MiB"),
        key(
            "files_max",
            Kind::Int(1, 10_000),
            "Files that are kept; the oldest go when all take more than so many full ones.",
        )
        .or("10"),
        key(
            "keep",
            Kind::Duration(HOUR, 3650 * DAY),
            "Files whose last line is older go; without it, only for want of room.",
        ),
    ],
};

static ADMIN: Schema = Schema {
    about: "How this node is watched and steered.",
    keys: &[
        key("http", Kind::Socket, "Address of health and metrics.").restart(),
        key("socket", Kind::Path, "The socket of the command line.").or("wirepost.sock").restart(),
    ],
};

static LOG: Schema = Schema {
    about: "What is logged, and how.",
    keys: &[
        key("filter", Kind::Text, "Which records: `error`, `warn`, `info`, `debug`, `trace`, or by module: `wirepost=debug,info`.").or("info"),
        key("format", Kind::Word(&["human", "json"]), "One line for people, or one JSON object.").or("human").restart(),
        key("addresses", Kind::Word(&["hashed", "plain"]), "Phone numbers and mailboxes: a keyed hash with the last two digits or the domain, or as they are.").or("hashed"),
    ],
};

static BOUNCES: Schema = Schema {
    about: "How senders of mail hear of failures. Required with any SMTP listener.",
    keys: &[
        key("via", Kind::Name("connectors"), "The SMTP connector that carries bounces.").required(),
        key("from", Kind::Octets(254), "The mailbox in their `From` field.").required(),
        key(
            "delay_after",
            Kind::Duration(0, 30 * DAY),
            "How long a delivery takes before its sender hears, once, of the delay; `0s` is never.",
        )
        .or("4h"),
        key(
            "domain",
            Kind::Octets(255),
            "The domain of return addresses of mail that was an SMS, `b+ID.CODE@DOMAIN`; its mail must come in by an SMTP listener here. Left out, that of `from`.",
        ),
        key(
            "secret",
            Kind::Several(&Kind::Secret),
            "The key of the codes in return addresses, for nodes that take each other's reports, of at least 32 octets; left out, one that the spool keeps. Of a list the first makes addresses and all are accepted: a key that was replaced stays in the list for `receipts_ttl`.",
        ),
    ],
};

/// The keys of these sections at the top of the file.
pub(super) const TOP: [Key; 6] = [
    key("node", Kind::Section(&NODE), NODE.about),
    key("spool", Kind::Section(&SPOOL), SPOOL.about),
    key("journal", Kind::Section(&JOURNAL), JOURNAL.about),
    key("admin", Kind::Section(&ADMIN), ADMIN.about),
    key("log", Kind::Section(&LOG), LOG.about),
    key("bounces", Kind::Section(&BOUNCES), BOUNCES.about),
];

impl Node {
    pub(super) fn read(check: &mut Check, top: &Section<'_>) -> Self {
        let section = top.section(check, "node", &NODE);
        Self {
            id: section.int(check, "id"),
            hostname: hostname(check, &section, "hostname").unwrap_or_else(|| "localhost".into()),
            drafts_bytes_max: section.size(check, "drafts_max"),
            memory_bytes_max: section.size(check, "memory_max"),
            stall_after: section.duration(check, "stall_after"),
            join_within: section.duration(check, "join_within"),
            drain_timeout: section.duration(check, "drain_timeout"),
        }
    }
}

/// A host name of letters, digits, dots and hyphens, if the key is there or has a default.
pub(super) fn hostname(check: &mut Check, section: &Section<'_>, name: &str) -> Option<Arc<str>> {
    let text = section.opt_text(check, name)?;
    if is_domain(&text) {
        return Some(text);
    }
    let place = section.opt(name).map_or(section.place, |node| node.place);
    check.error(place, format!("{}: \"{text}\" is not a host name", section.at(name)));
    None
}

/// Whether the text is a domain name (RFC 1123 §2.1), or looks enough like one.
pub(super) fn is_domain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

impl SpoolConfig {
    pub(super) fn read(check: &mut Check, top: &Section<'_>) -> Self {
        let section = top.section(check, "spool", &SPOOL);
        let path = section.opt_path(check, "path").unwrap_or_default();
        let memory = section.flag(check, "memory");
        if memory && section.has("path") {
            check.warning(
                section.place,
                "spool.path has no effect with spool.memory",
                "remove one of them",
            );
        }
        Self {
            place: if memory { SpoolPlace::Memory } else { SpoolPlace::Disk(path) },
            free_bytes_min: section.size(check, "free_min"),
            messages_max: section.int(check, "messages_max"),
            cache_bytes: section.size(check, "cache"),
            held_ttl: section.duration(check, "held_ttl"),
            receipts_ttl: section.duration(check, "receipts_ttl"),
            early_receipts_ttl: section.duration(check, "early_receipts_ttl"),
        }
    }
}

impl JournalConfig {
    pub(super) fn read(check: &mut Check, top: &Section<'_>) -> Option<Self> {
        if !top.has("journal") {
            return None;
        }
        let section = top.section(check, "journal", &JOURNAL);
        Some(Self {
            path: section.opt_path(check, "path").unwrap_or_default(),
            file_bytes_max: section.size(check, "file_max"),
            files_max: section.int(check, "files_max"),
            keep: section.opt_duration(check, "keep"),
        })
    }
}

impl AdminConfig {
    pub(super) fn read(check: &mut Check, top: &Section<'_>) -> Self {
        let section = top.section(check, "admin", &ADMIN);
        let http = section.sockets(check, "http").into_iter().next();
        if let Some(http) = http
            && !http.ip().is_loopback()
        {
            check.warning(
                section.place,
                format!(
                    "admin.http listens on {http}, and everybody who gets there sees the metrics"
                ),
                "bind it to 127.0.0.1, or let a firewall decide",
            );
        }
        let socket = section.opt_path(check, "socket").unwrap_or_default();
        Self { http, socket }
    }
}

impl LogConfig {
    pub(super) fn read(check: &mut Check, top: &Section<'_>) -> Self {
        let section = top.section(check, "log", &LOG);
        let filter = section.text(check, "filter");
        if filter.parse::<tracing_subscriber::filter::Targets>().is_err() {
            let place = section.opt("filter").map_or(section.place, |node| node.place);
            check.error_with(
                place,
                format!("log.filter: \"{filter}\" is not a filter"),
                "write a level such as info, or a list such as wirepost=debug,info",
            );
        }
        Self {
            filter,
            format: section.word(
                check,
                "format",
                &[("human", LogFormat::Human), ("json", LogFormat::Json)],
            ),
            addresses: section.word(
                check,
                "addresses",
                &[("hashed", LogAddresses::Hashed), ("plain", LogAddresses::Plain)],
            ),
        }
    }
}

impl Bounces {
    pub(super) fn read(check: &mut Check, top: &Section<'_>) -> Option<Self> {
        if !top.has("bounces") {
            return None;
        }
        let section = top.section(check, "bounces", &BOUNCES);
        let via = section.name(check, "via", Kindred::SmtpConnector)?;
        let from = section.opt_text(check, "from")?;
        if !is_mailbox(&from) {
            let place = section.opt("from").map_or(section.place, |node| node.place);
            check.error(place, format!("bounces.from: \"{from}\" is not a mailbox"));
        }
        let domain = hostname(check, &section, "domain");
        let of_from = || from.rsplit_once('@').map_or("localhost", |(_, domain)| domain).into();
        Some(Self {
            via,
            delay_after: section.duration(check, "delay_after"),
            domain: domain.unwrap_or_else(of_from),
            keys: read_keys(check, &section),
            from: Address::mailbox(from),
        })
    }
}

fn read_keys(check: &mut Check, section: &Section<'_>) -> Vec<Secret> {
    let keys = section.secrets(check, "secret");
    // None is shown where secrets are not looked up.
    let is_short = |key: &Secret| (1..KEY_OCTETS_MIN).contains(&key.reveal().len());
    if keys.iter().any(is_short) {
        let place = section.opt("secret").map_or(section.place, |node| node.place);
        check.warning(
            place,
            format!("bounces.secret has fewer than {KEY_OCTETS_MIN} octets, which can be guessed"),
            "put a new one first, such as `openssl rand -base64 32` prints, and leave this one behind it for receipts_ttl",
        );
    }
    keys
}

/// Whether the text is a local part, an `@` and a domain.
pub(super) fn is_mailbox(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && local.len() <= 64
            && !local
                .contains(|c: char| c.is_whitespace() || c.is_control() || c == '<' || c == '>')
            && is_domain(domain)
    })
}
