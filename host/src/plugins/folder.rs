//! The folder that modules are dropped into: what is in it, read with care.
//!
//! Whoever may write a module decides about messages. So everything that leads to it – the folder,
//! folders that links inside it lead through, the file itself – is checked on what is open: between a
//! look at a path and its opening, somebody could put something else there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{Mode, OFlags, StatVfsMountFlags};

use crate::config::Plugins;
use crate::platform::file::{FileError, Regular};
use crate::platform::user;
use crate::plugin::MODULE_BYTES_MAX;

/// Permission bits that let others than the owner write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Modules of one folder; with more it counts as unreadable, since nobody can say which are meant.
const MODULES_MAX: usize = 1000;
/// Entries of one folder that are looked at, with the same consequence.
const ENTRIES_MAX: usize = 10_000;
/// How a folder on the way to a module is opened: to be looked at and gone through, not listed.
const FOLDER: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Why a module could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// It is not there; a moment later it may be, if it is being replaced.
    Missing(String),
    /// Anything else.
    Refused(String),
}

impl ReadError {
    /// The reason, the step and the remedy.
    fn refused(reason: impl std::fmt::Display, remedy: impl std::fmt::Display) -> Self {
        Self::Refused(format!("{reason} (at read); {remedy}"))
    }

    fn of(path: &Path, error: &FileError) -> Self {
        let (reason, is_link) = (format!("{}: {error}", path.display()), path.is_symlink());
        if error.is_missing() {
            let reason = if is_link { format!("{reason}: the link leads nowhere") } else { reason };
            return Self::Missing(format!(
                "{reason} (at read); put the module there, or correct `module`"
            ));
        }
        match error {
            FileError::TooLarge(_) => Self::refused(
                reason,
                "build it with `--release` and `strip = \"debuginfo\"`, or remove it",
            ),
            FileError::Kind(_) => Self::refused(reason, "put a module there, or remove it"),
            FileError::Io(_) => Self::refused(reason, "let the router read it, or remove it"),
        }
    }
}

/// Whose files are run: root's, our own, and those of users that the operator names.
#[derive(Debug, Clone)]
struct Owners {
    own: Option<u32>,
    named: Vec<u32>,
}

impl Owners {
    /// Refuses what others may write, or those that we do not trust own.
    fn check(&self, path: &Path, open: impl AsFd, metadata: &Metadata) -> Result<(), ReadError> {
        self.judge(path, metadata.mode(), metadata.uid(), is_read_only(open))
    }

    fn judge(&self, path: &Path, mode: u32, owner: u32, sealed: bool) -> Result<(), ReadError> {
        let path = path.display();
        if mode & WRITABLE_BY_OTHERS != 0 && !sealed {
            return Err(ReadError::refused(
                format!(
                    "{path} is writable by others than its owner, who could put code into the router"
                ),
                format!("`chmod go-w {path}`"),
            ));
        }
        if owner != 0 && Some(owner) != self.own && !self.named.contains(&owner) {
            return Err(ReadError::refused(
                format!("{path} belongs to user {owner}, who could put code into the router"),
                format!(
                    "`chown` it to root or to the router's user, or let `plugins` say `owners: {owner}`"
                ),
            ));
        }
        Ok(())
    }
}

