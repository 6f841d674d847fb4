//! From a file to a checked configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use message::AddressKind;

use super::case::TestCase;
use super::check::{Check, CheckOptions, Kindred, SourceFile};
use super::exposed;
use super::finding::{Finding, Severity};
use super::keys::{Key, Schema};
use super::logins::{self, LoginLimits};
use super::scalar::Name;
use super::section::Section;
use super::yaml::{FILE_BYTES_MAX, Node as Yaml, Place};
use super::{
    Account, Action, AddressPattern, AdminConfig, BindType, Bounces, Condition, Config, Connector,
    ConnectorKind, Domains, JournalConfig, Listener, ListenerKind, LogConfig, Lookup, MailReceipt,
    Node, Plugins, Retry, RouteConfig, SpoolConfig, SpoolPlace, Table, account, case, connector,
    domains, listener, lookup, plugin, retry, route, server, table,
};
use crate::platform::file;

/// What came of reading a configuration.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration, if there is no error.
    pub config: Option<Config>,
    /// Mistakes and warnings, in the order of files and lines.
    pub findings: Vec<Finding>,
    /// Every file that was read or looked for, also when there are errors: what to watch.
    pub files: Vec<PathBuf>,
    /// Folders whose listing counts: what to watch, too.
    pub folders: Vec<PathBuf>,
    /// The YAML and the tables as they were read, so that they can be kept.
    pub sources: Vec<SourceFile>,
}

impl Loaded {
    /// How many findings are errors.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error).count()
    }
}

const TOP_KEYS: [Key; 17] = {
    let [node, spool, journal, admin, log, bounces] = server::TOP;
    let [plugins, plugin_folder] = plugin::TOP;
    [
        node,
        spool,
        journal,
        admin,
        log,
        listener::TOP,
        domains::TOP,
        bounces,
        account::TOP,
        logins::TOP,
        connector::TOP,
        connector::RETRY,
        plugins,
        plugin_folder,
        lookup::TOP,
        table::TOP,
        route::TOP,
    ]
};

static ALL_KEYS: [Key; 18] = {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q] = TOP_KEYS;
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, case::TOP]
};

/// The whole file.
pub(super) static TOP: Schema = Schema { about: "The configuration file.", keys: &ALL_KEYS };

/// Reads and checks a configuration file and everything that it includes.
#[must_use]
pub fn load(main: &Path, options: CheckOptions) -> Loaded {
    let mut check = Check::new(main, options);
    let root = check.read_yaml(main, None);
    finish(check, root.as_ref())
}

/// Checks the text of a configuration as if it stood in this file, which need not be there.
#[must_use]
pub fn load_text(main: &Path, text: &str, options: CheckOptions) -> Loaded {
    let mut check = Check::new(main, options);
    let root = check.parse_yaml(main, text, false);
    finish(check, root.as_ref())
}

/// Checks a configuration whose files are those of an earlier reading. Secrets and certificates are
/// those of today.
#[must_use]
pub fn load_kept(main: &Path, kept: Vec<SourceFile>, options: CheckOptions) -> Loaded {
    let mut check = Check::new(main, options).of_kept(kept);
    let root = check.read_yaml(main, None);
    finish(check, root.as_ref())
}

/// Where the spool of a configuration is that may be broken elsewhere: its block `spool` alone is
/// read, and what cannot be read is as if it were left out.
#[must_use]
pub fn spool_place(main: &Path) -> SpoolPlace {
    let text = file::read_text(main, FILE_BYTES_MAX).unwrap_or_default();
    let mut check = Check::new(main, CheckOptions { environment: false });
    let root = check.parse_yaml(main, &top_block(&text, "spool"), false);
    let root = root.filter(|root| root.entries().is_some());
    let root = root.unwrap_or_else(|| Yaml::nothing(Place::default()));
    let top = Section::open_quietly(&TOP, &root, String::new());
    SpoolConfig::read(&mut check, &top).place
}

