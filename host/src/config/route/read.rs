//! The keys of `routes`, and how they are read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use message::mail::Strip;

use super::{
    Action, Condition, Convert, DropAnswer, MailReceipt, OnExcess, Receipts, Reply, RouteConfig,
    RouteOptions, Strategy, TargetRef, TimeWindow, condition,
};
use crate::config::check::{Check, Kindred};
use crate::config::keys::{DAY, Key, Kind, SECOND, Schema, key};
use crate::config::pattern::Glob;
use crate::config::retry::{self, Retry};
use crate::config::scalar::Name;
use crate::config::section::{Section, parse_int, read_name};
use crate::config::server::is_mailbox;
use crate::config::table::Prices;
use crate::config::yaml::{Node, Place, Value};

static KEYS: Schema = Schema {
    about: "One route. The first whose condition holds decides.",
    keys: &[
        key("name", Kind::Text, "Its name in logs, metrics and `explain`.").required(),
        key("when", Kind::Section(&condition::KEYS), condition::KEYS.about),
        key(
            "to",
            Kind::Either(&Kind::Name("connectors and accounts"), &Kind::Section(&TO)),
            TO.about,
        )
        .required(),
        key("convert", Kind::Section(&CONVERT), CONVERT.about),
        key("rewrite", Kind::Section(&REWRITE), REWRITE.about),
        key("priority", Kind::Int(0, 3), "0 is bulk, 3 urgent; left out, that of the message."),
        key(
            "validity",
            Kind::Duration(SECOND, 30 * DAY),
            "The longest time that delivery may take; left out, that of the message, or until it is given up.",
        ),
        key("retry", Kind::Section(&retry::KEYS), "Instead of the target's schedule."),
        key(
            "quiet",
            Kind::Several(&Kind::Hours),
            "Nothing is sent in these hours; it waits for their end.",
        ),
        key(
            "receipts",
            Kind::Word(&["as-wished", "always", "never"]),
            "Whether targets are asked for receipts; `as-wished` if the sender wants to know.",
        )
        .or("as-wished"),
    ],
};

static TO: Schema = Schema {
    about: "What happens: the name of a target, or one of these.",
    keys: &[
        key(
            "failover",
            Kind::Several(&Kind::Name("connectors and accounts")),
            "Targets in the order in which they are tried.",
        ),
        key(
            "round_robin",
            Kind::Several(&Kind::Name("connectors and accounts")),
            "Each message begins with the next one.",
        ),
        key(
            "weighted",
            Kind::MapOf("a connector or an account", &Kind::Int(0, 10_000)),
            "Each message begins with one drawn by weight.",
        ),
        key(
            "hash",
            Kind::Several(&Kind::Name("connectors and accounts")),
            "The same recipient always begins with the same one.",
        ),
        key(
            "least_cost",
            Kind::Name("tables"),
            "The cheapest first: a table from prefixes to `target=price target=price`.",
        ),
        key(
            "drop",
            Kind::Word(&["silent", "delivered", "rejected"]),
            "It is accepted and forgotten; what the sender is told.",
        ),
        key(
            "reject",
            Kind::Either(&Kind::Text, &Kind::Section(&REJECT)),
            "It is refused, with this text or more.",
        ),
        key("hold", Kind::Text, "It waits for an operator, for this reason."),
    ],
};

static REJECT: Schema = Schema {
    about: "A refusal in the terms of either peer.",
    keys: &[
        key("text", Kind::Octets(200), "One line.").or("rejected by policy"),
        key("smtp", Kind::Int(400, 599), "The SMTP code.").or("550"),
        key("enhanced", Kind::Octets(11), "The enhanced status code (RFC 3463).").or("5.7.1"),
        key("smpp", Kind::Int(1, 0xffff_ffff), "The command_status.").or("0x45"),
    ],
};

static REWRITE: Schema = Schema {
    about: "Addresses become others before the message is sent.",
    keys: &[
        key("to", Kind::Template(ADDRESS_PLACES), "The recipient."),
        key("from", Kind::Template(ADDRESS_PLACES), "The sender."),
    ],
};

