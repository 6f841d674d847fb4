//! Reads everything in a spool and compares it with everything else in it.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};

use fjall::{AbstractTree as _, Keyspace};

use super::guard::guarded;
use super::journal::{self, Trouble};
use super::lock::DirectoryLock;
use super::open::{Spaces, look_before, open_database};
use super::record::{self, Body};
use super::{Space, expiry_key, layout, unread};
use crate::entry::{NEVER_MS, NO_BODY};
use crate::error::{OpenError, ReadError};
use crate::options::Options;
use crate::spool::OpenReport;
use crate::verify::Verified;

const RESTORE: &str = "keep a copy of the folder, then restore it from a backup, or move it away and start with an empty one";
const EXPORT: &str = "`wirepost spool export` what can be read, and import it into an empty folder";
const SET_ASIDE: &str = "it is set aside at the next opening and kept as evidence: `wirepost spool dump --aside`; ask its sender to send it again";
const LOOK: &str = "it is kept as evidence, and its body with it: `wirepost spool dump --aside` shows it; ask its sender to send it again";
const SENDER: &str = "the message cannot be delivered: `wirepost queue delete` its deliveries when the router runs, and ask its sender to send it again";
const KEY: &str = "what it stood for, such as the way of a receipt back, is not found any more; it does no other harm";
const HARMLESS: &str =
    "it only takes space, and is gone after an export and an import into an empty folder";

/// Checks the spool in a folder that nobody has open.
///
/// The torn end of a journal is cut off and kept, as at any opening; nothing else is changed.
pub(crate) fn verify(path: &Path, options: &Options) -> Result<Verified, OpenError> {
    let mut found = Verified::default();
    let db = path.join("db");
    if !db.is_dir() {
        return Err(OpenError::Missing { path: path.to_owned() });
    }
    let lock = DirectoryLock::take(path)?;
    if read_before(&db, &mut found)? {
        let mut report = OpenReport::default();
        look_before(path, &db, &mut report)?;
        found.torn = report.torn.take();
        match open_database(path, options, &mut report) {
            Ok((database, spaces, _)) => {
                let mut check = Check { path, spaces: &spaces, found, needed: BTreeMap::new() };
                let all = || {
                    check.all();
                    Ok(())
                };
                if let Err(reason) = guarded(all, |panic| panic) {
                    check.found.find(db.display().to_string(), reason, RESTORE);
                }
                found = check.found;
                drop(database);
            }
            Err(OpenError::Damaged { reason, .. }) => found.find(shown(&db), reason, RESTORE),
            Err(other) => return Err(other),
        }
    }
    drop(lock);
    Ok(found)
}

