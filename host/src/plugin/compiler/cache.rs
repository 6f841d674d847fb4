//! Machine code that is kept on disk, so that a start and a reload of known bytes compile nothing.
//!
//! An entry is named by the hash of the module and by what its machine code depends on: the engine's
//! version, its settings and ours, and the processor's features. It is sealed with a key of the
//! spool, since it is run as it is: what is damaged, or was not written by this router, is not used.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::hmac;

use super::limits::as_u64;
use super::machine_code::MachineCode;
use super::work::{framed, unframed};
use crate::last_good;
use crate::plugin::module::{Module, hex};

/// What begins an entry; another form of it begins otherwise.
const MAGIC: [u8; 8] = *b"wpcode\0\x01";
/// Octets of a seal.
const SEAL_OCTETS: usize = 32;
/// Ties the key to its purpose: it is that of return addresses too.
const PURPOSE: &[u8] = b"wirepost compiled plugin\0";
/// Octets of all entries: those of a dozen of the largest modules. Beyond it the least recently used
/// ones go.
const CACHE_BYTES_MAX: u64 = 512 << 20;
/// Octets of what machine code depends on, in the name of an entry.
const FINGERPRINT_OCTETS: usize = 8;

/// What an entry is found by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    /// SHA-256 of the module.
    pub(super) content: &'a [u8; 32],
    /// Of what its machine code depends on.
    pub(super) fingerprint: &'a [u8; 32],
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprint = self.fingerprint.get(..FINGERPRINT_OCTETS).unwrap_or_default();
        write!(f, "{}.{}", hex(self.content), hex(fingerprint))
    }
}

/// A folder of entries.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    seals: Seals,
    bytes_max: u64,
}

impl Cache {
    /// Entries in this folder, which is made when there is one, sealed with this key.
    #[must_use]
    pub fn new(folder: PathBuf, key: &[u8; 32]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        Self { folder, seals: Seals(key), bytes_max: CACHE_BYTES_MAX }
    }

    /// The machine code of a module, and what the module says about itself.
    pub(super) fn find(&self, name: Name<'_>) -> Option<(Module, MachineCode)> {
        let path = self.folder.join(name.to_string());
        match self.read(&path, name) {
            Ok(found) => found,
            Err(why) => {
                let path = path.display();
                tracing::warn!(event = "plugin.cache", %path, "not used, made anew: {why}");
                None
            }
        }
    }

    fn read(&self, path: &Path, name: Name<'_>) -> Result<Option<(Module, MachineCode)>, String> {
        let say = |error: io::Error| error.to_string();
        let kind = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(say)?,
        };
        if !kind.is_file() || kind.len() > self.bytes_max {
            return Err("it is no entry of ours".to_owned());
        }
        let file = File::open(path).map_err(say)?;
        let mut octets = Vec::with_capacity(usize::try_from(kind.len()).unwrap_or_default());
        (&file).take(self.bytes_max).read_to_end(&mut octets).map_err(say)?;
        let sealed =
            octets.strip_prefix(&MAGIC).and_then(|rest| rest.split_at_checked(SEAL_OCTETS));
        let Some((seal, rest)) = sealed else { return Err("it is no entry of ours".to_owned()) };
        if !self.seals.is_ours(seal, name, rest) {
            return Err("its seal is broken or not of this spool".to_owned());
        }
        let Some((module, length)) = unframed::<Module>(rest) else {
            return Err("its head is not of this version".to_owned());
        };
        // So that it is not the least recently used one; where the disk refuses, it may be.
        let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
        if rustix::fs::futimens(&file, &times).is_err() {
            tracing::debug!(event = "plugin.cache_unmarked");
        }
        octets.drain(..MAGIC.len() + SEAL_OCTETS + length);
        Ok(Some((module, MachineCode::of_our_compiler(octets))))
    }

    /// Keeps machine code, and lets go of what was not used for longest if there is too much.
    pub(super) fn put(
        &self,
        name: Name<'_>,
        module: &Module,
        code: &MachineCode,
    ) -> io::Result<()> {
        let mut rest = framed(module)?;
        rest.extend_from_slice(code.octets());
        let seal = self.seals.seal(name, &rest);
        let mut entry = [&MAGIC[..], seal.as_ref()].concat();
        entry.append(&mut rest);
        if as_u64(entry.len()) > self.bytes_max {
            return Ok(());
        }
        last_good::write(&self.folder, &name.to_string(), &entry)?;
        self.shrink()
    }

    /// Forgets the modules that are not among these.
    pub(super) fn keep_only(&self, contents: &BTreeSet<[u8; 32]>) -> io::Result<()> {
        let wanted: BTreeSet<String> = contents.iter().map(|content| hex(content)).collect();
        for entry in self.entries()? {
            let known = entry.name.split_once('.').is_some_and(|(it, _)| wanted.contains(it));
            if !known {
                fs::remove_file(self.folder.join(&entry.name))?;
            }
        }
        Ok(())
    }

    fn shrink(&self) -> io::Result<()> {
        let mut entries = self.entries()?;
        entries.sort_by(|a, b| (b.used, &b.name).cmp(&(a.used, &a.name)));
        let mut sum = 0_u64;
        for entry in entries {
            sum = sum.saturating_add(entry.size_bytes);
            if sum > self.bytes_max {
                fs::remove_file(self.folder.join(&entry.name))?;
            }
        }
        Ok(())
    }

    fn entries(&self) -> io::Result<Vec<Entry>> {
        let listed = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed?,
        };
        let mut entries = Vec::new();
        for entry in listed {
            let entry = entry?;
            let about = entry.metadata()?;
            if about.is_file() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let (used, size_bytes) = (about.modified()?, about.len());
                entries.push(Entry { name, used, size_bytes });
            }
        }
        Ok(entries)
    }
}

