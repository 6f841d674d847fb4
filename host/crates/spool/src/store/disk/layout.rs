//! What must be there before the database may look at its own folder.
//!
//! fjall clears away what it does not know: a key space without its `current` file, a table that no
//! version names. That is right after a crash of its own making and wrong when a file was damaged
//! or lost. A database that we made is complete, so whatever is missing is damage.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

/// fjall's own key space of names and ours, in the order of their creation.
const KEY_SPACES: u64 = 7;
/// The number of a version, the checksum of its file, and which kind of checksum it is.
const CURRENT_BYTES: usize = 8 + 16 + 1;
/// The marker of fjall's format 3.
const VERSION: [u8; 4] = *b"FJL\x03";

/// A file without which nothing may be opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) file: PathBuf,
    pub(super) reason: String,
}

/// Looks at the marker, and at the list of files of each key space.
pub(super) fn check(db: &Path) -> Result<(), Missing> {
    let marker = db.join("version");
    let found = read(&marker)?;
    if found != VERSION {
        return Err(missing(&marker, "it is not the marker of this database format"));
    }
    for number in 0..KEY_SPACES {
        let space = db.join("keyspaces").join(number.to_string());
        let current = space.join("current");
        let (version, checksum) = parse_current(&read(&current)?)
            .ok_or_else(|| missing(&current, "it does not name a version"))?;
        let file = space.join(format!("v{version}"));
        if hash(&file).map_err(|error| unreadable(&file, &error))? != checksum {
            return Err(missing(&file, "its checksum is not the one in `current` beside it"));
        }
    }
    Ok(())
}

/// The checksum that fjall keeps of whole files.
pub(super) fn hash(file: &Path) -> io::Result<u128> {
    let mut file = File::open(file)?;
    let mut hasher = Xxh3::new();
    let mut piece = vec![0; 256 * 1024];
    loop {
        let got = file.read(&mut piece)?;
        if got == 0 {
            return Ok(hasher.digest128());
        }
        hasher.update(piece.get(..got).unwrap_or_default());
    }
}

fn parse_current(bytes: &[u8]) -> Option<(u64, u128)> {
    let bytes: &[u8; CURRENT_BYTES] = bytes.try_into().ok()?;
    let (version, rest) = bytes.split_first_chunk::<8>()?;
    let (checksum, kind) = rest.split_first_chunk::<16>()?;
    (kind == [0]).then(|| (u64::from_le_bytes(*version), u128::from_le_bytes(*checksum)))
}

fn read(file: &Path) -> Result<Vec<u8>, Missing> {
    fs::read(file).map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &Path, error: &io::Error) -> Missing {
    missing(file, &error.to_string())
}

fn missing(file: &Path, reason: &str) -> Missing {
    Missing { file: file.to_owned(), reason: reason.to_owned() }
}
