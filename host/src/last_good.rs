//! What ran last and was well, kept on disk beside the spool: the files of the configuration and the
//! bytes of the plugins. A start that finds something broken goes on with them.
//!
//! Contents are kept by their SHA-256, so that a file that did not change is written once, and one
//! record names those that belong together. It is written after they are, by a rename.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::{PluginConfig, SourceFile, SpoolPlace};
use crate::generation::PluginSlot;
use crate::platform::file::{self, Regular};
use crate::plugin::hex;

/// In the folder of the spool.
const FOLDER: &str = "last-good";
/// In that folder: contents, each named by its hash.
const CONTENTS: &str = "contents";
/// In that folder: which contents belong together.
const RECORD: &str = "record.json";
/// A record with another number is not read.
const FORMAT: u32 = 1;
/// The largest record that is read, in octets; one of 65,535 files has less.
const RECORD_BYTES_MAX: u64 = 64 << 20;
/// The largest content that is read, in octets: that of the largest table.
const CONTENT_BYTES_MAX: u64 = 256 << 20;
/// Permission bits that let others than the owner put something there.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Where the last good state is kept; nowhere if the spool is in memory.
#[derive(Debug, Clone)]
pub struct LastGood {
    folder: Option<PathBuf>,
    main: PathBuf,
    spool: PathBuf,
}

/// What is kept.
#[derive(Debug, Clone)]
pub struct Kept {
    store: LastGood,
    record: Record,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    format: u32,
    /// When it took effect.
    at: String,
    /// The main file; that of another router is not ours.
    main: PathBuf,
    /// The spool; a record that was moved with its folder leads elsewhere.
    spool: PathBuf,
    files: Vec<KeptFile>,
    plugins: Vec<KeptPlugin>,
    /// Whether something was mounted at the plugin folder; 0.1 did not say.
    #[serde(default)]
    folder_is_mount: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptFile {
    path: PathBuf,
    sha256: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptPlugin {
    name: Arc<str>,
    module: Arc<str>,
    sha256: String,
    /// It was dropped into the folder and no name in the configuration; 0.1 did not say.
    #[serde(default)]
    dropped: Option<bool>,
}

/// What has just taken effect.
#[derive(Debug)]
pub struct State<'a> {
    /// The files of the configuration.
    pub sources: &'a [SourceFile],
    /// The plugins.
    pub plugins: &'a [PluginSlot],
    /// Those that the configuration names.
    pub listed: &'a [Arc<PluginConfig>],
    /// Whether something is mounted at the plugin folder.
    pub folder_is_mount: bool,
    /// When it took effect.
    pub at: String,
}

impl LastGood {
    /// The place of the router with this main file and this spool.
    #[must_use]
    pub fn of(main: &Path, spool: &SpoolPlace) -> Self {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into());
        let main = absolute(main);
        match spool {
            SpoolPlace::Memory => Self { folder: None, main, spool: PathBuf::new() },
            SpoolPlace::Disk(path) => {
                let spool = absolute(path);
                Self { folder: Some(spool.join(FOLDER)), main, spool }
            }
        }
    }