/// `{digits}` are those of the address being rewritten; `{local}` and `{domain}` its mailbox's parts.
const ADDRESS_PLACES: &[&str] = &["to", "from", "digits", "local", "domain"];

static CONVERT: Schema = Schema {
    about: "What happens when a mail becomes an SMS, or an SMS a mail.",
    keys: &[
        key("text", Kind::Template(&["subject", "text", "from", "to"]), "The text of the SMS; the field `convert.text` of a plugin takes its place.")
            .or("{text}"),
        key("parts", Kind::Int(1, 255), "Parts of one SMS at most.").or("3"),
        key(
            "on_excess",
            Kind::Word(&["truncate", "reject"]),
            "What happens to a text that needs more.",
        )
        .or("truncate"),
        key("strip_signature", Kind::Flag, "What follows `-- ` is left out.").or("true"),
        key("strip_quotes", Kind::Flag, "Lines that begin with `>` are left out.").or("false"),
        key(
            "separators",
            Kind::Several(&Kind::Text),
            "The text ends at a line that begins so, such as `On ` before a quoted reply.",
        ),
        key(
            "transliterate",
            Kind::Flag,
            "Characters outside of the GSM alphabet become similar ones where that saves parts.",
        )
        .or("false"),
        key(
            "sender",
            Kind::Octets(20),
            "The sender of the SMS; left out, that of the message if it can be one.",
        ),
        key(
            "conversation",
            Kind::Duration(SECOND, 90 * DAY),
            "How long an SMS that answers, from the number to `sender`, goes to the mail's sender; left out, it goes where its number leads.",
        ),
        key(
            "subject",
            Kind::Template(&["from", "to"]),
            "The subject of the mail that an SMS becomes.",
        )
        .or("SMS from {from}"),
        key(
            "mail_from",
            Kind::Template(&["from", "to", "digits"]),
            "The mailbox that a mail made from an SMS comes from; left out, that of `bounces`.",
        ),
        key(
            "receipt",
            Kind::Word(&["taken", "reported"]),
            "When the sender of an SMS that became a mail gets its receipt: as soon as a relay takes the mail, or when a report comes back (RFC 3464).",
        )
        .or("taken"),
        key(
            "receipt_within",
            Kind::Duration(SECOND, 7 * DAY),
            "How long a report is waited for; then the receipt says UNKNOWN.",
        )
        .or("1d"),
        key(
            "auto_submitted",
            Kind::Flag,
            "Mail becomes SMS too that has the null sender, or that a program, a list or a bulk mailer sent; mind the loops.",
        )
        .or("false"),
    ],
};

static INCLUDE: Schema = Schema {
    about: "Routes from other files.",
    keys: &[key(
        "include",
        Kind::Several(&Kind::Path),
        "Files with a list of routes; the last part of a path may be a shape such as `*.yaml`.",
    )
    .required()],
};

static ROUTE: Kind = Kind::Section(&KEYS);
static ITEM: Kind = Kind::Either(&ROUTE, &INCLUDE_MAP);
static LIST: Kind = Kind::ListOf(&ITEM);
static INCLUDE_MAP: Kind = Kind::Section(&INCLUDE);

/// How many keys of a route, the first ones, say where to; the others are options.
const WHERE_KEYS: usize = 3;

/// The key at the top of the file.
pub(in crate::config) const TOP: Key = key(
    "routes",
    Kind::Either(&LIST, &INCLUDE_MAP),
    "Routes in the order in which they are tried. An `include` may stand instead of the list or of any item.",
);

/// Files that one configuration may include.
const INCLUDES_MAX: usize = 10_000;

