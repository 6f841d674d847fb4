//! Files of certificates and keys, with the octets that they had when they were checked: what is served
//! is what was checked, and other octets are another configuration.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::platform::file::{self, FileError};

/// The largest that is read, in octets; the authorities of systems have less than 1 MiB.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A PEM file (RFC 7468).
#[derive(Clone, PartialEq, Eq)]
pub struct PemFile {
    path: PathBuf,
    /// None as long as nobody has read it.
    octets: Option<Arc<[u8]>>,
}

impl PemFile {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file with what is in it now; a file that cannot be read stays unread.
    #[must_use]
    pub fn read(path: PathBuf) -> Self {
        let octets = file::read(&path, FILE_BYTES_MAX).ok().map(Arc::from);
        Self { path, octets }
    }

    /// Its octets: those that were checked, or if it was not read yet those that are there now.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn octets(&self) -> Result<Arc<[u8]>, FileError> {
        match &self.octets {
            Some(octets) => Ok(Arc::clone(octets)),
            None => Ok(file::read(&self.path, FILE_BYTES_MAX)?.into()),
        }
    }
}

impl From<PathBuf> for PemFile {
    fn from(path: PathBuf) -> Self {
        Self { path, octets: None }
    }
}

/// Without its octets: it may be a key.
impl fmt::Debug for PemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}