    /// What is kept there for this router, if anything.
    ///
    /// # Errors
    /// A sentence about what is there and cannot be used.
    pub fn read(&self) -> Result<Option<Kept>, String> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let path = folder.join(RECORD);
        let say = |what: String| format!("{}: {what}", path.display());
        let flags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
        let open = match rustix::fs::open(folder, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            open => File::from(open.map_err(|error| say(error.to_string()))?),
        };
        let text = match Regular::open_in(&open, Path::new(RECORD)) {
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(say(error.to_string())),
            Ok(file) => file.read(RECORD_BYTES_MAX).map_err(|error| say(error.to_string()))?,
        };
        let mode = open.metadata().map_err(|error| say(error.to_string()))?.mode();
        if mode & WRITABLE_BY_OTHERS != 0 {
            return Err(say("its folder is writable by others than its owner".to_owned()));
        }
        let record: Record =
            serde_json::from_slice(&text).map_err(|error| say(format!("damaged: {error}")))?;
        if record.format != FORMAT {
            return Err(say(format!("it has format {}, this version {FORMAT}", record.format)));
        }
        let is_ours = record.main == self.main && record.spool == self.spool;
        Ok(is_ours.then(|| Kept { store: self.clone(), record }))
    }

    /// Keeps the bytes of a plugin until the next [`LastGood::tidy`]; the record that names them
    /// makes them stay.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn put(&self, bytes: &[u8]) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        put(&folder.join(CONTENTS), bytes).map(|_hash| ())
    }

    /// Records what has just taken effect, and forgets what was kept before and is not part of it.
    ///
    /// # Errors
    /// If the disk refuses; what was kept before is still there.
    pub fn keep(&self, state: &State<'_>) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let contents = folder.join(CONTENTS);
        let mut files = Vec::with_capacity(state.sources.len());
        for source in state.sources {
            let sha256 = put(&contents, source.text.as_bytes())?;
            files.push(KeptFile { path: source.path.clone(), sha256 });
        }
        let named = |name: &str| state.listed.iter().any(|plugin| *plugin.name == *name);
        let plugins = state.plugins.iter().map(|slot| KeptPlugin {
            name: Arc::clone(&slot.config.name),
            module: Arc::clone(&slot.config.module),
            sha256: hex(&slot.sha256),
            dropped: Some(!named(&slot.config.name)),
        });
        let record = Record {
            format: FORMAT,
            at: state.at.clone(),
            main: self.main.clone(),
            spool: self.spool.clone(),
            files,
            plugins: plugins.collect(),
            folder_is_mount: state.folder_is_mount,
        };
        let text = serde_json::to_vec_pretty(&record)?;
        write(folder, RECORD, &text)?;
        forget(&contents, &record)
    }

    /// The bytes of a plugin that took effect.
    ///
    /// # Errors
    /// A sentence about why they cannot be read.
    pub fn bytes(&self, sha256: &[u8; 32]) -> Result<Bytes, String> {
        self.content(&hex(sha256)).map(Bytes::from)
    }

    fn content(&self, sha256: &str) -> Result<Vec<u8>, String> {
        let Some(folder) = &self.folder else { return Err("a spool in memory keeps none".into()) };
        let path = folder.join(CONTENTS).join(sha256);
        let bytes = file::read(&path, CONTENT_BYTES_MAX)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        if hex(&Sha256::digest(&bytes)) == sha256 {
            Ok(bytes)
        } else {
            Err(format!("{}: its content is not what its name says", path.display()))
        }
    }

    /// Removes contents that no record needs: those of a generation that did not take effect.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn tidy(&self) -> io::Result<()> {
        match (&self.folder, self.read()) {
            (Some(folder), Ok(Some(kept))) => forget(&folder.join(CONTENTS), &kept.record),
            _ => Ok(()),
        }
    }
}

impl Kept {
    /// When it took effect.
    #[must_use]
    pub fn at(&self) -> &str {
        &self.record.at
    }

    /// The files of the configuration.
    ///
    /// # Errors
    /// A sentence about one that is missing or damaged.
    pub fn sources(&self) -> Result<Vec<SourceFile>, String> {
        let read = |file: &KeptFile| {
            let bytes = self.store.content(&file.sha256)?;
            let text = String::from_utf8(bytes)
                .map_err(|error| format!("{}: damaged: {error}", file.path.display()))?;
            Ok(SourceFile { path: file.path.clone(), text: text.into() })
        };
        self.record.files.iter().map(read).collect()
    }

