//! The database's journals, looked at before the database reads them.
//!
//! What stops fjall in a journal it takes for the torn end of the last write: it cuts the file there,
//! or, if the tear looks like something else, does not open. It cannot know better. We can: every
//! group carries a [`Mark`] with the number of the last group that was synced before it. If a group
//! cannot be read and a later one says that it was synced, that is damage, and nothing is touched.
//! If none says so, it was never acknowledged: the end is cut off and kept aside.

mod frame;
mod mark;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use self::frame::{Frame, Stop};
pub(super) use self::mark::{MARK_KEY, Mark};
use super::files::{DIRECTORY_MODE, FILE_MODE};

/// Torn ends are kept in a folder of this name; the oldest go when there are more than so many.
const ASIDE: &str = "aside";
const ASIDE_FILES_MAX: usize = 16;
/// Journals are read in pieces of this size.
const PIECE_BYTES: usize = 256 * 1024;

/// What was found, if all is well or can be made so.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// The last mark that a whole group carries.
    pub(super) last: Option<Mark>,
    /// The end that is no whole group.
    pub(super) torn: Option<Torn>,
    /// What was read.
    pub(super) bytes: u64,
    /// Whole groups that were read.
    pub(super) groups: u64,
}

/// The end of the last journal, from which on there is no whole group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Torn {
    journal: PathBuf,
    at: u64,
    /// How much of it is not zero.
    pub(super) bytes: u64,
}

/// Why the database must not see its journals.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A group that was synced cannot be read.
    Damaged {
        /// Which journal.
        journal: PathBuf,
        /// From which byte on.
        at: u64,
        /// How we know.
        reason: String,
    },
    /// A journal could not be read.
    Io(PathBuf, io::Error),
}

/// Reads all journals of the database in `db`, in order.
pub(super) fn check(db: &Path) -> Result<Checked, Trouble> {
    let journals = list(db).map_err(|error| Trouble::Io(db.to_owned(), error))?;
    let mut checked = Checked::default();
    let mut torn: Option<Torn> = None;
    for journal in journals {
        if let Some(torn) = torn {
            let reason = "a later journal was begun, which is done when all before is synced";
            return Err(damaged(torn, reason.to_owned()));
        }
        torn = read(&journal, &mut checked)?;
    }
    if let Some(torn) = &torn
        && let Some(later) = later_that_knows(torn, checked.last)?
    {
        let reason = format!(
            "group {} after it says that all up to group {} was synced",
            later.group, later.synced
        );
        return Err(damaged(torn.clone(), reason));
    }
    checked.torn = torn;
    Ok(checked)
}

fn damaged(torn: Torn, reason: String) -> Trouble {
    Trouble::Damaged { journal: torn.journal, at: torn.at, reason }
}

/// The journals, oldest first. Other files are none of our business.
fn list(db: &Path) -> io::Result<Vec<PathBuf>> {
    let mut journals = Vec::new();
    for file in fs::read_dir(db)? {
        let path = file?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let Some(number) = number.filter(|_| path.extension().is_some_and(|e| e == "jnl")) {
            journals.push((number, path));
        }
    }
    journals.sort_unstable();
    Ok(journals.into_iter().map(|(_, path)| path).collect())
}

/// Reads one journal to its end; says where it is torn, if it is.
fn read(journal: &Path, checked: &mut Checked) -> Result<Option<Torn>, Trouble> {
    let trouble = |error| Trouble::Io(journal.to_owned(), error);
    let file = File::open(journal).map_err(trouble)?;
    let len = file.metadata().map_err(trouble)?.len();
    let mut source = BufReader::with_capacity(PIECE_BYTES, file);
    let mut at = 0;
    loop {
        match frame::read(&mut source, len - at) {
            Ok(frame) => {
                follows(journal, at, frame, checked.last)?;
                at += frame.bytes;
                checked.groups += 1;
                checked.bytes += frame.bytes;
                checked.last = frame.mark.or(checked.last);
            }
            Err(Stop::Broken) => break,
            Err(Stop::Io(error)) => return Err(trouble(error)),
        }
    }
    let bytes = used_bytes(source.into_inner(), at).map_err(trouble)?;
    Ok((bytes > 0).then(|| Torn { journal: journal.to_owned(), at, bytes }))
}

