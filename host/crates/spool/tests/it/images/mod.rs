//! Power cuts: what a real store writes and syncs is recorded, disks are rebuilt as a cut at any
//! moment may leave them, and each is opened with the real store.
//!
//! Found must be exactly a state that the history went through: no older than the last step that
//! was proven before the cut, no newer than the last one that was begun, with every body readable.
//! So nothing proven is lost, nothing half of a batch is seen, nothing removed comes back.
//!
//! `WIREPOST_SPOOL_CUTS` says how many cuts (default 120), `WIREPOST_SPOOL_SEED` makes it other ones.
//! `WIREPOST_SPOOL_STRICT` takes a name to be durable only when its folder was synced, which is less
//! than ext4, XFS and Btrfs keep and more than fjall does for the files of larger bodies.
//! A failure keeps the recording and prints the command that replays it.

mod disk;
mod history;
mod trace;

use std::collections::VecDeque;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use wirepost_spool::{Options, Spool};

use self::disk::Disk;
pub(crate) use self::history::Dice;
use self::history::{History, State, Step, batch};
use self::trace::{Event, Reader, Timed};
use crate::common::{options, wait};

/// Set for the child: its work as `SEED FILL FIRST COUNT`.
const WORK: &str = "WIREPOST_SPOOL_WORK";
/// Steps of one recording.
const STEPS: u64 = 260;
/// Commits of the child that wait at the same time.
const OUTSTANDING: usize = 4;
/// One MiB each; fjall begins the next journal behind 64,000,000 bytes.
const FILL: u64 = 61;

/// Small tables, so that a short history makes and merges many.
fn small() -> Options {
    Options { memtable_bytes: 12 * 1024, ..options() }
}

/// What the child does: steps of a history, each noted in `oracle` before and after.
#[test]
fn child() {
    let Some(work) = std::env::var_os(WORK) else { return };
    let work = work.into_string().unwrap();
    let numbers: Vec<u64> = work.split(' ').map(|number| number.parse().unwrap()).collect();
    let history = History { seed: numbers[0], fill: numbers[1] };
    let mut oracle = fs::OpenOptions::new().append(true).create(true).open("oracle").unwrap();
    let mut note = |what: &str, number: u64| {
        oracle.write_all(format!("{what} {number}\n").as_bytes()).unwrap();
    };
    run(history, numbers[2], numbers[3], Path::new("spool"), &mut note);
}

/// Does `count` steps from `first` on.
fn run(history: History, first: u64, count: u64, path: &Path, note: &mut impl FnMut(&str, u64)) {
    let mut state = history.states(first).pop().unwrap();
    let open = || Spool::open_fjall(path, small()).unwrap().0;
    let mut spool = open();
    let mut waiting = VecDeque::new();
    for number in first..first + count {
        let step = history.step(number, &state);
        note("begun", number);
        let mut outstanding = if number < history.fill { 0 } else { OUTSTANDING };
        match &step {
            Step::Commit(changes) => {
                waiting.push_back((number, spool.commit(batch(changes, &state))));
            }
            Step::Later(changes) => spool.commit_later(batch(changes, &state)).unwrap(),
            Step::Sweep(now_ms) => {
                // What comes in the same group as a sweep is left alone by it.
                drop(wait(spool.flush()).unwrap());
                wait(spool.sweep_keys(*now_ms, 1000)).unwrap();
                outstanding = 0;
            }
            Step::Reopen => {
                spool.close();
                note("proven", number);
                spool = open();
                outstanding = 0;
            }
        }
        state.apply(&step);
        while waiting.len() > outstanding {
            let (number, commit) = waiting.pop_front().unwrap();
            drop(wait(commit).unwrap());
            note("proven", number);
        }
    }
    for (number, commit) in waiting {
        drop(wait(commit).unwrap());
        note("proven", number);
    }
}

/// One recording: the disk before it (`before`), what was done (`record`), and by whom.
struct Recording {
    place: PathBuf,
    /// Where it was made; the record has paths in it.
    root: PathBuf,
    history: History,
    first: u64,
    _made_here: Option<TempDir>,
}

impl Recording {
    /// Records `count` steps from `first` on, of the spool that `before` holds.
    fn make(history: History, first: u64, count: u64, temporary: TempDir) -> Self {
        let place = temporary.path().canonicalize().unwrap();
        copy(&place.join("before"), &place.join("spool"));
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-xx", "-s", "16777216", "-o", "record", "-e", trace::CALLS]);
        strace.arg(std::env::current_exe().unwrap());
        strace.args(["--exact", "images::child", "--nocapture", "--test-threads=1"]);
        let History { seed, fill } = history;
        strace.env(WORK, format!("{seed} {fill} {first} {count}")).current_dir(&place);
        let done = strace.stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let about = format!("{seed} {fill} {first} {}", place.display());
        fs::write(place.join("about"), about).unwrap();
        Self { root: place.clone(), place, history, first, _made_here: Some(temporary) }
    }