/// Reads all of `routes`, included files too.
pub(in crate::config) fn read_all(check: &mut Check, top: &Section<'_>) -> Vec<Arc<RouteConfig>> {
    let mut routes = Vec::new();
    if let Some(node) = top.opt("routes") {
        read_list(check, node, &mut routes, 0);
    }
    let mut names = std::collections::HashMap::new();
    for (route, place) in &routes {
        let first: Option<&Arc<RouteConfig>> = names.insert(Name::clone(&route.name), route);
        if let Some(first) = first
            && !route.name.is_empty()
        {
            let name = &route.name;
            check.error(
                *place,
                format!("there are two routes called \"{name}\"; the other is at {}", first.place),
            );
        }
    }
    super::reach::check_reach(check, &routes);
    check.route_places = routes.iter().map(|(_, place)| *place).collect();
    routes.into_iter().map(|(route, _)| route).collect()
}

/// The options of a route that says nothing.
pub(in crate::config) fn read_usual_options(check: &mut Check) -> Option<Arc<RouteOptions>> {
    let nothing = Node::nothing(Place::default());
    let section = Section::open_quietly(&KEYS, &nothing, "routes".to_owned());
    read_options(check, &section).map(Arc::new)
}

type Routes = Vec<(Arc<RouteConfig>, Place)>;

fn read_list(check: &mut Check, node: &Node, routes: &mut Routes, depth: usize) {
    for item in node.items() {
        let is_include = item
            .entries()
            .is_some_and(|entries| entries.iter().any(|(key, _)| key.text() == Some("include")));
        if is_include {
            read_includes(check, item, routes, depth);
        } else {
            routes.extend(read_route(check, item).map(|route| (Arc::new(route), item.place)));
        }
    }
}

fn read_includes(check: &mut Check, item: &Node, routes: &mut Routes, depth: usize) {
    let section = Section::open(check, &INCLUDE, item, "routes".to_owned());
    if depth > 0 {
        check.error(item.place, "an included file cannot include others");
        return;
    }
    for path in section.several(check, "include", |text| Ok(text.to_owned())) {
        for file in find_files(check, &path, section.place) {
            if let Some(root) = check.read_yaml(&file, Some(section.place)) {
                read_list(check, &root, routes, depth + 1);
            }
        }
    }
}

/// The files that an `include` means, by name.
fn find_files(check: &mut Check, path: &str, place: Place) -> Vec<PathBuf> {
    let path = check.resolve(path);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !name.contains(['*', '?', '[']) {
        return vec![path];
    }
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    check.folders.push(folder.clone());
    let glob = match Glob::parse(name) {
        Ok(glob) => glob,
        Err(problem) => {
            check.error(place, format!("include: {problem}"));
            return Vec::new();
        }
    };
    let listed = match check.list(&folder) {
        Ok(listed) => listed,
        Err(error) => {
            check.error(place, format!("include: cannot list {}: {error}", folder.display()));
            return Vec::new();
        }
    };
    let wanted = |name: &str| !name.starts_with('.') && glob.matches(name);
    let mut files: Vec<PathBuf> = listed
        .into_iter()
        .filter(|file| file.file_name().and_then(|name| name.to_str()).is_some_and(wanted))
        .take(INCLUDES_MAX)
        .collect();
    files.sort();
    if files.is_empty() {
        let path = path.display();
        check.warning(
            place,
            format!("include: no file is called {path}"),
            "look whether the folder is right",
        );
    }
    files
}

fn read_route(check: &mut Check, node: &Node) -> Option<RouteConfig> {
    let section = Section::open(check, &KEYS, node, "routes".to_owned());
    let name = section.own_name(check, "name");
    let section = section.renamed(format!("routes.{name}"));
    let when = match section.opt("when") {
        Some(node) => Condition::read(check, node, section.at("when"), 0),
        None => Condition::All(Vec::new()),
    };
    let action = section.opt("to").and_then(|node| read_action(check, node, &section));
    let has_options = KEYS.keys.iter().skip(WHERE_KEYS).any(|key| section.has(key.name));
    let options = match &check.usual_route_options {
        Some(usual) if !has_options => Arc::clone(usual),
        _ => Arc::new(read_options(check, &section)?),
    };
    Some(RouteConfig {
        name,
        when,
        // A route without a target is an error already.
        action: action.unwrap_or(Action::Hold("".into())),
        options,
        place: check.spell_place(node.place).into(),
    })
}

