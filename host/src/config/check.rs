//! The state of one check: the files read so far, what was found in them, and the names that must
//! turn out to exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::exposed;
use super::finding::{Finding, Severity, did_you_mean};
use super::route::RouteOptions;
use super::scalar::Name;
use super::table::Table;
use super::yaml::{self, FILE_BYTES_MAX, Node, Place, Value};
use crate::platform::file::{self, FileError, Regular};

/// What a check may look at beyond the YAML.
#[derive(Debug, Clone, Copy)]
pub struct CheckOptions {
    /// Environment variables, secrets and certificates are looked up. Without, they are taken to be
    /// there, so that a configuration can be checked on another machine.
    pub environment: bool,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { environment: true }
    }
}

/// A check under way.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) options: CheckOptions,
    /// The folder of the main file.
    folder: PathBuf,
    sources: Vec<Source>,
    notes: Vec<Note>,
    references: Vec<Reference>,
    /// Entries that are there but could not be read: what refers to them is not at fault.
    broken: BTreeSet<Name>,
    /// Tables, which are read before everything that refers to them.
    pub(super) tables: BTreeMap<Name, Arc<Table>>,
    /// Where each route stands, in the order of the routes.
    pub(super) route_places: Vec<Place>,
    /// What routes without options share.
    pub(super) usual_route_options: Option<Arc<RouteOptions>>,
    /// Folders whose listing the configuration depends on.
    pub(super) folders: Vec<PathBuf>,
    /// Files that the configuration depends on.
    pub(super) files: Vec<PathBuf>,
    /// YAML and tables as they were read.
    pub(super) sources_read: Vec<SourceFile>,
    /// Instead of the disk: what was kept of an earlier reading.
    kept: Option<BTreeMap<PathBuf, Arc<str>>>,
}

/// A file of the configuration, as it was read: YAML or a table, never a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its absolute path.
    pub path: PathBuf,
    /// Its text.
    pub text: Arc<str>,
}

/// A text that was read, and what the file that it came from says of its readers.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) text: Arc<str>,
    /// Everybody on the machine may read it.
    pub(super) world_readable: bool,
}

/// A file with YAML in it.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    lines: Vec<Box<str>>,
    /// Others than owner and group may read it.
    world_readable: bool,
    /// Where secrets stand, to be masked in snippets.
    masked: Vec<Place>,
}

#[derive(Debug)]
struct Note {
    severity: Severity,
    place: Place,
    message: String,
    remedy: Option<String>,
}

/// A name that somebody used.
#[derive(Debug)]
struct Reference {
    to: Kindred,
    name: Name,
    place: Place,
    path: String,
}

/// What a name may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kindred {
    /// A connector or an account.
    Target,
    /// A connector that speaks SMTP.
    SmtpConnector,
    /// A listener or a connector.
    Door,
    /// An account.
    Account,
    /// An account with `smpp` credentials.
    SmppAccount,
    /// An account with `smtp` credentials.
    SmtpAccount,
    /// A table.
    Table,
}

impl Kindred {
    const fn noun(self) -> &'static str {
        match self {
            Self::Target => "connector or account",
            Self::SmtpConnector => "connector that speaks SMTP",
            Self::Door => "listener or connector",
            Self::Account => "account",
            Self::SmppAccount => "account with smpp credentials",
            Self::SmtpAccount => "account with smtp credentials",
            Self::Table => "table",
        }
    }
}

/// The permission bit that lets everybody on the machine read a file.
const READABLE_BY_OTHERS: u32 = 0o004;
/// Findings of one check at most; a file that is wrong everywhere need not say so a million times.
const NOTES_MAX: usize = 1000;

impl Check {
    /// A check whose relative paths begin at the folder of the main file.
    pub(super) fn new(main: &Path, options: CheckOptions) -> Self {
        let folder = main.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        Self {
            options,
            folder,
            sources: Vec::new(),
            notes: Vec::new(),
            references: Vec::new(),
            broken: BTreeSet::new(),
            tables: BTreeMap::new(),
            route_places: Vec::new(),
            usual_route_options: None,
            folders: Vec::new(),
            files: Vec::new(),
            sources_read: Vec::new(),
            kept: None,
        }
    }

    /// The same check, of files as they were kept instead of as they are.
    pub(super) fn of_kept(self, kept: impl IntoIterator<Item = SourceFile>) -> Self {
        let kept = kept.into_iter().map(|file| (file.path, file.text)).collect();
        Self { kept: Some(kept), ..self }
    }

    /// Where a path of the configuration is.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// Notes a mistake.
    pub(super) fn error(&mut self, place: Place, message: impl Into<String>) {
        self.note(Severity::Error, place, message.into(), None);
    }