    /// One that was kept.
    fn load(place: PathBuf) -> Self {
        let about = fs::read_to_string(place.join("about")).unwrap();
        let words: Vec<&str> = about.splitn(4, ' ').collect();
        let number = |at: usize| words[at].parse().unwrap();
        let history = History { seed: number(0), fill: number(1) };
        Self { place, root: words[3].into(), history, first: number(2), _made_here: None }
    }

    /// What was done, with paths from its folder on.
    fn events(&self) -> Vec<Timed> {
        let record = fs::read_to_string(self.place.join("record")).unwrap();
        let short = |path: &mut PathBuf| {
            if let Ok(inside) = path.strip_prefix(&self.root) {
                *path = inside.to_owned();
            }
        };
        let mut events = Reader::read(&record);
        for timed in &mut events {
            match &mut timed.event {
                Event::Create(path)
                | Event::Folder(path)
                | Event::Write { path, .. }
                | Event::Resize(path, _)
                | Event::Sync(path)
                | Event::Remove(path) => short(path),
                Event::Rename(from, to) => {
                    short(from);
                    short(to);
                }
            }
        }
        events
    }

    /// Keeps it for a replay, with the image that failed.
    fn keep(&self, image: &Path) -> PathBuf {
        let name = format!("film-{}-{}", self.history.seed, std::process::id());
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        copy(&self.place, &kept);
        copy(image, &kept.join("image"));
        kept
    }
}

/// A recording, understood.
struct Film {
    recording: Recording,
    disk: Disk,
    /// When which step was begun or proven.
    begun: Vec<(usize, u64)>,
    proven: Vec<(usize, u64)>,
    states: Vec<State>,
}

impl Film {
    fn new(recording: Recording) -> Self {
        let events = recording.events();
        let mut disk = Disk::new(&recording.place.join("before"), Path::new("spool"), &events);
        disk.strict = std::env::var_os("WIREPOST_SPOOL_STRICT").is_some();
        let (mut begun, mut proven) = (vec![], vec![]);
        for timed in &events {
            let Event::Write { path, bytes, .. } = &timed.event else { continue };
            if path == Path::new("oracle") {
                let line = std::str::from_utf8(bytes).unwrap().trim();
                let (what, number) = line.split_once(' ').unwrap();
                let list = if what == "begun" { &mut begun } else { &mut proven };
                list.push((timed.done, number.parse().unwrap()));
            }
        }
        let last = begun.last().map_or(recording.first, |(_, number)| number + 1);
        let states = recording.history.states(last);
        Self { recording, disk, begun, proven, states }
    }

    /// The first and the last step after which the spool may stand, by number of states.
    fn range(&self, moment: usize) -> (usize, usize) {
        let latest = |list: &[(usize, u64)]| {
            let before = list.iter().filter(|(when, _)| *when <= moment);
            before.map(|(_, number)| number + 1).max()
        };
        let proven = latest(&self.proven).unwrap_or(self.recording.first);
        let begun = latest(&self.begun).unwrap_or(self.recording.first);
        (usize::try_from(proven).unwrap(), usize::try_from(begun).unwrap())
    }

    /// Rebuilds the disk as a cut at `moment` leaves it, opens it and looks.
    fn cut(&self, moment: usize, seed: u64, to: &Path) -> Result<(), String> {
        let mut dice = Dice::new(seed, moment as u64);
        fs::create_dir(to).unwrap();
        self.disk.image(moment, &mut dice, to);
        let (spool, report) =
            Spool::open_fjall(to, small()).map_err(|error| format!("it does not open: {error}"))?;
        if !report.corrupt.is_empty() {
            return Err(format!("set aside: {:?}", report.corrupt));
        }
        let found = State::read(&spool)?;
        let at = self.match_state(moment, &found)?;
        // It goes on from there as if nothing had happened.
        let number = at as u64;
        let mut state = found;
        let step = Step::Commit(self.recording.history.after(number, &state));
        let Step::Commit(changes) = &step else { unreachable!() };
        drop(wait(spool.commit(batch(changes, &state))).map_err(|error| error.to_string())?);
        state.apply(&step);
        spool.close();
        let (spool, _) = Spool::open_fjall(to, small()).map_err(|error| error.to_string())?;
        let again = State::read(&spool)?;
        if again == state { Ok(()) } else { Err(format!("later: {}", state.difference(&again))) }
    }