    /// The SHA-256 of the plugins that ran, in hexadecimal.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.record.plugins.iter().map(|plugin| plugin.sha256.as_str())
    }

    /// The bytes that a plugin ran with; none if it did not run. One that was dropped is known by its
    /// file, too.
    ///
    /// # Errors
    /// A sentence about why they cannot be read.
    pub fn module(&self, plugin: &str, file: Option<&str>) -> Result<Option<Bytes>, String> {
        let plugins = &self.record.plugins;
        let of_name = plugins.iter().find(|known| *known.name == *plugin);
        let of_file =
            || plugins.iter().find(|known| file.is_some_and(|file| *known.module == *file));
        let known = of_name.or_else(of_file);
        known.map(|known| self.store.content(&known.sha256).map(Bytes::from)).transpose()
    }

    /// Whether a plugin ran that came from this file.
    #[must_use]
    pub fn ran(&self, file: &str) -> bool {
        self.record.plugins.iter().any(|plugin| *plugin.module == *file)
    }

    /// Files that were dropped into the plugin folder and ran; those of a record of 0.1, which does
    /// not say, may have been named.
    #[must_use]
    pub fn dropped(&self) -> Vec<Arc<str>> {
        self.files(|plugin| plugin.dropped != Some(false))
    }

    /// Files that were dropped and ran, without doubt.
    #[must_use]
    pub fn surely_dropped(&self) -> Vec<Arc<str>> {
        self.files(|plugin| plugin.dropped == Some(true))
    }

    fn files(&self, wanted: impl Fn(&KeptPlugin) -> bool) -> Vec<Arc<str>> {
        let plugins = self.record.plugins.iter().filter(|plugin| wanted(plugin));
        plugins.map(|plugin| Arc::clone(&plugin.module)).collect()
    }

    /// Whether something was mounted at the plugin folder.
    #[must_use]
    pub const fn folder_was_mount(&self) -> bool {
        self.record.folder_is_mount
    }
}

/// Writes a content unless it is there; its name.
fn put(contents: &Path, bytes: &[u8]) -> io::Result<String> {
    let name = hex(&Sha256::digest(bytes));
    let there = file::read(&contents.join(&name), u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    if there.is_ok_and(|there| there == bytes) {
        return Ok(name);
    }
    write(contents, &name, bytes)?;
    Ok(name)
}

/// Writes a file that only its owner may read; whole, or not at all.
pub(crate) fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let half = folder.join(format!(".{name}.new"));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&half)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&half, folder.join(name))?;
    File::open(folder)?.sync_all()
}

