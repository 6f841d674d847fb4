//! `plugins`: which modules run at which doors, with which rights and limits.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::check::{Check, Kindred};
use super::keys::{GIB, HOUR, KIB, Key, Kind, MIB, MINUTE, SECOND, Schema, key};
use super::pattern::AddressPattern;
use super::scalar::Name;
use super::section::{Section, check_name, find_word};
use super::yaml::{Node, Value};
use crate::platform::user;

/// `plugins` as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Plugins {
    /// The folder that modules are read from.
    pub folder: PathBuf,
    /// Users, by number, whose modules run besides root's and those of the router's own user.
    pub owners: Vec<u32>,
    /// Plugins in the order in which they run.
    pub list: Vec<Arc<PluginConfig>>,
    /// What files get that the list does not name; `None` if they do not run.
    pub auto: Option<Dropped>,
    /// What compiling a module may use up.
    pub compile: CompileLimits,
}

/// `compile` and `module_size`: what compiling a module may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Octets of a module.
    pub module_bytes_max: u64,
    /// Processor time for each MiB of it that is begun.
    pub cpu: Duration,
    /// Wall-clock time for each MiB of it that is begun.
    pub time: Duration,
    /// Memory.
    pub memory_bytes: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            module_bytes_max: 16 << 20,
            cpu: Duration::from_secs(10),
            time: Duration::from_secs(30),
            memory_bytes: 1 << 30,
        }
    }
}

/// What a plugin gets whose file was dropped into the folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropped {
    /// Doors at which it runs; `None` is every door.
    pub on: Option<Vec<Name>>,
    /// What happens to a message at which it faults.
    pub on_error: OnError,
    /// What it may do.
    pub grants: Grants,
    /// What it may use up.
    pub limits: PluginLimits,
}

/// One plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginConfig {
    /// Its name in routes, logs and metrics.
    pub name: Name,
    /// A bare file name in the folder.
    pub module: Arc<str>,
    /// Doors at which it runs; `None` is every door.
    pub on: Option<Vec<Name>>,
    /// What its `init` is given: the YAML block as JSON; `null` if there is none.
    pub config_json: Arc<str>,
    /// What happens to a message at which it faults.
    pub on_error: OnError,
    /// What it may do.
    pub grants: Grants,
    /// What it may use up.
    pub limits: PluginLimits,
    /// The only bytes that are accepted.
    pub sha256: Option<[u8; 32]>,
}

/// What happens to a message at which a plugin faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// It is accepted undecided and the pipeline runs again later.
    Retry,
    /// The peer is told to try again later.
    Refuse,
    /// As if the plugin were not there.
    Next,
    /// The message is refused for good.
    Reject,
    /// The message is held with the evidence.
    Hold,
}

/// `grants`: what a plugin may do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Grants {
    /// Recipients that it may set; empty is none.
    pub recipients: Vec<AddressPattern>,
    /// It may change the sender.
    pub source: bool,
    /// Forks that one call may make.
    pub fork: u32,
    /// Targets that it may route to; empty is none.
    pub targets: Vec<Name>,
    /// Interfaces that it may import beyond the message itself; `None` is all of them.
    pub imports: Option<Vec<Arc<str>>>,
}

/// `limits`: what one call of a plugin may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PluginLimits {
    /// Wall-clock time.
    pub time: Duration,
    /// Processor time.
    pub cpu: Duration,
    /// Memory of one instance.
    pub memory_bytes: u64,
    /// Instances at one time.
    pub instances: u32,
    /// Keys that it keeps, over all calls.
    pub keys: u64,
    /// Octets of those keys and their values.
    pub keys_bytes: u64,
    /// Lines of its log in one second.
    pub log_lines: u32,
}

static KEYS: Schema = Schema {
    about: "One plugin.",
    keys: &[
        key("name", Kind::Text, "Its name in routes, logs and metrics.").required(),
        key("module", Kind::Text, "A bare file name in the folder.").required(),
        key("on", Kind::Several(&Kind::Name("listeners and connectors")), "Doors at which it runs; left out, all."),
        key("config", Kind::Free, "What its `init` is given, as JSON."),
        key("on_error", Kind::Word(&["retry", "refuse", "next", "reject", "hold"]), "What happens to a message at which it faults: accepted and run again later, \"try again\", as if it were not there, refused, held.").or("retry"),
        key("grants", Kind::Section(&GRANTS), GRANTS.about),
        key("limits", Kind::Section(&LIMITS), LIMITS.about),
        key("sha256", Kind::Octets(64), "The only bytes that are accepted, as 64 hexadecimal digits."),
    ],
};