    /// Which of the states that are possible at `moment` was found.
    fn match_state(&self, moment: usize, found: &State) -> Result<usize, String> {
        let (proven, begun) = self.range(moment);
        if let Some(at) = (proven..=begun).find(|&at| self.states[at] == *found) {
            return Ok(at);
        }
        let stands = found.progress().map_or(0, |number| number + 1);
        let nearest = usize::try_from(stands).unwrap().clamp(0, self.states.len() - 1);
        Err(format!(
            "it stands after step {stands}, proven were {proven}, begun {begun}; to the state after {nearest}: {}",
            self.states[nearest].difference(found)
        ))
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &target);
        } else {
            fs::copy(file.path(), target).unwrap();
        }
    }
}

/// Memory, if there is some: a rebuilt disk has no need to be on one.
pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn no_strace(test: &str) -> bool {
    let missing = Command::new("strace").arg("-V").output().is_err();
    if missing {
        eprintln!("{test}: skipped, strace is not installed");
    }
    missing
}

/// Cuts a film at `cuts` moments, and says how to do it again if one of them is wrong.
fn cut_often(film: &Film, seed: u64, cuts: u64) {
    let scratch = scratch();
    let mut dice = Dice::new(seed, 1);
    for _ in 0..cuts {
        let moment = film.disk.moment(&mut dice);
        let image = scratch.path().join("image");
        let seed = dice.next();
        if let Err(what) = film.cut(moment, seed, &image) {
            let kept = film.recording.keep(&image);
            panic!(
                "a power cut at moment {moment}: {what}\n{0}/image is what it left, after the attempt; again with\n\
                 WIREPOST_SPOOL_FILM={0} WIREPOST_SPOOL_MOMENT={moment} WIREPOST_SPOOL_SEED={seed} \
                 cargo test -p wirepost-spool --test it images::a_film_that_was_kept_has_a_good_end",
                kept.display()
            );
        }
        fs::remove_dir_all(&image).unwrap();
    }
}

/// Records a history, cuts it, records on from what a cut left, and so on: the later recordings
/// begin with the recovery from a cut.
fn generations(history: History, generations: u64, cuts: u64) {
    let mut place = tempfile::tempdir().unwrap();
    let mut first = history.fill;
    run(history, 0, history.fill, &place.path().join("before"), &mut |_, _| {});
    if history.fill == 0 {
        fs::remove_dir_all(place.path().join("before")).unwrap();
        fs::create_dir(place.path().join("before")).unwrap();
    }
    for generation in 0..generations {
        let film = Film::new(Recording::make(history, first, STEPS, place));
        let seed = history.seed.wrapping_add(generation << 32);
        println!("from step {first}: {} moments, {cuts} cuts", film.disk.moments.len());
        cut_often(&film, seed, cuts);
        place = tempfile::tempdir().unwrap();
        first = film.leave(seed, &place.path().join("before"));
    }
}

impl Film {
    /// Leaves an image of a cut that nobody has opened yet; says which step is next in it.
    fn leave(&self, seed: u64, to: &Path) -> u64 {
        let moments = &self.disk.moments;
        let moment = moments[moments.len() / 2 + Dice::new(seed, 3).below(moments.len() / 2)];
        fs::create_dir(to).unwrap();
        self.disk.image(moment, &mut Dice::new(seed, moment as u64), to);
        let copied = tempfile::tempdir().unwrap();
        copy(to, copied.path());
        let (spool, _) = Spool::open_fjall(copied.path(), small()).unwrap();
        self.match_state(moment, &State::read(&spool).unwrap()).unwrap() as u64
    }
}

/// The seed of this run, which is printed.
pub(crate) fn seed() -> u64 {
    let seed = number("WIREPOST_SPOOL_SEED").unwrap_or(1);
    println!("WIREPOST_SPOOL_SEED={seed}");
    seed
}

fn cuts() -> u64 {
    number("WIREPOST_SPOOL_CUTS").unwrap_or(120)
}

#[test]
fn whatever_a_power_cut_leaves_opens_with_all_that_was_proven() {
    if no_strace("power cuts") {
        return;
    }
    generations(History { seed: seed(), fill: 0 }, 3, cuts() / 4);
}

#[test]
fn a_power_cut_while_journals_change_loses_nothing() {
    if no_strace("power cuts while journals change") {
        return;
    }
    generations(History { seed: seed(), fill: FILL }, 1, cuts() / 4);
}

#[test]
fn a_film_that_was_kept_has_a_good_end() {
    let Some(place) = std::env::var_os("WIREPOST_SPOOL_FILM") else { return };
    let film = Film::new(Recording::load(place.into()));
    let moment = number("WIREPOST_SPOOL_MOMENT").unwrap();
    let image = scratch();
    let seed = number("WIREPOST_SPOOL_SEED").unwrap();
    film.cut(usize::try_from(moment).unwrap(), seed, &image.path().join("image")).unwrap();
}
