//! The plugins of a simulated host, what they do to which messages, and how a peer sees that they did.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{LazyLock, Mutex};

use wirepost_tests::plugins::{another_build_of, install, module};

use crate::random::Random;

/// Its plugins. They are those of the repository, in the order in which they run.
pub(crate) const PLUGINS: [&str; 3] = ["stop-words", "tidy-sender", "split-list"];
pub(crate) const STOP: &str = PLUGINS[0];
pub(crate) const TIDY: &str = PLUGINS[1];
pub(crate) const SPLIT: &str = PLUGINS[2];

/// What the first of them refuses.
const STOP_WORD: &str = "lottery";
/// What the second replaces, and by what.
const UNTIDY: &str = "as it is";
const TIDIED: &str = "as it should be";
/// What it stamps mail with.
const STAMP: &str = "X-Tidied: yes";
/// What the third makes of one mailbox. Several messages go there: each has parcels of its own.
pub(crate) const LIST: &str = "list@list.sim";
pub(crate) const MEMBERS: [&str; 2] = ["m1@list.sim", "m2@list.sim"];
const LISTS: &str = "@list.sim";

/// Builds of each module that differ in nothing but their hash.
const BUILDS: u8 = 2;

/// Which of them run, and which build of each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plugins {
    pub(crate) present: [bool; 3],
    builds: [u8; 3],
}

impl Plugins {
    pub(crate) fn draw(random: &mut Random) -> Self {
        Self { present: PLUGINS.map(|_| random.chance(600)), builds: [0; 3] }
    }

    /// One of them goes, comes, or is swapped for another build.
    pub(crate) fn change(&mut self, random: &mut Random) {
        let place = random.below(PLUGINS.len());
        if random.chance(700) {
            self.present[place] ^= true;
        } else {
            self.builds[place] = (self.builds[place] + 1) % BUILDS;
        }
    }

    pub(crate) fn yaml(&self, forks: bool) -> String {
        let each = if forks { "message" } else { "recipient" };
        let configs = [
            format!("words: [{STOP_WORD}]"),
            format!(
                "headers: {{ X-Tidied: \"yes\" }}, replace: [{{ find: \"{UNTIDY}\", with: \"{TIDIED}\" }}]"
            ),
            format!("lists: {{ {LIST}: [{}] }}, each: {each}", MEMBERS.join(", ")),
        ];
        let grants = ["", "", ", grants: { recipients: { domain: list.sim }, fork: 2 }"];
        let mut yaml = String::new();
        for (((name, config), grants), present) in
            PLUGINS.iter().zip(configs).zip(grants).zip(self.present)
        {
            if present {
                let file = file(name);
                let line = format!(
                    "  - {{ name: {name}, module: {file}, config: {{ {config} }}{grants} }}\n"
                );
                yaml.push_str(&line);
            }
        }
        if yaml.is_empty() { yaml } else { format!("plugins:\n{yaml}") }
    }

    /// Puts the modules where the configuration looks for them.
    pub(crate) fn install(&self, folder: &Path) {
        for (name, build) in PLUGINS.iter().zip(self.builds) {
            install(folder, &file(name), &octets(name, build));
        }
    }
}

fn file(name: &str) -> String {
    format!("{}.wasm", name.replace('-', "_"))
}

fn octets(name: &'static str, build: u8) -> Vec<u8> {
    static READ: LazyLock<Mutex<BTreeMap<&str, Vec<u8>>>> = LazyLock::new(Mutex::default);
    let mut read = READ.lock().unwrap();
    let octets = read.entry(name).or_insert_with(|| module(&file(name)));
    if build == 0 { octets.clone() } else { another_build_of(octets, build) }
}

/// What the message of this number says beside its text, so that plugins have something to do.
pub(crate) fn words(number: u64) -> String {
    let stop = if is_refused(number) { format!(" {STOP_WORD}") } else { String::new() };
    let untidy = if number % 3 == 1 { format!(" {UNTIDY}") } else { String::new() };
    stop + &untidy
}

/// Whether the message of this number has the stop word.
pub(crate) fn is_refused(number: u64) -> bool {
    number % 11 == 3
}

/// Whether a text was tidied; none if there is nothing in it to see that by.
pub(crate) fn is_tidied(text: &str) -> Option<bool> {
    if text.contains(TIDIED) {
        return Some(true);
    }
    text.contains(UNTIDY).then_some(false)
}

/// The same of a mail, which has a stamp.
pub(crate) fn is_stamped(lines: &[String]) -> bool {
    lines.iter().any(|line| line == STAMP) && !lines.iter().any(|line| line.contains(UNTIDY))
}

/// The key of a parcel for a list or a member of one: whose message it is, and to whom; none if this is
/// another mailbox.
pub(crate) fn list_key(sender: &str, mailbox: &str) -> Option<String> {
    mailbox.ends_with(LISTS).then(|| format!("{sender}>{mailbox}"))
}