    /// Notes a mistake and what to do about it.
    pub(super) fn error_with(
        &mut self,
        place: Place,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.note(Severity::Error, place, message.into(), Some(remedy.into()));
    }

    /// Notes what looks like a mistake, and what to do about it.
    pub(super) fn warning(
        &mut self,
        place: Place,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.note(Severity::Warning, place, message.into(), Some(remedy.into()));
    }

    pub(super) fn note(
        &mut self,
        severity: Severity,
        place: Place,
        message: String,
        remedy: Option<String>,
    ) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(Note { severity, place, message, remedy });
        }
    }

    /// Whether the configuration can still be used.
    pub(super) fn has_errors(&self) -> bool {
        self.notes.iter().any(|note| note.severity == Severity::Error)
    }

    /// Whether the file of this place can be read by everybody on the machine.
    pub(super) fn is_world_readable(&self, place: Place) -> bool {
        self.sources.get(usize::from(place.source)).is_some_and(|source| source.world_readable)
    }

    /// Reads a file and its YAML; mistakes are noted.
    pub(super) fn read_yaml(&mut self, path: &Path, asked_at: Option<Place>) -> Option<Node> {
        match self.read_source(path, FILE_BYTES_MAX) {
            Ok(Text { text, world_readable }) => {
                let root = self.parse_yaml(path, &text, world_readable);
                if self.kept.is_none() {
                    let place = self.whole_file(path);
                    exposed::check_writable(self, place, path);
                }
                root
            }
            Err(problem) => {
                let place = asked_at.unwrap_or_else(|| self.whole_file(path));
                self.error(place, format!("cannot read {}: {problem}", path.display()));
                None
            }
        }
    }

    /// Reads YAML that somebody else has read from a file.
    pub(super) fn parse_yaml(
        &mut self,
        path: &Path,
        text: &str,
        world_readable: bool,
    ) -> Option<Node> {
        let Ok(number) = u16::try_from(self.sources.len()) else {
            let place = self.whole_file(path);
            self.error(place, "too many files; at most 65,535 can be included");
            return None;
        };
        let lines = text.lines().map(Box::from).collect();
        let path = path.to_path_buf();
        self.sources.push(Source { path, lines, world_readable, masked: Vec::new() });
        match yaml::parse(text, number) {
            Ok(root) => {
                if let Some(source) = self.sources.last_mut() {
                    find_secrets(&root, false, &mut source.masked);
                }
                Some(root)
            }
            Err(error) => {
                // Without a tree nobody knows where secrets stand: show no line that may have one.
                let line = usize::try_from(error.place.line.saturating_sub(1)).unwrap_or(0);
                if let Some(line) = self.sources.last_mut().and_then(|s| s.lines.get_mut(line))
                    && sounds_secret(line)
                {
                    *line = "(not shown: there may be a secret in this line)".into();
                }
                self.error(error.place, error.message);
                None
            }
        }
    }

    /// Reads a secret that the configuration names; nothing of it is kept.
    pub(super) fn read_secret(&mut self, path: &Path, octets_max: u64) -> Result<Text, String> {
        self.files.push(path.to_path_buf());
        read_file(path, octets_max)
    }

    /// Reads YAML or a table, which may be kept.
    pub(super) fn read_source(&mut self, path: &Path, octets_max: u64) -> Result<Text, String> {
        self.files.push(path.to_path_buf());
        let key = absolute(path);
        let read = match &self.kept {
            Some(kept) => {
                let text = kept.get(&key).cloned().ok_or("it was not kept")?;
                // What was kept is in a file of our own.
                Text { text, world_readable: false }
            }
            None => read_file(path, octets_max)?,
        };
        self.sources_read.push(SourceFile { path: key, text: Arc::clone(&read.text) });
        Ok(read)
    }

    /// The files of a folder, in no order.
    pub(super) fn list(&self, folder: &Path) -> std::io::Result<Vec<PathBuf>> {
        if let Some(kept) = &self.kept {
            let folder = absolute(folder);
            let inside = kept.keys().filter(|path| path.parent() == Some(&*folder));
            return Ok(inside.cloned().collect());
        }
        Ok(fs::read_dir(folder)?.filter_map(Result::ok).map(|entry| entry.path()).collect())
    }

    fn whole_file(&mut self, path: &Path) -> Place {
        let number =
            self.sources.iter().position(|source| source.path == path).unwrap_or_else(|| {
                let (path, lines, masked) = (path.to_path_buf(), Vec::new(), Vec::new());
                self.sources.push(Source { path, lines, world_readable: false, masked });
                self.sources.len() - 1
            });
        Place { source: u16::try_from(number).unwrap_or(u16::MAX), ..Place::default() }
    }

    /// Remembers that `path` uses this name, to be looked up once all sections are read.
    pub(super) fn refer(&mut self, to: Kindred, name: &Name, place: Place, path: String) {
        self.references.push(Reference { to, name: Name::clone(name), place, path });
    }

    /// The table of this name; an empty one if there is none, which the look-up of names reports.
    pub(super) fn table(&self, name: &str) -> Arc<Table> {
        self.tables.get(name).map(Arc::clone).unwrap_or_default()
    }

    /// An entry of this name is there but could not be read.
    pub(super) fn forgive(&mut self, name: &Name) {
        self.broken.insert(Name::clone(name));
    }

    /// Looks up every name that was used. `names` gives those that exist for a kind.
    pub(super) fn resolve_references(&mut self, names: impl Fn(Kindred) -> BTreeSet<Name>) {
        let mut known = BTreeMap::new();
        for reference in std::mem::take(&mut self.references) {
            let Reference { to, name, place, path } = reference;
            let known: &BTreeSet<Name> = known.entry(to).or_insert_with(|| names(to));
            if known.contains(&name) || self.broken.contains(&name) {
                continue;
            }
            let noun = to.noun();
            let remedy = match did_you_mean(&name, known.iter().map(|name| &**name)) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None if known.is_empty() => format!("there is no {noun} at all yet"),
                None => {
                    let some: Vec<&str> = known.iter().take(8).map(|name| &**name).collect();
                    format!("there is {}", some.join(", "))
                }
            };
            self.error_with(place, format!("{path}: there is no {noun} \"{name}\""), remedy);
        }
    }

    /// `routes.yaml:12`.
    pub(super) fn spell_place(&self, place: Place) -> String {
        let source = self.sources.get(usize::from(place.source));
        let file = source.and_then(|source| source.path.file_name()).unwrap_or_default();
        format!("{}:{}", file.display(), place.line)
    }

    /// `routes.yaml:12:5`.
    pub(super) fn spell_position(&self, place: Place) -> String {
        format!("{}:{}", self.spell_place(place), place.column)
    }

    /// What was found, in the order of files and lines.
    pub(super) fn into_findings(mut self) -> Vec<Finding> {
        self.notes.sort_by_key(|note| (note.place.source, note.place.line, note.place.column));
        let mut findings = Vec::with_capacity(self.notes.len());
        for Note { severity, place, message, remedy } in self.notes {
            let source = self.sources.get(usize::from(place.source));
            let file = source.map(|source| source.path.clone()).unwrap_or_default();
            let snippet = source.map(|source| source.line(place.line)).unwrap_or_default();
            let Place { line, column, length, .. } = place;
            findings.push(Finding {
                severity,
                file,
                line,
                column,
                length,
                message,
                remedy,
                snippet,
            });
        }
        findings
    }
}