static GRANTS: Schema = Schema {
    about: "What a plugin may do beyond judging and rewriting.",
    keys: &[
        key(
            "recipients",
            Kind::Several(&Kind::AddressPattern),
            "Recipients that it may set; left out, none.",
        ),
        key("source", Kind::Flag, "It may change the sender.").or("false"),
        key("fork", Kind::Int(0, 32), "Forks that one call may make.").or("0"),
        key(
            "targets",
            Kind::Several(&Kind::Name("connectors and accounts")),
            "Targets that it may route to; left out, none.",
        ),
        key(
            "imports",
            Kind::Several(&Kind::Word(IMPORTS)),
            "Interfaces that it may import beyond the message; left out, all.",
        )
        .or_none(),
    ],
};

static LIMITS: Schema = Schema {
    about: "What one call of a plugin may use up, and what it may keep.",
    keys: &[
        key("time", Kind::Duration(1, MINUTE), "Wall-clock time.").or("200ms"),
        key("cpu", Kind::Duration(1, MINUTE), "Processor time.").or("50ms"),
        key("memory", Kind::Size(MIB, 64 * MIB), "Memory of one instance.").or("16MiB"),
        key("instances", Kind::Int(1, 10_000), "Instances at one time.").or("64"),
        key("keys", Kind::Int(0, 100_000_000), "Keys that it keeps, over all calls and restarts.")
            .or("100000"),
        key("keys_size", Kind::Size(0, 64 * GIB), "Octets of those keys and their values.")
            .or("64MiB"),
        key(
            "log_lines",
            Kind::Int(0, 100_000),
            "Lines of its log in one second, over all calls; what is left out is counted.",
        )
        .or("200"),
    ],
};

static FOLDER: Schema = Schema {
    about: "Plugins and the folder that they come from.",
    keys: &[
        key(
            "folder",
            Kind::Path,
            "The folder that modules are read from; only its owner may write there.",
        )
        .or("plugins"),
        key(
            "owners",
            Kind::Several(&Kind::Text),
            "Users whose modules and folders are taken besides those of root and of the router's own user: names of `/etc/passwd`, or numbers.",
        ),
        key("list", Kind::Listed(&KEYS), "Plugins in the order in which they run."),
        key(
            "auto",
            Kind::Flag,
            "Files of the folder that the list does not name run too, after those that it names and in the order of their names, without a `config`.",
        )
        .or("false"),
        key("defaults", Kind::Section(&DEFAULTS), DEFAULTS.about),
        key("module_size", Kind::Size(KIB, 64 * MIB), "How large a module may be.").or("16MiB"),
        key("compile", Kind::Section(&COMPILE), COMPILE.about),
    ],
};

static COMPILE: Schema = Schema {
    about: "What compiling a module may use up, in a process of its own; what ran last may take any time.",
    keys: &[
        key(
            "cpu",
            Kind::Duration(SECOND, HOUR),
            "Processor time for each MiB of the module that is begun, in whole seconds.",
        )
        .or("10s"),
        key(
            "time",
            Kind::Duration(SECOND, HOUR),
            "Wall-clock time for each MiB of the module that is begun.",
        )
        .or("30s"),
        key("memory", Kind::Size(64 * MIB, 64 * GIB), "Memory.").or("1GiB"),
    ],
};

static DEFAULTS: Schema = Schema {
    about: "What such files get, with `auto`.",
    keys: &[
        key(
            "on",
            Kind::Several(&Kind::Name("listeners and connectors")),
            "Doors at which they run; left out, all.",
        ),
        key(
            "on_error",
            Kind::Word(&["retry", "refuse", "next", "reject", "hold"]),
            "What happens to a message at which one faults.",
        )
        .or("retry"),
        key("grants", Kind::Section(&GRANTS), GRANTS.about),
        key("limits", Kind::Section(&LIMITS), LIMITS.about),
    ],
};

const IMPORTS: &[&str] =
    &["log", "kv", "metrics", "tables", "targets", "lookup", "clock", "random"];

static LIST: Kind = Kind::Listed(&KEYS);
static FOLDER_MAP: Kind = Kind::Section(&FOLDER);

/// The keys at the top of the file.
pub(super) const TOP: [Key; 2] = [
    key(
        "plugins",
        Kind::Either(&LIST, &FOLDER_MAP),
        "Plugins in the order in which they run: a list, or a map with the list and its folder.",
    ),
    key(
        "plugin_folder",
        Kind::Path,
        "The folder that modules are read from, where `plugins` is a list.",
    )
    .or("plugins"),
];

