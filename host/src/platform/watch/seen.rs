//! What watched files and folders are, by one look at them: contents are read only where something
//! says that they may be others than before.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use message::Timestamp;
use sha2::{Digest, Sha256};

use super::{Folder, Watched};
use crate::platform::file::{FileError, Regular};

/// Entries of one folder that are compared.
const FOLDER_ENTRIES_MAX: usize = 10_000;
/// A file that changed so short a time before it was read may have changed once more within one tick
/// of the file system's clock, which is a hundredth of a second at most, with the same times: it is
/// read again at the next look.
const FRESH: Duration = Duration::from_secs(2);

/// What everything was at one look.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeMap<PathBuf, Sight>);

/// What one path was.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sight {
    /// What says without reading whether a file is still the same.
    stamp: Option<Stamp>,
    /// The stamp says less than it seems to.
    is_fresh: bool,
    is: Is,
}

/// What counts of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Is {
    /// Not there, or not to be looked at.
    Unreachable(io::ErrorKind),
    /// A folder that is watched.
    Folder { inode: (u64, u64), rights: Rights },
    /// A regular file with this content.
    File { sha256: [u8; 32], rights: Rights },
    /// One that is too large or cannot be read: what is known without.
    Unread { stamp: Stamp },
    /// Something else: a folder, a pipe, a device.
    Other { kind: u32, rights: Rights },
}

/// Who may write and read: mode and owner.
type Rights = (u32, u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    size_bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    rights: Rights,
}

impl Seen {
    /// Looks at everything. `hash` reads a file of at most so many octets; what has the stamp that it
    /// had `before` is not read.
    pub(super) fn look(
        before: &Self,
        watched: &Watched,
        now: Timestamp,
        mut hash: impl FnMut(&Path, u64) -> Result<[u8; 32], FileError>,
    ) -> Self {
        let mut sights = BTreeMap::new();
        let mut add = |path: PathBuf, octets_max: u64| {
            let sight = Sight::of(&path, before.0.get(&path), octets_max, now, &mut hash);
            sights.insert(path, sight);
        };
        for (file, octets_max) in &watched.files {
            add(file.clone(), *octets_max);
        }
        for folder in &watched.folders {
            for path in names(folder) {
                add(path, folder.octets_max);
            }
        }
        sights.extend(watched.folders.iter().map(|folder| (folder.path.clone(), folder.sight())));
        Self(sights)
    }

    /// Whether nothing is other than at that look.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|(one, two)| one.0 == two.0 && one.1.is == two.1.is)
    }
}

/// The files of a folder that count; none if it cannot be listed.
fn names(folder: &Folder) -> Vec<PathBuf> {
    let counts = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let name = name.as_bytes();
        !name.starts_with(b".") && name.ends_with(folder.suffix.as_bytes())
    };
    let entries = fs::read_dir(&folder.path).into_iter().flatten().filter_map(Result::ok);
    entries.filter(counts).take(FOLDER_ENTRIES_MAX).map(|entry| entry.path()).collect()
}

impl Folder {
    fn sight(&self) -> Sight {
        // One that cannot be listed is not what it was, though it is the same folder.
        let looked = fs::read_dir(&self.path).and_then(|_entries| fs::metadata(&self.path));
        let is = match looked {
            Err(error) => Is::Unreachable(error.kind()),
            Ok(folder) => Is::Folder { inode: inode(&folder), rights: rights(&folder) },
        };
        Sight { stamp: None, is_fresh: false, is }
    }
}

impl Sight {
    fn of(
        path: &Path,
        before: Option<&Self>,
        octets_max: u64,
        now: Timestamp,
        hash: &mut impl FnMut(&Path, u64) -> Result<[u8; 32], FileError>,
    ) -> Self {
        let unstamped = |is| Self { stamp: None, is_fresh: false, is };
        let metadata = match fs::metadata(path) {
            Err(error) => return unstamped(Is::Unreachable(error.kind())),
            Ok(metadata) if !metadata.is_file() => {
                let kind = metadata.mode() & KIND;
                return unstamped(Is::Other { kind, rights: rights(&metadata) });
            }
            Ok(metadata) => metadata,
        };
        let stamp = Stamp::of(&metadata);
        if let Some(known) = before.filter(|before| !before.is_fresh)
            && known.stamp == Some(stamp)
        {
            return known.clone();
        }
        let unread = Is::Unread { stamp };
        let is = match stamp.size_bytes <= octets_max {
            true => hash(path, octets_max)
                .map_or(unread, |sha256| Is::File { sha256, rights: stamp.rights }),
            false => unread,
        };
        Self { stamp: Some(stamp), is_fresh: stamp.is_fresh(now), is }
    }
}

/// The bits of a mode that say what kind of file it is (inode(7)).
const KIND: u32 = 0o170_000;

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: inode(metadata),
            size_bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            rights: rights(metadata),
        }
    }

    /// Whether it changed just now, by a clock that agrees with ours.
    fn is_fresh(&self, now: Timestamp) -> bool {
        let changed = u64::try_from(self.changed.0).unwrap_or(0);
        now.as_secs().abs_diff(changed) <= FRESH.as_secs()
    }
}