fn read_action(check: &mut Check, node: &Node, route: &Section<'_>) -> Option<Action> {
    let path = route.at("to");
    if node.text().is_some() {
        let name = read_name(check, node, Kindred::Target, || path.clone())?;
        return Some(Action::Send(Strategy::Failover, vec![TargetRef { name, weight: 1 }]));
    }
    if matches!(node.value, Value::List(_)) {
        check.error_with(
            node.place,
            format!("{path} does not say how its targets are chosen"),
            "write { failover: [...] }, { round_robin: [...] } or another way",
        );
        return None;
    }
    let section = Section::open(check, &TO, node, path);
    let given: Vec<&str> =
        TO.keys.iter().map(|key| key.name).filter(|name| section.has(name)).collect();
    let [way] = given.as_slice() else {
        let path = &section.path;
        check.error(
            node.place,
            format!("{path} says one thing: a target, or one of failover, drop and so on"),
        );
        return None;
    };
    match *way {
        "failover" => send(check, &section, way, Strategy::Failover),
        "round_robin" => send(check, &section, way, Strategy::RoundRobin),
        "hash" => send(check, &section, way, Strategy::Hash),
        "weighted" => read_weighted(check, &section),
        "least_cost" => read_least_cost(check, &section),
        "drop" => section.opt_word(check, "drop", &DROP_ANSWERS).map(Action::Drop),
        "reject" => read_reject(check, &section).map(Action::Reject),
        _ => section.opt_text(check, "hold").map(Action::Hold),
    }
}

const DROP_ANSWERS: [(&str, DropAnswer); 3] = [
    ("silent", DropAnswer::Silent),
    ("delivered", DropAnswer::Delivered),
    ("rejected", DropAnswer::Rejected),
];

fn send(check: &mut Check, section: &Section<'_>, way: &str, strategy: Strategy) -> Option<Action> {
    let names = section.names(check, way, Kindred::Target)?;
    let mut targets: Vec<TargetRef> = Vec::with_capacity(names.len());
    for name in names {
        if targets.iter().any(|target| target.name == name) {
            let path = section.at(way);
            check.error(section.place, format!("{path} names \"{name}\" twice"));
        } else {
            targets.push(TargetRef { name, weight: 1 });
        }
    }
    if targets.is_empty() {
        let path = section.at(way);
        check.error(section.place, format!("{path} names no target"));
    }
    Some(Action::Send(strategy, targets))
}

fn read_weighted(check: &mut Check, section: &Section<'_>) -> Option<Action> {
    let path = section.at("weighted");
    let node = section.opt("weighted")?;
    let mut targets = Vec::new();
    for (key, value) in node.entries().unwrap_or_default() {
        let name = read_name(check, key, Kindred::Target, || path.clone())?;
        let weight = parse_int(value.text().unwrap_or_default());
        match weight.map(u32::try_from) {
            Ok(Ok(weight @ 0..=10_000)) => targets.push(TargetRef { name, weight }),
            _ => check.error(value.place, format!("{path}: a weight is a number from 0 to 10000")),
        }
    }
    if targets.iter().all(|target| target.weight == 0) {
        check.error(node.place, format!("{path} is a map from targets to weights, one above 0"));
    }
    Some(Action::Send(Strategy::Weighted, targets))
}

fn read_least_cost(check: &mut Check, section: &Section<'_>) -> Option<Action> {
    let name = section.name(check, "least_cost", Kindred::Table)?;
    let path = section.at("least_cost");
    let table = check.table(&name);
    if table.has_bare_numbers() {
        check.warning(
            section.place,
            format!("{path}: no prefix of tables.{name} begins with +"),
            "numbers of all countries do: write +33 and not 33",
        );
    }
    match Prices::from_table(&table) {
        Ok(prices) => {
            let mut targets = Vec::new();
            for name in prices.names() {
                check.refer(Kindred::Target, &name, section.place, path.clone());
                targets.push(TargetRef { name, weight: 1 });
            }
            Some(Action::Send(Strategy::LeastCost(Arc::new(prices)), targets))
        }
        Err(problem) => {
            check.error(section.place, format!("{path}: {problem}"));
            None
        }
    }
}

