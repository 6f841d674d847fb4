//! A second place that knows how far the store had come: whether a journal, or the end of one, is
//! missing cannot be seen in the database itself.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::files::FILE_MODE;
use super::journal::Mark;

const NAME: &str = "groups";
const UNFINISHED: &str = "groups.new";

/// What is noted: the store's salt, and a group that was durable then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Witness {
    salt: u64,
    pub(super) group: u64,
}

impl Witness {
    /// Reads the note. One that is damaged says nothing: it is no reason to stand still.
    pub(super) fn read(spool: &Path) -> io::Result<Option<Self>> {
        match fs::read_to_string(spool.join(NAME)) {
            Ok(text) => Ok(parse(&text)),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the store has come at least as far as it once was.
    pub(super) fn agrees(self, mark: Option<Mark>) -> bool {
        match mark {
            Some(mark) => self.salt != mark.salt || mark.group >= self.group,
            None => self.group == 0,
        }
    }
}

/// Notes that all groups up to this one are durable.
pub(super) fn write(spool: &Path, mark: Mark) -> io::Result<()> {
    let unfinished = spool.join(UNFINISHED);
    let mut options = OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(true).mode(FILE_MODE).open(&unfinished)?;
    file.write_all(text(mark.salt, mark.group).as_bytes())?;
    file.sync_all()?;
    fs::rename(unfinished, spool.join(NAME))?;
    File::open(spool)?.sync_all()
}

fn text(salt: u64, group: u64) -> String {
    let line = format!("{salt:016x} {group}");
    format!("{line} {:08x}\n", crc32fast::hash(line.as_bytes()))
}

fn parse(found: &str) -> Option<Witness> {
    let mut words = found.split_ascii_whitespace();
    let salt = u64::from_str_radix(words.next()?, 16).ok()?;
    let group = words.next()?.parse().ok()?;
    (text(salt, group) == found).then_some(Witness { salt, group })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_comes_back_and_a_damaged_one_says_nothing() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(Witness::read(place.path()).unwrap(), None);
        let mark = Mark { group: 123_456, ..Mark::first() };
        write(place.path(), mark).unwrap();
        let witness = Witness::read(place.path()).unwrap().unwrap();
        assert_eq!(witness, Witness { salt: mark.salt, group: 123_456 });
        assert!(witness.agrees(Some(mark)));
        assert!(!witness.agrees(Some(Mark { group: 123_455, ..mark })));
        assert!(!witness.agrees(None));
        assert!(witness.agrees(Some(Mark { group: 0, salt: !mark.salt, ..mark })), "another store");
        let whole = fs::read(place.path().join(NAME)).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x81;
            fs::write(place.path().join(NAME), &damaged).unwrap();
            assert_eq!(Witness::read(place.path()).unwrap(), None, "{at}");
            fs::write(place.path().join(NAME), &whole[..at]).unwrap();
            assert_eq!(Witness::read(place.path()).unwrap(), None, "{at}");
        }
    }
}
