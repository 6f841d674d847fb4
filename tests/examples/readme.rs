//! What a README says to do, step by step.

use std::iter::Peekable;
use std::str::Lines;

use regex::Regex;

/// One thing that a reader does, or sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Commands to give.
    Run { commands: String, fails: bool, again: bool },
    /// A command to start in a terminal of its own.
    Terminal { name: String, command: String },
    /// Lines that are printed there, or by the commands before.
    Prints { terminal: Option<String>, lines: Vec<String> },
    /// The end of what runs in a terminal.
    CtrlC { terminal: String },
}

/// The steps of a README in their order.
pub(crate) fn steps(readme: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = readme.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(comment) = line.trim().strip_prefix("<!-- Ctrl-C ") {
            let terminal = comment.strip_suffix(" -->").unwrap().to_owned();
            steps.push(Step::CtrlC { terminal });
        } else if let Some(fence) = line.strip_prefix("```") {
            let block = block(&mut lines);
            steps.extend(step(&fence.split(' ').collect::<Vec<_>>(), &block));
        }
    }
    steps
}

fn block(lines: &mut Peekable<Lines<'_>>) -> Vec<String> {
    lines.take_while(|line| *line != "```").map(str::to_owned).collect()
}

fn step(fence: &[&str], block: &[String]) -> Option<Step> {
    let commands = block.join("\n");
    match fence {
        ["sh", "build"] => None,
        ["sh"] => Some(Step::Run { commands, fails: false, again: false }),
        ["sh", "fails"] => Some(Step::Run { commands, fails: true, again: false }),
        ["sh", "again"] => Some(Step::Run { commands, fails: false, again: true }),
        ["sh", "terminal", name] => {
            Some(Step::Terminal { name: (*name).to_owned(), command: commands })
        }
        ["text"] => Some(Step::Prints { terminal: None, lines: block.to_vec() }),
        ["text", name] => {
            Some(Step::Prints { terminal: Some((*name).to_owned()), lines: block.to_vec() })
        }
        ["sh" | "text", ..] => panic!("a fence that says {fence:?}"),
        _ => None,
    }
}

/// What of these lines is missing in the output, or the ids that stood where they say `ID`.
pub(crate) fn compare(promised: &[String], output: &str) -> Result<Vec<String>, String> {
    let mut ids = Vec::new();
    let mut lines = output.lines();
    for line in promised.iter().filter(|line| !matches!(line.trim(), "" | "…")) {
        let pattern = pattern(line);
        let found = lines.find_map(|printed| pattern.captures(printed.trim()));
        let found = found.ok_or_else(|| line.clone())?;
        ids.extend(found.iter().skip(1).flatten().map(|id| id.as_str().to_owned()));
    }
    Ok(ids)
}

/// A line in which `…`, with the white space around it, is any text, `ID` an id, and white space any
/// other.
fn pattern(line: &str) -> Regex {
    let id = Regex::new(r"\bID\b").unwrap();
    let pieces = line.trim().split('…').map(|piece| {
        let words: Vec<String> = piece.split_whitespace().map(regex::escape).collect();
        id.replace_all(&words.join(r"\s+"), r"(\d{10,})").into_owned()
    });
    Regex::new(&format!("^{}$", pieces.collect::<Vec<_>>().join(".*?"))).unwrap()
}

#[test]
fn a_readme_is_read_as_it_is_shown() {
    let readme = "# A\n```sh terminal smsc\nwirepost sim smsc\n```\n```sh build\ncargo build\n```\n\
                  text\n```sh again\na \\\n  b\n```\n```text\none\n…\n```\n<!-- Ctrl-C smsc -->\n\
                  ```yaml\na: b\n```\n```text smsc\n{}\n```\n";
    assert_eq!(
        steps(readme),
        [
            Step::Terminal { name: "smsc".into(), command: "wirepost sim smsc".into() },
            Step::Run { commands: "a \\\n  b".into(), fails: false, again: true },
            Step::Prints { terminal: None, lines: vec!["one".into(), "…".into()] },
            Step::CtrlC { terminal: "smsc".into() },
            Step::Prints { terminal: Some("smsc".into()), lines: vec!["{}".into()] },
        ]
    );
}

#[test]
fn lines_are_compared_in_order_and_ids_are_taken_from_them() {
    #[track_caller]
    fn check(promised: &[&str], output: &str, expect: Result<&[&str], &str>) {
        let promised: Vec<String> = promised.iter().map(|line| (*line).to_owned()).collect();
        let found = compare(&promised, output);
        let found = found.as_ref().map(Vec::as_slice).map_err(String::as_str);
        let expect = expect.map(|ids| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>());
        assert_eq!(found, expect.as_deref().map_err(|line| *line));
    }
    let output = "first\n250 2.0.0 123456789012 is taken (in 3 ms)\n\nlast   one\n";
    check(&["first", "last one"], output, Ok(&[]));
    check(&["2…0 123456789012 is…"], output, Ok(&[]));
    check(&["250 … ID is taken (in … ms)", "…", "last one"], output, Ok(&["123456789012"]));
    check(&["last one", "first"], output, Err("first"));
    check(&["250 2.0.0"], output, Err("250 2.0.0"));
    check(&["250 … ID …"], "250 ID12 x", Err("250 … ID …"));
}
