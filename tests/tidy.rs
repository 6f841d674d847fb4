//! What the compiler cannot hold: the borders between modules, and the shape of files.
//!
//! `docs/ARCHITECTURE.md` says why each border is where it is.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};

/// No file is longer.
const LINES_MAX: usize = 600;

/// Code that is given the time and does no I/O, so that a test or a simulation can be all of its world.
const PURE: [&str; 11] = [
    "host/crates/message/src/",
    "host/crates/smpp/src/",
    "host/crates/smtp/src/",
    "host/src/inbound/logins/",
    "host/src/route/",
    "host/src/queue/",
    "host/src/plan/",
    "host/src/conversation.rs",
    "host/src/loops.rs",
    "host/src/settle.rs",
    "host/src/receipt/",
];

/// What such code does not name.
const IMPURE: [&str; 7] = [
    "tokio::",
    "std::net::Tcp",
    "std::net::Udp",
    "std::fs",
    "std::env",
    "Instant::now",
    "SystemTime",
];

/// A Rust file of this project: its path below the root, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs" || part == "fuzz")
    }

    /// The lines that are neither comments nor tests at the end of the file.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        let lines = lines.take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
        lines
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(at, line)| (at + 1, line))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn sources() -> Vec<Source> {
    let root = root();
    let mut sources = Vec::new();
    let mut folders =
        ["host", "sdk", "plugins", "tests", "xtask"].map(|name| root.join(name)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                sources.push(Source { path, text });
            }
        }
    }
    assert!(sources.len() > 100, "the sources are not where they were");
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// No line of code for which `wrong` gives a reason.
#[track_caller]
fn check(wrong: impl Fn(&Source, &str) -> Option<String>) {
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in source.code() {
            if let Some(why) = wrong(&source, line) {
                found.push(format!("{}:{number}: {why}", source.path));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn only_the_plugin_module_names_wasmtime() {
    check(|source, line| {
        let inside = source.path.starts_with("host/src/plugin/") || source.path == "tests/tidy.rs";
        (!inside && line.contains("wasmtime")).then(|| "only host/src/plugin names wasmtime".into())
    });
}

#[test]
fn only_the_loader_of_machine_code_is_unsafe() {
    check(|source, line| {
        let inside = source.path == "host/src/plugin/compiler/machine_code.rs"
            || source.path == "tests/tidy.rs";
        let found = line.contains("unsafe {") || line.contains("unsafe fn");
        let allowed = line.contains("expect(unsafe_code") || line.contains("allow(unsafe_code");
        (!inside && (found || allowed)).then(|| "one file is unsafe, and this is not it".into())
    });
}

#[test]
fn only_the_sdk_names_the_bindings_generator() {
    check(|source, line| {
        let inside = source.path.starts_with("sdk/") || source.path == "tests/tidy.rs";
        (!inside && line.contains("wit_bindgen")).then(|| "only sdk/ names wit_bindgen".into())
    });
}

#[test]
fn pure_code_reads_no_clock_socket_file_or_environment() {
    check(|source, line| {
        if source.is_test() || !PURE.iter().any(|path| source.path.starts_with(path)) {
            return None;
        }
        let name = IMPURE.iter().find(|name| line.contains(**name))?;
        Some(format!("this code is given what it needs, it does not name {name}"))
    });
}

/// `tests/fuzz` takes these files without the rest of the host, whose engine takes minutes to build.
#[test]
fn what_reads_a_configuration_or_a_module_needs_nothing_of_the_host() {
    const READS_MODULES: [&str; 5] =
        ["fault.rs", "features.rs", "foreign.rs", "module.rs", "words.rs"];
    const READS_FILES: [&str; 2] = ["host/src/platform/file.rs", "host/src/platform/user.rs"];
    check(|source, line| {
        let (_, named) = line.split_once("crate::")?;
        let module = source.path.strip_prefix("host/src/plugin/");
        let reads_files = READS_FILES.contains(&&*source.path);
        let known: &[&str] =
            if module.is_some_and(|file| READS_MODULES.contains(&file)) || reads_files {
                &[]
            } else if source.path.starts_with("host/src/config/") && !source.is_test() {
                &[
                    "config::",
                    "config)",
                    "platform::file",
                    "platform::user",
                    "tls::client(",
                    "tls::server(",
                ]
            } else {
                return None;
            };
        let alone = known.iter().any(|name| named.starts_with(name));
        (!alone).then(|| format!("crate::{named} is not there for tests/fuzz"))
    });
}

#[test]
fn only_commands_write_to_standard_output() {
    check(|source, line| {
        let talks =
            ["host/src/cli/", "xtask/", "tests/"].iter().any(|path| source.path.starts_with(path))
                || source.path.contains("/examples/");
        let prints = line.contains("println!(") || line.trim_start().starts_with("print!(");
        (!talks && !source.is_test() && prints).then(|| "only cli/ and xtask print".into())
    });
}

/// Which branch goes first when several are ready is written down, not drawn: `docs/CONVENTIONS.md`.
#[test]
fn a_select_of_the_host_says_which_branch_is_first() {
    let mut found = Vec::new();
    for source in sources() {
        let host = source.path.starts_with("host/src/");
        if !host || source.is_test() || source.path.starts_with("host/src/cli/") {
            continue;
        }
        let lines: Vec<_> = source.code().collect();
        for pair in lines.windows(2) {
            let [(number, line), (_, next)] = pair else { continue };
            if line.contains("select! {") && next.trim() != "biased;" {
                found.push(format!("{}:{number}", source.path));
            }
        }
    }
    assert!(found.is_empty(), "begin these with `biased;`: {found:#?}");
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|source| !source.text.starts_with("//!"))
        .map(|source| source.path)
        .collect();
    assert!(silent.is_empty(), "these begin without `//!`: {silent:#?}");
}

#[test]
fn no_file_is_longer_than_can_be_read() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|source| (source.text.lines().count(), source.path))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "split these (at most {LINES_MAX} lines): {long:#?}");
}