/// Groups are numbered without gaps; a gap is a journal, or a part of one, that is gone.
fn follows(journal: &Path, at: u64, frame: Frame, last: Option<Mark>) -> Result<(), Trouble> {
    let (Some(last), Some(next)) = (last, frame.mark) else { return Ok(()) };
    if last.salt != next.salt || next.group == last.group + 1 {
        return Ok(());
    }
    let reason =
        format!("group {} follows group {}: what was between is gone", next.group, last.group);
    Err(Trouble::Damaged { journal: journal.to_owned(), at, reason })
}

/// How many bytes from `at` on are up to the last that is not zero: journals end in reserved zeros,
/// most of which are a hole in the file.
fn used_bytes(mut file: File, at: u64) -> io::Result<u64> {
    let first = match rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
        Ok(first) => first,
        Err(rustix::io::Errno::NXIO) => return Ok(0),
        Err(_unsupported) => at,
    };
    file.seek(SeekFrom::Start(first))?;
    let zeros = vec![0; PIECE_BYTES];
    let mut piece = vec![0; PIECE_BYTES];
    let (mut seen, mut used) = (first - at, 0);
    loop {
        let got = file.read(&mut piece)?;
        if got == 0 {
            return Ok(used);
        }
        let read = piece.get(..got).unwrap_or_default();
        // One comparison of everything is much faster than one for each byte.
        if Some(read) != zeros.get(..got)
            && let Some(last) = read.iter().rposition(|&byte| byte != 0)
        {
            used = seen + last as u64 + 1;
        }
        seen += got as u64;
    }
}

/// A whole group behind the tear which says that more was synced than can be read.
fn later_that_knows(torn: &Torn, last: Option<Mark>) -> Result<Option<Mark>, Trouble> {
    let tail = tail(torn).map_err(|error| Trouble::Io(torn.journal.clone(), error))?;
    for at in memchr::memchr_iter(frame::START, &tail) {
        let Some(mut rest) = tail.get(at..) else { break };
        let left = rest.len() as u64;
        let Ok(Frame { mark: Some(mark), .. }) = frame::read(&mut rest, left) else { continue };
        let knows = match last {
            Some(last) => mark.salt == last.salt && mark.synced > last.group,
            // The tear is at the very first group: it is told by the one right behind it.
            None => mark.group > 1 && mark.synced == mark.group - 1,
        };
        if knows {
            return Ok(Some(mark));
        }
    }
    Ok(None)
}

fn tail(torn: &Torn) -> io::Result<Vec<u8>> {
    let mut file = File::open(&torn.journal)?;
    file.seek(SeekFrom::Start(torn.at))?;
    let mut tail = Vec::new();
    file.take(torn.bytes).read_to_end(&mut tail)?;
    Ok(tail)
}

impl Torn {
    /// Copies the torn end into the folder for such things, and cuts it off.
    pub(super) fn set_aside(&self, spool: &Path) -> io::Result<PathBuf> {
        let folder = spool.join(ASIDE);
        fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(&folder)?;
        let stem = self.journal.file_stem().unwrap_or_default().to_string_lossy();
        let kept = folder.join(format!("journal-{stem}-{:012}.torn", self.at));
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(FILE_MODE).open(&kept)?;
        file.write_all(&tail(self)?)?;
        file.sync_all()?;
        File::open(&folder)?.sync_all()?;
        let journal = OpenOptions::new().write(true).open(&self.journal)?;
        journal.set_len(self.at)?;
        journal.sync_all()?;
        forget_oldest(&folder)?;
        Ok(kept)
    }

    pub(super) fn describe(&self) -> String {
        format!(
            "the last {} bytes of {} are no whole group: they were never acknowledged",
            self.bytes,
            self.journal.display()
        )
    }
}

/// A process that is killed often leaves a torn end each time: the last ones are enough.
fn forget_oldest(folder: &Path) -> io::Result<()> {
    let mut kept = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?;
        if file.path().extension().is_some_and(|extension| extension == "torn") {
            kept.push((file.metadata()?.modified()?, file.path()));
        }
    }
    kept.sort_unstable();
    let surplus = kept.len().saturating_sub(ASIDE_FILES_MAX);
    for (_, path) in kept.into_iter().take(surplus) {
        fs::remove_file(path)?;
    }
    Ok(())
}
