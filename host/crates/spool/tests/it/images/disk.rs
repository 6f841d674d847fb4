//! A disk as a power cut leaves it: what was synced is there, and of the rest anything may be.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};

use super::history::Dice;
use super::trace::{Event, Place, Timed, below};

/// A page is written as a whole or not at all.
const PAGE: usize = 4096;

type Node = usize;
/// The folder of the spool.
const ROOT: Node = 0;

#[derive(Debug, Clone)]
enum Change {
    // Of a file.
    Write(u64, Vec<u8>),
    Resize(u64),
    // Of a folder.
    Link(String, Node),
    Unlink(String),
    Rename(String, String),
}

#[derive(Debug, Default)]
struct Inode {
    folder: bool,
    /// What a file held when the recording began.
    base: Option<PathBuf>,
    /// Its length now, as the process sees it.
    len: u64,
    /// What was done to it, and when.
    changes: Vec<(usize, Change)>,
    /// Syncs: when they began, and when they were done.
    syncs: Vec<(usize, usize)>,
    /// Who was in a folder when the recording began.
    names_before: BTreeMap<String, Node>,
    /// Who is in it now, as the process sees it.
    names: BTreeMap<String, Node>,
}

/// Everything that a recorded process did to a folder.
#[derive(Debug)]
pub(crate) struct Disk {
    inodes: Vec<Inode>,
    /// Every point in time at which something was done.
    pub(crate) moments: Vec<usize>,
    /// Those at which a journal was written: a cut then is in the middle of a group.
    writes: Vec<usize>,
    /// Names become durable with a sync of their folder only, as POSIX has it. Otherwise a sync of
    /// a new file makes its name durable too, as ext4, XFS and Btrfs do.
    pub(crate) strict: bool,
}

/// How much of what was not synced is there.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Nothing,
    Everything,
    Prefix,
    Scattered,
}

impl Disk {
    /// From a folder as it was before, whose files are all durable, and what was done below `root`.
    pub(crate) fn new(before: &Path, root: &Path, events: &[Timed]) -> Self {
        let mut disk = Self { inodes: vec![], moments: vec![], writes: vec![], strict: false };
        disk.add(Inode { folder: true, ..Inode::default() });
        disk.take_in(ROOT, before);
        for timed in events {
            disk.play(root, timed);
        }
        disk
    }

    fn add(&mut self, inode: Inode) -> Node {
        self.inodes.push(inode);
        self.inodes.len() - 1
    }

    fn take_in(&mut self, folder: Node, path: &Path) {
        let mut files: Vec<_> = fs::read_dir(path).unwrap().map(Result::unwrap).collect();
        files.sort_by_key(fs::DirEntry::file_name);
        for file in files {
            let name = file.file_name().into_string().unwrap();
            let is_folder = file.file_type().unwrap().is_dir();
            let len = file.metadata().unwrap().len();
            let base = (!is_folder).then(|| file.path());
            let node = self.add(Inode { folder: is_folder, base, len, ..Inode::default() });
            self.inodes[folder].names.insert(name.clone(), node);
            self.inodes[folder].names_before.insert(name, node);
            if is_folder {
                self.take_in(node, &file.path());
            }
        }
    }