impl Source {
    /// A line with its secrets masked.
    fn line(&self, number: u32) -> String {
        let index = usize::try_from(number).unwrap_or(usize::MAX).wrapping_sub(1);
        let Some(line) = self.lines.get(index) else { return String::new() };
        let masks: Vec<&Place> = self.masked.iter().filter(|place| place.line == number).collect();
        line.chars()
            .zip(1_u32..)
            .map(|(c, column)| {
                let hidden = masks
                    .iter()
                    .any(|m| column >= m.column && column < m.column.saturating_add(m.length));
                if hidden { '*' } else { c }
            })
            .collect()
    }
}

/// Whether a key, or a line, is about something that must not be shown.
fn sounds_secret(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["pass", "secret", "token"].iter().any(|word| text.contains(word))
}

/// Where scalars stand whose key sounds secret. An environment variable's name and a file's path are
/// none themselves.
fn find_secrets(node: &Node, secret: bool, found: &mut Vec<Place>) {
    match &node.value {
        Value::Null => {}
        Value::Scalar(_) if secret => found.push(node.place),
        Value::Scalar(_) => {}
        Value::List(items) => {
            for item in items {
                find_secrets(item, secret, found);
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries {
                let name = key.text().unwrap_or_default();
                let secret = sounds_secret(name) || (secret && !matches!(name, "env" | "file"));
                find_secrets(value, secret, found);
            }
        }
    }
}

/// The path from the root on; as it is if there is no current folder.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_error| path.to_path_buf())
}

fn read_file(path: &Path, octets_max: u64) -> Result<Text, String> {
    let read = || {
        let file = Regular::open(path)?;
        let world_readable = file.metadata().mode() & READABLE_BY_OTHERS != 0;
        let text = file::text(file.read(octets_max)?)?.into();
        Ok(Text { text, world_readable })
    };
    read().map_err(|error| match error {
        FileError::TooLarge(octets_max) => {
            format!("it is larger than {}", super::scalar::spell_size(octets_max))
        }
        FileError::Io(_) | FileError::Kind(_) => error.to_string(),
    })
}