/// Whether nobody writes through this mount, whatever modes say: configuration maps are mounted so,
/// with folders of mode 0777.
fn is_read_only(open: impl AsFd) -> bool {
    rustix::fs::fstatvfs(open).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Reads a module out of the folder, and only out of it. It may wait for the disk.
pub(super) fn read(plugins: &Plugins, module: &str) -> Result<Bytes, ReadError> {
    let owners = Owners { own: user::own_id(), named: plugins.owners.clone() };
    let named = plugins.folder.join(module);
    let say = |error: &FileError| ReadError::of(&named, error);
    let folder = plugins.folder.canonicalize().map_err(|error| say(&error.into()))?;
    let real = folder.join(module).canonicalize().map_err(|error| say(&error.into()))?;
    let Ok(inside) = real.strip_prefix(&folder) else {
        let (path, folder) = (named.display(), folder.display());
        return Err(ReadError::refused(
            format!("{path} leads out of {folder}"),
            "put the module itself there",
        ));
    };
    let mut open = rustix::fs::open(&folder, FOLDER, Mode::empty())
        .map(File::from)
        .map_err(|error| say(&error.into()))?;
    let mut at = folder.clone();
    let mut way = inside.components().peekable();
    while let Some(Component::Normal(name)) = way.next() {
        owners.check(&at, &open, &open.metadata().map_err(|error| say(&error.into()))?)?;
        at.push(name);
        if way.peek().is_some() {
            open = rustix::fs::openat(&open, name, FOLDER, Mode::empty())
                .map(File::from)
                .map_err(|error| say(&error.into()))?;
            continue;
        }
        let file = Regular::open_in(&open, Path::new(name)).map_err(|error| say(&error))?;
        owners.check(&at, file.file(), file.metadata())?;
        let size_max = u64::try_from(MODULE_BYTES_MAX).unwrap_or(u64::MAX);
        return file.read(size_max).map(Bytes::from).map_err(|error| say(&error));
    }
    Err(say(&FileError::Kind("a folder")))
}

/// What is in the folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Modules that the list does not name, in the order of their names.
    pub(super) unnamed: Vec<Arc<str>>,
    /// Files with the suffix of modules whose names are none, printable, and what is wrong with them.
    pub(super) nameless: BTreeMap<Arc<str>, Arc<str>>,
    /// Something is mounted there.
    pub(super) is_mount: bool,
    /// There is nothing in it at all.
    is_empty: bool,
}

impl Listing {
    /// Lists the folder. It may wait for the disk.
    ///
    /// # Errors
    /// It is not there, cannot be listed, or has too much in it.
    pub(super) fn read(plugins: &Plugins) -> io::Result<Self> {
        let device = |path: &Path| path.metadata().map(|metadata| metadata.dev());
        let is_mount = device(&plugins.folder)? != device(&plugins.folder.join(".."))?;
        let mut listing = Self { is_mount, is_empty: true, ..Self::default() };
        for (count, entry) in std::fs::read_dir(&plugins.folder)?.enumerate() {
            let name = entry?.file_name();
            listing.is_empty = false;
            if count == ENTRIES_MAX {
                let text = format!("there are more than {ENTRIES_MAX} files in it");
                return Err(io::Error::other(text));
            }
            if !is_module(&name) {
                continue;
            }
            let shown = printable(&name);
            match name.to_str() {
                Some(name) if plugins.list.iter().any(|plugin| *plugin.module == *name) => continue,
                Some(name) if *name == shown => listing.unnamed.push(name.into()),
                _ => {
                    let why = "its name is no plain text (at read); rename or remove it";
                    listing.nameless.insert(shown.into(), why.into());
                }
            }
            if listing.unnamed.len() + listing.nameless.len() > MODULES_MAX {
                let text = format!("there are more than {MODULES_MAX} modules in it");
                return Err(io::Error::other(text));
            }
        }
        listing.unnamed.sort_unstable();
        Ok(listing)
    }

    /// Whether it looks like the empty folder below a volume that is not mounted.
    pub(super) const fn is_unmounted(&self) -> bool {
        self.is_empty && !self.is_mount
    }
}

/// Whether a file of this name is meant to be a module. Links and folders of mounted configuration
/// maps begin with a dot.
fn is_module(name: &OsStr) -> bool {
    name.as_bytes().ends_with(b".wasm") && !name.as_bytes().starts_with(b".")
}