impl Plugins {
    pub(super) fn read(check: &mut Check, top: &Section<'_>) -> Self {
        let node = top.opt("plugins");
        if let Some(Node { value: Value::Map(_), .. }) = node {
            let section = top.section(check, "plugins", &FOLDER);
            let defaults = section.section(check, "defaults", &DEFAULTS);
            let dropped = Dropped::read(check, &defaults);
            return Self {
                folder: section.opt_path(check, "folder").unwrap_or_default(),
                owners: read_owners(check, &section),
                list: PluginConfig::read_all(check, section.opt("list")),
                auto: section.flag(check, "auto").then_some(dropped),
                compile: CompileLimits::read(check, &section),
            };
        }
        let folder = top.opt_path(check, "plugin_folder").unwrap_or_default();
        let list = PluginConfig::read_all(check, node);
        let compile = CompileLimits::default();
        Self { folder, owners: Vec::new(), list, auto: None, compile }
    }

    /// The plugin that a file is which was dropped into the folder and that the list does not name.
    ///
    /// # Errors
    /// Its name is no name of a plugin, or another plugin has it, or dropped files do not run.
    pub fn dropped(&self, module: &str) -> Result<PluginConfig, String> {
        let Some(dropped) = &self.auto else { return Err("dropped files do not run".to_owned()) };
        let name = check_name(module.strip_suffix(".wasm").unwrap_or(module))
            .map_err(|problem| format!("{problem} (at name); call the file otherwise"))?;
        if self.list.iter().any(|plugin| plugin.name == name) {
            return Err(format!(
                "another plugin is called \"{name}\" (at name); call the file otherwise"
            ));
        }
        Ok(PluginConfig {
            name,
            module: module.into(),
            on: dropped.on.clone(),
            config_json: "null".into(),
            on_error: dropped.on_error,
            grants: dropped.grants.clone(),
            limits: dropped.limits,
            sha256: None,
        })
    }
}

/// Numbers of users. Without this machine's environment, names are taken to be known to it.
fn read_owners(check: &mut Check, section: &Section<'_>) -> Vec<u32> {
    let is_here = check.options.environment;
    let known = section.several(check, "owners", |text| match user::id_of(text) {
        None if is_here => {
            Err(format!("there is no user \"{text}\" in /etc/passwd; a number will do"))
        }
        id => Ok(id),
    });
    known.into_iter().flatten().collect()
}

impl CompileLimits {
    fn read(check: &mut Check, plugins: &Section<'_>) -> Self {
        let section = plugins.section(check, "compile", &COMPILE);
        Self {
            module_bytes_max: plugins.size(check, "module_size"),
            cpu: section.duration(check, "cpu"),
            time: section.duration(check, "time"),
            memory_bytes: section.size(check, "memory"),
        }
    }
}

impl Dropped {
    fn read(check: &mut Check, section: &Section<'_>) -> Self {
        let (grants, limits) =
            (section.section(check, "grants", &GRANTS), section.section(check, "limits", &LIMITS));
        Self {
            on: section.names(check, "on", Kindred::Door),
            on_error: section.word(check, "on_error", &ON_ERROR),
            grants: Grants::read(check, &grants),
            limits: PluginLimits::read(check, &limits),
        }
    }
}

impl PluginLimits {
    fn read(check: &mut Check, section: &Section<'_>) -> Self {
        Self {
            time: section.duration(check, "time"),
            cpu: section.duration(check, "cpu"),
            memory_bytes: section.size(check, "memory"),
            instances: section.int(check, "instances"),
            keys: section.int(check, "keys"),
            keys_bytes: section.size(check, "keys_size"),
            log_lines: section.int(check, "log_lines"),
        }
    }
}

impl PluginConfig {
    fn read_all(check: &mut Check, list: Option<&Node>) -> Vec<Arc<Self>> {
        let mut plugins: Vec<Arc<Self>> = Vec::new();
        for item in list.map_or(&[][..], Node::items) {
            let plugin = Self::read(check, item);
            if plugins.iter().any(|other| other.name == plugin.name && !plugin.name.is_empty()) {
                let name = &plugin.name;
                check.error(item.place, format!("there are two plugins called \"{name}\""));
            }
            plugins.push(Arc::new(plugin));
        }
        plugins
    }