/// The lines of a key at the top of the file and of what is indented below it.
fn top_block(text: &str, key: &str) -> String {
    let is_inside = |line: &str| line.starts_with([' ', '#', '}', ']']) || line.trim().is_empty();
    let is_key = |line: &str| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':'));
    let mut lines = text.lines().skip_while(|line| !is_key(line));
    let first = lines.next().unwrap_or_default();
    let block = std::iter::once(first).chain(lines.take_while(|line| is_inside(line)));
    block.fold(String::new(), |block, line| block + line + "\n")
}

fn finish(mut check: Check, root: Option<&Yaml>) -> Loaded {
    let config = root.and_then(|root| read(&mut check, root));
    let mut files = std::mem::take(&mut check.files);
    files.sort();
    files.dedup();
    let mut folders = std::mem::take(&mut check.folders);
    folders.sort();
    folders.dedup();
    let config = config.filter(|_| !check.has_errors()).map(|mut config| {
        config.files.clone_from(&files);
        config.folders.clone_from(&folders);
        config
    });
    let sources = std::mem::take(&mut check.sources_read);
    Loaded { config, findings: check.into_findings(), files, folders, sources }
}

/// `None` only if a table of keys has a default that its own reader refuses.
fn read(check: &mut Check, root: &Yaml) -> Option<Config> {
    let top = Section::open(check, &TOP, root, String::new());
    check.tables = Table::read_all(check, &top);
    let node = Node::read(check, &top);
    let usual_retry = {
        let section = top.section(check, "retry", &retry::KEYS);
        Arc::new(Retry::read(check, &section))
    };
    let listeners = Listener::read_all(check, &top, &node);
    let accounts = Account::read_all(check, &top);
    let connectors = Connector::read_all(check, &top, &node, &usual_retry);
    let route_options = route::read_usual_options(check);
    check.usual_route_options.clone_from(&route_options);
    let config = Config {
        spool: SpoolConfig::read(check, &top),
        journal: JournalConfig::read(check, &top),
        admin: AdminConfig::read(check, &top),
        log: LogConfig::read(check, &top),
        logins: LoginLimits::read(check, &top),
        domains: Domains::read(check, &top),
        bounces: Bounces::read(check, &top),
        plugins: Plugins::read(check, &top),
        lookups: Lookup::read_all(check, &top),
        routes: route::read_all(check, &top),
        tests: TestCase::read_all(check, &top),
        tables: check.tables.clone(),
        listeners: by_name(listeners, |listener| &listener.name),
        accounts: by_name(accounts, |account| &account.name),
        connectors: by_name(connectors, |connector| &connector.name),
        route_options: route_options?,
        retry: usual_retry,
        files: Vec::new(),
        folders: Vec::new(),
        node,
    };
    check_names(check, &top, &config);
    check_bounces(check, &top, &config);
    check_targets(check, &config);
    check_traffic(check, &top, &config);
    exposed::check_listeners(check, &top, &config);
    Some(config)
}

fn by_name<T>(items: Vec<T>, name: impl Fn(&T) -> &Name) -> BTreeMap<Name, Arc<T>> {
    items.into_iter().map(|item| (Name::clone(name(&item)), Arc::new(item))).collect()
}

/// Targets and doors share their names, so each may be used once; every name that is used exists.
fn check_names(check: &mut Check, top: &Section<'_>, config: &Config) {
    for (section, other) in
        [("listeners", "connectors"), ("accounts", "connectors"), ("listeners", "accounts")]
    {
        let first: BTreeSet<Name> =
            top.named_quietly(section).into_iter().map(|(name, _)| name).collect();
        for (name, place) in top.named_quietly(other) {
            if first.contains(&name) {
                check.error_with(
                    place,
                    format!("\"{name}\" is the name of something in {section} and in {other}"),
                    "routes, doors and metrics tell them apart by name: rename one",
                );
            }
        }
    }
    check.resolve_references(|to| config.names(to));
}

fn check_bounces(check: &mut Check, top: &Section<'_>, config: &Config) {
    let smtp =
        config.listeners.values().find(|listener| matches!(listener.kind, ListenerKind::Smtp(_)));
    if let Some(listener) = smtp
        && !top.has("bounces")
    {
        let place = top.opt("listeners").map_or(top.place, |node| node.place);
        check.error_with(
            place,
            format!("listeners.{} takes mail, but bounces is missing", listener.name),
            "say how senders hear of failures: bounces: { via: CONNECTOR, from: postmaster@DOMAIN }",
        );
    }
}

