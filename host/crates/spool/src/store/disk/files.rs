//! Large bodies, each a file of its own: written and synced before the commit that names it,
//! removed after the sync of the commit that forgets it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Owner only: bodies are other people's mail.
pub(super) const FILE_MODE: u32 = 0o600;
/// Owner only, as for the files.
pub(super) const DIRECTORY_MODE: u32 = 0o700;
/// The end of the name of a file that is not complete yet.
const UNFINISHED: &str = "tmp";

/// The name of a file. A body that takes the place of another one of its id has its checksum in the
/// name: the other one is needed until the commit that forgets it is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    id: u64,
    crc: Option<u32>,
}

impl Name {
    fn parse(name: &str) -> Option<Self> {
        let (id, crc) = match name.split_once('-') {
            Some((id, crc)) => (id, Some(u32::from_str_radix(crc, 16).ok()?)),
            None => (name, None),
        };
        Some(Self { id: u64::from_str_radix(id, 16).ok()?, crc })
    }

    fn path(self, directory: &Path) -> PathBuf {
        directory.join(match self.crc {
            None => format!("{:016x}", self.id),
            Some(crc) => format!("{:016x}-{crc:08x}", self.id),
        })
    }
}

/// What is known of a file.
#[derive(Clone, Copy, Debug)]
struct Content {
    len: u64,
    /// None of one that was here when the store was opened.
    crc: Option<u32>,
}

#[derive(Debug, Default)]
struct Known {
    files: BTreeMap<Name, Content>,
    bytes: u64,
    /// Forgotten by a commit that is not synced yet.
    doomed: BTreeSet<Name>,
}

impl Known {
    /// All files of a body.
    fn of(&self, id: u64) -> impl Iterator<Item = (Name, Content)> {
        let (first, last) = (Name { id, crc: None }, Name { id, crc: Some(u32::MAX) });
        self.files.range(first..=last).map(|(name, content)| (*name, *content))
    }
}

/// The directory of large bodies.
#[derive(Debug)]
pub(super) struct BodyFiles {
    directory: PathBuf,
    known: Mutex<Known>,
}

impl BodyFiles {
    /// Opens the directory and removes what a crash left: unfinished files, and files that
    /// nobody needs. Says how many.
    pub(super) fn open(
        directory: PathBuf,
        needed: impl Fn(u64) -> bool,
    ) -> io::Result<(Self, u64)> {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(&directory)?;
        let mut known = Known::default();
        let mut removed = 0;
        for file in fs::read_dir(&directory)? {
            let file = file?;
            let name = file.file_name().to_str().and_then(Name::parse);
            match name.filter(|name| needed(name.id)) {
                Some(name) => {
                    let len = file.metadata()?.len();
                    known.files.insert(name, Content { len, crc: name.crc });
                    known.bytes += len;
                }
                None => {
                    fs::remove_file(file.path())?;
                    removed += 1;
                }
            }
        }
        Ok((Self { directory, known: Mutex::new(known) }, removed))
    }

    /// Writes one file and syncs it; its name is durable after [`Self::sync_directory`]. Another
    /// content of the same body keeps its file; one that is the same is there already.
    pub(super) fn write(&self, id: u64, content: &[u8]) -> io::Result<()> {
        let crc = crc32fast::hash(content);
        let len = u64::try_from(content.len()).unwrap_or(u64::MAX);
        let name = {
            let mut known = self.known();
            let same = known.of(id).find(|(_, it)| it.len == len && it.crc == Some(crc));
            if let Some((name, _)) = same {
                known.doomed.remove(&name);
                return Ok(());
            }
            Name { id, crc: known.of(id).next().map(|_other| crc) }
        };
        let path = name.path(&self.directory);
        let unfinished = path.with_extension(UNFINISHED);
        let written =
            write_synced(&unfinished, content).and_then(|()| fs::rename(&unfinished, path));
        if written.is_err() {
            // It would go at the next opening; a full disk cannot wait for that.
            drop(fs::remove_file(&unfinished));
        }
        written?;
        let mut known = self.known();
        known.doomed.remove(&name);
        if let Some(before) = known.files.insert(name, Content { len, crc: Some(crc) }) {
            known.bytes = known.bytes.saturating_sub(before.len);
        }
        known.bytes += len;
        Ok(())
    }

    pub(super) fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    /// Reads the file of a body of this length and with this checksum.
    pub(super) fn read(&self, id: u64, len: u64, crc: u32) -> Result<Vec<u8>, Misfit> {
        find(&self.directory, id, len, crc).1
    }

    /// Notes that a body is forgotten, if it is a file at all.
    pub(super) fn doom(&self, id: u64) {
        self.doom_but(id, None);
    }

    /// Notes that this is what a body says now.
    pub(super) fn supersede(&self, id: u64, content: &[u8]) {
        let has_others = self.known().of(id).nth(1).is_some();
        if has_others {
            self.doom_but(id, Some(crc32fast::hash(content)));
        }
    }

    fn doom_but(&self, id: u64, crc: Option<u32>) {
        let mut known = self.known();
        let others = known.of(id).filter(|(_, it)| crc.is_none() || it.crc != crc);
        let others: Vec<Name> = others.map(|(name, _)| name).collect();
        known.doomed.extend(others);
    }

    /// Removes what was forgotten, now that a sync made that durable. What cannot be removed now
    /// is swept at the next opening.
    pub(super) fn remove_doomed(&self) {
        let mut known = self.known();
        for name in std::mem::take(&mut known.doomed) {
            drop(fs::remove_file(name.path(&self.directory)));
            let len = known.files.remove(&name).map_or(0, |it| it.len);
            known.bytes = known.bytes.saturating_sub(len);
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.known().bytes
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file of a body of this length and with this checksum, and what it says.
pub(super) fn find(
    directory: &Path,
    id: u64,
    len: u64,
    crc: u32,
) -> (PathBuf, Result<Vec<u8>, Misfit>) {
    let first = Name { id, crc: None }.path(directory);
    let found = check(&first, len, crc);
    if found.is_ok() {
        return (first, found);
    }
    let second = Name { id, crc: Some(crc) }.path(directory);
    if second.exists() {
        let found = check(&second, len, crc);
        return (second, found);
    }
    (first, found)
}

/// Why a body cannot be had from its file.
#[derive(Debug)]
pub(super) enum Misfit {
    /// The file is not what its record says.
    Damaged(&'static str),
    /// It could not be read.
    Io(io::Error),
}

impl From<Misfit> for String {
    fn from(misfit: Misfit) -> Self {
        match misfit {
            Misfit::Damaged(reason) => reason.to_owned(),
            Misfit::Io(error) => error.to_string(),
        }
    }
}

/// Reads a file that should have this length and this checksum.
fn check(path: &Path, len: u64, crc: u32) -> Result<Vec<u8>, Misfit> {
    let content = fs::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Misfit::Damaged("its file is missing"),
        _ => Misfit::Io(error),
    })?;
    if u64::try_from(content.len()) != Ok(len) {
        return Err(Misfit::Damaged("its file has another length"));
    }
    if crc32fast::hash(&content) != crc {
        return Err(Misfit::Damaged("the checksum of its file does not match"));
    }
    Ok(content)
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}