/// A name of a file as it can be shown: what is no text or would act on a terminal is escaped.
pub(super) fn printable(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        text.extend(chunk.valid().escape_debug());
        for octet in chunk.invalid() {
            text.push_str(&format!("\\x{octet:02x}"));
        }
    }
    text
}

/// Modules of the folder that the list does not name, in the order of their names. A folder that is
/// not there has none.
///
/// # Errors
/// If the folder cannot be listed, or there is too much in it.
pub fn unnamed(plugins: &Plugins) -> io::Result<Vec<Arc<str>>> {
    match Listing::read(plugins) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(Listing { mut unnamed, nameless, .. }) => {
            unnamed.extend(nameless.into_keys());
            Ok(unnamed)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use rustix::fs::CWD;

    use super::*;

    struct Fixture {
        folder: tempfile::TempDir,
        plugins: Plugins,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("plugins");
            fs::create_dir(&path).unwrap();
            let plugins = Plugins {
                folder: path,
                owners: Vec::new(),
                list: Vec::new(),
                auto: None,
                compile: crate::config::CompileLimits::default(),
            };
            let fixture = Self { folder, plugins };
            fixture.mode("", 0o755);
            fixture
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.plugins.folder.join(name)
        }

        fn write(&self, name: &str) {
            fs::write(self.path(name), "module").unwrap();
            self.mode(name, 0o644);
        }

        fn mode(&self, name: &str, mode: u32) {
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        }

        fn link(&self, to: &str, name: &str) {
            symlink(to, self.path(name)).unwrap();
        }

        #[track_caller]
        fn reads(&self, name: &str) {
            assert_eq!(read(&self.plugins, name).unwrap(), "module", "{name}");
        }

        /// It is refused with these words, the step and a remedy.
        #[track_caller]
        fn refuses(&self, name: &str, words: &str) {
            let error = match read(&self.plugins, name).unwrap_err() {
                ReadError::Missing(error) | ReadError::Refused(error) => error,
            };
            let whole = error.contains(words) && error.contains("(at read); ");
            assert!(whole, "{name}: {error}");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_and_nothing_is_waited_for() {
        let fixture = Fixture::new();
        rustix::fs::mkfifoat(CWD, fixture.path("pipe.wasm"), Mode::RUSR).unwrap();
        fs::create_dir(fixture.path("folder.wasm")).unwrap();
        fixture.link("loop.wasm", "loop.wasm");
        fixture.link("nothing", "dangling.wasm");
        fixture.link("pipe.wasm", "to-pipe.wasm");
        fixture.link(".", "itself.wasm");
        fs::write(fixture.folder.path().join("outside"), "module").unwrap();
        fixture.link("../outside", "out.wasm");
        fixture.link("/dev/zero", "zero.wasm");
        File::create(fixture.path("huge.wasm")).unwrap().set_len(1 << 40).unwrap();
        fixture.refuses("pipe.wasm", "a pipe");
        fixture.refuses("folder.wasm", "a folder");
        fixture.refuses("loop.wasm", "symbolic links");
        fixture.refuses("dangling.wasm", "the link leads nowhere");
        fixture.refuses("to-pipe.wasm", "a pipe");
        fixture.refuses("itself.wasm", "a folder");
        fixture.refuses("out.wasm", "leads out of");
        fixture.refuses("zero.wasm", "leads out of");
        fixture.refuses("huge.wasm", "more than");
        fixture.refuses("none.wasm", "put the module there");
    }

    #[test]
    fn links_that_stay_inside_are_followed() {
        let fixture = Fixture::new();
        // As a configuration map is mounted.
        fs::create_dir(fixture.path("..2026_11_30")).unwrap();
        fixture.mode("..2026_11_30", 0o755);
        fixture.write("..2026_11_30/a.wasm");
        fixture.link("..2026_11_30", "..data");
        fixture.link("..data/a.wasm", "a.wasm");
        fixture.reads("a.wasm");
        fixture.write("b.v2");
        fixture.link(fixture.path("b.v2").to_str().unwrap(), "b.wasm");
        fixture.reads("b.wasm");
        fixture.mode("..2026_11_30", 0o777);
        fixture.refuses("a.wasm", "writable by others");
    }

    #[test]
    fn what_others_may_write_or_own_is_refused() {
        let fixture = Fixture::new();
        fixture.write("a.wasm");
        fixture.reads("a.wasm");
        for mode in [0o666, 0o664, 0o646] {
            fixture.mode("a.wasm", mode);
            fixture.refuses("a.wasm", "writable by others than its owner");
        }
        fixture.mode("a.wasm", 0o644);
        fixture.mode("", 0o775);
        fixture.refuses("a.wasm", "writable by others than its owner");
        fixture.mode("", 0o755);
        fixture.reads("a.wasm");
        if user::own_id() != Some(0) {
            return;
        }
        chown(fixture.path("a.wasm"), Some(4242), None).unwrap();
        fixture.refuses("a.wasm", "belongs to user 4242");
        let trusting = Plugins { owners: vec![4242], ..fixture.plugins.clone() };
        assert_eq!(read(&trusting, "a.wasm").unwrap(), "module");
        chown(fixture.path("a.wasm"), Some(0), None).unwrap();
        chown(&fixture.plugins.folder, Some(4242), None).unwrap();
        fixture.refuses("a.wasm", "belongs to user 4242");
        assert_eq!(read(&trusting, "a.wasm").unwrap(), "module");
    }

    #[test]
    fn owners_are_root_the_router_and_those_that_the_operator_names() {
        let owners = Owners { own: Some(100), named: vec![7] };
        let taken = |mode, owner, sealed| owners.judge(Path::new("x"), mode, owner, sealed).is_ok();
        for owner in [0, 100, 7] {
            assert!(taken(0o644, owner, false) && !taken(0o664, owner, false), "{owner}");
            assert!(taken(0o777, owner, true), "nobody writes through a mount that is read-only");
        }
        assert!(!taken(0o600, 8, false) && !taken(0o600, 8, true));
        let unknown = Owners { own: None, named: Vec::new() };
        assert!(unknown.judge(Path::new("x"), 0o600, 100, false).is_err());
    }

    #[test]
    fn a_listing_has_the_names_that_can_be_plugins_and_shows_those_that_cannot() {
        let fixture = Fixture::new();
        let listing = Listing::read(&fixture.plugins).unwrap();
        assert!(listing.is_unmounted() && listing.unnamed.is_empty());
        for name in ["b.wasm", "a.wasm", ".hidden.wasm", "notes.bin", "line\nfeed.wasm"] {
            fixture.write(name);
        }
        fs::create_dir(fixture.path("folder.wasm")).unwrap();
        fs::write(fixture.plugins.folder.join(OsStr::from_bytes(b"x\xff.wasm")), "").unwrap();
        let listing = Listing::read(&fixture.plugins).unwrap();
        assert_eq!(listing.unnamed, ["a.wasm", "b.wasm", "folder.wasm"].map(Arc::from));
        let nameless: Vec<&str> = listing.nameless.keys().map(|name| &**name).collect();
        assert_eq!(nameless, ["line\\nfeed.wasm", "x\\xff.wasm"]);
        assert!(!listing.is_unmounted());
        assert_eq!(unnamed(&fixture.plugins).unwrap().len(), 5);
        for number in 0..MODULES_MAX {
            fs::write(fixture.path(&format!("{number}.wasm")), "").unwrap();
        }
        assert!(
            Listing::read(&fixture.plugins).unwrap_err().to_string().contains("more than 1000")
        );
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_where_it_must_be() {
        let mut fixture = Fixture::new();
        fixture.plugins.folder.push("gone");
        assert_eq!(Listing::read(&fixture.plugins).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(unnamed(&fixture.plugins).unwrap().is_empty());
    }
}
