//! The folder that modules are dropped into: what is in it, read with care.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::config::Plugins;
use crate::platform::tasks::Tasks;
use crate::plugin::MODULE_BYTES_MAX;

/// Permission bits that let others than the owner put plugins into a folder.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Modules of one folder that are listed.
const MODULES_MAX: usize = 1000;

/// Why a module could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// It is not there; a moment later it may be, if it is being replaced.
    Missing(String),
    /// Anything else.
    Refused(String),
}

/// Reads a module out of the folder, and only out of it.
pub(super) async fn read(tasks: &Tasks, folder: &Path, module: &str) -> Result<Bytes, ReadError> {
    let (folder, module) = (folder.to_path_buf(), module.to_owned());
    tasks
        .blocking(move || read_now(&folder, &module))
        .await
        .map_err(|error| ReadError::Refused(format!("it could not be read: {error}")))?
}

fn read_now(folder: &Path, module: &str) -> Result<Bytes, ReadError> {
    let say = |path: &Path, error: io::Error| {
        let path = path.display();
        let text = format!("{path}: {error}; put the module there, or correct `module`");
        match error.kind() {
            io::ErrorKind::NotFound => ReadError::Missing(text),
            _ => ReadError::Refused(text),
        }
    };
    let folder: PathBuf = folder.canonicalize().map_err(|error| say(folder, error))?;
    let mode = folder.metadata().map_err(|error| say(&folder, error))?.mode();
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(ReadError::Refused(format!(
            "{} is writable by others than its owner, who could put code into the router; \
             `chmod go-w` it",
            folder.display()
        )));
    }
    let path = folder.join(module);
    let real = path.canonicalize().map_err(|error| say(&path, error))?;
    if !real.starts_with(&folder) {
        let (path, folder) = (path.display(), folder.display());
        return Err(ReadError::Refused(format!("{path} leads out of {folder}")));
    }
    let size = real.metadata().map_err(|error| say(&real, error))?.len();
    if size > u64::try_from(MODULE_BYTES_MAX).unwrap_or(u64::MAX) {
        let real = real.display();
        return Err(ReadError::Refused(format!(
            "{real} has {size} octets, {MODULE_BYTES_MAX} are allowed"
        )));
    }
    std::fs::read(&real).map(Bytes::from).map_err(|error| say(&real, error))
}

/// Modules of the folder that the list does not name, in the order of their names. A folder that is
/// not there has none.
///
/// # Errors
/// If the folder cannot be listed, or there are too many.
pub fn unnamed(plugins: &Plugins) -> io::Result<Vec<Arc<str>>> {
    let entries = match std::fs::read_dir(&plugins.folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        let is_module = name.ends_with(".wasm") && !name.starts_with('.');
        if !is_module || plugins.list.iter().any(|plugin| *plugin.module == *name) {
            continue;
        }
        if found.len() == MODULES_MAX {
            return Err(io::Error::other(format!("there are more than {MODULES_MAX} modules")));
        }
        found.push(Arc::from(name));
    }
    found.sort_unstable();
    Ok(found)
}
