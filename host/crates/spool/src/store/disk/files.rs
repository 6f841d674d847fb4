//! Large bodies, each a file of its own: written and synced before the commit that names it,
//! removed after the sync of the commit that forgets it.

use std::collections::BTreeSet;
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

#[derive(Debug, Default)]
struct Known {
    files: BTreeSet<u64>,
    bytes: u64,
    /// Forgotten by a commit that is not synced yet.
    doomed: BTreeSet<u64>,
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
            let id = file.file_name().to_str().and_then(|name| u64::from_str_radix(name, 16).ok());
            match id.filter(|&id| needed(id)) {
                Some(id) => {
                    known.files.insert(id);
                    known.bytes += file.metadata()?.len();
                }
                None => {
                    fs::remove_file(file.path())?;
                    removed += 1;
                }
            }
        }
        Ok((Self { directory, known: Mutex::new(known) }, removed))
    }

    /// Writes one file and syncs it; its name is durable after [`Self::sync_directory`].
    pub(super) fn write(&self, id: u64, content: &[u8]) -> io::Result<()> {
        let path = self.path(id);
        let unfinished = path.with_extension(UNFINISHED);
        let written =
            write_synced(&unfinished, content).and_then(|()| fs::rename(&unfinished, path));
        if written.is_err() {
            // It would go at the next opening; a full disk cannot wait for that.
            drop(fs::remove_file(&unfinished));
        }
        written?;
        let mut known = self.known();
        known.doomed.remove(&id);
        if known.files.insert(id) {
            known.bytes += u64::try_from(content.len()).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    pub(super) fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    /// Reads a file of this length and with this checksum.
    pub(super) fn read(&self, id: u64, len: u64, crc: u32) -> Result<Vec<u8>, Misfit> {
        check(&self.path(id), len, crc)
    }

    /// Notes that a body is forgotten, if it is a file at all.
    pub(super) fn doom(&self, id: u64) {
        let mut known = self.known();
        if known.files.contains(&id) {
            known.doomed.insert(id);
        }
    }

    /// Removes what was forgotten, now that a sync made that durable. What cannot be removed now
    /// is swept at the next opening.
    pub(super) fn remove_doomed(&self) {
        let mut known = self.known();
        for id in std::mem::take(&mut known.doomed) {
            let path = self.path(id);
            let len = fs::metadata(&path).map_or(0, |metadata| metadata.len());
            drop(fs::remove_file(path));
            known.files.remove(&id);
            known.bytes = known.bytes.saturating_sub(len);
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.known().bytes
    }

    fn path(&self, id: u64) -> PathBuf {
        self.directory.join(format!("{id:016x}"))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
pub(super) fn check(path: &Path, len: u64, crc: u32) -> Result<Vec<u8>, Misfit> {
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