#[test]
fn nothing_is_left_for_later_in_a_comment() {
    let later = ["TO", "DO"].concat();
    let words = [later.as_str(), "FIXME", "XXX"];
    let found: Vec<_> = sources()
        .into_iter()
        .filter(|source| source.path != "tests/tidy.rs")
        .flat_map(|source| {
            let lines = source.text.lines().enumerate();
            let hits = lines.filter(|(_, line)| {
                line.split_once("//").is_some_and(|(_, comment)| {
                    comment
                        .split(|c: char| !c.is_ascii_alphanumeric())
                        .any(|word| words.contains(&word))
                })
            });
            hits.map(|(at, _)| format!("{}:{}", source.path, at + 1)).collect::<Vec<_>>()
        })
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// The tests that a list in a document names, each with its section.
fn named_tests(document: &str) -> Vec<(String, String, String)> {
    let text = fs::read_to_string(root().join(document)).unwrap();
    let mut section = "";
    let mut named = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title;
        } else if let Some((path, rest)) =
            line.strip_prefix("* `").and_then(|item| item.split_once("`: `"))
        {
            let name = rest.trim_end_matches('`');
            named.push((section.to_owned(), path.to_owned(), name.to_owned()));
        }
    }
    named
}

#[test]
fn each_promise_names_tests_that_are_there() {
    let sources = sources();
    let mut held = std::collections::BTreeMap::<String, u32>::new();
    let mut missing = Vec::new();
    for document in ["docs/PROMISES.md", "SECURITY.md"] {
        for (section, path, name) in named_tests(document) {
            let source = sources.iter().find(|source| source.path == path);
            if !source.is_some_and(|source| source.text.contains(&format!("fn {name}()"))) {
                missing.push(format!("{document}: {path} has no {name}"));
            }
            *held.entry(section).or_default() += 1;
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    let promises = fs::read_to_string(root().join("README.md")).unwrap();
    let promises = promises.split("## Promises").nth(1).unwrap().split("\n## ").next().unwrap();
    let numbers = promises.lines().filter_map(|line| line.split_once(". ")?.0.parse::<u32>().ok());
    let numbers: Vec<u32> = numbers.collect();
    assert_eq!(numbers.len(), 8, "README.md has other promises: {numbers:?}");
    for number in numbers {
        let has = held.keys().any(|title| title.starts_with(&format!("{number}. ")));
        assert!(has, "promise {number} has no test");
    }
    assert!(held.get("Plugins").is_some_and(|tests| *tests > 10), "SECURITY.md names few tests");
}

#[test]
fn each_fuzz_target_has_its_row_of_counts() {
    let promises = fs::read_to_string(root().join("docs/PROMISES.md")).unwrap();
    for entry in fs::read_dir(root().join("tests/fuzz/targets")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let row = promises.lines().find(|line| line.starts_with(&format!("| `{name}` | ")));
        assert!(row.is_some(), "docs/PROMISES.md has no row for {name}");
    }
}
