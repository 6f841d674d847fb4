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
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::{SourceFile, SpoolPlace};
use crate::generation::PluginSlot;
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
        let text = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(say(error.to_string())),
            Ok(metadata) if metadata.len() > RECORD_BYTES_MAX => {
                return Err(say("it is too large to be ours".to_owned()));
            }
            Ok(_) => fs::read(&path).map_err(|error| say(error.to_string()))?,
        };
        let mode = fs::metadata(folder).map_err(|error| say(error.to_string()))?.mode();
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
    pub fn keep(
        &self,
        sources: &[SourceFile],
        plugins: &[PluginSlot],
        at: String,
    ) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let contents = folder.join(CONTENTS);
        let mut files = Vec::with_capacity(sources.len());
        for source in sources {
            let sha256 = put(&contents, source.text.as_bytes())?;
            files.push(KeptFile { path: source.path.clone(), sha256 });
        }
        let plugins = plugins.iter().map(|slot| KeptPlugin {
            name: Arc::clone(&slot.config.name),
            module: Arc::clone(&slot.config.module),
            sha256: hex(&slot.sha256),
        });
        let record = Record {
            format: FORMAT,
            at,
            main: self.main.clone(),
            spool: self.spool.clone(),
            files,
            plugins: plugins.collect(),
        };
        let text = serde_json::to_vec_pretty(&record)?;
        write(folder, RECORD, &text)?;
        forget(&contents, &record)
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
            let bytes = self.content(&file.sha256)?;
            let text = String::from_utf8(bytes)
                .map_err(|error| format!("{}: damaged: {error}", file.path.display()))?;
            Ok(SourceFile { path: file.path.clone(), text: text.into() })
        };
        self.record.files.iter().map(read).collect()
    }

    /// The bytes that a plugin ran with; none if it did not run.
    ///
    /// # Errors
    /// A sentence about why they cannot be read.
    pub fn module(&self, plugin: &str) -> Result<Option<Bytes>, String> {
        let known = self.record.plugins.iter().find(|known| *known.name == *plugin);
        known.map(|known| self.content(&known.sha256).map(Bytes::from)).transpose()
    }

    fn content(&self, sha256: &str) -> Result<Vec<u8>, String> {
        let folder = self.store.folder.clone().unwrap_or_default();
        let path = folder.join(CONTENTS).join(sha256);
        let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        if hex(&Sha256::digest(&bytes)) == sha256 {
            Ok(bytes)
        } else {
            Err(format!("{}: its content is not what its name says", path.display()))
        }
    }
}

/// Writes a content unless it is there; its name.
fn put(contents: &Path, bytes: &[u8]) -> io::Result<String> {
    let name = hex(&Sha256::digest(bytes));
    let there = fs::read(contents.join(&name));
    if there.is_ok_and(|there| there == bytes) {
        return Ok(name);
    }
    write(contents, &name, bytes)?;
    Ok(name)
}

/// Writes a file that only its owner may read; whole, or not at all.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
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
        last_good.keep(&first, &[], "then".to_owned()).unwrap();
        assert_eq!(names(spool.path()).len(), 2);
        last_good.keep(&[source("/etc/w.yaml", "a: 2")], &[], "now".to_owned()).unwrap();
        last_good.put(b"another").unwrap();
        last_good.tidy().unwrap();
        assert_eq!(names(spool.path()).len(), 1);
        let kept = last_good.read().unwrap().unwrap();
        assert_eq!(
            (kept.at(), kept.sources().unwrap()),
            ("now", vec![source("/etc/w.yaml", "a: 2")])
        );
        assert!(kept.module("none").unwrap().is_none());
    }

    #[test]
    fn only_the_owner_may_read_or_write_it() {
        let spool = tempfile::tempdir().unwrap();
        let place = SpoolPlace::Disk(spool.path().to_path_buf());
        let last_good = LastGood::of(Path::new("/etc/w.yaml"), &place);
        last_good.keep(&[source("/etc/w.yaml", "a: 1")], &[], String::new()).unwrap();
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
        last_good.keep(&[source("/etc/w.yaml", "a: 1")], &[], String::new()).unwrap();
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
    fn a_spool_in_memory_keeps_nothing() {
        let last_good = LastGood::of(Path::new("/etc/w.yaml"), &SpoolPlace::Memory);
        last_good.put(b"x").unwrap();
        last_good.keep(&[source("/etc/w.yaml", "a: 1")], &[], String::new()).unwrap();
        assert!(last_good.read().unwrap().is_none());
    }
}
