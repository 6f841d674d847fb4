//! Files that others may have put there: read without waiting, regular ones only, up to a limit.
//!
//! A path may lead to a pipe, on which an ordinary read waits for ever, to a device, which may act when
//! it is opened, or to a file without an end. So the kind is looked at before anything is opened and
//! once more on the open file, since the path may lead elsewhere by then; and the limit counts what is
//! read, since a file may grow.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Take};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

/// How a file is opened that may be anything: a pipe does not wait for its other end, a terminal does
/// not become ours.
const CAREFULLY: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is something else than a regular file.
    #[error("it is {0}; only regular files are read")]
    Kind(&'static str),
    /// It has more octets than are read.
    #[error("it has more than {0} octets")]
    TooLarge(u64),
}

impl FileError {
    /// Whether there is nothing of this name.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl From<rustix::io::Errno> for FileError {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Io(error.into())
    }
}

/// A regular file that is open, and what the system says of this very file.
#[derive(Debug)]
pub struct Regular {
    file: File,
    metadata: Metadata,
}

impl Regular {
    /// Opens a file, at the end of all links.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        regular(fs::metadata(path)?.mode())?;
        Self::of(rustix::fs::open(path, CAREFULLY, Mode::empty())?.into())
    }

    /// Opens the file of this name in an open folder; links are not followed.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open_in(folder: impl AsFd, name: &Path) -> Result<Self, FileError> {
        let status = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        regular(status.st_mode)?;
        let flags = CAREFULLY.union(OFlags::NOFOLLOW);
        Self::of(rustix::fs::openat(&folder, name, flags, Mode::empty())?.into())
    }

    fn of(file: File) -> Result<Self, FileError> {
        let metadata = file.metadata()?;
        regular(metadata.mode())?;
        Ok(Self { file, metadata })
    }

    /// What the system says of it.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The open file.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// All of it, if that is not more than so many octets.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(self, octets_max: u64) -> Result<Vec<u8>, FileError> {
        let mut octets = Vec::new();
        self.within(octets_max)?.read_to_end(&mut octets)?;
        if u64::try_from(octets.len()).is_ok_and(|length| length <= octets_max) {
            Ok(octets)
        } else {
            Err(FileError::TooLarge(octets_max))
        }
    }

    /// Its octets, at most one more than so many, which tells that there are more. A file that says
    /// itself that it is larger is not read at all.
    ///
    /// # Errors
    /// [`FileError::TooLarge`].
    pub fn within(self, octets_max: u64) -> Result<Take<File>, FileError> {
        if self.metadata.len() > octets_max {
            return Err(FileError::TooLarge(octets_max));
        }
        Ok(self.file.take(octets_max.saturating_add(1)))
    }
}

/// Reads a regular file of at most so many octets, at the end of all links.
///
/// # Errors
/// [`FileError`].
pub fn read(path: &Path, octets_max: u64) -> Result<Vec<u8>, FileError> {
    Regular::open(path)?.read(octets_max)
}

/// Reads a text of at most so many octets.
///
/// # Errors
/// [`FileError`]; what is not UTF-8 is invalid data.
pub fn read_text(path: &Path, octets_max: u64) -> Result<String, FileError> {
    text(read(path, octets_max)?)
}

/// Octets as text.
///
/// # Errors
/// They are not UTF-8.
pub fn text(octets: Vec<u8>) -> Result<String, FileError> {
    let invalid = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8");
    Ok(String::from_utf8(octets).map_err(invalid)?)
}

/// An error unless the mode is that of a regular file.
fn regular(mode: u32) -> Result<(), FileError> {
    Err(FileError::Kind(match FileType::from_raw_mode(mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "a folder",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::Symlink => "a link",
        FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => "a device",
    }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[track_caller]
    fn check(path: &Path, octets_max: u64, expected: Result<&[u8], &str>) {
        let read = read(path, octets_max);
        match expected {
            Ok(octets) => assert_eq!(read.unwrap(), octets),
            Err(words) => {
                let error = read.unwrap_err().to_string();
                assert!(error.contains(words), "{error}");
            }
        }
    }

    #[test]
    fn only_regular_files_are_read_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "text").unwrap();
        symlink("file", path("link")).unwrap();
        symlink("nothing", path("dangling")).unwrap();
        symlink("loop", path("loop")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), Mode::RWXU).unwrap();
        symlink("pipe", path("link-to-pipe")).unwrap();
        check(&path("file"), 4, Ok(b"text"));
        check(&path("link"), 4, Ok(b"text"));
        check(&path("folder"), 4, Err("a folder"));
        check(&path("pipe"), 4, Err("a pipe"));
        check(&path("link-to-pipe"), 4, Err("a pipe"));
        check(&path("socket"), 4, Err("a socket"));
        check(Path::new("/dev/zero"), 4, Err("a device"));
        check(&path("dangling"), 4, Err("No such file"));
        check(&path("loop"), 4, Err("symbolic links"));
        assert!(read(&path("dangling"), 4).unwrap_err().is_missing());
    }

    #[test]
    fn no_more_is_read_than_the_limit_whatever_the_file_says_of_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "text").unwrap();
        check(&path, 3, Err("more than 3 octets"));
        // It says that it has 0 octets.
        check(Path::new("/proc/self/stat"), 8, Err("more than 8 octets"));
        assert!(!read(Path::new("/proc/self/stat"), 1 << 16).unwrap().is_empty());
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        check(&path, 1 << 20, Err("more than 1048576 octets"));
    }

    #[test]
    fn a_file_in_an_open_folder_is_no_link() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "text").unwrap();
        symlink("file", folder.path().join("link")).unwrap();
        let open = File::open(folder.path()).unwrap();
        let read = |name: &str| Regular::open_in(&open, Path::new(name))?.read(4);
        assert_eq!(read("file").unwrap(), b"text");
        assert!(read("link").unwrap_err().to_string().contains("a link"));
        assert!(read("nothing").unwrap_err().is_missing());
    }
}