/// The files that the database would act upon; false if it must not.
fn read_before(db: &Path, found: &mut Verified) -> Result<bool, OpenError> {
    if let Err(missing) = layout::check(db) {
        found.find(shown(&missing.file), missing.reason, RESTORE);
        return Ok(false);
    }
    match journal::check(db) {
        Ok(checked) => {
            found.groups = checked.groups;
            found.bytes += checked.bytes;
            Ok(true)
        }
        Err(Trouble::Damaged { journal, at, reason }) => {
            let reason = format!("it cannot be read from byte {at} on, and {reason}");
            found.find(shown(&journal), reason, RESTORE);
            Ok(false)
        }
        Err(Trouble::Io(path, source)) => Err(OpenError::Io { doing: "read", path, source }),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

struct Check<'a> {
    path: &'a Path,
    spaces: &'a Spaces,
    found: Verified,
    /// Bodies, and the first entry that needs each; 0 if only evidence does.
    needed: BTreeMap<u64, u64>,
}

impl Check<'_> {
    fn all(&mut self) {
        let spaces = self.spaces;
        for space in [
            &spaces.meta,
            &spaces.entries,
            &spaces.bodies,
            &spaces.keys,
            &spaces.expiry,
            &spaces.corrupt,
        ] {
            self.files(space);
        }
        self.entries();
        self.aside();
        self.bodies();
        self.unneeded_bodies();
        self.body_files();
        self.keys();
        self.notes();
    }

    /// The checksums of whole tables: this names the file.
    fn files(&mut self, space: &Keyspace) {
        let version = space.tree.current_version();
        let tables = version
            .iter_tables()
            .map(|table| (table.path.as_ref().clone(), table.checksum().into_u128()));
        let blobs = version.blob_files.iter();
        let blobs = blobs.map(|blob| (blob.path().to_owned(), blob.checksum().into_u128()));
        let files: Vec<(PathBuf, u128)> = tables.chain(blobs).collect();
        for (file, checksum) in files {
            match layout::hash(&file) {
                Ok(found) if found == checksum => {
                    self.found.files += 1;
                    self.found.bytes += fs::metadata(&file).map_or(0, |metadata| metadata.len());
                }
                Ok(_) => self.found.find(
                    shown(&file),
                    format!("its checksum does not match: some {} are damaged", space.name()),
                    EXPORT,
                ),
                // A table that was merged into another meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => self.found.find(shown(&file), error.to_string(), EXPORT),
            }
        }
    }

    fn entries(&mut self) {
        for pair in self.spaces.entries.iter() {
            let (key, value) = match pair.into_inner() {
                Ok(pair) => pair,
                Err(error) => return self.stopped("entries", &error),
            };
            let id = <[u8; 8]>::try_from(&*key).map(u64::from_be_bytes);
            let decoded = match id {
                Ok(id) => record::decode_entry(id, &value),
                Err(_) => Err("its key is not an id"),
            };
            match decoded {
                Ok(entry) => {
                    self.found.entries += 1;
                    if entry.body != NO_BODY {
                        self.needed.entry(entry.body).or_insert(entry.id);
                    }
                }
                Err(reason) => {
                    let name = Space::Entries.name_of(&key);
                    self.found.find(format!("entry {name}"), reason, SET_ASIDE);
                    self.pin(&value);
                }
            }
        }
    }

    fn aside(&mut self) {
        for pair in self.spaces.corrupt.iter() {
            let (key, value) = match pair.into_inner() {
                Ok(pair) => pair,
                Err(error) => return self.stopped("what was set aside", &error),
            };
            self.found.aside += 1;
            let name = Space::Entries.name_of(&key);
            self.found.find(format!("entry {name}"), "it was set aside as corrupt", LOOK);
            self.pin(&value);
        }
    }

    /// Evidence keeps its body.
    fn pin(&mut self, evidence: &[u8]) {
        let body = record::guess_body(evidence).filter(|&body| body != NO_BODY);
        if let Some(body) = body {
            self.needed.entry(body).or_insert(0);
        }
    }

    /// Each by its id, so that a damaged one does not hide the others.
    fn bodies(&mut self) {
        for (body, entry) in std::mem::take(&mut self.needed) {
            let key = body.to_be_bytes();
            let what = || format!("body {body}");
            match self.spaces.bodies.get(key) {
                Ok(Some(value)) => match record::decode_body(body, &value) {
                    Ok(Body::Inline(_)) => self.found.bodies += 1,
                    Ok(Body::File { len, crc }) => self.body_file(body, len, crc),
                    Err(reason) => self.found.find(what(), reason, SENDER),
                },
                Ok(None) if entry == 0 => {}
                Ok(None) => {
                    let reason = format!("entry {entry} needs it, and it is not there");
                    self.found.find(what(), reason, SENDER);
                }
                Err(error) => {
                    let reason = match unread(Space::Bodies, &key, &error) {
                        ReadError::Corrupt { reason, .. } => reason.to_owned(),
                        ReadError::Io(reason) => reason,
                    };
                    self.found.find(what(), reason, SENDER);
                }
            }
            self.needed.insert(body, entry);
        }
    }

    fn body_file(&mut self, body: u64, len: u64, crc: u32) {
        let (file, content) = super::files::find(&self.path.join("bodies"), body, len, crc);
        match content {
            Ok(_) => {
                self.found.bodies += 1;
                self.found.body_files += 1;
                self.found.bytes += len;
            }
            Err(reason) => self.found.find(shown(&file), reason, SENDER),
        }
    }

    fn unneeded_bodies(&mut self) {
        for pair in self.spaces.bodies.iter() {
            let key = match pair.key() {
                Ok(key) => key,
                Err(error) => return self.stopped("bodies", &error),
            };
            let id = <[u8; 8]>::try_from(&*key).map(u64::from_be_bytes);
            if !id.is_ok_and(|id| self.needed.contains_key(&id)) {
                let name = Space::Bodies.name_of(&key);
                self.found.find(format!("body {name}"), "no entry needs it", HARMLESS);
            }
        }
    }

    /// Files that nothing names go at the next opening; what is no file of ours is said.
    fn body_files(&mut self) {
        let Ok(files) = fs::read_dir(self.path.join("bodies")) else { return };
        let strange = |file: &DirEntry| !file.file_type().is_ok_and(|kind| kind.is_file());
        for file in files.filter_map(Result::ok).filter(strange) {
            self.found.find(shown(&file.path()), "it is no file of a body", "move it away");
        }
    }

    fn keys(&mut self) {
        for pair in self.spaces.keys.iter() {
            let (key, value) = match pair.into_inner() {
                Ok(pair) => pair,
                Err(error) => return self.stopped("keys", &error),
            };
            let what = || format!("key {}", Space::Keys.name_of(&key));
            match record::decode_key(&key, &value) {
                Ok(read) => {
                    self.found.keys += 1;
                    let noted = read.expires_ms == NEVER_MS
                        || self
                            .spaces
                            .expiry
                            .contains_key(expiry_key(read.expires_ms, &key))
                            .unwrap_or(true);
                    if !noted {
                        let reason = "no note says when it expires: it is never swept";
                        self.found.find(what(), reason, HARMLESS);
                    }
                }
                Err(reason) => self.found.find(what(), reason, KEY),
            }
        }
    }

    fn notes(&mut self) {
        for pair in self.spaces.expiry.iter() {
            let note = match pair.key() {
                Ok(note) => note,
                Err(error) => return self.stopped("notes of when keys expire", &error),
            };
            let Some((expires_ms, key)) = note.split_first_chunk::<8>() else {
                self.found.find(format!("note {note:?}"), "it is too short", HARMLESS);
                continue;
            };
            self.found.notes += 1;
            let record = self.spaces.keys.get(key).ok().flatten();
            let read = record.and_then(|record| record::decode_key(key, &record).ok());
            if read.is_none_or(|read| read.expires_ms != u64::from_be_bytes(*expires_ms)) {
                self.found.outdated_notes += 1;
            }
        }
    }

    fn stopped(&mut self, what: &str, error: &fjall::Error) {
        let reason = format!("they cannot be read any further: {error}");
        self.found.find(format!("{what} in {}", shown(&self.path.join("db"))), reason, RESTORE);
    }
}