    fn read(check: &mut Check, node: &Node) -> Self {
        let section = Section::open(check, &KEYS, node, "plugins".to_owned());
        let name = section.own_name(check, "name");
        let section = section.renamed(format!("plugins.{name}"));
        let module = section.text(check, "module");
        if module.contains(['/', '\\'])
            || module.starts_with('.')
            || (!module.is_empty() && !module.ends_with(".wasm"))
        {
            let place = section.opt("module").map_or(section.place, |node| node.place);
            let path = section.at("module");
            check.error_with(
                place,
                format!("{path}: \"{module}\" is not a bare file name that ends in .wasm"),
                "put the file into the plugin folder and give its name only",
            );
        }
        let (grants, limits) =
            (section.section(check, "grants", &GRANTS), section.section(check, "limits", &LIMITS));
        Self {
            name,
            module,
            on: section.names(check, "on", Kindred::Door),
            config_json: section
                .opt("config")
                .map_or_else(|| "null".into(), |node| to_json(check, node).to_string().into()),
            on_error: section.word(check, "on_error", &ON_ERROR),
            grants: Grants::read(check, &grants),
            limits: PluginLimits::read(check, &limits),
            sha256: read_sha256(check, &section),
        }
    }
}

const ON_ERROR: [(&str, OnError); 5] = [
    ("retry", OnError::Retry),
    ("refuse", OnError::Refuse),
    ("next", OnError::Next),
    ("reject", OnError::Reject),
    ("hold", OnError::Hold),
];

fn read_sha256(check: &mut Check, section: &Section<'_>) -> Option<[u8; 32]> {
    let text = section.opt_text(check, "sha256")?;
    let mut hash = [0; 32];
    let pairs = text.as_bytes().chunks_exact(2);
    let exact = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !exact {
        let place = section.opt("sha256").map_or(section.place, |node| node.place);
        check.error(place, format!("{} is 64 hexadecimal digits", section.at("sha256")));
        return None;
    }
    for (octet, pair) in hash.iter_mut().zip(pairs) {
        *octet = std::str::from_utf8(pair)
            .ok()
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            .unwrap_or_default();
    }
    Some(hash)
}

impl Grants {
    fn read(check: &mut Check, section: &Section<'_>) -> Self {
        let imports = section.several(check, "imports", |text| {
            let words: Vec<(&str, &str)> = IMPORTS.iter().map(|word| (*word, *word)).collect();
            find_word(text, &words).map(Arc::from)
        });
        Self {
            recipients: AddressPattern::read_several(check, section, "recipients"),
            source: section.flag(check, "source"),
            fork: section.int(check, "fork"),
            targets: section.names(check, "targets", Kindred::Target).unwrap_or_default(),
            imports: section.has("imports").then_some(imports),
        }
    }
}

/// The YAML of a plugin's `config` as JSON: plain scalars become numbers and truth values where they
/// look like them, quoted ones stay texts.
fn to_json(check: &mut Check, node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Scalar(scalar) if !scalar.plain => (&*scalar.text).into(),
        Value::Scalar(scalar) => plain_to_json(&scalar.text),
        Value::List(items) => items.iter().map(|item| to_json(check, item)).collect(),
        Value::Map(entries) => {
            let mut map = serde_json::Map::new();
            for (key, value) in entries {
                match key.text() {
                    Some(key) => {
                        map.insert(key.to_owned(), to_json(check, value));
                    }
                    None => check.error(key.place, format!("a key is a word, not {}", key.kind())),
                }
            }
            map.into()
        }
    }
}

fn plain_to_json(text: &str) -> serde_json::Value {
    // "+33612345678" and "007" are texts: a leading plus or zero would be lost.
    let digits = text.strip_prefix('-').unwrap_or(text);
    let leading_zero =
        digits.starts_with('0') && digits.as_bytes().get(1).is_some_and(|b| *b != b'.');
    let numeric = digits.starts_with(|c: char| c.is_ascii_digit()) && !leading_zero;
    match text {
        "true" => true.into(),
        "false" => false.into(),
        _ if numeric => serde_json::from_str::<serde_json::Number>(text)
            .map_or_else(|_| text.into(), Into::into),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CheckOptions, load_text};

    #[test]
    fn a_list_of_plugins_has_the_compile_limits_that_the_map_has_by_default() {
        let limits = |text: &str| {
            let loaded = load_text("x.yaml".as_ref(), text, CheckOptions::default());
            loaded.config.unwrap().plugins.compile
        };
        assert_eq!(limits("plugins: { list: [] }\n"), CompileLimits::default());
        let other =
            limits("plugins: { module_size: 32MiB, compile: { cpu: 1s, memory: 64MiB } }\n");
        let expect = CompileLimits {
            module_bytes_max: 32 << 20,
            cpu: Duration::from_secs(1),
            memory_bytes: 64 << 20,
            ..CompileLimits::default()
        };
        assert_eq!(other, expect);
    }
}