/// Routes that make of an SMS what no relay takes, or that wait for what cannot come.
fn check_mails(check: &mut Check, config: &Config, route: &RouteConfig, place: Place) {
    let (name, options) = (&route.name, &route.options);
    if let Some(template) = &options.rewrite_to
        && !server::is_mailbox(&template.render(|_| "0".into()))
    {
        check.error_with(
            place,
            format!(
                "the route \"{name}\" sends to a relay, but rewrite.to: \"{}\" makes no mailbox",
                template.source()
            ),
            "write a mailbox, such as \"{digits}@example.org\"",
        );
    }
    let (convert, ttl) = (&options.convert, config.spool.receipts_ttl);
    if convert.receipt == MailReceipt::Reported && convert.receipt_within > ttl {
        check.error_with(
            place,
            format!("the route \"{name}\" waits longer for reports than they are taken"),
            "make convert.receipt_within shorter, or spool.receipts_ttl longer",
        );
    }
    let takes_mail =
        config.listeners.values().any(|listener| matches!(listener.kind, ListenerKind::Smtp(_)));
    if options.convert.receipt == MailReceipt::Reported && !takes_mail {
        check.error_with(
            place,
            format!("the route \"{name}\" waits for reports, but no listener takes mail"),
            "add an SMTP listener by which they come in, or leave convert.receipt out",
        );
    }
}

/// Routes whose targets cannot carry what the route takes.
fn check_targets(check: &mut Check, config: &Config) {
    let places = std::mem::take(&mut check.route_places);
    for (route, place) in config.routes.iter().zip(&places) {
        let Action::Send(_, targets) = &route.action else { continue };
        for (first, target) in targets.iter().enumerate().map(|(at, target)| (at == 0, target)) {
            let Some(connector) = config.connectors.get(&target.name) else { continue };
            let ConnectorKind::Smpp(smpp) = &connector.kind else {
                if first {
                    check_mails(check, config, route, *place);
                }
                continue;
            };
            let (name, target) = (&route.name, &target.name);
            if smpp.bind == BindType::Receiver {
                check.error_with(
                    *place,
                    format!("the route \"{name}\" sends to {target}, which binds as a receiver"),
                    format!("give connectors.{target}.smpp another bind"),
                );
            } else if wants_mailbox(&route.when) && route.options.rewrite_to.is_none() {
                check.warning(
                    *place,
                    format!("the route \"{name}\" sends mailboxes to {target}, which speaks SMPP"),
                    "rewrite the recipient to a number, or declare its domain under domains",
                );
            }
        }
    }
    for (route, place) in config.routes.iter().zip(&places) {
        let name = &route.name;
        if let Some(domain) = number_domain(&route.when, &config.domains) {
            check.warning(
                *place,
                format!("the route \"{name}\" waits for mailboxes of {domain}, which are numbers by then"),
                "match the number instead: to: { prefix: \"+33\" }",
            );
        }
    }
}

/// Whether the condition holds for mailboxes only.
fn wants_mailbox(when: &Condition) -> bool {
    match when {
        Condition::To(patterns) => patterns.iter().all(|pattern| match pattern {
            AddressPattern::Domain(..) | AddressPattern::Kind(AddressKind::Mailbox) => true,
            AddressPattern::Exact(text) => text.contains('@'),
            _ => false,
        }),
        Condition::All(all) => all.iter().any(wants_mailbox),
        _ => false,
    }
}

/// The number domain that the condition waits for in vain.
fn number_domain<'c>(when: &'c Condition, domains: &Domains) -> Option<&'c str> {
    match when {
        Condition::To(patterns) => patterns.iter().find_map(|pattern| match pattern {
            AddressPattern::Domain(domain, false) if domains.rule(domain).is_some() => {
                Some(&**domain)
            }
            _ => None,
        }),
        Condition::All(all) => all.iter().find_map(|part| number_domain(part, domains)),
        _ => None,
    }
}

