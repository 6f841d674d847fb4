//! The examples, run as their READMEs say: every command, and every output that they promise.
//!
//! A fenced block of a README says what it is in its first line, behind the three backticks:
//!
//! | fence | meaning |
//! |---|---|
//! | `sh` | commands that must succeed |
//! | `sh fails` | commands of which the last must fail |
//! | `sh again` | commands that are given until what follows is printed |
//! | `sh build` | needs a compiler; what it makes is there already |
//! | `sh terminal NAME` | a command that goes on, in a terminal of its own |
//! | `text` | lines that the commands before it print, in this order, among others |
//! | `text NAME` | lines that a terminal prints |
//!
//! In these lines `…` is any text, and `ID` an id that later commands mean by `ID`. A comment
//! `<!-- Ctrl-C NAME -->` stands where the reader is told to end what runs in a terminal. Each port
//! of the README and of the files beside it is another one here, so that all can run at once.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod readme;
mod stage;

use std::fs;
use std::path::PathBuf;

use readme::Step;
use stage::Stage;

/// Runs an example from its first line to its last.
#[track_caller]
fn run(name: &str) {
    let mut stage = Stage::set(name);
    let steps = readme::steps(&stage.readme());
    assert!(steps.len() > 5, "the README of {name} shows next to nothing: {steps:?}");
    let mut steps = steps.iter().peekable();
    while let Some(step) = steps.next() {
        match step {
            Step::Run { commands, fails, again } => {
                let promised = match steps.peek() {
                    Some(Step::Prints { terminal: None, lines }) => &lines[..],
                    _ => &[],
                };
                stage.run(commands, *fails, *again, promised);
            }
            Step::Prints { terminal: None, .. } => {}
            Step::Prints { terminal: Some(terminal), lines } => stage.wait(terminal, lines),
            Step::Terminal { name, command } => stage.start(name, command),
            Step::CtrlC { terminal } => stage.interrupt(terminal),
        }
    }
}

#[test]
fn the_quickstart_runs_as_its_readme_says() {
    run("quickstart");
}

#[test]
fn mail_to_sms_runs_as_its_readme_says() {
    run("mail-to-sms");
}

#[test]
fn sms_to_mail_runs_as_its_readme_says() {
    run("sms-to-mail");
}

#[test]
fn smpp_router_runs_as_its_readme_says() {
    run("smpp-router");
}

#[test]
fn mail_relay_runs_as_its_readme_says() {
    run("mail-relay");
}

#[test]
fn failover_runs_as_its_readme_says() {
    run("failover");
}

#[test]
fn plugin_authoring_runs_as_its_readme_says() {
    run("plugin-authoring");
}

#[test]
fn every_example_is_run() {
    let here = fs::read_to_string(stage::root().join("tests/examples/main.rs")).unwrap();
    let folders = fs::read_dir(stage::root().join("examples")).unwrap();
    let folders = folders.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let names: Vec<String> =
        folders.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert!(names.len() > 6, "{names:?}");
    for name in names {
        assert!(here.contains(&format!("run(\"{name}\")")), "examples/{name} has no test");
    }
}

/// The plugin of `plugin-authoring`, which compiles natively and whose tests run here too.
#[expect(unreachable_pub, reason = "it is a crate of its own elsewhere")]
#[path = "../../examples/plugin-authoring/opt-out/src/lib.rs"]
mod opt_out;

#[test]
fn the_index_names_every_example() {
    let index = fs::read_to_string(stage::root().join("examples/README.md")).unwrap();
    let folders: Vec<PathBuf> = fs::read_dir(stage::root().join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        assert!(index.contains(&format!("({name}/README.md)")), "{name} is not in the index");
    }
}