    fn play(&mut self, root: &Path, timed: &Timed) {
        let when = timed.done;
        let inside = |path: &Path| below(path, root);
        match &timed.event {
            Event::Create(path) => {
                let Some(path) = inside(path) else { return };
                if self.find(&path).is_none() {
                    self.link(when, &path, false);
                }
            }
            Event::Folder(path) => {
                let Some(path) = inside(path) else { return };
                if !path.as_os_str().is_empty() {
                    self.link(when, &path, true);
                }
            }
            Event::Write { path, at, bytes } => {
                let Some(path) = inside(path) else { return };
                // A file without a name is lost in any case.
                let Some(node) = self.find(&path) else { return };
                let file = &mut self.inodes[node];
                let at = match at {
                    Place::At(at) => *at,
                    Place::End => file.len,
                };
                file.len = file.len.max(at + bytes.len() as u64);
                file.changes.push((when, Change::Write(at, bytes.clone())));
                if path.extension().is_some_and(|extension| extension == "jnl") {
                    self.writes.push(when);
                }
            }
            Event::Resize(path, len) => {
                let Some(node) = inside(path).and_then(|path| self.find(&path)) else { return };
                let file = &mut self.inodes[node];
                if file.len != *len {
                    file.len = *len;
                    file.changes.push((when, Change::Resize(*len)));
                }
            }
            Event::Sync(path) => {
                let Some(node) = inside(path).and_then(|path| self.find(&path)) else { return };
                self.inodes[node].syncs.push((timed.began, when));
            }
            Event::Rename(from, to) => {
                let (Some(from), Some(to)) = (inside(from), inside(to)) else { return };
                self.rename(when, &from, &to);
            }
            Event::Remove(path) => {
                let Some(path) = inside(path) else { return };
                let (folder, name) = self.parent(&path);
                self.inodes[folder].names.remove(&name);
                self.inodes[folder].changes.push((when, Change::Unlink(name)));
            }
        }
        self.moments.push(when);
    }

    fn link(&mut self, when: usize, path: &Path, folder: bool) {
        let (parent, name) = self.parent(path);
        let node = self.add(Inode { folder, ..Inode::default() });
        self.inodes[parent].names.insert(name.clone(), node);
        self.inodes[parent].changes.push((when, Change::Link(name, node)));
    }

    fn rename(&mut self, when: usize, from: &Path, to: &Path) {
        let ((folder, from), (other, to)) = (self.parent(from), self.parent(to));
        assert_eq!(folder, other, "a rename from one folder to another is not understood");
        let inode = &mut self.inodes[folder];
        let node = inode.names.remove(&from).unwrap();
        inode.names.insert(to.clone(), node);
        inode.changes.push((when, Change::Rename(from, to)));
    }

    fn parent(&self, path: &Path) -> (Node, String) {
        let folder = self.find(path.parent().unwrap()).unwrap();
        (folder, path.file_name().unwrap().to_str().unwrap().to_owned())
    }

    fn find(&self, path: &Path) -> Option<Node> {
        path.components().try_fold(ROOT, |node, part| match part {
            Component::Normal(name) => self.inodes[node].names.get(name.to_str()?).copied(),
            _ => Some(node),
        })
    }

    /// When to cut: at any moment, or, as often, while a group is written.
    pub(crate) fn moment(&self, dice: &mut Dice) -> usize {
        let list = if dice.one_in(2) { &self.moments } else { &self.writes };
        list[dice.below(list.len())]
    }

    /// Writes what a power cut at `moment` may leave into an empty folder.
    pub(crate) fn image(&self, moment: usize, dice: &mut Dice, to: &Path) {
        let pinned = if self.strict { HashMap::new() } else { self.pinned(moment) };
        self.folder(ROOT, moment, dice, &pinned, to);
    }

    /// A sync of something new makes its name durable, and so all before it in its folder: when each
    /// was linked.
    fn pinned(&self, moment: usize) -> HashMap<Node, usize> {
        let links = self.inodes.iter().flat_map(|inode| &inode.changes).filter_map(|change| {
            let (when, Change::Link(_, node)) = change else { return None };
            Some((*node, *when))
        });
        let synced = |&(node, when): &(Node, usize)| self.synced_before(node, moment) > Some(when);
        links.filter(synced).collect()
    }

    /// When the last sync began that was done by then.
    fn synced_before(&self, node: Node, moment: usize) -> Option<usize> {
        let syncs = self.inodes[node].syncs.iter();
        syncs.filter(|(_, done)| *done <= moment).map(|(began, _)| *began).max()
    }

