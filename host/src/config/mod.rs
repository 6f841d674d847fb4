//! The configuration: YAML as an operator writes it, checked into one immutable [`Config`].
//!
//! Every mistake is found and reported in one go, each with file, line, column and a remedy. What
//! comes out of the check is complete: every name resolves, every number is in its range, every
//! secret is known. Each section has a file of its own here, with its types, its keys and its
//! checks.

mod load;
mod check;
mod finding;
mod yaml;
mod join;
mod keys;
mod section;
mod scalar;
mod secret;
mod pem;
mod address_template;
mod pattern;
mod table;
mod server;
mod listener;
mod domains;
mod account;
mod logins;
mod connector;
mod retry;
mod plugin;
mod lookup;
mod route;
mod case;
mod exposed;
mod reference;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use account::{Account, BindType, SmppCredentials, SmtpCredentials};
pub use address_template::AddressTemplate;
pub use case::{ANYBODY, Expectation, Outcome, TestCase, TestMessage};
pub use check::{CheckOptions, SourceFile};
pub use connector::{
    ClientTls, Concat, Connector, ConnectorKind, IdFormat, Numbering, OnUnknownOutcome, Reconnect,
    RelayHost, SmppConnector, SmtpAuth, SmtpClientTimeouts, SmtpConnector, StatusClass, TlsPolicy,
    Tlvs,
};
pub use domains::{Domains, NumberDomain, Resolved};
pub use finding::{Finding, Severity};
pub use join::Join;
pub use listener::{
    BareNewlines, Listener, ListenerKind, ServerTls, SmppListener, SmppVersion, SmtpListener,
    SmtpServerTimeouts, TlsMode,
};
pub use load::{Loaded, load, load_kept, load_text, spool_place};
pub use logins::LoginLimits;
pub use lookup::{Lookup, LookupUrl};
pub use pattern::{AddressPattern, Glob, TextPattern};
pub use pem::PemFile;
pub use plugin::{CompileLimits, Dropped, Grants, OnError, PluginConfig, PluginLimits, Plugins};
pub use reference::{json_schema, reference_markdown};
pub use retry::{Delays, Retry};
pub use route::{
    Action, Condition, Convert, DropAnswer, MailReceipt, OnExcess, Receipts, Reply, RouteConfig,
    RouteOptions, Strategy, TargetRef, TimeWindow,
};
pub use scalar::{
    DURATION_MAX, Name, Network, Rate, Secret, parse_duration, parse_rate, parse_size,
    spell_duration, spell_size,
};
pub use server::{
    AdminConfig, Bounces, JournalConfig, LogAddresses, LogConfig, LogFormat, Node, SpoolConfig,
    SpoolPlace,
};
pub use table::{Prices, Table};
pub use yaml::FILE_BYTES_MAX;

/// A checked configuration. Maps are ordered by name, lists as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `node`.
    pub node: Node,
    /// `spool`.
    pub spool: SpoolConfig,
    /// `journal`, if one is kept.
    pub journal: Option<JournalConfig>,
    /// `admin`.
    pub admin: AdminConfig,
    /// `log`.
    pub log: LogConfig,
    /// `logins`.
    pub logins: LoginLimits,
    /// `listeners`.
    pub listeners: BTreeMap<Name, Arc<Listener>>,
    /// `domains`.
    pub domains: Domains,
    /// `bounces`; there if any listener speaks SMTP.
    pub bounces: Option<Bounces>,
    /// `accounts`.
    pub accounts: BTreeMap<Name, Arc<Account>>,
    /// `connectors`.
    pub connectors: BTreeMap<Name, Arc<Connector>>,
    /// `plugins`.
    pub plugins: Plugins,
    /// `lookups`.
    pub lookups: BTreeMap<Name, Arc<Lookup>>,
    /// `tables`.
    pub tables: BTreeMap<Name, Arc<Table>>,
    /// `routes`, in the order in which they are tried.
    pub routes: Vec<Arc<RouteConfig>>,
    /// The options of a route that says nothing, for messages whose targets a plugin chose.
    pub route_options: Arc<RouteOptions>,
    /// `tests`.
    pub tests: Vec<TestCase>,
    /// `retry`: the schedule of targets and routes that have none of their own.
    pub retry: Arc<Retry>,
    /// Every file that this was read from: the main one, included ones, tables, secrets and
    /// certificates.
    pub files: Vec<PathBuf>,
    /// Folders whose listing decides which files are included.
    pub folders: Vec<PathBuf>,
}
