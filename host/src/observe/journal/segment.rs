//! The folder of segments: their names, in order of time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The end of a segment's name.
const ENDING: &str = ".jsonl";
/// Owner only: addresses are kept as they are.
const FOLDER_MODE: u32 = 0o700;
/// Owner only, as for the folder.
const FILE_MODE: u32 = 0o600;

/// Makes the folder if it is not there.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)
}

/// The times that name the segments, the oldest first. Other files are none of ours.
pub(super) fn list(folder: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for file in fs::read_dir(folder)? {
        let name = file?.file_name();
        let time: Option<u64> =
            name.to_str().and_then(|name| name.strip_suffix(ENDING)?.parse().ok());
        found.extend(time);
    }
    found.sort_unstable();
    Ok(found)
}

pub(super) fn path(folder: &Path, first_ms: u64) -> PathBuf {
    folder.join(format!("{first_ms:013}{ENDING}"))
}

pub(super) fn create(folder: &Path, first_ms: u64) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create_new(true).mode(FILE_MODE).open(path(folder, first_ms))
}