/// Removes every content that the record does not name.
fn forget(contents: &Path, record: &Record) -> io::Result<()> {
    let files = record.files.iter().map(|file| &file.sha256);
    let plugins = record.plugins.iter().map(|plugin| &plugin.sha256);
    let needed: BTreeSet<&str> = files.chain(plugins).map(String::as_str).collect();
    let entries = match fs::read_dir(contents) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(|name| needed.contains(name)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.into(), text: text.into() }
    }

    fn keep(last_good: &LastGood, sources: &[SourceFile], at: &str) {
        let (plugins, listed, at) = (&[], &[], at.to_owned());
        let state = State { sources, plugins, listed, folder_is_mount: false, at };
        last_good.keep(&state).unwrap();
    }

    fn names(spool: &Path) -> Vec<String> {
        let entries = fs::read_dir(spool.join(FOLDER).join(CONTENTS)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_kept_comes_back_and_what_is_not_needed_goes() {
        let spool = tempfile::tempdir().unwrap();
        let place = SpoolPlace::Disk(spool.path().to_path_buf());
        let last_good = LastGood::of(Path::new("/etc/w.yaml"), &place);
        assert!(last_good.read().unwrap().is_none());
        last_good.put(b"a module that was refused").unwrap();
        let first = [source("/etc/w.yaml", "a: 1"), source("/etc/t.csv", "k,v")];
        keep(&last_good, &first, "then");
        assert_eq!(names(spool.path()).len(), 2);
        keep(&last_good, &[source("/etc/w.yaml", "a: 2")], "now");
        last_good.put(b"another").unwrap();
        last_good.tidy().unwrap();
        assert_eq!(names(spool.path()).len(), 1);
        let kept = last_good.read().unwrap().unwrap();
        assert_eq!(
            (kept.at(), kept.sources().unwrap()),
            ("now", vec![source("/etc/w.yaml", "a: 2")])
        );
        assert!(kept.module("none", Some("none.wasm")).unwrap().is_none());
    }

    #[test]
    fn only_the_owner_may_read_or_write_it() {
        let spool = tempfile::tempdir().unwrap();
        let place = SpoolPlace::Disk(spool.path().to_path_buf());
        let last_good = LastGood::of(Path::new("/etc/w.yaml"), &place);
        keep(&last_good, &[source("/etc/w.yaml", "a: 1")], "");
        let folder = spool.path().join(FOLDER);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join(CONTENTS))), (0o700, 0o700));
        assert_eq!(mode(&folder.join(RECORD)), 0o600);
        assert_eq!(mode(&folder.join(CONTENTS).join(&names(spool.path())[0])), 0o600);
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o770);
        fs::set_permissions(&folder, open).unwrap();
        assert!(last_good.read().unwrap_err().contains("writable by others"));
    }

    #[test]
    fn what_is_damaged_or_of_another_router_is_not_used() {
        let spool = tempfile::tempdir().unwrap();
        let place = SpoolPlace::Disk(spool.path().to_path_buf());
        let last_good = LastGood::of(Path::new("/etc/w.yaml"), &place);
        keep(&last_good, &[source("/etc/w.yaml", "a: 1")], "");
        let other = LastGood::of(Path::new("/etc/other.yaml"), &place);
        assert!(other.read().unwrap().is_none());
        let content = spool.path().join(FOLDER).join(CONTENTS).join(&names(spool.path())[0]);
        fs::write(content, "a: 3").unwrap();
        let kept = last_good.read().unwrap().unwrap();
        assert!(kept.sources().unwrap_err().contains("not what its name says"));
        fs::write(spool.path().join(FOLDER).join(RECORD), "{").unwrap();
        assert!(last_good.read().unwrap_err().contains("damaged"));
    }

    #[test]
    fn a_record_of_0_1_is_read_and_does_not_say_what_was_dropped() {
        let spool = tempfile::tempdir().unwrap();
        let place = SpoolPlace::Disk(spool.path().to_path_buf());
        let last_good = LastGood::of(Path::new("/etc/w.yaml"), &place);
        last_good.put(b"bytes").unwrap();
        let sha256 = hex(&Sha256::digest(b"bytes"));
        let plugin = serde_json::json!({ "name": "p", "module": "p.wasm", "sha256": sha256 });
        let (main, spool) = (&last_good.main, &last_good.spool);
        let record = serde_json::json!({
            "format": 1, "at": "then", "main": main, "spool": spool, "files": [], "plugins": [plugin],
        });
        fs::write(spool.join(FOLDER).join(RECORD), record.to_string()).unwrap();
        let kept = last_good.read().unwrap().unwrap();
        assert_eq!(kept.module("q", Some("p.wasm")).unwrap().unwrap(), "bytes");
        assert_eq!(kept.dropped(), [Arc::from("p.wasm")]);
        assert!(kept.surely_dropped().is_empty() && kept.ran("p.wasm") && !kept.folder_was_mount());
    }

    #[test]
    fn what_is_no_file_there_is_an_error_and_nothing_is_waited_for() {
        let spool = tempfile::tempdir().unwrap();
        let place = SpoolPlace::Disk(spool.path().to_path_buf());
        let last_good = LastGood::of(Path::new("/etc/w.yaml"), &place);
        keep(&last_good, &[source("/etc/w.yaml", "a: 1")], "");
        let replace = |path: PathBuf| {
            fs::remove_file(&path).unwrap();
            rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RWXU).unwrap();
        };
        let kept = last_good.read().unwrap().unwrap();
        replace(spool.path().join(FOLDER).join(CONTENTS).join(&names(spool.path())[0]));
        assert!(kept.sources().unwrap_err().contains("a pipe"));
        replace(spool.path().join(FOLDER).join(RECORD));
        assert!(last_good.read().unwrap_err().contains("a pipe"));
    }

    #[test]
    fn a_spool_in_memory_keeps_nothing() {
        let last_good = LastGood::of(Path::new("/etc/w.yaml"), &SpoolPlace::Memory);
        last_good.put(b"x").unwrap();
        keep(&last_good, &[source("/etc/w.yaml", "a: 1")], "");
        assert!(last_good.read().unwrap().is_none());
    }
}