/// Sections that are missing although the others need them.
fn check_traffic(check: &mut Check, top: &Section<'_>, config: &Config) {
    // A section with mistakes in it says too little about what it was meant to do.
    if check.has_errors() {
        return;
    }
    let places: BTreeMap<Name, Place> = top.named_quietly("listeners").into_iter().collect();
    let has_smpp =
        config.listeners.values().any(|listener| matches!(listener.kind, ListenerKind::Smpp(_)));
    if has_smpp && !top.has("accounts") {
        let place = top.opt("listeners").map_or(top.place, |node| node.place);
        check.warning(place, "nobody can bind: there are no accounts", "add accounts");
    }
    for listener in config.listeners.values() {
        let ListenerKind::Smtp(smtp) = &listener.kind else { continue };
        if smtp.allow.is_empty() && smtp.tls.is_none() && !smtp.auth_without_tls {
            let place = places.get(&listener.name).copied().unwrap_or(top.place);
            check.warning(
                place,
                format!("nobody can send mail to listeners.{}: it allows no network, and there is no AUTH without TLS", listener.name),
                "name networks in allow, or give it tls and accounts",
            );
        }
    }
    if !config.listeners.is_empty() && !top.has("routes") {
        check.warning(top.place, "nothing goes anywhere: there are no routes", "add routes");
    }
}

impl Config {
    /// Every name that may be referred to as this.
    fn names(&self, to: Kindred) -> BTreeSet<Name> {
        let smtp = |connector: &Connector| matches!(connector.kind, ConnectorKind::Smtp(_));
        let connectors = self.connectors.keys().cloned();
        match to {
            Kindred::Target => connectors.chain(self.accounts.keys().cloned()).collect(),
            Kindred::Door => connectors.chain(self.listeners.keys().cloned()).collect(),
            Kindred::SmtpConnector => {
                let relays = self.connectors.values().filter(|connector| smtp(connector));
                relays.map(|connector| Name::clone(&connector.name)).collect()
            }
            Kindred::Account => self.accounts.keys().cloned().collect(),
            Kindred::SmppAccount => self.accounts_with(|account| account.smpp.is_some()),
            Kindred::SmtpAccount => self.accounts_with(|account| account.smtp.is_some()),
            Kindred::Table => self.tables.keys().cloned().collect(),
        }
    }

    fn accounts_with(&self, has: impl Fn(&Account) -> bool) -> BTreeSet<Name> {
        let accounts = self.accounts.values().filter(|account| has(account));
        accounts.map(|account| Name::clone(&account.name)).collect()
    }

    /// What differs from `running` that a reload cannot change, as key paths; empty if a reload will
    /// do.
    #[must_use]
    pub fn needs_restart(&self, running: &Self) -> Vec<String> {
        let mut changed = Vec::new();
        let mut note = |differs: bool, path: &str| {
            if differs {
                changed.push(path.to_owned());
            }
        };
        note(self.node.id != running.node.id, "node.id");
        note(self.spool.place != running.spool.place, "spool.path");
        note(self.spool.cache_bytes != running.spool.cache_bytes, "spool.cache");
        let path = |journal: &Option<JournalConfig>| journal.as_ref().map(|j| j.path.clone());
        note(path(&self.journal) != path(&running.journal), "journal.path");
        note(self.admin.http != running.admin.http, "admin.http");
        note(self.admin.socket != running.admin.socket, "admin.socket");
        note(self.log.format != running.log.format, "log.format");
        let names: BTreeSet<&Name> =
            self.listeners.keys().chain(running.listeners.keys()).collect();
        for name in names {
            let new = self.listeners.get(name).map(|listener| listener.fixed());
            let old = running.listeners.get(name).map(|listener| listener.fixed());
            note(new != old, &format!("listeners.{name}"));
        }
        changed
    }
}

impl RouteConfig {
    /// Names of the targets that it may send to.
    pub fn targets(&self) -> impl Iterator<Item = &Name> {
        let targets =
            if let Action::Send(_, targets) = &self.action { targets.as_slice() } else { &[] };
        targets.iter().map(|target| &target.name)
    }
}
