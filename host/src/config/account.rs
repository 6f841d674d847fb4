//! `accounts`: who may send to us, and where answers for them go.

use std::sync::Arc;
use std::time::Duration;

use message::Address;
use message::text::Alphabet;

use super::check::Check;
use super::connector::ALPHABETS;
use super::connector::Numbering;
use super::join::{self, JOINS, Join};
use super::keys::{DAY, Key, Kind, MINUTE, Schema, key};
use super::pattern::AddressPattern;
use super::scalar::{Name, Network, Rate, Secret};
use super::section::{Section, find_word};

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
    /// Deliveries that may wait for it before doors answer "later".
    pub queue_max: u32,
    /// How long receipts and messages wait for it.
    pub receipts_ttl: Duration,
    /// Receipts that may wait for it; beyond that the oldest are discarded.
    pub receipts_max: u32,
    /// How long query_sm tells of a message that has left us.
    pub query_ttl: Duration,
    /// What data_coding 0 means in what it sends and gets.
    pub data_coding_0: Alphabet,
    /// Whether parts of long messages that it sends are joined.
    pub join: Join,
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

static KEYS: Schema = Schema {
    about: "Who may send to us, and where answers for it go.",
    keys: &[
        key("smpp", Kind::Section(&SMPP), SMPP.about),
        key("smtp", Kind::Section(&SMTP), SMTP.about),
        key(
            "rate",
            Kind::Rate,
            "The most that it may submit; more is answered with a throttle. Left out: no limit.",
        ),
        key(
            "burst",
            Kind::Int(1, 1_000_000),
            "Messages that may come at once above `rate`; left out, those of one second.",
        ),
        key(
            "window",
            Kind::Int(1, 10_000),
            "Unanswered requests in each direction of one session; left out, the listener's.",
        ),
        key(
            "from",
            Kind::Several(&Kind::AddressPattern),
            "Senders that it may use; left out, any.",
        ),
        key(
            "queue_max",
            Kind::Int(1, 100_000_000),
            "Deliveries that may wait for it; doors answer \"later\" from nine tenths of it on, and at all of it to accounts that have little there.",
        )
        .or("1000000"),
        key(
            "receipts_ttl",
            Kind::Duration(MINUTE, 30 * DAY),
            "How long receipts, and messages that SMSCs sent for it, wait for it to bind.",
        )
        .or("3d"),
        key(
            "receipts_max",
            Kind::Int(1, 100_000_000),
            "Receipts that may wait for it; beyond that the oldest are discarded.",
        )
        .or("100000"),
        key(
            "query_ttl",
            Kind::Duration(0, 7 * DAY),
            "How long query_sm tells what became of a message; 0s: only while it waits here.",
        )
        .or("1h"),
        key(
            "data_coding_0",
            Kind::Word(&["gsm", "latin1", "ascii", "utf8", "gsm-packed"]),
            "What data_coding 0 means in what it sends and gets.",
        )
        .or("gsm"),
        join::KEY,
        key("source", Kind::Section(&NUMBERING), "Type of number for senders that come with 0/0."),
        key("dest", Kind::Section(&NUMBERING), "Type of number for recipients that come with 0/0."),
    ],
};

static SMPP: Schema = Schema {
    about: "How it binds over SMPP.",
    keys: &[
        key("system_id", Kind::Octets(64), "The name; 15 octets by the standard.").required(),
        key("password", Kind::Secret, "The password; 8 octets by the standard.").required(),
        key("allow", Kind::Several(&Kind::Network), "Peers that may bind; left out, any."),
        key("binds_max", Kind::Int(1, 10_000), "Sessions at one time.").or("10"),
        key(
            "bind_types",
            Kind::Several(&Kind::Word(&["transceiver", "transmitter", "receiver"])),
            "Kinds of bind that are accepted; left out, all.",
        ),
    ],
};

static SMTP: Schema = Schema {
    about: "How it authenticates over SMTP.",
    keys: &[
        key("username", Kind::Octets(255), "The name in AUTH.").required(),
        key("password", Kind::Secret, "The password in AUTH.").required(),
        key("allow", Kind::Several(&Kind::Network), "Peers that may authenticate; left out, any."),
    ],
};

/// The keys of a numbering; connectors have them too.
pub(super) static NUMBERING: Schema = Schema {
    about: "Type of number and numbering plan.",
    keys: &[
        key(
            "ton",
            Kind::Int(0, 255),
            "Type of number (SMPP v3.4 §5.2.5); left out, by the look of the address.",
        ),
        key(
            "npi",
            Kind::Int(0, 255),
            "Numbering plan indicator (SMPP v3.4 §5.2.6); left out, by the look of the address.",
        ),
    ],
};

/// The key at the top of the file.
pub(super) const TOP: Key = key("accounts", Kind::Named(&KEYS), KEYS.about);