fn read_reject(check: &mut Check, to: &Section<'_>) -> Option<Reply> {
    let node = to.opt("reject")?;
    let is_text = node.text().is_some();
    let empty = Node::nothing(node.place);
    let section =
        Section::open(check, &REJECT, if is_text { &empty } else { node }, to.at("reject"));
    let text = if is_text { to.opt_text(check, "reject")? } else { section.text(check, "text") };
    if !text.is_ascii() || text.contains(['\n', '\t']) {
        check.error(node.place, format!("{}: the text is one line of ASCII", section.path));
    }
    let reply = Reply {
        smtp_code: section.int(check, "smtp"),
        enhanced: section.text(check, "enhanced"),
        smpp_status: section.int(check, "smpp"),
        text,
    };
    let class = reply.smtp_code / 100;
    let mut numbers = reply.enhanced.split('.');
    let fits = numbers.next() == Some(class.to_string().as_str())
        && numbers.clone().count() == 2
        && numbers.all(|n| (1..=3).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()));
    if !fits {
        let (path, code, enhanced) = (&section.path, reply.smtp_code, &reply.enhanced);
        check.error(node.place, format!("{path}: {enhanced} does not go with {code}"));
    }
    Some(reply)
}

fn read_options(check: &mut Check, section: &Section<'_>) -> Option<RouteOptions> {
    let rewrite = section.section(check, "rewrite", &REWRITE);
    let retry = section.has("retry").then(|| section.section(check, "retry", &retry::KEYS));
    Some(RouteOptions {
        convert: read_convert(check, section)?,
        priority: section.opt_int(check, "priority"),
        validity: section.opt_duration(check, "validity"),
        retry: retry.map(|retry| Arc::new(Retry::read(check, &retry))),
        rewrite_to: rewrite.opt_template(check, "to"),
        rewrite_from: rewrite.opt_template(check, "from"),
        quiet: section.several(check, "quiet", TimeWindow::parse),
        receipts: section.word(check, "receipts", &RECEIPTS),
    })
}

const RECEIPTS: [(&str, Receipts); 3] =
    [("as-wished", Receipts::AsWished), ("always", Receipts::Always), ("never", Receipts::Never)];

const MAIL_RECEIPTS: [(&str, MailReceipt); 2] =
    [("taken", MailReceipt::Taken), ("reported", MailReceipt::Reported)];

fn read_convert(check: &mut Check, route: &Section<'_>) -> Option<Convert> {
    let section = route.section(check, "convert", &CONVERT);
    let words = [("truncate", OnExcess::Truncate), ("reject", OnExcess::Reject)];
    let mail_from = section.opt_template(check, "mail_from");
    if let Some(template) = &mail_from
        && !is_mailbox(&template.render(|_| "0".into()))
    {
        let path = section.at("mail_from");
        check.error(section.place, format!("{path}: \"{}\" makes no mailbox", template.source()));
    }
    let sender = section.opt_text(check, "sender");
    let conversation = section.opt_duration(check, "conversation");
    if conversation.is_some() && sender.is_none() {
        let path = section.at("conversation");
        check.error_with(
            section.place,
            format!("{path}: an SMS can answer only what comes from a known sender"),
            "say the sender, a number or short code whose SMS come to us: sender: \"33700\"",
        );
    }
    let strip = Strip {
        signature: section.flag(check, "strip_signature"),
        quotes: section.flag(check, "strip_quotes"),
        separators: section.several(check, "separators", |text| Ok(text.to_owned())),
    };
    Some(Convert {
        text: section.opt_text_template(check, "text")?,
        parts_max: section.int(check, "parts"),
        on_excess: section.word(check, "on_excess", &words),
        strip,
        transliterate: section.flag(check, "transliterate"),
        sender,
        conversation,
        subject: section.opt_text_template(check, "subject")?,
        mail_from,
        receipt: section.word(check, "receipt", &MAIL_RECEIPTS),
        receipt_within: section.duration(check, "receipt_within"),
        auto_submitted: section.flag(check, "auto_submitted"),
    })
}