struct Entry {
    name: String,
    used: SystemTime,
    size_bytes: u64,
}

struct Seals(hmac::Key);

impl fmt::Debug for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seals(…)")
    }
}

impl Seals {
    fn seal(&self, name: Name<'_>, rest: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [PURPOSE, name.content, name.fingerprint, rest] {
            context.update(part);
        }
        context.sign()
    }

    fn is_ours(&self, seal: &[u8], name: Name<'_>, rest: &[u8]) -> bool {
        use subtle::ConstantTimeEq as _;
        bool::from(self.seal(name, rest).as_ref().ct_eq(seal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    const NAME: Name<'_> = Name { content: &[1; 32], fingerprint: &[2; 32] };

    fn cache(folder: &Path) -> Cache {
        Cache::new(folder.join("compiled"), &[7; 32])
    }

    fn code(octets: &[u8]) -> MachineCode {
        MachineCode::of_our_compiler(octets.to_vec())
    }

    fn found(cache: &Cache, name: Name<'_>) -> Option<Vec<u8>> {
        cache.find(name).map(|(_module, code)| code.octets().to_vec())
    }

    #[test]
    fn what_was_kept_comes_back_to_its_owner_for_the_same_module_and_engine_only() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        assert_eq!(found(&cache, NAME), None);
        cache.put(NAME, &Module::default(), &code(b"code")).unwrap();
        assert_eq!(found(&cache, NAME).as_deref(), Some(&b"code"[..]));
        for other in [Name { content: &[3; 32], ..NAME }, Name { fingerprint: &[3; 32], ..NAME }] {
            assert_eq!(found(&cache, other), None);
            // Not even under another name.
            let path = |name: Name<'_>| cache.folder.join(name.to_string());
            fs::copy(path(NAME), path(other)).unwrap();
            assert_eq!(found(&cache, other), None);
        }
        let other_spool = Cache::new(cache.folder.clone(), &[8; 32]);
        assert_eq!(found(&other_spool, NAME), None);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&cache.folder), 0o700);
        assert_eq!(mode(&cache.folder.join(NAME.to_string())), 0o600);
    }

    #[test]
    fn no_damage_is_overlooked_and_a_new_entry_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        cache.put(NAME, &Module::default(), &code(b"code")).unwrap();
        let path = cache.folder.join(NAME.to_string());
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut octets = whole.clone();
            octets[at] ^= 1;
            fs::write(&path, &octets).unwrap();
            assert_eq!(found(&cache, NAME), None, "octet {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(found(&cache, NAME), None, "{at} octets");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(found(&cache, NAME), None);
        fs::remove_dir(&path).unwrap();
        cache.put(NAME, &Module::default(), &code(b"code")).unwrap();
        assert!(found(&cache, NAME).is_some());
    }

    #[test]
    fn what_runs_no_more_goes_and_beyond_the_bound_what_was_not_used_for_longest() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = cache(folder.path());
        let contents: [[u8; 32]; 3] = [[1; 32], [2; 32], [3; 32]];
        let name = |at: usize| Name { content: &contents[at], ..NAME };
        for (at, age) in [(0, 30), (1, 20)] {
            cache.put(name(at), &Module::default(), &code(&[0; 100])).unwrap();
            let file = File::options().write(true).open(cache.folder.join(name(at).to_string()));
            file.unwrap()
                .set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(100 - age))
                .unwrap();
        }
        assert!(found(&cache, name(0)).is_some(), "used now");
        let size = fs::metadata(cache.folder.join(name(0).to_string())).unwrap().len();
        cache.bytes_max = size * 5 / 2;
        cache.put(name(2), &Module::default(), &code(&[0; 100])).unwrap();
        let there = |cache: &Cache| [0, 1, 2].map(|at| found(cache, name(at)).is_some());
        assert_eq!(there(&cache), [true, false, true]);
        fs::write(cache.folder.join(".half.new"), "x").unwrap();
        cache.keep_only(&BTreeSet::from([contents[2]])).unwrap();
        assert_eq!(there(&cache), [false, false, true]);
        assert_eq!(fs::read_dir(&cache.folder).unwrap().count(), 1);
    }
}