fn inode(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn rights(metadata: &Metadata) -> Rights {
    (metadata.mode() & !KIND, metadata.uid())
}

/// The SHA-256 of a regular file of at most so many octets.
pub(super) fn hash(path: &Path, octets_max: u64) -> Result<[u8; 32], FileError> {
    let mut octets = Regular::open(path)?.within(octets_max)?;
    let mut sha256 = Sha256::new();
    if io::copy(&mut octets, &mut sha256)? > octets_max {
        return Err(FileError::TooLarge(octets_max));
    }
    Ok(sha256.finalize().into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use rustix::fs::{CWD, Mode};

    use super::*;
    use crate::platform::clock::Clock;

    /// A folder of modules that is looked at again and again, and what was read.
    struct Fixture {
        folder: tempfile::TempDir,
        seen: Seen,
        read: Vec<String>,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            Self { folder, seen: Seen::default(), read: Vec::new() }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// Looks, much later than anything that was written; whether something changed.
        fn look(&mut self) -> bool {
            self.look_at(Clock::system().now().after(Duration::from_secs(3600)))
        }

        fn look_at(&mut self, now: Timestamp) -> bool {
            let path = self.folder.path().to_path_buf();
            let folders = vec![Folder { path, suffix: ".wasm", octets_max: 1 << 20 }];
            let watched = Watched { files: BTreeMap::new(), folders };
            let mut read = Vec::new();
            let seen = Seen::look(&self.seen, &watched, now, |path, octets_max| {
                read.push(path.file_name().unwrap().to_str().unwrap().to_owned());
                hash(path, octets_max)
            });
            let changed = !seen.is_same(&self.seen);
            (self.seen, self.read) = (seen, read);
            changed
        }
    }

    #[test]
    fn only_regular_files_with_the_suffix_and_a_sane_size_are_read() {
        let mut fixture = Fixture::new();
        fs::write(fixture.path("a.wasm"), "a").unwrap();
        fs::write(fixture.path(".hidden.wasm"), "a").unwrap();
        fs::File::create(fixture.path("notes.bin")).unwrap().set_len(2 << 30).unwrap();
        fs::File::create(fixture.path("huge.wasm")).unwrap().set_len(2 << 30).unwrap();
        fs::create_dir(fixture.path("folder.wasm")).unwrap();
        symlink("loop.wasm", fixture.path("loop.wasm")).unwrap();
        symlink("nowhere", fixture.path("dangling.wasm")).unwrap();
        symlink("/dev/zero", fixture.path("zero.wasm")).unwrap();
        rustix::fs::mkfifoat(CWD, fixture.path("pipe.wasm"), Mode::RWXU).unwrap();
        assert!(fixture.look());
        assert_eq!(fixture.read, ["a.wasm"]);
        assert!(!fixture.look());
        assert_eq!(fixture.read, [""; 0]);
    }

    #[test]
    fn what_is_no_file_is_noticed_all_the_same() {
        let mut fixture = Fixture::new();
        fixture.look();
        fs::create_dir(fixture.path("folder.wasm")).unwrap();
        assert!(fixture.look());
        symlink("loop.wasm", fixture.path("loop.wasm")).unwrap();
        assert!(fixture.look());
        rustix::fs::mkfifoat(CWD, fixture.path("pipe.wasm"), Mode::RWXU).unwrap();
        assert!(fixture.look());
        fs::File::create(fixture.path("huge.wasm")).unwrap().set_len(2 << 30).unwrap();
        assert!(fixture.look());
        fs::File::create(fixture.path("huge.wasm")).unwrap().set_len(3 << 30).unwrap();
        assert!(fixture.look());
        fs::remove_file(fixture.path("pipe.wasm")).unwrap();
        assert!(fixture.look());
        assert_eq!(fixture.read, [""; 0]);
    }

    #[test]
    fn a_file_is_read_again_only_if_its_stamp_is_another() {
        let mut fixture = Fixture::new();
        for name in ["a.wasm", "b.wasm"] {
            fs::write(fixture.path(name), "one").unwrap();
        }
        fixture.look();
        fs::write(fixture.path("new"), "two").unwrap();
        fs::rename(fixture.path("new"), fixture.path("b.wasm")).unwrap();
        assert!(fixture.look());
        assert_eq!(fixture.read, ["b.wasm"]);
        // The same octets by way of another file are read, and are no change.
        fs::write(fixture.path("new"), "two").unwrap();
        fs::rename(fixture.path("new"), fixture.path("b.wasm")).unwrap();
        assert!(!fixture.look());
        assert_eq!(fixture.read, ["b.wasm"]);
        // Who may write it is a change.
        fs::set_permissions(fixture.path("b.wasm"), fs::Permissions::from_mode(0o666)).unwrap();
        assert!(fixture.look());
    }

    #[test]
    fn a_file_that_changed_just_now_is_read_once_more() {
        let mut fixture = Fixture::new();
        fs::write(fixture.path("a.wasm"), "one").unwrap();
        assert!(fixture.look_at(Clock::system().now()));
        assert!(!fixture.look());
        assert_eq!(fixture.read, ["a.wasm"]);
        assert!(!fixture.look());
        assert_eq!(fixture.read, [""; 0]);
    }

    #[test]
    fn another_folder_in_the_same_place_is_a_change_and_so_is_none() {
        let mut fixture = Fixture::new();
        fixture.look();
        let aside = tempfile::tempdir().unwrap();
        fs::rename(fixture.folder.path(), aside.path().join("moved")).unwrap();
        assert!(fixture.look());
        fs::create_dir(fixture.folder.path()).unwrap();
        assert!(fixture.look());
        assert!(!fixture.look());
    }
}
