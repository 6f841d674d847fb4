//! Promises of the watch, on real files.

use std::os::unix::fs::symlink;

use super::*;

const SHORT: Duration = Duration::from_millis(60);
/// No change takes longer than this to be told, or the test fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// More than any file of these tests has.
const OCTETS_MAX: u64 = 1 << 20;

fn files(file: PathBuf) -> Watched {
    Watched { files: BTreeMap::from([(file, OCTETS_MAX)]), folders: Vec::new() }
}

struct Fixture {
    folder: tempfile::TempDir,
    watch: Watch,
    changes: tokio::sync::watch::Receiver<u64>,
}

impl Fixture {
    /// Watches `conf/a.yaml`, which says `one`, without help from looking every few seconds.
    fn new() -> Self {
        Self::polling(Duration::from_secs(3600))
    }

    fn polling(poll: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("conf")).unwrap();
        fs::write(folder.path().join("conf/a.yaml"), "one").unwrap();
        let watched = files(folder.path().join("conf/a.yaml"));
        let (watch, changes) = Watch::start_with(watched, SHORT, poll).unwrap();
        Self { folder, watch, changes }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    #[track_caller]
    fn expect_change(&mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let told = runtime
            .block_on(async { tokio::time::timeout(DEADLINE, self.changes.changed()).await });
        told.expect("the change is told").expect("the watch lives");
    }

    /// Makes another file change and waits until that is told: what came before it was looked at.
    #[track_caller]
    fn expect_one_change_by(&mut self, before: u64) {
        self.expect_change();
        assert_eq!(*self.changes.borrow_and_update(), before + 1, "only the last change is one");
    }
}

#[test]
fn a_file_written_in_place_is_told() {
    let mut fixture = Fixture::new();
    fixture.write("conf/a.yaml", "two");
    fixture.expect_change();
    fixture.write("conf/a.yaml", "three");
    fixture.expect_change();
}

#[test]
fn a_file_moved_over_it_is_told_again_and_again() {
    let mut fixture = Fixture::new();
    for text in ["two", "three", "four"] {
        fixture.write("conf/.a.yaml.tmp", text);
        fixture.rename("conf/.a.yaml.tmp", "conf/a.yaml");
        fixture.expect_change();
    }
}

#[test]
fn an_editor_that_keeps_a_backup_is_told_again_and_again() {
    let mut fixture = Fixture::new();
    for text in ["two", "three"] {
        fixture.rename("conf/a.yaml", "conf/a.yaml~");
        fixture.write("conf/a.yaml", text);
        fixture.expect_change();
    }
}

#[test]
fn a_swapped_link_to_a_folder_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (data, text) in [("..data_1", "one"), ("..data_2", "two"), ("..data_3", "three")] {
        fs::create_dir(path(data)).unwrap();
        fs::write(path(data).join("a.yaml"), text).unwrap();
    }
    symlink("..data_1", path("..data")).unwrap();
    symlink("..data/a.yaml", path("a.yaml")).unwrap();
    let watched = files(path("a.yaml"));
    let (watch, changes) = Watch::start_with(watched, SHORT, Duration::from_secs(3600)).unwrap();
    let mut fixture = Fixture { folder, watch, changes };
    for data in ["..data_2", "..data_3"] {
        symlink(data, fixture.path("..data_tmp")).unwrap();
        fixture.rename("..data_tmp", "..data");
        fixture.expect_change();
    }
}

#[test]
fn a_folder_made_again_is_found_by_looking() {
    let mut fixture = Fixture::polling(SHORT);
    fs::remove_dir_all(fixture.path("conf")).unwrap();
    fixture.expect_change();
    fs::create_dir(fixture.path("conf")).unwrap();
    fixture.write("conf/a.yaml", "two");
    fixture.expect_change();
    fixture.write("conf/a.yaml", "three");
    fixture.expect_change();
}

#[test]
fn what_is_only_read_or_written_as_it_was_is_no_change() {
    let mut fixture = Fixture::new();
    let before = *fixture.changes.borrow();
    for _ in 0..10 {
        assert_eq!(fs::read_to_string(fixture.path("conf/a.yaml")).unwrap(), "one");
        // Moved, because a file being written is empty for a moment, which is a change.
        fixture.write("conf/other", "one");
        fixture.rename("conf/other", "conf/a.yaml");
        fixture.write("conf/other", "noise");
    }
    fixture.write("conf/.a.yaml.tmp", "two");
    fixture.rename("conf/.a.yaml.tmp", "conf/a.yaml");
    fixture.expect_one_change_by(before);
}

#[test]
fn a_file_that_appears_in_a_watched_folder_is_told() {
    let mut fixture = Fixture::new();
    fs::create_dir(fixture.path("plugins")).unwrap();
    let path = fixture.path("plugins");
    let folders = vec![Folder { path, suffix: ".wasm", octets_max: OCTETS_MAX }];
    fixture.watch.set(Watched { folders, ..files(fixture.path("conf/a.yaml")) });
    // The files to watch are others than before.
    fixture.expect_change();
    fixture.write("plugins/new.wasm", "\0asm");
    fixture.expect_change();
    fs::remove_file(fixture.path("plugins/new.wasm")).unwrap();
    fixture.expect_change();
}

#[test]
fn the_same_files_again_are_no_change() {
    let mut fixture = Fixture::new();
    let before = *fixture.changes.borrow();
    fixture.watch.set(files(fixture.path("conf/a.yaml")));
    fixture.write("conf/.a.yaml.tmp", "two");
    fixture.rename("conf/.a.yaml.tmp", "conf/a.yaml");
    fixture.expect_one_change_by(before);
}

#[test]
fn a_burst_of_writes_is_few_changes() {
    let mut fixture = Fixture::new();
    for number in 0..200 {
        fixture.write("conf/a.yaml", &number.to_string());
    }
    fixture.expect_change();
    assert!(*fixture.changes.borrow() < 20);
}

#[test]
fn a_dropped_watch_ends() {
    let Fixture { watch, mut changes, folder } = Fixture::new();
    drop(watch);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(runtime.block_on(changes.changed()).is_err());
    drop(folder);
}