    fn folder(
        &self,
        node: Node,
        moment: usize,
        dice: &mut Dice,
        pinned: &HashMap<Node, usize>,
        to: &Path,
    ) {
        let inode = &self.inodes[node];
        let mut durable = self.synced_before(node, moment).unwrap_or(0);
        for (when, change) in &inode.changes {
            if let Change::Link(_, child) = change
                && pinned.get(child) == Some(when)
            {
                durable = durable.max(*when + 1);
            }
        }
        let pending = inode.changes.iter().filter(|(when, _)| (durable..=moment).contains(when));
        let kept = match fate(dice) {
            Fate::Nothing => 0,
            Fate::Everything => usize::MAX,
            Fate::Prefix | Fate::Scattered => dice.below(pending.count() + 1),
        };
        let mut names = inode.names_before.clone();
        let mut seen = 0;
        for (when, change) in inode.changes.iter().filter(|(when, _)| *when <= moment) {
            if *when >= durable {
                seen += 1;
                if seen > kept {
                    break;
                }
            }
            match change {
                Change::Link(name, child) => drop(names.insert(name.clone(), *child)),
                Change::Unlink(name) => drop(names.remove(name)),
                Change::Rename(from, to) => {
                    let child = names.remove(from).unwrap();
                    names.insert(to.clone(), child);
                }
                Change::Write(..) | Change::Resize(_) => unreachable!("those are for files"),
            }
        }
        for (name, child) in names {
            let path = to.join(name);
            if self.inodes[child].folder {
                fs::create_dir(&path).unwrap();
                self.folder(child, moment, dice, pinned, &path);
            } else {
                self.file(child, moment, dice, &path);
            }
        }
    }

    fn file(&self, node: Node, moment: usize, dice: &mut Dice, to: &Path) {
        let inode = &self.inodes[node];
        let mut file = match &inode.base {
            Some(base) => {
                fs::copy(base, to).unwrap();
                OpenOptions::new().write(true).open(to).unwrap()
            }
            None => File::create(to).unwrap(),
        };
        let durable = self.synced_before(node, moment).unwrap_or(0);
        let changes = inode.changes.iter().filter(|(when, _)| *when <= moment);
        let (synced, pending): (Vec<_>, Vec<_>) = changes.partition(|(when, _)| *when < durable);
        for (_, change) in synced {
            apply(&mut file, change);
        }
        let fate = fate(dice);
        let kept = dice.below(pending.len() + 1);
        for (number, (_, change)) in pending.into_iter().enumerate() {
            match (fate, number.cmp(&kept)) {
                (Fate::Nothing, _) | (Fate::Prefix, std::cmp::Ordering::Greater) => {}
                (Fate::Everything, _) | (Fate::Prefix, std::cmp::Ordering::Less) => {
                    apply(&mut file, change);
                }
                (Fate::Prefix, std::cmp::Ordering::Equal) => tear(&mut file, change, dice),
                (Fate::Scattered, _) => scatter(&mut file, change, dice),
            }
        }
    }
}

fn fate(dice: &mut Dice) -> Fate {
    match dice.below(6) {
        0 => Fate::Nothing,
        1 => Fate::Everything,
        2 | 3 => Fate::Prefix,
        _ => Fate::Scattered,
    }
}

fn apply(file: &mut File, change: &Change) {
    match change {
        Change::Write(at, bytes) => {
            file.seek(SeekFrom::Start(*at)).unwrap();
            file.write_all(bytes).unwrap();
        }
        Change::Resize(len) => file.set_len(*len).unwrap(),
        _ => unreachable!("those are for folders"),
    }
}

/// The beginning of a write, up to any byte.
fn tear(file: &mut File, change: &Change, dice: &mut Dice) {
    if let Change::Write(at, bytes) = change {
        apply(file, &Change::Write(*at, bytes[..dice.below(bytes.len() + 1)].to_vec()));
    }
}

/// Any of the pages of a write.
fn scatter(file: &mut File, change: &Change, dice: &mut Dice) {
    let Change::Write(at, bytes) = change else {
        if dice.one_in(2) {
            apply(file, change);
        }
        return;
    };
    let (mut at, mut rest) = (*at, bytes.as_slice());
    while !rest.is_empty() {
        let to_next_page = PAGE - usize::try_from(at % PAGE as u64).unwrap();
        let (page, more) = rest.split_at(to_next_page.min(rest.len()));
        if !dice.one_in(3) {
            apply(file, &Change::Write(at, page.to_vec()));
        }
        at += page.len() as u64;
        rest = more;
    }
}
