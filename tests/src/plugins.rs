//! Plugins as `cargo xtask plugins` builds them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The bytes of a built plugin.
#[must_use]
pub fn module(name: &str) -> Vec<u8> {
    let path = built().join(name);
    fs::read(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; `cargo xtask plugins` builds it", path.display())
    })
}

/// Puts a module into the folder `plugins` the way a deployment does: a new file, then a rename.
pub fn install(folder: &Path, name: &str, bytes: &[u8]) {
    let plugins = folder.join("plugins");
    fs::create_dir_all(&plugins).unwrap();
    fs::set_permissions(&plugins, fs::Permissions::from_mode(0o700)).unwrap();
    let new = plugins.join(".new");
    fs::write(&new, bytes).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&new, plugins.join(name)).unwrap();
}

/// The same module with other bytes: an empty custom section more (WebAssembly core §5.5.3).
#[must_use]
pub fn another_build_of(bytes: &[u8], mark: u8) -> Vec<u8> {
    let mut other = bytes.to_vec();
    other.extend_from_slice(&[0, 3, 2, b'b', b'a' + mark % 26]);
    other
}

/// Where they are.
#[must_use]
pub fn built() -> PathBuf {
    let folder = std::env::var_os("WIREPOST_PLUGINS").map(PathBuf::from);
    folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins"))
}