/// Kinds of bind as written in YAML.
pub(super) const BIND_TYPES: [(&str, BindType); 3] = [
    ("transceiver", BindType::Transceiver),
    ("transmitter", BindType::Transmitter),
    ("receiver", BindType::Receiver),
];

impl Account {
    /// Whether it may send as this address. The null sender of a bounce is always allowed.
    #[must_use]
    pub fn may_send_as(&self, sender: &Address) -> bool {
        self.from.is_empty() || sender.is_null() || {
            let sender = sender.normal();
            self.from.iter().any(|pattern| pattern.matches(&sender))
        }
    }

    /// Reads all of `accounts`.
    pub(super) fn read_all(check: &mut Check, top: &Section<'_>) -> Vec<Self> {
        let mut accounts: Vec<Self> = Vec::new();
        for (name, place, node) in top.named(check, "accounts") {
            let section = Section::open(check, &KEYS, node, format!("accounts.{name}"));
            let account = Self::read(check, &section, name);
            if account.smpp.is_none()
                && account.smtp.is_none()
                && !section.has("smpp")
                && !section.has("smtp")
            {
                let path = &section.path;
                check.error(place, format!("{path} needs smpp or smtp: how it shows who it is"));
            }
            let unread = |it: bool, key| !it && section.has(key);
            if unread(account.smpp.is_some(), "smpp") || unread(account.smtp.is_some(), "smtp") {
                check.forgive(&account.name);
            }
            for other in &accounts {
                let same_id = account.smpp.as_ref().zip(other.smpp.as_ref());
                let same_user = account.smtp.as_ref().zip(other.smtp.as_ref());
                if same_id.is_some_and(|(a, b)| a.system_id == b.system_id)
                    || same_user.is_some_and(|(a, b)| a.username == b.username)
                {
                    let (path, other) = (&section.path, &other.name);
                    check.error(place, format!("{path} calls itself the same as accounts.{other}"));
                }
            }
            accounts.push(account);
        }
        accounts
    }

    fn read(check: &mut Check, section: &Section<'_>, name: Name) -> Self {
        let rate = section.rate(check, "rate");
        let one_second = rate.map_or(1, one_second_of);
        Self {
            name,
            smpp: SmppCredentials::read(check, section),
            smtp: SmtpCredentials::read(check, section),
            rate,
            burst: section.opt_int(check, "burst").unwrap_or(one_second),
            window: section.opt_int(check, "window"),
            from: AddressPattern::read_several(check, section, "from"),
            queue_max: section.int(check, "queue_max"),
            receipts_ttl: section.duration(check, "receipts_ttl"),
            receipts_max: section.int(check, "receipts_max"),
            query_ttl: section.duration(check, "query_ttl"),
            data_coding_0: section.word(check, "data_coding_0", &ALPHABETS),
            join: section.word(check, "join", &JOINS),
            source: Numbering::read(check, section, "source"),
            dest: Numbering::read(check, section, "dest"),
        }
    }
}

/// How many messages a second of this rate has, at least one.
pub(super) fn one_second_of(rate: Rate) -> u32 {
    let seconds = u32::try_from(rate.per.as_secs()).unwrap_or(u32::MAX).max(1);
    rate.count.div_ceil(seconds)
}

impl Numbering {
    /// Reads `source` or `dest`.
    pub(super) fn read(check: &mut Check, section: &Section<'_>, name: &str) -> Self {
        let section = section.section(check, name, &NUMBERING);
        Self { ton: section.opt_int(check, "ton"), npi: section.opt_int(check, "npi") }
    }
}

impl SmppCredentials {
    fn read(check: &mut Check, account: &Section<'_>) -> Option<Self> {
        if !account.has("smpp") {
            return None;
        }
        let section = account.section(check, "smpp", &SMPP);
        let allow = section.networks(check, "allow");
        let binds_max = section.int(check, "binds_max");
        let bind_types = section.several(check, "bind_types", |text| find_word(text, &BIND_TYPES));
        let bind_types = if bind_types.is_empty() {
            BIND_TYPES.map(|(_, bind_type)| bind_type).to_vec()
        } else {
            bind_types
        };
        let password = section.opt_secret(check, "password");
        let system_id = section.opt_text(check, "system_id")?;
        Some(Self { system_id, password: password?, allow, binds_max, bind_types })
    }
}

impl SmtpCredentials {
    fn read(check: &mut Check, account: &Section<'_>) -> Option<Self> {
        if !account.has("smtp") {
            return None;
        }
        let section = account.section(check, "smtp", &SMTP);
        let allow = section.networks(check, "allow");
        let password = section.opt_secret(check, "password");
        let username = section.opt_text(check, "username")?;
        Some(Self { username, password: password?, allow })
    }
}
